"""The rows that rules are mined from, as the miners read them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from keyword import iskeyword
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.constraints import Constraint
from synth_components.expression import FUNCTIONS, operand
from synth_components.schema import AnyColumn, Boolean, Categorical, Datetime, Numeric, Schema
from synth_components.split import owners_in
from synth_components.support import Owners, counted, support, supports

Floats = NDArray[np.float64]

SIGNIFICANT = 16.0
"""Nats of evidence that a rule needs: were it chance, that would have a probability of e^-16, 1 in 9 million."""

FEW = 20
"""Most values of a column that conditions and value sets list."""


_LARGEST = 1e300


@dataclass(frozen=True)
class Proposal:
    """A rule that the rows suggest.

    Attributes:
        rule: The rule, whole.
        share: Share of rows that obey it, in [0, 1].
        rows: Rows that it is read off: those without a null among its columns, or to which its condition applies.
        reason: Why it is not trivial.
    """

    rule: Constraint
    share: float
    rows: int
    reason: str


@dataclass(frozen=True)
class Rows:
    """One table with its columns by kind, each read once.

    Attributes:
        table: All rows.
        columns: Their schema.
        min_count: Fewest rows, or privacy units that have some, behind a value that a rule names.
        owners: The privacy unit (n,) of each row; ``None`` if a row is one.
    """

    table: pd.DataFrame
    columns: dict[str, AnyColumn]
    min_count: int
    owners: Owners = None

    @property
    def counted(self) -> str:
        """What is counted behind a value."""
        return counted(self.owners)

    def support(self, where: NDArray[np.bool_]) -> int:
        """Return how many rows, or privacy units that have some, there are (n,)."""
        return support(where, self.owners)

    def supports(self, codes: NDArray[np.int64], size: int) -> NDArray[np.int64]:
        """Return the support (size,) of each code of the rows (n,), -1 for none."""
        return supports(codes, self.owners, size)

    def bears_out(self, rule: Constraint) -> bool:
        """Return whether enough rows, or units, have what a rule is about, if any has all of it."""
        full = self.table[list(rule.columns)].notna().all(axis=1).to_numpy(dtype=bool)
        return not full.any() or self.support(full) >= self.min_count

    @cached_property
    def numbers(self) -> dict[str, Floats]:
        """Numeric columns as floats with NaN for null, (n,) each.

        Left out are constant ones, time spans, and numbers whose sums might not be finite.
        """
        made = {}
        for name, column in self.columns.items():
            if isinstance(column, Numeric) and "time" not in column.dtype and "`" not in name:
                values = operand(self.table[name]).to_numpy(dtype=np.float64, na_value=np.nan)
                held = values[np.isfinite(values)]
                if len(held) >= self.min_count and -_LARGEST < held.min() < held.max() < _LARGEST:
                    made[name] = np.where(np.isfinite(values), values, np.nan)
        return made

    @cached_property
    def times(self) -> dict[str, Floats]:
        """Times as nanoseconds with NaN for null, (n,) each; constant ones are left out."""
        made = {}
        for name, column in self.columns.items():
            if isinstance(column, Datetime) and "`" not in name:
                stamps = operand(self.table[name])
                values = pd.to_datetime(stamps, utc=column.zone is not None).dt.tz_localize(None)
                numbers = np.where(values.isna(), np.nan, values.to_numpy("datetime64[ns]").astype(np.int64))
                if np.isfinite(numbers).sum() >= self.min_count and np.nanmin(numbers) < np.nanmax(numbers):
                    made[name] = numbers
        return made

    def are_comparable(self, first: str, second: str) -> bool:
        """Return whether rules may compare two columns, which they may not a time with a zone and one without."""
        columns = (self.columns[first], self.columns[second])
        return len({isinstance(column, Datetime) and column.zone is not None for column in columns}) == 1

    @cached_property
    def binary(self) -> set[str]:
        """Numeric columns that hold 0 and 1 only."""
        return {name for name, values in self.numbers.items() if set(np.unique(values[~np.isnan(values)])) == {0, 1}}

    @cached_property
    def labels(self) -> dict[str, tuple[NDArray[np.int64], list[Any]]]:
        """Categorical and boolean columns as codes (n,), -1 for null, with the values of the codes."""
        made = {}
        for name, column in self.columns.items():
            if isinstance(column, Categorical | Boolean) and "`" not in name:
                codes, distinct = pd.factorize(self.table[name].astype(object))
                values = [v.item() if isinstance(v, np.generic) else v for v in distinct]
                if len(values) >= 2 and all(isinstance(v, bool | int | float | str) for v in values):
                    made[name] = (codes.astype(np.int64), values)
        return made

    @cached_property
    def few(self) -> dict[str, tuple[NDArray[np.int64], list[Any]]]:
        """The labels of at most 20 values."""
        return {name: held for name, held in self.labels.items() if len(held[1]) <= FEW}

    def null(self, name: str) -> NDArray[np.bool_]:
        """Return where a column is null, shape (n,)."""
        return self.table[name].isna().to_numpy()

    def proposal(self, rule: Any, reason: str, *, rows: int | None = None) -> Proposal:  # noqa: ANN401 - one of our rules
        """Return a rule with the share of rows that obey it, counted on all rows."""
        if rows is None:
            rows = int(self.table[list(rule.columns)].notna().all(axis=1).sum())
        return Proposal(rule, float(rule.allows(self.table).mean()), rows, reason)


def rows_of(table: pd.DataFrame, schema: Schema, *, min_count: int) -> Rows:
    """Return the rows of the root table of a schema."""
    return Rows(table, dict(schema.columns), min_count, owners_in(table, schema))


def quoted(name: str) -> str:
    """Return a column's name as an expression writes it."""
    plain = name.isidentifier() and not iskeyword(name) and name not in FUNCTIONS and not name.startswith("__")
    return name if plain else f"`{name}`"


def listed(name: str, values: list[Any]) -> str:
    """Return the condition that a column holds one of ``values``."""
    return f"{quoted(name)} == {values[0]!r}" if len(values) == 1 else f"{quoted(name)} in {values!r}"


def rounded(value: float, step: float) -> float | int:
    """Return a multiple of ``step``, a power of ten, without the noise of floats."""
    digits = max(0, -math.floor(math.log10(step) + 0.5))
    made = round(value, digits)
    return int(made) if digits == 0 or float(made).is_integer() else made


def threshold(below: float, above: float, span: float) -> float | int:
    """Return the roundest number ``t`` with ``below < t <= above``, or one rounded down from ``above``."""
    for exponent in range(math.floor(math.log10(span)) + 1, math.floor(math.log10(span)) - 4, -1):
        step = 10.0**exponent
        candidate = math.floor(above / step + 1e-9) * step
        if candidate > below:
            return rounded(candidate, step)
    step = 10.0 ** (math.floor(math.log10(span)) - 2)
    return rounded(math.floor(above / step) * step, step)
