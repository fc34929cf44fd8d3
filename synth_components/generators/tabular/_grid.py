"""The codes of one encoded feature: the pieces of its marginal in ascending order, then null; and rows of features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy import random
from numpy.typing import NDArray

from synth_components.encode import Features, decode, slices
from synth_components.errors import ArtifactError
from synth_components.marginal import Marginal
from synth_components.protocols import Dataset, Floats
from synth_components.schema import Boolean, Categorical, Numeric, Schema

Codes = NDArray[np.int32]

_PARTS = ("low", "high", "mass", "null")
"""The arrays of a marginal."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The cells that a feature's values fall into.

    Attributes:
        marginal: The pieces, and the share of nulls.
        is_nominal: Whether the pieces are categories: a value between two of them is unknown, not near one.
        is_exact: Whether values have no resolution, so that a piece is a continuum.
    """

    marginal: Marginal
    is_nominal: bool
    is_exact: bool

    @property
    def has_null(self) -> bool:
        """Whether null is a code, the last one."""
        return self.marginal.null > 0.0

    @property
    def size(self) -> int:
        """Number of codes."""
        return len(self.marginal.mass) + self.has_null

    @cached_property
    def mass(self) -> Floats:
        """Probability of each code (size,)."""
        mass: Floats = np.append(self.marginal.mass, self.marginal.null) if self.has_null else self.marginal.mass
        return np.asarray(mass / mass.sum())

    def codes(self, values: Floats, *, rng: random.Generator) -> Codes:
        """Return the codes (n,) of encoded values; categories that are not kept are redistributed by mass."""
        codes = self.marginal.piece_of(values)
        lost = codes < 0
        if self.has_null:
            codes = np.where(lost, self.size - 1, codes)
            lost = np.zeros_like(lost)
        if self.is_nominal and len(self.marginal.mass):
            held = np.minimum(codes, len(self.marginal.mass) - 1)
            lost |= (self.marginal.low[held] != values) & ~np.isnan(values)
        if lost.any():
            known = self.marginal.mass if len(self.marginal.mass) else self.mass
            cumulative = np.cumsum(known)
            drawn = np.searchsorted(cumulative, rng.random(int(lost.sum())) * cumulative[-1], side="right")
            codes = codes.copy()
            codes[lost] = np.minimum(drawn, len(known) - 1)
        return codes.astype(np.int32)

    def values(self, codes: Codes, *, rng: random.Generator, low: float = -np.inf, high: float = np.inf) -> Floats:
        """Return encoded values (n,), uniform within each code's piece and ``[low, high]``; NaN for null."""
        uniforms = rng.random(len(codes))
        pieces = len(self.marginal.mass)
        if pieces == 0:
            return np.full(len(codes), np.nan)
        held = np.minimum(codes, pieces - 1)
        lows, highs = self.marginal.low[held], self.marginal.high[held]
        if np.isfinite(low) or np.isfinite(high):
            lows, highs = np.maximum(lows, low), np.minimum(highs, high)
        values = lows + uniforms * (highs - lows)
        if not self.is_exact:
            values = np.rint(values)
        return np.where(codes >= pieces, np.nan, np.clip(values, low, high))

    def share_within(self, low: float, high: float) -> Floats:
        """Return the share (size,) of each code's piece that lies in ``[low, high]``; null has none."""
        unit = 1e-12 if self.is_exact else 1.0
        overlap = np.minimum(self.marginal.high, high) - np.maximum(self.marginal.low, low)
        half = 0.0 if self.is_exact else 0.5
        share = np.where(
            overlap >= -half, (np.maximum(overlap, 0.0) + unit) / (self.marginal.high - self.marginal.low + unit), 0.0
        )
        return np.append(share, 0.0) if self.has_null else share

    def share_of(self, values: Floats) -> tuple[Codes, Floats]:
        """Return the code (n,) of each encoded value, and the share of its piece that the value is.

        The share is 0 for a category that is not kept, and for null where none is drawn.
        """
        unit = 1e-12 if self.is_exact else 1.0
        pieces = len(self.marginal.mass)
        if pieces == 0:
            return np.zeros(len(values), dtype=np.int32), np.where(np.isnan(values), 1.0, 0.0)
        codes = self.marginal.piece_of(values)
        held = np.clip(codes, 0, pieces - 1)
        width = self.marginal.high[held] - self.marginal.low[held]
        share = unit / (width + unit)
        if self.is_nominal:
            share = np.where(self.marginal.low[held] == values, 1.0, 0.0)
        codes = np.where(codes < 0, pieces if self.has_null else 0, codes)
        return codes.astype(np.int32), np.where(np.isnan(values), float(self.has_null), share)


