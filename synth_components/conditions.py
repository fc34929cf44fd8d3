"""Conditions: what a person asks, as ``Given``, checked before any work; and resampling for who cannot condition.

Resampling draws candidates without the conditions and keeps those that meet them.  Categories, booleans, nulls,
intervals and sets of categories must match.  So must a fixed number or time, or a set of them, where enough candidates
have it, such as a zero that many rows share: of several columns, and beside the values of a row, together.  Others
seldom match to the last digit: near candidates are then chosen by a Gaussian kernel weight, and the fixed value is set
in them.  The other columns therefore follow their distribution near the value; the value itself holds exactly.  How
many rows are asked for does not widen what is near: more candidates are drawn.
"""

from __future__ import annotations

import datetime
import decimal
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.encode import encoder
from synth_components.errors import ConditionError, SchemaError
from synth_components.expression import as_times, moment
from synth_components.null_indicator import null_indicators
from synth_components.protocols import Allowed, Floats, Given, Interval
from synth_components.schema import AnyColumn, Boolean, Categorical, Datetime, Image, Key, Numeric, Schema, Text, Value

MAX_POOL = 262_144
"""Candidates drawn without the conditions before they count as without support."""

MIN_POOL = 4_096
_NEIGHBOURS = 32
"""Candidates that serve a number, if there are as many: those that have it, or else near ones."""
_REACH = 2.0
"""How many bandwidths further off than the nearest candidate one may be."""
_TINY = decimal.Decimal("1e-9")
"""What a binary fraction may miss a decimal one by, in units of the column's resolution."""

_FIRST, _LAST = pd.Timestamp.min + pd.Timedelta(1, "D"), pd.Timestamp.max - pd.Timedelta(1, "D")
"""What nanoseconds hold in any zone."""

_ISO_SPAN = re.compile(r"-?P([\d.]+W)?([\d.]+D)?(T.+)?")
"""Time spans as ISO 8601 writes them, without years and months: pandas takes P1M for a minute."""

_SIGNALLING = "holds a signalling NaN; give a number, or None for null"

