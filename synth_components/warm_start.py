"""Going on from a fitted model: whether new rows fit its schema, and how they differ from it.

What does not fit is refused: other columns, another type, nulls where it has none, values outside what a person
declared, or no value that it knows.  What a profile had not seen is drift: it is told, and handled as any value outside
a profiled column, a number by its nearest bound, a category by those that are known.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from synth_components.config import ConfigError, Recipe
from synth_components.errors import SchemaError, UnsupportedError
from synth_components.schema import Image, Key, Schema, Text, outside_of

if TYPE_CHECKING:
    from synth_components.io.artifact import Manifest
    from synth_components.model import Model

R = TypeVar("R", bound=Recipe)


@contextmanager
def folder_of(start: Model | str | Path) -> Iterator[Path]:
    """Yield the folder of a model, for as long as a fit reads it."""
    if isinstance(start, str | Path):
        yield Path(start)
        return
    with tempfile.TemporaryDirectory(prefix="synth-start-") as scratch:
        start.save(Path(scratch) / "model")
        yield Path(scratch) / "model"


def require_warm(recipe: Recipe, name: str) -> None:
    """Raise unless the fit of a recipe can go on from a model.

    Raises:
        UnsupportedError: saying what can.
    """
    if not type(recipe).starts_warm:
        raise UnsupportedError(
            f"{name} does not go on from a model: fit it on old and new rows together, or use tabular.ensemble, which "
            "keeps the old model beside the new one"
        )


def going_on(recipe: R, start: Manifest) -> R:
    """Return the recipe with the options that a fit has from the model that it goes on from.

    Raises:
        ConfigError: if one of them was said, and is another one in that model.
    """
    held, is_private = start.options, start.privacy.epsilon is not None
    kept = {
        name: held[own]
        for name in type(recipe).kept_warm
        if (own := f"private_{name}" if is_private and f"private_{name}" in held else name) in held
    }
    for name, value in kept.items():
        if name in recipe.model_fields_set and getattr(recipe, name) != value:
            raise ConfigError(
                f"option '{name}' is {value!r} in the model to go on from, which keeps it; leave it out, or fit anew",
                option=name,
            )
    return recipe.model_copy(update=kept)


def drift(schema: Schema, tables: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    """Return a sentence per column that holds values which the schema does not; without the values."""
    made = []
    for table, columns in schema.tables.items():
        for name, column in columns.items():
            values = tables[table].get(name)
            if values is None or isinstance(column, Text | Image | Key):
                continue
            present = values[values.notna()]
            if not len(present):
                continue
            outside, rule = outside_of(present, column)
            if outside.any():
                made.append(f"column '{name}' has {int(outside.sum())} of {len(present)} values {rule}")
    return tuple(made)


def require_same(start: Schema, new: Schema) -> None:
    """Raise unless both schemas model the same columns.

    Raises:
        SchemaError: naming the first column that differs.
    """
    for name in {**start.columns, **new.columns}:
        if start.columns.get(name) != new.columns.get(name):
            raise SchemaError(
                f"column '{name}' is another one in the model to go on from; give no schema, and its own is taken, or "
                "fit anew",
                column=name,
            )
