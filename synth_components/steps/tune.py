"""The step that searches for the options of a generator."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from synth_components.circumstances import around
from synth_components.config import ConfigError, StepConfig
from synth_components.generators import DEFAULT, recipe_type
from synth_components.io.artifact import refuse_foreign
from synth_components.progress import stage
from synth_components.protocols import Run
from synth_components.split import last_rows, reduced, together
from synth_components.steps.map_file import read_schema
from synth_components.steps.port import InDataset, InSchema, OptionalOutModel, Port
from synth_components.steps.record import write_json
from synth_components.stopping import stopped_by_signals

OutStudy = Annotated[Path, Port("out", "statistics")]

_LOG = logging.getLogger(__name__)


class TuneConfig(StepConfig):
    """Which options of which generator to search, by what, and for how long."""

    generator: str = Field(DEFAULT, description="Name of the generator; `synth generators` lists them.")
    generator_options: dict[str, Any] = Field(
        {}, description="Options that every trial has; `synth train --generator NAME --help` lists them."
    )
    objective: Literal["detection", "utility", "privacy", "pareto"] = Field(
        "detection",
        description="What to maximise on held-out rows: how hard rows are to detect, what they teach about `target`, "
        "how little a membership attack gains; pareto seeks the best trade-offs of all three.",
    )
    target: str = Field("", description="Column to predict, for utility; without it pareto leaves utility out.")
    parameters: tuple[str, ...] = Field(
        (),
        description="Options to search; empty takes every number, truth value and choice of the generator, of privacy "
        "knobs what leads from the default away from the rows.",
    )
    ranges: dict[str, list[Any]] = Field(
        {}, description="Range [low, high], or values to try, by option; others are sought around their defaults."
    )
    span: float = Field(8.0, gt=1, le=1e6, description="How far from its default a number is sought, as a factor.")
    trials: int = Field(20, ge=1, le=10_000, description="Sets of options to try.")
    folds: int = Field(
        3,
        ge=2,
        le=20,
        description="Parts of the rows, each held out once; a privacy unit, or a sequence, is in one. Where all rows "
        "are one sequence, a part judges what was learnt of those before it.",
    )
    time_limit: float = Field(0.0, ge=0, description="Seconds after which no further trial begins; 0 for no limit.")
    tune_rows: int = Field(
        10_000,
        ge=100,
        description="Rows that trials are fitted on; of more, so many at random, of one sequence the last.",
    )
    seed: int = Field(0, ge=0, lt=2**53, description="Seed of the search, the folds, fits and samples.")
    device: str = Field("cpu", description="Torch device of generators that use torch: cpu, cuda, cuda:1.")
    trust: tuple[str, ...] = Field(
        (), description="Module paths of generators that may be imported although no installed package declares them."
    )


def tune(
    config: TuneConfig,
    *,
    data: InDataset,
    schema: InSchema = None,
    study: OutStudy,
    model: OptionalOutModel = None,
) -> None:
    r"""Search for the options of a generator that suit a table.

        synth tune --data train.csv --generator tabular.trees --trials 30 --study study.json --model model
        synth tune --data train.csv --objective pareto --target outcome --ranges '{"min_leaf": [5, 500]}' \
            --study study.json

    With `--checkpoint FOLDER` the same command goes on where an earlier one ended. It reads the rows again and again
    without differential privacy: options for a private model are chosen on public rows, or by hand.

    Args:
        data: Real training rows, of which parts are held out in turn.
        schema: What the columns hold; without it one is profiled from the rows.
        study: Where the trials go, and the best options.
        model: Where a model goes that is fitted with these on all rows.
    """
    from synth_components.fitting import fit
    from synth_components.io.dataset import read_dataset
    from synth_components.policy import guard
    from synth_components.privacy.budget_file import account
    from synth_components.selection.objective import AIMS, Aim
    from synth_components.selection.space import space_of
    from synth_components.selection.tuning import tune as search

    if model is not None:
        refuse_foreign(model)  # before long work
    aims: tuple[Aim, ...] = (config.objective,) if config.objective != "pareto" else AIMS
    if not config.target and config.objective == "utility":
        raise ConfigError("option 'target' of TuneConfig: utility needs a column to predict", option="target")
    if not config.target:
        aims = tuple(aim for aim in aims if aim != "utility")
    recipe = recipe_type(config.generator, trust=config.trust)
    space = space_of(
        recipe,
        asked=config.parameters,
        ranges=config.ranges,
        fixed=config.generator_options,
        span=config.span,
    )
    declared = read_schema(schema)
    guard.admit(None, declared, label=f"tune {config.generator}")
    shared = account()
    if shared is not None:
        shared.require_room(None, label=f"tune {config.generator}")
    rows = read_dataset(data, schema=declared)
    if declared is None:
        guard.admit_profiled(rows.schema, label=f"tune {config.generator}")
    base = recipe.parse(config.generator_options)
    unit, order = together(rows.schema, base), base.one_sequence(rows.schema)
    if unit or order is None:
        some = reduced(rows, config.tune_rows, rng=np.random.default_rng(config.seed), unit=unit)
    else:
        some = replace(rows, tables={rows.schema.root: last_rows(rows.table, config.tune_rows, order=order)})
    said = around().checkpoint
    with stage(f"tune {config.generator}") as report, stopped_by_signals() as should_stop:
        run = Run(device=config.device, report=report, should_stop=should_stop)
        found = search(
            some,
            generator=config.generator,
            space=space,
            fixed=config.generator_options,
            aims=aims,
            target=config.target,
            trials=config.trials,
            folds=config.folds,
            max_seconds=config.time_limit,
            seed=config.seed,
            state=Path(said).expanduser() if said else None,
            trust=config.trust,
            run=run,
        )
    write_json(study, {"generator": config.generator, "objective": config.objective, **found.to_json()})
    states = [trial.state for trial in found.trials]
    _LOG.info("%d trials, %d of them pruned; best %s", len(states), states.count("pruned"), found.values)
    if config.objective == "detection":
        _LOG.info("detection does not see how much a model gives away of its rows; objective=pareto does")
    if model is not None:
        with stage(f"train {config.generator}") as report, stopped_by_signals() as should_stop:
            run = Run(device=config.device, report=report, should_stop=should_stop)
            fit(
                rows, generator=config.generator, options=found.options, seed=config.seed, trust=config.trust, run=run
            ).save(model)
