"""A schema from rows under differential privacy: bounds and categories that no single unit decides.

What a dtype tells is taken as public: whether a column is a number, truth values, times or texts, and whether it can
hold nulls.  Whether it does is not asked: every column that can is nullable.  The dtypes are those of a frame that the
caller made, or of a file that has types of its own (``io.dataset.read_typed``); a reader that finds types in the rows
is refused, as one row would decide on them.  Bounds are powers of two, or years,
around what enough rows hold in a noisy histogram over a fixed grid; a category is kept if its noisy count passes a
threshold that a category of one row passes with probability at most ``SINGLE``, however large delta is.

Noise is Laplace's or the normal law's, by the caller's choice.  Laplace noise costs pure epsilon, which adds up over
columns; Gaussian noise costs rho of zCDP, whose epsilon grows as the root of their number, so that it finds more in
wide tables, and it needs delta.

Unit: a row, added or removed.  Theorem: the discrete Laplace or Gaussian mechanism for the histograms, and
stability-based selection for the categories (Korolova, Kenthapadi, Mishra & Ntoulas 2009; the threshold and its delta
are OpenDP's, below 2^-52, which that does not tell, the tail of the noise in closed form).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synth_components.errors import SchemaError, UnsupportedError
from synth_components.privacy.accounting import pure, rho_within, zero_concentrated
from synth_components.privacy.mechanism import Mechanism
from synth_components.privacy.noise import charged_counts, deviation, kept_keys, require_opendp
from synth_components.privacy.unit import settle
from synth_components.protocols import Budget, Floats, PrivacyLedger
from synth_components.schema import TABLE, AnyColumn, Boolean, Categorical, Datetime, Numeric, Schema, Text

_RELIABLE = 0.01
"""Largest probability that an empty cell of a column's grid is taken for an end of the column."""

SINGLE = 1e-12
"""Probability that a text of one row is kept.  Delta alone would let one row in 1/delta be shown to everybody: of texts
that are all different, some would be."""

_POWERS = range(-10, 63)
_FIRST_YEAR, _LAST_YEAR = 1900, 2100


@dataclass(frozen=True)
class _Paid:
    """What was charged for each column: noise, its amount (epsilon or rho), and the delta of a column of texts."""

    mechanism: Mechanism
    amount: float
    delta: float

    def enough(self, cells: int) -> float:
        """Return what noise of none of so many empty cells lies above, but for a chance of ``_RELIABLE``."""
        if self.mechanism == "laplace":
            # Whole noise lies above t with a chance of at most exp(-epsilon t) / (1 + exp(-epsilon)).
            return math.log(cells / (_RELIABLE * (1 + math.exp(-self.amount)))) / self.amount
        # And above t with at most exp(-t^2 / (2 sigma^2)): the discrete Gaussian is subgaussian.
        spread = deviation(self.amount, mechanism="gaussian", sensitivity=1)
        return spread * math.sqrt(2 * math.log(cells / _RELIABLE))


def private_schema(
    table: pd.DataFrame, budget: Budget, ledger: PrivacyLedger, *, mechanism: Mechanism = "laplace"
) -> Schema:
    """Return a public schema of the rows; the ledger is charged a budget, in equal parts for the columns.

    Raises:
        UnsupportedError: if there are texts or Gaussian noise and no delta, or OpenDP is not installed.
        BudgetExceededError: if the ledger does not hold the budget; nothing was read.
        UnitError: if the ledger is of another privacy unit than a row.
        SchemaError: for a column that has no bounds or categories which enough rows share, and the remedy.
    """
    require_opendp()
    dtypes = {str(name): str(dtype) for name, dtype in table.dtypes.items()}
    asked = [name for name, dtype in dtypes.items() if not _is_boolean(dtype)]
    texts = [name for name in asked if _is_text(dtypes[name])]
    if texts and budget.delta <= 0:
        raise UnsupportedError(
            f"column '{texts[0]}' needs delta above 0 for its categories to be found; give delta, or declare them"
        )
    paid = _paid(budget, len(asked), len(texts), mechanism)
    curve = pure(paid.amount) if mechanism == "laplace" else zero_concentrated(paid.amount)
    settle(ledger, None)
    for name in asked:  # all is charged before anything is read
        ledger.spend(f"domain of column '{name}'", curve, delta=paid.delta if name in texts else 0.0)
    columns: dict[str, AnyColumn] = {}
    for name, dtype in dtypes.items():
        values = table[name]
        if _is_boolean(dtype):
            columns[name] = Boolean(dtype=dtype, nullable=dtype != "bool", public=True)
        elif name in texts:
            columns[name] = _categories(values, dtype, name, paid)
        elif pd.api.types.is_datetime64_any_dtype(values):
            columns[name] = _times(values, dtype, name, paid)
        else:
            columns[name] = _numbers(values, dtype, name, paid)
    return Schema({TABLE: columns})


