import json
import os
import shlex
import signal
import subprocess
import sys
import time
from importlib.metadata import EntryPoint

import click
import numpy as np
import pandas as pd
import pytest

from synth_components.__main__ import _TOUR, main, synth
from synth_components.errors import SchemaError, ThresholdError
from synth_components.generators import GROUP, names, private_names
from synth_components.service.command import ServeCommand
from synth_components.steps import STEPS, load, record
from synth_components.steps.catalogue import generator_table, mark_of
from synth_components.steps.command import StepCommand

SECRET = "Zebulon-4711"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a small table."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pd.DataFrame({"x": rng.normal(size=60).round(3), "y": rng.choice(["a", "b"], 60)}).to_csv("t.csv", index=False)
    return tmp_path


SPLIT = ("split", "--data", "t.csv", "--train", "train.csv", "--holdout", "holdout.csv")


def raising(monkeypatch, error):
    def broken(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("synth_components.steps.command.perform", broken)


def test_a_command_that_works_exits_with_0(folder, capsys):
    assert main([*SPLIT, "--share", "0.5"]) == 0
    assert (folder / "train.csv").exists()
    assert capsys.readouterr().out == ""


def test_help_lists_every_command_with_a_line(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in (*STEPS, "serve", "generators", "cache"):
        assert f"\n  {name.replace('_', '-')} " in shown


@pytest.mark.parametrize("command", ["audit verify", "budget create", "budget reserve", "encrypt", "decrypt", "rotate"])
def test_the_examples_of_whoever_keeps_the_data_have_lines_of_their_own(command, capsys):
    assert main([*command.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"\n      synth {command} " in shown
    assert "\\b" not in shown


def test_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("synth, version ")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["splt"], "did you mean 'split'?"),
        (["split", "--shar", "0.3"], "--share"),
        (["split", "--share", "3"], "'--share'"),
        (["split", "--seed", "x"], "'--seed': must be an integer"),
        (["split", "--data", "nowhere.csv", "--train", "a.csv", "--holdout", "b.csv"], "nowhere.csv"),
        ([*SPLIT, "--stratify", "z"], "'z'"),
        (["train", "--generator", "tabular.nothing"], "tabular.nothing"),
        (["train", "--generator", "tabular.independent", "--generator.knot", "3"], "--generator.knots"),
    ],
)
def test_an_error_of_the_user_is_one_line_and_exit_status_2(folder, capsys, args, said):
    assert main(args) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert said in shown.err
    assert sorted(path.name for path in folder.iterdir()) == ["t.csv"]


def test_a_missed_threshold_exits_with_3(folder, capsys, monkeypatch):
    raising(monkeypatch, ThresholdError("the report misses 1 of its thresholds"))
    assert main(list(SPLIT)) == 3
    assert capsys.readouterr().err == "synth split: the report misses 1 of its thresholds\n"


def test_a_bug_exits_with_1_and_shows_neither_traceback_nor_cell_value(folder, capsys, monkeypatch):
    raising(monkeypatch, RuntimeError(f"cannot convert {SECRET}"))
    assert main(list(SPLIT)) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("synth split: internal error (RuntimeError in broken, line ")
    assert shown.count("\n") == 1
    assert SECRET not in shown


def test_debug_shows_the_traceback_of_a_bug(folder, capsys, monkeypatch):
    raising(monkeypatch, RuntimeError("oops"))
    assert main([*SPLIT, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_exits_with_130(folder, capsys, monkeypatch):
    raising(monkeypatch, KeyboardInterrupt())
    assert main(list(SPLIT)) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_folder_in_place_of_a_file_is_an_error_of_the_user(folder, capsys):
    (folder / "blocked").mkdir()
    assert main(["report", "--report", "blocked", "--page", "p.html"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_json_log_is_one_object_per_line(folder, capsys):
    assert main([*SPLIT, "--log-format", "json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines
    assert {"time", "level", "event", "message"} <= set(lines[-1])


def test_json_error_names_the_column(folder, capsys, monkeypatch):
    raising(monkeypatch, SchemaError("column 'x' is bad", column="x"))
    assert main([*SPLIT, "--log-format=json"]) == 2
    line = json.loads(capsys.readouterr().err)
    assert (line["error"], line["column"], line["status"]) == ("SchemaError", "x", 2)


def test_quiet_says_nothing_when_all_is_well(folder, capsys):
    assert main([*SPLIT, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_quiet_keeps_notes_about_the_table_to_itself(folder, capsys):
    rng = np.random.default_rng(0)
    words = [" ".join(rng.choice(["mild", "pain", "left", "knee", "worse", "since", "fall"], 9)) for _ in range(60)]
    mails = [f"person{n}@example.org" for n in range(60)]
    pd.DataFrame({"x": rng.normal(size=60), "mail": mails, "note": words}).to_csv("notes.csv", index=False)
    profile = ["profile", "--data", "notes.csv", "--schema", "s.json"]
    assert main(profile) == 0
    assert "mail" in capsys.readouterr().err
    assert main([*profile, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def examples():
    """Every example line of every command's help, as words after ``synth``."""
    texts = [_TOUR, ServeCommand().help, *(StepCommand(name.replace("_", "-"), load(name)).help for name in STEPS)]
    for text in texts:
        joined = text.replace("\\\n", " ")
        yield from (shlex.split(line)[1:] for line in joined.splitlines() if line.startswith("    synth "))


@pytest.mark.parametrize("words", list(examples()), ids=" ".join)
def test_every_example_of_the_help_parses(words):
    command = synth.get_command(click.Context(synth), words[0])
    assert command is not None
    if "--help" in words:
        words = [word for word in words if word != "--help"]
    command.make_context(words[0], words[1:])


def test_the_help_of_every_step_has_an_example():
    assert {words[0].replace("-", "_") for words in examples()} == {*STEPS, "serve"}


def test_a_fresh_seed_is_written_down(folder):
    main([*SPLIT, "--seed", "-1"])
    first = json.loads((folder / "train.csv.run.json").read_text())["config"]["seed"]
    drawn = (folder / "train.csv").read_bytes()
    main([*SPLIT, "--seed", str(first)])
    assert first >= 0
    assert (folder / "train.csv").read_bytes() == drawn


def test_generators_lists_each_with_a_line(capsys):
    assert main(["generators"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert tuple(line.split()[0] for line in lines) == names()
    assert all(len(line.split()) > 3 for line in lines)


def test_generators_marks_those_that_can_be_private_as_their_recipes_declare(capsys):
    assert main(["generators"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert tuple(name for name, mark, *_ in lines if mark == "private") == private_names()
    marks = {row.split("`")[1]: row.split("|")[2].strip() for row in generator_table().splitlines()[2:]}
    assert marks == {name: "private" * (name in private_names()) for name in names()}


def test_a_package_that_brings_a_generator_is_not_said_to_be_private(monkeypatch):
    point = EntryPoint("tabular.mst", "synth_components.generators.tabular.mst", GROUP)
    assert mark_of("tabular.mst") == "private"
    monkeypatch.setattr("synth_components.steps.catalogue.brought", lambda: (point,))
    assert mark_of("tabular.mst") == ""


def test_the_log_is_left_as_it_was(folder):
    import logging

    before = list(logging.getLogger("synth_components").handlers)
    main(list(SPLIT))
    assert logging.getLogger("synth_components").handlers == before


def test_write_text_leaves_nothing_behind_when_it_fails(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        record.write_text(tmp_path / "a.txt", "\ud800")
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_gets_no_bars_and_ctrl_c_leaves_no_half_written_file(folder):
    quick = {**os.environ, "OMP_NUM_THREADS": "1"}
    synth = [sys.executable, "-m", "synth_components"]
    options = ["--data", "t.csv", "--model", "model", "--generator", "tabular.independent"]
    trained = subprocess.run([*synth, "train", *options], env=quick, capture_output=True, check=True, timeout=50)
    assert trained.stdout == b""
    assert b"\x1b" not in trained.stderr
    assert b"\r" not in trained.stderr

    endless = ["sample", "--model", "model", "--synthetic", "many.csv", "--num-rows", "1000000000"]
    process = subprocess.Popen(
        [*synth, *endless],
        env=quick,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background ignores SIGINT, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 40
        # Once there are rows in it: in the microseconds after a file is made nobody would remove it.
        while not any(part.stat().st_size for part in folder.glob(".many.csv.*")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        partial = sorted(path.name for path in folder.iterdir())
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=30)
    finally:
        process.kill()

    assert len(partial) == 4  # the table, the model, its record, and what was being written
    assert process.returncode == 130
    assert shown == "synth sample: interrupted; nothing half-written was left\n"
    assert sorted(path.name for path in folder.iterdir()) == ["model", "model.run.json", "t.csv"]
