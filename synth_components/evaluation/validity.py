"""Do the rows obey the schema and its rules?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.constraints import Constraint
from synth_components.evaluation.floor import score
from synth_components.evaluation.options import JudgeConfig
from synth_components.protocols import Context, Dataset, Evidence, Score
from synth_components.schema import AnyColumn, outside_of, same_dtype

Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Fit:
    """How far the values of a column are what its declaration says.

    Attributes:
        is_typed: Whether the column has the declared dtype, and values of that kind.
        inside: Which rows are within bounds or categories, shape (n,); null is, and nothing is where the type is wrong.
        filled: Which rows are not null, or may be, shape (n,).
        rule: What rows that are not inside break, in words; empty if none is outside.
    """

    is_typed: bool
    inside: Mask
    filled: Mask
    rule: str

    @property
    def obeyed(self) -> Mask:
        """Which rows obey the declaration, shape (n,)."""
        return self.inside & self.filled


def fit_of(values: pd.Series[Any], column: AnyColumn) -> Fit:
    """Return how far the values of one column fit its declaration."""
    filled = values.notna().to_numpy(dtype=np.bool_) | np.bool_(column.nullable)
    none = np.zeros(len(values), dtype=np.bool_)
    if not same_dtype(values, column.dtype):
        return Fit(is_typed=False, inside=none, filled=filled, rule="")
    try:
        outside, rule = outside_of(values, column)
    except (TypeError, ValueError):
        return Fit(is_typed=False, inside=none, filled=filled, rule="")  # the values are of another kind altogether
    return Fit(is_typed=True, inside=~outside, filled=filled, rule=rule if outside.any() else "")


def validity(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: JudgeConfig = JudgeConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score the share of rows that obey the schema, and its constraints, in whole and one by one.

    A rule of any policy counts: a row that breaks one with policy ``warn`` does not obey.
    """
    scores: list[Score] = []
    if len(synthetic.table) == 0 or len(holdout.table) == 0:
        row = {"score": "validity", "subject": "", "reason": "a table has no rows"}
        return Evidence(tables={"left_out": pd.DataFrame([row])})
    rules = train.schema.constraints
    for name, made, held in (
        ("validity.schema", _typed(synthetic, train), _typed(holdout, train)),
        ("validity.rules", _ruled(synthetic, rules), _ruled(holdout, rules)),
    ):
        if not made:
            continue
        kind = "validity.column" if name == "validity.schema" else "validity.rule"
        scores.append(_share(name, _all(made), _all(held)))
        scores.extend(_share(kind, made[part], held[part], subject=(part,)) for part in made)
    tables = {}
    if not rules:
        row = {"score": "validity.rules", "subject": "", "reason": "the schema declares no rules"}
        tables["left_out"] = pd.DataFrame([row])
    return Evidence(tuple(scores), tables=tables)


def _typed(data: Dataset, reference: Dataset) -> dict[str, Mask]:
    return {name: fit_of(data.table[name], column).obeyed for name, column in reference.schema.columns.items()}


def _ruled(data: Dataset, rules: Sequence[Constraint]) -> dict[str, Mask]:
    return {rule.name: rule.allows(data.table).to_numpy(dtype=np.bool_) for rule in rules}


def _all(parts: dict[str, Mask]) -> Mask:
    made: Mask = np.logical_and.reduce(list(parts.values()))
    return made


def _share(name: str, made: Mask, held: Mask, subject: tuple[str, ...] = ()) -> Score:
    value = float(made.mean())
    hits = int(made.sum()), len(made)
    return score(name, value, hits=hits, floor=float(held.mean()), ideal=1.0, subject=subject)
