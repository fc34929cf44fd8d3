"""Convolutional GAN of rows laid out as squares, with the information and classification losses of table-GAN.

Under a budget (``epsilon``, ``delta``) it is differentially private: the columns are cut by the public schema, and
their marginals are noisy counts of its cells; a smaller discriminator and a smaller classifier, which read single rows,
are trained by DP-SGD (``_torch.private``) as one vector of weights, and the generator by these two alone, which is
post-processing (``_torch.private_gan``).  The information loss is off, as it compares moments of batches of rows.  The
guarantee is (epsilon, delta)-differential privacy for one unit of the schema (a row unless declared otherwise), added
or removed.

Source: Park et al. 2018, "Data Synthesis based on Generative Adversarial Networks" (arXiv:1806.03384), Sec. 4: the
    three networks, the information loss and its thresholds, the classification loss; Radford, Metz & Chintala 2016,
    "DCGAN" (arXiv:1511.06434), the layers.
Differs: a value is its rank among the knots that the other generators keep, from -1 to 1, and a category, a null or a
    number that many rows share is a random rank within its share; what the trained generator makes is ranked
    among its own rows first, so that every column has its marginal.  The moments of the information loss are those of
    the batch, not running means.  Layers are normalised by row, not by batch, so that a row does not depend on those
    made with it.  All three networks step at once, and the step size falls to nothing.  The classifier learns any
    column, as a rank.  Nothing but a monitor judges when to end: the losses of a GAN do not.  Rare categories are
    redistributed.  A fit that goes on from a model learns what reads rows anew first (``_torch.reader``), and takes the
    marginals of the new rows.  Where the schema names a privacy unit, of none more rows are learnt from than each of
    ``min_category_count`` units has; each column by itself has the marginal of all rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

import numpy as np
from numpy import random
from pydantic import Field
from scipy.special import ndtr, ndtri

from synth_components.config import KNOTS, LEFT, MIN_CATEGORY_COUNT, SAFER_UP, ConfigError, Knots, MinCategoryCount
from synth_components.encode import encode, slices
from synth_components.errors import StoppedError
from synth_components.generators._torch import require_torch
from synth_components.generators.tabular import _token_files
from synth_components.generators.tabular._calibration import MADE_ROWS, levels_of, ranks_of
from synth_components.generators.tabular._forward import Matrix, Weights, depth_of, linear
from synth_components.generators.tabular._grid import grids_of, reweighed
from synth_components.generators.tabular._private import PrivateTraining, begun
from synth_components.generators.tabular._tokens import EDGE, Tokens, drawn_rows
from synth_components.generators.tabular._training import BatchRows, LearningRate, WeightDecay, require_turn
from synth_components.io.artifact import load as load_artifact
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Floats, Given, PrivacyLedger, Run
from synth_components.schema import Boolean, Categorical, Schema
from synth_components.split import evened

DRAWN_ROWS = 1024
"""Rows that are made at a time: what they take in memory does not grow with what is asked for."""
BETAS = (0.5, 0.999)
"""Of Adam: Radford et al.'s."""
CLIP_NORM = 10.0
LEAST_SIDE = 4

Noise: TypeAlias = Literal["normal", "uniform"]


