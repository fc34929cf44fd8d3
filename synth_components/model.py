"""What ``fit`` and ``load`` return: a sampler with its schema, rules, ledger and manifest."""

from __future__ import annotations

import importlib.metadata
import logging
import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import pandas as pd
from numpy import random

from synth_components import audit
from synth_components import conditions as conditioning
from synth_components.circumstances import circumstance
from synth_components.config import Recipe
from synth_components.constraints import Constraint, check, constraint_from_json, is_unlearned
from synth_components.contradiction import Listing, refuse_contradictions, require_room
from synth_components.digest import digest
from synth_components.enforcement import Mask, Positions, enforce, is_by_construction, learned
from synth_components.errors import (
    BudgetExceededError,
    ConditionError,
    ConstraintError,
    SchemaError,
    SynthError,
    UnsupportedError,
)
from synth_components.generators import DEFAULT, brought, make, private_names
from synth_components.io import artifact
from synth_components.io.artifact import Artifact, Manifest, Statement
from synth_components.monitor import require_monitored
from synth_components.null_indicator import indicating, modelled, null_indicators, with_nulls
from synth_components.privacy.budget_file import BudgetFile, Prepared, account
from synth_components.privacy.charges import unit_of
from synth_components.privacy.contribution import bounded
from synth_components.privacy.domain import private_schema
from synth_components.privacy.ledger import SETTLED, Ledger, not_private
from synth_components.privacy.mechanism import Mechanism
from synth_components.privacy.share import rehearse
from synth_components.privacy.smallest_delta import require_below, require_small
from synth_components.privacy.unit import settle
from synth_components.protocols import BLOCK_ROWS, Budget, Dataset, Given, Run, Sampler
from synth_components.resampling import resample
from synth_components.schema import (
    TABLE,
    AnyColumn,
    Boolean,
    Categorical,
    Image,
    Key,
    Numeric,
    Schema,
    Text,
    outside_of,
    same_dtype,
    violations,
)
from synth_components.sequence_key import with_key
from synth_components.split import units_of
from synth_components.warm_start import drift, folder_of, going_on, require_same, require_warm

_LOG = logging.getLogger(__name__)

DEFAULT_ROWS = 1_000
DEFAULT_DELTA = 1e-6
PROFILE_SHARE = 0.1
"""Share of epsilon and delta that profiling may spend where no schema is given."""

_THEOREM = (
    "sum of Renyi curves over the ledger's entries, converted by Canonne, Kamath & Steinke 2020 (arXiv:2004.00010), "
    "Proposition 12"
)


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
        drawn = list(self.blocks(n, seed=_seed(seed), given=given))
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
        _seed(seed)
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


