"""What to change, read off the numbers.

A report does not know its generator: its words name the options of ``tabular.trees``, and say so.  Beside them stand
the changes that ``answers`` lists for a machine, of every generator; where the model is known, ``resolved`` tells which
of them it can take, and to which values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from synth_components.config import Recipe
from synth_components.evaluation.answers import ANSWERS
from synth_components.evaluation.attacks.risk import MOST, Gain, gains
from synth_components.evaluation.card import DCR_SHARE, TASK, by_name, is_copied, task_ratio
from synth_components.evaluation.change import Change
from synth_components.protocols import Score

_MOST = 4  # of one kind
_TIMES = 2.0  # an error this many times its floor is worth a sentence
_SMALL = 0.02  # an error below this is not

_MORE_PRIVATE = (
    "train on more rows, or with tabular.trees raise min_leaf, min_evidence and min_category_count, or lower knots and "
    "correction_trees"
)

_LEAK = 0.05  # a gain below this is not worth a sentence
_REMEDIES: Mapping[str, tuple[str, tuple[Change, ...]]] = {
    "privacy.membership.isolated": (
        "leave rare records out of the training rows or coarsen them, raise min_category_count, or train with "
        "differential privacy (privacy=dp)",
        ANSWERS["rare records"],
    ),
    "privacy.membership": (f"{_MORE_PRIVATE}, or train with differential privacy (privacy=dp)", ANSWERS["privacy"]),
    "privacy.shadow": (f"{_MORE_PRIVATE}, or train with differential privacy (privacy=dp)", ANSWERS["privacy"]),
    "privacy.attribute": (
        "leave the column out or coarsen it before training, raise min_leaf, or train with differential privacy "
        "(privacy=dp)",
        ANSWERS["small groups"],
    ),
    "privacy.singling_out": (
        "raise min_category_count, round numbers, and cut off extremes before training",
        ANSWERS["rare records"],
    ),
    "privacy.linkability": ("coarsen the columns that one source holds, or raise min_leaf", ANSWERS["small groups"]),
    "privacy.reidentification": (
        "coarsen the quasi-identifiers before training, or raise min_leaf",
        ANSWERS["small groups"],
    ),
    "privacy.inversion": (
        "raise min_leaf, or do not publish models that are trained on these rows without a limit to their depth",
        ANSWERS["small groups"],
    ),
}


@dataclass(frozen=True)
class Recommendation:
    """A finding and the change that follows from it.

    Attributes:
        subject: The columns, task or rule concerned.
        finding: The number that says so.
        change: What to do.
        weight: How much it matters, for the order; larger first.
        changes: What of it a machine can do; empty where a person must.
    """

    subject: tuple[str, ...]
    finding: str
    change: str
    weight: float
    changes: tuple[Change, ...] = ()


def recommendations(
    scores: Sequence[Score], tables: Mapping[str, pd.DataFrame], tasks: Sequence[str]
) -> tuple[Recommendation, ...]:
    """Return what the scores suggest, the weightiest first."""
    made = [
        *_privacy(by_name(scores)),
        *_attacks(scores, tables),
        *_validity(scores),
        *_tasks(scores, tasks),
        *_shapes(scores),
        *_pairs(tables.get("fidelity.pairs", pd.DataFrame())),
        *_missing(scores),
        *_coverage(scores),
        *_whole(by_name(scores)),
    ]
    return tuple(sorted(made, key=lambda one: -one.weight))


def resolved(
    advice: Sequence[Recommendation], recipe: Recipe, generator: str, *, loosen: bool = False
) -> tuple[Recommendation, ...]:
    """Return the advice with only those changes that a model's recipe can take, each with its new value.

    Args:
        generator: Name of the recipe's generator.
        loosen: Whether a privacy knob may leave its default for the less private side.
    """
    made = []
    for one in advice:
        found = (change.resolved(recipe, generator, loosen=loosen) for change in one.changes)
        made.append(replace(one, changes=tuple(change for change in found if change is not None)))
    return tuple(made)


def too_few_rows(side: str, rows: int, least: int) -> Recommendation:
    """Return the advice on a table that is too small to be judged."""
    finding = f"the {side} table has {rows} rows, and no overall score follows from fewer than {least}"
    return Recommendation((), finding, f"give {least} rows or more, better thousands", 10.0)


def _shapes(scores: Sequence[Score]) -> list[Recommendation]:
    made = []
    for one in scores:
        error, floor = 1 - one.value, max(1 - one.floor, 1e-4)
        if one.name.startswith("fidelity.marginal.") and error > _SMALL and error > _TIMES * floor:
            remedy = (
                "if rare categories were left out, keep more: a lower min_category_count in profile and generator, a "
                "privacy knob; otherwise train on more rows"
                if one.name.endswith("tv")
                else "check the schema's bounds and places; where knots were lowered, raise them again, a privacy knob"
            )
            finding = f"the shape error of '{one.subject[0]}' is {error:.3f}, {error / floor:.1f} times its floor"
            changes = ANSWERS["a category's shape" if one.name.endswith("tv") else "a number's shape"]
            made.append(Recommendation(one.subject, finding, remedy, error, changes))
    return sorted(made, key=lambda one: -one.weight)[:_MOST]


def _pairs(table: pd.DataFrame) -> list[Recommendation]:
    made = []
    for row in table.to_dict("records"):
        error, floor = 1 - row["score"], max(1 - row["floor"], 1e-4)
        if error > 2 * _SMALL and error > _TIMES * floor:
            pair = (str(row["first"]), str(row["second"]))
            finding = (
                f"the pair '{pair[0]}' and '{pair[1]}' is {error:.3f} off, {error / floor:.1f} times its floor; its "
                f"association is {row['synthetic']:.2f} instead of {row['real']:.2f}"
            )
            change = (
                "train on more rows, or let tabular.trees follow more of what it sees: a lower min_leaf or "
                "min_evidence, both privacy knobs, or more correction_rounds"
            )
            made.append(Recommendation(pair, finding, change, error, ANSWERS["pairs"]))
    return sorted(made, key=lambda one: -one.weight)[:_MOST]


def _missing(scores: Sequence[Score]) -> list[Recommendation]:
    made = []
    for one in scores:
        if one.name.startswith("fidelity.missing") and 1 - one.value > max(_SMALL, _TIMES * (1 - one.floor)):
            what = f"the null share of '{one.subject[0]}'" if one.subject else "which columns are missing together"
            finding = f"{what} is off by {1 - one.value:.3f}"
            change = "use a generator that learns nulls jointly (tabular.trees does), or check that null is not a value"
            made.append(Recommendation(one.subject, finding, change, 1 - one.value, ANSWERS["nulls"]))
    return made[:_MOST]


def _coverage(scores: Sequence[Score]) -> list[Recommendation]:
    made = []
    for one in scores:
        if one.name == "fidelity.coverage" and one.floor - one.value > 0.1:
            finding = (
                f"'{one.subject[0]}' reaches {one.value:.0%} of the common real values; a real sample {one.floor:.0%}"
            )
            change = "draw more rows, lower min_category_count, or condition on the values that are missing"
            made.append(Recommendation(one.subject, finding, change, one.floor - one.value, ANSWERS["coverage"]))
    return made[:_MOST]


def _tasks(scores: Sequence[Score], tasks: Sequence[str]) -> list[Recommendation]:
    made = []
    for task in tasks:
        ratio = task_ratio(scores, task)
        if ratio is None:
            finding = f"the task '{task}' could not be scored, and counts as 0"
            change = "see under left out why, and name a target that real rows predict, or draw more rows that have it"
            made.append(Recommendation((task,), finding, change, 2 + TASK))
        elif ratio.value < TASK:
            finding = f"models of '{task}' trained on synthetic rows reach {ratio.value:.2f} of the real score"
            change = (
                "train on more rows, or with tabular.trees raise correction_trees or correction_rounds, or lower "
                "min_leaf, a privacy knob"
            )
            made.append(Recommendation((task,), finding, change, 1 + TASK - ratio.value, ANSWERS["a task"]))
    return made


def _validity(scores: Sequence[Score]) -> list[Recommendation]:
    made = []
    for one in scores:
        if one.name == "validity.rule" and one.value < 1:
            finding = f"rule '{one.subject[0]}' is broken by {1 - one.value:.2%} of the rows"
            change = "pass it as a constraint with policy repair or reject, so that sampling enforces it"
            made.append(Recommendation(one.subject, finding, change, 2.0))
        elif one.name == "validity.column" and one.value < 1 and one.value < one.floor:
            finding = f"{1 - one.value:.2%} of '{one.subject[0]}' break the schema"
            change = "sample through a Model, which decodes by the schema, or widen the schema"
            made.append(Recommendation(one.subject, finding, change, 1.5))
    return made[: 2 * _MOST]


def _privacy(whole: Mapping[str, Score]) -> list[Recommendation]:
    made = []
    for name, what in (("privacy.copies", "copy"), ("privacy.near_copies", "nearly copy")):
        if name in whole and is_copied(whole, name):
            finding = (
                f"{whole[name].value:.2%} of the rows {what} a training row; the upper bound of a real holdout is "
                f"{whole[f'{name}.bound'].value:.2%}"
            )
            made.append(Recommendation((), finding, _MORE_PRIVATE, 3.0, ANSWERS["privacy"]))
    share = whole.get("privacy.dcr.share")
    if share is not None and share.interval is not None and share.interval[0] > DCR_SHARE:
        finding = f"{share.value:.1%} of the rows lie closer to train than to the holdout; 50 % is chance"
        made.append(Recommendation((), finding, _MORE_PRIVATE, 2.5, ANSWERS["privacy"]))
    return made


def _attacks(scores: Sequence[Score], tables: Mapping[str, pd.DataFrame]) -> list[Recommendation]:
    """Return a mitigation for each attack whose gain chance does not explain, the strongest of each kind."""
    best: dict[str, Gain] = {}
    found = list(gains(scores, tables))
    for one in found:
        if one.low > _LEAK and (one.label not in best or one.low > best[one.label].low):
            best[one.label] = one
    made = []
    for label, one in best.items():
        about = f" of '{one.score.subject[0]}'" if one.score.subject else ""
        finding = (
            f"{label}{about} gains {one.low:.1%} or more ({one.score.name} is {one.score.value:.3f}, floor "
            f"{one.score.floor:.3f})"
        )
        change, changes = next(remedy for start, remedy in _REMEDIES.items() if one.score.name.startswith(start))
        made.append(Recommendation(one.score.subject, finding, change, 2.0 + one.low, changes))
    unclear = [one for one in found if one.low <= MOST < one.high]
    if unclear and not any(one.low > MOST for one in found):
        worst = max(unclear, key=lambda one: one.high)
        finding = f"the rows cannot rule out that {worst.label} gains {worst.high:.0%}"
        made.append(Recommendation((), finding, "give more holdout rows, so that the attacks tell more", 0.6))
    return sorted(made, key=lambda one: -one.weight)[: 2 * _MOST]


def _whole(whole: Mapping[str, Score]) -> list[Recommendation]:
    against = whole.get("fidelity.detection.boosted.holdout")
    if against is None or against.value >= 0.8 * against.floor:
        return []
    finding = f"a boosted detector tells real from synthetic: C2ST {against.value:.2f}, floor {against.floor:.2f}"
    change = "mend the worst columns and pairs first; derived columns and rules that rows break give most away"
    return [Recommendation((), finding, change, 0.5, ANSWERS["detection"])]
