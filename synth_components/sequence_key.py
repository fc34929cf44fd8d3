"""The column that tells sequences apart where it is text or a key: learnt as numbers, drawn as keys made anew.

A generator of sequences never learns their names.  Those that a profile read off the rows have no end, as numbers that
it read have none: a model of texts that enough rows share gives these out first, and new ones after them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from synth_components.config import Recipe
from synth_components.errors import SchemaError
from synth_components.identifier import key_prefix
from synth_components.protocols import Dataset
from synth_components.schema import Categorical, Key, Numeric, Schema, Text


def with_key(schema: Schema, recipe: Recipe) -> Schema:
    """Return the schema in which what tells a recipe's sequences apart is a key.

    Numbers stay numbers, and values that a person declared stay these.  Of linked tables nothing is changed.
    """
    name = recipe.sequence_column(schema)
    column = schema.columns.get(name)
    if len(schema.tables) > 1:
        return schema
    match column:
        case Text():
            key = Key(dtype=column.dtype, nullable=column.nullable, public=column.public)
        case Categorical(public=False) if len({type(one) for one in column.categories}) == 1:
            prefix = key_prefix(pd.Series(column.categories, dtype=object)) or ""
            key = Key(dtype=column.dtype, nullable=column.nullable, prefix=prefix, names=column.categories)
        case _:
            return schema
    return replace(schema, tables={**schema.tables, schema.root: {**schema.columns, name: key}})


def numbered(data: Dataset, group: str) -> Dataset:
    """Return the rows with the key ``group`` as numbers, those of its own names first.

    A column that is no key stays as it is.

    Raises:
        SchemaError: if the key has nulls.
    """
    column = data.schema.columns.get(group)
    if not isinstance(column, Key) or len(data.schema.tables) > 1:
        return data
    if column.nullable:
        raise SchemaError(
            f"column '{group}' cannot be group: it takes keys without nulls; fill them, or declare it not nullable",
            column=group,
        )
    known, root = list(column.names), data.schema.root
    codes, _ = pd.factorize(np.concatenate([np.array(known, dtype=object), data.table[group].to_numpy(dtype=object)]))
    last = (len(known) or int(codes.max(initial=0)) + 1) - 1
    stand_in = Numeric(dtype="int64", low=0, high=last, places=0)
    columns = {**data.schema.columns, group: stand_in}
    return replace(
        data,
        tables={root: data.table.assign(**{group: codes[len(known) :].astype(np.int64)})},
        schema=replace(data.schema, tables={root: columns}),
    )
