"""A Bayesian network of bounded treewidth: structure by a penalised score, and exact draws given any evidence.

The parents of each node lie within a clique of the nodes before it, so the network is its own junction tree: what the
evidence says is passed from the last node to the first, and rows are drawn from the first to the last.

Source: Elidan & Gould 2008, "Learning Bounded Treewidth Bayesian Networks", JMLR 9; Koller & Friedman 2009,
    "Probabilistic Graphical Models", Sec. 9.3 and 18.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy import random
from numpy.typing import NDArray

from synth_components.generators.tabular._codebook import Ints, drawn_by_row, drawn_each
from synth_components.marginal import shared_out
from synth_components.protocols import Floats
from synth_components.support import Owners, num_owners

Parents = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Node:
    """One feature and those that it depends on.

    Attributes:
        feature: Its number.
        parents: Features before it, within one clique.
        table: (cells of each parent ..., cells) probabilities, the last axis summing to 1.
    """

    feature: int
    parents: Parents
    table: Floats

    @property
    def axes(self) -> Parents:
        """The features of the table's axes."""
        return (*self.parents, self.feature)


def structure(
    cells: Sequence[Ints], sizes: Sequence[int], *, max_parents: int, max_cells: int, penalty: float
) -> list[tuple[int, Parents]]:
    """Return features with their parents, in an order in which parents come first.

    Each step takes the feature, and the parents within a clique of those taken, that gain the most.

    Args:
        cells: Of each feature, (n,).
        sizes: Number of cells of each feature.
        max_cells: Most cells of a table.
        penalty: Nats that each free parameter costs, times half of the log of the rows: 1 is BIC.
    Source: Schwarz 1978, "Estimating the dimension of a model", for the score.
    """
    n, w = len(cells[0]), len(cells)
    cost = penalty * np.log(max(n, 2)) / 2
    gains: dict[tuple[int, Parents], float] = {}

    def gain(feature: int, parents: Parents) -> float:
        if (feature, parents) not in gains:
            rows = int(np.prod([sizes[p] for p in parents]))
            counts = _counts(cells, sizes, (*parents, feature)).reshape(rows, sizes[feature])
            used = int((counts.sum(axis=1) > 0).sum())
            shared = _entropy(counts.sum(axis=0)) + _entropy(counts.sum(axis=1)) - _entropy(counts.ravel())
            gains[feature, parents] = n * shared - cost * max(used - 1, 0) * (sizes[feature] - 1)
        return gains[feature, parents]

    open_features = set(range(w))
    if w == 1:
        return [(0, ())]
    ends = [pair for pair in combinations(range(w), 2) if sizes[pair[0]] * sizes[pair[1]] <= max_cells]
    first = max(ends, key=lambda pair: gain(pair[1], (pair[0],)))[0] if ends else 0
    made: list[tuple[int, Parents]] = [(first, ())]
    open_features.discard(first)
    sets: set[Parents] = {(), (first,)}
    while open_features:
        allowed = [
            (feature, parents)
            for feature in sorted(open_features)
            for parents in sorted(sets)
            if sizes[feature] * int(np.prod([sizes[p] for p in parents])) <= max_cells or not parents
        ]
        feature, parents = max(allowed, key=lambda pair: gain(*pair) if pair[1] else 0.0)
        made.append((feature, parents))
        open_features.discard(feature)
        clique = tuple(sorted((*parents, feature)))
        sets |= {subset for size in range(1, max_parents + 1) for subset in combinations(clique, size)}
    return made


def _counts(
    cells: Sequence[Ints], sizes: Sequence[int], axes: Parents, is_counted: NDArray[np.bool_] | None = None
) -> Floats:
    """Return how many rows (cells of each axis ...) have each combination of cells."""
    shape = [sizes[axis] for axis in axes]
    index = _index(cells, sizes, axes)
    index = index if is_counted is None else index[is_counted]
    return np.bincount(index, minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)


def _index(cells: Sequence[Ints], sizes: Sequence[int], axes: Parents) -> Ints:
    """Return the number (n,) of each row's combination of cells."""
    index = np.zeros(len(cells[0]), dtype=np.int64)
    for axis in axes:
        index = index * sizes[axis] + cells[axis]
    return index


def _entropy(counts: Floats) -> float:
    total = counts.sum()
    held = counts[counts > 0] / max(total, 1.0)
    return float(-(held * np.log(held)).sum())


