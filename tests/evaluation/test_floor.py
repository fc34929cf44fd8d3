import numpy as np
import pytest
from numpy.testing import assert_allclose

from synth_components.evaluation.detection import _resampled as resampled_detection
from synth_components.evaluation.detection import _Trial
from synth_components.evaluation.fidelity import _distance, _resampled, _spread_of_difference
from synth_components.evaluation.floor import auc, lower_bound, resamples, scaled, score, upper_bound


def test_auc_equals_the_share_of_ordered_pairs():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 5, 60).astype(float), rng.random(60) < 0.4
    pairs = [(a > b) + (a == b) / 2 for a in scores[labels] for b in scores[~labels]]
    assert auc(scores, labels) == pytest.approx(np.mean(pairs))


def test_weights_count_as_repeated_rows():
    rng = np.random.default_rng(1)
    scores, labels, times = rng.random(30), rng.random(30) < 0.5, rng.integers(0, 4, 30)
    repeated = auc(np.repeat(scores, times), np.repeat(labels, times))
    assert auc(scores, labels, times.astype(float)) == pytest.approx(repeated)


def test_clopper_pearson_bounds_agree_with_the_binomial_tail():
    from scipy.stats import binom

    # By definition 3 or fewer successes have probability .025 at the upper bound, 3 or more at the lower.
    assert binom.cdf(3, 50, upper_bound(3, 50)) == pytest.approx(0.025)
    assert binom.sf(2, 50, lower_bound(3, 50)) == pytest.approx(0.025)
    assert upper_bound(50, 50) == 1.0


def test_the_floor_correction_predicts_the_distance_at_another_size():
    rng = np.random.default_rng(2)

    def mean_distance(n, m):
        return np.mean([_distance(rng.random(n), rng.random(m), is_category=False)[0] for _ in range(150)])

    small, large = mean_distance(2000, 200), mean_distance(2000, 2000)
    # The standard error of each mean is about .3 / sqrt(150) = 2.5 % of it.
    assert scaled(small, train=2000, holdout=200, synthetic=2000) == pytest.approx(large, rel=0.1)


def test_the_interval_covers_the_expected_distance():
    rng = np.random.default_rng(3)
    p, q, n = np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.3, 0.4]), 300
    truth = np.abs(p - q).sum() / 2
    covered = 0
    for _ in range(200):
        real, drawn = (rng.choice(3, n, p=law).astype(float) for law in (p, q))
        weights = list(zip(resamples(n, 40, rng), resamples(n, 40, rng), strict=True))
        value = _distance(real, drawn, is_category=True)[0]
        made = score("d", value, draws=_resampled(real, drawn, weights, is_category=True), floor=0, ideal=0)
        covered += made.interval[0] <= truth <= made.interval[1]
    # 190 expected of 200; four deviations are 4 * sqrt(200 * .95 * .05) = 12.
    assert covered >= 190 - 12


def test_the_interval_holds_the_value_and_stays_in_range():
    made = score("s", 0.999, draws=np.array([0.9, 1.0, 0.95]), floor=1, ideal=1)
    assert made.interval[0] <= made.value <= made.interval[1] <= 1.0


def test_resamples_keep_the_number_of_rows():
    for weights in resamples(50, 5, np.random.default_rng(0)):
        assert weights.sum() == 50


def test_the_distance_of_nothing_drawn_is_the_largest():
    assert_allclose(_distance(np.arange(5.0), np.full(3, np.nan), is_category=False)[0], 1.0)


def test_a_share_at_its_edge_still_has_an_interval():
    made = score("privacy.copies", 0.0, hits=(0, 100), floor=0.0, ideal=0.0)
    # Nothing in 100: the law's share is below 1 - .025 ** (1 / 100) = 3.6 %.
    assert made.interval == pytest.approx((0.0, 1 - 0.025 ** (1 / 100)))


def test_no_interval_is_told_where_none_was_made():
    assert score("p", 0.3, floor=0.5, ideal=1.0).interval is None
    assert score("s", 1.0, draws=np.ones(20), floor=1.0, ideal=1.0).interval is None


def test_resamples_of_a_single_column_make_no_interval():
    draws = np.array([0.2454, np.nextafter(0.2454, 1), 0.2454])  # what weighted means of one number may be
    assert score("utility.global", 0.2454, draws=draws, floor=1.0, ideal=1.0).interval is None


def test_a_detector_that_guesses_has_an_interval_below_1():
    rng = np.random.default_rng(0)
    trial = _Trial(rng.random(400), np.arange(400) >= 200, np.ones(3))
    draws = resampled_detection(trial, 200, rng)
    made = score("detection", trial.value, draws=draws, floor=1.0, ideal=1.0)
    # The AUC of a guess has deviation sqrt((n + m + 1) / (12 n m)) = .029; the score's is twice that.
    assert made.deviation == pytest.approx(2 * np.sqrt(401 / (12 * 200 * 200)), rel=0.2)
    assert made.interval[0] < 0.95
    assert made.interval[1] == 1.0


def test_shares_without_a_null_still_differ_by_chance():
    none = np.zeros(48, dtype=bool)
    # One hit and one miss more make 1 of 50 on either side.
    assert _spread_of_difference(none, none) == pytest.approx(np.sqrt(2 * 0.02 * 0.98 / 50))
