"""A circuit of discrete hidden columns joined in a tree: expectation-maximisation, likelihood and exact conditionals.

Each observed feature hangs on a hidden one of ``states`` states; the hidden ones form a tree.  Everything is a product
of matrices (rows, states), so a pass over a batch of rows has no loop but that over the features.

Source: Liu & Van den Broeck 2021, "Tractable Regularization of Probabilistic Circuits" (arXiv:2106.02264), hidden
    Chow-Liu trees; Cappe & Moulines 2009 (arXiv:0712.4273), online expectation-maximisation.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy import random
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree, shortest_path
from scipy.special import ndtri
from threadpoolctl import threadpool_limits

from synth_components.generators.tabular._codebook import Arrays, Ints, drawn_by_row, drawn_each
from synth_components.generators.tabular._grid import Codes, Grid
from synth_components.protocols import Floats

Matrix = NDArray[np.float32]

LEAST = 1e-12
"""Least probability of a code, relative to that of its state's likeliest: no row is impossible."""
LEAST_BELIEF = np.float32(1e-30)
"""The same of a state, so that products of single precision do not vanish."""


@dataclass(frozen=True, eq=False)
class Tree:
    """The hidden features in an order in which parents come first.

    Attributes:
        order: (w,) features, the root first.
        parent: (w,) parent of each feature, -1 of the root.
    """

    order: Ints
    parent: Ints

    @classmethod
    def of(cls, codes: Sequence[Codes], *, bins: int) -> Self:
        """Return the tree over features whose pairs share the most information, by codes (n,) cut into bins.

        Source: Chow & Liu 1968, "Approximating discrete probability distributions with dependence trees".
        """
        w = len(codes)
        held = [binned(one, bins) for one in codes]
        shared = np.zeros((w, w))
        for i in range(w):
            for j in range(i):
                shared[i, j] = shared[j, i] = mutual_information(held[i], held[j])
        return cls.spanning(shared)

    @classmethod
    def spanning(cls, shared: Floats) -> Self:
        """Return the tree of the largest sum of ``shared`` (w, w), from the middle out."""
        w = len(shared)
        if w == 1:
            return cls(np.zeros(1, dtype=np.int64), np.full(1, -1))
        cost = shared.max() + 1.0 - shared  # above zero: a zero would be no edge
        np.fill_diagonal(cost, 0.0)
        tree = minimum_spanning_tree(csr_array(cost))
        edges = tree + tree.T
        hops = [_depth(edges, root) for root in range(w)]
        order, parent = breadth_first_order(edges, int(np.argmin(hops)), directed=False)
        parent = np.where(parent < 0, -1, parent)
        return cls(order.astype(np.int64), parent.astype(np.int64))

    def hops(self, feature: int) -> Ints:
        """Return how many edges (w,) each feature is away from one."""
        rows = np.flatnonzero(self.parent >= 0)
        shape = (len(self.order), len(self.order))
        places = rows.astype(np.int32), self.parent[rows].astype(np.int32)  # scipy 1.11 walks no others
        edges = csr_array((np.ones(len(rows)), places), shape=shape)
        return np.asarray(shortest_path(edges, directed=False, unweighted=True, indices=feature)).astype(np.int64)

    @cached_property
    def children(self) -> list[list[int]]:
        """The children of each feature."""
        made: list[list[int]] = [[] for _ in self.order]
        for feature in self.order[1:]:
            made[self.parent[feature]].append(int(feature))
        return made


def _depth(edges: Any, root: int) -> int:  # noqa: ANN401 - scipy's sparse arrays have no stubs
    order, parent = breadth_first_order(edges, root, directed=False)
    depth = np.zeros(len(order), dtype=np.int64)
    for node in order[1:]:
        depth[node] = depth[parent[node]] + 1
    return int(depth.max())


def binned(codes: Codes, bins: int) -> Ints:
    """Return codes gathered into at most ``bins`` runs of about equal counts; few codes stay as they are."""
    counts = np.bincount(codes)
    if len(counts) <= bins:
        return codes.astype(np.int64)
    middle = (np.cumsum(counts) - counts / 2) / max(counts.sum(), 1)
    return np.asarray(np.minimum((middle * bins).astype(np.int64), bins - 1)[codes])


def mutual_information(first: Ints, second: Ints) -> float:
    """Return the information (nats) that two columns of codes (n,) share in these rows."""
    if len(first) == 0:
        return 0.0
    width = int(second.max()) + 1
    counts = np.bincount(first * width + second, minlength=(int(first.max()) + 1) * width).reshape(-1, width)
    joint = counts / len(first)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    held = joint > 0
    return float((joint[held] * np.log(joint[held] / apart[held])).sum())


