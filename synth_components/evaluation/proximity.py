"""Smoke tests of memorisation: copies, distance to the closest record (DCR) and nearest-neighbour ratio (NNDR).

They catch a generator that hands out its training rows, and prove nothing else: sets that pass them can be open to
membership inference (Yao, Krco, Ganev & de Montjoye 2025, "The DCR Delusion", arXiv:2505.01524).  An attack is another
metric of the group ``privacy``.

Source: DCR share as in TabSyn's evaluation (L1 on numbers over their range, and on one-hot categories).
Differs: numbers are scaled by their 5 % to 95 % range; for the share, train and holdout are searched at equal size.
    With a privacy unit one row of each unit of the holdout is judged, and searched for the share, as of train: those of
    one are alike, so that they are no trials apart.  Copies are looked for among all training rows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.evaluation.attacks.trial import one_of_each, owners
from synth_components.evaluation.columns import Coded, coded, some_places, some_rows
from synth_components.evaluation.floor import score, upper_bound
from synth_components.evaluation.neighbours import Located, nearest
from synth_components.evaluation.options import PrivacyConfig
from synth_components.protocols import Context, Dataset, Evidence, Floats, Score

_NEAR = 0.01  # the share of holdout rows nearest to train; what lies within their distance is a near copy
_LEAST = 10


def copies(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: PrivacyConfig = PrivacyConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score the share of synthetic rows that equal a training row, over all rows.

    The floor is the holdout's own share; ``privacy.copies.bound`` its upper 95 % Clopper-Pearson bound, which copies
    are held against; ``privacy.copies.p_value`` how often two samples of one law differ so much by chance (Fisher's
    exact test, one-sided), without which a share above the bound is no finding.
    """
    view = _of_each(coded(train, holdout, synthetic), holdout, context, rng)
    if not view.names or not (len(view.holdout) and len(view.synthetic)):
        return _left_out("privacy.copies", "it needs a column and a row of each table")
    known, held, drawn = (_digests(side) for side in (view.train, view.holdout, view.synthetic))
    return Evidence(_rates("privacy.copies", np.isin(drawn, known), np.isin(held, known)))


