"""What ``fit`` and ``load`` return: a sampler with its schema, rules, ledger and manifest."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy import random

from synth_components import audit
from synth_components import conditions as conditioning
from synth_components.constraints import Constraint
from synth_components.contradiction import Listing, refuse_contradictions, require_room
from synth_components.enforcement import Mask, Positions, enforce, is_by_construction
from synth_components.errors import ConditionError, SynthError, UnsupportedError
from synth_components.io import artifact
from synth_components.io.artifact import Artifact, Manifest
from synth_components.null_indicator import indicating, null_indicators, with_nulls
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import BLOCK_ROWS, Dataset, Given, Sampler
from synth_components.resampling import resample
from synth_components.schema import Image, Key, Schema, Text

DEFAULT_ROWS = 1_000


@dataclass(frozen=True)
class Privacy:
    """The promise of a model.

    Attributes:
        epsilon: Privacy loss; ``inf`` without differential privacy.
        delta: Probability with which it may be exceeded.
        unit: Whom the promise protects.
        neighbours: Which data sets it compares.
        theorem: Why it holds, ``none`` without a promise.
        holds_rows: Whether the model keeps training rows: whoever has it has them.
    """

    epsilon: float
    delta: float
    unit: str
    neighbours: str
    theorem: str
    holds_rows: bool = False


@dataclass(frozen=True)
class Model:
    """A fitted generator that draws rows with the dtypes and column order of the training table.

    Attributes:
        sampler: What the generator learned.
        schema: Columns and rules of the rows.
        ledger: Every read of the training rows.
        manifest: Where the model comes from.
    """

    sampler: Sampler
    schema: Schema
    ledger: Ledger
    manifest: Manifest

    @property
    def privacy(self) -> Privacy:
        """The promise of the model."""
        stated = self.manifest.privacy
        epsilon = math.inf if stated.epsilon is None else stated.epsilon
        held = self.manifest.holds_rows
        return Privacy(epsilon, stated.delta, stated.unit, stated.neighbours, stated.theorem, held)

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of all that the model is, by which reports name it; saved, copied or sealed, it keeps it."""
        return artifact.fingerprint(Artifact(self.sampler, self.schema, self.ledger, self.manifest))

    @cached_property
    def _listings(self) -> tuple[Listing, ...]:
        """What columns may take together.  A model does not change, so its rules are held against each other once."""
        return refuse_contradictions(self.schema)

    def __repr__(self) -> str:
        """Return the model in one line."""
        columns = len(self.schema.columns)
        held = ", HOLDS TRAINING ROWS" if self.manifest.holds_rows else ""
        return (
            f"Model(generator='{self.manifest.generator}', columns={columns}, epsilon={self.privacy.epsilon:g}{held})"
        )

    def sample(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        conditions: Mapping[str, object] | pd.DataFrame | None = None,
    ) -> Any:  # noqa: ANN401 - a DataFrame for one table, a dict of them for several
        """Return exactly ``n`` rows that obey schema, rules and conditions: a table, or tables by name.

        Args:
            n: Rows of the root table; by default one per request row, or 1000.
            seed: Equal seeds give equal rows; ``None`` gives fresh rows at each call.
            conditions: Column to a value, a list or set of values, a pair ``(low, high)`` or an ``Interval``, with
                ``None`` for null; or a table with one request row per output row, null being free.

        Raises:
            SynthError: if ``n`` is no whole number of at least 0.
            ConditionError: if the conditions do not fit the schema, or the model gives them no mass.
            ConstraintError: if a rule cannot be met.
        """
        if n is None:
            n = len(conditions) if isinstance(conditions, pd.DataFrame) else DEFAULT_ROWS
        _require_whole(n)
        given = None if conditions is None else conditioning.parse(conditions, self.schema, n)
        drawn = list(self.blocks(n, seed=seed_of(seed), given=given))
        tables = {name: _stacked([block.tables[name] for block in drawn]) for name in self.schema.tables}
        return tables[self.schema.root] if len(tables) == 1 else tables

    def blocks(
        self,
        n: int,
        *,
        seed: int,
        given: Given | None = None,
        shard_index: int = 0,
        num_shards: int = 1,
        first_block: int = 0,
    ) -> Iterator[Dataset]:
        """Yield the blocks of a shard of ``n`` rows, in order; the rows do not depend on ``num_shards``.

        Args:
            given: Checked conditions (``conditions.parse``) for all ``n`` rows.
            first_block: Number, among those of all ``n`` rows, of the block before which none is drawn.

        Raises:
            UnsupportedError: if a rule compares rows of different shards, or of blocks that are not drawn.
        """
        _require_whole(n)
        if n < 0 or not 0 <= shard_index < num_shards:
            raise SynthError(f"n ({n}) must be >= 0 and shard_index ({shard_index}) lie in [0, num_shards)")
        seed_of(seed)
        if given is not None and given.rows is not None and len(given.rows) != n:
            raise ConditionError(
                f"the conditions have {len(given.rows)} request rows and n is {n}", columns=given.columns
            )
        if len(self.schema.tables) > 1 and n > BLOCK_ROWS:
            raise UnsupportedError(f"several linked tables are drawn up to {BLOCK_ROWS} entities at a time")
        audit.record(
            "generation",
            model=self.manifest.identity,
            generator=self.manifest.generator,
            rows=n,
            seed=seed,
            conditions=[] if given is None else list(given.columns),
            shard=f"{shard_index} of {num_shards}",
        )
        require_room(self.schema, self._listings, n)
        schema, drawn = self.schema, self.sampler.schema.columns
        rules = tuple(rule for rule in schema.constraints if not is_by_construction(rule, schema, drawn=drawn))
        if (num_shards > 1 or first_block) and any(rule.spans_rows for rule in rules):
            raise UnsupportedError(
                "a rule compares rows of different shards, or rows with those left out; draw all rows, with one shard, "
                "or drop the rule"
            )
        first, end = _shard(n, shard_index, num_shards)
        return self._blocks(n, seed, given, rules, range(max(first, first_block), end))

    def _blocks(
        self, n: int, seed: int, given: Given | None, rules: tuple[Constraint, ...], numbers: range
    ) -> Iterator[Dataset]:
        spanning = list(dict.fromkeys(name for rule in rules if rule.spans_rows for name in rule.columns))
        before: pd.DataFrame | None = None
        for number in numbers:
            first = number * BLOCK_ROWS
            size = min(n - first, BLOCK_ROWS)
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
            where = np.arange(first, first + size)
            block = self._block(
                size, first, n, rng, None if given is None else conditioning.at(given, where), rules, before
            )
            if spanning:
                seen = block.table[spanning]
                before = seen if before is None else pd.concat([before, seen], ignore_index=True)
            yield block

    def _block(
        self,
        n: int,
        first: int,
        total: int,
        rng: random.Generator,
        given: Given | None,
        rules: tuple[Constraint, ...],
        before: pd.DataFrame | None,
    ) -> Dataset:
        if len(self.schema.tables) > 1:
            return replace(self.sampler.sample(n, rng=rng, given=given), schema=self.schema)
        held = self.sampler.schema.columns  # a key that tells sequences apart is among them, as numbers
        columns = self.schema.columns.items()
        anew = {name for name, column in columns if isinstance(column, Text | Image | Key) and name not in held}
        # Columns made anew join the candidates only if a rule or a condition reads them.
        asked_of = () if given is None else given.columns
        early = any(name in anew for names in (asked_of, *(rule.columns for rule in rules)) for name in names)
        numbering = getattr(self.sampler, "numbering", None)  # sequences of different blocks have different names
        sampler = self.sampler if numbering is None else numbering(first=first, end=first + n, total=total)

        def draw(positions: Positions) -> pd.DataFrame:
            asked = None if given is None else conditioning.at(given, positions)
            table = self._named(self._candidates(sampler, len(positions), rng, asked))
            return self._completed(table, first, n, rng, positions) if early else table

        def accepts(table: pd.DataFrame, positions: Positions) -> Mask:
            return (
                np.ones(len(table), dtype=bool)
                if given is None
                else conditioning.meets(table, conditioning.at(given, positions), self.schema)
            )

        fixed = None if given is None and not early else accepts
        told = getattr(self.sampler, "sequences", None)
        table = enforce(
            draw,
            rules,
            n,
            rng=rng,
            schema=self.schema,
            accepts=fixed,
            before=before,
            group="" if told is None else told.group,
            length=0 if told is None else told.length,
        )
        if not early:
            acceptance = table.attrs
            table = self._completed(table, first, n, rng, np.arange(n))
            table.attrs = acceptance
        if not rules:
            table.attrs = {}
        return Dataset({self.schema.root: table}, self.schema)

    def _named(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return drawn rows with the keys that tell their sequences apart, in the place of numbers."""
        keys = [name for name in table.columns if isinstance(self.schema.columns.get(name), Key)]
        if not keys:
            return table
        from synth_components.surrogate import keys_of

        made: dict[str, pd.Series[Any]] = {}
        for name in keys:
            column = self.schema.columns[name]
            assert isinstance(column, Key)  # noqa: S101 - as found above
            made[name] = keys_of(column, table[name].to_numpy(dtype=np.int64), name=name)
        return table.assign(**made)

    def _candidates(self, sampler: Sampler, n: int, rng: random.Generator, given: Given | None) -> pd.DataFrame:
        if given is None or not given.columns:
            return sampler.sample(n, rng=rng).table
        given = indicating(given, null_indicators(self.schema))
        try:
            return sampler.sample(n, rng=rng, given=given).table
        except UnsupportedError:
            return resample(lambda k: sampler.sample(k, rng=rng).table, given, n, schema=sampler.schema, rng=rng)

    def _completed(
        self, table: pd.DataFrame, first: int, n: int, rng: random.Generator, positions: Positions
    ) -> pd.DataFrame:
        """Return the table with its text, keys and images made anew, in the schema's column order."""
        columns: dict[str, pd.Series[Any]] = {}
        indicators = null_indicators(self.schema)
        for name, column in self.schema.columns.items():
            match column:
                case Image():
                    raise UnsupportedError(f"column '{name}' is an image, and this generator draws none")
                case Key() if name not in table.columns:
                    from synth_components.surrogate import surrogate

                    minted = surrogate(column, name=name, n=n, rng=rng, first=first)
                    columns[name] = minted.iloc[positions].reset_index(drop=True)
                case Text():
                    from synth_components.surrogate import surrogate

                    columns[name] = surrogate(column, name=name, n=len(table), rng=rng, first=first)
                case _:
                    columns[name] = table[name]
            if name in indicators:
                columns[name] = with_nulls(columns[name], table[indicators[name]])
        return pd.DataFrame(columns, columns=list(columns), index=pd.RangeIndex(len(table)))

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the model into a folder, whole or not at all: JSON and safetensors, never pickle.

        Raises:
            ArtifactError: if ``path`` holds something that is no model.
        """
        artifact.save(Artifact(self.sampler, self.schema, self.ledger, self.manifest), path, overwrite=overwrite)
        if audit.trail_here() is not None:
            identity, whole = self.manifest.identity, self.fingerprint
            audit.record("model_save", model=identity, fingerprint=whole, path=str(path))

    @classmethod
    def load(cls, path: str | Path, *, trust: tuple[str, ...] = ()) -> Self:
        """Return the model that ``save`` wrote, after checking every byte of it.

        Args:
            trust: Module paths of generators that may be imported although nobody installed them as generators.

        Raises:
            ArtifactError: if the folder is no model, damaged, incomplete, too new, or names an unknown generator.
        """
        loaded = artifact.load(path, trust=trust)
        audit.record("model_load", model=loaded.manifest.identity, fingerprint=loaded.fingerprint, path=str(path))
        made = cls(loaded.sampler, loaded.schema, loaded.ledger, loaded.manifest)
        # As it stands on disk, whatever a later version of ours would write; a changed copy finds its own.
        vars(made)["fingerprint"] = loaded.fingerprint
        return made


def load(path: str | Path, *, trust: tuple[str, ...] = ()) -> Model:
    """Return the model that ``Model.save`` wrote, after checking every byte of it.

    Args:
        trust: Module paths of generators that may be imported although nobody installed them as generators.

    Raises:
        ArtifactError: if the folder is no model, damaged, incomplete, too new, or names an unknown generator.
    """
    return Model.load(path, trust=trust)


def _shard(n: int, index: int, shards: int) -> tuple[int, int]:
    """Return the first block of a shard and the one after its last; without rows there is one empty block."""
    blocks = max(1, math.ceil(n / BLOCK_ROWS))
    return index * blocks // shards, (index + 1) * blocks // shards


def shard_rows(n: int, index: int, shards: int) -> int:
    """Return how many of ``n`` rows a shard draws: those of its blocks."""
    first, end = (min(n, block * BLOCK_ROWS) for block in _shard(n, index, shards))
    return end - first


def _require_whole(n: object) -> None:
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise SynthError(f"n, the number of rows, is a whole number, not of type {type(n).__name__}; give 1000, say")


def seed_of(seed: int | None) -> int:
    """Return a seed that is asked for, or a fresh one.

    Raises:
        SynthError: unless it is a whole number from 0 to 2^53 - 1.
    """
    if seed is None:
        return secrets.randbelow(2**53)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**53:
        raise SynthError("a seed is a whole number from 0 to 2^53 - 1")
    return int(seed)


def _stacked(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    if len(parts) == 1:
        return parts[0]
    acceptances = [part.attrs.get("acceptance") for part in parts]
    whole = pd.concat(parts, ignore_index=True)
    known = [a for a in acceptances if a]
    whole.attrs = {"acceptance": {rule: float(np.mean([a[rule] for a in known])) for rule in known[0]}} if known else {}
    return whole