@dataclass(frozen=True, eq=False)
class Alphabet:
    """How the codes of one feature are told: some by name, the others by where they lie.

    Attributes:
        mass: (size,) probability of each code.
        is_placed: (size,) whether a code is told by where it lies.
    """

    mass: Floats
    is_placed: NDArray[np.bool_]

    @classmethod
    def of(cls, grid: Grid, *, named: int) -> Self:
        """Return the alphabet of a grid, in which nulls and categories are named.

        Args:
            named: Most codes of a number that are all named; beyond, those of more mass than one part in as many.
        """
        is_placed = np.zeros(grid.size, dtype=bool)
        if not grid.is_nominal and grid.size > named:
            is_placed = grid.mass < 1.0 / named
            is_placed[len(grid.marginal.mass) :] = False
        return cls(grid.mass, is_placed)

    @cached_property
    def symbol(self) -> Ints:
        """The symbol (size,) of each code: a number for each name, and one, the last, for all placed codes."""
        is_named = ~self.is_placed
        return np.where(is_named, np.cumsum(is_named) - 1, is_named.sum()).astype(np.int64)

    @cached_property
    def symbol_mass(self) -> Floats:
        """Probability (symbols,) of each symbol."""
        return np.asarray(np.bincount(self.symbol, weights=self.mass), dtype=np.float64)

    @cached_property
    def score(self) -> Floats:
        """Normal score (placed,) of the middle of each placed code among them."""
        rest = self.mass[self.is_placed]
        return np.asarray(ndtri((np.cumsum(rest) - rest / 2) / rest.sum()))

    def features(self, codes: Codes) -> Any:  # noqa: ANN401 - scipy's sparse arrays have no stubs
        """Return a sparse (features, n) whose product with weights (n, k) is what ``Emission.of`` takes."""
        n, symbols = len(codes), len(self.symbol_mass)
        rows = np.arange(n)
        symbol = self.symbol[codes]
        if not self.is_placed.any():
            return csr_array((np.ones(n, np.float32), (symbol, rows)), shape=(symbols, n))
        placed = rows[self.is_placed[codes]]
        score = self._scores[codes[placed]]
        values = np.concatenate([np.ones(n), score, score**2]).astype(np.float32)
        where = np.concatenate([symbol, np.full(len(placed), symbols), np.full(len(placed), symbols + 1)])
        return csr_array((values, (where, np.concatenate([rows, placed, placed]))), shape=(symbols + 2, n))

    @cached_property
    def _scores(self) -> Floats:
        made = np.zeros(len(self.mass))
        made[self.is_placed] = self.score
        return made


@dataclass(frozen=True, eq=False)
class Emission:
    """The law of one feature's code in each of k hidden states.

    Attributes:
        share: (symbols, k) probability of each symbol.
        mean: (k,) of the normal by which placed codes are told, in normal scores; empty without such.
        variance: (k,) of the same.
    """

    share: Matrix
    mean: Matrix
    variance: Matrix

    @classmethod
    def of(cls, alphabet: Alphabet, totals: Matrix, *, prior: float, least_variance: float) -> Self:
        """Return the law that expected counts bear out.

        Args:
            totals: (features, k) expected counts, and sums of scores and their squares.
            prior: Rows' worth of belief in the marginal that each state starts from.
            least_variance: Smallest variance of a state.
        """
        symbols = len(alphabet.symbol_mass)
        counts = totals[:symbols] + prior * alphabet.symbol_mass[:, None]
        share = counts / np.maximum(counts.sum(axis=0), 1e-30)
        if not alphabet.is_placed.any():
            return cls(share.astype(np.float32), np.empty(0, np.float32), np.empty(0, np.float32))
        weight = totals[symbols - 1] + prior
        mean = totals[symbols] / weight
        variance = (totals[symbols + 1] + prior) / weight - mean**2
        return cls(
            share.astype(np.float32), mean.astype(np.float32), np.maximum(variance, least_variance).astype(np.float32)
        )

    def to_arrays(self, prefix: str) -> Arrays:
        """Return the arrays, under a prefix, from which ``from_arrays`` makes an equal law."""
        return {f"{prefix}.share": self.share, f"{prefix}.mean": self.mean, f"{prefix}.variance": self.variance}

    @classmethod
    def from_arrays(cls, prefix: str, arrays: Arrays) -> Self:
        """Return the law that ``to_arrays`` wrote."""
        return cls(*(arrays[f"{prefix}.{part}"] for part in ("share", "mean", "variance")))

    def table(self, alphabet: Alphabet) -> Matrix:
        """Return the probability (size, k) of each code in each state."""
        table = self.share[alphabet.symbol]
        if len(self.mean):
            base = alphabet.mass[alphabet.is_placed].astype(np.float32)[:, None]
            score = alphabet.score.astype(np.float32)[:, None]
            # The normal relative to a standard one, by the marginal's mass: codes are as uneven as in the marginal.
            tilt = score * (self.mean / self.variance) - score**2 * (0.5 / self.variance - 0.5)
            within = base * np.exp(tilt - tilt.max(axis=0))
            table[alphabet.is_placed] *= within / within.sum(axis=0)
        return np.asarray(np.maximum(table, LEAST * table.max(axis=0)))


