"""The step from rows to a model."""

from __future__ import annotations

import logging
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from synth_components import checkpoint
from synth_components.circumstances import around
from synth_components.config import ConfigError, Recipe, StepConfig
from synth_components.errors import UnsupportedError
from synth_components.generators import DEFAULT
from synth_components.generators import make as make_generator
from synth_components.peers import peers
from synth_components.privacy.mechanism import Mechanism
from synth_components.progress import stage
from synth_components.protocols import Budget, Dataset, Monitor, Run
from synth_components.steps.map_file import read_schema
from synth_components.steps.port import InConstraints, InDataset, InSchema, OptionalInModel, OutModel
from synth_components.steps.record import settled
from synth_components.stopping import stopped_by_signals

if TYPE_CHECKING:
    from pandas import DataFrame

_LOG = logging.getLogger(__name__)


class TrainConfig(StepConfig):
    """What to train, and how private."""

    generator: str = Field(DEFAULT, description="Name of the generator; `synth generators` lists them.")
    generator_options: dict[str, Any] = Field(
        {}, description="Options of the generator by name; `synth train --generator NAME --help` lists them."
    )
    seed: int = Field(
        0, ge=-1, lt=2**53, description="Seed of the fit; -1 draws a fresh one and records it. Unused with privacy=dp."
    )
    privacy: Literal["none", "dp"] = Field("none", description="Whether the model must be differentially private.")
    epsilon: float = Field(1.0, gt=0, description="Most privacy loss, epsilon, with privacy=dp.")
    delta: float = Field(1e-6, ge=0, lt=1, description="Most privacy loss, delta, with privacy=dp.")
    units: int = Field(
        0,
        ge=0,
        lt=2**53,
        description="Number of privacy units in the data (rows, say) if it is public knowledge, with privacy=dp: delta "
        "must be below 1 over it. 0 counts them with noise, for 1 % of epsilon.",
    )
    profile_mechanism: Mechanism = Field(
        "laplace",
        description="Noise on the statistics that a schema is read off, with privacy=dp and no schema: laplace, or "
        "gaussian, which needs delta above 0 and finds more in wide tables.",
    )
    monitor_every: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Epochs of a network between two judgements by rows set apart; the last one is judged, too. "
        "Quality is reported, and decides from the first judgement on which weights are kept. 0 for none. Not with "
        "privacy=dp.",
    )
    monitor_patience: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Judgements without a better quality that end the training; 0 never ends it.",
    )
    monitor_alert: float = Field(
        0.0, ge=0, le=1, description="Quality below which a judgement after the first is a warning; 0 never warns."
    )
    monitor_share: float = Field(
        0.05, gt=0, le=0.5, description="Share of the rows set apart to judge by; the model does not learn from them."
    )
    device: str = Field("cpu", description="Torch device of generators that use torch: cpu, cuda, cuda:1.")
    trust: tuple[str, ...] = Field(
        (), description="Module paths of generators that may be imported although no installed package declares them."
    )

    @model_validator(mode="after")
    def _budget_is_not_ignored(self) -> Self:
        """Refuse a budget without privacy=dp: the fit would not keep it, and whoever asked would believe it did.

        Platforms hand over every option with its default, so one that has its default was asked for only if the
        privacy was not said beside it.
        """
        fields = type(self).model_fields
        for name in ("epsilon", "delta", "units", "profile_mechanism"):
            is_set = name in self.model_fields_set and "privacy" not in self.model_fields_set
            if self.privacy == "none" and (is_set or getattr(self, name) != fields[name].default):
                raise ValueError(f"{name} is kept only with privacy=dp; add that, or leave {name} out")
        return self

    @model_validator(mode="after")
    def _monitor_is_not_ignored(self) -> Self:
        """Refuse a monitor of private rows, which reads them without noise, and options of a monitor without one."""
        if self.monitor_every and self.privacy == "dp":
            raise ValueError("a monitor reads rows without noise, which privacy=dp does not allow; drop one")
        fields = type(self).model_fields
        for name in ("monitor_patience", "monitor_alert", "monitor_share"):
            if not self.monitor_every and getattr(self, name) != fields[name].default:
                raise ValueError(f"{name} means nothing without monitor_every; give that, or leave {name} out")
        return self


