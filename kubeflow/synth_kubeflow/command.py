"""``synth kubeflow ...``: run a component in its container, compile the assets, run a pipeline on this machine.

This module is read whenever ``synth --help`` is asked for, with or without kfp installed: it imports none of it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from synth_components.errors import SynthError, ThresholdError
from synth_components.steps.command import common_options


@click.group()
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


class Pipelines(click.Group):
    """The pipelines by name; each takes the options that its components declare."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every pipeline's name."""
        _require_kfp()
        from synth_kubeflow.pipelines import PIPELINES

        return [name.replace("_", "-") for name in PIPELINES]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a pipeline, ``None`` if there is none."""
        _require_kfp()
        from synth_kubeflow.local import command_of
        from synth_kubeflow.pipelines import PIPELINES

        name = cmd_name.replace("-", "_")
        return command_of(name) if name in PIPELINES else None


@commands.command(name="run-local", cls=Pipelines)
def run_local() -> None:
    """Run a pipeline on this machine, and say where its report is."""


def _require_kfp() -> None:
    if find_spec("kfp") is None:
        raise click.UsageError("kfp is not installed; pip install 'synth-components[kubeflow]'")
