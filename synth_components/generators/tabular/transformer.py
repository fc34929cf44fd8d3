"""Causal transformer over the columns of a row: each is a token, drawn given those before it.

Source: Vaswani et al. 2017, "Attention Is All You Need" (arXiv:1706.03762), Sec. 3, the decoder; Padhi et al. 2021,
    "Tabular Transformers for Modeling Multivariate Time Series" (arXiv:2011.01843), Sec. 3, columns as tokens, numbers
    in quantiles; Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture" (arXiv:2002.04745).
Differs: one row is one sequence, of as many tokens as there are features, each with a vocabulary of its own; sequences
    of rows are not modelled.  The number within its quantile is normal by rank, with a mean and a deviation that depend
    on what came before.  Normalisation comes before attention, and units are SiLU.  Features are drawn in the order of
    their number of tokens, fewest first.  Rare categories are redistributed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy import random
from numpy.typing import NDArray
from pydantic import Field

from synth_components.config import KNOTS, MIN_CATEGORY_COUNT, ConfigError, Knots, MinCategoryCount, Recipe
from synth_components.encode import encode
from synth_components.errors import StoppedError
from synth_components.generators._torch import require_torch
from synth_components.generators.tabular import _token_files
from synth_components.generators.tabular._codebook import drawn_each
from synth_components.generators.tabular._forward import Matrix, Weights, linear, normalised, silu, softmax
from synth_components.generators.tabular._grid import grids_of
from synth_components.generators.tabular._tokens import (
    NARROWEST,
    WIDEST,
    Tokens,
    drawn_rows,
    join_rows,
    scored,
    split_rows,
    tokens_of,
)
from synth_components.generators.tabular._training import BatchRows, HoldoutShare, LearningRate, Patience, WeightDecay
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Floats, Given, PrivacyLedger, Run
from synth_components.schema import Schema

DRAWN_ROWS = 2048
"""Rows that are drawn at a time: what they take in memory does not grow with what is asked for."""


class Transformer(Recipe):
    """Draw each column from a causal transformer over the columns before it."""

    trains_together: ClassVar[bool] = True
    is_monitored: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("torch",)

    hidden: int = Field(64, ge=4, le=4096, description="Width of the network, a multiple of the heads.")
    depth: int = Field(2, ge=1, le=32, description="Layers of attention.")
    heads: int = Field(4, ge=1, le=64, description="Heads of each layer of attention.")
    epochs: int = Field(
        30,
        ge=1,
        le=10_000,
        description="Most passes over the rows. The step size falls to nothing over all of them.",
    )
    batch_rows: BatchRows = 512
    learning_rate: LearningRate = 2e-3
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Privacy knob: share of what each layer adds that is left out at each step."
    )
    weight_decay: WeightDecay = 0.01
    patience: Patience = 6
    holdout_share: HoldoutShare = 0.1
    cells: int = Field(32, ge=1, le=1000, description="Quantiles of the numbers of a column that few rows share.")
    knots: Knots = KNOTS
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> TransformerSampler:
        """Return the network of ``data``.

        Raises:
            ConfigError: if the width is no multiple of the heads.
            UnsupportedError: if torch is not installed, the device is not there, or a column has no value with enough
                support.
            StoppedError: if ``run`` says so.
        """
        require_torch("tabular.transformer")
        import torch

        from synth_components.generators._torch.causal import CausalTransformer, causal_loss
        from synth_components.generators._torch.layers import arrays
        from synth_components.generators._torch.loop import Schedule, train

        if self.hidden % self.heads:
            raise ConfigError(
                f"option 'hidden': {self.hidden} is no multiple of the {self.heads} heads", option="hidden"
            )
        ledger.spend("fit tabular.transformer", not_private)
        if run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        features = encode(data)
        tokens = tokens_of(grids_of(features, knots=self.knots, min_count=self.min_category_count), cells=self.cells)
        order = np.argsort([len(one.mass) for one in tokens], kind="stable")

        def rows_from(values: Floats) -> list[torch.Tensor]:
            return [torch.from_numpy(p) for p in split_rows([tokens[f] for f in order], values[:, order], rng=rng)]

        rows = rows_from(features.values)
        held_out = None if run.holdout is None else rows_from(encode(run.holdout).values)
        seeds = [int(seed) for seed in rng.integers(2**62, size=2)]
        network = CausalTransformer(
            [tokens[feature] for feature in order],
            hidden=self.hidden,
            depth=self.depth,
            heads=self.heads,
            dropout=self.dropout,
            seed=seeds[0],
        )

        def made() -> TransformerSampler:
            return TransformerSampler(data.schema, tokens, order, self.heads, arrays(network))

        schedule = Schedule.of(self)
        train(
            network,
            rows,
            causal_loss,
            schedule,
            seed=seeds[1],
            recipe=self.canonical(),
            run=run,
            ledger=ledger,
            held_out=held_out,
            sampler=made,
        )
        return made()


@dataclass(frozen=True, eq=False)
class TransformerSampler:
    """Tokens and the weights of the network; drawing needs no torch.

    Attributes:
        schema: The schema of the rows.
        features: The tokens of each feature.
        order: The features in the order in which they are drawn.
        heads: Of each layer of attention.
        weights: Of the network, by name.
    """

    schema: Schema
    features: tuple[Tokens, ...]
    order: NDArray[np.int64]
    heads: int
    weights: Weights

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows.

        Raises:
            UnsupportedError: for any condition; ``Model`` resamples instead.
        """

        def draw(count: int) -> Floats:
            return self._drawn(count, rng=rng)

        return drawn_rows(draw, n, part=DRAWN_ROWS, schema=self.schema, given=given, generator="tabular.transformer")

    def _drawn(self, n: int, *, rng: random.Generator) -> Floats:
        """Return encoded rows (n, d), feature by feature."""
        weights, features = self.weights, [self.features[feature] for feature in self.order]
        having, d = scored(features), len(features)
        attention = Attention(weights, n, d, self.heads)
        tokens = np.zeros((n, d), dtype=np.int64)
        scores = np.zeros((n, len(having)), dtype=np.float32)
        told: Matrix = np.zeros((n, attention.hidden), dtype=np.float32)
        start = 0
        for place, one in enumerate(features):
            state = attention.state(told + weights["place.weight"][:, place] + weights["place.bias"])
            where = slice(start, start + len(one.mass))
            logits = state @ weights["write.weight"][where].T + weights["write.bias"][where]
            tokens[:, place] = drawn_each(softmax(logits), rng=rng)
            told = weights["token.weight"].T[start + tokens[:, place]] + weights["token.bias"]
            start = where.stop
            if place in having:
                number, m = having.index(place), len(having)
                rows = [number, m + number]
                law = silu(state + told) @ weights["law.weight"][rows].T + weights["law.bias"][rows]
                noise = rng.standard_normal(n, dtype=np.float32)
                scores[:, number] = law[:, 0] + np.exp(np.clip(law[:, 1], NARROWEST, WIDEST)) * noise
                is_open = one.is_scored[tokens[:, place]].astype(np.float32)
                told = told + (scores[:, number] * is_open)[:, None] * weights["score.weight"][:, number]
        values = np.empty((n, d))
        values[:, self.order] = join_rows(features, tokens, scores, rng=rng)
        return values

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``transformer.json`` and ``transformer.safetensors``."""
        _token_files.write(
            directory,
            "transformer",
            schema=self.schema,
            features=self.features,
            weights=self.weights,
            facts={"heads": self.heads, "order": [int(feature) for feature in self.order]},
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        schema, features, weights, facts = _token_files.read(directory, "transformer")
        return cls(schema, features, np.array(facts["order"], dtype=np.int64), int(facts["heads"]), weights)


class Attention:
    """The layers of the network, fed one place of every row at a time; what earlier places said is kept.

    Attributes:
        hidden: Width of the network.
    """

    hidden: int

    def __init__(self, weights: Weights, n: int, d: int, heads: int) -> None:
        self._weights, self._heads, self._place = weights, heads, 0
        self.hidden = len(weights["norm.weight"])
        depth = sum(key.startswith("queries.") and key.endswith(".bias") for key in weights)
        shape = (depth, n, heads, d, self.hidden // heads)
        self._keys, self._values = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)

    def state(self, held: Matrix) -> Matrix:
        """Return the hidden state (n, h) of the next place, given what stands there (n, h)."""
        weights, n, reach = self._weights, len(held), self._place + 1
        for number in range(len(self._keys)):
            parts = linear(weights, f"queries.{number}", normalised(weights, f"attended.{number}", held))
            query, key, value = parts.reshape(n, 3, self._heads, -1).transpose(1, 0, 2, 3)  # (n, heads, k) each
            self._keys[number, :, :, self._place], self._values[number, :, :, self._place] = key, value
            keys, values = self._keys[number, :, :, :reach], self._values[number, :, :, :reach]
            closeness = (keys @ query[..., None])[..., 0] / np.float32(np.sqrt(query.shape[-1]))  # (n, heads, reach)
            share = np.exp(closeness - closeness.max(axis=2, keepdims=True))
            share = share / share.sum(axis=2, keepdims=True)
            seen = (share[:, :, None, :] @ values)[:, :, 0].reshape(n, -1)
            held = held + linear(weights, f"mixed.{number}", seen)
            wide = silu(linear(weights, f"first.{number}", normalised(weights, f"norms.{number}", held)))
            held = held + linear(weights, f"second.{number}", wide)
        self._place = reach
        return normalised(weights, "norm", held)


GENERATOR = Transformer
SAMPLER = TransformerSampler
