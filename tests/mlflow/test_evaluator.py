"""``mlflow.models.evaluate`` with evaluators='synthetic': requirements 22 to 26 of the flavour."""

import json
import logging
import subprocess
import sys
from collections import Counter
from xml.etree import ElementTree

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.models import EvaluationResult
from mlflow.pyfunc import PyFuncModel

import mlflow_flavor
import synth_components as synth
from mlflow_flavor.evaluator import MODEL_TYPE, SyntheticEvaluator
from mlflow_flavor.report import metric_name
from synth_components.config import ConfigError
from synth_components.errors import DataError, SchemaError, UnsupportedError
from synth_components.evaluation import EvaluateConfig
from synth_components.evaluation.report import Report

QUICK = {
    "replicates": 10,
    "detector_rows": 50,
    "detector_folds": 2,
    "manifold_rows": 50,
    "utility_rows": 100,
    "global_utility": False,
    "num_rows": 200,
}


def judged(model, holdout, **options):
    return mlflow.models.evaluate(
        model,
        holdout,
        targets=options.pop("targets", None),
        model_type="synthetic-tabular",
        evaluators="synthetic",
        model_id=options.pop("model_id", None),
        evaluator_config={**QUICK, **options},
    )


@pytest.fixture(scope="module")
def train(table):
    return table[:400]


@pytest.fixture(scope="module")
def holdout(table):
    return table[400:].reset_index(drop=True)


@pytest.fixture(scope="module")
def logged(train):
    """A model that is logged, registered and has an alias."""
    fitted = synth.fit(train, generator="tabular.independent", seed=0)
    with mlflow.start_run() as run:
        info = mlflow_flavor.log_model(fitted, name="judged", registered_model_name="judged")
    MlflowClient().set_registered_model_alias("judged", "champion", 1)
    return {"model": fitted, "run_id": run.info.run_id, "model_id": info.model_id}


@pytest.fixture(scope="module")
def found(logged, train, holdout):
    """One evaluation with all groups of scores, and its run."""
    with mlflow.start_run() as run:
        result = judged("models:/judged@champion", holdout, train=train, target="sex")
    return result, run.info.run_id


def report_of(run_id):
    return Report.from_json(mlflow.artifacts.load_dict(f"runs:/{run_id}/report.json"))


def metrics_of_model(model_id):
    """The metrics that are linked to a model, by the run that made them."""
    return [(metric.run_id, metric.key) for metric in MlflowClient().get_logged_model(model_id).metrics or ()]


def test_r22_fidelity_utility_with_its_baseline_and_privacy_are_logged(found):
    result, run_id = found
    kept = mlflow.get_run(run_id).data.metrics
    assert kept == pytest.approx(result.metrics)
    for name in (
        "overall",
        "overall/privacy",
        "fidelity.shape",
        "fidelity.marginal.ks/age",
        "utility.tstr.accuracy/sex/linear",
        "utility.trtr.accuracy/sex/linear",
        "privacy.copies",
        "privacy.dcr.share",
        "validity.schema",
    ):
        assert name in kept


def test_r22_the_scores_are_those_of_the_core(logged, found, train, holdout):
    options = {name: value for name, value in QUICK.items() if name != "num_rows"}
    drawn = logged["model"].sample(QUICK["num_rows"], seed=0)
    config = EvaluateConfig(target="sex", **options)
    wanted = synth.evaluate(train, holdout, drawn, schema=logged["model"].schema, config=config)
    assert report_of(found[1]).scores == Report.from_json(json.loads(json.dumps(wanted.to_json()))).scores
    assert found[0].metrics["overall"] == wanted.overall.value
    assert len(found[0].metrics) == len(wanted.scores) + 1 + len(wanted.overall.parts)


@pytest.mark.parametrize(
    "form",
    ["models:/{model_id}", "models:/judged/1", "models:/judged@champion", "models:/judged/latest", "runs", "loaded"],
)
def test_r22_metrics_reach_the_logged_model_once_for_every_form_of_uri(logged, holdout, form):
    uri = f"runs:/{logged['run_id']}/judged" if form == "runs" else form.format(**logged)
    model = mlflow.pyfunc.load_model("models:/judged@champion") if form == "loaded" else uri
    with mlflow.start_run() as run:
        result = judged(model, holdout)
    linked = Counter(key for run_id, key in metrics_of_model(logged["model_id"]) if run_id == run.info.run_id)
    assert linked == dict.fromkeys(result.metrics, 1)
    inputs = mlflow.get_run(run.info.run_id).inputs.model_inputs
    assert [one.model_id for one in inputs] == [logged["model_id"]]


