"""What every class of a table must be like, asked of many classes at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from synth_components.privacy.anonymity.classes import Anonymity, Cells, Ints, Sensitive

Kind: TypeAlias = Literal["distinct", "entropy", "recursive"]
Flags: TypeAlias = NDArray[np.bool_]

TOLERANCE = 1e-9
"""By how much a measured number may miss its bound: it is a sum of floating-point shares."""


@dataclass(frozen=True, eq=False)
class Demand:
    """What the values of one sensitive column must be like in each class.

    Attributes:
        name: Of the column.
        column: Its values.
        diversity: The l, ``None`` where none is asked for.
        kind: How l is meant.
        c: The c of recursive diversity.
        closeness: The t, ``None`` where none is asked for.
    """

    name: str
    column: Sensitive
    diversity: float | None = None
    kind: Kind = "distinct"
    c: float = 3.0
    closeness: float | None = None

    def met(self, group: Ints, rows: NDArray[Any], classes: int) -> Flags:
        """Return for each class (classes,) whether it meets the demand; ``group`` (m,) is of the rows named.

        Closeness is to the column as a whole, not to these rows.
        """
        cells = Cells.of(group, self.column.codes[rows], classes)
        good = np.ones(classes, dtype=np.bool_)
        if self.diversity is not None:
            if self.kind == "recursive":
                good &= cells.recursive(max(1, int(np.ceil(self.diversity)))) < self.c
            else:
                found = cells.distinct if self.kind == "distinct" else cells.entropy
                good &= found >= self.diversity - TOLERANCE / 10
        if self.closeness is not None:
            good &= cells.distance(self.column) <= self.closeness + TOLERANCE / 10
        return good


@dataclass(frozen=True, eq=False)
class Criteria:
    """k, and the demands on sensitive columns.

    Attributes:
        k: Fewest rows of a class.
        demands: One per sensitive column.
    """

    k: int
    demands: Sequence[Demand] = ()

    def met(self, group: Ints, rows: NDArray[Any], classes: int) -> Flags:
        """Return for each class (classes,) whether it meets all; ``group`` (m,) is of the rows named."""
        good: Flags = np.bincount(group, minlength=classes) >= self.k
        for demand in self.demands:
            good &= demand.met(group, rows, classes)
        return good

    def take(self, rows: NDArray[Any]) -> Criteria:
        """Return the same criteria of some of the rows, as a table of their own."""
        return Criteria(self.k, tuple(replace(one, column=one.column.take(rows)) for one in self.demands))


def survivors(group: Ints, criteria: Criteria) -> NDArray[np.int64]:
    """Return the rows (m,) whose classes meet the criteria in the table that they make.

    Classes that do not are left out, until none is left that does not: with them the whole changes that the others
    must be close to.
    """
    rows = np.arange(len(group))
    held = criteria
    while len(rows):
        _, inverse = np.unique(group[rows], return_inverse=True)
        within = inverse.reshape(-1).astype(np.int64)
        good = held.met(within, np.arange(len(rows)), int(within.max()) + 1)
        if good.all():
            break
        rows = rows[good[within]]
        held = criteria.take(rows)
    return rows


def is_met(demand: Demand, found: Anonymity) -> bool:
    """Return whether a measured table meets a demand, but for recursive diversity with an l other than 2."""
    of = found.sensitive[demand.name]
    good = True
    if demand.diversity is not None and demand.kind != "recursive":
        good &= (of.distinct if demand.kind == "distinct" else of.entropy) >= demand.diversity - TOLERANCE
    if demand.closeness is not None:
        good &= of.closeness <= demand.closeness + TOLERANCE
    return good
