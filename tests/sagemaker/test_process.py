"""Processing jobs on a temporary /opt/ml, one after the other as a pipeline runs them."""

import json
import tarfile

import numpy as np
import pandas as pd
import pytest

from synth_components.__main__ import MISSED, OK, USER_ERROR, main
from synth_components.fitting import fit
from synth_components.io.dataset import read_table
from synth_components.model import Model
from synth_sagemaker.layout import ROOT
from synth_sagemaker.model_quality import NO_DEVIATION

QUICK = ["--replicates", "10", "--detector-rows", "60", "--detector-folds", "2", "--manifold-rows", "60"]


@pytest.fixture(scope="module")
def model(tmp_path_factory, table):
    """A model folder, and model.tar.gz as SageMaker packs it."""
    folder = tmp_path_factory.mktemp("trained")
    fit(table, generator="tabular.independent", seed=0).save(folder / "model")
    with tarfile.open(folder / "model.tar.gz", "w:gz") as tar:
        tar.add(folder / "model", arcname=".")
    return folder


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A function that runs a step on inputs: text or bytes by path below processing/input."""

    def run(step, *arguments, inputs, outputs=(), hosts=("algo-1",), host="algo-1", config=None, name="opt-ml"):
        root = tmp_path / name
        for path, content in inputs.items():
            place = root / "processing/input" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content if isinstance(content, bytes) else content.encode())
        for output in outputs:
            (root / "processing/output" / output).mkdir(parents=True)
        (root / "config").mkdir(parents=True)
        (root / "config/resourceconfig.json").write_text(json.dumps({"current_host": host, "hosts": list(hosts)}))
        (root / "config/processingjobconfig.json").write_text(json.dumps(config or {}))
        monkeypatch.setenv(ROOT, str(root))
        return root, main(["sagemaker", "process", step, *arguments])

    return run


def packed(model):
    return {"model/model.tar.gz": (model / "model.tar.gz").read_bytes()}


def unpacked(model):
    files = (path for path in (model / "model").rglob("*") if path.is_file())
    return {f"model/{path.relative_to(model / 'model').as_posix()}": path.read_bytes() for path in files}


@pytest.fixture
def tables(table):
    """Real rows, unseen ones, and synthetic ones that are copies of the former, as CSV files of an evaluation."""
    rng = np.random.default_rng(1)
    unseen = table.assign(income=rng.normal(3e4, 5e3, len(table)).round(2), city=rng.permutation(table["city"]))
    rows = {"train": table, "holdout": unseen, "synthetic": table}
    return {f"{port}/rows.csv": held.to_csv(index=False) for port, held in rows.items()}


def written(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("layout", [packed, unpacked])
def test_sample_takes_a_packed_or_an_unpacked_model(job, model, layout):
    """Security, section 6: the archive is unpacked by `io.archive`, and nothing of it is left."""
    root, status = job("sample", "--num-rows", "30", "--seed", "2", inputs=layout(model))
    assert status == OK
    assert written(root / "processing/output") == ["synthetic/synthetic.parquet"]
    drawn = read_table(root / "processing/output/synthetic/synthetic.parquet")
    expected = Model.load(model / "model").sample(30, seed=2)
    pd.testing.assert_frame_equal(drawn, expected, check_dtype=False)
    assert not [entry for entry in root.iterdir() if entry.name.startswith(".")]


def test_the_format_names_the_file(job, model):
    root, status = job("sample", "--num-rows", "5", "--format=csv", inputs=packed(model))
    assert status == OK
    assert len((root / "processing/output/synthetic/synthetic.csv").read_text().splitlines()) == 6


def test_each_host_draws_its_shard_and_together_they_draw_what_one_would(job, model):
    rows = 40_000
    parts = []
    for host in ("algo-1", "algo-2"):
        root, status = job(
            "sample", "--num-rows", str(rows), "--columns", "age", inputs=packed(model),
            hosts=("algo-2", "algo-1"), host=host, name=host,
        )  # fmt: skip
        assert status == OK
        (file,) = (root / "processing/output/synthetic").iterdir()
        parts.append((file.name, read_table(file)))
    assert [name for name, _ in parts] == ["synthetic-00000.parquet", "synthetic-00001.parquet"]
    whole = Model.load(model / "model").sample(rows, seed=0)[["age"]]
    pd.testing.assert_frame_equal(pd.concat([rows for _, rows in parts], ignore_index=True), whole, check_dtype=False)


def test_another_step_on_two_hosts_is_refused(job, tables):
    root, status = job("evaluate-privacy", inputs=tables, hosts=("algo-1", "algo-2"))
    assert status == USER_ERROR
    assert (root / "output/message").read_text() == (
        "UserError: evaluate-privacy runs on one host, and the job has 2; ask for one"
    )


@pytest.mark.parametrize(
    ("step", "arguments", "group"),
    [
        ("evaluate-fidelity", QUICK, "fidelity_shape"),
        ("evaluate-tstr", ["--target", "outcome", *QUICK[:2], "--global-utility", "false"], "utility_ratio"),
        ("evaluate-privacy", QUICK[:2], "privacy_dcr_share"),
    ],
)
def test_an_evaluation_writes_report_page_statistics_and_constraints(job, tables, step, arguments, group):
    """Requirement 9: every value at a path that a pipeline's JsonGet can name."""
    root, status = job(step, *arguments, inputs=tables)
    assert status == OK
    place = root / "processing/output/report"
    assert written(place) == ["constraints.json", "report.html", "report.json", "statistics.json"]
    report, statistics, constraints = (
        json.loads((place / f"{name}.json").read_text()) for name in ("report", "statistics", "constraints")
    )
    assert_is_of_model_monitor(place, int(report["rows"]["holdout"]))
    leaf = statistics["synthetic_data_metrics"][group]
    assert leaf["value"] == report["values"][group]
    assert set(leaf) == {"value", "standard_deviation"}
    constraint = constraints["synthetic_data_constraints"][group]
    assert constraint["threshold"] == leaf["value"]
    worse = "GreaterThanThreshold" if step == "evaluate-privacy" else "LessThanThreshold"
    assert constraint["comparison_operator"] == worse


