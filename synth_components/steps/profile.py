"""The step from rows to a schema."""

from __future__ import annotations

import logging

from synth_components.profile import ProfileConfig
from synth_components.profile import profile as profile_tables
from synth_components.steps.port import (
    InDataset,
    OptionalOutConstraints,
    OptionalOutStatistics,
    OptionalOutText,
    OutSchema,
)
from synth_components.steps.record import write_json, write_text

_LOG = logging.getLogger(__name__)


def profile(
    config: ProfileConfig,
    *,
    data: InDataset,
    schema: OutSchema,
    statistics: OptionalOutStatistics = None,
    constraints: OptionalOutConstraints = None,
    text: OptionalOutText = None,
) -> None:
    """Read a schema off the rows: types, bounds, categories, nulls, keys, direct identifiers.

    Look through the schema, mend it where you know better, and give it to `train`.

    Args:
        data: The real table.
        schema: Where the schema goes.
        statistics: Where missing patterns, associations and other findings go.
        constraints: Where the rules go that the rows suggest, with their support; strike out those that are not meant,
            and give the rest to `train`.
        text: Where the profile goes as Markdown, to read.
    """
    from synth_components.io.dataset import read_table
    from synth_components.privacy.budget_file import account
    from synth_components.proposal import proposals_to_json, propose

    shared = account()
    if shared is not None:
        shared.require_room(None, label="profile")
    table = read_table(data)
    found = profile_tables(table, config=config)
    for finding in found.warnings:
        _LOG.warning("%s", finding.message)
    write_json(schema, found.schema.to_json())
    if statistics is not None:
        write_json(statistics, found.to_json())
    if constraints is not None:
        proposals = propose(table, found.schema, min_count=config.min_category_count, max_rows=config.max_rows)
        write_json(constraints, proposals_to_json(proposals))
        _LOG.info("proposed %d rules", len(proposals))
    if text is not None:
        write_text(text, found.to_markdown())
    for line in repr(found).splitlines():
        if not line.startswith("  !"):  # a warning, which stands above
            _LOG.info("%s", line)
    _LOG.info("profiled %d columns", len(found.schema.columns))
