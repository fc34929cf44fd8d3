"""What a training job tells of itself while it runs: lines in its log, which SageMaker reads by regular expressions.

A line is ``validation:quality=0.91``: the scores of the drawn rows against the holdout, under the names that
``statistics.json`` gives them, and ``train:progress``, ``train:loss`` and, with ``monitor_every``, ``train:quality``
while the generator learns.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TextIO, TypeAlias

from synth_components.monitor import SCORES
from synth_components.progress import SECONDS_BETWEEN_LINES, is_rare

Goal: TypeAlias = Literal["Maximize", "Minimize"]

JOB_NAME = "TRAINING_JOB_NAME"
"""Environment variable that SageMaker sets in the container of a training job."""

_NUMBER = r"(-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)"


@dataclass(frozen=True)
class Metric:
    """A metric of a training job.

    Attributes:
        name: What its line calls it.
        goal: Which way is better; ``None`` if no tuner may aim at it.
    """

    name: str
    goal: Goal | None

    @property
    def regex(self) -> str:
        """What finds its value in the log."""
        return rf"(?:^|\s){re.escape(self.name)}={_NUMBER}"


GOALS: Mapping[str, Goal] = {
    "quality": "Maximize",
    "quality_fidelity": "Maximize",
    "quality_utility": "Maximize",
    "quality_privacy": "Maximize",
    "quality_validity": "Maximize",
    "fidelity_shape": "Maximize",
    "fidelity_pairs": "Maximize",
    "fidelity_correlation": "Maximize",
    "fidelity_alpha_precision": "Maximize",
    "fidelity_beta_recall": "Maximize",
    "fidelity_detection_boosted_holdout": "Maximize",
    "utility_ratio": "Maximize",
    "utility_tstr_accuracy": "Maximize",
    "utility_tstr_auc": "Maximize",
    "utility_tstr_f1": "Maximize",
    "utility_tstr_r2": "Maximize",
    "utility_tstr_rmse": "Minimize",
    "utility_gain": "Maximize",
    "utility_global": "Maximize",
    "privacy_copies": "Minimize",
    "privacy_near_copies": "Minimize",
    "privacy_dcr_share": "Minimize",
    "privacy_membership_auc": "Minimize",
    "validity_schema": "Maximize",
    "validity_rules": "Maximize",
    "epsilon": "Minimize",
}
"""The scores that a job's log and ``constraints.json`` tell of, and which way each is better."""

METRICS = (
    *(Metric(f"validation:{name}", goal) for name, goal in GOALS.items()),
    Metric("train:progress", None),
    Metric("train:loss", None),
    Metric("train:holdout_loss", None),
    *(Metric(f"train:{name}", None) for name in SCORES),
)
"""Every metric of a training job; SageMaker takes 40."""

OBJECTIVE = METRICS[0]
"""What a tuner aims at unless it is told otherwise: the overall score, ``validation:quality``."""


def definitions() -> list[dict[str, str]]:
    """Return the ``MetricDefinitions`` of a training job."""
    return [{"Name": metric.name, "Regex": metric.regex} for metric in METRICS]


def write_line(name: str, value: float, stream: TextIO | None = None) -> None:
    """Write the line of a metric, to standard output unless told."""
    target = sys.stdout if stream is None else stream
    target.write(f"{name}={value:.10g}\n")
    target.flush()


@dataclass
class MetricLines:
    """An observer that writes how far a fit is, and the metrics it reports, at most once a second."""

    stream: TextIO | None = None
    _last: dict[str, float] = field(default_factory=dict)

    def update(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Write the lines of a fit; other stages are passed over."""
        now = time.monotonic()
        is_fresh = now - self._last.get(stage, -SECONDS_BETWEEN_LINES) < SECONDS_BETWEEN_LINES
        if not stage.startswith("train ") or (done < total and is_fresh and not is_rare(metrics)):
            return
        self._last[stage] = now
        write_line("train:progress", done / total if total else 1.0, self.stream)
        for name, value in metrics.items():
            write_line(f"train:{name}", value, self.stream)

    def finish(self, stage: str) -> None:
        """Forget when the stage last wrote."""
        self._last.pop(stage, None)


def observer() -> MetricLines | None:
    """Return who writes the lines, within a training job of SageMaker; ``None`` elsewhere."""
    return MetricLines() if os.environ.get(JOB_NAME) else None
