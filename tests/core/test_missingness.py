"""The mechanism that nulls were made with is found again, where rows can tell it."""

import numpy as np
import pytest

from synth_components.statistics.missingness import groups, missingness

DRAWS = 40
N = 3000
FAMILIES = {
    "normal": lambda rng: rng.normal(rng.uniform(-9, 9), rng.uniform(1, 5), N),
    "lognormal": lambda rng: rng.lognormal(rng.uniform(0, 8), rng.uniform(0.4, 1), N),
    "uniform": lambda rng: rng.uniform(0, 9, N),
    "exponential": lambda rng: rng.exponential(3, N),
    "gamma": lambda rng: rng.gamma(rng.uniform(1, 6), 3, N),
    "beta": lambda rng: rng.beta(2, 4, N),
    "power law": lambda rng: 1 + rng.pareto(2, N),
    "two peaks": lambda rng: rng.normal(0, 1, N) + rng.choice([-3, 3], N),
    "triangle": lambda rng: rng.triangular(0, 2, 10, N),
    "integers": lambda rng: rng.normal(50, 10, N).round(),
}


def generators():
    return [np.random.default_rng([31, draw]) for draw in range(DRAWS)]


def judged(rng, family, gaps):
    """Return what is found of numbers with ``gaps(rng, numbers, z, group)``; z and group are other columns."""
    numbers, z, group = FAMILIES[family](rng), rng.normal(size=N), rng.integers(0, 5, N)
    nulls = gaps(rng, numbers, z, group)
    step = 1.0 if family == "integers" else 0.0
    return missingness(nulls, {"z": groups(z), "group": group}, present=numbers[~nulls], step=step)


def at_random(rng, numbers, z, group):
    return rng.random(N) < rng.uniform(0.05, 0.4)


@pytest.mark.parametrize("family", FAMILIES)
def test_gaps_that_depend_on_nothing_are_mcar_in_95_draws_of_100(family):
    assert np.mean([judged(rng, family, at_random).mechanism == "mcar" for rng in generators()]) >= 0.95


DEPENDENT = {
    "z": lambda rng, numbers, z, group: rng.random(N) < 1 / (1 + np.exp(1.5 - z)),
    "z, at both ends": lambda rng, numbers, z, group: rng.random(N) < np.where(np.abs(z) > 1.5, 0.5, 0.1),
    "group": lambda rng, numbers, z, group: rng.random(N) < np.array([0.1, 0.1, 0.1, 0.3, 0.2])[group],
}


@pytest.mark.parametrize("family", ["normal", "exponential", "two peaks", "integers"])
@pytest.mark.parametrize("cause", DEPENDENT)
def test_gaps_that_depend_on_a_column_are_mar_and_name_it_in_95_draws_of_100(family, cause):
    def found(rng):
        made = judged(rng, family, DEPENDENT[cause])
        return made.mechanism == "mar" and made.depends_on[0][0] == cause.split(",")[0]

    assert np.mean([found(rng) for rng in generators()]) >= 0.95


CUTS = {
    ("normal", "above"): (0.1, 0.4),
    ("normal", "below"): (0.1, 0.4),
    ("integers", "above"): (0.1, 0.4),
    ("integers", "below"): (0.1, 0.4),
    ("lognormal", "above"): (0.1, 0.4),
    # Cut nearer to its mode, a lognormal is the shape of an exponential, and nobody can tell.
    ("lognormal", "below"): (0.05, 0.12),
}


@pytest.mark.parametrize(("family", "end"), CUTS)
def test_values_cut_off_at_one_end_rouse_the_suspicion_in_95_draws_of_100(family, end):
    def gaps(rng, numbers, z, group):
        share = rng.uniform(*CUTS[family, end])
        return numbers > np.quantile(numbers, 1 - share) if end == "above" else numbers < np.quantile(numbers, share)

    found = [judged(rng, family, gaps) for rng in generators()]

    assert np.mean([(one.mechanism, one.cut) == ("mnar_suspected", end) for one in found]) >= 0.95


def test_soft_dependence_on_the_missing_value_itself_cannot_be_seen():
    def gaps(rng, numbers, z, group):
        standard = (numbers - numbers.mean()) / numbers.std()
        return rng.random(N) < 1 / (1 + np.exp(1.5 - standard))

    # The truth is MNAR.  This is the limit that the module's docstring tells: no test objects.
    assert np.mean([judged(rng, "normal", gaps).mechanism == "mcar" for rng in generators()]) >= 0.9


def test_strength_is_one_where_a_group_decides():
    group = np.arange(1000) % 2

    ((name, strength),) = missingness(group == 1, {"group": group}).depends_on

    assert (name, strength) == ("group", 1.0)


def test_groups_are_eighths_and_keep_gaps_apart():
    codes = groups(np.append(np.arange(800.0), np.nan))

    assert np.bincount(codes[:-1]).min() >= 99
    assert codes[-1] == -1
    assert set(groups(np.zeros(10))) == {0}


@pytest.mark.parametrize("nulls", [np.zeros(100, dtype=bool), np.ones(100, dtype=bool)])
def test_column_without_gaps_or_values_depends_on_nothing(nulls):
    assert missingness(nulls, {"a": np.arange(100) % 4}, present=np.zeros(0)).mechanism == "mcar"