@dataclass(frozen=True, eq=False)
class Circuit:
    """Hidden features in a tree, each with the law of an observed one.

    Attributes:
        tree: Which hidden feature hangs on which.
        root: (k,) probability of the root's states.
        links: (w, k, k) probability of a feature's state (last axis) given its parent's; unused for the root.
        tables: (size, k) of each feature: probability of each code in each state.
    """

    tree: Tree
    root: Matrix
    links: NDArray[np.float32]
    tables: tuple[Matrix, ...]

    def observed(self, codes: Sequence[Codes]) -> list[Matrix]:
        """Return the probability (n, k) of each feature's code (n,) in each state."""
        return [table[held] for table, held in zip(self.tables, codes, strict=True)]

    def upward(self, evidence: Sequence[Matrix | None]) -> Pass:
        """Return what the evidence (n, k) below each hidden feature says of it; ``None`` says nothing."""
        n = next((len(one) for one in evidence if one is not None), 0)
        beliefs: list[Matrix | None] = [None] * len(evidence)
        messages: list[Matrix | None] = [None] * len(evidence)
        log = np.zeros(n)
        for feature in self.tree.order[::-1]:
            told = (messages[child] for child in self.tree.children[feature])
            parts = [part for part in (evidence[feature], *told) if part is not None]
            if not parts:
                continue
            belief = parts[0]
            for part in parts[1:]:
                belief = belief * part
            top = np.maximum(belief.max(axis=1, keepdims=True), LEAST_BELIEF)
            beliefs[feature] = belief = np.maximum(belief / top, LEAST_BELIEF)
            log += np.log(top[:, 0])
            if self.tree.parent[feature] >= 0:
                messages[feature] = belief @ self.links[feature].T
        top_belief = beliefs[self.tree.order[0]]
        if top_belief is not None:
            log += np.log(np.maximum(top_belief @ self.root, LEAST_BELIEF))
        return Pass(beliefs, messages, log)

    def posterior(self, codes: Sequence[Codes]) -> tuple[list[Matrix], NDArray[np.float32], Floats]:
        """Return the probability (n, k) of each feature's states in rows of codes (n,), and more.

        That is the expected counts (w, k, k) of pairs of states along each link, and the log-likelihoods (n,).
        """
        tree = self.tree
        made = self.upward(self.observed(codes))
        posterior: list[Matrix] = [np.empty(0, np.float32)] * len(codes)
        links = np.zeros_like(self.links)
        first = tree.order[0]
        beliefs = [known for known in made.beliefs if known is not None]  # all are: every column is observed
        at_root = beliefs[first] * self.root
        posterior[first] = at_root / at_root.sum(axis=1, keepdims=True)
        for feature in tree.order[1:]:
            above = posterior[tree.parent[feature]] / np.maximum(made.messages[feature], LEAST_BELIEF)
            links[feature] = self.links[feature] * (above.T @ beliefs[feature])
            posterior[feature] = beliefs[feature] * (above @ self.links[feature])
        return posterior, links, made.log

    def states(self, n: int, evidence: Sequence[Matrix | None], *, rng: random.Generator) -> list[Ints]:
        """Return a state (n,) of each hidden feature, drawn given evidence (n, k): exact, up and then down."""
        beliefs = self.upward(evidence).beliefs
        states: list[Ints] = [np.empty(0, np.int64)] * len(evidence)
        for feature in self.tree.order:
            above = self.tree.parent[feature]
            law = self.root[None, :] if above < 0 else self.links[feature]
            row = np.zeros(n, np.int64) if above < 0 else states[above]
            known = beliefs[feature]
            states[feature] = (
                drawn_by_row(law, row, rng=rng) if known is None else drawn_each(law[row] * known, rng=rng)
            )
        return states


