"""Ensemble: a weighted mixture of fitted generators, each row drawn by one of them.

Under a budget every member gets an equal part of epsilon and delta, and the weights must be given: finding them reads
held-out rows.  The parts are scaled until the members' charges compose to what is left (``privacy.allocation``).  They
stand in the ledger one by one, all of them before the first member reads a row.

It is no generator of sequences: whichever member draws a row, the rows before it may be another's.

Source: Smyth & Wolpert 1998, "Stacked Density Estimation" (NIPS 10), weights by held-out likelihood; Grover & Ermon
    2018, "Boosted Generative Models" (arXiv:1702.08484), densities that a classifier tells.
Differs: the likelihood is a detector's (``_stacking``).  Members are fitted again on all rows once the weights are
    found.  A model to go on from is one more member, as it is, and the weights, which are then found, tell how much of
    it still holds.  A condition changes the weights by how many of a member's own rows meet it, plus one; exact
    numbers, which no row meets, leave them as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy import random
from pydantic import Field, model_validator

from synth_components.checkpoint import Checkpoint
from synth_components.conditions import at, meets
from synth_components.config import Recipe
from synth_components.encode import encoder
from synth_components.errors import ArtifactError, ConditionError, StoppedError, UnsupportedError
from synth_components.generators.tabular._finished import weights_place
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
from synth_components.generators.tabular._stacking import mixture_weights
from synth_components.io.artifact import load as load_artifact
from synth_components.privacy.allocation import allocated
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Floats, Generator, Given, PrivacyLedger, Run, Sampler
from synth_components.schema import Schema
from synth_components.split import sides_of

LEAST_HELD_OUT = 50
"""Fewest rows of either side of the split that weights are read off; of fewer, members weigh the same."""

PILOT_ROWS = 2_000
"""Rows of each member that tell how likely it is to meet a condition."""

_MOST_REQUESTS = 512  # different ones; of more, which are numbers, none is met exactly


class Ensemble(Recipe):
    """Draw each row from one of several generators, weighted by what a detector makes of held-out rows."""

    starts_warm: ClassVar[bool] = True
    of_members: ClassVar[bool] = True

    generators: tuple[str, ...] = Field(
        ("tabular.trees", "tabular.gaussian_copula"),
        min_length=1,
        max_length=16,
        description="Names of the generators that are mixed.",
    )
    options: tuple[dict[str, Any], ...] = Field(
        (), description="Options of each, in the same order; absent ones are the generator's defaults."
    )
    weights: tuple[float, ...] = Field(
        (), description="How often each is drawn from, any positive scale; empty finds out on held-out rows."
    )
    holdout_share: float = Field(
        0.2, gt=0, lt=1, description="Share of the rows that is held out to find the weights, unless rows are given."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """Refuse options and weights that are not one per generator."""
        if len(self.options) > len(self.generators):
            raise ValueError(f"there are options for {len(self.options)} generators, and {len(self.generators)} names")
        if self.weights and (len(self.weights) != len(self.generators) or not min(self.weights) >= 0):
            raise ValueError("weights are numbers of at least 0, one per generator, or none at all")
        if self.weights and not sum(self.weights) > 0:
            raise ValueError("one weight at least must be above 0")
        return self

    def members_without_privacy(self) -> str:
        """Return why a fit with these options is not differentially private, if that is for its members."""
        if not self.weights:
            return "weights that nobody gave are found on rows that are read without noise"
        return without_privacy(self.generators, self.options)

    def doubts(self, schema: Schema, rows: int) -> tuple[str, ...]:
        """Return what speaks against a fit of a member on that many rows."""
        return doubts_of(self.generators, self.options, schema, rows)

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> EnsembleSampler:
        """Return the mixture of the members, fitted on all rows of ``data``.

        Raises:
            BudgetExceededError: under a budget, if a member keeps none, or no weights are given.
            UnitError: if the ledger is of another privacy unit.
            StoppedError: if ``run`` says so.
        """
        recipes = members_of(self.generators, self.options)
        if run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        if ledger.remaining() is None or not self.weights:
            # Under a budget this raises: weights are found on rows that are read without noise.
            ledger.spend("fit tabular.ensemble", not_private)
        weights, done, parts = self.weights, 0, len(recipes)
        old: tuple[Sampler, ...] = ()
        names = self.generators
        if run.warm_start is not None:
            before = load_artifact(run.warm_start)
            old, names = (before.sampler,), (*names, before.manifest.generator)
            if weights:
                raise UnsupportedError("going on from a model, tabular.ensemble finds the weights; give none")
        if not weights:
            apart = _held_out(data, run, self.holdout_share, rng=rng)
            weights = (1.0,) * len(names)
            if apart is not None:
                learnt, held_out = apart
                again = 0 if run.holdout is not None else len(recipes)
                parts += again
                members = _fitted(recipes, learnt, [ledger] * len(recipes), rng=rng, run=run, done=0, parts=parts)
                is_kept = again > 0 and run.warm_start is None
                place = weights_place(self, data, rng=rng, run=run) if is_kept else None
                weights = tuple(_weights_once(place, [*members, *old], held_out, rng=rng).tolist())
                if not again:
                    return _sampler(data.schema, [*members, *old], names, weights)
                done = len(recipes)
        fits = [(recipe, data.schema) for recipe in recipes]
        purses = allocated(ledger, fits, [1 / len(recipes)] * len(recipes), unit=data.schema.unit, run=run)
        members = _fitted(recipes, data, purses, rng=rng, run=run, done=done, parts=parts)
        return _sampler(data.schema, [*members, *old], names, weights)


def _sampler(
    schema: Schema, members: Sequence[Sampler], names: Sequence[str], weights: Sequence[float]
) -> EnsembleSampler:
    return EnsembleSampler(schema, tuple(members), tuple(names), np.array(weights) / sum(weights))


def _weights_once(
    place: Checkpoint | None, members: Sequence[Sampler], held_out: Dataset, *, rng: random.Generator
) -> Floats:
    """Return the weights of the members: those in the checkpoint, if they were found before a stop."""
    found = None if place is None else place.load()
    if found is not None:
        rng.bit_generator.state = found[1]["stream"]
        return np.asarray(found[0]["weights"])
    weights = mixture_weights(members, held_out, rng=rng)
    if place is not None:
        place.save({"weights": weights}, {"stream": rng.bit_generator.state})
    return weights


def _held_out(data: Dataset, run: Run, share: float, *, rng: random.Generator) -> tuple[Dataset, Dataset] | None:
    """Return rows to learn from and rows to find the weights on; ``None`` where there are too few."""
    if run.holdout is not None:
        return (data, run.holdout) if len(run.holdout.table) >= LEAST_HELD_OUT else None
    if share * len(data.table) < LEAST_HELD_OUT:
        return None
    return sides_of(data, share=share, rng=rng, least=LEAST_HELD_OUT)


def _fitted(
    recipes: Sequence[Generator],
    data: Dataset,
    ledgers: Sequence[PrivacyLedger],
    *,
    rng: random.Generator,
    run: Run,
    done: int,
    parts: int,
) -> list[Sampler]:
    return [
        fit_member(recipe, data, rng=rng, ledger=ledger, run=run, part=done + place, parts=parts)
        for place, (recipe, ledger) in enumerate(zip(recipes, ledgers, strict=True))
    ]


@dataclass(frozen=True, eq=False)
class EnsembleSampler:
    """Members and their weights.

    Attributes:
        schema: The schema of the rows.
        members: The fitted generators.
        names: Their names.
        weights: (k,) how often each is drawn from; they sum to 1.
    """

    schema: Schema
    members: tuple[Sampler, ...]
    names: tuple[str, ...]
    weights: Floats

    @property
    def holds_rows(self) -> bool:
        """Whether a member keeps training rows."""
        return holds_rows(self.members)

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows, each of one member; a member that cannot condition is resampled.

        Raises:
            ConditionError: for unknown columns, and conditions that no member gives mass.
        """
        if given is None or not given.columns:
            chances = np.tile(self.weights, (n, 1))
        else:
            _require_known(given, self.schema)
            chances = self._given(given, n)
        which = (np.cumsum(chances, axis=1)[:, :-1] < rng.random((n, 1))).sum(axis=1)  # (n,)
        tables: list[pd.DataFrame] = []
        places: list[np.ndarray[Any, Any]] = []
        for member in range(len(self.members)):
            rows = np.flatnonzero(which == member)
            if len(rows) or (member == 0 and n == 0):
                tables.append(self._of(member, rows, chances, rng=rng, given=given))
                places.append(rows)
        order = np.argsort(np.concatenate(places), kind="stable")
        whole = tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True).iloc[order]
        return Dataset({self.schema.root: whole.reset_index(drop=True)}, self.schema)

    def _of(
        self,
        member: int,
        rows: np.ndarray[Any, Any],
        chances: Floats,
        *,
        rng: random.Generator,
        given: Given | None,
    ) -> pd.DataFrame:
        """Return the rows of a member, or of the likeliest other one where it gives the conditions no mass."""
        asked = None if given is None else at(given, rows)
        order = np.argsort(-chances[rows].mean(axis=0) if len(rows) else -self.weights, kind="stable")
        for tried in (member, *(int(other) for other in order if other != member)):
            try:
                return drawn(self.members[tried], len(rows), rng=rng, given=asked).table
            except ConditionError as error:
                refused = error
        raise refused

    def _given(self, given: Given, n: int) -> Floats:
        """Return the weights (n, k) of each row, given what is asked of it."""
        met = np.stack([_met(table, given, n, schema=self.schema) for table in self._pilots], axis=1)
        made = self.weights * (met + 1)
        return np.asarray(made / made.sum(axis=1, keepdims=True))

    @cached_property
    def _pilots(self) -> tuple[pd.DataFrame, ...]:
        """Some rows of each member: the same ones whenever they are asked for."""
        return tuple(member.sample(PILOT_ROWS, rng=np.random.default_rng(0)).table for member in self.members)

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``ensemble.json``, ``members.json`` and a folder per member."""
        (directory / "schema.json").write_text(self.schema.canonical(), encoding="utf-8")
        (directory / "ensemble.json").write_text(json.dumps({"weights": self.weights.tolist()}), encoding="utf-8")
        save_members(self.members, self.names, directory)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote.

        Raises:
            ArtifactError: if the weights do not fit the members.
        """
        schema = Schema.from_json(json.loads((directory / "schema.json").read_text(encoding="utf-8")))
        names, members = load_members(directory)
        plan: Mapping[str, Any] = json.loads((directory / "ensemble.json").read_text(encoding="utf-8"))
        weights = np.array(plan["weights"], dtype=np.float64)
        if weights.shape != (len(members),) or not (weights >= 0).all() or not np.isclose(weights.sum(), 1):
            raise ArtifactError("ensemble.json does not fit its members: the model was altered; save it anew")
        return cls(schema, members, names, weights)


def _require_known(given: Given, schema: Schema) -> None:
    unknown = tuple(name for name in given.columns if name not in schema.columns)
    if unknown:
        raise ConditionError(f"conditions name a column '{unknown[0]}' that the model does not have", columns=unknown)


def _met(table: pd.DataFrame, given: Given, n: int, *, schema: Schema) -> Floats:
    """Return how many rows of a table meet what each of ``n`` rows is asked for (n,)."""
    held = table[meets(table, Given(None, given.allowed), schema)]
    if given.rows is None or not len(given.rows.columns):
        return np.full(n, float(len(held)))
    names = [str(name) for name in given.rows.columns]
    asked = np.hstack([encoder(schema.columns[name], name).encode(given.rows[name]) for name in names])
    have = np.hstack([encoder(schema.columns[name], name).encode(held[name]) for name in names])
    distinct, which = np.unique(asked, axis=0, return_inverse=True, equal_nan=True)
    counts = np.zeros(len(distinct))
    if len(distinct) <= _MOST_REQUESTS:
        for place, request in enumerate(distinct):
            counts[place] = float((np.isnan(request) | (have == request)).all(axis=1).sum())
    return counts[which.ravel()]


GENERATOR = Ensemble
SAMPLER = EnsembleSampler
