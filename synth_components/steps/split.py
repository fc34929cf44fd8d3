"""The step that holds real rows out, before anything is trained."""

from __future__ import annotations

import logging

import numpy as np
from pydantic import Field

from synth_components.config import StepConfig
from synth_components.split import split as split_table
from synth_components.steps.map_file import read_schema
from synth_components.steps.port import InDataset, InSchema, OutDataset

_LOG = logging.getLogger(__name__)


class SplitConfig(StepConfig):
    """How real rows part into training rows and holdout."""

    share: float = Field(0.2, gt=0, lt=1, description="Share of the privacy units that is held out.")
    seed: int = Field(0, ge=-1, lt=2**53, description="Seed of the choice; -1 draws a fresh one and records it.")
    unit: tuple[str, ...] = Field(
        (), description="Columns naming whom a row belongs to; no one is on both sides. Empty: as the schema says."
    )
    stratify: str = Field("", description="Column whose values keep their shares on both sides; empty for none.")


def split(
    config: SplitConfig, *, data: InDataset, schema: InSchema = None, train: OutDataset, holdout: OutDataset
) -> None:
    """Split real rows into training rows and a holdout that no generator sees.

    Args:
        data: The real table.
        schema: Names the privacy unit, if `unit` does not.
        train: Where the training rows go.
        holdout: Where the held-out rows go.
    """
    from synth_components.io.dataset import read_table, write_table
    from synth_components.steps.record import settled

    unit = config.unit
    if not unit and schema is not None:
        declared = read_schema(schema).unit
        unit = () if declared is None else declared.columns
    rng = np.random.default_rng(settled(config).seed)
    kept, held = split_table(read_table(data), share=config.share, rng=rng, unit=unit, stratify=config.stratify)
    write_table(kept, train)
    write_table(held, holdout)
    _LOG.info("split %d training rows from %d held-out rows", len(kept), len(held))
