"""The step from a model to rows: into a table, or into a stream."""

from __future__ import annotations

import logging
import math
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit

import pandas as pd
from pandas import DataFrame
from pydantic import Field, model_validator

from synth_components.config import ConfigError, StepConfig
from synth_components.errors import ConditionError, DataError, SchemaError, UnsupportedError
from synth_components.progress import stage
from synth_components.protocols import BLOCK_ROWS, Given, Interval
from synth_components.schema import Schema
from synth_components.steps.map_file import read_map
from synth_components.steps.port import STDOUT, InConditions, InModel, OptionalInDataset, OutStream, Place
from synth_components.steps.record import settled

if TYPE_CHECKING:
    from synth_components.model import Model
    from synth_components.stream.sink import Sink
    from synth_components.stream.unit import Cutter, StreamFormat
    from synth_components.stream.watch import Action, Watch

_LOG = logging.getLogger(__name__)

Format: TypeAlias = Literal["auto", "csv", "parquet", "json", "jsonl", "hdf5"]
SampleFormat: TypeAlias = Literal["auto", "csv", "parquet", "json", "jsonl", "ndjson", "hdf5", "arrow"]

KNOBS = ("rate",)
"""What `monitor adjust` may turn: when rows come, never which, so that every row can be drawn again."""

REFERENCE_BLOCKS = 4
"""Blocks at the start of a stream that the later ones are compared with."""


class SampleConfig(StepConfig):
    """How many rows to draw, and how to write them."""

    num_rows: int = Field(
        1000,
        ge=0,
        lt=2**53,
        description="Rows to draw, over all shards. Unused with a table of conditions. A stream for which it is not "
        "given goes on until it is stopped.",
    )
    seed: int = Field(0, ge=-1, lt=2**53, description="Seed of the rows; -1 draws a fresh one and records it.")
    columns: tuple[str, ...] = Field((), description="Columns to keep; empty keeps all.")
    shard_index: int = Field(0, ge=0, lt=2**31, description="Which shard this is, from 0.")
    num_shards: int = Field(1, ge=1, lt=2**31, description="Shards in all; their rows in order do not depend on it.")
    format: SampleFormat = Field(
        "auto",
        description="File format; auto takes it from the file name. A stream is ndjson, csv or arrow; auto is ndjson.",
    )
    offset: int = Field(
        0,
        ge=0,
        lt=2**53,
        description="Rows to leave out at the start, since an earlier call wrote them: it goes on with the same bytes. "
        "An arrow stream takes multiples of 256.",
    )
    rate: float = Field(0.0, ge=0, description="Most rows of a stream per second; 0 for no limit.")
    monitor: Literal["off", "alert", "stop", "adjust"] = Field(
        "off",
        description="What a stream does when a block drifts from the reference: warns, ends before it with status 3, "
        "or turns knobs down until a block does not drift.",
    )
    false_alarms: float = Field(
        0.01, gt=0, lt=1, description="Most probability that a stream without drift, however long, raises an alarm."
    )
    tolerance: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Difference of a share of rows that is no drift; above 0 with real rows as reference.",
    )
    knobs: dict[str, tuple[float, float]] = Field(
        {}, description="Least and largest value of each knob that monitor adjust may turn; rate is the one there is."
    )
    trust: tuple[str, ...] = Field(
        (), description="Module paths of generators that may be imported although no installed package declares them."
    )

    @model_validator(mode="after")
    def _shard_exists(self) -> SampleConfig:
        if self.shard_index >= self.num_shards:
            raise ValueError("shard_index must be below num_shards; shards count from 0")
        if self.num_shards > 1 and self.seed == -1:
            raise ValueError("seed -1 gives every shard rows of its own; give all shards one seed")
        if self.num_shards > 1 and self.offset:
            raise ValueError("offset and num_shards both take a part of the rows; give one of them")
        if self.seed == -1 and self.offset:
            raise ValueError("seed -1 draws other rows than the call that stopped at offset did; give the seed it told")
        return self

    @model_validator(mode="after")
    def _knobs_exist(self) -> SampleConfig:
        unknown = [name for name in self.knobs if name not in KNOBS]
        if unknown:
            raise ValueError(f"knobs has no '{unknown[0]}'; there is {', '.join(KNOBS)}")
        if any(not 0 < low <= high for low, high in self.knobs.values()):
            raise ValueError("the bounds of a knob must be above 0, the lower one first")
        if (self.monitor == "adjust") != bool(self.knobs):
            raise ValueError("monitor adjust and knobs belong together; give both, or neither")
        return self


