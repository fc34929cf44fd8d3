"""Requirements 10 and 12: the pipeline on this machine, to a user's own model; as processes and in containers."""

import importlib.util
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest

from synth_components.__main__ import main
from synth_components.io.archive import unpack
from synth_components.model import Model
from synth_sagemaker.local_job import has_image
from synth_sagemaker.validate import mistakes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "sagemaker/examples/own_model"
LOCAL = f"synth-components:{version('synth-components')}"
REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
XGBOOST = "492215442770.dkr.ecr.eu-central-1.amazonaws.com/sagemaker-xgboost:1.7-1"
QUICK = {
    "train": {"generator": "tabular.independent"},
    "fidelity": {"replicates": 10, "detector_rows": 60, "detector_folds": 2, "manifold_rows": 60},
    "utility": {"replicates": 10, "global_utility": False},
    "privacy": {"replicates": 10, "attacks": ["membership"]},
    "thresholds": {"min_utility_ratio": 0.3, "max_attack_score": 1.0, "max_copy_rate": 0.5},
}


@pytest.fixture(scope="module")
def folder(table, tmp_path_factory):
    """A folder with real rows, and the definition of the pipeline, written by the command."""
    folder = tmp_path_factory.mktemp("pipeline")
    pd.concat([table, table.assign(age=table["age"] + 1)], ignore_index=True).to_csv(folder / "real.csv", index=False)
    (folder / "options.json").write_text(json.dumps(QUICK))
    words = ["--image", f"{REGISTRY}/{LOCAL}", "--role", "arn:aws:iam::123456789012:role/synth"]
    words += ["--output", "s3://bucket/synth", "--target", "outcome", "--definition", str(folder / "pipeline.json")]
    assert main(["sagemaker", "pipeline", str(folder / "options.json"), *words]) == 0
    return folder


def run(folder, file, output, *more, runner="host"):
    words = ["--data", str(folder / "real.csv"), "--output", str(output), "--runner", runner, *more]
    return main(["sagemaker", "run-local", str(file), *words])


@pytest.fixture(scope="module")
def own(folder):
    """The definition with a user's own training step."""
    spec = importlib.util.spec_from_file_location("own_model", EXAMPLE / "own_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.with_own_model(json.loads((folder / "pipeline.json").read_text()), target="outcome", image=XGBOOST)
    (folder / "own.json").write_text(json.dumps(made))
    return folder / "own.json"


@pytest.fixture(scope="module")
def ended(folder, own):
    """What the pipeline left, run as processes of this machine."""
    output = folder / "host"
    stand_in = f"{XGBOOST}={sys.executable} {EXAMPLE / 'stand_in.py'}"
    assert run(folder, own, output, "--parameter", f"CodeUri={EXAMPLE}", "--stand-in", stand_in) == 0
    return output / "s3/bucket/synth"


def test_12_the_model_samples_and_the_augmented_table_holds_real_and_synthetic_rows(ended, tmp_path, table):
    unpack(ended / "pipelines-local-Train/output/model.tar.gz", tmp_path / "model")
    assert list(Model.load(tmp_path / "model").sample(5, seed=0).columns) == list(table.columns)
    augmented = pd.read_parquet(ended / "local/Augment/augmented/augmented.parquet")
    assert set(augmented["provenance"]) == {"original", "synthetic"}


def test_12_every_judge_left_a_report_its_page_and_statistics(ended):
    for step in ("EvaluateUtility", "EvaluateFidelity", "EvaluatePrivacy"):
        names = {path.name for path in (ended / "local" / step / "report").iterdir()}
        assert {"report.json", "report.html", "statistics.json", "constraints.json"} <= names


def test_10_the_model_is_registered_by_a_request_that_waits_for_approval(ended):
    request = json.loads((ended.parents[2] / "registry/Register.json").read_text())
    assert request["ModelApprovalStatus"] == "PendingManualApproval"
    for member, leaf in (("ModelQuality", "Statistics"), ("ModelQuality", "Constraints"), ("Explainability", "Report")):
        uri = request["ModelMetrics"][member][leaf]["S3Uri"]
        assert (ended.parents[1] / uri.removeprefix("s3://")).is_file()


def test_a_model_of_the_users_own_is_trained_on_the_augmented_rows(ended, own, tmp_path):
    assert mistakes(json.loads(own.read_text())) == []
    unpack(ended / "pipelines-local-TrainOwnModel/output/model.tar.gz", tmp_path / "own")
    told = json.loads((tmp_path / "own/xgboost-model.json").read_text())
    augmented = pd.read_parquet(ended / "local/Augment/augmented/augmented.parquet")
    assert told["rows"] == len(augmented)
    assert told["columns"] == augmented.shape[1] - 1  # without provenance
    assert told["train_accuracy"] > 0.6


def test_10_a_threshold_that_is_missed_ends_the_pipeline_with_status_3_and_registers_nothing(folder, own, ended):
    """The same folder goes on: no job is done again, only the gate is asked anew."""
    before = {path: path.stat().st_mtime_ns for path in ended.rglob("*.parquet")}
    registry = ended.parents[2] / "registry/Register.json"
    registry.unlink()
    more = ("--parameter", f"CodeUri={EXAMPLE}", "--parameter", "MinUtilityRatio=1.5")
    assert run(folder, own, ended.parents[2], *more) == 3
    assert not registry.exists()
    assert before == {path: path.stat().st_mtime_ns for path in ended.rglob("*.parquet")}


@pytest.mark.docker
def test_12_in_containers_without_network_the_pipeline_makes_the_same_bytes(folder, ended):
    if not has_image(LOCAL):
        assert not os.environ.get("REQUIRE_DOCKER"), f"no Docker daemon here has the image '{LOCAL}'"
        pytest.skip(f"no Docker daemon here has the image '{LOCAL}'; containers/build.sh makes it")
    output = folder / "docker"
    assert run(folder, folder / "pipeline.json", output, runner="docker") == 0
    made = output / "s3/bucket/synth"
    same = [
        path.relative_to(made) for path in made.rglob("*") if path.suffix == ".parquet" or path.name == "model.tar.gz"
    ]
    assert len(same) == 5
    for file in same:
        assert (made / file).read_bytes() == (ended / file).read_bytes(), file
    for file in made.rglob("report.json"):
        here, there = (json.loads((root / file.relative_to(made)).read_text()) for root in (made, ended))
        assert here["scores"] == there["scores"]
