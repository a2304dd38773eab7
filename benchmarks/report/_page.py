"""Fill the templates of this room: one HTML file each, with its style, scripts and pictures inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """Return the page. Values are escaped, except Markup; one that the template needs and lacks is an error."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["source"] = lambda name: Markup((_FOLDER / name).read_text(encoding="utf-8"))
    return environment.get_template(template).render(**values)
