"""The guard lets pass what the policy allows, refuses what evidence contradicts, and says when it is off."""

import json
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.__main__ import main
from synth_components.chain import Chain
from synth_components.config import ConfigError
from synth_components.errors import DataError, GuardError
from synth_components.evaluation import PrivacyConfig, evaluate
from synth_components.evaluation.judged import Judged, Reported, digest_of
from synth_components.policy import guard
from synth_components.protocols import Dataset
from synth_components.selection.tuning import tune
from synth_components.steps.gate import GateConfig
from synth_components.steps.optimize import OptimizedTrainConfig, auto_optimize
from synth_components.steps.report_file import reported as reported_by

TABLE = pd.DataFrame({"city": ["Rome", "Oslo"] * 30, "age": [1, 2, 3] * 20})
GOOD = {
    "privacy.risk": 0.05,
    **{"privacy.copies": 0.01, "privacy.copies.bound": 0.02},
    **{"privacy.near_copies": 0.01, "privacy.near_copies.bound": 0.02},
}
INDEPENDENT = ("--generator", "tabular.independent")
TINY_VAE = ("--generator", "tabular.vae", "--generator.epochs", "1")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNTH_AUDIT", "audit.jsonl")
    monkeypatch.delenv("SYNTH_POLICY", raising=False)
    TABLE.to_csv("t.csv", index=False)
    return tmp_path


@pytest.fixture(scope="module")
def model():
    return synth.fit(TABLE, generator="tabular.independent", seed=0)


def told(folder, event):
    return [line for line in Chain(folder / "audit.jsonl").lines() if line["event"] == event]


def states(found):
    return {one.check: one.state for one in found}


def of(model, scores, table=None):
    """Return what a report on a model, and on rows, says."""
    return Reported(scores, (Judged(model.fingerprint, "" if table is None else digest_of(table)),))


def test_without_a_policy_level_medium_lets_good_evidence_pass_and_refuses_bad(folder, model):
    assert set(states(guard.release(model, of(model, GOOD), to="x")).values()) == {"passed"}
    for name, value in (("privacy.risk", 0.31), ("privacy.copies", 0.03), ("privacy.near_copies", 0.03)):
        with pytest.raises(GuardError, match="level medium"):
            guard.release(model, of(model, {**GOOD, name: value}), to="x")
    assert [line["passed"] for line in told(folder, "guard")] == [True, False, False, False]


@pytest.fixture(scope="module")
def leaked():
    """A function that returns what is said of rows of which a share are training rows with a little noise."""
    rng = np.random.default_rng(0)
    train, holdout, fresh = (pd.DataFrame(rng.normal(size=(800, 3)), columns=list("abc")) for _ in range(3))

    def told_of(share):
        fresh.iloc[: int(share * 800)] = train.iloc[: int(share * 800)] + 1e-6
        return evaluate(train, holdout, fresh, config=PrivacyConfig(attacks=(), replicates=10))

    return told_of


def test_a_report_that_tells_of_near_copies_alone_passes_neither_guard_nor_gate(folder, model, leaked, capsys):
    for share, status in ((0.0, 0), (0.28, 3)):
        report = leaked(share)
        (folder / "r.json").write_text(json.dumps(report.to_json()))
        assert report.value("privacy.copies") == 0.0
        assert main(["gate", "--report", "r.json"]) == status
    assert "near_copies is 0.2" in capsys.readouterr().err
    assert main(["gate", "--report", "r.json", "--allow-copies", "true"]) == 0
    with pytest.raises(GuardError, match=r"the near copies: 0\.2") as raised:
        guard.release(model, of(model, {**reported_by(report).scores, "privacy.risk": 0.05}), to="x")
    assert raised.value.checks == ("near copies",)


def test_copies_that_chance_explains_are_not_held_against_a_release(model):
    by_chance = {**GOOD, "privacy.near_copies": 0.021, "privacy.near_copies.p_value": 6e-4}
    assert states(guard.release(model, of(model, by_chance), to="x"))["near copies"] == "passed"
    with pytest.raises(GuardError, match="the near copies"):
        guard.release(model, of(model, {**by_chance, "privacy.near_copies.p_value": 4e-4}), to="x")


def test_a_few_exact_copies_are_held_against_a_release_sooner(model):
    few = {**GOOD, "privacy.copies": 0.031, "privacy.copies.bound": 0.03}
    assert (
        states(guard.release(model, of(model, {**few, "privacy.copies.p_value": 0.03}), to="x"))["exact copies"]
        == "passed"
    )
    with pytest.raises(GuardError, match="the exact copies"):
        guard.release(model, of(model, {**few, "privacy.copies.p_value": 0.02}), to="x")


