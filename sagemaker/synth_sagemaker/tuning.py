"""The request of a tuning job: many training jobs, their options searched within the bounds that recipes declare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from synth_components.config import ConfigError
from synth_components.errors import UnsupportedError
from synth_sagemaker.algorithm import ranges as declared_ranges
from synth_sagemaker.hyperparameters import Training, encode, hyperparameters
from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.metrics import METRICS, OBJECTIVE, Metric, definitions
from synth_sagemaker.request import Overrides, Request, Text, finished
from synth_sagemaker.training import channels, common, require_inputs, training_tags

OPERATION = "CreateHyperParameterTuningJob"

Range: TypeAlias = tuple[float, float] | tuple[str, ...] | None
"""Least and largest number, the choices, or ``None`` for what the recipe declares."""


def tuning_job(
    training: Training,
    inputs: Mapping[str, Text],
    ranges: Mapping[str, Range],
    *,
    platform: Platform,
    name: str,
    objective: Metric = OBJECTIVE,
    max_jobs: int = 20,
    max_parallel: int = 2,
    overrides: Overrides | None = None,
) -> Request:
    """Return the request of a tuning job over options of a generator.

    With spot capacity a training job that was interrupted begins anew: the one ``CheckpointConfig`` of a tuning job is
    for all of its training jobs, and no fit goes on from the state of another.

    Args:
        training: The options that all training jobs share.
        inputs: S3 prefix of each input by port; the scores need a holdout.
        ranges: What is searched, by option as in ``generator.min_leaf``.
        name: Name of the job, at most 32 characters.
        objective: What is made best: a metric of training jobs that has a better way.
        max_jobs: Training jobs in all.
        max_parallel: Training jobs at once.
        overrides: By operation, what else goes into the request.

    Raises:
        UnsupportedError: under differential privacy: every training job reads the private rows anew, and choosing among
            them reads them too, and no ledger adds it up.
        ConfigError: for an option that the generator does not have, or whose bounds neither it nor ``ranges`` tell; for
            an objective without a better way; and without a holdout.
        DataError: if AWS would refuse the request, or it reaches into a region that is not allowed.
    """
    if training.train.privacy == "dp":
        raise UnsupportedError(
            "tuning trains on the private rows many times and chooses among the models, and no ledger adds that up; "
            "tune on public rows, or use privacy=none"
        )
    require_inputs("train", channels(), inputs)
    if "holdout" not in inputs:
        raise ConfigError("a tuner compares scores against a holdout; give the input 'holdout'", option="holdout")
    if objective.goal is None:
        known = ", ".join(metric.name for metric in METRICS if metric.goal)
        raise ConfigError(f"'{objective.name}' has no better way; tune one of {known}", option="objective")
    aim = {"Type": objective.goal, "MetricName": objective.name}
    request: Request = {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": aim,
            "ResourceLimits": {"MaxNumberOfTrainingJobs": max_jobs, "MaxParallelTrainingJobs": max_parallel},
            "ParameterRanges": parameter_ranges(training.train.generator, ranges),
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": {key: text for key, text in encode(training).items() if key not in ranges},
            "AlgorithmSpecification": {
                "TrainingImage": platform.image,
                "TrainingInputMode": "File",
                "MetricDefinitions": definitions(),
            },
            **common(inputs, platform, "File"),
        },
    }
    return finished(OPERATION, request, platform, tags=training_tags(training), overrides=overrides)


def parameter_ranges(generator: str, ranges: Mapping[str, Range]) -> dict[str, list[dict[str, Any]]]:
    """Return the member ``ParameterRanges``: the named options, with the bounds declared or given.

    Raises:
        ConfigError: for an option that the generator does not have, or whose bounds nobody tells.
    """
    declared = {one["Name"]: (kind, one) for kind, listed in declared_ranges(generator).items() for one in listed}
    found: dict[str, list[dict[str, Any]]] = {}
    for option, said in ranges.items():
        known = hyperparameters(generator)
        if option not in known or known[option].part != "generator":
            options = ", ".join(name for name, one in known.items() if one.part == "generator")
            raise ConfigError(f"'{option}' cannot be tuned; options of '{generator}' are {options}", option=option)
        kind, entry = declared.get(option, ("", {})) if said is None else _given(option, said)
        if not kind:
            raise ConfigError(
                f"'{option}' declares no bounds; give the least and the largest value, or the choices", option=option
            )
        found.setdefault(kind, []).append(dict(entry))
    return found


def _given(option: str, said: tuple[float, float] | tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    if all(isinstance(value, str) for value in said):
        return "CategoricalParameterRanges", {"Name": option, "Values": list(said)}
    low, high = said
    kind = "Integer" if isinstance(low, int) and isinstance(high, int) else "Continuous"
    return f"{kind}ParameterRanges", {
        "Name": option,
        "MinValue": f"{low}",
        "MaxValue": f"{high}",
        "ScalingType": "Auto",
    }
