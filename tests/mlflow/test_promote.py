"""``promote``: an alias moves only to a version whose logged scores reach the thresholds (requirement 27)."""

import itertools
import json
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import MetricThreshold

import mlflow_flavor
import synth_components as synth
from mlflow_flavor.gate import PromoteConfig
from mlflow_flavor.gate import promote as step
from mlflow_flavor.promote import TAG, promote
from mlflow_flavor.report import is_score, log_artifacts, log_report, metrics_of
from synth_components.__main__ import GROUP, main
from synth_components.config import ConfigError
from synth_components.errors import ThresholdError
from synth_components.evaluation import PrivacyConfig, evaluate
from synth_components.evaluation.judged import Judged
from synth_components.io.artifact import Statement
from synth_components.protocols import Score
from synth_components.steps.gate import GateConfig

NAMES = (f"gated{number}" for number in itertools.count())


def at_least(value, **change):
    return MetricThreshold(threshold=value, greater_is_better=True, **change)


def at_most(value):
    return MetricThreshold(threshold=value, greater_is_better=False)


@pytest.fixture(scope="module")
def fitted(table):
    return synth.fit(table[["age", "sex"]], generator="tabular.independent", seed=0)


@pytest.fixture(scope="module")
def report(fitted, table):
    """A report that names the model; its scores are not those that the tests log."""
    columns = table[["age", "sex"]]
    made = evaluate(columns, columns, fitted.sample(200, seed=0), config=PrivacyConfig(attacks=(), replicates=10))
    return replace(made, judged=Judged(fitted.fingerprint))


@pytest.fixture
def register(fitted, report):
    """Registers a version with metrics and a report, and returns its number; all of one name, each test has its own."""
    name = next(NAMES)

    def registered(**metrics):
        with mlflow.start_run():
            info = mlflow_flavor.log_model(fitted, name="g", registered_model_name=name)
            scores = {key.replace("__", "."): value for key, value in metrics.items()}
            mlflow.log_metrics(scores, model_id=info.model_id)
            mlflow.log_dict(report.to_json(), "report.json")
        registered.model_ids[info.registered_model_version] = info.model_id
        return info.registered_model_version

    registered.name, registered.model_ids = name, {}
    return registered


def holder(name, alias="champion"):
    version = MlflowClient().get_registered_model(name).aliases.get(alias)
    return None if version is None else int(version)


def tags(name, version):
    return {k: v for k, v in MlflowClient().get_model_version(name, version).tags.items() if k.startswith(TAG)}


def test_r27_a_version_that_reaches_every_threshold_gets_the_alias_and_tags_that_say_why(register):
    version = register(fidelity__shape=0.93, privacy__copies=0.0)
    decision = promote(
        register.name, version, {"fidelity.shape": at_least(0.9), "privacy.copies": at_most(0.01)}, alias="champion"
    )
    assert decision.passed
    assert decision.missed == ()
    assert holder(register.name) == version
    kept = tags(register.name, version)
    assert kept == {
        "synth.gate.champion": "passed",
        "synth.gate.champion/fidelity.shape": "passed: 0.93. Threshold: 0.9. Greater value is better.",
        "synth.gate.champion/privacy.copies": "passed: 0. Threshold: 0.01. Lower value is better.",
    }


def test_what_is_asked_of_a_table_is_not_asked_of_a_version(register):
    with pytest.raises(ConfigError, match=r"min_k is asked of a table.*gate --data"):
        promote(register.name, register(privacy__copies=0.0), GateConfig(min_k=3))


def test_r27_a_version_that_misses_a_threshold_is_tagged_and_the_alias_stays(register):
    first = register(fidelity__shape=0.93, privacy__copies=0.0)
    second = register(fidelity__shape=0.95, privacy__copies=0.2)
    thresholds = {"fidelity.shape": at_least(0.9), "privacy.copies": at_most(0.01)}
    assert promote(register.name, first, thresholds).passed
    decision = promote(register.name, second, thresholds)
    assert not decision.passed
    assert holder(register.name) == first
    kept = tags(register.name, second)
    assert kept["synth.gate.champion"] == "failed"
    assert kept["synth.gate.champion/fidelity.shape"].startswith("passed: 0.95")
    assert kept["synth.gate.champion/privacy.copies"].startswith("failed: ")
    assert "privacy.copies = 0.2" in kept["synth.gate.champion/privacy.copies"]
    assert decision.missed == (kept["synth.gate.champion/privacy.copies"],)


