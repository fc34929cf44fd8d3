"""What a table may hold: columns, keys, links, order and the privacy unit; JSON round-trips it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, Self, TypeAlias, assert_never

import numpy as np
import pandas as pd

from synth_components.constraints import Constraint, constraint_from_json
from synth_components.errors import SchemaError
from synth_components.expression import as_times

TABLE = "table"
"""The name of the table of a one-table schema."""

Value: TypeAlias = str | int | float | bool
Resolution: TypeAlias = Literal["D", "h", "min", "s", "ms", "us", "ns"]
TextKind: TypeAlias = Literal[
    "free", "name", "email", "phone", "address", "iban", "card", "ssn", "ip", "url", "uuid", "postcode", "identifier"
]


@dataclass(frozen=True, kw_only=True)
class Column:
    """The values one column may hold: a closed family, for ``match`` ending in ``assert_never``.

    Attributes:
        dtype: The pandas dtype that the column has in a table; ``date`` and ``decimal`` are object columns of those.
        nullable: Whether values may be missing.
        public: Whether a person declared the column, rather than a profile reading it off the rows.
    """

    dtype: str
    nullable: bool = False
    public: bool = False

    def _require_dtype(self, held: str, what: str, remedy: str) -> None:
        """Refuse a dtype that holds nothing of the column's type: letters ``held`` are those of ``_held_by``."""
        if _held_by(self.dtype) not in held:
            raise SchemaError(f"{what} cannot have dtype {self.dtype}; declare {remedy}")


@dataclass(frozen=True, kw_only=True)
class Numeric(Column):
    """A number, or a time span (``timedelta64[...]``, bounds in its own unit).

    Attributes:
        low: Smallest value, inclusive; ``None`` if unbounded.
        high: Largest value, inclusive; ``None`` if unbounded.
        places: Decimal places kept; 0 for integers, negative for multiples of a power of ten, ``None`` for full
            floating-point resolution.
    """

    dtype: str = "float64"
    low: float | int | None = None
    high: float | int | None = None
    places: int | None = None

    def __post_init__(self) -> None:
        """Refuse a dtype of no numbers, and bounds that no value can meet."""
        self._require_dtype("iufmOd", "a numeric column", "a dtype of numbers such as float64, or another type")
        for bound in (self.low, self.high):
            if bound is not None and not math.isfinite(bound):
                raise SchemaError("a numeric bound is not finite; leave it out for an unbounded column")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise SchemaError("a numeric column has low > high; swap the bounds")
        if self.places is not None and not -18 <= self.places <= 18:
            raise SchemaError("places must lie between -18 and 18")


@dataclass(frozen=True, kw_only=True)
class Categorical(Column):
    """One of a list of values.

    Rows of dtype ``category`` come back from sampling with these categories: a profile lists the ones that enough rows
    hold, and a declared column also keeps those that nobody holds.

    Attributes:
        categories: The values, in the order of their codes.  A value outside them encodes as -1 and is never drawn.
        ordered: Whether the order of ``categories`` means something.
    """

    dtype: str = "object"
    categories: tuple[Value, ...] = ()
    ordered: bool = False

    def __post_init__(self) -> None:
        """Refuse categories that are listed twice, or that the dtype does not hold."""
        if len({(type(c).__name__, c) for c in self.categories}) != len(self.categories):
            raise SchemaError("a category is listed twice; list each once")
        if not is_unicode("".join(c for c in self.categories if isinstance(c, str))):
            raise SchemaError("a category holds half a surrogate pair, which no file can; mend the text")
        if any(c is None or c != c for c in self.categories):
            raise SchemaError("a category is null; take it out of the list, and declare the column nullable")
        unfit = sum(not _is_held(c, self.dtype) for c in self.categories)
        if _held_by(self.dtype) == "-" or unfit:
            kinds = " and ".join(sorted({_kind_name(c) for c in self.categories})) or "categories"
            raise SchemaError(
                f"dtype {self.dtype} does not hold {unfit} of its {len(self.categories)} categories ({kinds}); write "
                "the categories as the dtype has them, or declare a dtype that does (object holds all)"
            )


