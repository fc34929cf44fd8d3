"""Ending a fit early: Ctrl-C and SIGTERM are handed to it as a request, so that it can keep its state."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from synth_components.errors import StoppedError

GRACE = 5.0
"""Seconds within which a fit must notice the request; one that does not is interrupted."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Request:
    """Whether a fit shall stop; calling it asks, as ``Run.should_stop``.

    Attributes:
        signal: Number of the signal that asked for it; 0 while none did.
        is_noticed: Whether the fit has heard of it.
    """

    signal: int = 0
    is_noticed: bool = False

    def __call__(self) -> bool:
        """Return whether the fit shall stop."""
        self.is_noticed = self.signal != 0
        return self.is_noticed


@contextmanager
def stopped_by_signals() -> Iterator[Request]:
    """Yield a request that Ctrl-C and SIGTERM make.

    A second signal acts as if there was no request, and so does the first after ``GRACE`` seconds in which the fit did
    not ask.  Outside the main thread, which alone may handle signals, nobody asks.

    Raises:
        StoppedError: as the fit raised it, with the number of the signal.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    is_over = threading.Event()

    def hurry() -> None:
        if not is_over.wait(GRACE) and not request.is_noticed:
            signal.pthread_kill(threading.main_thread().ident or 0, request.signal)

    def ask(number: int, _: FrameType | None) -> None:
        if request.signal:
            signal.signal(number, before[number])
            signal.raise_signal(number)
            return
        request.signal = number
        threading.Thread(target=hurry, name="synth-stopping", daemon=True).start()

    # A signal that this process ignores, as one in the background does Ctrl-C, stays ignored.
    asking = [int(number) for number in SIGNALS if signal.getsignal(number) not in {signal.SIG_IGN, None}]
    before = {number: signal.signal(number, ask) for number in asking}
    try:
        yield request
    except StoppedError as error:
        error.signal = request.signal
        raise
    finally:
        is_over.set()
        for number, handler in before.items():
            signal.signal(number, handler)
