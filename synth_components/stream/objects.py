"""A stream into objects under a prefix on S3: each a whole table, named by its first row.

An object appears when it is whole.  Its name and bytes follow from its first and last row, so rows that are sent again
replace themselves: a stream that goes on where it stopped leaves each row once.
"""

from __future__ import annotations

from collections.abc import Sequence

from synth_components.io.location import Location, writing
from synth_components.protocols import BLOCK_ROWS
from synth_components.stream.stop import Stop
from synth_components.stream.unit import Cutter, Unit

OBJECT_ROWS = 4 * BLOCK_ROWS
"""Rows of an object; objects start at multiples of it, but for the first one after a stop."""

_DIGITS = 16


class ObjectSink:
    """Gathers the units of one object and writes it when it is full, or when the stream ends."""

    def __init__(self, folder: Location, cutter: Cutter, *, offset: int) -> None:
        self._folder = folder
        self._cutter = cutter
        self._held: list[bytes] = []
        self._next = offset
        self._end = offset

    @property
    def next_row(self) -> int:
        """Number of the first row that is in no object yet."""
        return self._next

    def write(self, units: Sequence[Unit], stop: Stop) -> None:
        """Gather units; write each object that they fill.

        Raises:
            DataError: if the place cannot be written to.
        """
        for unit in units:
            self._held.append(unit.body)
            self._end = unit.end
            if unit.end % OBJECT_ROWS == 0:
                self._publish()

    def close(self, *, is_complete: bool) -> None:
        """Write the rows that are left; a complete stream without rows is one object without rows."""
        if self._held or (is_complete and self._next == 0):
            self._publish()

    def _publish(self) -> None:
        place = self._folder.child(f"{self._next:0{_DIGITS}d}.{self._cutter.format}")
        with writing(place) as part:
            part.write_bytes(b"".join([self._cutter.opening, *self._held, self._cutter.ending]))
        self._held = []
        self._next = self._end
