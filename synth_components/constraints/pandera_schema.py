"""Rules to and from a pandera schema; needs the extra ``pandera``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from synth_components.constraints.column import NotNull, Pattern, Range, ValueSet
from synth_components.constraints.file import constraint_from_json
from synth_components.constraints.logic import Expression
from synth_components.constraints.rule import Constraint, bare
from synth_components.constraints.sequence import Unique
from synth_components.errors import SynthError, UnsupportedError


def to_pandera(constraints: Sequence[Constraint]) -> Any:  # noqa: ANN401 - a pandera.pandas.DataFrameSchema
    """Return a pandera schema that tests the rules, and from which ``from_pandera`` makes equal ones.

    Ranges of numbers, value sets, patterns and not-null rules become pandera's own checks of a column; the others
    become checks of the table.  A rule with policy ``warn`` becomes a check that warns.  Columns without rules, and
    columns that no rule declares not null, are left open.

    Raises:
        SynthError: if pandera is not installed.
    """
    pa = _pandera()
    checks: dict[str, list[Any]] = {name: [] for rule in constraints for name in rule.columns}
    wide: list[Any] = []
    filled = set()
    for rule in constraints:
        facts = {  # no name: before 0.35, pandera finds its own checks by it
            "title": rule.name,
            "description": json.dumps(rule.to_json(), ensure_ascii=False),
            "raise_warning": rule.policy == "warn",
        }
        match rule:
            case NotNull(policy="repair") if rule.name == rule.title():
                filled.add(rule.column)
            case Range(low=low, high=high) if not isinstance(low, str) and not isinstance(high, str):
                sides = {"include_min": not rule.strict, "include_max": not rule.strict}
                bounds = {
                    "min_value": float("-inf") if low is None else low,
                    "max_value": float("inf") if high is None else high,
                }
                checks[rule.column].append(pa.Check.in_range(**bounds, **sides, **facts))
            case ValueSet():
                checks[rule.column].append(pa.Check.isin(list(rule.values), **facts))
            case Pattern():
                checks[rule.column].append(pa.Check.str_matches(rf"^(?:{rule.pattern})$", **facts))
            case _:
                wide.append(pa.Check(rule.allows, name=rule.name, ignore_na=False, **facts))
    columns = {name: pa.Column(checks=held, nullable=name not in filled) for name, held in checks.items()}
    return pa.DataFrameSchema(columns, checks=wide)


def from_pandera(declared: Any) -> tuple[Constraint, ...]:  # noqa: ANN401 - a pandera.pandas.DataFrameSchema
    """Return the rules that a pandera ``DataFrameSchema`` declares; data types are left to our schema.

    Raises:
        UnsupportedError: naming a check that none of our rules can say.
    """
    found: list[Constraint] = []
    for name, column in declared.columns.items():
        if not column.nullable:
            found.append(NotNull(column=name))
        if column.unique:
            found.append(Unique(columns=(name,)))
        for check in column.checks:
            found += _own(check) or _translated(check, name)
    if declared.unique:
        unique = declared.unique
        found.append(Unique(columns=(unique,) if isinstance(unique, str) else tuple(unique)))
    for check in declared.checks:
        rules = _own(check)
        if not rules:
            raise UnsupportedError(
                f"check '{check.name}' of the table is code that no rule of ours can say; declare it as a rule"
            )
        found += rules
    return _named(found)


def _pandera() -> Any:  # noqa: ANN401 - a module
    try:
        import pandera.pandas as pa
    except ImportError:
        raise SynthError("pandera is not installed: pip install 'synth-components[pandera]'") from None
    return pa


def _own(check: Any) -> list[Constraint]:  # noqa: ANN401 - a pandera check
    """Return the rule that ``to_pandera`` wrote into a check, none if it did not."""
    try:
        value = json.loads(check.description or "")
    except json.JSONDecodeError:
        return []
    return [constraint_from_json(value)] if isinstance(value, dict) and "type" in value else []


def _translated(check: Any, column: str) -> list[Constraint]:  # noqa: ANN401 - a pandera check
    """Return what a check of pandera's own says about a column."""
    says = _CHECKS.get(str(check.name))
    if says is None:
        raise UnsupportedError(
            f"check '{check.name}' of column '{column}' has no counterpart among our rules; declare it as a rule"
        )
    rules = says(column, {key: _plain(value) for key, value in check.statistics.items()})
    return [rule.model_copy(update={"policy": "warn"}) for rule in rules] if check.raise_warning else rules