@dataclass(frozen=True, eq=False)
class Pass:
    """What an upward pass leaves.

    Attributes:
        beliefs: (n, k) of each feature: what is known of and below it, the largest scaled to 1; ``None`` for nothing.
        messages: (n, k) of each feature: what it tells its parent.
        log: (n,) log-likelihood of each row's evidence.
    """

    beliefs: list[Matrix | None]
    messages: list[Matrix | None]
    log: Floats


@dataclass(frozen=True, eq=False)
class Totals:
    """Expected counts of rows: what the parameters are made of.

    Attributes:
        root: (k,) rows in each state of the root.
        links: (w, k, k) rows by state of the parent and of the feature.
        emissions: (features, k) of each feature, as ``Emission.of`` takes them.
    """

    root: Matrix
    links: NDArray[np.float32]
    emissions: tuple[Matrix, ...]

    @classmethod
    def expected(cls, circuit: Circuit, codes: Sequence[Codes], alphabets: Sequence[Alphabet]) -> tuple[Self, Floats]:
        """Return what rows of codes (n,) by feature are expected to count, and their log-likelihoods (n,)."""
        posterior, links, log = circuit.posterior(codes)
        emissions = tuple(
            np.asarray(alphabet.features(held) @ one)
            for alphabet, held, one in zip(alphabets, codes, posterior, strict=True)
        )
        return cls(posterior[circuit.tree.order[0]].sum(axis=0), links, emissions), log

    def mixed(self, other: Totals, share: float) -> Totals:
        """Return these totals, ``share`` of them replaced by others."""
        return Totals(
            (1 - share) * self.root + share * other.root,
            (1 - share) * self.links + share * other.links,
            tuple((1 - share) * a + share * b for a, b in zip(self.emissions, other.emissions, strict=True)),
        )

    def scaled(self, factor: float) -> Totals:
        """Return these totals times a factor."""
        return Totals(self.root * factor, self.links * factor, tuple(one * factor for one in self.emissions))

    def without(self, is_few: Sequence[NDArray[np.bool_]], tree: Tree) -> Totals:
        """Return these totals with nothing in some states (k,) of each feature: they are the marginal."""
        links = self.links.copy()
        for feature in tree.order[1:]:
            links[feature][is_few[tree.parent[feature]]] = 0.0
        told = (np.where(few, np.float32(0), one) for few, one in zip(is_few, self.emissions, strict=True))
        return Totals(self.root, links, tuple(told))


@dataclass(frozen=True, eq=False)
class Law:
    """The parameters of a circuit, as they are saved."""

    root: Matrix
    links: NDArray[np.float32]
    emissions: tuple[Emission, ...]

    @classmethod
    def of(cls, totals: Totals, alphabets: Sequence[Alphabet], *, prior: float, least_variance: float) -> Self:
        """Return the law that expected counts bear out.

        Args:
            prior: Rows' worth of the marginals in each state.
            least_variance: Smallest variance of a placed code within a state.
        """
        k = len(totals.root)
        root = totals.root + prior / k
        root = root / root.sum()
        links = np.empty_like(totals.links)
        for feature, one in enumerate(totals.links):
            of_child = one.sum(axis=0)
            counts = one + prior * (of_child + 1e-3) / (of_child.sum() + 1e-3 * k)
            links[feature] = counts / counts.sum(axis=1, keepdims=True)
        return cls(
            root.astype(np.float32),
            links,
            tuple(
                Emission.of(alphabet, one, prior=prior, least_variance=least_variance)
                for alphabet, one in zip(alphabets, totals.emissions, strict=True)
            ),
        )

    def circuit(self, tree: Tree, alphabets: Sequence[Alphabet]) -> Circuit:
        """Return the circuit of these parameters."""
        return Circuit(
            tree,
            self.root,
            self.links,
            tuple(one.table(alphabet) for one, alphabet in zip(self.emissions, alphabets, strict=True)),
        )


