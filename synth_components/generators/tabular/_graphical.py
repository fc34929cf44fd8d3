"""Graphical models of columns, estimated from noisy counts of some of them together.

The model is the one of most entropy among those whose marginals are nearest to the counts, in squares over the noise's
variance.  It is held as a bucket tree, one bucket for each column and the columns that it depends on, from which a
network of columns with exactly its distribution is read off.

Source: McKenna, Sheldon & Miklau 2019, "Graphical-model based estimation and inference for differential privacy"
    (arXiv:1901.09136), Algorithm 1; bucket trees: Dechter 1999, "Bucket elimination", Section 4.
Differs: our own arrays instead of private-pgm, whose compiler takes ten times as long as the estimate of a table of
    this size, and which brings several hundred megabytes; ends early once the loss stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from synth_components.generators.tabular._network import Node
from synth_components.generators.tabular._public_cells import Cells, Codes
from synth_components.privacy.noise import Counts, Grant, deviation, noisy_counts
from synth_components.protocols import Floats
from synth_components.schema import Schema

Clique: TypeAlias = tuple[str, ...]

_STILL = 1e-6
"""Relative decrease of the loss, over ``_PATIENCE`` steps, below which the estimate has arrived."""

_PATIENCE = 50
_ARMIJO = 0.5
_GROWTH, _SHRINKAGE = 1.02, 0.5


@dataclass(frozen=True, eq=False)
class Measurement:
    """Noisy counts of the cells of some columns together.

    Attributes:
        clique: Names of the columns.
        counts: (product of cells,) in row-major order.
        deviation: Standard deviation of the noise in each, in rows.
    """

    clique: Clique
    counts: Counts
    deviation: float


@dataclass(frozen=True, eq=False)
class Network:
    """An estimated model: a node for each column, parents first, and how many rows the counts tell of."""

    nodes: tuple[Node, ...]
    total: float

    @cached_property
    def _nodes(self) -> Mapping[str, Node]:
        return {node.column: node for node in self.nodes}

    def counts(self, clique: Clique) -> Floats:
        """Return the expected counts (product of cells,) of the cells of some columns together, row-major."""
        needed: set[str] = set()
        waiting = list(clique)
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting += self._nodes[name].parents
        tables = [((*node.parents, node.column), node.shares) for node in self.nodes if node.column in needed]
        # Children first: when a column is summed out, only its own table and its parents' are left with it.
        for node in reversed(self.nodes):
            if node.column in needed and node.column not in clique:
                touched = [table for table in tables if node.column in table[0]]
                names = tuple(dict.fromkeys(name for held, _ in touched for name in held if name != node.column))
                tables = [table for table in tables if node.column not in table[0]]
                tables.append((names, _product(touched, names)))
        return np.asarray(self.total * _product(tables, clique)).ravel()


def _product(tables: Sequence[tuple[Clique, Floats]], kept: Clique) -> Floats:
    """Return the product of tables, whose axes are named, summed over all names but ``kept``."""
    letter = {name: i for i, name in enumerate(dict.fromkeys(name for names, _ in tables for name in names))}
    operands: list[Any] = []
    for names, table in tables:
        operands += [table, [letter[name] for name in names]]
    return np.asarray(np.einsum(*operands, [letter[name] for name in kept], optimize="greedy"))


def rows_per_unit(schema: Schema) -> int:
    """Return how many rows one privacy unit has at most: the sensitivity of every count."""
    return 1 if schema.unit is None else schema.unit.max_rows


def counted(codes: Mapping[str, Codes], clique: Clique, cells: Mapping[str, Cells]) -> Counts:
    """Return the exact counts (product of cells,) of the cells of some columns together."""
    shape = tuple(cells[name].size for name in clique)
    places = np.ravel_multi_index([codes[name] for name in clique], shape)
    return np.bincount(places, minlength=int(np.prod(shape))).astype(np.int64)


def measured(
    codes: Mapping[str, Codes],
    cliques: Sequence[Clique],
    cells: Mapping[str, Cells],
    *,
    amount: float,
    grant: Grant,
    sensitivity: int,
) -> list[Measurement]:
    """Return noisy counts of each clique, for ``amount`` of the grant in all."""
    each = amount / max(len(cliques), 1)
    spread = deviation(each, mechanism=grant.mechanism, sensitivity=sensitivity)
    return [
        Measurement(
            clique,
            noisy_counts(counted(codes, clique, cells), amount=each, grant=grant, sensitivity=sensitivity),
            spread,
        )
        for clique in cliques
    ]


def total_of(measurements: Sequence[Measurement]) -> float:
    """Return the number of rows that noisy counts tell of, each weighted by its precision; at least 1."""
    weights = np.array([1 / (one.deviation**2 * len(one.counts)) for one in measurements])
    sums = np.array([float(one.counts.sum()) for one in measurements])
    return max(1.0, float(weights @ sums / weights.sum()))


def estimated(cells: Mapping[str, Cells], measurements: Sequence[Measurement], *, iterations: int) -> Network:
    """Return the model nearest to the measurements, by at most ``iterations`` steps of mirror descent."""
    tree = BucketTree.of({name: one.size for name, one in cells.items()}, [one.clique for one in measurements])
    total = total_of(measurements)
    theta = [np.zeros(bucket.shape) for bucket in tree.buckets]
    shares = tree.marginals(theta)
    loss, gradient = _loss(tree, shares, measurements, total)
    step = 2.0 / (total * sum(1 / one.deviation**2 for one in measurements))
    losses = [loss]
    for _ in range(iterations):
        tried = [held - step * part for held, part in zip(theta, gradient, strict=True)]
        moved = tree.marginals(tried)
        moved_loss, moved_gradient = _loss(tree, moved, measurements, total)
        gain = sum(float(np.vdot(part, a - b)) for part, a, b in zip(gradient, shares, moved, strict=True))
        if loss - moved_loss >= _ARMIJO * step * total * gain:
            theta, shares, loss, gradient = tried, moved, moved_loss, moved_gradient
            step *= _GROWTH
        else:
            step *= _SHRINKAGE
        losses.append(loss)
        if len(losses) > _PATIENCE and losses[-1 - _PATIENCE] - loss <= _STILL * max(loss, 1.0):
            break
    return Network(tree.nodes(theta), total)


def _loss(
    tree: BucketTree, shares: Sequence[Floats], measurements: Sequence[Measurement], total: float
) -> tuple[float, list[Floats]]:
    """Return half the squared distance from the measurements, over the noise's variance, and its gradient by bucket."""
    loss = 0.0
    gradient = [np.zeros(bucket.shape) for bucket in tree.buckets]
    for one in measurements:
        place = tree.place_of(one.clique)
        names = tree.buckets[place].names
        expected = total * _summed(shares[place], names, one.clique)
        miss = (expected - one.counts.reshape(expected.shape)) / one.deviation
        loss += float(np.vdot(miss, miss)) / 2
        gradient[place] += _spread(miss / one.deviation, one.clique, names)
    return loss, gradient


