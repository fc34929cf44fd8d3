"""Delta below 1 over the number of privacy units: at 1/n a mechanism may show one of them to everybody, and still hold.

The number of units is private, since adding or removing one changes it.  Where it is public knowledge and declared,
delta is held against it.  Otherwise it is counted with noise, for ``SHARE`` of epsilon, and delta held against the
number that there are at least, but for a chance of ``CHANCE``: a delta that is refused is too large, one that passes
may still be.
"""

from __future__ import annotations

import logging
import math
from importlib.util import find_spec

import numpy as np

from synth_components.errors import DeltaError
from synth_components.privacy.accounting import pure
from synth_components.privacy.unit import settle
from synth_components.protocols import Budget, Dataset, PrivacyLedger

_LOG = logging.getLogger(__name__)

SHARE = 0.01
"""Share of epsilon that counting the units costs where their number is not declared."""

CHANCE = 1e-6
"""Probability that noise makes a right delta look wrong."""


def require_below(delta: float, units: int) -> None:
    """Raise unless delta is below 1 over a number of units.

    Raises:
        DeltaError: with both numbers.
    """
    if delta * units >= 1:
        raise DeltaError(
            f"delta ({delta:g}) must be below 1 over the number of privacy units, {units:,} or more: it would allow to "
            f"show one of them to everybody; give at most {1 / (10 * max(units, 1)):.0e}",
            delta=delta,
            units=units,
        )


def require_small(data: Dataset, budget: Budget, ledger: PrivacyLedger) -> None:
    """Raise if the delta of a budget is too large for the rows, whose units are counted with noise.

    Raises:
        DeltaError: if it is.
        BudgetExceededError: if the ledger does not hold what counting costs; nothing was read.
        UnitError: if the ledger is of another privacy unit.
    """
    if budget.delta <= 0:
        return
    if find_spec("opendp") is None:
        _LOG.warning("delta was not held against the number of units: declare units, or pip install opendp to count")
        return
    if not _is_countable(data):
        _LOG.warning("delta was not held against the number of units, which are not told apart here: declare units")
        return
    from synth_components.privacy.noise import charged_counts

    epsilon = SHARE * budget.epsilon
    settle(ledger, data.schema.unit)
    ledger.spend("number of units, against delta", pure(epsilon))
    count = int(charged_counts(np.array([_units(data)], dtype=np.int64), amount=epsilon, mechanism="laplace")[0])
    # P(noise >= t) <= exp(-epsilon t) for the discrete Laplace distribution, at t >= 1.
    least = count - math.ceil(math.log(1 / CHANCE) / epsilon)
    if least > 0:
        require_below(budget.delta, least)


def _is_countable(data: Dataset) -> bool:
    """Return whether a unit more is one more in the count: its rows must be at hand, and told from others'."""
    unit = data.schema.unit
    if unit is None:
        return True
    if not unit.columns:
        return unit.max_rows == 1
    return not data.is_lazy and unit.table == data.schema.root


def _units(data: Dataset) -> int:
    """Return how many units the rows are of; a row without a unit is one by itself."""
    unit = data.schema.unit
    if unit is None or not unit.columns:
        return data.num_rows(data.schema.root)
    keys = data.table[list(unit.columns)]
    named = keys.notna().all(axis=1)
    return int(len(keys[named].drop_duplicates()) + (~named).sum())
