"""A table that stays on disk is read whole, sampled fairly, or refused: never judged by its first rows."""

import json

import numpy as np
import pandas as pd
import pytest

from synth_components.augment import AugmentConfig
from synth_components.errors import UnsupportedError
from synth_components.evaluation import FidelityConfig, evaluate
from synth_components.fitting import fit
from synth_components.io import dataset as storage
from synth_components.io.dataset import read_dataset, read_table, write_table
from synth_components.protocols import Dataset
from synth_components.schema import Categorical, Numeric, Schema
from synth_components.split import some_of, split_batches
from synth_components.steps.augment import augment
from synth_components.steps.split import SplitConfig, split
from synth_components.steps.train import TrainConfig, train

SCHEMA = Schema(
    {
        "table": {
            "row": Numeric(dtype="int64", places=0, low=0, high=10_000),
            "person": Categorical(dtype="str", categories=tuple(f"p{i}" for i in range(100)), public=True),
        }
    }
)


def rows(n):
    """Return rows whose people each come back every 100 rows; ``row`` grows from head to tail."""
    return pd.DataFrame({"row": np.arange(n), "person": pd.Series([f"p{i % 100}" for i in range(n)], dtype="str")})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("lazy") / "rows.parquet"
    write_table(rows(1_000), path)
    return path


class Stream(Dataset):
    """A lazy dataset in batches of 64 rows, as a large file gives them."""

    @property
    def is_lazy(self):
        return True

    @property
    def table(self):
        raise UnsupportedError("lazy")

    def batches(self, table="table", rows=64):
        return super().batches(table, 64)


STREAM = Stream({"table": rows(1_000)}, SCHEMA)


def test_the_first_rows_cannot_be_taken_for_the_table(place):
    data = read_dataset(place, schema=SCHEMA, max_bytes=0)
    assert data.is_lazy
    with pytest.raises(UnsupportedError, match="max_bytes"):
        _ = data.table


@pytest.mark.parametrize("generator", ["tabular.independent", "tabular.gaussian_copula"])
def test_a_generator_that_needs_all_rows_at_once_refuses(place, generator):
    with pytest.raises(UnsupportedError, match=r"tabular\.trees"):
        fit(read_dataset(place, schema=SCHEMA, max_bytes=0), generator=generator, seed=0)


def test_a_sample_over_batches_is_uniform_and_in_order():
    hits = np.zeros(1_000)
    for seed in range(400):
        drawn = some_of(STREAM, 100, rng=np.random.default_rng(seed))["row"].to_numpy()
        assert len(drawn) == 100
        assert np.all(np.diff(drawn) > 0)
        hits[drawn] += 1
    # Each row is drawn Binomial(400, 0.1) times: blocks of 100 rows 4000 times, deviation <= sqrt(100 * 36) = 60.
    assert np.abs(hits.reshape(10, 100).sum(axis=1) - 4_000).max() < 5 * 60
    # Variance of the count of a row: 400 * 0.1 * 0.9 = 36; of its estimate over 1000 rows: 36 * sqrt(2 / 1000) = 1.6.
    assert abs(hits.var() - 36) < 5 * 1.6


def test_a_sample_of_more_rows_than_there_are_is_the_table():
    pd.testing.assert_frame_equal(some_of(STREAM, 5_000, rng=np.random.default_rng(0)), rows(1_000))


def test_evaluate_judges_a_sample_of_the_whole_table_and_says_so():
    config = FidelityConfig(table_rows=300, replicates=10, detector_rows=50, detector_folds=2, manifold_rows=50)
    real = rows(1_000).sample(frac=1, random_state=0, ignore_index=True)
    found = evaluate(real, real.iloc[::2].reset_index(drop=True), STREAM, schema=SCHEMA, config=config)
    assert found.rows["synthetic"] == 300
    assert any("300 of its 1000 rows" in note and "synthetic" in note for note in found.notes)
    shape = next(s for s in found.scores if s.name == "fidelity.marginal.ks" and s.subject == ("row",))
    # 300 rows of the same law: KS < 1.95 * sqrt(1/300 + 1/1000) = 0.13 but once in 1000; the first 300 would give 0.7.
    assert shape.value > 1 - 0.13


@pytest.mark.parametrize("unit", [(), ("person",)])
def test_batches_split_into_disjoint_sides_that_keep_units_whole(unit):
    sides = list(split_batches(STREAM, share=0.3, rng=np.random.default_rng(1), unit=unit))
    train, holdout = (pd.concat([side[i] for side in sides]) for i in (0, 1))
    assert sorted([*train["row"], *holdout["row"]]) == list(range(1_000))
    if unit:
        assert not set(train["person"]) & set(holdout["person"])
        # 100 people, each held out with probability 0.3: 30 +- 4.6
        assert abs(holdout["person"].nunique() - 30) < 4 * 4.6
    else:
        assert len(holdout) == 300


def test_the_split_step_streams_a_large_table_and_refuses_strata(place, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "MAX_BYTES", 0)
    out = {"train": tmp_path / "train.parquet", "holdout": tmp_path / "holdout.parquet"}
    with pytest.raises(UnsupportedError, match="stratify"):
        split(SplitConfig(stratify="person"), data=place, **out)
    assert not list(tmp_path.iterdir())
    split(SplitConfig(share=0.25, seed=3), data=place, **out)
    train_rows, holdout_rows = (read_table(path) for path in out.values())
    assert len(holdout_rows) == 250
    assert sorted([*train_rows["row"], *holdout_rows["row"]]) == list(range(1_000))


def test_augment_refuses_a_table_that_stays_on_disk(place, tmp_path, monkeypatch):
    fit(rows(1_000), generator="tabular.independent", schema=SCHEMA, seed=0).save(tmp_path / "model")
    lazy = read_dataset(place, schema=SCHEMA, max_bytes=0)
    monkeypatch.setattr(storage, "read_dataset", lambda *_, **__: lazy)
    with pytest.raises(UnsupportedError, match="synth split"):
        augment(AugmentConfig(), data=place, model=tmp_path / "model", augmented=tmp_path / "more.csv")
    assert not (tmp_path / "more.csv").exists()


@pytest.mark.parametrize("is_large", [False, True])
def test_training_without_a_schema_lists_the_profile_in_the_ledger(place, tmp_path, monkeypatch, is_large):
    if is_large:
        monkeypatch.setattr(storage, "MAX_BYTES", 0)
        monkeypatch.setattr(storage, "read_dataset", lambda *a, **k: read_dataset(*a, **{**k, "max_bytes": 0}))
    options = {"n_trees": 1, "max_grow_rows": 999}
    train(TrainConfig(generator="tabular.trees", generator_options=options), data=place, model=tmp_path / "m")
    ledger = json.loads((tmp_path / "m" / "ledger.json").read_text())
    labels = [entry["label"] for entry in ledger["entries"]]
    assert sum("profile" in label for label in labels) == 1
    assert any(label.startswith("fit ") for label in labels)
