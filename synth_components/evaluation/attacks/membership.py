"""Membership inference without access to the model: was a row among those that were trained on?

Five attacks see the synthetic rows and, but for the first, a reference of real rows from elsewhere:

- ``distance``: minus the distance to the closest synthetic row;
- ``ratio``: log distance to the nearest reference rows, less the same to the nearest synthetic ones;
- ``density``: log of the synthetic density at the row, less that of the reference density;
- ``likelihood``: how much likelier the synthetic rows nearby become if the row joins the reference;
- ``classifier``: how sure a forest is that the row is synthetic rather than a reference row.

Source: Chen, Yu, Zhang & Fritz 2020, "GAN-Leaks" (``distance``, and calibrated by a reference ``ratio``); van Breugel,
Sun, Qian & van der Schaar 2023, "Membership inference attacks against synthetic data through overfitting detection"
(DOMIAS, arXiv:2302.12580, Equation 2: ``density``); Ward, Wang & Cheng 2025, "Privacy auditing synthetic data release
through local likelihood attacks" (Gen-LRA: ``likelihood``); Houssiau et al. 2022, TAPAS (arXiv:2211.06550:
``classifier``).  Rates of hits at few false alarms: Carlini et al. 2022 (arXiv:2112.03570).  The most isolated
records: Yao, Krco, Ganev & de Montjoye 2025 (arXiv:2505.01524).
Differs: densities are Laplace kernels on the mixed L1 distance, which hold categories too, instead of Gaussian kernels
or flows on encoded numbers; one bandwidth, a quarter of the median distance between neighbours of
the reference; the classifier is a
forest of whole randomised trees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.evaluation.attacks.ranking import Ranking, area, hits_at
from synth_components.evaluation.attacks.trial import LEAST, NEEDS, Parts, left_out, parts
from synth_components.evaluation.detection import boosting_features
from synth_components.evaluation.floor import resamples, score
from synth_components.evaluation.neighbours import Located, distances, nearest, neighbours
from synth_components.evaluation.options import PrivacyConfig
from synth_components.protocols import Context, Dataset, Evidence, Floats, Score

NAME = "privacy.membership"
RATES = {"tpr_at_1_in_100": 0.01, "tpr_at_1_in_1000": 0.001}
"""Rates of false alarms at which hits are counted; each needs as many non-members as it says."""

_NEAREST = 3
_LOCAL = 10  # synthetic rows whose likelihood a row may raise
_ISOLATED = 0.1
_TREES = 50
_SHARPNESS = 4.0  # times that the kernel is narrower than the distance between neighbours: a trace is local
_CLOSEST = 1e-3  # distances below it are alike: a copy is a copy
_NULL = -1e9  # trees of a forest take null for a number; no column reaches this one


def membership(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: PrivacyConfig = PrivacyConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score how well five attacks tell training rows from holdout rows: AUC 0.5 is guessing.

    ``privacy.membership.auc`` of no subject is that of the strongest attack, the others by name;
    ``privacy.membership.tpr_at_1_in_100`` the share of members found where one non-member in a hundred is taken for a
    member, ``..._1_in_1000`` in a thousand; ``privacy.membership.isolated...`` the same among the tenth of records that
    lie farthest from the reference.  Each takes the attack that does best at it.  The floor is what the best of five
    attacks reaches where members and others are the same: the mean over permutations of who is a member, which under an
    independent sample is exact; ``privacy.membership.p_value`` is how often they reach the AUC found.
    """
    found = parts(train, holdout, synthetic, context=context, rng=rng, config=config)
    if found is None:
        return left_out(NAME, NEEDS)
    guesses, isolation = guess(found, rng=rng)
    is_member = np.arange(2 * len(found.others)) < len(found.members)
    scores, missing = _scores(NAME, guesses, is_member, config=config, rng=rng)
    apart = isolation >= np.quantile(isolation, 1 - _ISOLATED)
    rows: dict[str, list[object]] = {"attack": list(guesses)}
    rows["auc"] = [round(area(Ranking.of(one).roc(is_member)), 4) for one in guesses.values()]
    if min((is_member & apart).sum(), (~is_member & apart).sum()) >= LEAST:
        among = {name: one[apart] for name, one in guesses.items()}
        more, unscored = _scores(f"{NAME}.isolated", among, is_member[apart], config=config, rng=rng)
        scores, missing = scores + more, missing + unscored
        rows["isolated"] = [round(area(Ranking.of(one).roc(is_member[apart])), 4) for one in among.values()]
    else:
        missing.append((f"{NAME}.isolated.auc", f"fewer than {LEAST} of the isolated records are on either side"))
    best = max(guesses, key=lambda name: area(Ranking.of(guesses[name]).roc(is_member)))
    tables = {"privacy.membership": pd.DataFrame(rows)}
    if missing:
        tables["left_out"] = pd.DataFrame([{"score": s, "subject": "", "reason": reason} for s, reason in missing])
    curve = _curve(Ranking.of(guesses[best]).roc(is_member))
    return Evidence(tuple(scores), curves={f"{NAME}.roc": curve}, tables=tables)