def few_states(parts: Iterable[tuple[Ints, Sequence[Matrix]]], *, least: int) -> list[NDArray[np.bool_]]:
    """Return of which states (k,) of each feature a unit has a larger share than one in ``least``.

    Args:
        parts: The privacy units (n,) of some rows, and the probability (n, k) of each feature's states in them; all
            rows of a unit follow each other.
        least: How many units a state is of, at least.
    """
    whole: list[Floats] = []
    most: list[Floats] = []
    last, unfinished = -1, list[Floats]()
    for owners, states in parts:
        firsts = np.flatnonzero(np.diff(owners, prepend=-1))  # of the rows of one unit
        of_units = [np.add.reduceat(one, firsts, axis=0, dtype=np.float64) for one in states]
        if not whole:
            whole, most = ([np.zeros(one.shape[1]) for one in states] for _ in range(2))
        for feature, sums in enumerate(of_units):
            whole[feature] += sums.sum(axis=0)
            if owners[0] == last:
                sums[0] += unfinished[feature]
            most[feature] = np.maximum(most[feature], sums.max(axis=0))
        last, unfinished = int(owners[-1]), [sums[-1] for sums in of_units]
    return [large * least > total * (1 + 1e-6) for large, total in zip(most, whole, strict=True)]


NEIGHBOUR_WEIGHT = 0.5
"""What a column counts for in the clusters of the next one in the tree; of the one after it half of that."""
FAINT = 0.005
"""Probability below which a category takes no part in the clusters."""
CLUSTER_ROWS = 50_000
"""Most rows that the clusters are found on."""
LINK_ROWS = 0.05
"""Share of the rows spread evenly over all pairs of states, so that no pair starts as impossible."""


def clustered(
    codes: Sequence[Codes],
    tree: Tree,
    alphabets: Sequence[Alphabet],
    grids: Sequence[Grid],
    *,
    k: int,
    rng: random.Generator,
) -> Totals:
    """Return the counts to start from: states are clusters of the rows, as each feature sees them.

    Source: Liu, Zhang & Van den Broeck 2022 (arXiv:2210.04398), latent variable distillation.
    """
    n = len(codes[0])
    places = [placed(*parts) for parts in zip(codes, alphabets, grids, strict=True)]
    states: list[Ints] = []
    for feature in range(len(codes)):
        weights = NEIGHBOUR_WEIGHT ** tree.hops(feature)
        seen = np.hstack([weight * place for weight, place in zip(weights, places, strict=True)]).astype(np.float32)
        states.append(clusters(seen, k, rng=rng))
    links = np.full((len(codes), k, k), LINK_ROWS * n / k**2, np.float32)
    emissions = []
    for feature, (held, alphabet) in enumerate(zip(codes, alphabets, strict=True)):
        is_in = csr_array((np.ones(n, np.float32), (np.arange(n), states[feature])), shape=(n, k))
        emissions.append(np.asarray((alphabet.features(held) @ is_in).todense()))
        if tree.parent[feature] >= 0:
            pair = states[tree.parent[feature]] * k + states[feature]
            links[feature] += np.bincount(pair, minlength=k * k).reshape(k, k)
    root = np.bincount(states[tree.order[0]], minlength=k).astype(np.float32)
    return Totals(root, links, tuple(emissions))


def placed(codes: Codes, alphabet: Alphabet, grid: Grid) -> Floats:
    """Return where each row (n, d) lies by one feature: a normal score, or which category; of unit spread."""
    mass = alphabet.mass
    if grid.is_nominal or grid.size == 1:
        place = np.eye(grid.size)[:, mass >= FAINT][codes]
    else:
        place = ndtri(np.clip(np.cumsum(mass) - mass / 2, 1e-4, 1 - 1e-4))[codes, None]
    place = place - place.mean(axis=0) if len(place) else place
    return np.asarray(place / np.sqrt(max(float((place**2).sum(axis=1).mean()) if len(place) else 0.0, 1e-9)))


def clusters(seen: Matrix, k: int, *, rng: random.Generator) -> Ints:
    """Return the cluster (n,) of each row, of at most ``k``."""
    from sklearn.cluster import MiniBatchKMeans  # before the limit, which holds for what is loaded
    from sklearn.exceptions import ConvergenceWarning

    seed = int(rng.integers(2**31))
    if k == 1 or len(seen) == 0:
        return np.zeros(len(seen), dtype=np.int64)
    chosen = seen if len(seen) <= CLUSTER_ROWS else seen[rng.choice(len(seen), CLUSTER_ROWS, replace=False)]
    with threadpool_limits(1, user_api="openmp"), warnings.catch_warnings():
        # Fewer distinct rows than clusters leave some empty, which start from the prior.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = MiniBatchKMeans(k, batch_size=2048, max_iter=5, n_init=1, init="random", random_state=seed).fit(chosen)
        return np.asarray(found.predict(seen), dtype=np.int64)
