"""JSON records and JSON Lines: one object per row.

Numbers, texts and truth values keep their JSON types.  Times are ISO 8601 texts, time spans as pandas writes them,
decimals texts; texts are read back as times if every one of a column is.  Integers beyond 64 bits become text.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from synth_components.column_type import kind_of
from synth_components.encode import cast_to
from synth_components.errors import DataError
from synth_components.io.arrow import require_names
from synth_components.io.cells import SINGLE, widened
from synth_components.io.csv import opened, recognised
from synth_components.io.location import Location, reading
from synth_components.schema import is_unicode

_READ_BYTES = 2**20


def read_json(place: Location, *, gzipped: bool) -> pd.DataFrame:
    """Return the table of a JSON array of objects."""
    with reading(place, gzipped=gzipped) as stream:
        raw = stream.read()
    rows = parsed(bytes(raw), place=place.text, what="the file")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"'{place.text}' is not an array of objects; give one object per row, or JSON Lines")
    return frame_of(rows, place=place.text)


def read_json_lines(place: Location, *, gzipped: bool) -> pd.DataFrame:
    """Return the table of a file with one object per line."""
    return frame_of(list(objects(place, gzipped=gzipped)), place=place.text)


def json_lines_batches(place: Location, *, gzipped: bool, rows: int) -> Iterator[pd.DataFrame]:
    """Yield parts of at most ``rows`` rows; each part's types are its own."""
    held: list[dict[str, Any]] = []
    for row in objects(place, gzipped=gzipped):
        held.append(row)
        if len(held) == rows:
            yield frame_of(held, place=place.text)
            held = []
    if held:
        yield frame_of(held, place=place.text)


def json_cells(
    place: Location, *, gzipped: bool, lines: bool, names: Collection[str], rows: int
) -> Iterator[pd.DataFrame]:
    """Yield parts of at most ``rows`` rows with these columns, each value as JSON has it.

    A value that lacks is null.  A line that is no object is left out, as is such an element of an array.

    Raises:
        DataError: for a file of other than lines that is no JSON array.
    """
    held: list[dict[str, Any]] = []

    def part() -> pd.DataFrame:
        columns = {name: pd.Series([row.get(name) for row in held], dtype=object) for name in names}
        return pd.DataFrame(columns, columns=list(names), index=pd.RangeIndex(len(held)))

    for row in _values(place, gzipped=gzipped) if lines else _elements(place, gzipped=gzipped):
        if isinstance(row, dict):
            held.append(row)
        if len(held) == rows:
            yield part()
            held = []
    if held:
        yield part()


def _values(place: Location, *, gzipped: bool) -> Iterator[Any]:
    """Yield the JSON value of each line that has one."""
    for line in _lines(place, gzipped=gzipped):
        try:
            yield json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            continue


def _elements(place: Location, *, gzipped: bool) -> list[Any]:
    """Return the elements of a JSON array."""
    with reading(place, gzipped=gzipped) as stream:
        raw = bytes(stream.read())
    try:
        found = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise DataError(f"'{place.text}' is not an array of objects; give one object per row, or JSON Lines")
    return found


def count_lines(place: Location, *, gzipped: bool) -> int:
    """Return the number of objects, reading the file once with constant memory."""
    return sum(1 for _ in _lines(place, gzipped=gzipped))


def _lines(place: Location, *, gzipped: bool) -> Iterator[bytes]:
    rest = b""
    with reading(place, gzipped=gzipped) as stream:
        is_first = True
        while chunk := bytes(stream.read(_READ_BYTES)):
            if is_first:
                chunk = chunk.removeprefix(codecs.BOM_UTF8)
                is_first = False
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line for line in whole if line.strip())
    if rest.strip():
        yield rest


def objects(place: Location, *, gzipped: bool) -> Iterator[dict[str, Any]]:
    """Yield the object of each line.

    Raises:
        DataError: for a line that is no object.
    """
    for number, line in enumerate(_lines(place, gzipped=gzipped), start=1):
        row = parsed(line, place=place.text, what=f"line {number}")
        if not isinstance(row, dict):
            raise DataError(f"line {number} of '{place.text}' is not an object; give one object per row")
        yield row


def _refuse_constant(_: str) -> float:
    raise ValueError


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise KeyError
    return made


