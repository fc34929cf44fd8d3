"""DP-SGD: the training loop of torch generators under a budget.

Each step samples rows, takes the gradient of each, clips it to one length, and adds noise to their sum.  What leaves is
the noisy sums and what is made of them, so that the weights, and their mean over the steps, cost what the sums do.

Nothing else is looked at: no row is set apart, no loss is told, and neither does the number of steps depend on the
number of rows nor does training end by how it goes.  There is no checkpoint: a fit that goes on would spend its budget
again.

Source: Abadi et al. 2016 (arXiv:1607.00133), Algorithm 1; noise and clipping on a grid as in Kairouz, Liu & Steinke
    2021 (arXiv:2102.06387), Algorithm 1, without its rotation.
Differs: each row's clipped gradient is cut to whole numbers, towards zero, which makes none longer; whether it is
    shorter than the bound is then asked of whole numbers, and one that is not counts nothing.  Their sum is exact and
    its noise is OpenDP's discrete Gaussian, so that no floating-point hole is open in sum and noise (Mironov 2012),
    as there is in Opacus' noise, whose secure mode needs a library that no current torch has.  Idealised is one thing:
    that the gradient of a row does not depend on which rows are computed beside it, which holds up to the rounding of
    float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import AdamW

from synth_components.errors import StoppedError, UnsupportedError
from synth_components.generators._torch.device import PLACES, RowStream, device_of, row_stream, stream, threads
from synth_components.generators.tabular._private import require_trainable
from synth_components.privacy.noise import noisy_sums, poisson_sample

if TYPE_CHECKING:
    from synth_components.generators._torch.loop import Loss, Rows
    from synth_components.generators.tabular._private import PrivateTraining, Start
    from synth_components.protocols import Run

UNITS = 2**12
"""Whole numbers to the bound on a row's gradient, the sensitivity of their sum: so many that float32 holds the squares
of a row, and the sums of a chunk, exactly."""
CHUNK_ROWS = 512
"""Rows whose gradients are held at a time; at most 2^24 / UNITS."""
AVERAGED = 0.5
"""Share of the steps, the last ones, over which the weights are averaged."""
_WITHIN = 1 - 1e-5
"""How much shorter than the bound a gradient is made, so that rounding seldom brings it above."""


@dataclass(frozen=True)
class PrivateSchedule:
    """How to train under a budget.

    Attributes:
        steps: Number of noisy sums.
        sample_rate: Probability that a row is in one of them.
        noise_multiplier: Scale of the noise, over the bound on a row's gradient.
        clip_norm: That bound.
        num_rows: How many rows there are about, as somebody declared or a noisy count tells.
        learning_rate: The largest, of AdamW; it rises over the first tenth of the steps.
        weight_decay: Of AdamW.
    """

    steps: int
    sample_rate: float
    noise_multiplier: float
    clip_norm: float
    num_rows: float
    learning_rate: float
    weight_decay: float = 0.0

    @classmethod
    def of(cls, options: PrivateTraining, start: Start, *, steps: int | None = None) -> Self:
        """Return the schedule that a generator's options ask for, with the noise that was charged.

        Args:
            steps: Those of one of several trainings, which together make as many as were charged.
        """
        return cls(
            steps=options.private_steps if steps is None else steps,
            sample_rate=options.private_sample_rate,
            noise_multiplier=start.noise_multiplier,
            clip_norm=options.private_clip_norm,
            num_rows=start.num_rows,
            learning_rate=options.private_learning_rate,
        )


def part_of(run: Run, before: int, steps: int) -> Run:
    """Return the circumstances of a training of a fit, ``before`` of whose ``steps`` were made."""
    return replace(run, report=lambda done, _, /, **metrics: run.report(before + done, steps, **metrics))


def train(
    module: nn.Module,
    rows: Rows,
    loss: Loss,
    schedule: PrivateSchedule,
    *,
    seed: int,
    run: Run,
    after: Callable[[int], None] = lambda step: None,  # noqa: ARG005 - nothing
) -> None:
    """Fit a module to rows, for a curve that the caller has charged, and leave it on the CPU.

    The curve is ``accounting.subsampled_gaussian`` of the schedule's multiplier, rate and steps.

    Args:
        module: With weights that no row decided, or noisy counts did.  Those that need no gradient are left alone.
        rows: Tensors (n, ...).
        loss: What to minimise, of a batch of one row.
        seed: Of what is random in the loss; of nothing that privacy rests on.
        after: Is called with each step made, and reads no row: what it does with weights is post-processing.

    Raises:
        StoppedError: if ``run`` says so; nothing is saved, and what was charged is spent.
        UnsupportedError: for several processes, a device that is not there, or a module that mixes rows.
    """
    require_by_row(module)
    require_trainable(run)
    device = device_of(run.device)
    with threads():
        try:
            _train(module.to(device), [part.to(device) for part in rows], loss, schedule, seed, run, device, after)
        finally:
            module.to("cpu")


def require_by_row(module: nn.Module) -> None:
    """Return if no layer of a module mixes the rows of a batch: then there is a gradient of one row.

    Raises:
        UnsupportedError: naming the layer.
    """
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            raise UnsupportedError(
                f"layer '{name}' ({type(part).__name__}) mixes rows, which a privacy budget does not allow; use "
                "GroupNorm or LayerNorm"
            )


def _train(
    module: nn.Module,
    rows: Rows,
    loss: Loss,
    schedule: PrivateSchedule,
    seed: int,
    run: Run,
    device: torch.device,
    after: Callable[[int], None],
) -> None:
    module.train()
    held = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    optimizer = AdamW(held.values(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    clipped = ClippedSum(module, loss, clip_norm=schedule.clip_norm)
    averaged = {name: torch.zeros_like(weight) for name, weight in held.items()}
    kept = max(1, round(AVERAGED * schedule.steps))
    for step in range(schedule.steps):
        if run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        numbers = poisson_sample(len(rows[0]), rate=schedule.sample_rate)
        sums = clipped.of([part[torch.from_numpy(numbers).to(device)] for part in rows], (seed, step))
        noisy = noisy_sums(sums, scale=schedule.noise_multiplier * UNITS)
        # An expected batch, not the drawn one: how many were drawn is not told either.
        mean = noisy * (schedule.clip_norm / UNITS / (schedule.sample_rate * max(1.0, schedule.num_rows)))
        start = 0
        for weight in held.values():
            part = torch.from_numpy(mean[start : start + weight.numel()]).to(device, weight.dtype)
            weight.grad = part.view_as(weight)
            start += weight.numel()
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * min(1.0, (step + 1) / max(1.0, 0.1 * schedule.steps))
        optimizer.step()
        if step >= schedule.steps - kept:
            for name, weight in held.items():
                averaged[name] += weight.detach() / kept
        after(step)
        run.report(step + 1, schedule.steps)
    with torch.no_grad():
        for name, weight in held.items():
            weight.copy_(averaged[name])


class _Total(nn.Module):
    """A loss as a module, whose weights can be exchanged."""

    def __init__(self, module: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.module, self._loss = module, loss

    def forward(self, rows: Sequence[Tensor], random: torch.Generator) -> Tensor:
        return self._loss(self.module, rows, random).float().sum()


class ClippedSum:
    """The sum of the rows' clipped gradients, in whole numbers of ``clip_norm / UNITS``.

    What a row adds depends on that row, the weights and a key, and on no other row: neither on how many there are nor
    on where it stands among them.  So what is random in the loss may be known to everybody.  Each row reads it at a
    place that what it says decides, for one draw that all rows share would teach little.
    """

    def __init__(self, module: nn.Module, loss: Loss, *, clip_norm: float) -> None:
        self._total, self._clip_norm = _Total(module, loss), clip_norm

    def of(self, rows: Rows, key: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the sum (d,) over rows (n, ...), of the weights that need a gradient one after the other.

        Adding a row adds a vector shorter than ``UNITS``.

        Args:
            key: Of what is random in the loss.
        """
        held: dict[str, Tensor] = {}
        fixed: dict[str, Tensor] = {}
        for name, weight in self._total.named_parameters():
            (held if weight.requires_grad else fixed)[name] = weight.detach()
        sums = np.zeros(sum(weight.numel() for weight in held.values()), dtype=np.int64)
        places = places_of(rows, key)
        for begin in range(0, len(places), CHUNK_ROWS):
            chunk = slice(begin, begin + CHUNK_ROWS)
            # A chunk begins the stream anew: which rows are beside a row must not matter to it.
            random = row_stream(rows[0].device, *key)
            sums += self._of_chunk([part[chunk] for part in rows], places[chunk], held, fixed, random)
        return sums

    def _of_chunk(
        self,
        rows: Rows,
        places: Tensor,
        held: Mapping[str, Tensor],
        fixed: Mapping[str, Tensor],
        random: RowStream,
    ) -> NDArray[np.int64]:
        def of_row(weights: Mapping[str, Tensor], row: Sequence[Tensor], place: Tensor) -> Tensor:
            batch, random.place = [part[None] for part in row], place[None]
            made: Tensor = torch.func.functional_call(self._total, ({**weights, **fixed},), (batch, random))
            return made

        gradients = torch.func.vmap(torch.func.grad(of_row), in_dims=(None, 0, 0), randomness="same")
        with sdpa_kernel(SDPBackend.MATH):  # the other kernels of attention have no gradient by row
            found = gradients(held, rows, places)
        return whole_sum([found[name].flatten(1) for name in held], clip_norm=self._clip_norm)


