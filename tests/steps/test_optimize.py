"""A run that follows the recommendations of reports: it keeps off the holdout, and says what it did."""

import json

import numpy as np
import pandas as pd
import pytest

from synth_components.circumstances import Circumstances, within
from synth_components.config import ConfigError
from synth_components.errors import BudgetExceededError, ThresholdError, UnsupportedError
from synth_components.io.dataset import read_table
from synth_components.model import Model
from synth_components.privacy.budget_file import BudgetFile
from synth_components.protocols import Budget
from synth_components.steps.optimize import OptimizedTrainConfig, auto_optimize
from synth_components.steps.reuse import digest
from synth_components.steps.run import RunConfig, run

QUICK = {
    "replicates": 10, "detector_rows": 150, "detector_folds": 2, "manifold_rows": 60, "global_utility": False,
    "attacks": [],
}  # fmt: skip
BAD = {"generator": "tabular.trees", "generator_options": {"min_leaf": 5_000}}
OPTIONS = {
    "train": BAD, "sample": {"num_rows": 300}, "evaluate": {**QUICK, "min_quality": 0.75}, "auto_optimize": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    return pd.DataFrame({"x": x.round(3), "y": (2 * x + rng.normal(0, 0.3, 500)).round(3)})


@pytest.fixture(scope="module")
def folder(table, tmp_path_factory):
    """The output of a run whose setting is mended."""
    folder = tmp_path_factory.mktemp("optimize")
    table.to_csv(folder / "real.csv", index=False)
    run(RunConfig.parse(OPTIONS), data=folder / "real.csv", output=folder / "out")
    return folder / "out"


def test_the_run_that_would_miss_its_threshold_reaches_it(folder, tmp_path):
    assert Model.load(folder / "model").manifest.options["min_leaf"] == 30
    assert json.loads((folder / "report.json").read_text())["overall"]["value"] >= 0.75
    plain = RunConfig.parse({name: value for name, value in OPTIONS.items() if name != "auto_optimize"})
    with pytest.raises(ThresholdError):
        run(plain, data=folder.parent / "real.csv", output=tmp_path)


def test_the_report_says_what_was_tried_and_why_and_what_was_kept(folder):
    notes = json.loads((folder / "report.json").read_text())["notes"]
    told = json.loads((folder / "optimization.json").read_text())["told"]
    assert set(told) <= set(notes)
    assert "each fitted on 320 training rows and judged by 80 others; no row of the holdout was read" in told[0]
    assert told[1].startswith("Round 1, tabular.trees, as asked: quality 0.")
    assert any("min_leaf 5000 -> 30, because the pair 'x' and 'y' is" in line for line in told)
    assert told[-1].endswith(" was kept, and fitted on all training rows. It reaches every threshold.")
    assert told[0] in (folder / "report.html").read_text()


def test_the_search_reads_no_row_of_the_holdout(folder, table, tmp_path):
    """Other rows in the holdout change the report, and neither the model nor anything that the search found."""
    held = read_table(folder / "holdout.parquet")
    is_held = table.apply(tuple, axis=1).isin(list(held.apply(tuple, axis=1)))
    assert is_held.sum() == len(held) == 100
    other = table.copy()
    other.loc[is_held, "x"] = np.random.default_rng(1).permutation(other.loc[is_held, "x"]) + 5
    other.to_csv(tmp_path / "real.csv", index=False)
    with pytest.raises(ThresholdError):  # beside such a holdout nothing looks like real rows
        run(RunConfig.parse(OPTIONS), data=tmp_path / "real.csv", output=tmp_path / "out")
    assert not read_table(tmp_path / "out" / "holdout.parquet").equals(held)
    for name in ("train.parquet", "optimization.json", "model"):
        assert digest(tmp_path / "out" / name) == digest(folder / name)


def test_a_run_again_skips_the_search(folder):
    run(RunConfig.parse(OPTIONS), data=folder.parent / "real.csv", output=folder)
    stages = {one["step"]: one["skipped"] for one in json.loads((folder / "run.json").read_text())["stages"]}
    assert stages == {"split": True, "auto_optimize": True, "sample": True, "evaluate": True}


def test_the_thresholds_of_the_gate_count_too(folder, tmp_path):
    asked = {**OPTIONS, "evaluate": QUICK, "gate": {"min_scores": {"fidelity.correlation": 0.8}}}
    run(RunConfig.parse(asked), data=folder.parent / "real.csv", output=tmp_path)
    first, *_, best = json.loads((tmp_path / "optimization.json").read_text())["trials"]
    assert [one.split(" is ")[0] for one in first["missed"]] == ["fidelity.correlation"]
    assert best["missed"] == []


@pytest.mark.parametrize("part", ["train", "evaluate"])
def test_under_a_privacy_budget_it_is_refused_before_a_row_is_read(part):
    asked = {**OPTIONS, part: {"privacy": "dp"}, "gate": {}}
    with pytest.raises(ConfigError, match="auto_optimize reads rows without noise"):
        RunConfig.parse(asked)
    RunConfig.parse({name: value for name, value in asked.items() if name != "auto_optimize"})


def test_a_budget_file_refuses_it_before_a_row_is_read(tmp_path):
    BudgetFile.create(tmp_path / "b", Budget(1.0, 1e-6), name="d")
    with within(Circumstances(budget_file=str(tmp_path / "b"))), pytest.raises(BudgetExceededError):
        run(RunConfig.parse(OPTIONS), data=tmp_path / "there-is-no-table.csv", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_threshold_there_is_nothing_to_mend():
    with pytest.raises(ConfigError, match="give a gate, or min_quality"):
        RunConfig.parse({"auto_optimize": {}})


def test_a_report_that_knows_its_model_gives_the_new_values(folder, tmp_path):
    from synth_components.evaluation.options import EvaluateConfig
    from synth_components.steps.evaluate import evaluate
    from synth_components.steps.train import TrainConfig, train

    train(TrainConfig.parse(BAD), data=folder / "train.parquet", model=tmp_path / "model")
    Model.load(tmp_path / "model").sample(300, seed=0).to_parquet(tmp_path / "drawn.parquet", index=False)
    evaluate(
        EvaluateConfig.parse(QUICK), train=folder / "train.parquet", holdout=folder / "holdout.parquet",
        synthetic=tmp_path / "drawn.parquet", model=tmp_path / "model", report=tmp_path / "r.json",
    )  # fmt: skip
    advice = json.loads((tmp_path / "r.json").read_text())["recommendations"]
    changes = [change for one in advice for change in one["changes"]]
    wanted = {"way": "lower", "generator": "tabular.trees", "option": "min_leaf", "loosens": True, "value": 30}
    assert wanted | {"factor": 2.0} in changes
    assert all(change["value"] is not None for change in changes)


def search(asked, data, folder):
    """Return what the stage writes down; its model goes beside."""
    auto_optimize(OptimizedTrainConfig.parse(asked), data=data, model=folder / "model", search=folder / "search.json")
    return json.loads((folder / "search.json").read_text())


def test_the_stage_alone_mends_what_misses_the_quality_asked_of_its_report(folder, tmp_path):
    asked = {"train": BAD, "evaluate": {**QUICK, "min_quality": 0.75}}
    first, *_, best = search(asked, folder / "train.parquet", tmp_path)["trials"]
    assert [line.split(" is ")[0] for line in first["missed"]] == ["the overall score"]
    assert not best["missed"]
    for more, told in (({"evaluate": QUICK}, "give a gate"), ({"train": {"privacy": "dp"}}, "leave privacy=dp out")):
        with pytest.raises(ConfigError, match=told):
            search(asked | more, tmp_path / "there-is-no-table.csv", tmp_path)


WATCHED = """
from typing import ClassVar

from synth_components.errors import UnsupportedError
from synth_components.generators.tabular.independent import Independent, IndependentSampler


class Watched(Independent):
    is_monitored: ClassVar[bool] = True
    most: int = 1_000

    def fit(self, data, *, rng, ledger, run):
        if run.monitor is None or run.monitor.patience != 7:
            raise ValueError("nobody watches")
        if len(data.table) > self.most:
            raise UnsupportedError("too many rows")
        return super().fit(data, rng=rng, ledger=ledger, run=run)


GENERATOR = Watched
SAMPLER = IndependentSampler
"""


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """What is asked with a generator that is monitored, and of which another one would be better."""
    (tmp_path / "watched.py").write_text(WATCHED, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monitor = {"monitor_every": 1, "monitor_patience": 7, "monitor_share": 0.2}
    train = {"generator": "watched", "trust": ["watched"], "generator_options": {"knots": 2}, **monitor}
    return {"train": train, "evaluate": {**QUICK, "min_quality": 0.99}}


def test_where_a_fit_is_monitored_every_trial_is_and_what_asks_no_monitor_is_not_taken(watched, folder, tmp_path):
    found = search(watched, folder / "train.parquet", tmp_path)
    assert len(found["trials"]) > 1
    assert {(one["generator"], one["note"]) for one in found["trials"]} == {("watched", "")}
    assert "tabular.trees was not taken: it asks no monitor while it trains" in found["told"][-2]
    fitted = Model.load(tmp_path / "model", trust=("watched",)).manifest
    assert (fitted.generator, fitted.rows) == ("watched", 320)  # of 400, of which the monitor has a fifth


def test_what_was_tried_is_kept_where_the_last_fit_fails(watched, folder, tmp_path):
    watched["train"]["generator_options"]["most"] = 300  # a trial has 256, and the last fit 320
    with pytest.raises(UnsupportedError, match="too many rows"):
        search(watched, folder / "train.parquet", tmp_path)
    assert json.loads((tmp_path / "search.json").read_text())["generator"] == "watched"
    assert not (tmp_path / "model").exists()


def test_a_monitor_that_the_generator_does_not_ask_is_refused_before_a_row_is_read(watched, tmp_path):
    watched["train"] |= {"generator": "tabular.trees", "generator_options": {}}
    with pytest.raises(UnsupportedError, match=r"tabular\.trees asks no monitor"):
        search(watched, tmp_path / "there-is-no-table.csv", tmp_path)
