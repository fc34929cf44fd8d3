"""Associations restored by reordering: close to their targets, with the values of each column and the rules kept."""

import inspect
import itertools
from collections import Counter

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.config import ConfigError
from synth_components.constraints import (
    Derived,
    FunctionalDependency,
    Implication,
    Inequality,
    Range,
    Unique,
)
from synth_components.errors import DataError, SchemaError, UnsupportedError
from synth_components.preserve import PreserveConfig, iman_conover, preserve, raking, rules
from synth_components.preserve.options import TOLERANCES
from synth_components.privacy.ledger import Ledger
from synth_components.profile import profile
from synth_components.schema import Categorical, Datetime, Key, Link, Numeric, Schema, Text


def people(rows=1500, seed=0):
    """A table with numbers, a date, categories, nulls, a key and a text, all but the last two of them associated."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, rows)
    school = rng.choice(["none", "basic", "middle", "high"], rows, p=[0.1, 0.4, 0.3, 0.2])
    level = pd.Series(school).map({"none": 0, "basic": 1, "middle": 2, "high": 3}).to_numpy()
    income = 500.0 * level + 20 * age + rng.normal(0, 400, rows)
    income[rng.random(rows) < 0.1] = np.nan
    city = np.where(rng.random(rows) < 0.6, np.where(level > 1, "Rome", "Oslo"), rng.choice(["Bonn", "Rome"], rows))
    seen = pd.Timestamp("2020-01-01") + pd.to_timedelta(age * 10 + rng.integers(0, 300, rows), unit="D")
    return pd.DataFrame(
        {
            "id": np.arange(rows) + 10_000,
            "age": age,
            "school": school,
            "income": income,
            "city": pd.Series(city, dtype=object).mask(rng.random(rows) < 0.05),
            "seen": seen,
            "note": [f"remark {row} of many" for row in range(rows)],
        }
    )


SCHEMA = Schema(
    {
        "table": {
            "id": Key(),
            "age": Numeric(dtype="int64"),
            "school": Categorical(categories=("none", "basic", "middle", "high")),
            "income": Numeric(nullable=True),
            "city": Categorical(categories=("Bonn", "Oslo", "Rome"), nullable=True),
            "seen": Datetime(),
            "note": Text(),
        }
    },
    keys={"table": ("id",)},
)
MODELLED = ["age", "school", "income", "city", "seen"]


def shuffled(table, columns=MODELLED, seed=1):
    """The table with each of some columns shuffled: all associations lost."""
    rng = np.random.default_rng(seed)
    return table.assign(**{name: table[name].array.take(rng.permutation(len(table))) for name in columns})


@pytest.fixture(scope="module")
def real():
    return people()


@pytest.fixture(scope="module")
def lost():
    """Other people, their associations lost, with an index of its own."""
    table = shuffled(people(1200, seed=5))
    return table.set_index(np.arange(len(table)) * 3 + 7)


@pytest.fixture(scope="module")
def mended(real, lost):
    return preserve(real, lost, schema=SCHEMA)


def values(column):
    """The values of a column as a multiset: ``repr`` tells apart all floats, both zeros and the kinds of null."""
    return Counter(map(repr, column.array))


@pytest.mark.parametrize("mode", TOLERANCES)
def test_every_pair_comes_within_the_tolerance_of_the_mode(real, lost, mode):
    found = preserve(real, lost, schema=SCHEMA, mode=mode).residuals
    assert len(found) == 10  # 5 columns
    assert (found["before"] - found["target"]).abs().max() > 0.5
    assert (found["after"] - found["target"]).abs().max() <= TOLERANCES[mode]
    assert found["met"].all()
    assert set(found["tolerance"]) == {TOLERANCES[mode]}


def test_each_column_keeps_exactly_its_values_nulls_dtype_and_index(lost, mended):
    assert mended.table.index.equals(lost.index)
    assert mended.table.dtypes.equals(lost.dtypes)
    assert list(mended.table) == list(lost)
    for name in lost:
        assert values(mended.table[name]) == values(lost[name]), name


@pytest.mark.parametrize("dtype", ["category", "string", "Int64", "float32", "boolean", "datetime64[ns, UTC]"])
def test_a_column_of_any_dtype_keeps_its_values(dtype):
    rng = np.random.default_rng(3)
    steps = rng.integers(0, 4, 400)
    held = pd.Series(steps > 1).astype(object).mask(rng.random(400) < 0.1) if dtype == "boolean" else pd.Series(steps)
    if dtype in {"category", "string"}:
        held = held.map(lambda value: f"kind {value}")
    if dtype.startswith("datetime"):
        held = pd.Timestamp("2020-01-01", tz="UTC") + pd.to_timedelta(held, unit="D")
    table = pd.DataFrame({"x": steps + rng.normal(size=400), "y": held.astype(dtype)})
    lost = shuffled(table, ["x", "y"])
    found = preserve(table, lost, mode="strict")
    assert found.residuals["met"].all()
    assert found.table["y"].dtype == table["y"].dtype
    assert values(found.table["y"]) == values(lost["y"])


def test_keys_and_texts_stay_in_their_rows(lost, mended):
    pd.testing.assert_frame_equal(mended.table[["id", "note"]], lost[["id", "note"]])


def test_the_inputs_are_left_as_they_are(real, lost):
    before = real.copy(), lost.copy()
    preserve(real, lost, schema=SCHEMA)
    pd.testing.assert_frame_equal(real, before[0])
    pd.testing.assert_frame_equal(lost, before[1])


def test_nothing_moves_where_all_pairs_are_close_already(real):
    found = preserve(real, real, schema=SCHEMA, mode="strict")
    pd.testing.assert_frame_equal(found.table, real)
    assert (found.residuals["before"] == found.residuals["after"]).all()


def test_same_seed_gives_the_same_rows_and_another_seed_others(real, lost):
    first, again, other = (preserve(real, lost, schema=SCHEMA, seed=seed).table for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_residuals_are_those_of_the_fidelity_report(real, lost, mended):
    from synth_components.evaluation import FidelityConfig, evaluate

    options = FidelityConfig(replicates=10, detector_rows=60, detector_folds=2, manifold_rows=60)
    table = evaluate(real, real, mended.table, schema=SCHEMA, config=options).tables["fidelity.pairs"]
    judged = {frozenset((row["first"], row["second"])): row for row in table.to_dict("records")}
    for row in mended.residuals.to_dict("records"):
        assert row["target"] == pytest.approx(judged[frozenset(row["pair"])]["real"])
        assert row["after"] == pytest.approx(judged[frozenset(row["pair"])]["synthetic"])


def test_the_association_of_two_numbers_is_spearmans(mended, real):
    row = next(row for row in mended.residuals.to_dict("records") if row["pair"] == ("age", "seen"))
    assert row["kind"] == "spearman"
    assert row["after"] == pytest.approx(mended.table["age"].corr(mended.table["seen"].astype("int64"), "spearman"))
    assert row["target"] == pytest.approx(real["age"].corr(real["seen"].astype("int64"), "spearman"))


def test_adaptive_states_the_tightest_tolerance_that_each_pair_meets(real):
    few = shuffled(people(15, seed=8))  # too few rows for every pair to be close
    found = preserve(real, few, schema=SCHEMA, mode="adaptive").residuals
    gaps = (found["after"] - found["target"]).abs()
    wanted = [next((limit for limit in (0.02, 0.05, 0.1) if gap <= limit), 0.1) for gap in gaps]
    assert found["tolerance"].tolist() == wanted
    assert found["met"].tolist() == (gaps <= 0.1).tolist()
    assert len(set(wanted)) > 1


@pytest.mark.parametrize(
    ("pair", "target"),
    [
        (("age", "income"), 0.6),
        (("age", "income"), -0.7),
        (("age", "seen"), 0.0),
        (("school", "age"), 0.4),
        (("city", "school"), 0.5),
        (("city", "school"), 0.05),
    ],
)
def test_a_declared_association_is_reached(real, lost, pair, target):
    found = preserve(real, lost, schema=SCHEMA, targets={pair: target}, mode="strict").residuals
    row = next(row for row in found.to_dict("records") if set(row["pair"]) == set(pair))
    assert row["target"] == target
    assert abs(row["after"] - target) <= 0.02


def test_only_the_columns_that_targets_name_move(real, lost):
    found = preserve(real, lost, schema=SCHEMA, targets={("age", "seen"): 0.9})
    still = [name for name in lost if name not in {"age", "seen"}]
    pd.testing.assert_frame_equal(found.table[still], lost[still])
    assert not found.table[["age", "seen"]].equals(lost[["age", "seen"]])
    assert all(set(pair) & {"age", "seen"} for pair in found.residuals["pair"])


def test_targets_of_the_config_are_those_of_the_argument(real, lost):
    nested = PreserveConfig.parse({"targets": {"age": {"seen": 0.9}}})
    by_config = preserve(real, lost, schema=SCHEMA, config=nested)
    by_argument = preserve(real, lost, schema=SCHEMA, targets={("age", "seen"): 0.9})
    pd.testing.assert_frame_equal(by_config.table, by_argument.table)


def numbers(rows=800):
    rng = np.random.default_rng(2)
    return pd.DataFrame(rng.normal(size=(rows, 3)), columns=["a", "b", "c"])


def test_targets_that_contradict_each_other_aim_at_the_nearest_matrix_and_say_so():
    table = numbers()
    targets = {("a", "b"): 1.0, ("b", "c"): 1.0, ("a", "c"): 0.0}
    found = preserve(table, table, targets=targets, mode="strict")
    by_pair = found.residuals.set_index("pair")["after"]
    # Higham 2002, Sec. 1: the nearest to these ones is 0.7607 beside the diagonal and 0.1573 in the corner.
    for pair, nearest in {("a", "b"): 0.7607, ("b", "c"): 0.7607, ("a", "c"): 0.1573}.items():
        assert by_pair[pair] == pytest.approx(nearest, abs=0.02)
    assert {one.pair: (one.declared, round(one.nearest, 4)) for one in found.infeasible} == {
        ("a", "b"): (1.0, 0.7607),
        ("b", "c"): (1.0, 0.7607),
        ("a", "c"): (0.0, 0.1573),
    }
    assert not found.residuals["met"].any()


def test_declared_targets_stand_and_the_real_ones_give_way():
    rng = np.random.default_rng(4)
    base = rng.normal(size=1000)
    real = pd.DataFrame({name: base + 0.3 * rng.normal(size=1000) for name in "abc"})  # all about 0.9 together
    found = preserve(real, shuffled(real, ["a", "b", "c"]), targets={("a", "b"): 0.0, ("a", "c"): 0.9}, mode="strict")
    after = found.residuals.set_index("pair")["after"]
    assert after["a", "b"] == pytest.approx(0.0, abs=0.02)
    assert after["a", "c"] == pytest.approx(0.9, abs=0.02)
    # With corr(a, b) = 0 and corr(a, c) = 0.9, corr(b, c) is at most sqrt(1 - 0.81) = 0.436.
    assert 0.3 < after["b", "c"] < 0.45
    assert [one.pair for one in found.infeasible] == [("b", "c")]


def test_nearest_leaves_a_correlation_matrix_alone():
    matrix = np.array([[1.0, 0.5], [0.5, 1.0]])
    assert iman_conover.nearest(matrix, fixed=np.zeros((2, 2), dtype=bool)) is matrix


def test_proportional_fitting_keeps_the_odds_ratio_and_takes_the_margins():
    made = raking.fit(np.array([[40.0, 10.0], [10.0, 40.0]]), np.array([70.0, 30.0]), np.array([20.0, 80.0]))
    np.testing.assert_allclose(made.sum(axis=1), [70, 30], atol=1e-3)
    np.testing.assert_allclose(made.sum(axis=0), [20, 80], atol=1e-3)
    # A thousandth of independence is mixed in, which moves the ratio of 16 by about 1 %.
    assert made[0, 0] * made[1, 1] / (made[0, 1] * made[1, 0]) == pytest.approx(16, rel=0.02)


@pytest.mark.parametrize("strength", [0.0, 0.2, 0.6, 0.8])
def test_fitting_to_a_strength_reaches_it(strength):
    joint = np.array([[30.0, 10.0, 5.0], [10.0, 20.0, 10.0], [5.0, 10.0, 40.0]])
    made = raking.fit_to(joint, joint.sum(axis=1), joint.sum(axis=0), strength=strength, tolerance=0.001)
    assert raking.association(made) == pytest.approx(strength, abs=0.005)
    np.testing.assert_allclose(made.sum(axis=1), joint.sum(axis=1), atol=1e-2)


RULES = (
    Inequality(low="start", high="end"),
    Derived(column="total", expression="price * pieces"),
    FunctionalDependency(
        determinant=("school",), dependent="level", mapping={"none": 0, "basic": 1, "middle": 2, "high": 3}
    ),
    Implication(when="age < 25", then="married == 'no'"),
    Unique(columns=("start", "income")),
    Range(column="age", low=18, high=80),
)


def ruled(rows, seed, *, associated=True):
    """A table that obeys ``RULES``."""
    rng = np.random.default_rng(seed)
    table = people(rows, seed)[["age", "school", "income"]]
    if not associated:
        table = shuffled(table, list(table), seed)
    start, price, pieces = rng.integers(0, 10**6, rows), rng.integers(1, 50, rows), rng.integers(1, 9, rows)
    return table.assign(
        level=table["school"].map({"none": 0, "basic": 1, "middle": 2, "high": 3}),
        married=np.where((table["age"] < 25) | (rng.random(rows) < 0.4), "no", "yes"),
        start=start,
        end=start + rng.integers(0, 200_000, rows),
        price=price,
        pieces=pieces,
        total=price * pieces,
    )


@pytest.fixture(scope="module")
def under_rules():
    real, drawn = ruled(1500, 1), ruled(1200, 2, associated=False)
    schema = profile(real).schema.with_constraints(RULES)
    return drawn, preserve(real, drawn, schema=schema)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_row_still_obeys_every_rule(under_rules, rule):
    drawn, found = under_rules
    assert rule.allows(drawn).all()
    assert rule.allows(found.table).all()


def test_pairs_come_close_under_rules_too(under_rules):
    _, found = under_rules
    assert found.residuals["met"].all()
    assert (found.residuals["before"] - found.residuals["target"]).abs().max() > 0.5


def test_columns_keep_their_values_under_rules_too(under_rules):
    drawn, found = under_rules
    for name in drawn:
        assert values(found.table[name]) == values(drawn[name]), name


def test_an_index_with_repetitions_is_kept():
    real, drawn = ruled(800, 1), ruled(600, 2, associated=False)
    drawn.index = np.arange(600) // 3
    found = preserve(real, drawn, schema=profile(real).schema.with_constraints(RULES))
    assert found.table.index.equals(drawn.index)
    assert all(rule.allows(found.table).all() for rule in RULES)
    assert (found.table["age"].to_numpy() != drawn["age"].to_numpy()).any()


def test_rows_that_a_reordering_breaks_are_put_back():
    # High ages with low limits break the rule.
    rng = np.random.default_rng(6)
    drawn = pd.DataFrame({"age": rng.integers(0, 50, 500), "limit": rng.integers(45, 100, 500)})
    drawn = drawn[drawn["age"] <= drawn["limit"]]
    rule = Inequality(low="age", high="limit")
    schema = profile(drawn).schema.with_constraints((rule,))
    found = preserve(drawn, drawn, schema=schema, targets={("age", "limit"): -0.9})
    assert rule.allows(drawn).all()
    assert rule.allows(found.table).all()
    assert not found.table.equals(drawn)


def test_rows_that_broke_a_rule_before_may_break_it_still_but_no_more_do():
    real = ruled(800, 1)
    drawn = ruled(600, 2, associated=False)
    drawn.loc[:19, "end"] = -1  # 20 rows end before they start
    schema = profile(real).schema.with_constraints(RULES)
    found = preserve(real, drawn, schema=schema)
    before = RULES[0].allows(drawn)
    assert (~before).sum() == 20
    assert RULES[0].allows(found.table)[before].all()


def test_a_dependency_ties_its_columns_and_a_loose_rule_does_not():
    table = ruled(600, 3)
    groups = rules.tied(table, RULES, rng=np.random.default_rng(0))
    assert {frozenset(group) for group in groups} == {
        frozenset({"start", "end"}),
        frozenset({"total", "price", "pieces"}),
        frozenset({"school", "level"}),
    }


def test_columns_tied_to_a_key_do_not_move():
    table = people(400)
    table["code"] = table["id"] * 2
    schema = Schema(
        {"table": {**SCHEMA.columns, "code": Numeric(dtype="int64")}},
        keys={"table": ("id",)},
        constraints=(Derived(column="code", expression="id * 2"),),
    )
    found = preserve(table, shuffled(table), schema=schema)
    assert found.table["code"].equals(table["code"])


def test_a_dependency_without_a_mapping_is_learned_from_the_real_table():
    real, drawn = ruled(800, 1), ruled(600, 2, associated=False)
    rule = FunctionalDependency(determinant=("school",), dependent="level")
    found = preserve(real, drawn, schema=profile(real).schema.with_constraints((rule,)))
    assert RULES[2].allows(found.table).all()


def test_the_order_column_does_not_move(real, lost):
    schema = Schema(SCHEMA.tables, order={"table": "seen"}, keys=SCHEMA.keys)
    assert preserve(real, lost, schema=schema).table["seen"].equals(lost["seen"])


@pytest.mark.parametrize("seed", range(5))
def test_restoring_rows_leaves_them_in_place_and_a_permutation(seed):
    rng = np.random.default_rng(seed)
    order, rows = rng.permutation(50), rng.random(50) < 0.4
    made = rules.restored(order, rows)
    assert sorted(made) == list(range(50))
    assert (made[rows] == np.flatnonzero(rows)).all()
    direct = ~rows & ~rows[order]
    assert (made[direct] == order[direct]).all()


def test_restoring_all_rows_gives_the_identity():
    made = rules.restored(np.random.default_rng(0).permutation(9), np.ones(9, dtype=bool))
    assert made.tolist() == list(range(9))


def test_reading_the_real_table_is_written_to_the_ledger(real, lost):
    ledger = Ledger()
    preserve(real, lost, schema=SCHEMA, ledger=ledger)
    assert [(entry.label, entry.covered) for entry in ledger.entries] == [("preserve: 1500 real rows", False)]


def test_a_table_with_one_column_to_compare_comes_back_unchanged():
    table = pd.DataFrame({"x": np.arange(30) / 7})
    found = preserve(table, table)
    pd.testing.assert_frame_equal(found.table, table)
    assert len(found.residuals) == 0


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_tiny_tables_come_back_with_their_values(real, rows):
    few = people(rows, seed=9)
    found = preserve(real, few, schema=SCHEMA)
    for name in few:
        assert values(found.table[name]) == values(few[name])


def test_what_rounding_leaves_of_a_column_without_variance_is_left_out():
    """LAPACK met covariances of 1e-17 divided by deviations of 1e-150, and on some processors did not converge."""
    square = np.array([[1.0, 0.5, 1e-17], [0.5, 1.0, -1e-17], [1e-17, -1e-17, -1e-33]])
    inverse = iman_conover._inverse(square)
    assert np.allclose(inverse[:2, :2], np.linalg.inv(square[:2, :2]))
    assert not inverse[2].any()
    assert not inverse[:, 2].any()


def test_constant_and_empty_columns_are_left_alone():
    table = numbers(200).assign(same=1.0, kind="x", none=np.nan)
    found = preserve(table, shuffled(table, ["a", "b", "c"]))
    for name in table:
        assert values(found.table[name]) == values(table[name])
    assert np.isfinite(found.residuals[["target", "before", "after"]].to_numpy(dtype=float)).all()


def test_categories_that_the_real_table_lacks_keep_their_rows(real):
    lost = shuffled(people(600, seed=4))
    lost.loc[lost.index[:50], "city"] = "Ghent"
    found = preserve(real, lost, schema=SCHEMA)
    assert (found.table["city"] == "Ghent").sum() == 50


@pytest.mark.parametrize(
    ("targets", "error", "match"),
    [
        ({("age", "nothing"): 0.1}, SchemaError, "'nothing'.*not in the schema"),
        ({("age", "note"): 0.1}, SchemaError, "'note'.*no associations"),
        ({("age", "id"): 0.1}, SchemaError, "'id'.*no associations"),
        ({("age", "income"): 1.5}, ConfigError, r"must lie in \[-1, 1\]"),
        ({("age", "age"): 0.5}, ConfigError, "with itself"),
        ({("age", "income"): 0.5, ("income", "age"): 0.6}, ConfigError, "twice"),
        ({("school", "city"): -0.5}, ConfigError, "negative"),
        ({("school", "age"): -0.5}, ConfigError, "negative"),
    ],
)
def test_a_target_that_means_nothing_is_refused(real, lost, targets, error, match):
    with pytest.raises(error, match=match):
        preserve(real, lost, schema=SCHEMA, targets=targets)


def test_linked_tables_are_refused(real, lost):
    schema = Schema(
        {"table": SCHEMA.columns, "visit": {"who": Key()}},
        keys={"table": ("id",)},
        links=(Link("visit", ("who",), "table", ("id",)),),
    )
    with pytest.raises(UnsupportedError, match="one table"):
        preserve(real, lost, schema=schema)


@pytest.mark.parametrize("side", ["real", "synthetic"])
def test_a_table_without_rows_is_refused(real, side):
    tables = {"real": real, "synthetic": real, side: real.iloc[:0]}
    with pytest.raises(DataError, match=f"the {side} table has no rows"):
        preserve(tables["real"], tables["synthetic"], schema=SCHEMA)


def test_a_table_that_lacks_a_column_is_refused(real, lost):
    with pytest.raises(SchemaError, match="'income'") as caught:
        preserve(real, lost.drop(columns="income"), schema=SCHEMA)
    assert caught.value.column == "income"


def test_an_error_holds_no_value_of_a_cell(real, lost):
    wrong = lost.astype({"age": object})
    wrong.iloc[0, list(wrong).index("age")] = "canary"
    with pytest.raises(SchemaError) as caught:
        preserve(real, wrong, schema=SCHEMA)
    assert "canary" not in str(caught.value)


def test_the_package_is_called_like_its_function(real, lost, mended):
    pd.testing.assert_frame_equal(synth.preserve(real, lost, schema=SCHEMA).table, mended.table)
    assert inspect.signature(synth.preserve) == inspect.signature(preserve)


QUICK = PreserveConfig(method="genetic", population=12, generations=15)


def small():
    real = people(150)
    return real, shuffled(real)


def distance(found, column):
    return (found.residuals[column] - found.residuals["target"]).abs().mean()


def test_the_genetic_search_comes_closer_and_keeps_the_values():
    real, lost = small()
    found = preserve(real, lost, schema=SCHEMA, config=QUICK)
    assert distance(found, "after") < distance(found, "before")
    for name in lost:
        assert values(found.table[name]) == values(lost[name]), name


def test_the_genetic_search_is_seeded():
    real, lost = small()
    first, again, other = (preserve(real, lost, schema=SCHEMA, config=QUICK, seed=seed).table for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_rank_reordering_comes_closer_than_the_genetic_search():
    real, lost = small()
    by_rank, by_search = preserve(real, lost, schema=SCHEMA), preserve(real, lost, schema=SCHEMA, config=QUICK)
    assert distance(by_rank, "after") < distance(by_search, "after")


def test_the_genetic_search_runs_no_generation_that_its_bound_forbids(monkeypatch):
    from synth_components.preserve import genetic

    bred = itertools.count()
    child = genetic._child

    def counted(*arguments):
        next(bred)
        return child(*arguments)

    monkeypatch.setattr(genetic, "_child", counted)
    real, lost = small()
    # 150 rows of 5 columns and 11 children a generation (one of 12 lives on): two generations are 16,500 cells.
    preserve(real, lost, schema=SCHEMA, config=QUICK.model_copy(update={"max_cells": 16_500}))
    assert next(bred) == 22


def test_the_genetic_search_keeps_rules():
    real, drawn = ruled(200, 1), ruled(150, 2, associated=False)
    found = preserve(real, drawn, schema=profile(real).schema.with_constraints(RULES), config=QUICK)
    for rule in RULES:
        assert rule.allows(found.table).all(), rule.name


def test_adult_without_any_association_gets_all_of_them_back(shared_data):
    names = ["age", "workclass", "weight", "education", "years", "marital", "occupation", "relation", "race", "sex"]
    names += ["gain", "loss", "hours", "country", "income"]
    real = pd.read_csv(shared_data / "adult" / "adult.data.gz", header=None, names=names, skipinitialspace=True)
    lost = shuffled(real, names)
    found = preserve(real, lost, schema=profile(real).schema, mode="strict")
    assert len(found.residuals) == 105
    assert found.residuals["met"].all()
    for name in names:
        assert np.array_equal(found.table[name].value_counts(), lost[name].value_counts())
