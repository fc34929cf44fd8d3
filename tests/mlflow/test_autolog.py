import json
import sys
import time

import mlflow
import pytest
from mlflow.utils.autologging_utils import disable_autologging

import mlflow_flavor
import synth_components as synth
from mlflow_flavor import _mlflow as private
from mlflow_flavor import autolog as switch
from mlflow_flavor import autologging
from synth_components.generators import GROUP
from synth_components.generators.tabular.independent import Independent
from synth_components.protocols import Run

GENERATOR = "tabular.independent"


@pytest.fixture(autouse=True)
def off():
    """Autologging is off again, whatever a test did."""
    yield
    mlflow_flavor.autolog(disable=True)


@pytest.fixture
def runs():
    """Return the runs of this test, the newest first."""
    known = {run.info.run_id for run in all_runs()}
    return lambda: [run for run in all_runs() if run.info.run_id not in known]


def all_runs():
    return mlflow.search_runs(output_format="list")


def models_of(run):
    return [mlflow.get_logged_model(output.model_id) for output in run.outputs.model_outputs]


def fitted(table, **options):
    return synth.fit(table, generator=GENERATOR, seed=5, **options)


def test_r29_a_fit_leaves_params_progress_model_and_data_in_a_run_of_its_own(table, runs):
    mlflow_flavor.autolog()
    model = fitted(table, options={"knots": 20})
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "generator": GENERATOR,
        "generator.knots": "20",
        "generator.min_category_count": "10",
        "seed": "5",
    }
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "progress")
    assert [point.step for point in history] == list(range(1, 7))  # a column each
    assert history[-1].value == 1
    (logged,) = models_of(run)
    again = mlflow_flavor.load_model(f"models:/{logged.model_id}")
    assert again.sample(5, seed=1).equals(model.sample(5, seed=1))
    assert logged.tags["synth.generator"] == GENERATOR
    assert logged.model_type == "synthetic-tabular"
    assert {metric.key: metric.value for metric in logged.metrics} == {"progress": 1}
    (dataset,) = run.inputs.dataset_inputs
    assert model.manifest.data_digest.startswith(dataset.dataset.digest)


def test_r29_the_fit_is_the_same_as_without(table, runs):
    plain = fitted(table)
    mlflow_flavor.autolog()
    assert fitted(table).sample(20, seed=1).equals(plain.sample(20, seed=1))
    assert len(runs()) == 1


def test_r29_a_fit_within_a_run_goes_into_it_and_leaves_it_open(table, runs):
    mlflow_flavor.autolog()
    with mlflow.start_run() as outer:
        fitted(table)
        assert mlflow.active_run().info.run_id == outer.info.run_id
    (run,) = runs()
    assert run.info.run_id == outer.info.run_id
    assert len(models_of(run)) == 1


def test_r29_of_two_fits_in_a_run_each_model_has_params_tags_and_metadata_of_its_own(table, runs):
    mlflow_flavor.autolog()
    with mlflow.start_run():
        synth.fit(table, generator="tabular.independent", seed=5, options={"knots": 20})
        synth.fit(table, generator="tabular.gaussian_copula", seed=6)
    (run,) = runs()
    models = models_of(run)
    tagged = {model.tags["synth.generator"] for model in models}
    assert tagged == {"tabular.independent", "tabular.gaussian_copula"}
    for model in models:
        manifest = mlflow.models.get_model_info(model.model_uri).metadata["synth"]
        assert manifest["generator"] == model.tags["synth.generator"]
        assert model.params["generator"] == model.tags["synth.generator"]
        assert model.params["seed"] == str(manifest["seed"])
        assert ("generator.knots" in model.params) == (manifest["options"].get("knots") is not None)


def test_r29_a_recipe_is_logged_by_its_name(table, runs):
    mlflow_flavor.autolog(log_models=False)
    synth.fit(table, generator=Independent(knots=30), seed=1)
    (run,) = runs()
    assert run.data.params["generator"] == GENERATOR
    assert run.data.params["generator.knots"] == "30"


def test_r29_the_callers_own_watcher_still_hears_of_the_progress(table, runs):
    mlflow_flavor.autolog(log_models=False)
    heard = []
    fitted(table, run=Run(report=lambda done, total, **_: heard.append((done, total))))
    assert heard == [(done, 6) for done in range(1, 7)]
    assert len(runs()) == 1


def test_r29_without_log_models_and_log_datasets_neither_is_logged(table, runs):
    mlflow_flavor.autolog(log_models=False, log_datasets=False)
    fitted(table)
    (run,) = runs()
    assert run.outputs.model_outputs == []
    assert run.inputs.dataset_inputs == []
    assert run.data.metrics == {"progress": 1}


def test_r29_log_models_without_log_datasets_logs_no_dataset(table, runs):
    mlflow_flavor.autolog(log_datasets=False)
    fitted(table)
    (run,) = runs()
    assert len(run.outputs.model_outputs) == 1
    assert run.inputs.dataset_inputs == []


