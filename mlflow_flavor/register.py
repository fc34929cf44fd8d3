"""The step from a model folder to a version in the model registry."""

from __future__ import annotations

import logging
from contextlib import nullcontext

from pydantic import Field

from synth_components import audit
from synth_components.circumstances import around, within
from synth_components.config import StepConfig
from synth_components.steps.port import InModel, OptionalInReport

_LOG = logging.getLogger(f"synth_components.{__name__}")  # the command line shows what the core logs


class RegisterConfig(StepConfig):
    """Under which name."""

    name: str = Field(min_length=1, description="Name of the registered model; it is made if there is none.")
    alias: str = Field("", description="Alias that then means the new version, such as champion; empty for none.")
    allow_unnamed: bool = Field(
        False, description="Without a policy, take a report that does not name the model that it judged."
    )


def register(config: RegisterConfig, *, model: InModel, report: OptionalInReport = None) -> None:
    """Log a model with its report in MLflow, and register it as a new version.

    Which server and experiment, MLflow's own variables say:

        MLFLOW_TRACKING_URI=sqlite:///mlflow.db synth mlflow register --model model --name customers --alias champion

    A model that is encrypted is logged encrypted, with the same key.

    An alias moves without any question here; `synth mlflow promote` asks for scores first.  The model's generator must
    be installed; one that lies beside your code is logged from Python, by mlflow_flavor.log_model with code_paths.

    Args:
        model: The model to register.
        report: What an evaluation found out about it; one of another model is refused, and one that names none.

    Raises:
        GuardError: if the policy, level medium without one, does not allow it; nothing was logged.
    """
    import mlflow

    import mlflow_flavor
    from mlflow_flavor import lineage
    from mlflow_flavor.report import log_report
    from synth_components.io.artifact import SEALED, main_file
    from synth_components.model import Model
    from synth_components.policy import guard
    from synth_components.steps.report_file import read_report, reported

    fitted = Model.load(model)
    found = None if report is None else read_report(report)  # refuse it before anything is logged
    told = None if found is None else reported(found)
    guard.release(fitted, told, to=f"models:/{config.name}", allow_unnamed=config.allow_unnamed)
    is_sealed = main_file(model).name == SEALED
    kept = within(around().model_copy(update={"encrypt": "models"})) if is_sealed else nullcontext()
    with nullcontext() if mlflow.active_run() else mlflow.start_run(), kept:
        mlflow.log_params(lineage.params(fitted))
        info = mlflow_flavor.log_model(fitted, name="model")
        if found is not None:
            log_report(found, str(info.run_id))
    version = mlflow.register_model(info.model_uri, config.name).version
    if config.alias:
        mlflow.MlflowClient().set_registered_model_alias(config.name, config.alias, str(version))
    audit.record("register", model=fitted.manifest.identity, name=config.name, version=str(version), alias=config.alias)
    _LOG.info("registered models:/%s/%s, which is %s", config.name, version, info.model_uri)
