"""How hard a table is to imitate, from 1 to 10."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log10
from typing import Any

from synth_components.statistics.table import Value

_FULL = 0.7  # mean of the parts that counts as the hardest table: no table is hard in every way


@dataclass(frozen=True)
class Part:
    """One of the ways in which a table is hard.

    Attributes:
        name: Its name.
        description: What makes it 0, and what 1.
        value: From the statistics of the table to [0, 1].
    """

    name: str
    description: str
    value: Callable[[Mapping[str, Value]], float]


@dataclass(frozen=True)
class Complexity:
    """How hard a table is.

    Attributes:
        score: From 1 to 10.
        parts: By name, in [0, 1].
    """

    score: int
    parts: Mapping[str, float]


def complexity(statistics: Mapping[str, Value]) -> Complexity:
    """Return the score and the parts of a table.

    The score is one plus nine times the mean of the parts over 0.7, rounded, and at most 10.

    Args:
        statistics: What ``summary`` returns.
    """
    numbers = {name: 0 if value is None else value for name, value in statistics.items()}
    parts = {part.name: round(min(max(float(part.value(numbers)), 0.0), 1.0), 3) for part in PARTS}
    mean = sum(parts.values()) / len(parts)
    return Complexity(round(1 + 9 * min(1.0, mean / _FULL)), parts)


def _log_share(value: Value, most: float) -> float:
    return log10(max(value or 1, 1)) / log10(most)


def _categories(s: Mapping[str, Any]) -> float:
    return _log_share(s["largest_categories"], 1000)


def _missing(s: Mapping[str, Any]) -> float:
    gaps = s["nullable_columns"]
    told = s["mar_columns"] + s["mnar_suspected_columns"]
    return float(min(1.0, 2 * gaps / s["columns"]) / 2 + (told / gaps / 2)) if gaps else 0.0


def _order(s: Mapping[str, Any]) -> float:
    if s["seasonal_series"] or s["repeated_key_columns"]:
        return 1.0
    return 0.5 if s["trending_series"] else 0.0


def _shape(s: Mapping[str, Any]) -> float:
    return float(s["odd_columns"] / s["numeric_columns"]) if s["numeric_columns"] else 0.0


def _rules(s: Mapping[str, Any]) -> float:
    return float(2 * s["dependencies"] / s["columns"])


def _dependence(s: Mapping[str, Any]) -> float:
    return float(s["mean_strongest_association"])


PARTS: tuple[Part, ...] = (
    Part("width", "0 for one column, 1 for 100.", lambda s: _log_share(s["columns"], 100)),
    Part("types", "0 for one type of column, 1 for five.", lambda s: ((s["column_types"] or 1) - 1) / 4),
    Part(
        "categories",
        "0 for one category, 1 for 1,000 in a column.",
        lambda s: _log_share(s["largest_categories"], 1000),
    ),
    Part("missing", "0 without nulls, 1 if half of the columns have some, and none completely at random.", _missing),
    Part("shape", "Share of columns of numbers without a family, or with inflated values or outliers.", _shape),
    Part("dependence", "Mean over columns of the strongest association of each.", _dependence),
    Part("rules", "0 without columns that determine others, 1 for one in every two columns.", _rules),
    Part("order", "0 for rows of no order, 0.5 for a trend, 1 for a period or somebody with several rows.", _order),
)
"""The ways in which a table is hard, of equal weight."""
