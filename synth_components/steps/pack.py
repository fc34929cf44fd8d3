"""The step that shows what a rule pack holds: its rules, its demo table and the broken twin of that."""

from __future__ import annotations

import logging

from pydantic import Field

from synth_components.config import StepConfig
from synth_components.steps.port import OptionalOutConstraints, OptionalOutDataset
from synth_components.steps.record import write_json

_LOG = logging.getLogger(__name__)


class PackConfig(StepConfig):
    """Which pack, and how large its demo table is."""

    pack: str = Field("", description="Name of the pack; empty lists them.")
    num_rows: int = Field(
        1000, ge=1000, lt=2**53, description="Rows of demo table and twin; of fewer, too many would stand alone."
    )
    seed: int = Field(0, ge=0, lt=2**53, description="Seed of both.")


def pack(
    config: PackConfig,
    *,
    demo: OptionalOutDataset = None,
    twin: OptionalOutDataset = None,
    rules: OptionalOutConstraints = None,
) -> None:
    """Show a rule pack, or list them: write its made-up table, the broken twin of that, and its rules.

        synth pack
        synth pack --pack health --demo demo.parquet --twin broken.parquet --rules rules.json
        synth validate broken.parquet --pack health

    Args:
        demo: Where a made-up table goes that obeys the pack.
        twin: Where the same table goes with a breach of every rule and metric.
        rules: Where the rules go, to be mended, and given to `synth validate` or `synth train`.

    Raises:
        UnsupportedError: for an unknown pack.
    """
    from synth_components.io.dataset import write_table
    from synth_components.packs import load, names

    if not config.pack:
        for name in names():
            _LOG.info("%s  %s", name, load(name).summary)
        return
    held = load(config.pack)
    if demo is not None:
        write_table(held.demo(config.num_rows, seed=config.seed), demo)
    if twin is not None:
        write_table(held.twin(config.num_rows, seed=config.seed), twin)
    if rules is not None:
        write_json(rules, {"constraints": [rule.to_json() for rule in held.rules]})
    _LOG.info("%s: %s", held.name, held.summary)
    for name, what in held.columns.items():
        _LOG.info("  column %s: %s", name, what)
    for rule in held.rules:
        _LOG.info("  rule %s (%s)", rule.name, rule.policy)
    for metric in held.metrics:
        _LOG.info("  metric %s, %s %g: %s", metric.name, metric.relation, metric.threshold, metric.description)
