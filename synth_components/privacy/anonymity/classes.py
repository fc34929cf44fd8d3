"""Equivalence classes: how many rows share their quasi-identifiers, and how sensitive values vary within them.

A null is a value of its own.  Values are alike that are equal and that a file shows alike: ``True`` is no ``1``, nor
``-0.0`` a ``0.0``.  Of a sensitive column values are one that are equal or that a file shows alike, as ``1``, ``1.0``
and the text of either: what says the same makes no class diverse.  Each sensitive column is measured by itself.

Source: Sweeney 2002 for k-anonymity; Machanavajjhala et al. 2007 (doi:10.1145/1217299.1217302) for l-diversity, of
    distinct values, of entropy and recursive; Li, Li & Venkatasubramanian 2007 (doi:10.1109/ICDE.2007.367856) for
    t-closeness, with the ordered distance for numbers, times and ordered categories, else the equal distance.
Differs: l of entropy is the real number, not its floor.  An ordered null ranks above every value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.errors import DataError, SchemaError
from synth_components.protocols import Floats

Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Diversity:
    """How a sensitive column varies within classes: the worst class of each measure.

    Attributes:
        distinct: Fewest different values.
        entropy: Exponential of the least entropy: as many equally common values would have it.
        recursive: The c below which no (c, l) with l = 2 holds: most rows of the commonest value for one of the others;
            ``inf`` where a class has one value alone.
        closeness: Farthest that a class is from the whole table, the t of t-closeness.
        commonest: Largest share of one value, the alpha of (alpha, k)-anonymity.
    """

    distinct: int
    entropy: float
    recursive: float
    closeness: float
    commonest: float

    def to_json(self) -> dict[str, Any]:
        """Return the measures as a JSON value; an infinite one is null."""
        held = {name: float(value) for name, value in vars(self).items()}
        return {
            name: None if math.isinf(value) else int(value) if name == "distinct" else value
            for name, value in held.items()
        }


@dataclass(frozen=True)
class Anonymity:
    """What a table's classes are like.

    Attributes:
        rows: Rows of the table.
        classes: Number of classes.
        k: Rows of the smallest class; 0 for a table without rows.
        discernibility: Mean number of rows that a row shares its class with, itself included.
        sensitive: Measures of each sensitive column.
    """

    rows: int
    classes: int
    k: int
    discernibility: float
    sensitive: Mapping[str, Diversity]

    def to_json(self) -> dict[str, Any]:
        """Return the measures as a JSON value."""
        return {
            "rows": self.rows,
            "classes": self.classes,
            "k": self.k,
            "discernibility_per_row": self.discernibility,
            "sensitive": {name: one.to_json() for name, one in self.sensitive.items()},
        }


def measure(table: pd.DataFrame, quasi_identifiers: Sequence[str], sensitive: Sequence[str] = ()) -> Anonymity:
    """Return how anonymous a table is, given the columns that others may know and those to hide.

    Raises:
        SchemaError: for a column that the table does not have, or values that cannot be compared.
        DataError: without quasi-identifiers.
    """
    require_columns(table, (*quasi_identifiers, *sensitive))
    if not quasi_identifiers:
        raise DataError("anonymity is measured in classes of equal quasi-identifiers; name one or more columns")
    group, count = classes_of([codes(table[name]) for name in quasi_identifiers])
    sizes = np.bincount(group, minlength=count)
    return Anonymity(
        rows=len(table),
        classes=count,
        k=int(sizes.min(initial=len(table))),
        discernibility=float((sizes.astype(np.float64) ** 2).sum() / max(len(table), 1)),
        sensitive={name: _diversity(Sensitive.of(table[name]), group, count) for name in sensitive},
    )


def _diversity(column: Sensitive, group: Ints, count: int) -> Diversity:
    cells = Cells.of(group, column.codes, count)
    return Diversity(
        distinct=int(cells.distinct.min(initial=column.size)),
        entropy=float(cells.entropy.min(initial=column.size)),
        recursive=float(cells.recursive(2).max(initial=0.0)),
        closeness=float(cells.distance(column).max(initial=0.0)),
        commonest=float(cells.commonest.max(initial=0.0)),
    )


def require_columns(table: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise unless the table has each column once.

    Raises:
        SchemaError: naming the column.
    """
    for name in names:
        found = int((table.columns == name).sum())
        if found != 1:
            what = "is not in the table" if not found else "is in the table twice"
            raise SchemaError(f"column '{name}' {what}; mend its name in the policy or the table", column=name)


