"""Requests as objects of the SageMaker Python SDK, version 3, for those who build with it: the same jobs.

The SDK is no dependency of this package.  It takes seconds to import and wants a region, so it is imported when one of
these functions is called, and never in a container.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from synth_components.errors import DataError, UnsupportedError
from synth_sagemaker.request import Request
from synth_sagemaker.shapes import is_expression

_TRAINING: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "": (
            *("TrainingJobName", "RoleArn", "AlgorithmSpecification", "HyperParameters", "ResourceConfig", "VpcConfig"),
            *("EnableManagedSpotTraining", "EnableNetworkIsolation", "EnableInterContainerTrafficEncryption"),
            *("StoppingCondition", "OutputDataConfig", "InputDataConfig", "CheckpointConfig", "Environment", "Tags"),
        ),
        "AlgorithmSpecification": ("TrainingImage", "TrainingInputMode", "MetricDefinitions"),
    }
)
_PROCESSING: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "": (
            *("ProcessingJobName", "RoleArn", "AppSpecification", "ProcessingInputs", "ProcessingOutputConfig"),
            *("ProcessingResources", "StoppingCondition", "NetworkConfig", "Environment", "Tags"),
        ),
        "AppSpecification": ("ImageUri", "ContainerEntrypoint", "ContainerArguments"),
        "ProcessingResources": ("ClusterConfig",),
        "ProcessingResources.ClusterConfig": ("InstanceCount", "InstanceType", "VolumeSizeInGB", "VolumeKmsKeyId"),
        "ProcessingOutputConfig": ("Outputs", "KmsKeyId"),
        "NetworkConfig": ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "VpcConfig"),
    }
)
"""By place in a request: the members that the SDK's object is given."""


def as_model_trainer(request: Request, *, session: Any) -> Any:  # noqa: ANN401 - the SDK is no dependency
    """Return a ``ModelTrainer`` that asks for the same training job.

    Args:
        request: What ``training_job`` returns; without a name the SDK gives one.
        session: A session of the SDK: ``Session``, or ``PipelineSession`` in a pipeline.

    Raises:
        DataError: if version 3 of the SDK is not installed.
        UnsupportedError: for a member of the request, from an override, that the SDK's object is not given.
    """
    _require_sdk()
    _refuse_others(request, _TRAINING)
    from sagemaker.core import shapes
    from sagemaker.core.training import configs
    from sagemaker.train.model_trainer import ModelTrainer

    algorithm, resources = request["AlgorithmSpecification"], request["ResourceConfig"]
    checkpoint = request.get("CheckpointConfig")
    trainer = ModelTrainer(
        sagemaker_session=session,
        role=request["RoleArn"],
        base_job_name=request.get("TrainingJobName", "synth-train"),
        training_image=algorithm["TrainingImage"],
        training_input_mode=algorithm["TrainingInputMode"],
        hyperparameters={name: _variable(text) for name, text in request["HyperParameters"].items()},
        compute=configs.Compute(**_snake(resources), enable_managed_spot_training=request["EnableManagedSpotTraining"]),
        networking=configs.Networking(
            **_snake(request.get("VpcConfig", {})),
            enable_network_isolation=request["EnableNetworkIsolation"],
            enable_inter_container_traffic_encryption=request["EnableInterContainerTrafficEncryption"],
        ),
        stopping_condition=shapes.StoppingCondition(**_snake(request["StoppingCondition"])),
        output_data_config=configs.OutputDataConfig(**_snake(request["OutputDataConfig"])),
        input_data_config=[_channel(channel) for channel in request["InputDataConfig"]],
        checkpoint_config=configs.CheckpointConfig(**_snake(checkpoint)) if checkpoint else None,
        environment=request.get("Environment", {}),
        tags=[shapes.Tag(key=tag["Key"], value=tag["Value"]) for tag in request["Tags"]],
    )
    metrics = [shapes.MetricDefinition(**_snake(metric)) for metric in algorithm.get("MetricDefinitions", [])]
    return trainer.with_metric_definitions(metrics)


