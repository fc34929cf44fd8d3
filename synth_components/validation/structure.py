"""Does a table have the columns, types, ranges, categories, nulls and key that its schema declares?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from synth_components.evaluation.validity import Fit, Mask, fit_of
from synth_components.schema import AnyColumn, Categorical, Datetime, Numeric, Schema
from synth_components.validation.options import ValidateConfig
from synth_components.validation.tally import Tally, measure, share

_CHANCE = 0.05  # of rows outside a schema that was read off other rows, beyond those of these rows themselves


def declared_structure(table: pd.DataFrame, schema: Schema, *, config: ValidateConfig) -> Tally:
    """Return how the table fits a schema that a person declared."""
    tally = Tally("schema")
    columns = schema.columns
    _check_names(tally, table, columns)
    fits = {name: fit_of(table[name], column) for name, column in columns.items() if name in table}
    _check_fits(tally, fits, columns, len(table), least=config.min_schema)
    _check_key(tally, table, schema, least=config.min_schema)
    return tally


def learned_structure(table: pd.DataFrame, schema: Schema, real: pd.DataFrame) -> Tally:
    """Return how the table fits a schema that was read off real rows.

    Real rows fall outside it too, as its bounds are supported quantiles: a table may have 5 % more of its rows outside.
    """
    tally = Tally("schema")
    columns = schema.columns
    _check_names(tally, table, columns)
    fits = {name: fit_of(table[name], column) for name, column in columns.items() if name in table}
    floors = {name: fit_of(real[name], columns[name]) for name in fits}
    _check_fits(tally, fits, columns, len(table), floors=floors)
    _check_key(tally, table, schema, least=1.0)
    tally.notes.append(
        "The schema was read off the real rows: its bounds and categories have support, so that real rows lie outside "
        "them too. A table may have 5 % more of its rows outside than those."
    )
    return tally


def own_structure(table: pd.DataFrame, schema: Schema, unreadable: Mapping[str, str]) -> Tally:
    """Return what can be told without a declared schema: whether each column has one type, and the key.

    Args:
        schema: What `profile` reads off the table itself.
        unreadable: Columns that no schema can hold, with the reason.
    """
    tally = Tally("schema")
    total = len(schema.columns) + len(unreadable)
    for name, reason in unreadable.items():
        tally.advise((name,), reason, "give the column one type, or declare a schema")
    tally.check("columns that a schema can hold", measure("schema.types", (total - len(unreadable)) / total), ">=", 1.0)
    _check_key(tally, table, schema, least=1.0)
    for name in ("schema.ranges", "schema.categories", "schema.nulls"):
        tally.leave_out(name, "", "the schema was read off this table, so that they hold by construction")
    return tally


def _check_names(tally: Tally, table: pd.DataFrame, columns: Mapping[str, AnyColumn]) -> None:
    missing = [name for name in columns if name not in table]
    extra = [str(name) for name in table.columns if name not in columns]
    tally.check(
        "declared columns present",
        measure("schema.columns", 1 - len(missing) / len(columns)),
        ">=",
        1.0,
        finding=f"the table lacks {_listed(missing)}",
        change="add the columns, or take them out of the schema",
    )
    tally.check(
        "undeclared columns",
        measure("schema.undeclared", len(extra) / len(table.columns), ideal=0.0),
        "<=",
        0.0,
        finding=f"the schema does not declare {_listed(extra)}",
        change="drop the columns, or declare them",
    )


def _check_fits(
    tally: Tally,
    fits: Mapping[str, Fit],
    columns: Mapping[str, AnyColumn],
    rows: int,
    *,
    least: float = 1.0,
    floors: Mapping[str, Fit] | None = None,
) -> None:
    wrong = [name for name, fit in fits.items() if not fit.is_typed]
    for name in wrong:
        finding = f"column '{name}' does not hold {columns[name].dtype}, as the schema declares"
        tally.advise((name,), finding, "convert the column, or change the schema")
    right = 1 - len(wrong) / len(fits) if fits else 0.0
    tally.check("columns of the declared type", measure("schema.types", right), ">=", 1.0)
    typed = [name for name in fits if name not in wrong]
    kinds = {
        "ranges": ("rows within ranges", [n for n in typed if isinstance(columns[n], Numeric | Datetime)]),
        "categories": ("rows within categories", [n for n in typed if isinstance(columns[n], Categorical)]),
    }
    for kind, (label, names) in kinds.items():
        if not names:
            tally.leave_out(f"schema.{kind}", "", "the schema declares none, or no column of the right type")
            continue
        for name in names:
            outside = int((~fits[name].inside).sum())
            if outside and floors is None:
                finding = f"column '{name}' has {outside:,} rows {fits[name].rule}"
                tally.advise((name,), finding, "mend the rows, or widen the schema")
        inside = _together([fits[name].inside for name in names], rows)
        floor = 1.0 if floors is None else float(_together([floors[n].inside for n in names], 0).mean())
        asked = least if floors is None else max(0.0, floor - _CHANCE)
        tally.check(label, share(f"schema.{kind}", int(inside.sum()), rows, floor=floor), ">=", asked)
    for name, fit in fits.items():
        gaps = int((~fit.filled).sum())
        if gaps:
            finding = f"column '{name}' has {gaps:,} nulls and may have none"
            tally.advise((name,), finding, "fill them, or declare the column nullable")
    filled = _together([fit.filled for fit in fits.values()], rows)
    asked = least if floors is None else 1 - _CHANCE
    tally.check("rows without forbidden nulls", share("schema.nulls", int(filled.sum()), rows), ">=", asked)
    for name, fit in fits.items():
        known = None if floors is None else float(floors[name].obeyed.mean())
        tally.scores.append(share("validity.column", int(fit.obeyed.sum()), rows, floor=known, subject=(name,)))


def _check_key(tally: Tally, table: pd.DataFrame, schema: Schema, *, least: float) -> None:
    key = [name for name in schema.keys.get(schema.root, ()) if name in table]
    if not key:
        tally.leave_out("schema.key", "", "the schema has no key")
        return
    held = table[key]
    wrong = held.duplicated(keep="first").to_numpy() | held.isna().any(axis=1).to_numpy()
    tally.check(
        "rows that their key identifies",
        share("schema.key", int((~wrong).sum()), len(table)),
        ">=",
        least,
        finding=f"{int(wrong.sum()):,} rows have no key of their own in {_listed(key)}",
        change="drop or renumber the rows, or declare another key",
    )


def _together(masks: list[Mask], rows: int) -> Mask:
    made: Mask = np.logical_and.reduce(masks) if masks else np.ones(rows, dtype=np.bool_)
    return made


def _listed(names: list[str], most: int = 5) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
