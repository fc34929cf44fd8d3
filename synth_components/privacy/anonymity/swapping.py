"""Sensitive values exchanged between rows, or drawn anew given the rest of the row.

Neither is a guarantee: they make it uncertain whose value stands in a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.errors import PolicyError
from synth_components.privacy.anonymity.classes import Ints, Sensitive

_LEAF = 10


def swap(table: pd.DataFrame, columns: Sequence[str], *, reach: float, rng: random.Generator) -> pd.DataFrame:
    """Return the table with each column's values exchanged in pairs; marginals stay, nulls their place.

    Args:
        reach: How far apart in rank two values of an order may be, as a share of the rows; without an order, the share
            of rows that exchange theirs with any other, rounded up to pairs.

    Raises:
        SchemaError: for values that cannot be compared.
        PolicyError: for a column with one value alone, which nothing can be exchanged with.

    Source: Moore 1996, "Controlled data-swapping techniques for masking public use microdata sets" (US Bureau of the
        Census RR96-04) for ranks; Dalenius & Reiss 1982 (doi:10.1016/0378-3758(82)90058-1) for categories.
    Differs: the source of the second keeps tables of counts as well; here pairs are random.
    """
    made = table.copy()
    for name in columns:
        column = Sensitive.of(table[name])
        rows = np.flatnonzero(table[name].notna().to_numpy())
        if len(rows) == 1:
            raise PolicyError(
                f"column '{name}' has one value alone, which swapping has nothing to exchange with; leave the column "
                "out, or add rows",
                column=name,
            )
        if column.is_ordered:
            ranked = rows[np.lexsort((rng.random(len(rows)), column.codes[rows]))]
            partner = _by_rank(len(ranked), max(1, int(reach * len(ranked))), rng)
            source = np.arange(len(table))
            source[ranked] = ranked[partner]
        else:
            pairs = min(len(rows) // 2, math.ceil(reach * len(rows) / 2))  # one at least, however few rows
            moved = rng.permutation(rows)[: 2 * pairs].reshape(-1, 2)
            source = np.arange(len(table))
            source[moved[:, 0]], source[moved[:, 1]] = moved[:, 1], moved[:, 0]
        made[name] = table[name].take(source).set_axis(made.index)
    return made


def _by_rank(n: int, reach: int, rng: random.Generator) -> Ints:
    """Return the rank with which each rank (n,) is exchanged; one that finds none stays."""
    partner = np.arange(n)
    free = np.ones(n, dtype=np.bool_)
    for rank in range(n):
        if not free[rank]:
            continue
        near = np.flatnonzero(free[rank + 1 : rank + 1 + reach])
        free[rank] = False
        if len(near):
            other = rank + 1 + int(near[rng.integers(len(near))])
            partner[rank], partner[other] = other, rank
            free[other] = False
    return partner


def resynthesise(
    table: pd.DataFrame, columns: Sequence[str], *, rng: random.Generator, min_leaf: int = _LEAF
) -> pd.DataFrame:
    """Return the table with the columns' cells drawn from rows that are alike in all other columns.

    Columns follow each other: each is drawn given those already drawn.  A null is a value.

    Args:
        min_leaf: Fewest rows that a value is drawn from.

    Raises:
        SchemaError: for values that cannot be compared.
        PolicyError: for fewer rows than ``min_leaf``.

    Source: Reiter 2005, "Using CART to generate partially synthetic public use microdata" (Journal of Official
        Statistics 21).
    Differs: trees are regressions on ranks, of unordered values on their commonness; categories are split by rank too.
    """
    from sklearn.tree import DecisionTreeRegressor
    from threadpoolctl import threadpool_limits

    if columns and 0 < len(table) < min_leaf:
        raise PolicyError(
            f"the table has {len(table)} rows, and synthesis draws a cell from {min_leaf} rows or more; lower "
            "min_leaf, or leave synthesis out"
        )
    made = table.copy()
    for name in columns:
        others = [other for other in table.columns if other != name]
        value = Sensitive.of(table[name])
        if len(table) < 2 * min_leaf or value.size < 2 or not others:
            source = rng.integers(len(table), size=len(table)) if len(table) else np.zeros(0, dtype=np.int64)
        else:
            held = np.stack([_ranks(made[other]) for other in others], axis=1)
            wanted = value.codes if value.is_ordered else _by_count(value)
            tree = DecisionTreeRegressor(min_samples_leaf=min_leaf, random_state=int(rng.integers(2**31)))
            with threadpool_limits(limits=1):
                leaf = tree.fit(held, wanted).apply(held)
            source = _within(np.asarray(leaf, dtype=np.int64), rng)
        made[name] = table[name].take(source).set_axis(made.index)
    return made


def _ranks(values: pd.Series[Any]) -> NDArray[np.float32]:
    column = Sensitive.of(values)
    return (column.codes if column.is_ordered else _by_count(column)).astype(np.float32)


def _by_count(column: Sensitive) -> Ints:
    """Return the rank of each row's value (n,), the commonest first."""
    order = np.lexsort((np.arange(column.size), -column.shares))
    rank = np.empty(column.size, dtype=np.int64)
    rank[order] = np.arange(column.size)
    return rank[column.codes]


def _within(leaf: Ints, rng: random.Generator) -> Ints:
    """Return for each row another row, or the same, of its leaf."""
    order = np.argsort(leaf, kind="stable")
    starts = np.searchsorted(leaf[order], leaf, side="left")
    ends = np.searchsorted(leaf[order], leaf, side="right")
    return order[starts + (rng.random(len(leaf)) * (ends - starts)).astype(np.int64)]
