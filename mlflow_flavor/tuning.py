"""A search for options in MLflow: a run with what was asked and what was found, and in it a run for each trial.

``auto_optimize`` is such a search, too, and its rounds are the trials.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Metric, Param

from mlflow_flavor import _mlflow as private
from mlflow_flavor.lineage import PREFIX
from synth_components.config import Recipe
from synth_components.errors import SynthError
from synth_components.generators import recipe_type
from synth_components.selection.optimizing import Optimized, Round
from synth_components.selection.space import Choices, Range
from synth_components.selection.tuning import Trial, Tuned

STUDY = "study.json"
"""Name of the artifact with all trials and the best options, as the step ``tune`` writes it."""

OPTIMIZATION = "optimization.json"
"""Name of the artifact with all rounds of ``auto_optimize`` and the best setting, as ``synth run`` writes it."""

STATE = f"{PREFIX}.trial"
"""Tag of a trial's run: ``complete``, ``pruned`` or ``failed``; it has no value of its own unless it is complete."""

_MOST_LETTERS = 5_000
"""Most letters of a tag that every store takes."""

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


def log_found(found: Tuned, run_id: str, recipe: type[Recipe]) -> None:
    """Log the best options and their scores into the run of a search, with all trials as ``study.json``."""
    states = [trial.state for trial in found.trials]
    client = mlflow.MlflowClient()
    counts = {f"trials/{state}": float(states.count(state)) for state in _STATUS}
    metrics = [Metric(name, value, _now(), 0) for name, value in {**found.values, **counts}.items()]
    client.log_batch(run_id, metrics=metrics, params=_options(found.options, recipe))
    client.log_dict(run_id, found.to_json(), STUDY)


def log_optimized(found: Optimized, asked: Mapping[str, Any], run_id: str) -> None:
    """Log what ``auto_optimize`` kept into its run, with all rounds as ``optimization.json``."""
    best, limits = found.best, asked["config"].model_dump(mode="json")
    client = mlflow.MlflowClient()
    client.log_batch(
        run_id,
        metrics=[Metric("quality", best.quality or 0.0, _now(), 0), Metric("rounds", len(found.rounds), _now(), 0)],
        params=[
            Param("generator", best.generator),
            *(Param(f"optimize.{name}", str(value)) for name, value in limits.items()),
            *_options(best.options, recipe_type(best.generator, trust=asked["trust"])),
        ],
    )
    client.log_dict(run_id, found.to_json(), OPTIMIZATION)


def _now() -> int:
    return int(time.time() * 1000)


@dataclass
class TrialLog:
    """Logs each trial, or round, that it is told of as a run nested in that of the search.

    Attributes:
        parent: Id of the run of the search.
        generator: Whose options are searched.
        fixed: Those that every trial has.
        trust: Modules of generators that may be imported.
        began: When the next trial began, in milliseconds: as the last one ended.
        rounds: Rounds that were logged.
    """

    parent: str
    generator: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    trust: tuple[str, ...] = ()
    began: int = field(default_factory=_now)
    rounds: int = 0

    def trial(self, one: Trial) -> None:
        """Log a trial: its options as params, the mean of each score over the folds so far as a metric by fold."""
        options = _options({**self.fixed, **one.options}, recipe_type(self.generator, trust=self.trust))
        tags = {"refused": one.note} if one.note else {}
        self._log(f"trial {one.number}", one.number, one.state, _scores(one), self.generator, options, tags)

    def round(self, one: Round) -> None:
        """Log a round of ``auto_optimize``: options as params, quality, and what was changed and why as tags."""
        self.rounds += 1
        state = "failed" if one.note else "complete"
        told = {"changed": one.changed, "because": one.because, "missed": one.missed}
        tags = {name: "; ".join(lines) for name, lines in told.items() if lines}
        metrics = [] if one.quality is None else [Metric("quality", one.quality, _now(), 0)]
        options = _options(one.options, recipe_type(one.generator, trust=self.trust))
        self._log(f"round {self.rounds}", self.rounds, state, metrics, one.generator, options, tags)

    def _log(
        self,
        name: str,
        number: int,
        state: str,
        metrics: list[Metric],
        generator: str,
        options: list[Param],
        told: Mapping[str, str],
    ) -> None:
        client = mlflow.MlflowClient()
        began, self.began = self.began, _now()
        above = client.get_run(self.parent)
        own = {"trial": state, "number": str(number), **told}
        tags = {
            **private.resolve_tags(),
            private.PARENT_RUN_ID: self.parent,
            **{f"{PREFIX}.{tag}": value[:_MOST_LETTERS] for tag, value in own.items()},
        }
        run = client.create_run(above.info.experiment_id, start_time=began, tags=tags, run_name=name)
        client.log_batch(run.info.run_id, metrics=metrics, params=[Param("generator", generator), *options])
        client.set_terminated(run.info.run_id, _STATUS[state], self.began)


def _scores(trial: Trial) -> list[Metric]:
    made, now = [], _now()
    for place, fold in enumerate(trial.folds):
        for aim, value in fold.items():
            mean = float(np.mean([one[aim] for one in trial.folds[: place + 1]]))
            made += [Metric(aim, mean, now, place), Metric(f"{aim}/fold", value, now, place)]
    return made


def _options(options: Mapping[str, Any], recipe: type[Recipe]) -> list[Param]:
    """Return options as params, named and written as those of a fit are: a run takes no second value of a param."""
    try:
        written = recipe.parse(options).model_dump(mode="json", include=set(options))
    except SynthError:  # which is why the trial failed
        written = dict(options)
    return [Param(f"generator.{name}", str(value)) for name, value in written.items()]


def _range(part: Range | Choices) -> list[Any]:
    """Return what an option may be as the option ``ranges`` of the step writes it."""
    return list(part.values) if isinstance(part, Choices) else [part.low, part.high]
