"""What to do after a missed threshold: change what the report recommends, and look again, on training rows alone.

A part of the training rows is set apart, and every setting is fitted on the others and judged by that part.  The
holdout of the final report is no argument of the search, so that the report stays an honest one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from pydantic import Field

from synth_components.config import Config, ConfigError, Recipe
from synth_components.errors import DataError, StoppedError, SynthError, UnsupportedError
from synth_components.evaluation.options import EvaluateConfig
from synth_components.evaluation.recommendation import Recommendation, resolved
from synth_components.generators import DEFAULT, recipe_type
from synth_components.monitor import require_monitored
from synth_components.protocols import Dataset, Monitor, PrivacyLedger, Run
from synth_components.schema import TABLE, Schema
from synth_components.split import last_rows, past_and_future, reduced, some_units, split, together

if TYPE_CHECKING:
    from synth_components.constraints import Constraint
    from synth_components.evaluation.report import Report
    from synth_components.model import Model

_LOG = logging.getLogger(__name__)

_FINDINGS = 2  # that are told of a change
_ADVICE = 4  # that is told of what is left

Shortfalls: TypeAlias = "Callable[[Report], Sequence[str]]"
"""What a report misses, a line each."""

Monitored: TypeAlias = Callable[[Dataset, Recipe], tuple[Dataset, Monitor]]
"""Rows for a recipe to learn from, and a monitor that judges by others which were set apart."""


class OptimizeConfig(Config):
    """How long to follow what reports recommend, and how far."""

    rounds: int = Field(4, ge=1, le=1_000, description="Most settings to try, the one that was asked for included.")
    time_limit: float = Field(0.0, ge=0, description="Seconds after which no further setting is tried; 0 for no limit.")
    share: float = Field(
        0.2,
        gt=0,
        le=0.5,
        description="Share of the training rows by which settings are judged, each fitted on the rest.",
    )
    optimize_rows: int = Field(
        50_000,
        ge=100,
        description="Training rows that settings are fitted on and judged by; of more, so many at random.",
    )
    loosen: bool = Field(
        default=False,
        description="Whether a privacy knob may go beyond its default to the side that follows the training rows "
        "closer. Back to its default it may always go.",
    )


@dataclass(frozen=True)
class Round:
    """One setting that was tried.

    Attributes:
        generator: Its name.
        options: Its options.
        changed: What is changed of the setting that it follows from, in words; empty for the first.
        because: The findings that ask for it.
        quality: Overall score by rows set apart; ``None`` without one.
        missed: The thresholds that it misses, a line each.
        note: Why there was no fit.
    """

    generator: str
    options: dict[str, Any]
    changed: tuple[str, ...] = ()
    because: tuple[str, ...] = ()
    quality: float | None = None
    missed: tuple[str, ...] = ()
    note: str = ""

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """Larger is better: fitted, with no threshold missed, by the overall score."""
        return not self.note, not self.missed, -1.0 if self.quality is None else self.quality

    def to_json(self) -> dict[str, Any]:
        """Return the round as a JSON value."""
        return {
            **self.__dict__,
            "changed": list(self.changed),
            "because": list(self.because),
            "missed": list(self.missed),
        }


OnRound: TypeAlias = Callable[[Round], None]
"""Whoever is told of each round as it ends."""


@dataclass(frozen=True)
class Optimized:
    """What following the recommendations led to.

    Attributes:
        rounds: Every setting, in the order tried; the first is the one that was asked for.
        kept: Place of the best of them.
        ended: Why no further one was tried.
        rows: Training rows that settings were fitted on, and those that they were judged by.
        advice: What the report on the best setting still recommends to a person; empty if it misses nothing.
        notes: What the trials do not tell, as sentences.
    """

    rounds: tuple[Round, ...]
    kept: int
    ended: str
    rows: tuple[int, int]
    advice: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Round:
        """The setting that was kept."""
        return self.rounds[self.kept]

    def told(self) -> tuple[str, ...]:
        """Return what was tried, why, and what was kept, as sentences."""
        learnt, apart = self.rows
        lines = [
            f"auto_optimize tried {len(self.rounds)} {'setting' if len(self.rounds) == 1 else 'settings'}, each fitted "
            f"on {learnt} training rows and judged by {apart} others; no row of the holdout was read for it.",
            *self.notes,
        ]
        for number, one in enumerate(self.rounds, start=1):
            said = ", ".join(one.changed) or "as asked"
            why = f", because {'; '.join(one.because)}" if one.because else ""
            quality = "not scored" if one.quality is None else f"{one.quality:.3f}"
            judged = (
                f"quality {quality}; {'it misses: ' + '; '.join(one.missed) if one.missed else 'nothing is missed'}"
            )
            lines.append(f"Round {number}, {one.generator}, {said}{why}: {one.note or judged}.")
        lines.append(f"Round {self.kept + 1} was kept, and fitted on all training rows. {self.ended}.")
        if self.advice:
            lines.append(f"What is left is for a person to do: {'; '.join(self.advice)}.")
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the search as a JSON value."""
        return {
            "generator": self.best.generator,
            "options": self.best.options,
            "told": list(self.told()),
            "trials": [one.to_json() for one in self.rounds],
        }


