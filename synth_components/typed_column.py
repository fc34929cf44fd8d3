"""Rows to the type of a column, and what a person should know about it: identifiers, free text, rare values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.column_type import Kind, kind_of, ordinary, refused
from synth_components.encode import cast_to
from synth_components.errors import SchemaError
from synth_components.identifier import SOME, hints_at, identifier_kind, key_prefix, number_kind, words
from synth_components.schema import AnyColumn, Key, Text, dtype_name
from synth_components.support import Owners, counted, support, supports_of

_PERSON = re.compile(
    r"\b(?:patient|person|customer|client|user|employee|student|participant|respondent|subscriber|beneficiary|citizen|"
    r"tax ?payer|insured|claimant|resident|household|subject|member)s?\b"
)
_FEWEST_PERSONS = 20
"""Distinct values from which a column that is named after persons and their numbers seems to name them."""


@dataclass(frozen=True)
class Finding:
    """Something a person should know about a column; it names no value.

    Attributes:
        kind: ``identifier``, ``free_text``, ``key``, ``repeated_key``, ``rare_values``, ``constant`` or ``empty``.
    """

    table: str
    column: str
    kind: str
    message: str


@dataclass(frozen=True)
class Counting:
    """What is counted behind a value of a table, and how much of it is enough.

    Attributes:
        table: Name of the table.
        min_count: Fewest rows, or privacy units that have some.
        unit: Columns that name the unit; empty where a row is one.
        owners: The privacy unit (n,) of each row.
    """

    table: str
    min_count: int
    unit: tuple[str, ...] = ()
    owners: Owners = field(default=None, compare=False, repr=False)

    @property
    def counted(self) -> str:
        """What is counted, in words."""
        return counted(self.owners)

    def behind(self, rows: NDArray[np.bool_]) -> int:
        """Return how many rows, or units, there are (n,)."""
        return support(rows, self.owners)


def typed(values: pd.Series[Any], counting: Counting) -> tuple[AnyColumn, list[Finding]]:
    """Return the column that a series is, and what to warn of.

    Raises:
        SchemaError: naming the column that no schema can hold, and the remedy.
    """
    table, name = counting.table, str(values.name)
    try:
        kind = kind_of(values)
        if kind == "integer":
            special = _integer_identifier(values, counting)
        elif kind in {"text", "category"}:
            special = _text_identifier(values, counting)
        else:
            special = None
        if counting.unit == (name,) and kind in {"integer", "float", "text", "category"}:
            return _named(values, counting, special)
        if special is not None:
            return special
        made, rare = ordinary(values, kind, min_count=counting.min_count, owners=counting.owners)
    except SchemaError as error:
        raise SchemaError(f"table '{table}': {error}", column=name, table=table) from None
    return made, _warnings(values, kind, counting, rare)


def _named(
    values: pd.Series[Any], counting: Counting, special: tuple[AnyColumn, list[Finding]] | None
) -> tuple[AnyColumn, list[Finding]]:
    """Return the column that names the privacy unit: a key, but for what a person is known by, such as an address.

    However many rows share a value of it, the value is one unit's.
    """
    name, present = str(values.name), values[values.notna()]
    column: AnyColumn | None = None if special is None else special[0]
    if not isinstance(column, Text) or column.kind in {"free", "identifier"}:
        if not isinstance(column, Key):
            is_text = isinstance(column, Text) and counting.behind(values.notna().to_numpy()) >= counting.min_count
            prefix = key_prefix(present) if is_text else None
            column = Key(dtype=dtype_name(values.dtype), nullable=len(present) < len(values), prefix=prefix or "")
        if bool(present.is_unique):
            return column, [_key(counting.table, name)]
    told = f"column '{name}' names the privacy unit; it is not learned, and made anew row by row"
    found = [] if special is None else [one for one in special[1] if one.kind == "identifier"]
    return column, [*found, Finding(counting.table, name, "repeated_key", told)]


def _warnings(values: pd.Series[Any], kind: Kind, counting: Counting, rare: float) -> list[Finding]:
    table, name = counting.table, str(values.name)
    if len(values) and bool(values.isna().all()):
        return [Finding(table, name, "empty", f"column '{name}' has no values; drop it unless it must be there")]
    found = []
    if rare > 0 and kind in {"text", "category"}:
        found.append(
            Finding(
                table,
                name,
                "rare_values",
                f"column '{name}': {rare:.2%} of its rows hold values that fewer than {counting.min_count} "
                f"{counting.counted} share; they are left out of the schema, and generators redistribute them",
            )
        )
    if len(values) and cast_to(values[values.notna()].iloc[:1_000], object).nunique() == 1 and values.nunique() == 1:
        found.append(Finding(table, name, "constant", f"column '{name}' has one value only"))
    if not counting.unit and kind in {"integer", "text", "category"} and _seems_to_name_persons(values):
        told = f"column '{name}' looks like the identifier of somebody with so many rows that its values are kept"
        found.append(Finding(table, name, "repeated_key", f"{told}{_remedy(counting)}"))
    return found


def _seems_to_name_persons(values: pd.Series[Any]) -> bool:
    """Return whether a column that is learned has a name of persons' numbers, and many values that repeat."""
    name = str(values.name)
    if _PERSON.search(words(name)) is None or not hints_at(name, "identifier"):
        return False
    return _FEWEST_PERSONS <= values.nunique() < int(values.notna().sum())


