import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml

import mlflow_flavor
import synth_components as synth
from mlflow_flavor import command
from mlflow_flavor.command import STEPS, TRACKED, commands
from mlflow_flavor.report import log_report
from synth_components.__main__ import GROUP, main
from synth_components.errors import GuardError
from synth_components.evaluation import PrivacyConfig, evaluate
from synth_components.evaluation.judged import Judged

PROJECT = Path(mlflow_flavor.__file__).parent

pytestmark = pytest.mark.skipif(
    "mlflow" not in {point.name for point in entry_points(group=GROUP)},
    reason="installed before the commands were declared; install the package again",
)


@pytest.fixture(scope="module")
def folder(table, model, tmp_path_factory):
    """A folder with a model, its training rows, a holdout, synthetic rows and a report."""
    root = tmp_path_factory.mktemp("register")
    model.save(root / "model")
    # Two columns and few rows: an evaluation predicts each column in turn.
    train, holdout = table[["age", "sex"]][:150], table[["age", "sex"]][150:250]
    synthetic = model.sample(100, seed=0)[["age", "sex"]]
    for name, rows in {"train": train, "holdout": holdout, "synthetic": synthetic}.items():
        rows.to_csv(root / f"{name}.csv", index=False)
    report = synth.evaluate(train, holdout, synthetic, model=model)
    (root / "report.json").write_text(json.dumps(report.to_json()), encoding="utf-8")
    return root


def said(*words):
    """Run a command, quietly, and return its exit status."""
    return main(["mlflow", *map(str, words), "--quiet"])


def newest_run():
    # A search leaves out the models that went into a run.
    return mlflow.get_run(mlflow.search_runs(max_results=1, output_format="list")[0].info.run_id)


def test_register_makes_a_version_with_model_params_and_report_and_moves_the_alias(folder, model):
    asked = ("register", "--model", folder / "model", "--report", folder / "report.json", "--name", "r", "--alias", "a")
    assert said(*asked) == 0
    assert said(*asked) == 0
    version = mlflow.MlflowClient().get_model_version_by_alias("r", "a")
    assert str(version.version) == "2"
    again = mlflow_flavor.load_model("models:/r@a")
    pd.testing.assert_frame_equal(again.sample(5, seed=1), model.sample(5, seed=1))
    run = mlflow.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["generator"] == "tabular.gaussian_copula"
    assert run.data.params["seed"] == "0"
    assert "overall" in run.data.metrics
    names = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert {"report.html", "report.json"} <= names
    assert len(run.inputs.dataset_inputs) == 1


def test_register_without_an_alias_moves_none(folder):
    assert said("register", "--model", folder / "model", "--name", "plain") == 0
    assert mlflow.MlflowClient().get_registered_model("plain").aliases == {}


def test_register_goes_into_the_active_run(folder):
    with mlflow.start_run() as run:
        assert said("register", "--model", folder / "model", "--name", "inside") == 0
        assert mlflow.active_run().info.run_id == run.info.run_id
    (version,) = mlflow.MlflowClient().search_model_versions("name = 'inside'")
    assert version.run_id == run.info.run_id


def test_register_refuses_a_bad_report_before_it_logs_anything(folder, tmp_path, capsys):
    (tmp_path / "bad.json").write_text("{}", encoding="utf-8")
    before = newest_run().info.run_id
    asked = ("register", "--model", folder / "model", "--report", tmp_path / "bad.json", "--name", "never")
    assert said(*asked) == 2
    assert newest_run().info.run_id == before
    assert mlflow.MlflowClient().search_model_versions("name = 'never'") == []


