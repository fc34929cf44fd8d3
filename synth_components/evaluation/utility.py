"""Does a model trained on synthetic rows predict real ones (TSTR), as well as one trained on real rows (TRTR)?

Source: Esteban, Hyland & Raetsch 2017 (arXiv:1706.02633), Section 4; global utility after
TabPC's protocol.
Differs: scikit-learn's histogram boosting and linear models at fixed settings instead of a tuned XGBoost grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.errors import SchemaError
from synth_components.evaluation.columns import Coded, coded, design, spread
from synth_components.evaluation.detection import boosting_features, categorical_mask, fit
from synth_components.evaluation.floor import auc, resamples, score
from synth_components.evaluation.options import UtilityConfig
from synth_components.protocols import Context, Dataset, Evidence, Floats, Score

Task: TypeAlias = Literal["classification", "regression"]
Learner: TypeAlias = Literal["boosted", "linear"]

_FEW = 10  # a number with at most so many whole values is a class label
_CLASSES = 25
_INDICATORS = 40
_GLOBAL_CLASSES = 8
_SPLIT_FEATURES = 32  # a boosted tree looks at so many features per split, drawn anew; all of a narrower table
_SAMPLES = 5
_SAMPLED = 0.8
MIN_SAMPLED_ROWS = 200
"""Fewest holdout rows of which samples are drawn, for how far a TSTR measure moves from one to another."""

SAMPLED_COLUMNS = ["task", "learner", "classes", "measure", "value", "deviation"]
"""Of the table ``utility.samples``: TSTR measures; a regression has 0 classes, a small holdout null deviations."""

_SKILL = 0.1  # a column that real rows predict no better than this is noise at bounded sizes


@dataclass(frozen=True)
class _Prediction:
    """What one learner says about the holdout: class shares (n, k) or values (n,)."""

    made: Floats
    truth: Floats
    task: Task

    def measures(self, weights: Floats | None = None) -> dict[str, float]:
        mass = np.ones(len(self.truth)) if weights is None else weights
        if self.task == "regression":
            error = float(np.average((self.made - self.truth) ** 2, weights=mass))
            mean = np.average(self.truth, weights=mass)
            spread = float(np.average((self.truth - mean) ** 2, weights=mass))
            made = {"rmse": float(np.sqrt(error))}
            return made | ({"r2": 1 - error / spread} if spread > 0 else {})
        classes = self.made.shape[1]
        chosen = self.made.argmax(axis=1)
        made = {"accuracy": float(np.average(chosen == self.truth, weights=mass))}
        parts, areas = [], []
        for label in range(classes):
            is_label, said = self.truth == label, chosen == label
            if not (mass * is_label).sum():
                continue
            hits = (mass * (is_label & said)).sum()
            parts.append(2 * hits / ((mass * is_label).sum() + (mass * said).sum()))
            if (mass * ~is_label).sum():
                areas.append(auc(self.made[:, label], is_label, mass))
        made["f1"] = float(np.mean(parts)) if parts else 0.0
        return made | ({"auc": float(np.mean(areas))} if areas else {})

    @property
    def num_classes(self) -> int:
        """Return the number of classes, 0 of a regression."""
        return 0 if self.task == "regression" else self.made.shape[1]

    def deviations(self, rng: random.Generator) -> dict[str, float]:
        """Return the standard deviation of each measure over 5 samples of 80 % of the holdout; none of a small one.

        Source: the documentation of Amazon SageMaker Model Monitor, "Model quality metrics".
        """
        n = len(self.truth)
        if n < MIN_SAMPLED_ROWS:
            return {}
        taken = (rng.permutation(n) < round(_SAMPLED * n) for _ in range(_SAMPLES))
        found = [self.measures(rows.astype(np.float64)) for rows in taken]
        return {
            measure: float(np.std([one[measure] for one in found], ddof=1))
            for measure in found[0]
            if all(measure in one for one in found)
        }


def tasks(context: Context, config: UtilityConfig) -> dict[str, str]:
    """Return every named task: name to target column."""
    single = context.target or config.target
    return ({single: single} if single else {}) | dict(config.tasks)


def utility(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: UtilityConfig = UtilityConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score TSTR, TRTR and TSTR with augmentation of every task, by a boosted and a linear learner.

    All predict the holdout.  The floor of TSTR is TRTR.  ``utility.ratio`` is TSTR over TRTR accuracy (classification)
    or R2 (regression); ``utility.gain`` what real and synthetic rows together add over real rows alone.  The curve
    ``utility.roc`` is that of targets of two classes.

    Raises:
        SchemaError: if a target is not a column that is modelled.
    """
    named = tasks(context, config)
    limit = config.utility_rows
    scores: list[Score] = []
    samples: list[tuple[str | int | float | None, ...]] = []
    left_out: list[dict[str, str]] = []
    rocs: list[pd.DataFrame] = []
    if not named:
        return Evidence()
    (apart,) = rng.spawn(1)  # so that what is drawn for the samples moves no score
    view = coded(train, holdout, synthetic).capped(train=limit, holdout=limit, synthetic=limit, rng=rng)
    for name, target in named.items():
        if target not in view.names:
            raise SchemaError(
                f"the target '{target}' of task '{name}' is not a numeric, categorical, boolean or datetime column of "
                f"all three tables; choose one of {', '.join(view.names)}",
                column=target,
            )
        asked = context.task or config.task
        task = _task(view, target) if asked == "auto" or name in config.tasks else asked
        made, told, drawn, reason = _scores(
            view, name, target, "regression" if task == "regression" else "classification", config, rng, apart
        )
        scores.extend(made)
        samples.extend(told)
        rocs.extend(drawn)
        if reason:
            left_out.append({"score": "utility", "subject": name, "reason": reason})
    table = pd.DataFrame(
        [(s.subject[0], s.subject[1], s.name.removeprefix("utility."), s.value, s.floor) for s in scores],
        columns=["task", "learner", "measure", "value", "floor"],
    )
    tables = {"utility": table, "utility.samples": pd.DataFrame(samples, columns=SAMPLED_COLUMNS)}
    curves = {"utility.roc": pd.concat(rocs, ignore_index=True)} if rocs else {}
    left = {"left_out": pd.DataFrame(left_out)} if left_out else {}
    return Evidence(tuple(scores), curves=curves, tables=tables | left)


