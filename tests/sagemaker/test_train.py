"""Training jobs on a temporary /opt/ml: what is read, written, told and refused."""

import json
import re

import pandas as pd
import pytest

import synth_components as synth
from synth_components.__main__ import BUG, MISSED, OK, USER_ERROR, main
from synth_components.io import artifact
from synth_components.io.archive import pack
from synth_components.model import Model
from synth_components.steps.report_file import read_report
from synth_sagemaker.layout import ROOT
from synth_sagemaker.metrics import METRICS

INDEPENDENT = {"generator": "tabular.independent"}
QUICK = {
    "evaluate.replicates": "10",
    "evaluate.detector_rows": "60",
    "evaluate.detector_folds": "2",
    "evaluate.manifold_rows": "60",
    "evaluate.global_utility": "False",
    "sample.num_rows": "120",
}


@pytest.fixture
def run(monkeypatch):
    """A function that is `train` in the container whose /opt/ml is a folder, and returns the exit status."""

    def train(root):
        monkeypatch.setenv(ROOT, str(root))
        return main(["sagemaker", "train"])

    return train


def leftovers(root):
    """What lies below /opt/ml beside what SageMaker knows."""
    return sorted(
        entry.name for entry in root.iterdir() if entry.name not in {"input", "model", "output", "checkpoints"}
    )


@pytest.fixture
def with_holdout(opt_ml, table):
    """A function that fills /opt/ml with a holdout, too."""

    def filled(hyperparameters):
        root = opt_ml(hyperparameters)
        (root / "input/data/holdout").mkdir()
        table.sample(frac=1, random_state=1).to_parquet(root / "input/data/holdout/rows.parquet")
        return root

    return filled


def test_a_job_trains_and_hands_the_model_over(opt_ml, run):
    root = opt_ml({**INDEPENDENT, "generator.knots": "50", "seed": "3"})
    assert run(root) == OK
    model = Model.load(root / "model")
    assert (model.manifest.generator, model.manifest.options["knots"], model.manifest.seed) == (
        "tabular.independent",
        50,
        3,
    )
    assert model.manifest.rows == 240
    assert json.loads((root / "output/data/run.json").read_text())["step"] == "train"
    assert not (root / "output/failure").exists()


def test_nothing_is_left_but_model_and_output(opt_ml, run):
    """Security, section 6: no plain text stays after a job on an encrypted volume."""
    root = opt_ml(INDEPENDENT)
    run(root)
    assert leftovers(root) == []
    assert sorted(entry.name for entry in (root / "output").rglob("*")) == ["data", "run.json"]


def test_schema_and_constraints_are_channels(opt_ml, run, table):
    root = opt_ml(INDEPENDENT)
    for name, value in {
        "schema": {"columns": {"age": {"type": "numeric", "low": 0, "high": 120, "dtype": "int64", "places": 0}}},
        "constraints": [{"type": "range", "column": "age", "high": 60}],
    }.items():
        (root / "input/data" / name).mkdir()
        (root / "input/data" / name / f"{name}.json").write_text(json.dumps(value))
    status = run(root)
    assert status == OK, (root / "output/failure").read_text()
    model = Model.load(root / "model")
    assert list(model.schema.columns) == ["age"]
    assert model.sample(200, seed=0)["age"].max() <= 60


@pytest.mark.parametrize("is_packed", [True, False], ids=["archive", "folder"])
def test_the_channel_model_is_what_the_fit_goes_on_from(opt_ml, run, table, tmp_path, is_packed):
    """As a training job leaves it, `model.tar.gz`, or as its folder."""
    before = synth.fit(table, generator="tabular.independent", seed=0)
    channels = {name: {"TrainingInputMode": "File"} for name in ("train", "model")}
    channels["model"]["ContentType"] = "application/x-sagemaker-model"
    root = opt_ml(
        {"generator": "tabular.ensemble", "generator.generators": '["tabular.independent"]'}, channels=channels
    )
    for name in channels:
        (root / "input/data" / name).mkdir()
    table.to_csv(root / "input/data/train/real.csv", index=False)
    folder = tmp_path / "before" if is_packed else root / "input/data/model"
    before.save(folder)
    if is_packed:
        pack(folder, root / "input/data/model/model.tar.gz")
    status = run(root)
    assert status == OK, (root / "output/failure").read_text()
    assert Model.load(root / "model").manifest.start["model"] == before.manifest.identity


