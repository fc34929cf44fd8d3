"""Real rows in two parts, before training, so that the holdout is never seen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.encode import cast_to
from synth_components.errors import DataError, SchemaError
from synth_components.protocols import Dataset, Floats
from synth_components.schema import Schema
from synth_components.support import evened_out

MANY_LEFT_OUT = 0.1
"""Share of the rows above which it is told that a network does not learn from them."""

_LOG = logging.getLogger(__name__)
_ONE_KEY = "0" * 16
"""The key of hashes that are to be the same in every fit."""


def together(schema: Schema | None, recipe: object = None) -> tuple[str, ...]:
    """Return the columns whose values keep rows together: of the privacy unit, else of sequences.

    Args:
        recipe: Of the generator that learns the rows; ``group`` of one of sequences names the column.
    """
    unit = None if schema is None else schema.unit
    if schema is not None and unit is not None and unit.table == schema.root and unit.columns:
        return unit.columns
    group: str = getattr(recipe, "group", "")
    return (group,) if group else ()


def units(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """Return the unit of each row (n,) as a number from 0; without columns a row is a unit."""
    if not columns:
        return np.arange(len(table))
    # Of categories those that are there: not every combination of all that two columns list.
    return np.asarray(table.groupby(list(columns), sort=False, dropna=False, observed=True).ngroup(), dtype=np.int64)


def owners_in(table: pd.DataFrame, schema: Schema) -> NDArray[np.int64] | None:
    """Return the privacy unit of each row (n,) of a whole table; ``None`` where a row is a unit."""
    columns = together(schema)
    return units(table, columns) if columns else None


def units_of(data: Dataset) -> NDArray[np.int64] | None:
    """Return the privacy unit of each row (n,) of a single table; ``None`` where a row is a unit.

    A lazy table is read once for it, and its units are told apart by 64 bits of their hashes.

    Raises:
        DataError: if some rows were taken without their units.
    """
    columns, root = together(data.schema), data.schema.root
    if columns and data.is_lazy:
        hashes = [_hashes(batch, columns, _ONE_KEY) for batch in data.batches(root)]
        found = np.unique(np.concatenate([np.empty(0, np.uint64), *hashes]), return_inverse=True)[1]
        return np.asarray(found, dtype=np.int64)
    if columns:
        return units(data.table, columns)
    if data.owners is not None and len(data.owners) != data.num_rows(root):
        raise DataError(
            f"the units of {len(data.owners)} rows are told, and there are {data.num_rows(root)} rows; take rows of a "
            "Dataset by split.taken"
        )
    return data.owners


def evened_rows(owners: NDArray[np.int64], *, least: int) -> NDArray[np.bool_]:
    """Return which rows (n,) a network learns from: ``evened_out``.  The log tells where many are not.

    Args:
        owners: The privacy unit (n,) of each row, from 0.
        least: See ``evened_out``.
    """
    is_read = evened_out(owners, least=least)
    if len(is_read) and (left := 1 - is_read.mean()) > MANY_LEFT_OUT:
        _LOG.warning(
            "%.0f %% of the rows are not learnt from: of no privacy unit more are than each of %d others has; all rows "
            "whose unit is null are one unit's: give those of several their own",
            100 * left,
            least,
        )
    return is_read


def evened(data: Dataset, values: Floats, *, least: int) -> tuple[Floats, NDArray[np.int64] | None]:
    """Return encoded rows (m, w), of no privacy unit more than each of ``least`` has, and their units.

    Args:
        data: A single table; where a row is a unit, all rows are returned, and ``None``.
        values: Its rows (n, w).
        least: See ``evened_out``.
    """
    owners = units_of(data)
    if owners is None:
        return values, None
    is_read = evened_rows(owners, least=least)
    return values[is_read], owners[is_read]


def taken(data: Dataset, rows: NDArray[np.int64]) -> Dataset:
    """Return some rows (k,) of a single table, by their numbers, each with its privacy unit."""
    table = data.table.iloc[rows].reset_index(drop=True)
    owners = None if data.owners is None else units(pd.DataFrame({"unit": data.owners[rows]}), ("unit",))
    return replace(data, tables={data.schema.root: table}, owners=owners)


def sides_of(data: Dataset, *, share: float, rng: random.Generator, least: int) -> tuple[Dataset, Dataset] | None:
    """Return (train, holdout) of a single table as ``split_of_size`` does: no privacy unit is in both."""
    owner = units_of(data)
    numbers = pd.DataFrame({"row": np.arange(len(data.table))})
    numbers["unit"] = numbers["row"] if owner is None else owner
    sides = split_of_size(numbers, share=share, rng=rng, unit=("unit",), least=least)
    if sides is None:
        return None
    train, holdout = (taken(data, side["row"].to_numpy()) for side in sides)
    return train, holdout


def folds(
    table: pd.DataFrame, count: int, *, rng: random.Generator, unit: Sequence[str] = ()
) -> list[NDArray[np.int64]]:
    """Return the rows, in order, of each of ``count`` parts of about as many units; no unit is in two.

    Raises:
        DataError: if there are fewer units than parts.
        SchemaError: for a column that the table does not have.
    """
    _require_columns(unit, table.columns)
    number = units(table, unit)
    total = int(number.max(initial=-1)) + 1
    if total < count:
        what = f"different values of {', '.join(unit)}" if unit else "rows"
        raise DataError(f"{count} folds need as many {what}, and there are {total}; give more rows, or fewer folds")
    return [np.flatnonzero(np.isin(number, part)) for part in np.array_split(rng.permutation(total), count)]


def in_time(table: pd.DataFrame, count: int, *, order: str) -> list[NDArray[np.int64]]:
    """Return the rows of each of ``count`` parts of one sequence, the earliest part first.

    Args:
        order: The column that orders the rows, equal ones as they stand; empty for all as they stand.

    Raises:
        DataError: if there are fewer rows than parts.
        SchemaError: for a column that the table does not have.
    """
    _require_columns((order,) if order else (), table.columns)
    if len(table) < count:
        raise DataError(f"{count} parts of a sequence need as many rows, and there are {len(table)}; give more rows")
    numbers = table[order].reset_index(drop=True).sort_values(kind="stable").index if order else range(len(table))
    return np.array_split(np.array(numbers, dtype=np.int64), count)


def last_rows(table: pd.DataFrame, n: int, *, order: str) -> pd.DataFrame:
    """Return the last ``n`` rows of one sequence at most, in its order.

    Args:
        order: As of ``in_time``.

    Raises:
        SchemaError: for a column that the table does not have.
    """
    (rows,) = in_time(table, 1, order=order)
    return table.iloc[rows[-n:]].reset_index(drop=True)


def past_and_future(table: pd.DataFrame, *, share: float, order: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the earlier rows of one sequence, and the ``share`` of them that comes last.

    Args:
        order: As of ``in_time``.

    Raises:
        DataError: if there are fewer than two rows.
        SchemaError: for a column that the table does not have.
    """
    if len(table) < 2:
        raise DataError(f"the table has {len(table)} row(s); a split needs at least 2")
    (rows,) = in_time(table, 1, order=order)
    first = min(max(1, round((1 - share) * len(rows))), len(rows) - 1)
    return table.iloc[rows[:first]].reset_index(drop=True), table.iloc[rows[first:]].reset_index(drop=True)


