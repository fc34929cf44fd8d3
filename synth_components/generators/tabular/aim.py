"""AIM: noisy marginals measured one after the other, each where the model so far is worst, until the budget is spent.

Differentially private: give a budget (``epsilon``, ``delta``) and a public schema.  The guarantee is
(epsilon, delta)-differential privacy for one unit of the schema (a row unless declared otherwise), added or removed:
every round is zero-concentrated DP (Gaussian counts, exponential selection), and the rounds, however many the data ask
for, never spend more than the rho that the ledger was charged before the first (``noise.Grant``): a privacy filter
(Feldman & Zrnic 2021, arXiv:2008.11193).  With ``mechanism=laplace`` every round is pure DP (Laplace counts, permute
and flip), which adds up to pure epsilon-DP, without delta.

Source: McKenna, Mullins, Sheldon & Miklau 2022, "AIM: An Adaptive and Iterative Mechanism for Differentially Private
    Synthetic Data" (arXiv:2201.12677), Algorithms 2 to 4.
Differs: the workload is all pairs of columns, or with ``target`` all triples with it, as CoRTeC seeds AIM; columns are
    cut into cells by the public schema; noise and selection are OpenDP's, the estimate is ours (``_graphical``).
    Laplace noise is not in the paper: half of it costs twice the epsilon, half the Gaussian four times the rho.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from numpy import random
from pydantic import Field

from synth_components.config import ConfigError, Recipe
from synth_components.errors import StoppedError
from synth_components.generators.tabular._graphical import (
    BucketTree,
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
from synth_components.privacy.noise import Grant, deviation, granted, noisy_best
from synth_components.protocols import Dataset, PrivacyLedger, Run

_MEASURING = 0.9
"""Share of each round's budget for the counts; the rest chooses them."""

_EXPECTED: Mapping[Mechanism, float] = MappingProxyType(
    {"gaussian": math.sqrt(2 / math.pi), "laplace": math.sqrt(1 / 2)}
)
"""Mean size of noise over its standard deviation."""

_HALVED: Mapping[Mechanism, int] = MappingProxyType({"gaussian": 4, "laplace": 2})
"""How many times the budget halves the noise."""


class AIM(Recipe):
    """Draw rows from a graphical model of the marginals that mattered most, measured adaptively."""

    needs: ClassVar[tuple[str, ...]] = ("opendp",)

    bins: Bins = BINS
    mechanism: Mechanism = Field(
        "gaussian", description="Noise on counts: gaussian needs delta above 0; laplace gives pure epsilon-DP."
    )
    target: str = Field(
        "", description="Column that the others are to predict; marginals with it are preferred. Empty: none."
    )
    rounds: int = Field(
        16,
        ge=1,
        le=100,
        description="Rounds per column that the budget would last for at its first, smallest steps; the data decide.",
    )
    max_cells: int = Field(
        200_000, ge=16, le=100_000_000, description="Most cells of the model; larger models hold more and take longer."
    )
    iterations: int = Field(
        500, ge=10, le=100_000, description="Most steps of mirror descent that fit the model to the counts, each round."
    )

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> NetworkSampler:
        """Return the fitted network; ``rng`` is not used, since noise for privacy has no seed.

        Raises:
            ConfigError: if ``target`` is no column.
        """
        del rng
        cells = cells_of(data.schema, bins=self.bins)
        if self.target and self.target not in cells:
            raise ConfigError(f"option 'target' of AIM: there is no modelled column '{self.target}'", option="target")
        if run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        grant = granted("fit tabular.aim", ledger, unit=data.schema.unit, mechanism=self.mechanism)
        model = self._adapted(coded(bounded(data), cells), cells, grant, rows_per_unit(data.schema), run)
        nodes = in_order(model.nodes, data.schema)
        run.report(1000, 1000)
        return NetworkSampler(data.schema, self.bins, nodes)

    def _adapted(
        self, codes: Mapping[str, Codes], cells: Mapping[str, Cells], grant: Grant, sensitivity: int, run: Run
    ) -> Network:
        """Return the model when the grant is spent."""
        each = grant.total / (self.rounds * len(cells))
        weights = self._workload(cells)
        exact = {clique: counted(codes, clique, cells) for clique in weights}
        known = measured(
            codes,
            [(name,) for name in cells],
            cells,
            amount=_MEASURING * each * len(cells),
            grant=grant,
            sensitivity=sensitivity,
        )
        model = estimated(cells, known, iterations=self.iterations)
        while grant.left > grant.total * 1e-6:
            if run.should_stop():
                raise StoppedError("fit stopped as asked; nothing was saved")
            run.report(int(999 * (1 - grant.left / grant.total)), 1000)
            if grant.left < 2 * each:
                each = grant.left * (1 - 1e-7)  # the last round takes what is left
            spread = deviation(_MEASURING * each, mechanism=self.mechanism, sensitivity=sensitivity)
            expected = _EXPECTED[self.mechanism] * spread
            open_cliques = [c for c in weights if self._fits(c, cells, known, spent=1 - grant.left / grant.total)]
            errors = {clique: model.counts(clique) for clique in open_cliques}
            scores = np.array(
                [weights[c] * (np.abs(exact[c] - errors[c]).sum() - expected * len(exact[c])) for c in open_cliques]
            )
            # One unit moves a clique's counts by at most `sensitivity` in L1, and a score by its weight times that.
            reach = sensitivity * max(weights[c] for c in open_cliques)
            best = open_cliques[noisy_best(scores, amount=(1 - _MEASURING) * each, grant=grant, sensitivity=reach)]
            known += measured(codes, [best], cells, amount=_MEASURING * each, grant=grant, sensitivity=sensitivity)
            before = errors[best]
            model = estimated(cells, known, iterations=self.iterations)
            if np.abs(model.counts(best) - before).sum() <= expected * len(before):
                each *= _HALVED[self.mechanism]  # this round's noise drowned what it measured
        return model

    def _workload(self, cells: Mapping[str, Cells]) -> dict[Clique, float]:
        """Return the cliques that may be measured, each with its weight: how much of the workload it tells of."""
        if self.target:
            others = [name for name in cells if name != self.target]
            wanted = [tuple(n for n in cells if n in {a, b, self.target}) for a, b in combinations(others, 2)]
        else:
            wanted = list(combinations(cells, 2))
        wanted = wanted or [tuple(cells)]
        below = {part for clique in wanted for k in range(1, len(clique) + 1) for part in combinations(clique, k)}
        kept = [part for part in below if math.prod(cells[name].size for name in part) <= self.max_cells]
        weight = {part: float(sum(len(set(part) & set(clique)) for clique in wanted)) for part in kept}
        highest = max(weight.values())
        return {part: weight[part] / highest for part in sorted(kept)}

    def _fits(self, clique: Clique, cells: Mapping[str, Cells], known: Sequence[Measurement], *, spent: float) -> bool:
        """Return whether the model with a clique has at most that share of the cells which is spent of the budget."""
        if len(clique) == 1:
            return True
        sizes = {name: one.size for name, one in cells.items()}
        tree = BucketTree.of(sizes, [*(one.clique for one in known), clique])
        return sum(math.prod(bucket.shape) for bucket in tree.buckets) <= max(spent * self.max_cells, 1)


GENERATOR = AIM
SAMPLER = NetworkSampler
