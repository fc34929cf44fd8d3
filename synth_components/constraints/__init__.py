"""Rules that every row obeys: frozen, in the schema, saved with the model, enforced block by block.

A row with a null among the columns of a rule passes it, unless the rule itself asks about the null.  A rule's values
are a person's declaration and therefore public; what a rule learns from rows has the support it says.
"""

from __future__ import annotations

from synth_components.constraints.column import NotNull, Pattern, Range, ValueSet
from synth_components.constraints.combination import FixedCombinations, FunctionalDependency, Hierarchy
from synth_components.constraints.file import RULES, check, constraint_from_json, constraints_from_file
from synth_components.constraints.logic import ConditionalNull, ExactlyOne, Expression, Implication
from synth_components.constraints.relation import ConstantSum, Derived, Inequality
from synth_components.constraints.rule import Constraint, Learnable, Policy, Rule, Value, is_unlearned
from synth_components.constraints.sequence import Monotone, Unique

__all__ = [
    "RULES",
    "ConditionalNull",
    "ConstantSum",
    "Constraint",
    "Derived",
    "ExactlyOne",
    "Expression",
    "FixedCombinations",
    "FunctionalDependency",
    "Hierarchy",
    "Implication",
    "Inequality",
    "Learnable",
    "Monotone",
    "NotNull",
    "Pattern",
    "Policy",
    "Range",
    "Rule",
    "Unique",
    "Value",
    "ValueSet",
    "check",
    "constraint_from_json",
    "constraints_from_file",
    "is_unlearned",
]
