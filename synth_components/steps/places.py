"""What no step may do: write over what it reads, write one file twice, or take the place of a folder of someone else's.

A step refuses before it reads anything, whoever calls it through ``record.perform``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from synth_components.errors import DataError
from synth_components.io.location import shown
from synth_components.steps.port import Place, Port, Step, ports
from synth_components.steps.report_file import report_path

Places: TypeAlias = Mapping[str, Place | tuple[Place, ...] | None]

STATE = "stages.json"
"""What `synth run` writes into its folder before anything else: which stages are done."""


def refuse_clashes(step: Step, places: Places, *, file: Path | None = None) -> None:
    """Refuse outputs that touch an input, each other, or something that a step did not write.

    Args:
        file: The option file, which is read too.

    Raises:
        DataError: naming the two ports, or the output.
        ArtifactError: if a folder that a model would replace is no model.
    """
    known = ports(step)
    inputs: list[tuple[str, Place]] = [(_flag(name), path) for name, _, path in _paths(known, places, "in")]
    inputs += [] if file is None else [("FILE", file)]
    outputs = list(_paths(known, places, "out"))
    for position, (name, port, path) in enumerate(outputs):
        for other, read in inputs:
            # The record of a step stands beside its first output.
            record = Path(f"{path}.run.json") if isinstance(path, Path) else path
            if _is_within(path, read) or _is_within(read, path) or _is_within(record, read):
                raise DataError(
                    f"{_flag(name)} and {other}: '{shown(path)}' (or its record) and '{shown(read)}' are one, or one "
                    "holds the other; an output may not touch an input, so name another output"
                )
        for other, _, written in outputs[:position]:
            if _is_within(path, written) or _is_within(written, path):
                raise DataError(
                    f"{_flag(name)} and {_flag(other)}: '{shown(path)}' and '{shown(written)}' are one, or one lies "
                    "within the other; name two outputs"
                )
        if isinstance(path, Path):
            _refuse_kind(name, port, path)


def claim(folder: Path) -> None:
    """Make a folder and mark it as filled by `synth run`; a marked one is ours to fill again.

    Raises:
        DataError: if the folder holds anything, and no such mark.
    """
    _refuse_unclaimed(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not _is_claimed(folder):
        (folder / STATE).write_text("{}\n", encoding="utf-8")


def _refuse_unclaimed(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise DataError(f"'{folder}' is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not _is_claimed(folder):
        raise DataError(f"folder '{folder}' holds something that `synth run` did not write; name a new or an empty one")


def _is_claimed(folder: Path) -> bool:
    try:
        return isinstance(json.loads((folder / STATE).read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


def _refuse_kind(name: str, port: Port, path: Path) -> None:
    from synth_components.io.artifact import refuse_foreign

    if port.kind == "model":
        refuse_foreign(path)
    elif port.kind == "directory":
        _refuse_unclaimed(path)
    elif path.is_dir():
        raise DataError(f"{_flag(name)}: '{path}' is a folder; name a file")


def _paths(known: Mapping[str, Port], places: Places, direction: str) -> Iterator[tuple[str, Port, Place]]:
    for name, port in known.items():
        place = places.get(name)
        if port.direction != direction or place is None:
            continue
        for part in place if isinstance(place, tuple) else (place,):
            if "://" in str(part):
                yield name, port, str(part)
            else:
                # Of a folder with a report in it, the report is what is read.
                yield name, port, report_path(Path(part)) if (port.kind, direction) == ("report", "in") else Path(part)


def _is_within(inner: Place, outer: Place) -> bool:
    """Return whether two places are one, or the first lies within the second."""
    if isinstance(inner, str) or isinstance(outer, str):
        if not (isinstance(inner, str) and isinstance(outer, str)):
            return False
        first, second = inner.rstrip("/"), outer.rstrip("/")
        return first == second or first.startswith(f"{second}/")
    if inner.exists() and outer.exists() and inner.samefile(outer):
        return True
    return inner.resolve().is_relative_to(outer.resolve())


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
