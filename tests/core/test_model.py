"""fit and Model: what they accept, refuse, record, and which rows they draw."""

import math
import re
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from synth_components.constraints import Expression, FunctionalDependency, Inequality, Range, Unique
from synth_components.digest import digest
from synth_components.errors import (
    BudgetExceededError,
    ConstraintError,
    SchemaError,
    StoppedError,
    SynthError,
    UnsupportedError,
)
from synth_components.fitting import fit
from synth_components.generators.tabular.independent import Independent
from synth_components.model import Model
from synth_components.privacy.ledger import Ledger, not_private
from synth_components.protocols import BLOCK_ROWS, Dataset, Run
from synth_components.schema import Schema, check

SCHEMA = Schema.from_json(
    {
        "columns": {
            "age": {"type": "numeric", "dtype": "int64", "low": 0, "high": 99, "places": 0},
            "income": {"type": "numeric", "low": 0, "high": 100, "places": 1, "nullable": True},
            "city": {"type": "categorical", "categories": ["A", "B"]},
        }
    }
)
KEYED = Schema.from_json(
    {
        "columns": {
            "id": {"type": "key", "dtype": "object", "prefix": "c"},
            "city": {"type": "categorical", "categories": ["A", "B"]},
            "note": {"type": "text"},
            "age": {"type": "numeric", "dtype": "int64", "low": 0, "high": 99, "places": 0},
        },
        "keys": {"table": ["id"]},
    }
)


def training_table(n=200):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "income": np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 1001, n) / 10),
            "city": rng.choice(np.array(["A", "B"], dtype=object), n),
        }
    ).astype({"city": object})


def keyed_table(n=100):
    table = training_table(n)
    return pd.DataFrame(
        {
            "id": [f"customer-{i}" for i in range(n)],
            "city": table["city"],
            "note": ["CANARY wrote this"] * n,
            "age": table["age"],
        }
    )


def fitted(**options):
    chosen = {"generator": "tabular.independent", "schema": SCHEMA, "seed": 0, **options}
    return fit(chosen.pop("table", training_table()), **chosen)


@pytest.fixture(scope="module")
def model():
    return fitted()


def test_a_sample_has_the_dtypes_and_columns_of_the_training_table(model):
    table = model.sample(50, seed=0)
    assert table.dtypes.to_dict() == training_table().dtypes.to_dict()
    assert list(table.columns) == list(SCHEMA.columns)
    check(table, SCHEMA.columns)


@pytest.mark.parametrize("dtype", ["object", "str"])  # one and the same before pandas 3
def test_a_sample_has_the_text_dtype_of_the_training_table(dtype):
    table = training_table().astype({"city": dtype})
    assert fitted(table=table).sample(9, seed=0)["city"].dtype == table["city"].dtype


@pytest.mark.parametrize("n", [0, 1, 17, BLOCK_ROWS, BLOCK_ROWS + 1])
def test_a_sample_has_exactly_n_rows(model, n):
    table = model.sample(n, seed=0)
    assert len(table) == n
    assert table.index.equals(pd.RangeIndex(n))


@pytest.mark.parametrize("storage", ["python", "pyarrow"])
def test_keys_and_text_have_the_storage_of_the_training_table(storage):
    table = keyed_table().astype(dict.fromkeys(("id", "note", "city"), pd.StringDtype(storage)))
    made = fit(table, generator="tabular.independent", seed=0).sample(9, seed=0)
    assert [made[name].dtype.storage for name in ("id", "note", "city")] == [storage] * 3


def test_an_empty_sample_has_the_dtypes_of_a_full_one(model):
    assert model.sample(0).dtypes.equals(model.sample(5).dtypes)


def test_a_sample_has_a_thousand_rows_by_default(model):
    assert len(model.sample()) == 1000


def test_equal_seeds_give_equal_rows_and_other_seeds_others(model):
    pd.testing.assert_frame_equal(model.sample(50, seed=1), model.sample(50, seed=1))
    assert not model.sample(50, seed=1).equals(model.sample(50, seed=2))


def test_without_a_seed_each_sample_is_fresh(model):
    assert not model.sample(50).equals(model.sample(50))