def auto_optimize(
    table: pd.DataFrame | Dataset,
    *,
    generator: str = DEFAULT,
    options: Mapping[str, Any] | None = None,
    config: OptimizeConfig = OptimizeConfig(),  # noqa: B008 - frozen
    evaluate: EvaluateConfig = EvaluateConfig(),  # noqa: B008 - frozen
    missed: Shortfalls | None = None,
    schema: Schema | None = None,
    constraints: Sequence[Constraint | Mapping[str, Any]] = (),
    unit: tuple[str, ...] = (),
    seed: int = 0,
    trust: tuple[str, ...] = (),
    ledger: PrivacyLedger | None = None,
    run: Run | None = None,
    on_round: OnRound | None = None,
) -> tuple[Model, Optimized]:
    """Return a model of all rows with the best setting that recommendations led to, and what was tried.

    Args:
        table: Training rows.  Keep the rows that you will judge the model by out of them.
        evaluate: How to judge; without ``missed`` its ``min_quality`` is the threshold.
        missed: What a report misses, a line each; what is missed is mended until nothing is, or nothing is left to try.
        unit: Columns that say whom a row belongs to; empty takes those of the schema.
        ledger: Charged for the rows; one with a budget refuses, as does the budget file of the circumstances.
        run: Its monitor is of the last fit alone, and of generators that ask one; trials have none.
        on_round: Told of each round as it ends.

    Raises:
        BudgetExceededError: under a privacy budget; nothing was read.
        GuardError: if the privacy policy asks for one; nothing was read.
        ConfigError: without a threshold, or with a report that is itself private and recommends nothing.
        UnsupportedError: for linked tables, a model to go on from, or a monitor of a generator that asks none.
        StoppedError: if ``run`` says so.
    """
    from synth_components import fitting

    found = optimized(
        table,
        generator=generator,
        options=options,
        config=config,
        evaluate=evaluate,
        missed=missed,
        schema=schema,
        constraints=constraints,
        unit=unit,
        seed=seed,
        trust=trust,
        ledger=ledger,
        run=run,
        on_round=on_round,
    )
    best = found.best
    fitted = fitting.fit(
        table,
        generator=best.generator,
        options=best.options,
        seed=seed,
        schema=schema,
        constraints=constraints,
        trust=trust,
        run=run,
    )
    return noted(fitted, found), found


def noted(fitted: Model, found: Optimized) -> Model:
    """Return a model whose manifest says how its setting was found."""
    return replace(fitted, manifest=fitted.manifest.model_copy(update={"choice": found.to_json()}))


