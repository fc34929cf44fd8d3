"""Options of a generator, searched for by Optuna: cross-validated, pruned, seeded, and resumed where it ended.

Source: Akiba et al. 2019, "Optuna: A Next-generation Hyperparameter Optimization Framework" (arXiv:1907.10902);
    Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization" (NIPS 24), the tree-structured Parzen estimator.
Differs: the sampler of each trial is seeded by the number of trials before it, so that a search that was stopped and
    goes on tries what one that was not would have.  Of several objectives none is pruned: Optuna prunes by one number.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from synth_components.config import ConfigError, Recipe, sought
from synth_components.digest import digest
from synth_components.errors import ArtifactError, DataError, SchemaError, StoppedError, SynthError, UnsupportedError
from synth_components.generators import make, recipe_type
from synth_components.null_indicator import modelled
from synth_components.policy import guard
from synth_components.privacy.budget_file import opened
from synth_components.privacy.ledger import SETTLED, Ledger, not_private
from synth_components.protocols import Dataset, PrivacyLedger, Run
from synth_components.schema import Boolean, Categorical, Datetime, Numeric
from synth_components.selection.objective import Aim, scores
from synth_components.selection.space import Choices, Space
from synth_components.sequence_key import with_key
from synth_components.split import folds as split_in_folds
from synth_components.split import in_time, taken, together

_LOG = logging.getLogger(__name__)

JOURNAL = "trials.journal"
STARTUP = 5
"""Trials before one is pruned, and before the estimator leaves chance."""
DRAWN_ROWS = 5_000
"""Most rows drawn from each fold's model, and most held-out rows that they are judged by."""


@dataclass(frozen=True)
class Trial:
    """One set of options.

    Attributes:
        number: Its place in the search, from 0.
        options: What was tried, by option.
        values: The mean over the folds by aim; empty if it has none.
        state: ``complete``, ``pruned`` after a fold that was worse than most, or ``failed``.
        note: Why it failed.
        folds: The scores of each fold that it came to, by aim.
    """

    number: int
    options: dict[str, Any]
    values: dict[str, float]
    state: str
    note: str = ""
    folds: tuple[dict[str, float], ...] = ()


OnTrial: TypeAlias = Callable[[Trial], None]
"""Whoever is told of each trial as it ends."""


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        options: The best options, those that were fixed included.
        values: Their scores by aim.
        front: Trials that no other beats in every aim; with one aim the best alone.
        trials: All of them, in order.
        notes: What the scores do not tell, as sentences.
    """

    options: dict[str, Any]
    values: dict[str, float]
    front: tuple[Trial, ...]
    trials: tuple[Trial, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the search as a JSON value."""
        return {
            "options": self.options,
            "values": self.values,
            "front": [trial.number for trial in self.front],
            "trials": [trial.__dict__ for trial in self.trials],
            "notes": list(self.notes),
        }


