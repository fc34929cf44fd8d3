"""The step that holds real rows out, before anything is trained."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from synth_components.config import ConfigError, StepConfig
from synth_components.errors import DataError, UnsupportedError
from synth_components.split import split as split_table
from synth_components.split import split_batches, together
from synth_components.steps.map_file import read_schema
from synth_components.steps.port import InDataset, InSchema, OutRows, Place

if TYPE_CHECKING:
    from synth_components.schema import Schema

_LOG = logging.getLogger(__name__)

STRATA = (
    "strata are kept, which one row more may move: an epsilon of the training rows is then none of the whole table; "
    "leave out stratify, and hashes split it"
)


class SplitConfig(StepConfig):
    """How real rows part into training rows and holdout."""

    share: float = Field(0.2, gt=0, lt=1, description="Share of the privacy units that is held out.")
    seed: int = Field(0, ge=-1, lt=2**53, description="Seed of the choice; -1 draws a fresh one and records it.")
    unit: tuple[str, ...] = Field(
        (), description="Columns naming whom a row belongs to; no one is on both sides. Empty: as the schema says."
    )
    stratify: str = Field("", description="Column whose values keep their shares on both sides; empty for none.")
    hashed: bool = Field(
        default=False,
        description="Let a hash of each privacy unit decide on its side, so that one more moves no other: an epsilon "
        "of the training rows is then one of the whole table. The share holds on average.",
    )
    privacy: Literal["none", "dp"] = Field(
        "none", description="Privacy of what is trained on the rows; with dp they are `hashed`, unless strata are kept."
    )

    @property
    def is_hashed(self) -> bool:
        """Whether hashes decide."""
        return self.hashed or (self.privacy == "dp" and not self.stratify)


def split_for(asked: SplitConfig, privacy: Literal["none", "dp"]) -> SplitConfig:
    """Return how to split for a private fit, or another; where hashes were refused by name, as was asked."""
    is_refused = "hashed" in asked.model_fields_set and not asked.hashed
    return asked if privacy == "none" or is_refused else asked.model_copy(update={"privacy": privacy})


def split(config: SplitConfig, *, data: InDataset, schema: InSchema = None, train: OutRows, holdout: OutRows) -> None:
    """Split real rows into training rows and a holdout that no generator sees.

    Args:
        data: The real table.
        schema: Names the privacy unit, if `unit` does not.
        train: Where the training rows go.
        holdout: Where the held-out rows go.

    Raises:
        ConfigError: if an epsilon of what is trained would not be of the unit that the split is of.
        DataError: with privacy=dp and no schema, if the types of the table would be read off its rows.
    """
    from synth_components.io.dataset import is_large, read_dataset, read_table, read_typed, require_types, write_table
    from synth_components.steps.record import settled

    known = read_schema(schema)
    _require_unit(config, known)
    is_private = config.privacy == "dp"
    if is_private and known is None:  # what is trained would learn the types that the rows give the table
        require_types(data)
    unit = config.unit or together(known)
    if is_private and not config.is_hashed:
        _LOG.warning("%s", STRATA)
    rng = np.random.default_rng(settled(config).seed)
    if is_large(data):
        _stream(config, data, known, unit, rng, train, holdout)
        return
    if is_private:
        rows = read_typed(data) if known is None else read_dataset(data, schema=known, by_cell=True).table
    else:
        # A hash follows the type, which one row more may change where no schema tells it.
        rows = read_table(data, columns=known.columns if known is not None and config.is_hashed else None)
    kept, held = split_table(
        rows,
        share=config.share,
        rng=rng,
        unit=unit,
        stratify=config.stratify,
        hashed=config.is_hashed,
    )
    write_table(kept, train)
    write_table(held, holdout)
    _tell(config, len(kept), len(held))


def _require_unit(config: SplitConfig, schema: Schema | None) -> None:
    """Refuse whole units of an option for a private fit whose schema names no such unit: its epsilon is of a row."""
    if config.privacy == "dp" and config.unit and set(config.unit) != set(together(schema)):
        raise ConfigError(
            "option 'unit' of SplitConfig: an epsilon is of the unit that the schema names, and it names another or "
            "none; declare these columns there, with the most rows of one",
            option="unit",
        )


def _tell(config: SplitConfig, kept: int, held: int) -> None:
    if config.privacy == "dp":  # how many there are is told by a noisy count, or not at all
        _LOG.info("split training rows from held-out rows")
    else:
        _LOG.info("split %d training rows from %d held-out rows", kept, held)


def _stream(
    config: SplitConfig,
    data: Place,
    schema: Schema | None,
    unit: tuple[str, ...],
    rng: np.random.Generator,
    train: Place,
    holdout: Place,
) -> None:
    """Split a table that does not fit into memory, batch by batch."""
    from synth_components.io.dataset import read_dataset, table_writer
    from synth_components.privacy.ledger import SETTLED, Ledger

    if config.stratify:
        raise UnsupportedError(
            "a table that is too large for memory cannot be split by strata; leave out the option 'stratify': at this "
            "size a random split keeps the shares of all but the rarest values"
        )
    # The rows are handed on, and of the schema only its types are used.
    by_cell = config.privacy == "dp" and schema is not None
    rows = read_dataset(data, schema=schema, max_bytes=0, ledger=Ledger(account=SETTLED), by_cell=by_cell)
    counts = [0, 0]
    with table_writer(train) as write_train, table_writer(holdout) as write_holdout:
        for kept, held in split_batches(rows, share=config.share, rng=rng, unit=unit, hashed=config.is_hashed):
            write_train(kept)
            write_holdout(held)
            counts = [counts[0] + len(kept), counts[1] + len(held)]
        if min(counts) == 0:
            raise DataError("one side of the split would be empty; choose another share or seed, or a finer unit")
    _tell(config, *counts)
