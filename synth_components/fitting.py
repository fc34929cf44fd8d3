"""Fitting: from a table and a generator to a model; each read of rows is charged before it is made."""

from __future__ import annotations

import importlib.metadata
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from synth_components import audit
from synth_components.circumstances import circumstance
from synth_components.config import Recipe
from synth_components.constraints import Constraint, constraint_from_json
from synth_components.digest import digest
from synth_components.errors import BudgetExceededError, SchemaError, SynthError, UnsupportedError
from synth_components.generators import DEFAULT, brought, make, private_names
from synth_components.io import artifact
from synth_components.io.artifact import Manifest, Statement
from synth_components.model import Model, seed_of
from synth_components.monitor import require_monitored
from synth_components.null_indicator import modelled
from synth_components.privacy.allocation import quoted
from synth_components.privacy.budget_file import BudgetFile, Prepared, account
from synth_components.privacy.charges import unit_of
from synth_components.privacy.contribution import bounded
from synth_components.privacy.domain import private_schema
from synth_components.privacy.ledger import SETTLED, Ledger, not_private
from synth_components.privacy.mechanism import Mechanism
from synth_components.privacy.share import rehearse
from synth_components.privacy.smallest_delta import SHARE, require_below, require_small
from synth_components.privacy.unit import settle
from synth_components.protocols import Budget, Dataset, Run, Sampler
from synth_components.schema import TABLE, Key, Numeric, Schema
from synth_components.sequence_key import with_key
from synth_components.training_rows import dataset_of, require_fit, require_names, ruled, tables_of
from synth_components.warm_start import drift, folder_of, going_on, require_same, require_warm

_LOG = logging.getLogger(__name__)

DEFAULT_DELTA = 1e-6
PROFILE_SHARE = 0.1
"""Share of epsilon and delta that profiling may spend where no schema is given."""

_THEOREM = (
    "sum of Renyi curves over the ledger's entries, converted by Canonne, Kamath & Steinke 2020 (arXiv:2004.00010), "
    "Proposition 12"
)


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
    tables = tables_of(table)
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
    chosen = seed_of(seed)

    require_names(tables)
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
    data = dataset_of(tables, declared.with_constraints(rules))
    if isinstance(table, Dataset):
        data = replace(table, tables=data.tables, schema=data.schema)  # a lazy one keeps the place of its rows
    data = ruled(data, ledger)
    if limit is None:
        ledger.spend("check against the schema", not_private)
    require_fit(data, strict=limit is None)

    group = "" if limit is not None else recipe.sequence_column(data.schema)
    learnable = modelled(data if limit is None else bounded(data), group=group)
    if not learnable.schema.columns:
        raise SchemaError("every column is a key, text or an image, which are made anew: there is nothing to learn")
    if limit is not None and units is None:
        # What speaks against the fit without a look at a row is told before a count is paid for in vain.
        left = max(0.0, limit.epsilon - ledger.epsilon(limit.delta) - SHARE * limit.epsilon)
        quoted(recipe, learnable.schema, replace(limit, epsilon=left), Run() if run is None else run)
        require_small(data, limit, ledger)
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
