"""The step that lets a version of a registered model have an alias, or stops a pipeline."""

from __future__ import annotations

import logging

from pydantic import Field

from synth_components.errors import ThresholdError
from synth_components.steps.gate import GateConfig

_LOG = logging.getLogger(f"synth_components.{__name__}")  # the command line shows what the core logs

ALIAS = "champion"


class PromoteConfig(GateConfig):
    """Which version must reach what."""

    name: str = Field(min_length=1, description="Name of the registered model.")
    version: int = Field(ge=1, lt=2**31, description="Version to judge.")
    alias: str = Field(ALIAS, min_length=1, description="What the version is called if it passes.")


def promote(config: PromoteConfig) -> None:
    """Let an alias mean a registered version if its logged scores reach the thresholds; exit status 3 if not.

        synth mlflow promote --name customers --version 3 --min-quality 0.8 --max-scores '{"privacy.copies": 0.01}'

    The tags of the version hold what was decided and why.  MLFLOW_TRACKING_URI says where.

    Raises:
        ThresholdError: naming every threshold that was missed.
    """
    from mlflow_flavor import promote as registry

    decision = registry.promote(config.name, config.version, config, config.alias)
    if not decision.passed:
        raise ThresholdError(
            f"version {config.version} of '{config.name}' misses {len(decision.missed)} of its thresholds, and "
            f"'{config.alias}' was not moved: {'; '.join(decision.missed)}"
        )
    _LOG.info("models:/%s@%s is version %s", config.name, config.alias, config.version)
