"""What a report judged, so that nobody takes it for evidence on another model or on other rows.

A report names the model by its fingerprint (``Model.fingerprint``) and the rows by a digest of the synthetic table.
Both are the same on every platform; the rows' digest does not tell CSV from Parquet, nor whether a schema was given.

That the rows are the model's is what the caller of the evaluation says: nothing here draws them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from synth_components.digest import digest
from synth_components.protocols import Dataset

Bound: TypeAlias = Literal["passed", "missed", "unproven"]

_SHOWN = 12
_EXACT = 2**53  # the integers up to it are float64
_DIGITS = 15  # decimal digits that float64 always keeps
_WIDE = Context(prec=10_000)
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

    Numbers, truth values and times, and text that reads as one of them, are numbers to it; ``001`` is 1.  Of numbers
    that no float64 tells apart, as identifiers of 18 digits, and of nanoseconds, all digits count.
    """
    batches = data.batches(data.schema.root) if isinstance(data, Dataset) else iter((data,))
    rest = hashlib.sha256()
    whole = digest({"rows": _plain(batches, rest)})
    if rest.digest() == hashlib.sha256().digest():
        return whole
    return hashlib.sha256(f"{whole} {rest.hexdigest()}".encode()).hexdigest()


def _plain(batches: Iterator[pd.DataFrame], rest: Any) -> Iterator[pd.DataFrame]:  # noqa: ANN401 - hashlib's type
    """Yield batches whose columns are float64 or text, and feed what float64 does not hold, cell by cell, to a hash."""
    before = 0
    for batch in batches:
        columns: dict[str, pd.Series[Any]] = {}
        beyond: list[tuple[int, int, str]] = []
        for place, name in enumerate(batch.columns):
            label = str(name)
            while label in columns:  # 1 beside "1", which no file tells apart
                label += "\0"
            columns[label], exact = _numbers(batch.iloc[:, place])
            beyond += [(before + row, place, text) for row, text in exact.items()]
        for row, place, text in sorted(beyond):  # by row: batches of another size give the same
            rest.update(f"{row} {place} {text}\n".encode("utf-8", "surrogatepass"))
        before += len(batch)
        yield pd.DataFrame(columns, index=batch.index)


def _numbers(values: pd.Series[Any]) -> tuple[pd.Series[Any], dict[int, str]]:
    """Return a column as float64 if all of it reads as numbers, truth values or times, else as text.

    The second says by row what exactly is there, of rows whose float64 is not it.
    """
    made: pd.Series[Any]
    missing = values.isna()
    there = ~missing.to_numpy(dtype=bool)
    exact: dict[int, str] = {}
    if values.dtype.kind == "M":
        seconds, nanoseconds = _seconds(values)
        made = pd.Series(seconds, index=values.index)
        exact = {int(row): f"{nanoseconds[row]} ns" for row in np.flatnonzero(there & (nanoseconds != 0))}
    elif values.dtype.kind in "iufb":
        made = values.astype("Float64").astype("float64")
        if values.dtype.kind in "iu":
            far = (values > _EXACT) | (values < -_EXACT)
            rows = np.flatnonzero(far.fillna(value=False).to_numpy(dtype=bool))
            exact = _beyond({int(row): str(int(values.iloc[row])) for row in rows})
    else:
        held = values.astype(object)
        try:
            codes, uniques = pd.factorize(held, use_na_sentinel=True)
        except TypeError:  # lists and maps, which have no hash
            codes, uniques = pd.factorize(held.map(str).mask(missing), use_na_sentinel=True)
        texts = pd.Series([str(one) for one in uniques], dtype=object)
        read = texts.map(_TRUTH).fillna(pd.to_numeric(texts, errors="coerce")).astype("float64")
        odd: dict[int, str] = {}
        if not read.isna().any():
            odd = _beyond({place: text for place, text in enumerate(texts) if len(text) > _DIGITS})
        elif texts.str.fullmatch(_TIME).all():
            seconds, nanoseconds = _seconds(pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce"))
            read = pd.Series(seconds)
            odd = {int(place): f"{nanoseconds[place]} ns" for place in np.flatnonzero(nanoseconds)}
        is_text = bool(read.isna().any())
        known = texts.to_numpy() if is_text else read.to_numpy()
        made = pd.Series(known[codes] if len(known) else np.full(len(codes), np.nan), index=values.index)
        if odd and not is_text:
            exact = {int(row): odd[int(codes[row])] for row in np.flatnonzero(np.isin(codes, list(odd)))}
    return made.mask(missing), exact


def _beyond(texts: Mapping[int, str]) -> dict[int, str]:
    """Return, in one spelling, the numbers with more digits than their float64 says."""
    made = {}
    for place, text in texts.items():
        try:
            number = Decimal(text)
            if number != Decimal(repr(float(text))):
                made[place] = str(_WIDE.normalize(number))
        except ArithmeticError:  # a truth value, or no decimal number of a size to reckon with
            if text not in _TRUTH:
                made[place] = text
    return made


def _seconds(values: pd.Series[Any]) -> tuple[Any, Any]:
    """Return seconds (n,) as floats, and the nanoseconds (n,) beyond whole microseconds; of null, any numbers."""
    naive = values.dt.tz_convert("UTC").dt.tz_localize(None) if getattr(values.dtype, "tz", None) else values
    held = naive.to_numpy()
    micro = held.astype("M8[us]")
    rest = (held - micro.astype(held.dtype)).astype("m8[ns]").astype("i8")
    rest[np.isnat(held)] = 0
    return micro.astype("i8") / 1e6, rest
