"""Named numbers that sum a table up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

STRONG = 0.7
"""Association from which two columns are said to go together."""

MANY_CATEGORIES = 50
"""Categories beyond which a column has many."""

FEW = 0.01
"""Share of outliers up to which a column is said to have none."""


@dataclass(frozen=True)
class TableFacts:
    """What is known of a table; aggregates only.

    Attributes:
        rows: Number of rows.
        columns: Facts of each column: its ``type`` and what `profile` measures of it.
        memory_bytes: Size in memory.
        distinct_rows: Number of different rows.
        missing: Joint patterns of missing values, with their share of the rows.
        associations: One record per pair of columns.
        keys: Candidate keys.
        dependencies: Pairs (determinant, dependent).
        missingness: How the nulls of each column come about.
        seasonality: Periods and trends along its dated columns.
        warned: Kinds of warnings, one per warning.
        units: Number of privacy units; ``None`` where a row is one.
    """

    rows: int
    columns: dict[str, dict[str, Any]]
    memory_bytes: int = 0
    distinct_rows: int = 0
    missing: list[dict[str, Any]] = field(default_factory=list)
    associations: list[dict[str, Any]] = field(default_factory=list)
    keys: list[tuple[str, ...]] = field(default_factory=list)
    dependencies: list[tuple[str, str]] = field(default_factory=list)
    missingness: dict[str, dict[str, Any]] = field(default_factory=dict)
    seasonality: list[dict[str, Any]] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    units: int | None = None

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the facts of the columns of one type."""
        return [facts for facts in self.columns.values() if facts["type"] == kind]

    def values(self, fact: str) -> list[Any]:
        """Return one fact of every column that has it."""
        return [facts[fact] for facts in self.columns.values() if facts.get(fact) is not None]

    def strengths(self) -> list[float]:
        """Return the absolute association of every pair."""
        return [abs(float(pair["value"])) for pair in self.associations]


Value = float | int | None


@dataclass(frozen=True)
class Statistic:
    """A named number of a table.

    Attributes:
        name: Its name.
        description: What it says, and its unit or range.
        value: How it is computed; ``None`` where it has no meaning, as the skewness of a table without numbers.
    """

    name: str
    description: str
    value: Callable[[TableFacts], Value]


def summary(facts: TableFacts) -> dict[str, Value]:
    """Return every statistic by name, to six significant digits; ``None`` where one has no meaning."""
    made: dict[str, Value] = {}
    for statistic in STATISTICS:
        value = statistic.value(facts)
        made[statistic.name] = value if value is None or isinstance(value, int) else float(f"{value:.6g}")
    return made


def _mean(values: Sequence[float]) -> Value:
    return float(np.mean(values)) if values else None


def _max(values: Sequence[float]) -> Value:
    return max(values) if values else None


def _count(kind: str) -> Callable[[TableFacts], Value]:
    return lambda facts: len(facts.of(kind))


def _mean_of(fact: str) -> Callable[[TableFacts], Value]:
    return lambda facts: _mean(facts.values(fact))


def _max_of(fact: str) -> Callable[[TableFacts], Value]:
    return lambda facts: _max(facts.values(fact))


def _warned(kind: str) -> Callable[[TableFacts], Value]:
    return lambda facts: sum(held == kind for held in facts.warned)


def _mechanism(name: str) -> Callable[[TableFacts], Value]:
    return lambda facts: sum(found["mechanism"] == name for found in facts.missingness.values())


def _share(part: float, whole: float) -> Value:
    return part / whole if whole else None


def _null_share(facts: TableFacts) -> Value:
    return _mean([held["null_share"] for held in facts.columns.values()])


def _complete_share(facts: TableFacts) -> Value:
    return float(sum(pattern["share"] for pattern in facts.missing if not pattern["columns"]))


def _family_share(facts: TableFacts) -> Value:
    families = facts.values("family")
    return _share(sum(family["name"] != "none" for family in families), len(families))


def _dimensions(facts: TableFacts) -> Value:
    """Return the participation ratio of the eigenvalues of the matrix of associations."""
    names = sorted({name for pair in facts.associations for name in pair["columns"]})
    if not names:
        return None
    place = {name: at for at, name in enumerate(names)}
    matrix = np.eye(len(names))
    for pair in facts.associations:
        first, second = (place[name] for name in pair["columns"])
        matrix[first, second] = matrix[second, first] = pair["value"]
    values = np.linalg.eigvalsh(matrix)
    return float(values.sum() ** 2 / (values**2).sum())


