"""The values of a quasi-identifier in order, and what a run of them is called and costs once it is recoded.

Values have codes from 0 on, in the order of numbers and times, or of their hierarchy, so that every node of a hierarchy
is a run of codes.  A null comes last, and in a run with others is ``*``.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from synth_components.errors import PolicyError, SchemaError
from synth_components.privacy.anonymity.classes import Ints
from synth_components.privacy.anonymity.hierarchy import ANY, Dates, Hierarchy, Intervals, Prefix, Step, Tree, leaves
from synth_components.protocols import Floats

Shape: TypeAlias = Literal["interval", "set", "tree"]
Series: TypeAlias = "pd.Series[Any]"

_STEPS = 6
"""Widths of a derived hierarchy of numbers, each twice the one before; the widest halves the range, or nearly."""
_SHOWN = 12
"""Most values that the label of a set names."""


@dataclass(frozen=True, eq=False)
class Domain:
    """One quasi-identifier.

    Attributes:
        name: Of the column.
        codes: (n,) the code of each row's value.
        values: The value of each code but the null's.
        has_null: Whether the last code is the null's.
        shape: What a run of codes becomes: an interval, a set of values, or the node of a tree that holds it.
        position: (size,) where a value lies between the least and the greatest, in [0, 1]; a null at 1.
        nodes: (levels, size) with a tree, the node of each code at each level, from the codes themselves up to ``*``.
        labels: With a tree, what the node of each code is called at each level.
        costs: (levels, size) with a tree, what is lost there, in [0, 1].
    """

    name: str
    codes: Ints
    values: Sequence[Any]
    has_null: bool
    shape: Shape
    position: Floats
    nodes: Ints
    labels: Sequence[Sequence[str | None]]
    costs: Floats

    @property
    def size(self) -> int:
        """Number of codes."""
        return len(self.values) + self.has_null

    def level(self, low: Ints, high: Ints) -> Ints:
        """Return the lowest level at which two codes are in one node."""
        return np.asarray((self.nodes[:, low] != self.nodes[:, high]).sum(axis=0), dtype=np.int64)

    def loss(self, low: Ints, high: Ints) -> Floats:
        """Return what is lost of values that become a run, from 0, nothing, to 1, everything.

        Source: Xu et al. 2006 (doi:10.1145/1150402.1150504), the normalised certainty penalty.
        Differs: a group loses its values but one, over all but one; so that a value alone loses nothing.
        """
        if self.shape == "tree":
            made: Floats = self.costs[self.level(low, high), low]
            return made
        lost = self.position[high] - self.position[low]
        return np.where((low != high) & (high == len(self.values)), 1.0, lost)

    def label(self, low: int, high: int) -> str | None:
        """Return what a run of codes is called; ``None`` for a null."""
        if low == high:
            return None if low == len(self.values) else text(self.values[low])
        if self.shape == "tree":
            level = int(self.level(np.array([low]), np.array([high]))[0])
            return self.labels[level][low]
        if high == len(self.values):
            return ANY
        if self.shape == "interval":
            return f"[{text(self.values[low])}, {text(self.values[high])}]"
        if high - low + 1 == len(self.values) or high - low >= _SHOWN:
            return (
                ANY if high - low + 1 == len(self.values) else f"{text(self.values[low])} … {text(self.values[high])}"
            )
        return "{" + ", ".join(text(value) for value in self.values[low : high + 1]) + "}"

    def representative(self, low: int, high: int) -> Any:  # noqa: ANN401 - a value of the column
        """Return what stands for a run: its middle value, of categories the commonest; ``None`` for a null."""
        if high == len(self.values):
            return None
        if self.is_number:
            middle = (self.position[low] + self.position[high]) / 2
            return self.values[low + int(np.abs(self.position[low : high + 1] - middle).argmin())]
        counts = np.bincount(self.codes, minlength=self.size)
        return self.values[low + int(counts[low : high + 1].argmax())]

    @cached_property
    def is_number(self) -> bool:
        """Whether values are numbers or times."""
        return self.shape == "interval" or bool(
            self.values and isinstance(self.values[0], int | float | np.number | np.datetime64 | datetime.date)
        )


def domain(values: Series, hierarchy: Hierarchy | None, *, runs: bool) -> Domain:
    """Return the domain of a column.

    Args:
        hierarchy: As declared; ``None`` derives one from the type of the column.
        runs: Whether, without a declared hierarchy, any run of values may become an interval or a set.

    Raises:
        PolicyError: if the hierarchy does not suit the column, or lacks a value of it.
        SchemaError: if the values have no order.
    """
    name = str(values.name)
    held, found = _sorted(values)
    if hierarchy is None and runs and not (is_number(values) or _lengths(held)):
        return _made(name, found, held, "set", np.arange(len(held), dtype=np.float64), None)
    if hierarchy is None and runs and is_number(values):
        numbers = _numbers(held)
        if not np.isfinite(numbers).all():
            raise SchemaError(f"column '{name}' holds infinite values; replace them, or null them", column=name)
        return _made(name, found, held, "interval", numbers, None)
    declared = derived(values) if hierarchy is None else hierarchy
    if declared is None:
        return _made(name, found, held, "tree", np.arange(len(held), dtype=np.float64), [])
    return _hierarchical(name, found, held, declared)


def derived(values: Series) -> Hierarchy | None:
    """Return a hierarchy for a column by its type, ``None`` where values have only ``*`` above them.

    Numbers are put into intervals of rising width, times and dates by month, year and decade, digits of one length by
    prefix.  Time spans have none: which of their widths mean something is not known.
    """
    held, _ = _sorted(values)
    kind = getattr(values.dtype, "kind", "")
    if kind == "M" or isinstance(values.dtype, pd.DatetimeTZDtype) or (held and isinstance(held[0], datetime.date)):
        return Dates()
    if is_number(values) and kind != "m" and len(held) > 1 and not isinstance(held[0], bool | np.bool_):
        numbers = _plain(held)
        spread = float(numbers.max() - numbers.min())
        if not np.isfinite(spread):
            raise SchemaError(f"column '{values.name}' holds infinite values; replace them, or null them")
        width = _nice(spread / 2 ** (_STEPS - 1))
        if bool((numbers == np.floor(numbers)).all()):
            width = max(width, 2.0)
        widths = [width * 2**step for step in range(_STEPS) if width * 2**step < spread]
        return Intervals(widths=tuple(widths) or (width,))
    length = _lengths(held)
    return Prefix(lengths=tuple(range(length - 1, 0, -1))) if length else None


def is_number(values: Series) -> bool:
    """Return whether a column holds numbers, times or time spans."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return False
    if pd.api.types.is_bool_dtype(dtype):
        return False
    if pd.api.types.is_object_dtype(dtype):
        held = values.dropna()
        return len(held) > 0 and all(isinstance(one, Decimal | datetime.date) for one in held)
    kind = getattr(dtype, "kind", "")
    return (bool(pd.api.types.is_numeric_dtype(dtype)) and kind != "c") or kind in {"m", "M"}


