"""How much each of several samplers weighs in a mixture, by what a detector makes of held-out rows.

Source: Smyth & Wolpert 1998, "Stacked Density Estimation" (NIPS 10), Sec. 2: the weights of a mixture of fitted
    densities are those that maximise the likelihood of held-out rows, found by EM.
Differs: samplers have no densities.  A classifier is trained to tell the held-out rows and those of each sampler
    apart; its odds are the densities over that of the real rows, which is all that the likelihood needs (Sugiyama,
    Suzuki & Kanamori 2012, "Density Ratio Estimation in Machine Learning", Ch. 4).  Rows are judged by a classifier
    that has not seen them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import random

from synth_components.protocols import Dataset, Floats, Sampler

FOLDS = 3
MOST_ROWS = 5_000
"""Held-out rows that are judged; each sampler draws as many."""
_TREES = 60
_LEAST = 1e-3  # a share of the classifier's below this is not believed
_STEPS = 500
_STILL = 1e-7


def mixture_weights(samplers: Sequence[Sampler], held_out: Dataset, *, rng: random.Generator) -> Floats:
    """Return the weights (k,) of a mixture, which sum to 1, that are likeliest to draw the held-out rows."""
    return most_likely(density_ratios(samplers, held_out, rng=rng))


def density_ratios(samplers: Sequence[Sampler], held_out: Dataset, *, rng: random.Generator) -> Floats:
    """Return (n, k): the density of each sampler over that of the real rows, at held-out rows."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    from synth_components.evaluation.columns import coded, some_rows
    from synth_components.evaluation.detection import boosting_features, categorical_mask, fit

    size = min(MOST_ROWS, len(held_out.table))
    parts = []
    for sampler in samplers:
        view = coded(held_out, held_out, sampler.sample(size, rng=rng))
        parts.append((view, boosting_features(view, view.synthetic)))
    view = parts[0][0]
    # Codes of categories follow their frequency among the real rows, and are thus the same beside every sampler; of
    # those that no real row has, the order may differ, and they tell nothing about the densities at real rows.
    real = some_rows(boosting_features(view, view.train), size, rng)
    rows = np.concatenate([real, *(features for _, features in parts)])
    labels = np.repeat(np.arange(len(samplers) + 1), size)
    chances = np.empty((size, len(samplers) + 1))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=int(rng.integers(2**31)))
    with threadpool_limits(limits=1):
        for inside, outside in folds.split(rows, labels):
            model = HistGradientBoostingClassifier(
                categorical_features=categorical_mask(view),
                early_stopping=False,
                max_iter=_TREES,
                random_state=int(rng.integers(2**31)),
            )
            fit(model, rows[inside], labels[inside])
            judged = outside[outside < size]
            chances[judged] = model.predict_proba(rows[judged])
    chances = np.maximum(chances, _LEAST)
    return np.asarray(chances[:, 1:] / chances[:, :1])


def most_likely(ratios: Floats) -> Floats:
    """Return the weights (k,) that maximise the mean log of ``ratios @ weights``, of ratios (n, k) > 0.

    The function is concave, so that EM finds its maximum from anywhere.
    """
    weights = np.full(ratios.shape[1], 1 / ratios.shape[1])
    for _ in range(_STEPS):
        parts = ratios * weights
        moved = (parts / parts.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(moved - weights).max() < _STILL:
            break
        weights = moved
    return np.asarray(weights / weights.sum())
