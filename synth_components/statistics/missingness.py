"""Why values of a column are missing, as far as the rows can tell.

Missing completely at random (MCAR): whatever the row holds.  At random (MAR): dependent on other columns.  Not at
random (MNAR): dependent on the missing value itself, which nobody can see: rows can rouse the suspicion, and never
prove it, nor rule it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

from synth_components.protocols import Floats
from synth_components.statistics.distribution import MOST_DISTANCE, fits

ALPHA = 0.01
"""Level of the test against all other columns together."""

_GROUPS = 8  # of a number, and the most of a category
_LEAST_EXPECTED = 5.0  # nulls in a group, as the chi-square test needs them
_GAIN = 10.0  # nats by which a cut-off normal must beat every whole family
_EDGE = 0.05  # of the numbers, next to the cut: an end that tapers off is no cut
_SHARE_OFF = 0.5  # relative error allowed of the share of values cut off
_SHARE_LEAST = 0.05

Mechanism: TypeAlias = Literal["mcar", "mar", "mnar_suspected"]


@dataclass(frozen=True)
class Missingness:
    """How the nulls of a column come about.

    Attributes:
        mechanism: ``mcar`` if no test objects, which proves nothing; ``mar``; ``mnar_suspected``.
        depends_on: The columns that nulls depend on, the strongest first, with Cramer's V in [0, 1].
        cut: Whether values look cut off ``above`` or ``below``; ``None`` for neither.
    """

    mechanism: Mechanism
    depends_on: tuple[tuple[str, float], ...]
    cut: Literal["above", "below"] | None


def missingness(
    nulls: NDArray[np.bool_],
    others: Mapping[str, NDArray[np.int64]],
    *,
    present: Floats | None = None,
    step: float = 0.0,
) -> Missingness:
    """Return how the nulls of a column come about.

    Nulls and each other column: a chi-square test, at the 1 % level after Bonferroni's correction.  The suspicion of
    MNAR, for numbers: a normal distribution, or a lognormal one, cut off at one end fits what is present better than
    every whole family, and the share that it lacks is about that of the nulls.

    Args:
        nulls: Which rows are null (n,).
        others: Groups (n,) of the other columns, -1 where null; ``groups`` makes them of numbers.
        present: The column's numbers, without NaN; ``None`` if it holds none.
        step: What the numbers are multiples of; 0 if they are not rounded.

    Source: Little & Rubin 2019, "Statistical analysis with missing data", for the three mechanisms; Cohen 1959,
        "Simplified estimators for the normal distribution when samples are singly censored or truncated".
    """
    found = []
    for name, codes in others.items():
        strength, p_value = _dependence(nulls, codes)
        if p_value * len(others) < ALPHA:
            found.append((name, round(strength, 4)))
    depends_on = tuple(sorted(found, key=lambda one: -one[1]))
    cut = None if present is None else _cut(present, float(nulls.mean()), step)
    mechanism: Mechanism = "mnar_suspected" if cut else "mar" if depends_on else "mcar"
    return Missingness(mechanism, depends_on, cut)


def groups(numbers: Floats) -> NDArray[np.int64]:
    """Return the eighth of the rows (n,) that each number lies in, -1 for NaN; equal numbers share theirs."""
    held = ~np.isnan(numbers)
    codes = np.full(len(numbers), -1, dtype=np.int64)
    if held.any():
        edges = np.unique(np.quantile(numbers[held], np.linspace(0, 1, _GROUPS + 1)[1:-1]))
        codes[held] = np.searchsorted(edges, numbers[held], side="left")
    return codes


def _dependence(nulls: NDArray[np.bool_], codes: NDArray[np.int64]) -> tuple[float, float]:
    """Return Cramer's V of nulls and groups, and the p-value of independence; groups beyond the largest 8 are one."""
    held = codes >= 0
    if not held.any():
        return 0.0, 1.0
    sizes = np.bincount(codes[held]).astype(np.float64)
    missing = np.bincount(codes[held], weights=nulls[held].astype(np.float64), minlength=len(sizes))
    order = np.argsort(-sizes, kind="stable")
    sizes, missing = sizes[order], missing[order]
    share = float(missing.sum() / sizes.sum())
    is_large = sizes * min(share, 1 - share) >= _LEAST_EXPECTED
    is_large[_GROUPS:] = False
    if not is_large.all():
        sizes = np.append(sizes[is_large], sizes[~is_large].sum())
        missing = np.append(missing[is_large], missing[~is_large].sum())
        if sizes[-1] * min(share, 1 - share) < _LEAST_EXPECTED:
            sizes, missing = sizes[:-1], missing[:-1]
    if len(sizes) < 2:
        return 0.0, 1.0
    share = float(missing.sum() / sizes.sum())
    if not 0 < share < 1:
        return 0.0, 1.0
    statistic = float(((missing - sizes * share) ** 2 / (sizes * share * (1 - share))).sum())
    freedom = len(sizes) - 1
    return float(np.sqrt(statistic / sizes.sum())), float(special.chdtrc(freedom, statistic))


