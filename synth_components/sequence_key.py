"""The column that tells sequences apart where it is text or a key: learnt as numbers, drawn as keys made anew.

A generator of sequences never learns their names, and none learns those of a privacy unit: all rows of a sequence may
be one person's, so that however many share a name, it is his.  What a profile read off the rows gives new keys their
prefix, and no more; and that only if it says what is numbered, as ``patient-``, by a list that holds nobody's name.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd

from synth_components.config import Recipe
from synth_components.errors import SchemaError
from synth_components.identifier import key_prefix
from synth_components.protocols import Dataset
from synth_components.schema import Categorical, Key, Numeric, Schema, Text

PUBLIC_WORDS = frozenset(
    {
        "account", "acct", "client", "code", "customer", "device", "dossier", "employee", "entity", "event",
        "group", "household", "id", "identifier", "individual", "item", "machine", "member", "meter", "nr",
        "num", "number", "order", "participant", "patient", "person", "pid", "record", "ref", "seq", "sensor",
        "sequence", "session", "station", "student", "subj", "subject", "uid", "unit", "user", "vehicle",
        "visit", "visitor",
    }
)  # fmt: skip
"""What a prefix may say, in lower case: what is numbered.  None of them is a name that people are known to have."""


def with_key(schema: Schema, recipe: Recipe) -> Schema:
    """Return the schema with a key for what tells sequences apart, and for a unit's only column.

    Numbers stay numbers, and values that a person declared stay these.  Of linked tables nothing is changed.
    """
    if len(schema.tables) > 1:
        return schema
    columns = dict(schema.columns)
    name = recipe.sequence_column(schema)
    match columns.get(name):
        case Text() as column:
            columns[name] = Key(dtype=column.dtype, nullable=column.nullable, public=column.public)
        case Categorical(public=False) as column:
            columns[name] = _key(column)
    # Of several columns a value may be many units', and names none of them.
    unit = schema.unit.columns if schema.unit is not None and len(schema.unit.columns) == 1 else ()
    for name in unit:
        match columns.get(name):
            case Categorical(public=False) as column:
                columns[name] = _key(column)
    return schema if columns == schema.columns else replace(schema, tables={schema.root: columns})


def _key(column: Categorical) -> Key:
    """Return a key in the place of categories."""
    is_text = all(isinstance(one, str) for one in column.categories)
    prefix = key_prefix(pd.Series(column.categories, dtype=object)) if is_text else None
    return Key(dtype=column.dtype, nullable=column.nullable, prefix=prefix if prefix and _is_public(prefix) else "")


def _is_public(prefix: str) -> bool:
    """Return whether a prefix is one letter, or words that say what is numbered, so that no person's name is in it."""
    if not prefix.isascii():
        return False
    # "patientId" are two words, "PatientID" too.
    words = [part.lower() for part in re.split(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])", prefix) if part]
    return PUBLIC_WORDS.issuperset(words) or sum(map(len, words)) == 1


def numbered(data: Dataset, group: str) -> Dataset:
    """Return the rows with the key ``group`` as numbers, in order of appearance.

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
    root = data.schema.root
    codes, _ = pd.factorize(data.table[group].to_numpy(dtype=object))
    stand_in = Numeric(dtype="int64", low=0, high=int(codes.max(initial=0)), places=0)
    columns = {**data.schema.columns, group: stand_in}
    return replace(
        data,
        tables={root: data.table.assign(**{group: codes.astype(np.int64)})},
        schema=replace(data.schema, tables={root: columns}),
    )
