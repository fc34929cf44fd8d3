"""The training loop of every torch generator.

It shuffles, steps, clips, averages over processes, stops early on rows set apart, keeps its state and goes on from it.
The weights with the least loss on these are left, or the last ones where they have settled and lose no more, but for
the error of the difference: of two weights that the loss does not tell apart, those of large steps drew rows that were
easier to tell from real ones (``benchmarks/README.md``).
All randomness is a function of (seed, step or epoch, rank), so that a fit that was stopped and goes on makes the very
bytes of one that was not: on processors of one kind, with the same number of threads.

Steps are not compiled (``torch.compile``): on one core the step of ``tabular.autoregressive`` on ten columns took 48 s
to compile, and then a quarter less than its 92 ms at 512 rows, which pays from 2,000 steps; a fit of 30,000 had 700.
That of ``tabular.diffusion`` took 2 % less.  On CUDA this was not measured.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import AdamW

from synth_components.checkpoint import Checkpoint
from synth_components.config import Recipe
from synth_components.errors import StoppedError, SynthError, UnsupportedError
from synth_components.generators._torch import peer
from synth_components.generators._torch.device import device_of, precision, quick, stream, threads
from synth_components.generators._torch.state import State
from synth_components.io.artifact import main_file
from synth_components.protocols import Monitor, PrivacyLedger, Run, Sampler
from synth_components.split import evened_rows

LEAST_HELD_OUT = 50
"""Fewest rows that are worth setting apart: the loss of fewer says little about when to stop."""
WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""
SETTLED = 0.1
"""Share of the largest learning rate below which a step changes little: weights before it are as steps left them."""
ERRORS_APART = 2.0
"""Standard errors of the difference of two held-out losses, up to which the weights are taken for equally good."""
SECONDS_BETWEEN_CHECKPOINTS = 30.0
SECONDS_BETWEEN_REPORTS = 0.5

_EPOCH, _STEP, _HELD_OUT, _SPLIT = range(4)  # what a stream of random numbers is for

Rows = Sequence[Tensor]


class Loss(Protocol):
    """What a generator minimises."""

    def __call__(self, module: nn.Module, rows: Rows, random: torch.Generator) -> Tensor:
        """Return the losses (n,) of a batch of rows; whatever is random in them comes from ``random``."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        epochs: Most passes over the rows.
        batch_rows: Rows per step, all processes together.
        learning_rate: The largest; it rises from a tenth of it and falls to nothing along a half cosine.
        weight_decay: Of AdamW.
        betas: Of AdamW: how slowly its means of the gradient, and of its square, change.
        clip_norm: Largest norm of a step's gradient.
        patience: Epochs without a better held-out loss after which training ends.
        holdout_share: Share of the rows set apart to judge that; none under a finite budget.
        ema: How much of the average of the weights each step keeps: the average is judged and left.  0 for none.
        first_judged: Epoch, counted from 1, before which a monitor does not judge.
    """

    epochs: int
    batch_rows: int
    learning_rate: float
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 1.0
    patience: int = 5
    holdout_share: float = 0.1
    ema: float = 0.0
    first_judged: int = 1

    @classmethod
    def of(cls, recipe: Recipe, **changes: Any) -> Self:  # noqa: ANN401 - of any of the fields
        """Return the schedule that a recipe's options of these names give, but for the changes."""
        said = {field.name: getattr(recipe, field.name) for field in fields(cls) if hasattr(recipe, field.name)}
        return cls(**{**said, **changes})


@dataclass(frozen=True)
class Trained:
    """How a training went.

    Attributes:
        epochs: Passes over the rows that were made.
        best_epoch: The pass whose weights the module has, counted from 1: the one with the least held-out loss, or the
            last where that is as good but for its error, and the weights have settled.
        holdout_loss: The mean loss of the rows set apart, ``None`` where there are none.
    """

    epochs: int
    best_epoch: int
    holdout_loss: float | None


