"""The published scores of tabular synthesis, written anew: the referee of the benchmarks.

Nothing of ``synth_components`` is imported, so that this file can check it; numpy, scipy, scikit-learn and xgboost do
the work. A function takes plain frames with the same columns and dtypes (``datasets.Table.conform``) and the names of
the categorical columns. Errors are percentages, 0 best; detection scores are 1 where real and synthetic rows cannot
be told apart and 0 where they always can. Everything is seeded; pairwise distances are taken ``CHUNK`` rows at a time.

Sources: sdmetrics 0.11.1 (detection, shape, pair trends), amazon-science/tabsyn @cb5ac0f (utility, DCR),
april-tools/tabpc @3f92668 (XGBoost detection, weighted NMI), Alaa et al. 2022 (alpha-precision, beta-recall).
Each function says under "Differs" where it leaves them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import beta
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler

Floats = NDArray[np.float64]
Learner = Literal["xgboost", "logistic"]
Bins = Literal["own", "shared"]
Task = Literal["classification", "regression"]
THREADS = 2
CHUNK = 4_000
_BLOCK = 32  # rows per step of an L1 distance: three (32, n) arrays stay in the processor's cache


def c2st(real: pd.DataFrame, synthetic: pd.DataFrame, *, learner: Learner, seed: int, threads: int = THREADS) -> float:
    """Return ``1 - mean(2 * max(.5, AUC) - 1)`` of a detector over three folds; 1 = indistinguishable.

    Source: sdmetrics 0.11.1 ``LogisticDetection``; the XGBoost variant of tabpc (100 trees of depth 6, default rate).
        Columns that are numbers stay numbers, strings are one-hot encoded, nulls take the real mean.
    Differs: the folds are seeded (published: not); a category that is absent from the real rows becomes an all-zero
        code (published: an error); XGBoost gets no imputer and no robust scaling, which do not change its trees.
    """
    x = np.concatenate(detection_features(real, synthetic))  # (n_real + n_synthetic, w)
    y = np.r_[np.ones(len(real)), np.zeros(len(synthetic))]
    advantages = []
    for train, test in StratifiedKFold(3, shuffle=True, random_state=seed).split(x, y):
        if learner == "xgboost":
            from xgboost import XGBClassifier

            model = XGBClassifier(eval_metric="logloss", random_state=0, nthread=threads)
        else:
            model = make_pipeline(SimpleImputer(), RobustScaler(), LogisticRegression(solver="lbfgs"))
        model.fit(x[train], y[train])
        auc = roc_auc_score(y[test], model.predict_proba(x[test])[:, 1])
        advantages.append(2 * max(0.5, auc) - 1)
    return float(1 - np.mean(advantages))


def c2st_holdout(
    holdout: pd.DataFrame, synthetic: pd.DataFrame, *, learner: Learner, seed: int, threads: int = THREADS
) -> float:
    """Return the mean detection score of the holdout against as many synthetic rows, over 1 to 5 disjoint draws.

    Small holdouts get more draws: a single score of 1,233 rows a side has a deviation of about .02.
    """
    n = min(len(holdout), len(synthetic))
    draws = int(np.clip(10_000 // n, 1, min(5, len(synthetic) // n)))
    order = np.random.default_rng(seed).permutation(len(synthetic))[: draws * n].reshape(draws, n)
    real = holdout.sample(n, random_state=seed) if n < len(holdout) else holdout
    scores = [
        c2st(real, synthetic.iloc[rows], learner=learner, seed=seed + i, threads=threads)
        for i, rows in enumerate(order)
    ]
    return float(np.mean(scores))


def detection_features(real: pd.DataFrame, synthetic: pd.DataFrame) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return both tables as the detector sees them: numbers as they are, strings one-hot by the real categories."""
    parts: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
    for column in real:
        if pd.api.types.is_numeric_dtype(real[column]):
            mean = float(real[column].mean())
            for frame, part in zip((real, synthetic), parts, strict=True):
                numbers = frame[column].astype(float).replace([np.inf, -np.inf], np.nan).fillna(mean)
                part.append(numbers.to_numpy(np.float32)[:, None])
        else:
            categories = pd.Index(sorted(real[column].astype(str).unique()))
            for frame, part in zip((real, synthetic), parts, strict=True):
                part.append(_hot(frame[column], categories))
    return np.hstack(parts[0]), np.hstack(parts[1])


