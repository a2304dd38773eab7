"""Fill templates: one HTML file each. What all pages share (frame, style, scripts) lies in `templates/` of this room.

    render("found.html", title=...)                          # a template of this room
    render("report.html", TEMPLATES_OF_ANOTHER_ROOM, ...)    # which extends and takes in those of this one

In a page, `source("style.css")` is the text of a file: pages that are written down hold their style, scripts and
pictures and load nothing. Those of `ndvr review` name them instead, as nothing that stands in a page is run there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, folder: Path = TEMPLATES, **values: Any) -> str:
    """Return the page. Values are escaped, except Markup; one that the template needs and lacks is an error."""
    import jinja2
    from markupsafe import Markup

    loader = jinja2.FileSystemLoader([folder, TEMPLATES])
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["source"] = lambda name: Markup(loader.get_source(environment, name)[0])
    return environment.get_template(template).render(**values)
