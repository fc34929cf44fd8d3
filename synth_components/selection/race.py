"""A race of generators by successive halving: all on few rows, the better ones on more, the best on all.

Source: Jamieson & Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization"
    (arXiv:1502.07943), Algorithm 1; the resource is training rows.
Differs: parts hold whole privacy units. Who refuses a part is asked again with more rows. The first candidate that can
    is fitted on few rows before the first round, so that there soon is a model, and its seconds tell how many rows that
    round may have. Two candidates at least go into the last round; where it leaves time, those that were dropped last,
    and were close, are fitted on all rows, too. A candidate whose next fit would not end in time, by how its last one
    took, drops out; of networks, which end early and have fixed costs, two fits tell. The time for a last fit of the
    leader is kept. Seconds decide, so that another machine may choose otherwise: the choice is written down. The model
    does not depend on them: the randomness of a fit follows from the seed, the generator and the number of rows.
"""

from __future__ import annotations

import logging
import math
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import random
from numpy.typing import NDArray

from synth_components.errors import StoppedError, SynthError
from synth_components.generators import make, recipe_type
from synth_components.protocols import Dataset, PrivacyLedger, Run, Sampler
from synth_components.split import taken, units_of
from synth_components.stopping import interrupted_at

_LOG = logging.getLogger(__name__)

KEPT = 3
"""One of so many candidates goes on from a round, with so many times the rows."""
FIRST_ROWS = 500
"""Rows of the fit before the first round, and the fewest of a round."""
LEAST_ROWS = 2_000
"""Rows of the first round, where there is time."""
SLOWER = 10
"""How many times longer than the first candidate's the fits of the others are taken to last, before one is known."""
MARGIN = 1.25
"""How much longer than is expected by its earlier fits a fit may take."""
LEAST_GROWTH = 0.1
"""Least part of a fit's seconds that is taken to grow with the rows, whatever two fits say: the first one of a process
also pays for what happens once."""
APART = 2
"""How many times more rows a second fit must have for the two to say how seconds grow."""
CLOSE = 0.9
"""Share of the best score of a round that who is dropped must have to be gone back to."""
GRACE = 2.0
"""Seconds after which a fit that is asked to stop, and does not, is interrupted; at most a tenth of the time, and at
the deadline there are none."""
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
        seconds: What that fit took.
        trials: All fits, in order.
    """

    generator: str
    sampler: Sampler
    share: float
    seconds: float
    trials: tuple[Trial, ...]


class Undecided(Exception):
    """Time was over before any candidate was fitted and judged: ``auto`` then fits what the rules choose.

    Attributes:
        trials: All fits, in order.
        refused: The candidates that refused the table.
    """

    def __init__(self, trials: tuple[Trial, ...], refused: frozenset[str]) -> None:
        super().__init__("no generator was fitted and judged in time; raise time_limit, or give it 0")
        self.trials, self.refused = trials, refused


class AllRefused(SynthError):
    """Every candidate refused all rows of the race.

    Attributes:
        trials: All fits, in order.
    """

    def __init__(self, refusals: Mapping[str, SynthError], trials: tuple[Trial, ...]) -> None:
        causes: dict[str, list[str]] = {}  # each once, with those that name it
        for name, error in refusals.items():
            causes.setdefault(str(error), []).append(name)
        told = "; ".join(f"{', '.join(names)}: {cause}" for cause, names in causes.items())
        super().__init__(f"every candidate refused the table: {told}")
        self.trials = trials


@dataclass(frozen=True)
class _Made:
    """One fit: its trial, its sampler if the judge scored it, the seconds of either, and what was raised instead.

    ``growth`` is the part of the seconds that grows with the rows, ``None`` where two fits have not told: all of them.
    It is less than that for networks alone, which end early and have fixed costs; trees are slower on more rows.
    """

    trial: Trial
    sampler: Sampler | None = None
    fitting: float = 0.0
    judging: float = 0.0
    refusal: SynthError | None = None
    growth: float | None = None

    def expected(self, rows: int, growth: float | None = None) -> float:
        """Return how long a fit is allowed to be expected to take, by this one and the one before.

        Args:
            growth: The part of the seconds that grows with the rows; by default what two fits tell, and all with one.
        """
        share = next(one for one in (growth, self.growth, 1.0) if one is not None)
        return MARGIN * self.fitting * (1 + share * (rows / self.trial.rows - 1))

    @property
    def is_open(self) -> bool:
        """Whether another fit is to tell how the seconds grow: with the rows, or, of a network, slower."""
        return self.growth is None and _is_network(self.trial.generator)

    def after(self, last: _Made | None) -> _Made:
        """Return this fit, with what it and the last one, of fewer rows, tell of how a network's seconds grow."""
        if last is None or not self.fitting or not _is_network(self.trial.generator):
            return self
        if self.trial.rows < APART * last.trial.rows:
            return replace(self, growth=last.growth)
        slope = (self.fitting - last.fitting) / (self.trial.rows - last.trial.rows)
        return replace(self, growth=min(1.0, max(LEAST_GROWTH, slope * self.trial.rows / self.fitting)))


