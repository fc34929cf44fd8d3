"""The period and the trend that a series was made with are found again, and noise has none."""

import numpy as np
import pandas as pd
import pytest

from synth_components.statistics.seasonality import bins_of, periods, trend

DRAWS = 40


def generators():
    return [np.random.default_rng([23, draw]) for draw in range(DRAWS)]


def wave(rng, n, amplitude=1.0):
    length = int(rng.integers(4, n // 5))
    return length, amplitude * np.sin(2 * np.pi * (np.arange(n) / length + rng.random())) + rng.normal(size=n)


@pytest.mark.parametrize(("n", "amplitude"), [(120, 2.0), (365, 1.0), (1000, 0.7)])
def test_period_of_at_least_95_waves_in_100_is_found(n, amplitude):
    def found(rng):
        length, series = wave(rng, n, amplitude)
        got = periods(series)
        # A period is known to a fraction of its length over the number of cycles.
        return len(got) > 0 and abs(got[0].length - length) <= max(1, 0.03 * length)

    assert np.mean([found(rng) for rng in generators()]) >= 0.95


@pytest.mark.parametrize("n", [120, 365, 1500])
def test_week_of_dips_in_counts_is_found_as_seven_and_not_its_harmonics(n):
    rates = 12 * np.array([1, 1, 1, 1, 1, 0.4, 0.3])

    got = [periods(rng.poisson(rates[np.arange(n) % 7]).astype(float)) for rng in generators()]

    assert np.mean([len(found) > 0 and found[0].length == 7 for found in got]) >= 0.95


def test_two_periods_are_both_found():
    at = np.arange(24 * 7 * 8)

    def found(rng):
        series = np.sin(2 * np.pi * at / 24) + 0.7 * np.sin(2 * np.pi * at / 168) + rng.normal(0, 0.5, len(at))
        lengths = [period.length for period in periods(series)]
        return 24 in lengths and any(abs(length - 168) <= 0.03 * 168 for length in lengths)

    assert np.mean([found(rng) for rng in generators()]) >= 0.95


def test_shape_of_a_period_is_no_other_period():
    def found(rng):
        return [period.length for period in periods(np.arange(24 * 60) % 24 + rng.normal(0, 1, 24 * 60))]

    assert np.mean([found(rng) == [24] for rng in generators()]) >= 0.95


NOISE = {
    "white": lambda rng, n: rng.normal(size=n),
    "skewed": lambda rng, n: rng.exponential(size=n),
    "counts": lambda rng, n: rng.poisson(1, n).astype(float),
    "random walk": lambda rng, n: np.cumsum(rng.normal(size=n)),
    "parabola": lambda rng, n: rng.normal(size=n) + 9 * (np.arange(n) / n - 0.4) ** 2,
}


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("n", [120, 1000])
def test_noise_has_no_period_in_at_least_95_draws_of_100(noise, n):
    assert np.mean([periods(NOISE[noise](rng, n)) == () for rng in generators()]) >= 0.95


@pytest.mark.parametrize(("slope", "direction"), [(3.0, "rising"), (-3.0, "falling"), (0.0, "none")])
@pytest.mark.parametrize("amplitude", [0.0, 2.0])
def test_direction_of_at_least_95_trends_in_100_is_the_true_one(slope, direction, amplitude):
    n = 200

    def found(rng):
        return trend(wave(rng, n, amplitude)[1] + slope * np.arange(n) / n).direction

    assert np.mean([found(rng) == direction for rng in generators()]) >= 0.95


def test_neighbours_alike_do_not_make_a_trend():
    def series(rng):
        shocks = rng.normal(size=400)
        for at in range(1, 400):
            shocks[at] += 0.7 * shocks[at - 1]
        return shocks

    assert np.mean([trend(series(rng)).direction == "none" for rng in generators()]) >= 0.95


def test_gaps_do_not_hide_a_period():
    length, series = wave(np.random.default_rng(0), 400, 2.0)
    series[np.random.default_rng(1).random(400) < 0.2] = np.nan

    assert abs(periods(series)[0].length - length) <= max(1, 0.03 * length)
    assert trend(series).direction == "none"


@pytest.mark.parametrize("series", [np.ones(100), np.full(100, np.nan), np.arange(100.0), np.zeros(3)])
def test_constant_short_or_straight_series_has_no_period(series):
    assert periods(series) == ()


RNG = np.random.default_rng(5)
SECONDS = np.datetime64("2020-03-01") + np.sort(RNG.integers(0, 86_400 * 30, 3_000)).astype("timedelta64[s]")


@pytest.mark.parametrize(
    ("moments", "unit", "every", "count"),
    [
        (pd.date_range("2020-01-01", periods=90, freq="D"), "D", 1, 90),
        (pd.date_range("2020-01-06", periods=90, freq="W-MON"), "W", 1, 90),
        (pd.date_range("2020-01-06", periods=90, freq="6h"), "h", 6, 90),
        (pd.date_range("2000-01-01", periods=90, freq="MS"), "month", 1, 90),
        (pd.date_range("2000-01-01", periods=90, freq="QS"), "month", 3, 90),
        (pd.date_range("2020-01-01 00:15", periods=90, freq="15min"), "min", 15, 90),
        (SECONDS, "h", 1, 720),
    ],
)
def test_intervals_are_the_finest_that_suit_the_moments(moments, unit, every, count):
    made = bins_of(np.asarray(moments).astype("datetime64[us]").astype(np.int64))

    assert (made.unit, made.every) == (unit, every)
    assert abs(made.count - count) <= 1
    assert made.index.min() == 0
    assert made.index.max() == made.count - 1


def test_intervals_of_values_are_filled():
    made = bins_of(SECONDS.astype("datetime64[us]").astype(np.int64)[::10], least_rows=1.0)

    assert (made.unit, made.count) == ("D", 30)


@pytest.mark.parametrize("moments", [np.zeros(100, dtype=np.int64), np.arange(5)])
def test_moments_that_are_one_or_few_have_no_intervals(moments):
    assert bins_of(moments) is None
