"""Sequential conditional synthesis: each column is drawn from honest trees over the columns before it.

Source: Reiter 2005, "Using CART to generate partially synthetic public use microdata"; Nowok, Raab & Dibben 2016,
    "synthpop" (doi:10.18637/jss.v074.i11); Wager & Athey 2018 (arXiv:1510.04342), honest forests; Cevid et al. 2022
    (arXiv:2005.14458), distributional splits; Azadi et al. 2019 (arXiv:1810.06758), rejection by a discriminator.
Differs: the rows that choose a tree's structure are not the rows that fill its leaves, and a split that the latter do
    not bear out is undone, so that a leaf is small only where small leaves predict. Leaves hold counts over shared
    knots, not rows. Where the schema names a privacy unit, leaves are of many units, and none has a large share of one.
    A draw is from one of several trees. A value may be drawn to equal an earlier column's. Drawn rows are accepted in
    proportion to a boosted density ratio, which corrects what a product of conditionals gets wrong; it grows for as
    long as rows set apart bear it out.
    Conditions on any columns are met by sequential importance resampling.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray
from pydantic import Field
from safetensors.numpy import load_file, save_file

from synth_components.conditions import meets
from synth_components.config import KNOTS, MIN_CATEGORY_COUNT, SAFER_DOWN, SAFER_UP, Knots, MinCategoryCount, Recipe
from synth_components.encode import Features, encode, encode_table, slices
from synth_components.errors import ArtifactError, ConditionError, StoppedError
from synth_components.generators.tabular._anchor import Anchor, anchors, extended
from synth_components.generators.tabular._condition import Condition, conditions, resampled
from synth_components.generators.tabular._forest import Context, Counts, Forest, Growth, Ints, grow, halves
from synth_components.generators.tabular._grid import Codes, Grid, arrays_of, grids_from, grids_of, plan_of, rows_of
from synth_components.generators.tabular._ratio import DensityRatio, judges_of
from synth_components.marginal import Marginal, marginals_of, whole
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Floats, Given, PrivacyLedger, Run
from synth_components.schema import Schema
from synth_components.split import units_of

PARTICLES = 32
"""Candidates per row that meet a condition, of which one is returned."""
ROOT_SHARE = 1e-3
"""Share of a column's marginal in its conditional, where a condition is to be met: what a leaf lacks stays possible."""
LEAST_ACCEPTANCE = 0.1
"""Acceptance below which no more rows are drawn to measure the marginals of those that are accepted."""
BATCH_ROWS = 131_072
"""Rows read at a time where there are more than ``max_grow_rows``."""
MOST_HELD = 2**29
"""Bytes to hold the rows of the columns in that are filled in one pass, of one at least, where units are counted."""
ROW_BYTES = 6
"""What a row takes on average, of a tree: leaf, code and unit of the half of the rows that fill it."""