def shape_error(real: pd.DataFrame, synthetic: pd.DataFrame, categorical: Sequence[str]) -> float:
    """Return the mean over columns of the KS statistic (numbers) or total variation (categories), in percent."""
    errors = [_total_variation(real[c], synthetic[c]) if c in categorical else _ks(real[c], synthetic[c]) for c in real]
    return 100 * float(np.mean(errors))


def pair_error(real: pd.DataFrame, synthetic: pd.DataFrame, categorical: Sequence[str], *, bins: Bins) -> float:
    """Return the mean pair error in percent: Pearson's for two numbers, total variation of the joint table otherwise.

    A number that meets a category is cut into ten equal bins. ``own`` takes the edges of real and synthetic rows from
    each of them, as published ("Trend"); that rewards a table for repeating the training minimum and maximum.
    ``shared`` takes them from the real rows for both, the outer bins open.

    Source: sdmetrics 0.11.1 ``QualityReport``, property "Column Pair Trends" (with ``bins="own"``).
    """
    codes = _codes(real, synthetic, categorical, bins=bins)
    errors = []
    for a, b in combinations(real.columns, 2):
        if a not in categorical and b not in categorical:
            errors.append(abs(_pearson(real[a], real[b]) - _pearson(synthetic[a], synthetic[b])) / 2)
        else:
            p, q = _joint(codes[a], codes[b])
            errors.append(float(np.abs(p - q).sum()) / 2)
    return 100 * float(np.nanmean(errors))


def wnmi_error(real: pd.DataFrame, synthetic: pd.DataFrame, categorical: Sequence[str]) -> float:
    """Return the mean error of normalised mutual information over pairs, weighted by the pair's information.

    Numbers with more than eleven values are cut into ten equal bins with edges of the real rows; a value outside is a
    bin of its own. Source: tabpc ``MI_l1``, ``nmi_l1_weighted``.
    """
    codes = _codes(real, synthetic, categorical, bins="information")
    errors, weights = [], []
    for a, b in combinations(real.columns, 2):
        r, s = map(_nmi, _joint(codes[a], codes[b]))
        errors.append(abs(r - s))
        weights.append(r + s)
    return float(np.average(errors, weights=weights)) if sum(weights) else 0.0


@dataclass(frozen=True)
class Utility:
    """AUC (classification) or RMSE of ``log(clip(y, 1, 20000))`` (regression) on the real test rows.

    ``score`` belongs to the setting that was best on a ninth of the model's own training rows, ``best`` is the best
    that any setting reached, ``published`` the score as the published code would have chosen and scaled.
    """

    score: float
    best: float
    published: float


