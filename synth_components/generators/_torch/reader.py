"""Going on from a model that kept what writes rows alone: what reads them is learnt anew, before both go on together.

An encoder or a critic is not kept, since it tells more of the rows that it read than drawing others needs.  A new one
beside weights that have learnt would have them unlearn; so these are held still until it has read the rows for a while.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import nn

from synth_components.generators.tabular._forward import Weights
from synth_components.protocols import Run

SHARE = 0.25
"""How many passes a new reader has by itself, for each that all weights make together."""

_RESOLUTION = 1_000  # of progress, for each training of a fit


class Training(Protocol):
    """Trains for so many passes; a stage that has a name is not the last one."""

    def __call__(self, epochs: int, run: Run, *, stage: str = "") -> None:
        """Train, and tell ``run`` of it."""


def train_beside(module: nn.Module, writer: Weights, trained: Training, *, epochs: int, run: Run, reader: str) -> None:
    """Train all weights; first, where some are of a model, what reads rows beside those.

    Args:
        module: What is trained.
        writer: Weights that a model kept, by name; none for a fit from scratch.
        trained: Trains the module.
        epochs: Passes of all weights together.
        run: Of the whole fit.
        reader: Name of the stage in which the others learn alone.
    """
    if writer:
        writer_from(module, writer)
        with held_still(module, writer):
            trained(epochs_alone(epochs), part_of(run, 0, 2), stage=reader)
        run = part_of(run, 1, 2)
    trained(epochs, run)


def epochs_alone(epochs: int) -> int:
    """Return how many passes what reads rows makes by itself, before as many as ``epochs`` together."""
    return math.ceil(SHARE * epochs)


def writer_from(module: nn.Module, weights: Weights) -> None:
    """Give a module the weights, by name, that a model kept; the others stay as they are."""
    held = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
    module.load_state_dict({**module.state_dict(), **held})


@contextmanager
def held_still(module: nn.Module, names: Collection[str]) -> Iterator[None]:
    """Train no weight of those names within the block."""
    held = [parameter for name, parameter in module.named_parameters() if name in names]
    for parameter in held:
        parameter.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(requires_grad=True)


def part_of(run: Run, place: int, parts: int) -> Run:
    """Return the circumstances of one of the trainings of a fit: its progress is a part of the fit's."""

    def report(done: int, total: int, /, **metrics: float) -> None:
        run.report(_RESOLUTION * place + _RESOLUTION * done // max(total, 1), _RESOLUTION * parts, **metrics)

    return replace(run, report=report)
