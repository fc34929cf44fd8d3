"""What each generator is, in a line, read without importing it."""

from __future__ import annotations

import ast
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from synth_components.generators import GROUP


def summary_of(name: str) -> str:
    """Return the first line of the docstring of a generator's module; empty if it has none."""
    installed = {point.name: point.module for point in entry_points(group=GROUP)}
    spec = find_spec(installed.get(name, f"synth_components.generators.{name}"))
    if spec is None or spec.origin is None:
        return ""
    doc = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    return (doc or "").partition("\n")[0]
