"""Hybrid: some columns by one generator, the others by a second one that is given them.

The joint distribution is a product, ``p(first) p(rest | first)``: the first generator learns its columns alone, the
second one all columns, and is drawn from with the first's values fixed.  The first may be what is best at its kind of
column, or at privacy; the second must condition, and one that cannot is resampled.

The first may draw values together that the second gives no mass, as noise alone may put them there.  What was paid for
can be drawn from all the same: such a row keeps the first's values, and its others are those of a row of the second
that shares the most of the first's categories, among the 262,144 of ``resampling``, and is near its numbers.  If none
has the same columns null, nulls are no condition, and then numbers are none.  There ``p(rest | first)`` is that of the
nearest rows; a warning in the log says how many rows that are.

Under a budget each generator gets a part of epsilon and delta; both epsilons are scaled, in proportion, until the
charges compose to what is left (``privacy.allocation``).  Both stand in the ledger before the first stage reads a row.

It is no generator of sequences: of one with a row that a rule rejects that row alone is drawn again.

Source: Nowok, Raab & Dibben 2016, "synthpop: Bespoke Creation of Synthetic Data in R" (J. Stat. Softw. 74(11)),
    Sec. 2.1: a joint distribution as a sequence of conditional ones, each with a method of its own; Reiter 2005, "Using
    CART to Generate Partially Synthetic Public Use Microdata" (J. Off. Stat. 21(3)).
Differs: there are two stages, each a whole generator of many columns.  A null that the first draws is a condition like
    any other.  Conditions on columns of the second alone are met by resampling, as the first does not know of them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy import random
from pydantic import Field

from synth_components.config import LEFT, ConfigError, Recipe
from synth_components.errors import ArtifactError, SchemaError, StoppedError, UnsupportedError
from synth_components.generators.tabular._members import (
    doubts_of,
    drawn,
    fit_member,
    holds_rows,
    load_members,
    members_of,
    save_members,
    without_privacy,
)
from synth_components.privacy.allocation import allocated
from synth_components.privacy.contribution import bounded
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Given, PrivacyLedger, Run, Sampler
from synth_components.schema import Boolean, Categorical, Schema
from synth_components.split import units_of

_LOG = logging.getLogger(__name__)


class Hybrid(Recipe):
    """Draw some columns from one generator, and the others from a second one given those."""

    of_members: ClassVar[bool] = True

    first: str = Field("tabular.trees", description="Name of the generator of the first columns.")
    first_options: dict[str, Any] = Field({}, description="Its options.")
    second: str = Field("tabular.circuit", description="Name of the generator of the other columns.")
    second_options: dict[str, Any] = Field({}, description="Its options.")
    columns: tuple[str, ...] = Field(
        (),
        description="Columns that the first generator draws; empty takes those of categories and truth values, or the "
        "first half of all where none or all are.",
    )
    budget_share: Annotated[float, LEFT] = Field(
        0.5, gt=0, lt=1, description="The first generator's part of epsilon and delta, under a privacy budget."
    )

    def members_without_privacy(self) -> str:
        """Return why a fit with these options is not differentially private, if that is for its members."""
        return without_privacy((self.first, self.second), (self.first_options, self.second_options))

    def doubts(self, schema: Schema, rows: int) -> tuple[str, ...]:
        """Return what speaks against a fit of a stage on that many rows."""
        return doubts_of((self.first, self.second), (self.first_options, self.second_options), schema, rows)

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> HybridSampler:
        """Return both fitted stages.

        Raises:
            ConfigError: if ``columns`` names one that is not modelled, or leaves nothing for a stage.
            BudgetExceededError: under a budget, if a stage keeps none.
            UnitError: if the ledger is of another privacy unit.
            StoppedError: if ``run`` says so.
        """
        recipes = members_of((self.first, self.second), (self.first_options, self.second_options))
        if run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        if ledger.remaining() is None:
            ledger.spend("fit tabular.hybrid", not_private)
        names = self._first_columns(data.schema)
        if data.is_lazy:
            raise UnsupportedError("tabular.hybrid holds the whole table, and this one is too large for memory")
        part = _part_of(data.schema, names)
        fits = list(zip(recipes, (part, data.schema), strict=True))
        purses = allocated(ledger, fits, [self.budget_share, 1 - self.budget_share], unit=data.schema.unit, run=run)
        if ledger.remaining() is None:
            owners = units_of(data)
        else:
            # The first stage does not see who owns its rows: it could neither bound them nor name the unit.
            data, owners = bounded(data), None
        halves = Dataset({part.root: data.table[list(names)]}, part, owners=owners), data
        stages = [
            fit_member(recipe, part, rng=rng, ledger=purse, run=run, part=place, parts=2)
            for place, (recipe, part, purse) in enumerate(zip(recipes, halves, purses, strict=True))
        ]
        return HybridSampler(data.schema, (stages[0], stages[1]), (self.first, self.second))

    def _first_columns(self, schema: Schema) -> tuple[str, ...]:
        """Return the columns of the first stage, in the schema's order."""
        if len(schema.tables) > 1:
            raise UnsupportedError("tabular.hybrid draws single tables; give one")
        unknown = [name for name in self.columns if name not in schema.columns]
        if unknown:
            raise ConfigError(
                f"option 'columns' of Hybrid: there is no modelled column '{unknown[0]}'", option="columns"
            )
        every = list(schema.columns)
        if len(every) < 2:
            raise SchemaError("tabular.hybrid needs two columns, one for each generator; use one of them alone")
        chosen = set(self.columns) or {n for n, c in schema.columns.items() if isinstance(c, Categorical | Boolean)}
        if not self.columns and len(chosen) in (0, len(every)):
            chosen = set(every[: (len(every) + 1) // 2])
        if len(chosen) == len(every):
            raise ConfigError("option 'columns' of Hybrid: leave the second generator a column", option="columns")
        return tuple(name for name in every if name in chosen)


def _part_of(schema: Schema, names: Sequence[str]) -> Schema:
    """Return the schema of some columns of the root table; rules stay with the whole, which enforces them."""
    columns = {name: schema.columns[name] for name in names}
    unit = schema.unit
    if unit is not None and not set(unit.columns) <= set(names):
        unit = replace(unit, columns=())
    return replace(schema, tables={schema.root: columns}, keys={}, order={}, unit=unit, constraints=())


@dataclass(frozen=True, eq=False)
class HybridSampler:
    """Two stages.

    Attributes:
        schema: The schema of the rows.
        stages: The sampler of the first columns, and that of all columns.
        names: Their generators.
    """

    schema: Schema
    stages: tuple[Sampler, Sampler]
    names: tuple[str, ...]

    @property
    def holds_rows(self) -> bool:
        """Whether a stage keeps training rows."""
        return holds_rows(self.stages)

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows.

        Raises:
            UnsupportedError: for conditions on columns of the second stage, where ``Model`` resamples.
            ConditionError: for conditions that the first stage gives no mass.
        """
        first, second = self.stages
        if given is not None and any(name not in first.schema.columns for name in given.columns):
            raise UnsupportedError("tabular.hybrid conditions by itself on the columns of its first generator only")
        known = drawn(first, n, rng=rng, given=given).table
        parts: list[pd.DataFrame] = []
        places: list[np.ndarray[Any, Any]] = []
        unserved: list[int] = []
        # Rows with the same columns null are drawn together: null is asked for by ``allowed``, values by ``rows``.
        missing = known.isna().to_numpy()
        for pattern in np.unique(missing, axis=0) if n else missing[:0]:
            rows = np.flatnonzero((missing == pattern).all(axis=1))
            held = known.iloc[rows].reset_index(drop=True)
            asked = Given(
                held.loc[:, ~pattern] if not pattern.all() else None,
                {str(name): frozenset({None}) for name in known.columns[pattern]},
            )
            made = drawn(second, len(rows), rng=rng, given=asked, on_unserved=unserved.append).table
            parts.append(made.assign(**{str(name): held[name] for name in held.columns}))
            places.append(rows)
        if unserved:
            _LOG.warning(
                "of %d rows %d hold values together that %s drew and %s does not draw: their other columns follow its "
                "nearest rows; a second generator that conditions by itself, or fewer columns for the first, helps",
                n,
                sum(unserved),
                *self.names,
            )
        if not parts:
            return second.sample(0, rng=rng)
        order = np.argsort(np.concatenate(places), kind="stable")
        whole = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True).iloc[order]
        return Dataset({self.schema.root: whole[list(self.schema.columns)].reset_index(drop=True)}, self.schema)

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``members.json`` and a folder per stage."""
        (directory / "schema.json").write_text(self.schema.canonical(), encoding="utf-8")
        save_members(self.stages, self.names, directory)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote.

        Raises:
            ArtifactError: if there are not two stages.
        """
        schema = Schema.from_json(json.loads((directory / "schema.json").read_text(encoding="utf-8")))
        names, members = load_members(directory)
        if len(members) != 2:
            raise ArtifactError("members.json does not name two generators: the model was altered; save it anew")
        return cls(schema, (members[0], members[1]), names)


GENERATOR = Hybrid
SAMPLER = HybridSampler
