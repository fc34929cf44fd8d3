"""Singling out: do synthetic rows suggest conditions that exactly one training row satisfies?

The adversary makes predicates that exactly one synthetic row satisfies: of one column (a value that occurs once, or an
extreme), or of several, read off one row.

Source: Giomi et al. 2022 (arXiv:2211.10459), Section 4.2, Algorithms 1 and 2; Cohen & Nissim 2020, "Towards
formalizing the GDPR's notion of singling out" (arXiv:1904.06009): a predicate isolates by chance, too.
Differs: control is not a fit to smaller samples of the holdout, but exact: how often a predicate would isolate a row
of a table as large as train, were train any such part of train and holdout together; so every predicate is its own
control, and attack and control are paired.  The baseline draws each value from the holdout, column by column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import random
from numpy.typing import NDArray

from synth_components.evaluation.attacks.rates import risk
from synth_components.evaluation.attacks.trial import LEAST, left_out
from synth_components.evaluation.columns import Coded, coded
from synth_components.evaluation.floor import score
from synth_components.evaluation.options import PrivacyConfig
from synth_components.protocols import Context, Dataset, Evidence, Floats, Score

NAME = "privacy.singling_out"
_COLUMNS = 4
_BATCHES = 10
_CHUNK = 200


@dataclass(frozen=True)
class Predicates:
    """Conditions joined by "and": at ``places`` (k, c), a value at most, equal to, or at least ``bounds``.

    Attributes:
        places: (k, c) columns.
        bounds: (k, c) values; NaN asks for null.
        sense: (k, c) -1 at most, 0 equal, 1 at least.
    """

    places: NDArray[np.int64]
    bounds: Floats
    sense: NDArray[np.int64]

    def counts(self, rows: Floats) -> NDArray[np.int64]:
        """Return how many rows satisfy each predicate, (k,)."""
        made = np.empty(len(self.places), dtype=np.int64)
        for start in range(0, len(made), _CHUNK):
            some = slice(start, start + _CHUNK)
            holds = np.ones((len(self.places[some]), len(rows)), dtype=np.bool_)
            for place, bound, sense in zip(self.places[some].T, self.bounds[some].T, self.sense[some].T, strict=True):
                values = rows.T[place]  # (chunk, n)
                bound, sense = bound[:, None], sense[:, None]
                holds &= np.where(
                    np.isnan(bound),
                    np.isnan(values),
                    np.where(sense == 0, values == bound, np.where(sense > 0, values >= bound, values <= bound)),
                )
            made[some] = holds.sum(axis=1)
        return made

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Predicates:
        """Return some of the predicates."""
        return Predicates(self.places[rows], self.bounds[rows], self.sense[rows])


def singling_out(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: PrivacyConfig = PrivacyConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score how often a predicate that isolates one synthetic row isolates one training row.

    Scores are named ``privacy.singling_out.univariate`` and ``...multivariate`` (four columns), each with ``.attack``,
    ``.control``, ``.baseline`` and ``.risk``.
    """
    limit = config.attack_references
    view = coded(train, holdout, synthetic).capped(train=limit, holdout=limit, synthetic=limit, rng=rng)
    if not view.names or min(len(view.train), len(view.holdout), len(view.synthetic)) < LEAST:
        return left_out(NAME, f"it needs a column and {LEAST} rows of each table")
    drawn = one_column(view, config.attack_targets, rng), several_columns(view, config.attack_targets, rng)
    scores: list[Score] = []
    missing: list[str] = []
    for kind, found in zip(("univariate", "multivariate"), drawn, strict=True):
        if len(found.places) < LEAST:
            missing.append(f"fewer than {LEAST} predicates isolate a synthetic row ({kind})")
            continue
        guess = Predicates(found.places, _values(view.holdout, found.places, rng), found.sense)
        inside, outside = (found.counts(side) for side in (view.train, view.holdout))
        attack = (inside == 1).astype(np.float64)
        control = isolates(inside + outside, len(view.train), len(view.holdout))
        scores += _rates(f"{NAME}.{kind}", attack, control, (guess.counts(view.train) == 1).astype(np.float64))
    if missing:
        return Evidence(tuple(scores), tables=left_out(NAME, "; ".join(missing)).tables)
    return Evidence(tuple(scores))