def _integer_identifier(values: pd.Series[Any], counting: Counting) -> tuple[AnyColumn, list[Finding]] | None:
    table, name, dtype = counting.table, str(values.name), str(values.dtype)
    nullable = bool(values.isna().any())
    present = values[values.notna()]
    number = number_kind(values)
    if number is not None:
        return Text(dtype=dtype, nullable=nullable, kind=number), [_identifier(table, name, number)]
    if len(present) < 2 * counting.min_count:
        return None
    hinted = hints_at(name, "identifier")
    distinct = int(present.nunique())
    if distinct == len(present):
        span = int(present.max()) - int(present.min()) + 1
        if hinted or span < 2 * distinct:
            return Key(dtype=dtype, nullable=nullable), [_key(table, name)]
    elif hinted:
        supported, total = _supported(values, counting)
        if supported < SOME and distinct > total / (2 * counting.min_count):
            return Key(dtype=dtype, nullable=nullable), [_repeated(counting, name)]
    return None


def _text_identifier(values: pd.Series[Any], counting: Counting) -> tuple[AnyColumn, list[Finding]] | None:
    table, name, dtype = counting.table, str(values.name), dtype_name(values.dtype)
    is_there = values.notna()
    nullable = not bool(is_there.all())
    present = values[is_there]
    if isinstance(values.dtype, pd.CategoricalDtype):
        if not all(isinstance(category, str) for category in values.dtype.categories.tolist()):
            return None
        present = cast_to(present, object)
    if not len(present):
        return None
    supported, _ = _supported(values, counting)
    kind = identifier_kind(present, supported=supported)
    text_dtype = "object" if dtype == "category" else dtype
    if kind is not None:
        if dtype == "category":
            raise refused(name, f"looks like a direct identifier ({kind}) and has dtype category", "cast it to text")
        return Text(dtype=text_dtype, nullable=nullable, kind=kind), [_identifier(table, name, kind)]
    if supported >= SOME or dtype == "category":
        return None
    is_unique = bool(present.is_unique)
    prefix = key_prefix(present)
    if len(present) >= counting.min_count and (prefix is not None or hints_at(name, "identifier")):
        if is_unique:
            is_shown = counting.behind(is_there.to_numpy()) >= counting.min_count
            prefix = prefix if prefix and is_shown else ""
            return Key(dtype=text_dtype, nullable=nullable, prefix=prefix), [_key(table, name)]
        return Text(dtype=text_dtype, nullable=nullable, kind="identifier"), [_repeated(counting, name)]
    message = (
        f"column '{name}' holds text that few {counting.counted} share; it is not learned, and drawn as made-up text. "
        "If it is a category, declare it in the schema"
    )
    return Text(dtype=text_dtype, nullable=nullable), [Finding(table, name, "free_text", message)]


def _supported(values: pd.Series[Any], counting: Counting) -> tuple[float, int]:
    """Return the share of rows whose value enough rows share, and their number; a unit has a value once."""
    counts = values.value_counts()
    behind = supports_of(values, counts, counting.owners)
    total = int(behind.sum())
    return float(behind[behind >= counting.min_count].sum()) / max(total, 1), total


def _identifier(table: str, name: str, kind: str) -> Finding:
    return Finding(
        table,
        name,
        "identifier",
        f"column '{name}' looks like a direct identifier ({kind}); it is not learned, and made anew",
    )


def _key(table: str, name: str) -> Finding:
    return Finding(table, name, "key", f"column '{name}' identifies rows; it is not learned, and numbered anew")


def _repeated(counting: Counting, name: str) -> Finding:
    told = f"column '{name}' looks like the identifier of somebody with several rows; it is not learned, and made anew "
    return Finding(counting.table, name, "repeated_key", f"{told}row by row{_remedy(counting)}")


def _remedy(counting: Counting) -> str:
    """Return what to do about several rows of somebody; nothing where it was done."""
    if counting.unit:
        return ""
    return ". Name it as the unit of the profile, so that what is kept, splits and guarantees count people, not rows"
