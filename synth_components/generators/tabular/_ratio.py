"""The density ratio of real to drawn rows, by which drawn rows are accepted or rejected.

Source: Azadi et al. 2019 (arXiv:1810.06758), "Discriminator rejection sampling"; Grover et al. 2019
    (arXiv:1906.09531), likelihood-free importance weighting; Prechelt 1998, "Early stopping - but when?"; Ke et al.
    2017, "LightGBM", whose histogram algorithm scikit-learn's learner follows.
Differs: the discriminator is a histogram gradient-boosted forest whose leaves hold many rows. It ends where rows that
    it did not see are told apart no better, so its size follows the error of the trees and not the size of the table;
    these are of other privacy units, where there are some, except under scikit-learn before 1.7, which cannot be told.
    What few units have, or one for the most part, is accepted no more often than what lies around it. The cap of the
    ratio is a quantile over drawn rows, so that a fixed share of rows is accepted too rarely instead of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from os import cpu_count
from typing import Any, Self, TypeAlias

import numpy as np
from numpy import random
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from synth_components.generators.tabular._forest import compiled
from synth_components.protocols import Floats
from synth_components.support import Owners

Codes32: TypeAlias = NDArray[np.float32]

RAKE_BINS = 32
"""Bins of a column whose shares the correction keeps."""
RAKE_ROUNDS = 5
"""Passes over the columns that make their shares right."""
PART_ROWS = 4_096
"""Fewest rows that are worth a thread."""
JUDGES = 0.1
"""Share of rows, the same in every round, that end the boosting and never take part in it."""
LEARNING_RATE = 0.2
"""What each tree adds of what it learns."""
MOST_OF_ONE = 0.5
"""Share of the real rows of a leaf from which they tell of one privacy unit."""
MOST_JUDGES = 0.5
"""Share of the rows from which one privacy unit is too large to judge alone: then rows judge."""
PATIENCE = 10
"""Trees without a gain on the judges after which the boosting ends."""
CAP_QUANTILE = 0.99
"""Share of drawn rows whose ratio lies below the cap."""


@dataclass(frozen=True, eq=False)
class DensityRatio:
    """A boosted forest on codes, and a term for each column that keeps its marginal.

    Attributes:
        feature: (m,) nodes of all trees; -1 in a leaf.
        threshold: (m,) codes up to it go left.
        left: (m,) left child within the tree.
        right: (m,) right child within the tree.
        value: (m,) what a leaf adds to the log ratio.
        tree_starts: (t + 1,) where each tree's nodes begin.
        edges: (w, RAKE_BINS - 1) codes that cut each column into bins.
        terms: (w, RAKE_BINS) what each bin adds to the log ratio.
        cap: Log ratio from which every row is accepted.
        acceptance: Share of drawn rows that are accepted.
    """

    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float32]
    tree_starts: NDArray[np.int64]
    edges: NDArray[np.float32]
    terms: NDArray[np.float32]
    cap: float
    acceptance: float

    @classmethod
    def nothing(cls, width: int) -> Self:
        """Return the ratio of 1 over ``width`` columns."""
        return cls(
            np.empty(0, np.int16),
            np.empty(0, np.float32),
            np.empty(0, np.int32),
            np.empty(0, np.int32),
            np.empty(0, np.float32),
            np.zeros(1, np.int64),
            np.zeros((width, RAKE_BINS - 1), np.float32),
            np.zeros((width, RAKE_BINS), np.float32),
            0.0,
            1.0,
        )

    def boosted(
        self,
        real: Codes32,
        drawn: Codes32,
        *,
        n_trees: int,
        min_leaf: int,
        judges: NDArray[np.bool_] | None = None,
        owners: Owners = None,
    ) -> Self:
        """Return this ratio times the one that tells real codes (n, w) from codes (m, w) drawn under this one.

        The ratio itself, if no tree tells the judges apart better than none.

        Args:
            n_trees: Most trees.
            min_leaf: Fewest rows in a leaf.
            judges: Which real rows (n,) judge, beside as large a share of those drawn; ``None`` for rows at random.
            owners: The privacy unit (n,) of each real row: a quarter of ``min_leaf`` of them bear a leaf out.
        """
        from synth_components.generators.tabular._boosting import Boosting, takes_judges

        is_real = np.arange(len(real) + len(drawn)) < len(real)
        codes = np.concatenate([real, drawn], dtype=np.float64)
        apart: dict[str, Any] = {}
        if judges is not None and takes_judges():
            is_judge = np.append(judges, np.arange(len(drawn)) < judges.mean() * len(drawn))  # which are independent
            apart = {"X_val": codes[is_judge], "y_val": is_real[is_judge]}
            codes, is_real = codes[~is_judge], is_real[~is_judge]
        # One thread: on a busy machine OpenMP's waiting threads cost far more than they save.
        with threadpool_limits(1, user_api="openmp"):
            fitted = Boosting(
                max_iter=n_trees,
                learning_rate=LEARNING_RATE,
                max_leaf_nodes=31,
                min_samples_leaf=min_leaf,
                l2_regularization=1.0,
                early_stopping=True,
                validation_fraction=JUDGES,
                n_iter_no_change=PATIENCE,
                tol=0.0,
                random_state=0,
            ).fit(codes, is_real, **apart)
        best = int(np.argmax(fitted.validation_score_))  # the first score is that of no tree
        if best == 0:
            return self
        trees = [stage[0].nodes for stage in fitted._predictors[:best]]  # there is no public way to a tree's nodes
        if owners is not None:
            learnt = np.ones(len(real), dtype=bool) if not apart or judges is None else ~judges
            held, whose = real[learnt], np.unique(owners[learnt], return_inverse=True)[1]
            for tree in trees:
                tree["value"] = _borne_out(tree, held, whose, least=max(1, min_leaf // 4))
        nodes = np.concatenate(trees)
        is_leaf = nodes["is_leaf"].astype(bool)
        return replace(
            self,
            feature=np.append(self.feature, np.where(is_leaf, -1, nodes["feature_idx"])).astype(np.int16),
            threshold=np.append(self.threshold, np.where(is_leaf, 0, nodes["num_threshold"])).astype(np.float32),
            left=np.append(self.left, np.where(is_leaf, -1, nodes["left"].astype(np.int64))).astype(np.int32),
            right=np.append(self.right, np.where(is_leaf, -1, nodes["right"].astype(np.int64))).astype(np.int32),
            value=np.append(self.value, np.where(is_leaf, nodes["value"], 0)).astype(np.float32),
            tree_starts=np.append(self.tree_starts, self.tree_starts[-1] + np.cumsum([len(tree) for tree in trees])),
        )

    def raked(self, real: Codes32, proposed: Codes32, boosts: Floats | None = None) -> Self:
        """Return this ratio with terms that give every column its real marginal, in bins, and with its cap.

        Args:
            boosts: What ``boosts`` returns of the proposed rows (m,), if that is known.
        Source: Deming & Stephan 1940, iterative proportional fitting.
        """
        levels = np.linspace(0, 1, RAKE_BINS + 1)[1:-1]
        edges = np.quantile(real, levels, axis=0, method="lower").T.astype(np.float32)
        wanted, held = [], []
        for column, cuts in enumerate(edges):
            wanted.append(np.bincount(_bins(cuts, real[:, column]), minlength=RAKE_BINS) / len(real))
            held.append(_bins(cuts, proposed[:, column]))
        terms = np.zeros((len(edges), RAKE_BINS))
        log_ratio = self.boosts(proposed) if boosts is None else boosts
        for _ in range(RAKE_ROUNDS):
            cap = float(np.quantile(log_ratio, CAP_QUANTILE))
            for column, bins in enumerate(held):
                weight = np.exp(np.minimum(log_ratio - cap, 0.0))
                got = np.bincount(bins, weights=weight, minlength=RAKE_BINS) / weight.sum()
                step = np.where(
                    (wanted[column] > 0) & (got > 0),
                    np.log(np.maximum(wanted[column], 1e-12) / np.maximum(got, 1e-12)),
                    0.0,
                )
                terms[column] += np.clip(step, -2.0, 2.0)
                log_ratio = log_ratio + np.clip(step, -2.0, 2.0)[bins]
        cap = float(np.quantile(log_ratio, CAP_QUANTILE))
        acceptance = float(np.exp(np.minimum(log_ratio - cap, 0.0)).mean())
        return replace(self, edges=edges, terms=terms.astype(np.float32), cap=cap, acceptance=acceptance)

    @cached_property
    def _trees(self) -> list[Any]:
        return [
            compiled(
                self.feature[start:stop],
                self.threshold[start:stop].astype(np.float64),
                self.left[start:stop],
                self.right[start:stop],
                self.value[start:stop].astype(np.float64),
            )
            for start, stop in zip(self.tree_starts[:-1], self.tree_starts[1:], strict=True)
        ]

    def boosts(self, codes: Codes32) -> Floats:
        """Return the sum of the trees (n,); each thread takes a part of the rows, so that sums have one order."""
        parts = np.array_split(codes, max(1, min(cpu_count() or 1, len(codes) // PART_ROWS)))
        if len(parts) == 1:
            return self._boosts_of(codes)
        with ThreadPoolExecutor(len(parts)) as pool:
            return np.concatenate(list(pool.map(self._boosts_of, parts)))

    def _boosts_of(self, codes: Codes32) -> Floats:
        total = np.zeros(len(codes))
        for tree in self._trees:
            total += tree.predict(codes).reshape(len(codes))
        return total

    def log_ratio(self, codes: Codes32, boosts: Floats | None = None) -> Floats:
        """Return the log ratio (n,) of rows of codes (n, w), up to a constant; ``boosts`` if known."""
        total = self.boosts(codes) if boosts is None else boosts.copy()
        for column, (cuts, terms) in enumerate(zip(self.edges, self.terms, strict=True)):
            total += terms[_bins(cuts, codes[:, column])]
        return total

    def accepts(self, codes: Codes32, *, rng: random.Generator, boosts: Floats | None = None) -> NDArray[np.bool_]:
        """Return which rows (n, w) are accepted, at random in proportion to the ratio below its cap."""
        return np.asarray(np.log(rng.random(len(codes))) < self.log_ratio(codes, boosts) - self.cap)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays from which ``from_arrays`` makes an equal ratio."""
        return {
            "feature": self.feature,
            "threshold": self.threshold,
            "left": self.left.astype(np.int16),
            "right": self.right.astype(np.int16),
            "value": self.value,
            "tree_starts": self.tree_starts,
            "edges": self.edges,
            "terms": self.terms,
            "scalars": np.array([self.cap, self.acceptance]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the ratio that ``to_arrays`` wrote."""
        cap, acceptance = (float(scalar) for scalar in arrays["scalars"])
        return cls(
            arrays["feature"],
            arrays["threshold"],
            arrays["left"].astype(np.int32),
            arrays["right"].astype(np.int32),
            arrays["value"],
            arrays["tree_starts"],
            arrays["edges"],
            arrays["terms"],
            cap,
            acceptance,
        )


def _borne_out(tree: NDArray[Any], real: Codes32, owners: NDArray[np.int64], *, least: int) -> Floats:
    """Return the value of each node (m,) of a tree of the boosting, as its leaves add it.

    A leaf adds no more than the lowest node above it that is borne out: that ``least`` units reach with real codes
    (n, w), and none with most of them.
    """
    is_leaf, left, right = tree["is_leaf"].astype(bool), tree["left"].astype(np.int64), tree["right"].astype(np.int64)
    apply = compiled(
        np.where(is_leaf, -1, tree["feature_idx"]),
        tree["num_threshold"].astype(np.float32).astype(np.float64),
        np.where(is_leaf, -1, left),
        np.where(is_leaf, -1, right),
    ).apply
    size = int(owners.max(initial=-1)) + 1
    rows = np.bincount(apply(real) * size + owners, minlength=len(tree) * size).reshape(len(tree), size)
    inner = np.flatnonzero(~is_leaf)
    for node in inner[::-1].tolist():  # a node comes before those below it
        rows[node] = rows[left[node]] + rows[right[node]]
    of_one = rows.max(axis=1, initial=0)
    is_few = ((rows > 0).sum(axis=1) < least) | (of_one > MOST_OF_ONE * rows.sum(axis=1))
    value = np.where(is_leaf, tree["value"], LEARNING_RATE * tree["value"])  # the learner shrinks leaves alone
    made: Floats = value.copy()
    for node in inner.tolist():
        for child in (left[node], right[node]):
            if is_few[child]:
                made[child] = min(value[child], made[node])
    return made


def judges_of(owners: NDArray[np.int64], *, rng: random.Generator) -> NDArray[np.bool_] | None:
    """Return which rows (n,) judge: all of some privacy units; ``None`` where one has too many of them."""
    owners = np.unique(owners, return_inverse=True)[1]  # some rows may be without those of some units
    sizes = np.bincount(owners)
    order = rng.permutation(len(sizes))
    count = max(1, int(np.searchsorted(np.cumsum(sizes[order]), JUDGES * len(owners), side="right")))
    is_chosen = np.isin(np.arange(len(sizes)), order[:count])
    made = np.asarray(is_chosen[owners])
    return made if made.mean() <= MOST_JUDGES else None


def _bins(cuts: NDArray[np.float32], codes: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the number of cuts (k,) below each code (n,): for whole numbers a table is faster than a search."""
    last = int(cuts[-1]) + 1
    return np.searchsorted(cuts, np.arange(last + 1))[np.minimum(codes, last).astype(np.intp)]