def proximity(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: PrivacyConfig = PrivacyConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score how much closer synthetic rows lie to train than to a holdout that no generator saw.

    ``privacy.dcr.share`` is the share of synthetic rows closer to train (ties count half; 0.5 if nothing was
    memorised), with as many training rows as holdout rows, so that beside a small holdout it sees few copies.  Its
    floor is the share of one half of the holdout against train and the other half.  Near copies are rows within the
    distance that the closest 1 % of holdout rows have to all of train.

    ``privacy.near_copies.p_value`` is of Fisher's test at that distance and, where it is another one, at that of the
    closest holdout row of all, which copies with little noise lie within: the lesser, twice (Bonferroni).  Held against
    ``card.CHANCE``, 5e-4, it fails at most that share of honest tables, whatever their size (at most 5e-4 of 20,000
    samples of three columns and 60, 100 and 200 rows, a fifth of them held out; 2.3 to 2.6 % by the test at 2.5 % that
    was here before).  It finds 28 % of training rows with noise of 1e-6 in all of 1,000 tables of 150 rows and more,
    and 5 % among 1,000 rows; in tables of 100 rows 16 to 33 %, in those of 60 1 to 2 %: twelve held-out rows cannot
    tell more.

    With fewer than ten rows of any table nothing of this is scored: the report says so among what was left out,
    ``synth gate`` holds no near copies then, the privacy guard calls them unproven, and SageMaker's pipeline fails.
    """
    whole = _of_each(coded(train, holdout, synthetic), holdout, context, rng)
    kept = some_places(len(whole.train), config.proximity_references, rng)
    apart = one_of_each(np.arange(len(kept)), owners(train, context)[kept], rng)
    if not whole.names or min(len(apart), len(whole.holdout), len(whole.synthetic)) < _LEAST:
        return _left_out("privacy.dcr", f"it needs a column and {_LEAST} rows of each table, each of another unit")
    size = min(len(apart), config.proximity_references, len(whole.holdout))
    view = replace(
        whole,
        train=whole.train[kept],
        holdout=some_rows(whole.holdout, size, rng),
        synthetic=some_rows(whole.synthetic, config.proximity_rows, rng),
    )
    known, held, drawn = (Located.of(view, side) for side in (view.train, view.holdout, view.synthetic))
    # Two references compete for the share only at equal size; a copy is looked for among all training rows.
    is_equal = len(view.train) == size
    real = known if is_equal else known.take(apart[rng.permutation(len(apart))[:size]])
    to_known = nearest(drawn, known, 2)
    to_train, to_holdout = to_known if is_equal else nearest(drawn, real, 2), nearest(drawn, held, 2)
    order = rng.permutation(size)
    others = held.take(order[: config.proximity_rows])
    fellow = nearest(others, known, 2)
    fellow_to_train = fellow if is_equal else nearest(others, real, 2)
    half = max(1, size // 2)
    queries = held.take(order[: min(half, config.proximity_rows)])
    fair_train, fair_holdout = real.take(rng.permutation(size)[:half]), held.take(order[half:])
    fair = nearest(queries, fair_train, 2)[:, 0], nearest(queries, fair_holdout, 2)[:, 0]
    closer = _closer(to_train[:, 0], to_holdout[:, 0])
    near = float(np.sort(fellow[:, 0])[int(_NEAR * len(fellow))])
    reaches = {near, float(fellow[:, 0].min())}
    tests = [exceeds(_below(to_known[:, 0], one), _below(fellow[:, 0], one)) for one in reaches]
    chance = min(1.0, len(tests) * min(tests))
    ratios, fellow_ratios = _ratio(to_known), _ratio(fellow)
    scores = (
        score(
            "privacy.dcr.share",
            float(closer.mean()),
            hits=(float(closer.sum()), len(closer)),
            floor=float(_closer(*fair).mean()),
            ideal=0.5,
        ),
        *_rates("privacy.near_copies", _below(to_known[:, 0], near), _below(fellow[:, 0], near), chance=chance),
        _middle("privacy.dcr.median", to_known[:, 0], fellow[:, 0], config, rng, high=np.inf),
        _middle("privacy.nndr", ratios, fellow_ratios, config, rng, high=1.0),
    )
    return Evidence(scores, curves={"privacy.dcr": _histogram(to_train[:, 0], to_holdout[:, 0], fellow_to_train[:, 0])})


def _of_each(view: Coded, holdout: Dataset, context: Context, rng: random.Generator) -> Coded:
    """Return the tables with one row of each privacy unit of the holdout."""
    rows = one_of_each(np.arange(len(view.holdout)), owners(holdout, context), rng)
    return replace(view, holdout=view.holdout[rows])


def _digests(values: Floats) -> NDArray[np.uint64]:
    """Return one 64-bit digest per row; 1e5 rows collide with probability about 1e10 / 2 / 2^64 = 3e-10."""
    held = np.where(np.isnan(values), np.finfo(np.float64).max, values) + 0.0
    made = pd.util.hash_pandas_object(pd.DataFrame(held), index=False).to_numpy()
    return np.asarray(made, dtype=np.uint64)


def _rates(
    name: str, drawn: NDArray[np.bool_], held: NDArray[np.bool_], *, chance: float | None = None
) -> tuple[Score, ...]:
    """Return the rate, its bound, and the chance of it: that of one test unless several were made."""
    rate = float(drawn.mean())
    floor = float(held.mean())
    bound = upper_bound(int(held.sum()), len(held))
    return (
        score(name, rate, hits=(int(drawn.sum()), len(drawn)), floor=floor, ideal=0.0),
        score(f"{name}.bound", bound, floor=floor, ideal=floor),
        score(f"{name}.p_value", exceeds(drawn, held) if chance is None else chance, floor=0.5, ideal=1.0),
    )


def exceeds(drawn: NDArray[np.bool_], held: NDArray[np.bool_]) -> float:
    """Return the p-value of Fisher's exact test that ``drawn`` hits no more often than ``held``.

    Given train, distances of synthetic and holdout rows are exchangeable if both follow one law, so the test also holds
    at the near-copy distance, although that is read off the holdout.

    Source: Fisher 1934, "Statistical Methods for Research Workers", Section 21.02.
    """
    from scipy.stats import hypergeom

    hits = int(drawn.sum() + held.sum())
    return float(min(1.0, hypergeom.sf(int(drawn.sum()) - 1, len(drawn) + len(held), hits, len(drawn))))


def _below(distances: Floats, near: float) -> NDArray[np.bool_]:
    """Return what lies nearer; at distance 0, where more than the closest holdout rows tie, what lies there."""
    return distances < near if near > 0 else distances <= 0


def _closer(to_train: Floats, to_holdout: Floats) -> Floats:
    made: Floats = np.where(to_train < to_holdout, 1.0, np.where(to_train == to_holdout, 0.5, 0.0))
    return made


def _ratio(distances: Floats) -> Floats:
    made: Floats = np.where(distances[:, 1] > 0, distances[:, 0] / np.maximum(distances[:, 1], 1e-12), 1.0)
    return made


def _middle(
    name: str, drawn: Floats, held: Floats, config: PrivacyConfig, rng: random.Generator, *, high: float
) -> Score:
    """Return the median, beside the holdout's; ideal is what the holdout shows."""
    draws = np.array([np.median(rng.choice(drawn, size=len(drawn))) for _ in range(config.replicates)])
    floor = float(np.median(held))
    return score(name, float(np.median(drawn)), draws=draws, floor=floor, ideal=floor, high=high)


def _histogram(drawn: Floats, apart: Floats, held: Floats, bins: int = 30) -> pd.DataFrame:
    top = float(np.quantile(np.concatenate([drawn, held]), 0.99)) or 1.0
    cuts = np.linspace(0, top, bins + 1)
    shares = [np.histogram(np.minimum(side, top), cuts)[0] / len(side) for side in (drawn, apart, held)]
    return pd.DataFrame(
        {
            "low": cuts[:-1].round(4),
            "high": cuts[1:].round(4),
            "synthetic_to_train": shares[0].round(4),
            "synthetic_to_holdout": shares[1].round(4),
            "holdout_to_train": shares[2].round(4),
        }
    )


def _left_out(name: str, reason: str) -> Evidence:
    return Evidence(tables={"left_out": pd.DataFrame([{"score": name, "subject": "", "reason": reason}])})
