"""Causal transformer over the columns of a row: each is a token, drawn given those before it.

Where a column tells sequences apart, or orders their rows, a row is drawn given the rows before it in its sequence.

Under a budget (``epsilon``, ``delta``) it is differentially private: the columns are cut by the public schema, the
network begins at noisy marginals, and a smaller one is trained by DP-SGD (``_torch.private``).  The guarantee is
(epsilon, delta)-differential privacy for one unit of the schema (a row unless declared otherwise), added or removed.
Sequences are not learnt under a budget.

Source: Vaswani et al. 2017, "Attention Is All You Need" (arXiv:1706.03762), Sec. 3, the decoder; Padhi et al. 2021,
    "Tabular Transformers for Modeling Multivariate Time Series" (arXiv:2011.01843), Sec. 3, columns as tokens, numbers
    in quantiles, rows as vectors; Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture"
    (arXiv:2002.04745).
Differs: a row is as many tokens as there are features, each with a vocabulary of its own; each of the ``order`` rows
    before it in its sequence is one more, made from the sum of its embeddings, not by a transformer of its own.  The
    number within its quantile is normal by rank, with a mean and a deviation that depend on what came before.
    Normalisation comes before attention, and units are SiLU.  Features are drawn in the order of their number of
    tokens, fewest first.  Rare categories are redistributed.  Lengths, first times and gaps of sequences are drawn from
    their marginals.  Conditions on rows of sequences are met row by row, by importance sampling among ``CANDIDATES`` of
    each row, without looking ahead to later rows.  Where the schema names a privacy unit, of none more rows are learnt
    from, but as what comes before others, than each of ``min_category_count`` units has, so that what a larger one has
    is drawn more seldom.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy import random
from numpy.typing import NDArray
from pydantic import Field

from synth_components.conditions import meets
from synth_components.config import (
    KNOTS,
    MIN_CATEGORY_COUNT,
    OF_SEQUENCES,
    SAFER_UP,
    ConfigError,
    Knots,
    MinCategoryCount,
    Sought,
)
from synth_components.encode import encode
from synth_components.errors import BudgetExceededError, ConditionError, UnsupportedError
from synth_components.generators._torch import require_torch
from synth_components.generators.tabular import _token_files
from synth_components.generators.tabular._codebook import drawn_by_row, drawn_each, stop_if_asked
from synth_components.generators.tabular._condition import LEAST_SHARE, Condition, conditions
from synth_components.generators.tabular._forward import Matrix, Weights, depth_of, linear, normalised, silu, softmax
from synth_components.generators.tabular._grid import grids_of, rows_of
from synth_components.generators.tabular._private import PrivateDepth, PrivateTraining, begun
from synth_components.generators.tabular._sequences import (
    Group,
    InitialState,
    Length,
    OrderBy,
    Ordered,
    Part,
    Sequences,
    few_ordered_rows,
    in_sequence,
    order_of,
    require_sequences,
)
from synth_components.generators.tabular._tokens import (
    NARROWEST,
    WIDEST,
    Ints,
    Tokens,
    drawn_rows,
    join_rows,
    scored,
    split_rows,
    tokens_of,
)
from synth_components.generators.tabular._training import BatchRows, HoldoutShare, LearningRate, Patience, WeightDecay
from synth_components.io.artifact import load as load_artifact
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Floats, Given, PrivacyLedger, Run
from synth_components.schema import Schema
from synth_components.split import units_of

DRAWN_ROWS = 2048
"""Rows that are drawn at a time: what they take in memory does not grow with what is asked for."""
CANDIDATES = 16
"""Rows that are drawn for each one with conditions, of which one is taken."""


class Transformer(PrivateTraining):
    """Draw each column from a causal transformer over the columns before it."""

    trains_together: ClassVar[bool] = True
    is_monitored: ClassVar[bool] = True
    starts_warm: ClassVar[bool] = True
    kept_warm: ClassVar[tuple[str, ...]] = ("hidden", "depth", "heads", "order", "cells", "knots", "min_category_count")
    needs: ClassVar[tuple[str, ...]] = ("torch",)

    hidden: Annotated[int, Sought(multiple_of="heads")] = Field(
        64, ge=4, le=4096, description="Width of the network, a multiple of the heads."
    )
    depth: int = Field(2, ge=1, le=32, description="Layers of attention.")
    heads: Annotated[int, Sought(values=(1, 2, 4, 8))] = Field(
        4, ge=1, le=64, description="Heads of each layer of attention."
    )
    epochs: int = Field(
        30,
        ge=1,
        le=10_000,
        description="Most passes over the rows. The step size falls to nothing over all of them.",
    )
    batch_rows: BatchRows = 512
    learning_rate: LearningRate = 2e-3
    dropout: Annotated[float, SAFER_UP] = Field(
        0.1, ge=0, lt=1, description="Privacy knob: share of what each layer adds that is left out at each step."
    )
    weight_decay: WeightDecay = 0.01
    patience: Patience = 6
    holdout_share: HoldoutShare = 0.1
    order: Annotated[int, OF_SEQUENCES] = Field(
        8,
        ge=1,
        le=256,
        description="Rows before, in the same sequence, that a row depends on. Where neither group nor order_by nor "
        "the schema's order tells of sequences, rows are independent.",
    )
    group: Group = ""
    order_by: OrderBy = ""
    length: Length = 0
    initial_state: InitialState = Field(default_factory=dict)
    cells: int = Field(32, ge=1, le=1000, description="Quantiles of the numbers of a column that few rows share.")
    knots: Knots = KNOTS
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT
    private_depth: PrivateDepth = 1

    def one_sequence(self, schema: Schema) -> str | None:
        """Return the column by which all rows are one sequence; ``None`` for several sequences, or none."""
        return None if self.group else order_of(schema, self.order_by) or None

    def doubts(self, schema: Schema, rows: int) -> tuple[str, ...]:
        """Return what speaks against a fit of sequences on few rows."""
        told = few_ordered_rows(rows) if self.learns_sequences(schema) else ""
        return (told,) if told else ()

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> TransformerSampler:
        """Return the network of ``data``.

        Raises:
            ConfigError: if the width is no multiple of the heads, or an option is about sequences and there are none.
            UnsupportedError: if torch is not installed, the device is not there, a column has no value with enough
                support, or the model to go on from has other sequences.
            SchemaError: if there is no column ``group`` or ``order_by`` of a fit kind.
            ConditionError: if ``initial_state`` does not fit the schema, or the model gives it no mass.
            StoppedError: if ``run`` says so.
            SchemaError: under a budget, if a column is not public.
            BudgetExceededError: if the budget does not pay for the steps, or for sequences, as none does.
        """
        require_torch("tabular.transformer")
        if ledger.remaining() is not None:
            return self._fit_privately(data, rng=rng, ledger=ledger, run=run)
        import torch

        from synth_components.generators._torch.causal import CausalTransformer, causal_loss, placed
        from synth_components.generators._torch.layers import arrays, start_from
        from synth_components.generators._torch.loop import Schedule, train

        self._require_heads("hidden", self.hidden)
        ledger.spend("fit tabular.transformer", not_private)
        stop_if_asked(run)
        ordered = self._ordered(data)
        learnt = data if ordered is None else ordered.rows
        features = encode(learnt)
        before = self._before(run, data)
        if before is None:
            grids = grids_of(features, knots=self.knots, min_count=self.min_category_count)
            tokens = tokens_of(grids, cells=self.cells)
        else:
            tokens = before.features
            grids = tuple(one.grid for one in tokens)
        shape = Shape(self.hidden, self.depth, self.heads, self.order) if before is None else before.shape
        order = np.argsort([len(one.mass) for one in tokens], kind="stable")
        sequences = None
        if ordered is not None:
            sequences = Sequences.of(
                data,
                ordered,
                grids,
                group=self.group,
                order_by=order_of(data.schema, self.order_by),
                length=self.length,
                initial_state=self.initial_state,
                knots=self.knots,
                min_count=self.min_category_count,
            )

        def rows_from(values: Floats) -> list[torch.Tensor]:
            return [torch.from_numpy(p) for p in split_rows([tokens[f] for f in order], values[:, order], rng=rng)]

        rows = rows_from(features.values)
        beside = None if run.holdout is None else self._ordered(run.holdout)
        apart = run.holdout if beside is None else beside.rows
        held_out = None if apart is None else rows_from(encode(apart).values)
        owners = units_of(learnt)
        seeds = [int(seed) for seed in rng.integers(2**62, size=2)]
        network = CausalTransformer(
            [tokens[feature] for feature in order],
            hidden=shape.hidden,
            depth=shape.depth,
            heads=shape.heads,
            dropout=self.dropout,
            seed=seeds[0],
            order=0 if ordered is None else shape.order,
        )
        if before is not None:
            start_from(network, before.weights)
        if ordered is not None:
            ages = ordered.age, ordered.age[:0] if beside is None else beside.age
            share = self.holdout_share if owners is None else 0.0  # the loop sets units apart, of whole sequences
            rows, held_out = placed(network, rows, ages[0], held_out, ages[1], share=share)

        def made() -> TransformerSampler:
            return TransformerSampler(learnt.schema, tokens, order, shape.heads, arrays(network), sequences)

        train(
            network,
            rows,
            causal_loss,
            Schedule.of(self),
            seed=seeds[1],
            recipe=self.canonical(),
            run=run,
            ledger=ledger,
            held_out=held_out,
            units=owners,
            least_units=self.min_category_count,
            sampler=made,
        )
        return made()

    def _fit_privately(
        self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run
    ) -> TransformerSampler:
        """Return the network that DP-SGD trains; ``rng`` draws first weights, and no noise."""
        from synth_components.generators._torch.causal import CausalTransformer, causal_loss
        from synth_components.generators._torch.layers import arrays
        from synth_components.generators._torch.private import PrivateSchedule, train
        from synth_components.generators._torch.token_rows import counted_rows

        self._require_heads("private_hidden", self.private_hidden)
        asked = (self.group, order_of(data.schema, self.order_by), self.length, self.initial_state)
        if any(asked):
            left = ledger.remaining()
            raise BudgetExceededError(
                "sequences are not learnt under a budget: a row would teach what the rows after it are, too; nothing "
                "was read. Leave their options out, and the order of the schema",
                requested=float("inf"),
                available=0.0 if left is None else left.epsilon,
            )
        start = begun("fit tabular.transformer", data, options=self, ledger=ledger, run=run)
        tokens = start.tokens
        order = np.argsort([len(one.mass) for one in tokens], kind="stable")
        seeds = [int(seed) for seed in rng.integers(2**62, size=2)]
        network = CausalTransformer(
            [tokens[feature] for feature in order],
            hidden=self.private_hidden,
            depth=self.private_depth,
            heads=self.heads,
            dropout=0.0,
            seed=seeds[0],
        )
        for unread in (network.score, network.law):  # no token has a score, so that nothing reads them
            unread.requires_grad_(requires_grad=False)
        rows, scores = counted_rows(start)
        schedule = PrivateSchedule.of(self, start)
        train(network, [rows[:, order], scores], causal_loss, schedule, seed=seeds[1], run=run)
        return TransformerSampler(data.schema, tokens, order, self.heads, arrays(network), None)

    def _require_heads(self, option: str, width: int) -> None:
        if width % self.heads:
            raise ConfigError(f"option '{option}': {width} is no multiple of the {self.heads} heads", option=option)

    def _before(self, run: Run, data: Dataset) -> TransformerSampler | None:
        """Return the model to go on from, if there is one."""
        before = None if run.warm_start is None else load_artifact(run.warm_start).sampler
        if not isinstance(before, TransformerSampler):
            return None
        told = before.sequences
        held = ("", "") if told is None else (told.group, told.order_by)
        if held != (self.group, order_of(data.schema, self.order_by)):
            raise UnsupportedError(
                "the model to go on from has other columns that number sequences; name its group and order_by, or fit "
                "anew"
            )
        return before

    def _ordered(self, data: Dataset) -> Ordered | None:
        """Return the rows sequence after sequence, or ``None`` where nothing tells of sequences."""
        order_by = order_of(data.schema, self.order_by)
        require_sequences(order_by, group=self.group, length=self.length, initial_state=self.initial_state)
        if not (self.group or order_by):
            return None
        return in_sequence(data, group=self.group, order_by=order_by)


@dataclass(frozen=True)
class Shape:
    """How large a network is: the options of these names."""

    hidden: int
    depth: int
    heads: int
    order: int


@dataclass(frozen=True, eq=False)
class Drawn:
    """Rows as they are drawn.

    Attributes:
        tokens: (n, d) in the order in which features are drawn.
        scores: (n, m) of the features that have any.
        values: Encoded values (n,) by place, where a condition was to be met.
        weight: (n,) logarithm of how likely what was asked for is, given what was drawn before.
    """

    tokens: Ints
    scores: Matrix
    values: Mapping[int, Floats]
    weight: Floats

    def take(self, rows: Ints) -> Drawn:
        """Return some of the rows."""
        values = {place: held[rows] for place, held in self.values.items()}
        return Drawn(self.tokens[rows], self.scores[rows], values, self.weight[rows])


@dataclass(frozen=True, eq=False)
class TransformerSampler:
    """Tokens and the weights of the network; drawing needs no torch.

    Attributes:
        learnt: The schema of the columns that the network draws.
        features: The tokens of each feature.
        order: The features in the order in which they are drawn.
        heads: Of each layer of attention.
        weights: Of the network, by name.
        sequences: Which columns number sequences, and how; ``None`` where rows are independent.
    """

    learnt: Schema
    features: tuple[Tokens, ...]
    order: NDArray[np.int64]
    heads: int
    weights: Weights
    sequences: Sequences | None

    @property
    def schema(self) -> Schema:
        """The schema of the rows."""
        return self.learnt if self.sequences is None else self.sequences.schema

    @property
    def shape(self) -> Shape:
        """How large the network is."""
        order = self.weights["lag.weight"].shape[1] if self.sequences is not None else 0
        return Shape(len(self.weights["norm.weight"]), depth_of(self.weights, "queries"), self.heads, order)

    @cached_property
    def _placed(self) -> tuple[Tokens, ...]:
        """The tokens of each feature, in the order in which they are drawn."""
        return tuple(self.features[feature] for feature in self.order)

    @cached_property
    def _starts(self) -> Ints:
        """Where the tokens of each feature (d,) begin among all of them."""
        return np.cumsum([0, *(len(one.mass) for one in self._placed[:-1])])

    def numbering(self, *, first: int, end: int, total: int) -> Self:
        """Return this sampler for a part of a call's rows; sequences of other parts have other names."""
        if self.sequences is None:
            return self
        return replace(self, sequences=replace(self.sequences, part=Part(first, end, total)))

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows; of sequences, sequence after sequence, of which the last may be cut short.

        Each block of ``BLOCK_ROWS`` rows of a ``Model`` begins new sequences, with names that no other block has.

        Raises:
            UnsupportedError: where rows are independent, for any condition: ``Model`` resamples instead.
            SchemaError: if a group has fewer values than there are sequences.
            ConditionError: in sequences, for unknown columns, the group and the order, integers beyond 2^53, and
                conditions that the model gives no mass.
        """
        if self.sequences is not None:
            return self._sampled(n, self.sequences, rng=rng, given=given)

        def draw(count: int) -> Floats:
            return self._values(self._drawn(count, rng=rng), rng=rng)

        return drawn_rows(draw, n, part=DRAWN_ROWS, schema=self.learnt, given=given, generator="tabular.transformer")

    def _sampled(self, n: int, sequences: Sequences, *, rng: random.Generator, given: Given | None) -> Dataset:
        """Return ``n`` rows of sequences: some of these at once, one row after the other."""
        sequences.refuse_numbering(given)
        starts = sequences.starts(n, rng=rng)
        wanted = self._wanted(n, starts, sequences, given)
        lengths = np.diff(np.append(starts, n))
        longest = np.argsort(-lengths, kind="stable")  # those still going are a slice
        together = DRAWN_ROWS // (CANDIDATES if wanted else 1)
        d, m = len(self.order), len(scored(self._placed))
        tokens, scores = np.zeros((n, d), dtype=np.int64), np.zeros((n, m), dtype=np.float32)
        met: list[tuple[Ints, Mapping[int, Floats]]] = []  # values that were asked for, at the rows of each step
        nothing = self.weights["none.weight"][:, 0] + self.weights["none.bias"]
        for first in range(0, len(starts), together):
            part = longest[first : first + together]
            past = np.tile(nothing, (len(part), self.shape.order, 1))  # the oldest row first
            for step in range(int(lengths[part].max(initial=0))):
                going = int(np.searchsorted(-lengths[part], -step, side="left"))
                rows = starts[part[:going]] + step
                made = self._next(past[:going], {place: one.at(rows) for place, one in wanted.items()}, rng=rng)
                tokens[rows], scores[rows] = made.tokens, made.scores
                met.append((rows, made.values))
                past[:going, :-1] = past[:going, 1:]
                past[:going, -1] = self._told(made)
        values = self._values(Drawn(tokens, scores, {}, np.zeros(n)), rng=rng)
        for rows, asked in met:
            for place, held in asked.items():
                values[rows, self.order[place]] = held
        made_rows = rows_of(values, self.learnt)
        if given is not None and given.columns:
            broken = int((~meets(made_rows.table, given, self.learnt)).sum())
            if broken:
                raise ConditionError(
                    f"the conditions contradict each other, or the schema, in {broken} of {n} rows; mend them",
                    columns=given.columns,
                )
        return sequences.numbered(made_rows, starts, rng=rng)

    def _wanted(self, n: int, starts: Ints, sequences: Sequences, given: Given | None) -> dict[int, Condition]:
        """Return the condition of each place that is asked for, of all rows or of the first ones of sequences."""
        grids = tuple(one.grid for one in self.features)
        wanted: dict[int, Condition] = {}
        if given is not None and given.columns:
            try:
                wanted = conditions(given, n, schema=self.learnt, grids=grids)
            except UnsupportedError as error:  # rows picked to meet it would be of different sequences
                raise ConditionError(str(error), columns=given.columns) from None
        places = {int(feature): place for place, feature in enumerate(self.order)}
        return {places[f]: one for f, one in sequences.begun(wanted, starts, n, grids).items()}

    def _next(self, past: Matrix, wanted: Mapping[int, Condition], *, rng: random.Generator) -> Drawn:
        """Return the next row of each sequence, given vectors (n, k, h) of the rows before.

        Where something is asked for, it is one of several candidates, taken in proportion to how likely they make it.
        """
        wanted = {place: one for place, one in wanted.items() if one.is_fixed.any() or not one.is_free}
        if not wanted:
            return self._drawn(len(past), rng=rng, past=past)
        copied = np.repeat(np.arange(len(past)), CANDIDATES)
        asked = {place: one.at(copied) for place, one in wanted.items()}
        made = self._drawn(len(copied), rng=rng, past=past[copied], wanted=asked)
        weight = made.weight.reshape(len(past), CANDIDATES)
        chosen = drawn_each(np.exp(weight - weight.max(axis=1, keepdims=True)), rng=rng)
        return made.take(np.arange(len(past)) * CANDIDATES + chosen)

    def _drawn(
        self,
        n: int,
        *,
        rng: random.Generator,
        past: Matrix | None = None,
        wanted: Mapping[int, Condition] | None = None,
    ) -> Drawn:
        """Return rows, feature by feature.

        Args:
            past: Vectors (n, k, h) of the rows before, the oldest first.
            wanted: Conditions by place.
        """
        weights, features = self.weights, self._placed
        having, d = scored(features), len(features)
        before = 0 if past is None else past.shape[1]
        attention = Attention(weights, n, before + d, self.heads)
        if past is not None:
            attention.states(past + weights["lag.weight"].T + weights["lag.bias"])
        tokens = np.zeros((n, d), dtype=np.int64)
        scores = np.zeros((n, len(having)), dtype=np.float32)
        told: Matrix = np.zeros((n, attention.hidden), dtype=np.float32)
        values: dict[int, Floats] = {}
        weight = np.zeros(n)
        for place, one in enumerate(features):
            state = attention.state(told + weights["place.weight"][:, place] + weights["place.bias"])
            where = slice(self._starts[place], self._starts[place] + len(one.mass))
            chances = softmax(state @ weights["write.weight"][where].T + weights["write.bias"][where])
            wish = None if wanted is None or place not in wanted else Wish.of(one, wanted[place], rng=rng)
            token = drawn_each(chances, rng=rng) if wish is None else wish.token(chances, weight, rng=rng)
            told = weights["token.weight"].T[where.start + token] + weights["token.bias"]
            score = None
            if place in having:
                number, m = having.index(place), len(having)
                rows = [number, m + number]
                law = silu(state + told) @ weights["law.weight"][rows].T + weights["law.bias"][rows]
                law[:, 1] = np.exp(np.clip(law[:, 1], NARROWEST, WIDEST))
                score = law[:, 0] + law[:, 1] * rng.standard_normal(n, dtype=np.float32)
                if wish is not None:
                    wish.weigh(token, law, weight)
            if wish is not None:
                values[place], token, score = wish.met(token, score, rng=rng)
                told = weights["token.weight"].T[where.start + token] + weights["token.bias"]
            tokens[:, place] = token
            if score is not None:
                scores[:, number] = score
                is_open = one.is_scored[token].astype(np.float32)
                told = told + (score * is_open)[:, None] * weights["score.weight"][:, number]
        return Drawn(tokens, scores, values, weight)

    def _told(self, made: Drawn) -> Matrix:
        """Return the vectors (n, h) by which later rows know these."""
        weights, having = self.weights, scored(self._placed)
        told = weights["token.weight"].T[self._starts + made.tokens].sum(axis=1)
        if having:
            is_open = np.stack([self._placed[place].is_scored[made.tokens[:, place]] for place in having], axis=1)
            told = told + (made.scores * is_open) @ weights["score.weight"].T
        wide = silu(linear(weights, "past_first", normalised(weights, "past_norm", told)))
        return linear(weights, "past_second", wide)

    def _values(self, made: Drawn, *, rng: random.Generator) -> Floats:
        """Return the encoded rows (n, d)."""
        values = np.empty(made.tokens.shape)
        values[:, self.order] = join_rows(self._placed, made.tokens, made.scores, rng=rng)
        for place, held in made.values.items():
            values[:, self.order[place]] = held
        return values

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``transformer.{json,safetensors}``, and how sequences are numbered."""
        facts = {
            "heads": self.heads,
            "order": [int(feature) for feature in self.order],
            "is_ordered": self.sequences is not None,
        }
        _token_files.write(
            directory, "transformer", schema=self.learnt, features=self.features, weights=self.weights, facts=facts
        )
        if self.sequences is not None:
            self.sequences.save(directory)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        schema, features, weights, facts = _token_files.read(directory, "transformer")
        sequences = Sequences.load(directory) if facts["is_ordered"] else None
        return cls(schema, features, np.array(facts["order"], dtype=np.int64), int(facts["heads"]), weights, sequences)


