import shlex

import pytest

from synth_components.__main__ import main
from synth_components.io.dataset import read_table
from synth_components.steps.demo import TARGET, breast_cancer


def test_the_table_has_readable_columns_and_a_diagnosis_in_words():
    table = breast_cancer()
    assert table.shape == (569, 31)
    assert set(table[TARGET]) == {"benign", "malignant"}
    assert "mean_radius" in table.columns


@pytest.mark.slow
def test_the_demo_leaves_everything_and_the_commands_that_it_shows_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--output", "out"]) == 0
    shown = capsys.readouterr().out
    assert "Overall score" in shown
    assert {"model", "synthetic.parquet", "report.html"} <= {path.name for path in (tmp_path / "out").iterdir()}

    told = shown.partition("Then try:")[2].replace("\\\n", " ").splitlines()
    commands = [shlex.split(line) for line in told if line.strip() and not line.strip().startswith("#")]
    for words in commands[:2]:
        start = next(i for i, word in enumerate(words) if word in {"sample", "augment"})
        assert main(words[start:]) == 0
    assert set(read_table("out/malignant.csv")[TARGET]) == {"malignant"}
    assert read_table("out/balanced.csv")[TARGET].value_counts().nunique() == 1
