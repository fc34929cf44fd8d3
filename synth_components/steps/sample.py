"""The step from a model to rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

from pandas import DataFrame
from pydantic import Field, model_validator

from synth_components.config import StepConfig
from synth_components.errors import ConditionError, SchemaError, UnsupportedError
from synth_components.progress import stage
from synth_components.protocols import Given, Interval
from synth_components.schema import Schema
from synth_components.steps.map_file import read_map
from synth_components.steps.port import InConditions, InModel, OutDataset, Place
from synth_components.steps.record import settled

_LOG = logging.getLogger(__name__)

Format: TypeAlias = Literal["auto", "csv", "parquet", "json", "jsonl", "hdf5"]


class SampleConfig(StepConfig):
    """How many rows to draw, and how to write them."""

    num_rows: int = Field(
        1000, ge=0, lt=2**53, description="Rows to draw, over all shards. Unused with a table of conditions."
    )
    seed: int = Field(0, ge=-1, lt=2**53, description="Seed of the rows; -1 draws a fresh one and records it.")
    columns: tuple[str, ...] = Field((), description="Columns to keep; empty keeps all.")
    shard_index: int = Field(0, ge=0, lt=2**31, description="Which shard this is, from 0.")
    num_shards: int = Field(1, ge=1, lt=2**31, description="Shards in all; their rows in order do not depend on it.")
    format: Format = Field("auto", description="File format; auto takes it from the file name.")
    trust: tuple[str, ...] = Field(
        (), description="Module paths of generators that may be imported although no installed package declares them."
    )

    @model_validator(mode="after")
    def _shard_exists(self) -> SampleConfig:
        if self.shard_index >= self.num_shards:
            raise ValueError("shard_index must be below num_shards; shards count from 0")
        if self.num_shards > 1 and self.seed == -1:
            raise ValueError("seed -1 gives every shard rows of its own; give all shards one seed")
        return self


def sample(config: SampleConfig, *, model: InModel, conditions: InConditions = None, synthetic: OutDataset) -> None:
    """Draw synthetic rows from a model, in chunks, so that memory does not grow with the rows.

        synth sample --model model --synthetic synthetic.parquet --num-rows 1000000
        synth sample --model model --synthetic part-3.parquet --num-rows 1000000 --shard-index 3 --num-shards 8

    Conditions fix or limit columns: `{"sex": "F", "age": {"low": 60, "high": 80}, "city": ["Rome", "Oslo"]}`.

    Args:
        model: The trained model.
        conditions: What the rows must satisfy.
        synthetic: Where the rows go.
    """
    from synth_components.model import Model

    fitted = Model.load(model, trust=config.trust)
    _refuse_unknown(config.columns, fitted.schema)
    given, num_rows = _given(conditions, fitted.schema, config.num_rows)
    drawn = 0
    with stage("sample") as report, _writer(synthetic, fitted.schema, config) as write:
        for block in fitted.blocks(
            num_rows,
            seed=settled(config).seed,
            given=given,
            shard_index=config.shard_index,
            num_shards=config.num_shards,
        ):
            write(block.tables)
            drawn += block.num_rows(fitted.schema.root)
            report(drawn, max(drawn, -(-num_rows // config.num_shards)))
        if not drawn:  # fewer blocks than shards: a table without rows has its columns all the same
            write({fitted.schema.root: fitted.sample(0, seed=0)})
    _LOG.info("sampled %d rows", drawn)


def _refuse_unknown(columns: tuple[str, ...], schema: Schema) -> None:
    for name in columns:
        if name not in schema.columns:
            raise SchemaError(
                f"the model has no column '{name}'; its columns are: {', '.join(schema.columns)}", column=name
            )


def _given(path: Path | None, schema: Schema, num_rows: int) -> tuple[Given | None, int]:
    """Return the conditions that a file asks for, and how many rows that makes."""
    from synth_components.conditions import parse
    from synth_components.io.dataset import read_table

    if path is None:
        return None, num_rows
    if path.suffix.lower() in {".json", ".yaml", ".yml"}:
        asked = {name: condition_of(value, name) for name, value in read_map(path, "conditions").items()}
        return parse(asked, schema, num_rows), num_rows
    requests = read_table(path)
    return parse(requests, schema, len(requests)), len(requests)


def condition_of(value: object, column: str) -> object:
    """Return a condition of a file as ``Model.sample`` takes it.

    ``{"low": 1, "high": 2}`` is the interval from 1 to 2, and a list is a set.

    Raises:
        ConditionError: for a map of anything else.
    """
    if isinstance(value, dict):
        if not value or set(value) - {"low", "high"}:
            raise ConditionError(
                f"the condition on column '{column}' must be a value, a list of values, or a map of low and high",
                columns=(column,),
            )
        return Interval(value.get("low"), value.get("high"))
    return value


@contextmanager
def _writer(place: Place, schema: Schema, config: SampleConfig) -> Iterator[Callable[[Mapping[str, DataFrame]], None]]:
    """Yield a function that appends one block's tables: one to a file, several to a dataset folder."""
    from synth_components.io.dataset import table_writer

    if len(schema.tables) == 1:
        columns = list(config.columns or schema.columns)
        with table_writer(place, format=config.format) as write:
            yield lambda tables: write(tables[schema.root][columns])
        return
    raise UnsupportedError("the model has several tables; sample them from Python with Model.blocks")
