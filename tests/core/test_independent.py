"""Independent columns: one marginal each, also where a column is two features."""

import numpy as np
import pandas as pd

import synth_components as synth


def fitted(values, **options):
    table = pd.DataFrame({"x": pd.array(values, dtype="Int64"), "k": [1] * len(values)})
    low, high = min(v for v in values if v is not None), max(v for v in values if v is not None)
    columns = {
        "x": {"type": "numeric", "dtype": "Int64", "low": low, "high": high, "places": 0, "nullable": True},
        "k": {"type": "numeric", "dtype": "int64", "low": 1, "high": 1, "places": 0},
    }
    return synth.fit(table, schema={"columns": columns}, generator="tabular.independent", seed=1, **options)


def test_the_halves_of_a_wide_integer_are_null_together():
    values = pd.DataFrame({"x": pd.array([None, 2**60] + [2**62] * 20, dtype="Int64"), "k": [1] * 22})
    drawn = synth.fit(values, generator="tabular.independent", seed=1).sample(400, seed=1)["x"]
    # 1 of 22 is null: 18 of 400, and none has a chance of (21 / 22) ** 400 < 1e-8
    assert 0 < drawn.isna().sum() < 60
    assert set(drawn.dropna()) == {2**62}


def test_wide_integers_are_drawn_whole():
    values = [2**60 + 5] * 100 + [2**62 + 7] * 100 + [2**60 + 9] * 50 + [None] * 20
    drawn = fitted(values).sample(2_000, seed=1)["x"]
    assert set(drawn.dropna()) == {2**60 + 5, 2**60 + 9, 2**62 + 7}
    # 4 sigma of a share of 50 in 270
    assert abs((drawn == 2**60 + 9).mean() - 50 / 270) < 4 * np.sqrt(50 / 270 * 220 / 270 / 2_000)


def test_wide_integers_keep_single_values_beside_a_continuum():
    rng = np.random.default_rng(0)
    spread = rng.integers(2**58, 2**61, 500)
    drawn = fitted([2**57 + 3] * 500 + [int(v) for v in spread]).sample(2_000, seed=1)["x"]
    is_single = drawn == 2**57 + 3
    assert abs(is_single.mean() - 0.5) < 4 * np.sqrt(0.25 / 2_000)
    others = drawn[~is_single].astype("float64")
    # A continuum, uniform on [2^58, 2^61]: values all but distinct, quartiles within 4 sigma of 500 drawn and learned
    assert others.nunique() > 0.9 * len(others)
    expected = 2**58 + np.array([0.25, 0.5, 0.75]) * (2**61 - 2**58)
    assert np.all(np.abs(others.quantile([0.25, 0.5, 0.75]) - expected) < 4 * 0.5 / np.sqrt(330) * 2**61)


def test_a_saved_wide_integer_draws_the_same(tmp_path):
    model = fitted([2**60 + 5] * 100 + [2**62 + 7] * 100 + list(range(2**61, 2**61 + 50)))
    model.save(tmp_path / "m")
    pd.testing.assert_frame_equal(synth.load(tmp_path / "m").sample(500, seed=2), model.sample(500, seed=2))
