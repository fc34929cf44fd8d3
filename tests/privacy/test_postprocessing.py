"""What MST, AIM, private trees and their combinations release is a function of noisy answers; broken twins are caught.

That of the networks is in tests/networks/test_postprocessing.py, by the same means.
"""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from postprocessing import exact_counts, released, rows_in_the_scale

from synth_components import generators
from synth_components.generators import recipe_type
from synth_components.generators.auto import Auto
from synth_components.generators.tabular import aim, mst, private_trees
from synth_components.generators.tabular._private import PrivateTraining
from synth_components.generators.tabular.aim import AIM
from synth_components.generators.tabular.ensemble import Ensemble
from synth_components.generators.tabular.hybrid import Hybrid
from synth_components.generators.tabular.mst import MST
from synth_components.generators.tabular.private_trees import PrivateTrees
from synth_components.privacy import noise

pytest.importorskip("opendp", reason="the extra dp is not installed")

SMALL = {"bins": 4, "iterations": 10}
MODELS = {
    "tabular.mst": MST(**SMALL),
    "tabular.mst, laplace": MST(**SMALL, mechanism="laplace"),
    "tabular.aim": AIM(**SMALL, rounds=1, max_cells=500),
    "tabular.aim, laplace": AIM(**SMALL, rounds=1, max_cells=500, mechanism="laplace"),
    "tabular.private_trees": PrivateTrees(**SMALL),
}
COMBINED = {
    "auto": Auto(candidates=("tabular.mst",)),
    "tabular.hybrid": Hybrid(first="tabular.mst", first_options=SMALL, second="tabular.mst", second_options=SMALL),
    "tabular.ensemble": Ensemble(generators=("tabular.mst",) * 2, options=(SMALL,) * 2, weights=(0.5, 0.5)),
}
READS_NO_ROW = {"tabular.specified"}


@pytest.mark.parametrize("name", MODELS | COMBINED)
def test_what_is_released_is_a_function_of_noisy_answers_alone(name):
    assert len(released((MODELS | COMBINED)[name])) == 1


@pytest.mark.parametrize("name", MODELS)
def test_fits_that_draw_noise_and_use_exact_counts_are_caught(name):
    assert len({one.sampler for one in released(MODELS[name], exact_counts)}) > 1


def exact_best(patch, data):
    """Break a fit: which score is best is drawn, and thrown away."""
    del data
    for module in (mst, aim, private_trees):

        def discarded(scores, honest=module.noisy_best, **how):
            honest(scores, **how)
            return int(np.argmax(scores))

        patch.setattr(module, "noisy_best", discarded)


@pytest.mark.parametrize("name", MODELS)
def test_fits_that_draw_a_choice_and_take_the_best_one_are_caught(name):
    assert len(released(MODELS[name], exact_best)) > 1


@pytest.mark.parametrize("name", MODELS)
def test_noise_whose_scale_follows_from_the_rows_is_caught(name):
    assert len(released(MODELS[name], rows_in_the_scale)) > 1


def rows_in_the_rounds(patch, data):
    """Break a fit: how small its first steps are follows from how many rows there are."""
    honest = AIM._adapted

    def adapted(recipe, *args):
        return honest(recipe.model_copy(update={"rounds": 1 + len(data.table) // 100}), *args)

    patch.setattr(AIM, "_adapted", adapted)


@pytest.mark.parametrize("name", ["tabular.aim", "tabular.aim, laplace"])
def test_rounds_that_follow_from_the_number_of_rows_are_caught(name):
    assert len(released(MODELS[name], rows_in_the_rounds)) > 1


def test_every_generator_that_keeps_a_budget_is_held_to_it():
    others = {name for name in generators.private_names() if not issubclass(recipe_type(name), PrivateTraining)}
    assert {name.partition(",")[0] for name in MODELS | COMBINED} == others - READS_NO_ROW


def test_every_mechanism_of_noise_is_answered():
    """Whatever draws noise is made in one of two places, which ``answered`` takes the place of; fits use no others."""
    made = {
        name
        for name, one in vars(noise).items()
        if inspect.isfunction(one) and re.search(r"measurements\.make_|os\.urandom", inspect.getsource(one))
    }
    # A sample decides sums alone, which are answered; what keeps keys of texts reads a table that has no public schema.
    assert made == {"_count_noise", "_best", "poisson_sample", "kept_keys"}
    for file in Path(generators.__file__).parent.rglob("*.py"):
        assert not re.search(
            r"\bopendp\.|import opendp|from opendp|kept_keys|urandom", file.read_text(encoding="utf-8")
        )