def isolates(pooled: NDArray[np.int64], inside: int, outside: int) -> Floats:
    """Return the chance (k,) that exactly one row found is inside, were it any part that large.

    Args:
        pooled: (k,) rows that satisfy the predicate, inside and outside together.
    """
    from scipy.stats import hypergeom

    made: Floats = np.asarray(hypergeom.pmf(1, inside + outside, pooled, inside), dtype=np.float64)
    return made


def one_column(view: Coded, most: int, rng: random.Generator) -> Predicates:
    """Return predicates of one column: values that occur once, a single null, the extremes of numbers."""
    found: list[tuple[int, float, int]] = []
    for place, name in enumerate(view.names):
        values = view.synthetic[:, place]
        present, counts = np.unique(values[~np.isnan(values)], return_counts=True)
        found += [(place, float(value), 0) for value in present[counts == 1]]
        if np.isnan(values).sum() == 1:
            found.append((place, float("nan"), 0))
        if not view.is_category(name) and len(present):
            found += [(place, float(present[0]), -1), (place, float(present[-1]), 1)]
    chosen = [found[k] for k in rng.permutation(len(found))[:most]]
    columns = [np.array([one[k] for one in chosen]).reshape(-1, 1) for k in range(3)]
    made = Predicates(columns[0].astype(np.int64), columns[1].astype(np.float64), columns[2].astype(np.int64))
    return made.take(made.counts(view.synthetic) == 1)


def several_columns(view: Coded, most: int, rng: random.Generator) -> Predicates:
    """Return predicates of several columns, each read off one synthetic row.

    A number lies at its value or beyond, away from the median.
    """
    width = min(_COLUMNS, len(view.names))
    middle = np.array([np.median(v[~np.isnan(v)]) if (~np.isnan(v)).any() else 0.0 for v in view.synthetic.T])
    is_category = np.array([view.is_category(name) for name in view.names])
    kept: list[Predicates] = []
    for _ in range(_BATCHES):
        places = rng.permuted(np.tile(np.arange(len(view.names)), (most, 1)), axis=1)[:, :width]
        rows = rng.integers(len(view.synthetic), size=most)
        bounds = view.synthetic[rows[:, None], places]
        sense = np.where(is_category[places], 0, np.where(bounds > middle[places], 1, -1))
        made = Predicates(places, bounds, sense)
        kept.append(made.take(made.counts(view.synthetic) == 1))
        if sum(len(one.places) for one in kept) >= most:
            break
    joined = [np.concatenate([getattr(one, name) for one in kept])[:most] for name in ("places", "bounds", "sense")]
    return Predicates(*joined)


def _values(rows: Floats, places: NDArray[np.int64], rng: random.Generator) -> Floats:
    return rows[rng.integers(len(rows), size=places.shape), places]


def _rates(name: str, attack: Floats, control: Floats, baseline: Floats) -> tuple[Score, ...]:
    held = float(control.mean())
    hits = (float(attack.sum()), len(attack))
    excess = risk(f"{name}.risk", attack, control)
    # Attack and control of a predicate are paired, so that the error is that of their difference.
    error = float((attack - control).std() / np.sqrt(len(attack))) / max(1 - held, 1e-9)
    return (
        score(f"{name}.attack", float(attack.mean()), hits=hits, floor=held, ideal=held),
        score(f"{name}.control", held, deviation=float(control.std() / np.sqrt(len(control))), floor=held, ideal=held),
        score(
            f"{name}.baseline",
            float(baseline.mean()),
            hits=(float(baseline.sum()), len(baseline)),
            floor=float(baseline.mean()),
            ideal=float(baseline.mean()),
        ),
        score(f"{name}.risk", excess.value, deviation=error, floor=0.0, ideal=0.0),
    )
