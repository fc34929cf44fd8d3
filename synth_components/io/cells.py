"""Values made what a schema declares, each by itself: no row decides how another is read, and none ends the reading.

What a private fit reads files by.  A number that its column cannot hold becomes the nearest one that it can, a time
outside of its bounds the nearest bound, and what is not of the column's kind at all null; a column whose dtype holds no
null has its lowest value, false or its first category there, the cells that a null of such a column counts in.  Only
of a privacy unit nothing is put in the place of anything, as two units would become one: a row whose unit cannot be
read is left out.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Collection, Mapping
from decimal import Context, Decimal
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from synth_components.encode import cast_to, zone_of
from synth_components.errors import DataError
from synth_components.schema import (
    AnyColumn,
    Boolean,
    Categorical,
    Datetime,
    Image,
    Key,
    Numeric,
    Text,
    dtype_of,
    is_unicode,
    same_dtype,
)

Reader: TypeAlias = Callable[[Any], tuple[Any, bool]]
"""From a value that is not null to what the column holds, ``None`` for null, and whether that says the same."""

_UNFIT = (None, False)
_GROUPED = re.compile(r"\s*-?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?\s*")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?", flags=re.ASCII)
_EXACT = 2.0**53  # whole numbers below it are floats, and others need not be
_DIGITS = Context(prec=38)  # what files hold of a decimal: arrow's decimal128
_PLACES = 18  # of a decimal without bounds: as many as may be declared
TRUTHS = {"True": True, "true": True, "TRUE": True, "False": False, "false": False, "FALSE": False}
"""Spellings of a truth value: a column of these alone is one in files that tell no types."""
SINGLE = (np.dtype(np.float32), pd.Float32Dtype())
"""Dtypes of numbers that text files hold fewer digits of than float64 would."""


def widened(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return numbers as float64, null as NaN: of a float32 the number that text files hold of it.

    That is the one of the fewest digits that no other float32 is nearest to, as .1.  Different numbers stay different.
    """
    if values.dtype not in SINGLE:
        return values.astype("Float64").astype("float64")
    narrow = pa.array(values.to_numpy(dtype=np.float32, na_value=np.nan))
    return pd.Series(narrow.cast(pa.string()).cast(pa.float64()).to_numpy(), index=values.index, name=values.name)


def conform_cells(
    table: pd.DataFrame,
    columns: Mapping[str, AnyColumn],
    *,
    place: str,
    unit: Collection[str] = (),
    decimal_comma: bool = False,
) -> pd.DataFrame:
    """Return the schema's columns of a table, in its order and dtypes, whatever the rows hold.

    Args:
        unit: The columns of the privacy unit: rows that have none that can be read are left out.
        decimal_comma: Whether texts have numbers with a decimal comma.

    Raises:
        DataError: naming a column that the table does not have.
    """
    made: dict[str, Any] = {}
    kept = np.ones(len(table), dtype=bool)
    for name, column in columns.items():
        if name not in table.columns:
            raise DataError(f"'{place}' has no column '{name}', which the schema declares; check names and schema")
        made[name], is_same = _column(table[name], column, decimal_comma=decimal_comma)
        if name in unit:
            kept &= is_same
    return pd.DataFrame(made, columns=list(columns), index=table.index)[kept].reset_index(drop=True)


