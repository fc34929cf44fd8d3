"""Columns to numbers and back: functions of the schema alone, so encoding and decoding cost no privacy.

Every modelled column becomes one float64 feature (two for integers beyond 2^53): numbers, datetimes and time spans as
offsets in the column's resolution, categories as codes.  Null is NaN.  Text, images and keys are not encoded.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import Any, assert_never

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.errors import SchemaError
from synth_components.expression import as_times
from synth_components.protocols import Dataset, Encoder, Floats
from synth_components.schema import AnyColumn, Boolean, Categorical, Datetime, Numeric, Schema, dtype_of

UNKNOWN = -1.0
"""The code of a value outside the declared categories."""

_NANOSECONDS = {
    "D": 86_400 * 10**9,
    "h": 3_600 * 10**9,
    "min": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 10**3,
    "ns": 1,
}
_EXACT = 2**53
_FIRST, _LAST = pd.Timestamp("1677-09-22T12"), pd.Timestamp("2262-04-10T12")
"""What nanoseconds hold, in every zone."""
_LOW_BITS = 32


@dataclass(frozen=True)
class NumericEncoder:
    """A number as its offset from ``low`` in units of ``10**-places``; as itself without ``places``.

    Decoding rounds to the resolution and clips to the bounds.
    """

    column: Numeric
    name: str

    @property
    def width(self) -> int:
        """Two where the range of an integer column exceeds 2^53, else one."""
        return 2 if self._is_wide else 1

    @cached_property
    def _is_wide(self) -> bool:
        column = self.column
        if column.places != 0 or not self._is_integral:
            return False
        low, high = column.low, column.high
        return max(abs(low or 0), abs(high or 0), (high or 0) - (low or 0)) >= _EXACT

    @cached_property
    def _is_integral(self) -> bool:
        kind = _numpy_dtype(self.column.dtype).kind
        return kind in "ium" or (kind == "O" and self.column.places is not None)

    def encode(self, values: pd.Series[Any]) -> Floats:
        """Return (n, width) features."""
        column = self.column
        present = values.notna().to_numpy()
        features = np.full((len(values), self.width), np.nan)
        if column.dtype.startswith("timedelta"):
            held: NDArray[Any] = values[present].to_numpy().astype(np.int64)
            held = held.astype(object if self._is_wide else np.float64)
        elif self._is_wide:
            held = values[present].to_numpy(dtype=object)
        else:
            held = values[present].to_numpy(dtype=np.float64)
        if self._is_wide:
            offsets = [int(v) - int(column.low or 0) for v in held]
            features[present, 0] = [v >> _LOW_BITS for v in offsets]
            features[present, 1] = [v & (2**_LOW_BITS - 1) for v in offsets]
        elif column.places is None:
            features[present, 0] = held
        else:
            if self._is_integral and None in (column.low, column.high) and np.any(np.abs(held) >= _EXACT):
                raise SchemaError(
                    f"column '{self.name}' has integers beyond 2^53; declare its bounds, so that they are kept exactly",
                    column=self.name,
                )
            with np.errstate(over="ignore"):  # a warning would tell of a row; what is infinite lies beyond any bound
                features[present, 0] = np.rint(held * 10.0**column.places) - self._origin
        return features

    @cached_property
    def _origin(self) -> float:
        return float(np.rint(float(self.column.low or 0) * 10.0 ** (self.column.places or 0)))

    def decode(self, features: Floats) -> pd.Series[Any]:
        """Return (n,) values: rounded to the resolution, clipped to the bounds."""
        column = self.column
        present = ~np.isnan(features[:, 0])
        if self._is_wide:
            origin = int(column.low or 0)
            held: NDArray[Any] = np.array(
                [(int(high) << _LOW_BITS) + int(low) + origin for high, low in features[present]], dtype=object
            )
            if column.low is not None:
                held = np.maximum(held, int(column.low))
            if column.high is not None:
                held = np.minimum(held, int(column.high))
        elif column.places is None:
            held = features[present, 0]
        else:
            held = np.round((np.rint(features[present, 0]) + self._origin) / 10.0**column.places, column.places)
        if not self._is_wide and (column.low is not None or column.high is not None):
            held = np.clip(held, column.low, column.high)
        return self._restore(held, present)

    def _restore(self, held: NDArray[Any], present: NDArray[np.bool_]) -> pd.Series[Any]:
        dtype = self.column.dtype
        if dtype == "decimal":
            quantum = Decimal(1).scaleb(-(self.column.places or 0))
            held = np.array([Decimal(repr(float(v))).quantize(quantum) for v in held], dtype=object)
        elif dtype.startswith("timedelta"):
            whole = held if self._is_wide else np.rint(held)
            held = whole.astype(np.int64).astype(_numpy_dtype(dtype))
        elif self._is_integral and not self._is_wide:
            held = np.rint(held).astype(np.int64)
        return _scatter(held, present, dtype, self.name, nullable=self.column.nullable)


@dataclass(frozen=True)
class CategoryEncoder:
    """A category as its position in the schema; -1 for a value outside it.  Booleans are false 0, true 1."""

    column: Categorical | Boolean
    name: str

    @property
    def width(self) -> int:
        """One."""
        return 1

    @cached_property
    def _categories(self) -> pd.Index[Any]:
        return pd.Index(
            [False, True] if isinstance(self.column, Boolean) else list(self.column.categories),
            dtype=None if isinstance(self.column, Boolean) else _category_dtype(self.column),
        )

    def encode(self, values: pd.Series[Any]) -> Floats:
        """Return (n, 1) codes."""
        codes = self._categories.get_indexer(pd.Index(values.astype(object)))
        return np.where(values.isna().to_numpy(), np.nan, codes.astype(np.float64))[:, None]

    def decode(self, features: Floats) -> pd.Series[Any]:
        """Return (n,) values.

        Raises:
            SchemaError: for a code that is no category.
        """
        present = ~np.isnan(features[:, 0])
        codes = np.rint(features[present, 0]).astype(np.int64)
        if len(codes) and not (codes.min() >= 0 and codes.max() < len(self._categories)):
            raise SchemaError(f"a code of column '{self.name}' is outside its categories", column=self.name)
        if self.column.dtype == "category":
            assert isinstance(self.column, Categorical)  # noqa: S101 - narrows the type: booleans are never categories
            whole = np.full(len(present), -1, dtype=np.int64)
            whole[present] = codes
            made = pd.Categorical.from_codes(whole, categories=self._categories, ordered=self.column.ordered)
            return pd.Series(made, name=self.name)
        held = np.asarray(self._categories.to_numpy()[codes])
        return _scatter(held, present, self.column.dtype, self.name, nullable=self.column.nullable)


@dataclass(frozen=True)
class DatetimeEncoder:
    """A time as its offset from ``low`` (the epoch if unbounded) in steps of the column's resolution.

    Days of zoned columns are counted in local time, so that midnights stay midnights: a midnight that does not exist
    is the first moment of its day, and of two the earlier.  Finer steps are counted in UTC, so that no local time is
    lost or doubled; the epoch is then local midnight.
    """

    column: Datetime
    name: str

    @property
    def width(self) -> int:
        """One: 2^53 microseconds are 285 years; nanosecond columns must span less than 104 days."""
        return 1

    @cached_property
    def _step(self) -> int:
        return _NANOSECONDS[self.column.resolution]

    @cached_property
    def _is_local(self) -> bool:
        return self.column.zone is not None and self.column.resolution == "D"

    @cached_property
    def _origin(self) -> int:
        bound = self._bound(self.column.low or "1970-01-01")
        return bound - bound % self._step if self._is_local else bound

    def _bound(self, bound: str) -> int:
        """Return a bound in nanoseconds since the epoch: local time if days are counted, else UTC."""
        stamp = pd.Timestamp(bound)
        if not _FIRST <= stamp.tz_localize(None) <= _LAST:
            raise SchemaError(
                f"column '{self.name}' has a bound outside the years 1678 to 2261; declare it within", column=self.name
            )
        if self.column.zone is not None:
            zone = zone_of(self.column)
            moment = pd.Series([stamp])
            moment = localized(moment, zone) if stamp.tzinfo is None else moment.dt.tz_convert(zone)
            stamp = (moment.dt.tz_localize(None) if self._is_local else moment.dt.tz_convert(None)).iloc[0]
        return int(stamp.as_unit("ns").value)

    def encode(self, values: pd.Series[Any]) -> Floats:
        """Return (n, 1) offsets.

        Raises:
            SchemaError: if a time lies outside the years of nanoseconds, or more than 2^53 steps or 292 years from the
                origin, where offsets are no longer exact.  Those outside of declared bounds are not asked, as they are
                put at a bound or refused elsewhere.
        """
        present = values.notna().to_numpy()
        features = np.full((len(values), 1), np.nan)
        held = values[present]
        if isinstance(held.dtype, pd.DatetimeTZDtype):  # pandas 2.3 dies of local times before those of nanoseconds
            held = held.dt.tz_convert("UTC")
        stamps = self._within(as_times(held, utc=self.column.zone is not None))
        if self.column.zone is not None:
            local = stamps.dt.tz_convert(zone_of(self.column)).dt.tz_localize(None)
            stamps = local if self._is_local else stamps.dt.tz_convert(None)
        nanoseconds = stamps.to_numpy().astype("datetime64[ns]").astype(np.int64)
        reach = np.iinfo(np.int64).max
        near = np.clip(nanoseconds, max(self._origin - reach, -reach), min(self._origin + reach, reach))
        offsets, is_counted = near - self._origin, np.ones(len(near), dtype=bool)
        if self.column.low is not None and self.column.high is not None:
            low, high = self._bound(self.column.low), self._bound(self.column.high)
            is_counted = (nanoseconds >= low) & (nanoseconds <= high)
        if (near != nanoseconds)[is_counted].any():
            raise SchemaError(
                f"column '{self.name}' holds times more than 292 years from its lower bound, or from 1970; declare a "
                "later bound",
                column=self.name,
            )
        counted = offsets[is_counted]
        if len(counted) and np.abs(counted).max() // self._step > _EXACT:
            raise SchemaError(
                f"column '{self.name}' spans more than 2^53 steps of its resolution '{self.column.resolution}' (104 "
                "days of nanoseconds), and would lose digits; declare resolution 'us' or coarser",
                column=self.name,
            )
        features[present, 0] = offsets / self._step
        return features

    def _within(self, stamps: pd.Series[Any]) -> pd.Series[Any]:
        """Return times within the years of nanoseconds, others as their ends if bounds will clip them."""
        naive = stamps if self.column.zone is None else stamps.dt.tz_localize(None)
        is_before, is_after = (naive < _FIRST).to_numpy(dtype=bool), (naive > _LAST).to_numpy(dtype=bool)
        if (is_before.any() and self.column.low is None) or (is_after.any() and self.column.high is None):
            raise SchemaError(
                f"column '{self.name}' holds times outside the years 1678 to 2261; null such sentinels, cast it to "
                "text, or declare bounds",
                column=self.name,
            )
        if not (is_before | is_after).any():
            return stamps
        kept = naive.mask(is_before, _FIRST).mask(is_after, _LAST)
        return kept if self.column.zone is None else kept.dt.tz_localize("UTC")

    def decode(self, features: Floats) -> pd.Series[Any]:
        """Return (n,) times: rounded to the resolution, clipped to the bounds."""
        present = ~np.isnan(features[:, 0])
        nanoseconds = np.rint(features[present, 0]).astype(np.int64) * self._step + self._origin
        if self.column.low is not None:
            nanoseconds = np.maximum(nanoseconds, self._bound(self.column.low))
        if self.column.high is not None:
            nanoseconds = np.minimum(nanoseconds, self._bound(self.column.high))
        whole = np.full(len(present), np.iinfo(np.int64).min)  # NaT
        whole[present] = nanoseconds
        stamps = pd.Series(whole.astype("datetime64[ns]"), name=self.name)
        if self.column.dtype == "date":
            dates: list[datetime.date | None] = [None if s is pd.NaT else s.date() for s in stamps]
            return pd.Series(dates, name=self.name, dtype=object)
        if self.column.zone is not None:
            zoned = localized(stamps, zone_of(self.column)) if self._is_local else stamps.dt.tz_localize("UTC")
            return cast_to(zoned, self.column.dtype)
        return cast_to(stamps, self.column.dtype)


@dataclass(frozen=True)
class Features:
    """Encoded rows.

    Attributes:
        values: (n, w) float64; NaN is null.
        columns: Slice of the features by column name.
        schema: The schema that was encoded.
        rows: What was encoded, where all of it was a dataset.
    """

    values: Floats
    columns: Mapping[str, slice]
    schema: Schema
    rows: Dataset | None = field(default=None, compare=False, repr=False)

    @property
    def owners(self) -> NDArray[np.int64] | None:
        """The privacy unit (n,) of each row, to count support by; ``None`` where rows are counted."""
        from synth_components.split import units_of  # which casts, as this module does

        return None if self.rows is None or self.rows.is_trial else units_of(self.rows)


def encoder(column: AnyColumn, name: str) -> Encoder:
    """Return the encoder of a column.

    Raises:
        SchemaError: for text, images and keys, which are generated anew and never encoded.
    """
    match column:
        case Numeric():
            return NumericEncoder(column, name)
        case Categorical() | Boolean():
            return CategoryEncoder(column, name)
        case Datetime():
            return DatetimeEncoder(column, name)
        case _ if type(column).__name__ in {"Text", "Image", "Key"}:
            raise SchemaError(f"column '{name}' is text, an image or a key: it has no encoding", column=name)
        case _:
            assert_never(column)  # type: ignore[arg-type]  # the guard above covers the rest


def encoders(columns: Mapping[str, AnyColumn]) -> dict[str, Encoder]:
    """Return the encoder of each column, in order."""
    return {name: encoder(column, name) for name, column in columns.items()}


def encode(data: Dataset) -> Features:
    """Return the root table as features."""
    return replace(encode_table(data.table, data.schema), rows=data)


def encode_table(table: pd.DataFrame, schema: Schema) -> Features:
    """Return one table, or a batch of it, with the columns of the schema's root table, as features."""
    parts = {name: made.encode(table[name]) for name, made in encoders(schema.columns).items()}
    values = np.hstack(list(parts.values())) if parts else np.empty((len(table), 0))
    return Features(values, slices(schema), schema)


