"""A search for options in MLflow: what was asked, what was found, and a run for each trial, in a real store."""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("optuna", reason="the extra tune is not installed")

import mlflow_flavor
from mlflow_flavor.tuning import STATE, TrialLog
from synth_components.__main__ import main
from synth_components.errors import BudgetExceededError, UnsupportedError
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Budget, Dataset
from synth_components.schema import TABLE, Numeric, Schema
from synth_components.selection import tuning
from synth_components.selection.space import Range
from synth_components.selection.tuning import Trial

COPULA = "tabular.gaussian_copula"


@pytest.fixture(autouse=True)
def off():
    """Autologging is off again, whatever a test did."""
    yield
    mlflow_flavor.autolog(disable=True)


@pytest.fixture
def runs():
    """Return the run of a search that this test made, and those of its trials in order."""
    known = {run.info.run_id for run in mlflow.search_runs(output_format="list")}

    def found():
        made = [run for run in mlflow.search_runs(output_format="list") if run.info.run_id not in known]
        (above,) = [run for run in made if "mlflow.parentRunId" not in run.data.tags]
        nested = [run for run in made if run is not above]
        assert {run.data.tags["mlflow.parentRunId"] for run in nested} <= {above.info.run_id}
        return above, sorted(nested, key=lambda run: int(run.data.tags["synth.number"]))

    return found


@pytest.fixture(scope="module")
def rows():
    x = np.random.default_rng(0).normal(size=240)
    table = pd.DataFrame({"x": x, "y": 3 * x + np.random.default_rng(1).normal(size=240)})
    number = Numeric(low=-60.0, high=60.0, public=True)
    return Dataset({TABLE: table}, Schema({TABLE: {"x": number, "y": number}}))


def search(rows, **options):
    asked = {"generator": COPULA, "space": {"knots": Range(2, 60, is_whole=True, is_log=True)}, "trials": 3, "folds": 2}
    return tuning.tune(rows, **asked | options)


def test_a_search_is_a_run_with_what_was_asked_and_found_and_a_nested_run_per_trial(rows, runs):
    mlflow_flavor.autolog()
    found = search(rows, fixed={"min_category_count": 12})
    above, nested = runs()
    assert above.info.status == "FINISHED"
    asked = {"generator": COPULA, "aims": "['detection']", "trials": "3", "folds": "2", "seed": "0"}
    assert asked.items() <= above.data.params.items()
    assert json.loads(above.data.params["space.knots"]) == [2, 60]
    assert above.data.params["generator.knots"] == str(found.options["knots"])
    assert above.data.params["generator.min_category_count"] == "12"
    assert above.data.metrics["detection"] == found.values["detection"]
    study = mlflow.artifacts.load_dict(f"runs:/{above.info.run_id}/study.json")
    assert study == json.loads(json.dumps(found.to_json()))
    assert len(nested) == 3
    for run, trial in zip(nested, found.trials, strict=True):
        assert run.info.status == "FINISHED"
        assert run.data.tags[STATE] == "complete"
        assert run.data.params == {
            "generator": COPULA,
            "generator.knots": str(trial.options["knots"]),
            "generator.min_category_count": "12",
        }
        assert run.data.metrics["detection"] == pytest.approx(trial.values["detection"])
        history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "detection/fold")
        assert [point.value for point in history] == [fold["detection"] for fold in trial.folds]


def test_the_search_finds_the_same_as_without_logging_and_tells_the_caller(rows, runs):
    plain = search(rows)
    mlflow_flavor.autolog()
    told = []
    assert search(rows, on_trial=told.append) == plain
    assert told == list(plain.trials)
    assert len(runs()[1]) == 3


def test_a_search_within_a_run_goes_into_it_and_leaves_it_open(rows, runs):
    mlflow_flavor.autolog()
    with mlflow.start_run() as outer:
        search(rows, trials=1)
        assert mlflow.active_run().info.run_id == outer.info.run_id
    above, nested = runs()
    assert above.info.run_id == outer.info.run_id
    assert len(nested) == 1


def test_pruned_and_refused_trials_are_tagged_and_are_not_finished(runs):
    with mlflow.start_run() as run:
        log = TrialLog(run.info.run_id, COPULA)
        log.trial(Trial(0, {"knots": 3}, {}, "pruned", folds=({"detection": 0.2}, {"detection": 0.4})))
        log.trial(Trial(1, {"knots": 4}, {}, "failed", note="DataError"))
    _, (pruned, failed) = runs()
    assert (pruned.info.status, pruned.data.tags[STATE]) == ("KILLED", "pruned")
    history = mlflow.MlflowClient().get_metric_history(pruned.info.run_id, "detection")
    assert [(point.step, point.value) for point in history] == [(0, 0.2), (1, pytest.approx(0.3))]
    assert (failed.info.status, failed.data.tags[STATE]) == ("FAILED", "failed")
    assert failed.data.tags["synth.refused"] == "DataError"
    assert failed.data.metrics == {}
    assert failed.info.start_time >= pruned.info.end_time


