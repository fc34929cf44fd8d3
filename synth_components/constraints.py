"""Rules that every row obeys: frozen, in the schema, saved with the model, enforced block by block.

A row with a null among the columns of a rule passes it, unless the rule itself asks about the null.  A rule's values
are a person's declaration and therefore public; what ``FunctionalDependency`` learns from rows has the support it says.
"""

from __future__ import annotations

import ast
import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from synth_components.config import MIN_CATEGORY_COUNT, Config
from synth_components.errors import ConstraintError, DataError, SchemaError
from synth_components.expression import Formula, formula, operand

Value: TypeAlias = bool | int | float | str


class Constraint(Protocol):
    """A rule over columns of one table."""

    @property
    def name(self) -> str:
        """Unique within a schema."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the rule reads or repairs."""

    @property
    def spans_rows(self) -> bool:
        """Whether a row obeys or not depending on the rows before it."""

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,)."""

    def repair(self, table: pd.DataFrame, *, rng: random.Generator) -> pd.DataFrame:
        """Return the table with as many rows as possible mended; other rows unchanged."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value with a ``type`` from which ``constraint_from_json`` makes an equal rule."""


@runtime_checkable
class Learnable(Protocol):
    """A rule with a part that ``fit`` takes from the training rows."""

    @property
    def is_learned(self) -> bool:
        """Whether nothing is left to learn."""

    def learn(self, table: pd.DataFrame) -> Constraint:
        """Return the whole rule."""


class Rule(Config):
    """The base of our rules: a name, and JSON."""

    name: str = Field("", description="Unique within a schema; empty derives it from the rule.")

    @model_validator(mode="after")
    def _derive_name(self) -> Rule:
        if not self.name:
            self.__dict__["name"] = self.title()  # the model is frozen from here on
        return self

    def title(self) -> str:
        """Return the rule in a few words."""
        raise NotImplementedError

    @property
    def spans_rows(self) -> bool:
        """Rules look at one row at a time, except those in ``_SPANNING``."""
        return isinstance(self, _SPANNING)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value with a ``type`` from which ``constraint_from_json`` makes an equal rule."""
        return self.model_dump(mode="json")


def _iso(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime.date) else value


Bound = Annotated[int | float | str | None, BeforeValidator(_iso)]


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
            low: Any = pd.Timestamp(self.low) if isinstance(self.low, str) else self.low
            high: Any = pd.Timestamp(self.high) if isinstance(self.high, str) else self.high
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
        stamp = pd.Timestamp(bound)
        zone = getattr(values.dtype, "tz", None)
        return stamp if zone is None or stamp.tzinfo is not None else stamp.tz_localize(zone)

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,)."""
        values = operand(table[self.column])
        obeys = values.isna().to_numpy()
        inside = np.ones(len(values), dtype=bool)
        try:
            if self.low is not None:
                low = self._bound(values, self.low)
                inside &= _mask(values > low if self.strict else values >= low)
            if self.high is not None:
                high = self._bound(values, self.high)
                inside &= _mask(values < high if self.strict else values <= high)
        except TypeError:
            raise _misfit(self) from None
        return pd.Series(obeys | inside, index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator) -> pd.DataFrame:
        """Return the table with outlying values moved to the nearest bound; object columns are redrawn."""
        values = table[self.column]
        if self.strict or values.dtype == object or bool(self.allows(table).all()):
            return table
        low, high = self.low, self.high
        if values.dtype.kind in "iu":  # the bounds that an integer can take
            low = low if low is None or isinstance(low, str) else int(np.ceil(low))
            high = high if high is None or isinstance(high, str) else int(np.floor(high))
        clipped = values.clip(
            None if low is None else self._bound(values, low), None if high is None else self._bound(values, high)
        )
        return table.assign(**{self.column: clipped.astype(values.dtype)})


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
            obeys = _mask(low < high if self.strict else low <= high)
        except TypeError:
            raise _misfit(self) from None
        return pd.Series(obeys | low.isna().to_numpy() | high.isna().to_numpy(), index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator) -> pd.DataFrame:
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
        if expected.dtype.kind in "iuf" and held.dtype.kind in "iuf":
            wanted = expected.to_numpy(dtype=np.float64, na_value=np.nan)
            with np.errstate(invalid="ignore"):
                gap = np.abs(held.to_numpy(dtype=np.float64, na_value=np.nan) - wanted)
                obeys = gap <= self.tolerance * np.maximum(1.0, np.abs(wanted))
        else:
            obeys = _mask(expected == held)
        return pd.Series(obeys | unknown, index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator) -> pd.DataFrame:
        """Return the table with the column computed wherever it is wrong and the result is finite."""
        expected, held = self._expected(table), table[self.column]
        wrong = ~self.allows(table).to_numpy() & expected.notna().to_numpy()
        if expected.dtype.kind == "f":
            wrong &= np.isfinite(expected.to_numpy(dtype=np.float64, na_value=np.nan))
        if not wrong.any() or isinstance(held.dtype, pd.CategoricalDtype):
            return table
        values = held.astype(object)
        new = expected[wrong]
        if held.dtype.kind in "iu":
            new = new.round().astype("int64")
        values[wrong] = new.astype(object)
        if held.dtype == object and pd.api.types.infer_dtype(held, skipna=True) in {"decimal", "date"}:
            return table  # left to redrawing: a float is no decimal
        return table.assign(**{self.column: values.astype(held.dtype)})


