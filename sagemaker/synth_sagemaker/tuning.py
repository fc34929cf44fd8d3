"""The request of a tuning job: many training jobs, their options searched within the bounds that recipes declare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args, get_origin

from pydantic.fields import FieldInfo

from synth_components.config import ConfigError, json_schema
from synth_components.errors import UnsupportedError
from synth_components.generators import recipe_type
from synth_components.steps import load
from synth_components.steps.port import ports
from synth_components.steps.train import TrainConfig
from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.options import texts_of
from synth_sagemaker.request import Overrides, Request, Text, finished
from synth_sagemaker.training import common, require_inputs, training_tags

OPERATION = "CreateHyperParameterTuningJob"

Range: TypeAlias = tuple[float, float] | tuple[str, ...] | None
"""Least and largest number, the choices, or ``None`` for what the recipe declares."""


def tuning_job(
    config: TrainConfig,
    inputs: Mapping[str, Text],
    ranges: Mapping[str, Range],
    *,
    metric: str,
    pattern: str,
    platform: Platform,
    name: str,
    direction: Literal["Maximize", "Minimize"] = "Maximize",
    max_jobs: int = 20,
    max_parallel: int = 2,
    overrides: Overrides | None = None,
) -> Request:
    """Return the request of a tuning job over options of a generator.

    Args:
        inputs: S3 prefix of each input by port.
        ranges: What is searched, by option as in ``generator.min_leaf``.
        metric: Name of the metric that is made best.
        pattern: Regular expression that finds it in a training job's log; its group is the number.
        name: Name of the job, at most 32 characters.
        max_jobs: Training jobs in all.
        max_parallel: Training jobs at once.
        overrides: By operation, what else goes into the request.

    Raises:
        UnsupportedError: under differential privacy: every training job reads the private rows anew, and choosing among
            them reads them too, and no ledger adds it up.
        ConfigError: for an option that the generator does not have, or whose bounds neither it nor ``ranges`` tell.
        DataError: if AWS would refuse the request, or it reaches into a region that is not allowed.
    """
    if config.privacy == "dp":
        raise UnsupportedError(
            "tuning trains on the private rows many times and chooses among the models, and no ledger adds that up; "
            "tune on public rows, or use privacy=none"
        )
    require_inputs(
        "train", {port: said for port, said in ports(load("train")).items() if said.direction == "in"}, inputs
    )
    options = {key: text for key, text in texts_of(config).items() if key not in ranges}
    rest = common(inputs, platform, "File")
    request: Request = {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": direction, "MetricName": metric},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": max_jobs, "MaxParallelTrainingJobs": max_parallel},
            "ParameterRanges": parameter_ranges(config.generator, ranges),
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": options,
            "AlgorithmSpecification": {
                "TrainingImage": platform.image,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": metric, "Regex": pattern}],
            },
            **rest,
        },
    }
    return finished(OPERATION, request, platform, tags=training_tags(config), overrides=overrides)


def parameter_ranges(generator: str, ranges: Mapping[str, Range]) -> dict[str, list[dict[str, Any]]]:
    """Return the member ``ParameterRanges``: for each option its kind, and its bounds as text.

    Raises:
        ConfigError: for an option that the generator does not have, or whose bounds nobody tells.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    fields = recipe_type(generator).model_fields
    for option, said in ranges.items():
        key = option.removeprefix("generator.")
        if key == option or key not in fields:
            known = ", ".join(f"generator.{one}" for one in fields)
            raise ConfigError(f"'{option}' cannot be tuned; options of '{generator}' are {known}", option=option)
        kind, entry = _range(option, fields[key], said)
        found.setdefault(kind, []).append({"Name": option, **entry})
    return found


def _range(option: str, field: FieldInfo, said: Range) -> tuple[str, dict[str, Any]]:
    kind = json_schema(field.annotation).get("type")
    if kind in ("integer", "number"):
        low, high = said if said is not None else (_bound(field, "ge"), _bound(field, "le"))
        if low is None or high is None:
            raise ConfigError(
                f"'{option}' declares no closed bounds; give the least and the largest value", option=option
            )
        bounds = {"MinValue": json.dumps(low), "MaxValue": json.dumps(high), "ScalingType": "Auto"}
        return ("IntegerParameterRanges" if kind == "integer" else "ContinuousParameterRanges"), bounds
    is_choice = get_origin(field.annotation) is Literal
    declared = get_args(field.annotation) if is_choice else ("true", "false") if kind == "boolean" else ()
    values = [str(value) for value in (said or declared)]
    if not values:
        raise ConfigError(f"'{option}' declares no choices; give those to try", option=option)
    return "CategoricalParameterRanges", {"Values": values}


def _bound(field: FieldInfo, rule: str) -> Any:  # noqa: ANN401 - an integer or a float
    return next((getattr(one, rule) for one in field.metadata if getattr(one, rule, None) is not None), None)
