"""Honest trees for one column given the columns before it: structure from some rows, leaf counts from others.

Source: Reiter 2005, "Using CART to generate partially synthetic public use microdata"; Nowok, Raab & Dibben 2016,
    "synthpop" (doi:10.18637/jss.v074.i11); Athey & Imbens 2016 (arXiv:1504.01132), honest trees; Cevid et al. 2022
    (arXiv:2005.14458), distributional random forests: splits that separate whole distributions.
Differs: numeric targets are split by the squared error of a few cosines of their rank, not of a random Fourier
    feature map; a split stays only if rows that did not choose it bear it out (a Dirichlet Bayes factor over the node's
    own quantiles); a leaf that too few rows fill draws from its nearest ancestor with enough.

Where it is known whose each row is, all of this is of privacy units: those that choose a tree's structure do not fill
its leaves, a leaf is of many units and not of many rows of one, and of the rows of a leaf no unit has a large share.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from os import cpu_count
from typing import Any, Self

import numpy as np
from numpy import random
from numpy.typing import NDArray

from synth_components.generators.tabular._grid import Codes
from synth_components.marginal import shared_out
from synth_components.protocols import Floats
from synth_components.support import Owners

Ints = NDArray[np.int64]
Context = NDArray[np.float32]

COSINES = 4
"""Cosines of the rank that a numeric target is split by."""
MAX_CLASSES = 64
"""Most categories that are split by Gini impurity; beyond, the commonest, their order and random signs are."""
EVIDENCE_BINS = 8
"""Quantile bins of a node, or groups of categories beside twice as many common ones, that a split must tell apart."""
PRIOR = 0.5
"""Dirichlet prior count of each bin."""
FEW_CELLS = 8
"""Nodes times codes per row up to which they are counted in one table."""
MAX_EXPANDED = 2**20
"""Most rows in the leaves of a forest of which each has its code in a table: 4 MiB."""


@dataclass(frozen=True)
class Growth:
    """How trees grow.

    Attributes:
        n_trees: Trees.
        min_leaf: Fewest structure rows, or privacy units that have some, in a leaf.
        min_evidence: Log Bayes factor that a split needs.
    """

    n_trees: int
    min_leaf: int
    min_evidence: float


@dataclass(frozen=True, eq=False)
class Structure:
    """One tree in preorder: the left child of node i is i + 1.

    Attributes:
        feature: (m,) column of the context that the node asks about, -1 in a leaf.
        threshold: (m,) codes up to it go left.
        right: (m,) right child, 0 in a leaf.
    """

    feature: NDArray[np.int16]
    threshold: NDArray[np.uint32]
    right: NDArray[np.int32]

    @cached_property
    def parent(self) -> Ints:
        """(m,) parents; the root is its own."""
        parent = np.zeros(len(self.feature), dtype=np.int64)
        inner = np.flatnonzero(self.feature >= 0)
        parent[inner + 1] = inner
        parent[self.right[inner]] = inner
        return parent

    @cached_property
    def levels(self) -> list[Ints]:
        """The inner nodes (k,) of each depth, the root first."""
        made: list[Ints] = []
        nodes = np.flatnonzero(self.feature[:1] >= 0)
        while len(nodes):
            made.append(nodes)
            children = np.concatenate([nodes + 1, self.right[nodes]])
            nodes = children[self.feature[children] >= 0]
        return made

    @cached_property
    def leaf_rank(self) -> Ints:
        """(m + 1,) number of leaves before each node; the leaves of a node are consecutive."""
        return np.concatenate([[0], np.cumsum(self.feature < 0)])

    @cached_property
    def end(self) -> Ints:
        """(m,) one past the last node of each node's subtree."""
        end = np.full(len(self.feature), len(self.feature))
        for nodes in self.levels:
            end[nodes + 1] = self.right[nodes]
            end[self.right[nodes]] = end[nodes]
        return end

    def meeting(self, first: Ints, second: Ints) -> Ints:
        """Return the lowest node (k,) that has both of two leaves (k,).

        Args:
            first: Ranks (k,) of leaves.
            second: Ranks (k,) of leaves after these.
        """
        inner = np.flatnonzero(self.feature >= 0)
        between = np.empty(len(inner), dtype=np.int64)  # the node of which one leaf is on the left, the next the right
        between[self.leaf_rank[self.right[inner]] - 1] = inner
        # In preorder the lowest common ancestor is the least of the nodes between; each table has those of 2^k of them.
        made = np.empty(len(first), dtype=np.int64)
        power = np.frexp(second - first)[1] - 1
        for k in range(int(power.max(initial=-1)) + 1):
            rows = np.flatnonzero(power == k)
            made[rows] = np.minimum(between[first[rows]], between[second[rows] - 2**k])
            between = np.minimum(between[: -(2**k)], between[2**k :])
        return made

    @cached_property
    def _compiled(self) -> Any:  # noqa: ANN401 - sklearn has no types
        left = np.where(self.feature >= 0, np.arange(1, len(self.feature) + 1), -1)
        right = np.where(self.feature >= 0, self.right, -1)
        return compiled(self.feature, self.threshold.astype(np.float64), left, right)

    def apply(self, context: Context) -> Ints:
        """Return the leaf node (n,) of each row of codes (n, d); columns that no node asks about are not read."""
        if len(self.feature) == 1:
            return np.zeros(len(context), dtype=np.int64)
        leaves: Ints = self._compiled.apply(context)
        return leaves


