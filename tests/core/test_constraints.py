"""Rules: what each allows and mends, the expression language, and enforcement."""

import datetime
import decimal
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_components.constraints import (
    Derived,
    Expression,
    FunctionalDependency,
    Implication,
    Inequality,
    Range,
    Unique,
    check,
    constraint_from_json,
    constraints_from_file,
    is_unlearned,
)
from synth_components.contradiction import refuse_contradictions, require_room
from synth_components.enforcement import enforce, learned
from synth_components.errors import ConditionError, ConstraintError, DataError, SchemaError
from synth_components.expression import formula
from synth_components.schema import Schema

RULES = [
    Range(column="a", low=1, high=5),
    Range(column="t", low=datetime.date(2020, 1, 1), strict=True),
    Inequality(low="a", high="b", strict=True),
    Derived(column="a", expression="b * 2", places=2),
    FunctionalDependency(determinant=("a", "b"), dependent="c", mapping=(((1, "x"), True), ((2, "y"), False))),
    FunctionalDependency(determinant=("a",), dependent="c", mapping={"x": 1}),
    Unique(columns=("a", "b")),
    Implication(when="a > 1", then="b == 2"),
    Expression(expression="a < b | c == 'x'", name="mine"),
]
NUMBERS = Schema.from_json(
    {
        "columns": {
            "a": {"type": "numeric", "dtype": "float64", "low": 0, "high": 100, "places": 0, "nullable": True},
            "b": {"type": "numeric", "dtype": "float64", "low": 0, "high": 100, "places": 0, "nullable": True},
        }
    }
)


def rng(seed=0):
    return np.random.default_rng(seed)


def draw_numbers(generator):
    return lambda positions: pd.DataFrame(
        {"a": generator.integers(0, 101, len(positions)) * 1.0, "b": generator.integers(0, 101, len(positions)) * 1.0}
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_round_trips_through_json_text(rule):
    assert constraint_from_json(json.loads(json.dumps(rule.to_json()))) == rule


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_is_frozen(rule):
    with pytest.raises(ValueError, match="frozen"):
        rule.name = "other"


def test_the_default_name_tells_the_rule():
    assert [rule.name for rule in RULES[:3]] == ["range(a)", "range(t)", "a < b"]


def test_an_unknown_type_of_rule_is_refused_naming_the_known_ones():
    with pytest.raises(SchemaError, match="functional_dependency"):
        constraint_from_json({"type": "magic"})


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_rules_are_read_from_a_file(tmp_path, suffix):
    text = {
        "json": '{"constraints": [{"type": "range", "column": "a", "low": 1}]}',
        "yaml": "- type: range\n  column: a\n  low: 1\n",
    }[suffix]
    path = tmp_path / f"rules.{suffix}"
    path.write_text(text, encoding="utf-8")
    assert constraints_from_file(path) == (Range(column="a", low=1),)


@pytest.mark.parametrize(
    ("name", "text"), [("r.json", "{"), ("r.yaml", "a: ["), ("r.json", '{"a": 1}'), ("r.json", "[1]")]
)
def test_a_file_that_holds_no_rules_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="constraints file"):
        constraints_from_file(tmp_path / name)


