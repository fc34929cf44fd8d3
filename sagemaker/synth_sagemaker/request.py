"""What every request goes through before it is sent: overrides, tags, secrets, residency and the service's model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any, TypeAlias

from synth_components.config import Config, ConfigError
from synth_components.errors import DataError
from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.names import package_version
from synth_sagemaker.residency import refuse_foreign_regions
from synth_sagemaker.secret import refuse_secrets
from synth_sagemaker.shapes import is_expression, problems

Request: TypeAlias = dict[str, Any]
Overrides: TypeAlias = Mapping[str, Mapping[str, Any]]
"""By operation, what goes over a request: ``{"CreateTrainingJob": {"RetryStrategy": {"MaximumRetryAttempts": 2}}}``."""
Text: TypeAlias = str | Mapping[str, Any]
"""Text, or an expression that a pipeline makes into text."""

VERSION_TAG = "synth:version"
DIGEST_TAG = "synth:config-digest"
ISOLATION_TAG = "synth:network-isolation"
PERSONAL_TAG = "synth:personal-data"

_TRAINING = (
    "HyperParameters",
    "StaticHyperParameters",
    "AlgorithmSpecification.TrainingImage",
    "AlgorithmSpecification.AlgorithmName",
    "AlgorithmSpecification.ContainerEntrypoint",
    "AlgorithmSpecification.ContainerArguments",
    "InputDataConfig",
    "OutputDataConfig",
    "RoleArn",
    "VpcConfig",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "ResourceConfig.VolumeKmsKeyId",
    "ResourceConfig.InstanceCount",
    "ResourceConfig.InstanceGroups",
    "CheckpointConfig",
    "Environment",
)
RESERVED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "CreateTrainingJob": ("TrainingJobName", *_TRAINING),
        "CreateProcessingJob": (
            "ProcessingJobName",
            "AppSpecification",
            "ProcessingInputs",
            "ProcessingOutputConfig",
            "RoleArn",
            "NetworkConfig",
            "ProcessingResources.ClusterConfig.VolumeKmsKeyId",
            "ProcessingResources.ClusterConfig.InstanceCount",
            "Environment",
        ),
        "CreateTransformJob": (
            "TransformJobName",
            "ModelName",
            "TransformInput.DataSource",
            "TransformOutput.S3OutputPath",
            "TransformOutput.KmsKeyId",
            "TransformResources.VolumeKmsKeyId",
            "Environment",
        ),
        "CreateHyperParameterTuningJob": (
            "HyperParameterTuningJobName",
            "HyperParameterTuningJobConfig.ParameterRanges",
            "HyperParameterTuningJobConfig.HyperParameterTuningJobObjective",
            *(f"TrainingJobDefinition.{name}" for name in _TRAINING),
            "TrainingJobDefinition.HyperParameterTuningResourceConfig",
            "TrainingJobDefinitions",
        ),
        "CreateModel": (
            "ModelName",
            "PrimaryContainer.Image",
            "PrimaryContainer.ModelDataUrl",
            "PrimaryContainer.Environment",
            "Containers",
            "ExecutionRoleArn",
            "VpcConfig",
            "EnableNetworkIsolation",
        ),
        "CreateModelPackage": (
            "ModelPackageGroupName",
            "InferenceSpecification.Containers",
            "ModelApprovalStatus",
            "ModelMetrics",
            "SecurityConfig",
        ),
        "CreateModelPackageGroup": ("ModelPackageGroupName",),
        "CreateEndpointConfig": (
            "EndpointConfigName",
            "ProductionVariants",
            "KmsKeyId",
            "ExecutionRoleArn",
            "VpcConfig",
            "EnableNetworkIsolation",
            "AsyncInferenceConfig.OutputConfig",
            "DataCaptureConfig.KmsKeyId",
        ),
        "CreateEndpoint": ("EndpointName", "EndpointConfigName"),
        "CreatePipeline": ("PipelineName", "PipelineDefinition", "PipelineDefinitionS3Location", "RoleArn"),
        "CreateAlgorithm": ("AlgorithmName", "TrainingSpecification", "InferenceSpecification.Containers"),
    }
)
"""By operation, what no override may set: the links between jobs, what options and ports say, and what guards data."""


def finished(
    operation: str,
    request: Request,
    platform: Platform,
    *,
    tags: Mapping[str, str] = MappingProxyType({}),
    overrides: Overrides | None = None,
    without: tuple[str, ...] = (),
) -> Request:
    """Return a request as it is sent: with overrides and tags, checked for all that AWS would refuse, or we do.

    Args:
        tags: Beside the platform's and those that every resource has.
        without: Required members that a pipeline fills in.

    Raises:
        ConfigError: for an override of what is reserved, or something like a secret.
        DataError: if the service's model does not accept the request, or it reaches into a region that is not allowed.
    """
    _refuse_unknown(overrides)
    made = {**_merged(operation, request, (overrides or {}).get(operation, {})), "Tags": _tags(platform, tags)}
    refuse_secrets(made)
    refuse_foreign_regions(made, platform.allowed_regions)
    found = problems(operation, made, without=without)
    if found:
        raise DataError(f"{operation} would be refused: {'; '.join(found)}")
    return made


def digest_of(*configs: Config) -> str:
    """Return the SHA-256 (hex) of the canonical JSON of configs: equal digests mean equal options."""
    return sha256("\n".join(config.canonical() for config in configs).encode()).hexdigest()


def vpc(platform: Platform) -> Request:
    """Return the member ``VpcConfig``; empty without a VPC."""
    if not platform.subnets:
        return {}
    return {"VpcConfig": {"SecurityGroupIds": list(platform.security_groups), "Subnets": list(platform.subnets)}}


def under(prefix: Text, *parts: Text) -> Text:
    """Return a place below an S3 prefix, as an expression if any part is one."""
    if not any(is_expression(part) for part in (prefix, *parts)):
        return "/".join(str(part).strip("/") if place else str(part) for place, part in enumerate((prefix, *parts)))
    return {"Std:Join": {"On": "/", "Values": [prefix, *parts]}}


def _tags(platform: Platform, tags: Mapping[str, str]) -> list[dict[str, str]]:
    known = {VERSION_TAG: package_version(), **tags, **platform.tags}
    if not platform.network_isolation:
        known[ISOLATION_TAG] = "off"
    return [{"Key": key, "Value": known[key]} for key in sorted(known)]


def _refuse_unknown(overrides: Overrides | None) -> None:
    for operation in overrides or {}:
        if operation not in RESERVED:
            raise ConfigError(
                f"overrides name the operation '{operation}'; there are {', '.join(RESERVED)}", option=operation
            )


def _merged(operation: str, request: Request, override: Mapping[str, Any]) -> Request:
    reserved = ("Tags", *RESERVED[operation])
    for path in _paths(override, ""):
        for held in reserved:
            if f"{path}.".startswith(f"{held}.") or f"{held}.".startswith(f"{path}."):
                raise ConfigError(
                    f"overrides of {operation} may not set '{path}': '{held}' follows from options, ports and platform",
                    option=path,
                )
    return _over(request, override)


def _paths(value: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the path of everything that is no map, or an empty one."""
    for name, part in value.items():
        where = f"{path}.{name}" if path else name
        if isinstance(part, Mapping) and part:
            yield from _paths(part, where)
        else:
            yield where


def _over(request: Mapping[str, Any], override: Mapping[str, Any]) -> Request:
    """Return a map with another laid over it: maps are joined, everything else is replaced."""
    made = dict(request)
    for name, part in override.items():
        held = made.get(name)
        made[name] = _over(held, part) if isinstance(held, Mapping) and isinstance(part, Mapping) else part
    return made
