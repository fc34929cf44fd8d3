"""Pairs of columns: joint distribution over shared bins, association, and mutual information."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.evaluation.columns import Binned, Coded, Codes, binned, coded, spread
from synth_components.evaluation.floor import scaled, score
from synth_components.evaluation.options import FidelityConfig
from synth_components.protocols import Context, Dataset, Evidence, Floats

_ROW_BUDGET = 200_000_000  # pairs times rows that the bootstrap counts; at least ten replicates even so
_LEAST_REPLICATES = 10
_CHUNK = 2_000_000  # codes counted at once


@dataclass(frozen=True)
class Pairs:
    """What one table says about every pair of columns (p pairs).

    Attributes:
        joint: By first column but the last, (size of its bins, bins of all later columns) cell shares.
        starts: By first column but the last, where each later column starts along the second axis of ``joint``.
        association: (p,) in [-1, 1]: Spearman between numbers, correlation ratio of ranks for mixed pairs, Cramer's V
            between categories.
        information: (p,) normalised mutual information in [0, 1].
    """

    joint: list[Floats]
    starts: list[Codes]
    association: Floats
    information: Floats


def association(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: FidelityConfig = FidelityConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score every pair of columns, with bins whose edges all tables share.

    ``fidelity.pairs`` is 1 minus the mean total variation distance of the joint cells; ``fidelity.correlation`` is 1
    minus the root-mean-square difference of associations over the root-mean-square real association (0 where all
    dependence is lost); ``fidelity.correlation.difference`` and ``fidelity.information`` are mean absolute
    differences.
    """
    limit = config.max_rows
    whole = coded(train, holdout, synthetic).capped(train=limit, holdout=limit, synthetic=limit, rng=rng)
    view, left_out = _bounded(whole, config.pair_columns)
    pairs = list(combinations(range(len(view.names)), 2))
    if not pairs:
        reason = [{"score": "fidelity.pairs", "subject": "", "reason": "there are fewer than two columns to compare"}]
        return Evidence(tables={"left_out": pd.DataFrame(reason)})
    cells = binned(view, bins=config.bins, max_categories=config.max_categories)
    numbers = np.array([not view.is_category(name) for name in view.names])
    ranks = [centred_ranks(side, view) for side in (view.train, view.holdout, view.synthetic)]
    sides = [cells.train, cells.holdout, cells.synthetic]
    real, held, drawn = (pairs_of(codes, rank, cells, numbers) for codes, rank in zip(sides, ranks, strict=True))
    sizes = {"train": len(sides[0]), "holdout": len(sides[1]), "synthetic": len(sides[2])}
    cost = len(pairs) * (sizes["train"] + sizes["synthetic"])
    replicates = max(_LEAST_REPLICATES, min(config.replicates, _ROW_BUDGET // max(cost, 1)))
    resampled = []
    for _ in range(replicates):
        rows = [rng.integers(len(side), size=len(side)) for side in (sides[0], sides[2])]
        resampled.append(
            _measures(
                pairs_of(sides[0][rows[0]], ranks[0][rows[0]], cells, numbers),
                pairs_of(sides[2][rows[1]], ranks[2][rows[1]], cells, numbers),
            )
        )
    draws = np.array(resampled)  # (r, 4)
    values, floors = _measures(real, drawn), _measures(real, held)
    # Distances shrink with the sample; the two ratios of distances shrink alike.
    kept = [scaled(error, **sizes) for error in floors]
    made = (
        score("fidelity.pairs", 1 - values[0], draws=1 - draws[:, 0], floor=1 - kept[0], ideal=1.0),
        score(
            "fidelity.correlation",
            max(0.0, 1 - values[1]),
            draws=1 - draws[:, 1],
            floor=max(0.0, 1 - kept[1]),
            ideal=1.0,
        ),
        score("fidelity.correlation.difference", values[2], draws=draws[:, 2], floor=kept[2], ideal=0.0),
        score("fidelity.information", values[3], draws=draws[:, 3], floor=kept[3], ideal=0.0),
    )
    table = pd.DataFrame(
        {
            "first": [view.names[a] for a, _ in pairs],
            "second": [view.names[b] for _, b in pairs],
            "score": 1 - _distances(real, drawn),
            "floor": [1 - scaled(float(error), **sizes) for error in _distances(real, held)],
            "real": real.association,
            "synthetic": drawn.association,
            "difference": drawn.association - real.association,
        }
    )
    tables = {"fidelity.pairs": table.sort_values("score", kind="stable", ignore_index=True)}
    return Evidence(made, tables=tables | left_out)


def _bounded(view: Coded, limit: int) -> tuple[Coded, dict[str, pd.DataFrame]]:
    """Return at most ``limit`` columns, evenly spread over the table, and the note on those left out."""
    width = len(view.names)
    if width <= limit:
        return view, {}
    places = spread(width, limit)
    reason = f"{len(places)} of {width} columns, evenly spread, are compared in pairs; raise pair_columns for more"
    note = pd.DataFrame([{"score": "fidelity.pairs", "subject": "", "reason": reason}])
    return view.only(places), {"left_out": note}


def centred_ranks(values: Floats, view: Coded) -> Floats:
    """Return centred average ranks in [-0.5, 0.5] of the numbers; null and categories are 0."""
    numbers = [place for place, name in enumerate(view.names) if not view.is_category(name)]
    ranks = np.zeros(values.shape)
    ranks[:, numbers] = (pd.DataFrame(values[:, numbers]).rank(pct=True) - 0.5).fillna(0.0).to_numpy()
    return np.asarray(ranks - ranks.mean(axis=0) if len(ranks) else ranks)


def pairs_of(codes: Codes, ranks: Floats, cells: Binned, numbers: NDArray[np.bool_]) -> Pairs:
    """Return what a table says about its pairs, from bins (n, d) and centred ranks (n, d)."""
    n = max(len(codes), 1)
    sizes = np.array(cells.sizes)
    width = len(sizes)
    centred = ranks - ranks.mean(axis=0) if len(ranks) else ranks
    norms = np.sqrt((centred**2).sum(axis=0))
    strengths = _correlations(centred, norms)
    for place in np.flatnonzero(~numbers):
        ratios = _correlation_ratios(centred, norms, codes[:, place], cells.sizes[place])
        strengths[place, numbers] = ratios[numbers]
        strengths[numbers, place] = ratios[numbers]
    margins = [np.bincount(codes[:, place], minlength=sizes[place]) / n for place in range(width)]
    entropies = np.array([-_plogp(margin).sum() for margin in margins])
    joint: list[Floats] = []
    starts: list[Codes] = []
    information: list[Floats] = []
    for first in range(width - 1):
        later = np.cumsum(sizes[first + 1 :])
        start = later - sizes[first + 1 :]
        shares = _counts(codes[:, first], codes[:, first + 1 :] + start, (cells.sizes[first], int(later[-1]))) / n
        shared = entropies[first] + entropies[first + 1 :] + _by_column(_plogp(shares), start)
        scale = np.sqrt(np.maximum(entropies[first] * entropies[first + 1 :], 0.0))
        information.append(np.clip(np.divide(shared, scale, out=np.zeros_like(shared), where=scale > 0), 0.0, 1.0))
        both = ~numbers[first + 1 :] if not numbers[first] else np.zeros(width - first - 1, dtype=np.bool_)
        if both.any():
            strengths[first, first + 1 :][both] = cramer(shares, margins[first], margins[first + 1 :], start)[both]
        joint.append(shares)
        starts.append(start)
    return Pairs(joint, starts, strengths[np.triu_indices(width, 1)], np.concatenate(information))


def _counts(first: Codes, later: Codes, shape: tuple[int, int]) -> Floats:
    """Return how often each code of one column meets each of all later columns, (first, all later)."""
    counts = np.zeros(shape[0] * shape[1])
    step = max(1, _CHUNK // max(later.shape[1], 1))
    for begin in range(0, len(later), step):
        flat = first[begin : begin + step, None] * shape[1] + later[begin : begin + step]
        counts += np.bincount(flat.ravel(), minlength=len(counts))
    return counts.reshape(shape)


def _by_column(cells: Floats, start: Codes) -> Floats:
    """Return the sum over the cells of each later column."""
    sums: Floats = np.add.reduceat(cells.sum(axis=0), start)
    return sums


def _plogp(shares: Floats) -> Floats:
    made: Floats = shares * np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return made


def _correlations(centred: Floats, norms: Floats) -> Floats:
    """Return Spearman's correlation (d, d); 0 where a side is constant."""
    scale = np.outer(norms, norms)
    made: Floats = np.divide(centred.T @ centred, scale, out=np.zeros_like(scale), where=scale > 0)
    return made


def _correlation_ratios(centred: Floats, norms: Floats, codes: Codes, size: int) -> Floats:
    """Return the root of the share of the variance of each column (n, d) that the groups explain."""
    from scipy.sparse import csr_array

    n = len(codes)
    sums = csr_array((np.ones(n), codes, np.arange(n + 1)), shape=(n, size)).T @ centred
    counts = np.maximum(np.bincount(codes, minlength=size), 1)
    between = (sums**2 / counts[:, None]).sum(axis=0)
    total = norms**2
    made: Floats = np.sqrt(np.minimum(1.0, np.divide(between, total, out=np.zeros_like(total), where=total > 0)))
    return made


def cramer(shares: Floats, rows: Floats, later: list[Floats], start: Codes) -> Floats:
    """Return Cramer's V of one column with each later one; 0 where a side is constant."""
    expected = np.outer(rows, np.concatenate(later))
    gap = np.divide((shares - expected) ** 2, expected, out=np.zeros_like(shares), where=expected > 0)
    least = np.minimum((rows > 0).sum(), [int((side > 0).sum()) for side in later]) - 1
    made: Floats = np.sqrt(np.minimum(1.0, _by_column(gap, start) / np.maximum(least, 1)))
    return np.where(least > 0, made, 0.0)


def _distances(first: Pairs, second: Pairs) -> Floats:
    """Return the total variation distance of each pair (p,)."""
    return np.concatenate(
        [
            _by_column(np.abs(a - b), start) / 2
            for a, b, start in zip(first.joint, second.joint, first.starts, strict=True)
        ]
    )


def _measures(real: Pairs, other: Pairs) -> tuple[float, float, float, float]:
    """Return the errors that the four scores are made of."""
    gap = other.association - real.association
    size = float(np.sqrt((real.association**2).mean()))
    lost = float(np.sqrt((gap**2).mean())) / size if size > 0 else 0.0
    return (
        float(_distances(real, other).mean()),
        lost,
        float(np.abs(gap).mean()),
        float(np.abs(real.information - other.information).mean()),
    )
