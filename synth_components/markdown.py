"""Markdown: text that shows as it is, and tables of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MARKUP = re.compile(r"[\\`*~\[\]|]|(?<!\w)_|_(?!\w)")
"""What Markdown would read as markup; an underscore within a word is none."""


def marked(text: str) -> str:
    """Return text for one line of Markdown that shows as it is, whatever the names of columns hold."""
    plain = re.sub(r"<(?![=\s])", "&lt;", " ".join(text.split()).replace("&", "&amp;"))
    return _MARKUP.sub(r"\\\g<0>", plain)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose cells show as they are."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(marked(cell) for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *(line(row) for row in rows)]