def test_a_missing_file_of_rules_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        constraints_from_file(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("rule", "table", "expected"),
    [
        (Range(column="a", low=1, high=2), {"a": [0.5, 1, 2, 2.5, None]}, [False, True, True, False, True]),
        (Range(column="a", low=1, strict=True), {"a": [1, 2]}, [False, True]),
        (
            Range(column="a", low="2020-01-02"),
            {"a": pd.to_datetime(["2020-01-01", "2020-01-02", None])},
            [False, True, True],
        ),
        (
            Range(column="a", high="2020-01-02T00:00:00"),
            {"a": pd.to_datetime(["2020-01-01", "2020-01-03"]).tz_localize("Europe/Berlin")},
            [True, False],
        ),
        (Range(column="a", low=5), {"a": pd.to_timedelta([4, 5], unit="s").astype("timedelta64[s]")}, [False, True]),
        (Range(column="a", low=1), {"a": [decimal.Decimal("0.5"), decimal.Decimal("1.5"), None]}, [False, True, True]),
        (
            Range(column="a", low="2020-01-02"),
            {"a": [datetime.date(2020, 1, 1), datetime.date(2020, 1, 3)]},
            [False, True],
        ),
        (Range(column="a", low=1), {"a": pd.array([0, 1, None], dtype="Int64")}, [False, True, True]),
        (Inequality(low="a", high="b"), {"a": [1, 2, 3], "b": [2, 2, 2]}, [True, True, False]),
        (Inequality(low="a", high="b", strict=True), {"a": [1, 2.0], "b": [2, 2]}, [True, False]),
        (Inequality(low="a", high="b"), {"a": [1, None], "b": [None, 2]}, [True, True]),
        (Derived(column="a", expression="b * 3"), {"a": [0.3, 0.4, None], "b": [0.1, 0.1, 1]}, [True, False, True]),
        (Derived(column="a", expression="b / 3", places=2), {"a": [0.33, 0.34], "b": [1, 1]}, [True, False]),
        (Derived(column="a", expression="lower(b)"), {"a": ["x", "X"], "b": ["X", "X"]}, [True, False]),
        (
            FunctionalDependency(determinant=("a",), dependent="b", mapping={"x": 1}),
            {"a": ["x", "x", "y", None], "b": [1, 2, 1, 5]},
            [True, False, False, True],
        ),
        (Unique(columns=("a",)), {"a": [1, 1, None, None]}, [True, False, True, True]),
        (
            Implication(when="a > 1", then="b == 2"),
            {"a": [1, 2, 2, None], "b": [0, 2, 0, 0]},
            [True, True, False, True],
        ),
        (Implication(when="isnull(a)", then="b == 0"), {"a": [None, None, 1.0], "b": [0, 1, 1]}, [True, False, True]),
        (Expression(expression="a + b <= 3"), {"a": [1, 2, None], "b": [2, 2, 9]}, [True, False, True]),
    ],
)
def test_allows_tells_the_rows_that_obey(rule, table, expected):
    assert rule.allows(pd.DataFrame(table)).tolist() == expected


@pytest.mark.parametrize(
    ("rule", "table", "column", "expected"),
    [
        (Range(column="a", low=1, high=2), {"a": [0.5, 1.5, 9.0, None]}, "a", [1.0, 1.5, 2.0, None]),
        (Range(column="a", low=0.5, high=2.5), {"a": [0, 1, 9]}, "a", [1, 1, 2]),
        (Inequality(low="a", high="b"), {"a": [1, 5], "b": [2, 3]}, "a", [1, 3]),
        (Derived(column="a", expression="b * 2"), {"a": [1, 7], "b": [2, 3]}, "a", [4, 6]),
        (
            FunctionalDependency(determinant=("a",), dependent="b", mapping={1: "x"}),
            {"a": [1, 2], "b": ["y", "y"]},
            "b",
            ["x", "y"],
        ),
        (Implication(when="a > 1", then="b == 2"), {"a": [1, 2], "b": [0, 0]}, "b", [0, 2]),
    ],
)
def test_repair_mends_the_wrong_rows_and_only_those(rule, table, column, expected):
    frame = pd.DataFrame(table)
    mended = rule.repair(frame, rng=rng())
    pd.testing.assert_series_equal(mended[column], pd.Series(expected, name=column, dtype=frame[column].dtype))


@pytest.mark.parametrize("dtype", ["category", "boolean", "Int64"])
def test_repair_keeps_the_dtype(dtype):
    values = pd.Series([True, False] if dtype == "boolean" else [1, 2]).astype(dtype)
    frame = pd.DataFrame({"a": [1, 1], "b": values})
    rule = FunctionalDependency(determinant=("a",), dependent="b", mapping={1: values.tolist()[0]})
    mended = rule.repair(frame, rng=rng())
    assert mended["b"].dtype == values.dtype
    assert rule.allows(mended).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.none() | st.integers(-50, 50), st.none() | st.integers(-50, 50)), min_size=1, max_size=30),
    st.sampled_from(
        [Range(column="a", low=-3, high=9), Inequality(low="a", high="b"), Derived(column="a", expression="b + 1")]
    ),
)
def test_repair_of_numbers_satisfies_the_rule_in_every_row_and_keeps_obedient_rows(rows, rule):
    table = pd.DataFrame(rows, columns=["a", "b"], dtype="float64")
    right = rule.allows(table)
    mended = rule.repair(table, rng=rng())
    assert rule.allows(mended).all()
    pd.testing.assert_frame_equal(mended[right], table[right])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=20))
def test_an_expression_says_what_python_says(rows):
    table = pd.DataFrame(rows, columns=["a", "b"])
    text = "(a + 2 * b >= 3 and not a == b) or -a in [1, 2, -3]"
    expected = [eval(text, {"a": a, "b": b}) for a, b in rows]
    assert formula(text).holds(table).tolist() == expected


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a > 1 & b < 2", ("a", "b")),
        ("`hours-per-week` * 2 == c", ("hours-per-week", "c")),
        ("name == 'a & `b`'", ("name",)),
        ("1 < a <= 3", ("a",)),
    ],
)
def test_an_expression_finds_its_columns(text, columns):
    assert formula(text).columns == columns


