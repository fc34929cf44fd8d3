"""The grids of a table's features: rows to codes and back, conditions on codes, and the files that keep them.

What every sampler of discrete codes shares, whatever it says of how the codes depend on each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy import random
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from synth_components.conditions import meets
from synth_components.encode import Features, slices
from synth_components.errors import ConditionError, StoppedError
from synth_components.generators.tabular._cells import Cells
from synth_components.generators.tabular._condition import Condition, conditions
from synth_components.generators.tabular._grid import (
    Codes,
    Grid,
    arrays_of,
    grids_from,
    grids_of,
    marginal_from,
    plan_of,
    rows_of,
)
from synth_components.marginal import Marginal, marginals_of, whole
from synth_components.protocols import Dataset, Floats, Given, Run
from synth_components.schema import Schema

Ints = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]

MOST_AT_ONCE = 4_000_000
"""Entries of the largest array while conditions are met: it bounds memory, and changes no row."""


@dataclass(frozen=True, eq=False)
class Codebook:
    """What the codes of each feature mean.

    Attributes:
        schema: The schema of the rows.
        grids: One per feature.
        halves: What ``marginals_of`` gives for each integer beyond 2^53, by its first feature.
    """

    schema: Schema
    grids: tuple[Grid, ...]
    halves: Mapping[int, tuple[Marginal, ...]]

    @classmethod
    def of(cls, features: Features, *, knots: int, min_count: int) -> Self:
        """Return the codebook of encoded rows.

        Raises:
            UnsupportedError: if a column has no value with enough support.
        """
        halves = {
            where.start: marginals_of(
                features.values[:, where],
                features.schema.columns[name],
                name=name,
                knots=knots,
                min_count=min_count,
                owners=features.owners,
            )
            for name, where in features.columns.items()
            if where.stop - where.start > 1
        }
        return cls(features.schema, grids_of(features, knots=knots, min_count=min_count), halves)

    def codes(self, values: Floats, *, rng: random.Generator) -> list[Codes]:
        """Return the codes (n,) of encoded rows (n, w), by feature."""
        return [grid.codes(values[:, feature], rng=rng) for feature, grid in enumerate(self.grids)]

    def wanted(self, given: Given | None, n: int) -> dict[int, Condition]:
        """Return the condition of each feature that ``given`` is about.

        Raises:
            ConditionError: for unknown columns, and values that the model gives no mass.
            UnsupportedError: for integers beyond 2^53.
        """
        if given is None or not given.columns:
            return {}
        return conditions(given, n, schema=self.schema, grids=self.grids)

    def rows(
        self,
        codes: Sequence[NDArray[np.integer[Any]]],
        *,
        rng: random.Generator,
        given: Given | None = None,
        wanted: Mapping[int, Condition] | None = None,
    ) -> Dataset:
        """Return the rows of codes (n,) by feature, each value uniform within its code's piece.

        Raises:
            ConditionError: if a row does not meet ``given``.
        """
        values = np.empty((len(codes[0]), len(codes)))
        for feature, (grid, held) in enumerate(zip(self.grids, codes, strict=True)):
            condition = (wanted or {}).get(feature)
            own = held.astype(np.int32)
            values[:, feature] = (
                grid.values(own, rng=rng) if condition is None else condition.values(grid, own, rng=rng)
            )
        for first, marginals in self.halves.items():
            values[:, first : first + 2] = whole(values[:, first : first + 2], marginals, rng=rng)
        made = rows_of(values, self.schema)
        if wanted and given is not None:
            broken = int((~meets(made.table, given, self.schema)).sum())
            if broken:
                raise ConditionError(
                    f"the conditions contradict each other, or the schema, in {broken} of {len(values)} rows; "
                    "mend them",
                    columns=given.columns,
                )
        return made

    def save(self, directory: Path, name: str, arrays: Arrays, plan: Mapping[str, Any] | None = None) -> None:
        """Write ``schema.json``, ``NAME.json`` and ``NAME.safetensors``: the grids and a sampler's own arrays."""
        (directory / "schema.json").write_text(self.schema.canonical(), encoding="utf-8")
        said = {**plan_of(self.grids), **(plan or {})}
        (directory / f"{name}.json").write_text(json.dumps(said, sort_keys=True), encoding="utf-8")
        kept = arrays_of(self.grids) | {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        for feature, marginals in self.halves.items():
            for number, marginal in enumerate(marginals):
                kept |= {f"halves.{feature}.{number}.{part}": a for part, a in marginal.to_arrays().items()}
        save_file(kept, directory / f"{name}.safetensors")

    @classmethod
    def load(cls, directory: Path, name: str) -> tuple[Self, Arrays, dict[str, Any]]:
        """Return the codebook that ``save`` wrote, with the arrays and the plan beside it.

        Raises:
            ArtifactError: if the files do not fit each other.
        """
        schema = Schema.from_json(json.loads((directory / "schema.json").read_text(encoding="utf-8")))
        plan = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
        arrays = load_file(directory / f"{name}.safetensors")
        grids = grids_from(plan, arrays, schema, file=f"{name}.json")

        halves = {}
        for where in slices(schema).values():
            if where.stop - where.start > 1:
                prefix = f"halves.{where.start}"
                count = sum(key.startswith(f"{prefix}.") and key.endswith(".mass") for key in arrays)
                halves[where.start] = tuple(marginal_from(arrays, f"{prefix}.{number}") for number in range(count))
        return cls(schema, grids, halves), arrays, plan


def cell_masses(cells: Sequence[Cells], grids: Sequence[Grid]) -> list[Floats]:
    """Return the probability (cells,) of each cell, by feature."""
    return [cut.by_place(grid.mass, absent=0.0).sum(axis=1) for cut, grid in zip(cells, grids, strict=True)]


def places_within(cells: Sequence[Cells], grids: Sequence[Grid]) -> tuple[Floats, ...]:
    """Return the probability (cells, places) of each place given the cell, by feature."""
    made = [cut.by_place(grid.mass, absent=0.0) for cut, grid in zip(cells, grids, strict=True)]
    return tuple(mass / mass.sum(axis=1, keepdims=True) for mass in made)


def evidence_of(condition: Condition, rows: Ints, *, cells: Cells, allowed: Floats) -> Floats:
    """Return what a condition says of the cells (n, cells) of some rows.

    That is the fixed cell where there is one, else how much is allowed of each.

    Args:
        allowed: (cells, places) probability of each place given the cell, of those that are allowed.
    """
    cell, _ = cells.split(condition.codes[rows])
    fixed = np.arange(len(cells.first)) == cell[:, None]
    return np.asarray(np.where(condition.is_fixed[rows, None], fixed, allowed.sum(axis=1)))


def codes_in(
    cell: Ints, rows: Ints, condition: Condition | None, *, cells: Cells, allowed: Floats, rng: random.Generator
) -> Codes:
    """Return codes (n,) of some rows in these cells (n,), and the fixed ones where a condition fixes them."""
    # A cell in which nothing is allowed is drawn by rows with a fixed value alone.
    masses = np.where(allowed.sum(axis=1, keepdims=True) > 0, allowed, 1.0)
    codes = cells.join(cell, drawn_by_row(masses, cell, rng=rng))
    if condition is None:
        return codes
    return np.where(condition.is_fixed[rows], condition.codes[rows], codes)


def stop_if_asked(run: Run) -> None:
    """Raise ``StoppedError`` if the run asks for an early end."""
    if run.should_stop():
        raise StoppedError("fit stopped as asked; nothing was saved")


def drawn_by_row(table: NDArray[np.floating[Any]], row: Ints, *, rng: random.Generator) -> Ints:
    """Return places (n,) drawn in proportion to the masses (r, k) of each draw's row of the table (n,)."""
    cumulative = np.cumsum(table, axis=1, dtype=np.float64)
    cumulative /= cumulative[:, -1:]
    # One sorted search for all draws: row r of the table lies between r and r + 1.
    cumulative += np.arange(len(table))[:, None]
    place = np.searchsorted(cumulative.ravel(), row + rng.random(len(row)), side="right") - row * table.shape[1]
    return np.asarray(np.clip(place, 0, table.shape[1] - 1))


def drawn_each(weights: NDArray[np.floating[Any]], *, rng: random.Generator) -> Ints:
    """Return places (n,) drawn in proportion to each row of weights (n, k)."""
    cumulative = np.cumsum(weights, axis=1, dtype=np.float64)
    points = rng.random(len(weights)) * cumulative[:, -1]
    place = (cumulative <= points[:, None]).sum(axis=1)
    # Rounding may point beyond the last mass: then it is the last one that is not nothing.
    last = weights.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)
    return np.asarray(np.minimum(place, last))
