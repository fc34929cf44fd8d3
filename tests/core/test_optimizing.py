"""What is done after a missed threshold: what reports recommend, within bounds, on training rows alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.circumstances import Circumstances, within
from synth_components.config import ConfigError
from synth_components.errors import BudgetExceededError, DataError, SchemaError, StoppedError, UnsupportedError
from synth_components.evaluation.options import EvaluateConfig
from synth_components.generators import recipe_type
from synth_components.monitor import QualityMonitor
from synth_components.privacy.budget_file import BudgetFile
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Budget, Dataset, Run
from synth_components.schema import TABLE, Numeric, Schema
from synth_components.selection.optimizing import OptimizeConfig, _parts, auto_optimize

ALONE, TREES = "tabular.independent", "tabular.trees"
QUICK = {
    "replicates": 10, "detector_rows": 200, "detector_folds": 2, "manifold_rows": 100, "global_utility": False,
    "attacks": (),
}  # fmt: skip


def dependent(n=500, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    noisy = 2 * x + rng.normal(0, 0.3, n)
    return pd.DataFrame({"x": x.round(3), "y": noisy.round(3), "z": np.where(x > 0.4, "a", "b")})


def optimize(table=None, *, min_quality=0.8, config=None, **options):
    return auto_optimize(
        dependent() if table is None else table,
        evaluate=EvaluateConfig(**QUICK, min_quality=min_quality),
        config=OptimizeConfig(**(config or {})),
        **options,
    )


def test_leaves_that_are_too_large_are_mended_by_what_the_report_recommends():
    model, found = optimize(generator=TREES, options={"min_leaf": 5_000})
    first, second = found.rounds
    assert first.missed
    assert first.quality < 0.8 <= second.quality
    assert not second.missed
    assert second.changed == ("min_leaf 5000 -> 30",)
    assert second.because[0].startswith("the pair 'x' and 'y' is ")
    assert found.best == second
    assert found.ended == "It reaches every threshold"
    assert model.manifest.options["min_leaf"] == 30
    assert model.manifest.rows == 500  # fitted again on all of them
    rows = model.sample(500, seed=0)
    assert rows["x"].corr(rows["y"]) > 0.9


def test_independent_columns_are_mended_by_another_generator_and_the_model_says_so(tmp_path):
    model, found = optimize(generator=ALONE)
    assert [one.generator for one in found.rounds] == [ALONE, TREES]
    assert model.manifest.generator == TREES
    model.save(tmp_path / "model")
    from synth_components.io.artifact import reasons_of

    told = reasons_of(tmp_path / "model")
    assert told == found.told()
    assert told[0].startswith(
        "auto_optimize tried 2 settings, each fitted on 400 training rows and judged by 100 others"
    )
    assert "tabular.trees, instead of tabular.independent, because the pair" in told[2]
    assert told[3] == "Round 2 was kept, and fitted on all training rows. It reaches every threshold."


def test_a_setting_that_misses_nothing_is_kept_as_it_is():
    model, found = optimize(generator="tabular.gaussian_copula", options={"knots": 400})
    assert len(found.rounds) == 1
    assert found.best.options == {"knots": 400}
    assert model.manifest.options["knots"] == 400


def test_where_nothing_can_be_changed_it_says_so_and_what_is_left_to_a_person():
    _, found = optimize(generator=TREES, min_quality=1.0)
    assert len(found.rounds) == 1
    assert found.best.missed
    assert found.ended.startswith("No setting that was tried reaches every threshold, and no recommendation is left")
    assert found.ended in found.told()[-2]


def test_a_privacy_knob_leaves_its_default_only_if_that_is_asked_for():
    asked = {"generator": TREES, "options": {"n_trees": 1}, "min_quality": 1.0}
    table = dependent(300)
    table["w"] = (table["x"] * 3).round() % 3  # follows x in steps that leaves of 30 rows do not tell
    _, kept = optimize(table, **asked, config={"rounds": 2})
    assert len(kept.rounds) == 1
    _, loosened = optimize(table, **asked, config={"rounds": 2, "loosen": True})
    assert "min_leaf 30 -> 15" in loosened.rounds[1].changed


def test_rounds_and_seconds_are_bounded():
    _, few = optimize(generator=ALONE, config={"rounds": 1})
    assert [one.generator for one in few.rounds] == [ALONE]
    assert few.ended.endswith("no more than 1 were asked for")
    heard = []
    _, short = optimize(generator=ALONE, config={"time_limit": 1e-3}, on_round=heard.append)
    assert heard == list(short.rounds)
    assert len(short.rounds) == 1
    assert short.ended.endswith("time was over")


HARMED = """
from dataclasses import replace

from synth_components.errors import UnsupportedError
from synth_components.generators.tabular.independent import Independent, IndependentSampler


class Harmed(Independent):
    is_refused: bool = False
    is_broken: bool = False

    def fit(self, data, *, rng, ledger, run):
        if self.knots < 500:
            return super().fit(data, rng=rng, ledger=ledger, run=run)
        if self.is_broken:
            raise ValueError("this is a cell")
        if self.is_refused:
            raise UnsupportedError("no")
        few = data.table.sort_values("x").iloc[:60].reset_index(drop=True)
        return super().fit(replace(data, tables={data.schema.root: few}), rng=rng, ledger=ledger, run=run)


