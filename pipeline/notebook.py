"""How results look in a notebook: their text as it stands in a terminal, with what warns of them in bold."""

from __future__ import annotations

import html

_WARNINGS = ("WARNING", "UNTRAINED", "SCORES ARE INCOMPLETE")


def as_html(text: str, *, trained: bool = True) -> str:
    """Return text as HTML of fixed width, escaped; `trained` is False where the text itself does not warn of it."""
    text = text if trained else f"WARNING: untrained (random) weights; these numbers mean nothing.\n{text}"
    lines = [html.escape(line) for line in text.splitlines()]
    bold = [f"<b>{line}</b>" if line.startswith(_WARNINGS) else line for line in lines]
    return "<pre>" + "\n".join(bold) + "</pre>"
