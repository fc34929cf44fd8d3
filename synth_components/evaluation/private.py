"""The report under differential privacy: noisy counts of real rows on a public domain, and nothing else of them.

Only the holdout is read, or, without one, the training rows.  Columns and pairs are compared by their cells, as the
public schema cuts them; a learner that knows synthetic rows alone is judged by a noisy table of what it said.  All
other measures are left out, and the report says so.  The synthetic table is taken to be public, or charged elsewhere.

Unit and neighbours: a privacy unit of the schema, added or removed.  Theorem: the discrete Gaussian or Laplace
mechanism on counts (``noise.noisy_counts``), composed as one charge; all else is post-processing.

Intervals repeat sampling and noise by the parametric bootstrap, from the noisy shares; they are approximate.
Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", Sections 10.3 (bias) and 13.3 (basic interval).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.errors import BudgetExceededError, SchemaError, UnsupportedError
from synth_components.evaluation.options import EvaluateConfig
from synth_components.null_indicator import modelled
from synth_components.privacy.accounting import pure, rho_within, zero_concentrated
from synth_components.privacy.contribution import bounded
from synth_components.privacy.noise import Counts, Grant, deviation, noisy_counts, require_opendp
from synth_components.privacy.smallest_delta import CHANCE, require_below
from synth_components.privacy.unit import settle
from synth_components.protocols import Budget, Dataset, Evidence, Floats, PrivacyLedger, Score
from synth_components.schema import Boolean, Categorical

BINS = 10
"""Cells of a number or time, beside one for its lower bound."""
SCORE_BINS = 20
"""Cells of a learner's score, equally full of synthetic rows."""
_SINGLES, _TASK = 0.2, 0.2  # shares of the budget; the pairs have the rest
_LEARNED_ROWS = 20_000
_ESTIMATED = 1e-9

Released = tuple[Floats, Floats]  # shares (cells,) of real rows, from noisy counts; and of synthetic rows


@dataclass(frozen=True)
class _Release:
    """What pays for noisy counts, and how they come about again.

    Attributes:
        grant: What was charged.
        sensitivity: Most rows of a unit.
    """

    grant: Grant
    sensitivity: int

    def counts(self, codes: NDArray[np.int64], cells: int, *, share: float) -> Counts:
        """Return noisy counts (cells,) of codes (n,), for a share of the grant."""
        exact = np.bincount(codes, minlength=cells).astype(np.int64)
        return noisy_counts(exact, amount=share * self.grant.total, grant=self.grant, sensitivity=self.sensitivity)

    def spread(self, *, share: float) -> float:
        """Return the standard deviation of that noise, in rows."""
        return deviation(share * self.grant.total, mechanism=self.grant.mechanism, sensitivity=self.sensitivity)


def charged(config: EvaluateConfig, ledger: PrivacyLedger, *, units: int | None = None) -> Grant:
    """Charge the budget of a private report to a ledger, before any row is read.

    Args:
        units: Number of privacy units, if it is public knowledge: delta must be below 1 over it.

    Raises:
        DeltaError: if it is not; nothing was charged.
        UnsupportedError: if OpenDP is not installed.
        BudgetExceededError: if the ledger does not hold it, or the Gaussian mechanism finds no delta.
    """
    require_opendp()
    budget = Budget(config.epsilon, config.delta)
    total = rho_within(budget) if config.mechanism == "gaussian" else budget.epsilon
    if total <= 0:
        raise BudgetExceededError(
            "a report with Gaussian noise needs delta above 0; give delta, or mechanism=laplace; nothing was read",
            requested=math.nextafter(budget.epsilon, math.inf),
            available=budget.epsilon,
        )
    if config.mechanism == "gaussian" and units is not None:
        require_below(config.delta, units)
    curve = zero_concentrated(total) if config.mechanism == "gaussian" else pure(total)
    ledger.spend(f"evaluate privately, {config.mechanism} noise", curve)
    return Grant(config.mechanism, total)


