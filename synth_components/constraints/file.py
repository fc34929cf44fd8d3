"""Rules as JSON and YAML, and how far a table obeys them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from synth_components.constraints.column import NotNull, Pattern, Range, ValueSet
from synth_components.constraints.combination import FixedCombinations, FunctionalDependency, Hierarchy
from synth_components.constraints.logic import ConditionalNull, ExactlyOne, Expression, Implication
from synth_components.constraints.relation import ConstantSum, Derived, Inequality
from synth_components.constraints.rule import Constraint, Rule
from synth_components.constraints.sequence import Monotone, Unique
from synth_components.errors import DataError, SchemaError

RULES: Mapping[str, type[Rule]] = {
    rule.model_fields["type"].default: rule
    for rule in (
        Range,
        ValueSet,
        NotNull,
        Pattern,
        Inequality,
        Derived,
        ConstantSum,
        FunctionalDependency,
        FixedCombinations,
        Hierarchy,
        Unique,
        Monotone,
        Implication,
        ConditionalNull,
        ExactlyOne,
        Expression,
    )
}
"""The rules by the ``type`` of their JSON."""


def constraint_from_json(value: Mapping[str, Any]) -> Constraint:
    """Return the rule that a JSON value declares.

    Raises:
        SchemaError: if there is no rule of its ``type``.
        ConfigError: if an entry is unknown, missing or of the wrong type.
    """
    rule = RULES.get(str(value.get("type", "")))
    if rule is None:
        raise SchemaError(f"there is no rule of type '{value.get('type')}'; give one of {', '.join(RULES)}")
    made: Constraint = rule.parse(value)  # type: ignore[assignment]  # each of RULES has columns, allows and repair
    return made


def constraints_from_file(path: str | Path) -> tuple[Constraint, ...]:
    """Return the rules of a JSON or YAML file: a list, or a map with the entry ``constraints``.

    Raises:
        DataError: if the file cannot be read as that.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"constraints file {path} cannot be read ({type(error).__name__})") from None
    value: Any
    if path.suffix.lower() in {".yaml", ".yml"}:
        import yaml

        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise DataError(f"constraints file {path} is not valid YAML") from None
    else:
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"constraints file {path} is not valid JSON (line {error.lineno})") from None
        except (ValueError, RecursionError):
            raise DataError(f"constraints file {path} holds a number, or a nesting, beyond any rule") from None
    rules = value.get("constraints") if isinstance(value, dict) else value
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise DataError(f"constraints file {path} must hold a list of rules, each a map with a 'type'")
    return tuple(constraint_from_json(rule) for rule in rules)


def check(table: pd.DataFrame, constraints: Sequence[Constraint]) -> dict[str, float]:
    """Return by rule the share of rows that obey it, in [0, 1]; 1 for a table without rows."""
    return {rule.name: float(rule.allows(table).mean()) if len(table) else 1.0 for rule in constraints}
