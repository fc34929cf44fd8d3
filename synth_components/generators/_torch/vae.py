"""A variational autoencoder of rows of tokens and scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from synth_components.generators._torch.device import normal, stream
from synth_components.generators._torch.layers import Body, Segments, TokenSum, linear
from synth_components.generators._torch.loop import Loss, Rows
from synth_components.generators.tabular._tokens import NARROWEST, WIDEST, Tokens


class Autoencoder(nn.Module):
    """Rows to a normal law of latents, and latents to the law of every feature.

    Attributes:
        segments: Where the logits of each feature stand.
    """

    segments: Segments

    def __init__(
        self, features: Sequence[Tokens], *, hidden: int, depth: int, latent: int, dropout: float, seed: int
    ) -> None:
        super().__init__()
        random = stream(torch.device("cpu"), seed)
        self.segments = Segments(features)
        tokens, scores = sum(self.segments.counts), len(self.segments.scored)
        self.read = TokenSum(tokens, len(features), scores, hidden, random)
        self.encoder = Body(hidden, depth, dropout, random)
        self.latent = linear(hidden, 2 * latent, random, gain=0.1)
        self.widen = linear(latent, hidden, random)
        self.decoder = Body(hidden, depth, dropout, random)
        self.write = linear(hidden, tokens + 2 * scores, random, gain=0.1)
        with torch.no_grad():
            self.write.bias[:tokens] = self.segments.log_mass

    def encode(self, tokens: Tensor, scores: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the means and the logarithms of the variances of the latents (n, latent) of rows."""
        held = self.read(self.segments.places(tokens), scores * self.segments.has_score(tokens))
        mean, log_variance = self.latent(self.encoder(held, random)).chunk(2, dim=1)
        return mean, log_variance

    def forward(self, tokens: Tensor, scores: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, means and log deviations (n, sum of t + 2 m) of rows, and their latents' law."""
        mean, log_variance = self.encode(tokens, scores, random)
        noise = normal(mean.shape, random, mean.device).to(mean.dtype)
        made = self.write(self.decoder(self.widen(mean + torch.exp(0.5 * log_variance) * noise), random))
        return made, mean, log_variance


def loss_of(beta: float) -> Loss:
    """Return the negative evidence lower bound of rows, in nats, the divergence weighed by ``beta``.

    Source: Kingma & Welling 2014 (arXiv:1312.6114), Eq. 10; Higgins et al. 2017, "beta-VAE", Eq. 4.
    """

    def loss(module: nn.Module, rows: Rows, random: torch.Generator) -> Tensor:
        tokens, scores = rows
        segments = module.segments
        made, mean, log_variance = module(tokens, scores, random)
        of_tokens, of_scores = made.float().split([len(segments.log_mass), 2 * len(segments.scored)], dim=1)
        total = segments.cross_entropies(of_tokens, tokens).sum(dim=1)
        centre, width = of_scores.chunk(2, dim=1)
        width = width.clamp(NARROWEST, WIDEST)
        squares = 0.5 * torch.square((scores - centre) * torch.exp(-width)) + width + 0.5 * math.log(2 * math.pi)
        total = total + (squares * segments.has_score(tokens)).sum(dim=1)
        mean, log_variance = mean.float(), log_variance.float()
        divergence = 0.5 * (torch.square(mean) + torch.exp(log_variance) - log_variance - 1).sum(dim=1)
        return total + beta * divergence

    return loss


@torch.no_grad()
def latents_of(network: Autoencoder, rows: Rows, device: torch.device, *, size: int = 8192) -> tuple[Tensor, Tensor]:
    """Return means and deviations of the latents (n, latent) of rows, computed on a device, on the CPU."""
    network.to(device).eval()
    random = stream(device, 0)  # no layer draws from it where nothing is trained
    means, deviations = [], []
    for start in range(0, len(rows[0]), size):
        tokens, scores = (part[start : start + size].to(device) for part in rows)
        mean, log_variance = network.encode(tokens, scores, random)
        means.append(mean.cpu())
        deviations.append(torch.exp(0.5 * log_variance).cpu())
    network.to("cpu")
    return torch.cat(means), torch.cat(deviations)
