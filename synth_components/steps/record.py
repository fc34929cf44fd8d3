"""What a step leaves beside its outputs: ``run.json`` with clock, paths and durations, which no artefact holds."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from synth_components.config import StepConfig
from synth_components.progress import stamp
from synth_components.steps.places import Places, refuse_clashes
from synth_components.steps.port import Place, Step, ports

S = TypeVar("S", bound=StepConfig)


def perform(step: Step, config: StepConfig, places: Places, *, beside: bool = True) -> dict[str, Any]:
    """Run a step and return its record.

    Args:
        beside: Whether to write the record beside the first output, as ``<output>.run.json``.  A step that makes a
            whole folder keeps its own ``run.json`` in there.

    Raises:
        DataError: if an output touches an input or another output, or would replace what no step wrote.
    """
    refuse_clashes(step, places)
    config = settled(config)
    started, clock = stamp(), time.monotonic()
    step(config, **{name: place for name, place in places.items() if place is not None})
    record = {
        "step": step.__name__,
        "version": version("synth-components"),
        "python": platform.python_version(),
        "config": config.model_dump(mode="json"),
        "ports": {name: _plain(place) for name, place in places.items() if place is not None},
        "started": started,
        "seconds": round(time.monotonic() - clock, 3),
    }
    outputs = {name: port for name, port in ports(step).items() if port.direction == "out" and places.get(name)}
    if beside and outputs and all(port.kind != "directory" for port in outputs.values()):
        first = str(places[next(iter(outputs))])
        if "://" not in first:
            write_json(Path(f"{first}.run.json"), record)
    return record


def settled(config: S) -> S:
    """Return ``config`` with a seed of -1 replaced by a fresh one, so that the record tells which it was."""
    if getattr(config, "seed", 0) == -1:
        return config.model_copy(update={"seed": secrets.randbelow(2**53)})
    return config


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; missing parent folders are made."""
    with partial(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def partial(path: Path) -> Iterator[Path]:
    """Yield a sibling path to write at; it takes the place of ``path`` on success, else it goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def digest(place: Place | tuple[Place, ...]) -> str | None:
    """Return the SHA-256 of a file, or of a folder's names and files; ``None`` if not on a local disk."""
    if isinstance(place, tuple):
        parts = [digest(part) for part in place]
        return None if None in parts else hashlib.sha256("".join(map(str, parts)).encode()).hexdigest()
    path = Path(place)
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    if not path.is_dir():
        return None
    total = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        total.update(f"{file.relative_to(path).as_posix()}\0{digest(file)}\0".encode())
    return total.hexdigest()


def _plain(place: Place | tuple[Place, ...] | None) -> str | list[str]:
    return [str(part) for part in place] if isinstance(place, tuple) else str(place)
