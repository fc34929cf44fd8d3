"""What work costs in time and memory, stage by stage, and the limits that end it.

A thread reads the clock and the resident memory of this process every ``INTERVAL`` seconds.  Past a limit the work
ends with a ``LimitError``: at the next report of progress, or, where the work runs in the main thread, at the next byte
code, by the signal SIGUSR2.  What is written appears whole or not at all, as when the work is interrupted by hand.

The limits are watched, not walled: memory that one call of a library takes and gives back within ``INTERVAL`` goes
unseen, and such a call is not cut short.  A container's own limit is the wall.
"""

from __future__ import annotations

import re
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from synth_components.errors import LimitError

INTERVAL = 0.02
"""Seconds between two looks at clock and memory."""

_MEMORY = r"([0-9]+(?:\.[0-9]+)?)\s*([kKMGT]?)(i?)B?"
_SIGNAL = signal.SIGUSR2
_MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """What one stage of work took.

    Attributes:
        stage: What was done.
        seconds: Wall-clock time.
        peak_mib: Largest resident memory of the process meanwhile, MiB.
    """

    stage: str
    seconds: float
    peak_mib: float


def bytes_of(text: str) -> int | None:
    """Return the bytes that ``500MB``, ``2GiB`` or ``512`` (MiB) mean; ``None`` for the empty text.

    Raises:
        ValueError: for any other text.
    """
    if not text.strip():
        return None
    found = re.fullmatch(_MEMORY, text.strip())
    if found is None or (found[3] and not found[2]):
        raise ValueError("memory is a number with a unit, such as 500MB or 2GiB; without a unit it is MiB")
    if text.strip() == found[1]:
        return int(float(found[1]) * _MIB)
    power = " KMGT".index(found[2].upper() or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


@dataclass(eq=False)
class Stage:
    """A stage that is under way; one that began within another is part of it."""

    name: str
    started: float
    high_water: int
    peak: int
    is_part: bool


@dataclass
class Meter:
    """Clock and memory of one block of work.

    Attributes:
        max_bytes: Most resident memory, ``None`` for no limit.
        max_seconds: Most time, ``None`` for no limit.
        costs: What each finished stage took, in order; a stage within a stage is part of it.
    """

    max_bytes: int | None = None
    max_seconds: float | None = None
    costs: list[Cost] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)
    _peak: int = 0
    _open: list[Stage] = field(default_factory=list)
    _passed: LimitError | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def peak_mib(self) -> float:
        """The largest resident memory so far, MiB."""
        self.look()
        return round(self._peak / _MIB, 1)

    @property
    def seconds(self) -> float:
        """The time so far."""
        return round(time.monotonic() - self._started, 3)

    def look(self) -> bool:
        """Take note of clock and memory; return whether a limit is passed."""
        resident, high_water = memory()
        with self._lock:
            self._peak = max(self._peak, resident)
            for one in self._open:
                # The system's high-water mark also knows what came and went between two looks.
                one.peak = max(one.peak, high_water if high_water > one.high_water else resident)
                self._peak = max(self._peak, one.peak)
            if self._passed is None:
                self._passed = self._judge(resident)
            return self._passed is not None

    def check(self) -> None:
        """Return if no limit is passed.

        Raises:
            LimitError: naming limit and stage.
        """
        if self.look() and self._passed is not None:
            raise self._passed

    def open(self, name: str) -> Stage:
        """Begin a stage."""
        resident, high_water = memory()
        with self._lock:
            begun = Stage(name, time.monotonic(), high_water, resident, is_part=bool(self._open))
            self._open.append(begun)
        return begun

    def close(self, ended: Stage) -> None:
        """End a stage."""
        self.look()
        with self._lock:
            self._open.remove(ended)
            if not ended.is_part:
                seconds = round(time.monotonic() - ended.started, 3)
                self.costs.append(Cost(ended.name, seconds, round(ended.peak / _MIB, 1)))

    def _judge(self, resident: int) -> LimitError | None:
        stage = self._open[-1].name if self._open else "start"
        if self.max_bytes is not None and resident > self.max_bytes:
            return LimitError(
                f"memory passed its limit in stage '{stage}': {resident / _MIB:,.0f} MiB of at most "
                f"{self.max_bytes / _MIB:,.0f}; nothing half-written was left. Allow more, or give fewer rows",
                option="max_memory",
                stage=stage,
            )
        if self.max_seconds is not None and time.monotonic() - self._started > self.max_seconds:
            return LimitError(
                f"time passed its limit of {self.max_seconds:g} s in stage '{stage}'; nothing half-written was left. "
                "Allow more, or ask for less: fewer rows, or a faster generator",
                option="max_seconds",
                stage=stage,
            )
        return None


