"""A model without data: columns, marginals, correlations and rules as a person declares them, from one file."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from synth_components.association import correlation
from synth_components.config import Config
from synth_components.constraints import Unique, is_unlearned
from synth_components.contradiction import refuse_contradictions
from synth_components.encode import encode_table
from synth_components.errors import ConstraintError, SchemaError
from synth_components.generators.tabular._family import Bernoulli
from synth_components.generators.tabular.specified import Correlation, Specified
from synth_components.io.artifact import Manifest, Statement
from synth_components.model import Model
from synth_components.null_indicator import modelled, null_indicators
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import BLOCK_ROWS, Dataset, Floats, Run, Sampler
from synth_components.schema import Schema

GENERATOR = "tabular.specified"

TOLERANCE = 0.02
"""How far a correlation among rows that obey the rules may lie from the declared one."""

_ENOUGH = 0.005
_ROUNDS = 12
_ROWS = 3 * BLOCK_ROWS  # a correlation of so many rows has a standard error of at most 1 / sqrt(49,152) = .0045


@dataclass(frozen=True)
class Specification:
    """What a table without data shall be.

    Attributes:
        schema: Columns and rules.
        recipe: Marginals, null shares and correlations; of texts and keys, too, their null shares.
    """

    schema: Schema
    recipe: Specified

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what a JSON value declares: a schema with the options of ``Specified`` beside it.

        Raises:
            SchemaError: naming the entry of the schema that cannot be read.
            ConfigError: naming the option that breaks its rule.
        """
        plain = json.loads(json.dumps(dict(value), default=_plain))
        options = {name: entry for name, entry in plain.items() if name in Specified.model_fields}
        schema = Schema.from_json({name: entry for name, entry in plain.items() if name not in options})
        return cls(schema, Specified.parse(options))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value from which ``from_json`` makes an equal specification."""
        return {**self.schema.to_json(), **self.recipe.model_dump(mode="json")}


def _plain(value: object) -> object:
    """Return a date, as YAML reads them, or a rule, family or correlation that is an object, as JSON has it."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, Config):
        return value.model_dump(mode="json")
    raise SchemaError(f"the specification holds a value of type {type(value).__name__}, which JSON does not have")


def specify(specification: Mapping[str, Any] | Specification | Schema) -> Model:
    """Return the model of a specification; its ledger is empty, as no row is read.

    Every row that it draws obeys the rules.  Where rules bend the correlations, what is asked of the sampler is moved
    until 49,152 of its own rows, with the rules enforced, show the declared ones.

    Args:
        specification: A schema's JSON value with ``marginals``, ``null_shares`` and ``correlations`` beside it, such as
            a YAML file holds; a schema alone gives uniform, independent columns.

    Raises:
        SchemaError: naming a column or a pair whose declaration contradicts the schema, or cannot hold.
        ConfigError: for an option that breaks its rule.
        ConstraintError: if rules contradict each other, would be learned from rows, or keep a correlation from what is
            declared.
    """
    stated = specification
    if isinstance(stated, Schema):
        stated = Specification(stated, Specified())
    elif not isinstance(stated, Specification):
        stated = Specification.from_json(stated)
    schema = stated.schema
    for rule in schema.constraints:
        if is_unlearned(rule):
            raise ConstraintError(
                f"constraint '{rule.name}' would be learned from rows, and there are none; declare what it allows",
                constraint=rule.name,
            )
    refuse_contradictions(schema)
    columns = {table: pd.DataFrame(columns=list(held), dtype=object) for table, held in schema.tables.items()}
    learnable = modelled(Dataset(columns, schema))
    recipe = _complete(stated)
    model = Model(
        _sampler(recipe, learnable),
        schema,
        Ledger(),
        Manifest(
            generator=GENERATOR,
            options=recipe.model_dump(mode="json"),
            library_version=importlib.metadata.version("synth-components"),
            privacy=_statement(schema),
        ),
    )
    return _calibrated(model, recipe, learnable)


def _complete(stated: Specification) -> Specified:
    """Return the recipe with the null shares of texts and keys as those of their null indicators."""
    shares = dict(stated.recipe.null_shares)
    marginals = dict(stated.recipe.marginals)
    for name, indicator in null_indicators(stated.schema).items():
        marginals[indicator] = Bernoulli(p=shares.pop(name, 0.0))
    return stated.recipe.model_copy(update={"marginals": marginals, "null_shares": shares})


