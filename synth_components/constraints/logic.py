"""Rules written as conditions: implication, expression, conditional null, exactly one."""

from __future__ import annotations

import ast
from typing import Literal

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray
from pydantic import Field, model_validator

from synth_components.constraints.rule import Mask, Rule, assigned, like, nulled, put, redrawn
from synth_components.errors import ConstraintError
from synth_components.expression import formula, moment, operand


class Implication(Rule):
    """If ``when`` holds, so does ``then``.  Repairs a ``then`` of the form ``column == literal``."""

    type: Literal["implication"] = "implication"
    when: str = Field(description="A condition: `age < 16`.")
    then: str = Field(description="What must hold then: `married == 'no'`.")

    @model_validator(mode="after")
    def _refuse_bad_expressions(self) -> Implication:
        formula(self.when)
        formula(self.then)
        return self

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"{self.when} => {self.then}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the condition, then those of the consequence."""
        return tuple(dict.fromkeys((*formula(self.when).columns, *formula(self.then).columns)))

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,)."""
        when, then = formula(self.when), formula(self.then)
        applies = when.holds(table) & ~when.unknown(table)
        return pd.Series(~applies | then.holds(table) | then.unknown(table), index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table with the literal assigned, where ``then`` compares one column with one."""
        then = formula(self.then)
        match then.root:
            case ast.Compare(left=ast.Name(), ops=[ast.Eq()], comparators=[ast.Constant(value=literal)]):
                wrong = ~self.allows(table).to_numpy()
            case _:
                return table
        held = table[then.columns[0]]
        if not wrong.any() or (isinstance(held.dtype, pd.CategoricalDtype) and literal not in held.cat.categories):
            return table
        if held.dtype.kind not in "Ob" and isinstance(literal, str) != (held.dtype.kind not in "iuf"):
            return table
        try:
            if held.dtype == object:
                made = like([literal], held)
                value = literal if made is None else made[0]
            else:
                is_time = isinstance(literal, str) and held.dtype.kind == "M"
                value = moment(str(literal), getattr(held.dtype, "tz", None)) if is_time else literal
            return table.assign(**{then.columns[0]: assigned(held, wrong, value)})
        except (TypeError, ValueError, ArithmeticError):
            return table  # left to redrawing: no value of the column's dtype


class Expression(Rule):
    """A boolean expression over the columns.  Rows that break it are drawn again.

    Numbers compare exactly: write ``abs(a - b) < 0.005`` for sums of decimals, or use ``Derived``.
    """

    type: Literal["expression"] = "expression"
    expression: str = Field(description="What holds: `a + b <= 100 & city != 'none'`.")

    @model_validator(mode="after")
    def _refuse_bad_expressions(self) -> Expression:
        formula(self.expression)
        return self

    def title(self) -> str:
        """Return the rule itself."""
        return self.expression

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the expression."""
        return formula(self.expression).columns

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,)."""
        held = formula(self.expression)
        return pd.Series(held.holds(table) | held.unknown(table), index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table unchanged."""
        return table


class ConditionalNull(Rule):
    """The column is null where ``when`` holds and, unless ``only`` is false, nowhere else.

    Repairs by emptying the column, and by drawing from the values that are there.
    """

    type: Literal["conditional_null"] = "conditional_null"
    column: str = Field(description="The column that is null.")
    when: str = Field(description="The condition: `employed == 'no'`, `isnull(start)`.")
    only: bool = Field(default=True, description="Whether the column is filled in all other rows.")

    @model_validator(mode="after")
    def _refuse_circle(self) -> ConditionalNull:
        if self.column in formula(self.when).columns:
            raise ConstraintError(
                f"constraint '{self.name}' empties column '{self.column}' by its own value", constraint=self.name
            )
        return self

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"{self.column} is null {'only ' if self.only else ''}if {self.when}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The column, then those of the condition."""
        return (self.column, *formula(self.when).columns)

    def _applies(self, table: pd.DataFrame) -> tuple[Mask, Mask]:
        """Return where the condition holds and where it does not; neither where it cannot be told."""
        when = formula(self.when)
        holds, known = when.holds(table), ~when.unknown(table)
        return holds & known, ~holds & known

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,)."""
        empty = table[self.column].isna().to_numpy()
        holds, fails = self._applies(table)
        wrong = holds & ~empty
        if self.only:
            wrong |= fails & empty
        return pd.Series(~wrong, index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table with the column emptied, and filled, where it has to be."""
        held = table[self.column]
        holds, fails = self._applies(table)
        filled = held.notna().to_numpy()
        if self.only:
            held = redrawn(held, fails & ~filled, filled, rng=rng)
        return table.assign(**{self.column: nulled(held, holds & held.notna().to_numpy())})


class ExactlyOne(Rule):
    """Of the columns exactly one is filled, or true.  Repairs by keeping one of those that are set."""

    type: Literal["exactly_one"] = "exactly_one"
    columns: tuple[str, ...] = Field(min_length=2, description="The columns of which one is set.")
    counts: Literal["filled", "true"] = Field(
        "filled", description="What counts as set: filled, a value that is not null; true, true or a number but 0."
    )

    @model_validator(mode="after")
    def _refuse_repetition(self) -> ExactlyOne:
        if len(set(self.columns)) != len(self.columns):
            raise ConstraintError(f"constraint '{self.name}' lists a column twice", constraint=self.name)
        return self

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"exactly_one({', '.join(self.columns)})"

    def _set(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which columns are set, shape (n, columns)."""
        if self.counts == "filled":
            return table[list(self.columns)].notna().to_numpy()
        held = [operand(table[name]) for name in self.columns]
        if any(values.dtype.kind not in "biuf" and values.dtype != object for values in held):
            raise ConstraintError(
                f"constraint '{self.name}' counts columns that are neither booleans nor numbers", constraint=self.name
            )
        return np.column_stack(
            [
                (values.isin([True]) if values.dtype == object else values).to_numpy(dtype=bool, na_value=False)
                for values in held
            ]
        )

    def _unknown(self, table: pd.DataFrame) -> Mask:
        """Return the rows with a null, where that says nothing of what is set."""
        if self.counts == "filled":
            return np.zeros(len(table), dtype=bool)
        return table[list(self.columns)].isna().any(axis=1).to_numpy(dtype=bool)

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,)."""
        return pd.Series((self._set(table).sum(axis=1) == 1) | self._unknown(table), index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table with one column kept, or set as often as it is elsewhere, and the others unset."""
        is_set = self._set(table)
        wrong = (is_set.sum(axis=1) != 1) & ~self._unknown(table)
        if not wrong.any():
            return table
        shares = is_set.mean(axis=0)
        weight = np.where(is_set[wrong].any(axis=1)[:, None], is_set[wrong], shares if shares.any() else 1.0)
        bounds = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
        kept = (rng.random((len(weight), 1)) >= bounds[:, :-1]).sum(axis=1)  # (w,)
        wanted = is_set.copy()
        wanted[wrong] = np.arange(len(self.columns)) == kept[:, None]
        made = {}
        for k, name in enumerate(self.columns):
            on, off = wanted[:, k] & ~is_set[:, k], is_set[:, k] & ~wanted[:, k]
            if self.counts == "filled":
                made[name] = nulled(redrawn(table[name], on, is_set[:, k], rng=rng), off)
            else:
                held = table[name]
                kind = int if held.dtype.kind in "iuf" else bool  # arrow tells them apart
                held = put(self, held, on, kind(1)) if on.any() else held
                made[name] = put(self, held, off, kind(0)) if off.any() else held
        return table.assign(**made)
