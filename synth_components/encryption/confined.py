"""Plain text that must not stay: a folder that is gone when its block ends, however it ends.

The folder is its owner's alone, and lies in memory (``/dev/shm``) where there is room.  A process of its own watches
the one that made it, and removes the folder when that is gone, killed or not.  Two ways are left to leave plain text
behind: killing the watcher too, and losing power while the folder lies on a disk.  Memory may be swapped to disk.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of this process alone is made in it
PREFIX = ".synth-confined-"

UNKNOWN = 1 << 30
"""Bytes that are asked for where it is not known how many will be needed."""

_WATCH = """
import shutil, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.stdout.buffer.write(b"+")
sys.stdout.buffer.flush()
sys.stdin.buffer.read()
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


@contextmanager
def confined(num_bytes: int = UNKNOWN) -> Iterator[Path]:
    """Yield an empty folder for plain text of about ``num_bytes``."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_place(num_bytes)))
    watcher = subprocess.Popen(  # noqa: S603 - our own interpreter and text, no shell
        [sys.executable, "-I", "-S", "-c", _WATCH, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert watcher.stdin is not None  # noqa: S101 - a pipe was asked for
    assert watcher.stdout is not None  # noqa: S101
    try:
        watcher.stdout.read(1)  # it watches: from here on plain text may be written
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        watcher.stdin.close()
        watcher.wait()
        watcher.stdout.close()


def _place(num_bytes: int) -> Path | None:
    try:
        room = shutil.disk_usage(_MEMORY).free
    except OSError:
        return None
    return _MEMORY if room > 2 * num_bytes else None
