"""A model folder as SageMaker hosts it: packed, named by a request, copied to S3."""

import hashlib
import json
import os
import shutil

import pytest

import synth_components as synth
from synth_components.__main__ import MISSED, main
from synth_components.errors import ArtifactError
from synth_components.io.archive import pack, unpack

ROLE = "arn:aws:iam::111122223333:role/synth"
IMAGE = "111122223333.dkr.ecr.us-east-1.amazonaws.com/synth:0.1.0"
REQUESTED = ("--name", "customers", "--image", IMAGE, "--role", ROLE)


@pytest.fixture(scope="module")
def model(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "model"
    synth.fit(table, generator="tabular.independent", seed=0).save(folder)
    return folder


def export(model, bundle, *more):
    return main(["sagemaker", "export", "--model", str(model), "--bundle", str(bundle), *more])


def test_what_is_unpacked_is_the_model_with_its_rows(model, tmp_path):
    assert export(model, tmp_path / "bundle") == 0
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["model.tar.gz"]
    unpack(tmp_path / "bundle" / "model.tar.gz", tmp_path / "opt")
    held, packed = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (model, tmp_path / "opt")
    )
    assert held == packed
    first, second = (synth.load(folder).sample(50, seed=3) for folder in (model, tmp_path / "opt"))
    assert first.equals(second)


def test_the_same_files_give_the_same_bytes_whenever_and_by_whomever_they_were_written(model, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o700)
    digests = []
    for name, folder in (("a", model), ("b", copy)):
        assert export(folder, tmp_path / name) == 0
        digests.append(hashlib.sha256((tmp_path / name / "model.tar.gz").read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_a_link_is_not_packed(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to("/etc/hostname")
    with pytest.raises(ArtifactError, match="neither a plain file nor a folder"):
        pack(tmp_path / "folder", tmp_path / "archive")


def test_what_is_no_model_is_refused_before_anything_is_written(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    assert export(tmp_path / "folder", tmp_path / "bundle") == 2
    assert "folder" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("policy", ["", "off"])
def test_a_model_that_holds_rows_is_refused_before_anything_is_written(table, tmp_path, capsys, monkeypatch, policy):
    """What `synth sagemaker export` and Kubeflow's export_to_sagemaker do."""
    monkeypatch.setenv("SYNTH_POLICY", policy)
    synth.fit(table, generator="tabular.smote", seed=0, options={"keep_rows": True}).save(tmp_path / "model")
    assert export(tmp_path / "model", tmp_path / "bundle") == MISSED
    assert "holds training rows" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_a_request_that_lacks_something_is_refused(model, tmp_path, capsys):
    assert export(model, tmp_path / "bundle", *REQUESTED) == 2
    assert "destination" in capsys.readouterr().err


def test_the_archive_is_copied_to_s3_and_the_request_names_it_there(model, tmp_path, monkeypatch):
    boto3 = pytest.importorskip("boto3", reason="boto3 comes with the extra sagemaker")
    server = pytest.importorskip("moto.server", reason="moto comes with the extra dev")
    threaded = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    threaded.start()
    try:
        endpoint = "http://{}:{}".format(*threaded.get_host_and_port())
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="models")
        here = ("--allowed-regions", '["us-east-1"]')
        assert export(model, tmp_path / "bundle", "--destination", "s3://models/customers/", *REQUESTED, *here) == 0
        there = client.get_object(Bucket="models", Key="customers/model.tar.gz")["Body"].read()
    finally:
        threaded.stop()
    assert there == (tmp_path / "bundle" / "model.tar.gz").read_bytes()
    said = json.loads((tmp_path / "bundle" / "create-model.json").read_text())
    assert said["ModelName"] == "customers"
    assert said["ExecutionRoleArn"] == ROLE
    assert said["EnableNetworkIsolation"] is True
    container = said["PrimaryContainer"]
    assert (container["Image"], container["ModelDataUrl"]) == (IMAGE, "s3://models/customers/model.tar.gz")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--destination", "s3://far/customers"), "bucket 'far' lies in us-west-2, and only us-east-1 are allowed"),
        (("--destination", "s3://none/customers"), "GetBucketLocation was refused"),
        (("--destination", "s3://near/customers?endpoint_override=elsewhere"), "may name another endpoint"),
        (
            ("--destination", "s3://near/customers", *REQUESTED, "--image", IMAGE.replace("us-east-1", "us-west-2")),
            "Image lies in us-west-2",
        ),
        (("--destination", "s3://near/customers", *REQUESTED, "--image", "docker.io/synth:1"), "tells no region"),
    ],
)
def test_a_bucket_or_image_in_no_allowed_region_is_refused_before_anything_is_written(
    model, tmp_path, capsys, monkeypatch, more, told
):
    boto3 = pytest.importorskip("boto3", reason="boto3 comes with the extra sagemaker")
    moto = pytest.importorskip("moto", reason="moto comes with the extra dev")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with moto.mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="near")
        client.create_bucket(Bucket="far", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        assert export(model, tmp_path / "bundle", *more, "--allowed-regions", '["us-east-1"]') == 2
        for bucket in ("near", "far"):
            assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert told in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_allowed_regions_without_boto3_name_the_extra(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("synth_sagemaker.export.find_spec", lambda name: None)
    asked = ("--destination", "s3://near/customers", "--allowed-regions", '["us-east-1"]')
    assert export(model, tmp_path / "bundle", *asked) == 2
    assert "pip install 'synth-components[sagemaker]'" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_exporting_needs_no_boto3(model, tmp_path):
    import subprocess
    import sys

    code = "import sys; sys.modules.update(boto3=None, botocore=None); from synth_components.__main__ import main; "
    code += f"sys.exit(main(['sagemaker', 'export', '--model', {str(model)!r}, '--bundle', 'bundle']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
