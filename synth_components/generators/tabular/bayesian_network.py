"""A Bayesian network: each column is drawn from a table given a few others; every conditional is exact.

Source: Koller & Friedman 2009, "Probabilistic Graphical Models", Ch. 17 and 18; Elidan & Gould 2008, "Learning Bounded
    Treewidth Bayesian Networks", JMLR 9; Schwarz 1978 for the score (BIC); Zhang et al. 2017, "PrivBayes"
    (doi:10.1145/3134428), for a greedy choice of parents that synthesises rows.
Differs: parents lie within a clique of the columns before, so that the network is its own junction tree and conditions
    are met exactly; the search is greedy, without a step back.  Numbers are cells of about equal mass; a value is drawn
    within its cell from the marginal.  Tables begin at the marginals.  Where the schema names a privacy unit, a line of
    a table that fewer than ``min_category_count`` units have is the marginal, and of the rows of any line no unit has a
    larger share than one in as many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy import random
from pydantic import Field

from synth_components.config import KNOTS, MIN_CATEGORY_COUNT, SAFER_UP, Knots, MinCategoryCount, Recipe
from synth_components.encode import encode
from synth_components.errors import ArtifactError
from synth_components.generators.tabular import _junction
from synth_components.generators.tabular._cells import Cells
from synth_components.generators.tabular._codebook import (
    MOST_AT_ONCE,
    Arrays,
    Codebook,
    Ints,
    cell_masses,
    codes_in,
    evidence_of,
    places_within,
    stop_if_asked,
)
from synth_components.generators.tabular._condition import Condition
from synth_components.generators.tabular._grid import Codes
from synth_components.generators.tabular._junction import Node
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Floats, Given, PrivacyLedger, Run
from synth_components.schema import Schema


class BayesianNetwork(Recipe):
    """Draw each column from a table given a few others, chosen by the score; conditions are met exactly."""

    without_privacy: ClassVar[str] = (
        "the tables it draws from are counted without noise; tabular.mst and tabular.aim count with noise"
    )

    max_parents: int = Field(2, ge=0, le=4, description="Most columns that one depends on: the treewidth.")
    penalty: float = Field(
        1.0,
        ge=0,
        le=100,
        description="Cost of a free parameter, in units of BIC's, which is half of the log of the rows. Less allows "
        "more parents.",
    )
    cells: int = Field(32, ge=2, le=1000, description="Cells of about equal mass into which a number is cut.")
    max_cells: int = Field(100_000, ge=4, le=10_000_000, description="Most entries of one table.")
    prior: Annotated[float, SAFER_UP] = Field(
        1.0,
        gt=0,
        le=10_000,
        description="Privacy knob: rows' worth of the marginal that each line of a table holds beside its own rows.",
    )
    knots: Knots = KNOTS
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> BayesianNetworkSampler:
        """Return the network of ``data``.

        Raises:
            UnsupportedError: if a column has no value with enough support.
            StoppedError: if ``run`` says so.
        """
        ledger.spend("fit tabular.bayesian_network", not_private)
        stop_if_asked(run)
        run.report(0, 2)
        features = encode(data)
        book = Codebook.of(features, knots=self.knots, min_count=self.min_category_count)
        codes = book.codes(features.values, rng=rng)
        cut = tuple(Cells.of(grid, cells=self.cells) for grid in book.grids)
        held = [one.split(own)[0] for one, own in zip(cut, codes, strict=True)]
        plan = _junction.structure(
            held,
            [len(one.first) for one in cut],
            max_parents=self.max_parents,
            max_cells=self.max_cells,
            penalty=self.penalty,
        )
        stop_if_asked(run)
        run.report(1, 2)
        network = _junction.nodes(
            plan,
            held,
            cell_masses(cut, book.grids),
            prior=self.prior,
            owners=features.owners,
            least=self.min_category_count,
        )
        run.report(2, 2)
        return BayesianNetworkSampler(book, cut, network)


@dataclass(frozen=True, eq=False)
class BayesianNetworkSampler:
    """Grids, the cells of their codes, and the nodes in an order in which parents come first.

    Attributes:
        book: What codes mean.
        cells: One per feature.
        network: The nodes.
    """

    book: Codebook
    cells: tuple[Cells, ...]
    network: tuple[Node, ...]

    @property
    def schema(self) -> Schema:
        """The schema of the rows."""
        return self.book.schema

    @cached_property
    def _within(self) -> tuple[Floats, ...]:
        """The probability (cells, places) of each place, given the cell."""
        return places_within(self.cells, self.book.grids)

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows, by the exact law of the model given what is asked for.

        Raises:
            ConditionError: for unknown columns, and conditions that the model gives no mass.
            UnsupportedError: for conditions on integers beyond 2^53.
        """
        wanted = self.book.wanted(given, n)
        if wanted:
            each = [self._codes(r, wanted, rng=rng) for r in _junction.parts(self.network, n, most=MOST_AT_ONCE)]
        else:
            each = [self._codes(np.arange(n), {}, rng=rng)]
        codes = [
            np.concatenate([np.empty(0, np.int32), *(part[feature] for part in each)])
            for feature in range(len(self.cells))
        ]
        return self.book.rows(codes, rng=rng, given=given, wanted=wanted)

    def _codes(self, rows: Ints, wanted: Mapping[int, Condition], *, rng: random.Generator) -> Sequence[Codes]:
        """Return codes (n,) by feature of some of the rows that are asked for."""
        evidence: list[Floats | None] = [None] * len(self.cells)
        placed = list(self._within)
        for feature, asked in wanted.items():
            cells = self.cells[feature]
            placed[feature] = placed[feature] * cells.by_place(asked.allowed, absent=0.0)
            evidence[feature] = evidence_of(asked, rows, cells=cells, allowed=placed[feature])
        drawn = _junction.draw(self.network, len(rows), evidence, rng=rng)
        return [
            codes_in(cell, rows, wanted.get(feature), cells=cells, allowed=allowed, rng=rng)
            for feature, (cells, cell, allowed) in enumerate(zip(self.cells, drawn, placed, strict=True))
        ]

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``bayesian_network.json`` and ``bayesian_network.safetensors``."""
        arrays: Arrays = {f"cells.{feature}": cells.first for feature, cells in enumerate(self.cells)}
        arrays |= {f"node.{node.feature}": node.table for node in self.network}
        plan = {"nodes": [[node.feature, *node.parents] for node in self.network]}
        self.book.save(directory, "bayesian_network", arrays, plan)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        book, arrays, plan = Codebook.load(directory, "bayesian_network")
        if sorted(feature for feature, *_ in plan["nodes"]) != list(range(len(book.grids))):
            raise ArtifactError("bayesian_network.json does not fit schema.json: the model was altered; save it anew")
        network = tuple(Node(feature, tuple(above), arrays[f"node.{feature}"]) for feature, *above in plan["nodes"])
        cells = tuple(Cells(arrays[f"cells.{feature}"], grid.size) for feature, grid in enumerate(book.grids))
        return cls(book, cells, network)


GENERATOR = BayesianNetwork
SAMPLER = BayesianNetworkSampler