def optimized(
    table: pd.DataFrame | Dataset,
    *,
    generator: str = DEFAULT,
    options: Mapping[str, Any] | None = None,
    config: OptimizeConfig = OptimizeConfig(),  # noqa: B008 - frozen
    evaluate: EvaluateConfig = EvaluateConfig(),  # noqa: B008 - frozen
    missed: Shortfalls | None = None,
    schema: Schema | None = None,
    constraints: Sequence[Constraint | Mapping[str, Any]] = (),
    unit: tuple[str, ...] = (),
    seed: int = 0,
    trust: tuple[str, ...] = (),
    ledger: PrivacyLedger | None = None,
    run: Run | None = None,
    on_round: OnRound | None = None,
    monitored: Monitored | None = None,
) -> Optimized:
    """Return what ``auto_optimize`` finds, without the fit on all rows.

    Args:
        monitored: How the last fit will be monitored: so is each trial, and other generators are not taken.
    """
    from synth_components.policy import guard
    from synth_components.privacy.budget_file import opened
    from synth_components.privacy.ledger import not_private

    if missed is None and not evaluate.min_quality:
        raise ConfigError(
            "auto_optimize mends what misses a threshold, and there is none; give min_quality", option="min_quality"
        )
    if evaluate.privacy == "dp":
        raise ConfigError("a private report recommends nothing; leave privacy=dp out", option="privacy")
    run = Run() if run is None else run
    if run.warm_start is not None:
        raise UnsupportedError("auto_optimize fits anew, and does not go on from a model; leave warm_start out")
    if monitored is not None or run.monitor is not None:
        require_monitored(recipe_type(generator, trust=trust).parse(dict(options or {})), generator)
    declared = schema or (table.schema if isinstance(table, Dataset) else None)
    is_asked = declared is None and guard.policy_here() is not None
    names = list(table.columns) if is_asked and isinstance(table, pd.DataFrame) else None
    guard.admit(None, declared, label="auto_optimize", columns=names)
    opened(ledger).spend("auto_optimize", not_private)
    learnt, apart = _parts(table, schema, generator, options, config, unit, seed, trust)
    search = _Search(
        learnt,
        apart,
        evaluate,
        missed or _by_quality(evaluate.min_quality),
        tuple(constraints),
        seed,
        trust,
        run,
        monitored,
    )
    started = time.monotonic()
    rounds: list[Round] = []
    best, ended = 0, ""
    advice: tuple[Recommendation, ...] = ()
    barred: dict[str, str] = {}
    queue = [Round(generator, dict(options or {}))]
    while not ended:
        made, told = search.tried(queue.pop(0))
        rounds.append(made)
        if on_round is not None:
            on_round(made)
        if len(rounds) == 1 or made.rank > rounds[best].rank:
            best, advice, queue = len(rounds) - 1, told, _proposals(made, told, config, trust)
            barred |= {one.generator: why for one in queue if (why := search.barred(made, one.generator))}
            queue = [one for one in queue if one.generator not in barred]
        queue = [one for one in queue if all(not _is_same(one, done, trust) for done in rounds)]
        run.report(len(rounds), config.rounds, quality=rounds[best].quality or 0.0)
        if run.should_stop():
            raise StoppedError("auto_optimize stopped as asked; nothing was saved")
        is_late = 0 < config.time_limit < time.monotonic() - started
        ended = _ended(rounds, best, queue, config, is_late=is_late, barred=barred)
    run.report(config.rounds, config.rounds)
    left = () if not rounds[best].missed else tuple(dict.fromkeys(one.change for one in advice))[:_ADVICE]
    _LOG.info("auto_optimize: %d settings, the %d. kept. %s", len(rounds), best + 1, ended)
    return Optimized(
        tuple(rounds), best, ended, (len(learnt.table), len(apart.table)), left, search.notes(rounds[best])
    )


def _ended(
    rounds: Sequence[Round],
    best: int,
    queue: Sequence[Round],
    config: OptimizeConfig,
    *,
    is_late: bool,
    barred: Mapping[str, str],
) -> str:
    """Return why no further setting is to be tried; empty if one is."""
    if not rounds[best].missed:
        return "It reaches every threshold"
    why = ""
    if not queue:
        why = "no recommendation is left that names a change of an option, or another generator, that was not tried"
    elif len(rounds) >= config.rounds:
        why = f"no more than {config.rounds} were asked for"
    elif is_late:
        why = "time was over"
    left = "".join(f"; {name} was not taken: {reason}" for name, reason in barred.items())
    return f"No setting that was tried reaches every threshold, and {why}{left}" if why else ""


