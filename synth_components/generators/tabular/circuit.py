"""A probabilistic circuit: hidden columns in a tree, fitted by expectation-maximisation; every conditional is exact.

Source: Davies et al. 2026, "A Sobering Look at Tabular Data Generation via Probabilistic Circuits" (arXiv:2603.23016),
    TabPC; Liu & Van den Broeck 2021, "Tractable Regularization of Probabilistic Circuits" (arXiv:2106.02264), hidden
    Chow-Liu trees; Cappe & Moulines 2009 (arXiv:0712.4273), online expectation-maximisation; Liu, Zhang & Van den
    Broeck 2022, "Scaling Up Probabilistic Circuits by Latent Variable Distillation" (arXiv:2210.04398).
Differs: parameters follow from expected counts of batches, not from gradients, so that no step size is tuned for a
    table; later batches weigh less, so that a last epoch is averaged.  Hidden states start from clusters of the rows,
    in which a column counts for less the farther it is in the tree.  A number is a code over the knots that the other
    generators keep: one of much mass is a symbol, the others follow a normal over their ranks, on top of the marginal.
    States hold ``prior`` rows' worth of the marginal, and are no more than one in ``min_state_rows`` rows, or
    privacy units where the schema names them; then one of which a unit has a larger share than one in
    ``min_category_count`` is the marginal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from synth_components.generators.tabular._circuit import (
    Alphabet,
    Circuit,
    Emission,
    Law,
    Matrix,
    Totals,
    Tree,
    clustered,
    few_states,
)
from synth_components.generators.tabular._codebook import Arrays, Codebook, Ints, drawn_by_row, stop_if_asked
from synth_components.generators.tabular._condition import Condition
from synth_components.generators.tabular._grid import Codes
from synth_components.generators.tabular._training import BatchRows, HoldoutShare
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Given, PrivacyLedger, Run
from synth_components.schema import Schema
from synth_components.split import units_of

CONDITIONED_ROWS = 2_048
"""Rows that are judged or conditioned at a time."""
FIRST_SHARE = 0.4
"""Share of the expected counts that the first batch replaces; the last one replaces its share of an epoch."""


class ProbabilisticCircuit(Recipe):
    """Draw rows from hidden columns joined in a tree; any columns given any others, exactly."""

    without_privacy: ClassVar[str] = "its expectations are counted without noise"

    states: int = Field(256, ge=1, le=4096, description="States of each hidden column: sum units of the circuit.")
    epochs: int = Field(
        6,
        ge=1,
        le=1000,
        description="Most passes over the rows; the last ones average. Far more than are needed end early, unaveraged.",
    )
    batch_rows: BatchRows = 1024
    prior: Annotated[float, SAFER_UP] = Field(
        0.1,
        gt=0,
        le=1000,
        description="Privacy knob: rows' worth of the marginal that every state holds beside its own rows. Larger "
        "blurs more.",
    )
    min_state_rows: Annotated[int, SAFER_UP] = Field(
        60,
        ge=1,
        le=1_000_000,
        description="Privacy knob: fewest training rows, or privacy units where the schema names them, per hidden "
        "state; fewer have fewer states.",
    )
    least_variance: Annotated[float, SAFER_UP] = Field(
        1e-3,
        gt=0,
        le=1,
        description="Privacy knob: smallest variance of a number within a state, its whole spread being 1.",
    )
    holdout_share: HoldoutShare = 0.1
    patience: int = Field(
        3, ge=1, le=1000, description="Epochs without a better held-out likelihood after which training ends."
    )
    named: int = Field(
        128,
        ge=1,
        le=1000,
        description="Most codes of a number that are symbols of their own; beyond, only those of more mass than one "
        "part in as many.",
    )
    bins: int = Field(15, ge=2, le=1000, description="Bins in which the information of two columns is counted.")
    knots: Knots = KNOTS
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> CircuitSampler:
        """Return the circuit of ``data``.

        Raises:
            UnsupportedError: if a column has no value with enough support.
            StoppedError: if ``run`` says so.
        """
        ledger.spend("fit tabular.circuit", not_private)
        stop_if_asked(run)
        features = encode(data)
        book = Codebook.of(features, knots=self.knots, min_count=self.min_category_count)
        codes = book.codes(features.values, rng=rng)
        alphabets = tuple(Alphabet.of(grid, named=self.named) for grid in book.grids)
        tree = Tree.of(codes, bins=self.bins)
        learnt = np.arange(len(codes[0])) if features.owners is None else features.owners
        judges = None if run.holdout is None else book.codes(encode(run.holdout).values, rng=rng)
        if judges is None and self.holdout_share:
            owners = units_of(data)
            owners = np.arange(len(codes[0])) if owners is None else owners
            is_judge = (rng.random(int(owners.max(initial=-1)) + 1) < self.holdout_share)[owners]
            if is_judge.any() and not is_judge.all():
                judges, codes = _taken(codes, np.flatnonzero(is_judge)), _taken(codes, np.flatnonzero(~is_judge))
                learnt = learnt[~is_judge]
        k = max(1, min(self.states, len(np.unique(learnt)) // self.min_state_rows))
        totals = clustered(codes, tree, alphabets, book.grids, k=k, rng=rng)
        totals = self._trained(totals, codes, judges, tree, alphabets, rng=rng, run=run)
        if features.owners is not None:
            totals = self._borne_out(totals, codes, learnt, tree, alphabets)
        return CircuitSampler(book, tree, alphabets, self._law(totals, alphabets))

    def _borne_out(
        self, totals: Totals, codes: Sequence[Codes], owners: Ints, tree: Tree, alphabets: Sequence[Alphabet]
    ) -> Totals:
        """Return the totals in which a state of few privacy units is as the marginal."""
        circuit = self._law(totals, alphabets).circuit(tree, alphabets)
        order = np.argsort(owners, kind="stable")
        rows = (order[part] for part in _parts(len(order), CONDITIONED_ROWS))
        parts = ((owners[some], circuit.posterior(_taken(codes, some))[0]) for some in rows)
        return totals.without(few_states(parts, least=self.min_category_count), tree)

    def _trained(
        self,
        totals: Totals,
        codes: Sequence[Codes],
        judges: Sequence[Codes] | None,
        tree: Tree,
        alphabets: Sequence[Alphabet],
        *,
        rng: random.Generator,
        run: Run,
    ) -> Totals:
        """Return the totals whose law has the best held-out likelihood, or the last ones without judges."""
        n = len(codes[0])
        batches = max(1, n // self.batch_rows)
        law, best = self._law(totals, alphabets), totals
        height, waited = -np.inf, 0
        for epoch in range(self.epochs):
            logs = []
            for number, rows in enumerate(np.array_split(rng.permutation(n), batches)):
                stop_if_asked(run)
                if len(rows) == 0:
                    continue
                done = (epoch * batches + number) / (self.epochs * batches)
                share = 1 / batches + (FIRST_SHARE - 1 / batches) * 0.5 * (1 + np.cos(np.pi * done))
                found, log = Totals.expected(law.circuit(tree, alphabets), _taken(codes, rows), alphabets)
                totals = totals.mixed(found.scaled(n / len(rows)), float(min(max(share, 1 / batches), 1.0)))
                law = self._law(totals, alphabets)
                logs.append(log)
            metrics = {"log_likelihood": float(np.concatenate(logs).mean())} if logs else {}
            if judges is not None and len(judges[0]):
                reached = likelihood(law.circuit(tree, alphabets), judges)
                metrics["held_out_log_likelihood"] = reached
                waited = 0 if reached > height else waited + 1
                height, best = (reached, totals) if reached > height else (height, best)
            else:
                best = totals
            if waited >= self.patience:
                break
            if epoch + 1 < self.epochs:
                run.report(epoch + 1, self.epochs, **metrics)
        run.report(self.epochs, self.epochs)
        return best

    def _law(self, totals: Totals, alphabets: Sequence[Alphabet]) -> Law:
        return Law.of(totals, alphabets, prior=self.prior, least_variance=self.least_variance)


def likelihood(circuit: Circuit, codes: Sequence[Codes]) -> float:
    """Return the mean log-likelihood (nats) of rows of codes (n,) by feature."""
    logs = [
        circuit.upward(circuit.observed(_taken(codes, rows))).log for rows in _parts(len(codes[0]), CONDITIONED_ROWS)
    ]
    return float(np.concatenate(logs).mean())


def _parts(n: int, size: int) -> Iterator[Ints]:
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n))


def _taken(codes: Sequence[Codes], rows: Ints) -> list[Codes]:
    return [held[rows] for held in codes]


@dataclass(frozen=True, eq=False)
class CircuitSampler:
    """Grids, the tree, and the law of the hidden columns and of what each lets be seen.

    Attributes:
        book: What codes mean.
        tree: Which hidden column hangs on which.
        alphabets: How the codes of each feature are told.
        law: The parameters.
    """

    book: Codebook
    tree: Tree
    alphabets: tuple[Alphabet, ...]
    law: Law

    @property
    def schema(self) -> Schema:
        """The schema of the rows."""
        return self.book.schema

    @cached_property
    def _circuit(self) -> Circuit:
        return self.law.circuit(self.tree, self.alphabets)

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows, by the exact law of the model given what is asked for.

        Raises:
            ConditionError: for unknown columns, and conditions that the model gives no mass.
            UnsupportedError: for conditions on integers beyond 2^53.
        """
        wanted = self.book.wanted(given, n)
        size = CONDITIONED_ROWS if wanted else max(n, 1)
        parts = [self._codes(rows, wanted, rng=rng) for rows in _parts(n, size)]
        width = len(self.book.grids)
        codes = [np.concatenate([np.empty(0, np.int64), *(part[f] for part in parts)]) for f in range(width)]
        return self.book.rows(codes, rng=rng, given=given, wanted=wanted)

    def _codes(self, rows: Ints, wanted: Mapping[int, Condition], *, rng: random.Generator) -> list[Ints]:
        """Return codes (n,) by feature of some of the rows that are asked for."""
        circuit = self._circuit
        evidence: list[Matrix | None] = [None] * len(self.book.grids)
        for feature, condition in wanted.items():
            table = circuit.tables[feature]
            allowed = condition.allowed.astype(np.float32) @ table
            evidence[feature] = np.where(
                condition.is_fixed[rows, None], table[condition.codes[rows]], allowed / max(allowed.max(), 1e-30)
            )
        states = circuit.states(len(rows), evidence, rng=rng)
        made = []
        for feature, (table, state) in enumerate(zip(circuit.tables, states, strict=True)):
            asked = wanted.get(feature)
            weights = table.T if asked is None else table.T * asked.allowed
            codes = drawn_by_row(weights, state, rng=rng)
            made.append(codes if asked is None else np.where(asked.is_fixed[rows], asked.codes[rows], codes))
        return made

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``circuit.json`` and ``circuit.safetensors``."""
        arrays: Arrays = {
            "tree.order": self.tree.order,
            "tree.parent": self.tree.parent,
            "root": self.law.root,
            "links": self.law.links,
        }
        for feature, (alphabet, emission) in enumerate(zip(self.alphabets, self.law.emissions, strict=True)):
            arrays[f"emission.{feature}.is_placed"] = alphabet.is_placed
            arrays |= emission.to_arrays(f"emission.{feature}")
        self.book.save(directory, "circuit", arrays)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        book, arrays, _ = Codebook.load(directory, "circuit")
        if not sorted(arrays["tree.order"].tolist()) == list(range(len(book.grids))):
            raise ArtifactError("circuit.safetensors does not fit schema.json: the model was altered; save it anew")
        alphabets = tuple(
            Alphabet(grid.mass, arrays[f"emission.{feature}.is_placed"]) for feature, grid in enumerate(book.grids)
        )
        emissions = tuple(Emission.from_arrays(f"emission.{feature}", arrays) for feature in range(len(book.grids)))
        law = Law(arrays["root"], arrays["links"], emissions)
        return cls(book, Tree(arrays["tree.order"], arrays["tree.parent"]), alphabets, law)


GENERATOR = ProbabilisticCircuit
SAMPLER = CircuitSampler
