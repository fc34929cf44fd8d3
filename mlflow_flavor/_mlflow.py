"""Every private name of MLflow that the flavour uses, in one place: present in 3.10 and in the newest release."""

from __future__ import annotations

import inspect
from typing import Any

from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT as IN_SERVING
from mlflow.models.utils import _save_example as save_example
from mlflow.pyfunc import PyFuncModel
from mlflow.tracking._model_registry import DEFAULT_AWAIT_MAX_SLEEP_SECONDS as AWAIT_SECONDS
from mlflow.tracking.artifact_utils import _download_artifact_from_uri as download_artifact
from mlflow.tracking.context.registry import resolve_tags
from mlflow.tracking.fluent import _create_dataset_input as dataset_input
from mlflow.utils.autologging_utils import BatchMetricsLogger, autologging_integration, disable_autologging
from mlflow.utils.autologging_utils.safety import _safe_function as attempt
from mlflow.utils.autologging_utils.safety import safe_patch
from mlflow.utils.docstring_utils import LOG_MODEL_PARAM_DOCS, format_docstring
from mlflow.utils.environment import (
    _CONDA_ENV_FILE_NAME as CONDA_ENV_FILE,
)
from mlflow.utils.environment import (
    _CONSTRAINTS_FILE_NAME as CONSTRAINTS_FILE,
)
from mlflow.utils.environment import (
    _PYTHON_ENV_FILE_NAME as PYTHON_ENV_FILE,
)
from mlflow.utils.environment import (
    _REQUIREMENTS_FILE_NAME as REQUIREMENTS_FILE,
)
from mlflow.utils.environment import (
    _mlflow_conda_env as conda_env_of,
)
from mlflow.utils.environment import (
    _process_conda_env as process_conda_env,
)
from mlflow.utils.environment import (
    _process_pip_requirements as process_pip_requirements,
)
from mlflow.utils.environment import (
    _PythonEnv as PythonEnv,
)
from mlflow.utils.environment import (
    _validate_env_arguments as validate_env_arguments,
)
from mlflow.utils.file_utils import get_total_file_size
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS as LOGGED_ARTIFACTS
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID as PARENT_RUN_ID
from mlflow.utils.model_utils import (
    _add_code_from_conf_to_system_path as add_code_to_path,
)
from mlflow.utils.model_utils import (
    _copy_extra_files as copy_extra_files,
)
from mlflow.utils.model_utils import (
    _get_flavor_configuration as flavor_configuration,
)
from mlflow.utils.model_utils import (
    _validate_and_copy_code_paths as copy_code_paths,
)
from mlflow.utils.model_utils import (
    _validate_and_prepare_target_save_path as prepare_target,
)

__all__ = [
    "AWAIT_SECONDS",
    "CONDA_ENV_FILE",
    "CONSTRAINTS_FILE",
    "IN_SERVING",
    "LOGGED_ARTIFACTS",
    "LOG_MODEL_PARAM_DOCS",
    "PARENT_RUN_ID",
    "PYTHON_ENV_FILE",
    "REQUIREMENTS_FILE",
    "BatchMetricsLogger",
    "PythonEnv",
    "add_code_to_path",
    "asked",
    "attempt",
    "autologging_integration",
    "conda_env_of",
    "copy_code_paths",
    "copy_extra_files",
    "dataset_input",
    "disable_autologging",
    "download_artifact",
    "flavor_configuration",
    "format_docstring",
    "get_total_file_size",
    "prepare_target",
    "process_conda_env",
    "process_pip_requirements",
    "resolve_tags",
    "safe_patch",
    "save_example",
    "validate_env_arguments",
]


def asked(raw_model: object) -> tuple[Any, Any] | None:
    """Return input and params as the caller of ``PyFuncModel.predict`` gave them; ``None`` outside of such a call.

    MLflow drops the columns and params that a signature does not name, and tells the log alone.  Who only gets the rest
    would answer another question than was asked; the frame of the call still holds it.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is PyFuncModel.predict.__code__ and frame.f_locals["self"].get_raw_model() is raw_model:
            return frame.f_locals["data"], frame.f_locals["params"]
        frame = frame.f_back
    return None
