"""Model inversion: does a model trained on synthetic rows give away an input of the people behind them?

The adversary has a model that predicts ``inverted`` and was trained on the synthetic rows.  Of a target they know that
label and all other columns but a secret, try each value of the secret, and take the one that makes the label likeliest,
weighed by how common it is.

Source: Fredrikson et al. 2014, "Privacy in pharmacogenetics", Algorithm 1; Fredrikson, Jha & Ristenpart 2015, Section 4
(white box with counts is left out).
Differs: the model is a forest of whole randomised trees, which leaks more than one that is held back; numbers are
guessed by tenths of the rows; the baseline inverts a model trained on the holdout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy import random

from synth_components.evaluation.attacks.rates import TRIES, places, rates, secrets, targets, tries
from synth_components.evaluation.attacks.trial import NEEDS, left_out, parts
from synth_components.evaluation.columns import Coded, Codes, binned
from synth_components.evaluation.options import PrivacyConfig, UtilityConfig
from synth_components.protocols import Context, Dataset, Evidence, Floats

NAME = "privacy.inversion"
_BINS = 10
_CATEGORIES = 20
_TREES = 20
_MOST_TARGETS = 500
_MOST_SECRETS = 6


def inversion(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: PrivacyConfig = PrivacyConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score how often the inverted model names the right value of a secret; the mean over secrets."""
    label = config.inverted or (config.target if isinstance(config, UtilityConfig) else "")
    if not label:
        return left_out(NAME, "no column was named whose model to invert (inverted, or target)")
    found = parts(train, holdout, synthetic, context=context, rng=rng, config=config)
    if found is None:
        return left_out(NAME, NEEDS)
    (goal,) = places(found.view, (label,), "inverted")
    hidden = [place for place in secrets(found.view, config) if place != goal][:_MOST_SECRETS]
    if not hidden:
        return left_out(NAME, "there is no secret beside the column that is predicted")
    limited = config.model_copy(update={"attack_targets": min(config.attack_targets, _MOST_TARGETS)})
    aimed = [targets(side, limited, rng) for side in (found.members, found.others)]
    members, others, reference, drawn = _in_bins(found.view, [*aimed, found.reference, found.drawn])
    released, own = (_Inverted.of(source, goal, rng) for source in (drawn, reference))
    aims = ((released, members), (released, others), (own, members))
    attack, control, baseline = (
        np.mean([model.guess(rows, place) == rows[:, place] for place in hidden], axis=0) for model, rows in aims
    )
    counted = tries((f"{NAME}.risk", (), attack, control))
    return Evidence(rates(NAME, attack, control, baseline), tables={TRIES: counted})


def _in_bins(view: Coded, sides: list[Floats]) -> list[Codes]:
    """Return rows in the bins of train: tenths of numbers, common categories."""
    pooled = np.concatenate(sides)
    told = Coded(view.kinds, view.train, pooled, pooled[:0], view.labels, view.skipped)
    made = binned(told, bins=_BINS, max_categories=_CATEGORIES).holdout
    return np.split(made, np.cumsum([len(side) for side in sides])[:-1])


@dataclass(frozen=True)
class _Inverted:
    """A model of the label, to be read backwards, and the rows whose shares say what is common."""

    model: Any
    label: int
    rows: Codes

    @classmethod
    def of(cls, rows: Codes, label: int, rng: random.Generator) -> Self:
        from sklearn.ensemble import ExtraTreesClassifier

        model = ExtraTreesClassifier(_TREES, random_state=int(rng.integers(2**31)))
        return cls(model.fit(np.delete(rows, label, axis=1), rows[:, label]), label, rows)

    def guess(self, rows: Codes, secret: int) -> Codes:
        """Return the secret (n,) that makes each row's label likeliest, weighed by how common it is."""
        values, counts = np.unique(self.rows[:, secret], return_counts=True)
        of_class = np.searchsorted(self.model.classes_, rows[:, self.label]).clip(max=len(self.model.classes_) - 1)
        is_known = self.model.classes_[of_class] == rows[:, self.label]
        likelihood = np.empty((len(rows), len(values)))
        for column, value in enumerate(values):
            tried = rows.copy()
            tried[:, secret] = value
            told = self.model.predict_proba(np.delete(tried, self.label, axis=1))
            likelihood[:, column] = np.where(is_known, told[np.arange(len(rows)), of_class], 1.0)
        # A forest of whole trees says 0 of much that is merely rare: the prior decides among such values.
        best: Codes = values[((likelihood + 1e-3) * (counts / len(self.rows))).argmax(axis=1)]
        return best
