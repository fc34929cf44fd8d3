"""``synth kubeflow ...``: run a component in its container, compile the assets, run a pipeline on this machine.

This module is read whenever ``synth --help`` is asked for, with or without kfp installed: it imports none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from synth_components.errors import SynthError, ThresholdError
from synth_components.steps.command import common_options


class Commands(click.Group):
    """The commands by name; those that need kfp import it when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands that can be called here."""
        return [*super().list_commands(ctx), *(_PIPELINE_COMMANDS if find_spec("kfp") else ())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by name, ``None`` if there is none.

        Raises:
            UsageError: if it needs kfp, which is not installed.
        """
        if cmd_name not in _PIPELINE_COMMANDS:
            return super().get_command(ctx, cmd_name)
        _require_kfp()
        from synth_kubeflow.pipeline_command import Pipelines

        return Pipelines(cmd_name, *_PIPELINE_COMMANDS[cmd_name])


@click.group(cls=Commands)
def commands() -> None:
    """Kubeflow components and pipelines: run one here, compile them, or be one inside a container."""


@commands.command(params=[*common_options()])
@click.argument("name")
@click.option("--executor-input", required=True, metavar="JSON", help="What Kubeflow Pipelines makes of {{$}}.")
@click.pass_context
def execute(ctx: click.Context, /, *, name: str, executor_input: str, **_: object) -> None:
    """Run component NAME, as its container does."""
    from synth_components.__main__ import MISSED, USER_ERROR
    from synth_kubeflow import execute as container
    from synth_kubeflow.components import component

    try:
        container.execute(component(name), executor_input)
    except SynthError as error:
        ctx.exit(container.failed(str(error), MISSED if isinstance(error, ThresholdError) else USER_ERROR))
    except OSError as error:
        what = f"{error.strerror or type(error).__name__}: '{error.filename}'; check disk and permissions"
        ctx.exit(container.failed(what, USER_ERROR))


@commands.command(name="compile", params=[*common_options()])
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for components/ and pipelines/; kubeflow, in a clone.",
)
def compile_assets(*, output: Path, **_: object) -> None:
    """Write every component and pipeline as YAML, with metadata and README; SYNTH_KUBEFLOW_IMAGE names the image."""
    _require_kfp()
    from synth_kubeflow.compile import write

    write(output)


def _run_local(name: str, values: dict[str, Any], *, output: Path, runner: Any) -> None:  # noqa: ANN401 - a choice
    from synth_kubeflow.component import image
    from synth_kubeflow.local import chosen, run_local
    from synth_kubeflow.pipeline_command import local_file
    from synth_kubeflow.pipelines import build, needs_torch

    runs_in = image(needs_torch=needs_torch(name))
    in_containers = chosen(runner, runs_in)
    click.echo(f"tasks: {f'containers of {runs_in}' if in_containers else 'processes of this machine'}", err=True)
    page = run_local(build(name), local_file(values), output, in_containers=in_containers)
    click.echo(f"report: {page}")


def _submit(name: str, values: dict[str, Any], **server: str) -> None:
    from synth_kubeflow.pipelines import build
    from synth_kubeflow.submit import submit

    click.echo(f"run: {submit(build(name), values, **server)}")


_OUTPUT = click.Option(
    ["--output"],
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("synth-run"),
    show_default=True,
    help="Folder for the report and for what each task writes.",
)

_RUNNER = click.Option(
    ["--runner"],
    type=click.Choice(["auto", "host", "docker"]),
    default="auto",
    show_default=True,
    help="Where tasks run: docker, in containers without network; host, as processes; auto takes Docker if a daemon "
    "answers that has the image.",
)

_SERVER = (
    click.Option(["--host"], default="", help="Address of the server; empty within a cluster."),
    click.Option(["--namespace"], default="", help="Namespace, on a server of several users."),
    click.Option(
        ["--token"],
        default="",
        envvar="SYNTH_KUBEFLOW_TOKEN",
        help="Bearer token; rather set SYNTH_KUBEFLOW_TOKEN, since others see the words of a command.",
    ),
    click.Option(["--experiment"], default="", help="Experiment of the run; it is made if there is none."),
)


_PIPELINE_COMMANDS: Mapping[str, tuple[str, Callable[..., None], Sequence[click.Option]]] = {
    "run-local": ("Run a pipeline on this machine, and say where its report is.", _run_local, (_OUTPUT, _RUNNER)),
    "submit": ("Start a run of a pipeline on a cluster.", _submit, _SERVER),
}
"""The commands that take a pipeline: help, what they do, and their own options."""


def _require_kfp() -> None:
    if find_spec("kfp") is None:
        raise click.UsageError("kfp is not installed; pip install 'synth-components[kubeflow]'")
