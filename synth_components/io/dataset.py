"""Tables in and out: CSV, Parquet, JSON, JSON Lines and HDF5, local or at an address; and tables of SQL databases.

A dataset directory holds ``schema.json`` and one ``<table>.parquet`` per table.  A single table that is larger than
``max_bytes`` stays on disk, and is read in batches; several tables are read whole.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.encode import cast_to
from synth_components.errors import DataError, SchemaError, UnsupportedError
from synth_components.io.arrow import (
    holding_nulls,
    parquet_batches,
    parquet_num_bytes,
    parquet_num_rows,
    parquet_writer,
    read_parquet,
)
from synth_components.io.cells import conform_cells
from synth_components.io.csv import Csv, csv_texts, csv_writer
from synth_components.io.hdf5 import hdf5_writer, read_hdf5
from synth_components.io.json_lines import (
    count_lines,
    json_cells,
    json_lines_batches,
    json_writer,
    read_json,
    read_json_lines,
)
from synth_components.io.location import Location, locate, writing
from synth_components.io.sql import Relation, relation
from synth_components.privacy.budget_file import opened
from synth_components.privacy.ledger import SETTLED, Ledger, not_private
from synth_components.profile import ProfileConfig, profile
from synth_components.protocols import Dataset, PrivacyLedger
from synth_components.schema import TABLE, AnyColumn, Boolean, Categorical, Key, Numeric, Schema, Text, same_dtype
from synth_components.split import together

Format: TypeAlias = Literal["csv", "parquet", "json", "jsonl", "hdf5"]
SCHEMA_FILE = "schema.json"
MAX_BYTES = 2**30
"""A table that needs more than this in memory stays on disk."""

SPREAD_ROWS = 200_000
"""Most rows that the schema of a table on disk is read off."""

_BATCH_ROWS = 131_072
_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".data": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
}
_GROWTH = {"csv": 4, "json": 8, "jsonl": 8, "hdf5": 3, "parquet": 3}
"""Bytes in memory per byte on disk (uncompressed, for parquet): text becomes Python objects."""


@dataclass(frozen=True)
class Part:
    """One file of a table: where, in which format, and whether it is compressed by gzip."""

    place: Location
    format: Format
    gzipped: bool

    @property
    def text(self) -> str:
        """What messages call it."""
        return self.place.text


Source: TypeAlias = Part | Relation
_Told: TypeAlias = tuple[str, str, str]
"""What a column holds, its dtype, and in which file."""


def format_of(name: str, format: str = "auto") -> tuple[Format, bool]:
    """Return the format of a file by name, unless given, and whether it is compressed by gzip.

    Raises:
        DataError: for an unknown format or ending.
    """
    lower = name.lower()
    gzipped = lower.endswith(".gz")
    bare = lower.removesuffix(".gz")
    found = _SUFFIXES.get("." + bare.rsplit(".", 1)[-1] if "." in bare else "") if format == "auto" else format
    if found not in get_args(Format):
        known = ", ".join(get_args(Format))
        raise DataError(f"'{name}' has no known format; name one of {known}, or use an ending such as .csv or .parquet")
    if gzipped and found in {"parquet", "hdf5"}:
        raise DataError(f"'{name}': {found} is compressed by itself; drop .gz")
    return cast("Format", found), gzipped


def read_table(
    path: str | Path | Location,
    *,
    format: str = "auto",
    columns: Mapping[str, AnyColumn] | None = None,
) -> pd.DataFrame:
    """Return the table of a file, or of a directory of parts in order of their names.

    Args:
        path: A local path, an address (``io.location``), or a table or query of a database (``io.sql``).
        format: ``csv``, ``parquet``, ``json``, ``jsonl`` or ``hdf5``; ``auto`` goes by the ending.
        columns: The schema's columns, whose dtypes the table then has.

    Raises:
        DataError: for what cannot be read as a table, saying why and what to do.
    """
    return _together(_sources(path, format), columns)


def _sources(path: str | Path | Location, format: str = "auto") -> Sequence[Source]:
    """Return where the rows of a table are: a relation of a database, or files."""
    found = _relation(path, format)
    return _parts(locate(path), format) if found is None else [found]


def _relation(path: str | Path | Location, format: str) -> Relation | None:
    found = None if isinstance(path, Location) else relation(path)
    if found is not None and format != "auto":
        raise DataError(f"'{found.text}' is in a database and has no file format; leave the format out")
    return found


def column_names(path: str | Path) -> tuple[str, ...]:
    """Return the names of the columns of a table, as its first rows have them; none of several tables.

    Raises:
        DataError: for what cannot be read as a table.
    """
    if relation(path) is None and (place := locate(path)).is_directory and place.child(SCHEMA_FILE).exists:
        return ()
    first = _sources(path)[0]
    if isinstance(first, Part) and first.format == "csv":  # as text: no type is read off the rows
        frame = next(iter(csv_texts(first.place, gzipped=first.gzipped)[1]), None)
    else:
        frame = next(_frames(first, None, 1), None)
    return () if frame is None else tuple(str(name) for name in frame.columns)


def read_typed(path: str | Path) -> pd.DataFrame:
    """Return the table of files that say themselves what type a column has, whatever their rows hold.

    Integers and truth values have dtypes that hold nulls, so that no dtype tells whether there is one.

    Raises:
        DataError: as of ``require_types``, and for what cannot be read as a table.
    """
    require_types(path)
    sources = _sources(path)
    return _joined([_typed(source) for source in sources if isinstance(source, Part)], sources[0].text)


def require_types(path: str | Path) -> None:
    """Refuse, before a row is read, a table whose types are read off its rows: one may change them.

    Raises:
        DataError: for any format but Parquet and HDF5, and for a database.
    """
    for source in _sources(path):
        kind = "a database" if isinstance(source, Relation) else source.format.upper()
        if not isinstance(source, Part) or source.format not in {"parquet", "hdf5"}:
            raise DataError(
                f"the types of '{source.text}' ({kind}) are read off its rows, which differential privacy does not "
                "allow: one row more may change them, and they are released; declare the columns in a schema, or give "
                "Parquet or HDF5 with the types of the table's definition"
            )


def _typed(part: Part) -> pd.DataFrame:
    if part.format == "parquet":
        return read_parquet(part.place, nullable=True)
    table = read_hdf5(part.place)
    return table.assign(
        **{
            str(name): cast_to(values, made)
            for name, values in table.items()
            if (made := holding_nulls(str(values.dtype))) != str(values.dtype)
        }
    )


def _together(
    sources: Sequence[Source], columns: Mapping[str, AnyColumn] | None, unit: Collection[str] | None = None
) -> pd.DataFrame:
    """Return the table whose rows are in these places.

    Args:
        unit: The columns of the privacy unit, if rows are read cell by cell.
    """
    place = sources[0].text
    told: dict[str, _Told] = {}
    return _joined(
        [part for source in sources for part in _wholes(source, columns, unit, told)],
        place if len(sources) == 1 else place.rpartition("/")[0],
    )


def _wholes(
    source: Source,
    columns: Mapping[str, AnyColumn] | None,
    unit: Collection[str] | None,
    told: dict[str, _Told],
) -> list[pd.DataFrame]:
    """Return the table of a file, or the chunks of a relation.

    Args:
        told: As of ``_hold``.
    """
    if columns is not None and unit is not None:
        return list(_cells(source, columns, unit, _BATCH_ROWS))
    if isinstance(source, Part):
        table = _read(source, columns)
        if columns is None:
            return [table]
        return [conform(_hold(table, columns, told, source), columns, place=source.text)]
    chunks = source.batches(_BATCH_ROWS)
    return [chunk if columns is None else conform(chunk, columns, place=source.text) for chunk in chunks]


def _parts(place: Location, format: str) -> list[Part]:
    """Return the files of a table with their formats."""
    if not place.exists:
        raise DataError(f"'{place.text}' does not exist; check the path")
    if not place.is_directory:
        return [Part(place, *format_of(place.name, format))]
    parts = []
    for child in place.children():
        try:
            parts.append(Part(child, *format_of(child.name, format)))
        except DataError:
            continue  # a README beside the parts
    if not parts:
        raise DataError(f"directory '{place.text}' has no file of a known format; name the format")
    formats = {part.format for part in parts}
    if len(formats) > 1:
        raise DataError(f"directory '{place.text}' mixes {', '.join(sorted(formats))}; keep one format per directory")
    return parts


def _read(part: Part, columns: Mapping[str, AnyColumn] | None = None) -> pd.DataFrame:
    """Return the table of a file as it stands there: the columns of a schema say only which of CSV are text."""
    place, gzipped = part.place, part.gzipped
    match part.format:
        case "csv":
            return Csv.examine(place, gzipped=gzipped, text=text_columns(columns), used=columns).read()
        case "parquet":
            return read_parquet(place)
        case "json":
            return read_json(place, gzipped=gzipped)
        case "jsonl":
            return read_json_lines(place, gzipped=gzipped)
        case "hdf5":
            return read_hdf5(place)


def text_columns(columns: Mapping[str, AnyColumn] | None) -> Collection[str]:
    """Return the columns of a schema that a CSV file must not turn into numbers."""
    return {
        name
        for name, column in (columns or {}).items()
        if (
            isinstance(column, Text | Key)
            or (isinstance(column, Categorical) and all(isinstance(c, str) for c in column.categories))
        )
        and not column.dtype.lower().startswith(("int", "uint", "float"))
    }


def _joined(parts: list[pd.DataFrame], place: str) -> pd.DataFrame:
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    for number, part in enumerate(parts[1:], start=2):
        if list(part.columns) != list(first.columns):
            raise DataError(f"part {number} of '{place}' has other columns than part 1; give all parts the same")
    columns: dict[str, Any] = {}
    for name in first.columns:
        held = [part[name] for part in parts if len(part) and not part[name].isna().all()] or [first[name]]
        dtypes = {str(values.dtype) for values in held}
        pieces = [part[name] for part in parts]
        if dtypes == {"category"}:
            columns[name] = _united(pieces, name, place)
            continue
        target = held[0].dtype if len(dtypes) == 1 else _widened(dtypes)
        if target is None:
            raise DataError(
                f"column '{name}' of '{place}' is {' and '.join(sorted(dtypes))} in different parts; give it one dtype"
            )
        columns[name] = pd.concat([cast_to(piece, _null_safe(target, piece)) for piece in pieces], ignore_index=True)
    return pd.DataFrame(columns, columns=list(first.columns))


def _united(pieces: list[pd.Series[Any]], name: str, place: str) -> pd.Series[Any]:
    """Return a column whose categories are those of all parts."""
    held = [piece for piece in pieces if isinstance(piece.dtype, pd.CategoricalDtype)]
    if all(piece.dtype == held[0].dtype for piece in held):
        dtype: Any = held[0].dtype
    elif any(piece.cat.ordered for piece in held):
        raise DataError(f"column '{name}' of '{place}' has other ordered categories in other parts; give it one order")
    else:
        dtype = pd.CategoricalDtype(list(dict.fromkeys(c for piece in held for c in piece.cat.categories)))
    return pd.concat([cast_to(piece, dtype) for piece in pieces], ignore_index=True)


def _widened(dtypes: set[str]) -> str | None:
    """Return the dtype that holds the nulls of one part and the values of the others, ``None`` if there is none."""
    if dtypes == {"bool", "boolean"}:
        return "boolean"
    return min(dtypes) if len({dtype.lower() for dtype in dtypes}) == 1 else None  # capitals come first: Int64


def _null_safe(dtype: Any, values: pd.Series[Any]) -> Any:  # noqa: ANN401 - dtypes known at run time only
    """Return the dtype with room for the nulls of a part."""
    if not values.isna().any():
        return dtype
    made = holding_nulls(str(dtype))
    return dtype if made == str(dtype) else made


def _hold(
    table: pd.DataFrame, columns: Mapping[str, AnyColumn], told: dict[str, _Told], source: Source
) -> pd.DataFrame:
    """Return the rows of a file, or some of them, whose types are those of the files before.

    A schema casts a file of one type.  Of several it would make one silently: what is 7 in a file of numbers may be 007
    in one of texts.

    Args:
        told: What columns are in the first file that has values of them; added to.

    Raises:
        DataError: naming a column that is of text in one file and of something else in another.
    """
    if isinstance(source, Relation) or source.format not in {"parquet", "hdf5"}:  # which say types themselves
        return table
    for name in columns:
        kind = _told(table[name]) if name in table.columns else None
        if kind is None:
            continue
        first = told.setdefault(name, (kind, str(table[name].dtype), source.text))
        if kind != first[0] and ("text" in (kind, first[0]) or _is_textual(columns[name])):
            raise DataError(
                f"column '{name}' is {first[0]} ({first[1]}) in '{first[2]}' and {kind} ({table[name].dtype}) in "
                f"'{source.text}', and '{columns[name].dtype}' in the schema; write it as one type in all files"
            )
    return table


def _told(values: pd.Series[Any]) -> str | None:
    """Return what a column of a file holds, ``None`` if it has no value."""
    from decimal import Decimal

    present = np.flatnonzero(values.notna().to_numpy(dtype=bool))
    if not len(present):
        return None
    value: Any = values.iloc[present[0]]
    match value:
        case str():
            return "text"
        case bool() | np.bool_():
            return "truth values"
        case int() | float() | np.integer() | np.floating() | Decimal():
            return "numbers"
        case _:
            return type(value).__name__


def _is_textual(column: AnyColumn) -> bool:
    """Return whether a cast to a column's dtype spells out what is no text."""
    dtype = column.dtype
    return dtype.startswith("string") or (dtype in {"object", "str", "category"} and not _is_typed(column))


