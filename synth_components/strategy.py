"""Tables for tests: the model of a test case's requirements, and a hypothesis strategy that shrinks to simple ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy import random

from synth_components.encode import Features, decode, slices
from synth_components.errors import SynthError
from synth_components.generators.tabular.gaussian_copula import ColumnModel, GaussianCopulaSampler
from synth_components.model import Model
from synth_components.protocols import Dataset, Given
from synth_components.schema import AnyColumn, Numeric, Schema
from synth_components.specification import Specification, specify
from synth_components.steps.map_file import read_map

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

Requirements: TypeAlias = Mapping[str, Any] | Specification | Schema | str | Path
"""A specification, as ``synth_components.specification.specify`` takes it, or the JSON or YAML file that holds one."""

_MOST_PROPOSALS = 16  # of an example's refused rows together


def model_of(requirements: Requirements) -> Model:
    """Return the model of a test case's requirements; equal requirements share one model.

    Raises:
        SynthError: naming the column, pair or rule that contradicts another.
    """
    stated: Any = requirements
    if isinstance(stated, str | Path):
        stated = read_map(Path(stated), "specification")
    if isinstance(stated, Schema):
        stated = stated.to_json()
    if isinstance(stated, Mapping):
        stated = Specification.from_json(stated)
    return _model_of(json.dumps(stated.to_json(), ensure_ascii=False))


@lru_cache(maxsize=128)
def _model_of(text: str) -> Model:
    return specify(json.loads(text))


def synthetic_tables(
    requirements: Requirements,
    *,
    min_rows: int = 1,
    max_rows: int = 10,
    conditions: Mapping[str, object] | None = None,
) -> SearchStrategy[pd.DataFrame]:
    """Return a strategy of tables that obey columns, rules and conditions; it needs hypothesis.

    Values range over all that the specification allows, rare ones as often as common ones: examples look for edges,
    and do not follow the declared marginals and correlations.  They shrink to ``min_rows`` rows, numbers near 0, early
    times, first categories and no nulls.  A row that breaks a rule and cannot be mended is proposed anew, and after
    repeated misses drawn.  Numbers reach as far as their marginals.

    Args:
        conditions: What every row must satisfy besides, as ``Model.sample`` takes it.

    Raises:
        SynthError: if the requirements contradict each other.
    """
    from hypothesis import strategies

    model = model_of(requirements)
    sampler = model.sampler
    assert isinstance(sampler, GaussianCopulaSampler)  # noqa: S101 - what tabular.specified fits
    cells = strategies.tuples(*(_cells(sampler.columns[name], held) for name, held in sampler.schema.columns.items()))

    def decoded(rows: Sequence[tuple[float, ...]]) -> Dataset:
        values = np.array(rows, dtype=np.float64).reshape(len(rows), len(sampler.columns))
        return decode(Features(values, slices(sampler.schema), sampler.schema))

    @strategies.composite
    def table(draw: DrawFn) -> pd.DataFrame:
        rows = draw(strategies.lists(cells, min_size=min_rows, max_size=max_rows))
        seed = draw(strategies.integers(0, 2**16))
        # A refused row is proposed anew: an example with a miss is longer than one without, and thus no simpler.
        again = partial(_proposal, draw, cells, decoded)
        made = Model(_Proposed(decoded(rows), again, sampler), model.schema, model.ledger, model.manifest)
        drawn: pd.DataFrame = made.sample(len(rows), seed=seed, conditions=conditions)
        drawn.attrs = {}
        return drawn

    return table()


def _proposal(
    draw: DrawFn,
    cells: SearchStrategy[tuple[float, ...]],
    decoded: Callable[[Sequence[tuple[float, ...]]], Dataset],
    n: int,
) -> Dataset:
    return decoded([draw(cells) for _ in range(n)])


def _cells(model: ColumnModel, column: AnyColumn) -> SearchStrategy[float]:
    """Return a strategy of one column's encoded values, NaN for null."""
    from hypothesis import strategies

    null = strategies.just(np.nan)
    if not model.is_known:
        return null
    low, high = float(model.marginals[0].low[0]), float(model.marginals[0].high[-1])
    known: SearchStrategy[Any]
    if len(model.order):
        known = strategies.sampled_from([float(code) for code in model.order])
    elif isinstance(column, Numeric) and column.places is None:
        known = strategies.floats(low, high, allow_nan=False)
    else:
        # Encoded numbers are offsets from the lower bound: shifted back, they shrink to the number nearest to 0.
        origin = round(float(column.low or 0) * 10.0 ** (column.places or 0)) if isinstance(column, Numeric) else 0
        first, last = int(np.ceil(low)) + origin, int(np.floor(high)) + origin
        known = strategies.integers(first, last).map(lambda step: float(step - origin))
    return strategies.one_of(known, null) if model.null > 0 else known


@dataclass
class _Proposed:
    """A sampler whose first rows are given; what rules refuse of them is proposed anew, and then drawn."""

    rows: Dataset
    again: Callable[[int], Dataset]
    rest: GaussianCopulaSampler
    _calls: int = field(default=0, init=False)

    @property
    def schema(self) -> Schema:
        return self.rest.schema

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        self._calls += 1
        if self._calls == 1 and n == len(self.rows.table):
            return self.rows
        drawn = self.rest.sample(n, rng=rng, given=given)
        if given is not None or self._calls > 2 or not len(drawn.table):
            return drawn
        proposed = self.again(min(n, _MOST_PROPOSALS)).table
        return replace(
            drawn,
            tables={drawn.schema.root: pd.concat([proposed, drawn.table.iloc[len(proposed) :]], ignore_index=True)},
        )

    def save(self, directory: Path) -> None:
        raise SynthError("the sampler of one example is not saved")

    @classmethod
    def load(cls, directory: Path) -> _Proposed:  # noqa: ARG003 - the protocol's
        raise SynthError("the sampler of one example is not saved")
