"""Ports: what a step reads and writes, declared once in its signature.

A step is a function ``(config, *, ports)``: a frozen ``StepConfig`` first, then keyword-only paths whose annotation
carries a ``Port``.  The command line and every platform adapter read exactly ``ports(step)`` and ``config_of(step)``:
an ``in`` port is a path that exists, an ``out`` port a path that the step creates, whole or not at all.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_type_hints

from synth_components.config import StepConfig

Direction: TypeAlias = Literal["in", "out"]
Kind: TypeAlias = Literal[
    "dataset",
    "model",
    "report",
    "page",
    "text",
    "schema",
    "statistics",
    "constraints",
    "conditions",
    "specification",
    "policy",
    "trail",
    "evidence",
    "directory",
]
Step: TypeAlias = Callable[..., None]
Place: TypeAlias = str | Path
"""A local path, or the text of an ``s3://`` address."""

STDOUT = "stdout://"
"""The place that ``-`` means."""


@dataclass(frozen=True)
class Port:
    """One input or output of a step.

    Attributes:
        direction: Whether the step reads or writes it.
        kind: What lies there; ``KINDS`` says it in words.
        optional: Whether a caller may leave it out.
        many: Whether it takes one or more paths; the step gets a tuple.
        is_stream: Whether ``-`` is standard output, and ``--output`` another name of the option.
        is_positional: Whether a word of the command line without an option names it, but for an option file.
        holds_rows: Whether real rows may be written there, changed or not, whatever else is.
        description: What it is for, from the ``Args:`` of the step.
    """

    direction: Direction
    kind: Kind
    optional: bool = False
    many: bool = False
    is_stream: bool = False
    is_positional: bool = False
    holds_rows: bool = False
    description: str = ""


KINDS: Mapping[Kind, str] = {
    "dataset": "CSV, Parquet, JSON, JSON Lines or HDF5",
    "model": "model folder",
    "report": "report as JSON",
    "page": "single HTML page",
    "text": "Markdown file",
    "schema": "schema as JSON",
    "statistics": "statistics as JSON",
    "constraints": "rules as JSON or YAML",
    "conditions": "JSON or YAML map by column, or table of one request row per output row",
    "specification": "specification as JSON or YAML",
    "policy": "policy as JSON or YAML",
    "trail": "audit trail as JSON Lines",
    "evidence": "evidence as JSON",
    "directory": "folder",
}
"""What lies behind a port of each kind."""

