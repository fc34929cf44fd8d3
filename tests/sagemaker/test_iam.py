"""Requirement 15: policies name what they allow, and the linter finds those that do not."""

import json
import re

import pytest
from sagemaker_requests import ACCOUNT, GUARDED, KEY, PLATFORM, REGION, REQUESTS, assert_golden

from synth_components.__main__ import main
from synth_components.config import ConfigError
from synth_components.steps.train import TrainConfig
from synth_sagemaker.hyperparameters import Training
from synth_sagemaker.iam import ENI_ACTIONS, MOST_CHARACTERS, execution_policy, findings, launcher_policy, trust_policy
from synth_sagemaker.pipeline import Options, create_pipeline, pipeline
from synth_sagemaker.residency import buckets
from synth_sagemaker.training import training_job

INPUTS = ["s3://bucket/train/", "s3://other/holdout/"]
SERVER = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:mlflow-tracking-server/synth"
POLICIES = {
    "execution": lambda: execution_policy(PLATFORM, INPUTS),
    "execution.guarded": lambda: execution_policy(GUARDED, INPUTS, has_metrics=True),
    "launcher": lambda: launcher_policy(PLATFORM),
    "launcher.tracking": lambda: launcher_policy(GUARDED, INPUTS, tracking=SERVER),
}


@pytest.mark.parametrize("name", [*POLICIES, "trust"])
def test_15_a_policy_is_golden_and_the_linter_finds_nothing(name):
    policy = trust_policy(PLATFORM) if name == "trust" else POLICIES[name]()
    assert findings(policy) == []
    assert_golden(f"iam.{name}", policy)


@pytest.mark.parametrize("name", POLICIES)
def test_15_a_star_stands_for_registry_log_in_network_interfaces_and_bound_metrics_alone(name):
    for statement in POLICIES[name]()["Statement"]:
        if statement["Resource"] != ["*"]:
            assert "*" not in statement["Resource"]
        elif "cloudwatch:PutMetricData" in statement["Action"]:
            assert statement["Condition"] == {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}}
        else:
            assert set(statement["Action"]) <= {"ecr:GetAuthorizationToken", *ENI_ACTIONS}


