"""The definition of a pipeline: split, train, sample, judge, gate, then augment and register, or fail.

It is the JSON that ``CreatePipeline`` takes.  A parameter of the pipeline is an option of one of its steps, declared
there, or a threshold of the gate.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeAlias

from pydantic import Field, field_validator

from synth_components.augment import AugmentConfig
from synth_components.config import Config, ConfigError, StepConfig
from synth_components.evaluation.attacks.risk import MOST
from synth_components.evaluation.card import CHANCE, COPIES
from synth_components.evaluation.options import FidelityConfig, PrivacyConfig, UtilityConfig
from synth_components.policy import guard
from synth_components.steps.sample import SampleConfig
from synth_components.steps.split import SplitConfig, split_for
from synth_sagemaker.form import DURATION
from synth_sagemaker.hyperparameters import Training
from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.layout import FILES
from synth_sagemaker.processing import processing_job
from synth_sagemaker.registry import model_package
from synth_sagemaker.request import Overrides, Request, Text, finished
from synth_sagemaker.training import training_job

Definition: TypeAlias = dict[str, Any]

VERSION = "2020-12-01"
STATISTICS = "statistics.json"
CONSTRAINTS = "constraints.json"
_SERVICE_FAULTS = ("Step.SERVICE_FAULT", "Step.THROTTLING")
_BEFORE_THE_WORK = ("SageMaker.CAPACITY_ERROR", "SageMaker.RESOURCE_LIMIT")
IN_THE_WORK = ("SageMaker.JOB_INTERNAL_ERROR",)
"""Faults of a job that has begun: what it read it reads again if it is tried again."""
_JUDGES = {
    "EvaluateUtility": "evaluate_tstr",
    "EvaluateFidelity": "evaluate_fidelity",
    "EvaluatePrivacy": "evaluate_privacy",
}


class Thresholds(Config):
    """What the scores must reach before rows are added and the model is registered."""

    min_utility_ratio: float = Field(
        0.9, ge=0, description="Least score of learners trained on synthetic rows, as a share of that on real ones."
    )
    max_attack_score: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Most area under the curve of the strongest membership inference; 0.5 is guessing.",
    )
    max_copy_rate: float = Field(0.05, ge=0, le=1, description="Most share of synthetic rows that copy a training row.")
    max_risk: float = Field(
        MOST, ge=0, le=1, description="Most privacy risk, which is the largest gain of any attack; 1 asks for none."
    )


class Flow(Config):
    """How the pipeline itself runs."""

    group: str = Field("synth-generators", description="Group of model versions that a good model is registered in.")
    cache: str = Field(
        "",
        description="How long a step's result is used again, such as P30D; empty for never, since the service compares "
        "addresses and not what lies there.",
    )
    max_attempts: int = Field(3, ge=1, le=20, description="Attempts at a step that fails for reasons of the service.")

    @field_validator("cache")
    @classmethod
    def _is_a_duration(cls, text: str) -> str:
        if text and not re.fullmatch(DURATION, text):
            raise ValueError("cache is a duration of ISO 8601, such as P30D or PT12H")
        return text


@dataclass(frozen=True)
class Options:
    """The options of the pipeline's steps."""

    training: Training = field(default_factory=Training)
    split: SplitConfig = field(default_factory=SplitConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    utility: UtilityConfig = field(default_factory=UtilityConfig)
    fidelity: FidelityConfig = field(default_factory=FidelityConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass(frozen=True)
class Parameter:
    """A parameter of the pipeline.

    Attributes:
        name: What it is called.
        config: The config that declares the option behind it.
        option: That option.
    """

    name: str
    config: Config
    option: str

    def declared(self) -> Request:
        """Return the parameter as the definition lists it."""
        value = getattr(self.config, self.option)
        kinds = {bool: "Boolean", int: "Integer", float: "Float", str: "String"}
        said: Request = {"Name": self.name, "Type": kinds[type(value)]}
        return said if value == "" else {**said, "DefaultValue": value}

    def get(self) -> Request:
        """Return the expression for its value."""
        return {"Get": f"Parameters.{self.name}"}

    def text(self) -> Text:
        """Return the expression for its value as text."""
        if isinstance(getattr(self.config, self.option), str):
            return self.get()
        return {"Std:Join": {"On": "", "Values": [self.get()]}}


def pipeline(
    platform: Platform,
    options: Options,
    *,
    thresholds: Thresholds | None = None,
    flow: Flow | None = None,
    data: str = "",
    schema: str = "",
    overrides: Overrides | None = None,
) -> Definition:
    """Return the definition of the pipeline.

    Its parameters are ``DataUri``, ``Target``, ``NumRows``, the seeds, epsilon and delta under differential privacy,
    and the thresholds.

    Args:
        data: S3 prefix of the real rows, the default of the parameter ``DataUri``.
        schema: S3 prefix of the declared schema, which split and training take: an epsilon is of the privacy unit that
            it names.  Empty for none.
        overrides: By operation, what else goes into the arguments of the steps that make it.

    Raises:
        ConfigError: if a bound on epsilon is asked for without differential privacy, or the reverse; for spot capacity
            or retries with it; if jobs would write under ``data``; for an override of what is reserved, or something
            like a secret.
        BudgetExceededError: under differential privacy, if no fit of the generator is private.
        DataError: if AWS would refuse a step, or it reaches into a region that is not allowed.
    """
    thresholds, flow = thresholds or Thresholds(), flow or Flow()
    # S3 knows no folders: a prefix is of every key that begins so.
    prefix = data if "/" in data.removeprefix("s3://") else f"{data}/"
    if data and f"{platform.output}/".startswith(prefix):
        raise ConfigError(
            f"the output '{platform.output}' begins as the prefix of the real rows, '{data}', does: what jobs write "
            "would be read as real rows; give one of them a prefix of its own",
            option="output",
        )
    is_private = options.training.train.privacy == "dp"
    if is_private != (options.training.gate.max_epsilon > 0):
        raise ConfigError(
            "gate.max_epsilon and privacy=dp belong together: without differential privacy epsilon is not bounded, and "
            "with it the gate says how much is too much; give both, or neither",
            option="gate.max_epsilon",
        )
    if is_private and options.split.unit and not schema:
        raise ConfigError(
            "split.unit keeps rows together, and the epsilon of a fit without a schema is of a row; declare the unit "
            "in a schema, and say where it lies (schema)",
            option="split.unit",
        )
    drawn = _Steps(platform, options, thresholds, flow, overrides, is_private=is_private, schema=schema)
    return {
        "Version": VERSION,
        "Metadata": {},
        "Parameters": [
            {"Name": "DataUri", "Type": "String", **({"DefaultValue": data} if data else {})},
            *(parameter.declared() for parameter in drawn.parameters.values()),
        ],
        "Steps": drawn.all(),
    }


def create_pipeline(
    name: str, definition: Definition, *, platform: Platform, overrides: Overrides | None = None
) -> Request:
    """Return the request that makes a pipeline of a definition; sent twice, it makes one.

    Raises:
        ConfigError: for an override of what is reserved.
        DataError: if AWS would refuse the request, or it reaches into a region that is not allowed.
    """
    text = json.dumps(definition, sort_keys=True)
    request: Request = {
        "PipelineName": name,
        "PipelineDescription": "Synthetic data: split, train, sample, judge, gate, augment and register.",
        "PipelineDefinition": text,
        "ClientRequestToken": sha256(f"{name}\n{text}".encode()).hexdigest(),
        "RoleArn": platform.pipeline_role or platform.role,
    }
    return finished("CreatePipeline", request, platform, overrides=overrides)


def output_of(step: str, port: str) -> Request:
    """Return the expression for where an output of a processing step lies."""
    return {"Get": f"Steps.{step}.ProcessingOutputConfig.Outputs['{port}'].S3Output.S3Uri"}


def score_of(step: str, name: str) -> Request:
    """Return the expression for a value in the report of a judging step."""
    file = {"Get": f"Steps.{step}.PropertyFiles.{_report(step)}"}
    return {"Std:JsonGet": {"PropertyFile": file, "Path": f"values.{name}"}}


class _Steps:
    """Draws the steps."""

    def __init__(
        self,
        platform: Platform,
        options: Options,
        thresholds: Thresholds,
        flow: Flow,
        overrides: Overrides | None,
        *,
        is_private: bool,
        schema: str = "",
    ) -> None:
        self.schema: Mapping[str, Text] = {"schema": schema} if schema else {}
        self.platform, self.options, self.thresholds, self.flow = platform, options, thresholds, flow
        self.overrides, self.is_private = overrides, is_private
        train = options.training.train
        listed = [
            Parameter("Target", options.utility, "target"),
            Parameter("NumRows", options.sample, "num_rows"),
            Parameter("SampleSeed", options.sample, "seed"),
            *([] if is_private else [Parameter("TrainSeed", train, "seed")]),
            *([Parameter("Epsilon", train, "epsilon"), Parameter("Delta", train, "delta")] if is_private else []),
            Parameter("MinUtilityRatio", thresholds, "min_utility_ratio"),
            Parameter("MaxAttackScore", thresholds, "max_attack_score"),
            Parameter("MaxCopyRate", thresholds, "max_copy_rate"),
            Parameter("MaxRisk", thresholds, "max_risk"),
            *([Parameter("MaxEpsilon", options.training.gate, "max_epsilon")] if is_private else []),
        ]
        self.parameters = {parameter.name: parameter for parameter in listed}

    def all(self) -> list[Request]:
        """Return the steps in the order of the work."""
        train, holdout = output_of("Split", "train"), output_of("Split", "holdout")
        said = {"train": train, "holdout": holdout, "synthetic": output_of("Sample", "synthetic"), "model": _MODEL}
        configs: Mapping[str, StepConfig] = {
            "EvaluateUtility": self.options.utility,
            "EvaluateFidelity": self.options.fidelity,
            "EvaluatePrivacy": self.options.privacy,
        }
        split = split_for(self.options.split, self.options.training.train.privacy)
        return [
            self._processing("Split", "split", split, {"data": {"Get": "Parameters.DataUri"}, **self.schema}),
            self._train(train, holdout),
            self._processing(
                "Sample", "sample", self.options.sample, {"model": _MODEL}, NumRows="num_rows", SampleSeed="seed"
            ),
            *(
                self._processing(
                    name, step, configs[name], said, **({"Target": "target"} if step == "evaluate_tstr" else {})
                )
                for name, step in _JUDGES.items()
            ),
            self._gate([self._augment(train), self._register()], [self._reject()]),
        ]

    def _train(self, data: Text, holdout: Text) -> Request:
        private = {"Epsilon": "epsilon", "Delta": "delta", "MaxEpsilon": "gate.max_epsilon"}
        said = private if self.is_private else {"TrainSeed": "seed"}
        arguments = training_job(
            self.options.training,
            # The job that hands a model over holds it against the policy, by a report of its own; differential privacy
            # needs none.
            {
                "data": data,
                **self.schema,
                **({"holdout": holdout} if self._names_policy() and not self.is_private else {}),
            },
            platform=self.platform,
            name=None,
            expressions={option: self.parameters[name].text() for name, option in said.items()},
            overrides=self.overrides,
        )
        # The job itself refuses a model whose epsilon exceeds the gate's, whatever the condition below says.
        # A second attempt would read the private rows again, outside of the epsilon that the model tells.
        faults = _BEFORE_THE_WORK if self.is_private else (*_BEFORE_THE_WORK, *IN_THE_WORK)
        is_fresh = self.is_private or self.options.training.train.seed == -1
        return self._step("Train", "Training", arguments, faults, is_cached=not is_fresh)

    def _names_policy(self) -> bool:
        return self.platform.environment.get("SYNTH_POLICY", guard.OFF) != guard.OFF

    def _processing(
        self, name: str, step: str, config: StepConfig, inputs: Mapping[str, Text], **expressions: str
    ) -> Request:
        ports = {"Split": ("train", "holdout"), "Sample": ("synthetic",), "Augment": ("augmented",)}
        run = {"Get": "Execution.PipelineExecutionId"}
        places: dict[str, Text] = {
            port: {"Std:Join": {"On": "/", "Values": [self.platform.output, run, name, port]}}
            for port in ports.get(name, ("report",))  # its page goes beside it
        }
        arguments = processing_job(
            step,
            config,
            inputs,
            platform=self.platform,
            name=None,
            outputs=places,
            expressions={option: self.parameters[parameter].text() for parameter, option in expressions.items()},
            overrides=self.overrides,
        )
        is_cached = getattr(config, "seed", 0) != -1
        made = self._step(name, "Processing", arguments, (*_BEFORE_THE_WORK, *IN_THE_WORK), is_cached=is_cached)
        if name in _JUDGES:
            file = {"PropertyFileName": _report(name), "OutputName": "report", "FilePath": FILES["report"]}
            made["PropertyFiles"] = [file]
        return made

    def _augment(self, data: Text) -> Request:
        return self._processing("Augment", "augment", self.options.augment, {"data": data, "model": _MODEL})

    def _register(self) -> Request:
        def file(step: str, name: str) -> Text:
            return {"Std:Join": {"On": "/", "Values": [output_of(step, "report"), name]}}

        arguments = model_package(
            self.flow.group,
            _MODEL,
            platform=self.platform,
            is_private=self.is_private,
            reports={
                "utility": file("EvaluateUtility", STATISTICS),
                "fidelity": file("EvaluateFidelity", STATISTICS),
                "privacy": file("EvaluatePrivacy", STATISTICS),
            },
            constraints=file("EvaluateUtility", CONSTRAINTS),
            properties={
                "synth:generator": self.options.training.train.generator,
                "synth:pipeline-execution": {"Get": "Execution.PipelineExecutionId"},
            },
            overrides=self.overrides,
        )
        return {"Name": "Register", "Type": "RegisterModel", "Arguments": arguments}

    def _gate(self, then: list[Request], otherwise: list[Request]) -> Request:
        bounds = [
            ("GreaterThanOrEqualTo", "EvaluateUtility", "utility_ratio", "MinUtilityRatio"),
            ("LessThanOrEqualTo", "EvaluatePrivacy", "privacy_membership_auc", "MaxAttackScore"),
            ("LessThanOrEqualTo", "EvaluatePrivacy", "privacy_copies", "MaxCopyRate"),
            ("LessThanOrEqualTo", "EvaluatePrivacy", "privacy_risk", "MaxRisk"),
        ]
        conditions: list[Request] = [
            {"Type": kind, "LeftValue": score_of(step, score), "RightValue": self.parameters[name].get()}
            for kind, step, score, name in bounds
        ]
        if not self.options.training.gate.allow_copies:
            conditions += [_no_more_than_chance(name) for name in COPIES]
        if self.is_private:
            conditions.append(
                {
                    "Type": "LessThanOrEqualTo",
                    "LeftValue": self.parameters["Epsilon"].get(),
                    "RightValue": self.parameters["MaxEpsilon"].get(),
                }
            )
        arguments = {"Conditions": conditions, "IfSteps": then, "ElseSteps": otherwise}
        return {"Name": "Gate", "Type": "Condition", "Arguments": arguments}

    def _reject(self) -> Request:
        told = [
            "the synthetic rows miss a threshold: utility ratio",
            score_of("EvaluateUtility", "utility_ratio"),
            "attack score",
            score_of("EvaluatePrivacy", "privacy_membership_auc"),
            *(part for name, label in COPIES.items() for part in (label, _copies(name))),
            "risk",
            score_of("EvaluatePrivacy", "privacy_risk"),
        ]
        message = {"Std:Join": {"On": " ", "Values": told}}
        return {"Name": "Reject", "Type": "Fail", "Arguments": {"ErrorMessage": message}}

    def _step(
        self, name: str, kind: str, arguments: Request, faults: tuple[str, ...], *, is_cached: bool = True
    ) -> Request:
        made: Request = {"Name": name, "Type": kind, "Arguments": arguments}
        if self.flow.cache and is_cached:
            made["CacheConfig"] = {"Enabled": True, "ExpireAfter": self.flow.cache}
        if self.flow.max_attempts > 1:
            waits = {"IntervalSeconds": 30, "BackoffRate": 2.0, "MaxAttempts": self.flow.max_attempts}
            made["RetryPolicies"] = [
                {"ExceptionType": list(kinds), **waits} for kinds in (_SERVICE_FAULTS, faults) if kinds
            ]
        return made


_MODEL: Text = {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}


def _copies(name: str) -> Request:
    return score_of("EvaluatePrivacy", name.replace(".", "_"))


def _no_more_than_chance(name: str) -> Request:
    """Return the condition that copies are no more than a holdout and chance explain, as card and gate hold them."""
    return {
        "Type": "Or",
        "Conditions": [
            {"Type": "LessThanOrEqualTo", "LeftValue": _copies(name), "RightValue": _copies(f"{name}.bound")},
            {"Type": "GreaterThanOrEqualTo", "LeftValue": _copies(f"{name}.p_value"), "RightValue": CHANCE[name]},
        ],
    }


def _report(step: str) -> str:
    return f"{step}Report"
