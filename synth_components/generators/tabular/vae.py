"""Variational autoencoder of rows: each row is decoded from a normal draw of a few numbers.

Under a budget (``epsilon``, ``delta``) it is differentially private: the columns are cut by the public schema, the
network begins at noisy marginals, and a smaller one is trained by DP-SGD (``_torch.private``).  The guarantee is
(epsilon, delta)-differential privacy for one unit of the schema (a row unless declared otherwise), added or removed.

Source: Xu et al. 2019, "Modeling Tabular Data using Conditional GAN" (arXiv:1907.00503), Sec. 4.5, TVAE;
    Kingma & Welling 2014, "Auto-Encoding Variational Bayes" (arXiv:1312.6114), Eq. 10.
Differs: the modes of a number are cells of about equal mass over the knots that the other generators keep, not a fitted
    mixture, and every number that many rows share is a mode, so that zeros, nulls and round figures come back exactly.
    The value within a mode is normal by rank, with a mean and a deviation that depend on the row.  Layers are residual
    and read sums of embeddings instead of one-hot codes; AdamW with a falling step size and early stopping instead of
    Adam for 300 passes.  Every feature is drawn from its law, none takes its likeliest value.  Rare categories are
    redistributed.  A fit that goes on from a model learns the encoder anew first (``_torch.reader``).  Where the schema
    names a privacy unit, of none more rows are learnt from than each of ``min_category_count`` units has, so that what
    a larger one has is drawn more seldom.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy import random
from pydantic import Field

from synth_components.config import KNOTS, LEFT, MIN_CATEGORY_COUNT, Knots, MinCategoryCount
from synth_components.encode import encode
from synth_components.errors import StoppedError
from synth_components.generators._torch import require_torch
from synth_components.generators.tabular import _token_files
from synth_components.generators.tabular._codebook import drawn_each
from synth_components.generators.tabular._forward import Ints, Matrix, Weights, body, depth_of, linear, softmax
from synth_components.generators.tabular._grid import grids_of
from synth_components.generators.tabular._private import PrivateDepth, PrivateTraining, begun
from synth_components.generators.tabular._tokens import (
    NARROWEST,
    WIDEST,
    Tokens,
    drawn_rows,
    join_rows,
    scored,
    tokens_of,
)
from synth_components.generators.tabular._training import (
    BatchRows,
    Dropout,
    HoldoutShare,
    LearningRate,
    Patience,
    WeightDecay,
)
from synth_components.io.artifact import load as load_artifact
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Floats, Given, PrivacyLedger, Run
from synth_components.schema import Schema
from synth_components.split import evened

DRAWN_ROWS = 4096
"""Rows that are decoded at a time: what they take in memory does not grow with what is asked for."""


class VAE(PrivateTraining):
    """Decode each row from a few normal numbers, by a variational autoencoder."""

    trains_together: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("torch",)
    is_monitored: ClassVar[bool] = True
    starts_warm: ClassVar[bool] = True
    kept_warm: ClassVar[tuple[str, ...]] = ("hidden", "depth", "latent", "cells", "knots", "min_category_count")

    hidden: int = Field(256, ge=4, le=4096, description="Width of the network.")
    depth: int = Field(2, ge=1, le=32, description="Residual blocks of the encoder, and of the decoder.")
    latent: int = Field(128, ge=1, le=4096, description="Normal numbers that a row is decoded from.")
    beta: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="Weight of the divergence between the latents and the normal law. Less makes rows sharper, and "
        "combinations that do not occur likelier.",
    )
    epochs: int = Field(
        60,
        ge=1,
        le=10_000,
        description="Most passes over the rows. The step size falls to nothing over all of them.",
    )
    batch_rows: BatchRows = 512
    learning_rate: LearningRate = 1e-3
    dropout: Dropout = 0.0
    weight_decay: WeightDecay = 0.01
    patience: Patience = 10
    holdout_share: HoldoutShare = 0.1
    cells: int = Field(32, ge=1, le=1000, description="Modes of the numbers of a column that few rows share.")
    knots: Knots = KNOTS
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT
    private_depth: PrivateDepth = 0
    private_latent: Annotated[int, LEFT] = Field(
        4, ge=1, le=4096, description="Under epsilon: normal numbers that a row is decoded from."
    )
    private_beta: Annotated[float, LEFT] = Field(
        0.2,
        ge=0,
        le=1000,
        description="Under epsilon: `beta`; the few steps that a budget pays for would learn nothing with a full one.",
    )

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> VAESampler:
        """Return the decoder of ``data``.

        Raises:
            UnsupportedError: if torch is not installed, the device is not there, or a column has no value with enough
                support.
            StoppedError: if ``run`` says so.
            SchemaError: under a budget, if a column is not public.
            BudgetExceededError: if the budget does not pay for the steps; nothing was read.
        """
        require_torch("tabular.vae")
        if ledger.remaining() is not None:
            return self._fit_privately(data, rng=rng, ledger=ledger, run=run)

        from synth_components.generators._torch.layers import arrays
        from synth_components.generators._torch.loop import Schedule, train
        from synth_components.generators._torch.reader import train_beside
        from synth_components.generators._torch.token_rows import token_rows
        from synth_components.generators._torch.vae import Autoencoder, loss_of

        ledger.spend("fit tabular.vae", not_private)
        if run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        features = encode(data)
        before = None if run.warm_start is None else load_artifact(run.warm_start).sampler
        if isinstance(before, VAESampler):
            tokens = before.features
            hidden, depth, latent = shape_of(before.weights)
        else:
            tokens = tokens_of(
                grids_of(features, knots=self.knots, min_count=self.min_category_count), cells=self.cells
            )
            hidden, depth, latent = self.hidden, self.depth, self.latent
        read, owners = evened(data, features.values, least=self.min_category_count)
        rows, held_out = token_rows(tokens, read, run.holdout, rng=rng)
        seeds = [int(seed) for seed in rng.integers(2**62, size=2)]
        network = Autoencoder(tokens, hidden=hidden, depth=depth, latent=latent, dropout=self.dropout, seed=seeds[0])

        def made() -> VAESampler:
            return VAESampler(data.schema, tokens, decoder_of(arrays(network)))

        def trained(epochs: int, run: Run, *, stage: str = "") -> None:
            train(
                network,
                rows,
                loss_of(self.beta),
                Schedule.of(self, epochs=epochs),
                seed=seeds[1],
                recipe=self.canonical(),
                run=run,
                ledger=ledger,
                held_out=held_out,
                units=owners,
                stage=stage,
                sampler=None if stage else made,
            )

        writer = before.weights if isinstance(before, VAESampler) else {}
        train_beside(network, writer, trained, epochs=self.epochs, run=run, reader="encoder")
        return made()

    def _fit_privately(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> VAESampler:
        """Return the decoder that DP-SGD trains; ``rng`` draws first weights and latents, and no noise."""
        from synth_components.generators._torch.layers import arrays
        from synth_components.generators._torch.private import PrivateSchedule, train
        from synth_components.generators._torch.token_rows import counted_rows
        from synth_components.generators._torch.vae import Autoencoder, loss_of

        start = begun("fit tabular.vae", data, options=self, ledger=ledger, run=run)
        seeds = [int(seed) for seed in rng.integers(2**62, size=2)]
        network = Autoencoder(
            start.tokens,
            hidden=self.private_hidden,
            depth=self.private_depth,
            latent=self.private_latent,
            dropout=0.0,
            seed=seeds[0],
        )
        schedule = PrivateSchedule.of(self, start)
        train(network, counted_rows(start), loss_of(self.private_beta), schedule, seed=seeds[1], run=run)
        return VAESampler(data.schema, start.tokens, decoder_of(arrays(network)))


DECODER = ("widen.", "decoder.", "write.")
"""The names of the weights that rows are drawn with; what reads rows is not kept."""


def decoder_of(weights: Weights) -> Weights:
    """Return the weights of the decoder alone."""
    return {name: held for name, held in weights.items() if name.startswith(DECODER)}


def shape_of(weights: Weights) -> tuple[int, int, int]:
    """Return the width and the depth of a decoder, and how many numbers a row is decoded from."""
    return len(weights["decoder.norm.weight"]), depth_of(weights, "decoder.first"), weights["widen.weight"].shape[1]


@dataclass(frozen=True, eq=False)
class VAESampler:
    """Tokens and the weights of the decoder; drawing needs no torch.

    Attributes:
        schema: The schema of the rows.
        features: The tokens of each feature.
        weights: Of the decoder, by name.
    """

    schema: Schema
    features: tuple[Tokens, ...]
    weights: Weights

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows.

        Raises:
            UnsupportedError: for any condition; ``Model`` resamples instead.
        """
        latent = self.weights["widen.weight"].shape[1]

        def draw(count: int) -> Floats:
            held = rng.standard_normal((count, latent), dtype=np.float32)
            return join_rows(self.features, *decoded(self.features, self.weights, held, rng=rng), rng=rng)

        return drawn_rows(draw, n, part=DRAWN_ROWS, schema=self.schema, given=given, generator="tabular.vae")

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``vae.json`` and ``vae.safetensors``."""
        _token_files.write(directory, "vae", schema=self.schema, features=self.features, weights=self.weights, facts={})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        schema, features, weights, _ = _token_files.read(directory, "vae")
        return cls(schema, features, weights)


def decoded(
    features: tuple[Tokens, ...], weights: Weights, latents: Matrix, *, rng: random.Generator
) -> tuple[Ints, Matrix]:
    """Return tokens (n, d) and scores (n, m) drawn from the law that the decoder gives latents (n, l)."""
    made = linear(weights, "write", body(weights, "decoder", linear(weights, "widen", latents)))
    tokens = np.empty((len(latents), len(features)), dtype=np.int64)
    start = 0
    for feature, one in enumerate(features):
        tokens[:, feature] = drawn_each(softmax(made[:, start : start + len(one.mass)]), rng=rng)
        start += len(one.mass)
    m = len(scored(features))
    centre, width = made[:, start : start + m], np.clip(made[:, start + m :], NARROWEST, WIDEST)
    noise: Matrix = rng.standard_normal(centre.shape, dtype=np.float32)
    return tokens, np.asarray(centre + np.exp(width) * noise)


GENERATOR = VAE
SAMPLER = VAESampler
