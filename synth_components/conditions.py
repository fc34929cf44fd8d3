"""Conditions: what a person asks, as ``Given``, checked before any work; and whether rows meet it."""

from __future__ import annotations

import datetime
import decimal
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.encode import encoder
from synth_components.errors import ConditionError, SchemaError
from synth_components.expression import as_times, moment
from synth_components.null_indicator import null_indicators
from synth_components.protocols import Allowed, Given, Interval
from synth_components.schema import AnyColumn, Boolean, Categorical, Datetime, Image, Key, Numeric, Schema, Text, Value

_TINY = decimal.Decimal("1e-9")
"""What a binary fraction may miss a decimal one by, in units of the column's resolution."""

_FIRST, _LAST = pd.Timestamp.min + pd.Timedelta(1, "D"), pd.Timestamp.max - pd.Timedelta(1, "D")
"""What nanoseconds hold in any zone."""

_ISO_SPAN = re.compile(r"-?P([\d.]+W)?([\d.]+D)?(T.+)?")
"""Time spans as ISO 8601 writes them, without years and months: pandas takes P1M for a minute."""

_SIGNALLING = "holds a signalling NaN; give a number, or None for null"

Mask = NDArray[np.bool_]


def parse(conditions: Mapping[str, object] | pd.DataFrame, schema: Schema, n: int) -> Given:
    """Return the checked conditions.

    Args:
        conditions: Either column to a value, a list or set of values, a pair ``(low, high)`` or an ``Interval``, for
            every row, where ``None`` is null; or a table with one request row per output row, where null is free.
            Times and time spans are what pandas calls so, or ISO 8601 text: neither a text of another form nor a bare
            number.  A time without an offset is local to a column's zone: of one that the zone repeats the earlier is
            meant, one that it skips is the next that exists.
        n: Rows asked for.

    Raises:
        ConditionError: for an unknown column, a value that the schema does not have, a wrong number of rows, or
            conditions that are neither a mapping nor a table.
    """
    if isinstance(conditions, pd.DataFrame):
        return _from_table(conditions, schema, n)
    if not isinstance(conditions, Mapping):
        raise ConditionError(
            f"conditions are a {type(conditions).__name__}; give a mapping from column to what is asked, or a table "
            "with one request row per output row"
        )
    allowed: dict[str, Allowed] = {}
    for name, wanted in conditions.items():
        allowed[name] = _allowed(wanted, name, _column(name, schema, null=_is_null(wanted, str(name))))
    return Given(None, allowed)


def _column(name: object, schema: Schema, *, null: bool = False) -> AnyColumn:
    """Return a column that may be conditioned on: text and keys only on ``null``."""
    column = schema.columns.get(name) if isinstance(name, str) else None
    if column is None:
        raise ConditionError(
            f"conditions name a column '{name}' that the model does not have; its columns are {list(schema.columns)}",
            columns=(str(name),),
        )
    if isinstance(column, Text | Image | Key) and not (null and name in null_indicators(schema)):
        raise ConditionError(
            f"column '{name}' is {type(column).__name__.lower()}: it is generated anew and cannot be conditioned on, "
            "but for null (None, for every row) where it is nullable",
            columns=(str(name),),
        )
    return column


def _refuse(name: str, what: str) -> ConditionError:
    return ConditionError(f"the condition on column '{name}' {what}", columns=(name,))


def _from_table(requests: pd.DataFrame, schema: Schema, n: int) -> Given:
    names = [str(name) for name in requests.columns]
    if len(set(names)) != len(names):
        raise ConditionError("the conditions have two columns of the same name", columns=tuple(names))
    columns = {name: _column(name, schema) for name in requests.columns}
    if len(requests) != n:
        raise ConditionError(
            f"the conditions have {len(requests)} request rows and n is {n}; give one request row per output row",
            columns=tuple(names),
        )
    made: dict[str, pd.Series[Any]] = {}
    for name, column in columns.items():
        values = requests[name].reset_index(drop=True)
        free = nulls(values, name)
        held = [_value(v, name, column) for v in values[~free].tolist()]
        whole = np.full(n, None, dtype=object)
        whole[~free] = np.fromiter(held, dtype=object, count=len(held))
        made[name] = typed(pd.Series(whole, name=name), column)
    return Given(pd.DataFrame(made, index=pd.RangeIndex(n)), {})