def grids_of(features: Features, *, knots: int, min_count: int) -> tuple[Grid, ...]:
    """Return the grid of each feature, with at most ``knots`` pieces of its piecewise part.

    Raises:
        UnsupportedError: if a column has no value with enough support.
    """
    grids = []
    owners = features.owners
    for name, where in features.columns.items():
        column = features.schema.columns[name]
        for values in features.values[:, where].T:
            grids.append(
                Grid(
                    Marginal.of(values, column, name=name, knots=knots, min_count=min_count, owners=owners),
                    is_nominal=isinstance(column, Categorical | Boolean),
                    is_exact=isinstance(column, Numeric) and column.places is None,
                )
            )
    return tuple(grids)


def reweighed(grids: Sequence[Grid], values: Floats, *, min_count: int, rng: random.Generator) -> tuple[Grid, ...]:
    """Return grids with the masses that encoded rows (n, d) give them; their codes stay what they are.

    No mass tells of fewer than ``min_count`` rows.  Wide pieces are gathered, ascending, until they hold as many, and
    share their mass as they did before.  What fewer rows have, the last of these or an atom, a category or null, keeps
    what it had of ``min_count`` rows, which are added to all.
    """
    return tuple(
        _reweighed(grid, column, min_count=min_count, rng=rng) for grid, column in zip(grids, values.T, strict=True)
    )


def _reweighed(grid: Grid, values: Floats, *, min_count: int, rng: random.Generator) -> Grid:
    marginal, size, pieces = grid.marginal, grid.size, len(grid.marginal.mass)
    counts = np.bincount(grid.codes(values, rng=rng), minlength=size).astype(np.float64)
    group, first, held = np.arange(size), 0, math.inf
    for code in np.flatnonzero(marginal.low < marginal.high).tolist():
        if held >= min_count:
            first, held = code, 0.0
        group[code] = first
        held += counts[code]
    of_group = np.bincount(group, weights=counts, minlength=size)
    of_group[of_group < min_count] = 0.0
    before = np.bincount(group, weights=grid.mass, minlength=size)
    weight = of_group[group] * grid.mass / np.maximum(before[group], 1e-300) + min_count * grid.mass
    weight /= weight.sum()
    null = float(weight[pieces]) if grid.has_null else 0.0
    return replace(grid, marginal=replace(marginal, mass=weight[:pieces], null=null))


def rows_of(values: Floats, schema: Schema) -> Dataset:
    """Return the rows of drawn features (n, w); where two make one column, each was drawn by itself."""
    places = slices(schema)
    for where in places.values():
        if where.stop - where.start > 1:  # the low part is free where the high part is known
            low = values[:, where.stop - 1]
            values[:, where.stop - 1] = np.where(np.isnan(low), 0.0, np.clip(low, 0, 2**32 - 1))
    return decode(Features(values, places, schema))


def plan_of(grids: Sequence[Grid]) -> dict[str, list[bool]]:
    """Return what a model's plan, its JSON, says of grids."""
    return {"nominal": [grid.is_nominal for grid in grids], "exact": [grid.is_exact for grid in grids]}


def arrays_of(grids: Sequence[Grid]) -> dict[str, NDArray[Any]]:
    """Return the arrays of grids, by their names in a model's file."""
    return {
        f"grid.{feature}.{part}": np.ascontiguousarray(array)
        for feature, grid in enumerate(grids)
        for part, array in grid.marginal.to_arrays().items()
    }


def marginal_from(arrays: Mapping[str, NDArray[Any]], name: str) -> Marginal:
    """Return the marginal whose arrays stand under ``name`` and a dot in a model's file."""
    return Marginal.from_arrays({part: arrays[f"{name}.{part}"] for part in _PARTS})


def grids_from(
    plan: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], schema: Schema, *, file: str
) -> tuple[Grid, ...]:
    """Return the grids of which ``plan_of`` and ``arrays_of`` were written.

    Args:
        file: Name of the plan's file, for the error.

    Raises:
        ArtifactError: if there is not one grid for each feature of the schema.
    """
    width = sum(where.stop - where.start for where in slices(schema).values())
    if not width == len(plan["nominal"]) == len(plan["exact"]):
        raise ArtifactError(f"{file} does not fit schema.json: the model was altered; save it anew")
    return tuple(
        Grid(
            marginal_from(arrays, f"grid.{feature}"),
            is_nominal=is_nominal,
            is_exact=is_exact,
        )
        for feature, (is_nominal, is_exact) in enumerate(zip(plan["nominal"], plan["exact"], strict=True))
    )