def conform(table: pd.DataFrame, columns: Mapping[str, AnyColumn], *, place: str) -> pd.DataFrame:
    """Return the schema's columns of a table, in its order and dtypes.

    Raises:
        DataError: naming the column that is missing, or that cannot have its dtype.
    """
    made: dict[str, Any] = {}
    for name, column in columns.items():
        if name not in table.columns:
            raise DataError(f"'{place}' has no column '{name}', which the schema declares; check names and schema")
        made[name] = _cast(table[name], column, name, place)
    return pd.DataFrame(made, columns=list(columns), index=table.index)


def _cast(values: pd.Series[Any], column: AnyColumn, name: str, place: str) -> pd.Series[Any]:
    is_made_of_objects = column.dtype in {"date", "decimal"} or (column.dtype == "object" and _is_typed(column))
    is_kept = column.dtype != "string" or str(values.dtype) == "string"  # objects count as one with it, and are not it
    if same_dtype(values, column.dtype) and is_kept and not is_made_of_objects:
        return values
    try:
        with warnings.catch_warnings():
            # Of a text's time zone that it does not know pandas warns, quotes the text, and takes it without.
            warnings.filterwarnings("error", message="Parsed string", category=FutureWarning)
            if is_made_of_objects:
                return _objects(values, column)
            if column.dtype == "category" and isinstance(column, Categorical):
                dtype = pd.CategoricalDtype(list(column.categories), ordered=column.ordered)
                return _categories(values, dtype)
            if column.dtype in {"object", "str"}:
                return cast_to(cast_to(values, "string"), object) if values.dtype != object else values
            if values.dtype == object and column.dtype.startswith("bool"):
                values = cast_to(values, "boolean")
            cast_values = _numbers(values, column.dtype)
    except (ValueError, TypeError, OverflowError, NotImplementedError, SchemaError, FutureWarning):
        raise DataError(
            f"column '{name}' of '{place}' has dtype {values.dtype} and cannot become {column.dtype}, as the schema "
            "declares; mend the rows, or change the schema"
        ) from None
    return cast_values


