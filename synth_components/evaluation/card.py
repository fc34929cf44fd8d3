"""The acceptance card: each promise against its threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from synth_components.evaluation.attacks.risk import MOST
from synth_components.protocols import Score

Group: TypeAlias = Literal["acceptance", "smoke test", "attack", "verdict", "schema", "data quality", "performance"]

SIMILARITY = 0.95
CORRELATION = 0.93
TASK = 0.95
DCR_SHARE = 0.53
DCR_LABEL = "closer to train than to holdout (DCR share)"
CHANCE: Mapping[str, float] = MappingProxyType({"privacy.copies": 0.025, "privacy.near_copies": 5e-4})
"""How often an honest sample may fail a check of copies: more are held against it only if chance is less likely.

For near copies it is small, since honest tables have them, and every table is asked.  An exact copy of a training row
is worse, and tables whose rows differ have none by chance: there a copy too few to be sure of is told, too.
"""
COPIES: Mapping[str, str] = MappingProxyType({"privacy.copies": "exact copies", "privacy.near_copies": "near copies"})
"""What the scores of copied rows are called; each has a ``.bound`` that it is held against, and a ``.p_value``."""


@dataclass(frozen=True)
class Verdict:
    """One line of the card.

    Attributes:
        group: ``acceptance``, ``smoke test`` for the checks of memorisation, or ``attack`` for the privacy risk; in a
            validation ``verdict``, or the area of the check.
        name: What is promised.
        value: What was found, ``None`` if it could not be scored.
        relation: ``>=`` or ``<=``.
        threshold: What the value is held against.
        passed: Whether it holds, in a smoke test up to chance; false if it could not be scored.
    """

    group: Group
    name: str
    value: float | None
    relation: Literal[">=", "<="]
    threshold: float
    passed: bool

    @property
    def is_by_chance(self) -> bool:
        """Whether it passes although the value lies above the threshold, by no more than chance explains."""
        return self.passed and self.relation == "<=" and self.value is not None and self.value > self.threshold

    @property
    def sign(self) -> str:
        """The verdict as tables and logs print it."""
        if self.is_by_chance:
            return "pass (above by no more than chance)"
        return "pass" if self.passed else "MISS"


def by_name(scores: Sequence[Score]) -> dict[str, Score]:
    """Return the scores of the whole table by name."""
    return {one.name: one for one in scores if not one.subject}


def card(scores: Sequence[Score], tasks: Sequence[str]) -> tuple[Verdict, ...]:
    """Return the verdicts on what ``scores`` hold; rows of groups that were not scored are left out.

    Similarity is the mean of the shape and the pair score; correlation kept is ``fidelity.correlation``; a task is
    judged by the learner that does best when trained on real rows.  A smoke test shows its value and threshold, and is
    missed if the value lies above it by more than chance explains: for copies, if Fisher's exact test against the
    holdout's rate rejects too; for the DCR share, if the whole 95 % interval lies above.
    """
    whole = by_name(scores)
    made: list[Verdict] = []
    shapes = [whole[name].value for name in ("fidelity.shape", "fidelity.pairs") if name in whole]
    if shapes:
        made.append(_at_least("similarity", sum(shapes) / len(shapes), SIMILARITY))
    if "fidelity.correlation" in whole:
        made.append(_at_least("correlation kept", whole["fidelity.correlation"].value, CORRELATION))
    for task in tasks:
        ratio = task_ratio(scores, task)
        measure = "R2" if any(s.name == "utility.trtr.r2" and s.subject[0] == task for s in scores) else "accuracy"
        made.append(_at_least(f"TSTR / TRTR {measure}: {task}", None if ratio is None else ratio.value, TASK))
    for name, label in (("validity.rules", "rules obeyed"), ("validity.schema", "schema obeyed")):
        if name in whole:
            made.append(_at_least(label, whole[name].value, 1.0))
    for name, label in COPIES.items():
        if name in whole:
            by_chance = not is_copied(whole, name)
            made.append(_at_most(label, whole[name].value, whole[f"{name}.bound"].value, by_chance=by_chance))
    if "privacy.dcr.share" in whole:
        share = whole["privacy.dcr.share"]
        made.append(
            _at_most(
                DCR_LABEL, share.value, DCR_SHARE, by_chance=share.interval is None or share.interval[0] <= DCR_SHARE
            )
        )
    if "privacy.risk" in whole:
        found = whole["privacy.risk"].value
        made.append(Verdict("attack", "privacy risk (strongest attack)", found, "<=", MOST, found <= MOST))
    return tuple(made)


def is_copied(whole: Mapping[str, Score], name: str) -> bool:
    """Return whether more rows are (near) copies than the holdout's rate and chance explain."""
    chance = whole.get(f"{name}.p_value")
    return too_many(name, whole[name].value, whole[f"{name}.bound"].value, None if chance is None else chance.value)


def too_many(name: str, value: float, bound: float, chance: float | None) -> bool:
    """Return whether a share of copies lies above its bound by more than chance explains."""
    return value > bound and (chance is None or chance < CHANCE[name])


def task_ratio(scores: Sequence[Score], task: str) -> Score | None:
    """Return the TSTR / TRTR score of a task by its best learner on real rows, ``None`` without one."""
    ratios = {s.subject[1]: s for s in scores if s.name == "utility.ratio" and s.subject[0] == task}
    real = {
        s.subject[1]: s.value
        for s in scores
        if s.name in {"utility.trtr.accuracy", "utility.trtr.r2"} and s.subject[0] == task and s.subject[1] in ratios
    }
    return ratios[max(real, key=lambda learner: real[learner])] if real else None


def _at_least(name: str, value: float | None, threshold: float) -> Verdict:
    return Verdict("acceptance", name, value, ">=", threshold, value is not None and value >= threshold)


def _at_most(name: str, value: float, threshold: float, *, by_chance: bool) -> Verdict:
    return Verdict("smoke test", name, value, "<=", threshold, value <= threshold or by_chance)
