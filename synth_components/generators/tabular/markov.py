"""A Markov chain: each row is drawn given the rows before it in its sequence, one column after the other.

Source: Norris 1997, "Markov Chains", Ch. 1, order one; Raftery 1985, "A model for high-order Markov chains"; MacKay &
    Peto 1995, "A hierarchical Dirichlet language model", smoothing by shorter contexts; Murphy 2002, "Dynamic Bayesian
    Networks", for rows of several columns; Chow & Liu 1968, for the tree within a row.
Differs: a column of a row is drawn given its own values in the ``order`` rows before and one other column of the same
    row, not given all columns of all these rows.  Numbers are cells of about equal mass.  Conditions on a row are met
    exactly given the rows before, by messages up the row's tree, and without looking ahead to later rows.  Where the
    schema names a privacy unit, a past that fewer than ``min_category_count`` units have says no more than a shorter
    one, and of the rows of any past no unit has a larger share than one in as many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy import random
from pydantic import Field

from synth_components.config import KNOTS, MIN_CATEGORY_COUNT, OF_SEQUENCES, SAFER_UP, Knots, MinCategoryCount, Recipe
from synth_components.encode import encode
from synth_components.errors import ConditionError, UnsupportedError
from synth_components.generators.tabular._cells import Cells
from synth_components.generators.tabular._circuit import Tree
from synth_components.generators.tabular._codebook import (
    MOST_AT_ONCE,
    Arrays,
    Codebook,
    Ints,
    cell_masses,
    codes_in,
    drawn_each,
    evidence_of,
    places_within,
    stop_if_asked,
)
from synth_components.generators.tabular._condition import Condition
from synth_components.generators.tabular._grid import Codes
from synth_components.generators.tabular._sequences import (
    Group,
    InitialState,
    Length,
    OrderBy,
    Ordered,
    Part,
    Sequences,
    in_sequence,
    order_of,
    require_sequences,
)
from synth_components.marginal import shared_out
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Floats, Given, PrivacyLedger, Run
from synth_components.schema import Schema
from synth_components.support import num_owners


class Markov(Recipe):
    """Draw sequences of rows, each row given the ones before it in its sequence."""

    without_privacy: ClassVar[str] = "its transitions are counted without noise"

    order: Annotated[int, OF_SEQUENCES] = Field(
        1, ge=1, le=4, description="Rows before, in the same sequence, that a row depends on."
    )
    group: Group = ""
    order_by: OrderBy = ""
    length: Length = 0
    initial_state: InitialState = Field(default_factory=dict)
    smoothing: Annotated[float, SAFER_UP] = Field(
        1.0,
        gt=0,
        le=10_000,
        description="Privacy knob: rows' worth of the law given a shorter past that the law given each past holds.",
    )
    cells: int = Field(24, ge=2, le=1000, description="Cells of about equal mass into which a number is cut.")
    max_cells: int = Field(2_000_000, ge=4, le=50_000_000, description="Most entries of one column's table.")
    knots: Knots = KNOTS
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT

    def one_sequence(self, schema: Schema) -> str | None:
        """Return the column by which all rows are one sequence; ``None`` where a group tells several apart."""
        return None if self.group else order_of(schema, self.order_by)

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> MarkovSampler:
        """Return the chain of ``data``.

        Raises:
            ConfigError: for ``length`` or ``initial_state`` where no column tells of sequences.
            SchemaError: if there is no column ``group`` or ``order_by`` of a fit kind.
            UnsupportedError: if a column has no value with enough support, or the order is too high for ``max_cells``.
            ConditionError: if ``initial_state`` does not fit the schema, or the model gives it no mass.
            StoppedError: if ``run`` says so.
        """
        ledger.spend("fit tabular.markov", not_private)
        stop_if_asked(run)
        order_by = order_of(data.schema, self.order_by)
        require_sequences(order_by, group=self.group, length=self.length, initial_state=self.initial_state)
        ordered = in_sequence(data, group=self.group, order_by=order_by)
        features = encode(ordered.rows)
        book = Codebook.of(features, knots=self.knots, min_count=self.min_category_count)
        codes = book.codes(features.values, rng=rng)
        cut = tuple(Cells.of(grid, cells=self.cells) for grid in book.grids)
        held = [one.split(part)[0] for one, part in zip(cut, codes, strict=True)]
        masses = cell_masses(cut, book.grids)
        tree = Tree.of([one.astype(np.int32) for one in held], bins=self.cells)
        links: list[Link] = []
        for done, feature in enumerate(tree.order):
            stop_if_asked(run)
            links.append(self._link(int(feature), int(tree.parent[feature]), held, ordered, masses))
            run.report(done + 1, len(cut))
        sequences = Sequences.of(
            data,
            ordered,
            book.grids,
            group=self.group,
            order_by=order_by,
            length=self.length,
            initial_state=self.initial_state,
            knots=self.knots,
            min_count=self.min_category_count,
        )
        return MarkovSampler(book, cut, tuple(links), sequences)

    def _link(self, feature: int, above: int, held: Sequence[Ints], ordered: Ordered, masses: Sequence[Floats]) -> Link:
        """Return the table of one feature given its own past and the feature ``above`` it, if that leaves room."""
        age, owners, least = ordered.age, ordered.owners, self.min_category_count
        size = len(masses[feature])
        room = self.max_cells // ((size + 1) ** self.order * size)
        if room < 1:
            raise UnsupportedError(
                f"order {self.order} needs more than max_cells ({self.max_cells}) entries for a column of {size} "
                "cells; lower order or cells, or raise max_cells"
            )
        above = above if above >= 0 and len(masses[above]) <= room else -1
        contexts = [np.where(age >= lag, np.roll(held[feature], lag), size) for lag in range(1, self.order + 1)]
        sizes = [size + 1] * self.order
        if above >= 0:  # the other column of the row comes after the row before, and before older ones
            contexts.insert(1, held[above])
            sizes.insert(1, len(masses[above]))
        law, index = masses[feature], np.zeros(len(age), dtype=np.int64)
        for level in range(len(contexts)):
            index = index * sizes[level] + contexts[level]
            rows = int(np.prod(sizes[: level + 1]))
            cell = index * size + held[feature]
            if owners is not None:
                is_enough = num_owners(index, owners, rows) >= least
                cell = cell[is_enough[index] & shared_out(index, owners, least=least)]
            counts = np.bincount(cell, minlength=rows * size).reshape(rows, size)
            shorter = np.repeat(law.reshape(-1, size), sizes[level], axis=0)
            law = (counts + self.smoothing * shorter) / (counts.sum(axis=1, keepdims=True) + self.smoothing)
        return Link(feature, above, law.reshape(*sizes, size))


@dataclass(frozen=True, eq=False)
class Link:
    """The law of one feature of a row.

    Attributes:
        feature: Its number.
        above: The feature of the same row that it depends on, -1 for none.
        table: (its cell in the row before, the cell of ``above``, its cells in older rows ..., cells): probabilities;
            the last cell of a past is "before the first row".
    """

    feature: int
    above: int
    table: Floats

    @cached_property
    def flat(self) -> Floats:
        """The table (contexts, cells)."""
        return self.table.reshape(-1, self.table.shape[-1])

    @cached_property
    def cumulative(self) -> Floats:
        """Ascending numbers (contexts * cells,) among which one search draws from any context."""
        made = np.cumsum(self.flat, axis=1)
        return np.asarray((made / made[:, -1:] + np.arange(len(made))[:, None]).ravel())

    def drawn(self, past: Ints, above: Ints | None, known: Floats | None, *, rng: random.Generator) -> Ints:
        """Return cells (m,), drawn given their past, what is above, and what is known.

        Args:
            past: Their cells (order, m) in the rows before, the latest first.
            above: Cells (m,) of the feature above, ``None`` without one.
            known: Weights (m, cells), ``None`` for nothing.
        """
        context, size = self.contexts(past, above), self.table.shape[-1]
        if known is not None:
            return drawn_each(self.flat[context] * known, rng=rng)
        place = np.searchsorted(self.cumulative, context + rng.random(len(context)), side="right")
        return np.asarray(np.minimum(place - context * size, size - 1))

    def told(self, past: Ints, known: Floats) -> Floats:
        """Return what is said of the cell above (m, its cells) by weights ``known`` (m, cells)."""
        above, size = self.table.shape[1], self.table.shape[-1]
        made = np.empty((len(known), above))
        step = max(1, MOST_AT_ONCE // (above * size))
        for first in range(0, len(known), step):
            rows = slice(first, first + step)
            context = self.contexts(past[:, rows, None], np.arange(above))
            made[rows] = (self.flat[context] @ known[rows, :, None])[:, :, 0]
        return made

    def contexts(self, past: Ints, above: Ints | None) -> Ints:
        """Return the row (m,) of the flat table: ``past`` (order, m) holds its own cells, the latest first."""
        row = past[0]
        if above is not None:
            row = row * self.table.shape[1] + above
        for older in past[1:]:
            row = row * self.table.shape[-2] + older
        return np.asarray(row)


@dataclass(frozen=True, eq=False)
class MarkovSampler:
    """Grids, cells, and the law of each feature of a row.

    Attributes:
        book: What codes of the chained columns mean.
        cells: One per feature.
        links: The laws, in the order in which the features of a row are drawn.
        sequences: Which columns number sequences, and how.
    """

    book: Codebook
    cells: tuple[Cells, ...]
    links: tuple[Link, ...]
    sequences: Sequences

    @property
    def schema(self) -> Schema:
        """The schema of the rows."""
        return self.sequences.schema

    def numbering(self, *, first: int, end: int, total: int) -> Self:
        """Return this sampler for a part of a call's rows; sequences of other parts have other names."""
        return replace(self, sequences=replace(self.sequences, part=Part(first, end, total)))

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows, sequence after sequence; the last one may be cut short.

        Each block of ``BLOCK_ROWS`` rows of a ``Model`` begins new sequences, with names that no other block has.

        Raises:
            ConditionError: for unknown columns, the group and the order, conditions that the model gives no mass, and
                in sequences for conditions on integers beyond 2^53.
            UnsupportedError: for conditions on those where nothing tells of sequences: ``Model`` resamples instead.
            SchemaError: if a group has fewer values than there are sequences.
        """
        self.sequences.refuse_numbering(given)
        starts = self.sequences.starts(n, rng=rng)
        try:
            asked = self.book.wanted(given, n)
        except UnsupportedError as error:
            if given is None or not (self.sequences.group or self.sequences.order_by):
                raise
            # Rows picked to meet it would be of different sequences.
            raise ConditionError(str(error), columns=given.columns) from None
        wanted = self.sequences.begun(asked, starts, n, self.book.grids)
        codes = self._codes(starts, n, wanted, rng=rng)
        made = self.book.rows(codes, rng=rng, given=given, wanted=wanted)
        return self.sequences.numbered(made, starts, rng=rng)

    def _codes(self, starts: Ints, n: int, wanted: Mapping[int, Condition], *, rng: random.Generator) -> list[Codes]:
        """Return codes (n,) by feature: all sequences at once, one row after the other."""
        allowed = list(self._within)
        for feature, asked in wanted.items():
            allowed[feature] = allowed[feature] * self.cells[feature].by_place(asked.allowed, absent=0.0)
        ends = np.append(starts, n)[1:]
        by_length = np.argsort(starts - ends, kind="stable")  # the longest first: those still going are a slice
        starts, lengths = starts[by_length], (ends - starts)[by_length]
        drawn = [np.empty(n, np.int64) for _ in self.cells]
        past = [
            np.full((link.table.ndim - 1 - (link.above >= 0), len(starts)), link.table.shape[-1]) for link in self.links
        ]
        for step in range(int(lengths.max(initial=0))):
            going = int(np.searchsorted(-lengths, -step, side="left"))
            rows = starts[:going] + step
            evidence = {
                feature: evidence_of(asked, rows, cells=self.cells[feature], allowed=allowed[feature])
                for feature, asked in wanted.items()
                if not asked.is_free or asked.is_fixed[rows].any()
            }
            made = self._row([own[:, :going] for own in past], evidence, rng=rng)
            for link, own in zip(self.links, past, strict=True):
                drawn[link.feature][rows] = made[link.feature]
                own[1:, :going] = own[:-1, :going]
                own[0, :going] = made[link.feature]
        everyone = np.arange(n)
        return [
            codes_in(cell, everyone, wanted.get(feature), cells=cells, allowed=allowed[feature], rng=rng)
            for feature, (cells, cell) in enumerate(zip(self.cells, drawn, strict=True))
        ]

    def _row(self, past: Sequence[Ints], evidence: Mapping[int, Floats], *, rng: random.Generator) -> dict[int, Ints]:
        """Return cells (m,) by feature, of a row of m sequences, given what is asked of it.

        Args:
            past: Of each link, its own cells (order, m) in the rows before.
            evidence: What is asked of cells (m, cells), by feature.
        """
        known = dict(evidence)
        for link, own in zip(reversed(self.links), reversed(past), strict=True):  # up the tree
            if link.above < 0 or link.feature not in known:
                continue
            told = link.told(own, known[link.feature])
            told = known[link.above] * told if link.above in known else told
            known[link.above] = told / told.max(axis=1, keepdims=True)
        made: dict[int, Ints] = {}
        for link, own in zip(self.links, past, strict=True):  # and down
            made[link.feature] = link.drawn(own, made.get(link.above), known.get(link.feature), rng=rng)
        return made

    @cached_property
    def _within(self) -> tuple[Floats, ...]:
        return places_within(self.cells, self.book.grids)

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``markov.json``, ``markov.safetensors`` and how sequences are numbered."""
        arrays: Arrays = {f"cells.{feature}": cells.first for feature, cells in enumerate(self.cells)}
        arrays |= {f"link.{link.feature}": link.table for link in self.links}
        self.book.save(directory, "markov", arrays, {"links": [[link.feature, link.above] for link in self.links]})
        self.sequences.save(directory)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        book, arrays, plan = Codebook.load(directory, "markov")
        return cls(
            book,
            tuple(Cells(arrays[f"cells.{feature}"], grid.size) for feature, grid in enumerate(book.grids)),
            tuple(Link(feature, above, arrays[f"link.{feature}"]) for feature, above in plan["links"]),
            Sequences.load(directory),
        )


GENERATOR = Markov
SAMPLER = MarkovSampler
