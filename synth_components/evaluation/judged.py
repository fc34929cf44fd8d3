"""What a report judged, so that nobody takes it for evidence on another model or on other rows.

A report names the model by its fingerprint (``Model.fingerprint``) and the rows by a digest of the synthetic table.
Both are the same on every platform; the rows' digest does not tell CSV from Parquet, nor whether a schema was given.

That the rows are the model's is what the caller of the evaluation says: nothing here draws them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.digest import digest
from synth_components.io.cells import TRUTHS, widened
from synth_components.protocols import Dataset, Floats

Bound: TypeAlias = Literal["passed", "missed", "unproven"]
_Kind: TypeAlias = Literal["none", "number", "time", "text"]
"""What a column is to a digest; nothing but nulls is none of the others."""

_SHOWN = 12
_EXACT = 2**53  # the integers up to it are float64
_DIGITS = 15  # decimal digits that float64 always keeps
_WIDE = Context(prec=10_000)
_TYPED = "iufbM"  # kinds of dtypes that hold numbers and times, whatever the rows
_TRUTH = {text: float(value) for text, value in TRUTHS.items()}
_TIME = r"\d{4}-\d{2}-\d{2}(?:[T ].*)?"
_ZONED = r".*[T ].*(?:Z|[+-]\d{2}(?::?\d{2})?)"


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

    One that names other rows, or another model than that at hand or than drew the rows, as another report says, is of
    something else, whatever else it names.  Where rows are released, each report must name them, or, as a shadow audit,
    which judges no rows, the model that another of the reports says they were drawn by; a model alone must be named.

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
    drawn_by = {one.model for one in judged if rows and one.rows and one.model}
    others = [one for one in judged if drawn_by and one.model and not one.rows and one.model not in drawn_by]
    if others:
        return "missed", f"a report is of {others[0]}, and the rows were drawn by another; audit that one"
    if not judged or not all(one.rows or one.model in drawn_by if rows else one.model for one in judged):
        return "unproven", f"the report does not name the {what} that it judged; {again}"
    return "passed", f"the report names the {what} that it judged"


def digest_of(data: pd.DataFrame | Dataset) -> str:
    """Return the digest of a table's rows, in their order, whichever format they are read from.

    Numbers, truth values and times, and text that reads as one of them, are numbers to it: ``001`` is 1, ``true`` and
    ``True`` are, too.  A float32 is the number of the fewest digits that tell it apart, .1 and not .10000000149011612,
    as text files hold it.  Of numbers that no float64 tells apart, as identifiers of 18 digits, and of nanoseconds, all
    digits count.  What a column is all of its rows decide, in a pass of their own: a table in batches has the digest of
    the whole.
    """

    def batches() -> Iterator[pd.DataFrame]:
        return data.batches(data.schema.root) if isinstance(data, Dataset) else iter((data,))

    rest = hashlib.sha256()
    whole = digest({"rows": _plain(batches(), _kinds(batches()), rest)})
    if rest.digest() == hashlib.sha256().digest():
        return whole
    return hashlib.sha256(f"{whole} {rest.hexdigest()}".encode()).hexdigest()


def _kinds(batches: Iterator[pd.DataFrame]) -> list[_Kind]:
    """Return what each column is, by all rows; no more batches are read than it takes to know."""
    kinds: list[_Kind] = []
    for batch in batches:
        kinds = kinds or ["none"] * batch.shape[1]
        for place, known in enumerate(kinds):
            if known != "text":
                found = _kind_of(batch.iloc[:, place])
                kinds[place] = found if known == "none" else known if found in {known, "none"} else "text"
        if all(kind == "text" or dtype.kind in _TYPED for kind, dtype in zip(kinds, batch.dtypes, strict=True)):
            break  # batches have the same dtypes, and those say it
    return kinds


def _kind_of(values: pd.Series[Any]) -> _Kind:
    if values.dtype.kind in _TYPED:
        return "time" if values.dtype.kind == "M" else "number"
    _, texts = _factorized(values)
    if not len(texts):
        return "none"
    if not _as_numbers(texts).isna().any():
        return "number"
    return "time" if texts.str.fullmatch(_TIME).all() and not np.isnan(_as_times(texts)[0]).any() else "text"


def _plain(
    batches: Iterator[pd.DataFrame],
    kinds: Sequence[_Kind],
    rest: Any,  # noqa: ANN401 - hashlib's type
) -> Iterator[pd.DataFrame]:
    """Yield batches whose columns are float64 or text, and feed what float64 does not hold, cell by cell, to a hash."""
    before = 0
    for batch in batches:
        columns: dict[str, pd.Series[Any]] = {}
        beyond: list[tuple[int, int, str]] = []
        for place, (name, kind) in enumerate(zip(batch.columns, kinds, strict=True)):
            label = str(name)
            while label in columns:  # 1 beside "1", which no file tells apart
                label += "\0"
            columns[label], exact = _as_kind(batch.iloc[:, place], kind)
            beyond += [(before + row, place, text) for row, text in exact.items()]
        for row, place, text in sorted(beyond):  # by row: batches of another size give the same
            rest.update(f"{row} {place} {text}\n".encode("utf-8", "surrogatepass"))
        before += len(batch)
        yield pd.DataFrame(columns, index=batch.index)


def _as_kind(values: pd.Series[Any], kind: _Kind) -> tuple[pd.Series[Any], dict[int, str]]:
    """Return a column as text if that is its kind, else as float64.

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
    elif values.dtype.kind in _TYPED:
        made = widened(values)
        if values.dtype.kind in "iu":
            far = (values > _EXACT) | (values < -_EXACT)
            rows = np.flatnonzero(far.fillna(value=False).to_numpy(dtype=bool))
            exact = _beyond({int(row): str(int(values.iloc[row])) for row in rows})
    else:
        codes, texts = _factorized(values)
        known: pd.Series[Any] = texts
        odd: dict[int, str] = {}
        if kind == "number":
            known = _as_numbers(texts)
            odd = _beyond({place: text for place, text in enumerate(texts) if len(text) > _DIGITS})
        elif kind == "time":
            seconds, nanoseconds = _as_times(texts)
            known = pd.Series(seconds)
            odd = {int(place): f"{nanoseconds[place]} ns" for place in np.flatnonzero(nanoseconds)}
        filler = np.full(len(codes), np.nan, dtype=object if kind == "text" else np.float64)
        made = pd.Series(known.to_numpy()[codes] if len(known) else filler, index=values.index)
        if odd:
            exact = {int(row): odd[int(codes[row])] for row in np.flatnonzero(np.isin(codes, list(odd)))}
    return made.mask(missing), exact