# What Model Monitor names, and a container of one's own may add to. The form is that of AWS's documents (Developer
# Guide, "Model quality metrics", which shows statistics) and of files that its analyser made: statistics with
# `dataset.item_count` in the tests of aws-samples' custom metrics for Model Monitor, constraints of a baseline job in
# Fregly & Barth, "Data Science on AWS", chapter 9.
LABELLED = {"accuracy", "auc", "f0_5", "f1", "f2", "precision", "recall"}
MEASURES = {
    "binary_classification": LABELLED,
    "multiclass_classification": {"accuracy", *(f"weighted_{name}" for name in LABELLED - {"accuracy", "auc"})},
    "regression": {"mae", "mse", "rmse", "r2"},
    "synthetic_data": None,
}
ADDED = {"macro_f1", "macro_auc"}


def assert_is_of_model_monitor(place, rows):
    """Hold statistics and constraints against the form, member by member."""
    statistics, constraints = (
        json.loads((place / f"{name}.json").read_text()) for name in ("statistics", "constraints")
    )
    assert statistics.pop("version") == constraints.pop("version") == 0.0
    assert statistics.pop("dataset") == {"item_count": rows}
    assert {name.removesuffix("_metrics") for name in statistics} == {
        name.removesuffix("_constraints") for name in constraints
    }
    for kind, known in MEASURES.items():
        leaves, limits = statistics.pop(f"{kind}_metrics", {}), constraints.pop(f"{kind}_constraints", {})
        assert known is None or set(leaves) <= known | ADDED
        assert set(limits) <= set(leaves)
        assert known is None or set(limits) == set(leaves)
        for leaf in leaves.values():
            assert set(leaf) == {"value", "standard_deviation"}
            assert isinstance(leaf["value"], float | int)
            assert isinstance(leaf["standard_deviation"], float) or leaf["standard_deviation"] == "NaN"
        for name, limit in limits.items():
            assert set(limit) == {"threshold", "comparison_operator"}
            assert limit["threshold"] == leaves[name]["value"]
            assert limit["comparison_operator"] in {"LessThanThreshold", "GreaterThanThreshold"}
    assert not statistics
    assert not constraints