class TableGAN(PrivateTraining):
    """Make each row from noise by convolutions; a classifier keeps one column true to the others."""

    trains_together: ClassVar[bool] = True
    is_monitored: ClassVar[bool] = True
    starts_warm: ClassVar[bool] = True
    kept_warm: ClassVar[tuple[str, ...]] = ("channels", "latent", "noise", "knots")
    needs: ClassVar[tuple[str, ...]] = ("torch",)

    target: str = Field(
        "",
        description="Column that the classifier tells from the others, such as the one that models will be trained to "
        "predict; empty takes the last category or boolean, or the last column.",
    )
    channels: int = Field(
        64, ge=1, le=1024, description="Channels of the first convolution; each further one has twice as many."
    )
    latent: int = Field(100, ge=1, le=4096, description="Numbers of noise that a row is made from.")
    noise: Noise = Field(
        "uniform", description="Distribution of the noise: standard normal, or uniform between -1 and 1."
    )
    information: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="Weight of the information loss: that made rows have the moments of real ones. Under epsilon it is "
        "0.",
    )
    classification: float = Field(
        1.0, ge=0, le=1000, description="Weight of the classification loss: that the target fits the other columns."
    )
    delta_mean: Annotated[float, SAFER_UP] = Field(
        0.0,
        ge=0,
        le=1000,
        description="Privacy knob: difference of the means that the information loss leaves alone; the paper's are 0, "
        "0.1 and 0.2.",
    )
    delta_sd: Annotated[float, SAFER_UP] = Field(
        0.0,
        ge=0,
        le=1000,
        description="Privacy knob: difference of the standard deviations that the information loss leaves alone.",
    )
    epochs: int = Field(
        100,
        ge=1,
        le=10_000,
        description="Passes over the rows. The step size falls to nothing over all of them.",
    )
    batch_rows: BatchRows = 500
    learning_rate: LearningRate = 2e-4
    weight_decay: WeightDecay = 1e-6
    knots: Knots = KNOTS
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT
    private_hidden: Annotated[int, LEFT] = Field(
        16,
        ge=1,
        le=1024,
        description="Under epsilon: `channels` of the networks that read rows; noise grows with the number of weights.",
    )
    private_learning_rate: Annotated[float, LEFT] = Field(
        0.005, gt=0, le=1, description="Under epsilon: step size of AdamW, and of the generator's Adam."
    )
    private_critic_steps: Annotated[int, LEFT] = Field(
        1, ge=1, le=1000, description="Under epsilon: noisy steps of what reads rows for each of the generator's."
    )

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> TableGANSampler:
        """Return the generator of ``data``.

        Raises:
            ConfigError: if ``target`` is no column; under a budget, if there are too few noisy steps for one of the
                generator's.
            UnsupportedError: if torch is not installed, the device is not there, or a column has no value with enough
                support.
            StoppedError: if ``run`` says so.
            SchemaError: under a budget, if a column is not public.
            BudgetExceededError: if the budget does not pay for the steps; nothing was read.
        """
        require_torch("tabular.table_gan")
        if self.target and self.target not in data.schema.columns:
            raise ConfigError(f"option 'target': there is no column '{self.target}'", option="target")
        if ledger.remaining() is not None:
            return self._fit_privately(data, rng=rng, ledger=ledger, run=run)

        import torch

        from synth_components.generators._torch.layers import arrays
        from synth_components.generators._torch.loop import Schedule, train
        from synth_components.generators._torch.reader import train_beside
        from synth_components.generators._torch.table_gan import TableNetworks, loss_of

        ledger.spend("fit tabular.table_gan", not_private)
        if run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        features = encode(data)
        before = None if run.warm_start is None else load_artifact(run.warm_start).sampler
        writer: Weights = {}
        channels, latent, noise = self.channels, self.latent, self.noise
        if isinstance(before, TableGANSampler):
            grids = reweighed(
                [one.grid for one in before.features], features.values, min_count=self.min_category_count, rng=rng
            )
            writer = writing(before.weights)
            channels, latent, noise = channels_of(writer), writer["writer.widen.weight"].shape[1], before.noise
        else:
            grids = grids_of(features, knots=self.knots, min_count=self.min_category_count)
        tokens = tuple(Tokens(grid, np.arange(grid.size)) for grid in grids)
        side = side_of(len(tokens))
        seeds = [int(seed) for seed in rng.integers(2**62, size=3)]
        network = TableNetworks(
            len(tokens),
            side,
            target=_place_of(self.target, data.schema),
            channels=channels,
            latent=latent,
            noise=noise,
            seed=seeds[0],
        )
        read, _ = evened(data, features.values, least=self.min_category_count)
        rows = [torch.from_numpy(squares_of(tokens, read, side, rng=rng))]
        loss = loss_of(
            information=self.information,
            classification=self.classification,
            delta_mean=self.delta_mean,
            delta_sd=self.delta_sd,
        )

        def made() -> TableGANSampler:
            return calibrated(data.schema, tokens, noise, writing(arrays(network)), seed=seeds[2])

        def trained(epochs: int, run: Run, *, stage: str = "") -> None:
            train(
                network,
                rows,
                loss,
                Schedule.of(self, epochs=epochs, betas=BETAS, clip_norm=CLIP_NORM, holdout_share=0.0),
                seed=seeds[1],
                recipe=self.canonical(),
                run=run,
                ledger=ledger,
                stage=stage,
                sampler=None if stage else made,
            )

        train_beside(network, writer, trained, epochs=self.epochs, run=run, reader="critic")
        return made()

    def _fit_privately(
        self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run
    ) -> TableGANSampler:
        """Return the generator that plays against networks which DP-SGD trains; ``rng`` draws no noise for privacy."""
        from synth_components.generators._torch.layers import arrays
        from synth_components.generators._torch.private import PrivateSchedule
        from synth_components.generators._torch.private_gan import Turns, train_against
        from synth_components.generators._torch.table_gan import TableNetworks, fooling_of, private_loss_of
        from synth_components.generators._torch.token_rows import counted_rows

        require_turn(
            self.private_steps,
            self.private_critic_steps,
            option="private_critic_steps",
            remedy="raise private_steps, or lower private_critic_steps",
        )
        start = begun("fit tabular.table_gan", data, options=self, ledger=ledger, run=run)
        tokens = start.tokens
        side = side_of(len(tokens))
        seeds = [int(seed) for seed in rng.integers(2**62, size=3)]
        network = TableNetworks(
            len(tokens),
            side,
            target=_place_of(self.target, data.schema),
            channels=self.channels,
            latent=self.latent,
            noise=self.noise,
            seed=seeds[0],
            reader_channels=self.private_hidden,
        )
        train_against(
            network,
            writing(arrays(network)),
            counted_rows(start),
            private_loss_of(tokens, side, classification=self.classification),
            fooling_of(classification=self.classification),
            PrivateSchedule.of(self, start),
            Turns(self.private_critic_steps, self.batch_rows, self.private_learning_rate, BETAS, CLIP_NORM),
            seed=seeds[1],
            run=run,
        )
        return calibrated(data.schema, tokens, self.noise, writing(arrays(network)), seed=seeds[2])


