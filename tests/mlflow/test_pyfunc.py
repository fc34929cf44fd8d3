"""What ``mlflow.pyfunc`` may ask of a model and what it gets: requirements 16 to 19 and 21 without a server."""

import concurrent.futures
import dataclasses
import decimal
import json
import multiprocessing
import random
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.pyfunc import scoring_server
from mlflow.types import Schema as MlflowSchema

import mlflow_flavor
import synth_components as synth
from mlflow_flavor.pyfunc import SyntheticPyfunc
from synth_components.protocols import BLOCK_ROWS
from synth_components.schema import Schema
from synth_components.steps.sample import SampleConfig


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("pyfunc") / "model"
    mlflow_flavor.save_model(model, root)
    return str(root)


@pytest.fixture(scope="module")
def pyfunc(path):
    return mlflow.pyfunc.load_model(path)


@pytest.fixture(scope="module")
def wide_table():
    """Return a table with every type of column, each with nulls where pandas allows them."""
    rng = np.random.default_rng(1)
    n = 300
    missing = rng.random(n) < 0.2
    cents = rng.integers(100, 10_000, n)
    day = pd.Timestamp("2024-01-01")
    return pd.DataFrame(
        {
            "whole": rng.integers(0, 50, n),
            "counted": pd.array(np.where(missing, None, rng.integers(0, 9, n)), dtype="Int64"),
            "real": np.where(missing, np.nan, rng.normal(size=n)),
            "city": pd.Series(np.where(missing, None, rng.choice(["Oslo", "Rome"], n)), dtype=object),
            "level": pd.Categorical(rng.choice([1, 2, 3], n), ordered=True),
            "paid": rng.random(n) < 0.5,
            "opted": pd.array(np.where(missing, None, rng.random(n) < 0.5), dtype="boolean"),
            "at": (day + pd.to_timedelta(rng.integers(0, 90, n), unit="D")).where(~missing),
            "zoned": (day + pd.to_timedelta(rng.integers(0, 90, n), unit="h")).tz_localize("Europe/Rome"),
            "spent": pd.Series(pd.to_timedelta(rng.integers(0, 900, n), unit="s")).where(~missing),
            "price": [
                None if gone else decimal.Decimal(int(c)).scaleb(-2) for gone, c in zip(missing, cents, strict=True)
            ],
            "born": [(day - pd.Timedelta(days=int(d))).date() for d in rng.integers(0, 9_000, n)],
            "key": [f"user-{i}" for i in range(n)],
        }
    )


@pytest.fixture(scope="module")
def wide(wide_table, tmp_path_factory):
    root = tmp_path_factory.mktemp("wide") / "model"
    mlflow_flavor.save_model(synth.fit(wide_table, generator="tabular.independent", seed=0), root)
    return mlflow.pyfunc.load_model(str(root))


@pytest.fixture
def serving(monkeypatch):
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")


def drawn(model: Any, rows: Any = (), **params: Any) -> pd.DataFrame:
    return model.predict(pd.DataFrame(rows), params=params)


