"""Independent columns: the honest baseline that every other generator must beat.

Source: the fully factorised model, FF in April-Tools' comparison (arXiv:2603.23016).
Differs: marginals are counts over at most ``knots`` shared knots per column, not single values.  Of integers beyond
    2^53, which are two features, the lower half is drawn given the upper one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy import random
from pydantic import Field
from safetensors.numpy import load_file, save_file

from synth_components.config import MIN_CATEGORY_COUNT, SAFER_DOWN, MinCategoryCount, Recipe
from synth_components.encode import Features, decode, encode, slices
from synth_components.errors import StoppedError, UnsupportedError
from synth_components.marginal import Marginal, marginals_of, quantiles
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Given, PrivacyLedger, Run
from synth_components.schema import Schema


class Independent(Recipe):
    """Draw each column from its own marginal, independently of the others."""

    without_privacy: ClassVar[str] = "its marginals are counted without noise"

    knots: Annotated[int, SAFER_DOWN] = Field(
        500, ge=2, le=1000, description="Knots of a numeric column's quantile function."
    )
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> IndependentSampler:
        """Return the marginals of ``data``; ``rng`` is not used."""
        del rng  # counting needs no randomness
        ledger.spend("fit tabular.independent", not_private)
        features = encode(data)
        owners = features.owners
        marginals: dict[str, tuple[Marginal, ...]] = {}
        for done, (name, where) in enumerate(features.columns.items(), start=1):
            if run.should_stop():
                raise StoppedError("fit stopped as asked; nothing was saved")
            marginals[name] = marginals_of(
                features.values[:, where],
                data.schema.columns[name],
                name=name,
                knots=self.knots,
                min_count=self.min_category_count,
                owners=owners,
            )
            run.report(done, len(features.columns))
        return IndependentSampler(data.schema, marginals)


@dataclass(frozen=True)
class IndependentSampler:
    """Marginals by column: one, or for integers beyond 2^53 those of ``marginals_of``."""

    schema: Schema
    marginals: Mapping[str, tuple[Marginal, ...]]

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows.

        Raises:
            UnsupportedError: for any condition; ``Model`` resamples instead.
        """
        if given is not None and given.columns:
            raise UnsupportedError("tabular.independent does not condition by itself")
        places = slices(self.schema)
        values = np.empty((n, sum(where.stop - where.start for where in places.values())))
        for name, where in places.items():
            values[:, where] = quantiles(self.marginals[name], rng.random((where.stop - where.start, n)))
        return decode(Features(values, places, self.schema))

    def save(self, directory: Path) -> None:
        """Write ``schema.json`` and ``marginals.safetensors``."""
        (directory / "schema.json").write_text(self.schema.canonical(), encoding="utf-8")
        arrays = {
            f"{column}.{feature}.{part}": array
            for column, name in enumerate(self.marginals)
            for feature, marginal in enumerate(self.marginals[name])
            for part, array in marginal.to_arrays().items()
        }
        save_file(arrays, directory / "marginals.safetensors")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        schema = Schema.from_json(json.loads((directory / "schema.json").read_text(encoding="utf-8")))
        arrays = load_file(directory / "marginals.safetensors")
        marginals = {
            name: tuple(
                Marginal.from_arrays(
                    {part: arrays[f"{column}.{feature}.{part}"] for part in ("low", "high", "mass", "null")}
                )
                for feature in range(sum(key.startswith(f"{column}.") and key.endswith(".mass") for key in arrays))
            )
            for column, name in enumerate(slices(schema))
        }
        return cls(schema, marginals)


GENERATOR = Independent
SAMPLER = IndependentSampler