ALLOWED = {"Sid": "S", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::bucket/a/*"]}


LENDS = {"Action": ["kms:CreateGrant"], "Resource": [KEY]}
PASSES = {"Action": ["iam:PassRole"], "Resource": ["arn:aws:iam::123456789012:role/r"]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"Resource": "*"}, "resource '*'"),
        ({"Resource": ["*"], "Action": ["ecr:GetAuthorizationToken", "s3:GetObject"]}, "resource '*'"),
        ({"Resource": ["*"], "Action": ["cloudwatch:PutMetricData"]}, "resource '*'"),
        ({"Action": "s3:*"}, "action 's3:*'"),
        ({"Action": ["*"]}, "action '*'"),
        ({"Resource": ["arn:aws:s3:::*"]}, "names nothing"),
        ({"Resource": ["arn:aws:s3:::synth*/a"]}, "names nothing"),
        ({"Resource": ["arn:aws:sagemaker:eu-west-1:123456789012:*"]}, "names nothing"),
        ({"NotAction": ["s3:DeleteObject"]}, "all but"),
        ({"Action": ["s3:GetObjec?"]}, "action 's3:GetObjec?'"),
        ({"Principal": "*"}, "everyone"),
        ({"Principal": {"AWS": "*"}}, "everyone"),
        ({"Principal": {"AWS": ["arn:aws:iam::123456789012:root", "*"]}}, "everyone"),
        ({"Action": ["KMS:createGrant"], "Resource": [KEY]}, "lent to anyone"),
        ({**LENDS, "Condition": {"Bool": {"kms:GrantIsForAWSResource": "false"}}}, "lent to anyone"),
        ({**LENDS, "Condition": {"Bool": {"kms:GrantIsForAWSResource": ["true", "false"]}}}, "lent to anyone"),
        ({**LENDS, "Condition": {"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}}}, "lent to anyone"),
        ({**PASSES, "Action": "iam:passrole"}, "any service"),
        ({**PASSES, "Condition": {"StringEquals": {"aws:RequestedRegion": "eu-central-1"}}}, "any service"),
        ({**PASSES, "Condition": {"StringNotEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}}, "any service"),
        (
            {**PASSES, "Condition": {"StringEqualsIfExists": {"iam:PassedToService": "ec2.amazonaws.com"}}},
            "any service",
        ),
        ({**PASSES, "Condition": {"StringLike": {"iam:PassedToService": ["ec2.*", "*.amazonaws.com"]}}}, "any service"),
        ({"Action": ["kms:CreateGrant"], "Resource": [KEY]}, "lent to anyone"),
        ({"Resource": [f"arn:aws:s3:::bucket/{place}" for place in range(300)]}, "at most 6,144 in a managed policy"),
        ({"Action": ["iam:PassRole"], "Resource": ["arn:aws:iam::123456789012:role/r"]}, "any service"),
    ],
)
def test_15_the_linter_finds_a_policy_that_names_too_little(change, told):
    (line,) = findings({"Version": "2012-10-17", "Statement": [{**ALLOWED, **change}]})
    assert told in line


@pytest.mark.parametrize(
    "change",
    [
        {**LENDS, "Condition": {"Bool": {"kms:GrantIsForAWSResource": True}}},
        {
            **LENDS,
            "Condition": {
                "Bool": {"kms:GrantIsForAWSResource": "true"},
                "StringEquals": {"kms:ViaService": "sagemaker.eu-central-1.amazonaws.com"},
            },
        },
        {
            **PASSES,
            "Condition": {
                "StringEquals": {"IAM:passedToService": "sagemaker.amazonaws.com", "aws:RequestedRegion": "eu-west-1"}
            },
        },
        {**PASSES, "Condition": {"StringLike": {"iam:PassedToService": ["sagemaker.amazonaws.*"]}}},
        {"Action": ["ECR:getAuthorizationToken"], "Resource": "*"},
        {"Principal": {"AWS": ["arn:aws:iam::123456789012:root"]}},
    ],
)
def test_15_the_linter_takes_a_condition_that_is_stricter_or_written_otherwise(change):
    assert findings({"Version": "2012-10-17", "Statement": [{**ALLOWED, **change}]}) == []


def test_15_a_policy_of_just_as_many_characters_as_iam_takes_is_taken():
    def padded(characters):
        return {"Version": "2012-10-17", "Statement": [{**ALLOWED, "Sid": "S" * characters}]}

    room = MOST_CHARACTERS - len(re.sub(r"\s", "", json.dumps(padded(0))))
    assert findings(padded(room)) == []
    assert findings(padded(room + 1))


def test_15_who_makes_an_endpoint_may_lend_the_key_of_its_volumes_to_aws_alone():
    """AWS asks it of the caller, since an endpoint has no role of its own."""
    lent = [one for one in launcher_policy(GUARDED)["Statement"] if "kms:CreateGrant" in one["Action"]]
    condition = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    assert [(one["Resource"], one["Condition"]) for one in lent] == [([KEY], condition)]
    assert "kms:CreateGrant" not in json.dumps(launcher_policy(PLATFORM))


def test_15_a_job_reads_its_inputs_and_output_and_writes_its_output_alone():
    by_name = {one["Sid"]: one for one in execution_policy(PLATFORM, INPUTS)["Statement"]}
    assert by_name["Read"]["Resource"] == [
        "arn:aws:s3:::bucket/synth",
        "arn:aws:s3:::bucket/synth/*",
        "arn:aws:s3:::bucket/train/*",
        "arn:aws:s3:::other/holdout/*",
    ]
    assert by_name["Write"]["Resource"] == ["arn:aws:s3:::bucket/synth", "arn:aws:s3:::bucket/synth/*"]
    assert by_name["List"]["Condition"] == {"StringLike": {"s3:prefix": ["synth", "synth/*", "train/*"]}}


def test_15_keys_network_and_metrics_come_only_where_they_are_needed():
    names = {one["Sid"] for one in execution_policy(PLATFORM, INPUTS)["Statement"]}
    guarded = {one["Sid"] for one in execution_policy(GUARDED, INPUTS, has_metrics=True)["Statement"]}
    assert guarded - names == {"UseKeys", "LendKeyToVolumes", "NetworkInterfaces", "Metrics"}


def test_15_only_sagemaker_in_this_account_may_take_the_role_on():
    (statement,) = trust_policy(PLATFORM)["Statement"]
    assert statement["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


def test_15_the_launcher_passes_one_role_to_sagemaker_alone():
    by_name = {one["Sid"]: one for one in launcher_policy(PLATFORM)["Statement"]}
    assert by_name["PassRole"]["Resource"] == [PLATFORM.role]
    assert by_name["PassRole"]["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}


def test_15_the_role_of_a_pipeline_is_passed_too_and_is_that_of_jobs_unless_it_is_named():
    role = f"arn:aws:iam::{ACCOUNT}:role/synth-pipeline"
    platform = PLATFORM.model_copy(update={"pipeline_role": role})
    by_name = {one["Sid"]: one for one in launcher_policy(platform)["Statement"]}
    assert by_name["PassRole"]["Resource"] == [PLATFORM.role, role]
    definition = pipeline(platform, Options(), data="s3://bucket/real/")
    assert create_pipeline("synth", definition, platform=platform)["RoleArn"] == role
    assert role not in json.dumps(definition)  # no job runs as it
    assert create_pipeline("synth", definition, platform=PLATFORM)["RoleArn"] == PLATFORM.role
    with pytest.raises(ConfigError, match="pipeline_role is no ARN"):
        launcher_policy(PLATFORM.model_copy(update={"pipeline_role": "synth-pipeline"}))


def test_15_what_aws_names_is_the_jobs_and_models_of_pipelines_alone():
    for statement in launcher_policy(PLATFORM)["Statement"]:
        kinds = {arn.split(":")[5].split("/")[0] for arn in statement["Resource"] if "/pipelines-" in arn}
        assert kinds <= {"hyper-parameter-tuning-job", "model", "processing-job", "training-job", "transform-job"}


def test_15_the_launcher_locates_every_bucket_that_submit_asks_for():
    (located,) = [one for one in launcher_policy(PLATFORM, INPUTS)["Statement"] if one["Sid"] == "LocateBuckets"]
    inputs = dict(zip(("data", "holdout"), INPUTS, strict=True))
    request = training_job(Training(TrainConfig()), inputs, platform=PLATFORM, name="synth-train-1")
    assert located["Resource"] == [f"arn:aws:s3:::{bucket}" for bucket in sorted(buckets(request))]


def test_15_the_launcher_decrypts_the_reports_that_it_may_read_and_nothing_without_a_key():
    by_name = {one["Sid"]: one for one in launcher_policy(GUARDED)["Statement"]}
    assert (by_name["DecryptReports"]["Action"], by_name["DecryptReports"]["Resource"]) == (["kms:Decrypt"], [KEY])
    assert "DecryptReports" not in {one["Sid"] for one in launcher_policy(PLATFORM)["Statement"]}


def test_15_an_mlflow_app_asks_for_an_action_of_its_own():
    app = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:mlflow-app/app-1"
    server, other = (launcher_policy(PLATFORM, tracking=arn)["Statement"][-1] for arn in (SERVER, app))
    assert other["Action"] == ["sagemaker:CallMlflowAppApi", *server["Action"]]
    assert other["Resource"] == [app]
    with pytest.raises(ConfigError, match="no ARN of a tracking server"):
        launcher_policy(PLATFORM, tracking="https://mlflow.example")


def test_15_the_launcher_may_log_a_model_and_register_it():
    """What a server was asked for in test_tracking.py; AWS has no action for CreateLoggedModel but LogModel."""
    (tracked,) = [one for one in launcher_policy(PLATFORM, tracking=SERVER)["Statement"] if one["Sid"] == "Track"]
    asked = {"LogModel", "FinalizeLoggedModel", "GetLoggedModel", "SetLoggedModelTags", "LogOutputs", "LogBatch"}
    asked |= {"CreateRegisteredModel", "CreateModelVersion", "CreateRun", "UpdateRun", "SetTag"}
    assert {f"sagemaker-mlflow:{action}" for action in asked} <= set(tracked["Action"])


def test_15_an_image_of_the_fips_registry_is_named_as_any_other():
    fips = PLATFORM.model_copy(update={"image": PLATFORM.image.replace(".ecr.", ".ecr-fips.")})
    assert execution_policy(fips, INPUTS) == execution_policy(PLATFORM, INPUTS)


def members(value):
    """Return the names of all members of a JSON value."""
    if isinstance(value, list):
        return {name for part in value for name in members(part)}
    return {*value, *(name for part in value.values() for name in members(part))} if isinstance(value, dict) else set()


def test_15_the_launcher_makes_isolated_alone_whatever_can_be_isolated():
    isolated = {operation for operation, build in REQUESTS.values() if "EnableNetworkIsolation" in members(build())}
    assert len(isolated) == 4
    for statement in launcher_policy(PLATFORM)["Statement"]:
        if isolated & {action.removeprefix("sagemaker:") for action in statement["Action"]}:
            assert statement["Condition"] == {"Bool": {"sagemaker:NetworkIsolation": "true"}}


def test_15_the_command_says_how_names_begin_what_is_read_and_where_jobs_are_logged(capsys):
    given = ["--image", PLATFORM.image, "--role", PLATFORM.role, "--output", PLATFORM.output]
    given += ["--prefix", "adult", "--tracking", SERVER, "--data", INPUTS[0], "--input", INPUTS[1]]
    assert main(["sagemaker", "iam", *given]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["launcher"] == launcher_policy(PLATFORM, INPUTS, prefix="adult", tracking=SERVER)
    assert f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/adult*" in said["launcher"]["Statement"][0]["Resource"]


def test_15_every_operation_that_requests_make_is_allowed_to_the_launcher():
    from synth_sagemaker.request import RESERVED

    allowed = {action for one in launcher_policy(PLATFORM)["Statement"] for action in one["Action"]}
    assert {f"sagemaker:{operation}" for operation in RESERVED} <= allowed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"role": "synth"}, "no ARN of a role"),
        ({"image": "synth:1"}, "no repository of ECR"),
        ({"output_kms_key": "alias/synth"}, "by its ARN"),
    ],
)
def test_what_names_no_resource_is_refused(change, told):
    with pytest.raises(ConfigError, match=told):
        execution_policy(PLATFORM.model_copy(update=change), INPUTS)


def test_a_key_is_named_once():
    by_name = {one["Sid"]: one for one in execution_policy(GUARDED, INPUTS)["Statement"]}
    assert by_name["UseKeys"]["Resource"] == [KEY]