def fit(
    table: pd.DataFrame | Dataset | Mapping[str, pd.DataFrame],
    *,
    generator: str | Recipe = DEFAULT,
    seed: int | None = None,
    epsilon: float | None = None,
    delta: float | None = None,
    schema: Schema | Mapping[str, Any] | None = None,
    constraints: Sequence[Constraint | Mapping[str, Any]] = (),
    options: Mapping[str, object] | None = None,
    run: Run | None = None,
    trust: tuple[str, ...] = (),
    units: int | None = None,
    start: Model | str | Path | None = None,
    budget: str | Path | BudgetFile | Prepared | None = None,
    profile_mechanism: Mechanism = "laplace",
) -> Model:
    """Return a model of a table, or of linked tables by name; the caller's frames are not changed.

    Args:
        table: Training rows.  A ``Dataset`` brings its schema.
        generator: A generator's name (``synth.generators()`` lists them) or a recipe.
        seed: Equal seeds give equal models; ``None`` draws a fresh one, which the manifest records.  Not with epsilon:
            a known seed voids differential privacy.
        epsilon: Privacy budget; ``None`` for no differential privacy.
        delta: Probability with which epsilon may be exceeded; 1e-6 unless given.
        schema: Columns, as declared by a person.  Without one they are read off the rows, under a budget with 10 % of
            it.  Rows outside a declared column are an error; outside a profiled one they are clipped.
        constraints: Rules that every sampled row must obey, as objects or JSON values; added to those of the schema.
        options: Options of a generator that is given by name.
        run: Device, progress, early end.
        trust: Module paths of generators that may be imported although nobody installed them as generators.
        start: A model, or its folder, to go on from: its schema is taken, and what the rows hold beside it is told in
            the log and the manifest.  Not with epsilon.
        units: Number of privacy units (rows, say), if it is public knowledge; delta must be below 1 over it.  Under a
            delta, 1 % of epsilon goes into counting them where it is not given.
        budget: The budget file that all work on these rows shares; by default that of SYNTH_BUDGET_FILE, if any.  It
            is of one privacy unit, which the schema must declare.
        profile_mechanism: Noise on the statistics that a schema is read off, where epsilon is given and no schema:
            ``laplace``, or ``gaussian``, which needs delta and finds more in wide tables.

    Raises:
        SynthError: if an argument is of another type, or two exclude each other.
        SchemaError: if the table does not fit its schema.
        BudgetExceededError: if the generator would spend more than epsilon, or than the budget file has left; no row
            was read.
        UnitError: if the budget file is of another privacy unit; no row was read.
        GuardError: if the privacy policy does not allow the fit; no row was read, or without a schema and of what only
            a schema tells, by the profile alone.
        DeltaError: if delta is 1 over the number of privacy units or more.
        ConstraintError: if the rules contradict each other or no training row obeys one.
    """
    if start is not None:
        with folder_of(start) as folder:
            began = Run(warm_start=folder) if run is None else replace(run, warm_start=folder)
            return fit(
                table,
                generator=generator,
                seed=seed,
                epsilon=epsilon,
                delta=delta,
                schema=artifact.load(folder, trust=trust).schema if schema is None else schema,
                constraints=constraints,
                options=options,
                run=began,
                trust=trust,
                units=units,
                budget=budget,
                profile_mechanism=profile_mechanism,
            )
    tables = _tables(table)
    _require_types(generator, schema, constraints, options, epsilon, delta)
    if epsilon is not None and seed is not None:
        raise SynthError("a seed and epsilon exclude each other: whoever knows the seed can undo the noise; drop one")
    if delta is not None and epsilon is None:
        raise SynthError("delta means nothing without epsilon; give both, or neither")
    if epsilon is not None and not (0 < epsilon < math.inf and 0 <= (delta or 0.0) < 1):
        raise SynthError("epsilon must be a finite number above 0, and delta lie in [0, 1)")
    _require_profiled(profile_mechanism, epsilon, is_declared=schema is not None or isinstance(table, Dataset))
    if epsilon is not None and run is not None and run.warm_start is not None:
        raise UnsupportedError("going on from a model is not covered by epsilon: what that one learned is in this one")
    if epsilon is not None and run is not None and (run.monitor is not None or run.holdout is not None):
        raise UnsupportedError("a monitor and held-out rows are read without noise, which epsilon does not allow")
    if isinstance(generator, Recipe) and options:
        raise SynthError("a recipe already holds its options; give either a recipe, or a name with options")
    recipe: Any = generator if isinstance(generator, Recipe) else make(generator, dict(options or {}), trust=trust)
    name = generator if isinstance(generator, str) else _name_of(generator)
    if run is not None and run.monitor is not None:
        require_monitored(recipe, name)
    before = None if run is None or run.warm_start is None else _before(run.warm_start, recipe, name, trust)
    if before is not None:
        recipe = going_on(recipe, before.manifest)
    rules = tuple(constraint_from_json(rule) if isinstance(rule, Mapping) else rule for rule in constraints)
    limit = None if epsilon is None else Budget(epsilon, DEFAULT_DELTA if delta is None else delta)
    if limit is not None:
        require_private(recipe, name, limit)
    if schema is None and isinstance(table, Dataset):
        schema = table.schema
    _admit(limit, schema, tables, label=f"fit {name}")
    # Of several processes that fit one model together the first one pays; a rank alone does not make them several.
    is_other = run is not None and 0 < run.rank < run.world_size and getattr(recipe, "trains_together", False)
    shared = None if is_other else account(budget)
    # What was charged to the ledger of prepared rows, that one tells.
    ledger = Ledger(limit, account=SETTLED if is_other else shared, is_told=not isinstance(shared, Prepared))
    chosen = _seed(seed)

    _require_names(tables)
    known = None if schema is None else schema if isinstance(schema, Schema) else Schema.from_json(schema)
    if limit is not None:
        settle(ledger, None if known is None else known.unit)
    if shared is not None:
        shared.require_data(table)
        shared.require_room(limit, label=f"fit {name}")
        units = shared.public_units() if units is None else units
    if limit is not None and units is not None:
        require_below(limit.delta, units)
    profile_epsilon = 0.0
    if known is None:
        if limit is not None:
            rehearse(recipe, limit)
        declared = _profiled(tables, ledger, profile_mechanism)
        _admit_profiled(declared, label=f"fit {name}")
        profile_epsilon = 0.0 if limit is None else ledger.epsilon(limit.delta)
    else:
        declared = known
        _require_public(declared, limit)
    if limit is None:  # sequences are not learnt under a budget
        declared = with_key(declared, recipe)
    data = _dataset(tables, declared.with_constraints(rules))
    if isinstance(table, Dataset):
        data = replace(table, tables=data.tables, schema=data.schema)  # a lazy one keeps the place of its rows
    data = _ruled(data, ledger)
    if limit is None:
        ledger.spend("check against the schema", not_private)
    _require_fit(data, strict=limit is None)

    if limit is not None and units is None:
        require_small(data, limit, ledger)
    group = "" if limit is not None else recipe.sequence_column(data.schema)
    learnable = modelled(data if limit is None else bounded(data), group=group)
    if not learnable.schema.columns:
        raise SchemaError("every column is a key, text or an image, which are made anew: there is nothing to learn")
    began_with = {} if before is None else _began_with(before, data)
    rng = np.random.default_rng(chosen if limit is None else None)
    run = Run() if run is None else run
    if run.holdout is not None and isinstance(data.schema.columns.get(group), Key):
        beside = replace(run.holdout, schema=with_key(run.holdout.schema, recipe))
        run = replace(run, holdout=modelled(beside, group=group))
    doubts = _doubts(recipe, data) if limit is None and before is None else ()
    sampler = recipe.fit(learnable, rng=rng, ledger=ledger, run=run)
    manifest = Manifest(
        generator=name,
        options=recipe.model_dump(mode="json"),
        library_version=importlib.metadata.version("synth-components"),
        seed=None if limit else chosen,
        # The exact number of rows and their digest would tell whether one person is among them.
        rows=None if limit else data.num_rows(data.schema.root),
        data_digest=None if limit else digest({t: data.batches(t) for t in data.schema.tables}),
        privacy=_statement(ledger, data.schema, profile_epsilon),
        holds_rows=bool(getattr(sampler, "holds_rows", False)),
        choice=_choice(sampler, doubts),
        start=began_with,
    )
    audit.record("fit", generator=name, model=manifest.identity, columns=len(data.schema.columns))
    return Model(sampler, _with_room(data.schema, sampler), ledger, manifest)