def typed(values: pd.Series[Any], column: AnyColumn) -> pd.Series[Any]:
    """Return checked values of a column, null as ``None``, as its encoder takes them."""
    if isinstance(column, Datetime):
        # One by one: texts with and without fractions of a second have no common format.
        times: Any = [pd.NaT if v is None else pd.Timestamp(v) for v in values]
        stamps = pd.Series(pd.to_datetime(times, utc=column.zone is not None), name=values.name)
        return stamps if column.zone is None else stamps.dt.tz_convert(column.zone)
    if isinstance(column, Numeric) and column.dtype.startswith("timedelta"):
        spans = np.array([np.iinfo(np.int64).min if v is None else int(v) for v in values], dtype=np.int64)  # NaT
        return pd.Series(spans.view(column.dtype.replace("timedelta64", "m8")), name=values.name)
    if isinstance(column, Numeric) and column.places is None:
        return values.astype("float64")
    return values


def _allowed(wanted: object, name: str, column: AnyColumn) -> Allowed:
    if isinstance(wanted, tuple) and len(wanted) == 2:
        wanted = Interval(*wanted)
    if isinstance(wanted, Interval):
        return _interval(wanted, name, column)
    if isinstance(wanted, list | set | frozenset | tuple | np.ndarray | pd.Series | pd.Index):
        members: list[object] = list(wanted)
        if not members:
            raise _refuse(name, "allows no value; list at least one")
    else:
        members = [wanted]
    values: set[Value | None] = set()
    for member in members:
        if _is_null(member, name):
            if not column.nullable:
                raise _refuse(name, "asks for null, and the column is not nullable")
            values.add(None)
        else:
            values.add(_value(member, name, column))
    return frozenset(values)


def _is_null(value: Any, name: str) -> bool:  # noqa: ANN401
    try:
        return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))
    except decimal.InvalidOperation:
        raise _refuse(name, _SIGNALLING) from None


def nulls(values: pd.Series[Any], name: str) -> Mask:
    """Return which values (n,) of the conditions on a column are null.

    Raises:
        ConditionError: for a signalling NaN, of which Python does not let anyone ask whether it is a number.
    """
    try:
        return values.isna().to_numpy()
    except decimal.InvalidOperation:
        raise _refuse(name, _SIGNALLING) from None


def _interval(wanted: Interval, name: str, column: AnyColumn) -> Interval:
    if not isinstance(column, Numeric | Datetime):
        raise _refuse(name, "is an interval, and the column is no number or time; give a list of values")
    low = None if _is_null(wanted.low, name) else _bound(wanted.low, name, column)
    high = None if _is_null(wanted.high, name) else _bound(wanted.high, name, column)
    lowest, highest = _number(column.low, column), _number(column.high, column)
    if low is not None and high is not None and _number(low, column) > _number(high, column):
        raise _refuse(name, "is an interval with low > high; swap its ends")
    if (low is not None and highest is not None and _number(low, column) > highest) or (
        high is not None and lowest is not None and _number(high, column) < lowest
    ):
        raise _refuse(name, "is an interval outside the schema's bounds; move it, or widen the schema")
    return Interval(low, high)


def _bound(value: object, name: str, column: Numeric | Datetime) -> float | int | str:
    made = _time(value, name, column) if isinstance(column, Datetime) else _plain_number(value, name, column)
    return made.isoformat() if isinstance(made, pd.Timestamp) else made


def _number(bound: float | str | None, column: Numeric | Datetime) -> Any:  # noqa: ANN401
    """Return a bound as something that compares: a number, or a time in the column's zone."""
    if bound is None or isinstance(column, Numeric):
        return bound
    return _zoned(pd.Timestamp(bound), column)


def _zoned(stamp: Any, column: Datetime) -> Any:  # noqa: ANN401
    """Return a time with the column's zone, if it has one; which local time is meant, is as ``encode.localized``."""
    if column.zone is None or stamp.tzinfo is not None:
        return stamp
    return stamp.tz_localize(column.zone, ambiguous=True, nonexistent="shift_forward")


def ends_of(wanted: Interval, column: Numeric | Datetime, name: str) -> tuple[float, float]:
    """Return the ends of an interval in encoded units, moved inwards to the column's resolution.

    An open end is infinite.

    Integers beyond 2^53, which have two features, have no such ends.
    """
    low, high = _end(wanted.low, column, name, sign=-1), _end(wanted.high, column, name, sign=1)
    if isinstance(column, Numeric):
        return low, high
    return float(np.ceil(low - float(_TINY))), float(np.floor(high + float(_TINY)))