def sample(
    config: SampleConfig,
    *,
    model: InModel,
    conditions: InConditions = None,
    reference: OptionalInDataset = None,
    synthetic: OutStream,
) -> None:
    """Draw synthetic rows from a model, in chunks, so that memory does not grow with the rows.

        synth sample --model model --synthetic synthetic.parquet --num-rows 1000000
        synth sample --model model --synthetic part-3.parquet --num-rows 1000000 --shard-index 3 --num-shards 8
        synth sample --model model --output - --format csv --rate 100 --monitor stop
        synth sample --model model --output kafka://broker:9092/topic --num-rows 1000000
        synth sample --model model --output s3://bucket/prefix/ --format arrow

    A stream goes to `-`, a Kafka topic, or objects under a prefix that ends with a slash. It is stopped by Ctrl-C or
    SIGTERM, after a whole row, and tells the row to go on from: the same command with `--offset` does. The reader
    holds it back. Kafka gets a row as JSON under its number as key, at least once; an object appears when it is whole.

    Conditions fix or limit columns: `{"sex": "F", "age": {"low": 60, "high": 80}, "city": ["Rome", "Oslo"]}`.

    Args:
        model: The trained model.
        conditions: What the rows must satisfy.
        reference: Real rows that a stream is compared with; by default its own first blocks.
        synthetic: Where the rows go.
    """
    from synth_components.model import Model

    fitted = Model.load(model, trust=config.trust)
    _refuse_unknown(config.columns, fitted.schema)
    if reference is not None and config.monitor == "off":
        raise ConfigError("a reference is for monitor; give monitor alert, stop or adjust", option="monitor")
    if _is_stream(synthetic):
        _stream(config, fitted, conditions, reference, str(synthetic))
        return
    for name in ("rate", "monitor"):
        if getattr(config, name) != SampleConfig.model_fields[name].default:
            raise ConfigError(f"{name} is for streams; drop it, or write to - or another stream", option=name)
    given, num_rows = _given(conditions, fitted.schema, config.num_rows)
    _require_within(config.offset, num_rows)
    drawn = 0
    with stage("sample") as report, _writer(synthetic, fitted.schema, config) as write:
        number = config.offset // BLOCK_ROWS
        for block in fitted.blocks(
            num_rows,
            seed=settled(config).seed,
            given=given,
            shard_index=config.shard_index,
            num_shards=config.num_shards,
            first_block=number,
        ):
            write(_without_head(block.tables, fitted.schema, max(config.offset - number * BLOCK_ROWS, 0)))
            number += 1
            drawn += block.num_rows(fitted.schema.root)
            report(drawn, max(drawn, -(-(num_rows - config.offset) // config.num_shards)))
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
        with table_writer(place, format=_file_format(config.format)) as write:
            yield lambda tables: write(tables[schema.root][columns])
        return
    raise UnsupportedError("the model has several tables; sample them from Python with Model.blocks")


def _file_format(format: SampleFormat) -> Format:
    """Return the format of a file, of which JSON Lines has two names."""
    if format == "arrow":
        raise DataError("arrow is a format of streams; write parquet, or to - or another stream")
    return "jsonl" if format == "ndjson" else format


def _without_head(tables: Mapping[str, DataFrame], schema: Schema, rows: int) -> Mapping[str, DataFrame]:
    return {schema.root: tables[schema.root].iloc[rows:].reset_index(drop=True)} if rows else tables


def _require_within(offset: int, num_rows: int) -> None:
    if offset > num_rows:
        raise ConfigError(
            f"offset ({offset}) is beyond num_rows ({num_rows}), which counts the rows before it too", option="offset"
        )


def _is_stream(place: Place) -> bool:
    parts = urlsplit(str(place))
    return str(place) in {"-", STDOUT} or parts.scheme == "kafka" or (parts.scheme == "s3" and parts.path.endswith("/"))


def _stream(config: SampleConfig, model: Model, conditions: Path | None, real: Place | None, place: str) -> None:
    """Send rows into a stream until they end or someone stops it, and tell where to go on."""
    from synth_components import stream
    from synth_components.stream.pace import Pace
    from synth_components.stream.stop import BY_HAND, stopped_by_signals
    from synth_components.stream.unit import cutter, require_start

    if config.num_shards > 1:
        raise ConfigError("a stream has one shard; drop num_shards and shard_index", option="num_shards")
    config = settled(config)
    format = _stream_format(config.format, place)
    require_start(format, config.offset)
    # Not a value of num_rows: the platforms always give one, so no job there runs for ever by accident.
    is_said = "num_rows" in config.model_fields_set
    given, num_rows = _given(conditions, model.schema, config.num_rows if is_said else stream.ENDLESS)
    _require_within(config.offset, num_rows)

    def blocks(offset: int = 0) -> Iterator[tuple[int, DataFrame]]:
        return stream.blocks(model, num_rows, seed=config.seed, offset=offset, given=given)

    later = blocks(config.offset)  # refuses what cannot be streamed before anything is drawn
    columns = list(config.columns or model.schema.columns)
    # Only Arrow has types, which are those of block 0 wherever the stream starts.
    cut = cutter(format, (next(iter(blocks()))[1] if format == "arrow" else model.sample(0, seed=0))[columns])
    watch = None if config.monitor == "off" else _watch(config, config.monitor, model, real, blocks)
    pace = Pace(watch.knobs["rate"].value if watch is not None and "rate" in watch.knobs else config.rate)
    with stage("sample"), stopped_by_signals() as stop:
        sink = _sink(place, cut, config.offset)
        with _closed(sink, config.seed) as end:
            end.is_complete = stream.pour(
                later, sink, cutter=cut, columns=columns, offset=config.offset, pace=pace, stop=stop, watch=watch
            )
    if stop.is_asked and (num_rows < stream.ENDLESS or stop.signal not in BY_HAND):
        signal.raise_signal(stop.signal)  # rows are missing, or a limit was passed: whoever waits hears of it


@dataclass
class _End:
    is_complete: bool = False


@contextmanager
def _closed(sink: Sink, seed: int) -> Iterator[_End]:
    """Yield what the caller says the end to; close the sink, and tell the row to go on from however it ended."""
    end = _End()
    try:
        try:
            yield end
        finally:
            sink.close(is_complete=end.is_complete)
    except BrokenPipeError:  # nobody reads any more, as after `| head`
        return
    except BaseException:
        _tell(sink.next_row, seed)
        raise
    if end.is_complete:
        _LOG.info("all %d rows are there", sink.next_row)
    else:
        _tell(sink.next_row, seed)


def _tell(next_row: int, seed: int) -> None:
    _LOG.info("stopped before row %d; go on with --offset %d --seed %d", next_row, next_row, seed)


def _stream_format(format: SampleFormat, place: str) -> StreamFormat:
    if place.startswith("kafka://") and format not in {"auto", "ndjson", "jsonl"}:
        raise DataError("a Kafka message is one row as JSON; give format ndjson, or leave it out")
    match format:
        case "auto" | "ndjson" | "jsonl":
            return "ndjson"
        case "csv" | "arrow":
            return format
        case _:
            raise DataError(f"a stream cannot be {format}; give format ndjson, csv or arrow")


def _sink(place: str, cut: Cutter, offset: int) -> Sink:
    from synth_components.io.location import locate
    from synth_components.stream.descriptor import DescriptorSink
    from synth_components.stream.kafka import KafkaSink
    from synth_components.stream.objects import ObjectSink

    if place.startswith("kafka://"):
        return KafkaSink(place, offset=offset)
    if place.startswith("s3://"):
        return ObjectSink(locate(place), cut, offset=offset)
    sys.stdout.flush()
    return DescriptorSink(sys.stdout.fileno(), cut, offset=offset)


def _watch(
    config: SampleConfig,
    action: Action,
    model: Model,
    real: Place | None,
    blocks: Callable[[], Iterator[tuple[int, DataFrame]]],
) -> Watch:
    """Return who compares the stream with real rows, or with its own first blocks, which costs no privacy."""
    from synth_components.io.dataset import read_table
    from synth_components.privacy.budget_file import opened
    from synth_components.privacy.ledger import SETTLED, Ledger
    from synth_components.stream.drift import DriftConfig, reference
    from synth_components.stream.watch import Knob, Watch

    if real is None:
        start = REFERENCE_BLOCKS
        table = pd.concat([block for _, block in islice(blocks(), start)], ignore_index=True)
    elif model.privacy.epsilon != math.inf:
        raise UnsupportedError(
            "the model promises differential privacy, and comparing its rows with real ones is outside of the promise; "
            "leave out the reference: the stream is then compared with its own first blocks"
        )
    else:
        start = 0
        opened(None).note_uncovered("sample: the rows of the reference")
        table = read_table(real, columns=model.schema.columns)
        _LOG.info("the reference reads %d real rows, without privacy", len(table))
    known = reference(
        table,
        model.schema,
        config=DriftConfig(false_alarms=config.false_alarms, tolerance=config.tolerance),
        ledger=Ledger(account=SETTLED, is_told=False),  # real rows are written down above
    )
    knobs = {
        name: Knob(min(max(config.rate or high, low), high), low, high) for name, (low, high) in config.knobs.items()
    }
    return Watch(known, action, start, knobs)