def _pairs(value: object) -> object:
    """Return a mapping as the list of pairs that JSON can carry whatever the type of its keys."""
    if isinstance(value, Mapping):
        return [(key if isinstance(key, tuple) else (key,), entry) for key, entry in value.items()]
    return value


Mapped = Annotated[tuple[tuple[tuple[Value, ...], Value], ...], BeforeValidator(_pairs)]


class FunctionalDependency(Rule):
    """The values of ``determinant`` fix the value of ``dependent``.  Repairs by looking the value up.

    Without a declared mapping, ``fit`` learns it: only combinations that ``min_count`` training rows share, each with
    the dependent value that most of them have.  A combination outside the mapping is never drawn.
    """

    type: Literal["functional_dependency"] = "functional_dependency"
    determinant: tuple[str, ...] = Field(min_length=1, description="Columns that decide.")
    dependent: str = Field(description="Column that follows from them.")
    mapping: Mapped = Field((), description="Pairs of determinant values and dependent value; empty learns them.")
    min_count: int = Field(
        MIN_CATEGORY_COUNT, ge=1, description="Privacy knob: fewest training rows behind a learned pair."
    )

    @model_validator(mode="after")
    def _refuse_contradiction(self) -> FunctionalDependency:
        if self.dependent in self.determinant:
            raise ConstraintError(f"constraint '{self.name}' derives a column from itself", constraint=self.name)
        if any(len(key) != len(self.determinant) for key, _ in self.mapping):
            raise ConstraintError(
                f"the mapping of constraint '{self.name}' must give {len(self.determinant)} determinant values a pair",
                constraint=self.name,
            )
        if len({key for key, _ in self.mapping}) != len(self.mapping):
            raise ConstraintError(
                f"the mapping of constraint '{self.name}' lists a determinant twice", constraint=self.name
            )
        return self

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"{', '.join(self.determinant)} -> {self.dependent}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The determinant, then the dependent."""
        return (*self.determinant, self.dependent)

    @property
    def is_learned(self) -> bool:
        """Whether there is a mapping."""
        return bool(self.mapping)

    def learn(self, table: pd.DataFrame) -> FunctionalDependency:
        """Return the rule with the mapping that ``table`` shows.

        Raises:
            ConstraintError: if fewer than 90 % of the rows agree with any mapping, or none has enough support.
        """
        columns = list(self.columns)
        held = table[columns].dropna().astype(object)
        counts = held.groupby(columns, sort=False, dropna=True).size().sort_values(ascending=False, kind="stable")
        pairs: dict[tuple[Value, ...], Value] = {}
        agreeing = 0
        for key, count in counts.items():
            entry = tuple(_plain(v, self) for v in (key if isinstance(key, tuple) else (key,)))
            if entry[:-1] not in pairs:
                agreeing += int(count)
                if count >= self.min_count:
                    pairs[entry[:-1]] = entry[-1]
        if agreeing < 0.9 * len(held) or not pairs:
            raise ConstraintError(
                f"constraint '{self.name}' is not in the data: {agreeing} of {len(held)} rows agree with a mapping, "
                f"and {len(pairs)} of its pairs have {self.min_count} rows behind; drop it, or declare the mapping",
                constraint=self.name,
            )
        # A declared order, so that the model does not tell which pair is the most frequent.
        ordered = sorted(pairs.items(), key=lambda pair: [(type(v).__name__, v) for v in pair[0]])
        return self.model_copy(update={"mapping": tuple(ordered)})

    def _expected(self, table: pd.DataFrame) -> pd.Series[Any]:
        lookup = dict(self.mapping)
        keys = zip(*(table[column].astype(object) for column in self.determinant), strict=True)
        found = [lookup.get(tuple(_bare(v) for v in key)) for key in keys]
        return pd.Series(found, index=table.index, dtype=object)

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,); all while the mapping is yet to be learned."""
        missing: NDArray[np.bool_] = table[list(self.columns)].isna().any(axis=1).to_numpy(dtype=bool)
        if not self.mapping:
            missing = np.full(len(table), fill_value=True)
            return pd.Series(missing, index=table.index)
        expected = self._expected(table)
        same = (table[self.dependent].astype(object) == expected).to_numpy(dtype=bool)
        return pd.Series(missing | same, index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator) -> pd.DataFrame:
        """Return the table with the dependent looked up wherever it is wrong and the combination is known."""
        if not self.mapping:
            return table
        expected, held = self._expected(table), table[self.dependent]
        wrong = ~self.allows(table).to_numpy() & expected.notna().to_numpy()
        if not wrong.any():
            return table
        values = held.astype(object)
        values[wrong] = expected[wrong]
        return table.assign(**{self.dependent: values.astype(held.dtype)})


class Unique(Rule):
    """No two rows agree on all of ``columns``; null differs from null.  Rows that repeat are drawn again."""

    type: Literal["unique"] = "unique"
    columns: tuple[str, ...] = Field(min_length=1, description="Columns whose combination is unique.")

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"unique({', '.join(self.columns)})"

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows are not a repetition of an earlier one, shape (n,)."""
        held = table[list(self.columns)]
        repeated = held.duplicated(keep="first").to_numpy() & held.notna().all(axis=1).to_numpy()
        return pd.Series(~repeated, index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator) -> pd.DataFrame:
        """Return the table unchanged."""
        return table


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

    def repair(self, table: pd.DataFrame, *, rng: random.Generator) -> pd.DataFrame:
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
        values = held.astype(object)
        values[wrong] = literal
        return table.assign(**{then.columns[0]: values.astype(held.dtype)})


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

    def repair(self, table: pd.DataFrame, *, rng: random.Generator) -> pd.DataFrame:
        """Return the table unchanged."""
        return table


