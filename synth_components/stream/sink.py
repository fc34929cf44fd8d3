"""Where a stream goes.

A sink takes whole units and blocks until they are taken: that is what holds the generator back.  ``next_row`` never
runs ahead of what is safely there, so a stream that goes on from it loses no row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from synth_components.stream.stop import Stop
from synth_components.stream.unit import Unit


class Sink(Protocol):
    """Whoever takes the rows of a stream."""

    @property
    def next_row(self) -> int:
        """Number of the first row that is not safely there."""

    def write(self, units: Sequence[Unit], stop: Stop) -> None:
        """Take units in order; once someone asks to stop, perhaps only the first of them."""

    def close(self, *, is_complete: bool) -> None:
        """End; ``is_complete`` tells that the last row of the stream was taken."""
