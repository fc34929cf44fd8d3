"""What a policy did to a table, and which of its promises hold after its last layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from synth_components.policy import Layer, Level, Policy, Technique
from synth_components.privacy.anonymity.classes import Anonymity, Cells, Sensitive, classes_of, codes
from synth_components.privacy.anonymity.criteria import TOLERANCE
from synth_components.privacy.anonymity.recoding import Loss
from synth_components.sensitive import SensitiveColumn


@dataclass(frozen=True)
class Applied:
    """One layer, or several that were one search.

    Attributes:
        techniques: What was applied.
        columns: Sensitive columns that it was for.
        rows_before: Rows that it got.
        rows_after: Rows that it left.
        loss: What the quasi-identifiers lost.
        levels: Level of each column that was recoded to one.
        changed: Share of the sensitive cells that hold another value than before.
        epsilon: What differential privacy spent.
        delta: Chance that it is exceeded.
        unit: Whom differential privacy protects.
        is_first: Whether the rows that differential privacy read were the people's own: no layer before it looked at
            several rows together.
    """

    techniques: tuple[Technique, ...]
    columns: tuple[str, ...]
    rows_before: int
    rows_after: int
    loss: Loss | None = None
    levels: Mapping[str, int] = field(default_factory=dict)
    changed: float | None = None
    epsilon: float | None = None
    delta: float | None = None
    unit: str | None = None
    is_first: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the layer as a JSON value, without what does not apply."""
        held = {
            "techniques": list(self.techniques),
            "columns": list(self.columns),
            "rows_before": self.rows_before,
            "rows_after": self.rows_after,
            "loss": None if self.loss is None else self.loss.to_json(),
            "levels": dict(self.levels) or None,
            "changed_share": self.changed,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "unit": self.unit,
        }
        return {name: value for name, value in held.items() if value is not None}


@dataclass(frozen=True)
class Promise:
    """What a technique promises of the released rows.

    Attributes:
        technique: Which.
        column: The sensitive column that it is about, ``None`` for the whole table.
        wanted: The bound of the policy.
        measured: What the released rows have; ``inf`` where nothing bounds it.
        holds: Whether that is within the bound.
        reason: Why it does not hold, where a number does not say so.
    """

    technique: Technique
    column: str | None
    wanted: float
    measured: float
    holds: bool
    reason: str = ""

    def __str__(self) -> str:
        """Return the promise in words, without a cell value."""
        of = "" if self.column is None else f" of '{self.column}'"
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.technique}{of}: wanted {self.wanted:g}, measured {self.measured:.4g}{why}"

    def to_json(self) -> dict[str, Any]:
        """Return the promise as a JSON value; an infinite number is null."""
        measured = None if math.isinf(self.measured) else self.measured
        return {**vars(self), "measured": measured}


_SHARES = ("share", "contains", "distinct")
"""What a search tells in exact shares of real rows, whose number they give away."""


@dataclass(frozen=True)
class Audit:
    """What was done to a table, and what holds of it.

    Attributes:
        policy: The policy.
        sensitive: Sensitive columns with their levels.
        rows: Rows of the table before.
        applied: The layers, in order.
        before: Classes of the table as it came; ``None`` without quasi-identifiers, and with differential privacy,
            which does not cover counts of the real rows.
        after: Classes of the released rows.
        promises: What the techniques promise, measured after the last layer.
        notes: What a reader must know.
        found: Columns that the policy does not name and that seem to hold something of a person.
    """

    policy: Policy
    sensitive: Mapping[str, Level]
    rows: int
    applied: tuple[Applied, ...]
    before: Anonymity | None
    after: Anonymity | None
    promises: tuple[Promise, ...]
    notes: tuple[str, ...]
    found: tuple[SensitiveColumn, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every promise holds."""
        return not self.missed

    @property
    def missed(self) -> tuple[Promise, ...]:
        """The promises that do not hold."""
        return tuple(promise for promise in self.promises if not promise.holds)

    def to_json(self) -> dict[str, Any]:
        """Return the audit as a JSON value.  It holds column names and numbers, and no cell.

        Behind differential privacy it tells of the columns that were found what they seem to be, and no share of rows.
        """
        is_private = any("differential_privacy" in one.techniques for one in self.applied)
        exact = _SHARES if is_private else ()
        found = [{name: value for name, value in one.to_json().items() if name not in exact} for one in self.found]
        return {
            "holds": self.holds,
            "policy": self.policy.to_json(),
            "sensitive": dict(self.sensitive),
            "found": found,
            "rows": self.rows,
            "layers": [one.to_json() for one in self.applied],
            "before": None if self.before is None else self.before.to_json(),
            "after": None if self.after is None else self.after.to_json(),
            "promises": [promise.to_json() for promise in self.promises],
            "notes": list(self.notes),
        }


def promises_of(
    plan: Sequence[Layer],
    policy: Policy,
    table: pd.DataFrame,
    found: Anonymity | None,
    *,
    rows: int,
    applied: Sequence[Applied],
) -> tuple[Promise, ...]:
    """Return what the techniques of a plan promise of the released table, measured anew.

    Swapping, synthesis and generalisation promise nothing that could be measured on the result alone.

    Args:
        found: Classes of the table.
        rows: Rows before the first layer.
    """
    made: list[Promise] = []
    for layer in plan:
        match layer.technique:
            case "k_anonymity" if found is not None:
                made.append(Promise("k_anonymity", None, policy.k, found.k, found.k >= policy.k))
            case "l_diversity" if found is not None:
                made += [_diversity(policy, table, name, found) for name in layer.columns]
            case "t_closeness" if found is not None:
                for name in layer.columns:
                    far = found.sensitive[name].closeness
                    made.append(Promise("t_closeness", name, policy.t, far, far <= policy.t + TOLERANCE))
            case "suppression":
                share = sum(one.rows_before - one.rows_after for one in applied) / max(rows, 1)
                most = policy.max_suppressed
                made.append(Promise("suppression", None, most, share, share <= most + TOLERANCE))
            case "differential_privacy":
                made += [_private(policy, one) for one in applied if one.epsilon is not None]
            case _:
                pass
    return tuple(made)


def _diversity(policy: Policy, table: pd.DataFrame, name: str, found: Anonymity) -> Promise:
    of = found.sensitive[name]
    if policy.diversity != "recursive":
        measured = float(of.distinct) if policy.diversity == "distinct" else of.entropy
        return Promise("l_diversity", name, policy.l, measured, measured >= policy.l - TOLERANCE)
    group, count = classes_of([codes(table[one]) for one in policy.quasi_identifiers])
    cells = Cells.of(group, Sensitive.of(table[name]).codes, count)
    worst = float(np.max(cells.recursive(max(1, math.ceil(policy.l))), initial=0.0))
    return Promise("l_diversity", name, policy.c, worst, worst < policy.c, f"recursive, l = {policy.l:g}")


def _private(policy: Policy, one: Applied) -> Promise:
    spent = math.inf if one.epsilon is None else one.epsilon
    if one.is_first:
        return Promise("differential_privacy", None, policy.epsilon, spent, spent <= policy.epsilon * (1 + TOLERANCE))
    reason = (
        "a layer before it looked at several rows together, so that epsilon is of the rows which that layer made, and "
        "not of people; put differential_privacy first"
    )
    return Promise("differential_privacy", None, policy.epsilon, math.inf, holds=False, reason=reason)
