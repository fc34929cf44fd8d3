"""Pairs of columns: joint distribution over shared bins, association, and mutual information."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy import random

from synth_components.evaluation.columns import Binned, Coded, Codes, binned, coded
from synth_components.evaluation.floor import scaled, score
from synth_components.evaluation.options import FidelityConfig
from synth_components.protocols import Context, Dataset, Evidence, Floats

_PAIR_BUDGET = 3_000  # pair tables counted by the bootstrap; at least ten replicates even so
_LEAST_REPLICATES = 10


@dataclass(frozen=True)
class Pairs:
    """What one table says about every pair of columns (p pairs).

    Attributes:
        joint: Cell shares of each pair, flat.
        association: (p,) in [-1, 1]: Spearman between numbers, correlation ratio of ranks for mixed pairs, Cramer's V
            between categories.
        information: (p,) normalised mutual information in [0, 1].
    """

    joint: list[Floats]
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
    view = coded(train, holdout, synthetic).capped(train=limit, holdout=limit, synthetic=limit, rng=rng)
    pairs = list(combinations(range(len(view.names)), 2))
    if not pairs:
        reason = [{"score": "fidelity.pairs", "subject": "", "reason": "there are fewer than two columns to compare"}]
        return Evidence(tables={"left_out": pd.DataFrame(reason)})
    cells = binned(view, bins=config.bins, max_categories=config.max_categories)
    numbers = np.array([not view.is_category(name) for name in view.names])
    ranks = [_ranks(side, view) for side in (view.train, view.holdout, view.synthetic)]
    sides = [cells.train, cells.holdout, cells.synthetic]
    real, held, drawn = (_pairs(codes, rank, cells, numbers, pairs) for codes, rank in zip(sides, ranks, strict=True))
    sizes = {"train": len(sides[0]), "holdout": len(sides[1]), "synthetic": len(sides[2])}
    replicates = max(_LEAST_REPLICATES, min(config.replicates, _PAIR_BUDGET // len(pairs)))
    resampled = []
    for _ in range(replicates):
        rows = [rng.integers(len(side), size=len(side)) for side in (sides[0], sides[2])]
        resampled.append(
            _measures(
                _pairs(sides[0][rows[0]], ranks[0][rows[0]], cells, numbers, pairs),
                _pairs(sides[2][rows[1]], ranks[2][rows[1]], cells, numbers, pairs),
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
    return Evidence(made, tables={"fidelity.pairs": table.sort_values("score", kind="stable", ignore_index=True)})


def _ranks(values: Floats, view: Coded) -> Floats:
    """Return centred average ranks in [-0.5, 0.5] of the numbers; null and categories are 0."""
    frame = pd.DataFrame(values)
    ranks = (frame.rank(pct=True) - 0.5).fillna(0.0).to_numpy()
    ranks[:, [view.is_category(name) for name in view.names]] = 0.0
    return np.asarray(ranks - ranks.mean(axis=0) if len(ranks) else ranks)


def _pairs(codes: Codes, ranks: Floats, cells: Binned, numbers: Codes, pairs: list[tuple[int, int]]) -> Pairs:
    n = max(len(codes), 1)
    centred = ranks - ranks.mean(axis=0) if len(ranks) else ranks
    norms = np.sqrt((centred**2).sum(axis=0))
    inner = centred.T @ centred
    joint: list[Floats] = []
    strength, information = np.zeros(len(pairs)), np.zeros(len(pairs))
    for i, (a, b) in enumerate(pairs):
        size = cells.sizes[b]
        flat = np.bincount(codes[:, a] * size + codes[:, b], minlength=cells.sizes[a] * size) / n
        joint.append(flat)
        square = flat.reshape(cells.sizes[a], size)
        information[i] = _information(square)
        if numbers[a] and numbers[b]:
            strength[i] = inner[a, b] / (norms[a] * norms[b]) if norms[a] > 0 and norms[b] > 0 else 0.0
        elif numbers[a] or numbers[b]:
            number, category = (a, b) if numbers[a] else (b, a)
            strength[i] = _correlation_ratio(centred[:, number], codes[:, category], cells.sizes[category])
        else:
            strength[i] = _cramer(square)
    return Pairs(joint, strength, information)


def _information(square: Floats) -> float:
    """Return mutual information over the geometric mean of the entropies; 0 where a side is constant."""
    rows, columns = square.sum(axis=1), square.sum(axis=0)
    filled = square > 0
    shared = float((square[filled] * np.log(square[filled] / np.outer(rows, columns)[filled])).sum())
    entropies = [-float((side[side > 0] * np.log(side[side > 0])).sum()) for side in (rows, columns)]
    if min(entropies) <= 0:
        return 0.0
    return float(np.clip(shared / np.sqrt(entropies[0] * entropies[1]), 0.0, 1.0))


def _cramer(square: Floats) -> float:
    """Return Cramer's V of cell shares; 0 where a side is constant."""
    rows, columns = square.sum(axis=1), square.sum(axis=0)
    square, rows, columns = square[np.ix_(rows > 0, columns > 0)], rows[rows > 0], columns[columns > 0]
    least = min(square.shape) - 1
    if least < 1:
        return 0.0
    expected = np.outer(rows, columns)
    return float(np.sqrt(min(1.0, ((square - expected) ** 2 / expected).sum() / least)))


def _correlation_ratio(centred: Floats, codes: Codes, size: int) -> float:
    """Return the root of the share of the variance of ``centred`` that the groups explain."""
    total = float((centred**2).sum())
    if total <= 0:
        return 0.0
    counts = np.bincount(codes, minlength=size)
    sums = np.bincount(codes, weights=centred, minlength=size)
    between = float((sums[counts > 0] ** 2 / counts[counts > 0]).sum())
    return float(np.sqrt(min(1.0, between / total)))


def _distances(first: Pairs, second: Pairs) -> Floats:
    return np.array([np.abs(a - b).sum() / 2 for a, b in zip(first.joint, second.joint, strict=True)])


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