class Trees(Recipe):
    """Draw each column from trees on those before it, and accept rows by a density ratio."""

    without_privacy: ClassVar[str] = "its trees are split and filled without noise"

    n_trees: Annotated[int, SAFER_UP] = Field(
        10,
        ge=1,
        le=64,
        description="Privacy knob: trees per column, each on half of the rows; a draw is from one. More blur one row's "
        "trace.",
    )
    min_leaf: Annotated[int, SAFER_UP] = Field(
        30,
        ge=1,
        le=100_000,
        description="Privacy knob: fewest rows, or privacy units where the schema names them, that a leaf of a tree's "
        "structure covers. Larger is more private, less exact.",
    )
    min_evidence: Annotated[float, SAFER_UP] = Field(
        -4.0,
        ge=-100,
        le=100,
        description="Privacy knob: log Bayes factor that a split needs on rows that did not choose it. Larger prunes "
        "more.",
    )
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT
    knots: Knots = KNOTS
    correction_trees: Annotated[int, SAFER_DOWN] = Field(
        300,
        ge=0,
        le=1000,
        description="Privacy knob: most trees, in each round, of the density ratio by which drawn rows are accepted; "
        "rows set apart end a round. 0 accepts every row, faster and more private.",
    )
    correction_rounds: Annotated[int, SAFER_DOWN] = Field(
        3,
        ge=1,
        le=10,
        description="Privacy knob: most times that the density ratio is grown anew, against rows that the last one "
        "accepted. More is more exact, and follows the training rows closer.",
    )
    max_grow_rows: int = Field(
        200_000,
        ge=100,
        le=10_000_000,
        description="Most rows, chosen at random, that structure is grown on; all rows fill leaves.",
    )
    max_correction_rows: int = Field(
        50_000, ge=100, le=10_000_000, description="Most real rows that the density ratio is grown on."
    )

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> TreesSampler:
        """Return the trees of ``data``, whose structure is grown on a sample and filled in one pass.

        In several, of some columns each, where privacy units of very many rows are counted.

        Raises:
            UnsupportedError: if a column has no value with enough support.
            StoppedError: if ``run`` says so.
        """
        ledger.spend("fit tabular.trees", not_private)
        n = data.num_rows(data.schema.root)
        chosen = np.arange(n) if n <= self.max_grow_rows else np.sort(rng.choice(n, self.max_grow_rows, replace=False))
        table = data.table if len(chosen) == n and not data.is_lazy else _rows(data, chosen)
        owners = units_of(data)
        owned = None if owners is None else owners[chosen]
        choosers = chosen if owned is None else owned
        some_rows = Dataset({data.schema.root: table}, data.schema, owners=owned, is_trial=data.is_trial)
        features = encode(some_rows)
        grids = grids_of(features, knots=self.knots, min_count=self.min_category_count)
        order = _order(grids)
        codes = _codes(features.values, grids, order, rng=rng)
        own = [codes[:, position].astype(np.int32) for position in range(len(order))]
        found = anchors(features.values, own, order=order, grids=grids, schema=data.schema)
        made = TreesSampler(data.schema, grids, order, found, (), None, self._halves(features))
        steps = len(order) + 2

        counts: list[Counts] = []
        seeds = rng.integers(2**31, size=(len(order), self.n_trees + 1))
        growth = Growth(self.n_trees, self.min_leaf, self.min_evidence)
        by_owner = owners is not None and not data.is_trial
        for position, feature in enumerate(order):
            _stop_if_asked(run)
            grown = grow(
                codes,
                made.extended(position, features.values, codes),
                width=position,
                is_nominal=grids[feature].is_nominal,
                fills=self._fills(choosers, int(seeds[position, 0])),
                growth=growth,
                seeds=seeds[position, 1:],
                owners=owned if by_owner else None,
            )
            size, least = grids[feature].size + len(found[position]), max(1, self.min_leaf // 2)
            counts.append(Counts(grown, size, min_support=least, by_owner=by_owner))
            run.report(position + 1, steps, trees_leaves=float(sum(len(s.feature) // 2 + 1 for s in grown)))
        _stop_if_asked(run)
        everything = (chosen, features.values, codes)
        at_once = len(order) if not by_owner else max(1, MOST_HELD // (ROW_BYTES * self.n_trees * n))
        parts = [range(len(order))[first : first + at_once] for first in range(0, len(order), at_once)]
        # Whichever columns are filled together, a row has the same codes.
        again = None if len(parts) <= 1 else int(rng.integers(2**63))
        forests = []
        for positions in parts:
            source = rng if again is None else random.default_rng(again)
            batches = [everything] if len(chosen) == n else _batches(data, grids, order, rng=source)
            for rows, values, batch in batches:
                _stop_if_asked(run)
                who = rows if owners is None else owners[rows]
                grew = np.isin(who, choosers, assume_unique=owners is None)
                for position in positions:
                    # A row that chose no structure may fill every tree, if no other row of its unit did.
                    fills = self._fills(who, int(seeds[position, 0])) | ~grew
                    counts[position].add(batch, made.extended(position, values, batch), fills, who)
            for position in positions:
                mass = _padded(grids[order[position]].mass * 1e6, counts[position].size)
                forests.append(counts[position].forest(otherwise=mass))
        run.report(steps - 1, steps)
        _stop_if_asked(run)
        made = replace(made, forests=tuple(forests))
        if self.correction_trees and n >= 20 * self.min_leaf and len(order) > 1:
            real = codes
            if len(codes) > self.max_correction_rows:
                some = rng.choice(len(codes), self.max_correction_rows, replace=False)
                real, owned = codes[some], None if owned is None else owned[some]
            judges = None if owned is None else judges_of(owned, rng=rng)
            ratio = DensityRatio.nothing(len(order))
            proposed, boosts = made.propose(2 * len(real), rng=rng), np.zeros(2 * len(real))
            for _ in range(self.correction_rounds):
                _stop_if_asked(run)
                drawn = replace(made, ratio=ratio).accepted(2 * len(real), rng=rng, first=(proposed, boosts))
                # Enough that n would be accepted: fewer leave their own sampling error in the marginals.
                enough = int(len(real) * max(2, 1 / max(ratio.acceptance, LEAST_ACCEPTANCE)))
                with ThreadPoolExecutor(1) as pool:  # rows are proposed while the ratio is grown, which needs no rng
                    upcoming = pool.submit(made.propose, enough, rng=rng)
                    boosted = ratio.boosted(
                        real,
                        drawn.codes,
                        n_trees=self.correction_trees,
                        min_leaf=2 * self.min_leaf,
                        judges=judges,
                        owners=owned if by_owner else None,
                    )
                if boosted is ratio:
                    break
                proposed = upcoming.result()
                boosts = boosted.boosts(proposed.codes)
                ratio = boosted.raked(real, proposed.codes, boosts)
            made = replace(made, ratio=ratio)
        run.report(steps, steps)
        return made

    def _halves(self, features: Features) -> dict[int, tuple[Marginal, ...]]:
        return {
            where.start: marginals_of(
                features.values[:, where],
                features.schema.columns[name],
                name=name,
                knots=self.knots,
                min_count=self.min_category_count,
                owners=features.owners,
            )
            for name, where in features.columns.items()
            if where.stop - where.start > 1
        }

    def _fills(self, rows: Ints, seed: int) -> NDArray[np.bool_]:
        return halves(rows, seed=seed, n_trees=self.n_trees)


def _batches(
    data: Dataset, grids: tuple[Grid, ...], order: tuple[int, ...], *, rng: random.Generator
) -> Iterator[tuple[Ints, Floats, Context]]:
    """Yield row numbers, encoded values and codes of all rows."""
    start = 0
    for batch in data.batches(data.schema.root, BATCH_ROWS):
        values = encode_table(batch, data.schema).values
        yield np.arange(start, start + len(batch)), values, _codes(values, grids, order, rng=rng)
        start += len(batch)


def _order(grids: tuple[Grid, ...]) -> tuple[int, ...]:
    """Return the features in the order in which they are drawn: few codes first."""
    return tuple(sorted(range(len(grids)), key=lambda feature: grids[feature].size))


def _stop_if_asked(run: Run) -> None:
    if run.should_stop():
        raise StoppedError("fit stopped as asked; nothing was saved")


def _rows(data: Dataset, chosen: Ints) -> pd.DataFrame:
    """Return the chosen rows (ascending) of the root table, read batch by batch."""
    parts, start = [], 0
    for batch in data.batches(data.schema.root, BATCH_ROWS):
        low, high = np.searchsorted(chosen, [start, start + len(batch)])
        parts.append(batch.iloc[chosen[low:high] - start])
        start += len(batch)
    return pd.concat(parts, ignore_index=True)


def _codes(values: Floats, grids: tuple[Grid, ...], order: tuple[int, ...], *, rng: random.Generator) -> Context:
    """Return the codes (n, w) of encoded rows, in the order in which columns are drawn."""
    made = np.empty((len(values), len(order)), dtype=np.float32)
    for position, feature in enumerate(order):
        made[:, position] = grids[feature].codes(values[:, feature], rng=rng)
    return made


def _padded(mass: Floats, size: int) -> Floats:
    return np.append(mass, np.zeros(size - len(mass)))


@dataclass(frozen=True, eq=False)
class Draw:
    """Drawn rows.

    Attributes:
        codes: (n, w) codes, in drawing order.
        equal: (n, w) 0, or k where the value is that of the column's anchor k - 1.
    """

    codes: Context
    equal: NDArray[np.int8]

    @classmethod
    def empty(cls, n: int, width: int) -> Self:
        """Return ``n`` rows of which nothing is drawn yet."""
        return cls(np.empty((n, width), dtype=np.float32), np.zeros((n, width), dtype=np.int8))

    def take(self, rows: Ints) -> Draw:
        """Return some of the rows."""
        return Draw(np.take(self.codes, rows, axis=0), np.take(self.equal, rows, axis=0))


@dataclass(frozen=True, eq=False)
class TreesSampler:
    """Grids, forests in drawing order, and the density ratio.

    Attributes:
        schema: The schema of the rows.
        grids: One per feature.
        order: The features in the order in which they are drawn.
        anchors: The earlier columns that each may be equal to, in drawing order.
        forests: One per feature, in drawing order, each over the features before it.
        ratio: By which drawn rows are accepted; ``None`` accepts all.
        halves: What ``marginals_of`` gives for each integer beyond 2^53, by its first feature.
    """

    schema: Schema
    grids: tuple[Grid, ...]
    order: tuple[int, ...]
    anchors: tuple[tuple[Anchor, ...], ...]
    forests: tuple[Forest, ...]
    ratio: DensityRatio | None
    halves: Mapping[int, tuple[Marginal, ...]]

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows; values fixed by ``given.rows`` are returned as they are.

        Raises:
            ConditionError: for unknown columns, and conditions that the model gives no mass.
            UnsupportedError: for conditions on integers beyond 2^53.
        """
        if given is None or not given.columns:
            return self._decode(self.accepted(n, rng=rng), {}, rng=rng)
        wanted = conditions(given, n, schema=self.schema, grids=self.grids)
        made = self._decode(self._conditioned(n, wanted, rng=rng), wanted, rng=rng)
        broken = ~meets(made.table, given, self.schema)
        if broken.any():
            raise ConditionError(
                f"the conditions contradict each other, or the schema, in {int(broken.sum())} of {n} rows; mend them",
                columns=given.columns,
            )
        return made

    def extended(self, position: int, values: Floats, codes: Context) -> Codes:
        """Return the codes (n,) of one column of encoded rows, with those for "equal to an anchor"."""
        feature = self.order[position]
        held = codes[:, position].astype(np.int32)
        if not self.anchors[position]:
            return held
        sources = [self.order[anchor.position] for anchor in self.anchors[position]]
        return extended(values[:, feature], held, values[:, sources], self.anchors[position], grid=self.grids[feature])

    @cached_property
    def _tables(self) -> list[list[Codes]]:
        """The code that each code of an anchor means to the column."""
        return [
            [anchor.codes(self.grids[self.order[anchor.position]], self.grids[feature]) for anchor in found]
            for feature, found in zip(self.order, self.anchors, strict=True)
        ]

    def propose(self, n: int, *, rng: random.Generator) -> Draw:
        """Return ``n`` rows drawn from the trees alone, without correction."""
        made = Draw.empty(n, len(self.order))
        for position in range(len(self.order)):
            self._extend(made, position, rng=rng)
        return made

    def _extend(self, made: Draw, position: int, *, rng: random.Generator) -> None:
        """Draw one column of the rows, given those before it."""
        codes = self.forests[position].draw(made.codes, rng=rng)
        size = self.grids[self.order[position]].size
        for number, (anchor, table) in enumerate(zip(self.anchors[position], self._tables[position], strict=True)):
            rows = np.flatnonzero(codes == size + number)
            source = made.codes[rows, anchor.position].astype(np.int32)
            codes[rows] = table[source]
            is_known = source < len(self.grids[self.order[anchor.position]].marginal.mass)
            made.equal[rows[is_known], position] = number + 1
        made.codes[:, position] = codes

    def accepted(self, n: int, *, rng: random.Generator, first: tuple[Draw, Floats] | None = None) -> Draw:
        """Return ``n`` rows drawn from the trees and accepted by the density ratio.

        Args:
            first: Rows to begin with, and what the ratio's trees say of them.
        """
        if self.ratio is None or n == 0:
            return self.propose(n, rng=rng)
        parts: list[Draw] = []
        missing = n
        while missing > 0:
            made, boosts = first or (self.propose(int(missing / self.ratio.acceptance * 1.05) + 16, rng=rng), None)
            first = None
            is_accepted = self.ratio.accepts(made.codes, rng=rng, boosts=boosts)
            parts.append(made.take(np.flatnonzero(is_accepted)[:missing]))
            missing -= len(parts[-1].codes)
        return Draw(np.concatenate([p.codes for p in parts]), np.concatenate([p.equal for p in parts]))

    def _conditioned(self, n: int, wanted: dict[int, Condition], *, rng: random.Generator) -> Draw:
        """Return ``n`` rows that meet the conditions: sequential importance resampling with ``PARTICLES`` per row.

        Source: Doucet, de Freitas & Gordon 2001, "Sequential Monte Carlo Methods in Practice", Sec. 1.3.
        """
        made = Draw.empty(n * PARTICLES, len(self.order))
        for position, feature in enumerate(self.order):
            if feature not in wanted:
                self._extend(made, position, rng=rng)
                continue
            weight = self._meet(made, position, wanted[feature], rng=rng)
            if position:
                chosen = resampled(weight.reshape(n, PARTICLES), PARTICLES, rng=rng)
                made = made.take(chosen)
        # Capped as where rows are accepted, so that conditioned rows follow the same law.
        ratio = (
            np.zeros(len(made.codes))
            if self.ratio is None
            else np.minimum(self.ratio.log_ratio(made.codes), self.ratio.cap)
        )
        ratio = ratio.reshape(n, PARTICLES)
        return made.take(resampled(np.exp(ratio - ratio.max(axis=1, keepdims=True)), 1, rng=rng))

    def _meet(self, made: Draw, position: int, condition: Condition, *, rng: random.Generator) -> Floats:
        """Draw one column within a condition; return the probability (n,) that it would have met it."""
        forest, grid = self.forests[position], self.grids[self.order[position]]
        slots = forest.slots(made.codes)
        is_fixed, fixed = np.repeat(condition.is_fixed, PARTICLES), np.repeat(condition.codes, PARTICLES)
        drawn, mass = forest.draw_within(slots, _padded(condition.share, forest.size), rng=rng)
        of_fixed = forest.mass_of(slots, fixed)
        may_equal = ~is_fixed & condition.is_free  # elsewhere a copied value could break the condition
        for number, (anchor, table) in enumerate(zip(self.anchors[position], self._tables[position], strict=True)):
            meant = table[made.codes[:, anchor.position].astype(np.int32)]
            equal = forest.mass_of(slots, np.full(len(slots), grid.size + number))
            of_fixed += equal * (meant == fixed)
            equal *= condition.share[meant]
            mass += equal
            is_equal = rng.random(len(slots)) * mass < equal
            drawn = np.where(is_equal, meant, drawn)
            made.equal[is_equal, position] = (number + 1) * may_equal[is_equal]
        at_root = np.cumsum(condition.share * grid.mass)
        weight = (1 - ROOT_SHARE) * mass + ROOT_SHARE * at_root[-1]
        from_root = np.flatnonzero(rng.random(len(slots)) * weight >= (1 - ROOT_SHARE) * mass)
        if at_root[-1] > 0:
            place = np.searchsorted(at_root, rng.random(len(from_root)) * at_root[-1], side="right")
            drawn[from_root] = np.minimum(place, grid.size - 1)
            made.equal[from_root, position] = 0
        made.codes[:, position] = np.where(is_fixed, fixed, drawn)
        return np.where(is_fixed, (1 - ROOT_SHARE) * of_fixed + ROOT_SHARE * grid.mass[fixed], weight)

    def _decode(self, drawn: Draw, wanted: dict[int, Condition], *, rng: random.Generator) -> Dataset:
        values = np.empty((len(drawn.codes), len(self.grids)))
        for position, feature in enumerate(self.order):
            held: Codes = drawn.codes[:, position].astype(np.int32)
            grid, condition = self.grids[feature], wanted.get(feature)
            values[:, feature] = (
                grid.values(held, rng=rng) if condition is None else condition.values(grid, held, rng=rng)
            )
            for number, anchor in enumerate(self.anchors[position], start=1):
                rows = np.flatnonzero(drawn.equal[:, position] == number)
                values[rows, feature] = values[rows, self.order[anchor.position]] + anchor.shift
        for first, marginals in self.halves.items():
            values[:, first : first + 2] = whole(values[:, first : first + 2], marginals, rng=rng)
        return rows_of(values, self.schema)

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``trees.json`` and ``trees.safetensors``."""
        (directory / "schema.json").write_text(self.schema.canonical(), encoding="utf-8")
        plan = {
            "order": list(self.order),
            **plan_of(self.grids),
            "anchors": [[[anchor.position, anchor.shift] for anchor in found] for found in self.anchors],
            "corrected": self.ratio is not None,
        }
        (directory / "trees.json").write_text(json.dumps(plan, sort_keys=True), encoding="utf-8")
        arrays = arrays_of(self.grids)
        for position, forest in enumerate(self.forests):
            arrays |= _prefixed(f"forest.{position}", forest.to_arrays())
        for feature, marginals in self.halves.items():
            for number, marginal in enumerate(marginals):
                arrays |= _prefixed(f"halves.{feature}.{number}", marginal.to_arrays())
        if self.ratio is not None:
            arrays |= _prefixed("ratio", self.ratio.to_arrays())
        save_file(arrays, directory / "trees.safetensors")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        schema = Schema.from_json(json.loads((directory / "schema.json").read_text(encoding="utf-8")))
        plan = json.loads((directory / "trees.json").read_text(encoding="utf-8"))
        arrays = load_file(directory / "trees.safetensors")
        part = _parts(arrays)
        grids = grids_from(plan, arrays, schema, file="trees.json")
        if sorted(plan["order"]) != list(range(len(grids))):
            raise ArtifactError("trees.json does not fit schema.json: the model was altered; save it anew")
        return cls(
            schema,
            grids,
            tuple(plan["order"]),
            tuple(tuple(Anchor(position, shift) for position, shift in found) for found in plan["anchors"]),
            tuple(Forest.from_arrays(part(f"forest.{position}")) for position in range(len(plan["order"]))),
            DensityRatio.from_arrays(part("ratio")) if plan["corrected"] else None,
            {
                where.start: tuple(
                    Marginal.from_arrays(part(f"halves.{where.start}.{number}"))
                    for number in range(sum(f"halves.{where.start}.{k}.mass" in arrays for k in range(len(arrays))))
                )
                for where in slices(schema).values()
                if where.stop - where.start > 1
            },
        )


def _prefixed(prefix: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{prefix}.{name}": np.ascontiguousarray(array) for name, array in arrays.items()}


def _parts(arrays: dict[str, NDArray[Any]]) -> Callable[[str], dict[str, NDArray[Any]]]:
    grouped: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        group, _, last = name.rpartition(".")
        grouped.setdefault(group, {})[last] = array
    return lambda group: grouped[group]


GENERATOR = Trees
SAMPLER = TreesSampler
