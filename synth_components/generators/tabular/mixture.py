"""A mixture: each row is drawn from one of several components, whose columns are independent of each other.

Source: McLachlan & Peel 2000, "Finite Mixture Models", Ch. 2 and 5, latent classes and mixed features; Dempster, Laird
    & Rubin 1977, expectation-maximisation; Bishop 2006, "Pattern Recognition and Machine Learning", Sec. 10.2,
    variational inference; the shallow mixture, SM in April-Tools' comparison (arXiv:2603.23016).
Differs: numbers are codes over the knots that the other generators keep, and a component's normal is one over their
    ranks, on top of the marginal, so that each column keeps its marginal.  Covariances are diagonal.  Components start
    from clusters of the rows.  Where the schema names a privacy unit, one of which a unit has a larger share than one
    in ``min_category_count`` is the marginal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy import random
from pydantic import Field
from scipy.special import digamma

from synth_components.config import MIN_CATEGORY_COUNT, SAFER_UP, Knots, MinCategoryCount, Recipe
from synth_components.encode import encode
from synth_components.generators.tabular._circuit import Alphabet, Emission, Matrix, clusters, few_states, placed
from synth_components.generators.tabular._codebook import (
    Arrays,
    Codebook,
    Ints,
    drawn_by_row,
    drawn_each,
    stop_if_asked,
)
from synth_components.generators.tabular._condition import Condition
from synth_components.generators.tabular._grid import Codes
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Floats, Given, PrivacyLedger, Run
from synth_components.schema import Schema

BATCH_ROWS = 8_192
"""Rows whose components are judged at a time."""
NAMED = 128
"""Most codes of a number that are told one by one where its distribution is ``gaussian``."""
ALL_NAMED = 1_000_000
SPREAD = 0.2
"""Share of each row that starts evenly in all components: nothing is impossible in any, or it would stay so."""


class Mixture(Recipe):
    """Draw each row from one component of a mixture of independent columns."""

    without_privacy: ClassVar[str] = "its expectations are counted without noise"

    components: int = Field(64, ge=1, le=4096, description="Most components.")
    method: Literal["em", "variational"] = Field(
        "em",
        description="How it is fitted: em (expectation-maximisation) or variational, where components that the rows "
        "do not need fall empty.",
    )
    distribution: Literal["gaussian", "categorical"] = Field(
        "gaussian",
        description="What a number follows within a component: a normal over its ranks, or any law of its codes.",
    )
    concentration: float = Field(
        0.01, gt=0, le=1000, description="Rows' worth of belief in each component; variational: less empties more."
    )
    iterations: int = Field(40, ge=1, le=10_000, description="Most passes over the rows.")
    tolerance: float = Field(
        1e-3, ge=0, le=1, description="Gain of the mean log-likelihood, in nats, below which the fit ends."
    )
    prior: Annotated[float, SAFER_UP] = Field(
        0.1,
        gt=0,
        le=1000,
        description="Privacy knob: rows' worth of the marginal that every component holds beside its own rows.",
    )
    min_component_rows: Annotated[int, SAFER_UP] = Field(
        30,
        ge=1,
        le=1_000_000,
        description="Privacy knob: fewest training rows, or privacy units where the schema names them, per component; "
        "fewer have fewer components.",
    )
    least_variance: Annotated[float, SAFER_UP] = Field(
        1e-2,
        gt=0,
        le=1,
        description="Privacy knob: smallest variance of a number within a component, its whole spread being 1.",
    )
    knots: Knots = 500
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> MixtureSampler:
        """Return the mixture of ``data``.

        Raises:
            UnsupportedError: if a column has no value with enough support.
            StoppedError: if ``run`` says so.
        """
        ledger.spend("fit tabular.mixture", not_private)
        stop_if_asked(run)
        features = encode(data)
        book = Codebook.of(features, knots=self.knots, min_count=self.min_category_count)
        codes = book.codes(features.values, rng=rng)
        named = NAMED if self.distribution == "gaussian" else ALL_NAMED
        alphabets = tuple(Alphabet.of(grid, named=named) for grid in book.grids)
        n = len(codes[0])
        support = n if features.owners is None else len(np.unique(features.owners))
        k = max(1, min(self.components, support // self.min_component_rows))
        seen = np.hstack([placed(*parts) for parts in zip(codes, alphabets, book.grids, strict=True)])
        component = clusters(seen.astype(np.float32), k, rng=rng)
        is_in = np.full((n, k), SPREAD / k, np.float32)
        is_in[np.arange(n), component] += 1 - SPREAD
        weight = is_in.sum(axis=0, dtype=np.float64)
        totals = [np.asarray(alphabet.features(held) @ is_in) for alphabet, held in zip(alphabets, codes, strict=True)]
        reached = -np.inf
        for done in range(self.iterations):
            stop_if_asked(run)
            before, (weight, totals, height) = reached, self._step(weight, totals, codes, alphabets)
            reached = height
            if reached - before < self.tolerance:
                break
            if done + 1 < self.iterations:
                run.report(done + 1, self.iterations, log_likelihood=reached)
        run.report(self.iterations, self.iterations)
        share = weight + self.concentration
        if features.owners is not None:
            totals = self._borne_out(weight, totals, codes, features.owners, alphabets)
        return MixtureSampler(book, alphabets, share / share.sum(), tuple(self._emissions(alphabets, totals)))

    def _borne_out(
        self,
        weight: Floats,
        totals: Sequence[Matrix],
        codes: Sequence[Codes],
        owners: Ints,
        alphabets: Sequence[Alphabet],
    ) -> list[Matrix]:
        """Return the totals in which a component of few privacy units is as the marginal."""
        logs, log_share = self._logs(weight, totals, alphabets)
        order = np.argsort(owners, kind="stable")
        rows = (order[start : start + BATCH_ROWS] for start in range(0, len(order), BATCH_ROWS))
        parts = ((owners[some], [_responsibility(logs, log_share, [c[some] for c in codes])[0]]) for some in rows)
        (is_few,) = few_states(parts, least=self.min_category_count)
        return [np.where(is_few, np.float32(0), one) for one in totals]

    def _emissions(self, alphabets: Sequence[Alphabet], totals: Sequence[Matrix]) -> list[Emission]:
        return [
            Emission.of(alphabet, one, prior=self.prior, least_variance=self.least_variance)
            for alphabet, one in zip(alphabets, totals, strict=True)
        ]

    def _step(
        self, weight: Floats, totals: Sequence[Matrix], codes: Sequence[Codes], alphabets: Sequence[Alphabet]
    ) -> tuple[Floats, list[Matrix], float]:
        """Return what the rows are expected to count under the mixture of these counts, and their log-likelihood.

        Source: Bishop 2006, Eq. 10.46-10.49 and 10.65-10.66 for ``variational``.
        """
        logs, log_share = self._logs(weight, totals, alphabets)
        made = [np.zeros_like(one) for one in totals]
        found, height = np.zeros_like(weight), 0.0
        for start in range(0, len(codes[0]), BATCH_ROWS):
            part = [held[start : start + BATCH_ROWS] for held in codes]
            responsibility, log_likelihood = _responsibility(logs, log_share, part)
            height += log_likelihood
            found += responsibility.sum(axis=0)
            for one, alphabet, held in zip(made, alphabets, part, strict=True):
                one += alphabet.features(held) @ responsibility
        return found, made, height / max(len(codes[0]), 1)

    def _logs(
        self, weight: Floats, totals: Sequence[Matrix], alphabets: Sequence[Alphabet]
    ) -> tuple[list[Floats], Floats]:
        """Return the log-probability (size, k) of each feature's codes in each component, and of these (k,)."""
        counts = weight + self.concentration
        logs = [
            np.log(one.table(alphabet))
            for alphabet, one in zip(alphabets, self._emissions(alphabets, totals), strict=True)
        ]
        log_share = np.log(counts / counts.sum())
        if self.method == "variational":
            log_share = digamma(counts) - digamma(counts.sum())
            for log, alphabet, one in zip(logs, alphabets, totals, strict=True):
                log += doubts(alphabet, one, prior=self.prior)[alphabet.symbol]
        return logs, log_share


