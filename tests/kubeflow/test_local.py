"""Pipelines on this machine: kfp's own orchestration, real processes, a report at the end."""

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from google.protobuf import json_format
from kfp import dsl
from kfp.pipeline_spec import pipeline_spec_pb2
from people import PEOPLE

from synth_components.__main__ import main
from synth_components.io.archive import unpack
from synth_components.model import Model
from synth_kubeflow.local import Machine, run_local
from synth_kubeflow.pipelines import PIPELINES, build, needs_torch

INDEPENDENT = ("--generator", "tabular.independent")
JUDGED = ("--target", "outcome")
ARGUMENTS = {
    "train_sample_evaluate": (*INDEPENDENT, *JUDGED, "--num-rows", "150"),
    "compare_generators": (
        "--generators", "tabular.independent,tabular.gaussian_copula", *JUDGED, "--num-rows", "150",
        "--model-name", "customers", "--alias", "champion",
    ),
    "augment_and_gate": (*INDEPENDENT, *JUDGED, "--factor", "2"),
    "sharded_sampling": (*INDEPENDENT, *JUDGED, "--num-rows", "150"),
    "distributed_training": (
        "--generator", "tabular.autoregressive",
        "--generator-options", '{"hidden": 16, "epochs": 2, "batch_rows": 64}',
        *JUDGED, "--num-rows", "150", "--processes-per-node", "2",
    ),
}  # fmt: skip
"""The arguments that `kubeflow/README.md` says were run."""


def run(name, csv, output, *more, runner="host"):
    """Run a pipeline as a user does, and return the exit status."""
    said = ["kubeflow", "run-local", name.replace("_", "-"), "--data", str(csv), "--output", str(output)]
    said += ["--runner", runner]
    return main([*said, *(more or ARGUMENTS[name])])


def outputs(folder, name):
    """Return the paths of one output of a component, over all tasks."""
    return sorted(path for path in folder.rglob(name) if (path.parent / "executor_output.json").exists())


@pytest.fixture(scope="module")
def ended(csv, tmp_path_factory):
    """A function that returns the folder of a pipeline, run once; skips one that needs torch where there is none."""
    done = {}

    def folder(name):
        if needs_torch(name):
            pytest.importorskip("torch", reason="torch comes with the extra torch")
        if name not in done:
            done[name] = tmp_path_factory.mktemp(name) / "out"
            assert run(name, csv, done[name]) == 0
        return done[name]

    return folder


def test_every_pipeline_has_arguments_to_run_here():
    assert set(ARGUMENTS) == set(PIPELINES)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_requirement_17_the_pipeline_runs_on_the_host_and_draws_a_report(ended, name):
    """How long it takes is no assertion: 130 processor seconds for the four without torch, most of them to import."""
    folder = ended(name)
    assert (folder / "report.html").read_text().lstrip().lower().startswith("<!doctype html")
    assert (folder / "report.md").read_text().startswith("# Report on synthetic data")
    written = list((folder / "tasks").rglob("executor_output.json"))
    assert len(written) >= 5
    for path in written:
        json_format.Parse(path.read_text(), pipeline_spec_pb2.ExecutorOutput())


@pytest.mark.slow
def test_requirement_17_the_same_pipeline_gives_the_same_bytes_again(ended, csv, tmp_path):
    assert run("train_sample_evaluate", csv, tmp_path / "again") == 0
    first, second = (
        [path.read_bytes() for path in outputs(folder / "tasks", "synthetic")]
        for folder in (ended("train_sample_evaluate"), tmp_path / "again")
    )
    assert first == second
    assert len(first) == 1


@pytest.mark.slow
def test_requirement_11_the_shards_of_a_pipeline_joined_are_the_rows_of_one_draw(ended):
    (whole,) = outputs(ended("train_sample_evaluate") / "tasks", "synthetic")
    (merged,) = outputs(ended("sharded_sampling") / "tasks", "merged")
    assert len(outputs(ended("sharded_sampling") / "tasks", "synthetic")) == 4
    pd.testing.assert_frame_equal(pd.read_parquet(whole), pd.read_parquet(merged))