def _doubts(recipe: Any, data: Dataset) -> tuple[str, ...]:  # noqa: ANN401 - a recipe, or what others brought as one
    """Return what speaks against a fit, and say it in the log before the fit begins."""
    if not isinstance(recipe, Recipe):
        return ()
    found = recipe.doubts(data.schema, data.num_rows(data.schema.root))
    for sentence in found:
        _LOG.warning("%s", sentence)
    return found


def _choice(sampler: Sampler, doubts: tuple[str, ...]) -> dict[str, Any]:
    """Return what the manifest says of the choice of the generator: the sampler's own, and what speaks against it."""
    made = dict(getattr(sampler, "choice", {}))
    told = [f"The fit was warned: {sentence}." for sentence in doubts]
    return {**made, "told": [*made.get("told", ()), *told]} if told else made


def _with_room(schema: Schema, sampler: Sampler) -> Schema:
    """Return the schema with the bounds of what numbers sequences, where the sampler opened those of a profile."""
    told: Any = getattr(sampler, "sequences", None)
    name = "" if told is None else told.group
    held, opened = schema.columns.get(name), sampler.schema.columns.get(name)
    if not isinstance(held, Numeric) or not isinstance(opened, Numeric) or held.public:
        return schema
    column = replace(held, high=opened.high)
    return replace(schema, tables={**schema.tables, schema.root: {**schema.columns, name: column}})


