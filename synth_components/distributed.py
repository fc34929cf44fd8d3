"""Train one model by several processes: ``torchrun --nproc-per-node 2 -m synth_components.distributed train ...``.

The arguments are those of ``synth train``.  Each process reads the rows and works on its share of every batch; the
processes' gradients are averaged, so that all hold the same weights.  Rank 0 writes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import click

from synth_components import __main__ as command_line
from synth_components.errors import SynthError
from synth_components.generators._torch import require_torch
from synth_components.peers import Peers, among

_HOW = "start it with `torchrun --nproc-per-node 2 -m synth_components.distributed train ...`"


def main(args: Sequence[str] | None = None) -> int:
    """Run ``synth train`` as one of the processes that torchrun started; return the exit status."""
    words = list(sys.argv[1:] if args is None else args)
    try:
        _require_train(words)
        others, local_rank = peers_of(os.environ)
        with connected(others, on_cuda=_device(words).startswith("cuda"), local_rank=local_rank):
            quiet = [] if others.rank == 0 or "--quiet" in words else ["--quiet"]
            return command_line.main([*words, *quiet])
    except SynthError as error:
        click.echo(f"synth train: {error}", err=True)
        return command_line.USER_ERROR


def peers_of(environment: Mapping[str, str]) -> tuple[Peers, int]:
    """Return the processes, and this one's number on its host, from torchrun's variables.

    Raises:
        SynthError: if a variable is missing or no number.
    """
    try:
        rank, world_size, local_rank = (int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except (KeyError, ValueError):
        raise SynthError(f"RANK, WORLD_SIZE and LOCAL_RANK are not set to numbers; {_HOW}") from None
    if not 0 <= rank < world_size:
        raise SynthError(f"RANK ({rank}) must lie in [0, WORLD_SIZE), and WORLD_SIZE is {world_size}; {_HOW}")
    return Peers(rank, world_size), local_rank


@contextmanager
def connected(others: Peers, *, on_cuda: bool, local_rank: int) -> Iterator[None]:
    """Work among the processes within the block.

    NCCL connects CUDA devices, one for each process, and gloo processors.
    """
    require_torch("torch")
    import torch
    from torch import distributed

    if on_cuda and torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if on_cuda and torch.cuda.is_available() else "gloo")
    try:
        with among(others):
            yield
    finally:
        distributed.destroy_process_group()


def _require_train(words: Sequence[str]) -> None:
    if words[:1] != ["train"]:
        raise SynthError(f"only `train` is run by several processes, not '{(words or [''])[0]}'; {_HOW}")


def _device(words: Sequence[str]) -> str:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--device":
            return following
        if word.startswith("--device="):
            return word.partition("=")[2]
    return ""


if __name__ == "__main__":
    sys.exit(main())
