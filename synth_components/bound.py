"""The bounds that a schema may show of a column's numbers, and how far out extremes are clipped."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_components.support import Owners

REACH = 2
"""How far a bound lies beyond the supported quantile, in distances to the quantile of twice the support."""


def supported_ranks(n: int, min_count: int) -> tuple[int, int]:
    """Return the places, from the end of ``n`` sorted values, of the two that its bound is read off."""
    return min(min_count - 1, (n - 1) // 4), min(2 * min_count - 1, (n - 1) // 2)


@dataclass(frozen=True)
class Ascending:
    """Numbers of a column in ascending order, and whose they are.

    Attributes:
        numbers: (n,) of all rows.
        owners: The privacy unit (n,) of each; ``None`` where a row is one.
    """

    numbers: NDArray[Any]
    owners: Owners = None

    @classmethod
    def of(cls, numbers: NDArray[Any], owners: Owners = None) -> Ascending:
        """Return numbers (n,) in order."""
        if owners is None:
            return cls(np.sort(numbers))
        order = np.argsort(numbers, kind="stable")
        return cls(numbers[order], owners[order])

    def least(self) -> NDArray[Any]:
        """Return the least number (k,) of each unit, ascending."""
        if self.owners is None:
            return self.numbers
        return self.numbers[np.sort(np.unique(self.owners, return_index=True)[1])]

    def largest(self) -> NDArray[Any]:
        """Return the largest number (k,) of each unit, ascending."""
        if self.owners is None:
            return self.numbers
        last = len(self.numbers) - 1 - np.unique(self.owners[::-1], return_index=True)[1]
        return self.numbers[np.sort(last)]

    def once(self) -> NDArray[Any]:
        """Return each number (m,) as often as units have it, ascending."""
        if self.owners is None or not len(self.numbers):
            return self.numbers
        rank = np.cumsum(np.append(False, self.numbers[1:] != self.numbers[:-1]))
        return self.numbers[np.unique(rank * (int(self.owners.max()) + 1) + self.owners, return_index=True)[1]]


def bounds(
    ascending: Ascending, *, places: int | None, min_count: int
) -> tuple[int | float | None, int | float | None]:
    """Return the bounds that a schema may show of some numbers.

    The smallest value itself if ``min_count`` rows share it. Else the ``min_count``-th smallest, moved outward by twice
    its distance to the ``2 * min_count``-th (of few rows quartile and median), rounded outward to two digits of the
    range, and further while fewer than ``min_count`` rows hold the result. Zero, the natural bound of counts and
    amounts, is not passed by values of one sign. With fewer than ``2 * min_count`` rows nothing is supported, and there
    are no bounds.

    Where it is known whose each row is, units are counted instead, of whom the least value counts at one end, and the
    largest at the other.
    """
    numbers, lower, upper = ascending.once(), ascending.least(), ascending.largest()
    n = len(lower)
    if n and _count(numbers, numbers[0]) >= min_count and _count(numbers, numbers[-1]) >= min_count:
        return _plain(numbers[0], places), _plain(numbers[-1], places)
    if n < 2 * min_count:
        return None, None
    near, nearer = supported_ranks(n, min_count)
    first, last = _exactly(lower[near]), _exactly(upper[n - 1 - near])
    low = first - REACH * (_exactly(lower[nearer]) - first)
    high = last + REACH * (last - _exactly(upper[n - 1 - nearer]))
    span = max(high - low, Decimal(10) ** -(places if places is not None else 9), abs(first).scaleb(-12))
    step = Decimal(10) ** (span.adjusted() - 1)
    if places is not None:
        step = max(step, Decimal(10) ** -places)
    low_bound = (
        _plain(numbers[0], places)
        if _count(numbers, numbers[0]) >= min_count
        else _outward(numbers, low, -step, first, places=places, min_count=min_count)
    )
    high_bound = (
        _plain(numbers[-1], places)
        if _count(numbers, numbers[-1]) >= min_count
        else _outward(numbers, high, step, last, places=places, min_count=min_count)
    )
    return low_bound, high_bound


def _outward(
    numbers: NDArray[Any], bound: Decimal, step: Decimal, inner: Decimal, *, places: int | None, min_count: int
) -> int | float:
    rounding = ROUND_CEILING if step > 0 else ROUND_FLOOR
    made = (bound / abs(step)).to_integral_value(rounding=rounding) * step.copy_abs()
    while True:
        if (step < 0 and made <= 0 <= inner) or (step > 0 and inner <= 0 <= made):
            return _plain(Decimal(0), places)
        plain = _plain(made, places)
        if not 0 < _count(numbers, plain) < min_count:
            return plain
        made += step


def _count(numbers: NDArray[Any], value: Any) -> int:  # noqa: ANN401 - int, float or Decimal
    if numbers.dtype == object and len(numbers) and isinstance(numbers[0], Decimal):
        value = _exactly(value)
    elif numbers.dtype.kind == "u" and value < 0:
        return 0
    return int(np.searchsorted(numbers, value, side="right") - np.searchsorted(numbers, value, side="left"))


def _exactly(value: Any) -> Decimal:  # noqa: ANN401
    if isinstance(value, Decimal):
        return value
    return Decimal(int(value)) if isinstance(value, int | np.integer) else Decimal(repr(float(value)))


def _plain(value: Any, places: int | None) -> int | float:  # noqa: ANN401
    if isinstance(value, float | np.floating):
        return float(value)
    return int(value) if places is not None and places <= 0 else float(value)
