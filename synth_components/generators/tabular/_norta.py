"""The latent normal correlation behind a declared correlation of two columns, whatever their marginals.

Source: Cario & Nelson 1997, "Modeling and generating random vectors with arbitrary marginal distributions and
    correlation matrix" (NORTA); Plackett 1954, "A reduction formula for normal multivariate integrals", for the slope.
Differs: columns become step functions of their latent, at most a tenth of a standard deviation wide, and the covariance
    of two is the integral of its exact slope over the angle whose sine is the latent correlation, as a Chebyshev
    series; nothing is simulated.  An infeasible matrix is refused, and never repaired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.polynomial import Chebyshev
from scipy.special import ndtr, ndtri

from synth_components.marginal import Marginal
from synth_components.protocols import Floats

Measure: TypeAlias = Literal["pearson", "spearman"]

END = float(np.arcsin(0.999))
"""Largest angle: latents that are more than .999 correlated are one."""

_DEGREE = 64
_CELLS = np.linspace(-6.0, 6.0, 121)  # a tenth of a standard deviation each


@dataclass(frozen=True, eq=False)
class Staircase:
    """A column as a rising step function of its latent, with mean 0 and variance 1.

    Attributes:
        cuts: (k - 1,) latents at which it steps.
        values: (k,) heights.
    """

    cuts: Floats
    values: Floats


def staircase(marginal: Marginal, measure: Measure) -> Staircase | None:
    """Return a column's value, or ``spearman`` mid-rank, over its latent; ``None`` if it is constant."""
    if marginal.low[0] == marginal.high[-1]:
        return None
    ends = np.minimum(np.cumsum(marginal.mass), np.nextafter(1.0, 0.0))
    # Pieces are cut where cells of the latent meet: a part lies in one piece and in one cell.
    shares = np.unique(np.concatenate([[0.0], ends, ndtr(_CELLS)]))
    mass, middle = np.diff(shares), (shares[1:] + shares[:-1]) / 2
    piece = np.minimum(np.searchsorted(ends, middle), len(ends) - 1)
    is_atom = (marginal.low == marginal.high)[piece]
    within = 1.0 - (ends[piece] - middle) / marginal.mass[piece]
    if measure == "spearman":
        height, width = np.where(is_atom, ends[piece] - marginal.mass[piece] / 2, middle), np.where(is_atom, 0.0, mass)
    else:
        length = marginal.high[piece] - marginal.low[piece]
        height, width = marginal.low[piece] + within * length, length * mass / marginal.mass[piece]
    height = height - float(mass @ height)
    variance = float(mass @ (np.square(height) + np.square(width) / 12))
    # Parts of one cell become one step, of their mean height.
    starts = np.flatnonzero(np.r_[True, np.diff(np.searchsorted(ndtr(_CELLS), middle)) > 0])
    starts = np.union1d(starts, np.flatnonzero(np.r_[True, np.diff(is_atom * (piece + 1)) != 0]))
    steps = np.add.reduceat(mass * height, starts) / np.add.reduceat(mass, starts)
    rises = np.r_[True, np.diff(steps) > 0]  # cells of one atom are one step
    return Staircase(ndtri(shares[starts[rises][1:]]), steps[rises] / np.sqrt(variance))


@dataclass(frozen=True, eq=False)
class Association:
    """The correlation of two columns as a function of their latent correlation: it rises."""

    _series: Chebyshev

    @classmethod
    def of(cls, first: Staircase, second: Staircase) -> Association:
        """Return the association of two columns."""
        x, y = first.cuts[:, None], second.cuts[None, :]
        squares, product = (x * x + y * y) / 2, x * y
        rises = np.diff(first.values), np.diff(second.values)

        def slope(angles: Floats) -> Floats:
            # d cov / d angle: every pair of steps adds its two rises times the density where both are crossed.
            made = np.empty(len(angles))
            for place, angle in enumerate(angles):
                density = np.exp((np.sin(angle) * product - squares) / np.cos(angle) ** 2)
                made[place] = rises[0] @ density @ rises[1]
            return made / (2 * np.pi)

        return cls(Chebyshev.interpolate(slope, _DEGREE, domain=[-END, END]).integ(lbnd=0.0))

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest correlation that the two columns can have."""
        return float(self._series(-END)), float(self._series(END))

    def at(self, latent: float) -> float:
        """Return the correlation of the columns at a latent one in [-1, 1]."""
        return float(self._series(np.clip(np.arcsin(latent), -END, END)))

    def latent(self, wanted: float) -> float:
        """Return the latent correlation that gives ``wanted``, the nearest where it is out of reach."""
        from scipy.optimize import brentq

        low, high = self.limits
        if not low < wanted < high:
            return float(np.sin(END if wanted >= high else -END))
        return float(np.sin(brentq(lambda angle: float(self._series(angle)) - wanted, -END, END, xtol=1e-6)))
