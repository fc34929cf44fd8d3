"""Rules between columns of numbers or times: inequality, derived column, sum to a constant."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray
from pydantic import Field, model_validator

from synth_components.constraints.rule import Rule, assigned, fits, like, mask_of, misfit, put
from synth_components.errors import ConstraintError
from synth_components.expression import Formula, formula, is_boxed, operand


class Inequality(Rule):
    """``low <= high`` between two columns of numbers, spans or times.  Repairs by swapping the values."""

    type: Literal["inequality"] = "inequality"
    low: str = Field(description="Column of the smaller value.")
    high: str = Field(description="Column of the larger value.")
    strict: bool = Field(default=False, description="Exclude equality.")

    @model_validator(mode="after")
    def _refuse_self(self) -> Inequality:
        if self.low == self.high:
            raise ConstraintError(f"constraint '{self.name}' compares a column with itself", constraint=self.name)
        return self

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"{self.low} {'<' if self.strict else '<='} {self.high}"

    @property
    def columns(self) -> tuple[str, ...]:
        """Low, then high."""
        return (self.low, self.high)

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,)."""
        low, high = operand(table[self.low]), operand(table[self.high])
        try:
            obeys = mask_of(low < high if self.strict else low <= high)
        except TypeError:
            raise misfit(self, self.columns) from None
        return pd.Series(obeys | low.isna().to_numpy() | high.isna().to_numpy(), index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table with wrong pairs swapped, where both columns have the same dtype."""
        right = self.allows(table)
        low, high = table[self.low], table[self.high]
        if bool(right.all()) or low.dtype != high.dtype:
            return table
        return table.assign(**{self.low: low.where(right, high), self.high: high.where(right, low)})


class Derived(Rule):
    """``column == expression``.  Repairs by computing, so that every row without nulls can be mended."""

    type: Literal["derived"] = "derived"
    column: str = Field(description="The column that is computed.")
    expression: str = Field(description="How: `price * quantity`.")
    places: int = Field(15, ge=-15, le=15, description="Decimal places to which the result is rounded.")
    tolerance: float = Field(
        1e-6, ge=0, description="Largest deviation of a number, relative to the larger of 1 and the result's size."
    )

    @model_validator(mode="after")
    def _refuse_circle(self) -> Derived:
        if self.column in self.formula.columns:
            raise ConstraintError(
                f"constraint '{self.name}' computes column '{self.column}' from itself", constraint=self.name
            )
        return self

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"{self.column} == {self.expression}"

    @property
    def formula(self) -> Formula:
        """The checked expression."""
        return formula(self.expression)

    @property
    def columns(self) -> tuple[str, ...]:
        """The computed column, then those of the expression."""
        return (self.column, *self.formula.columns)

    def _expected(self, table: pd.DataFrame) -> pd.Series[Any]:
        made = self.formula.values(table)
        values = made if isinstance(made, pd.Series) else pd.Series([made] * len(table), index=table.index)
        if values.dtype.kind == "f" and self.places < 15:
            return values.round(self.places)
        return values

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,)."""
        expected, held = self._expected(table), operand(table[self.column])
        unknown = held.isna().to_numpy() | self.formula.unknown(table)
        if (expected.dtype.kind in "iuf" or is_boxed(expected)) and held.dtype.kind in "iuf":
            wanted = expected.to_numpy(dtype=np.float64, na_value=np.nan)
            with np.errstate(invalid="ignore"):
                gap = np.abs(held.to_numpy(dtype=np.float64, na_value=np.nan) - wanted)
                obeys = gap <= self.tolerance * np.maximum(1.0, np.abs(wanted))
        else:
            obeys = mask_of(expected == held)
        return pd.Series(obeys | unknown, index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table with the column computed wherever it is wrong and the result is finite."""
        expected, held = self._expected(table), table[self.column]
        wrong = ~self.allows(table).to_numpy() & expected.notna().to_numpy()
        if expected.dtype.kind == "f":
            wrong &= np.isfinite(expected.to_numpy(dtype=np.float64, na_value=np.nan))
        try:
            if held.dtype.kind in "iu":
                wrong &= fits(expected, held.dtype)  # the others are left to redrawing
            if not wrong.any() or isinstance(held.dtype, pd.CategoricalDtype):
                return table
            new = expected[wrong].astype(object).to_numpy()
            if held.dtype.kind in "iu":
                new = np.array([round(value) for value in new], dtype=object)
            made = like(new, held) if held.dtype == object else None
            return table.assign(**{self.column: assigned(held, wrong, new if made is None else made)})
        except (TypeError, ValueError, ArithmeticError):
            raise misfit(self, self.columns) from None


class ConstantSum(Rule):
    """The columns sum to ``total``.  Repairs by scaling; the largest takes what rounding leaves."""

    type: Literal["constant_sum"] = "constant_sum"
    columns: tuple[str, ...] = Field(min_length=2, description="Columns of numbers.")
    total: float = Field(description="Their sum in every row.")
    tolerance: float = Field(
        1e-6, ge=0, description="Largest deviation, relative to the larger of 1 and the size of the total."
    )

    @model_validator(mode="after")
    def _refuse_repetition(self) -> ConstantSum:
        if len(set(self.columns)) != len(self.columns):
            raise ConstraintError(f"constraint '{self.name}' adds a column twice", constraint=self.name)
        return self

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"{' + '.join(self.columns)} == {self.total:g}"

    def _numbers(self, table: pd.DataFrame) -> NDArray[np.float64]:
        """Return the columns as floats, shape (n, columns)."""
        held = [operand(table[name]) for name in self.columns]
        if any(values.dtype.kind not in "iufb" and bool(values.notna().any()) for values in held):
            raise misfit(self, self.columns)
        return np.column_stack([values.to_numpy(dtype=np.float64, na_value=np.nan) for values in held])

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,)."""
        sums = self._numbers(table).sum(axis=1)
        with np.errstate(invalid="ignore"):
            obeys = np.abs(sums - self.total) <= self.tolerance * max(1.0, abs(self.total))
        return pd.Series(obeys | np.isnan(sums), index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table with wrong rows scaled to the total, where the columns' dtypes hold the result."""
        wrong = ~self.allows(table).to_numpy()
        if not wrong.any():
            return table
        numbers = self._numbers(table)
        places = [_places(numbers[:, k]) for k in range(len(self.columns))]
        rows = numbers[wrong]  # (w, columns)
        sums = rows.sum(axis=1)
        scalable = (rows >= 0).all(axis=1) & (sums > 0) & (self.total > 0)
        rows[scalable] *= (self.total / sums[scalable])[:, None]
        for k, kept in enumerate(places):
            if kept is not None:
                rows[:, k] = np.round(rows[:, k], kept)
        largest = np.abs(rows).argmax(axis=1)
        here = np.arange(len(rows))
        rest = rows.sum(axis=1) - rows[here, largest]
        rows[here, largest] = self.total - rest
        for k, kept in enumerate(places):
            if kept is not None:
                rows[:, k] = np.round(rows[:, k], kept)
        kept_rows = np.ones(len(rows), dtype=bool)
        for k, name in enumerate(self.columns):
            if table[name].dtype.kind in "iu":
                kept_rows &= fits(pd.Series(rows[:, k]), table[name].dtype)
        rows, wrong = rows[kept_rows], wrong.copy()
        wrong[wrong] = kept_rows
        made = {}
        for k, name in enumerate(self.columns):
            held = table[name]
            values = like(rows[:, k], held) if held.dtype == object else None
            made[name] = put(self, held, wrong, rows[:, k] if values is None else values)
        return table.assign(**made)


def _places(numbers: NDArray[np.float64]) -> int | None:
    """Return the decimal places that all numbers of a column are rounded to; ``None`` beyond nine."""
    present = numbers[np.isfinite(numbers)]
    return next((p for p in range(10) if np.array_equal(np.round(present, p), present)), None)
