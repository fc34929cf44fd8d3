"""A causal transformer over the tokens of a row: each feature's law given the features before it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from synth_components.generators._torch.device import stream
from synth_components.generators._torch.layers import Segments, linear
from synth_components.generators._torch.loop import Rows
from synth_components.generators.tabular._tokens import NARROWEST, WIDEST, Tokens


class CausalTransformer(nn.Module):
    """Rows to the law of each feature given those before it.

    No feature knows itself or those after it.  The features stand in the order in which they are given.

    Attributes:
        segments: Where the logits of each feature stand.
    """

    segments: Segments

    def __init__(
        self, features: Sequence[Tokens], *, hidden: int, depth: int, heads: int, dropout: float, seed: int
    ) -> None:
        super().__init__()
        random = stream(torch.device("cpu"), seed)
        self.segments, self.heads, self._dropout = Segments(features), heads, dropout
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
        with torch.no_grad():
            self.write.bias.copy_(self.segments.log_mass)

    def forward(self, tokens: Tensor, scores: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
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
        states = self._states(before + self.place.weight.T + self.place.bias, random)
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


def causal_loss(module: nn.Module, rows: Rows, random: torch.Generator) -> Tensor:
    """Return the negative log likelihood (n,) of rows, in nats."""
    tokens, scores = rows
    segments = module.segments
    logits, law = module(tokens, scores, random)
    total = segments.cross_entropies(logits, tokens).sum(dim=1)
    if not segments.scored:
        return total
    centre, width = law.float().chunk(2, dim=1)
    width = width.clamp(NARROWEST, WIDEST)
    squares = 0.5 * torch.square((scores - centre) * torch.exp(-width)) + width + 0.5 * math.log(2 * math.pi)
    return total + (squares * segments.has_score(tokens)).sum(dim=1)
