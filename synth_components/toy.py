"""Small tables made from a seed, on which `testing` trains generators: dependent, hard, with canaries, noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from synth_components.encode import decode, encode
from synth_components.protocols import Dataset, Floats, Given, Interval
from synth_components.schema import TABLE, AnyColumn, Boolean, Categorical, Datetime, Numeric, Schema


def toy_table(seed: int = 0, rows: int = 400) -> Dataset:
    """Return a small table of dependent columns: numbers, categories, booleans, times, nulls, heavy atoms."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(size=rows)
    age = np.clip(np.rint(42 + 13 * rng.normal(size=rows) + 4 * skill), 18, 90)
    level = np.clip(np.rint(1.5 + 0.9 * skill + 0.5 * rng.normal(size=rows)), 0, 3).astype(int)
    income = np.round(np.exp(10 + 0.35 * skill + 0.012 * age + 0.1 * rng.normal(size=rows)), 2)
    employed = rng.random(rows) < 1 / (1 + np.exp(-1 - 1.5 * skill))
    visits = np.where(rng.random(rows) < 0.4, 0, rng.poisson(3 + level))
    joined = (rng.beta(2, 5, size=rows) * 3000).astype(int)
    seconds = joined * 86_400 + rng.integers(0, 86_400, size=rows)
    city = np.where(rng.random(rows) < 0.7, level, rng.integers(0, 5, size=rows))
    cities = np.array(["Ålesund", "東京", "São Paulo", "Łódź", "Zürich"], dtype=object)
    hidden = rng.random(rows) < np.where(employed, 0.05, 0.5)
    table = pd.DataFrame(
        {
            "age": age.astype("int64"),
            "income": np.where(hidden, np.nan, np.minimum(income, 500_000.0)),
            "skill": np.clip(skill, -6.0, 6.0),
            "education": pd.Series(
                np.array(["none", "school", "college", "doctorate"], dtype=object)[level], dtype=object
            ),
            "city": pd.Categorical(pd.Series(cities[city]).mask(rng.random(rows) < 0.1), categories=cities),
            "employed": employed,
            "smoker": pd.array(rng.random(rows) < 0.3, dtype="boolean"),
            "visits": pd.array(visits, dtype="Int64"),
            "joined": pd.Timestamp("2015-01-01") + pd.to_timedelta(joined, unit="D"),
            "seen": (pd.Timestamp("2015-01-01") + pd.to_timedelta(seconds, unit="s")).tz_localize("UTC"),
        }
    )
    table["joined"] = table["joined"].astype("datetime64[ns]")
    table["seen"] = table["seen"].astype("datetime64[us, UTC]")
    table.loc[rng.random(rows) < 0.15, "smoker"] = pd.NA
    table.loc[rng.random(rows) < 0.1, "visits"] = pd.NA
    table.loc[hidden, "seen"] = pd.NaT
    last = "2024-12-31"
    columns: dict[str, AnyColumn] = {
        "age": Numeric(dtype="int64", low=18, high=90, places=0, public=True),
        "income": Numeric(low=0.0, high=500_000.0, places=2, nullable=True, public=True),
        "skill": Numeric(low=-6.0, high=6.0, public=True),
        "education": Categorical(categories=("none", "school", "college", "doctorate"), public=True),
        "city": Categorical(dtype="category", categories=tuple(cities), nullable=True, public=True),
        "employed": Boolean(public=True),
        "smoker": Boolean(dtype="boolean", nullable=True, public=True),
        "visits": Numeric(dtype="Int64", low=0, high=100, places=0, nullable=True, public=True),
        "joined": Datetime(low="2015-01-01", high=last, resolution="D", public=True),
        "seen": Datetime(
            dtype="datetime64[us, UTC]", low="2015-01-01", high=last, resolution="s", nullable=True, public=True
        ),
    }
    return Dataset({TABLE: table}, Schema({TABLE: columns}))


def hard_tables() -> Iterator[tuple[str, Dataset]]:
    """Yield tables that break naive generators, by name: a fit accepts or refuses them."""
    toy = toy_table(rows=60)
    yield "empty", replace(toy, tables={TABLE: toy.table.iloc[:0]})
    yield "one row", replace(toy, tables={TABLE: toy.table.iloc[:1]})
    number = Numeric(nullable=True, public=True)
    yield "constant column", _one(pd.Series([7.5] * 60), number)
    yield "all null", _one(pd.Series([np.nan] * 60), number)
    yield "one category", _one(pd.Series(["a"] * 60, dtype=object), Categorical(categories=("a",), public=True))
    yield (
        "unlisted categories",
        _one(pd.Series(["a", "b", "a", "c", "b"] * 12, dtype=object), Categorical(categories=("a", "b"), public=True)),
    )
    many = [f"v{i}" for i in range(10_000)]
    yield (
        "10,000 categories",
        _one(pd.Series([*many, *many[:20] * 30], dtype=object), Categorical(categories=tuple(many), public=True)),
    )
    words = ("ß", "🙂", "שלום", "a\u0301", "\u200b")
    yield (
        "unicode",
        _one(pd.Series(words * 12, dtype=object, name="列 \u202e"), Categorical(categories=words, public=True)),
    )
    wide = Numeric(dtype="int64", low=-(2**62), high=2**62, places=0, public=True)
    yield "integers beyond 2^53", _one(pd.Series(np.arange(60) * 2**55 - 2**60), wide)


