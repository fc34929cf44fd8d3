"""Rows as bytes: an answer made whole within its limits, or made block by block while it is sent."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import pandas as pd

from synth_components.io import csv
from synth_components.io.arrow import parquet_writer
from synth_components.io.json_lines import records
from synth_components.model import Model
from synth_components.service.media import Media
from synth_components.service.options import ServeConfig
from synth_components.service.refusal import too_large, unavailable
from synth_components.service.request import Asked

PLACE = "answer"
_SLACK = 1.1
"""By how much a forecast from the first blocks must pass a limit before the rest is not drawn."""


@dataclass(frozen=True)
class Terms:
    """How large an answer may be.

    Attributes:
        max_rows: Most rows of one that is made whole.
        max_stream_rows: Most rows of one that is sent while it is made.
        max_bytes: Largest one that is made whole.
        max_seconds: Most time to make one whole.
        instead: What to do for more, at the end of a message.
        has_header: Whether CSV starts with the names of its columns.
    """

    max_rows: int
    max_stream_rows: int
    max_bytes: int
    max_seconds: float
    instead: str = "draw more with `synth sample --model MODEL --num-rows N --synthetic FILE`"
    has_header: bool = True

    @classmethod
    def of(cls, config: ServeConfig) -> Terms:
        """Return the terms of a service."""
        return cls(config.max_rows, config.max_stream_rows, config.max_answer_bytes, config.answer_seconds)

    def rows_for(self, media: Media) -> int:
        """Return the most rows of an answer."""
        return self.max_stream_rows if media.is_streamed else self.max_rows


def tables(model: Model, asked: Asked) -> Iterator[pd.DataFrame]:
    """Yield the asked columns of the rows that ``Model.sample`` gives for this seed, block by block."""
    for block in model.blocks(asked.num_rows, seed=asked.seed, given=asked.given):
        yield block.table[asked.columns]


def pieces(drawn: Iterator[pd.DataFrame], media: Media, *, has_header: bool = True) -> Iterator[bytes]:
    """Yield the bytes of an answer, a piece for each block.

    Together they are those of the file that ``synth sample`` writes.
    """
    match media.format:
        case "csv":
            for number, table in enumerate(drawn):
                yield csv.render(table, place=PLACE, header=has_header and number == 0)
        case "ndjson":
            for table in drawn:
                yield "".join(f"{record}\n" for record in records(table, place=PLACE)).encode()
        case "json":
            opening = "[\n"
            for table in drawn:
                text = ",\n".join(records(table, place=PLACE))
                yield f"{opening}{text}".encode() if text else b""
                opening = ",\n" if text else opening
            yield b"\n]\n" if opening != "[\n" else b"[]\n"
        case "parquet":
            yield from _parquet(drawn)


def _parquet(drawn: Iterator[pd.DataFrame]) -> Iterator[bytes]:
    sink = _Pieces()
    with parquet_writer(cast("BinaryIO", sink), place=PLACE) as write:
        for table in drawn:
            write(table)
            yield sink.taken()
    yield sink.taken()


class _Pieces(io.RawIOBase):
    """A file that gives away what is written to it, and remembers only how much it was."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, piece: Any) -> int:  # noqa: ANN401 - any buffer
        self._held.append(bytes(piece))
        self._size += len(self._held[-1])
        return len(self._held[-1])

    def taken(self) -> bytes:
        made, self._held = b"".join(self._held), []
        return made


def whole(model: Model, asked: Asked, media: Media, terms: Terms, *, arrived: float) -> bytes:
    """Return an answer, or stop as soon as it is clear that it passes a limit.

    Args:
        arrived: When the request came (``time.monotonic``); waiting counts too.

    Raises:
        Refusal: 413 with the rows that would fit, 503 if the time was over before the work could begin.
    """
    started = time.monotonic()
    left = terms.max_seconds - (started - arrived)
    if left <= 0:
        raise unavailable("the request waited too long for its turn; ask again later")
    made: list[bytes] = []
    size = rows = 0

    def counted() -> Iterator[pd.DataFrame]:
        nonlocal rows
        for table in tables(model, asked):
            rows += len(table)
            yield table

    for piece in pieces(counted(), media, has_header=terms.has_header):
        made.append(piece)
        size += len(piece)
        _require_within("bytes", size, terms.max_bytes, rows, asked.num_rows, terms.instead)
        seconds = time.monotonic() - started
        _require_within("seconds", seconds, left, rows, asked.num_rows, terms.instead)
    return b"".join(made)


def _require_within(unit: str, spent: float, limit: float, rows: int, num_rows: int, instead: str) -> None:
    forecast = spent * num_rows / max(rows, 1)
    if spent > limit or (rows < num_rows and forecast > _SLACK * limit):
        fitting = int(rows * limit / spent)
        raise too_large(
            f"{num_rows} rows pass the limit of {limit:,.0f} {unit} for one answer, into which about {fitting} fit; "
            f"{instead}",
            max_rows=fitting,
        )
