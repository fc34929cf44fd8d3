"""Three convolutional networks over rows laid out as squares, and what each of them minimises.

They are weights of one module and take one step at a time, together: each loss is computed with the weights of the
other networks held still.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from synth_components.generators._torch.device import normal, stream, uniform
from synth_components.generators._torch.layers import linear
from synth_components.generators._torch.loop import Loss, Rows
from synth_components.generators._torch.private_gan import Fooling
from synth_components.generators.tabular._tokens import Tokens

SLOPE = 0.2
"""Of the units below 0 that read rows: Radford et al. 2016, Sec. 3."""

Noise = Literal["normal", "uniform"]


MOST_PRODUCT_SIDE = 8
"""Side of the largest square whose convolutions are made as one product each: larger ones would be mostly zeros."""


def taps_of(side: int) -> Tensor:
    """Return where a kernel of 4 by 4, of stride 2 and padding 1, reads a square, as 0 and 1.

    It is (16, q * s * s), of each of its weights at each of the q = (s / 2)^2 places; ``side`` is s.
    """
    taps = torch.zeros(4, 4, side // 2, side // 2, side, side)
    for down, right, i, j in product(range(4), range(4), range(side // 2), range(side // 2)):
        row, column = 2 * i + down - 1, 2 * j + right - 1
        if 0 <= row < side and 0 <= column < side:
            taps[down, right, i, j, row, column] = 1
    return taps.reshape(16, -1)


class Convolution(nn.Conv2d):
    """A convolution of 4 by 4 that halves squares; of small ones it is one product, which is quicker.

    Attributes:
        taps: Where the kernel reads; none of a large square.
    """

    taps: Tensor | None

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1, bias=False)
        self.register_buffer("taps", taps_of(side) if side <= MOST_PRODUCT_SIDE else None, persistent=False)

    def reset_parameters(self) -> None:
        """Draw nothing, which torch would from its global stream; whoever makes a layer does."""

    def forward(self, squares: Tensor) -> Tensor:
        """Return squares (n, o, s / 2, s / 2) of squares (n, c, s, s)."""
        if self.taps is None:
            return super().forward(squares)
        n, inputs, side, _ = squares.shape
        places = (self.weight.flatten(2) @ self.taps).reshape(-1, inputs, side * side // 4, side * side)
        weight = places.transpose(1, 2).reshape(-1, inputs * side * side)
        return functional.linear(squares.flatten(1), weight).reshape(n, -1, side // 2, side // 2)


class TransposedConvolution(nn.ConvTranspose2d):
    """A transposed convolution of 4 by 4 that doubles squares to one side, as ``Convolution`` halves them."""

    taps: Tensor | None

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1)
        self.register_buffer("taps", taps_of(side) if side <= MOST_PRODUCT_SIDE else None, persistent=False)

    def reset_parameters(self) -> None:
        """Draw nothing, which torch would from its global stream; whoever makes a layer does."""

    def forward(self, squares: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return squares (n, o, 2s, 2s) of squares (n, c, s, s)."""
        if self.taps is None:
            return super().forward(squares, output_size)
        n, inputs, side, _ = squares.shape
        places = (self.weight.flatten(2) @ self.taps).reshape(inputs, -1, side * side, 4 * side * side)
        weight = places.transpose(1, 2).reshape(inputs * side * side, -1)
        made = (squares.flatten(1) @ weight).reshape(n, -1, 2 * side, 2 * side)
        return made + self.bias[:, None, None]


class RowNorm(nn.GroupNorm):
    """The norm of all values of a row, weighed by channel; quicker back than torch's of one group."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)

    def forward(self, squares: Tensor) -> Tensor:
        """Return squares (n, c, s, s) of mean 0 and variance 1, times the channel's weight, plus its bias."""
        _, channels, side, _ = squares.shape
        flat = functional.layer_norm(squares.flatten(1), (channels * side * side,), eps=self.eps)
        spread = (self.weight.repeat_interleave(side * side), self.bias.repeat_interleave(side * side))
        return torch.addcmul(spread[1], flat, spread[0]).reshape(squares.shape)


