"""The state of a training: weights, their average, the optimizer's, the best so far; in a checkpoint and back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from synth_components.checkpoint import Checkpoint
from synth_components.errors import ArtifactError
from synth_components.generators._torch import peer
from synth_components.protocols import Run

_MOMENTS = ("exp_avg", "exp_avg_sq")  # torch's names


class State:
    """How far a training is.

    Attributes:
        step: Steps made.
        best_loss: The held-out loss of the weights to keep: the least so far, but at the end maybe the last; once a
            monitor has judged, its best quality, with its sign changed.
        best_epoch: The epoch that had it, counted from 1; 0 before the first.
        is_over: Whether training ended early.
        is_monitored: Whether a monitor has judged.
    """

    step: int
    best_loss: float
    best_epoch: int
    is_over: bool
    is_monitored: bool

    def __init__(self, module: nn.Module, optimizer: AdamW, *, ema: float) -> None:
        self._module, self._optimizer, self._ema = module, optimizer, ema
        self._best: dict[str, Tensor] = {}
        weights = module.named_parameters() if ema else ()
        self._average = {name: value.detach().clone() for name, value in weights}
        self.step, self.best_epoch, self.best_loss = 0, 0, math.inf
        self.is_over = self.is_monitored = False

    def average(self) -> None:
        """Take the weights of the step that was made into their average, if there is one.

        Early on it is over about the last ninth of the steps, so that it forgets the first weights.
        """
        keep = min(self._ema, (1 + self.step) / (10 + self.step))
        for name, value in self._module.named_parameters():
            if self._average:
                self._average[name].lerp_(value.detach(), 1 - keep)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the module have its average weights within the block, if there is an average."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, value in self._module.named_parameters():
            if self._average:
                value.data, self._average[name] = self._average[name], value.data

    def keep_best(self, loss: float, epoch: int) -> None:
        """Remember the present weights as the best."""
        self._best = {name: value.clone() for name, value in self._module.state_dict().items()}
        self.best_loss, self.best_epoch = loss, epoch

    @contextmanager
    def at_best(self) -> Iterator[None]:
        """Let the module have the best weights so far within the block."""
        present = {name: value.clone() for name, value in self._module.state_dict().items()}
        self._module.load_state_dict(self._best)
        try:
            yield
        finally:
            self._module.load_state_dict(present)

    def finish(self, *, is_judged: bool) -> None:
        """Give the module the weights that count: the best ones, if there are any, else the average."""
        self._swap()
        self._average = {}
        if is_judged and self._best:
            self._module.load_state_dict(self._best)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the state."""
        value = {
            "step": self.step,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss if self.best_epoch else None,
            "is_over": self.is_over,
            "is_monitored": self.is_monitored,
        }
        tensors = {**self._tensors(), **{f"best.{name}": held for name, held in self._best.items()}}
        checkpoint.save({name: held.detach().cpu().contiguous().numpy() for name, held in tensors.items()}, value)

    def resume(self, checkpoint: Checkpoint, run: Run) -> None:
        """Take the state over that rank 0 finds in a checkpoint; without one nothing changes.

        Raises:
            ArtifactError: if the file is damaged, or of another fit.
        """
        found = checkpoint.load() if run.rank == 0 else None
        device = next(self._module.parameters()).device
        told = torch.zeros(5, dtype=torch.float64, device=device)
        if found is not None:
            value = found[1]
            best = math.inf if value["best_loss"] is None else value["best_loss"]
            facts = [value["step"], value["best_epoch"], best, value["is_over"], value["is_monitored"]]
            told = torch.tensor(facts, dtype=torch.float64, device=device)
        peer.share_first([told], run)
        step, best_epoch, best_loss, is_over, is_monitored = told.tolist()
        if not step:
            return
        self.step, self.best_epoch, self.best_loss = int(step), int(best_epoch), best_loss
        self.is_over, self.is_monitored = bool(is_over), bool(is_monitored)
        # A parameter that no column of this table uses never had a gradient, and has no moments.
        named = [name for name, _ in self._module.named_parameters()]
        is_used = torch.tensor(
            [float(found is not None and f"{_MOMENTS[0]}.{name}" in found[0]) for name in named], device=device
        )
        peer.share_first([is_used], run)
        for parameter, used in zip(self._module.parameters(), is_used.tolist(), strict=True):
            if not used:
                continue
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(step), device=device),
                **{name: torch.zeros_like(parameter) for name in _MOMENTS},
            }
        if self.best_epoch:
            self._best = {name: value.clone() for name, value in self._module.state_dict().items()}
        tensors = {**self._tensors(), **{f"best.{name}": held for name, held in self._best.items()}}
        if found is not None:
            if found[0].keys() != tensors.keys():
                raise ArtifactError(f"the checkpoint in '{checkpoint.folder}' is of another network; remove it")
            with torch.no_grad():
                for name, held in tensors.items():
                    held.copy_(torch.from_numpy(found[0][name]))
        peer.share_first(tensors.values(), run)

    def _tensors(self) -> dict[str, Tensor]:
        """Return the weights, their average and the optimizer's moments by name, not copied."""
        held = {f"module.{name}": value for name, value in self._module.state_dict().items()}
        held |= {f"average.{name}": value for name, value in self._average.items()}
        for name, parameter in self._module.named_parameters():
            for moment in (*_MOMENTS, "step"):  # of its own: the generator of a GAN takes fewer than its critic
                if moment in self._optimizer.state[parameter]:
                    held[f"{moment}.{name}"] = self._optimizer.state[parameter][moment]
        return held
