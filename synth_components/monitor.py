"""How good a model is while it trains: some drawn rows against some that were held out, every few epochs.

A monitor belongs to one fit at a time (``Run.monitor``).  The training loop asks it after an epoch; its scores go where
all metrics of a fit go, to the progress bar, MLflow and the metric lines of SageMaker.  It reads held-out rows without
differential privacy: under a finite budget a fit with a monitor is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from synth_components.config import ConfigError, Recipe
from synth_components.digest import digest as digest_of
from synth_components.errors import DataError, UnsupportedError
from synth_components.generators import names, recipe_type
from synth_components.null_indicator import modelled
from synth_components.protocols import Dataset, Sampler
from synth_components.schema import Schema

if TYPE_CHECKING:
    from synth_components.evaluation.columns import Codes

_LOG = logging.getLogger(__name__)

LEAST_ROWS = 50
"""Fewest held-out rows that a monitor judges by."""

SCORES = ("quality", "quality_shape", "quality_pairs", "quality_detection")
"""What a judgement tells."""

Alert = Callable[[int, Mapping[str, float]], None]


@dataclass
class QualityMonitor:
    """Scores a model in training, tells when to stop, and calls for help.

    Attributes:
        held_out: Rows that the model does not learn from.
        every: Epochs between two judgements, 1 or more; a fit asks after its last epoch, too.
        patience: Judgements without a better quality after which training ends; 0 never ends it.
        alert_below: Quality below which ``alert`` is called, from the judgement after the first; 0 never calls.
        alert: What to call, with the epoch, counted from 1, and the scores; by default a warning is logged.
        max_rows: Most rows drawn, and most held-out rows, per judgement.
        seed: Of what is drawn and judged.
    """

    held_out: Dataset
    every: int = 1
    patience: int = 0
    alert_below: float = 0.0
    alert: Alert | None = None
    max_rows: int = 2_000
    seed: int = 0
    best: float = field(default=-math.inf, init=False)
    best_epoch: int = field(default=0, init=False)
    _judged: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Take of the rows what generators learn, and refuse too few of them.

        Raises:
            ConfigError: for ``every``, ``patience`` or ``max_rows`` below its least value.
            DataError: for too few rows.
        """
        for option, least in (("every", 1), ("patience", 0), ("max_rows", 1)):
            if getattr(self, option) < least:
                raise ConfigError(
                    f"option '{option}' of a monitor is {least} or more, not {getattr(self, option)}", option=option
                )
        self.held_out = modelled(self.held_out)
        rows = len(self.held_out.table)
        if rows < LEAST_ROWS:
            raise DataError(
                f"a monitor judges by {LEAST_ROWS} held-out rows or more, and there are {rows}; set a larger share "
                "apart (monitor_share)"
            )

    def begin(self, epoch: int = 0, quality: float = -math.inf) -> None:
        """Forget what an earlier fit told; take over the best quality of one that goes on, and its epoch."""
        self.best, self.best_epoch, self._judged = quality, epoch, int(epoch > 0)

    def is_due(self, epoch: int) -> bool:
        """Return whether to judge after an epoch, counted from 1."""
        return epoch % self.every == 0

    def judge(self, sampler: Sampler, epoch: int) -> dict[str, float]:
        """Return ``quality``, ``quality_shape``, ``quality_pairs`` and ``quality_detection``, each in [0, 1].

        Quality is the mean of the three.  Shape is one less the mean total variation of the columns, pairs that of
        pairs of columns, both in shared bins and counting nulls; detection is the C2ST of a boosted detector.
        """
        from synth_components.evaluation.detection import c2st

        rows = min(self.max_rows, len(self.held_out.table))
        drawn = sampler.sample(rows, rng=np.random.default_rng(self.seed))
        real = _alike(self.held_out, drawn.schema)
        shape, pairs = _agreement(real, drawn)
        detection = c2st(real, drawn, rng=np.random.default_rng(self.seed), rows=rows)
        quality = (shape + pairs + detection) / 3
        made = {
            "quality": quality,
            "quality_shape": shape,
            "quality_pairs": pairs,
            "quality_detection": detection,
        }
        self._judged += 1
        if quality > self.best:
            self.best, self.best_epoch = quality, epoch
        if self._judged > 1 and quality < self.alert_below:
            (self.alert or _warn)(epoch, made)
        return made

    def is_over(self, epoch: int) -> bool:
        """Return whether quality has not risen for ``patience`` judgements."""
        return self.patience > 0 and epoch - self.best_epoch >= self.patience * self.every

    def digest(self) -> str:
        """Return the SHA-256 (hex) of what its judgements depend on.

        That is the class, the held-out rows, and all options but those of alerts.
        """
        told = [type(self).__qualname__, self.every, self.patience, self.max_rows, self.seed]
        rows = digest_of({name: [table] for name, table in self.held_out.tables.items()})
        return hashlib.sha256(json.dumps([*told, rows, self.held_out.schema.canonical()]).encode()).hexdigest()


def require_monitored(recipe: Recipe, name: str) -> None:
    """Raise unless the fit of a recipe asks a monitor.

    Raises:
        UnsupportedError: naming the installed generators whose fit does.
    """
    if not type(recipe).is_monitored:
        known = ", ".join(name for name in names() if recipe_type(name).is_monitored)
        raise UnsupportedError(f"{name} asks no monitor while it trains; drop it, or fit one that does: {known}")


def _warn(epoch: int, scores: Mapping[str, float]) -> None:
    _LOG.warning("after epoch %d the quality on held-out rows is %.3f", epoch, scores["quality"])


def _alike(real: Dataset, drawn: Schema) -> Dataset:
    """Return the rows without columns that a sampler draws as another type: numbers for names of sequences."""
    columns = {n: c for n, c in real.schema.columns.items() if type(c) is type(drawn.columns.get(n))}
    if len(columns) == len(real.schema.columns):
        return real
    schema = Schema({real.schema.root: columns}, real.schema.root)
    return Dataset({real.schema.root: real.table[list(columns)]}, schema)


_BINS = 8
_COLUMNS = 30  # of pairs: those of wider tables are a sample, evenly spread


def _agreement(real: Dataset, drawn: Dataset) -> tuple[float, float]:
    """Return one less the mean total variation of columns, and of pairs of them."""
    from synth_components.evaluation.columns import binned, coded, spread

    view = binned(coded(real, real, drawn), bins=_BINS, max_categories=_BINS)
    width = len(view.sizes)
    singles = [_overlap(view.train[:, j], view.synthetic[:, j], view.sizes[j]) for j in range(width)]
    kept = spread(width, _COLUMNS)
    pairs = [
        _overlap(
            view.train[:, i] * view.sizes[j] + view.train[:, j],
            view.synthetic[:, i] * view.sizes[j] + view.synthetic[:, j],
            view.sizes[i] * view.sizes[j],
        )
        for place, i in enumerate(kept)
        for j in kept[:place]
    ]
    return float(np.mean(singles)), float(np.mean(pairs or singles))


def _overlap(ours: Codes, theirs: Codes, size: int) -> float:
    """Return the mass that two columns of bins share."""
    first, second = (np.bincount(part, minlength=size) / len(part) for part in (ours, theirs))
    return float(np.minimum(first, second).sum())