def text(value: object) -> str:
    """Return a value as it stands in a label: whole numbers without a point, times without an idle clock."""
    if isinstance(value, float | np.floating) and float(value).is_integer() and abs(float(value)) < 1e15:
        return str(int(value))
    if isinstance(value, float | np.floating):
        return f"{float(value):.15g}"
    if isinstance(value, pd.Timestamp):
        return str(value.date()) if value == value.normalize() else value.isoformat(sep=" ")
    return str(value)


def _sorted(values: Series) -> tuple[list[Any], Ints]:
    """Return the different values in order, and the code of each row; a null has the code after the last."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype) and dtype.ordered:
        held = [one for one in dtype.categories.tolist() if bool((values == one).any())]
        places = pd.Index(held, dtype=object)
        found = places.get_indexer(values.astype(object))
        return held, np.where(found < 0, len(held), found).astype(np.int64)
    plain = values.astype(object) if isinstance(dtype, pd.CategoricalDtype) else values
    try:
        found, index = pd.factorize(plain, sort=True)
    except TypeError:
        name = str(values.name)
        raise SchemaError(
            f"column '{name}' holds values that cannot be compared; cast it to one type, such as text", column=name
        ) from None
    held = list(index)
    return held, np.where(found < 0, len(held), found).astype(np.int64)


def _made(
    name: str, found: Ints, held: list[Any], shape: Shape, place: Floats, paths: list[list[tuple[Any, str]]] | None
) -> Domain:
    """Return a domain.

    Args:
        paths: With a tree, by level above the values: the key and the label of the node of each value.
    """
    has_null = bool((found == len(held)).any())
    size = len(held) + has_null
    span = float(place[-1] - place[0]) if len(place) > 1 else 0.0
    position = np.ones(size)
    position[: len(held)] = (place - place[0]) / span if span > 0 else 0.0
    if paths is None:
        return Domain(
            name, found, held, has_null, shape, position, np.empty((0, size), dtype=np.int64), (), np.empty((0, size))
        )
    nodes, labels, costs = [np.arange(size)], [[*map(text, held), *[None] * has_null]], [np.zeros(size)]
    for path in paths:
        keys = [key for key, _ in path]
        change = np.array([before != after for before, after in pairwise(keys)], dtype=bool)
        node = np.concatenate([[0], np.cumsum(change)]).astype(np.int64) if keys else np.zeros(0, dtype=np.int64)
        first = np.searchsorted(node, node, side="left")
        last = np.searchsorted(node, node, side="right") - 1
        cost = position[last] - position[first]
        nodes.append(np.append(node, node.max(initial=-1) + 1) if has_null else node)
        labels.append([*(label for _, label in path), *[None] * has_null])
        costs.append(np.append(cost, 0.0) if has_null else cost)
    nodes.append(np.zeros(size, dtype=np.int64))
    labels.append([ANY] * size)
    costs.append(np.ones(size))
    return Domain(name, found, held, has_null, shape, position, np.array(nodes), labels, np.array(costs))


def _hierarchical(name: str, found: Ints, held: list[Any], hierarchy: Hierarchy) -> Domain:
    match hierarchy:
        case Intervals():
            return _of_intervals(name, found, held, hierarchy)
        case Tree():
            return _of_tree(name, found, held, hierarchy)
        case Prefix():
            texts = [text(value) for value in held]
            order = np.array(sorted(range(len(held)), key=texts.__getitem__), dtype=np.int64)
            held, found, texts = _reordered(held, found, order, texts)
            paths = [
                [(one[:kept], one[:kept] + ANY * max(len(one) - kept, 0)) for one in texts]
                for kept in hierarchy.lengths
            ]
            return _made(name, found, held, "tree", np.arange(len(held), dtype=np.float64), paths)
        case Dates():
            if not all(isinstance(value, datetime.date) for value in held):  # a time is a date too
                raise PolicyError(
                    f"the hierarchy of column '{name}' is of dates, and the column is not; make it a datetime, or "
                    "declare another hierarchy",
                    column=name,
                )
            times = pd.DatetimeIndex(pd.to_datetime(pd.Series(held, dtype=None if held else "datetime64[ns]")))
            paths = [[(label, label) for label in _AT[step](times)] for step in hierarchy.steps]
            return _made(name, found, held, "tree", _numbers(list(times)), paths)


def _of_intervals(name: str, found: Ints, held: list[Any], hierarchy: Intervals) -> Domain:
    try:
        numbers = np.array([float(value) for value in held])
    except (TypeError, ValueError):
        raise PolicyError(
            f"the hierarchy of column '{name}' is of intervals, and the column is not of numbers; cast it, or declare "
            "another hierarchy",
            column=name,
        ) from None
    order = np.argsort(numbers, kind="stable")
    held, found, _ = _reordered(held, found, order, held)
    numbers = numbers[order]
    paths = []
    spread = float(numbers[-1] - numbers[0]) if len(numbers) else 0.0
    for width in hierarchy.widths:
        start = np.floor((numbers - hierarchy.origin) / width) * width + hierarchy.origin
        paths.append([(low, f"[{text(low)}, {text(low + width)})") for low in start.tolist()])
    made = _made(name, found, held, "tree", numbers, paths)
    # An interval says no more than its width, however few values of the table are in it.
    costs = made.costs.copy()
    for level, width in enumerate(hierarchy.widths, start=1):
        costs[level, : len(held)] = min(1.0, width / spread) if spread > 0 else 0.0
    return Domain(**{**vars(made), "costs": costs})


def _of_tree(name: str, found: Ints, held: list[Any], hierarchy: Tree) -> Domain:
    known = {text(value): (place, path) for place, (path, value) in enumerate(leaves(hierarchy.tree))}
    lacking = [code for code, value in enumerate(held) if text(value) not in known]
    if lacking:
        rows = int(np.isin(found, lacking).sum())
        raise PolicyError(
            f"column '{name}' has {rows} rows with {len(lacking)} values that the tree of its hierarchy does not hold; "
            "add them to a group",
            column=name,
        )
    placed = [known[text(value)] for value in held]
    order = np.array(sorted(range(len(held)), key=lambda code: placed[code][0]), dtype=np.int64)
    held, found, placed = _reordered(held, found, order, placed)
    paths = []
    for level in range(hierarchy.depth):
        kept = [path[: max(1, len(path) - level)] for _, path in placed]
        paths.append([(path, path[-1]) for path in kept])
    return _made(name, found, held, "tree", np.arange(len(held), dtype=np.float64), paths)


def _reordered(held: list[Any], found: Ints, order: Ints, beside: list[Any]) -> tuple[list[Any], Ints, list[Any]]:
    """Return values, codes and what goes with each value, in another order of the values."""
    back = np.empty(len(order) + 1, dtype=np.int64)
    back[order] = np.arange(len(order))
    back[-1] = len(order)  # the null
    return [held[code] for code in order], back[found], [beside[code] for code in order]


def _plain(held: Sequence[Any]) -> Floats:
    return np.array([float(value) for value in held])


def _numbers(held: list[Any]) -> Floats:
    """Return where values lie, as numbers."""
    if held and isinstance(held[0], pd.Timestamp | pd.Timedelta):
        return np.array([float(value.value) for value in held])
    if held and isinstance(held[0], datetime.date):
        return np.array([float(value.toordinal()) for value in held])
    return _plain(held)


def _lengths(held: Sequence[Any]) -> int:
    """Return the length of codes that are all digits and of one length, else 0."""
    if len(held) < 2 or not all(isinstance(value, str) and value.isdigit() for value in held):
        return 0
    lengths = {len(value) for value in held}
    return lengths.pop() if len(lengths) == 1 and len(held[0]) > 1 else 0


def _nice(width: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is at most ``width``."""
    power: float = 10.0 ** int(np.floor(np.log10(width)))
    return float(power * (5 if width >= 5 * power else 2 if width >= 2 * power else 1))


_AT: dict[Step, Callable[[pd.DatetimeIndex], list[str]]] = {
    "day": lambda times: times.strftime("%Y-%m-%d").tolist(),
    "month": lambda times: times.strftime("%Y-%m").tolist(),
    "quarter": lambda times: [f"{year}-Q{quarter}" for year, quarter in zip(times.year, times.quarter, strict=True)],
    "year": lambda times: [str(year) for year in times.year],
    "decade": lambda times: [f"{year // 10 * 10}s" for year in times.year],
}
