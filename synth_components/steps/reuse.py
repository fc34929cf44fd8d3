"""What need not be done again: the digest of all that a step's outputs depend on, and the outputs kept under it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from synth_components.cache import Cache, Tally
from synth_components.circumstances import circumstance
from synth_components.config import StepConfig
from synth_components.io.location import locate, writing
from synth_components.steps.port import Place, Port, Step, ports

KEPT = ("profile", "train", "sample")
"""The steps whose outputs the cache keeps: profiles, models and samples."""
_READING = ("profile", "train")
"""Those of them that read real rows."""

Given: TypeAlias = Mapping[str, Place | tuple[Place, ...]]


@dataclass(frozen=True)
class Lookup:
    """Whether the outputs of a step were in the cache, and how often the cache had an answer so far."""

    hit: bool
    hits: int
    lookups: int

    def __str__(self) -> str:
        """Return it in words."""
        return f"{'hit' if self.hit else 'miss'}; {Tally(self.hits, self.lookups)}"


def fingerprint(step: Step, config: StepConfig, inputs: Given) -> str | None:
    """Return the digest of what the outputs depend on: step, versions, options, contents of the inputs.

    ``None`` if an input is not on a local disk: nothing then says that it did not change.
    """
    from synth_components.generators import brought

    contents = {name: [_endings(place), digest(place)] for name, place in inputs.items()}
    if any(held is None for _, held in contents.values()):
        return None
    outside = sorted(f"{p.name} {p.dist.version if p.dist else ''}" for p in brought())
    basis = [step.__name__, version("synth-components"), outside, config.canonical(), contents]
    return hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()


def key_of(step: Step, config: StepConfig, given: Given) -> str | None:
    """Return the key under which the cache keeps the outputs of a step; ``None`` if it does not.

    Code that a caller trusts by name has no version, and a seed of -1 asks for something new.
    """
    is_local = all("://" not in str(place) for place in given.values())
    is_fresh = getattr(config, "seed", 0) == -1 or bool(getattr(config, "trust", None))
    if step.__name__ not in KEPT or not is_local or is_fresh:
        return None
    known = ports(step)
    found = fingerprint(step, config, {name: place for name, place in given.items() if known[name].direction == "in"})
    wanted = [[name, _endings(given[name])] for name in _outputs(step, given)]
    basis = [found, wanted, *_asked(step)]
    return None if found is None else hashlib.sha256(json.dumps(basis).encode()).hexdigest()


def _asked(step: Step) -> list[str]:
    """Return who is asked before a step may read real rows: what one budget or policy allowed, another may refuse.

    Raises:
        DataError: if there is no such budget file.
    """
    from synth_components.privacy.budget_file import account

    if step.__name__ not in _READING:
        return []
    shared, policy = account(), circumstance("policy")
    told = []
    if shared is not None:
        with shared.path.open("rb") as file:  # its first line says of what it is, and when it was made
            told.append(f"budget {hashlib.sha256(file.readline()).hexdigest()}")
    if policy:
        told.append(f"policy {digest(Path(policy).expanduser()) or policy}")
    return told


def fetch(key: str, step: Step, given: Given, cache: Cache) -> Lookup:
    """Put the outputs of a step in their places, if the cache has them; tell whether it did."""
    entry = cache.find(key)
    if entry is not None:
        for name, port in _outputs(step, given).items():
            _restore(entry / name, given[name], port)
    tally = cache.tally
    return Lookup(entry is not None, tally.hits, tally.lookups)


def keep(key: str, step: Step, given: Given, cache: Cache) -> None:
    """Put the outputs of a step into the cache."""
    cache.keep(key, {name: Path(str(given[name])) for name in _outputs(step, given)})


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


def _outputs(step: Step, given: Given) -> dict[str, Port]:
    return {name: port for name, port in ports(step).items() if port.direction == "out" and name in given}


def _endings(place: Place | tuple[Place, ...]) -> list[str]:
    """Return the endings of names, which say how files are read and written."""
    return ["".join(Path(part).suffixes) for part in (place if isinstance(place, tuple) else (place,))]


def _restore(source: Path, place: Place | tuple[Place, ...], port: Port) -> None:
    if port.kind == "model":
        from synth_components.io import artifact

        artifact.copy(source, Path(str(place)))
        return
    with writing(locate(str(place))) as part:
        shutil.copyfile(source, part)