@pytest.mark.parametrize(("rows", "has_deviation"), [(240, True), (199, False)])
def test_a_task_stands_in_the_statistics_as_model_monitor_writes_it(job, tables, table, rows, has_deviation):
    """Requirement 9: deviations over 5 samples of 80 %, and NaN as text below 200 rows."""
    inputs = {**tables, "holdout/rows.csv": table.head(rows).to_csv(index=False)}
    root, _ = job(
        "evaluate-tstr", "--target", "outcome", "--replicates", "10", "--global-utility", "false", inputs=inputs
    )
    assert_is_of_model_monitor(root / "processing/output/report", rows)
    metrics = json.loads((root / "processing/output/report/statistics.json").read_text())
    assert set(metrics["binary_classification_metrics"]) == {"accuracy", "macro_f1", "auc"}
    for leaf in metrics["binary_classification_metrics"].values():
        assert 0 <= leaf["value"] <= 1
        assert isinstance(leaf["standard_deviation"], float) == has_deviation
        assert has_deviation or leaf["standard_deviation"] == NO_DEVIATION


def test_a_regression_is_told_by_its_own_measures(job, tables):
    root, _ = job("evaluate-tstr", "--target", "age", "--replicates", "10", "--global-utility", "false", inputs=tables)
    place = root / "processing/output/report"
    assert_is_of_model_monitor(place, int(json.loads((place / "report.json").read_text())["rows"]["holdout"]))
    metrics = json.loads((place / "statistics.json").read_text())
    assert set(metrics["regression_metrics"]) == {"r2", "rmse"}
    constraints = json.loads((place / "constraints.json").read_text())["regression_constraints"]
    assert constraints["rmse"]["comparison_operator"] == "GreaterThanThreshold"
    assert constraints["r2"]["comparison_operator"] == "LessThanThreshold"


def test_a_private_report_has_statistics_of_the_noisy_number_of_rows(job):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    column = {"type": "categorical", "dtype": "object", "categories": ["u", "v"], "public": True}
    schema = {"tables": {"table": {"y": column, "z": column}}, "root": "table"}
    rows = pd.DataFrame({"y": ["u", "v"] * 60, "z": ["v", "v"] * 60}).to_csv(index=False)
    inputs = {f"{name}/rows.csv": rows for name in ("train", "holdout", "synthetic")}
    asked = ["--privacy", "dp", "--epsilon", "2", "--mechanism", "laplace", "--delta", "0", "--replicates", "10"]
    root, status = job("evaluate", *asked, inputs={**inputs, "schema/schema.json": json.dumps(schema)})
    assert status == OK
    place = root / "processing/output/report"
    assert_is_of_model_monitor(place, json.loads((place / "report.json").read_text())["rows"]["real"])


def test_an_evaluation_that_misses_its_threshold_leaves_the_report_for_the_pipeline(job, tables):
    root, status = job("evaluate-privacy", "--replicates", "10", "--min-quality", "1.0", inputs=tables)
    assert status == MISSED
    assert (root / "output/message").read_text().startswith("ThresholdError: the overall score is")
    assert "statistics.json" in {path.name for path in (root / "processing/output/report").iterdir()}


def test_gate_stops_a_pipeline_inside_the_job(job, model, tables):
    """Requirement 11."""
    root, _ = job("evaluate-privacy", "--replicates", "10", inputs=tables)
    made = (root / "processing/output/report").iterdir()
    inputs = {**{f"report/{path.name}": path.read_bytes() for path in made}, **packed(model)}
    root, status = job("gate", "--max-epsilon", "1", "--allow-unnamed", "true", inputs=inputs, name="gate")
    assert status == MISSED
    assert "the model's epsilon is not bounded" in (root / "output/message").read_text()
    root, status = job(
        "gate", "--allow-unnamed", "true", "--max-scores", '{"privacy.copies": 0.5}', inputs=inputs, name="copies"
    )
    assert status == MISSED