def _column(
    values: pd.Series[Any], column: AnyColumn, *, decimal_comma: bool
) -> tuple[pd.Series[Any], NDArray[np.bool_]]:
    """Return a column in its declared dtype, and of which rows (n,) that says what they said."""
    null = values.isna().to_numpy(dtype=bool)
    is_text = values.dtype == object or isinstance(values.dtype, pd.StringDtype)
    if same_dtype(values, column.dtype) and not is_text and column.dtype != "category":
        return values, np.ones(len(values), dtype=bool)
    if {"Int64": "int64", "boolean": "bool"}.get(str(values.dtype)) == column.dtype and not null.any():
        return cast_to(values, column.dtype), np.ones(len(values), dtype=bool)
    read, filling = _reader(column, decimal_comma=decimal_comma), _filling(column)
    known: dict[str, tuple[Any, bool]] = {}  # of texts only: numbers and truth values of several types are equal
    held: list[Any] = []
    same = np.ones(len(values), dtype=bool)
    for row, (value, is_null) in enumerate(zip(values.astype(object).tolist(), null, strict=True)):
        if is_null:
            found = (None, filling is None)
        elif isinstance(value, str):
            if value not in known:
                known[value] = read(value)
            found = known[value]
        else:
            found = read(value)
        held.append(filling if found[0] is None else found[0])
        same[row] = found[1]
    return _series(held, column, values), same


def _series(held: list[Any], column: AnyColumn, values: pd.Series[Any]) -> pd.Series[Any]:
    """Return values that fit as a column of the declared dtype."""
    dtype = column.dtype
    if isinstance(column, Categorical) and dtype == "category":
        kind: Any = pd.CategoricalDtype(list(column.categories), ordered=column.ordered)
        made = pd.Series(pd.Categorical(held, dtype=kind))
    elif dtype in {"object", "str", "date", "decimal", "category"}:
        made = cast_to(pd.Series(held, dtype=object), "str" if dtype == "str" else object)
    elif dtype.startswith("float"):
        with np.errstate(all="ignore"):  # a warning would tell of a row
            made = cast_to(pd.Series([math.nan if value is None else value for value in held], dtype="float64"), dtype)
    elif isinstance(column, Datetime):
        naive = [pd.NaT if value is None else value.tz_convert(None) for value in held]
        moments = pd.Series(np.array([value.to_datetime64() for value in naive], dtype=f"M8[{_resolution(dtype)}]"))
        made = cast_to(moments if column.zone is None else moments.dt.tz_localize("UTC"), dtype)
    elif dtype.startswith("timedelta"):
        nothing = np.timedelta64("NaT")
        spans = [nothing if value is None else value for value in held]
        made = pd.Series(np.array(spans, dtype=f"m8[{_resolution(dtype)}]"))
    else:
        with np.errstate(all="ignore"):
            made = cast_to(pd.Series(held, dtype=object), dtype)
    return made.set_axis(values.index)


def _resolution(dtype: str) -> str:
    return re.split(r"[\[\],]", dtype)[1]


def _filling(column: AnyColumn) -> Any:  # noqa: ANN401 - a value of the column
    """Return what stands for null where the dtype holds none; ``None`` where it does."""
    if column.dtype == "bool":
        return False
    if not column.dtype.startswith(("int", "uint")) or column.dtype.endswith("[pyarrow]"):
        return None
    if isinstance(column, Categorical):
        return column.categories[0] if column.categories else 0
    low = column.low if isinstance(column, Numeric) and column.low is not None else 0
    first, last = _limits(column.dtype)
    return min(max(math.ceil(low), first), last)


def _limits(dtype: str) -> tuple[int, int]:
    """Return the ends of an integer dtype."""
    parsed: Any = dtype_of(dtype)
    kind = np.iinfo(getattr(parsed, "numpy_dtype", parsed))
    return int(kind.min), int(kind.max)


def _reader(column: AnyColumn, *, decimal_comma: bool) -> Reader:
    """Return what reads the values of a column."""

    def number(value: Any) -> Any:  # noqa: ANN401
        return _number(value, decimal_comma=decimal_comma)

    match column:
        case Boolean():
            return lambda value: _truth(value, number)
        case Datetime():
            return _moments(column)
        case Categorical():
            return _categories(column, number)
        case Numeric() if column.dtype.startswith("timedelta"):
            return lambda value: _span(value, column.dtype, number)
        case Numeric() if column.dtype == "decimal" or (column.dtype == "object" and column.places == 0):
            return _exact(column, number)
        case Numeric() | Key() | Text() if column.dtype.lower().startswith(("int", "uint")):
            first, last = _limits(column.dtype)
            return lambda value: _whole(number(value), first, last)
        case Numeric() | Key() | Text() if isinstance(column, Numeric) or column.dtype.lower().startswith("float"):
            return lambda value: _real(number(value))
        case Image():
            return lambda value: (value, True)
        case _:
            return _text


