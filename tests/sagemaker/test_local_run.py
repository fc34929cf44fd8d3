"""Requirement 12: a definition is executed on this machine, without AWS: each part here, the pipeline at the end."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from synth_components.__main__ import main
from synth_components.config import ConfigError
from synth_components.errors import DataError, SynthError, ThresholdError, UnsupportedError
from synth_sagemaker.expressions import Values
from synth_sagemaker.local_job import Machine, Store
from synth_sagemaker.local_run import run_local

STAND_IN = Path(__file__).parent / "stand_in.py"
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/users-own:1"
ROLE = "arn:aws:iam::123456789012:role/synth"


def definition(*, least=0, words=("judge",), kind="S3Prefix", mode="File", more=()):
    """Return a pipeline of a user's own image: train, judge, gate, register."""
    prefix = {"Std:Join": {"On": "/", "Values": ["s3://bucket", {"Get": "Execution.PipelineExecutionId"}, "report"]}}
    source = {"S3DataType": kind, "S3Uri": {"Get": "Parameters.DataUri"}}
    model = {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}
    train = {
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "HyperParameters": {"scale": {"Std:Join": {"On": "", "Values": [{"Get": "Parameters.Scale"}]}}},
        "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": source}, "InputMode": mode}],
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/models"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "RoleArn": ROLE,
    }
    judge = {
        "AppSpecification": {"ImageUri": IMAGE, "ContainerArguments": list(words)},
        "ProcessingInputs": [
            {
                "InputName": "model",
                "S3Input": {"S3Uri": model, "LocalPath": "/opt/ml/processing/input/model", "S3DataType": "S3Prefix"},
            }
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "report",
                    "S3Output": {
                        "S3Uri": prefix,
                        "LocalPath": "/opt/ml/processing/output/report",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        "ProcessingResources": {
            "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30}
        },
        "RoleArn": ROLE,
    }
    total = {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Judge.PropertyFiles.Report"}, "Path": "values.total"}}
    gate = {
        "Conditions": [{"Type": "GreaterThanOrEqualTo", "LeftValue": total, "RightValue": least}],
        "IfSteps": [
            {
                "Name": "Register",
                "Type": "RegisterModel",
                "Arguments": {
                    "ModelPackageGroupName": "group",
                    "InferenceSpecification": {"Containers": [{"Image": IMAGE, "ModelDataUrl": model}]},
                },
            }
        ],
        "ElseSteps": [
            {
                "Name": "Reject",
                "Type": "Fail",
                "Arguments": {"ErrorMessage": {"Std:Join": {"On": " ", "Values": ["the total is", total]}}},
            }
        ],
    }
    file = {"PropertyFileName": "Report", "OutputName": "report", "FilePath": "report.json"}
    return {
        "Version": "2020-12-01",
        "Parameters": [
            {"Name": "DataUri", "Type": "String", "DefaultValue": "s3://bucket/real"},
            {"Name": "Scale", "Type": "Integer", "DefaultValue": 1},
        ],
        # Out of order: a step comes after those that it needs.
        "Steps": [
            {"Name": "Gate", "Type": "Condition", "Arguments": gate},
            {"Name": "Judge", "Type": "Processing", "Arguments": judge, "PropertyFiles": [file]},
            {"Name": "Train", "Type": "Training", "Arguments": train},
            *more,
        ],
    }


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "part-1.txt").write_text("1 2\n")
    (folder / "part-2.txt").write_text("3\n")
    return folder


@pytest.fixture
def run(tmp_path, data, monkeypatch):
    """A function that runs a definition on the host, and returns pages and the calls of the user's image so far."""
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))

    def done(said=None, *, folder="run", parameters=None, place=data, stand_ins=None):
        pages = run_local(
            said or definition(),
            tmp_path / folder,
            runner="host",
            data=place,
            parameters=parameters,
            stand_ins={IMAGE: f"{sys.executable} {STAND_IN}"} if stand_ins is None else stand_ins,
        )
        return pages, (tmp_path / "calls").read_text().splitlines()

    return done


