"""A race of generators by successive halving: all on few rows, the better ones on more, the best on all.

Source: Jamieson & Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization"
    (arXiv:1502.07943), Algorithm 1; the resource is training rows.
Differs: two candidates at least go into the last round.  A candidate whose next fit would not end in time, by how its
    last one took, drops out; the time for a last fit of the leader is kept.  Seconds decide, so that another machine
    may choose otherwise: the choice is written down.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import random

from synth_components.errors import StoppedError, SynthError
from synth_components.generators import make
from synth_components.protocols import Dataset, PrivacyLedger, Run, Sampler
from synth_components.stopping import interrupted_at

KEPT = 3
"""One of so many candidates goes on from a round, with so many times the rows."""
LEAST_ROWS = 2_000
"""Rows of the first round."""
MARGIN = 1.25
"""How much longer than its last fit, row for row, a fit may take."""
GRACE = 2.0
"""Seconds after which a fit that is asked to stop, and does not, is interrupted; at the deadline there are none."""
RESOLUTION = 1_000

Judge = Callable[[Sampler], float]


@dataclass(frozen=True)
class Trial:
    """One fit of a race.

    Attributes:
        generator: Its name.
        rows: Rows it learned from.
        score: What the judge said, larger is better; ``None`` if there was no fit.
        seconds: Of the fit and the judge.
        note: Why there was no fit.
    """

    generator: str
    rows: int
    score: float | None
    seconds: float
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the trial as a JSON value."""
        score = None if self.score is None else round(self.score, 4)
        return {**self.__dict__, "score": score, "seconds": round(self.seconds, 2)}


@dataclass(frozen=True)
class Finish:
    """How a race ended.

    Attributes:
        generator: The winner.
        sampler: Its last fit.
        share: The share of the race's rows that it learned from.
        seconds: What a fit on all rows is expected to take.
        trials: All fits, in order.
    """

    generator: str
    sampler: Sampler
    share: float
    seconds: float
    trials: tuple[Trial, ...]


def race(
    names: Sequence[str],
    data: Dataset,
    judge: Judge,
    *,
    deadline: float,
    rng: random.Generator,
    ledger: PrivacyLedger,
    run: Run,
) -> Finish:
    """Return the generator whose sampler the judge likes best.

    Every fit is charged to the ledger by the generator itself, which under a finite budget refuses.

    Args:
        judge: Scores a sampler, larger is better.
        deadline: When the race and a last fit of the winner must be over, on the clock of ``time.monotonic``: then
            whatever a candidate does is interrupted.

    Raises:
        StoppedError: if ``run`` says so.
        SynthError: if no candidate could be fitted in time.
    """
    sizes = rounds(len(data.table), len(names))
    order = rng.permutation(len(data.table))
    started, trials = time.monotonic(), []
    alive: dict[str, Trial] = {name: Trial(name, 0, None, 0.0) for name in names}
    leader: _Leader | None = None

    def over(ends: float) -> Callable[[], bool]:
        return lambda: run.should_stop() or time.monotonic() >= ends

    def told() -> None:
        passed, whole = time.monotonic() - started, max(deadline - started, 1e-9)
        run.report(min(RESOLUTION - 1, int(RESOLUTION * passed / whole)), RESOLUTION)

    for size in sizes:
        rows = np.sort(order[:size])
        part = replace(data, tables={data.schema.root: data.table.iloc[rows].reset_index(drop=True)})
        fitted: dict[str, tuple[Trial, Sampler]] = {}
        for place, (name, last) in enumerate(alive.items()):
            if run.should_stop():
                raise StoppedError("fit stopped as asked; nothing was saved")
            told()
            left = deadline - time.monotonic() - (_expected(leader.last, len(order)) if leader else 0.0)
            if last.rows and _expected(last, size) > left:
                trials.append(Trial(name, size, None, 0.0, "it would not have ended in time"))
                continue
            # The first fits have no forecast: together they may take half of the time, each an equal part of what is
            # left of it, so that none eats up the rest.
            first = started + (deadline - started) / 2 - time.monotonic()
            ends = time.monotonic() + (left if last.rows else max(0.0, min(left, first))) / (len(alive) - place)
            quiet = Run(device=run.device, should_stop=over(ends))
            last_calls = (min(ends + GRACE, deadline), deadline)
            made, sampler = _tried(name, part, judge, rng=rng, ledger=ledger, run=quiet, last_calls=last_calls)
            trials.append(made)
            if sampler is not None:
                fitted[name] = (made, sampler)
        if not fitted:
            break
        if leader is not None and leader.last.generator not in fitted:
            # Its fit on more rows did not end: its earlier one is a model as good as its score says.
            fitted[leader.last.generator] = (leader.last, leader.sampler)
        ranked = sorted(fitted, key=lambda name: -(fitted[name][0].score or 0.0))
        leader = _Leader(*fitted[ranked[0]])
        # Two go into the last round: on few rows the order of the best two is often another.
        alive = {name: fitted[name][0] for name in ranked[: max(2, math.ceil(len(ranked) / KEPT))]}
    if run.should_stop():
        raise StoppedError("fit stopped as asked; nothing was saved")
    if leader is None:
        told_by = "; ".join(sorted({f"{trial.generator}: {trial.note}" for trial in trials}))
        raise SynthError(f"no generator could be fitted in time ({told_by}); raise time_limit, or give it 0")
    last = leader.last
    share, seconds = last.rows / len(order), _expected(last, len(order))
    return Finish(last.generator, leader.sampler, share, seconds, tuple(trials))


@dataclass(frozen=True)
class _Leader:
    """The best trial so far, and its sampler."""

    last: Trial
    sampler: Sampler


def rounds(rows: int, entrants: int) -> list[int]:
    """Return the rows of each round: they grow ``KEPT``-fold to all, in as many rounds as entrants need."""
    most = 1 + math.ceil(math.log(max(entrants, 1), KEPT) - 1e-9)
    made = [rows]
    while len(made) < most and made[0] // KEPT >= LEAST_ROWS:
        made.insert(0, made[0] // KEPT)
    return made


def _expected(last: Trial, rows: int) -> float:
    """Return how long a fit is allowed to be expected to take, by the last one; time grows with the rows."""
    return 0.0 if not last.rows else MARGIN * last.seconds * rows / last.rows


def _tried(
    name: str,
    part: Dataset,
    judge: Judge,
    *,
    rng: random.Generator,
    ledger: PrivacyLedger,
    run: Run,
    last_calls: tuple[float, float],
) -> tuple[Trial, Sampler | None]:
    """Return a trial and its sampler; a generator that refuses the table, or is stopped, has none.

    Args:
        last_calls: When the fit is interrupted, and when the judge is.
    """
    begun, rows = time.monotonic(), len(part.table)
    try:
        sampler = interrupted_at(last_calls[0], lambda: make(name).fit(part, rng=rng, ledger=ledger, run=run))
        score = interrupted_at(last_calls[1], lambda: judge(sampler))
    except StoppedError:
        return Trial(name, rows, None, time.monotonic() - begun, "its time was over"), None
    except SynthError as error:
        return Trial(name, rows, None, time.monotonic() - begun, f"it refused: {type(error).__name__}"), None
    return Trial(name, rows, score, time.monotonic() - begun), sampler
