"""``synth mlflow ...``: the steps of this adapter, and the core's with a run of MLflow around them.

This module is read whenever ``synth --help`` is asked for, with or without MLflow installed: it imports none of it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from synth_components.errors import DataError
from synth_components.steps import load
from synth_components.steps.command import DerivedOption, Origin, StepCommand, read_arguments
from synth_components.steps.places import refuse_clashes
from synth_components.steps.record import perform, settled

if TYPE_CHECKING:
    from synth_components.steps.port import Step

STEPS: Mapping[str, str] = MappingProxyType({"register": "mlflow_flavor.register", "promote": "mlflow_flavor.gate"})
"""The steps of this adapter, each with its module."""

TRACKED = ("train", "tune", "sample", "evaluate")
"""The steps of the core that have something to log."""

_URIS = "mlflow_flavor.uris"
"""Where a command notes the models that it was given by URI."""

URI = re.compile(r"(models|runs|mlflow-artifacts):/")


class Commands(click.Group):
    """The steps by name; each is imported when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name."""
        return [*STEPS, *TRACKED]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by name, ``None`` if there is none."""
        if cmd_name in STEPS:
            step: Step = getattr(import_module(STEPS[cmd_name]), cmd_name)
            return StepCommand(cmd_name, step)
        return TrackedCommand(cmd_name, load(cmd_name)) if cmd_name in TRACKED else None

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's interface
        """Run the named command.

        Raises:
            UsageError: if MLflow is not installed.
            DataError: for what MLflow refuses: no such model, no such server.
        """
        if find_spec("mlflow") is None:
            raise click.UsageError("MLflow is not installed; pip install 'synth-components[mlflow]'", ctx)
        try:
            return super().invoke(ctx)
        except _refusals() as error:
            raise DataError(f"MLflow refuses: {error}") from error


class TrackedCommand(StepCommand):
    """The command of a step of the core, within a run that holds what it did; takes a model by its URI too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, with a local copy of each model that a URI names; ``--trust`` holds for its code too."""
        ctx.meta[_URIS] = []
        rest = super().parse_args(ctx, args)
        said = {one.origin: one.name or "" for one in self.params if isinstance(one, DerivedOption)}
        named = ctx.params.get(said.get(Origin("field", "trust"), "")) or ""
        trust = tuple(part.strip(' []"') for part in named.split(","))
        for name in [name for origin, name in said.items() if origin.kind == "port"]:
            value = ctx.params.get(name)
            if isinstance(value, str) and URI.match(value):
                ctx.params[name] = _fetched(ctx, value, trust)
        return rest

    def invoke(self, ctx: click.Context) -> None:
        """Run the step within the active run, or a new one, with autologging on."""
        import mlflow
        from mlflow.entities import LoggedModelInput

        import mlflow_flavor
        from mlflow_flavor.dataset import logged_model_uri

        config, places = read_arguments(self.step, self.params, ctx.params)
        refuse_clashes(self.step, places)
        config = settled(config)
        mlflow_flavor.autolog()
        try:
            with mlflow.start_run(run_name=f"synth {self.name}") as run:
                used = [LoggedModelInput(logged_model_uri(uri).removeprefix("models:/")) for uri in ctx.meta[_URIS]]
                mlflow.MlflowClient().log_inputs(run.info.run_id, models=used)
                mlflow.log_dict(perform(self.step, config, places), "run.json")
        finally:
            mlflow_flavor.autolog(disable=True)


def _refusals() -> tuple[type[Exception], ...]:
    """Return what MLflow raises: nothing if it was not imported, as by a command that shows its help."""
    errors = sys.modules.get("mlflow.exceptions")
    return () if errors is None else (errors.MlflowException,)


def _fetched(ctx: click.Context, uri: str, trust: tuple[str, ...]) -> str:
    """Return a local folder with the model of a URI."""
    import mlflow_flavor

    folder = f"{ctx.with_resource(TemporaryDirectory())}/model"
    mlflow_flavor.load_model(uri, trust=trust).save(folder)
    ctx.meta[_URIS].append(uri)
    return folder


@click.command(cls=Commands)
def commands() -> None:
    """Log, register and judge models in MLflow; MLFLOW_TRACKING_URI says where."""