def test_12_a_definition_runs_in_order_and_says_where_the_report_is(run, tmp_path):
    pages, calls = run()
    assert calls == ["[]", "['judge']"]
    assert pages == {"Judge": tmp_path / "run/s3/bucket/local/report/report.html"}
    report = json.loads(pages["Judge"].with_name("report.json").read_text())
    assert report["values"] == {"total": 6}
    request = json.loads((tmp_path / "run/registry/Register.json").read_text())
    assert request["InferenceSpecification"]["Containers"][0]["ModelDataUrl"].startswith("s3://bucket/models/")


def test_12_what_a_training_job_makes_is_packed_where_sagemaker_packs_it(run, tmp_path):
    run(parameters={"Scale": "7"})
    output = tmp_path / "run/s3/bucket/models/pipelines-local-Train/output"
    assert sorted(path.name for path in output.iterdir()) == ["model.tar.gz", "output.tar.gz"]
    from synth_components.io.archive import unpack

    unpack(output / "model.tar.gz", tmp_path / "model")
    assert json.loads((tmp_path / "model/total.json").read_text()) == {"total": 6, "scale": "7"}


def test_12_two_runs_give_the_same_bytes(run, tmp_path):
    run(folder="one")
    run(folder="two")
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one/s3").rglob("*") if path.is_file())
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_12_a_run_goes_on_where_it_stopped(run):
    """The first run misses the gate; the second asks for less, and does no job again."""
    with pytest.raises(ThresholdError, match="step 'Reject' ends the pipeline: the total is 6"):
        run(definition(least=10))
    _, calls = run(definition(least=5))
    assert calls == ["[]", "['judge']"]


def test_12_a_job_is_done_again_if_what_it_reads_or_asks_for_has_changed(run, data):
    run()
    (data / "part-3.txt").write_text("4\n")
    _, calls = run()
    assert len(calls) == 4
    _, calls = run(definition(words=("judge", "--more")))
    assert len(calls) == 5


def test_12_a_job_is_done_again_if_what_it_made_is_gone(run, tmp_path):
    run()
    (tmp_path / "run/s3/bucket/local/report/report.json").unlink()
    _, calls = run()
    assert calls[2:] == ["['judge']"]


def test_12_nothing_is_left_but_what_was_made(run, tmp_path):
    run()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["registry", "s3", "stages.json"]


def test_12_a_job_that_fails_tells_why(run, data, tmp_path):
    (data / "part-1.txt").write_text("-100\n")
    with pytest.raises(SynthError, match="'pipelines-local-Train' ended with status 2: UserError: the sum is below 0"):
        run()
    assert not (tmp_path / "run/jobs").exists()


def test_12_a_job_that_misses_a_threshold_is_no_error_of_the_user(run):
    with pytest.raises(ThresholdError, match="status 3: ThresholdError: missed"):
        run(definition(words=("judge", "--miss")))


@pytest.mark.parametrize(
    ("ends", "status", "told"),
    [
        ("exit 1", 1, "ended with status 1: said"),
        ("exit 2", 2, "ended with status 2: said"),
        ("exit 3", 3, "ended with status 3: said"),
        ("exit 137", 1, "ended with status 137: said"),
        ("kill -9 $$", 1, "ended with status -9: said"),
    ],
)
def test_12_the_status_of_a_job_says_whose_error_it_was(tmp_path, data, capsys, ends, status, told):
    """DESIGN 0.1 (10): 1 is a bug, 2 a user's error, 3 a threshold missed."""
    assert main(run_words(tmp_path, data, f"echo said; {ends}")) == status
    assert told in capsys.readouterr().err


