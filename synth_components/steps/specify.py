"""The step from a specification to a model, without data."""

from __future__ import annotations

import logging

from synth_components.config import StepConfig
from synth_components.progress import stage
from synth_components.steps.map_file import read_map
from synth_components.steps.port import InSpecification, OutModel

_LOG = logging.getLogger(__name__)


class SpecifyConfig(StepConfig):
    """Everything stands in the specification: there are no options."""


def specify(config: SpecifyConfig, *, specification: InSpecification, model: OutModel) -> None:
    """Make a model of columns, marginals, correlations and rules that a person declares, reading no row.

        synth specify --specification specification.yaml --model model

    The specification is a schema, as `synth profile` writes one, with three more entries, each of which may be absent:

        columns:
          age: {type: numeric, dtype: int64, low: 18, high: 90, places: 0}
          plan: {type: categorical, categories: [free, paid]}
        marginals:
          age: {family: normal, mean: 45, sd: 15}
          plan: {family: weights, weights: {free: 0.8, paid: 0.2}}
        null_shares: {}
        correlations:
          - {columns: [age, plan], value: 0.3}
        constraints: []

    Args:
        specification: What the table shall be.
        model: Where the model goes.
    """
    del config
    from synth_components.specification import specify as model_of

    with stage("specify") as report:
        made = model_of(read_map(specification, "specification"))
        report(1, 1)
    made.save(model)
    _LOG.info("specified %d columns", len(made.schema.columns))
