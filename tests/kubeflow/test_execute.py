"""A component in its container: what it writes, and what it leaves when it fails.  The steps run in this process."""

import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from people import PEOPLE

from synth_components.__main__ import main
from synth_components.config import ConfigError
from synth_components.errors import DataError, ThresholdError
from synth_components.privacy.ledger import Ledger, dumps
from synth_kubeflow.components import COMPONENTS, component
from synth_kubeflow.execute import METADATA, execute

# The one needs a server, and is run in test_mlflow; the other needs torch or a cluster, and is run in test_trainjob.
RUN_HERE = sorted(set(COMPONENTS) - {"register_model", "train_generator_distributed"})


def output_of(folder):
    """Return the executor output that a task left."""
    return json.loads((folder / "executor_output.json").read_text())


def metadata_of(folder, name):
    (artifact,) = output_of(folder)["artifacts"][name]["artifacts"]
    return artifact["metadata"]


def task_of(root, name):
    return root / (f"{name}-0" if name == "sample_sharded" else name)


@pytest.mark.parametrize("name", RUN_HERE)
def test_requirement_4_the_executor_output_parses_strictly_and_lists_every_artifact(ran, name):
    folder = task_of(ran, name)
    said = json_format.Parse((folder / "executor_output.json").read_text(), pipeline_spec_pb2.ExecutorOutput())
    outputs = {port for port, known in COMPONENTS[name].ports().items() if known.direction == "out"}
    assert set(said.artifacts) == outputs | {"metrics"} | ({"roc"} if COMPONENTS[name].has_roc else set())
    assert all((folder / port).exists() for port in said.artifacts)


@pytest.mark.parametrize("name", RUN_HERE)
def test_requirement_5_the_metadata_hold_the_documented_keys_and_no_other(ran, name):
    for port, artifacts in output_of(task_of(ran, name))["artifacts"].items():
        if port in {"metrics", "roc"}:
            continue
        (artifact,) = artifacts["artifacts"]
        said = artifact["metadata"]
        assert set(said) <= set(METADATA)
        assert {"synth.kind", "synth.schema_version", "synth.package_version", "synth.data_digest"} <= set(said)
        assert said["synth.kind"] == COMPONENTS[name].ports()[port].kind


def test_requirement_5_a_dataset_tells_rows_and_digest_and_a_model_its_generator(ran):
    drawn = metadata_of(ran / "sample", "synthetic")
    assert drawn["synth.rows"] == 150 == len(pd.read_parquet(ran / "sample" / "synthetic"))
    assert drawn["synth.data_digest"] == hashlib.sha256((ran / "sample" / "synthetic").read_bytes()).hexdigest()
    assert metadata_of(ran / "train_generator", "model")["synth.generator"] == "tabular.independent"


def test_models_and_reports_tell_how_often_real_rows_were_read_and_how_often_outside_any_epsilon(ran):
    said = metadata_of(ran / "train_generator", "model")
    ledger = Ledger.from_json(json.loads((ran / "train_generator" / "model" / "ledger.json").read_text()))
    assert said["synth.ledger.entries"] == len(ledger.entries) > 0
    assert said["synth.ledger.uncovered"] == 0
    assert said["synth.ledger.digest"] == hashlib.sha256(dumps(ledger).encode()).hexdigest()
    assert metadata_of(ran / "evaluate", "report")["synth.ledger.uncovered"] == 1


@pytest.mark.parametrize("name", RUN_HERE)
def test_every_component_tells_seconds_and_peak_memory_as_metrics_that_are_numbers(ran, name):
    said = metadata_of(task_of(ran, name), "metrics")
    assert said["seconds"] >= 0
    assert said["peak_memory_mib"] > 1
    assert all(isinstance(value, int | float) for value in said.values())


def test_a_private_task_refuses_a_table_whose_types_one_row_may_change(tmp_path, csv, executor_input):
    for name in ("split_data", "train_generator"):
        with pytest.raises(DataError, match="declare the columns in a schema, or give Parquet"):
            execute(COMPONENTS[name], executor_input(name, tmp_path / name, {"data": csv}, privacy="dp"))


def test_of_real_rows_that_are_split_for_a_private_model_neither_number_nor_digest_is_told(
    tmp_path, csv, executor_input
):
    known = {"columns": {name: column for name, column in PEOPLE["columns"].items() if name != "person"}}
    said = executor_input("split_data", tmp_path / "task", {"data": csv}, privacy="dp", declared_schema=known)
    execute(COMPONENTS["split_data"], said)
    said = (tmp_path / "task" / "executor_output.json").read_text()
    for side in ("train", "holdout"):
        assert not {"synth.rows", "synth.data_digest"} & set(metadata_of(tmp_path / "task", side))
        assert hashlib.sha256((tmp_path / "task" / side).read_bytes()).hexdigest() not in said
    assert set(metadata_of(tmp_path / "task", "metrics")) == {"seconds", "peak_memory_mib"}