@dataclass(frozen=True, kw_only=True)
class Boolean(Column):
    """True or false."""

    dtype: str = "bool"

    def __post_init__(self) -> None:
        """Refuse a dtype of neither truth values nor numbers."""
        self._require_dtype("biufO", "a boolean column", "bool, boolean or a dtype of numbers, or another type")


@dataclass(frozen=True, kw_only=True)
class Datetime(Column):
    """A point in time.

    Attributes:
        low: Earliest value as ISO 8601 text, inclusive, in the column's zone; ``None`` if unbounded.
        high: Latest value likewise.
        resolution: The step of the values: all are multiples of it.
    """

    dtype: str = "datetime64[ns]"
    low: str | None = None
    high: str | None = None
    resolution: Resolution = "ns"

    def __post_init__(self) -> None:
        """Refuse a dtype of no times."""
        self._require_dtype("MD", "a datetime column", "datetime64[us], one with a zone, or date, or another type")

    @property
    def zone(self) -> str | None:
        """The time zone's name, ``None`` for naive values."""
        match = re.fullmatch(r"datetime64\[\w+, (.+)\]", self.dtype)
        return match[1] if match else None


@dataclass(frozen=True, kw_only=True)
class Text(Column):
    """Text that is never learned value by value: it is generated anew.

    Attributes:
        kind: What the text looks like; direct identifiers have a kind of their own.
    """

    dtype: str = "object"
    kind: TextKind = "free"

    def __post_init__(self) -> None:
        """Refuse a dtype of neither text nor numbers."""
        self._require_dtype("UCOiu", "a text column", "object, string or a dtype of whole numbers, or another type")


@dataclass(frozen=True, kw_only=True)
class Image(Column):
    """The path of an image file beside the table."""

    dtype: str = "object"
    width: int | None = None
    height: int | None = None
    channels: int | None = None

    def __post_init__(self) -> None:
        """Refuse a dtype of no text."""
        self._require_dtype("UCO", "an image column", "object or string, which hold its paths")


@dataclass(frozen=True, kw_only=True)
class Key(Column):
    """An identifier, minted from block and row, never learned; keys and links say of what.

    Attributes:
        prefix: Text before the number where the dtype is textual.
    """

    dtype: str = "int64"
    prefix: str = ""

    def __post_init__(self) -> None:
        """Refuse a dtype of neither text nor numbers."""
        self._require_dtype("UCOiuf", "a key column", "an integer or text")


AnyColumn: TypeAlias = Numeric | Categorical | Boolean | Datetime | Text | Image | Key

_COLUMNS: dict[str, type[Column]] = {
    "numeric": Numeric,
    "categorical": Categorical,
    "boolean": Boolean,
    "datetime": Datetime,
    "text": Text,
    "image": Image,
    "key": Key,
}
_NAMES = {kind: name for name, kind in _COLUMNS.items()}
_STORAGES = {"string[storage=python]": "python", "string[storage=pyarrow]": "pyarrow"}


@dataclass(frozen=True)
class Link:
    """A foreign key: ``columns`` of ``child`` refer to ``parent_columns`` of ``parent``."""

    child: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


@dataclass(frozen=True)
class Unit:
    """Whom privacy protects: all rows of ``table`` that share ``columns``, at most ``max_rows`` of them.

    No columns: any ``max_rows`` rows may be one unit's; of the default, 1, a row is a unit.
    """

    table: str
    columns: tuple[str, ...] = ()
    max_rows: int = 1

    def __post_init__(self) -> None:
        """Refuse a unit without rows."""
        if self.max_rows < 1:
            raise SchemaError("max_rows of the privacy unit must be at least 1", table=self.table)