def codes(values: pd.Series[Any]) -> Ints:
    """Return numbers (n,), from 0 without a gap, equal where values and their texts are.

    A null is a value.

    Raises:
        SchemaError: for values that cannot be compared, such as lists.
    """
    found = _numbered(values)
    if (shown := _shown(values)) is not None:
        found, _ = classes_of([found, _numbered(shown)])
    elif pd.api.types.is_float_dtype(values.dtype):
        held = values.to_numpy(dtype=np.float64, na_value=np.nan)
        found, _ = classes_of([found, (np.signbit(held) & (held == 0)).astype(np.int64)])
    return found


def _shown(values: pd.Series[Any]) -> pd.Series[Any] | None:
    """Return objects as a file of text shows them; ``None`` for a column of one type, or of texts."""
    if not pd.api.types.is_object_dtype(values.dtype) or pd.api.types.infer_dtype(values, skipna=True) == "string":
        return None
    return values.map(str, na_action="ignore")


def _numbered(values: pd.Series[Any]) -> Ints:
    try:
        found, _ = pd.factorize(values, use_na_sentinel=False)
    except TypeError:
        name = str(values.name)
        raise SchemaError(
            f"column '{name}' holds values that cannot be compared; flatten them to one number, date or text per row",
            column=name,
        ) from None
    return np.asarray(found, dtype=np.int64)


def classes_of(columns: Sequence[Ints]) -> tuple[Ints, int]:
    """Return the class (n,) of each row, one for all that agree in every column, and how many there are."""
    group = np.zeros(len(columns[0]), dtype=np.int64)
    count = 1
    for column in columns:
        # Numbered anew after each column, so that the product stays below 2^63.
        held, inverse = np.unique(group * (int(column.max(initial=0)) + 1) + column, return_inverse=True)
        group, count = inverse.reshape(-1).astype(np.int64), len(held)
    return group, count


def _either(left: Ints, right: Ints) -> Ints:
    """Return numbers (n,), equal where either is, and of what is linked by others in between."""
    found = left
    while True:
        least = found
        for column in (left, right):
            lowest = np.full(int(column.max(initial=0)) + 1, len(found), dtype=np.int64)
            np.minimum.at(lowest, column, least)
            least = lowest[column]
        if (least == found).all():
            return found
        found = least


@dataclass(frozen=True, eq=False)
class Sensitive:
    """A sensitive column as codes, in the order of its values where they have one.

    Attributes:
        codes: (n,) from 0 on.
        size: Number of different values.
        is_ordered: Whether values have an order: numbers, times, booleans, ordered categories.
    """

    codes: Ints
    size: int
    is_ordered: bool

    @classmethod
    def of(cls, values: pd.Series[Any]) -> Sensitive:
        """Return the codes of a column.

        Raises:
            SchemaError: for values that cannot be compared.
        """
        dtype = values.dtype
        if (
            isinstance(dtype, pd.CategoricalDtype)
            and not dtype.ordered
            and _shown(dtype.categories.to_series()) is not None
        ):
            return cls.of(values.astype(object))  # of several types: some may say the same
        if isinstance(dtype, pd.CategoricalDtype):
            found = np.asarray(values.cat.codes, dtype=np.int64)
            found = np.where(found < 0, len(dtype.categories), found)
            return cls._numbered(found, is_ordered=bool(dtype.ordered))
        is_ordered = pd.api.types.is_numeric_dtype(dtype) or getattr(dtype, "kind", "") in "mM"
        if not is_ordered:
            found, shown = _numbered(values), _shown(values)
            return cls._numbered(found if shown is None else _either(found, _numbered(shown)), is_ordered=False)
        found, held = pd.factorize(values, sort=True)
        return cls._numbered(np.where(found < 0, len(held), found), is_ordered=True)

    @classmethod
    def _numbered(cls, found: NDArray[Any], *, is_ordered: bool) -> Sensitive:
        held, inverse = np.unique(found, return_inverse=True)
        return cls(inverse.reshape(-1).astype(np.int64), len(held), is_ordered)

    def take(self, rows: NDArray[Any]) -> Sensitive:
        """Return some of the rows; values that none of them holds keep their code."""
        return Sensitive(self.codes[rows], self.size, self.is_ordered)

    @cached_property
    def shares(self) -> Floats:
        """The share of each value (size,) in the whole column."""
        return np.bincount(self.codes, minlength=self.size) / max(len(self.codes), 1)

    @cached_property
    def cumulative(self) -> tuple[Floats, Floats]:
        """The cumulative shares (size,), and the sums of those before each (size + 1,)."""
        risen = np.cumsum(self.shares)
        return risen, np.concatenate([[0.0], np.cumsum(risen)])


