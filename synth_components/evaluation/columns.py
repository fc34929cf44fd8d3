"""Real and synthetic tables as numbers on shared scales: what every metric reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.encode import cast_to
from synth_components.errors import SchemaError
from synth_components.expression import as_times
from synth_components.protocols import Dataset, Floats
from synth_components.schema import AnyColumn, Boolean, Categorical, Datetime, Image, Key, Numeric, Text

Kind: TypeAlias = Literal["number", "time", "category"]
Codes: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Coded:
    """Three tables on shared scales.

    Attributes:
        kinds: Kind by name of every column that is judged, in order.
        train: (n, d) numbers, seconds since 1970, or codes by descending frequency in train; NaN is null.
        holdout: (m, d) likewise.
        synthetic: (s, d) likewise.
        labels: Text of each code by categorical column.
        skipped: Columns that are generated anew and not compared.
    """

    kinds: Mapping[str, Kind]
    train: Floats
    holdout: Floats
    synthetic: Floats
    labels: Mapping[str, tuple[str, ...]]
    skipped: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are judged."""
        return tuple(self.kinds)

    def is_category(self, name: str) -> bool:
        """Return whether a column holds codes."""
        return self.kinds[name] == "category"

    def only(self, places: NDArray[np.int64]) -> Coded:
        """Return some of the columns, by place."""
        names = [self.names[place] for place in places]
        return Coded(
            {name: self.kinds[name] for name in names},
            self.train[:, places],
            self.holdout[:, places],
            self.synthetic[:, places],
            {name: self.labels[name] for name in names if name in self.labels},
            self.skipped,
        )

    def capped(self, *, train: int, holdout: int, synthetic: int, rng: random.Generator) -> Coded:
        """Return at most so many rows of each table, drawn without replacement."""
        return Coded(
            self.kinds,
            some_rows(self.train, train, rng),
            some_rows(self.holdout, holdout, rng),
            some_rows(self.synthetic, synthetic, rng),
            self.labels,
            self.skipped,
        )


def some_rows(values: Floats, limit: int, rng: random.Generator) -> Floats:
    """Return at most ``limit`` rows, drawn without replacement, in their order."""
    return values if len(values) <= limit else values[some_places(len(values), limit, rng)]


def some_places(n: int, limit: int, rng: random.Generator) -> NDArray[np.int64]:
    """Return the places of at most ``limit`` of ``n`` rows, drawn without replacement, in their order."""
    return np.arange(n) if n <= limit else np.sort(rng.choice(n, size=limit, replace=False))


def spread(width: int, limit: int) -> NDArray[np.int64]:
    """Return at most ``limit`` places, evenly spread over ``width`` columns."""
    made: NDArray[np.int64] = np.unique(np.linspace(0, width - 1, min(width, limit)).round().astype(np.int64))
    return made


def coded(train: Dataset, holdout: Dataset, synthetic: Dataset) -> Coded:
    """Return the root tables on shared scales.

    Raises:
        SchemaError: for a table that lacks a column of the schema, or holds text in a numeric one.
    """
    columns = train.schema.columns
    tables = [
        _complete(data.table, columns, side) for data, side in zip((train, holdout, synthetic), _SIDES, strict=True)
    ]
    kinds: dict[str, Kind] = {}
    labels: dict[str, tuple[str, ...]] = {}
    skipped: list[str] = []
    parts: list[list[Floats]] = [[], [], []]
    for name, column in columns.items():
        match column:
            case Numeric():
                kinds[name] = "number"
                made = [numbers_of(table[name]) for table in tables]
            case Datetime():
                kinds[name] = "time"
                made = [seconds_of(table[name], column) for table in tables]
            case Categorical() | Boolean():
                kinds[name] = "category"
                made, labels[name] = _codes([table[name] for table in tables])
            case Text() | Image() | Key():
                skipped.append(name)
                continue
        for side, values in zip(parts, made, strict=True):
            side.append(values)
    stacked = [
        np.column_stack(side) if side else np.empty((len(table), 0)) for side, table in zip(parts, tables, strict=True)
    ]
    return Coded(kinds, stacked[0], stacked[1], stacked[2], labels, tuple(skipped))


_SIDES = ("train", "holdout", "synthetic")


def _complete(table: pd.DataFrame, columns: Mapping[str, AnyColumn], side: str) -> pd.DataFrame:
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise SchemaError(
            f"the {side} table lacks column '{missing[0]}' of the schema; give tables with the same columns",
            column=missing[0],
            table=side,
        )
    return table


def numbers_of(values: pd.Series[Any]) -> Floats:
    """Return numbers (n,), time spans as seconds; null and infinite values are NaN.

    Raises:
        SchemaError: for a column that holds something else.
    """
    present = values.notna().to_numpy()
    made = np.full(len(values), np.nan)
    held = values[present]
    if held.dtype.kind == "m":
        made[present] = held.dt.total_seconds().to_numpy()
        return made
    try:
        made[present] = held.to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        raise SchemaError(
            f"column '{values.name}' is numeric in the schema and holds something else; cast it, or change the schema",
            column=str(values.name),
        ) from None
    made[np.isinf(made)] = np.nan
    return made


