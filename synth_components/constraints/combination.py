"""Rules on which values occur together: functional dependency, fixed combinations, hierarchy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from synth_components.config import MIN_CATEGORY_COUNT
from synth_components.constraints.rule import Mask, Rule, Value, in_order, plain, put
from synth_components.errors import ConstraintError

Combination: TypeAlias = tuple[Value, ...]

_DENSE = 2**20
"""Codes up to which a table of places is smaller than a search is slow."""


def positions_in(table: pd.DataFrame, columns: Sequence[str], entries: Sequence[Combination]) -> NDArray[np.int64]:
    """Return the place of each row's combination among distinct ``entries``, shape (n,); -1 if absent."""
    if not entries:
        return np.full(len(table), -1, dtype=np.int64)
    row = np.zeros(len(table), dtype=np.int64)
    entry = np.zeros(len(entries), dtype=np.int64)
    for k, name in enumerate(columns):
        listed = np.empty(len(entries), dtype=object)
        listed[:] = [combination[k] for combination in entries]
        known = pd.Index(list(dict.fromkeys(listed)), dtype=object)
        mine = known.get_indexer(table[name].astype(object).to_numpy())
        whole = entry * len(known) + known.get_indexer(listed)
        found = np.unique(whole)  # codes are numbered anew at each column, so that they cannot overflow
        entry = np.searchsorted(found, whole)
        sought = np.where((row < 0) | (mine < 0), -1, row * len(known) + mine)
        row = _place_in(found, sought)
    places = np.empty(len(entries), dtype=np.int64)
    places[entry] = np.arange(len(entries))
    return np.where(row >= 0, places[row], -1)


