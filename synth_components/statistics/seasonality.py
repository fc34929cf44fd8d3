"""Trend and periods of evenly spaced numbers, and the even spacing of moments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

from synth_components.protocols import Floats

LEAST_BINS = 24
"""Fewest numbers in which a period or a trend is looked for."""

ALPHA = 0.001
"""Level of each test of a period: a series without any shows one so often by chance."""

_MOST_PERIODS = 3
_LEAST_STRENGTH = 0.02  # share of the variance below which a period is of no consequence
_MOST_BINS = 50_000
_LEAST_CYCLES = 3
_HARMONICS = 3
_NOTCH = 5  # ordinates about a peak that are no background
_MULTIPLES = 7  # of the period of a peak: a weekly dip may peak at a third of a week
_TRIED = 25  # lengths at a time, about that of a peak
_OVERTONE = 0.25  # of a period's strength, below which a multiple of its frequency belongs to its shape
_SURE = 0.1  # of the series, at most, is a period whose multiples are told apart
_MARGIN = 10.0  # nats by which a multiple of a period must be better
_STEEP = 1.5  # times 1/sqrt(m), about the standard error of the slope of a log periodogram
_EULER = 0.5772156649  # minus the mean logarithm of an exponential variable
_TREND_ALPHA = 0.01

Direction: TypeAlias = Literal["rising", "falling", "none"]


@dataclass(frozen=True)
class Period:
    """A period of a series.

    Attributes:
        length: In bins.
        strength: Share of the variance about the trend that it explains, in [0, 1].
    """

    length: int
    strength: float


@dataclass(frozen=True)
class Trend:
    """The straight line through a series.

    Attributes:
        direction: ``none`` unless the slope differs from zero at the 1 % level.
        strength: Share of the variance that the line explains, in [0, 1].
    """

    direction: Direction
    strength: float


@dataclass(frozen=True)
class Bins:
    """Evenly spaced intervals of time and the one that each moment lies in.

    Attributes:
        unit: ``s``, ``min``, ``h``, ``D``, ``W`` or ``month``.
        every: How many units one interval takes.
        index: (n,) from 0.
        count: Number of intervals.
    """

    unit: str
    every: int
    index: NDArray[np.int64]
    count: int


_UNITS = {"s": 10**6, "min": 60 * 10**6, "h": 3_600 * 10**6, "D": 86_400 * 10**6, "W": 7 * 86_400 * 10**6}


def months_of(moments: NDArray[np.int64]) -> Bins | None:
    """Return the months of moments (n,) in microseconds of local time; ``None`` if they are too few."""
    ticks = moments.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
    return _spaced(ticks - ticks.min(), "month", 1, _MOST_BINS) if len(ticks) else None


def bins_of(moments: NDArray[np.int64], *, least_rows: float = 0.25) -> Bins | None:
    """Return the finest intervals that suit moments (n,), in microseconds of local time.

    ``None`` if the moments or the intervals are too few.  At most 50,000 intervals, of ``least_rows`` moments on
    average or more.  Moments that are all multiples of an interval, such as first days of months or every sixth hour,
    are not cut finer than that.
    """
    if len(moments) < LEAST_BINS:
        return None
    most = min(_MOST_BINS, int(len(moments) / least_rows))
    months = moments.astype("datetime64[us]").astype("datetime64[M]")
    if bool((months.astype("datetime64[us]").astype(np.int64) == moments).all()):
        ticks = months.astype(np.int64)
        ticks -= ticks.min()
        return _spaced(ticks, "month", max(1, int(np.gcd.reduce(ticks))), most)
    grain = int(np.gcd.reduce(moments - moments.min()))
    whole = [unit for unit, size in _UNITS.items() if grain and grain % size == 0]
    tried = [(whole[-1], grain // _UNITS[whole[-1]])] if whole else []
    for unit, every in [*tried, *((unit, 1) for unit, size in _UNITS.items() if size > grain)]:
        width = _UNITS[unit] * every
        # Moments that are multiples of the interval begin it; others fall into hours and days of the clock.
        start = int(moments.min()) if width == grain or unit == "W" else int(moments.min()) // width * width
        made = _spaced((moments - start) // _UNITS[unit], unit, every, most)
        if made is not None:
            return made
    return None


def _spaced(ticks: NDArray[np.int64], unit: str, every: int, most: int) -> Bins | None:
    index = ticks // every
    count = int(index.max()) + 1
    return Bins(unit, every, index, count) if LEAST_BINS <= count <= most else None


def periods(series: Floats) -> tuple[Period, ...]:
    """Return the periods of a series (t,), NaN for gaps, the most prominent first; at most three.

    A parabola is taken out.  The largest ordinate of the periodogram is compared with the background; its period, and
    up to seven times it, are compared by the Bayesian information criterion of a regression on three harmonics.  The
    winner is taken out, and the rest tested again; what is left of its own shape is no other period.  A period must be
    seen three times over.

    Source: Fisher 1929, "Tests of significance in harmonic analysis", for the largest of many ordinates; Mann & Lees
        1996, "Robust estimation of background noise and signal detection in climatic time series", for the
        autoregressive background, and Vaughan 2005 (arXiv:astro-ph/0412697) for that of a power law, so that a random
        walk has no period.
    Differs: the peak tested is left out of the background; the larger of the two backgrounds counts.
    """
    rest = without_line(series, degree=2)
    n, total = len(rest), float(rest @ rest)
    if total <= 1e-12 * float(np.nansum(series**2)):
        return ()
    found: list[Period] = []
    for _ in range(2 * _MOST_PERIODS):
        peak = _peak(rest)
        if peak is None or len(found) == _MOST_PERIODS:
            break
        length, wave, explained = _best_period(rest, peak)
        strength = explained / total
        parent = next((period for period in found if _is_harmonic(peak * period.length / n, period.length / n)), None)
        if parent is not None and strength < _OVERTONE * parent.strength:
            rest = rest - _phase_means(rest, parent.length)
            continue
        if strength < _LEAST_STRENGTH or length in {period.length for period in found}:
            break
        found.append(Period(length, round(min(strength, 1.0), 4)))
        rest = rest - wave[np.arange(n) % length]
    return tuple(found)


def _is_harmonic(multiple: float, tolerance: float) -> bool:
    """Return whether a frequency is a whole multiple of another, two or more, within an ordinate."""
    return tolerance < _SURE and round(multiple) >= 2 and abs(multiple - round(multiple)) <= tolerance


def _phase_means(rest: Floats, length: int) -> Floats:
    phase = np.arange(len(rest)) % length
    return np.asarray((np.bincount(phase, weights=rest) / np.bincount(phase))[phase])


def trend(series: Floats, *, known: tuple[Period, ...] | None = None) -> Trend:
    """Return the trend of a series (t,), NaN for gaps.

    The slope's t-test counts fewer numbers where neighbours are alike: ``n (1 - r) / (1 + r)``, ``r`` being the
    correlation of neighbours about the line and the periods, which are fitted together.

    Args:
        known: The periods of the series; ``None`` has them found.

    Source: Bayley & Hammersley 1946, "The effective number of independent observations in an autocorrelated time
        series".
    """
    held = ~np.isnan(series)
    n = int(held.sum())
    if n < LEAST_BINS or float(np.ptp(series[held])) == 0:
        return Trend("none", 0.0)
    line = np.linspace(-1, 1, len(series))
    waves = [_waves(period.length, len(series)) for period in (periods(series) if known is None else known)]
    design = np.concatenate([np.stack([line, np.ones(len(series))]), *waves])[:, held]  # (2 + w, n)
    inverse = np.linalg.pinv(design @ design.T)
    coefficients = inverse @ design @ series[held]
    rest = series[held] - coefficients @ design
    scale = float(rest @ rest)
    alike = _unbiased(float(rest[1:] @ rest[:-1]) / scale if scale > 0 else 0.0, n)
    effective = max(n * (1 - alike) / (1 + alike), 3.0)
    error = np.sqrt(scale / effective * inverse[0, 0])
    p_value = 2 * float(special.stdtr(effective - 2, -abs(coefficients[0]) / max(error, 1e-300)))
    direction: Direction = "none" if p_value > _TREND_ALPHA else "rising" if coefficients[0] > 0 else "falling"
    share = float((coefficients[0] * line[held]).var() / series[held].var())
    return Trend(direction, round(min(share, 1.0), 4))


def without_line(series: Floats, *, degree: int = 1) -> Floats:
    """Return the series (t,) less its least-squares line, or polynomial, zero in the gaps."""
    held = ~np.isnan(series)
    if held.sum() <= degree:
        return np.zeros(len(series))
    at = np.linspace(-1, 1, len(series))
    return np.where(held, series - np.polyval(np.polyfit(at[held], series[held], degree), at), 0.0)


def _peak(rest: Floats) -> float | None:
    """Return the frequency, in cycles of the series, of the one significant ordinate; ``None`` if there is none."""
    n = len(rest)
    power = np.abs(np.fft.rfft(rest)[1 : (n - 1) // 2 + 1]) ** 2
    m = len(power)
    if m < LEAST_BINS // 2 - 1 or not power.any():
        return None
    ratio = power / _background(power, n)
    ratio[: _LEAST_CYCLES - 1] = 0.0
    place = int(np.argmax(ratio))
    # An exponential variable over the mean of that many others, the largest of m.
    others = m - _NOTCH
    return place + 1.0 if m * (1 + float(ratio[place]) / others) ** -others < ALPHA else None


def _background(power: Floats, n: int) -> Floats:
    """Return the power (m,) that noise has: the larger of a first-order autoregression's and a power law's.

    The one is that with the autocorrelation of all but the peak, the other a line through the logarithms.
    """
    m = len(power)
    # The peak in question is no background, nor what leaks from it.
    kept = np.abs(np.arange(m) - int(np.argmax(power[1:])) - 1) > _NOTCH // 2
    turn = np.cos(2 * np.pi * np.arange(1, m + 1) / n)
    alike = _unbiased(float(power[kept] @ turn[kept]) / max(float(power[kept].sum()), 1e-300), n)
    shape = 1 / (1 + alike**2 - 2 * alike * turn)
    autoregressive = shape * float((power[kept] / shape[kept]).mean())
    at = np.log(np.arange(1, m + 1))
    logs = np.log(np.maximum(power, power.max() * 1e-12))
    slope, level = np.polyfit(at[kept], logs[kept], 1)
    if slope > -_STEEP / np.sqrt(m):
        return np.asarray(autoregressive)
    return np.asarray(np.maximum(autoregressive, np.exp(slope * at + level + _EULER)))


def _unbiased(alike: float, n: int) -> float:
    """Return the correlation of neighbours, zero if insignificant: about a fitted curve the estimate is too small."""
    return min(alike + (2 + 4 * alike) / n, 0.999) if alike > 2 / np.sqrt(n) else 0.0


def _best_period(rest: Floats, cycles: float) -> tuple[int, Floats, float]:
    """Return the period that explains the most for its number of harmonics, its fit (length,) and what it explains."""
    n = len(rest)
    low, high = max(2, int(n / (cycles + 1))), min(n // _LEAST_CYCLES, int(n / (cycles - 1)) + 1)
    near = _best(rest, np.unique(np.linspace(low, high, _TRIED).astype(int)))
    reach = -(-(high - low) // (_TRIED - 1))
    best = _best(rest, np.arange(max(low, near[1] - reach), min(high, near[1] + reach) + 1))
    exact = n / cycles
    longer = [
        length
        for multiple in range(2, _MULTIPLES + 1)
        for length in range(int(multiple * exact - 1), int(multiple * exact) + 3)
        if best[1] < length <= n / _LEAST_CYCLES
    ]
    if longer:
        multiple_best = _best(rest, np.array(longer))
        # A multiple of a period explains as much; it must explain more.
        best = multiple_best if multiple_best[0] < best[0] - _MARGIN else best
    return (best[1], *_harmonics(rest, best[1]))


def _best(rest: Floats, lengths: NDArray[np.int64]) -> tuple[float, int]:
    """Return the least criterion of some periods, and the period."""
    n, total = len(rest), float(rest @ rest)
    found: list[tuple[float, int]] = []
    for length in map(int, lengths):
        error = max(total - _harmonics(rest, length)[1], 1e-12 * total)
        free = min(2 * _HARMONICS, length - 1)
        found.append((0.5 * n * float(np.log(error / n)) + 0.5 * free * float(np.log(n)), length))
    return min(found)


def _harmonics(rest: Floats, length: int) -> tuple[Floats, float]:
    """Return the least-squares fit (length,) of the first three harmonics of a period, and what it explains.

    Whole periods repeat, so that the regression needs no more than counts and sums by phase.
    """
    phase = np.arange(len(rest)) % length
    counts, sums = np.bincount(phase, minlength=length), np.bincount(phase, weights=rest, minlength=length)
    design = _waves(length, length)  # (2 h, length)
    coefficients = np.linalg.solve((design * counts) @ design.T, design @ sums)
    return np.asarray(coefficients @ design), float(coefficients @ (design @ sums))


def _waves(length: int, n: int) -> Floats:
    """Return cosines and sines of the first three harmonics, at most half a period of them: (2 h, n)."""
    at = 2 * np.pi * np.arange(n) / length
    waves = [wave(k * at) for k in range(1, min(_HARMONICS, length // 2) + 1) for wave in (np.cos, np.sin)]
    if length % 2 == 0 and length // 2 <= _HARMONICS:
        waves.pop()  # the sine of half the sampling rate is zero throughout
    return np.stack(waves)