def _before(folder: Path, recipe: Recipe, name: str, trust: tuple[str, ...]) -> artifact.Artifact:
    """Return the model to go on from."""
    require_warm(recipe, name)
    before = artifact.load(folder, trust=trust)
    if name != "tabular.ensemble" and before.manifest.generator != name:
        raise UnsupportedError(f"{name} goes on from its own models, and this one is of {before.manifest.generator}")
    return before


def _began_with(before: artifact.Artifact, data: Dataset) -> dict[str, Any]:
    """Return what the manifest says of the model to go on from."""
    require_same(before.schema, _with_room(data.schema, before.sampler))
    found = drift(data.schema, data.tables)
    for sentence in found:
        _LOG.warning("drift: %s", sentence)
    return {"generator": before.manifest.generator, "model": before.manifest.identity, "drift": list(found)}


def _admit(
    limit: Budget | None,
    schema: Schema | Mapping[str, Any] | None,
    tables: Mapping[str, pd.DataFrame],
    *,
    label: str,
) -> None:
    """Hold the privacy policy, if one is named, against a fit, before rows are read."""
    if not circumstance("policy"):
        return
    from synth_components.policy import guard

    known = Schema.from_json(schema) if isinstance(schema, Mapping) else schema
    names = [column for one in tables.values() for column in one.columns]
    guard.admit(limit, known, label=label, columns=names)


def _admit_profiled(schema: Schema, *, label: str) -> None:
    """Hold the rest of it against what the rows were profiled as."""
    if not circumstance("policy"):
        return
    from synth_components.policy import guard

    guard.admit_profiled(schema, label=label)


def _tables(table: pd.DataFrame | Dataset | Mapping[str, pd.DataFrame]) -> Mapping[str, pd.DataFrame]:
    """Return the tables by name."""
    if isinstance(table, pd.DataFrame):
        return {TABLE: table}
    if isinstance(table, Dataset):
        return table.tables
    if isinstance(table, Mapping) and all(isinstance(one, pd.DataFrame) for one in table.values()):
        return table
    kind = f"a {type(table).__name__} of other things" if isinstance(table, Mapping) else type(table).__name__
    raise SynthError(
        f"fit learns from a DataFrame, a Dataset, or DataFrames by name, not from {kind}; read a file first, and put "
        "rows into a pandas.DataFrame"
    )


def require_private(recipe: Recipe, name: str, limit: Budget) -> None:
    """Raise if a generator says that, of itself or a member, no such fit is differentially private.

    Raises:
        BudgetExceededError: with the reason, and the generators that may be.
    """
    if reason := recipe.without_privacy or recipe.members_without_privacy():
        raise BudgetExceededError(
            f"{name} offers no differential privacy: {reason}; nothing was read. With epsilon use one "
            f"of {', '.join(private_names())}",
            requested=math.inf,
            available=limit.epsilon,
            remaining=limit.epsilon,
        )


def _require_types(
    generator: object, schema: object, constraints: object, options: object, epsilon: object, delta: object
) -> None:
    """Raise for an argument of ``fit`` that is of another type, saying what to give."""
    asked = (
        ("generator", generator, str | Recipe, "a generator's name or a recipe"),
        ("schema", schema, Schema | Mapping | None, "a Schema or its JSON value"),
        ("options", options, Mapping | None, "a mapping of a generator's options"),
        ("epsilon", epsilon, int | float | np.number | None, "a number"),
        ("delta", delta, int | float | np.number | None, "a number"),
    )
    for name, given, kind, what in asked:
        if not isinstance(given, kind):
            raise SynthError(f"{name} must be {what}, not of type {type(given).__name__}")
    rules: Sequence[object] = constraints if isinstance(constraints, list | tuple) else (None,)
    if not all(isinstance(rule, Mapping) or hasattr(rule, "allows") for rule in rules):
        raise SynthError("constraints must be a list of rules, each an object of synth_components.constraints or JSON")