def _numbers(values: pd.Series[Any], dtype: str) -> pd.Series[Any]:
    """Return values with another dtype, of which numpy's would drop fractions and wrap round.

    Fewer digits of floats are what was asked for.
    """
    with np.errstate(over="ignore"):  # told as an error
        made = cast_to(values, dtype)
    if values.dtype.kind not in "biuf" or not isinstance(made.dtype, np.dtype) or made.dtype.kind not in "biuf":
        return made
    is_changed = np.isinf(made) & ~np.isinf(values) if made.dtype.kind == "f" else made != values
    if bool(is_changed.any()):
        raise ValueError("some rows hold numbers that the dtype does not")
    return made


def _categories(values: pd.Series[Any], dtype: pd.CategoricalDtype) -> pd.Series[Any]:
    made = cast_to(values, dtype)
    if int(made.isna().sum()) > int(values.isna().sum()):
        raise ValueError("some rows are outside the categories")
    return made


def _is_typed(column: AnyColumn) -> bool:
    """Return whether the objects of a column are truth values or numbers, and not text."""
    if isinstance(column, Categorical):
        return len(column.categories) > 0 and not any(isinstance(category, str) for category in column.categories)
    return isinstance(column, Boolean | Numeric)


def _objects(values: pd.Series[Any], column: AnyColumn) -> pd.Series[Any]:
    import datetime
    from decimal import Decimal

    def make(value: Any) -> Any:  # noqa: ANN401
        if column.dtype == "decimal":
            return value if isinstance(value, Decimal) else Decimal(str(value))
        if column.dtype == "date":
            if isinstance(value, datetime.datetime):
                return value.date()
            return value if isinstance(value, datetime.date) else datetime.date.fromisoformat(str(value))
        if isinstance(column, Boolean) and value not in (True, False):
            raise ValueError("some rows are neither true nor false")
        if isinstance(column, Boolean):
            return bool(value)
        if isinstance(column, Numeric) and isinstance(value, str):  # whole numbers beyond 64 bits are text in CSV
            return int(value) if column.places == 0 else float(value)
        return value.item() if isinstance(value, np.generic) else value

    try:
        return pd.Series(
            [None if null else make(v) for v, null in zip(values, values.isna(), strict=True)],
            dtype=object,
            index=values.index,
            name=values.name,
        )
    except ArithmeticError:
        raise ValueError from None