InDataset = Annotated[Place, Port("in", "dataset")]
InTable = Annotated[Place, Port("in", "dataset", is_positional=True)]
OptionalInDataset = Annotated[Place | None, Port("in", "dataset", optional=True)]
OptionalInDatasets = Annotated[tuple[Place, ...], Port("in", "dataset", optional=True, many=True)]
InDatasets = Annotated[tuple[Place, ...], Port("in", "dataset", many=True)]
OutDataset = Annotated[Place, Port("out", "dataset")]
OutRows = Annotated[Place, Port("out", "dataset", holds_rows=True)]
OptionalOutDataset = Annotated[Place | None, Port("out", "dataset", optional=True)]
OutStream = Annotated[Place, Port("out", "dataset", is_stream=True)]
InModel = Annotated[Path, Port("in", "model")]
InServedModel = Annotated[Path, Port("in", "model", is_positional=True)]
OptionalInModel = Annotated[Path | None, Port("in", "model", optional=True)]
InModels = Annotated[tuple[Path, ...], Port("in", "model", optional=True, many=True)]
OutModel = Annotated[Path, Port("out", "model")]
OptionalOutModel = Annotated[Path | None, Port("out", "model", optional=True)]
InReport = Annotated[Path, Port("in", "report")]
InReports = Annotated[tuple[Path, ...], Port("in", "report", many=True)]
OptionalInReport = Annotated[Path | None, Port("in", "report", optional=True)]
OptionalInReports = Annotated[tuple[Path, ...], Port("in", "report", optional=True, many=True)]
OutReport = Annotated[Path, Port("out", "report")]
OptionalOutReport = Annotated[Path | None, Port("out", "report", optional=True)]
OutPage = Annotated[Path, Port("out", "page")]
OptionalOutPage = Annotated[Path | None, Port("out", "page", optional=True)]
OptionalOutText = Annotated[Path | None, Port("out", "text", optional=True)]
OutSchema = Annotated[Path, Port("out", "schema")]
InSchema = Annotated[Path | None, Port("in", "schema", optional=True)]
OutStatistics = Annotated[Path, Port("out", "statistics")]
OptionalOutStatistics = Annotated[Path | None, Port("out", "statistics", optional=True)]
OptionalOutConstraints = Annotated[Path | None, Port("out", "constraints", optional=True)]
InConstraints = Annotated[Path | None, Port("in", "constraints", optional=True)]
InConditions = Annotated[Path | None, Port("in", "conditions", optional=True)]
InPolicy = Annotated[Path | None, Port("in", "policy", optional=True)]
InSpecification = Annotated[Path, Port("in", "specification")]
OptionalOutPolicy = Annotated[Path | None, Port("out", "policy", optional=True)]
OutEvidence = Annotated[Path, Port("out", "evidence")]
OptionalInTrail = Annotated[Path | None, Port("in", "trail", optional=True)]
OutRun = Annotated[Path, Port("out", "directory", holds_rows=True)]
OutDirectory = Annotated[Path, Port("out", "directory")]


def ports(step: Step) -> dict[str, Port]:
    """Return the ports of a step by name, in the order of its signature.

    Raises:
        TypeError: if a keyword of the step is no port, or an optional one has no default.
    """
    hints = _hints(step)
    described = _arguments(step)
    found: dict[str, Port] = {}
    for parameter in list(inspect.signature(step).parameters.values())[1:]:
        marks = [mark for mark in getattr(hints[parameter.name], "__metadata__", ()) if isinstance(mark, Port)]
        if parameter.kind is not parameter.KEYWORD_ONLY or len(marks) != 1:
            raise TypeError(f"'{parameter.name}' of step '{step.__name__}' must be keyword-only and carry one Port")
        if marks[0].optional == (parameter.default is parameter.empty):
            raise TypeError(f"port '{parameter.name}' of step '{step.__name__}': optional means that it has a default")
        found[parameter.name] = replace(marks[0], description=described.get(parameter.name, ""))
    return found


def config_of(step: Step) -> type[StepConfig]:
    """Return the config class of a step: the annotation of its first parameter.

    Raises:
        TypeError: if the first parameter is no ``StepConfig``.
    """
    first = next(iter(inspect.signature(step).parameters.values()))
    annotation: Any = _hints(step)[first.name]
    if not (isinstance(annotation, type) and issubclass(annotation, StepConfig)):
        raise TypeError(f"the first parameter of step '{step.__name__}' must be annotated with a StepConfig")
    return annotation


def summary(step: Step) -> str:
    """Return the first line of a step's docstring: what it does, in the imperative."""
    return (inspect.getdoc(step) or "").partition("\n")[0]


def details(step: Step) -> str:
    """Return a step's docstring between its first line and its ``Args:``; empty if there is nothing."""
    _, _, body = (inspect.getdoc(step) or "").partition("\n")
    return re.split(r"^(?:Args|Raises|Source|Differs):", body, maxsplit=1, flags=re.MULTILINE)[0].strip("\n")


@cache
def _hints(step: Step) -> Mapping[str, Any]:
    return get_type_hints(step, include_extras=True)


def _arguments(step: Step) -> dict[str, str]:
    doc = inspect.getdoc(step) or ""
    match = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", doc, flags=re.MULTILINE)
    if match is None:
        return {}
    entries = re.findall(r"^ {4}(\w+): ((?:.*\n?)(?:^ {5,}.*\n?)*)", match[1], flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
