"""The pace of a stream: at most so many rows per second, by a clock that is passed in."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_ROWS_PER_WRITE = 1_024
"""Rows that are written at once, at most; between two writes a stream looks whether it shall stop."""

_WRITES_PER_SECOND = 10


@dataclass
class Pace:
    """A rate, and when the next rows are due.  A stalled stream does not make up for lost time.

    Attributes:
        rate: Rows per second; 0 for no limit.
        clock: Seconds that never go back.
    """

    rate: float
    clock: Callable[[], float] = time.monotonic
    _due: float = field(default=-math.inf, init=False)

    def delay(self, rows: int) -> float:
        """Return the seconds to wait before ``rows`` more rows may go, and count them as gone then."""
        if self.rate == 0:
            return 0.0
        now = self.clock()
        start = max(now, self._due)
        self._due = start + rows / self.rate
        return start - now

    @property
    def rows_per_write(self) -> int:
        """Rows to write at once: a tenth of a second of them, at least one."""
        if self.rate == 0:
            return MAX_ROWS_PER_WRITE
        return int(min(max(1.0, self.rate / _WRITES_PER_SECOND), MAX_ROWS_PER_WRITE))