def test_select_takes_reports_and_models_in_one_order(job, model, tables):
    root, _ = job("evaluate-privacy", "--replicates", "10", inputs=tables)
    report = json.loads((root / "processing/output/report/report.json").read_text())
    worse = {**report, "overall": {**report["overall"], "value": 0.0}}
    models = {f"models/{part}/model.tar.gz": content for part in "ab" for content in packed(model).values()}
    inputs = {
        "reports/a/report.json": json.dumps(worse),
        "reports/a/statistics.json": "{}",
        "reports/b/report.json": json.dumps(report),
        **models,
    }
    root, status = job("select", inputs=inputs, outputs=("report", "model"), name="select")
    assert status == OK, (root / "output/message").read_text()
    assert json.loads((root / "processing/output/report/report.json").read_text())["overall"] == report["overall"]
    assert Model.load(root / "processing/output/model").manifest.generator == "tabular.independent"


def test_augment_reads_real_rows_and_a_model(job, model, table):
    inputs = {**packed(model), "data/real.csv": table.to_csv(index=False)}
    root, status = job("augment", "--mode", "multiply", "--factor", "1.5", inputs=inputs)
    assert status == OK
    assert written(root / "processing/output") == ["augmented/augmented.parquet"]
    assert len(read_table(root / "processing/output/augmented/augmented.parquet")) == 360


def test_merge_takes_the_files_of_its_input_in_order(job):
    parts = {f"parts/part-{number}.csv": f"a\n{number}\n" for number in (2, 0, 1)}
    root, status = job("merge", inputs=parts)
    assert status == OK
    assert read_table(root / "processing/output/merged/merged.parquet")["a"].tolist() == [0, 1, 2]


def test_an_optional_output_is_written_where_sagemaker_made_its_folder(job, tables):
    root, status = job("evaluate-privacy", "--replicates", "10", inputs=tables, outputs=("report", "page"))
    assert status == OK
    assert (root / "processing/output/page/report.html").is_file()
    assert not (root / "processing/output/report/report.html").exists()


def test_a_port_among_the_arguments_is_taken_from_there(job, model, tmp_path):
    _, status = job("sample", "--num-rows", "3", "--synthetic", str(tmp_path / "rows.csv"), inputs=packed(model))
    assert status == OK
    assert (tmp_path / "rows.csv").is_file()


@pytest.mark.parametrize(
    ("step", "arguments", "message"),
    [
        ("evaluate_tstr", [], "UserError: there is no step 'evaluate_tstr'; choose one of"),
        ("train-model", [], "UserError: there is no step 'train-model'"),
        ("sample", ["--rows", "3"], "UserError: No such option '--rows'"),
        ("sample", ["--num-rows", "-3"], "UserError: Invalid value for '--num-rows'"),
        ("sample", [], "UserError: --model is missing: The trained model"),
    ],
)
def test_a_wrong_step_or_option_is_a_user_error(job, step, arguments, message):
    """Requirement 4: in /opt/ml/output/message, which the caller reads as ExitMessage."""
    root, status = job(step, *arguments, inputs={})
    assert status == USER_ERROR
    assert (root / "output/message").read_text(encoding="utf-8").startswith(message)


def test_a_manifest_input_is_refused(job, model):
    said = {"LocalPath": "/opt/ml/processing/input/model", "S3DataType": "ManifestFile"}
    table = {"LocalPath": "/opt/ml/processing/input/data", "S3DataType": "ManifestFile"}
    config = {"ProcessingInputs": [{"InputName": "data", "S3Input": table}, {"InputName": "model", "S3Input": said}]}
    root, status = job("augment", inputs={**packed(model), "data/real.csv": "a\n1\n"}, config=config)
    assert status == USER_ERROR
    assert "is a manifest" in (root / "output/message").read_text()


def test_a_model_archive_that_is_none_is_refused(job):
    root, status = job("sample", inputs={"model/model.tar.gz": b"canary-4711"})
    assert status == USER_ERROR
    text = (root / "output/message").read_text()
    assert text == "UserError: 'model.tar.gz' is no tar archive, or damaged (ReadError)"


def test_a_model_of_which_one_byte_was_changed_is_refused(job, model):
    """Requirement 18: the manifest holds the SHA-256 of every file."""
    files = unpacked(model)
    name = next(name for name in files if name.endswith(".safetensors"))
    held = bytearray(files[name])
    held[-1] ^= 1
    root, status = job("sample", inputs={**files, name: bytes(held)})
    assert status == USER_ERROR
    assert "its SHA-256 differs; restore the model" in (root / "output/message").read_text()
    assert not (root / "processing/output/synthetic/synthetic.parquet").exists()
