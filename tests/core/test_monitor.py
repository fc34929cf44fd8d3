"""The monitor: what it scores, when it stops, whom it calls."""

import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.config import ConfigError
from synth_components.errors import DataError, UnsupportedError
from synth_components.generators import module_of, recipe_type
from synth_components.generators.tabular.independent import Independent
from synth_components.monitor import QualityMonitor
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Dataset, Run
from synth_components.schema import TABLE, Text
from synth_components.steps.train import TrainConfig, monitored
from synth_components.toy import toy_table


class Fixed:
    """A sampler of given rows."""

    def __init__(self, data):
        self.data = data

    def sample(self, n, *, rng, given=None):
        return replace(self.data, tables={TABLE: self.data.table.iloc[:n]})


@pytest.fixture(scope="module")
def alone():
    fitted = Independent(knots=50).fit(toy_table(0), rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
    return Fixed(fitted.sample(400, rng=np.random.default_rng(0)))


FRESH = Fixed(toy_table(2))


def test_quality_tells_fresh_rows_from_independent_columns_and_repeats_itself(alone):
    monitor = QualityMonitor(toy_table(1))
    fresh, poor = monitor.judge(FRESH, 1), monitor.judge(alone, 2)
    assert poor["quality_pairs"] < fresh["quality_pairs"]
    assert poor["quality_detection"] < fresh["quality_detection"] - 0.2
    assert fresh["quality"] == pytest.approx(
        (fresh["quality_shape"] + fresh["quality_pairs"] + fresh["quality_detection"]) / 3
    )
    assert all(0 <= value <= 1 for value in (*fresh.values(), *poor.values()))
    assert QualityMonitor(toy_table(1)).judge(FRESH, 1) == fresh


def test_training_ends_after_so_many_judgements_without_a_better_one(alone):
    monitor = QualityMonitor(toy_table(1), every=2, patience=2)
    assert [monitor.is_due(epoch) for epoch in (1, 2, 3, 4)] == [False, True, False, True]
    ends = []
    for epoch, sampler in ((2, FRESH), (4, alone), (6, alone)):
        monitor.judge(sampler, epoch)
        ends.append(monitor.is_over(epoch))
    assert (ends, monitor.best_epoch) == ([False, False, True], 2)
    assert not QualityMonitor(toy_table(1)).is_over(99)  # without patience it never ends a training


def test_of_one_sequence_a_monitor_has_what_comes_last():
    data = toy_table(rows=500)
    table = data.table.assign(age=np.random.default_rng(0).permutation(500))
    config = TrainConfig(monitor_every=1, monitor_share=0.2)
    recipe = recipe_type("tabular.transformer").parse({"order_by": "age"})
    kept, monitor = monitored(Dataset({TABLE: table}, data.schema), config, recipe)
    assert kept.table["age"].tolist() == list(range(400))
    assert monitor.held_out.table["age"].tolist() == list(range(400, 500))


def test_an_alert_is_called_below_the_threshold_and_not_at_the_first_judgement(alone, caplog):
    called = []
    monitor = QualityMonitor(toy_table(1), alert_below=1.0, alert=lambda epoch, scores: called.append(epoch))
    for epoch in (1, 2):
        monitor.judge(alone, epoch)
    assert called == [2]
    loud = QualityMonitor(toy_table(1), alert_below=1.0)
    with caplog.at_level(logging.WARNING):
        for epoch in (1, 2):
            loud.judge(alone, epoch)
    assert "after epoch 2 the quality on held-out rows is" in caplog.text


def test_columns_that_are_made_anew_are_not_judged():
    data = toy_table(1)
    columns = {**data.schema.columns, "note": Text()}
    schema = replace(data.schema, tables={TABLE: columns})
    monitor = QualityMonitor(Dataset({TABLE: data.table.assign(note="words")}, schema))
    assert "note" not in monitor.held_out.schema.columns


def test_a_monitor_begins_anew_and_goes_on(alone):
    monitor = QualityMonitor(toy_table(1), patience=1)
    monitor.judge(FRESH, 1)
    assert monitor.best_epoch == 1
    monitor.begin()
    assert (monitor.best, monitor.best_epoch) == (-np.inf, 0)
    monitor.begin(3, 0.5)
    assert (monitor.best, monitor.best_epoch, monitor.is_over(4)) == (0.5, 3, True)


@pytest.mark.parametrize(("option", "value"), [("every", 0), ("every", -1), ("patience", -1), ("max_rows", 0)])
def test_options_out_of_range_are_refused_by_name(option, value):
    with pytest.raises(ConfigError, match=option) as found:
        QualityMonitor(toy_table(1), **{option: value})
    assert found.value.option == option


def test_few_rows_are_refused():
    with pytest.raises(DataError, match="50 held-out rows"):
        QualityMonitor(toy_table(0, rows=20))


def test_a_budget_refuses_a_monitor_before_a_row_is_read():
    data = toy_table(0)
    run = Run(monitor=QualityMonitor(toy_table(1)))
    with pytest.raises(UnsupportedError, match="without noise"):
        synth.fit(data, generator="tabular.aim", epsilon=1.0, run=run)


@pytest.mark.parametrize("generator", synth.generators())
def test_a_generator_that_asks_no_monitor_refuses_one_before_a_row_is_read(generator):
    """The others hand ``loop.train`` a sampler, or judge one: tests/networks trains them under a monitor."""
    recipe = recipe_type(generator)
    source = Path(str(module_of(generator).__file__)).read_text(encoding="utf-8")
    is_asked = bool(re.search(r"sampler=[^,]*\bmade\b", source)) or "monitor.judge(" in source
    if recipe.is_monitored:
        assert is_asked, "it says that it asks a monitor, and gives it nothing to judge"
        return
    assert not is_asked, "it asks a monitor, and does not say so"
    with pytest.raises(UnsupportedError, match=r"asks no monitor.*tabular\.vae"):
        synth.fit({TABLE: pd.DataFrame()}, generator=generator, run=Run(monitor=QualityMonitor(toy_table(1))))