def guess(found: Parts, *, rng: random.Generator) -> tuple[Mapping[str, Floats], Floats]:
    """Return how much each row looks like a member, by attack, and how isolated it is.

    Each is (a + b,): the members, then the others.
    """
    rows = np.concatenate([found.members, found.others])
    records, reference, drawn = (Located.of(found.view, side) for side in (rows, found.reference, found.drawn))
    width = bandwidth(reference, rng=rng)
    near = neighbours(records, drawn, _LOCAL, bandwidth=width)
    far = neighbours(records, reference, _NEAREST, bandwidth=width)
    close, apart = (np.log(side.distance[:, :_NEAREST] + _CLOSEST).mean(axis=1) for side in (near, far))
    touched, place = np.unique(near.place, return_inverse=True)
    known = log_density(drawn.take(touched), reference, bandwidth=width)[place.reshape(near.place.shape)]
    # log of (m p(s) + K(s, x)) / (m p(s)), summed over the nearest synthetic rows s; the common m + 1 orders nothing
    raised = np.logaddexp(0.0, -near.distance / width - np.log(len(reference)) - known).sum(axis=1)
    guesses = {
        "distance": -near.distance[:, 0],
        "ratio": apart - close,
        "density": near.log_density - far.log_density,
        "likelihood": raised,
        "classifier": _forest(found, rows, rng=rng),
    }
    return guesses, apart


def bandwidth(reference: Located, *, rng: random.Generator, limit: int = 500) -> float:
    """Return the scale of the kernel: a quarter of the median distance between neighbours, positive."""
    rows = rng.permutation(len(reference))[:limit]
    found = nearest(reference.take(rows), reference, 2)[:, -1]
    positive = found[found > 0]
    return (float(np.median(positive)) if len(positive) else 1.0) / _SHARPNESS


def log_density(queries: Located, references: Located, *, bandwidth: float) -> Floats:
    """Return the log of the mean Laplace kernel (n,) over the references, up to a constant."""
    made = np.empty(len(queries))
    for rows, found in distances(queries, references):
        closest = found.min(axis=1)
        kernel = np.exp((closest[:, None] - found) / np.float32(bandwidth))
        made[rows] = np.log(kernel.mean(axis=1, dtype=np.float64)) - closest / bandwidth
    return made


def _forest(found: Parts, rows: Floats, *, rng: random.Generator) -> Floats:
    """Return the share of whole trees (n,) that take each row for synthetic, both sides weighing the same."""
    from sklearn.ensemble import ExtraTreesClassifier

    sides = [np.nan_to_num(boosting_features(found.view, side), nan=_NULL) for side in (found.reference, found.drawn)]
    model = ExtraTreesClassifier(_TREES, class_weight="balanced", random_state=int(rng.integers(2**31)))
    model.fit(np.concatenate(sides), np.arange(sum(map(len, sides))) >= len(sides[0]))
    made: Floats = model.predict_proba(np.nan_to_num(boosting_features(found.view, rows), nan=_NULL))[:, 1]
    return made


def _scores(
    name: str,
    guesses: Mapping[str, Floats],
    is_member: NDArray[np.bool_],
    *,
    config: PrivacyConfig,
    rng: random.Generator,
) -> tuple[list[Score], list[tuple[str, str]]]:
    """Return the scores of the best attack, and those that too few rows leave out, with the reason."""
    rankings = {attack: Ranking.of(values) for attack, values in guesses.items()}
    shuffled = [rng.permutation(is_member) for _ in range(config.replicates)]
    weights = list(resamples(len(is_member), config.replicates, rng))
    missing: list[tuple[str, str]] = []
    made: list[Score] = []
    others = int((~is_member).sum())
    measures: dict[str, tuple[Callable[[tuple[Floats, Floats]], float], float]] = {"auc": (area, 0.5)}
    for rate, share in RATES.items():
        if others >= round(1 / share):
            measures[rate] = partial(hits_at, rate=share), share
        else:
            missing.append((f"{name}.{rate}", f"it needs {round(1 / share)} non-members, and there are {others}"))
    curves = {attack: ranking.roc(is_member) for attack, ranking in rankings.items()}
    chance = [[ranking.roc(labels) for ranking in rankings.values()] for labels in shuffled]
    for measure, (value_of, ideal) in measures.items():
        values = {attack: value_of(roc) for attack, roc in curves.items()}
        best = max(values, key=lambda attack: values[attack])
        draws = np.array([value_of(rankings[best].roc(is_member, weight)) for weight in weights])
        null = np.array([max(value_of(roc) for roc in rocs) for rocs in chance])
        floor = float(null.mean())
        made.append(score(f"{name}.{measure}", values[best], draws=draws, floor=floor, ideal=ideal))
        if measure == "auc":
            p_value = (1 + int((null >= values[best]).sum())) / (1 + len(null))
            made.append(score(f"{name}.p_value", p_value, floor=0.5, ideal=1.0))
    return made, missing


def _curve(roc: tuple[Floats, Floats], points: int = 60) -> pd.DataFrame:
    grid = np.unique(np.concatenate([[0.0], np.geomspace(1e-3, 1, points // 2), np.linspace(0, 1, points // 2)]))
    hits = [hits_at(roc, float(rate)) for rate in grid]
    return pd.DataFrame({"false_positive_rate": grid.round(4), "true_positive_rate": np.round(hits, 4)})
