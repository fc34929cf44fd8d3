"""The learner of the density ratio, in a module of its own: only a fit needs it, and it takes long to import.

Source: Ke et al. 2017, "LightGBM", whose histogram algorithm scikit-learn's learner follows.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from synth_components.protocols import Floats


class Boosting(HistGradientBoostingClassifier):  # type: ignore[misc]  # sklearn has no types
    """scikit-learn's learner, for whole numbers, in less time: its trees are the same, bit by bit.

    What is overridden is not public: under a release that no longer calls it, the same trees take longer.
    """

    def _bin_data(self, X: Floats, *weights: None, is_training_data: bool) -> NDArray[Any]:
        """Return the bins (n, w) of rows; they follow from the sorted columns, and counting sorts faster."""
        mapper = self._bin_mapper
        if not is_training_data or len(X) > mapper.subsample:
            return np.asarray(super()._bin_data(X, *weights, is_training_data=is_training_data))
        thresholds = [mapper.fit(_in_order(column, mapper.n_bins)).bin_thresholds_[0] for column in X.T]
        mapper.fit(X[:1])
        mapper.bin_thresholds_ = thresholds
        mapper.n_bins_non_missing_ = np.array([len(ends) + 1 for ends in thresholds], dtype=np.uint32)
        return np.asarray(mapper.transform(X))

    def _check_early_stopping_loss(self, *, raw_predictions: Floats, y_train: Floats, **others: Any) -> bool:  # noqa: ANN401
        """Return whether the judges say to stop; of the other rows' loss, which nobody reads, one row's is enough."""
        return bool(
            super()._check_early_stopping_loss(raw_predictions=raw_predictions[:1], y_train=y_train[:1], **others)
        )


def takes_judges() -> bool:
    """Return whether the learner can be told which rows end it: scikit-learn 1.7 and later."""
    return "X_val" in signature(HistGradientBoostingClassifier.fit).parameters


def _in_order(column: Floats, bins: int) -> Floats:
    """Return whole numbers (n,) in ascending order (k, 1), each only once where there is a bin for every one."""
    counts = np.bincount(column.astype(np.intp))
    distinct = np.flatnonzero(counts)
    ordered = distinct if len(distinct) < bins else np.repeat(distinct, counts[distinct])
    return ordered.astype(np.float64)[:, None]
