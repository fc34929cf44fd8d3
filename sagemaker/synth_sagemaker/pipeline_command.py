"""What the commands of ``launch_command`` read and write: option files, definitions, policies."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import click

from synth_components.augment import AugmentConfig
from synth_components.config import Config, ConfigError, to_strings
from synth_components.errors import DataError
from synth_components.evaluation.options import FidelityConfig, PrivacyConfig, UtilityConfig
from synth_components.steps.gate import GateConfig
from synth_components.steps.map_file import read_map
from synth_components.steps.record import write_text
from synth_components.steps.sample import SampleConfig
from synth_components.steps.split import SplitConfig
from synth_components.steps.train import TrainConfig
from synth_sagemaker.hyperparameters import Training
from synth_sagemaker.iam import execution_policy, launcher_policy, trust_policy
from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.local_job import BrokenJob, Runner, has_image
from synth_sagemaker.local_run import run_local
from synth_sagemaker.pipeline import Definition, Flow, Options, Thresholds, pipeline
from synth_sagemaker.request import Overrides
from synth_sagemaker.validate import mistakes

_LOG = logging.getLogger(f"synth_components.{__name__}")  # the command line shows what the core logs

_BUG = 1

Wanted: TypeAlias = Literal["auto", "host", "docker"]

SECTIONS: Mapping[str, type[Config]] = {
    "platform": Platform,
    "split": SplitConfig,
    "train": TrainConfig,
    "gate": GateConfig,
    "sample": SampleConfig,
    "utility": UtilityConfig,
    "fidelity": FidelityConfig,
    "privacy": PrivacyConfig,
    "augment": AugmentConfig,
    "thresholds": Thresholds,
    "flow": Flow,
}
"""What an option file may say, by section: each is a config of its own."""


_PLAIN = ("data", "schema", "overrides")
"""What an option file may say besides."""


@dataclass(frozen=True)
class Asked:
    """What an option file and the command line ask for."""

    platform: Platform
    options: Options
    thresholds: Thresholds
    flow: Flow
    data: str
    overrides: Overrides
    schema: str = ""

    def definition(self) -> Definition:
        """Return the definition of the pipeline."""
        return pipeline(
            self.platform,
            self.options,
            thresholds=self.thresholds,
            flow=self.flow,
            data=self.data,
            schema=self.schema,
            overrides=self.overrides,
        )


def asked(
    file: Path | None, platform: Mapping[str, str], *, data: str = "", target: str = "", schema: str = ""
) -> Asked:
    """Return what an option file and the command line ask for; the command line wins.

    Args:
        platform: Options of the platform as text.
        data: S3 prefix of the real rows.
        target: Column that utility predicts.
        schema: S3 prefix of the declared schema.

    Raises:
        ConfigError: naming a section or an option that is unknown or wrong.
    """
    said = {} if file is None else read_map(file, "option file")
    for name in said:
        if name not in {*SECTIONS, *_PLAIN}:
            raise ConfigError(
                f"'{file}' has an unknown section '{name}'; there are {', '.join([*SECTIONS, *_PLAIN])}", option=name
            )
    held = {name: said.get(name) or {} for name in SECTIONS}
    held["platform"] = {**held["platform"], **{name: _value(name, text) for name, text in platform.items()}}
    held["utility"] = {**held["utility"], **({"target": target} if target else {})}
    made: dict[str, Any] = {name: cls.parse(held[name]) for name, cls in SECTIONS.items()}
    options = Options(
        Training(train=made["train"], gate=made["gate"]),
        made["split"],
        made["sample"],
        made["utility"],
        made["fidelity"],
        made["privacy"],
        made["augment"],
    )
    return Asked(
        made["platform"],
        options,
        made["thresholds"],
        made["flow"],
        data or str(said.get("data", "")),
        said.get("overrides") or {},
        schema or str(said.get("schema", "")),
    )


def write_definition(said: Asked, target: Path) -> None:
    """Write the definition of a pipeline.

    Raises:
        SynthError: for options that contradict each other, or that AWS would refuse.
    """
    write_text(target, json.dumps(said.definition(), indent=2) + "\n")


def policies(said: Asked, inputs: Sequence[str], *, prefix: str, tracking: str) -> dict[str, Any]:
    """Return the trust policy, the execution policy and the launcher's policy.

    Args:
        inputs: S3 prefixes that jobs read, beside the real rows.
        prefix: How the names begin of what the launcher may make.
        tracking: ARN of the MLflow server that it logs to; empty for none.

    Raises:
        ConfigError: for a role, image, key or place that names no resource.
    """
    read = [*inputs, *filter(None, (said.data, said.schema))]
    return {
        "trust": trust_policy(said.platform),
        "execution": execution_policy(said.platform, read),
        "launcher": launcher_policy(said.platform, read, prefix=prefix, tracking=tracking),
    }


def read_definition(file: Path) -> dict[str, Any]:
    """Return the definition in a file.

    Raises:
        DataError: if it is no JSON map.
    """
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"'{file}' cannot be read as JSON; `synth sagemaker pipeline` writes a definition") from None
    if not isinstance(said, dict):
        raise DataError(f"'{file}' is no JSON map; `synth sagemaker pipeline` writes a definition")
    return said


def print_mistakes(file: Path) -> None:
    """Print what is wrong with a definition, a line each.

    Raises:
        DataError: if anything is.
    """
    found = mistakes(read_definition(file))
    for line in found:
        click.echo(line)
    if found:
        raise DataError(f"'{file}' has {len(found)} mistake{'s' if len(found) > 1 else ''}, listed above")
    click.echo(f"{file}: valid, as far as this can be told without AWS")


def run(
    file: Path, output: Path, *, data: Path | None, runner: Wanted, parameters: Sequence[str], stand_ins: Sequence[str]
) -> None:
    """Execute a definition here, and print where its reports are.

    Raises:
        SynthError: what ``run_local`` raises.
        Exit: with status 1, if a job ends by a bug or a signal.
    """
    definition = read_definition(file)
    replaced = _pairs(stand_ins, "--stand-in", "IMAGE=LOCAL")
    chosen = _runner(runner, definition, replaced)
    click.echo(f"jobs: {'containers without network' if chosen == 'docker' else 'processes of this machine'}", err=True)
    try:
        pages = run_local(
            definition,
            output,
            runner=chosen,
            data=data,
            parameters=_pairs(parameters, "--parameter", "NAME=VALUE"),
            stand_ins=replaced,
        )
    except BrokenJob as error:  # the job itself has said what is to be reported
        _LOG.error("%s", error)
        raise click.exceptions.Exit(_BUG) from None
    for step, page in pages.items():
        click.echo(f"report of {step}: {page}")


def _value(name: str, text: str) -> Any:  # noqa: ANN401 - what the field's type says
    """Return text of the command line as the platform's field takes it."""
    from synth_components.config import from_strings

    checked = from_strings(Platform, {**to_strings(_ANY), name: text})
    return getattr(checked, name)


_ANY = Platform(image="image", role="role", output="s3://bucket")
"""A platform that stands for the required fields while one field is read."""


def _pairs(words: Sequence[str], flag: str, shape: str) -> dict[str, str]:
    made: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise ConfigError(f"{flag} '{word}' is no {shape}", option=flag)
        made[name] = value
    return made


def _runner(wanted: Wanted, definition: Mapping[str, Any], replaced: Mapping[str, str]) -> Runner:
    if wanted != "auto":
        return wanted
    images = [image for image in _images(definition) if image not in replaced]
    return "docker" if images and all(has_image(i) or has_image(i.rpartition("/")[2]) for i in images) else "host"


def _images(value: Any) -> set[str]:  # noqa: ANN401 - any JSON value
    if isinstance(value, list):
        return {image for part in value for image in _images(part)}
    if not isinstance(value, dict):
        return set()
    own = {value[key] for key in ("TrainingImage", "ImageUri") if isinstance(value.get(key), str)}
    return own | {image for part in value.values() for image in _images(part)}