def test_the_metrics_of_tables_tell_their_rows(ran):
    said = metadata_of(ran / "split_data", "metrics")
    assert said["rows.train"] + said["rows.holdout"] == 240


@pytest.mark.parametrize("name", [name for name in RUN_HERE if name.startswith("evaluate")])
def test_requirement_9_a_judge_writes_flat_metrics_and_a_page_that_needs_nothing_from_elsewhere(ran, name):
    page = (ran / name / "page").read_text()
    assert page.lstrip().lower().startswith("<!doctype html")
    assert re.findall(r"(?:src|href)=[\"'](?!#|data:)[^\"']+", page) == []
    report = json.loads((ran / name / "report").read_text())
    metrics = metadata_of(ran / name, "metrics")
    assert metrics["quality"] == report["overall"]["value"]
    whole = {one["name"]: one["value"] for one in report["scores"] if not one["subject"]}
    assert whole.items() <= metrics.items()


@pytest.mark.parametrize("name", ["evaluate", "evaluate_tstr"])
def test_requirement_9_tstr_gives_a_roc_that_kubeflow_draws(ran, name):
    points = metadata_of(ran / name, "roc")["confidenceMetrics"]
    assert all(set(point) == {"confidenceThreshold", "recall", "falsePositiveRate"} for point in points)
    for key, sign in (("confidenceThreshold", -1), ("recall", 1), ("falsePositiveRate", 1)):
        steps = np.diff([point[key] for point in points])
        assert (sign * steps >= 0).all()
    assert (points[-1]["recall"], points[-1]["falsePositiveRate"]) == (1.0, 1.0)


def test_requirement_9_without_two_classes_the_roc_is_empty(ran, tmp_path, executor_input):
    parts = {"train": ran / "split_data" / "train", "holdout": ran / "split_data" / "holdout"}
    inputs = parts | {"synthetic": ran / "sample" / "synthetic"}
    said = executor_input("evaluate_tstr", tmp_path, inputs, target="income", replicates=10, global_utility=False)
    execute(COMPONENTS["evaluate_tstr"], said)
    assert metadata_of(tmp_path, "roc") == {}


def test_requirement_9_the_report_is_drawn_as_page_and_markdown(ran):
    assert (ran / "report" / "text").read_text().startswith("# Report on synthetic data")
    assert "<html" in (ran / "report" / "page").read_text()


def test_the_score_of_tstr_is_the_least_accuracy_of_its_learners(ran):
    report = json.loads((ran / "evaluate_tstr" / "report").read_text())
    values = [one["value"] for one in report["scores"] if one["name"] == "utility.tstr.accuracy"]
    assert len(values) == 2
    assert output_of(ran / "evaluate_tstr")["parameterValues"] == {"score": min(values)}


def test_a_task_leaves_nothing_but_its_outputs(ran):
    assert sorted(path.name for path in (ran / "split_data").iterdir()) == [
        "executor_output.json", "holdout", "metrics", "train"
    ]  # fmt: skip


def test_requirement_11_shards_joined_are_the_rows_of_one_draw(ran):
    whole, merged = (pd.read_parquet(path) for path in (ran / "sample" / "synthetic", ran / "merge_shards" / "merged"))
    pd.testing.assert_frame_equal(whole, merged)


def test_requirement_11_the_same_shards_give_the_same_bytes(ran, tmp_path, executor_input):
    model = ran / "train_generator" / "model"
    parts = []
    for index in range(2):
        said = {"num_rows": 150, "shard_index": index, "num_shards": 2}
        execute(
            COMPONENTS["sample_sharded"],
            executor_input("sample_sharded", tmp_path / str(index), {"model": model}, **said),
        )
        parts.append(tmp_path / str(index) / "synthetic")
    execute(COMPONENTS["merge_shards"], executor_input("merge_shards", tmp_path / "merged", {"parts": parts}))
    assert (tmp_path / "merged" / "merged").read_bytes() == (ran / "merge_shards" / "merged").read_bytes()


@pytest.mark.parametrize(
    ("ending", "write"),
    [
        ("csv", lambda table, path: table.to_csv(path, index=False)),
        ("parquet", lambda table, path: table.to_parquet(path)),
        ("jsonl", lambda table, path: table.to_json(path, orient="records", lines=True)),
        ("json", lambda table, path: table.to_json(path, orient="records")),
        ("csv.gz", lambda table, path: table.to_csv(path, index=False, compression="gzip")),
    ],
)
def test_a_table_of_another_component_is_read_although_its_path_has_no_ending(
    table, tmp_path, executor_input, ending, write
):
    write(table, tmp_path / "dataset")
    execute(COMPONENTS["split_data"], executor_input("split_data", tmp_path / "task", {"data": tmp_path / "dataset"}))
    assert metadata_of(tmp_path / "task", "metrics")["rows.train"] == 192  # 0.8 of 240


