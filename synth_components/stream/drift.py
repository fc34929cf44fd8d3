"""Drift of a stream: chunks of rows against a reference, with a bound on false alarms that holds for ever.

What is compared are shares of rows: null, at most an edge, in a category, outside all kept categories; for pairs of
columns, two of these at once; and, for pairs of numbers, the mean product of their ranks, as in Spearman's coefficient.
Edges and ranks come from one half of the reference rows, shares and means from the other half.  Of each an interval is
kept, and an alarm needs a chunk that is too far outside of it.

Half of ``false_alarms`` pays for the intervals, half for the chunks, of which chunk k = 1, 2, ... may spend the share
1 / (k (k + 1)): these add up to 1, however long the stream is.  Both halves are divided by the number of shares and
means, twice since each can be too large and too small (Bonferroni).  So a stream whose rows keep to the distribution of
the reference ever raises an alarm with probability ``false_alarms`` at most.  It holds for independent rows.

Source: Clopper & Pearson 1934 (Biometrika 26), intervals of shares; Maurer & Pontil 2009 (arXiv:0907.3740), Theorem 4,
of means; Foster & Stine 2008 (JRSS B 70), alpha spending.
Differs: pairs are tested on few shares of each column, so that a wide table does not dilute the bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from synth_components.config import MIN_CATEGORY_COUNT, Config
from synth_components.encode import cast_to
from synth_components.errors import DataError, UnsupportedError
from synth_components.evaluation.columns import numbers_of, seconds_of
from synth_components.privacy.budget_file import opened
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Floats
from synth_components.schema import AnyColumn, Boolean, Categorical, Datetime, Image, Key, Numeric, Schema, Text

MIN_REFERENCE_ROWS = 1_000
"""Fewest rows of a reference: with fewer, its shares are known too badly to tell anything."""

MAX_CATEGORIES = 12
PAIR_SHARES = 128
"""About how many shares, over all columns, are paired with each other; each column has between one and four."""

_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)

RANKS = 64
"""Quantiles among which a number has its rank."""

Kind: TypeAlias = Literal["values", "nulls", "association"]
Mask: TypeAlias = NDArray[np.bool_]


class DriftConfig(Config):
    """How sure an alarm is, and what counts as none."""

    false_alarms: float = Field(
        0.01, gt=0, lt=1, description="Most probability of any alarm in a stream that does not drift, however long."
    )
    tolerance: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Difference of a share of rows that is no drift; above 0 where the reference are real rows, since "
        "no model equals them.",
    )


@dataclass(frozen=True)
class Alarm:
    """A share of rows that left the reference.

    Attributes:
        chunk: Number of the chunk, from 1.
        columns: One column, or two for an association.
        kind: What drifted.
        share: Share of the chunk's rows, or mean product of ranks, scaled to [0, 1] with one half for none.
        low: Least that the reference and the tolerance allow.
        high: Most that they allow.
        p_value: Bound on the probability of one so far outside.
    """

    chunk: int
    columns: tuple[str, ...]
    kind: Kind
    share: float
    low: float
    high: float
    p_value: float

    def __str__(self) -> str:
        """Return the alarm in words, without any value of a cell."""
        named = " and ".join(f"'{name}'" for name in self.columns)
        what = {"values": f"values of {named}", "nulls": f"nulls of {named}", "association": f"association of {named}"}
        return (
            f"chunk {self.chunk}: the {what[self.kind]} drifted; {self.share:.4f} where the reference has "
            f"{self.low:.4f} to {self.high:.4f}"
        )


@dataclass(frozen=True)
class Gauge:
    """The shares of one column that are watched: null first, then edges or categories.

    Attributes:
        name: Name of the column.
        column: The column of the schema.
        edges: Rows at most each of these are counted, (e,).
        categories: Rows in each of these are counted, and rows in none.
        grid: Quantiles of the present values, (g,), among which a number has its rank.
    """

    name: str
    column: AnyColumn
    edges: Floats
    categories: tuple[Any, ...]
    grid: Floats

    @property
    def size(self) -> int:
        """Number of shares."""
        return 1 + len(self.edges) + (len(self.categories) + 1 if self.categories else 0)

    def events(self, values: pd.Series[Any]) -> Mask:
        """Return which rows count for each share, (n, size)."""
        if isinstance(self.column, Categorical | Boolean):
            null = values.isna().to_numpy(dtype=bool)
            if not self.categories:
                return null[:, None]
            codes = pd.Index(list(self.categories), dtype=object).get_indexer(pd.Index(_objects(values)))
            inside = codes[:, None] == np.arange(len(self.categories))
            return np.column_stack([null, inside & ~null[:, None], (codes < 0) & ~null])
        numbers = _numbers(values, self.column)
        # A comparison with NaN is false: null counts for no edge.
        return np.column_stack([np.isnan(numbers), numbers[:, None] <= self.edges])

    def ranks(self, values: pd.Series[Any]) -> Floats:
        """Return the ranks of a column of numbers in [-1, 1], 0 for null, (n,)."""
        numbers = _numbers(values, self.column)
        below = np.searchsorted(self.grid, numbers, side="left") + np.searchsorted(self.grid, numbers, side="right")
        made: Floats = np.where(np.isnan(numbers), 0.0, below / len(self.grid) - 1.0)
        return made


@dataclass(frozen=True)
class Reference:
    """What the rows of a stream were like when they were as they should be: intervals, and no row.

    Attributes:
        gauges: What is counted, by column.
        low: Lower ends of the intervals, (w, w): of single shares on the diagonal, of pairs above it, NaN elsewhere.
        high: Upper ends.
        mean_low: Lower ends of the intervals of mean products, (r, r): above the diagonal, NaN elsewhere.
        mean_high: Upper ends.
        config: How sure an alarm is.
    """

    gauges: tuple[Gauge, ...]
    low: Floats
    high: Floats
    mean_low: Floats
    mean_high: Floats
    config: DriftConfig

    @property
    def num_tests(self) -> int:
        """Number of tests of a chunk: two for each share and each mean."""
        return _num_tests(~np.isnan(self.low), ~np.isnan(self.mean_low))

    def alarms(self, table: pd.DataFrame, *, chunk: int) -> tuple[Alarm, ...]:
        """Return what drifted in a chunk: of each column and pair the surest alarm, the surest first.

        A pair is left out if one of its columns raises an alarm itself.

        Args:
            table: Rows with the columns of the reference's schema.
            chunk: Number of the chunk, from 1; each number may be asked about once.
        """
        if len(table) < 2:
            return ()
        level = self.config.false_alarms / 2 / self.num_tests / (chunk * (chunk + 1))
        found: dict[tuple[str, ...], Alarm] = {}
        for alarm in sorted(self._all(table, chunk, level), key=lambda one: (len(one.columns), one.p_value)):
            is_explained = len(alarm.columns) > 1 and any((name,) in found for name in alarm.columns)
            if alarm.columns not in found and not is_explained:
                found[alarm.columns] = alarm
        return tuple(sorted(found.values(), key=lambda alarm: alarm.p_value))

    def _all(self, table: pd.DataFrame, chunk: int, level: float) -> Iterator[Alarm]:
        n, margin = len(table), self.config.tolerance
        counts = _counts(self.gauges, table)
        low, high = self.low - margin, self.high + margin
        p_values = _share_p_values(counts, n, low, high)
        owners = [gauge.name for gauge in self.gauges for _ in range(gauge.size)]
        nulls = set(np.cumsum([0, *(gauge.size for gauge in self.gauges)]).tolist())
        for i, j in np.argwhere(p_values <= level).tolist():
            columns = (owners[i],) if i == j else (owners[i], owners[j])
            kind: Kind = "association" if i != j else "nulls" if i in nulls else "values"
            ends = float(max(low[i, j], 0.0)), float(min(high[i, j], 1.0))
            yield Alarm(chunk, columns, kind, float(counts[i, j] / n), *ends, float(p_values[i, j]))
        ranked = _ranked(self.gauges)
        if len(ranked) < 2:
            return
        means, variances = _products(ranked, table)
        low, high = self.mean_low - margin, self.mean_high + margin
        p_values = _mean_p_values(means, variances, n, low, high)
        for i, j in np.argwhere(p_values <= level).tolist():
            columns = (ranked[i].name, ranked[j].name)
            ends = float(max(low[i, j], 0.0)), float(min(high[i, j], 1.0))
            yield Alarm(chunk, columns, "association", float(means[i, j]), *ends, float(p_values[i, j]))


def reference(
    table: pd.DataFrame, schema: Schema, *, config: DriftConfig | None = None, ledger: Ledger | None = None
) -> Reference:
    """Return what a stream is compared with, from rows without drift.

    Args:
        table: The rows: the first ones of the stream, or real ones.  Real rows are read without privacy.
        schema: Schema with one table.
        config: How sure an alarm is.
        ledger: Written to, not charged, whatever the rows are, since nobody can tell; one with ``account=SETTLED``
            says that they are the stream's own.  ``None`` writes to the budget file, if one is named.

    Raises:
        BudgetExceededError: if the budget file refuses such reads; nothing was read.
        UnsupportedError: for a ledger with a budget, which is then unchanged.
        DataError: for fewer than ``MIN_REFERENCE_ROWS`` rows.
        SchemaError: for values that the schema's columns do not have.
    """
    if ledger is not None and ledger.budget is not None:
        raise UnsupportedError(
            "a ledger with a budget was given, and the reference of a stream is read without noise; give the stream's "
            "own first rows, and no budget"
        )
    config = DriftConfig() if config is None else config
    if len(table) < MIN_REFERENCE_ROWS:
        raise DataError(f"the reference of a stream has {len(table)} rows; give at least {MIN_REFERENCE_ROWS:,}")
    opened(ledger).note_uncovered(f"reference of a stream: {len(table)} rows")
    # Every other row, so that both halves are alike even if the rows are sorted.
    gauges = tuple(_gauge(name, column, table[name].iloc[::2]) for name, column in schema.columns.items())
    counted = table.iloc[1::2]
    counts = _counts(gauges, counted)
    tested = _tested(gauges, np.diag(counts) / len(counted))
    ranked = _ranked(gauges)
    paired = np.triu(np.ones((len(ranked), len(ranked)), dtype=bool), k=1)
    tail = config.false_alarms / 2 / _num_tests(tested, paired)
    low, high = _share_intervals(counts, len(counted), tail, tested)
    mean_low, mean_high = _mean_intervals(ranked, counted, tail, paired)
    return Reference(gauges, low, high, mean_low, mean_high, config)


def _num_tests(tested: Mask, paired: Mask) -> int:
    return 2 * int(tested.sum() + paired.sum())


def _gauge(name: str, column: AnyColumn, values: pd.Series[Any]) -> Gauge:
    match column:
        case Numeric() | Datetime():
            numbers = _numbers(values, column)
            present = numbers[~np.isnan(numbers)]
            grid = np.quantile(present, np.linspace(0, 1, RANKS), method="lower") if len(present) else np.empty(0)
            return Gauge(name, column, _edges(present), (), grid)
        case Categorical() | Boolean():
            counts = _objects(values).value_counts()
            kept = counts[counts >= MIN_CATEGORY_COUNT].head(MAX_CATEGORIES)
            return Gauge(name, column, np.empty(0), tuple(kept.index), np.empty(0))
        case Text() | Image() | Key():  # made anew: of these, only the nulls are learned
            return Gauge(name, Categorical(categories=()), np.empty(0), (), np.empty(0))


def _edges(present: Floats) -> Floats:
    if not len(present):
        return np.empty(0)
    edges: Floats = np.unique(np.quantile(present, _QUANTILES, method="lower"))
    if len(edges) < len(_QUANTILES):  # a value takes much of the column: look at the others by themselves too
        values, counts = np.unique(present, return_counts=True)
        others = present[present != values[np.argmax(counts)]]
        if len(others):
            edges = np.union1d(edges, np.quantile(others, _QUANTILES, method="lower"))
    return edges


def _numbers(values: pd.Series[Any], column: AnyColumn) -> Floats:
    return seconds_of(values, column) if isinstance(column, Datetime) else numbers_of(values)


def _objects(values: pd.Series[Any]) -> pd.Series[Any]:
    return cast_to(values, object)


def _counts(gauges: Sequence[Gauge], table: pd.DataFrame) -> Floats:
    """Return of how many rows each share consists, and each pair of shares, (w, w)."""
    events = np.column_stack([gauge.events(table[gauge.name]) for gauge in gauges])  # (n, w)
    exact = events.astype(np.float64)
    counts: Floats = exact.T @ exact
    return counts


def _tested(gauges: Sequence[Gauge], shares: Floats) -> Mask:
    """Return which shares are tested, on the diagonal, and which pairs, above it: those nearest to one half."""
    most = int(np.clip(PAIR_SHARES // max(len(gauges), 1), 1, 4))
    paired = np.zeros(len(shares), dtype=bool)
    for places in _places(gauges):
        paired[places[np.argsort(np.abs(shares[places] - 0.5), kind="stable")[:most]]] = True
    owners = np.repeat(np.arange(len(gauges)), [gauge.size for gauge in gauges])
    tested = paired[:, None] & paired & (owners[:, None] < owners)
    np.fill_diagonal(tested, val=True)
    return tested


def _places(gauges: Sequence[Gauge]) -> Iterator[NDArray[np.int64]]:
    start = 0
    for gauge in gauges:
        yield np.arange(start, start + gauge.size)
        start += gauge.size


def _share_intervals(counts: Floats, n: int, tail: float, tested: Mask) -> tuple[Floats, Floats]:
    """Return Clopper-Pearson intervals of shares, each end wrong with probability ``tail`` at most."""
    from scipy.special import betaincinv

    held = counts[tested]
    low, high = np.full(counts.shape, np.nan), np.full(counts.shape, np.nan)
    some, not_all = np.maximum(held, 1), np.maximum(n - held, 1)
    low[tested] = np.where(held > 0, betaincinv(some, n - some + 1, tail), 0.0)
    high[tested] = np.where(held < n, 1 - betaincinv(not_all, n - not_all + 1, tail), 1.0)
    return low, high


def _share_p_values(counts: Floats, n: int, low: Floats, high: Floats) -> Floats:
    """Return binomial tails beyond the intervals' ends, 1 within them and where there is no interval, (w, w)."""
    from scipy.special import betainc

    p_values = np.ones(counts.shape)
    above, below = (counts > n * high) & (high < 1), (counts < n * low) & (low > 0)  # false for NaN
    p_values[above] = betainc(counts[above], n - counts[above] + 1, high[above])
    p_values[below] = betainc(n - counts[below], counts[below] + 1, 1 - low[below])
    return p_values


