"""What a generator makes of noise, brought to the marginals that the grids keep.

What it learnt is how columns go together.
Only rows that the generator made are read, so that nothing more is known of the real ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import random

from synth_components.generators.tabular._forward import Matrix, softmax
from synth_components.generators.tabular._tokens import Tokens
from synth_components.protocols import Floats

MADE_ROWS = 4096
"""Rows that are made to see what a generator makes."""
ROUNDS = 30
"""Fits of the biases of the logits, each of all features."""
LEAST_MASS = 1e-6


def levels_of(made: Matrix) -> Matrix:
    """Return made values (n, m), each column in ascending order: its distribution function's steps."""
    return np.sort(made, axis=0)


def ranks_of(made: Matrix, levels: Matrix, *, rng: random.Generator) -> Floats:
    """Return the ranks (n, m) in (0, 1) of made values among ``levels`` (q, m), ties broken at random.

    Source: Rüschendorf 2009, "On the distributional transform, Sklar's theorem, and the empirical copula process".
    """
    ranks = np.empty(made.shape)
    spread = rng.random(made.shape)
    for column in range(made.shape[1]):
        low, high = (np.searchsorted(levels[:, column], made[:, column], side=side) for side in ("left", "right"))
        ranks[:, column] = (low + spread[:, column] * (high + 1 - low)) / (len(levels) + 1)
    return ranks


def shifts_of(features: Sequence[Tokens], logits: Matrix) -> Matrix:
    """Return what to add to logits so that tokens are drawn as often as they occur: (sum of t,).

    Args:
        logits: (n, sum of t) as the generator writes them.
    """
    shifts = np.zeros(logits.shape[1], dtype=np.float32)
    start = 0
    for one in features:
        where = slice(start, start + len(one.mass))
        for _ in range(ROUNDS):
            share = softmax(logits[:, where] + shifts[where]).mean(axis=0)
            shifts[where] += np.log(np.maximum(one.mass, LEAST_MASS) / np.maximum(share, LEAST_MASS))
        start = where.stop
    return shifts
