"""Is a table complete, free of repetition, outliers and odd texts, and does it obey its rules?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import pandas as pd

from synth_components.constraints import Constraint, is_unlearned
from synth_components.errors import ConstraintError
from synth_components.evaluation.validity import Mask
from synth_components.profile import Profile
from synth_components.schema import TABLE
from synth_components.validation.options import ValidateConfig
from synth_components.validation.tally import Tally, measure, share

_ROOM = 100
"""Combinations of values for each row, from which on repeated rows are no matter of course."""

_SCALE = 20
"""Different values from which a column of numbers is a scale with a far end, and no list of codes."""


def soundness(found: Profile, real: Profile | None, *, config: ValidateConfig) -> Tally:
    """Return how complete and how plain the columns of a profiled table are.

    A table is never asked for more than real rows show, where there are any.
    """
    tally = Tally("data quality")
    _check_filled(tally, found, real, config)
    _check_duplicates(tally, found, real, config)
    _check_outliers(tally, found, real, config)
    _check_patterns(tally, found, real, config)
    for warning in found.warnings:
        if warning.kind in {"constant", "rare_values", "repeated_key"}:
            tally.notes.append(f"{warning.message[:1].upper()}{warning.message[1:]}.")
    return tally


def compliance(
    table: pd.DataFrame,
    rules: Sequence[Constraint],
    real: pd.DataFrame | None,
    *,
    least: float,
    columns: Mapping[str, str] | None = None,
    optional: bool = False,
) -> Tally:
    """Return how far the rows obey each rule, and all of them.

    A rule without its list or mapping is learned from the real rows; without these it is left out.  A rule that cannot
    be tried counts as broken.

    Args:
        least: Smallest share of rows that obey a rule.
        columns: The table's names of columns, by those of the rules.
        optional: Whether a rule over columns that the table lacks is left out, instead of failing.
    """
    tally = Tally("data quality")
    own = {theirs: name for name, theirs in (columns or {}).items()}
    named = table.rename(columns=own)
    seen = None if real is None else real.rename(columns=own)
    every = np.ones(len(named), dtype=np.bool_)
    for rule in rules:
        missing = [name for name in rule.columns if name not in named]
        if missing and optional:
            tally.leave_out(
                "validity.rule", rule.name, f"the table has no column '{missing[0]}', or none that a schema can hold"
            )
            continue
        if missing:
            _fail(tally, rule, f"the table has no column '{missing[0]}', or none that a schema can hold", least)
            continue
        try:
            whole = _learned(rule, seen)
            if whole is not None:
                obeys = whole.allows(named).to_numpy(dtype=np.bool_)
                _check_rule(tally, whole, obeys, seen, least)
                every &= obeys
        except ConstraintError as error:
            _fail(tally, rule, str(error), least)
            continue
        if whole is None:
            reason = "it declares no combinations, and there are no real rows to learn them from"
            tally.leave_out("validity.rule", rule.name, reason)
    if any(one.name == "validity.rule" for one in tally.scores):
        tally.scores.append(share("validity.rules", int(every.sum()), len(named)))
    return tally


def _learned(rule: Constraint, real: pd.DataFrame | None) -> Constraint | None:
    """Return the rule with what it learns from real rows; ``None`` if it says nothing without them."""
    if not is_unlearned(rule):
        return rule
    return None if real is None else rule.learn(real)


def _check_rule(tally: Tally, rule: Constraint, obeys: Mask, real: pd.DataFrame | None, least: float) -> None:
    broken = int((~obeys).sum())
    has_real = real is not None and len(real) > 0 and all(name in real for name in rule.columns)
    floor = float(rule.allows(real).mean()) if real is not None and has_real else None
    one = share("validity.rule", len(obeys) - broken, len(obeys), floor=floor, subject=(rule.name,))
    finding = f"{broken:,} rows break rule '{rule.name}'"
    change = f"mend the rows (columns {', '.join(rule.columns)}), or the rule"
    if rule.policy == "warn":
        tally.scores.append(one)
        if broken:
            tally.advise((rule.name,), f"{finding}, which only warns", change, weight=0.5)
        return
    tally.check(f"rule {rule.name}", one, ">=", least, finding=finding, change=change)


def _fail(tally: Tally, rule: Constraint, reason: str, least: float) -> None:
    finding = f"rule '{rule.name}' cannot be tried: {reason}"
    if rule.policy == "warn":
        tally.advise((rule.name,), finding, "mend the column, or the rule", weight=0.5)
        return
    tally.fail(f"rule {rule.name}", ">=", least, finding=finding, change="mend the column, or the rule")


def _check_filled(tally: Tally, found: Profile, real: Profile | None, config: ValidateConfig) -> None:
    def filled(profile: Profile) -> float:
        return 1 - float(profile.summary[TABLE]["null_share"] or 0.0)

    floor = None if real is None else filled(real)
    asked = config.min_filled if floor is None else min(config.min_filled, floor)
    tally.check(
        "cells that are filled",
        measure("quality.filled", filled(found), floor=floor),
        ">=",
        asked,
        change="fill the gaps, or drop the columns that hold nearly nothing",
    )
    facts = found.statistics[TABLE]
    empty = [name for name, fact in facts.items() if fact["null_share"] == 1.0]
    tally.check(
        "columns without a value",
        measure("quality.empty_columns", len(empty) / len(facts), ideal=0.0),
        "<=",
        0.0,
        finding=f"column '{empty[0]}' and {len(empty) - 1} more have no value" if empty else "",
        change="drop the columns, or ask why they are empty",
    )
    for name, fact in facts.items():
        known = None if real is None else real.statistics[TABLE].get(name)
        floor = None if known is None else 1 - known["null_share"]
        tally.scores.append(measure("quality.filled", 1 - fact["null_share"], floor=floor, subject=(name,)))


def _check_duplicates(tally: Tally, found: Profile, real: Profile | None, config: ValidateConfig) -> None:
    rows = found.num_rows[TABLE]
    room = prod(max(1, fact["distinct"]) for fact in found.statistics[TABLE].values())
    if room < _ROOM * rows:
        reason = f"the columns' values make fewer than {_ROOM} combinations for each row, so that rows repeat of course"
        tally.leave_out("quality.duplicates", "", reason)
        return
    floor = None if real is None else float(real.summary[TABLE]["duplicate_row_share"] or 0.0)
    tally.check(
        "rows that repeat an earlier one",
        measure(
            "quality.duplicates", float(found.summary[TABLE]["duplicate_row_share"] or 0.0), floor=floor, ideal=0.0
        ),
        "<=",
        max(config.max_duplicates, floor or 0.0),
        change="drop repeated rows, or find out what wrote them twice",
    )


def _check_outliers(tally: Tally, found: Profile, real: Profile | None, config: ValidateConfig) -> None:
    counts = _facts(found, "distinct")
    shares = {name: value for name, value in _facts(found, "outlier_share").items() if counts[name] >= _SCALE}
    if not shares:
        tally.leave_out("quality.outliers", "", f"no column of numbers has {_SCALE} different values or more")
        return
    known = {} if real is None else _facts(real, "outlier_share")
    for name, value in shares.items():
        floor = known.get(name)
        tally.scores.append(measure("quality.outliers", value, floor=floor, ideal=0.0, subject=(name,)))
    worst = max(shares, key=lambda name: shares[name] - known.get(name, 0.0))
    tally.check(
        "outliers of the worst column",
        measure("quality.outliers", shares[worst], floor=known.get(worst), ideal=0.0),
        "<=",
        max(config.max_outliers, known.get(worst, 0.0)),
        finding=f"{shares[worst]:.1%} of the numbers of column '{worst}' are outliers",
        change="look for units that were mixed, and for codes that stand for null",
    )


def _check_patterns(tally: Tally, found: Profile, real: Profile | None, config: ValidateConfig) -> None:
    patterns = _facts(found, "pattern")
    if not patterns:
        tally.leave_out("quality.patterns", "", "no column of texts has a form of its own")
        return
    known = {} if real is None else _facts(real, "pattern")
    floors = {
        name: known[name]["share"] for name, told in patterns.items() if told["name"] == known.get(name, {}).get("name")
    }
    for name, told in patterns.items():
        tally.scores.append(measure("quality.pattern", told["share"], floor=floors.get(name), subject=(name,)))
    worst = min(patterns, key=lambda name: patterns[name]["share"] - floors.get(name, 1.0))
    value = patterns[worst]["share"]
    kind = str(patterns[worst]["name"]).replace("_", " ")
    tally.check(
        "texts of their column's form",
        measure("quality.pattern", value, floor=floors.get(worst)),
        ">=",
        min(config.min_pattern, floors.get(worst, 1.0)),
        finding=f"{1 - value:.1%} of the texts of column '{worst}' are not what the others are ({kind})",
        change="mend the texts",
    )


def _facts(found: Profile, fact: str) -> dict[str, Any]:
    return {name: facts[fact] for name, facts in found.statistics[TABLE].items() if fact in facts}
