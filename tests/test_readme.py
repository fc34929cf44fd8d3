import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synth_components.__main__ import main
from synth_components.steps.catalogue import generator_table, option_table

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a small stand-in for the table of the tour."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    age = rng.integers(18, 80, 300)
    table = pd.DataFrame(
        {
            "age": age,
            "sex": rng.choice(["Female", "Male"], 300, p=[0.4, 0.6]),
            "income": np.where(age + rng.normal(0, 12, 300) > 55, ">50K", "<=50K"),
        }
    )
    table.to_csv("adult.csv", index=False)
    return tmp_path


def test_the_tables_of_the_readme_are_those_that_the_code_prints(capsys):
    assert main(["generators", "--markdown"]) == 0
    printed = capsys.readouterr().out
    for table in (generator_table(), option_table("tabular.trees")):
        assert table in printed
        assert table in README  # else copy it from `synth generators --markdown`


def test_the_tour_in_python_runs(folder):
    (code,) = blocks("python")
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert len(names["rows"]) == 1000
    assert set(names["women"]["sex"]) == {"Female"}
    assert list(names["rows"]) == ["age", "sex", "income"]
    assert {"report.json", "report.md", "report.html"} <= {path.name for path in (folder / "adult-report").iterdir()}
    added = names["more"]
    assert added["income"].value_counts().nunique() == 1
    assert set(added["provenance"]) == {"original", "synthetic"}


@pytest.mark.slow
def test_the_tour_on_the_command_line_runs(folder):
    (text,) = blocks("sh")
    lines = [shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines()]
    assert {words[1] for words in lines} >= {"split", "profile", "train", "sample", "evaluate", "gate", "run"}
    assert [(words[1], main([*words[1:], "--quiet"])) for words in lines] == [(words[1], 0) for words in lines]
    assert (folder / "synth-run" / "report.html").exists()