def test_a_search_that_goes_on_logs_the_earlier_trials_too(rows, runs, tmp_path):
    search(rows, trials=2, state=tmp_path)
    mlflow_flavor.autolog()
    found = search(rows, trials=3, state=tmp_path)
    _, nested = runs()
    assert [run.data.params["generator.knots"] for run in nested] == [str(t.options["knots"]) for t in found.trials]


def test_under_a_budget_the_run_has_failed_and_holds_no_trial(rows, runs):
    mlflow_flavor.autolog()
    with pytest.raises(BudgetExceededError):
        search(rows, ledger=Ledger(Budget(1.0, 1e-6)))
    above, nested = runs()
    assert above.info.status == "FAILED"
    assert nested == []


def test_a_search_of_which_no_trial_ends_leaves_failed_runs(rows, runs):
    mlflow_flavor.autolog()
    with pytest.raises(UnsupportedError, match="no trial"):
        search(
            rows, generator="tabular.smote", space={"neighbours": Range(2, 4, is_whole=True, is_log=False)}, trials=1
        )
    above, nested = runs()
    assert above.info.status == "FAILED"
    assert [run.data.tags[STATE] for run in nested] == ["failed"]


def test_without_log_trials_nothing_is_logged(rows, runs):
    mlflow_flavor.autolog(log_trials=False)
    search(rows, trials=1)
    assert mlflow.active_run() is None
    with pytest.raises(ValueError, match="not enough values"):
        runs()


@pytest.mark.parametrize("name", ["log_params", "MlflowClient.create_run", "MlflowClient.log_batch", "start_run"])
def test_a_failure_of_mlflow_never_breaks_a_search(rows, monkeypatch, name):
    def broken(*_args, **_kwargs):
        raise RuntimeError("store away")

    mlflow_flavor.autolog(silent=True)
    monkeypatch.setattr(f"mlflow.{name}", broken)
    assert len(search(rows, trials=2).trials) == 2


def test_the_tracked_command_logs_trials_and_the_model_of_the_best_in_one_run(rows, runs, tmp_path):
    rows.table.to_csv(tmp_path / "t.csv", index=False)
    asked = ["--data", tmp_path / "t.csv", "--study", tmp_path / "s.json", "--model", tmp_path / "m", "--trials", "2"]
    asked += ["--folds", "2", "--generator", COPULA, "--parameters", "knots", "--quiet"]
    assert main(["mlflow", "tune", *map(str, asked)]) == 0
    above, nested = runs()
    best = json.loads((tmp_path / "s.json").read_text())["options"]["knots"]
    assert len(nested) == 2
    (output,) = above.outputs.model_outputs
    logged = mlflow.get_logged_model(output.model_id)
    assert logged.params["generator.knots"] == above.data.params["generator.knots"] == str(best)
    assert {"study.json", "run.json"} <= {one.path for one in mlflow.MlflowClient().list_artifacts(above.info.run_id)}


def test_auto_optimize_is_a_run_with_a_nested_one_per_round_and_no_model_of_a_round(rows, runs):
    from synth_components.evaluation.options import EvaluateConfig
    from synth_components.selection.optimizing import OptimizeConfig, auto_optimize

    quick = {"replicates": 10, "detector_rows": 60, "detector_folds": 2, "manifold_rows": 50, "attacks": ()}
    judged = EvaluateConfig(**quick, global_utility=False, min_quality=0.99)
    mlflow_flavor.autolog()
    told = []
    with mlflow.start_run():
        model, found = auto_optimize(
            rows.table,
            generator="tabular.independent",
            options={"knots": 50},
            config=OptimizeConfig(rounds=2),
            evaluate=judged,
            on_round=told.append,
        )
    above, nested = runs()
    assert told == list(found.rounds)
    assert len(nested) == 2
    assert [run.data.params["generator"] for run in nested] == [one.generator for one in found.rounds]
    assert [run.data.metrics["quality"] for run in nested] == [one.quality for one in found.rounds]
    assert "generator.knots" in nested[0].data.params
    assert "changed" not in nested[0].data.tags
    assert nested[1].data.tags["synth.changed"] == "; ".join(found.rounds[1].changed)
    assert all(run.outputs.model_outputs == [] for run in nested)
    assert above.data.params["generator"] == model.manifest.generator == found.best.generator
    assert above.data.metrics["quality"] == found.best.quality
    assert len(above.outputs.model_outputs) == 1  # the fit on all rows
    written = mlflow.artifacts.load_dict(f"runs:/{above.info.run_id}/optimization.json")
    assert written == json.loads(json.dumps(found.to_json()))