def _responsibility(logs: Sequence[Floats], log_share: Floats, codes: Sequence[Codes]) -> tuple[Matrix, float]:
    """Return the probability (n, k) of each component in rows of codes (n,), and the rows' log-likelihood."""
    joint = np.tile(log_share.astype(np.float32), (len(codes[0]), 1))
    for log, held in zip(logs, codes, strict=True):
        joint += log[held]
    top = joint.max(axis=1, keepdims=True)
    responsibility = np.exp(joint - top)
    total = responsibility.sum(axis=1, keepdims=True)
    height = float((top + np.log(total)).sum())
    responsibility /= total
    return responsibility, height


def doubts(alphabet: Alphabet, totals: Matrix, *, prior: float) -> Floats:
    """Return how far (symbols, k) the expected log-probability is below the log of the expected one."""
    symbols = len(alphabet.symbol_mass)
    counts = totals[:symbols] + prior * alphabet.symbol_mass[:, None]
    whole = counts.sum(axis=0)
    made = digamma(counts) - np.log(counts) - digamma(whole) + np.log(whole)
    if alphabet.is_placed.any():
        weight = totals[symbols - 1] + prior
        half = (weight + 1) / 2
        made[-1] += 0.5 * (digamma(half) - np.log(half)) - 0.5 / weight
    return np.asarray(np.maximum(made, -50.0))


