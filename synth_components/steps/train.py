"""The step from rows to a model."""

from __future__ import annotations

import logging
from typing import Any, Literal

from pydantic import Field

from synth_components.config import ConfigError, StepConfig
from synth_components.generators import DEFAULT
from synth_components.generators import make as make_generator
from synth_components.progress import stage
from synth_components.protocols import Run
from synth_components.steps.map_file import read_schema
from synth_components.steps.port import InConstraints, InDataset, InSchema, OutModel
from synth_components.steps.record import settled

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
    device: str = Field("cpu", description="Torch device of generators that use torch: cpu, cuda, cuda:1.")
    trust: tuple[str, ...] = Field(
        (), description="Module paths of generators that may be imported although no installed package declares them."
    )


def train(
    config: TrainConfig, *, data: InDataset, schema: InSchema = None, constraints: InConstraints = None, model: OutModel
) -> None:
    """Train a generator on real rows and save the model.

    The generator's own options are written `--generator.NAME VALUE`:

        synth train --data train.csv --model model --generator tabular.trees --generator.min_leaf 20
        synth train --generator tabular.trees --help

    Args:
        data: The real training rows.
        schema: What the columns hold; without it a schema is profiled from the rows.
        constraints: Rules that every synthetic row must obey.
        model: Where the model goes.
    """
    from synth_components.constraints import constraints_from_file
    from synth_components.io.dataset import is_large, read_dataset, read_table
    from synth_components.model import fit
    from synth_components.privacy.ledger import Ledger, not_private

    if config.privacy == "dp" and config.seed > 0:
        raise ConfigError(
            "option 'seed' of TrainConfig: a known seed voids differential privacy; leave it out with privacy=dp",
            option="seed",
        )
    make_generator(config.generator, config.generator_options, trust=config.trust)  # refuse options before long work
    declared = read_schema(schema)
    rules = () if constraints is None else constraints_from_file(constraints)
    # Without a schema the rows themselves are handed over, so that the fit charges for profiling them; of a table that
    # stays on disk the first rows are profiled here.
    profiled = Ledger()
    is_in_memory = declared is None and (config.privacy == "dp" or not is_large(data))
    rows = read_table(data) if is_in_memory else read_dataset(data, schema=declared, ledger=profiled)
    with stage(f"train {config.generator}") as report:
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
            run=Run(device=config.device, report=report),
        )
    for entry in profiled.entries:
        fitted.ledger.spend(entry.label, not_private)
    fitted.save(model)
    _LOG.info("trained %s on %d columns", config.generator, len(fitted.schema.columns))
