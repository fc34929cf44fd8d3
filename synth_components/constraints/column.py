"""Rules on one column: range, value set, not null, pattern."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy import random
from pydantic import Field, model_validator

from synth_components.constraints.rule import Bound, Rule, Value, assigned, like, mask_of, misfit, redrawn
from synth_components.errors import ConstraintError
from synth_components.expression import moment, operand
from synth_components.pattern import matches, require_pattern, written


class Range(Rule):
    """``low <= column <= high``; times as ISO 8601 text.  Repairs by clipping, unless strict."""

    type: Literal["range"] = "range"
    column: str = Field(description="A number, a time span (in its own unit) or a time.")
    low: Bound = Field(None, description="Smallest value; null leaves the side open.")
    high: Bound = Field(None, description="Largest value; null leaves the side open.")
    strict: bool = Field(default=False, description="Exclude the bounds themselves.")

    @model_validator(mode="after")
    def _refuse_empty(self) -> Range:
        try:
            low: Any = moment(self.low, None) if isinstance(self.low, str) else self.low
            high: Any = moment(self.high, None) if isinstance(self.high, str) else self.high
            empty = low is not None and high is not None and (low > high or (self.strict and low == high))
        except (TypeError, ValueError):
            raise ConstraintError(
                f"the bounds of constraint '{self.name}' are not two numbers or two ISO times", constraint=self.name
            ) from None
        if empty:
            raise ConstraintError(
                f"constraint '{self.name}' allows nothing: its low bound lies above its high bound",
                constraint=self.name,
            )
        return self

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"range({self.column})"

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def _bound(self, values: pd.Series[Any], bound: float | str) -> Any:  # noqa: ANN401
        if values.dtype.kind == "m":
            return pd.Timedelta(round(float(bound)), unit=np.datetime_data(values.dtype)[0])  # type: ignore[arg-type]  # known at run time
        if not isinstance(bound, str):
            return bound
        return moment(bound, getattr(values.dtype, "tz", None))

    def _end(self, values: pd.Series[Any], bound: float | str | None) -> Any:  # noqa: ANN401
        """Return what values can be clipped to; ``None`` for a time beyond those of the dtype."""
        made = None if bound is None else self._bound(values, bound)
        try:
            return made.as_unit(values.dt.unit) if isinstance(made, pd.Timestamp) else made
        except pd.errors.OutOfBoundsDatetime:
            return None

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,)."""
        values = operand(table[self.column])
        obeys = values.isna().to_numpy()
        inside = np.ones(len(values), dtype=bool)
        try:
            with np.errstate(over="ignore"):  # a narrow float compares with a bound beyond it as with infinity
                if self.low is not None:
                    low = self._bound(values, self.low)
                    inside &= mask_of(values > low if self.strict else values >= low)
                if self.high is not None:
                    high = self._bound(values, self.high)
                    inside &= mask_of(values < high if self.strict else values <= high)
        except TypeError:
            raise misfit(self, self.columns) from None
        return pd.Series(obeys | inside, index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table with outlying values moved to the nearest bound."""
        values = table[self.column]
        if self.strict or isinstance(values.dtype, pd.CategoricalDtype) or bool(self.allows(table).all()):
            return table
        if values.dtype == object:
            return table.assign(**{self.column: self._clipped(values)})
        low, high = self.low, self.high
        if values.dtype.kind in "iu":  # the bounds that an integer can take
            ends = np.iinfo(getattr(values.dtype, "numpy_dtype", values.dtype))
            low, high = (
                bound if bound is None or isinstance(bound, str) else min(max(int(near(bound)), ends.min), ends.max)
                for bound, near in ((low, math.ceil), (high, math.floor))
            )
        try:
            clipped = values.clip(self._end(values, low), self._end(values, high)).astype(values.dtype)
        except (ArithmeticError, TypeError, ValueError):
            return table  # left to redrawing: the column's dtype does not hold the bound
        return table.assign(**{self.column: clipped})

    def _clipped(self, held: pd.Series[Any]) -> pd.Series[Any]:
        """Return decimals, dates or integers, held as objects, moved to the nearest of them within the bounds."""
        values, made = operand(held), held
        for bound, up in ((self.low, True), (self.high, False)):
            if bound is None:
                continue
            end = self._bound(values, bound)
            beyond = mask_of(values < end if up else values > end)
            nearest = like([end], held, rounding=ROUND_CEILING if up else ROUND_FLOOR)
            if nearest is not None and beyond.any():
                made = assigned(made, beyond, nearest[0])
        return made


class ValueSet(Rule):
    """The column holds one of ``values``.  Repairs by drawing from the right rows, else evenly."""

    type: Literal["value_set"] = "value_set"
    column: str = Field(description="Any column of text, numbers or booleans.")
    values: tuple[Value, ...] = Field(min_length=1, description="What it may hold.")

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"values({self.column})"

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,)."""
        held = table[self.column]
        values = operand(held)
        if values.dtype.kind in "mM":
            raise misfit(self, self.columns)
        return pd.Series(values.isin(list(self.values)).to_numpy() | held.isna().to_numpy(), index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table with values drawn anew wherever they are none of the set."""
        held = table[self.column]
        right = self.allows(table).to_numpy()
        if right.all():
            return table
        pool = right & held.notna().to_numpy()
        if pool.any():
            return table.assign(**{self.column: redrawn(held, ~right, pool, rng=rng)})
        chosen = np.array(self.values, dtype=object)[rng.integers(len(self.values), size=int((~right).sum()))]
        try:
            made = like(chosen, held) if held.dtype == object else None
            return table.assign(**{self.column: assigned(held, ~right, chosen if made is None else made)})
        except (TypeError, ValueError, ArithmeticError):
            raise misfit(self, self.columns) from None


class NotNull(Rule):
    """The column holds no null.  Repairs by drawing from the values that are there."""

    type: Literal["not_null"] = "not_null"
    column: str = Field(description="Any column.")

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"not_null({self.column})"

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,)."""
        return table[self.column].notna()

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table with the gaps filled."""
        held = table[self.column]
        filled = held.notna().to_numpy()
        return table if filled.all() else table.assign(**{self.column: redrawn(held, ~filled, filled, rng=rng)})


class Pattern(Rule):
    """The whole text matches a regular expression.  Repairs by writing text that matches.

    The language is RE2's, which takes linear time: no look-around and no back-references.
    """

    type: Literal["pattern"] = "pattern"
    column: str = Field(description="A column of text.")
    pattern: str = Field(min_length=1, max_length=1_000, description=r"The regular expression: `[A-Z]{2}-\d{4}`.")

    @model_validator(mode="after")
    def _refuse_bad_pattern(self) -> Pattern:
        require_pattern(self.pattern)
        return self

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"pattern({self.column})"

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,)."""
        held = table[self.column]
        try:
            return pd.Series(matches(held, self.pattern) | held.isna().to_numpy(), index=table.index)
        except TypeError:
            raise ConstraintError(
                f"constraint '{self.name}' matches text, and column '{self.column}' holds something else",
                constraint=self.name,
            ) from None

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table with text made up wherever it does not match; unchanged if it is a category."""
        held = table[self.column]
        wrong = ~self.allows(table).to_numpy()
        if not wrong.any() or isinstance(held.dtype, pd.CategoricalDtype):
            return table
        made = written(self.pattern, int(wrong.sum()), rng=rng)
        return table if made is None else table.assign(**{self.column: assigned(held, wrong, made)})
