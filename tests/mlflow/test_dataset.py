import decimal
import hashlib
import json

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

import mlflow_flavor
import synth_components as synth
from mlflow_flavor.dataset import SyntheticDatasetSource
from mlflow_flavor.lineage import MOST, metadata, tags, training_dataset
from synth_components.digest import digest
from synth_components.privacy.accounting import pure
from synth_components.privacy.ledger import Ledger, dumps
from synth_components.protocols import Budget, Interval
from synth_components.schema import TABLE


@pytest.fixture(scope="module")
def logged(model, store):
    """A run with the model, and two versions of the registered model ``lineage``, which mean one logged model."""
    with mlflow.start_run() as run:
        info = mlflow_flavor.log_model(model, name="g", registered_model_name="lineage")
    mlflow.MlflowClient().set_registered_model_alias("lineage", "champion", 1)
    return run.info.run_id, info


def the_dataset(run_id):
    (found,) = [
        one
        for one in mlflow.get_run(run_id).inputs.dataset_inputs
        if {tag.key: tag.value for tag in one.tags}["mlflow.data.context"] == "synthetic"
    ]
    return found.dataset


@pytest.mark.parametrize(
    "conditions",
    [
        None,
        {"sex": "F"},
        {"sex": ["F", "M"], "active": True},
        {"age": (30, 50), "joined": (pd.Timestamp("2020-06-01"), None)},
        {"age": Interval(30, None), "score": None},
        {"active": np.bool_(True), "age": {np.int64(30), np.int64(31)}},
        {"age": np.array([30, 31]), "sex": pd.Index(["F", "M"]), "active": pd.Series([True])},
        {"age": decimal.Decimal(30), "score": pd.NA},
        pd.DataFrame({"age": [30, 31, None] * 5, "joined": [pd.NaT, pd.Timestamp("2020-06-01"), pd.NaT] * 5}),
        pd.DataFrame({"sex": pd.Categorical(["F", None, "M"]), "active": [np.bool_(1), None, False]}),
    ],
)
def test_r28_the_source_of_a_logged_dataset_draws_the_identical_table(model, logged, conditions):
    n = len(conditions) if isinstance(conditions, pd.DataFrame) else 40
    rows = model.sample(n, seed=7, conditions=conditions)
    with mlflow.start_run() as run:
        dataset = mlflow.data.from_synthetic(rows, logged[1].model_uri, seed=7, conditions=conditions)
        mlflow.log_input(dataset, context="synthetic")
    again = mlflow.data.get_source(the_dataset(run.info.run_id)).load()
    pd.testing.assert_frame_equal(again, rows)


def test_r28_the_dataset_holds_model_rows_seed_and_digest(model, logged):
    rows = model.sample(40, seed=7)
    dataset = mlflow.data.from_synthetic(rows, logged[1].model_uri, seed=7)
    asked = {"model_uri": logged[1].model_uri, "num_rows": 40, "seed": 7}
    assert dataset.source.to_dict() == {**asked, "digest": dataset.digest}
    assert digest({TABLE: [rows]}).startswith(dataset.digest)
    assert dataset.name == "synthetic"


@pytest.mark.parametrize("uri", ["models:/lineage@champion", "models:/lineage/1", "models:/lineage/latest", "runs:"])
def test_r28_what_may_change_its_meaning_is_recorded_as_the_model_that_it_means(model, logged, uri):
    run_id, info = logged
    uri = f"runs:/{run_id}/g" if uri == "runs:" else uri
    source = mlflow.data.from_synthetic(model.sample(3, seed=0), uri, seed=0).source
    assert source.to_dict()["model_uri"] == info.model_uri
    assert info.model_uri.startswith("models:/m-")


def test_r28_a_model_that_nobody_logged_is_refused(model, tmp_path):
    mlflow_flavor.save_model(model, tmp_path / "m")
    with pytest.raises(MlflowException, match=r"log it with mlflow_flavor\.log_model"):
        mlflow.data.from_synthetic(model.sample(3, seed=0), str(tmp_path / "m"), seed=0)


def test_r28_the_source_takes_over_no_other_uri(logged):
    assert not SyntheticDatasetSource._can_resolve(logged[1].model_uri)
    with pytest.raises(MlflowException, match="from_synthetic"):
        SyntheticDatasetSource._resolve(logged[1].model_uri)


