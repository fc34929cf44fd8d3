"""What plays against a network that DP-SGD trains: it writes rows, reads none, and its steps cost nothing.

What reads rows learns by noisy sums of the rows' clipped gradients (``_torch.private``).  What writes them is taught by
that network alone: it is a function of noisy sums, of noisy counts and of a seed, hence post-processing.

Source: Xie et al. 2018, "Differentially Private Generative Adversarial Network" (arXiv:1802.06739), Algorithm 1; Bie,
    Kamath & Zhang 2023, "Private GANs, Revisited" (arXiv:2302.02936), Sec. 4: several noisy steps for each of the
    writer's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Adam

from synth_components.generators._torch import private
from synth_components.generators._torch.device import stream
from synth_components.generators._torch.loop import Loss, Rows
from synth_components.generators._torch.reader import held_still
from synth_components.protocols import Run


class Fooling(Protocol):
    """What the writing network minimises; it reads no row."""

    def __call__(self, module: nn.Module, n: int, random: torch.Generator) -> Tensor:
        """Return the losses (n,) of rows that are made."""


@dataclass(frozen=True)
class Turns:
    """When and how the writing network steps.

    Attributes:
        reader_steps: Noisy steps of what reads rows for each of its own.
        rows: That it makes in a step.
        learning_rate: Of Adam.
        betas: Of Adam.
        clip_norm: Largest norm of a step's gradient.
    """

    reader_steps: int
    rows: int
    learning_rate: float
    betas: tuple[float, float]
    clip_norm: float


def train_against(
    module: nn.Module,
    writer: Collection[str],
    rows: Rows,
    judging: Loss,
    fooling: Fooling,
    schedule: private.PrivateSchedule,
    turns: Turns,
    *,
    seed: int,
    run: Run,
) -> None:
    """Fit a module that reads rows and writes them, for a curve that the caller has charged.

    It is on the CPU in the end.

    Args:
        module: Of both networks.
        writer: Names of the weights that rows are written with; all others learn by noisy sums.
        rows: Tensors (n, ...).
        judging: What the others minimise, of a batch of one row; of the writing weights it takes no gradient.
        fooling: What the writing weights minimise.
        seed: Of what is random in the losses; of nothing that privacy rests on.

    Raises:
        StoppedError: if ``run`` says so; nothing is saved, and what was charged is spent.
        UnsupportedError: for several processes, a device that is not there, or a module that mixes rows.
    """
    held = [weight for name, weight in module.named_parameters() if name in writer]
    optimizer = Adam(held, lr=turns.learning_rate, betas=turns.betas)
    taken = schedule.steps // turns.reader_steps
    kept = max(1, round(private.AVERAGED * taken))
    averaged = [torch.zeros_like(weight) for weight in held]

    def turn(step: int) -> None:
        number = (step + 1) // turns.reader_steps
        if (step + 1) % turns.reader_steps:
            return
        device = held[0].device
        for weight in held:
            weight.requires_grad_(requires_grad=True)
        lost = fooling(module, turns.rows, stream(device, seed, number)).mean()
        for weight, gradient in zip(held, torch.autograd.grad(lost, held), strict=True):
            weight.grad = gradient
        nn.utils.clip_grad_norm_(held, turns.clip_norm)
        optimizer.step()
        for place, weight in enumerate(held):
            weight.requires_grad_(requires_grad=False)
            if number > taken - kept:
                averaged[place] = averaged[place].to(device) + weight / kept

    with held_still(module, writer):
        private.train(module, rows, judging, schedule, seed=seed, run=run, after=turn)
    if taken:
        with torch.no_grad():
            for weight, mean in zip(held, averaged, strict=True):
                weight.copy_(mean)