def train(
    module: nn.Module,
    rows: Rows,
    loss: Loss,
    schedule: Schedule,
    *,
    seed: int,
    recipe: str,
    run: Run,
    ledger: PrivacyLedger,
    held_out: Rows | None = None,
    stage: str = "",
    sampler: Callable[[], Sampler] | None = None,
    chances: Tensor | None = None,
    units: NDArray[np.int64] | None = None,
    least_units: int = 1,
) -> Trained:
    """Fit the weights of a module to rows, and leave them on the CPU.

    Args:
        module: With its first weights; rank 0's are everyone's.
        rows: Tensors (n, ...), moved to the device once.
        loss: What to minimise, of a batch.
        seed: Of all that is random.
        recipe: The generator's options as text: a checkpoint of others is refused.
        held_out: Rows set apart by the caller, instead of a share of ``rows``.
        stage: Which of the trainings of a fit of several; its state is kept after its end, for a fit that stops later.
        sampler: Makes the sampler of the module as it is, for ``run.monitor``, whose quality decides instead of the
            held-out loss from its first judgement on: which weights are kept, and whether training ends.  The last
            epoch is judged, whether due or not, and with the first judgement the weights that the loss found best.
        chances: (n,) how often each row is read, in proportion: an epoch draws as many rows as there are, with
            replacement, instead of passing over them.
        units: Whose each row (n,) is, from 0: those of one are set apart together, so that the held-out loss is that of
            others.  Without it a row is a unit.
        least_units: Of no unit more rows are read than of each of so many: those of a larger one are some of its own,
            the same in every epoch and stage.

    Raises:
        StoppedError: if ``run`` says so; the state is then in ``run.checkpoint``.
        SynthError: if the loss is no longer a finite number.
        UnsupportedError: if the device, or the other processes, are not there; for rows set apart under a budget.
    """
    peer.require_group(run)
    is_budgeted = ledger.remaining() is not None
    if is_budgeted and held_out is not None:
        raise UnsupportedError("rows set apart are read without noise, which a privacy budget does not allow")
    if is_budgeted and run.monitor is not None:
        raise UnsupportedError("a monitor reads held-out rows without noise, which a privacy budget does not allow")
    if units is not None and not (is_read := evened_rows(units, least=least_units)).all():
        rows, units = [part[torch.from_numpy(is_read)] for part in rows], units[is_read]
        chances = None if chances is None else chances[torch.from_numpy(is_read)]
    device = device_of(run.device)
    with threads(), quick(device):
        loop = _Loop(
            module,
            rows,
            loss,
            schedule,
            seed,
            recipe,
            run,
            device,
            held_out,
            is_budgeted,
            stage,
            sampler,
            chances,
            units,
        )
        try:
            return loop.run_through()
        finally:
            module.to("cpu")


