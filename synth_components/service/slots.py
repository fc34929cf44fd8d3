"""The threads that draw rows: how many at once, how many requests wait, and how much memory the process may have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import TypeVar

from synth_components.limits import memory
from synth_components.service.refusal import unavailable

T = TypeVar("T")


class Slots:
    """Runs work in ``concurrency`` threads, in the order in which it comes.

    A request that is sent while it is made holds a thread only while a block is drawn, so slow readers hold up nobody.
    The work is under the circumstances in which the slots were made, such as the audit trail of the command line.
    """

    def __init__(self, *, concurrency: int, queue: int, max_bytes: int | None = None) -> None:
        self._room = concurrency + queue
        self._max_bytes = max_bytes
        self._inside = 0
        self._around = copy_context()  # a thread begins without it, and a server may give its requests an empty one
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="synth-draw")

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Count the block as a request.

        Raises:
            Refusal: 503 if as many are there already as may be, or the process has more memory than it may.
        """
        if self._inside >= self._room:
            raise unavailable("all places of the service are taken; ask again a little later")
        if self._max_bytes is not None and memory()[0] > self._max_bytes:
            raise unavailable("the service is at its limit of memory; ask again later")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, done in a thread.

        Work that nobody waits for any more is not begun; once begun, it goes on.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._around.copy().run, work)

    def close(self) -> None:
        """Begin no more work; what is under way goes on."""
        self._threads.shutdown(wait=False, cancel_futures=True)