def test_without_a_policy_missing_evidence_is_told_as_unproven_and_passes(folder, model, caplog):
    found = states(guard.release(model, None, to="x"))
    assert found["privacy risk"] == found["exact copies"] == found["near copies"] == "unproven"
    assert "not proven for release to x" in caplog.text
    assert any("unproven" in one for one in told(folder, "guard")[0]["checks"])


def test_a_named_policy_refuses_missing_evidence(model, monkeypatch):
    monkeypatch.setenv("SYNTH_POLICY", "medium")
    with pytest.raises(GuardError, match="no report tells of it") as raised:
        guard.release(model, None, to="x")
    assert raised.value.checks == ("privacy risk", "exact copies", "near copies")


@pytest.mark.parametrize("policy", ["", "low", "medium", "critical", "off"])
def test_a_sampler_that_holds_rows_is_released_under_no_policy(folder, model, monkeypatch, policy):
    monkeypatch.setenv("SYNTH_POLICY", policy)
    holding = replace(model, manifest=model.manifest.model_copy(update={"holds_rows": True}))
    with pytest.raises(GuardError, match=r"holds training rows.*fit another generator") as raised:
        guard.release(holding, of(holding, GOOD), to="x")
    assert raised.value.checks == ("held rows",)
    assert [line["passed"] for line in told(folder, "guard")] == [False]


def test_the_highest_level_asks_for_an_epsilon_before_rows_are_read(folder, capsys, monkeypatch):
    train = ["train", "--data", "t.csv", "--model", "model", *INDEPENDENT]
    assert main([*train, "--policy", "critical"]) == 3
    assert "the fit has no epsilon" in capsys.readouterr().err
    assert not told(folder, "spend")  # nothing was charged, so nothing was read
    assert main([*train, "--policy", "high"]) == 0
    monkeypatch.setenv("SYNTH_POLICY", "critical")
    with pytest.raises(GuardError, match="epsilon is 2 at delta 1e-06, at most 1 at 1e-05"):
        synth.fit(TABLE, generator="tabular.mst", epsilon=2.0)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--output", "out", "--train", '{"generator": "tabular.independent"}'],
        ["tune", "--study", "study.json", *INDEPENDENT],
        ["shadow-audit", "--report", "r.json", *INDEPENDENT],
    ],
)
def test_what_fits_on_the_way_asks_the_policy_before_it_reads(folder, monkeypatch, words, capsys):
    monkeypatch.setenv("SYNTH_POLICY", "critical")
    (folder / "t.csv").unlink()
    (folder / "t.csv").write_text("no table")  # whoever reads it says so
    assert main([*words, "--data", "t.csv"]) == 3
    assert "has no epsilon" in capsys.readouterr().err
    assert not told(folder, "spend")


def test_a_bounded_epsilon_needs_no_attack(model, monkeypatch):
    stated = model.manifest.privacy.model_copy(update={"epsilon": 0.5, "delta": 1e-6})
    private = replace(model, manifest=model.manifest.model_copy(update={"privacy": stated}))
    monkeypatch.setenv("SYNTH_POLICY", "critical")
    assert states(guard.release(private, None, to="x"))["attacks"] == "passed"


def test_an_epsilon_with_a_large_delta_bounds_no_attack(model, monkeypatch):
    monkeypatch.setenv("SYNTH_POLICY", "high")
    stated = model.manifest.privacy.model_copy(update={"epsilon": 0.5, "delta": 0.01})
    loose = replace(model, manifest=model.manifest.model_copy(update={"privacy": stated}))
    with pytest.raises(GuardError, match="the privacy risk: no report tells of it"):
        guard.release(loose, None, to="a registry")
    monkeypatch.setenv("SYNTH_POLICY", "critical")
    with pytest.raises(GuardError, match=r"epsilon is 0\.5 at delta 0\.01, at most 1 at 1e-05"):
        guard.release(loose, None, to="a registry")


