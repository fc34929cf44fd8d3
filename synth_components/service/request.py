"""What a request asks for: options and conditions, from its query and its body, checked before anything is drawn."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import pandas as pd

from synth_components.condition_text import readable, readable_value, rules
from synth_components.conditions import nulls, parse
from synth_components.config import ConfigError
from synth_components.errors import ConditionError, DataError
from synth_components.io.arrow import from_arrow
from synth_components.io.csv import Csv, dialect, head
from synth_components.io.dataset import text_columns
from synth_components.io.json_lines import objects, parsed
from synth_components.io.memory import held
from synth_components.protocols import Given, Interval
from synth_components.schema import Schema
from synth_components.service.media import Media
from synth_components.service.refusal import Refusal, too_large
from synth_components.steps.record import settled
from synth_components.steps.sample import SampleConfig, condition_of

OPTIONS = ("num_rows", "seed", "columns")
"""The options of the sample step that a request may give; without a seed it gets fresh rows."""

CONDITIONS = "conditions"
PLACE = "request"
"""What messages call the body."""

_BATCH_ROWS = 8_192


@dataclass(frozen=True)
class Asked:
    """A checked request.

    Attributes:
        num_rows: Rows to draw.
        seed: Seed of the rows; drawn for this request if the caller gave none.
        columns: Columns of the answer.
        given: Conditions, ``None`` for none.
    """

    num_rows: int
    seed: int
    columns: list[str]
    given: Given | None


def asked_of(
    body: bytes,
    media: Media | None,
    options: Mapping[str, object],
    schema: Schema,
    *,
    max_rows: int,
    instead: str,
    unnamed: Sequence[str] = (),
) -> Asked:
    """Return what a request asks for.

    Args:
        body: In JSON a map of options and ``conditions``, these as for ``Model.sample``; else, and in a JSON array, a
            table with one request row per output row, null being free.  Empty for no conditions.
        media: Format of the body; JSON if ``None``.
        options: Options that stand outside of the body; the body wins.
        schema: Columns of the model.
        max_rows: Most rows that may be asked for.
        instead: What to do for more, at the end of a message.
        unnamed: Columns of a CSV body whose first line does not name them; empty if it must.

    Raises:
        Refusal: 400 for what does not fit the model, 413 for too many rows.
    """
    found: Any = None
    given = dict(options)
    if body.strip():
        found = _content(body, media, schema, max_rows, instead, unnamed)
    if isinstance(found, dict):
        given |= {name: found[name] for name in OPTIONS if found.get(name) is not None}
        found = found.get(CONDITIONS)
    config = _options(given, schema)
    if isinstance(found, list):
        found = _table(found, schema, max_rows, instead)
    num_rows = len(found) if isinstance(found, pd.DataFrame) else config.num_rows
    if given.get("num_rows") is not None and num_rows != config.num_rows:
        raise ConditionError(
            f"num_rows is {config.num_rows} and there are {num_rows} rows of conditions; leave num_rows out"
        )
    if num_rows > max_rows:
        raise _too_many(num_rows, max_rows, instead)
    columns = list(config.columns or schema.columns)
    try:
        return Asked(num_rows, config.seed, columns, _given(found, schema, num_rows))
    except ConditionError as error:
        message = f"{error}{rules(error.columns, schema)}"
        raise ConditionError(message, columns=error.columns) from None


def _too_many(num_rows: int, max_rows: int, instead: str) -> Refusal:
    message = f"{num_rows} rows are asked for, and one answer has at most {max_rows}; {instead}"
    return too_large(message, max_rows=max_rows)


def _options(given: Mapping[str, object], schema: Schema) -> SampleConfig:
    said = {name: value for name, value in given.items() if value is not None}
    if any(name not in OPTIONS for name in said):
        raise Refusal(400, "ConfigError", f"an option is unknown; known are: {', '.join(OPTIONS)}")
    try:
        config = settled(SampleConfig.parse({"seed": -1, **said}))
    except ConfigError as error:
        raise Refusal(400, "ConfigError", str(error).replace(" of SampleConfig", "")) from None
    _require_known(config.columns, schema, "column {} that is asked for")
    return config


def _require_known(names: Sequence[object], schema: Schema, what: str) -> None:
    """Return if all are columns; an unknown name is not repeated, since a body without a header has values there."""
    for place, name in enumerate(names, start=1):
        if name not in schema.columns:
            near = get_close_matches(str(name), list(schema.columns), n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"its columns are: {', '.join(schema.columns)}"
            raise ConditionError(f"{what.format(place)} is none of the model; {hint}")


def _content(
    body: bytes, media: Media | None, schema: Schema, max_rows: int, instead: str, unnamed: Sequence[str]
) -> dict[str, Any] | list[dict[str, Any]] | pd.DataFrame:
    match "json" if media is None else media.format:
        case "csv":
            return _csv(body, schema, max_rows, instead, unnamed)
        case "parquet":
            return _parquet(body, schema, max_rows, instead)
        case "ndjson":
            return list(objects(held(body, PLACE), gzipped=False))
    value = parsed(body, place=PLACE, what="the body")
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        return value
    if not isinstance(value, dict):
        raise DataError("the body must be a map of options and conditions, or an array of maps, one for each row")
    known = (*OPTIONS, CONDITIONS)
    if any(name not in known for name in value):
        raise Refusal(400, "ConfigError", f"the body has an unknown entry; known are: {', '.join(known)}")
    found = value.get(CONDITIONS)
    is_table = isinstance(found, list) and all(isinstance(row, dict) for row in found)
    if not (found is None or isinstance(found, dict) or is_table):
        raise DataError("conditions are a map by column, or an array of maps, one for each row")
    return value


def _table(rows: list[dict[str, Any]], schema: Schema, max_rows: int, instead: str) -> pd.DataFrame:
    """Return the request rows of JSON; as objects, since pandas has no type for every mixture."""
    if len(rows) > max_rows:
        raise _too_many(len(rows), max_rows, instead)
    names = list(dict.fromkeys(name for row in rows for name in row))
    _require_known(names, schema, "key {} of the conditions")
    columns = {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names}
    return pd.DataFrame(columns, columns=names, index=pd.RangeIndex(len(rows)))


def _csv(body: bytes, schema: Schema, max_rows: int, instead: str, unnamed: Sequence[str]) -> pd.DataFrame:
    try:
        if unnamed and not _is_header(body, schema):
            body = head(list(unnamed), place=PLACE) + body
        _, names = dialect(held(body, PLACE), gzipped=False)
    except DataError:
        raise DataError("the first line must name columns of the model, each once, in UTF-8") from None
    _require_known(names, schema, "name {} of the first line")
    table = Csv.examine(
        held(body, PLACE), gzipped=False, text=text_columns({name: schema.columns[name] for name in names})
    )
    if table.rows > max_rows:
        raise _too_many(table.rows, max_rows, instead)
    return table.read()


def _is_header(body: bytes, schema: Schema) -> bool:
    line = body.partition(b"\n")[0].decode("utf-8-sig", "replace").rstrip("\r")
    return set(next(csv.reader([line]), [])) <= set(schema.columns)


def _parquet(body: bytes, schema: Schema, max_rows: int, instead: str) -> pd.DataFrame:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(pa.BufferReader(body)) as file:
            _require_known(file.schema_arrow.names, schema, "column {} of the body")
            # The metadata may lie, so rows are counted as they come.
            batches, num_rows = [], 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                num_rows += batch.num_rows
                if num_rows > max_rows:
                    raise _too_many(num_rows, max_rows, instead)
                batches.append(batch)
            table = pa.Table.from_batches(batches, schema=file.schema_arrow)
    except (pa.ArrowException, OSError):
        raise DataError("the body is not a whole parquet file; write it again") from None
    # What a writer says about dtypes is left aside: conditions are held against the model's schema.
    return from_arrow(table.replace_schema_metadata(None), place=PLACE)


def _given(found: Any, schema: Schema, num_rows: int) -> Given | None:  # noqa: ANN401 - what the body holds
    if found is None:
        return None
    if isinstance(found, pd.DataFrame):
        # Null is free, in columns too that cannot be conditioned on.
        free = [name for name in found.columns if nulls(found[name], str(name)).all()]
        table = found.drop(columns=free)
        made = {name: readable(values, schema.columns[str(name)]) for name, values in table.items()}
        return parse(pd.DataFrame(made, index=table.index), schema, num_rows)
    _require_known(list(found), schema, "key {} of the conditions")
    return parse({name: _condition(value, name, schema) for name, value in found.items()}, schema, num_rows)


def _condition(value: object, name: str, schema: Schema) -> object:
    column = schema.columns[name]
    made = condition_of(value, name)
    if isinstance(made, Interval):
        low, high = (readable_value(end, column) for end in (made.low, made.high))
        return Interval(low, high)  # type: ignore[arg-type]  # what is no number or time, parse refuses
    if isinstance(made, list):
        return [readable_value(member, column) for member in made]
    return readable_value(made, column)
