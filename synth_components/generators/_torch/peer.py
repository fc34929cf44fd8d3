"""What the processes that train one model tell each other; alone, each of these does nothing."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed

from synth_components.errors import UnsupportedError
from synth_components.protocols import Run


def require_group(run: Run) -> None:
    """Return if the processes of ``run`` are connected, or it is alone.

    Raises:
        UnsupportedError: if nothing connects them.
    """
    if run.world_size > 1 and not (distributed.is_available() and distributed.is_initialized()):
        raise UnsupportedError(
            f"{run.world_size} processes train together and nothing connects them; start them with "
            "`torchrun --nproc-per-node N -m synth_components.distributed train ...`"
        )


def share_first(tensors: Iterable[Tensor], run: Run) -> None:
    """Overwrite the tensors of every process with those of rank 0."""
    if run.world_size > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, src=0)


def average_gradients(parameters: Iterable[torch.nn.Parameter], run: Run) -> None:
    """Replace the gradients of every process with their mean: one message, and equal bytes everywhere."""
    if run.world_size == 1:
        return
    held = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in held:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in held if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= run.world_size
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def total(tensor: Tensor, run: Run) -> Tensor:
    """Return the sum of a tensor over the processes."""
    if run.world_size > 1:
        distributed.all_reduce(tensor)
    return tensor


def any_of(flag: bool, run: Run, device: torch.device) -> bool:  # noqa: FBT001 - the one thing it is about
    """Return whether the flag is set in any process; they must agree on when to stop."""
    return flag if run.world_size == 1 else bool(total(torch.tensor([float(flag)], device=device), run).item() > 0)