def test_an_input_that_nobody_wrote_is_named(tmp_path, executor_input):
    with pytest.raises(DataError, match="input 'data': there is nothing at"):
        execute(COMPONENTS["split_data"], executor_input("split_data", tmp_path, {"data": tmp_path / "nowhere"}))
    with pytest.raises(DataError, match="input 'data' is missing"):
        execute(COMPONENTS["split_data"], executor_input("split_data", tmp_path))


@pytest.fixture
def of_people(table, tmp_path):
    """The table with four rows of each person."""
    path = tmp_path / "people.csv"
    table.assign(person=np.arange(len(table)) // 4).to_csv(path, index=False)
    return path


def test_the_epsilon_of_a_training_is_of_the_people_that_a_map_declares(of_people, tmp_path, executor_input):
    pytest.importorskip("opendp", reason="opendp comes with the extra dp")
    private = {"generator": "tabular.mst", "privacy": "dp", "epsilon": 1.0}
    said = executor_input("train_generator", tmp_path / "of", {"data": of_people}, **private, declared_schema=PEOPLE)
    execute(COMPONENTS["train_generator"], said)
    whom = "all rows of table 'table' that share ['person'], at most 4"
    assert metadata_of(tmp_path / "of", "model")["synth.unit"] == whom


def test_a_map_and_an_artifact_are_not_both_the_schema(of_people, tmp_path, executor_input):
    (tmp_path / "schema").write_text(json.dumps(PEOPLE))
    inputs = {"data": of_people, "schema": tmp_path / "schema"}
    with pytest.raises(DataError, match="'schema' and 'declared_schema' say the same"):
        execute(COMPONENTS["split_data"], executor_input("split_data", tmp_path / "t", inputs, declared_schema=PEOPLE))
    execute(COMPONENTS["split_data"], executor_input("split_data", tmp_path / "t", inputs, declared_schema={}))


def test_a_map_with_a_number_that_kubeflow_rounds_is_refused(of_people, tmp_path, executor_input):
    wide = {"age": {"type": "numeric", "dtype": "int64", "low": 0, "high": float(2**53)}}
    said = executor_input("split_data", tmp_path / "t", {"data": of_people}, declared_schema={"columns": wide})
    with pytest.raises(DataError, match="beyond 2\\^53"):
        execute(COMPONENTS["split_data"], said)


def test_an_option_that_breaks_its_rule_is_named(tmp_path, csv, executor_input):
    with pytest.raises(ConfigError, match="'share'"):
        execute(COMPONENTS["split_data"], executor_input("split_data", tmp_path, {"data": csv}, share=3.0))


def test_a_target_that_cannot_be_scored_is_an_error_and_no_made_up_score(ran, tmp_path, table, executor_input):
    constant = tmp_path / "constant.csv"
    table.assign(outcome="ill").to_csv(constant, index=False)
    inputs = dict.fromkeys(("train", "holdout", "synthetic"), constant)
    said = executor_input(
        "evaluate_tstr", tmp_path / "task", inputs, target="outcome", replicates=10, global_utility=False
    )
    with pytest.raises(DataError, match="no output 'score'"):
        execute(COMPONENTS["evaluate_tstr"], said)


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_requirement_8_a_failed_task_ends_with_an_error_line_and_leaves_no_executor_output(
    name, tmp_path, capsys, executor_input
):
    inputs = {port: tmp_path / "nowhere" for port, known in COMPONENTS[name].ports().items() if known.direction == "in"}
    needed = {"register_model": {"name": "m"}, "evaluate_tstr": {"target": "y"}}
    said = (needed | {"train_generator_distributed": {"generator": "tabular.trees"}}).get(name, {})
    status = main(
        ["kubeflow", "execute", name, "--executor-input", executor_input(name, tmp_path / "t", inputs, **said)]
    )
    last = capsys.readouterr().err.splitlines()[-1]
    assert status == 2
    assert re.fullmatch(r"ERROR 2: \S.*; \S.*", last)
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == []


def test_requirement_8_a_missed_threshold_has_status_3(ran, tmp_path, capsys, executor_input):
    said = executor_input("gate", tmp_path, {"report": ran / "evaluate" / "report"}, min_quality=1.0)
    assert main(["kubeflow", "execute", "gate", "--executor-input", said]) == 3
    assert capsys.readouterr().err.splitlines()[-1].startswith("ERROR 3: the report misses")
    assert not (tmp_path / "executor_output.json").exists()
    with pytest.raises(ThresholdError):
        execute(COMPONENTS["gate"], said)


def test_an_unknown_component_is_refused_with_the_known_ones(capsys):
    assert main(["kubeflow", "execute", "trian", "--executor-input", "{}"]) == 2
    assert "split_data" in capsys.readouterr().err
    assert component("gate").name == "gate"