def served(model: Any, body: Any) -> list[dict[str, Any]]:
    """Return what the scoring server answers, as a strict reader of JSON sees it."""
    answer = scoring_server.invocations(
        json.dumps(body).encode(), "application/json", model, model.metadata.get_input_schema()
    )
    assert answer.status == 200
    found = json.loads(answer.response, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return found["predictions"]


def refusal(model: Any, rows: Any = (), **params: Any) -> str:
    with pytest.raises(MlflowException) as caught:
        drawn(model, rows, **params)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    return caught.value.message


# Requirement 16


def test_r16_a_seed_gives_the_rows_of_the_native_model_after_every_load(path, model):
    wanted = model.sample(50, seed=7)
    for _ in range(2):
        pd.testing.assert_frame_equal(drawn(mlflow.pyfunc.load_model(path), num_rows=50, seed=7), wanted)
        pd.testing.assert_frame_equal(mlflow_flavor.load_model(path).sample(50, seed=7), wanted)


@pytest.mark.parametrize("params", [{}, {"seed": -1}])
def test_r16_without_a_seed_every_call_and_every_load_gives_fresh_rows(path, params):
    first = mlflow.pyfunc.load_model(path)
    tables = [drawn(m, num_rows=20, **params) for m in (first, first, mlflow.pyfunc.load_model(path))]
    assert len({table.to_csv() for table in tables}) == 3


def _csv_of_a_fork(path: str, seed: int | None) -> str:
    params = {"num_rows": 20} | ({} if seed is None else {"seed": seed})
    return mlflow.pyfunc.load_model(path).predict(pd.DataFrame(), params=params).to_csv()


def test_r16_forks_agree_on_a_seed_and_differ_without_one(path):
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as forks:
        seeded = list(forks.map(_csv_of_a_fork, [path] * 2, [3, 3]))
        fresh = list(forks.map(_csv_of_a_fork, [path] * 3, [None] * 3))
    assert seeded == [_csv_of_a_fork(path, 3)] * 2
    assert len({*fresh, _csv_of_a_fork(path, None)}) == 4


# Requirement 17


def test_r17_each_row_of_conditions_gives_one_row_in_order(pyfunc):
    ages = [30, 61, 45, 30]
    rows = drawn(pyfunc, {"age": ages, "sex": ["F", None, "M", None]}, seed=0)
    assert rows["age"].tolist() == ages
    assert rows["sex"][[0, 2]].tolist() == ["F", "M"]


def test_r17_nulls_are_free(pyfunc):
    rows = drawn(pyfunc, {"age": [30] + [None] * 199, "income": [np.nan] * 200}, seed=0)
    assert rows["age"][0] == 30
    assert rows["age"][1:].nunique() > 20
    assert rows["income"].notna().all()


def test_r17_a_request_whose_columns_are_all_null_is_free(wide):
    rows = drawn(wide, {name: [None] * 5 for name in wide.metadata.get_input_schema().input_names()}, seed=0)
    assert len(rows) == 5


def test_r17_rows_have_the_dtypes_and_the_column_order_of_the_table(wide, wide_table):
    rows = drawn(wide, {"whole": [3, 4]}, seed=0)
    assert rows.dtypes.to_dict() == wide_table.dtypes.to_dict()
    assert list(rows) == list(wide_table)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("whole", 3.0),
        ("whole", np.int8(3)),
        ("counted", 4.0),
        ("city", "Oslo"),
        ("level", 2.0),
        ("paid", np.bool_(1)),
        ("at", "2024-02-03T00:00:00"),
        ("at", pd.Timestamp("2024-02-03")),
        ("zoned", "2024-01-02T02:00:00+01:00"),
        ("zoned", "2024-01-02T01:00:00Z"),
        ("spent", "PT5M"),
        ("spent", pd.Timedelta(minutes=5)),
        ("price", "12.50"),
        ("price", 12.5),
        ("price", decimal.Decimal("12.5")),
        ("born", "2010-05-06"),
    ],
)
def test_r17_a_condition_may_come_as_json_carries_it(wide, name, value):
    rows = drawn(wide, {name: [value, value]}, seed=0)
    wanted = {
        "whole": 3,
        "counted": 4,
        "city": "Oslo",
        "level": 2,
        "paid": True,
        "at": pd.Timestamp("2024-02-03"),
        "zoned": pd.Timestamp("2024-01-02T02:00:00", tz="Europe/Rome"),
        "spent": pd.Timedelta(minutes=5),
        "price": decimal.Decimal("12.50"),
        "born": pd.Timestamp("2010-05-06").date(),
    }
    assert rows[name].tolist() == [wanted[name]] * 2


