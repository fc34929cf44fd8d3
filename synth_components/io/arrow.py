"""DataFrames as arrow tables and back, with their dtypes; parquet files of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from synth_components.column_type import kind_of
from synth_components.encode import cast_to
from synth_components.errors import DataError, SchemaError
from synth_components.io.location import Location, failures
from synth_components.schema import dtype_name, dtype_of, is_unicode

_METADATA = b"synth_components"
_NESTED = ("list", "struct", "map", "union", "large_list", "fixed_size_list")


def require_names(names: list[Any], *, place: str) -> None:
    """Return if the column names are distinct, non-empty text.

    Raises:
        DataError: naming the position or the name, and what to do.
    """
    for position, name in enumerate(names, start=1):
        if not isinstance(name, str):
            raise DataError(
                f"column {position} of '{place}' has a name of type {type(name).__name__}; names are text: "
                "table.columns = table.columns.astype(str)"
            )
        if not name.strip():
            raise DataError(f"column {position} of '{place}' has no name; name it, or delete it")
        if not is_unicode(name):
            raise DataError(f"column {position} of '{place}' has half a surrogate pair in its name; rename it")
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise DataError(f"'{place}' has several columns named '{repeated[0]}'; rename all but one")


def to_arrow(table: pd.DataFrame, *, place: str) -> Any:  # noqa: ANN401 - pyarrow has no stubs
    """Return an arrow table with the dtypes in its metadata; the index is left out.

    Raises:
        DataError: for names or values that would not come back as they are.
    """
    import pyarrow as pa

    require_names(list(table.columns), place=place)
    arrays = []
    for name in table.columns:
        values = table[name]
        try:
            kind = kind_of(values)
        except SchemaError as error:
            raise DataError(str(error)) from None
        try:
            if kind == "empty" and values.dtype == object:
                arrays.append(pa.nulls(len(values), pa.string()))
            elif kind == "integer" and values.dtype == object:
                arrays.append(_integers(values))
            elif kind == "decimal":
                arrays.append(_decimals(values))
            elif isinstance(values.dtype, pd.DatetimeTZDtype):
                arrays.append(_zoned(values))
            else:
                arrays.append(pa.Array.from_pandas(values))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
            raise DataError(
                f"column '{name}' holds values that have no arrow type ({values.dtype}, {kind}); cast it to text or "
                "to one numeric type"
            ) from None
    made = pa.table(arrays, names=list(table.columns))
    dtypes = {name: dtype_name(table[name].dtype) for name in table.columns}
    # Parquet keeps dictionaries of text only; other categories and their order are written down beside the dtypes.
    categories = {
        name: {"values": dtype.categories.tolist(), "ordered": bool(dtype.ordered)}
        for name in table.columns
        if isinstance(dtype := table[name].dtype, pd.CategoricalDtype)
        and all(isinstance(category, int | float) for category in dtype.categories)
    }
    described = json.dumps({"dtypes": dtypes, "categories": categories})
    return made.replace_schema_metadata({_METADATA: described.encode()})


def _zoned(values: pd.Series[Any]) -> Any:  # noqa: ANN401
    """Return zoned times through UTC: arrow's own conversion warns under pandas 3.1."""
    import pyarrow as pa

    naive = pa.Array.from_pandas(values.dt.tz_convert(None))
    return naive.view(pa.timestamp(naive.type.unit, tz=pa.lib.tzinfo_to_string(values.dt.tz)))


def _integers(values: pd.Series[Any]) -> Any:  # noqa: ANN401
    import pyarrow as pa

    beyond = any(value >= 2**63 for value in values.dropna())
    return pa.array(values.where(values.notna(), None), type=pa.uint64() if beyond else pa.int64(), from_pandas=True)


def _decimals(values: pd.Series[Any]) -> Any:  # noqa: ANN401
    import pyarrow as pa

    scale = max((max(0, -int(value.as_tuple().exponent)) for value in values.dropna()), default=0)
    return pa.array(values.where(values.notna(), None), type=pa.decimal128(38, scale), from_pandas=True)


