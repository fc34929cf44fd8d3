"""Which rules cannot hold together, found before anything is drawn.

Every fact that is derived from rules carries their names, so that a contradiction names all rules that make it.  Rules
with policy ``warn`` bind nothing and contradict nothing.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from synth_components.constraints import (
    ConditionalNull,
    ConstantSum,
    Constraint,
    Derived,
    ExactlyOne,
    Expression,
    FixedCombinations,
    FunctionalDependency,
    Hierarchy,
    Implication,
    Inequality,
    Monotone,
    NotNull,
    Pattern,
    Range,
    Unique,
    ValueSet,
)
from synth_components.encode import zone_of
from synth_components.errors import ConstraintError
from synth_components.expression import Formula, formula, moment
from synth_components.pattern import matches
from synth_components.schema import AnyColumn, Boolean, Categorical, Datetime, Key, Numeric, Schema

_SLACK = 1e-9


@dataclass(frozen=True)
class _Limit:
    """A bound of a column, times as nanoseconds, and the names of what makes it."""

    value: float
    strict: bool
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """The combinations that columns may take, and the names of what leaves no others."""

    columns: tuple[str, ...]
    entries: tuple[tuple[Any, ...], ...]
    sources: tuple[str, ...]


def refuse_contradictions(schema: Schema) -> tuple[Listing, ...]:
    """Return what columns may take together, if the rules do not contradict each other or the columns.

    Seen are: names used twice; ranges, value sets, patterns, fixed combinations, hierarchies and mappings that leave
    nothing; inequalities along bounds and cycles; sums, derived columns and expressions that the bounds cannot reach;
    columns that must and must not be null; equal conditions with consequences that exclude each other; and columns
    that must rise and fall.

    Raises:
        ConstraintError: naming the rules.
    """
    names = [rule.name for rule in schema.constraints]
    for name in names:
        if names.count(name) > 1:
            raise ConstraintError(f"two constraints are named '{name}'; name each", constraint=name)
    rules = [rule for rule in schema.constraints if rule.policy != "warn"]
    _refuse_misfits(rules, schema)
    _refuse_null_clashes(rules, schema)
    _refuse_opposite_orders(rules)
    _refuse_circles(rules)
    simple = [part for rule in rules for part in _simple(rule, schema)]
    listings = _refuse_empty(simple, rules, schema)
    for first, second in _pairs_of(rules, Implication):
        if first.when == second.when:
            parts = [p for rule in (first, second) for p in _atoms(formula(rule.then).root, rule, schema)]
            _refuse_empty([*simple, *parts], rules, schema)
    for rule in rules:
        if isinstance(rule, Implication):
            _refuse_empty([*simple, *_atoms(formula(rule.then).root, rule, schema)], rules, schema)
    return listings


def require_room(schema: Schema, listings: Sequence[Listing], n: int) -> None:
    """Return if ``n`` rows can obey the rules on unique columns.

    Args:
        listings: What ``refuse_contradictions`` returned for the schema.

    Raises:
        ConstraintError: naming the rules that leave fewer different rows.
    """
    for rule in schema.constraints:
        if isinstance(rule, Unique) and rule.policy != "warn":
            _require_room(rule, schema, listings, n)


def _clash(sources: Sequence[str], why: str) -> ConstraintError:
    """Return the error that names every source: rules by their name in quotes, parts of the schema in words."""
    listed = list(dict.fromkeys(sources))
    rules = [source for source in listed if not source.startswith("the ")]
    told = [f"'{source}'" if source in rules else source for source in listed]
    if len(rules) == len(listed) == 1:
        return ConstraintError(f"constraint {told[0]} contradicts itself: {why}; mend or drop it", constraint=rules[0])
    together = f"{', '.join(told[:-1])} and {told[-1]}" if len(told) > 1 else told[0]
    kind = "constraint" if len(rules) == 1 else "constraints"
    ordered = kind if told[0].startswith("'") else "rules"
    return ConstraintError(
        f"{ordered} {together} contradict each other: {why}; mend or drop one of them",
        constraint=rules[-1] if rules else "",
    )


def _pairs_of(rules: Sequence[Constraint], kind: type[Any]) -> Iterator[tuple[Any, Any]]:
    held = [rule for rule in rules if isinstance(rule, kind)]
    for place, first in enumerate(held):
        for second in held[place + 1 :]:
            yield first, second


def _refuse_misfits(rules: Sequence[Constraint], schema: Schema) -> None:
    """Raise if a rule compares or maps what its columns are not."""
    for rule in rules:
        match rule:
            case Inequality():
                kinds = {type(schema.columns[name]) for name in rule.columns}
                if len(kinds) != 1 or not kinds <= {Numeric, Datetime}:
                    raise ConstraintError(
                        f"constraint '{rule.name}' compares columns that are not both numbers or both times",
                        constraint=rule.name,
                    )
            case ValueSet() if isinstance(schema.columns[rule.column], Datetime):
                raise ConstraintError(
                    f"constraint '{rule.name}' lists values of column '{rule.column}', which holds times; give a "
                    "range, or an expression with 'in'",
                    constraint=rule.name,
                )
            case FunctionalDependency():
                column = schema.columns[rule.dependent]
                unknown = 0
                if isinstance(column, Categorical):
                    unknown = sum(value not in column.categories for _, value in rule.mapping)
                if unknown:
                    raise ConstraintError(
                        f"constraint '{rule.name}' maps {unknown} combinations to a value that column "
                        f"'{rule.dependent}' does not have; add it to the categories, or mend the mapping",
                        constraint=rule.name,
                    )


def _refuse_null_clashes(rules: Sequence[Constraint], schema: Schema) -> None:
    """Raise if a column must, and must not, be null."""
    filled = {name: f"the schema, where column '{name}' is not nullable" for name, c in schema.columns.items()}
    filled = {name: why for name, why in filled.items() if not schema.columns[name].nullable}
    filled |= {rule.column: rule.name for rule in rules if isinstance(rule, NotNull)}
    for rule in rules:
        if isinstance(rule, ConditionalNull) and rule.column in filled:
            raise _clash((rule.name, filled[rule.column]), f"column '{rule.column}' must and must not be null")
        if isinstance(rule, ExactlyOne) and rule.counts == "filled":
            both = [name for name in rule.columns if name in filled]
            if len(both) > 1:
                raise _clash(
                    (rule.name, *(filled[name] for name in both)), f"columns {both} must all be filled, and only one"
                )


def _refuse_opposite_orders(rules: Sequence[Constraint]) -> None:
    """Raise if a column must rise and fall."""
    for first, second in _pairs_of(rules, Monotone):
        same = (first.column, first.order, set(first.by)) == (second.column, second.order, set(second.by))
        if same and first.decreasing != second.decreasing and (first.strict or second.strict):
            raise _clash((first.name, second.name), f"column '{first.column}' must rise and fall")


def _refuse_circles(rules: Sequence[Constraint]) -> None:
    """Raise if inequalities form a circle with a strict one, or derived columns a circle that does not close."""
    inequalities = [rule for rule in rules if isinstance(rule, Inequality)]
    for rule in inequalities:
        path = _path(inequalities, rule.high, rule.low) if rule.strict else None
        if path is not None:
            raise _clash((rule.name, *path), "together they form a circle")
    for first, second in _pairs_of(rules, Derived):
        circle = first.column in second.formula.columns and second.column in first.formula.columns
        if circle and not _closes(first, second):
            raise _clash((first.name, second.name), "each computes what the other reads, and they disagree")


def _path(inequalities: Sequence[Inequality], start: str, end: str) -> tuple[str, ...] | None:
    """Return the names of the inequalities that lead from one column up to another."""
    ways: dict[str, tuple[str, ...]] = {start: ()}
    queue = [start]
    while queue:
        column = queue.pop(0)
        for rule in inequalities:
            if rule.low == column and rule.high not in ways:
                ways[rule.high] = (*ways[column], rule.name)
                queue.append(rule.high)
    return ways.get(end)


def _closes(first: Derived, second: Derived) -> bool:
    """Return whether two derived columns that read each other agree on a few numbers."""
    names = sorted({*first.columns, *second.columns})
    rng = np.random.default_rng(0)
    probe = pd.DataFrame({name: rng.uniform(1, 100, 16) for name in names})
    try:
        probe = probe.assign(**{second.column: second.formula.values(probe)})
        return bool(np.allclose(first.formula.values(probe), probe[first.column], rtol=1e-6, atol=10.0**-first.places))
    except (ConstraintError, TypeError, ValueError):
        return True  # not numbers: nothing is easily seen


def _simple(rule: Constraint, schema: Schema) -> list[Constraint]:
    """Return a rule as the ranges and value sets that it implies."""
    match rule:
        case Range() | ValueSet():
            return [rule]
        case Expression():
            return _atoms(formula(rule.expression).root, rule, schema)
        case _:
            return []


def _atoms(node: ast.expr, rule: Constraint, schema: Schema) -> list[Constraint]:
    """Return the comparisons of a column with literals that an expression demands, as rules of the same name."""
    names = dict(formula(_text(rule)).names)
    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            return [atom for part in parts for atom in _atoms(part, rule, schema)]
        case ast.Compare(left=ast.Name(id=name), ops=[op], comparators=[other]):
            made = _atom(names.get(name, name), op, other, rule, schema)
        case ast.Compare(left=ast.Constant() as literal, ops=[op], comparators=[ast.Name(id=name)]):
            mirrored = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}.get(type(op), type(op))
            made = _atom(names.get(name, name), mirrored(), literal, rule, schema)
        case _:
            made = None
    return [] if made is None else [made]


def _text(rule: Constraint) -> str:
    """Return the text of what an expression or an implication demands."""
    if isinstance(rule, Expression):
        return rule.expression
    return rule.then if isinstance(rule, Implication) else ""


def _atom(column: str, op: ast.cmpop, other: ast.expr, rule: Constraint, schema: Schema) -> Constraint | None:
    try:
        literal = ast.literal_eval(other)
    except ValueError:
        return None
    is_number = isinstance(literal, int | float) and not isinstance(literal, bool)
    match op:
        case ast.Eq() if isinstance(literal, bool | int | float | str):
            return ValueSet(name=rule.name, column=column, values=(literal,))
        case ast.In() if isinstance(literal, list | tuple) and literal:
            return ValueSet(name=rule.name, column=column, values=tuple(literal))
        case ast.Lt() | ast.LtE() if is_number and isinstance(schema.columns[column], Numeric):
            return Range(name=rule.name, column=column, high=literal, strict=isinstance(op, ast.Lt))
        case ast.Gt() | ast.GtE() if is_number and isinstance(schema.columns[column], Numeric):
            return Range(name=rule.name, column=column, low=literal, strict=isinstance(op, ast.Gt))
        case _:
            return None


def _refuse_empty(simple: Sequence[Constraint], rules: Sequence[Constraint], schema: Schema) -> tuple[Listing, ...]:
    """Return what columns may take together; raise if that is nothing."""
    low, high = _limits(simple, schema)
    listings = _listings(simple, rules, schema)
    listings = [_within(listing, low, high, schema) for listing in listings]
    listings = [_matching(listing, rules) for listing in listings]
    for _ in range(2):
        for place, listing in enumerate(listings):
            for other in listings:
                listing = _joined(listing, other) if other is not listing else listing
            listings[place] = listing
    for listing in listings:
        _narrow(listing, low, high, schema)
    _refuse_inequalities([rule for rule in rules if isinstance(rule, Inequality)], low, high)
    for name in schema.columns:
        _require_between(low[name], high[name], name)
    _refuse_sums([rule for rule in rules if isinstance(rule, ConstantSum)], low, high, schema)
    for rule in rules:
        if isinstance(rule, Derived):
            _require_reach(rule, low, high, schema)
        if isinstance(rule, Expression):
            _require_comparison(rule, low, high, schema)
    return tuple(listings)


def _limits(simple: Sequence[Constraint], schema: Schema) -> tuple[dict[str, _Limit], dict[str, _Limit]]:
    """Return the low and high bound of every column, of its type and of the ranges."""
    low = dict.fromkeys(schema.columns, _Limit(-np.inf, strict=False, sources=()))
    high = dict.fromkeys(schema.columns, _Limit(np.inf, strict=False, sources=()))
    for name, column in schema.columns.items():
        if isinstance(column, Numeric | Datetime):
            own = (f"the bounds of column '{name}'",)
            if column.low is not None:
                low[name] = _Limit(_position(column.low, column, name), strict=False, sources=own)
            if column.high is not None:
                high[name] = _Limit(_position(column.high, column, name), strict=False, sources=own)
    for rule in simple:
        if isinstance(rule, Range):
            column = schema.columns[rule.column]
            if rule.low is not None:
                _raise(low, rule.column, _Limit(_position(rule.low, column, rule.name), rule.strict, (rule.name,)))
            if rule.high is not None:
                _lower(high, rule.column, _Limit(_position(rule.high, column, rule.name), rule.strict, (rule.name,)))
            _require_between(low[rule.column], high[rule.column], rule.column)
    return low, high


def _raise(low: dict[str, _Limit], column: str, limit: _Limit) -> None:
    held = low[column]
    if (limit.value, limit.strict) > (held.value, held.strict):
        low[column] = limit


def _lower(high: dict[str, _Limit], column: str, limit: _Limit) -> None:
    held = high[column]
    if (-limit.value, limit.strict) > (-held.value, held.strict):
        high[column] = limit


def _position(bound: float | str, column: AnyColumn, rule: str) -> float:
    """Return a bound as a number; times as nanoseconds."""
    if isinstance(bound, str) != isinstance(column, Datetime) or not isinstance(column, Numeric | Datetime):
        raise ConstraintError(
            f"constraint '{rule}' bounds a column that is no number or time, or with a bound of another type",
            constraint=rule,
        )
    if isinstance(bound, str) and isinstance(column, Datetime):
        stamp = moment(bound, zone_of(column))
        if column.zone is None and stamp.tzinfo is not None:
            raise ConstraintError(f"constraint '{rule}' gives a zone to a column without one", constraint=rule)
        try:
            return float(stamp.as_unit("ns").value)
        except pd.errors.OutOfBoundsDatetime:
            return stamp.timestamp() * 1e9
    return float(bound)


def _require_between(low: _Limit, high: _Limit, column: str) -> None:
    """Raise if no value lies between two limits."""
    touches = low.value == high.value and (low.strict or high.strict) and np.isfinite(low.value)
    if low.value > high.value or touches:
        raise _clash((*low.sources, *high.sources), f"they leave no value of column '{column}'")


def _listings(simple: Sequence[Constraint], rules: Sequence[Constraint], schema: Schema) -> list[Listing]:
    """Return the combinations that rules list, then the categories of their columns."""
    found = []
    for rule in [*simple, *rules]:
        match rule:
            case ValueSet() if rule in simple:
                found.append(Listing((rule.column,), tuple((value,) for value in rule.values), (rule.name,)))
            case FixedCombinations(combinations=entries) if entries:
                found.append(Listing(rule.columns, entries, (rule.name,)))
            case Hierarchy(paths=entries) if entries:
                found.append(Listing(rule.levels, entries, (rule.name,)))
            case FunctionalDependency(mapping=pairs) if pairs:
                entries = tuple((*key, value) for key, value in pairs)
                found.append(Listing(rule.columns, entries, (rule.name,)))
    for name in dict.fromkeys(name for listing in found for name in listing.columns):
        match schema.columns[name]:
            case Categorical(categories=categories) if categories:
                own = (f"the categories of column '{name}'",)
                found.append(Listing((name,), tuple((value,) for value in categories), own))
            case Boolean():
                found.append(Listing((name,), ((True,), (False,)), (f"the type of column '{name}'",)))
    return found


def _left(listing: Listing, keeps: Callable[[tuple[Any, ...]], bool], sources: tuple[str, ...]) -> Listing:
    """Return the listing with the entries that ``keeps`` accepts; raise if there is none."""
    kept = tuple(entry for entry in listing.entries if keeps(entry))
    if len(kept) == len(listing.entries):
        return listing
    names = tuple(dict.fromkeys((*listing.sources, *sources)))
    if not kept:
        raise _clash(names, f"they leave no values of columns {list(listing.columns)}")
    return replace(listing, entries=kept, sources=names)


def _within(listing: Listing, low: dict[str, _Limit], high: dict[str, _Limit], schema: Schema) -> Listing:
    """Return the listing without numbers beyond the limits."""
    for place, name in enumerate(listing.columns):
        if not isinstance(schema.columns[name], Numeric):
            continue
        least, most = low[name], high[name]

        def inside(entry: tuple[Any, ...], k: int = place, a: _Limit = least, b: _Limit = most) -> bool:
            value = entry[k]
            if isinstance(value, str):
                return False
            above = value > a.value if a.strict else value >= a.value
            return bool(above and (value < b.value if b.strict else value <= b.value))

        listing = _left(listing, inside, (*least.sources, *most.sources))
    return listing


def _matching(listing: Listing, rules: Sequence[Constraint]) -> Listing:
    """Return the listing without texts that break a pattern."""
    for rule in rules:
        if isinstance(rule, Pattern) and rule.column in listing.columns:
            place = listing.columns.index(rule.column)
            texts = [entry[place] for entry in listing.entries]
            if all(isinstance(text, str) for text in texts):
                good = set(np.array(texts, dtype=object)[matches(pd.Series(texts, dtype=object), rule.pattern)])
                listing = _left(listing, lambda entry, k=place, g=good: entry[k] in g, (rule.name,))  # type: ignore[misc]  # bound defaults
    return listing


def _joined(listing: Listing, other: Listing) -> Listing:
    """Return the listing without entries that another one excludes in the columns that they share."""
    shared = [name for name in listing.columns if name in other.columns]
    if not shared:
        return listing
    mine = [listing.columns.index(name) for name in shared]
    theirs = [other.columns.index(name) for name in shared]
    known = {tuple(entry[k] for k in theirs) for entry in other.entries}
    return _left(listing, lambda entry: tuple(entry[k] for k in mine) in known, other.sources)


def _narrow(listing: Listing, low: dict[str, _Limit], high: dict[str, _Limit], schema: Schema) -> None:
    """Move the limits of numbers to the least and the most that a listing leaves."""
    for place, name in enumerate(listing.columns):
        if isinstance(schema.columns[name], Numeric):
            values = [float(entry[place]) for entry in listing.entries]
            _raise(low, name, _Limit(min(values), strict=False, sources=listing.sources))
            _lower(high, name, _Limit(max(values), strict=False, sources=listing.sources))


def _refuse_inequalities(inequalities: Sequence[Inequality], low: dict[str, _Limit], high: dict[str, _Limit]) -> None:
    """Raise if bounds, which travel along chains of inequalities, leave a column no value."""
    for _ in range(len(inequalities) + 1):
        for rule in inequalities:
            below, above = low[rule.low], high[rule.high]
            _raise(low, rule.high, _through(below, rule))
            _lower(high, rule.low, _through(above, rule))
            for column in rule.columns:
                _require_between(low[column], high[column], column)


def _through(limit: _Limit, rule: Inequality) -> _Limit:
    strict = (limit.strict or rule.strict) and np.isfinite(limit.value)
    return _Limit(limit.value, strict=bool(strict), sources=tuple(dict.fromkeys((*limit.sources, rule.name))))


def _refuse_sums(sums: Sequence[ConstantSum], low: dict[str, _Limit], high: dict[str, _Limit], schema: Schema) -> None:
    """Raise if a total is beyond the bounds of its columns, or the totals of overlapping sums disagree."""
    parts: list[tuple[tuple[str, ...], float, float, tuple[str, ...]]]
    parts = [(rule.columns, rule.total, rule.tolerance, (rule.name,)) for rule in sums]
    for a in sums:
        for b in sums:
            if a is not b and set(a.columns) <= set(b.columns):
                rest = tuple(name for name in b.columns if name not in a.columns)
                parts.append((rest, b.total - a.total, a.tolerance + b.tolerance, (a.name, b.name)))
    for columns, total, tolerance, names in parts:
        slack = tolerance * max(1.0, abs(total)) + _SLACK
        if any(schema.columns[name].nullable for name in columns):
            continue  # a null passes
        lows, highs = [low[name] for name in columns], [high[name] for name in columns]
        if sum(limit.value for limit in lows) > total + slack:
            sources = tuple(source for limit in lows for source in limit.sources)
            raise _clash((*names, *sources), f"the least values of {list(columns)} sum to more")
        if sum(limit.value for limit in highs) < total - slack:
            sources = tuple(source for limit in highs for source in limit.sources)
            raise _clash((*names, *sources), f"the largest values of {list(columns)} sum to less")


def _reach(
    node: ast.expr, names: dict[str, str], low: dict[str, _Limit], high: dict[str, _Limit], schema: Schema
) -> tuple[float, float, tuple[str, ...]] | None:
    """Return the least and largest value of arithmetic on numbers, and what bounds it; ``None`` if not easily seen."""
    match node:
        case ast.Constant(value=value) if isinstance(value, int | float):
            return float(value), float(value), ()
        case ast.Name(id=name):
            column = names.get(name, name)
            if not isinstance(schema.columns.get(column), Numeric) or schema.columns[column].dtype.startswith("timed"):
                return None
            return low[column].value, high[column].value, (*low[column].sources, *high[column].sources)
        case ast.UnaryOp(op=ast.USub(), operand=part):
            inner = _reach(part, names, low, high, schema)
            return None if inner is None else (-inner[1], -inner[0], inner[2])
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() as op, right=right):
            a, b = _reach(left, names, low, high, schema), _reach(right, names, low, high, schema)
            if a is None or b is None:
                return None
            combine = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}[type(op)]
            ends = [combine(x, y) for x in a[:2] for y in b[:2]]
            if any(np.isnan(end) for end in ends):
                return None
            return min(ends), max(ends), (*a[2], *b[2])
        case _:
            return None


def _require_reach(rule: Derived, low: dict[str, _Limit], high: dict[str, _Limit], schema: Schema) -> None:
    """Raise if a derived column cannot lie within its own bounds."""
    column = schema.columns[rule.column]
    reached = _reach(rule.formula.root, dict(rule.formula.names), low, high, schema)
    if reached is None or not isinstance(column, Numeric):
        return
    least, most, sources = reached
    floor, top = low[rule.column], high[rule.column]
    ends = [abs(end) for end in (least, most) if np.isfinite(end)]
    slack = 10.0**-rule.places + rule.tolerance * max([1.0, *ends])
    slack += 0.0 if column.places is None else 0.5 * 10.0**-column.places  # the table keeps no more places
    if least > top.value + slack:
        raise _clash((rule.name, *sources, *top.sources), f"column '{rule.column}' cannot be as large")
    if most < floor.value - slack:
        raise _clash((rule.name, *sources, *floor.sources), f"column '{rule.column}' cannot be as small")


def _require_comparison(rule: Expression, low: dict[str, _Limit], high: dict[str, _Limit], schema: Schema) -> None:
    """Raise if the bounds of the columns exclude a comparison of arithmetic on them."""
    held: Formula = formula(rule.expression)
    match held.root:
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            a = _reach(left, dict(held.names), low, high, schema)
            b = _reach(right, dict(held.names), low, high, schema)
        case _:
            return
    if a is None or b is None or any(schema.columns[name].nullable for name in held.columns):
        return
    impossible = {
        ast.Gt: a[1] <= b[0],
        ast.GtE: a[1] < b[0],
        ast.Lt: a[0] >= b[1],
        ast.LtE: a[0] > b[1],
        ast.Eq: a[1] < b[0] or a[0] > b[1],
    }.get(type(op), False)
    if impossible:
        raise _clash((rule.name, *a[2], *b[2]), "the bounds never meet the comparison")


def _require_room(rule: Unique, schema: Schema, listings: Sequence[Listing], n: int) -> None:
    """Raise if ``n`` rows cannot all differ."""
    room = 1.0
    for name in rule.columns:
        match schema.columns[name]:
            case Key() | Categorical(nullable=True) | Boolean(nullable=True) | Numeric(nullable=True):
                return
            case Categorical(categories=categories):
                values: float = len(categories)
            case Boolean():
                values = 2
            case Numeric(low=low, high=high, places=places) if (
                low is not None and high is not None and places is not None
            ):
                values = (float(high) - float(low)) * 10.0**places + 1
            case _:
                values = np.inf
        listed = [len({e[x.columns.index(name)] for e in x.entries}) for x in listings if name in x.columns]
        room *= min([values, *listed])
    sources: tuple[str, ...] = ()
    for listing in listings:
        if set(rule.columns) <= set(listing.columns):
            places_of = [listing.columns.index(name) for name in rule.columns]
            room = min(room, len({tuple(entry[k] for k in places_of) for entry in listing.entries}))
            sources = listing.sources
    if n > room * (1 + _SLACK):
        others = "".join(f" and '{source}'" for source in sources if not source.startswith("the "))
        raise ConstraintError(
            f"constraint '{rule.name}'{others} leaves room for {int(room)} rows, and {n} are asked for",
            constraint=rule.name,
        )