def test_r27_a_metric_that_was_never_logged_fails(register):
    version = register(fidelity__shape=0.93)
    decision = promote(register.name, version, {"privacy.copies": at_most(0.01)})
    assert not decision.passed
    assert "missing" in decision.missed[0]
    assert holder(register.name) is None


class Counted(MlflowClient):
    writes = 0

    def set_model_version_tag(self, *args, **kwargs):
        Counted.writes += 1
        return super().set_model_version_tag(*args, **kwargs)

    def delete_model_version_tag(self, *args, **kwargs):
        Counted.writes += 1
        return super().delete_model_version_tag(*args, **kwargs)

    def set_registered_model_alias(self, *args, **kwargs):
        Counted.writes += 1
        return super().set_registered_model_alias(*args, **kwargs)


@pytest.mark.parametrize("limit", [0.9, 0.99])
def test_r27_to_decide_again_changes_nothing(register, monkeypatch, limit):
    before = register(fidelity__shape=0.8)
    version = register(fidelity__shape=0.93)
    MlflowClient().set_registered_model_alias(register.name, "champion", before)
    thresholds = {"fidelity.shape": at_least(limit, min_absolute_change=0.05)}
    first = promote(register.name, version, thresholds)
    kept, meant = tags(register.name, version), holder(register.name)
    monkeypatch.setattr("mlflow_flavor.promote.MlflowClient", Counted)
    monkeypatch.setattr(Counted, "writes", 0)
    assert promote(register.name, version, thresholds) == first
    assert (tags(register.name, version), holder(register.name), Counted.writes) == (kept, meant, 0)


def test_r27_a_later_decision_leaves_no_tag_of_an_earlier_one(register):
    version = register(fidelity__shape=0.93, privacy__copies=0.0)
    promote(register.name, version, {"privacy.copies": at_most(0.01)})
    promote(register.name, version, {"fidelity.shape": at_least(0.9)})
    assert set(tags(register.name, version)) == {"synth.gate.champion", "synth.gate.champion/fidelity.shape"}


def test_the_gates_of_two_aliases_are_tagged_apart(register):
    version = register(fidelity__shape=0.93)
    promote(register.name, version, {"fidelity.shape": at_least(0.9)}, alias="staging")
    promote(register.name, version, {"fidelity.shape": at_least(0.99)}, alias="champion")
    kept = tags(register.name, version)
    assert (kept["synth.gate.staging"], kept["synth.gate.champion"]) == ("passed", "failed")
    assert (holder(register.name, "staging"), holder(register.name)) == (version, None)


def test_a_change_is_measured_against_the_version_that_has_the_alias(register):
    first = register(fidelity__shape=0.90, privacy__copies=0.0)
    second = register(fidelity__shape=0.92)
    third = register(fidelity__shape=0.96)
    promote(register.name, first, {"fidelity.shape": at_least(0.8)})
    better = {"fidelity.shape": at_least(0.8, min_absolute_change=0.05)}
    assert not promote(register.name, second, better).passed
    decision = promote(register.name, third, better)
    assert decision.passed
    assert decision.baseline == str(first)
    assert tags(register.name, third)["synth.gate.champion.baseline"] == str(first)
    assert holder(register.name) == third


def test_a_decision_without_a_change_leaves_the_baseline_of_the_version_that_has_the_alias(register):
    first = register(fidelity__shape=0.90)
    second = register(fidelity__shape=0.96)
    absolute = {"fidelity.shape": at_least(0.8)}
    better = {"fidelity.shape": at_least(0.8, min_absolute_change=0.05)}
    promote(register.name, first, absolute)
    decisions = [promote(register.name, second, asked) for asked in (better, absolute, better)]
    assert [decision.passed for decision in decisions] == [True, True, True]
    assert [decision.baseline for decision in decisions] == [str(first)] * 3
    assert tags(register.name, second)["synth.gate.champion"] == "passed"