@dataclass(frozen=True, eq=False)
class Wish:
    """What is asked of one feature of rows, in its tokens.

    Attributes:
        feature: Its tokens.
        condition: What is asked.
        allowed: (t,) the part of each token that is allowed in rows without a fixed value.
        fixed: Tokens and scores (n,) of the fixed values.
    """

    feature: Tokens
    condition: Condition
    allowed: Floats
    fixed: tuple[Ints, Matrix]

    @classmethod
    def of(cls, feature: Tokens, condition: Condition, *, rng: random.Generator) -> Wish:
        """Return what a condition asks."""
        held = np.bincount(feature.of_code, weights=feature.grid.mass * condition.allowed)
        fixed = feature.split(condition.fixed, rng=rng)
        return cls(feature, condition, held / np.maximum(feature.mass, 1e-300), fixed)

    def token(self, chances: Matrix, weight: Floats, *, rng: random.Generator) -> Ints:
        """Return tokens (n,) that are asked for, drawn by their chances (n, t), and add what they weigh."""
        rows, is_fixed = np.arange(len(chances)), self.condition.is_fixed
        possible = (1 - LEAST_SHARE) * chances.astype(np.float64) + LEAST_SHARE * self.feature.mass
        share = possible * self.allowed
        weight += np.log(np.where(is_fixed, possible[rows, self.fixed[0]], share.sum(axis=1)))
        return np.where(is_fixed, self.fixed[0], drawn_each(share, rng=rng))

    def weigh(self, token: Ints, law: Matrix, weight: Floats) -> None:
        """Add how likely the law (n, 2) of the score, a mean and a deviation, makes the fixed ones."""
        squares = 0.5 * np.square((self.fixed[1] - law[:, 0]) / law[:, 1]) + np.log(law[:, 1])
        weight -= np.where(self.condition.is_fixed & self.feature.is_scored[token], squares, 0.0)

    def met(self, token: Ints, score: Matrix | None, *, rng: random.Generator) -> tuple[Floats, Ints, Matrix | None]:
        """Return encoded values (n,) that are asked for, with their tokens and scores.

        In a token of which a part is allowed, a score outside is drawn anew within, by the marginal.
        """
        condition, grid = self.condition, self.feature.grid
        if score is not None:
            score = np.where(condition.is_fixed, self.fixed[1], score)
        nothing = np.zeros(len(token), dtype=np.float32)
        values = self.feature.join(token, nothing if score is None else score, rng=rng)
        lost = np.flatnonzero(~condition.is_fixed & ~condition.is_met(values))
        if len(lost):
            of_token = self.feature.of_code == np.arange(len(self.feature.mass))[:, None]  # (t, codes)
            masses = of_token * grid.mass * condition.allowed
            masses = np.where(masses.sum(axis=1, keepdims=True) > 0, masses, 1.0)
            codes = drawn_by_row(masses, token[lost], rng=rng).astype(np.int32)
            values[lost] = condition.at(lost).values(grid, codes, rng=rng)
            token[lost], anew = self.feature.split(values[lost], rng=rng)
            if score is not None:
                score[lost] = anew
        return np.where(condition.is_fixed, condition.fixed, values), token, score


