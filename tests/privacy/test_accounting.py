"""Curves of mechanisms against closed forms, and what a budget pays for."""

import math

import numpy as np
import pytest

from synth_components.privacy.accounting import pure, rho_within, zero_concentrated
from synth_components.privacy.ledger import ORDERS, Ledger, epsilon_of
from synth_components.protocols import Budget


@pytest.mark.parametrize("sigma", [0.7, 2.0, 30.0])
def test_the_curve_of_rho_is_the_gaussian_mechanisms(sigma):
    # Mironov 2017, Proposition 7: order alpha of N(0, s^2) against N(1, s^2) is alpha / (2 s^2).
    orders = ORDERS[:-1]
    np.testing.assert_allclose(zero_concentrated(1 / (2 * sigma**2))(orders), orders / (2 * sigma**2))


@pytest.mark.parametrize("order", [1.5, 2.0, 8.0, 40.0])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
def test_the_curve_of_pure_privacy_bounds_randomized_response_the_worst_pure_mechanism(order, epsilon):
    # Renyi divergence of (p, 1 - p) from (1 - p, p), with p / (1 - p) = e^epsilon: Mironov 2017, Proposition 5.
    p = math.exp(epsilon) / (1 + math.exp(epsilon))
    worst = math.log(p**order * (1 - p) ** (1 - order) + (1 - p) ** order * p ** (1 - order)) / (order - 1)
    assert worst <= pure(epsilon)(np.array([order]))[0] * (1 + 1e-12)


def test_pure_privacy_is_epsilon_without_delta():
    assert epsilon_of(pure(0.7)(ORDERS), 0.0) == 0.7


@pytest.mark.parametrize("budget", [Budget(0.1, 1e-6), Budget(1.0, 1e-6), Budget(10.0, 1e-9), Budget(3.0, 0.5)])
def test_the_largest_rho_fits_the_budget_and_a_hundredth_more_does_not(budget):
    rho = rho_within(budget)
    assert epsilon_of(zero_concentrated(rho)(ORDERS), budget.delta) <= budget.epsilon
    assert epsilon_of(zero_concentrated(1.01 * rho)(ORDERS), budget.delta) > budget.epsilon


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 4.0])
def test_rho_is_not_above_what_the_exact_curve_of_the_gaussian_mechanism_allows(epsilon):
    # Balle & Wang 2018, Theorem 8: the exact delta of the Gaussian mechanism with sensitivity 1.
    delta = 1e-6
    sigma = 1 / math.sqrt(2 * rho_within(Budget(epsilon, delta)))
    a, b = 1 / (2 * sigma) - epsilon * sigma, -1 / (2 * sigma) - epsilon * sigma

    def normal(x):
        return 0.5 * math.erfc(-x / math.sqrt(2))

    assert normal(a) - math.exp(epsilon) * normal(b) <= delta


def test_without_delta_no_rho_fits():
    assert rho_within(Budget(1.0, 0.0)) == 0.0


def test_parts_of_rho_spend_as_much_as_the_whole():
    whole, parts = (Ledger(Budget(1.0, 1e-6)) for _ in range(2))
    rho = rho_within(Budget(1.0, 1e-6))
    whole.spend("all", zero_concentrated(rho))
    for share in (0.3, 0.1, 0.6):
        parts.spend("part", zero_concentrated(share * rho))
    assert parts.epsilon(1e-6) == pytest.approx(whole.epsilon(1e-6), rel=1e-9)