@dataclass(frozen=True)
class Schema:
    """Columns by table, and what ties the tables together.

    Attributes:
        tables: Columns by name, in column order, by table.
        root: The table whose entities ``sample(n)`` counts.
        keys: Primary key columns by table.
        links: Foreign keys.
        order: The time or sequence column by table.
        unit: The privacy unit; ``None`` means a row of the root table.
        constraints: Rules that every row obeys.
    """

    tables: Mapping[str, Mapping[str, AnyColumn]]
    root: str = TABLE
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    order: Mapping[str, str] = field(default_factory=dict)
    unit: Unit | None = None
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        """Freeze the maps, and refuse names that do not exist or that no file can hold."""
        frozen = {name: MappingProxyType(dict(columns)) for name, columns in self.tables.items()}
        object.__setattr__(self, "tables", MappingProxyType(frozen))
        object.__setattr__(self, "keys", MappingProxyType({t: tuple(k) for t, k in self.keys.items()}))
        object.__setattr__(self, "order", MappingProxyType(dict(self.order)))
        if not is_unicode("".join(str(name) for table, columns in self.tables.items() for name in (table, *columns))):
            raise SchemaError("the name of a table or column holds half a surrogate pair; rename it")
        if self.root not in self.tables:
            raise SchemaError(f"the root table '{self.root}' is not among the tables", table=self.root)
        for table, columns in self.keys.items():
            self._require(table, columns, "a key")
        for link in self.links:
            self._require(link.child, link.columns, "a link")
            self._require(link.parent, link.parent_columns, "a link")
        for table, column in self.order.items():
            self._require(table, (column,), "the order")
        if self.unit is not None:
            self._require(self.unit.table, self.unit.columns, "the privacy unit")
        for constraint in self.constraints:
            self._require(self.root, constraint.columns, f"constraint '{constraint.name}'")

    def _require(self, table: str, columns: tuple[str, ...], what: str) -> None:
        if table not in self.tables:
            raise SchemaError(f"{what} names table '{table}', which the schema does not have", table=table)
        for column in columns:
            if column not in self.tables[table]:
                raise SchemaError(
                    f"{what} names column '{column}', which table '{table}' does not have", column=column, table=table
                )

    @property
    def columns(self) -> Mapping[str, AnyColumn]:
        """The columns of the root table."""
        return self.tables[self.root]

    @property
    def is_public(self) -> bool:
        """Whether every column was declared by a person."""
        return all(column.public for columns in self.tables.values() for column in columns.values())

    @property
    def modelled(self) -> Schema:
        """The part that a generator learns: no text, images, constraints, nor keys of a single table."""
        drop: tuple[type[Column], ...] = (Text, Image, Key) if len(self.tables) == 1 else (Text, Image)
        tables = {
            table: {name: column for name, column in columns.items() if not isinstance(column, drop)}
            for table, columns in self.tables.items()
        }

        def kept(table: str, names: tuple[str, ...]) -> bool:
            return all(name in tables[table] for name in names)

        return Schema(
            tables,
            self.root,
            {table: key for table, key in self.keys.items() if kept(table, key)},
            tuple(k for k in self.links if kept(k.child, k.columns) and kept(k.parent, k.parent_columns)),
            {table: column for table, column in self.order.items() if kept(table, (column,))},
            # Without its columns a unit still has that many rows: the sensitivity of whatever is counted.
            self.unit
            if self.unit is None or kept(self.unit.table, self.unit.columns)
            else replace(self.unit, columns=()),
        )

    def with_constraints(self, constraints: tuple[Constraint, ...]) -> Schema:
        """Return this schema with ``constraints`` added to its own."""
        return replace(self, constraints=(*self.constraints, *constraints))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value from which ``from_json`` makes an equal schema."""
        return {
            "tables": {t: {c: _column_to_json(v) for c, v in cols.items()} for t, cols in self.tables.items()},
            "root": self.root,
            "keys": {table: list(key) for table, key in self.keys.items()},
            "links": [
                {
                    "child": k.child,
                    "columns": list(k.columns),
                    "parent": k.parent,
                    "parent_columns": list(k.parent_columns),
                }
                for k in self.links
            ],
            "order": dict(self.order),
            "unit": None
            if self.unit is None
            else {"table": self.unit.table, "columns": list(self.unit.columns), "max_rows": self.unit.max_rows},
            "constraints": [constraint.to_json() for constraint in self.constraints],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the schema that a JSON value declares.

        ``{"columns": {...}}`` declares a single table.  Columns are public unless they say otherwise.

        Raises:
            SchemaError: naming the table and column that cannot be read.
        """
        known = {"tables", "columns", "root", "keys", "links", "order", "unit", "constraints"}
        unknown = sorted(set(value) - known)
        if unknown or ("tables" in value) == ("columns" in value):
            what = f"unknown entries {unknown}" if unknown else "either 'tables' or 'columns' is needed, and not both"
            raise SchemaError(f"the schema has {what}; see `synth profile` for an example")
        tables = value["tables"] if "tables" in value else {TABLE: value["columns"]}
        unit = value.get("unit")
        try:
            return cls(
                {t: {c: _column_from_json(v, c, t) for c, v in cols.items()} for t, cols in tables.items()},
                str(value.get("root", next(iter(tables)))),
                {table: tuple(key) for table, key in value.get("keys", {}).items()},
                tuple(
                    Link(k["child"], tuple(k["columns"]), k["parent"], tuple(k["parent_columns"]))
                    for k in value.get("links", ())
                ),
                dict(value.get("order", {})),
                None if unit is None else Unit(unit["table"], tuple(unit["columns"]), int(unit["max_rows"])),
                tuple(constraint_from_json(rule) for rule in value.get("constraints", ())),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise SchemaError(
                f"the schema lacks or misuses an entry ({error}); see `synth profile` for an example"
            ) from None

    def canonical(self) -> str:
        """Return the canonical JSON text.  Table and column order are part of it."""
        return json.dumps(self.to_json(), separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def _column_to_json(column: AnyColumn) -> dict[str, Any]:
    value: dict[str, Any] = {"type": _NAMES[type(column)]}
    for item in fields(column):
        entry = getattr(column, item.name)
        value[item.name] = list(entry) if isinstance(entry, tuple) else entry
    return value


def _column_from_json(value: Mapping[str, Any], column: str, table: str) -> AnyColumn:
    options = dict(value)
    kind = _COLUMNS.get(str(options.pop("type", "")))
    if kind is None:
        raise SchemaError(
            f"column '{column}' has no known type; give one of {', '.join(_COLUMNS)}", column=column, table=table
        )
    known = {item.name for item in fields(kind)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise SchemaError(
            f"column '{column}' has unknown entries {unknown}; a {_NAMES[kind]} column takes {sorted(known)}",
            column=column,
            table=table,
        )
    if "categories" in options:
        options["categories"] = tuple(options["categories"])
    places = options.get("places")
    if isinstance(places, float) and places.is_integer():  # as YAML may say it, or JSON that has no whole numbers
        options["places"] = int(places)
    elif isinstance(places, bool) or not isinstance(places, int | None):
        raise SchemaError(f"column '{column}': places must be a whole number", column=column, table=table)
    try:
        made = kind(**{"public": True, **options})
    except SchemaError as error:
        raise SchemaError(f"column '{column}': {error}", column=column, table=table) from None
    return made  # type: ignore[return-value]  # the closed family of _COLUMNS


def check(table: pd.DataFrame, columns: Mapping[str, AnyColumn], *, name: str = TABLE) -> None:
    """Return if ``table`` obeys ``columns``: names and order, dtypes, nulls, bounds, categories.

    Raises:
        SchemaError: naming the first column that does not, the rule and the number of rows; never a value.
    """
    if list(table.columns) != list(columns):
        missing = [c for c in columns if c not in table.columns]
        extra = [str(c) for c in table.columns if c not in columns]
        detail = f"missing {missing}, unexpected {extra}" if missing or extra else "the order differs"
        raise SchemaError(f"table '{name}' does not have the columns of its schema: {detail}", table=name)
    for column_name, column in columns.items():
        violations(table[column_name], column, table=name)


def violations(values: pd.Series[Any], column: AnyColumn, *, table: str = TABLE) -> None:
    """Return if every value of one column obeys ``column``.

    Raises:
        SchemaError: naming rule and number of rows.
    """
    name = str(values.name)

    def refuse(rule: str, remedy: str) -> SchemaError:
        return SchemaError(f"column '{name}' of table '{table}' {rule}; {remedy}", column=name, table=table)

    if not same_dtype(values, column.dtype):
        raise refuse(f"has dtype {values.dtype}, not {column.dtype}", "cast it, or change the schema")
    outside, rule = outside_of(values, column)
    nulls = int(values.isna().sum())
    if nulls and not column.nullable:
        raise refuse(f"has {nulls} missing values and is not nullable", "fill them, or declare it nullable")
    if outside.any():
        raise refuse(f"has {int(outside.sum())} rows {rule}", "mend the rows, or widen the schema")


def outside_of(values: pd.Series[Any], column: AnyColumn) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], str]:
    """Return which non-null rows fall outside the column's values, shape (n,), and the rule they break."""
    present = values.notna().to_numpy()
    outside = np.zeros(len(values), dtype=bool)
    match column:
        case Numeric():
            held = _numbers(values[present])
            bad = np.zeros(len(held), dtype=bool)
            if column.low is not None:
                bad |= np.asarray(held < _comparable(column.low, held.dtype, up=True), dtype=bool)
            if column.high is not None:
                bad |= np.asarray(held > _comparable(column.high, held.dtype, up=False), dtype=bool)
            outside[present] = bad
            return outside, "outside its bounds"
        case Categorical():
            outside[present] = ~values[present].isin(list(column.categories)).to_numpy(dtype=bool)
            return outside, "outside its declared categories"
        case Boolean():
            outside[present] = ~values[present].isin([True, False]).to_numpy(dtype=bool)
            return outside, "that are neither true nor false"
        case Datetime():
            stamps = as_times(values[present], utc=column.zone is not None)
            bad = np.zeros(len(stamps), dtype=bool)
            for bound, above in ((column.low, False), (column.high, True)):
                if bound is not None:
                    stamp = pd.Timestamp(bound)
                    if column.zone is not None and stamp.tzinfo is None:
                        # As `encode.localized` reads local times that the clock repeats or skips.
                        stamp = stamp.tz_localize(column.zone, ambiguous=True, nonexistent="shift_forward")
                    bad |= (stamps > stamp).to_numpy(dtype=bool) if above else (stamps < stamp).to_numpy(dtype=bool)
            outside[present] = bad
            return outside, "outside its time bounds"
        case Text() | Image() | Key():
            return outside, ""
        case _:
            assert_never(column)


def _numbers(values: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """Return non-null numbers or time spans as int64, uint64, float64 or, where none of these is exact, objects."""
    dtype: Any = getattr(values.dtype, "numpy_dtype", values.dtype)
    kind = getattr(dtype, "kind", "O")
    if kind == "m":
        return values.to_numpy().astype(np.int64)
    exact = {"i": np.int64, "u": np.uint64, "f": np.float64}.get(kind)
    if exact is None or (kind == "f" and dtype.itemsize > 8):
        return values.astype(object).to_numpy()
    return values.to_numpy(dtype=exact)


def _comparable(bound: float, dtype: np.dtype[Any], *, up: bool) -> Any:  # noqa: ANN401 - a number or an array scalar
    """Return the nearest number of ``dtype`` on the inner side of a bound, so that comparing with it rounds nothing."""
    if dtype.kind == "f":
        made = np.float64(bound)
        # Python compares whole numbers with floats exactly; numpy would round them first.
        if up and float(made) < bound:
            return np.nextafter(made, np.inf)
        return np.nextafter(made, -np.inf) if not up and float(made) > bound else made
    if dtype.kind not in "iu":
        return bound
    whole = math.ceil(bound) if up else math.floor(bound)
    limits = np.iinfo(dtype)
    # A bound beyond the type is met by all values or by none.
    if whole > limits.max:
        return np.inf
    return -np.inf if whole < limits.min else dtype.type(whole)


def same_dtype(values: pd.Series[Any], dtype: str) -> bool:
    """Return whether a column has the dtype that a schema names.

    ``str`` and ``object`` text count as one, and ``string`` is text of either storage.
    """
    actual = str(values.dtype)
    text = {"object", "str", "string", "date", "decimal"}
    if dtype in _STORAGES:
        return bool(values.dtype == dtype_of(dtype))
    return actual == dtype or (actual in {"object", "str"} and dtype in text)


def dtype_name(dtype: Any) -> str:  # noqa: ANN401 - numpy's dtypes and those of extensions
    """Return the name of a dtype in a schema, from which ``dtype_of`` makes it.

    It is the name that pandas gives it, but for the two storages of ``string``, to which pandas gives one name: the one
    that is not the default is told.
    """
    name = str(dtype)
    if name == "string" and dtype != pd.StringDtype() and dtype.storage in _STORAGES.values():
        return next(told for told, storage in _STORAGES.items() if storage == dtype.storage)
    return name


def dtype_of(name: str) -> Any:  # noqa: ANN401
    """Return the dtype that a schema names."""
    if name in _STORAGES:
        return pd.StringDtype(_STORAGES[name])
    if name == "string[pyarrow]":
        # The name of two dtypes: pandas parses it as the other one, whose own name is "string".
        import pyarrow as pa

        return pd.ArrowDtype(pa.string())
    if name == "str" and not isinstance(pd.api.types.pandas_dtype(name), pd.StringDtype):
        return np.dtype(object)  # a schema that pandas 3 profiled, read by pandas 2, whose "str" would spell nulls out
    return pd.api.types.pandas_dtype(name)


@cache
def _held_by(dtype: str) -> str:
    """Return a letter for what a dtype holds: that of numpy where there is one, ``-`` for nothing of a schema.

    ``b`` truth values, ``i`` and ``u`` whole numbers, ``f`` others, ``M`` times, ``m`` time spans, ``O`` anything,
    ``U`` text, ``C`` categories, ``D`` dates, ``d`` decimals.

    Raises:
        SchemaError: for what is no dtype.
    """
    named = {"date": "D", "decimal": "d", "str": "U"}  # pandas has no dtypes of the first two
    if dtype in named:
        return named[dtype]
    try:
        parsed = dtype_of(dtype)
    except (TypeError, ValueError, KeyError, NotImplementedError):
        raise SchemaError("its dtype is none that pandas knows; declare one such as float64, Int64 or string") from None
    if isinstance(parsed, pd.CategoricalDtype):
        return "C"
    if isinstance(parsed, pd.StringDtype):
        return "U"
    if isinstance(parsed, np.dtype):
        return parsed.kind if parsed.kind in "biufMmO" else "-"
    kind = str(getattr(parsed, "kind", "O"))  # objects of extensions are periods, intervals, decimals of arrow
    return kind if kind in "biufMmU" and not isinstance(parsed, pd.SparseDtype) else "-"


def _is_held(category: Value, dtype: str) -> bool:
    """Return whether a column of a dtype can hold a category, exactly."""
    held = _held_by(dtype)
    if held in "OC":
        return True
    if isinstance(category, str):
        return held == "U"
    if held == "b":
        return category in (False, True)
    if held not in "iuf":
        return False
    parsed = dtype_of(dtype)
    kind = np.dtype(getattr(parsed, "numpy_dtype", parsed))
    if kind.kind == "f":
        try:
            with np.errstate(over="ignore"):  # infinite is not what was listed
                return float(kind.type(category)) == category
        except OverflowError:  # a whole number beyond all floats
            return False
    limits = np.iinfo(kind)
    return category % 1 == 0 and int(limits.min) <= category <= int(limits.max)


def _kind_name(category: Value) -> str:
    if isinstance(category, str):
        return "texts"
    return "truth values" if isinstance(category, bool | np.bool_) else "numbers"


def is_unicode(text: str) -> bool:
    """Return whether text can be written down: half a surrogate pair has no bytes in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
