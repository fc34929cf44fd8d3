import io
import json
import logging

import pytest

from synth_components.progress import Bars, JsonFormatter, JsonLines, stage, watching


class Notes:
    def __init__(self):
        self.heard = []

    def update(self, stage, done, total, metrics):
        self.heard.append((stage, done, total, dict(metrics)))

    def finish(self, stage):
        self.heard.append((stage, "finished"))


def test_an_observer_hears_of_every_step_and_of_the_end():
    notes = Notes()
    with watching([notes]), stage("train") as report:
        report(1, 2, loss=0.5)
        report(2, 2)
    assert notes.heard == [("train", 1, 2, {"loss": 0.5}), ("train", 2, 2, {}), ("train", "finished")]


def test_an_observer_hears_of_the_end_of_a_stage_that_failed():
    notes = Notes()
    with pytest.raises(RuntimeError), watching([notes]), stage("train"):
        raise RuntimeError
    assert notes.heard == [("train", "finished")]


def test_nobody_watches_after_the_block():
    notes = Notes()
    with watching([notes]):
        pass
    with stage("train") as report:
        report(1, 1)
    assert notes.heard == []


def test_json_lines_come_at_most_once_a_second_and_at_the_end():
    stream = io.StringIO()
    with watching([JsonLines(stream)]), stage("sample") as report:
        for done in range(1, 1001):
            report(done, 1000, rows=float(done))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[0]["done"] == 1
    assert (lines[-1]["done"], lines[-1]["total"], lines[-1]["rows"], lines[-1]["stage"]) == (
        1000,
        1000,
        1000,
        "sample",
    )
    assert len(lines) < 10  # a thousand reports take far less than eight seconds


def test_bars_show_stages_within_stages_and_clear_up():
    from rich.console import Console

    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=80)
    with watching([Bars(console)]), stage("run") as outer:
        outer(1, 3)
        with stage("train") as inner:
            inner(2, 5, loss=0.25)
        outer(2, 3)
    assert "train" in shown.getvalue()
    assert "loss 0.25" in shown.getvalue()


def test_a_log_record_is_one_json_object():
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "two\nlines of %s", ("text",), None)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "two\nlines of text"
    assert json.loads(line)["level"] == "warning"