def test_register_refuses_a_report_that_names_no_model_unless_that_is_allowed(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SYNTH_POLICY", raising=False)
    held = json.loads((folder / "report.json").read_text())
    assert held.pop("judged")["model"]
    (tmp_path / "cut.json").write_text(json.dumps(held), encoding="utf-8")
    asked = ("register", "--model", folder / "model", "--report", tmp_path / "cut.json", "--name", "cut")
    assert said(*asked) == 3
    assert "allow_unnamed" in capsys.readouterr().err
    assert mlflow.MlflowClient().search_model_versions("name = 'cut'") == []
    assert said(*asked, "--allow-unnamed", "true") == 0


def test_register_refuses_a_model_that_holds_rows_before_it_logs_anything(table, tmp_path, capsys):
    synth.fit(table, generator="tabular.smote", seed=0, options={"keep_rows": True}).save(tmp_path / "m")
    before = len(mlflow.search_runs(output_format="list"))
    assert said("register", "--model", tmp_path / "m", "--name", "holding_rows") == 3
    assert "holds training rows" in capsys.readouterr().err
    assert len(mlflow.search_runs(output_format="list")) == before
    assert mlflow.MlflowClient().search_model_versions("name = 'holding_rows'") == []


def test_register_asks_for_a_name(folder, capsys):
    assert said("register", "--model", folder / "model") == 2
    assert "--name" in capsys.readouterr().err


def test_a_tracked_training_leaves_model_params_and_record_in_a_run(folder, tmp_path):
    asked = ("--data", folder / "train.csv", "--model", tmp_path / "m", "--generator", "tabular.independent")
    assert said("train", *asked, "--generator.knots", 20, "--seed", 3) == 0
    run = newest_run()
    assert run.info.run_name == "synth train"
    assert run.data.params["generator.knots"] == "20"
    assert run.data.params["seed"] == "3"
    (output,) = run.outputs.model_outputs
    model = mlflow_flavor.load_model(f"models:/{output.model_id}")
    assert model.sample(3, seed=0).equals(synth.load(tmp_path / "m").sample(3, seed=0))
    record = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/run.json")
    assert record["config"]["generator"] == "tabular.independent"


@pytest.mark.parametrize("joined", [True, False])
def test_a_model_is_sampled_by_its_uri_and_the_run_says_which_it_was(model, tmp_path, joined):
    info = mlflow_flavor.log_model(model, name="g", registered_model_name="sampled")
    mlflow.MlflowClient().set_registered_model_alias("sampled", "champion", info.registered_model_version)
    uri = "models:/sampled@champion"
    which = [f"--model={uri}"] if joined else ["--model", uri]
    assert said("sample", *which, "--synthetic", tmp_path / "s.parquet", "--num-rows", 7, "--seed", 1) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "s.parquet"), model.sample(7, seed=1))
    (used,) = newest_run().inputs.model_inputs
    assert used.model_id == info.model_id


def test_a_model_that_ships_its_generator_is_sampled_by_its_uri_if_it_is_trusted(table, tmp_path, monkeypatch, capsys):
    outsider = Path(__file__).parent / "outside" / "outsider.py"
    with monkeypatch.context() as patched:
        patched.syspath_prepend(outsider.parent)
        model = synth.fit(table, generator="outsider", trust=("outsider",), seed=0)
        uri = mlflow_flavor.log_model(model, name="g", code_paths=[str(outsider)]).model_uri
    monkeypatch.setattr(sys, "path", list(sys.path))  # where loading puts the code
    asked = ("sample", "--model", uri, "--synthetic", tmp_path / "s.parquet", "--num-rows", 7, "--seed", 1)
    try:
        sys.modules.pop("outsider", None)
        assert said(*asked) == 2
        assert "trust" in capsys.readouterr().err
        assert said(*asked, "--trust", "outsider") == 0
    finally:
        sys.modules.pop("outsider", None)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "s.parquet"), model.sample(7, seed=1))


def test_a_tracked_evaluation_leaves_its_report_in_a_run(folder, tmp_path):
    tables = [word for name in ("train", "holdout", "synthetic") for word in (f"--{name}", folder / f"{name}.csv")]
    assert said("evaluate", *tables, "--report", tmp_path / "report.json") == 0
    run = newest_run()
    assert "overall" in run.data.metrics
    assert "report.html" in {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}


def test_a_tracked_step_that_fails_ends_its_run_as_failed_and_turns_autologging_off(table, folder, tmp_path):
    tables = [word for name in ("train", "holdout", "synthetic") for word in (f"--{name}", folder / f"{name}.csv")]
    assert said("evaluate", *tables, "--report", tmp_path / "report.json", "--min-quality", "1") == 3
    run = newest_run()
    assert run.info.status == "FAILED"
    assert "overall" in run.data.metrics
    synth.fit(table, generator="tabular.independent", seed=0)
    assert newest_run().info.run_id == run.info.run_id


def test_a_uri_without_a_model_is_no_bug_of_ours(tmp_path, capsys):
    assert said("sample", "--model", "models:/nobody@champion", "--synthetic", tmp_path / "s.csv") == 2
    assert "nobody" in capsys.readouterr().err


