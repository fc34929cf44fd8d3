"""Requests that let an endpoint with a queue follow its backlog: more instances for more requests, none for none.

Target tracking holds the backlog of an instance at a target.  It cannot wake an endpoint without instances, which has
no backlog per instance: an alarm on waiting requests does, by a step of one instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synth_components.errors import DataError
from synth_sagemaker.endpoint import VARIANT
from synth_sagemaker.request import Request
from synth_sagemaker.shapes import problems

NAMESPACE = "AWS/SageMaker"
BACKLOG = "ApproximateBacklogSizePerInstance"
WAITING = "HasBacklogWithoutCapacity"

_DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_SCALING, _CLOUDWATCH = "application-autoscaling", "cloudwatch"


def scalable_target(endpoint: str, *, max_instances: int, min_instances: int = 0) -> Request:
    """Return the request ``RegisterScalableTarget``, that lets the number of instances change.

    Args:
        min_instances: 0 lets an endpoint with a queue cost nothing while nobody asks.

    Raises:
        DataError: if the bounds are not in order, or AWS would refuse the request.
    """
    if not 0 <= min_instances <= max_instances or max_instances < 1:
        raise DataError(
            f"min_instances ({min_instances}) must be at least 0 and at most max_instances ({max_instances}), which "
            "must be at least 1"
        )
    request = {**_variant(endpoint), "MinCapacity": min_instances, "MaxCapacity": max_instances}
    return _checked("RegisterScalableTarget", request, _SCALING)


def backlog_policy(
    endpoint: str, *, backlog_per_instance: float = 5.0, out_seconds: int = 60, in_seconds: int = 600
) -> Request:
    """Return the request ``PutScalingPolicy`` of target tracking on the backlog of an instance.

    Args:
        backlog_per_instance: Waiting requests of an instance that the policy aims at.
        out_seconds: Time after instances were added before more are.
        in_seconds: Time after instances were removed before more are.

    Raises:
        DataError: for a target that is no number above 0, or if AWS would refuse the request.
    """
    if not 0 < backlog_per_instance < float("inf"):
        raise DataError("backlog_per_instance must be a finite number above 0")
    tracking = {
        "TargetValue": float(backlog_per_instance),
        "CustomizedMetricSpecification": {
            "MetricName": BACKLOG,
            "Namespace": NAMESPACE,
            "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
            "Statistic": "Average",
        },
        "ScaleOutCooldown": out_seconds,
        "ScaleInCooldown": in_seconds,
    }
    policy = {"PolicyType": "TargetTrackingScaling", "TargetTrackingScalingPolicyConfiguration": tracking}
    return _checked("PutScalingPolicy", {"PolicyName": f"{endpoint}-backlog", **_variant(endpoint), **policy}, _SCALING)


def wake_policy(endpoint: str, *, cooldown_seconds: int = 300) -> Request:
    """Return the request ``PutScalingPolicy`` that adds the first instance; its answer names the policy for the alarm.

    Raises:
        DataError: if AWS would refuse the request.
    """
    step = {
        "AdjustmentType": "ChangeInCapacity",
        "MetricAggregationType": "Average",
        "Cooldown": cooldown_seconds,
        "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
    }
    policy = {"PolicyType": "StepScaling", "StepScalingPolicyConfiguration": step}
    return _checked("PutScalingPolicy", {"PolicyName": f"{endpoint}-wake", **_variant(endpoint), **policy}, _SCALING)


def wake_alarm(endpoint: str, policy_arn: str) -> Request:
    """Return the request ``PutMetricAlarm`` of CloudWatch, that wakes an endpoint on which requests wait in vain.

    Args:
        policy_arn: ``PolicyARN`` in the answer to the request of ``wake_policy``.

    Raises:
        DataError: if AWS would refuse the request.
    """
    request = {
        "AlarmName": f"{endpoint}-wake",
        "AlarmActions": [policy_arn],
        "Namespace": NAMESPACE,
        "MetricName": WAITING,
        "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 2,
        "DatapointsToAlarm": 2,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
    }
    return _checked("PutMetricAlarm", request, _CLOUDWATCH)


def _variant(endpoint: str) -> Mapping[str, str]:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{VARIANT}",
        "ScalableDimension": _DIMENSION,
    }


def _checked(operation: str, request: Mapping[str, Any], service: str) -> Request:
    found = problems(operation, request, service=service)
    if found:
        raise DataError(f"{operation} would be refused: {'; '.join(found)}")
    return dict(request)