def private_evidence(
    real: Dataset,
    synthetic: Dataset,
    *,
    config: EvaluateConfig,
    ledger: PrivacyLedger,
    rng: random.Generator,
    units: int | None = None,
) -> tuple[Evidence, int]:
    """Return scores by noisy counts of real rows, charged first, and how many rows these tell of.

    ``rng`` fits the learner and repeats the bootstrap; no noise that protects a row comes from it.

    Args:
        units: Number of privacy units, if it is public knowledge; otherwise delta is held against the noisy counts.

    Raises:
        DeltaError: if delta is 1 over the number of privacy units or more, as far as noise lets it be told.
        SchemaError: if a column is not public, or says too little of its domain, or a target is none.
        UnsupportedError: for a number to predict, several tables, or without OpenDP.
        BudgetExceededError: if the ledger does not hold the budget; nothing was read.
        UnitError: if the ledger, or its budget file, is of another privacy unit.
    """
    from synth_components.generators.tabular._graphical import rows_per_unit
    from synth_components.generators.tabular._public_cells import cells_of, coded

    if len(real.schema.tables) > 1 or real.is_lazy:
        raise UnsupportedError(
            "a private report judges one table that fits into memory; use privacy=none, or fewer rows"
        )
    cells = cells_of(real.schema.modelled, bins=BINS)
    target = config.target
    if target:
        kind = real.schema.columns.get(target)
        if kind is None or target not in cells:
            raise SchemaError(f"the target '{target}' is no column that is modelled", column=target)
        if not isinstance(kind, Categorical | Boolean):
            raise UnsupportedError(
                f"column '{target}' is a number or time: a private report predicts categories only; leave target out"
            )
    settle(ledger, real.schema.unit)
    release = _Release(charged(config, ledger, units=units), rows_per_unit(real.schema))
    held = coded(modelled(bounded(real)), cells)
    drawn = coded(modelled(synthetic), cells)
    sizes = {name: one.size for name, one in cells.items()}
    task = _TASK if target else 0.0
    pairs = list(combinations(cells, 2))
    singles = _SINGLES if pairs else 1 - task
    shapes, rows, spread = _compared(
        held, drawn, [(name,) for name in cells], sizes, release, singles, config, rng, "shape"
    )
    if units is None:
        _require_small(config, rows, spread, release.sensitivity)
    both, *_ = _compared(held, drawn, pairs, sizes, release, 1 - task - singles, config, rng, "pairs")
    scores = [*shapes, *both]
    if target:
        scores += _task(held, drawn, target, sizes, release, task, config, rng)
    reason = "it reads real rows without noise, which the budget of this report does not allow"
    names = ("fidelity.detection", "fidelity.correlation", "utility.trtr", "utility.global", "privacy", "validity")
    left_out = pd.DataFrame([{"score": name, "subject": "", "reason": reason} for name in names])
    return Evidence(tuple(scores), tables={"left_out": left_out}), max(0, round(rows))


def _require_small(config: EvaluateConfig, rows: float, spread: float, sensitivity: int) -> None:
    """Raise if delta is too large for the units that there are at least, but for a chance of ``CHANCE``.

    What the rows are counted by was released already, so that asking costs nothing.

    Raises:
        DeltaError: if it is.
    """
    if config.mechanism == "laplace":
        return  # a guarantee without delta
    # P(noise >= t) <= exp(-t^2 / (2 spread^2)): the discrete Gaussian is subgaussian, as are weighted sums of it.
    least = math.floor((rows - math.sqrt(2 * math.log(1 / CHANCE)) * spread) / sensitivity)
    if least > 0:
        require_below(config.delta, least)


def _compared(
    held: Mapping[str, NDArray[np.int64]],
    drawn: Mapping[str, NDArray[np.int64]],
    cliques: Sequence[tuple[str, ...]],
    sizes: Mapping[str, int],
    release: _Release,
    share: float,
    config: EvaluateConfig,
    rng: random.Generator,
    name: str,
) -> tuple[list[Score], float, float]:
    """Return 1 - the total variation of each clique, after their mean; how many rows there are, and that noise."""
    if not cliques:
        return [], 0.0, 0.0
    each = share / len(cliques)
    spread = release.spread(share=each)
    parts: list[tuple[float, Floats, float]] = []
    sums: list[float] = []
    made: list[Score] = []
    for clique in cliques:
        shape = tuple(sizes[column] for column in clique)
        cells = math.prod(shape)
        ours, theirs = (np.ravel_multi_index([side[c] for c in clique], shape) for side in (held, drawn))
        noisy = release.counts(ours, cells, share=each)
        sums.append(float(noisy.sum()) / math.sqrt(cells))  # weighed by the precision of a sum of so many
        counts = np.bincount(theirs, minlength=cells).astype(np.float64)
        parts.append(_alike(noisy.astype(np.float64), counts, spread, config.replicates, rng))
        made.append(_score(f"fidelity.private.{name}", *parts[-1], subject=clique))
    values, draws, floors = zip(*parts, strict=True)
    whole = _score(
        f"fidelity.private.{name}", float(np.mean(values)), np.mean(draws, axis=0), float(np.mean(floors)), subject=()
    )
    weight = sum(1 / math.sqrt(math.prod(sizes[column] for column in clique)) for clique in cliques)
    return [whole, *made], sum(sums) / weight, spread * math.sqrt(len(cliques)) / weight


