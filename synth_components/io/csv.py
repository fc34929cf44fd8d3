"""CSV as people have it: UTF-8 with or without BOM, comma, semicolon, tab or bar; types are recognised, never forced.

A column gets a type only if every value of it is written the way that type is written, so that nothing is lost: codes
with leading zeros, ``+`` signs and integers beyond 64 bits stay text.  Null is the empty field without quotes.  In a
column whose other values are all numbers, dates, times or truth values, ``NA``, ``N/A``, ``#N/A``, ``NaN``, ``nan``,
``null``, ``NULL`` and ``None`` are null as well; in a column of text they are text.  Zoned times become UTC.

Thousands may be parted by commas, ``1,234.56``, if every field of the column is so written and at least one shows that
the comma is no decimal mark.  Other columns that read like numbers, such as ``$12.00``, ``12 %``, ``1 000,5`` or
``1,234`` alone, are refused rather than taken for text, unless the schema declares them text or categories.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import pandas as pd

from synth_components.column_type import kind_of
from synth_components.errors import DataError
from synth_components.io.arrow import require_names, to_arrow
from synth_components.io.location import Location, reading

NULLS = ("NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None")
"""What counts as null in a column that is otherwise not text."""

_BLOCK_BYTES = 8 * 2**20
_TIME = r"[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?"
_FINE = r"[T ]\d{2}:\d{2}:\d{2}\.\d{1,9}"
_ZONE = r"(Z|[+-]\d{2}:?\d{2})"
_DATE = r"\d{4}-\d{2}-\d{2}"
_SIGN = "[$€£¥₹%‰]"
_NO_DECIMAL_COMMA = r",[0-9]{3}[,.]"
_NO_CODE = rf"{_SIGN}|^[^,]*,[0-9]+$|[ ,.'\x{{a0}}\x{{202f}}][0-9]{{3}}[.,][0-9]+$"
"""What a code, a telephone number or an address would not have: a unit, a decimal comma, a fraction after groups."""

_FORMS: dict[str, str] = {
    "int": r"^(0|-?[1-9][0-9]{0,18})$",
    "short_int": r"^(0|-?[1-9][0-9]{0,14})$",
    "float": r"^(-?(0|[1-9][0-9]*)(\.[0-9]+([eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)|-?inf|-0)$",
    "comma_float": r"^-?(0|[1-9][0-9]*),[0-9]+$",
    "True": r"^(True|False)$",
    "true": r"^(true|false)$",
    "TRUE": r"^(TRUE|FALSE)$",
    "date": f"^{_DATE}$",
    "time": f"^{_DATE}{_TIME}$",
    "fine_time": f"^{_DATE}{_FINE}$",
    "zoned": f"^{_DATE}{_TIME}{_ZONE}$",
    "fine_zoned": f"^{_DATE}{_FINE}{_ZONE}$",
    "grouped_int": r"^-?(0|[1-9][0-9]{0,2}(,[0-9]{3}){0,4})$",
    "grouped": r"^-?(0|[1-9][0-9]{0,2}(,[0-9]{3}){0,4})(\.[0-9]+)?$",
    "dressed": (
        rf"^[-+]?({_SIGN}\s?)?[-+]?([0-9]{{1,3}}([ ,.'\x{{a0}}\x{{202f}}][0-9]{{3}})+|[0-9]+)([.,][0-9]+)?"
        rf"(\s?{_SIGN})?$"
    ),
    "span": r"^-?[0-9]+ days( [+-]?[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?)?$",
}


@dataclass
class _Form:
    """What is known of one column so far: the types that every value allows."""

    text: bool = False
    seen: int = 0
    nulls: int = 0
    every: set[str] = field(default_factory=lambda: {"number", "comma_number", *_FORMS})
    fractional: bool = False
    parted: bool = False
    numeric: bool = False

    def update(self, column: Any) -> None:  # noqa: ANN401 - pyarrow has no stubs
        """Learn from the texts of a part of the column."""
        import pyarrow as pa
        import pyarrow.compute as pc

        self.nulls += column.null_count
        values = pc.unique(column).drop_null()
        tokens = pc.is_in(values, value_set=pa.array(NULLS))
        if pc.any(tokens).as_py():
            self.nulls += 1
            values = values.filter(pc.invert(tokens))
        self.seen += len(values)
        if not self.every or len(values) == 0:
            return
        fits: dict[str, Any] = {}

        def matches(form: str) -> Any:  # noqa: ANN401
            if form not in fits:
                fits[form] = pc.match_substring_regex(values, _FORMS[form])
            return fits[form]

        def holds(form: str) -> bool:
            if form in {"number", "comma_number"}:
                fraction = matches("float" if form == "number" else "comma_float")
                self.fractional = self.fractional or bool(pc.any(fraction).as_py())
                return bool(pc.all(pc.or_(fraction, matches("short_int"))).as_py())
            return bool(pc.all(matches(form)).as_py())

        self.every = {form for form in sorted(self.every) if holds(form)}
        if "dressed" in self.every:
            self.parted = self.parted or bool(pc.any(pc.match_substring_regex(values, _NO_DECIMAL_COMMA)).as_py())
            self.numeric = self.numeric or bool(pc.any(pc.match_substring_regex(values, _NO_CODE)).as_py())
        if self.every & {"int"} and "short_int" not in self.every and not _fits_64_bits(values):
            self.every -= {"int"}
        if self.every & {"date", "time", "fine_time", "zoned", "fine_zoned"}:
            self.every = {form for form in self.every if _converts(values, form)}

    def arrow_type(self, *, comma: bool) -> str:
        """Return the type of the column: a key of ``_FORMS``, ``number`` or ``text``; ``dressed`` has no values."""
        if self.text or self.seen == 0:
            return "text"
        if "int" in self.every:
            return "int"
        if "number" in self.every:
            return "number"
        if comma and "comma_number" in self.every:
            return "comma_number"
        for form in ("True", "true", "TRUE", "date", "time", "fine_time", "zoned", "fine_zoned", "span"):
            if form in self.every:
                return form
        if self.parted and "grouped" in self.every:
            return "grouped_int" if "grouped_int" in self.every else "grouped"
        return "dressed" if self.numeric and "dressed" in self.every else "text"


def _fits_64_bits(values: Any) -> bool:  # noqa: ANN401
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.cast(values, pa.int64())
    except pa.ArrowInvalid:
        return False
    return True


def _converts(values: Any, form: str) -> bool:  # noqa: ANN401
    """Return whether the calendar has every date that is written like one."""
    import pyarrow as pa

    if form not in {"date", "time", "fine_time", "zoned", "fine_zoned"}:
        return True
    try:
        _convert(values, form)
    except pa.ArrowInvalid:
        return False
    return True


def _convert(values: Any, form: str) -> Any:  # noqa: ANN401
    import pyarrow as pa
    import pyarrow.compute as pc

    match form:
        case "int":
            return pc.cast(values, pa.int64())
        case "number":
            return pc.cast(values, pa.float64())
        case "grouped_int":
            return pc.cast(pc.replace_substring(values, ",", ""), pa.int64())
        case "grouped":
            return pc.cast(pc.replace_substring(values, ",", ""), pa.float64())
        case "comma_number":
            return pc.cast(pc.replace_substring(values, ",", "."), pa.float64())
        case "True" | "true" | "TRUE":
            return pc.equal(pc.utf8_lower(values), "true")
        case "date" | "time":
            return pc.cast(values, pa.timestamp("us"))
        case "fine_time":
            return pc.cast(values, pa.timestamp("ns"))
        case "zoned":
            return pc.cast(values, pa.timestamp("us", tz="UTC"))
        case "fine_zoned":
            return pc.cast(values, pa.timestamp("ns", tz="UTC"))
        case _:
            return values


def recognised(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Return texts as times or time spans if every one of them is written like one, else as they are."""
    import pyarrow as pa

    values = pa.array(texts.where(texts.notna(), None), pa.string())
    form = _Form(every={"date", "time", "fine_time", "zoned", "fine_zoned", "span"})
    form.update(values)
    found = form.arrow_type(comma=False)
    if found == "text":
        return texts
    return pd.Series(pd.to_timedelta(texts)) if found == "span" else _column(_convert(values, found), nullable=True)