def _end(end: float | str | None, column: Numeric | Datetime, name: str, *, sign: int) -> float:
    """Return the lower (``sign`` -1) or upper end in encoded units; of a time not moved to the resolution."""
    if end is None:
        return sign * np.inf
    if isinstance(column, Datetime):
        stamp, bound = _number(end, column), _number(column.low if sign < 0 else column.high, column)
        if bound is not None and (stamp < bound if sign < 0 else stamp > bound):
            stamp = bound
        return _offset(stamp, column, name)
    if column.places is None:
        return float(end)
    # In decimals: the scaled end as the person wrote it, at any size.
    scaled = decimal.Decimal(end if isinstance(end, int) else repr(float(end))).scaleb(column.places)
    rounding = decimal.ROUND_CEILING if sign < 0 else decimal.ROUND_FLOOR
    whole = float((scaled + sign * _TINY).to_integral_value(rounding))
    return whole - float(np.rint(float(column.low or 0) * 10.0**column.places))


def _offset(stamp: Any, column: Datetime, name: str) -> float:  # noqa: ANN401
    """Return a time as the encoder's offset; infinite where the encoder does not reach."""
    moment = stamp if stamp.tzinfo is None else stamp.tz_convert("UTC").tz_localize(None)
    if not _FIRST <= moment <= _LAST:
        return np.inf if moment > _LAST else -np.inf
    try:
        return float(encoder(column, name).encode(pd.Series([stamp]))[0, 0])
    except SchemaError:  # too many steps of a fine resolution
        return np.inf if moment > pd.Timestamp(0) else -np.inf


def _value(value: Any, name: str, column: AnyColumn) -> Value:  # noqa: ANN401
    """Return a fixed value as JSON carries it: times as ISO text, time spans in the column's unit."""
    if not pd.api.types.is_scalar(value):
        raise _refuse(name, "fixes a list or another object, which is no single value")
    bare = value.item() if isinstance(value, np.generic) and not isinstance(value, np.datetime64) else value
    match column:
        case Numeric():
            number = _plain_number(value, name, column)
            if (column.low is not None and number < column.low) or (column.high is not None and number > column.high):
                raise _refuse(name, "fixes a number outside the schema's bounds; change it, or widen the schema")
            if column.places is not None:
                scaled = decimal.Decimal(repr(number)).scaleb(column.places)
                over = abs(scaled - scaled.to_integral_value())
                if column.dtype.startswith("timedelta"):
                    if over:
                        raise _refuse(name, "fixes a time span that is no multiple of the column's resolution")
                elif over > decimal.Decimal("1e-6"):
                    raise _refuse(name, f"fixes a number with more than {column.places} decimal places")
            return number
        case Categorical():
            if not any(bare == category and type(bare) is type(category) for category in column.categories):
                alike = [c for c in column.categories if c == bare and not isinstance(c, bool) | isinstance(bare, bool)]
                if not alike:
                    raise _refuse(name, "fixes a value that is none of the column's categories; the schema lists them")
                return alike[0]
            kept: Value = bare
            return kept
        case Boolean():
            if bare not in (True, False):
                raise _refuse(name, "fixes a value that is neither true nor false")
            return bool(bare)
        case Datetime():
            stamp = _time(value, name, column)
            lowest, highest = _number(column.low, column), _number(column.high, column)
            if (lowest is not None and stamp < lowest) or (highest is not None and stamp > highest):
                raise _refuse(name, "fixes a time outside the schema's bounds; change it, or widen the schema")
            step = _offset(stamp, column, name)
            if not np.isfinite(step):
                raise _refuse(name, "fixes a time that the column cannot hold; its resolution reaches less far")
            if abs(step - np.rint(step)) > 1e-6:
                raise _refuse(name, f"fixes a time that is no multiple of the column's resolution, {column.resolution}")
            return stamp.isoformat()
        case _:
            raise _refuse(name, "is on a column that is generated anew")


def _plain_number(value: Any, name: str, column: Numeric) -> float | int:  # noqa: ANN401
    if column.dtype.startswith("timedelta"):
        unit = np.datetime_data(np.dtype(column.dtype))[0]
        whole, rest = divmod(_span(value, name), pd.Timedelta(1, unit=unit))  # type: ignore[arg-type]  # known at run time
        if rest:
            raise _refuse(name, "fixes a time span that is no multiple of the column's resolution")
        return int(whole)
    bare = value.item() if isinstance(value, np.generic) else value
    if isinstance(bare, decimal.Decimal):
        if bare.is_snan():
            raise _refuse(name, _SIGNALLING)
        bare = float(bare)
    if isinstance(bare, bool) or not isinstance(bare, int | float) or not abs(bare) <= sys.float_info.max:
        raise _refuse(name, "needs a finite number")
    if isinstance(bare, float) and bare.is_integer() and column.places == 0:
        return int(bare)
    return bare


