"""A generator that lives outside of the package, as another author would write it.

Source: none; columns are drawn independently of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import hypothesis  # noqa: F401 - a library that only this generator needs
from numpy import random
from pydantic import Field

from synth_components.config import Recipe
from synth_components.generators.tabular.independent import Independent, IndependentSampler
from synth_components.protocols import Dataset, Given, PrivacyLedger, Run
from synth_components.schema import Schema


class Outsider(Recipe):
    """Draw each column from its own marginal."""

    steps: int = Field(50, ge=2, le=1000, description="Knots of a numeric column's quantile function.")

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> OutsiderSampler:
        return OutsiderSampler(Independent(knots=self.steps).fit(data, rng=rng, ledger=ledger, run=run))


@dataclass(frozen=True)
class OutsiderSampler:
    columns: IndependentSampler

    @property
    def schema(self) -> Schema:
        return self.columns.schema

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        return self.columns.sample(n, rng=rng, given=given)

    def save(self, directory: Path) -> None:
        self.columns.save(directory)

    @classmethod
    def load(cls, directory: Path) -> Self:
        return cls(IndependentSampler.load(directory))


GENERATOR = Outsider
SAMPLER = OutsiderSampler
