"""A sealed model goes through MLflow sealed: the key opens it, nothing else does, and no plain text stays behind."""

import contextlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.models import MetricThreshold

import mlflow_flavor
import synth_components as synth
from mlflow_flavor.promote import promote
from mlflow_flavor.report import log_report
from synth_components.__main__ import main
from synth_components.encryption.confined import PREFIX
from synth_components.errors import EncryptionError
from synth_components.evaluation import PrivacyConfig, evaluate
from synth_components.evaluation.judged import Judged
from synth_components.protocols import Score

pytest.importorskip("cryptography", reason="the extra encryption is not installed")

# A category, which the sampler and the schema of a model hold; of this process alone, as plain text is looked for where
# others hold theirs meanwhile.
SECRET = f"Zyzzogeton-{os.getpid()}"
TABLE = pd.DataFrame({"town": [SECRET, "Rome"] * 50, "age": np.arange(100) % 7})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for all that this test logs, a key, and a folder of their own for temporary files."""
    for name in ("logged", "scratch"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("THE_KEY", bytes(range(131, 163)).hex())
    monkeypatch.setenv("SYNTH_ENCRYPT_KEY", "env:THE_KEY")
    monkeypatch.delenv("SYNTH_ENCRYPT", raising=False)
    made = mlflow.create_experiment(f"sealed-{tmp_path.name}", artifact_location=(tmp_path / "logged").as_uri())
    with mlflow.start_run(experiment_id=made):
        yield tmp_path


@pytest.fixture(scope="module")
def fitted():
    return synth.fit(TABLE, generator="tabular.independent", seed=0)


def holding(*folders, text=SECRET):
    """Return the files below folders, and the confined folders in memory, that hold a text."""
    places = [*folders, *Path("/dev/shm").glob(f"{PREFIX}*")]
    found = []
    for file in (file for place in places for file in place.rglob("*") if file.is_file()):
        with contextlib.suppress(FileNotFoundError):  # folders of other processes come and go
            found += [file] * (text.encode() in file.read_bytes())
    return found


def test_what_is_logged_and_registered_sealed_opens_with_the_key_alone(folder, store, fitted, monkeypatch):
    monkeypatch.setenv("SYNTH_ENCRYPT", "models")
    info = mlflow_flavor.log_model(fitted, name="m", registered_model_name="sealed")
    MlflowClient().set_registered_model_alias("sealed", "champion", "1")
    rows = fitted.sample(20, seed=3)
    for uri in (info.model_uri, "models:/sealed/1", "models:/sealed@champion"):
        pd.testing.assert_frame_equal(mlflow_flavor.load_model(uri).sample(20, seed=3), rows)
    drawn = mlflow.pyfunc.load_model("models:/sealed@champion").predict(
        pd.DataFrame(), params={"num_rows": 20, "seed": 3}
    )
    assert list(drawn["town"]) == list(rows["town"])
    database = store / "mlflow.db"
    assert database.is_file()
    assert SECRET.encode() not in database.read_bytes()
    assert holding(folder) == []
    for key, told in (("", "is encrypted; give the key"), ("env:OTHER", "cannot be opened")):
        monkeypatch.setenv("OTHER", bytes(range(146, 178)).hex())
        monkeypatch.setenv("SYNTH_ENCRYPT_KEY", key)
        for load in (mlflow_flavor.load_model, mlflow.pyfunc.load_model):
            with pytest.raises(EncryptionError, match=told):
                load("models:/sealed/1")
    assert holding(folder) == []
    assert not list((folder / "scratch").glob(f"{PREFIX}*"))


def test_the_search_for_plain_text_finds_what_is_logged_in_plain(folder, fitted):
    mlflow_flavor.log_model(fitted, name="m")
    assert holding(folder)


def test_a_sealed_model_is_registered_sealed_without_being_asked(folder, fitted, monkeypatch):
    monkeypatch.setenv("SYNTH_ENCRYPT", "models")
    fitted.save("model")
    monkeypatch.delenv("SYNTH_ENCRYPT")
    assert main(["mlflow", "register", "--model", "model", "--name", "kept", "--alias", "champion", "--quiet"]) == 0
    assert holding(folder) == []
    assert len(mlflow_flavor.load_model("models:/kept@champion").sample(5, seed=1)) == 5


def test_a_sealed_model_asks_for_what_opens_it(folder, fitted, monkeypatch):
    for said, is_needed in (("none", False), ("models", True)):
        monkeypatch.setenv("SYNTH_ENCRYPT", said)
        mlflow_flavor.save_model(fitted, said)
        lines = Path(said, "requirements.txt").read_text().splitlines()
        assert any(line.startswith("cryptography==") for line in lines) == is_needed


def test_a_sealed_version_is_promoted_by_its_scores_and_held_to_a_policy(folder, fitted, monkeypatch):
    monkeypatch.setenv("SYNTH_ENCRYPT", "models")
    info = mlflow_flavor.log_model(fitted, name="m", registered_model_name="judged-sealed")
    mlflow.log_metrics({"privacy.copies": 0.0}, model_id=info.model_id)
    asked = {"privacy.copies": MetricThreshold(threshold=0.01, greater_is_better=False)}
    assert promote("judged-sealed", 1, asked, allow_unnamed=True).passed
    monkeypatch.setenv("SYNTH_POLICY", "medium")
    assert "no report tells of it" in promote("judged-sealed", 1, asked, allow_unnamed=True).reasons["guard"]
    found = {"privacy.risk": 0.1, "privacy.copies": 0.0, "privacy.copies.bound": 0.01}
    found |= {"privacy.near_copies": 0.0, "privacy.near_copies.bound": 0.01}
    report = evaluate(TABLE, TABLE, fitted.sample(100, seed=0), config=PrivacyConfig(attacks=(), replicates=10))
    scores = tuple(Score(key, value, None, 0.0, 0.0, 0.0) for key, value in found.items())
    log_report(replace(report, scores=scores, judged=Judged(fitted.fingerprint)), info.run_id)
    assert promote("judged-sealed", 1, asked).passed
    monkeypatch.setenv("SYNTH_ENCRYPT_KEY", "")
    with pytest.raises(EncryptionError, match="give the key"):  # the policy looks into the model
        promote("judged-sealed", 1, asked)
    assert holding(folder) == []
