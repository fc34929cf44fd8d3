"""The generator that chooses: its rules, its race, what a budget forbids, and where the reasons stand."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.config import ConfigError
from synth_components.errors import BudgetExceededError, StoppedError, SynthError, UnsupportedError
from synth_components.generators import DEFAULT, make, recipe_type
from synth_components.generators.auto import BY_ROWS, Auto
from synth_components.generators.tabular._sequences import FEW_ORDERED_ROWS
from synth_components.io.artifact import reasons_of
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Budget, Dataset, Run
from synth_components.schema import TABLE, Categorical, Numeric, Schema, Unit
from synth_components.selection import race as racing
from synth_components.selection.choice import (
    AIM,
    COPULA,
    MANY_COLUMNS,
    MST,
    RANKED,
    SEQUENCES,
    candidates,
    chosen,
    is_installed,
    left_out,
)
from synth_components.selection.race import (
    FIRST_ROWS,
    LEAST_GROWTH,
    LEAST_ROWS,
    MARGIN,
    Trial,
    Undecided,
    _Made,
    race,
    rounds,
)
from synth_components.split import units_of
from synth_components.toy import toy_table

ALONE = "tabular.independent"


def dependent(n):
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    table = pd.DataFrame({"x": x, "y": 3 * x + rng.normal(size=n), "z": np.where(x > 0, "up", "down")})
    number = Numeric(low=-60.0, high=60.0, public=True)
    schema = Schema({TABLE: {"x": number, "y": number, "z": Categorical(categories=("down", "up"), public=True)}})
    return Dataset({TABLE: table}, schema)


def test_the_rules_choose_by_rows_and_say_why():
    schema = dependent(10).schema
    few, many = chosen(schema, rows=50, budget=None), chosen(schema, rows=50_000, budget=None)
    assert (few.generator, many.generator) == (COPULA, "tabular.trees")
    assert "fewer than 200 rows" in few.reasons[0]
    assert "five tables" in many.reasons[0]


def test_the_rules_say_nothing_of_what_decided_nothing():
    many = Categorical(categories=tuple(f"v{i}" for i in range(1_001)), public=True)
    schema = Schema({TABLE: {"place": many, "who": Numeric(public=True)}}, unit=Unit(TABLE, ("who",)))
    plain = Schema({TABLE: {"place": Numeric(public=True)}})
    assert chosen(schema, rows=9_000, budget=None) == chosen(plain, rows=9_000, budget=None)


@pytest.mark.parametrize(("places", "options"), [(0, {"group": "who"}), (2, {})])
def test_where_the_schema_orders_rows_a_generator_of_sequences_is_chosen_grouped_by_the_unit(places, options):
    columns = {"who": Numeric(places=places), "at": Numeric(places=0), "x": Numeric()}
    made = chosen(Schema({TABLE: columns}, order={TABLE: "at"}, unit=Unit(TABLE, ("who",), 9)), rows=9_000, budget=None)
    assert made.generator in SEQUENCES
    assert made.options == options


def test_few_rows_of_sequences_get_tables_of_counts_and_are_told_so(monkeypatch):
    monkeypatch.setattr("synth_components.selection.choice.is_installed", lambda name: True)
    schema = Schema({TABLE: {"at": Numeric(places=0), "x": Numeric()}}, order={TABLE: "at"})
    few, many = (chosen(schema, rows=rows, budget=None) for rows in (FEW_ORDERED_ROWS - 1, FEW_ORDERED_ROWS))
    assert (few.generator, many.generator) == ("tabular.markov", "tabular.transformer")
    assert any("fewer than 7,000" in reason for reason in few.reasons)
    assert not any("fewer" in reason for reason in many.reasons)
    only = ["tabular.transformer"]
    asked = [chosen(schema, rows=rows, budget=None, among=only) for rows in (FEW_ORDERED_ROWS - 1, FEW_ORDERED_ROWS)]
    assert {choice.generator for choice in asked} == {"tabular.transformer"}
    assert ["tabular.markov" in str(choice.reasons) for choice in asked] == [True, False]


@pytest.mark.parametrize("by_hand", [{"order_by": "at"}, {"group": "who"}, {}])
def test_a_transformer_named_by_hand_doubts_few_ordered_rows_where_auto_does(by_hand):
    columns = {"who": Numeric(places=0), "at": Numeric(places=0), "x": Numeric()}
    schema = Schema({TABLE: columns}, order={} if by_hand else {TABLE: "at"})
    networks = (
        make("tabular.transformer", by_hand),
        make("tabular.ensemble", {"generators": ["tabular.markov", "tabular.transformer"], "options": [{}, by_hand]}),
        make("tabular.hybrid", {"first": "tabular.trees", "second": "tabular.transformer", "second_options": by_hand}),
    )
    for recipe in networks:
        few, many = (set(recipe.doubts(schema, rows)) for rows in (FEW_ORDERED_ROWS - 1, FEW_ORDERED_ROWS))
        (doubt,) = few - many
        assert "tabular.markov" in doubt
        assert all("one by one" in other for other in many)  # of compositions, whatever the number of rows
    assert networks[0].doubts(schema, FEW_ORDERED_ROWS) == ()
    unordered = Schema({TABLE: columns})
    for name in ("tabular.transformer", "tabular.ensemble"):
        assert make(name, {}).doubts(unordered, 10) == ()
    assert make("tabular.markov", {"order_by": "at"}).doubts(unordered, 10) == ()


def test_ordered_rows_are_few_where_the_benchmark_finds_the_transformer_behind():
    results = Path(__file__).parents[2] / "benchmarks" / "results" / "sequences.jsonl"
    held = {}
    for row in map(json.loads, results.read_text(encoding="utf-8").splitlines()):
        if not row.get("options"):
            held[row["what"], row["rows"]] = row["autocorrelation"]
    sizes = {rows for _, rows in held}
    assert min(sizes) < FEW_ORDERED_ROWS < max(sizes)
    for rows in sizes:
        is_behind = held["tabular.transformer", rows] < held["tabular.markov", rows] - 0.05
        assert is_behind == (rows < FEW_ORDERED_ROWS)


def test_under_a_time_limit_sequences_are_not_raced_and_get_the_generator_that_takes_seconds():
    data = dependent(600)
    data = replace(data, tables={TABLE: data.table.assign(at=np.arange(600) // 2)})
    columns = {**data.schema.columns, "at": Numeric(dtype="int64", places=0)}
    data = replace(data, schema=Schema({TABLE: columns}, order={TABLE: "at"}))
    made = Auto(time_limit=60).fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
    assert made.choice["generator"] == "tabular.markov"
    assert "no race" in made.choice["reasons"][0]
    assert not made.choice["trials"]


def test_the_rules_choose_among_the_candidates_alone():
    table = dependent(300).table
    choice = synth.fit(table, generator="auto", seed=0, options={"candidates": ["tabular.independent"]}).manifest.choice
    assert choice["generator"] == "tabular.independent"
    assert choice["reasons"] == [f"it is the first of the candidates that can be fitted; {DEFAULT} is none"]
    among = ["tabular.independent", DEFAULT]
    assert (
        synth.fit(table, generator="auto", seed=0, options={"candidates": among}).manifest.choice["generator"]
        == DEFAULT
    )


def test_under_a_budget_the_rules_choose_among_the_candidates_alone():
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    schema, budget = Schema({TABLE: {"x": Numeric(low=0, high=1, public=True)}}), Budget(1.0, 1e-6)
    assert chosen(schema, rows=None, budget=budget, among=[DEFAULT, MST]).generator == MST
    with pytest.raises(BudgetExceededError, match=f"none of the candidates {DEFAULT} keeps a privacy budget"):
        chosen(schema, rows=None, budget=budget, among=[DEFAULT])


@pytest.mark.parametrize("options", [{}, {"time_limit": 20}], ids=["no limit", "a limit"])
def test_a_candidate_that_knows_sequences_gets_the_units_as_groups(options):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"who": np.repeat(np.arange(60), 8), "k": np.tile(np.arange(8), 60), "x": rng.random(480)})
    whole = Numeric(dtype="int64", low=0, high=60, places=0)
    columns = {"who": whole, "k": whole, "x": Numeric(low=0, high=1)}
    schema = Schema({TABLE: columns}, order={TABLE: "k"}, unit=Unit(TABLE, ("who",), 8))
    choice = synth.fit(
        table, generator="auto", seed=0, schema=schema, options={"candidates": ["tabular.markov"], **options}
    ).manifest.choice
    assert choice["generator"] == "tabular.markov"
    assert choice["options"] == {"group": "who"}


def test_under_a_budget_schema_and_budget_decide_alone():
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    schema = dependent(10).schema
    wide = Schema({TABLE: {f"c{i}": Numeric(low=0, high=1, public=True) for i in range(MANY_COLUMNS)}})
    assert chosen(schema, rows=None, budget=Budget(1.0, 1e-6)).generator == AIM
    assert chosen(wide, rows=None, budget=Budget(1.0, 1e-6)).generator == MST
    pure = chosen(schema, rows=None, budget=Budget(1.0))
    assert (pure.generator, pure.options) == (MST, {"mechanism": "laplace"})


def test_the_choice_under_a_budget_is_the_same_for_other_rows():
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    choices = []
    for rows in (20, 2_000):
        sampler = Auto().fit(dependent(rows), rng=np.random.default_rng(0), ledger=Ledger(Budget(1.0, 1e-6)), run=Run())
        choices.append(sampler.choice)
    assert choices[0] == choices[1]


def test_a_race_under_a_budget_is_refused_before_a_row_is_read():
    ledger = Ledger(Budget(1.0, 1e-6))
    with pytest.raises(UnsupportedError, match="drop time_limit"):
        Auto(time_limit=5).fit(dependent(2_000), rng=np.random.default_rng(0), ledger=ledger, run=Run())
    assert not ledger.entries


def test_without_a_private_generator_a_budget_is_refused(monkeypatch):
    monkeypatch.setattr("synth_components.selection.choice.is_installed", lambda name: False)
    with pytest.raises(BudgetExceededError, match="extra dp"):
        chosen(dependent(10).schema, rows=None, budget=Budget(1.0))


def test_candidates_are_ours_installed_and_hold_no_rows():
    found = candidates(dependent(10).schema)
    assert {COPULA, "tabular.trees"} <= set(found)
    assert not {AIM, MST, ALONE, "tabular.ensemble", "tabular.specified", "tabular.smote"} & set(found)
    assert all(is_installed(name) for name in found)


def test_persons_rows_and_many_categories_leave_generators_out_of_a_race_unless_asked_for(monkeypatch):
    monkeypatch.setattr("synth_components.selection.choice.is_installed", lambda name: True)
    plain = dependent(10).schema
    assert left_out(plain) == {}
    whole = set(candidates(plain))
    of_persons = replace(plain, unit=Unit(TABLE, ("x",)))
    assert whole - set(candidates(of_persons)) == {"tabular.circuit", "tabular.mixture"}
    wide = Categorical(categories=tuple(f"c{number:04d}" for number in range(1_001)))
    many = Schema({TABLE: {"city": wide, **plain.columns}})
    assert whole - set(candidates(many)) == {
        "tabular.copula_gan",
        "tabular.diffusion",
        "tabular.latent_diffusion",
        "tabular.vae",
    }
    assert "'city'" in left_out(many)["tabular.vae"]
    assert candidates(many, ("tabular.vae",)) == ("tabular.vae",)


def test_a_generator_that_is_not_installed_anyway_is_not_told_as_left_out(monkeypatch):
    monkeypatch.setattr("synth_components.selection.choice.is_installed", lambda name: name != "tabular.mixture")
    assert set(left_out(replace(dependent(10).schema, unit=Unit(TABLE, ("x",))))) == {"tabular.circuit"}


def test_the_default_is_tried_first_then_what_needs_no_package_then_networks(monkeypatch):
    monkeypatch.setattr("synth_components.selection.choice.is_installed", lambda name: True)
    found = candidates(dependent(10).schema)
    assert set(found) <= set(RANKED)
    assert found[0] == DEFAULT
    needs = [bool(recipe_type(name).needs) for name in found]
    assert needs == sorted(needs)
    assert any(needs)


def test_candidates_that_are_asked_for_keep_their_order():
    assert candidates(dependent(10).schema, (COPULA, ALONE)) == (COPULA, ALONE)


def test_auto_is_no_candidate_of_itself():
    with pytest.raises(ConfigError, match="auto cannot be a candidate"):
        Auto.parse({"candidates": [COPULA, "auto"]})


def test_an_uninstalled_candidate_is_left_out(monkeypatch):
    missing = type("Missing", (recipe_type(COPULA),), {"needs": ("no_such_package",)})
    monkeypatch.setattr("synth_components.generators.tabular.gaussian_copula.GENERATOR", missing)
    assert candidates(dependent(10).schema, (COPULA, ALONE)) == (ALONE,)
    with pytest.raises(UnsupportedError, match="none of"):
        candidates(dependent(10).schema, (COPULA,))


def test_the_race_chooses_what_is_hardest_to_detect_and_the_model_and_report_say_so(tmp_path):
    data = dependent(2_000)
    options = {"time_limit": 600, "candidates": [ALONE, COPULA]}
    model = synth.fit(data, generator="auto", options=options, seed=0)
    choice = model.manifest.choice
    assert choice["generator"] == COPULA
    assert [(trial["generator"], trial["rows"]) for trial in choice["trials"]] == [
        (ALONE, FIRST_ROWS),
        (ALONE, 1_800),
        (COPULA, 1_800),
    ]
    assert choice["trials"][2]["score"] > choice["trials"][1]["score"] + 0.2
    model.save(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "manifest.json").read_text())["choice"] == choice
    assert "hardest to detect of 2 generators" in reasons_of(tmp_path / "model")[0]
    loaded = synth.load(tmp_path / "model")
    assert loaded.sample(50, seed=1).equals(model.sample(50, seed=1))
    fitted = synth.fit(data, generator=COPULA, seed=0)
    assert np.array_equal(
        model.sampler.member.columns["x"].marginals[0].mass, fitted.sampler.columns["x"].marginals[0].mass
    )  # the winner learned from all rows


def test_the_report_says_why_a_generator_was_chosen_as_a_value_and_as_a_page(tmp_path):
    from synth_components.evaluation.options import EvaluateConfig
    from synth_components.steps.evaluate import evaluate

    data = dependent(300).table
    model = synth.fit(data.iloc[:200], generator="auto", seed=0)
    model.save(tmp_path / "model")
    parts = {"train": data.iloc[:200], "holdout": data.iloc[200:], "synthetic": model.sample(200, seed=0)}
    for name, rows in parts.items():
        rows.to_parquet(tmp_path / f"{name}.parquet", index=False)
    quick = {"replicates": 10, "detector_rows": 100, "detector_folds": 2, "manifold_rows": 50, "attacks": []}
    evaluate(
        EvaluateConfig.parse(quick | {"global_utility": False}),
        **{name: tmp_path / f"{name}.parquet" for name in parts},
        model=tmp_path / "model",
        report=tmp_path / "report.json",
        page=tmp_path / "report.html",
    )
    (told,) = reasons_of(tmp_path / "model")
    assert told.startswith("The generator was chosen: tabular.trees, because it is the closest")
    assert told in json.loads((tmp_path / "report.json").read_text())["notes"]
    assert told in (tmp_path / "report.html").read_text()


def test_a_model_whose_generator_was_named_says_nothing_of_a_choice(tmp_path):
    synth.fit(dependent(60), generator=ALONE).save(tmp_path / "model")
    assert "choice" not in json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert reasons_of(tmp_path / "model") == ()


def test_rounds_grow_threefold_to_all_rows_as_many_as_the_entrants_need():
    assert rounds(54_000, 9, 54_000) == [6_000, 18_000, 54_000]
    assert rounds(54_000, 1, 54_000) == [54_000]
    assert rounds(3_000, 9, 3_000) == [3_000]


def test_the_first_round_has_fewer_rows_where_time_is_short():
    assert rounds(54_000, 9, 7_000) == [6_000, 18_000, 54_000]
    assert rounds(54_000, 9, 2_000) == [2_000, 6_000, 18_000, 54_000]
    assert rounds(54_000, 9, 5_000) == [5_000, 18_000, 54_000]
    assert rounds(3_000, 9, 500) == [500, 3_000]
    assert rounds(3_000, 9, 2_000) == [2_000]


def fits(deadline, judge=lambda sampler: 1.0, rows=300, names=(ALONE, COPULA), data=None):
    data = dependent(rows) if data is None else data
    return race(names, data, judge, deadline=deadline, seed=0, ledger=Ledger(), run=Run())


def test_a_race_without_time_is_undecided_and_says_what_was_tried():
    with pytest.raises(Undecided, match="raise time_limit") as caught:
        fits(time.monotonic() - 1)
    assert [trial.note for trial in caught.value.trials] == ["its time was over"] * 2


NO_TIME = 1e-9


def test_when_time_is_over_without_a_trial_the_rules_choose_and_the_reasons_say_so():
    made = Auto(time_limit=NO_TIME).fit(dependent(2_000), rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
    assert made.choice["generator"] == DEFAULT
    assert "none of the candidates was fitted and judged within 1e-09 s" in made.choice["reasons"][0]
    assert "this fit has no limit" in made.choice["reasons"][0]
    assert {trial["note"] for trial in made.choice["trials"]} == {"its time was over"}
    assert len(made.sample(5, rng=np.random.default_rng(0)).table) == 5


def test_when_time_is_over_without_a_trial_nobody_is_fitted_but_candidates(caplog):
    recipe = Auto(time_limit=NO_TIME, candidates=(COPULA, ALONE))
    made = recipe.fit(dependent(2_000), rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
    assert made.choice["generator"] == COPULA
    assert caplog.messages == [f"{made.choice['reasons'][0]}; {COPULA} is fitted"]


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets forward by minutes, so that it does not matter how busy the machine is."""
    moved = SimpleNamespace(by=0.0)
    moved.monotonic = lambda: time.monotonic() + moved.by
    for module in ("selection.race", "stopping", "generators.auto"):
        monkeypatch.setattr(f"synth_components.{module}.time", moved)
    return moved


