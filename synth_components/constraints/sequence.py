"""Rules that compare rows: unique, monotone."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray
from pydantic import Field, model_validator

from synth_components.constraints.combination import any_null
from synth_components.constraints.rule import Mask, Rule
from synth_components.errors import ConstraintError
from synth_components.expression import operand

Ranks = NDArray[np.int64]


class Unique(Rule):
    """No two rows agree on all of ``columns``; null differs from null.  Rows that repeat are drawn again."""

    _spans: ClassVar[bool] = True

    type: Literal["unique"] = "unique"
    columns: tuple[str, ...] = Field(min_length=1, description="Columns whose combination is unique.")

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"unique({', '.join(self.columns)})"

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows are not a repetition of an earlier one, shape (n,)."""
        held = table[list(self.columns)]
        repeated = held.duplicated(keep="first").to_numpy() & held.notna().all(axis=1).to_numpy()
        return pd.Series(~repeated, index=table.index, dtype=bool)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table unchanged."""
        return table


class Monotone(Rule):
    """The column never falls as ``order`` rises among rows that agree on ``by``; equal orders are free.

    Repairs by giving the rows of a group its own values in the order of ``order``: the values of the column stay as
    they are, its relation to columns other than ``order`` does not.
    """

    _spans: ClassVar[bool] = True

    type: Literal["monotone"] = "monotone"
    column: str = Field(description="The column that rises: a meter reading.")
    order: str = Field(description="The column along which it rises: a date.")
    by: tuple[str, ...] = Field((), description="Columns whose values make a group: a meter. Empty: all rows.")
    decreasing: bool = Field(default=False, description="The column falls instead.")
    strict: bool = Field(default=False, description="Exclude equal values at different orders.")

    @model_validator(mode="after")
    def _refuse_self(self) -> Monotone:
        if len(set(self.columns)) != 2 + len(self.by):
            raise ConstraintError(f"constraint '{self.name}' uses a column twice", constraint=self.name)
        return self

    def title(self) -> str:
        """Return the rule in a few words."""
        way = f"{'strictly ' if self.strict else ''}{'falls' if self.decreasing else 'rises'}"
        return f"{self.column} {way} with {self.order}{f' by {chr(44).join(self.by)}' if self.by else ''}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The column, its order, then the groups."""
        return (self.column, self.order, *self.by)

    def _ranks(self, table: pd.DataFrame) -> tuple[Ranks, Ranks, Ranks, Mask]:
        """Return group, rank of the order, rank of the value, and which rows are complete, shapes (n,)."""
        complete = ~any_null(table, self.columns)
        group = np.zeros(len(table), dtype=np.int64)
        for name in self.by:
            codes, distinct = pd.factorize(table[name])
            _, group = np.unique(group * (len(distinct) + 1) + codes, return_inverse=True)
        try:
            order = pd.factorize(operand(table[self.order]), sort=True)[0].astype(np.int64)
            value = pd.factorize(operand(table[self.column]), sort=True)[0].astype(np.int64)
        except TypeError:
            raise ConstraintError(
                f"constraint '{self.name}' cannot order columns {list(self.columns[:2])}", constraint=self.name
            ) from None
        return group, order, (value.max(initial=0) - value if self.decreasing else value), complete

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows are in order with all rows above them, shape (n,)."""
        group, order, value, complete = self._ranks(table)
        rows = np.flatnonzero(complete)
        obeys = np.ones(len(table), dtype=bool)
        obeys[rows] = ~_disordered(group[rows], order[rows], value[rows], strict=self.strict)
        return pd.Series(obeys, index=table.index, dtype=bool)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table with the column's values rearranged, and moved between those ``before``."""
        names = list(self.columns)
        m = 0 if before is None else len(before)
        whole = table[names] if before is None or not m else pd.concat([before[names], table[names]], ignore_index=True)
        group, order, value, complete = self._ranks(whole)
        rows = np.flatnonzero(complete & (np.arange(len(whole)) >= m))
        if not len(rows):
            return table
        by_order = rows[np.lexsort((order[rows], group[rows]))]
        by_value = rows[np.lexsort((value[rows], group[rows]))]
        made = value.copy()
        made[by_order] = value[by_value]
        earlier = complete & (np.arange(len(whole)) < m)
        top = int(value.max())
        low = _highest_before(group, order, value, earlier)
        high = top - _highest_before(group, -order, top - value, earlier)
        bounded = np.minimum(np.maximum(made, low), high)
        if np.array_equal(bounded[rows], value[rows]):
            return table
        ranks, holder = np.unique(value, return_index=True)  # each rank, and a row that holds it
        source = np.arange(len(whole))
        source[rows] = holder[np.searchsorted(ranks, bounded[rows])]
        moved = whole[self.column].take(source[m:]).set_axis(table.index)
        return table.assign(**{self.column: moved})


def _highest_before(group: Ranks, order: Ranks, value: Ranks, marked: Mask) -> Ranks:
    """Return the highest value of the marked rows of the group that have a lower order, shape (n,); -1 without any."""
    if not marked.any():
        return np.full(len(group), -1, dtype=np.int64)
    sequence = np.lexsort((order, group))
    g, o = group[sequence], order[sequence]
    begins = np.r_[True, g[1:] != g[:-1]]
    segment = np.cumsum(begins) - 1
    step = int(value.max()) + 2
    # Each segment's values lie above those of the one before, so that one running maximum serves all.
    highest = np.maximum.accumulate(np.where(marked[sequence], value[sequence], -1) + segment * step)
    changes = begins | np.r_[True, o[1:] != o[:-1]]
    tie = np.maximum.accumulate(np.where(changes, np.arange(len(g)), 0))  # the first row of equal group and order
    below = np.where(tie > 0, highest[tie - 1] - segment * step, -1)
    found = np.empty(len(g), dtype=np.int64)
    found[sequence] = np.maximum(below, -1)
    return found


def _disordered(group: Ranks, order: Ranks, value: Ranks, *, strict: bool) -> Mask:
    """Return the rows that are out of order with a row above them, shape (n,)."""
    n = len(group)
    wrong = np.zeros(n, dtype=bool)
    if n < 2:
        return wrong
    sequence = np.lexsort((value, order, group))
    g, o, v = group[sequence], order[sequence], value[sequence]
    same, later = g[1:] == g[:-1], o[1:] != o[:-1]
    falls = v[1:] <= v[:-1] if strict else v[1:] < v[:-1]
    if not (same & later & falls).any():
        return wrong
    # Merge sort without the merging: at each level a row is compared with the rows of the half above its own.
    place, top, size = np.arange(n), int(value.max()), 1
    while size < n:
        upper = place // size % 2 == 0
        block = place // (2 * size) * (int(group.max()) + 1) + group
        low = _highest_before(block, order, value, upper)
        high = _highest_before(block, -order, top - value, upper)  # of the mirrored values
        beyond = (low >= value) | (high >= top - value) if strict else (low > value) | (high > top - value)
        wrong |= ~upper & beyond
        size *= 2
    return wrong
