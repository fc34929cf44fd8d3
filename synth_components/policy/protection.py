"""A policy applied to a table: its layers one after another, and an audit of what is left after the last."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy import random

from synth_components.errors import PolicyError, SchemaError, UnsupportedError
from synth_components.policy import Layer, Level, Policy, Technique, strictest
from synth_components.policy.audit import Applied, Audit, promises_of
from synth_components.privacy.accounting import pure
from synth_components.privacy.anonymity.classes import Anonymity, Sensitive, measure, require_columns
from synth_components.privacy.anonymity.criteria import Criteria, Demand
from synth_components.privacy.anonymity.recoding import generalise, loss_of, recode, suppress
from synth_components.privacy.anonymity.swapping import resynthesise, swap
from synth_components.privacy.budget_file import BudgetFile, Prepared, opened
from synth_components.privacy.charges import unit_of
from synth_components.privacy.contribution import bounded
from synth_components.privacy.ledger import Ledger
from synth_components.privacy.noise import Grant, noisy_counts
from synth_components.privacy.smallest_delta import SHARE
from synth_components.privacy.unit import settle
from synth_components.protocols import Budget, Dataset
from synth_components.schema import TABLE, Schema
from synth_components.sensitive import SensitiveColumn, detect
from synth_components.sensitive.entity import Role

_LOG = logging.getLogger(__name__)

OF_CLASSES: frozenset[Technique] = frozenset({"suppression", "k_anonymity", "l_diversity", "t_closeness"})
"""Techniques that look at classes: next to each other they are one search, which loses less than one after another."""
RECODING: frozenset[Technique] = OF_CLASSES - {"suppression"}
KEEPING: frozenset[Technique] = frozenset({"suppression", "swapping", "synthesis"})
"""Techniques behind which a declared schema still holds: each cell is one that stood in its column before."""
NEEDS_QUASI_IDENTIFIERS: frozenset[Technique] = OF_CLASSES | {"generalisation"}

_NUMBERS: Mapping[str, Technique] = {
    "k": "k_anonymity",
    "l": "l_diversity",
    "t": "t_closeness",
    "epsilon": "differential_privacy",
}

Group: TypeAlias = tuple[Layer, ...]


@dataclass(frozen=True)
class Protected:
    """A table that went through a policy.

    Attributes:
        table: The rows.
        audit: What was done, and what holds of them.
    """

    table: pd.DataFrame
    audit: Audit


def protect(
    table: pd.DataFrame,
    policy: Policy,
    *,
    schema: Schema | None = None,
    seed: int | None = None,
    ledger: Ledger | None = None,
) -> Protected:
    """Return the table after every layer of the policy, audited after the last.

    The index of rows that are kept stays, but rows that differential privacy draws are new.  Whether each promise
    holds at the end is in the audit: a layer may undo what an earlier one did.

    Unless the policy forbids it, columns that it does not name are looked through first: what seems to name a person is
    left out, what seems sensitive is protected at its level, and the audit tells what was found.

    Behind differential privacy nothing tells how many rows there were: a hundredth of epsilon counts them with noise,
    and as many are drawn, and stand in the audit.

    Args:
        schema: Columns as declared in public, for differential privacy; without it a tenth of epsilon finds them.  Of a
            unit that it declares at most ``max_rows`` rows are read, also where the unit's columns are identifiers.
        seed: Of swapping and synthesis; ``None`` takes entropy that nobody can repeat.  Whoever knows it can undo
            swaps.  The noise of differential privacy takes none.
        ledger: Charged with the search for sensitive columns, before it reads, with the noisy number of rows, and with
            the fit that draws; so is the budget file, if one is named.  What is counted otherwise is written to it, not
            charged, as outside the epsilon of any model.  ``None`` charges the budget file alone.

    Raises:
        SchemaError: for a column that the table does not have, or values that cannot be compared.
        PolicyError: if the rows cannot meet the policy, or a hierarchy does not suit its column.
        BudgetExceededError: if the ledger, or the budget file, does not hold the policy's epsilon, or has a finite
            budget and the policy searches, which no private read does; nothing was read.
        UnitError: if it is of another privacy unit than the schema.
        DataError: if the budget file is for other rows.
        UnsupportedError: if a technique needs an extra that is not installed.
    """
    require_columns(table, [*policy.identifiers, *policy.quasi_identifiers, *policy.sensitive])
    if len(table) == 0:
        raise PolicyError("the table has no rows; there is nobody to protect, and nothing to release")
    account = opened(ledger)
    found = unnamed_columns(table, policy, account)  # charged before it reads; where that is refused, nothing is read
    sensitive = sensitive_columns(policy, found)
    plan = policy.plan(sensitive)
    _require_roles(policy, plan, found)
    is_private = any(layer.technique == "differential_privacy" for layer in plan)
    if is_private:
        settle(account, None if schema is None else schema.unit)
        _require_drawing(account, policy, table)
    # Whoever holds to a budget is not told how many rows there were.
    account.note_uncovered("protect: rows" if account.budget is not None else f"protect: {len(table)} rows")
    if is_private and schema is not None:
        table = bounded(Dataset({schema.root: table}, schema)).table
    work = _Work(
        table=table.drop(columns=[*policy.identifiers, *_named(found, "direct")]),
        policy=policy,
        found=found,
        sensitive=sensitive,
        rows=len(table),
        rng=np.random.default_rng(seed),
        schema=schema,
        ledger=account,
    )
    before = None if is_private else work.measured()
    for group in _groups(plan):
        work.apply(group)
    after = work.measured()
    promises = promises_of(plan, policy, work.table, after, rows=work.rows, applied=work.applied)
    idle = tuple(_idle(policy, plan))
    for told in idle:
        _LOG.warning("%s", told)
    notes = (*work.notes(is_private=is_private), *idle)
    return Protected(
        work.table, Audit(policy, sensitive, work.rows, tuple(work.applied), before, after, promises, notes, found)
    )


def unnamed_columns(table: pd.DataFrame, policy: Policy, ledger: Ledger) -> tuple[SensitiveColumn, ...]:
    """Return the columns that seem to hold something of a person and have no role in the policy.

    Raises:
        BudgetExceededError: if the policy searches and the ledger has a finite budget.
    """
    if not policy.detect:
        return ()
    named = {*policy.identifiers, *policy.quasi_identifiers, *policy.sensitive}
    rest = [name for name in table.columns if isinstance(name, str) and name not in named]
    return detect(table[rest], ledger=ledger).of(TABLE) if rest else ()


def sensitive_columns(policy: Policy, found: Sequence[SensitiveColumn]) -> dict[str, Level]:
    """Return the sensitive columns with their levels.

    Those that the policy names keep the level that it gives them; those that were found have their own, and the
    policy's if that is higher.
    """
    own = {one.column: strictest((one.level, policy.level), policy.level) for one in found if one.role == "sensitive"}
    return dict(policy.sensitive) | own


def _require_drawing(ledger: Ledger, policy: Policy, table: pd.DataFrame) -> None:
    """Raise unless a ledger has room for the rows that a policy draws, and its budget file is for the table."""
    shared = ledger.shared()
    if isinstance(shared, BudgetFile):
        shared.require_data(table)
    # The delta of a policy that declares none depends on a count that is yet to be paid for: the least that it may be.
    wanted = Budget(policy.epsilon, policy.delta_of(10**12))
    Prepared(ledger).require_room(wanted, label="protect: the rows that are drawn")


def _named(found: Iterable[SensitiveColumn], role: Role) -> list[str]:
    return [one.column for one in found if one.role == role]


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _require_roles(policy: Policy, plan: Sequence[Layer], found: Sequence[SensitiveColumn]) -> None:
    asks = [layer.technique for layer in plan if layer.technique in NEEDS_QUASI_IDENTIFIERS]
    if asks and not policy.quasi_identifiers:
        like = _named(found, "quasi")
        seem = f", as {_quoted(like)} may be" if like else ""
        raise PolicyError(
            f"the policy asks for {asks[0]} and names no quasi_identifiers; name the columns that others may know of a "
            f"person{seem}"
        )


def _idle(policy: Policy, plan: Sequence[Layer]) -> Iterator[str]:
    """Yield which numbers a policy sets that none of its layers asks for."""
    used = {layer.technique for layer in plan}
    for name, technique in _NUMBERS.items():
        if name in policy.model_fields_set and technique not in used:
            told = f"the policy sets {name}, and no layer asks for {technique}"
            yield f"{told}: it was not enforced; name the layer, or a level that has it"


def _groups(plan: Sequence[Layer]) -> Iterator[Group]:
    """Yield the layers, those of classes that follow each other together."""
    held: list[Layer] = []
    for layer in plan:
        if held and not (layer.technique in OF_CLASSES and held[-1].technique in OF_CLASSES):
            yield tuple(held)
            held = []
        held.append(layer)
    if held:
        yield tuple(held)


@dataclass
class _Work:
    """A table on its way through the layers."""

    table: pd.DataFrame
    policy: Policy
    found: Sequence[SensitiveColumn]
    sensitive: Mapping[str, Level]
    rows: int
    rng: random.Generator
    schema: Schema | None
    ledger: Ledger
    applied: list[Applied] = field(default_factory=list)
    promised: list[Layer] = field(default_factory=list)
    recoded: set[str] = field(default_factory=set)

    def measured(self) -> Anonymity | None:
        """Return what the classes are like, ``None`` without quasi-identifiers."""
        if not self.policy.quasi_identifiers:
            return None
        return measure(self.table, self.policy.quasi_identifiers, tuple(self.sensitive))

    def apply(self, group: Group) -> None:
        """Take the table through layers that belong together."""
        self.promised += [layer for layer in group if layer.technique in OF_CLASSES]
        technique = group[0].technique
        if technique in OF_CLASSES:
            self._classes(group)
        elif technique == "differential_privacy":
            self._draw(group)
        elif technique == "generalisation":
            self._generalise(group)
        else:
            self._exchange(group)

    def notes(self, *, is_private: bool) -> Iterator[str]:
        """Yield what a reader of the audit must know."""
        yield (
            "k, l and t say what the released rows show to somebody who knows the quasi-identifiers and nothing else; "
            "they do not bound what a person's row changes, as differential privacy does"
        )
        if is_private:
            yield "k, l and t of rows that were drawn are a filter of the output, not a guarantee to the people behind"
        yield from self._of_search(is_private=is_private)
        if not self.sensitive:
            yield "no column is sensitive: l-diversity, t-closeness, swapping and synthesis had nothing to protect"

    def _of_search(self, *, is_private: bool) -> Iterator[str]:
        """Yield what the search for sensitive columns found, by name of column and kind."""
        if not self.policy.detect:
            yield "sensitive columns were not looked for: the policy names them all"
            return
        yield "sensitive columns were looked for by form, words and name; what was not found is no promise"
        if direct := [f"'{one.column}' ({one.title})" for one in self.found if one.role == "direct"]:
            yield f"left out, as it seems to name a person: {', '.join(direct)}; the policy does not name it"
        if quasi := _named(self.found, "quasi"):
            yield f"others may know {_quoted(quasi)} of a person: k, l and t do not count on it, as the policy does not"
        if is_private:
            yield "which columns are sensitive was read off the rows: epsilon covers the drawn rows, not that choice"

    def _classes(self, group: Group) -> None:
        policy = self.policy
        names = {layer.technique for layer in group}
        criteria = criteria_of(self.table, policy, self.promised)
        left = max(0.0, policy.max_suppressed * self.rows - (self.rows - len(self.table))) / max(len(self.table), 1)
        if not names & RECODING:
            made = suppress(self.table, policy.quasi_identifiers, criteria, max_suppressed=left)
        else:
            made = recode(
                self.table,
                policy.quasi_identifiers,
                criteria,
                hierarchies=self._declared(),
                recoding=policy.recoding,
                values=policy.values,
                max_suppressed=left if "suppression" in names else 0.0,
            )
            self._recode(policy.quasi_identifiers)
        self._done(group, made.table, loss=made.loss, levels=made.levels)

    def _declared(self) -> dict[str, Any]:
        """Return the hierarchies of columns that still hold what they were declared for."""
        return {name: one for name, one in self.policy.hierarchies.items() if name not in self.recoded}

    def _recode(self, names: Iterable[str]) -> None:
        """Remember that columns hold labels, which no hierarchy was declared for."""
        if self.policy.values == "labels":
            self.recoded |= set(names)

    def _generalise(self, group: Group) -> None:
        levels = self.policy.generalise or dict.fromkeys(self.policy.quasi_identifiers, 1)
        made, lost = generalise(self.table, levels, self._declared(), values=self.policy.values)
        loss = loss_of(made, self.policy.quasi_identifiers, lost * len(levels) / self._width, len(made))
        self._recode(levels)
        self._done(group, made, loss=loss, levels=levels)

    @property
    def _width(self) -> int:
        return max(1, len(self.policy.quasi_identifiers))

    def _exchange(self, group: Group) -> None:
        columns = group[0].columns
        if group[0].technique == "swapping":
            made = swap(self.table, columns, reach=self.policy.swap_range, rng=self.rng)
        else:
            made = resynthesise(self.table, columns, rng=self.rng, min_leaf=self.policy.min_leaf)
        same = [_same(self.table[name], made[name]) for name in columns]
        self._done(group, made, changed=1 - float(np.mean(same)) if same else 0.0)

    def _draw(self, group: Group) -> None:
        import synth_components as synth

        known = self.schema
        if known is not None and set(known.columns) != set(self.table.columns):
            known = _only(known, tuple(self.table.columns))
        unit = 1 if known is None or known.unit is None else known.unit.max_rows
        if self.applied and unit > 1:
            raise UnsupportedError(
                "rows that a layer changed have no public schema, and bounds and categories are not found under a "
                "privacy unit of several rows; put differential_privacy first"
            )
        is_first = all(self._is_by_row(one) for one in self.applied)
        # The exact number would tell whether one person is among them.
        counting = SHARE * self.policy.epsilon
        self.ledger.spend("number of rows", pure(counting))
        grant = Grant("laplace", counting)
        (noisy,) = noisy_counts(np.array([len(self.table)]), amount=counting, grant=grant, sensitivity=unit)
        n = max(1, int(noisy))
        is_recoded = any(not set(one.techniques) <= KEEPING for one in self.applied)
        try:
            model = synth.fit(
                self.table.reset_index(drop=True),
                generator=self.policy.private_generator,
                epsilon=self.policy.epsilon - counting,
                delta=self.policy.delta_of(n),
                schema=None if is_recoded else known,
                units=n,
                budget=Prepared(self.ledger),
            )
        except SchemaError as error:
            if not self.applied:
                raise
            layer = ", ".join(self.applied[-1].techniques)
            raise PolicyError(
                f"differential_privacy cannot draw from what {layer} left of the rows: {error}. What was charged is "
                "spent. Put differential_privacy first, with a declared schema, or raise epsilon",
                column=error.column,
            ) from None
        spent = model.privacy
        drawn = model.sample(n, seed=int(self.rng.integers(2**31)))
        if is_first:
            # What was told of the layers before is exact, and outside of epsilon.
            self.applied = [replace(one, rows_before=n, rows_after=n, loss=None) for one in self.applied]
        self.rows, self.table = n, drawn
        # Of whom the rows were bounded: of those that were read then, a unit may have lost its columns.
        whom = spent.unit if self.schema is None else unit_of(self.schema)
        self._done(group, drawn, epsilon=spent.epsilon + counting, delta=spent.delta, unit=whom, is_first=is_first)

    def _is_by_row(self, one: Applied) -> bool:
        """Return whether a layer changed each row by itself, as declared, whatever the other rows hold.

        A label tells of its row alone; a representative is the middle value of all rows of a group.
        """
        is_declared = set(one.levels) <= set(self.policy.hierarchies) and self.policy.values == "labels"
        return one.techniques == ("generalisation",) and is_declared

    def _done(self, group: Group, made: pd.DataFrame, **said: Any) -> None:  # noqa: ANN401 - fields of Applied
        columns = tuple(dict.fromkeys(name for layer in group for name in layer.columns))
        techniques = tuple(layer.technique for layer in group)
        self.applied.append(Applied(techniques, columns, len(self.table), len(made), **said))
        self.table = made
        _LOG.info("%s: %d rows", ", ".join(techniques), len(made))


def criteria_of(table: pd.DataFrame, policy: Policy, layers: Sequence[Layer]) -> Criteria:
    """Return what the layers ask of the classes of a table; without k-anonymity a class may have one row."""
    names = {layer.technique for layer in layers}
    demands: dict[str, Demand] = {}
    for layer in layers:
        if layer.technique not in {"l_diversity", "t_closeness"}:
            continue
        for name in layer.columns:
            held = demands.get(name) or Demand(name, Sensitive.of(table[name]), kind=policy.diversity, c=policy.c)
            is_diverse = layer.technique == "l_diversity"
            demands[name] = replace(held, diversity=policy.l) if is_diverse else replace(held, closeness=policy.t)
    asks_k = bool(names & {"k_anonymity", "suppression"})
    return Criteria(policy.k if asks_k else 1, tuple(demands.values()))


def _same(before: pd.Series[Any], after: pd.Series[Any]) -> float:
    is_same = (before.to_numpy() == after.to_numpy()) | (before.isna() & after.isna()).to_numpy()
    return float(np.mean(is_same)) if len(before) else 1.0


def _only(schema: Schema, columns: tuple[str, ...]) -> Schema:
    """Return the schema of some columns of a table, without the rules that name others."""
    lacking = [name for name in columns if name not in schema.columns]
    if lacking:
        raise UnsupportedError(f"the schema does not declare column '{lacking[0]}'; add it, or leave the schema out")
    kept = {name: column for name, column in schema.columns.items() if name in columns}
    rules = tuple(rule for rule in schema.constraints if set(rule.columns) <= set(columns))
    keys = {table: names for table, names in schema.keys.items() if set(names) <= set(columns)}
    unit = schema.unit
    if unit is not None and not set(unit.columns) <= set(columns):
        unit = replace(unit, columns=())  # the rows are bounded: any so many of them may be one unit's
    return replace(schema, tables={schema.root: kept}, constraints=rules, keys=keys, unit=unit)