def train(
    config: TrainConfig,
    *,
    data: InDataset,
    schema: InSchema = None,
    constraints: InConstraints = None,
    start: OptionalInModel = None,
    model: OutModel,
) -> None:
    """Train a generator on real rows and save the model.

    The generator's own options are written `--generator.NAME VALUE`:

        synth train --data train.csv --model model --generator tabular.trees --generator.min_leaf 20
        synth train --generator tabular.trees --help

    A network is watched as it trains by `--monitor-every`, and goes on from an earlier model by `--start`:

        synth train --data new.csv --start model --model newer --generator tabular.autoregressive --monitor-every 5

    Ctrl-C and SIGTERM stop the fit; with `--checkpoint FOLDER` the same command goes on from there, where the generator
    trains step by step.

    Args:
        data: The real training rows.
        schema: What the columns hold; without it a schema is profiled from the rows.
        constraints: Rules that every synthetic row must obey.
        start: Model of the same generator, or any for tabular.ensemble, to go on from: its schema is taken, and drift
            is told.
        model: Where the model goes.

    Raises:
        DataError: with privacy=dp and no schema, if the types of the table would be read off its rows.
        StoppedError: if a signal stopped the fit.
        UnsupportedError: if the generator asks no monitor, or does not go on from a model.
    """
    from synth_components.constraints import constraints_from_file
    from synth_components.fitting import fit
    from synth_components.io import artifact
    from synth_components.io.dataset import column_names, is_large, read_dataset, read_table, read_typed, require_types
    from synth_components.policy import guard
    from synth_components.privacy.budget_file import account
    from synth_components.privacy.ledger import Ledger, not_private
    from synth_components.privacy.unit import told
    from synth_components.warm_start import require_warm

    if config.privacy == "dp" and config.seed > 0:
        raise ConfigError(
            "option 'seed' of TrainConfig: a known seed voids differential privacy; leave it out with privacy=dp",
            option="seed",
        )
    state, recipe = require_fit(config, model)
    if start is not None:
        require_warm(recipe, config.generator)
        if config.privacy == "dp":
            raise UnsupportedError("a start was learned outside of epsilon; leave it out with privacy=dp")
    limit = Budget(config.epsilon, config.delta) if config.privacy == "dp" else None
    declared = read_schema(schema)
    if limit is not None and declared is None:
        require_types(data)
    if start is not None and declared is None:
        declared = artifact.load(start, trust=config.trust).schema
        for name in column_names(data):
            if name not in declared.columns:
                _LOG.warning("drift: the model to go on from has no column '%s'; it is not learnt", name)
    guard.admit(limit, declared, label=f"fit {config.generator}")
    shared = account()
    if shared is not None:
        shared.require_room(limit, label=f"fit {config.generator}")
        if limit is not None:
            shared.settle(told(None if declared is None else declared.unit))
    rules = () if constraints is None else constraints_from_file(constraints)
    # Without a schema the rows themselves are handed over, so that the fit charges for profiling them; of a table that
    # stays on disk the first rows are profiled here.
    profiled = Ledger()
    rows: DataFrame | Dataset
    if limit is not None:  # read so that no row decides on a type, or ends the fit
        rows = read_typed(data) if declared is None else read_dataset(data, schema=declared, by_cell=True)
    elif declared is None and not config.monitor_every and not is_large(data):
        rows = read_table(data)
    else:
        rows = read_dataset(data, schema=declared, ledger=profiled)
    monitor = None
    if declared is None and isinstance(rows, Dataset):
        guard.admit_profiled(rows.schema, label=f"fit {config.generator}")
    if config.monitor_every and isinstance(rows, Dataset):
        rows, monitor = monitored(rows, config, recipe)
    others = peers()
    with stage(f"train {config.generator}") as report, stopped_by_signals() as should_stop:
        fitted = fit(
            rows,
            generator=config.generator,
            seed=settled(config).seed if config.privacy == "none" else None,
            epsilon=config.epsilon if config.privacy == "dp" else None,
            delta=config.delta if config.privacy == "dp" else None,
            schema=declared,
            constraints=rules,
            options=config.generator_options,
            trust=config.trust,
            units=config.units or None,
            profile_mechanism=config.profile_mechanism,
            start=start,
            run=Run(
                device=config.device,
                rank=others.rank,
                world_size=others.world_size,
                checkpoint=state,
                report=report,
                should_stop=should_stop,
                monitor=monitor,
            ),
        )
    if others.rank > 0:
        return
    for entry in profiled.entries:
        fitted.ledger.spend(entry.label, not_private)
    fitted.save(model)
    if state is not None:
        checkpoint.remove(state)
    if should_stop():
        signal.raise_signal(should_stop.signal)  # the fit was over when it came: whoever waits hears of it
    _LOG.info("trained %s on %d columns", config.generator, len(fitted.schema.columns))


