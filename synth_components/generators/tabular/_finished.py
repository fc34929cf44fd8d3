"""A finished member of a fit that was stopped and goes on: its sampler, what it charged, and the stream after it.

Without it a fit of several would begin with the first of them after each stop, and where stops are frequent never end.
Under a budget nothing is kept, as of no private training.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy import random

from synth_components.checkpoint import FINISHED, FINISHED_FILE, Checkpoint, remove
from synth_components.config import Recipe
from synth_components.digest import digest
from synth_components.errors import ArtifactError, SynthError
from synth_components.privacy.ledger import ORDERS, number
from synth_components.protocols import Budget, Dataset, Floats, Generator, PrivacyLedger, Run, Sampler

_LOG = logging.getLogger(__name__)

_FORMAT = "synth_components.finished/1"


@dataclass
class _Charging:
    """A ledger without a limit that also keeps what is charged to it.

    Attributes:
        of: The ledger.
        charges: Label, curve and delta of each charge, as JSON values.
    """

    of: PrivacyLedger
    charges: list[tuple[str, list[float | str], float]] = field(default_factory=list)

    def remaining(self) -> Budget | None:
        """Return what is left."""
        return self.of.remaining()

    def spend(self, label: str, rdp: Callable[[Floats], Floats], *, delta: float = 0.0) -> None:
        """Charge a curve, and keep it."""
        self.of.spend(label, rdp, delta=delta)
        self.charges.append((label, [number(float(one)) for one in rdp(ORDERS)], delta))

    def epsilon(self, delta: float) -> float:
        """Return the loss so far."""
        return self.of.epsilon(delta)


class _Kept(NamedTuple):
    """A charge as it was written down: of a fit without a limit, since under one nothing is kept."""

    label: str
    rdp: Floats
    delta: float

    def curve(self, orders: Floats) -> Floats:
        """Return the curve on ``ORDERS``, which a ledger asks for."""
        del orders
        return self.rdp


def fitted_once(recipe: Generator, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> Sampler:
    """Return a fitted sampler: the one in ``run.checkpoint``, if the same fit ended before a stop.

    Ledger and stream are then as the fit left them.

    Raises:
        ArtifactError: if what is there is damaged, or of another fit.
    """
    kind = getattr(importlib.import_module(type(recipe).__module__), "SAMPLER", None)
    # Several processes would have to agree on what is there; a stream of another kind has no JSON value.
    is_kept = (
        run.checkpoint is not None
        and run.world_size == 1
        and ledger.remaining() is None
        and isinstance(recipe, Recipe)
        and kind is not None
        and isinstance(rng.bit_generator, np.random.PCG64)
    )
    if run.checkpoint is None or not is_kept or kind is None:
        return recipe.fit(data, rng=rng, ledger=ledger, run=run)
    place, fit = run.checkpoint / FINISHED, _fit(recipe, data, rng, run)
    if place.exists():
        return _taken(place, fit, kind, rng=rng, ledger=ledger)
    told = _Charging(ledger)
    sampler = recipe.fit(data, rng=rng, ledger=told, run=run)
    remove(run.checkpoint)  # the state of the training, which is over
    _keep(place, sampler, {"fit": fit, "stream": rng.bit_generator.state, "charges": told.charges})
    return sampler


def weights_place(recipe: Recipe, data: Dataset, *, rng: random.Generator, run: Run) -> Checkpoint | None:
    """Return where weights that a fit finds between those of members are kept; ``None`` for nowhere."""
    if run.checkpoint is None or run.world_size > 1 or not isinstance(rng.bit_generator, np.random.PCG64):
        return None
    return Checkpoint(run.checkpoint, _fit(recipe, data, rng, run), "weights")


def _fit(recipe: object, data: Dataset, rng: random.Generator, run: Run) -> str:
    """Return the SHA-256 of all that a fit depends on."""
    assert isinstance(recipe, Recipe)  # noqa: S101 - as the caller found
    facts = [
        type(recipe).__qualname__,
        recipe.canonical(),
        rng.bit_generator.state,
        run.device,
        None if run.monitor is None else run.monitor.digest(),
        data.schema.canonical(),
        data.is_trial,
        digest({name: data.batches(name) for name in data.schema.tables}),
        None if data.owners is None else hashlib.sha256(np.ascontiguousarray(data.owners).tobytes()).hexdigest(),
        [_version(name) for name in ("synth-components", "numpy", "torch")],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _keep(place: Path, sampler: Sampler, told: dict[str, Any]) -> None:
    """Write a sampler and what is told of its fit, whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    staging = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        (staging / "sampler").mkdir(parents=True)
        sampler.save(staging / "sampler")
        value = {"format": _FORMAT, **told, "files": _files(staging / "sampler")}
        (staging / FINISHED_FILE).write_text(json.dumps(value, allow_nan=False), encoding="utf-8")
        staging.replace(place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _taken(place: Path, fit: str, kind: type[Sampler], *, rng: random.Generator, ledger: PrivacyLedger) -> Sampler:
    """Return the sampler of a finished fit, charge what that charged, and put the stream where it left it."""
    try:
        told = json.loads((place / FINISHED_FILE).read_text(encoding="utf-8"))
        _require(told, place, fit)
        sampler = kind.load(place / "sampler")
        charges = [_Kept(str(label), np.array(rdp, dtype=np.float64), float(d)) for label, rdp, d in told["charges"]]
        rng.bit_generator.state = told["stream"]
    except ArtifactError:
        raise
    except (SynthError, OSError, KeyError, TypeError, ValueError):
        raise ArtifactError(f"'{place}' is damaged; remove it, and its member is fitted anew") from None
    for kept in charges:
        ledger.spend(kept.label, kept.curve, delta=kept.delta)
    _LOG.info("a member that was fitted before the stop is taken from the checkpoint")
    return sampler


def _require(told: dict[str, Any], place: Path, fit: str) -> None:
    """Raise unless what was written is of this version and of the fit, and its files are as they were."""
    if told["format"] != _FORMAT:
        raise ArtifactError(f"'{place}' is not of this version; remove it, or name another folder")
    if told["fit"] != fit:
        raise ArtifactError(
            f"'{place}' is of another fit: other rows, options, seed, or version; remove it, or name another folder"
        )
    if told["files"] != _files(place / "sampler"):
        raise ArtifactError(f"'{place}' is damaged; remove it, and its member is fitted anew")


def _files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file by its path within a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
