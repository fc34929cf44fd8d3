"""Private trees: a tree of pairs from noisy counts, and for each column a small tree where real rows lie off it.

Differentially private: give a budget (``epsilon``, ``delta``) and a public schema.  The guarantee is
(epsilon, delta)-differential privacy for one unit of the schema (a row unless declared otherwise), added or removed.
All of it is one charge of zero-concentrated DP, shared out among the noisy counts and choices of a first model (MST),
for each column the noisy choice of the cuts of its tree, and noisy counts of its cells in the leaves.  What is expected
of a leaf follows from what was released before, so that one unit moves a score, the L1 distance of counts from what is
expected, by as many as its rows, and the counts of all leaves together by as many.

Source: McKenna, Miklau & Sheldon 2021 (arXiv:2108.04978), Algorithm 2, for the first model; Reiter 2005, "Using CART to
    generate partially synthetic public use microdata", for columns one after the other; Feldman & Zrnic 2021
    (arXiv:2008.11193), the privacy filter, for the composition: what a part costs follows from what was released.
Differs: all leaves of one depth are cut alike, since a choice for all rows at once drowns less in its noise than one
    for each leaf; a tree does not replace the first model's shares, it changes them by factors, and by the less the
    more of a leaf's distance noise explains.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy import random
from numpy.typing import NDArray
from pydantic import Field
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix

from synth_components.config import ConfigError, Recipe
from synth_components.errors import StoppedError, UnsupportedError
from synth_components.generators.tabular._graphical import Clique, Network, counted, measured, rows_per_unit
from synth_components.generators.tabular._network import NetworkSampler, Node, in_order
from synth_components.generators.tabular._public_cells import BINS, Bins, Cells, Codes, cells_of, coded
from synth_components.generators.tabular.mst import MST
from synth_components.privacy.contribution import bounded
from synth_components.privacy.noise import Grant, deviation, granted, noisy_best
from synth_components.protocols import Dataset, Floats, Given, PrivacyLedger, Run
from synth_components.schema import Schema

_DRAWN = 50_000
"""Rows of the model so far, from which it is known what a leaf is expected to hold."""
_FEWEST = 1_000
_TABLE = 2**23
"""Most entries of a table of rows and cells at a time: 64 MiB."""
_BALANCING = 5
_LEAST = 1e-12
"""Share that every cell keeps, so that a row always has one to be drawn from."""
_LEAF = "\0leaf"
_FACTORS = (1e-3, 1e3)


@dataclass(frozen=True, eq=False)
class Cut:
    """Two halves of a column's cells, ``left`` (cells,) being true in one."""

    column: str
    left: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Corrected(Node):
    """One column of the first model, with factors by the leaf of a tree over the columns before it.

    Attributes:
        cuts: One for each depth; the leaf is the binary number of the sides, the first cut's being the highest digit.
        factors: (2 ** cuts, cells) that the shares are multiplied by.
    """

    cuts: tuple[Cut, ...]
    factors: Floats

    @classmethod
    def of(cls, node: Node, cuts: Sequence[Cut], factors: Floats) -> Self:
        """Return a column with its tree."""
        return cls(node.column, node.parents, node.shares, tuple(cuts), factors)

    def draw(self, codes: Mapping[str, Codes], n: int, *, rng: random.Generator) -> Codes:
        """Return the cells (n,) of the column, given those of the columns before it."""
        if not self.cuts and (self.factors == 1).all():
            return super().draw(codes, n, rng=rng)
        uniforms = rng.random(n)
        leaf = leaf_of(self.cuts, codes, n)
        made = np.empty(n, dtype=np.int64)
        step = max(1, _TABLE // self.factors.shape[1])
        for start in range(0, n, step):
            rows = slice(start, start + step)
            ends = np.cumsum(_moved(shares_of(self, codes, rows, n), self.factors[leaf[rows]]), axis=1)
            made[rows] = (ends < uniforms[rows, None]).sum(axis=1)
        return np.asarray(np.minimum(made, self.factors.shape[1] - 1))


def shares_of(node: Node, codes: Mapping[str, Codes], rows: slice, n: int) -> Floats:
    """Return a node's shares (rows, cells) given its parents' cells, of ``n`` rows those in a slice."""
    place = np.zeros(n, dtype=np.int64)[rows]
    for parent, size in zip(node.parents, node.shares.shape[:-1], strict=True):
        place = place * size + codes[parent][rows]
    return np.asarray(node.shares.reshape(-1, node.shares.shape[-1])[place])


def leaf_of(cuts: Sequence[Cut], codes: Mapping[str, Codes], n: int) -> Codes:
    """Return the leaf (n,) of each row."""
    leaf = np.zeros(n, dtype=np.int64)
    for cut in cuts:
        leaf = 2 * leaf + ~cut.left[codes[cut.column]]
    return leaf


def _moved(shares: Floats, factors: Floats) -> Floats:
    moved = shares * factors + _LEAST
    return np.asarray(moved / moved.sum(axis=1, keepdims=True))


def _summed(index: Codes, size: int, shares: Floats) -> Floats:
    """Return sums (size, cells) of shares (n, cells) by index (n,)."""
    n = len(index)
    return np.asarray(csr_matrix((np.ones(n), (index, np.arange(n))), shape=(size, n)) @ shares)


def halves(cells: Cells, by_cell: Floats) -> tuple[Floats, list[NDArray[np.bool_]]]:
    """Return what lies left of each cut, of values (leaves, cells, k), and the cuts.

    They are at an edge of a number, or part one category from the others.
    """
    size = cells.size
    if cells.edges is None:
        ways = 1 if size == 2 else size
        return by_cell[:, :ways], list(np.eye(size, dtype=bool)[:ways])
    return np.cumsum(by_cell, axis=1)[:, :-1], list(np.tri(size - 1, size, dtype=bool))


def rooted(model: Network, pairs: Sequence[Clique], root: str) -> tuple[Node, ...]:
    """Return the distribution of a model of a forest of pairs as a network that is drawn from ``root`` on."""
    made: dict[str, Node] = {}
    for start in (root, *(node.column for node in model.nodes)):
        waiting = [] if start in made else [Node(start, (), model.counts((start,)) / model.total)]
        for node in waiting:
            made[node.column] = node
            near = [b if a == node.column else a for a, b in pairs if node.column in (a, b)]
            for name in near:
                if name not in made:
                    size = len(model.counts((name,)))
                    joint = model.counts((node.column, name)).reshape(-1, size) + _LEAST
                    waiting.append(Node(name, (node.column,), joint / joint.sum(axis=1, keepdims=True)))
    return tuple(made.values())


def simplex(values: Floats, total: float) -> Floats:
    """Return the nearest counts (k,) that are not negative and sum to ``total``."""
    ordered = np.sort(values)[::-1]
    excess = (np.cumsum(ordered) - total) / np.arange(1, len(values) + 1)
    last = np.flatnonzero(ordered > excess)[-1]
    return np.asarray(np.maximum(values - excess[last], 0.0))


def shrunk(noisy: Floats, expected: Floats, variance: float) -> Floats:
    """Return shares (k,) between those of noisy counts and of expected ones.

    Empirical Bayes: a count lies off the expected one by a variance in proportion to it, found by its moments.
    """
    total = max(float(noisy.sum()), 1.0)
    prior = expected * (total / expected.sum())
    off = noisy - prior
    off = off - off.mean()
    apart = max(0.0, float(off @ off) - variance * (len(off) - 1)) / total * prior
    return simplex(prior + apart / (apart + variance) * off, total) / total


class PrivateTrees(Recipe):
    """Draw each column from noisy pairs, corrected by the leaf of a private tree on the columns before it."""

    needs: ClassVar[tuple[str, ...]] = ("opendp",)

    bins: Bins = BINS
    target: str = Field(
        "", description="Column that is drawn first, so that every tree may ask about it. Empty: none is preferred."
    )
    first_share: float = Field(0.4, gt=0, lt=1, description="Share of the budget for the tree of pairs.")
    split_share: float = Field(0.2, gt=0, lt=1, description="Share of the budget for choosing the cuts of trees.")
    depth: int = Field(2, ge=1, le=8, description="Most cuts between the root of a column's tree and a leaf.")
    stop: float = Field(
        0.25,
        ge=0,
        le=100,
        description="Noise of a leaf's counts, times this, that a cut has to lie off what is expected.",
    )
    max_cells: int = Field(
        20_000, ge=4, le=10_000_000, description="Most cells of a pair of columns that may be counted together."
    )
    iterations: int = Field(
        1_000, ge=10, le=100_000, description="Steps of mirror descent that fit the tree of pairs to the noisy counts."
    )

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> PrivateTreesSampler:
        """Return the fitted columns; ``rng`` draws rows of the model so far, and no noise.

        Raises:
            ConfigError: if ``target`` is no column, or the shares leave nothing for leaves.
        """
        cells = cells_of(data.schema, bins=self.bins)
        if self.target and self.target not in cells:
            raise ConfigError(
                f"option 'target' of PrivateTrees: there is no modelled column '{self.target}'", option="target"
            )
        if self.first_share + self.split_share >= 1:
            raise ConfigError(
                "option 'split_share' of PrivateTrees: with first_share it leaves nothing for leaves; lower one",
                option="split_share",
            )
        if run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        grant = granted("fit tabular.private_trees", ledger, unit=data.schema.unit, mechanism="gaussian")
        codes = coded(bounded(data), cells)
        sensitivity = rows_per_unit(data.schema)
        first, pairs = MST(bins=self.bins, max_cells=self.max_cells, iterations=self.iterations).estimate(
            codes, cells, grant, amount=self.first_share * grant.total, sensitivity=sensitivity
        )
        nodes = rooted(first, pairs, self.target or first.nodes[0].column)
        rows = max(_FEWEST, min(_DRAWN, _TABLE // max(one.size for one in cells.values())))
        columns: list[Corrected] = []
        drawn: dict[str, Codes] = {}
        splitting = self.split_share * grant.total / max(len(nodes) - 1, 1)
        for position, node in enumerate(nodes):
            run.report(position, len(nodes))
            if run.should_stop():
                raise StoppedError("fit stopped as asked; nothing was saved")
            one = Corrected.of(node, (), np.ones((1, cells[node.column].size)))
            if position:
                left = len(nodes) - position
                filling = (grant.left - splitting * left) / left  # a column without a tree leaves its part to others
                part = _Part(grant, splitting / self.depth, filling * (1 - 1e-9), sensitivity, first.total)
                one = self._corrected(node, codes, drawn, cells, part, is_last=left == 1)
            drawn[node.column] = one.draw(drawn, rows, rng=rng)
            columns.append(one)
        run.report(len(nodes), len(nodes))
        in_order(columns, data.schema)
        return PrivateTreesSampler(data.schema, self.bins, tuple(columns))

    def _corrected(
        self,
        node: Node,
        codes: Mapping[str, Codes],
        drawn: Mapping[str, Codes],
        cells: Mapping[str, Cells],
        part: _Part,
        *,
        is_last: bool,
    ) -> Corrected:
        """Return a column with the tree of where its real cells lie off what the model so far expects."""
        name, size = node.column, cells[node.column].size
        m = len(next(iter(drawn.values())))
        shares = shares_of(node, drawn, slice(None), m)
        spread = deviation(part.filling, mechanism="gaussian", sensitivity=part.sensitivity)
        # Cells that stand out of the noise: what a leaf costs.
        wide = max(int((shares.mean(axis=0) * part.total > 2 * spread).sum()), 2)
        cuts: list[Cut] = []
        for _ in range(self.depth):
            found = self._cut(name, cuts, codes, drawn, cells, shares, part, enough=self.stop * spread * wide)
            if found is None:
                break
            cuts.append(found)
        if not cuts and not is_last:
            return Corrected.of(node, (), np.ones((1, size)))
        leaves = 2 ** len(cuts)
        with_leaf = {**codes, _LEAF: leaf_of(cuts, codes, len(codes[name]))}
        (counts,) = measured(
            with_leaf,
            [(_LEAF, name)],
            {**cells, _LEAF: Cells(None, leaves, has_null=False)},
            amount=part.filling,
            grant=part.grant,
            sensitivity=part.sensitivity,
        )
        theirs = leaf_of(cuts, drawn, m)
        expected = _summed(theirs, leaves, shares) + _LEAST
        noisy = counts.counts.reshape(leaves, size).astype(np.float64)
        wanted = np.array([shrunk(y, e, spread**2) * e.sum() for y, e in zip(noisy, expected, strict=True)])
        factors = np.ones((leaves, size))
        for _ in range(_BALANCING):  # a row's shares are made to sum to 1, which moves those of its leaf
            reached = _summed(theirs, leaves, _moved(shares, factors[theirs])) + 1e-6
            factors = np.clip(factors * wanted / reached, *_FACTORS)
        return Corrected.of(node, cuts, factors)

    def _cut(
        self,
        name: str,
        cuts: Sequence[Cut],
        codes: Mapping[str, Codes],
        drawn: Mapping[str, Codes],
        cells: Mapping[str, Cells],
        shares: Floats,
        part: _Part,
        *,
        enough: float,
    ) -> Cut | None:
        """Return the cut of all leaves whose halves lie farthest off what is expected, chosen privately."""
        size, leaves = cells[name].size, 2 ** len(cuts)
        m = len(shares)
        own = {_LEAF: leaf_of(cuts, codes, len(codes[name])), **codes}
        theirs = leaf_of(cuts, drawn, m)
        sizes = {**cells, _LEAF: Cells(None, leaves, has_null=False)}
        scores: list[Floats] = []
        open_cuts: list[Cut] = []
        base = 0.0
        for other in drawn:
            k = cells[other].size
            if k < 2 or k * size > self.max_cells:
                continue
            real = counted(own, (_LEAF, other, name), sizes).reshape(leaves, k, size)
            expected = _summed(theirs * k + drawn[other], leaves * k, shares).reshape(leaves, k, size)
            off = real - expected * (part.total / m)
            whole = off.sum(axis=1, keepdims=True)
            left, ways = halves(cells[other], off)
            scores.append((np.abs(left) + np.abs(whole - left)).sum(axis=(0, 2)))
            open_cuts += [Cut(other, way) for way in ways]
            base = float(np.abs(whole).sum())
        if not open_cuts:
            return None
        # The largest of many noises is not to pass for a cut.
        noise = part.sensitivity / math.sqrt(2 * part.choosing) * math.log(len(open_cuts))
        candidates = np.append(np.concatenate(scores), base + noise + enough * leaves)
        best = noisy_best(candidates, amount=part.choosing, grant=part.grant, sensitivity=part.sensitivity)
        return open_cuts[best] if best < len(open_cuts) else None


@dataclass(frozen=True)
class _Part:
    """What one column may spend: of each cut ``choosing``, of its leaves ``filling``; ``total`` rows are expected."""

    grant: Grant
    choosing: float
    filling: float
    sensitivity: int
    total: float


@dataclass(frozen=True, eq=False)
class PrivateTreesSampler(NetworkSampler):
    """A network whose columns have trees."""

    nodes: tuple[Corrected, ...]

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows.

        Raises:
            UnsupportedError: for any condition; ``Model`` resamples instead.
        """
        if given is not None and given.columns:
            raise UnsupportedError("tabular.private_trees does not condition by itself: a tree asks about any column")
        return super().sample(n, rng=rng)

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``trees.json`` and ``trees.safetensors``."""
        (directory / "schema.json").write_text(self.schema.canonical(), encoding="utf-8")
        said = {
            "bins": self.bins,
            "columns": [
                {
                    "column": one.column,
                    "parents": list(one.parents),
                    "cuts": [cut.column for cut in one.cuts],
                }
                for one in self.nodes
            ],
        }
        (directory / "trees.json").write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")
        arrays: dict[str, NDArray[np.generic]] = {}
        for position, one in enumerate(self.nodes):
            arrays[f"{position}.shares"] = np.ascontiguousarray(one.shares)
            arrays[f"{position}.factors"] = np.ascontiguousarray(one.factors)
            for depth, cut in enumerate(one.cuts):
                arrays[f"{position}.left.{depth}"] = np.ascontiguousarray(cut.left)
        save_file(arrays, directory / "trees.safetensors")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        schema = Schema.from_json(json.loads((directory / "schema.json").read_text(encoding="utf-8")))
        said = json.loads((directory / "trees.json").read_text(encoding="utf-8"))
        arrays = load_file(directory / "trees.safetensors")
        nodes = tuple(
            Corrected(
                one["column"],
                tuple(one["parents"]),
                arrays[f"{position}.shares"],
                tuple(Cut(name, arrays[f"{position}.left.{depth}"]) for depth, name in enumerate(one["cuts"])),
                arrays[f"{position}.factors"],
            )
            for position, one in enumerate(said["columns"])
        )
        return cls(schema, int(said["bins"]), nodes)


GENERATOR = PrivateTrees
SAMPLER = PrivateTreesSampler
