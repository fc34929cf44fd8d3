"""The step that chooses among several reports, and the model behind the best one."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Literal

from pydantic import Field

from synth_components.config import StepConfig
from synth_components.errors import DataError, UnsupportedError
from synth_components.io.artifact import manifest_of, refuse_foreign
from synth_components.steps.port import InModels, InReports, OptionalOutModel, OutReport
from synth_components.steps.record import partial
from synth_components.steps.report_file import quality_of, read_report, report_path, values_of

_LOG = logging.getLogger(__name__)

QUALITY = "quality"


class SelectConfig(StepConfig):
    """What makes a report the best."""

    by: str = Field(QUALITY, min_length=1, description="Name of the score to compare; quality is the overall one.")
    best: Literal["highest", "lowest"] = Field("highest", description="Whether the highest or the lowest value wins.")


def select(
    config: SelectConfig,
    *,
    reports: InReports,
    models: InModels = (),
    report: OutReport,
    model: OptionalOutModel = None,
) -> None:
    """Keep the best of several reports, and its model.  The first of equals wins.

        synth select --reports a.json --reports b.json --models a --models b --report best.json --model best

    Args:
        reports: The reports to compare; repeat the option for each.
        models: The models that they are about, in the same order.
        report: Where the best report goes.
        model: Where its model goes.

    Raises:
        DataError: if the models do not match the reports, or a report lacks the score.
        UnsupportedError: if one of several models is differentially private: the choice would spend what none counts.
    """
    if models and len(models) != len(reports):
        raise DataError(f"there are {len(reports)} reports and {len(models)} models; give one model per report")
    if model is not None and not models:
        raise DataError("there are no models to choose from; give one per report with --models")
    if len(models) > 1 and any(manifest_of(path).privacy.epsilon is not None for path in models):
        raise UnsupportedError(
            "a model is differentially private, and a choice among several by their reports reads rows that no "
            "epsilon counts, beside the epsilon of each; choose the generator beforehand, or on public rows"
        )
    if model is not None:
        refuse_foreign(model)
    values = [_value(path, config.by) for path in reports]
    best = values.index(max(values) if config.best == "highest" else min(values))
    with partial(report) as temporary:
        shutil.copyfile(report_path(reports[best]), temporary)
    if model is not None:
        _copy_folder(models[best], model)
    _LOG.info("selected report %d of %d, with %s %.4g", best + 1, len(reports), config.by, values[best])


def _value(path: Path, name: str) -> float:
    report = read_report(path)
    if name == QUALITY:
        return quality_of(report)
    values = values_of(report, name)
    if len(values) != 1:
        raise DataError(f"report '{path}' has {len(values)} scores '{name}'; compare one that a report has once")
    return values[0]


def _copy_folder(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        shutil.copytree(source, temporary)
        if target.exists():  # an older model, or an empty folder
            shutil.rmtree(target)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
