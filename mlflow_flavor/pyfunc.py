"""The generator as a pyfunc: conditions in, rows out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from mlflow_flavor.flavor import native
from synth_components.model import Model


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> SyntheticPyfunc:
    return SyntheticPyfunc(native(Path(path)), model_config)


class SyntheticPyfunc:
    """What ``mlflow.pyfunc.load_model`` wraps."""

    def __init__(self, model: Model, model_config: dict[str, Any] | None = None) -> None:
        self.model = model
        self.model_config = dict(model_config or {})

    def get_raw_model(self) -> Model:
        """Return the model itself."""
        return self.model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ANN401
        """Return synthetic rows: one per row of conditions, or ``num_rows``."""
        params = params or {}
        conditions = None if model_input is None or len(model_input) == 0 else pd.DataFrame(model_input)
        rows: pd.DataFrame = self.model.sample(params.get("num_rows"), seed=params.get("seed"), conditions=conditions)
        return rows