def test_r17_answered_rows_are_good_conditions(wide, serving):
    asked = {"inputs": [], "params": {"num_rows": 20, "seed": 0}}
    rows = [{k: v for k, v in row.items() if k != "key"} for row in served(wide, asked)]
    again = served(wide, {"dataframe_records": rows, "params": {"seed": 1}})
    for row, found in zip(rows, again, strict=True):
        assert {k: found[k] for k, v in row.items() if v is not None} == {k: v for k, v in row.items() if v is not None}


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("whole", 3.5, "a whole number within the bounds of the model's schema"),
        ("whole", "3", "a whole number"),
        ("whole", 10**6, "a whole number within the bounds of the model's schema"),
        ("whole", [3], "a whole number"),
        ("whole", True, "a whole number"),
        ("city", "Secret-1", "one of its 2 categories"),
        ("city", {"a": 1}, "one of its 2 categories"),
        ("level", "2", "one of its 3 categories"),
        ("paid", "yes", "true or false"),
        ("at", "Secret-1", "a time as ISO 8601 text"),
        ("at", "1024-01-01", "a time as ISO 8601 text within the bounds of the model's schema"),
        ("spent", "Secret-1", "a time span as ISO 8601 text"),
        ("price", "Secret-1", "a number of at most 2 decimal places"),
        ("price", "12.345", "a number of at most 2 decimal places"),
        ("key", "user-3", "no value"),
        ("zoned", "2024-03-31T02:30:00", "a time as ISO 8601 text"),  # a time that Rome skips
        ("zoned", "0001-01-01", "a time as ISO 8601 text"),  # a year earlier in UTC
        ("price", decimal.Decimal("sNaN"), "a number"),
        ("price", "sNaN", "a number"),
        ("price", "NaN", "a number"),
        ("price", "Infinity", "a number"),
        ("whole", decimal.Decimal("sNaN"), "a whole number"),
        ("city", decimal.Decimal("sNaN"), "one of its 2 categories"),
        ("spent", "NaT", "a time span as ISO 8601 text"),
        ("spent", "5", "a time span as ISO 8601 text"),
        ("spent", "P99999999999999D", "a time span as ISO 8601 text"),
        ("paid", np.array([1, 2]), "true or false"),
    ],
)
def test_r17_a_refused_condition_names_its_column_and_what_it_takes(wide, wide_table, name, value, allowed):
    message = refusal(wide, {name: [value]})
    assert f"column '{name}' takes {allowed}" in message
    assert str(value) not in message
    spoken = set(message.replace("'", " ").replace(";", " ").replace(",", " ").split())
    text = {str(v) for n in ("city", "born", "at", "key", "price") for v in wide_table[n].dropna()}
    assert not spoken & text


def typed_refusal(model: Any, asked: Any) -> str:
    with pytest.raises(MlflowException) as caught:
        SyntheticPyfunc(model).predict(asked)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    return str(caught.value)


@pytest.mark.skipif(pd.__version__.startswith("2.1."), reason="pandas 2.1 cannot hold such an integer in a table")
@pytest.mark.parametrize("name", ["whole", "real", "city", "paid", "at", "zoned", "spent", "price", "born"])
@pytest.mark.parametrize("as_table", [True, False])
def test_r17_an_integer_of_400_digits_is_refused_by_its_column(wide, name, as_table):
    values = [10**400, None]
    asked = pd.DataFrame({name: values}, dtype=object) if as_table else {name: values}
    assert f"column '{name}' takes" in typed_refusal(wide.get_raw_model(), asked)


def test_r17_an_empty_text_is_no_null(wide):
    for name in ("spent", "price", "at"):
        assert f"column '{name}' takes" in typed_refusal(wide.get_raw_model(), {name: [""]})


def test_r17_a_set_is_no_column_of_conditions_and_its_column_is_named(wide):
    message = typed_refusal(wide.get_raw_model(), {"whole": {1, 2}, "paid": [True, False]})
    assert "no table" in message
    assert "column 'whole' takes" in message
    assert "'paid'" not in message


def test_r17_an_unknown_column_is_refused_where_mlflow_lets_it_through(model):
    with pytest.raises(MlflowException, match=r"column 'hight'.*its columns are .*'age'") as caught:
        SyntheticPyfunc(model).predict(pd.DataFrame({"hight": [1]}))
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize(
    "rows", [{"hight": [1, 2]}, {"age": [30], "hight": [1]}, {"hight": []}], ids=["alone", "beside", "empty"]
)
def test_r17_an_unknown_column_is_refused_although_mlflow_drops_it(pyfunc, rows):
    message = refusal(pyfunc, rows)
    assert "['hight']" in message
    assert "'joined'" in message


