"""A network of discrete columns: each is drawn from its cells' shares given the cells of its parents.

What marginal-based generators keep of a table: shares of cells, estimated from noisy counts, and nothing of any row.
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

from synth_components.encode import decode
from synth_components.errors import UnsupportedError
from synth_components.generators.tabular._public_cells import Cells, Codes, cells_of, valued
from synth_components.protocols import Dataset, Floats, Given
from synth_components.schema import Schema


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

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows.

        Raises:
            UnsupportedError: for any condition; ``Model`` resamples instead.
        """
        if given is not None and given.columns:
            raise UnsupportedError("a network of columns does not condition by itself")
        codes: dict[str, Codes] = {}
        for node in self.nodes:
            codes[node.column] = node.draw(codes, n, rng=rng)
        return decode(valued(codes, self._cells, self.schema, rng))

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