def nodes(
    plan: Sequence[tuple[int, Parents]],
    cells: Sequence[Ints],
    masses: Sequence[Floats],
    *,
    prior: float,
    owners: Owners = None,
    least: int = 1,
) -> tuple[Node, ...]:
    """Return the nodes of a structure, each table holding ``prior`` rows' worth of the marginals (size,).

    Args:
        plan: The features with their parents.
        cells: Of each feature, (n,).
        masses: Of each feature, (size,).
        prior: Rows' worth of the marginal in each line of a table.
        owners: The privacy unit (n,) of each row: a line that fewer than ``least`` have holds the marginal alone, and
            of the rows of no line a unit has a larger share than one in as many.
        least: See ``owners``.
    """
    sizes = [len(mass) for mass in masses]
    made = []
    for feature, parents in plan:
        is_counted = None
        if parents and owners is not None:
            line = _index(cells, sizes, parents)
            is_enough = num_owners(line, owners, int(np.prod([sizes[p] for p in parents]))) >= least
            is_counted = is_enough[line] & shared_out(line, owners, least=least)
        counts = _counts(cells, sizes, (*parents, feature), is_counted) + prior * masses[feature]
        made.append(Node(feature, parents, counts / counts.sum(axis=-1, keepdims=True)))
    return tuple(made)


@dataclass(frozen=True, eq=False)
class Message:
    """What the evidence below a node says of its parents: (n, cells of each parent ...)."""

    axes: Parents
    values: Floats

    def along(self, axes: Parents) -> Floats:
        """Return the values with one axis for each of ``axes``, of size 1 where they say nothing."""
        kept = [axis for axis in axes if axis in self.axes]
        turned = self.values.transpose([0, *(1 + self.axes.index(axis) for axis in kept)])
        sizes = dict(zip(kept, turned.shape[1:], strict=True))
        return turned.reshape(len(turned), *(sizes.get(axis, 1) for axis in axes))


def draw(
    network: Sequence[Node],
    n: int,
    evidence: Sequence[Floats | None],
    *,
    rng: random.Generator,
    which: Ints | None = None,
) -> list[Ints]:
    """Return cells (n,) by feature, drawn exactly given evidence (k, cells) of each, ``None`` for nothing.

    Args:
        which: The line (n,) of the evidence that holds for each row; ``None`` where there is one for each.
    """
    which = np.arange(n) if which is None else which
    told = _told(network, evidence)
    cells: list[Ints] = [np.empty(0, np.int64)] * len(network)
    for node in network:
        shape = node.table.shape[:-1]
        row = np.zeros(n, dtype=np.int64)
        for parent, size in zip(node.parents, shape, strict=True):
            row = row * size + cells[parent]
        flat = node.table.reshape(-1, node.table.shape[-1])
        known = told[node.feature]
        if not known:
            cells[node.feature] = drawn_by_row(flat, row, rng=rng)
            continue
        weights = flat[row]
        for message in known:
            at = message.along(node.axes)
            index = [
                np.zeros(n, np.int64) if size == 1 else cells[parent]
                for parent, size in zip(node.parents, at.shape[1:-1], strict=True)
            ]
            weights = weights * at[(which, *index)]
        cells[node.feature] = drawn_each(weights, rng=rng)
    return cells


def _told(network: Sequence[Node], evidence: Sequence[Floats | None]) -> list[list[Message]]:
    """Return what is known of each feature and those before it: its evidence, and messages of later ones."""
    place = {node.feature: number for number, node in enumerate(network)}
    told: list[list[Message]] = [[] for _ in network]
    for feature, one in enumerate(evidence):
        if one is not None:
            told[feature].append(Message((feature,), one))
    for node in reversed(network):
        known = told[node.feature]
        if not known or not node.parents:
            continue
        if all(message.axes == (node.feature,) for message in known):
            own = known[0].values
            for message in known[1:]:
                own = own * message.values
            values = (own @ node.table.reshape(-1, own.shape[1]).T).reshape(len(own), *node.table.shape[:-1])
        else:
            product: NDArray[np.float64] = node.table[None]
            for message in known:
                product = product * message.along(node.axes)
            values = product.sum(axis=-1)
        top = values.reshape(len(values), -1).max(axis=1)
        values = values / np.maximum(top, 1e-300).reshape(-1, *([1] * len(node.parents)))
        # The latest of the parents has the others among its own, or in its clique's.
        told[max(node.parents, key=place.__getitem__)].append(Message(node.parents, values))
    return told


def parts(network: Sequence[Node], n: int, *, most: int) -> Iterator[Ints]:
    """Yield numbers of rows, as many at a time as have ``most`` cells together in the largest table."""
    size = max(1, most // max((node.table.size for node in network), default=1))
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n))