@pytest.mark.parametrize("shards", [1, 2, 3, 5])
def test_rows_do_not_depend_on_the_number_of_shards(model, shards):
    n = 3 * BLOCK_ROWS + 10
    parts = [
        block.table
        for shard in range(shards)
        for block in model.blocks(n, seed=4, shard_index=shard, num_shards=shards)
    ]
    whole = model.sample(n, seed=4)
    assert digest({"t": parts}) == digest({"t": [whole]})


def test_blocks_follow_the_shard_contract(model):
    block = list(model.blocks(2 * BLOCK_ROWS, seed=9))[1]
    rng = np.random.default_rng(np.random.SeedSequence(9, spawn_key=(1,)))
    pd.testing.assert_frame_equal(block.table, model.sampler.sample(BLOCK_ROWS, rng=rng).table)


@pytest.mark.parametrize(("n", "index", "shards"), [(-1, 0, 1), (5, 1, 1), (5, -1, 2), (5, 0, 0)])
def test_an_impossible_shard_is_refused(model, n, index, shards):
    with pytest.raises(SynthError, match="shard_index"):
        list(model.blocks(n, seed=0, shard_index=index, num_shards=shards))


@pytest.mark.parametrize("seed", [-1, 2**53, True])
def test_a_seed_outside_its_range_is_refused(model, seed):
    with pytest.raises(SynthError, match="2\\^53"):
        model.sample(1, seed=seed)
    with pytest.raises(SynthError, match="2\\^53"):
        fitted(seed=seed)


def test_equal_fits_draw_equal_rows_whoever_names_the_generator():
    recipe = fitted(generator=Independent(knots=50))
    named = fitted(generator="tabular.independent", options={"knots": 50})
    assert recipe.manifest == named.manifest
    pd.testing.assert_frame_equal(recipe.sample(20, seed=1), named.sample(20, seed=1))


def test_a_recipe_with_options_is_refused():
    with pytest.raises(SynthError, match="already holds its options"):
        fitted(generator=Independent(), options={"knots": 50})


def test_fit_without_a_seed_draws_one_and_records_it():
    first, second = fitted(seed=None), fitted(seed=None)
    assert first.manifest.seed is not None
    assert first.manifest.seed != second.manifest.seed


def test_fit_leaves_the_callers_frame_unchanged():
    table = training_table()
    before = table.copy(deep=True)
    fitted(table=table, constraints=[Range(column="age", low=20)]).sample(5)
    pd.testing.assert_frame_equal(table, before)


def test_a_schema_takes_the_column_order_of_the_table():
    table = training_table()[["city", "income", "age"]]
    assert list(fitted(table=table).sample(3).columns) == ["city", "income", "age"]


def test_a_schema_may_be_a_json_value():
    assert fitted(schema=SCHEMA.to_json()).schema == SCHEMA


def test_a_dataset_brings_its_schema():
    assert fitted(table=Dataset({"table": training_table()}, SCHEMA), schema=None).schema == SCHEMA


def test_without_a_schema_the_table_is_profiled():
    model = fitted(schema=None)
    assert not model.schema.is_public
    check(model.sample(200, seed=0), model.schema.columns)


def test_a_root_table_of_another_name_is_kept():
    schema = Schema({"people": SCHEMA.columns}, "people")
    assert fitted(table={"people": training_table()}, schema=schema).schema.root == "people"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda t: t.iloc[:0], "0 rows"),
        (lambda t: t[[]], "0 columns"),
        (lambda t: t.rename(columns={"age": 1}), "not text"),
        (lambda t: t.rename(columns={"age": " "}), "without a name"),
        (lambda t: t.rename(columns={"age": "city"}), "two columns named 'city'"),
        (lambda t: t.drop(columns="age"), r"missing \['age'\]"),
        (lambda t: t.assign(extra=1), r"unexpected \['extra'\]"),
        (lambda t: t.assign(age=t["age"].astype("float64")), "dtype float64, not int64"),
        (lambda t: t.assign(age=t["age"] + 50), "outside its bounds"),
        (lambda t: t.assign(city="CANARY"), "outside its declared categories"),
        (lambda t: t.assign(city=t["city"].where(t.index > 2)), "3 missing values"),
    ],
)
def test_a_table_that_does_not_fit_its_declared_schema_is_refused_before_the_fit(change, rule):
    reports = []
    with pytest.raises(SchemaError, match=rule) as caught:
        fitted(table=change(training_table()), run=Run(report=lambda *args, **kwargs: reports.append(args)))
    assert reports == []
    assert "CANARY" not in str(caught.value)


