"""The signature: derived from the model and from the sample step, and nothing retyped."""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model as MlflowModel
from mlflow.models import ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec
from mlflow.types.schema import AnyType

import mlflow_flavor
import synth_components as synth
from mlflow_flavor.signature import ASKED, WITHHELD, get_default_signature, synthetic_example
from synth_components.schema import Categorical, Datetime, Key, Numeric, Schema, Text
from synth_components.steps.sample import SampleConfig


def typed(column, **changes):
    """Return the type of one column in the outputs of a model that has this column only."""

    class OneColumn:
        schema = Schema({"table": {"x": column}})

    return get_default_signature(OneColumn).outputs.inputs[0].type


def test_r09_inputs_are_the_columns_optional_and_of_any_type(model):
    inputs = get_default_signature(model).inputs
    assert inputs.input_names() == list(model.schema.columns)
    assert all(spec.type == AnyType() and not spec.required for spec in inputs)


def test_r09_outputs_are_the_columns_typed(model):
    outputs = get_default_signature(model).outputs
    assert {spec.name: spec.type for spec in outputs} == {
        "age": DataType.long,
        "sex": DataType.string,
        "income": DataType.double,
        "score": DataType.double,
        "joined": DataType.datetime,
        "active": DataType.boolean,
    }


def test_r09_the_parameters_are_fields_of_the_sample_step(model):
    params = {spec.name: spec for spec in get_default_signature(model).params}
    assert list(params) == list(ASKED)
    assert set(params) <= set(SampleConfig.model_fields)
    assert {name: spec.dtype for name, spec in params.items() if spec.shape is None} == dict.fromkeys(
        ("num_rows", "seed", "shard_index", "num_shards"), DataType.long
    )
    assert (params["columns"].dtype, params["columns"].shape) == (DataType.string, (-1,))


def test_r09_an_absent_parameter_is_null_or_an_empty_list(model):
    assert [spec.default for spec in get_default_signature(model).params] == [None, None, [], None, None]


def test_each_field_of_the_sample_step_is_either_asked_or_withheld_with_a_reason():
    assert sorted([*ASKED, *WITHHELD]) == sorted(SampleConfig.model_fields), "decide whether a pyfunc call takes it"
    assert all(WITHHELD.values())


def test_r09_the_signature_survives_the_file(model, tmp_path):
    mlflow_flavor.save_model(model, tmp_path / "m")
    assert MlflowModel.load(tmp_path / "m").signature == get_default_signature(model)


def test_r09_a_signature_of_the_users_wins(model, tmp_path):
    mine = ModelSignature(params=ParamSchema([ParamSpec("seed", "long", 3)]))
    mlflow_flavor.save_model(model, tmp_path / "m", signature=mine)
    assert MlflowModel.load(tmp_path / "m").signature == mine


def test_r09_signature_false_leaves_it_out_and_the_model_still_answers(model, tmp_path):
    mlflow_flavor.save_model(model, tmp_path / "m", signature=False)
    assert MlflowModel.load(tmp_path / "m").signature is None
    assert len(mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(pd.DataFrame({"sex": ["F", "M"]}))) == 2


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (Numeric(dtype="int32", places=0), DataType.long),
        (Numeric(dtype="int64", places=-3), DataType.long),
        (Numeric(dtype="Int64", places=0, nullable=True), DataType.double),
        (Numeric(dtype="uint64", places=0, high=2**64 - 1), DataType.double),
        (Numeric(dtype="float64", places=0), DataType.double),
        (Numeric(dtype="float32"), DataType.double),
        (Numeric(dtype="timedelta64[ns]", places=-9), DataType.string),
        (Numeric(dtype="decimal", places=2), DataType.string),
        (Categorical(dtype="int64", categories=(1, 2)), DataType.long),
        (Categorical(dtype="float64", categories=(1, 2), nullable=True), DataType.double),
        (Categorical(dtype="float64", categories=(0.5, 2)), DataType.double),
        (Categorical(dtype="bool", categories=(True, False)), DataType.boolean),
        (Categorical(dtype="object", categories=("a", 1)), DataType.string),
        (Categorical(dtype="category", categories=()), DataType.string),
        (Datetime(dtype="datetime64[ns, UTC]"), DataType.datetime),
        (Key(dtype="int64"), DataType.long),
        (Key(dtype="object", prefix="c"), DataType.string),
        (Text(), DataType.string),
    ],
)
def test_r09_an_output_has_the_type_of_the_columns_values(column, expected):
    assert typed(column) == expected


def test_a_model_of_several_tables_has_no_output_schema():
    class TwoTables:
        schema = Schema({"a": {"x": Numeric()}, "b": {"y": Numeric()}}, root="a")

    signature = get_default_signature(TwoTables)
    assert signature.outputs is None
    assert signature.inputs.input_names() == ["x"]


def test_r10_no_example_is_stored_unless_it_is_given(model, tmp_path):
    mlflow_flavor.save_model(model, tmp_path / "m")
    assert MlflowModel.load(tmp_path / "m").saved_input_example_info is None


def test_r10_the_synthetic_example_is_of_drawn_values_and_is_answered(model, tmp_path, caplog):
    example = synthetic_example(model)
    mlflow_flavor.save_model(model, tmp_path / "m", input_example=example)
    saved = MlflowModel.load(tmp_path / "m")
    pd.testing.assert_frame_equal(saved.load_input_example(tmp_path / "m"), example[0], check_dtype=False)
    answer = mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(*example)
    assert answer[list(example[0])].to_dict("list") == example[0].to_dict("list")


def test_r10_mlflow_validates_the_synthetic_example_as_it_is_logged(model, caplog):
    mlflow_flavor.log_model(model, name="g", input_example=synthetic_example(model))
    assert "Failed to validate serving input" not in caplog.text


def test_r10_a_table_of_numbers_and_keys_has_an_example_too():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"id": np.arange(200), "x": rng.normal(size=200)})
    conditions, params = synthetic_example(synth.fit(table, generator="tabular.independent", seed=0))
    assert list(conditions) == ["x"]
    assert params == {"seed": 0}
    assert not set(conditions["x"]) & set(table["x"])


def test_r10_the_example_is_plain_json(model, tmp_path):
    mlflow_flavor.save_model(model, tmp_path / "m", input_example=synthetic_example(model))
    stored = json.loads((tmp_path / "m" / "serving_input_example.json").read_text())
    assert stored["params"] == {"seed": 0}
