"""What each generator is, in a line, read without importing it; and the options of a config as a Markdown table."""

from __future__ import annotations

import ast
import inspect
import tokenize
from importlib.util import find_spec
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from synth_components.config import Config, StepConfig
from synth_components.generators import brought, names, recipe_type

_PLATFORM = 2**31
"""A larger limit is one of the platforms, which carry integers as floating-point numbers."""
_SKIPPED = (tokenize.COMMENT, tokenize.NL)
_KINDS = {
    bool: "true, false",
    int: "integer",
    float: "number",
    str: "text",
    NoneType: "null",
    tuple: "list",
    dict: "map",
}


PRIVATE = "private"
"""The mark of a generator that may be fitted under a budget of epsilon."""


def summary_of(name: str) -> str:
    """Return the first line of the docstring of a generator's module; empty if it has none."""
    found = _file_of(name)
    if found is None:
        return ""
    # A docstring is a module's first token: to parse all that follows takes a hundred times as long.
    with tokenize.open(found) as file:
        first = next(one for one in tokenize.generate_tokens(file.readline) if one.type not in _SKIPPED)
    doc = ast.literal_eval(first.string) if first.type == tokenize.STRING else ""
    return inspect.cleandoc(doc).partition("\n")[0]


def mark_of(name: str) -> str:
    """Return ``PRIVATE`` for a generator of ours that may be fitted privately; empty for others.

    Its recipe declares it: that is what ``generators.private_names`` tells, without importing all of them.
    """
    found = _file_of(name)
    source = ast.parse("" if found is None else Path(found).read_text(encoding="utf-8"))
    declared = [
        line.target.id
        for part in ast.walk(source)
        if isinstance(part, ast.ClassDef)
        for line in part.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    ]
    return "" if name in _modules() or "without_privacy" in declared else PRIVATE


def _modules() -> dict[str, str]:
    """Return the modules of the generators that installed packages bring, by name."""
    return {point.name: point.module for point in brought()}


def _file_of(name: str) -> str | None:
    """Return where a generator's module is; ``None`` if it is not there."""
    spec = find_spec(_modules().get(name, f"synth_components.generators.{name}"))
    return None if spec is None else spec.origin


def generator_table() -> str:
    """Return the generators as a Markdown table."""
    rows = [f"| `{name}` | {mark_of(name)} | {cell(summary_of(name))} |" for name in names()]
    return "\n".join(["| generator | with epsilon | what it does |", "|---|---|---|", *rows])


def option_table(name: str) -> str:
    """Return the options of a generator as a Markdown table, as its recipe declares them.

    Raises:
        UnsupportedError: for an unknown name.
    """
    return fields_table(recipe_type(name))


def fields_table(config: type[Config], *, without: tuple[str, ...] = ()) -> str:
    """Return the fields of a config, but its tag and those named, as a Markdown table; empty without any."""
    rows = [
        f"| `{name}` | {_default(field)} | {_allowed(field)} | {cell(field.description or '')} |"
        for name, field in config.model_fields.items()
        if name not in (*without, *tag_of(config))
    ]
    if not rows:
        return ""
    return "\n".join(["| option | default | allowed | what it does |", "|---|---|---|---|", *rows])


def tag_of(config: type[Config]) -> dict[str, str]:
    """Return the field that tells a config from others, with its value; empty if none does."""
    literals = {name: get_args(f.annotation) for name, f in config.model_fields.items() if _is_literal(f.annotation)}
    return {name: str(choices[0]) for name, choices in literals.items() if len(choices) == 1}


def parts_of(config: type[Config]) -> list[type[Config]]:
    """Return the configs that a config's fields hold, but those of steps."""
    held = [part for field in config.model_fields.values() for part in _configs(field.annotation)]
    return [part for part in dict.fromkeys(held) if not issubclass(part, StepConfig)]


def cell(text: str) -> str:
    """Return text as a cell of a Markdown table."""
    return text.replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    match value:
        case bool() | None:
            return {True: "true", False: "false", None: "null"}[value]
        case int() | float():
            return f"{value:,}"
        case Config():
            return "its defaults"
        case "" | ():
            return "empty"
        case dict() if not value:
            return "empty"
        case _:
            return cell(str(value))


def _allowed(field: FieldInfo) -> str:
    limits = {
        end: f"{getattr(rule, end):,}"
        for end in ("ge", "gt", "le", "lt")
        for rule in field.metadata
        if getattr(rule, end, None) is not None and getattr(rule, end) < _PLATFORM
    }
    match limits:
        case {"ge": low, "le": high}:
            return f"{low} to {high}"
        case {"ge": low, "lt": high}:
            return f"{low} to below {high}"
        case {"gt": low, "le": high}:
            return f"above {low} to {high}"
        case {"gt": low, "lt": high}:
            return f"above {low} to below {high}"
        case {"ge": low}:
            return f"{low} or more"
        case {"gt": low}:
            return f"above {low}"
        case {"le": high}:
            return f"{high} or less"
        case {"lt": high}:
            return f"below {high}"
        case _:
            return cell(", ".join(dict.fromkeys(_kinds(field.annotation))))


def _kinds(annotation: Any) -> list[str]:  # noqa: ANN401 - an annotation may be any object
    """Return the values, or the kinds of values, that a type takes."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [kind for part in get_args(annotation) for kind in _kinds(part)]
    if origin is Literal:
        return [f"`{choice}`" for choice in get_args(annotation)]
    if _configs(annotation) == [annotation]:
        return ["map"]
    return [_KINDS.get(origin or annotation, "any")]


def _is_literal(annotation: Any) -> bool:  # noqa: ANN401
    return get_origin(annotation) is Literal


def _configs(annotation: Any) -> list[type[Config]]:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [] if _is_literal(annotation) else [part for one in get_args(annotation) for part in _configs(one)]