def test_r17_an_unknown_param_is_refused_although_mlflow_drops_it(pyfunc):
    message = refusal(pyfunc, nun_rows=3)
    assert "['nun_rows']" in message
    assert "'num_rows'" in message


def test_r17_a_column_that_a_signature_of_the_users_lacks_is_refused(model, tmp_path):
    whole = mlflow_flavor.get_default_signature(model)
    narrow = ModelSignature(MlflowSchema(whole.inputs.inputs[:1]), whole.outputs, whole.params)
    mlflow_flavor.save_model(model, tmp_path / "m", signature=narrow)
    assert "['sex']" in refusal(mlflow.pyfunc.load_model(str(tmp_path / "m")), {"sex": ["F"]})


@pytest.mark.parametrize("rows", [{"age": 3}, 5])
def test_r17_what_is_no_table_is_refused(model, rows):
    with pytest.raises(MlflowException, match="no table"):
        SyntheticPyfunc(model).predict(rows)


def test_r17_two_condition_columns_of_one_name_are_refused(model):
    with pytest.raises(MlflowException, match="two columns of the same name"):
        SyntheticPyfunc(model).predict(pd.DataFrame([[30, 40]], columns=["age", "age"]))


def test_r17_conditions_without_a_row_give_no_row(pyfunc):
    assert drawn(pyfunc, {"age": []}).shape == (0, 6)


def test_r17_num_rows_must_agree_with_the_conditions(pyfunc):
    assert len(drawn(pyfunc, {"age": [30, 40]}, num_rows=2)) == 2
    assert "num_rows is 3 and there are 2 rows of conditions" in refusal(pyfunc, {"age": [30, 40]}, num_rows=3)


def test_r17_a_model_of_several_tables_is_refused(model):
    columns = model.schema.columns
    several = dataclasses.replace(model, schema=Schema({"table": columns, "other": columns}))
    with pytest.raises(MlflowException, match="several tables"):
        SyntheticPyfunc(several).predict(None)


# Requirement 18, and the options


def test_r18_num_rows_is_that_of_the_sample_step_unless_given(pyfunc):
    assert len(drawn(pyfunc)) == SampleConfig().num_rows
    assert len(drawn(pyfunc, num_rows=0)) == 0


@pytest.mark.parametrize("num_rows", [-1, 2**70, 2**53, "3", 3.0, True])
def test_r18_a_wrong_num_rows_is_refused(pyfunc, num_rows):
    assert "num_rows" in refusal(pyfunc, num_rows=num_rows)


@pytest.mark.parametrize("seed", [-2, 2**53, "3", 3.0, True])
def test_r18_a_wrong_seed_is_refused(pyfunc, seed):
    assert "seed" in refusal(pyfunc, seed=seed)


def test_r18_the_model_config_caps_the_rows_of_a_call(path):
    capped = mlflow.pyfunc.load_model(path, model_config={"max_rows": 3})
    assert len(drawn(capped, num_rows=3)) == 3
    for message in (refusal(capped), refusal(capped, num_rows=4), refusal(capped, {"age": [30] * 4})):
        assert "at most 3" in message
        assert "max_rows" in message


def test_r18_the_environment_of_a_server_sets_the_cap(path, monkeypatch):
    monkeypatch.setenv("MLFLOW_PYFUNC_INFERENCE_CONFIG", '{"max_rows": 2}')
    assert "at most 2" in refusal(mlflow.pyfunc.load_model(path), num_rows=3)


def test_r18_of_a_shard_the_rows_that_it_draws_count(path):
    capped = mlflow.pyfunc.load_model(path, model_config={"max_rows": BLOCK_ROWS})
    asked = {"num_rows": 2 * BLOCK_ROWS, "seed": 1}
    assert len(drawn(capped, **asked, num_shards=2, shard_index=1)) == BLOCK_ROWS
    assert "at most" in refusal(capped, **asked)


