"""The step that lets a report pass or stops a pipeline."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from synth_components import audit
from synth_components.circumstances import circumstance
from synth_components.config import ConfigError, StepConfig
from synth_components.errors import ThresholdError
from synth_components.evaluation.attacks.risk import MOST
from synth_components.evaluation.attacks.risk import NAME as RISK
from synth_components.steps.port import InReport, OptionalInModel
from synth_components.steps.report_file import largest_of, read_report, values_of

if TYPE_CHECKING:
    from synth_components.evaluation.report import Report

MEMBERSHIP = "privacy.membership.auc"
"""Name of the score that ``max_membership_inference_score`` is about."""

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
    max_epsilon: float = Field(
        0.0, ge=0, description="Largest privacy loss, epsilon, that the model may have; 0 asks for none."
    )
    max_membership_inference_score: float = Field(
        1.0, ge=0, le=1, description="Largest AUC of the strongest membership attack; 1 asks for none."
    )
    max_risk: float = Field(
        MOST,
        ge=0,
        le=1,
        description="Largest privacy risk; a report without attacks passes unless less than the default is asked for. "
        "1 asks for none.",
    )


def gate(config: GateConfig, *, report: InReport, model: OptionalInModel = None) -> None:
    """Compare a report, and a model's privacy, with thresholds; exit status 3 if one is missed.

        synth gate --report report.json --min-quality 0.8
        synth gate --report report.json --max-scores '{"privacy.copies": 0.01}'
        synth gate --report report.json --model model --max-epsilon 1
        synth gate --report report.json --max-risk 0.1 --max-membership-inference-score 0.55

    Args:
        report: The report to judge.
        model: The model, for its epsilon.

    Raises:
        ThresholdError: naming every threshold that was missed.
        ConfigError: if `max_epsilon` is asked for and no model given.
    """
    found = read_report(report)
    missed = [*shortfalls(found, config), *overspent(config, model)]
    audit.record("gate", report=str(report), passed=not missed, missed=list(missed), max_risk=config.max_risk)
    if circumstance("policy"):  # without one the default of max_risk is what level medium asks for
        from synth_components.model import Model
        from synth_components.policy import guard

        guard.release(None if model is None else Model.load(model), largest_of(found), to="the gate")
    if missed:
        raise ThresholdError(f"the report misses {len(missed)} of its thresholds: {'; '.join(missed)}")
    _LOG.info("the report reaches every threshold")


def limits(config: GateConfig, known: Collection[str] = ()) -> dict[str, float]:
    """Return the largest value that scores may have, by name, however it was asked for.

    Args:
        known: Names of the scores that there are: the default of ``max_risk`` holds only where the risk is among them.
    """
    named = {MEMBERSHIP: config.max_membership_inference_score}
    if config.max_risk < MOST or RISK in known:
        named[RISK] = config.max_risk
    asked = {name: min(most, config.max_scores.get(name, most)) for name, most in named.items() if most < 1}
    return {**config.max_scores, **asked}


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
    for name, most in limits(config, {score.name for score in report.scores}).items():
        value = max(values_of(report, name))
        if value > most:
            missed.append(f"{name} is {value:.4g}, at most {most:g} is allowed")
    return missed


def overspent(config: GateConfig, model: Path | None) -> list[str]:
    """Return by how much a model's privacy loss exceeds ``max_epsilon``: a line, or none.

    Raises:
        ConfigError: if it is asked for and no model given.
    """
    from synth_components.model import Model

    if config.max_epsilon == 0:
        return []
    if model is None:
        raise ConfigError("max_epsilon is asked of a model; give the model too", option="max_epsilon")
    epsilon = Model.load(model).privacy.epsilon
    if epsilon <= config.max_epsilon:
        return []
    told = "not bounded" if math.isinf(epsilon) else f"{epsilon:.4g}"
    return [f"the model's epsilon is {told}, at most {config.max_epsilon:g} is allowed"]
