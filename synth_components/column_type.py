"""What a column holds, and the type, bounds and resolution that a schema gives it."""

from __future__ import annotations

import datetime
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal, TypeAlias, assert_never

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.bound import Ascending, bounds
from synth_components.encode import localized, zone_of
from synth_components.errors import SchemaError
from synth_components.schema import (
    AnyColumn,
    Boolean,
    Categorical,
    Datetime,
    Numeric,
    Resolution,
    Value,
    dtype_name,
    is_unicode,
)
from synth_components.support import Owners, supports_of, taken

Kind: TypeAlias = Literal[
    "integer", "float", "boolean", "text", "datetime", "timedelta", "date", "decimal", "category", "bytes", "empty"
]
_KINDS: dict[type, Kind] = {
    bool: "boolean",
    np.bool_: "boolean",
    str: "text",
    np.str_: "text",
    Decimal: "decimal",
    datetime.date: "date",
    bytes: "bytes",
}
_EXACT = 2**53
_STEPS: tuple[tuple[Resolution, int], ...] = (
    ("D", 86_400 * 10**9),
    ("h", 3_600 * 10**9),
    ("min", 60 * 10**9),
    ("s", 10**9),
    ("ms", 10**6),
    ("us", 10**3),
    ("ns", 1),
)


def refused(name: str, what: str, remedy: str) -> SchemaError:
    """Return the error of a column that cannot be used."""
    return SchemaError(f"column '{name}' {what}; {remedy}", column=name)


def kind_of(values: pd.Series[Any]) -> Kind:
    """Return what the non-null values are, by dtype, and by their own types where it is ``object``.

    Raises:
        SchemaError: for mixed types, for types that no column of a schema can hold, and for text that no file can.
    """
    name = str(values.name)
    kind = _kind_of_dtype(values, name)
    if not is_unicode("".join(_texts(values, kind))):
        raise refused(
            name,
            "holds text with half a surrogate pair, which no file can hold",
            f"mend it: table['{name}'].map(lambda text: text.encode('utf-8', 'replace').decode(), na_action='ignore')",
        )
    return kind


def _texts(values: pd.Series[Any], kind: Kind) -> list[str]:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [category for category in values.dtype.categories.tolist() if isinstance(category, str)]
    return values.dropna().tolist() if kind == "text" else []


def _kind_of_dtype(values: pd.Series[Any], name: str) -> Kind:
    dtype = values.dtype
    if pd.api.types.is_object_dtype(dtype):
        return _kind_of_objects(values, name)
    text = str(dtype)
    if isinstance(dtype, pd.CategoricalDtype):
        if any(not isinstance(category, str | int | float | bool) for category in dtype.categories.tolist()):
            raise refused(name, "has categories that are not text, numbers or booleans", "cast them to text")
        return "category"
    if isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype | pd.SparseDtype):
        raise refused(name, f"has dtype {text.split('[')[0]}", "cast it to a number, a datetime or text")
    if isinstance(dtype, pd.StringDtype) or text in {"string[pyarrow]", "large_string[pyarrow]"}:
        return "text"
    if text.startswith(("datetime64", "timestamp")):
        return "datetime"
    if text.startswith(("timedelta64", "duration")):
        return "timedelta"
    kind = getattr(dtype, "kind", "")
    if kind == "b":
        return "boolean"
    if kind in "iu":
        return "integer"
    if kind == "f":
        return "float"
    raise refused(name, f"has dtype {text.split('<')[0]}", "cast it to a number, a datetime or text")


def _kind_of_objects(values: pd.Series[Any], name: str) -> Kind:
    present = values[values.notna()]
    types = set(map(type, present))
    if not types:
        return "empty"
    kinds: set[str] = set()
    for held in types:
        if held in _KINDS:
            kinds.add(_KINDS[held])
        elif issubclass(held, int | np.integer):
            kinds.add("integer")
        elif issubclass(held, float | np.floating):
            kinds.add("float")
        elif issubclass(held, datetime.datetime | np.datetime64):
            raise refused(
                name,
                "holds datetime objects, perhaps of several zones",
                f"use pd.to_datetime(table['{name}'], utc=True), or cast it to text",
            )
        elif issubclass(held, datetime.timedelta | np.timedelta64):
            raise refused(name, "holds timedelta objects", f"use pd.to_timedelta(table['{name}'])")
        else:
            raise refused(
                name, f"holds values of type {held.__name__}", "flatten them to one number, date or text per row"
            )
    if len(kinds) > 1:
        raise refused(
            name,
            f"holds values of {len(kinds)} types ({', '.join(sorted(kinds))})",
            f"cast it to one type, such as table['{name}'].astype('string')",
        )
    return kinds.pop()  # type: ignore[return-value]  # the names above are kinds


