"""Which generator, which level of privacy, and what to look at first: rules, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from synth_components.statistics.table import TableFacts, Value

FEW_ROWS = 200
"""Rows below which pairs of columns cannot be learned."""

_INDEPENDENT = 0.1  # association below which columns are treated as unrelated
_SMALL = 1_000  # rows below which each row shows in a model
_LARGE = 10_000
_MOSTLY_UNIQUE = 0.5  # of the values of a learned category or number
_LOPSIDED = 0.95
_MANY = 200  # categories

Topic: TypeAlias = Literal["generator", "privacy", "preparation"]
LEVELS = {
    "high": "an epsilon of 1 or less on a declared schema, or no release of rows; without a private generator raise "
    "min_category_count and min_leaf, and judge the attacks in the report",
    "medium": "an epsilon from 1 to 8 on a declared schema, or the default options once the report's attacks fail",
    "low": "the default options: no value stands in a model that fewer than min_category_count rows share",
}
"""What each level of privacy asks for."""


@dataclass(frozen=True)
class Advice:
    """A piece of advice.

    Attributes:
        topic: What it is about.
        choice: A generator's name, a level of privacy, or what to do.
        reason: What speaks for it, in words without values.
    """

    topic: Topic
    choice: str
    reason: str


def advice(statistics: dict[str, Value], facts: TableFacts) -> tuple[Advice, ...]:
    """Return one piece of advice on the generator, one on privacy, and any number on preparation."""
    return (_generator(statistics, facts), _privacy(statistics, facts), *_preparation(statistics, facts))


def _number(value: Value) -> float:
    return 0.0 if value is None else float(value)


def _generator(statistics: dict[str, Value], facts: TableFacts) -> Advice:
    strongest = _number(statistics["largest_association"])
    if facts.rows < FEW_ROWS:
        return Advice(
            "generator", "tabular.independent", f"{facts.rows} rows are too few to learn pairs of columns from"
        )
    if strongest < _INDEPENDENT:
        return Advice("generator", "tabular.independent", f"no two columns go together: {strongest:.2f} at most")
    odd = _oddities(statistics, facts)
    if odd:
        return Advice("generator", "tabular.trees", f"it learns what a copula of normals does not: {', '.join(odd)}")
    return Advice(
        "generator",
        "tabular.gaussian_copula",
        "smooth numbers of single peaks, monotone pairs: it suffices, and is small",
    )


def _oddities(statistics: dict[str, Value], facts: TableFacts) -> list[str]:
    """Return what speaks against a copula of normals."""
    named = {
        "categories": _number(statistics["categorical_columns"]) + _number(statistics["boolean_columns"]),
        "inflated values": _number(statistics["inflated_columns"]),
        "numbers of no known family": sum(family["name"] == "none" for family in facts.values("family")),
        "pairs that are not linear": _number(statistics["bent_pairs"]),
        "nulls that depend on other columns": _number(statistics["mar_columns"]),
        "columns that determine others": _number(statistics["dependencies"]),
    }
    return [name for name, count in named.items() if count]


def _privacy(statistics: dict[str, Value], facts: TableFacts) -> Advice:
    rows, counted = (facts.rows, "rows") if facts.units is None else (facts.units, "privacy units")
    high = {
        "columns look like direct identifiers of people": _number(statistics["identifier_columns"]) > 0,
        "somebody has several rows, so that a row is not a person": _number(statistics["repeated_key_columns"]) > 0,
        f"fewer than {_SMALL:,} {counted}: each weighs much in a model": rows < _SMALL,
    }
    medium = {
        f"fewer than {_LARGE:,} {counted}": rows < _LARGE,
        f"columns hold values that few {counted} share": _number(statistics["rare_value_columns"]) > 0,
        "a column's values are mostly unique": _number(statistics["largest_uniqueness_ratio"]) > _MOSTLY_UNIQUE,
    }
    for level, reasons in (("high", high), ("medium", medium)):
        given = [reason for reason, holds in reasons.items() if holds]
        if given:
            return Advice("privacy", level, f"{'; '.join(given)}. It asks for {LEVELS[level]}")
    return Advice(
        "privacy", "low", f"no direct identifiers, many rows, values widely shared. It asks for {LEVELS['low']}"
    )


def _preparation(statistics: dict[str, Value], facts: TableFacts) -> list[Advice]:
    def named(names: list[str]) -> str:
        shown = ", ".join(f"'{name}'" for name in names[:5])
        return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown

    found = []
    cut = [name for name, gap in facts.missingness.items() if gap["mechanism"] == "mnar_suspected"]
    if cut:
        reason = (
            f"values of {named(cut)} look cut off where they are null, which no rows can prove: ask who collected them"
        )
        found.append(Advice("preparation", "ask why values are missing", reason))
    lopsided = [name for name, column in facts.columns.items() if _LOPSIDED <= column.get("largest_share", 0) < 1]
    if lopsided:
        reason = f"one category holds 95 % or more of {named(lopsided)}"
        found.append(Advice("preparation", "draw rare classes with conditions, or augment", reason))
    many = [
        name for name, column in facts.columns.items() if column["type"] == "categorical" and column["distinct"] > _MANY
    ]
    if many:
        found.append(Advice("preparation", "group categories", f"more than {_MANY} categories in {named(many)}"))
    seasonal = sorted({str(series["of"] or series["by"]) for series in facts.seasonality if series["periods"]})
    if seasonal:
        reason = f"{named(seasonal)} repeat in time, and rows are drawn one by one: columns of weekday or month keep it"
        found.append(Advice("preparation", "keep periods as columns", reason))
    if _number(statistics["duplicate_row_share"]) > 0.01 and _number(statistics["mean_uniqueness_ratio"]) > 0.1:
        found.append(Advice("preparation", "look at repeated rows", "more than 1 % of the rows repeat an earlier one"))
    if _number(statistics["constant_columns"]) + _number(statistics["empty_columns"]):
        found.append(Advice("preparation", "drop columns", "columns of one value, or none, tell nothing"))
    return found
