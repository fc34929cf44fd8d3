"""Training rows: tables as they are given, with the schema that they fit and the rules that they obey."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from synth_components.constraints import check, is_unlearned
from synth_components.contradiction import refuse_contradictions
from synth_components.enforcement import learned
from synth_components.errors import ConstraintError, SchemaError, SynthError, UnsupportedError
from synth_components.privacy.ledger import Ledger, not_private
from synth_components.protocols import Dataset
from synth_components.schema import TABLE, AnyColumn, Boolean, Categorical, Schema, outside_of, same_dtype, violations
from synth_components.split import units_of

_LOG = logging.getLogger(__name__)


def tables_of(table: pd.DataFrame | Dataset | Mapping[str, pd.DataFrame]) -> Mapping[str, pd.DataFrame]:
    """Return the tables by name."""
    if isinstance(table, pd.DataFrame):
        return {TABLE: table}
    if isinstance(table, Dataset):
        return table.tables
    if isinstance(table, Mapping) and all(isinstance(one, pd.DataFrame) for one in table.values()):
        return table
    kind = f"a {type(table).__name__} of other things" if isinstance(table, Mapping) else type(table).__name__
    raise SynthError(
        f"fit learns from a DataFrame, a Dataset, or DataFrames by name, not from {kind}; read a file first, and put "
        "rows into a pandas.DataFrame"
    )


def require_names(tables: Mapping[str, pd.DataFrame]) -> None:
    """Raise unless every table has distinct, non-empty text names and at least one column and one row."""
    if not tables:
        raise SchemaError("there is no table to learn from")
    for name, table in tables.items():
        columns = list(table.columns)
        if not all(isinstance(column, str) for column in columns):
            raise SchemaError(f"table '{name}' has column names that are not text; rename them", table=name)
        if any(not column.strip() for column in columns):
            raise SchemaError(f"table '{name}' has a column without a name; rename it", table=name)
        if not table.columns.is_unique:
            twice = str(table.columns[table.columns.duplicated()][0])
            raise SchemaError(f"table '{name}' has two columns named '{twice}'; rename one", column=twice, table=name)
        if not columns or not len(table):
            raise SchemaError(
                f"table '{name}' has {len(columns)} columns and {len(table)} rows; give at least one each"
            )


def dataset_of(tables: Mapping[str, pd.DataFrame], schema: Schema) -> Dataset:
    """Return tables and schema together; a schema takes the column order of its tables."""
    if list(tables) == [TABLE] and len(schema.tables) == 1:
        tables = {schema.root: tables[TABLE]}
    if set(tables) != set(schema.tables):
        raise SchemaError(f"the tables are {sorted(tables)}, and the schema declares {sorted(schema.tables)}")
    ordered: dict[str, dict[str, AnyColumn]] = {}
    for name, columns in schema.tables.items():
        missing = [c for c in columns if c not in tables[name].columns]
        extra = [c for c in tables[name].columns if c not in columns]
        if missing or extra:
            raise SchemaError(
                f"table '{name}' does not have the columns of its schema: missing {missing}, unexpected {extra}",
                column=(missing + extra)[0],
                table=name,
            )
        ordered[name] = {c: _typed(columns[c], str(tables[name][c].dtype)) for c in tables[name].columns}
    return Dataset(dict(tables), replace(schema, tables=ordered))


def _typed(column: AnyColumn, dtype: str) -> AnyColumn:
    """Return the column with the text dtype of its table: a schema means both by either, ``object`` and ``str``."""
    return replace(column, dtype=dtype) if {column.dtype, dtype} == {"object", "str"} else column


def ruled(data: Dataset, ledger: Ledger) -> Dataset:
    """Return the data with its rules complete: checked against each other, learned where they are to be.

    Raises:
        UnsupportedError: for linked tables, or for a rule to learn under a budget.
        ConstraintError: if the rules contradict each other or no row obeys one.
    """
    schema = data.schema
    if not schema.constraints:
        return data
    if len(schema.tables) > 1:
        raise UnsupportedError("rules are enforced on a single table; several linked tables take none yet")
    refuse_contradictions(schema)
    unlearned = [rule for rule in schema.constraints if is_unlearned(rule)]
    if ledger.budget is not None:
        if unlearned:
            raise UnsupportedError(
                f"constraint '{unlearned[0].name}' would read the rows; under a budget declare its mapping"
            )
        return data
    ledger.spend("check and learn constraints", not_private)
    columns = list(dict.fromkeys(name for rule in schema.constraints for name in rule.columns))
    rows = pd.concat([batch[columns] for batch in data.batches(schema.root)], ignore_index=True)
    rules = learned(schema.constraints, rows, owners=units_of(data) if unlearned else None)
    for rule, share in check(rows, rules).items():
        if share == 0:
            raise ConstraintError(
                f"constraint '{rule}' is obeyed by none of {len(rows)} training rows; mend the rule or the rows",
                constraint=rule,
                acceptance=0.0,
            )
        if share < 1:
            _LOG.warning("constraint '%s' is obeyed by %.2f %% of the training rows", rule, 100 * share)
    schema = replace(schema, constraints=rules)
    refuse_contradictions(schema)
    return replace(data, schema=schema)


def require_fit(data: Dataset, *, strict: bool) -> None:
    """Raise unless the rows fit the schema, in their types at least.

    Rows outside a profiled column are advisory, unless all are: text that should be truth values, say.

    Args:
        strict: Whether nulls and declared values are held against the schema, too; a budget forbids to look.

    Raises:
        SchemaError: naming the column that does not fit.
    """
    for table, columns in data.schema.tables.items():
        fits: dict[str, bool] = {}  # whether a value of the column is inside
        for batch in data.batches(table):
            for name, column in columns.items():
                values = batch[name]
                if not same_dtype(values, column.dtype):
                    raise SchemaError(
                        f"column '{name}' of table '{table}' has dtype {values.dtype}, not {column.dtype}; cast it, or "
                        "change the schema",
                        column=name,
                        table=table,
                    )
                if strict and column.public:
                    violations(values, column, table=table)
                elif strict and not column.nullable and bool(values.isna().any()):
                    raise SchemaError(
                        f"column '{name}' of table '{table}' has {int(values.isna().sum())} missing values and is not "
                        "nullable; fill them, or declare it nullable",
                        column=name,
                        table=table,
                    )
                if strict and isinstance(column, Boolean | Categorical) and not fits.get(name):
                    present = values[values.notna()]
                    if len(present):
                        fits[name] = not outside_of(present, column)[0].all()
        for name in (name for name, is_fit in fits.items() if not is_fit):
            raise SchemaError(
                f"column '{name}' of table '{table}' has values, and none that its schema lists; give it the schema's "
                "type of value, or declare its values",
                column=name,
                table=table,
            )
