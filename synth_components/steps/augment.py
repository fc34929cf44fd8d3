"""The step that adds synthetic rows to real ones."""

from __future__ import annotations

import logging

from synth_components.augment import AugmentConfig
from synth_components.augment import augment as augment_table
from synth_components.errors import UnsupportedError
from synth_components.progress import stage
from synth_components.steps.port import InDataset, InModel, OutRows
from synth_components.steps.record import settled

_LOG = logging.getLogger(__name__)


def augment(config: AugmentConfig, *, data: InDataset, model: InModel, augmented: OutRows) -> None:
    """Balance a target or a subgroup with synthetic rows, or multiply a training set.

    The result holds the original rows, then the synthetic ones, and a column that tells which is which:

        synth augment --data train.csv --model model --augmented balanced.csv --mode balance --columns outcome
        synth augment --data train.csv --model model --augmented more.csv --mode enrich --group '{"sex": "F"}'
        synth augment --data train.csv --model model --augmented twice.csv --mode multiply --factor 2

    Args:
        data: The real table that the model was trained on.
        model: The trained model.
        augmented: Where the table goes.
    """
    from synth_components.io.dataset import read_dataset, write_table
    from synth_components.model import Model

    fitted = Model.load(model)
    rows = read_dataset(data, schema=fitted.schema)
    if rows.is_lazy:
        raise UnsupportedError(
            "augment holds the whole table, and this one is too large for memory; augment a part of it (`synth split` "
            "makes one), or draw rows with `synth sample` and append them"
        )
    table = rows.table
    with stage("augment") as report:
        joined = augment_table(table, fitted, config=config, seed=settled(config).seed)
        report(len(joined), len(joined))
    write_table(joined, augmented)
    _LOG.info("added %d synthetic rows to %d original rows", len(joined) - len(table), len(table))
