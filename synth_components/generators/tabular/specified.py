"""Rows from a specification alone: declared marginals joined by declared correlations, reading no row.

Source: Cario & Nelson 1997 (NORTA), as in ``_norta``; the copula, its conditions and its files are those of
    ``gaussian_copula``, with every parameter declared instead of learned.
Differs: a correlation is Pearson's or Spearman's, of numbers, times, truth values and categories in their declared
    order, over the rows where both are known; columns that no correlation names together are independent, and so is
    which values are null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import replace
from itertools import combinations
from typing import Annotated, TypeAlias

import numpy as np
from numpy import random
from pydantic import BeforeValidator, Field, field_validator

from synth_components.config import Config, Recipe
from synth_components.errors import SchemaError, StoppedError, UnsupportedError
from synth_components.generators.tabular._family import Family, PowerLaw, marginal_of
from synth_components.generators.tabular._norta import Association, Measure, Staircase, staircase
from synth_components.generators.tabular.gaussian_copula import ColumnModel, GaussianCopulaSampler
from synth_components.marginal import Marginal
from synth_components.protocols import Dataset, Floats, PrivacyLedger, Run
from synth_components.schema import AnyColumn, Boolean, Categorical, Schema

SLACK = 0.002
"""How far a correlation may lie beyond what its columns can reach: latents are at most .999 correlated."""

_LEAST_EIGENVALUE = 1e-6


class Correlation(Config):
    """What the correlation of two columns shall be."""

    columns: tuple[str, str] = Field(description="The two columns.")
    value: float = Field(ge=-1, le=1, description="Their correlation.")
    measure: Measure = Field(
        "pearson", description="pearson: of values, categories as 0, 1, 2 in their declared order; spearman: of ranks."
    )


def _listed(value: object) -> object:
    """Return a correlation matrix as the list of its pairs; anything else as it is."""
    if not isinstance(value, Mapping) or set(value) - {"columns", "matrix", "measure"}:
        return value
    names, matrix = list(value.get("columns", ())), value.get("matrix", ())
    try:
        held = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("a correlation matrix holds numbers, one row and one column per name") from None
    if held.shape != (len(names), len(names)) or (held != held.T).any() or (np.diag(held) != 1).any():
        raise ValueError("a correlation matrix has a row and a column per name, is symmetric, and 1 on its diagonal")
    rest = {"measure": value["measure"]} if "measure" in value else {}
    return [
        {"columns": [names[i], names[j]], "value": float(held[i, j]), **rest}
        for i, j in combinations(range(len(names)), 2)
    ]


Correlations: TypeAlias = Annotated[tuple[Correlation, ...], BeforeValidator(_listed)]


class Specified(Recipe):
    """Draw from declared columns, marginals and correlations; rows that it is given are not read."""

    marginals: dict[str, Family] = Field(
        {}, description="Distribution by column; a column without one is uniform over its bounds or categories."
    )
    null_shares: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        {}, description="Probability of null by nullable column; 0 for a column without one."
    )
    correlations: Correlations = Field(
        (),
        description="List of pairs with the value of their correlation, or a map of columns and matrix; columns of no "
        "pair are independent.",
    )

    @field_validator("correlations")
    @classmethod
    def _each_pair_once(cls, pairs: tuple[Correlation, ...]) -> tuple[Correlation, ...]:
        seen: set[frozenset[str]] = set()
        for pair in pairs:
            names = frozenset(pair.columns)
            if len(names) < 2 or names in seen:
                raise ValueError(f"the pair {list(pair.columns)} is one column, or declared twice; give it once")
            seen.add(names)
        return pairs

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> GaussianCopulaSampler:
        """Return the sampler of what is declared; of ``data`` only the schema is looked at.

        Raises:
            SchemaError: naming a column or a pair whose declaration does not fit the schema, or cannot hold.
            UnsupportedError: for several tables, and integers beyond 2^53.
        """
        del rng  # nothing is estimated
        schema = data.schema
        if len(schema.tables) > 1:
            raise UnsupportedError("tabular.specified draws a single table")
        if ledger.remaining() is not None and not schema.is_public:
            raise SchemaError("a column of the schema was read off the rows, which epsilon does not cover; declare it")
        self._require_columns(schema)
        columns: dict[str, ColumnModel] = {}
        for done, (name, column) in enumerate(schema.columns.items(), start=1):
            if run.should_stop():
                raise StoppedError("fit stopped as asked; nothing was saved")
            columns[name] = self._column(name, column)
            run.report(done, len(schema.columns) + 1)
        correlation = self._correlation(schema, columns)
        run.report(len(schema.columns) + 1, len(schema.columns) + 1)
        return GaussianCopulaSampler(schema, columns, correlation)

    def _require_columns(self, schema: Schema) -> None:
        correlated = (name for pair in self.correlations for name in pair.columns)
        for name in (*self.marginals, *self.null_shares, *correlated):
            if name not in schema.columns:
                raise SchemaError(
                    f"the specification names column '{name}', which the schema lacks, or which is made anew",
                    column=name,
                )
        for name, share in self.null_shares.items():
            if share > 0 and not schema.columns[name].nullable:
                raise SchemaError(f"column '{name}' has a null share and is not nullable; declare it so", column=name)

    def _column(self, name: str, column: AnyColumn) -> ColumnModel:
        null, unordered = self.null_shares.get(name, 0.0), np.empty(0, dtype=np.int64)
        if null == 1.0:
            return ColumnModel((Marginal(np.empty(0), np.empty(0), np.empty(0), 0.0),), null, unordered)
        marginal = marginal_of(self.marginals.get(name), column, name)
        if not isinstance(column, Categorical | Boolean):
            return ColumnModel((marginal,), null, unordered)
        order = np.flatnonzero(marginal.mass)  # what has no weight is unknown to the sampler, as where it is learned
        places = np.arange(len(order), dtype=np.float64)
        return ColumnModel((Marginal(places, places, marginal.mass[order], 0.0),), null, order)

    def _correlation(self, schema: Schema, columns: Mapping[str, ColumnModel]) -> Floats:
        """Return the latent correlation (q, q) that gives every declared one."""
        starts = np.cumsum([0, *(model.width for model in columns.values())])
        place = dict(zip(columns, starts.tolist(), strict=False))
        latent = np.eye(int(starts[-1]))
        for pair in self.correlations:
            i, j = (place[name] for name in pair.columns)
            association = self._association(pair, schema, columns)
            low, high = association.limits
            if not low - SLACK <= pair.value <= high + SLACK:
                raise SchemaError(
                    f"the correlation of columns '{pair.columns[0]}' and '{pair.columns[1]}' cannot be {pair.value:g}: "
                    f"their marginals allow {low:.3f} to {high:.3f}; change it or a marginal",
                    column=pair.columns[0],
                )
            latent[i, j] = latent[j, i] = association.latent(pair.value)
        self._require_definite(latent, place, schema, columns)
        return latent

    def _association(self, pair: Correlation, schema: Schema, columns: Mapping[str, ColumnModel]) -> Association:
        steps = [self._staircase(name, pair.measure, schema, columns[name]) for name in pair.columns]
        return Association.of(*steps)

    def _staircase(self, name: str, measure: Measure, schema: Schema, model: ColumnModel) -> Staircase:
        family, column = self.marginals.get(name), schema.columns[name]
        unbounded = isinstance(family, PowerLaw) and getattr(column, "high", None) is None
        if unbounded and measure == "pearson" and isinstance(family, PowerLaw) and family.exponent <= 3:
            raise SchemaError(
                f"column '{name}' has no finite variance, and so no Pearson correlation; give it a high, an exponent "
                "above 3, or measure: spearman",
                column=name,
            )
        marginal = model.marginals[0]
        if len(model.order):
            codes = model.order.astype(np.float64)
            marginal = replace(marginal, low=codes, high=codes)
        made = staircase(marginal, measure) if model.is_known else None
        if made is None:
            raise SchemaError(f"column '{name}' has one value only, and no correlation; drop it", column=name)
        return made

    def _require_definite(
        self, latent: Floats, place: Mapping[str, int], schema: Schema, columns: Mapping[str, ColumnModel]
    ) -> None:
        """Raise unless the correlations can hold together, naming a pair that spoils it and what it could be."""
        if not len(latent) or float(np.linalg.eigvalsh(latent)[0]) >= _LEAST_EIGENVALUE:
            return
        names = list(dict.fromkeys(name for pair in self.correlations for name in pair.columns))
        at = [place[name] for name in names]
        pair, ends = _culprit(
            latent[np.ix_(at, at)], {frozenset(map(names.index, p.columns)) for p in self.correlations}
        )
        first, second = (names[k] for k in pair)
        asked = next((p for p in self.correlations if set(p.columns) == {first, second}), None)
        told = "is not declared, which means 0" if asked is None else f"is declared as {asked.value:g}"
        remedy = "weaken some of them"
        if ends is not None:
            found = self._association(asked or Correlation(columns=(first, second), value=0.0), schema, columns)
            low, high = (found.at(end) for end in ends)
            remedy = f"beside the others it can be {low:.3f} to {high:.3f}; declare that, or weaken the others"
        raise SchemaError(
            f"the correlations cannot all hold: that of columns '{first}' and '{second}' {told}; {remedy}", column=first
        )


def _culprit(latent: Floats, declared: Set[frozenset[int]]) -> tuple[tuple[int, int], tuple[float, float] | None]:
    """Return the pair to name of latent correlations (q, q) that cannot all hold, and from where to where it could be.

    An undeclared pair that alone would mend them, else the declared one that is nearest to doing so; if none would
    alone, the pair that weighs most in the direction of the most negative variance, and ``None``.
    """
    mending = [
        (frozenset((i, j)) in declared, max(ends[0] - latent[i, j], latent[i, j] - ends[1]), (i, j), ends)
        for i, j in combinations(range(len(latent)), 2)
        if (ends := _possible(latent, i, j)) is not None
    ]
    if mending:
        _, _, pair, ends = min(mending)
        return pair, ends
    direction = np.linalg.eigh(latent)[1][:, 0]
    weight = np.abs(np.triu(np.outer(direction, direction) * latent, 1))
    i, j = divmod(int(weight.argmax()), len(latent))
    return (i, j), None


def _possible(latent: Floats, i: int, j: int) -> tuple[float, float] | None:
    """Return the ends of what one latent correlation can be beside the others; ``None`` if those already cannot hold.

    Source: Joe 2006, "Generating random correlation matrices based on partial correlations": the partial correlation
        given all others is free in (-1, 1).
    """
    rest = np.setdiff1d(np.arange(len(latent)), [i, j])
    known = latent[np.ix_(rest, rest)]
    across = latent[[i, j]][:, rest]  # (2, q - 2)
    if len(rest) and float(np.linalg.eigvalsh(known)[0]) < _LEAST_EIGENVALUE:
        return None
    explained = across @ np.linalg.solve(known, across.T) if len(rest) else np.zeros((2, 2))
    left = 1.0 - np.diag(explained)
    if left.min() < _LEAST_EIGENVALUE:
        return None
    reach = math.sqrt(float(left.prod()))
    return float(explained[0, 1]) - reach, float(explained[0, 1]) + reach


GENERATOR = Specified
SAMPLER = GaussianCopulaSampler