GENERATOR = Harmed
SAMPLER = IndependentSampler
"""


@pytest.fixture
def harmed(tmp_path, monkeypatch):
    """The name of a generator that gets worse by what a report recommends, or refuses it."""
    (tmp_path / "harmed.py").write_text(HARMED, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return {"generator": "harmed", "trust": ("harmed",), "min_quality": 1.0, "config": {"rounds": 2}}


def test_what_makes_it_worse_is_tried_and_not_kept(harmed):
    table = pd.DataFrame({"x": np.random.default_rng(0).exponential(size=400) ** 2})
    model, found = optimize(table, **harmed, options={"knots": 2})
    first, second = found.rounds
    assert "knots 2 -> 500" in second.changed
    assert second.quality < first.quality
    assert found.best == first
    assert model.manifest.options["knots"] == 2


def test_what_the_generator_refuses_is_noted_and_not_kept(harmed):
    table = pd.DataFrame({"x": np.random.default_rng(0).exponential(size=400) ** 2})
    _, found = optimize(table, **harmed, options={"knots": 2, "is_refused": True})
    assert found.rounds[1].note == "it was refused (UnsupportedError)"
    assert found.kept == 0
    assert found.told()[2].endswith("it was refused (UnsupportedError).")


def test_a_fault_of_a_later_setting_is_told_by_type_and_costs_the_search_nothing(harmed, caplog):
    table = pd.DataFrame({"x": np.random.default_rng(0).exponential(size=400) ** 2})
    _, found = optimize(table, **harmed, options={"knots": 2, "is_broken": True})
    assert found.rounds[1].note == "it failed (ValueError)"
    assert found.kept == 0
    assert "failed: ValueError" in caplog.text
    assert "cell" not in caplog.text
    with pytest.raises(ValueError, match="cell"):  # of what was asked for the caller hears
        optimize(table, **harmed, options={"knots": 500, "is_broken": True})


def in_sequences():
    """Rows of 40 persons, of whom nobody's value says when it was."""
    rng = np.random.default_rng(0)
    who, at = np.repeat(np.arange(40), 8), np.tile(np.arange(8), 40)
    x = np.cumsum(rng.normal(size=(40, 8)), axis=1).ravel()
    return pd.DataFrame({"who": who, "at": at, "x": x.round(2), "y": (2 * x + rng.normal(0, 0.1, 320)).round(2)})


@pytest.mark.parametrize("said_by", ["options", "schema"])
def test_no_generator_that_knows_no_sequences_is_taken_for_one_that_learns_them(said_by):
    table, generator, options, schema = in_sequences(), "tabular.markov", {"group": "who", "order_by": "at"}, None
    if said_by == "schema":
        generator, options = ALONE, {}
        schema = replace(synth.profile(table).schema, order={TABLE: "at"})
    model, found = optimize(
        table, generator=generator, options=options, schema=schema, min_quality=1.0, config={"rounds": 9}
    )
    assert {one.generator for one in found.rounds} == {generator} == {model.manifest.generator}
    assert found.ended.endswith(
        "; tabular.trees was not taken: it knows nothing of sequences, which the rows are, and the report sees single "
        "rows"
    )
    assert "each setting was judged by single rows, and not by how they follow" in found.told()[1]


def test_what_asks_no_monitor_is_not_taken_where_the_last_fit_has_one(harmed, monkeypatch):
    monkeypatch.setattr(recipe_type("harmed", trust=("harmed",)), "is_monitored", True)
    monitor = QualityMonitor(Dataset({TABLE: dependent(60)}, synth.profile(dependent(60)).schema))
    model, found = optimize(**{**harmed, "config": {"rounds": 3}}, options={"knots": 4}, run=Run(monitor=monitor))
    assert {one.generator for one in found.rounds} == {"harmed"} == {model.manifest.generator}
    assert "tabular.trees was not taken: it asks no monitor while it trains" in found.ended
    assert "The monitor is of the last fit, and no setting that was tried had one." in found.told()
    with pytest.raises(UnsupportedError, match=r"tabular\.trees asks no monitor"):
        optimize(Unread.__new__(Unread), run=Run(monitor=monitor), generator=TREES)
    with pytest.raises(UnsupportedError, match="does not go on from a model"):
        optimize(Unread.__new__(Unread), run=Run(warm_start=Path("model")))


LEARNING = """
from dataclasses import replace

from pydantic import Field

from synth_components.generators.tabular.gaussian_copula import GaussianCopula, GaussianCopulaSampler


class Learning(GaussianCopula):
    epochs: int = Field(1, ge=1, le=100)
    hidden: int = Field(8, ge=1, le=16)

    def fit(self, data, *, rng, ledger, run):
        if self.epochs * self.hidden < 24:  # then it has not learnt what goes together
            mixed = {name: rng.permutation(values) for name, values in data.table.items()}
            data = replace(data, tables={data.schema.root: data.table.assign(**mixed)})
        return super().fit(data, rng=rng, ledger=ledger, run=run)


GENERATOR = Learning
SAMPLER = GaussianCopulaSampler
"""