@pytest.mark.parametrize(
    "wait",
    [
        pd.Timedelta(30, "min"),
        (pd.Timedelta(10, "min"), np.timedelta64(2, "h")),
        [np.timedelta64(30 * 60 * 10**9, "ns"), pd.Timedelta(31, "min")],
        pd.to_timedelta([30, 31], unit="min"),
        np.timedelta64("NaT"),
    ],
)
def test_r28_conditions_on_time_spans_draw_the_identical_table(wait):
    waits = pd.Series(pd.to_timedelta(np.arange(200) % 180, unit="min"))
    model = synth.fit(
        pd.DataFrame({"wait": waits.mask(np.arange(200) % 7 == 0)}), generator="tabular.independent", seed=0
    )
    rows = model.sample(20, seed=7, conditions={"wait": wait})
    with mlflow.start_run() as run:
        uri = mlflow_flavor.log_model(model, name="g").model_uri
        mlflow.log_input(mlflow.data.from_synthetic(rows, uri, 7, {"wait": wait}), context="synthetic")
    pd.testing.assert_frame_equal(mlflow.data.get_source(the_dataset(run.info.run_id)).load(), rows)


@pytest.mark.parametrize("seed", [None, True, 1.0, "1"])
def test_r28_rows_without_a_whole_seed_are_refused(model, logged, seed):
    with pytest.raises(MlflowException, match="whole number"):
        mlflow.data.from_synthetic(model.sample(3, seed=1), logged[1].model_uri, seed=seed)


def test_r28_a_seed_of_numpy_is_written_down(model, logged):
    dataset = mlflow.data.from_synthetic(model.sample(3, seed=1), logged[1].model_uri, seed=np.int64(1))
    with mlflow.start_run() as run:
        mlflow.log_input(dataset, context="synthetic")
    assert len(mlflow.data.get_source(the_dataset(run.info.run_id)).load()) == 3


def test_r28_real_rows_do_not_pass_as_synthetic(table, logged):
    dataset = mlflow.data.from_synthetic(table.head(5), logged[1].model_uri, seed=1)
    with mlflow.start_run() as run:
        mlflow.log_input(dataset, context="synthetic")
    with pytest.raises(MlflowException, match="draws other rows"):
        mlflow.data.get_source(the_dataset(run.info.run_id)).load()


def test_r28_a_source_that_was_written_without_a_digest_still_draws(model, logged):
    source = SyntheticDatasetSource.from_dict({"model_uri": logged[1].model_uri, "num_rows": 3, "seed": 1})
    pd.testing.assert_frame_equal(source.load(), model.sample(3, seed=1))


def test_r28_a_condition_that_is_a_table_is_refused_by_column(model, logged):
    conditions = {"sex": pd.DataFrame({"sex": ["F"]})}
    with pytest.raises(MlflowException, match="column 'sex'"):
        mlflow.data.from_synthetic(model.sample(3, seed=0), logged[1].model_uri, seed=0, conditions=conditions)


def test_r28_a_damaged_condition_of_a_source_is_an_error_of_ours(logged):
    source = SyntheticDatasetSource.from_dict(
        {"model_uri": logged[1].model_uri, "num_rows": 3, "seed": 0, "conditions": {"nothing": 1}}
    )
    with pytest.raises(synth.errors.ConditionError, match="'nothing'"):
        source.load()


def test_r13_a_logged_model_says_generator_rows_and_digest_of_its_training_rows(model, logged):
    run_id, info = logged
    found = mlflow.get_logged_model(info.model_id)
    assert found.model_type == "synthetic-tabular"
    assert found.tags["synth.generator"] == "tabular.gaussian_copula"
    assert found.tags["synth.rows"] == "600"
    assert info.metadata["synth"]["data_digest"] == model.manifest.data_digest
    assert info.metadata["synth"]["privacy"] == model.manifest.privacy.model_dump(mode="json")
    (dataset,) = mlflow.get_run(run_id).inputs.dataset_inputs
    assert model.manifest.data_digest.startswith(dataset.dataset.digest)
    assert {tag.key: tag.value for tag in dataset.tags}["mlflow.data.context"] == "training"


def test_r13_a_logged_model_says_why_its_generator_was_chosen(model):
    table = pd.DataFrame({"x": np.random.default_rng(0).normal(size=100)})
    info = mlflow_flavor.log_model(synth.fit(table, generator="auto", seed=0), name="g")
    found = mlflow.get_logged_model(info.model_id)
    assert found.tags["synth.reasons"].startswith(
        "The generator was chosen: tabular.gaussian_copula, because there are fewer than 200 rows"
    )
    assert "synth.reasons" not in tags(model)


def test_r13_tags_and_metadata_of_the_caller_join_ours_and_win(model):
    info = mlflow_flavor.log_model(
        model, name="g", tags={"synth.rows": "many", "team": "a"}, metadata={"synth": "own", "team": "a"}
    )
    found = mlflow.get_logged_model(info.model_id)
    assert {name: found.tags[name] for name in ("synth.rows", "team")} == {"synth.rows": "many", "team": "a"}
    assert found.tags["synth.generator"] == "tabular.gaussian_copula"
    assert info.metadata == {"synth": "own", "team": "a"}


