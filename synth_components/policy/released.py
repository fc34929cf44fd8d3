"""What a policy asks of the classes of a released table, k, l and t, and what a table has of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pandas as pd

from synth_components.policy import Policy, Technique
from synth_components.policy.audit import Promise, promises_of
from synth_components.policy.protection import sensitive_columns, unnamed_columns
from synth_components.privacy.anonymity.classes import measure
from synth_components.privacy.ledger import SETTLED, Ledger

CLASSES: tuple[Technique, ...] = ("k_anonymity", "l_diversity", "t_closeness")
"""The techniques whose promise can be measured on a table alone."""

_THEIR_OPTIONS = frozenset({"k", "l", "diversity", "c", "t"})


def asked(policy: Policy) -> tuple[Technique, ...]:
    """Return which of k, l and t a policy asks of a released table.

    A level that names no quasi-identifiers, and none of the numbers, asks for none: there is nothing to count by.
    """
    levels = (*policy.sensitive.values(), policy.level)
    wanted = tuple(one for one in CLASSES if any(one in policy.techniques(level) for level in levels))
    is_said = bool(
        policy.quasi_identifiers or policy.model_fields_set & _THEIR_OPTIONS or set(policy.layers) & {*wanted}
    )
    return wanted if is_said else ()


def undeclared(policy: Policy, columns: Collection[str] | None) -> Iterator[str]:
    """Yield what a policy that asks for k, l or t lacks, in words: it is known before any row is read.

    Args:
        columns: Names of the columns, if they are known; those that the policy names must be among them.
    """
    wanted = asked(policy)
    if wanted and not policy.quasi_identifiers:
        yield f"the policy asks for {wanted[0]} and names no quasi_identifiers"
    if wanted and columns is not None:
        yield from _absent(policy, columns, of="the schema")


def kept(policy: Policy, table: pd.DataFrame) -> tuple[tuple[str, bool], ...]:
    """Return what a table has of the k, l and t of a policy, in words, and whether it is enough.

    Columns that the policy has no role for are looked through first, as when it is applied, unless it forbids that.

    Raises:
        SchemaError: for a column that is there twice, or values that cannot be compared.
    """
    missing = list(undeclared(policy, None)) + list(_absent(policy, set(table.columns), of="the table"))
    if missing or not asked(policy):
        return tuple((told, False) for told in missing)
    sensitive = sensitive_columns(policy, unnamed_columns(table, policy, Ledger(account=SETTLED)))
    plan = [layer for layer in policy.plan(sensitive) if layer.technique in CLASSES]
    found = measure(table, policy.quasi_identifiers, tuple(sensitive))
    promises: tuple[Promise, ...] = promises_of(plan, policy, table, found, rows=len(table), applied=())
    return tuple((str(one), one.holds) for one in promises)


def _absent(policy: Policy, known: Collection[str], *, of: str) -> Iterator[str]:
    absent = [f"'{name}'" for name in (*policy.quasi_identifiers, *policy.sensitive) if name not in known]
    if absent:
        yield f"{of} has no column {', '.join(absent)}, which the policy counts on"