def global_utility(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: UtilityConfig = UtilityConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score every column as target in turn: the skill synthetic rows teach over that of real rows.

    Skill is accuracy above that of the commonest class, over what is left to gain, or R2.  Columns that real rows do
    not predict are left out.
    """
    if not config.global_utility:
        return Evidence()
    limit = config.global_rows
    view = coded(train, holdout, synthetic).capped(train=limit, holdout=limit, synthetic=limit, rng=rng)
    chosen = spread(len(view.names), config.global_columns)
    rows: list[dict[str, Any]] = []
    left_out: list[dict[str, str]] = []
    if len(chosen) < len(view.names):
        reason = (
            f"{len(chosen)} of {len(view.names)} columns, evenly spread, are predicted; raise global_columns for more"
        )
        left_out.append({"score": "utility.global", "subject": "", "reason": reason})
    for place in chosen:
        name = view.names[place]
        real, drawn = _skills(view, name, rng)
        if real is None or drawn is None or real < _SKILL:
            reason = "real rows do not predict this column" if real is not None else "too few values to learn from"
            left_out.append({"score": "utility.global", "subject": name, "reason": reason})
            continue
        rows.append({"column": name, "real": real, "synthetic": drawn, "ratio": float(np.clip(drawn / real, 0.0, 1.0))})
    table = pd.DataFrame(rows, columns=["column", "real", "synthetic", "ratio"])
    tables = {"utility.global": table.sort_values("ratio", kind="stable", ignore_index=True)}
    if left_out:
        tables["left_out"] = pd.DataFrame(left_out)
    if not rows:
        return Evidence(tables=tables)
    ratios = table["ratio"].to_numpy(dtype=np.float64)
    draws = np.array([np.average(ratios, weights=w) for w in resamples(len(ratios), config.replicates, rng)])
    return Evidence((score("utility.global", float(ratios.mean()), draws=draws, floor=1.0, ideal=1.0),), tables=tables)


def _scores(
    view: Coded,
    name: str,
    target: str,
    task: Task,
    config: UtilityConfig,
    rng: random.Generator,
    apart: random.Generator,
) -> tuple[list[Score], list[tuple[str | int | float | None, ...]], list[pd.DataFrame], str]:
    sides = [_labelled(view, side, target) for side in (view.train, view.holdout, view.synthetic)]
    classes = _common(sides[0], view.names.index(target)) if task == "classification" else np.empty(0)
    if task == "classification":
        if len(classes) < 2:
            return [], [], [], "the real target has fewer than two classes"
        sides = [side[np.isin(side[:, view.names.index(target)], classes)] for side in sides]
    if min(len(side) for side in sides) < 2:
        return [], [], [], "a table has fewer than two rows with a target"
    real, held, drawn = sides
    best = {"rmse": 0.0}
    scores: list[Score] = []
    samples: list[tuple[str | int | float | None, ...]] = []
    rocs: list[pd.DataFrame] = []
    learners: tuple[Learner, ...] = ("boosted", "linear")
    for learner in learners:
        seed = int(rng.integers(2**31))
        said = {
            kind: _predict(view, rows, held, target, task, classes, learner, seed=seed)
            for kind, rows in (("trtr", real), ("tstr", drawn), ("augmented", np.concatenate([real, drawn])))
        }
        points = {kind: prediction.measures() for kind, prediction in said.items()}
        if len(classes) == 2 and len(set(said["tstr"].truth)) == 2:
            rocs += [_roc(said[kind]).assign(task=name, learner=learner, kind=kind) for kind in ("tstr", "trtr")]
        resampled: dict[str, list[dict[str, float]]] = {kind: [] for kind in said}
        for weights in resamples(len(held), config.replicates, rng):
            for kind, prediction in said.items():
                resampled[kind].append(prediction.measures(weights))
        for kind, measures in points.items():
            for measure, value in measures.items():
                draws = np.array([one[measure] for one in resampled[kind] if measure in one])
                scores.append(
                    score(
                        f"utility.{kind}.{measure}",
                        value,
                        draws=draws,
                        floor=points["trtr"].get(measure, value),
                        ideal=best.get(measure, 1.0),
                        subject=(name, learner),
                        low=-np.inf if measure == "r2" else 0.0,
                        high=np.inf if measure == "rmse" else 1.0,
                    )
                )
        deviations = said["tstr"].deviations(apart)
        classes_told = said["tstr"].num_classes
        samples += [
            (name, learner, classes_told, measure, value, deviations.get(measure))
            for measure, value in points["tstr"].items()
        ]
        key = "r2" if task == "regression" else "accuracy"
        base = points["trtr"].get(key, 0.0)
        if base > 0 and key in points["tstr"]:
            pairs = [
                (one[key], other[key], both[key])
                for one, other, both in zip(resampled["trtr"], resampled["tstr"], resampled["augmented"], strict=True)
                if one.get(key, 0.0) > 0
            ]
            ratios = np.array([max(0.0, tstr / trtr) for trtr, tstr, _ in pairs])
            gains = np.array([both - trtr for trtr, _, both in pairs])
            ratio = max(0.0, points["tstr"][key] / base)
            scores.append(
                score("utility.ratio", ratio, draws=ratios, floor=1.0, ideal=1.0, subject=(name, learner), high=np.inf)
            )
            gain = points["augmented"][key] - base
            scores.append(
                score(
                    "utility.gain",
                    gain,
                    draws=gains,
                    floor=0.0,
                    ideal=0.0,
                    subject=(name, learner),
                    low=-np.inf,
                    high=1.0,
                )
            )
    is_learnt = any(one.name == "utility.ratio" for one in scores)
    return scores, samples, rocs, "" if is_learnt else "real rows do not predict the target"


def _roc(prediction: _Prediction, points: int = 60) -> pd.DataFrame:
    """Return the ROC of the second of two classes: at most so many thresholds, from high to low, with both rates."""
    share, is_label = prediction.made[:, 1], prediction.truth == 1
    cuts = np.unique(share)[::-1]
    cuts = cuts[np.unique(np.linspace(0, len(cuts) - 1, points).astype(int))]
    above = share[None, :] >= cuts[:, None]  # (thresholds, n)
    true, false = (above & is_label).sum(axis=1) / is_label.sum(), (above & ~is_label).sum(axis=1) / (~is_label).sum()
    return pd.DataFrame(
        {
            "threshold": cuts.round(4),
            "false_positive_rate": false.round(4),
            "true_positive_rate": true.round(4),
        }
    )


def _predict(
    view: Coded,
    rows: Floats,
    held: Floats,
    target: str,
    task: Task,
    classes: Floats,
    learner: Learner,
    *,
    seed: int,
    max_iter: int = 100,
) -> _Prediction:
    place = view.names.index(target)
    goal, truth = rows[:, place], held[:, place]
    if learner == "boosted":
        features, judged = (boosting_features(view, side, leave_out=target) for side in (rows, held))
        if features.shape[1] == 0:
            features, judged = np.zeros((len(rows), 1)), np.zeros((len(held), 1))
    else:
        features, judged = (design(view, side, max_categories=_INDICATORS, leave_out=target) for side in (rows, held))
    if task == "regression":
        model = _regressor(learner, view, target, seed=seed, max_iter=max_iter)
        fit(model, features, goal)
        return _Prediction(np.asarray(model.predict(judged), dtype=np.float64), truth, task)
    labels, answers = (np.searchsorted(classes, side).astype(np.int64) for side in (goal, truth))
    made = np.zeros((len(held), len(classes)))
    seen = np.unique(labels)
    if len(seen) == 1:
        made[:, seen[0]] = 1.0
    else:
        model = _classifier(learner, view, target, seed=seed, max_iter=max_iter)
        fit(model, features, labels)
        made[:, model.classes_] = model.predict_proba(judged)
    return _Prediction(made, answers.astype(np.float64), task)


def _mask(view: Coded, target: str) -> list[bool] | None:
    return categorical_mask(view, leave_out=target) or None


def _share_per_split(view: Coded) -> float:
    """Return the share of features that a split considers, so that a tree of a wide table costs no more."""
    return min(1.0, _SPLIT_FEATURES / max(len(view.names) - 1, 1))


def _classifier(learner: Learner, view: Coded, target: str, *, seed: int, max_iter: int) -> Any:  # noqa: ANN401
    if learner == "boosted":
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(
            categorical_features=_mask(view, target),
            early_stopping=False,
            max_features=_share_per_split(view),
            max_iter=max_iter,
            random_state=seed,
        )
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=300, tol=1e-3)


def _regressor(learner: Learner, view: Coded, target: str, *, seed: int, max_iter: int) -> Any:  # noqa: ANN401
    if learner == "boosted":
        from sklearn.ensemble import HistGradientBoostingRegressor

        return HistGradientBoostingRegressor(
            categorical_features=_mask(view, target),
            early_stopping=False,
            max_features=_share_per_split(view),
            max_iter=max_iter,
            random_state=seed,
        )
    from sklearn.linear_model import Ridge

    return Ridge(alpha=1.0)


def _labelled(view: Coded, rows: Floats, target: str) -> Floats:
    return rows[~np.isnan(rows[:, view.names.index(target)])]


def _common(rows: Floats, place: int, most: int = _CLASSES) -> Floats:
    values, counts = np.unique(rows[:, place], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    made: Floats = np.sort(values[order])
    return made


def _task(view: Coded, target: str) -> Task:
    if view.is_category(target):
        return "classification"
    values = _labelled(view, view.train, target)[:, view.names.index(target)]
    few = np.unique(values)
    return "classification" if len(few) <= _FEW and bool(np.all(few == np.rint(few))) else "regression"


def _skills(view: Coded, target: str, rng: random.Generator) -> tuple[float | None, float | None]:
    """Return the skill of real and of synthetic rows at predicting one column of the holdout."""
    place = view.names.index(target)
    task = _task(view, target)
    real, held, drawn = (_labelled(view, side, target) for side in (view.train, view.holdout, view.synthetic))
    classes = np.empty(0)
    if task == "classification":
        classes = _common(real, place, _GLOBAL_CLASSES)
        real, held, drawn = (side[np.isin(side[:, place], classes)] for side in (real, held, drawn))
        if len(classes) < 2:
            return None, None
    least = 20
    if len(real) < least or len(held) < least:
        return None, None
    if len(drawn) < 2:
        return _skill(_predict(view, real, held, target, task, classes, "boosted", seed=0, max_iter=25)), 0.0
    seed = int(rng.integers(2**31))
    return (
        _skill(_predict(view, real, held, target, task, classes, "boosted", seed=seed, max_iter=25)),
        _skill(_predict(view, drawn, held, target, task, classes, "boosted", seed=seed, max_iter=25)),
    )


def _skill(prediction: _Prediction) -> float | None:
    measures = prediction.measures()
    if prediction.task == "regression":
        return measures.get("r2")
    truth: NDArray[np.int64] = prediction.truth.astype(np.int64)
    base = float(np.bincount(truth).max() / len(truth))
    return (measures["accuracy"] - base) / (1 - base) if base < 1 else None
