"""What each generator is, in a line, read without importing it; and its options as a table of the README."""

from __future__ import annotations

import ast
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from synth_components.generators import GROUP, names, recipe_type


def summary_of(name: str) -> str:
    """Return the first line of the docstring of a generator's module; empty if it has none."""
    installed = {point.name: point.module for point in entry_points(group=GROUP)}
    spec = find_spec(installed.get(name, f"synth_components.generators.{name}"))
    if spec is None or spec.origin is None:
        return ""
    doc = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    return (doc or "").partition("\n")[0]


def generator_table() -> str:
    """Return the generators as a Markdown table."""
    rows = [f"| `{name}` | {_cell(summary_of(name))} |" for name in names()]
    return "\n".join(["| generator | what it does |", "|---|---|", *rows])


def option_table(name: str) -> str:
    """Return the options of a generator as a Markdown table, as its recipe declares them.

    Raises:
        UnsupportedError: for an unknown name.
    """
    rows = []
    for option, field in recipe_type(name).model_fields.items():
        ends = {"ge": "", "le": "", "gt": "above ", "lt": "below "}
        limits = [
            f"{word}{getattr(rule, end):,}"
            for end, word in ends.items()
            for rule in field.metadata
            if getattr(rule, end, None) is not None
        ]
        allowed = f"{limits[0]} or more" if len(limits) == 1 else " to ".join(limits)
        default = _plain(field.get_default(call_default_factory=True))
        rows.append(f"| `{option}` | {default} | {allowed} | {_cell(field.description or '')} |")
    return "\n".join(["| option | default | allowed | what it does |", "|---|---|---|---|", *rows])


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else _cell(str(value))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