def _odd(facts: TableFacts) -> Value:
    def is_odd(column: Mapping[str, Any]) -> bool:
        is_unknown = column.get("family", {"name": ""})["name"] == "none"
        return is_unknown or bool(column.get("inflated")) or column.get("outlier_share", 0) > FEW

    return sum(map(is_odd, facts.of("numeric")))


def _bent_pairs(facts: TableFacts) -> Value:
    return sum("pearson" in pair and abs(float(pair["value"] - pair["pearson"])) > 0.1 for pair in facts.associations)


def _strongest_share(facts: TableFacts) -> Value:
    """Return the mean over columns of the strongest association of each."""
    best: dict[str, float] = {}
    for pair in facts.associations:
        for name in pair["columns"]:
            best[name] = max(best.get(name, 0.0), abs(float(pair["value"])))
    return _mean(list(best.values()))


STATISTICS: tuple[Statistic, ...] = (
    Statistic("rows", "Number of rows.", lambda f: f.rows),
    Statistic("columns", "Number of columns.", lambda f: len(f.columns)),
    Statistic("cells", "Rows times columns.", lambda f: f.rows * len(f.columns)),
    Statistic("rows_per_column", "Rows for each column.", lambda f: _share(f.rows, len(f.columns))),
    Statistic("memory_bytes", "Size in memory, in bytes.", lambda f: f.memory_bytes),
    Statistic("bytes_per_row", "Size in memory of a row, in bytes.", lambda f: _share(f.memory_bytes, f.rows)),
    Statistic("numeric_columns", "Columns of numbers.", _count("numeric")),
    Statistic(
        "integer_columns",
        "Columns of whole numbers.",
        lambda f: sum(c.get("is_integer", False) for c in f.of("numeric")),
    ),
    Statistic("categorical_columns", "Columns of categories.", _count("categorical")),
    Statistic("boolean_columns", "Columns of truth values.", _count("boolean")),
    Statistic("datetime_columns", "Columns of dates and times.", _count("datetime")),
    Statistic("text_columns", "Columns of text that is not learned.", _count("text")),
    Statistic("key_columns", "Columns that identify rows.", _count("key")),
    Statistic(
        "column_types", "Number of different types of columns.", lambda f: len({c["type"] for c in f.columns.values()})
    ),
    Statistic("identifier_columns", "Columns that look like direct identifiers.", _warned("identifier")),
    Statistic(
        "repeated_key_columns", "Columns that look like somebody's identifier on several rows.", _warned("repeated_key")
    ),
    Statistic("constant_columns", "Columns of one value.", _warned("constant")),
    Statistic("empty_columns", "Columns without values.", _warned("empty")),
    Statistic("rare_value_columns", "Columns with values of little support.", _warned("rare_values")),
    Statistic(
        "binary_columns", "Columns of two values.", lambda f: sum(c["distinct"] == 2 for c in f.columns.values())
    ),
    Statistic("null_share", "Share of cells that are null, in [0, 1].", _null_share),
    Statistic("largest_null_share", "Share of nulls of the column with the most, in [0, 1].", _max_of("null_share")),
    Statistic("nullable_columns", "Columns with nulls.", lambda f: sum(c["nulls"] > 0 for c in f.columns.values())),
    Statistic("complete_row_share", "Share of rows without nulls, in [0, 1].", _complete_share),
    Statistic("missing_patterns", "Sets of columns that are null together in enough rows.", lambda f: len(f.missing)),
    Statistic("mcar_columns", "Columns whose nulls no test found to depend on anything.", _mechanism("mcar")),
    Statistic("mar_columns", "Columns whose nulls depend on other columns.", _mechanism("mar")),
    Statistic(
        "mnar_suspected_columns", "Columns whose values look cut off where they are null.", _mechanism("mnar_suspected")
    ),
    Statistic(
        "duplicate_row_share",
        "Share of rows that repeat an earlier one, in [0, 1].",
        lambda f: _share(f.rows - f.distinct_rows, f.rows),
    ),
    Statistic("distinct_values", "Different values, over all columns.", lambda f: sum(f.values("distinct"))),
    Statistic(
        "mean_cardinality_ratio",
        "Mean over columns of distinct values per value, in [0, 1].",
        _mean_of("cardinality_ratio"),
    ),
    Statistic("largest_cardinality_ratio", "The largest of these, in [0, 1].", _max_of("cardinality_ratio")),
    Statistic(
        "mean_uniqueness_ratio",
        "Mean over columns of the share of values that occur once, in [0, 1].",
        _mean_of("uniqueness_ratio"),
    ),
    Statistic("largest_uniqueness_ratio", "The largest of these, in [0, 1].", _max_of("uniqueness_ratio")),
    Statistic(
        "mean_categories",
        "Mean distinct values of columns of categories.",
        lambda f: _mean([c["distinct"] for c in f.of("categorical")]),
    ),
    Statistic(
        "largest_categories",
        "Distinct values of the column of categories with the most.",
        lambda f: _max([c["distinct"] for c in f.of("categorical")]),
    ),
    Statistic(
        "many_category_columns",
        "Columns of more than 50 categories.",
        lambda f: sum(c["distinct"] > MANY_CATEGORIES for c in f.of("categorical")),
    ),
    Statistic(
        "mean_balance", "Mean entropy of categories over that of as many equal ones, in [0, 1].", _mean_of("balance")
    ),
    Statistic(
        "smallest_balance", "The smallest of these, in [0, 1].", lambda f: min(f.values("balance"), default=None)
    ),
    Statistic(
        "largest_category_share",
        "Share of the commonest category, in the column where it is largest.",
        _max_of("largest_share"),
    ),
    Statistic(
        "mean_absolute_skewness",
        "Mean absolute skewness of numbers.",
        lambda f: _mean([abs(v) for v in f.values("skewness")]),
    ),
    Statistic(
        "largest_absolute_skewness", "The largest of these.", lambda f: _max([abs(v) for v in f.values("skewness")])
    ),
    Statistic("mean_excess_kurtosis", "Mean kurtosis of numbers, zero for the normal.", _mean_of("kurtosis")),
    Statistic("largest_excess_kurtosis", "The largest of these.", _max_of("kurtosis")),
    Statistic("mean_outlier_share", "Mean share of outliers of numbers, in [0, 1].", _mean_of("outlier_share")),
    Statistic("largest_outlier_share", "The largest of these, in [0, 1].", _max_of("outlier_share")),
    Statistic(
        "outlier_columns",
        "Columns of numbers with more than 1 % of outliers.",
        lambda f: sum(v > FEW for v in f.values("outlier_share")),
    ),
    Statistic("zero_share", "Mean share of zeros of numbers, in [0, 1].", _mean_of("zero_share")),
    Statistic("negative_share", "Mean share of negative numbers, in [0, 1].", _mean_of("negative_share")),
    Statistic(
        "inflated_columns",
        "Columns of numbers with values that stand out by their count.",
        lambda f: sum(bool(v) for v in f.values("inflated")),
    ),
    Statistic("odd_columns", "Columns of numbers without a family, or with inflated values or outliers.", _odd),
    Statistic(
        "known_family_share",
        "Share of columns of numbers that follow a family of distributions, in [0, 1].",
        _family_share,
    ),
    Statistic("pattern_columns", "Columns of text of a known form.", lambda f: len(f.values("pattern"))),
    Statistic("mean_text_length", "Mean length of texts and categories, in characters.", _mean_of("mean_length")),
    Statistic("pairs", "Pairs of columns whose association was measured.", lambda f: len(f.associations)),
    Statistic("mean_association", "Mean absolute association of pairs, in [0, 1].", lambda f: _mean(f.strengths())),
    Statistic("largest_association", "The largest of these, in [0, 1].", lambda f: _max(f.strengths())),
    Statistic(
        "strong_pairs", "Pairs whose association is 0.7 or more.", lambda f: sum(v >= STRONG for v in f.strengths())
    ),
    Statistic(
        "mean_strongest_association",
        "Mean over columns of the strongest association of each, in [0, 1].",
        _strongest_share,
    ),
    Statistic("bent_pairs", "Pairs of numbers whose rank and linear correlation differ by more than 0.1.", _bent_pairs),
    Statistic(
        "effective_dimensions",
        "Independent columns that would vary as much: from 1 to the number of columns.",
        _dimensions,
    ),
    Statistic("candidate_keys", "Columns, or else pairs of them, that identify rows.", lambda f: len(f.keys)),
    Statistic("dependencies", "Pairs of columns of which one determines the other.", lambda f: len(f.dependencies)),
    Statistic(
        "seasonal_series", "Dated series with a period.", lambda f: sum(bool(s["periods"]) for s in f.seasonality)
    ),
    Statistic(
        "trending_series",
        "Dated series with a trend.",
        lambda f: sum(s["trend"]["direction"] != "none" for s in f.seasonality),
    ),
)
"""Every statistic of a table."""
