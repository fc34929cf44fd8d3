"""Local recoding: rows are parted again and again, each class gets intervals and groups of its own.

Source: LeFevre, DeWitt & Ramakrishnan 2006, "Mondrian multidimensional k-anonymity" (doi:10.1109/ICDE.2006.101).
Differs: all parts of a round are cut at once.  A part is cut where most would be lost if it stayed whole, by the
    normalised certainty penalty, and at the boundary of a hierarchy where there is one.  A cut between values is
    tried in every column before one through rows of a single value (the relaxed cut of the source).  A cut whose halves
    would miss l or t is not made; the next column is tried, then other places than the middle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synth_components.privacy.anonymity.classes import Ints
from synth_components.privacy.anonymity.criteria import Criteria
from synth_components.privacy.anonymity.domain import Domain

MIDDLE = (0.5,)
ASIDE = (0.3, 0.7, 0.1, 0.9)
"""Shares of a part's rows before a cut, in the order in which they are tried."""


def partition(domains: Sequence[Domain], criteria: Criteria) -> Ints:
    """Return the class (n,) of each row, from 0 on, none of which can be cut further.

    The table as a whole must meet the criteria.
    """
    n = len(domains[0].codes)
    codes = np.stack([one.codes for one in domains], axis=1)  # (n, d)
    made = np.zeros(n, dtype=np.int64)
    rows, part = np.arange(n), np.zeros(n, dtype=np.int64)  # rows of parts that may be cut, sorted by part
    finished = 0
    while len(rows):
        sizes = np.bincount(part)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        side, is_cut = _cut(codes, domains, rows, part, starts, sizes, criteria)
        is_whole = ~is_cut[part]
        made[rows[is_whole]] = finished + part[is_whole]
        finished += len(sizes)
        rows, part = rows[~is_whole], 2 * part[~is_whole] + side[~is_whole]
        order = np.argsort(part, kind="stable")
        rows = rows[order]
        part = np.unique(part[order], return_inverse=True)[1].reshape(-1).astype(np.int64)
    return np.unique(made, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _cut(
    codes: Ints,
    domains: Sequence[Domain],
    rows: Ints,
    part: Ints,
    starts: Ints,
    sizes: Ints,
    criteria: Criteria,
) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the half (m,) of each row, 0 or 1, and whether each part (p,) can be cut."""
    held = codes[rows]
    low, high = np.minimum.reduceat(held, starts, axis=0), np.maximum.reduceat(held, starts, axis=0)
    lost = np.stack([one.loss(low[:, at], high[:, at]) for at, one in enumerate(domains)], axis=1)  # (p, d)
    lost = np.where(low == high, -1.0, lost)
    preferred = np.argsort(-lost, axis=1, kind="stable")
    side = np.zeros(len(rows), dtype=np.int64)
    done = np.zeros(len(sizes), dtype=np.bool_)
    open_ = (sizes >= 2 * criteria.k) & (lost.max(axis=1) >= 0)
    # Where k alone is asked for, a cut that leaves k rows is found at the first place, wherever it is.
    places = (*MIDDLE, *(ASIDE if criteria.demands else ()), None)
    for place in places:
        for rank in range(len(domains)):
            column = preferred[:, rank]
            tried = open_ & ~done & (lost[np.arange(len(sizes)), column] >= 0)
            if not tried.any():
                continue
            mine = np.flatnonzero(tried[part])
            within = np.cumsum(tried)[part[mine]] - 1  # (m',) parts that are tried, from 0 on
            of = column[tried]
            key = held[mine, of[within]]
            order = np.lexsort((key, within))
            halves, fits = _halves(key[order], within[order], sizes[tried], of, domains, criteria.k, place)
            if criteria.demands and fits.any():
                # The two halves of each part are asked as classes of their own.
                good = criteria.met(2 * within[order] + halves, rows[mine[order]], 2 * len(of))
                fits = fits & good[0::2] & good[1::2]
            back = np.empty(len(order), dtype=np.int64)
            back[order] = halves
            kept = fits[within]
            side[mine[kept]] = back[kept]
            done[np.flatnonzero(tried)[fits]] = True
    return side, done


def _halves(
    key: Ints, within: Ints, sizes: Ints, of: Ints, domains: Sequence[Domain], k: int, wanted: float | None
) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the half of each row, sorted by part and code, and whether each part has a cut that leaves k rows.

    Args:
        wanted: Share of the rows that should come before the cut; ``None`` cuts at the middle, through equal values.
    """
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    place = np.arange(len(key)) - starts[within]
    if wanted is None:
        return (place >= (sizes // 2)[within]).astype(np.int64), sizes >= 2 * k
    is_boundary = np.concatenate([[False], (key[1:] != key[:-1]) & (within[1:] == within[:-1])])
    at = np.flatnonzero(is_boundary & (place >= k) & (sizes[within] - place >= k))
    cut = np.full(len(sizes), np.iinfo(np.int64).max)
    if len(at):
        column = of[within[at]]
        gap = np.zeros(len(at), dtype=np.int64)
        for each in np.unique(column):
            gap[column == each] = _gaps(domains[each], key, at, column == each)
        off = np.abs(place[at] - wanted * sizes[within[at]])
        best = np.lexsort((off, -gap, within[at]))
        first = np.unique(within[at][best], return_index=True)[1]
        cut[within[at][best][first]] = place[at][best][first]
    return (place >= cut[within]).astype(np.int64), cut < np.iinfo(np.int64).max


def _gaps(domain: Domain, key: Ints, at: Ints, chosen: NDArray[np.bool_]) -> Ints:
    """Return how far apart the values before and after each chosen boundary are in the hierarchy."""
    before, after = key[at[chosen] - 1], key[at[chosen]]
    if domain.shape == "tree":
        return domain.level(before, after)
    # A null and a value are told apart before two values are.
    is_null: Ints = (after == len(domain.values)).astype(np.int64)
    return is_null
