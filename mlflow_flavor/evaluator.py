"""The ``mlflow.models.evaluate`` plug-in: fidelity, utility and privacy of synthetic rows, as the core judges them.

    mlflow.models.evaluate(
        "models:/customers@champion", holdout, model_type="synthetic-tabular", evaluators="synthetic",
        evaluator_config={"train": train, "target": "churned"},
    )

MLflow asks this module about every evaluation on the machine, so it imports next to nothing until it is its turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlflow.models.evaluation import EvaluationResult, ModelEvaluator

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.data.evaluation_dataset import EvaluationDataset

    from synth_components.evaluation import EvaluateConfig
    from synth_components.model import Model
    from synth_components.protocols import Dataset
    from synth_components.schema import Schema

MODEL_TYPE = "synthetic-tabular"
"""As ``flavor.MODEL_TYPE``, whose module is too heavy to import here."""

T = TypeVar("T")

_LOG = logging.getLogger(__name__)

TRAIN, SYNTHETIC, ROWS = "train", "synthetic_data", "num_rows"


class SyntheticEvaluator(ModelEvaluator):
    """Judges the rows of a model of ours, or of a table."""

    @classmethod
    def can_evaluate(cls, *, model_type: Any, evaluator_config: Any = None, **kwargs: Any) -> bool:  # noqa: ANN401
        """Return whether the model is a generator of tables; never raise."""
        del evaluator_config, kwargs
        return isinstance(model_type, str) and model_type == MODEL_TYPE

    def evaluate(
        self,
        *,
        model_type: str,
        dataset: EvaluationDataset,
        run_id: str,
        evaluator_config: Mapping[str, Any] | None,
        model: Any = None,  # noqa: ANN401 - any pyfunc
        extra_metrics: Any = None,  # noqa: ANN401
        custom_artifacts: Any = None,  # noqa: ANN401
        predictions: Any = None,  # noqa: ANN401
        model_id: str | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> EvaluationResult:
        """Log the report on synthetic rows into a run, and return its scores, tables and plots.

        Args:
            model_type: As ``can_evaluate`` takes it.
            dataset: The holdout: real rows that the model never saw.  Its targets, if it names them, are the target.
            run_id: Where to log.
            evaluator_config: The options of ``EvaluateConfig``, and

                ``train``: the real rows that the model was trained on, as a table, a path, or a dataset of
                ``mlflow.data.from_pandas``.  Without them privacy is not scored, and the report says so.

                ``num_rows``: of ``SampleConfig``; ``seed`` is the seed of the rows too.

                ``synthetic_data``: the rows to judge, as a table or a path, instead of rows that the model draws.
            model: A pyfunc of this flavor, ``None`` with ``synthetic_data``.
            extra_metrics: Not taken.
            custom_artifacts: Not taken.
            predictions: Not taken.
            model_id: The logged model that ``mlflow.models.evaluate`` links the metrics to, ``None`` if it found none.
            kwargs: What later versions of MLflow may add.

        Raises:
            ConfigError: for an unknown option or a bad value.
            DataError: if holdout or rows are no tables.
            UnsupportedError: for a model of another flavor or in another process, or for metrics that are not ours.
        """
        from synth_components import evaluation
        from synth_components.errors import UnsupportedError

        del model_type, kwargs
        if extra_metrics or custom_artifacts:
            raise UnsupportedError(
                "the synthetic evaluator takes no extra_metrics and no custom_artifacts; leave them out"
            )
        if predictions is not None or dataset.has_predictions:
            raise UnsupportedError(
                f"predictions name one column, and whole rows are judged; give them as evaluator_config['{SYNTHETIC}']"
            )
        import mlflow

        from mlflow_flavor import _mlflow as private
        from mlflow_flavor.report import log_artifacts, metrics_of

        asked = dict(evaluator_config or {})
        ours = {name: asked.pop(name, None) for name in (TRAIN, SYNTHETIC, ROWS)}
        given = {name: value for name, value in ours.items() if value is not None}
        config = _config(asked, dataset)
        native = None if model is None else _native(model)
        schema = None if native is None else native.schema
        synthetic = _synthetic(native, given, config)
        holdout = _holdout(dataset)
        train = _real(given[TRAIN], schema) if TRAIN in given else None
        with private.disable_autologging():  # learners are fitted here, and the report is logged below
            report = evaluation.evaluate(train, holdout, synthetic, schema=schema, config=config, model=native)
        _warn(report.notes)
        metrics = metrics_of(report)
        artifacts = log_artifacts(report, run_id)
        # `evaluate` links metrics to a model only where the URI names one by id or version.
        own = None if model is None else _known(model.metadata.model_id)
        if model_id is None or own not in (None, model_id):
            mlflow.log_metrics(metrics, run_id=run_id, model_id=own)
        return EvaluationResult(metrics, artifacts, run_id)


def _config(asked: Mapping[str, Any], dataset: EvaluationDataset) -> EvaluateConfig:
    from synth_components.config import ConfigError
    from synth_components.evaluation import EvaluateConfig

    for name in asked:
        if name not in EvaluateConfig.model_fields:
            known = ", ".join((TRAIN, SYNTHETIC, ROWS, *EvaluateConfig.model_fields))
            raise ConfigError(f"evaluator_config has no option '{name}'; its options are: {known}", option=str(name))
    target = {"target": dataset.targets_name} if dataset.has_targets else {}
    return EvaluateConfig.parse({**target, **asked})


def _native(model: Any) -> Model:  # noqa: ANN401 - any pyfunc
    from synth_components.errors import UnsupportedError
    from synth_components.model import Model

    try:
        raw = model.get_raw_model()
    except (AttributeError, NotImplementedError):
        raw = None
    if not isinstance(raw, Model):
        raise UnsupportedError(
            "the model is not of this flavor, or runs in a process of its own, which gives back one column only: use "
            f"env_manager='local', or model=None with rows that it drew as evaluator_config['{SYNTHETIC}']"
        )
    if len(raw.schema.tables) > 1:
        raise UnsupportedError("the model draws several tables, and one is judged")
    return raw


def _known(model_id: str | None) -> str | None:
    """Return the id of a logged model, ``None`` if the store knows none, as with a copy from another store."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        return None if model_id is None else str(mlflow.get_logged_model(model_id).model_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _synthetic(model: Model | None, given: Mapping[str, Any], config: EvaluateConfig) -> pd.DataFrame:
    from synth_components.config import ConfigError
    from synth_components.io.dataset import read_table
    from synth_components.steps.sample import SampleConfig

    if SYNTHETIC in given:
        if ROWS in given:
            raise ConfigError(
                f"'{ROWS}' is for rows that a model draws; leave it out beside '{SYNTHETIC}'", option=ROWS
            )
        return _table(given[SYNTHETIC], SYNTHETIC, read_table)
    if model is None:
        raise ConfigError(
            f"there are no rows to judge; give a model, or evaluator_config['{SYNTHETIC}']", option=SYNTHETIC
        )
    asked = SampleConfig.parse({**{name: given[name] for name in given if name == ROWS}, "seed": config.seed})
    rows: pd.DataFrame = model.sample(asked.num_rows, seed=asked.seed)
    return rows