@pytest.mark.slow
def test_the_best_of_the_compared_generators_is_packed_for_sagemaker(ended, tmp_path):
    tasks = ended("compare_generators") / "tasks"
    (archive,) = tasks.rglob("model.tar.gz")
    unpack(archive, tmp_path / "model")
    (best,) = tasks.rglob("select-best/model")
    assert Model.load(tmp_path / "model").sample(20, seed=1).equals(Model.load(best).sample(20, seed=1))


@pytest.mark.slow
def test_the_best_of_the_compared_generators_is_registered(ended):
    mlflow = pytest.importorskip("mlflow", reason="mlflow comes with the extra mlflow")
    folder = ended("compare_generators")
    qualities = [json.loads(path.read_text())["overall"]["value"] for path in outputs(folder / "tasks", "report")]
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    version = client.get_model_version_by_alias("customers", "champion")
    metrics = client.get_run(version.run_id).data.metrics
    assert metrics["overall"] == max(qualities)
    assert len(set(qualities)) == 2


def score_of(folder, task):
    """Return the score that a task gave out."""
    (path,) = folder.rglob(f"{task}/executor_output.json")
    return json.loads(path.read_text())["parameterValues"]["score"]


@pytest.mark.slow
def test_synthetic_rows_that_make_our_model_worse_are_not_kept(ended):
    tasks = ended("augment_and_gate") / "tasks"
    (kept,) = outputs(tasks, "merged")
    (real,) = tasks.rglob("split-data/train")
    # independent columns: the second score is that with the synthetic rows
    assert score_of(tasks, "evaluate-tstr-2") > score_of(tasks, "evaluate-tstr-3")
    pd.testing.assert_frame_equal(pd.read_parquet(kept), pd.read_parquet(real))


@pytest.mark.slow
def test_synthetic_rows_are_kept_if_a_model_of_the_users_scores_higher_with_them(csv, tmp_path):
    # a step in no image of ours, which likes rows: its score is their number
    code = "import pathlib, sys, pandas; out = pathlib.Path(sys.argv[2]); out.parent.mkdir(parents=True, exist_ok=True)"
    code += "; out.write_text(str(float(len(pandas.read_parquet(sys.argv[1])))))"

    @dsl.container_component
    def count_rows(
        train: dsl.Input[dsl.Dataset],
        holdout: dsl.Input[dsl.Dataset],
        schema: dsl.Input[dsl.Artifact],
        target: str,
        rows: dsl.OutputPath(float),
    ):
        return dsl.ContainerSpec(image="mine:1", command=[sys.executable, "-c", code], args=[train.path, rows])

    @dsl.pipeline(name="mine")
    def mine(
        train: dsl.Input[dsl.Dataset], holdout: dsl.Input[dsl.Dataset], schema: dsl.Input[dsl.Artifact], target: str
    ) -> float:
        return count_rows(train=train, holdout=holdout, schema=schema, target=target).outputs["rows"]

    values = {"data_uri": str(csv), "generator": "tabular.independent", "target": "outcome", "factor": 2.0}
    run_local(build("augment_and_gate", model_step=mine), values, tmp_path / "out")
    (kept,) = outputs(tmp_path / "out" / "tasks", "merged")
    assert list(pd.read_parquet(kept)["provenance"].value_counts()) == [192, 192]  # 0.8 of 240 rows, twice


