"""Endpoints with a queue, and their scaling on the backlog of an instance: requirement 13, without an account."""

import re
from pathlib import Path

import pytest
import sagemaker_requests as requested
from botocore.stub import Stubber
from sagemaker_requests import GUARDED, KEY

from synth_components.errors import DataError
from synth_components.service.options import ServeConfig
from synth_sagemaker import scaling
from synth_sagemaker.endpoint import ASYNC_ENVIRONMENT, SERVERLESS_ENVIRONMENT, VARIANT
from synth_sagemaker.registry import model
from synth_sagemaker.serve import options
from synth_sagemaker.shapes import problems

POLICY = "arn:aws:autoscaling:eu-central-1:111122223333:scalingPolicy:1:resource/sagemaker/x:policyName/synth-wake"


def test_13_scaling_requests_are_golden_and_botocore_sends_them(client_of):
    """Every member, so that a change of any is seen; botocore's own client validates and serialises each."""
    where = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/synth/variant/{VARIANT}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    target = scaling.scalable_target("synth", max_instances=4)
    assert target == {**where, "MinCapacity": 0, "MaxCapacity": 4}
    backlog = scaling.backlog_policy("synth", backlog_per_instance=3)
    assert backlog == {
        "PolicyName": "synth-backlog",
        **where,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": 3.0,
            "CustomizedMetricSpecification": {
                "MetricName": "ApproximateBacklogSizePerInstance",
                "Namespace": "AWS/SageMaker",
                "Dimensions": [{"Name": "EndpointName", "Value": "synth"}],
                "Statistic": "Average",
            },
            "ScaleOutCooldown": 60,
            "ScaleInCooldown": 600,
        },
    }
    wake = scaling.wake_policy("synth")
    assert wake["StepScalingPolicyConfiguration"]["StepAdjustments"] == [
        {"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}
    ]
    client = client_of("application-autoscaling")
    with Stubber(client) as stub:
        stub.add_response("register_scalable_target", {}, target)
        stub.add_response("put_scaling_policy", {"PolicyARN": POLICY}, backlog)
        stub.add_response("put_scaling_policy", {"PolicyARN": POLICY}, wake)
        client.register_scalable_target(**target)
        client.put_scaling_policy(**backlog)
        arn = client.put_scaling_policy(**wake)["PolicyARN"]
    alarm = scaling.wake_alarm("synth", arn)
    assert (alarm["MetricName"], alarm["AlarmActions"]) == ("HasBacklogWithoutCapacity", [POLICY])
    alarms = client_of("cloudwatch")
    with Stubber(alarms) as stub:
        stub.add_response("put_metric_alarm", {}, alarm)
        alarms.put_metric_alarm(**alarm)


def test_13_what_botocores_scaling_model_refuses_is_refused_before_it_is_sent():
    with pytest.raises(DataError, match="PolicyName: 268 characters, at most 256"):
        scaling.backlog_policy("x" * 260)
    with pytest.raises(DataError, match="AlarmName"):
        scaling.wake_alarm("x" * 300, POLICY)


@pytest.mark.parametrize(("low", "high"), [(2, 1), (-1, 1), (0, 0)])
def test_bounds_that_are_not_in_order_are_refused(low, high):
    with pytest.raises(DataError, match="min_instances"):
        scaling.scalable_target("synth", max_instances=high, min_instances=low)


@pytest.mark.parametrize("target", [0, -1, float("inf"), float("nan")])
def test_a_target_that_means_nothing_is_refused(target):
    with pytest.raises(DataError, match="backlog_per_instance"):
        scaling.backlog_policy("synth", backlog_per_instance=target)


def test_the_example_of_the_page_runs():
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(code, "docs/serving.md", "exec"), names)
    assert problems("CreateEndpointConfig", names["queue"]) == []
    assert names["alarm"]["AlarmActions"] == [names["arn"]]


def test_14_the_answers_of_a_queue_are_encrypted_with_the_key_of_outputs():
    output = requested.queued(GUARDED)["AsyncInferenceConfig"]["OutputConfig"]
    assert output["KmsKeyId"] == KEY
    assert output["S3OutputPath"].startswith(GUARDED.output)
    assert output["S3FailurePath"].startswith(GUARDED.output)


def test_13_the_environment_of_a_queue_is_read_by_the_server():
    request = model("synth-model", "s3://bucket/model.tar.gz", platform=GUARDED, environment=ASYNC_ENVIRONMENT)
    assert problems("CreateModel", request) == []
    read = options(request["PrimaryContainer"]["Environment"])
    assert read.answer_seconds == 3600
    assert read.max_answer_bytes > options({}).max_answer_bytes
    assert read.max_rows > ServeConfig().max_rows


def test_9_a_server_without_instances_refuses_what_aws_would_not_pass_on():
    request = model("synth-model", "s3://bucket/model.tar.gz", platform=GUARDED, environment=SERVERLESS_ENVIRONMENT)
    read = options(request["PrimaryContainer"]["Environment"])
    assert read.max_answer_bytes == 4 * 2**20 < options({}).max_answer_bytes