def test_12_a_job_ends_with_the_command_that_runs_it(tmp_path, data):
    pid = tmp_path / "pid"
    with terminated_after(pid), pytest.raises(SystemExit) as left:
        main(run_words(tmp_path, data, f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 300"))
    assert left.value.code == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_12_a_job_that_does_not_hear_is_killed(tmp_path, data, monkeypatch):
    monkeypatch.setattr("synth_sagemaker.local_job._GRACE", 0.2)
    pid = tmp_path / "pid"
    deaf = f"trap '' TERM; echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 300"
    with terminated_after(pid), pytest.raises(SystemExit):
        main(run_words(tmp_path, data, deaf))
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_12_a_job_ends_although_nobody_knew_its_process_yet(tmp_path, data, monkeypatch):
    """The signal comes while the process is begun, and not yet in the hands of who asked for it."""
    began = []

    class Interrupted(subprocess.Popen):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            began.append(self)
            signal.raise_signal(signal.SIGTERM)

    try:
        monkeypatch.setattr(subprocess, "Popen", Interrupted)
        with pytest.raises(SystemExit) as left:
            main(run_words(tmp_path, data, "exec sleep 300"))
        assert left.value.code == 128 + signal.SIGTERM
        assert [one.returncode for one in began] == [-signal.SIGTERM]
    finally:
        for one in began:
            one.kill()
            one.wait()
            one.stdout.close()


def test_12_a_container_is_killed_by_its_name(tmp_path, data, monkeypatch):
    """Whether ``docker run`` hands a signal on, and its container heeds it, is not left to them."""
    pid, docker = tmp_path / "pid", tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n'
        f'[ "$1" != run ] || {{ echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 300; }}\n'
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}{os.pathsep}{os.environ['PATH']}")
    with terminated_after(pid), pytest.raises(SystemExit):
        main(run_words(tmp_path, data, "local:1", runner="docker"))
    began, *ended = (tmp_path / "asked").read_text().splitlines()
    words = began.split()
    assert ended == [f"kill {words[words.index('--name') + 1]}"]


def run_words(tmp_path, data, stand_in, runner="host"):
    """Return the words of a run whose jobs are a line of shell."""
    file = tmp_path / "pipeline.json"
    file.write_text(json.dumps(definition()))
    stands = f"{IMAGE}={stand_in if runner == 'docker' else shlex.join(['sh', '-c', stand_in])}"
    words = ["--data", str(data), "--output", str(tmp_path / "run"), "--runner", runner, "--stand-in", stands]
    return ["sagemaker", "run-local", str(file), *words]


@contextmanager
def terminated_after(file):
    """Send this process SIGTERM as soon as there is a file; the main thread hears it."""
    is_over = threading.Event()

    def watch():
        while not file.exists() and not is_over.wait(0.01):
            pass
        if not is_over.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"kind": "ManifestFile"}, "by a manifest"),
        ({"mode": "Pipe"}, "Pipe mode"),
        (
            {
                "more": [
                    {
                        "Name": "Rows",
                        "Type": "Transform",
                        "Arguments": {
                            "ModelName": "m",
                            "TransformInput": {
                                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/"}}
                            },
                            "TransformOutput": {"S3OutputPath": "s3://b/"},
                            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
                        },
                    }
                ]
            },
            "of type Transform, which run-local does not run",
        ),
    ],
)
def test_what_run_local_does_not_do_is_refused_by_name(run, said, told):
    with pytest.raises(UnsupportedError, match=told):
        run(definition(**said))


def test_an_image_that_nothing_stands_for_is_refused_on_the_host(run):
    with pytest.raises(UnsupportedError, match=r"users-own:1' is not ours.*--stand-in"):
        run(stand_ins={})


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"Rows": "1"}, "has no parameter 'Rows'; it has DataUri, Scale"),
        ({"Scale": "many"}, "'Scale' is of type Integer"),
        ({"Scale": "true"}, "'Scale' is of type Integer"),
        ({"DataUri": "nowhere"}, "there is no file or folder 'nowhere'"),
    ],
)
def test_a_parameter_that_is_unknown_or_wrong_is_named(run, parameters, told):
    with pytest.raises((ConfigError, DataError), match=told):
        run(parameters=parameters)


