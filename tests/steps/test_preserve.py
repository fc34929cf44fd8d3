import json
import logging

import numpy as np
import pandas as pd
import pytest

from synth_components.config import from_strings, to_strings
from synth_components.constraints import Inequality
from synth_components.errors import DataError, UnsupportedError
from synth_components.evaluation.options import EvaluateConfig
from synth_components.io.dataset import read_table
from synth_components.preserve.options import PreserveConfig
from synth_components.profile import profile
from synth_components.schema import Key, Link, Schema
from synth_components.steps.evaluate import evaluate
from synth_components.steps.preserve import preserve
from synth_components.steps.report_file import read_report
from synth_components.steps.train import TrainConfig, train


def people(rows, seed):
    rng = np.random.default_rng(seed)
    age = rng.integers(20, 80, rows)
    table = {"age": age, "income": 30 * age + rng.normal(0, 400, rows), "ill": age + rng.normal(0, 9, rows) > 50}
    return pd.DataFrame(table).assign(city=np.where(table["ill"], "Rome", "Oslo"))


@pytest.fixture
def folder(tmp_path):
    """A folder with a real table and a synthetic one without associations."""
    people(400, 0).to_csv(tmp_path / "real.csv", index=False)
    rng = np.random.default_rng(1)
    lost = people(300, 2).apply(lambda column: rng.permutation(column.to_numpy()))
    lost.to_csv(tmp_path / "synthetic.csv", index=False)
    return tmp_path


DEFAULT = PreserveConfig()


def mend(folder, config=DEFAULT, **ports):
    preserve(
        config,
        data=folder / "real.csv", synthetic=folder / "synthetic.csv", preserved=folder / "mended.csv", **ports
    )  # fmt: skip
    return read_table(folder / "mended.csv")


def test_the_mended_table_is_written_with_the_values_of_each_column(folder):
    mended, lost = mend(folder), read_table(folder / "synthetic.csv")
    assert list(mended) == list(lost)
    for name in lost:
        assert sorted(mended[name]) == sorted(lost[name])
    assert abs(lost["age"].corr(lost["income"], "spearman")) < 0.2
    assert mended["age"].corr(mended["income"], "spearman") > 0.5


def test_the_residuals_are_written_pair_by_pair_as_json_and_markdown(folder):
    mend(folder, residuals=folder / "residuals.json", text=folder / "residuals.md")
    pairs = json.loads((folder / "residuals.json").read_text())["pairs"]
    assert len(pairs) == 6  # 4 columns
    assert all(pair["met"] and abs(pair["after"] - pair["target"]) <= pair["tolerance"] == 0.05 for pair in pairs)
    text = (folder / "residuals.md").read_text()
    assert "6 of 6 pairs" in text
    assert text.count("\n| ") == 7  # the head and the pairs
    assert "| age | income | spearman |" in text


QUICK = {
    "replicates": 10, "detector_rows": 60, "detector_folds": 2, "manifold_rows": 60, "global_utility": False
}  # fmt: skip


def judged(folder, residuals):
    evaluate(
        EvaluateConfig(**QUICK),
        train=folder / "real.csv", holdout=folder / "real.csv", synthetic=folder / "mended.csv",
        residuals=residuals, report=folder / "report.json", page=folder / "report.html",
    )  # fmt: skip
    return read_report(folder / "report.json")


def test_the_residuals_stand_in_the_report(folder):
    mend(folder, residuals=folder / "residuals.json")
    report = judged(folder, folder / "residuals.json")
    pairs = json.loads((folder / "residuals.json").read_text())["pairs"]
    table = report.tables["preservation"]
    assert table["after"].tolist() == [pair["after"] for pair in pairs]
    assert table[["first", "second"]].to_numpy().tolist() == [pair["pair"] for pair in pairs]
    assert "| age / income | spearman |" in report.to_markdown()
    assert "6 of 6 associations within tolerance" in (folder / "report.html").read_text()


def test_a_file_without_residuals_is_refused(folder):
    mend(folder)
    (folder / "wrong.json").write_text('{"pairs": [{"pair": ["age"]}]}')
    with pytest.raises(DataError, match="hold no list of pairs"):
        judged(folder, folder / "wrong.json")


def test_contradicting_targets_are_told_in_the_log_and_in_the_outputs(folder, caplog):
    real = pd.read_csv(folder / "real.csv").assign(height=np.arange(400) % 97)
    real.to_csv(folder / "real.csv", index=False)
    drawn = pd.read_csv(folder / "synthetic.csv").assign(height=np.arange(300) % 89)
    drawn.to_csv(folder / "synthetic.csv", index=False)
    config = PreserveConfig(targets={"age": {"income": 1.0, "height": 1.0}, "income": {"height": -1.0}})
    with caplog.at_level(logging.WARNING):
        mend(folder, config, residuals=folder / "residuals.json", text=folder / "residuals.md")
    told = json.loads((folder / "residuals.json").read_text())["infeasible"]
    assert [entry["pair"] for entry in told] == [["age", "income"], ["age", "height"], ["income", "height"]]
    assert "contradicts others" in caplog.text
    assert "contradicts others, 0.500 is aimed at" in (folder / "residuals.md").read_text()


def test_the_rules_of_the_model_are_kept(folder):
    rule = Inequality(low="age", high="income")
    real = read_table(folder / "real.csv")
    real = real[rule.allows(real)]
    real.to_csv(folder / "real.csv", index=False)
    drawn = read_table(folder / "synthetic.csv")
    drawn[rule.allows(drawn)].to_csv(folder / "synthetic.csv", index=False)
    (folder / "rules.json").write_text(json.dumps([rule.to_json()]))
    independent = TrainConfig(generator="tabular.independent")
    train(independent, data=folder / "real.csv", constraints=folder / "rules.json", model=folder / "model")
    assert rule.allows(mend(folder, model=folder / "model")).all()


def test_the_schema_names_the_columns_that_move(folder):
    value = profile(read_table(folder / "real.csv")).schema.to_json()
    value["keys"] = {"table": ["age"]}
    (folder / "schema.json").write_text(json.dumps(value))
    mended, lost = mend(folder, schema=folder / "schema.json"), read_table(folder / "synthetic.csv")
    assert mended["age"].equals(lost["age"])
    assert not mended["income"].equals(lost["income"])


def test_linked_tables_are_refused(folder):
    schema = Schema(
        {"table": profile(read_table(folder / "real.csv")).schema.columns, "visit": {"who": Key()}},
        links=(Link("visit", ("who",), "table", ("age",)),),
    )
    (folder / "schema.json").write_text(json.dumps(schema.to_json()))
    with pytest.raises(UnsupportedError, match="links several"):
        mend(folder, schema=folder / "schema.json")
    assert not (folder / "mended.csv").exists()


def test_same_seed_writes_the_same_bytes(folder):
    mend(folder)
    first = (folder / "mended.csv").read_bytes()
    mend(folder)
    assert (folder / "mended.csv").read_bytes() == first
    mend(folder, PreserveConfig(seed=1))
    assert (folder / "mended.csv").read_bytes() != first


def test_targets_travel_as_text():
    config = PreserveConfig(targets={"age": {"income": 0.3}}, mode="strict")
    assert from_strings(PreserveConfig, to_strings(config)) == config
