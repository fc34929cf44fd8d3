"""The door to noise: distributions, grants, and an audit of each mechanism with a broken twin that it catches."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import permutations

import numpy as np
import pytest
from audit import mu_at_least
from scipy import stats

from synth_components.errors import BudgetExceededError, UnsupportedError
from synth_components.privacy import noise
from synth_components.privacy.ledger import Ledger
from synth_components.privacy.noise import Grant, charged_counts, granted, kept_keys, noisy_best, noisy_counts
from synth_components.protocols import Budget

pytest.importorskip("opendp", reason="the extra dp is not installed")

RELEASES = 20_000


def drawn(mechanism, amount, sensitivity=1, at=0):
    """Return ``RELEASES`` noisy counts of ``at``, each of a mechanism that spends ``amount``."""
    counts = np.full(RELEASES, at, dtype=np.int64)
    return noisy_counts(counts, amount=amount, grant=Grant(mechanism, amount), sensitivity=sensitivity)


def test_gaussian_noise_has_the_law_that_its_rho_asks_for():
    sigma = 1 / math.sqrt(2 * 0.02)
    drawn_noise = drawn("gaussian", 0.02)
    # A discrete Gaussian of this width is a rounded one to 1e-8: compare with the cells of the normal law.
    edges = np.arange(-10, 11, 2) - 0.5
    cells = np.diff(stats.norm.cdf(np.concatenate([[-np.inf], edges, [np.inf]]) / sigma))
    seen = np.bincount(np.searchsorted(edges, drawn_noise), minlength=len(cells))
    assert stats.chisquare(seen, RELEASES * cells).pvalue > 1e-6


def test_laplace_noise_has_the_law_that_its_epsilon_asks_for():
    ratio = math.exp(-0.5)
    drawn_noise = drawn("laplace", 0.5)
    values = np.arange(-6, 7)
    inner = (1 - ratio) / (1 + ratio) * ratio ** np.abs(values)
    tail = ratio**7 / (1 + ratio)
    cells = np.concatenate([[tail], inner, [tail]])
    seen = np.bincount(np.clip(drawn_noise, -7, 7) + 7, minlength=15)
    assert stats.chisquare(seen, RELEASES * cells).pvalue > 1e-6


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_sensitivity_widens_noise_in_proportion(mechanism):
    # The standard error of a standard deviation is at most sd * sqrt(5 / (4 n)): Laplace has kurtosis 6.
    one, five = drawn(mechanism, 0.5), drawn(mechanism, 0.5, sensitivity=5)
    assert five.std() / one.std() == pytest.approx(5, rel=8 * math.sqrt(5 / (4 * RELEASES)) * 2)


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_the_deviation_that_is_told_is_the_noises(mechanism):
    told = noise.deviation(0.05, mechanism=mechanism, sensitivity=2)
    assert drawn(mechanism, 0.05, sensitivity=2).std() == pytest.approx(told, rel=8 * math.sqrt(5 / (4 * RELEASES)))


def exponential(scores, rho):
    """Return how often each wins with Gumbel noise: P(i) is proportional to exp(score / scale)."""
    weights = np.exp(scores * math.sqrt(2 * rho))  # rho = (reach / scale)^2 / 2
    return weights / weights.sum()


def permute_and_flip(scores, epsilon):
    """Return how often each wins: in random order, the first whose coin of exp((score - best) / scale) says so."""
    coins = np.exp((scores - scores.max()) * epsilon / 2)  # epsilon = 2 * reach / scale
    orders = list(permutations(range(len(scores))))
    cells = np.zeros(len(scores))
    for order in orders:
        refused = np.cumprod([1.0, *(1 - coins[list(order)])])[:-1]
        cells[list(order)] += coins[list(order)] * refused / len(orders)
    return cells


BEST = {"gaussian": (0.02, exponential), "laplace": (0.4, permute_and_flip)}
of_each_best = pytest.mark.parametrize(("mechanism", "amount", "law"), [(m, *BEST[m]) for m in sorted(BEST)])


def p_of_best(mechanism, amount, law):
    """Return how likely winners are at least as far from the law of what was paid."""
    scores = np.array([0.0, 3.0, 6.0])
    won = [noisy_best(scores, amount=amount, grant=Grant(mechanism, amount), sensitivity=1.0) for _ in range(3_000)]
    return stats.chisquare(np.bincount(won, minlength=3), 3_000 * law(scores, amount)).pvalue


@of_each_best
def test_the_best_score_wins_as_often_as_what_is_paid_lets_it(mechanism, amount, law):
    assert p_of_best(mechanism, amount, law) > 1e-6


@of_each_best
def test_a_best_score_with_half_the_noise_is_caught(mechanism, amount, law, monkeypatch):
    honest = noise._best
    monkeypatch.setattr(noise, "_best", lambda mechanism, scale: honest(mechanism, scale / 2))
    monkeypatch.setattr(Grant, "take", lambda self, amount: None)  # OpenDP's own bound would refuse the scale
    assert p_of_best(mechanism, amount, law) <= 1e-6


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_a_grant_refuses_to_be_overspent(mechanism):
    grant = Grant(mechanism, 1.0)
    counts = np.zeros(3, dtype=np.int64)
    noisy_counts(counts, amount=0.7, grant=grant, sensitivity=1)
    with pytest.raises(BudgetExceededError, match="nothing was released"):
        noisy_counts(counts, amount=0.4, grant=grant, sensitivity=1)
    noisy_counts(counts, amount=0.3, grant=grant, sensitivity=1)


def test_threads_that_share_a_grant_do_not_pass_its_check_together():
    barrier = threading.Barrier(2)

    class Amount(float):
        def __radd__(self, spent):  # after the check
            with suppress(threading.BrokenBarrierError):  # nobody else came: the grant let one in at a time
                barrier.wait(0.5)
            return spent + float(self)

    grant = Grant("laplace", 1.0)

    def is_paid(amount):
        try:
            grant.take(amount)
        except BudgetExceededError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(is_paid, [Amount(0.6), Amount(0.6)])) == [False, True]
    assert grant.left == pytest.approx(0.4)


@pytest.mark.parametrize(("mechanism", "budget"), [("gaussian", Budget(1.0, 1e-6)), ("laplace", Budget(1.0))])
def test_a_grant_charges_all_that_is_left(mechanism, budget):
    ledger = Ledger(budget)
    granted("fit", ledger, unit=None, mechanism=mechanism)
    assert ledger.epsilon(budget.delta) == pytest.approx(1.0, rel=1e-6)
    with pytest.raises(BudgetExceededError):
        granted("fit again", ledger, unit=None, mechanism=mechanism)


def test_a_ledger_without_budget_pays_for_no_noise():
    with pytest.raises(UnsupportedError, match="give epsilon"):
        granted("fit", Ledger(), unit=None, mechanism="laplace")


def test_gaussian_noise_needs_delta():
    with pytest.raises(BudgetExceededError, match="mechanism=laplace"):
        granted("fit", Ledger(Budget(1.0)), unit=None, mechanism="gaussian")


# The audit. A release with the unit and one without it are told apart at a threshold fixed beforehand, half of the
# unit's effect; Clopper-Pearson bounds of both error rates give a lower bound on mu, the distance of two unit normals
# that are as hard to tell apart (Dong, Roth & Su 2019, arXiv:1905.02383, Definition 6). The claims are tight, so that
# bounds of 95 % would fail an honest mechanism in a run of twenty: they hold with all but one in ten million.

SURE = 1 - 1e-7


def charged(mechanism, amount, at):
    """Return ``RELEASES`` noisy counts of ``at``, each for an amount that was charged before."""
    return charged_counts(np.full(RELEASES, at, dtype=np.int64), amount=amount, mechanism=mechanism)


GAUSSIAN = {
    "charged_counts": lambda at: charged("gaussian", 0.5, at),
    "noisy_counts": lambda at: drawn("gaussian", 0.5, at=at),
}
of_each_gaussian = pytest.mark.parametrize("counted", GAUSSIAN.values(), ids=GAUSSIAN)


def mu_of_counts(counted):
    return mu_at_least(counted(1) > 0.5, counted(0) > 0.5, confidence=SURE)


def claimed_mu(sigma):
    """Return the largest mu of any threshold on whole counts one apart, under the discrete Gaussian of a scale.

    It is the mechanism's own curve: 1.046 at a scale of 1, where two normals 1 apart have 1.
    """
    values = np.arange(-60, 61)
    masses = np.exp(-(values**2) / (2 * sigma**2))
    above = np.cumsum((masses / masses.sum())[::-1])[::-1]  # P(noise >= value)
    return float(np.max(-np.diff(stats.norm.ppf(above[np.abs(values) <= 5 * sigma]))))


@of_each_gaussian
def test_gaussian_counts_are_no_easier_to_tell_apart_than_claimed(counted):
    assert mu_of_counts(counted) <= claimed_mu(1.0)


@of_each_gaussian
def test_counts_with_half_the_noise_are_caught(counted, monkeypatch):
    honest = noise._scale
    monkeypatch.setattr(noise, "_scale", lambda *args: honest(*args) / 2)
    monkeypatch.setattr(Grant, "take", lambda self, amount: None)  # OpenDP's own bound would refuse the scale
    assert mu_of_counts(counted) > claimed_mu(1.0)


def test_halved_noise_is_refused_by_the_grant_already(monkeypatch):
    honest = noise._scale
    monkeypatch.setattr(noise, "_scale", lambda *args: honest(*args) / 2)
    with pytest.raises(BudgetExceededError):
        drawn("gaussian", 0.5)


LAPLACE = {
    "charged_counts": lambda at: charged("laplace", 1.0, at),
    "noisy_counts": lambda at: drawn("laplace", 1.0, at=at),
}
of_each_laplace = pytest.mark.parametrize("counted", LAPLACE.values(), ids=LAPLACE)


def epsilon_of_laplace(counted):
    """Return a lower bound on epsilon from the share of releases above 0, with the unit and without."""
    with_unit, without = counted(1), counted(0)
    rate = stats.binomtest(int((with_unit > 0).sum()), RELEASES).proportion_ci(SURE, method="exact").low
    false = stats.binomtest(int((without > 0).sum()), RELEASES).proportion_ci(SURE, method="exact").high
    return math.log(rate / false)


@of_each_laplace
def test_laplace_counts_are_no_easier_to_tell_apart_than_claimed(counted):
    assert epsilon_of_laplace(counted) <= 1.0


@of_each_laplace
def test_laplace_counts_with_half_the_noise_are_caught(counted, monkeypatch):
    honest = noise._scale
    monkeypatch.setattr(noise, "_scale", lambda *args: honest(*args) / 2)
    monkeypatch.setattr(Grant, "take", lambda self, amount: None)  # OpenDP's own bound would refuse the scale
    assert epsilon_of_laplace(counted) > 1.0


DELTA = 0.01
KEYS = {"gaussian": 0.5, "laplace": 1.0}  # rho, epsilon
of_each_mechanism = pytest.mark.parametrize("mechanism", sorted(KEYS))


def share_kept(mechanism):
    """Return a lower bound on the probability that a key of one row is kept."""
    asked = {"amount": KEYS[mechanism], "delta": DELTA, "mechanism": mechanism}
    kept = sum(bool(kept_keys({"unique": 1}, **asked)) for _ in range(2_000))
    return stats.binomtest(kept, 2_000).proportion_ci(SURE, method="exact").low


@of_each_mechanism
def test_a_category_of_one_row_is_kept_no_more_often_than_delta(mechanism):
    assert share_kept(mechanism) <= DELTA


@of_each_mechanism
def test_a_threshold_that_is_fixed_for_every_epsilon_and_delta_is_caught(mechanism, monkeypatch):
    # A count of 5, as one library has it: of one row and Laplace noise of scale 1 a share of .5 exp(-4) = .009 passes,
    # and at the epsilon of one of fifteen columns, a fifteenth, .38; of Gaussian noise of that scale .39.
    import opendp.prelude as dp

    scale = 15.0
    far, measure = {
        "laplace": (dp.l01inf_distance, dp.max_divergence()),
        "gaussian": (dp.l02inf_distance, dp.zero_concentrated_divergence()),
    }[mechanism]
    space = (
        dp.map_domain(dp.atom_domain(T=str), dp.atom_domain(T="i64")),
        far(dp.absolute_distance(T="i64")),
    )
    fixed = dp.m.make_noise_threshold(*space, dp.approximate(measure), scale=scale, threshold=5)
    monkeypatch.setitem(globals(), "kept_keys", lambda counts, **_: fixed(counts))
    assert share_kept(mechanism) > DELTA


COUNTS = range(1, 9)
"""Counts on either side of every threshold here."""


def loss_of_keys(mechanism):
    """Return a lower bound on the loss, mu or epsilon, of whether a key is kept: the largest over its counts."""
    asked = {"amount": KEYS[mechanism], "delta": DELTA, "mechanism": mechanism}
    size = 4_000  # keys of one reading have noise of their own
    kept = []
    for count in COUNTS:
        held = kept_keys({str(number): count for number in range(size)}, **asked)
        kept.append(np.array([str(number) in held for number in range(size)]))
    pairs = list(zip(kept[1:], kept, strict=False))
    if mechanism == "gaussian":
        return max(mu_at_least(more, fewer, confidence=SURE) for more, fewer in pairs)
    rates = [[stats.binomtest(int(side.sum()), size).proportion_ci(SURE, method="exact") for side in p] for p in pairs]
    return max(math.log(max(more.low, 1e-9) / fewer.high) for more, fewer in rates)


CLAIMED = {"gaussian": claimed_mu(1.0), "laplace": 1.0}  # a rho of 1/2 is a scale of 1


@of_each_mechanism
def test_kept_keys_tell_no_more_of_a_count_than_claimed(mechanism):
    assert loss_of_keys(mechanism) <= CLAIMED[mechanism]


@of_each_mechanism
def test_kept_keys_with_half_the_noise_are_caught(mechanism, monkeypatch):
    honest = noise._scale
    monkeypatch.setattr(noise, "_scale", lambda *args: honest(*args) / 2)
    assert loss_of_keys(mechanism) > CLAIMED[mechanism]


def test_a_common_category_is_kept():
    assert kept_keys({"common": 1_000, "unique": 1}, amount=1.0, delta=1e-9) == {"common"}


@pytest.mark.parametrize("strange", ["common\0", "common\0 and more", "\ud800", ""], ids=ascii)
def test_a_row_with_a_strange_text_moves_no_other_key(strange):
    # A text that is cut at its zero byte took the place of "common"; one that is no UTF-8 ended the fit.
    assert kept_keys({"common": 1_000, strange: 1}, amount=1.0, delta=1e-9) == {"common"}
    assert kept_keys({strange: 1_000, "unique": 1}, amount=1.0, delta=1e-9) == {strange}


@of_each_mechanism
@pytest.mark.parametrize("delta", [1e-16, 1e-300, 5e-324])
def test_a_delta_below_what_opendp_can_tell_ends_the_search_for_a_threshold(mechanism, delta):
    # Its bound on delta never falls below 2^-53: the search for a threshold within 1e-16 had no end.
    rows = {"common": 10_000, "unique": 1}
    assert kept_keys(rows, amount=1.0, delta=delta, mechanism=mechanism) == {"common"}


@of_each_mechanism
@pytest.mark.parametrize("amount", [0.0, 5e-324, 1e-320, 1e-40, 1e40, 1e308])
def test_noise_that_no_whole_numbers_hold_is_refused_by_a_typed_error(mechanism, amount):
    with pytest.raises(UnsupportedError, match=r"too (much|little) noise .*nearer to 1"):
        charged_counts(np.array([1]), amount=amount, mechanism=mechanism)


@pytest.mark.parametrize("epsilon", [1e-320, 1e300])
def test_a_budget_whose_noise_cannot_be_drawn_is_refused_before_anything_is_charged(epsilon):
    ledger = Ledger(Budget(epsilon))
    with pytest.raises(UnsupportedError, match="nearer to 1"):
        granted("fit", ledger, unit=None, mechanism="laplace")
    assert not ledger.entries
