"""Bounding contributions: a privacy unit of many rows keeps at most ``max_rows``, before anything is counted."""

from __future__ import annotations

from dataclasses import replace

from synth_components.errors import SchemaError, UnsupportedError
from synth_components.protocols import Dataset


def bounded(data: Dataset) -> Dataset:
    """Return the first ``max_rows`` rows of each unit; all rows where a row is the unit.

    Which rows of a unit are kept depends on that unit's alone, so that adding or removing one unit adds or removes at
    most ``max_rows`` rows: the sensitivity that every count is noised for.  A row without a unit is one by itself.

    Raises:
        UnsupportedError: if the unit stands in a table that is not learned, or the rows stay on disk.
        SchemaError: if the unit names a column that the table does not have.
    """
    unit = data.schema.unit
    if unit is None or not unit.columns:
        return data
    if unit.table != data.schema.root or len(data.schema.tables) > 1:
        raise UnsupportedError("a privacy unit is bounded in a single table; declare it on the table that is learned")
    if data.is_lazy:
        raise UnsupportedError("rows on disk are not bounded by unit yet; give a table that fits into memory")
    table = data.table
    missing = [name for name in unit.columns if name not in table.columns]
    if missing:
        raise SchemaError(f"the privacy unit names column '{missing[0]}', which the table lacks", column=missing[0])
    position = table.groupby(list(unit.columns), sort=False, dropna=False, observed=True).cumcount()
    has_unit = table[list(unit.columns)].notna().all(axis=1)
    kept = table[(position < unit.max_rows) | ~has_unit]
    return replace(data, tables={data.schema.root: kept})
