"""How a table fares by the rules and metrics of a pack, whatever it calls the columns."""

from __future__ import annotations

import pandas as pd

from synth_components.config import ConfigError
from synth_components.errors import DataError
from synth_components.packs import Pack
from synth_components.validation.options import ValidateConfig
from synth_components.validation.quality import compliance
from synth_components.validation.tally import Tally, measure

COLUMNS_MISSING = "rules and metrics of the pack do not apply (columns missing)"
"""What the advice says behind their number."""


def held_against(
    pack: Pack, table: pd.DataFrame, real: pd.DataFrame | None = None, *, config: ValidateConfig
) -> list[Tally]:
    """Return how far the table obeys the rules of a pack, and what the pack's metrics say.

    Rules and metrics over columns that the table lacks are left out and counted; a check fails if too few are left.

    Raises:
        ConfigError: for a column in ``pack_columns`` that pack or table does not have.
        DataError: for a table without any of the pack's columns.
    """
    columns = {name: config.pack_columns.get(name, name) for name in pack.columns}
    for theirs, name in config.pack_columns.items():
        if theirs not in pack.columns:
            raise ConfigError(
                f"pack '{pack.name}' has no column '{theirs}'; it has {', '.join(pack.columns)}", option="pack_columns"
            )
        if name not in table or (theirs in table and theirs != name):
            what = "has no column" if name not in table else f"has a column '{theirs}' beside"
            raise ConfigError(f"pack_columns: the table {what} '{name}'; name another", option="pack_columns")
    held = [name for name in columns.values() if name in table]
    if not held:
        raise DataError(
            f"the table has none of the columns of pack '{pack.name}' ({', '.join(pack.columns)}); say which of its "
            "columns play their part in pack_columns"
        )
    own = {name: theirs for theirs, name in columns.items()}
    obeys = compliance(table, pack.rules, real, least=config.min_rules, columns=columns, optional=True)
    measured = Tally("data quality")
    named = table.rename(columns=own)
    seen = None if real is None else real.rename(columns=own)
    for metric in pack.metrics:
        label, name = f"{pack.name}: {metric.name}", f"{pack.name}.{metric.name}"
        missing = [needed for needed in metric.columns if needed not in named]
        change = f"look at columns {', '.join(columns[needed] for needed in metric.columns)}"
        try:
            value = None if missing else metric.measure(named)
            floor = None if seen is None or not set(metric.columns) <= set(seen.columns) else metric.measure(seen)
        except (TypeError, ValueError):
            finding = f"metric '{metric.name}' cannot be measured: the columns' types do not fit it"
            measured.fail(label, metric.relation, metric.threshold, finding=finding, change=change)
            continue
        if value is None:
            reason = f"the table has no column '{missing[0]}'" if missing else "too few rows say anything of it"
            measured.leave_out(name, "", reason)
            continue
        measured.check(
            label,
            measure(name, value, floor=floor, ideal=metric.threshold if floor is None else floor),
            metric.relation,
            metric.threshold,
            finding=f"{metric.description[:1].lower()}{metric.description[1:].rstrip('.')}: {value:.4g}",
            change=change,
        )
    _check_share(measured, pack, set(named.columns), least=config.min_pack)
    return [obeys, measured]


def _check_share(tally: Tally, pack: Pack, held: set[str], *, least: float) -> None:
    """Check that enough of the pack applies, at least one rule or metric, and tell how many do not."""
    needs = [*(rule.columns for rule in pack.rules), *(metric.columns for metric in pack.metrics)]
    applied = sum(held.issuperset(columns) for columns in needs)
    if not needs or applied == len(needs):
        return
    share = measure(f"{pack.name}.share_that_applies", applied / len(needs))
    least = max(least, 1 / len(needs))
    tally.check(f"{pack.name}: share that applies", share, ">=", least)
    tally.advise(
        (),
        f"{len(needs) - applied} of {len(needs)} {COLUMNS_MISSING}",
        "add the columns, say in pack_columns which play their part, or ask for less by min_pack",
        weight=0.5 if share.value >= least else 2.0,
    )