def test_a_parameter_without_a_value_is_asked_for(run):
    said = definition()
    said["Parameters"].append({"Name": "Target", "Type": "String"})
    with pytest.raises(ConfigError, match="give --parameter Target="):
        run(said)


def test_an_input_that_is_not_there_is_named(run):
    with pytest.raises(DataError, match="there is nothing under 's3://bucket/real'"):
        run(place=None)


def test_a_definition_with_mistakes_is_not_run(run, tmp_path):
    said = definition()
    said["Steps"][0]["Type"] = "Gate"
    with pytest.raises(DataError, match="has 1 mistakes, the first: Gate: type 'Gate'"):
        run(said)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_someone_else_is_left_alone(run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/precious.txt").write_text("mine")
    with pytest.raises(DataError, match="did not write"):
        run()


def test_a_prefix_names_files_that_begin_so(tmp_path, data):
    store = Store(tmp_path / "s3", {"s3://bucket/real": data})
    store.copy_in("s3://bucket/real/part-1", tmp_path / "in")
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["part-1.txt"]


@pytest.mark.parametrize("prefix", ["s3://bucket", "s3://bucket/"])
def test_a_place_of_the_users_is_a_prefix_with_its_slash_or_without(tmp_path, data, prefix):
    store = Store(tmp_path / "s3", {prefix: data})
    assert store.path("s3://bucket") == store.path("s3://bucket/") == data
    assert store.path("s3://bucket/part-1.txt") == data / "part-1.txt"
    assert store.path("s3://bucket2/x") == tmp_path / "s3/bucket2/x"


@pytest.mark.parametrize("uri", ["https://bucket/key", "s3://bucket/../../etc"])
def test_what_is_no_address_of_s3_is_refused(tmp_path, uri):
    with pytest.raises(DataError, match="no address of S3"):
        Store(tmp_path).path(uri)


@pytest.mark.parametrize("uri", ["s3://bucket/real/../../x", "s3://bucket/real/.."])
def test_no_address_leads_out_of_a_place_of_the_users(tmp_path, uri):
    with pytest.raises(DataError, match="no address of S3"):
        Store(tmp_path, {"s3://bucket/real": tmp_path / "data"}).path(uri)


@pytest.mark.parametrize("prefix", ["s3://bucket/", "s3://bucket", "s3://bucket/models/"])
@pytest.mark.parametrize("is_file", [False, True])
def test_no_job_writes_into_the_users_own_data(run, data, prefix, is_file):
    before = sorted(data.rglob("*"))
    said = definition()
    said["Parameters"][0]["DefaultValue"] = prefix
    with pytest.raises(DataError, match="which run-local only reads"):
        run(said, place=data / "part-1.txt" if is_file else data)
    assert sorted(data.rglob("*")) == before


def test_the_output_of_a_processing_job_does_not_take_the_place_of_the_users_own_data(tmp_path, data):
    store = Store(tmp_path / "s3", {"s3://bucket/real/": data})
    said = definition()["Steps"][1]["Arguments"]
    for uri in ("s3://bucket/real", "s3://bucket/real/report"):
        said["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] = uri
        with pytest.raises(DataError, match="which run-local only reads"):
            Machine("host", store, tmp_path / "jobs").process("job", said)
        with pytest.raises(DataError, match="which run-local only reads"):
            store.copy_out(tmp_path, uri)
    assert len(list(data.iterdir())) == 2


@pytest.mark.parametrize("path", ["/data/in", "/opt/ml/../../etc"])
def test_a_local_path_outside_of_opt_ml_is_refused(tmp_path, path):
    said = definition()["Steps"][1]["Arguments"]
    said["ProcessingInputs"][0]["S3Input"] |= {"S3Uri": "s3://bucket/model", "LocalPath": path}
    said["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] = "s3://bucket/report"
    (tmp_path / "s3/bucket/model").mkdir(parents=True)
    with pytest.raises(UnsupportedError, match="not below /opt/ml"):
        Machine("host", Store(tmp_path / "s3"), tmp_path / "jobs").process("job", said)


def test_a_container_has_no_network_no_rights_and_a_root_that_it_cannot_write(tmp_path):
    machine = Machine("docker", Store(tmp_path), tmp_path, {IMAGE: "local:1"})
    words = machine._container(IMAGE, ["synth", "sagemaker", "process", "sample"], {"A": "b"}, tmp_path)
    assert words[words.index("--network") + 1] == "none"
    assert words[words.index("--cap-drop") + 1] == "ALL"
    assert "--read-only" in words
    assert words[-5:] == ["synth", "local:1", "sagemaker", "process", "sample"]


VALUES = Values({"Rows": 5, "Name": "a"}, {"PipelineName": "p"}, {"S": {"Outputs": {"x y": {"Uri": "s3://b/k"}}}})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ({"Get": "Parameters.Rows"}, 5),
        ({"Get": "Execution.PipelineName"}, "p"),
        ({"Get": "Steps.S.Outputs['x y'].Uri"}, "s3://b/k"),
        (
            {"Std:Join": {"On": "/", "Values": ["s3:", {"Get": "Parameters.Name"}, {"Get": "Parameters.Rows"}]}},
            "s3:/a/5",
        ),
        ([{"a": {"Get": "Parameters.Rows"}}, True], [{"a": 5}, True]),
    ],
)
def test_an_expression_becomes_its_value(expression, value):
    assert VALUES.of(expression) == value


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"Type": "Equals", "LeftValue": 1, "RightValue": 1}, True),
        ({"Type": "GreaterThan", "LeftValue": 1, "RightValue": 1}, False),
        ({"Type": "LessThan", "LeftValue": {"Get": "Parameters.Rows"}, "RightValue": 6}, True),
        ({"Type": "In", "QueryValue": 1, "Values": [2, 3]}, False),
        ({"Type": "Not", "Expression": {"Type": "In", "QueryValue": 1, "Values": [2]}}, True),
        ({"Type": "Or", "Conditions": [{"Type": "Equals", "LeftValue": 1, "RightValue": 1}]}, True),
    ],
)
def test_a_condition_holds_or_does_not(condition, holds):
    assert VALUES.holds(condition) is holds


