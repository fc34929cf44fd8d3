"""Requests on their way to AWS: moto where it has the operation, botocore's Stubber where it has not."""

import boto3
import pytest
import sagemaker_requests as requested
from botocore.stub import Stubber
from moto import mock_aws
from sagemaker_requests import GUARDED, PLATFORM, REGION, REQUESTS

from synth_components.config import ConfigError
from synth_components.errors import DataError
from synth_sagemaker.launch import submit
from synth_sagemaker.pipeline import Options, create_pipeline, pipeline
from synth_sagemaker.residency import refuse_foreign_regions

MOTO_HAS = ("training", "processing", "evaluation", "transform", "tuning", "model", "model_package_group")


@pytest.fixture
def aws(client_of):
    """The client for an account that holds nothing."""
    with mock_aws():
        yield client_of("sagemaker")


@pytest.fixture
def s3(aws, client_of):
    for bucket, region in (("bucket", REGION), ("far", "us-west-2")):
        client = client_of("s3", region)
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
    return client_of("s3")


@pytest.mark.parametrize("kind", MOTO_HAS)
def test_13_moto_takes_the_request_and_its_arn_comes_back(kind, aws):
    operation, build = REQUESTS[kind]
    assert submit(operation, build(), client=aws).startswith("arn:aws:sagemaker:eu-central-1:")


def test_13_the_training_job_that_moto_describes_is_the_request(aws):
    request = requested.training(GUARDED)
    submit("CreateTrainingJob", request, client=aws)
    told = aws.describe_training_job(TrainingJobName=request["TrainingJobName"])
    same = ("HyperParameters", "ResourceConfig", "VpcConfig", "EnableNetworkIsolation", "InputDataConfig")
    assert {name: told[name] for name in same} == {name: request[name] for name in same}


@pytest.mark.parametrize("kind", ["model_package", "endpoint_config", "serverless_endpoint_config", "endpoint"])
def test_13_a_stubbed_client_is_sent_the_request_unchanged(kind, client_of):
    operation, build = REQUESTS[kind]
    client, request = client_of("sagemaker"), build(GUARDED)
    arn = {"model_package": "ModelPackageArn", "endpoint": "EndpointArn"}.get(kind, "EndpointConfigArn")
    method = {"CreateModelPackage": "create_model_package", "CreateEndpoint": "create_endpoint"}.get(
        operation, "create_endpoint_config"
    )
    made = "arn:aws:sagemaker:eu-central-1:123456789012:thing/name"
    with Stubber(client) as stub:
        stub.add_response(method, {arn: made}, request)
        assert submit(operation, request, client=client) == made


def test_what_aws_refuses_is_told_without_its_text(aws):
    with Stubber(aws) as stub:
        stub.add_client_error("create_training_job", "ResourceLimitExceeded", "CANARY is what you sent")
        with pytest.raises(DataError, match="ResourceLimitExceeded") as told:
            submit("CreateTrainingJob", requested.training(), client=aws)
    assert "CANARY" not in str(told.value)


def test_a_request_written_by_hand_is_checked_before_it_is_sent(aws):
    with pytest.raises(DataError, match="TrainingJobName: does not match"):
        submit("CreateTrainingJob", {**requested.training(), "TrainingJobName": "a_b"}, client=aws)
    with pytest.raises(ConfigError, match="secret"):
        submit("CreateTrainingJob", {**requested.training(), "HyperParameters": {"password": "x"}}, client=aws)
    again = {"HyperParameters": {"privacy": "dp"}, "RetryStrategy": {"MaximumRetryAttempts": 5}}
    with pytest.raises(ConfigError, match="RetryStrategy: a private fit reads its rows once"):
        submit("CreateTrainingJob", {**requested.training(), **again}, client=aws)
    assert aws.list_training_jobs()["TrainingJobSummaries"] == []


def test_without_a_region_the_error_says_what_to_set(monkeypatch, aws_session):
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", aws_session)
    with pytest.raises(DataError, match="set AWS_REGION"):
        submit("CreateTrainingJob", requested.training())


def test_all_in_the_allowed_region_is_sent(aws, s3):
    arn = submit("CreateTrainingJob", requested.training(GUARDED), client=aws, s3=s3, allowed_regions=[REGION])
    assert arn


def test_an_endpoint_elsewhere_is_refused_before_a_request_is_sent(aws, s3, client_of):
    far = client_of("sagemaker", "us-west-2")
    with pytest.raises(DataError, match="the endpoint of SageMaker lies in us-west-2"):
        submit("CreateTrainingJob", requested.training(), client=far, s3=s3, allowed_regions=[REGION])
    assert far.list_training_jobs()["TrainingJobSummaries"] == []


