"""Tables in HDF5, through h5py: one dataset of values per column, a mask of what is present, the dtype as JSON.

Nothing is pickled.  A file that pandas or PyTables wrote may hold pickles, and is refused.

Layout: attribute ``synth_components`` of the root is JSON ``{"format": "table", "version": 1, "columns": [...]}``, and
column i lies at ``columns/<i>/values`` and ``columns/<i>/present``.
"""

from __future__ import annotations

import datetime
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.column_type import Kind, kind_of
from synth_components.encode import cast_to
from synth_components.errors import DataError
from synth_components.io.arrow import require_names
from synth_components.io.location import Location, reading
from synth_components.schema import dtype_name

_ATTRIBUTE = "synth_components"
_VERSION = 1


def _h5py() -> Any:  # noqa: ANN401 - h5py has no stubs
    try:
        import h5py
    except ModuleNotFoundError:
        raise DataError("HDF5 needs the package h5py: pip install 'synth-components[hdf5]'") from None
    return h5py


@contextmanager
def hdf5_writer(path: Path, *, place: str) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Yield a function that appends a frame; all frames have the columns and dtypes of the first."""
    h5py = _h5py()
    described: list[dict[str, Any]] | None = None
    rows = 0
    with h5py.File(path, "w") as file:

        def write(frame: pd.DataFrame) -> None:
            nonlocal described, rows
            require_names(list(frame.columns), place=place)
            if described is None:
                described = [_described(frame[name]) for name in frame.columns]
            if [entry["name"] for entry in described] != list(frame.columns):
                raise DataError(f"a later part of '{place}' has other columns than the first; give all the same")
            for at, entry in enumerate(described):
                values = frame[entry["name"]]
                now = _described(values)
                if entry["kind"] == "empty":
                    entry.update(now)
                if now["kind"] not in {entry["kind"], "empty"} or now["dtype"] != entry["dtype"]:
                    raise DataError(f"column '{entry['name']}' of a later part of '{place}' has another type; cast it")
                _append(file, at, values, entry, rows)
            rows += len(frame)

        yield write
        file.attrs[_ATTRIBUTE] = json.dumps(
            {"format": "table", "version": _VERSION, "rows": rows, "columns": described or []}
        )


def _described(values: pd.Series[Any]) -> dict[str, Any]:
    kind = kind_of(values)
    entry: dict[str, Any] = {"name": str(values.name), "kind": kind, "dtype": dtype_name(values.dtype)}
    if isinstance(values.dtype, pd.CategoricalDtype):
        entry["categories"] = values.dtype.categories.tolist()
        entry["ordered"] = bool(values.dtype.ordered)
    return entry


def _append(file: Any, at: int, values: pd.Series[Any], entry: dict[str, Any], rows: int) -> None:  # noqa: ANN401
    present = values.notna().to_numpy(dtype=bool)
    held = _stored(values[present], entry)
    text = _h5py().string_dtype("utf-8")
    group = file.require_group(f"columns/{at}")
    if "present" not in group:
        group.create_dataset("present", shape=(0,), maxshape=(None,), dtype=np.uint8, chunks=(16_384,))
    if "values" not in group and entry["kind"] != "empty":
        dtype = text if held.dtype == object else held.dtype
        group.create_dataset("values", shape=(0,), maxshape=(None,), dtype=dtype, chunks=(16_384,), compression="gzip")
    mask = group["present"]
    mask.resize((rows + len(values),))
    mask[rows:] = present.astype(np.uint8)
    if len(held):
        values_at = group["values"]
        start = values_at.shape[0]
        values_at.resize((start + len(held),))
        try:
            values_at[start:] = held
        except ValueError:
            raise DataError(f"column '{entry['name']}' holds text that HDF5 cannot (a NUL); write parquet") from None


def _stored(held: pd.Series[Any], entry: dict[str, Any]) -> NDArray[Any]:
    """Return non-null values as a numpy array of numbers or texts."""
    kind: Kind = entry["kind"]
    match kind:
        case "integer" if str(held.dtype) == "object":
            return np.array([str(value) for value in held], dtype=object)
        case "integer":
            return held.to_numpy(dtype=np.uint64 if str(held.dtype).lower().startswith("uint") else np.int64)
        case "float":
            return held.to_numpy(dtype=np.float64)
        case "boolean":
            return held.to_numpy(dtype=bool).astype(np.uint8)
        case "datetime":
            zoned = getattr(held.dtype, "tz", None) is not None
            plain = held.dt.tz_convert("UTC").dt.tz_localize(None) if zoned else held
            return plain.to_numpy().view(np.int64) if plain.dtype.kind == "M" else _microseconds(plain)
        case "timedelta" if held.dtype.kind == "m" and not str(held.dtype).endswith("[pyarrow]"):
            return held.to_numpy().view(np.int64)
        case "category":
            return held.cat.codes.to_numpy(dtype=np.int64)
        case "text" | "decimal":
            return np.array([str(value) for value in held], dtype=object)
        case "date":
            return np.array([value.isoformat() for value in held], dtype=object)
        case "empty":
            return np.empty(0)
        case _:
            raise DataError(f"column '{entry['name']}' has dtype {entry['dtype']}; HDF5 cannot hold it, write parquet")


def _microseconds(values: pd.Series[Any]) -> NDArray[Any]:
    raise DataError(f"column '{values.name}' has dtype {values.dtype}; cast it to datetime64[us], or write parquet")


def read_hdf5(place: Location) -> pd.DataFrame:
    """Return the table of a file that ``hdf5_writer`` wrote.

    Raises:
        DataError: for damaged files and for files of pandas or PyTables, saying how to convert them.
    """
    if place.is_local:
        return _read(Path(place.path), place.text)
    with tempfile.NamedTemporaryFile(suffix=".h5") as copy, reading(place) as stream:
        while chunk := bytes(stream.read(2**23)):
            copy.write(chunk)
        copy.flush()
        return _read(Path(copy.name), place.text)


def _read(path: Path, place: str) -> pd.DataFrame:
    h5py = _h5py()
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise DataError(f"'{place}' does not exist; check the path") from None
    except OSError:
        raise DataError(f"'{place}' is not a whole HDF5 file; write it again") from None
    with file:
        if _ATTRIBUTE not in file.attrs:
            foreign = "PYTABLES_FORMAT_VERSION" in file.attrs or any("pandas_type" in file[name].attrs for name in file)
            whose = "was written by pandas or PyTables and may hold pickles" if foreign else "is not a table of ours"
            raise DataError(
                f"'{place}' {whose}; convert it where you trust it: pd.read_hdf(path).to_parquet('table.parquet')"
            )
        try:
            described = json.loads(file.attrs[_ATTRIBUTE])
            if int(described["version"]) > _VERSION:
                raise DataError(f"'{place}' has a newer format ({described['version']}); use a newer synth-components")
            columns = {entry["name"]: _restored(file, at, entry) for at, entry in enumerate(described["columns"])}
            return pd.DataFrame(columns, columns=list(columns), index=pd.RangeIndex(int(described["rows"])))
        except (KeyError, ValueError, TypeError, OSError, IndexError) as error:
            raise DataError(f"'{place}' is damaged ({type(error).__name__}); write it again") from None


def _restored(file: Any, at: int, entry: dict[str, Any]) -> pd.Series[Any]:  # noqa: ANN401
    group = file[f"columns/{at}"]
    present = group["present"][:].astype(bool)
    name, kind, dtype = entry["name"], entry["kind"], entry["dtype"]
    whole = pd.Series([None] * len(present), dtype=object, name=name)
    if kind == "empty":
        return whole
    stored = group["values"]
    raw: Any = stored.asstr()[:] if _h5py().check_string_dtype(stored.dtype) is not None else stored[:]
    if kind == "category":
        codes = np.full(len(present), -1, dtype=np.int64)
        codes[present] = raw
        categories = pd.Index(entry["categories"])
        made = pd.Categorical.from_codes(codes, categories=categories, ordered=entry["ordered"])
        return pd.Series(made, name=name)
    if kind in {"datetime", "timedelta"}:
        numbers = np.full(len(present), np.iinfo(np.int64).min)
        numbers[present] = raw
        unit = dtype.split("[")[1].split("]")[0].split(",")[0]
        if kind == "timedelta":
            return pd.Series(numbers.view(f"timedelta64[{unit}]"), name=name)
        stamps = pd.Series(numbers.view(f"datetime64[{unit}]"), name=name)
        return cast_to(stamps.dt.tz_localize("UTC"), dtype) if "," in dtype else stamps
    if kind == "float" and dtype.startswith("float"):
        floats = np.full(len(present), np.nan)
        floats[present] = raw
        return cast_to(pd.Series(floats, name=name), dtype)
    if kind == "integer" and dtype == "object":
        raw = [int(value) for value in raw]
    elif kind == "float":
        raw = raw.tolist()
    elif kind == "boolean":
        raw = [bool(value) for value in raw]
    elif kind == "decimal":
        raw = [Decimal(value) for value in raw]
    elif kind == "date":
        raw = [datetime.date.fromisoformat(value) for value in raw]
    elif present.all() and dtype != "object" and kind != "text":
        return cast_to(pd.Series(raw, name=name), dtype)
    filled = np.empty(len(raw), dtype=object)
    filled[:] = list(raw)
    whole[present] = filled
    return whole if dtype == "object" else cast_to(whole, dtype)
