"""How well numbers tell members from others: area under the ROC curve, and hits at a low rate of false alarms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from synth_components.protocols import Floats


@dataclass(frozen=True)
class Ranking:
    """Rows by falling score, so that labels and weights can be tried on them without sorting again.

    Attributes:
        order: (n,) places by falling score.
        ends: (g,) last place of each group of ties, within ``order``.
    """

    order: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, scores: Floats) -> Self:
        """Return the ranking of scores (n,), the likeliest members first."""
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        return cls(order, np.flatnonzero(np.append(falling[1:] != falling[:-1], True)))

    def roc(self, is_member: NDArray[np.bool_], weights: Floats | None = None) -> tuple[Floats, Floats]:
        """Return rates of false alarms and of hits (g + 1,), rising from 0 to 1; ties are one straight piece.

        Args:
            is_member: (n,) whether the row was trained on; there must be both kinds.
            weights: (n,) how often each row counts; once each if ``None``.
        """
        mass = (np.ones(len(is_member)) if weights is None else weights)[self.order]
        members = np.append(0.0, np.cumsum(mass * is_member[self.order])[self.ends])
        others = np.append(0.0, np.cumsum(mass * ~is_member[self.order])[self.ends])
        return others / max(others[-1], 1e-300), members / max(members[-1], 1e-300)


def area(roc: tuple[Floats, Floats]) -> float:
    """Return the area under a ROC curve: 0.5 is guessing."""
    alarms, hits = roc
    return float((np.diff(alarms) * (hits[1:] + hits[:-1]) / 2).sum())


def hits_at(roc: tuple[Floats, Floats], rate: float) -> float:
    """Return the rate of hits (TPR) at a rate of false alarms (FPR); between points, on the line."""
    alarms, hits = roc
    place = int(np.searchsorted(alarms, rate, side="right")) - 1
    if place + 1 >= len(alarms):
        return float(hits[-1])
    part = (rate - alarms[place]) / (alarms[place + 1] - alarms[place])
    return float(hits[place] + part * (hits[place + 1] - hits[place]))
