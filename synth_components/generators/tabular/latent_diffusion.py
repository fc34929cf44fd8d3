"""Latent diffusion of a row, a hybrid: an autoencoder makes numbers of rows, and diffusion draws such numbers.

Under a budget (``epsilon``, ``delta``) it is differentially private: the columns are cut by the public schema, the
decoder begins at noisy marginals, and two smaller networks are trained by DP-SGD (``_torch.private``), one after the
other, on parts of the noisy steps that one curve was charged for.  The second one's loss of a row encodes that row
itself, with weights that were released, so that its gradients are of single rows, too.  Nothing is measured on the
latents of all rows: they keep the scale to which the divergence draws them, the normal law's.  The guarantee is
(epsilon, delta)-differential privacy for one unit of the schema (a row unless declared otherwise), added or removed.

Source: Zhang et al. 2024, "Mixed-Type Tabular Data Synthesis with Score-based Diffusion in Latent Space"
    (arXiv:2310.09656), TabSyn, Sec. 3; Karras et al. 2022, "EDM" (arXiv:2206.00364), the diffusion; Lu et al. 2022,
    "DPM-Solver++" (arXiv:2211.01095), Algorithm 2, the steps.
Differs: the autoencoder is that of ``tabular.vae``, residual layers over sums of embeddings, not transformers over
    columns; numbers that many rows share are tokens, and features are drawn from their laws.  The divergence has its
    full weight, not a small one that falls, and latents are drawn anew from their laws at each pass, where TabSyn
    keeps their means: so the diffusion learns what the decoder was taught to read (as Vahdat et al. 2021, "LSGM",
    arXiv:2106.05931, but one network after the other).  Latents are scaled to variance 1 one by one.  AdamW with a
    step size that falls to nothing.  Steps are of second order and without added noise.  Rare categories are
    redistributed.  A fit that goes on from a model learns the encoder anew first (``_torch.reader``).  Where the schema
    names a privacy unit, of none more rows are learnt from than each of ``min_category_count`` units has, so that what
    a larger one has is drawn more seldom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import numpy as np
from numpy import random
from pydantic import Field

from synth_components.config import KNOTS, LEFT, MIN_CATEGORY_COUNT, Knots, MinCategoryCount
from synth_components.encode import encode
from synth_components.errors import StoppedError
from synth_components.generators._torch import require_torch
from synth_components.generators.tabular import _token_files
from synth_components.generators.tabular._diffusion import sigma_of, time_features
from synth_components.generators.tabular._forward import Matrix, Weights, body, depth_of, linear, silu
from synth_components.generators.tabular._grid import grids_of
from synth_components.generators.tabular._private import PrivateDepth, PrivateTraining, begun
from synth_components.generators.tabular._tokens import Tokens, drawn_rows, join_rows, tokens_of
from synth_components.generators.tabular._training import (
    BatchRows,
    Dropout,
    HoldoutShare,
    LearningRate,
    Patience,
    WeightDecay,
)
from synth_components.generators.tabular.vae import DRAWN_ROWS, decoded, decoder_of, shape_of
from synth_components.io.artifact import load as load_artifact
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Floats, Given, PrivacyLedger, Run
from synth_components.schema import Schema
from synth_components.split import evened

if TYPE_CHECKING:
    from torch import Tensor

LEAST_DEVIATION = 1e-3
"""A latent that varies less says nothing of a row."""


class LatentDiffusion(PrivateTraining):
    """Decode each row from numbers that a diffusion draws among those that an autoencoder made of rows."""

    needs: ClassVar[tuple[str, ...]] = ("torch",)
    trains_together: ClassVar[bool] = True
    is_monitored: ClassVar[bool] = True
    starts_warm: ClassVar[bool] = True
    kept_warm: ClassVar[tuple[str, ...]] = (
        "hidden",
        "depth",
        "latent",
        "denoiser_hidden",
        "denoiser_depth",
        "cells",
        "knots",
        "min_category_count",
    )

    hidden: int = Field(256, ge=4, le=4096, description="Width of the autoencoder.")
    depth: int = Field(2, ge=1, le=32, description="Residual blocks of the encoder, and of the decoder.")
    latent: int = Field(16, ge=1, le=4096, description="Numbers that a row is decoded from.")
    beta: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="Weight of the divergence between the latents and the normal law. Less keeps more of a row; more "
        "makes latents that are easier to draw.",
    )
    autoencoder_epochs: int = Field(30, ge=1, le=10_000, description="Most passes over the rows of the autoencoder.")
    denoiser_hidden: int = Field(384, ge=4, le=4096, description="Width of the denoiser.")
    denoiser_depth: int = Field(3, ge=1, le=32, description="Residual blocks of the denoiser.")
    epochs: int = Field(
        60,
        ge=1,
        le=10_000,
        description="Most passes over the latents. The step size falls to nothing over all of them.",
    )
    batch_rows: BatchRows = 128
    learning_rate: LearningRate = 1e-3
    dropout: Dropout = 0.0
    weight_decay: WeightDecay = 0.01
    patience: Patience = 15
    holdout_share: HoldoutShare = 0.05
    steps: int = Field(30, ge=2, le=1000, description="Steps from noise to latents; more take longer and are closer.")
    cells: int = Field(32, ge=1, le=1000, description="Modes of the numbers of a column that few rows share.")
    knots: Knots = KNOTS
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT
    private_steps: Annotated[int, LEFT] = Field(
        200,
        ge=2,
        le=100_000,
        description="Under epsilon: noisy steps that the budget pays for, of both networks together.",
    )
    private_autoencoder_share: Annotated[float, LEFT] = Field(
        0.7,
        gt=0,
        lt=1,
        description="Under epsilon: share of the noisy steps, hence of what is paid for them, that trains the "
        "autoencoder; the others train the denoiser.",
    )
    private_depth: PrivateDepth = 0
    private_denoiser_depth: PrivateDepth = 1
    private_latent: Annotated[int, LEFT] = Field(
        4, ge=1, le=4096, description="Under epsilon: numbers that a row is decoded from."
    )
    private_beta: Annotated[float, LEFT] = Field(
        0.2,
        ge=0,
        le=1000,
        description="Under epsilon: `beta`; the few steps that a budget pays for would learn nothing with a full one.",
    )

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> LatentDiffusionSampler:
        """Return the denoiser and the decoder of ``data``.

        Raises:
            UnsupportedError: if torch is not installed, the device is not there, or a column has no value with enough
                support.
            StoppedError: if ``run`` says so.
            SchemaError: under a budget, if a column is not public.
            BudgetExceededError: if the budget does not pay for the steps; nothing was read.
        """
        require_torch("tabular.latent_diffusion")
        if ledger.remaining() is not None:
            return self._fit_privately(data, rng=rng, ledger=ledger, run=run)

        import torch

        from synth_components.generators._torch.denoiser import LatentDenoiser, latent_loss
        from synth_components.generators._torch.device import device_of, threads
        from synth_components.generators._torch.layers import arrays, start_from
        from synth_components.generators._torch.loop import Loss, Schedule, train
        from synth_components.generators._torch.reader import epochs_alone, held_still, part_of, writer_from
        from synth_components.generators._torch.token_rows import token_rows
        from synth_components.generators._torch.vae import Autoencoder, latents_of, loss_of

        ledger.spend("fit tabular.latent_diffusion", not_private)
        if run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        features = encode(data)
        before = None if run.warm_start is None else load_artifact(run.warm_start).sampler
        denoising: Weights = {}
        if isinstance(before, LatentDiffusionSampler):
            tokens = before.features
            hidden, depth, latent = shape_of(before.weights)
            denoising = {
                name.removeprefix(DENOISER): held for name, held in before.weights.items() if name.startswith(DENOISER)
            }
            denoiser_hidden, denoiser_depth = len(denoising["body.norm.weight"]), depth_of(denoising, "body.first")
        else:
            tokens = tokens_of(
                grids_of(features, knots=self.knots, min_count=self.min_category_count), cells=self.cells
            )
            hidden, depth, latent = self.hidden, self.depth, self.latent
            denoiser_hidden, denoiser_depth = self.denoiser_hidden, self.denoiser_depth
        read, owners = evened(data, features.values, least=self.min_category_count)
        rows, held_out = token_rows(tokens, read, run.holdout, rng=rng)
        seeds = [int(seed) for seed in rng.integers(2**62, size=4)]
        stages = {"autoencoder": self.autoencoder_epochs, "denoiser": self.epochs}
        if denoising:
            stages = {"encoder": epochs_alone(self.autoencoder_epochs), **stages}

        def trained(
            module: torch.nn.Module, rows: Sequence[Tensor], loss: Loss, held_out: Sequence[Tensor] | None, stage: str
        ) -> None:
            train(
                module,
                rows,
                loss,
                Schedule.of(self, epochs=stages[stage]),
                seed=seeds[3 if stage == "denoiser" else 2],
                recipe=self.canonical(),
                run=part_of(run, list(stages).index(stage), len(stages)),
                ledger=ledger,
                held_out=held_out,
                units=owners,
                stage=stage,
                sampler=made if stage == "denoiser" else None,
            )

        encoder = Autoencoder(tokens, hidden=hidden, depth=depth, latent=latent, dropout=self.dropout, seed=seeds[0])

        def made() -> LatentDiffusionSampler:
            weights = dict(decoder_of(arrays(encoder)))
            weights |= {f"{DENOISER}{name}": held for name, held in arrays(denoiser).items()}
            weights |= {"latent.mean": mean.numpy(), "latent.deviation": deviation.numpy()}
            return LatentDiffusionSampler(data.schema, tokens, self.steps, weights)

        if isinstance(before, LatentDiffusionSampler):
            decoder = decoder_of(before.weights)
            writer_from(encoder, decoder)
            with held_still(encoder, decoder):
                trained(encoder, rows, loss_of(self.beta), held_out, "encoder")
        trained(encoder, rows, loss_of(self.beta), held_out, "autoencoder")
        with threads():
            latents = latents_of(encoder, rows, device_of(run.device))
            judged = None if held_out is None else latents_of(encoder, held_out, device_of(run.device))
        mean = latents[0].mean(dim=0)
        spread = latents[0].var(dim=0, correction=0) + torch.square(latents[1]).mean(dim=0)
        deviation = torch.sqrt(spread).clamp_min(LEAST_DEVIATION)
        denoiser = LatentDenoiser(
            latent, hidden=denoiser_hidden, depth=denoiser_depth, dropout=self.dropout, seed=seeds[1]
        )
        if denoising:
            start_from(denoiser, denoising)

        def scaled(laws: tuple[Tensor, Tensor]) -> list[Tensor]:
            return [(laws[0] - mean) / deviation, laws[1] / deviation]

        trained(denoiser, scaled(latents), latent_loss, None if judged is None else scaled(judged), "denoiser")
        return made()

    def _fit_privately(
        self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run
    ) -> LatentDiffusionSampler:
        """Return the denoiser and the decoder that DP-SGD trains; ``rng`` draws no noise for privacy."""
        from synth_components.generators._torch.denoiser import LatentDenoiser, encoded_loss_of
        from synth_components.generators._torch.device import device_of
        from synth_components.generators._torch.layers import arrays
        from synth_components.generators._torch.private import PrivateSchedule, part_of, train
        from synth_components.generators._torch.token_rows import counted_rows
        from synth_components.generators._torch.vae import Autoencoder, loss_of

        # One charge for the steps of both: curves of noisy sums add up, whatever the later ones are asked about.
        start = begun("fit tabular.latent_diffusion", data, options=self, ledger=ledger, run=run)
        seeds = [int(seed) for seed in rng.integers(2**62, size=4)]
        rows, whole = counted_rows(start), self.private_steps
        first = min(max(round(self.private_autoencoder_share * whole), 1), whole - 1)
        encoder = Autoencoder(
            start.tokens,
            hidden=self.private_hidden,
            depth=self.private_depth,
            latent=self.private_latent,
            dropout=0.0,
            seed=seeds[0],
        )
        schedule = PrivateSchedule.of(self, start, steps=first)
        train(encoder, rows, loss_of(self.private_beta), schedule, seed=seeds[2], run=part_of(run, 0, whole))
        denoiser = LatentDenoiser(
            self.private_latent,
            hidden=self.private_hidden,
            depth=self.private_denoiser_depth,
            dropout=0.0,
            seed=seeds[1],
        )
        schedule = PrivateSchedule.of(self, start, steps=whole - first)
        loss = encoded_loss_of(encoder.to(device_of(run.device)))
        train(denoiser, rows, loss, schedule, seed=seeds[3], run=part_of(run, first, whole))
        weights = dict(decoder_of(arrays(encoder)))
        weights |= {f"{DENOISER}{name}": held for name, held in arrays(denoiser).items()}
        scale = np.ones(self.private_latent, dtype=np.float32)
        weights |= {"latent.mean": np.zeros_like(scale), "latent.deviation": scale}
        return LatentDiffusionSampler(data.schema, start.tokens, self.steps, weights)


DENOISER = "denoiser."
"""How the names of the denoiser's weights begin."""


