"""Columns cut into cells by the schema alone: for a public schema cutting costs no privacy.

A category is a cell, and so is null where the column is nullable.  A number or a time has a cell for each value where
there are few of them, else equal widths, and one more for its lower bound, where inflated zeros lie.  A value
outside its column is put into the nearest cell, an unlisted category into the first, and what is not of the column's
kind at all is null: no row ends a fit, for saying so would tell about it, and what would be quoted is its value.
"""

from __future__ import annotations

import datetime
import decimal
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray
from pydantic import Field

from synth_components.conditions import ends_of
from synth_components.encode import Features, encode, encoder, slices
from synth_components.errors import SchemaError
from synth_components.generators.tabular._grid import Grid
from synth_components.marginal import Marginal
from synth_components.protocols import Dataset, Floats, Interval
from synth_components.schema import AnyColumn, Boolean, Categorical, Datetime, Numeric, Schema

Codes = NDArray[np.int64]

BINS = 16
Bins = Annotated[
    int,
    Field(
        ge=2,
        le=256,
        description="Equal cells of a number or time, beside one for its lower bound; more share the same budget.",
    ),
]
"""Of the generators that count cells under a budget."""

_LOW_WORD = 2.0**32
"""Of the two features of an integer beyond 2^53, the first counts these."""


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of one column.

    Attributes:
        edges: (m + 1,) ascending ends of a number's cells in encoded units, the lower one of each inside; ``None`` for
            categories.
        categories: Number of categories; 0 for a number.
        has_null: Whether null is a cell, the last one.
        is_whole: Whether encoded values are whole numbers, so that an upper end is outside.
        width: Number of encoded features.
    """

    edges: Floats | None
    categories: int
    has_null: bool
    is_whole: bool = True
    width: int = 1

    @classmethod
    def of(cls, column: AnyColumn, name: str, *, bins: int) -> Cells:
        """Return the cells of a column, for a number at most ``bins``, its lower bound, and null.

        Raises:
            SchemaError: if a number has no bounds, or a column no category: what to cut is then not known.
        """
        if isinstance(column, Categorical | Boolean):
            categories = 2 if isinstance(column, Boolean) else len(column.categories)
            if categories == 0 and not column.nullable:
                raise SchemaError(f"column '{name}' declares no category; list its categories", column=name)
            return cls(None, categories, column.nullable)
        assert isinstance(column, Numeric | Datetime)  # noqa: S101 - all that is modelled
        if column.low is None or column.high is None:
            raise SchemaError(
                f"column '{name}' has no bounds, so that its domain is not public; declare low and high", column=name
            )
        width = encoder(column, name).width
        is_whole = isinstance(column, Datetime) or column.places is not None
        if width > 1:
            low, high = 0.0, float(int(column.high) - int(column.low))
        else:
            low, high = ends_of(Interval(column.low, column.high), column, name)
        return cls(_edges(low, high, bins=bins, is_whole=is_whole), 0, column.nullable, is_whole, width)

    @property
    def size(self) -> int:
        """Number of cells."""
        return (self.categories if self.edges is None else len(self.edges) - 1) + self.has_null

    def codes(self, features: Floats) -> Codes:
        """Return the cell (n,) of each encoded value (n, width)."""
        values = features[:, 0] if self.width == 1 else features[:, 0] * _LOW_WORD + features[:, 1]
        is_null = np.isnan(values)
        last = self.size - 1 - self.has_null
        if self.edges is None:
            codes = np.nan_to_num(values, nan=0.0).astype(np.int64)
        else:
            codes = np.searchsorted(self.edges, np.nan_to_num(values, nan=self.edges[0]), side="right") - 1
        inside = np.clip(codes, 0, max(last, 0))
        # A gap in a column that has none is a value outside it.
        return np.where(is_null, self.size - 1, inside) if self.has_null else inside

    def values(self, codes: Codes, *, rng: random.Generator, low: float = -np.inf, high: float = np.inf) -> Floats:
        """Return encoded values (n, width), uniform within their cells and ``[low, high]``; NaN for null."""
        is_null = (codes == self.size - 1) if self.has_null else np.zeros(len(codes), dtype=bool)
        uniforms = rng.random(len(codes))  # drawn whatever the codes are, so that a column's stream has one length
        if self.edges is None:
            values = codes.astype(np.float64)
        else:
            cell = np.minimum(codes, len(self.edges) - 2)
            first = np.maximum(self.edges[cell], low)
            end = np.minimum(self.edges[cell + 1], high + self.is_whole)
            values = first + uniforms * (end - first)
            values = np.minimum(np.floor(values), end - 1) if self.is_whole else values
        values = np.where(is_null, np.nan, values)
        if self.width == 1:
            return values[:, None]
        return np.stack([np.floor(values / _LOW_WORD), np.mod(values, _LOW_WORD)], axis=1)


def grid_of(cells: Cells, mass: Floats, column: AnyColumn, *, reach: float = 0.0) -> Grid:
    """Return the grid whose codes are a column's cells of one feature, with their masses (size,).

    Args:
        reach: How far a cell of several whole numbers reaches beyond them; below a half, each is drawn as often.
    """
    null = float(mass[-1]) if cells.has_null else 0.0
    pieces = mass[: len(mass) - cells.has_null]
    if cells.edges is None:
        low = high = np.arange(len(pieces), dtype=np.float64)
    elif cells.is_whole:
        low, high = cells.edges[:-1].copy(), cells.edges[1:] - 1
        several = high > low
        low, high = low - reach * several, high + reach * several
    else:
        low, high = cells.edges[:-1].copy(), cells.edges[1:].copy()
        high[0] = low[0]  # the cell of the lower bound alone
    return Grid(
        Marginal(low, high, pieces, null),
        is_nominal=isinstance(column, Categorical | Boolean),
        is_exact=isinstance(column, Numeric) and column.places is None,
    )


def grids_of(cells: Mapping[str, Cells], schema: Schema) -> tuple[Grid, ...]:
    """Return the grid of each feature, every cell of which may be drawn: what conditions are read by."""
    return tuple(
        grid_of(cells[name], np.ones(cells[name].size), column)
        for name, column in schema.columns.items()
        for _ in range(cells[name].width)
    )


def _edges(low: float, high: float, *, bins: int, is_whole: bool) -> Floats:
    """Return the ends of ``bins`` equal cells from ``low`` to ``high``, inclusive; the lowest value is one more."""
    if is_whole:
        if high - low + 1 <= bins:
            return np.arange(low, high + 2)
        ends = np.round(np.linspace(low, high + 1, bins + 1))
        return np.unique(np.concatenate([[low, low + 1], ends]))
    if high <= low:
        return np.array([low, low])
    ends = np.linspace(low, high, bins + 1)
    return np.concatenate([[low, np.nextafter(low, np.inf)], ends[1:]])


def cells_of(schema: Schema, *, bins: int) -> dict[str, Cells]:
    """Return the cells of each column of the root table, in order.

    Raises:
        SchemaError: if a column is not public, or says too little of its domain.
    """
    for name, column in schema.columns.items():
        if not column.public:
            raise SchemaError(
                f"column '{name}' was read off the rows, which a private fit may not rely on; declare its values and "
                "mark it public",
                column=name,
            )
    return {name: Cells.of(column, name, bins=bins) for name, column in schema.columns.items()}


def coded(data: Dataset, cells: Mapping[str, Cells]) -> dict[str, Codes]:
    """Return the cells (n,) of the root rows by column, each of its own row and the schema alone."""
    kept = {name: _readable(data.table[name], column) for name, column in data.schema.columns.items()}
    with np.errstate(all="ignore"):  # a warning would tell of a row, too
        features = encode(Dataset({data.schema.root: pd.DataFrame(kept)}, data.schema))
        return {name: cells[name].codes(features.values[:, where]) for name, where in features.columns.items()}


def _readable(values: pd.Series[Any], column: AnyColumn) -> pd.Series[Any]:
    """Return values that encode without an error; only those of object dtype, or text, may be of another kind."""
    if values.dtype != object and not isinstance(values.dtype, pd.StringDtype):
        return values
    held: list[Any] = values.astype(object).tolist()
    if isinstance(column, Numeric):
        held = [_number(value) for value in held]
    elif isinstance(column, Datetime):
        first, last = (pd.Timestamp(str(bound)).date() for bound in (column.low, column.high))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what pandas warns of a text quotes it
            held = [_date(value, first, last) for value in held]
    else:
        held = [value if _is_plain(value) else _STRANGE for value in held]
    return pd.Series(held, index=values.index, dtype=object)


_STRANGE = object()


def _is_plain(value: Any) -> bool:  # noqa: ANN401 - a cell
    """Return whether a cell may be a category: no sequence, and no decimal that cannot even be compared."""
    return pd.api.types.is_scalar(value) and not (isinstance(value, decimal.Decimal) and value.is_snan())


def _number(value: Any) -> Any:  # noqa: ANN401 - a cell
    """Return a finite number as it is, and of anything else null."""
    try:
        return value if value is not pd.NaT and math.isfinite(float(value)) and not isinstance(value, bytes) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _date(value: Any, low: datetime.date, high: datetime.date) -> datetime.date | None:  # noqa: ANN401 - a cell
    """Return a date within bounds, and of anything else null.

    Of many texts pandas takes the form from the first, so that one row would decide how the others are read.
    """
    try:
        if isinstance(value, str):
            value = pd.Timestamp(str(value))  # a text of numpy's is none to pandas
        if value is pd.NaT:
            return None
        if isinstance(value, datetime.datetime):
            value = value.date()
    except (ValueError, OverflowError, NotImplementedError):  # the last of a year before the first, as 0000-01-01
        return None
    return min(max(value, low), high) if isinstance(value, datetime.date) else None


def valued(codes: Mapping[str, Codes], cells: Mapping[str, Cells], schema: Schema, rng: random.Generator) -> Features:
    """Return rows of cells as features, values being drawn within their cells."""
    parts = [cells[name].values(codes[name], rng=rng) for name in schema.columns]
    return Features(np.hstack(parts), slices(schema), schema)
