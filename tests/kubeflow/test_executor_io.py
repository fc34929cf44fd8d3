"""The executor contract: what `{{$}}` says is read, and what Kubeflow Pipelines needs is written."""

import json

import pytest

from synth_components.errors import DataError
from synth_kubeflow.executor_io import MAX_FAN_IN, ExecutorIO


def text(folder, *, parameters=None, inputs=None, outputs=("model",)):
    """Return an executor input whose outputs lie in ``folder``."""
    return json.dumps(
        {
            "inputs": {
                "parameterValues": parameters or {},
                "artifacts": {
                    name: {"artifacts": [{"uri": uri} for uri in uris]} for name, uris in (inputs or {}).items()
                },
            },
            "outputs": {
                "artifacts": {
                    name: {"artifacts": [{"name": name, "uri": str(folder / "deep" / name)}]} for name in outputs
                },
                "outputFile": str(folder / "elsewhere" / "out.json"),
            },
        }
    )


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("s3://bucket/a", "/s3/bucket/a"),
        ("gs://bucket/a", "/gcs/bucket/a"),
        ("minio://bucket/a", "/minio/bucket/a"),
        ("/plain/a", "/plain/a"),
    ],
)
def test_requirement_4_a_uri_becomes_the_path_that_the_launcher_mounts(tmp_path, uri, path):
    assert str(ExecutorIO.parse(text(tmp_path, inputs={"data": [uri]})).inputs["data"][0]) == path


def test_requirement_4_the_path_that_the_platform_names_wins_over_the_uri(tmp_path):
    said = json.loads(text(tmp_path))
    said["inputs"]["artifacts"] = {"data": {"artifacts": [{"uri": "s3://b/a", "customPath": "/kfp-workspace/a"}]}}
    assert str(ExecutorIO.parse(json.dumps(said)).inputs["data"][0]) == "/kfp-workspace/a"


def test_requirement_4_whole_numbers_are_int_however_deep(tmp_path):
    said = {"a": 5.0, "b": 0.5, "c": [1.0, "1.0"], "d": {"e": {"f": 10.0}}, "g": True}
    read = ExecutorIO.parse(text(tmp_path, parameters=said)).parameters
    assert repr(read) == repr({"a": 5, "b": 0.5, "c": [1, "1.0"], "d": {"e": {"f": 10}}, "g": True})


def test_requirement_4_the_folders_of_outputs_are_made(tmp_path):
    io = ExecutorIO.parse(text(tmp_path))
    assert io.outputs["model"].path.parent.is_dir()
    assert io.output_file.parent.is_dir()


def test_requirement_4_the_executor_output_lists_our_artifacts_and_leaves_the_platforms_alone(tmp_path):
    io = ExecutorIO.parse(text(tmp_path, outputs=("model", "metrics", "executor-logs")))
    io.finish({"model": {"synth.rows": 3}, "metrics": {}}, {"score": 0.5})
    said = json.loads(io.output_file.read_text())
    assert set(said["artifacts"]) == {"model", "metrics"}
    assert said["artifacts"]["model"]["artifacts"][0]["metadata"] == {"synth.rows": 3}
    assert said["parameterValues"] == {"score": 0.5}


def test_requirement_4_the_executor_output_is_written_whole_or_not_at_all(tmp_path):
    io = ExecutorIO.parse(text(tmp_path))
    with pytest.raises(ValueError, match="JSON"):
        io.finish({"model": {"synth.rows": float("nan")}}, {})
    assert list(io.output_file.parent.iterdir()) == []


@pytest.mark.parametrize("said", ["", "{}", "[]", '{"outputs": {}}', '{"outputs": {"outputFile": null}}'])
def test_what_is_no_executor_input_is_refused(said):
    with pytest.raises(DataError, match="executor input"):
        ExecutorIO.parse(said)


def test_requirement_11_more_artifacts_than_fit_into_an_argument_are_refused(tmp_path):
    fits = {"parts": [f"/a/{number}" for number in range(MAX_FAN_IN)]}
    assert len(ExecutorIO.parse(text(tmp_path, inputs=fits)).inputs["parts"]) == MAX_FAN_IN
    with pytest.raises(DataError, match="'parts' has 251 artifacts"):
        ExecutorIO.parse(text(tmp_path, inputs={"parts": [*fits["parts"], "/b"]}))


def test_requirement_11_the_most_artifacts_fit_into_an_argument_of_linux():
    # what kfp.local writes for one artifact, at a path of ordinary length
    one = {
        "name": "synthetic", "type": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
        "uri": "s3://" + "x" * 150, "metadata": {"synth.kind": "dataset", "synth.data_digest": "0" * 64},
    }  # fmt: skip
    assert len(json.dumps(one)) * MAX_FAN_IN < 131_072
