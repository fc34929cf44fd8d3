"""What stands behind a value: rows, or where it is known whose each row is, the privacy units that have some."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Owners: TypeAlias = NDArray[np.int64] | None
"""The privacy unit (n,) of each row, from 0; ``None`` where a row is one."""


def counted(owners: Owners) -> str:
    """Return what is counted behind a value, in words."""
    return "rows" if owners is None else "privacy units"


def taken(owners: Owners, rows: Any) -> Owners:  # noqa: ANN401 - a slice, a mask or numbers of rows
    """Return the owners of some rows."""
    return None if owners is None else owners[rows]


def num_owners(place: NDArray[np.int64], owners: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return how many owners (size,) have rows at each place.

    Args:
        place: Of each row (n,), below ``size``.
        owners: Of each row (n,).
        size: Number of places.
    """
    among = int(owners.max(initial=0)) + 1
    return np.bincount(np.unique(place * among + owners) // among, minlength=size)


def support(where: NDArray[np.bool_], owners: Owners) -> int:
    """Return how many rows, or units that have some, are among those of a mask (n,)."""
    return int(where.sum()) if owners is None else len(np.unique(owners[where]))


def supports(codes: NDArray[np.int64], owners: Owners, size: int) -> NDArray[np.int64]:
    """Return the support (size,) of each code of the rows (n,), -1 for none."""
    known = codes >= 0
    if owners is None:
        return np.bincount(codes[known], minlength=size)
    return num_owners(codes[known], owners[known], size)


def supports_of(values: pd.Series[Any], counts: pd.Series[Any], owners: Owners) -> pd.Series[Any]:
    """Return the support of the values that a column's ``value_counts`` lists, in their order."""
    if owners is None:
        return counts
    codes, distinct = pd.factorize(values)
    behind = supports(codes.astype(np.int64), owners, len(distinct))
    return pd.Series(behind, index=pd.Index(distinct)).reindex(counts.index, fill_value=0)


def mean_of_each(values: NDArray[np.float64], owners: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean (k,) of each owner's values."""
    _, which = np.unique(owners, return_inverse=True)
    made: NDArray[np.float64] = np.bincount(which, weights=values) / np.bincount(which)
    return made


def evened_out(owners: NDArray[np.int64], *, least: int) -> NDArray[np.bool_]:
    """Return which rows (n,) count, so that no owner has more of those than each of ``least`` owners.

    Of fewer owners than that none has more than any other.  The rows that count are spread over an owner's.

    Args:
        owners: Of each row (n,), from 0.
        least: How many owners have, at the least, as many rows as count of any one.
    """
    rows = np.bincount(owners)
    rows = rows[rows > 0]
    counts = np.ones(len(owners), dtype=bool)
    if len(rows):
        most = np.sort(rows)[max(len(rows) - least, 0)]
        counts[np.argsort(owners, kind="stable")] = spread(rows, most)
    return counts


def spread(rows: NDArray[np.int64], most: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows (n,) count, at most so many of each owner's, which follow each other.

    Args:
        rows: How many rows each owner (k,) has.
        most: How many of them count at most (k,).
    """
    number = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)
    share, held = np.repeat(np.minimum(most, rows), rows), np.repeat(rows, rows)
    return np.asarray((number + 1) * share // held > number * share // held)