def write_table(table: pd.DataFrame, path: str | Path, *, format: str = "auto") -> None:
    """Write a table to a file, whole or not at all; the index is left out.

    Raises:
        DataError: naming the column whose values would not come back as they are.
    """
    with table_writer(path, format=format) as write:
        write(table)


@contextmanager
def table_writer(path: str | Path | Location, *, format: str = "auto") -> Iterator[Callable[[pd.DataFrame], None]]:
    """Yield a function that appends frames to a file in constant memory; it appears on success only.

    All frames have the columns and dtypes of the first.  To a table of a database the rows are appended.
    """
    found = _relation(path, format)
    if found is not None:
        with found.writer() as write:
            yield write
        return
    place = locate(path)
    part = Part(place, *format_of(place.name, format))
    try:
        with writing(place) as path_of_part, _writer(part, path_of_part) as write:
            yield write
    except SchemaError as error:
        raise DataError(f"'{place.text}' was not written: {error}") from None


def _writer(part: Part, path: Path) -> Any:  # noqa: ANN401 - one of four context managers
    place, gzipped = part.place.text, part.gzipped
    match part.format:
        case "csv":
            return csv_writer(path, place=place, gzipped=gzipped)
        case "parquet":
            return parquet_writer(path, place=place)
        case "json" | "jsonl":
            return json_writer(path, place=place, gzipped=gzipped, lines=part.format == "jsonl")
        case "hdf5":
            return hdf5_writer(path, place=place)