@dataclass(frozen=True, eq=False)
class Cells:
    """How often each class holds each value: one entry per pair that occurs, by class and then by value.

    Attributes:
        owner: (m,) the class.
        value: (m,) the code of the value.
        count: (m,) rows.
        classes: Number of classes, each with an entry or more.
    """

    owner: Ints
    value: Ints
    count: Ints
    classes: int

    @classmethod
    def of(cls, group: Ints, column: Ints, classes: int) -> Cells:
        """Return the cells of rows whose class and code these are."""
        size = int(column.max(initial=0)) + 1
        held, count = np.unique(group * size + column, return_counts=True)
        return cls(held // size, held % size, count.astype(np.int64), classes)

    @cached_property
    def sizes(self) -> Ints:
        """Rows of each class (classes,)."""
        return self._sum(self.count.astype(np.float64)).astype(np.int64)

    @property
    def distinct(self) -> Ints:
        """Different values of each class (classes,)."""
        return np.bincount(self.owner, minlength=self.classes).astype(np.int64)

    @property
    def entropy(self) -> Floats:
        """The exponential of the entropy of each class (classes,)."""
        share = self.count / self.sizes[self.owner]
        return np.exp(-self._sum(share * np.log(share)))

    @property
    def commonest(self) -> Floats:
        """The share of the commonest value of each class (classes,)."""
        most = np.zeros(self.classes)
        np.maximum.at(most, self.owner, self.count.astype(np.float64))
        return most / np.maximum(self.sizes, 1)

    def recursive(self, least: int) -> Floats:
        """Return r_1 / (r_l + ... + r_m) of each class (classes,), counts falling; ``inf`` below l values.

        A class is recursively (c, l)-diverse if this is below c.
        """
        order = np.lexsort((-self.count, self.owner))
        owner, count = self.owner[order], self.count[order].astype(np.float64)
        starts = np.searchsorted(owner, np.arange(self.classes))
        rank = np.arange(len(owner)) - starts[owner]
        first = np.bincount(owner[rank == 0], weights=count[rank == 0], minlength=self.classes)
        rest = np.bincount(owner[rank >= least - 1], weights=count[rank >= least - 1], minlength=self.classes)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(rest > 0, first / rest, np.inf)

    def distance(self, whole: Sensitive) -> Floats:
        """Return the earth mover's distance of each class (classes,) from the whole column, in [0, 1].

        Ordered: the mean over neighbouring values of how far the cumulative shares are apart.  Otherwise half the sum
        of the differences.
        """
        share = self.count / self.sizes[self.owner]
        if whole.size < 2:
            return np.zeros(self.classes)
        if not whole.is_ordered:
            # The differences sum to 0, so that half their sizes is the sum of those above it.
            return self._sum(np.maximum(share - whole.shares[self.value], 0.0))
        risen, sums = whole.cumulative
        starts = np.searchsorted(self.owner, np.arange(self.classes))
        total = np.cumsum(share)
        level = total - np.where(starts > 0, total[starts - 1], 0.0)[self.owner]
        # From one value of the class to its next, its cumulative share stays, and that of the whole rises past it once.
        last = np.append(self.owner[1:] != self.owner[:-1], True)
        upper = np.where(last, whole.size - 1, np.append(self.value[1:], 0))
        middle = np.clip(np.searchsorted(risen, level), self.value, upper)
        below = level * (middle - self.value) - (sums[middle] - sums[self.value])
        above = (sums[upper] - sums[middle]) - level * (upper - middle)
        starts = np.minimum(starts, len(self.owner) - 1)  # a class that no row is in has no say
        before = sums[self.value[starts]]  # below the first value of a class its cumulative share is 0
        return (self._sum(below + above) + before) / (whole.size - 1)

    def _sum(self, parts: Floats) -> Floats:
        summed: Floats = np.bincount(self.owner, weights=parts, minlength=self.classes).astype(np.float64)
        return summed
