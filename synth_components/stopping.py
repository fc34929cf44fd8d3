"""Ending a fit early: Ctrl-C and SIGTERM are handed to it as a request, so that it can keep its state.

A fit that has a deadline is asked as well, and interrupted if it does not hear.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from synth_components.errors import StoppedError

T = TypeVar("T")

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


@contextmanager
def signals_held() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C and SIGTERM back, and yield what lets them through; else the end of the block does.

    Whoever starts a process lets them through once it knows how to end it: an exception out of ``subprocess.Popen``
    itself would leave it running.  The process hears signals as ever, as it would not if they were blocked, which is
    inherited.  Outside the main thread, which alone may handle signals, none are held.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    held: list[int] = []

    def let_through() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)
        before.clear()
        while held:
            signal.raise_signal(held.pop(0))

    asking = [int(number) for number in SIGNALS if signal.getsignal(number) not in {signal.SIG_IGN, None}]
    before = {number: signal.signal(number, lambda number, _: held.append(number)) for number in asking}
    try:
        yield let_through
    finally:
        let_through()


def followed(
    command: Sequence[str],
    hear: Callable[[str], None],
    ending: Callable[[subprocess.Popen[str]], None],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
) -> int:
    """Run a command, with what it says on standard error, and return its exit status.

    Args:
        command: The program and its arguments.
        hear: Is given each line, too.
        ending: Ends the process where this ends early: by a signal in the main thread, or by whatever ``hear`` raises.
        env: All variables of the process.
        cwd: Where it runs; here, if not told.
    """
    with (
        signals_held() as let_through,
        subprocess.Popen(  # noqa: S603 - the caller's own command
            command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        try:
            let_through()
            for said in process.stdout or ():
                sys.stderr.write(said)
                hear(said)
            process.wait()
        except BaseException:
            ending(process)
            raise
    return process.returncode


def end(process: subprocess.Popen[str], grace: float) -> None:
    """End a process that was begun: it hears SIGTERM first, and is killed if it is deaf.

    So a fit in it keeps its state.  What it still says goes to standard error.  A second signal does not wait.

    Args:
        grace: Seconds within which it must have ended.
    """
    process.terminate()
    try:
        said, _ = process.communicate(timeout=grace)
        sys.stderr.write(said or "")
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()


class _Overdue(BaseException):
    """Time is over; no ``except Exception`` of the work itself keeps it from ending."""


_AGAIN = 0.1  # seconds until the next interruption, where a destructor swallowed one
_SOON = 0.01  # seconds until the next look, where an interruption would leave something half done

_WHOLE = frozenset({"__enter__", "__exit__", "__del__"})
_IMPORTING = "<frozen importlib._bootstrap>"


def interrupted_at(ends: float, work: Callable[[], T]) -> T:
    """Return what ``work`` returns, or interrupt it at a time on the clock of ``time.monotonic``.

    It need not ask whether it shall stop; a single call into compiled code is waited for, and so are an import, which
    would leave half a module to whoever imports it next, and what enters or leaves a ``with`` block.

    Raises:
        StoppedError: if time was over first.
    """
    if time.monotonic() >= ends:
        raise StoppedError("fit interrupted: its time was over")
    thread = threading.get_ident()
    is_done, lock = threading.Event(), threading.Lock()

    def watch() -> None:
        pause = 0.0
        while not is_done.wait(max(0.0, ends - time.monotonic()) or pause):
            with lock:
                if not is_done.is_set() and time.monotonic() >= ends:
                    pause = _SOON if _is_to_end(thread) else _AGAIN
                    if pause == _AGAIN:
                        _raise_in(thread, _Overdue)

    try:
        try:
            threading.Thread(target=watch, name="synth-deadline", daemon=True).start()
            return work()
        finally:
            with lock:
                is_done.set()
            _raise_in(thread, None)  # what was asked for and has not come yet shall not hit what follows
    except _Overdue:
        is_done.set()
        _raise_in(thread, None)
        raise StoppedError("fit interrupted: its time was over") from None


def _is_to_end(thread: int) -> bool:
    """Return whether a thread's interruptible work is in the middle of what must not be left half done."""
    frame = sys._current_frames().get(thread)
    while frame is not None and frame.f_code is not interrupted_at.__code__:
        if frame.f_code.co_name in _WHOLE or frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


def _raise_in(thread: int, what: type[BaseException] | None) -> None:
    """Have an exception raised in a thread before its next step; ``None`` takes back what was not yet raised."""
    kind: Any = ctypes.py_object(what) if what is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), kind)
