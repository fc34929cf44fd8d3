"""Where a model comes from, as MLflow shows it: tags to search by, metadata, and the training rows as a dataset.

All of it is read off the model's manifest, so that no row is needed, and none is looked at.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import mlflow
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset

from mlflow_flavor import _mlflow as private
from mlflow_flavor.signature import get_default_signature
from synth_components.io.artifact import reasons
from synth_components.model import Model
from synth_components.privacy.charges import Charge, facts, of_model

PREFIX = "synth"
"""What our tags and our entry in the metadata begin with."""

MOST = 5_000
"""Most characters of a tag's value.  MLflow keeps 8,000 of a run's and a model's, its older servers 5,000."""

FINGERPRINT = f"{PREFIX}.fingerprint"
"""Tag of a logged model: what reports name it by."""

DIGEST_LENGTH = 36
"""Most characters that MLflow keeps of the digest of a dataset."""


def tags(model: Model) -> dict[str, str]:
    """Return the tags of a model: fingerprint, generator, why it was chosen, rows, any privacy promise, and the ledger.

    ``synth.ledger`` is the ledger itself, as JSON: a label, epsilon alone (null where it is not bounded) and whether it
    is covered, uncovered reads first; where MLflow's longest value does not hold it, as many of the first entries as
    do.  How many there are, ``synth.ledger.entries`` tells, and ``synth.ledger.digest`` is of the whole.

    ``synth.reasons`` says why generator and options were chosen, and where the fit went on from: what the report says.

    Under differential privacy the manifest holds no number of rows, so neither do the tags.
    """
    manifest = model.manifest
    known = {
        "generator": manifest.generator,
        "reasons": " ".join(reasons(manifest)) or None,
        "rows": manifest.rows,
        "fingerprint": model.fingerprint,
        **facts(model.ledger, manifest.privacy),
    }
    told = {f"{PREFIX}.{name}": str(value)[:MOST] for name, value in known.items() if value is not None}
    return told | {f"{PREFIX}.ledger": _entries(of_model(model.ledger, manifest.privacy))}


def _entries(told: Sequence[Charge]) -> str:
    """Return charges as JSON of at most ``MOST`` characters."""
    made = [
        json.dumps({"label": one.label, "epsilon": one.epsilon, "covered": one.covered}, separators=(",", ":"))
        for one in told
    ]
    room = MOST - len("[]")
    ends = list(accumulate(len(one) + len(",") for one in made))
    return f"[{','.join(made[: bisect_right(ends, room + len(','))])}]"


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
