"""Which values of made-up columns are null: learned as truth values beside the columns that generators model.

Texts and keys are made anew, but whether one is missing is a fact like any other, and goes with the rest of its row.
A null indicator is a column of the generator's schema only: neither the model's schema nor its rows have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from synth_components.encode import cast_to
from synth_components.protocols import Dataset, Given
from synth_components.schema import TABLE, Boolean, Key, Schema, Text, dtype_of
from synth_components.sequence_key import numbered
from synth_components.split import together, units_of


def null_indicators(schema: Schema) -> dict[str, str]:
    """Return the null indicator by nullable text or key column of a single table; no column has its name."""
    names: dict[str, str] = {}
    if len(schema.tables) > 1:
        return names
    for name, column in schema.columns.items():
        if isinstance(column, Text | Key) and column.nullable and _holds_nulls(column.dtype):
            made = f"{name} is null"
            while made in schema.columns or made in names.values():
                made += "?"
            names[name] = made
    return names


def _holds_nulls(dtype: str) -> bool:
    parsed = dtype_of(dtype)
    return not (isinstance(parsed, np.dtype) and parsed.kind in "iu")


def modelled(data: Dataset, *, group: str = "") -> Dataset:
    """Return what a generator learns: the rows without made-up columns, but with their null indicators.

    Text and images are made up, and in a single table keys, too.  An indicator holds no value and has the
    same two categories whatever the rows are, so it is public.  Whose each row is stays known where the columns that
    tell so are made up.

    Args:
        group: The column that tells sequences apart; if it is a key, numbers stand for its values.

    Raises:
        SchemaError: if ``group`` is a key with nulls.
    """
    data = numbered(data, group)
    schema = data.schema.modelled
    names = null_indicators(data.schema)
    owners = None if together(schema) else units_of(data)
    if not names:
        tables = {name: data.tables[name][list(columns)] for name, columns in schema.tables.items()}
        return replace(data, tables=tables, schema=schema, owners=owners)
    columns = {**schema.columns, **dict.fromkeys(names.values(), Boolean(public=True))}
    schema = replace(schema, tables={schema.root: columns})
    tables = {schema.root: _indicated(data.tables[schema.root], schema, names)}
    if data.is_lazy:
        return Indicated(tables, schema, data, names, owners=owners, is_trial=data.is_trial)
    return Dataset(tables, schema, owners=owners, is_trial=data.is_trial)


@dataclass(frozen=True)
class Indicated(Dataset):
    """A lazy dataset whose batches have the null indicators of another's.

    Attributes:
        source: Where the rows are.
        names: Null indicator by column of ``source``.
    """

    source: Dataset
    names: Mapping[str, str]

    @property
    def is_lazy(self) -> bool:
        """True: the rows stay where they are."""
        return True

    @property
    def table(self) -> pd.DataFrame:
        """Refused by the source."""
        return self.source.table

    def batches(self, table: str = TABLE, rows: int = 131_072) -> Iterator[pd.DataFrame]:
        """Yield consecutive parts of at most ``rows`` rows."""
        for batch in self.source.batches(table, rows):
            yield _indicated(batch, self.schema, self.names)

    def num_rows(self, table: str = TABLE) -> int:
        """Return the number of rows."""
        return self.source.num_rows(table)


def _indicated(table: pd.DataFrame, schema: Schema, names: Mapping[str, str]) -> pd.DataFrame:
    nulls = {made: table[name].isna().astype(bool) for name, made in names.items()}
    return table[[name for name in schema.columns if name not in nulls]].assign(**nulls)


def with_nulls(values: pd.Series[Any], null: pd.Series[Any]) -> pd.Series[Any]:
    """Return the values, null where their indicator is true."""
    missing = null.to_numpy(dtype=bool)
    if not missing.any():
        return values
    held = cast_to(values, object)
    held[missing] = None
    return cast_to(held, values.dtype)


def indicating(given: Given, names: Mapping[str, str]) -> Given:
    """Return the conditions with null asked of null indicators instead of their columns."""
    allowed = {names.get(name, name): frozenset({True}) if name in names else v for name, v in given.allowed.items()}
    return replace(given, allowed=allowed)