def _drawn(layer: nn.Module, inputs: int, random: torch.Generator) -> None:
    with torch.no_grad():
        layer.get_parameter("weight").normal_(0.0, math.sqrt(2 / inputs), generator=random)


class Reader(nn.Module):
    """Squares (n, 1, s, s) to a number (n,), by way of the values (n, w) of the layer before it."""

    def __init__(self, side: int, channels: int, random: torch.Generator) -> None:
        super().__init__()
        widths = [1, *(channels * 2**number for number in range(int(math.log2(side)) - 1))]  # down to 2 by 2
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        for number, (before, after) in enumerate(pairwise(widths)):
            layer = Convolution(before, after, side >> number)
            _drawn(layer, 16 * before, random)
            self.layers.append(layer)
            self.norms.append(RowNorm(after))
        self.verdict = linear(4 * widths[-1], 1, random)

    def forward(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Return verdicts (n,) and the values before them (n, w)."""
        held = squares
        for number, layer in enumerate(self.layers):
            held = layer(held)
            held = functional.leaky_relu(held if number == 0 else self.norms[number](held), SLOPE)
        values = held.flatten(1)
        return self.verdict(values)[:, 0], values


class Writer(nn.Module):
    """Noise (n, latent) to squares (n, 1, s, s) of values between -1 and 1."""

    def __init__(self, side: int, channels: int, latent: int, random: torch.Generator) -> None:
        super().__init__()
        widths = [*(channels * 2**number for number in reversed(range(int(math.log2(side)) - 1))), 1]
        self.widen = linear(latent, 4 * widths[0], random)
        self.norms, self.layers = nn.ModuleList(), nn.ModuleList()
        for number, (before, after) in enumerate(pairwise(widths)):
            self.norms.append(RowNorm(before))
            layer = TransposedConvolution(before, after, 4 << number)
            _drawn(layer, 4 * before, random)
            with torch.no_grad():
                layer.get_parameter("bias").zero_()
            self.layers.append(layer)

    def forward(self, noise: Tensor) -> Tensor:
        """Return squares (n, 1, s, s)."""
        held = self.widen(noise)
        held = held.reshape(len(held), -1, 2, 2)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            held = layer(functional.relu(norm(held)))
        return torch.tanh(held)


class TableNetworks(nn.Module):
    """A generator, a discriminator, and a classifier that tells one feature from the others.

    Attributes:
        target: (s, s) 1 where that feature stands, and 0 elsewhere.
        is_used: (s, s) 1 where a feature stands, and 0 elsewhere.
    """

    target: Tensor
    is_used: Tensor

    def __init__(
        self,
        features: int,
        side: int,
        *,
        target: int,
        channels: int,
        latent: int,
        noise: Noise,
        seed: int,
        reader_channels: int | None = None,
    ) -> None:
        super().__init__()
        random = stream(torch.device("cpu"), seed)
        self.latent, self.noise = latent, noise
        self.writer = Writer(side, channels, latent, random)
        reader_channels = channels if reader_channels is None else reader_channels
        self.discriminator = Reader(side, reader_channels, random)
        self.classifier = Reader(side, reader_channels, random)
        place = torch.arange(side * side).reshape(side, side)
        self.register_buffer("target", (place == target).float(), persistent=False)
        self.register_buffer("is_used", (place < features).float(), persistent=False)

    def made(self, n: int, random: torch.Generator) -> Tensor:
        """Return squares (n, 1, s, s) made of noise."""
        shape, device = (n, self.latent), self.target.device
        noise = normal(shape, random, device) if self.noise == "normal" else 2 * uniform(shape, random, device) - 1
        return self.writer(noise).float() * self.is_used

    def label_error(self, squares: Tensor, reader: Any) -> Tensor:  # noqa: ANN401 - a module, or one held still
        """Return how far (n,) the classifier is from the target feature, of which it is not told."""
        label = (squares * self.target).sum(dim=(1, 2, 3))
        verdict, _ = reader(squares * (1 - self.target))
        return torch.abs(label - torch.tanh(verdict.float()))


def _still(module: nn.Module) -> Any:  # noqa: ANN401 - the module as a function
    """Return a module as a function whose weights get no gradient."""
    weights = {name: value.detach() for name, value in module.named_parameters()}
    return lambda squares: functional_call(module, weights, (squares,))


def loss_of(*, information: float, classification: float, delta_mean: float, delta_sd: float) -> Loss:
    """Return the losses of a batch: of the discriminator, the classifier and the generator, added up.

    Args:
        information: Weight of the difference between the moments of real and made rows, as the discriminator sees them.
        classification: Weight of the classifier's error on made rows.
        delta_mean: Difference of the means that costs nothing.
        delta_sd: Difference of the standard deviations that costs nothing.

    Source: Park et al. 2018 (arXiv:1806.03384), Eq. 1 to 5.
    """

    def loss(module: nn.Module, rows: Rows, random: torch.Generator) -> Tensor:
        (real,) = rows
        made = module.made(len(real), random)
        of_real, seen_real = module.discriminator(real)
        of_made, _ = module.discriminator(made.detach())
        judging = functional.softplus(-of_real) + functional.softplus(of_made)
        learning = module.label_error(real, module.classifier)
        verdict, seen = _still(module.discriminator)(made)
        fooling = functional.softplus(-verdict)
        seen, seen_real = seen.float(), seen_real.detach().float()
        mean = torch.linalg.vector_norm(seen.mean(dim=0) - seen_real.mean(dim=0))
        deviation = torch.linalg.vector_norm(_deviation(seen) - _deviation(seen_real))
        moments = functional.relu(mean - delta_mean) + functional.relu(deviation - delta_sd)
        agreeing = module.label_error(made, _still(module.classifier))
        return judging.float() + learning + fooling.float() + information * moments + classification * agreeing

    return loss


def private_loss_of(features: Sequence[Tokens], side: int, *, classification: float) -> Loss:
    """Return the loss of what reads rows, each beside a made one of its own.

    DP-SGD can take it one row at a time.  There is no information loss, which compares moments of all rows of a batch.

    Args:
        features: By whose masses a token is a rank, at random within its share.
        side: Of the square that a row is laid out as.
        classification: Weight of the classification loss; without it the classifier has nothing to learn.

    Source: Park et al. 2018 (arXiv:1806.03384), Eq. 1 and 5.
    """
    masses = torch.from_numpy(np.concatenate([one.mass for one in features])).float()
    below = torch.from_numpy(np.concatenate([np.cumsum(one.mass) - one.mass for one in features])).float()
    starts = torch.tensor([0, *(len(one.mass) for one in features[:-1])]).cumsum(dim=0)

    def loss(module: nn.Module, rows: Rows, random: torch.Generator) -> Tensor:
        tokens = rows[0]
        (n, d), device = tokens.shape, tokens.device
        places = tokens + starts.to(device)
        rank = below.to(device)[places] + uniform((n, d), random, device) * masses.to(device)[places]
        real = functional.pad(2 * rank - 1, (0, side * side - d)).reshape(n, 1, side, side)
        with torch.no_grad():
            made = module.made(n, random)
        of_real, _ = module.discriminator(real)
        of_made, _ = module.discriminator(made)
        judging: Tensor = functional.softplus(-of_real) + functional.softplus(of_made)
        return judging + module.label_error(real, module.classifier) if classification else judging

    return loss


def fooling_of(*, classification: float) -> Fooling:
    """Return the generator's loss: that it is seen through, and the target does not fit.

    Source: Park et al. 2018 (arXiv:1806.03384), Eq. 1 and 5.
    """

    def loss(module: nn.Module, n: int, random: torch.Generator) -> Tensor:
        made = module.made(n, random)
        verdict, _ = module.discriminator(made)
        lost: Tensor = functional.softplus(-verdict)
        return lost + classification * module.label_error(made, module.classifier) if classification else lost

    return loss


def _deviation(values: Tensor) -> Tensor:
    """Return the standard deviations (w,) of values (n, w), whose slope at 0 is a number."""
    return torch.sqrt((values - values.mean(dim=0)).square().mean(dim=0) + 1e-6)
