"""Curves of mechanisms against closed forms, and what a budget pays for."""

import copy
import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from synth_components.errors import BudgetExceededError
from synth_components.privacy.accounting import (
    noise_multiplier_within,
    pure,
    rho_within,
    subsampled_gaussian,
    zero_concentrated,
)
from synth_components.privacy.ledger import ORDERS, Ledger, epsilon_of
from synth_components.protocols import Budget

GOLDEN = json.loads((Path(__file__).parent / "golden" / "subsampled_gaussian.json").read_text(encoding="utf-8"))


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


@pytest.mark.parametrize("epsilon", [1e-300, 1e-200, 1e160, 1e300])
def test_the_curve_of_any_epsilon_is_of_numbers_that_rise_to_it(epsilon):
    curve = pure(epsilon)(ORDERS)
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] == epsilon


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


def renyi(order, of, against, points):
    """Return the Renyi divergence of two densities by the trapezoidal rule."""
    moment = np.trapezoid(np.exp(order * np.log(of) + (1 - order) * np.log(against)), points)
    return math.log(moment) / (order - 1)


def densities(points, centres, masses, scale):
    """Return the density of a mixture of normals of one scale."""
    laws = [np.exp(-((points - centre) ** 2) / (2 * scale**2)) / (scale * math.sqrt(2 * math.pi)) for centre in centres]
    return sum(mass * law for mass, law in zip(masses, laws, strict=True))


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(("rate", "scale"), [(0.05, 1.0), (0.2, 2.0), (0.01, 0.8)])
def test_the_curve_of_sampled_sums_bounds_both_directions_of_its_definition(rate, scale, rows):
    # The worst case in one dimension: each of the unit's rows is sampled by itself and moves the sum by 1.
    points = np.linspace(-30 * scale, 30 * scale + rows, 40_001)
    centres = range(rows + 1)
    masses = [math.comb(rows, j) * rate**j * (1 - rate) ** (rows - j) for j in centres]
    without, with_unit = densities(points, [0], [1.0], scale), densities(points, centres, masses, scale)
    claimed = subsampled_gaussian(noise_multiplier=scale, sample_rate=rate, steps=1, rows_per_unit=rows)
    for order in (1.1, 1.5, 2.0, 2.7, 5.0, 9.5):
        exact = max(renyi(order, with_unit, without, points), renyi(order, without, with_unit, points))
        bound = float(claimed(np.array([order]))[0])
        assert exact <= bound * (1 + 1e-6)
        if rows == 1 and order in {2.0, 5.0}:  # at whole orders it is the divergence itself
            assert bound == pytest.approx(exact, rel=1e-6)


def test_the_second_order_of_sampled_sums_is_its_closed_form():
    # E[(1 - q + q L)^2] = 1 + q^2 (e^(1/z^2) - 1).
    curve = subsampled_gaussian(noise_multiplier=1.3, sample_rate=0.07, steps=1)
    assert curve(np.array([2.0]))[0] == pytest.approx(math.log1p(0.07**2 * math.expm1(1 / 1.3**2)), rel=1e-8)


def test_a_sample_of_everything_is_the_gaussian_mechanism():
    curve = subsampled_gaussian(noise_multiplier=3.0, sample_rate=1.0, steps=7)
    np.testing.assert_allclose(curve(ORDERS[:-1]), 7 * ORDERS[:-1] / (2 * 3.0**2), rtol=1e-8)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{case['sample_rate']}-{case['noise_multiplier']}")
def test_the_curve_of_sampled_sums_is_that_of_dp_accounting(case):
    curve = subsampled_gaussian(**{name: case[name] for name in ("noise_multiplier", "sample_rate", "steps")})
    np.testing.assert_allclose(curve(np.array(GOLDEN["orders"], dtype=float)), case["rdp"], rtol=1e-6)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{case['sample_rate']}-{case['noise_multiplier']}")
def test_epsilon_of_sampled_sums_is_above_the_tight_one_and_by_less_than_a_quarter(case):
    curve = subsampled_gaussian(**{name: case[name] for name in ("noise_multiplier", "sample_rate", "steps")})
    ours = epsilon_of(curve(ORDERS), GOLDEN["delta"])
    assert case["epsilon"] <= ours * (1 + 1e-6)
    assert ours <= 1.25 * case["epsilon"]


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("rows", [1, 4])
def test_the_noise_that_is_found_keeps_the_budget_and_a_hundredth_less_does_not(epsilon, rows):
    rho = rho_within(Budget(epsilon, 1e-6)) / 10
    said = {"sample_rate": 0.05, "steps": 200, "rows_per_unit": rows}
    found = noise_multiplier_within(Budget(epsilon, 1e-6), rho=rho, **said)

    def spent(multiplier):
        sums = subsampled_gaussian(noise_multiplier=multiplier, **said)
        return epsilon_of(sums(ORDERS) + zero_concentrated(rho)(ORDERS), 1e-6)

    assert spent(found) <= epsilon < spent(0.99 * found)


def test_no_noise_pays_for_steps_without_delta():
    with pytest.raises(BudgetExceededError, match="delta above 0"):
        noise_multiplier_within(Budget(1.0, 0.0), sample_rate=0.1, steps=10)


@pytest.mark.filterwarnings("ignore")  # of Opacus and what it imports
@pytest.mark.parametrize(("rate", "multiplier", "steps"), [(0.05, 2.0, 300), (0.01, 1.0, 1_000), (0.5, 3.0, 50)])
def test_the_curve_of_sampled_sums_is_that_of_opacus_at_whole_orders_and_no_less_between_them(rate, multiplier, steps):
    opacus = pytest.importorskip("opacus.accountants.analysis.rdp", reason="opacus is not installed")
    orders = ORDERS[ORDERS <= 64]  # of larger ones theirs is no number
    theirs = np.array(opacus.compute_rdp(q=rate, noise_multiplier=multiplier, steps=steps, orders=orders.tolist()))
    ours = subsampled_gaussian(noise_multiplier=multiplier, sample_rate=rate, steps=steps)(orders)
    is_whole = orders == np.round(orders)
    np.testing.assert_allclose(ours[is_whole], theirs[is_whole], rtol=1e-7)
    assert (ours >= theirs * (1 - 1e-9)).all()


class Meeting:
    """An account in which a charge waits a little for one of another thread to be as far."""

    def __init__(self):
        self.barrier, self.charged = threading.Barrier(2), []

    def charge(self, entry):
        with suppress(threading.BrokenBarrierError):  # nobody else came: the ledger let one in at a time
            self.barrier.wait(0.5)
        self.charged.append(entry.label)


def test_threads_that_share_a_ledger_do_not_pass_its_check_together():
    ledger = Ledger(Budget(1.0), account=(account := Meeting()))

    def is_paid(label):
        try:
            ledger.spend(label, pure(0.6))
        except BudgetExceededError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(is_paid, ["a", "b"])) == [False, True]
    assert ledger.epsilon(0.0) == pytest.approx(0.6)
    assert [entry.label for entry in ledger.entries] == account.charged


def test_a_copy_of_a_ledger_is_equal_and_charges_on_its_own():
    ledger = Ledger(Budget(1.0))
    ledger.spend("a", pure(0.6))
    other = copy.deepcopy(ledger)
    assert other == ledger == Ledger.from_json(ledger.to_json())
    with ledger._lock:  # the copy does not wait for it
        other.spend("b", pure(0.3))
    assert (len(ledger.entries), len(other.entries)) == (1, 2)