def test_the_help_lists_the_commands_and_derives_their_options(capsys):
    assert main(["mlflow", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in (*STEPS, *TRACKED))
    assert main(["mlflow", "register", "--help"]) == 0
    assert "--alias TEXT" in capsys.readouterr().out


def test_without_mlflow_the_help_is_shown_and_a_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    assert main(["--help"]) == 0
    assert "\n  mlflow " in capsys.readouterr().out
    assert said("register", "--model", "m") == 2
    assert "synth-components[mlflow]" in capsys.readouterr().err


def test_the_commands_are_listed_without_importing_mlflow():
    code = (
        "import sys, click; from mlflow_flavor.command import commands as c; x = click.Context(c);"
        "[c.get_command(x, n) for n in c.list_commands(x)]; sys.exit('mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def project():
    return yaml.safe_load((PROJECT / "MLproject").read_text(encoding="utf-8"))


def test_the_entry_points_of_the_project_name_options_that_exist():
    for name, entry in project()["entry_points"].items():
        words = entry["command"].split()
        assert words[:5] == ["python", "-m", "synth_components", "mlflow", name]
        flags = {flag for param in commands.get_command(None, name).params for flag in param.opts}
        assert {word for word in words if word.startswith("--")} <= flags
        assert {f"{{{parameter}}}" for parameter in entry["parameters"]} <= set(words)


@pytest.mark.slow
def test_the_project_trains_samples_and_evaluates_with_mlflow_run(folder, tmp_path, monkeypatch):
    # MLflow starts `python` from the PATH.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(folder)

    def run(entry, **parameters):
        done = mlflow.projects.run(
            str(PROJECT), entry, parameters=parameters, env_manager="local", experiment_name="tests"
        )
        return mlflow.get_run(done.run_id)

    train = run("train", **{"data": "train.csv", "generator": "tabular.independent", "generator.knots": "20"})
    assert train.data.params["generator.knots"] == "20"
    (output,) = train.outputs.model_outputs
    rows = tmp_path / "rows.parquet"
    run("sample", **{"model": f"models:/{output.model_id}", "synthetic": str(rows), "num-rows": "50", "seed": "1"})
    assert len(pd.read_parquet(rows)) == 50
    evaluated = run("evaluate", train="train.csv", holdout="holdout.csv", synthetic=str(rows))
    assert "overall" in evaluated.data.metrics


def test_a_policy_holds_up_a_model_that_is_logged_and_registered_in_one_call(model, monkeypatch):
    monkeypatch.setenv("SYNTH_POLICY", "medium")
    with pytest.raises(GuardError, match="no report tells of it"):
        mlflow_flavor.log_model(model, name="g", registered_model_name="held-up")
    with pytest.raises(mlflow.exceptions.MlflowException, match="not found"):
        mlflow.MlflowClient().get_registered_model("held-up")
    assert mlflow_flavor.log_model(model, name="g").model_id
    monkeypatch.setenv("SYNTH_POLICY", "off")
    assert mlflow_flavor.log_model(model, name="g", registered_model_name="held-up").registered_model_version == 1


def test_a_report_of_another_model_registers_none_and_is_linked_to_none(folder, model, table, tmp_path, monkeypatch):
    other = synth.fit(table, generator="tabular.independent", seed=9)
    rows = other.sample(100, seed=0)
    report = evaluate(table, table, rows, config=PrivacyConfig(attacks=(), replicates=10), model=other)
    (tmp_path / "report.json").write_text(json.dumps(report.to_json()), encoding="utf-8")
    asked = ("register", "--model", folder / "model", "--report", tmp_path / "report.json", "--name", "mistaken")
    assert said(*asked) == 3
    with pytest.raises(mlflow.exceptions.MlflowException, match="not found"):
        mlflow.MlflowClient().get_registered_model("mistaken")
    linked = {}
    for judged in (report.judged, Judged(model.fingerprint), Judged()):
        with mlflow.start_run() as run:
            info = mlflow_flavor.log_model(model, name="g")
            log_report(replace(report, judged=judged), run.info.run_id)
        assert "privacy.copies" in mlflow.get_run(run.info.run_id).data.metrics
        held = mlflow.MlflowClient().get_logged_model(info.model_id)
        linked[judged.model] = [one.key for one in held.metrics or [] if one.key == "privacy.copies"]
        assert held.tags["synth.fingerprint"] == mlflow_flavor.load_model(info.model_uri).fingerprint
    assert linked == {other.fingerprint: [], model.fingerprint: ["privacy.copies"], "": ["privacy.copies"]}


def test_a_report_that_names_a_model_is_not_linked_to_one_that_says_of_none_which_it_is(model, table, caplog):
    report = evaluate(table, table, table, config=PrivacyConfig(attacks=(), replicates=10))
    linked = {}
    for judged in (Judged("another"), Judged()):
        with mlflow.start_run() as run:
            info = mlflow_flavor.log_model(model, name="g")
            mlflow.MlflowClient().delete_logged_model_tag(info.model_id, "synth.fingerprint")
            log_report(replace(report, judged=judged), run.info.run_id)
        held = mlflow.MlflowClient().get_logged_model(info.model_id)
        linked[judged.model] = [one.key for one in held.metrics or [] if one.key == "privacy.copies"]
    assert linked == {"another": [], "": ["privacy.copies"]}
    assert "the logged model has no fingerprint" in caplog.text