class _Loop:
    """One training, set up."""

    def __init__(
        self,
        module: nn.Module,
        rows: Rows,
        loss: Loss,
        schedule: Schedule,
        seed: int,
        recipe: str,
        run: Run,
        device: torch.device,
        held_out: Rows | None,
        is_budgeted: bool,  # noqa: FBT001 - one of many
        stage: str,
        sampler: Callable[[], Sampler] | None,
        chances: Tensor | None,
        units: NDArray[np.int64] | None,
    ) -> None:
        self.sampler = None if run.monitor is None else sampler
        self.schedule, self.loss, self.run, self.device = schedule, loss, run, device
        module.to(device)
        self.module = module
        shared = torch.tensor([seed], dtype=torch.int64, device=device)
        peer.share_first([shared, *module.state_dict().values()], run)
        self.seed = int(shared.item())
        read = [*rows, *([] if chances is None else [chances]), *([] if units is None else [torch.from_numpy(units)])]
        self.checkpoint = None
        if run.checkpoint is not None:
            fit = _digest(read, held_out, schedule, recipe, self.seed, run)
            self.checkpoint = Checkpoint(run.checkpoint, fit, stage)
        self.stage = stage

        n = len(rows[0])
        share = 0.0 if is_budgeted or held_out is not None else schedule.holdout_share
        order, apart = _parted(n, share, units, stream(torch.device("cpu"), self.seed, _SPLIT))
        self.numbers = order[apart:].to(device)
        self.reach = None if chances is None else chances[order[apart:]].double().cumsum(dim=0)
        self.rows = [part.to(device) for part in rows]
        self.held_out = [part[order[:apart]].to(device) for part in rows] if apart else None
        if held_out is not None:
            self.held_out = [part.to(device) for part in held_out]
        world = run.world_size
        if len(self.numbers) < world:
            raise UnsupportedError(f"there are fewer rows to learn from than the {world} processes; start fewer")
        self.batch = whole_batch(len(self.numbers), schedule.batch_rows, world)
        self.per_epoch = len(self.numbers) // self.batch
        self.total = schedule.epochs * self.per_epoch
        self.optimizer = AdamW(
            module.parameters(),
            lr=schedule.learning_rate,
            betas=schedule.betas,
            weight_decay=schedule.weight_decay,
            fused=True,  # one pass over each weight
        )
        self.state = State(module, self.optimizer, ema=schedule.ema)
        self.saved_at, self.reported_at = time.monotonic(), 0.0

    def shuffled(self, epoch: int) -> Iterator[Tensor]:
        """Yield the numbers of the rows of each batch of an epoch that this process reads."""
        random = stream(torch.device("cpu"), self.seed, _EPOCH, epoch)
        n = len(self.numbers)
        if self.reach is None:
            order = torch.randperm(n, generator=random)
        else:
            points = torch.rand(n, generator=random, dtype=torch.float64) * self.reach[-1]
            order = torch.searchsorted(self.reach, points, right=True).clamp_max(n - 1)
        order = order.to(self.device)
        for start in range(0, self.per_epoch * self.batch, self.batch):
            yield self.numbers[order[start + self.run.rank : start + self.batch : self.run.world_size]]

    def run_through(self) -> Trained:
        state, run = self.state, self.run
        if self.checkpoint is not None:
            state.resume(self.checkpoint, run)
        if self.sampler is not None and run.monitor is not None:
            run.monitor.begin(*((state.best_epoch, -state.best_loss) if state.is_monitored else ()))
        begun = state.step
        for epoch in range(state.step // self.per_epoch, self.schedule.epochs):
            if state.is_over:
                break
            self.module.train()
            mean = torch.zeros((), device=self.device)
            skipped = state.step % self.per_epoch
            for place, numbers in enumerate(self.shuffled(epoch)):
                if place < skipped:
                    continue
                self._stop_if_asked(begun)
                mean += self._step(numbers) / (self.per_epoch - skipped)
                state.step += 1
                state.average()
                self._report_at_times()
            with state.averaged():
                metrics = self._judged(epoch, mean)
            self._close_epoch(metrics)
        if self.stage and state.step > begun:
            self._save()
        state.finish(is_judged=self.held_out is not None or self.sampler is not None)
        run.report(self.total, self.total)
        best = state.best_epoch or state.step // self.per_epoch
        return Trained(
            state.step // self.per_epoch,
            best,
            None if self.held_out is None or self.sampler is not None else state.best_loss,
        )

    def _step(self, numbers: Tensor) -> Tensor:
        """Make one step; return the mean loss of its batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(self.state.step)
        random = stream(self.device, self.seed, _STEP, self.state.step, self.run.rank)
        self.optimizer.zero_grad(set_to_none=True)
        with precision(self.device):
            mean = self.loss(self.module, [part[numbers] for part in self.rows], random).float().mean()
        mean.backward()  # type: ignore[no-untyped-call, unused-ignore]
        peer.average_gradients(self.module.parameters(), self.run)
        nn.utils.clip_grad_norm_(self.module.parameters(), self.schedule.clip_norm)
        self.optimizer.step()
        return mean.detach()

    def _learning_rate(self, step: int) -> float:
        rise = max(1.0, WARM_UP * self.total)
        if step < rise:
            return self.schedule.learning_rate * (0.1 + 0.9 * step / rise)
        done = (step - rise) / max(1.0, self.total - rise)
        return self.schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def _judged(self, epoch: int, mean: Tensor) -> dict[str, float]:
        """Return what is told of an epoch, and decide which weights are best and whether training is over."""
        state, monitor, metrics = (
            self.state,
            self.run.monitor,
            {"loss": float(peer.total(mean, self.run) / self.run.world_size)},
        )
        if not math.isfinite(metrics["loss"]):
            raise SynthError(
                f"training broke down in epoch {epoch + 1}: the loss is no number; lower the option learning_rate"
            )
        if self.held_out is not None:
            metrics["holdout_loss"] = judged = self._held_out_loss(self.held_out)
            if not state.is_monitored:
                if judged < state.best_loss:
                    state.keep_best(judged, epoch + 1)
                state.is_over = epoch + 1 - state.best_epoch >= self.schedule.patience
                if self._has_settled(epoch) and self._is_as_good(self.held_out):
                    state.keep_best(judged, epoch + 1)
        is_last = state.is_over or epoch + 1 == self.schedule.epochs
        if (
            self.sampler is not None
            and monitor is not None
            and (is_last or (epoch + 1 >= self.schedule.first_judged and monitor.is_due(epoch + 1)))
        ):
            if not state.is_monitored and 0 < state.best_epoch <= epoch:
                with state.at_best():  # quality may find them the best, too
                    self._monitored(self.sampler, monitor, state.best_epoch)
            metrics |= self._monitored(self.sampler, monitor, epoch + 1)
        return metrics

    def _close_epoch(self, metrics: dict[str, float]) -> None:
        state = self.state
        metrics["learning_rate"] = self._learning_rate(state.step - 1)
        if self.checkpoint is not None and time.monotonic() - self.saved_at >= SECONDS_BETWEEN_CHECKPOINTS:
            self._save()
        self.run.report(state.step, self.total, **metrics)

    def _monitored(self, sampler: Callable[[], Sampler], monitor: Monitor, epoch: int) -> dict[str, float]:
        """Return what the monitor says; its quality decides which weights are best.  Rank 0 asks it for everyone."""
        scores: dict[str, float] = {}
        told = torch.zeros(2, dtype=torch.float64, device=self.device)
        if self.run.rank == 0:
            scores = monitor.judge(sampler(), epoch)
            told[0], told[1] = scores["quality"], float(monitor.is_over(epoch))
        peer.share_first([told], self.run)
        quality, is_over = told.tolist()
        if -quality < self.state.best_loss or not self.state.is_monitored:
            self.state.keep_best(-quality, epoch)
        self.state.is_monitored = True
        self.state.is_over = self.state.is_over or bool(is_over)
        return scores

    def _held_out_loss(self, rows: Rows) -> float:
        """Return the mean loss of the rows set apart, each process judging its share."""
        losses = self._held_out_losses(rows)
        done, count = peer.total(torch.stack([losses.sum(), losses.new_tensor(len(losses))]), self.run).tolist()
        return float(done / count) if math.isfinite(done) else math.inf

    def _has_settled(self, epoch: int) -> bool:
        """Return whether training is over, by loss alone, with weights that are not the best ones but have settled."""
        is_last = self.state.is_over or epoch + 1 == self.schedule.epochs
        is_slow = self._learning_rate(self.state.step - 1) <= SETTLED * self.schedule.learning_rate
        return is_last and is_slow and self.sampler is None and 0 < self.state.best_epoch <= epoch

    def _is_as_good(self, rows: Rows) -> bool:
        """Return whether the present weights lose on the rows set apart what the best ones do, but for its error.

        The rows are the same under both, so that the error is that of their mean difference.
        """
        worse = self._held_out_losses(rows)
        with self.state.at_best():
            worse = worse - self._held_out_losses(rows)
        sums = torch.stack([worse.sum(), worse.square().sum(), worse.new_tensor(len(worse))])
        done, squared, count = peer.total(sums, self.run).tolist()
        mean = done / count
        return mean <= ERRORS_APART * math.sqrt(max(squared / count - mean**2, 0.0) / count)

    @torch.no_grad()
    def _held_out_losses(self, rows: Rows) -> Tensor:
        """Return the losses (m,) of this process's share of the rows set apart, as float64."""
        self.module.eval()
        mine = [part[self.run.rank :: self.run.world_size] for part in rows]
        size = 4 * self.batch
        losses = [torch.zeros(0, dtype=torch.float64, device=self.device)]
        for number, start in enumerate(range(0, len(mine[0]), size)):
            random = stream(self.device, self.seed, _HELD_OUT, number)
            losses.append(self.loss(self.module, [part[start : start + size] for part in mine], random).double())
        return torch.cat(losses)

    def _stop_if_asked(self, begun: int) -> None:
        if not peer.any_of(self.run.should_stop(), self.run, self.device):
            return
        if self.checkpoint is None:
            raise StoppedError("fit stopped as asked; nothing was saved")
        if self.state.step > begun:
            self._save()
        raise StoppedError(
            f"fit stopped as asked, at step {self.state.step} of {self.total}; run the same again to go on from there"
        )

    def _save(self) -> None:
        if self.checkpoint is not None and self.run.rank == 0:
            self.state.save(self.checkpoint)
        self.saved_at = time.monotonic()

    def _report_at_times(self) -> None:
        now = time.monotonic()
        if now - self.reported_at >= SECONDS_BETWEEN_REPORTS and self.state.step % self.per_epoch:
            self.reported_at = now
            if self.checkpoint is not None and now - self.saved_at >= SECONDS_BETWEEN_CHECKPOINTS:
                self._save()
            self.run.report(self.state.step, self.total)


def whole_batch(n: int, batch_rows: int, world_size: int) -> int:
    """Return the rows of a step on ``n`` rows, as many for each process."""
    return max(1, min(batch_rows, n) // world_size) * world_size


def _parted(n: int, share: float, units: NDArray[np.int64] | None, random: torch.Generator) -> tuple[Tensor, int]:
    """Return the numbers (n,) of the rows, those set apart first, and how many these are: all rows of some units."""
    if units is None:
        return torch.randperm(n, generator=random), int(share * n) if share * n >= LEAST_HELD_OUT else 0
    owner = torch.from_numpy(units)
    sizes = torch.bincount(owner)
    order = torch.randperm(len(sizes), generator=random)
    is_chosen = torch.zeros(len(sizes), dtype=torch.bool)
    is_chosen[order[sizes[order].cumsum(dim=0) <= share * n]] = True
    is_apart = is_chosen[owner]
    apart = int(is_apart.sum())
    if apart < LEAST_HELD_OUT:
        return torch.arange(n), 0
    return torch.cat([is_apart.nonzero()[:, 0], (~is_apart).nonzero()[:, 0]]), apart


def _digest(rows: Rows, held_out: Rows | None, schedule: Schedule, recipe: str, seed: int, run: Run) -> str:
    """Return the SHA-256 of all that the weights depend on."""
    judged = None if run.monitor is None else run.monitor.digest()
    facts = [recipe, repr(schedule), seed, run.world_size, run.device, torch.__version__, judged]
    made = hashlib.sha256(json.dumps(facts).encode())
    if run.warm_start is not None:
        made.update(main_file(run.warm_start).read_bytes())
    for part in (*rows, *(held_out or ())):
        made.update(f"{tuple(part.shape)} {part.dtype}".encode())
        made.update(np.ascontiguousarray(part.cpu().numpy()).tobytes())
    return made.hexdigest()
