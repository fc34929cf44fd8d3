"""Do the rows obey the schema and its rules?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.evaluation.floor import score
from synth_components.evaluation.options import JudgeConfig
from synth_components.protocols import Context, Dataset, Evidence, Score
from synth_components.schema import outside_of, same_dtype


def validity(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: JudgeConfig = JudgeConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score the share of rows that obey the schema, and its constraints, in whole and one by one."""
    scores: list[Score] = []
    if len(synthetic.table) == 0 or len(holdout.table) == 0:
        row = {"score": "validity", "subject": "", "reason": "a table has no rows"}
        return Evidence(tables={"left_out": pd.DataFrame([row])})
    for name, made, held in (
        ("validity.schema", _typed(synthetic, train), _typed(holdout, train)),
        ("validity.rules", _ruled(synthetic, train), _ruled(holdout, train)),
    ):
        if not made:
            continue
        kind = "validity.column" if name == "validity.schema" else "validity.rule"
        scores.append(_share(name, _all(made), _all(held)))
        scores.extend(_share(kind, made[part], held[part], subject=(part,)) for part in made)
    tables = {}
    if not train.schema.constraints:
        row = {"score": "validity.rules", "subject": "", "reason": "the schema declares no rules"}
        tables["left_out"] = pd.DataFrame([row])
    return Evidence(tuple(scores), tables=tables)


def _typed(data: Dataset, reference: Dataset) -> dict[str, NDArray[np.bool_]]:
    made = {}
    for name, column in reference.schema.columns.items():
        values = data.table[name]
        if not same_dtype(values, column.dtype):
            made[name] = np.zeros(len(values), dtype=np.bool_)
            continue
        try:
            outside, _ = outside_of(values, column)
        except (TypeError, ValueError):
            made[name] = np.zeros(len(values), dtype=np.bool_)  # the values are of another kind altogether
            continue
        absent = values.isna().to_numpy() if not column.nullable else np.zeros(len(values), dtype=np.bool_)
        made[name] = ~(outside | absent)
    return made


def _ruled(data: Dataset, reference: Dataset) -> dict[str, NDArray[np.bool_]]:
    return {rule.name: rule.allows(data.table).to_numpy(dtype=np.bool_) for rule in reference.schema.constraints}


def _all(parts: dict[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
    made: NDArray[np.bool_] = np.logical_and.reduce(list(parts.values()))
    return made


def _share(name: str, made: NDArray[np.bool_], held: NDArray[np.bool_], subject: tuple[str, ...] = ()) -> Score:
    value = float(made.mean())
    hits = int(made.sum()), len(made)
    return score(name, value, hits=hits, floor=float(held.mean()), ideal=1.0, subject=subject)
