"""Can a classifier tell real rows from synthetic ones?  The classifier two-sample test (C2ST).

Source: Lopez-Paz & Oquab 2017, "Revisiting Classifier Two-Sample Tests"; score as in sdmetrics' LogisticDetection.
Differs: scikit-learn's histogram boosting instead of XGBoost; a detector also faces the holdout, unseen in training.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.errors import DataError
from synth_components.evaluation.columns import Coded, coded, design, some_rows
from synth_components.evaluation.floor import auc, resamples, score
from synth_components.evaluation.options import FidelityConfig
from synth_components.protocols import Context, Dataset, Evidence, Floats, Score

Learner = Literal["boosted", "logistic"]

_MOST_CATEGORIES = 250  # histogram boosting tells at most 255 apart
_INDICATORS = 40


@dataclass(frozen=True)
class _Trial:
    """Out-of-fold scores (n,) of one detector, its labels, and the C2ST score of each fold."""

    scores: Floats
    labels: NDArray[np.bool_]
    folds: Floats

    @property
    def value(self) -> float:
        return float(self.folds.mean())


def detection(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: FidelityConfig = FidelityConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score how hard synthetic rows are to detect: 1 indistinguishable, 0 told apart without error.

    The score is ``2 - 2 max(AUC, 0.5)``, the mean over folds.  It is given against train, as is published, and against
    the holdout; both sides of a trial have the same number of rows.  The floor is the detector's score on holdout
    against train.
    """
    view = coded(train, holdout, synthetic)
    scores: list[Score] = []
    rocs: list[pd.DataFrame] = []
    least = 5 * config.detector_folds
    if not view.names or min(len(view.train), len(view.holdout), len(view.synthetic)) < least:
        reason = f"a detector needs a column and {least} rows of each table"
        return Evidence(
            tables={"left_out": pd.DataFrame([{"score": "fidelity.detection", "subject": "", "reason": reason}])}
        )
    learners: tuple[Learner, ...] = ("boosted", "logistic")
    for learner in learners:
        floor = _trial(view, view.train, view.holdout, learner, config, rng)
        for side, real in (("train", view.train), ("holdout", view.holdout)):
            trial = _trial(view, real, view.synthetic, learner, config, rng)
            scores.append(
                score(
                    f"fidelity.detection.{learner}.{side}",
                    trial.value,
                    draws=_resampled(trial, config.replicates, rng),
                    floor=floor.value,
                    ideal=1.0,
                )
            )
            rocs.append(_roc(trial).assign(learner=learner, against=side))
        rocs.append(_roc(floor).assign(learner=learner, against="floor"))
    return Evidence(tuple(scores), curves={"detection.roc": pd.concat(rocs, ignore_index=True)})


def c2st(real: Dataset, drawn: Dataset, *, rng: random.Generator, rows: int = 5_000, folds: int = 3) -> float:
    """Return the score of the boosted detector alone, in [0, 1]; 1 is indistinguishable.

    Both sides have the same number of rows, at most ``rows``.

    Raises:
        DataError: if a side has fewer than 5 rows per fold.
    """
    view = coded(real, real, drawn)
    if not view.names or min(len(view.train), len(view.synthetic)) < 5 * folds:
        raise DataError(f"a detector needs a column and {5 * folds} rows of each table; give more")
    config = FidelityConfig(detector_rows=max(rows, 50), detector_folds=folds)
    import sklearn.ensemble  # noqa: F401 - only what is loaded can be kept to one thread
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):  # on a busy machine threads wait for each other far longer than they work
        return _trial(view, view.train, view.synthetic, "boosted", config, rng).value


def _trial(
    view: Coded, real: Floats, drawn: Floats, learner: Learner, config: FidelityConfig, rng: random.Generator
) -> _Trial:
    from sklearn.model_selection import StratifiedKFold

    size = min(config.detector_rows, len(real), len(drawn))
    rows = np.concatenate([some_rows(real, size, rng), some_rows(drawn, size, rng)])
    labels = np.arange(2 * size) >= size
    features = boosting_features(view, rows) if learner == "boosted" else design(view, rows, max_categories=_INDICATORS)
    scores = np.empty(2 * size)
    made = []
    folds = StratifiedKFold(config.detector_folds, shuffle=True, random_state=int(rng.integers(2**31)))
    for inside, outside in folds.split(features, labels):
        model = _learner(learner, view, seed=int(rng.integers(2**31)))
        fit(model, features[inside], labels[inside])
        scores[outside] = model.predict_proba(features[outside])[:, 1]
        made.append(2 - 2 * max(0.5, auc(scores[outside], labels[outside])))
    return _Trial(scores, labels, np.array(made))


def boosting_features(view: Coded, values: Floats, *, leave_out: str = "") -> Floats:
    """Return rows (n, w) for histogram boosting: numbers, codes of at most 250, null as NaN."""
    kept = [place for place, name in enumerate(view.names) if name != leave_out]
    made = values[:, kept].copy()
    for column, place in enumerate(kept):
        if view.is_category(view.names[place]):
            made[:, column] = np.minimum(made[:, column], _MOST_CATEGORIES)
    return made


def fit(model: Any, features: Floats, goal: NDArray[Any]) -> None:  # noqa: ANN401 - scikit-learn has no types
    """Fit a learner.  Columns of nothing but null become 0 (histogram boosting cannot bin them).

    A linear learner that stops before it has converged is a slightly weaker one, and says nothing about it.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.where(np.isnan(features).all(axis=0), 0.0, features), goal)


def categorical_mask(view: Coded, *, leave_out: str = "") -> list[bool]:
    """Return which of the columns of ``boosting_features`` are categorical."""
    return [view.is_category(name) for name in view.names if name != leave_out]


def _learner(learner: Learner, view: Coded, *, seed: int) -> Any:  # noqa: ANN401 - scikit-learn has no types
    if learner == "boosted":
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(
            categorical_features=categorical_mask(view), early_stopping=False, max_iter=100, random_state=seed
        )
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=300, tol=1e-3)


def _resampled(trial: _Trial, replicates: int, rng: random.Generator) -> Floats:
    """Return 2 - 2 AUC (r,) when the judged rows are resampled; the detectors stay as they are.

    It is not cut off at 1: where the detector guesses, every resample below chance would count as the same 1.
    """
    return np.array(
        [2 - 2 * auc(trial.scores, trial.labels, weights) for weights in resamples(len(trial.labels), replicates, rng)]
    )


def _roc(trial: _Trial, points: int = 60) -> pd.DataFrame:
    order = np.argsort(-trial.scores, kind="stable")
    hits = trial.labels[order]
    true, false = np.cumsum(hits) / hits.sum(), np.cumsum(~hits) / (~hits).sum()
    grid = np.linspace(0, 1, points)
    return pd.DataFrame(
        {
            "false_positive_rate": grid.round(4),
            "true_positive_rate": np.interp(grid, np.r_[0, false], np.r_[0, true]).round(4),
        }
    )