def _require_columns(names: Sequence[str], held: Sequence[str] | pd.Index[Any] | Mapping[str, Any]) -> None:
    for name in names:
        if name not in held:
            raise SchemaError(f"split names column '{name}', which the table does not have", column=name)


def split(
    table: pd.DataFrame,
    *,
    share: float,
    rng: random.Generator,
    unit: tuple[str, ...] = (),
    stratify: str = "",
    hashed: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, holdout), disjoint, in the order of ``table``; both index from 0.

    Args:
        share: Share of the units that goes to the holdout, in (0, 1).
        rng: Source of the choice.
        unit: Columns that identify a privacy unit; all rows of a unit go to one side.  Empty: a row is a unit.
        stratify: Column whose values keep their shares on both sides (by the unit's first row); numbers by decile.
        hashed: Whether the keyed hash of each unit (of a row's values, where a row is one) decides on its own side, so
            that one unit more moves no other: what is private of the training rows is then private of the table, and
            otherwise of them alone.  The share is met on average, and equal rows stay together.

    Raises:
        DataError: if either side would be empty, ``share`` is outside (0, 1), or hashes are to keep strata.
        SchemaError: for a column that the table does not have.
    """
    if not 0 < share < 1:
        raise DataError(f"share ({share}) must lie strictly between 0 and 1")
    _require_columns((*unit, *((stratify,) if stratify else ())), table.columns)
    if hashed:
        if stratify:
            raise DataError("a split by hashes keeps no strata, which one row more may move; leave out one of both")
        held = _hashed(table, unit, share, rng.bytes(8).hex())
        if held.all() or not held.any():
            raise DataError("one side of the split would be empty; choose another share or seed, or a finer unit")
        return table.loc[~held].reset_index(drop=True), table.loc[held].reset_index(drop=True)
    groups = units(table, unit)
    _, first = np.unique(groups, return_index=True)
    if len(first) < 2:
        what = "privacy unit" if unit else "row"
        raise DataError(f"the table has {len(first)} {what}(s); a split needs at least 2")
    strata = _strata(table[stratify])[first] if stratify else np.zeros(len(first), dtype=np.int64)
    chosen = _choose(strata, share, rng)
    held = chosen[groups]
    return (
        table.loc[~held].reset_index(drop=True),
        table.loc[held].reset_index(drop=True),
    )


def split_of_size(
    table: pd.DataFrame, *, share: float, rng: random.Generator, unit: tuple[str, ...] = (), least: int
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Return (train, holdout) as ``split``; ``None`` where a side would have fewer than ``least`` rows.

    A few large units may leave either side with nearly all rows, and one unit cannot be split.
    """
    if len(np.unique(units(table, unit))) < 2:
        return None
    train, holdout = split(table, share=share, rng=rng, unit=unit)
    return None if min(len(train), len(holdout)) < least else (train, holdout)


def split_batches(
    data: Dataset, *, share: float, rng: random.Generator, unit: tuple[str, ...] = (), hashed: bool = False
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield (train, holdout) batch by batch, for a table that does not fit into memory.

    Without a unit the holdout has exactly ``share`` of the rows, unless they are ``hashed``; a unit is held out if the
    keyed hash of its columns falls below ``share``, so that its rows agree wherever they stand, and the share is met on
    average.

    Raises:
        DataError: if ``share`` is outside (0, 1), or the table has fewer than two rows.
        SchemaError: for a unit that the table does not have.
    """
    if not 0 < share < 1:
        raise DataError(f"share ({share}) must lie strictly between 0 and 1")
    _require_columns(unit, data.schema.columns)
    total = data.num_rows(data.schema.root)
    if total < 2:
        raise DataError(f"the table has {total} row(s); a split needs at least 2")
    if unit or hashed:
        key = rng.bytes(8).hex()
        for batch in data.batches(data.schema.root):
            held = _hashed(batch, unit, share, key)
            yield batch.loc[~held].reset_index(drop=True), batch.loc[held].reset_index(drop=True)
        return
    for batch, places in _chosen(data, min(max(1, round(share * total)), total - 1), rng):
        held = np.zeros(len(batch), dtype=np.bool_)
        held[places] = True
        yield batch.loc[~held].reset_index(drop=True), batch.loc[held].reset_index(drop=True)


def _hashed(rows: pd.DataFrame, unit: tuple[str, ...], share: float, key: str) -> NDArray[np.bool_]:
    """Return which rows (n,) are held out, by the hash of their unit's columns or of all; a key has 16 letters."""
    return np.asarray(_hashes(rows, unit, key) / 2.0**64 < share)


def _hashes(rows: pd.DataFrame, unit: Sequence[str], key: str) -> NDArray[np.uint64]:
    """Return the keyed hash (n,) of each row's unit, or of all its columns.

    Source: Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number Generators" (OOPSLA), the finaliser of
        SplitMix64: pandas keys the hashes of text alone, and the numbers of persons are to have another order, too.
    """
    held = (rows[list(unit)] if unit else rows).copy()
    for column in held:
        dtype = held[column].dtype
        if pd.api.types.is_extension_array_dtype(dtype) and dtype.kind in "biuf":
            held[column] = _bare(held[column])
    for column in held.select_dtypes("float"):
        held[column] += 0.0  # 0 and -0 are one unit, of two patterns of bits
    plain = pd.util.hash_pandas_object(held, index=False, hash_key=key, categorize=False)
    mixed = plain.to_numpy(dtype=np.uint64) ^ np.uint64(int(key, 16))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _bare(values: pd.Series[Any]) -> NDArray[Any]:
    """Return numbers that may be null (n,) as numpy holds them, with one number for null, whether or not there is one.

    What pandas makes of null depends on its version, before 2.2 that of the others, too.
    """
    kind: Any = values.dtype
    if kind.kind == "b":
        return values.to_numpy(dtype="uint8", na_value=2)  # true and false hash as 1 and 0
    bare = np.dtype(kind.numpy_dtype)
    if bare.kind == "f":
        return values.to_numpy(dtype=bare, na_value=np.nan)
    return values.to_numpy(dtype=bare, na_value=np.iinfo(bare).max)


def some_of(data: Dataset, n: int, *, rng: random.Generator) -> pd.DataFrame:
    """Return a uniform sample of at most ``n`` rows in their order, read batch by batch."""
    parts = [batch.iloc[places] for batch, places in _chosen(data, n, rng)]
    held = [part for part in parts if len(part)] or parts[:1]
    return pd.concat(held, ignore_index=True) if held else data.tables[data.schema.root].iloc[:0]


def reduced(data: Dataset, n: int, *, rng: random.Generator, unit: Sequence[str] = ()) -> Dataset:
    """Return a single table of at most ``n`` rows, drawn at random, in memory.

    Args:
        unit: Columns of which equal rows are all taken, or none of them.

    Raises:
        SchemaError: for a column that the table does not have.
    """
    root = data.schema.root
    if data.num_rows(root) <= n and not data.is_lazy:
        return data
    if not unit or not data.num_rows(root):
        return Dataset({root: some_of(data, n, rng=rng)}, data.schema)
    _require_columns(unit, data.schema.columns)
    return Dataset({root: some_units(lambda: data.batches(root), n, unit=unit, rng=rng)}, data.schema)


def some_units(
    batches: Callable[[], Iterator[pd.DataFrame]], n: int, *, unit: Sequence[str], rng: random.Generator
) -> pd.DataFrame:
    """Return all rows of units drawn at random, in their order.

    They are ``n`` rows at most, but no less than two units.

    Args:
        batches: Begins to read the table; it is read twice.
    """
    key = rng.bytes(8).hex()  # the order of the units' hashes is a random one
    found, sizes = np.unique(np.concatenate([_hashes(one, unit, key) for one in batches()]), return_counts=True)
    kept = found[: max(2, int(np.searchsorted(sizes.cumsum(), n, side="right")))]
    return pd.concat([one[np.isin(_hashes(one, unit, key), kept)] for one in batches()], ignore_index=True)


def _chosen(data: Dataset, n: int, rng: random.Generator) -> Iterator[tuple[pd.DataFrame, NDArray[np.int64]]]:
    """Yield every batch with the places of its rows in a uniform sample of ``n`` rows, without replacement."""
    left = data.num_rows(data.schema.root)
    wanted = min(n, left)
    for batch in data.batches(data.schema.root):
        size = min(len(batch), left)
        count = int(rng.hypergeometric(wanted, left - wanted, size)) if size else 0
        yield batch.reset_index(drop=True), np.sort(rng.choice(len(batch), size=count, replace=False))
        left -= size
        wanted -= count


def _strata(values: pd.Series[Any]) -> NDArray[np.int64]:
    if values.dtype.kind in "iuf" and values.nunique() > 20:
        ranks = values.rank(method="first").to_numpy()
        return np.nan_to_num(ranks * 10 // (len(values) + 1), nan=-1.0).astype(np.int64)
    codes, _ = pd.factorize(cast_to(values, object))
    return codes.astype(np.int64)


def _choose(strata: NDArray[np.int64], share: float, rng: random.Generator) -> NDArray[np.bool_]:
    """Return which units (u,) are held out: the share of each stratum, by largest remainder, at least one in all."""
    labels, counts = np.unique(strata, return_counts=True)
    total = min(max(1, round(share * len(strata))), len(strata) - 1)
    exact = counts * total / len(strata)
    quota = np.floor(exact).astype(np.int64)
    order = np.lexsort((rng.random(len(counts)), -(exact - quota)))
    quota[order[: total - int(quota.sum())]] += 1
    chosen = np.zeros(len(strata), dtype=np.bool_)
    for label, size in zip(labels, quota, strict=True):
        chosen[rng.permutation(np.flatnonzero(strata == label))[:size]] = True
    return chosen