@pytest.mark.slow
def test_the_epsilon_of_a_pipeline_is_of_the_people_that_its_schema_declares(table, tmp_path):
    pytest.importorskip("opendp", reason="opendp comes with the extra dp")
    table.assign(person=[row // 4 for row in range(len(table))]).to_csv(tmp_path / "people.csv", index=False)
    (tmp_path / "schema.json").write_text(json.dumps(PEOPLE))
    said = (
        "--generator",
        "tabular.mst",
        *JUDGED,
        "--schema",
        str(tmp_path / "schema.json"),
        "--privacy",
        "dp",
        "--num-rows",
        "150",
    )
    assert run("train_sample_evaluate", tmp_path / "people.csv", tmp_path / "out", *said) == 0
    (model,) = (tmp_path / "out" / "tasks").rglob("train-generator/model")
    assert Model.load(model).privacy.unit == "all rows of table 'table' that share ['person'], at most 4"
    (train,), (holdout,) = (outputs(tmp_path / "out" / "tasks", name) for name in ("train", "holdout"))
    assert not set(pd.read_parquet(train)["person"]) & set(pd.read_parquet(holdout)["person"])


def test_a_failed_task_fails_the_pipeline_with_its_own_line_and_status(csv, tmp_path, capfd):
    status = run("train_sample_evaluate", csv, tmp_path / "out", *INDEPENDENT, "--unit", "nobody")
    assert status == 2
    assert re.search(r"task 'split_data' failed: ERROR 2: .*nobody.*", capfd.readouterr().err.splitlines()[-1])


def test_a_table_that_is_not_here_is_refused_before_anything_runs(tmp_path, capsys):
    assert run("train_sample_evaluate", "nowhere.csv", tmp_path / "out", *INDEPENDENT) == 2
    assert "nowhere.csv" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_somebody_elses_is_left_alone(csv, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert run("train_sample_evaluate", csv, tmp_path, *INDEPENDENT) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_options_of_a_pipeline_are_those_of_its_components(capsys):
    assert main(["kubeflow", "run-local", "compare-generators", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--generators NAMES" in shown
    assert "Name of the registered model; it is made if there is none." in shown
    assert "--holdout-share NUMBER" in shown


def test_a_value_that_breaks_its_rule_is_refused_before_anything_runs(csv, tmp_path, capsys):
    assert run("train_sample_evaluate", csv, tmp_path / "out", "--num-rows", "-1") == 2
    assert "--num-rows" in capsys.readouterr().err
    assert not Path(tmp_path / "out").exists()


def test_containers_that_are_asked_for_and_cannot_be_had_are_an_error(csv, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SYNTH_KUBEFLOW_IMAGE", "synth-components:of-nobody")
    assert run("train_sample_evaluate", csv, tmp_path / "out", *INDEPENDENT, runner="docker") == 2
    assert "containers/build.sh" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def digests(folder):
    """Return the digest of every dataset and model by task and name; a report holds durations and is left out."""
    found = {}
    for path in (folder / "tasks").rglob("executor_output.json"):
        for name, held in json.loads(path.read_text())["artifacts"].items():
            said = held["artifacts"][0]["metadata"]
            if said.get("synth.kind") in {"dataset", "model", "schema"}:
                found["/".join([*path.relative_to(folder / "tasks").parts[1:-1], name])] = said["synth.data_digest"]
    return found


@pytest.mark.docker
@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_requirement_17_a_pipeline_in_containers_without_network_writes_what_it_writes_on_the_host(
    docker_image, ended, csv, tmp_path, name
):
    docker_image("-torch" if needs_torch(name) else "")
    assert run(name, csv, tmp_path / "out", runner="docker") == 0
    assert (tmp_path / "out" / "report.html").exists()
    there = digests(tmp_path / "out")
    assert len(there) >= 4
    if find_spec("torch") or not needs_torch(name):
        assert there == digests(ended(name))


@pytest.mark.docker
def test_requirement_18_a_container_that_fails_is_always_told(docker_image, tmp_path):
    machine = Machine(tmp_path, in_containers=True)
    command = ["python", "-c", "import sys; sys.exit(3)"]
    assert [machine.run(docker_image(), command, {}) for _ in range(20)] == [3] * 20


def test_requirement_18_canary_kfp_still_takes_a_container_that_is_gone_for_one_that_succeeded(capfd):
    """Fails when kubeflow/pipelines#13332 is mended: then look whether kfp's own runner can replace ``Machine``."""
    errors = pytest.importorskip("docker.errors", reason="docker comes with mlflow")
    handler = pytest.importorskip("kfp.local.docker_task_handler")

    class Daemon:
        """A daemon with a container that failed; one that is to remove itself is gone before anybody asks for it."""

        images = containers = property(lambda self: self)
        tags = property(lambda self: ["mine:1"])
        attrs = property(lambda self: {"RepoDigests": []})

        def list(self):
            return [self]

        def run(self, *, auto_remove=False, **_):
            self.is_gone = auto_remove
            return self

        def logs(self, **_):
            return iter(())

        def wait(self):
            if self.is_gone:
                raise errors.NotFound("gone")
            return {"StatusCode": 1}

        def remove(self, **_):
            self.is_gone = True

    assert handler.run_docker_container(Daemon(), "mine:1", ["false"], {}) == 0