def replaced(monkeypatch, name, fit):
    """Let a generator be fitted by a function of (recipe, data, rng, ledger, run)."""
    module = f"synth_components.generators.{name}.GENERATOR"
    monkeypatch.setattr(module, type("Replaced", (recipe_type(name),), {"fit": fit}))


def test_imports_are_done_before_the_clock_starts(monkeypatch, clock):
    def load(names):
        clock.by += 1_000

    monkeypatch.setattr("synth_components.selection.loading.load", load)
    recipe = Auto(time_limit=600, candidates=(ALONE,))
    made = recipe.fit(dependent(1_000), rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
    assert made.choice["reasons"][-1] == "it was fitted again on all rows"


@pytest.mark.slow  # it imports scikit-learn anew
def test_after_loading_neither_fits_nor_the_judge_import_anything():
    code = """
import sys
import numpy as np
from synth_components.evaluation.detection import c2st
from synth_components.generators import make
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Run
from synth_components.selection.choice import RANKED
from synth_components.generators import DEFAULT, make, recipe_type
from synth_components.selection.loading import load
from synth_components.split import units_of
from synth_components.toy import toy_table

data = toy_table(rows=300)
names = [name for name in RANKED if not recipe_type(name).needs]
load(names)
before = set(sys.modules)
for name in names:
    sampler = make(name).fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
    c2st(data, sampler.sample(300, rng=np.random.default_rng(0)), rng=np.random.default_rng(0))
print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_the_first_candidate_is_tried_on_few_rows_which_tell_how_many_the_first_round_has(monkeypatch, clock):
    def slow(self, data, *, rng, ledger, run):
        clock.by += len(data.table) / FIRST_ROWS  # a second for so many rows
        return fit(self, data, rng=rng, ledger=ledger, run=run)

    fit = recipe_type(ALONE).fit
    replaced(monkeypatch, ALONE, slow)
    ended = fits(clock.monotonic() + 60, rows=6_000)
    first, second, *_ = ended.trials
    assert (first.generator, first.rows) == (ALONE, FIRST_ROWS)
    assert FIRST_ROWS < second.rows < LEAST_ROWS  # the copula, ten times slower, would have half of the time for them
    assert fits(clock.monotonic() + 6_000, rows=6_000).trials[1].rows == LEAST_ROWS


def test_the_judge_is_counted_in_the_time_of_a_fit(monkeypatch, clock):
    def endless(self, data, *, rng, ledger, run):
        while not run.should_stop():
            clock.by += 1
        raise StoppedError("stopped")

    def judge(sampler):
        clock.by += 300
        return 1.0

    replaced(monkeypatch, ALONE, endless)
    ended = fits(clock.monotonic() + 1_000, judge, names=(COPULA, ALONE))
    # Of half of the time 200 s are left, in which it could not be judged.
    assert ended.trials[1].note == "its time was over"
    assert ended.trials[1].seconds < 100


def test_what_a_fit_draws_depends_on_no_other(monkeypatch):
    def fickle(self, data, *, rng, ledger, run):
        rng.random(drawn)  # as one that is interrupted, at another place each time
        return alone(self, data, rng=rng, ledger=ledger, run=run)

    def told(self, data, *, rng, ledger, run):
        heard.append((len(data.table), rng.random()))
        return copula(self, data, rng=rng, ledger=ledger, run=run)

    alone, copula = recipe_type(ALONE).fit, recipe_type(COPULA).fit
    replaced(monkeypatch, ALONE, fickle)
    replaced(monkeypatch, COPULA, told)
    runs = []
    for drawn in (1, 8):  # noqa: B007 - read by the fit
        heard = []
        made = Auto(time_limit=600, candidates=(ALONE, COPULA)).fit(
            dependent(1_000), rng=np.random.default_rng(0), ledger=Ledger(), run=Run()
        )
        assert made.choice["generator"] == COPULA
        runs.append(heard)
    assert runs[0] == runs[1]
    assert [rows for rows, _ in runs[0]] == [900, 1_000]
    assert runs[0][0][1] != runs[0][1][1]


def test_a_candidate_that_would_not_end_in_time_drops_out_and_the_leader_keeps_its_time(monkeypatch, clock):
    def slow(self, data, *, rng, ledger, run):
        clock.by += 50
        return fit(self, data, rng=rng, ledger=ledger, run=run)

    fit = recipe_type(COPULA).fit
    replaced(monkeypatch, COPULA, slow)
    # Three times the rows would take the copula 1.25 * 3 * 50 s in the second round: it does not get it.
    ended = fits(clock.monotonic() + 180, lambda sampler: 1.0, rows=6_000)
    assert ended.generator == ALONE
    dropped = [trial.generator for trial in ended.trials if trial.note == "it would not have ended in time"]
    assert dropped == [COPULA]


def test_the_best_on_few_rows_does_not_win_with_a_model_of_few_where_another_can_have_all(monkeypatch, clock):
    def judge(sampler):
        return 0.5 if sampler.__class__.__name__ == "IndependentSampler" else 0.9

    def slow(self, data, *, rng, ledger, run):
        clock.by += 50
        return fit(self, data, rng=rng, ledger=ledger, run=run)

    fit = recipe_type(COPULA).fit
    replaced(monkeypatch, COPULA, slow)
    ended = fits(clock.monotonic() + 180, judge, rows=6_000)
    assert (ended.generator, ended.share) == (ALONE, 1.0)
    assert ended.trials[-1].score == 0.5
    dropped = [trial.generator for trial in ended.trials if trial.note == "it would not have ended in time"]
    assert dropped == [COPULA]


def test_where_time_is_left_for_the_leaders_last_fit_alone_nobody_else_takes_it(monkeypatch, clock):
    def slow(self, data, *, rng, ledger, run):
        clock.by += 50 if len(data.table) > 500 else 0
        return fit(self, data, rng=rng, ledger=ledger, run=run)

    fit = recipe_type(ALONE).fit
    replaced(monkeypatch, ALONE, slow)
    # 50 s are gone before the second round, and 1.25 * 3 * 50 s are kept for the leader, which leaves too few for it.
    ended = fits(clock.monotonic() + 270, lambda sampler: 1.0, rows=6_000)
    assert ended.generator == ALONE
    assert (ended.trials[-1].generator, ended.trials[-1].note) == (ALONE, "it would not have ended in time")
    assert not [trial for trial in ended.trials if trial.generator == COPULA and trial.rows == 6_000]


def test_the_best_network_goes_on_beside_those_that_are_better_on_few_rows(monkeypatch, clock):
    monkeypatch.setattr("synth_components.selection.race._is_network", lambda name: name == ALONE)
    names = (COPULA, "tabular.bayesian_network", "tabular.mixture", ALONE)

    def judge(sampler):
        return 0.1 if sampler.__class__.__name__ == "IndependentSampler" else 0.9

    ended = fits(clock.monotonic() + 4_000, judge, rows=6_000, names=names)
    last = [trial.generator for trial in ended.trials if trial.rows == 6_000]
    assert ALONE in last[:3]  # the last one is gone back to


class Paced:
    """A recipe whose fit takes seconds of its own, and more for each row; its sampler tells its name and its rows."""

    def __init__(self, name, clock, fixed, per_row):
        self.name, self.clock, self.fixed, self.per_row = name, clock, fixed, per_row

    def fit(self, data, *, rng, ledger, run):
        seconds = self.fixed + self.per_row * len(data.table)
        while seconds > 0:
            if run.should_stop():
                raise StoppedError("stopped")
            self.clock.by += min(seconds, 1.0)
            seconds -= 1.0
        return self.name, len(data.table)


@pytest.mark.parametrize(("fixed", "per_row", "winner"), [(15, 0.001, "network"), (0, 0.02, "trees")])
def test_a_network_that_few_rows_slow_is_fitted_once_more_before_it_is_given_up(
    monkeypatch, clock, fixed, per_row, winner
):
    paces = {"trees": (0.0, 0.001), "copula": (0.0, 0.001), "mixture": (0.0, 0.001), "network": (fixed, per_row)}
    monkeypatch.setattr("synth_components.selection.race.make", lambda name: Paced(name, clock, *paces[name]))
    monkeypatch.setattr("synth_components.selection.race._is_network", lambda name: name == "network")

    def judge(sampler):
        name, rows = sampler
        return {"trees": 0.8, "copula": 0.2, "mixture": 0.1, "network": 0.1 + rows / 20_000}[name]

    ended = fits(clock.monotonic() + 180, judge, rows=18_000, names=tuple(paces))
    assert (ended.generator, ended.share) == (winner, 1.0)
    told = [trial for trial in ended.trials if trial.generator == "network"]
    # By the first fit alone, of 2,000 rows in 17 s, that of all would take 191 s, and less is left.
    assert [trial.rows for trial in told if trial.score is not None] == ([2_000, 6_000, 18_000] if fixed else [2_000])


@pytest.mark.parametrize(("limit", "winner"), [(400, "late"), (130, "copula")])
def test_those_dropped_last_that_were_close_are_fitted_on_all_rows_if_time_is_left(monkeypatch, clock, limit, winner):
    paces = {"trees": (0.0, 0.001), "copula": (0.0, 0.001), "late": (0.0, 0.003), "mixture": (0.0, 0.001)}
    monkeypatch.setattr("synth_components.selection.race.make", lambda name: Paced(name, clock, *paces[name]))
    monkeypatch.setattr("synth_components.selection.race._is_network", lambda name: False)

    def judge(sampler):
        name, rows = sampler
        late = 0.9 if rows == 18_000 else 0.74
        return {"trees": 0.76, "copula": 0.8, "late": late, "mixture": 0.1}[name]

    ended = fits(clock.monotonic() + limit, judge, rows=18_000, names=tuple(paces))
    assert (ended.generator, ended.share) == (winner, 1.0)
    # Who was far behind is not gone back to; a forecast that is too long is told.
    assert [trial.generator for trial in ended.trials if trial.rows == 18_000] == ["copula", "trees", "late"]


def test_seconds_of_a_network_grow_by_what_two_fits_took(monkeypatch):
    monkeypatch.setattr("synth_components.selection.race._is_network", lambda name: name == "network")

    def made(name, rows, seconds):
        return _Made(Trial(name, rows, 0.5, seconds), fitting=seconds)

    first, second = made("network", 1_000, 10.0), made("network", 3_000, 12.0)
    assert first.is_open
    assert first.expected(3_000) == MARGIN * 30
    after = second.after(first)
    assert not after.is_open
    assert after.expected(9_000) == pytest.approx(MARGIN * 18)  # 9 s and one for each 1,000 rows
    assert made("network", 3_000, 8.0).after(first).expected(6_000) == pytest.approx(MARGIN * 8 * (1 + LEAST_GROWTH))
    assert made("network", 3_000, 60.0).after(first).expected(6_000) == MARGIN * 120
    assert made("network", 1_500, 10.0).after(first).is_open  # too near
    for trees in ("trees", "circuit"):
        assert made(trees, 3_000, 12.0).after(made(trees, 1_000, 10.0)).expected(9_000) == MARGIN * 36


def test_a_candidate_that_refuses_the_table_is_told_and_another_wins():
    data = toy_table(rows=400)
    wrong = replace(data, schema=replace(data.schema, tables={**data.schema.tables, "other": {"a": Numeric()}}))
    ended = fits(time.monotonic() + 600, names=("tabular.hybrid", ALONE), data=wrong)
    assert ended.generator == ALONE
    assert ended.trials[0].note == "it refused: UnsupportedError"
    with pytest.raises(SynthError, match=r"every candidate refused the table: tabular.hybrid: .*tables") as caught:
        fits(time.monotonic() + 600, names=("tabular.hybrid",), data=wrong)
    assert "time" not in str(caught.value)


@pytest.mark.parametrize(
    ("count", "least", "told"), [(80, 20, "it was hardest"), (2, 990, "every candidate refused rows"), (2, 1_001, "")]
)
def test_a_category_that_few_rows_of_a_part_share_is_no_refusal_of_the_table(monkeypatch, count, least, told):
    def fit(self, data, **circumstances):
        return kind(min_category_count=least).fit(data, **circumstances)

    kind, data = recipe_type(ALONE), dependent(2_000)
    replaced(monkeypatch, ALONE, fit)
    places = tuple(f"place {number}" for number in range(count))
    schema = replace(data.schema, tables={TABLE: {**data.schema.columns, "place": Categorical(categories=places)}})
    rows = Dataset({TABLE: data.table.assign(place=np.resize(places, 2_000))}, schema)

    def chosen():
        recipe = Auto(time_limit=600, candidates=(ALONE,))
        return recipe.fit(rows, rng=np.random.default_rng(0), ledger=Ledger(), run=Run())

    if not told:  # nor do all rows have what it asks for
        with pytest.raises(SynthError, match=r"every candidate refused the table: .*has no value that"):
            chosen()
        return
    made = chosen()
    assert made.choice["reasons"][0].startswith(told)
    assert made.choice["trials"][0]["note"] == "it refused: UnsupportedError"
    assert made.sample(2_000, rng=np.random.default_rng(0)).table["place"].nunique() == count  # it is of all rows


def test_a_fault_of_a_candidate_is_told_and_another_wins(monkeypatch, caplog):
    def broken(self, data, *, rng, ledger, run):
        return data.no_such_attribute

    replaced(monkeypatch, ALONE, broken)
    ended = fits(time.monotonic() + 600)
    assert ended.generator == COPULA
    assert ended.trials[0].note == "it failed: AttributeError"
    assert f"{ALONE} failed in a race: AttributeError; fit it alone to see why" in caplog.messages


@pytest.mark.parametrize(
    "sites", [np.where(np.arange(1_500) < most, 0.0, np.arange(1_500.0)) for most in (1_460, 1_470)]
)
def test_without_a_race_where_the_units_cannot_be_split(sites):
    data = dependent(1_500)
    columns = {**data.schema.columns, "site": Numeric()}
    data = Dataset({TABLE: data.table.assign(site=sites)}, Schema({TABLE: columns}, unit=Unit(TABLE, ("site",), 1_500)))
    recipe = Auto(time_limit=600, candidates=(ALONE,))
    made = recipe.fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
    assert made.choice["generator"] == ALONE
    assert made.choice["reasons"][0].startswith("no race: the privacy units cannot be split into sides of 100 rows")
    assert not made.choice["trials"]


@pytest.mark.parametrize("is_key", [False, True])
def test_a_part_of_the_rows_holds_whole_units_but_for_the_last(monkeypatch, is_key):
    def told(self, data, *, rng, ledger, run):
        heard.append(units_of(data))
        return fit(self, data, rng=rng, ledger=ledger, run=run)

    heard, fit = [], recipe_type(ALONE).fit
    replaced(monkeypatch, ALONE, told)
    data, person = dependent(6_000), np.arange(6_000) % 60
    if is_key:
        data = replace(data, owners=person)
    else:
        columns = {**data.schema.columns, "who": Numeric()}
        schema = Schema({TABLE: columns}, unit=Unit(TABLE, ("who",), 100))
        data = Dataset({TABLE: data.table.assign(who=person)}, schema)
    fits(time.monotonic() + 6_000, data=data)
    rows = [np.bincount(owners) for owners in heard]
    assert [one.sum() for one in rows] == [FIRST_ROWS, LEAST_ROWS, 6_000]
    assert all((np.sort(one)[1:] == 100).all() for one in rows)


def test_a_first_fit_without_end_leaves_the_others_half_of_the_time(monkeypatch, clock):
    def forever(self, data, *, rng, ledger, run):
        while not run.should_stop():
            clock.by += 1
        raise StoppedError("stopped")

    replaced(monkeypatch, ALONE, forever)
    ended = fits(clock.monotonic() + 400, names=(COPULA, ALONE))
    assert (ended.generator, ended.trials[1].note) == (COPULA, "its time was over")
    assert ended.trials[1].seconds < 250  # half of the time, at most, and what one look at the clock takes


def deaf(monkeypatch, seconds):
    """Have the independent generator's fits ignore that they shall stop, and take some seconds each, in order."""
    fit = recipe_type(ALONE).fit
    left = list(seconds)

    def slow(self, data, *, rng, ledger, run):
        ends = time.monotonic() + left.pop(0)
        while time.monotonic() < ends:
            pass
        return fit(self, data, rng=rng, ledger=ledger, run=run)

    replaced(monkeypatch, ALONE, slow)


def test_a_candidate_that_does_not_hear_that_its_time_is_over_is_interrupted_at_the_deadline(monkeypatch):
    fits(time.monotonic() + 600)  # what is imported late is there
    deaf(monkeypatch, [50])
    began = time.monotonic()
    ended = fits(began + 3.0, names=(COPULA, ALONE))
    assert time.monotonic() - began < 25.0  # three seconds, and all others for a machine that is busy
    assert (ended.generator, ended.trials[1].note) == (COPULA, "its time was over")


def test_a_last_fit_that_takes_longer_than_the_one_before_leaves_the_model_of_the_race_within_the_limit(monkeypatch):
    options = {"time_limit": 600, "candidates": [ALONE]}
    synth.fit(dependent(1_000), generator="auto", options=options, seed=0)  # what is imported late is there
    deaf(monkeypatch, [0, 50])
    began = time.monotonic()
    model = synth.fit(dependent(1_000), generator="auto", options={**options, "time_limit": 6}, seed=0)
    assert time.monotonic() - began < 30.0  # six seconds, the checks of a fit, and a busy machine
    assert "time was over" in model.manifest.choice["reasons"][1]
    assert len(model.sample(10, seed=0)) == 10


def test_a_leader_whose_fit_on_more_rows_does_not_end_stays_ahead_of_worse_ones(monkeypatch, clock):
    def judge(sampler):
        return 0.9 if sampler.__class__.__name__ == "IndependentSampler" else 0.5

    def fickle(self, data, *, rng, ledger, run):
        while len(data.table) == 6_000:
            clock.by += 1
            if run.should_stop():
                raise StoppedError("stopped")
        return fit(self, data, rng=rng, ledger=ledger, run=run)

    fit = recipe_type(ALONE).fit
    replaced(monkeypatch, ALONE, fickle)
    ended = fits(clock.monotonic() + 4_000, judge, rows=6_000)
    assert (ended.trials[-1].generator, ended.trials[-1].rows, ended.trials[-1].score) == (COPULA, 6_000, 0.5)
    assert (ended.generator, round(ended.share, 2)) == (ALONE, 0.33)


@pytest.mark.parametrize("error", [SynthError("refused"), MemoryError("with a cell")])
def test_a_last_fit_that_fails_leaves_the_model_of_the_race_which_says_so(monkeypatch, caplog, error):
    def fails(self, data, *, rng, ledger, run):
        if len(data.table) == 2_000:
            raise error
        return fit(self, data, rng=rng, ledger=ledger, run=run)

    fit = recipe_type(ALONE).fit
    replaced(monkeypatch, ALONE, fails)
    recipe = Auto(time_limit=600, candidates=(ALONE,))
    made = recipe.fit(dependent(2_000), rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
    why = f"of 1800 of 2000 rows: its fit on all rows failed ({type(error).__name__})"
    assert made.choice["reasons"][-1] == f"its model is that of the race, {why}"
    assert type(error).__name__ in caplog.text
    assert "cell" not in caplog.text
    assert len(made.sample(5, rng=np.random.default_rng(0)).table) == 5


def test_a_model_of_a_race_says_that_rows_support_what_it_keeps_and_not_the_persons_who_are_named(monkeypatch):
    monkeypatch.setattr("synth_components.generators.auto._again", lambda *_, **__: (None, "time was over"))
    data = dependent(6_000)
    columns = {**data.schema.columns, "who": Numeric()}
    schema = Schema({TABLE: columns}, unit=Unit(TABLE, ("who",), 100))
    named = Dataset({TABLE: data.table.assign(who=np.arange(6_000) % 60)}, schema)
    monkeypatch.setattr(racing, "race", lambda *args, **said: replace(race(*args, **said), share=0.5))
    held = []
    for rows in (data, named):
        recipe = Auto(time_limit=600, candidates=(ALONE,))
        made = recipe.fit(rows, rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
        held.append(BY_ROWS in made.choice["reasons"])
    assert held == [False, True]
