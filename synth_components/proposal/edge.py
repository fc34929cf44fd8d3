"""Rules on one column: range, value set, not null, pattern."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.constraints import NotNull, Pattern, Range, ValueSet
from synth_components.proposal.rows import FEW, Floats, Proposal, Rows, rounded
from synth_components.schema import Categorical, Datetime, Key, Text

_EDGE = 0.02  # of the span: where rows crowd at a hard edge
_CROWD = 0.25  # of the rows that an even spread would put there
_CLOSED = 12  # fewer distinct numbers are a set, not a range
_UNITS = {86_400 * 10**9: "D", 3_600 * 10**9: "h", 60 * 10**9: "min", 10**9: "s"}
_TOKEN = re.compile(r"[A-Z]+|[a-z]+|[0-9]+|.", re.DOTALL)


def on_columns(rows: Rows) -> Iterator[Proposal]:
    """Yield the rules that single columns suggest."""
    gaps = [name for name in rows.columns if rows.support(rows.null(name)) >= rows.min_count]
    for name, column in rows.columns.items():
        if any(other != name for other in gaps) and not rows.null(name).any():
            yield rows.proposal(
                NotNull(column=name), f"{len(rows.table)} rows without a gap, where other columns have gaps"
            )
        values = rows.numbers.get(name, rows.times.get(name))
        if values is not None:
            yield from _bounded(rows, name, values)
        elif isinstance(column, Categorical) and name in rows.few:
            yield from _closed(rows, name)
        elif isinstance(column, Text | Key | Categorical):
            yield from _written(rows, name)


def _closed(rows: Rows, name: str) -> Iterator[Proposal]:
    codes, values = rows.few[name]
    counts = rows.supports(codes, len(values))
    if counts.min() >= rows.min_count:
        ordered = sorted(values, key=lambda value: (type(value).__name__, value))
        reason = f"{len(values)} values only, each in {counts.min()} {rows.counted} or more"
        yield rows.proposal(ValueSet(column=name, values=tuple(ordered)), reason)


def _bounded(rows: Rows, name: str, values: Floats) -> Iterator[Proposal]:
    """Yield a value set for few numbers (n,), NaN for null, else a range for edges at which rows crowd."""
    known = ~np.isnan(values)
    distinct = np.unique(values[known])
    if len(distinct) < _CLOSED:
        counts = rows.supports(np.where(known, np.searchsorted(distinct, values), -1), len(distinct))
        if counts.min() >= rows.min_count and name in rows.numbers:
            listing = tuple(int(v) if float(v).is_integer() else float(v) for v in distinct)
            reason = f"{len(distinct)} values only, each in {counts.min()} {rows.counted} or more"
            yield rows.proposal(ValueSet(column=name, values=listing), reason)
        return
    span = distinct[-1] - distinct[0]
    crowd = _CROWD * _EDGE * int(known.sum())
    at_low, low = _edge(rows, name, values, span, crowd)
    at_high, high = _edge(rows, name, -values, span, crowd, mirrored=True)
    if low is None and high is None:
        return
    ends = ((at_low, "low", low), (at_high, "high", high))
    reason = " and ".join(f"{count} rows crowd at its {end} end" for count, end, bound in ends if bound is not None)
    yield rows.proposal(Range(column=name, low=low, high=high), reason)


def _edge(
    rows: Rows, name: str, values: Floats, span: float, crowd: float, *, mirrored: bool = False
) -> tuple[int, float | str | None]:
    """Return how many rows are near the least of values (n,), and the bound there if that is a crowd."""
    near = values <= np.nanmin(values) + _EDGE * span
    count = int(near.sum())
    is_crowd = count >= crowd and rows.support(near) >= rows.min_count
    return count, _bound(rows, name, values, span, mirrored=mirrored) if is_crowd else None


def _bound(rows: Rows, name: str, values: Floats, span: float, *, mirrored: bool = False) -> float | str | None:
    """Return a round number at or below all values (n,), near the ``min_count``-th; ``None`` if there is none.

    Of a privacy unit, the least value counts.
    """
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    if rows.owners is not None:
        order = order[np.sort(np.unique(rows.owners[order], return_index=True)[1])]
    first, near = values[order[0]], values[order[rows.min_count - 1]]
    if name in rows.times:
        unit = next((u for u in _UNITS if u <= span / 50), None)
        if unit is None:
            return None
        edge = int(math.floor(near / unit) * unit)
        if edge > first:
            return None
        return _time(rows, name, -edge if mirrored else edge)
    column = rows.columns[name]
    whole = getattr(column, "places", None) == 0
    finest = 10.0 ** math.floor(math.log10(span / 50))
    for step in (finest, 10 * finest):
        step = max(step, 1.0) if whole else step
        edge = math.floor(near / step + 1e-9) * step
        if edge <= first + 1e-9 * step:
            return rounded(-edge if mirrored else edge, step)
    return None


def _time(rows: Rows, name: str, nanoseconds: int) -> str:
    column = rows.columns[name]
    stamp = pd.Timestamp(nanoseconds)
    if isinstance(column, Datetime) and column.zone is not None:
        stamp = stamp.tz_localize("UTC")
    return str(stamp.isoformat())


def _written(rows: Rows, name: str) -> Iterator[Proposal]:
    """Yield the one pattern of which all texts are, unless it is mere words."""
    known = rows.table[name].notna().to_numpy(dtype=bool)
    held = rows.table[name][known].astype(object)
    distinct = held.drop_duplicates()
    if len(held) < 5 * rows.min_count or len(distinct) <= FEW or not all(isinstance(text, str) for text in distinct):
        return
    tokens = [_TOKEN.findall(text) for text in held]
    if len({tuple(map(_class, found)) for found in tokens[:200]}) > 1 or len(tokens[0]) > 24:
        return
    if len({tuple(map(_class, found)) for found in tokens}) > 1:
        return
    parts = [_part(rows, known, [found[k] for found in tokens]) for k in range(len(tokens[0]))]
    fixed = sum(1 for part in parts if not part.endswith("+"))
    if fixed and any(part.startswith("[0-9]") or not part.startswith("[") for part in parts):
        yield rows.proposal(
            Pattern(column=name, pattern="".join(parts)), f"{len(distinct)} different texts are written alike"
        )


def _class(token: str) -> str:
    first = token[0]
    if first in "0123456789":
        return "[0-9]"
    if "A" <= first <= "Z":
        return "[A-Z]"
    return "[a-z]" if "a" <= first <= "z" else re.escape(token)


def _part(rows: Rows, known: NDArray[np.bool_], tokens: list[str]) -> str:
    """Return the expression for one part of the texts; a length or a text stands in it only with support.

    Args:
        known: Which rows (n,) have a text.
        tokens: The part of each of them.
    """
    if len(set(tokens)) == 1:
        return re.escape(tokens[0])
    lengths = np.full(len(known), -1)
    lengths[known] = [len(token) for token in tokens]
    least, most = int(lengths[known].min()), int(lengths.max())
    if any(0 < count < rows.min_count for count in rows.supports(lengths, most + 1)):
        return f"{_class(tokens[0])}+"
    return f"{_class(tokens[0])}{{{least}}}" if least == most else f"{_class(tokens[0])}{{{least},{most}}}"