def _number(value: Any, *, decimal_comma: bool) -> int | float | Decimal | None:  # noqa: ANN401
    """Return a finite number, a whole one exactly; ``None`` for anything else."""
    if isinstance(value, str):
        if "," in value and decimal_comma:
            value = value.replace(",", ".", 1)
        elif "," in value and _GROUPED.fullmatch(value):
            value = value.replace(",", "")
        try:
            real = float(value)
        except ValueError:
            return None
        if not math.isfinite(real):
            return None
        if abs(real) >= _EXACT:  # not by `int`, which makes no number of thousands of digits
            return Decimal(value)
        return int(real) if real.is_integer() and value.strip().lstrip("+-").isdecimal() else real
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value if isinstance(value, Decimal) and value.is_finite() else None


def _whole(value: int | float | Decimal | None, first: int, last: int) -> tuple[Any, bool]:
    if value is None:
        return _UNFIT
    if not first <= value <= last:
        return (first if value < first else last), False
    whole = round(value)
    return min(max(whole, first), last), whole == value


def _real(value: int | float | Decimal | None) -> tuple[float | None, bool]:
    try:
        real = math.inf if value is None else float(value)
    except OverflowError:
        return _UNFIT
    return (real, abs(real) < _EXACT or real == value) if math.isfinite(real) else _UNFIT


def _exact(column: Numeric, number: Callable[[Any], Any]) -> Reader:
    """Return what reads decimals, or whole numbers of any size, within the bounds and what every file holds."""
    low, high = _ends(column)
    # All with as many places, as the type of a file's column, or of a part of it, follows from the most of a row.
    step = Decimal(1).scaleb(-_scale(column)) if column.dtype == "decimal" else Decimal(1)

    def read(value: Any) -> tuple[Any, bool]:  # noqa: ANN401
        found = number(value)
        if found is None or _real(found)[0] is None:
            return _UNFIT
        wanted = Decimal(str(found))  # through text, as the digits of a float are not those that were written
        exact = min(max(wanted, low), high).quantize(step, context=_DIGITS)
        return (exact if column.dtype == "decimal" else int(exact)), exact == wanted

    return read


def _ends(column: Numeric) -> tuple[Decimal, Decimal]:
    """Return the ends of an exact column: its bounds, within what every file holds whatever rows there are."""
    if column.dtype == "decimal":
        scale = _scale(column)
        last = _DIGITS.subtract(Decimal(1).scaleb(38 - max(scale, 0)), Decimal(1).scaleb(-scale))
        first = last.copy_negate()  # minus would round it
    elif column.low is not None and column.low >= 0:
        first, last = Decimal(0), Decimal(2**64 - 1)
    else:
        first, last = Decimal(-(2**63)), Decimal(2**63 - 1)
    low, high = (None if bound is None else Decimal(str(bound)) for bound in (column.low, column.high))
    return first if low is None else min(max(low, first), last), last if high is None else max(min(high, last), first)


def _scale(column: Numeric) -> int:
    """Return the decimal places of a decimal column: those declared, or as many as its bounds leave."""
    if column.places is not None:
        return column.places
    if column.low is None or column.high is None:
        return _PLACES
    return max(0, 37 - max(0, *(Decimal(str(bound)).adjusted() for bound in (column.low, column.high))))


def _truth(value: Any, number: Callable[[Any], Any]) -> tuple[Any, bool]:  # noqa: ANN401
    if isinstance(value, str) and value in TRUTHS:
        return TRUTHS[value], True
    found = number(value)
    return (bool(found), True) if found in (0, 1) else _UNFIT


