"""Stopping a stream after a whole row: signals are noted, and whoever waits is woken."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

BY_HAND = (signal.SIGINT, signal.SIGTERM)
"""The signals that end a stream as it is meant to end."""

_LIMIT = signal.SIGUSR2
"""What `limits` sends this process when a limit is passed."""


@dataclass
class Stop:
    """Whether a stream shall stop.

    Attributes:
        signal: Number of the signal that asked for it; 0 while none did.
    """

    signal: int = 0
    _waker: int = -1

    @property
    def is_asked(self) -> bool:
        """Whether the stream shall stop."""
        return self.signal != 0

    def wait(self, seconds: float) -> None:
        """Wait, but not longer than until someone asks to stop."""
        if seconds > 0 and not self.is_asked:
            self._select([], seconds)

    def wait_writable(self, descriptor: int) -> bool:
        """Wait until a file descriptor takes bytes, or someone asks to stop; return whether it takes bytes."""
        return bool(self._select([descriptor], None))

    def _select(self, writers: list[int], seconds: float | None) -> list[int]:
        wakers = [] if self.is_asked or self._waker < 0 else [self._waker]
        awoken, writable, _ = select.select(wakers, writers, [], seconds)
        if awoken:
            os.read(self._waker, 512)  # of another signal too, which asks nothing
        return writable


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """Yield a ``Stop`` that Ctrl-C, SIGTERM and a passed limit ask; a second Ctrl-C interrupts at once.

    What else a signal does is left to the caller, by ``signal.raise_signal`` after the block.  Outside the main thread,
    which alone may handle signals, nobody asks.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Stop()
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.set_blocking(reader, False)
    stop = Stop(_waker=reader)

    def ask(number: int, _: FrameType | None) -> None:
        if stop.is_asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal = number

    # The wake-up pipe closes the gap between looking at `is_asked` and going to sleep in `select`.
    awoken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    asking = [*BY_HAND, *([_LIMIT] if callable(signal.getsignal(_LIMIT)) else [])]
    before = {number: signal.signal(number, ask) for number in asking}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(awoken)
        os.close(reader)
        os.close(writer)