@pytest.mark.parametrize("cap", ["9", -1, True, 2.5])
def test_r18_a_cap_that_is_no_count_is_refused_at_load(path, cap):
    with pytest.raises(MlflowException, match="max_rows in the model_config must be a whole number"):
        mlflow.pyfunc.load_model(path, model_config={"max_rows": cap})


def test_columns_keeps_the_columns_that_are_named(pyfunc, model):
    rows = drawn(pyfunc, num_rows=4, seed=1, columns=["sex", "age"])
    pd.testing.assert_frame_equal(rows, model.sample(4, seed=1)[["sex", "age"]])
    assert "no columns ['hight']" in refusal(pyfunc, num_rows=4, columns=["hight"])


def test_shards_give_the_rows_of_one_call(pyfunc, model):
    n = 2 * BLOCK_ROWS + 5
    parts = [drawn(pyfunc, num_rows=n, seed=4, num_shards=4, shard_index=i) for i in range(4)]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), model.sample(n, seed=4))
    assert [len(part) for part in parts] == [0, BLOCK_ROWS, BLOCK_ROWS, 5]


def test_shards_take_the_conditions_of_their_rows(pyfunc, model):
    asked = pd.DataFrame({"age": np.arange(BLOCK_ROWS + 5) % 50 + 20})
    last = drawn(pyfunc, asked, seed=4, num_shards=2, shard_index=1)
    assert last["age"].tolist() == asked["age"].tolist()[-5:]


def test_shards_without_a_common_seed_are_refused(pyfunc):
    assert "one seed" in refusal(pyfunc, num_rows=5, num_shards=2)
    assert "shard_index must be below num_shards" in refusal(pyfunc, num_rows=5, num_shards=2, shard_index=2, seed=1)


# Requirement 19


def test_r19_a_server_answers_strict_json(wide, wide_table, serving):
    rows = pd.DataFrame(served(wide, {"inputs": [], "params": {"num_rows": 200, "seed": 0}}), dtype=object)
    assert list(rows) == list(wide_table)
    holes = ["counted", "real", "city", "opted", "at", "spent", "price"]
    assert rows[holes].isna().any().all()
    kinds = {name: {type(v) for v in rows[name] if v is not None} for name in rows}
    text = {name: {str} for name in ("city", "at", "zoned", "spent", "price", "born", "key")}
    whole = {name: {int} for name in ("whole", "counted", "level")}
    assert kinds == text | whole | {"real": {float}, "paid": {bool}, "opted": {bool}}
    native = wide.get_raw_model().sample(200, seed=0)
    assert pd.to_timedelta(rows["spent"]).tolist() == native["spent"].tolist()
    assert [v and decimal.Decimal(v) for v in rows["price"]] == native["price"].tolist()
    assert [pd.Timestamp(v) for v in rows["zoned"]] == native["zoned"].tolist()


def test_r19_a_call_in_python_keeps_the_dtypes(wide, wide_table):
    assert drawn(wide, num_rows=9).dtypes.to_dict() == wide_table.dtypes.to_dict()


# Requirement 21


@pytest.mark.parametrize("rows", [(), {"age": [30, None] * 100, "sex": [None, "F"] * 100}])
def test_r21_eight_threads_with_a_seed_get_the_same_bytes(pyfunc, rows):
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(drawn, pyfunc, rows, seed=5) for _ in range(8)]
        texts = {call.result().to_csv() for call in calls}
    assert texts == {drawn(pyfunc, rows, seed=5).to_csv()}


def test_r21_predict_leaves_global_random_state_alone(pyfunc):
    before = json.dumps(np.random.get_state(), default=str), random.getstate()  # noqa: NPY002 - it is what is tested
    array = np.random.get_state()[1].copy()  # noqa: NPY002
    drawn(pyfunc, {"age": [30, None]}, seed=5)
    drawn(pyfunc, num_rows=5)
    assert before == (json.dumps(np.random.get_state(), default=str), random.getstate())  # noqa: NPY002
    assert np.array_equal(array, np.random.get_state()[1])  # noqa: NPY002