def test_a_change_asked_for_after_the_alias_was_given_without_one_is_measured_against_the_version_before(register):
    first = register(fidelity__shape=0.90)
    second = register(fidelity__shape=0.96)
    for version in (first, second):
        promote(register.name, version, {"fidelity.shape": at_least(0.8)})
    decision = promote(register.name, second, {"fidelity.shape": at_least(0.8, min_absolute_change=0.05)})
    assert (decision.passed, decision.baseline) == (True, str(first))


def test_a_change_of_the_first_version_that_has_the_alias_is_refused_and_leaves_its_tags(register):
    version = register(fidelity__shape=0.90)
    promote(register.name, version, {"fidelity.shape": at_least(0.8)})
    before = tags(register.name, version)
    with pytest.raises(ConfigError, match="nothing that a change could be measured against"):
        promote(register.name, version, {"fidelity.shape": at_least(0.8, min_absolute_change=0.05)})
    assert tags(register.name, version) == before
    assert before["synth.gate.champion"] == "passed"


def test_a_version_that_lost_the_alias_does_not_keep_its_baseline(register):
    versions = [register(fidelity__shape=value) for value in (0.90, 0.96, 0.97)]
    absolute = {"fidelity.shape": at_least(0.8)}
    promote(register.name, versions[0], absolute)
    promote(register.name, versions[1], {"fidelity.shape": at_least(0.8, min_absolute_change=0.05)})
    promote(register.name, versions[2], absolute)
    promote(register.name, versions[1], absolute)
    assert tags(register.name, versions[1])["synth.gate.champion.baseline"] == str(versions[2])


def test_a_change_without_anything_to_compare_with_fails(register):
    version = register(fidelity__shape=0.96)
    decision = promote(register.name, version, {"fidelity.shape": at_least(0.8, min_absolute_change=0.05)})
    assert not decision.passed
    assert "baseline" in decision.missed[0]


def test_a_metric_that_the_baseline_lacks_can_still_be_held_against_a_threshold(register):
    first = register(fidelity__shape=0.90)
    second = register(fidelity__shape=0.96, privacy__copies=0.0)
    promote(register.name, first, {"fidelity.shape": at_least(0.8)})
    thresholds = {"fidelity.shape": at_least(0.8, min_absolute_change=0.05), "privacy.copies": at_most(0.01)}
    assert promote(register.name, second, thresholds).passed


def test_the_latest_value_of_a_metric_counts(register, report):
    version = register(fidelity__shape=0.5)
    model_id = register.model_ids[version]
    with mlflow.start_run():
        mlflow.log_metrics({"fidelity.shape": 0.95}, model_id=model_id, timestamp=4_000_000_000_000)
        mlflow.log_dict(report.to_json(), "report.json")
    assert promote(register.name, version, {"fidelity.shape": at_least(0.9)}).passed


def test_the_alias_is_not_taken_away_from_a_version_that_fails_later(register):
    version = register(fidelity__shape=0.93)
    promote(register.name, version, {"fidelity.shape": at_least(0.9)})
    assert not promote(register.name, version, {"fidelity.shape": at_least(0.99)}).passed
    assert holder(register.name) == version
    assert tags(register.name, version)["synth.gate.champion"] == "failed"


def test_the_options_of_synth_gate_hold_for_every_column(register, fitted, report):
    version = register(overall=0.9)
    model_id = register.model_ids[version]
    with mlflow.start_run():
        scores = {"fidelity.marginal.ks/age": 0.95, "fidelity.marginal.ks/score": 0.6, "privacy.copies": 0.5}
        mlflow.log_metrics(scores, model_id=model_id)
        mlflow.log_dict(report.to_json(), "report.json")
    config = GateConfig(
        min_quality=0.8,
        min_scores={"fidelity.marginal.ks": 0.9, "privacy.copies": 0.1},
        max_scores={"privacy.copies": 0.2},
    )
    decision = promote(register.name, version, config)
    assert {metric: reason.partition(":")[0] for metric, reason in decision.reasons.items()} == {
        "overall": "passed",
        "fidelity.marginal.ks/age": "passed",
        "fidelity.marginal.ks/score": "failed",
        "privacy.copies": "failed",
    }


