"""Joint diffusion of a row: categories and frequent values are masked, other numbers drowned in noise, and recovered.

Under a budget (``epsilon``, ``delta``) it is differentially private: the columns are cut by the public schema, the
network begins at noisy marginals, and a smaller one is trained by DP-SGD (``_torch.private``).  The guarantee is
(epsilon, delta)-differential privacy for one unit of the schema (a row unless declared otherwise), added or removed.

Source: Shi et al. 2025, "TabDiff: a Mixed-type Diffusion Model for Tabular Data Generation" (arXiv:2410.20626), Sec. 3;
    Kotelnikov et al. 2023, "TabDDPM" (arXiv:2209.15421), the network of residual layers; Karras et al. 2022, "EDM"
    (arXiv:2206.00364), the noise of numbers; Sahoo et al. 2024, "MDLM" (arXiv:2406.07524), the masks of categories.
Differs: a number that many rows share, and null, are categories beside the others, so that they come back exactly; the
    rest is its normal rank among the knots that the other generators keep.  One schedule for all features, not one
    learnt for each.  A row's features are masked in a random order evenly over time, so that few are unmasked in one
    step, each given the last.  The network is of residual layers over sums of embeddings, without the transformers
    before and after it.  AdamW with a step size that falls to nothing; the average of the weights has the published
    decay, and less of it in the first steps.  Numbers follow the ordinary differential equation by steps of second
    order (Lu et al. 2022, "DPM-Solver++", arXiv:2211.01095, Algorithm 2), without added noise.  Rare categories are
    redistributed.  Conditions are met by drawing rows and keeping those that fit: to hold the known features while the
    others are recovered would only approximate the law given them, since what is recovered early was not told of what
    it has to agree with.  Where the schema names a privacy unit, of none more rows are learnt from than each of
    ``min_category_count`` units has, so that what a larger one has is drawn more seldom.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy import random
from pydantic import Field

from synth_components.config import KNOTS, MIN_CATEGORY_COUNT, Knots, MinCategoryCount
from synth_components.encode import encode
from synth_components.errors import StoppedError
from synth_components.generators._torch import require_torch
from synth_components.generators.tabular import _token_files
from synth_components.generators.tabular._codebook import drawn_each
from synth_components.generators.tabular._diffusion import SIGMA_MIN, sigma_of, time_features
from synth_components.generators.tabular._forward import Ints, Matrix, Weights, body, depth_of, linear, silu, softmax
from synth_components.generators.tabular._grid import grids_of
from synth_components.generators.tabular._private import PrivateDepth, PrivateTraining, begun
from synth_components.generators.tabular._tokens import Tokens, drawn_rows, join_rows, scored, tokens_of
from synth_components.generators.tabular._training import (
    BatchRows,
    Dropout,
    Ema,
    HoldoutShare,
    LearningRate,
    Patience,
    WeightDecay,
)
from synth_components.io.artifact import load as load_artifact
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Floats, Given, PrivacyLedger, Run
from synth_components.schema import Schema
from synth_components.split import units_of

DRAWN_ROWS = 4096
"""Rows that are denoised at a time: what they take in memory does not grow with what is asked for."""


class Diffusion(PrivateTraining):
    """Recover each row from masks and noise, by a network that learnt to undo both."""

    needs: ClassVar[tuple[str, ...]] = ("torch",)
    trains_together: ClassVar[bool] = True
    is_monitored: ClassVar[bool] = True
    starts_warm: ClassVar[bool] = True
    kept_warm: ClassVar[tuple[str, ...]] = ("hidden", "depth", "knots", "min_category_count")

    hidden: int = Field(256, ge=4, le=4096, description="Width of the network.")
    depth: int = Field(3, ge=1, le=32, description="Residual blocks of the network.")
    epochs: int = Field(
        60,
        ge=1,
        le=10_000,
        description="Most passes over the rows. The step size falls to nothing over all of them.",
    )
    batch_rows: BatchRows = 512
    learning_rate: LearningRate = 2e-3
    dropout: Dropout = 0.0
    weight_decay: WeightDecay = 0.01
    patience: Patience = 15
    holdout_share: HoldoutShare = 0.05
    ema: Ema = 0.997
    steps: int = Field(
        40,
        ge=1,
        le=1000,
        description="Steps from noise to a row, as many as there are features if these are more. More take longer and "
        "are closer to what was learnt.",
    )
    knots: Knots = KNOTS
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT
    private_depth: PrivateDepth = 1

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> DiffusionSampler:
        """Return the denoiser of ``data``.

        Raises:
            UnsupportedError: if torch is not installed, the device is not there, or a column has no value with enough
                support.
            StoppedError: if ``run`` says so.
            SchemaError: under a budget, if a column is not public.
            BudgetExceededError: if the budget does not pay for the steps; nothing was read.
        """
        require_torch("tabular.diffusion")
        if ledger.remaining() is not None:
            return self._fit_privately(data, rng=rng, ledger=ledger, run=run)

        from synth_components.generators._torch.denoiser import RowDenoiser, row_loss
        from synth_components.generators._torch.layers import arrays, start_from
        from synth_components.generators._torch.loop import Schedule, train
        from synth_components.generators._torch.token_rows import token_rows

        ledger.spend("fit tabular.diffusion", not_private)
        if run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        features = encode(data)
        before = None if run.warm_start is None else load_artifact(run.warm_start).sampler
        if isinstance(before, DiffusionSampler):
            tokens = before.features
            hidden, depth = len(before.weights["body.norm.weight"]), depth_of(before.weights, "body.first")
        else:
            tokens = tokens_of(grids_of(features, knots=self.knots, min_count=self.min_category_count), cells=1)
            hidden, depth = self.hidden, self.depth
        rows, held_out = token_rows(tokens, features.values, run.holdout, rng=rng)
        seeds = [int(seed) for seed in rng.integers(2**62, size=2)]
        network = RowDenoiser(tokens, hidden=hidden, depth=depth, dropout=self.dropout, seed=seeds[0])
        if isinstance(before, DiffusionSampler):
            start_from(network, before.weights)

        def made() -> DiffusionSampler:
            return DiffusionSampler(data.schema, tokens, self.steps, arrays(network))

        schedule = Schedule.of(self)
        train(
            network,
            rows,
            row_loss,
            schedule,
            seed=seeds[1],
            recipe=self.canonical(),
            run=run,
            ledger=ledger,
            held_out=held_out,
            units=units_of(data),
            least_units=self.min_category_count,
            sampler=made,
        )
        return made()

    def _fit_privately(
        self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run
    ) -> DiffusionSampler:
        """Return the denoiser that DP-SGD trains; ``rng`` draws first weights and masks, and no noise for privacy."""
        from synth_components.generators._torch.denoiser import RowDenoiser, row_loss
        from synth_components.generators._torch.layers import arrays
        from synth_components.generators._torch.private import PrivateSchedule, train
        from synth_components.generators._torch.token_rows import counted_rows

        start = begun("fit tabular.diffusion", data, options=self, ledger=ledger, run=run)
        seeds = [int(seed) for seed in rng.integers(2**62, size=2)]
        network = RowDenoiser(
            start.tokens, hidden=self.private_hidden, depth=self.private_depth, dropout=0.0, seed=seeds[0]
        )
        schedule = PrivateSchedule.of(self, start)
        train(network, counted_rows(start), row_loss, schedule, seed=seeds[1], run=run)
        return DiffusionSampler(data.schema, start.tokens, self.steps, arrays(network))


@dataclass(frozen=True, eq=False)
class DiffusionSampler:
    """Tokens and the weights of the denoiser; drawing needs no torch.

    Attributes:
        schema: The schema of the rows.
        features: The tokens of each feature.
        steps: From noise to a row.
        weights: Of the denoiser, by name.
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
            return join_rows(self.features, *self._denoised(count, rng=rng), rng=rng)

        return drawn_rows(draw, n, part=DRAWN_ROWS, schema=self.schema, given=given, generator="tabular.diffusion")

    def _denoised(self, n: int, *, rng: random.Generator) -> tuple[Ints, Matrix]:
        """Return tokens (n, d) and scores (n, m) recovered from masks and noise."""
        table, features = self.weights["read.table.weight"], self.features
        d, having = len(features), scored(features)
        counts = [len(one.mass) for one in features]
        starts = np.cumsum([0, *counts])
        known_at = (rng.random((n, d)).argsort(axis=1).argsort(axis=1) + rng.random((n, 1))) / d
        tokens = np.zeros((n, d), dtype=np.int64)
        is_open = np.ones((n, len(having)), dtype=np.float32)
        context = np.repeat(table[starts[-1] :].sum(axis=0, keepdims=True), n, axis=0)  # every feature is masked
        times = np.linspace(1.0, 0.0, max(self.steps, d) + 1)
        sigmas = np.append(sigma_of(times[:-1]), 0.0).astype(np.float32)
        scores = np.sqrt(sigmas[0] ** 2 + 1) * rng.standard_normal((n, len(having)), dtype=np.float32)
        before, slope, width = scores, np.zeros_like(scores), np.float32(1.0)
        is_new = np.ones(n, dtype=bool)  # whether a feature of a row was unmasked in the last step
        for time, after, sigma, lower in zip(times[:-1], times[1:], sigmas[:-1], sigmas[1:], strict=True):
            hidden = self._hidden(context, scores / np.sqrt(sigma**2 + 1) * is_open, float(time))
            logits_and_scores = linear(self.weights, "write", hidden)
            if having:
                network = logits_and_scores[:, starts[-1] :]
                clean = scores / (sigma**2 + 1) + network * (sigma / np.sqrt(sigma**2 + 1))
                # What was unmasked moves the estimate at once, and says nothing of where it goes on its own.
                slope = np.where(is_new[:, None], slope, (clean - before) / width)
                before, width = clean, np.log(sigma / np.maximum(lower, np.float32(SIGMA_MIN)))
                ahead = clean + slope * (width / 2) if lower else clean
                scores = ahead + (lower / sigma) * (scores - ahead)
            is_new[:] = False
            for feature in range(d):
                rows = np.flatnonzero((known_at[:, feature] >= after) & (known_at[:, feature] < time))
                if len(rows) == 0:
                    continue
                chances = softmax(logits_and_scores[rows, starts[feature] : starts[feature + 1]])
                token = drawn_each(chances, rng=rng)
                tokens[rows, feature] = token
                is_new[rows] = True
                context[rows] += table[starts[feature] + token] - table[starts[-1] + feature]
                if feature in having:
                    is_open[rows, having.index(feature)] = features[feature].is_scored[token]
        return tokens, scores

    def _hidden(self, context: Matrix, scores: Matrix, time: float) -> Matrix:
        """Return the last hidden layer (n, h) of the denoiser."""
        weights = self.weights
        told = linear(weights, "clock.first", time_features(np.array([time])))
        held = context + linear(weights, "clock.second", silu(told))
        if scores.shape[1]:
            held = held + linear(weights, "read.scores", scores)
        return body(weights, "body", held)

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``diffusion.json`` and ``diffusion.safetensors``."""
        _token_files.write(
            directory,
            "diffusion",
            schema=self.schema,
            features=self.features,
            weights=self.weights,
            facts={"steps": self.steps},
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        schema, features, weights, facts = _token_files.read(directory, "diffusion")
        return cls(schema, features, int(facts["steps"]), weights)


GENERATOR = Diffusion
SAMPLER = DiffusionSampler
