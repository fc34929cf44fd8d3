"""Units of a stream: bytes of whole rows, the same whatever the pace, the sink and the row that a stream starts at.

A text format has one unit per row.  Arrow has one per record batch of ``BATCH_ROWS`` rows, which start at multiples of
it.  A block of rows is always cut as a whole, and units are then left out: the bytes of a row never depend on where a
stream was stopped.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import pandas as pd

from synth_components.errors import DataError
from synth_components.io import csv
from synth_components.io.arrow import like, to_arrow
from synth_components.io.json_lines import records

StreamFormat: TypeAlias = Literal["ndjson", "csv", "arrow"]

BATCH_ROWS = 256
"""Rows of an Arrow record batch: a divisor of ``BLOCK_ROWS``, and few, since a slow stream writes whole batches."""

_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_PLACE = "the stream"


class Unit(NamedTuple):
    """Bytes of whole rows.

    Attributes:
        end: Number of the row after the last one: where a stream that stops here goes on.
        body: What is written.
    """

    end: int
    body: bytes


class Cutter(NamedTuple):
    """How blocks become units.

    Attributes:
        format: Format of the stream.
        opening: What stands before row 0: the header, or Arrow's schema.
        ending: What stands after the last row of a stream that has one.
        types: Arrow's schema, ``None`` for a text format.
    """

    format: StreamFormat
    opening: bytes
    ending: bytes
    types: Any

    def units(self, block: pd.DataFrame, first: int) -> list[Unit]:
        """Return the units of a block whose first row has number ``first``.

        Raises:
            DataError: for values that the format does not have.
        """
        match self.format:
            case "ndjson":
                rows = (f"{record}\n".encode() for record in records(block, place=_PLACE))
                return [Unit(first + place, body) for place, body in enumerate(rows, start=1)]
            case "csv":
                rows = (f"{row}\n".encode() for row in csv.rows(block, place=_PLACE))
                return [Unit(first + place, body) for place, body in enumerate(rows, start=1)]
            case "arrow":
                table = like(_flat(to_arrow(block, place=_PLACE)), self.types, _PLACE).combine_chunks()
                made, end = [], first
                for batch in table.to_batches(max_chunksize=BATCH_ROWS):
                    end += batch.num_rows
                    made.append(Unit(end, batch.serialize().to_pybytes()))
                return made


def cutter(format: StreamFormat, head: pd.DataFrame) -> Cutter:
    """Return how the blocks of a stream are cut.

    Args:
        format: Format of the stream.
        head: Block 0 of the stream, whose columns and Arrow types all blocks have.
    """
    match format:
        case "ndjson":
            return Cutter(format, b"", b"", None)
        case "csv":
            return Cutter(format, csv.head(list(head.columns), place=_PLACE), b"", None)
        case "arrow":
            types = _flat(to_arrow(head, place=_PLACE)).schema
            return Cutter(format, types.serialize().to_pybytes(), _END_OF_STREAM, types)


def require_start(format: StreamFormat, offset: int) -> None:
    """Return if a unit starts at row ``offset``.

    Raises:
        DataError: with the rows nearby at which one does.
    """
    if format == "arrow" and offset % BATCH_ROWS:
        low = offset // BATCH_ROWS * BATCH_ROWS
        raise DataError(
            f"an arrow stream goes on at the start of a record batch, a multiple of {BATCH_ROWS} rows; give offset "
            f"{low} or {low + BATCH_ROWS}"
        )


def _flat(table: Any) -> Any:  # noqa: ANN401 - pyarrow has no stubs
    """Return the table with categories as plain values: a dictionary would be state that a later start lacks."""
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table.column(place).chunk(0).dictionary_decode())
    return table