@pytest.mark.parametrize(("stated", "passes"), [(0.5, True), (1.0, True), (1.5, False), (None, False)])
def test_r27_max_epsilon_is_held_against_what_the_model_states_whatever_a_run_logged(fitted, stated, passes):
    manifest = fitted.manifest.model_copy(update={"privacy": Statement(epsilon=stated, theorem="some")})
    name = next(NAMES)
    with mlflow.start_run():
        private = replace(fitted, manifest=manifest)
        info = mlflow_flavor.log_model(private, name="g", registered_model_name=name)
        mlflow.log_metric("epsilon", 2.0 if passes else 0.1, model_id=info.model_id)
    decision = promote(name, 1, GateConfig(max_epsilon=1.0))
    assert decision.passed == passes
    assert holder(name) == (1 if passes else None)
    told = tags(name, 1)["synth.gate.champion/epsilon"]
    assert ("not bounded by the model" if stated is None else f"{stated:g}") in told
    assert promote(name, 1, {"epsilon": at_most(1.0)}, alias="mapped").passed == passes


def test_the_risk_is_held_against_the_default_of_synth_gate(register):
    version = register(privacy__risk=0.5, fidelity__shape=0.95)
    decision = promote(register.name, version, GateConfig(min_scores={"fidelity.shape": 0.9}))
    assert {metric: reason.partition(":")[0] for metric, reason in decision.reasons.items()} == {
        "fidelity.shape": "passed",
        "privacy.risk": "failed",
    }


def test_r27_an_evaluation_is_all_that_promote_needs(table, register, quick):
    version = register()
    with mlflow.start_run():
        result = mlflow.models.evaluate(
            f"models:/{register.name}/{version}",
            table[["age", "sex"]][:200],
            model_type="synthetic-tabular",
            evaluators="synthetic",
            evaluator_config={"train": table[["age", "sex"]][200:], **quick},
        )
    thresholds = {name: at_least(value) for name, value in result.metrics.items()}
    assert promote(register.name, version, thresholds).passed
    assert holder(register.name) == version


@pytest.mark.parametrize("thresholds", [{}, GateConfig()])
def test_a_gate_without_a_threshold_is_refused(register, thresholds):
    version = register(fidelity__shape=0.93)
    with pytest.raises(ConfigError, match="no threshold"):
        promote(register.name, version, thresholds)
    assert tags(register.name, version) == {}


def test_a_threshold_that_is_a_bare_number_is_refused(register):
    with pytest.raises(ConfigError, match="MetricThreshold"):
        promote(register.name, register(a=1.0), {"a": 0.5})


@pytest.mark.parametrize(
    "limit",
    [
        at_least(float("nan")),
        at_most(float("inf")),
        at_least(float("-inf")),
        at_least(0.5, min_absolute_change=float("nan")),
        at_least(0.5, min_relative_change=float("nan")),
    ],
)
def test_r27_a_threshold_that_nothing_misses_is_refused(register, limit):
    version = register(fidelity__shape=0.1)
    with pytest.raises(ConfigError, match=r"'fidelity\.shape' must be a finite number"):
        promote(register.name, version, {"privacy.copies": at_most(0.01), "fidelity.shape": limit})
    assert tags(register.name, version) == {}
    assert holder(register.name) is None


def test_an_unknown_version_is_refused(register):
    register(fidelity__shape=0.93)
    with pytest.raises(MlflowException, match="not found"):
        promote(register.name, 99, {"fidelity.shape": at_least(0.9)})


def test_a_version_without_a_logged_model_is_refused(fitted, tmp_path):
    name = next(NAMES)
    mlflow_flavor.save_model(fitted, tmp_path / "m")
    MlflowClient().create_registered_model(name)
    version = MlflowClient().create_model_version(name, source=(tmp_path / "m").as_uri()).version
    with pytest.raises(MlflowException, match="saved, not logged"):
        promote(name, version, {"fidelity.shape": at_least(0.9)})


