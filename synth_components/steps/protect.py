"""The step that takes a table through a privacy policy, and audits what it releases."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from pydantic import Field

from synth_components.config import StepConfig
from synth_components.errors import ThresholdError
from synth_components.policy import Level, Policy
from synth_components.progress import stage
from synth_components.steps.map_file import read_schema
from synth_components.steps.port import InDataset, InPolicy, InSchema, OutEvidence, OutRows
from synth_components.steps.record import write_json

_LOG = logging.getLogger(__name__)


class ProtectConfig(StepConfig):
    """The columns of this table, where a policy does not name them."""

    identifiers: tuple[str, ...] = Field(
        (), description="Columns that name a person and are left out, instead of those of the policy."
    )
    quasi_identifiers: tuple[str, ...] = Field(
        (), description="Columns that others may know of a person, instead of those of the policy."
    )
    sensitive: dict[str, Level] = Field(
        {},
        description='Sensitive columns with their levels, as {"illness": "high"}, instead of those of the policy.',
    )


def protect(
    config: ProtectConfig,
    *,
    data: InDataset,
    policy: InPolicy = None,
    schema: InSchema = None,
    protected: OutRows,
    evidence: OutEvidence,
) -> None:
    r"""Take a table, real or synthetic, through a privacy policy, and audit it after the last layer.

    Layers are differential privacy, k-anonymity, l-diversity, t-closeness, suppression, generalisation, swapping and
    synthesis, chosen by the levels of the sensitive columns or named in any order:

        synth protect --data patients.csv --policy policy.yaml --protected released.csv --evidence audit.json
        synth protect --data patients.csv --quasi-identifiers '["age", "zip"]' --sensitive '{"illness": "high"}' \
            --protected released.csv --evidence audit.json

    The table is written only if every promise of the policy holds of it; the audit always is.  No seed is taken or
    recorded: who knew it could undo the swaps.

    Args:
        data: The table to protect.
        policy: The policy; without it that of level medium.
        schema: What the columns hold, as declared in public; without it types are read off the rows.
        protected: Where the protected table goes.
        evidence: Where the audit goes, as JSON: layers, losses, k, l and t, and which promises hold.

    Raises:
        DataError: under differential privacy without a schema, if the types of the table would be read off its rows.
        PolicyError: if the rows cannot meet the policy.
        ThresholdError: naming the promises that a later layer undid.
    """
    from synth_components.io.dataset import read_dataset, read_table, read_typed, write_table
    from synth_components.policy.protection import protect as protect_table
    from synth_components.privacy.budget_file import require_uncovered

    require_uncovered("protect")
    asked = policy_of(config, policy)
    declared = read_schema(schema)
    is_private = any(layer.technique == "differential_privacy" for layer in asked.plan())
    if is_private:  # no row decides on a type
        table = (
            read_typed(data)
            if declared is None
            else read_dataset(data, schema=declared, by_cell=True, max_bytes=sys.maxsize).table
        )
    else:
        table = read_table(data, columns=None if declared is None else declared.columns)
    with stage("protect") as report:
        made = protect_table(table, asked, schema=declared)
        report(len(made.table), len(made.table))
    write_json(evidence, made.audit.to_json())
    if not made.audit.holds:
        missed = made.audit.missed
        raise ThresholdError(
            f"{len(missed)} promises of the policy do not hold after its last layer: {'; '.join(map(str, missed))}; "
            "put the layer that promises it after those that change it. The table was not written"
        )
    write_table(made.table, protected)
    total = "" if is_private else f" of {len(table)}"  # how many there are is told by a noisy count, or not at all
    _LOG.info("%d%s rows are released, and every promise of the policy holds", len(made.table), total)


def policy_of(config: ProtectConfig, path: Path | None) -> Policy:
    """Return the policy of a file, or that of level medium, with the columns that the options name.

    Raises:
        DataError: if the file cannot be read.
        ConfigError: if the policy contradicts itself.
    """
    held = Policy() if path is None else Policy.read(path)
    named = config.model_dump(exclude_unset=True)
    return Policy.parse({**held.model_dump(exclude_unset=True), **named}) if named else held