def test_ampersand_binds_like_and_as_pandas_does():
    table = pd.DataFrame({"a": [2, 2, 0], "b": [1, 5, 1]})
    assert formula("a > 1 & b < 2").holds(table).tolist() == table.eval("a > 1 & b < 2", engine="python").tolist()


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "a.__class__",
        "a.values",
        "@a > 1",
        "a[0]",
        "open('x')",
        "eval('1')",
        "lambda: 1",
        "[x for x in a]",
        "a := 1",
        "f'{a}'",
        "a is None",
        "abs(a, b)",
        "round(number=a)",
        "a * 'text'",
        "a in b",
        "import os",
        "__a > 1",
        "a if b else c",
        "",
        "a" * 3000,
        "(" * 500 + "a" + ")" * 500,
    ],
)
def test_an_expression_outside_the_language_is_refused(text):
    with pytest.raises(ConstraintError):
        Expression(expression=text)


def test_a_tower_of_powers_does_not_hang():
    assert formula("a < 9 ** 9 ** 9 ** 9").holds(pd.DataFrame({"a": [1]})).tolist() == [True]


def test_an_expression_on_unfit_types_says_which_columns_and_shows_no_value():
    with pytest.raises(ConstraintError, match=r"\['a'\]") as caught:
        Expression(expression="a > 1").allows(pd.DataFrame({"a": ["secret"]}))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Range(column="a", low=2, high=1),
        lambda: Range(column="a", low=1, high=1, strict=True),
        lambda: Range(column="a", low="2020-01-01", high=3),
        lambda: Inequality(low="a", high="a"),
        lambda: Derived(column="a", expression="a + 1"),
        lambda: FunctionalDependency(determinant=("a",), dependent="a"),
        lambda: FunctionalDependency(determinant=("a",), dependent="b", mapping=(((1,), 2), ((1,), 3))),
        lambda: FunctionalDependency(determinant=("a", "c"), dependent="b", mapping=(((1,), 2),)),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(make):
    with pytest.raises(ConstraintError):
        make()


@pytest.mark.parametrize(
    "rules",
    [
        (Range(column="a", high=3), Range(column="a", low=4, name="other")),
        (Range(column="a", low=101),),
        (Range(column="a", low=60), Range(column="b", high=50), Inequality(low="a", high="b")),
        (Inequality(low="a", high="b", strict=True), Inequality(low="b", high="a")),
        (Expression(expression="a > 1"), Expression(expression="a > 1")),
        (Range(column="a", low="2020-01-01"),),
    ],
)
def test_rules_that_contradict_each_other_or_the_schema_are_refused(rules):
    with pytest.raises(ConstraintError):
        refuse_contradictions(NUMBERS.with_constraints(rules))


def test_rules_that_agree_are_not_refused():
    rules = (Range(column="a", low=1, high=50), Range(column="b", low=2), Inequality(low="a", high="b"))
    refuse_contradictions(NUMBERS.with_constraints(rules))


def test_more_unique_rows_than_a_column_has_values_are_refused():
    column = {"type": "numeric", "low": 0, "high": 100, "places": 0}
    schema = Schema.from_json({"columns": {"a": column}}).with_constraints((Unique(columns=("a",)),))
    require_room(schema, (), 101)
    with pytest.raises(ConstraintError, match="room for 101 rows"):
        require_room(schema, (), 102)


def test_only_a_rule_with_a_part_to_learn_is_unlearned():
    table = pd.DataFrame({"a": ["x", "y"] * 20, "b": ["u", "v"] * 20})
    rule, declared = FunctionalDependency(determinant=("a",), dependent="b"), Unique(columns=("a",))
    assert [is_unlearned(one) for one in (rule, rule.learn(table), declared)] == [True, False, False]
    assert learned([rule, declared], table) == (rule.learn(table), declared)


def test_a_learned_dependency_keeps_only_pairs_with_support():
    table = pd.DataFrame({"city": ["A"] * 12 + ["B"] * 11 + ["rare"] * 2, "land": ["x"] * 11 + ["z"] + ["y"] * 13})
    rule = FunctionalDependency(determinant=("city",), dependent="land").learn(table)
    assert rule.mapping == ((("A",), "x"), (("B",), "y"))


