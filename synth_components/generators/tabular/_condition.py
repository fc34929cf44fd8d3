"""What a request asks of each feature, in the codes of its grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.conditions import ends_of, typed
from synth_components.encode import encoder, slices
from synth_components.errors import ConditionError, UnsupportedError
from synth_components.generators.tabular._grid import Codes, Grid
from synth_components.protocols import Allowed, Floats, Given, Interval
from synth_components.schema import AnyColumn, Datetime, Numeric, Schema

LEAST_SHARE = 1e-6
"""Share of a column's marginal in its conditional where a condition is to be met: what was not learnt is possible."""


@dataclass(frozen=True, eq=False)
class Condition:
    """What one feature must satisfy.

    Attributes:
        share: (size,) part of each code's piece that is allowed, in every row.
        low: Least allowed encoded value.
        high: Greatest allowed encoded value.
        members: (k,) the only encoded values allowed beside null; ``None`` for an interval.
        fixed: (n,) the value that a row must have, NaN for null or none.
        is_fixed: (n,) whether it must have one.
        codes: (n,) code of the fixed value.
        fixed_share: (n,) part of the code's piece that the fixed value is.
    """

    share: Floats
    low: float
    high: float
    members: Floats | None
    fixed: Floats
    is_fixed: NDArray[np.bool_]
    codes: Codes
    fixed_share: Floats

    @property
    def is_free(self) -> bool:
        """Whether rows without a fixed value may have any."""
        return self.members is None and self.low == -np.inf and self.high == np.inf

    @property
    def allowed(self) -> Floats:
        """The part (size,) of each code that rows without a fixed value may have; all if no row is without."""
        return self.share if self.share.any() else np.ones_like(self.share)

    def at(self, rows: NDArray[np.int64]) -> Condition:
        """Return the condition of some rows (k,)."""
        return replace(
            self,
            fixed=self.fixed[rows],
            is_fixed=self.is_fixed[rows],
            codes=self.codes[rows],
            fixed_share=self.fixed_share[rows],
        )

    def is_met(self, values: Floats) -> NDArray[np.bool_]:
        """Return whether encoded values (n,) of rows without a fixed one are allowed."""
        if self.is_free:
            return np.ones(len(values), dtype=bool)
        is_in = (values >= self.low) & (values <= self.high)
        if self.members is not None:
            is_in = np.isin(values, self.members)
        # Null is the last code: it is allowed by a set that lists it, and by no interval.
        return np.where(np.isnan(values), self.members is not None and self.share[-1] > 0, is_in)

    def values(self, grid: Grid, codes: Codes, *, rng: random.Generator) -> Floats:
        """Return encoded values (n,) of codes that meet the condition."""
        return self.placed(grid.values(codes, rng=rng, low=self.low, high=self.high), codes, grid, rng=rng)

    def placed(
        self, values: Floats, codes: NDArray[np.signedinteger[Any]], grid: Grid, *, rng: random.Generator
    ) -> Floats:
        """Return encoded values (n,), drawn between the ends, with those that sets and rows fix."""
        if self.members is not None and len(self.members):
            member_codes, _ = grid.share_of(self.members)
            for code in np.unique(member_codes):
                rows = np.flatnonzero((codes == code) & ~np.isnan(values))
                values[rows] = rng.choice(self.members[member_codes == code], size=len(rows))
        return np.where(self.is_fixed, self.fixed, values)


def conditions(given: Given, n: int, *, schema: Schema, grids: tuple[Grid, ...]) -> dict[int, Condition]:
    """Return the condition of each feature that ``given`` is about, by feature.

    Raises:
        ConditionError: for unknown columns, and values that the model gives no mass.
        UnsupportedError: for integers beyond 2^53, which are two features.
    """
    unknown = tuple(name for name in given.columns if name not in schema.columns)
    if unknown:
        raise ConditionError(f"there is no column {unknown} to condition on", columns=unknown)
    if given.rows is not None and len(given.rows) != n:
        raise ConditionError(f"there are {len(given.rows)} request rows and n is {n}", columns=given.columns)
    places = slices(schema)
    made: dict[int, Condition] = {}
    for name in given.columns:
        column, where = schema.columns[name], places[name]
        if where.stop - where.start > 1:
            raise UnsupportedError(
                f"column '{name}' has integers beyond 2^53, on which no generator conditions by itself"
            )
        requests = None if given.rows is None or name not in given.rows.columns else given.rows[name]
        condition = _condition(given.allowed, requests, n, name=name, column=column, grid=grids[where.start])
        if (~condition.is_fixed).any() and not condition.share @ grids[where.start].mass > 0:
            raise ConditionError(f"the model gives the condition on column '{name}' no mass", columns=(name,))
        if (condition.is_fixed & ~(condition.fixed_share > 0)).any():
            raise ConditionError(f"the model gives a fixed value of column '{name}' no mass", columns=(name,))
        made[where.start] = condition
    return made


def _condition(
    allowed: Mapping[str, Allowed],
    requests: pd.Series[Any] | None,
    n: int,
    *,
    name: str,
    column: AnyColumn,
    grid: Grid,
) -> Condition:
    low, high, members, share = -np.inf, np.inf, None, np.ones(grid.size)
    wanted = allowed.get(name)
    if isinstance(wanted, Interval):
        if not isinstance(column, Numeric | Datetime):
            raise UnsupportedError(f"column '{name}' takes no interval; give a set of values")
        low, high = ends_of(wanted, column, name)
        share = grid.share_within(low, high)
    elif wanted is not None:
        listed = typed(pd.Series([value for value in wanted if value is not None], dtype=object), column)
        members = np.sort(encoder(column, name).encode(listed)[:, 0])
        codes, part = grid.share_of(members)
        share = np.bincount(codes, weights=part, minlength=grid.size).astype(np.float64)
        if grid.has_null:
            share[-1] = float(None in wanted)
    fixed, is_fixed = np.full(n, np.nan), np.zeros(n, dtype=bool)
    if requests is not None:
        is_fixed = requests.notna().to_numpy()
        fixed = encoder(column, name).encode(requests)[:, 0]
    codes, part = grid.share_of(fixed)
    return Condition(share, low, high, members, fixed, is_fixed, codes, part)


def resampled(weights: Floats, size: int, *, rng: random.Generator) -> NDArray[np.int64]:
    """Return ``size`` positions among n * k for each row of weights (n, k), in proportion to them."""
    n, k = weights.shape
    cumulative = np.cumsum(weights, axis=1)
    points = (np.arange(size) + rng.random((n, 1))) / size * cumulative[:, -1:]  # systematic: one offset per row
    place = (points[:, :, None] >= cumulative[:, None, :]).sum(axis=2)
    chosen: NDArray[np.int64] = (np.minimum(place, k - 1) + np.arange(n)[:, None] * k).ravel()
    return chosen
