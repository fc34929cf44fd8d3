"""Conditional GAN of rows whose numbers are normal scores: a copula by its marginals, a GAN by what ties them.

Under a budget (``epsilon``, ``delta``) it is differentially private: the columns are cut by the public schema, and
their marginals are noisy counts of its cells; a smaller critic of single rows is trained by DP-SGD
(``_torch.private``), and the generator by that critic alone, which is post-processing (``_torch.private_gan``).  The
condition of a row is one of its own tokens, of a feature drawn evenly, and a made row's is drawn by the noisy counts:
no training-by-sampling.  The guarantee is (epsilon, delta)-differential privacy for one unit of the schema (a row
unless declared otherwise), added or removed.

Source: Xu et al. 2019, "Modeling Tabular Data using Conditional GAN" (arXiv:1907.00503), Sec. 4: the condition,
    training-by-sampling, the Wasserstein loss in packs; Patki, Wedge & Veeramachaneni 2016, "The Synthetic Data
    Vault", Sec. III: each marginal to a normal score before the model, and back after it; Gulrajani et al. 2017
    (arXiv:1704.00028), the gradient penalty; Lin et al. 2018, "PacGAN" (arXiv:1712.04086).
Differs: the marginals are the grids that the other generators keep, not parametric families, and no library's code is
    used.  A number that many rows share, and null, are categories beside the others, so that they come back exactly,
    and conditions may name them.  The critic takes five steps for each of the generator's, without momentum, as in
    Gulrajani et al., Algorithm 1, where Xu et al. take one; at its turn the generator steps with the critic, whose
    gradient reaches it reversed; the step size falls to nothing.  It judges single rows, without dropout, where Xu et
    al. have packs of ten and a dropout of .5: with either, little but marginals was learnt (``benchmarks/README.md``).
    Layers are residual with layer normalisation
    instead of batch normalisation, so that a row does not depend on those drawn with it.  Features are drawn from the
    softmax itself, at temperature 1 as the loss of the condition is; then logits are shifted, and scores ranked among
    the generator's own, so that every column has its marginal.  A row is drawn for a condition with the share that it
    has among the rows.  Nothing but a monitor judges when to end: the losses of a GAN do not.  Rare categories are
    redistributed.  A fit that goes on from a model learns the critic anew first (``_torch.reader``), and takes the
    marginals of the new rows.  Where the schema names a privacy unit, of none more rows are learnt from than each of
    ``min_category_count`` units has; each column by itself has the marginal of all rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

import numpy as np
from numpy import random
from pydantic import Field
from scipy.special import ndtri

from synth_components.config import KNOTS, LEFT, MIN_CATEGORY_COUNT, SAFER_UP, Knots, MinCategoryCount
from synth_components.encode import encode
from synth_components.errors import StoppedError
from synth_components.generators._torch import require_torch
from synth_components.generators.tabular import _token_files
from synth_components.generators.tabular._calibration import MADE_ROWS, levels_of, ranks_of, shifts_of
from synth_components.generators.tabular._codebook import drawn_each
from synth_components.generators.tabular._forward import Ints, Matrix, Weights, body, depth_of, linear, softmax
from synth_components.generators.tabular._grid import grids_of, reweighed
from synth_components.generators.tabular._private import PrivateTraining, begun
from synth_components.generators.tabular._tokens import Tokens, drawn_rows, join_rows, split_rows, tokens_of
from synth_components.generators.tabular._training import BatchRows, LearningRate, WeightDecay, require_turn
from synth_components.io.artifact import load as load_artifact
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Floats, Given, PrivacyLedger, Run
from synth_components.schema import Schema
from synth_components.split import evened

DRAWN_ROWS = 4096
"""Rows that are made at a time: what they take in memory does not grow with what is asked for."""
BETAS = (0.0, 0.9)
"""Of AdamW: Gulrajani et al.'s, Algorithm 1."""
PENALTY = 10.0
"""Weight of the gradient penalty: Gulrajani et al.'s."""
CLIP_NORM = 10.0

