"""The number of a set that each row takes: by the density there of the candidates that can serve the row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.conditions import Mask, typed
from synth_components.encode import encoder
from synth_components.protocols import Floats
from synth_components.resampling.kernel import NEIGHBOURS, frequency, scalar
from synth_components.resampling.request import codes_of, groups_of, numeric, serving
from synth_components.schema import Schema, Value

Part = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows that ask for the same, and the candidates that are near it, both by their places."""

_SELDOM = 1e-9
"""Candidates that count for each member of a set, so that one is drawn where there are none near any."""


def numbers_of(
    sets: Mapping[str, frozenset[Value | None]],
    requests: Mapping[str, Floats],
    pool: pd.DataFrame,
    n: int,
    *,
    schema: Schema,
    rng: random.Generator,
) -> dict[str, Floats]:
    """Return the code (n, w) of the number of each set that each row takes, by column; infinity is null.

    It is drawn by the density there of the candidates that can serve what the row asks for else, and are near its
    numbers: those asked for, and those that it has of sets before.

    Args:
        sets: The sets of numbers or times by column.
        requests: The code (n, w) that each row must have in other columns; NaN is free, infinity is null.
        pool: The candidates.
    """
    made: dict[str, Floats] = {}
    parts = alike_and_near(requests, pool, n, schema) if sets else []
    for name, wanted in sorted(sets.items(), key=lambda item: len(item[1])):
        column = schema.columns[name]
        coder = encoder(column, name)
        values = sorted(str(v) if isinstance(v, str) else v for v in wanted if v is not None)
        codes = coder.encode(typed(pd.Series(values, dtype=object, name=name), column))
        codes = np.vstack([codes, np.full((1, codes.shape[1]), np.inf)])  # (k, w) -> (k + 1, w): null comes last
        members, held = np.append(scalar(codes[:-1]), np.nan), scalar(coder.encode(pool[name]))
        taken = np.empty(n, dtype=np.int64)
        after: list[Part] = []
        for rows, candidates in parts:
            far = reach(held[candidates], members[:-1])
            weights = densities(held[candidates], members, far, with_null=None in wanted)
            taken[rows] = rng.choice(len(weights), size=len(rows), p=weights / weights.sum())
            for one in np.unique(taken[rows]):
                near = candidates[is_near(held[candidates], members[one], far)]
                after.append((rows[taken[rows] == one], near if len(near) else candidates))
        parts = after
        made[name] = codes[taken]
    return made


def reach(held: Floats, members: Floats) -> float:
    """Return how far off candidates (m,) are near one of the members (k,): 0 if enough equal them.

    Args:
        held: The candidates' numbers; NaN is null.
        members: Those of a set.
    """
    held = held[~np.isnan(held)]
    if len(held) == 0 or len(members) == 0 or frequency(held, members).sum() >= NEIGHBOURS:
        return 0.0
    ordered = np.sort(members)
    above = np.searchsorted(ordered, held)
    gaps = [np.abs(held - ordered[np.clip(place, 0, len(ordered) - 1)]).min() for place in (above - 1, above)]
    return float(max(width(held), min(gaps) * (1 + 1e-9)))  # of members far from all candidates, the nearest


def densities(held: Floats, members: Floats, far: float, *, with_null: bool) -> Floats:
    """Return the weight (k,) of each member of a set: how many candidates (m,) are near, 1 without any.

    Args:
        held: The candidates' numbers; NaN is null.
        members: Those of the set, and NaN as the last.
        with_null: Whether null may be taken.
    """
    is_null = np.isnan(held)
    near = frequency(held[~is_null], members[:-1], far).astype(np.float64)
    share = np.append(near, float(is_null.sum()))
    if not len(held):
        share[:] = 1.0
    weights = share + _SELDOM
    weights[-1] *= with_null
    return weights


def is_near(held: Floats, member: float, far: float) -> Mask:
    """Return which candidates (m,) are no further off a member of a set than ``far``; NaN is null."""
    return np.isnan(held) if np.isnan(member) else np.abs(held - member) <= far


def alike_and_near(requests: Mapping[str, Floats], pool: pd.DataFrame, n: int, schema: Schema) -> list[Part]:
    """Return rows that ask for the same, and the candidates that can serve it and are near its numbers."""
    near = numeric(requests, schema)
    codes = codes_of(pool, requests, schema)
    groups = groups_of(requests, near, n)
    found = serving(codes, requests, np.array([group[0] for group in groups]), near, len(pool))
    parts: list[Part] = list(zip(groups, found, strict=True))
    for name in near:
        wanted, held = scalar(requests[name]), scalar(codes[name])
        parts = [
            (rows[asking], candidates[nearby])
            for rows, candidates in parts
            for asking, nearby in by_number(wanted[rows], held[candidates])
        ]
    return parts


def by_number(wanted: Floats, held: Floats) -> list[Part]:
    """Return rows of a group that ask for one number, or for near ones, and the candidates near it.

    Args:
        wanted: The number (g,) that each row of the group asks for; none of them, or all, are finite.
        held: Those (m,) of the candidates that can serve the group.
    """
    if not len(held) or not np.isfinite(wanted[0]):
        return [(np.arange(len(wanted)), np.arange(len(held)))]
    kernel = width(held)
    numbers, which = np.unique(in_cells(wanted, held, kernel / 4), return_inverse=True)
    rows = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    return list(zip(rows, around(held, numbers, kernel), strict=True))


def in_cells(wanted: Floats, held: Floats, size: float) -> Floats:
    """Return each number (g,) that enough candidates (m,) have, and else the middle of its cell.

    Rows may all ask for different numbers: so those of near ones go together.  A middle lies among the candidates.
    """
    middle = np.clip((np.floor(wanted / size) + 0.5) * size, held.min(), held.max())
    return np.where(frequency(held, wanted) >= NEIGHBOURS, wanted, middle)


def around(held: Floats, numbers: Floats, kernel: float) -> list[NDArray[np.int64]]:
    """Return for each number (k,) the candidates (m,) that have it, if enough do, else those near it.

    They are those within ``kernel``, or if there are none the nearest on both sides.
    """
    ordered = np.argsort(held, kind="stable")
    far = np.where(frequency(held, numbers) >= NEIGHBOURS, 0.0, kernel)
    firsts = np.searchsorted(held[ordered], numbers - far, side="left")
    ends = np.searchsorted(held[ordered], numbers + far, side="right")
    more = np.where(firsts == ends, NEIGHBOURS, 0)
    return [ordered[first:end] for first, end in zip(np.maximum(firsts - more, 0), ends + more, strict=True)]


def width(held: Floats) -> float:
    """Return how far off candidates (m,) are near a number."""
    return float(held.std()) * len(held) ** -0.2 or 1.0  # Scott's rule
