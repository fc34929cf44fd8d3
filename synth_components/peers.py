"""Which of several processes that train one model together this one is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Peers:
    """The processes that train one model: ``synth_components.distributed`` makes more than one.

    Attributes:
        rank: This process among ``world_size``; rank 0 writes.
        world_size: Number of processes.
    """

    rank: int = 0
    world_size: int = 1


_AMONG: ContextVar[Peers | None] = ContextVar("peers", default=None)


def peers() -> Peers:
    """Return the processes that this one works among: alone, unless a block of ``among`` says otherwise."""
    return _AMONG.get() or Peers()


@contextmanager
def among(others: Peers) -> Iterator[None]:
    """Work as one of several processes within the block."""
    token = _AMONG.set(others)
    try:
        yield
    finally:
        _AMONG.reset(token)
