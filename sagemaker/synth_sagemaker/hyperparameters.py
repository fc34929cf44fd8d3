"""The hyperparameters of a training job, as text and back: every one is a field of a step's or a generator's model.

SageMaker carries text by name.  Its SDKs write the same value in different ways: version 3 ``true`` and ``adam``,
version 2 ``True`` and ``adam``, and version 2's framework estimators JSON for all, ``"adam"`` with its quotes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

from synth_components.config import Config, ConfigError, from_strings, to_strings
from synth_components.evaluation.options import EvaluateConfig
from synth_components.generators import recipe_type
from synth_components.steps.command import KINDS_OF_TEXT, metavar
from synth_components.steps.gate import GateConfig
from synth_components.steps.sample import SampleConfig
from synth_components.steps.train import TrainConfig

Part: TypeAlias = Literal["train", "generator", "sample", "evaluate", "gate"]

MAX_HYPERPARAMETERS = 100
MAX_CHARACTERS = 2500
"""Most hyperparameters of a job, and most characters of the value of one."""

UNSET = ("", "null", "None")
"""What the SDKs write for a hyperparameter that has no value."""

FOREIGN = ("_tuning_objective_metric", "sagemaker_")
"""How the names of hyperparameters begin that SageMaker's tuner and its SDKs add."""

GENERATOR_OPTIONS = "generator_options"
"""The field of ``TrainConfig`` that hyperparameters spell out, ``generator.<option>``."""

SAMPLED = ("num_rows", "seed")
"""What a training job lets its caller say about the rows that it judges; the rest is for tables and streams."""


