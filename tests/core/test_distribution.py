"""The family, and the outliers, that numbers were drawn with are found again."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from synth_components.statistics.distribution import FAMILIES, distribution, fits
from synth_components.statistics.outlier import is_outlier, outlier_share, symmetric

DRAWS = 60
N = 2000
# Draws with parameters that vary, by family: (generator) -> numbers, step.
TRUTH = {
    "normal": lambda rng: (rng.normal(rng.uniform(-50, 50), rng.uniform(1, 10), N), 0.0),
    "normal, rounded": lambda rng: (rng.normal(rng.uniform(-50, 50), rng.uniform(5, 20), N).round(), 1.0),
    "normal, one in a hundred far off": lambda rng: (
        np.where(rng.random(N) < 0.01, 500.0, rng.normal(rng.uniform(-5, 5), 2, N)),
        0.0,
    ),
    "laplace": lambda rng: (rng.laplace(rng.uniform(-9, 9), rng.uniform(1, 9), N), 0.0),
    "uniform": lambda rng: (rng.uniform(0, rng.uniform(1, 100), N) + rng.uniform(-50, 50), 0.0),
    "uniform on the unit interval": lambda rng: (rng.random(N), 0.0),
    "uniform, integers": lambda rng: (rng.integers(1, rng.integers(7, 100), N).astype(float), 1.0),
    "exponential": lambda rng: (rng.exponential(rng.uniform(0.1, 100), N), 0.0),
    "exponential, from 18": lambda rng: (18 + rng.exponential(rng.uniform(1, 20), N), 0.0),
    "exponential, rounded": lambda rng: (rng.exponential(rng.uniform(1, 100), N).round(2), 0.01),
    "lognormal": lambda rng: (rng.lognormal(rng.uniform(-1, 10), rng.uniform(0.5, 1.5), N), 0.0),
    "gamma": lambda rng: (rng.gamma(rng.uniform(2, 6), rng.uniform(1, 10), N), 0.0),
    "beta": lambda rng: (rng.beta(rng.uniform(1.5, 5), rng.uniform(1.5, 5), N), 0.0),
    "beta, rounded": lambda rng: (rng.beta(rng.uniform(0.5, 3), rng.uniform(1.5, 3), N).round(2), 0.01),
    "power_law": lambda rng: (rng.uniform(1, 10) * (1 + rng.pareto(rng.uniform(1, 3), N)), 0.0),
    "poisson": lambda rng: (rng.poisson(rng.uniform(0.5, 40), N).astype(float), 1.0),
    "geometric": lambda rng: (rng.geometric(rng.uniform(0.1, 0.5), N) - 1.0, 1.0),
    "none, two peaks": lambda rng: (rng.normal(0, 1, N) + rng.choice([-3, 3], N), 0.0),
    "none, a peak on a plain": lambda rng: (np.where(rng.random(N) < 0.5, 30.0, 0) + rng.uniform(0, 90, N) ** 0.5, 0.0),
}


@pytest.mark.parametrize("truth", TRUTH)
def test_family_of_at_least_95_draws_in_100_is_the_true_one(truth):
    found = [distribution(numbers, step=step).family for numbers, step in map(TRUTH[truth], generators())]

    # The generators are fixed, so this counts the same draws each time.
    assert found.count(truth.split(",")[0].split(" ")[0]) >= 0.95 * DRAWS


def generators():
    return [np.random.default_rng([7, draw]) for draw in range(DRAWS)]


def test_every_family_but_none_is_tried_on_generated_truth():
    assert {truth.split(",")[0].split(" ")[0] for truth in TRUTH} == {*FAMILIES, "none"}


def test_parameters_are_those_of_the_draw():
    rng = np.random.default_rng(0)

    # The deviation of a mean of 10,000 is sd/100; of a gamma's shape about shape * sqrt(2 / n): 4 of them.
    assert_allclose(distribution(rng.normal(10, 2, 10_000)).parameters["mean"], 10, atol=0.08)
    assert_allclose(distribution(rng.gamma(3, 2, 10_000)).parameters["shape"], 3, atol=0.17)
    assert_allclose(distribution(rng.poisson(4, 10_000).astype(float), step=1).parameters["mean"], 4, atol=0.08)


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_family_does_not_depend_on_the_unit(scale):
    numbers = np.random.default_rng(1).lognormal(0, 1, N) * scale

    assert distribution(numbers).family == "lognormal"


def test_no_end_of_the_range_is_among_the_parameters():
    rng = np.random.default_rng(2)
    for numbers in (rng.uniform(3.25, 17.5, N), 5 + rng.exponential(1, N), 2 * (1 + rng.pareto(2, N))):
        shown = [value for fit in fits(numbers) for value in fit.parameters.values()]
        assert not np.isin(shown, [numbers.min(), numbers.max()]).any()


def test_mean_less_the_scale_of_an_exponential_is_not_the_smallest_value():
    numbers = 18 + np.random.default_rng(2).exponential(3, N)

    scale = distribution(numbers).parameters["scale"]

    assert abs(scale - 3) < 0.3  # four deviations: 4 * 3 / sqrt(2000)
    assert abs(numbers.mean() - scale - numbers.min()) > 0.005


@pytest.mark.parametrize("numbers", [np.zeros(0), np.ones(500), np.arange(49.0)])
def test_too_few_or_equal_numbers_have_no_family(numbers):
    assert distribution(numbers) is None


CLEAN = {
    "normal": lambda rng: rng.normal(5, 2, N),
    "uniform": lambda rng: rng.uniform(-3, 9, N),
    "exponential": lambda rng: rng.exponential(3, N),
    "lognormal": lambda rng: rng.lognormal(2, 0.8, N),
    "gamma": lambda rng: rng.gamma(3, 2, N),
    "power_law": lambda rng: 1 + rng.pareto(2, N),
}


@pytest.mark.parametrize("family", CLEAN)
def test_clean_draws_have_hardly_an_outlier(family):
    shares = np.array([outlier_share(CLEAN[family](rng)) for rng in generators()])

    # The normal has 0.05 % beyond 3.5 deviations; the power of the ladder is estimated, so allow one in a hundred.
    assert (shares <= 0.01).mean() >= 0.95


@pytest.mark.parametrize("family", ["normal", "uniform", "exponential", "lognormal", "gamma"])
@pytest.mark.parametrize("share", [0.01, 0.05])
def test_planted_outliers_are_counted_to_one_in_a_hundred(family, share):
    def found(rng):
        numbers = CLEAN[family](rng)
        planted = int(share * N)
        numbers[:planted] = numbers.max() * 1000
        mask = is_outlier(numbers)
        return mask[:planted].all() and abs(mask.mean() - share) <= 0.01

    assert np.mean([found(rng) for rng in generators()]) >= 0.95


def test_more_than_half_equal_numbers_still_show_an_outlier():
    numbers = np.concatenate([np.full(600, 5.0), np.random.default_rng(0).normal(5, 1, 399), [500.0]])

    assert is_outlier(numbers)[-1]
    assert outlier_share(numbers) < 0.05


def test_ladder_leaves_numbers_of_both_signs_and_keeps_the_order_of_others():
    rng = np.random.default_rng(3)
    both = rng.normal(0, 1, 100)
    assert symmetric(both, both) is both

    amounts = np.sort(rng.lognormal(0, 1, 100))
    assert (np.diff(symmetric(amounts, amounts)) > 0).all()
    assert (np.diff(symmetric(-amounts, -amounts)) != 0).all()
