"""The vocabulary.  n = rows, w = feature width.  ``rng`` is always passed in; nothing reads a global one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
from numpy import random
from numpy.typing import NDArray
from pandas import DataFrame, Series

from synth_components.schema import TABLE, Schema, Value

Floats: TypeAlias = NDArray[np.float64]
Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Seed: TypeAlias = int

BLOCK_ROWS = 16_384
"""Rows are drawn in blocks of this size, each with a random stream of its own."""


@dataclass(frozen=True)
class Dataset:
    """Named tables obeying one schema: one for tabular, several for relational, series, graph.

    Attributes:
        tables: The rows.
        schema: What they obey.
        owners: The privacy unit (n,) of each row of a single table, from 0, where the columns that tell it are keys or
            text, made anew and therefore not among those that are learnt; ``split.taken`` keeps it with some rows.
        is_trial: Whether what is fitted to these rows is one of several that a search judges: rows support what it
            keeps, and not units, of which some of the rows may have few.
    """

    tables: Mapping[str, DataFrame]
    schema: Schema
    owners: NDArray[np.int64] | None = field(default=None, kw_only=True, compare=False, repr=False)
    is_trial: bool = field(default=False, kw_only=True, compare=False, repr=False)

    @property
    def table(self) -> DataFrame:
        """The root table."""
        return self.tables[self.schema.root]

    @property
    def is_lazy(self) -> bool:
        """Whether rows stay where they are stored: ``table`` then refuses, and ``batches`` reads them."""
        return False

    def batches(self, table: str = TABLE, rows: int = 131_072) -> Iterator[DataFrame]:
        """Yield consecutive parts of a table, each of at most ``rows`` rows."""
        whole = self.tables[table]
        for start in range(0, len(whole), rows):
            yield whole.iloc[start : start + rows]

    def num_rows(self, table: str = TABLE) -> int:
        """Return the number of rows of a table."""
        return len(self.tables[table])


@dataclass(frozen=True)
class Budget:
    """The most privacy loss allowed: (epsilon, delta)-differential privacy."""

    epsilon: float
    delta: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a budget that means nothing."""
        if not (self.epsilon >= 0 and 0 <= self.delta < 1):
            raise ValueError(f"epsilon ({self.epsilon}) must be >= 0 and delta ({self.delta}) in [0, 1)")


class PrivacyLedger(Protocol):
    """The account that every read of raw rows is charged to.  ``privacy.ledger.Ledger`` is ours."""

    def remaining(self) -> Budget | None:
        """Return what is left; ``None`` means no limit."""

    def spend(self, label: str, rdp: Callable[[Floats], Floats], *, delta: float = 0.0) -> None:
        """Charge a Renyi-DP curve, orders (a,) to nats (a,), *before* reading rows, or raise."""

    def epsilon(self, delta: float) -> float:
        """Return the loss so far; 0 if nothing was read, ``inf`` once anything non-private ran."""


@dataclass(frozen=True)
class Interval:
    """All values from ``low`` to ``high``, inclusive; ``None`` is open, datetimes are ISO text."""

    low: float | int | str | None = None
    high: float | int | str | None = None


Allowed: TypeAlias = Interval | frozenset[Value | None]


