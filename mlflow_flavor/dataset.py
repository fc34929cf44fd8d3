"""``mlflow.data`` plug-ins: a dataset whose source is the model that drew it.

rows = model.sample(1000, seed=1)
mlflow.log_input(mlflow.data.from_synthetic(rows, info.model_uri, seed=1), context="synthetic")
...
mlflow.data.get_source(run.inputs.dataset_inputs[0].dataset).load()  # the same rows, drawn again
"""

# No deferred annotations here: MLflow reads the return type of a constructor as a class.
import datetime
import decimal
import math
import re
from collections.abc import Mapping
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.pandas_dataset import PandasDataset
from mlflow.exceptions import MlflowException


class SyntheticDatasetSource(DatasetSource):
    """A model and what was asked of it: enough to draw the same rows again."""

    def __init__(
        self,
        model_uri: str,
        num_rows: int,
        seed: int,
        conditions: Mapping[str, object] | None = None,
        digest: str | None = None,
        requests: Mapping[str, list[object]] | None = None,
    ) -> None:
        self._model_uri, self._num_rows, self._seed, self._digest = model_uri, num_rows, _whole(seed), digest
        self._conditions = None if conditions is None else {name: _json(name, c) for name, c in conditions.items()}
        self._requests = (
            None if requests is None else {name: [_json(name, v) for v in values] for name, values in requests.items()}
        )

    @staticmethod
    def _get_source_type() -> str:
        return "synthetic"

    def load(self) -> pd.DataFrame:
        """Return the rows, drawn again; the generator must be installed here.

        Raises:
            MlflowException: if they are not the rows that the dataset was made from.
        """
        import mlflow_flavor
        from synth_components.steps.sample import condition_of

        model = mlflow_flavor.load_model(self._model_uri)
        asked: dict[str, object] | pd.DataFrame | None = None
        if self._requests is not None:
            asked = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in self._requests.items()})
        elif self._conditions is not None:
            asked = {name: condition_of(value, name) for name, value in self._conditions.items()}
        rows: pd.DataFrame = model.sample(self._num_rows, seed=self._seed, conditions=asked)
        if self._digest is not None and self._digest != _digest(rows):
            raise MlflowException.invalid_parameter_value(
                f"'{self._model_uri}' draws other rows with this seed and these conditions than the dataset was made "
                "from; give mlflow.data.from_synthetic the rows as Model.sample returned them, whole and unchanged"
            )
        return rows

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:  # noqa: ANN401, ARG004 - MLflow's interface
        return False  # never take over plain `models:/` strings

    @classmethod
    def _resolve(cls, raw_source: Any) -> "SyntheticDatasetSource":  # noqa: ANN401, ARG003 - MLflow's interface
        raise MlflowException.invalid_parameter_value("make this source with mlflow.data.from_synthetic")

    def to_dict(self) -> dict[str, Any]:
        """Return what ``from_dict`` reads; conditions as a file of conditions says them."""
        said = {"conditions": self._conditions, "digest": self._digest, "requests": self._requests}
        known = {name: value for name, value in said.items() if value is not None}
        return {"model_uri": self._model_uri, "num_rows": self._num_rows, "seed": self._seed, **known}

    @classmethod
    def from_dict(cls, source_dict: dict[str, Any]) -> "SyntheticDatasetSource":
        """Return the source that ``to_dict`` described."""
        return cls(**source_dict)


def from_synthetic(
    df: pd.DataFrame,
    model_uri: str,
    seed: int,
    conditions: Mapping[str, object] | pd.DataFrame | None = None,
    targets: str | None = None,
    name: str | None = None,
    digest: str | None = None,
) -> PandasDataset:
    """Return synthetic rows as a dataset whose source draws them again.

    Args:
        df: The rows, as ``model.sample(len(df), seed=seed, conditions=conditions)`` returned them.  They are not drawn
            again here: the source refuses to load if they are other rows.
        model_uri: The logged model that drew them.  An alias, a version or a run's artifact is followed to the model
            that it means now, ``models:/m-...``, which never changes.
        seed: The seed that they were drawn with.
        conditions: The conditions that they were drawn with, by column, or a table with a request row for each row.
            MLflow keeps a source of at most 65,535 characters.
        targets: Column to predict.
        name: Name of the dataset.
        digest: Fingerprint of the rows; by default that of a model's manifest, which sees every row.

    Raises:
        MlflowException: if the URI means no logged model, the seed is no whole number, or a condition is none.
    """
    held = _digest(df)
    requests: dict[str, list[object]] | None = None
    if isinstance(conditions, pd.DataFrame):
        requests, conditions = {str(name): conditions[name].tolist() for name in conditions.columns}, None
    source = SyntheticDatasetSource(logged_model_uri(model_uri), len(df), seed, conditions, held, requests)
    return PandasDataset(df=df, source=source, targets=targets, name=name or "synthetic", digest=digest or held)


def logged_model_uri(model_uri: str) -> str:
    """Return ``models:/m-...`` of whatever the URI means now.

    Raises:
        MlflowException: if it is no logged model.
    """
    if re.fullmatch(r"models:/m-[0-9a-f]+", model_uri):
        return model_uri
    model_id = mlflow.models.get_model_info(model_uri).model_id
    if model_id is None:
        raise MlflowException.invalid_parameter_value(
            f"'{model_uri}' is a model that was saved, not logged, so another may take its place; log it with "
            "mlflow_flavor.log_model, and give the model_uri that it returns"
        )
    return f"models:/{model_id}"


def _digest(rows: pd.DataFrame) -> str:
    """Return the digest that the manifest of a model trained on these rows would hold, as long as MLflow keeps one."""
    from mlflow_flavor.lineage import DIGEST_LENGTH
    from synth_components.digest import digest
    from synth_components.schema import TABLE

    return digest({TABLE: [rows]})[:DIGEST_LENGTH]


def _whole(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise MlflowException.invalid_parameter_value(
            "the seed must be the whole number that the rows were drawn with; without one they cannot be drawn again"
        )
    return int(seed)


def _json(column: str, condition: object) -> Any:  # noqa: ANN401 - a JSON value
    """Return a condition as a file of conditions says it, and a time span as ISO 8601 says it."""
    from synth_components.protocols import Interval

    if condition is pd.NaT or condition is pd.NA:
        return None
    match condition:
        case Interval(low, high) | (low, high) if not isinstance(condition, list):
            return {"low": _json(column, low), "high": _json(column, high)}
        case {"low": _, "high": _}:  # what `to_dict` wrote
            return condition
        case str() | bool() | int() | float() | None:
            return None if isinstance(condition, float) and math.isnan(condition) else condition
        case decimal.Decimal() if not condition.is_snan():
            return _json(column, float(condition))
        case list() | tuple() | set() | frozenset() | np.ndarray() | pd.Series() | pd.Index():
            return sorted((_json(column, member) for member in condition), key=repr)
        case datetime.date() | np.datetime64():
            return None if pd.isna(condition) else pd.Timestamp(condition).isoformat()
        case datetime.timedelta() | np.timedelta64():  # before np.generic, whose item() may be a bare count
            return None if pd.isna(condition) else pd.Timedelta(condition).isoformat()
        case np.generic():
            return _json(column, condition.item())
    raise MlflowException.invalid_parameter_value(
        f"the condition on column '{column}' cannot be written down; give a value, a list or set of values, or a pair"
    )