def _place_in(found: NDArray[np.int64], sought: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each sought code among sorted ones, shape (n,); -1 if absent."""
    if found[-1] < _DENSE:
        places = np.full(found[-1] + 2, -1, dtype=np.int64)  # the last one is that of whatever is absent
        places[found] = np.arange(len(found))
        return places[np.where((sought < 0) | (sought > found[-1]), -1, sought)]
    place = np.minimum(np.searchsorted(found, sought), len(found) - 1)
    return np.where(found[place] == sought, place, -1)


def any_null(table: pd.DataFrame, columns: Sequence[str]) -> Mask:
    """Return which rows have a null among ``columns``, shape (n,)."""
    missing = np.zeros(len(table), dtype=bool)
    for name in columns:
        missing |= table[name].isna().to_numpy()
    return missing


def _known_or_null(table: pd.DataFrame, columns: Sequence[str], entries: Sequence[Combination]) -> Mask:
    """Return which rows hold one of ``entries``, or a null among ``columns``, shape (n,)."""
    known = positions_in(table, columns, entries) >= 0
    rest = np.flatnonzero(~known)
    known[rest] = any_null(table[list(columns)].iloc[rest], columns)
    return known


def _counted(
    table: pd.DataFrame, columns: Sequence[str], owners: NDArray[np.int64] | None
) -> tuple[pd.Series[int], NDArray[np.int64]]:
    """Return how many rows have each combination of values without null, and how many owners (k,), or rows, do."""
    there = ~any_null(table, columns)
    groups = table.loc[there, list(columns)].astype(object).groupby(list(columns), sort=False)
    counts = groups.size()
    if owners is None:
        return counts, np.asarray(counts, dtype=np.int64)
    return counts, np.asarray(pd.Series(owners[there]).groupby(groups.ngroup().to_numpy()).nunique(), dtype=np.int64)


def supported(
    table: pd.DataFrame,
    columns: Sequence[str],
    *,
    min_count: int,
    rule: Rule,
    owners: NDArray[np.int64] | None = None,
) -> tuple[tuple[Combination, ...], float]:
    """Return the combinations that ``min_count`` rows, or owners, share, and the share of rows in them.

    They are sorted.  Rows with a null among ``columns`` do not count.

    Raises:
        ConstraintError: if no combination has that support, or they cover fewer than 90 % of the rows.
    """
    counts, support = _counted(table, columns, owners)
    kept = counts[support >= min_count]
    entries = [tuple(plain(v, rule) for v in key) for key in kept.index]
    share = float(kept.sum()) / max(int(counts.sum()), 1)
    if not entries or share < 0.9:
        raise ConstraintError(
            f"constraint '{rule.name}' is not in the data: {len(entries)} combinations have {min_count} "
            f"{_behind(owners)} behind, and hold {share:.0%} of the rows; drop it, or declare the combinations",
            constraint=rule.name,
        )
    return tuple(in_order(entries)), share


def _behind(owners: NDArray[np.int64] | None) -> str:
    return "rows" if owners is None else "privacy units"


def _pairs(value: object) -> object:
    """Return a mapping as the list of pairs that JSON can carry whatever the type of its keys."""
    if isinstance(value, Mapping):
        return [(key if isinstance(key, tuple) else (key,), entry) for key, entry in value.items()]
    return value


Mapped = Annotated[tuple[tuple[Combination, Value], ...], BeforeValidator(_pairs)]


class FunctionalDependency(Rule):
    """The values of ``determinant`` fix the value of ``dependent``.  Repairs by looking the value up.

    Without a declared mapping, ``fit`` learns it: only combinations that ``min_count`` training rows share, or privacy
    units where the schema names them, each with the dependent value that most of them have.  A combination outside the
    mapping is never drawn.
    """

    type: Literal["functional_dependency"] = "functional_dependency"
    determinant: tuple[str, ...] = Field(min_length=1, description="Columns that decide.")
    dependent: str = Field(description="Column that follows from them.")
    mapping: Mapped = Field((), description="Pairs of determinant values and dependent value; empty learns them.")
    min_count: int = Field(
        MIN_CATEGORY_COUNT,
        ge=1,
        description="Privacy knob: fewest training rows, or privacy units where the schema names them, "
        "behind a learned pair.",
    )

    @model_validator(mode="after")
    def _refuse_contradiction(self) -> FunctionalDependency:
        if self.dependent in self.determinant:
            raise ConstraintError(f"constraint '{self.name}' derives a column from itself", constraint=self.name)
        if any(len(key) != len(self.determinant) for key, _ in self.mapping):
            raise ConstraintError(
                f"the mapping of constraint '{self.name}' must give {len(self.determinant)} determinant values a pair",
                constraint=self.name,
            )
        if len({key for key, _ in self.mapping}) != len(self.mapping):
            raise ConstraintError(
                f"the mapping of constraint '{self.name}' lists a determinant twice", constraint=self.name
            )
        return self

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"{', '.join(self.determinant)} -> {self.dependent}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The determinant, then the dependent."""
        return (*self.determinant, self.dependent)

    @property
    def is_learned(self) -> bool:
        """Whether there is a mapping."""
        return bool(self.mapping)

    def learn(self, table: pd.DataFrame, *, owners: NDArray[np.int64] | None = None) -> FunctionalDependency:
        """Return the rule with the mapping that ``table`` shows.

        Args:
            owners: The privacy unit (n,) of each row, which are counted in place of rows; ``None`` if a row is one.

        Raises:
            ConstraintError: if fewer than 90 % of the rows agree with any mapping, or none has enough support.
        """
        counts, support = _counted(table, self.columns, owners)
        total = int(counts.sum())
        pairs: dict[tuple[Value, ...], Value] = {}
        agreeing = 0
        order = np.argsort(-support, kind="stable")
        for key, rows, behind in zip(counts.index[order], counts.iloc[order], support[order], strict=True):
            entry = tuple(plain(v, self) for v in key)
            if entry[:-1] not in pairs:
                agreeing += int(rows)
                if behind >= self.min_count:
                    pairs[entry[:-1]] = entry[-1]
        if agreeing < 0.9 * total or not pairs:
            raise ConstraintError(
                f"constraint '{self.name}' is not in the data: {agreeing} of {total} rows agree with a mapping, and "
                f"{len(pairs)} of its pairs have {self.min_count} {_behind(owners)} behind; drop it, or declare the "
                "mapping",
                constraint=self.name,
            )
        # A declared order, so that the model does not tell which pair is the most frequent.
        ordered = tuple((key, pairs[key]) for key in in_order(list(pairs)))
        return self.model_copy(update={"mapping": ordered})

    def _expected(self, table: pd.DataFrame) -> tuple[NDArray[np.object_], Mask]:
        """Return the dependent value of each row, and where the combination is known, shapes (n,)."""
        place = positions_in(table, self.determinant, [key for key, _ in self.mapping])
        values = np.empty(len(self.mapping), dtype=object)
        values[:] = [value for _, value in self.mapping]
        return values[place], place >= 0

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,); all while the mapping is yet to be learned."""
        if not self.mapping:
            return pd.Series(data=True, index=table.index)
        pairs = [(*key, value) for key, value in self.mapping]
        return pd.Series(_known_or_null(table, self.columns, pairs), index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table with the dependent looked up wherever it is wrong and the combination is known."""
        if not self.mapping:
            return table
        expected, known = self._expected(table)
        held = table[self.dependent]
        wrong = known & held.notna().to_numpy()  # a null does not compare
        wrong[wrong] = held[wrong].astype(object).to_numpy() != expected[wrong]
        if not wrong.any():
            return table
        return table.assign(**{self.dependent: put(self, held, wrong, expected[wrong])})


