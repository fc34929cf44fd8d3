"""The request of a training job: the image's ``train``, with the step's options as hyper-parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from synth_components.config import ConfigError
from synth_components.fitting import require_private
from synth_components.generators import make
from synth_components.protocols import Budget
from synth_components.steps import load
from synth_components.steps.port import Port, ports
from synth_sagemaker.hyperparameters import Training, encode, hyperparameters
from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.layout import CHANNELS, Layout
from synth_sagemaker.metrics import definitions
from synth_sagemaker.options import NONE
from synth_sagemaker.request import DIGEST_TAG, PERSONAL_TAG, Overrides, Request, Text, digest_of, finished, under, vpc

OPERATION = "CreateTrainingJob"

ONCE = (
    "a private fit reads its rows once, and one that is begun again after an interruption or a fault is in no epsilon; "
    "leave max_wait_seconds and retries out, or use privacy=none"
)
"""Why a private training job takes neither spot capacity nor retries."""


def training_job(
    training: Training,
    inputs: Mapping[str, Text],
    *,
    platform: Platform,
    name: str | None,
    input_mode: Literal["File", "FastFile"] = "File",
    expressions: Mapping[str, Text] = NONE,
    overrides: Overrides | None = None,
) -> Request:
    """Return the request of a training job.

    The model goes to ``<output>/<name>/output/model.tar.gz``.  With spot capacity, checkpoints go to
    ``<output>/checkpoints/<name>``; a private fit keeps none, and takes no spot capacity.

    Args:
        training: The options of the step, and of the judgement of its model if there is a holdout.
        inputs: S3 prefix of each input by port, such as ``{"data": "s3://bucket/train/"}``.
        name: Name of the job; ``None`` in a pipeline, which names it.
        input_mode: Whether channels are copied before the work, or read from S3 as it goes on.
        expressions: By hyperparameter, what a pipeline makes into text when it runs.
        overrides: By operation, what else goes into the request.

    Raises:
        ConfigError: for an unknown or missing input, an override of what is reserved, or something like a secret; for
            spot capacity or retries under differential privacy.
        BudgetExceededError: under differential privacy, if no fit of the generator is private.
        DataError: if AWS would refuse the request, or it reaches into a region that is not allowed.
    """
    require_inputs("train", channels(), inputs)
    train = training.train
    known = hyperparameters(train.generator, trust=train.trust)
    if train.privacy == "dp":
        recipe: Any = make(train.generator, dict(train.generator_options), trust=train.trust)
        require_private(recipe, train.generator, Budget(train.epsilon, train.delta))
    for option in expressions:
        if option not in known:
            raise ConfigError(f"a training job has no hyperparameter '{option}' for an expression", option=option)
    request: Request = {
        **({} if name is None else {"TrainingJobName": name}),
        "AlgorithmSpecification": {
            "TrainingImage": platform.image,
            "TrainingInputMode": input_mode,
            "MetricDefinitions": definitions(),
        },
        **common(inputs, platform, input_mode),
        "HyperParameters": {**encode(training), **expressions},
    }
    if platform.max_wait_seconds:
        request["CheckpointConfig"] = {
            "S3Uri": under(platform.output, "checkpoints", name or {"Get": "Execution.PipelineExecutionId"}),
            "LocalPath": str(Layout().checkpoints),
        }
    made = finished(
        OPERATION,
        request,
        platform,
        tags=training_tags(training),
        overrides=overrides,
        without=() if name else ("TrainingJobName",),
    )
    refuse_second_reading(made)
    return made


def refuse_second_reading(request: Mapping[str, Any]) -> None:
    """Refuse a private training job that may be begun a second time.

    Raises:
        ConfigError: naming the member of the request.
    """
    again = read_again(request)
    if again:
        raise ConfigError(f"{again}: {ONCE}", option=again)


def read_again(request: Mapping[str, Any]) -> str:
    """Return the member of a request by which a private fit would read its rows again, empty if there is none.

    The job keeps no checkpoint then: whoever starts it a second time starts a second fit.
    """
    if not is_private(request):
        return ""
    stops = request.get("StoppingCondition")
    waits = isinstance(stops, Mapping) and "MaxWaitTimeInSeconds" in stops
    found = {
        "EnableManagedSpotTraining": request.get("EnableManagedSpotTraining"),
        "StoppingCondition.MaxWaitTimeInSeconds": waits,
        "RetryStrategy": request.get("RetryStrategy"),
    }
    return next((name for name, value in found.items() if value), "")


def is_private(request: Mapping[str, Any]) -> bool:
    """Return whether the hyperparameters of a request ask for differential privacy."""
    said = request.get("HyperParameters")
    return isinstance(said, Mapping) and str(said.get("privacy")).strip('"') == "dp"


def common(inputs: Mapping[str, Text], platform: Platform, input_mode: Literal["File", "FastFile"]) -> Request:
    """Return what a training job and the definition of a tuner's training jobs have in common."""
    count = platform.instance_count
    waits = {"MaxWaitTimeInSeconds": platform.max_wait_seconds} if platform.max_wait_seconds else {}
    volume = {"VolumeKmsKeyId": platform.volume_kms_key} if platform.volume_kms_key else {}
    output = {"KmsKeyId": platform.output_kms_key} if platform.output_kms_key else {}
    return {
        "RoleArn": platform.role,
        "InputDataConfig": [_channel(port, uri, input_mode) for port, uri in inputs.items()],
        "OutputDataConfig": {"S3OutputPath": platform.output, "CompressionType": "GZIP", **output},
        "ResourceConfig": {
            "InstanceType": platform.instance_type,
            "InstanceCount": count,
            "VolumeSizeInGB": platform.volume_size_gb,
            **volume,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": platform.max_runtime_seconds, **waits},
        "EnableManagedSpotTraining": bool(platform.max_wait_seconds),
        "EnableNetworkIsolation": platform.network_isolation,
        "EnableInterContainerTrafficEncryption": count > 1,
        **vpc(platform),
        **({"Environment": dict(platform.environment)} if platform.environment else {}),
    }


def training_tags(training: Training) -> dict[str, str]:
    """Return the tags of a training job.

    A model that was not trained with differential privacy is personal data, as its rows are.
    """
    digest = digest_of(training.train, training.sample, training.evaluate, training.gate)
    return {DIGEST_TAG: digest, PERSONAL_TAG: "false" if training.train.privacy == "dp" else "true"}


def channels() -> dict[str, Port]:
    """Return the ports that are channels of a training job; the holdout is a port of the judgement."""
    known = {**ports(load("evaluate")), **ports(load("train"))}
    return {
        port: known[port] if port in ports(load("train")) else replace(known[port], optional=True) for port in CHANNELS
    }


def require_inputs(step: str, known: Mapping[str, Port], inputs: Mapping[str, Text]) -> None:
    """Refuse inputs that a step does not have, or lacks.

    Raises:
        ConfigError: naming the port.
    """
    for port in inputs:
        if port not in known:
            raise ConfigError(f"step '{step}' has no input '{port}'; it has {', '.join(known)}", option=port)
    for port, said in known.items():
        if port not in inputs and not said.optional:
            raise ConfigError(f"step '{step}' needs the input '{port}': {said.description}", option=port)


def _channel(port: str, uri: Text, input_mode: str) -> Request:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": CHANNELS[port], "DataSource": {"S3DataSource": source}, "InputMode": input_mode}
