"""What a report judged, so that nobody takes it for evidence on another model or on other rows.

A report names the model by its fingerprint (``Model.fingerprint``) and the rows by a digest of the synthetic table.
Both are the same on every platform; the rows' digest does not tell CSV from Parquet, nor whether a schema was given.

That the rows are the model's is what the caller of the evaluation says: nothing here draws them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from synth_components.digest import digest
from synth_components.protocols import Dataset

Bound: TypeAlias = Literal["passed", "missed", "unproven"]

_SHOWN = 12
_TRUTH = {"True": 1.0, "False": 0.0}
_TIME = r"\d{4}-\d{2}-\d{2}(?:[T ].*)?"


@dataclass(frozen=True)
class Judged:
    """What a report is about; empty where it does not say, as reports of older versions do not.

    Attributes:
        model: Fingerprint of the model that drew the rows, as the caller of the evaluation says.
        rows: Digest of the rows that were judged as synthetic ones.
    """

    model: str = ""
    rows: str = ""

    def __str__(self) -> str:
        """Return it in words, digests cut short."""
        rows = f"rows {self.rows[:_SHOWN]}" if self.rows else "rows that it does not name"
        return f"{rows} of {f'model {self.model[:_SHOWN]}' if self.model else 'a model that it does not name'}"


@dataclass(frozen=True)
class Reported:
    """What reports say, and of what they say it.

    Attributes:
        scores: Largest value of each score, by name.
        judged: What each of the reports judged.
    """

    scores: Mapping[str, float]
    judged: tuple[Judged, ...] = ()


def bound(judged: tuple[Judged, ...], *, model: str = "", rows: str = "") -> tuple[Bound, str]:
    """Return whether reports are about what is released, and why, in words.

    One that names another model or other rows is about something else, whatever else it names.  Where rows are
    released, each report must name them; a model alone must be named.

    Args:
        judged: What each report judged.
        model: Fingerprint of the model; empty if it is not at hand.
        rows: Digest of the rows that are released; empty if they are not at hand.
    """
    again = "evaluate again, with the rows that the model draws and the model itself (`synth evaluate --model`)"
    for one in judged:
        if model and one.model and one.model != model:
            return "missed", f"the report is of {one}, and this is model {model[:_SHOWN]}; {again}"
        if rows and one.rows and one.rows != rows:
            return "missed", f"the report is of {one}, and these are rows {rows[:_SHOWN]}; evaluate these"
    if not (model or rows):
        return "unproven", "neither the model nor the rows are at hand that the report should name; give one"
    what = "rows" if rows else "model"
    if not judged or not all(one.rows if rows else one.model for one in judged):
        return "unproven", f"the report does not name the {what} that it judged; {again}"
    return "passed", f"the report names the {what} that it judged"


def digest_of(data: pd.DataFrame | Dataset) -> str:
    """Return the digest of a table's rows, in their order, whichever format they are read from.

    Numbers, truth values and times, and text that reads as one of them, are numbers to it; ``001`` is 1.
    """
    batches = data.batches(data.schema.root) if isinstance(data, Dataset) else iter((data,))
    return digest({"rows": _plain(batches)})


def _plain(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    for batch in batches:
        columns = {str(name): _numbers(batch.iloc[:, place]) for place, name in enumerate(batch.columns)}
        yield pd.DataFrame(columns, index=batch.index)


def _numbers(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column as float64 if all of it reads as numbers, truth values or times, else as text."""
    made: pd.Series[Any]
    missing = values.isna()
    if values.dtype.kind == "M":
        made = pd.Series(_seconds(values), index=values.index)
    elif values.dtype.kind in "iufb":
        made = values.astype("Float64").astype("float64")
    else:
        codes, uniques = pd.factorize(values.astype(object), use_na_sentinel=True)
        texts = pd.Series([str(one) for one in uniques], dtype=object)
        read = texts.map(_TRUTH).fillna(pd.to_numeric(texts, errors="coerce")).astype("float64")
        if read.isna().any() and texts.str.fullmatch(_TIME).all():
            read = pd.Series(_seconds(pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")))
        known = texts.to_numpy() if read.isna().any() else read.to_numpy()
        made = pd.Series(known[codes] if len(known) else np.full(len(codes), np.nan), index=values.index)
    return made.mask(missing)


def _seconds(values: pd.Series[Any]) -> Any:  # noqa: ANN401 - an array of floats
    naive = values.dt.tz_convert("UTC").dt.tz_localize(None) if getattr(values.dtype, "tz", None) else values
    return naive.to_numpy().astype("M8[us]").astype("i8") / 1e6  # null becomes a number, and is masked
