"""A generator and a critic of rows of tokens and scores, and what they play for: Wasserstein distance, in packs.

Both are weights of one module.  The critic takes every step; every few of them the generator takes one with it: the
critic's loss reaches the generator with its sign reversed, which is the generator's own loss.  With a step of the
generator for each of the critic's the rows ended on a curve: their scores had correlations of 1 with each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from synth_components.generators._torch.device import normal, stream, uniform
from synth_components.generators._torch.layers import Body, Segments, linear
from synth_components.generators._torch.loop import Loss, Rows
from synth_components.generators._torch.private_gan import Fooling
from synth_components.generators.tabular._tokens import Ints, Tokens

TEMPERATURE = 0.2
"""Of the softmax that stands for a drawn token: Xu et al. 2019, Sec. 4.4."""
SLOPE = 0.2
"""Of the critic's units below 0."""

Noise = Literal["normal", "uniform"]


class _Reversed(torch.autograd.Function):
    """Values as they are; their gradient with its sign changed.

    Source: Ganin & Lempitsky 2015, "Unsupervised Domain Adaptation by Backpropagation" (arXiv:1409.7495), Sec. 3.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ANN401, ARG004 - torch's signature
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401, ARG004 - torch's signature
        return -gradients[0]


class ConditionalGAN(nn.Module):
    """Noise and a condition to a row, and packs of rows to a number that is greater for real ones.

    A condition is one token of one feature.

    Attributes:
        segments: Where the logits of each feature stand.
        rates: (sum of t,) how often a row is drawn for the sake of a token, divided by the rows that have it; under a
            budget, that of a feature's being named.
        turns: () steps made; with the weights in a checkpoint, so that the turns go on from there.
    """

    segments: Segments
    rates: Tensor
    turns: Tensor
    _feature: Tensor

    def __init__(
        self,
        features: Sequence[Tokens],
        rates: Tensor,
        *,
        hidden: int,
        depth: int,
        latent: int,
        noise: Noise,
        pack: int,
        dropout: float,
        seed: int,
        critic_hidden: int | None = None,
    ) -> None:
        super().__init__()
        random = stream(torch.device("cpu"), seed)
        self.segments, self.latent, self.noise, self.pack, self._dropout = (
            Segments(features),
            latent,
            noise,
            pack,
            dropout,
        )
        tokens, scores = sum(self.segments.counts), len(self.segments.scored)
        self.widen = linear(latent, hidden, random)
        self.told = linear(tokens, hidden, random, gain=math.sqrt(tokens))
        self.decoder = Body(hidden, depth, 0.0, random)
        self.write = linear(hidden, tokens + scores, random, gain=0.1)
        with torch.no_grad():
            self.write.bias[:tokens] = self.segments.log_mass
        critic_hidden = hidden if critic_hidden is None else critic_hidden
        widths = [pack * (2 * tokens + scores), critic_hidden, critic_hidden]
        self.critic = nn.ModuleList(
            linear(before, after, random, gain=math.sqrt(2)) for before, after in pairwise(widths)
        )
        self.verdict = linear(critic_hidden, 1, random)
        self.register_buffer("rates", rates, persistent=False)
        self.register_buffer("turns", torch.zeros((), dtype=torch.int64))
        of_feature = torch.repeat_interleave(torch.arange(len(features)), torch.tensor(self.segments.counts))
        self.register_buffer("_feature", of_feature, persistent=False)

    def conditions(self, tokens: Tensor, random: torch.Generator) -> Tensor:
        """Return the places (n,) of the tokens for whose sake rows were drawn, given their tokens (n, d)."""
        places = self.segments.places(tokens)
        chosen = torch.multinomial(self.rates[places], 1, generator=random)
        return places.gather(1, chosen)[:, 0]

    def made(self, conditions: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return logits (n, sum of t) and scores (n, m) of rows made for conditions (n,)."""
        shape = (len(conditions), self.latent)
        if self.noise == "normal":
            noise = normal(shape, random, conditions.device)
        else:
            noise = 2 * uniform(shape, random, conditions.device) - 1
        told = functional.embedding(conditions, self.told.weight.T) + self.told.bias
        written: Tensor = self.write(self.decoder(self.widen(noise) + told, random))
        logits, scores = written.float().split([len(self.segments.log_mass), len(self.segments.scored)], dim=1)
        return logits, scores

    def drawn(self, logits: Tensor, random: torch.Generator) -> Tensor:
        """Return tokens drawn from logits (n, sum of t), as masses that are almost all on one of each feature.

        Source: Jang, Gu & Poole 2017, "Categorical Reparameterization with Gumbel-Softmax" (arXiv:1611.01144), Eq. 2.
        """
        rank = uniform(logits.shape, random, logits.device).clamp(1e-10, 1 - 1e-7)
        held = (logits - torch.log(-torch.log(rank))) / TEMPERATURE
        member, index = self.segments.member, self._feature.expand_as(held)
        lowest = torch.full((len(held), member.shape[1]), -math.inf, device=held.device)
        top = lowest.scatter_reduce(1, index, held.detach(), "amax").gather(1, index)
        masses = torch.exp(held - top)
        return masses / ((masses @ member) @ member.T)

    def seen(self, masses: Tensor, scores: Tensor, conditions: Tensor) -> Tensor:
        """Return packs (n / pack, w) of what the critic sees of rows and their conditions."""
        is_open = ((masses * self.segments.is_scored) @ self.segments.member)[:, self.segments.scored]
        told = (conditions[:, None] == torch.arange(masses.shape[1], device=masses.device)).to(masses.dtype)
        return torch.cat([masses, scores * is_open, told], dim=1).reshape(len(masses) // self.pack, -1)

    def judged(self, packs: Tensor, random: torch.Generator) -> Tensor:
        """Return the critic's verdict (p,) on packs (p, w)."""
        held = packs
        for layer in self.critic:
            held = functional.leaky_relu(layer(held), SLOPE)
            if self.training and self._dropout:
                kept = torch.empty_like(held).bernoulli_(1 - self._dropout, generator=random)
                held = held * kept / (1 - self._dropout)
        verdict: Tensor = self.verdict(held)
        return verdict[:, 0]


def loss_of(penalty: float, *, critic_steps: int) -> Loss:
    """Return the loss of packs of rows: the critic's, and at the generator's turn the condition's.

    Args:
        penalty: Weight of the squared distance of the critic's slope from 1.
        critic_steps: Steps of the critic for each of the generator's.

    Source: Gulrajani et al. 2017, "Improved Training of Wasserstein GANs" (arXiv:1704.00028), Eq. 3; Lin et al. 2018,
        "PacGAN" (arXiv:1712.04086), Sec. 3; Xu et al. 2019 (arXiv:1907.00503), Sec. 4.3 and 4.4.
    """

    def loss(module: nn.Module, rows: Rows, random: torch.Generator) -> Tensor:
        tokens, scores = rows
        whole = max(1, len(tokens) // module.pack) * module.pack
        # A batch of fewer rows than a pack has some of them twice.
        numbers = torch.arange(whole, device=tokens.device) % len(tokens)
        tokens, scores = tokens[numbers], scores[numbers]
        conditions = module.conditions(tokens, random)
        module.turns += 1
        is_turn = int(module.turns) % critic_steps == 0
        with torch.set_grad_enabled(is_turn):
            logits, fake_scores = module.made(conditions, random)
            fake = module.seen(module.drawn(logits, random), fake_scores, conditions)
        one_hot = torch.zeros_like(logits).scatter_(1, module.segments.places(tokens), 1.0)
        real = module.seen(one_hot, scores.to(logits.dtype), conditions)
        share = torch.rand((len(real), 1), generator=random, device=real.device)
        between = (share * real + (1 - share) * fake.detach()).requires_grad_()
        with torch.enable_grad():
            verdict = module.judged(between, random).sum()
            (slope,) = torch.autograd.grad(verdict, between, create_graph=True)
        steepness = penalty * torch.square(slope.norm(dim=1) - 1)
        play = module.judged(_Reversed.apply(fake), random) - module.judged(real, random) + steepness
        if not is_turn:
            return play
        wanted = module.segments.of_places(logits, conditions)
        return play + wanted.reshape(len(play), -1).mean(dim=1)

    return loss


def private_loss_of(penalty: float) -> Loss:
    """Return the critic's loss of rows, each beside a made one of its own.

    DP-SGD can take it one row at a time.  A row names one of its own tokens as the condition, of a feature drawn
    evenly: how often a token occurs is not asked.  The point between the two at which the critic's slope is held to 1
    is that row's alone, too.

    Args:
        penalty: Weight of the squared distance of that slope from 1.

    Source: Gulrajani et al. 2017 (arXiv:1704.00028), Eq. 3.
    """

    def loss(module: nn.Module, rows: Rows, random: torch.Generator) -> Tensor:
        tokens, scores = rows
        (n, d), device = tokens.shape, tokens.device
        places = module.segments.places(tokens)
        reach = module.rates[places].cumsum(dim=1)
        chosen = (reach <= uniform((n, 1), random, device) * reach[:, -1:]).sum(dim=1, keepdim=True)
        conditions = places.gather(1, chosen.clamp_max(d - 1))[:, 0]
        with torch.no_grad():
            logits, fake_scores = module.made(conditions, random)
            fake = module.seen(module.drawn(logits, random), fake_scores, conditions)
        is_own = (places[:, :, None] == torch.arange(logits.shape[1], device=device)).any(dim=1)
        real = module.seen(is_own.to(logits.dtype), scores.to(logits.dtype), conditions)
        share = uniform((n, 1), random, device)
        slope = torch.func.grad(lambda held: module.judged(held, random).sum())(share * real + (1 - share) * fake)
        steepness = penalty * torch.square(torch.linalg.vector_norm(slope, dim=1) - 1)
        verdict: Tensor = module.judged(fake, random) - module.judged(real, random)
        return verdict + steepness

    return loss


def fooling_of(shares: Tensor) -> Fooling:
    """Return the generator's loss: that made rows are seen through, and miss their conditions.

    Args:
        shares: (sum of t,) how often a token is the condition.
    """

    def loss(module: nn.Module, n: int, random: torch.Generator) -> Tensor:
        device = module.rates.device
        conditions = torch.multinomial(shares.to(device), n, replacement=True, generator=random)
        logits, scores = module.made(conditions, random)
        seen = module.seen(module.drawn(logits, random), scores, conditions)
        missed: Tensor = module.segments.of_places(logits, conditions) - module.judged(seen, random)
        return missed

    return loss


def even_rates(features: Sequence[Tokens]) -> Tensor:
    """Return rates (sum of t,) that name each feature with several tokens as often."""
    several = [len(one.mass) > 1 for one in features]
    named = several if any(several) else [True] * len(several)
    return torch.cat([torch.full((len(one.mass),), float(is_one)) for one, is_one in zip(features, named, strict=True)])


def rates_of(features: Sequence[Tokens], tokens: Ints, *, logarithmic: bool) -> tuple[Tensor, Tensor]:
    """Return how often rows are drawn: for a token (sum of t,), per row that has it; and in all (n,).

    A feature is drawn evenly from those with several tokens; a token of it by the logarithm of the number of its rows,
    so that rare ones are seen; then a row that has it, evenly.

    Args:
        logarithmic: Whether by the logarithm; else by the number itself, which draws all rows alike.

    Source: Xu et al. 2019 (arXiv:1907.00503), Sec. 4.3, training-by-sampling.
    """
    several = [len(one.mass) > 1 for one in features]
    parts = []
    for feature, one in enumerate(features):
        count = torch.bincount(torch.from_numpy(tokens[:, feature]), minlength=len(one.mass)).double()
        frequency = torch.log1p(count) if logarithmic else count
        is_condition = several[feature] or not any(several)
        parts.append(frequency / frequency.sum() / count.clamp_min(1) * float(is_condition))
    starts = torch.tensor([0, *(len(part) for part in parts[:-1])]).cumsum(dim=0)
    rates = torch.cat(parts)
    return rates.float(), rates[torch.from_numpy(tokens) + starts].sum(dim=1)
