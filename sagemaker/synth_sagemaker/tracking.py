"""What a finished job left, logged in SageMaker's managed MLflow by whoever started the job: it has no network."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from synth_components.config import ConfigError
from synth_components.errors import DataError

ARN = re.compile(r"^arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:\d{12}:mlflow-(tracking-server|app)/[A-Za-z0-9-]+$")
"""How the ARN of a managed tracking server, or of an MLflow app, is written."""


def log_job(
    model: str | Path,
    *,
    tracking: str,
    output: str | Path | None = None,
    experiment: str = "",
    registered_name: str = "",
    allow_unnamed: bool = False,
    allowed_regions: Sequence[str] = (),
    s3: Any = None,  # noqa: ANN401 - boto3 makes its classes at run time
) -> str | None:
    """Log a training job's model and report, and return the id of the run; ``None`` if there is no server.

    Args:
        model: What the job wrote as ``model.tar.gz``: a path or an address of S3.
        tracking: ARN of the tracking server; empty for none.
        output: What it wrote as ``output.tar.gz``, if it judged its model.
        experiment: Name of the experiment, which is made if there is none; empty for MLflow's own, ``Default``,
            whatever experiment the caller's other work goes to.
        registered_name: Name to register the model under, on the same server; empty to register nothing.
        allow_unnamed: Whether, without a policy, a report that does not name the model registers it.
        allowed_regions: Regions that the server, its artifacts and both archives may lie in; empty for any.
        s3: The client of boto3 for S3, which tells the region of a bucket; needed with ``allowed_regions`` alone.

    Raises:
        ConfigError: if ``tracking`` is no ARN of a tracking server, or a model is to be registered and MLflow's
            registry is elsewhere (``MLFLOW_REGISTRY_URI``); nothing was read or sent.
        DataError: if the plug-in that signs requests is not installed, an archive cannot be read, or something lies in
            no allowed region, or at an address that tells none: nothing was read or sent then, or if it is the
            server's artifacts, a run was begun alone.
        ArtifactError: if the archive holds no model, or a changed one.
        GuardError: if the privacy policy does not allow to register it; nothing was logged.
    """
    if not tracking:
        return None
    if not ARN.match(tracking):
        raise ConfigError(
            "tracking is no ARN of a tracking server; give arn:aws:sagemaker:...:mlflow-tracking-server/NAME",
            option="tracking",
        )
    from synth_sagemaker.launch import require_allowed
    from synth_sagemaker.residency import refuse_unknown_places

    archives = {"model": str(model), "output": str(output or "")}
    refuse_unknown_places(archives, allowed_regions)
    require_allowed({"tracking": tracking, **archives}, allowed_regions, s3=s3)
    if find_spec("sagemaker_mlflow") is None:
        raise DataError(
            "the plug-in that signs MLflow's requests is not installed; pip install sagemaker-mlflow mlflow"
        )
    import mlflow

    import mlflow_flavor
    from mlflow_flavor import lineage
    from mlflow_flavor.report import log_report
    from synth_components.model import Model
    from synth_components.policy import guard
    from synth_components.steps.report_file import read_report, reported

    with TemporaryDirectory() as folder, _server(tracking):
        if registered_name and mlflow.get_registry_uri() != tracking:  # in whatever region: nobody has asked
            raise ConfigError(
                "MLflow registers models elsewhere than on the tracking server; unset MLFLOW_REGISTRY_URI, and leave "
                "mlflow.set_registry_uri out",
                option="registered_name",
            )
        fitted = Model.load(_unpacked(model, Path(folder) / "model"))
        held = None if output is None else _unpacked(output, Path(folder) / "output") / "report.json"
        found = None if held is None or not held.is_file() else read_report(held)
        if registered_name:
            told = None if found is None else reported(found)
            guard.release(fitted, told, to=f"models:/{registered_name}", allow_unnamed=allow_unnamed)
        with mlflow.start_run(experiment_id=_experiment(experiment)) as run:
            artifacts = {"artifacts": run.info.artifact_uri}
            refuse_unknown_places(artifacts, allowed_regions)
            require_allowed(artifacts, allowed_regions, s3=s3)
            mlflow.log_params(lineage.params(fitted))
            info = mlflow_flavor.log_model(fitted, name="model")
            if found is not None:
                log_report(found, run.info.run_id)
        if registered_name:
            mlflow.register_model(info.model_uri, registered_name)
        return str(run.info.run_id)


def _experiment(name: str) -> str:
    """Return the id of an experiment, which is made if there is none; the caller's own stays the active one."""
    import mlflow
    from mlflow.entities import Experiment

    name = name or Experiment.DEFAULT_EXPERIMENT_NAME
    found = mlflow.get_experiment_by_name(name)
    return str(mlflow.create_experiment(name) if found is None else found.experiment_id)


@contextmanager
def _server(tracking: str) -> Iterator[None]:
    """Let MLflow talk to a server within the block."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tracking)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def _unpacked(archive: str | Path, folder: Path) -> Path:
    """Return a folder with what an archive holds."""
    from synth_components.io.archive import unpack
    from synth_components.io.location import locate, reading

    copy = folder.with_suffix(".tar.gz")
    with reading(locate(archive)) as stream, copy.open("wb") as target:
        shutil.copyfileobj(stream, target)
    unpack(copy, folder)
    return folder
