"""Rows to schema, with the statistics and warnings that a person wants before training.

Every read of the rows is charged to the ledger first.  What a profile shows has support: no bound, category, quantile
or inflated value stands for fewer than ``min_category_count`` rows, or privacy units where the options name them, and
warnings hold no values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from html import escape
from typing import Any

import pandas as pd
from pydantic import Field

from synth_components.association import associations
from synth_components.config import MIN_CATEGORY_COUNT, MinCategoryCount, StepConfig
from synth_components.dependency import candidate_keys, codes_of, functional_dependencies, missing_patterns
from synth_components.errors import SchemaError
from synth_components.markdown import marked
from synth_components.markdown import table as markdown_table
from synth_components.privacy.budget_file import opened
from synth_components.privacy.ledger import not_private
from synth_components.privacy.owner import owners_by_table, require_unit, unit_of
from synth_components.protocols import PrivacyLedger
from synth_components.schema import TABLE, AnyColumn, Categorical, Datetime, Key, Link, Numeric, Schema, Text
from synth_components.support import Owners
from synth_components.typed_column import Counting, Finding, typed

_FEW_OUTLIERS = 0.001
_MOST_SHOWN = 30  # columns, and warnings, of a table


class ProfileConfig(StepConfig):
    """How to read a schema off rows."""

    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT
    describe: bool = Field(
        default=True,
        description="Also measure statistics, associations, dependencies, missing patterns, periods and complexity, "
        "and advise on generator and privacy.",
    )
    max_rows: int = Field(
        20_000, ge=1_000, lt=2**53, description="Rows, evenly spaced, that the costly measures are read off."
    )
    unit: tuple[str, ...] = Field(
        (),
        description="Columns naming whom a row belongs to: min_category_count then counts these people, not rows, and "
        "the schema names them, so that later steps do. Empty: a row is a person.",
    )


@dataclass(frozen=True)
class Profile:
    """What was read off the rows; JSON-able throughout.

    Attributes:
        schema: The schema, the first output.
        warnings: Findings, in column order.
        statistics: By table and column: counts, ratios, mean, sd, supported quantiles, inflated values, family of
            distributions, outlier share, pattern of texts.
        missing: By table: joint patterns of missing values with rows and share.
        associations: By table: one record per pair of columns.
        keys: By table: candidate keys.
        dependencies: By table: pairs (determinant, dependent).
        num_rows: Rows by table.
        summary: By table: the named statistics of `synth_components.statistics.table`.
        missingness: By table and column: mechanism of the nulls, and the columns that they depend on.
        seasonality: By table: periods and trend of each dated series.
        complexity: By table: score from 1 to 10, and its parts.
        advice: By table: topic, choice and reason.
        sensitive: By table: what each column seems to hold that is sensitive, its role and level; columns of nothing
            known are left out.
        alone: By table: share of the rows looked at that alone have their quasi-identifiers, or whose privacy unit has.
    """

    schema: Schema
    warnings: tuple[Finding, ...]
    statistics: Mapping[str, Mapping[str, Mapping[str, Any]]]
    missing: Mapping[str, list[dict[str, Any]]]
    associations: Mapping[str, list[dict[str, Any]]]
    keys: Mapping[str, list[tuple[str, ...]]]
    dependencies: Mapping[str, list[tuple[str, str]]]
    num_rows: Mapping[str, int]
    summary: Mapping[str, Mapping[str, float | int | None]] = field(default_factory=dict)
    missingness: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    seasonality: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    complexity: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    advice: Mapping[str, list[dict[str, str]]] = field(default_factory=dict)
    sensitive: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    alone: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return what a person wants to see first: rows, columns with their types, and warnings."""
        lines = []
        for table, columns in self.schema.tables.items():
            lines.append(
                f"Profile of '{table}': {self.num_rows[table]:,} rows, {len(columns)} columns{self._counted()}"
            )
            width = max(map(len, columns), default=0)
            for name, column in list(columns.items())[:_MOST_SHOWN]:
                facts = self.statistics.get(table, {}).get(name, {})
                empty = facts.get("null_share", 0.0)
                said = [f"{empty:.1%} missing"] * bool(empty) + remarks(facts, self._gap(table, name))
                lines.append(f"  {name:<{width}}  {', '.join([_label(column), *said])}")
            if len(columns) > _MOST_SHOWN:
                lines.append(f"  and {len(columns) - _MOST_SHOWN} more")
            lines += [f"  ! {warning.message}" for warning in self.warnings[:_MOST_SHOWN] if warning.table == table]
            held = self.sensitive.get(table, [])
            lines += [
                f"  # {one['column']}: {one['title']} ({one['role']}, {one['level']})" for one in held[:_MOST_SHOWN]
            ]
            lines += [f"  ~ {told}" for told in map(_told, self.seasonality.get(table, [])) if told][:_MOST_SHOWN]
            if table in self.complexity:
                lines.append(f"  complexity {self.complexity[table]['score']} of 10")
            lines += [
                f"  > {said['topic']}: {said['choice']} ({said['reason']})" for said in self.advice.get(table, [])
            ]
        return "\n".join(lines)

    def _gap(self, table: str, column: str) -> Mapping[str, Any]:
        return self.missingness.get(table, {}).get(column, {})

    def _counted(self) -> str:
        """Return what thresholds count, where that is not rows."""
        unit = self.schema.unit
        return "" if unit is None else f", counted by {', '.join(map(repr, unit.columns))}"

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        return f"<pre>{escape(repr(self))}</pre>"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value."""
        return {
            "schema": self.schema.to_json(),
            "num_rows": dict(self.num_rows),
            "warnings": [
                {"table": w.table, "column": w.column, "kind": w.kind, "message": w.message} for w in self.warnings
            ],
            "statistics": {t: {c: dict(s) for c, s in columns.items()} for t, columns in self.statistics.items()},
            "missing": {t: [dict(entry) for entry in found] for t, found in self.missing.items()},
            "associations": {t: [dict(entry) for entry in found] for t, found in self.associations.items()},
            "keys": {t: [list(key) for key in found] for t, found in self.keys.items()},
            "dependencies": {t: [list(pair) for pair in found] for t, found in self.dependencies.items()},
            "summary": {t: dict(found) for t, found in self.summary.items()},
            "missingness": {t: {c: dict(gap) for c, gap in found.items()} for t, found in self.missingness.items()},
            "seasonality": {t: [dict(entry) for entry in found] for t, found in self.seasonality.items()},
            "complexity": {t: dict(found) for t, found in self.complexity.items()},
            "advice": {t: [dict(entry) for entry in found] for t, found in self.advice.items()},
            "sensitive": {t: [dict(entry) for entry in found] for t, found in self.sensitive.items()},
            "alone": dict(self.alone),
        }

    def to_markdown(self) -> str:
        """Return the profile as text to read: columns, warnings, advice, and what else was found."""
        lines = ["# Profile", ""]
        for table, columns in self.schema.tables.items():
            rows_told = f"{self.num_rows[table]:,} rows, {len(columns)} columns{marked(self._counted())}"
            lines += [f"## Table {marked(table)}: {rows_told}", ""]
            rows = []
            for name, column in columns.items():
                facts = self.statistics.get(table, {}).get(name, {})
                missing, distinct = f"{facts.get('null_share', 0.0):.1%}", str(facts.get("distinct", ""))
                said = ", ".join(remarks(facts, self._gap(table, name)))
                rows.append([name, _label(column), column.dtype, missing, distinct, _range(column), said])
            lines += markdown_table(
                ["column", "type", "dtype", "missing", "distinct", "range or categories", "remarks"], rows
            )
            lines.append("")
            warned = [w for w in self.warnings if w.table == table]
            if warned:
                lines += ["**Warnings**", "", *(f"- {marked(w.message)}" for w in warned), ""]
            if self.sensitive.get(table):
                rows = [
                    [one["column"], one["title"], one["role"], one["level"], ", ".join(one["evidence"])]
                    for one in self.sensitive[table]
                ]
                lines += ["**Sensitive columns**", ""]
                lines += [*markdown_table(["column", "looks like", "role", "level", "evidence"], rows), ""]
                lines += [
                    f"Alone with their quasi-identifiers: {self.alone.get(table, 0.0):.1%} of the rows examined.",
                    "",
                ]
            if self.advice.get(table):
                lines += ["**Advice**", ""]
                lines += [f"- {one['topic']}: `{one['choice']}`. {marked(one['reason'])}" for one in self.advice[table]]
                lines.append("")
            if table in self.complexity:
                parts = ", ".join(f"{name} {value:.2f}" for name, value in self.complexity[table]["parts"].items())
                lines += [f"**Complexity**: {self.complexity[table]['score']} of 10 ({parts})", ""]
            told = [told for told in map(_told, self.seasonality.get(table, [])) if told]
            if told:
                lines += ["**In time**", "", *(f"- {marked(line)}" for line in told), ""]
            if len(self.missing.get(table, [])) > 1:
                lines += ["**Missing together**", ""]
                lines += [
                    f"- {entry['share']:.1%}: {marked(', '.join(entry['columns'])) or 'nothing missing'}"
                    for entry in self.missing[table][:10]
                ]
                lines.append("")
            strong = sorted(self.associations.get(table, []), key=lambda entry: -abs(entry["value"]))[:10]
            if strong:
                rows = [[" and ".join(one["columns"]), one["measure"], f"{one['value']:.2f}"] for one in strong]
                lines += ["**Strongest associations**", "", *markdown_table(["columns", "measure", "value"], rows), ""]
            if self.keys.get(table):
                lines += ["**Candidate keys**: " + marked("; ".join(", ".join(key) for key in self.keys[table])), ""]
            if self.dependencies.get(table):
                pairs = "; ".join(f"{a} determines {b}" for a, b in self.dependencies[table])
                lines += [f"**Dependencies**: {marked(pairs)}", ""]
            if self.summary.get(table):
                rows = [[name, _shown(value)] for name, value in self.summary[table].items()]
                lines += ["**Statistics**", "", *markdown_table(["statistic", "value"], rows), ""]
        return "\n".join(lines)


def remarks(facts: Mapping[str, Any], gap: Mapping[str, Any]) -> list[str]:
    """Return what stands out of a column, in a few words each: family, outliers, pattern, nulls."""
    said = []
    family = facts.get("family", {}).get("name", "none")
    if family != "none":
        said.append(family.replace("_", " "))
    if facts.get("outlier_share", 0.0) >= _FEW_OUTLIERS:
        said.append(f"{facts['outlier_share']:.1%} outliers")
    if "pattern" in facts:
        said.append(f"looks like {facts['pattern']['name'].replace('_', ' ')}")
    if gap.get("mechanism") == "mar":
        said.append(f"nulls depend on {', '.join(one['column'] for one in gap['depends_on'][:2])}")
    elif gap.get("mechanism") == "mnar_suspected":
        said.append(f"cut off {gap['cut']}: nulls may depend on the value itself")
    elif gap.get("mechanism") == "mcar":
        said.append("nulls seem random")
    return said


def _told(series: Mapping[str, Any]) -> str:
    """Return a sentence on a dated series, empty if it has neither period nor trend."""
    interval = series["interval"]
    unit = interval["unit"] if interval["every"] == 1 else f"{interval['every']} {interval['unit']}"
    said = [f"period of {p['length']} x {unit} (strength {p['strength']:.2f})" for p in series["periods"]]
    if series["trend"]["direction"] != "none":
        said.append(f"{series['trend']['direction']} (strength {series['trend']['strength']:.2f})")
    what = f"rows by '{series['by']}'" if series["of"] is None else f"'{series['of']}' by '{series['by']}'"
    return f"{what}: {', '.join(said)}" if said else ""


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def _label(column: AnyColumn) -> str:
    kind = type(column).__name__.lower()
    return f"{kind} ({column.kind})" if isinstance(column, Text) else kind


def _range(column: AnyColumn) -> str:
    if isinstance(column, Numeric | Datetime):
        low = "" if column.low is None else column.low
        return f"{low} to {'' if column.high is None else column.high}" if column.low is not None else "unbounded"
    if isinstance(column, Categorical):
        return f"{len(column.categories)} categories"
    return ""


def profile(
    tables: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    config: ProfileConfig = ProfileConfig(),  # noqa: B008 - frozen
    ledger: PrivacyLedger | None = None,
) -> Profile:
    """Return the schema, the warnings and the statistics of one table or several; the first is the root.

    Args:
        ledger: What the read is charged to, before anything is read; ``None`` charges the budget file, if one is named.

    Raises:
        BudgetExceededError: under a finite budget, as this profile is exact.
        SchemaError: naming the column that no schema can hold, and the remedy; for what is no table; or for a ``unit``
            that no table has, or whose rows cannot be told.
    """
    if not isinstance(tables, pd.DataFrame | Mapping):
        raise SchemaError(
            f"profile reads a DataFrame, or DataFrames by name, not a {type(tables).__name__}; read a file first"
        )
    given = {TABLE: tables} if isinstance(tables, pd.DataFrame) else dict(tables)
    if not given:
        raise SchemaError("there is no table to profile; give at least one")
    home = require_unit(given, config.unit)
    opened(ledger).spend("profile", not_private)
    for name, table in given.items():
        _require_names(table, name)
    owners = owners_by_table(given, config.unit)
    columns: dict[str, dict[str, AnyColumn]] = {}
    warnings: list[Finding] = []
    for name, table in given.items():
        columns[name] = {}
        counting = Counting(name, config.min_category_count, config.unit, owners[name])
        for column in table.columns:
            made, found = typed(table[column], counting)
            columns[name][column] = made
            warnings += found
    root = next(iter(given))
    keys = {t: (key,) for t, cols in columns.items() if (key := _primary(given[t], cols)) is not None}
    links = _links(given, columns, keys)
    for link in links:
        parent = columns[link.parent][link.parent_columns[0]]
        child = columns[link.child][link.columns[0]]
        assert isinstance(parent, Key)  # noqa: S101 - keys holds Key columns only
        columns[link.child][link.columns[0]] = replace(parent, dtype=child.dtype, nullable=child.nullable)
    unit = None if home is None else unit_of(home, config.unit, owners[home], min_count=config.min_category_count)
    schema = Schema(columns, root, keys, links, unit=unit)
    if not config.describe:
        return Profile(schema, tuple(warnings), {}, {}, {}, {}, {}, {t: len(table) for t, table in given.items()})
    return _described(schema, given, owners, tuple(warnings), config)


def _described(
    schema: Schema,
    tables: Mapping[str, pd.DataFrame],
    owners: Mapping[str, Owners],
    warnings: tuple[Finding, ...],
    config: ProfileConfig,
) -> Profile:
    """Return the profile of a schema with everything that is measured beside it."""
    from synth_components.sensitive import DetectConfig, detected
    from synth_components.statistics.advice import advice
    from synth_components.statistics.complexity import complexity
    from synth_components.statistics.description import column_facts, distinct_rows, gap_facts, time_facts
    from synth_components.statistics.table import TableFacts, summary

    known: dict[str, TableFacts] = {}
    least = config.min_category_count
    for name, table in tables.items():
        whose = owners[name]
        columns = schema.tables[name]
        is_small = len(table) <= config.max_rows
        codes = codes_of(table, [c for c in columns if table[c].dtype.kind != "f" or is_small])
        known[name] = TableFacts(
            rows=len(table),
            columns={c: column_facts(table[c], column, min_count=least, owners=whose) for c, column in columns.items()},
            memory_bytes=int(table.memory_usage(index=False).sum()),
            distinct_rows=distinct_rows(table, codes),
            missing=missing_patterns(table, min_count=least, owners=whose),
            associations=associations(table, columns, max_rows=config.max_rows),
            keys=candidate_keys(table, codes),
            dependencies=functional_dependencies(codes, max_rows=config.max_rows),
            missingness=gap_facts(table, columns, min_count=least, max_rows=config.max_rows, owners=whose),
            seasonality=time_facts(table, columns),
            warned=[warning.kind for warning in warnings if warning.table == name],
            units=None if whose is None else len(set(whose.tolist())),
        )
    private = detected(tables, config=DetectConfig(max_rows=config.max_rows), owners=owners)
    summaries = {name: summary(facts) for name, facts in known.items()}
    return Profile(
        schema=schema,
        warnings=warnings,
        statistics={t: facts.columns for t, facts in known.items()},
        missing={t: facts.missing for t, facts in known.items()},
        associations={t: facts.associations for t, facts in known.items()},
        keys={t: facts.keys for t, facts in known.items()},
        dependencies={t: facts.dependencies for t, facts in known.items()},
        num_rows={t: len(table) for t, table in tables.items()},
        summary=summaries,
        missingness={t: facts.missingness for t, facts in known.items()},
        seasonality={t: facts.seasonality for t, facts in known.items()},
        complexity={t: asdict(complexity(found)) for t, found in summaries.items()},
        advice={t: [asdict(said) for said in advice(summaries[t], facts)] for t, facts in known.items()},
        sensitive={t: [column.to_json() for column in private.of(t)] for t in known},
        alone=private.alone,
    )


def _require_names(table: pd.DataFrame, name: str) -> None:
    names = list(table.columns)
    if not names or not len(table):
        raise SchemaError(
            f"table '{name}' has {len(names)} columns and {len(table)} rows, which tell nothing of their types; give "
            "at least one each, or declare a schema",
            table=name,
        )
    for position, column in enumerate(names, start=1):
        if not isinstance(column, str):
            raise SchemaError(
                f"column {position} of table '{name}' has a name of type {type(column).__name__}; names are text: "
                "table.columns = table.columns.astype(str)",
                table=name,
            )
        if not column.strip():
            raise SchemaError(f"column {position} of table '{name}' has no name; name it, or drop it", table=name)
        if names.count(column) > 1:
            raise SchemaError(
                f"table '{name}' has several columns named '{column}'; rename all but one", column=column, table=name
            )


def _primary(table: pd.DataFrame, columns: Mapping[str, AnyColumn]) -> str | None:
    """Return the first key column without nulls or repetition."""
    for name, column in columns.items():
        if isinstance(column, Key) and not column.nullable and bool(table[name].is_unique):
            return name
    return None


def _links(
    tables: Mapping[str, pd.DataFrame],
    columns: Mapping[str, Mapping[str, AnyColumn]],
    keys: Mapping[str, tuple[str, ...]],
) -> tuple[Link, ...]:
    """Return the columns that bear the name of another table's key and hold only its values."""
    found = []
    for parent, (key,) in ((t, k) for t, k in keys.items() if len(k) == 1):
        for child, table in tables.items():
            if child == parent or key not in columns[child] or keys.get(child) == (key,):
                continue
            held = table[key].dropna()
            if held.dtype == tables[parent][key].dtype and bool(held.isin(tables[parent][key]).all()):
                found.append(Link(child, (key,), parent, (key,)))
    return tuple(found)


def dumps(found: Profile) -> str:
    """Return the profile as JSON text."""
    return json.dumps(found.to_json(), indent=1, allow_nan=False, ensure_ascii=False)
