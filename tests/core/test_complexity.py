"""A table's statistics are named, its complexity follows how it was made, and advice follows from both."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from synth_components import generators
from synth_components.profile import profile
from synth_components.statistics.advice import LEVELS
from synth_components.statistics.complexity import PARTS
from synth_components.statistics.table import STATISTICS, TableFacts, summary

DRAWS = 20
N = 1500


def draws():
    return [np.random.default_rng([41, draw]) for draw in range(DRAWS)]


def noise(rng, n=N):
    return pd.DataFrame(rng.normal(size=(n, 3)).round(4), columns=list("abc"))


def smooth(rng, n=12_000):
    """Three correlated numbers of smooth families."""
    z = rng.multivariate_normal(np.zeros(3), [[1, 0.6, 0.3], [0.6, 1, 0.5], [0.3, 0.5, 1]], n)
    return pd.DataFrame({"a": z[:, 0], "b": 5 + 2 * z[:, 1], "c": 10 * z[:, 2]}).round(2)


def tangled(rng, n=N):
    """Types, dependencies, gaps, inflated and skewed numbers, seasons, and several rows for each person."""
    city = rng.integers(0, 300, n)
    amount = np.where(rng.random(n) < 0.3, 0.0, rng.lognormal(city % 5, 1, n).round(2))
    day = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.sort(rng.integers(0, 60, n)) * 7 // 5, unit="D")
    table = pd.DataFrame(
        {
            "person_id": rng.integers(10_000, 10_400, n),
            "city": [f"city {c}" for c in city],
            "region": [f"region {c % 12}" for c in city],
            "country": [f"country {c % 4}" for c in city],
            "amount": amount,
            "paid": amount > 0,
            "tax": (amount * 0.2).round(2),
            "day": day,
            "score": np.where(rng.random(n) < 0.5, rng.normal(-4, 1, n), rng.normal(4, 1, n)).round(3),
        }
    )
    table.loc[rng.random(n) < 1 / (1 + np.exp(2 - city % 4)), "score"] = np.nan
    table.loc[(amount > 5) & (rng.random(n) < 0.7), "region"] = None
    table["tax"] = table["tax"].mask((city % 3 == 0) & (rng.random(n) < 0.5))
    return table


MAKERS = {
    "noise": noise,
    "smooth": smooth,
    "smooth, 150 rows": lambda rng: smooth(rng, 150),
    "smooth, 500 rows": lambda rng: smooth(rng, 500),
    "smooth, 5,000 rows": lambda rng: smooth(rng, 5_000),
    "smooth, and a category": lambda rng: smooth(rng, 2_000).assign(d=rng.choice(["x", "y"], 2_000)),
    "smooth, and e-mail": lambda rng: smooth(rng).assign(mail=[f"p{i}@mail.org" for i in range(12_000)]),
    "tangled": tangled,
}


# Large tables are drawn less often: the level of privacy hardly depends on the draw.
FEWER = {"smooth": 5, "smooth, and e-mail": 5}


@cache
def profiles(maker):
    return [profile(MAKERS[maker](rng)) for rng in draws()[: FEWER.get(maker, DRAWS)]]


def test_at_least_47_statistics_each_have_a_name_of_their_own_and_a_description():
    assert len(STATISTICS) >= 47
    assert len({statistic.name for statistic in STATISTICS}) == len(STATISTICS)
    assert len({statistic.description for statistic in STATISTICS if "of these" not in statistic.description}) >= 47
    assert all(statistic.description.endswith(".") for statistic in STATISTICS)


def test_statistics_are_those_of_a_table_made_by_hand():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "n": np.repeat(np.arange(50), 4),
            "x": np.where(np.arange(200) < 40, np.nan, rng.normal(size=200)),
            "c": ["a"] * 150 + ["b"] * 50,
            "yes": np.arange(200) % 2 == 0,
            "same": ["z"] * 200,
        }
    )
    table = pd.concat([table, table.iloc[:100]], ignore_index=True)

    found = profile(table).summary["table"]

    expected = {
        "rows": 300, "columns": 5, "cells": 1500, "numeric_columns": 2, "integer_columns": 1, "categorical_columns": 2,
        "boolean_columns": 1, "column_types": 3, "constant_columns": 1, "binary_columns": 2, "nullable_columns": 1,
        "null_share": 80 / 1500, "largest_null_share": 80 / 300, "complete_row_share": 220 / 300,
        "duplicate_row_share": float(table.duplicated().mean()), "largest_category_share": 1.0, "datetime_columns": 0,
        "pairs": 10,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_statistics_without_a_meaning_are_none():
    found = summary(TableFacts(rows=0, columns={}))

    assert found["mean_absolute_skewness"] is None
    assert found["null_share"] is None
    assert found["rows"] == 0


def test_ratios_are_those_of_the_draw():
    def found(rng):
        distinct, once = int(rng.integers(5, 50)), int(rng.integers(0, 20))
        values = np.concatenate([np.repeat(np.arange(distinct), 20), 1000 + np.arange(once)])
        facts = profile(pd.DataFrame({"x": rng.permutation(values)})).statistics["table"]["x"]
        wanted = (distinct + once) / len(values), once / len(values)
        return (facts["cardinality_ratio"], facts["uniqueness_ratio"]) == pytest.approx(wanted)

    assert np.mean([found(rng) for rng in draws()]) == 1.0


def test_tangled_tables_score_high_and_plain_ones_low():
    plain = [found.complexity["table"]["score"] for found in profiles("noise")]
    hard = [found.complexity["table"]["score"] for found in profiles("tangled")]

    assert np.mean([score <= 3 for score in plain]) >= 0.95
    assert np.mean([score >= 8 for score in hard]) >= 0.95


@pytest.mark.parametrize("maker", ["noise", "smooth, 5,000 rows", "tangled"])
def test_score_is_a_whole_number_from_1_to_10_with_its_parts_in_the_unit_interval(maker):
    for found in profiles(maker):
        held = found.complexity["table"]
        assert held["score"] in range(1, 11)
        assert set(held["parts"]) == {part.name for part in PARTS}
        assert all(0 <= value <= 1 for value in held["parts"].values())


def advised(found, topic):
    (said,) = (one for one in found.advice["table"] if one["topic"] == topic)
    assert said["reason"]
    return said["choice"]


@pytest.mark.parametrize(
    ("maker", "generator"),
    [
        ("noise", "tabular.independent"),
        ("smooth, 150 rows", "tabular.independent"),
        ("smooth, 5,000 rows", "tabular.gaussian_copula"),
        ("smooth, and a category", "tabular.trees"),
        ("tangled", "tabular.trees"),
    ],
)
def test_generator_advised_is_the_one_that_the_table_calls_for(maker, generator):
    assert generator in generators.names()
    assert np.mean([advised(found, "generator") == generator for found in profiles(maker)]) >= 0.95


@pytest.mark.parametrize(
    ("maker", "level"),
    [
        ("smooth", "low"),
        ("smooth, 5,000 rows", "medium"),
        ("smooth, 500 rows", "high"),
        ("smooth, and e-mail", "high"),
        ("tangled", "high"),
    ],
)
def test_privacy_level_advised_follows_rows_and_identifiers(maker, level):
    assert level in LEVELS
    assert np.mean([advised(found, "privacy") == level for found in profiles(maker)]) >= 0.95


def test_preparation_names_what_to_look_at():
    rng = np.random.default_rng(0)
    day = pd.date_range("2020-01-01", periods=700, freq="D")
    table = pd.DataFrame(
        {
            "day": day,
            "sales": 10 * np.sin(2 * np.pi * np.arange(700) / 7) + rng.normal(50, 1, 700),
            "rare": ["no"] * 680 + ["yes"] * 20,
            "level": (level := rng.normal(0, 1, 700)),
            "seen": np.where(level > 0.7, np.nan, level),
        }
    ).drop(columns="level")

    said = {one["choice"]: one["reason"] for one in profile(table).advice["table"] if one["topic"] == "preparation"}

    assert "'sales'" in said["keep periods as columns"]
    assert "'rare'" in said["draw rare classes with conditions, or augment"]
    assert "'seen'" in said["ask why values are missing"]
