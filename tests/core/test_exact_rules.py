"""Rules say what Python's own numbers say: whatever the width of an integer, and on decimals, times and giants too."""

import operator
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import synth_components as synth
from synth_components.constraints import (
    ConstantSum,
    Derived,
    Expression,
    Implication,
    Range,
    ValueSet,
    check,
    constraint_from_json,
    constraints_from_file,
)
from synth_components.contradiction import refuse_contradictions
from synth_components.errors import ConstraintError, DataError, SynthError
from synth_components.expression import MAX_DEPTH, formula
from synth_components.schema import Schema

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
DTYPES = [
    *INTEGERS,
    *(name.replace("u", "U").replace("i", "I") for name in INTEGERS),
    *(f"{i}[pyarrow]" for i in INTEGERS),
]
COMPARISONS = {"<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">=": operator.ge}
ARITHMETIC = {
    "a + b": operator.add,
    "a - b": operator.sub,
    "a * b": operator.mul,
    "-a - b": lambda a, b: -a - b,
    "a * a - b * b": lambda a, b: a * a - b * b,
    "a * a * a * b": lambda a, b: a * a * a * b,
    "a + b * 1000000007": lambda a, b: a + b * 1000000007,
}


def rng(seed=0):
    return np.random.default_rng(seed)


def whole(dtype):
    """Return integers that the dtype holds, its ends often among them."""
    ends = np.iinfo(dtype.removesuffix("[pyarrow]").lower())
    edges = [int(e) for e in (ends.min, ends.max, ends.min + 1, ends.max - 1, ends.max // 2)]
    return st.one_of(st.sampled_from([*edges, 0, 1, 2]), st.integers(int(ends.min), int(ends.max)))


@st.composite
def pairs(draw):
    first, second = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(DTYPES))
    rows = draw(st.lists(st.tuples(whole(first), whole(second)), min_size=1, max_size=8))
    a, b = zip(*rows, strict=True)
    # Not pd.array, of which pandas 3 makes numbers beyond 2^63 zero.
    return rows, pd.DataFrame({"a": pd.Series(a, dtype=first), "b": pd.Series(b, dtype=second)})


@settings(max_examples=200, deadline=None)
@given(pairs(), st.sampled_from(list(ARITHMETIC)), st.sampled_from(list(COMPARISONS)), st.data())
def test_arithmetic_on_integers_of_any_dtype_says_what_python_says(made, text, comparison, data):
    rows, table = made
    results = [ARITHMETIC[text](a, b) for a, b in rows]
    literal = data.draw(st.one_of(st.sampled_from(results), st.sampled_from([0, 255, 2**31, 2**63, -(2**64)])))
    expected = [COMPARISONS[comparison](result, literal) for result in results]
    assert formula(f"{text} {comparison} {literal}").holds(table).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(pairs(), st.sampled_from(list(COMPARISONS)))
def test_a_result_beyond_64_bits_compares_with_columns_as_in_python(made, comparison):
    rows, table = made
    expected = [COMPARISONS[comparison](a * b, a) for a, b in rows]
    assert formula(f"a * b {comparison} a").holds(table).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(pairs(), st.sampled_from(["//", "%"]), st.integers(1, 99))
def test_division_of_integers_of_any_dtype_says_what_python_says(made, sign, divisor):
    rows, table = made
    expected = [(a // divisor if sign == "//" else a % divisor) for a, _ in rows]
    for wanted in set(expected):
        held = formula(f"a {sign} {divisor} == {wanted}").holds(table).tolist()
        assert held == [value == wanted for value in expected]


@pytest.mark.parametrize(
    ("text", "dtype", "values", "expected"),
    [
        ("abs(a) == 128", "int8", [-128, 127], [True, False]),
        ("abs(a) > 0", "int64", [-(2**63), 0], [True, False]),
        ("sqrt(a) > 11.18 & sqrt(a) < 11.181", "uint8", [125, 124], [True, False]),
        ("exp(a) < 1e10", "int8", [23, 24], [True, False]),
        ("round(a, -1) == 130", "int8", [127, 120], [True, False]),
        ("maximum(a, 300) == 300", "uint8", [1, 255], [True, True]),
        ("a + a == 2", "bool", [True, False], [True, False]),
        ("sqrt(a * a) > 1e18", "int64", [2**62, 5], [True, False]),
        ("a * a // 0 == 1", "int64", [2**62, 5], [False, False]),
    ],
)
def test_functions_of_narrow_integers_do_not_wrap(text, dtype, values, expected):
    assert formula(text).holds(pd.DataFrame({"a": pd.Series(values, dtype=dtype)})).tolist() == expected


def test_nulls_beside_results_beyond_64_bits_stay_unknown():
    table = pd.DataFrame(
        {"a": pd.array([2**40, None, 1], dtype="Int64"), "b": pd.array([2**40, 2, None], dtype="Int64")}
    )
    assert Expression(expression="a * b > 0").allows(table).tolist() == [True, True, True]
    assert Expression(expression="a * b < 0").allows(table).tolist() == [False, True, True]


def test_parts_of_years_do_not_wrap():
    table = pd.DataFrame({"t": pd.to_datetime(["2020-01-02"])})
    assert formula("year(t) * 10000000 > 0").holds(table).all()


def bought(n=400):
    made = rng()
    price, quantity = made.integers(1, 20, n), made.integers(1, 20, n)
    return pd.DataFrame({"price": price, "quantity": quantity, "total": price * quantity})


@pytest.mark.parametrize("dtype", ["int8", "uint8", "Int8", "int32"])
def test_a_derived_column_of_narrow_integers_is_right_in_every_row(dtype):
    table = bought().astype({"price": dtype, "quantity": dtype})
    rule = Derived(column="total", expression="price * quantity", name="d")
    assert check(table, [rule]) == {"d": 1.0}
    drawn = synth.fit(table, generator="tabular.independent", constraints=[rule], seed=1).sample(500, seed=1)
    assert (drawn.total == drawn.price.astype("int64") * drawn.quantity.astype("int64")).all()


def test_a_result_that_the_column_cannot_hold_is_left_to_redrawing():
    table = pd.DataFrame({"total": pd.Series([1, 2], dtype="int8"), "a": [100, 3], "b": [2, 4]})
    made = Derived(column="total", expression="a * b").repair(table, rng=rng())
    assert made.total.tolist() == [1, 12]
    parts = pd.DataFrame({"a": pd.Series([1, 50], dtype="int8"), "b": pd.Series([1, 10], dtype="int16")})
    made = ConstantSum(columns=("a", "b"), total=240).repair(parts, rng=rng())
    assert (made.a.tolist(), made.b.tolist()) == ([120, 50], [120, 10])
    assert made.dtypes.tolist() == parts.dtypes.tolist()


def cents(values):
    return pd.Series([None if v is None else Decimal(v).scaleb(-2) for v in values], dtype=object)


def test_a_derived_decimal_column_is_computed_at_its_places():
    table = bought()
    table = table.assign(price=cents(table.price * 7), total=cents(table.price * 7 * table.quantity))
    rule = Derived(column="total", expression="price * quantity", name="d")
    drawn = synth.fit(table, constraints=[rule], seed=1).sample(200, seed=1)
    assert [p * int(q) for p, q in zip(drawn.price, drawn.quantity, strict=True)] == drawn.total.tolist()
    assert {v.as_tuple().exponent for v in drawn.total} == {-2}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Range(column="x", low=1.105, high=1.205), ["1.11", "1.20", "1.15", None]),
        (ValueSet(column="x", values=(1.5,)), ["1.50", "1.50", "1.50", None]),
        (Implication(when="y > 0", then="x == 1.25"), ["1.25", "1.25", "1.25", None]),
    ],
)
def test_repair_of_decimals_writes_decimals_at_their_places(rule, expected):
    table = pd.DataFrame({"x": cents([100, 130, 115, None]), "y": 1})
    made = rule.repair(table, rng=rng())
    assert [None if v is None else str(v) for v in made.x] == expected
    assert rule.allows(made).all()


def test_decimals_that_sum_to_a_constant_are_scaled_to_it():
    made = rng()
    table = pd.DataFrame({name: cents(made.integers(1, 5000, 100).tolist()) for name in "abc"})
    rule = ConstantSum(columns=("a", "b", "c"), total=100)
    mended = rule.repair(table, rng=rng())
    assert rule.allows(mended).all()
    assert {v.as_tuple().exponent for name in "abc" for v in mended[name]} == {-2}
    assert [a + b + c for a, b, c in zip(mended.a, mended.b, mended.c, strict=True)] == [Decimal(100)] * 100


def test_a_batch_of_nulls_fits_a_sum_of_decimals():
    table = pd.DataFrame({"a": cents([None, None]), "b": cents([1, 2])})
    assert ConstantSum(columns=("a", "b"), total=1).allows(table).all()


def test_dates_are_clipped_to_dates():
    table = pd.DataFrame({"d": pd.Series([*pd.to_datetime(["2020-01-01", "2020-03-01"]).date], dtype=object)})
    rule = Range(column="d", low="2020-01-05T12:00:00", high="2020-02-01T12:00:00")
    made = rule.repair(table, rng=rng())
    assert [str(day) for day in made.d] == ["2020-01-06", "2020-02-01"]
    assert rule.allows(made).all()


ZONED = pd.DataFrame({"t": pd.date_range("2020-10-24", "2020-10-26", periods=97, tz="Europe/Berlin"), "k": range(97)})


@pytest.mark.parametrize("bound", ["2020-10-25T02:30:00", "2020-03-29T02:30:00"])
def test_a_rule_takes_a_local_time_that_the_clock_repeats_or_skips(bound):
    rules = [Range(column="t", low=bound, name="r"), Expression(expression=f"t >= '{bound}'", name="e")]
    drawn = synth.fit(ZONED, generator="tabular.independent", constraints=rules, seed=1).sample(100, seed=1)
    assert check(drawn, rules) == {"r": 1.0, "e": 1.0}
    earliest = pd.Timestamp(bound).tz_localize("Europe/Berlin", ambiguous=True, nonexistent="shift_forward")
    assert (drawn.t >= earliest).all()


@pytest.mark.parametrize("zone", [None, "Europe/Berlin", "America/New_York"])
def test_a_bound_beyond_nanoseconds_bounds_nothing(zone):
    table = ZONED.assign(t=ZONED.t.dt.tz_convert(zone).dt.as_unit("ns"))
    rules = [Range(column="t", low="0001-01-02", high="9999-12-31", name="r")]
    assert len(synth.fit(table, generator="tabular.independent", constraints=rules, seed=1).sample(50, seed=1)) == 50
    low = Range(column="t", low="9999-12-31", name="r")
    assert low.repair(table, rng=rng()).t.tolist() == table.t.tolist()
    with pytest.raises(ConstraintError, match="no value of column 't'"):
        synth.fit(table, generator="tabular.independent", constraints=[low], seed=1)


@pytest.mark.parametrize(
    "text",
    [
        f"p < {'9' * 400}",
        f"p + {'9' * 400} > 0",
        "p < 1e999",
        "-" * 1500 + "p > 0",
        "not " * 400 + "p > 0",
        "p+" * 900 + "p > 0",
    ],
    ids=["giant", "giant sum", "infinite", "minus", "not", "sum"],
)
def test_an_expression_beyond_the_limits_is_a_constraint_error(text):
    with pytest.raises(ConstraintError):
        Expression(expression=text)


def test_an_expression_at_the_limits_is_computed():
    schema = Schema.from_json(
        {"columns": {"p": {"type": "numeric", "dtype": "int64", "low": 0, "high": 1, "places": 0}}}
    )
    for text in (f"p < {'9' * 300}", "-" * (MAX_DEPTH - 2) + "p >= 0", "p+" * (MAX_DEPTH - 2) + "p >= 0"):
        rule = Expression(expression=text)
        refuse_contradictions(schema.with_constraints((rule,)))
        assert rule.allows(pd.DataFrame({"p": [0]})).all()


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "range", "column": "p", "high": 10**400},
        {"type": "value_set", "column": "p", "values": [1, 10**400]},
        {"type": "fixed_combinations", "columns": ["p", "q"], "combinations": [[1, -(10**400)]]},
    ],
)
def test_a_rule_with_a_giant_number_is_refused(rule):
    with pytest.raises(SynthError):
        constraint_from_json(rule)


@pytest.mark.parametrize("text", ["[" * 100_000, '[{"type": "range", "column": "p", "high": ' + "9" * 5000 + "}]"])
@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_file_of_giants_is_refused(tmp_path, text, suffix):
    (tmp_path / f"rules.{suffix}").write_text(text, encoding="utf-8")
    with pytest.raises(DataError):
        constraints_from_file(tmp_path / f"rules.{suffix}")


def test_a_rule_that_contradicts_itself_is_said_to():
    schema = Schema.from_json({"columns": {"p": {"type": "numeric", "low": 0, "high": 1}}})
    with pytest.raises(ConstraintError, match=r"^constraint 'r' contradicts itself: "):
        refuse_contradictions(schema.with_constraints((Expression(name="r", expression="1 < 0"),)))
