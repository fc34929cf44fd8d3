"""A network of discrete columns: each is drawn from its cells' shares given the cells of its parents.

What marginal-based generators keep of a table: shares of cells, estimated from noisy counts, and nothing of any row.

Conditions are met exactly: what they say of cells is passed from the last node to the first, as a bucket tree is its
own junction tree (Koller & Friedman 2009, "Probabilistic Graphical Models", Sec. 9.3), and within a cell, where values
are even, they decide alone.  No conditional share is then below ``LEAST_SHARE``: what underflowed is possible.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy import random
from safetensors.numpy import load_file, save_file

from synth_components.encode import decode, slices
from synth_components.generators.tabular import _junction
from synth_components.generators.tabular._codebook import MOST_AT_ONCE
from synth_components.generators.tabular._condition import Condition, conditions
from synth_components.generators.tabular._public_cells import Cells, Codes, cells_of, grids_of, valued
from synth_components.protocols import Dataset, Floats, Given
from synth_components.schema import Schema

LEAST_SHARE = 1e-9
"""Least share of a cell, given those of its parents, where conditions are met."""


@dataclass(frozen=True, eq=False)
class Node:
    """One column of a network.

    Attributes:
        column: Its name.
        parents: Names of columns that are drawn before it.
        shares: (cells of each parent ..., cells) probabilities, the last axis summing to 1.
    """

    column: str
    parents: tuple[str, ...]
    shares: Floats

    @cached_property
    def _cumulative(self) -> Floats:
        flat = self.shares.reshape(-1, self.shares.shape[-1])
        return np.cumsum(flat, axis=1) + np.arange(len(flat))[:, None]

    def draw(self, codes: Mapping[str, Codes], n: int, *, rng: random.Generator) -> Codes:
        """Return the cells (n,) of the column, given those of its parents."""
        size = self.shares.shape[-1]
        row = np.zeros(n, dtype=np.int64)
        for parent, cells in zip(self.parents, self.shares.shape[:-1], strict=True):
            row = row * cells + codes[parent]
        # One sorted search for all rows: row r of the table lies between r and r + 1.
        drawn = np.searchsorted(self._cumulative.ravel(), row + rng.random(n), side="right") - row * size
        return np.asarray(np.clip(drawn, 0, size - 1))


@dataclass(frozen=True, eq=False)
class NetworkSampler:
    """Nodes in an order in which parents come first."""

    schema: Schema
    bins: int
    nodes: tuple[Node, ...]

    @cached_property
    def _cells(self) -> dict[str, Cells]:
        return cells_of(self.schema, bins=self.bins)

    @cached_property
    def _tables(self) -> tuple[_junction.Node, ...]:
        """The nodes by the numbers of their columns, with no share of 0."""
        number = {name: place for place, name in enumerate(self.schema.columns)}
        made = []
        for node in self.nodes:
            table = np.maximum(node.shares, LEAST_SHARE)
            table = table / table.sum(axis=-1, keepdims=True)
            made.append(_junction.Node(number[node.column], tuple(number[name] for name in node.parents), table))
        return tuple(made)

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows, by the exact law of the model given what is asked for.

        Raises:
            ConditionError: for unknown columns, and conditions that no cell holds.
            UnsupportedError: for conditions on integers beyond 2^53.
        """
        if given is not None and given.columns:
            return self._given(given, n, rng=rng)
        codes: dict[str, Codes] = {}
        for node in self.nodes:
            codes[node.column] = node.draw(codes, n, rng=rng)
        return decode(valued(codes, self._cells, self.schema, rng))

    def _given(self, given: Given, n: int, *, rng: random.Generator) -> Dataset:
        """Return ``n`` rows that meet conditions."""
        places, grids = slices(self.schema), grids_of(self._cells, self.schema)
        asked = conditions(given, n, schema=self.schema, grids=grids)
        wanted = {name: asked[where.start] for name, where in places.items() if where.start in asked}
        whole = {name: np.empty(n, dtype=np.int64) for name in self.schema.columns}
        # What is passed up follows from what is asked: of rows that ask the same it is worked out once.
        asking = [np.where(one.is_fixed, one.codes, -1) for one in wanted.values()]
        _, firsts, which = np.unique(np.column_stack(asking), axis=0, return_index=True, return_inverse=True)
        order = np.argsort(which.ravel(), kind="stable")
        ends = np.searchsorted(which.ravel()[order], np.arange(len(firsts) + 1))
        for part in _junction.parts(self._tables, len(firsts), most=MOST_AT_ONCE):
            rows = order[ends[part[0]] : ends[part[-1] + 1]]
            evidence = [_evidence(wanted.get(name), firsts[part]) for name in self.schema.columns]
            alike = which.ravel()[rows] - part[0]
            codes = _junction.draw(self._tables, len(rows), evidence, rng=rng, which=alike)
            for held, drawn in zip(whole.values(), codes, strict=True):
                held[rows] = drawn
        made = valued(whole, self._cells, self.schema, rng)
        for name, one in wanted.items():
            where = places[name].start
            within = self._cells[name].values(whole[name], rng=rng, low=one.low, high=one.high)[:, 0]
            made.values[:, where] = one.placed(within, whole[name], grids[where], rng=rng)
        return decode(made)

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``network.json`` and ``network.safetensors``."""
        (directory / "schema.json").write_text(self.schema.canonical(), encoding="utf-8")
        said = {"bins": self.bins, "nodes": [[node.column, *node.parents] for node in self.nodes]}
        (directory / "network.json").write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")
        arrays = {str(position): np.ascontiguousarray(node.shares) for position, node in enumerate(self.nodes)}
        save_file(arrays, directory / "network.safetensors")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        schema = Schema.from_json(json.loads((directory / "schema.json").read_text(encoding="utf-8")))
        said = json.loads((directory / "network.json").read_text(encoding="utf-8"))
        arrays = load_file(directory / "network.safetensors")
        nodes = tuple(
            Node(column, tuple(parents), arrays[str(position)])
            for position, (column, *parents) in enumerate(said["nodes"])
        )
        return cls(schema, int(said["bins"]), nodes)


def _evidence(condition: Condition | None, rows: Codes) -> Floats | None:
    """Return how much (n, cells) of each cell some rows may have: the fixed one alone where there is one."""
    if condition is None:
        return None
    fixed = np.arange(len(condition.share)) == condition.codes[rows, None]
    return np.asarray(np.where(condition.is_fixed[rows, None], fixed, condition.share))


def in_order(nodes: Sequence[Node], schema: Schema) -> tuple[Node, ...]:
    """Return the nodes, with every column of the schema, parents first.

    Raises:
        ValueError: if a parent comes after its child, or a column has not one node.
    """
    seen: set[str] = set()
    for node in nodes:
        if not seen.issuperset(node.parents):
            raise ValueError(f"a parent of column '{node.column}' comes after it")
        seen.add(node.column)
    if len(seen) != len(nodes) or seen != set(schema.columns):
        raise ValueError("a network has one node for each column of the schema")
    return tuple(nodes)
