"""Progress of long work: who watches it, and the bars and JSON lines of the command line.

An observer is made by an installed entry point of the group ``synth_components.observers``: a callable without
arguments that returns an ``Observer``, or ``None`` where it has nothing to watch.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, TextIO

from synth_components import limits
from synth_components.protocols import Report

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

GROUP = "synth_components.observers"
"""Entry-point group of installed packages that watch progress."""

SECONDS_BETWEEN_LINES = 1.0
"""A JSON line for every small step of a fit would drown the log."""


def is_rare(metrics: Mapping[str, float]) -> bool:
    """Return whether a report is told however short ago the last one was: judgements take their time."""
    return "quality" in metrics


class Observer(Protocol):
    """Whoever wants to know how far a stage is.  Called by whoever works; must not raise or block."""

    def update(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Take note that ``done`` of ``total`` units of ``stage`` are finished."""

    def finish(self, stage: str) -> None:
        """Take note that ``stage`` ended, well or not."""


_WATCHING: ContextVar[tuple[Observer, ...]] = ContextVar("observers", default=())


def installed() -> tuple[Observer, ...]:
    """Return the observers that installed packages bring."""
    made = (point.load()() for point in entry_points(group=GROUP))
    return tuple(observer for observer in made if observer is not None)


@contextmanager
def watching(observers: Sequence[Observer]) -> Iterator[None]:
    """Tell ``observers`` of every stage within the block, in this thread of work only."""
    token = _WATCHING.set((*_WATCHING.get(), *observers))
    try:
        yield
    finally:
        _WATCHING.reset(token)


@contextmanager
def stage(name: str) -> Iterator[Report]:
    """Yield the ``report`` of one stage of work; whoever is watching hears of it.

    The cost of the stage is measured; a report is where work ends that has passed a limit (``limits``).
    """
    observers, meters = _WATCHING.get(), limits.meters()

    def report(done: int, total: int, /, **metrics: float) -> None:
        for meter in meters:
            meter.check()
        for observer in observers:
            observer.update(name, done, total, metrics)

    try:
        with limits.costing(name):
            yield report
    finally:
        for observer in observers:
            observer.finish(name)


@dataclass
class Bars:
    """One progress bar per stage, on a terminal."""

    console: Console
    _live: dict[str, tuple[Progress, TaskID]] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def update(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Move the stage's bar."""
        if stage not in self._live:
            self._start(stage)
        bar, task = self._live[stage]
        said = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        bar.update(task, completed=done, total=total, metrics=said)

    def finish(self, stage: str) -> None:
        """Take the stage's bar away."""
        if stage in self._live:
            self._live.pop(stage)
            self._stack.close()

    def _start(self, stage: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._stack.close()  # a terminal shows one live display at a time
        self._live.clear()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"),
        )
        bar = self._stack.enter_context(Progress(*columns, console=self.console, transient=True))
        self._live[stage] = (bar, bar.add_task(stage, metrics=""))


@dataclass
class JsonLines:
    """One JSON line of progress per stage and second, and one when the stage is through."""

    stream: TextIO
    _last: dict[str, float] = field(default_factory=dict)

    def update(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Write a line, unless the last one is too fresh."""
        now = time.monotonic()
        is_fresh = now - self._last.get(stage, -SECONDS_BETWEEN_LINES) < SECONDS_BETWEEN_LINES
        if done < total and is_fresh and not is_rare(metrics):
            return
        self._last[stage] = now
        line = {"time": stamp(), "event": "progress", "stage": stage, "done": done, "total": total, **metrics}
        self.stream.write(json.dumps(line) + "\n")
        self.stream.flush()

    def finish(self, stage: str) -> None:
        """Forget when the stage last wrote."""
        self._last.pop(stage, None)


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object: time, level, event, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {"time": stamp(), "level": record.levelname.lower(), "event": "log", "message": record.getMessage()}
        return json.dumps(line, ensure_ascii=False)


def stamp() -> str:
    """Return the present time in UTC, to the second, as ISO 8601 text."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