def test_r29_disable_logs_nothing(table, runs):
    mlflow_flavor.autolog()
    mlflow_flavor.autolog(disable=True)
    fitted(table)
    assert runs() == []


def test_r29_disable_autologging_logs_nothing_while_it_lasts(table, runs):
    mlflow_flavor.autolog(log_models=False)
    with disable_autologging():
        fitted(table)
    assert runs() == []
    fitted(table)
    assert len(runs()) == 1


@pytest.mark.parametrize(("rank", "logged"), [("0", 1), ("1", 0), ("7", 0)])
def test_r29_of_the_processes_of_torchrun_the_first_one_logs(table, runs, monkeypatch, rank, logged):
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("RANK", rank)
    mlflow_flavor.autolog(log_models=False)
    fitted(table)
    assert len(runs()) == logged


def test_r29_exclusive_stays_out_of_the_callers_run(table, runs):
    mlflow_flavor.autolog(log_models=False, exclusive=True)
    with mlflow.start_run():
        fitted(table)
    (outer,) = runs()
    assert outer.data.params == {}
    fitted(table)
    assert len(runs()) == 2


@pytest.mark.parametrize("silent", [True, False])
def test_r29_silent_hides_what_mlflow_says(table, runs, monkeypatch, capsys, silent):
    def broken(*_args, **_kwargs):
        raise RuntimeError("store away")

    mlflow_flavor.autolog(silent=silent)
    monkeypatch.setattr("mlflow.log_params", broken)
    fitted(table)
    assert ("store away" in capsys.readouterr().err) is not silent


def test_r29_extra_tags_and_the_registered_name_are_used(table, runs):
    mlflow_flavor.autolog(extra_tags={"team": "a"}, registered_model_name="autologged")
    fitted(table)
    (run,) = runs()
    assert run.data.tags["team"] == "a"
    assert run.data.tags["mlflow.autologging"] == "synthetic"
    (version,) = mlflow.MlflowClient().search_model_versions("name = 'autologged'")
    assert version.run_id == run.info.run_id


@pytest.mark.parametrize("name", ["log_params", "MlflowClient.log_inputs", "active_run"])
def test_r29_a_failure_of_mlflow_never_breaks_a_fit(table, runs, monkeypatch, name):
    def broken(*_args, **_kwargs):
        raise RuntimeError("store away")

    mlflow_flavor.autolog()
    monkeypatch.setattr(f"mlflow.{name}", broken)
    assert len(fitted(table).sample(3, seed=0)) == 3
    monkeypatch.undo()
    (run,) = runs()
    assert run.info.status == ("FAILED" if name == "active_run" else "FINISHED")
    assert len(run.outputs.model_outputs) == (0 if name == "active_run" else 1)


