"""The expression language of constraints: arithmetic, comparison and logic over the columns of a table.

It reads like a pandas expression (``&`` and ``|`` bind like ``and`` and ``or``; odd names stand in backticks), but it
is interpreted node by node from a closed list: no attribute, no subscript, no variable but a column, no call beyond
``FUNCTIONS``.  So an expression from a file that somebody else wrote can compute, and nothing else.
"""

from __future__ import annotations

import ast
import datetime
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.errors import ConstraintError, SchemaError

MAX_CHARACTERS = 2_000
MAX_DEPTH = 200
"""Operations within operations: Python's stack takes no more than a few times as many."""

_INT64 = 2**63 - 1
_LONGEST = 2**512
"""Integers are exact up to here, and floating point beyond: a product of a hundred columns would take for ever."""

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: np.float_power,  # floating point: a tower of integer powers would never end
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "abs": (1, np.abs),
    "round": (2, lambda x, places: np.round(x, int(places))),
    "floor": (1, np.floor),
    "ceil": (1, np.ceil),
    "sqrt": (1, np.sqrt),
    "log": (1, np.log),
    "exp": (1, np.exp),
    "minimum": (2, np.minimum),
    "maximum": (2, np.maximum),
    "isnull": (1, lambda x: x.isna()),
    "notnull": (1, lambda x: x.notna()),
    "year": (1, lambda x: x.dt.year),
    "month": (1, lambda x: x.dt.month),
    "day": (1, lambda x: x.dt.day),
    "hour": (1, lambda x: x.dt.hour),
    "weekday": (1, lambda x: x.dt.weekday),
    "days": (1, lambda x: x / np.timedelta64(1, "D")),
    "length": (1, lambda x: x.str.len()),
    "lower": (1, lambda x: x.str.lower()),
    "upper": (1, lambda x: x.str.upper()),
}
"""Number of arguments and meaning of each function; ``days`` turns a time span into days."""

_TOKEN = re.compile(r"""(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|`(?P<name>[^`]+)`|(?P<logic>[&|])""")


