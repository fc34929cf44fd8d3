"""The stage of a run that trains, and changes what reports on a part of the training rows recommend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from synth_components.config import ConfigError, StepConfig
from synth_components.evaluation.options import EvaluateConfig
from synth_components.progress import stage
from synth_components.protocols import Dataset, Run
from synth_components.selection.optimizing import OptimizeConfig
from synth_components.steps.gate import GateConfig, shortfalls
from synth_components.steps.map_file import read_schema
from synth_components.steps.port import InConstraints, InDataset, InSchema, OutModel, Port
from synth_components.steps.record import settled, write_json
from synth_components.steps.split import SplitConfig
from synth_components.steps.train import TrainConfig, monitored, require_fit, require_in_memory, train
from synth_components.stopping import stopped_by_signals

OutSearch = Annotated[Path, Port("out", "statistics")]


class OptimizedTrainConfig(StepConfig):
    """How to train and judge, what to reach, and how long to search for it."""

    split: SplitConfig = Field(SplitConfig(), description="Options of `synth split`.")
    train: TrainConfig = Field(TrainConfig(), description="Options of `synth train`.")
    evaluate: EvaluateConfig = Field(EvaluateConfig(), description="Options of `synth evaluate`.")
    gate: GateConfig = Field(
        GateConfig(),
        description="Options of `synth gate`; left out, nothing stops the run. An empty map asks for the default risk.",
    )
    auto_optimize: OptimizeConfig = Field(
        OptimizeConfig(),
        description="How long to follow the recommendations of a report that misses a threshold of `gate`, or "
        "`min_quality` of `evaluate`, with another setting of `train`; judged by a part of the training rows, never by "
        "the holdout. Left out, nothing is changed. Not with privacy=dp.",
    )

    @property
    def thresholds(self) -> GateConfig:
        """What is to be reached: ``gate``, its default risk only if given, and ``min_quality``."""
        asked = self.gate if "gate" in self.model_fields_set else GateConfig(max_risk=1.0)
        return asked.model_copy(update={"min_quality": max(asked.min_quality, self.evaluate.min_quality)})


def auto_optimize(
    config: OptimizedTrainConfig,
    *,
    data: InDataset,
    schema: InSchema = None,
    constraints: InConstraints = None,
    model: OutModel,
    search: OutSearch,
) -> None:
    """Train with the best setting that reports on a part of the training rows lead to.

    Args:
        data: The real training rows.
        schema: What the columns hold; without it a schema is profiled from the rows.
        constraints: Rules that every synthetic row must obey.
        model: Where the model goes.
        search: Where every setting goes that was tried, and why.

    Raises:
        BudgetExceededError: if a budget file is named; nothing was read.
        ConfigError: with privacy=dp, or without a threshold; nothing was read.
        UnsupportedError: if the generator asks no monitor, and one is asked for; nothing was read.
        StoppedError: if a signal stopped the search.
    """
    from synth_components.constraints import constraints_from_file
    from synth_components.io.dataset import is_large, read_dataset, read_table
    from synth_components.model import Model
    from synth_components.policy import guard
    from synth_components.privacy.budget_file import account
    from synth_components.selection.optimizing import noted, optimized

    if config.train.privacy == "dp":
        raise ConfigError("auto_optimize reads rows without noise; leave privacy=dp out", option="privacy")
    if "gate" not in config.model_fields_set and not config.evaluate.min_quality:
        raise ConfigError("auto_optimize mends what misses a threshold; give a gate, or min_quality", option="gate")
    asked, wanted = settled(config.train), config.thresholds
    require_fit(asked, model)  # what a fit would refuse, before a search
    declared = read_schema(schema)
    guard.admit(None, declared, label="auto_optimize")
    shared = account()
    if shared is not None:
        shared.require_room(None, label="auto_optimize")
    is_plain = declared is None and not is_large(data)
    rows = read_table(data) if is_plain else read_dataset(data, schema=declared)
    if asked.monitor_every and isinstance(rows, Dataset):
        require_in_memory(rows)
    with stage("auto_optimize") as report, stopped_by_signals() as should_stop:
        found = optimized(
            rows,
            generator=asked.generator,
            options=asked.generator_options,
            config=config.auto_optimize,
            evaluate=config.evaluate,
            missed=lambda made: shortfalls(made, wanted),
            schema=declared,
            constraints=() if constraints is None else constraints_from_file(constraints),
            unit=config.split.unit,
            seed=asked.seed,
            trust=asked.trust,
            run=Run(device=asked.device, report=report, should_stop=should_stop),
            monitored=(lambda part, recipe: monitored(part, asked, recipe)) if asked.monitor_every else None,
        )
    write_json(search, found.to_json())  # kept if the last fit fails
    best = {"generator": found.best.generator, "generator_options": found.best.options}
    train(asked.model_copy(update=best), data=data, schema=schema, constraints=constraints, model=model)
    noted(Model.load(model, trust=asked.trust), found).save(model)
