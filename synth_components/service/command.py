"""``synth serve MODEL``: the command, whose options are the fields of ``ServeConfig``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import cast

import click

from synth_components import audit
from synth_components.circumstances import Circumstances, around, circumstance
from synth_components.errors import UnsupportedError
from synth_components.limits import bytes_of
from synth_components.model import Model
from synth_components.service.access import read_tokens
from synth_components.service.options import ServeConfig
from synth_components.service.server import leave, run
from synth_components.service.slots import Slots
from synth_components.steps.command import DerivedOption, StepCommand, read_arguments
from synth_components.steps.port import InServedModel, OptionalInReport

WITHHELD = set(Circumstances.model_fields) - {"max_memory", "audit", "chain_key", "encrypt_key", "policy"}
"""The circumstances of a step that a service does not have: it keeps nothing, and ends when it is told to."""


class ServeCommand(StepCommand):
    """The command of the service: no step, since it makes no file and does not end by itself."""

    def __init__(self) -> None:
        super().__init__("serve", serve)
        self.params = [one for one in self.params if not _is_withheld(one)]

    def invoke(self, ctx: click.Context) -> None:
        """Serve.

        Raises:
            UsageError: if the libraries of the service are not installed.
        """
        if find_spec("fastapi") is None or find_spec("uvicorn") is None:
            raise click.UsageError("the service is not installed; pip install 'synth-components[serve]'", ctx)
        config, places = read_arguments(self.step, self.params, ctx.params)
        model, report = cast("InServedModel", places["model"]), cast("OptionalInReport", places.get("report"))
        serve(cast("ServeConfig", config), model=model, report=report)
        leave()


def _is_withheld(param: click.Parameter) -> bool:
    return isinstance(param, DerivedOption) and param.origin.kind == "common" and param.origin.name in WITHHELD


def serve(config: ServeConfig, *, model: InServedModel, report: OptionalInReport = None) -> None:
    r"""Answer requests for rows over HTTP: a REST service of one model, described by /openapi.json.

        synth serve model --port 8000
        synth serve model --host 0.0.0.0 --token-file tokens.txt --rate 5 --max-memory 2GiB
        synth serve model --policy high --report report.json
        curl -X POST localhost:8000/sample -H 'Content-Type: application/json' -H 'Accept: text/csv' \
            -d '{"num_rows": 100, "seed": 1, "conditions": {"sex": "F", "age": {"low": 60, "high": 80}}}'

    It listens on this machine alone unless told; beyond it callers need a token. It speaks HTTP without encryption: put
    a proxy with TLS before it. SIGTERM and Ctrl-C end it, after the requests that run. With --max-memory, requests that
    come while the process has more are turned away. The privacy guard is asked before it listens: callers get rows.

    Args:
        model: The trained model.
        report: What an evaluation found out about it, for the privacy guard.

    Raises:
        GuardError: if the privacy policy does not allow it.
    """
    from synth_components.service.app import application

    tokens = read_tokens(config)
    fitted = load_served(model, config)
    _ask_guard(fitted, report, to=f"the callers of {config.host}", allow_unnamed=config.allow_unnamed)
    slots = Slots(concurrency=config.concurrency, queue=config.queue, max_bytes=bytes_of(around().max_memory))
    run(application(fitted, config, tokens=tokens, slots=slots), config, slots)


def _ask_guard(fitted: Model, report: OptionalInReport, *, to: str, allow_unnamed: bool) -> None:
    """Hold the policy against rows that nobody has drawn yet: one that asks k of released rows is never met."""
    from synth_components.policy import guard
    from synth_components.steps.report_file import reported_in

    if fitted.manifest.holds_rows and circumstance("policy") in {"", guard.OFF}:
        audit.record("guard_off", of=f"release to {to}")  # by allow_rows, which a named policy does not hear
        return
    guard.release(fitted, reported_in(report), to=to, what="table", allow_unnamed=allow_unnamed)


def load_served(path: InServedModel, config: ServeConfig) -> Model:
    """Return a model that is ready to answer: checked, loaded, and asked for a row once.

    Raises:
        ArtifactError: if the folder is no model.
        UnsupportedError: for a model of several tables, and one that keeps training rows unless it may.
    """
    fitted = Model.load(path, trust=config.trust)
    if fitted.manifest.holds_rows and not config.allow_rows:
        raise UnsupportedError(
            "the model keeps training rows, which its answers may repeat; serve one of another generator, or say "
            "allow_rows"
        )
    if len(fitted.schema.tables) > 1:
        raise UnsupportedError("the model has several tables; sample them from Python with Model.blocks")
    fitted.sample(1, seed=0)
    return fitted