def test_an_identifier_that_the_policy_names_must_be_made_anew(folder, model, monkeypatch):
    (folder / "policy.json").write_text(json.dumps({"level": "low", "identifiers": ["city"]}))
    monkeypatch.setenv("SYNTH_POLICY", "policy.json")
    with pytest.raises(GuardError, match="learns identifiers: city"):
        guard.release(model, of(model, GOOD), to="x")
    with pytest.raises(GuardError, match="learns identifiers: city"):
        synth.fit(TABLE, generator="tabular.independent", seed=0, schema=model.schema)
    with pytest.raises(GuardError, match="learns identifiers: city"):
        synth.fit(Dataset({"table": TABLE}, model.schema), generator="tabular.independent", seed=0)
    with pytest.raises(GuardError, match="learns identifiers: city"):
        tune(Dataset({"table": TABLE}, model.schema), generator="tabular.independent", space={})
    assert not told(folder, "spend")


@pytest.mark.parametrize(
    ("words", "label"),
    [
        (["train", "--model", "m", *INDEPENDENT], "fit tabular.independent"),
        pytest.param(
            ["train", "--model", "m", *TINY_VAE, "--monitor-every", "1"],
            "fit tabular.vae",
            marks=pytest.mark.skipif(find_spec("torch") is None, reason="the extra torch is not installed"),
        ),
        (["tune", "--study", "study.json", *INDEPENDENT], "tune tabular.independent"),
        (["shadow-audit", "--report", "r.json", *INDEPENDENT], "shadow audit of tabular.independent"),
        (["run", "--output", "out", "--auto-optimize", "{}", "--gate", '{"min_quality": 0.1}'], "auto_optimize"),
    ],
)
def test_what_a_profile_alone_tells_is_asked_before_anything_else_is_done_with_the_rows(
    folder, monkeypatch, words, label, capsys
):
    held_to(folder, monkeypatch, level="low", identifiers=["city"])
    assert main([*words, "--data", "t.csv"]) == 3
    said = capsys.readouterr().err
    assert f"does not allow {label}, by its profile: the model learns identifiers: city" in said
    *before, last = [line["passed"] for line in told(folder, "guard")]  # what needs no rows, and the rest
    assert (set(before), last) == ({True}, False)
    assert not told(folder, "fit")


def test_the_step_that_optimizes_asks_the_policy_before_it_reads(folder, monkeypatch):
    monkeypatch.setenv("SYNTH_POLICY", "critical")
    asked = OptimizedTrainConfig(gate=GateConfig(min_quality=0.1))
    with pytest.raises(GuardError, match="has no epsilon"):
        auto_optimize(asked, data=folder / "absent.csv", model=folder / "m", search=folder / "s.json")


def test_the_names_of_a_table_are_held_to_the_policy_before_its_rows_are_profiled(folder, monkeypatch):
    held_to(folder, monkeypatch, quasi_identifiers=["twon"])
    with pytest.raises(GuardError, match="has no column 'twon'"):
        synth.fit(TABLE, generator="tabular.independent", seed=0)
    assert not told(folder, "spend")


K3 = {"level": "high", "quasi_identifiers": ["city"], "sensitive": {"age": "high"}, "k": 3, "l": 3, "t": 0.1}
EVEN = TABLE  # Rome and Oslo hold each age ten times


def held_to(folder, monkeypatch, **policy):
    (folder / "policy.json").write_text(json.dumps(policy))
    monkeypatch.setenv("SYNTH_POLICY", "policy.json")


@pytest.mark.parametrize(
    ("table", "missed"),
    [
        (EVEN, ()),
        (pd.concat([EVEN, pd.DataFrame({"city": ["Bern"] * 2, "age": [1, 2]})]), ("k", "l", "t")),
        (EVEN[(EVEN["city"] == "Rome") | (EVEN["age"] < 3)], ("l", "t")),
        (pd.concat([EVEN, pd.DataFrame({"city": ["Rome"] * 20, "age": [3] * 20})]), ("t",)),
        (EVEN.rename(columns={"city": "town"}), ("the table has no column 'city'",)),
    ],
)
def test_a_released_table_has_the_k_l_and_t_of_the_policy(folder, monkeypatch, model, table, missed):
    held_to(folder, monkeypatch, **K3)
    if not missed:
        found = guard.release(model, of(model, GOOD, table), to="x", table=table, what="table")
        assert [one.told.partition(":")[0] for one in found if one.check == "k, l and t"] == [
            "k_anonymity",
            "l_diversity of 'age'",
            "t_closeness of 'age'",
        ]
        assert {one.state for one in found} == {"passed"}
        return
    with pytest.raises(GuardError) as raised:
        guard.release(model, of(model, GOOD, table), to="x", table=table, what="table")
    assert raised.value.checks == ("k, l and t",) * len(missed)
    names = {"k": "k_anonymity:", "l": "l_diversity of", "t": "t_closeness of"}
    assert all(names.get(one, one) in str(raised.value) for one in missed)


