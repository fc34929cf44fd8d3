"""Floors and intervals: what an independent real sample scores, and how far a score moves by chance."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy import random
from numpy.typing import NDArray

from synth_components.protocols import Floats, Score

EXPLANATION = (
    "The floor of a score is what an independent real sample of the same size scores (real train against real "
    "holdout): no honest generator is expected to do better, and one that does has seen the rows it is judged on."
)

CORRECTION = (
    "Where holdout and synthetic table differ in size, the floor of a distance is the holdout's distance times "
    "sqrt((1/n + 1/s) / (1/n + 1/m)) for n train, m holdout and s synthetic rows: the sampling error of a distance "
    "between two samples shrinks as the root of the sum of their inverse sizes."
)

INTERVALS = (
    "An interval of 95 % covers what the score would be on other rows of the same laws: the judged rows are resampled, "
    "for global utility the columns, or, for a share of rows, it is Clopper and Pearson's. Generator, detectors and "
    "learners are not fitted again, so it does not cover another fit or seed; it is the score's, not the floor's. "
    "Where no interval was made, none is shown: for p-values, bounds and coverage, and where every resample gives the "
    "same value."
)

_TWO_SIDED = 1.959964  # 97.5 % quantile of the normal distribution


def resamples(n: int, replicates: int, rng: random.Generator) -> Iterator[Floats]:
    """Yield how often each of ``n`` rows stands in a bootstrap sample, shape (n,), ``replicates`` times."""
    for _ in range(replicates):
        yield np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)


def scaled(error: float, *, train: int, holdout: int, synthetic: int) -> float:
    """Return the distance expected of a real sample of ``synthetic`` rows, given the holdout's."""
    if min(train, holdout, synthetic) == 0:
        return error
    return error * math.sqrt((1 / train + 1 / synthetic) / (1 / train + 1 / holdout))


def interval(value: float, deviation: float, *, low: float, high: float) -> tuple[float, float]:
    """Return the standard bootstrap interval: value -+ 1.96 deviations, within what the score can be.

    Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", Chapter 12.
    Differs: not the percentile interval: a resample is further from its pair than the sample is, so the percentiles of
    a distance need not hold its value.
    """
    reach = _TWO_SIDED * deviation
    return max(low, value - reach), min(high, value + reach)


def score(
    name: str,
    value: float,
    *,
    draws: Floats | None = None,
    deviation: float = 0.0,
    hits: tuple[float, int] | None = None,
    floor: float,
    ideal: float,
    subject: tuple[str, ...] = (),
    low: float = 0.0,
    high: float = 1.0,
) -> Score:
    """Return a score with its interval, or none where nothing tells how far it moves by chance.

    Args:
        draws: Bootstrap values (r,), which may lie beyond ``low`` and ``high``.
        deviation: The standard deviation, if it is known without ``draws``.
        hits: If the score is a share, how many of how many; a row may count in part.
    """
    made: tuple[float, float] | None = None
    spread = deviation if draws is None or len(draws) < 2 else float(np.std(draws, ddof=1))
    if hits is not None:
        share = hits[0] / hits[1]
        spread = math.sqrt(share * (1 - share) / hits[1])
        made = lower_bound(*hits), upper_bound(*hits)
    elif spread > 1e-12 * abs(value):  # sums of equal draws differ in their last digit
        made = interval(float(value), spread, low=low, high=high)
    return Score(name, float(value), made, spread, float(floor), ideal, subject)


def upper_bound(successes: float, n: int, *, error: float = 0.025) -> float:
    """Return the upper end of the Clopper-Pearson interval of a rate: of 95 %, unless said otherwise.

    Args:
        error: Chance that the rate lies above it.

    Source: Clopper & Pearson 1934, in the beta form of Brown, Cai & DasGupta 2001.
    """
    from scipy.stats import beta

    if n == 0 or successes >= n:
        return 1.0
    return float(beta.ppf(1 - error, successes + 1, n - successes))


def lower_bound(successes: float, n: int, *, error: float = 0.025) -> float:
    """Return the lower end of the Clopper-Pearson interval of a rate; see ``upper_bound``."""
    from scipy.stats import beta

    if n == 0 or successes == 0:
        return 0.0
    return float(beta.ppf(error, successes, n - successes + 1))


def auc(scores: Floats, labels: NDArray[np.bool_], weights: Floats | None = None) -> float:
    """Return the area under the ROC curve of ``scores`` (n,), ties half; 0.5 if a class is absent."""
    order = np.argsort(scores, kind="stable")
    ranked, positive = scores[order], labels[order]
    mass = np.ones(len(scores)) if weights is None else weights[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]])) if len(ranked) else np.empty(0, int)
    if len(starts) == 0:
        return 0.5
    good = np.add.reduceat(mass * positive, starts)
    bad = np.add.reduceat(mass * ~positive, starts)
    if good.sum() <= 0 or bad.sum() <= 0:
        return 0.5
    below = np.cumsum(bad) - bad
    return float((good * (below + bad / 2)).sum() / (good.sum() * bad.sum()))
