"""Two tables as codes and ranks on shared scales, and the associations that one of them is to be brought to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.evaluation.association import Pairs, centred_ranks, pairs_of
from synth_components.evaluation.columns import Binned, Codes, binned, coded
from synth_components.evaluation.options import FidelityConfig
from synth_components.protocols import Dataset, Floats
from synth_components.schema import Schema

Order: TypeAlias = NDArray[np.int64]
"""(n,) a permutation: row i takes the value of row ``order[i]``."""

DECLARED_WEIGHT = 10.0
"""A pair whose association a person declared counts as much as so many that follow the real table."""

Kind: TypeAlias = Literal["spearman", "correlation_ratio", "cramers_v"]


@dataclass(frozen=True)
class Frame:
    """The columns of one table that have associations (n rows, d columns).

    Attributes:
        names: The columns.
        numbers: (d,) whether a column holds numbers or times.
        sizes: Number of bins by column; the last one is null.
        codes: (n, d) bins.
        ranks: (n, d) centred ranks of the numbers; 0 for categories and null.
    """

    names: tuple[str, ...]
    numbers: NDArray[np.bool_]
    sizes: tuple[int, ...]
    codes: Codes
    ranks: Floats

    @cached_property
    def pairs(self) -> Pairs:
        """The joint counts and associations, as the judge of fidelity measures them."""
        return pairs_of(self.codes, self.ranks, Binned(self.sizes, self.codes, self.codes, self.codes), self.numbers)

    def reordered(self, orders: Mapping[int, Order]) -> Frame:
        """Return the frame with some columns, by place, reordered."""
        codes, ranks = self.codes.copy(), self.ranks.copy()
        for place, order in orders.items():
            codes[:, place] = self.codes[order, place]
            ranks[:, place] = self.ranks[order, place]
        return replace(self, codes=codes, ranks=ranks)

    def kind(self, first: int, second: int) -> Kind:
        """Return which measure a pair has."""
        if self.numbers[first] and self.numbers[second]:
            return "spearman"
        return "correlation_ratio" if self.numbers[first] or self.numbers[second] else "cramers_v"


def frames(real: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema) -> tuple[Frame, Frame]:
    """Return both tables on shared scales: bins and categories are those of the real one.

    Raises:
        SchemaError: for a table that lacks a column of the schema, or holds text in a numeric one.
    """
    sides = [Dataset({schema.root: table}, schema) for table in (real, real.iloc[:0], synthetic)]
    view = coded(*sides)
    options = FidelityConfig()
    cells = binned(view, bins=options.bins, max_categories=options.max_categories)
    numbers = np.array([not view.is_category(name) for name in view.names], dtype=np.bool_)
    made = [
        Frame(view.names, numbers, cells.sizes, codes, centred_ranks(values, view))
        for codes, values in ((cells.train, view.train), (cells.synthetic, view.synthetic))
    ]
    return made[0], made[1]


@dataclass(frozen=True)
class Aim:
    """What to bring a table to.

    Attributes:
        strength: (d, d) associations.
        declared: (d, d) which of them a person declared; the others give way where not all can be had.
        tolerance: Largest distance from them.
        real: The real table, for the shape of each dependence.
        pairs: Its joint counts.
    """

    strength: Floats
    declared: NDArray[np.bool_]
    tolerance: float
    real: Frame
    pairs: Pairs

    def weights(self, column: int, others: list[int]) -> Floats:
        """Return how much it counts that the pairs of a column with others miss their aim."""
        return np.where(self.declared[others, column], DECLARED_WEIGHT, 1.0)

    def joint(self, first: int, second: int) -> Floats:
        """Return the real shares (bins of first, bins of second)."""
        if first > second:
            return self.joint(second, first).T
        start = int(self.pairs.starts[first][second - first - 1])
        shares: Floats = self.pairs.joint[first][:, start : start + self.real.sizes[second]]
        return shares

    def means(self, group: int, number: int) -> Floats:
        """Return the real mean rank of a number by category (bins of group,); 0 for an empty one."""
        codes, size = self.real.codes[:, group], self.real.sizes[group]
        sums = np.bincount(codes, weights=self.real.ranks[:, number], minlength=size)
        made: Floats = sums / np.maximum(np.bincount(codes, minlength=size), 1)
        return made


def square(association: Floats, width: int) -> Floats:
    """Return associations by pair (p,) as a symmetric matrix (d, d) with ones on its diagonal."""
    made = np.zeros((width, width))
    made[np.triu_indices(width, 1)] = association
    return made + made.T + np.eye(width)
