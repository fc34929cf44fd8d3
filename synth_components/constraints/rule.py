"""What a rule is, what is done about rows that break it, and how rules mend columns."""

from __future__ import annotations

import datetime
import decimal
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeAlias, TypeGuard, runtime_checkable

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from synth_components.config import Config
from synth_components.errors import ConstraintError
from synth_components.expression import is_modest

Value: TypeAlias = bool | int | float | str
Mask: TypeAlias = NDArray[np.bool_]
WIDE = decimal.Context(prec=400)
"""Digits for any float at any places."""
Policy: TypeAlias = Literal["repair", "reject", "warn", "refuse"]


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

    @property
    def policy(self) -> Policy:
        """What is done about candidate rows that break the rule."""

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,)."""

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table with as many rows as possible mended; other rows unchanged.

        Args:
            before: Rows that stand above the table and stay as they are; given to rules that span rows.
        """

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value with a ``type`` from which ``constraint_from_json`` makes an equal rule."""


@runtime_checkable
class Learnable(Constraint, Protocol):
    """A rule with a part that ``fit`` takes from the training rows."""

    @property
    def is_learned(self) -> bool:
        """Whether nothing is left to learn."""

    def learn(self, table: pd.DataFrame, *, owners: NDArray[np.int64] | None = None) -> Constraint:
        """Return the whole rule.

        Args:
            owners: The privacy unit (n,) of each row, which are counted in place of rows; ``None`` if a row is one.
        """


def is_unlearned(rule: Constraint) -> TypeGuard[Learnable]:
    """Return whether a part of a rule is still to be learned from rows."""
    return isinstance(rule, Learnable) and not rule.is_learned


class Rule(Config):
    """The base of our rules: a name, a policy, and JSON."""

    name: str = Field("", description="Unique within a schema; empty derives it from the rule.")
    policy: Policy = Field(
        "repair",
        description="What is done about drawn rows that break the rule. repair: mend them, draw anew what cannot be "
        "mended; reject: draw them anew; warn: keep them and tell how many, they never count as compliant; refuse: "
        "raise an error.",
    )

    _spans: ClassVar[bool] = False

    @model_validator(mode="after")
    def _derive_name(self) -> Rule:
        if not self.name:
            self.__dict__["name"] = self.title()  # the model is frozen from here on
        return self

    @model_validator(mode="after")
    def _refuse_giants(self) -> Rule:
        if not all(is_modest(number) for number in _integers(tuple(self.__dict__.values()))):
            raise ConstraintError(
                "a rule names a number beyond those of floating point; give one below 1e308", constraint=self.name[:40]
            )
        return self

    @abstractmethod
    def title(self) -> str:
        """Return the rule in a few words."""

    @property
    def spans_rows(self) -> bool:
        """Rules look at one row at a time, except those that compare rows."""
        return self._spans

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value with a ``type`` from which ``constraint_from_json`` makes an equal rule."""
        return self.model_dump(mode="json")


def _integers(value: object) -> Iterator[int]:
    """Yield the integers in nested tuples."""
    if isinstance(value, tuple):
        for entry in value:
            yield from _integers(entry)
    elif isinstance(value, int):
        yield value


def _iso(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime.date) else value


Bound = Annotated[int | float | str | None, BeforeValidator(_iso)]


def mask_of(compared: pd.Series[Any]) -> Mask:
    """Return a comparison as booleans (n,); null is false."""
    return compared.to_numpy(dtype=bool, na_value=False)


def misfit(rule: Rule, columns: tuple[str, ...]) -> ConstraintError:
    """Return the error of a rule on columns whose types it cannot compare."""
    return ConstraintError(
        f"constraint '{rule.name}' cannot compare columns {list(columns)}: their types do not fit it",
        constraint=rule.name,
    )


def bare(value: Any) -> Any:  # noqa: ANN401 - a cell
    """Return a numpy scalar as the Python value that it holds."""
    return value.item() if isinstance(value, np.generic) else value


def plain(value: Any, rule: Rule) -> Value:  # noqa: ANN401 - a cell
    """Return a cell as a value that JSON can carry.

    Raises:
        ConstraintError: if it is none.
    """
    made = bare(value)
    if not isinstance(made, bool | int | float | str):
        raise ConstraintError(
            f"constraint '{rule.name}' lists values of type {type(made).__name__}; it takes text, numbers and booleans",
            constraint=rule.name,
        )
    return made


