"""Denoisers of rows: of tokens that are masked and scores that are noisy, and of latents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from synth_components.generators._torch.device import normal, stream, uniform
from synth_components.generators._torch.layers import Body, Segments, TokenSum, linear
from synth_components.generators._torch.loop import Loss, Rows
from synth_components.generators._torch.vae import Autoencoder
from synth_components.generators.tabular._diffusion import FREQUENCIES, sigma_of
from synth_components.generators.tabular._tokens import Tokens


class Clock(nn.Module):
    """What a network is told of the time: two layers over sines and cosines."""

    def __init__(self, hidden: int, random: torch.Generator) -> None:
        super().__init__()
        self.first = linear(2 * FREQUENCIES, hidden, random)
        self.second = linear(hidden, hidden, random)

    def forward(self, time: Tensor) -> Tensor:
        """Return the embedding (n, h) of times (n,)."""
        rates = math.pi * 2.0 ** torch.linspace(0, 6, FREQUENCIES, device=time.device)
        angle = time[:, None] * rates
        made: Tensor = self.second(functional.silu(self.first(torch.cat([angle.sin(), angle.cos()], dim=1))))
        return made


class RowDenoiser(nn.Module):
    """The law of the masked tokens of a row, and the mean of its scores before noise.

    Attributes:
        segments: Where the logits of each feature stand.
    """

    segments: Segments

    def __init__(self, features: Sequence[Tokens], *, hidden: int, depth: int, dropout: float, seed: int) -> None:
        super().__init__()
        random = stream(torch.device("cpu"), seed)
        self.segments = Segments(features)
        tokens, scores = sum(self.segments.counts), len(self.segments.scored)
        self.read = TokenSum(tokens + len(features), len(features), scores, hidden, random)  # the last are masks
        self.clock = Clock(hidden, random)
        self.body = Body(hidden, depth, dropout, random)
        self.write = linear(hidden, tokens + scores, random, gain=0.1)
        with torch.no_grad():
            self.write.bias[:tokens] = self.segments.log_mass

    def forward(self, places: Tensor, scores: Tensor, time: Tensor, random: torch.Generator) -> Tensor:
        """Return logits and scaled scores (n, sum of t + m).

        Args:
            places: (n, d) of the tokens that are known, and of the masks of the others.
            scores: (n, m) with noise, scaled to variance 1.
            time: (n,) from 0, everything known, to 1, nothing.
            random: What dropout draws from.
        """
        made: Tensor = self.write(self.body(self.read(places, scores) + self.clock(time), random))
        return made


class LatentDenoiser(nn.Module):
    """The mean of latents before noise."""

    def __init__(self, latent: int, *, hidden: int, depth: int, dropout: float, seed: int) -> None:
        super().__init__()
        random = stream(torch.device("cpu"), seed)
        self.read = linear(latent, hidden, random)
        self.clock = Clock(hidden, random)
        self.body = Body(hidden, depth, dropout, random)
        self.write = linear(hidden, latent, random, gain=0.1)

    def forward(self, latents: Tensor, time: Tensor, random: torch.Generator) -> Tensor:
        """Return the scaled means (n, l) of noisy latents (n, l), scaled to variance 1, at times (n,)."""
        made: Tensor = self.write(self.body(self.read(latents) + self.clock(time), random))
        return made


def latent_loss(module: nn.Module, rows: Rows, random: torch.Generator) -> Tensor:
    """Return the squared errors (n,) of latents of variance 1, drawn anew from their laws.

    The laws are means and deviations (n, l).

    Source: Karras et al. 2022 (arXiv:2206.00364), Eq. 8, weighed as in Table 1.
    """
    means, deviations = rows
    latents = means + deviations * normal(means.shape, random, means.device)
    time = stratified(len(latents), latents.device, random)
    noisy, wanted, sigma = noised(latents, time, random)
    made = module(noisy * torch.rsqrt(sigma**2 + 1), time, random)
    return torch.square(made.float() - wanted).sum(dim=1)


def encoded_loss_of(encoder: Autoencoder) -> Loss:
    """Return ``latent_loss`` of rows of tokens and scores, which an encoder reads anew.

    So a row says the same wherever it is read: latents that were computed beside other rows differ in their last bits,
    and with these in where DP-SGD has them read random numbers.
    """

    def loss(module: nn.Module, rows: Rows, random: torch.Generator) -> Tensor:
        tokens, scores = rows
        with torch.no_grad():
            mean, log_variance = encoder.encode(tokens, scores, random)
        return latent_loss(module, [mean.float(), torch.exp(0.5 * log_variance.float())], random)

    return loss


def stratified(n: int, device: torch.device, random: torch.Generator) -> Tensor:
    """Return times (n,), uniform on [0, 1), one in each of n strata: the mean over a batch hardly varies."""
    return (torch.arange(n, device=device) + uniform((n,), random, device)) / max(n, 1)


def noised(clean: Tensor, time: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return numbers (n, m) with noise, what to say of them (n, m), and the noise's size (n, 1)."""
    sigma = sigma_of(time)[:, None]
    noisy = clean + sigma * normal(clean.shape, random, clean.device)
    return noisy, (clean - noisy / (sigma**2 + 1)) * torch.sqrt(sigma**2 + 1) / sigma, sigma


def row_loss(module: nn.Module, rows: Rows, random: torch.Generator) -> Tensor:
    """Return the losses (n,) of rows: cross-entropies of what is masked, and squared errors of the scores.

    A row's features are masked in an order and at times that are drawn as ``diffusion.DiffusionSampler`` unmasks them:
    evenly over time, so that the share that is masked is the time.

    Source: Shi et al. 2025, "TabDiff" (arXiv:2410.20626), Eq. 9 to 12; Sahoo et al. 2024 (arXiv:2406.07524), Eq. 10.
    """
    tokens, scores = rows
    segments, (n, d), device = module.segments, tokens.shape, tokens.device
    total = len(segments.log_mass)
    time = stratified(n, device, random)
    rank = uniform((n, d), random, device).argsort(dim=1).argsort(dim=1)
    known_at = (rank + uniform((n, 1), random, device)) / d
    is_masked = known_at < time[:, None]
    places = torch.where(is_masked, total + torch.arange(d, device=device), segments.places(tokens))
    noisy, wanted, sigma = noised(scores, time, random)
    # Of a feature whose token is known to have no score there is nothing to know.
    is_told = is_masked[:, segments.scored].float()
    is_open = torch.maximum(is_told, segments.has_score(tokens))
    made = module(places, noisy * torch.rsqrt(sigma**2 + 1) * is_open, time, random)
    logits, denoised = made.float().split([total, scores.shape[1]], dim=1)
    entropies = segments.cross_entropies(logits, tokens) * is_masked
    lost = d * entropies.sum(dim=1) / is_masked.sum(dim=1).clamp_min(1)
    return lost + (torch.square(denoised - wanted) * is_open).sum(dim=1)
