"""The step that joins the shards of a sample."""

from __future__ import annotations

import logging

from pydantic import Field

from synth_components.config import StepConfig
from synth_components.errors import DataError
from synth_components.progress import stage
from synth_components.steps.port import InDatasets, OutDataset
from synth_components.steps.sample import Format

_LOG = logging.getLogger(__name__)


class MergeConfig(StepConfig):
    """How to write the joined rows."""

    format: Format = Field("auto", description="File format; auto takes it from the file name.")


def merge(config: MergeConfig, *, parts: InDatasets, merged: OutDataset) -> None:
    """Join tables with the same columns into one, in the order given, a part at a time.

        synth merge --parts part-0.parquet --parts part-1.parquet --merged synthetic.parquet

    Args:
        parts: The tables; repeat the option for each.
        merged: Where the joined table goes.
    """
    from synth_components.io.dataset import read_table, table_writer

    columns: list[str] | None = None
    rows = 0
    with stage("merge") as report, table_writer(merged, format=config.format) as write:
        for done, part in enumerate(parts, start=1):
            table = read_table(part)
            columns = list(table.columns) if columns is None else columns
            if list(table.columns) != columns:
                raise DataError(f"part {done} has other columns than part 1; merge shards of one model only")
            write(table)
            rows += len(table)
            report(done, len(parts))
    _LOG.info("merged %d parts, %d rows", len(parts), rows)
