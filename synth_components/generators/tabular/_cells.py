"""The codes of one feature as two digits: the cell they lie in, and their place within it.

A softmax over a thousand codes learns slowly and forgets that neighbours are alike; one over some thirty cells, then
one over the places of the cell, does neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from synth_components.generators.tabular._grid import Grid
from synth_components.protocols import Floats

Ints = NDArray[np.int64]

MOST_CATEGORIES = 512
"""Beyond as many categories, which have no order, these too are split into cells of neighbouring codes."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Runs of consecutive codes.  A code of much mass, and null, are cells of their own.

    Attributes:
        first: (g,) the first code of each cell, ascending from 0.
        codes: Number of codes.
    """

    first: Ints
    codes: int

    @classmethod
    def of(cls, grid: Grid, *, cells: int) -> Cells:
        """Return some ``cells`` cells of about equal mass, or one for each code where there are few.

        Args:
            cells: Cells among which the mass is shared out; also the most codes within one, rounded up to hold all.
        """
        size, mass = grid.size, grid.mass
        if size <= 2 * cells or (grid.is_nominal and size <= MOST_CATEGORIES):
            return cls(np.arange(size), size)
        most = max(cells, -(-size // cells))
        is_alone = mass >= 0.5 / cells
        is_alone[len(grid.marginal.mass) :] = True
        first: list[int] = []
        held, is_closed = 0.0, True
        for code in range(size):
            is_full = bool(first) and (held + mass[code] / 2 >= 1.0 / cells or code - first[-1] >= most)
            if is_closed or is_full or is_alone[code]:
                first.append(code)
                held = 0.0
            held += mass[code]
            is_closed = bool(is_alone[code])
        return cls(np.array(first, dtype=np.int64), size)

    @cached_property
    def size(self) -> Ints:
        """Number of codes (g,) of each cell."""
        return np.diff(np.append(self.first, self.codes))

    @property
    def places(self) -> int:
        """The most codes of a cell; 1 where the cell is the code."""
        return int(self.size.max(initial=1))

    def split(self, codes: NDArray[np.int32]) -> tuple[Ints, Ints]:
        """Return cells (n,) and places (n,) of codes."""
        cell = np.searchsorted(self.first, codes, side="right") - 1
        return cell, codes - self.first[cell]

    def join(self, cell: Ints, place: Ints) -> NDArray[np.int32]:
        """Return the codes (n,) of cells and places."""
        return (self.first[cell] + place).astype(np.int32)

    def position(self, cell: Ints, place: Ints) -> NDArray[np.float32]:
        """Return how far (n,) in [0, 1) each code lies towards the next cell; 0 in a cell of one code."""
        size = self.size[cell]
        return np.where(size > 1, (place + 0.5) / size, 0.0).astype(np.float32)

    def by_place(self, of_codes: Floats, *, absent: float) -> Floats:
        """Return values (k,) of codes as (g, places), ``absent`` where a cell has no such place."""
        made = np.full((len(self.first), self.places), absent)
        cell, place = self.split(np.arange(self.codes, dtype=np.int32))
        made[cell, place] = of_codes
        return made
