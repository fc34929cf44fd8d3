"""Metric lines: what is written is what SageMaker's regular expressions find."""

import io
import re
from importlib.metadata import entry_points

import pytest

from synth_components.monitor import SCORES
from synth_components.progress import GROUP
from synth_sagemaker.metrics import GOALS, JOB_NAME, METRICS, MetricLines, definitions, observer, write_line
from synth_sagemaker.shapes import problems


@pytest.mark.parametrize("value", [0.0, 1.0, -0.25, 1e-9, 123456789.0, 3.5e20])
@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_number_is_found_in_its_line(metric, value):
    log = io.StringIO()
    write_line(metric.name, value, log)
    assert [float(found) for found in re.findall(metric.regex, f"some text\n{log.getvalue()}")] == [value]


def test_no_metric_is_found_in_the_line_of_another():
    for one in METRICS:
        line = f"{one.name}=0.5"
        assert [other.name for other in METRICS if re.search(other.regex, line)] == [one.name]


def test_sagemaker_takes_the_definitions():
    specification = {"TrainingImage": "x", "TrainingInputMode": "File", "MetricDefinitions": definitions()}
    found = problems("CreateTrainingJob", {"AlgorithmSpecification": specification}, without=())
    assert not [problem for problem in found if "MetricDefinitions" in problem]
    assert len(METRICS) <= 40


def test_the_observer_writes_fits_and_nothing_else():
    log = io.StringIO()
    lines = MetricLines(log)
    lines.update("train tabular.trees", 1, 4, {"loss": 0.5})
    lines.update("train tabular.trees", 2, 4, {"loss": 0.4})  # within a second of the last
    lines.update("sample", 1, 1, {})
    lines.update("train tabular.trees", 4, 4, {"loss": 0.25})
    assert log.getvalue().split() == ["train:progress=0.25", "train:loss=0.5", "train:progress=1", "train:loss=0.25"]


def test_every_judgement_of_a_monitor_is_written():
    log = io.StringIO()
    lines = MetricLines(log)
    for done, quality in ((1, 0.5), (2, 0.75)):
        lines.update("train tabular.vae", done, 4, dict.fromkeys(SCORES, quality))
    assert re.findall(r"train:quality=(\S+)", log.getvalue()) == ["0.5", "0.75"]
    assert {f"train:{name}" for name in SCORES} <= {metric.name for metric in METRICS}


def test_the_observer_is_installed_and_watches_within_a_training_job_alone(monkeypatch):
    (point,) = (point for point in entry_points(group=GROUP) if point.name == "sagemaker")
    assert point.load() is observer
    monkeypatch.delenv(JOB_NAME, raising=False)
    assert observer() is None
    monkeypatch.setenv(JOB_NAME, "synth-1")
    assert isinstance(observer(), MetricLines)


def test_every_objective_has_a_goal():
    assert {metric.name.removeprefix("validation:") for metric in METRICS if metric.goal} == set(GOALS)
