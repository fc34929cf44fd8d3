"""The referee of the benchmarks, tried on small tables whose right answer is known."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom, ks_2samp

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def _load(name):
    # Not through sys.path: `datasets` of the benchmarks would hide the library of that name from other tests.
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


protocol = _load("protocol")
CATEGORICAL = ("colour", "y")


def table(n, seed):
    """Return a table with dependence between all columns."""
    rng = np.random.default_rng(seed)
    colour = rng.choice(["red", "green", "blue"], n, p=[0.5, 0.3, 0.2])
    a = rng.normal(size=n) + 2.0 * (colour == "red")
    b = a + 0.5 * rng.normal(size=n)
    y = np.where(a + b + rng.normal(size=n) > 2, "yes", "no")
    return pd.DataFrame({"a": a, "b": b, "k": rng.poisson(3, n), "colour": colour, "y": y})


@pytest.fixture(scope="module")
def real():
    return table(3_000, 1)


@pytest.fixture(scope="module")
def fresh():
    return table(3_000, 2)


@pytest.fixture(scope="module")
def shuffled(real):
    return protocol.shuffled(real, 3)


def c2st(real, synthetic, learner="xgboost"):
    if learner == "xgboost":
        pytest.importorskip("xgboost", reason="xgboost is a dependency of the benchmarks only")
    return protocol.c2st(real, synthetic, learner=learner, seed=0, threads=1)


def test_detection_of_an_independent_sample_is_near_one(real, fresh):
    # 1,000 rows a side in each fold: sd(AUC) = sqrt(2001 / (12 * 1e6)) = .013, and 2 * .013 * E|z| * 4 = .08.
    assert c2st(real, fresh) > 0.92


def test_detection_sees_lost_dependence_with_boosting(real, shuffled):
    assert c2st(real, shuffled) < 0.3


def test_detection_by_logistic_regression_is_blind_to_lost_dependence(real, shuffled):
    assert c2st(real, shuffled, "logistic") > 0.9


def test_detection_finds_a_category_that_real_rows_lack(real, fresh):
    strange = fresh.assign(colour="violet")
    assert c2st(real, strange) < 0.01


def test_detection_against_the_holdout_uses_as_many_rows_a_side(real, fresh):
    pytest.importorskip("xgboost", reason="xgboost is a dependency of the benchmarks only")
    assert protocol.c2st_holdout(fresh.iloc[:600], real, learner="xgboost", seed=0, threads=1) > 0.9


def test_errors_of_a_table_with_itself_are_zero(real):
    errors = [
        protocol.shape_error(real, real, CATEGORICAL),
        protocol.pair_error(real, real, CATEGORICAL, bins="own"),
        protocol.pair_error(real, real, CATEGORICAL, bins="shared"),
        protocol.wnmi_error(real, real, CATEGORICAL),
    ]
    assert_allclose(errors, 0, atol=1e-12)


def test_shape_error_is_the_mean_of_ks_and_total_variation():
    a = pd.DataFrame({"x": [1.0, 2.0, 2.0, 4.0], "c": ["u", "u", "v", "v"]})
    b = pd.DataFrame({"x": [2.0, 3.0, 4.0, 5.0], "c": ["u", "w", "w", "w"]})
    # Total variation: (|.5 - .25| + |.5 - 0| + |0 - .75|) / 2 = .75.
    expected = 100 * (ks_2samp(a["x"], b["x"]).statistic + 0.75) / 2
    assert protocol.shape_error(a, b, ["c"]) == pytest.approx(expected)


def test_shuffled_columns_keep_the_shape_and_lose_the_pairs(real, shuffled):
    assert protocol.shape_error(real, shuffled, CATEGORICAL) == pytest.approx(0)
    assert protocol.pair_error(real, shuffled, CATEGORICAL, bins="shared") > 5
    assert protocol.wnmi_error(real, shuffled, CATEGORICAL) > 0.1


def test_own_bins_punish_an_extreme_value_and_shared_bins_do_not(real):
    outlier = real.copy()
    outlier.loc[0, "a"] = 60.0
    own = protocol.pair_error(real, outlier, CATEGORICAL, bins="own")
    shared = protocol.pair_error(real, outlier, CATEGORICAL, bins="shared")
    assert own > 5 > 2 > shared


def test_pair_error_of_two_categories_is_the_total_variation_of_their_table():
    a = pd.DataFrame({"u": ["x", "x", "y", "y"], "v": ["p", "q", "p", "q"]})
    b = pd.DataFrame({"u": ["x", "x", "y", "y"], "v": ["p", "p", "q", "q"]})
    # Joint frequencies .25 each against .5, 0, 0, .5: (4 * .25) / 2 = .5.
    assert protocol.pair_error(a, b, ["u", "v"], bins="own") == pytest.approx(50)


def test_mutual_information_is_one_of_a_copy_and_zero_of_a_constant():
    a = pd.DataFrame({"u": ["x", "y"] * 20, "v": ["p", "q"] * 20})
    b = a.assign(v="p")
    # NMI 1 (a copy) against 0 (a constant): error 1 with weight 1.
    assert protocol.wnmi_error(a, b, ["u", "v"]) == pytest.approx(1)


def test_nearest_distances_equal_brute_force(monkeypatch):
    monkeypatch.setattr(protocol, "CHUNK", 7)
    a, b = table(40, 4), table(60, 5)
    space = protocol.MixedL1(pd.concat([a, b]), CATEGORICAL)
    both = pd.concat([a, b])
    expected = np.zeros((40, 60))
    for c in ("a", "b", "k"):
        expected += np.abs(a[c].to_numpy()[:, None] - b[c].to_numpy()) / (both[c].max() - both[c].min())
    for c in CATEGORICAL:
        expected += 2.0 * (a[c].to_numpy()[:, None] != b[c].to_numpy())
    assert_allclose(space.nearest(a, b, 3), np.sort(expected, axis=1)[:, :3], rtol=1e-4, atol=1e-5)


def test_a_category_unknown_to_the_reference_differs_from_all():
    a = pd.DataFrame({"c": ["u", "v"]})
    space = protocol.MixedL1(a, ["c"])
    assert space.nearest(pd.DataFrame({"c": ["w"]}), a)[0, 0] == 2


def test_dcr_share_of_fresh_rows_is_one_half(fresh):
    members, others = protocol.halves(fresh, 0)
    share = protocol.dcr_share(table(1_500, 6), members, others, CATEGORICAL)["share"]
    # Two halves of 1,500 and 1,500 judged rows: sd < sqrt(.25 / 1500) * 2 for shared neighbours = .026; 4 sigma.
    assert share == pytest.approx(0.5, abs=0.1)


def test_dcr_share_of_released_members_is_one(fresh):
    members, others = protocol.halves(fresh, 0)
    assert protocol.dcr_share(members, members, others, CATEGORICAL)["share"] > 0.99


def test_copies_counts_equal_rows_and_bounds_by_the_holdout(real, fresh):
    part = pd.concat([real.iloc[:300], fresh.iloc[:700]], ignore_index=True)
    found = protocol.copies(part, real, fresh)
    assert found["rate"] == pytest.approx(0.3)
    assert found["holdout_rate"] == 0
    # Zero of n: the bound solves (1 - p)^n = .05.
    assert found["bound"] == pytest.approx(1 - 0.05 ** (1 / len(fresh)))


def test_the_bound_of_copies_leaves_five_percent_below(real, fresh):
    holdout = pd.concat([real.iloc[:30], fresh.iloc[:970]], ignore_index=True)
    bound = protocol.copies(fresh, real, holdout)["bound"]
    assert binom.cdf(30, 1_000, bound) == pytest.approx(0.05)


def test_the_attack_catches_a_release_of_the_members(fresh):
    members, others, reference = protocol.thirds(fresh, 0)
    found = protocol.membership(members, others, reference, members, CATEGORICAL)
    assert found["auc"] > 0.9
    assert found["auc_isolated"] > 0.9


def test_the_attack_fails_on_fresh_rows(fresh):
    members, others, reference = protocol.thirds(fresh, 0)
    found = protocol.membership(members, others, reference, table(1_000, 7), CATEGORICAL)
    # 1,000 against 1,000: sd = .013; 4 sigma.
    assert found["auc"] == pytest.approx(0.5, abs=0.052)


def test_utility_of_real_rows_exceeds_that_of_shuffled_rows(real, fresh, shuffled):
    pytest.importorskip("xgboost", reason="xgboost is a dependency of the benchmarks only")
    options = {"seed": 0, "fast": True, "threads": 1}
    best = protocol.utility(real, fresh, CATEGORICAL, "y", "classification", **options)
    lost = protocol.utility(shuffled, fresh, CATEGORICAL, "y", "classification", **options)
    assert best.score > 0.85 > 0.65 > lost.score


def test_utility_of_a_number_is_scored_on_the_log_of_the_target(real, fresh):
    pytest.importorskip("xgboost", reason="xgboost is a dependency of the benchmarks only")
    train, test = (frame.assign(z=np.exp(1 + frame["a"].clip(-1))) for frame in (real, fresh))
    found = protocol.utility(train, test, CATEGORICAL, "z", "regression", seed=0, fast=True, threads=1)
    # log z is 1 + a, which column a gives away; its deviation is above 1.
    assert found.score < 0.1


def test_alpha_precision_and_beta_recall_of_a_fresh_sample_are_near_one_and_one_half(real, fresh):
    alpha, beta = protocol.alpha_precision_beta_recall(real, fresh, CATEGORICAL, seed=0)
    assert alpha > 0.95
    assert beta == pytest.approx(0.5, abs=0.05)


def test_parts_are_disjoint(real):
    numbered = real.assign(row=range(len(real)))
    for parts in (protocol.halves(numbered, 0), protocol.thirds(numbered, 0)):
        rows = np.concatenate([part["row"] for part in parts])
        assert len(np.unique(rows)) == len(rows) == len(real)


def test_floors_cover_the_scores_of_the_tables(real, fresh):
    pytest.importorskip("xgboost", reason="xgboost is a dependency of the benchmarks only")
    found = protocol.floors(real, fresh, CATEGORICAL, seed=0, threads=1)
    assert {"shape", "pair_own", "pair_shared", "wnmi", "c2st_xgb_train", "c2st_lr_holdout"} <= set(found)
    # 1 / sqrt(2) of the error of halves: both errors fall with the root of the rows.
    a, b = protocol.halves(real, 0)
    assert found["shape"] == pytest.approx(protocol.shape_error(a, b, CATEGORICAL) / np.sqrt(2))


def test_conforming_brings_dtypes_and_order_back():
    datasets = _load("datasets")
    train = pd.DataFrame({"i": [1, 2], "f": [0.5, 1.5], "b": [True, False], "c": ["1", "x"]})
    made = datasets.Table("t", train, train, ("b", "c"), "b", "classification").conform(
        pd.DataFrame({"c": [1, "x"], "b": ["False", "True"], "i": [1.2, 2.0], "f": ["0.5", "7"]}, index=[5, 5])
    )
    assert list(made.dtypes) == list(train.dtypes)
    assert made.to_dict("list") == {"i": [1, 2], "f": [0.5, 7.0], "b": [False, True], "c": ["1", "x"]}