def writing(weights: Weights) -> Weights:
    """Return the weights that rows are made with alone."""
    return {name: held for name, held in weights.items() if name.startswith("writer.")}


def channels_of(weights: Weights) -> int:
    """Return the channels of the convolution that writes squares."""
    return int(weights[f"writer.layers.{depth_of(weights, 'writer.layers') - 1}.weight"].shape[0])


def side_of(features: int) -> int:
    """Return the side of the square, a power of two, that holds as many values."""
    side = LEAST_SIDE
    while side * side < features:
        side *= 2
    return side


def calibrated(
    schema: Schema, features: tuple[Tokens, ...], noise: Noise, weights: Weights, *, seed: int
) -> TableGANSampler:
    """Return the sampler of a generator, whose values are ranked among those that it makes."""
    drawn = noise_of(weights, MADE_ROWS, noise, rng=np.random.default_rng(seed))
    levels = levels_of(written(weights, drawn).reshape(MADE_ROWS, -1)[:, : len(features)])
    return TableGANSampler(schema, features, noise, {**weights, "levels": levels})


def _place_of(target: str, schema: Schema) -> int:
    """Return the place of the feature that the classifier learns."""
    columns = schema.columns
    if not target:
        discrete = [name for name, column in columns.items() if isinstance(column, Categorical | Boolean)]
        target = [*columns, *discrete][-1]
    return int(slices(schema)[target].start)


def squares_of(features: tuple[Tokens, ...], values: Floats, side: int, *, rng: random.Generator) -> Matrix:
    """Return encoded rows (n, d) as squares (n, 1, side, side) of ranks from -1 to 1, filled up with 0."""
    made = np.zeros((len(values), side * side), dtype=np.float32)
    for feature, one in enumerate(features):
        token, score = one.split(values[:, feature], rng=rng)
        below = np.cumsum(one.mass) - one.mass
        made[:, feature] = 2 * (below[token] + ndtr(score) * one.mass[token]) - 1
    return made.reshape(len(values), 1, side, side)