@dataclass(frozen=True, eq=False)
class MixtureSampler:
    """Grids, the components' shares, and what each component lets be seen.

    Attributes:
        book: What codes mean.
        alphabets: How the codes of each feature are told.
        share: (k,) probability of each component.
        emissions: The law of each feature in each component.
    """

    book: Codebook
    alphabets: tuple[Alphabet, ...]
    share: Floats
    emissions: tuple[Emission, ...]

    @property
    def schema(self) -> Schema:
        """The schema of the rows."""
        return self.book.schema

    @cached_property
    def tables(self) -> tuple[Matrix, ...]:
        """Probability (size, k) of each feature's codes in each component."""
        return tuple(one.table(alphabet) for one, alphabet in zip(self.emissions, self.alphabets, strict=True))

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows, by the exact law of the model given what is asked for.

        Raises:
            ConditionError: for unknown columns, and conditions that the model gives no mass.
            UnsupportedError: for conditions on integers beyond 2^53.
        """
        wanted = self.book.wanted(given, n)
        component = self._components(n, wanted, rng=rng)
        codes = []
        for feature, table in enumerate(self.tables):
            asked = wanted.get(feature)
            made = drawn_by_row(table.T if asked is None else table.T * asked.allowed, component, rng=rng)
            codes.append(made if asked is None else np.where(asked.is_fixed, asked.codes, made))
        return self.book.rows(codes, rng=rng, given=given, wanted=wanted)

    def _components(self, n: int, wanted: dict[int, Condition], *, rng: random.Generator) -> Ints:
        """Return the component (n,) of each row, drawn given what is asked of it."""
        if not wanted:
            return drawn_by_row(self.share[None, :], np.zeros(n, np.int64), rng=rng)
        log = np.tile(np.log(self.share), (n, 1))
        for feature, asked in wanted.items():
            table = self.tables[feature].astype(np.float64)
            log += np.log(np.where(asked.is_fixed[:, None], table[asked.codes], asked.allowed @ table))
        return drawn_each(np.exp(log - log.max(axis=1, keepdims=True, initial=-np.inf)), rng=rng)

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``mixture.json`` and ``mixture.safetensors``."""
        arrays: Arrays = {"share": self.share}
        for feature, (alphabet, emission) in enumerate(zip(self.alphabets, self.emissions, strict=True)):
            arrays |= emission.to_arrays(f"emission.{feature}") | {f"emission.{feature}.is_placed": alphabet.is_placed}
        self.book.save(directory, "mixture", arrays)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        book, arrays, _ = Codebook.load(directory, "mixture")
        alphabets = tuple(
            Alphabet(grid.mass, arrays[f"emission.{feature}.is_placed"]) for feature, grid in enumerate(book.grids)
        )
        emissions = tuple(Emission.from_arrays(f"emission.{feature}", arrays) for feature in range(len(book.grids)))
        return cls(book, alphabets, arrays["share"], emissions)


GENERATOR = Mixture
SAMPLER = MixtureSampler
