"""The page says what can be run: its commands parse, its code makes requests, its options are options."""

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path

import boto3
import pytest
import yaml
from moto import mock_aws
from sagemaker_requests import ACCOUNT, IMAGE, PLATFORM, REGION

from synth_components.__main__ import main
from synth_sagemaker import launch
from synth_sagemaker.iam import findings, launcher_policy
from synth_sagemaker.pipeline_command import read_definition
from synth_sagemaker.validate import mistakes

PAGE = (Path(__file__).parents[2] / "sagemaker" / "README.md").read_text(encoding="utf-8")
COLUMNS = ("golden and model", "moto or stub", "on the host", "in a container", "real SDK", "on AWS")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "options.yaml").write_text(blocks("yaml")[0])
    return tmp_path


def test_12_validate_and_run_local_stand_before_anything_that_needs_an_account():
    assert PAGE.index("synth sagemaker validate") < PAGE.index("synth sagemaker run-local") < PAGE.index("import boto3")


def test_12_the_commands_of_the_page_write_a_valid_definition(options, capsys):
    write, check, run = blocks("sh")[0].strip().splitlines()
    assert main(write.split()[1:]) == 0
    assert main(check.split()[1:]) == 0
    assert mistakes(read_definition(options / "pipeline.json")) == []
    assert main([*run.split()[1:5], "missing.csv"]) == 2  # parsed; there is no such table here
    assert "DataUri" in capsys.readouterr().err


def test_15_the_policies_that_the_page_prints_name_their_resources(options, capsys):
    (command,) = re.findall(r"`(synth sagemaker iam [^`]*)`", PAGE)
    assert main(command.split()[1:]) == 0
    for policy in yaml.safe_load(capsys.readouterr().out).values():
        assert findings(policy) == []


def test_the_code_from_zero_to_an_endpoint_is_sent_as_the_policy_allows_and_so_is_the_pipeline(monkeypatch):
    """Ten calls or fewer; moto ends a training job at once."""
    sent, submit = [], launch.submit

    def noted(operation, request, **more):
        sent.append((operation, request))
        return submit(operation, request, **more)

    monkeypatch.setattr(launch, "submit", noted)
    names = {"IMAGE": IMAGE, "ROLE": PLATFORM.role, "REGION": REGION}
    zero, pipeline = blocks("python")[:2]
    steps = zero.partition("\n\n")[2].strip().splitlines()
    assert len(steps) <= 10
    with mock_aws():
        boto3.client("s3", region_name=REGION).create_bucket(
            Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        before = {name: os.environ.get(name) for name in ("AWS_DEFAULT_REGION", "AWS_REGION")}
        os.environ.update(AWS_DEFAULT_REGION=REGION, AWS_REGION=REGION)
        boto3.DEFAULT_SESSION = None
        try:
            exec(compile(zero + pipeline, "README.md", "exec"), names)  # the page's own code
            client = boto3.client("sagemaker", region_name=REGION)
            assert client.describe_endpoint(EndpointName="synth-adult")["EndpointConfigName"] == "synth-adult"
            assert client.describe_pipeline(PipelineName="synth")["PipelineName"] == "synth"
        finally:
            os.environ.update({name: value for name, value in before.items() if value is not None})
            boto3.DEFAULT_SESSION = None

    assert [operation for operation, _ in sent] == [
        "CreateTrainingJob",
        "CreateModel",
        "CreateEndpointConfig",
        "CreateEndpoint",
        "CreatePipeline",
    ]
    assert [operation for operation, request in sent if not allowed(operation, request, names["platform"])] == []


def allowed(operation, request, platform):
    """Whether the launcher's policy, by its defaults, allows the operation on what it names."""
    made = operation.removeprefix("Create")
    kind = re.sub("(?<!^)(?=[A-Z])", "-", made).lower()
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{kind}/{request[f'{made}Name']}"
    return any(
        f"sagemaker:{operation}" in one["Action"] and any(fnmatchcase(arn, named) for named in one["Resource"])
        for one in launcher_policy(platform)["Statement"]
    )


def test_the_code_of_the_page_compiles():
    for block in blocks("python"):
        compile(block, "README.md", "exec")


def test_20_the_table_of_proof_says_that_nothing_has_run_on_aws():
    rows = re.findall(r"^\| ([\w ,-]+) \| (\w+) \| (\w+) \| (\w+) \| (\w+) \| (\w+) \| (\w+) \|$", PAGE, re.MULTILINE)
    table = {part: dict(zip(COLUMNS, said, strict=True)) for part, *said in rows}
    assert len(table) == 9
    assert {said["on AWS"] for said in table.values()} == {"never"}
