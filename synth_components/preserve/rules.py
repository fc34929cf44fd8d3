"""Rules under reordering: which columns move together, and which rows are put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.constraints import Constraint
from synth_components.preserve.frame import Order

_LEAST_OBEDIENCE = 0.9
"""A rule that a shuffle breaks in more than a tenth of its rows ties its columns together."""


def tied(table: pd.DataFrame, rules: Sequence[Constraint], *, rng: random.Generator) -> list[set[str]]:
    """Return disjoint sets of columns whose values must stay side by side.

    Apart, too many rows would break a rule, and putting them back would undo the reordering.
    """
    groups: list[set[str]] = []
    for rule in rules:
        names = list(dict.fromkeys(rule.columns))
        if len(names) < 2:
            continue
        held = table[names]
        shuffled = held.apply(lambda values: _taken(values, rng.permutation(len(values))))
        if rule.allows(shuffled).mean() >= _LEAST_OBEDIENCE * rule.allows(held).mean():
            continue
        joined = set(names).union(*(group for group in groups if group & set(names)))
        groups = [group for group in groups if not group & joined] + [joined]
    return groups


def applied(table: pd.DataFrame, orders: Mapping[str, Order]) -> pd.DataFrame:
    """Return the table with some columns reordered; index, dtypes and other columns as they were."""
    return table.assign(**{name: _taken(table[name], order) for name, order in orders.items() if name in table})


def _taken(values: pd.Series[Any], order: Order) -> pd.Series[Any]:
    return pd.Series(values.array.take(order), index=values.index, name=values.name, dtype=values.dtype)


def put_back(
    table: pd.DataFrame, orders: Mapping[str, Order], rules: Sequence[Constraint], groups: Sequence[set[str]]
) -> dict[str, Order]:
    """Return the orders with rows restored until every row obeys what it obeyed before.

    A row that breaks a rule gets back its own values in the columns of that rule, and in those tied to them.  A rule
    across rows is kept if as many rows obey it as before; where restoring rows does not help, its columns are restored
    whole.  Every pass restores more, so it ends.
    """
    made = dict(orders)
    watched = [rule for rule in rules if rule.spans_rows or len(set(rule.columns)) > 1]
    before = [rule.allows(table[list(dict.fromkeys(rule.columns))]).to_numpy() for rule in watched]
    is_done = False
    while not is_done:
        is_done = True
        for rule, obeyed in zip(watched, before, strict=True):
            names = list(dict.fromkeys(rule.columns))
            moved = {name for name in names if name in made}
            moved = moved.union(*(group & set(made) for group in groups if group & moved))
            now = rule.allows(applied(table[names], made)).to_numpy()
            broken = obeyed & ~now
            if not moved or not broken.any() or (rule.spans_rows and now.sum() >= obeyed.sum()):
                continue
            is_done = False
            if all(bool((made[name][broken] == np.flatnonzero(broken)).all()) for name in moved):
                broken = np.ones_like(broken)  # the rows are back already: others stand in their way
            made |= {name: restored(made[name], broken) for name in moved}
    return made


def restored(order: Order, rows: NDArray[np.bool_]) -> Order:
    """Return the permutation nearest to ``order`` that leaves ``rows`` in place.

    A row that took its value from a restored one takes it from where that one would have.
    """
    sources = order.copy()
    passing = np.flatnonzero(~rows & rows[sources])
    while len(passing):
        sources[passing] = order[sources[passing]]
        passing = passing[rows[sources[passing]]]
    sources[rows] = np.flatnonzero(rows)
    return sources