@dataclass(frozen=True, eq=False)
class LatentDiffusionSampler:
    """Tokens, and the weights of the denoiser and of the decoder; drawing needs no torch.

    Attributes:
        schema: The schema of the rows.
        features: The tokens of each feature.
        steps: From noise to latents.
        weights: By name.
    """

    schema: Schema
    features: tuple[Tokens, ...]
    steps: int
    weights: Weights

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows.

        Raises:
            UnsupportedError: for any condition; ``Model`` resamples instead.
        """

        def draw(count: int) -> Floats:
            latents = self._latents(count, rng=rng)
            return join_rows(self.features, *decoded(self.features, self.weights, latents, rng=rng), rng=rng)

        return drawn_rows(
            draw, n, part=DRAWN_ROWS, schema=self.schema, given=given, generator="tabular.latent_diffusion"
        )

    def _latents(self, n: int, *, rng: random.Generator) -> Matrix:
        """Return latents (n, l) recovered from noise."""
        times = np.linspace(1.0, 0.0, self.steps + 1)
        sigmas = np.append(sigma_of(times[:-1]), 0.0).astype(np.float32)
        mean, deviation = self.weights["latent.mean"], self.weights["latent.deviation"]
        noisy = np.sqrt(sigmas[0] ** 2 + 1) * rng.standard_normal((n, len(mean)), dtype=np.float32)
        before, width = None, np.float32(1.0)
        for time, sigma, lower in zip(times[:-1], sigmas[:-1], sigmas[1:], strict=True):
            clean = self._clean(noisy, float(time), sigma)
            if lower == 0:
                noisy = clean
                break
            step = np.log(sigma / lower)
            # The second-order step looks where the last two estimates point.
            ahead = clean if before is None else clean + (clean - before) * (step / (2 * width))
            noisy = ahead + (lower / sigma) * (noisy - ahead)
            before, width = clean, step
        return np.asarray(noisy * deviation + mean)

    def _clean(self, noisy: Matrix, time: float, sigma: np.float32) -> Matrix:
        """Return the mean (n, l) of latents before noise of size sigma."""
        weights = self.weights
        told = silu(linear(weights, "denoiser.clock.first", time_features(np.array([time]))))
        held = linear(weights, "denoiser.read", noisy / np.sqrt(sigma**2 + 1))
        held = held + linear(weights, "denoiser.clock.second", told)
        made = linear(weights, "denoiser.write", body(weights, "denoiser.body", held))
        return np.asarray(noisy / (sigma**2 + 1) + made * (sigma / np.sqrt(sigma**2 + 1)))

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``latent_diffusion.json`` and ``latent_diffusion.safetensors``."""
        _token_files.write(
            directory,
            "latent_diffusion",
            schema=self.schema,
            features=self.features,
            weights=self.weights,
            facts={"steps": self.steps},
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        schema, features, weights, facts = _token_files.read(directory, "latent_diffusion")
        return cls(schema, features, int(facts["steps"]), weights)


GENERATOR = LatentDiffusion
SAMPLER = LatentDiffusionSampler
