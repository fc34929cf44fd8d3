"""Quasi-identifiers recoded until every class meets what is asked for, and what that loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.errors import PolicyError
from synth_components.privacy.anonymity import full_domain, local
from synth_components.privacy.anonymity.classes import Ints, classes_of, codes
from synth_components.privacy.anonymity.criteria import Criteria, survivors
from synth_components.privacy.anonymity.domain import Domain, domain
from synth_components.privacy.anonymity.hierarchy import Hierarchy
from synth_components.protocols import Floats

Recoding: TypeAlias = Literal["local", "full_domain"]
Values: TypeAlias = Literal["labels", "representatives"]


@dataclass(frozen=True)
class Loss:
    """What was lost to anonymity.

    Attributes:
        discernibility: Mean number of rows that a row can no longer be told from, itself included; a suppressed row
            counts as told from none of the table.
        penalty: Normalised certainty penalty: the mean of what each cell lost, from 0, nothing, to 1; a suppressed row
            lost all.
        suppressed: Share of the rows that were left out.
    """

    discernibility: float
    penalty: float
    suppressed: float

    def to_json(self) -> dict[str, Any]:
        """Return the losses as a JSON value."""
        return {
            "discernibility_per_row": self.discernibility,
            "normalised_certainty_penalty": self.penalty,
            "suppressed_share": self.suppressed,
        }


@dataclass(frozen=True)
class Recoded:
    """A table whose quasi-identifiers were recoded.

    Attributes:
        table: The rows that were kept, in their order, with the index that they had.
        loss: What that lost.
        levels: With full-domain recoding, the level of each column.
    """

    table: pd.DataFrame
    loss: Loss
    levels: Mapping[str, int]


def recode(
    table: pd.DataFrame,
    quasi_identifiers: Sequence[str],
    criteria: Criteria,
    *,
    hierarchies: Mapping[str, Hierarchy] | None = None,
    recoding: Recoding = "local",
    values: Values = "labels",
    max_suppressed: float = 0.0,
) -> Recoded:
    """Return the table with its quasi-identifiers recoded so that every class meets the criteria.

    With ``labels`` each quasi-identifier becomes text, whether or not it was recoded, so that the type of a column does
    not depend on the rows: ``34``, ``[30, 39]``, ``{a, b}``, the name of a group, ``*``.  With ``representatives`` it
    keeps its type, and each cell holds one value of the run that it became: the middle, or of categories the commonest.
    A table that meets the criteria is not recoded.

    Args:
        max_suppressed: Share of the rows that full-domain recoding may leave out; local recoding needs none.

    Raises:
        PolicyError: if no recoding meets the criteria, or a hierarchy does not suit its column.
        SchemaError: if values have no order.
        UnsupportedError: if hierarchies have too many levels together.
    """
    known = hierarchies or {}
    domains = [domain(table[name], known.get(name), runs=recoding == "local") for name in quasi_identifiers]
    held = [one.codes for one in domains]
    rows = np.arange(len(table))
    group, count = classes_of(held)
    levels: dict[str, int] = {}
    low, high = held, held
    if bool(criteria.met(group, rows, count).all()):
        pass
    elif recoding == "local":
        require_reachable(criteria, len(table))
        part = local.partition(domains, criteria)
        low, high = _ranges(held, part)
    else:
        require_reachable(criteria, len(table), max_suppressed)
        chosen, rows = full_domain.search(domains, criteria, max_suppressed=max_suppressed)
        levels = dict(zip(quasi_identifiers, chosen, strict=True))
    made, lost = table.iloc[rows].copy(), []
    for one, a, b in zip(domains, low, high, strict=True):
        if one.name in levels:
            lost.append(one.costs[levels[one.name], one.codes[rows]])
            found = _at_level(one, levels[one.name], rows, table[one.name], values)
        else:
            lost.append(one.loss(a[rows], b[rows]))
            found = _runs(one, a[rows], b[rows], table[one.name], values)
        made[one.name] = found.set_axis(made.index)
    return Recoded(made, loss_of(made, quasi_identifiers, np.mean(lost, axis=0), len(table)), levels)


def generalise(
    table: pd.DataFrame, levels: Mapping[str, int], hierarchies: Mapping[str, Hierarchy], *, values: Values
) -> tuple[pd.DataFrame, Floats]:
    """Return the table with columns at levels of their hierarchies, and the mean loss of each row (n,).

    Raises:
        PolicyError: for a level that a hierarchy does not have, or one that does not suit its column.
        SchemaError: if values have no order.
    """
    made, lost = table.copy(), []
    for name, level in levels.items():
        one = domain(table[name], hierarchies.get(name), runs=False)
        if not 0 <= level < len(one.nodes):
            raise PolicyError(
                f"column '{name}' is to be at level {level}, and its hierarchy has levels 0 to {len(one.nodes) - 1}",
                column=name,
            )
        lost.append(one.costs[level, one.codes])
        made[name] = _at_level(one, level, np.arange(len(table)), table[name], values).set_axis(made.index)
    return made, np.mean(lost, axis=0) if lost else np.zeros(len(table))


def suppress(
    table: pd.DataFrame, quasi_identifiers: Sequence[str], criteria: Criteria, *, max_suppressed: float
) -> Recoded:
    """Return the rows of the classes that meet the criteria.

    Raises:
        PolicyError: if more rows are to be left out than may be.
    """
    group, _ = classes_of([codes(table[name]) for name in quasi_identifiers])
    rows = survivors(group, criteria)
    share = 1 - len(rows) / max(len(table), 1)
    if share > max_suppressed + 1e-12:
        raise PolicyError(
            f"{len(table) - len(rows)} of {len(table)} rows ({share:.1%}) are in classes that miss the policy, and "
            f"max_suppressed is {max_suppressed:.1%}; raise it, or generalise before"
        )
    made = table.iloc[rows]
    return Recoded(made, loss_of(made, quasi_identifiers, np.zeros(len(made)), len(table)), {})


def require_reachable(criteria: Criteria, rows: int, max_suppressed: float = 0.0) -> None:
    """Raise unless the whole table, as one class, meets the criteria.

    Raises:
        PolicyError: saying what it lacks.
    """
    if rows < criteria.k:
        raise PolicyError(f"the table has {rows} rows, fewer than k = {criteria.k}; no recoding can make a class of k")
    if max_suppressed > 0:
        return  # rows that are left out change the whole
    for demand in criteria.demands:
        if not demand.met(np.zeros(rows, dtype=np.int64), np.arange(rows), 1).all():
            raise PolicyError(
                f"column '{demand.name}' as a whole is not {demand.kind} l-diverse with l = {demand.diversity:g}; no "
                "class of its rows can be guaranteed more, so lower l, or do not call the column sensitive",
                column=demand.name,
            )


def loss_of(made: pd.DataFrame, quasi_identifiers: Sequence[str], lost: Floats, rows: int) -> Loss:
    """Return the losses of a table that had ``rows`` rows, each kept one losing ``lost`` (m,) of a cell."""
    group, count = classes_of([codes(made[name]) for name in quasi_identifiers])
    sizes = np.bincount(group, minlength=count).astype(np.float64)
    gone = rows - len(made)
    n = max(rows, 1)
    return Loss(
        discernibility=float((sizes**2).sum() + gone * rows) / n,
        penalty=float(lost.sum() + gone) / n,
        suppressed=gone / n,
    )


def _ranges(held: Sequence[Ints], part: Ints) -> tuple[list[Ints], list[Ints]]:
    """Return the least and the greatest code of each row's class, by column."""
    order = np.argsort(part, kind="stable")
    starts = np.searchsorted(part[order], np.arange(int(part.max()) + 1))
    low = [np.minimum.reduceat(codes_[order], starts)[part] for codes_ in held]
    high = [np.maximum.reduceat(codes_[order], starts)[part] for codes_ in held]
    return low, high