def seconds_of(values: pd.Series[Any], column: Datetime) -> Floats:
    """Return times (n,) as seconds since 1970, in UTC if they have a zone; null is NaN.

    Raises:
        SchemaError: for a column that holds something else.
    """
    present = values.notna().to_numpy()
    made = np.full(len(values), np.nan)
    stamps: Any = as_times(values[present], utc=column.zone is not None)
    if column.zone is not None:
        stamps = stamps.dt.tz_convert(None)
    made[present] = stamps.to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6
    return made


def _codes(sides: list[pd.Series[Any]]) -> tuple[list[Floats], tuple[str, ...]]:
    pooled = pd.concat([cast_to(side, object) for side in sides], ignore_index=True)
    codes, values = pd.factorize(pooled)
    known = np.bincount(codes[: len(sides[0])][codes[: len(sides[0])] >= 0], minlength=len(values))
    order = np.argsort(-known, kind="stable")
    rank = np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values))
    ranked = np.full(len(codes), np.nan)
    ranked[codes >= 0] = rank[codes[codes >= 0]]
    ends = np.cumsum([len(side) for side in sides])
    return np.split(ranked, ends[:-1]), tuple(str(values[code]) for code in order)


@dataclass(frozen=True)
class Binned:
    """Every column in bins that all tables share; null is a bin of its own.

    Attributes:
        sizes: Number of bins by column, the null bin last.
        train: (n, d) bins.
        holdout: (m, d) bins.
        synthetic: (s, d) bins.
    """

    sizes: tuple[int, ...]
    train: Codes
    holdout: Codes
    synthetic: Codes


def binned(view: Coded, *, bins: int, max_categories: int) -> Binned:
    """Return ``view`` in bins whose edges are quantiles of train alone.

    Separate edges per table, as the usual library makes them, reward a synthetic table for reproducing the training
    minimum and maximum; shared quantile edges do not look at extremes at all.
    """
    sizes = []
    sides: list[list[Codes]] = [[], [], []]
    for place, name in enumerate(view.names):
        columns = [side[:, place] for side in (view.train, view.holdout, view.synthetic)]
        if view.is_category(name):
            top = min(max_categories, len(view.labels[name]))
            made = [np.minimum(np.nan_to_num(values, nan=0.0), top).astype(np.int64) for values in columns]
            size = top + 1
        else:
            inner = edges(columns[0], bins)
            made = [np.searchsorted(inner, np.nan_to_num(values, nan=0.0), side="left") for values in columns]
            size = len(inner) + 1
        for side, codes, values in zip(sides, made, columns, strict=True):
            side.append(np.where(np.isnan(values), size, codes))
        sizes.append(size + 1)
    stacked = [
        np.column_stack(side) if side else np.empty((len(rows), 0), dtype=np.int64)
        for side, rows in zip(sides, (view.train, view.holdout, view.synthetic), strict=True)
    ]
    return Binned(tuple(sizes), stacked[0], stacked[1], stacked[2])


def edges(values: Floats, bins: int) -> Floats:
    """Return at most ``bins - 1`` distinct inner edges at the quantiles of the present values."""
    present = values[~np.isnan(values)]
    if len(present) == 0:
        return np.empty(0)
    inner: Floats = np.unique(np.quantile(present, np.linspace(0, 1, bins + 1)[1:-1]))
    return inner


def design(view: Coded, values: Floats, *, max_categories: int, leave_out: str = "") -> Floats:
    """Return rows (n, w) for linear models and distances: robustly scaled numbers, null flags, indicators.

    Scales are read off train: the median, and the range between the 5 % and 95 % quantiles.
    """
    parts: list[Floats] = []
    for place, name in enumerate(view.names):
        if name == leave_out:
            continue
        column = values[:, place]
        missing = np.isnan(column)
        if view.is_category(name):
            size = min(max_categories, len(view.labels[name])) + 1
            codes = np.minimum(np.nan_to_num(column, nan=0.0), size - 1).astype(np.int64)
            indicators = np.zeros((len(column), size))
            indicators[np.arange(len(column))[~missing], codes[~missing]] = 1.0
            parts.append(indicators)
        else:
            parts.append(_scaled(column, view.train[:, place])[:, None])
        if any(np.isnan(side[:, place]).any() for side in (view.train, view.holdout, view.synthetic)):
            parts.append(missing[:, None].astype(np.float64))
    return np.hstack(parts) if parts else np.zeros((len(values), 1))


def _scaled(column: Floats, reference: Floats) -> Floats:
    present = reference[~np.isnan(reference)]
    if len(present) == 0:
        return np.nan_to_num(column, nan=0.0) * 0.0
    low, middle, high = np.quantile(present, [0.05, 0.5, 0.95])
    spread = high - low if high > low else max(float(present.std()), 1.0)
    # A column without spread among its middle rows must not put all distance into its tail.
    made: Floats = np.clip(np.nan_to_num((column - middle) / spread, nan=0.0), -10.0, 10.0)
    return made
