"""Nulls of text and key columns are learned with the rest of the row, and may be asked for."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from synth_components.errors import ConditionError
from synth_components.fitting import fit
from synth_components.io.dataset import LazyDataset, read_dataset, write_table
from synth_components.model import Model
from synth_components.null_indicator import modelled, null_indicators
from synth_components.schema import Categorical, Key, Numeric, Schema, Text, check

N = 2_000


def members(n=N):
    """Return rows of whom those of group A seldom, and those of group B often, left their e-mail out."""
    rng = np.random.default_rng(0)
    group = rng.choice(np.array(["A", "B"], dtype=object), n)
    missing = rng.random(n) < np.where(group == "A", 0.1, 0.5)
    email = [None if gone else f"person.{i}@mail.test" for i, gone in enumerate(missing)]
    card = [None if i % 4 == 0 else f"card-{i:06d}" for i in range(n)]
    return pd.DataFrame({"email": email, "group": group, "card": card}).astype(
        {"email": object, "group": object, "card": object}
    )


@pytest.fixture(scope="module")
def model():
    return fit(members(), generator="tabular.gaussian_copula", seed=0)


def test_the_columns_of_these_tests_are_text_and_key(model):
    kinds = {name: type(column) for name, column in model.schema.columns.items()}
    assert (kinds["email"], kinds["card"]) == (Text, Key)


def test_nulls_of_text_and_keys_are_as_frequent_as_in_the_rows(model):
    drawn = model.sample(N, seed=0)
    # 4 sigma of a difference of two shares of 2,000: 4 * sqrt(2 * 0.25 / 2000) = 0.063
    for name in ("email", "card"):
        assert abs(drawn[name].isna().mean() - members()[name].isna().mean()) < 0.063


def test_nulls_of_text_go_with_the_rest_of_the_row(model):
    drawn = model.sample(N, seed=0)
    share = drawn["email"].isna().groupby(drawn["group"]).mean()
    # True difference 0.4; 4 sigma with 1,000 rows each is 4 * sqrt(2 * 0.25 / 1000) = 0.09; a copula keeps most of it.
    assert share["B"] - share["A"] > 0.2


def test_the_rows_have_the_public_schema(model):
    check(model.sample(100, seed=0), model.schema.columns)
    assert list(model.schema.columns) == list(members().columns)


def test_keys_that_are_not_null_stay_unique_and_shards_agree(model):
    n = 20_000
    whole = model.sample(n, seed=1)
    parts = [b.table for shard in (0, 1) for b in model.blocks(n, seed=1, shard_index=shard, num_shards=2)]
    assert whole["card"].dropna().is_unique
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)


def test_null_of_a_text_column_may_be_asked_for(model):
    drawn = model.sample(50, seed=0, conditions={"email": None, "group": "A"})
    assert drawn["email"].isna().all()
    assert (drawn["group"] == "A").all()


@pytest.mark.parametrize("wanted", ["person@mail.test", [None, "x"]])
def test_a_text_itself_may_not_be_asked_for(model, wanted):
    with pytest.raises(ConditionError, match="cannot be conditioned on, but for null"):
        model.sample(5, conditions={"email": wanted})


def test_null_of_a_text_column_without_nulls_is_refused():
    table = members().assign(email=[f"person.{i}@mail.test" for i in range(N)])
    with pytest.raises(ConditionError, match="where it is nullable"):
        fit(table, generator="tabular.independent", seed=0).sample(5, conditions={"email": None})


def test_a_saved_model_draws_the_same_nulls(model, tmp_path):
    model.save(tmp_path / "model")
    drawn = Model.load(tmp_path / "model").sample(200, seed=3)
    pd.testing.assert_frame_equal(drawn, model.sample(200, seed=3))


def test_a_null_indicator_has_the_name_of_no_column():
    columns = {"a": Text(nullable=True), "a is null": Numeric(), "b": Text(), "c": Key(nullable=True)}
    # c is int64, which holds no null.
    assert null_indicators(Schema({"table": columns})) == {"a": "a is null?"}


def test_null_indicators_are_public():
    schema = Schema({"table": {"a": Text(nullable=True, public=True), "x": Numeric(low=0, high=1, public=True)}})
    table = pd.DataFrame({"a": pd.Series(["t", None] * 20, dtype=object), "x": np.linspace(0, 1, 40)})
    assert fit(table, schema=schema, generator="tabular.independent", seed=0).sampler.schema.is_public


@pytest.mark.parametrize("dtype", ["object", "string", "Int64", "float64"])
def test_nulls_keep_the_dtype(dtype):
    column = Key(dtype=dtype, nullable=True)
    ids = pd.Series([None if i % 2 else (str(i) if dtype in {"object", "string"} else i) for i in range(40)])
    table = pd.DataFrame({"id": ids.astype(object).astype(dtype), "x": np.arange(40.0)})
    schema = Schema({"table": {"id": column, "x": Numeric()}})
    drawn = fit(table, schema=schema, generator="tabular.independent", seed=0).sample(60, seed=0)["id"]
    assert str(drawn.dtype) == dtype
    assert 0 < drawn.isna().sum() < 60


def test_nulls_of_a_table_on_disk_are_learned(tmp_path):
    write_table(members(), tmp_path / "t.parquet")
    data = read_dataset(tmp_path / "t.parquet", max_bytes=1)
    assert isinstance(data, LazyDataset)
    drawn = fit(data, generator="tabular.trees", options={"max_grow_rows": N // 2}, seed=0).sample(N, seed=0)
    assert abs(drawn["email"].isna().mean() - members()["email"].isna().mean()) < 0.063  # 4 sigma, as above


@pytest.mark.parametrize("generator", ["tabular.trees", "tabular.gaussian_copula", "tabular.independent"])
def test_every_generator_learns_a_column_that_may_be_null_and_never_is(generator):
    table = members(200)[["email", "group"]].assign(email="a word or two")
    columns = {"email": Text(nullable=True), "group": Categorical(categories=("A", "B"))}
    drawn = fit(table, schema=Schema({"table": columns}), generator=generator, seed=0).sample(100, seed=0)
    assert drawn["email"].notna().all()


@pytest.mark.parametrize("is_lazy", [False, True])
def test_rows_of_a_search_stay_those_of_a_search(model, tmp_path, is_lazy):
    path = tmp_path / "members.parquet"
    write_table(members(100), path)
    rows = read_dataset(path, schema=model.schema, max_bytes=1 if is_lazy else 10**9)
    learnt = modelled(replace(rows, is_trial=True))
    assert null_indicators(model.schema)
    assert learnt.is_lazy == is_lazy
    assert learnt.is_trial
    assert not modelled(rows).is_trial
