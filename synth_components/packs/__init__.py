"""Rule packs: what tables of one domain obey, as data, with small metrics, a policy, a demo table and its broken twin.

A pack is a file of YAML or JSON (`health.yaml`) and a module of the same name (`health.py`): the file holds columns,
rules, thresholds of the metrics, the policy and the breaches that make the broken twin; the module holds the metrics
and the maker of the demo table.  An installed package brings one by an entry point of the group
``synth_components.packs`` that names a ``Pack``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy import random
from pydantic import Field

from synth_components.config import Config, ConfigError
from synth_components.constraints import Constraint, constraints_from_file
from synth_components.constraints.rule import Mask, assigned, nulled
from synth_components.errors import UnsupportedError
from synth_components.expression import formula
from synth_components.steps.map_file import read_map

GROUP = "synth_components.packs"
"""Entry-point group of installed packages that bring packs."""

Measure: TypeAlias = Callable[[pd.DataFrame], float | None]
"""A number of a table with the pack's columns; ``None`` where too few rows say anything of it."""


class MetricEntry(Config):
    """A metric in a pack's file."""

    name: str = Field(min_length=1, description="Name of the function that measures it.")
    columns: tuple[str, ...] = Field(min_length=1, description="Columns that it reads.")
    description: str = Field(min_length=1, description="What the number is.")
    least: float | None = Field(None, description="Smallest value that passes.")
    most: float | None = Field(None, description="Largest value that passes, if there is no smallest.")


class BreachEntry(Config):
    """A planted breach in a pack's file: what makes the broken twin."""

    breaks: str = Field(min_length=1, description="Name of the rule or metric that must find it.")
    share: float = Field(0.02, gt=0, le=1, description="Share of the rows that are broken.")
    values: dict[str, str | None] = Field(
        min_length=1, description="By column, the expression of its new value: `age + 200`, `'x'`; null empties it."
    )


class PackFile(Config):
    """The file of a pack; its rules are read as those of any file of rules."""

    summary: str = Field(min_length=1, description="What the rows are, in a line.")
    columns: dict[str, str] = Field(min_length=1, description="What each column holds, by name.")
    constraints: tuple[dict[str, Any], ...] = Field((), description="The rules.")
    metrics: tuple[MetricEntry, ...] = Field((), description="The metrics.")
    policy: dict[str, Any] = Field({}, description="Options of `synth validate` that the pack asks for at least.")
    breaches: tuple[BreachEntry, ...] = Field((), description="What makes the broken twin, one after another.")


@dataclass(frozen=True)
class DomainMetric:
    """A number that tables of the domain keep within a bound.

    Attributes:
        name: Unique within its pack.
        columns: The pack's columns that it reads.
        description: What the number is.
        relation: On which side of the threshold it lies.
        threshold: Where it ends to be plausible.
        measure: How it is measured.
    """

    name: str
    columns: tuple[str, ...]
    description: str
    relation: Literal[">=", "<="]
    threshold: float
    measure: Measure


@dataclass(frozen=True)
class Pack:
    """What tables of one domain obey.

    Attributes:
        name: Its name.
        summary: What the rows are.
        columns: What each column holds, by the name that rules and metrics use.
        rules: The rules, each with its policy.
        metrics: The metrics of the domain.
        policy: Options of a validation that the pack asks for at least.
        breaches: What makes the broken twin.
        make: The maker of the demo table: rows and a generator of random numbers to a table.
    """

    name: str
    summary: str
    columns: Mapping[str, str]
    rules: tuple[Constraint, ...]
    metrics: tuple[DomainMetric, ...]
    policy: Mapping[str, Any]
    breaches: tuple[BreachEntry, ...]
    make: Callable[[int, random.Generator], pd.DataFrame]

    def demo(self, rows: int, *, seed: int = 0) -> pd.DataFrame:
        """Return a made-up table that obeys the pack."""
        return self.make(rows, np.random.default_rng(seed))

    def twin(self, rows: int, *, seed: int = 0) -> pd.DataFrame:
        """Return the demo table with every breach planted, each in rows of its own where it is not in all."""
        table = self.demo(rows, seed=seed)
        order = np.random.default_rng([seed, 1]).permutation(rows)
        start = 0
        for breach in sorted(self.breaches, key=lambda one: -one.share):
            if breach.share == 1:
                table = planted(table, breach, np.ones(rows, dtype=bool))
                continue
            size = max(1, round(breach.share * rows))
            where = np.zeros(rows, dtype=bool)
            where[np.take(order, range(start, start + size), mode="wrap")] = True
            start += size
            table = planted(table, breach, where)
        return table


def planted(table: pd.DataFrame, breach: BreachEntry, where: Mask) -> pd.DataFrame:
    """Return the table with a breach in the rows ``where``, shape (n,)."""
    made = {}
    for name, text in breach.values.items():
        held = table[name]
        if text is None:
            made[name] = nulled(held, where)
            continue
        values = formula(text).values(table)
        some = values[where].astype(object).to_numpy() if isinstance(values, pd.Series) else values
        made[name] = assigned(held, where, some)
    return table.assign(**made)


def read_pack(
    path: Path, *, measures: Mapping[str, Measure], make: Callable[[int, random.Generator], pd.DataFrame]
) -> Pack:
    """Return the pack of a file; its name is the file's.

    Args:
        measures: The functions of the metrics, by name.
        make: The maker of the demo table.

    Raises:
        DataError: if the file cannot be read.
        ConfigError: naming an entry that breaks its rule, or a metric without a function or a threshold.
    """
    told = PackFile.parse(read_map(path, "pack"))
    metrics = []
    for entry in told.metrics:
        bound = entry.most if entry.least is None else entry.least
        if entry.name not in measures or bound is None:
            what = "no function" if entry.name not in measures else "neither least nor most"
            raise ConfigError(f"metric '{entry.name}' of pack '{path.stem}' has {what}", option="metrics")
        relation: Literal[">=", "<="] = "<=" if entry.least is None else ">="
        metrics.append(
            DomainMetric(entry.name, entry.columns, entry.description, relation, bound, measures[entry.name])
        )
    rules = constraints_from_file(path)
    return Pack(path.stem, told.summary, told.columns, rules, tuple(metrics), told.policy, told.breaches, make)


def names() -> tuple[str, ...]:
    """Return every pack's name, ours and those of installed entry points, without importing one."""
    own = [module.name for module in pkgutil.iter_modules(__path__) if (_HERE / f"{module.name}.yaml").is_file()]
    return tuple(sorted({*own, *(point.name for point in entry_points(group=GROUP))}))


def load(name: str) -> Pack:
    """Return a pack by name.

    Raises:
        UnsupportedError: if there is none of that name.
    """
    for point in entry_points(group=GROUP):
        if point.name == name:
            brought: Pack = point.load()
            return brought
    if name not in names():
        raise UnsupportedError(f"there is no pack '{name}'; choose one of {', '.join(names())}")
    made: Pack = importlib.import_module(f"{__name__}.{name}").PACK
    return made


_HERE = Path(__file__).parent