def require_fit(config: TrainConfig, model: Path) -> tuple[Path | None, Any]:
    """Return the folder that keeps the state of the fit, and the recipe, once neither forbids it.

    Raises:
        ConfigError: for an option of the generator, or a checkpoint that does not go with the fit.
        UnsupportedError: for an unknown generator, or one that asks no monitor where one is asked for.
    """
    from synth_components.monitor import require_monitored

    state = _checkpoint(config, model)
    recipe: Any = make_generator(config.generator, config.generator_options, trust=config.trust)
    if config.monitor_every:
        require_monitored(recipe, config.generator)
    return state, recipe


def require_in_memory(rows: Dataset) -> None:
    """Raise where a monitor cannot set rows apart: those of a table on disk."""
    if rows.is_lazy:
        raise UnsupportedError(
            "a monitor judges by rows of a table in memory, and this one is too large for it; give fewer rows, or "
            "leave monitor_every at 0"
        )


def monitored(rows: Dataset, config: TrainConfig, recipe: Recipe) -> tuple[Dataset, Monitor]:
    """Return the rows to learn from, and a monitor that judges by the others: whole units or sequences.

    Which rows are set apart does not depend on the seed: of several processes each may have drawn its own.
    """
    from synth_components.monitor import QualityMonitor
    from synth_components.split import past_and_future, split, together

    require_in_memory(rows)
    schema = rows.schema
    unit, order = together(schema, recipe), recipe.one_sequence(schema)
    if unit or order is None:
        kept, apart = split(rows.table, share=config.monitor_share, rng=np.random.default_rng(0), unit=unit)
    else:  # to learn one sequence, the judge has what comes last
        kept, apart = past_and_future(rows.table, share=config.monitor_share, order=order)
    monitor = QualityMonitor(
        Dataset({schema.root: apart}, schema),
        every=config.monitor_every,
        patience=config.monitor_patience,
        alert_below=config.monitor_alert,
    )
    return replace(rows, tables={schema.root: kept}), monitor


def _checkpoint(config: TrainConfig, model: Path) -> Path | None:
    """Return the folder of the circumstances that keeps the state of the fit, ``None`` for none."""
    said = around().checkpoint
    if not said:
        return None
    folder = Path(said).expanduser()
    if config.privacy == "dp":
        raise ConfigError(
            "a checkpoint goes with privacy=none: a private fit that goes on would spend its budget again; drop one",
            option="checkpoint",
        )
    if config.seed == -1:
        raise ConfigError(
            "a checkpoint needs a seed: -1 draws another one each time, and the fit would not go on; give a seed",
            option="checkpoint",
        )
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"the checkpoint '{folder}' is a file; name a folder", option="checkpoint")
    if folder.resolve().is_relative_to(model.resolve()):
        raise ConfigError(
            f"the checkpoint '{folder}' lies within the model's folder; name another", option="checkpoint"
        )
    return folder
