"""Columns that rise or fall along another, in the whole table or within groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.constraints import Monotone
from synth_components.proposal.rows import Floats, Proposal, Rows
from synth_components.schema import Categorical, Key, Numeric, Text

_MOST = 12  # columns of a kind
_HEAD = 300  # rows, evenly spaced, on which a rule is tried before all
_MOVES = 0.2  # of the neighbours must differ


def monotone(rows: Rows, computed: Sequence[tuple[str, ...]]) -> Iterator[Proposal]:
    """Yield columns that never fall, or never rise, along another one.

    Args:
        computed: Columns that a formula ties together, whose order says nothing more.
    """
    orders = _orders(rows)
    groups = _groups(rows)
    told: set[tuple[str, str]] = set()
    for column, values in list({**rows.numbers, **rows.times}.items())[: 2 * _MOST]:
        for order, along in orders.items():
            if order == column or any({order, column} <= set(names) for names in computed):
                continue
            if (order, column) in told:
                continue  # told the other way round
            for by, codes in groups.items():
                if by in {order, column}:
                    continue
                moves = _moves(codes, along, values)
                if moves is None or abs(moves) < 2 * rows.min_count:
                    continue
                rule = Monotone(column=column, order=order, by=(by,) if by else (), decreasing=moves < 0)
                told.add((column, order))
                yield rows.proposal(rule, f"{abs(moves)} neighbouring rows differ, all in one direction")
                break


def _orders(rows: Rows) -> dict[str, Floats]:
    """Return the columns along which others may rise: times, and numbers that hardly repeat."""
    found = dict(list(rows.times.items())[:_MOST])
    for name, values in rows.numbers.items():
        if len(np.unique(values[~np.isnan(values)])) >= 0.5 * len(values) and len(found) < 2 * _MOST:
            found[name] = values
    for name, column in rows.columns.items():
        if isinstance(column, Key) and rows.table[name].dtype.kind in "iu":
            found[name] = rows.table[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return found


def _groups(rows: Rows) -> dict[str, NDArray[np.int64]]:
    """Return the groups within which to look, "" for all rows: identifiers and categories of several rows each."""
    found = {"": np.zeros(len(rows.table), dtype=np.int64)}
    for name, column in rows.columns.items():
        whole = isinstance(column, Numeric) and column.places == 0
        if len(found) <= _MOST and (whole or isinstance(column, Categorical | Key | Text)):
            codes, distinct = pd.factorize(rows.table[name])
            if 2 <= len(distinct) <= len(codes) / 3:
                found[name] = np.where(codes < 0, len(distinct), codes).astype(np.int64)
    return found


def _moves(group: NDArray[np.int64], order: Floats, values: Floats) -> int | None:
    """Return how many neighbours along the order rise, negative if they fall; ``None`` if neither is the rule."""
    known = ~np.isnan(order) & ~np.isnan(values)
    group, order, values = group[known], order[known], values[known]
    step = max(1, len(values) // _HEAD)
    for part in (slice(None, None, step), slice(None)):
        g, o, v = group[part], order[part], values[part]
        rising = _steps(g, o, v)
        falling = _steps(g, o, -v) if rising is None else None
        if rising is None and falling is None:
            return None
    if rising is not None:
        return rising
    return None if falling is None else -falling


def _steps(group: NDArray[np.int64], order: Floats, values: Floats) -> int | None:
    """Return how many neighbours rise if none falls and enough rise, else ``None``."""
    sequence = np.lexsort((values, order, group))
    g, o, v = group[sequence], order[sequence], values[sequence]
    near = (g[1:] == g[:-1]) & (o[1:] > o[:-1])
    if (near & (v[1:] < v[:-1])).any():
        return None
    rises = int((near & (v[1:] > v[:-1])).sum())
    return rises if rises >= _MOVES * max(1, int(near.sum())) and rises > 0 else None
