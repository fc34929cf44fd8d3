"""The step from rows to a model."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from synth_components import checkpoint
from synth_components.circumstances import around
from synth_components.config import ConfigError, StepConfig
from synth_components.generators import DEFAULT
from synth_components.generators import make as make_generator
from synth_components.peers import peers
from synth_components.progress import stage
from synth_components.protocols import Budget, Run
from synth_components.steps.map_file import read_schema
from synth_components.steps.port import InConstraints, InDataset, InSchema, OutModel
from synth_components.steps.record import settled
from synth_components.stopping import stopped_by_signals

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
        for name in ("epsilon", "delta", "units"):
            is_set = name in self.model_fields_set and "privacy" not in self.model_fields_set
            if self.privacy == "none" and (is_set or getattr(self, name) != fields[name].default):
                raise ValueError(f"{name} is kept only with privacy=dp; add that, or leave {name} out")
        return self


def train(
    config: TrainConfig, *, data: InDataset, schema: InSchema = None, constraints: InConstraints = None, model: OutModel
) -> None:
    """Train a generator on real rows and save the model.

    The generator's own options are written `--generator.NAME VALUE`:

        synth train --data train.csv --model model --generator tabular.trees --generator.min_leaf 20
        synth train --generator tabular.trees --help

    Ctrl-C and SIGTERM stop the fit; with `--checkpoint FOLDER` the same command goes on from there, where the generator
    trains step by step.

    Args:
        data: The real training rows.
        schema: What the columns hold; without it a schema is profiled from the rows.
        constraints: Rules that every synthetic row must obey.
        model: Where the model goes.

    Raises:
        StoppedError: if a signal stopped the fit.
    """
    from synth_components.constraints import constraints_from_file
    from synth_components.io.dataset import is_large, read_dataset, read_table
    from synth_components.model import fit
    from synth_components.policy import guard
    from synth_components.privacy.budget_file import account
    from synth_components.privacy.ledger import Ledger, not_private

    if config.privacy == "dp" and config.seed > 0:
        raise ConfigError(
            "option 'seed' of TrainConfig: a known seed voids differential privacy; leave it out with privacy=dp",
            option="seed",
        )
    state = _checkpoint(config, model)
    make_generator(config.generator, config.generator_options, trust=config.trust)  # refuse options before long work
    limit = Budget(config.epsilon, config.delta) if config.privacy == "dp" else None
    guard.admit(limit, read_schema(schema), label=f"fit {config.generator}")
    shared = account()
    if shared is not None:
        shared.require_room(limit, label=f"fit {config.generator}")
    declared = read_schema(schema)
    rules = () if constraints is None else constraints_from_file(constraints)
    # Without a schema the rows themselves are handed over, so that the fit charges for profiling them; of a table that
    # stays on disk the first rows are profiled here.
    profiled = Ledger()
    is_in_memory = declared is None and (config.privacy == "dp" or not is_large(data))
    rows = read_table(data) if is_in_memory else read_dataset(data, schema=declared, ledger=profiled)
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
            run=Run(
                device=config.device,
                rank=others.rank,
                world_size=others.world_size,
                checkpoint=state,
                report=report,
                should_stop=should_stop,
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