def test_rows_outside_a_profiled_schema_are_advisory():
    columns = {name: replace(column, public=False) for name, column in SCHEMA.columns.items()}
    columns["age"] = replace(columns["age"], high=60)
    model = fitted(schema=Schema({"table": columns}))
    assert model.sample(100, seed=0)["age"].max() <= 60


def test_nulls_outside_a_profiled_schema_are_an_error():
    columns = {name: replace(column, public=False, nullable=False) for name, column in SCHEMA.columns.items()}
    with pytest.raises(SchemaError, match="missing values"):
        fitted(schema=Schema({"table": columns}))


def test_a_table_of_nothing_but_keys_and_text_is_refused():
    schema = Schema({"table": {name: KEYED.columns[name] for name in ("id", "note")}})
    with pytest.raises(SchemaError, match="nothing to learn"):
        fitted(table=keyed_table()[["id", "note"]], schema=schema)


def test_keys_and_text_are_made_anew_and_never_learned(tmp_path):
    table = keyed_table()
    model = fitted(table=table, schema=KEYED)
    drawn = model.sample(BLOCK_ROWS + 3, seed=0)
    assert list(drawn.columns) == list(table.columns)
    assert drawn["id"].is_unique
    assert not set(drawn["note"]) & set(table["note"])
    model.save(tmp_path / "model")
    assert not any(b"CANARY" in path.read_bytes() for path in (tmp_path / "model").rglob("*.*"))


def test_keys_do_not_depend_on_the_number_of_shards():
    model = fitted(table=keyed_table(), schema=KEYED, constraints=[Unique(columns=("id", "city"))])
    n = BLOCK_ROWS + 5
    parts = [b.table for shard in (0, 1) for b in model.blocks(n, seed=1, shard_index=shard, num_shards=2)]
    assert pd.concat(parts)["id"].tolist() == model.sample(n, seed=1)["id"].tolist()


def test_a_rule_may_read_columns_that_are_made_anew():
    model = fitted(
        table=keyed_table(), schema=KEYED, constraints=[Expression(expression="length(note) > 0 & age > 30")]
    )
    drawn = model.sample(300, seed=0)
    assert (drawn["age"] > 30).all()
    assert drawn["id"].tolist() == fitted(table=keyed_table(), schema=KEYED).sample(300, seed=1)["id"].tolist()


def test_every_row_obeys_every_rule_across_blocks():
    rules = [Range(column="age", low=30), Expression(expression="age > income"), Unique(columns=("age", "income"))]
    drawn = fitted(constraints=rules).sample(3000, seed=0)
    assert all(rule.allows(drawn).all() for rule in rules)


def test_unique_holds_across_blocks():
    schema = Schema.from_json({"columns": {"a": {"type": "numeric", "low": 0, "high": 1}, "b": {"type": "boolean"}}})
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.random(300), "b": rng.random(300) < 0.5})
    model = fitted(table=table, schema=schema, constraints=[Unique(columns=("a", "b"))])
    assert not model.sample(BLOCK_ROWS + 100, seed=0).duplicated().any()


def test_a_unique_rule_is_refused_across_shards():
    model = fitted(constraints=[Unique(columns=("age", "income"))])
    with pytest.raises(UnsupportedError, match="different shards"):
        list(model.blocks(10, seed=0, num_shards=2))


def test_the_acceptance_of_the_rules_is_recorded():
    drawn = fitted(constraints=[Range(column="age", low=18), Expression(expression="city == 'A'")]).sample(5000, seed=0)
    acceptance = drawn.attrs["acceptance"]
    share = (training_table()["city"] == "A").mean()
    assert acceptance["range(age)"] == 1.0
    assert abs(acceptance["city == 'A'"] - share) < 4 * 0.5 / math.sqrt(5000)  # 4 sigma


def test_a_learned_dependency_is_saved_with_the_model(tmp_path):
    table = training_table().assign(land=lambda t: t["city"].map({"A": "x", "B": "y"}).astype(object))
    columns = {**SCHEMA.to_json()["tables"]["table"], "land": {"type": "categorical", "categories": ["x", "y"]}}
    model = fitted(
        table=table,
        schema={"columns": columns},
        constraints=[{"type": "functional_dependency", "determinant": ["city"], "dependent": "land"}],
    )
    model.save(tmp_path / "model")
    drawn = Model.load(tmp_path / "model").sample(100, seed=0)
    assert set(zip(drawn["city"], drawn["land"], strict=True)) == {("A", "x"), ("B", "y")}


