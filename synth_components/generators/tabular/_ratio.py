"""The density ratio of real to drawn rows, by which drawn rows are accepted or rejected.

Source: Azadi et al. 2019 (arXiv:1810.06758), "Discriminator rejection sampling"; Grover et al. 2019
    (arXiv:1906.09531), likelihood-free importance weighting.
Differs: the discriminator is a small histogram gradient-boosted forest whose leaves hold many rows, and the cap of the
    ratio is a quantile over drawn rows, so that a fixed share of rows is accepted too rarely instead of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from synth_components.generators.tabular._forest import compiled
from synth_components.protocols import Floats

CAP_QUANTILE = 0.99
"""Share of drawn rows whose ratio lies below the cap."""


@dataclass(frozen=True, eq=False)
class DensityRatio:
    """A boosted forest on codes.

    Attributes:
        feature: (m,) nodes of all trees; -1 in a leaf.
        threshold: (m,) codes up to it go left.
        left: (m,) left child within the tree.
        right: (m,) right child within the tree.
        value: (m,) what a leaf adds to the log ratio.
        tree_starts: (t + 1,) where each tree's nodes begin.
        cap: Log ratio from which every row is accepted.
        acceptance: Share of drawn rows that are accepted.
    """

    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float32]
    tree_starts: NDArray[np.int64]
    cap: float
    acceptance: float

    @classmethod
    def between(cls, real: NDArray[np.float32], drawn: NDArray[np.float32], *, n_trees: int, min_leaf: int) -> Self:
        """Return the ratio that tells real rows (n, w) of codes from drawn ones (m, w)."""
        labels = np.concatenate([np.ones(len(real)), np.zeros(len(drawn))])
        weights = np.concatenate([np.full(len(real), len(drawn) / max(len(real), 1)), np.ones(len(drawn))])
        # One thread: on a busy machine OpenMP's waiting threads cost far more than they save.
        with threadpool_limits(1, user_api="openmp"):
            fitted = HistGradientBoostingClassifier(
                max_iter=n_trees,
                learning_rate=0.1,
                max_leaf_nodes=31,
                min_samples_leaf=min_leaf,
                l2_regularization=1.0,
                early_stopping=False,
                random_state=0,
            ).fit(np.concatenate([real, drawn]), labels, sample_weight=weights)
        trees = [stage[0].nodes for stage in fitted._predictors]  # there is no public way to a tree's nodes
        is_leaf = [nodes["is_leaf"].astype(bool) for nodes in trees]
        made = cls(
            _joined([np.where(leaf, -1, t["feature_idx"]) for leaf, t in zip(is_leaf, trees, strict=True)], np.int16),
            _joined(
                [np.where(leaf, 0, t["num_threshold"]) for leaf, t in zip(is_leaf, trees, strict=True)], np.float32
            ),
            _joined(
                [np.where(leaf, -1, t["left"].astype(np.int64)) for leaf, t in zip(is_leaf, trees, strict=True)],
                np.int32,
            ),
            _joined(
                [np.where(leaf, -1, t["right"].astype(np.int64)) for leaf, t in zip(is_leaf, trees, strict=True)],
                np.int32,
            ),
            _joined([np.where(leaf, t["value"], 0) for leaf, t in zip(is_leaf, trees, strict=True)], np.float32),
            np.concatenate([[0], np.cumsum([len(t) for t in trees])]).astype(np.int64),
            0.0,
            1.0,
        )
        log_ratio = made.log_ratio(drawn)
        cap = float(np.quantile(log_ratio, CAP_QUANTILE))
        acceptance = float(np.exp(np.minimum(log_ratio - cap, 0.0)).mean())
        return cls(made.feature, made.threshold, made.left, made.right, made.value, made.tree_starts, cap, acceptance)

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

    def log_ratio(self, codes: NDArray[np.float32]) -> Floats:
        """Return the log ratio (n,) of rows of codes (n, w), up to a constant."""
        total = np.zeros(len(codes))
        for tree in self._trees:
            total += tree.predict(codes).reshape(len(codes))
        return total

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays from which ``from_arrays`` makes an equal ratio."""
        return {
            "feature": self.feature,
            "threshold": self.threshold,
            "left": self.left.astype(np.int16),
            "right": self.right.astype(np.int16),
            "value": self.value,
            "tree_starts": self.tree_starts,
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
            cap,
            acceptance,
        )


def _joined(parts: list[NDArray[Any]], kind: Any) -> NDArray[Any]:  # noqa: ANN401 - a numpy type
    return np.concatenate(parts).astype(kind)