Noise: TypeAlias = Literal["normal", "uniform"]


class CopulaGAN(PrivateTraining):
    """Make each row from noise and a condition, by a GAN whose numbers are normal scores."""

    trains_together: ClassVar[bool] = True
    is_monitored: ClassVar[bool] = True
    starts_warm: ClassVar[bool] = True
    kept_warm: ClassVar[tuple[str, ...]] = ("hidden", "depth", "latent", "noise", "knots")
    needs: ClassVar[tuple[str, ...]] = ("torch",)

    hidden: int = Field(256, ge=4, le=4096, description="Width of the generator, and of the critic.")
    depth: int = Field(2, ge=1, le=32, description="Residual blocks of the generator.")
    latent: int = Field(128, ge=1, le=4096, description="Numbers of noise that a row is made from.")
    noise: Noise = Field(
        "normal", description="Distribution of the noise: standard normal, or uniform between -1 and 1."
    )
    epochs: int = Field(
        100,
        ge=1,
        le=10_000,
        description="Times that as many rows as there are have been read. The step size falls to nothing over all of "
        "them.",
    )
    batch_rows: BatchRows = 500
    learning_rate: LearningRate = 1e-3
    weight_decay: WeightDecay = 1e-6
    pack: int = Field(
        1,
        ge=1,
        le=100,
        description="Rows that the critic judges together; more keep the rows from being alike. Under epsilon it is 1.",
    )
    critic_steps: int = Field(5, ge=1, le=100, description="Steps of the critic for each of the generator's.")
    dropout: Annotated[float, SAFER_UP] = Field(
        0.0, ge=0, lt=1, description="Privacy knob: share of the critic's hidden units left out at each step."
    )
    frequency: Literal["log", "linear"] = Field(
        "log",
        description="How often a condition names a token while the network learns: by the logarithm of the number of "
        "its rows, so that rare ones are seen, or by the number itself.",
    )
    knots: Knots = KNOTS
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT
    private_learning_rate: Annotated[float, LEFT] = Field(
        0.005, gt=0, le=1, description="Under epsilon: step size of AdamW, and of the generator's Adam."
    )
    private_critic_steps: Annotated[int, LEFT] = Field(
        1, ge=1, le=1000, description="Under epsilon: noisy steps of the critic for each of the generator's."
    )

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> CopulaGANSampler:
        """Return the generator of ``data``.

        Raises:
            ConfigError: if training has too few steps of the critic for one of the generator's.
            UnsupportedError: if torch is not installed, the device is not there, or a column has no value with enough
                support.
            StoppedError: if ``run`` says so.
            SchemaError: under a budget, if a column is not public.
            BudgetExceededError: if the budget does not pay for the steps; nothing was read.
        """
        require_torch("tabular.copula_gan")
        if ledger.remaining() is not None:
            return self._fit_privately(data, rng=rng, ledger=ledger, run=run)

        import torch

        from synth_components.generators._torch.conditional_gan import ConditionalGAN, loss_of, rates_of
        from synth_components.generators._torch.layers import arrays
        from synth_components.generators._torch.loop import Schedule, train, whole_batch
        from synth_components.generators._torch.reader import train_beside

        ledger.spend("fit tabular.copula_gan", not_private)
        if run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        features = encode(data)
        read, _ = evened(data, features.values, least=self.min_category_count)
        n = len(read)
        per_epoch = max(1, n // whole_batch(n, self.batch_rows, run.world_size))
        require_turn(
            self.epochs * per_epoch,
            self.critic_steps,
            option="critic_steps",
            remedy="raise epochs, or lower batch_rows or critic_steps",
        )
        before = None if run.warm_start is None else load_artifact(run.warm_start).sampler
        writer: Weights = {}
        if isinstance(before, CopulaGANSampler):
            grids = reweighed(
                [one.grid for one in before.features], features.values, min_count=self.min_category_count, rng=rng
            )
            tokens = tuple(replace(one, grid=grid) for one, grid in zip(before.features, grids, strict=True))
            writer = generating(before.weights)
            hidden, depth = len(writer["decoder.norm.weight"]), depth_of(writer, "decoder.first")
            latent, noise = writer["widen.weight"].shape[1], before.noise
        else:
            grids = grids_of(features, knots=self.knots, min_count=self.min_category_count)
            tokens = tokens_of(grids, cells=1)
            hidden, depth, latent, noise = self.hidden, self.depth, self.latent, self.noise
        of_rows, scores = split_rows(tokens, read, rng=rng)
        rates, chances = rates_of(tokens, of_rows, logarithmic=self.frequency == "log")
        seeds = [int(seed) for seed in rng.integers(2**62, size=3)]
        network = ConditionalGAN(
            tokens,
            rates,
            hidden=hidden,
            depth=depth,
            latent=latent,
            noise=noise,
            pack=self.pack,
            dropout=self.dropout,
            seed=seeds[0],
        )

        def made() -> CopulaGANSampler:
            return calibrated(data.schema, tokens, noise, generating(arrays(network)), seed=seeds[2])

        def trained(epochs: int, run: Run, *, stage: str = "") -> None:
            train(
                network,
                [torch.from_numpy(of_rows), torch.from_numpy(scores)],
                loss_of(PENALTY, critic_steps=self.critic_steps),
                Schedule.of(
                    self,
                    epochs=epochs,
                    betas=BETAS,
                    clip_norm=CLIP_NORM,
                    holdout_share=0.0,
                    first_judged=math.ceil(self.critic_steps / per_epoch),  # there is nothing new before
                ),
                seed=seeds[1],
                recipe=self.canonical(),
                run=run,
                ledger=ledger,
                stage=stage,
                sampler=None if stage else made,
                chances=chances,
            )

        train_beside(network, writer, trained, epochs=self.epochs, run=run, reader="critic")
        return made()

    def _fit_privately(
        self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run
    ) -> CopulaGANSampler:
        """Return the generator that plays against a critic which DP-SGD trains; ``rng`` draws no noise for privacy."""
        import torch

        from synth_components.generators._torch.conditional_gan import (
            ConditionalGAN,
            even_rates,
            fooling_of,
            private_loss_of,
        )
        from synth_components.generators._torch.layers import arrays
        from synth_components.generators._torch.private import PrivateSchedule
        from synth_components.generators._torch.private_gan import Turns, train_against
        from synth_components.generators._torch.token_rows import counted_rows

        require_turn(
            self.private_steps,
            self.private_critic_steps,
            option="private_critic_steps",
            remedy="raise private_steps, or lower private_critic_steps",
        )
        start = begun("fit tabular.copula_gan", data, options=self, ledger=ledger, run=run)
        tokens = start.tokens
        seeds = [int(seed) for seed in rng.integers(2**62, size=3)]
        network = ConditionalGAN(
            tokens,
            even_rates(tokens),
            hidden=self.hidden,
            depth=self.depth,
            latent=self.latent,
            noise=self.noise,
            pack=1,
            dropout=0.0,
            seed=seeds[0],
            critic_hidden=self.private_hidden,
        )
        train_against(
            network,
            generating(arrays(network)),
            counted_rows(start),
            private_loss_of(PENALTY),
            fooling_of(torch.from_numpy(shares_of(tokens)).float()),
            PrivateSchedule.of(self, start),
            Turns(self.private_critic_steps, self.batch_rows, self.private_learning_rate, BETAS, CLIP_NORM),
            seed=seeds[1],
            run=run,
        )
        return calibrated(data.schema, tokens, self.noise, generating(arrays(network)), seed=seeds[2])


GENERATING = ("widen.", "told.", "decoder.", "write.")
"""The names of the weights that rows are made with; the critic is not kept."""


def generating(weights: Weights) -> Weights:
    """Return the weights of the generator alone."""
    return {name: held for name, held in weights.items() if name.startswith(GENERATING)}


def shares_of(features: tuple[Tokens, ...]) -> Floats:
    """Return how often a token (sum of t,) is the condition of a row that is made."""
    counts = np.array([len(one.mass) for one in features])
    is_condition = (counts > 1) | (counts.max() == 1)
    share = np.concatenate([one.mass * is_condition[feature] for feature, one in enumerate(features)])
    return np.asarray(share / share.sum())


def calibrated(
    schema: Schema, features: tuple[Tokens, ...], noise: Noise, weights: Weights, *, seed: int
) -> CopulaGANSampler:
    """Return the sampler of a generator, brought to the marginals by rows that it makes."""
    held = dict(weights)
    sampler = CopulaGANSampler(schema, features, noise, held)
    logits, values = sampler.written(MADE_ROWS, rng=np.random.default_rng(seed))
    held["shifts"], held["levels"] = shifts_of(features, logits), levels_of(values)
    return sampler


@dataclass(frozen=True, eq=False)
class CopulaGANSampler:
    """Tokens and the weights of the generator; drawing needs no torch.

    Attributes:
        schema: The schema of the rows.
        features: The tokens of each feature.
        noise: The distribution of the noise.
        weights: Of the generator, by name; and the ``shifts`` and ``levels`` that bring it to the marginals.
    """

    schema: Schema
    features: tuple[Tokens, ...]
    noise: Noise
    weights: Weights

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows.

        Raises:
            UnsupportedError: for any condition; ``Model`` resamples instead.
        """

        def draw(count: int) -> Floats:
            return join_rows(self.features, *self._made(count, rng=rng), rng=rng)

        return drawn_rows(draw, n, part=DRAWN_ROWS, schema=self.schema, given=given, generator="tabular.copula_gan")

    def _made(self, n: int, *, rng: random.Generator) -> tuple[Ints, Floats]:
        """Return tokens (n, d) and scores (n, m), each distributed as the features are."""
        logits, made = self.written(n, rng=rng)
        logits = logits + self.weights["shifts"]
        tokens, start = np.empty((n, len(self.features)), dtype=np.int64), 0
        for feature, one in enumerate(self.features):
            tokens[:, feature] = drawn_each(softmax(logits[:, start : start + len(one.mass)]), rng=rng)
            start += len(one.mass)
        return tokens, np.asarray(ndtri(ranks_of(made, self.weights["levels"], rng=rng)))

    def written(self, n: int, *, rng: random.Generator) -> tuple[Matrix, Matrix]:
        """Return logits (n, sum of t) and scores (n, m) as the generator writes them."""
        share = shares_of(self.features)
        condition = rng.choice(len(share), size=n, p=share)
        told = self.weights["told.weight"].T[condition] + self.weights["told.bias"]
        shape = (n, self.weights["widen.weight"].shape[1])
        if self.noise == "normal":
            noise = rng.standard_normal(shape, dtype=np.float32)
        else:
            noise = 2 * rng.random(shape, dtype=np.float32) - 1
        hidden = body(self.weights, "decoder", linear(self.weights, "widen", noise) + told)
        made = linear(self.weights, "write", hidden)
        return made[:, : len(share)], made[:, len(share) :]

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``copula_gan.json`` and ``copula_gan.safetensors``."""
        _token_files.write(
            directory,
            "copula_gan",
            schema=self.schema,
            features=self.features,
            weights=self.weights,
            facts={"noise": self.noise},
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        schema, features, weights, facts = _token_files.read(directory, "copula_gan")
        return cls(schema, features, facts["noise"], weights)


GENERATOR = CopulaGAN
SAMPLER = CopulaGANSampler
