"""The request of a processing job: any step of the core, with its ports as inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping

from synth_components.config import ConfigError, StepConfig
from synth_components.steps import load
from synth_components.steps.port import config_of, ports
from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.layout import Layout
from synth_sagemaker.options import NONE, words_of
from synth_sagemaker.request import DIGEST_TAG, PERSONAL_TAG, Overrides, Request, Text, digest_of, finished, under, vpc
from synth_sagemaker.training import require_inputs

OPERATION = "CreateProcessingJob"


def processing_job(
    step: str,
    config: StepConfig,
    inputs: Mapping[str, Text],
    *,
    platform: Platform,
    name: str | None,
    outputs: Mapping[str, Text] | None = None,
    instance_count: int = 1,
    expressions: Mapping[str, Text] = NONE,
    overrides: Overrides | None = None,
) -> Request:
    """Return the request of a processing job that runs one step.

    One that hands on real rows, or a model of them that is not differentially private, is tagged as personal data.

    Args:
        step: Name of the step, such as ``sample``.
        config: Its options.
        inputs: S3 prefix of each input by port.
        name: Name of the job; ``None`` in a pipeline, which names it.
        outputs: S3 prefix of each output by port; by default every output of the step, each in a folder of its name
            under ``<output>/<name>``.
        instance_count: How many draw, each a shard of the rows; a step other than ``sample`` takes one.
        expressions: By option, what a pipeline makes into text when it runs.
        overrides: By operation, what else goes into the request.

    Raises:
        ConfigError: for a port or config that is not the step's, several instances of a step that takes one, an
            override of what is reserved, or something like a secret.
        DataError: if AWS would refuse the request, or it reaches into a region that is not allowed.
    """
    loaded = load(step)
    if type(config) is not config_of(loaded):
        raise ConfigError(f"step '{step}' takes a {config_of(loaded).__name__}", option=step)
    if instance_count > 1 and step != "sample":
        raise ConfigError(
            f"step '{step}' runs on one instance, and {instance_count} are asked for", option="instance_count"
        )
    known = ports(loaded)
    require_inputs(step, {port: said for port, said in known.items() if said.direction == "in"}, inputs)
    made = {port: said for port, said in known.items() if said.direction == "out"}
    learns = any(known[port].kind == "dataset" for port in inputs) and not _is_private(config)
    places = outputs if outputs is not None else {port: under(platform.output, name or "", port) for port in made}
    for port in places:
        if port not in made:
            raise ConfigError(f"step '{step}' has no output '{port}'; it has {', '.join(made)}", option=port)
    is_personal = any(made[port].holds_rows or (made[port].kind == "model" and learns) for port in places)
    request: Request = {
        **({} if name is None else {"ProcessingJobName": name}),
        "AppSpecification": {
            "ImageUri": platform.image,
            "ContainerEntrypoint": ["synth", "sagemaker", "process", step.replace("_", "-")],
            **({"ContainerArguments": words} if (words := words_of(config, expressions)) else {}),
        },
        "RoleArn": platform.role,
        "ProcessingInputs": [_input(port, uri) for port, uri in inputs.items()],
        "ProcessingOutputConfig": {
            "Outputs": [_output(port, uri) for port, uri in places.items()],
            **({"KmsKeyId": platform.output_kms_key} if platform.output_kms_key else {}),
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceType": platform.instance_type,
                "InstanceCount": instance_count,
                "VolumeSizeInGB": platform.volume_size_gb,
                **({"VolumeKmsKeyId": platform.volume_kms_key} if platform.volume_kms_key else {}),
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": platform.max_runtime_seconds},
        "NetworkConfig": {
            "EnableNetworkIsolation": platform.network_isolation,
            "EnableInterContainerTrafficEncryption": instance_count > 1,
            **vpc(platform),
        },
        **({"Environment": dict(platform.environment)} if platform.environment else {}),
    }
    return finished(
        OPERATION,
        request,
        platform,
        tags={DIGEST_TAG: digest_of(config), **({PERSONAL_TAG: "true"} if is_personal else {})},
        overrides=overrides,
        without=() if name else ("ProcessingJobName",),
    )


def _is_private(config: StepConfig) -> bool:
    """Return whether what the step learns is differentially private."""
    return bool(getattr(config, "privacy", "none") == "dp")


def _input(port: str, uri: Text) -> Request:
    return {
        "InputName": port,
        "S3Input": {
            "S3Uri": uri,
            "LocalPath": str(Layout().input(port)),
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
            "S3DataDistributionType": "FullyReplicated",
            "S3CompressionType": "None",
        },
    }


def _output(port: str, uri: Text) -> Request:
    return {
        "OutputName": port,
        "S3Output": {"S3Uri": uri, "LocalPath": str(Layout().output(port)), "S3UploadMode": "EndOfJob"},
    }
