"""Singling out: do synthetic rows suggest conditions that exactly one person of the training rows satisfies?

The adversary makes predicates that exactly one synthetic row satisfies: of one column (a value that occurs once, or an
extreme), or of several, read off one row.  A person is a privacy unit; a row where none is declared.

Source: Giomi et al. 2022 (arXiv:2211.10459), Section 4.2, Algorithms 1 and 2; Cohen & Nissim 2020, "Towards
formalizing the GDPR's notion of singling out" (arXiv:1904.06009): a predicate isolates by chance, too.
Differs: control is not a fit to smaller samples of the holdout, but exact: how often a predicate would isolate a person
of a table as large as train, were train any such part of train and holdout together; so every predicate is its own
control, and attack and control are paired.  Predicates hit the same people again and again, so that they do not stand
for as many trials: how far their mean moves by chance, other such parts tell.  The baseline draws each value from the
holdout, column by column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import random
from numpy.typing import NDArray

from synth_components.evaluation.attacks.rates import risk
from synth_components.evaluation.attacks.trial import LEAST, left_out, owners
from synth_components.evaluation.columns import Coded, coded, some_places
from synth_components.evaluation.floor import score
from synth_components.evaluation.options import PrivacyConfig
from synth_components.protocols import Context, Dataset, Evidence, Floats, Score

NAME = "privacy.singling_out"
_COLUMNS = 4
_BATCHES = 10
_CHUNK = 200
_PARTINGS = 200
"""Other parts of train and holdout that tell how far chance moves the share of predicates that isolate somebody."""


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
        return np.concatenate([np.empty(0, np.int64), *(part.sum(axis=1) for part in self._held(rows))])

    def owned(self, rows: Floats, owner: NDArray[np.int64], number: int) -> Any:  # noqa: ANN401 - scipy has no types
        """Return who satisfies each predicate with one row or more, 1 or 0, as a sparse matrix (k, number).

        Args:
            owner: (n,) whose the rows are, below ``number``.
        """
        from scipy.sparse import csr_array

        pairs = [np.empty((0, 2), np.int64)]
        for start, part in enumerate(self._held(rows)):
            predicate, row = np.nonzero(part)
            pairs.append(np.unique(np.stack([predicate + start * _CHUNK, owner[row]], axis=1), axis=0))
        which = np.concatenate(pairs).T
        return csr_array((np.ones(which.shape[1], np.int64), (which[0], which[1])), shape=(len(self.places), number))

    def _held(self, rows: Floats) -> Iterator[NDArray[np.bool_]]:
        """Yield whether each row satisfies each of the next predicates, (chunk, n)."""
        for start in range(0, len(self.places), _CHUNK):
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
            yield holds

    def distinct(self) -> Predicates:
        """Return each predicate once, in their order."""
        order = np.argsort(self.places, axis=1, kind="stable")
        told = self.places, np.isnan(self.bounds), np.nan_to_num(self.bounds, nan=0.0), self.sense
        sides = [np.take_along_axis(side, order, axis=1).astype(np.float64) for side in told]
        first = np.unique(np.concatenate(sides, axis=1), axis=0, return_index=True)[1]
        return self.take(np.sort(first).astype(np.int64))

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
    view, whose = coded(train, holdout, synthetic), (owners(train, context), owners(holdout, context))
    sides = (view.train, view.holdout, view.synthetic)
    kept = [some_places(len(side), config.attack_references, rng) for side in sides]
    inner, outer, made = (side[places] for side, places in zip(sides, kept, strict=True))
    view = replace(view, train=inner, holdout=outer, synthetic=made)
    if not view.names or min(len(view.train), len(view.holdout), len(view.synthetic)) < LEAST:
        return left_out(NAME, f"it needs a column and {LEAST} rows of each table")
    inside, outside = (np.unique(one[places], return_inverse=True)[1] for one, places in zip(whose, kept, strict=False))
    people = int(inside.max()) + 1, int(outside.max()) + 1
    drawn = one_column(view, config.attack_targets, rng), several_columns(view, config.attack_targets, rng)
    scores: list[Score] = []
    missing: list[str] = []
    for kind, found in zip(("univariate", "multivariate"), drawn, strict=True):
        if len(found.places) < LEAST:
            missing.append(f"fewer than {LEAST} predicates isolate a synthetic row ({kind})")
            continue
        guess = Predicates(found.places, _values(view.holdout, found.places, rng), found.sense)
        hit = found.owned(view.train, inside, people[0]), found.owned(view.holdout, outside, people[1])
        counts = [np.asarray(one.sum(axis=1), dtype=np.int64) for one in hit]
        attack = (counts[0] == 1).astype(np.float64)
        control = isolates(counts[0] + counts[1], *people)
        baseline = np.asarray(guess.owned(view.train, inside, people[0]).sum(axis=1)) == 1
        moved = moves(hit, rng)
        scores += _rates(f"{NAME}.{kind}", attack, control, baseline.astype(np.float64), moved)
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


def moves(hit: tuple[Any, Any], rng: random.Generator) -> float:
    """Return how far chance moves the share of predicates that isolate somebody: its standard deviation.

    It is that over other partings of the same people, under which nobody was trained on.

    Args:
        hit: Who satisfies each predicate, of train (k, a) and of the holdout (k, b).
    """
    from scipy.sparse import hstack

    inside, total = hit[0].shape[1], hit[0].shape[1] + hit[1].shape[1]
    drawn = np.zeros((total, _PARTINGS), dtype=np.int64)
    for number in range(_PARTINGS):
        drawn[rng.permutation(total)[:inside], number] = 1
    counts = np.asarray(hstack(hit, format="csr") @ drawn)  # (k, partings)
    return float((counts == 1).mean(axis=0).std(ddof=1))


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
    none = np.empty((0, width), dtype=np.int64)
    kept = Predicates(none, none.astype(np.float64), none)
    for _ in range(_BATCHES):
        places = rng.permuted(np.tile(np.arange(len(view.names)), (most, 1)), axis=1)[:, :width]
        rows = rng.integers(len(view.synthetic), size=most)
        bounds = view.synthetic[rows[:, None], places]
        sense = np.where(is_category[places], 0, np.where(bounds > middle[places], 1, -1))
        made = Predicates(places, bounds, sense)
        kept = _joined([kept, made.take(made.counts(view.synthetic) == 1)]).distinct()
        if len(kept.places) >= most:
            break
    return kept.take(np.arange(min(most, len(kept.places))))


def _joined(parts: list[Predicates]) -> Predicates:
    return Predicates(
        *(np.concatenate([getattr(one, name) for one in parts]) for name in ("places", "bounds", "sense"))
    )


def _values(rows: Floats, places: NDArray[np.int64], rng: random.Generator) -> Floats:
    return rows[rng.integers(len(rows), size=places.shape), places]


def _rates(name: str, attack: Floats, control: Floats, baseline: Floats, moved: float) -> tuple[Score, ...]:
    """Return ``.attack``, ``.control``, ``.baseline`` and ``.risk``.

    Args:
        moved: Standard deviation of the mean of ``attack`` by chance, predicates hitting the same people.
    """
    held = float(control.mean())
    excess = risk(f"{name}.risk", attack, control)
    # Attack and control of a predicate are paired, so that the error is that of their difference.
    error = max(moved, float((attack - control).std() / np.sqrt(len(attack))))
    return (
        score(f"{name}.attack", float(attack.mean()), deviation=error, floor=held, ideal=held),
        score(f"{name}.control", held, deviation=float(control.std() / np.sqrt(len(control))), floor=held, ideal=held),
        score(
            f"{name}.baseline",
            float(baseline.mean()),
            hits=(float(baseline.sum()), len(baseline)),
            floor=float(baseline.mean()),
            ideal=float(baseline.mean()),
        ),
        score(f"{name}.risk", excess.value, deviation=error / max(1 - held, 1e-9), floor=0.0, ideal=0.0),
    )