def from_arrow(table: Any, *, place: str, nullable: bool = False) -> pd.DataFrame:  # noqa: ANN401
    """Return a DataFrame; integers with nulls are ``Int64``, whoever wrote them.

    Args:
        nullable: Whether integers and truth values have dtypes that hold nulls even where there are none, so that no
            dtype tells whether there are.

    Raises:
        DataError: for nested columns.
    """
    import pyarrow as pa

    require_names(list(table.column_names), place=place)
    metadata = table.schema.metadata or {}
    try:
        described = json.loads(metadata[_METADATA]) if _METADATA in metadata else {"dtypes": {}}
        dtypes: Mapping[str, str] = described["dtypes"]
        categories: Mapping[str, Any] = described.get("categories", {})
    except (ValueError, KeyError, TypeError):
        raise DataError(f"'{place}' has damaged metadata; write it again") from None
    if not dtypes and b"pandas" in metadata:
        dtypes = _pandas_dtypes(metadata[b"pandas"])
    columns: dict[str, Any] = {}
    for field in table.schema:
        if any(str(field.type).startswith(nested) for nested in _NESTED):
            raise DataError(
                f"column '{field.name}' of '{place}' is nested ({field.type.id and str(field.type).split('<')[0]}); "
                "flatten it to one value per row"
            )
        column = table.column(field.name)
        wanted = dtypes.get(field.name)
        if nullable and wanted in {None, "object", "bool"} and pa.types.is_boolean(field.type):
            wanted = "boolean"
        elif nullable and pa.types.is_integer(field.type) and (wanted is None or wanted.startswith(("int", "uint"))):
            wanted = _with_nulls(field.type) if wanted is None else holding_nulls(wanted)
        if wanted is not None and column.null_count:  # as a later part may hold, whatever the first was
            wanted = holding_nulls(wanted)
        if pa.types.is_dictionary(field.type):
            columns[field.name] = _categorical(column, ordered=field.type.ordered)
        elif field.name in categories:
            declared = categories[field.name]
            dtype = pd.CategoricalDtype(declared["values"], ordered=declared["ordered"])
            columns[field.name] = pd.Series(pd.Categorical(column.to_pylist(), dtype=dtype))
        elif wanted == "object" and column.null_count == len(column):
            columns[field.name] = pd.Series([None] * len(column), dtype=object)
        elif wanted == "object" and not pa.types.is_string(field.type) and not pa.types.is_large_string(field.type):
            columns[field.name] = pd.Series(column.to_pylist(), dtype=object)
        elif wanted is None or wanted in {"object", "str"}:
            columns[field.name] = _plain(column)
        else:
            columns[field.name] = _typed(column, wanted)
    return pd.DataFrame(columns, columns=list(table.column_names), index=pd.RangeIndex(table.num_rows))


def _pandas_dtypes(metadata: bytes) -> dict[str, str]:
    """Return the extension dtypes that pandas wrote down; numpy's own follow from the arrow types."""
    try:
        columns = json.loads(metadata)["columns"]
    except (ValueError, KeyError, TypeError):
        return {}
    extension = {"Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64"}
    found = {str(entry.get("name")): str(entry.get("numpy_type")) for entry in columns}
    return {
        name: dtype
        for name, dtype in found.items()
        if dtype in extension or dtype in {"boolean", "string"} or dtype.endswith("[pyarrow]")
    }


