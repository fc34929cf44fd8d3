"""Rules that every row obeys: frozen, in the schema, saved with the model, enforced block by block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from synth_components.errors import SchemaError

if TYPE_CHECKING:
    import pandas as pd
    from numpy import random


class Constraint(Protocol):
    """A rule over columns of one table."""

    @property
    def name(self) -> str:
        """Unique within a schema."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the rule reads or repairs."""

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,)."""

    def repair(self, table: pd.DataFrame, *, rng: random.Generator) -> pd.DataFrame:
        """Return the table with as many rows as possible mended; other rows unchanged."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value with a ``type`` from which ``constraint_from_json`` makes an equal rule."""


def constraint_from_json(value: Mapping[str, Any]) -> Constraint:
    """Return the rule that a JSON value declares."""
    raise SchemaError(f"there is no rule of type '{value.get('type')}'")