@dataclass(frozen=True)
class Csv:
    """A CSV file whose types are known: ready to be read whole or in batches.

    Attributes:
        place: The file.
        gzipped: Whether it is compressed.
        delimiter: One of comma, semicolon, tab and bar.
        names: The columns.
        forms: How each column is written.
        nullable: The columns with nulls.
        rows: Number of rows.
    """

    place: Location
    gzipped: bool
    delimiter: str
    names: tuple[str, ...]
    forms: tuple[str, ...]
    nullable: frozenset[str]
    rows: int

    @classmethod
    def examine(
        cls, place: Location, *, gzipped: bool, text: Collection[str] = (), used: Collection[str] | None = None
    ) -> Csv:
        """Return the file's dialect and types after one pass over it, with constant memory.

        Args:
            text: Columns that stay text whatever they look like.
            used: The columns whose types matter; the others stay text.

        Raises:
            DataError: for anything but a rectangular UTF-8 table with distinct, non-empty column names, and for numbers
                that are written in a way that does not say which they are.
        """
        delimiter, names = dialect(place, gzipped=gzipped)
        forms = [_Form(text=name in text or (used is not None and name not in used)) for name in names]
        rows = 0
        for batch in _batches(place, delimiter, names, gzipped=gzipped):
            rows += batch.num_rows
            for form, column in zip(forms, batch.columns, strict=True):
                form.update(column)
        comma = delimiter == ";"
        found = tuple(form.arrow_type(comma=comma) for form in forms)
        for name, kind in zip(names, found, strict=True):
            if kind == "dressed":
                raise DataError(
                    f"column '{name}' of '{place.text}' holds numbers with marks that do not say which numbers they "
                    "are (a currency or percent sign, a decimal comma, parted thousands); write them like 1234.5 or, "
                    "all of them, like 1,234.5, or declare the column as text or categorical in a schema"
                )
        nullable = frozenset(name for name, form in zip(names, forms, strict=True) if form.nulls)
        return cls(place, gzipped, delimiter, names, found, nullable, rows)

    def batches(self) -> Iterator[pd.DataFrame]:
        """Yield consecutive parts; all have the same dtypes."""
        for batch in _batches(self.place, self.delimiter, self.names, gzipped=self.gzipped):
            yield self._frame(batch)

    def read(self) -> pd.DataFrame:
        """Return the whole table."""
        parts = list(self.batches())
        if not parts:
            return self._frame(_empty(self.names))
        return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)

    def _frame(self, batch: Any) -> pd.DataFrame:  # noqa: ANN401
        import pyarrow as pa
        import pyarrow.compute as pc

        columns: dict[str, pd.Series[Any]] = {}
        for name, form, values in zip(self.names, self.forms, batch.columns, strict=True):
            if form == "text":
                columns[name] = values.to_pandas()
                continue
            tokens = pc.is_in(values, value_set=pa.array(NULLS))
            # An array of nulls: given a null scalar, pyarrow 16 to 23 returns text with wrong ends.
            values = pc.if_else(pc.fill_null(tokens, True), pa.nulls(len(values), pa.string()), values)  # noqa: FBT003
            if form == "span":
                spans = pd.to_timedelta(values.to_pandas())
                columns[name] = pd.Series(spans)
                continue
            columns[name] = _column(_convert(values, form), nullable=name in self.nullable)
        return pd.DataFrame(columns, columns=list(self.names), index=pd.RangeIndex(batch.num_rows))