Mask = NDArray[np.bool_]
_Part = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows that ask for the same so far, and the candidates that are near it."""


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
        good &= _is_allowed(table[name], allowed, schema.columns[name])
    if given.rows is not None:
        for name in given.rows.columns:
            made = encoder(schema.columns[name], name)
            requests = given.rows[name]
            free = requests.isna().to_numpy()
            good &= free | np.all(made.encode(table[name]) == made.encode(requests), axis=1)
    return good


def _is_allowed(values: pd.Series[Any], allowed: Allowed, column: AnyColumn) -> Mask:
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


def resample(
    draw: Callable[[int], pd.DataFrame], given: Given, n: int, *, schema: Schema, rng: random.Generator
) -> pd.DataFrame:
    """Return ``n`` rows that meet the conditions, among candidates that ``draw(k)`` makes without them.

    Where fewer candidates match than rows are asked for, candidates are used more than once.

    Raises:
        ConditionError: if none of ``MAX_POOL`` candidates can serve a request.
    """
    if n == 0:
        return draw(0)
    allowed = {name: _as_set(wanted, schema.columns[name]) for name, wanted in given.allowed.items()}
    given = replace(given, allowed=allowed)
    hard = {name: wanted for name, wanted in allowed.items() if not _is_soft(wanted, schema.columns[name])}
    soft = {name: wanted for name, wanted in allowed.items() if name not in hard and not isinstance(wanted, Interval)}
    drawn = min(MAX_POOL, max(MIN_POOL, 4 * n))
    pool = _filtered(draw(drawn), hard, schema)

    def more() -> pd.DataFrame:
        nonlocal drawn, pool
        count = min(drawn, MAX_POOL - drawn)
        extra = _filtered(draw(count), hard, schema)
        pool = pd.concat([pool, extra], ignore_index=True) if len(pool) else extra
        drawn += count
        return extra

    while True:
        had, is_short = _had_together(pool, soft, min(n, _NEIGHBOURS), MAX_POOL / drawn, schema)
        if not is_short:
            break
        more()
    hard |= had
    pool = _filtered(pool, had, schema)
    requests = _requests(given, hard, pool, n, schema=schema, rng=rng)
    near = [name for name in requests if isinstance(schema.columns[name], Numeric | Datetime)]
    groups = _groups(requests, near, n)
    codes = _codes(pool, requests, schema)
    enough = _NEIGHBOURS if near else 1
    found, offers = [np.empty(0, np.int64) for _ in groups], [list[_Offer]() for _ in groups]
    short = list(range(len(groups)))
    while True:
        firsts = np.array([groups[g][0] for g in short])
        for g, matching in zip(short, _matching(codes, requests, firsts, near, len(pool)), strict=True):
            found[g], offers[g] = matching, _offers(requests, {name: codes[name] for name in near}, matching, groups[g])
        short = [
            g
            for g in short
            if len(found[g]) < max(len(groups[g]), enough) or any(one.is_short(MAX_POOL / drawn) for one in offers[g])
        ]
        if not short or drawn >= MAX_POOL:
            break
        extra = _codes(more(), requests, schema)
        codes = {name: np.concatenate([held, extra[name]]) for name, held in codes.items()}
    unserved = sum(len(group) for f, group in zip(found, groups, strict=True) if len(f) == 0)
    if unserved:
        raise ConditionError(
            f"{unserved} of {n} requested rows have no support: none of {drawn} candidates matches the conditions on "
            f"columns {list(given.columns)}; widen them, or use a generator that conditions by itself",
            columns=given.columns,
        )
    chosen = np.empty(n, dtype=np.int64)
    for f, group, offered in zip(found, groups, offers, strict=True):
        chosen[group] = f[_chosen(offered, len(f), len(group), rng)]
    table = pool.iloc[chosen].reset_index(drop=True)
    for name in near:
        features, fixed_rows = codes[name][chosen], np.isfinite(requests[name][:, 0])
        features[fixed_rows] = requests[name][fixed_rows]
        table[name] = encoder(schema.columns[name], name).decode(features)
    return table


def _as_set(wanted: Allowed, column: AnyColumn) -> Allowed:
    """Return an interval of one number as a set of it, where candidates seldom hit it."""
    is_continuous = isinstance(column, Numeric) and column.places is None
    if isinstance(wanted, Interval) and is_continuous and wanted.low is not None and wanted.low == wanted.high:
        return frozenset({wanted.low})
    return wanted


def _is_soft(wanted: Allowed, column: AnyColumn) -> bool:
    """Return whether an allowed set lists numbers or times, which candidates seldom hit."""
    return isinstance(column, Numeric | Datetime) and not isinstance(wanted, Interval) and wanted != {None}


def _filtered(table: pd.DataFrame, hard: Mapping[str, Allowed], schema: Schema) -> pd.DataFrame:
    return table[meets(table, Given(None, hard), schema)].reset_index(drop=True)


def _had_together(
    pool: pd.DataFrame, soft: Mapping[str, frozenset[Value | None]], least: int, most: float, schema: Schema
) -> tuple[dict[str, frozenset[Value | None]], bool]:
    """Return the sets of numbers that enough candidates have, together, and whether more candidates are wanted first.

    Where too few have numbers of all sets, the set is given up that the fewest have one of.

    Args:
        soft: The sets by column.
        least: How many are enough.
        most: How many times as many candidates there can be.
    """
    masks = {name: _is_allowed(pool[name], wanted, schema.columns[name]) for name, wanted in soft.items()}
    while masks:
        count = int(np.logical_and.reduce(list(masks.values())).sum())
        if count >= least or count * most >= least:
            return {name: soft[name] for name in masks}, count < least
        del masks[min(masks, key=lambda name: masks[name].sum())]
    return {}, False


def _codes(table: pd.DataFrame, names: Iterable[str], schema: Schema) -> dict[str, Floats]:
    """Return the codes (n, w) of some columns."""
    return {name: encoder(schema.columns[name], name).encode(table[name]) for name in names}


def _requests(
    given: Given,
    hard: Mapping[str, Allowed],
    pool: pd.DataFrame,
    n: int,
    *,
    schema: Schema,
    rng: random.Generator,
) -> dict[str, Floats]:
    """Return the code (n, w) that each row must have by column; NaN is free, infinity is null.

    A set of numbers becomes one number a row, drawn by the density there of the candidates that can serve what the row
    asks for else, and are near its numbers: those asked for, and those that it has of sets before.
    """
    made: dict[str, Floats] = {}
    if given.rows is not None:
        for name in given.rows.columns:
            made[name] = encoder(schema.columns[name], name).encode(given.rows[name])
    soft = {name: wanted for name, wanted in given.allowed.items() if name not in hard}
    parts = _alike_and_near(made, pool, n, schema) if soft else []
    for name, wanted in sorted(soft.items(), key=lambda item: len(_members(item[1]))):
        column = schema.columns[name]
        coder = encoder(column, name)
        members = sorted(str(v) if isinstance(v, str) else v for v in _members(wanted) if v is not None)
        codes = coder.encode(typed(pd.Series(members, dtype=object, name=name), column))
        held = _scalar(coder.encode(pool[name]))
        member = np.empty(n, dtype=np.int64)
        after: list[_Part] = []
        for rows, near in parts:
            is_null = np.isnan(held[near])
            reach = _reach(held[near][~is_null], _scalar(codes))
            share = _frequency(held[near][~is_null], _scalar(codes), reach).astype(np.float64)
            if is_null.all():
                share[:] = float(not len(near))
            null = float(is_null.sum() or not len(near)) if None in _members(wanted) else 0.0
            weights = np.append(share, null) + 1e-9 * np.append(np.ones(len(members)), float(None in _members(wanted)))
            member[rows] = rng.choice(len(weights), size=len(rows), p=weights / weights.sum())
            for one in np.unique(member[rows]):
                is_near = is_null if one == len(members) else np.abs(held[near] - _scalar(codes)[one]) <= reach
                after.append((rows[member[rows] == one], near[is_near] if is_near.any() else near))
        parts = after
        made[name] = np.vstack([codes, np.full((1, codes.shape[1]), np.inf)])[member]
    return made


def _alike_and_near(requests: Mapping[str, Floats], pool: pd.DataFrame, n: int, schema: Schema) -> list[_Part]:
    """Return the rows that ask for the same, and the candidates that can serve it and are near its numbers."""
    near = [name for name in requests if isinstance(schema.columns[name], Numeric | Datetime)]
    codes = _codes(pool, requests, schema)
    groups = _groups(requests, near, n)
    found = _matching(codes, requests, np.array([group[0] for group in groups]), near, len(pool))
    parts: list[_Part] = list(zip(groups, found, strict=True))
    for name in near:
        wanted, held = _scalar(requests[name]), _scalar(codes[name])
        after: list[_Part] = []
        for rows, serve in parts:
            if not np.isfinite(wanted[rows[0]]) or not len(serve):  # a group asks for numbers in the same columns
                after.append((rows, serve))
                continue
            ordered = serve[np.argsort(held[serve], kind="stable")]
            # Rows of numbers that are near each other go together: the kernel is wider, and they may all differ.
            width = _width(held[serve])
            middle = (np.floor(wanted[rows] / (width / 4)) + 0.5) * (width / 4)
            rounded = np.clip(middle, held[ordered[0]], held[ordered[-1]])
            has_mass = _frequency(held[serve], wanted[rows]) >= _NEIGHBOURS
            numbers, which = np.unique(np.where(has_mass, wanted[rows], rounded), return_inverse=True)
            reach = np.where(_frequency(held[serve], numbers) >= _NEIGHBOURS, 0.0, width)
            firsts = np.searchsorted(held[ordered], numbers - reach, side="left")
            ends = np.searchsorted(held[ordered], numbers + reach, side="right")
            alike = np.split(rows[np.argsort(which, kind="stable")], np.cumsum(np.bincount(which))[:-1])
            for some, first, end in zip(alike, firsts, ends, strict=True):
                is_far = end == first  # then the nearest on both sides
                after.append((some, ordered[max(0, first - _NEIGHBOURS * is_far) : end + _NEIGHBOURS * is_far]))
        parts = after
    return parts


def _members(wanted: Allowed) -> frozenset[Value | None]:
    assert not isinstance(wanted, Interval)  # noqa: S101 - intervals are met by all candidates
    return wanted


def _reach(held: Floats, members: Floats) -> float:
    """Return how far off candidates (m,) are near one of the members (k,): 0 if enough equal them."""
    if len(held) == 0 or len(members) == 0 or _frequency(held, members).sum() >= _NEIGHBOURS:
        return 0.0
    ordered = np.sort(members)
    above = np.searchsorted(ordered, held)
    gaps = [np.abs(held - ordered[np.clip(place, 0, len(ordered) - 1)]).min() for place in (above - 1, above)]
    return float(max(_width(held), min(gaps) * (1 + 1e-9)))  # of members far from all candidates, the nearest


def _width(held: Floats) -> float:
    """Return how far off candidates (m,) are near a number."""
    return float(held.std()) * len(held) ** -0.2 or 1.0  # Scott's rule


def _scalar(codes: Floats) -> Floats:
    """Return one number per row, (n, w) to (n,); for distances only, as two features may exceed its precision."""
    return codes[:, 0] if codes.shape[1] == 1 else codes[:, 0] * 2.0**32 + codes[:, 1]


def _groups(requests: Mapping[str, Floats], near: list[str], n: int) -> list[NDArray[np.int64]]:
    """Return the rows that ask for the same categories, and for null, a number or nothing in the same columns."""
    parts = [
        np.where(np.isfinite(codes[:, 0]), 0.0, codes[:, 0]) if name in near else codes[:, 0]
        for name, codes in requests.items()
    ]
    if not parts:
        return [np.arange(n, dtype=np.int64)]
    asked = np.nan_to_num(np.column_stack(parts), nan=-2.0, posinf=-3.0)
    _, group = np.unique(asked, axis=0, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group.ravel()[order])) + 1)


def _matching(
    codes: Mapping[str, Floats], requests: Mapping[str, Floats], rows: NDArray[np.int64], near: list[str], count: int
) -> list[NDArray[np.int64]]:
    """Return for each of some requests who of ``count`` candidates can serve it: with equal categories, null for null.

    Args:
        codes: Of all candidates by column.
        rows: The places of these requests.
    """
    found = [np.arange(count)] * len(rows)
    if not requests:
        return found
    asked = np.column_stack([requests[name][rows, 0] for name in requests])
    held = np.column_stack([codes[name][:, 0] for name in requests])
    is_near = np.isin(list(requests), near)
    asked[:, is_near] = np.where(np.isfinite(asked[:, is_near]), 0.0, asked[:, is_near])
    held = np.where(is_near, np.where(np.isnan(held), np.inf, 0.0), np.nan_to_num(held, nan=-np.inf))
    patterns, pattern = np.unique(np.isnan(asked), axis=0, return_inverse=True)
    for place, is_free in enumerate(patterns):
        places = np.flatnonzero(pattern.ravel() == place)
        if is_free.all():
            continue
        for alike, having in _alike(asked[places][:, ~is_free], held[:, ~is_free]):
            for one in places[alike]:
                found[one] = having
    return found


@dataclass(frozen=True)
class _Offer:
    """The candidates that may serve some of the numbers asked for.

    Attributes:
        counts: How often (g,) each is asked for.
        members: The requests of each, by their places in the group.
        nearest: The places (g, k) of candidates.
        weights: The logarithm (g, k) of their kernel weights; minus infinity for who may not serve.
        matches: How many candidates have what is asked for where candidates repeat it, if they are too few to serve;
            0 if they serve, or there are none.
    """

    counts: NDArray[np.int64]
    members: list[NDArray[np.int64]]
    nearest: NDArray[np.int64]
    weights: Floats
    matches: int = 0

    def is_short(self, most: float) -> bool:
        """Return whether more candidates are wanted, of which there can be ``most`` times as many as now."""
        # Of numbers that candidates have, but too few: whether there would be some among all, else near ones serve.
        is_rare = self.matches > 0 and self.matches * most >= min(int(self.counts.max()), _NEIGHBOURS)
        return is_rare or bool(np.any(np.isfinite(self.weights).sum(axis=1) < self.counts))


def _offers(
    requests: Mapping[str, Floats], codes: Mapping[str, Floats], found: NDArray[np.int64], group: NDArray[np.int64]
) -> list[_Offer]:
    """Return who may serve the numbers (n, d) that a group asks for; none where it asks for no number.

    Numbers that candidates repeat have mass: who serves has them.  Of the others those near serve.

    Args:
        codes: Of all candidates.
        found: Those that can serve the group.
    """
    fixed = [name for name in codes if np.isfinite(requests[name][group[0], 0])]
    if not fixed or not len(found):
        return []
    targets = np.column_stack([_scalar(requests[name][group]) for name in fixed])
    held = np.column_stack([_scalar(codes[name][found]) for name in fixed])
    distinct, which, counts = np.unique(targets, axis=0, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(which.ravel(), kind="stable"), np.cumsum(counts)[:-1])  # by distinct target
    frequency = np.column_stack([_frequency(held[:, j], distinct[:, j]) for j in range(len(fixed))])
    offers: list[_Offer] = []
    # Numbers are sought out by the columns in which they have mass; where too few candidates have all of them, the one
    # that the fewest have is given up.
    patterns, pattern = np.unique(frequency > 1, axis=0, return_inverse=True)
    open_: list[tuple[NDArray[np.int64], NDArray[np.bool_], int]] = [
        (np.flatnonzero(pattern.ravel() == place), massive, 0) for place, massive in enumerate(patterns)
    ]
    while open_:
        asked, massive, matches = open_.pop()
        if not massive.any():
            offers += _near(distinct, counts, members, held, asked, np.arange(len(held)), massive, matches)
            continue
        for targets_of, candidates in _alike(distinct[asked][:, massive], held[:, massive]):
            alike = asked[targets_of]
            if len(candidates) >= min(int(counts[alike].max()), _NEIGHBOURS):
                offers += _near(distinct, counts, members, held, alike, candidates, massive, 0)
                continue
            fewer = massive.copy()
            fewer[np.argmin(np.where(massive, frequency[alike].min(axis=0), np.inf))] = False
            open_.append((alike, fewer, matches or len(candidates)))
    return offers


def _frequency(held: Floats, wanted: Floats, reach: float = 0.0) -> NDArray[np.int64]:
    """Return of how many of the numbers held (m,) each that is wanted (g,) is no further off than ``reach``."""
    ordered = np.sort(held)
    upper = np.searchsorted(ordered, wanted + reach, side="right")
    return upper - np.searchsorted(ordered, wanted - reach, side="left")


def _alike(targets: Floats, held: Floats) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the places of equal targets (g, d), and of the candidates (m, d) that equal them, of each kind."""
    _, kind = np.unique(np.concatenate([targets, held]), axis=0, return_inverse=True)
    of_targets, of_held = kind.ravel()[: len(targets)], kind.ravel()[len(targets) :]
    asked, having = np.argsort(of_targets, kind="stable"), np.argsort(of_held, kind="stable")
    kinds = np.unique(of_targets)
    firsts, ends = (np.searchsorted(of_held[having], kinds, side=side) for side in ("left", "right"))
    parts = np.split(asked, np.searchsorted(of_targets[asked], kinds)[1:])
    return [(part, having[first:end]) for part, first, end in zip(parts, firsts, ends, strict=True)]