def utility(
    train: pd.DataFrame,
    test: pd.DataFrame,
    categorical: Sequence[str],
    target: str,
    task: Task,
    *,
    seed: int,
    fast: bool = False,
    threads: int = THREADS,
) -> Utility:
    """Return how well XGBoost, trained on ``train``, predicts the real ``test`` (TSTR; the ceiling with real rows).

    The grid has 36 settings: trees 10, 50, 100; minimal child weight 1, 10; depth 5, 10, 20; gamma 0, 1. A boosted
    model of 100 trees holds those of 10 and 50, so twelve fits serve all 36. ``fast`` keeps depth 5 and 10, gamma 0.

    As published means two more things. The regression target is logged for training and test but not for validation,
    so the choice compares two scales. All numbers are logged, from .01 up, if the *first* of them lies in [0, inf) and
    reaches 1,000 (of our tables: Default, whose negative bills become one value); else they are scaled, which trees
    do not see.

    Source: TabSyn ``eval/mle/mle.py``.
    Differs: the validation rows are drawn with a seed; squared error under its present name; histogram trees.
    """
    features = [c for c in train if c != target]
    raw, rows = train[target], np.random.default_rng(seed).permutation(len(train))
    valid, fit = rows[: len(rows) // 9], rows[len(rows) // 9 :]
    if task == "classification" and min(raw.iloc[part].nunique() for part in (valid, fit)) < 2:
        return Utility(0.5, 0.5, 0.5)
    y, y_test = _targets(raw, test[target], task)
    x, x_test = _features(train[features], test[features], categorical)
    predicted = _grid((x[fit], y[fit]), (x[valid], x_test), task, fast=fast, threads=threads)
    sign = 1 if task == "classification" else -1
    on_test = [_score(task, y_test, p[1]) for p in predicted]
    on_valid = [_score(task, y[valid], p[0]) for p in predicted]
    score = on_test[int(np.argmax(np.multiply(sign, on_valid)))]
    published = score
    numbers = [c for c in features if c not in categorical]
    if task == "regression":
        mixed = [_score(task, raw.to_numpy(float)[valid], p[0]) for p in predicted]
        published = on_test[int(np.argmin(mixed))]
    elif _is_logged(train[numbers]):
        logged = [_logged(frame[features], numbers) for frame in (train, test)]
        x, x_test = _features(logged[0], logged[1], categorical)
        predicted = _grid((x[fit], y[fit]), (x[valid], x_test), task, fast=fast, threads=threads)
        published = _score(task, y_test, max(predicted, key=lambda p: _score(task, y[valid], p[0]))[1])
    return Utility(score, sign * max(sign * value for value in on_test), published)


class MixedL1:
    """L1 distance of rows of mixed type: numbers by their range in ``reference``, 2 for each category that differs.

    The encoding of the published DCR. A null is the lowest number and differs by 1 more from every other.
    """

    def __init__(self, reference: pd.DataFrame, categorical: Sequence[str]) -> None:
        """Take ranges and categories from ``reference``."""
        self._categories = {c: pd.Index(reference[c].astype(str).unique()) for c in reference if c in categorical}
        numbers = reference[[c for c in reference if c not in categorical]].astype(float)
        self._low = numbers.min()
        self._range = (numbers.max() - numbers.min()).replace(0, 1)
        self._nullable = [c for c in numbers if numbers[c].isna().any()]

    def encode(self, frame: pd.DataFrame) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return numbers (n, p) in units of their range, and categories one-hot (n, q)."""
        numbers = (frame[list(self._range.index)].astype(float) - self._low) / self._range
        numbers = numbers.assign(**{f"{c} is null": numbers[c].isna().astype(float) for c in self._nullable}).fillna(0)
        hot = [_hot(frame[c], categories) for c, categories in self._categories.items()]
        return numbers.to_numpy(np.float32), np.hstack(hot) if hot else np.zeros((len(frame), 0), np.float32)

    def nearest(self, source: pd.DataFrame, target: pd.DataFrame, k: int = 1) -> NDArray[np.float32]:
        """Return the distances of each source row to its ``k`` nearest target rows, ascending: (n, k).

        A category that the reference lacks differs from every other (published: an error).
        """
        (a, hot_a), (b, hot_b) = self.encode(source), self.encode(target)
        columns = np.ascontiguousarray(b.T)  # (p, m)
        n_categories = len(self._categories)
        out = np.empty((len(a), k), np.float32)
        for start in range(0, len(a), CHUNK):
            stop = min(start + CHUNK, len(a))
            for low in range(0, len(b), CHUNK * 2):
                high = min(low + CHUNK * 2, len(b))
                distance = 2 * (n_categories - hot_a[start:stop] @ hot_b[low:high].T)  # (chunk, 2 chunk)
                for row in range(0, stop - start, _BLOCK):
                    _add_l1(
                        distance[row : row + _BLOCK],
                        a[start + row : min(start + row + _BLOCK, stop)],
                        columns[:, low:high],
                    )
                part = np.partition(distance, k - 1, axis=1)[:, :k] if distance.shape[1] > k else distance
                out[start:stop] = np.sort(part if low == 0 else np.hstack([out[start:stop], part]), axis=1)[:, :k]
        return out


def dcr_share(
    synthetic: pd.DataFrame, members: pd.DataFrame, others: pd.DataFrame, categorical: Sequence[str]
) -> dict[str, float]:
    """Return the share of synthetic rows that lie nearer to the rows fitted than to as many rows never seen; ideal .5.

    The generator must have been fitted on ``members`` alone (50/50 re-split). ``share`` counts a tie as one half;
    ``share_published`` counts it as not nearer, which flatters tables with many equal rows.

    Source: TabSyn ``eval/eval_dcr.py``, L1 on numbers by range and one-hot categories.
    """
    space = MixedL1(pd.concat([members, others]), categorical)
    near, far = (space.nearest(synthetic, rows)[:, 0] for rows in (members, others))
    tie = np.isclose(near, far, rtol=1e-5, atol=1e-6)
    nearer = (near < far) & ~tie
    return {
        "share": float((nearer + tie / 2).mean()),
        "share_published": float(nearer.mean()),
        "ties": float(tie.mean()),
    }


def copies(synthetic: pd.DataFrame, train: pd.DataFrame, holdout: pd.DataFrame) -> dict[str, float]:
    """Return the share of synthetic rows that equal a training row, and the bound that the holdout's own rate sets.

    ``bound`` is the one-sided upper 95 % Clopper-Pearson bound of the holdout's rate. Numbers are equal to 9 digits.
    """
    known = _row_keys(train)
    seen = np.isin(_row_keys(holdout), known)
    hits, n = int(seen.sum()), len(seen)
    bound = 1.0 if hits == n else float(beta.ppf(0.95, hits + 1, n - hits))
    return {"rate": float(np.isin(_row_keys(synthetic), known).mean()), "holdout_rate": hits / n, "bound": bound}


def membership(
    members: pd.DataFrame,
    others: pd.DataFrame,
    reference: pd.DataFrame,
    synthetic: pd.DataFrame,
    categorical: Sequence[str],
    *,
    k: int = 3,
) -> dict[str, float]:
    """Return how well a distance ratio tells rows that were fitted from rows that were not; AUC .5 = not at all.

    A row's score is the mean of ``log(d + .001)`` over its ``k`` nearest reference rows, less the same over its ``k``
    nearest synthetic rows. The generator must have been fitted on ``members`` alone; ``reference`` is a third part,
    as large. ``auc_isolated`` takes the tenth of members and others that lie farthest from the reference,
    ``tpr_at_1`` is the share of members found where 1 % of the others are taken for members.

    A smoke test of one attack, never a guarantee: a release that passes may yield to a better one.
    """
    space = MixedL1(pd.concat([members, others, reference]), categorical)
    scores, isolation = [], []
    for rows in (members, others):
        far, near = (np.log(space.nearest(rows, to, k) + 1e-3).mean(axis=1) for to in (reference, synthetic))
        scores.append(far - near)
        isolation.append(far)
    y = np.r_[np.ones(len(members)), np.zeros(len(others))]
    score, apart = np.concatenate(scores), np.concatenate(isolation)
    isolated = apart >= np.quantile(apart, 0.9)
    threshold = np.quantile(scores[1], 0.99)
    return {
        "auc": float(roc_auc_score(y, score)),
        "auc_isolated": float(roc_auc_score(y[isolated], score[isolated])),
        "tpr_at_1": float((scores[0] > threshold).mean()),
    }


def thirds(frame: pd.DataFrame, seed: int, max_rows: int = 8_000) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return members, others and reference: three disjoint draws of equal size, at most ``max_rows`` each."""
    n = min(len(frame) // 3, max_rows)
    order = np.random.default_rng([seed, 3]).permutation(len(frame))[: 3 * n].reshape(3, n)
    a, b, c = (frame.iloc[rows].reset_index(drop=True) for rows in order)
    return a, b, c


def halves(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return two disjoint random halves of equal size."""
    n = len(frame) // 2
    order = np.random.default_rng([seed, 2]).permutation(len(frame))
    return frame.iloc[order[:n]].reset_index(drop=True), frame.iloc[order[n : 2 * n]].reset_index(drop=True)


def alpha_precision_beta_recall(
    real: pd.DataFrame, synthetic: pd.DataFrame, categorical: Sequence[str], *, seed: int, max_rows: int = 5_000
) -> tuple[float, float]:
    """Return naive alpha-precision and beta-recall on raw numbers and one-hot categories; real rows reach 1 and .5.

    Source: Alaa et al. 2022, the ``naive`` variants of synthcity's ``AlphaPrecision``, as TabSyn and tabpc use them.
    Differs: at most ``max_rows`` rows a side, drawn with a seed (published: all).
    """
    rng = np.random.default_rng(seed)
    parts = []
    n = min(len(real), len(synthetic), max_rows)
    for frame in (real, synthetic):
        rows = frame.iloc[rng.permutation(len(frame))[:n]]
        hot = [_hot(rows[c], pd.Index(real[c].astype(str).unique())) for c in categorical]
        numbers = rows[[c for c in real if c not in categorical]].to_numpy(float)
        parts.append(np.hstack([np.nan_to_num(numbers), *hot]))
    x, s = parts
    alphas = np.linspace(0, 1, 30)
    radii = np.quantile(np.linalg.norm(x - x.mean(axis=0), axis=1), alphas)
    precision = (np.linalg.norm(s - x.mean(axis=0), axis=1)[:, None] <= radii).mean(axis=0)  # (30,)
    real_to_real = NearestNeighbors(n_neighbors=2).fit(x).kneighbors(x)[0][:, 1]
    distance, index = NearestNeighbors(n_neighbors=1).fit(s).kneighbors(x)
    inside = np.linalg.norm(s[index[:, 0]] - s.mean(axis=0), axis=1)  # of each real row's nearest synthetic row
    near = distance[:, 0] <= real_to_real
    recall = (near[:, None] & (inside[:, None] <= np.quantile(inside, alphas))).mean(axis=0)
    area = alphas.sum()
    return float(1 - np.abs(alphas - precision).sum() / area), float(1 - np.abs(alphas - recall).sum() / area)


def floors(
    train: pd.DataFrame, test: pd.DataFrame, categorical: Sequence[str], *, seed: int, threads: int = THREADS
) -> dict[str, float]:
    """Return what an independent real sample of the same size would score, for every score of this file.

    Errors fall with the square root of the rows, so the distance of two halves of ``train``, divided by the square
    root of two, stands for a sample as large as ``train``. Detection takes the halves as they are, and for the
    holdout score as many training rows as there are test rows. Keys that end in ``_test`` compare train with test.
    """
    a, b = halves(train, seed)
    shrink = float(1 / np.sqrt(2))
    out = {
        "shape": shrink * shape_error(a, b, categorical),
        "pair_own": shrink * pair_error(a, b, categorical, bins="own"),
        "pair_shared": shrink * pair_error(a, b, categorical, bins="shared"),
        "wnmi": shrink * wnmi_error(a, b, categorical),
        "shape_test": shape_error(train, test, categorical),
        "pair_own_test": pair_error(train, test, categorical, bins="own"),
        "pair_shared_test": pair_error(train, test, categorical, bins="shared"),
        "wnmi_test": wnmi_error(train, test, categorical),
    }
    learners: tuple[tuple[str, Learner], ...] = (("xgb", "xgboost"), ("lr", "logistic"))
    for name, learner in learners:
        out[f"c2st_{name}_train"] = c2st(a, b, learner=learner, seed=seed, threads=threads)
        out[f"c2st_{name}_holdout"] = c2st_holdout(test, train, learner=learner, seed=seed, threads=threads)
    out["alpha_precision"], out["beta_recall"] = alpha_precision_beta_recall(a, b, categorical, seed=seed)
    return out


def shuffled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the table with every column permuted on its own: right margins, no dependence. A control."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({c: frame[c].to_numpy()[rng.permutation(len(frame))] for c in frame}).astype(frame.dtypes)


def bootstrap(frame: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Return ``n`` rows drawn with replacement: the perfect memoriser. A control."""
    return frame.iloc[np.random.default_rng(seed).integers(len(frame), size=n)].reset_index(drop=True)


def _add_l1(out: NDArray[np.float32], rows: NDArray[np.float32], columns: NDArray[np.float32]) -> None:
    difference = np.empty_like(out)
    for j, column in enumerate(columns):
        np.subtract(rows[:, j, None], column, out=difference)
        np.abs(difference, out=difference)
        out += difference


def _hot(values: "pd.Series[Any]", categories: "pd.Index[str]") -> NDArray[np.float32]:
    """Return (n, categories) of 0 and 1; an unknown category is a row of zeros."""
    codes = categories.get_indexer(pd.Index(values.astype(str)))
    out = np.zeros((len(codes), len(categories)), np.float32)
    known = np.flatnonzero(codes >= 0)
    out[known, codes[known]] = 1
    return out


def _row_keys(frame: pd.DataFrame) -> "pd.Series[int]":
    """Return a hash of each row; numbers to 9 digits."""
    numbers = {
        c: frame[c].astype(float).map("{:.9g}".format) for c in frame.select_dtypes("number").columns.astype(str)
    }
    return pd.util.hash_pandas_object(frame.assign(**numbers).astype(str), index=False)


def _ks(real: pd.Series, synthetic: pd.Series) -> float:
    a, b = (np.sort(values.dropna().to_numpy(float)) for values in (real, synthetic))
    if not len(a) or not len(b):
        return float(len(a) != len(b))
    points = np.concatenate([a, b])
    gaps = np.searchsorted(a, points, side="right") / len(a) - np.searchsorted(b, points, side="right") / len(b)
    return float(np.abs(gaps).max())


def _total_variation(real: pd.Series, synthetic: pd.Series) -> float:
    p, q = (values.astype(str).value_counts(normalize=True) for values in (real, synthetic))
    return float(p.sub(q, fill_value=0).abs().sum()) / 2


def _pearson(a: pd.Series, b: pd.Series) -> float:
    x, y = a.to_numpy(float), b.to_numpy(float)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known] - x[known].mean(), y[known] - y[known].mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else float("nan")


Coded = tuple[NDArray[np.intp], NDArray[np.intp], int]  # codes of the real and of the synthetic rows, number of codes


def _codes(
    real: pd.DataFrame, synthetic: pd.DataFrame, categorical: Sequence[str], *, bins: Bins | Literal["information"]
) -> dict[str, Coded]:
    """Return every column as integer codes; a null of a binned number has a code of its own."""
    coded: dict[str, Coded] = {}
    for column in real.columns:
        values = [frame[column] for frame in (real, synthetic)]
        if column in categorical or (bins == "information" and real[column].nunique() <= 11):
            joint, labels = pd.factorize(pd.concat(values, ignore_index=True).astype(str))
            coded[column] = (joint[: len(real)], joint[len(real) :], len(labels))
        else:
            numbers = [v.to_numpy(float) for v in values]
            edges = [np.histogram_bin_edges(x[~np.isnan(x)]) for x in numbers]
            if bins == "own":
                codes = [np.digitize(x, e) for x, e in zip(numbers, edges, strict=True)]
            elif bins == "shared":
                codes = [np.digitize(x, edges[0][1:-1]) for x in numbers]
            else:
                codes = [_outer_bins(x, edges[0]) for x in numbers]
            a, b = (np.where(np.isnan(x), 12, code) for x, code in zip(numbers, codes, strict=True))
            coded[column] = (a, b, 13)
    return coded


def _outer_bins(values: Floats, edges: Floats) -> NDArray[np.intp]:
    """Return bins 1..10 of ``(low, high]`` intervals, the lowest edge included, and 0 outside."""
    code = np.searchsorted(edges, values, side="left")
    code = np.where(values == edges[0], 1, code)
    return np.where((code < 1) | (code > len(edges) - 1), 0, code)


def _joint(a: Coded, b: Coded) -> tuple[Floats, Floats]:
    """Return the joint frequencies of two columns, (n_a, n_b), of the real and of the synthetic rows."""
    n_a, n_b = a[2], b[2]
    real, synthetic = (
        np.bincount(x * n_b + y, minlength=n_a * n_b).reshape(n_a, n_b) / len(x)
        for x, y in zip(a[:2], b[:2], strict=True)
    )
    return real, synthetic


def _nmi(joint: Floats) -> float:
    """Return mutual information over the mean of the two entropies; 0 where both are constant."""
    p, q = joint.sum(axis=1), joint.sum(axis=0)
    entropies = [-float((m[m > 0] * np.log(m[m > 0])).sum()) for m in (p, q)]
    there = joint > 0
    information = float((joint[there] * np.log(joint[there] / np.outer(p, q)[there])).sum())
    return 2 * information / sum(entropies) if sum(entropies) > 0 else 0.0


def _score(task: Task, truth: Floats, predicted: Floats) -> float:
    if task == "classification":
        return float(roc_auc_score(truth, predicted)) if len(np.unique(truth)) > 1 else 0.5
    return float(np.sqrt(np.mean((truth - predicted) ** 2)))


def _grid(
    fit: tuple[NDArray[np.float32], Floats],
    judged: Sequence[NDArray[np.float32]],
    task: Task,
    *,
    fast: bool,
    threads: int,
) -> list[list[Floats]]:
    """Return the predictions of every setting of the grid for each of the judged parts."""
    import xgboost

    fitted = xgboost.QuantileDMatrix(*fit, nthread=threads)
    parts = [xgboost.DMatrix(part, nthread=threads) for part in judged]
    objective = "binary:logistic" if task == "classification" else "reg:squarederror"
    common = {"objective": objective, "tree_method": "hist", "nthread": threads}
    out: list[list[Floats]] = []
    for depth, weight, gamma in product((5, 10) if fast else (5, 10, 20), (1, 10), (0.0,) if fast else (0.0, 1.0)):
        setting = {"max_depth": depth, "min_child_weight": weight, "gamma": gamma}
        model = xgboost.train(common | setting, fitted, 100)
        out += [[model.predict(part, iteration_range=(0, trees)) for part in parts] for trees in (10, 50, 100)]
    return out


def _features(
    train: pd.DataFrame, test: pd.DataFrame, categorical: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    parts: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
    for c in train:
        categories = pd.Index(train[c].astype(str).unique())
        for frame, part in zip((train, test), parts, strict=True):
            part.append(_hot(frame[c], categories) if c in categorical else frame[c].to_numpy(np.float32)[:, None])
    return np.hstack(parts[0]), np.hstack(parts[1])


def _is_logged(numbers: pd.DataFrame) -> bool:
    """Return whether the published code logs every number: it reads the first range end that is not zero."""
    low, high = (next((float(v) for v in ends if v), 0.0) for ends in (numbers.min(), numbers.max()))
    return low >= 0 and high >= 1e3


def _logged(frame: pd.DataFrame, numbers: Sequence[Any]) -> pd.DataFrame:
    return frame.assign(**{c: np.log(np.maximum(frame[c].astype(float), 1e-2)) for c in numbers})


def _targets(train: "pd.Series[Any]", test: "pd.Series[Any]", task: Task) -> tuple[Floats, Floats]:
    if task == "classification":
        positive = sorted(train.astype(str).unique())[-1]
        y, y_test = ((values.astype(str) == positive).to_numpy(float) for values in (train, test))
    else:
        y, y_test = (np.log(np.clip(values.to_numpy(float), 1, 20_000)) for values in (train, test))
    return y, y_test