def slices(schema: Schema) -> dict[str, slice]:
    """Return where each column of the root table lies among the features."""
    places: dict[str, slice] = {}
    start = 0
    for name, made in encoders(schema.columns).items():
        places[name] = slice(start, start + made.width)
        start += made.width
    return places


def decode(features: Features) -> Dataset:
    """Return the one-table dataset of ``features``, with the schema's dtypes and column order."""
    made = encoders(features.schema.columns)
    columns = {name: one.decode(features.values[:, features.columns[name]]) for name, one in made.items()}
    table = pd.DataFrame(columns, columns=list(made), index=pd.RangeIndex(len(features.values)))
    return Dataset({features.schema.root: table}, features.schema)


def greatest(column: Numeric) -> int:
    """Return the greatest whole number that a column's dtype, and a float, hold exactly."""
    dtype = _numpy_dtype(column.dtype)
    return min(int(np.iinfo(dtype).max), _EXACT - 1) if dtype.kind in "iu" else _EXACT - 1


def _numpy_dtype(dtype: str) -> np.dtype[Any]:
    if dtype == "decimal":
        return np.dtype("float64")
    parsed: Any = dtype_of(dtype)
    if isinstance(parsed, pd.StringDtype):
        return np.dtype(object)
    made: np.dtype[Any] = np.dtype(getattr(parsed, "numpy_dtype", parsed))
    return made