@dataclass(frozen=True)
class Bucket:
    """A column with those that it depends on, in a bucket tree.

    Attributes:
        names: The columns that are eliminated later, in the schema's order, then the bucket's own.
        shape: Number of cells of each.
        upper: Position of the bucket that takes this one's message; ``None`` for a root.
    """

    names: Clique
    shape: tuple[int, ...]
    upper: int | None


@dataclass(frozen=True, eq=False)
class BucketTree:
    """Buckets in the order of elimination: a message goes to a later one."""

    buckets: tuple[Bucket, ...]

    @classmethod
    def of(cls, sizes: Mapping[str, int], cliques: Sequence[Clique]) -> BucketTree:
        """Return a tree in which every clique lies within a bucket; the smallest bucket goes first."""
        near: dict[str, set[str]] = {name: set() for name in sizes}
        for clique in cliques:
            for name in clique:
                near[name] |= set(clique) - {name}
        order: list[tuple[str, Clique]] = []
        while near:
            column = min(near, key=lambda name: math.prod(sizes[other] for other in (name, *near[name])))
            others = near.pop(column)
            for name in others:
                near[name] |= others - {name}
                near[name].discard(column)
            order.append((column, tuple(name for name in sizes if name in others)))
        place = {column: position for position, (column, _) in enumerate(order)}
        return cls(
            tuple(
                Bucket(
                    (*others, column),
                    tuple(sizes[name] for name in (*others, column)),
                    min((place[name] for name in others), default=None),
                )
                for column, others in order
            )
        )

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {bucket.names[-1]: position for position, bucket in enumerate(self.buckets)}

    def place_of(self, clique: Clique) -> int:
        """Return the position of the bucket that holds a clique: that of its first eliminated column."""
        return min(self._places[name] for name in clique)

    def marginals(self, theta: Sequence[Floats]) -> list[Floats]:
        """Return the joint shares of each bucket's columns, for log-potentials ``theta``."""
        given = self._given(theta)
        joint: list[Floats] = [np.empty(0)] * len(given)
        for position in reversed(range(len(given))):
            bucket = self.buckets[position]
            if bucket.upper is None:
                joint[position] = given[position]
            else:
                above = _summed(joint[bucket.upper], self.buckets[bucket.upper].names, bucket.names[:-1])
                joint[position] = above[..., None] * given[position]
        return joint

    def nodes(self, theta: Sequence[Floats]) -> tuple[Node, ...]:
        """Return the distribution as a network, parents first."""
        given = self._given(theta)
        return tuple(
            Node(bucket.names[-1], bucket.names[:-1], shares)
            for bucket, shares in reversed(list(zip(self.buckets, given, strict=True)))
        )

    def _given(self, theta: Sequence[Floats]) -> list[Floats]:
        """Return each column's shares given the others of its bucket."""
        potentials = [np.array(part) for part in theta]
        given: list[Floats] = []
        for bucket, potential in zip(self.buckets, potentials, strict=True):
            highest = potential.max(axis=-1, keepdims=True)
            risen = np.exp(potential - highest)
            mass = risen.sum(axis=-1, keepdims=True)
            given.append(risen / mass)
            if bucket.upper is not None:
                message = (np.log(mass) + highest)[..., 0]
                upper = self.buckets[bucket.upper]
                potentials[bucket.upper] += _spread(message, bucket.names[:-1], upper.names)
        return given


def _summed(array: Floats, names: Clique, kept: Clique) -> Floats:
    """Return ``array``, whose axes are ``names``, summed over all columns but ``kept``, in the order of ``kept``."""
    lost = tuple(axis for axis, name in enumerate(names) if name not in kept)
    left = [name for name in names if name in kept]
    return np.asarray(array.sum(axis=lost).transpose([left.index(name) for name in kept]))


def _spread(array: Floats, names: Clique, wider: Clique) -> Floats:
    """Return ``array``, whose axes are ``names``, so that it broadcasts over axes ``wider``, which hold them."""
    held = [name for name in wider if name in names]
    ordered = array.transpose([names.index(name) for name in held])
    return ordered[tuple(slice(None) if name in names else None for name in wider)]
