"""Auto: chooses a generator for the table, fits it, and says why.

Without a time limit, rules decide by columns, rows and privacy (``selection.choice``).  With one, candidates whose
packages are installed race by successive halving (``selection.race``): all on some rows, the better ones on more, by a
detector on rows that none of them saw; the winner is fitted on all rows if there is time.  If none was fitted and
judged in time, the rules choose after all.  The choice, its reasons and every trial stand in the model's manifest.
Where the schema orders the rows, and a candidate knows sequences, rules decide: the detector sees single rows, and not
whether sequences are like the training ones.

Under a privacy budget nothing is tried: the schema and the budget decide alone.

Source: Jamieson & Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization"
    (arXiv:1502.07943), successive halving; Lopez-Paz & Oquab 2017, "Revisiting Classifier Two-Sample Tests", the judge.
Differs: see ``selection.race`` and ``selection.choice``.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy import random
from pydantic import Field, field_validator

from synth_components.config import LEFT, Recipe
from synth_components.errors import ArtifactError, StoppedError, SynthError, UnsupportedError
from synth_components.generators import make, sampler_type
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Given, PrivacyLedger, Run, Sampler
from synth_components.schema import Schema
from synth_components.split import sides_of, units_of
from synth_components.stopping import interrupted_at

_LOG = logging.getLogger(__name__)

LEAST_HELD_OUT = 100
"""Fewest rows that a race is judged by, and learns from; of smaller tables the rules choose."""
MOST_HELD_OUT = 5_000
BY_ROWS = (
    "what the model keeps of the rows has the support of min_category_count rows, and not of privacy units: give the "
    "race more time, or fit the generator that it chose by itself"
)


class Auto(Recipe):
    """Choose a generator for the table, fit it, and say why."""

    of_members: ClassVar[bool] = True

    time_limit: Annotated[float, LEFT] = Field(
        0.0,
        ge=0,
        le=604_800,
        description="Seconds in which candidates race, the last fit included, their imports not; if none is fitted in "
        "time, the rules' choice is, however long it takes. 0 lets rules choose by columns, rows and privacy. None "
        "under a privacy budget, where no row may be tried.",
    )
    candidates: tuple[str, ...] = Field(
        (),
        description="Names of the generators that race, in this order where time is short, or that the rules choose "
        "from; empty takes all of ours whose packages are installed.",
    )
    holdout_share: Annotated[float, LEFT] = Field(
        0.1, gt=0, le=0.5, description="Share of the rows, at most 5,000 of them, by which the race is judged."
    )

    @field_validator("candidates")
    @classmethod
    def _are_others(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse this generator itself."""
        if "auto" in names:
            raise ValueError("auto cannot be a candidate of auto; name generators that it may choose")
        return names

    def members_without_privacy(self) -> str:
        """Return why a fit with these options is not differentially private, if that is for its members."""
        return "trying generators reads the rows without noise; drop time_limit" if self.time_limit else ""

    def sequence_column(self, schema: Schema) -> str:
        """Return the column by which the rules tell sequences apart; empty where they tell none."""
        from synth_components.selection.choice import sequence_generators, sequences_of

        return sequences_of(schema) if sequence_generators(self.candidates) else ""

    def one_sequence(self, schema: Schema) -> str | None:
        """Return the schema's order where the rules choose a generator of sequences and tell none apart."""
        from synth_components.selection.choice import sequence_generators

        is_one = sequence_generators(self.candidates) and not self.sequence_column(schema)
        return schema.modelled.order.get(schema.root) if is_one else None

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> AutoSampler:
        """Return the chosen generator's sampler.

        Raises:
            UnsupportedError: for a time limit under a privacy budget, or if no candidate's packages are installed.
            BudgetExceededError: under a budget, if no generator that keeps one is installed, or among the candidates.
            SynthError: if all candidates refuse the table.
            StoppedError: if ``run`` says so.
        """
        from synth_components.selection.choice import chosen

        budget = ledger.remaining()
        if budget is not None:
            if self.time_limit:
                raise UnsupportedError(
                    "trying generators reads the rows without noise, which a privacy budget does not allow; drop "
                    "time_limit, and the schema decides"
                )
            choice = chosen(data.schema, rows=None, budget=budget, among=self.candidates)
            return _fitted(choice, data, rng=rng, ledger=ledger, run=run)
        ledger.spend("choose a generator", not_private)
        if self.time_limit:
            return self._timed(data, rng=rng, ledger=ledger, run=run)
        choice = chosen(data.schema, rows=data.num_rows(data.schema.root), budget=None, among=self.candidates)
        return _fitted(choice, data, rng=rng, ledger=ledger, run=run)

    def _timed(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> AutoSampler:
        """Return the winner of a race; the generator that the rules choose, where there can be none or no winner."""
        from synth_components.selection.choice import candidates, chosen, sequence_generators
        from synth_components.selection.race import AllRefused, Undecided

        rows = data.num_rows(data.schema.root)
        trials: tuple[dict[str, Any], ...] = ()
        refused: frozenset[str] = frozenset()
        refusal: AllRefused | None = None
        sides = None
        if data.schema.order and sequence_generators(self.candidates):
            told = "no race: its judge sees single rows, and not whether sequences are like the training ones"
        elif self.holdout_share * rows < LEAST_HELD_OUT:
            told = f"{rows} rows are too few to race on"
        else:
            share = min(self.holdout_share, MOST_HELD_OUT / rows)
            sides = sides_of(data, share=share, rng=rng, least=LEAST_HELD_OUT)
            told = f"no race: the privacy units cannot be split into sides of {LEAST_HELD_OUT} rows or more"
        if sides is not None:
            try:
                return self._raced(data, *sides, rng=rng, ledger=ledger, run=run)
            except Undecided as error:
                told = (
                    f"none of the candidates was fitted and judged within {self.time_limit:g} s, as the trials tell: "
                    "this fit has no limit"
                )
                trials, refused = tuple(trial.to_json() for trial in error.trials), error.refused
            except AllRefused as error:
                told = "every candidate refused rows of which some were set apart: this one had them all, and no limit"
                trials, refusal = tuple(trial.to_json() for trial in error.trials), error
        asked = candidates(data.schema, self.candidates) if self.candidates else ()
        able = [name for name in asked if name not in refused] or asked
        choice = chosen(data.schema, rows=rows, budget=None, is_timed=True, among=able)
        if trials:  # whoever set a limit hears that it is passed, while the fit can still be stopped
            _LOG.warning("%s; %s is fitted", told, choice.generator)
        choice = replace(choice, reasons=(told, *choice.reasons), trials=trials)
        try:
            return _fitted(choice, data, rng=rng, ledger=ledger, run=run)
        except StoppedError:
            raise
        except SynthError as error:
            raise (error if refusal is None else refusal) from None

    def _raced(
        self,
        data: Dataset,
        learnt: Dataset,
        held_out: Dataset,
        *,
        rng: random.Generator,
        ledger: PrivacyLedger,
        run: Run,
    ) -> AutoSampler:
        from synth_components.evaluation.detection import c2st
        from synth_components.selection.choice import Choice, candidates, left_out
        from synth_components.selection.loading import load
        from synth_components.selection.race import RESOLUTION, race

        table, apart = data.table, held_out.table
        seed = int(rng.integers(2**31))

        def judge(sampler: Sampler) -> float:
            # The same streams for every candidate: a difference is theirs, not the judge's.
            drawn = sampler.sample(len(apart), rng=np.random.default_rng(seed))
            return c2st(held_out, drawn, rng=np.random.default_rng(seed))

        names = candidates(data.schema, self.candidates)
        load(names)
        deadline = time.monotonic() + self.time_limit
        ended = race(
            names,
            learnt,
            judge,
            deadline=deadline,
            seed=seed,
            ledger=ledger,
            run=run,
        )
        tried = {trial.generator for trial in ended.trials if trial.score is not None}
        best = next(t.score for t in reversed(ended.trials) if t.generator == ended.generator and t.score is not None)
        reasons = [
            f"it was hardest to detect of {len(tried)} generators tried within {self.time_limit:g} s: C2ST {best:.3f} "
            f"against {len(apart)} rows that none of them saw"
        ]
        if not self.candidates:
            reasons += [f"{name} was not tried: {why}" for name, why in left_out(data.schema).items()]
        sampler: Sampler = ended.sampler
        learned = int(len(learnt.table) * ended.share)
        again, why = None, "time was over"
        # It takes longer than the last one, of fewer rows; how much longer is a guess, and trying costs what is left.
        if time.monotonic() + ended.seconds <= deadline:
            reached = int(RESOLUTION * (1 - (deadline - time.monotonic()) / self.time_limit))

            def report(done: int, total: int, /, **metrics: float) -> None:
                place = reached + (RESOLUTION - reached) * done // max(total, 1)
                run.report(min(place, RESOLUTION - 1), RESOLUTION, **metrics)

            last = replace(run, warm_start=None, report=report)
            again, why = _again(ended.generator, data, deadline, seed=seed, ledger=ledger, run=last)
        if again is None:
            reasons.append(f"its model is that of the race, of {learned} of {len(table)} rows: {why}")
            if ended.share < 1 and units_of(data) is not None:
                reasons.append(BY_ROWS)
        else:
            sampler = again
            reasons.append("it was fitted again on all rows")
        run.report(RESOLUTION, RESOLUTION)
        trials = tuple(trial.to_json() for trial in ended.trials)
        return AutoSampler(sampler, Choice(ended.generator, {}, tuple(reasons), trials).to_json())


def _again(
    name: str, data: Dataset, deadline: float, *, seed: int, ledger: PrivacyLedger, run: Run
) -> tuple[Sampler | None, str]:
    """Return the winner's sampler fitted on all rows; or ``None`` and why there is none."""
    from synth_components.selection.race import stream

    def is_over() -> bool:
        return run.should_stop() or time.monotonic() >= deadline

    rng, bounded = stream(seed, name, len(data.table)), replace(run, should_stop=is_over)
    try:
        return interrupted_at(deadline, lambda: make(name).fit(data, rng=rng, ledger=ledger, run=bounded)), ""
    except StoppedError:
        if run.should_stop():
            raise
        return None, "time was over"
    except Exception as error:  # noqa: BLE001 - what the race found, which took the time, shall not be lost
        # Not with its message, which may quote a cell.
        _LOG.warning("%s failed on all rows: %s; fit it alone to see why", name, type(error).__name__)
        return None, f"its fit on all rows failed ({type(error).__name__})"


def _fitted(choice: Any, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> AutoSampler:  # noqa: ANN401 - a Choice, which is imported late
    if run.should_stop():
        raise StoppedError("fit stopped as asked; nothing was saved")
    recipe = make(choice.generator, dict(choice.options))
    return AutoSampler(recipe.fit(data, rng=rng, ledger=ledger, run=run), choice.to_json())


@dataclass(frozen=True, eq=False)
class AutoSampler:
    """The chosen generator's sampler, and the choice.

    Attributes:
        member: The sampler.
        choice: ``generator``, ``options``, ``reasons`` and ``trials``: a JSON value.
    """

    member: Sampler
    choice: Mapping[str, Any]

    @property
    def schema(self) -> Schema:
        """The schema of the rows."""
        return self.member.schema

    @property
    def holds_rows(self) -> bool:
        """Whether the chosen sampler keeps training rows."""
        return bool(getattr(self.member, "holds_rows", False))

    @property
    def sequences(self) -> object:
        """How the chosen sampler numbers sequences; ``None`` where it draws none."""
        return getattr(self.member, "sequences", None)

    def numbering(self, *, first: int, end: int, total: int) -> Self:
        """Return this sampler for a part of a call's rows; sequences of other parts have other names."""
        member: Any = self.member
        if not hasattr(member, "numbering"):
            return self
        return replace(self, member=member.numbering(first=first, end=end, total=total))

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows of the chosen generator.

        Raises:
            UnsupportedError: if it cannot condition on ``given``.
            ConditionError: if it gives ``given`` no mass.
        """
        return self.member.sample(n, rng=rng, given=given)

    def save(self, directory: Path) -> None:
        """Write ``choice.json`` and the chosen sampler's folder."""
        (directory / "choice.json").write_text(json.dumps(dict(self.choice), sort_keys=True), encoding="utf-8")
        (directory / "member").mkdir()
        self.member.save(directory / "member")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote.

        Raises:
            ArtifactError: if ``choice.json`` names no generator.
            UnsupportedError: for a generator that is not installed.
        """
        choice = json.loads((directory / "choice.json").read_text(encoding="utf-8"))
        if not isinstance(choice, dict) or not isinstance(choice.get("generator"), str):
            raise ArtifactError("choice.json names no generator: the model was altered; save it anew")
        return cls(sampler_type(choice["generator"]).load(directory / "member"), choice)


GENERATOR = Auto
SAMPLER = AutoSampler