def _by_unit(data: Dataset, *, rng: random.Generator) -> NDArray[np.int64]:
    """Return the rows (n,) in a random order, of which a beginning holds whole privacy units, but for the last one."""
    owner = units_of(data)
    if owner is None:
        return rng.permutation(len(data.table))
    return np.argsort(rng.permutation(int(owner.max(initial=-1)) + 1)[owner], kind="stable")


def _score(made: _Made) -> float:
    return made.trial.score or 0.0


def _is_network(name: str) -> bool:
    return "torch" in recipe_type(name).needs


def stream(seed: int, name: str, rows: int) -> random.Generator:
    """Return the randomness of a generator's fit on so many rows, whatever was tried before."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()), rows)))


def race(
    names: Sequence[str],
    data: Dataset,
    judge: Judge,
    *,
    deadline: float,
    seed: int,
    ledger: PrivacyLedger,
    run: Run,
) -> Finish:
    """Return the generator whose sampler the judge likes best.

    Every fit is charged to the ledger by the generator itself, which under a finite budget refuses.

    Args:
        names: The candidates; where time is short the first ones are tried, so that cheap and strong ones come first.
        judge: Scores a sampler, larger is better.
        deadline: When the race and a last fit of the winner must be over, on the clock of ``time.monotonic``: then
            whatever a candidate does is interrupted.
        seed: Of all that is random.

    Raises:
        StoppedError: if ``run`` says so.
        SynthError: an ``AllRefused`` if all candidates refuse the table; an ``Undecided`` if none was fitted in time.
    """
    return _Race(names, data, judge, deadline=deadline, seed=seed, ledger=ledger, run=run).finish()


class _Race:
    """The state of a race: who is in it, what was tried, and who leads."""

    def __init__(
        self,
        names: Sequence[str],
        data: Dataset,
        judge: Judge,
        *,
        deadline: float,
        seed: int,
        ledger: PrivacyLedger,
        run: Run,
    ) -> None:
        self._data, self._judge, self._ledger, self._run = data, judge, ledger, run
        self._started, self._deadline, self._seed = time.monotonic(), deadline, seed
        self._rows = len(data.table)
        self._order = _by_unit(data, rng=np.random.default_rng(seed))
        self._alive: dict[str, _Made | None] = dict.fromkeys(names)
        self._trials: list[Trial] = []
        self._refusals: dict[str, tuple[int, SynthError]] = {}  # of whom the last fit was one, on so many rows
        self._leader: _Made | None = None
        self._dropped: dict[str, _Made] = {}  # of the last round before that of all rows that dropped any
        self._sizes: list[int] = []  # rows of each round
        self._judging = 0.0  # what the judge took at last

    def finish(self) -> Finish:
        """Run all rounds."""
        entrants = len(self._alive)
        first = self._first()
        self._sizes = rounds(self._rows, entrants, first)
        if self._leader is None and self._sizes[-1] < self._rows:
            self._sizes.append(self._rows)  # who refuses a part may take the whole
        for size in self._sizes:
            if not self._round(size):
                break
        else:
            self._go_back()
        if self._run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        trials = tuple(self._trials)
        if self._leader is None or self._leader.sampler is None:
            if len(self._refusals) == entrants and all(size == self._rows for size, _ in self._refusals.values()):
                causes = {name: error for name, (_, error) in self._refusals.items()}
                raise AllRefused(causes, trials) from next(iter(causes.values()))
            raise Undecided(trials, frozenset(self._refusals))
        last = self._leader.trial
        return Finish(last.generator, self._leader.sampler, last.rows / self._rows, self._leader.fitting, trials)

    def _first(self) -> int:
        """Return the most rows for the first round, told by the first candidate that can be fitted on a few."""
        if self._rows < 2 * FIRST_ROWS:
            return self._rows
        for name in tuple(self._alive):
            made = self._tried(name, FIRST_ROWS, len(self._alive))
            if made.sampler is None:
                if made.refusal is None:
                    del self._alive[name]  # on more rows it would not end sooner
                continue
            self._alive[name] = self._leader = made
            others = max(len(self._alive) - 1, 1)
            fitting = self._half() / others - made.judging
            return max(FIRST_ROWS, min(self._rows, int(FIRST_ROWS * fitting / (SLOWER * max(made.fitting, 1e-3)))))
        return KEPT * FIRST_ROWS  # so few have not what any of them asks for: a category that enough rows share, say

    def _half(self) -> float:
        """Return what is left of the first half of the time, in which candidates without a forecast are fitted."""
        return max(0.0, (self._started + self._deadline) / 2 - time.monotonic())

    def _round(self, size: int) -> bool:
        """Fit those that are in the race on so many rows, and return whether there is anyone to go on with."""
        fitted: dict[str, _Made] = {}
        refused: list[str] = []  # they may take more rows
        for place, (name, last) in enumerate(self._alive.items()):
            if last is not None and last.trial.rows >= size:
                fitted[name] = last
                continue
            left = self._deadline - time.monotonic() - self._reserve()
            growth = LEAST_GROWTH if last is not None and last.is_open and size < self._rows else None
            if last is not None and last.expected(size, growth) + self._judging > left:
                self._trials.append(Trial(name, size, None, 0.0, "it would not have ended in time"))
                if self._leader is not None and name == self._leader.trial.generator:
                    return False  # what is left is for its last fit, on all rows
                continue
            made = self._tried(name, size, len(self._alive) - place, last)
            if made.sampler is not None:
                fitted[name] = made
            elif made.refusal is not None and size < self._rows:
                refused.append(name)
        if not fitted:
            self._alive = dict.fromkeys(refused)
            return bool(refused)
        if self._leader is not None and self._leader.trial.generator not in fitted:
            # Its fit on more rows did not end: its earlier one is a model as good as its score says.
            fitted[self._leader.trial.generator] = self._leader
        able, unsure = self._able(fitted, size)
        ranked = sorted([*able, *unsure], key=lambda name: -_score(fitted[name]))
        self._leader = fitted[next(name for name in ranked if name in able)]
        # Two go into the last round: on few rows the order of the best two is often another.
        kept = ranked[: max(2, math.ceil(len(fitted) / KEPT))]
        if not any(map(_is_network, kept)):  # they gain more by more rows than others do: the best of them goes on, too
            kept += [name for name in ranked if _is_network(name)][:1]
        self._alive = {name: fitted[name] for name in kept} | dict.fromkeys(refused)
        if size < self._rows and len(ranked) > len(kept):
            least = CLOSE * _score(fitted[ranked[0]])
            self._dropped = {n: fitted[n] for n in ranked if n not in kept and _score(fitted[n]) >= least}
        return True

    def _go_back(self) -> None:
        """Fit on all rows those that were dropped last and were close, the better first, while there is time.

        On fewer rows the order is often another, and time that is left buys nothing else.
        """
        for name, last in self._dropped.items():
            left = self._deadline - time.monotonic() - self._reserve()
            if last.expected(self._rows) + self._judging > left:
                self._trials.append(Trial(name, self._rows, None, 0.0, "it would not have ended in time"))
                continue
            made = self._tried(name, self._rows, 1, last)
            if made.sampler is not None and self._leader is not None and _score(made) > _score(self._leader):
                self._leader = made

    def _able(self, fitted: Mapping[str, _Made], size: int) -> tuple[list[str], list[str]]:
        """Return who could still be fitted on all rows, all, if none could; and of whom another fit is to tell.

        The others would win with a model of few rows, and a last fit kept for them would take everybody's time.
        """
        left = self._deadline - time.monotonic()
        able = [name for name, made in fitted.items() if made.expected(self._rows) <= left]
        if size == self._rows or not able:
            return list(fitted), []
        unsure = [
            name
            for name, made in fitted.items()
            if name not in able
            and made.is_open
            and made.expected(self._rows, LEAST_GROWTH) <= left
            and any(APART * size <= more < self._rows for more in self._sizes)
        ]
        late = [name for name in fitted if name not in (*able, *unsure)]
        self._trials += [Trial(name, self._rows, None, 0.0, "it would not have ended in time") for name in late]
        return able, unsure

    def _reserve(self) -> float:
        """Return the seconds kept for a last fit of the leader."""
        return 0.0 if self._leader is None else self._leader.expected(self._rows)

    def _tried(self, name: str, size: int, waiting: int, last: _Made | None = None) -> _Made:
        """Return a fit on so many rows, judged.

        Without a last one there is no forecast: all first fits together take half of the time.  Each has a third of
        what is left of it, or an equal part if that is more, so that none eats up the rest.  The second fit of a
        network, which tells how its seconds grow, has at most a third of what is left.

        Args:
            waiting: How many candidates are to be fitted in this round, with this one.
        """
        if self._run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        now = time.monotonic()
        passed, whole = now - self._started, max(self._deadline - self._started, 1e-9)
        self._run.report(min(RESOLUTION - 1, int(RESOLUTION * passed / whole)), RESOLUTION)
        if last is None:
            ends = now + max(0.0, self._half() - self._judging) / min(waiting, KEPT)
        else:
            left = self._deadline - now - self._reserve()
            wanted = max(left / waiting - self._judging, last.expected(size))
            ends = now + (min(wanted, left / KEPT) if last.is_open and size < self._rows else wanted)
        part = replace(taken(self._data, np.sort(self._order[:size])), is_trial=size < self._rows)
        run = self._run
        quiet = Run(device=run.device, should_stop=lambda: run.should_stop() or time.monotonic() >= ends)
        grace = min(GRACE, whole / 10)
        made = self._fitted(name, part, run=quiet, last_call=min(ends + grace, self._deadline)).after(last)
        self._trials.append(made.trial)
        self._refusals.pop(name, None)
        if made.refusal is not None:
            self._refusals[name] = (size, made.refusal)
        elif made.sampler is not None:
            self._judging = made.judging
        return made

    def _fitted(self, name: str, part: Dataset, *, run: Run, last_call: float) -> _Made:
        """Return a fit, interrupted at ``last_call``; one that is refused, fails, or is stopped has no sampler."""
        begun, rows = time.monotonic(), len(part.table)
        rng, ledger = stream(self._seed, name, rows), self._ledger

        def without(note: str, refusal: SynthError | None = None) -> _Made:
            return _Made(Trial(name, rows, None, time.monotonic() - begun, note), refusal=refusal)

        try:
            sampler = interrupted_at(last_call, lambda: make(name).fit(part, rng=rng, ledger=ledger, run=run))
        except StoppedError:
            return without("its time was over")
        except SynthError as error:
            return without(f"it refused: {type(error).__name__}", error)
        except Exception as error:  # noqa: BLE001 - a fault of one, which is told, shall not cost the others' model
            # Not with its message, which may quote a cell.
            _LOG.warning("%s failed in a race: %s; fit it alone to see why", name, type(error).__name__)
            return without(f"it failed: {type(error).__name__}")
        judged_at = time.monotonic()
        try:
            score = interrupted_at(self._deadline, lambda: self._judge(sampler))
        except StoppedError:
            return without("time was over before it was judged")
        except SynthError as error:
            return without(f"it could not be judged: {type(error).__name__}")
        ended = time.monotonic()
        return _Made(Trial(name, rows, score, ended - begun), sampler, judged_at - begun, ended - judged_at)


def rounds(rows: int, entrants: int, first: int) -> list[int]:
    """Return the rows of each round: they grow ``KEPT``-fold to all, in as many rounds as entrants need.

    Args:
        first: The most rows for the first round.
    """
    most = 1 + math.ceil(math.log(max(entrants, 1), KEPT) - 1e-9)
    made = [rows]
    while len(made) < most and made[0] // KEPT >= LEAST_ROWS:
        made.insert(0, made[0] // KEPT)
    if first >= made[0]:
        return made
    return [first, *(size for size in made if size >= 2 * first)]
