"""``autolog``: a fit leaves options, progress, model and data in a run, an evaluation its report, a search its trials.

The hooks are ``synth_components.fitting.fit``, ``synth_components.evaluation.evaluate``, and ``tuning.tune`` and
``optimizing.optimized`` of ``synth_components.selection``: ``synth.fit``, ``synth.evaluate`` and the steps look them up
as they are called.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import mlflow
from mlflow.models import Model as MlflowModel

import mlflow_flavor
from mlflow_flavor import _mlflow as private
from mlflow_flavor import lineage
from mlflow_flavor.flavor import FLAVOR_NAME, MODEL_TYPE
from mlflow_flavor.report import log_report, metric_name
from mlflow_flavor.tuning import TrialLog, log_found, log_optimized, log_search
from synth_components import evaluation, fitting
from synth_components.config import Recipe
from synth_components.evaluation.report import Report
from synth_components.generators import make, recipe_type
from synth_components.model import Model
from synth_components.policy import guard
from synth_components.protocols import Report as Watcher
from synth_components.protocols import Run
from synth_components.selection import optimizing, tuning
from synth_components.selection.optimizing import Optimized, Round
from synth_components.selection.tuning import Trial, Tuned

ARTIFACT = "model"
"""Name of the logged model."""

_ASKED = ("seed", "epsilon", "delta")
"""Arguments of a fit that are parameters of its run."""


@private.autologging_integration(FLAVOR_NAME)  # type: ignore[untyped-decorator,unused-ignore]
def autolog(
    *,
    log_models: bool = True,
    log_datasets: bool = True,
    log_reports: bool = True,
    log_trials: bool = True,
    disable: bool = False,  # noqa: ARG001 - MLflow reads it
    exclusive: bool = False,  # noqa: ARG001 - MLflow reads it
    silent: bool = False,  # noqa: ARG001 - MLflow reads it
    registered_model_name: str | None = None,
    extra_tags: dict[str, str] | None = None,
) -> None:
    """Log every fit, evaluation and search for options from now on: into the active run, or a run of its own.

    A fit leaves the generator with all its options, seed and privacy budget as parameters; its progress, and what the
    generator reports, such as a loss, as metrics by step; the model; and the digest and columns of the training rows as
    a dataset.  An evaluation leaves the scores of the whole table as metrics, and the report as ``report.html`` and
    ``report.json``.  A search (``selection.tuning.tune``, ``synth tune``, ``auto_optimize``) leaves the best options
    and their scores, and each trial as a run nested in it.  Call it before ``from synth_components import fit``, which
    would keep the plain function.

    What goes wrong while logging is a warning of MLflow's, and the fit goes on.  Of the processes that ``torchrun``
    starts, the first one logs.

    Args:
        log_models: Whether to log the model.
        log_datasets: Whether to log the digest and columns of the training rows.
        log_reports: Whether to log what evaluations find.
        log_trials: Whether to log searches for options.
        disable: Whether to log nothing from now on.
        exclusive: Whether to stay out of runs that the caller started.
        silent: Whether to keep MLflow's own messages and warnings quiet while logging.
        registered_model_name: Name under which to register each model.
        extra_tags: Tags of the runs that are made here.
    """
    if "WORLD_SIZE" in os.environ and os.environ.get("RANK", "0") != "0":  # torchrun sets both
        return
    log_fit = partial(
        _fit, log_models=log_models, log_datasets=log_datasets, registered_model_name=registered_model_name
    )
    private.safe_patch(FLAVOR_NAME, fitting, "fit", log_fit, manage_run=True, extra_tags=extra_tags)
    if log_reports:
        private.safe_patch(FLAVOR_NAME, evaluation, "evaluate", _evaluate, manage_run=True, extra_tags=extra_tags)
    if log_trials:
        private.safe_patch(FLAVOR_NAME, tuning, "tune", _tune, manage_run=True, extra_tags=extra_tags)
        private.safe_patch(FLAVOR_NAME, optimizing, "optimized", _optimized, manage_run=True, extra_tags=extra_tags)


@dataclass
class _Progress:
    """Passes the progress of a fit on to the caller, and to a run as metrics by step."""

    caller: Watcher
    metrics: private.BatchMetricsLogger
    step: int = 0

    def __call__(self, done: int, total: int, /, **metrics: float) -> None:
        self.caller(done, total, **metrics)
        self.step = done
        named = {_metric_name(name): value for name, value in metrics.items()}
        private.attempt(self._record, {"progress": done / max(total, 1), **named})

    def _record(self, metrics: Mapping[str, float]) -> None:
        started = time.time()
        try:
            self.metrics.record_metrics(dict(metrics), step=self.step)
        except Exception:  # raised again
            # MLflow's logger would keep what failed, send it again at every report, and take the wait for training.
            now = time.time()
            self.metrics.data = []
            self.metrics.total_log_batch_time += now - started  # type: ignore[assignment,unused-ignore]
            self.metrics.previous_training_timestamp = now
            raise


def _fit(
    original: Callable[..., Model],
    *args: Any,  # noqa: ANN401 - those of `fit`
    log_models: bool,
    log_datasets: bool,
    registered_model_name: str | None,
    **kwargs: Any,  # noqa: ANN401
) -> Model:
    asked = private.attempt(_asked, original, args, kwargs) or {}
    private.attempt(mlflow.log_params, asked)  # before it starts, so that a run that fails holds them too
    run = kwargs.get("run") or Run()
    metrics = private.BatchMetricsLogger(_run_id())
    progress = _Progress(run.report, metrics)
    try:
        fitted = original(*args, **{**kwargs, "run": replace(run, report=progress)})
    finally:
        private.attempt(metrics.flush)
    own = {**asked, **lineage.params(fitted)}
    private.attempt(mlflow.log_params, own)
    if log_datasets:
        private.attempt(lineage.log_training_dataset, fitted, _run_id())
    if log_models:
        private.attempt(_log_model, fitted, own, registered_model_name, step=progress.step)
    return fitted


def _metric_name(reported: str) -> str:
    """Return what a generator reports under a name that MLflow takes; one that it takes already stays."""
    return metric_name("", *reported.split("/"))[1:]


def _evaluate(original: Callable[..., Report], *args: Any, **kwargs: Any) -> Report:  # noqa: ANN401 - of `evaluate`
    report = original(*args, **kwargs)
    private.attempt(log_report, report, _run_id())
    return report


def _tune(original: Callable[..., Tuned], *args: Any, **kwargs: Any) -> Tuned:  # noqa: ANN401 - of `tune`
    bound = inspect.signature(original).bind(*args, **kwargs)
    bound.apply_defaults()
    asked = bound.arguments
    private.attempt(log_search, asked)
    log = TrialLog(_run_id(), asked["generator"], asked["fixed"] or {}, asked["trust"])

    def told(trial: Trial) -> None:
        private.attempt(log.trial, trial)
        if asked["on_trial"] is not None:
            asked["on_trial"](trial)

    found = original(*args, **{**kwargs, "on_trial": told})
    private.attempt(log_found, found, log.parent, recipe_type(asked["generator"], trust=asked["trust"]))
    return found


def _optimized(original: Callable[..., Optimized], *args: Any, **kwargs: Any) -> Optimized:  # noqa: ANN401 - its own
    bound = inspect.signature(original).bind(*args, **kwargs)
    bound.apply_defaults()
    asked = bound.arguments
    log = TrialLog(_run_id(), trust=asked["trust"])

    def told(one: Round) -> None:
        private.attempt(log.round, one)
        if asked["on_round"] is not None:
            asked["on_round"](one)

    with private.disable_autologging():  # a round is one run, and its model is thrown away
        found = original(*args, **{**kwargs, "on_round": told})
    private.attempt(log_optimized, found, asked, log.parent)
    return found


def _asked(original: Callable[..., Model], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, object]:
    """Return what is asked of a fit, as parameters."""
    bound = inspect.signature(original).bind(*args, **kwargs)
    bound.apply_defaults()
    asked = bound.arguments
    generator = asked["generator"]
    named = not isinstance(generator, Recipe)
    recipe: Any = make(generator, dict(asked["options"] or {}), trust=asked["trust"]) if named else generator
    made = {
        "generator": generator if named else None,
        **{name: asked[name] for name in _ASKED},
        # As the command line and SageMaker write them.
        **{f"generator.{option}": value for option, value in recipe.model_dump(mode="json").items()},
    }
    return {name: value for name, value in made.items() if value is not None}


def _log_model(fitted: Model, own: Mapping[str, object], registered_model_name: str | None, *, step: int) -> None:
    """Log a model with its own parameters, and those of the run that say nothing of a fit.

    MLflow gives a model all parameters of its run, and the run keeps those of the first of several fits.

    Raises:
        GuardError: if the model holds training rows, or the policy does not allow to register it; nothing was logged
            of it.
    """
    guard.refuse_rows(fitted.manifest, to="MLflow")
    if registered_model_name:
        guard.release(fitted, None, to=f"models:/{registered_model_name}")
    of_run = mlflow.MlflowClient().get_run(_run_id()).data.params
    others = {
        name: value
        for name, value in of_run.items()
        if name not in ("generator", *_ASKED) and not name.startswith("generator.")
    }
    logged = mlflow.initialize_logged_model(
        name=ARTIFACT,
        params={**others, **{name: str(value) for name, value in own.items()}},
        tags=lineage.tags(fitted),
        model_type=MODEL_TYPE,
    )
    # Not `log_model`, which logs the dataset too.  The metrics of this step are copied onto the model.
    MlflowModel.log(
        artifact_path=None,
        flavor=mlflow_flavor,
        synth_model=fitted,
        model_id=logged.model_id,
        registered_model_name=registered_model_name,
        step=step,
    )


def _run_id() -> str:
    """Return the active run: the caller's, or the one that ``safe_patch`` started."""
    run = mlflow.active_run()
    assert run is not None  # noqa: S101 - `manage_run`
    run_id: str = run.info.run_id
    return run_id
