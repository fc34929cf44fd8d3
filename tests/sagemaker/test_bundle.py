"""The model of a training job is one bundle, wherever it is read: requirements 17 and 18."""

import hashlib
import json
from importlib.metadata import version

import pandas as pd
import pytest

from synth_components.__main__ import OK, main
from synth_components.errors import ArtifactError
from synth_components.io.archive import pack, unpack
from synth_components.model import Model
from synth_sagemaker.layout import ROOT


@pytest.fixture
def trained(opt_ml, monkeypatch):
    """The model folder of a training job, and the archive that SageMaker makes of it."""
    root = opt_ml({"generator": "tabular.independent", "seed": "4"})
    monkeypatch.setenv(ROOT, str(root))
    assert main(["sagemaker", "train"]) == OK
    pack(root / "model", root / "model.tar.gz")
    return root / "model", root / "model.tar.gz"


def held(folder):
    """Return the bytes of every file of a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_17_one_bundle_gives_the_same_rows_from_model_tar_gz_from_mlflow_and_in_kubeflow(trained, tmp_path):
    pytest.importorskip("mlflow", reason="mlflow comes with the extra mlflow")
    import mlflow_flavor
    from synth_kubeflow.components import COMPONENTS
    from synth_kubeflow.execute import execute

    folder, archive = trained
    unpack(archive, tmp_path / "unpacked")
    assert held(tmp_path / "unpacked") == held(folder)
    rows = Model.load(tmp_path / "unpacked").sample(40, seed=6)

    mlflow_flavor.save_model(Model.load(folder), tmp_path / "logged")
    logged = held(tmp_path / "logged")
    assert set(held(folder).values()) <= set(logged.values())  # the same files, beside MLflow's own
    pd.testing.assert_frame_equal(mlflow_flavor.load_model(tmp_path / "logged").sample(40, seed=6), rows)

    artifacts = {"model": {"artifacts": [{"name": "model", "uri": str(folder)}]}}
    outputs = {port: {"artifacts": [{"name": port, "uri": str(tmp_path / port)}]} for port in ("synthetic", "metrics")}
    said = {
        "inputs": {"parameterValues": {"num_rows": 40, "seed": 6}, "artifacts": artifacts},
        "outputs": {"artifacts": outputs, "outputFile": str(tmp_path / "executor_output.json")},
    }
    execute(COMPONENTS["sample"], json.dumps(said))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "synthetic"), rows, check_dtype=False)


def test_18_the_manifest_tells_digests_seed_version_epsilon_and_schema(trained):
    folder, _ = trained
    files = held(folder)
    told = json.loads(files.pop("manifest.json"))
    assert told["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert "schema.json" in told["files"]
    assert (told["seed"], told["library_version"]) == (4, version("synth-components"))
    assert told["privacy"]["epsilon"] is None  # no bound, as JSON has no infinity


def test_18_the_bundle_is_json_and_safetensors_and_nothing_else(trained):
    assert {name.rpartition(".")[2] for name in held(trained[0])} == {"json", "safetensors"}


def test_18_one_changed_byte_of_any_file_and_the_model_is_not_loaded(trained, tmp_path):
    for number, (name, content) in enumerate(held(trained[0]).items()):
        spoilt = tmp_path / str(number)
        for other, kept in held(trained[0]).items():
            path = spoilt / other
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(kept)
        at = len(content) // 2
        (spoilt / name).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(ArtifactError):
            Model.load(spoilt)
