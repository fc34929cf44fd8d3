"""Rows that obey every rule, exactly as many as asked: repair, then reject and redraw, then say which rule fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.constraints import Constraint, FunctionalDependency, Inequality, Learnable, Range, Unique
from synth_components.errors import ConditionError, ConstraintError
from synth_components.schema import AnyColumn, Boolean, Categorical, Datetime, Key, Numeric, Schema, outside_of

Positions: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Draw: TypeAlias = Callable[[Positions], pd.DataFrame]
"""Output positions (k,) to one candidate row for each, in order; a position may be asked several times."""

MAX_DRAWS_PER_ROW = 200
"""Candidates per missing row before a rule counts as unsatisfiable."""

MIN_DRAWS = 50_000
"""Candidates that must fail, however few rows are asked for, before a rule counts as unsatisfiable."""

_BATCH = 65_536
_PASSES = 3
_CONDITIONS = "the conditions"
_SCHEMA = "the schema"


def enforce(
    draw: Draw,
    constraints: Sequence[Constraint],
    n: int,
    *,
    rng: random.Generator,
    schema: Schema,
    accepts: Callable[[pd.DataFrame, Positions], Mask] | None = None,
    before: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return exactly ``n`` rows that obey every rule and the schema, from candidates that ``draw`` makes.

    ``attrs["acceptance"]`` of the result tells by rule the share of candidates that obeyed it after repair.

    Args:
        accepts: What else a candidate must satisfy at its position: the conditions.  Without it any accepted row may
            take any position.
        before: Rows of earlier blocks, for rules that span rows.

    Raises:
        ConstraintError: naming the rule that the fewest candidates obeyed, if redrawing does not reach ``n``.
        ConditionError: if that is the conditions.
    """
    everyone = np.arange(n, dtype=np.int64)
    rows = [rule for rule in constraints if not rule.spans_rows]
    spanning = [rule for rule in constraints if rule.spans_rows]
    obeyed = dict.fromkeys([*(rule.name for rule in constraints), _SCHEMA, *([_CONDITIONS] if accepts else [])], 0)
    pieces: list[pd.DataFrame] = []
    places: list[Positions] = []
    missing, drawn, factor = everyone, 0, 1
    while len(missing) or not pieces:
        positions = np.tile(missing, factor)[:_BATCH]
        candidates = _mended(draw(positions), constraints, schema, rng)
        good = within(candidates, constraints, schema)
        obeyed[_SCHEMA] += int(good.sum())
        for rule in rows:
            held = rule.allows(candidates).to_numpy(dtype=bool)
            obeyed[rule.name] += int(held.sum())
            good &= held
        if accepts is not None:
            held = accepts(candidates, positions)
            obeyed[_CONDITIONS] += int(held.sum())
            good &= held
        if spanning:
            earlier = [before] if before is not None else []
            good = _spanned(candidates, good, [*earlier, *pieces], spanning, obeyed)
        drawn += len(positions)
        chosen, filled = _choose(positions, good, missing, exchangeable=accepts is None)
        pieces.append(candidates.iloc[chosen])
        places.append(filled)
        missing = np.setdiff1d(missing, filled, assume_unique=True)
        if not len(missing):
            break
        share = good.sum() / len(positions)
        if (share == 0 and drawn >= MIN_DRAWS) or drawn >= max(MIN_DRAWS, MAX_DRAWS_PER_ROW * n):
            raise _unsatisfiable(obeyed, drawn, n)
        factor = int(np.clip(1.2 / max(share, 1e-3) + 1, 2, max(2, _BATCH // len(missing))))
    order = np.argsort(np.concatenate(places), kind="stable")
    whole = _joined(pieces).iloc[order].reset_index(drop=True)
    for rule in constraints:
        if not rule.allows(whole).all():
            raise ConstraintError(f"constraint '{rule.name}' is broken after enforcement", constraint=rule.name)
    whole.attrs["acceptance"] = {name: count / max(drawn, 1) if n else 1.0 for name, count in obeyed.items()}
    return whole


def _joined(pieces: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [piece for piece in pieces if len(piece)]
    return pd.concat(filled, ignore_index=True) if filled else pieces[0]


def _choose(positions: Positions, good: Mask, missing: Positions, *, exchangeable: bool) -> tuple[Positions, Positions]:
    """Return which candidates are kept and which positions they fill."""
    accepted = np.flatnonzero(good)
    if exchangeable:
        accepted = accepted[: len(missing)]
        return accepted, missing[: len(accepted)]
    filled, first = np.unique(positions[accepted], return_index=True)
    return accepted[first], filled


def _mended(
    table: pd.DataFrame, constraints: Sequence[Constraint], schema: Schema, rng: random.Generator
) -> pd.DataFrame:
    """Return the candidates after repair; a rule may break what another mended, so the rules take turns."""
    touched = {name: schema.columns[name] for rule in constraints for name in rule.columns}
    for _ in range(_PASSES):
        if all(bool(rule.allows(table).all()) for rule in constraints):
            break
        for rule in constraints:
            table = rule.repair(table, rng=rng)
        table = table.assign(**{name: _rounded(table[name], column) for name, column in touched.items()})
    return table


def _rounded(values: pd.Series[Any], column: AnyColumn) -> pd.Series[Any]:
    """Return the values at the column's decimal places."""
    if not isinstance(column, Numeric) or column.places is None:
        return values
    if column.dtype == "decimal":
        quantum = Decimal(1).scaleb(-column.places)
        return values.map(lambda v: v.quantize(quantum) if isinstance(v, Decimal) else v)
    return values.round(column.places) if values.dtype.kind == "f" else values


def within(table: pd.DataFrame, constraints: Sequence[Constraint], schema: Schema) -> Mask:
    """Return which rows obey the schema in the columns that a rule may have repaired, shape (n,)."""
    good = np.ones(len(table), dtype=bool)
    for name in {name for rule in constraints for name in rule.columns}:
        outside, _ = outside_of(table[name], schema.columns[name])
        good &= ~outside
        if not schema.columns[name].nullable:
            good &= table[name].notna().to_numpy()
    return good


def _spanned(
    candidates: pd.DataFrame,
    good: Mask,
    earlier: Sequence[pd.DataFrame],
    rules: Sequence[Constraint],
    obeyed: dict[str, int],
) -> Mask:
    """Return which candidates are good and obey the rules that look at the rows before them."""
    columns = list(dict.fromkeys(name for rule in rules for name in rule.columns))
    for rule in rules:
        kept = np.flatnonzero(good)
        whole = _joined([*(piece[columns] for piece in earlier), candidates.iloc[kept][columns]])
        held = rule.allows(whole).to_numpy(dtype=bool)[len(whole) - len(kept) :]
        obeyed[rule.name] += int(held.sum()) + int((~good).sum())  # only repetition counts against the rule
        good = good.copy()
        good[kept[~held]] = False
    return good


def _unsatisfiable(obeyed: dict[str, int], drawn: int, n: int) -> ConstraintError | ConditionError:
    worst = min(obeyed, key=lambda name: obeyed[name])
    share = obeyed[worst] / drawn
    others = ", ".join(f"'{name}' {count / drawn:.2%}" for name, count in obeyed.items() if name != worst)
    tail = f"; after {drawn} candidates {n} rows could not be filled" + (f" (the others: {others})" if others else "")
    if worst == _CONDITIONS:
        return ConditionError(f"{share:.2%} of the candidates met the conditions under the rules{tail}; widen them")
    return ConstraintError(
        f"constraint '{worst}' cannot be met: {share:.2%} of the candidates obeyed it{tail}; relax it, or check that "
        "the training rows obey it",
        constraint=worst,
        acceptance=share,
    )


def learned(constraints: Sequence[Constraint], table: pd.DataFrame) -> tuple[Constraint, ...]:
    """Return the rules with what they learn from the training rows."""
    return tuple(
        rule.learn(table) if isinstance(rule, Learnable) and not rule.is_learned else rule for rule in constraints
    )


def refuse_contradictions(schema: Schema, *, n: int | None = None) -> None:
    """Return if rules do not contradict each other, the columns or ``n``, as far as is easily seen.

    Seen are: names used twice, empty ranges, inequalities along ranges and cycles, mapped values that the schema does
    not have, and more unique rows than a finite column has values.

    Raises:
        ConstraintError: naming the rule.
    """
    names = [rule.name for rule in schema.constraints]
    for name in names:
        if names.count(name) > 1:
            raise ConstraintError(f"two constraints are named '{name}'; name each", constraint=name)
    low, high = _bounds(schema)
    for rule in schema.constraints:
        match rule:
            case Inequality():
                _require_comparable(rule, schema)
            case FunctionalDependency():
                _require_known_values(rule, schema)
            case Unique() if n is not None:
                _require_room(rule, schema, n)
    inequalities = [rule for rule in schema.constraints if isinstance(rule, Inequality)]
    for _ in range(len(inequalities) + 1):  # bounds travel along a chain of inequalities
        for rule in inequalities:
            low[rule.high] = max(low[rule.high], low[rule.low])
            high[rule.low] = min(high[rule.low], high[rule.high])
            for column in (rule.low, rule.high):
                if low[column] > high[column] or (
                    rule.strict and np.isfinite(low[rule.low]) and low[rule.low] >= high[rule.high]
                ):
                    raise ConstraintError(
                        f"constraint '{rule.name}' contradicts the bounds of column '{column}'", constraint=rule.name
                    )
    _refuse_cycles(inequalities)


def _bounds(schema: Schema) -> tuple[dict[str, float], dict[str, float]]:
    """Return the low and high bound of every column, of its type and of the ranges; times as nanoseconds."""
    low, high = dict.fromkeys(schema.columns, -np.inf), dict.fromkeys(schema.columns, np.inf)

    def position(bound: float | str | None, column: AnyColumn, otherwise: float, rule: str) -> float:
        if bound is None:
            return otherwise
        if isinstance(bound, str) != isinstance(column, Datetime) or not isinstance(column, Numeric | Datetime):
            raise ConstraintError(
                f"constraint '{rule}' bounds a column that is no number or time, or with a bound of another type",
                constraint=rule,
            )
        if isinstance(bound, str) and isinstance(column, Datetime):
            stamp = pd.Timestamp(bound)
            if column.zone is not None:
                stamp = (stamp.tz_localize(column.zone) if stamp.tzinfo is None else stamp).tz_convert("UTC")
            elif stamp.tzinfo is not None:
                raise ConstraintError(f"constraint '{rule}' gives a zone to a column without one", constraint=rule)
            return float(stamp.as_unit("ns").value)
        return float(bound)

    for name, column in schema.columns.items():
        if isinstance(column, Numeric | Datetime):
            low[name] = position(column.low, column, -np.inf, name)
            high[name] = position(column.high, column, np.inf, name)
    for rule in schema.constraints:
        if isinstance(rule, Range):
            column = schema.columns[rule.column]
            low[rule.column] = max(low[rule.column], position(rule.low, column, -np.inf, rule.name))
            high[rule.column] = min(high[rule.column], position(rule.high, column, np.inf, rule.name))
            if low[rule.column] > high[rule.column] or (
                rule.strict and low[rule.column] == high[rule.column] and np.isfinite(low[rule.column])
            ):
                raise ConstraintError(
                    f"constraint '{rule.name}' and the other bounds of column '{rule.column}' leave no value",
                    constraint=rule.name,
                )
    return low, high


def _require_comparable(rule: Inequality, schema: Schema) -> None:
    kinds = {type(schema.columns[name]) for name in rule.columns}
    if len(kinds) != 1 or not kinds <= {Numeric, Datetime}:
        raise ConstraintError(
            f"constraint '{rule.name}' compares columns that are not both numbers or both times", constraint=rule.name
        )


def _require_known_values(rule: FunctionalDependency, schema: Schema) -> None:
    column = schema.columns[rule.dependent]
    if isinstance(column, Categorical):
        unknown = sum(value not in column.categories for _, value in rule.mapping)
        if unknown:
            raise ConstraintError(
                f"constraint '{rule.name}' maps {unknown} combinations to a value that column '{rule.dependent}' does "
                "not have; add it to the categories, or mend the mapping",
                constraint=rule.name,
            )


def _require_room(rule: Unique, schema: Schema, n: int) -> None:
    room = 1.0
    for name in rule.columns:
        match schema.columns[name]:
            case Categorical(categories=categories, nullable=False):
                room *= len(categories)
            case Boolean(nullable=False):
                room *= 2
            case Numeric(low=low, high=high, places=places, nullable=False) if (
                low is not None and high is not None and places is not None
            ):
                room *= (float(high) - float(low)) * 10.0**places + 1
            case _:
                return
    if n > room * (1 + 1e-9):
        raise ConstraintError(
            f"constraint '{rule.name}' leaves room for {int(room)} rows, and {n} are asked for", constraint=rule.name
        )


def _refuse_cycles(inequalities: Sequence[Inequality]) -> None:
    """Raise if a cycle of inequalities contains a strict one."""
    reach = {(rule.low, rule.high) for rule in inequalities}
    grown = True
    while grown:
        more = {(a, d) for a, b in reach for c, d in reach if b == c} - reach
        reach |= more
        grown = bool(more)
    for rule in inequalities:
        if rule.strict and (rule.high, rule.low) in reach:
            raise ConstraintError(
                f"constraint '{rule.name}' contradicts other inequalities: together they form a circle",
                constraint=rule.name,
            )


def is_by_construction(rule: Constraint, schema: Schema) -> bool:
    """Return whether a rule holds whatever is drawn: uniqueness of columns among which is a minted key."""
    return isinstance(rule, Unique) and any(isinstance(schema.columns[name], Key) for name in rule.columns)
