"""The step that brings the associations of a synthetic table to those of the real one."""

from __future__ import annotations

import logging

from synth_components.preserve import preserve as preserve_table
from synth_components.preserve.options import PreserveConfig
from synth_components.progress import stage
from synth_components.steps.map_file import read_schema
from synth_components.steps.port import (
    InDataset,
    InSchema,
    OptionalInModel,
    OptionalOutStatistics,
    OptionalOutText,
    OutDataset,
)
from synth_components.steps.record import settled, write_json, write_text

_LOG = logging.getLogger(__name__)


def preserve(
    config: PreserveConfig,
    *,
    data: InDataset,
    synthetic: InDataset,
    schema: InSchema = None,
    model: OptionalInModel = None,
    preserved: OutDataset,
    residuals: OptionalOutStatistics = None,
    text: OptionalOutText = None,
) -> None:
    r"""Reorder the columns of a synthetic table until they go together as the real ones do.

    Targets may be declared instead.  Each column keeps exactly its values, and each row obeys the rules of the schema
    that it obeyed before:

        synth preserve --data train.csv --synthetic synthetic.csv --preserved mended.csv --residuals residuals.json
        synth preserve --data train.csv --synthetic synthetic.csv --model model --preserved mended.csv --mode strict
        synth preserve --data train.csv --synthetic synthetic.csv --preserved mended.csv \
            --targets '{"age": {"hours": 0.3}}'

    Args:
        data: The real table whose associations are wanted.
        synthetic: The table to mend.
        schema: What the columns hold; without it the model's schema, or else one profiled from the real rows.
        model: The model, for its schema and rules.
        preserved: Where the mended table goes.
        residuals: Where target, before and after go, pair by pair, as JSON.
        text: Where the same goes as Markdown.
    """
    from synth_components.io.dataset import read_dataset, write_table
    from synth_components.privacy.budget_file import require_uncovered
    from synth_components.privacy.ledger import SETTLED, Ledger

    require_uncovered("preserve")
    known = read_schema(schema, model)
    real = read_dataset(data, schema=known, ledger=Ledger(account=SETTLED))  # what preserves writes it down
    drawn = read_dataset(synthetic, schema=real.schema)
    with stage("preserve") as report:
        made = preserve_table(real, drawn, schema=real.schema, config=settled(config))
        report(len(made.table), len(made.table))
    write_table(made.table, preserved)
    if residuals is not None:
        write_json(residuals, made.to_json())
    if text is not None:
        write_text(text, made.to_markdown())
    for warning in made.infeasible:
        _LOG.warning(
            "the target of '%s' and '%s' contradicts others; the nearest that agrees is aimed at", *warning.pair
        )
    met, total = int(made.residuals["met"].sum()), len(made.residuals)
    _LOG.info("%d of %d pairs are within %s of their target", met, total, config.mode)
