"""A Markov chain: each row is drawn given the rows before it in its sequence, one column after the other.

Source: Norris 1997, "Markov Chains", Ch. 1, order one; Raftery 1985, "A model for high-order Markov chains"; MacKay &
    Peto 1995, "A hierarchical Dirichlet language model", smoothing by shorter contexts; Murphy 2002, "Dynamic Bayesian
    Networks", for rows of several columns; Chow & Liu 1968, for the tree within a row.
Differs: a column of a row is drawn given its own values in the ``order`` rows before and one other column of the same
    row, not given all columns of all these rows.  Numbers are cells of about equal mass.  Conditions are met row by row
    given the rows before, without looking ahead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy import random
from pydantic import Field

from synth_components.conditions import parse
from synth_components.config import KNOTS, MIN_CATEGORY_COUNT, Knots, MinCategoryCount, Recipe
from synth_components.encode import Features, decode, encode_table, slices
from synth_components.errors import SchemaError, UnsupportedError
from synth_components.generators.tabular._cells import Cells
from synth_components.generators.tabular._circuit import Tree
from synth_components.generators.tabular._codebook import (
    Arrays,
    Codebook,
    Ints,
    cell_masses,
    drawn_by_row,
    places_within,
    stop_if_asked,
)
from synth_components.generators.tabular._condition import Condition
from synth_components.marginal import Marginal
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Floats, Given, PrivacyLedger, Run
from synth_components.schema import AnyColumn, Categorical, Datetime, Numeric, Schema


class Markov(Recipe):
    """Draw sequences of rows, each row given the ones before it in its sequence."""

    order: int = Field(1, ge=1, le=4, description="Rows before, in the same sequence, that a row depends on.")
    group: str = Field(
        "", description="Column that tells sequences apart, a whole number or category; empty: one sequence."
    )
    order_by: str = Field(
        "",
        description="Column that orders the rows of a sequence; empty: the schema's order, else the order of the rows.",
    )
    length: int = Field(0, ge=0, le=10_000_000, description="Rows per drawn sequence; 0: as long as the training ones.")
    initial_state: dict[str, str | int | float | bool | None] = Field(
        default_factory=dict, description="Values by column in the first row of each sequence; others are drawn."
    )
    smoothing: float = Field(
        1.0,
        gt=0,
        le=10_000,
        description="Privacy knob: rows' worth of the law given a shorter past that the law given each past holds.",
    )
    cells: int = Field(24, ge=2, le=1000, description="Cells of about equal mass into which a number is cut.")
    max_cells: int = Field(2_000_000, ge=4, le=50_000_000, description="Most entries of one column's table.")
    knots: Knots = KNOTS
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> MarkovSampler:
        """Return the chain of ``data``.

        Raises:
            SchemaError: if there is no column ``group`` or ``order_by`` of a fit kind.
            UnsupportedError: if a column has no value with enough support, or the order is too high for ``max_cells``.
            ConditionError: if ``initial_state`` does not fit the schema, or the model gives it no mass.
            StoppedError: if ``run`` says so.
        """
        ledger.spend("fit tabular.markov", not_private)
        stop_if_asked(run)
        order_by = self.order_by or data.schema.order.get(data.schema.root, "")
        _require_columns(data.schema, self.group, order_by)
        table = data.table.sort_values(order_by, kind="stable") if order_by else data.table
        number = pd.factorize(table[self.group])[0] if self.group else np.zeros(len(table), np.int64)
        rows = np.argsort(number, kind="stable")
        table, number = table.iloc[rows], number[rows]
        chained = {n: c for n, c in data.schema.columns.items() if n not in (self.group, order_by)}
        if not chained:
            raise SchemaError("there is no column beside group and order_by, so there is nothing to learn", column="")
        own = Schema({data.schema.root: chained}, data.schema.root)
        features = encode_table(table[list(chained)], own)
        book = Codebook.of(features, knots=self.knots, min_count=self.min_category_count)
        codes = book.codes(features.values, rng=rng)
        cut = tuple(Cells.of(grid, cells=self.cells) for grid in book.grids)
        held = [one.split(part)[0] for one, part in zip(cut, codes, strict=True)]
        starts = np.flatnonzero(np.diff(number, prepend=-1))
        age = np.arange(len(number)) - np.repeat(starts, np.diff(np.append(starts, len(number))))
        tree = Tree.of([one.astype(np.int32) for one in held], bins=self.cells)
        links: list[Link] = []
        for done, feature in enumerate(tree.order):
            stop_if_asked(run)
            links.append(self._link(int(feature), int(tree.parent[feature]), held, age, cell_masses(cut, book.grids)))
            run.report(done + 1, len(cut))
        spans = {"length": np.diff(np.append(starts, len(number))).astype(np.float64)} if self.group else {}
        if order_by:
            stamps = encode_table(table[[order_by]], _only(data.schema, order_by)).values[:, 0]
            spans |= {"begin": stamps[starts] if self.group else stamps[:0], "gap": np.diff(stamps)[age[1:] > 0]}
        marginals = {name: self._span(values, name, order_by) for name, values in spans.items() if len(values)}
        return MarkovSampler(
            data.schema,
            book,
            cut,
            tuple(links),
            marginals,
            Sequences(self.group, order_by, self.length),
            _initial(self.initial_state, book),
        )

    def _link(self, feature: int, above: int, held: Sequence[Ints], age: Ints, masses: Sequence[Floats]) -> Link:
        """Return the table of one feature given its own past and the feature ``above`` it, if that leaves room."""
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
            counts = np.bincount(index * size + held[feature], minlength=rows * size).reshape(rows, size)
            shorter = np.repeat(law.reshape(-1, size), sizes[level], axis=0)
            law = (counts + self.smoothing * shorter) / (counts.sum(axis=1, keepdims=True) + self.smoothing)
        return Link(feature, above, law.reshape(*sizes, size))

    def _span(self, values: Floats, name: str, order_by: str) -> Marginal:
        """Return the marginal of lengths, first times or gaps."""
        kind = Numeric(places=0)
        said = f"{name} of sequences by {order_by or self.group}"
        return Marginal.of(values, kind, name=said, knots=self.knots, min_count=self.min_category_count)


def _require_columns(schema: Schema, group: str, order_by: str) -> None:
    for option, name, kinds in (("group", group, Numeric | Categorical), ("order_by", order_by, Numeric | Datetime)):
        column = schema.columns.get(name)
        if name and column is None:
            raise SchemaError(
                f"{option} names no column that is learnt: '{name}'; name another, or declare it in the schema as a "
                "number or a category",
                column=name,
            )
        if column is None:
            continue
        is_split = slices(schema)[name].stop - slices(schema)[name].start > 1
        if not isinstance(column, kinds) or column.nullable or is_split or _is_fraction(column, option):
            raise SchemaError(
                f"column '{name}' cannot be {option}: it takes "
                + ("whole numbers or categories" if option == "group" else "numbers or times")
                + ", without nulls, up to 2^53",
                column=name,
            )


def _is_fraction(column: AnyColumn, option: str) -> bool:
    return option == "group" and isinstance(column, Numeric) and column.places != 0


def _only(schema: Schema, name: str) -> Schema:
    return Schema({schema.root: {name: schema.columns[name]}}, schema.root)


def _initial(state: Mapping[str, object], book: Codebook) -> dict[int, tuple[int, float]]:
    """Return code and encoded value, by feature, of what each sequence begins with."""
    made = {}
    for name, value in state.items():
        given = parse({name: [value]}, book.schema, 1)
        for feature, condition in book.wanted(given, 1).items():
            held = condition.members if condition.members is not None else np.empty(0)
            made[feature] = (int(np.argmax(condition.share)), float(held[0]) if len(held) else np.nan)
    return made


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

    def contexts(self, past: Ints, above: Ints | None) -> Ints:
        """Return the row (m,) of the flat table: ``past`` (order, m) holds its own cells, the latest first."""
        row = past[0]
        if above is not None:
            row = row * self.table.shape[1] + above
        for older in past[1:]:
            row = row * self.table.shape[-2] + older
        return np.asarray(row)


@dataclass(frozen=True)
class Sequences:
    """Which columns tell sequences apart and order them, empty for none, and their length, 0 as observed."""

    group: str
    order_by: str
    length: int


@dataclass(frozen=True, eq=False)
class MarkovSampler:
    """Grids, cells, and the law of each feature of a row.

    Attributes:
        schema: The schema of the rows.
        book: What codes of the chained columns mean.
        cells: One per feature.
        links: The laws, in the order in which the features of a row are drawn.
        spans: Marginals of sequences' lengths, first times, and gaps.
        sequences: Which columns tell sequences.
        initial: Code and encoded value, by feature, that each sequence begins with.
    """

    schema: Schema
    book: Codebook
    cells: tuple[Cells, ...]
    links: tuple[Link, ...]
    spans: Mapping[str, Marginal]
    sequences: Sequences
    initial: Mapping[int, tuple[int, float]]

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows, sequence after sequence; the last one may be cut short.

        Each block of ``BLOCK_ROWS`` rows of a ``Model`` begins new sequences, and their names, drawn at random,
        may recur in another block: give the group wide bounds.

        Raises:
            ConditionError: for unknown columns, and conditions that the model gives no mass.
            UnsupportedError: for conditions on integers beyond 2^53, the group or the order; and if a group has fewer
                values than there are sequences.
        """
        numbering = {self.sequences.group, self.sequences.order_by} - {""}
        if given is not None and numbering & set(given.columns):
            raise UnsupportedError("the columns that number sequences and their rows take no condition")
        starts = self._starts(n, rng=rng)
        wanted = self._begun(self.book.wanted(given, n), starts, n)
        codes = self._codes(starts, n, wanted, rng=rng)
        made = self.book.rows(codes, rng=rng, given=given, wanted=wanted)
        numbered = self._numbered(starts, n, rng=rng)
        table = pd.concat([made.table, *numbered], axis=1)[list(self.schema.columns)]
        return Dataset({self.schema.root: table}, self.schema)

    def _starts(self, n: int, *, rng: random.Generator) -> Ints:
        """Return the rows (m,) at which sequences begin."""
        if self.sequences.length or "length" not in self.spans:
            return np.arange(0, n, self.sequences.length or max(n, 1))
        ends, reached = [np.zeros(1, np.int64)], 0
        while reached < n:
            lengths = np.maximum(np.rint(self.spans["length"].quantile(rng.random(64 + n // 64))), 1).astype(np.int64)
            ends.append(reached + np.cumsum(lengths))
            reached = int(ends[-1][-1])
        return np.concatenate(ends)[: int(np.searchsorted(np.concatenate(ends), n))]

    def _begun(self, wanted: dict[int, Condition], starts: Ints, n: int) -> dict[int, Condition]:
        """Return the conditions with those of the initial state; a request on the same column comes first."""
        is_start = np.zeros(n, dtype=bool)
        is_start[starts] = True
        made = dict(wanted)
        for feature, (code, value) in self.initial.items():
            if feature in made:
                continue
            size = self.book.grids[feature].size
            made[feature] = Condition(
                np.ones(size),
                -np.inf,
                np.inf,
                None,
                np.where(is_start, value, np.nan),
                is_start,
                np.full(n, code, dtype=np.int32),
                np.ones(n),
            )
        return made

    def _codes(self, starts: Ints, n: int, wanted: Mapping[int, Condition], *, rng: random.Generator) -> list[Ints]:
        """Return codes (n,) by feature: all sequences at once, one row after the other."""
        within = list(self._within)
        for feature, limit in wanted.items():
            within[feature] = within[feature] * self.cells[feature].by_place(limit.allowed, absent=0.0)
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
            for link, own in zip(self.links, past, strict=True):
                above = None if link.above < 0 else drawn[link.above][rows]
                context = link.contexts(own[:, :going], above)
                asked = wanted.get(link.feature)
                if asked is None:
                    place = np.searchsorted(link.cumulative, context + rng.random(going), side="right")
                    cell = np.minimum(place - context * link.table.shape[-1], link.table.shape[-1] - 1)
                else:
                    share = within[link.feature].sum(axis=1)
                    fixed, _ = self.cells[link.feature].split(asked.codes[rows])
                    cell = drawn_by_row(link.flat[context] * share, np.arange(going), rng=rng)
                    cell = np.where(asked.is_fixed[rows], fixed, cell)
                drawn[link.feature][rows] = cell
                own[1:, :going] = own[:-1, :going]
                own[0, :going] = cell
        made = []
        for feature, (cells, cell) in enumerate(zip(self.cells, drawn, strict=True)):
            masses = np.where(within[feature].sum(axis=1, keepdims=True) > 0, within[feature], 1.0)
            codes = cells.join(cell, drawn_by_row(masses, cell, rng=rng)).astype(np.int64)
            condition = wanted.get(feature)
            made.append(codes if condition is None else np.where(condition.is_fixed, condition.codes, codes))
        return made

    @cached_property
    def _within(self) -> tuple[Floats, ...]:
        return places_within(self.cells, self.book.grids)

    def _numbered(self, starts: Ints, n: int, *, rng: random.Generator) -> list[pd.Series[Any]]:
        """Return the columns that number sequences and order their rows."""
        lengths = np.diff(np.append(starts, n))
        made = []
        if name := self.sequences.group:
            made.append(self._decoded(name, np.repeat(self._names(len(starts), rng=rng), lengths)))
        if name := self.sequences.order_by:
            column = self.schema.columns[name]
            first = np.zeros(len(starts))
            if "begin" in self.spans:
                first = np.rint(self.spans["begin"].quantile(rng.random(len(starts))))
            elif isinstance(column, Numeric) and column.places is None:
                first += float(column.low or 0)
            gaps = self.spans["gap"].quantile(rng.random(n)) if "gap" in self.spans else np.ones(n)
            gaps[starts] = 0.0
            reached = np.cumsum(gaps)
            made.append(self._decoded(name, reached + np.repeat(first - reached[starts], lengths)))
        return made

    def _names(self, count: int, *, rng: random.Generator) -> Floats:
        """Return a new encoded name (count,) for each sequence, none twice."""
        column = self.schema.columns[self.sequences.group]
        if isinstance(column, Categorical):
            low, high = 0, len(column.categories) - 1
        else:
            assert isinstance(column, Numeric)  # noqa: S101 - fit takes numbers and categories alone
            low = 0 if column.low is not None else 1
            high = int(column.high - (column.low or 0)) if column.high is not None else 2**31
        if high - low + 1 < count:
            raise UnsupportedError(
                f"column '{self.sequences.group}' has fewer values than the {count} sequences of a block; widen its "
                "bounds, or draw longer sequences"
            )
        if high - low < 10_000_000:
            return low + rng.permutation(high - low + 1)[:count].astype(np.float64)
        names = np.empty(0, np.int64)
        while len(names) < count:
            names = np.unique(np.append(names, rng.integers(low, high, size=2 * count, endpoint=True)))
        return rng.permutation(names)[:count].astype(np.float64)

    def _decoded(self, name: str, values: Floats) -> pd.Series[Any]:
        own = _only(self.schema, name)
        return decode(Features(values[:, None], slices(own), own)).table[name]

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``markov.json``, ``markov.safetensors`` and the schema of all columns."""
        arrays: Arrays = {f"cells.{feature}": cells.first for feature, cells in enumerate(self.cells)}
        arrays |= {f"link.{link.feature}": link.table for link in self.links}
        for name, marginal in self.spans.items():
            arrays |= {f"span.{name}.{part}": array for part, array in marginal.to_arrays().items()}
        plan = {
            "links": [[link.feature, link.above] for link in self.links],
            "spans": sorted(self.spans),
            "sequences": [self.sequences.group, self.sequences.order_by, self.sequences.length],
            "initial": [
                [feature, code, None if np.isnan(value) else value] for feature, (code, value) in self.initial.items()
            ],
        }
        self.book.save(directory, "markov", arrays, plan)
        (directory / "rows.json").write_text(self.schema.canonical(), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        book, arrays, plan = Codebook.load(directory, "markov")
        spans = {
            name: Marginal.from_arrays(
                {part: arrays[f"span.{name}.{part}"] for part in ("low", "high", "mass", "null")}
            )
            for name in plan["spans"]
        }
        return cls(
            Schema.from_json(json.loads((directory / "rows.json").read_text(encoding="utf-8"))),
            book,
            tuple(Cells(arrays[f"cells.{feature}"], grid.size) for feature, grid in enumerate(book.grids)),
            tuple(Link(feature, above, arrays[f"link.{feature}"]) for feature, above in plan["links"]),
            spans,
            Sequences(*plan["sequences"]),
            {feature: (code, np.nan if value is None else value) for feature, code, value in plan["initial"]},
        )


GENERATOR = Markov
SAMPLER = MarkovSampler