def compiled(
    feature: NDArray[Any], threshold: Floats, left: NDArray[Any], right: NDArray[Any], value: Floats | None = None
) -> Any:  # noqa: ANN401 - sklearn has no types
    """Return scikit-learn's compiled tree of the given nodes, for its fast ``apply`` and ``predict``."""
    from sklearn.tree._tree import NODE_DTYPE, Tree

    nodes = np.zeros(len(feature), dtype=NODE_DTYPE)
    nodes["left_child"], nodes["right_child"] = left, right
    nodes["feature"], nodes["threshold"] = np.where(left < 0, -2, feature), threshold
    nodes["n_node_samples"] = nodes["weighted_n_node_samples"] = 1
    values = np.zeros(len(feature)) if value is None else value.astype(np.float64)
    width = int(np.max(feature, initial=0)) + 1
    tree = Tree(width, np.array([1], dtype=np.intp), 1)
    tree.__setstate__({"max_depth": 1, "node_count": len(nodes), "nodes": nodes, "values": values.reshape(-1, 1, 1)})
    return tree


ROOT = Structure(np.array([-1], np.int16), np.zeros(1, np.uint32), np.zeros(1, np.int32))
"""The tree that asks nothing."""


class Support:
    """Whose rows reach each leaf of a tree: of each as many privacy units as are enough.

    Rows are told batch by batch, and what streams in is not kept.
    """

    def __init__(self, structure: Structure, enough: int) -> None:
        self._structure = structure
        self._enough = enough
        self._held = np.empty(0, dtype=np.int64)  # leaf and unit in one number, ascending
        self._is_full = np.zeros(int(structure.leaf_rank[-1]), dtype=bool)

    def add(self, rank: Ints, owners: Ints) -> None:
        """Note rows by the rank of their leaf (n,) and their unit (n,)."""
        rows = np.flatnonzero(~self._is_full[rank])
        held = np.unique(np.append(self._held, (rank[rows] << 32) | owners[rows]))
        counts = np.bincount(held >> 32, minlength=len(self._is_full))
        before = np.repeat(np.cumsum(counts) - counts, counts)
        self._held = held[np.arange(len(held)) - before < self._enough]
        self._is_full = counts >= self._enough

    def is_enough(self) -> NDArray[np.bool_]:
        """Return of which nodes (m,) enough units have rows.

        Source: Hui 1992, "Color set size problem with applications to string matching", Sec. 2: of the leaves below a
            node that one unit has, in order, each but the first meets the one before it below the node.
        """
        tree = self._structure
        leaf, owner = self._held >> 32, self._held & (2**32 - 1)
        order = np.argsort(owner, kind="stable")
        of_owner, leaf_of = owner[order], leaf[order]
        again = np.flatnonzero(of_owner[1:] == of_owner[:-1])
        twice = _sums(np.bincount(tree.meeting(leaf_of[again], leaf_of[again + 1]), minlength=len(tree.feature)))
        pairs = _sums(np.bincount(leaf, minlength=len(self._is_full)))
        within = pairs[tree.leaf_rank[tree.end]] - pairs[tree.leaf_rank[:-1]]
        return np.asarray(within - (twice[tree.end] - twice[:-1]) >= self._enough)