def test_r22_a_model_id_that_is_named_gets_the_metrics_once(logged, holdout):
    with mlflow.start_run() as run:
        result = judged("models:/judged@champion", holdout, model_id=logged["model_id"])
    linked = Counter(key for run_id, key in metrics_of_model(logged["model_id"]) if run_id == run.info.run_id)
    assert linked == dict.fromkeys(result.metrics, 1)


def test_r22_a_model_that_no_store_knows_is_judged_all_the_same(logged, holdout, tmp_path):
    mlflow_flavor.save_model(logged["model"], tmp_path / "m")
    with mlflow.start_run() as run:
        result = judged(str(tmp_path / "m"), holdout)
    assert mlflow.get_run(run.info.run_id).data.metrics == pytest.approx(result.metrics)


def test_r22_a_copy_of_a_model_from_another_store_is_judged_all_the_same(logged, holdout, tmp_path):
    mlflow_flavor.save_model(logged["model"], tmp_path / "m")
    described = tmp_path / "m" / "MLmodel"
    described.write_text(described.read_text() + "\nmodel_id: m-00000000000000000000000000000000\n")
    with mlflow.start_run() as run:
        result = judged(str(tmp_path / "m"), holdout)
    assert mlflow.get_run(run.info.run_id).data.metrics == pytest.approx(result.metrics)


def test_r22_a_static_table_is_judged_without_a_model(holdout, train, logged):
    drawn = logged["model"].sample(200, seed=0)
    options = {name: value for name, value in QUICK.items() if name != "num_rows"}
    with mlflow.start_run() as run:
        result = mlflow.models.evaluate(
            data=holdout,
            model_type="synthetic-tabular",
            evaluators="synthetic",
            evaluator_config={**options, "train": train, "synthetic_data": drawn},
        )
    assert mlflow.get_run(run.info.run_id).data.metrics == pytest.approx(result.metrics)
    assert report_of(run.info.run_id).rows == {"train": 400, "holdout": 200, "synthetic": 200}


def test_no_run_of_the_caller_is_needed(holdout, logged):
    result = judged("models:/judged/1", holdout)
    assert result.metrics["fidelity.shape"] > 0


def test_evaluators_may_be_left_out(holdout, logged):
    with mlflow.start_run():
        result = mlflow.models.evaluate(
            "models:/judged/1", holdout, model_type="synthetic-tabular", evaluator_config=QUICK
        )
    assert "fidelity.shape" in result.metrics


def test_the_same_seed_gives_the_same_scores_and_another_seed_others(holdout, logged):
    with mlflow.start_run():
        first, again, other = (judged("models:/judged/1", holdout, seed=seed).metrics for seed in (1, 1, 2))
    assert again == first
    assert other != first


def test_without_training_rows_privacy_is_missing_and_the_log_says_so(holdout, logged, caplog):
    with mlflow.start_run(), caplog.at_level(logging.WARNING, logger="mlflow_flavor.evaluator"):
        result = judged("models:/judged/1", holdout)
        left_out = result.tables["left_out"]
    assert not [name for name in result.metrics if "privacy" in name]
    assert "There were no training rows" in caplog.text
    assert "privacy" in left_out["score"].tolist()


def test_training_rows_are_a_table_a_path_or_a_dataset(holdout, train, logged, tmp_path):
    train.to_parquet(tmp_path / "train.parquet")
    forms = [train, str(tmp_path / "train.parquet"), mlflow.data.from_pandas(train)]
    with mlflow.start_run():
        scores = [judged("models:/judged/1", holdout, train=form).metrics for form in forms]
    assert "privacy.copies" in scores[0]
    assert scores == scores[:1] * 3


@pytest.mark.parametrize("how", ["targets", "dataset", "option"])
def test_the_target_may_be_named_to_mlflow_or_as_an_option(holdout, train, logged, found, how):
    with mlflow.start_run():
        if how == "targets":
            result = judged("models:/judged/1", holdout, train=train, targets="sex")
        elif how == "dataset":
            result = judged("models:/judged/1", mlflow.data.from_pandas(holdout, targets="sex"), train=train)
        else:
            result = judged("models:/judged/1", holdout, train=train, target="sex")
    assert result.metrics == found[0].metrics


