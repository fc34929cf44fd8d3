"""Renyi curves of the mechanisms that are used here, and how much of one a budget pays for.

Unit and neighbours are the caller's: each curve holds for whatever pair of data sets the mechanism's sensitivity was
bounded over.
"""

from __future__ import annotations

import math
import sys

import numpy as np
from scipy.special import gammaln

from synth_components.errors import BudgetExceededError
from synth_components.privacy.ledger import NOTHING, ORDERS, Curve, Room
from synth_components.protocols import Budget, Floats

_HALVINGS = 100
_ROUNDED_OFF = 1e-9
"""Part of what the whole budget pays for that counts as nothing left."""

_ROUNDING = 1e-9
"""Relative error that is granted to what is computed in floating point, by a thousandfold."""

_NARROW = 1e-4
"""Relative width at which the search for a noise multiplier ends; its upper end is taken."""

MOST_NOISE = 2.0**20
"""Noise multiplier beyond which a budget is taken to be too small."""


def zero_concentrated(rho: float) -> Curve:
    """Return the curve of a ``rho``-zCDP mechanism: ``rho`` times the order, in nats.

    Source: Bun & Steinke 2016 (arXiv:1605.02065), Definition 1.1.
    """

    def curve(orders: Floats) -> Floats:
        return rho * orders if rho > 0 else np.zeros_like(orders)

    return curve


def pure(epsilon: float) -> Curve:
    """Return the curve of pure ``epsilon``-DP: the lesser of ``epsilon`` and ``order * epsilon**2 / 2``.

    Source: Bun & Steinke 2016 (arXiv:1605.02065), Proposition 1.4.
    """
    # A power would overflow of huge epsilon, and of a tiny one be nothing, which infinity times is no number.
    rho = max(epsilon * epsilon / 2, sys.float_info.min)

    def curve(orders: Floats) -> Floats:
        return np.minimum(epsilon, orders * rho) if epsilon > 0 else np.zeros_like(orders)

    return curve


def subsampled_gaussian(*, noise_multiplier: float, sample_rate: float, steps: int, rows_per_unit: int = 1) -> Curve:
    """Return the curve of ``steps`` noisy sums over Poisson samples, adaptively composed.

    Each row is in a sample with probability ``sample_rate``, whatever the others are, and moves the sum by a vector no
    longer than 1; the noise is Gaussian, or discrete Gaussian on a grid that the rows' vectors lie on, and
    ``noise_multiplier`` is its scale.

    Args:
        rows_per_unit: Most rows k of a privacy unit.  The sum holds any of them with probability at most
            ``1 - (1 - sample_rate)**k``, and they move it by k at most: the curve is that of one such row.

    Source: Mironov, Talwar & Zhang 2019 (arXiv:1908.10530), Theorems 4 and 5 and Section 3.3, for whole orders.
    Differs: between whole orders the logarithm of the moment is interpolated, which bounds it, since it is convex in
        the order (van Erven & Harremoes 2014, arXiv:1206.2459, Corollary 2).  So the curve needs of the noise only
        that its moments at whole orders are at most the Gaussian's, and that it is symmetric and the same wherever it
        is on the grid, as the discrete Gaussian is (Canonne, Kamath & Steinke 2020, Proposition 5).  Several rows of
        a unit: the moments are convex in the law of the shift, hence at most those of the longest.
    """
    rate = -math.expm1(rows_per_unit * math.log1p(-sample_rate)) if sample_rate < 1 else 1.0
    scale = noise_multiplier / rows_per_unit
    whole = np.unique(np.concatenate([np.floor(ORDERS[:-1]), np.ceil(ORDERS[:-1])]))
    moments = np.array([_log_moment(int(order), rate=rate, scale=scale) for order in whole])

    def curve(orders: Floats) -> Floats:
        if steps == 0:
            return np.zeros_like(orders)
        finite = np.isfinite(orders)
        if rate >= 1:
            exact = np.where(finite, orders, 0.0) / (2 * scale**2)
        else:
            logs = np.interp(np.where(finite, orders, 1.0), whole, moments)
            exact = logs / np.where(finite, orders - 1, 1.0)
        return np.where(finite, steps * exact * (1 + _ROUNDING), math.inf)

    return curve


def _log_moment(order: int, *, rate: float, scale: float) -> float:
    """Return the logarithm of the moment of a whole order: E[(1 - q + q P1/P0)^a] under P0.

    It is the binomial sum of E[(P1/P0)^k] = exp(k (k - 1) / (2 scale^2)); as the binomial masses sum to 1, this is
    log(1 + the sum of masses times (that - 1)), in which nothing cancels.
    """
    if order < 2 or rate <= 0:
        return 0.0
    if rate >= 1:
        return order * (order - 1) / (2 * scale**2)
    k = np.arange(2, order + 1, dtype=np.float64)
    growth = k * (k - 1) / (2 * scale**2)
    masses = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    masses += k * math.log(rate) + (order - k) * math.log1p(-rate)
    terms = masses + np.where(growth > 30, growth, np.log(np.expm1(np.minimum(growth, 30))))
    return float(np.logaddexp(0.0, np.logaddexp.reduce(terms)))


def noise_multiplier_within(
    budget: Budget | Room, *, sample_rate: float, steps: int, rows_per_unit: int = 1, rho: float = 0.0
) -> float:
    """Return about the least noise multiplier with which noisy sums keep a budget.

    The budget pays for ``rho`` of zCDP, too, and for what a room tells was charged before.  The multiplier is rounded
    up, and its curve, as ``subsampled_gaussian`` gives it, keeps the budget itself.

    Raises:
        BudgetExceededError: if no noise multiplier up to ``MOST_NOISE`` does.
    """
    room = _room(budget)
    budget = room.budget

    def keeps(multiplier: float) -> bool:
        sums = subsampled_gaussian(
            noise_multiplier=multiplier, sample_rate=sample_rate, steps=steps, rows_per_unit=rows_per_unit
        )
        return room.holds(sums(ORDERS) + zero_concentrated(rho)(ORDERS))

    if budget.delta <= 0 or budget.epsilon <= 0 or not keeps(MOST_NOISE):
        raise BudgetExceededError(
            f"a budget of epsilon {budget.epsilon:.4g} at delta {budget.delta:g} pays for no {steps} noisy steps; "
            "raise epsilon, or give a delta above 0; nothing was read",
            requested=math.nextafter(budget.epsilon, math.inf),
            available=budget.epsilon,
        )
    low, high = 2.0**-10, MOST_NOISE
    while high > low * (1 + _NARROW):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return high


def rho_within(budget: Budget | Room) -> float:
    """Return the largest rho whose zCDP curve stays within a budget, rounded down; 0 where delta is 0.

    Beside what was charged before, where a room tells of it: 0 if that left nothing but what the search rounded off.

    Source: the conversion of ``ledger.epsilon_of``, by bisection.
    """
    room = _room(budget)
    if room.budget.delta <= 0 or room.budget.epsilon <= 0:
        return 0.0
    low, high = 0.0, 1.0
    while _fits(high, room):
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break  # no number lies between
        low, high = (middle, high) if _fits(middle, room) else (low, middle)
    if any(room.spent) and low <= _ROUNDED_OFF * rho_within(room.budget):
        return 0.0
    return low


def _fits(rho: float, room: Room) -> bool:
    return room.holds(zero_concentrated(rho)(ORDERS))


def _room(budget: Budget | Room) -> Room:
    return budget if isinstance(budget, Room) else Room(budget, NOTHING)