def _near(
    distinct: Floats,
    counts: NDArray[np.int64],
    members: list[NDArray[np.int64]],
    held: Floats,
    asked: NDArray[np.int64],
    candidates: NDArray[np.int64],
    met: NDArray[np.bool_],
    matches: int,
) -> list[_Offer]:
    """Return the candidates that are near the targets asked for, in the columns in which they are not equal anyway."""
    from scipy.spatial import cKDTree

    held, distinct = held[candidates][:, ~met], distinct[:, ~met]
    m, d = held.shape
    scale = held.std(axis=0)
    scale[scale == 0] = 1.0
    bandwidth = m ** (-1.0 / (4 + d))  # Scott's rule, in standard deviations
    tree = cKDTree(held / scale) if d else None
    few = counts[asked] <= _NEIGHBOURS // 4
    batches: list[tuple[NDArray[np.int64], int]] = [(asked[few], _NEIGHBOURS)]
    batches += [(np.array([g]), 4 * int(counts[g])) for g in asked[~few]]
    made = []
    for some, wanted in batches:
        if len(some) == 0:
            continue
        if tree is None:
            nearest, weights = np.tile(np.arange(m), (len(some), 1)), np.zeros((len(some), m))
        else:
            got: tuple[Any, Any] = tree.query(distinct[some] / scale, k=min(wanted, m))
            gaps, nearest = (np.reshape(part, (len(some), -1)) for part in got)
            excess = gaps**2 - gaps[:, :1] ** 2  # relative to the nearest, so that far requests are served too
            weights = np.where(excess <= (_REACH * bandwidth) ** 2, -0.5 * excess / bandwidth**2, -np.inf)
        made.append(_Offer(counts[some], [members[g] for g in some], candidates[nearest], weights, matches))
    return made


def _chosen(offers: list[_Offer], m: int, n: int, rng: random.Generator) -> NDArray[np.int64]:
    """Return for each of ``n`` requests one of ``m`` candidates: by kernel weight, each once if they suffice.

    Args:
        offers: Who may serve which numbers; empty if any candidate serves.
    """
    if not offers:
        return np.resize(rng.permutation(m), n)
    chosen = np.empty(n, dtype=np.int64)
    for offer in offers:
        keys = offer.weights + rng.gumbel(size=offer.weights.shape)  # Gumbel top-k: weights without replacement
        ranked = np.take_along_axis(offer.nearest, np.argsort(-keys, axis=1), axis=1)
        serving = np.isfinite(offer.weights).sum(axis=1)
        for candidates, many, count, requests in zip(ranked, serving, offer.counts, offer.members, strict=True):
            chosen[requests] = np.resize(candidates[: min(int(many), int(count))], int(count))
    return chosen