def _alike(
    noisy: Floats, counts: Floats, spread: float, replicates: int, rng: random.Generator
) -> tuple[float, Floats, float]:
    """Return 1 - total variation, corrected for what noise and sampling add; its replicates; and its floor."""
    real, total = _shares(noisy)
    theirs = counts / max(counts.sum(), 1.0)
    seen = _overlap(real, theirs)
    again = np.empty(replicates)
    for k in range(replicates):
        sampled = rng.multinomial(max(1, round(total)), real) + rng.normal(scale=spread, size=len(real))
        again[k] = _overlap(_shares(sampled)[0], theirs)
    # Sampling and noise make what is alike look less so: by how much, the replicates tell.
    bias = float(np.mean(again)) - seen
    value = float(np.clip(seen - bias, 0.0, 1.0))
    draws = np.clip(2 * seen - again, 0.0, 1.0)
    # Of two samples of one law the mean of |difference| is sqrt(2 / pi) standard deviations, cell by cell.
    apart = np.sqrt(real * (1 - real) * (1 / max(total, 1.0) + 1 / max(counts.sum(), 1.0)))
    return value, draws, float(1 - np.sqrt(2 / np.pi) * apart.sum() / 2)


def _shares(noisy: Floats) -> tuple[Floats, float]:
    """Return the shares nearest to noisy counts that are at least 0 and sum to 1, and how many rows there are."""
    total = max(float(noisy.sum()), 1.0)
    wanted = noisy / total
    descending = np.sort(wanted)[::-1]
    surplus = (np.cumsum(descending) - 1) / np.arange(1, len(wanted) + 1)
    kept = np.flatnonzero(descending > surplus)
    made = np.maximum(wanted - surplus[kept[-1]], 0.0)
    return made / made.sum(), total


def _overlap(a: Floats, b: Floats) -> float:
    return float(1 - np.abs(a - b).sum() / 2)


def _task(
    held: Mapping[str, NDArray[np.int64]],
    drawn: Mapping[str, NDArray[np.int64]],
    target: str,
    sizes: Mapping[str, int],
    release: _Release,
    share: float,
    config: EvaluateConfig,
    rng: random.Generator,
) -> list[Score]:
    """Return TSTR accuracy, and AUC of two classes, from a noisy table of truth and what the learner said."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    others = [name for name in sizes if name != target]
    truth = drawn[target]
    if len(np.unique(truth)) < 2 or not others:
        return []
    rows = rng.permutation(len(truth))[:_LEARNED_ROWS]
    learner = HistGradientBoostingClassifier(random_state=int(rng.integers(2**31)), early_stopping=False)
    learner.fit(np.stack([drawn[name][rows] for name in others], axis=1), truth[rows])
    # A row without a meaning beside the real ones: the learner asks for one at least.
    features = np.stack([np.append(held[name], 0) for name in others], axis=1)
    classes = sizes[target]
    spread = release.spread(share=share)
    if classes > 2:
        is_right = (learner.predict(features)[:-1] == held[target]).astype(np.int64)
        noisy = release.counts(is_right, 2, share=share).astype(np.float64)
        return [_estimated("accuracy", noisy, lambda table: float(table[1]), spread, target, config, rng)]
    # Where scores are cut, synthetic rows decide.
    chances = learner.predict_proba(np.stack([drawn[name] for name in others], axis=1))[:, 1]
    cuts = np.unique(np.append(np.quantile(chances, np.linspace(0, 1, SCORE_BINS + 1)[1:-1]), 0.5))
    place = np.searchsorted(cuts, learner.predict_proba(features)[:-1, 1], side="right")
    width = len(cuts) + 1
    noisy = release.counts(held[target] * width + place, 2 * width, share=share).astype(np.float64)
    half = int(np.flatnonzero(cuts == 0.5)[0]) + 1

    def accuracy(table: Floats) -> float:
        return float(table[:half].sum() + table[width + half :].sum())

    def area(table: Floats) -> float:
        none, some = table[:width], table[width:]
        below = np.cumsum(none) - none / 2  # ties count half
        return float((some * below).sum() / max(none.sum() * some.sum(), _ESTIMATED))

    return [
        _estimated(measure, noisy, of, spread, target, config, rng)
        for measure, of in (("accuracy", accuracy), ("auc", area))
    ]


def _estimated(
    measure: str,
    noisy: Floats,
    of: Callable[[Floats], float],
    spread: float,
    target: str,
    config: EvaluateConfig,
    rng: random.Generator,
) -> Score:
    """Return a measure of shares with its interval."""
    shares, total = _shares(noisy)
    seen = of(shares)
    again = np.array(
        [
            of(_shares(rng.multinomial(max(1, round(total)), shares) + rng.normal(scale=spread, size=len(shares)))[0])
            for _ in range(config.replicates)
        ]
    )
    draws = np.clip(2 * seen - again, 0.0, 1.0)
    # What real rows would teach would have to be read: the floor is the ideal.
    return _score(f"utility.private.tstr.{measure}", seen, draws, 1.0, subject=(target,))


def _score(name: str, value: float, draws: Floats, floor: float, *, subject: tuple[str, ...]) -> Score:
    low, high = np.quantile(draws, (0.025, 0.975))
    return Score(
        name,
        value,
        (float(min(low, value)), float(max(high, value))),
        float(np.std(draws)),
        float(np.clip(floor, 0.0, 1.0)),
        1.0,
        subject,
    )
