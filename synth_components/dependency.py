"""Which columns determine others, and which identify rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.support import Owners, supports

_MOST_PAIRS = 200
_MOST_DETERMINANTS = 60


def codes_of(table: pd.DataFrame, names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Return codes (n,) from 0 by column; null has a code of its own."""
    made = {}
    for name in names:
        codes, distinct = pd.factorize(table[name])
        made[name] = np.where(codes < 0, len(distinct), codes).astype(np.int64)
    return made


def functional_dependencies(codes: dict[str, NDArray[np.int64]], *, max_rows: int) -> list[tuple[str, str]]:
    """Return the pairs (determinant, dependent): each value of the one goes with one of the other.

    Only dependencies that say something: the determinant has at most half as many values as rows, the dependent at
    least two.  A pair is tried on ``max_rows`` evenly spaced rows before all; at most 60 determinants are tried.
    """
    distinct = {name: int(held.max()) + 1 if len(held) else 0 for name, held in codes.items()}
    n = len(next(iter(codes.values()))) if codes else 0
    some = slice(None, None, max(1, n // max(max_rows, 1)))
    found = []
    determinants = [name for name in codes if 2 <= distinct[name] <= n / 2][:_MOST_DETERMINANTS]
    for determinant in determinants:
        for dependent in codes:
            if dependent == determinant or not 2 <= distinct[dependent] <= distinct[determinant]:
                continue
            if _determines(codes[determinant][some], codes[dependent][some], distinct[determinant]) and _determines(
                codes[determinant], codes[dependent], distinct[determinant]
            ):
                found.append((determinant, dependent))
    return found


def joint_dependencies(
    codes: dict[str, NDArray[np.int64]], single: Collection[tuple[str, str]], *, max_rows: int
) -> list[tuple[str, str, str]]:
    """Return triples whose first two columns determine the third together, and neither alone.

    Only dependencies that say something: the pair has at most half as many combinations as rows.  At most 200 pairs are
    tried, each on ``max_rows`` evenly spaced rows before all.

    Args:
        single: Pairs (determinant, dependent), as ``functional_dependencies`` returns them.
    """
    distinct = {name: int(held.max()) + 1 if len(held) else 0 for name, held in codes.items()}
    n = len(next(iter(codes.values()))) if codes else 0
    some = slice(None, None, max(1, n // max(max_rows, 1)))
    follows = set(single)
    usable = [name for name in codes if 2 <= distinct[name] <= n / 4]
    pairs = [pair for pair in combinations(usable, 2) if pair not in follows and pair[::-1] not in follows]
    found = []
    for first, second in pairs[:_MOST_PAIRS]:
        both, known = np.unique(codes[first] * distinct[second] + codes[second], return_inverse=True)
        if len(both) > n / 2:
            continue
        for dependent in codes:
            if dependent in (first, second) or not 2 <= distinct[dependent] <= len(both):
                continue
            if {(first, dependent), (second, dependent)} & follows:
                continue
            if _determines(known[some], codes[dependent][some], len(both)) and _determines(
                known, codes[dependent], len(both)
            ):
                found.append((first, second, dependent))
    return found


def _determines(determinant: NDArray[np.int64], dependent: NDArray[np.int64], distinct: int) -> bool:
    last = np.zeros(distinct, dtype=np.int64)
    last[determinant] = dependent
    return bool((last[determinant] == dependent).all())


def candidate_keys(table: pd.DataFrame, codes: dict[str, NDArray[np.int64]]) -> list[tuple[str, ...]]:
    """Return the columns without null or repetition, else the pairs (at most 200); never floats."""
    n = len(table)
    usable = [name for name in codes if table[name].dtype.kind != "f" and not bool(table[name].isna().any())]
    distinct = {name: int(codes[name].max()) + 1 if n else 0 for name in usable}
    singles = [(name,) for name in usable if distinct[name] == n > 1]
    if singles or n < 2:
        return list(singles)
    found: list[tuple[str, ...]] = []
    for tried, (first, second) in enumerate(combinations(usable, 2)):
        if tried >= _MOST_PAIRS:
            break
        if distinct[first] * distinct[second] < n:
            continue
        pairs = codes[first] * distinct[second] + codes[second]
        head = pairs[:2_000]
        if len(np.unique(head)) == len(head) and len(np.unique(pairs)) == n:
            found.append((first, second))
    return found


def missing_patterns(table: pd.DataFrame, *, min_count: int, owners: Owners = None) -> list[dict[str, Any]]:
    """Return which columns are missing together, most frequent first; patterns of few rows count as one.

    Args:
        min_count: Fewest rows of a pattern that is told, or privacy units, where ``owners`` are given.
        owners: The privacy unit (n,) of each row.
    """
    nulls = table.isna()
    gaps = [str(name) for name in table.columns if bool(nulls[name].any())]
    if not gaps or not len(table):
        return [{"columns": [], "rows": len(table), "share": 1.0}] if len(table) else []
    packed = np.packbits(nulls[gaps].to_numpy(), axis=1)
    patterns, which, counts = np.unique(packed, axis=0, return_inverse=True, return_counts=True)
    behind = supports(which.reshape(-1).astype(np.int64), owners, len(counts))
    found: list[dict[str, Any]] = []
    for place in np.argsort(-counts, kind="stable"):
        if behind[place] < min_count:
            continue
        bits = np.unpackbits(patterns[place], count=len(gaps)).astype(bool)
        names = [name for name, is_null in zip(gaps, bits, strict=True) if is_null]
        found.append({"columns": names, "rows": int(counts[place]), "share": float(counts[place] / len(table))})
    rest = len(table) - sum(entry["rows"] for entry in found)
    if rest:
        found.append({"columns": ["(other patterns)"], "rows": rest, "share": rest / len(table)})
    return found