def _one(values: pd.Series[Any], column: AnyColumn) -> Dataset:
    name = str(values.name or "x")
    partner = pd.Series(np.arange(len(values), dtype=np.float64) % 7)
    table = pd.DataFrame({name: values, "partner": partner})
    return Dataset({TABLE: table}, Schema({TABLE: {name: column, "partner": Numeric(low=0, high=6, public=True)}}))


CANARY = "canary-7f3ac19e"
"""The category that one training row alone has."""


def canary_table(data: Dataset) -> tuple[Dataset, dict[str, Floats]]:
    """Return the data with a category of one row and columns of unique numbers, and the numbers."""
    table = data.table.copy()
    for name, column in data.schema.columns.items():
        if isinstance(column, Categorical) and all(isinstance(c, str) for c in column.categories):
            held = table[name].astype(object)
            held.iloc[0] = CANARY
            table[name] = held.astype("category") if column.dtype == "category" else held
    rng = np.random.default_rng(7)
    unique: dict[str, Any] = {
        "canary_id": rng.choice(2**40, size=len(table), replace=False),
        "canary_number": rng.normal(size=len(table)),
    }
    columns = {
        **data.schema.columns,
        "canary_id": Numeric(dtype="int64", low=0, high=2**40, places=0, public=True),
        "canary_number": Numeric(low=-9.0, high=9.0, public=True),
    }
    for name, numbers in unique.items():
        table[name] = numbers
    schema = replace(data.schema, tables={**data.schema.tables, data.schema.root: columns})
    return Dataset({**data.tables, schema.root: table}, schema), unique


def extreme_table(data: Dataset, far: float) -> Dataset:
    """Return the data with an unbounded column of normal numbers, the last of which is ``far``."""
    numbers = np.random.default_rng(7).normal(size=len(data.table))
    numbers[-1] = far
    columns = {**data.schema.columns, "extreme": Numeric(public=True)}
    schema = replace(data.schema, tables={**data.schema.tables, data.schema.root: columns})
    return Dataset({**data.tables, schema.root: data.table.assign(extreme=numbers)}, schema)


def uniform_noise(data: Dataset, n: int) -> Dataset:
    """Return ``n`` rows of uniform noise over the range of each column, with nulls at evens where allowed."""
    rng = np.random.default_rng(99)
    features = encode(data)
    values = np.empty((n, features.values.shape[1]))
    for name, column in data.schema.columns.items():
        held = features.values[:, features.columns[name]]
        low, high = np.nanmin(held, axis=0), np.nanmax(held, axis=0)
        drawn = low + (high - low) * rng.random((n, held.shape[1]))
        drawn = np.rint(drawn) if isinstance(column, Categorical | Boolean) else drawn
        drawn[(rng.random(n) < 0.5) & column.nullable] = np.nan
        values[:, features.columns[name]] = drawn
    return decode(replace(features, values=values))


def conditions(data: Dataset) -> Iterator[Given]:
    """Yield requests over the root table that its own rows can meet."""
    table = data.table
    complete = table.dropna().iloc[:20].reset_index(drop=True)
    names = list(data.schema.columns)
    for name in names:
        yield Given(rows=complete[[name]])
    yield Given(rows=complete[names[:3]])
    mixed = complete[names[-2:]].astype(object)
    mixed.iloc[::2, 0] = None
    yield Given(rows=mixed)
    for name, column in data.schema.columns.items():
        match column:
            case Categorical():
                yield Given(allowed={name: frozenset(column.categories[:2])})
                if column.nullable:
                    yield Given(allowed={name: frozenset([column.categories[0], None])})
            case Numeric() if not column.dtype.startswith("timedelta"):
                low, high = (float(table[name].astype("float64").quantile(q)) for q in (0.3, 0.6))
                yield Given(allowed={name: Interval(low, high)})
            case Datetime():
                low, high = (table[name].sort_values().iloc[int(q * table[name].count())] for q in (0.3, 0.6))
                yield Given(allowed={name: Interval(low.isoformat(), high.isoformat())})
            case _ if column.nullable:
                yield Given(allowed={name: frozenset([None])})