def _at_level(one: Domain, level: int, rows: Ints, before: pd.Series[Any], values: Values) -> pd.Series[Any]:
    """Return what stands for the values of some rows (m,) at one level of the hierarchy."""
    node = one.nodes[level]
    if values == "labels":
        shown: list[Any] = list(one.labels[level])
    else:
        first, last = np.searchsorted(node, node, side="left"), np.searchsorted(node, node, side="right") - 1
        held = {(int(a), int(b)): one.representative(int(a), int(b)) for a, b in zip(first, last, strict=True)}
        shown = [held[int(a), int(b)] for a, b in zip(first, last, strict=True)]
    return _series(one.name, shown, one.codes[rows], before, values)


def _runs(one: Domain, low: Ints, high: Ints, before: pd.Series[Any], values: Values) -> pd.Series[Any]:
    """Return what stands for runs of codes (m,)."""
    pairs, place = np.unique(low * one.size + high, return_inverse=True)
    called = one.label if values == "labels" else one.representative
    shown = [called(int(pair) // one.size, int(pair) % one.size) for pair in pairs]
    return _series(one.name, shown, place.reshape(-1), before, values)


def _series(name: str, shown: list[Any], place: NDArray[Any], before: pd.Series[Any], values: Values) -> pd.Series[Any]:
    made = np.empty(len(shown), dtype=object)
    made[:] = shown
    is_text = values == "labels"
    dtype = before.dtype if not is_text else None if len(place) else object
    return pd.Series(made[place].tolist(), name=name, dtype=dtype)