def test_a_bucket_elsewhere_is_refused_before_a_request_is_sent(aws, s3):
    request = requested.training(PLATFORM.model_copy(update={"output": "s3://far/synth"}))
    with pytest.raises(DataError, match="bucket 'far' lies in us-west-2"):
        submit("CreateTrainingJob", request, client=aws, s3=s3, allowed_regions=[REGION])
    assert aws.list_training_jobs()["TrainingJobSummaries"] == []


def piped(platform, **options):
    """Return the request of a pipeline whose own checks do not know which regions are allowed."""
    return create_pipeline("synth", pipeline(platform, Options(), **options), platform=platform)


def test_a_bucket_elsewhere_in_a_pipeline_is_refused_before_it_is_sent(aws, s3):
    """Its definition is text within the request."""
    far = PLATFORM.model_copy(update={"output": "s3://far/synth"})
    for request in (piped(far), piped(PLATFORM, data="s3://far/real/")):
        with pytest.raises(DataError, match="bucket 'far' lies in us-west-2"):
            submit("CreatePipeline", request, client=aws, s3=s3, allowed_regions=[REGION])
    assert aws.list_pipelines()["PipelineSummaries"] == []
    assert submit("CreatePipeline", piped(PLATFORM), client=aws, s3=s3, allowed_regions=[REGION])


def test_an_image_or_key_elsewhere_in_a_pipeline_is_refused_before_it_is_sent(aws, s3):
    for member, value in (("image", requested.IMAGE), ("volume_kms_key", requested.KEY)):
        request = piped(PLATFORM.model_copy(update={member: value.replace(REGION, "us-west-2")}))
        with pytest.raises(DataError, match=r"PipelineDefinition\.Steps.* lies in us-west-2"):
            submit("CreatePipeline", request, client=aws, s3=s3, allowed_regions=[REGION])


def test_a_definition_that_lies_in_a_bucket_elsewhere_is_refused(aws, s3):
    place = {"Bucket": "far", "ObjectKey": "pipeline.json"}
    request = {**piped(PLATFORM), "PipelineDefinitionS3Location": place}
    del request["PipelineDefinition"]
    with pytest.raises(DataError, match="bucket 'far' lies in us-west-2"):
        submit("CreatePipeline", request, client=aws, s3=s3, allowed_regions=[REGION])


def test_a_secret_in_a_pipeline_is_refused_before_it_is_sent(aws):
    definition = pipeline(PLATFORM, Options())
    definition["Steps"][0]["Arguments"]["Environment"] = {"DB_PASSWORD": "x"}
    with pytest.raises(ConfigError, match=r"PipelineDefinition\.Steps\[0\].*looks like a secret"):
        create_pipeline("synth", definition, platform=PLATFORM)
    with pytest.raises(DataError, match="PipelineDefinition is no JSON"):
        submit("CreatePipeline", {**piped(PLATFORM), "PipelineDefinition": "{"}, client=aws)


@pytest.mark.parametrize("host", ["far.s3.us-west-2.amazonaws.com", "s3-us-west-2.amazonaws.com", "s3.amazonaws.com"])
def test_an_address_of_s3_that_hides_its_bucket_is_refused_where_regions_are_limited(host):
    said = PLATFORM.model_copy(update={"allowed_regions": (REGION,)})
    with pytest.raises(DataError, match="write it as s3://"):
        requested.registered_model(said, place=f"https://{host}/far/model.tar.gz")


@pytest.mark.parametrize(
    ("member", "value", "told"),
    [
        ("image", requested.IMAGE.replace(REGION, "us-west-2"), "TrainingImage lies in us-west-2"),
        ("image", "docker.io/synth:1", "tells no region"),
        ("volume_kms_key", requested.KEY.replace(REGION, "us-west-2"), "VolumeKmsKeyId lies in us-west-2"),
        ("output_kms_key", requested.KEY.replace(REGION, "us-west-2"), "KmsKeyId lies in us-west-2"),
    ],
)
def test_an_image_or_key_elsewhere_is_refused_when_the_request_is_made(member, value, told):
    with pytest.raises(DataError, match=told):
        requested.training(GUARDED.model_copy(update={member: value}))


def test_a_role_is_of_no_region():
    refuse_foreign_regions({"RoleArn": PLATFORM.role}, [REGION])