@dataclass(frozen=True)
class Given:
    """What the drawn rows must satisfy.

    Attributes:
        rows: One request row per output row over any columns; null means free.  ``None``: nothing is fixed.
        allowed: Interval or set of values by column, for every row; ``None`` within a set means null.
    """

    rows: DataFrame | None = None
    allowed: Mapping[str, Allowed] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are conditioned on."""
        fixed = () if self.rows is None else tuple(str(name) for name in self.rows.columns)
        return (*fixed, *(name for name in self.allowed if name not in fixed))


def report_nothing(done: int, total: int, /, **metrics: float) -> None:
    """Discard progress."""


def _never() -> bool:
    return False


class Report(Protocol):
    """How progress leaves a fit."""

    def __call__(self, done: int, total: int, /, **metrics: float) -> None:
        """Tell that ``done`` of ``total`` units of work are finished, and metrics by name."""


class Monitor(Protocol):
    """Who judges a model while it trains: ``monitor.QualityMonitor`` is ours.  Epochs count from 1.

    A fit judges after its last epoch, too, due or not.
    """

    def begin(self, epoch: int = 0, quality: float = -math.inf) -> None:
        """Forget what an earlier fit told; take over the best quality of one that goes on, and its epoch."""

    def is_due(self, epoch: int) -> bool:
        """Return whether to judge after an epoch."""

    def judge(self, sampler: Sampler, epoch: int) -> dict[str, float]:
        """Return scores by name, ``quality`` among them; larger is better."""

    def is_over(self, epoch: int) -> bool:
        """Return whether training should end."""

    def digest(self) -> str:
        """Return the SHA-256 (hex) of what its judgements depend on.

        A fit goes on from a checkpoint only under a monitor of the same digest: qualities of others do not compare.
        """


@dataclass(frozen=True)
class Run:
    """The circumstances of one fit.  Metrics leave a fit only through ``report``.

    Attributes:
        device: Torch device name.
        rank: This process among ``world_size``.
        checkpoint: Folder for resumable state, ``None`` for none.
        warm_start: Saved model to start from, ``None`` for none.
        holdout: Real rows for early stopping; never under a finite budget.
        report: Progress and metrics.
        should_stop: Whether to end early, cleanly.
        monitor: Judges the model while it trains, ``None`` for none; never under a finite budget.
    """

    device: str = "cpu"
    rank: int = 0
    world_size: int = 1
    checkpoint: Path | None = None
    warm_start: Path | None = None
    holdout: Dataset | None = None
    report: Report = report_nothing
    should_stop: Callable[[], bool] = _never
    monitor: Monitor | None = None


class Sampler(Protocol):
    """What ``fit`` returns: immutable, free of raw rows, safe to ship."""

    @property
    def schema(self) -> Schema:
        """The schema that sampled datasets obey."""

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return one block: exactly ``n`` entities of the root table, and the rows that belong to them.

        Raises:
            UnsupportedError: if this sampler cannot condition on ``given``; ``Model`` then resamples.
            ConditionError: if the model gives ``given`` no mass.
        """

    def save(self, directory: Path) -> None:
        """Write arrays (safetensors) and JSON into an existing empty folder; never pickle."""

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""


@runtime_checkable
class Generator(Protocol):
    """A recipe: a frozen pydantic model of hyper-parameters, holding no data."""

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> Sampler:
        """Learn from ``data`` without changing it, charging ``ledger`` before every read."""


class Mergeable(Protocol):
    """A recipe whose fit splits into parts: one mechanism for federated, sharded and out-of-core fits."""

    def measure(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger) -> Arrays:
        """Return the statistics of one part, charging its ledger."""

    def combine(self, parts: Sequence[Arrays]) -> Sampler:
        """Return the sampler of all parts together."""


class Encoder(Protocol):
    """Column to features and back: a function of the schema alone, so it costs no privacy."""

    @property
    def width(self) -> int:
        """Number of features."""

    def encode(self, values: Series[Any]) -> Floats:
        """Return features (n, w); null is NaN in the first."""

    def decode(self, features: Floats) -> Series[Any]:
        """Return values (n,) with the column's dtype; ``decode(encode(x)) == x`` for x within the schema."""


@dataclass(frozen=True)
class Score:
    """One number about synthetic data.

    Attributes:
        name: The metric, dotted by group: ``fidelity.marginal.ks``.
        value: The score; NaN never, an absent score is left out.
        interval: 95 % interval of the value, by resampling the judged rows; ``None`` where none was made.
        deviation: Standard deviation over resamples; 0 where there is no interval.
        floor: The same score of an independent real sample of the same size (real against real).
        ideal: The value of perfect synthetic data.
        subject: Columns, pair or task that the score is about; empty for the whole table.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    deviation: float
    floor: float
    ideal: float
    subject: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What a metric found: scores, curves to draw and tables to print, all JSON-able, without raw rows."""

    scores: tuple[Score, ...] = ()
    curves: Mapping[str, DataFrame] = field(default_factory=dict)
    tables: Mapping[str, DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What the judge knows beside the tables.

    Attributes:
        target: Column to predict, ``None`` for no task.
        task: ``classification`` or ``regression``, ``None`` for no task.
        unit: Columns that identify the privacy unit; empty means a row.
    """

    target: str | None = None
    task: str | None = None
    unit: tuple[str, ...] = ()


class Metric(Protocol):
    """A judge of synthetic data."""

    def __call__(
        self, train: Dataset, holdout: Dataset, synthetic: Dataset, *, context: Context, rng: random.Generator
    ) -> Evidence:
        """Return scores, curves and tables."""
