"""How strongly pairs of columns go together, in [0, 1] or [-1, 1], whatever their types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.encode import encoder
from synth_components.schema import AnyColumn, Boolean, Categorical, Datetime, Image, Key, Numeric, Text

Floats: TypeAlias = NDArray[np.float64]
MOST_CATEGORIES = 50
"""Categories beyond the most frequent ones count as one, so that a table of counts stays small."""

_MOST_CELLS = 20_000_000


def associations(table: pd.DataFrame, columns: Mapping[str, AnyColumn], *, max_rows: int) -> list[dict[str, Any]]:
    """Return one record per pair of columns: measure, value, and the rows without nulls behind it.

    Numbers and times: ``spearman`` (and ``pearson`` beside it); two categories: ``cramers_v``; a category and a number:
    ``correlation_ratio``.  At most ``max_rows`` rows, evenly spaced, and fewer for many columns: the time is bounded.

    Source: Bergsma 2013, "A bias-correction for Cramer's V"; Fisher 1925 for the correlation ratio (its square root).
    """
    names = [name for name, column in columns.items() if not isinstance(column, Text | Image | Key)]
    pairs = len(names) * (len(names) - 1) // 2
    rows = max(1_000, min(max_rows, _MOST_CELLS // max(pairs, 1)))
    some = table.iloc[:: max(1, -(-len(table) // rows))]
    numbers: dict[str, Floats] = {}
    codes: dict[str, NDArray[np.int64]] = {}
    for name in names:
        column = columns[name]
        if isinstance(column, Numeric | Datetime):
            features = encoder(column, name).encode(some[name])
            numbers[name] = features[:, 0] if features.shape[1] == 1 else features @ np.array([2.0**32, 1.0])
        else:
            codes[name] = _top_codes(some[name])
    ranks = {name: _ranks(values) for name, values in numbers.items()}
    found = []
    for first_at, first in enumerate(names):
        for second in names[first_at + 1 :]:
            if first in numbers and second in numbers:
                spearman, n = correlation(ranks[first], ranks[second])
                entry = {"measure": "spearman", "value": spearman, "rows": n}
                entry["pearson"] = correlation(numbers[first], numbers[second])[0]
            elif first in codes and second in codes:
                value, n = cramers_v(codes[first], codes[second])
                entry = {"measure": "cramers_v", "value": value, "rows": n}
            else:
                group, number = (first, second) if first in codes else (second, first)
                value, n = correlation_ratio(codes[group], numbers[number])
                entry = {"measure": "correlation_ratio", "value": value, "rows": n}
            found.append({"columns": [first, second], **entry})
    return found


def is_discrete(column: AnyColumn) -> bool:
    """Return whether a column's values are categories or truth values."""
    return isinstance(column, Categorical | Boolean)


def _top_codes(values: pd.Series[Any]) -> NDArray[np.int64]:
    """Return codes (n,) by falling frequency, the rare ones together; null is -1."""
    codes, _ = pd.factorize(values)
    held = codes[codes >= 0]
    if len(held) == 0:
        return codes.astype(np.int64)
    order = np.argsort(-np.bincount(held), kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.minimum(np.arange(len(order)), MOST_CATEGORIES)
    return np.where(codes >= 0, place[codes], -1)


def _ranks(values: Floats) -> Floats:
    return np.asarray(pd.Series(values).rank(), dtype=np.float64)


def correlation(first: Floats, second: Floats) -> tuple[float, int]:
    """Return Pearson's correlation where neither is NaN, and the number of rows; 0 if one is constant."""
    both = ~(np.isnan(first) | np.isnan(second))
    n = int(both.sum())
    if n < 2:
        return 0.0, n
    x, y = _centred(first[both]), _centred(second[both])
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return (float(np.clip((x @ y) / scale, -1.0, 1.0)) if scale > 0 else 0.0), n


def _centred(values: Floats) -> Floats:
    """Return the distances of values (n,) from their mean over the largest: sums and squares of floats stay finite."""
    scaled = values / max(np.abs(values).max(), 1e-300)
    centred = scaled - scaled.mean()
    return np.asarray(centred / max(np.abs(centred).max(), 1e-300))


def cramers_v(first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[float, int]:
    """Return the bias-corrected V of two codes (n,), -1 for null, and the number of rows without null."""
    both = (first >= 0) & (second >= 0)
    n = int(both.sum())
    if n < 2:
        return 0.0, n
    width = int(second[both].max()) + 1
    counts = np.bincount(first[both] * width + second[both], minlength=(int(first[both].max()) + 1) * width)
    counts = counts.reshape(-1, width).astype(np.float64)
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    r, k = counts.shape
    if min(r, k) < 2:
        return 0.0, n
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n
    phi2 = float(((counts - expected) ** 2 / expected).sum()) / n
    phi2 = max(0.0, phi2 - (k - 1) * (r - 1) / (n - 1))
    r_corrected, k_corrected = r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)
    limit = min(r_corrected - 1, k_corrected - 1)
    return (float(np.sqrt(min(1.0, phi2 / limit))) if limit > 0 else 0.0), n


def correlation_ratio(groups: NDArray[np.int64], values: Floats) -> tuple[float, int]:
    """Return eta, the root of the share of variance between groups, and the number of rows used."""
    both = (groups >= 0) & ~np.isnan(values)
    n = int(both.sum())
    if n < 2:
        return 0.0, n
    held, numbers = groups[both], _centred(values[both])
    counts, sums = np.bincount(held), np.bincount(held, weights=numbers)
    between = float((sums[counts > 0] ** 2 / counts[counts > 0]).sum())
    total = float(numbers @ numbers)
    return (float(np.sqrt(min(1.0, between / total))) if total > 0 else 0.0), n