@dataclass(frozen=True)
class Formula:
    """A checked expression.

    Attributes:
        text: As written.
        root: The checked syntax tree.
        names: Column by identifier of the tree.
        columns: The columns read, in order of appearance.
        null_aware: The columns whose nulls the expression asks about, with ``isnull`` or ``notnull``.
    """

    text: str
    root: ast.expr
    names: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    null_aware: frozenset[str]

    def values(self, table: pd.DataFrame) -> Any:  # noqa: ANN401 - a Series, or a scalar where no column is named
        """Return the value for each row.

        Raises:
            ConstraintError: if the columns' types do not fit the operations.
        """
        try:
            with np.errstate(all="ignore"):
                return _value(self.root, table, dict(self.names))
        except (TypeError, ValueError, AttributeError, ZeroDivisionError, OverflowError) as error:
            raise ConstraintError(
                f"the expression over columns {list(self.columns)} cannot be computed ({type(error).__name__}): "
                "check that the columns' types fit its operations",
                constraint=self.text,
            ) from None

    def holds(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Return where the expression is true, shape (n,); false where a comparison meets a null."""
        return _truth(self.values(table), len(table))

    def unknown(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Return where a column is null whose nulls the expression does not ask about, shape (n,)."""
        missing = np.zeros(len(table), dtype=bool)
        for column in self.columns:
            if column not in self.null_aware:
                missing |= table[column].isna().to_numpy()
        return missing


@lru_cache(maxsize=512)
def formula(text: str) -> Formula:
    """Return the checked expression.

    Raises:
        ConstraintError: if it is no expression, too long, or uses anything outside the language.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConstraintError(f"an expression is longer than {MAX_CHARACTERS} characters", constraint=text[:40])
    names: dict[str, str] = {}

    def replaced(token: re.Match[str]) -> str:
        if token["text"] is not None:
            return token["text"]
        if token["logic"] is not None:
            return " and " if token["logic"] == "&" else " or "
        identifier = f"quoted_{len(names)}"
        while identifier in text:
            identifier += "_"
        names[identifier] = token["name"]
        return identifier

    try:
        root = ast.parse(_TOKEN.sub(replaced, text).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ConstraintError("the text is not an expression; check its syntax", constraint=text) from None
    columns: dict[str, None] = {}
    _check(root, text, names, columns, depth=0)
    aware = {
        names.get(call.args[0].id, call.args[0].id)
        for call in ast.walk(root)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in {"isnull", "notnull"}
        and isinstance(call.args[0], ast.Name)
    }
    return Formula(text, root, tuple(names.items()), tuple(columns), frozenset(aware))


def _check(node: ast.AST, text: str, names: dict[str, str], columns: dict[str, None], *, depth: int) -> None:
    """Raise unless the tree is within the language; collect its columns."""
    if depth > MAX_DEPTH:
        raise ConstraintError(
            f"an expression nests more than {MAX_DEPTH} operations; split the rule into several", constraint=text
        )

    def refuse(what: str) -> ConstraintError:
        return ConstraintError(
            f"an expression may not use {what}; it may compare and compute with columns and literals, and call "
            f"{', '.join(FUNCTIONS)}",
            constraint=text,
        )

    match node:
        case ast.BoolOp(values=parts):
            inside: list[ast.AST] = list(parts)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd() | ast.Invert(), operand=part):
            inside = [part]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            if any(isinstance(c, ast.Constant) and isinstance(c.value, str) for c in (left, right)):
                raise refuse("arithmetic on text")
            inside = [left, right]
        case ast.Compare(left=left, ops=ops, comparators=others):
            inside = [left]
            for test, other in zip(ops, others, strict=True):
                if isinstance(test, ast.In | ast.NotIn):
                    if not isinstance(other, ast.List | ast.Tuple) or not all(
                        isinstance(_unsigned(entry), ast.Constant) for entry in other.elts
                    ):
                        raise refuse("'in' with anything but a list of literals")
                    inside.extend(other.elts)
                elif type(test) in _COMPARISONS:
                    inside.append(other)
                else:
                    raise refuse("'is'")
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            if len(arguments) != FUNCTIONS[name][0]:
                raise refuse(f"{name}() with {len(arguments)} arguments: it takes {FUNCTIONS[name][0]}")
            if name in {"isnull", "notnull"} and not isinstance(arguments[0], ast.Name):
                raise refuse(f"{name}() on anything but a column")
            inside = list(arguments)
        case ast.Name(id=name):
            if name.startswith("__"):
                raise refuse("names that begin with two underscores")
            columns[names.get(name, name)] = None
            inside = []
        case ast.Constant(value=int() | float() as number) if not is_modest(number):
            raise refuse("a number beyond those of floating point")
        case ast.Constant(value=bool() | int() | float() | str()):
            inside = []
        case _:
            raise refuse(f"a {type(node).__name__} node")
    for child in inside:
        _check(child, text, names, columns, depth=depth + 1)


def is_modest(number: float) -> bool:
    """Return whether a number is finite as a float: an integer of Python may have any number of digits."""
    return abs(number) < 2**1023  # an infinite one is not either


def _unsigned(node: ast.expr) -> ast.expr:
    return node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else node


def _value(node: ast.expr, table: pd.DataFrame, names: dict[str, str]) -> Any:  # noqa: ANN401
    match node:
        case ast.Constant(value=constant):
            return constant
        case ast.Name(id=name):
            return operand(table[names.get(name, name)])
        case ast.BoolOp(op=op, values=parts):
            masks = [_truth(_value(part, table, names), len(table)) for part in parts]
            joined = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return pd.Series(joined.reduce(masks), index=table.index)
        case ast.UnaryOp(op=ast.USub(), operand=part):
            value = _widened(_value(part, table, names))
            return _computed(ast.Sub, 0, value) if _is_whole(value) else -value
        case ast.UnaryOp(op=ast.UAdd(), operand=part):
            return _value(part, table, names)
        case ast.UnaryOp(operand=part):
            return pd.Series(~_truth(_value(part, table, names), len(table)), index=table.index)
        case ast.BinOp(left=left, op=op, right=right):
            return _computed(type(op), _value(left, table, names), _value(right, table, names))
        case ast.Compare(left=left, ops=ops, comparators=others):
            return _compared(left, ops, others, table, names)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            given = [_value(argument, table, names) for argument in arguments]
            largest = _INT64 // 2 if name in {"abs", "round"} else _INT64  # what these make may be larger
            return FUNCTIONS[name][1](*(_floating(value, largest) for value in given))
        case _:
            raise TypeError(type(node).__name__)  # unreachable: _check refused it


def _compared(
    left: ast.expr, ops: list[ast.cmpop], others: list[ast.expr], table: pd.DataFrame, names: dict[str, str]
) -> pd.Series[bool]:
    mask: NDArray[np.bool_] = np.ones(len(table), dtype=bool)
    before = _value(left, table, names)
    for op, other in zip(ops, others, strict=True):
        if isinstance(op, ast.In | ast.NotIn) and isinstance(other, ast.List | ast.Tuple):
            entries = [_dated(ast.literal_eval(entry), before) for entry in other.elts]
            values = before if isinstance(before, pd.Series) else pd.Series([before] * len(table), index=table.index)
            inside = values.isin(entries).to_numpy(dtype=bool)
            mask &= inside if isinstance(op, ast.In) else ~inside & values.notna().to_numpy()
        else:
            after = _value(other, table, names)
            sides = _dated(before, after), _dated(after, before)
            mask &= _truth(_COMPARISONS[type(op)](*sides), len(table))
            before = after
    return pd.Series(mask, index=table.index)


def _computed(op: type[ast.operator], left: Any, right: Any) -> Any:  # noqa: ANN401
    """Return an operation of two values; of integers as Python computes it, which wraps none.

    Where 64 bits might not hold the result it is made of Python's own integers; a quotient, or a power, is a float.
    """
    combine = _ARITHMETIC[op]
    if not any(isinstance(value, pd.Series) for value in (left, right)):
        return combine(left, right)
    left, right = _widened(left), _widened(right)
    if op in {ast.Div, ast.Pow} or not (_is_whole(left) and _is_whole(right)):
        return combine(_floating(left), _floating(right))
    divides = op in {ast.FloorDiv, ast.Mod}  # what comes out is no larger than what goes in
    ends = [] if divides else [combine(x, y) for x in _ends(left) for y in _ends(right)]
    largest = max((abs(end) for end in (*ends, *_ends(left), *_ends(right))), default=0)
    if largest <= _INT64:
        return combine(left, right)
    if largest > _LONGEST:
        return combine(_as_float(left), _as_float(right))
    right = _boxed(right)
    if divides:  # by nothing: null, where Python would raise
        right = right.where(right != 0, np.nan) if isinstance(right, pd.Series) else right or np.nan
    return combine(_boxed(left), right)


def _widened(values: Any) -> Any:  # noqa: ANN401
    """Return integers and booleans, of whatever width, as 64-bit integers; others as they are."""
    if not isinstance(values, pd.Series) or values.dtype.kind not in "iub":
        return values
    is_extension = not isinstance(values.dtype, np.dtype)
    if values.dtype.kind == "u" and max(_ends(values), default=0) > _INT64:
        return values.astype("UInt64" if is_extension else "uint64")
    return values.astype("Int64" if is_extension else "int64")


def _is_whole(values: Any) -> bool:  # noqa: ANN401
    """Return whether a value, or a column, is of integers."""
    if not isinstance(values, pd.Series):
        return isinstance(values, int | np.integer)
    return values.dtype.kind in "iu" or is_boxed(values)


def is_boxed(values: Any) -> bool:  # noqa: ANN401
    """Return whether a column holds Python's own integers."""
    return (
        isinstance(values, pd.Series)
        and values.dtype == object
        and pd.api.types.infer_dtype(values, skipna=True) == "integer"
    )


def _ends(values: Any) -> tuple[int, ...]:  # noqa: ANN401
    """Return the least and largest of integers; nothing where all are null."""
    if not isinstance(values, pd.Series):
        return (int(values),)
    present = values.dropna()
    return (int(present.min()), int(present.max())) if len(present) else ()


def _boxed(values: Any) -> Any:  # noqa: ANN401
    """Return integers as Python's own, nulls as NaN."""
    return values.astype(object).where(values.notna(), np.nan) if isinstance(values, pd.Series) else int(values)


def _floating(values: Any, largest: int = _INT64) -> Any:  # noqa: ANN401
    """Return integers as floats where one of them is beyond ``largest``; other values as they are."""
    if not isinstance(values, pd.Series) or not _is_whole(values):
        return values
    return _as_float(values) if max(map(abs, _ends(values)), default=0) > largest else values


def _as_float(values: Any) -> Any:  # noqa: ANN401
    if not isinstance(values, pd.Series):
        return float(values)
    return pd.Series(values.to_numpy(dtype=np.float64, na_value=np.nan), index=values.index, name=values.name)


def _dated(value: Any, other: Any) -> Any:  # noqa: ANN401
    """Return text that is compared with a column of times as a time."""
    if isinstance(value, str) and isinstance(other, pd.Series) and other.dtype.kind == "M":
        return moment(value, getattr(other.dtype, "tz", None))
    return value


def moment(text: str, zone: datetime.tzinfo | None) -> pd.Timestamp:
    """Return an ISO 8601 time; without an offset it is in the zone, where there is one.

    A time that the zone skips becomes the next one that exists; of a time that it repeats the earlier is meant.

    Raises:
        ValueError: if the text is no such time, as 1/2/2020 is none.
    """
    datetime.datetime.fromisoformat(text)  # pandas, which keeps nanoseconds, guesses at other forms
    stamp = pd.Timestamp(text)
    if zone is None or stamp.tzinfo is not None:
        return stamp
    return stamp.tz_localize(zone, ambiguous=True, nonexistent="shift_forward")


def as_times(values: pd.Series[Any], *, utc: bool = False) -> pd.Series[Any]:
    """Return times (n,), dates among them, null as NaT; those that nanoseconds do not hold, too.

    Args:
        values: Times, or objects that are.
        utc: Whether to return them in UTC.

    Raises:
        SchemaError: for anything else.
    """
    try:
        try:
            return pd.to_datetime(values, utc=utc)
        except pd.errors.OutOfBoundsDatetime:  # pandas before 3 takes objects for nanoseconds
            held = values.astype(object).where(values.notna(), None).to_numpy()
            made = pd.Series(held.astype("datetime64[us]"), values.index, name=values.name)
            return made.dt.tz_localize("UTC") if utc else made
    except (TypeError, ValueError):  # not with its message, which quotes a cell
        raise SchemaError(
            f"column '{values.name}' is a datetime in the schema and holds something else; parse it, or change the "
            "schema",
            column=str(values.name),
        ) from None


def _truth(value: Any, n: int) -> NDArray[np.bool_]:  # noqa: ANN401
    if not isinstance(value, pd.Series):
        return np.full(n, bool(value))
    if value.dtype == np.bool_:
        return value.to_numpy()
    held = value.to_numpy(dtype=object)
    missing = value.isna().to_numpy()
    return np.where(missing, ~missing, held).astype(bool)  # null is false


def operand(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column as arithmetic takes it: decimals as floats, dates as times, categories as values.

    Integers come with 64 bits, so that no result wraps for the column's own width.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        return operand(values.astype(object))
    if isinstance(values.dtype, pd.ArrowDtype) and values.dtype.kind == "f":
        return values.astype("Float64")
    if values.dtype.kind in "iu":
        return cast("pd.Series[Any]", _widened(values))
    if values.dtype == object:
        kind = pd.api.types.infer_dtype(values, skipna=True)
        if kind == "decimal":
            present = values.notna().to_numpy()
            numbers = np.full(len(values), np.nan)
            numbers[present] = [float(v) for v in values[present]]
            return pd.Series(numbers, index=values.index, name=values.name)
        if kind == "date":
            return as_times(values)
        if kind in {"integer", "floating", "mixed-integer-float"}:
            return pd.to_numeric(values)
    return values
