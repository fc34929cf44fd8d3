"""What a network learns under a budget is a function of noisy answers; broken twins are caught, for each network.

That of other generators is in tests/privacy/test_postprocessing.py, by the same means.
"""

from dataclasses import replace
from functools import cache

import pytest
from cases import CASES
from postprocessing import exact_counts, released, rows_in_the_scale

from synth_components.generators import private_names, recipe_type
from synth_components.generators.tabular import _private, copula_gan, table_gan
from synth_components.generators.tabular._private import PrivateTraining

pytest.importorskip("torch", reason="the extra torch is not installed")
pytest.importorskip("opendp", reason="the extra dp is not installed")
private = pytest.importorskip("synth_components.generators._torch.private", exc_type=ModuleNotFoundError)

# More rows in a step than by default, so that what the sample says of the table has its share in what is released.
RECIPES = {
    case.name: case.recipe.model_copy(update={"private_sample_rate": 0.2})
    for case in CASES
    if case.private and isinstance(case.recipe, PrivateTraining)
}

of_each_network = pytest.mark.parametrize("name", RECIPES)


cached_rho, cached_multiplier = cache(_private.rho_within), cache(_private.noise_multiplier_within)


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr(_private, "rho_within", cached_rho)  # the same for every fit
    monkeypatch.setattr(_private, "noise_multiplier_within", cached_multiplier)
    monkeypatch.setattr(_private, "_ITERATIONS", 10)
    for gan in (copula_gan, table_gan):
        monkeypatch.setattr(gan, "MADE_ROWS", 32)


@of_each_network
def test_what_a_network_learns_is_a_function_of_noisy_answers_alone(name):
    assert len(released(RECIPES[name])) == 1


@of_each_network
def test_networks_that_draw_noise_and_begin_at_exact_counts_are_caught(name):
    assert len({one.sampler for one in released(RECIPES[name], exact_counts)}) > 1


def exact_sums(patch, data):
    """Break a fit: the noise of a step is drawn, and thrown away."""
    del data
    honest = private.noisy_sums

    def discarded(sums, *, scale):
        honest(sums, scale=scale)
        return sums

    patch.setattr(private, "noisy_sums", discarded)


@of_each_network
def test_networks_that_draw_noise_and_step_by_exact_sums_are_caught(name):
    assert len({one.sampler for one in released(RECIPES[name], exact_sums)}) > 1


def with_schedule(patch, changes):
    honest = private.PrivateSchedule.of

    def of(options, start, *, steps=None):
        made = honest(options, start, steps=steps)
        return replace(made, **changes(made, len(next(iter(start.codes.values())))))

    patch.setattr(private.PrivateSchedule, "of", of)


def exact_number_of_rows(patch, data):
    """Break a fit: gradients are divided by how many rows there are, and not by how many noisy counts tell of."""
    del data
    with_schedule(patch, lambda schedule, n: {"num_rows": float(n)})


def steps_by_rows(patch, data):
    """Break a fit: it makes as many steps as it takes to see each row so often."""
    del data
    with_schedule(patch, lambda schedule, n: {"steps": schedule.steps + n // 100})


@of_each_network
def test_networks_whose_gradients_are_divided_by_the_exact_number_of_rows_are_caught(name):
    assert len({one.sampler for one in released(RECIPES[name], exact_number_of_rows)}) > 1


@of_each_network
def test_networks_whose_number_of_steps_follows_from_the_rows_are_caught(name):
    assert len(released(RECIPES[name], steps_by_rows)) > 1


@of_each_network
def test_networks_whose_noise_follows_from_the_rows_is_caught(name):
    assert len(released(RECIPES[name], rows_in_the_scale)) > 1


def test_every_network_that_keeps_a_budget_is_held_to_it():
    assert set(RECIPES) == {name for name in private_names() if issubclass(recipe_type(name), PrivateTraining)}
