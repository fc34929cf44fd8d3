"""Candidates that serve a fixed number or time: those that have it, or near ones by a Gaussian kernel weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import random
from numpy.typing import NDArray

from synth_components.protocols import Floats
from synth_components.resampling.request import alike

NEIGHBOURS = 32
"""Candidates that serve a number, if there are as many: those that have it, or else near ones."""
_REACH = 2.0
"""How many bandwidths further off than the nearest candidate one may be."""


def frequency(held: Floats, wanted: Floats, reach: float = 0.0) -> NDArray[np.int64]:
    """Return how many of the numbers held (m,) are within ``reach`` of each that is wanted (g,)."""
    ordered = np.sort(held)
    upper = np.searchsorted(ordered, wanted + reach, side="right")
    return upper - np.searchsorted(ordered, wanted - reach, side="left")


def scalar(codes: Floats) -> Floats:
    """Return one number per row, (n, w) to (n,).

    It is for distances only, as two features may exceed its precision.
    """
    return codes[:, 0] if codes.shape[1] == 1 else codes[:, 0] * 2.0**32 + codes[:, 1]


@dataclass(frozen=True)
class Offer:
    """The candidates that may serve some of the numbers asked for.

    Attributes:
        counts: How often (g,) each is asked for.
        members: The requests of each, by their places in the group.
        nearest: The places (g, k) of candidates.
        weights: The logarithm (g, k) of their kernel weights; minus infinity for who may not serve.
        matches: How many candidates have what is asked for where candidates repeat it, if they are too few to serve;
            0 if they serve, or there are none.
    """

    counts: NDArray[np.int64]
    members: list[NDArray[np.int64]]
    nearest: NDArray[np.int64]
    weights: Floats
    matches: int = 0

    def is_short(self, most: float) -> bool:
        """Return whether more candidates are wanted, of which there can be ``most`` times as many as now."""
        # Of numbers that candidates have, but too few: whether there would be some among all, else near ones serve.
        is_rare = self.matches > 0 and self.matches * most >= min(int(self.counts.max()), NEIGHBOURS)
        return is_rare or bool(np.any(np.isfinite(self.weights).sum(axis=1) < self.counts))


def offers_to(
    requests: Mapping[str, Floats], codes: Mapping[str, Floats], found: NDArray[np.int64], group: NDArray[np.int64]
) -> list[Offer]:
    """Return who may serve the numbers (n, d) that a group asks for; none where it asks for no number.

    Numbers that candidates repeat have mass: who serves has them.  Of the others those near serve.

    Args:
        codes: Of all candidates.
        found: Those that can serve the group.
    """
    fixed = [name for name in codes if np.isfinite(requests[name][group[0], 0])]
    if not fixed or not len(found):
        return []
    targets = np.column_stack([scalar(requests[name][group]) for name in fixed])
    held = np.column_stack([scalar(codes[name][found]) for name in fixed])
    distinct, which, counts = np.unique(targets, axis=0, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(which.ravel(), kind="stable"), np.cumsum(counts)[:-1])  # by distinct target
    repeated = np.column_stack([frequency(held[:, j], distinct[:, j]) for j in range(len(fixed))])
    offers: list[Offer] = []
    # Numbers are sought out by the columns in which they have mass; where too few candidates have all of them, the one
    # that the fewest have is given up.
    patterns, pattern = np.unique(repeated > 1, axis=0, return_inverse=True)
    open_: list[tuple[NDArray[np.int64], NDArray[np.bool_], int]] = [
        (np.flatnonzero(pattern.ravel() == place), massive, 0) for place, massive in enumerate(patterns)
    ]
    while open_:
        asked, massive, matches = open_.pop()
        if not massive.any():
            offers += _near(distinct, counts, members, held, asked, np.arange(len(held)), massive, matches)
            continue
        for targets_of, candidates in alike(distinct[asked][:, massive], held[:, massive]):
            equal = asked[targets_of]
            if len(candidates) >= min(int(counts[equal].max()), NEIGHBOURS):
                offers += _near(distinct, counts, members, held, equal, candidates, massive, 0)
                continue
            fewer = massive.copy()
            fewer[np.argmin(np.where(massive, repeated[equal].min(axis=0), np.inf))] = False
            open_.append((equal, fewer, matches or len(candidates)))
    return offers


def _near(
    distinct: Floats,
    counts: NDArray[np.int64],
    members: list[NDArray[np.int64]],
    held: Floats,
    asked: NDArray[np.int64],
    candidates: NDArray[np.int64],
    met: NDArray[np.bool_],
    matches: int,
) -> list[Offer]:
    """Return the candidates that are near the targets asked for, in the columns in which they are not equal anyway."""
    from scipy.spatial import cKDTree

    held, distinct = held[candidates][:, ~met], distinct[:, ~met]
    m, d = held.shape
    scale = held.std(axis=0)
    scale[scale == 0] = 1.0
    bandwidth = m ** (-1.0 / (4 + d))  # Scott's rule, in standard deviations
    tree = cKDTree(held / scale) if d else None
    few = counts[asked] <= NEIGHBOURS // 4
    batches: list[tuple[NDArray[np.int64], int]] = [(asked[few], NEIGHBOURS)]
    batches += [(np.array([g]), 4 * int(counts[g])) for g in asked[~few]]
    made = []
    for some, wanted in batches:
        if len(some) == 0:
            continue
        if tree is None:
            nearest, weights = np.tile(np.arange(m), (len(some), 1)), np.zeros((len(some), m))
        else:
            got: tuple[Any, Any] = tree.query(distinct[some] / scale, k=min(wanted, m))
            gaps, nearest = (np.reshape(part, (len(some), -1)) for part in got)
            excess = gaps**2 - gaps[:, :1] ** 2  # relative to the nearest, so that far requests are served too
            weights = np.where(excess <= (_REACH * bandwidth) ** 2, -0.5 * excess / bandwidth**2, -np.inf)
        made.append(Offer(counts[some], [members[g] for g in some], candidates[nearest], weights, matches))
    return made


def choose(offers: list[Offer], m: int, n: int, rng: random.Generator) -> NDArray[np.int64]:
    """Return one of ``m`` candidates for each of ``n`` requests by kernel weight, each once if it can be.

    Args:
        offers: Who may serve which numbers; empty if any candidate serves.
    """
    if not offers:
        return np.resize(rng.permutation(m), n)
    chosen = np.empty(n, dtype=np.int64)
    for offer in offers:
        keys = offer.weights + rng.gumbel(size=offer.weights.shape)  # Gumbel top-k: weights without replacement
        ranked = np.take_along_axis(offer.nearest, np.argsort(-keys, axis=1), axis=1)
        serving = np.isfinite(offer.weights).sum(axis=1)
        for candidates, many, count, requests in zip(ranked, serving, offer.counts, offer.members, strict=True):
            chosen[requests] = np.resize(candidates[: min(int(many), int(count))], int(count))
    return chosen
