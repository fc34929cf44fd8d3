"""The signature of a model: what may be asked of it, and what comes out; and a synthetic example of a request."""

from __future__ import annotations

from typing import Any, assert_never

import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType

from synth_components.model import Model
from synth_components.schema import AnyColumn, Boolean, Categorical, Datetime, Image, Key, Numeric, Text
from synth_components.steps.sample import SampleConfig

ASKED = ("num_rows", "seed", "columns", "shard_index", "num_shards")
"""The options of the sample step that a pyfunc call takes; shards give the rows that one call would give."""

WITHHELD = {
    "format": "the rows are returned, so there is no file to have a format",
    "offset": "a request row or a shard takes a part of the rows already",
    "rate": "an answer is no stream",
    "monitor": "an answer is no stream",
    "false_alarms": "an answer is no stream",
    "tolerance": "an answer is no stream",
    "knobs": "an answer is no stream",
    "trust": "a caller of a server must not choose which code the server imports",
}
"""The options that it does not take, and why."""

_LARGEST_LONG = 2**63 - 1
_EXAMPLE_ROWS = 2


def get_default_signature(model: Model) -> ModelSignature:
    """Return the signature of a model: its columns as optional inputs, its columns typed as outputs, the options.

    A row of the input fixes the values that it gives; null is free.  A model of several tables has no output schema:
    MLflow knows a single table only.
    """
    columns = model.schema.columns
    return ModelSignature(
        # AnyType: MLflow refuses int64 for double, NaN in a long column, categories and time zones, all of which are
        # good conditions.  `conditions.parse` checks the values against the schema.
        inputs=Schema([ColSpec(AnyType(), name, required=False) for name in columns]),
        outputs=Schema([ColSpec(_type(column), name) for name, column in columns.items()])
        if len(model.schema.tables) == 1
        else None,
        params=ParamSchema([_param(name) for name in ASKED]),
    )


def _param(name: str) -> ParamSpec:
    """Return an option of the sample step as MLflow declares it.

    Null stands for the field's own default, but for the seed, of which null draws fresh rows.
    """
    field = SampleConfig.model_fields[name]
    if field.annotation is int:
        return ParamSpec(name, DataType.long, default=None)
    if field.annotation == tuple[str, ...]:
        return ParamSpec(name, DataType.string, default=list(field.default), shape=(-1,))  # MLflow knows no null array
    raise TypeError(f"option '{name}' of SampleConfig has a type for which no MLflow parameter is chosen")


def _type(column: AnyColumn) -> DataType:
    """Return the type of a column's values in an answer."""
    match column:
        case Numeric() if column.dtype.startswith("timedelta") or column.dtype == "decimal":
            return DataType.string  # MLflow has neither time spans nor decimals
        case Numeric() if column.places is not None and column.places <= 0 and _is_whole(column.dtype):
            return _integer(nullable=column.nullable, high=column.high)
        case Numeric():
            return DataType.double
        case Categorical():
            return _categories(column)
        case Boolean():
            return DataType.boolean
        case Datetime():
            return DataType.datetime
        case Key() if _is_whole(column.dtype):
            return _integer(nullable=column.nullable)
        case Text() | Image() | Key():
            return DataType.string
        case _:
            assert_never(column)


def _is_whole(dtype: str) -> bool:
    return dtype.lower().startswith(("int", "uint"))


def _integer(*, nullable: bool, high: float | None = None) -> DataType:
    # Spark casts a column of longs with `astype`, which no null and no number beyond 2^63 - 1 survives.
    return DataType.double if nullable or (high is not None and high > _LARGEST_LONG) else DataType.long


def _categories(column: Categorical) -> DataType:
    kinds = {type(category) for category in column.categories}
    if kinds == {bool}:
        return DataType.boolean
    if kinds == {int}:
        return _integer(nullable=column.nullable, high=max(int(category) for category in column.categories))
    if kinds and kinds <= {int, float}:
        return DataType.double
    return DataType.string


def synthetic_example(model: Model) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a request to log as ``input_example``: two rows of conditions and a seed, of synthetic values only.

        mlflow_flavor.log_model(model, name="customers", input_example=synthetic_example(model))

    The conditions are categories or truth values that the model draws, for they have support in every model; where
    there are none, they fix the first column that a condition may fix.  The rows of a table with one or two columns
    are thus whole, and where all its values are frequent, such as categories, may equal training rows by value.
    """
    columns = model.schema.columns
    free = [name for name, column in columns.items() if not isinstance(column, Text | Image | Key)]
    discrete = [name for name in free if isinstance(columns[name], Categorical | Boolean)]
    seed: int = SampleConfig.model_fields["seed"].default
    rows = model.sample(_EXAMPLE_ROWS, seed=seed)
    table: pd.DataFrame = rows if isinstance(rows, pd.DataFrame) else rows[model.schema.root]
    return table[(discrete or free[:1])[:_EXAMPLE_ROWS]], {"seed": seed}