def _name_of(recipe: Recipe) -> str:
    """Return the name under which a recipe's generator is found again: ours, an entry point's, or its module."""
    module = type(recipe).__module__
    for point in brought():
        if point.module == module:
            return point.name
    return module.removeprefix("synth_components.generators.")


def _require_names(tables: Mapping[str, pd.DataFrame]) -> None:
    """Raise unless every table has distinct, non-empty text names and at least one column and one row."""
    if not tables:
        raise SchemaError("there is no table to learn from")
    for name, table in tables.items():
        columns = list(table.columns)
        if not all(isinstance(column, str) for column in columns):
            raise SchemaError(f"table '{name}' has column names that are not text; rename them", table=name)
        if any(not column.strip() for column in columns):
            raise SchemaError(f"table '{name}' has a column without a name; rename it", table=name)
        if not table.columns.is_unique:
            twice = str(table.columns[table.columns.duplicated()][0])
            raise SchemaError(f"table '{name}' has two columns named '{twice}'; rename one", column=twice, table=name)
        if not columns or not len(table):
            raise SchemaError(
                f"table '{name}' has {len(columns)} columns and {len(table)} rows; give at least one each"
            )


def _require_profiled(mechanism: object, epsilon: float | None, *, is_declared: bool) -> None:
    """Raise for a mechanism that there is not, or that nothing would use."""
    if mechanism not in get_args(Mechanism):
        raise SynthError(f"profile_mechanism must be one of {', '.join(get_args(Mechanism))}")
    if mechanism != "laplace" and (epsilon is None or is_declared):
        raise SynthError(
            "profile_mechanism is the noise that a schema is read off with: it means nothing without epsilon, or with "
            "a declared schema; leave it out"
        )


def _profiled(tables: Mapping[str, pd.DataFrame], ledger: Ledger, mechanism: Mechanism) -> Schema:
    """Return the schema read off the rows, under a budget with ``PROFILE_SHARE`` of it."""
    from synth_components.profile import ProfileConfig, profile

    single: Any = tables[TABLE] if list(tables) == [TABLE] else tables
    config = ProfileConfig(describe=False)
    if ledger.budget is None:
        found = profile(single, config=config, ledger=ledger)
        for finding in found.warnings:
            if finding.kind in {"identifier", "free_text"}:
                _LOG.warning("%s", finding.message)
        return found.schema
    if list(tables) != [TABLE]:
        raise UnsupportedError("several linked tables have no private profile yet; declare their schema")
    _LOG.warning(
        "no schema was declared: %.0f %% of epsilon and delta go into finding bounds and categories; a declared public "
        "schema saves them",
        100 * PROFILE_SHARE,
    )
    share = Budget(PROFILE_SHARE * ledger.budget.epsilon, PROFILE_SHARE * ledger.budget.delta)
    return private_schema(tables[TABLE], share, ledger, mechanism=mechanism)


def _require_public(schema: Schema, budget: Budget | None) -> None:
    """Raise if a budget is to protect rows from which the schema was read without one."""
    if budget is None or schema.is_public:
        return
    column = next(n for columns in schema.tables.values() for n, c in columns.items() if not c.public)
    raise SchemaError(
        f"column '{column}' of the schema was read off the rows, which epsilon does not cover; declare its values and "
        "mark it public, or give no schema",
        column=column,
    )


def _dataset(tables: Mapping[str, pd.DataFrame], schema: Schema) -> Dataset:
    """Return tables and schema together; a schema takes the column order of its tables."""
    if list(tables) == [TABLE] and len(schema.tables) == 1:
        tables = {schema.root: tables[TABLE]}
    if set(tables) != set(schema.tables):
        raise SchemaError(f"the tables are {sorted(tables)}, and the schema declares {sorted(schema.tables)}")
    ordered: dict[str, dict[str, AnyColumn]] = {}
    for name, columns in schema.tables.items():
        missing = [c for c in columns if c not in tables[name].columns]
        extra = [c for c in tables[name].columns if c not in columns]
        if missing or extra:
            raise SchemaError(
                f"table '{name}' does not have the columns of its schema: missing {missing}, unexpected {extra}",
                column=(missing + extra)[0],
                table=name,
            )
        ordered[name] = {c: _typed(columns[c], str(tables[name][c].dtype)) for c in tables[name].columns}
    return Dataset(dict(tables), replace(schema, tables=ordered))