class FixedCombinations(Rule):
    """The values of ``columns`` occur together only as listed.

    Without a list, ``fit`` learns it: the combinations that ``min_count`` training rows share, or privacy units where
    the schema names them.  Repairs by keeping the first columns of a row as far as any combination begins with them,
    and taking the others from a right row.
    """

    type: Literal["fixed_combinations"] = "fixed_combinations"
    columns: tuple[str, ...] = Field(min_length=2, description="Columns of text, numbers or booleans.")
    combinations: tuple[Combination, ...] = Field(
        (), description="The rows of values that may occur; empty learns them."
    )
    min_count: int = Field(
        MIN_CATEGORY_COUNT,
        ge=1,
        description="Privacy knob: fewest training rows, or privacy units where the schema names them, "
        "behind a learned combination.",
    )

    @model_validator(mode="after")
    def _refuse_bad_list(self) -> FixedCombinations:
        _require_list(self, self.columns, self.combinations)
        return self

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"combinations({', '.join(self.columns)})"

    @property
    def is_learned(self) -> bool:
        """Whether there is a list."""
        return bool(self.combinations)

    def learn(self, table: pd.DataFrame, *, owners: NDArray[np.int64] | None = None) -> FixedCombinations:
        """Return the rule with the combinations that ``table`` shows.

        Args:
            owners: The privacy unit (n,) of each row, which are counted in place of rows; ``None`` if a row is one.

        Raises:
            ConstraintError: if combinations with support cover fewer than 90 % of the rows.
        """
        found, _ = supported(table, self.columns, min_count=self.min_count, rule=self, owners=owners)
        return self.model_copy(update={"combinations": found})

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,); all while the list is yet to be learned."""
        if not self.combinations:
            return pd.Series(data=True, index=table.index)
        return pd.Series(_known_or_null(table, self.columns, self.combinations), index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table with wrong rows completed after right ones; unchanged if there are none."""
        wrong = ~self.allows(table).to_numpy()
        right = ~wrong & ~any_null(table, self.columns)
        if not wrong.any() or not right.any():
            return table
        places = _alike(table, self.columns, wrong, right, rng)
        return table.assign(**{name: table[name].take(places).set_axis(table.index) for name in self.columns})


def _alike(
    table: pd.DataFrame, columns: Sequence[str], wrong: Mask, right: Mask, rng: random.Generator
) -> NDArray[np.int64]:
    """Return the row that each row takes its values from: itself, or a right one with the longest equal beginning."""
    places = np.arange(len(table))
    code = np.zeros(len(table), dtype=np.int64)
    sources = np.flatnonzero(right)
    wanted = np.flatnonzero(wrong)
    for name in ("", *columns[:-1]):  # "": whatever row, which the longer beginnings then replace
        if name:
            _, code = np.unique(code * (len(table) + 1) + pd.factorize(table[name])[0], return_inverse=True)
        ordered = sources[np.argsort(code[sources], kind="stable")]
        first = np.searchsorted(code[ordered], code[wanted], side="left")
        last = np.searchsorted(code[ordered], code[wanted], side="right")
        wanted, first, last = wanted[last > first], first[last > first], last[last > first]
        places[wanted] = ordered[first + (rng.random(len(wanted)) * (last - first)).astype(np.int64)]
    return places


