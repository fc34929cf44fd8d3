"""Rows that meet conditions, chosen among those of a sampler that cannot condition.

Candidates are drawn without the conditions, and those are kept that meet them.  Categories, booleans, nulls, intervals
and sets of categories must match.  So must a fixed number or time, or a set of them, where enough candidates have it,
such as a zero that many rows share: of several columns, and beside the values of a row, together.  Others seldom match
to the last digit: near candidates are then chosen by a Gaussian kernel weight, and the fixed value is set in them.  The
other columns therefore follow their distribution near the value; the value itself holds exactly.  How many rows are
asked for does not widen what is near: more candidates are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy import random

from synth_components.conditions import is_allowed, meets
from synth_components.encode import encoder
from synth_components.errors import ConditionError
from synth_components.protocols import Allowed, Given, Interval
from synth_components.resampling.density import numbers_of
from synth_components.resampling.kernel import NEIGHBOURS, Offer, choose, offers_to
from synth_components.resampling.request import codes_of, groups_of, numeric, serving, sharing
from synth_components.schema import AnyColumn, Datetime, Numeric, Schema, Value

MAX_POOL = 262_144
"""Candidates drawn without the conditions before they count as without support."""

MIN_POOL = 4_096


def resample(
    draw: Callable[[int], pd.DataFrame],
    given: Given,
    n: int,
    *,
    schema: Schema,
    rng: random.Generator,
    on_unserved: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Return ``n`` rows that meet the conditions, among candidates that ``draw(k)`` makes without them.

    Where fewer candidates match than rows are asked for, candidates are used more than once.

    Args:
        on_unserved: Told how many rows ask for categories that no candidate has together: each is then one of those
            that have the most of them, and does not meet its conditions.  ``None`` raises.

    Raises:
        ConditionError: if none of ``MAX_POOL`` candidates can serve a request.
    """
    if n == 0:
        return draw(0)
    allowed = {name: _as_set(wanted, schema.columns[name]) for name, wanted in given.allowed.items()}
    hard = {name: wanted for name, wanted in allowed.items() if not _is_soft(wanted, schema.columns[name])}
    soft = {name: wanted for name, wanted in allowed.items() if name not in hard and not isinstance(wanted, Interval)}
    drawn = min(MAX_POOL, max(MIN_POOL, 4 * n))
    pool = _filtered(draw(drawn), hard, schema)

    def more() -> pd.DataFrame:
        nonlocal drawn, pool
        count = min(drawn, MAX_POOL - drawn)
        extra = _filtered(draw(count), hard, schema)
        pool = pd.concat([pool, extra], ignore_index=True) if len(pool) else extra
        drawn += count
        return extra

    while True:
        had, is_short = _had_together(pool, soft, min(n, NEIGHBOURS), MAX_POOL / drawn, schema)
        if not is_short:
            break
        more()
    hard |= had
    pool = _filtered(pool, had, schema)
    requests = {} if given.rows is None else codes_of(given.rows, given.rows.columns, schema)
    sets = {name: wanted for name, wanted in soft.items() if name not in had}
    requests |= numbers_of(sets, requests, pool, n, schema=schema, rng=rng)
    near = numeric(requests, schema)
    groups = groups_of(requests, near, n)
    codes = codes_of(pool, requests, schema)
    enough = NEIGHBOURS if near else 1
    found, offers = [np.empty(0, np.int64) for _ in groups], [list[Offer]() for _ in groups]
    short = list(range(len(groups)))
    while True:
        firsts = np.array([groups[g][0] for g in short])
        for g, able in zip(short, serving(codes, requests, firsts, near, len(pool)), strict=True):
            found[g], offers[g] = able, offers_to(requests, {name: codes[name] for name in near}, able, groups[g])
        short = [
            g
            for g in short
            if len(found[g]) < max(len(groups[g]), enough) or any(one.is_short(MAX_POOL / drawn) for one in offers[g])
        ]
        if not short or drawn >= MAX_POOL:
            break
        extra = codes_of(more(), requests, schema)
        codes = {name: np.concatenate([held, extra[name]]) for name, held in codes.items()}
    lacking = [g for g in short if len(found[g]) == 0]
    if lacking and len(pool) and requests and on_unserved is not None:
        firsts = np.array([groups[g][0] for g in lacking])
        for g, having in zip(lacking, sharing(codes, requests, firsts, near, len(pool)), strict=True):
            found[g] = having
            offers[g] = offers_to(requests, {name: codes[name] for name in near}, having, groups[g])
    unserved = sum(len(groups[g]) for g in lacking if len(found[g]) == 0)
    if lacking and not unserved and on_unserved is not None:
        on_unserved(sum(len(groups[g]) for g in lacking))
    if unserved:
        raise ConditionError(
            f"{unserved} of {n} requested rows have no support: none of {drawn} candidates matches the conditions on "
            f"columns {list(given.columns)}; widen them, or use a generator that conditions by itself",
            columns=given.columns,
        )
    chosen = np.empty(n, dtype=np.int64)
    for f, group, offered in zip(found, groups, offers, strict=True):
        chosen[group] = f[choose(offered, len(f), len(group), rng)]
    table = pool.iloc[chosen].reset_index(drop=True)
    for name in near:
        features, fixed_rows = codes[name][chosen], np.isfinite(requests[name][:, 0])
        features[fixed_rows] = requests[name][fixed_rows]
        table[name] = encoder(schema.columns[name], name).decode(features)
    return table


def _as_set(wanted: Allowed, column: AnyColumn) -> Allowed:
    """Return an interval of one number as a set of it, where candidates seldom hit it."""
    is_continuous = isinstance(column, Numeric) and column.places is None
    if isinstance(wanted, Interval) and is_continuous and wanted.low is not None and wanted.low == wanted.high:
        return frozenset({wanted.low})
    return wanted


def _is_soft(wanted: Allowed, column: AnyColumn) -> bool:
    """Return whether an allowed set lists numbers or times, which candidates seldom hit."""
    return isinstance(column, Numeric | Datetime) and not isinstance(wanted, Interval) and wanted != {None}


def _filtered(table: pd.DataFrame, hard: Mapping[str, Allowed], schema: Schema) -> pd.DataFrame:
    return table[meets(table, Given(None, hard), schema)].reset_index(drop=True)


def _had_together(
    pool: pd.DataFrame, soft: Mapping[str, frozenset[Value | None]], least: int, most: float, schema: Schema
) -> tuple[dict[str, frozenset[Value | None]], bool]:
    """Return the sets of numbers that enough candidates have, together, and whether more candidates are wanted first.

    Where too few have numbers of all sets, the set is given up that the fewest have one of.

    Args:
        soft: The sets by column.
        least: How many are enough.
        most: How many times as many candidates there can be.
    """
    masks = {name: is_allowed(pool[name], wanted, schema.columns[name]) for name, wanted in soft.items()}
    while masks:
        count = int(np.logical_and.reduce(list(masks.values())).sum())
        if count >= least or count * most >= least:
            return {name: soft[name] for name in masks}, count < least
        del masks[min(masks, key=lambda name: masks[name].sum())]
    return {}, False