def test_r29_a_store_that_takes_no_metric_breaks_no_fit(table, runs, monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("store away")

    mlflow_flavor.autolog(log_models=False)
    monkeypatch.setattr(private.BatchMetricsLogger, "_timed_log_batch", broken)
    assert len(fitted(table).sample(3, seed=0)) == 3
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.data.params["seed"] == "5"


def test_r29_no_run_can_be_started_and_the_fit_goes_on(table, runs, monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("store away")

    mlflow_flavor.autolog()
    monkeypatch.setattr("mlflow.start_run", broken)
    assert len(fitted(table).sample(3, seed=0)) == 3
    assert runs() == []


def test_r29_a_failed_fit_ends_its_own_run_as_failed_and_raises_its_own_error(table, runs):
    mlflow_flavor.autolog()
    with pytest.raises(synth.errors.SchemaError, match="columns of its schema"):
        fitted(table, schema=synth.profile(table[["age"]]).schema)
    (run,) = runs()
    assert run.info.status == "FAILED"
    assert run.data.params["generator"] == GENERATOR
    assert mlflow.active_run() is None


def test_r29_a_failed_fit_leaves_the_callers_run_running(table, runs):
    mlflow_flavor.autolog()
    with mlflow.start_run() as outer:
        with pytest.raises(synth.errors.SynthError):
            fitted(table, options={"knot": 3})
        assert mlflow.active_run().info.run_id == outer.info.run_id
        mlflow.log_param("after", 1)
    (run,) = runs()
    assert run.info.status == "FINISHED"


def test_r29_an_interrupt_ends_the_run_as_failed(table, runs):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    mlflow_flavor.autolog()
    with pytest.raises(KeyboardInterrupt):
        fitted(table, run=Run(report=interrupted))
    (run,) = runs()
    assert run.info.status == "FAILED"


def test_r29_the_training_step_is_logged_too(table, runs, tmp_path):
    from synth_components.__main__ import main

    table.to_csv(tmp_path / "t.csv", index=False)
    mlflow_flavor.autolog()
    asked = ["--data", tmp_path / "t.csv", "--model", tmp_path / "m", "--generator", GENERATOR, "--quiet"]
    assert main(["train", *map(str, asked)]) == 0
    (run,) = runs()
    assert run.data.params["generator"] == GENERATOR
    assert len(models_of(run)) == 1


def test_r29_an_evaluation_leaves_its_report_beside_the_model(table, runs):
    mlflow_flavor.autolog()
    with mlflow.start_run():
        small = table[["age", "sex"]]
        rows = fitted(small).sample(100, seed=0)
        report = synth.evaluate(small[:150], small[150:250], rows)
    (run,) = runs()
    for score in report.scores:
        if not score.subject:
            assert run.data.metrics[score.name] == score.value
    client = mlflow.MlflowClient()
    assert {"report.html", "report.json"} <= {file.path for file in client.list_artifacts(run.info.run_id)}
    assert mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/report.json") == json.loads(
        json.dumps(report.to_json())
    )
    (logged,) = models_of(run)
    assert "overall" in {metric.key for metric in logged.metrics}


def test_r29_without_log_reports_an_evaluation_leaves_nothing(table, runs):
    mlflow_flavor.autolog(log_reports=False)
    small = table[["age", "sex"]]
    synth.evaluate(small[:150], small[150:250], small[250:300])
    assert runs() == []


def test_r03_autolog_is_among_the_names_of_the_package():
    assert mlflow_flavor.autolog is switch
    assert callable(switch)
    assert switch.integration_name == mlflow_flavor.FLAVOR_NAME


LOSING = """
from synth_components.generators.tabular.independent import Independent, IndependentSampler
from synth_components.protocols import Run


class Losing(Independent):
    def fit(self, data, *, rng, ledger, run):
        sampler = super().fit(data, rng=rng, ledger=ledger, run=Run())
        for epoch, loss in enumerate((0.9, 0.4, 0.2), start=1):
            run.report(epoch, 3, **{"loss": loss, "loss ($)": 100 * loss})
        return sampler


GENERATOR = Losing
SAMPLER = IndependentSampler
"""


@pytest.fixture
def losing(tmp_path, monkeypatch):
    """The name of an installed generator that reports losses per epoch, one under a name that MLflow refuses."""
    info = tmp_path / "losing-1.0.dist-info"
    info.mkdir()
    (tmp_path / "losing.py").write_text(LOSING, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: losing\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nacme.losing = losing\n", encoding="utf-8")
    (info / "top_level.txt").write_text("losing\n", encoding="utf-8")
    (info / "RECORD").write_text("losing.py,,\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield "acme.losing"
    sys.modules.pop("losing", None)


def test_r14_loss_is_logged_by_epoch_and_the_last_one_stands_on_the_model(table, runs, losing):
    mlflow_flavor.autolog()
    synth.fit(table, generator=losing, seed=0)
    (run,) = runs()
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.9), (2, 0.4), (3, 0.2)]
    (logged,) = models_of(run)
    assert [metric.value for metric in logged.metrics if metric.key == "loss"] == [0.2]


def test_r29_a_metric_name_that_mlflow_refuses_is_spelled_so_that_it_takes_it(table, runs, losing):
    mlflow_flavor.autolog(log_models=False)
    synth.fit(table, generator=losing, seed=0)
    (run,) = runs()
    assert {"progress", "loss"} <= set(run.data.metrics)
    (other,) = set(run.data.metrics) - {"progress", "loss"}
    assert other.startswith("loss")
    assert run.data.metrics[other] == pytest.approx(20)


def test_r29_a_store_that_is_away_is_not_asked_at_every_report(monkeypatch):
    clock, sent = [0.0], []

    def away(_client, run_id, metrics):
        sent.append([metric.step for metric in metrics])
        clock[0] += 60
        raise ConnectionError("store away")

    monkeypatch.setattr(time, "time", lambda: clock[0])
    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", away)
    watch = autologging._Progress(lambda *_, **__: None, private.BatchMetricsLogger("r"))
    for step in range(1, 1300):
        clock[0] += 1
        watch(step, 1300)
    # A minute lost is followed by ten of training before the next, which sends nothing a second time.
    assert [steps[-1] for steps in sent] == [1, 601, 1201]
    assert [step for steps in sent for step in steps] == list(range(1, 1202))


def test_r29_mlflows_own_autolog_does_not_turn_this_one_off_and_disable_does(table, runs):
    mlflow_flavor.autolog(log_models=False)
    mlflow.autolog(disable=True, silent=True)
    fitted(table)
    assert len(runs()) == 1
    mlflow_flavor.autolog(disable=True)
    fitted(table)
    assert len(runs()) == 1


def test_r14_the_best_of_several_checkpoints_is_found_by_its_loss(model):
    with mlflow.start_run() as run:
        for step, loss in enumerate((0.9, 0.2, 0.4)):
            mlflow.log_metric("loss", loss, step=step)
            mlflow_flavor.log_model(model, name=f"checkpoint-{step}", step=step)
    best = mlflow.search_logged_models(
        filter_string=f"source_run_id = '{run.info.run_id}'",
        order_by=[{"field_name": "metrics.loss", "ascending": True}],
        output_format="list",
    )[0]
    assert best.name == "checkpoint-1"
    assert [metric.value for metric in best.metrics if metric.key == "loss"] == [0.2]
