"""Rules that the rows of a table suggest, each with its support: what ``synth profile`` proposes.

What a proposed rule takes from the rows has support: no value, combination or bound in it stands for fewer than
``min_count`` rows, or privacy units, where the schema names them; thresholds and bounds are round numbers.  A rule is
proposed only if chance, or independent columns, would break it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.config import MIN_CATEGORY_COUNT
from synth_components.constraints import Learnable
from synth_components.errors import ConstraintError
from synth_components.privacy.budget_file import opened
from synth_components.privacy.ledger import not_private
from synth_components.proposal.arithmetic import bounded_sums, derived, ordered
from synth_components.proposal.combination import together, unique
from synth_components.proposal.condition import conditional_nulls, exactly_one, implications
from synth_components.proposal.edge import on_columns
from synth_components.proposal.order import monotone
from synth_components.proposal.rows import Proposal, Rows, rows_of
from synth_components.protocols import PrivacyLedger
from synth_components.schema import Schema
from synth_components.split import owners_in

__all__ = ["Proposal", "proposals_to_json", "propose"]


def propose(
    table: pd.DataFrame,
    schema: Schema,
    *,
    min_count: int = MIN_CATEGORY_COUNT,
    max_rows: int = 20_000,
    mined_rows: int = 200_000,
    ledger: PrivacyLedger | None = None,
) -> tuple[Proposal, ...]:
    """Return the rules that at least 99 % of the rows obey and that are not trivial, most telling first.

    Args:
        schema: What the columns of ``table``, its root table, are.
        min_count: Fewest rows behind a value that a rule names, or privacy units, where the schema names them.
        max_rows: Rows, evenly spaced, on which a dependency is tried before all.
        mined_rows: Most rows, evenly spaced, in which rules are looked for.  Of a larger table, each rule that is found
            is then learned from, and held against, all rows.
        ledger: What the read is charged to, before anything is read; ``None`` charges the budget file, if one is named.

    Raises:
        BudgetExceededError: under a finite budget, as proposals are exact.
    """
    opened(ledger).spend("propose constraints", not_private)
    is_large = len(table) > mined_rows
    some = table.iloc[np.linspace(0, len(table) - 1, mined_rows).astype(np.int64)] if is_large else table
    rows = rows_of(some.reset_index(drop=True) if is_large else some, schema, min_count=min_count)
    owners = owners_in(table, schema)
    if len(table) < 5 * min_count or rows.support(np.ones(len(rows.table), dtype=bool)) < min_count:
        return ()

    def holding(mined: Iterable[Proposal]) -> Iterator[Proposal]:
        for one in mined:
            if owners is not None and not rows.bears_out(one.rule):
                continue
            proposal = _confirmed(one, table, owners) if is_large else one
            if proposal is not None and proposal.share >= 0.99:
                yield proposal

    found: dict[str, Proposal] = {}
    for proposal in _mined(rows, max_rows, holding):
        found.setdefault(proposal.rule.name, proposal)
    return tuple(found.values())


def _confirmed(proposal: Proposal, table: pd.DataFrame, owners: NDArray[np.int64] | None) -> Proposal | None:
    """Return what was found in some rows as all rows show it; ``None`` if they do not."""
    try:
        rule = proposal.rule.learn(table, owners=owners) if isinstance(proposal.rule, Learnable) else proposal.rule
    except ConstraintError:
        return None
    return replace(proposal, rule=rule, share=float(rule.allows(table).mean()))


def _mined(
    rows: Rows, max_rows: int, holding: Callable[[Iterable[Proposal]], Iterator[Proposal]]
) -> Iterator[Proposal]:
    """Yield proposals that hold: what says much before what it makes superfluous.

    One that some rows suggest and all rows refute makes nothing superfluous.
    """
    formulas = list(holding(derived(rows)))
    computed = [proposal.rule.columns for proposal in formulas]
    yield from formulas
    combined = list(holding(together(rows, computed, max_rows=max_rows)))
    yield from combined
    yield from holding(unique(rows))
    ones = list(holding(exactly_one(rows)))
    yield from ones
    yield from holding(conditional_nulls(rows))
    rising = list(holding(monotone(rows, computed)))
    yield from rising
    yield from holding(ordered(rows, computed))
    yield from holding(bounded_sums(rows, computed))
    yield from holding(on_columns(rows))
    known = [*computed, *(proposal.rule.columns for proposal in (*combined, *ones))]
    yield from holding(implications(rows, known))


def proposals_to_json(proposals: Sequence[Proposal]) -> dict[str, Any]:
    """Return the rules as ``constraints_from_file`` reads them, with the support of each beside them."""
    return {
        "constraints": [proposal.rule.to_json() for proposal in proposals],
        "support": [{"name": p.rule.name, "share": p.share, "rows": p.rows, "reason": p.reason} for p in proposals],
    }