def test_the_step_passes_or_raises_for_exit_status_3(register):
    version = register(overall=0.9)
    options = {"name": register.name, "version": version}
    with pytest.raises(ThresholdError, match="'champion' was not moved"):
        step(PromoteConfig(**options, min_quality=0.95))
    assert holder(register.name) is None
    step(PromoteConfig(**options, min_quality=0.85))
    assert holder(register.name) == version


@pytest.mark.skipif(
    not entry_points(group=GROUP, name="mlflow"),
    reason="installed before the commands were declared; install the package again",
)
def test_the_command_has_the_options_of_synth_gate_and_ends_with_status_3_on_a_miss(register, capsys):
    version = register(overall=0.9, privacy__copies=0.0)
    words = ["mlflow", "promote", "--quiet", "--name", register.name, "--version", str(version)]
    assert main([*words, "--min-quality", "0.95"]) == 3
    assert "'champion' was not moved" in capsys.readouterr().err
    assert main([*words]) == 2  # no threshold
    assert holder(register.name) is None
    assert main([*words, "--min-quality", "0.8", "--max-scores", '{"privacy.copies": 0.01}']) == 0
    assert holder(register.name) == version


@pytest.mark.parametrize(
    "alias", ["latest", "LATEST", "v1", "V22", "champion.baseline", "champion/fidelity.shape", "", "a b", "a" * 256]
)
def test_r27_an_alias_that_mlflow_refuses_is_refused_before_any_tag(register, alias):
    version = register(fidelity__shape=0.93)
    with pytest.raises(ConfigError, match="alias"):
        promote(register.name, version, {"fidelity.shape": at_least(0.9)}, alias=alias)
    assert tags(register.name, version) == {}


@pytest.mark.parametrize("alias", ["v1a", "vip", "latest2", "größe", "a-b_c"])
def test_r27_an_alias_that_mlflow_takes_is_taken(register, alias):
    version = register(fidelity__shape=0.93)
    assert promote(register.name, version, {"fidelity.shape": at_least(0.9)}, alias=alias).passed
    assert holder(register.name, alias) == version


class Refusing(MlflowClient):
    def set_registered_model_alias(self, *args, **kwargs):
        raise MlflowException("no right to move an alias")


def test_r27_no_tag_says_passed_of_an_alias_that_the_server_refused_to_move(register, monkeypatch):
    version = register(fidelity__shape=0.93)
    with monkeypatch.context() as patch:
        patch.setattr("mlflow_flavor.promote.MlflowClient", Refusing)
        with pytest.raises(MlflowException, match="no right"):
            promote(register.name, version, {"fidelity.shape": at_least(0.9)})
    assert "synth.gate.champion" not in tags(register.name, version)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_r27_a_score_that_is_not_finite_fails(register, value):
    version = register(privacy__copies=value)
    for threshold in (at_most(0.01), at_least(-1.0)):
        decision = promote(register.name, version, {"privacy.copies": threshold})
        assert decision.missed == ("failed: privacy.copies is not a finite number",)
    assert holder(register.name) is None


def test_a_baseline_that_is_not_finite_is_none_to_compare_with(register):
    first, second = register(fidelity__shape=float("nan")), register(fidelity__shape=0.96)
    MlflowClient().set_registered_model_alias(register.name, "champion", first)
    assert not promote(register.name, second, {"fidelity.shape": at_least(0.8, min_absolute_change=0.05)}).passed


@pytest.mark.skipif(
    not entry_points(group=GROUP, name="mlflow"),
    reason="installed before the commands were declared; install the package again",
)
def test_the_command_says_which_version_the_alias_means(register, capsys):
    version = register(overall=0.9)
    words = ["mlflow", "promote", "--name", register.name, "--version", str(version), "--min-quality", "0.8"]
    assert main(words) == 0
    assert f"models:/{register.name}@champion is version {version}" in capsys.readouterr().err


def test_a_version_that_holds_rows_gets_no_alias(register):
    version = register(overall=0.9)
    location = MlflowClient().get_logged_model(register.model_ids[version]).artifact_location.removeprefix("file://")
    manifest = Path(location, "model", "manifest.json")  # as in a version from before such models were refused
    held = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**held, "holds_rows": True}))
    decision = promote(register.name, version, {"overall": at_least(0.5)})
    assert not decision.passed
    assert "holds training rows" in decision.reasons["guard"]
    assert holder(register.name) is None


