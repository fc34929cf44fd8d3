"""A rule on a column whose dtype does not hold its values says so, and mends what it can."""

import numpy as np
import pandas as pd
import pytest

from synth_components.constraints import (
    ConstantSum,
    ExactlyOne,
    Expression,
    FunctionalDependency,
    Hierarchy,
    Range,
    ValueSet,
)
from synth_components.contradiction import refuse_contradictions
from synth_components.errors import ConstraintError
from synth_components.schema import Schema

BOOLEANS = pd.array([True, False, True], dtype="boolean")
TIMES = pd.to_datetime(["2020-01-01", "2020-05-05", "2020-05-06"])
WIDE = 2**60 + 1

MISFITS = {
    "sum of booleans": (ConstantSum(columns=("f", "n"), total=-5), {"f": BOOLEANS, "n": [1.0, 2.0, 3.0]}),
    "number for a time": (
        FunctionalDependency(determinant=("k",), dependent="t", mapping={1: 1e308}),
        {"k": [1, 1, 2], "t": TIMES},
    ),
    "text for a boolean": (Hierarchy(levels=("f", "k"), paths=[("x", 1)]), {"f": BOOLEANS, "k": [1, 1, 2]}),
    "values of times": (ValueSet(column="t", values=("2020-05-05",)), {"t": TIMES}),
}


def repaired(rule, table):
    return rule.repair(table, rng=np.random.default_rng(0))


@pytest.mark.parametrize(("rule", "columns"), MISFITS.values(), ids=MISFITS)
def test_a_repair_with_values_of_another_kind_is_refused_by_the_name_of_its_rule(rule, columns):
    with pytest.raises(ConstraintError, match="their types do not fit it") as caught:
        repaired(rule, pd.DataFrame(columns))
    assert caught.value.constraint == rule.name


def test_a_set_of_times_is_refused_before_anything_is_drawn():
    schema = Schema.from_json({"columns": {"t": {"type": "datetime"}}})
    with pytest.raises(ConstraintError, match="which holds times; give a range"):
        refuse_contradictions(schema.with_constraints((ValueSet(column="t", values=("2020-05-05",)),)))


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_an_expression_lists_times(zone):
    held = Expression(expression="t in ['2020-05-05', '2020-01-01']").allows(
        pd.DataFrame({"t": TIMES.tz_localize(zone)})
    )
    assert held.tolist() == [True, True, False]


@pytest.mark.parametrize("dtype", ["Int64", "Float32", "string", "boolean", "int64[pyarrow]"])
def test_a_dependency_mends_a_column_with_nulls_of_any_dtype(dtype):
    values = {"string": ["x", "y"], "boolean": [True, False]}.get(dtype, [1, 2])
    rule = FunctionalDependency(determinant=("k",), dependent="v", mapping={1: values[0], 2: values[1]})
    held = pd.Series([values[0], values[0], None], dtype=dtype)
    made = repaired(rule, pd.DataFrame({"k": [1, 2, 2], "v": held}))["v"]
    assert made.dtype == held.dtype
    assert made[:2].tolist() == values
    assert made.isna().tolist() == [False, False, True]


@pytest.mark.parametrize("dtype", ["int64", "Int8", "int8[pyarrow]", "bool", "boolean", "bool[pyarrow]", object])
def test_one_of_several_columns_is_set_in_numbers_and_booleans_of_any_dtype(dtype):
    ones = [1, 0, 1, 1] if "int" in str(dtype).lower() else [True, False, True, True]
    table = pd.DataFrame({"a": pd.Series(ones, dtype=dtype), "b": pd.Series(ones[::-1], dtype=dtype)})
    rule = ExactlyOne(columns=("a", "b"), counts="true")
    made = repaired(rule, table)
    assert not rule.allows(table).all()
    assert rule.allows(made).all()
    assert made.dtypes.tolist() == table.dtypes.tolist()


@pytest.mark.parametrize("dtype", ["int64", "Int64", "uint64", "int64[pyarrow]"])
def test_a_bound_beyond_2_to_53_is_clipped_to_exactly(dtype):
    table = pd.DataFrame({"w": pd.Series([WIDE - 1, WIDE + 1, WIDE + 5], dtype=dtype)})
    rule = Range(column="w", low=WIDE, high=WIDE + 3)
    assert repaired(rule, table)["w"].tolist() == [WIDE, WIDE + 1, WIDE + 3]


@pytest.mark.parametrize("dtype", ["uint8", "UInt8", "uint8[pyarrow]", "int8"])
def test_a_bound_that_the_dtype_does_not_reach_leaves_the_other_side_to_be_mended(dtype):
    table = pd.DataFrame({"w": pd.Series([1, 50, 100], dtype=dtype)})
    assert repaired(Range(column="w", low=-1000, high=60), table)["w"].tolist() == [1, 50, 60]
    assert repaired(Range(column="w", low=10, high=1e308), table)["w"].tolist() == [10, 50, 100]
    assert not Range(column="w", low=300).allows(repaired(Range(column="w", low=300), table)).any()