def test_a_dependency_that_the_data_do_not_show_is_refused():
    table = pd.DataFrame({"a": [1] * 20, "b": [1, 2] * 10})
    with pytest.raises(ConstraintError, match="10 of 20 rows"):
        FunctionalDependency(determinant=("a",), dependent="b").learn(table)


def test_check_tells_the_share_of_rows_that_obey():
    table = pd.DataFrame({"a": [1, 2, 3, 4]})
    assert check(table, [Range(column="a", high=3)]) == {"range(a)": 0.75}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                Range(column="a", low=20, high=90),
                Inequality(low="a", high="b"),
                Expression(expression="a + b >= 40"),
                Implication(when="a > 50", then="b >= 60"),
                Unique(columns=("a", "b")),
            ]
        ),
        max_size=5,
        unique=True,
    ),
    st.integers(0, 60),
    st.integers(0, 1000),
)
def test_enforced_rows_obey_every_rule_and_are_as_many_as_asked(rules, n, seed):
    generator = rng(seed)
    table = enforce(draw_numbers(generator), rules, n, rng=generator, schema=NUMBERS)
    assert len(table) == n
    assert all(share == 1.0 for share in check(table, rules).values())


def test_repair_of_rules_that_disturb_each_other_still_obeys_both():
    rules = [Inequality(low="a", high="b"), Range(column="a", low=30), Derived(column="b", expression="a + 1")]
    table = enforce(draw_numbers(rng()), rules, 50, rng=rng(), schema=NUMBERS)
    assert check(table, rules) == {rule.name: 1.0 for rule in rules}


def test_a_repair_that_leaves_the_schema_is_drawn_again():
    rules = [Derived(column="b", expression="a * 2")]  # up to 200, and b ends at 100
    table = enforce(draw_numbers(rng()), rules, 200, rng=rng(), schema=NUMBERS)
    assert table["b"].max() <= 100
    assert table.attrs["acceptance"]["the schema"] < 0.8


def test_rejection_does_not_change_the_distribution_of_the_rest():
    rules = [Expression(expression="a >= 51")]
    table = enforce(draw_numbers(rng()), rules, 4000, rng=rng(), schema=NUMBERS)
    # a is uniform on 51..100: mean 75.5, sd 14.43; 4 sigma of the mean: 4 * 14.43 / sqrt(4000) = 0.91
    assert abs(table["a"].mean() - 75.5) < 0.91
    # 50 of 101 values obey; 4 sigma of a share of at least 4000: 4 * 0.5 / sqrt(4000) = 0.032
    assert abs(table.attrs["acceptance"]["a >= 51"] - 50 / 101) < 0.032


def test_enforce_raises_when_no_row_can_satisfy_the_rule():
    rules = [Range(column="a", low=1), Expression(expression="a + b > 500", name="impossible")]
    with pytest.raises(ConstraintError, match=r"'impossible'.*0\.00%") as caught:
        enforce(draw_numbers(rng()), rules, 5, rng=rng(), schema=NUMBERS)
    assert caught.value.constraint == "impossible"
    assert caught.value.acceptance == 0.0


def test_enforce_raises_when_unique_rows_run_out():
    with pytest.raises(ConstraintError, match="unique") as caught:
        enforce(draw_numbers(rng()), [Unique(columns=("a",))], 150, rng=rng(), schema=NUMBERS)
    assert caught.value.acceptance < 0.01  # 101 of at least 50,000 candidates are new


def test_unique_looks_at_the_rows_of_earlier_blocks():
    before = pd.DataFrame({"a": np.arange(50) * 1.0})
    table = enforce(draw_numbers(rng()), [Unique(columns=("a",))], 51, rng=rng(), schema=NUMBERS, before=before)
    assert set(table["a"]) == set(np.arange(50.0, 101.0))


def test_candidates_that_never_meet_the_conditions_are_a_condition_error():
    with pytest.raises(ConditionError, match=r"0\.00%"):
        enforce(
            draw_numbers(rng()),
            [],
            5,
            rng=rng(),
            schema=NUMBERS,
            accepts=lambda table, _: np.zeros(len(table), dtype=bool),
        )


def test_a_position_keeps_a_candidate_that_was_drawn_for_it():
    def draw(positions):
        return pd.DataFrame({"a": positions * 1.0, "b": rng().random(len(positions)).round()})

    table = enforce(
        draw,
        [],
        40,
        rng=rng(),
        schema=NUMBERS,
        accepts=lambda frame, positions: (frame["a"] == positions).to_numpy() & (np.arange(len(frame)) % 2 == 0),
    )
    assert table["a"].tolist() == list(range(40))