def test_a_channel_model_without_a_model_is_a_user_error(opt_ml, run, table):
    root = opt_ml({"generator": "tabular.ensemble"})
    (root / "input/data/model").mkdir()
    (root / "input/data/model/notes.txt").write_text("x")
    assert run(root) == USER_ERROR
    told = (root / "output/failure").read_text(encoding="utf-8")
    assert "is no model, and has 0 archives" in told


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"epohcs": "2"}, "UserError: there is no hyperparameter 'epohcs'"),
        (
            {**INDEPENDENT, "generator.knots": "1"},
            "UserError: hyperparameter 'generator.knots': Input should be greater",
        ),
        ({"generator": "tabular.forest"}, "UserError: there is no generator 'tabular.forest'"),
        ({**INDEPENDENT, "evaluate.target": "outcome"}, "UserError: hyperparameter 'evaluate.target' needs rows"),
        ({**INDEPENDENT, "gate.min_quality": "0.5"}, "UserError: hyperparameter 'gate.min_quality' needs rows"),
    ],
)
def test_wrong_hyperparameters_are_a_user_error(opt_ml, run, hyperparameters, message):
    """Requirement 4."""
    root = opt_ml(hyperparameters)
    assert run(root) == USER_ERROR
    assert (root / "output/failure").read_text(encoding="utf-8").startswith(message)
    assert not any((root / "model").iterdir())


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ({}, "UserError: channel 'train' is missing: The real training rows."),
        ({"train": {"TrainingInputMode": "Pipe"}}, "UserError: channel 'train' is in Pipe mode"),
        ({"train": {"ContentType": "text/libsvm"}}, "UserError: channel 'train' has a content type"),
        ({"training": {}}, "UserError: there is no channel 'training'; the channels are train, holdout"),
    ],
)
def test_a_missing_or_wrong_channel_is_a_user_error(opt_ml, run, channels, message):
    """Requirement 4."""
    root = opt_ml(INDEPENDENT, channels=channels)
    assert run(root) == USER_ERROR
    assert (root / "output/failure").read_text(encoding="utf-8").startswith(message)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: table.assign(age=["canary-4711", *table["age"][1:]]).to_csv(index=False),
        lambda table: table.to_csv(index=False) + "canary-4711,1,2,3,4,5,6\n",
        lambda table: "age,age\ncanary-4711,1\n",
        lambda table: '"canary-4711\n' + table.to_csv(index=False),
        lambda table: "",
    ],
)
def test_no_cell_value_is_told_of_rows_that_cannot_be_trained_on(opt_ml, run, spoil, table, capsys):
    """Requirement 4: neither in the failure nor in the log."""
    schema = {"columns": {"age": {"type": "numeric", "low": 0, "high": 120, "dtype": "int64", "places": 0}}}
    root = opt_ml(INDEPENDENT)
    (root / "input/data/train/real.csv").write_text(spoil(table))
    (root / "input/data/schema").mkdir()
    (root / "input/data/schema/schema.json").write_text(json.dumps(schema))
    assert run(root) in {USER_ERROR, OK}
    told = capsys.readouterr()
    written = [path.read_text() for path in (root / "output").rglob("*") if path.is_file()]
    assert "canary" not in "".join([told.out, told.err, *written])


def test_a_bug_is_an_algorithm_error(opt_ml, run, monkeypatch):
    root = opt_ml(INDEPENDENT)

    def broken(*_, **__):
        raise ZeroDivisionError("canary-4711")

    monkeypatch.setattr(artifact, "copy", broken)
    assert run(root) == BUG
    text = (root / "output/failure").read_text()
    assert text.startswith("AlgorithmError: ZeroDivisionError")
    assert "canary" not in text