def in_order(entries: list[tuple[Value, ...]]) -> list[tuple[Value, ...]]:
    """Return entries in an order that does not tell which of them is the most frequent."""
    return sorted(entries, key=lambda entry: [(type(v).__name__, v) for v in entry])


def assigned(held: pd.Series[Any], where: Mask, values: Any) -> pd.Series[Any]:  # noqa: ANN401 - a scalar, or one per True
    """Return a column with new values at ``where``, of the dtype that it had."""
    made = held.astype(object)
    made[where] = values
    with np.errstate(over="ignore"):  # what a narrow float cannot hold becomes infinite
        return made.astype(held.dtype)


def put(rule: Rule, held: pd.Series[Any], where: Mask, values: Any) -> pd.Series[Any]:  # noqa: ANN401 - as ``assigned``
    """Return a column with the values of a rule at ``where``, of the dtype that it had.

    Raises:
        ConstraintError: if the dtype does not hold them.
    """
    try:
        return assigned(held, where, values)
    except (TypeError, ValueError, ArithmeticError):
        raise misfit(rule, (str(held.name),)) from None


def like(
    values: Iterable[Any], held: pd.Series[Any], *, rounding: str = decimal.ROUND_HALF_EVEN
) -> NDArray[np.object_] | None:
    """Return numbers or times as an object column writes them: decimals at its places, integers, dates.

    Args:
        held: The column; ``None`` is returned if it holds none of these.
        rounding: What becomes of places that the column does not have, as the ``decimal`` module names it.
    """
    kind = pd.api.types.infer_dtype(held, skipna=True)
    made: list[Any]
    if kind == "decimal":
        exponents = [v.as_tuple().exponent for v in held.dropna() if v.is_finite()]
        quantum = decimal.Decimal(1).scaleb(min(exponents, default=0))
        made = [exact(v).quantize(quantum, rounding=rounding, context=WIDE) for v in values]
    elif kind == "integer":
        made = [int(exact(v).to_integral_value(rounding=rounding)) for v in values]
    elif kind == "date":
        days = [pd.Timestamp(v) for v in values]
        made = [(day.ceil("D") if rounding == decimal.ROUND_CEILING else day).date() for day in days]
    else:
        return None
    whole = np.empty(len(made), dtype=object)
    whole[:] = made
    return whole


def exact(number: Any) -> decimal.Decimal:  # noqa: ANN401 - any number
    """Return a number as the decimal that it is written as."""
    if isinstance(number, int | np.integer):
        return decimal.Decimal(int(number))
    return number if isinstance(number, decimal.Decimal) else decimal.Decimal(repr(float(number)))


def fits(numbers: pd.Series[Any], dtype: Any) -> Mask:  # noqa: ANN401 - a dtype of pandas or numpy
    """Return which numbers an integer dtype can hold once they are rounded, shape (n,)."""
    ends = np.iinfo(getattr(dtype, "numpy_dtype", dtype))
    held = np.rint(numbers.to_numpy(dtype=np.float64, na_value=np.nan))
    made: Mask = (held >= float(ends.min)) & (held < float(ends.max + 1))
    return made


def nulled(held: pd.Series[Any], where: Mask) -> pd.Series[Any]:
    """Return a column with nulls at ``where``; unchanged if its dtype holds none."""
    if not where.any() or (isinstance(held.dtype, np.dtype) and held.dtype.kind in "iub"):
        return held
    if held.dtype == object:
        made = held.copy()
        made[where] = None
        return made
    return held.mask(pd.Series(where, index=held.index))


def redrawn(held: pd.Series[Any], where: Mask, pool: Mask, *, rng: random.Generator) -> pd.Series[Any]:
    """Return a column with values at ``where`` drawn from those at ``pool``; unchanged if that is empty."""
    sources = np.flatnonzero(pool)
    if not len(sources) or not where.any():
        return held
    places = np.arange(len(held))
    places[where] = rng.choice(sources, size=int(where.sum()))
    return held.take(places).set_axis(held.index)