def numeric(values: pd.Series[Any], kind: Kind, *, min_count: int, owners: Owners = None) -> Numeric:
    """Return the numeric column of integers, floats, decimals or time spans.

    Raises:
        SchemaError: for infinities, and for numbers that do not fit 64 bits or 53 significant bits.
    """
    name, dtype = str(values.name), str(values.dtype)
    nullable = bool(values.isna().any())
    is_there = values.notna()
    present, whose = values[is_there], taken(owners, is_there.to_numpy())
    if kind == "decimal":
        return _decimal(present, name, nullable=nullable, min_count=min_count, owners=whose)
    if kind == "timedelta" and not dtype.startswith("timedelta64"):
        raise refused(name, f"has dtype {dtype}", "cast it to timedelta64[us]")
    if kind in {"integer", "timedelta"}:
        return _integral(present, dtype, name, nullable=nullable, min_count=min_count, owners=whose)
    ascending = Ascending.of(present.to_numpy(dtype=np.float64), whose)
    numbers = ascending.numbers
    if not np.isfinite(numbers).all():
        raise refused(name, f"holds {int((~np.isfinite(numbers)).sum())} infinite values", "replace them, or null them")
    single = np.float32 if "32" in dtype or dtype == "float[pyarrow]" else np.float64
    places = None if dtype == "object" else _places(numbers, single)
    low, high = bounds(ascending, places=places, min_count=min_count)
    return Numeric(dtype=dtype, nullable=nullable, low=low, high=high, places=places)


def _integral(
    present: pd.Series[Any], dtype: str, name: str, *, nullable: bool, min_count: int, owners: Owners
) -> Numeric:
    if dtype == "object":
        if any(not -(2**63) <= value < 2**64 for value in present):
            raise refused(name, "holds integers beyond 64 bits", f"cast it to text: table['{name}'].astype('string')")
        held: NDArray[Any] = np.array([int(value) for value in present], dtype=object)
    elif dtype.startswith("timedelta64"):
        held = present.to_numpy().astype(np.int64)
    else:
        held = present.to_numpy(dtype=np.uint64 if dtype.lower().startswith("uint") else np.int64)
    ascending = Ascending.of(held, owners)
    numbers = ascending.numbers
    places = 0
    if numbers.dtype != object and len(numbers) and _is_exact(numbers):
        places = _trailing(numbers)
    low, high = bounds(ascending, places=places, min_count=min_count)
    parsed: Any = pd.api.types.pandas_dtype(dtype)
    numpy_dtype = np.dtype(getattr(parsed, "numpy_dtype", parsed))
    if numpy_dtype.kind in "iu":
        limits = np.iinfo(numpy_dtype)
    else:
        limits = np.iinfo(np.uint64 if len(numbers) and int(numbers[-1]) >= 2**63 else np.int64)
    if low is None and len(numbers) and max(abs(int(numbers[0])), abs(int(numbers[-1]))) >= _EXACT:
        low, high = int(limits.min), int(limits.max)  # the encoder splits numbers beyond 2^53 only where bounds say so
    if low is not None and high is not None:
        low, high = max(int(low), int(limits.min)), min(int(high), int(limits.max))
    return Numeric(dtype=dtype, nullable=nullable, low=low, high=high, places=places)