class Hierarchy(Rule):
    """Each value of a level lies below one value of the level above: country, region, city, district.

    Without paths, ``fit`` learns them: those that ``min_count`` training rows share, or privacy units where the schema
    names them.  Repairs by looking up what lies above the value of the lowest level.
    """

    type: Literal["hierarchy"] = "hierarchy"
    levels: tuple[str, ...] = Field(min_length=2, description="Columns, from the top of the hierarchy to the bottom.")
    paths: tuple[Combination, ...] = Field(
        (), description="One row of values, from top to bottom, for each value of the lowest level; empty learns them."
    )
    min_count: int = Field(
        MIN_CATEGORY_COUNT,
        ge=1,
        description="Privacy knob: fewest training rows, or privacy units where the schema names them, "
        "behind a learned path.",
    )

    @model_validator(mode="after")
    def _refuse_two_parents(self) -> Hierarchy:
        _require_list(self, self.levels, self.paths)
        for level in range(1, len(self.levels)):
            above = {path[level]: path[:level] for path in self.paths}
            if any(above[path[level]] != path[:level] for path in self.paths):
                raise ConstraintError(
                    f"constraint '{self.name}' puts a value of level '{self.levels[level]}' below two values; give it "
                    "one place, or use fixed_combinations",
                    constraint=self.name,
                )
        return self

    def title(self) -> str:
        """Return the rule in a few words."""
        return f"hierarchy({' > '.join(self.levels)})"

    @property
    def columns(self) -> tuple[str, ...]:
        """The levels."""
        return self.levels

    @property
    def is_learned(self) -> bool:
        """Whether there are paths."""
        return bool(self.paths)

    def learn(self, table: pd.DataFrame, *, owners: NDArray[np.int64] | None = None) -> Hierarchy:
        """Return the rule with the paths that ``table`` shows.

        Args:
            owners: The privacy unit (n,) of each row, which are counted in place of rows; ``None`` if a row is one.

        Raises:
            ConstraintError: if paths with support cover fewer than 90 % of the rows, or a value has two places.
        """
        found, _ = supported(table, self.levels, min_count=self.min_count, rule=self, owners=owners)
        return Hierarchy(name=self.name, policy=self.policy, levels=self.levels, paths=found, min_count=self.min_count)

    def allows(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows obey the rule, shape (n,); all while the paths are yet to be learned."""
        if not self.paths:
            return pd.Series(data=True, index=table.index)
        known = positions_in(table, self.levels, self.paths) >= 0
        return pd.Series(known | any_null(table, self.levels), index=table.index)

    def repair(self, table: pd.DataFrame, *, rng: random.Generator, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the table with the levels above looked up where a path is wrong and its end known."""
        wrong = ~self.allows(table).to_numpy()
        if not wrong.any():
            return table
        place = positions_in(table, self.levels[-1:], [path[-1:] for path in self.paths])
        wrong &= place >= 0
        made = {}
        for level, name in enumerate(self.levels[:-1]):
            values = np.empty(len(self.paths), dtype=object)
            values[:] = [path[level] for path in self.paths]
            made[name] = put(self, table[name], wrong, values[place[wrong]])
        return table.assign(**made) if wrong.any() else table


def _require_list(rule: Rule, columns: Sequence[str], entries: Sequence[Combination]) -> None:
    if len(set(columns)) != len(columns):
        raise ConstraintError(f"constraint '{rule.name}' lists a column twice", constraint=rule.name)
    if any(len(entry) != len(columns) for entry in entries):
        raise ConstraintError(
            f"constraint '{rule.name}' must give {len(columns)} values an entry", constraint=rule.name
        )
    if len(set(entries)) != len(entries):
        raise ConstraintError(f"constraint '{rule.name}' lists an entry twice", constraint=rule.name)