def _real(value: Any, schema: Schema | None) -> pd.DataFrame | Dataset:  # noqa: ANN401
    from synth_components.io.dataset import read_dataset

    return _table(value, TRAIN, partial(read_dataset, schema=schema))


def _table(value: Any, name: str, read: Callable[[str | Path], T]) -> pd.DataFrame | T:  # noqa: ANN401
    """Return a table that was given as such, as a dataset of MLflow's, or as a path to read."""
    import pandas as pd
    from mlflow.data.pandas_dataset import PandasDataset

    from synth_components.config import ConfigError

    if isinstance(value, str | Path):
        return read(value)
    table = value.df if isinstance(value, PandasDataset) else value
    if not isinstance(table, pd.DataFrame):
        raise ConfigError(
            f"'{name}' must be a table of pandas, a path, or a dataset of mlflow.data.from_pandas", option=name
        )
    return table


def _holdout(dataset: EvaluationDataset) -> pd.DataFrame:
    """Return the holdout with its target, which MLflow keeps apart and without its dtype, back in place."""
    import pandas as pd

    from synth_components.errors import DataError

    rows = dataset.features_data
    if not isinstance(rows, pd.DataFrame):
        raise DataError("the data must be a table of pandas with the columns of the model; arrays have no column names")
    if not dataset.has_targets:
        return rows
    target = pd.Series(dataset.labels_data, index=rows.index)
    return rows.assign(**{dataset.targets_name: target})


def _warn(notes: Sequence[str]) -> None:
    from synth_components.evaluation.report import NO_TRAIN

    for note in notes:
        if note.startswith(NO_TRAIN):
            _LOG.warning("%s", note)