def test_a_table_that_is_not_at_hand_is_not_released_under_a_policy_with_k_and_a_model_promises_none(
    folder, monkeypatch, model
):
    held_to(folder, monkeypatch, **K3)
    with pytest.raises(GuardError, match="measured on the released table"):
        guard.release(model, of(model, GOOD), to="x", what="table")
    assert states(guard.release(model, of(model, GOOD), to="x"))["k, l and t"] == "not asked"
    assert any("not asked" in one for one in told(folder, "guard")[-1]["checks"])


@pytest.mark.parametrize("diversity", ["entropy", "recursive"])
def test_l_is_measured_as_the_policy_means_it(folder, monkeypatch, model, diversity):
    held_to(folder, monkeypatch, **{**K3, "diversity": diversity, "c": 1.5})
    guard.release(model, of(model, GOOD, EVEN), to="x", table=EVEN, what="table")
    some = EVEN[(EVEN["age"] == 1) | (EVEN.index % 3 == 0)]  # each age is there; one is far commoner
    skewed = pd.concat([EVEN, *[some] * 9])
    with pytest.raises(GuardError, match="l_diversity"):
        guard.release(model, of(model, GOOD, skewed), to="x", table=skewed, what="table")


def test_what_a_policy_needs_declared_is_asked_before_rows_are_read(folder, monkeypatch, model, capsys):
    train = ["train", "--data", "t.csv", "--model", "model", *INDEPENDENT]
    for policy in ({"k": 5}, {"layers": ["t_closeness"]}, {"level": "low", "l": 2}):
        held_to(folder, monkeypatch, **policy)
        assert main(train) == 3
        assert "names no quasi_identifiers" in capsys.readouterr().err
    held_to(folder, monkeypatch, quasi_identifiers=["twon"], sensitive={"age": "low"})
    with pytest.raises(GuardError, match="the schema has no column 'twon'"):
        synth.fit(TABLE, generator="tabular.independent", schema=model.schema, seed=0)
    assert not told(folder, "spend")
    held_to(folder, monkeypatch, level="high")  # a level alone says by no column how to count
    assert main(train) == 0


@pytest.fixture(scope="module")
def judged():
    return evaluate(TABLE, TABLE, TABLE, config=PrivacyConfig(attacks=(), replicates=10))


def test_the_gate_holds_a_table_to_thresholds_and_to_the_policy(folder, judged, monkeypatch, capsys):
    (folder / "r.json").write_text(json.dumps(judged.to_json()))
    words = ["gate", "--report", "r.json", "--max-risk", "1", "--quiet"]
    columns = ["--quasi-identifiers", '["city"]', "--sensitive", '["age"]']
    asks = ["--min-k", "30", "--min-l", "3", "--max-t", "0.01"]
    assert main([*words, *asks, *columns, "--data", "t.csv"]) == 0
    assert main([*words, "--min-k", "31", "--min-l", "4", "--data", "t.csv", *columns]) == 3
    told_by = capsys.readouterr().err
    assert "k by city is 30, at least 31" in told_by
    assert "l of 'age' by city is 3, at least 4" in told_by
    for lacking in (columns, ["--data", "t.csv"], ["--data", "t.csv", *columns[:2], "--max-t", "0.5"]):
        assert main([*words, "--min-k", "5", *lacking]) == 2
    uneven = TABLE.assign(age=TABLE["age"].where(TABLE["city"] == "Oslo", 3))
    uneven.to_csv("uneven.csv", index=False)
    of_uneven = replace(judged, judged=Judged(rows=digest_of(uneven)))
    (folder / "r.json").write_text(json.dumps(of_uneven.to_json()))
    assert main([*words, "--max-t", "0.1", *columns, "--data", "uneven.csv"]) == 3
    assert "t of 'age' by city" in capsys.readouterr().err
    held_to(folder, monkeypatch, **K3)  # the policy asks for the report's evidence, too, which is not there
    assert main([*words, "--data", "uneven.csv"]) == 3
    assert "l_diversity of 'age': wanted 3" in capsys.readouterr().err
    (folder / "r.json").write_text(json.dumps(judged.to_json()))
    assert main([*words, "--min-k", "31", "--data", "t.csv"]) == 3  # by the policy's columns
    assert "k by city is 30" not in capsys.readouterr().err  # the policy refused first


