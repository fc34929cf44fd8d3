"""The step that holds a table of somebody else's against schema, rules, real rows and a pack."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from synth_components.errors import DataError, ThresholdError
from synth_components.progress import stage
from synth_components.steps.map_file import read_schema
from synth_components.steps.port import (
    InConstraints,
    InSchema,
    InTable,
    OptionalInDataset,
    OptionalInModel,
    OptionalOutPage,
    OptionalOutReport,
    OptionalOutText,
    Place,
)
from synth_components.steps.record import write_json, write_text
from synth_components.validation.options import ValidateConfig

if TYPE_CHECKING:
    import pandas as pd

    from synth_components.schema import Schema

_LOG = logging.getLogger(__name__)


def validate(
    config: ValidateConfig,
    *,
    table: InTable,
    schema: InSchema = None,
    rules: InConstraints = None,
    real: OptionalInDataset = None,
    model: OptionalInModel = None,
    report: OptionalOutReport = None,
    page: OptionalOutPage = None,
    text: OptionalOutText = None,
) -> None:
    """Validate a table that somebody else made: four verdicts, and one overall; exit status 3 if it fails.

    The verdicts are schema, data quality, privacy smoke and performance:

        synth validate table.csv --schema schema.json --rules rules.json --real real.csv
        synth validate table.csv --pack health --report report.json --page report.html

    A table in JSON is named by `--table`, as a word without an option may be an option file too.

    Args:
        table: The table.
        schema: What its columns should hold; without it a schema is profiled from the real rows, or from the table.
        rules: Rules that its rows should obey.
        real: Real rows that it stands for: to look for copies of, and to compare with.
        model: The model that drew the table: the report names it, as it names the table, to a gate.
        report: Where the report goes.
        page: Where the report goes as a page to look at.
        text: Where the report goes as Markdown.

    Raises:
        ThresholdError: if a verdict is missed; the report is written all the same.
    """
    from synth_components.constraints import constraints_from_file
    from synth_components.io.artifact import fingerprint_of
    from synth_components.privacy.budget_file import require_uncovered
    from synth_components.validation import validate as judge
    from synth_components.validation.domain import COLUMNS_MISSING

    if real is not None:
        require_uncovered("validate")
    declared = read_schema(schema)
    with stage("validate") as progress:
        found = judge(
            _read(table, declared),
            schema=declared,
            rules=() if rules is None else constraints_from_file(rules),
            real=None if real is None else _read(real, declared),
            config=config,
            report=progress,
        )
    if model is not None:
        found = replace(found, judged=replace(found.judged, model=fingerprint_of(model)))
    if report is not None:
        write_json(report, found.to_json())
    if page is not None:
        write_text(page, found.to_html())
    if text is not None:
        write_text(text, found.to_markdown())
    for verdict in found.card:
        if verdict.group == "verdict" or not verdict.passed:
            value = "not checked" if verdict.value is None else f"{verdict.value:.4g}"
            _LOG.info("%s  %s: %s, %s %.4g", verdict.sign, verdict.name, value, verdict.relation, verdict.threshold)
    for advice in found.recommendations:
        _LOG.info("%s: %s", advice.finding, advice.change)
    if not found.passed:
        missed = [verdict.name for verdict in found.card if verdict.group == "verdict" and not verdict.passed]
        raise ThresholdError(f"the table misses {len(missed)} of 4 verdicts: {', '.join(missed)}")
    gaps = [f"; {advice.finding}" for advice in found.recommendations if advice.finding.endswith(COLUMNS_MISSING)]
    _LOG.info("the table passes all four verdicts%s", "".join(gaps))


def _read(place: Place, schema: Schema | None) -> pd.DataFrame:
    """Return a table, each column in the schema's dtype where its values allow that, and as it is where not."""
    from synth_components.io.dataset import conform, read_table

    table = read_table(place)
    known = {} if schema is None else {name: column for name, column in schema.columns.items() if name in table}
    if not known:
        return table
    try:
        # Read anew: of digits that the schema calls text, the first reading has made numbers.
        return table.assign(**dict(read_table(place, columns=known)))
    except DataError:
        made = {}
        for name, column in known.items():
            try:
                made[name] = conform(table[[name]], {name: column}, place=str(place))[name]
            except DataError:
                made[name] = table[name]  # values of another kind: the schema's verdict says so
        return table.assign(**made)
