"""Save, log and load synth-components models with MLflow.

The ``mlflow_flavor`` module provides an API for logging and loading generators of synthetic tables.
This module exports models with the following flavors:

Synthetic (native) format
    This is the main flavor that can be loaded back as a ``synth_components.Model``.
:py:mod:`mlflow.pyfunc`
    Produced for use by generic pyfunc-based deployment tools and batch inference.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow import pyfunc
from mlflow.models import Model as MlflowModel
from mlflow.models import ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME

from mlflow_flavor import _mlflow as private
from mlflow_flavor.signature import get_default_signature
from synth_components.model import Model

FLAVOR_NAME = "synthetic"
MODEL_TYPE = "synthetic-tabular"

_DATA = "model"
"""The folder of the model, as ``Model.save`` writes it."""
_AWAIT_SECONDS = 300


def get_default_pip_requirements() -> list[str]:
    """Return the pip requirements of every model of this flavor: this library, pinned."""
    return [f"synth-components=={version('synth-components')}"]


def get_default_conda_env() -> dict[str, Any]:
    """Return the Conda environment of every model of this flavor."""
    env: dict[str, Any] = private.conda_env_of(additional_pip_deps=get_default_pip_requirements())
    return env


def save_model(  # noqa: D103 - written by the flavour's owner
    synth_model: Model,
    path: str | Path,
    conda_env: Any = None,
    code_paths: list[str] | None = None,
    mlflow_model: MlflowModel | None = None,
    signature: ModelSignature | bool | None = None,
    input_example: Any = None,
    pip_requirements: Any = None,
    extra_pip_requirements: Any = None,
    metadata: dict[str, Any] | None = None,
    extra_files: Any = None,
) -> None:
    private.validate_env_arguments(conda_env, pip_requirements, extra_pip_requirements)
    path = Path(path).absolute()
    private.prepare_target(str(path))
    code = private.copy_code_paths(code_paths, str(path))
    mlflow_model = MlflowModel() if mlflow_model is None else mlflow_model
    private.save_example(mlflow_model, input_example, str(path))
    if signature is None:
        signature = get_default_signature(synth_model)
    if signature is not False:
        mlflow_model.signature = signature
    if metadata is not None:
        mlflow_model.metadata = metadata
    synth_model.save(path / _DATA)
    extra = private.copy_extra_files(extra_files, str(path))
    pyfunc.add_to_model(
        mlflow_model,
        loader_module="mlflow_flavor",
        conda_env=private.CONDA_ENV_FILE,
        python_env=private.PYTHON_ENV_FILE,
        code=code,
        model_config={"max_rows": 1_000_000},
    )
    mlflow_model.add_flavor(FLAVOR_NAME, data=_DATA, generator=synth_model.manifest.generator, code=code, **extra)
    mlflow_model.model_size_bytes = private.get_total_file_size(str(path))
    mlflow_model.save(str(path / MLMODEL_FILE_NAME))
    if conda_env is None:
        default = None if pip_requirements is not None else get_default_pip_requirements()
        conda_env, pip_requirements, constraints = private.process_pip_requirements(
            default, pip_requirements, extra_pip_requirements
        )
    else:
        conda_env, pip_requirements, constraints = private.process_conda_env(conda_env)
    (path / private.CONDA_ENV_FILE).write_text(yaml.safe_dump(conda_env, default_flow_style=False), encoding="utf-8")
    if constraints:
        (path / private.CONSTRAINTS_FILE).write_text("\n".join(constraints), encoding="utf-8")
    (path / private.REQUIREMENTS_FILE).write_text("\n".join(pip_requirements), encoding="utf-8")
    private.PythonEnv.current().to_yaml(str(path / private.PYTHON_ENV_FILE))


def log_model(  # noqa: D103 - written by the flavour's owner
    synth_model: Model,
    artifact_path: str | None = None,
    conda_env: Any = None,
    code_paths: list[str] | None = None,
    registered_model_name: str | None = None,
    signature: ModelSignature | bool | None = None,
    input_example: Any = None,
    await_registration_for: int = _AWAIT_SECONDS,
    pip_requirements: Any = None,
    extra_pip_requirements: Any = None,
    metadata: dict[str, Any] | None = None,
    extra_files: Any = None,
    name: str | None = None,
    params: dict[str, Any] | None = None,
    tags: dict[str, Any] | None = None,
    model_type: str | None = MODEL_TYPE,
    step: int = 0,
    model_id: str | None = None,
    **kwargs: Any,
) -> Any:
    import mlflow_flavor

    return MlflowModel.log(
        artifact_path=artifact_path,
        name=name,
        flavor=mlflow_flavor,
        registered_model_name=registered_model_name,
        synth_model=synth_model,
        conda_env=conda_env,
        code_paths=code_paths,
        signature=signature,
        input_example=input_example,
        await_registration_for=await_registration_for,
        pip_requirements=pip_requirements,
        extra_pip_requirements=extra_pip_requirements,
        metadata=metadata,
        extra_files=extra_files,
        params=params,
        tags=tags,
        model_type=model_type,
        step=step,
        model_id=model_id,
        **kwargs,
    )


def load_model(model_uri: str, dst_path: str | None = None) -> Model:
    """Return the model at any URI that MLflow knows."""
    local = private.download_artifact(artifact_uri=model_uri, output_path=dst_path)
    return native(Path(local))


def native(root: Path) -> Model:
    """Return the model in a local folder of MLflow's."""
    conf = private.flavor_configuration(model_path=str(root), flavor_name=FLAVOR_NAME)
    return Model.load(root / conf["data"])


__all__ = ["FLAVOR_NAME", "MODEL_TYPE", "load_model", "log_model", "mlflow", "save_model"]