class Attention:
    """The layers of the network, fed some places of every row at a time; what earlier places said is kept.

    Attributes:
        hidden: Width of the network.
    """

    hidden: int

    def __init__(self, weights: Weights, n: int, places: int, heads: int) -> None:
        self._weights, self._heads, self._place = weights, heads, 0
        self.hidden = len(weights["norm.weight"])
        shape = (depth_of(weights, "queries"), n, heads, places, self.hidden // heads)
        self._keys, self._values = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)

    def state(self, held: Matrix) -> Matrix:
        """Return the hidden state (n, h) of the next place, given what stands there (n, h)."""
        return self.states(held[:, None])[:, 0]

    def states(self, held: Matrix) -> Matrix:
        """Return the hidden states (n, p, h) of the next places, given what stands there (n, p, h)."""
        weights, (n, p, _) = self._weights, held.shape
        now, reach = slice(self._place, self._place + p), self._place + p
        is_later = np.arange(reach) > np.arange(self._place, reach)[:, None]  # (p, reach)
        for number in range(len(self._keys)):
            parts = linear(weights, f"queries.{number}", normalised(weights, f"attended.{number}", held))
            query, key, value = parts.reshape(n, p, 3, self._heads, -1).transpose(2, 0, 3, 1, 4)  # (n, heads, p, k)
            self._keys[number, :, :, now], self._values[number, :, :, now] = key, value
            keys, values = self._keys[number, :, :, :reach], self._values[number, :, :, :reach]
            closeness = query @ keys.swapaxes(2, 3) / np.float32(np.sqrt(query.shape[-1]))  # (n, heads, p, reach)
            if p > 1:
                closeness[..., is_later] = -np.inf
            share = np.exp(closeness - closeness.max(axis=3, keepdims=True))
            share = share / share.sum(axis=3, keepdims=True)
            seen = (share @ values).transpose(0, 2, 1, 3).reshape(n, p, -1)
            held = held + linear(weights, f"mixed.{number}", seen)
            wide = silu(linear(weights, f"first.{number}", normalised(weights, f"norms.{number}", held)))
            held = held + linear(weights, f"second.{number}", wide)
        self._place = reach
        return normalised(weights, "norm", held)


GENERATOR = Transformer
SAMPLER = TransformerSampler