def _paid(budget: Budget, asked: int, texts: int, mechanism: Mechanism) -> _Paid:
    """Return what a budget has for each of the columns asked for, some of which hold texts."""
    if mechanism == "laplace":
        return _Paid(mechanism, budget.epsilon / max(asked, 1), min(budget.delta / max(texts, 1), SINGLE))
    # A half of delta, at most, is the texts' own; what is left of it, rho becomes an epsilon at.
    delta = min(budget.delta / (2 * max(texts, 1)), SINGLE)
    rho = rho_within(Budget(budget.epsilon, budget.delta - texts * delta))
    if rho <= 0:
        raise UnsupportedError(
            "Gaussian noise on what a schema is read off needs delta above 0; give delta, or Laplace"
        )
    return _Paid(mechanism, rho / max(asked, 1), delta)


def _is_boolean(dtype: str) -> bool:
    return dtype in {"bool", "boolean"}


def _is_text(dtype: str) -> bool:
    return dtype in {"object", "str", "category"} or dtype.startswith("string")


def _categories(values: pd.Series[Any], dtype: str, name: str, paid: _Paid) -> AnyColumn:
    """Return the texts that enough rows share; a column without any is made anew, as free text is."""
    counts = values[values.notna()].astype(str).value_counts()
    held = {str(key): int(count) for key, count in counts.items()}
    kept = kept_keys(held, amount=paid.amount, delta=paid.delta, mechanism=paid.mechanism)
    if not kept:
        if dtype == "category":
            raise SchemaError(f"column '{name}' has no category that enough rows share; declare them", column=name)
        return Text(dtype=dtype, nullable=True, public=True)
    return Categorical(dtype=dtype, categories=tuple(sorted(kept)), nullable=True, public=True)


def _numbers(values: pd.Series[Any], dtype: str, name: str, paid: _Paid) -> Numeric:
    """Return a number whose bounds are powers of two, 0, or an end of its dtype."""
    is_whole = pd.api.types.is_integer_dtype(values.dtype)
    held = values.dropna().to_numpy(dtype=np.float64)
    powers = np.array([float(2.0**k) for k in _POWERS if k >= 0 or not is_whole])
    ends = np.concatenate([-powers[::-1], [0.0], powers])
    low, high = _extent(held, ends, name, paid)
    if is_whole:  # 128, the end after 64, is no int8
        kinds = np.iinfo(getattr(values.dtype, "numpy_dtype", values.dtype))
        low, high = max(int(low), int(kinds.min)), min(int(high), int(kinds.max))
    return Numeric(
        dtype=dtype,
        low=low,
        high=high,
        places=0 if is_whole else None,
        nullable=not dtype.startswith(("int", "uint")),
        public=True,
    )


def _times(values: pd.Series[Any], dtype: str, name: str, paid: _Paid) -> Datetime:
    """Return a time whose bounds are the turns of years."""
    years = values.dropna().dt.year.to_numpy(dtype=np.float64)
    ends = np.arange(_FIRST_YEAR, _LAST_YEAR + 1, dtype=np.float64)
    first, last = _extent(years, ends, name, paid)
    return Datetime(
        dtype=dtype, low=f"{int(first)}-01-01", high=f"{int(last)}-01-01", resolution="s", nullable=True, public=True
    )


def _extent(values: Floats, ends: Floats, name: str, paid: _Paid) -> tuple[float, float]:
    """Return the outer ends of the grid's cells that more rows are in than noise explains.

    Raises:
        SchemaError: if there is no such cell.
    """
    places = np.clip(np.searchsorted(ends, values, side="right") - 1, 0, len(ends) - 2)
    counts = np.bincount(places, minlength=len(ends) - 1).astype(np.int64)
    noisy = charged_counts(counts, amount=paid.amount, mechanism=paid.mechanism)
    found = np.flatnonzero(noisy > paid.enough(len(counts)))
    if len(found) == 0:
        raise SchemaError(
            f"column '{name}' has no bounds that enough rows share for this budget; declare low and high, or raise "
            "epsilon",
            column=name,
        )
    return float(ends[found[0]]), float(ends[found[-1] + 1])
