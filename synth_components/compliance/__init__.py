"""Evidence for a regulation: its provisions one by one, what was checked, and what a person has to decide and sign.

A report is evidence and no verdict: it never says that anybody complies with anything.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from synth_components.compliance.evidence import Evidence, Observation, Status, observed
from synth_components.compliance.preset import Preset, load
from synth_components.errors import UnsupportedError
from synth_components.privacy.budget_file import opened
from synth_components.privacy.ledger import Ledger

FORMAT = 1

DISCLAIMER = (
    "This is evidence for those who decide, and no statement that anybody complies with a rule. Detection misses what "
    "has no form and no telling name; attacks that fail prove nothing of the next one. It is no legal advice."
)

SIGNATORIES = ("Prepared by", "Reviewed by (privacy or compliance officer)", "Approved by")


@dataclass(frozen=True)
class Finding:
    """What was found of one requirement.

    Attributes:
        id: Name of the requirement.
        cite: The provision.
        title: What it asks for.
        status: ``failed`` if a check failed; ``unknown`` if one could not be made, or there is none; else ``passed``.
        observations: What each check found.
        undecided: What a person has to decide or to show.
    """

    id: str
    cite: str
    title: str
    status: Status
    observations: tuple[Observation, ...]
    undecided: tuple[str, ...]


@dataclass(frozen=True)
class ComplianceReport:
    """Evidence for a preset; it holds names of columns and counts, and no value.

    Attributes:
        preset: Name of the preset.
        title: Name of the regulation.
        rule: Where it stands.
        applies: To whom.
        summary: What it asks.
        findings: The requirements, in order.
        columns: What was found of each sensitive column.
        rows: Rows by table.
        inputs: What was given to be looked at, in words.
        policy: A privacy policy that goes with the regulation, for these columns.
        policy_reason: Where its numbers come from.
        versions: Versions of the software.
    """

    preset: str
    title: str
    rule: str
    applies: str
    summary: str
    findings: tuple[Finding, ...]
    columns: tuple[Mapping[str, Any], ...]
    rows: Mapping[str, int]
    inputs: tuple[str, ...]
    policy: Mapping[str, Any]
    policy_reason: str
    versions: Mapping[str, str]

    def of(self, status: Status) -> tuple[Finding, ...]:
        """Return the findings of a status."""
        return tuple(finding for finding in self.findings if finding.status == status)

    @property
    def counts(self) -> dict[str, int]:
        """Number of requirements by status, and of those that a person decides."""
        counted = {status: len(self.of(status)) for status in ("passed", "failed", "unknown")}
        return {**counted, "undecided": sum(bool(finding.undecided) for finding in self.findings)}

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value."""
        return {
            "format": FORMAT,
            "kind": "compliance",
            "disclaimer": DISCLAIMER,
            **{k: v for k, v in asdict(self).items() if k not in {"findings", "columns", "inputs"}},
            "counts": self.counts,
            "inputs": list(self.inputs),
            "findings": [
                {
                    **asdict(finding),
                    "observations": [{**asdict(one), "columns": list(one.columns)} for one in finding.observations],
                    "undecided": list(finding.undecided),
                }
                for finding in self.findings
            ],
            "columns": [dict(column) for column in self.columns],
            "signatures": [{"role": role, "name": "", "date": "", "signature": ""} for role in SIGNATORIES],
        }

    def to_html(self) -> str:
        """Return the report as one self-contained page."""
        from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

        environment = Environment(
            loader=ChoiceLoader(
                [PackageLoader("synth_components.compliance"), PackageLoader("synth_components.evaluation")]
            ),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template("compliance.html").render(
            report=self, disclaimer=DISCLAIMER, signatories=SIGNATORIES
        )


def assess(
    name: str, evidence: Evidence, *, inputs: tuple[str, ...] = (), ledger: Ledger | None = None
) -> ComplianceReport:
    """Return what is shown of a preset's requirements by the evidence.

    Args:
        ledger: Written to, not charged, where there are tables: rows that are to be released may be real, and are read
            outside the epsilon of any model.  ``None`` writes to the budget file, if one is named.

    Raises:
        UnsupportedError: if there is no preset of that name, or for tables and a ledger with a budget.
        BudgetExceededError: if the budget file refuses such reads; nothing was read.
    """
    load(name)  # what cannot be assessed is not read
    if evidence.tables:
        if ledger is not None and ledger.budget is not None:
            raise UnsupportedError(
                "a ledger with a budget was given, and a regulation's checks read rows without noise; give no tables, "
                "or no budget"
            )
        opened(ledger).note_uncovered(f"compliance: {sum(map(len, evidence.tables.values()))} rows")
    return assessed(name, evidence, inputs=inputs)


def assessed(name: str, evidence: Evidence, *, inputs: tuple[str, ...] = ()) -> ComplianceReport:
    """Return what ``assess`` does, of rows whose reading was written down already."""
    preset: Preset = load(name)
    findings = []
    for requirement in preset.requirements:
        seen = [one for check in requirement.checks for one in observed(check, evidence)]
        states = {one.status for one in seen}
        status: Status = "failed" if "failed" in states else "passed" if states == {"passed"} else "unknown"
        findings.append(
            Finding(requirement.id, requirement.cite, requirement.title, status, tuple(seen), requirement.undecided)
        )
    first = next(iter(evidence.tables), None)
    policy = preset.policy_of(evidence.found, table=first) if first is not None else preset.policy_of()
    return ComplianceReport(
        preset=name,
        title=preset.title,
        rule=preset.rule,
        applies=preset.applies,
        summary=preset.summary,
        findings=tuple(findings),
        columns=tuple(column.to_json() for column in evidence.found.columns if column.role != "none"),
        rows={table: len(frame) for table, frame in evidence.tables.items()},
        inputs=inputs,
        policy=policy.model_dump(mode="json", exclude_defaults=True),
        policy_reason=preset.policy_reason,
        versions={"synth-components": importlib.metadata.version("synth-components")},
    )
