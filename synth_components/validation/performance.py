"""What a table costs to work with, and whether it teaches what real rows teach.

The performance of a foreign table is three things here: the time that its checks took, the memory of a row and, where
real rows and a target are given, how well models trained on it predict real rows (TSTR).
"""

from __future__ import annotations

import pandas as pd

from synth_components.errors import SchemaError
from synth_components.evaluation import UtilityConfig, evaluate
from synth_components.evaluation.card import TASK
from synth_components.privacy.ledger import Ledger
from synth_components.schema import Schema
from synth_components.validation.options import ValidateConfig
from synth_components.validation.tally import Tally, measure


def cost(table: pd.DataFrame, *, seconds: float, config: ValidateConfig) -> Tally:
    """Return whether the checks were in time, and how much memory a row takes.

    The seconds themselves stand among the report's costs, which differ from run to run.
    """
    tally = Tally("performance")
    tally.check(
        f"checked within {config.max_check_seconds:g} seconds",
        measure("performance.in_time", float(seconds <= config.max_check_seconds)),
        ">=",
        1.0,
        finding=f"the checks took more than {config.max_check_seconds:g} seconds",
        change="check a sample of the rows, or raise max_check_seconds",
    )
    size = float(table.memory_usage(index=False, deep=True).sum()) / len(table)
    tally.check(
        "bytes of memory for each row",
        measure("performance.row_bytes", round(size, 1), ideal=0.0),
        "<=",
        config.max_row_bytes,
        change="keep long texts and files beside the table, or raise max_row_bytes",
    )
    return tally


def utility(
    table: pd.DataFrame, real: pd.DataFrame, schema: Schema, *, config: ValidateConfig, ledger: Ledger
) -> Tally:
    """Return how well models trained on the table predict the target of real rows that were set aside.

    Args:
        schema: The columns that both tables hold as declared.

    Raises:
        SchemaError: for a target that the real rows do not have.
    """
    tally = Tally("performance")
    target = config.target
    if target not in real:
        raise SchemaError(f"the real rows have no column '{target}' to be the target", column=target)
    if target not in schema.modelled.columns:
        tally.fail(
            f"TSTR / TRTR: {target}",
            ">=",
            TASK,
            finding=f"the table has no column '{target}' of the type that the real rows have",
            change="add or convert the column",
        )
        return tally
    judge = UtilityConfig(
        target=target, global_utility=False, seed=config.seed, min_category_count=config.min_category_count
    )
    judged = evaluate(real, None, table, schema=schema, config=judge, ledger=ledger)
    tally.take(judged)
    return tally
