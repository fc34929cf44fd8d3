"""The generator as a pyfunc: conditions in, one synthetic row for each out.

Every option is a field of ``SampleConfig``; every check of a condition is the core's.  What stands here is what the
platforms below need: a cap on rows, values that JSON can carry, and seeds that differ between the parts of a Spark job.
"""

from __future__ import annotations

import decimal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.types import DataType

from mlflow_flavor import _mlflow as private
from mlflow_flavor.flavor import native, shipped_generators
from mlflow_flavor.signature import ASKED, get_default_signature
from synth_components.condition_text import readable, rules
from synth_components.conditions import nulls, parse
from synth_components.errors import ConditionError, SchemaError, SynthError, UnsupportedError
from synth_components.model import Model, shard_rows
from synth_components.schema import Schema
from synth_components.steps.sample import SampleConfig

MAX_ROWS = "max_rows"
"""The entry of ``model_config`` with the most rows that one call may draw; without it there is no limit."""


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> SyntheticPyfunc:
    return SyntheticPyfunc(native(Path(path), trust=shipped_generators(Path(path))), model_config)


class SyntheticPyfunc:
    """What ``mlflow.pyfunc.load_model`` wraps."""

    def __init__(self, model: Model, model_config: dict[str, Any] | None = None) -> None:
        self.model = model
        self.model_config = dict(model_config or {})
        self._task: tuple[int, int] = (-1, 0)  # the Spark task attempt that was served last, and its batches so far
        cap = self.model_config.get(MAX_ROWS)
        if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int) or cap < 0):
            raise _invalid(f"{MAX_ROWS} in the model_config must be a whole number of at least 0")

    def get_raw_model(self) -> Model:
        """Return the model itself."""
        return self.model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ANN401
        """Return synthetic rows in the column order of the training table.

        Args:
            model_input: Conditions: a table with some of the columns, one request row per output row, null being free.
                Without columns and rows, rows are drawn freely.
            params: Fields of ``SampleConfig`` by name.  ``None`` is the field's default; without a seed, each call
                gives fresh rows.

        Returns:
            Rows with the dtypes of the training table; in a scoring server with values that JSON can carry, in a
            Spark task with values of the types in ``result_type``.

        Raises:
            MlflowException: ``INVALID_PARAMETER_VALUE`` naming the column or parameter and what it takes.
        """
        try:
            self._refuse_dropped(model_input, params or {})
            rows = self._drawn(_requests(model_input, self.model.schema), _given_params(params))
        except ConditionError as error:
            raise _invalid(f"{error}{rules(error.columns, self.model.schema)}") from error
        except SynthError as error:
            raise _invalid(str(error)) from error
        if _spark_task() is not None:
            return _for_spark(rows, _types(self.model))
        return rows.apply(_for_json) if private.IN_SERVING.get() else rows

    def _refuse_dropped(self, model_input: Any, params: Mapping[str, Any]) -> None:  # noqa: ANN401
        """Raise if MLflow dropped columns or params of the request, because the signature does not name them."""
        asked = private.asked(self.model)
        if asked is None:
            return
        columns = list(self.model.schema.columns)
        for what, given, kept, known in (
            ("columns", asked[0], model_input, columns),
            ("params", asked[1], params, list(ASKED)),
        ):
            named = list(given) if isinstance(given, pd.DataFrame | Mapping) else []
            dropped = [str(name) for name in named if name not in kept]
            if dropped:
                raise SchemaError(
                    f"the request names {what} {dropped}, and the model's signature does not; it takes {known}"
                )

    def _drawn(self, requests: pd.DataFrame | None, asked: Mapping[str, Any]) -> pd.DataFrame:
        schema = self.model.schema
        if len(schema.tables) > 1:
            raise UnsupportedError(
                "the model draws several tables; load it with mlflow_flavor.load_model and sample it"
            )
        config = SampleConfig.parse(asked)
        num_rows = config.num_rows if requests is None else len(requests)
        if requests is not None and asked.get("num_rows", num_rows) != num_rows:
            raise ConditionError(
                f"num_rows is {config.num_rows} and there are {num_rows} rows of conditions; leave num_rows out"
            )
        self._require_few(shard_rows(num_rows, config.shard_index, config.num_shards))
        unknown = [name for name in config.columns if name not in schema.columns]
        if unknown:
            raise SchemaError(f"the model has no columns {unknown}; its columns are {list(schema.columns)}")
        rows = self._rows(num_rows, requests, config, seed=self._seed(asked.get("seed")))
        return rows[list(config.columns)] if config.columns else rows

    def _rows(
        self, num_rows: int, requests: pd.DataFrame | None, config: SampleConfig, *, seed: int | None
    ) -> pd.DataFrame:
        if config.num_shards == 1:
            whole: pd.DataFrame = self.model.sample(num_rows, seed=seed, conditions=requests)
            return whole
        if seed is None:
            raise SynthError("shards of one table need one seed; give all of them the same")
        blocks = self.model.blocks(
            num_rows,
            seed=seed,
            given=None if requests is None else parse(requests, self.model.schema, num_rows),
            shard_index=config.shard_index,
            num_shards=config.num_shards,
        )
        drawn = [block.table for block in blocks]
        empty: pd.DataFrame = self.model.sample(0, seed=seed)
        return pd.concat(drawn, ignore_index=True) if drawn else empty

    def _require_few(self, num_rows: int) -> None:
        cap = self.model_config.get(MAX_ROWS)
        if cap is not None and num_rows > cap:
            raise SynthError(
                f"{num_rows} rows are asked for, by num_rows or by conditions, and one call draws at most {cap}; make "
                f"several calls with a seed each, or raise {MAX_ROWS} in the model_config"
            )

    def _seed(self, seed: int | None) -> int | None:
        """Return the seed of this call: ``None`` for fresh rows, and within Spark another one for each batch."""
        if seed is None or seed == -1:
            return None
        task = _spark_task()
        if task is None:
            return seed
        attempt, batches = self._task
        batch = batches if attempt == task.taskAttemptId() else 0
        self._task = (task.taskAttemptId(), batch + 1)  # an attempt that is repeated draws the same rows again
        mixed = np.random.SeedSequence(seed, spawn_key=(task.partitionId(), batch)).generate_state(1, np.uint64)
        return int(mixed[0] >> np.uint64(11))  # 53 bits


