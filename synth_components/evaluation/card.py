"""The acceptance card: each promise against its threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from synth_components.protocols import Score

Group: TypeAlias = Literal["acceptance", "smoke test"]

SIMILARITY = 0.95
CORRELATION = 0.93
TASK = 0.95
DCR_SHARE = 0.53


@dataclass(frozen=True)
class Verdict:
    """One line of the card.

    Attributes:
        group: ``acceptance``, or ``smoke test`` for the checks of memorisation.
        name: What is promised.
        value: What was found, ``None`` if it could not be scored.
        relation: ``>=`` or ``<=``.
        threshold: What the value is held against.
        passed: Whether it holds; false if it could not be scored.
    """

    group: Group
    name: str
    value: float | None
    relation: Literal[">=", "<="]
    threshold: float
    passed: bool


def by_name(scores: Sequence[Score]) -> dict[str, Score]:
    """Return the scores of the whole table by name."""
    return {one.name: one for one in scores if not one.subject}


def card(scores: Sequence[Score], tasks: Sequence[str]) -> tuple[Verdict, ...]:
    """Return the verdicts on what ``scores`` hold; rows of groups that were not scored are left out.

    Similarity is the mean of the shape and the pair score; correlation kept is ``fidelity.correlation``; a task is
    judged by the learner that does best when trained on real rows.
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
    for name, label in (("privacy.copies", "exact copies"), ("privacy.near_copies", "near copies")):
        if name in whole:
            made.append(_at_most(label, whole[name].value, whole[f"{name}.bound"].value))
    if "privacy.dcr.share" in whole:
        made.append(
            _at_most("closer to train than to holdout (DCR share)", whole["privacy.dcr.share"].value, DCR_SHARE)
        )
    return tuple(made)


def task_ratio(scores: Sequence[Score], task: str) -> Score | None:
    """Return the TSTR / TRTR score of a task by its best learner on real rows, ``None`` if it was not scored."""
    ratios = {s.subject[1]: s for s in scores if s.name == "utility.ratio" and s.subject[0] == task}
    real = {
        s.subject[1]: s.value
        for s in scores
        if s.name in {"utility.trtr.accuracy", "utility.trtr.r2"} and s.subject[0] == task and s.subject[1] in ratios
    }
    return ratios[max(real, key=lambda learner: real[learner])] if real else None


def _at_least(name: str, value: float | None, threshold: float) -> Verdict:
    return Verdict("acceptance", name, value, ">=", threshold, value is not None and value >= threshold)


def _at_most(name: str, value: float, threshold: float) -> Verdict:
    return Verdict("smoke test", name, value, "<=", threshold, value <= threshold)
