"""Resampling: rows that meet conditions, among candidates of a generator that cannot condition."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from synth_components import conditions, resampling
from synth_components.conditions import parse
from synth_components.resampling import density, request, resample
from synth_components.resampling.density import around, by_number, densities, in_cells, is_near, reach, width
from synth_components.resampling.kernel import NEIGHBOURS
from synth_components.schema import Schema


def correlated(k, rng):
    x = rng.normal(size=k)
    return pd.DataFrame({"x": x, "y": x + rng.normal(scale=0.1, size=k), "c": np.where(x > 0, "pos", "neg")})


CORRELATED = Schema.from_json(
    {
        "columns": {
            "x": {"type": "numeric"},
            "y": {"type": "numeric"},
            "c": {"type": "categorical", "categories": ["pos", "neg"]},
        }
    }
)


def resampled(conditions, n):
    rng = np.random.default_rng(0)
    given = parse(conditions, CORRELATED, n)
    return resample(lambda k: correlated(k, rng), given, n, schema=CORRELATED, rng=rng)


def test_resampling_near_a_value_follows_the_conditional_distribution():
    table = resampled({"x": 1.0}, 500)
    assert (table["x"] == 1.0).all()
    # y | x = 1 has mean 1.  The kernel's bandwidth, 4096 ** -0.2 = 0.19 sd, tilts x by at most
    # 0.19 ** 2 * |d log p / dx| = 0.036; 4 sigma of the mean: 4 * sqrt(0.1 ** 2 + 0.19 ** 2) / sqrt(500) = 0.038
    assert abs(table["y"].mean() - 1.0) < 0.036 + 0.038


@pytest.mark.parametrize("n", [20, 500, 5_000])
def test_how_many_rows_are_asked_for_does_not_change_the_law_near_a_value(n):
    table = resampled({"x": 2.0}, n)
    assert (table["x"] == 2.0).all()
    # As above: the tilt is at most 2 * 0.19 ** 2 = 0.072, and 5 sigma of the mean of 20 are 0.24.
    assert abs(table["y"].mean() - 2.0) < 0.072 + 5 * np.sqrt(0.1**2 + 0.19**2) / np.sqrt(n)


@pytest.mark.parametrize("share", [0.05, 0.002])
@pytest.mark.parametrize("condition", [0.0, (0.0, 0.0), [0.0]])
@pytest.mark.parametrize("n", [20, 3_000])
def test_a_number_that_many_rows_share_is_met_by_those_that_have_it(n, condition, share):
    def draw(k):
        table = correlated(k, rng)
        is_zero = rng.random(k) < share
        return table.assign(x=table["x"].mask(is_zero, 0.0), c=np.where(is_zero, "pos", "neg"))

    rng = np.random.default_rng(0)
    given = parse({"x": condition}, CORRELATED, n)
    table = resample(draw, given, n, schema=CORRELATED, rng=rng)
    assert (table["x"] == 0.0).all()
    assert (table["c"] == "pos").all()


@pytest.mark.parametrize("share", [0.002, 0.05])
@pytest.mark.parametrize("n", [20, 2_000])
def test_a_number_that_many_rows_share_is_met_beside_one_that_they_do_not(n, share):
    def draw(k):
        table = correlated(k, rng)
        is_zero = rng.random(k) < share
        return table.assign(x=table["x"].mask(is_zero, 0.0), y=rng.random(k), c=np.where(is_zero, "pos", "neg"))

    rng = np.random.default_rng(0)
    given = parse({"x": 0.0, "y": 0.3}, CORRELATED, n)
    table = resample(draw, given, n, schema=CORRELATED, rng=rng)
    assert (table["x"] == 0.0).all()
    assert (table["y"] == 0.3).all()
    assert (table["c"] == "pos").all()


def test_of_two_numbers_that_hardly_any_row_has_together_the_commoner_is_met():
    def draw(k):
        x, y = rng.standard_normal(k), rng.standard_normal(k)
        is_zero, is_one = rng.random(k) < 0.3, rng.random(k) < 0.1
        x[is_zero], y[is_one & ~is_zero] = 0.0, 1.0
        return pd.DataFrame({"x": x, "y": y, "c": np.where(is_zero, "pos", "neg")})

    rng = np.random.default_rng(0)
    given = parse({"x": 0.0, "y": 1.0}, CORRELATED, 50)
    table = resample(draw, given, 50, schema=CORRELATED, rng=rng)
    assert (table["c"] == "pos").all()


@pytest.mark.parametrize("condition", [{"x": [1, 2], "y": [1, 2]}, {"x": 2, "y": [1, 2]}])
@pytest.mark.parametrize("share", [1.0, 0.004])  # of rows whose numbers are those asked for; the others' are larger
def test_sets_of_numbers_are_met_together_by_rows_that_have_them(condition, share):
    def draw(k):
        x = np.where(rng.random(k) < share, rng.integers(1, 3, k), rng.integers(3, 9, k))
        return pd.DataFrame({"x": x * 1.0, "y": x * 1.0, "c": np.where(x > 1, "pos", "neg")})

    rng = np.random.default_rng(0)
    table = resample(draw, parse(condition, CORRELATED, 300), 300, schema=CORRELATED, rng=rng)
    assert (table["x"] == table["y"]).all()
    assert ((table["x"] == 2) == (table["c"] == "pos")).all()
    if condition["x"] != 2:
        assert 0.2 < (table["x"] == 1).mean() < 0.8  # a half, in 32 rows or more: P < 1e-3, and the seed is fixed


@pytest.mark.parametrize("condition", [{"x": [-1.5, 1.5], "y": [-1.5, 1.5]}, {"x": 1.5, "y": [-1.5, 1.5]}])
def test_sets_of_numbers_that_no_row_has_go_with_each_other(condition):
    table = resampled(condition, 300)
    assert (table["x"] == table["y"]).all()


@pytest.mark.parametrize("request_", [{"c": "neg"}, {"x": -1.5}, {"x": -9.0}, {"x": -1.5, "c": "neg"}])
def test_a_set_of_numbers_goes_with_what_each_row_asks_for(request_):
    n = 300
    given = parse(pd.DataFrame([request_] * n), CORRELATED, n)
    given = replace(given, allowed={"y": frozenset({-1.5, 1.5})})
    rng = np.random.default_rng(0)
    table = resample(lambda k: correlated(k, rng), given, n, schema=CORRELATED, rng=rng)
    # y is x and an error of 0.1, and the kernel's 0.19: 1.5 is 7 times their root mean square from x < 0
    assert (table["y"] == -1.5).mean() > 0.98


def test_each_row_has_the_number_of_a_set_that_goes_with_its_own():
    x = np.tile([-1.5, 1.5], 100)
    given = replace(parse(pd.DataFrame({"x": x}), CORRELATED, 200), allowed={"y": frozenset({-1.5, 1.5})})
    rng = np.random.default_rng(0)
    table = resample(lambda k: correlated(k, rng), given, 200, schema=CORRELATED, rng=rng)
    assert (table["y"] == x).mean() > 0.98


def test_rows_of_numbers_near_each_other_choose_from_a_set_together(monkeypatch):
    n = 4_000
    given = parse(pd.DataFrame({"x": np.linspace(-2, 2, n)}), CORRELATED, n)
    given = replace(given, allowed={"y": frozenset({-1.5, 1.5})})
    rng, asked = np.random.default_rng(0), []
    reach = density.reach
    monkeypatch.setattr(density, "reach", lambda held, members: asked.append(1) or reach(held, members))
    table = resample(lambda k: correlated(k, rng), given, n, schema=CORRELATED, rng=rng)
    assert len(asked) < 400  # a kernel is 0.14 wide and more, and 4 / 0.035 parts of it are 114
    is_clear = table["x"].abs() > 0.75
    assert (np.sign(table["x"]) == np.sign(table["y"]))[is_clear].mean() > 0.98


def test_many_kinds_of_requests_are_told_apart_at_once(monkeypatch):
    columns = {name: {"type": "categorical", "categories": [f"{name}{i}" for i in range(40)]} for name in "abc"}
    schema = Schema.from_json({"columns": columns})

    def draw(k):
        return pd.DataFrame(
            {name: np.array(columns[name]["categories"])[rng.integers(0, 40, k)] for name in "ab"}
        ).assign(c=lambda t: t["a"].str.replace("a", "c"))

    rng, asked = np.random.default_rng(0), []
    requests = draw(400)
    encoder = request.encoder
    for module in (conditions, resampling, density, request):
        monkeypatch.setattr(module, "encoder", lambda column, name: asked.append(name) or encoder(column, name))
    given = parse(requests, schema, 400)
    table = resample(draw, given, 400, schema=schema, rng=rng)
    assert table.equals(requests)
    assert len(asked) < 100  # by columns and draws; there are about 350 kinds, of which each would take more


def test_resampling_matches_each_request_row():
    x = np.linspace(-1.5, 1.5, 200)
    table = resampled(pd.DataFrame({"x": x}), 200)
    assert table["x"].tolist() == x.tolist()
    # The error of y given x is 0.1 beside the kernel's 0.19: the correlation with sd(x) = 0.87 exceeds 0.95
    assert np.corrcoef(table["y"], x)[0, 1] > 0.95


def test_resampling_uses_distinct_candidates_while_they_suffice():
    assert resampled({"c": "pos"}, 1000)["x"].is_unique


def test_resampling_a_far_value_uses_the_nearest_candidates():
    table = resampled({"x": 10.0}, 20)
    assert (table["x"] == 10.0).all()
    # The 80 largest of 4096 normals exceed about 2.06 (P = 80 / 4096); 5 sigma of y given x are 0.5
    assert table["y"].min() > 1.5


def test_resampling_no_rows_gives_none():
    assert len(resampled({"c": "pos"}, 0)) == 0


def test_rows_of_the_same_number_go_together_and_those_that_have_it_serve_them():
    held = np.repeat([0.0, 1.0, 50.0], NEIGHBOURS)
    parts = by_number(np.array([1.0, 0.0, 1.0]), held)
    assert [(rows.tolist(), set(held[candidates])) for rows, candidates in parts] == [([1], {0.0}), ([0, 2], {1.0})]


def test_numbers_near_each_other_that_few_have_go_together():
    held = np.linspace(0, 100, 101)
    parts = by_number(np.array([50.1, 50.2, 90.0, 50.3]), held)
    assert [rows.tolist() for rows, _ in parts] == [[0, 1, 3], [2]]
    for rows, candidates in parts:
        assert np.ptp(held[candidates]) <= 2 * width(held)
        assert np.abs(held[candidates] - 50 - 40 * (rows[0] == 2)).min() < 1


@pytest.mark.parametrize("wanted", [np.full(3, np.nan), np.full(3, np.inf)])
def test_rows_that_ask_for_no_number_stay_together_with_all_candidates(wanted):
    [(rows, candidates)] = by_number(wanted, np.arange(5.0))
    assert rows.tolist() == [0, 1, 2]
    assert candidates.tolist() == [0, 1, 2, 3, 4]


def test_a_number_that_enough_have_is_not_moved_into_a_cell():
    held = np.append(np.full(NEIGHBOURS, 3.3), [0.0, 10.0])
    assert in_cells(np.array([3.3, 3.4, -50.0, 50.0]), held, 1.0).tolist() == [3.3, 3.5, 0.0, 10.0]


def test_around_a_number_far_from_all_are_the_nearest_on_both_sides():
    held = np.append(np.arange(0, 100.0), np.arange(200, 300.0))
    between, before, beyond = around(held, np.array([150.0, -50.0, 350.0]), 1.0)
    assert set(held[between]) == {*range(100 - NEIGHBOURS, 100), *range(200, 200 + NEIGHBOURS)}
    assert set(held[before]) == set(range(NEIGHBOURS))
    assert set(held[beyond]) == set(range(300 - NEIGHBOURS, 300))


def test_members_that_enough_candidates_have_are_met_exactly():
    assert reach(np.repeat([1.0, 2.0], NEIGHBOURS // 2), np.array([1.0, 2.0])) == 0.0
    few = np.append(np.arange(20.0), np.nan)
    assert reach(few, np.array([1.0])) == width(few[:-1])
    assert reach(few, np.array([60.0])) == pytest.approx(60 - 19)


def test_members_of_a_set_weigh_what_candidates_are_near_them():
    held, members = np.array([1.0, 1.2, 5.0, np.nan]), np.array([1.0, 9.0, np.nan])
    assert densities(held, members, 0.5, with_null=True) == pytest.approx([2, 0, 1], abs=1e-6)
    assert densities(held, members, 0.5, with_null=False) == pytest.approx([2, 0, 0], abs=1e-6)
    assert (densities(held, members, 0.5, with_null=False) > 0).tolist() == [True, True, False]
    assert densities(held[:0], members, 0.5, with_null=True) == pytest.approx([1, 1, 1])


def test_near_null_are_nulls():
    held = np.array([1.0, np.nan, 3.0])
    assert is_near(held, np.nan, 1.0).tolist() == [False, True, False]
    assert is_near(held, 2.5, 1.0).tolist() == [False, False, True]
