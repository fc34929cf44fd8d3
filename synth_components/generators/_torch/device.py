"""Where torch computes: the device, its threads, its precision, and streams of random numbers of our own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from synth_components.errors import UnsupportedError

Stream = TypeVar("Stream", bound=torch.Generator)

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def device_of(name: str) -> torch.device:
    """Return the device of a name: ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        UnsupportedError: if there is no such device here.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UnsupportedError(f"device '{name}' is no torch device; name cpu, cuda or cuda:1") from None
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise UnsupportedError(f"device '{name}' is not supported; name cpu, cuda or cuda:1")
    if not torch.cuda.is_available():
        raise UnsupportedError(f"device '{name}' is not available: torch finds no CUDA device here; name cpu")
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise UnsupportedError(f"device '{name}' is not available: there are {torch.cuda.device_count()} CUDA devices")
    return device


def usable_cores() -> int:
    """Return how many cores this process may use: its affinity, or its container's quota if less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or the quota is `max`
        return cores


@contextmanager
def threads() -> Iterator[None]:
    """Compute with as many threads as there are cores to use, within the block.

    ``OMP_NUM_THREADS`` wins.  Torch itself counts the cores of the machine, which in a container with a quota are more
    than it may use.
    """
    before = torch.get_num_threads()
    said = os.environ.get("OMP_NUM_THREADS", "")
    torch.set_num_threads(int(said) if said.isdecimal() and int(said) > 0 else usable_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def quick(device: torch.device) -> Iterator[None]:
    """Train within the block as fast as the processor can, where ``device`` is one.

    Where it has tiles for bfloat16 (AMX), products of float32 matrices round their factors to bfloat16 and sum in
    float32; elsewhere, and before torch 2.9, nothing is rounded.  Weights, and all else, are float32 in either case.
    """
    _keep_freed_memory()
    products = getattr(torch.backends.mkldnn, "matmul", None)
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if device.type != "cpu" or products is None or not capabilities.get("amx_bf16"):
        yield
        return
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        yield
    finally:
        products.fp32_precision = before


def _keep_freed_memory() -> None:
    """Let glibc keep up to 64 MiB of freed memory, so that a step does not ask the kernel for cleared pages anew.

    Other allocators are not told anything.

    Source: mallopt(3), M_MMAP_THRESHOLD: freeing a block that was mapped raises that threshold to its size, 32 MiB at
        most, and M_TRIM_THRESHOLD to twice as much.
    """
    torch.empty((32 << 20) - (8 << 10), dtype=torch.uint8)  # freed at once


def precision(device: torch.device) -> AbstractContextManager[object]:
    """Return the context of a forward pass: bfloat16 products on CUDA devices that have them.

    Elsewhere it is float32, but for ``quick``.  bfloat16 has the range of float32, so that losses need no scaling.
    """
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


PLACES = 4096
"""Places of a table of random numbers, of which each row reads one."""


class RowStream(torch.Generator):
    """A stream of which each row reads at a place of its own; only ``normal`` and ``uniform`` know of it.

    Attributes:
        place: (n,) of the rows of the batch, less than ``PLACES``.
    """

    place: Tensor


def normal(shape: Sequence[int], random: torch.Generator, device: torch.device) -> Tensor:
    """Return standard normal numbers (n, ...) for the n rows of a batch."""
    if isinstance(random, RowStream):
        return torch.randn(PLACES, *shape[1:], generator=random, device=device)[random.place]
    return torch.randn(*shape, generator=random, device=device)


def uniform(shape: Sequence[int], random: torch.Generator, device: torch.device) -> Tensor:
    """Return numbers (n, ...), uniform on [0, 1), for the n rows of a batch."""
    if isinstance(random, RowStream):
        return torch.rand(PLACES, *shape[1:], generator=random, device=device)[random.place]
    return torch.rand(*shape, generator=random, device=device)


def stream(device: torch.device, *key: int) -> torch.Generator:
    """Return a generator of random numbers that depends on ``key`` alone; the global ones are left alone."""
    return _seeded(torch.Generator(device=device), key)


def row_stream(device: torch.device, *key: int) -> RowStream:
    """Return such a generator of which rows are to read at places of their own."""
    return _seeded(RowStream(device=device), key)


def _seeded(made: Stream, key: Sequence[int]) -> Stream:
    made.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1)))
    return made
