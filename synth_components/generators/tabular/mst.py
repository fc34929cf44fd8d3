"""MST: noisy marginals along a spanning tree of the most dependent pairs, and the graphical model that fits them.

Differentially private: give a budget (``epsilon``, ``delta``) and a public schema.  The guarantee is
(epsilon, delta)-differential privacy for one unit of the schema (a row unless declared otherwise), added or removed:
the Gaussian mechanism on counts and the exponential mechanism on scores are zero-concentrated DP, and the ledger adds
up their Renyi curves; with ``mechanism=laplace`` it is pure epsilon-DP.

Source: McKenna, Miklau & Sheldon 2021, "Winning the NIST Contest" (arXiv:2108.04978), Algorithm 2.
Differs: columns are cut into cells by the public schema, instead of merging cells of small noisy counts; pairs of more
    than ``max_cells`` cells together are no candidates; noise and selection are OpenDP's.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar, TypeAlias

import numpy as np
from numpy import random
from pydantic import Field

from synth_components.config import Recipe
from synth_components.errors import StoppedError
from synth_components.generators.tabular._graphical import (
    Clique,
    Measurement,
    Network,
    counted,
    estimated,
    measured,
    rows_per_unit,
)
from synth_components.generators.tabular._network import NetworkSampler, in_order
from synth_components.generators.tabular._public_cells import BINS, Bins, Cells, Codes, cells_of, coded
from synth_components.privacy.contribution import bounded
from synth_components.privacy.mechanism import Mechanism
from synth_components.privacy.noise import Grant, granted, noisy_best
from synth_components.protocols import Dataset, PrivacyLedger, Report, Run, report_nothing

MSTSampler: TypeAlias = NetworkSampler


class MST(Recipe):
    """Draw rows from a tree of columns that noisy counts of pairs, chosen privately, describe."""

    needs: ClassVar[tuple[str, ...]] = ("opendp",)

    bins: Bins = BINS
    mechanism: Mechanism = Field(
        "gaussian", description="Noise on counts: gaussian needs delta above 0; laplace gives pure epsilon-DP."
    )
    single_share: float = Field(0.3, gt=0, lt=1, description="Share of the budget for the counts of single columns.")
    selection_share: float = Field(0.1, gt=0, lt=1, description="Share of the budget for choosing the pairs.")
    max_cells: int = Field(
        20_000, ge=4, le=10_000_000, description="Most cells of a pair of columns that may be chosen."
    )
    iterations: int = Field(
        1_000, ge=10, le=100_000, description="Steps of mirror descent that fit the model to the noisy counts."
    )

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> NetworkSampler:
        """Return the fitted network; ``rng`` is not used, since noise for privacy has no seed."""
        del rng
        cells = cells_of(data.schema, bins=self.bins)
        if run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        grant = granted("fit tabular.mst", ledger, unit=data.schema.unit, mechanism=self.mechanism)
        codes = coded(bounded(data), cells)
        model, _ = self.estimate(
            codes, cells, grant, amount=grant.total, sensitivity=rows_per_unit(data.schema), report=run.report
        )
        return NetworkSampler(data.schema, self.bins, in_order(model.nodes, data.schema))

    def estimate(
        self,
        codes: Mapping[str, Codes],
        cells: Mapping[str, Cells],
        grant: Grant,
        *,
        amount: float,
        sensitivity: int,
        report: Report = report_nothing,
    ) -> tuple[Network, list[Clique]]:
        """Return the model and its pairs, for ``amount`` of a grant that was charged before."""
        report(0, 3)

        def noisy(cliques: list[Clique], share: float) -> list[Measurement]:
            return measured(codes, cliques, cells, amount=share * amount, grant=grant, sensitivity=sensitivity)

        single = noisy([(name,) for name in cells], self.single_share)
        model = estimated(cells, single, iterations=self.iterations)
        report(1, 3)
        pairs = self._tree(codes, cells, model, grant, amount=self.selection_share * amount, sensitivity=sensitivity)
        report(2, 3)
        if pairs:
            both = noisy(pairs, 1 - self.single_share - self.selection_share)
            model = estimated(cells, [*single, *both], iterations=self.iterations)
        report(3, 3)
        return model, pairs

    def _tree(
        self,
        codes: Mapping[str, Codes],
        cells: Mapping[str, Cells],
        model: Network,
        grant: Grant,
        *,
        amount: float,
        sensitivity: int,
    ) -> list[Clique]:
        """Return the pairs of a spanning forest, each chosen by how far independence is from its counts.

        One unit moves the exact counts of a pair by at most ``sensitivity`` in L1, and hence any score.
        """
        candidates = [
            pair for pair in combinations(cells, 2) if cells[pair[0]].size * cells[pair[1]].size <= self.max_cells
        ]
        scores = np.array(
            [np.abs(counted(codes, pair, cells) - model.counts(pair)).sum() for pair in candidates], dtype=float
        )
        part = {name: position for position, name in enumerate(cells)}
        each = amount / max(len(cells) - 1, 1)
        chosen: list[Clique] = []
        while True:
            open_pairs = [i for i, (a, b) in enumerate(candidates) if part[a] != part[b]]
            if not open_pairs:
                return chosen
            best = candidates[
                open_pairs[noisy_best(scores[open_pairs], amount=each, grant=grant, sensitivity=sensitivity)]
            ]
            chosen.append(best)
            kept, lost = part[best[0]], part[best[1]]
            part = {name: kept if where == lost else where for name, where in part.items()}


GENERATOR = MST
SAMPLER = NetworkSampler
