"""The step that lets a report pass or stops a pipeline."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from synth_components import audit
from synth_components.circumstances import circumstance
from synth_components.config import ConfigError, StepConfig
from synth_components.errors import ThresholdError
from synth_components.evaluation.attacks.risk import MOST
from synth_components.evaluation.attacks.risk import NAME as RISK
from synth_components.evaluation.card import COPIES, by_name, is_copied
from synth_components.steps.port import InReport, OptionalInDataset, OptionalInModel, OptionalInReports
from synth_components.steps.report_file import read_report, reported, values_of

if TYPE_CHECKING:
    import pandas as pd

    from synth_components.evaluation.report import Report
    from synth_components.policy import Policy

MEMBERSHIP = "privacy.membership.auc"
"""Name of the score that ``max_membership_inference_score`` is about."""

_ATTACK = "evaluate with attacks, or drop what asks for it (1 asks for none)"
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
        description="Largest privacy risk. A report without attacks passes, with a warning, where nobody said a value; "
        "Kubeflow says one always. 1 asks for none.",
    )
    max_risk_upper: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Largest upper end of the privacy risk's interval: how strong an attack could be that so few "
        "records do not rule out. 1 asks for none.",
    )
    allow_copies: bool = Field(
        False,
        description="Let a report pass that tells of more exact or near copies of training rows than a holdout and "
        "chance explain.",
    )
    allow_unnamed: bool = Field(
        False,
        description="Let a report pass that does not name the model or the rows that were given with it, or a model "
        "pass that was registered without a fingerprint.",
    )
    min_k: int = Field(
        0, ge=0, lt=2**53, description="Fewest rows of the table that share their quasi-identifiers; 0 asks for none."
    )
    min_l: int = Field(
        0,
        ge=0,
        lt=2**53,
        description="Fewest different values of each sensitive column among rows that share their quasi-identifiers; 0 "
        "asks for none.",
    )
    max_t: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Farthest that a sensitive column of rows that share their quasi-identifiers is from that of the "
        "whole table (t-closeness); 1 asks for none.",
    )
    quasi_identifiers: tuple[str, ...] = Field(
        (),
        description="Columns that others may know of a person, for min_k, min_l and max_t; empty takes the policy's.",
    )
    sensitive: tuple[str, ...] = Field(
        (), description="Columns to keep from others, for min_l and max_t; empty takes the policy's."
    )

    @property
    def of_classes(self) -> tuple[str, ...]:
        """The thresholds that are asked of a table, and not of a report."""
        fields = type(self).model_fields
        return tuple(name for name in ("min_k", "min_l", "max_t") if getattr(self, name) != fields[name].default)


def gate(
    config: GateConfig,
    *,
    report: InReport,
    audits: OptionalInReports = (),
    model: OptionalInModel = None,
    data: OptionalInDataset = None,
) -> None:
    """Compare a report, and a model's privacy, with thresholds; exit status 3 if one is missed.

        synth gate --report report.json --min-quality 0.8
        synth gate --report report.json --max-scores '{"privacy.copies": 0.01}'
        synth gate --report report.json --model model --max-epsilon 1
        synth gate --report report.json --max-risk 0.1 --max-membership-inference-score 0.55
        synth gate --report report.json --data released.csv --min-k 5 --quasi-identifiers '["age", "zip"]'
        synth gate --report report.json --audits audit.json --data released.csv

    Args:
        report: The report to judge.
        audits: Reports of shadow audits of the model that the report names, which the thresholds hold for, too; repeat
            the option for each.
        model: The model that the report has to be of; also for its epsilon.
        data: The table that is to be released, whose rows the report has to be of; also for its k, l and t.

    Raises:
        GuardError: if the report names another model or other rows, or does not name those that were given.
        ThresholdError: naming every threshold that was missed.
        ConfigError: if `max_epsilon` is asked for and no model given, or `min_k`, `min_l` or `max_t` and no table, or
            no columns to measure them by.
    """
    from synth_components.evaluation.judged import digest_of
    from synth_components.io.artifact import fingerprint_of
    from synth_components.io.dataset import read_table
    from synth_components.policy import guard

    found = read_report(report)
    others = tuple(read_report(path) for path in audits)
    told = reported(found, *others)
    policy = guard.policy_here()
    table = None if data is None else read_table(data)
    if model is not None or table is not None:
        guard.require_about(
            tuple(one.judged for one in (found, *others)),
            model="" if model is None else fingerprint_of(model),
            rows="" if table is None else digest_of(table),
            to="the gate",
            allow_unnamed=config.allow_unnamed,
        )
    missed = [*shortfalls(found, config, others), *overspent(config, model), *indistinct(config, table, policy)]
    audit.record(
        "gate",
        report=str(report),
        audits=[str(path) for path in audits],
        passed=not missed,
        missed=list(missed),
        max_risk=config.max_risk,
        policy="" if policy is None else policy.digest,
        level="" if policy is None else policy.level,
    )
    if circumstance("policy"):  # without one the default of max_risk is what level medium asks for
        from synth_components.model import Model

        fitted = None if model is None else Model.load(model)
        guard.release(fitted, told, to="the gate", table=table, what="table", allow_unnamed=config.allow_unnamed)
    if missed:
        raise ThresholdError(f"the report misses {len(missed)} of its thresholds: {'; '.join(missed)}")
    _LOG.info("the report reaches every threshold")


def limits(config: GateConfig, known: Collection[str] = ()) -> dict[str, float]:
    """Return the largest value that scores may have, by name, however it was asked for.

    Args:
        known: Names of the scores that there are: ``max_risk`` that nobody said holds where the risk is among them.
    """
    named = {MEMBERSHIP: config.max_membership_inference_score}
    if "max_risk" in config.model_fields_set or RISK in known:
        named[RISK] = config.max_risk
    asked = {name: min(most, config.max_scores.get(name, most)) for name, most in named.items() if most < 1}
    return {**config.max_scores, **asked}


def shortfalls(report: Report, config: GateConfig, audits: Sequence[Report] = ()) -> list[str]:
    """Return what a report misses, or one of the audits beside it, a line each.

    Copies are held against their bounds as in the acceptance card: more than chance explains is a miss.  Those that
    were not scored, as near copies among fewer than ten rows, are not held.

    Raises:
        DataError: if the report has no score of a name that the thresholds use.
    """
    missed = []
    quality = report.overall.value
    if config.min_quality > 0 and (quality is None or quality < config.min_quality):
        told = "there is no overall score" if quality is None else f"the overall score is {quality:.4g}"
        missed.append(f"{told}, at least {config.min_quality:g} is asked for")
    every = (report, *audits)
    report = replace(report, scores=tuple(score for one in every for score in one.scores))
    for name, least in config.min_scores.items():
        value = min(values_of(report, name))
        if value < least:
            missed.append(f"{name} is {value:.4g}, at least {least:g} is asked for")
    known = {score.name for score in report.scores}
    asked = limits(config, known)
    if RISK not in asked and config.max_risk < 1:
        _LOG.warning("the report has no score '%s', and nobody said max_risk: no risk was held; %s", RISK, _ATTACK)
    for name, most in asked.items():
        value = max(values_of(report, name, remedy=_ATTACK if name in {RISK, MEMBERSHIP} else ""))
        if value > most:
            missed.append(f"{name} is {value:.4g}, at most {most:g} is allowed")
    if config.max_risk_upper < 1:
        values_of(report, RISK, remedy=_ATTACK)  # raises without attacks
        risks = [score for score in report.scores if score.name == RISK]
        upper = max(risk.value if risk.interval is None else risk.interval[1] for risk in risks)
        if upper > config.max_risk_upper:
            missed.append(
                f"{RISK} could be as large as {upper:.4g}, at most {config.max_risk_upper:g} is allowed; attack more "
                "records (attack_rows, a larger holdout)"
            )
    if not config.allow_copies and (unscored := [label for name, label in COPIES.items() if name not in known]):
        _LOG.warning("the report tells nothing of %s, so that none were held", " and ".join(unscored))
    for whole, name in () if config.allow_copies else product([by_name(one.scores) for one in every], COPIES):
        if {name, f"{name}.bound"} <= whole.keys() and is_copied(whole, name):
            bound = whole[f"{name}.bound"].value
            missed.append(f"{name} is {whole[name].value:.4g}, at most {bound:.4g} is allowed, as of a holdout")
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


def indistinct(config: GateConfig, table: pd.DataFrame | None, policy: Policy | None = None) -> list[str]:
    """Return what a table misses of ``min_k``, ``min_l`` and ``max_t``, a line each.

    Args:
        table: The rows that are to be released.
        policy: Where the columns come from that the options do not name.

    Raises:
        ConfigError: if one is asked for, and there is no table, or no column that it is measured by.
        SchemaError: for a column that the table does not have.
    """
    from synth_components.privacy.anonymity.classes import measure
    from synth_components.privacy.anonymity.criteria import TOLERANCE

    asked = config.of_classes
    if not asked:
        return []
    if table is None:
        raise ConfigError(f"{asked[0]} is asked of a table; give the one to release (--data)", option=asked[0])
    columns = config.quasi_identifiers or (() if policy is None else policy.quasi_identifiers)
    hidden = config.sensitive or (() if policy is None else tuple(policy.sensitive))
    if not columns:
        raise ConfigError(
            f"{asked[0]} is counted by columns that others may know of a person; name them (--quasi-identifiers)",
            option=asked[0],
        )
    if not hidden and asked != ("min_k",):
        raise ConfigError(f"{asked[-1]} is of a sensitive column; name it (--sensitive)", option=asked[-1])
    found = measure(table, columns, hidden)
    by = ", ".join(columns)
    missed = []
    if found.k < config.min_k:
        missed.append(f"k by {by} is {found.k}, at least {config.min_k} is asked for")
    for name, one in found.sensitive.items():
        if one.distinct < config.min_l:
            missed.append(f"l of '{name}' by {by} is {one.distinct}, at least {config.min_l} is asked for")
        if one.closeness > config.max_t + TOLERANCE:
            missed.append(f"t of '{name}' by {by} is {one.closeness:.4g}, at most {config.max_t:g} is allowed")
    return missed