@pytest.mark.parametrize("target", ["city", "visits", "seen", "flag"])
def test_a_target_of_any_type_comes_back_into_the_holdout_as_it_was(target):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "city": pd.Categorical(rng.choice(["a", "b", "c"], 300)),
            "visits": pd.array(rng.integers(0, 9, 300), dtype="Int64"),
            "seen": pd.Timestamp("2020-01-01", tz="Europe/Rome") + pd.to_timedelta(rng.integers(0, 900, 300), unit="D"),
            "flag": pd.array(rng.random(300) < 0.5, dtype="boolean"),
        }
    )
    rows.loc[:20, "visits"] = pd.NA
    fitted = synth.fit(rows[:200], generator="tabular.independent", seed=0)
    config = {name: value for name, value in QUICK.items() if name not in {"num_rows", "global_utility"}}
    drawn = fitted.sample(100, seed=0)
    options = {"synthetic_data": drawn, "train": rows[:200], "global_utility": False, **config}
    with mlflow.start_run():
        whole, apart = (
            mlflow.models.evaluate(
                data=rows[200:], targets=named, model_type=MODEL_TYPE, evaluators="synthetic", evaluator_config=asked
            ).metrics
            for named, asked in ((None, {**options, "target": target}), (target, options))
        )
    assert apart == whole


def test_r23_tables_plots_and_page_are_artifacts_that_can_be_read(found):
    result, run_id = found
    held = {file.path for file in MlflowClient().list_artifacts(run_id)}
    assert {"scores.json", "card.json", "fidelity.pairs.json", "utility.json", "left_out.json"} <= held
    assert {"report.html", "report.json", "plots"} <= held
    plots = {file.path for file in MlflowClient().list_artifacts(run_id, "plots")}
    assert plots == {f"plots/{name}.svg" for name in ("columns", "pairs", "detection", "tasks", "distances")}
    for path in plots:
        assert ElementTree.fromstring(mlflow.artifacts.load_text(f"runs:/{run_id}/{path}")).tag.endswith("svg")
        assert path in result.artifacts
    page = mlflow.artifacts.load_text(f"runs:/{run_id}/report.html")
    assert page == report_of(run_id).to_html()


def test_r23_the_result_gives_the_tables_as_frames(found):
    result, run_id = found
    report = report_of(run_id)
    tables = result.tables
    assert set(tables) == {"scores", "card", *report.tables}
    assert dict(zip(tables["scores"]["metric"], tables["scores"]["value"], strict=True)) == pytest.approx(
        {name: value for name, value in result.metrics.items() if not name.startswith("overall")}
    )
    assert len(tables["card"]) == len(report.card)


def test_r23_a_result_survives_save_and_load(found, tmp_path):
    result, _ = found
    result.save(tmp_path)
    again = EvaluationResult.load(tmp_path)
    assert again.metrics == result.metrics
    assert {name: one.content for name, one in again.artifacts.items()} == {
        name: one.content for name, one in result.artifacts.items()
    }


def test_r23_artifacts_are_read_back_from_the_store(found):
    result, _ = found
    for one in result.artifacts.values():
        assert type(one)(one.uri).content == one.content


def test_r23_a_second_evaluation_in_a_run_replaces_and_does_not_append(logged, holdout):
    with mlflow.start_run():
        first = judged("models:/judged/1", holdout).tables
        second = judged("models:/judged/1", holdout, seed=5).tables
    assert {name: len(frame) for name, frame in second.items()} == {name: len(frame) for name, frame in first.items()}
    assert not second["scores"].equals(first["scores"])


def paths_of(run_id):
    client = MlflowClient()
    return {file.path for folder in ("", "plots") for file in client.list_artifacts(run_id, folder) if not file.is_dir}


def test_r23_a_second_evaluation_of_fewer_groups_leaves_no_table_or_plot_of_the_first(logged, train, holdout):
    with mlflow.start_run() as run:
        mlflow.log_text("kept", "plots/mine.svg")
        mlflow.log_table({"a": [1]}, "mine.json")
        judged("models:/judged/1", holdout, train=train, target="sex")
        before = paths_of(run.info.run_id)
        result = judged("models:/judged/1", holdout)
    after = paths_of(run.info.run_id)
    ours = {one.uri.partition(f"{run.info.run_id}/")[2] for one in result.artifacts.values()}
    assert after == {*ours, "plots/mine.svg", "mine.json"}
    assert {"plots/tasks.svg", "plots/distances.svg", "utility.json"} <= before - after
    listed = json.loads(mlflow.get_run(run.info.run_id).data.tags["mlflow.loggedArtifacts"])
    assert {one["path"] for one in listed} == {name for name in after if name.endswith(".json")} - {"report.json"}


