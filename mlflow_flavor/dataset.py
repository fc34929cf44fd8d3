"""``mlflow.data`` plug-ins: a dataset whose source is the model that made it."""

# No deferred annotations here: MLflow reads the return type of a constructor as a class.
from typing import Any

import pandas as pd
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.pandas_dataset import PandasDataset


class SyntheticDatasetSource(DatasetSource):  # type: ignore[misc]
    """A model and what was asked of it: enough to draw the same rows again."""

    def __init__(self, model_uri: str, num_rows: int, seed: int) -> None:
        self._model_uri, self._num_rows, self._seed = model_uri, num_rows, seed

    @staticmethod
    def _get_source_type() -> str:
        return "synthetic"

    def load(self) -> pd.DataFrame:
        """Return the rows, drawn again."""
        import mlflow_flavor

        rows: pd.DataFrame = mlflow_flavor.load_model(self._model_uri).sample(self._num_rows, seed=self._seed)
        return rows

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:  # noqa: ANN401
        return False  # never take over plain `models:/` strings

    @classmethod
    def _resolve(cls, raw_source: Any) -> "SyntheticDatasetSource":  # noqa: ANN401
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return what ``from_dict`` reads."""
        return {"model_uri": self._model_uri, "num_rows": self._num_rows, "seed": self._seed}

    @classmethod
    def from_dict(cls, source_dict: dict[str, Any]) -> "SyntheticDatasetSource":
        """Return the source that ``to_dict`` described."""
        return cls(**source_dict)


def from_synthetic(
    df: pd.DataFrame, model_uri: str, seed: int, name: str | None = None, digest: str | None = None
) -> PandasDataset:
    """Return the rows ``df`` as a dataset whose source is the model that drew them."""
    return PandasDataset(df=df, source=SyntheticDatasetSource(model_uri, len(df), seed), name=name, digest=digest)
