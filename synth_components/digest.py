"""A fingerprint of rows: equal values in equal order give equal digests, whatever pandas, batch size or platform."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def digest(tables: Mapping[str, Iterable[pd.DataFrame]]) -> str:
    """Return the SHA-256 (hex) of tables, each given as consecutive batches.

    Part of it are table and column names, column order, kind of value (number, text, time ...), nulls and values; not
    part are the index and the width of a dtype.
    """
    total = hashlib.sha256()
    for name in sorted(tables):
        columns: dict[str, Any] = {}
        rows = 0
        for batch in tables[name]:
            rows += len(batch)
            for column in batch.columns:
                _update(columns.setdefault(str(column), hashlib.sha256()), batch[column])
        parts = [[column, state.hexdigest()] for column, state in columns.items()]
        total.update(json.dumps([name, rows, parts], ensure_ascii=False, separators=(",", ":")).encode())
    return total.hexdigest()


def _update(state: Any, values: pd.Series[Any]) -> None:  # noqa: ANN401 - hashlib's type has no public name
    """Feed one column: a fixed number of bytes, or length and text, for each row, in order."""
    missing = values.isna().to_numpy(dtype=bool)
    kind = values.dtype.kind
    if kind in "iub" or isinstance(values.dtype, pd.BooleanDtype):
        numbers: NDArray[Any] = np.zeros(len(values), dtype="<u8" if kind == "u" else "<i8")
        numbers[~missing] = values[~missing].to_numpy().astype(numbers.dtype)
        parts: list[NDArray[Any]] = [numbers]
    elif kind == "f":
        floats = np.zeros(len(values), dtype="<f8")
        floats[~missing] = values[~missing].to_numpy(dtype=np.float64) + 0.0  # minus zero is zero
        parts = [floats]
    elif kind in "mM":
        zoned = getattr(values.dtype, "tz", None) is not None
        stamps = values[~missing].dt.tz_convert("UTC").dt.tz_localize(None) if zoned else values[~missing]
        held = stamps.to_numpy()
        micro = held.astype(f"{kind}8[us]").astype("<i8")
        rest = (held - micro.astype(f"{kind}8[us]")).astype("m8[ns]").astype("<i8")
        whole = np.zeros((len(values), 2), dtype="<i8")
        whole[~missing] = np.column_stack([micro, rest])
        parts = [whole]
    else:
        codes, uniques = pd.factorize(values.astype(object), use_na_sentinel=True)
        encoded = [_text(value) for value in uniques] + [b"n"]
        state.update(b"".join([encoded[code] for code in codes]))
        return
    if len(values):
        held_bytes = [part.reshape(len(values), -1).view("u1") for part in parts]  # (n, 8 or 16)
        state.update(np.column_stack([missing.astype("u1"), *held_bytes]).tobytes())


def _text(value: object) -> bytes:
    body = f"{type(value).__name__}:{value}".encode("utf-8", "surrogatepass")
    return b"v" + len(body).to_bytes(8, "little") + body