@pytest.mark.parametrize("scores", [{"privacy.copies": 0.0}, {"overall": 0.9}, {"fidelity.marginal.ks/age": 0.9}])
def test_an_alias_does_not_move_by_scores_that_no_report_tells(register, fitted, report, scores, monkeypatch):
    """A report from whose run the file was taken is no better than one that leaves out its model."""
    monkeypatch.delenv("SYNTH_POLICY", raising=False)
    version = register()
    model_id = register.model_ids[version]
    with mlflow.start_run() as run:
        mlflow.log_metrics(scores, model_id=model_id)
    asked = {name: at_least(0.0) for name in scores}
    decision = promote(register.name, version, asked)
    assert not decision.passed
    assert "does not name the model" in decision.reasons["guard"]
    assert holder(register.name) is None
    assert promote(register.name, version, asked, "let", allow_unnamed=True).passed
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.log_dict(report.to_json(), "report.json")
    assert promote(register.name, version, asked).passed


def test_metrics_that_are_no_scores_of_a_report_need_none(register):
    version = register()
    with mlflow.start_run():
        mlflow.log_metrics({"accuracy": 0.9, "overallness": 0.9}, model_id=register.model_ids[version])
    assert promote(register.name, version, {"accuracy": at_least(0.8), "overallness": at_least(0.8)}).passed


def test_every_metric_of_a_report_is_known_as_one_of_its_scores(table, fitted):
    columns = table[["age", "sex"]]
    whole = evaluate(columns[:200], columns[200:], fitted.sample(200, seed=0), target="sex")
    assert {name for name in metrics_of(whole) if not is_score(name)} == set()


def test_an_alias_moves_by_scores_of_reports_that_name_the_version_and_under_a_policy_by_no_others(
    fitted, table, monkeypatch
):
    name, columns = next(NAMES), table[["age", "sex"]]
    other = synth.fit(columns, generator="tabular.independent", seed=9)
    report = evaluate(columns, columns, fitted.sample(200, seed=0), config=PrivacyConfig(attacks=(), replicates=10))
    wanted = {"privacy.risk": 0.0, "privacy.copies": 0.0, "privacy.copies.bound": 0.1}
    wanted |= {"privacy.near_copies": 0.0, "privacy.near_copies.bound": 0.1}
    good = replace(report, scores=tuple(Score(key, value, None, 0.0, 0.0, 0.0) for key, value in wanted.items()))

    limit = {"privacy.risk": at_most(0.3)}

    def decided(judged, thresholds=limit, *, is_tagged=True):
        with mlflow.start_run() as run:
            info = mlflow_flavor.log_model(fitted, name="g", registered_model_name=name)
            log_report(replace(good, judged=Judged(fitted.fingerprint)), run.info.run_id)
            log_artifacts(replace(good, judged=judged), run.info.run_id)  # what lies in the run in the end
        if not is_tagged:
            mlflow.MlflowClient().delete_logged_model_tag(info.model_id, "synth.fingerprint")
        with monkeypatch.context() as patched:
            open_ = promote(name, info.registered_model_version, thresholds, alias="open")
            patched.setenv("SYNTH_POLICY", "medium")
            return open_, promote(name, info.registered_model_version, thresholds, alias="held")

    with monkeypatch.context() as patched:
        patched.setenv("SYNTH_POLICY", "")
        assert [one.passed for one in decided(Judged(fitted.fingerprint))] == [True, True]
        for decision in decided(Judged()):
            assert not decision.passed
            assert "does not name the model" in decision.reasons["guard"]
        allowed = GateConfig(max_risk=0.3, allow_unnamed=True)
        free, held = decided(Judged(), allowed)
        assert (free.passed, held.passed) == (True, False)
        for decision in decided(Judged(fitted.fingerprint), is_tagged=False):
            assert not decision.passed
            assert "has no tag synth.fingerprint" in decision.reasons["guard"]
        assert decided(Judged(fitted.fingerprint), allowed, is_tagged=False)[0].passed
        for decision in decided(Judged(other.fingerprint)):
            assert not decision.passed
            assert "evaluate again" in decision.reasons["guard"]
