"""Where a model comes from, as MLflow shows it: tags to search by, metadata, and the training rows as a dataset.

All of it is read off the model's manifest, so that no row is needed, and none is looked at.
"""

from __future__ import annotations

import math
from typing import Any

import mlflow
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset

from mlflow_flavor import _mlflow as private
from mlflow_flavor.signature import get_default_signature
from synth_components.model import Model

PREFIX = "synth"
"""What our tags and our entry in the metadata begin with."""

DIGEST_LENGTH = 36
"""Most characters that MLflow keeps of the digest of a dataset."""


def tags(model: Model) -> dict[str, str]:
    """Return the tags of a model: generator, rows, and the privacy promise where there is one.

    Under differential privacy the manifest holds no number of rows, so neither do the tags.
    """
    manifest, privacy = model.manifest, model.privacy
    known: dict[str, object] = {"generator": manifest.generator, "rows": manifest.rows}
    if math.isfinite(privacy.epsilon):
        known |= {"epsilon": privacy.epsilon, "delta": privacy.delta, "unit": privacy.unit}
    return {f"{PREFIX}.{name}": str(value) for name, value in known.items() if value is not None}


def metadata(model: Model) -> dict[str, Any]:
    """Return the manifest as the metadata of an MLmodel: options, seed, digest of the rows, privacy promise."""
    return {PREFIX: model.manifest.model_dump(mode="json")}


def training_dataset(model: Model) -> MetaDataset:
    """Return the training rows as a dataset to log: their digest and columns, without the rows.

    Under differential privacy the digest is one of the columns only: that of the rows would tell whether one person is
    among them.
    """
    digest = model.manifest.data_digest
    return MetaDataset(  # type: ignore[abstract]  # it has no profile, and MLflow asks for none
        source=CodeDatasetSource(tags=private.resolve_tags()),
        name="training",
        digest=None if digest is None else digest[:DIGEST_LENGTH],
        schema=get_default_signature(model).outputs,
    )


def log_training_dataset(model: Model, run_id: str) -> None:
    """Log the training rows of a model as a dataset of a run."""
    dataset = private.dataset_input(training_dataset(model), context="training")
    mlflow.MlflowClient().log_inputs(run_id, [dataset])  # type: ignore[list-item,unused-ignore]  # None without a dataset only


def params(model: Model) -> dict[str, object]:
    """Return the parameters of the run that made a model, named as on the command line: ``generator.min_leaf``."""
    manifest = model.manifest
    known = {"generator": manifest.generator, "seed": manifest.seed}
    options = {f"generator.{name}": value for name, value in manifest.options.items()}
    return {name: value for name, value in {**known, **options}.items() if value is not None}