@pytest.mark.parametrize(
    "rules",
    [
        [Range(column="age", low=100)],
        [Expression(expression="age > 500")],
        [Range(column="age", high=10)],
        [Inequality(low="age", high="city")],
    ],
)
def test_rules_that_cannot_be_met_are_refused_at_the_fit(rules):
    with pytest.raises(ConstraintError):
        fitted(constraints=rules)


def test_a_rule_on_an_unknown_column_is_refused():
    with pytest.raises(SchemaError, match="'salary'"):
        fitted(constraints=[Range(column="salary", low=1)])


def test_the_manifest_holds_no_clock_path_or_host(model):
    text = model.manifest.model_dump_json()
    assert not re.search(r"/|\d{4}-\d{2}-\d{2}", text)
    assert model.manifest == fitted().manifest


def test_the_repr_is_one_line_without_values(model):
    assert repr(model) == "Model(generator='tabular.independent', columns=3, epsilon=inf)"


def test_a_model_without_a_promise_says_so(model):
    assert (model.privacy.epsilon, model.privacy.theorem) == (math.inf, "none")
    assert model.privacy.unit == "a row of table 'table'"


def test_a_generator_without_privacy_is_refused_under_a_budget():
    with pytest.raises(BudgetExceededError, match="nothing was read"):
        fitted(seed=None, epsilon=1.0)


def test_a_budget_without_a_schema_is_refused_before_a_schema_is_paid_for():
    with pytest.raises(BudgetExceededError, match=r"offers no differential privacy.*nothing was read"):
        fitted(seed=None, epsilon=1.0, schema=None)


def test_a_schema_read_off_the_rows_is_refused_under_a_budget():
    columns = {name: replace(column, public=False) for name, column in SCHEMA.columns.items()}
    with pytest.raises(SchemaError, match=r"'age'.*read off the rows"):
        fitted(generator=Constant(), seed=None, epsilon=1.0, schema=Schema({"table": columns}))


def test_a_rule_that_is_learned_is_refused_under_a_budget():
    rules = [FunctionalDependency(determinant=("city",), dependent="age")]
    with pytest.raises(UnsupportedError, match="declare its mapping"):
        fitted(generator=Constant(), seed=None, epsilon=1.0, constraints=rules)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"epsilon": 1.0, "seed": 1}, "exclude each other"),
        ({"delta": 1e-5, "seed": None}, "without epsilon"),
        ({"epsilon": 0.0, "seed": None}, "above 0"),
        ({"epsilon": math.inf, "seed": None}, "above 0"),
        ({"epsilon": 1.0, "delta": 1.0, "seed": None}, "above 0"),
    ],
)
def test_a_privacy_request_that_means_nothing_is_refused(options, rule):
    with pytest.raises(SynthError, match=rule):
        fitted(**options)


class Constant(Independent):
    """A private generator, as far as the ledger is concerned: it spends a Gaussian mechanism's curve."""

    without_privacy: ClassVar[str] = ""

    def fit(self, data, *, rng, ledger, run):
        ledger.spend("constant", lambda orders: orders / 50.0)
        from synth_components.privacy.ledger import Ledger

        return Independent().fit(data, rng=rng, ledger=Ledger(), run=run)


def test_a_private_model_states_its_promise_and_neither_seed_nor_digest_nor_rows(tmp_path):
    model = fitted(generator=Constant(), seed=None, epsilon=3.0, delta=1e-5)
    assert 0 < model.privacy.epsilon <= 3.0
    assert model.privacy.delta == 1e-5
    assert "2004.00010" in model.privacy.theorem
    assert (model.manifest.seed, model.manifest.data_digest, model.manifest.rows) == (None, None, None)
    assert model.ledger.epsilon(1e-5) == model.privacy.epsilon


def test_a_fit_that_is_told_to_stop_stops():
    with pytest.raises(StoppedError):
        fitted(run=Run(should_stop=lambda: True))


def test_progress_is_reported():
    done = []
    fitted(run=Run(report=lambda i, total, **metrics: done.append((i, total))))
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_every_read_is_in_the_ledger():
    labels = [entry.label for entry in fitted(schema=None, constraints=[Range(column="age", low=18)]).ledger.entries]
    assert labels == ["profile", "check and learn constraints", "check against the schema", "fit tabular.independent"]