def test_a_generator_that_learns_in_passes_is_given_more_of_them_and_more_width(tmp_path, monkeypatch):
    (tmp_path / "learning.py").write_text(LEARNING, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    model, found = optimize(generator="learning", trust=("learning",), min_quality=0.75)
    first, second = found.rounds
    assert first.missed
    assert {"epochs 1 -> 2", "hidden 8 -> 16"} <= set(second.changed)
    assert not second.missed
    assert model.manifest.options["epochs"] == 2


def test_a_mistake_in_the_setting_that_was_asked_for_is_an_error():
    with pytest.raises(ConfigError, match="leaves"):
        optimize(generator=TREES, options={"leaves": 3})
    with pytest.raises(SchemaError):
        optimize(schema=Schema({TABLE: {"other": Numeric()}}))


class Unread(pd.DataFrame):
    """A table that nobody may look at."""

    def __getattribute__(self, name):
        if name in {"iloc", "loc", "columns", "_mgr", "__len__", "shape", "dtypes"}:
            raise AssertionError(f"a row was read, by {name}")
        return super().__getattribute__(name)


def test_a_budget_refuses_before_a_row_is_read(tmp_path):
    unread = Unread.__new__(Unread)
    with pytest.raises(BudgetExceededError):
        optimize(unread, ledger=Ledger(Budget(1.0, 1e-6)))
    BudgetFile.create(tmp_path / "b", Budget(1.0, 1e-6), name="d")
    with within(Circumstances(budget_file=str(tmp_path / "b"))), pytest.raises(BudgetExceededError):
        optimize(unread)
    with pytest.raises(AssertionError, match="a row was read"):
        optimize(unread)


def test_without_a_threshold_or_with_a_private_report_there_is_nothing_to_mend():
    with pytest.raises(ConfigError, match="give min_quality"):
        optimize(min_quality=0.0)
    with pytest.raises(ConfigError, match="leave privacy=dp out"):
        auto_optimize(dependent(), evaluate=EvaluateConfig(privacy="dp", epsilon=1.0), missed=lambda _: ("all",))


@pytest.mark.parametrize(
    ("most", "judged_by", "whole"),
    [
        # Nine of 43 persons with seven rows each, but the last with six; a fifth of the rows by themselves is 60.
        (300, {62, 63}, {300}),
        # Of 28 persons, which is 196 rows or one less, six.
        (200, {41, 42}, {195, 196}),
    ],
    ids=["all", "some"],
)
def test_the_rows_of_a_unit_are_learned_from_or_judged_by(most, judged_by, whole):
    table = dependent(300).assign(person=np.arange(300) // 7)
    judged = []

    def missed(report):
        judged.append(report.rows)
        return ()

    auto_optimize(
        table[["x", "y", "person"]],
        generator=ALONE,
        evaluate=EvaluateConfig(**QUICK),
        unit=("person",),
        missed=missed,
        config=OptimizeConfig(share=0.2, optimize_rows=most),
    )
    (rows,) = judged
    assert rows["holdout"] in judged_by
    assert sum(rows[side] for side in ("train", "holdout")) in whole


@pytest.mark.parametrize("kind", ["frame", "dataset"])
def test_of_one_sequence_the_last_rows_are_taken_and_judge(kind):
    table = dependent(300).assign(at=np.random.default_rng(0).permutation(300))
    schema = synth.profile(table).schema
    rows, known = (table, schema) if kind == "frame" else (Dataset({TABLE: table}, schema), None)
    config = OptimizeConfig(share=0.2, optimize_rows=200)
    sides = _parts(rows, known, "tabular.markov", {"order_by": "at"}, config, (), 0, ())
    assert [side.table["at"].tolist() for side in sides] == [list(range(100, 260)), list(range(260, 300))]


def test_of_many_rows_some_are_taken_and_too_few_are_refused():
    _, found = optimize(generator="tabular.gaussian_copula", config={"optimize_rows": 200})
    assert found.rows == (160, 40)
    with pytest.raises(DataError, match="too few to judge"):
        optimize(dependent(60), generator=ALONE)


def test_linked_tables_are_refused():
    schema = Schema({"a": {"x": Numeric()}, "b": {"x": Numeric()}}, root="a")
    with pytest.raises(UnsupportedError, match="a single table"):
        optimize(Dataset({"a": dependent()[["x"]], "b": dependent()[["x"]]}, schema))


def test_it_stops_when_asked_between_two_rounds():
    with pytest.raises(StoppedError):
        optimize(generator=ALONE, run=Run(should_stop=lambda: True))


def test_what_auto_chose_is_what_is_changed_and_the_reason_is_told():
    model, found = optimize(dependent(150), generator="auto", min_quality=1.0, config={"rounds": 1})
    assert found.best.generator == model.manifest.generator == "tabular.gaussian_copula"
    assert "there are fewer than 200 rows" in found.told()[1]