def tune(
    data: Dataset,
    *,
    generator: str,
    space: Space,
    fixed: dict[str, Any] | None = None,
    aims: Sequence[Aim] = ("detection",),
    target: str = "",
    trials: int = 20,
    folds: int = 3,
    max_seconds: float = 0.0,
    seed: int = 0,
    state: Path | None = None,
    trust: tuple[str, ...] = (),
    ledger: PrivacyLedger | None = None,
    run: Run | None = None,
    on_trial: OnTrial | None = None,
) -> Tuned:
    """Return the best options of a generator for some rows.

    Args:
        space: What to search (``space.space_of``).
        fixed: Options of the generator that every trial has.
        aims: One to maximise, or several, whose Pareto front is found.
        max_seconds: Time after which no trial begins; 0 for no limit.
        state: Folder that keeps the trials: a search that is stopped goes on from there.
        ledger: Charged for the rows; one with a budget refuses, as does the budget file of the circumstances.
        on_trial: Told of each trial as it ends; of a search that goes on, of the earlier ones first.

    Raises:
        BudgetExceededError: under a privacy budget; nothing was read.
        GuardError: if the privacy policy asks for one; nothing was read.
        ConfigError: for utility without a target.
        SchemaError: for a target that is no column to predict.
        UnsupportedError: if Optuna is not installed, every fit is refused, or nothing is searched but how rows follow
            each other, which the judges do not see.
        DataError: if there are fewer privacy units, or sequences, than folds.
        ArtifactError: if ``state`` holds another search.
        StoppedError: if ``run`` says so; what is finished is kept in ``state``.
    """
    guard.admit(None, data.schema, label=f"tune {generator}")
    opened(ledger).spend("tune", not_private)
    optuna = _optuna()
    run = Run() if run is None else run
    fixed = dict(fixed or {})
    base = recipe_type(generator, trust=trust).parse(fixed)
    if "group" not in space:
        _folds(data, base, folds, seed)  # too few of what is held out is told before anything is fitted
    learnable = _learnable(data, base)
    if "utility" in aims:
        _require_target(target, learnable)
    notes = _unseen(base, space, data)
    for note in notes:
        _LOG.warning("tune %s: %s", generator, note)
    rows = digest({"rows": [learnable.table]})
    cut = [*together(data.schema, base), *([order] if (order := base.one_sequence(data.schema)) is not None else [])]
    about = [generator, fixed, repr(space), list(aims), target, folds, seed, rows, cut]
    study = _study(optuna, aims, state, hashlib.sha256(json.dumps(about).encode()).hexdigest())
    started, last = time.monotonic(), ""
    if on_trial is not None:
        for one in _ended(optuna, study, aims):
            on_trial(one)
    run.report(_finished(optuna, study), trials)
    while (number := _finished(optuna, study)) < trials:
        if max_seconds and time.monotonic() - started > max_seconds:
            break
        study.sampler = _sampler(optuna, seed + number)
        trial = study.ask()
        options = {name: _suggested(trial, name, part) for name, part in space.items()}
        trial.set_user_attr("options", options)
        tried = {**fixed, **options}
        found: list[dict[str, float]] = []
        try:
            recipe = make(generator, dict(tried), trust=trust)
            assert isinstance(recipe, Recipe)  # noqa: S101 - the contract of GENERATOR
            is_other = recipe.sequence_column(data.schema) != base.sequence_column(data.schema)  # it is searched, too
            rows_of = _learnable(data, recipe) if is_other else learnable
            for place, part in enumerate(_folds(data, recipe, folds, seed)):
                found.append(_fold(recipe, rows_of, part, aims=aims, target=target, seed=seed, run=run))
                if len(aims) == 1 and place + 1 < folds:
                    trial.report(float(np.mean([one[aims[0]] for one in found])), place)
                    if trial.should_prune():
                        break
        except StoppedError:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        except SynthError as error:
            last = str(error)
            trial.set_user_attr("refused", type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a fault of one, which is told, shall not cost the others' trials
            last = type(error).__name__  # not its message, which may quote a cell
            _LOG.warning("trial %d of %s failed: %s; fit it alone to see why", trial.number, generator, last)
            trial.set_user_attr("refused", last)
        trial.set_user_attr("folds", found)
        if len(found) == folds:
            told = study.tell(trial, [float(np.mean([one[aim] for one in found])) for aim in aims])
        else:  # pruned, or refused by generator or judge
            told = study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        if on_trial is not None:
            on_trial(_made(optuna, told, aims))
        done = _finished(optuna, study)
        means = {aim: float(np.mean([one[aim] for one in found])) for aim in aims} if found else {}
        numbers = {f"option.{k}": float(v) for k, v in options.items() if isinstance(v, int | float)}
        run.report(min(done, trials), trials, **means, **numbers)
    made = _ended(optuna, study, aims)
    best = [trial for trial in made if trial.state == "complete"]
    if not best:
        raise UnsupportedError(f"no trial of {generator} came to its end: {last or 'time was over'}")
    run.report(trials, trials)
    front = tuple(one for one in best if not any(_beats(other, one, aims) for other in best))
    # Of a front the trial whose weakest aim is strongest: none of them is given up for another.
    chosen = max(front, key=lambda one: (min(one.values.values()), sum(one.values.values()), -one.number))
    return Tuned({**fixed, **chosen.options}, chosen.values, front, made, notes)


def _learnable(data: Dataset, recipe: Recipe) -> Dataset:
    """Return what a recipe learns of the rows."""
    keyed = replace(data, schema=with_key(data.schema, recipe))
    return modelled(keyed, group=recipe.sequence_column(keyed.schema))


def _require_target(target: str, learnable: Dataset) -> None:
    """Raise unless utility has a column to predict; before a trial, each of which would be refused."""
    if not target:
        raise ConfigError("utility needs a column to predict; name it (target)", option="target")
    kinds = Numeric | Categorical | Boolean | Datetime
    able = [name for name, held in learnable.schema.columns.items() if isinstance(held, kinds)]
    if target not in able:
        raise SchemaError(
            f"the target '{target}' is not a numeric, categorical, boolean or datetime column; choose one of "
            f"{', '.join(able)}",
            column=target,
        )


def _unseen(base: Recipe, space: Space, data: Dataset) -> tuple[str, ...]:
    """Return what the judges of a search do not see of sequences, a sentence or none.

    Raises:
        UnsupportedError: if nothing else is searched.
    """
    fields = type(base).model_fields
    blind = [name for name in space if name in fields and sought(fields[name].metadata).of_sequences]
    if blind and len(blind) == len(space):
        raise UnsupportedError(
            f"every judge of a search sees single rows, and {', '.join(blind)} acts on how rows follow each other "
            "alone: chance would decide; search another option, or choose this one by hand"
        )
    if not blind and not base.learns_sequences(data.schema) and not {"group", "order_by"} & space.keys():
        return ()
    told = f": chance decides {', '.join(blind)}" if blind else ""
    return (f"trials are judged by single rows, and not by how rows follow each other{told}",)


def _folds(data: Dataset, recipe: Recipe, count: int, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the rows to learn from, and those to judge by, of each fold.

    Privacy units, and sequences, are whole; of one sequence what is learnt comes before what judges.

    Raises:
        DataError: if there are too few of them, or one sequence has rows of several privacy units.
    """
    unit, order = together(data.schema, recipe), recipe.one_sequence(data.schema)
    if order is None:
        held = split_in_folds(data.table, count, rng=np.random.default_rng(seed), unit=unit)
        return [(np.setdiff1d(np.arange(len(data.table)), part), np.sort(part)) for part in held]
    if unit:
        raise DataError(
            f"all rows are one sequence, and of different privacy units ({', '.join(unit)}), which no fold may part; "
            "name the column that tells sequences apart (option group)"
        )
    parts = in_time(data.table, count + 1, order=order)
    return [(np.concatenate(parts[:place]), parts[place]) for place in range(1, count + 1)]


def _fold(
    recipe: Any,  # noqa: ANN401 - a Recipe that is a Generator
    data: Dataset,
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    *,
    aims: Sequence[Aim],
    target: str,
    seed: int,
    run: Run,
) -> dict[str, float]:
    """Return the scores of a recipe fitted to the first of ``rows``, judged by the second."""
    learnt, apart = (replace(taken(data, side), is_trial=True) for side in rows)
    quiet = Run(device=run.device, should_stop=run.should_stop)
    sampler = recipe.fit(learnt, rng=np.random.default_rng(seed), ledger=Ledger(account=SETTLED), run=quiet)
    drawn = sampler.sample(min(DRAWN_ROWS, len(learnt.table)), rng=np.random.default_rng(seed))
    return scores(learnt, apart, drawn, aims=aims, target=target, seed=seed)


def _optuna() -> Any:  # noqa: ANN401 - a module that may not be there
    try:
        import optuna
    except ModuleNotFoundError:
        raise UnsupportedError("tuning needs Optuna, which is not installed; install the extra tune") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _study(optuna: Any, aims: Sequence[Aim], state: Path | None, about: str) -> Any:  # noqa: ANN401
    """Return a new study, or the one that ``state`` holds."""
    storage = None
    if state is not None:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        state.mkdir(parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(state / JOURNAL)))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP)
    study = optuna.create_study(
        study_name="tune", storage=storage, directions=["maximize"] * len(aims), pruner=pruner, load_if_exists=True
    )
    if study.user_attrs.get("about", about) != about:
        raise ArtifactError(
            f"'{state}' holds the trials of another search: other rows, options, ranges, aim, folds or seed; remove "
            "it, or name another folder"
        )
    study.set_user_attr("about", about)
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # whoever ran it is gone
    return study


def _sampler(optuna: Any, seed: int) -> Any:  # noqa: ANN401
    return optuna.samplers.TPESampler(seed=seed % 2**32, n_startup_trials=STARTUP)


def _suggested(trial: Any, name: str, part: Any) -> Any:  # noqa: ANN401 - Optuna's trial, one option's range and value
    if isinstance(part, Choices):
        return trial.suggest_categorical(name, list(part.values))
    if part.step > 1:  # searched by ratio, which Optuna does in steps of one alone
        low, high = int(part.low) // part.step, int(part.high) // part.step
        return part.step * trial.suggest_int(f"{name} / {part.step}", low, high, log=part.is_log)
    if part.is_whole:
        return trial.suggest_int(name, int(part.low), int(part.high), log=part.is_log)
    return trial.suggest_float(name, part.low, part.high, log=part.is_log)


def _finished(optuna: Any, study: Any) -> int:  # noqa: ANN401
    """Return how many trials count: those that ended, well or early."""
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return len(study.get_trials(deepcopy=False, states=states))


def _ended(optuna: Any, study: Any, aims: Sequence[Aim]) -> tuple[Trial, ...]:  # noqa: ANN401
    return tuple(_made(optuna, trial, aims) for trial in study.get_trials(deepcopy=False))


def _made(optuna: Any, trial: Any, aims: Sequence[Aim]) -> Trial:  # noqa: ANN401 - a trial of Optuna's that ended
    note, folds = trial.user_attrs.get("refused", ""), tuple(trial.user_attrs.get("folds", ()))
    is_done = trial.state == optuna.trial.TrialState.COMPLETE
    values = dict(zip(aims, trial.values, strict=True)) if is_done else {}
    pruned = trial.state == optuna.trial.TrialState.PRUNED and not note
    state = "complete" if is_done else "pruned" if pruned else "failed"
    options = dict(trial.user_attrs.get("options", trial.params))
    return Trial(trial.number, options, values, state, note, folds)


def _beats(one: Trial, other: Trial, aims: Sequence[Aim]) -> bool:
    """Return whether a trial is at least as good in every aim, and better in one."""
    gains = [one.values[aim] - other.values[aim] for aim in aims]
    return min(gains) >= 0 and max(gains) > 0