def _ranked(gauges: Sequence[Gauge]) -> list[Gauge]:
    return [gauge for gauge in gauges if len(gauge.grid)]


def _products(ranked: Sequence[Gauge], table: pd.DataFrame) -> tuple[Floats, Floats]:
    """Return mean and variance of each product of ranks, scaled to [0, 1], (r, r)."""
    ranks = np.column_stack([gauge.ranks(table[gauge.name]) for gauge in ranked])
    n = len(ranks)
    first, second = ranks.T @ ranks / n, (ranks**2).T @ ranks**2 / n
    return (1 + first) / 2, (second - first**2) * n / (n - 1) / 4


def _mean_intervals(ranked: Sequence[Gauge], table: pd.DataFrame, tail: float, paired: Mask) -> tuple[Floats, Floats]:
    """Return empirical Bernstein intervals of means, each end wrong with probability ``tail`` at most."""
    if len(ranked) < 2:
        return np.full(paired.shape, np.nan), np.full(paired.shape, np.nan)
    n, nats = len(table), math.log(2 / tail)
    means, variances = _products(ranked, table)
    radius = np.sqrt(2 * variances * nats / n) + 7 * nats / (3 * (n - 1))
    return np.where(paired, means - radius, np.nan), np.where(paired, means + radius, np.nan)


def _mean_p_values(means: Floats, variances: Floats, n: int, low: Floats, high: Floats) -> Floats:
    """Return empirical Bernstein tails beyond the intervals' ends, 1 within them and where there is none, (r, r)."""
    gap = np.nan_to_num(np.maximum(means - high, low - means), nan=0.0).clip(min=0.0)
    # The radius of the bound, a nats + b sqrt(nats), is the gap: solved for sqrt(nats).
    a, b = 7 / (3 * (n - 1)), np.sqrt(2 * variances / n)
    nats = ((np.sqrt(b**2 + 4 * a * gap) - b) / (2 * a)) ** 2
    p_values: Floats = np.minimum(2 * np.exp(-nats), 1.0)
    return p_values