def as_processor(request: Request, *, session: Any) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
    """Return a ``Processor``, and the arguments of its ``run`` that ask for the same processing job.

    Args:
        request: What ``processing_job`` returns.
        session: A session of the SDK.

    Raises:
        DataError: if version 3 of the SDK is not installed.
        UnsupportedError: for a member of the request, from an override, that the SDK's object is not given.
    """
    _require_sdk()
    _refuse_others(request, _PROCESSING)
    from sagemaker.core import shapes
    from sagemaker.core.network import NetworkConfig
    from sagemaker.core.processing import Processor

    cluster, application = request["ProcessingResources"]["ClusterConfig"], request["AppSpecification"]
    network = request["NetworkConfig"]
    vpc = network.get("VpcConfig", {})
    processor = Processor(
        sagemaker_session=session,
        role=request["RoleArn"],
        base_job_name=request.get("ProcessingJobName", "synth"),
        image_uri=application["ImageUri"],
        entrypoint=application["ContainerEntrypoint"],
        instance_count=cluster["InstanceCount"],
        instance_type=cluster["InstanceType"],
        volume_size_in_gb=cluster["VolumeSizeInGB"],
        volume_kms_key=cluster.get("VolumeKmsKeyId"),
        output_kms_key=request["ProcessingOutputConfig"].get("KmsKeyId"),
        max_runtime_in_seconds=request["StoppingCondition"]["MaxRuntimeInSeconds"],
        env=request.get("Environment"),
        tags=request["Tags"],
        network_config=NetworkConfig(
            enable_network_isolation=network["EnableNetworkIsolation"],
            encrypt_inter_container_traffic=network["EnableInterContainerTrafficEncryption"],
            security_group_ids=vpc.get("SecurityGroupIds"),
            subnets=vpc.get("Subnets"),
        ),
    )
    inputs = [
        shapes.ProcessingInput(
            input_name=one["InputName"], s3_input=shapes.ProcessingS3Input(**_variables(_snake(one["S3Input"])))
        )
        for one in request["ProcessingInputs"]
    ]
    outputs = [
        shapes.ProcessingOutput(
            output_name=one["OutputName"], s3_output=shapes.ProcessingS3Output(**_variables(_snake(one["S3Output"])))
        )
        for one in request["ProcessingOutputConfig"]["Outputs"]
    ]
    words = [_variable(word) for word in application.get("ContainerArguments", [])]
    return processor, {"inputs": inputs, "outputs": outputs, "arguments": words or None, "wait": False, "logs": False}


def as_training_step(name: str, request: Request, *, session: Any, **settings: Any) -> Any:  # noqa: ANN401
    """Return a ``TrainingStep`` whose arguments are the request, without its name.

    Args:
        name: What the step is called.
        session: A ``PipelineSession`` of the SDK.
        settings: What else the step takes, such as ``cache_config``, ``retry_policies`` and ``depends_on``.

    Raises:
        DataError: if version 3 of the SDK is not installed.
        UnsupportedError: for a member of the request, from an override, that the SDK's object is not given.
    """
    _require_sdk()
    from sagemaker.mlops.workflow.steps import TrainingStep

    return TrainingStep(name=name, step_args=as_model_trainer(request, session=session).train(), **settings)


def as_processing_step(name: str, request: Request, *, session: Any, **settings: Any) -> Any:  # noqa: ANN401
    """Return a ``ProcessingStep`` whose arguments are the request, without its name.

    Args:
        name: What the step is called.
        session: A ``PipelineSession`` of the SDK.
        settings: What else the step takes, such as ``property_files`` and ``cache_config``.

    Raises:
        DataError: if version 3 of the SDK is not installed.
        UnsupportedError: for a member of the request, from an override, that the SDK's object is not given.
    """
    _require_sdk()
    from sagemaker.mlops.workflow.steps import ProcessingStep

    processor, arguments = as_processor(request, session=session)
    return ProcessingStep(name=name, step_args=processor.run(**arguments), **settings)


def _require_sdk() -> None:
    # The folder sagemaker/ of a clone is a namespace package: `import sagemaker` succeeds without the SDK.
    if find_spec("sagemaker") is None or find_spec("sagemaker.core") is None:
        raise DataError("version 3 of the SageMaker SDK is not installed; pip install 'sagemaker>=3.20,<4'")


def _refuse_others(request: Request, known: Mapping[str, tuple[str, ...]]) -> None:
    others = list(_others(request, known))
    if others:
        raise UnsupportedError(
            f"the SDK's object would lose {', '.join(others)}; send the request itself, by launch.submit"
        )


def _others(request: Request, known: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield the members of a request that the SDK's object is not given."""
    for place, members in known.items():
        held: Any = request
        for name in filter(None, place.split(".")):
            held = held.get(name, {})
        yield from (f"{place}.{name}".lstrip(".") for name in held if name not in members)


def _channel(channel: Mapping[str, Any]) -> Any:  # noqa: ANN401
    from sagemaker.core import shapes

    source = shapes.S3DataSource(**_variables(_snake(channel["DataSource"]["S3DataSource"])))
    rest = {name: value for name, value in channel.items() if name != "DataSource"}
    return shapes.Channel(**_snake(rest), data_source=shapes.DataSource(s3_data_source=source))


def _snake(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of one level under the SDK's names: ``volume_size_in_gb``."""
    return {re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower(): value for name, value in request.items()}


def _variables(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _variable(value) for name, value in members.items()}


def _variable(value: Any) -> Any:  # noqa: ANN401
    """Return an expression of a pipeline as a variable of the SDK; anything else as it is."""
    if not is_expression(value):
        return value
    from sagemaker.core.helper.pipeline_variable import PipelineVariable

    class Expression(PipelineVariable):  # type: ignore[misc]
        """An expression that is written as it is."""

        @property
        def expr(self) -> Any:  # noqa: ANN401
            """The expression."""
            return value

        @property
        def _referenced_steps(self) -> list[str]:
            text = str(value)
            return sorted(set(re.findall(r"Steps\.([A-Za-z0-9_-]+)", text)))

    return Expression()