def _plain(value: Any) -> Any:  # noqa: ANN401 - a bound, or a collection of values
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(bare(entry) for entry in value)
    return bare(value)


def _between(column: str, facts: Mapping[str, Any]) -> list[Any]:
    low, high = (None if value in {float("-inf"), float("inf")} else value for value in _ends(facts))
    if facts["include_min"] == facts["include_max"]:
        return [Range(column=column, low=low, high=high, strict=not facts["include_min"])]
    return [
        Range(column=column, low=low, strict=not facts["include_min"]),
        Range(column=column, high=high, strict=not facts["include_max"]),
    ]


def _ends(facts: Mapping[str, Any]) -> tuple[Any, Any]:
    return facts["min_value"], facts["max_value"]


def _lengths(column: str, facts: Mapping[str, Any]) -> list[Any]:
    bounds = [(facts.get("min_value"), ">="), (facts.get("max_value"), "<="), (facts.get("exact_value"), "==")]
    tests = [f"length(`{column}`) {sign} {bound}" for bound, sign in bounds if bound is not None]
    return [Expression(expression=" & ".join(tests))]


_CHECKS: Mapping[str, Callable[[str, Mapping[str, Any]], list[Any]]] = {
    "in_range": _between,
    "greater_than": lambda c, facts: [Range(column=c, low=facts["min_value"], strict=True)],
    "greater_than_or_equal_to": lambda c, facts: [Range(column=c, low=facts["min_value"])],
    "less_than": lambda c, facts: [Range(column=c, high=facts["max_value"], strict=True)],
    "less_than_or_equal_to": lambda c, facts: [Range(column=c, high=facts["max_value"])],
    "equal_to": lambda c, facts: [ValueSet(column=c, values=(facts["value"],))],
    "not_equal_to": lambda c, facts: [Expression(expression=f"`{c}` != {facts['value']!r}")],
    "isin": lambda c, facts: [ValueSet(column=c, values=facts["allowed_values"])],
    "notin": lambda c, facts: [Expression(expression=f"`{c}` not in {list(facts['forbidden_values'])!r}")],
    "str_matches": lambda c, facts: [Pattern(column=c, pattern=_whole(facts["pattern"]))],
    "str_contains": lambda c, facts: [Pattern(column=c, pattern=rf"(?s:.*)(?:{facts['pattern']})(?s:.*)")],
    "str_startswith": lambda c, facts: [Pattern(column=c, pattern=rf"{re.escape(facts['string'])}(?s:.*)")],
    "str_endswith": lambda c, facts: [Pattern(column=c, pattern=rf"(?s:.*){re.escape(facts['string'])}")],
    "str_length": _lengths,
}
"""What pandera's own checks say in our rules, by their names."""


def _whole(pattern: Any) -> str:  # noqa: ANN401 - text, or a compiled expression
    """Return a pattern of pandera, which matches at the beginning of the text, as one of the whole text."""
    text = str(getattr(pattern, "pattern", pattern)).removeprefix("^")
    return text[:-1] if text.endswith("$") and not text.endswith(r"\$") else rf"(?:{text})(?s:.*)"


def _named(rules: Sequence[Constraint]) -> tuple[Constraint, ...]:
    """Return the rules with names of their own: the second of a name gets a number."""
    made: list[Constraint] = []
    for rule in rules:
        taken = sum(other.name == rule.name or other.name.startswith(f"{rule.name} #") for other in made)
        name = f"{rule.name} #{taken + 1}" if taken else rule.name
        made.append(constraint_from_json({**rule.to_json(), "name": name}))
    return tuple(made)
