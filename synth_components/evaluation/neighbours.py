"""Distances between rows of mixed type, block by block: what closeness, attacks and densities are read off.

The distance is L1: numbers over their 5 % to 95 % range in train, 2 for each category that differs, 1 for a null
against a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth_components.evaluation.columns import Coded, design
from synth_components.protocols import Floats

_CHUNK = 128
_TILE = 4_096  # references at a time: three (128, 4096) arrays stay in the processor's cache
_INDICATORS = 60


@dataclass(frozen=True)
class Located:
    """Rows as numbers (n, a), whose differences add up, and indicators (n, b), two apart per mismatch."""

    numbers: NDArray[np.float32]
    indicators: NDArray[np.float32]

    @classmethod
    def of(cls, view: Coded, values: Floats) -> Located:
        """Return rows (n, d) of ``view`` in the space of distances."""
        is_number = [place for place, name in enumerate(view.names) if not view.is_category(name)]
        is_category = [place for place, name in enumerate(view.names) if view.is_category(name)]
        made = [design(view.only(np.array(places)), values[:, places], max_categories=_INDICATORS) if places
                else np.empty((len(values), 0)) for places in (is_number, is_category)]  # fmt: skip
        return cls(made[0].astype(np.float32), made[1].astype(np.float32))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.numbers)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Located:
        """Return some of the rows."""
        return Located(self.numbers[rows], self.indicators[rows])


def distances(queries: Located, references: Located) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield consecutive queries and their L1 distances (c, m) to every reference; the array is used again."""
    ones = references.indicators.sum(axis=1)
    columns = np.ascontiguousarray(references.numbers.T)
    for start in range(0, len(queries), _CHUNK):
        rows = slice(start, min(start + _CHUNK, len(queries)))
        numbers, indicators = queries.numbers[rows], queries.indicators[rows]
        # For 0/1 vectors, |a - b| summed is |a| + |b| - 2 a.b
        distance = ones[None, :] + indicators.sum(axis=1)[:, None]
        distance -= 2 * (indicators @ references.indicators.T)
        for low in range(0, len(references), _TILE):
            tile = distance[:, low : low + _TILE]
            gap = np.empty_like(tile)
            for column, held in enumerate(columns[:, low : low + _TILE]):
                np.subtract(numbers[:, column, None], held[None, :], out=gap)
                np.abs(gap, out=gap)
                tile += gap
        yield rows, np.maximum(distance, 0.0, out=distance)


def nearest(queries: Located, references: Located, k: int) -> Floats:
    """Return the distances (n, k) to the ``k`` nearest references, ascending; fewer if there are fewer."""
    k = min(k, len(references))
    made = np.empty((len(queries), k))
    for rows, found in distances(queries, references):
        made[rows] = np.sort(np.partition(found, k - 1, axis=1)[:, :k], axis=1)
    return _told(made)


@dataclass(frozen=True)
class Neighbours:
    """The nearest references of each query, nearest first, and how dense they lie around it.

    Attributes:
        distance: (n, k).
        place: (n, k) places of those references.
        log_density: (n,) log of the mean Laplace kernel over all references, up to a constant.
    """

    distance: Floats
    place: NDArray[np.int64]
    log_density: Floats


def neighbours(queries: Located, references: Located, k: int, *, bandwidth: float) -> Neighbours:
    """Return the ``k`` nearest references of each query, and how dense they lie around it.

    Args:
        bandwidth: Scale of the kernel ``exp(-distance / bandwidth)``, a product of Laplace kernels over the columns.
    """
    k = min(k, len(references))
    distance, place = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
    log_density = np.empty(len(queries))
    for rows, found in distances(queries, references):
        some = np.argpartition(found, k - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(found, some, axis=1), axis=1, kind="stable")
        near = np.take_along_axis(some, order, axis=1)
        distance[rows], place[rows] = np.take_along_axis(found, near, axis=1), near
        closest = found[np.arange(len(found)), near[:, 0]]
        kernel = np.exp((closest[:, None] - found) / np.float32(bandwidth))
        log_density[rows] = np.log(kernel.mean(axis=1, dtype=np.float64)) - closest / bandwidth
    return Neighbours(_told(distance), place, log_density)


def _told(values: Floats) -> Floats:
    # Sums of 32-bit differences differ in their last digits; a distance is told to 1e-5.
    rounded: Floats = np.round(values, 5)
    return rounded
