"""A search for options in MLflow: a run with what was asked and what was found, and in it a run for each trial."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_flavor import _mlflow as private
from mlflow_flavor.lineage import PREFIX
from synth_components.selection.space import Choices, Range
from synth_components.selection.tuning import Trial, Tuned

STUDY = "study.json"
"""Name of the artifact with all trials and the best options, as the step ``tune`` writes it."""

STATE = f"{PREFIX}.trial"
"""Tag of a trial's run: ``complete``, ``pruned`` or ``failed``; it has no value of its own unless it is complete."""

_STATUS: Mapping[str, str] = MappingProxyType({"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"})

_ASKED = ("aims", "target", "trials", "folds", "max_seconds", "seed")
"""Arguments of a search that are parameters of its run."""


def log_search(asked: Mapping[str, Any]) -> None:
    """Log what is asked of a search (the arguments of ``tune``) as parameters of the active run.

    The options that every trial has come with the best ones (``log_found``): a run takes no second value of a param.
    """
    known = {name: asked[name] for name in _ASKED if asked[name] not in ("", None)}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in known.items()}
    ranges = {f"space.{name}": json.dumps(_range(part)) for name, part in asked["space"].items()}
    mlflow.log_params({"generator": asked["generator"], **plain, **ranges})


def log_found(found: Tuned, run_id: str) -> None:
    """Log the best options and their scores into the run of a search, with all trials as ``study.json``."""
    states = [trial.state for trial in found.trials]
    client = mlflow.MlflowClient()
    now = _now()
    counts = {f"trials/{state}": float(states.count(state)) for state in _STATUS}
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in {**found.values, **counts}.items()],
        params=_options(found.options),
    )
    client.log_dict(run_id, found.to_json(), STUDY)


def _now() -> int:
    return int(time.time() * 1000)


@dataclass
class TrialLog:
    """Logs each trial that it is told of as a run nested in that of the search.

    Attributes:
        parent: Id of the run of the search.
        generator: Whose options are searched.
        fixed: Those that every trial has.
        began: When the next trial began, in milliseconds: as the last one ended.
    """

    parent: str
    generator: str
    fixed: Mapping[str, Any]
    began: int = field(default_factory=_now)

    def __call__(self, trial: Trial) -> None:
        """Log a trial: its options as params, the mean of each score over the folds so far as a metric by fold."""
        client = mlflow.MlflowClient()
        began, self.began = self.began, _now()
        above = client.get_run(self.parent)
        tags = {
            **private.resolve_tags(),
            MLFLOW_PARENT_RUN_ID: self.parent,
            STATE: trial.state,
            **({f"{PREFIX}.refused": trial.note} if trial.note else {}),
        }
        name = f"trial {trial.number}"
        run = client.create_run(above.info.experiment_id, start_time=began, tags=tags, run_name=name)
        client.log_batch(
            run.info.run_id,
            metrics=_scores(trial, self.began),
            params=[Param("generator", self.generator), *_options({**self.fixed, **trial.options})],
            tags=[RunTag(f"{PREFIX}.number", str(trial.number))],
        )
        client.set_terminated(run.info.run_id, _STATUS[trial.state], self.began)


def _scores(trial: Trial, now: int) -> list[Metric]:
    made = []
    for place, fold in enumerate(trial.folds):
        for aim, value in fold.items():
            mean = float(np.mean([one[aim] for one in trial.folds[: place + 1]]))
            made += [Metric(aim, mean, now, place), Metric(f"{aim}/fold", value, now, place)]
    return made


def _options(options: Mapping[str, Any]) -> list[Param]:
    """Return options as params, named as on the command line."""
    return [Param(f"generator.{name}", str(value)) for name, value in options.items()]


def _range(part: Range | Choices) -> list[Any]:
    """Return what an option may be as the option ``ranges`` of the step writes it."""
    return list(part.values) if isinstance(part, Choices) else [part.low, part.high]
