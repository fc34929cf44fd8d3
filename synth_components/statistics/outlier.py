"""The share of numbers that lie far from the rest, whatever the skew of the rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synth_components.protocols import Floats

MOST_DEVIATIONS = 3.5
"""Robust standard deviations from the median beyond which a number is an outlier."""

_LADDER: tuple[float, ...] = (1.0, 0.5, 1 / 3, 0.0, -0.5, -1.0)  # of powers; 0 is the logarithm
_NORMAL_MAD = 1.4826  # standard deviations in a median absolute deviation of the normal
_NORMAL_MEAN_AD = 1.2533  # the same for the mean absolute deviation


def outlier_share(numbers: Floats) -> float:
    """Return the share of numbers (n,), without NaN, that are outliers; in [0, 1]."""
    return float(is_outlier(numbers).mean()) if len(numbers) else 0.0


def is_outlier(numbers: Floats) -> NDArray[np.bool_]:
    """Return which of the numbers (n,), without NaN, lie beyond 3.5 robust deviations from the median.

    Numbers of one sign are first raised to the power that makes their quartiles the most symmetric, so that the long
    tail of incomes or waiting times is no outlier.  The deviation is the median absolute one, or the mean one where
    more than half of the numbers are equal.

    Source: Iglewicz & Hoaglin 1993, "How to detect and handle outliers", for the rule; Tukey 1977, "Exploratory data
    analysis", for the ladder of powers.
    """
    if len(numbers) < 4:
        return np.zeros(len(numbers), dtype=bool)
    x = symmetric(numbers)
    away = np.abs(x - np.median(x))
    scale = _NORMAL_MAD * float(np.median(away)) or _NORMAL_MEAN_AD * float(away.mean())
    return away > MOST_DEVIATIONS * scale


def symmetric(numbers: Floats) -> Floats:
    """Return numbers (n,) raised to the power of the ladder that makes their quartiles most symmetric."""
    sign = 1.0
    if (numbers > 0).all():
        powers = _LADDER
    elif (numbers >= 0).all():
        powers = tuple(power for power in _LADDER if power > 0)
    elif (numbers < 0).all():
        powers, sign = _LADDER, -1.0
    else:
        return numbers
    quartiles = np.quantile(sign * numbers, [0.25, 0.5, 0.75])
    if quartiles[0] == quartiles[2]:
        return numbers
    best = min(powers, key=lambda power: abs(_skew(_raised(quartiles, power))))
    return _raised(sign * numbers / max(float(quartiles[1]), 1e-300), best)


def _raised(x: Floats, power: float) -> Floats:
    return np.log(x) if power == 0 else np.sign(power) * x**power


def _skew(quartiles: Floats) -> float:
    """Return Bowley's skewness of three ascending quartiles, in [-1, 1]."""
    low, middle, high = quartiles
    return float((high + low - 2 * middle) / (high - low)) if high > low else 1.0
