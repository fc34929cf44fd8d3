"""The step that lets a report pass or stops a pipeline."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pydantic import Field

from synth_components.config import StepConfig
from synth_components.errors import ThresholdError
from synth_components.steps.port import InReport
from synth_components.steps.report_file import read_report, values_of

if TYPE_CHECKING:
    from synth_components.evaluation.report import Report

_LOG = logging.getLogger(__name__)


class GateConfig(StepConfig):
    """What a report must reach."""

    min_quality: float = Field(0.0, ge=0, le=1, description="Smallest overall score that passes.")
    min_scores: dict[str, float] = Field(
        {}, description="Smallest value by name of score; every score of that name must reach it."
    )
    max_scores: dict[str, float] = Field(
        {}, description="Largest value by name of score; no score of that name may exceed it."
    )


def gate(config: GateConfig, *, report: InReport) -> None:
    """Compare a report with thresholds; exit status 3 if it misses one.

        synth gate --report report.json --min-quality 0.8
        synth gate --report report.json --max-scores '{"privacy.copies": 0.01}'

    Args:
        report: The report to judge.

    Raises:
        ThresholdError: naming every threshold that was missed.
    """
    found = read_report(report)
    missed = shortfalls(found, config)
    if missed:
        raise ThresholdError(f"the report misses {len(missed)} of its thresholds: {'; '.join(missed)}")
    _LOG.info("the report reaches every threshold")


def shortfalls(report: Report, config: GateConfig) -> list[str]:
    """Return what a report misses, a line each.

    Raises:
        DataError: if the report has no score of a name that the thresholds use.
    """
    missed = []
    quality = report.overall.value
    if config.min_quality > 0 and (quality is None or quality < config.min_quality):
        told = "there is no overall score" if quality is None else f"the overall score is {quality:.4g}"
        missed.append(f"{told}, at least {config.min_quality:g} is asked for")
    for name, least in config.min_scores.items():
        value = min(values_of(report, name))
        if value < least:
            missed.append(f"{name} is {value:.4g}, at least {least:g} is asked for")
    for name, most in config.max_scores.items():
        value = max(values_of(report, name))
        if value > most:
            missed.append(f"{name} is {value:.4g}, at most {most:g} is allowed")
    return missed