def parsed(raw: bytes, *, place: str, what: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value.

    Args:
        what: What the bytes are within ``place``.

    Raises:
        DataError: for anything that is no JSON, names a key twice, or nests too deep.
    """
    try:
        return json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse_constant, object_pairs_hook=_refuse_twice)
    except KeyError:
        raise DataError(f"{what} of '{place}' names a column twice; rename all but one") from None
    except UnicodeDecodeError:
        raise DataError(f"'{place}' is not UTF-8 text; save it as UTF-8") from None
    except (ValueError, RecursionError):
        raise DataError(f"{what} of '{place}' is not valid JSON; NaN and Infinity are not, write null") from None


def frame_of(rows: list[dict[str, Any]], *, place: str) -> pd.DataFrame:
    """Return the table of JSON objects; a key that an object lacks is null."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    require_names(names, place=place)
    columns = {name: column_of([row.get(name) for row in rows], name, place) for name in names}
    return pd.DataFrame(columns, columns=names, index=pd.RangeIndex(len(rows)))


def column_of(values: list[Any], name: str, place: str, *, recognise: bool = True) -> pd.Series[Any]:
    """Return a column of numbers, text or truth values, ``None`` being null.

    Whole numbers with nulls are ``Int64``.

    Args:
        recognise: Whether texts that are all written like times or time spans become such.

    Raises:
        DataError: for values of several types, for nested ones, and for text that no file can hold.
    """
    types = set(map(type, values)) - {type(None)}
    if types & {list, dict}:
        raise DataError(f"column '{name}' of '{place}' is nested; flatten it to one value per row")
    nullable = any(value is None for value in values)
    if types == {int}:
        if all(-(2**63) <= value < 2**63 for value in values if value is not None):
            return cast_to(pd.Series(values, dtype=object), "Int64" if nullable else "int64")
        return pd.Series([None if value is None else str(value) for value in values])
    if types and types <= {int, float}:
        if all(abs(value) <= 2**53 for value in values if isinstance(value, int)):
            return pd.Series([np.nan if value is None else float(value) for value in values], dtype="float64")
    elif types == {bool}:
        return cast_to(pd.Series(values, dtype=object), "boolean" if nullable else "bool")
    elif types == {str}:
        if not is_unicode("".join(value for value in values if value is not None)):
            raise DataError(f"column '{name}' of '{place}' holds text with half a surrogate pair; mend it")
        made = recognised(pd.Series(values, dtype=object)) if recognise else None
        # Text is what the installed pandas has it to be.
        return pd.Series(values) if made is None or made.dtype == object else made
    elif not types:
        return pd.Series(values, dtype=object)
    raise DataError(
        f"column '{name}' of '{place}' mixes {', '.join(sorted(held.__name__ for held in types))}; give it one type"
    )


def records(frame: pd.DataFrame, *, place: str) -> Iterator[str]:
    """Yield one JSON object per row.

    Raises:
        DataError: for bytes and infinities, which JSON does not have.
    """
    names = list(frame.columns)
    require_names(names, place=place)
    columns = [_json_values(frame[name]) for name in names]
    for row in zip(*columns, strict=True):
        yield json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, allow_nan=False)


def _json_values(values: pd.Series[Any]) -> list[Any]:
    name, kind = str(values.name), kind_of(values)
    if kind == "bytes":
        raise DataError(f"column '{name}' holds bytes, which JSON does not have; write parquet")
    # A float32 has the digits that it has in CSV: in JSON, too, it reads as the same number.
    objects = (widened(values) if values.dtype in SINGLE else values).astype(object)
    if kind == "float" and any(isinstance(value, float) and abs(value) == float("inf") for value in objects.dropna()):
        raise DataError(f"column '{name}' holds infinite values, which JSON does not have; null them, or write parquet")
    nulls = values.isna().tolist()
    make: Callable[[Any], Any] = _plain
    if kind in {"datetime", "date"}:
        make = _iso
    elif kind == "timedelta":
        make = _span
    elif kind == "decimal":
        make = str
    return [None if null else make(value) for value, null in zip(objects.tolist(), nulls, strict=True)]


def _plain(value: Any) -> Any:  # noqa: ANN401
    return value.item() if isinstance(value, np.generic) else value


def _iso(value: Any) -> str:  # noqa: ANN401
    return str(value.isoformat())


def _span(value: Any) -> str:  # noqa: ANN401
    return str(pd.Timedelta(value))


@contextmanager
def json_writer(path: Path, *, place: str, gzipped: bool, lines: bool) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Yield a function that appends a frame's rows."""
    written = 0
    names: list[str] | None = None
    with opened(path, gzipped=gzipped) as sink:

        def write(frame: pd.DataFrame) -> None:
            nonlocal written, names
            if names is not None and names != list(frame.columns):
                raise DataError(f"a later part of '{place}' has other columns than the first; give all the same")
            names = list(frame.columns)
            for record in records(frame, place=place):
                before = "" if lines else ("[\n" if written == 0 else ",\n")
                sink.write(f"{before}{record}{chr(10) if lines else ''}".encode())
                written += 1

        yield write
        if not lines:
            sink.write(b"\n]\n" if written else b"[]\n")