def _text(value: Any) -> tuple[Any, bool]:  # noqa: ANN401
    if not pd.api.types.is_scalar(value) or isinstance(value, bytes):
        return _UNFIT
    text = str(value)
    return (text, True) if is_unicode(text) else _UNFIT


def _categories(column: Categorical, number: Callable[[Any], Any]) -> Reader:
    """Return what reads categories; one that is not listed is kept where the dtype holds it, else it is the first."""
    known: dict[Any, Any] = {category: category for category in column.categories}
    first = next(iter(column.categories), None)

    def read(value: Any) -> tuple[Any, bool]:  # noqa: ANN401
        text = _text(value)
        return text if column.dtype != "category" or text[0] in known or text[0] is None else (first, False)

    def read_number(value: Any) -> tuple[Any, bool]:  # noqa: ANN401
        if isinstance(value, str) and value in known:  # of a column that lists texts as well
            return value, True
        found = TRUTHS[value] if isinstance(value, str) and value in TRUTHS else number(value)
        return _UNFIT if found is None else (known.get(found, first), found in known)

    is_text = not column.dtype.lower().startswith(("int", "uint", "float", "bool"))
    return read if is_text and all(isinstance(category, str) for category in column.categories) else read_number


def _moments(column: Datetime) -> Reader:
    """Return what reads times, as UTC, or dates; those of a column without a zone are carried as if they were UTC."""
    zone = zone_of(column)

    def instant(value: Any) -> pd.Timestamp:  # noqa: ANN401
        stamp = pd.Timestamp(value)
        if stamp.tzinfo is not None:
            return stamp.tz_convert("UTC")
        if zone is None:
            return stamp.tz_localize("UTC")
        # Of a time that there is twice the earlier, and for one that there is not the next, as in `encode.localized`.
        return stamp.tz_localize(zone, ambiguous=True, nonexistent="shift_forward").tz_convert("UTC")

    if column.dtype.startswith("datetime64[ns"):
        first, last = pd.Timestamp.min, pd.Timestamp.max
    else:  # the years that Python's dates have: other times have neither a date nor a text
        first, last = pd.Timestamp("0001-01-01"), pd.Timestamp("9999-12-31T23:59:59.999999")
    if zone is not None:  # whose clock may be a day off; of times that nanoseconds lack before, pandas 2.3 dies
        first, last = pd.Timestamp.min + datetime.timedelta(days=1), last - datetime.timedelta(days=1)
    first, last = first.tz_localize("UTC"), last.tz_localize("UTC")
    low = first if column.low is None else min(max(instant(column.low), first), last)
    high = last if column.high is None else max(min(instant(column.high), last), first)

    def read(value: Any) -> tuple[Any, bool]:  # noqa: ANN401
        is_moment = isinstance(value, datetime.date | np.datetime64)
        if not is_moment and not (isinstance(value, str) and _MOMENT.fullmatch(value)):
            return _UNFIT
        try:
            stamp = instant(value)
        except (ValueError, OverflowError):  # no day of the calendar, or beyond what a time may be
            return _UNFIT
        if pd.isna(stamp):
            return _UNFIT
        kept = min(max(stamp, low), high)
        return (kept.date() if column.dtype == "date" else kept), kept == stamp

    return read


def _span(value: Any, dtype: str, number: Callable[[Any], Any]) -> tuple[Any, bool]:  # noqa: ANN401
    """Return a time span as numpy has it; a number counts units of the dtype."""
    unit: Any = _resolution(dtype)
    try:
        if isinstance(value, datetime.timedelta | np.timedelta64) or (isinstance(value, str) and "day" in value):
            span = pd.Timedelta(value).as_unit(unit)
            return _UNFIT if pd.isna(span) else (span.to_timedelta64(), True)
        found = number(value)
        if found is None or not abs(found) < 2**63:  # before it is rounded: of 1e999999 that takes minutes
            return _UNFIT
        return np.timedelta64(round(found), unit), round(found) == found
    except (ValueError, OverflowError):
        return _UNFIT