@dataclass(frozen=True)
class Training:
    """What the hyperparameters of a training job say."""

    train: TrainConfig = field(default_factory=TrainConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    gate: GateConfig = field(default_factory=GateConfig)


@dataclass(frozen=True)
class Hyperparameter:
    """A hyperparameter, and the field that declares it.

    Attributes:
        part: What the field belongs to.
        config: The model.
        option: The field.
    """

    part: Part
    config: type[Config]
    option: str

    @property
    def name(self) -> str:
        """What SageMaker calls it: ``generator``, ``generator.min_leaf``, ``gate.min_quality``."""
        return self.option if self.part == "train" else f"{self.part}.{self.option}"


def hyperparameters(generator: str, *, trust: tuple[str, ...] = ()) -> Mapping[str, Hyperparameter]:
    """Return the hyperparameters of a training job of a generator by name.

    Args:
        trust: Module paths of generators that may be imported although nobody installed them as generators.

    Raises:
        UnsupportedError: for an unknown generator.
    """
    fields: tuple[tuple[Part, type[Config], tuple[str, ...]], ...] = (
        ("train", TrainConfig, tuple(name for name in TrainConfig.model_fields if name != GENERATOR_OPTIONS)),
        ("generator", recipe := recipe_type(generator, trust=trust), tuple(recipe.model_fields)),
        ("sample", SampleConfig, SAMPLED),
        ("evaluate", EvaluateConfig, tuple(EvaluateConfig.model_fields)),
        ("gate", GateConfig, tuple(GateConfig.model_fields)),
    )
    listed = [Hyperparameter(part, config, option) for part, config, names in fields for option in names]
    return MappingProxyType({one.name: one for one in listed})


def decode(said: Mapping[str, Any]) -> Training:
    """Return what hyperparameters say, whichever SDK wrote them; those without a value take their default.

    Raises:
        ConfigError: naming a hyperparameter that does not exist, or whose value breaks its rule.
        UnsupportedError: for an unknown generator.
    """
    texts = {name: _text(value) for name, value in said.items() if not name.startswith(FOREIGN)}
    given = {name: text for name, text in texts.items() if text not in UNSET}
    # The generator says which other hyperparameters there are, and `trust` which generators.
    named = ("generator", "trust")
    told = {str(name): _canonical(TrainConfig, name, given[name]) for name in named if name in given}
    first = _parsed(TrainConfig, told, "train")
    known = hyperparameters(first.generator, trust=first.trust)
    parts: dict[Part, dict[str, str]] = {part: {} for part in get_args(Part)}
    for name in texts:
        if name not in known:
            raise _unknown(name, known, first.generator)
        if name in given:
            one = known[name]
            parts[one.part][one.option] = _canonical(one.config, one.option, given[name])
    recipe = _parsed(recipe_type(first.generator, trust=first.trust), parts["generator"], "generator")
    train = _parsed(TrainConfig, parts["train"], "train")
    options = recipe.model_dump(mode="json", include=set(parts["generator"]))
    return Training(
        train.model_copy(update={GENERATOR_OPTIONS: options}),
        _parsed(SampleConfig, parts["sample"], "sample"),
        _parsed(EvaluateConfig, parts["evaluate"], "evaluate"),
        _parsed(GateConfig, parts["gate"], "gate"),
    )


def encode(training: Training) -> dict[str, str]:
    """Return the hyperparameters that say what differs from the defaults; ``decode`` reads them back.

    Raises:
        ConfigError: for an option that a training job does not have, or a value too long for SageMaker.
    """
    train = training.train
    recipe = recipe_type(train.generator, trust=train.trust)
    held: dict[Part, Config] = {
        "train": train,
        "generator": recipe.parse(train.generator_options),
        "sample": training.sample,
        "evaluate": training.evaluate,
        "gate": training.gate,
    }
    known = hyperparameters(train.generator, trust=train.trust)
    made: dict[str, str] = {}
    for part, config in held.items():
        default = to_strings(type(config)())
        for option, text in to_strings(config).items():
            one = Hyperparameter(part, type(config), option)
            if text == default[option] or (part == "train" and option == GENERATOR_OPTIONS):
                continue
            if one.name not in known:
                raise ConfigError(f"a training job has no '{one.name}'; leave it at its default", option=one.name)
            if len(text) > MAX_CHARACTERS:
                raise ConfigError(
                    f"'{one.name}' is {len(text):,} characters long, and SageMaker carries {MAX_CHARACTERS:,}; give "
                    "schema and constraints as channels",
                    option=one.name,
                )
            made[one.name] = json.dumps(text) if text in UNSET or _is_quoted(text) else text
    return made


def _text(value: Any) -> str:  # noqa: ANN401 - SageMaker writes text; tools that imitate it write any JSON value
    return value.strip() if isinstance(value, str) else json.dumps(value)


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] == '"'


def _canonical(config: type[Config], option: str, text: str) -> str:
    """Return the text that ``from_strings`` reads."""
    if _is_quoted(text):
        try:
            inner = json.loads(text)
        except ValueError:
            return text
        text = inner if isinstance(inner, str) else text
    is_flag = config.model_fields[option].annotation is bool
    return text.lower() if is_flag and text in {"True", "False"} else text


def _parsed(config: type[Config], texts: Mapping[str, str], part: Part) -> Any:  # noqa: ANN401 - an instance of config
    try:
        return from_strings(config, texts)
    except ConfigError as error:
        option = error.option.partition(".")[0]
        name = Hyperparameter(part, config, option).name if option in config.model_fields else part
        rule = str(error).removeprefix(f"option '{error.option}' of {config.__name__}: ")
        rule = rule.removeprefix(f"options of {config.__name__}: ")
        if rule == "the text is not valid JSON":
            rule = f"must be {KINDS_OF_TEXT.get(metavar(config, option), 'JSON')}"
        raise ConfigError(f"hyperparameter '{name}': {rule}", option=name) from None


def _unknown(name: str, known: Mapping[str, Hyperparameter], generator: str) -> ConfigError:
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known are: {', '.join(known)}"
    return ConfigError(f"there is no hyperparameter '{name}' with generator {generator}; {hint}", option=name)