def _column(values: Any, *, nullable: bool) -> pd.Series[Any]:  # noqa: ANN401
    import pyarrow as pa

    dtype: Any = None
    if nullable and pa.types.is_integer(values.type):
        dtype = pd.Int64Dtype()
    elif nullable and pa.types.is_boolean(values.type):
        dtype = pd.BooleanDtype()
    made: pd.Series[Any] = values.to_pandas() if dtype is None else pd.Series(dtype.__from_arrow__(values))
    return made


def _empty(names: tuple[str, ...]) -> Any:  # noqa: ANN401
    import pyarrow as pa

    return pa.table({name: pa.array([], pa.string()) for name in names})


def dialect(place: Location, *, gzipped: bool) -> tuple[str, tuple[str, ...]]:
    """Return delimiter and column names, from the first line.

    Raises:
        DataError: for what is no UTF-8 text, and a header that lacks or repeats a name.
    """
    import csv

    with reading(place, gzipped=gzipped) as stream:
        head = bytes(stream.read(_BLOCK_BYTES // 8))
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in head.split(b"\n", 1)[0]:
        raise DataError(f"'{place.text}' is not UTF-8 text; save it as CSV UTF-8")
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            raise DataError(f"'{place.text}' is not UTF-8 text; save it as CSV UTF-8") from None
        text = head[: error.start].decode("utf-8-sig")
    line = _first_record(text)
    if not line.strip():
        raise DataError(f"'{place.text}' has no header; its first line must name the columns")
    bare = re.sub(r'"[^"]*"', "", line)
    # The comma wins ties: other marks are a delimiter only if they divide the header into more columns.
    delimiter = max((",", ";", "\t", "|"), key=bare.count)
    names = next(csv.reader([line], delimiter=delimiter))
    require_names(list(names), place=place.text)
    return delimiter, tuple(names)


def _first_record(text: str) -> str:
    quoted = False
    for position, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif letter in "\r\n" and not quoted:
            return text[:position]
    return text


def csv_texts(place: Location, *, gzipped: bool) -> tuple[str, Iterator[pd.DataFrame]]:
    """Return the delimiter, and parts of the table as texts, null being the empty field without quotes.

    A row that has other fields than the header is left out.

    Raises:
        DataError: for what is no UTF-8 text, a header that lacks or repeats a name, and a quote that is not closed.
    """
    delimiter, names = dialect(place, gzipped=gzipped)
    batches = _batches(place, delimiter, names, gzipped=gzipped, skips=True)
    return delimiter, (batch.to_pandas() for batch in batches)


def _batches(
    place: Location, delimiter: str, names: tuple[str, ...], *, gzipped: bool, skips: bool = False
) -> Iterator[Any]:
    """Yield record batches of texts.

    Args:
        skips: Whether rows that have other fields than the header are left out, instead of refused.
    """
    import pyarrow as pa
    from pyarrow import csv

    broken: list[tuple[int | None, int]] = []

    def note(row: Any) -> str:  # noqa: ANN401
        if skips:  # over several lines runs what a quote that is not closed swallows: the rows behind it
            return "error" if "\n" in row.text.strip() else "skip"
        broken.append((row.number, row.actual_columns))
        return "error"

    with reading(place, gzipped=gzipped) as stream:
        try:
            batches = csv.open_csv(
                stream,
                read_options=csv.ReadOptions(block_size=_BLOCK_BYTES, column_names=list(names), skip_rows=0),
                parse_options=csv.ParseOptions(
                    delimiter=delimiter,
                    newlines_in_values=True,
                    ignore_empty_lines=len(names) > 1,
                    invalid_row_handler=note,
                ),
                convert_options=csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
            is_first = True
            for batch in batches:
                if is_first:
                    batch = batch.slice(1)
                    is_first = False
                if batch.num_rows:
                    yield batch
        except pa.ArrowInvalid as error:
            raise _invalid(place, names, broken, str(error)) from None


def _invalid(place: Location, names: tuple[str, ...], broken: list[tuple[int | None, int]], text: str) -> DataError:
    if broken:
        number, actual = broken[0]
        where = f"row {number}" if number is not None else "a row"
        return DataError(
            f"{where} of '{place.text}' has {actual} fields and the header {len(names)}; quote fields that hold the "
            "delimiter, or mend the row"
        )
    if "UTF8" in text or "UTF-8" in text:
        return DataError(f"'{place.text}' is not UTF-8 text; save it as CSV UTF-8")
    return DataError(f"'{place.text}' is not a whole CSV file; look for a quote that is not closed")


def render(frame: pd.DataFrame, *, place: str, header: bool) -> bytes:
    r"""Return the frame as CSV: comma, ``\n``, quotes if needed, null as nothing, empty text as ``""``."""
    first = [head(list(frame.columns), place=place)] if header else []
    return b"".join([*first, *(f"{row}\n".encode() for row in rows(frame, place=place))])


def head(names: list[Any], *, place: str) -> bytes:
    """Return the header line."""
    require_names(names, place=place)
    return f"{','.join(_quoted(name) for name in names)}\n".encode()


def rows(frame: pd.DataFrame, *, place: str) -> list[str]:
    """Return each row as ``render`` writes it, without the end of its line."""
    import pyarrow as pa
    import pyarrow.compute as pc

    require_names(list(frame.columns), place=place)
    if not len(frame) or not len(frame.columns):
        return []
    columns = [pc.fill_null(_texts(frame[name], place), "") for name in frame.columns]
    made: list[str] = pc.binary_join_element_wise(*columns, pa.scalar(",", pa.string())).to_pylist()
    return made


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",;\t|\r\n]|^$', text) else text


def _texts(values: pd.Series[Any], place: str) -> Any:  # noqa: ANN401
    """Return the texts of a column, quoted where needed; null stays null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    name = str(values.name)
    kind = kind_of(values)
    if kind == "bytes":
        raise DataError(f"column '{name}' holds bytes, and CSV is text; write parquet")
    if kind == "timedelta":
        texts = values.astype(object).map(lambda span: str(pd.Timedelta(span)), na_action="ignore")
        return pa.Array.from_pandas(texts, type=pa.string())
    zoned = kind == "datetime" and getattr(values.dtype, "tz", None) is not None
    if zoned:
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    column = to_arrow(values.to_frame(), place=place).column(0).combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type):
        texts = pc.cast(column, pa.string())
        plain = pc.match_substring_regex(texts, "^-?[0-9]+$")
        return pc.if_else(plain, pc.binary_join_element_wise(texts, ".0", ""), texts)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.cast(column, pa.string())
        escaped = pc.binary_join_element_wise('"', pc.replace_substring(column, '"', '""'), '"', "")
        return pc.if_else(pc.match_substring_regex(column, r'[",;\t|\r\n]|^$'), escaped, column)
    texts = pc.cast(column, pa.string())
    return pc.binary_join_element_wise(texts, "Z", "") if zoned else texts


@contextmanager
def csv_writer(path: Path, *, place: str, gzipped: bool) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Yield a function that appends a frame; the first one writes the header."""
    names: list[str] | None = None

    with opened(path, gzipped=gzipped) as sink:

        def write(frame: pd.DataFrame) -> None:
            nonlocal names
            if names is not None and names != list(frame.columns):
                raise DataError(f"a later part of '{place}' has other columns than the first; give all the same")
            sink.write(render(frame, place=place, header=names is None))
            names = list(frame.columns)

        yield write


@contextmanager
def opened(path: Path, *, gzipped: bool) -> Iterator[BinaryIO]:
    """Yield a file to write bytes to; compressed bytes depend on the content alone, not on clock or name."""
    with path.open("wb") as raw:
        if not gzipped:
            yield raw
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed:
            yield cast("BinaryIO", packed)
