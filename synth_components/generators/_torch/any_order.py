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
JUDGED_PER_ORDER = 32
"""Rows set apart that are judged in one order: the loss of all is then that of about as many orders as training sees.

Tables of 20,000 rows have one batch of rows set apart, so that an order a batch would judge every pass by the same one.
Where it was the fixed one, that loss was least after a third of the passes, while the other orders, and the rows drawn,
became better until the last (``benchmarks/README.md``).
"""


class AnyOrderNetwork(nn.Module):
    """Logits of each feature's cell given the features before it, and of the place given the cell too.

    Rows are (cells, places, positions): (n, d) int64, (n, d) int64, (n, d) float32.

    Attributes:
        placed: The features whose cells hold more than one code.
    """

    placed: list[int]
    _starts: Tensor
    _placed: Tensor
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
        self.register_buffer("_placed", torch.tensor(self.placed, dtype=torch.int64), persistent=False)
        self.register_buffer("_order", torch.tensor(list(order)), persistent=False)

    def losses(self, rows: Sequence[Tensor], random: torch.Generator) -> Tensor:
        """Return the negative log likelihood (n,) of rows, in nats.

        The features are in the fixed order or, in the rest of the batches, in one that is drawn; of rows set apart
        (``eval``), every ``JUDGED_PER_ORDER`` have an order of their own.
        """
        cells, places, positions = rows
        index = (cells + self._starts).T.contiguous()  # (d, n)
        embedded = functional.embedding(index, self.embedding)  # (d, n, h)
        of_placed = index[self._placed]  # no other feature has a place, nor so a neighbour to lean to
        after = functional.embedding(of_placed + 1, self.embedding)
        lean = positions.T[self._placed][..., None] * (after - embedded[self._placed])
        embedded = embedded.index_add(0, self._placed, lean)
        hidden = self._hidden(embedded, functional.embedding(of_placed, self.own), random).unbind(0)
        total = torch.zeros(len(cells), device=cells.device)
        for feature in range(cells.shape[1]):
            logits = functional.linear(hidden[feature], self.out[feature], self.prior[feature])
            total = total + functional.cross_entropy(logits, cells[:, feature], reduction="none")
        for head, feature in enumerate(self.placed, start=cells.shape[1]):
            prior = functional.embedding(cells[:, feature], self.prior[head])
            logits = functional.linear(hidden[head], self.out[head]) + prior
            total = total + functional.cross_entropy(logits, places[:, feature], reduction="none")
        return total

    def _before(self, random: torch.Generator, orders: int = 1) -> Tensor:
        """Return which features each head is told of (orders, k, d), as 1 and 0: those before its own, in an order."""
        drawn = uniform((orders, len(self._order) + 1), random, self._order.device)
        is_fixed = drawn[:, -1:] < self._fixed_order_share
        place = torch.where(is_fixed, self._order, drawn[:, :-1].argsort(dim=1)).argsort(dim=1)
        before = (place[:, :, None] > place[:, None]).to(self.embedding.dtype)
        return torch.cat([before, before[:, self._placed]], dim=1)

    def _hidden(self, embedded: Tensor, own: Tensor, random: torch.Generator) -> Tensor:
        d, n, h = embedded.shape
        each = n if self.training else min(n, JUDGED_PER_ORDER)
        orders, kept = self._before(random, -(-n // each)), torch.ones((), device=embedded.device)
        if self.training and self._dropout:
            kept = torch.empty_like(embedded[:1]).bernoulli_(1 - self._dropout, generator=random)
            kept = kept / (1 - self._dropout)
        if self.training and n > 1:
            made: Tensor = _Heads.apply(embedded, own, orders[0], kept, self.bias, self.weight, self.inner_bias)
            return made
        # Rows set apart, or one at a time, as DP-SGD takes them: what is written by hand has no gradient by row.
        parts = zip(orders, embedded.split(each, dim=1), strict=True)
        context = torch.cat([(before @ part.reshape(d, -1)).view(len(before), -1, h) for before, part in parts], dim=1)
        context = context + torch.cat([torch.zeros_like(embedded), own])
        first = functional.silu(context + self.bias) * kept
        return first + functional.silu(torch.baddbmm(self.inner_bias, first, self.weight))


class _Heads(torch.autograd.Function):
    """The heads' last layers (k, n, h), given what features (d, n, h) add to the context of those after them.

    It is written by hand, forward and back, to write over what is no longer needed: the plain formulas, which single
    rows take, make a pass over memory and a tensor of their own for each operation.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's own, which has no type
        embedded: Tensor,
        own: Tensor,
        before: Tensor,
        kept: Tensor,
        bias: Tensor,
        weight: Tensor,
        inner_bias: Tensor,
    ) -> Tensor:
        """Return silu(c + bias) = f as it is ``kept``, plus silu(f weight + inner_bias), for contexts c.

        Args:
            embedded: (d, n, h).
            own: (k - d, n, h) what the last heads are told besides.
            before: (k, d) 1 where a head is told of a feature.
            kept: (1, n, h) factors of dropout, or 1.
            bias: (k, 1, h).
            weight: (k, h, h).
            inner_bias: (k, 1, h).
        """
        d, n, h = embedded.shape
        context = (before @ embedded.reshape(d, -1)).view(-1, n, h)
        context[d:] += own
        context += bias
        first = functional.silu(context)
        first *= kept
        weight = weight.to(first.dtype)  # as products under autocast have another
        inner = torch.bmm(first, weight)
        inner += inner_bias
        ctx.save_for_backward(before, kept, weight, context, first, inner)
        made = functional.silu(inner)
        made += first
        return made

    @staticmethod
    def backward(  # type: ignore[override, unused-ignore] # torch's own takes any number
        ctx: Any,  # noqa: ANN401 - as above
        slopes: Tensor,
    ) -> tuple[Tensor, Tensor, None, None, Tensor, Tensor, Tensor]:
        """Return the gradients of what ``forward`` takes, given those (k, n, h) of what it returns."""
        before, kept, weight, context, first, inner = ctx.saved_tensors
        d, (n, h) = before.shape[1], context.shape[1:]
        of_inner = torch.ops.aten.silu_backward(slopes, inner)
        of_first = torch.bmm(of_inner, weight.transpose(1, 2))
        of_first += slopes
        of_first *= kept
        of_context = torch.ops.aten.silu_backward(of_first, context)
        of_embedded = (before.T.to(of_context.dtype) @ of_context.view(len(before), -1)).view(d, n, h)
        of_weight = torch.bmm(first.transpose(1, 2), of_inner)
        biases = of_context.sum(dim=1, keepdim=True), of_inner.sum(dim=1, keepdim=True)
        return of_embedded, of_context[d:], None, None, biases[0], of_weight, biases[1]


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