def test_the_check_against_the_schema_is_charged_before_a_row_is_read(monkeypatch):
    charged, spend = [], Ledger.spend

    def noted(ledger, label, *entry, **options):
        charged.append(label)
        spend(ledger, label, *entry, **options)

    monkeypatch.setattr(Ledger, "spend", noted)
    with pytest.raises(SchemaError, match="outside its bounds"):
        fitted(table=training_table().assign(age=200))
    assert charged == ["check against the schema"]


@pytest.mark.parametrize("n", [2.5, 3.0, True, "3", math.nan])
def test_a_number_of_rows_that_is_not_whole_is_refused(model, n):
    with pytest.raises(SynthError, match="whole number"):
        model.sample(n)


def test_equal_rows_have_equal_digests_whatever_batch_index_or_width():
    table = training_table()
    parts = [table.iloc[:7], table.iloc[7:].reset_index(drop=True)]
    wide = table.astype({"age": "Int64"})
    assert digest({"t": [table]}) == digest({"t": parts}) == digest({"t": [wide]})


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.iloc[::-1],
        lambda t: t.assign(age=t["age"] + (t.index == 3)),
        lambda t: t.assign(income=t["income"].fillna(0.0)),
        lambda t: t.assign(city=t["city"].replace("A", "C")),
        lambda t: t[["income", "age", "city"]],
        lambda t: t.iloc[:-1],
    ],
)
def test_other_rows_have_another_digest(change):
    table = training_table()
    assert digest({"t": [change(table)]}) != digest({"t": [table]})


def test_a_digest_sees_times_and_not_their_unit():
    stamps = pd.DataFrame({"t": pd.to_datetime(["2020-01-01", None, "2020-01-01T00:00:00.000001"], format="ISO8601")})
    assert digest({"t": [stamps.astype("datetime64[us]")]}) == digest({"t": [stamps.astype("datetime64[ns]")]})
    later = stamps.astype("datetime64[ns]") + pd.Timedelta(1, "ns")
    assert digest({"t": [later]}) != digest({"t": [stamps]})


def test_the_infinite_curve_is_what_a_non_private_fit_charges(model):
    assert not_private(np.ones(2)).tolist() == [math.inf, math.inf]
    assert model.ledger.epsilon(1e-5) == math.inf


@pytest.mark.parametrize(
    "table",
    ["d.csv", [1], np.zeros((3, 3)), {"a": [1]}, None, pd.Series([1, 2])],
    ids=lambda given: type(given).__name__,
)
def test_what_is_no_table_is_refused_and_told_what_to_give(table):
    with pytest.raises(SynthError, match=r"fit learns from a DataFrame, .* not from"):
        fit(table, generator="tabular.independent")


@pytest.mark.parametrize("constraints", [["a"], "a", {"type": "range", "column": "age", "low": 0}, 5, [None]])
def test_what_is_no_list_of_rules_is_refused(constraints):
    with pytest.raises(SynthError, match="constraints must be a list of rules"):
        fitted(constraints=constraints)


def test_a_rule_that_stands_alone_is_refused_as_no_list():
    with pytest.raises(SynthError, match="constraints must be a list of rules"):
        fitted(constraints=Range(column="age", low=0))


@pytest.mark.parametrize("seed", ["1", 1.5, 1.0, True, -1, 2**53, [1]])
def test_a_seed_that_is_no_whole_number_is_refused(model, seed):
    with pytest.raises(SynthError, match="a seed is a whole number"):
        fitted(seed=seed)
    with pytest.raises(SynthError, match="a seed is a whole number"):
        model.sample(1, seed=seed)


def test_a_numpy_seed_is_that_seed(model):
    pd.testing.assert_frame_equal(model.sample(9, seed=np.int64(3)), model.sample(9, seed=3))


@pytest.mark.parametrize(
    ("name", "given"), [("generator", 5), ("schema", "s.json"), ("options", ["a"]), ("epsilon", "1"), ("delta", "1")]
)
def test_an_argument_of_another_type_is_refused_by_name(name, given):
    with pytest.raises(SynthError, match=rf"^{name} must be .*, not of type {type(given).__name__}$"):
        fitted(**{name: given})
