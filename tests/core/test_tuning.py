"""The search for options: its space, objectives, pruning, front, resumption, and what a budget forbids."""

import numpy as np
import pandas as pd
import pytest

from synth_components.circumstances import Circumstances, within
from synth_components.config import ConfigError, Recipe, sought
from synth_components.errors import (
    ArtifactError,
    BudgetExceededError,
    DataError,
    SchemaError,
    StoppedError,
    UnsupportedError,
)
from synth_components.evaluation.answers import ANSWERS
from synth_components.generators import names, recipe_type
from synth_components.privacy.budget_file import BudgetFile
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Budget, Dataset, Run
from synth_components.schema import TABLE, Boolean, Numeric, Schema, Unit
from synth_components.selection.objective import scores
from synth_components.selection.space import Choices, Range, space_of

COPULA, ALONE, TREES = "tabular.gaussian_copula", "tabular.independent", "tabular.trees"


def dependent(n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    table = pd.DataFrame({"x": x, "y": 3 * x + rng.normal(size=n), "z": x > 0.5})
    number = Numeric(low=-60.0, high=60.0, public=True)
    return Dataset({TABLE: table}, Schema({TABLE: {"x": number, "y": number, "z": Boolean(public=True)}}))


def test_a_range_is_read_off_the_bounds_and_the_default():
    space = space_of(recipe_type(TREES))
    assert space["max_correction_rows"] == Range(6250, 400_000, is_whole=True, is_log=True)  # an eighth to eightfold
    assert space["n_trees"].high == 64  # the option allows no more
    named = space_of(recipe_type(TREES), asked=("min_leaf", "min_evidence"))
    assert named["min_leaf"] == Range(4, 240, is_whole=True, is_log=True)  # 30 / 8 to 30 * 8, whole and within 1 to 1e5
    assert named["min_evidence"] == Range(-12, 4, is_whole=False, is_log=False)
    network = space_of(recipe_type("tabular.autoregressive"))
    assert network["fixed_order_share"] == Range(0, 1, is_whole=False, is_log=False)
    assert network["dropout"].high < 1  # which the option itself does not allow
    assert space_of(recipe_type("tabular.mst"))["mechanism"] == Choices(("gaussian", "laplace"))


SEARCHED = [name for name in names() if name not in ("auto", "tabular.specified", "tabular.hybrid")]


@pytest.mark.parametrize("name", SEARCHED)
def test_random_points_of_what_is_searched_by_default_make_a_valid_recipe(name):
    recipe, rng = recipe_type(name), np.random.default_rng(0)
    for _ in range(30):
        point = {}
        for option, part in space_of(recipe).items():
            if isinstance(part, Choices):
                point[option] = part.values[rng.integers(len(part.values))]
            elif part.is_whole:
                point[option] = part.step * int(rng.integers(part.low // part.step, part.high // part.step + 1))
            else:
                point[option] = rng.uniform(part.low, part.high)
        made = recipe.parse(point)
        if name == "tabular.transformer":  # what a fit asks first
            made._require_heads("hidden", made.hidden)
            made._ordered(dependent(2))


@pytest.mark.parametrize("name", SEARCHED)
def test_what_is_searched_by_default_acts_and_leads_no_knob_past_its_default_to_the_rows(name):
    space = space_of(recipe_type(name))
    for option, field in recipe_type(name).model_fields.items():
        told = field.description or ""
        mark = sought(field.metadata)
        assert bool(mark.safer) or mark.is_left or "rivacy knob" not in told
        if told.startswith("Under epsilon"):
            assert option not in space
        if mark.safer and option in space:
            low, high = space[option].low, space[option].high
            assert (low if mark.safer == "up" else high) == field.default
            loosest = space_of(recipe_type(name), asked=(option,))[option]
            assert loosest.low <= low
            assert loosest.high >= high


@pytest.mark.parametrize("name", ["auto", "tabular.hybrid"])
def test_where_every_option_is_a_request_or_acts_under_a_budget_alone_nothing_is_searched(name):
    with pytest.raises(ConfigError, match="has no option left to search"):
        space_of(recipe_type(name))


def test_a_knob_is_guarded_where_following_recommendations_guards_it():
    for change in {one for changes in ANSWERS.values() for one in changes if one.loosens}:
        marks = {
            sought(recipe_type(name).model_fields[change.option].metadata).safer
            for name in names()
            if change.generator in ("", name) and change.option in recipe_type(name).model_fields
        }
        assert marks == {"up" if change.way == "lower" else "down"}, change.option


def test_a_width_is_searched_in_multiples_of_the_heads_that_are_tried():
    recipe = recipe_type("tabular.transformer")
    assert space_of(recipe)["hidden"] == Range(8, 512, is_whole=True, is_log=True, step=8)
    assert space_of(recipe, asked=("hidden",), fixed={"heads": 3})["hidden"].step == 3
    assert space_of(recipe, asked=("heads",), fixed={"hidden": 100})["heads"] == Choices((1, 2, 4))
    assert space_of(recipe, asked=("heads",), ranges={"heads": [3, 9]})["heads"] == Choices((4, 8))
    both = space_of(recipe, ranges={"hidden": [30, 100], "heads": [2, 3]}, asked=("hidden", "heads"))
    assert (both["hidden"].low, both["hidden"].high, both["hidden"].step) == (30, 96, 6)
    with pytest.raises(ConfigError, match="'hidden' is to be a multiple of each value of 'heads'"):
        space_of(recipe, ranges={"hidden": [30, 100], "heads": [2, 30]}, asked=("hidden", "heads"))


def test_an_option_in_steps_is_told_and_tried_as_its_value():
    space = {"knots": Range(20, 200, is_whole=True, is_log=True, step=20)}
    found = search(space=space, trials=4)
    tried = {trial.options["knots"] for trial in found.trials}
    assert tried <= set(range(20, 201, 20))
    assert len(tried) > 1
    assert found.options["knots"] in tried


@pytest.mark.parametrize("name", SEARCHED)
def test_every_end_of_every_range_is_a_value_of_its_option(name):
    recipe: type[Recipe] = recipe_type(name)
    for option, part in space_of(recipe).items():
        for value in part.values if isinstance(part, Choices) else (part.low, part.high):
            recipe.parse({option: int(value) if isinstance(part, Range) and part.is_whole else value})


def test_a_range_that_is_given_is_held_against_the_option():
    recipe = recipe_type(TREES)
    assert space_of(recipe, asked=("min_leaf",), ranges={"min_leaf": [5, 500]}) == {
        "min_leaf": Range(5, 500, is_whole=True, is_log=True)
    }
    for ranges, message in (
        ({"min_leaf": [0, 5]}, "greater than or equal to 1"),
        ({"min_leaf": [9, 5]}, "low first"),
        ({"leaves": [1, 2]}, "no option 'leaves'"),
    ):
        with pytest.raises(ConfigError, match=message):
            space_of(recipe, ranges=ranges)
    with pytest.raises(ConfigError, match="has a value and is to be searched"):
        space_of(recipe, asked=("knots",), fixed={"knots": 9})


@pytest.mark.slow
def test_objectives_tell_copies_from_independent_columns_and_from_fresh_rows():
    train, held_out, fresh = dependent(600), dependent(600, seed=1), dependent(600, seed=2)
    shuffled = {c: np.random.default_rng(i).permutation(train.table[c]) for i, c in enumerate(train.table)}
    alone = Dataset({TABLE: pd.DataFrame(shuffled)}, train.schema)
    found = {
        name: scores(train, held_out, drawn, aims=("detection", "utility", "privacy"), target="z")
        for name, drawn in {"copies": train, "fresh": fresh, "alone": alone}.items()
    }
    assert found["copies"]["privacy"] < 0.3 < found["fresh"]["privacy"]
    assert found["alone"]["detection"] < 0.5 < found["fresh"]["detection"]
    assert found["alone"]["utility"] < found["fresh"]["utility"] - 0.1


def search(data=None, **options):
    from synth_components.selection.tuning import tune

    pytest.importorskip("optuna", reason="the extra tune is not installed")
    asked = {
        "generator": COPULA,
        "space": {"knots": Range(2, 60, is_whole=True, is_log=True)},
        "trials": 3,
        "folds": 2,
    } | options
    return tune(dependent(240) if data is None else data, **asked)


def test_a_search_finds_the_option_that_the_rows_need_and_repeats_itself():
    found = search(trials=6)
    assert len(found.trials) == 6
    best = max((t for t in found.trials if t.state == "complete"), key=lambda t: t.values["detection"])
    assert found.options == best.options
    assert found.options["knots"] > min(t.options["knots"] for t in found.trials)  # two knots are no normal
    assert search(trials=6) == found


def of_persons(unit=()):
    rows = dependent(240).table.assign(person=np.arange(240) % 24)
    columns = {**dependent(1).schema.columns, "person": Numeric(places=0, low=0, high=23)}
    return Dataset({TABLE: rows}, Schema({TABLE: columns}, unit=Unit(TABLE, unit) if unit else None))


@pytest.mark.parametrize(
    ("unit", "options"),
    [
        (("person",), {}),
        ((), {"generator": "tabular.markov", "fixed": {"group": "person"}}),
        ((), {"generator": "tabular.markov", "space": {"group": Choices(("person",))}}),
    ],
    ids=["unit", "group", "searched group"],
)
def test_no_person_or_sequence_is_on_both_sides_of_a_fold(monkeypatch, unit, options):
    from synth_components.selection import tuning

    seen = []

    def spies(train, held_out, drawn, **asked):
        seen.append((set(train.table["person"]), set(held_out.table["person"])))
        return {"detection": 0.5}

    monkeypatch.setattr(tuning, "scores", spies)
    known = {"smoothing": Range(0.1, 1, is_whole=False, is_log=True)}
    search(of_persons(unit), trials=1, **({"space": known} if "generator" in options else {}) | options)
    assert len(seen) == 2
    for learnt, held_out in seen:
        assert len(learnt) == len(held_out) == 12
        assert not learnt & held_out


@pytest.mark.parametrize("ordered", ["option", "schema", "rows"])
def test_of_one_sequence_what_judges_comes_after_what_is_learnt(monkeypatch, ordered):
    from synth_components.selection import tuning

    seen = []

    def spies(train, held_out, drawn, **asked):
        seen.append((train.table["at"].to_numpy(), held_out.table["at"].to_numpy()))
        return {"detection": 0.5}

    monkeypatch.setattr(tuning, "scores", spies)
    at = np.arange(240) if ordered == "rows" else np.random.default_rng(0).permutation(240)
    columns = {**dependent(1).schema.columns, "at": Numeric(places=0, low=0, high=239)}
    schema = Schema({TABLE: columns}, order={TABLE: "at"} if ordered == "schema" else {})
    search(
        Dataset({TABLE: dependent(240).table.assign(at=at)}, schema),
        generator="tabular.markov",
        fixed={"order_by": "at"} if ordered == "option" else {},
        space={"smoothing": Range(0.1, 1, is_whole=False, is_log=True)},
        trials=1,
        folds=3,
    )
    for place, (learnt, held_out) in enumerate(seen, start=1):
        assert learnt.tolist() == list(range(60 * place))
        assert held_out.tolist() == list(range(60 * place, 60 * place + 60))
    assert len(seen) == 3


def test_one_sequence_of_several_persons_is_refused():
    with pytest.raises(DataError, match=r"one sequence, .* privacy units \(person\), .*option group"):
        search(of_persons(("person",)), generator="tabular.markov", space={"order": Choices((1, 2))})


def test_what_no_judge_sees_of_sequences_is_searched_only_if_named_and_beside_others_and_told(caplog):
    for name in ("tabular.markov", "tabular.transformer"):
        assert not {"order", "length"} & space_of(recipe_type(name)).keys()
    asked = {"generator": "tabular.markov", "trials": 1}
    smoothing = Range(0.1, 1, is_whole=False, is_log=True)
    with pytest.raises(UnsupportedError, match=r"single rows, and order acts on how rows follow each other alone"):
        search(space={"order": Choices((1, 2))}, **asked)
    found = search(space={"order": Choices((1, 2)), "smoothing": smoothing}, **asked)
    assert found.notes == (
        "trials are judged by single rows, and not by how rows follow each other: chance decides order",
    )
    assert found.to_json()["notes"] == list(found.notes)
    assert found.notes[0] in caplog.text
    (note,) = search(space={"smoothing": smoothing}, **asked).notes
    assert note.endswith("how rows follow each other")
    assert not search(trials=1).notes  # of a generator of single rows there is nothing to tell


def test_fewer_persons_than_folds_are_refused_before_a_fit():
    with pytest.raises(DataError, match="25 folds need as many different values of person, and there are 24"):
        search(of_persons(("person",)), folds=25)


def test_a_search_that_was_stopped_goes_on_to_the_same_end(tmp_path):
    whole = search(trials=4)
    begun = []

    def stops():
        return len(begun) >= 2

    def counts(done, total, /, **metrics):
        if metrics:
            begun.append(done)

    with pytest.raises(StoppedError):
        search(trials=4, state=tmp_path, run=Run(report=counts, should_stop=stops))
    assert len(begun) == 2
    told = []
    resumed = search(trials=4, state=tmp_path, on_trial=told.append)
    finished = [(t.options, t.values) for t in resumed.trials if t.state != "failed"]
    assert finished == [(t.options, t.values) for t in whole.trials]
    assert (resumed.options, resumed.values) == (whole.options, whole.values)
    assert told == list(resumed.trials)  # those before the stop, too


def test_the_trials_of_another_search_are_refused(tmp_path):
    search(trials=1, state=tmp_path)
    with pytest.raises(ArtifactError, match="another search"):
        search(trials=1, state=tmp_path, seed=5)


def test_several_aims_give_a_front_that_no_trial_beats():
    found = search(aims=("detection", "privacy"), trials=4)
    for one in found.front:
        for other in found.trials:
            gains = [other.values[aim] - one.values[aim] for aim in ("detection", "privacy")]
            assert not (min(gains) >= 0 and max(gains) > 0)
    assert found.options in [trial.options for trial in found.front]


@pytest.mark.slow
def test_a_trial_that_is_worse_than_most_is_pruned_after_a_fold():
    found = search(trials=12, space={"knots": Range(2, 200, is_whole=True, is_log=True)})
    assert "pruned" in {trial.state for trial in found.trials}
    assert all(trial.values == {} for trial in found.trials if trial.state == "pruned")


def test_progress_tells_options_and_scores_of_each_trial():
    told = []
    search(trials=2, run=Run(report=lambda done, total, /, **metrics: told.append((done, total, sorted(metrics)))))
    assert told[0] == (0, 2, [])
    assert [one[2] for one in told if one[2]] == [["detection", "option.knots"]] * 2
    assert told[-1][:2] == (2, 2)


def test_whoever_listens_is_told_of_each_trial_as_it_ends_with_the_scores_of_its_folds():
    told, ended = [], []
    run = Run(report=lambda done, total, /, **metrics: ended.append(done))
    found = search(trials=2, run=run, on_trial=lambda trial: told.append((len(ended), trial)))
    assert [trial for _, trial in told] == list(found.trials)
    assert [before for before, _ in told] == [1, 2]  # as it ends, and not all at the end
    for trial in found.trials:
        assert len(trial.folds) == 2
        assert trial.values["detection"] == pytest.approx(np.mean([fold["detection"] for fold in trial.folds]))


def test_a_budget_file_refuses_a_search_as_it_does_any_fit_without_noise(tmp_path):
    data = dependent(60)
    BudgetFile.create(tmp_path / "b", Budget(1.0, 1e-6), name="d")
    with within(Circumstances(budget_file=str(tmp_path / "b"))), pytest.raises(BudgetExceededError):
        search(data)


def test_a_budget_refuses_before_a_row_is_read():
    ledger = Ledger(Budget(1.0, 1e-6))
    with pytest.raises(BudgetExceededError):
        search(ledger=ledger)
    assert not ledger.entries


def test_a_private_generator_is_not_tuned_on_rows_without_noise():
    with pytest.raises(UnsupportedError, match="no trial"):
        search(generator="tabular.mst", space={"bins": Range(4, 8, is_whole=True, is_log=False)}, trials=1)


@pytest.mark.parametrize(
    ("target", "error", "told"),
    [("nope", SchemaError, "the target 'nope' is not a .* column; choose one of x, y, z"),
     ("", ConfigError, "utility needs a column to predict")],
)  # fmt: skip
def test_a_target_that_cannot_be_predicted_is_told_before_a_trial(target, error, told):
    ended = []
    with pytest.raises(error, match=told):
        search(aims=("utility",), target=target, trials=2, on_trial=ended.append)
    assert not ended


FAULTY = """
from synth_components.generators.tabular.independent import Independent, IndependentSampler


class Faulty(Independent):
    cells: int = 1

    def fit(self, data, *, rng, ledger, run):
        if self.cells == 2:
            raise ValueError(f"cannot read {data.table.iloc[0, 0]}")
        return super().fit(data, rng=rng, ledger=ledger, run=run)


GENERATOR = Faulty
SAMPLER = IndependentSampler
"""


def test_a_trial_that_fails_is_told_by_type_and_costs_the_others_nothing(tmp_path, monkeypatch, caplog):
    (tmp_path / "faulty.py").write_text(FAULTY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    asked = {"generator": "faulty", "trust": ("faulty",), "trials": 6}
    found = search(space={"cells": Choices((1, 2))}, **asked)
    failed = [trial for trial in found.trials if trial.options["cells"] == 2]
    assert failed
    assert {(trial.state, trial.note) for trial in failed} == {("failed", "ValueError")}
    assert found.options == {"cells": 1}
    assert "failed: ValueError" in caplog.text
    assert "cannot read" not in caplog.text
    with pytest.raises(UnsupportedError, match=r"no trial of faulty came to its end: ValueError$"):
        search(space={"cells": Choices((2,))}, **{**asked, "trials": 1})
