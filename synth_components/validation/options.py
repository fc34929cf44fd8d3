"""The options of a validation, each declared once; the step and the command line derive from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field

from synth_components.config import MIN_CATEGORY_COUNT, MinCategoryCount, StepConfig


class ValidateConfig(StepConfig):
    """What a table that somebody else made is held against.

    A pack's policy may ask for more than these options, and never for less.
    """

    pack: str = Field("", description="Rule pack that the table is held against as well; `synth pack` lists them.")
    pack_columns: dict[str, str] = Field(
        {}, description="The table's columns by the pack's names of them, where they differ: {'booked': 'date'}."
    )
    min_pack: float = Field(
        0.5, ge=0, le=1, description="Smallest share of the pack's rules and metrics whose columns the table has."
    )
    target: str = Field("", description="Column that models trained on the table must predict of real rows.")
    quasi_identifiers: tuple[str, ...] = Field(
        (), description="Columns that together might single a person out; empty takes those of the pack."
    )
    known_identifiers: tuple[str, ...] = Field(
        (), description="Columns that may hold direct identifiers, because they are made up or meant to be there."
    )
    min_schema: float = Field(1.0, ge=0, le=1, description="Smallest share of rows that obey the declared schema.")
    min_rules: float = Field(
        1.0, ge=0, le=1, description="Smallest share of rows that obey each rule, but those of policy warn."
    )
    min_filled: float = Field(0.8, ge=0, le=1, description="Smallest share of cells that are not null.")
    max_duplicates: float = Field(0.05, ge=0, le=1, description="Largest share of rows that repeat an earlier one.")
    max_outliers: float = Field(
        0.1, ge=0, le=1, description="Largest share of outliers in the column of numbers that has the most."
    )
    min_pattern: float = Field(
        0.95, ge=0, le=1, description="Smallest share of texts of the form that the column's texts have."
    )
    min_class_size: int = Field(
        5, ge=2, lt=2**31, description="Fewest rows that must share their quasi-identifiers: the k of k-anonymity."
    )
    max_exposed: float = Field(
        0.05, ge=0, le=1, description="Largest share of rows that fewer rows than that share quasi-identifiers with."
    )
    max_check_seconds: float = Field(
        600.0, gt=0, description="Longest time that profile, schema, quality and rules may take to check."
    )
    max_row_bytes: float = Field(100_000.0, gt=0, description="Most bytes of memory that a row may take on average.")
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT
    seed: int = Field(0, ge=0, lt=2**53, description="Seed of subsamples, folds and learners.")

    def stricter(self, policy: Mapping[str, Any]) -> Self:
        """Return these options where they ask for more than ``policy``, and the policy's where that does.

        Of ``min_...`` the larger holds, of ``max_...`` the smaller; the policy's quasi-identifiers only where none are
        given, its known identifiers as well.

        Raises:
            ConfigError: for a policy that names no option, or a value that breaks the option's rule.
        """
        asked = type(self).parse(policy)
        made: dict[str, Any] = {}
        for name in policy:
            mine, theirs = getattr(self, name), getattr(asked, name)
            if name.startswith("min_"):
                made[name] = max(mine, theirs)
            elif name.startswith("max_"):
                made[name] = min(mine, theirs)
            elif name == "known_identifiers":
                made[name] = tuple(dict.fromkeys((*mine, *theirs)))
            else:
                made[name] = mine or theirs
        return self.model_copy(update=made)