def _decimal(present: pd.Series[Any], name: str, *, nullable: bool, min_count: int, owners: Owners) -> Numeric:
    ascending = Ascending.of(np.array(list(present), dtype=object), owners)
    numbers = ascending.numbers
    if any(not value.is_finite() for value in numbers):
        raise refused(name, "holds infinite decimals", "replace them, or null them")
    places = max((max(0, -int(value.as_tuple().exponent)) for value in numbers), default=0)
    if places > 18 or any(abs(value).scaleb(places) >= _EXACT for value in numbers):
        raise refused(name, "holds decimals of more than 15 digits", "round them, or cast the column to text")
    low, high = bounds(ascending, places=places, min_count=min_count)
    return Numeric(
        dtype="decimal",
        nullable=nullable,
        low=None if low is None else float(low),
        high=None if high is None else float(high),
        places=places,
    )


def _is_exact(numbers: NDArray[Any]) -> bool:
    """Return whether every integer is a float64."""
    largest = max(abs(int(numbers[0])), abs(int(numbers[-1])))
    if largest < _EXACT:
        return True
    return largest < 2**62 and bool((numbers.astype(np.float64).astype(np.int64) == numbers).all())


def _trailing(numbers: NDArray[Any]) -> int:
    """Return minus the number of trailing zeros that all integers share; 0 for a single value."""
    if numbers[0] == numbers[-1]:
        return 0
    places = 0
    while places > -15 and bool((numbers % numbers.dtype.type(10 ** (1 - places)) == 0).all()):
        places -= 1
    return places