def _parts(
    table: pd.DataFrame | Dataset,
    schema: Schema | None,
    generator: str,
    options: Mapping[str, Any] | None,
    config: OptimizeConfig,
    unit: tuple[str, ...],
    seed: int,
    trust: tuple[str, ...],
) -> tuple[Dataset, Dataset]:
    """Return the training rows to fit on, and those to judge by: whole privacy units, or sequences.

    Of one sequence they are those that come last.
    """
    from synth_components.policy import guard
    from synth_components.privacy.ledger import SETTLED, Ledger
    from synth_components.profile import ProfileConfig, profile

    known = schema if schema is not None else table.schema if isinstance(table, Dataset) else None
    if known is not None and len(known.tables) > 1:
        raise UnsupportedError("auto_optimize judges a single table; tune linked ones by hand")
    rng = np.random.default_rng([seed, 1])  # not the stream of the fit
    recipe = recipe_type(generator, trust=trust).parse(dict(options or {}))
    unit = unit or together(known, recipe)
    order = None if unit else recipe.one_sequence(Schema({TABLE: {}}) if known is None else known)
    if order is not None:
        rows = last_rows(table.table if isinstance(table, Dataset) else table, config.optimize_rows, order=order)
    elif isinstance(table, Dataset):
        rows = reduced(table, config.optimize_rows, rng=rng, unit=unit).table
    elif len(table) <= config.optimize_rows:
        rows = table
    elif unit:
        rows = some_units(lambda: iter((table,)), config.optimize_rows, rng=rng, unit=unit)
    else:
        rows = table.iloc[np.sort(rng.choice(len(table), config.optimize_rows, replace=False))]
    if order is None:
        learnt, apart = split(rows, share=config.share, rng=rng, unit=unit)
    else:
        learnt, apart = past_and_future(rows, share=config.share, order=order)
    if known is None:  # read off the rows that are learned from, as the whole fit reads it off all of them
        known = profile(learnt, config=ProfileConfig(describe=False), ledger=Ledger(account=SETTLED)).schema
        guard.admit_profiled(known, label="auto_optimize")
    root = TABLE if isinstance(table, pd.DataFrame) and schema is None else known.root
    return Dataset({root: learnt}, known), Dataset({root: apart}, known)