@dataclass(frozen=True)
class LazyDataset(Dataset):
    """A dataset of one table whose rows stay on disk; ``tables`` holds its first rows only.

    Attributes:
        parts: The files, or the relation of a database.
        by_cell: Whether they are read cell by cell.
    """

    parts: tuple[Source, ...] = ()
    by_cell: bool = False

    @property
    def is_lazy(self) -> bool:
        """True: the rows stay on disk."""
        return True

    @property
    def table(self) -> pd.DataFrame:
        """Refused, since ``tables`` holds the first rows only.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "this table stays on disk, because it needs more memory than is allowed, and what was asked for takes all "
            "rows at once: read them by `batches`, use a generator that does (tabular.trees), give fewer rows, or "
            "raise max_bytes of read_dataset"
        )

    def batches(self, table: str = TABLE, rows: int = 131_072) -> Iterator[pd.DataFrame]:
        """Yield consecutive parts of at most ``rows`` rows, with the schema's columns and dtypes.

        Raises:
            DataError: naming a column that is of numbers in one file and of text in another.
        """
        columns = self.schema.tables[table]
        told: dict[str, _Told] = {}
        for part in self.parts:
            if self.by_cell:
                frames = _cells(part, columns, together(self.schema), rows)
            else:
                frames = (
                    conform(_hold(frame, columns, told, part), columns, place=part.text)
                    for frame in _frames(part, columns, rows)
                )
            for made in frames:
                for start in range(0, len(made), rows):
                    yield made.iloc[start : start + rows].reset_index(drop=True)

    def num_rows(self, table: str = TABLE) -> int:
        """Return the number of rows: from metadata, as a database counts, or by one pass over text files."""
        if self.by_cell:  # rows that are left out do not count
            return sum(map(len, self.batches(table)))
        return sum(_num_rows(part) for part in self.parts)


def _frames(part: Source, columns: Mapping[str, AnyColumn] | None, rows: int) -> Iterator[pd.DataFrame]:
    if isinstance(part, Relation):
        yield from part.batches(rows)
        return
    place, gzipped = part.place, part.gzipped
    match part.format:
        case "parquet":
            yield from parquet_batches(place, rows=rows)
        case "csv":
            yield from Csv.examine(place, gzipped=gzipped, text=text_columns(columns), used=columns).batches()
        case "jsonl":
            yield from json_lines_batches(place, gzipped=gzipped, rows=rows)
        case "json" | "hdf5":
            yield _read(part)


def _cells(part: Source, columns: Mapping[str, AnyColumn], unit: Collection[str], rows: int) -> Iterator[pd.DataFrame]:
    """Yield parts with declared columns, read cell by cell; one without rows, if there are none."""
    decimal_comma = False
    frames: Iterable[pd.DataFrame]
    if isinstance(part, Relation):
        frames = part.cells(rows)
    elif part.format == "csv":
        delimiter, frames = csv_texts(part.place, gzipped=part.gzipped)
        decimal_comma = delimiter == ";"
    elif part.format == "parquet":
        frames = parquet_batches(part.place, rows=rows, nullable=True)
    elif part.format == "hdf5":
        frames = [read_hdf5(part.place)]
    else:
        is_lines = part.format == "jsonl"
        frames = json_cells(part.place, gzipped=part.gzipped, lines=is_lines, names=columns, rows=rows)
    is_empty = True
    for frame in frames:
        is_empty = False
        yield conform_cells(frame, columns, place=part.text, unit=unit, decimal_comma=decimal_comma)
    if is_empty:
        nothing = pd.DataFrame({name: pd.Series([], dtype=object) for name in columns})
        yield conform_cells(nothing, columns, place=part.text)


def _num_rows(part: Source) -> int:
    if isinstance(part, Relation):
        return part.num_rows()
    place, gzipped = part.place, part.gzipped
    match part.format:
        case "parquet":
            return parquet_num_rows(place)
        case "csv":
            return Csv.examine(place, gzipped=gzipped, used=()).rows
        case "jsonl":
            return count_lines(place, gzipped=gzipped)
        case "json" | "hdf5":
            return len(_read(part))


def is_large(path: str | Path) -> bool:
    """Return whether a table needs more memory than ``MAX_BYTES``: ``read_dataset`` leaves it on disk.

    Raises:
        DataError: for what is no table.
    """
    return sum(_num_bytes(part) for part in _sources(path)) > MAX_BYTES


def read_dataset(
    path: str | Path,
    *,
    schema: Schema | None = None,
    max_bytes: int = MAX_BYTES,
    ledger: PrivacyLedger | None = None,
    by_cell: bool = False,
) -> Dataset:
    """Return the dataset of a file, a directory of parts, or a dataset directory.

    Without a schema, neither given nor in the directory, one is profiled: on rows from all of the table, if it stays on
    disk.

    Args:
        max_bytes: A single table that needs more memory than this stays on disk: the dataset reads it in batches.
        ledger: Charged for the profile, before a row is read; ``None`` charges the budget file, if one is named.
        by_cell: Whether each value is made what the schema declares by itself (``io.cells``), so that no row decides
            how another is read and none ends the reading: for what is private.  Only with a schema.

    Raises:
        BudgetExceededError: for a profile under a finite budget, as it is exact; nothing was read.
        DataError: for what cannot be read as a table.
        SchemaError: for a schema that cannot be read.
    """
    found = relation(path)
    sources: Sequence[Source] = [] if found is None else [found]
    if found is None:
        place = locate(path)
        if place.is_directory and place.child(SCHEMA_FILE).exists:
            schema = _read_schema(place.child(SCHEMA_FILE)) if schema is None else schema
            places = {name: place.child(f"{name}.parquet") for name in schema.tables}
            if len(places) > 1:
                units = {name: together(schema) if name == schema.root else () for name in places}
                tables = {
                    name: _together(_sources(at), schema.tables[name], units[name] if by_cell else None)
                    for name, at in places.items()
                }
                return Dataset(tables, schema)
            place = next(iter(places.values()))
        sources = _parts(place, "auto")
    if schema is None:
        opened(ledger).spend("profile", not_private)
    if sum(_num_bytes(source) for source in sources) > max_bytes:
        return _lazy(tuple(sources), schema, by_cell=by_cell)
    unit = together(schema) if by_cell else None
    table = _together(sources, None if schema is None else schema.columns, unit)
    if schema is None:
        schema = profile(table, config=ProfileConfig(describe=False), ledger=Ledger(account=SETTLED)).schema
    return Dataset({schema.root: table}, schema)


def _lazy(parts: tuple[Source, ...], schema: Schema | None, *, by_cell: bool) -> LazyDataset:
    place = parts[0].text
    if by_cell and schema is not None:
        first = next(_cells(parts[0], schema.columns, together(schema), _BATCH_ROWS))
        return LazyDataset({schema.root: first}, schema, parts, by_cell=True)
    head = next(_frames(parts[0], None if schema is None else schema.columns, _BATCH_ROWS), None)
    if head is None:
        raise DataError(f"'{place}' has no rows; give at least one")
    if schema is None:
        schema = _profiled(head, _spread(parts))
    return LazyDataset({schema.root: conform(head, schema.columns, place=place)}, schema, parts)


def _profiled(head: pd.DataFrame, spread: pd.DataFrame) -> Schema:
    """Return the schema of rows from everywhere; keys of the first rows, which count upwards only there, stay keys."""
    config = ProfileConfig(describe=False)
    schema = profile(spread, config=config, ledger=Ledger(account=SETTLED)).schema  # charged as one read
    columns = dict(schema.columns)
    for name, column in profile(head, config=config, ledger=Ledger(account=SETTLED)).schema.columns.items():
        if isinstance(column, Key) and isinstance(columns[name], Numeric) and spread[name].dropna().is_unique:
            columns[name] = replace(column, dtype=columns[name].dtype, nullable=columns[name].nullable)
    key = next((name for name, column in columns.items() if isinstance(column, Key) and not column.nullable), None)
    return replace(schema, tables={schema.root: columns}, keys={} if key is None else {schema.root: (key,)})


def _spread(parts: tuple[Source, ...]) -> pd.DataFrame:
    """Return at most ``SPREAD_ROWS`` rows drawn evenly from all files, and whatever rows show other types or nulls.

    The files are read once, in batches.  The rows drawn are the same whenever they are read.

    Raises:
        DataError: if the types of the batches do not agree.
    """
    rng = np.random.default_rng(0)
    share, seen = 1.0, set()
    kept: list[tuple[NDArray[np.float64], pd.DataFrame]] = []
    for part in parts:
        for frame in _frames(part, None, _BATCH_ROWS):
            rank = rng.random(len(frame))
            for name in frame.columns:
                null = frame[name].isna().to_numpy(dtype=bool)
                for rows in (np.flatnonzero(null)[:1], np.flatnonzero(~null)[:1]):
                    fact = (name, str(frame[name].dtype), bool(null[rows].any()))
                    if len(rows) and fact not in seen:
                        seen.add(fact)
                        rank[rows] = -1.0  # never dropped
            kept.append((rank[rank < share], frame[rank < share]))
            while sum(int((rank >= 0).sum()) for rank, _ in kept) > SPREAD_ROWS:
                share /= 2
                kept = [(rank[rank < share], frame[rank < share]) for rank, frame in kept]
    place = parts[0].text
    try:
        return _joined([frame for _, frame in kept if len(frame)], place)
    except DataError as error:
        raise DataError(
            f"{error}; '{place}' is too large to be read at once: declare its columns in a schema"
        ) from None


def _num_bytes(part: Source) -> int:
    """Return about how much memory the table of a file or a relation needs."""
    if isinstance(part, Relation):
        return part.num_bytes
    if part.format == "parquet":
        return parquet_num_bytes(part.place) * _GROWTH[part.format]
    return part.place.num_bytes * _GROWTH[part.format] * (5 if part.gzipped else 1)


def _read_schema(place: Location) -> Schema:
    with place.filesystem.open_input_stream(place.path) as stream:
        raw = bytes(stream.read())
    try:
        value = json.loads(raw.decode("utf-8"))
    except ValueError:
        raise SchemaError(f"'{place.text}' is not valid JSON; write the dataset again") from None
    return Schema.from_json(value)


def write_dataset(dataset: Dataset, directory: str | Path) -> None:
    """Write ``<table>.parquet`` per table, streaming, and last ``schema.json``, which makes it a dataset."""
    place = locate(directory)
    for name in dataset.schema.tables:
        with table_writer(place.child(f"{name}.parquet")) as write:
            empty = True
            for batch in dataset.batches(name):
                write(batch)
                empty = False
            if empty:
                write(dataset.tables[name])
    with writing(place.child(SCHEMA_FILE)) as part:
        part.write_text(dataset.schema.canonical(), encoding="utf-8")