def _places(numbers: NDArray[np.float64], single: type[np.floating[Any]]) -> int | None:
    """Return the decimal places (at most 9) that give every number back exactly, ``None`` if none do."""
    if len(numbers) == 0:
        return None
    largest = max(abs(numbers[0]), abs(numbers[-1]))
    some = numbers[:: max(1, len(numbers) // 1000)]
    for places in range(10):
        if largest * 10.0**places >= _EXACT:
            return None
        if all(bool((np.round(part, places).astype(single) == part).all()) for part in (some, numbers)):
            return _trailing(numbers.astype(np.int64)) if places == 0 else places
    return None


def moments(values: pd.Series[Any], kind: Kind, *, min_count: int, owners: Owners = None) -> Datetime:
    """Return the datetime column of times or dates.

    Raises:
        SchemaError: for times outside 1677-2262, and nanoseconds that span more than 104 days: no float64 holds them.
    """
    name = str(values.name)
    dtype = "date" if kind == "date" else str(values.dtype)
    if not (dtype == "date" or dtype.startswith("datetime64")):
        raise refused(name, f"has dtype {dtype}", "cast it to datetime64[us], or datetime64[us, UTC] for zoned times")
    nullable = bool(values.isna().any())
    present = values[values.notna()]
    if kind == "date":
        days = np.array([value.toordinal() - 719_163 for value in present], dtype=np.int64)
        seconds = days * 86_400
    else:
        stamps = present.dt.tz_convert(None) if present.dt.tz is not None else present
        whole = stamps.to_numpy()
        seconds = whole.astype("datetime64[s]").astype(np.int64)
    if len(seconds) and not (seconds.min() > -(2**63) // 10**9 and seconds.max() < 2**63 // 10**9 - 1):
        raise refused(name, "holds times outside the years 1678 to 2261", "null such sentinels, or cast it to text")
    utc = seconds * 10**9 if kind == "date" else whole.astype("datetime64[ns]").astype(np.int64)
    if len(utc) == 0:
        return Datetime(dtype=dtype, nullable=nullable, resolution="D" if kind == "date" else "us")
    zone = None if kind == "date" else present.dt.tz
    # Steps and bounds are those of the clock on the wall.
    wall = utc if zone is None else _nanoseconds(present.dt.tz_localize(None))
    ascending = Ascending.of(wall, taken(owners, values.notna().to_numpy()))
    moments = ascending.numbers
    for resolution, step in _STEPS:
        if (moments % step).any() and not (resolution == "D" and zone is not None):
            continue  # a day whose midnight a zone skips starts later: _is_kept knows
        low, high = bounds(replace(ascending, numbers=moments // step), places=0, min_count=min_count)
        made = Datetime(
            dtype=dtype,
            nullable=nullable,
            low=_shown(low, step, zone, is_low=True),
            high=_shown(high, step, zone, is_low=False),
            resolution=resolution,
        )
        if zone is None or _is_kept(present, made, utc, step):
            break
    if resolution == "ns" and int(moments[-1]) - int(moments[0]) >= _EXACT:
        raise refused(name, "holds nanoseconds over more than 104 days", f"round it: table['{name}'].dt.floor('us')")
    return made


def _nanoseconds(stamps: pd.Series[Any]) -> NDArray[np.int64]:
    return stamps.to_numpy().astype("datetime64[ns]").astype(np.int64)


def _shown(bound: float | None, step: int, zone: datetime.tzinfo | None, *, is_low: bool) -> str | None:
    """Return a bound, in steps of local time, as text: a repeated time with the offset that leaves more room."""
    if bound is None:
        return None
    # A day of room for the offset of the zone.
    limit = (2**63 - 1 - (0 if zone is None else 86_400 * 10**9)) // step
    stamp = pd.Timestamp(max(-limit, min(limit, int(bound))) * step, unit="ns")
    if zone is None:
        return stamp.isoformat()
    return str(stamp.tz_localize(zone, ambiguous=is_low, nonexistent="shift_forward").isoformat())


def _is_kept(present: pd.Series[Any], column: Datetime, utc: NDArray[np.int64], step: int) -> bool:
    """Return whether zoned times are whole steps of the column: offsets of a zone may be odd, or midnights missing."""
    if column.resolution == "D":
        local = present.dt.tz_localize(None).dt.floor("D")
        return bool((_nanoseconds(localized(local, zone_of(column)).dt.tz_convert(None)) == utc).all())
    origin = _nanoseconds(localized(pd.Series([pd.Timestamp(0)]), zone_of(column)).dt.tz_convert(None))
    ends = [pd.Timestamp(end).tz_convert(None).as_unit("ns").value for end in (column.low, column.high) if end]
    if column.low is not None:
        origin = np.array(ends[:1], dtype=np.int64)
    return not ((np.concatenate([utc, np.array(ends, dtype=np.int64)]) - origin[0]) % step).any()


def categorical(values: pd.Series[Any], *, min_count: int, owners: Owners = None) -> tuple[Categorical, float]:
    """Return the categorical column, and the share of non-null rows whose values are too rare to list.

    A declared category that too few rows hold is dropped, too: it may be somebody's in other rows.

    Raises:
        SchemaError: for categories of several types.
    """
    name, dtype = str(values.name), dtype_name(values.dtype)
    ordered = False
    if isinstance(values.dtype, pd.CategoricalDtype):
        ordered = bool(values.dtype.ordered)
        if len({type(c) for c in values.dtype.categories.tolist()}) > 1:
            raise refused(name, "has categories of several types", "cast them to text")
    counts = values.value_counts()
    supported = counts[(supports_of(values, counts, owners) >= min_count).to_numpy()]
    rare = 1.0 - float(supported.sum()) / float(max(counts.sum(), 1))
    kept = supported.index.tolist()
    if isinstance(values.dtype, pd.CategoricalDtype):
        known = set(kept)
        kept = [category for category in values.dtype.categories.tolist() if category in known]
    else:
        kept = sorted(kept)
    categories: tuple[Value, ...] = tuple(kept)
    nullable = bool(values.isna().any())
    return Categorical(dtype=dtype, nullable=nullable, categories=categories, ordered=ordered), rare


def ordinary(values: pd.Series[Any], kind: Kind, *, min_count: int, owners: Owners = None) -> tuple[AnyColumn, float]:
    """Return the column that a generator may learn, and the share of rows with unsupported values.

    Args:
        min_count: Fewest rows behind what it tells of the values, or privacy units, where ``owners`` are given.
        owners: The privacy unit (n,) of each row.

    Raises:
        SchemaError: for bytes and whatever its type refuses.
    """
    match kind:
        case "integer" | "float" | "decimal" | "timedelta":
            return numeric(values, kind, min_count=min_count, owners=owners), 0.0
        case "boolean":
            return Boolean(dtype=str(values.dtype), nullable=bool(values.isna().any())), 0.0
        case "datetime" | "date":
            return moments(values, kind, min_count=min_count, owners=owners), 0.0
        case "text" | "category" | "empty":
            return categorical(values, min_count=min_count, owners=owners)
        case "bytes":
            raise refused(str(values.name), "holds bytes", "keep them in files, and their paths in the column")
        case _:
            assert_never(kind)
