import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synth_components.__main__ import main
from synth_components.errors import DataError
from synth_components.steps import STEPS, load
from synth_components.steps.places import claim, refuse_clashes
from synth_components.steps.port import ports

MAKES_A_FOLDER = {
    "run": ["--data", "t.csv", "--output"],
    "train": ["--data", "t.csv", "--generator", "tabular.independent", "--model"],
    "tune": ["--data", "t.csv", "--generator", "tabular.independent", "--study", "s.json", "--trials", "1", "--model"],
    "specify": ["--specification", "s.yaml", "--model"],
    "select": ["--reports", "r.json", "--models", "m", "--report", "best.json", "--model"],
    "demo": ["--generator", "tabular.independent", "--output"],
}
"""The arguments of each step that makes a folder, but for the folder."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a table, and a folder of someone else's."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pd.DataFrame({"x": rng.normal(size=60).round(3), "y": rng.choice(["a", "b"], 60)}).to_csv("t.csv", index=False)
    for name in ("mine", "m"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years of work")
    (tmp_path / "r.json").write_text("{}")
    (tmp_path / "s.yaml").write_text("columns: {x: {type: boolean}}")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_step_that_makes_a_folder_is_tested_here():
    makes = {
        name
        for name in STEPS
        if any(p.direction == "out" and p.kind in {"model", "directory"} for p in ports(load(name)).values())
    }
    assert makes == set(MAKES_A_FOLDER)


@pytest.mark.parametrize("step", MAKES_A_FOLDER)
def test_a_folder_of_someone_else_survives(folder, capsys, step):
    before = contents(folder)
    assert main([step, *MAKES_A_FOLDER[step], "mine"]) == 2
    assert contents(folder) == before
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("step", MAKES_A_FOLDER)
def test_the_working_directory_survives(folder, step):
    before = contents(folder)
    for place in (".", str(folder), str(folder.parent)):
        assert main([step, *MAKES_A_FOLDER[step], place]) == 2
    assert contents(folder) == before


def test_an_empty_working_directory_does_not_become_a_model(folder, monkeypatch):
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder / "empty")
    arguments = ["--data", "../t.csv", "--generator", "tabular.independent", "--model", "."]
    assert main(["train", *arguments]) == 2
    assert list((folder / "empty").iterdir()) == []


def test_a_model_with_a_file_of_someone_else_in_it_is_not_replaced(folder):
    again = ["train", *MAKES_A_FOLDER["train"], "model"]
    assert [main(again), main(again)] == [0, 0]
    (folder / "model" / "notes.txt").write_text("mine")
    assert main(again) == 2
    assert (folder / "model" / "notes.txt").read_text() == "mine"


def test_a_run_fills_its_own_folder_again_but_no_other(tmp_path):
    claim(tmp_path / "run")
    (tmp_path / "run" / "train.parquet").write_bytes(b"")
    claim(tmp_path / "run")
    (tmp_path / "run" / "stages.json").write_text("not ours")
    with pytest.raises(DataError, match="did not write"):
        claim(tmp_path / "run")


@pytest.mark.parametrize(
    "arguments",
    [
        ["split", "--data", "t.csv", "--train", "t.csv", "--holdout", "h.csv"],
        ["split", "--data", "t.csv", "--train", "h.csv", "--holdout", "mine/../t.csv"],
        ["split", "--data", "t.csv", "--train", "same.csv", "--holdout", "same.csv"],
        ["split", "--data", "t.csv", "--train", "link.csv", "--holdout", "h.csv"],
        ["split", "--data", "t.csv", "--train", "mine", "--holdout", "h.csv"],
        ["profile", "--data", "t.csv", "--schema", "t.csv"],
        ["sample", "--model", "m", "--synthetic", "m/synthetic.csv"],
        ["merge", "--parts", "t.csv", "--parts", "r.json", "--merged", "t.csv"],
        ["merge", "--parts", "mine", "--merged", "mine/t.csv"],
        ["report", "--report", "r.json", "--page", "r.json"],
        ["augment", "--data", "t.csv", "--model", "m", "--augmented", "t.csv"],
        ["run", "--data", "mine/thesis.txt", "--output", "mine"],
        ["split", "o.yaml", "--data", "t.csv", "--train", "o.yaml", "--holdout", "h.csv"],
        ["split", "--data", "t.csv.run.json", "--train", "t.csv", "--holdout", "h.csv"],
    ],
)
def test_an_output_that_touches_an_input_or_another_output_is_refused(folder, capsys, arguments):
    (folder / "link.csv").symlink_to("t.csv")
    (folder / "o.yaml").write_text("share: 0.5\n")
    (folder / "t.csv.run.json").write_text("[]")
    before = contents(folder)
    assert main(arguments) == 2
    assert contents(folder) == before
    assert "name" in capsys.readouterr().err


@pytest.mark.parametrize("step", STEPS)
def test_no_step_may_write_over_an_input_or_twice_to_one_file(step, tmp_path):
    known = ports(load(step))
    for out in (name for name, port in known.items() if port.direction == "out"):
        for other in known:
            if other != out:
                places = {other: (tmp_path / "same",) if known[other].many else tmp_path / "same"}
                with pytest.raises(DataError, match="same"):
                    refuse_clashes(load(step), {**places, out: tmp_path / "same"})


def test_places_of_an_object_store_clash_by_their_address():
    split = load("split")
    places = {"data": "s3://bucket/t.csv", "train": "s3://bucket/t.csv", "holdout": Path("h.csv")}
    with pytest.raises(DataError, match="--train and --data"):
        refuse_clashes(split, places)
    refuse_clashes(split, {**places, "train": "s3://bucket/train.csv"})


def test_a_page_may_stand_beside_the_report_that_it_draws(folder):
    (folder / "run").mkdir()
    (folder / "run" / "report.json").write_text(json.dumps({}))
    refuse_clashes(load("report"), {"report": Path("run"), "page": Path("run/page.html")})
