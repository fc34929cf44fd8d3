"""Whose each row is, by the columns that name the privacy unit, of one table or of linked ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.bound import Ascending, bounds
from synth_components.column_type import kind_of
from synth_components.errors import SchemaError
from synth_components.schema import Unit
from synth_components.split import units
from synth_components.support import Owners


def require_unit(tables: Mapping[str, pd.DataFrame], columns: Sequence[str]) -> str | None:
    """Return the first table that holds the columns of a unit, by names alone; ``None`` without columns.

    Raises:
        SchemaError: if no table does.
    """
    if not columns:
        return None
    for name, table in tables.items():
        if set(columns) <= set(table.columns):
            return name
    name, table = next(iter(tables.items()))
    lacking = next(column for column in columns if column not in table.columns)
    raise SchemaError(
        f"unit names column '{lacking}', which table '{name}' does not have; name the columns that say whom a row "
        "belongs to",
        column=lacking,
        table=name,
    )


def owners_by_table(tables: Mapping[str, pd.DataFrame], columns: Sequence[str]) -> dict[str, Owners]:
    """Return the unit (n,) of each row, by table; ``None`` throughout without columns.

    A table without the columns has them of the table whose key it holds under the same name.  Rows of which it cannot
    be told are one unit's.

    Raises:
        SchemaError: for a table that holds no such key, and for columns of what no schema can hold.
    """
    if not columns:
        return dict.fromkeys(tables)
    known: dict[str, NDArray[np.int64]] = {}
    for name, table in tables.items():
        if set(columns) <= set(table.columns):
            for column in columns:
                kind_of(table[column])
            known[name] = units(table, columns)
    while len(known) < len(tables):
        found = {
            name: owners
            for name, table in tables.items()
            if name not in known and (owners := _linked(table, tables, known)) is not None
        }
        if not found:
            name = next(name for name in tables if name not in known)
            raise SchemaError(
                f"table '{name}' holds neither {', '.join(map(repr, columns))} nor the key of a table that does, so "
                "that nobody knows whose its rows are; join them to it, or profile it by itself",
                table=name,
            )
        known |= found
    return dict(known)


def _linked(
    table: pd.DataFrame, tables: Mapping[str, pd.DataFrame], known: Mapping[str, NDArray[np.int64]]
) -> NDArray[np.int64] | None:
    """Return the owners (n,) of rows by a column that identifies those of another table; ``None`` if there is none."""
    for parent, owners in known.items():
        for column in tables[parent].columns:
            keys = tables[parent][column]
            if column not in table.columns or keys.dtype != table[column].dtype or bool(keys.isna().any()):
                continue
            kind_of(keys)
            kind_of(table[column])
            held = table[column].dropna()
            if not bool(keys.is_unique) or not bool(held.isin(keys).all()):
                continue
            place = pd.Index(keys).get_indexer(pd.Index(table[column]))
            return np.where(place < 0, int(owners.max()) + 1, owners[place])
    return None


def unit_of(table: str, columns: Sequence[str], owners: Owners, *, min_count: int) -> Unit:
    """Return the privacy unit of a schema; its most rows are a bound that ``min_count`` units support.

    Of fewer units than twice that none is supported, and it is the number of all rows.
    """
    rows = np.bincount(np.zeros(0, dtype=np.int64) if owners is None else owners)
    most = bounds(Ascending.of(rows[rows > 0]), places=0, min_count=min_count)[1]
    return Unit(table, tuple(columns), max(1, int(rows.sum() if most is None else most)))
