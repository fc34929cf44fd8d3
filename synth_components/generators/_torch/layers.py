"""Layers of our own making: first weights from a stream that is passed in, and nothing that Opacus cannot clip.

Every weight stands in an ``nn.Linear``, ``nn.EmbeddingBag`` or ``nn.LayerNorm``, and no layer mixes the rows of a
batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from synth_components.generators.tabular._forward import Weights
from synth_components.generators.tabular._tokens import Tokens, scored

LEAST_MASS = 1e-12
"""Mass below which a head does not begin."""


def linear(inputs: int, outputs: int, random: torch.Generator, *, gain: float = 1.0) -> nn.Linear:
    """Return a linear layer with outputs about ``gain`` times as large as its inputs, and no bias yet."""
    made: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
    with torch.no_grad():
        made.weight.normal_(0.0, gain / math.sqrt(max(inputs, 1)), generator=random)
        made.bias.zero_()
    return made


class TokenSum(nn.Module):
    """The sum (n, h) of the embeddings at the places (n, d) of a row's tokens, and of its scores (n, m)."""

    def __init__(self, tokens: int, features: int, scores: int, hidden: int, random: torch.Generator) -> None:
        super().__init__()
        self.table = nn.utils.skip_init(nn.EmbeddingBag, tokens, hidden, mode="sum")
        with torch.no_grad():
            self.table.weight.normal_(0.0, 1 / math.sqrt(features), generator=random)
        self.scores = linear(scores, hidden, random) if scores else None

    def forward(self, places: Tensor, scores: Tensor) -> Tensor:
        """Return the sums (n, h)."""
        n, d = places.shape
        if n == 1:  # one row at a time, as DP-SGD takes them: the bag has no gradient by row
            made = functional.embedding(places, self.table.weight).sum(dim=1)
            return made if self.scores is None else made + self.scores(scores)
        offsets = torch.arange(0, n * d, d, device=places.device)
        made = self.table(places.reshape(-1), offsets)
        return made if self.scores is None else made + self.scores(scores)


class Body(nn.Module):
    """Residual blocks, each of two layers.

    Source: He et al. 2016, "Identity Mappings in Deep Residual Networks" (arXiv:1603.05027), Fig. 4 (e).
    """

    def __init__(self, hidden: int, depth: int, dropout: float, random: torch.Generator) -> None:
        super().__init__()
        self._dropout = dropout
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(depth))
        self.first = nn.ModuleList(linear(hidden, hidden, random, gain=math.sqrt(2)) for _ in range(depth))
        self.second = nn.ModuleList(linear(hidden, hidden, random, gain=1 / math.sqrt(depth)) for _ in range(depth))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, values: Tensor, random: torch.Generator) -> Tensor:
        """Return values (n, h) after the blocks; dropout draws from ``random``."""
        for norm, first, second in zip(self.norms, self.first, self.second, strict=True):
            held = functional.silu(first(norm(values)))
            if self.training and self._dropout:
                kept = torch.empty_like(held).bernoulli_(1 - self._dropout, generator=random)
                held = held * kept / (1 - self._dropout)
            values = values + second(held)
        made: Tensor = functional.silu(self.norm(values))
        return made


class Segments(nn.Module):
    """Where each feature's tokens stand among all of them, so that no step loops over columns.

    It has no weights.

    Attributes:
        counts: Number of tokens of each feature (d,).
        scored: The m features of which some token has a score.
        log_mass: (sum of t,) logarithm of each token's share of the rows: where heads begin.
        member: (sum of t, d) 1 where a token is one of a feature, and 0 elsewhere.
        is_scored: (sum of t,) 1 for a token that has a score, and 0 for others.
    """

    counts: list[int]
    scored: list[int]
    log_mass: Tensor
    member: Tensor
    is_scored: Tensor
    _starts: Tensor

    def __init__(self, features: Sequence[Tokens]) -> None:
        super().__init__()
        self.counts, self.scored = [len(one.mass) for one in features], scored(features)
        of_feature = np.repeat(np.arange(len(features)), self.counts)
        mass = np.concatenate([one.mass for one in features])
        held = {
            "log_mass": np.log(np.maximum(mass, LEAST_MASS)).astype(np.float32),
            "_starts": np.cumsum([0, *self.counts[:-1]]),
            "member": (of_feature[:, None] == np.arange(len(features))).astype(np.float32),
            "is_scored": np.concatenate([one.is_scored for one in features]).astype(np.float32),
        }
        for name, array in held.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def places(self, tokens: Tensor) -> Tensor:
        """Return the places (n, d) of tokens (n, d) among all of them."""
        return tokens + self._starts

    def has_score(self, tokens: Tensor) -> Tensor:
        """Return 1 where the token of a feature with scores has one (n, m), and 0 elsewhere."""
        return self.is_scored[self.places(tokens)[:, self.scored]]

    def cross_entropies(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Return the losses (n, d) in nats of tokens (n, d) under logits (n, sum of t)."""
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.float()
            top = logits.detach().amax(dim=1, keepdim=True)
            masses = torch.exp(logits - top) @ self.member
            # A feature whose every logit is 87 below another's has no mass in float32.
            total = torch.log(masses.clamp_min(1e-37)) + top
            return total - logits.gather(1, self.places(tokens))

    def of_places(self, logits: Tensor, places: Tensor) -> Tensor:
        """Return the losses (n,) in nats of one token of a row, at places (n,), under logits (n, sum of t)."""
        feature = self.member[places].argmax(dim=1)  # (n,)
        is_rival = self.member.T[feature] > 0  # (n, sum of t)
        total = torch.logsumexp(logits.masked_fill(~is_rival, -math.inf), dim=1)
        return total - logits.gather(1, places[:, None])[:, 0]


def arrays(module: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Return the weights by name."""
    return {name: np.ascontiguousarray(value.detach().cpu().numpy()) for name, value in module.state_dict().items()}


def start_from(module: nn.Module, weights: Weights) -> None:
    """Give a module the weights, by name, of one of the same shape."""
    module.load_state_dict({name: torch.from_numpy(np.array(held)) for name, held in weights.items()})
