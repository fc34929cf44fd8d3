"""Encryption at rest in jobs and endpoints: sealed models and tables, and nothing in plain text beside them."""

import contextlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import boto3
import pandas as pd
import pytest
from moto import mock_aws
from sagemaker_requests import GUARDED, KEY, PLATFORM
from served import serving

from synth_components.__main__ import OK, USER_ERROR, main
from synth_components.circumstances import Circumstances, within
from synth_components.config import ConfigError
from synth_components.encryption.confined import PREFIX, confined
from synth_components.encryption.sealed import is_sealed
from synth_components.errors import DataError, EncryptionError
from synth_components.fitting import fit
from synth_components.io import artifact
from synth_components.io.archive import pack
from synth_components.model import Model
from synth_components.service.options import ServeConfig
from synth_components.service.refusal import Refusal
from synth_components.steps.train import TrainConfig
from synth_sagemaker.hyperparameters import Training
from synth_sagemaker.iam import execution_policy
from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.layout import ROOT
from synth_sagemaker.local_job import Machine, Store
from synth_sagemaker.registry import model as model_request
from synth_sagemaker.registry import model_package
from synth_sagemaker.shapes import problems
from synth_sagemaker.shelf import Shelf
from synth_sagemaker.training import training_job

pytest.importorskip("cryptography", reason="the extra encryption is not installed")

SECRET = b"Zyzzogeton"
INDEPENDENT = {"generator": "tabular.independent"}
OPENS = Circumstances(encrypt_key="env:MODEL_KEY")
MEMORY = Path("/dev/shm")
MARK = "TEST_OF_SEALED"
"""Variable that tells this test's processes from those of others, which use the same memory."""


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("MODEL_KEY", bytes(range(171, 203)).hex())
    monkeypatch.setenv(MARK, uuid4().hex)
    before = set(MEMORY.glob(f"{PREFIX}*"))
    yield
    for _ in range(200):
        if not left(before):
            return
        time.sleep(0.05)
    pytest.fail("a folder of plain text is left")


def left(before):
    """Return the folders that are new here, but for those that the watcher of another test's process cares for.

    Who made a folder, its watcher's variables tell.  One that nobody watches counts: it would stay.
    """
    new = set(MEMORY.glob(f"{PREFIX}*")) - before
    others = set()
    for process in Path("/proc").glob("[0-9]*") if new else ():
        with contextlib.suppress(OSError):  # it has ended
            words = process.joinpath("cmdline").read_bytes().split(b"\0")
            if f"{MARK}={os.environ[MARK]}".encode() not in process.joinpath("environ").read_bytes().split(b"\0"):
                others |= {Path(os.fsdecode(word)) for word in words}
    return {folder for folder in new - others if folder.exists()}


@pytest.fixture
def opt_ml(opt_ml, table):
    """The folder of a job whose rows hold a text that is looked for afterwards."""

    def filled(*words, **named):
        root = opt_ml(*words, **named)
        told = table.assign(city=table["city"].replace("Rome", SECRET.decode()))
        told.to_csv(root / "input/data/train/real.csv", index=False)
        return root

    return filled


@pytest.fixture
def seals(monkeypatch):
    """A function that has whatever follows written sealed."""

    def asked(what, key="env:MODEL_KEY"):
        monkeypatch.setenv("SYNTH_ENCRYPT", what)
        monkeypatch.setenv("SYNTH_ENCRYPT_KEY", key)

    return asked


@pytest.fixture
def train(monkeypatch):
    def run(root):
        monkeypatch.setenv(ROOT, str(root))
        return main(["sagemaker", "train"])

    return run


@pytest.fixture(scope="module")
def sealed(table, tmp_path_factory):
    """A sealed model folder."""
    folder = tmp_path_factory.mktemp("sealed") / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_KEY", bytes(range(171, 203)).hex())
        with within(OPENS.model_copy(update={"encrypt": "models"})):
            fit(table, generator="tabular.independent", seed=0).save(folder)
    return folder


