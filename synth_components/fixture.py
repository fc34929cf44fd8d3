"""Synthetic tables in pytest: the fixture ``synthetic_table``.

Pytest loads this module at every start, so that it imports nothing but pytest until a test asks for rows.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    import pandas as pd

    from synth_components.strategy import Requirements

_FRESH = pytest.StashKey[int]()
_DRAWN = pytest.StashKey[list[str]]()


class SyntheticTable(Protocol):
    """What the fixture ``synthetic_table`` is."""

    def __call__(
        self,
        requirements: Requirements,
        *,
        n: int | None = None,
        seed: int | None = None,
        conditions: Mapping[str, object] | pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Return ``n`` rows that obey the requirements' columns and rules, and the conditions.

        Args:
            requirements: A specification, or the path of a file that holds one, relative to the test's file.
            n: Number of rows; ``None`` for one per row of a table of conditions, or 1000.
            seed: Equal seeds give equal rows; ``None`` takes ``--synth-seed``.
            conditions: As ``Model.sample`` takes them.
        """


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--synth-seed``."""
    parser.getgroup("synth-components").addoption(
        "--synth-seed",
        type=int,
        default=0,
        metavar="SEED",
        help="Seed of the rows of the fixture synthetic_table; -1 draws a fresh one, told by failures.  [default: 0]",
    )


@pytest.fixture
def synthetic_table(request: pytest.FixtureRequest) -> SyntheticTable:
    """Return a function from requirements to rows; a failing test tells the seeds that replay it."""
    drawn = request.node.stash.setdefault(_DRAWN, [])

    def draw(
        requirements: Requirements,
        *,
        n: int | None = None,
        seed: int | None = None,
        conditions: Mapping[str, object] | pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        from synth_components.strategy import model_of

        if isinstance(requirements, str | Path):
            requirements = request.path.parent / requirements
        model = model_of(requirements)
        chosen = _seed(request.config) if seed is None else seed
        replay = f"--synth-seed {chosen}, or seed={chosen} in the call" if seed is None else "the call as it is"
        drawn.append(
            f"{'' if n is None else f'{n} '}rows of {list(model.schema.columns)} with seed {chosen}; replay: {replay}"
        )
        rows: pd.DataFrame = model.sample(n, seed=chosen, conditions=conditions)
        return rows

    return draw


def _seed(config: pytest.Config) -> int:
    """Return the seed of the session."""
    asked: int = config.getoption("--synth-seed")
    if asked != -1:
        return asked
    return config.stash.setdefault(_FRESH, secrets.randbelow(2**53))


# The old kind of wrapper: the new one does not exist in pytest 7, which would fail at its start.
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Add what was drawn to the report of a test that fails."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and (drawn := item.stash.get(_DRAWN, [])):
        report.sections.append(("synthetic_table", "\n".join(drawn)))
