"""Rules on which values occur together: unique columns, hierarchies, dependencies, fixed combinations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_components.constraints import FixedCombinations, FunctionalDependency, Hierarchy, Unique
from synth_components.dependency import candidate_keys, codes_of, functional_dependencies, joint_dependencies
from synth_components.errors import ConstraintError
from synth_components.proposal.rows import SIGNIFICANT, Proposal, Rows
from synth_components.schema import Datetime, Numeric

_COVERED = 0.99  # of the rows lie in combinations with support
_MOST_VALUES = 1_000  # of a number that may decide other columns
_BY_CHANCE = 5.0  # repetitions that independent values would show at least
_ABSENT = 0.05  # of independent rows would fall on combinations that do not occur
_MOST_COMBINATIONS = 30


def unique(rows: Rows) -> Iterator[Proposal]:
    """Yield the columns, and pairs of columns, that never repeat although chance would repeat them."""
    codes = codes_of(rows.table, list(rows.columns))
    n = len(rows.table)
    singles = [key for key in candidate_keys(rows.table, codes) if len(key) == 1]
    for (name,) in singles:
        if n * n / 2 / _room(rows, name) >= _BY_CHANCE:
            yield rows.proposal(Unique(columns=(name,)), f"no value occurs twice in {n} rows")
    rest = {name: held for name, held in codes.items() if (name,) not in singles}
    for key in candidate_keys(rows.table, rest):
        shares = [np.square(np.bincount(codes[name]) / n).sum() for name in key]
        repeated = n * n / 2 * float(np.prod(shares))
        if len(key) > 1 and repeated >= _BY_CHANCE:
            reason = f"independent columns would repeat about {repeated:.0f} pairs, and none is"
            yield rows.proposal(Unique(columns=key), reason)


def _room(rows: Rows, name: str) -> float:
    """Return how many values a column could take between its ends; 1 for identifiers and text."""
    match rows.columns[name]:
        case Numeric(places=int(places)) if name in rows.numbers:
            values = rows.numbers[name]
            return float((np.nanmax(values) - np.nanmin(values)) * 10.0**places + 1)
        case Datetime() if name in rows.times:  # without nulls: a key
            stamps = np.sort(rows.times[name])
            step = float(np.gcd.reduce(np.diff(stamps).astype(np.int64)))
            return float(stamps[-1] - stamps[0]) / max(step, 1.0)
        case _:
            return 1.0


def together(rows: Rows, computed: Sequence[tuple[str, ...]], *, max_rows: int) -> Iterator[Proposal]:
    """Yield hierarchies, then the dependencies that they do not hold, then combinations.

    Args:
        computed: Columns that a formula ties together, whose dependency says nothing more.
    """
    codes = _deciding(rows)
    single = functional_dependencies(codes, max_rows=max_rows)
    pairs = [pair for pair in single if not any(set(pair) <= set(names) for names in computed)]
    distinct = {name: int(held.max()) + 1 for name, held in codes.items()}
    told: list[set[str]] = []
    for chain in _chains(pairs, distinct):
        proposal = _learned(rows, Hierarchy(levels=chain, min_count=rows.min_count), _reason(rows, chain))
        if proposal is not None:
            told.append(set(chain))
            yield proposal
    mirrored = {(b, a) for a, b in pairs if distinct[a] == distinct[b]}
    order = list(rows.columns)
    follows = set(pairs)
    for determinant, dependent in pairs:
        if any({determinant, dependent} <= names for names in told):
            continue
        if (determinant, dependent) in mirrored and order.index(determinant) > order.index(dependent):
            continue  # told the other way round
        middle = [m for m in order if (determinant, m) in follows and (m, dependent) in follows]
        if any((m, determinant) not in follows and (dependent, m) not in follows for m in middle):
            continue  # follows from two others
        if _by_chance(codes[determinant], codes[dependent]):
            continue
        rule = FunctionalDependency(determinant=(determinant,), dependent=dependent, min_count=rows.min_count)
        reason = f"each of {distinct[determinant]} values goes with one of {distinct[dependent]}"
        proposal = _learned(rows, rule, reason)
        if proposal is not None:
            yield proposal
    yield from _joint(rows, codes, single, computed, max_rows=max_rows)
    yield from _fixed(rows, set(pairs))


def _joint(
    rows: Rows,
    codes: dict[str, NDArray[np.int64]],
    single: Sequence[tuple[str, str]],
    computed: Sequence[tuple[str, ...]],
    *,
    max_rows: int,
) -> Iterator[Proposal]:
    """Yield the dependencies on two columns together."""
    for first, second, dependent in joint_dependencies(codes, single, max_rows=max_rows):
        if any({first, second, dependent} <= set(names) for names in computed):
            continue
        both, known = np.unique(codes[first] * (int(codes[second].max()) + 1) + codes[second], return_inverse=True)
        if _by_chance(known, codes[dependent]):
            continue
        rule = FunctionalDependency(determinant=(first, second), dependent=dependent, min_count=rows.min_count)
        reason = f"each of {len(both)} pairs of values goes with one of {int(codes[dependent].max()) + 1}"
        proposal = _learned(rows, rule, reason)
        if proposal is not None:
            yield proposal


def _deciding(rows: Rows) -> dict[str, NDArray[np.int64]]:
    """Return the codes of columns with labels and of whole numbers with few values."""
    names = list(rows.labels)
    for name, values in rows.numbers.items():
        column = rows.columns[name]
        whole = isinstance(column, Numeric) and column.places is not None and column.places <= 0
        if whole and name not in rows.binary and len(np.unique(values[~np.isnan(values)])) <= _MOST_VALUES:
            names.append(name)
    return codes_of(rows.table, [name for name in rows.columns if name in names])


def _by_chance(determinant: NDArray[np.int64], dependent: NDArray[np.int64]) -> bool:
    """Return whether rows that are independent could show the dependency: the dependent hardly varies."""
    counts = np.bincount(dependent)
    commonest = counts.max() / counts.sum()
    repeats = len(determinant) - (int(determinant.max()) + 1)
    return bool(-np.log(commonest) * repeats < SIGNIFICANT)


def _chains(pairs: Sequence[tuple[str, str]], distinct: dict[str, int]) -> Iterator[tuple[str, ...]]:
    """Yield chains of at least three columns, top first, each deciding the one above it; the longest first."""
    left = {(low, high) for low, high in pairs if distinct[low] > distinct[high] >= 2}
    while True:
        longest: dict[str, tuple[str, ...]] = {}
        for name in sorted(distinct, key=lambda column: distinct[column]):
            above = [longest[high] for low, high in left if low == name and high in longest]
            longest[name] = (*max(above, key=lambda chain: (len(chain), chain), default=()), name)
        chain = max(longest.values(), key=lambda held: (len(held), held), default=())
        if len(chain) < 3:
            return
        yield chain
        left = {(low, high) for low, high in left if low not in chain}


def _reason(rows: Rows, chain: Sequence[str]) -> str:
    sizes = [int(rows.table[name].nunique()) for name in chain]
    return f"{len(chain)} levels of {', '.join(map(str, sizes))} values, each value below one of the level above"


def _learned(rows: Rows, rule: Any, reason: str) -> Proposal | None:  # noqa: ANN401 - a learnable rule of ours
    """Return a rule with what it learns from the rows, if that covers nearly all of them."""
    try:
        proposal = rows.proposal(rule.learn(rows.table, owners=rows.owners), reason)
    except ConstraintError:
        return None
    return proposal if proposal.share >= _COVERED else None


def _fixed(rows: Rows, dependent: set[tuple[str, str]]) -> Iterator[Proposal]:
    """Yield pairs of columns some of whose combinations are absent although independence would show them."""
    found = 0
    for first, second in combinations(rows.few, 2):
        if (first, second) in dependent or (second, first) in dependent or found >= _MOST_COMBINATIONS:
            continue
        (a, values), (b, others) = rows.few[first], rows.few[second]
        both = (a >= 0) & (b >= 0)
        n = int(both.sum())
        if n < 5 * rows.min_count or len(values) * len(others) < 6:
            continue
        counts = np.bincount(a[both] * len(others) + b[both], minlength=len(values) * len(others))
        counts = counts.reshape(len(values), len(others))
        expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n
        absent = (counts == 0) & (expected >= _BY_CHANCE)
        mass = float(expected[absent].sum()) / n
        if mass < _ABSENT or counts[counts >= rows.min_count].sum() < _COVERED * n:
            continue
        rule = FixedCombinations(columns=(first, second), min_count=rows.min_count)
        reason = f"{int(absent.sum())} combinations never occur, which {mass:.0%} of independent rows would show"
        proposal = _learned(rows, rule, reason)
        if proposal is not None:
            found += 1
            yield proposal
