"""Any-order autoregressive network on discretised columns: it draws any columns given any others.

Under a budget (``epsilon``, ``delta``) it is differentially private: the columns are cut by the public schema, the
heads begin at noisy marginals, and a narrower network is trained by DP-SGD (``_torch.private``).  The guarantee is
(epsilon, delta)-differential privacy for one unit of the schema (a row unless declared otherwise), added or removed.

Source: Tiwald et al. 2025, "TabularARGN: A Flexible and Efficient Auto-Regressive Framework for Generating
    High-Fidelity Synthetic Data" (arXiv:2501.12012), Sec. 3; Uria, Murray & Larochelle 2014, "A Deep and Tractable
    Density Estimator" (arXiv:1310.1757), orders drawn anew; Germain et al. 2015, "MADE" (arXiv:1502.03509), Sec. 4.2.
Differs: contexts are cumulative sums of embeddings and the heads of all columns one batched product, so that a step has
    no loop over networks. A number is two digits of one code, a cell and a place within it, over the knots that the
    other generators keep; within its cell it is embedded between its neighbours, so that near numbers are alike. Part
    of the batches are in one fixed order, in which rows without conditions are drawn. Heads begin at the marginals.
    Rare categories are redistributed, not replaced by a token. Conditions hold exactly; the law of the other columns is
    what the network learnt for that order of columns, and orders agree as far as it learnt: of 3,000 rows, shares of
    other columns were off by .016 in the mean and .14 at most (``benchmarks/conditioning.py``). A condition that allows
    several values is met exactly by the first such column, and by sequential importance resampling from the second on.
    Where the schema names a privacy unit, of none more rows are learnt from than each of ``min_category_count`` units
    has, so that what a larger one has is drawn more seldom.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy import random
from pydantic import Field
from safetensors.numpy import load_file, save_file

from synth_components.conditions import meets
from synth_components.config import KNOTS, MIN_CATEGORY_COUNT, Knots, MinCategoryCount
from synth_components.encode import encode
from synth_components.errors import ArtifactError, ConditionError, StoppedError
from synth_components.generators._torch import require_torch
from synth_components.generators.tabular._cells import Cells, Ints
from synth_components.generators.tabular._codebook import drawn_each
from synth_components.generators.tabular._condition import LEAST_SHARE, Condition, conditions, resampled
from synth_components.generators.tabular._forward import Matrix, Weights, silu, softmax
from synth_components.generators.tabular._grid import Codes, Grid, arrays_of, grids_from, grids_of, plan_of, rows_of
from synth_components.generators.tabular._private import PrivateTraining, begun
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
from synth_components.split import units_of

PARTICLES = 32
"""Candidates per row where more than one column is confined to several values, of which one is returned."""
CONDITIONED_ROWS = 1024
"""Rows with conditions that are drawn at a time: each may have as many candidates."""


class Autoregressive(PrivateTraining):
    """Draw each column from a network given the columns before it, in any order."""

    trains_together: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("torch",)
    is_monitored: ClassVar[bool] = True
    starts_warm: ClassVar[bool] = True
    kept_warm: ClassVar[tuple[str, ...]] = ("hidden", "cells", "knots", "min_category_count")

    hidden: int = Field(128, ge=4, le=4096, description="Width of the network.")
    epochs: int = Field(
        14,
        ge=1,
        le=10_000,
        description="Most passes over the rows. The step size falls to nothing over all of them: far more than are "
        "needed end early, with weights that had not settled.",
    )
    batch_rows: BatchRows = 256
    learning_rate: LearningRate = 4e-3
    dropout: Dropout = 0.2
    weight_decay: WeightDecay = 0.01
    patience: Patience = 10
    holdout_share: HoldoutShare = 0.1
    fixed_order_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the batches in the one order in which rows without conditions are drawn; the rest learn "
        "to draw any columns given any others.",
    )
    cells: int = Field(
        32, ge=2, le=1000, description="Cells of about equal mass into which a number's knots are gathered."
    )
    knots: Knots = KNOTS
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> AutoregressiveSampler:
        """Return the network of ``data``.

        Raises:
            UnsupportedError: if torch is not installed, the device is not there, or a column has no value with enough
                support.
            StoppedError: if ``run`` says so.
            SchemaError: under a budget, if a column is not public.
            BudgetExceededError: if the budget does not pay for the steps; nothing was read.
        """
        require_torch("tabular.autoregressive")
        if ledger.remaining() is not None:
            return self._fit_privately(data, rng=rng, ledger=ledger, run=run)
        from synth_components.generators._torch.any_order import AnyOrderNetwork, losses, tensors_of
        from synth_components.generators._torch.layers import arrays, start_from
        from synth_components.generators._torch.loop import Schedule, train

        ledger.spend("fit tabular.autoregressive", not_private)
        if run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        features = encode(data)
        before = None if run.warm_start is None else load_artifact(run.warm_start).sampler
        if not isinstance(before, AutoregressiveSampler):
            grids = grids_of(features, knots=self.knots, min_count=self.min_category_count)
            cells = [Cells.of(grid, cells=self.cells) for grid in grids]
            order = sorted(range(len(grids)), key=lambda feature: grids[feature].size)
        else:
            grids, cells, order = before.grids, list(before.cells), list(before.order)
        codes = _codes(features.values, grids, rng=rng)
        seeds = [int(seed) for seed in rng.integers(2**62, size=2)]
        network = AnyOrderNetwork(
            cells,
            [grid.mass for grid in grids],
            order,
            hidden=before.width if isinstance(before, AutoregressiveSampler) else self.hidden,
            dropout=self.dropout,
            fixed_order_share=self.fixed_order_share,
            seed=seeds[0],
        )
        if isinstance(before, AutoregressiveSampler):
            start_from(network, before.weights)
        schedule = Schedule.of(self)

        def made() -> AutoregressiveSampler:
            return AutoregressiveSampler(data.schema, grids, tuple(cells), tuple(order), arrays(network))

        held_out = None if run.holdout is None else _codes(encode(run.holdout).values, grids, rng=rng)
        train(
            network,
            tensors_of(cells, codes),
            losses,
            schedule,
            seed=seeds[1],
            recipe=self.canonical(),
            run=run,
            ledger=ledger,
            held_out=None if held_out is None else tensors_of(cells, held_out),
            units=units_of(data),
            least_units=self.min_category_count,
            sampler=made,
        )
        return made()

    def _fit_privately(
        self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run
    ) -> AutoregressiveSampler:
        """Return the network that DP-SGD trains; ``rng`` draws first weights and orders, and no noise."""
        from synth_components.generators._torch.any_order import AnyOrderNetwork, losses, tensors_of
        from synth_components.generators._torch.layers import arrays
        from synth_components.generators._torch.private import PrivateSchedule, train

        start = begun("fit tabular.autoregressive", data, options=self, ledger=ledger, run=run)
        cells = [Cells(np.arange(grid.size), grid.size) for grid in start.grids]
        order = sorted(range(len(cells)), key=lambda feature: cells[feature].codes)
        seeds = [int(seed) for seed in rng.integers(2**62, size=2)]
        network = AnyOrderNetwork(
            cells,
            [grid.mass for grid in start.grids],
            order,
            hidden=self.private_hidden,
            dropout=0.0,
            fixed_order_share=self.fixed_order_share,
            seed=seeds[0],
        )
        network.own.requires_grad_(requires_grad=False)  # no cell has places, so that nothing reads it
        codes = {feature: start.codes[name].astype(np.int32) for feature, name in enumerate(data.schema.columns)}
        schedule = PrivateSchedule.of(self, start)
        train(network, tensors_of(cells, codes), losses, schedule, seed=seeds[1], run=run)
        return AutoregressiveSampler(data.schema, start.grids, tuple(cells), tuple(order), arrays(network))


def _codes(values: Floats, grids: Sequence[Grid], *, rng: random.Generator) -> dict[int, Codes]:
    """Return the codes (n,) of encoded rows by feature."""
    return {feature: grid.codes(values[:, feature], rng=rng) for feature, grid in enumerate(grids)}


@dataclass(frozen=True, eq=False)
class AutoregressiveSampler:
    """Grids, their cells, and the weights of the network; drawing needs no torch.

    Attributes:
        schema: The schema of the rows.
        grids: One per feature.
        cells: One per feature.
        order: The features in the order in which rows without conditions are drawn.
        weights: Of the network, by name.
    """

    schema: Schema
    grids: tuple[Grid, ...]
    cells: tuple[Cells, ...]
    order: tuple[int, ...]
    weights: Weights

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows; values fixed by ``given.rows`` are returned as they are.

        Raises:
            ConditionError: for unknown columns, and conditions that the model gives no mass.
            UnsupportedError: for conditions on integers beyond 2^53.
        """
        if given is None or not given.columns:
            drawn = Drawn.empty(n, len(self.grids), self.width)
            for feature in self.order:
                self._draw(drawn, feature, rng=rng)
            return self._decode(drawn.codes, {}, rng=rng)
        wanted = conditions(given, n, schema=self.schema, grids=self.grids)
        codes = np.zeros((n, len(self.grids)), dtype=np.int32)
        names = list(wanted)
        # Rows with the same columns fixed are drawn together.
        fixed = np.stack([wanted[feature].is_fixed for feature in names], axis=1)
        for pattern in np.unique(fixed, axis=0):
            rows = np.flatnonzero((fixed == pattern).all(axis=1))
            known = [feature for feature, is_fixed in zip(names, pattern, strict=True) if is_fixed]
            for part in np.array_split(rows, -(-len(rows) // CONDITIONED_ROWS)):
                codes[part] = self._conditioned(part, known, wanted, rng=rng)
        made = self._decode(codes, wanted, rng=rng)
        broken = ~meets(made.table, given, self.schema)
        if broken.any():
            raise ConditionError(
                f"the conditions contradict each other, or the schema, in {int(broken.sum())} of {n} rows; mend them",
                columns=given.columns,
            )
        return made

    def _conditioned(
        self, rows: Ints, known: Sequence[int], wanted: Mapping[int, Condition], *, rng: random.Generator
    ) -> Codes:
        """Return the codes (n, w) of rows of which the ``known`` features are fixed.

        These come first in the order, then the features that are confined to some values, then the others.  Of the
        confined ones the first is drawn from its law given the known ones; each further one weighs the candidates by
        the probability that it lies within.

        Source: Doucet, de Freitas & Gordon 2001, "Sequential Monte Carlo Methods in Practice", Sec. 1.3.
        """
        confined = [f for f in self.order if f in wanted and f not in known and not wanted[f].is_free]
        copies = PARTICLES if len(confined) > 1 else 1
        drawn = Drawn.empty(len(rows) * copies, len(self.grids), self.width)
        for feature in known:
            self._put(drawn, feature, np.repeat(wanted[feature].codes[rows], copies))
        for number, feature in enumerate(confined):
            weight = self._draw(drawn, feature, rng=rng, share=wanted[feature].share)
            if number:
                drawn = drawn.take(resampled(weight.reshape(len(rows), copies), copies, rng=rng))
        # After a resampling all candidates of a row weigh the same: any one is a draw.
        drawn = drawn.take(np.arange(len(rows)) * copies + rng.integers(copies, size=len(rows)))
        for feature in self.order:
            if feature not in known and feature not in confined:
                self._draw(drawn, feature, rng=rng)
        return drawn.codes

    def _draw(self, drawn: Drawn, feature: int, *, rng: random.Generator, share: Floats | None = None) -> Floats:
        """Draw one feature of the rows given those before it; return the probability (n,) of what is allowed.

        Args:
            share: The part (size,) of each code that is allowed; ``None`` allows everything.
        """
        cells, n = self.cells[feature], len(drawn.codes)
        chances = softmax(self._logits(drawn.context, feature))  # (n, g)
        placed = np.ones((len(cells.first), cells.places)) if share is None else cells.by_place(share, absent=0.0)
        if share is not None:
            chances = self._allowed(chances, drawn.context, feature, placed)
        cell = drawn_each(chances, rng=rng)
        mass = np.cumsum(chances, axis=1, dtype=np.float64)[:, -1]
        place = np.zeros(n, dtype=np.int64)
        if feature in self._head:
            place = drawn_each(self._places(drawn.context, feature, cell) * placed[cell], rng=rng)
        self._put(drawn, feature, cells.join(cell, place))
        return mass

    def _allowed(self, chances: Matrix, context: Matrix, feature: int, placed: Floats) -> Matrix:
        """Return the probabilities (n, g) that a row's value lies in a cell and is allowed, never quite nothing."""
        cells, grid = self.cells[feature], self.grids[feature]
        exists = cells.by_place(np.ones(cells.codes), absent=0.0)
        made = chances * (placed.max(axis=1) > 0)
        # Only cells that are allowed in part need their places.
        for cell in np.flatnonzero((placed.max(axis=1) > 0) & (placed != exists).any(axis=1)):
            if feature not in self._head:
                made[:, cell] *= placed[cell, 0]
                continue
            within = self._places(context, feature, np.full(len(context), cell))
            made[:, cell] *= within @ placed[cell]
        ever = (cells.by_place(grid.mass, absent=0.0) * placed).sum(axis=1)
        return np.asarray((1 - LEAST_SHARE) * made + LEAST_SHARE * ever)

    def _put(self, drawn: Drawn, feature: int, codes: Codes) -> None:
        """Write a feature's codes, and add what they mean to the context."""
        cell, place = self.cells[feature].split(codes)
        position = self.cells[feature].position(cell, place)[:, None]
        index = cell + self._starts[feature]
        low, high = self.weights["embedding"][index], self.weights["embedding"][index + 1]
        drawn.codes[:, feature] = codes
        np.add(drawn.context, low + position * (high - low), out=drawn.context)

    def _logits(self, context: Matrix, head: int) -> Matrix:
        """Return the logits (n, k) of one head, but for its prior by cell."""
        weights = self.weights
        hidden = silu(context + weights["bias"][head])
        hidden = hidden + silu(hidden @ weights["weight"][head] + weights["inner_bias"][head])
        logits: Matrix = hidden @ weights[f"out.{head}"].T
        return logits + weights[f"prior.{head}"] if head < len(self.grids) else logits

    def _places(self, context: Matrix, feature: int, cell: Ints) -> Matrix:
        """Return the probabilities (n, places) of the places within the rows' cells."""
        head = self._head[feature]
        logits = self._logits(context + self.weights["own"][cell + self._starts[feature]], head)
        return softmax(logits + self.weights[f"prior.{head}"][cell])

    @property
    def width(self) -> int:
        """The width of the network."""
        return int(self.weights["bias"].shape[-1])

    @cached_property
    def _starts(self) -> Ints:
        """Where each feature's cells begin among the embeddings."""
        return np.cumsum([0, *(len(one.first) for one in self.cells[:-1])])

    @cached_property
    def _head(self) -> dict[int, int]:
        """The head for the places of each feature that has any."""
        placed = [feature for feature, one in enumerate(self.cells) if one.places > 1]
        return {feature: len(self.cells) + number for number, feature in enumerate(placed)}

    def _decode(self, codes: Codes, wanted: Mapping[int, Condition], *, rng: random.Generator) -> Dataset:
        values = np.empty(codes.shape)
        for feature, grid in enumerate(self.grids):
            condition = wanted.get(feature)
            values[:, feature] = (
                grid.values(codes[:, feature], rng=rng)
                if condition is None
                else condition.values(grid, codes[:, feature], rng=rng)
            )
        return rows_of(values, self.schema)

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``autoregressive.json`` and ``autoregressive.safetensors``."""
        (directory / "schema.json").write_text(self.schema.canonical(), encoding="utf-8")
        plan = {"order": list(self.order), **plan_of(self.grids)}
        (directory / "autoregressive.json").write_text(json.dumps(plan, sort_keys=True), encoding="utf-8")
        arrays = arrays_of(self.grids)
        arrays |= {f"weight.{name}": array for name, array in self.weights.items()}
        arrays |= {f"cells.{feature}": one.first for feature, one in enumerate(self.cells)}
        save_file(arrays, directory / "autoregressive.safetensors")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        schema = Schema.from_json(json.loads((directory / "schema.json").read_text(encoding="utf-8")))
        plan = json.loads((directory / "autoregressive.json").read_text(encoding="utf-8"))
        arrays = load_file(directory / "autoregressive.safetensors")
        grids = grids_from(plan, arrays, schema, file="autoregressive.json")
        if sorted(plan["order"]) != list(range(len(grids))):
            raise ArtifactError("autoregressive.json does not fit schema.json: the model was altered; save it anew")
        cells = tuple(Cells(arrays[f"cells.{feature}"], grid.size) for feature, grid in enumerate(grids))
        weights = {name.removeprefix("weight."): held for name, held in arrays.items() if name.startswith("weight.")}
        return cls(schema, grids, cells, tuple(plan["order"]), weights)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Rows of which some features are drawn.

    Attributes:
        codes: (n, w) codes of those.
        context: (n, hidden) the sum of what they mean to the others.
    """

    codes: Codes
    context: Matrix

    @classmethod
    def empty(cls, n: int, width: int, hidden: int) -> Self:
        """Return ``n`` rows of which nothing is drawn yet."""
        return cls(np.zeros((n, width), dtype=np.int32), np.zeros((n, hidden), dtype=np.float32))

    def take(self, rows: Ints) -> Drawn:
        """Return some of the rows."""
        return Drawn(self.codes[rows], self.context[rows])


GENERATOR = Autoregressive
SAMPLER = AutoregressiveSampler
