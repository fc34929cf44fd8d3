"""The audit trail: who read, fitted, drew, spent, judged, released and registered what, in a hash-chained file.

It is on where ``SYNTH_AUDIT`` or ``--audit`` names a file, on whatever platform, or within ``trail`` in Python.  What
is told are names of steps, generators, columns and files, counts, scores and budgets: never a cell of a table, and of
an error its class alone.  A trail that cannot be written ends the work, before anything is read.

See ``chain`` for what tampering with the file is found out by.
"""

from __future__ import annotations

import getpass
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

from synth_components.chain import Chain, Fact, read_key
from synth_components.circumstances import around, circumstance, within
from synth_components.progress import stamp

Event: TypeAlias = Literal[
    "access",  # a step begins, and reads its inputs
    "done",
    "failed",
    "spend",  # a charge to a privacy ledger
    "rehearsal",  # a charge to a ledger that tells of no read: on no rows, or told by the ledger that it is part of
    "uncovered",  # real rows are read outside of any epsilon
    "fit",
    "generation",
    "model_save",
    "model_load",
    "gate",
    "guard",  # a policy's verdict on a plan or a release
    "guard_off",
    "register",
    "encrypt",
    "decrypt",
    "rotate",
]

_LONGEST = 500


def record(event: Event, **facts: Fact) -> None:
    """Write an event to the trail, if one is kept; on the disk when this returns.

    Raises:
        DataError: if the file cannot be written to.
        TamperedError: if the end of the trail is not as it was written.
    """
    kept = trail_here()
    if kept is None:
        return
    said = {name: value[:_LONGEST] if isinstance(value, str) else value for name, value in facts.items()}
    kept.append({"time": stamp(), "event": event, "user": _user(), "host": platform.node(), "pid": os.getpid(), **said})


def trail_here() -> Chain | None:
    """Return the trail that events are written to; ``None`` if none is kept."""
    path = circumstance("audit")
    return Chain(Path(path).expanduser(), chain_key()) if path else None


def chain_key() -> bytes | None:
    """Return the key that trails and budget files are sealed with; ``None`` if there is none.

    Raises:
        DataError: if the file that holds it cannot be read.
    """
    path = circumstance("chain_key")
    return read_key(path) if path else None


@contextmanager
def trail(path: str | Path) -> Iterator[Chain]:
    """Keep a trail in a file within the block."""
    with within(around().model_copy(update={"audit": str(path)})):
        yield Chain(Path(path).expanduser(), chain_key())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return str(os.getuid())