def _cut(present: Floats, null_share: float, step: float) -> Literal["above", "below"] | None:
    """Return the end at which the numbers look cut off, ``None`` for neither."""
    whole = fits(present, step=step)
    if not whole or step >= float(present.std()):
        return None
    best = min(fit.bic for fit in whole)
    rounding = len(present) * np.log(step) if step > 0 else 0.0
    found: list[tuple[float, Literal["above", "below"]]] = []
    for scaled, shift in _scales(_spread(present, step) if step > 0 else present):
        sides: tuple[tuple[Literal["above", "below"], Floats], ...] = (("above", scaled), ("below", -scaled))
        for side, x in sides:
            mean, sd, reach = _truncated_normal(x)
            lacking = float(special.ndtr(-reach))
            likelihood = _likelihood(x, mean, sd, reach) - shift + rounding
            bic = 1.5 * np.log(len(x)) - likelihood
            is_share = abs(lacking - null_share) <= max(_SHARE_LEAST, _SHARE_OFF * null_share)
            if best - bic >= _GAIN and is_share and _is_near(x, mean, sd, reach):
                found.append((bic, side))
    return min(found)[1] if found else None


def _spread(present: Floats, step: float) -> Floats:
    """Return rounded numbers, sorted, those that are equal spread evenly over their step."""
    distinct, counts = np.unique(present, return_counts=True)
    place = np.arange(len(present)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(np.repeat(distinct, counts) + step * ((place + 0.5) / np.repeat(counts, counts) - 0.5))


def _scales(present: Floats) -> list[tuple[Floats, float]]:
    """Return the numbers, and their logarithms if positive, each with the log of the change of measure."""
    if (present > 0).all():
        logs = np.log(present)
        return [(present, 0.0), (logs, float(logs.sum()))]
    return [(present, 0.0)]


def _truncated_normal(x: Floats) -> tuple[float, float, float]:
    """Return mean, sd and cut, in sd, of the normal cut off above at the largest number; by the moments.

    The mean lies ``sd * h(z)`` below that of the whole, the variance is ``sd^2 (1 - h (h + z))``, where
    ``h(z) = pdf(z) / cdf(z)`` and ``z`` is the cut: one equation in ``z``, solved by bisection.
    """
    cut, mean, variance = float(x.max()), float(x.mean()), float(x.var())
    wanted = variance / (cut - mean) ** 2
    low, high, z, h = -6.0, 8.0, 0.0, 0.0
    for _ in range(60):
        z = (low + high) / 2
        h = _hazard(z)
        low, high = (z, high) if (1 - h * (h + z)) / (z + h) ** 2 > wanted else (low, z)
    sd = (cut - mean) / (z + h)
    return cut - z * sd, float(sd), z


def _hazard(z: float) -> float:
    return float(np.exp(-0.5 * z * z - 0.5 * np.log(2 * np.pi) - special.log_ndtr(z)))


def _likelihood(x: Floats, mean: float, sd: float, reach: float) -> float:
    spread = float((((x - mean) / sd) ** 2).sum())
    return float(-0.5 * spread - len(x) * (np.log(sd) + 0.5 * np.log(2 * np.pi) + float(special.log_ndtr(reach))))


def _is_near(x: Floats, mean: float, sd: float, reach: float) -> bool:
    """Return whether the cut-off normal fits: throughout, and in the twentieth of the numbers next to the cut."""
    n = len(x)
    ordered = np.sort(x)
    expected = special.ndtr((ordered - mean) / sd) / float(special.ndtr(reach))
    ranks = np.searchsorted(ordered, ordered, side="right") / n
    edge = float((expected > 1 - _EDGE).sum())
    is_edge = abs(edge - _EDGE * n) <= 3 * np.sqrt(_EDGE * n)
    return bool(is_edge and np.abs(ranks - expected).max() <= MOST_DISTANCE + 1.36 / np.sqrt(n))