def test_r13_a_saved_model_holds_the_metadata_too(model, tmp_path):
    mlflow_flavor.save_model(model, tmp_path / "m", metadata={"team": "a"})
    found = mlflow.models.Model.load(tmp_path / "m").metadata
    assert found == {**metadata(model), "team": "a"}


def test_r13_models_are_found_by_their_tags(model, logged):
    found = mlflow.search_logged_models(
        filter_string="tags.`synth.generator` = 'tabular.gaussian_copula' and tags.`synth.rows` = '600'",
        output_format="list",
    )
    assert logged[1].model_id in [one.model_id for one in found]


def test_r13_the_promise_of_a_private_model_is_told_and_its_rows_are_not(model):
    from dataclasses import replace

    from synth_components.io.artifact import Statement

    # The generators that keep a finite epsilon need an extra, so the manifest of one is written by hand.
    privacy = Statement(epsilon=1.5, delta=1e-6, unit="a person", theorem="some")
    manifest = model.manifest.model_copy(update={"privacy": privacy, "rows": None, "data_digest": None, "seed": None})
    ledger = Ledger(Budget(1.5, 1e-6))
    ledger.spend("fit", pure(1.0))
    ledger.note_uncovered("evaluate: 9 rows")
    private = replace(model, manifest=manifest, ledger=ledger)
    assert tags(private) == {
        "synth.generator": "tabular.gaussian_copula",
        "synth.epsilon": "1.5",
        "synth.delta": "1e-06",
        "synth.unit": "a person",
        "synth.neighbours": "add or remove one unit",
        "synth.ledger": '[{"label":"evaluate: 9 rows","epsilon":null,"covered":false},'
        '{"label":"fit","epsilon":1.0,"covered":true}]',
        "synth.ledger.entries": "2",
        "synth.ledger.uncovered": "1",
        "synth.ledger.digest": hashlib.sha256(dumps(ledger).encode()).hexdigest(),
        "synth.fingerprint": private.fingerprint,
    }
    assert metadata(private)["synth"]["privacy"]["epsilon"] == 1.5
    first, second = (training_dataset(one) for one in (model, private))
    assert first.digest != second.digest
    assert not model.manifest.data_digest.startswith(second.digest)
    assert second.to_dict().get("profile") is None


def test_r13_a_ledger_that_is_too_long_for_a_tag_is_told_as_far_as_it_fits(model):
    from dataclasses import replace

    ledger = Ledger()
    for number in range(400):
        ledger.spend(f"domain of column '{number}'", pure(0.1))
    told = tags(replace(model, ledger=ledger))
    held = json.loads(told["synth.ledger"])
    assert [one["label"] for one in held] == [f"domain of column '{number}'" for number in range(len(held))]
    one_more = len('{"label":"domain of column \'999\'","epsilon":0.1,"covered":true},')
    assert MOST - one_more < len(told["synth.ledger"]) <= MOST
    assert told["synth.ledger.entries"] == "400"


def test_r13_a_logged_model_has_the_digest_of_the_ledger_that_its_folder_holds(model, logged, tmp_path):
    model.save(tmp_path / "model")
    held = json.loads((tmp_path / "model" / "ledger.json").read_text())
    (found,) = [one for one in mlflow.search_logged_models(output_format="list") if one.model_id == logged[1].model_id]
    assert found.tags["synth.ledger.digest"] == hashlib.sha256(dumps(Ledger.from_json(held)).encode()).hexdigest()
    assert [one["label"] for one in json.loads(found.tags["synth.ledger"])] == [
        one.label for one in model.ledger.entries
    ]


def test_r13_the_training_dataset_holds_columns_and_no_value(model, table):
    value = training_dataset(model).to_dict()
    assert '"name": "income"' in value["schema"]
    assert not any(str(cell) in value["schema"] for cell in table["income"])


def test_r13_two_models_of_the_same_rows_leave_one_dataset_in_their_run(model):
    with mlflow.start_run() as run:
        for name in ("a", "b"):
            mlflow_flavor.log_model(model, name=name)
    assert len(mlflow.get_run(run.info.run_id).inputs.dataset_inputs) == 1


def test_r13_without_a_run_no_run_is_made_for_the_dataset(model):
    info = mlflow_flavor.log_model(model, name="g")
    assert info.run_id is None
    assert mlflow.get_logged_model(info.model_id).source_run_id is None