def _category_dtype(column: Categorical) -> Any:  # noqa: ANN401
    kinds = {type(category) for category in column.categories}
    if kinds == {str}:
        return None  # pandas 2 keeps text as objects, pandas 3 as str: what a table read by it has
    return np.array(column.categories).dtype if len(kinds) == 1 else object


def _scatter(
    held: NDArray[Any], present: NDArray[np.bool_], dtype: str, name: str, *, nullable: bool
) -> pd.Series[Any]:
    """Return a series with ``held`` where ``present`` and null elsewhere."""
    kind = "object" if dtype in {"decimal", "date"} else dtype
    if present.all():
        return cast_to(pd.Series(held, name=name), kind)
    if not nullable:
        raise SchemaError(f"column '{name}' was drawn with nulls and is not nullable", column=name)
    if held.dtype.kind == "m":  # through objects a span would pass nanoseconds, which overflow
        spans = np.full(len(present), np.timedelta64("NaT"), dtype=held.dtype)
        spans[present] = held
        return cast_to(pd.Series(spans, name=name), kind)
    whole = pd.Series([None] * len(present), dtype=object, name=name)
    whole[present] = held
    if kind != "object" and _numpy_dtype(kind).kind == "f":
        whole = cast_to(whole, "float64")
    return cast_to(whole, kind)


def cast_to(values: pd.Series[Any], dtype: Any) -> pd.Series[Any]:  # noqa: ANN401 - the stubs know dtypes as literals only
    """Return the values with a dtype that is known at run time only."""
    cast: pd.Series[Any] = values.astype(dtype_of(dtype) if isinstance(dtype, str) else dtype)
    return cast


def zone_of(column: Datetime) -> datetime.tzinfo | None:
    """Return the time zone of a column, ``None`` for naive values."""
    dtype: Any = pd.api.types.pandas_dtype(column.dtype) if column.zone is not None else None
    zone: datetime.tzinfo | None = getattr(dtype, "tz", None)
    return zone


def localized(local: pd.Series[Any], zone: datetime.tzinfo | None) -> pd.Series[Any]:
    """Return naive local times with their zone.

    A time that the zone skips becomes the next one that exists; of a time that it repeats the earlier is meant.
    """
    made: pd.Series[Any] = local.dt.tz_localize(
        zone, ambiguous=np.ones(len(local), dtype=bool), nonexistent="shift_forward"
    )
    return made
