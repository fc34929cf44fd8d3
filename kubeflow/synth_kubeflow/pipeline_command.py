"""A command per pipeline, with an option for each of its arguments, derived from the components."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from synth_components.errors import DataError
from synth_components.schema import Schema
from synth_components.steps.command import FieldText, common_options
from synth_components.steps.map_file import read_map
from synth_components.steps.port import config_of
from synth_kubeflow.components import COMPONENTS
from synth_kubeflow.pipelines import PIPELINES, Argument, arguments, summary

_FLAGS = {"data_uri": "--data", "declared_schema": "--schema"}

_LONGEST = 100_000
"""Most bytes of a schema in an executor input, which Linux ends at 131,072 with what else stands there."""


class Pipelines(click.Group):
    """The pipelines by name, each as a command.

    Attributes:
        perform: Takes the name of a pipeline, its arguments, and the values of ``options`` by keyword.
        options: The options that are not the pipeline's.
    """

    def __init__(self, name: str, help: str, perform: Callable[..., None], options: Sequence[click.Option]) -> None:
        super().__init__(name, help=help)
        self.perform = perform
        self.options = options

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every pipeline's name."""
        return [name.replace("_", "-") for name in PIPELINES]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a pipeline, ``None`` if there is none."""
        name = cmd_name.replace("-", "_")
        if name not in PIPELINES:
            return None
        known = arguments(name)

        def run(**said: Any) -> None:  # noqa: ANN401 - the options of the command
            values = {key: _value(known[key], said[key]) for key in known if said.get(key) is not None}
            self.perform(name, values, **{str(option.name): said[str(option.name)] for option in self.options})

        drawn = [_option(key, argument) for key, argument in known.items()]
        params: list[click.Parameter] = [*drawn, *self.options, *common_options()]
        return click.Command(cmd_name, callback=run, help=summary(name), params=params)


def local_file(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments whose table is named by its whole path.

    Raises:
        DataError: if it is not on this machine.
    """
    text = str(values["data_uri"])
    path = Path(text).expanduser()
    if "://" in text or not path.exists():
        raise DataError(f"--data: there is no local file '{text}'; copy it here first")
    return {**values, "data_uri": str(path.resolve())}


def _declared(path: Path) -> dict[str, Any]:
    """Return the schema of a file as the map that goes with the run.

    Raises:
        DataError: if there is no such file, or it is too long for an argument of a container.
        SchemaError: naming the entry that cannot be understood.
    """
    if not path.is_file():
        raise DataError(f"--schema: there is no local file '{path}'; it goes with the run, and lies on this machine")
    value = Schema.from_json(read_map(path, "schema")).to_json()
    if len(json.dumps(value)) > _LONGEST:
        raise DataError(
            f"--schema: '{path}' is longer than {_LONGEST} bytes, and a container's argument has room for no more; "
            "build a pipeline of your own, which connects it as an artifact"
        )
    return value


def _option(key: str, argument: Argument) -> click.Option:
    flag = _FLAGS.get(key, f"--{key.replace('_', '-')}")
    parameter = argument.parameter(key)
    is_required = parameter.default is parameter.empty
    kind: Any = str
    if not argument.is_uri and not argument.is_list and not argument.is_map:
        kind = FieldText(config_of(COMPONENTS[argument.component].load()), argument.name)
    shown = "  [required]" if is_required else f"  [default: {json.dumps(parameter.default)}]"
    return click.Option(
        [flag, key],
        type=kind,
        required=is_required,
        metavar="NAMES" if argument.is_list else "FILE" if argument.is_map else None,
        help=f"{_help(argument)}{shown}",
    )


def _help(argument: Argument) -> str:
    if argument.is_map:
        known = COMPONENTS[argument.component]
        return f"{known.ports()[known.maps()[argument.name]].description} A JSON or YAML file of this machine."
    return f"{argument.description()}{' Several, with commas.' if argument.is_list else ''}"


def _value(argument: Argument, text: str) -> Any:  # noqa: ANN401 - any JSON value
    if argument.is_list:
        return [part.strip() for part in text.split(",") if part.strip()]
    if argument.is_map:
        return _declared(Path(text).expanduser())
    kind = argument.parameter(argument.name).annotation
    return text if kind is str else kind(json.loads(text))  # kfp refuses 2 where a float is asked for
