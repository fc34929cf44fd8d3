"""Conditions as text carries them: decimals, for which JSON and CSV have no type; and in words."""

from __future__ import annotations

import decimal
from typing import Any, assert_never

import pandas as pd

from synth_components.schema import AnyColumn, Boolean, Categorical, Datetime, Image, Key, Numeric, Schema, Text


def readable(values: pd.Series[Any], column: AnyColumn | None) -> pd.Series[Any]:
    """Return the request values of a column, each as ``readable_value`` does."""
    if not isinstance(column, Numeric) or column.dtype != "decimal":
        return values
    return pd.Series([readable_value(v, column) for v in values.tolist()], index=values.index, dtype=object)


def readable_value(value: object, column: AnyColumn | None) -> object:
    """Return the decimal that a text means in a column of decimals, and anything else as it is.

    What is no such text stays for ``conditions.parse`` to refuse; it reads times and time spans itself.
    """
    if not isinstance(value, str) or not isinstance(column, Numeric) or column.dtype != "decimal":
        return value
    try:
        made = decimal.Decimal(value)
    except decimal.InvalidOperation:
        return value
    return made if made.is_finite() else value


def rules(names: tuple[str, ...], schema: Schema) -> str:
    """Return what the named columns take, in words that hold no value of the training table."""
    known = [name for name in names if name in schema.columns]
    return "".join(f"; column '{name}' takes {_rule(schema.columns[name])}, or null for any" for name in known)


def _rule(column: AnyColumn) -> str:
    match column:
        case Numeric() if column.dtype.startswith("timedelta"):
            return "a time span as ISO 8601 text"
        case Numeric(places=None):
            return "a number" + _within(column)
        case Numeric(places=places) if places is not None and places > 0:
            return f"a number of at most {places} decimal places" + _within(column)
        case Numeric():
            return "a whole number" + _within(column)
        case Categorical():
            return f"one of its {len(column.categories)} categories"
        case Boolean():
            return "true or false"
        case Datetime():
            return "a time as ISO 8601 text" + _within(column)
        case Text() | Image() | Key():
            return "no value"
        case _:
            assert_never(column)


def _within(column: Numeric | Datetime) -> str:
    return "" if column.low is None and column.high is None else " within the bounds of the model's schema"