@dataclass(frozen=True)
class _Search:
    """What every round has in common."""

    learnt: Dataset
    apart: Dataset
    evaluate: EvaluateConfig
    missed: Shortfalls
    constraints: tuple[Any, ...]
    seed: int
    trust: tuple[str, ...]
    run: Run
    monitored: Monitored | None = None

    def barred(self, before: Round, name: str) -> str:
        """Return why another generator may not be taken instead of a setting; empty if it may, or is the same."""
        if name == before.generator:
            return ""
        if self.is_in_order(before):
            return "it knows nothing of sequences, which the rows are, and the report sees single rows"
        is_monitored = self.monitored is not None or self.run.monitor is not None
        if is_monitored and not recipe_type(name, trust=self.trust).is_monitored:
            return "it asks no monitor while it trains, and one was asked for"
        return ""

    def is_in_order(self, one: Round) -> bool:
        """Return whether the rows are sequences, to a setting or by the schema."""
        schema = self.learnt.schema
        return schema.root in schema.modelled.order or _recipe(one, self.trust).learns_sequences(schema)

    def notes(self, best: Round) -> tuple[str, ...]:
        """Return what the trials do not tell, as sentences."""
        made = []
        if self.is_in_order(best):
            made.append("The rows are sequences; each setting was judged by single rows, and not by how they follow.")
        if self.run.monitor is not None:
            made.append("The monitor is of the last fit, and no setting that was tried had one.")
        return tuple(made)

    def tried(self, asked: Round) -> tuple[Round, tuple[Recommendation, ...]]:
        """Return a round with its quality, and what the report on it recommends.

        A setting that the generator refuses, or that fails, is noted, unless it is the first.
        """
        from synth_components import evaluation, fitting

        rows, monitor = self.learnt, None
        try:
            if self.monitored is not None:
                rows, monitor = self.monitored(rows, _recipe(asked, self.trust))
            fitted = fitting.fit(
                rows,
                generator=asked.generator,
                options=asked.options,
                seed=self.seed,
                constraints=self.constraints,
                trust=self.trust,
                run=Run(device=self.run.device, should_stop=self.run.should_stop, monitor=monitor),
            )
            drawn = fitted.sample(len(self.learnt.table), seed=self.seed)
            report = evaluation.evaluate(
                self.learnt.table, self.apart.table, drawn, schema=fitted.schema, config=self.evaluate
            )
            missed = tuple(self.missed(report)) if report.overall.value is not None else ()
        except StoppedError:
            raise
        except SynthError as error:
            if not asked.changed:
                raise
            return replace(asked, note=f"it was refused ({type(error).__name__})"), ()
        except Exception as error:
            if not asked.changed:
                raise
            # A fault of one setting shall not cost the others; not with its message, which may quote a cell.
            _LOG.warning("auto_optimize: %s failed: %s", asked.generator, type(error).__name__)
            return replace(asked, note=f"it failed ({type(error).__name__})"), ()
        if report.overall.value is None:
            raise DataError(
                f"{len(self.apart.table)} rows set apart are too few to judge a setting by; give more training rows, "
                "or a larger share"
            )
        chosen = fitted.manifest.choice
        if chosen:  # by tabular.auto, whose choice is what is changed then
            asked = replace(asked, generator=chosen["generator"], options=dict(chosen["options"]))
            asked = replace(asked, because=(*asked.because, *chosen["reasons"]))
        made = replace(asked, quality=report.overall.value, missed=missed)
        return made, report.recommendations


def _by_quality(least: float) -> Shortfalls:
    def missed(report: Report) -> Sequence[str]:
        value = report.overall.value
        assert value is not None  # noqa: S101 - a report without one is refused before
        if value >= least:
            return ()
        return (f"the overall score is {value:.4g}, at least {least:g} is asked for",)

    return missed


def _recipe(one: Round, trust: tuple[str, ...]) -> Recipe:
    return recipe_type(one.generator, trust=trust).parse(one.options)


def _is_same(one: Round, other: Round, trust: tuple[str, ...]) -> bool:
    """Return whether two rounds fit the same recipe, however their options were written."""
    return one.generator == other.generator and _recipe(one, trust) == _recipe(other, trust)


def _proposals(
    before: Round, advice: Sequence[Recommendation], config: OptimizeConfig, trust: tuple[str, ...]
) -> list[Round]:
    """Return the settings that a report recommends after one, the weightiest first.

    All changes of options together, another generator, and then each recommendation's changes of options alone.  Where
    two recommendations pull an option both ways, the weightier one has it.
    """
    recipe = _recipe(before, trust)
    able = [one for one in resolved(advice, recipe, before.generator, loosen=config.loosen) if one.changes]
    together: list[Round] = []
    others: list[Round] = []
    single: list[Round] = []
    whole: dict[str, Any] = {}
    told: dict[str, str] = {}
    whys: list[str] = []
    for one in able:
        own = {change.option: change.value for change in one.changes if change.way != "take"}
        words = {change.option: change.told(recipe) for change in one.changes if change.way != "take"}
        new = [option for option in own if option not in whole]
        if new:
            whole |= {option: own[option] for option in new}
            told |= {option: words[option] for option in new}
            whys.append(one.finding)
        if own:
            single.append(Round(before.generator, {**before.options, **own}, tuple(words.values()), (one.finding,)))
        others += [
            Round(change.generator, {}, (f"instead of {before.generator}",), (one.finding,))
            for change in one.changes
            if change.way == "take"
        ]
    if whole:
        options = {**before.options, **whole}
        together.append(Round(before.generator, options, tuple(told.values()), tuple(whys[:_FINDINGS])))
    return [*together, *others[:1], *single]