def values_of(features: tuple[Tokens, ...], ranks: Floats, *, rng: random.Generator) -> Floats:
    """Return the encoded rows (n, d) of ranks (n, d) in [0, 1]."""
    made = np.empty(ranks.shape)
    for feature, one in enumerate(features):
        reach = np.cumsum(one.mass)
        token = np.minimum(np.searchsorted(reach, ranks[:, feature], side="right"), len(reach) - 1)
        within = (ranks[:, feature] - (reach - one.mass)[token]) / np.maximum(one.mass[token], 1e-300)
        made[:, feature] = one.join(token, ndtri(np.clip(within, EDGE, 1 - EDGE)), rng=rng)
    return made


@dataclass(frozen=True, eq=False)
class TableGANSampler:
    """Ranks and the weights of the generator; drawing needs no torch.

    Attributes:
        schema: The schema of the rows.
        features: The tokens of each feature, one for each code.
        noise: The distribution of the noise.
        weights: Of the generator, by name; and the ``levels`` of what it makes.
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
            made = written(self.weights, noise_of(self.weights, count, self.noise, rng=rng))
            made = made.reshape(count, -1)[:, : len(self.features)]
            return values_of(self.features, ranks_of(made, self.weights["levels"], rng=rng), rng=rng)

        return drawn_rows(draw, n, part=DRAWN_ROWS, schema=self.schema, given=given, generator="tabular.table_gan")

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``table_gan.json`` and ``table_gan.safetensors``."""
        _token_files.write(
            directory,
            "table_gan",
            schema=self.schema,
            features=self.features,
            weights=self.weights,
            facts={"noise": self.noise},
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        schema, features, weights, facts = _token_files.read(directory, "table_gan")
        return cls(schema, features, facts["noise"], weights)


def noise_of(weights: Weights, n: int, noise: str, *, rng: random.Generator) -> Matrix:
    """Return noise (n, latent)."""
    shape = (n, weights["writer.widen.weight"].shape[1])
    if noise == "normal":
        return rng.standard_normal(shape, dtype=np.float32)
    return np.asarray(2 * rng.random(shape, dtype=np.float32) - 1)


def written(weights: Weights, noise: Matrix) -> Matrix:
    """Return the squares (n, 1, s, s) that the generator makes of noise (n, latent)."""
    held = linear(weights, "writer.widen", noise)
    held = held.reshape(len(held), -1, 2, 2)
    for number in range(depth_of(weights, "writer.layers")):
        flat = held.reshape(len(held), -1)
        scale = 1 / np.sqrt(flat.var(axis=1) + np.float32(1e-5))
        held = (held - flat.mean(axis=1)[:, None, None, None]) * scale[:, None, None, None]
        norm = f"writer.norms.{number}"
        held = held * weights[f"{norm}.weight"][:, None, None] + weights[f"{norm}.bias"][:, None, None]
        held = _widened(np.maximum(held, 0), weights[f"writer.layers.{number}.weight"])
        held = held + weights[f"writer.layers.{number}.bias"][:, None, None]
    return np.tanh(held)


def _widened(values: Matrix, kernel: Matrix) -> Matrix:
    """Return what a transposed convolution of stride 2 and padding 1 makes of values (n, c, h, h): (n, o, 2h, 2h)."""
    n, inputs, side, _ = values.shape
    outputs = kernel.shape[1]
    spread = values.transpose(0, 2, 3, 1).reshape(-1, inputs) @ kernel.reshape(inputs, -1)
    spread = spread.reshape(n, side, side, outputs, 4, 4).transpose(0, 3, 1, 2, 4, 5)
    made = np.zeros((n, outputs, 2 * side + 2, 2 * side + 2), dtype=np.float32)
    for down in range(4):
        for right in range(4):
            made[:, :, down : down + 2 * side : 2, right : right + 2 * side : 2] += spread[..., down, right]
    return made[:, :, 1:-1, 1:-1]


GENERATOR = TableGAN
SAMPLER = TableGANSampler