def test_a_full_disk_is_a_platform_error(opt_ml, run):
    root = opt_ml(INDEPENDENT)
    (root / "output/data").rmdir()
    (root / "output/data").write_text("")  # no folder can be made there
    assert run(root) == USER_ERROR
    assert (root / "output/failure").read_text().startswith("PlatformError: File exists")


def test_with_a_holdout_the_model_is_judged_and_the_log_holds_what_a_tuner_reads(with_holdout, run, capsys):
    root = with_holdout({**INDEPENDENT, **QUICK, "evaluate.target": "outcome"})
    assert run(root) == OK
    report = read_report(root / "output/data/report.json")
    assert (root / "output/data/report.html").is_file()
    log = capsys.readouterr().out
    told = {metric.name: re.findall(metric.regex, log, re.MULTILINE) for metric in METRICS}
    assert float(told["validation:quality"][-1]) == pytest.approx(report.overall.value)
    assert float(told["validation:utility_ratio"][-1]) == pytest.approx(report.values["utility_ratio"])
    assert float(told["train:progress"][-1]) == 1.0
    assert leftovers(root) == []


@pytest.mark.parametrize(
    ("asked", "missed"),
    [
        ({"gate.min_quality": "0.999"}, "the overall score is"),
        ({"gate.max_scores": '{"privacy.dcr.share": 0.0}'}, "privacy.dcr.share is"),
        ({"gate.max_membership_inference_score": "0.01"}, "privacy.membership.auc is"),
        ({"gate.min_scores": '{"utility.ratio": 2}', "evaluate.target": "outcome"}, "utility.ratio is"),
        ({"evaluate.min_quality": "0.999"}, "min_quality asks for 0.999"),
    ],
)
def test_a_model_that_misses_a_threshold_is_not_handed_over(with_holdout, run, asked, missed):
    """Requirement 11: the gate is enforced inside the job."""
    root = with_holdout({**INDEPENDENT, **QUICK, **asked})
    assert run(root) == MISSED
    text = (root / "output/failure").read_text(encoding="utf-8")
    assert text.startswith("ThresholdError: ")
    assert missed in text
    assert not any((root / "model").iterdir())
    assert (root / "output/data/report.json").is_file()


def test_a_model_that_loses_more_privacy_than_asked_is_not_handed_over(opt_ml, run):
    """Requirement 11, max_epsilon; it needs no holdout."""
    root = opt_ml({**INDEPENDENT, "gate.max_epsilon": "3"})
    assert run(root) == MISSED
    assert "epsilon is not bounded, at most 3 is allowed" in (root / "output/failure").read_text()
    assert not any((root / "model").iterdir())


def test_a_model_that_holds_rows_is_not_handed_over_to_be_registered(opt_ml, run):
    root = opt_ml({"generator": "tabular.smote", "generator.keep_rows": "true", "seed": "3"})
    assert run(root) == MISSED
    assert "holds training rows" in (root / "output/failure").read_text()
    assert not any((root / "model").glob("*"))


def test_a_threshold_on_a_score_that_was_not_made_is_no_pass(with_holdout, run):
    """Requirement 11: what was asked for does not pass unseen."""
    asked = {"evaluate.attacks": "[]", "gate.max_membership_inference_score": "0.6"}
    root = with_holdout({**INDEPENDENT, **QUICK, **asked})
    assert run(root) == USER_ERROR
    assert "the report has no score 'privacy.membership.auc'" in (root / "output/failure").read_text()
    assert not any((root / "model").iterdir())


def test_the_same_job_gives_the_same_bytes(opt_ml, run, tmp_path):
    first, second = opt_ml(INDEPENDENT, name="first"), opt_ml(INDEPENDENT, name="second")
    assert run(first) == run(second) == OK
    pd.testing.assert_frame_equal(*(Model.load(root / "model").sample(50, seed=1) for root in (first, second)))
    assert (first / "model/manifest.json").read_bytes() == (second / "model/manifest.json").read_bytes()
