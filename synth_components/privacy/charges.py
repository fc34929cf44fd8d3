"""What a ledger was charged, as reports, tags and registries tell it: labels and losses, no cell values."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from synth_components.privacy.ledger import Ledger, dumps

if TYPE_CHECKING:
    from synth_components.io.artifact import Statement
    from synth_components.schema import Schema

Side: TypeAlias = Literal["model", "evaluation"]

NEIGHBOURS = "add or remove one unit"
"""Which data sets every mechanism here compares."""


@dataclass(frozen=True)
class Charge:
    """One entry of a ledger.

    Attributes:
        of: Whose ledger it stands in: that of the model, or of the evaluation.
        label: What was read.
        covered: Whether it counts into the epsilon of the model; a read for an evaluation without differential privacy
            does not.
        epsilon: Loss of this entry alone at ``delta``; ``None`` if it is not bounded.
        total: Loss of all covered entries up to this one, composed; ``None`` if it is not bounded.
        delta: The delta of the budget, which both hold at.
        unit: Whom the loss is of.
        neighbours: Which data sets it compares.
    """

    of: Side
    label: str
    covered: bool
    epsilon: float | None
    total: float | None
    delta: float
    unit: str
    neighbours: str


def charges(
    ledger: Ledger, *, of: Side, delta: float, unit: str, neighbours: str = NEIGHBOURS, since: int = 0
) -> tuple[Charge, ...]:
    """Return the entries of a ledger in their order, the uncovered ones first.

    Args:
        since: Entries that somebody else was charged before: they count into the totals, and are not told.
    """
    made = []
    for place, entry in enumerate(ledger.entries[since:], since):
        alone = Ledger(None, [entry]).epsilon(delta) if entry.covered else math.inf
        total = Ledger(None, list(ledger.entries[: place + 1])).epsilon(delta)
        made.append(Charge(of, entry.label, entry.covered, _bounded(alone), _bounded(total), delta, unit, neighbours))
    return uncovered_first(made)


def unit_of(schema: Schema) -> str:
    """Return whom a loss is of, in words: a privacy unit of the schema."""
    unit = schema.unit
    if unit is not None and unit.columns:
        return f"all rows of table '{unit.table}' that share {list(unit.columns)}, at most {unit.max_rows}"
    if unit is not None and unit.max_rows > 1:
        return f"any {unit.max_rows} rows of table '{unit.table}'"
    return f"a row of table '{schema.root}'"


def uncovered_first(told: Sequence[Charge]) -> tuple[Charge, ...]:
    """Return charges in their order, those first that no epsilon covers."""
    return tuple(sorted(told, key=lambda one: one.covered))


def of_model(ledger: Ledger, privacy: Statement) -> tuple[Charge, ...]:
    """Return what the ledger of a model was charged, at the delta of its promise."""
    return charges(ledger, of="model", delta=privacy.delta, unit=privacy.unit, neighbours=privacy.neighbours)


def of_evaluation(ledger: Ledger, schema: Schema, *, since: int, delta: float = 0.0) -> tuple[Charge, ...]:
    """Return what an evaluation was charged, at the delta of the budget, or else its own.

    Args:
        since: Entries that the ledger had before the evaluation.
        delta: Of the evaluation, for a ledger without a budget.
    """
    at = delta if ledger.budget is None else ledger.budget.delta
    return charges(ledger, of="evaluation", delta=at, unit=unit_of(schema), since=since)


def facts(ledger: Ledger, privacy: Statement) -> dict[str, Any]:
    """Return a ledger in short, by name: the promise if there is one, entries, uncovered reads, digest.

    The digest is of the ledger as the model's folder holds it, so that whoever has both can tell that they belong
    together.
    """
    known: dict[str, Any] = {}
    if privacy.epsilon is not None:
        known |= {"epsilon": privacy.epsilon, "delta": privacy.delta}
        known |= {"unit": privacy.unit, "neighbours": privacy.neighbours}
    return known | {
        "ledger.entries": len(ledger.entries),
        "ledger.uncovered": sum(not entry.covered for entry in ledger.entries),
        "ledger.digest": hashlib.sha256(dumps(ledger).encode()).hexdigest(),
    }


def _bounded(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None