def _sums(counts: Ints) -> Ints:
    """Return the sums (n + 1,) of the first 0, 1, ... counts (n,)."""
    return np.concatenate([[0], np.cumsum(counts)])


def halves(rows: Ints, *, seed: int, n_trees: int) -> NDArray[np.bool_]:
    """Return which rows fill each tree's leaves (n_trees, n); the others choose its structure.

    A hash of the row's number, or of its privacy unit's, so that a stream of rows needs no memory of who is where.
    Source: Steele, Lea & Flood 2014, the finaliser of SplitMix64.
    """
    with np.errstate(over="ignore"):
        mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.arange(n_trees, dtype=np.uint64)[:, None]) & np.uint64(1) == 1)


def grow(
    context: Context,
    codes: Codes,
    *,
    width: int,
    is_nominal: bool,
    fills: NDArray[np.bool_],
    growth: Growth,
    seeds: Ints,
    owners: Owners = None,
) -> list[Structure]:
    """Return one tree per row of ``fills`` (t, n), each pruned on the rows that will fill it.

    Args:
        width: Columns of the context, the first ones, that the trees may ask about.
        owners: The privacy unit (n,) of each row; a leaf is then of ``min_leaf`` units.
    """
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    size = int(codes.max(initial=0)) + 1
    # A tree sees about half of the rows; scikit-learn warns of more classes than half of what it sees.
    use_classes = is_nominal and size <= min(MAX_CLASSES, len(codes) // 5)
    target: NDArray[Any] = codes if use_classes else _targets(codes, is_nominal=is_nominal, seed=int(seeds[0]))

    def one(number: int) -> Structure:
        chosen = np.flatnonzero(~fills[number])
        if width == 0 or len(chosen) < 2 * growth.min_leaf:
            return ROOT
        learner = DecisionTreeClassifier if use_classes else DecisionTreeRegressor
        fitted = learner(min_samples_leaf=growth.min_leaf, random_state=int(seeds[number]))
        asked = _rows(context, chosen)[:, :width]
        tree = fitted.fit(asked, target[chosen], check_input=False).tree_  # codes are finite float32
        is_leaf = tree.children_left < 0
        grown = Structure(
            np.where(is_leaf, -1, tree.feature).astype(np.int16),
            np.where(is_leaf, 0, np.floor(tree.threshold)).astype(np.uint32),
            np.where(is_leaf, 0, tree.children_right).astype(np.int32),
        )
        judges = np.flatnonzero(fills[number])
        if owners is None:
            rank = grown.leaf_rank[tree.apply(_rows(context, judges))]
        else:
            support = Support(grown, growth.min_leaf)
            support.add(grown.leaf_rank[tree.apply(asked)], owners[chosen])
            grown = without(grown, ~support.is_enough())
            rank = grown.leaf_rank[grown.apply(_rows(context, judges))]
        return _pruned(grown, rank, codes[judges], is_nominal=is_nominal, least=growth.min_evidence)

    with ThreadPoolExecutor(max(1, min(len(fills), cpu_count() or 1))) as pool:
        return list(pool.map(one, range(len(fills))))


def _rows(context: Context, rows: Ints) -> Context:
    """Return some rows of a contiguous context, each copied whole: several times faster than column by column."""
    return np.take(context, rows, axis=0)


def _targets(codes: Codes, *, is_nominal: bool, seed: int) -> Floats:
    """Return what a regression tree splits by (n, k): cosines of the rank, or commonest categories and random signs."""
    counts = np.bincount(codes)
    rank = (np.cumsum(counts) - counts / 2) / max(len(codes), 1)
    order = np.arange(1, COSINES + 1)
    table = np.cos(np.pi * order * rank[:, None]) / np.sqrt(order)
    if is_nominal:
        common = _commonest(counts)
        hot = np.zeros((len(counts), len(common)))
        hot[common, np.arange(len(common))] = 1.0
        signs = np.random.default_rng(seed).choice([-0.5, 0.5], size=(len(counts), COSINES))
        signs[common] = 0.0
        table = np.hstack([hot, signs, table])
    return np.asarray(table[codes])


def _commonest(counts: Ints) -> Ints:
    return np.argsort(-counts, kind="stable")[: 2 * EVIDENCE_BINS]


def _pruned(grown: Structure, rank: Ints, codes: Codes, *, is_nominal: bool, least: float) -> Structure:
    """Return the tree without the subtrees whose evidence, summed over their splits, is not positive.

    The evidence is that of rows with leaf ranks (n,) and codes (n,).
    """
    gain = np.where(grown.feature >= 0, -least, 0.0)
    if len(codes):
        if is_nominal:
            _add_evidence_of_categories(gain, grown, rank, codes)
        elif int(codes.max()) * len(gain) <= FEW_CELLS * len(codes):
            _add_evidence_of_few_numbers(gain, grown, rank, codes)
        else:
            _add_evidence_of_numbers(gain, grown, rank, codes)
    best = np.zeros(len(gain))
    for nodes in reversed(grown.levels):
        best[nodes] = np.maximum(gain[nodes] + best[nodes + 1] + best[grown.right[nodes]], 0.0)
    is_split = best > 0
    kept = np.zeros(len(gain), dtype=bool)
    kept[0] = True
    for nodes in grown.levels:
        kept[nodes + 1] = kept[grown.right[nodes]] = kept[nodes] & is_split[nodes]
    number = np.cumsum(kept) - 1
    is_inner = is_split[kept]
    return Structure(
        np.where(is_inner, grown.feature[kept], -1).astype(np.int16),
        np.where(is_inner, grown.threshold[kept], 0).astype(np.uint32),
        np.where(is_inner, number[grown.right[kept]], 0).astype(np.int32),
    )


def without(grown: Structure, is_few: NDArray[np.bool_]) -> Structure:
    """Return the tree without the nodes (m,) that few reach: the sibling stands in the parent's place.

    A parent of two such nodes is a leaf.
    """
    few, is_inner, rights = is_few.tolist(), (grown.feature >= 0).tolist(), grown.right.tolist()
    kept: list[int] = []
    right: list[int] = []
    waiting = [(0, -1)]  # a node, and which of the kept ones it is on the right of
    while waiting:
        node, above = waiting.pop()
        while node >= 0 and is_inner[node] and (few[node + 1] or few[rights[node]]):
            node = -1 if few[node + 1] and few[rights[node]] else rights[node] if few[node + 1] else node + 1
        if above >= 0:
            right[above] = len(kept)
        if node >= 0 and is_inner[node]:
            waiting += [(rights[node], len(kept)), (node + 1, -1)]
        else:
            node = -1
        kept.append(node)
        right.append(0)
    held = np.array(kept)
    return Structure(
        np.where(held < 0, -1, grown.feature[held]).astype(np.int16),
        np.where(held < 0, 0, grown.threshold[held]).astype(np.uint32),
        np.array(right, dtype=np.int32),
    )


def _narrow(integers: NDArray[Any]) -> NDArray[Any]:
    """Return integers, none negative, in the smallest type that holds them: numpy sorts 16 bits by radix."""
    return integers.astype(np.min_scalar_type(int(integers.max(initial=0))))


# The evidence of a split is the log Bayes factor of two multinomials over one, with Dirichlet priors.
def _add_evidence_of_categories(gain: Floats, grown: Structure, rank: Ints, codes: Codes) -> None:
    """Add to each inner node the evidence of its split, given each row's leaf rank (n,) and code (n,)."""
    counts = np.bincount(codes)
    commonest = _commonest(counts)
    counts[commonest] = 0  # the rest, in the order of the categories, is cut into groups of equal mass
    rest = (np.cumsum(counts) - counts / 2) / max(int(counts.sum()), 1) * EVIDENCE_BINS
    group = np.minimum(rest.astype(np.int64), EVIDENCE_BINS - 1)
    group[commonest] = EVIDENCE_BINS + np.arange(len(commonest))
    # Groups that hold nothing would still cost evidence.
    group = np.unique(group, return_inverse=True)[1]
    inner, whole, right = _counted(grown, rank, group[codes], int(group.max()) + 1)
    gain[inner] += _log_marginal(whole - right) + _log_marginal(right) - _log_marginal(whole)


def _counted(grown: Structure, rank: Ints, cells: Ints, size: int) -> tuple[Ints, Ints, Ints]:
    """Return the inner nodes (k,), and the counts (k, size) of cells (n,) in each and in its right half."""
    leaves = int(grown.leaf_rank[-1])
    by_leaf = np.bincount(rank * size + cells, minlength=leaves * size).reshape(leaves, size)
    before = np.concatenate([np.zeros((1, size), np.int64), np.cumsum(by_leaf, axis=0)])
    inner = np.flatnonzero(grown.feature >= 0)
    low, middle, high = (before[grown.leaf_rank[nodes]] for nodes in (inner, grown.right[inner], grown.end[inner]))
    return inner, high - low, high - middle


def _add_evidence_of_few_numbers(gain: Floats, grown: Structure, rank: Ints, codes: Codes) -> None:
    """Add what ``_add_evidence_of_numbers`` does, from a table of nodes and codes: faster where it is small."""
    inner, whole, right = _counted(grown, rank, codes.astype(np.int64), int(codes.max()) + 1)
    node, code = np.nonzero(whole)
    rows = whole.sum(axis=1)
    middles = (np.cumsum(whole, axis=1) - whole / 2)[node, code]
    quantile = np.minimum(middles / rows[node] * EVIDENCE_BINS, EVIDENCE_BINS - 1).astype(np.int64)
    cell, cells = node * EVIDENCE_BINS + quantile, len(inner) * EVIDENCE_BINS
    binned, on_right = (
        np.bincount(cell, weights=counts[node, code], minlength=cells).reshape(-1, EVIDENCE_BINS)
        for counts in (whole, right)
    )
    gain[inner] += _log_marginal(binned - on_right) + _log_marginal(on_right) - _log_marginal(binned)


def _add_evidence_of_numbers(gain: Floats, grown: Structure, rank: Ints, codes: Codes) -> None:
    """Add to each inner node the evidence of its split; the bins are quantiles of the node, equal codes in one."""
    size = int(codes.max()) + 1
    order = np.argsort(_narrow(codes), kind="stable")
    rank, codes = rank[order], codes[order]
    for nodes in grown.levels:
        # Of each leaf: twice the place of its node in this level, plus one on the right; -1 above the level.
        half = np.full(int(grown.leaf_rank[-1]), -1)
        ends = (grown.leaf_rank[node] for node in (nodes, grown.right[nodes], grown.end[nodes]))
        for place, (low, middle, high) in enumerate(zip(*(end.tolist() for end in ends), strict=True)):
            half[low:middle] = 2 * place
            half[middle:high] = 2 * place + 1
        held = half[rank]
        if (held < 0).any():  # rows in leaves that lie higher are done
            below = np.flatnonzero(held >= 0)
            rank, codes, held = rank[below], codes[below], held[below]
        order = np.argsort(_narrow(held >> 1), kind="stable")  # within a node, the codes stay in order
        held = held[order]
        node = held >> 1
        starts = np.flatnonzero(np.diff(node * size + codes[order], prepend=-1))  # of equal codes in one node
        stops = np.append(starts[1:], len(node))
        n_right = np.add.reduceat(held & 1, starts)
        node = node[starts]
        rows = np.bincount(node, weights=stops - starts, minlength=len(nodes))
        middles = (starts + stops) / 2 - (np.cumsum(rows) - rows)[node]
        quantile = np.minimum(middles / rows[node] * EVIDENCE_BINS, EVIDENCE_BINS - 1).astype(np.int64)
        cell, cells = node * EVIDENCE_BINS + quantile, len(nodes) * EVIDENCE_BINS
        whole, right = (
            np.bincount(cell, weights=weights, minlength=cells).reshape(-1, EVIDENCE_BINS)
            for weights in (stops - starts, n_right)
        )
        gain[nodes] += _log_marginal(whole - right) + _log_marginal(right) - _log_marginal(whole)


def _log_marginal(counts: NDArray[Any]) -> Floats:
    """Return the Dirichlet-multinomial log likelihood over the last axis."""
    from scipy.special import gammaln

    bins = counts.shape[-1]
    total = gammaln(bins * PRIOR) - gammaln(counts.sum(axis=-1) + bins * PRIOR)
    made: Floats = total + (gammaln(counts + PRIOR) - gammaln(PRIOR)).sum(axis=-1)
    return made


class Counts:
    """Counts of codes by leaf, filled batch by batch.

    What streams in is not kept; where units are counted, of each row its leaf, code and unit are, until all rows are
    in, as none tells by itself whether it counts.

    Args:
        size: Number of codes.
        min_support: Fewest rows, or privacy units that have some, that a leaf draws from.
        by_owner: Whether units are counted: in a leaf none has more than one in ``min_support`` of the rows that count.
    """

    def __init__(self, structures: list[Structure], size: int, *, min_support: int, by_owner: bool = False) -> None:
        # Trees that ask nothing are one and the same.
        self.structures = structures if any(len(s.feature) > 1 for s in structures) else structures[:1]
        self.size = size
        self.min_support = min_support
        self.tables = [np.zeros((int(s.leaf_rank[-1]), size), dtype=np.int64) for s in self.structures]
        self.supports = [Support(s, min_support) for s in self.structures] if by_owner else None
        self._held: list[list[NDArray[np.uint32]]] = [[] for _ in self.structures]  # (3, n): leaf, code and unit

    def add(self, context: Context, codes: Codes, fills: NDArray[np.bool_], owners: Ints) -> None:
        """Count the rows that fill each tree; every row fills a tree that asks nothing.

        Args:
            owners: The privacy unit (n,) of each row, if units are counted.
        """
        for number, (structure, table, fill) in enumerate(zip(self.structures, self.tables, fills, strict=False)):
            asked, held = context, codes
            if len(structure.feature) > 1:
                rows = np.flatnonzero(fill)
                asked, held = _rows(context, rows), codes[rows]
            leaf = structure.leaf_rank[structure.apply(asked)]
            if len(structure.feature) > 1 and self.supports is not None:
                self.supports[number].add(leaf, owners[rows])
                self._held[number].append(np.array([leaf, held, owners[rows]], dtype=np.uint32))
            else:
                self._count(table, leaf, held)

    def _count(self, table: Ints, leaf: Ints, codes: Codes) -> None:
        table += np.bincount(leaf * self.size + codes, minlength=table.size).reshape(table.shape)

    def forest(self, *, otherwise: Floats) -> Forest:
        """Return the forest; a tree without a single row draws from ``otherwise`` (size,) counts."""
        for table, parts in zip(self.tables, self._held, strict=True):
            if parts:
                leaf, held, owners = np.concatenate(parts, axis=1).astype(np.int64)
                parts.clear()
                counted = shared_out(leaf, owners, least=self.min_support)
                self._count(table, leaf[counted], held[counted])
        features, thresholds, rights, tree_starts = [], [], [], [0]
        slots: list[NDArray[np.int64]] = []
        for number, (structure, table) in enumerate(zip(self.structures, self.tables, strict=True)):
            if self.supports is None:
                sums = _sums(table.sum(axis=1))
                within = sums[structure.leaf_rank[structure.end]] - sums[structure.leaf_rank[:-1]]
                is_enough = within >= self.min_support
            else:
                is_enough = self.supports[number].is_enough()
            right, histograms = _slots(structure, table, is_enough, len(slots))
            if not histograms[0].any() and len(histograms) == 1:
                histograms = [otherwise.astype(np.int64)]
            slots += histograms
            features.append(structure.feature)
            thresholds.append(structure.threshold)
            rights.append(right)
            tree_starts.append(tree_starts[-1] + len(right))
        codes = [np.flatnonzero(histogram) for histogram in slots]
        counts = [histogram[code] for histogram, code in zip(slots, codes, strict=True)]
        return Forest(
            np.concatenate(features),
            np.concatenate(thresholds),
            np.concatenate(rights),
            np.array(tree_starts),
            np.concatenate([[0], np.cumsum([len(code) for code in codes])]),
            np.concatenate(codes).astype(np.int32),
            np.concatenate(counts),
            self.size,
        )


def _slots(
    structure: Structure, table: Ints, is_enough: NDArray[np.bool_], first: int
) -> tuple[NDArray[np.int32], list[Ints]]:
    """Return ``right`` with the slot of each leaf in place of a child, and the slots' histograms (size,).

    Args:
        table: (leaves, size) counts.
        is_enough: Whether a node's leaves (m,) have enough to draw from; else the node above it is asked.
        first: The number of the first slot.
    """
    right = structure.right.copy()
    made: list[Ints] = []
    slot_of: dict[int, int] = {}
    for leaf in np.flatnonzero(structure.feature < 0).tolist():
        node = leaf
        while node and not is_enough[node]:
            node = int(structure.parent[node])
        if node not in slot_of:
            slot_of[node] = first + len(made)
            low, high = structure.leaf_rank[node], structure.leaf_rank[structure.end[node]]
            made.append(table[low:high].sum(axis=0))
        right[leaf] = slot_of[node]
    return right, made


@dataclass(frozen=True, eq=False)
class Forest:
    """The distribution of one column given those before it: trees with a histogram in each leaf.

    Attributes:
        feature: (m,) nodes of all trees, each in preorder; -1 in a leaf.
        threshold: (m,) codes up to it go left.
        right: (m,) right child within the tree; in a leaf, its slot.
        tree_starts: (t + 1,) where each tree's nodes begin.
        slot_starts: (s + 1,) where each slot's entries begin.
        slot_codes: (e,) codes, ascending within a slot.
        slot_counts: (e,) their counts.
        size: Number of codes.
    """

    feature: NDArray[np.int16]
    threshold: NDArray[np.uint32]
    right: NDArray[np.int32]
    tree_starts: Ints
    slot_starts: Ints
    slot_codes: Codes
    slot_counts: Ints
    size: int

    @cached_property
    def _trees(self) -> list[tuple[Structure, NDArray[np.int32]]]:
        made = []
        for start, stop in zip(self.tree_starts[:-1], self.tree_starts[1:], strict=True):
            feature, right = self.feature[start:stop], self.right[start:stop]
            structure = Structure(
                feature, self.threshold[start:stop], np.where(feature >= 0, right, 0).astype(np.int32)
            )
            made.append((structure, right))
        return made

    @cached_property
    def _expanded(self) -> Codes | None:
        """The code of each unit of count, where that fits; looking one up is faster than searching for it."""
        return np.repeat(self.slot_codes, self.slot_counts) if self._cumulative[-1] <= MAX_EXPANDED else None

    @cached_property
    def _slot_firsts(self) -> Ints:
        return self._cumulative[self.slot_starts]

    @cached_property
    def _cumulative(self) -> Ints:
        return np.concatenate([[0], np.cumsum(self.slot_counts)])

    @cached_property
    def _keys(self) -> Ints:
        slots = np.repeat(np.arange(len(self.slot_starts) - 1), np.diff(self.slot_starts))
        return slots * self.size + self.slot_codes

    @cached_property
    def _totals(self) -> Ints:
        return np.diff(self._slot_firsts)

    def draw(self, context: Context, *, rng: random.Generator) -> Codes:
        """Return one code per row of the context (n, d), of which only the columns asked about are read."""
        n = len(context)
        uniforms = rng.random(n)
        if len(self._trees) == 1:
            structure, right = self._trees[0]
            slots = right[structure.apply(context)]
        else:
            pick = rng.integers(len(self._trees), size=n)
            order = np.argsort(_narrow(pick), kind="stable")
            stops = np.cumsum(np.bincount(pick, minlength=len(self._trees)))
            slots = np.empty(n, dtype=np.int32)
            for (structure, right), rows in zip(self._trees, np.split(order, stops[:-1]), strict=True):
                slots[rows] = right[structure.apply(_rows(context, rows))]
        place = self._slot_firsts[slots] + (uniforms * self._totals[slots]).astype(np.int64)
        if self._expanded is not None:
            return self._expanded[place]
        return self.slot_codes[np.searchsorted(self._cumulative, place, side="right") - 1]

    def slots(self, context: Context) -> Ints:
        """Return the slot (n, t) of each row in each tree."""
        return np.stack([right[structure.apply(context)] for structure, right in self._trees], axis=1).astype(np.int64)

    def mass_of(self, slots: Ints, codes: Codes) -> Floats:
        """Return the probability (n,) that the mixture gives one code per row."""
        key = slots * self.size + codes[:, None]
        place = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        hit = self._keys[place] == key
        return np.asarray((np.where(hit, self.slot_counts[place], 0) / self._totals[slots]).mean(axis=1))

    def draw_within(self, slots: Ints, share: Floats, *, rng: random.Generator) -> tuple[Codes, Floats]:
        """Return codes (n,) drawn by ``share`` (size,) of their probability, and the mass (n,) of that.

        Rows without mass get code 0.
        """
        weights = np.concatenate([[0.0], np.cumsum(self.slot_counts * share[self.slot_codes])])
        below, above = weights[self.slot_starts[slots]], weights[self.slot_starts[slots + 1]]  # (n, t)
        mass = (above - below) / self._totals[slots]
        cumulative = np.cumsum(mass, axis=1)
        pick = (rng.random(len(slots)) * cumulative[:, -1])[:, None] >= cumulative
        tree = np.minimum(pick.sum(axis=1), slots.shape[1] - 1)
        rows = np.arange(len(slots))
        low, high = below[rows, tree], above[rows, tree]
        place = np.searchsorted(weights, low + rng.random(len(slots)) * (high - low), side="right") - 1
        chosen = self.slot_codes[np.clip(place, 0, len(self.slot_codes) - 1)]
        return np.where(cumulative[:, -1] > 0, chosen, 0).astype(np.int32), mass.mean(axis=1)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays, in small types, from which ``from_arrays`` makes an equal forest."""
        arrays: dict[str, NDArray[Any]] = {
            "feature": self.feature,
            "threshold": self.threshold,
            "right": self.right,
            "tree_starts": self.tree_starts,
            "slot_sizes": np.diff(self.slot_starts),
            "slot_codes": self.slot_codes,
            "slot_counts": self.slot_counts,
            "size": np.array([self.size]),
        }
        return {name: _small(array) for name, array in arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the forest that ``to_arrays`` wrote."""
        return cls(
            arrays["feature"].astype(np.int16),
            arrays["threshold"].astype(np.uint32),
            arrays["right"].astype(np.int32),
            arrays["tree_starts"].astype(np.int64),
            np.concatenate([[0], np.cumsum(arrays["slot_sizes"].astype(np.int64))]),
            arrays["slot_codes"].astype(np.int32),
            arrays["slot_counts"].astype(np.int64),
            int(arrays["size"][0]),
        )


def _small(array: NDArray[Any]) -> NDArray[Any]:
    """Return the integers in the smallest type that holds them."""
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    kind = np.result_type(np.min_scalar_type(low), np.min_scalar_type(high)) if low < 0 else np.min_scalar_type(high)
    return np.ascontiguousarray(array.astype(kind))
