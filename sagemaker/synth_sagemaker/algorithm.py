"""A generator as an algorithm of SageMaker: its ``CreateAlgorithm`` request, and what a tuner may vary."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args, get_origin

from pydantic.fields import FieldInfo

from synth_components.config import Config, to_strings
from synth_components.generators import DEFAULT, names, recipe_type
from synth_components.steps import load
from synth_components.steps.catalogue import cell, fields_table, summary_of
from synth_components.steps.command import EMPTY
from synth_components.steps.port import ports
from synth_components.steps.record import write_text
from synth_sagemaker.channel import CONTENT_TYPES, MODES
from synth_sagemaker.hyperparameters import GENERATOR_OPTIONS, SAMPLED, Hyperparameter, hyperparameters
from synth_sagemaker.layout import CHANNELS
from synth_sagemaker.metrics import METRICS, definitions
from synth_sagemaker.names import package_version

Type: TypeAlias = Literal["Integer", "Continuous", "Categorical", "FreeText"]

SIZES = ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge")
INSTANCE_TYPES = tuple(f"ml.{family}.{size}" for family in ("m6i", "r6i", "m7i", "r7i") for size in SIZES)
"""What the generators without torch are trained on: processors and memory, no accelerator."""

MAX_CHOICES = 30
"""Most values of a categorical hyperparameter."""


def image() -> str:
    """Return the name of the image that stands in the committed specifications; a launcher puts its own there."""
    return f"synth-components:{package_version()}"


def algorithm_name(generator: str) -> str:
    """Return what the algorithm of a generator is called: ``synth-tabular-trees``."""
    return f"synth-{generator.replace('.', '-').replace('_', '-')}"


def algorithm(generator: str) -> dict[str, Any]:
    """Return the ``CreateAlgorithm`` request of a generator.

    Raises:
        UnsupportedError: for an unknown generator.
    """
    return {
        "AlgorithmName": algorithm_name(generator),
        "AlgorithmDescription": summary_of(generator),
        "TrainingSpecification": {
            "TrainingImage": image(),
            "SupportedHyperParameters": [
                _fixed(one, generator) if one.name == "generator" else _declared(one)
                for one in hyperparameters(generator).values()
            ],
            "SupportedTrainingInstanceTypes": list(INSTANCE_TYPES),
            "SupportsDistributedTraining": recipe_type(generator).trains_together,
            "MetricDefinitions": definitions(),
            "TrainingChannels": channels(),
            "SupportedTuningJobObjectiveMetrics": [
                {"Type": metric.goal, "MetricName": metric.name} for metric in METRICS if metric.goal
            ],
        },
    }


def channels() -> list[dict[str, Any]]:
    """Return the channels of a training job, as ``CreateAlgorithm`` describes them."""
    known = {**ports(load("evaluate")), **ports(load("train"))}  # the holdout is a port of the former only
    return [
        {
            "Name": channel,
            "Description": known[port].description,
            "IsRequired": not known[port].optional and port in ports(load("train")),
            "SupportedContentTypes": list(CONTENT_TYPES[known[port].kind]),
            "SupportedCompressionTypes": ["None", "Gzip"],
            "SupportedInputModes": list(MODES),
        }
        for port, channel in CHANNELS.items()
    ]


def ranges(generator: str) -> dict[str, list[dict[str, Any]]]:
    """Return the ``ParameterRanges`` of a tuning job: every option of the generator whose values are bounded.

    Raises:
        UnsupportedError: for an unknown generator.
    """
    made: dict[str, list[dict[str, Any]]] = {
        "IntegerParameterRanges": [],
        "ContinuousParameterRanges": [],
        "CategoricalParameterRanges": [],
    }
    for one in hyperparameters(generator).values():
        limits = _range(one)
        if limits is None or one.part != "generator":
            continue
        kind = _type(_field(one))
        if kind == "Categorical":
            made["CategoricalParameterRanges"].append({"Name": one.name, "Values": limits["Values"]})
        else:
            made[f"{kind}ParameterRanges"].append({"Name": one.name, **limits, "ScalingType": "Auto"})
    return made


def files() -> dict[str, str]:
    """Return the text of every file below ``algorithms/``, by path."""
    made = {
        f"algorithms/{generator}.json": json.dumps(algorithm(generator), indent=2, ensure_ascii=False) + "\n"
        for generator in names()
    }
    return {**made, "algorithms/README.md": _page()}


def write(folder: Path) -> None:
    """Write what ``files`` returns, and remove specifications of generators that are no more."""
    made = files()
    for path in (folder / "algorithms").glob("*.json"):
        if f"algorithms/{path.name}" not in made:
            path.unlink()
    for name, text in made.items():
        write_text(folder / name, text)


def _field(one: Hyperparameter) -> FieldInfo:
    return one.config.model_fields[one.option]


def _declared(one: Hyperparameter) -> dict[str, Any]:
    """Return a hyperparameter as ``CreateAlgorithm`` describes it."""
    field, limits = _field(one), _range(one)
    kind = _type(field)
    default = _defaults(one.config)[one.option] if not field.is_required() else ""
    is_empty = field.get_default(call_default_factory=True) in EMPTY
    return {
        "Name": one.name,
        "Description": field.description or "",
        "Type": kind,
        **({} if limits is None else {"Range": {f"{kind}ParameterRangeSpecification": limits}}),
        "IsTunable": limits is not None and one.part == "generator",
        "IsRequired": field.is_required(),
        **({} if field.is_required() or is_empty else {"DefaultValue": default}),
    }


@cache
def _defaults(config: type[Config]) -> Mapping[str, str]:
    return to_strings(config.model_construct())


def _fixed(one: Hyperparameter, generator: str) -> dict[str, Any]:
    """Return the hyperparameter that names the generator: this one, said by every job unless it is the default."""
    is_default = generator == DEFAULT
    return {
        "Name": one.name,
        "Description": _field(one).description or "",
        "Type": "Categorical",
        "Range": {"CategoricalParameterRangeSpecification": {"Values": [generator]}},
        "IsTunable": False,
        "IsRequired": not is_default,
        **({"DefaultValue": generator} if is_default else {}),
    }


def _type(field: FieldInfo) -> Type:
    annotation: Any = field.annotation
    if annotation is bool or get_origin(annotation) is Literal:
        return "Categorical"
    if annotation is int:
        return "Integer"
    return "Continuous" if annotation is float else "FreeText"


def _range(one: Hyperparameter) -> dict[str, Any] | None:
    """Return the bounds of a hyperparameter, both inclusive; ``None`` if it is not bounded so."""
    field = _field(one)
    annotation: Any = field.annotation
    match _type(field):
        case "FreeText":
            return None
        case "Categorical":
            choices = ["true", "false"] if annotation is bool else [str(choice) for choice in get_args(annotation)]
            return {"Values": choices} if len(choices) <= MAX_CHOICES else None
        case "Integer":
            low, high = _limit(field, "ge", "gt", 1), _limit(field, "le", "lt", -1)
        case "Continuous":
            low, high = _limit(field, "ge", "", 0), _limit(field, "le", "", 0)
    if low is None or high is None:
        return None
    return {"MinValue": f"{low}", "MaxValue": f"{high}"}


def _limit(field: FieldInfo, inclusive: str, exclusive: str, step: int) -> float | None:
    for rule in field.metadata:
        for name, offset in ((inclusive, 0), (exclusive, step)):
            limit: float | None = getattr(rule, name, None) if name else None
            if limit is not None and math.isfinite(limit):
                return limit + offset if offset else limit  # a float stays the text that the model has
    return None


def _page() -> str:
    """Return the page that lists every hyperparameter."""
    from synth_components.evaluation.options import EvaluateConfig
    from synth_components.steps.gate import GateConfig
    from synth_components.steps.sample import SampleConfig
    from synth_components.steps.train import TrainConfig

    def section(title: str, config: type[Config], *, without: tuple[str, ...] = ()) -> list[str]:
        return [f"## {title}", "", fields_table(config, without=without) or "None.", ""]

    others = tuple(name for name in SampleConfig.model_fields if name not in SAMPLED)
    lines = [
        "# Algorithms",
        "",
        "Written by `synth sagemaker compile`; do not edit. One `CreateAlgorithm` request for each generator:",
        "",
        *(f"- [`{name}.json`]({name}.json): {cell(summary_of(name))}" for name in names()),
        "",
        "A hyperparameter without a prefix is an option of `synth train`. Those of a generator are written",
        "`generator.min_leaf`; with a channel `holdout`, the model is judged by rows drawn from it, as `sample.` and",
        "`evaluate.` say, and nothing is saved if it misses what `gate.` asks for.",
        "",
        *section("Without a prefix", TrainConfig, without=(GENERATOR_OPTIONS,)),
        *section("`sample.`", SampleConfig, without=others),
        *section("`evaluate.`", EvaluateConfig),
        *section("`gate.`", GateConfig),
        *(line for name in names() for line in section(f"`generator.` of `{name}`", recipe_type(name))),
    ]
    return "\n".join(lines).rstrip() + "\n"
