"""A stream into a file descriptor: standard output, that is a pipe, a file or a terminal."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator, Sequence

from synth_components.stream.stop import Stop
from synth_components.stream.unit import Cutter, Unit


class DescriptorSink:
    """Writes units one after the other; header or schema come first in a stream that starts at row 0.

    Bytes go as many at a time as a pipe takes whole, and only when it takes them.  A reader who stands still therefore
    holds the stream back, and yet the stream can be stopped, after a whole unit.
    """

    def __init__(self, descriptor: int, cutter: Cutter, *, offset: int) -> None:
        self._descriptor = descriptor
        self._cutter = cutter
        self._opening = b"" if offset else cutter.opening
        self._next = offset

    @property
    def next_row(self) -> int:
        """Number of the first row that was not written."""
        return self._next

    def write(self, units: Sequence[Unit], stop: Stop) -> None:
        """Write units until all are written or someone asks to stop."""
        for unit in _packed(units):
            if not self._is_written(self._opening + unit.body, stop):
                return
            self._opening = b""
            self._next = unit.end

    def close(self, *, is_complete: bool) -> None:
        """Write what ends a complete stream; the descriptor stays open."""
        if is_complete:
            self._is_written(self._opening + self._cutter.ending, Stop())

    def _is_written(self, body: bytes, stop: Stop) -> bool:
        """Write all bytes, or none if someone asks to stop before the first of them."""
        rest = memoryview(body)
        while rest:
            if stop.is_asked and len(rest) == len(body):
                return False
            if stop.wait_writable(self._descriptor):
                rest = rest[os.write(self._descriptor, rest[: select.PIPE_BUF]) :]
        return True


def _packed(units: Sequence[Unit]) -> Iterator[Unit]:
    """Yield units joined to as many bytes as a pipe takes whole; a larger one stands alone."""
    held: list[bytes] = []
    size = end = 0
    for unit in units:
        if held and size + len(unit.body) > select.PIPE_BUF:
            yield Unit(end, b"".join(held))
            held, size = [], 0
        held.append(unit.body)
        size, end = size + len(unit.body), unit.end
    if held:
        yield Unit(end, b"".join(held))
