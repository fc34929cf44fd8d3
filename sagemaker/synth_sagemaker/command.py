"""``synth sagemaker ...``: be a job inside a container, make and check requests, run a pipeline on this machine.

This module is read whenever ``synth --help`` is asked for, with or without boto3 installed: it imports none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import click

from synth_components.steps.command import StepCommand, common_options

STEPS: Mapping[str, str] = MappingProxyType({"export": "synth_sagemaker.export"})
"""The steps of this adapter, each with its module."""

LAUNCHER: Mapping[str, str] = MappingProxyType(
    {"pipeline": "pipeline", "validate": "validate", "run-local": "run_local", "iam": "iam"}
)
"""The commands that make and check requests, each with its name in ``launch_command``; they need botocore's model."""


class Commands(click.Group):
    """The commands by name; each step is imported when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name."""
        return [*super().list_commands(ctx), *STEPS, *(LAUNCHER if find_spec("botocore") else ())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by name, ``None`` if there is none."""
        if cmd_name in STEPS:
            return StepCommand(cmd_name, getattr(import_module(STEPS[cmd_name]), cmd_name))
        if cmd_name in LAUNCHER:
            if find_spec("botocore") is None:
                raise click.UsageError("boto3 is not installed; pip install 'synth-components[sagemaker]'")
            found: click.Command = getattr(import_module("synth_sagemaker.launch_command"), LAUNCHER[cmd_name])
            return found
        return super().get_command(ctx, cmd_name)


@click.group(cls=Commands)
def commands() -> None:
    """SageMaker jobs, endpoints and pipelines: run one here, make requests, or be one inside a container."""


@commands.command(params=[*common_options()])
@click.pass_context
def serve(ctx: click.Context, /, **_: object) -> None:
    """Be an endpoint or a transform job: answer requests for rows of the model below /opt/ml/model.

    Variables of the environment set the options of `synth serve`, such as SYNTH_SERVE_MAX_ROWS.
    """
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise click.UsageError("the service is not installed; pip install 'synth-components[serve]'", ctx)
    from synth_components.service.server import leave
    from synth_sagemaker import serve as endpoint
    from synth_sagemaker.layout import Layout

    endpoint.serve(Layout.from_environment())
    leave()


@commands.command(params=[*common_options()])
def train(**_: object) -> None:
    """Be a training job: read hyperparameters and channels below /opt/ml, and write the model there."""
    from synth_sagemaker import train as job
    from synth_sagemaker.failure import reported
    from synth_sagemaker.layout import Layout

    layout = Layout.from_environment()
    with reported(layout.failure):
        job.train(layout)


@commands.command(
    params=[*common_options()], context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("step")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def process(*, step: str, arguments: tuple[str, ...], **_: object) -> None:
    """Be a processing job: run STEP, such as sample or evaluate-tstr, with its own options.

    Each of its inputs and outputs is a folder of its name below /opt/ml/processing.
    """
    from synth_sagemaker import process as job
    from synth_sagemaker.failure import reported
    from synth_sagemaker.layout import Layout

    layout = Layout.from_environment()
    with reported(layout.message):
        job.process(step, arguments, layout)


@commands.command(name="compile", params=[*common_options()])
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for algorithms/; sagemaker, in a clone.",
)
def compile_algorithms(*, output: Path, **_: object) -> None:
    """Write the CreateAlgorithm request of every generator, and the table of hyperparameters."""
    from synth_sagemaker.algorithm import write

    write(output)
