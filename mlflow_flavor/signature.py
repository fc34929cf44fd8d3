"""The signature of a generator: what may be asked of it, and what comes out."""

from __future__ import annotations

from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType

from synth_components.model import Model
from synth_components.schema import AnyColumn, Boolean, Datetime, Numeric


def get_default_signature(model: Model) -> ModelSignature:
    """Return the signature of a model: inputs are its columns, all optional; outputs are its columns, typed.

    A row of the input fixes the values that it gives, and null is free.
    """
    columns = model.schema.columns
    return ModelSignature(
        # AnyType: MLflow refuses int64 for double, NaN in a long column, categories and time zones, all of which are
        # good conditions.  `conditions.parse` checks the values against the schema.
        inputs=Schema([ColSpec(AnyType(), name, required=False) for name in columns]),
        outputs=Schema([ColSpec(_type(column), name) for name, column in columns.items()]),
        params=ParamSchema(
            [ParamSpec("num_rows", DataType.long, default=None), ParamSpec("seed", DataType.long, default=None)]
        ),
    )


def _type(column: AnyColumn) -> DataType:
    match column:
        case Numeric() if column.places == 0 and not column.nullable:
            return DataType.long
        case Numeric():
            return DataType.double
        case Boolean():
            return DataType.boolean
        case Datetime():
            return DataType.datetime
        case _:
            return DataType.string
