"""The step that gathers evidence for a regulation from tables, reports, a model and an audit trail."""

from __future__ import annotations

import datetime
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from synth_components import audit
from synth_components.config import StepConfig
from synth_components.errors import TamperedError, ThresholdError
from synth_components.io.location import shown
from synth_components.sensitive import DetectConfig, Sensitivity, detected
from synth_components.steps.port import (
    OptionalInDatasets,
    OptionalInModel,
    OptionalInReports,
    OptionalInTrail,
    OptionalOutPage,
    OptionalOutPolicy,
    OutEvidence,
)
from synth_components.steps.record import write_json, write_text
from synth_components.steps.report_file import read_report

if TYPE_CHECKING:
    from synth_components.model import Model

_LOG = logging.getLogger(__name__)


class ComplianceConfig(StepConfig):
    """Which regulation, and when missing evidence stops a pipeline."""

    preset: Literal["ccpa", "ferpa", "gdpr", "hipaa_expert_determination", "hipaa_safe_harbor", "pci_dss", "sox"] = (
        Field("gdpr", description="The regulation whose provisions are gone through.")
    )
    gate: Literal["none", "failed", "unknown"] = Field(
        "none",
        description="What ends the step with exit status 3, the evidence written: failed checks, or unknown ones too.",
    )
    made_up: tuple[str, ...] = Field(
        (),
        description="Columns whose identifiers are made up and nobody's, beside those that the model makes anew.",
    )
    quasi_identifiers: tuple[str, ...] = Field(
        (), description="Columns that others may know of a person; empty takes those that are found."
    )
    sensitive: tuple[str, ...] = Field(
        (), description="Columns to keep from others, for l and t; empty takes those that are found."
    )
    year: int = Field(
        0, ge=0, le=9999, description="Year against which years of birth are held; 0 takes the present one."
    )
    max_rows: int = Field(
        20_000, ge=100, lt=2**53, description="Rows, evenly spaced, that sensitive columns are recognised by."
    )
    presidio: bool = Field(default=False, description="Look through free text with Presidio too (extra presidio).")


def compliance(
    config: ComplianceConfig,
    *,
    data: OptionalInDatasets = (),
    reports: OptionalInReports = (),
    model: OptionalInModel = None,
    trail: OptionalInTrail = None,
    evidence: OutEvidence,
    page: OptionalOutPage = None,
    policy: OptionalOutPolicy = None,
) -> None:
    """Gather evidence for a regulation, provision by provision, and what a person has to decide and sign.

        synth compliance --preset hipaa_safe_harbor --data released.csv --evidence evidence.json --page evidence.html
        synth compliance --preset gdpr --data rows.csv --model model --reports r.json --evidence e.json --gate failed

    It says what was shown, and never that anybody complies.

    Args:
        data: The tables that are to be released; repeat the option for each.
        reports: Reports of evaluations and audits that name these tables or this model; repeat the option for each.
        model: The model that drew the tables: its columns made anew, its promise and where it comes from.
        trail: The audit trail, which is verified.
        evidence: Where the evidence goes.
        page: Where it goes as a page to read and to sign.
        policy: Where a privacy policy goes that fits the regulation and these columns, for `synth protect`.

    Raises:
        ThresholdError: if a check fails, or is unknown, and that was to be a gate.
    """
    from synth_components.compliance import assessed
    from synth_components.compliance.evidence import Evidence
    from synth_components.io.dataset import read_table
    from synth_components.privacy.budget_file import opened, require_uncovered

    if data:
        require_uncovered("compliance")
    tables = {f"table{place}" if place else "table": read_table(where) for place, where in enumerate(data)}
    recogniser = DetectConfig(max_rows=config.max_rows, presidio=config.presidio)
    found = Sensitivity((), {}, {})
    if tables:
        opened(None).note_uncovered(f"compliance: {sum(map(len, tables.values()))} rows")
        found = detected(tables, config=recogniser)
    held = _model(model)
    lines, tampering = _trail(trail)
    inputs = [f"table '{shown(where)}'" for where in data] + [f"report '{path}'" for path in reports]
    inputs += [f"model '{model}'"] * (model is not None) + [f"audit trail '{trail}'"] * (trail is not None)
    given = Evidence(
        tables=tables,
        found=found,
        reports=tuple(read_report(path) for path in reports),
        manifest=None if held is None else held.manifest,
        fingerprint="" if held is None else held.fingerprint,
        trail=lines,
        tampering=tampering,
        made_up=frozenset((*config.made_up, *_anew(held))),
        quasi_identifiers=config.quasi_identifiers,
        sensitive=config.sensitive,
        year=config.year or datetime.datetime.now(tz=datetime.UTC).year,
    )
    made = assessed(config.preset, given, inputs=tuple(inputs))
    write_json(evidence, made.to_json())
    if page is not None:
        write_text(page, made.to_html())
    if policy is not None:
        write_json(policy, dict(made.policy))
    counts = made.counts
    _LOG.info(
        "%s: %d provisions; %d failed, %d not shown, %d passed, %d need a person",
        *(made.title, len(made.findings), counts["failed"], counts["unknown"], counts["passed"], counts["undecided"]),
    )
    for finding in made.of("failed"):
        for one in finding.observations:
            if one.status == "failed":
                _LOG.warning("%s: %s", finding.cite, one.message)
    stops = {"none": (), "failed": made.of("failed"), "unknown": (*made.of("failed"), *made.of("unknown"))}[config.gate]
    audit.record("gate", report=str(evidence), passed=not stops, missed=[finding.cite for finding in stops])
    if stops:
        raise ThresholdError(f"{len(stops)} provisions are not shown: {'; '.join(finding.cite for finding in stops)}")


def _model(path: Path | None) -> Model | None:
    from synth_components.model import Model

    return None if path is None else Model.load(path)


def _anew(model: Model | None) -> list[str]:
    """Return the columns that a model makes anew: keys and texts."""
    from synth_components.schema import Key, Text

    if model is None:
        return []
    columns = [(name, column) for held in model.schema.tables.values() for name, column in held.items()]
    return [name for name, column in columns if isinstance(column, Key | Text)]


def _trail(path: Path | None) -> tuple[list[dict[str, Any]] | None, str]:
    """Return the lines of a trail, and why it cannot be trusted."""
    from synth_components.chain import Chain

    if path is None:
        return None, ""
    try:
        return Chain(path, audit.chain_key()).lines(), ""
    except TamperedError as error:
        return None, f"line {error.line}" if error.line is not None else "its end was changed"
