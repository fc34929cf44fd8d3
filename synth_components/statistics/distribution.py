"""Which family of distributions a column of numbers follows, if any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from synth_components.protocols import Floats
from synth_components.statistics.outlier import is_outlier

MOST_DISTANCE = 0.02
"""Largest Kolmogorov-Smirnov distance from data to family, beyond what sampling explains, of a family that fits."""

LEAST_ROWS = 50
"""Fewest numbers that a family is fitted to."""

_SAMPLING = 1.36  # times 1/sqrt(n): the 95 % point of Kolmogorov's distance
_LEAST_DISTINCT = 5  # of a continuous family; three of counts
_LEAST_KEPT = 0.95  # of the numbers, once outliers are left out
_LEAST_SPREAD = 0.05  # deviation of the logarithm below which lognormal and gamma are the normal under another name
_MOST_GEOMETRIC_MEAN = 30.0  # beyond it, a geometric count is an exponential one, rounded


@dataclass(frozen=True)
class Fit:
    """A family fitted by maximum likelihood.

    Attributes:
        family: One of ``FAMILIES``, or ``none``.
        parameters: What may be shown: means, scales and shapes.  Ends of the range are values of single rows, and stay
            out.
        bic: Bayesian information criterion in nats (half of the usual scale); smaller is better.
        distance: Kolmogorov-Smirnov distance to the data, in [0, 1].
    """

    family: str
    parameters: Mapping[str, float]
    bic: float
    distance: float


@dataclass(frozen=True)
class _Law:
    """A fitted law: the log-likelihood of the data, the number of its parameters, and its distribution function."""

    family: str
    parameters: Mapping[str, float]
    free: int
    likelihood: float
    cdf: Callable[[Floats], Floats]
    is_count: bool = False


def distribution(numbers: Floats, *, step: float = 0.0) -> Fit | None:
    """Return the family that numbers (n,) follow; ``None`` for fewer than 50 numbers or a single value.

    Of the families whose Kolmogorov-Smirnov distance is at most ``0.02 + 1.36 / sqrt(n)``, the one with the smallest
    Bayesian information criterion.  If none comes that close, outliers are left out, up to one number in twenty; if
    still none does, the family is ``none`` and the distance is the least one.

    Args:
        numbers: Without NaN; values that stand out by their count are best left out.
        step: What the numbers are multiples of, such as 1 for integers; 0 if they are not rounded.

    Source: Schwarz 1978, "Estimating the dimension of a model", for the choice.
    Differs: the guard is a distance, not a p-value, as no column of a large table follows a textbook law exactly.
    """
    found = fits(numbers, step=step)
    if not found:
        return None
    best = _nearest(found, len(numbers))
    if best is not None:
        return best
    kept = numbers[~is_outlier(numbers)]
    if _LEAST_KEPT * len(numbers) <= len(kept) < len(numbers):
        best = _nearest(fits(kept, step=step), len(kept))
    return best or Fit("none", {}, np.inf, min(fit.distance for fit in found))


def _nearest(found: list[Fit], n: int) -> Fit | None:
    near = [fit for fit in found if fit.distance <= MOST_DISTANCE + _SAMPLING / np.sqrt(n)]
    return min(near, key=lambda fit: fit.bic, default=None)


def fits(numbers: Floats, *, step: float = 0.0) -> list[Fit]:
    """Return every family that numbers (n,) can follow, fitted; none for fewer than 50, or one value."""
    x = np.sort(np.asarray(numbers, dtype=np.float64))
    if len(x) < LEAST_ROWS or x[0] == x[-1]:
        return []
    distinct, counts = np.unique(x, return_counts=True)
    laws: list[_Law | None] = []
    if step == 1.0 and x[0] >= 0 and len(distinct) >= 3:
        laws += [_poisson(x), _geometric(x)]
    if len(distinct) >= _LEAST_DISTINCT:
        laws.append(_uniform(x, step))
        if float(x.std()) >= step:
            laws += [_normal(x), _laplace(x), *_exponential(x, step)]
            laws += _positive(x, step) if x[0] >= 0 else []
            laws += [_unit_uniform(), _beta(np.clip(x, step / 2, 1 - step / 2))] if x[0] >= 0 and x[-1] <= 1 else []
    half_log = 0.5 * np.log(len(x))
    made = []
    for law in laws:
        if law is None:
            continue
        if step > 0:
            likelihood, distance = _on_steps(law, distinct, counts, step)
        else:
            likelihood, distance = law.likelihood, _distance(x, law)
        if np.isfinite(likelihood):
            made.append(Fit(law.family, law.parameters, law.free * half_log - likelihood, distance))
    return made


def _on_steps(law: _Law, distinct: Floats, counts: NDArray[np.intp], step: float) -> tuple[float, float]:
    """Return the log-likelihood and the distance of rounded numbers: each stands for the half step on either side."""
    reach = step / 2 if not law.is_count else 0.0
    reached = law.cdf(distinct + reach)
    distance = float(np.abs(np.cumsum(counts) / counts.sum() - reached).max())
    if law.is_count:
        return law.likelihood, distance
    return float(counts @ np.log(np.maximum(reached - law.cdf(distinct - reach), 1e-300))), distance


def _distance(x: Floats, law: _Law) -> float:
    expected = law.cdf(x)
    ranks = np.arange(len(x) + 1) / len(x)
    return float(max((ranks[1:] - expected).max(), (expected - ranks[:-1]).max()))


def _positive(x: Floats, step: float) -> list[_Law | None]:
    """Return the families of positive numbers; a rounded zero is half a step."""
    inner = np.maximum(x, step / 2)
    if inner[0] <= 0:
        return []
    made: list[_Law | None] = [_power_law(inner, step)] if x[0] > 0 else []
    return made if float(np.log(inner).std()) < _LEAST_SPREAD else [*made, _lognormal(inner), _gamma(inner)]


def _normal(x: Floats) -> _Law:
    mean, sd = float(x.mean()), float(x.std())
    likelihood = -len(x) * (np.log(sd) + 0.5 * np.log(2 * np.pi) + 0.5)
    return _Law("normal", {"mean": mean, "sd": sd}, 2, likelihood, lambda v: special.ndtr((v - mean) / sd))


def _laplace(x: Floats) -> _Law:
    middle = float(np.median(x))
    scale = float(np.abs(x - middle).mean())

    def cdf(v: Floats) -> Floats:
        tail = 0.5 * np.exp(-np.abs(v - middle) / scale)
        return np.where(v < middle, tail, 1 - tail)

    return _Law("laplace", {"scale": scale}, 2, -len(x) * (np.log(2 * scale) + 1), cdf)


def _uniform(x: Floats, step: float) -> _Law:
    low, width = float(x[0]) - step / 2, float(x[-1] - x[0]) + step
    return _Law("uniform", {}, 2, -len(x) * np.log(width), lambda v: np.clip((v - low) / width, 0, 1))


def _unit_uniform() -> _Law:
    """Return the uniform on [0, 1], which has no parameter: the beta includes it, and must earn its two."""
    return _Law("uniform", {}, 0, 0.0, lambda v: np.clip(v, 0, 1))


def _exponential(x: Floats, step: float) -> list[_Law | None]:
    """Return the exponential from zero, which the gamma includes, and the one from the smallest value."""
    shifted = _exponential_from(x, float(x[0]) - step / 2, 2)
    return [shifted, _exponential_from(x, 0.0, 1)] if x[0] >= 0 else [shifted]


def _exponential_from(x: Floats, start: float, free: int) -> _Law:
    scale = float(x.mean()) - start
    return _Law(
        "exponential",
        # The mean less the scale would be the smallest value; the deviation estimates the scale, too.
        {"scale": scale if start == 0 else float(x.std())},
        free,
        -len(x) * (np.log(scale) + 1),
        lambda v: -np.expm1(-np.maximum(v - start, 0) / scale),
    )


def _lognormal(x: Floats) -> _Law:
    logs = np.log(x)
    mean, sd = float(logs.mean()), float(logs.std())
    likelihood = -len(x) * (mean + np.log(sd) + 0.5 * np.log(2 * np.pi) + 0.5)
    return _Law(
        "lognormal",
        {"mean_log": mean, "sd_log": sd},
        2,
        likelihood,
        lambda v: special.ndtr((np.log(np.maximum(v, 1e-300)) - mean) / sd),
    )


def _gamma(x: Floats) -> _Law | None:
    """Return the gamma by Newton's steps on the shape.

    Source: Minka 2002, "Estimating a gamma distribution", eq. 10 for the start.
    """
    mean, mean_log = float(x.mean()), float(np.log(x).mean())
    s = np.log(mean) - mean_log
    if s <= 1e-9:
        return None
    shape = (3 - s + np.sqrt((s - 3) ** 2 + 24 * s)) / (12 * s)
    for _ in range(6):
        shape -= (np.log(shape) - special.digamma(shape) - s) / (1 / shape - special.polygamma(1, shape))
    if not np.isfinite(shape) or shape <= 0:
        return None
    scale = mean / shape
    likelihood = len(x) * ((shape - 1) * mean_log - shape - shape * np.log(scale) - special.gammaln(shape))
    return _Law(
        "gamma",
        {"shape": float(shape), "scale": float(scale)},
        2,
        float(likelihood),
        lambda v: special.gammainc(shape, np.maximum(v, 0) / scale),
    )


def _beta(x: Floats) -> _Law | None:
    if x[0] <= 0 or x[-1] >= 1:
        return None
    mean, variance = float(x.mean()), float(x.var())
    total = max(mean * (1 - mean) / variance - 1, 0.1)
    ab = np.array([mean * total, (1 - mean) * total])
    target = np.array([np.log(x).mean(), np.log1p(-x).mean()])
    for _ in range(50):
        slope = special.polygamma(1, ab.sum())
        gradient = special.digamma(ab) - special.digamma(ab.sum()) - target
        hessian = np.diag(special.polygamma(1, ab)) - slope
        # Half a way at most to zero: a and b stay positive.
        moved = np.maximum(ab - np.linalg.solve(hessian, gradient), ab / 2)
        is_settled = bool((np.abs(moved - ab) < 1e-9 * ab).all())
        ab = moved
        if is_settled:
            break
    a, b = float(ab[0]), float(ab[1])
    likelihood = len(x) * ((a - 1) * target[0] + (b - 1) * target[1] - special.betaln(a, b))
    return _Law("beta", {"a": a, "b": b}, 2, float(likelihood), lambda v: special.betainc(a, b, np.clip(v, 0, 1)))


def _power_law(x: Floats, step: float) -> _Law | None:
    """Return the Pareto from the smallest value.

    Source: Clauset, Shalizi & Newman 2009 (arXiv:0706.1062), eq. 3.1, and 3.7 for rounded numbers.
    """
    start = float(x[0]) - step / 2
    mean_log = float(np.log(x / start).mean())
    if mean_log <= 0:
        return None
    alpha = 1 / mean_log
    likelihood = len(x) * (np.log(alpha) - np.log(start) - (alpha + 1) * mean_log)
    return _Law(
        "power_law",
        {"exponent": alpha + 1},
        2,
        likelihood,
        lambda v: -np.expm1(-alpha * np.log(np.maximum(v / start, 1))),
    )


def _poisson(x: Floats) -> _Law:
    mean = float(x.mean())
    likelihood = float(len(x) * (mean * np.log(mean) - mean) - special.gammaln(x + 1).sum())
    return _Law(
        "poisson",
        {"mean": mean},
        1,
        likelihood,
        lambda v: np.asarray(special.pdtr(v, mean), dtype=np.float64),
        is_count=True,
    )


def _geometric(x: Floats) -> _Law | None:
    mean = float(x.mean())
    if mean > _MOST_GEOMETRIC_MEAN:
        return None
    stop = 1 / (1 + mean)
    likelihood = len(x) * (np.log(stop) + mean * np.log1p(-stop))
    return _Law(
        "geometric",
        {"mean": mean},
        1,
        likelihood,
        lambda v: -np.expm1((np.floor(v) + 1) * np.log1p(-stop)),
        is_count=True,
    )


FAMILIES = (
    "normal",
    "laplace",
    "uniform",
    "exponential",
    "lognormal",
    "gamma",
    "beta",
    "power_law",
    "poisson",
    "geometric",
)
"""The families tried, apart from ``none``.  The beta is tried on numbers within [0, 1] only."""
