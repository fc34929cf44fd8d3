"""MLflow flavour of synth-components models: save, log, load, serve, evaluate, promote.

    import mlflow_flavor

    info = mlflow_flavor.log_model(model, name="customers", registered_model_name="customers")
    model = mlflow_flavor.load_model("models:/customers@champion")

Everything is loaded when it is first asked for: MLflow imports the entry points of this package before it has finished
importing itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_flavor.autologging import autolog as autolog
    from mlflow_flavor.flavor import FLAVOR_NAME as FLAVOR_NAME
    from mlflow_flavor.flavor import MODEL_TYPE as MODEL_TYPE
    from mlflow_flavor.flavor import get_default_conda_env as get_default_conda_env
    from mlflow_flavor.flavor import get_default_pip_requirements as get_default_pip_requirements
    from mlflow_flavor.flavor import load_model as load_model
    from mlflow_flavor.flavor import log_model as log_model
    from mlflow_flavor.flavor import save_model as save_model
    from mlflow_flavor.signature import get_default_signature as get_default_signature

__all__ = [
    "FLAVOR_NAME",
    "MODEL_TYPE",
    "autolog",
    "get_default_conda_env",
    "get_default_pip_requirements",
    "get_default_signature",
    "load_model",
    "log_model",
    "save_model",
]

_HOMES = {"autolog": "autologging", "get_default_signature": "signature", "_load_pyfunc": "pyfunc"}
"""The module of each name that is not at home in ``flavor``; ``pyfunc.load_model`` asks for ``_load_pyfunc``.

No module has the name of what it holds: once imported, it would hide it.
"""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name not in (*__all__, *_HOMES):
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'; it offers {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'flavor')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