def plain_files(root):
    """Return the files of a job, but for its inputs, that hold the text of a cell."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_relative_to(root / "input"))
    return [path.relative_to(root).as_posix() for path in files if SECRET in path.read_bytes()]


def test_what_other_processes_keep_in_memory_is_not_taken_for_left_over(monkeypatch):
    before = set(MEMORY.glob(f"{PREFIX}*"))
    ours = os.environ[MARK]
    with monkeypatch.context() as patch:
        patch.setenv(MARK, "another")
        with confined(1) as theirs:
            assert theirs in left(before)
            patch.setenv(MARK, ours)
            assert theirs.exists()
            assert theirs not in left(before)
    with confined(1) as folder:
        assert folder in left(before)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=MEMORY))
    assert folder in left(before)
    shutil.rmtree(folder)
    assert folder not in left(before)


def test_a_job_whose_models_are_sealed_leaves_nothing_in_plain_text(opt_ml, train, seals):
    """Issue 6, scale and residency; without encryption the text is in the model, or the test proves nothing."""
    bare = opt_ml(INDEPENDENT, name="bare")
    assert train(bare) == OK
    assert "model/schema.json" in plain_files(bare)
    root = opt_ml(INDEPENDENT)
    seals("models")
    assert train(root) == OK
    assert plain_files(root) == []
    assert [path.name for path in (root / "model").iterdir()] == [artifact.SEALED]
    with within(OPENS):
        held = Model.load(root / "model")
    assert held.sample(20, seed=1).equals(Model.load(bare / "model").sample(20, seed=1))


def test_what_a_job_whose_models_are_sealed_is_given_may_be_sealed(opt_ml, train, seals):
    """A channel of encrypted tables, by the name that `synth encrypt` gives them."""
    root = opt_ml(INDEPENDENT)
    channel = root / "input/data/train"
    assert (
        main(["encrypt", str(channel / "real.csv"), str(channel / "real.csv.sealed"), "--encrypt-key", "env:MODEL_KEY"])
        == 0
    )
    (channel / "real.csv").unlink()
    seals("all")
    assert train(root) == OK, (root / "output/failure").read_text()
    assert not [path for path in root.rglob("*") if path.is_file() and SECRET in path.read_bytes()]


def test_sealed_rows_are_judged_under_a_policy(opt_ml, train, seals, table, monkeypatch):
    root = opt_ml({**INDEPENDENT, "evaluate.replicates": "10", "evaluate.global_utility": "false"})
    (root / "input/data/holdout").mkdir()
    table.to_csv(root / "input/data/holdout/rows.csv", index=False)
    seals("all")
    monkeypatch.setenv("SYNTH_POLICY", "low")
    assert train(root) == OK, (root / "output/failure").read_text()
    # A report names categories that many rows share: it is an aggregate, and the bucket's key guards it.
    assert set(plain_files(root)) == {"output/data/report.json", "output/data/report.html"}


def test_without_a_key_nothing_is_trained(opt_ml, train, monkeypatch):
    root = opt_ml(INDEPENDENT)
    monkeypatch.setenv("SYNTH_ENCRYPT", "models")
    assert train(root) == USER_ERROR
    assert "encryption was asked for without a key" in (root / "output/failure").read_text()
    assert not any((root / "model").iterdir())


def test_a_key_of_kms_seals_the_model_of_a_job_and_opens_it(opt_ml, train, seals):
    with mock_aws():
        key = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]
        root = opt_ml(INDEPENDENT)
        seals("models", f"kms:{key}")
        assert train(root) == OK, (root / "output/failure").read_text()
        assert plain_files(root) == []
        assert len(Model.load(root / "model").sample(5, seed=0)) == 5
        seals("models", "kms:alias/none")
        with pytest.raises(EncryptionError, match="AWS KMS refused to decrypt"):
            Model.load(root / "model")


def test_a_step_reads_a_sealed_archive_and_seals_the_rows(sealed, seals, tmp_path, monkeypatch):
    archive = tmp_path / "opt/processing/input/model/model.tar.gz"
    archive.parent.mkdir(parents=True)
    pack(sealed, archive)
    monkeypatch.setenv(ROOT, str(tmp_path / "opt"))
    seals("all")
    assert main(["sagemaker", "process", "sample", "--num-rows", "9"]) == OK
    drawn = tmp_path / "opt/processing/output/synthetic/synthetic.parquet"
    assert is_sealed(drawn)
    (tmp_path / "opt/processing/input/rows").mkdir()
    assert main(["decrypt", str(drawn), str(tmp_path / "plain.parquet"), "--encrypt-key", "env:MODEL_KEY"]) == OK
    with within(OPENS):
        assert pd.read_parquet(tmp_path / "plain.parquet").equals(Model.load(sealed).sample(9, seed=0))


@pytest.mark.parametrize(
    ("key", "told"), [("", "is encrypted; give the key"), ("env:OTHER_KEY", "encrypted with another key")]
)
def test_an_endpoint_without_the_key_does_not_start_and_says_why(sealed, tmp_path, monkeypatch, capsys, key, told):
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt/model").symlink_to(sealed)
    for name, value in {
        ROOT: str(tmp_path / "opt"),
        "OTHER_KEY": bytes(range(205, 237)).hex(),
        "SYNTH_ENCRYPT_KEY": key,
    }.items():
        monkeypatch.setenv(name, value)
    assert main(["sagemaker", "serve"]) == USER_ERROR
    assert told in capsys.readouterr().err


@pytest.mark.timeout(600)
def test_an_endpoint_with_the_key_answers_from_an_archive_that_nobody_unpacked(sealed, tmp_path):
    pytest.importorskip("fastapi")
    (tmp_path / "opt/model").mkdir(parents=True)
    pack(sealed, tmp_path / "opt/model/model.tar.gz")
    env = {ROOT: str(tmp_path / "opt"), "SAGEMAKER_BIND_TO_PORT": "PORT", "SYNTH_ENCRYPT_KEY": "env:MODEL_KEY"}
    with serving(tmp_path, "sagemaker", "serve", ready="/ping", env=env) as one:
        answer = one.ask("/invocations", {"num_rows": 7, "seed": 2}, Accept="application/jsonlines")
    assert answer.status == 200
    with within(OPENS):
        drawn = Model.load(sealed).sample(7, seed=2)
    assert [json.loads(line)["city"] for line in answer.body.splitlines()] == list(drawn["city"])


def test_one_of_many_models_is_loaded_with_the_key_and_refused_without(sealed, tmp_path):
    (tmp_path / "one").mkdir()
    pack(sealed, tmp_path / "one/model.tar.gz")
    shelf = Shelf(tmp_path, ServeConfig(), 2**40)
    with pytest.raises(Refusal, match="") as caught:
        shelf.load("one", str(tmp_path / "one"))
    assert (caught.value.status, caught.value.kind) == (400, "EncryptionError")
    with within(OPENS):
        shelf.load("one", str(tmp_path / "one"))
    assert list(shelf.urls()) == ["one"]


def test_the_key_itself_is_refused_in_what_everyone_reads(tmp_path):
    variables = {"SYNTH_ENCRYPT_KEY": "env:MODELS", "MODELS": bytes(range(171, 203)).hex()}
    with pytest.raises(ConfigError, match="'MODELS' looks like a secret"):
        Platform.parse({**PLATFORM.model_dump(), "environment": variables})
    with pytest.raises(ConfigError, match=r"Environment\.MODELS: this looks like a secret"):
        model_request("adult", "s3://bucket/model.tar.gz", platform=PLATFORM, environment=variables)
    Platform.parse({**PLATFORM.model_dump(), "environment": {"SYNTH_ENCRYPT_KEY": "env:MODELS"}})


def test_a_key_of_kms_needs_a_network_its_region_and_a_right(tmp_path):
    sealing = {"environment": {"SYNTH_ENCRYPT": "models", "SYNTH_ENCRYPT_KEY": f"kms:{KEY}"}}
    with pytest.raises(ConfigError, match="a container without network cannot ask"):
        Platform.parse({**GUARDED.model_dump(), **sealing})
    platform = Platform.parse({**GUARDED.model_dump(), **sealing, "network_isolation": False})
    statements = {one["Sid"]: one for one in execution_policy(platform, ["s3://bucket/real/"])["Statement"]}
    assert statements["SealModels"]["Action"] == ["kms:Decrypt", "kms:Encrypt"]
    assert statements["SealModels"]["Resource"] == [KEY]
    elsewhere = platform.model_copy(
        update={"environment": {"SYNTH_ENCRYPT_KEY": f"kms:{KEY.replace('eu-central-1', 'us-west-2')}"}}
    )
    with pytest.raises(DataError, match="SYNTH_ENCRYPT_KEY lies in us-west-2"):
        training_job(Training(TrainConfig()), {"data": "s3://bucket/real/"}, platform=elsewhere, name="a")


def test_a_version_of_a_sealed_model_tells_its_server_the_key_and_refuses_a_secret():
    platform = Platform.parse({**PLATFORM.model_dump(), "environment": {"SYNTH_ENCRYPT_KEY": "env:MODELS"}})
    request = model_package(
        "group", "s3://bucket/model.tar.gz", platform=platform, environment={"SYNTH_SERVE_MAX_ROWS": "9"}
    )
    assert problems("CreateModelPackage", request) == []
    [container] = request["InferenceSpecification"]["Containers"]
    assert container["Environment"] == {"SYNTH_ENCRYPT_KEY": "env:MODELS", "SYNTH_SERVE_MAX_ROWS": "9"}
    with pytest.raises(ConfigError, match=r"Environment\.MODELS: this looks like a secret"):
        model_package(
            "group", "s3://bucket/m.tar.gz", platform=platform, environment={"MODELS": bytes(range(171, 203)).hex()}
        )


def test_run_local_passes_the_key_into_a_container_without_showing_it(tmp_path, monkeypatch):
    machine = Machine("docker", Store(tmp_path, {}), tmp_path, stand_ins={"image": "local"})
    said = {"SYNTH_ENCRYPT": "models", "SYNTH_ENCRYPT_KEY": "env:MODEL_KEY"}
    words = machine._container("image", ["train"], said, tmp_path)
    assert words[words.index("MODEL_KEY") - 1] == "--env"
    assert os.environ["MODEL_KEY"] not in " ".join(words)
