"""The distribution of one encoded column: atoms, a piecewise-uniform part, and a share of nulls.

It is what a model may keep of a column: no value stands in it that fewer than ``min_count`` rows share, since atoms
need that support and every edge of the piecewise part is a mean over at least that many rows.  Extremes are clipped
before, where a schema's bounds would lie: a mean over ten rows, one of which is a million, tells the million.

Where it is known whose each row is, all of this counts privacy units: one person's rows support nothing, however many
they are, and count in a mean as one value, their own mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy import random
from numpy.typing import NDArray

from synth_components.bound import REACH, supported_ranks
from synth_components.errors import UnsupportedError
from synth_components.protocols import Floats
from synth_components.schema import AnyColumn, Boolean, Categorical
from synth_components.support import Owners, mean_of_each, num_owners, spread


@dataclass(frozen=True)
class Marginal:
    """Ascending pieces, each uniform on [low, high] or an atom where these are equal, and a null share.

    Attributes:
        low: (p,) lower ends, in encoded units.
        high: (p,) upper ends.
        mass: (p,) probabilities; together with ``null`` they sum to 1.
        null: Probability of null.
    """

    low: Floats
    high: Floats
    mass: Floats
    null: float

    @classmethod
    def of(
        cls, values: Floats, column: AnyColumn, *, name: str, knots: int, min_count: int, owners: Owners = None
    ) -> Self:
        """Return the marginal of encoded values (n,), NaN for null.

        Values that fewer than ``min_count`` rows share enter the piecewise part; rare categories, and a piecewise part
        of fewer than ``min_count`` rows, are redistributed over what is kept.

        Args:
            knots: Most pieces of the piecewise part, and most atoms of a number.
            name: The column's name, for the error.
            owners: The privacy unit (n,) of each row, which are then counted instead of rows.

        Raises:
            UnsupportedError: if nothing has enough support.
        """
        is_there = ~np.isnan(values)
        present = values[is_there]
        null = 1.0 - len(present) / len(values) if len(values) else float(column.nullable)
        distinct, place, counts = np.unique(present, return_inverse=True, return_counts=True)
        whose = None if owners is None else owners[is_there]
        support = counts if whose is None else num_owners(place, whose, len(distinct))
        if isinstance(column, Categorical | Boolean):
            kept = (support >= min_count) & (distinct >= 0)
            others = np.zeros(0, dtype=np.int64)
        else:
            # Beyond ``knots`` atoms, the ones with the least support join the piecewise part.
            enough = max(min_count, int(np.sort(support)[::-1][knots]) + 1 if len(support) > knots else 0)
            kept = support >= enough
            others = np.argsort(place, kind="stable")
            others = others[~kept[place[others]]]  # rows by ascending value
        atoms, atom_counts = distinct[kept], counts[kept]
        rest, theirs = distinct[place[others]], None if whose is None else whose[others]
        if (len(rest) if theirs is None else len(np.unique(theirs))) < min_count:
            rest = rest[:0]
        if len(rest):
            rest = np.clip(rest, *_ends(present, whose, min_count=min_count))
        if len(atoms) == 0 and len(rest) == 0:
            if null > 0 or len(values) == 0:
                return cls(np.empty(0), np.empty(0), np.empty(0), 1.0)
            who = "rows" if owners is None else "privacy units"
            raise UnsupportedError(
                f"column '{name}' has no value that {min_count} {who} share, and too few {who} to average; "
                f"give more {who}, or lower min_category_count knowing that it is a privacy knob"
            )
        edges, masses = _pieces(rest, theirs, knots=knots, min_count=min_count)
        low, high, mass = _interleave(edges, masses, atoms, atom_counts.astype(np.float64))
        return cls(low, high, mass / mass.sum() * (1.0 - null), null)

    @cached_property
    def _cumulative(self) -> Floats:
        return np.concatenate([[0.0], np.cumsum(self.mass)])

    @property
    def atoms(self) -> Floats:
        """The single values (k,), ascending."""
        atoms: Floats = self.low[self.low == self.high]
        return atoms

    @property
    def is_discrete(self) -> bool:
        """Whether every piece is an atom."""
        return bool(np.all(self.low == self.high))

    def quantile(self, uniforms: Floats) -> Floats:
        """Return the values (n,) at probabilities (n,) in [0, 1); the last ``null`` share gives NaN."""
        cumulative = self._cumulative
        if len(self.mass) == 0:
            return np.full(len(uniforms), np.nan)
        piece = np.clip(np.searchsorted(cumulative, uniforms, side="right") - 1, 0, len(self.mass) - 1)
        within = np.clip((uniforms - cumulative[piece]) / np.maximum(self.mass[piece], 1e-300), 0.0, 1.0)
        values = self.low[piece] + within * (self.high[piece] - self.low[piece])
        return np.where(uniforms >= 1.0 - self.null, np.nan, values) if self.null > 0 else values

    def piece_of(self, values: Floats) -> NDArray[np.int64]:
        """Return the piece (n,) that holds each value, the nearest if none does; -1 for NaN."""
        middle = (self.low + self.high) / 2
        # Pieces do not overlap, so the right one is the first whose upper end reaches the value; an atom at the shared
        # end of two pieces comes between them and wins by exact equality.
        piece = np.clip(np.searchsorted(self.high, values, side="left"), 0, max(len(self.mass) - 1, 0))
        after = np.minimum(piece + 1, max(len(self.mass) - 1, 0))
        if len(self.mass):
            is_atom_after = (self.low[after] == self.high[after]) & (self.low[after] == values)
            piece = np.where(is_atom_after, after, piece)
            before = np.maximum(piece - 1, 0)
            in_gap = values < self.low[piece]
            nearer = np.abs(values - middle[before]) < np.abs(values - middle[piece])
            piece = np.where(in_gap & nearer, before, piece)
        return np.where(np.isnan(values), -1, piece)

    def holds(self, values: Floats) -> NDArray[np.bool_]:
        """Return whether a piece holds each whole number (n,), to half a step; NaN is held by none."""
        if len(self.mass) == 0:
            return np.zeros(len(values), dtype=bool)
        piece = np.maximum(self.piece_of(values), 0)
        return np.asarray((values >= self.low[piece] - 0.5) & (values <= self.high[piece] + 0.5))

    def uniform(self, values: Floats, *, rng: random.Generator) -> Floats:
        """Return probabilities (n,) whose ``quantile`` gives the values back, drawn within atoms.

        The randomised distribution transform: uniform on [0, 1) if the values follow this marginal.
        Source: Rueschendorf 2009, "On the distributional transform", Definition 1.2.
        """
        spread = rng.random(len(values))
        if len(self.mass) == 0:
            return spread
        piece = self.piece_of(values)
        held = np.maximum(piece, 0)
        width = self.high[held] - self.low[held]
        with np.errstate(invalid="ignore"):
            within = np.where(
                width > 0, np.clip((values - self.low[held]) / np.where(width > 0, width, 1), 0, 1), spread
            )
        inside = self._cumulative[held] + within * self.mass[held]
        return np.where(piece < 0, 1.0 - self.null * (1.0 - spread), np.minimum(inside, np.nextafter(1.0, 0.0)))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays from which ``from_arrays`` makes an equal marginal."""
        return {"low": self.low, "high": self.high, "mass": self.mass, "null": np.array([self.null])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the marginal that ``to_arrays`` wrote."""
        return cls(arrays["low"], arrays["high"], arrays["mass"], float(arrays["null"][0]))


def marginals_of(
    values: Floats, column: AnyColumn, *, name: str, knots: int, min_count: int, owners: Owners = None
) -> tuple[Marginal, ...]:
    """Return the marginal of the first feature of encoded values (n, w), then those of a second one.

    There is one of the second given each atom of the first, ascending, and one given no atom if there are other values.

    Raises:
        UnsupportedError: if nothing has enough support.
    """
    first = Marginal.of(values[:, 0], column, name=name, knots=knots, min_count=min_count, owners=owners)
    if values.shape[1] == 1:
        return (first,)
    is_there = ~np.isnan(values[:, 0])
    held, whose = values[is_there], None if owners is None else owners[is_there]
    place = _place(first, held[:, 0])
    groups = [place == k for k in range(len(first.atoms) + (not first.is_discrete))]
    return first, *(
        Marginal.of(
            held[group, 1],
            column,
            name=name,
            knots=math.ceil(knots * int(group.sum()) / len(held)),
            min_count=min_count,
            owners=None if whose is None else whose[group],
        )
        for group in groups
    )


def second_given(marginals: Sequence[Marginal], first: Floats) -> NDArray[np.int64]:
    """Return which of the marginals the second feature has, given values (n,) of the first.

    Of a value that none was made for, it is the last.
    """
    return np.minimum(1 + _place(marginals[0], first), len(marginals) - 1)


def quantiles(marginals: Sequence[Marginal], uniforms: Floats) -> Floats:
    """Return the features (n, w) at probabilities (w, n) in [0, 1); the share of nulls gives NaN."""
    first = marginals[0].quantile(uniforms[0])
    if len(uniforms) == 1:
        return first[:, None]
    first = np.rint(first)
    second = np.full(len(first), np.nan)
    place = second_given(marginals, first)
    for k in range(1, len(marginals)):
        rows = (place == k) & ~np.isnan(first)
        second[rows] = np.rint(marginals[k].quantile(uniforms[1, rows]))
    return np.stack([first, second], axis=1)


def whole(values: Floats, marginals: Sequence[Marginal], *, rng: random.Generator) -> Floats:
    """Return features (n, 2) drawn one by one, the second drawn anew where it never goes with the first.

    A model that knows little of which values go together would draw four integers from the halves of two.
    """
    second = values[:, 1].copy()
    place = second_given(marginals, values[:, 0])
    for k in range(1, 1 + len(marginals[0].atoms)):
        rows = np.flatnonzero(place == k)
        lost = rows[~marginals[k].holds(second[rows])]
        second[lost] = np.rint(marginals[k].quantile(rng.random(len(lost))))
    return np.stack([values[:, 0], second], axis=1)


def _place(marginal: Marginal, values: Floats) -> NDArray[np.int64]:
    """Return which of the k atoms each value (n,) is; k for none."""
    atoms = marginal.atoms
    return np.where(np.isin(values, atoms), np.searchsorted(atoms, values), len(atoms))


def shared_out(place: NDArray[np.int64], owners: NDArray[np.int64], *, least: int) -> NDArray[np.bool_]:
    """Return which rows (n,) count, so that no owner has many of those at a place.

    That is more than one in ``least``; where fewer owners than that have rows, one row of each counts.  The rows that
    count are spread over an owner's.

    Args:
        place: Of each row (n,), as a number from 0.
        owners: Of each row (n,).
        least: Of how many rows one may be an owner's.
    """
    key = (place << 32) | owners
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))  # of the rows of one owner at one place
    rows = np.diff(np.append(starts, len(key)))
    at = place[order][starts]
    # At each place, owners with many rows first. Of those after the first j, no matter how many rows are of each of
    # these, a share of one in ``least`` each is at most the rest over least - j.
    largest = np.lexsort((-rows, at))
    firsts = np.flatnonzero(np.diff(at, prepend=-1))
    sizes = np.diff(np.append(firsts, len(at)))
    group = np.repeat(np.arange(len(firsts)), sizes)
    ahead = np.arange(len(at)) - firsts[group]
    taken = np.cumsum(rows[largest]) - rows[largest]
    total = np.add.reduceat(rows, firsts) if len(firsts) else rows
    rest = total[group] - (taken - taken[firsts][group])
    most = np.where(ahead < least, rest // np.maximum(least - ahead, 1), np.iinfo(np.int64).max)
    cap = np.minimum.reduceat(most, firsts) if len(firsts) else most
    cap = np.maximum(np.where(sizes < least, 1, cap), 1)
    counts = np.empty(len(key), dtype=bool)
    counts[order] = spread(rows, cap[group])
    return counts


def _ends(values: Floats, owners: Owners, *, min_count: int) -> tuple[float, float]:
    """Return where extremes of values (n,) are clipped, as far out as ``column_type.bounds``.

    Of an owner the least value counts at one end, and the largest at the other.
    """
    if owners is None:
        lower = upper = np.sort(values)
    else:
        order = np.lexsort((values, owners))
        first = np.flatnonzero(np.diff(owners[order], prepend=-1))
        lower, upper = (np.sort(values[order][at]) for at in (first, np.append(first[1:], len(order)) - 1))
    near, inner = supported_ranks(len(lower), min_count)
    low, inner_low = float(lower[near]), float(lower[inner])
    high, inner_high = float(upper[len(upper) - 1 - near]), float(upper[len(upper) - 1 - inner])
    return low - REACH * (inner_low - low), high + REACH * (high - inner_high)


def _pieces(rest: Floats, owners: Owners, *, knots: int, min_count: int) -> tuple[Floats, Floats]:
    """Return edges (k + 1,) and counts (k,) of groups of at least ``min_count`` sorted values; edges are means."""
    if len(rest) == 0:
        return np.empty(0), np.empty(0)
    groups = max(1, min(knots, len(rest) // min_count))
    starts = np.linspace(0, len(rest), groups + 1).astype(np.int64)
    if owners is None:
        counts = np.diff(starts).astype(np.float64)
        means = np.add.reduceat(rest, starts[:-1]) / counts
        deviation = float(rest.std())
    else:
        starts = _with_owners(starts, owners, least=min_count)
        counts = np.diff(starts).astype(np.float64)
        one_each = [mean_of_each(rest[low:high], owners[low:high]) for low, high in pairwise(starts.tolist())]
        means = np.array([one.mean() for one in one_each])
        deviation = float(one_each[0].std())
    if len(counts) == 1:
        # One group: a uniform of the group's mean and standard deviation.
        reach = deviation * np.sqrt(3.0)
        return np.array([means[0] - reach, means[0] + reach]), counts
    middles = (means[:-1] + means[1:]) / 2
    return np.concatenate([[2 * means[0] - middles[0]], middles, [2 * means[-1] - middles[-1]]]), counts


def _with_owners(starts: NDArray[np.int64], owners: NDArray[np.int64], *, least: int) -> NDArray[np.int64]:
    """Return those of the starts (k + 1,) of groups, and their end, between which at least so many owners have rows."""
    kept, seen = [0], set[int]()
    for low, high in pairwise(starts.tolist()):
        seen.update(np.unique(owners[low:high]).tolist())
        if len(seen) >= least:
            kept.append(high)
            seen = set()
    # What is left over joins the last group.
    return np.array([*(kept[:-1] if len(kept) > 1 else kept), len(owners)], dtype=np.int64)


def _interleave(edges: Floats, counts: Floats, atoms: Floats, atom_counts: Floats) -> tuple[Floats, Floats, Floats]:
    """Return pieces in ascending order, splitting at each atom the group that holds it, in proportion to length."""
    if len(edges) == 0:
        return atoms, atoms, atom_counts
    inner = atoms[(atoms > edges[0]) & (atoms < edges[-1])]
    cuts = np.unique(np.concatenate([edges, inner]))
    low, high = cuts[:-1], cuts[1:]
    group = np.clip(np.searchsorted(edges, (low + high) / 2, side="right") - 1, 0, len(counts) - 1)
    mass = counts[group] * (high - low) / np.maximum(edges[group + 1] - edges[group], 1e-300)
    lows, highs = np.concatenate([low, atoms]), np.concatenate([high, atoms])
    order = np.lexsort((highs, lows))  # an atom at the lower end of a piece comes before the piece
    return lows[order], highs[order], np.concatenate([mass, atom_counts])[order]
