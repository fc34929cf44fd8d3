"""Original rows plus synthetic ones, told apart by a provenance column: balanced, enriched or multiplied."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from synth_components.config import StepConfig
from synth_components.errors import SchemaError, SynthError
from synth_components.schema import AnyColumn, Boolean, Categorical, Numeric, Value

if TYPE_CHECKING:
    from synth_components.model import Model

_LOG = logging.getLogger(__name__)

ORIGINAL = "original"
SYNTHETIC = "synthetic"

MAX_GROUPS = 200
"""More groups than this are no classes but a continuous column."""


class AugmentConfig(StepConfig):
    """Which rows to add, and how many."""

    mode: Literal["balance", "enrich", "multiply"] = Field(
        "multiply",
        description="balance: bring every group that `columns` form up to the largest; enrich: bring the subgroup "
        "`group` up to `share` of all rows; multiply: grow the table to `factor` times its rows.",
    )
    columns: tuple[str, ...] = Field(
        (), description="With balance: the target column, or several whose values form the subgroups."
    )
    ratio: float = Field(1.0, gt=0, le=1, description="With balance: size of each group against the largest, at least.")
    group: dict[str, str | int | float | bool] = Field(
        {}, description='With enrich: the subgroup by column and value, as {"sex": "F"}.'
    )
    share: float = Field(0.5, gt=0, lt=1, description="With enrich: the subgroup's share of all rows, at least.")
    factor: float = Field(2.0, ge=1, le=1_000, description="With multiply: rows of the result per original row.")
    provenance: str = Field(
        "provenance", min_length=1, description=f"Column to add: '{ORIGINAL}' or '{SYNTHETIC}' for each row."
    )
    seed: int = Field(0, ge=-1, lt=2**53, description="Seed of the added rows; -1 draws a fresh one and records it.")

    @model_validator(mode="after")
    def _mode_has_its_columns(self) -> AugmentConfig:
        if self.mode == "balance" and not self.columns:
            raise ValueError("columns must name the target, or the columns that form the subgroups, with mode balance")
        if self.mode == "enrich" and not self.group:
            raise ValueError("group must give the subgroup by column and value with mode enrich")
        return self


def augment(table: pd.DataFrame, model: Model, *, config: AugmentConfig, seed: int | None = None) -> pd.DataFrame:
    """Return the rows of ``table``, then the synthetic ones that ``config`` asks for, with provenance.

    Counts are exact.  Rows whose group is missing are kept and count as no group.

    No ledger is charged, nor a budget file asked: the result holds the rows themselves, so that it goes to nobody who
    may not see them, and there is nothing that epsilon could bound.  That of the model does not hold of it, which the
    log says.

    Args:
        seed: Seed of the added rows; ``None`` takes the config's.

    Raises:
        SynthError: if an argument is of another type.
        SchemaError: if the model is of another table, a column cannot form groups, or provenance would overwrite one.
        ConditionError: if the model cannot draw a group.
    """
    _require_types(table, model, config)
    _refuse(table, model, config)
    if math.isfinite(model.privacy.epsilon):
        _LOG.warning(
            "the model is differentially private, and the augmented table is not: it holds the original rows, of which "
            "no epsilon holds; to release rows, draw them alone (sample)"
        )
    seed = config.seed if seed is None else seed
    if config.mode == "multiply":
        wanted = math.floor(config.factor * len(table) + 0.5) - len(table)
        drawn = _drawn(model, wanted, seed=seed, conditions=None)
    elif config.mode == "enrich":
        drawn = _drawn(model, _missing_from_share(table, config), seed=seed, conditions=None, fixed=config.group)
    else:
        requests = _requests(table, config)
        drawn = _drawn(model, len(requests), seed=seed, conditions=requests)
    return _joined(table, drawn, config.provenance)


def _require_types(table: object, model: object, config: object) -> None:
    from synth_components.model import Model

    for name, given, kind in (
        ("table", table, pd.DataFrame),
        ("model", model, Model),
        ("config", config, AugmentConfig),
    ):
        if not isinstance(given, kind):
            raise SynthError(f"augment: {name} must be a {kind.__name__}, not of type {type(given).__name__}")


def _refuse(table: pd.DataFrame, model: Model, config: AugmentConfig) -> None:
    columns = model.schema.columns
    if len(model.schema.tables) != 1:
        raise SchemaError("augment works on one table; this model has several")
    if config.provenance in table.columns:
        raise SchemaError(
            f"the table already has a column '{config.provenance}'; name another with the option 'provenance'",
            column=config.provenance,
        )
    missing = [name for name in columns if name not in table.columns]
    extra = [str(name) for name in table.columns if name not in columns]
    if missing or extra:
        raise SchemaError(
            f"the model was trained on other columns (the table lacks {missing} and adds {extra}); train it on this one"
        )
    for name in config.columns if config.mode == "balance" else tuple(config.group) if config.mode == "enrich" else ():
        if name not in columns:
            raise SchemaError(f"augment names column '{name}', which the table does not have", column=name)
        _refuse_ungroupable(name, columns[name], table[name])


def _refuse_ungroupable(name: str, column: AnyColumn, values: pd.Series[Any]) -> None:
    if not isinstance(column, Categorical | Boolean | Numeric):
        raise SchemaError(f"column '{name}' holds no classes; balance a category, a boolean or a number", column=name)
    if values.nunique() > MAX_GROUPS:
        raise SchemaError(
            f"column '{name}' has more than {MAX_GROUPS} different values, too many to balance; bin it first",
            column=name,
        )


def _requests(table: pd.DataFrame, config: AugmentConfig) -> pd.DataFrame:
    """Return one request row per row to add, so that every group reaches its share of the largest."""
    keys = list(config.columns)
    held = table[keys].dropna()
    if held.empty:
        raise SchemaError("every row lacks a value in the columns to balance; there is no group to draw")
    groups = held.groupby(keys, sort=True, observed=True).size()
    if len(groups) > MAX_GROUPS:
        raise SchemaError(f"the columns to balance form more than {MAX_GROUPS} groups; name fewer columns")
    wanted = math.ceil(config.ratio * int(groups.max()))
    short = np.maximum(wanted - groups.to_numpy(), 0)
    requests = groups.index.to_frame(index=False).loc[np.repeat(np.arange(len(groups)), short)].reset_index(drop=True)
    return requests.astype({name: table[name].dtype for name in keys})


def _missing_from_share(table: pd.DataFrame, config: AugmentConfig) -> int:
    inside = np.ones(len(table), dtype=bool)
    for name, value in config.group.items():
        inside &= (table[name] == value).fillna(value=False).to_numpy(dtype=bool)
    held = int(inside.sum())
    # The smallest k with (held + k) / (n + k) >= share; the slack keeps an exact share exact in floating point.
    return max(0, math.ceil((config.share * len(table) - held) / (1 - config.share) - 1e-9))


def _drawn(
    model: Model,
    n: int,
    *,
    seed: int,
    conditions: pd.DataFrame | None,
    fixed: Mapping[str, Value] | None = None,
) -> pd.DataFrame:
    if n == 0:
        drawn = model.sample(0, seed=seed)
    elif conditions is not None:
        drawn = model.sample(n, seed=seed, conditions=conditions)
    else:
        drawn = model.sample(n, seed=seed, conditions=dict(fixed) if fixed else None)
    assert isinstance(drawn, pd.DataFrame)  # noqa: S101 - one table, refused above otherwise
    return drawn


def _joined(table: pd.DataFrame, drawn: pd.DataFrame, provenance: str) -> pd.DataFrame:
    same = drawn[list(table.columns)]
    parts = [part for part in (table, same) if len(part)]  # concatenating an empty part may change dtypes
    joined = pd.concat(parts, ignore_index=True) if parts else table.copy()
    joined[provenance] = np.repeat(np.array([ORIGINAL, SYNTHETIC], dtype=object), [len(table), len(same)])
    return joined