def _invalid(message: str) -> MlflowException:
    made: MlflowException = MlflowException.invalid_parameter_value(message)
    return made


def _given_params(params: dict[str, Any] | None) -> dict[str, Any]:
    """Return the parameters that say something, as plain Python values."""
    plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in (params or {}).items()}
    return {name: value for name, value in plain.items() if value is not None}


def _requests(model_input: Any, schema: Schema) -> pd.DataFrame | None:  # noqa: ANN401 - what pyfunc lets pass
    """Return the request rows, ``None`` where there are neither rows nor columns."""
    try:
        # As objects: pandas looks for a number type that holds all integers, and fails where there is none.
        table = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame(model_input, dtype=object)
    except (ValueError, TypeError):
        columns = model_input if isinstance(model_input, Mapping) else {}
        names = tuple(str(n) for n, v in columns.items() if not pd.api.types.is_list_like(v, allow_sets=False))
        raise ConditionError(
            "the conditions are no table; give columns of values, or a list of rows", columns=names
        ) from None
    if not len(table) and not len(table.columns):
        return None
    if not table.columns.is_unique:
        return table  # the core refuses it
    # Null is free, in columns too that cannot be conditioned on.
    free = [
        name for name in table.columns if name in schema.columns and len(table) and nulls(table[name], str(name)).all()
    ]
    table = table.drop(columns=free)
    made = {name: readable(values, schema.columns.get(str(name))) for name, values in table.items()}
    return pd.DataFrame(made, index=table.index)


def _for_json(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return values that JSON can carry: null for what is missing, text for times, time spans and decimals."""
    plain = isinstance(values.dtype, np.dtype) and values.dtype.kind
    if plain in ("b", "i", "u") or (plain == "f" and np.isfinite(values).all()):
        return values
    return pd.Series([_json(value) for value in values.tolist()], index=values.index, dtype=object)


def _json(value: Any) -> str | int | float | bool | None:  # noqa: ANN401
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and not np.isfinite(value)):
        return None
    if isinstance(value, decimal.Decimal):
        return str(value)
    made: str | int | float | bool = value.isoformat() if hasattr(value, "isoformat") else value
    return made


def _types(model: Model) -> dict[str, DataType]:
    """Return the type of each column under Spark: that of the signature, with text for times."""
    outputs = get_default_signature(model).outputs.inputs
    return {spec.name: DataType.string if spec.type == DataType.datetime else spec.type for spec in outputs}


def result_type(model: Model) -> str:
    """Return the ``result_type`` that ``mlflow.pyfunc.spark_udf`` needs: its struct fields cannot be times.

    Times come as ISO 8601 text, which Spark's ``to_timestamp`` reads.
    """
    fields = [f"`{name.replace('`', '``')}`: {kind.to_spark().simpleString()}" for name, kind in _types(model).items()]
    return f"struct<{', '.join(fields)}>"


def _spark_task() -> Any:  # noqa: ANN401 - a TaskContext
    """Return the Spark task that runs this process; ``None`` outside of Spark's workers."""
    pyspark = sys.modules.get("pyspark")
    return None if pyspark is None else pyspark.TaskContext.get()


def _for_spark(rows: pd.DataFrame, types: Mapping[str, DataType]) -> pd.DataFrame:
    return pd.DataFrame({name: _typed(rows[name], types[str(name)]) for name in rows.columns}, index=rows.index)


def _typed(values: pd.Series[Any], kind: DataType) -> pd.Series[Any]:
    """Return values that outlive what ``spark_udf`` does to each column: ``astype`` of the type's numpy class.

    That makes the text "None" of a missing text and ``False`` of a missing boolean; but a categorical keeps its nulls.
    """
    if values.isna().all():
        return pd.Series(None, index=values.index, dtype=object)  # left as it is; no category would hold the null
    if kind in (DataType.string, DataType.boolean):
        plain = _for_json(values)
        return plain.astype("string" if kind == DataType.string else object).astype("category")
    return values.astype(kind.to_pandas())