def _categorical(column: Any, *, ordered: bool) -> pd.Series[Any]:  # noqa: ANN401
    """Return a categorical whose categories keep their type: arrow's own conversion makes integers floats."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], column.type)
    codes = pc.fill_null(pc.cast(whole.indices, pa.int64()), -1).to_numpy(zero_copy_only=False)
    return pd.Series(pd.Categorical.from_codes(codes, categories=whole.dictionary.to_pandas(), ordered=ordered))


def _plain(column: Any) -> pd.Series[Any]:  # noqa: ANN401
    import pyarrow as pa

    if pa.types.is_integer(column.type) and column.null_count:
        return _typed(column, _with_nulls(column.type))
    made: pd.Series[Any] = column.to_pandas()
    return made


def _with_nulls(kind: Any) -> str:  # noqa: ANN401
    """Return the dtype that holds the integers of an arrow type, and nulls."""
    return holding_nulls(str(kind))


def holding_nulls(dtype: str) -> str:
    """Return the dtype that holds what one of numpy does, and nulls: ``Int64`` for ``int64``."""
    if dtype == "bool":
        return "boolean"
    is_plain = dtype.startswith(("int", "uint")) and "[" not in dtype
    return dtype.replace("uint", "UInt").replace("int", "Int") if is_plain else dtype


def _typed(column: Any, dtype: str) -> pd.Series[Any]:  # noqa: ANN401
    if dtype.endswith("[pyarrow]"):
        return pd.Series(pd.arrays.ArrowExtensionArray(column))
    extension: Any = dtype_of("object" if dtype == "category" else dtype)
    if hasattr(extension, "__from_arrow__") and dtype != "category":
        return pd.Series(extension.__from_arrow__(column))
    made: pd.Series[Any] = column.to_pandas()
    if str(made.dtype) == dtype:
        return made
    return cast_to(made, dtype)


def read_parquet(place: Location, *, nullable: bool = False) -> pd.DataFrame:
    """Return the table of a parquet file.

    Args:
        nullable: As of ``from_arrow``.
    """
    with _reading(place) as file:
        table = file.read()
    return from_arrow(table, place=place.text, nullable=nullable)


def parquet_num_rows(place: Location) -> int:
    """Return the number of rows from the file's metadata."""
    with _reading(place) as file:
        return int(file.metadata.num_rows)


def parquet_num_bytes(place: Location) -> int:
    """Return the uncompressed size from the file's metadata."""
    with _reading(place) as file:
        metadata = file.metadata
    return sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))


def parquet_batches(place: Location, *, rows: int, nullable: bool = False) -> Iterator[pd.DataFrame]:
    """Yield parts of at most ``rows`` rows.

    Args:
        nullable: As of ``from_arrow``.
    """
    import pyarrow as pa

    with _reading(place) as file:
        batches = file.iter_batches(batch_size=rows)
        while (batch := next(batches, None)) is not None:
            yield from_arrow(pa.Table.from_batches([batch]), place=place.text, nullable=nullable)


@contextmanager
def _reading(place: Location) -> Iterator[Any]:
    """Yield an open parquet file.

    Raises:
        DataError: if it cannot be opened or read, or is damaged.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(place.path, filesystem=place.filesystem) as file:
            yield file
    except pa.ArrowInvalid:
        raise DataError(f"'{place.text}' is not a whole parquet file; write it again") from None
    except failures() as error:
        raise place.refuse(error) from None
    except ValueError:
        if not place.text.startswith(("http://", "https://")):
            raise
        raise DataError(f"the server of '{place.text}' gives no parts of a file; download the file first") from None


@contextmanager
def parquet_writer(path: Path | BinaryIO, *, place: str) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Yield a function that appends a frame; all frames have the columns and dtypes of the first.

    What objects are each frame tells by itself.  Where a later one shows that nulls were not those of texts, or that
    whole numbers are unsigned, what a file holds so far is written again.
    """
    import pyarrow as pa
    from pyarrow import parquet

    writer: Any = None
    empty: set[str] = set()  # columns of objects that had no value yet

    def rewrite(path: Path, schema: Any) -> None:  # noqa: ANN401 - pyarrow has no stubs
        nonlocal writer
        writer.close()
        aside = path.with_name(f"{path.name}.narrow")
        path.replace(aside)
        try:
            with parquet.ParquetFile(aside) as file:
                writer = parquet.ParquetWriter(path, schema, compression="zstd")
                for group in range(file.num_row_groups):
                    writer.write_table(like(file.read_row_group(group), schema, place))
        finally:
            aside.unlink()

    def write(frame: pd.DataFrame) -> None:
        nonlocal writer, empty
        table = to_arrow(frame, place=place)
        objects = {name for name in frame.columns if frame[name].dtype == object}
        valueless = {name for name in objects if table.column(name).null_count == len(frame)}
        if writer is None:
            writer, empty = parquet.ParquetWriter(path, table.schema, compression="zstd"), valueless
        elif not table.schema.equals(writer.schema, check_metadata=False):
            wider = _wider(writer.schema, table.schema, told=empty - valueless, objects=objects)
            if wider != writer.schema and isinstance(path, Path):
                rewrite(path, wider)
            table = like(table, writer.schema, place)
        empty &= valueless
        writer.write_table(table)

    try:
        yield write
        if writer is None:
            writer = parquet.ParquetWriter(path, pa.schema([]))
    finally:
        if writer is not None:
            writer.close()


