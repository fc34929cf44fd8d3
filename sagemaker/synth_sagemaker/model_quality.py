"""A report as Model Monitor writes the quality of a model: ``statistics.json`` and ``constraints.json`` beside it.

The measures of a learner that was trained on synthetic rows and judged on real ones (TSTR) stand under the names that
Model Monitor gives them, ``macro_f1`` and ``macro_auc`` aside, which it does not compute, and all values of the report
under ``synthetic_data_metrics``.  A pipeline's condition finds
each at a fixed path: ``synthetic_data_metrics.utility_ratio.value`` here, ``values.utility_ratio`` in ``report.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from synth_components.model import Model
from synth_components.steps.port import Place
from synth_components.steps.record import write_json
from synth_components.steps.report_file import read_report
from synth_sagemaker.metrics import GOALS

if TYPE_CHECKING:
    from synth_components.evaluation.report import Report

Leaf: TypeAlias = dict[str, float | str]

STATISTICS, CONSTRAINTS = "statistics.json", "constraints.json"
OURS = "synthetic_data"
NO_DEVIATION = "NaN"
"""What Model Monitor writes for a deviation that was not computed: it is text."""

NAMES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "binary_classification": {"accuracy": "accuracy", "auc": "auc", "f1": "macro_f1"},
        "multiclass_classification": {"accuracy": "accuracy", "auc": "macro_auc", "f1": "macro_f1"},
        "regression": {"r2": "r2", "rmse": "rmse"},
    }
)
"""Model Monitor's name of each TSTR measure by kind of task; its ``f1`` is of one class, ours the mean of all."""

_LESS, _GREATER = "LessThanThreshold", "GreaterThanThreshold"


def write_beside(places: Mapping[str, Place | tuple[Place, ...] | None]) -> None:
    """Write statistics and constraints beside the report that a step wrote, if it wrote one."""
    report, model = places.get("report"), places.get("model")
    if not isinstance(report, Path) or "synthetic" not in places or not report.is_file():
        return
    found = read_report(report)
    epsilon = Model.load(model).privacy.epsilon if isinstance(model, Path) else None
    statistics = statistics_of(found, epsilon)
    write_json(report.with_name(STATISTICS), statistics)
    write_json(report.with_name(CONSTRAINTS), constraints_of(statistics))


def statistics_of(report: Report, epsilon: float | None = None) -> dict[str, Any]:
    """Return the values of a report as leaves ``{"value": ..., "standard_deviation": ...}``, and how many rows judged.

    The deviations of TSTR measures are over 5 samples of 80 % of the holdout, none of one of fewer than 200 rows; those
    of the other values are the report's, over resamples.

    Args:
        epsilon: Privacy loss of the model; left out if it is not bounded, as JSON has no infinity.
    """
    spread = {one.name.replace(".", "_"): one.deviation for one in report.scores if not one.subject and one.interval}
    ours = {name: _leaf(value, spread.get(name)) for name, value in report.values.items()}
    if epsilon is not None and epsilon < float("inf"):
        ours["epsilon"] = _leaf(epsilon, None)
    kind, measures = _task(report)
    named = {f"{kind}_metrics": measures} if kind else {}
    return {
        "version": 0.0,
        # A private report tells of the holdout by a noisy number of its rows.
        "dataset": {"item_count": int(report.rows["holdout" if "holdout" in report.rows else "real"])},
        **named,
        f"{OURS}_metrics": ours,
    }


def constraints_of(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constraints that these statistics just meet: a baseline for later ones."""
    made: dict[str, Any] = {"version": 0.0}
    for group, leaves in statistics.items():
        if not group.endswith("_metrics"):
            continue
        kind = group.removesuffix("_metrics")
        made[f"{kind}_constraints"] = {
            name: {"threshold": leaf["value"], "comparison_operator": operator}
            for name, leaf in leaves.items()
            if (operator := _operator(kind, name))
        }
    return made


def _leaf(value: float, deviation: float | None) -> Leaf:
    return {"value": value, "standard_deviation": NO_DEVIATION if deviation is None else deviation}


def _task(report: Report) -> tuple[str, dict[str, Leaf]]:
    """Return the kind and the TSTR measures of the task that ``report.values`` tells of; empty without one."""
    samples = report.tables.get("utility.samples")
    if samples is None:
        return "", {}
    rows = samples.astype(object).where(samples.notna(), None).to_dict("records")
    told = {name.removeprefix("utility_tstr_"): value for name, value in report.values.items()}
    for first in rows:
        same = [row for row in rows if (row["task"], row["learner"]) == (first["task"], first["learner"])]
        if all(told.get(row["measure"]) == row["value"] for row in same):
            kind = {0: "regression", 2: "binary_classification"}.get(int(first["classes"]), "multiclass_classification")
            names = NAMES[kind]
            return kind, {names[row["measure"]]: _leaf(row["value"], row["deviation"]) for row in same}
    return "", {}


def _operator(kind: str, name: str) -> str:
    """Return what breaks a constraint; empty of a value of which less is neither better nor worse."""
    goal = GOALS.get(name) if kind == OURS else ("Minimize" if name == "rmse" else "Maximize")
    return {"Maximize": _LESS, "Minimize": _GREATER}.get(goal or "", "")