def _span(value: Any, name: str) -> pd.Timedelta:  # noqa: ANN401
    is_text = isinstance(value, str) and _ISO_SPAN.fullmatch(value)
    if is_text or isinstance(value, datetime.timedelta | np.timedelta64):
        try:
            return pd.Timedelta(value)
        except (ValueError, OverflowError):
            pass
    raise _refuse(name, "needs a time span with its unit: a pandas.Timedelta, or ISO 8601 text such as P1DT12H30M")


def _time(value: Any, name: str, column: Datetime) -> pd.Timestamp:  # noqa: ANN401
    if not isinstance(value, str | datetime.date | np.datetime64):
        raise _refuse(name, "needs a time or its ISO 8601 text, such as 2020-01-31T12:00")
    try:
        stamp: Any = moment(value, None) if isinstance(value, str) else pd.Timestamp(value)
        is_time = stamp is not pd.NaT and datetime.MINYEAR <= stamp.year <= datetime.MAXYEAR
        if column.zone is not None and is_time:
            # As UTC: ISO text cannot tell the offsets of local mean time, which zones had before about 1900.
            stamp = _zoned(stamp, column).tz_convert("UTC")
            is_time = stamp.year <= datetime.MAXYEAR
    except (ValueError, OverflowError, NotImplementedError):
        is_time = False
    if not is_time:
        raise _refuse(name, "needs a time or its ISO 8601 text, such as 2020-01-31T12:00")
    if column.zone is None and stamp.tzinfo is not None:
        raise _refuse(name, "has a time zone, and the column has none")
    made: pd.Timestamp = stamp
    return made


def at(given: Given, positions: NDArray[np.int64]) -> Given:
    """Return the conditions of some output positions, in order; a position may come several times."""
    return given if given.rows is None else replace(given, rows=given.rows.iloc[positions].reset_index(drop=True))


def meets(table: pd.DataFrame, given: Given, schema: Schema) -> Mask:
    """Return which rows (n,) meet the conditions; ``given.rows`` has one request per row of ``table``."""
    good = np.ones(len(table), dtype=bool)
    for name, allowed in given.allowed.items():
        good &= is_allowed(table[name], allowed, schema.columns[name])
    if given.rows is not None:
        for name in given.rows.columns:
            made = encoder(schema.columns[name], name)
            requests = given.rows[name]
            free = requests.isna().to_numpy()
            good &= free | np.all(made.encode(table[name]) == made.encode(requests), axis=1)
    return good


def is_allowed(values: pd.Series[Any], allowed: Allowed, column: AnyColumn) -> Mask:
    """Return which values (n,) of a column a checked condition allows, null among them if it does."""
    missing = values.isna().to_numpy()
    if isinstance(column, Text | Key):
        return np.asarray(missing, dtype=bool)  # parse lets nothing but null pass
    if isinstance(allowed, Interval):
        assert isinstance(column, Numeric | Datetime)  # noqa: S101 - parse refuses other intervals
        if isinstance(column, Numeric) and column.places:
            # Decimals, and fractions of a binary number, compare by the digits that the column keeps.
            codes = encoder(column, str(values.name)).encode(values)[:, 0]
            low, high = ends_of(allowed, column, str(values.name))
            return np.asarray((codes >= low) & (codes <= high), dtype=bool)
        comparable: pd.Series[Any] = values
        if column.dtype.startswith("timedelta"):
            comparable = values.astype("int64")
        elif column.dtype == "date":
            comparable = as_times(values)
        inside = ~missing
        held = comparable[~missing]
        if allowed.low is not None:
            inside[~missing] &= np.asarray(held >= _number(allowed.low, column), dtype=bool)
        if allowed.high is not None:
            inside[~missing] &= np.asarray(held <= _number(allowed.high, column), dtype=bool)
        return inside
    members = [member for member in allowed if member is not None]
    made = encoder(column, str(values.name))
    wanted = made.encode(typed(pd.Series(members, dtype=object, name=values.name), column))
    codes = made.encode(values)
    matching = np.zeros(len(values), dtype=bool)
    if made.width == 1:
        matching = np.isin(codes[:, 0], wanted[:, 0])
    else:
        for member in wanted:
            matching |= np.all(codes == member, axis=1)
    return matching | missing if None in allowed else matching & ~missing
