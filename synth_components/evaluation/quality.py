"""One overall score in [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synth_components.evaluation.card import by_name, is_copied, task_ratio
from synth_components.protocols import Score

WEIGHTS = {"fidelity": 0.4, "utility": 0.3, "privacy": 0.2, "validity": 0.1}

_FIDELITY = (
    "fidelity.shape",
    "fidelity.pairs",
    "fidelity.correlation",
    "fidelity.alpha_precision",
    "fidelity.beta_recall",
)

FORMULA = (
    "Weighted geometric mean of the parts that were scored: fidelity 0.4, utility 0.3, privacy 0.2, validity 0.1. "
    "Fidelity is the mean of shape, pairs, correlation, detection (the worse of boosted C2ST against train and against "
    "holdout), alpha-precision and beta-recall, each over its floor, at most 1. Utility is the mean of each task's "
    "TSTR/TRTR, 0 for a task that could not be scored, and of global utility, at most 1. Privacy is the least of: "
    "copies and near copies (1 up to the upper 95 % bound of the holdout's own rate, then bound over rate), "
    "1 - 2 max(0, DCR share - 0.5) and, where attacks were tried, 1 - privacy risk. Validity is the mean share of rows "
    "that obey schema and rules. A table of fewer than 30 rows is not judged."
)

MIN_ROWS = 30
"""Fewest rows of each table from which an overall score follows: the floors of fewer rows let everything pass."""


@dataclass(frozen=True)
class Quality:
    """The overall score.

    Attributes:
        value: In [0, 1]; ``None`` if nothing could be scored, or a table has fewer than ``MIN_ROWS`` rows.
        parts: Score of each group, in [0, 1].
        threshold: ``min_quality``.
        passed: Whether the value reaches the threshold.
        formula: How it was made.
    """

    value: float | None
    parts: Mapping[str, float]
    threshold: float
    passed: bool
    formula: str = FORMULA


def quality(scores: Sequence[Score], tasks: Sequence[str], *, threshold: float) -> Quality:
    """Return the overall score of what was scored; a named task that could not be scored counts as 0."""
    whole = by_name(scores)
    parts: dict[str, float] = {}
    fidelity = [_relative(whole[name]) for name in _FIDELITY if name in whole]
    detectors = [_relative(s) for name, s in whole.items() if name.startswith("fidelity.detection.boosted")]
    if detectors:
        fidelity.append(min(detectors))
    ratios = [task_ratio(scores, task) for task in tasks]
    utility = [0.0 if ratio is None else min(1.0, ratio.value) for ratio in ratios]
    if "utility.global" in whole:
        utility.append(whole["utility.global"].value)
    privacy = [
        whole[f"{name}.bound"].value / whole[name].value if is_copied(whole, name) else 1.0
        for name in ("privacy.copies", "privacy.near_copies")
        if name in whole
    ]
    if "privacy.dcr.share" in whole:
        privacy.append(1 - 2 * max(0.0, whole["privacy.dcr.share"].value - 0.5))
    if "privacy.risk" in whole:
        privacy.append(1 - whole["privacy.risk"].value)
    validity = [whole[name].value for name in ("validity.schema", "validity.rules") if name in whole]
    for group, values in (("fidelity", fidelity), ("utility", utility), ("validity", validity)):
        if values:
            parts[group] = float(np.mean(values))
    if privacy:
        parts["privacy"] = min(privacy)
    parts = {group: parts[group] for group in WEIGHTS if group in parts}
    if not parts:
        return unscored(threshold)
    total = sum(WEIGHTS[group] for group in parts)
    value = float(np.prod([part ** (WEIGHTS[group] / total) for group, part in parts.items()]))
    return Quality(value, parts, threshold, passed=value >= threshold)


def unscored(threshold: float) -> Quality:
    """Return the quality of what cannot be judged: it passes only where no threshold was set."""
    return Quality(None, {}, threshold, passed=threshold <= 0)


def _relative(one: Score) -> float:
    return float(np.clip(one.value / one.floor, 0.0, 1.0)) if one.floor > 0 else 1.0
