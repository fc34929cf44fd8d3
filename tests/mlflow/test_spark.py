"""``mlflow.pyfunc.spark_udf``: requirement 20.  Slow: a JVM and Python workers start."""

import os
import sys

import mlflow
import pandas as pd
import pytest

import mlflow_flavor
import synth_components as synth
from mlflow_flavor.pyfunc import result_type

pytest.importorskip("pyspark", reason="pyspark, the extra `spark`, is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def spark():
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "20")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture(scope="module")
def model(table):
    """Return a model with nulls in text, numbers and times."""
    nulls = table.assign(
        city=table["sex"].where(table["score"].isna(), None), joined=table["joined"].mask(table["active"])
    )
    return synth.fit(nulls, generator="tabular.gaussian_copula", seed=0)


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("spark") / "model"
    mlflow_flavor.save_model(model, root)
    return str(root)


def drawn(spark, path, model, n, *, partitions=4, condition=None, **params):
    from pyspark.sql import functions as f

    udf = mlflow.pyfunc.spark_udf(spark, path, result_type=result_type(model), env_manager="local", params=params)
    fixed = f.lit(None).cast("long") if condition is None else condition(f)
    table = spark.range(0, n, 1, partitions).withColumn("part", f.spark_partition_id()).withColumn("age", fixed)
    rows = table.withColumn("row", udf(f.struct("age"))).select("id", "part", "age", "row.*")
    return pd.DataFrame([list(row) for row in rows.collect()], columns=["id", "part", "asked", *model.schema.columns])


def test_r20_a_seed_gives_distinct_rows_in_every_partition_and_batch(spark, path, model):
    rows = drawn(spark, path, model, 200, seed=5)
    assert set(rows["part"]) == {0, 1, 2, 3}
    assert rows["income"].is_unique  # 4 partitions of 50 rows come in batches of 20, 20 and 10


def test_r20_a_seed_gives_the_same_rows_again(spark, path, model):
    pd.testing.assert_frame_equal(drawn(spark, path, model, 100, seed=5), drawn(spark, path, model, 100, seed=5))


def test_r20_without_a_seed_rows_are_fresh(spark, path, model):
    both = pd.concat([drawn(spark, path, model, 40), drawn(spark, path, model, 40)])
    assert both["income"].is_unique


def test_r20_conditions_in_a_struct_hold_row_by_row(spark, path, model):
    rows = drawn(spark, path, model, 60, seed=5, condition=lambda f: f.when(f.col("id") % 2 == 0, 20 + f.col("id")))
    asked = rows["asked"].notna()
    assert rows["age"][asked].tolist() == rows["asked"][asked].tolist()
    assert asked.sum() == 30


def test_r20_times_come_as_text_and_nulls_stay_null(spark, path, model):
    rows = drawn(spark, path, model, 200, seed=5)
    held = rows["joined"].dropna()
    assert 0 < len(held) < 200
    assert [pd.Timestamp(at).isoformat() for at in held] == held.tolist()
    assert set(rows["city"].dropna()) == {"F", "M"}
    assert rows["city"].isna().any()


def test_r20_the_struct_type_of_the_signature_is_refused_by_mlflow(spark, path, model):
    """Why ``result_type`` is there: once this fails, it can go."""
    from pyspark.sql import functions as f

    udf = mlflow.pyfunc.spark_udf(spark, path, env_manager="local")
    table = spark.range(0, 2, 1, 1).withColumn("age", f.lit(30))
    with pytest.raises(Exception, match="Unsupported field type timestamp"):
        table.withColumn("row", udf(f.struct("age"))).collect()