def places_of(rows: Rows, key: tuple[int, ...]) -> Tensor:
    """Return where each row (n,) reads random numbers.

    It is a hash of what the row says and of a key, and of no other row; it need not be a good one, as privacy holds
    whatever the places are.

    Source: Dietzfelbinger et al. 1997, "A Reliable Randomized Algorithm for the Closest-Pair Problem", Sec. 2.
    """
    n, random = len(rows[0]), stream(torch.device("cpu"), *key)
    mixed = torch.zeros(n, dtype=torch.int64, device=rows[0].device)
    for part in rows:
        flat = part.reshape(n, math.prod(part.shape[1:]))
        words = flat.float().view(torch.int32).long() if flat.is_floating_point() else flat.long()
        odd = 2 * torch.randint(2**62, (words.shape[1],), generator=random) + 1
        mixed = mixed + (words * odd.to(words.device)).sum(dim=1)  # modulo 2^64
    return (mixed >> 40) % PLACES


def whole_sum(gradients: Sequence[Tensor], *, clip_norm: float) -> NDArray[np.int64]:
    """Return the sum (d,) of gradients, parts (n, ...) by row, in units of ``clip_norm / UNITS``.

    A longer row is shortened to the bound, and all are cut towards zero.  One that is no number, or too long even so,
    is nothing.
    """
    norms = torch.stack([torch.linalg.vector_norm(part, dim=1) for part in gradients]).square().sum(dim=0).sqrt()
    factor = (_WITHIN * UNITS / torch.clamp(norms, min=clip_norm))[:, None]  # (n, 1)
    cut = [torch.trunc(part * factor) for part in gradients]
    # Sums of whole numbers in float32 are exact below 2^24; one that is not has passed it, and fails.
    square = torch.stack([part.square().sum(dim=1) for part in cut]).sum(dim=0)
    is_within = (square < float(UNITS) ** 2)[:, None]
    kept = [torch.where(is_within, part, torch.zeros_like(part)).sum(dim=0) for part in cut]
    return torch.cat(kept).cpu().numpy().astype(np.int64)