def _wider(schema: Any, later: Any, *, told: set[str], objects: set[str]) -> Any:  # noqa: ANN401
    """Return the schema that holds a later part of objects, too.

    Args:
        told: Columns of which the later part is the first with a value.
        objects: Columns of dtype ``object``.
    """
    import pyarrow as pa

    for place, field in enumerate(schema):
        if field.name not in later.names:
            continue  # told by ``like``
        kind = later.field(field.name).type
        is_unsigned = field.name in objects and (field.type, kind) == (pa.int64(), pa.uint64())
        if field.name in told or is_unsigned:
            schema = schema.set(place, field.with_type(kind))
    return schema


def _cast(column: Any, kind: Any) -> Any:  # noqa: ANN401
    """Return an arrow column with another type.

    Raises:
        ArrowInvalid: for what it does not hold, where arrow does not say so, too: numbers as truth values, narrow
            floats, times as dates, and anything that would be spelt out or parsed, as numbers as text.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    had = column.type
    if had != kind and column.null_count == len(column):  # not every type casts to every other
        return pa.nulls(len(column), kind)
    if _family(had) != _family(kind):
        raise pa.ArrowInvalid
    made = column.cast(kind)
    is_truth = types.is_boolean(kind) and (types.is_integer(had) or types.is_floating(had))
    is_narrower = types.is_floating(kind) and types.is_floating(had) and kind.bit_width < had.bit_width
    is_day = types.is_date(kind) and types.is_timestamp(had)
    if is_truth or is_narrower or is_day:
        same = pc.equal(made.cast(had), column)
        same = pc.or_(same, pc.is_nan(column)) if is_narrower else same
        if pc.all(same).as_py() is False:  # null where there is no number
            raise pa.ArrowInvalid
    return made


def _family(kind: Any) -> str:  # noqa: ANN401
    """Return what the values of an arrow type are: no cast from one family to another keeps what a value is."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _family(kind.value_type)
    if types.is_string(kind) or types.is_large_string(kind):
        return "text"
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "numbers"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "times"
    return str(kind).partition("[")[0]


def like(table: Any, schema: Any, place: str) -> Any:  # noqa: ANN401
    """Return an arrow table with the columns and types of ``schema``.

    Raises:
        DataError: naming the column that has another type.
    """
    import pyarrow as pa

    if table.column_names != schema.names:
        raise DataError(f"a later part of '{place}' has other columns than the first; give all parts the same columns")
    columns = []
    for name in schema.names:
        had, kind = table.column(name).type, schema.field(name).type
        try:
            columns.append(_cast(table.column(name), kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise DataError(
                f"column '{name}' of a later part of '{place}' has another type ({had}) than in the first ({kind}), "
                "which does not hold its values; cast it"
            ) from None
    return pa.table(columns, schema=schema)
