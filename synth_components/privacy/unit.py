"""Whom a charge is of: epsilons add up within one privacy unit, and a ledger or budget file is of one.

A row is no person of at most k rows, nor the other way: a person's loss under a guarantee for rows is that of k rows
together, k times epsilon, with a delta that grows by more (Dwork & Roth 2014, Theorem 2.2); and where rows of a person
beyond k are left out, one row less lets another in, which is two rows that change.  So nothing is converted.

Fits of one unit with another ``max_rows`` are another unit here, too.  The table's name is no part of it: of several
tables of one data set a unit is what stands in any of them, and each table's charge holds for it.
"""

from __future__ import annotations

from synth_components.privacy.ledger import Ledger
from synth_components.privacy.share import Share
from synth_components.protocols import PrivacyLedger
from synth_components.schema import Unit

ROW = "a row"


def told(unit: Unit | None) -> str:
    """Return a privacy unit as ledgers and budget files keep it."""
    if unit is None or (not unit.columns and unit.max_rows == 1):
        return ROW
    if not unit.columns:
        return f"any {unit.max_rows} rows"
    return f"all rows that share {sorted(unit.columns)}{_at_most(unit)}"


def _at_most(unit: Unit) -> str:
    return f", at most {unit.max_rows}"


def settle(ledger: PrivacyLedger, unit: Unit | None, *, is_prepared: bool = False) -> None:
    """Say whom the charges of a ledger are of, before the first of them.

    Another class of ledger is not told.

    Args:
        unit: Of the schema of the rows.
        is_prepared: Whether the rows are as a generator gets them: a unit without columns may then be that of the
            ledger, whose columns are not learned.

    Raises:
        UnitError: if the ledger, or the budget file that it charges, is of another; nothing was read.
    """
    while isinstance(ledger, Share):
        ledger = ledger.of
    if not isinstance(ledger, Ledger):
        return
    if is_prepared and unit is not None and not unit.columns and ledger.unit.endswith(_at_most(unit)):
        return
    ledger.settle(told(unit))
