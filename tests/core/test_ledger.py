"""The ledger agrees with closed forms, refuses before reading, and survives JSON."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_components.errors import ArtifactError, BudgetExceededError, UnitError
from synth_components.privacy.ledger import ORDERS, Entry, Ledger, dumps, epsilon_of, not_private
from synth_components.protocols import Budget

DELTA = 1e-5


def gaussian(sigma):
    """Return the Renyi curve of the Gaussian mechanism: alpha / (2 sigma^2).  Mironov 2017, Corollary 3."""
    return lambda orders: orders / (2 * sigma**2)


def pure(epsilon):
    """Return a valid Renyi curve of a pure-epsilon mechanism: at most epsilon at every order."""
    return lambda orders: np.full_like(orders, epsilon)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 5.0, 20.0])
def test_the_gaussian_mechanism_agrees_with_the_minimum_over_all_orders(sigma):
    ledger = Ledger()
    ledger.spend("noise", gaussian(sigma))
    fine = np.geomspace(1.0005, 4000, 400_000)
    exact = np.min(fine / (2 * sigma**2) + np.log1p(-1 / fine) - (math.log(DELTA) + np.log(fine)) / (fine - 1))
    # The grid may only lose: never below the minimum, and at most 2 % above.
    assert exact - 1e-12 <= ledger.epsilon(DELTA) <= 1.02 * exact


@pytest.mark.parametrize("sigma", [0.5, 1.0, 5.0, 20.0])
def test_the_gaussian_mechanism_costs_at_most_mironovs_bound_and_at_least_the_exact_curve(sigma):
    from scipy.optimize import brentq
    from scipy.special import ndtr

    ledger = Ledger()
    ledger.spend("noise", gaussian(sigma))
    # Mironov 2017, Proposition 3, minimised over alpha: 1 / (2 sigma^2) + sqrt(2 ln(1 / delta)) / sigma.
    bound = 1 / (2 * sigma**2) + math.sqrt(2 * math.log(1 / DELTA)) / sigma

    # Balle & Wang 2018, Theorem 8: the exact delta of the Gaussian mechanism.
    def excess(epsilon):
        a, b = 1 / (2 * sigma), epsilon * sigma
        return ndtr(a - b) - math.exp(epsilon) * ndtr(-a - b) - DELTA

    assert brentq(excess, 1e-6, 100) <= ledger.epsilon(DELTA) <= bound * 1.001


def test_gaussian_mechanisms_compose_like_one_of_the_joint_scale():
    many, one = Ledger(), Ledger()
    for _ in range(9):
        many.spend("noise", gaussian(3.0))
    one.spend("noise", gaussian(1.0))  # 9 / 3^2 = 1 / 1^2
    assert many.epsilon(DELTA) == pytest.approx(one.epsilon(DELTA), rel=1e-12)


@settings(max_examples=30)
@given(st.lists(st.floats(0.001, 2.0), min_size=1, max_size=8), st.sampled_from([0.0, 1e-9, 1e-5]))
def test_pure_mechanisms_compose_exactly(parts, delta):
    ledger = Ledger()
    for part in parts:
        ledger.spend("counts", pure(part))
    assert ledger.epsilon(0.0) == pytest.approx(sum(parts), rel=1e-12)
    assert ledger.epsilon(delta) <= sum(parts) * (1 + 1e-12)


def test_nothing_read_costs_nothing_and_a_read_without_noise_costs_infinity():
    ledger = Ledger()
    assert ledger.epsilon(DELTA) == 0
    ledger.spend("rows", not_private)
    assert ledger.epsilon(DELTA) == math.inf
    assert ledger.epsilon(0.5) == math.inf


def test_a_charge_of_its_own_delta_is_taken_off_the_total():
    ledger = Ledger()
    ledger.spend("stable histogram", pure(0.5), delta=1e-6)
    assert ledger.epsilon(1e-7) == math.inf
    assert ledger.epsilon(0.0) == math.inf
    assert ledger.epsilon(1e-5) <= 0.5


def test_a_charge_beyond_the_budget_is_refused_and_leaves_the_ledger_as_it_was():
    ledger = Ledger(Budget(1.0, DELTA))
    ledger.spend("counts", pure(0.75))
    before = dumps(ledger)
    with pytest.raises(BudgetExceededError) as caught:
        ledger.spend("more counts", pure(0.5))
    assert dumps(ledger) == before
    assert caught.value.available == 1.0
    assert 1.0 < caught.value.requested <= 1.25
    assert "more counts" in str(caught.value)


def test_a_read_without_noise_is_refused_under_any_finite_budget():
    ledger = Ledger(Budget(1e9, 0.5))
    with pytest.raises(BudgetExceededError):
        ledger.spend("rows", not_private)
    assert ledger.entries == ()


@pytest.mark.parametrize("parts", [3, 7, 10, 100])
def test_a_budget_split_into_equal_parts_can_be_spent_whole(parts):
    ledger = Ledger(Budget(1.0))
    for _ in range(parts):
        ledger.spend("part", pure(1.0 / parts))
    with pytest.raises(BudgetExceededError):
        ledger.spend("one more", pure(0.001))


def test_remaining_falls_by_what_is_spent():
    ledger = Ledger(Budget(2.0, DELTA))
    ledger.spend("counts", pure(0.5), delta=4e-6)
    left = ledger.remaining()
    assert left is not None
    assert 1.5 <= left.epsilon < 2.0
    assert left.delta == pytest.approx(6e-6)


def test_a_ledger_without_budget_has_no_limit():
    ledger = Ledger()
    ledger.spend("rows", not_private)
    assert ledger.remaining() is None


def test_an_uncovered_read_is_written_down_and_lies_outside_epsilon():
    ledger = Ledger(Budget(1.0, DELTA))
    ledger.spend("counts", pure(0.5))
    spent = ledger.epsilon(DELTA)
    ledger.note_uncovered("evaluate fidelity")
    assert ledger.epsilon(DELTA) == spent
    assert [entry.label for entry in ledger.entries if not entry.covered] == ["evaluate fidelity"]


@pytest.mark.parametrize(
    ("curve", "delta"),
    [
        (lambda orders: np.full_like(orders, np.nan), 0.0),
        (lambda orders: -np.ones_like(orders), 0.0),
        (lambda orders: orders[:3], 0.0),
        (pure(0.1), -0.1),
        (pure(0.1), 1.0),
    ],
)
def test_a_curve_that_means_nothing_is_refused(curve, delta):
    ledger = Ledger()
    with pytest.raises(ValueError, match="curve of 'odd'"):
        ledger.spend("odd", curve, delta=delta)
    assert ledger.entries == ()


@settings(max_examples=20)
@given(st.lists(st.tuples(st.text(max_size=5), st.floats(0, 10), st.floats(0, 1e-3)), max_size=4), st.booleans())
def test_a_ledger_survives_json_text(charges, limited):
    ledger = Ledger(Budget(1e6, 0.5) if limited else None)
    for label, epsilon, delta in charges:
        ledger.spend(label, pure(epsilon), delta=delta)
    ledger.note_uncovered("evaluation")
    back = Ledger.from_json(json.loads(dumps(ledger)))
    assert back == ledger
    assert dumps(back) == dumps(ledger)
    assert back.epsilon(0.01) == ledger.epsilon(0.01)


@pytest.mark.parametrize("damage", [{"orders": [2.0]}, {"entries": [{}]}, {"budget": {"epsilon": "much"}}])
def test_a_damaged_ledger_is_refused(damage):
    with pytest.raises(ArtifactError):
        Ledger.from_json({**Ledger(Budget(1.0)).to_json(), **damage})


def test_a_ledger_without_an_entry_is_refused():
    with pytest.raises(ArtifactError):
        Ledger.from_json({"budget": None})


@pytest.mark.parametrize(("epsilon", "delta"), [(-1.0, 0.0), (math.nan, 0.0), (1.0, 1.0), (1.0, -0.1)])
def test_a_budget_that_means_nothing_is_refused(epsilon, delta):
    with pytest.raises(ValueError, match="epsilon"):
        Budget(epsilon, delta)


def test_more_delta_never_costs_more():
    curve = gaussian(1.0)(ORDERS)
    spent = [epsilon_of(curve, delta) for delta in (0.0, 1e-12, 1e-9, 1e-6, 1e-3, 0.1)]
    assert spent == sorted(spent, reverse=True)


def test_the_orders_rise_and_end_with_infinity():
    assert (np.diff(ORDERS[:-1]) > 0).all()
    assert ORDERS[0] > 1
    assert ORDERS[-1] == math.inf


def test_a_thousand_charges_sum_exactly_as_their_curves_do():
    ledger = Ledger(Budget(1e6, DELTA))
    for number in range(1_000):
        ledger.spend("step", gaussian(10.0 + number))
    expected = epsilon_of(np.sum([entry.rdp for entry in ledger.entries], axis=0), DELTA)
    assert ledger.epsilon(DELTA) == expected
    again = Ledger.from_json(json.loads(dumps(ledger)))
    assert again == ledger
    assert again.epsilon(DELTA) == expected
    again.spend("more", gaussian(5.0))
    ledger.spend("more", gaussian(5.0))
    assert again.epsilon(DELTA) == ledger.epsilon(DELTA) > expected


def test_a_refused_charge_leaves_the_sum_as_it_was():
    ledger = Ledger(Budget(1.0, 0.0))
    ledger.spend("read", pure(0.75))
    with pytest.raises(BudgetExceededError):
        ledger.spend("read", pure(0.5))
    ledger.spend("read", pure(0.25))
    assert ledger.epsilon(0.0) == 1.0


def of(unit, *, curve=0.1):
    return Entry("fit", tuple(pure(curve)(ORDERS).tolist()), unit=unit)


PEOPLE = "all rows that share ['who'], at most 3"


@pytest.mark.parametrize("other", [PEOPLE, ""], ids=["another", "not said"])
def test_a_ledger_takes_charges_of_one_privacy_unit_alone(other):
    """Epsilon for a row is none for a person of several: what adds them up promises nothing to either."""
    ledger = Ledger(Budget(1.0), unit="a row")
    ledger.charge(of("a row"))
    with pytest.raises(UnitError, match="epsilons of different privacy units"):
        ledger.charge(of(other))
    assert (ledger.entries, ledger.epsilon(0.0)) == ((of("a row"),), 0.1)
    ledger.note_uncovered("look")  # is no guarantee, and nobody's
    for entries in ([of("a row"), of(other)], [of(other), of("a row")]):
        with pytest.raises(UnitError):
            Ledger(None, entries)
    written = ledger.to_json()
    assert Ledger.from_json(written) == ledger
    mixed = json.loads(dumps(ledger))
    mixed["entries"][0].pop("unit")
    mixed["entries"].append(json.loads(dumps(Ledger(None, [of(PEOPLE)])))["entries"][0])
    with pytest.raises(ArtifactError, match="do not add up"):
        Ledger.from_json(mixed)


def test_a_ledger_is_of_the_unit_of_its_first_charge_if_that_was_made():
    ledger = Ledger(Budget(1.0))
    with pytest.raises(BudgetExceededError):
        ledger.charge(of(PEOPLE, curve=2.0))
    assert ledger.unit == ""
    ledger.charge(of("a row"))
    assert ledger.unit == "a row"
