"""The share of numbers that lie far from the rest, whatever the skew of the rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synth_components.protocols import Floats

MOST_DEVIATIONS = 3.5
"""Robust standard deviations from the median beyond which a number is an outlier."""

_LADDER: tuple[float, ...] = (1.0, 0.5, 1 / 3, 0.0, -0.5, -1.0)  # of powers; 0 is the logarithm
_SKEWED = 0.15  # beyond what sampling and one outlier in twenty explain
_NORMAL_MAD = 1.4826  # standard deviations in a median absolute deviation of the normal


def outlier_share(numbers: Floats) -> float:
    """Return the share of numbers (n,), without NaN, that are outliers; in [0, 1]."""
    return float(is_outlier(numbers).mean()) if len(numbers) else 0.0


def is_outlier(numbers: Floats) -> NDArray[np.bool_]:
    """Return which of the numbers (n,), without NaN, lie beyond 3.5 robust deviations from the median.

    Numbers of one sign are first raised to the power that makes their octiles the most symmetric, so that the long
    tail of incomes or waiting times is no outlier.  The deviation is the median absolute one; where more than half of
    the numbers are equal, that of the others.

    Source: Iglewicz & Hoaglin 1993, "How to detect and handle outliers", for the rule; Tukey 1977, "Exploratory data
    analysis", for the ladder of powers.
    """
    if len(numbers) < 4:
        return np.zeros(len(numbers), dtype=bool)
    first = _is_far(numbers, np.ones(len(numbers), dtype=bool))
    # Outliers bias the choice of the power: it is made again without them.
    return _is_far(numbers, ~first) if first.any() else first


def _is_far(numbers: Floats, is_typical: NDArray[np.bool_]) -> NDArray[np.bool_]:
    x = symmetric(numbers, numbers[is_typical])
    rest = x[is_typical]
    middle = float(np.median(rest))
    away = np.abs(rest - middle)
    scale = float(np.median(away)) or float(np.median(away[away > 0])) if away.any() else 0.0
    return np.abs(x - middle) > MOST_DEVIATIONS * _NORMAL_MAD * scale


def symmetric(numbers: Floats, typical: Floats) -> Floats:
    """Return numbers (n,) raised to the power of the ladder that makes typical ones most symmetric.

    Symmetric are octiles as far below the median as above it.  Powers below zero are for those that are skewed even on
    the scale of the logarithm.  Numbers of both signs stay as they are.
    """
    sign = 1.0
    if (numbers > 0).all():
        powers = _LADDER
    elif (numbers >= 0).all():
        powers = tuple(power for power in _LADDER if power > 0)
    elif (numbers < 0).all():
        powers, sign = _LADDER, -1.0
    else:
        return numbers
    octiles = np.quantile(sign * typical, np.arange(1, 8) / 8)
    if octiles[1] == octiles[5]:
        return numbers
    skews = {power: abs(_skew(_raised(octiles, power))) for power in powers}
    best = min((power for power in powers if power >= 0), key=skews.__getitem__)
    if skews[best] > _SKEWED:
        best = min(powers, key=skews.__getitem__)
    return _raised(sign * numbers / max(float(octiles[3]), 1e-300), best)


def _raised(x: Floats, power: float) -> Floats:
    return np.log(x) if power == 0 else np.sign(power) * x**power


def _skew(octiles: Floats) -> float:
    """Return the mean over the three pairs of ascending octiles (7,) of how far the median is from their middle.

    In units of half of their distance, each in [-1, 1].
    """
    low, middle, high = octiles[:3][::-1], octiles[3], octiles[4:]
    width = high - low
    return float(np.mean((high + low - 2 * middle) / np.where(width > 0, width, np.inf)))
