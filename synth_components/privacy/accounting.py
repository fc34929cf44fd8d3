"""Renyi curves of the mechanisms that are used here, and how much of one a budget pays for.

Unit and neighbours are the caller's: each curve holds for whatever pair of data sets the mechanism's sensitivity was
bounded over.
"""

from __future__ import annotations

import numpy as np

from synth_components.privacy.ledger import ORDERS, Curve, epsilon_of
from synth_components.protocols import Budget, Floats

_HALVINGS = 100


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

    def curve(orders: Floats) -> Floats:
        return np.minimum(epsilon, orders * epsilon**2 / 2) if epsilon > 0 else np.zeros_like(orders)

    return curve


def rho_within(budget: Budget) -> float:
    """Return the largest rho whose zCDP curve stays within a budget, rounded down; 0 where delta is 0.

    Source: the conversion of ``ledger.epsilon_of``, by bisection.
    """
    if budget.delta <= 0 or budget.epsilon <= 0:
        return 0.0
    low, high = 0.0, 1.0
    while _fits(high, budget):
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _fits(middle, budget) else (low, middle)
    return low


def _fits(rho: float, budget: Budget) -> bool:
    return epsilon_of(zero_concentrated(rho)(ORDERS), budget.delta) <= budget.epsilon
