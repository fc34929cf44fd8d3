"""The generator that chooses: its rules, its race, what a budget forbids, and where the reasons stand."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.errors import BudgetExceededError, StoppedError, SynthError, UnsupportedError
from synth_components.generators import recipe_type
from synth_components.generators.auto import Auto
from synth_components.io.artifact import reasons_of
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Budget, Dataset, Run
from synth_components.schema import TABLE, Categorical, Numeric, Schema, Unit
from synth_components.selection.choice import (
    AIM,
    COPULA,
    MANY_COLUMNS,
    MST,
    SEQUENCES,
    candidates,
    chosen,
    is_installed,
    left_out,
)
from synth_components.selection.race import race, rounds
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


def test_the_rules_note_wide_categories_and_whom_the_rows_are_about():
    many = Categorical(categories=tuple(f"v{i}" for i in range(1_001)), public=True)
    schema = Schema({TABLE: {"place": many, "who": Numeric(public=True)}}, unit=Unit(TABLE, ("who",)))
    told = " ".join(chosen(schema, rows=9_000, budget=None).reasons)
    assert "'place' has more than 1000 categories" in told
    assert "persons" in told


@pytest.mark.parametrize(("places", "options"), [(0, {"group": "who"}), (2, {})])
def test_where_the_schema_orders_rows_a_generator_of_sequences_is_chosen_grouped_by_the_unit(places, options):
    columns = {"who": Numeric(places=places), "at": Numeric(places=0), "x": Numeric()}
    made = chosen(Schema({TABLE: columns}, order={TABLE: "at"}, unit=Unit(TABLE, ("who",), 9)), rows=9_000, budget=None)
    assert made.generator in SEQUENCES
    assert made.options == options


def test_under_a_time_limit_sequences_are_not_raced_and_get_the_generator_that_takes_seconds():
    data = dependent(600)
    data = replace(data, tables={TABLE: data.table.assign(at=np.arange(600) // 2)})
    columns = {**data.schema.columns, "at": Numeric(dtype="int64", places=0)}
    data = replace(data, schema=Schema({TABLE: columns}, order={TABLE: "at"}))
    made = Auto(time_limit=60).fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
    assert made.choice["generator"] == "tabular.markov"
    assert "no race" in made.choice["reasons"][0]
    assert not made.choice["trials"]


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
    assert [trial["generator"] for trial in choice["trials"]] == [ALONE, COPULA]
    assert choice["trials"][1]["score"] > choice["trials"][0]["score"] + 0.2
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
    assert rounds(54_000, 9) == [6_000, 18_000, 54_000]
    assert rounds(54_000, 1) == [54_000]
    assert rounds(3_000, 9) == [3_000]


def fits(deadline, judge=lambda sampler: 1.0, rows=300, names=(ALONE, COPULA)):
    ledger, rng = Ledger(), np.random.default_rng(0)
    return race(names, dependent(rows), judge, deadline=deadline, rng=rng, ledger=ledger, run=Run())


def test_a_race_without_time_is_refused_with_what_to_do():
    with pytest.raises(SynthError, match="raise time_limit"):
        fits(time.monotonic() - 1)


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets forward by minutes, so that it does not matter how busy the machine is."""
    moved = SimpleNamespace(by=0.0)
    moved.monotonic = lambda: time.monotonic() + moved.by
    for module in ("selection.race", "stopping"):
        monkeypatch.setattr(f"synth_components.{module}.time", moved)
    return moved


def test_a_candidate_that_would_not_end_in_time_drops_out_and_the_leader_keeps_its_time(clock):
    def judge(sampler):
        seen.append(sampler)
        clock.by += 50 if len(seen) == 2 else 0  # the copula's first fit seems to take so many seconds
        return float(len(seen))

    seen = []
    # Three times the rows would take the copula 1.25 * 3 * 50 s in the second round: it does not get it.
    ended = fits(clock.monotonic() + 180, judge, rows=6_000)
    assert ended.generator in (ALONE, COPULA)
    assert any(trial.note == "it would not have ended in time" for trial in ended.trials)


def test_a_candidate_that_refuses_the_table_is_told_and_another_wins():
    data = toy_table(rows=400)
    wrong = replace(data, schema=replace(data.schema, tables={**data.schema.tables, "other": {"a": Numeric()}}))
    ended = race(
        ("tabular.hybrid", ALONE),
        wrong,
        lambda sampler: 1.0,
        deadline=time.monotonic() + 600,
        rng=np.random.default_rng(0),
        ledger=Ledger(),
        run=Run(),
    )
    assert ended.generator == ALONE
    assert ended.trials[0].note == "it refused: UnsupportedError"


def test_a_first_fit_without_end_leaves_the_others_half_of_the_time(monkeypatch, clock):
    def forever(self, data, *, rng, ledger, run):
        while not run.should_stop():
            clock.by += 1
        raise StoppedError("stopped")

    endless = type("Endless", (recipe_type(ALONE),), {"fit": forever})
    monkeypatch.setattr("synth_components.generators.tabular.independent.GENERATOR", endless)
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

    monkeypatch.setattr(
        "synth_components.generators.tabular.independent.GENERATOR", type("Deaf", (recipe_type(ALONE),), {"fit": slow})
    )


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


def test_a_leader_whose_fit_on_more_rows_does_not_end_stays_ahead_of_worse_ones(monkeypatch):
    def judge(sampler):
        return 0.9 if sampler.__class__.__name__ == "IndependentSampler" else 0.5

    monkeypatch.setattr("synth_components.selection.race.GRACE", 0.0)  # so that more is left to the copula
    deaf(monkeypatch, [0, 0, 50])
    fits(time.monotonic() + 600)  # what is imported late is there
    ended = fits(time.monotonic() + 8.0, judge, rows=6_000)
    assert ended.trials[-1].score == 0.5  # the copula's last fit did end
    assert (ended.generator, round(ended.share, 2)) == (ALONE, 0.33)