def test_a_score_that_is_not_there_ends_the_run():
    with pytest.raises(DataError, match="there is nothing at"):
        VALUES.of({"Get": "Steps.S.Outputs['z']"})
    with pytest.raises(DataError, match="could not be made"):
        VALUES.holds({"Type": "LessThan", "LeftValue": None, "RightValue": 1})


def test_12_the_command_validates_runs_and_says_where_the_report_is(tmp_path, data, monkeypatch, capsys):
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    file = tmp_path / "pipeline.json"
    file.write_text(json.dumps(definition()))
    stand_in = f"{IMAGE}={sys.executable} {STAND_IN}"
    assert main(["sagemaker", "validate", str(file)]) == 0
    words = ["--data", str(data), "--output", str(tmp_path / "run"), "--runner", "host", "--stand-in", stand_in]
    assert main(["sagemaker", "run-local", str(file), *words, "--parameter", "Scale=3"]) == 0
    told = capsys.readouterr().out
    assert f"report of Judge: {tmp_path / 'run/s3/bucket/local/report/report.html'}" in told


def test_12_the_command_lists_every_mistake_and_ends_with_status_2(tmp_path, capsys):
    said = definition()
    said["Version"], said["Steps"][0]["Type"] = "1", "Gate"
    file = tmp_path / "pipeline.json"
    file.write_text(json.dumps(said))
    assert main(["sagemaker", "validate", str(file)]) == 2
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 2
    assert "has 2 mistakes" in told.err


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_a_file_that_is_no_definition_is_refused(tmp_path, text, capsys):
    file = tmp_path / "pipeline.json"
    file.write_text(text)
    assert main(["sagemaker", "validate", str(file)]) == 2
    assert "`synth sagemaker pipeline` writes a definition" in capsys.readouterr().err