def test_r23_of_a_report_that_is_none_of_ours_nothing_is_deleted(logged, holdout):
    with mlflow.start_run() as run:
        mlflow.log_text("[]", "report.json")
        mlflow.log_text("kept", "utility.json")
        judged("models:/judged/1", holdout)
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/utility.json") == "kept"
    assert report_of(run.info.run_id).scores


def test_r23_a_store_that_deletes_nothing_keeps_the_files_and_says_so(logged, train, holdout, monkeypatch, caplog):
    def refused(*_):
        raise NotImplementedError

    monkeypatch.setattr("mlflow.store.artifact.local_artifact_repo.LocalArtifactRepository.delete_artifacts", refused)
    with mlflow.start_run() as run, caplog.at_level(logging.WARNING, logger="mlflow_flavor.report"):
        judged("models:/judged/1", holdout, train=train, target="sex")
        judged("models:/judged/1", holdout)
    assert "plots/tasks.svg" in paths_of(run.info.run_id)
    assert "stay: " in caplog.text
    assert "plots/tasks.svg" in caplog.text


def test_r24_a_model_in_a_process_of_its_own_is_refused(holdout):
    class Client:
        def invoke(self, data, params=None):
            raise AssertionError("one column only would come back")

    served = PyFuncModel(mlflow.models.Model(), Client(), predict_fn="invoke")
    with mlflow.start_run(), pytest.raises(UnsupportedError, match="env_manager='local'"):
        judged(served, holdout)


def test_a_model_that_is_none_of_ours_is_refused(holdout):
    with mlflow.start_run(), pytest.raises(UnsupportedError, match="synthetic_data"):
        judged(lambda rows: rows, holdout)


NAMES = [
    "age",
    "price ($)",
    "price (€)",
    "a/b",
    "a//b",
    "/a",
    "..",
    ".",
    "",
    " ",
    "a ",
    "Größe 東京",
    "x" * 60,
    "x" * 61,
    "x" * 5_000,
    "x" * 5_001,
    "line\nbreak",
    'quo"te',
    "50%",
    "a:b",
    "\ud800",
    "🙂",
    "price ___-0123abcd",
]


@pytest.mark.parametrize("name", NAMES)
def test_r25_any_column_name_makes_a_metric_name_that_mlflow_takes(name):
    made = metric_name("fidelity.association.difference", name, name)
    with mlflow.start_run() as run:
        mlflow.log_metric(made, 1.0)
    assert mlflow.get_run(run.info.run_id).data.metrics == {made: 1.0}


def test_r25_different_columns_have_different_metric_names():
    made = [metric_name("s", name) for name in NAMES]
    # a column may also be called what the name of another one was made into
    again = [metric_name("s", name.removeprefix("s/")) for name in made if name not in [f"s/{one}" for one in NAMES]]
    pairs = [metric_name("s", "a", "b"), metric_name("s", "a/b")]
    assert len({*made, *again, *pairs}) == len(made) + len(again) + 1  # "a/b" is among NAMES


def test_r25_a_plain_column_name_stays_as_it_is():
    assert metric_name("fidelity.marginal.ks", "Monthly income-2.5") == "fidelity.marginal.ks/Monthly income-2.5"
    assert metric_name("utility.ratio", "städte", "linear") == "utility.ratio/städte/linear"


def test_r25_a_table_of_odd_column_names_is_judged():
    rng = np.random.default_rng(0)
    odd = ["price ($)", "price (€)", "a/b", "..", "Größe 東京", "x" * 300]
    real, drawn = (pd.DataFrame(rng.normal(size=(120, len(odd))), columns=odd) for _ in range(2))
    with mlflow.start_run() as run:
        options = {name: value for name, value in QUICK.items() if name != "num_rows"}
        result = mlflow.models.evaluate(
            data=real,
            model_type=MODEL_TYPE,
            evaluators="synthetic",
            evaluator_config={**options, "synthetic_data": drawn},
        )
    assert mlflow.get_run(run.info.run_id).data.metrics == pytest.approx(result.metrics)
    assert sorted(result.tables["scores"].query("score == 'fidelity.marginal.ks'")["subject"]) == sorted(odd)