_METERS: ContextVar[tuple[Meter, ...]] = ContextVar("meters", default=())


@contextmanager
def metered(*, max_bytes: int | None = None, max_seconds: float | None = None) -> Iterator[Meter]:
    """Measure every stage of this thread within the block, and end the block if it passes a limit.

    Raises:
        LimitError: if the block passed a limit and did not come to its end, whatever error that led to.
    """
    meter = Meter(max_bytes, max_seconds)
    meter.check()
    over = threading.Event()
    is_limited = max_bytes is not None or max_seconds is not None
    is_main = is_limited and threading.current_thread() is threading.main_thread()
    before: Any = signal.signal(_SIGNAL, _stopper(meter, over)) if is_main else None
    watch = threading.Thread(target=_watch, args=(meter, over, is_main), name="synth-meter", daemon=True)
    token = _METERS.set((*_METERS.get(), meter))
    watch.start()
    try:
        yield meter
    except Exception as error:
        # The limit may have come as another error: a library wraps what is raised within it.
        if meter._passed is None or error is meter._passed:
            raise
        raise meter._passed from error
    finally:
        over.set()
        watch.join()
        _METERS.reset(token)
        if is_main:
            signal.signal(_SIGNAL, before)


def _stopper(meter: Meter, over: threading.Event) -> Any:  # noqa: ANN401 - signal's own type of handler
    def stop(_: int, __: FrameType | None) -> None:
        if meter._passed is not None and not over.is_set():
            raise meter._passed

    return stop


def _watch(meter: Meter, over: threading.Event, is_main: bool) -> None:  # noqa: FBT001 - a thread's arguments
    while not over.wait(INTERVAL):
        if meter.look() and is_main:
            # Once: a second one might interrupt the cleaning up.  If this one is lost, the next report stops the work.
            signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)
            is_main = False


@contextmanager
def costing(name: str) -> Iterator[None]:
    """Count the block as one stage of whatever is metered around it."""
    begun = [(meter, meter.open(name)) for meter in _METERS.get()]
    try:
        yield
    finally:
        for meter, one in begun:
            meter.close(one)


def meters() -> tuple[Meter, ...]:
    """Return what measures the work around, the outermost first."""
    return _METERS.get()


def costs_so_far() -> tuple[Cost, ...]:
    """Return what the finished stages of the work around took, the outermost first."""
    return tuple(cost for meter in _METERS.get() for cost in meter.costs)


def memory() -> tuple[int, int]:
    """Return the resident memory of this process now and at its largest, in bytes.

    Where the system does not tell the first (no ``/proc``), both are the largest.
    """
    waiting = signal.pthread_sigmask(signal.SIG_BLOCK, {_SIGNAL})  # a limit raised amid the reading leaves a file open
    try:
        text = Path("/proc/self/status").read_bytes()
    except OSError:
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return largest, largest
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, waiting)
    return _kib(text, b"VmRSS:") * 1024, _kib(text, b"VmHWM:") * 1024


def _kib(status: bytes, name: bytes) -> int:
    return int(status.split(name, 1)[1].split(None, 1)[0])
