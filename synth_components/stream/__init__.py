"""Rows without an end: blocks drawn one after the other, cut into units, sent at a pace into a sink, and watched.

The rows are those of the shard contract: block b has a random stream of its own.  A stream that starts at row N draws
from the block of N on and leaves its head out, so it goes on with the bytes that a stream from row 0 would have had.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pandas as pd

from synth_components.enforcement import is_by_construction
from synth_components.errors import UnsupportedError
from synth_components.model import Model
from synth_components.protocols import BLOCK_ROWS, Given
from synth_components.stream.pace import Pace
from synth_components.stream.sink import Sink
from synth_components.stream.stop import Stop
from synth_components.stream.unit import Cutter, Unit

ENDLESS = 2**53
"""Rows of a stream that goes on until it is stopped: more than anyone waits for, and still exact in JSON."""


class Watcher(Protocol):
    """Whoever looks at the blocks of a stream; ``watch.Watch`` is ours."""

    def __call__(self, table: pd.DataFrame, number: int, pace: Pace) -> None:
        """Look at block ``number`` before any of its rows is sent; may change the pace, or raise to end the stream."""


def blocks(
    model: Model, n: int, *, seed: int, offset: int = 0, given: Given | None = None
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield each block's number of the first row and its table, from the block of row ``offset`` on.

    Args:
        model: Model of one table.
        n: Rows of the whole stream, from row 0; ``ENDLESS`` for one that is stopped.
        seed: Seed of the rows.
        offset: Number of the first row that is wanted.
        given: Checked conditions (``conditions.parse``) for all rows.

    Raises:
        UnsupportedError: for several tables, or a rule that compares rows where rows are left out or never end.
    """
    if len(model.schema.tables) > 1:
        raise UnsupportedError("the model has several tables; sample them from Python with Model.blocks")
    schema, held = model.schema, model.sampler.schema.columns
    rules = [rule for rule in schema.constraints if not is_by_construction(rule, schema, drawn=held)]
    spanning = [rule.name for rule in rules if rule.spans_rows]
    if spanning and n >= ENDLESS:
        raise UnsupportedError(
            f"constraint '{spanning[0]}' compares all rows, and a stream that goes on until it is stopped would have "
            "to remember them; give num_rows, or drop the rule"
        )
    start = offset // BLOCK_ROWS
    drawn = model.blocks(n, seed=seed, given=given, first_block=start)
    return ((number * BLOCK_ROWS, block.table) for number, block in enumerate(drawn, start=start))


def pour(
    drawn: Iterator[tuple[int, pd.DataFrame]],
    sink: Sink,
    *,
    cutter: Cutter,
    columns: list[str],
    offset: int,
    pace: Pace,
    stop: Stop,
    watch: Watcher | None = None,
) -> bool:
    """Send rows until they end or someone asks to stop; return whether they ended.

    One block is held at a time, and none is drawn before the sink took the one before it.

    Args:
        drawn: What ``blocks`` yields.
        sink: Where the rows go; the caller closes it.
        cutter: How blocks become bytes.
        columns: Columns that are sent.
        offset: Rows before this one are not sent.
        pace: When rows may go.
        stop: Whether to stop.
        watch: Who looks at each block first.
    """
    for first, table in drawn:
        if watch is not None:
            watch(table, first // BLOCK_ROWS, pace)
        units = (unit for unit in cutter.units(table[columns], first) if unit.end > offset)
        sent = max(first, offset)
        for piece in _pieces(units, sent, pace):
            stop.wait(pace.delay(piece[-1].end - sent))
            if not stop.is_asked:
                sink.write(piece, stop)
            if stop.is_asked:
                return False
            sent = piece[-1].end
    return not stop.is_asked


def _pieces(units: Iterator[Unit], start: int, pace: Pace) -> Iterator[list[Unit]]:
    """Yield units together until they have as many rows as are written at once."""
    while first := next(units, None):
        piece = [first]
        while piece[-1].end - start < pace.rows_per_write and (unit := next(units, None)):
            piece.append(unit)
        start = piece[-1].end
        yield piece
