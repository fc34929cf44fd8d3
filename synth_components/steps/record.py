"""What a step leaves beside its outputs: ``run.json`` with clock, paths and durations, which no artefact holds."""

from __future__ import annotations

import json
import logging
import os
import platform
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from synth_components import audit
from synth_components.cache import Cache
from synth_components.circumstances import around, within
from synth_components.config import StepConfig
from synth_components.encryption import rest
from synth_components.io.location import shown
from synth_components.limits import Cost, bytes_of, costing, metered
from synth_components.peers import peers
from synth_components.progress import stamp
from synth_components.steps.places import Places, refuse_clashes
from synth_components.steps.port import Direction, Place, Step, ports
from synth_components.steps.reuse import fetch, keep, key_of

_LOG = logging.getLogger(__name__)

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
    circumstances = around()
    given = {name: place for name, place in places.items() if place is not None}
    cache = Cache(Path(circumstances.cache).expanduser())
    # Of several processes some would find what others are about to keep.
    is_kept = circumstances.cache and circumstances.encrypt == "none" and peers().world_size == 1
    key = key_of(step, config, given) if is_kept else None
    config = settled(config)
    started = stamp()
    # Steps within this one share all but its limits, which are watched here.
    inner = circumstances.model_copy(update={"max_memory": "", "max_seconds": 0.0})
    max_bytes, max_seconds = bytes_of(circumstances.max_memory), circumstances.max_seconds or None
    with (
        costing(step.__name__),
        within(inner),
        _told(step, given),
        metered(max_bytes=max_bytes, max_seconds=max_seconds) as meter,
    ):
        told = None if key is None else fetch(key, step, given, cache)
        if told is None or not told.hit:
            with _plain_places(step, given) as plain:
                step(config, **plain)
            if key is not None:
                keep(key, step, given, cache)
        record = {
            "step": step.__name__,
            "version": version("synth-components"),
            "python": platform.python_version(),
            "config": config.model_dump(mode="json"),
            "ports": {name: _plain(place) for name, place in given.items()},
            "started": started,
            "seconds": meter.seconds,
            "peak_mib": meter.peak_mib,
            "stages": [asdict(cost) for cost in meter.costs],
        }
    if told is not None:
        record["cache"] = asdict(told)
        _LOG.info("cache: %s", told)
    outputs = {name: port for name, port in ports(step).items() if port.direction == "out" and name in given}
    if beside and peers().rank == 0 and outputs and all(port.kind != "directory" for port in outputs.values()):
        first = str(given[next(iter(outputs))])
        if "://" not in first:
            write_json(Path(f"{first}.run.json"), record)
    return record


@contextmanager
def _plain_places(
    step: Step, given: Mapping[str, Place | tuple[Place, ...]]
) -> Iterator[dict[str, Place | tuple[Place, ...]]]:
    """Yield the places of a step's ports, those of encrypted tables in plain for the length of the block."""
    known = ports(step)
    written = {known[name].kind for name in given if known[name].direction == "out"}
    if "model" in written:
        rest.writes_sealed("models")  # which finds out before long work whether there is a key for it
    is_sealed = "dataset" in written and rest.writes_sealed("tables")
    with ExitStack() as stack:

        def plain(place: Place, direction: Direction) -> Place:
            if "://" in str(place):
                return place
            if direction == "in":
                return stack.enter_context(rest.opened_table(Path(place)))
            return stack.enter_context(rest.sealed_table(Path(place))) if is_sealed else place

        places: dict[str, Place | tuple[Place, ...]] = {}
        for name, place in given.items():
            if known[name].kind != "dataset":
                places[name] = place
            elif isinstance(place, tuple):
                places[name] = tuple(plain(part, known[name].direction) for part in place)
            else:
                places[name] = plain(place, known[name].direction)
        yield places


@contextmanager
def _told(step: Step, given: Mapping[str, Place | tuple[Place, ...]]) -> Iterator[None]:
    """Write to the audit trail that a step reads its inputs, and how it ended."""
    known, name = ports(step), step.__name__
    reads, writes = (
        {one: _plain(place) for one, place in given.items() if known[one].direction == direction}
        for direction in ("in", "out")
    )
    audit.record("access", step=name, reads=reads, writes=writes)
    try:
        yield
    except BaseException as error:
        audit.record("failed", step=name, error=type(error).__name__)  # its message may name what no log should
        raise
    audit.record("done", step=name, writes=writes)


def costs_beside(place: Place | None) -> list[Cost]:
    """Return what the step took that wrote ``place``, if its record stands beside it."""
    if place is None or "://" in str(place):
        return []
    try:
        told = json.loads(Path(f"{place}.run.json").read_text(encoding="utf-8"))
        return [Cost(str(told["step"]), float(told["seconds"]), float(told["peak_mib"]))]
    except (OSError, ValueError, KeyError, TypeError):  # none there, or of an older version
        return []


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


def _plain(place: Place | tuple[Place, ...]) -> str | list[str]:
    return [shown(part) for part in place] if isinstance(place, tuple) else shown(place)
