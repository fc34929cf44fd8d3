"""A network that gives the distribution of every feature, given any others: all features in one fused pass.

A feature's context is the sum of the embeddings of the features before it in some order, which is one cumulative sum;
the heads of all features are one batched product.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from synth_components.generators._torch.device import stream, uniform
from synth_components.generators.tabular._cells import Cells
from synth_components.protocols import Floats

ABSENT = -1e4
"""The logit of a place that a cell does not have: exp of it is 0."""
LEAST_MASS = 1e-12
"""Mass below which a head does not begin."""


class AnyOrderNetwork(nn.Module):
    """Logits of each feature's cell given the features before it, and of the place given the cell too.

    Rows are (cells, places, positions): (n, d) int64, (n, d) int64, (n, d) float32.

    Attributes:
        placed: The features whose cells hold more than one code.
    """

    placed: list[int]
    _starts: Tensor
    _order: Tensor

    def __init__(
        self,
        cells: Sequence[Cells],
        masses: Sequence[Floats],
        order: Sequence[int],
        *,
        hidden: int,
        dropout: float,
        fixed_order_share: float,
        seed: int,
    ) -> None:
        """Begin with the marginals: every head's bias holds the logarithm of the masses of its codes."""
        super().__init__()
        random = stream(torch.device("cpu"), seed)
        counts = [len(one.first) for one in cells]
        self.placed = [feature for feature, one in enumerate(cells) if one.places > 1]
        self._dropout, self._fixed_order_share = dropout, fixed_order_share

        def drawn(*shape: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=random) * scale)

        heads = len(cells) + len(self.placed)
        narrow = 1 / math.sqrt(hidden)
        # One row more than there are cells: the last cell's successor, which no position reaches.
        self.embedding = drawn(sum(counts) + 1, hidden, scale=0.3)
        self.own = drawn(sum(counts), hidden, scale=0.3)
        self.bias = nn.Parameter(torch.zeros(heads, 1, hidden))
        self.weight = drawn(heads, hidden, hidden, scale=narrow)
        self.inner_bias = nn.Parameter(torch.zeros(heads, 1, hidden))
        widths = [*counts, *(cells[feature].places for feature in self.placed)]
        self.out = nn.ParameterList([drawn(width, hidden, scale=0.3 * narrow) for width in widths])
        self.prior = nn.ParameterList([*map(_cell_prior, cells, masses)])
        self.prior.extend([_place_prior(cells[feature], masses[feature]) for feature in self.placed])
        starts = np.cumsum([0, *counts[:-1]])
        self.register_buffer("_starts", torch.tensor(starts), persistent=False)
        self.register_buffer("_order", torch.tensor(list(order)), persistent=False)

    def losses(self, rows: Sequence[Tensor], random: torch.Generator) -> Tensor:
        """Return the negative log likelihood (n,) of rows, in nats.

        The features are in the fixed order or, in the rest of the batches, in one that is drawn.
        """
        cells, places, positions = rows
        index = cells + self._starts  # (n, d)
        embedded = functional.embedding(index, self.embedding)
        after = functional.embedding(index + 1, self.embedding)
        embedded = embedded + positions[..., None] * (after - embedded)  # (n, d, h)
        order = self._drawn_order(random)
        ordered = embedded[:, order]
        context = (torch.cumsum(ordered, dim=1) - ordered)[:, torch.argsort(order)].transpose(0, 1)  # (d, n, h)
        if self.placed:
            own = functional.embedding(index[:, self.placed], self.own).transpose(0, 1)
            context = torch.cat([context, context[self.placed] + own])  # (heads, n, h)
        hidden = self._hidden(context, random).unbind(0)
        total = torch.zeros(len(cells), device=cells.device)
        for feature in range(cells.shape[1]):
            logits = functional.linear(hidden[feature], self.out[feature], self.prior[feature])
            total = total + functional.cross_entropy(logits, cells[:, feature], reduction="none")
        for head, feature in enumerate(self.placed, start=cells.shape[1]):
            prior = functional.embedding(cells[:, feature], self.prior[head])
            logits = functional.linear(hidden[head], self.out[head]) + prior
            total = total + functional.cross_entropy(logits, places[:, feature], reduction="none")
        return total

    def _drawn_order(self, random: torch.Generator) -> Tensor:
        drawn = uniform((1, len(self._order) + 1), random, self._order.device)[0]
        is_fixed = drawn[-1] < self._fixed_order_share
        return torch.where(is_fixed, self._order, drawn[:-1].argsort())

    def _hidden(self, context: Tensor, random: torch.Generator) -> Tensor:
        hidden = functional.silu(context + self.bias)
        if self.training and self._dropout:
            kept = torch.empty_like(hidden[:1]).bernoulli_(1 - self._dropout, generator=random)
            hidden = hidden * (kept / (1 - self._dropout))
        return hidden + functional.silu(torch.baddbmm(self.inner_bias, hidden, self.weight))


def losses(module: nn.Module, rows: Sequence[Tensor], random: torch.Generator) -> Tensor:
    """Return the losses (n,) of rows under an ``AnyOrderNetwork``, as the training loop asks for them."""
    assert isinstance(module, AnyOrderNetwork)  # noqa: S101 - narrows the type
    return module.losses(rows, random)


def tensors_of(cells: Sequence[Cells], codes: Mapping[int, NDArray[np.int32]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows that the network reads of codes (n,) by feature."""
    parts: list[list[NDArray[Any]]] = [[], [], []]
    for feature, one in enumerate(cells):
        cell, place = one.split(codes[feature])
        for part, held in zip(parts, (cell, place, one.position(cell, place)), strict=True):
            part.append(np.asarray(held))
    made = [torch.from_numpy(np.stack(part, axis=1)) for part in parts]
    return made[0], made[1], made[2]


def _cell_prior(cells: Cells, mass: Floats) -> nn.Parameter:
    of_cells = np.add.reduceat(mass, cells.first)
    return nn.Parameter(torch.from_numpy(np.log(np.maximum(of_cells, LEAST_MASS)).astype(np.float32)))


def _place_prior(cells: Cells, mass: Floats) -> nn.Parameter:
    held = cells.by_place(np.log(np.maximum(mass, LEAST_MASS)), absent=ABSENT)
    held -= np.log(np.exp(held).sum(axis=1, keepdims=True))
    return nn.Parameter(torch.from_numpy(np.maximum(held, ABSENT).astype(np.float32)))
