"""Requests of an endpoint: real-time, or serverless."""

from __future__ import annotations

from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.request import Overrides, Request, finished

VARIANT = "synth"
"""Name of the one variant of each endpoint."""


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

    A request and a response hold 4 MB at most, and AWS encrypts what it stores with a key of its own.

    Args:
        memory_mb: A multiple of 1,024 up to 6,144.

    Raises:
        ConfigError: for an override of what is reserved.
        DataError: if AWS would refuse the request, or it reaches into a region that is not allowed.
    """
    serverless = {"MemorySizeInMB": memory_mb, "MaxConcurrency": max_concurrency}
    return _config(
        name, {"VariantName": VARIANT, "ModelName": model, "ServerlessConfig": serverless}, platform, overrides
    )


def endpoint(name: str, config: str, *, platform: Platform, overrides: Overrides | None = None) -> Request:
    """Return the request of an endpoint by the name of its configuration.

    Raises:
        ConfigError: for an override of what is reserved.
        DataError: if AWS would refuse the request.
    """
    return finished(
        "CreateEndpoint", {"EndpointName": name, "EndpointConfigName": config}, platform, overrides=overrides
    )


def _config(name: str, variant: Request, platform: Platform, overrides: Overrides | None) -> Request:
    has_volume = "ServerlessConfig" not in variant  # AWS refuses a key where there is no volume
    kms = {"KmsKeyId": platform.volume_kms_key} if platform.volume_kms_key and has_volume else {}
    request: Request = {"EndpointConfigName": name, "ProductionVariants": [variant], **kms}
    return finished("CreateEndpointConfig", request, platform, overrides=overrides)
