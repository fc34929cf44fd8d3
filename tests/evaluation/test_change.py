"""What a machine can change after a report: which options, how far, and in which direction of privacy."""

import json

import pytest

from synth_components.evaluation.answers import ANSWERS
from synth_components.evaluation.change import Change
from synth_components.evaluation.recommendation import _REMEDIES, Recommendation, recommendations, resolved
from synth_components.evaluation.report import _advice_from_json, _advice_to_json
from synth_components.generators import names, recipe_type
from synth_components.generators.tabular.independent import Independent
from synth_components.generators.tabular.trees import Trees
from synth_components.protocols import Score

TREES = "tabular.trees"
LEAF, EVIDENCE = Change("lower", TREES, "min_leaf", loosens=True), Change("lower", TREES, "min_evidence", loosens=True)


def advice():
    """Return what is recommended after copies, a poor shape, and a task that was missed."""
    scores = (
        Score("privacy.copies", 0.5, None, 0, 0, 0),
        Score("privacy.copies.bound", 0.01, None, 0, 0, 0),
        Score("fidelity.marginal.ks", 0.5, None, 0, 0.99, 1, ("age",)),
        Score("utility.ratio", 0.5, None, 0, 1, 1, ("t", "boosted")),
        Score("utility.trtr.accuracy", 0.9, None, 0, 0.9, 1, ("t", "boosted")),
    )
    return recommendations(scores, {}, ["t"])


def knobs(option):
    """Return of each generator that has an option whether it calls it a privacy knob."""
    fields = [recipe_type(name).model_fields.get(option) for name in names()]
    return ["Privacy knob" in (field.description or "") for field in fields if field is not None]


def test_every_change_names_a_generator_and_an_option_that_exist():
    changes = [change for found in ANSWERS.values() for change in found]
    for change in changes:
        assert change.generator in ("", *names())
        if change.way != "take":
            kinds = [recipe_type(name) for name in ([change.generator] if change.generator else names())]
            assert any(change.option in kind.model_fields for kind in kinds), change
    assert all(change in changes for one in advice() for change in one.changes)
    assert all(found in ANSWERS.values() for _, found in _REMEDIES.values())


def test_every_option_of_trees_that_is_changed_is_named_in_the_advice_beside():
    for one in advice():
        assert all(change.option in one.change for change in one.changes if change.generator == TREES)


def test_what_serves_privacy_never_loosens_and_what_serves_fidelity_says_so_of_a_privacy_knob():
    for about, changes in ANSWERS.items():
        for change in (one for one in changes if one.way != "take"):
            if about in {"privacy", "rare records", "small groups"}:
                assert not change.loosens, change
            else:
                assert change.loosens == any(knobs(change.option)), change
    private, *_ = advice()
    assert private.finding.startswith("50.00% of the rows copy")
    assert private.changes == ANSWERS["privacy"]


NETWORKS = {
    "tabular.autoregressive": {"epochs": 28, "hidden": 256, "dropout": 0.4, "weight_decay": 0.1, "patience": 5},
    "tabular.copula_gan": {"epochs": 200, "hidden": 512, "dropout": 0.25, "weight_decay": 1e-5},
    "tabular.diffusion": {"epochs": 120, "hidden": 512, "dropout": 0.25, "weight_decay": 0.1, "patience": 7},
    "tabular.latent_diffusion": {"autoencoder_epochs": 60, "denoiser_hidden": 768, "dropout": 0.25, "patience": 7},
    "tabular.table_gan": {"epochs": 200, "channels": 128, "delta_mean": 0.1, "delta_sd": 0.1},
    "tabular.transformer": {"epochs": 60, "hidden": 128, "dropout": 0.325, "patience": 3},
    "tabular.vae": {"epochs": 120, "hidden": 512, "dropout": 0.25, "patience": 5},
    "tabular.circuit": {"epochs": 12, "states": 512, "prior": 0.2, "min_state_rows": 120},
    "tabular.mixture": {"components": 128, "prior": 0.2, "min_component_rows": 60},
    "tabular.bayesian_network": {"max_parents": 4, "prior": 2.0},
    "tabular.markov": {"smoothing": 2.0},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_each_generator_answers_a_detector_and_an_attack_by_options_of_its_own(name):
    recipe = recipe_type(name)()
    given = [Recommendation((), "f", "c", 1.0, ANSWERS[about]) for about in ("detection", "privacy")]
    found = {
        change.option: change.value
        for one in resolved(given, recipe, name)
        for change in one.changes
        if change.way != "take"
    }
    assert NETWORKS[name] == {option: pytest.approx(found[option]) for option in NETWORKS[name]}


@pytest.mark.parametrize("name", names())
def test_what_is_changed_again_and_again_stays_an_option_that_the_generator_takes(name):
    kind = recipe_type(name)
    for change in {change for found in ANSWERS.values() for change in found if change.option in kind.model_fields}:
        if change.generator not in ("", name):
            continue
        options = {}
        for _ in range(40):
            found = change.resolved(kind(**options), name, loosen=True)
            if found is None:
                break
            options = {change.option: found.value}
            kind(**options)


@pytest.mark.parametrize(
    ("change", "options", "loosen", "value"),
    [
        (LEAF, {"min_leaf": 5_000}, False, 30),  # back to its default
        (LEAF, {}, False, None),  # a privacy knob stays there
        (LEAF, {}, True, 15),
        (LEAF, {"min_leaf": 1}, True, None),  # the option allows no less
        (EVIDENCE, {}, True, -6.0),
        (EVIDENCE, {"min_evidence": -100}, True, None),
        (Change("raise", TREES, "min_leaf"), {}, False, 60),  # to the private side without being asked
        (Change("raise", TREES, "min_leaf"), {"min_leaf": 3}, False, 30),
        (Change("raise", TREES, "min_leaf"), {"min_leaf": 90_000}, False, 100_000),
        (Change("raise", TREES, "correction_rounds", loosens=True), {"correction_rounds": 1}, False, 3),
        (Change("lower", TREES, "correction_trees"), {"correction_trees": 1}, False, 0),
        (Change("raise", TREES, "correction_trees"), {"correction_trees": 0}, False, 300),
        (Change("lower", "", "knots"), {"knots": 3}, False, 2),
        (Change("raise", "", "no_such_option"), {}, True, None),
    ],
)
def test_a_number_goes_to_its_default_first_and_then_by_half_or_twice_within_its_bounds(change, options, loosen, value):
    found = change.resolved(Trees(**options), TREES, loosen=loosen)
    assert (None if found is None else found.value) == value
    if found is not None:
        Trees(**options | {change.option: found.value})


def test_an_option_of_another_generator_is_left_and_the_other_generator_taken():
    given = (Recommendation(("x",), "f", "c", 1.0, (LEAF, Change("take", TREES), Change("raise", "", "knots"))),)
    (alone,) = resolved(given, Independent(knots=20), "tabular.independent")
    assert [(change.way, change.value) for change in alone.changes] == [("take", None), ("raise", 500)]
    (trees,) = resolved(given, Trees(min_leaf=60), TREES)
    assert [(change.option, change.value) for change in trees.changes[:1]] == [("min_leaf", 30)]
    assert all(change.way != "take" for change in trees.changes)


def test_changes_survive_json_and_an_older_report_has_none():
    for one in advice():
        value = json.loads(json.dumps(_advice_to_json(one)))
        assert _advice_from_json(value) == one
        value.pop("changes")
        assert _advice_from_json(value).changes == ()
