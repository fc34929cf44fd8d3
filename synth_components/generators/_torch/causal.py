"""A causal transformer over the tokens of a row: each feature's law given the features before it.

In a table of sequences, a vector for each of the rows before comes first: what a row was, from the same embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from synth_components.generators._torch.device import stream
from synth_components.generators._torch.layers import Segments, linear
from synth_components.generators._torch.loop import LEAST_HELD_OUT, Rows
from synth_components.generators.tabular._tokens import NARROWEST, WIDEST, Ints, Tokens


class CausalTransformer(nn.Module):
    """Rows to the law of each feature given those before it.

    No feature knows itself or those after it.  The features stand in the order in which they are given.

    Attributes:
        segments: Where the logits of each feature stand.
        order: Rows before, in the same sequence, that a row knows.
    """

    segments: Segments
    order: int
    _tokens: Tensor
    _scores: Tensor

    def __init__(
        self,
        features: Sequence[Tokens],
        *,
        hidden: int,
        depth: int,
        heads: int,
        dropout: float,
        seed: int,
        order: int = 0,
    ) -> None:
        super().__init__()
        random = stream(torch.device("cpu"), seed)
        self.segments, self.heads, self.order, self._dropout = Segments(features), heads, order, dropout
        tokens, d, m = sum(self.segments.counts), len(features), len(self.segments.scored)
        self.token = linear(tokens, hidden, random, gain=math.sqrt(tokens))
        self.score = linear(max(m, 1), hidden, random)
        self.place = linear(d, hidden, random, gain=math.sqrt(d))
        self.attended = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(depth))
        self.queries = nn.ModuleList(linear(hidden, 3 * hidden, random) for _ in range(depth))
        self.mixed = nn.ModuleList(linear(hidden, hidden, random, gain=1 / math.sqrt(depth)) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(depth))
        self.first = nn.ModuleList(linear(hidden, 4 * hidden, random, gain=math.sqrt(2)) for _ in range(depth))
        self.second = nn.ModuleList(linear(4 * hidden, hidden, random, gain=1 / math.sqrt(depth)) for _ in range(depth))
        self.norm = nn.LayerNorm(hidden)
        self.write = linear(hidden, tokens, random, gain=0.1)
        self.law = linear(hidden, 2 * max(m, 1), random, gain=0.1)
        if order:
            self.lag = linear(order, hidden, random, gain=math.sqrt(order))
            self.none = linear(1, hidden, random)
            self.past_norm = nn.LayerNorm(hidden)
            self.past_first = linear(hidden, 4 * hidden, random, gain=math.sqrt(2))
            self.past_second = linear(4 * hidden, hidden, random)
        with torch.no_grad():
            self.write.bias.copy_(self.segments.log_mass)

    def remember(self, tokens: Tensor, scores: Tensor) -> None:
        """Keep tokens (r, d) and scores (r, m) of all rows for ``past`` to look back at.

        They stand sequence after sequence, go with the module to its device, and are no weights.
        """
        self.register_buffer("_tokens", tokens, persistent=False)
        self.register_buffer("_scores", scores, persistent=False)

    def past(self, place: Tensor, age: Tensor) -> Tensor:
        """Return vectors (n, order, h) of the rows before, the oldest first.

        Args:
            place: Where each row (n,) stands among those that the module was told to remember.
            age: How many rows (n,) of the same sequence come before it.
        """
        lag = torch.arange(self.order, 0, -1, device=place.device)
        rows = (place[:, None] - lag).clamp_min(0)  # (n, k)
        tokens, scores = self._tokens[rows.ravel()], self._scores[rows.ravel()]
        offsets = torch.arange(0, tokens.numel(), tokens.shape[1], device=place.device)
        told = functional.embedding_bag(
            self.segments.places(tokens).ravel(), self.token.weight.T, offsets, mode="sum"
        )  # (n k, h)
        if self.segments.scored:
            told = told + functional.linear(scores * self.segments.has_score(tokens), self.score.weight)
        told = self.past_second(functional.silu(self.past_first(self.past_norm(told)))).reshape(*rows.shape, -1)
        is_there = (age[:, None] >= lag)[..., None]
        nothing = self.none.weight[:, 0] + self.none.bias
        return torch.where(is_there, told, nothing) + self.lag.weight.T + self.lag.bias

    def forward(
        self, tokens: Tensor, scores: Tensor, random: torch.Generator, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return logits (n, sum of t) of tokens, and means and log deviations (n, 2 m) of scores."""
        n = len(tokens)
        meant = functional.embedding(self.segments.places(tokens), self.token.weight.T) + self.token.bias  # (n, d, h)
        held = meant
        scored = self.segments.scored
        if scored:
            told = (scores * self.segments.has_score(tokens))[..., None] * self.score.weight.T  # (n, m, h)
            spread = torch.zeros_like(meant)
            spread[:, scored] = told.to(meant.dtype)
            held = meant + spread
        before = functional.pad(held[:, :-1], (0, 0, 1, 0))  # the first feature knows of nothing
        places = before + self.place.weight.T + self.place.bias
        if past is not None:
            places = torch.cat([past.to(places.dtype), places], dim=1)  # (n, order + d, h)
        states = self._states(places, random)[:, self.order :]
        logits = torch.cat(
            [
                functional.linear(states[:, feature], weight, bias)
                for feature, (weight, bias) in enumerate(
                    zip(
                        self.write.weight.split(self.segments.counts),
                        self.write.bias.split(self.segments.counts),
                        strict=True,
                    )
                )
            ],
            dim=1,
        )
        if not scored:
            return logits, logits[:, :0]
        weight = self.law.weight.reshape(2, len(scored), -1)
        known = functional.silu(states[:, scored] + meant[:, scored])  # a score depends on its own token, too
        law = torch.einsum("nmh,kmh->nkm", known, weight).reshape(n, -1) + self.law.bias
        return logits, law

    def _states(self, held: Tensor, random: torch.Generator) -> Tensor:
        n, d, hidden = held.shape
        for number, query in enumerate(self.queries):
            parts = query(self.attended[number](held)).reshape(n, d, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            seen = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
            held = held + self._kept(self.mixed[number](seen.transpose(1, 2).reshape(n, d, hidden)), random)
            wide = functional.silu(self.first[number](self.norms[number](held)))
            held = held + self._kept(self.second[number](wide), random)
        made: Tensor = self.norm(held)
        return made

    def _kept(self, values: Tensor, random: torch.Generator) -> Tensor:
        if not (self.training and self._dropout):
            return values
        kept = torch.empty_like(values).bernoulli_(1 - self._dropout, generator=random)
        return values * kept / (1 - self._dropout)


def placed(
    network: CausalTransformer, rows: Rows, age: Ints, held_out: Rows | None, held_out_age: Ints, *, share: float
) -> tuple[list[Tensor], list[Tensor] | None]:
    """Return tokens, scores, places and ages of rows, and of those set apart, if any.

    Rows stand sequence after sequence, and the network is told to remember them.  Set apart are the rows given as such,
    or else whole sequences: which ones depends on nothing but where they begin, so that all processes agree.

    Args:
        age: How many rows (n,) of the same sequence come before each.
        share: Of the sequences, to set apart.
    """
    told = [torch.cat(parts) for parts in zip(rows, *([] if held_out is None else [held_out]), strict=True)]
    network.remember(*told)
    ages = torch.from_numpy(np.concatenate([age, held_out_age]))
    place = torch.arange(len(ages))
    is_apart = place >= len(age)
    if held_out is None and share:
        every = round(1 / share)
        is_apart = (torch.cumsum(ages == 0, dim=0) - 1) % every == every - 1
        if int(is_apart.sum()) < LEAST_HELD_OUT:  # too few sequences: the loop sets rows apart instead
            is_apart = torch.zeros_like(is_apart)
    whole = [*told, place, ages]
    return [part[~is_apart] for part in whole], [part[is_apart] for part in whole] if bool(is_apart.any()) else None


def causal_loss(module: nn.Module, rows: Rows, random: torch.Generator) -> Tensor:
    """Return the negative log likelihood (n,) of rows, in nats; of sequences, given the rows before."""
    tokens, scores, *where = rows
    segments = module.segments
    logits, law = module(tokens, scores, random, module.past(*where) if where else None)
    total = segments.cross_entropies(logits, tokens).sum(dim=1)
    if not segments.scored:
        return total
    centre, width = law.float().chunk(2, dim=1)
    width = width.clamp(NARROWEST, WIDEST)
    squares = 0.5 * torch.square((scores - centre) * torch.exp(-width)) + width + 0.5 * math.log(2 * math.pi)
    return total + (squares * segments.has_score(tokens)).sum(dim=1)