@pytest.mark.parametrize("model_type", ["classifier", "regressor", "text", None, "", 3, np.array([1, 2]), object()])
def test_r26_other_model_types_are_not_ours_and_nothing_raises(model_type):
    assert SyntheticEvaluator.can_evaluate(model_type=model_type, evaluator_config=None) is False
    assert SyntheticEvaluator().can_evaluate(model_type=model_type, evaluator_config={}, later=1) is False


def test_r26_our_model_type_is_that_of_the_flavour():
    assert MODEL_TYPE == mlflow_flavor.MODEL_TYPE
    assert SyntheticEvaluator.can_evaluate(model_type=mlflow_flavor.MODEL_TYPE) is True


def test_r26_the_plug_in_loads_neither_the_core_nor_the_flavour():
    code = (
        "import sys, mlflow.models.evaluation.evaluator_registry as r\n"
        "assert r._model_evaluation_registry.is_registered('synthetic')\n"
        "loaded = {m.partition('.')[0] for m in sys.modules} & {'synth_components', 'torch'}\n"
        "ours = {m for m in sys.modules if m.startswith('mlflow_flavor')} - "
        "{'mlflow_flavor', 'mlflow_flavor.evaluator', 'mlflow_flavor.dataset'}\n"
        "print(sorted(loaded | ours))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"replicate": 10}, ConfigError, "no option 'replicate'; its options are: train, synthetic_data, num_rows"),
        ({"replicates": 1}, ConfigError, "replicates"),
        ({"num_rows": -1}, ConfigError, "num_rows"),
        ({"num_rows": 0}, DataError, "synthetic table has no rows"),
        ({"target": "nothing"}, SchemaError, "nothing"),
        ({"train": 3}, ConfigError, "'train' must be a table"),
        ({"train": "/nowhere/train.csv"}, DataError, "nowhere"),
        ({"synthetic_data": 3, "num_rows": None}, ConfigError, "'synthetic_data' must be a table"),
        ({"synthetic_data": pd.DataFrame({"age": [1]})}, ConfigError, "num_rows"),
    ],
)
def test_a_bad_option_is_refused_by_name(holdout, logged, options, error, message):
    with mlflow.start_run(), pytest.raises(error, match=message):
        judged("models:/judged/1", holdout, **options)


def test_nothing_to_judge_is_refused(holdout):
    with mlflow.start_run(), pytest.raises(ConfigError, match="synthetic_data"):
        judged(None, holdout)


def test_an_array_is_refused(logged, holdout):
    with mlflow.start_run(), pytest.raises(DataError, match="arrays have no column names"):
        judged("models:/judged/1", holdout[["age", "score"]].to_numpy())


def test_predictions_and_metrics_of_others_are_refused(holdout, logged):
    ours = {"model_type": MODEL_TYPE, "evaluators": "synthetic", "evaluator_config": QUICK}
    with mlflow.start_run(), pytest.raises(UnsupportedError, match="predictions"):
        mlflow.models.evaluate(data=holdout, predictions="sex", **ours)
    metric = mlflow.models.make_metric(eval_fn=lambda **_: 1.0, greater_is_better=True, name="m")
    with mlflow.start_run(), pytest.raises(UnsupportedError, match="extra_metrics"):
        mlflow.models.evaluate("models:/judged/1", holdout, extra_metrics=[metric], **ours)


def test_learners_of_the_judge_log_nothing_into_the_run(holdout, train, logged):
    mlflow_flavor.autolog()
    mlflow.sklearn.autolog()
    try:
        with mlflow.start_run() as run:
            result = judged("models:/judged/1", holdout, train=train, target="sex")
    finally:
        mlflow.sklearn.autolog(disable=True)
        mlflow_flavor.autolog(disable=True)
    kept = mlflow.get_run(run.info.run_id)
    assert set(kept.data.metrics) == set(result.metrics)
    assert kept.data.params == {}


def test_no_real_row_reaches_an_artifact(logged, train, holdout, tmp_path):
    canary = "Zebedee-Quux-4711"
    rows = train.assign(sex=np.where(np.arange(len(train)) == 7, canary, train["sex"]))
    held = holdout.assign(sex=np.where(np.arange(len(holdout)) == 3, canary, holdout["sex"]))
    with mlflow.start_run() as run:
        judged("models:/judged/1", held, train=rows, target="sex")
    mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/", dst_path=str(tmp_path))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert [path.name for path in files if canary in path.read_text(encoding="utf-8")] == []