def _statement(schema: Schema) -> Statement:
    """Return the promise: nothing was read, unless the schema itself was read off rows."""
    if not schema.is_public:
        return Statement()
    return Statement(epsilon=0.0, unit=f"a row of table '{schema.root}'", theorem="no row was read")


def _sampler(recipe: Specified, data: Dataset) -> Sampler:
    # Nothing is drawn from the generator: a declaration leaves nothing to chance.
    return recipe.fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run())


def _calibrated(model: Model, recipe: Specified, data: Dataset) -> Model:
    """Return the model whose rows, rules enforced, have the declared correlations.

    Source: Robbins & Monro 1951, "A stochastic approximation method".
    Differs: the rows are drawn from the same seeds in each round, so that steps need not shrink; they are divided by
        the slope that the last step showed, pair by pair.
    """
    narrow = _narrow(model.schema, [name for pair in recipe.correlations for name in pair.columns])
    if not narrow.constraints:
        return model
    declared = np.array([pair.value for pair in recipe.correlations])
    asked, best, left = declared, model, np.full(len(declared), np.inf)
    found, step, slope = declared, np.zeros(len(declared)), np.ones(len(declared))
    for _ in range(_ROUNDS):
        before, found = found, _measured(replace(model, schema=narrow), recipe.correlations)
        moved_enough = np.abs(step) > _ENOUGH
        slope = np.where(moved_enough, (found - before) / np.where(moved_enough, step, 1.0), slope).clip(0.25, 2.0)
        residual = declared - found
        if np.abs(residual).max() < np.abs(left).max():
            best, left = model, residual
        if np.abs(left).max() <= _ENOUGH:
            return best
        step = np.clip(asked + residual / slope, -1.0, 1.0) - asked
        sampler, step = _stepped(recipe, asked, step, data)
        if sampler is None:
            break
        model, asked = replace(model, sampler=sampler), asked + step
    if np.abs(left).max() <= TOLERANCE / 2:
        return best
    place = int(np.abs(left).argmax())
    worst = recipe.correlations[place]
    raise ConstraintError(
        f"the rules ({', '.join(repr(rule.name) for rule in narrow.constraints)}) keep the correlation of columns "
        f"'{worst.columns[0]}' and '{worst.columns[1]}' {abs(left[place]):.3f} from the declared {worst.value:g}; "
        "change it, or relax a rule",
        constraint=narrow.constraints[0].name,
    )


def _stepped(recipe: Specified, asked: Floats, step: Floats, data: Dataset) -> tuple[Sampler | None, Floats]:
    """Return the sampler of correlations moved by ``step``, halved until they can hold, and that step."""
    while np.abs(step).max() > _ENOUGH / 4:
        moved = tuple(
            pair.model_copy(update={"value": float(value)})
            for pair, value in zip(recipe.correlations, asked + step, strict=True)
        )
        try:
            return _sampler(recipe.model_copy(update={"correlations": moved}), data), step
        except SchemaError:  # beyond what the marginals, or the other correlations, allow
            step = step / 2
    return None, step


def _narrow(schema: Schema, names: list[str]) -> Schema:
    """Return the part of a schema that can bend what ``names`` show: rules that reach them, and their columns.

    Uniqueness is left out: whether it can hold, and what it bends, is a question of how many rows are drawn; and so are
    warned rules, which bend nothing.
    """
    kept = set(names)
    rules = [rule for rule in schema.constraints if not isinstance(rule, Unique) and rule.policy != "warn"]
    while reached := {n for rule in rules if kept & set(rule.columns) for n in rule.columns} - kept:
        kept |= reached
    columns = {name: column for name, column in schema.columns.items() if name in kept}
    return Schema({schema.root: columns}, schema.root, constraints=tuple(r for r in rules if kept & set(r.columns)))


def _measured(model: Model, pairs: tuple[Correlation, ...]) -> Floats:
    """Return the correlations (p,) among rows of a model, as ``Specified`` defines them."""
    rows, schema = model.sample(_ROWS, seed=0), model.schema
    names = list(dict.fromkeys(name for pair in pairs for name in pair.columns))
    part = Schema({schema.root: {name: schema.columns[name] for name in names}}, schema.root)
    values = encode_table(rows, part).values
    found = []
    for pair in pairs:
        held = pd.DataFrame({i: values[:, names.index(name)] for i, name in enumerate(pair.columns)}).dropna()
        held = held.rank() if pair.measure == "spearman" else held
        found.append(correlation(held[0].to_numpy(), held[1].to_numpy())[0])
    return np.array(found)