def _typed(column: AnyColumn, dtype: str) -> AnyColumn:
    """Return the column with the text dtype of its table: a schema means both by either, ``object`` and ``str``."""
    return replace(column, dtype=dtype) if {column.dtype, dtype} == {"object", "str"} else column


def _ruled(data: Dataset, ledger: Ledger) -> Dataset:
    """Return the data with its rules complete: checked against each other, and learned where they are to be."""
    schema = data.schema
    if not schema.constraints:
        return data
    if len(schema.tables) > 1:
        raise UnsupportedError("rules are enforced on a single table; several linked tables take none yet")
    refuse_contradictions(schema)
    unlearned = [rule for rule in schema.constraints if is_unlearned(rule)]
    if ledger.budget is not None:
        if unlearned:
            raise UnsupportedError(
                f"constraint '{unlearned[0].name}' would read the rows; under a budget declare its mapping"
            )
        return data
    ledger.spend("check and learn constraints", not_private)
    columns = list(dict.fromkeys(name for rule in schema.constraints for name in rule.columns))
    rows = pd.concat([batch[columns] for batch in data.batches(schema.root)], ignore_index=True)
    rules = learned(schema.constraints, rows, owners=units_of(data) if unlearned else None)
    for rule, share in check(rows, rules).items():
        if share == 0:
            raise ConstraintError(
                f"constraint '{rule}' is obeyed by none of {len(rows)} training rows; mend the rule or the rows",
                constraint=rule,
                acceptance=0.0,
            )
        if share < 1:
            _LOG.warning("constraint '%s' is obeyed by %.2f %% of the training rows", rule, 100 * share)
    schema = replace(schema, constraints=rules)
    refuse_contradictions(schema)
    return replace(data, schema=schema)


def _require_fit(data: Dataset, *, strict: bool) -> None:
    """Raise unless the rows fit the schema: types always; nulls and declared values unless a budget forbids to look.

    Rows outside a profiled column are advisory, unless all are: text that should be truth values, say.
    """
    for table, columns in data.schema.tables.items():
        fits: dict[str, bool] = {}  # whether a value of the column is inside
        for batch in data.batches(table):
            for name, column in columns.items():
                values = batch[name]
                if not same_dtype(values, column.dtype):
                    raise SchemaError(
                        f"column '{name}' of table '{table}' has dtype {values.dtype}, not {column.dtype}; cast it, or "
                        "change the schema",
                        column=name,
                        table=table,
                    )
                if strict and column.public:
                    violations(values, column, table=table)
                elif strict and not column.nullable and bool(values.isna().any()):
                    raise SchemaError(
                        f"column '{name}' of table '{table}' has {int(values.isna().sum())} missing values and is not "
                        "nullable; fill them, or declare it nullable",
                        column=name,
                        table=table,
                    )
                if strict and isinstance(column, Boolean | Categorical) and not fits.get(name):
                    present = values[values.notna()]
                    if len(present):
                        fits[name] = not outside_of(present, column)[0].all()
        for name in (name for name, is_fit in fits.items() if not is_fit):
            raise SchemaError(
                f"column '{name}' of table '{table}' has values, and none that its schema lists; give it the schema's "
                "type of value, or declare its values",
                column=name,
                table=table,
            )


def _statement(ledger: Ledger, schema: Schema, profile_epsilon: float) -> Statement:
    who = unit_of(schema)
    if ledger.budget is None:
        return Statement(unit=who)
    return Statement(
        epsilon=ledger.epsilon(ledger.budget.delta),
        delta=ledger.budget.delta,
        unit=who,
        theorem=_THEOREM,
        profile_epsilon=profile_epsilon,
    )


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


def _seed(seed: int | None) -> int:
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