_SPANNING: tuple[type[Rule], ...] = (Unique,)
_RULES: dict[str, type[Rule]] = {
    rule.model_fields["type"].default: rule
    for rule in (Range, Inequality, Derived, FunctionalDependency, Unique, Implication, Expression)
}


def constraint_from_json(value: Mapping[str, Any]) -> Constraint:
    """Return the rule that a JSON value declares.

    Raises:
        SchemaError: if there is no rule of its ``type``.
        ConfigError: if an entry is unknown, missing or of the wrong type.
    """
    rule = _RULES.get(str(value.get("type", "")))
    if rule is None:
        raise SchemaError(f"there is no rule of type '{value.get('type')}'; give one of {', '.join(_RULES)}")
    made: Constraint = rule.parse(value)  # type: ignore[assignment]  # each of _RULES has columns, allows and repair
    return made


def constraints_from_file(path: str | Path) -> tuple[Constraint, ...]:
    """Return the rules of a JSON or YAML file: a list, or a map with the entry ``constraints``.

    Raises:
        DataError: if the file cannot be read as that.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"constraints file {path} cannot be read ({type(error).__name__})") from None
    value: Any
    if path.suffix.lower() in {".yaml", ".yml"}:
        import yaml

        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise DataError(f"constraints file {path} is not valid YAML") from None
    else:
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"constraints file {path} is not valid JSON (line {error.lineno})") from None
    rules = value.get("constraints") if isinstance(value, dict) else value
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise DataError(f"constraints file {path} must hold a list of rules, each a map with a 'type'")
    return tuple(constraint_from_json(rule) for rule in rules)


def check(table: pd.DataFrame, constraints: Sequence[Constraint]) -> dict[str, float]:
    """Return by rule the share of rows that obey it, in [0, 1]; 1 for a table without rows."""
    return {rule.name: float(rule.allows(table).mean()) if len(table) else 1.0 for rule in constraints}


def _mask(compared: pd.Series[Any]) -> NDArray[np.bool_]:
    """Return a comparison as booleans; null is false."""
    return compared.to_numpy(dtype=bool, na_value=False)


def _misfit(rule: Rule) -> ConstraintError:
    columns = list(getattr(rule, "columns", ()))
    return ConstraintError(
        f"constraint '{rule.name}' cannot compare columns {columns}: their types do not fit it", constraint=rule.name
    )


def _bare(value: Any) -> Any:  # noqa: ANN401
    return value.item() if isinstance(value, np.generic) else value


def _plain(value: Any, rule: FunctionalDependency) -> Value:  # noqa: ANN401
    bare = _bare(value)
    if not isinstance(bare, bool | int | float | str):
        raise ConstraintError(
            f"constraint '{rule.name}' maps values of type {type(bare).__name__}; it takes text, numbers and booleans",
            constraint=rule.name,
        )
    return bare