def test_turning_the_guard_off_stands_in_the_trail(folder, model, monkeypatch, caplog):
    monkeypatch.setenv("SYNTH_POLICY", "off")
    assert guard.release(model, of(model, {**GOOD, "privacy.risk": 0.9}), to="x") == ()
    synth.fit(TABLE, generator="tabular.independent", seed=0)
    assert [line["of"] for line in told(folder, "guard_off")] == ["release to x", "fit tabular.independent"]
    assert "the privacy guard is off" in caplog.text


def test_a_fit_with_the_guard_off_is_told_of_without_a_trail_too(monkeypatch, caplog):
    monkeypatch.setenv("SYNTH_POLICY", "off")
    monkeypatch.delenv("SYNTH_AUDIT", raising=False)
    guard.admit(None, None, label="fit tabular.independent")
    assert "the privacy guard is off: nothing was asked of fit tabular.independent" in caplog.text


def test_a_policy_that_is_no_file_or_no_policy_is_refused(folder, model, monkeypatch):
    monkeypatch.setenv("SYNTH_POLICY", "highest")
    with pytest.raises(DataError, match="there is no policy file"):
        guard.release(model, of(model, GOOD), to="x")
    (folder / "highest").write_text("{}")
    (folder / "policy.json").write_text('{"levle": "high"}')
    monkeypatch.setenv("SYNTH_POLICY", "policy.json")
    with pytest.raises(ConfigError, match="levle"):
        guard.release(model, of(model, GOOD), to="x")


@pytest.fixture
def served(folder, model, monkeypatch):
    """Return a function that starts the service of a model, up to where it would listen: its exit status."""
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    listening = []
    monkeypatch.setattr("synth_components.service.command.run", lambda *_: listening.append(True))
    monkeypatch.setattr("synth_components.service.command.leave", lambda: None)
    model.save(folder / "model")

    def start(*words):
        listening.clear()
        status = main(["serve", *(words if words and words[0] == "smote" else ("model", *words))])
        assert bool(listening) == (status == 0)
        return status

    return start


def reported(folder, model, judged, risk):
    """Write a report that tells of a privacy risk and of copies, and return its name."""
    says = [replace(judged.scores[0], name=name, value=value) for name, value in {**GOOD, "privacy.risk": risk}.items()]
    made = replace(judged, scores=tuple(says), judged=Judged(model.fingerprint))
    (folder / "report.json").write_text(json.dumps(made.to_json()))
    return "report.json"


def test_a_service_asks_the_guard_before_it_listens(folder, model, served, judged, capsys):
    good = ["--report", reported(folder, model, judged, 0.05)]
    assert served() == 0  # unproven, as of every release without a policy
    assert "not proven for release to the callers of 127.0.0.1" in capsys.readouterr().err
    assert served("--policy", "high") == 3
    assert "no report tells of it" in capsys.readouterr().err
    assert served(*good) == served("--policy", "high", *good) == 0
    held = {"level": "high", "quasi_identifiers": ["city"], "k": 3}
    (folder / "policy.json").write_text(json.dumps(held))
    assert served("--policy", "policy.json", *good) == 3  # nobody has measured rows that are yet to be drawn
    assert "measured on the released table" in capsys.readouterr().err
    bad = ["--report", reported(folder, model, judged, 0.31)]
    assert served(*bad) == served("--policy", "high", *bad) == 3
    assert "0.31, at most 0.3" in capsys.readouterr().err
    assert served("--policy", "off", *bad) == 0
    assert [line["passed"] for line in told(folder, "guard")] == [True, False, True, True, False, False, False]
    assert [line["of"] for line in told(folder, "guard_off")] == ["release to the callers of 127.0.0.1"]


def test_a_service_whose_answers_may_repeat_rows_has_its_guard_off_and_is_not_under_a_policy(folder, served, capsys):
    synth.fit(TABLE, generator="tabular.smote", seed=0, options={"keep_rows": True}).save(folder / "smote")
    assert served("smote") == 2
    assert served("smote", "--allow-rows", "true") == 0
    assert [line["of"] for line in told(folder, "guard_off")] == ["release to the callers of 127.0.0.1"]
    assert served("smote", "--allow-rows", "true", "--policy", "low") == 3
    assert "holds training rows" in capsys.readouterr().err


def test_drawing_rows_is_no_release_for_evidence_is_measured_on_what_was_drawn(folder, model, monkeypatch):
    monkeypatch.setenv("SYNTH_POLICY", "critical")
    model.save(folder / "model")
    assert main(["sample", "--model", "model", "--synthetic", "drawn.csv", "--num-rows", "5", "--quiet"]) == 0
    assert not told(folder, "guard")
