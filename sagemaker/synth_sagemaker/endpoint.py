"""Requests of an endpoint: real-time, serverless, or one that takes requests into a queue."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from synth_components.config import ConfigError
from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.request import Overrides, Request, finished, under

VARIANT = "synth"
"""Name of the one variant of each endpoint."""

ASYNC_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "SYNTH_SERVE_ANSWER_SECONDS": "3600",
        "SYNTH_SERVE_MAX_ANSWER_BYTES": "536870912",
        "SYNTH_SERVE_MAX_ROWS": "2000000",
    }
)
"""Variables of a model's server whose answers are written to S3: it may be asked for more at once, and hold it."""

SERVERLESS_ENVIRONMENT: Mapping[str, str] = MappingProxyType({"SYNTH_SERVE_MAX_ANSWER_BYTES": "4194304"})
"""Variable of a model's server without instances: what AWS would not pass on is refused, with what to do instead."""


def endpoint_config(
    name: str, model: str, *, platform: Platform, instance_count: int = 1, overrides: Overrides | None = None
) -> Request:
    """Return the request of the configuration of an endpoint on instances.

    Raises:
        ConfigError: for an override of what is reserved.
        DataError: if AWS would refuse the request, or it reaches into a region that is not allowed.
    """
    variant = {
        "VariantName": VARIANT,
        "ModelName": model,
        "InstanceType": platform.instance_type,
        "InitialInstanceCount": instance_count,
        "InitialVariantWeight": 1.0,
    }
    return _config(name, variant, platform, overrides)


def serverless_endpoint_config(
    name: str,
    model: str,
    *,
    platform: Platform,
    memory_mb: int = 4096,
    max_concurrency: int = 5,
    overrides: Overrides | None = None,
) -> Request:
    """Return the request of the configuration of an endpoint without instances: it costs nothing while nobody asks.

    A request and a response hold 4 MB at most, so the model's environment should be ``SERVERLESS_ENVIRONMENT``, and AWS
    encrypts what it stores with a key of its own.

    It may have neither network isolation nor a VPC, and nor may its model: make both by one platform without.  The
    launcher's policy of a platform with isolation allows no such model: ``launcher_policy`` of the one without does.

    Args:
        memory_mb: A multiple of 1,024 up to 6,144.

    Raises:
        ConfigError: for an override of what is reserved, or a platform with network isolation or a VPC.
        DataError: if AWS would refuse the request, or it reaches into a region that is not allowed.

    Source: Amazon SageMaker AI Developer Guide, "Deploy models with Amazon SageMaker Serverless Inference", feature
        exclusions.
    """
    for option, guards in (("network_isolation", platform.network_isolation), ("subnets", bool(platform.subnets))):
        if guards:
            raise ConfigError(
                f"AWS has no serverless endpoint with {option}; take endpoint_config, or make model and endpoint by a "
                "platform with network_isolation false and no subnets",
                option=option,
            )
    serverless = {"MemorySizeInMB": memory_mb, "MaxConcurrency": max_concurrency}
    return _config(
        name, {"VariantName": VARIANT, "ModelName": model, "ServerlessConfig": serverless}, platform, overrides
    )


def async_endpoint_config(
    name: str,
    model: str,
    *,
    platform: Platform,
    instance_count: int = 1,
    max_concurrency: int = 2,
    success_topic: str = "",
    error_topic: str = "",
    overrides: Overrides | None = None,
) -> Request:
    """Return the request of the configuration of an endpoint that queues requests and writes answers to S3.

    An answer may take an hour.  The model's environment should be ``ASYNC_ENVIRONMENT``, which lets answers be larger,
    and ``scaling`` lets the endpoint go down to no instance while nobody asks.

    Args:
        max_concurrency: Requests that an instance is given at once.
        success_topic: SNS topic that hears of answers; empty for none.
        error_topic: SNS topic that hears of failures; empty for none.

    Raises:
        ConfigError: for an override of what is reserved.
        DataError: if AWS would refuse the request, or it reaches into a region that is not allowed.
    """
    variant = {
        "VariantName": VARIANT,
        "ModelName": model,
        "InstanceType": platform.instance_type,
        "InitialInstanceCount": instance_count,
        "InitialVariantWeight": 1.0,
    }
    topics = {name: topic for name, topic in (("SuccessTopic", success_topic), ("ErrorTopic", error_topic)) if topic}
    queue: Request = {
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": max_concurrency},
        "OutputConfig": {
            "S3OutputPath": under(platform.output, name, "answers"),
            "S3FailurePath": under(platform.output, name, "failures"),
            **({"KmsKeyId": platform.output_kms_key} if platform.output_kms_key else {}),
            **({"NotificationConfig": topics} if topics else {}),
        },
    }
    return _config(name, variant, platform, overrides, {"AsyncInferenceConfig": queue})


def endpoint(name: str, config: str, *, platform: Platform, overrides: Overrides | None = None) -> Request:
    """Return the request of an endpoint by the name of its configuration.

    Raises:
        ConfigError: for an override of what is reserved.
        DataError: if AWS would refuse the request.
    """
    return finished(
        "CreateEndpoint", {"EndpointName": name, "EndpointConfigName": config}, platform, overrides=overrides
    )


def _config(
    name: str,
    variant: Request,
    platform: Platform,
    overrides: Overrides | None,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Request:
    has_volume = "ServerlessConfig" not in variant  # AWS refuses a key where there is no volume
    kms = {"KmsKeyId": platform.volume_kms_key} if platform.volume_kms_key and has_volume else {}
    request: Request = {"EndpointConfigName": name, "ProductionVariants": [variant], **kms, **more}
    return finished("CreateEndpointConfig", request, platform, overrides=overrides)