def _factorized(values: pd.Series[Any]) -> tuple[NDArray[np.intp], pd.Series[Any]]:
    """Return the codes (n,) of values, -1 of null, and the distinct values as text in order of appearance."""
    held = values.astype(object)
    if pd.api.types.infer_dtype(held, skipna=True) != "string":
        # What is equal need not read the same, as 1 and True; and lists and maps have no hash.
        held = held.map(str).mask(values.isna())
    codes, uniques = pd.factorize(held, use_na_sentinel=True)
    return codes, pd.Series(list(uniques), dtype=object)


def _as_numbers(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Return texts as float64, null where one is no number."""
    return texts.map(_TRUTH).fillna(pd.to_numeric(texts, errors="coerce")).astype("float64")


def _as_times(texts: pd.Series[Any]) -> tuple[Floats, NDArray[np.int64]]:
    """Return texts as ``_seconds`` does times, in UTC, NaN where one is no time."""
    seconds, nanoseconds = np.full(len(texts), np.nan), np.zeros(len(texts), dtype=np.int64)
    is_zoned = texts.str.fullmatch(_ZONED).to_numpy(dtype=bool)
    for part in (is_zoned, ~is_zoned):  # apart: pandas 2.3 reads nanoseconds without a zone in that of the text before
        if part.any():
            times = pd.to_datetime(texts[part], format="ISO8601", utc=True, errors="coerce")
            found, nanoseconds[part] = _seconds(times)
            seconds[part] = np.where(times.isna(), np.nan, found)
    return seconds, nanoseconds


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
