"""What the checks of a validation find, and how they add up to verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd

from synth_components.evaluation import HOLDOUT_SHARE
from synth_components.evaluation.card import Group, Verdict
from synth_components.evaluation.floor import CORRECTION, EXPLANATION, INTERVALS, score
from synth_components.evaluation.quality import Quality
from synth_components.evaluation.recommendation import Recommendation
from synth_components.evaluation.report import NO_HOLDOUT, Report
from synth_components.protocols import Score

Relation: TypeAlias = Literal[">=", "<="]

AREAS: Mapping[Group, str] = {
    "schema": "schema",
    "data quality": "data quality",
    "smoke test": "privacy smoke",
    "performance": "performance",
}
"""The four verdicts by the group of the checks behind them."""

SET_ASIDE = (
    f"{HOLDOUT_SHARE:.0%} of the real rows were set aside, as the measure of what real rows have in common with each "
    "other. Copies of these rows are not looked for."
)

_ASK = "ask whoever made the table how; for rows of a model of yours, `synth evaluate` says which option to turn"

FORMULA = (
    "Four verdicts, each passed only if all of its checks are: schema, data quality, privacy smoke and performance. "
    "The number of a verdict is the share of its checks that pass; the overall score is the mean of the four, and the "
    "table passes only at 1. Rules of policy warn are told, and decide nothing."
)


@dataclass
class Tally:
    """What one area of checks found, taken down check by check; aggregates only.

    Attributes:
        group: The area.
        checks: The lines of the card.
        scores: What they and the remarks rest on.
        advice: What to mend.
        left_out: Score, subject and reason of what could not be checked.
        notes: How to read them.
        curves: What is drawn.
    """

    group: Group
    checks: list[Verdict] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    advice: list[Recommendation] = field(default_factory=list)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    curves: dict[str, pd.DataFrame] = field(default_factory=dict)

    def check(
        self,
        label: str,
        one: Score,
        relation: Relation,
        threshold: float,
        *,
        finding: str = "",
        change: str = "",
    ) -> None:
        """Take down a score, the check that it decides, and if that fails what to mend.

        Args:
            finding: What is wrong, in words without values; empty says label and number.
            change: What to do about it; empty gives no advice.
        """
        self.scores.append(one)
        passed = one.value >= threshold if relation == ">=" else one.value <= threshold
        self.checks.append(Verdict(self.group, label, one.value, relation, threshold, passed))
        if not passed and change:
            told = finding or f"{label}: {one.value:.4g}, {relation} {threshold:.4g} is asked for"
            self.advise(one.subject, told, change)

    def advise(self, subject: tuple[str, ...], finding: str, change: str, *, weight: float = 1.0) -> None:
        """Take down what to mend."""
        self.advice.append(Recommendation(subject, finding, change, weight))

    def fail(self, label: str, relation: Relation, threshold: float, *, finding: str, change: str) -> None:
        """Take down a check that could not be made, and therefore fails."""
        self.checks.append(Verdict(self.group, label, None, relation, threshold, passed=False))
        self.advise((), finding, change, weight=2.0)

    def leave_out(self, name: str, subject: str, reason: str) -> None:
        """Take down that something was not checked, and why."""
        self.left_out.append((name, subject, reason))

    def take(self, judged: Report, *, without: tuple[str, ...] = ()) -> None:
        """Take down what an evaluation against real rows found, all but the scores and checks ``without``."""
        checks = [replace(one, group=self.group) for one in judged.card if one.name not in without]
        self.checks += checks
        for one in checks:
            if not one.passed:
                value = "not scored" if one.value is None else f"{one.value:.4g}"
                self.advise((), f"{one.name}: {value}, {one.relation} {one.threshold:.4g} is asked for", _ASK)
        self.scores += [one for one in judged.scores if one.name not in without]
        self.curves.update(judged.curves)
        explained = (EXPLANATION, CORRECTION, INTERVALS)  # in every report
        self.notes += [note for note in judged.notes if note not in explained and not note.startswith(NO_HOLDOUT)]
        self.notes.append(SET_ASIDE)
        if "left_out" in judged.tables:
            for row in judged.tables["left_out"].to_dict("records"):
                self.leave_out(str(row["score"]), str(row["subject"]), str(row["reason"]))


def share(
    name: str, hits: int, total: int, *, floor: float | None = None, ideal: float = 1.0, subject: tuple[str, ...] = ()
) -> Score:
    """Return a share of rows as a score; without a floor of real rows that is the ideal."""
    value = hits / total if total else ideal
    return score(
        name,
        value,
        hits=(hits, total) if total else None,
        floor=ideal if floor is None else floor,
        ideal=ideal,
        subject=subject,
    )


def measure(
    name: str, value: float, *, floor: float | None = None, ideal: float = 1.0, subject: tuple[str, ...] = ()
) -> Score:
    """Return a number that no interval is made for; without a floor of real rows that is the ideal."""
    return score(name, value, floor=ideal if floor is None else floor, ideal=ideal, subject=subject)


def overall(checks: Iterable[Verdict]) -> tuple[tuple[Verdict, ...], Quality]:
    """Return the four verdicts as lines of a card, and the overall score."""
    made = list(checks)
    parts = {
        name: float(np.mean([check.passed for check in made if check.group == group]))
        for group, name in AREAS.items()
        if any(check.group == group for check in made)
    }
    verdicts = tuple(Verdict("verdict", name, value, ">=", 1.0, passed=value >= 1.0) for name, value in parts.items())
    value = float(np.mean(list(parts.values())))
    return verdicts, Quality(value, parts, 1.0, passed=all(one.passed for one in verdicts), formula=FORMULA)
