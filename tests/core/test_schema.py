"""A schema survives JSON, refuses contradictions, and `check` names what breaks it without a cell value."""

import json
import time
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_components.constraints import Range
from synth_components.errors import SchemaError
from synth_components.schema import (
    TABLE,
    Boolean,
    Categorical,
    Datetime,
    Image,
    Key,
    Link,
    Numeric,
    Schema,
    Text,
    Unit,
    check,
    dtype_name,
    dtype_of,
    outside_of,
    same_dtype,
)
from synth_components.testing import toy_table

NAMES = st.text(min_size=1, max_size=6)
FLAGS = st.fixed_dictionaries({"nullable": st.booleans(), "public": st.booleans()})
BOUNDS = st.none() | st.tuples(st.integers(-(2**62), 2**62), st.integers(0, 2**62)).map(lambda b: (b[0], b[0] + b[1]))


def numeric(flags, bounds, places):
    low, high = bounds or (None, None)
    return Numeric(low=low, high=high, places=places, **flags)


VALUES = st.one_of(NAMES, st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
COLUMNS = st.one_of(
    st.builds(numeric, FLAGS, BOUNDS, st.none() | st.integers(-18, 18)),
    st.builds(
        lambda flags, categories, ordered: Categorical(categories=tuple(categories), ordered=ordered, **flags),
        FLAGS,
        st.lists(VALUES, max_size=5, unique_by=lambda v: (type(v).__name__, v)),
        st.booleans(),
    ),
    st.builds(lambda flags: Boolean(**flags), FLAGS),
    st.builds(
        lambda flags, resolution: Datetime(
            dtype="datetime64[us, Europe/Berlin]", low="2024-01-01", resolution=resolution, **flags
        ),
        FLAGS,
        st.sampled_from(["D", "h", "min", "s", "ms", "us", "ns"]),
    ),
    st.builds(lambda flags: Text(kind="email", **flags), FLAGS),
    st.builds(lambda flags: Image(width=28, height=28, channels=1, **flags), FLAGS),
    st.builds(lambda flags: Key(prefix="c-", **flags), FLAGS),
)


@settings(max_examples=50)
@given(st.dictionaries(NAMES, COLUMNS, min_size=1, max_size=5))
def test_a_schema_survives_json_text_with_column_order(columns):
    schema = Schema({TABLE: columns})
    back = Schema.from_json(json.loads(schema.canonical()))
    assert back == schema
    assert list(back.columns) == list(columns)
    assert back.canonical() == schema.canonical()


def relational():
    return Schema(
        {
            "customers": {"id": Key(public=True), "age": Numeric(dtype="int64", public=True)},
            "orders": {"id": Key(), "customer": Key(), "day": Datetime(), "note": Text()},
        },
        root="customers",
        keys={"customers": ("id",), "orders": ("id",)},
        links=(Link("orders", ("customer",), "customers", ("id",)),),
        order={"orders": "day"},
        unit=Unit("orders", ("customer",), 5),
        constraints=(Range(column="age", low=18),),
    )


def test_keys_links_order_unit_and_constraints_survive_json():
    assert Schema.from_json(json.loads(relational().canonical())) == relational()


def test_json_without_whole_numbers_declares_the_same_places():
    declared = {"columns": {"a": {"type": "numeric", "low": 0, "high": 9, "places": 2}}}
    floats = json.loads(json.dumps(declared), parse_int=float)
    assert isinstance(Schema.from_json(floats).columns["a"].places, int)
    assert Schema.from_json(floats) == Schema.from_json(declared)


def test_a_column_declared_in_json_is_public_unless_it_says_otherwise():
    made = Schema.from_json({"columns": {"a": {"type": "numeric"}, "b": {"type": "boolean", "public": False}}})
    assert (made.columns["a"].public, made.columns["b"].public) == (True, False)
    assert not made.is_public


def test_a_schema_cannot_be_changed():
    with pytest.raises(TypeError):
        relational().tables["orders"]["note"] = Boolean()


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"root": "nowhere"}, None),
        ({"keys": {"customers": ("nothing",)}}, "nothing"),
        ({"keys": {"nowhere": ("id",)}}, None),
        ({"links": (Link("orders", ("nothing",), "customers", ("id",)),)}, "nothing"),
        ({"links": (Link("orders", ("customer",), "customers", ("nothing",)),)}, "nothing"),
        ({"order": {"orders": "nothing"}}, "nothing"),
        ({"unit": Unit("orders", ("nothing",))}, "nothing"),
        ({"constraints": (Range(column="nothing", low=1),)}, "nothing"),
    ],
)
def test_a_schema_that_names_what_does_not_exist_is_refused(change, column):
    with pytest.raises(SchemaError) as caught:
        replace(relational(), **change)
    assert caught.value.column == column


@pytest.mark.parametrize(
    "make",
    [
        lambda: Numeric(low=2, high=1),
        lambda: Numeric(low=float("inf")),
        lambda: Numeric(high=float("nan")),
        lambda: Numeric(places=19),
        lambda: Categorical(categories=("a", "a")),
        lambda: Unit(TABLE, max_rows=0),
    ],
)
def test_a_column_that_no_value_can_meet_is_refused(make):
    with pytest.raises(SchemaError):
        make()


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"columns": {}, "tables": {}},
        {"columns": {"a": {"type": "numeric"}}, "kolumns": 1},
        {"columns": {"a": {"type": "number"}}},
        {"columns": {"a": {}}},
        {"columns": {"a": {"type": "numeric", "lowest": 1}}},
        {"columns": {"a": {"type": "numeric", "low": 3, "high": 1}}},
        {"columns": {"a": {"type": "numeric", "places": 0.5}}},
        {"columns": {"a": {"type": "numeric", "places": "2"}}},
        {"columns": {"a": {"type": "boolean"}}, "links": [{"child": "a"}]},
        {"columns": {"a": {"type": "boolean"}}, "unit": {"table": TABLE}},
    ],
)
def test_json_that_is_no_schema_is_refused(value):
    with pytest.raises(SchemaError):
        Schema.from_json(value)


def test_modelled_leaves_out_text_images_and_the_keys_of_a_single_table():
    columns = {"id": Key(), "age": Numeric(), "note": Text(), "face": Image(), "ok": Boolean()}
    schema = Schema({TABLE: columns}, keys={TABLE: ("id",)}, unit=Unit(TABLE, ("id",), 3))
    modelled = schema.modelled
    assert list(modelled.columns) == ["age", "ok"]
    assert dict(modelled.keys) == {}


def test_modelled_keeps_keys_and_links_between_tables():
    modelled = relational().modelled
    assert list(modelled.tables["orders"]) == ["id", "customer", "day"]
    assert modelled.links == relational().links


def test_with_constraints_adds_to_those_that_stand():
    more = Range(column="age", high=120)
    assert relational().with_constraints((more,)).constraints == (*relational().constraints, more)


def test_the_toy_table_obeys_its_schema():
    data = toy_table()
    check(data.table, data.schema.columns)


SECRET = "do-not-tell"


@pytest.mark.parametrize(
    ("column", "values", "rule"),
    [
        (Numeric(low=0, high=1), pd.Series([0.5, 7.25, 8.5]), "2 rows outside its bounds"),
        (Numeric(dtype="int64", high=2**60), pd.Series([2**60, 2**60 + 1]), "1 rows outside its bounds"),
        (Numeric(), pd.Series([1.0, np.nan]), "1 missing"),
        (Numeric(), pd.Series([1, 2]), "dtype int64"),
        (Numeric(dtype="Int64", high=5, nullable=True), pd.Series([1, None, 6], dtype="Int64"), "1 rows"),
        (
            Numeric(dtype="timedelta64[s]", high=60, nullable=True),
            pd.Series(np.array([60, 61, "NaT"], dtype="timedelta64[s]")),
            "1 rows",
        ),
        (Categorical(categories=("a",)), pd.Series(["a", SECRET], dtype=object), "1 rows outside its declared"),
        (Boolean(dtype="object"), pd.Series([True, SECRET], dtype=object), "neither true nor false"),
        (
            Datetime(high="2024-01-01"),
            pd.Series(pd.to_datetime(["2024-01-02"])).astype("datetime64[ns]"),
            "time bounds",
        ),
        (
            Datetime(dtype="datetime64[ns, Asia/Tokyo]", low="2024-01-01"),
            pd.Series(pd.to_datetime(["2023-12-31 14:59"], utc=True)).astype("datetime64[ns, Asia/Tokyo]"),
            "time bounds",
        ),
    ],
)
def test_check_names_column_rule_and_rows_but_no_value(column, values, rule):
    with pytest.raises(SchemaError) as caught:
        check(pd.DataFrame({"x": values}), {"x": column})
    assert caught.value.column == "x"
    assert rule in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "7.25" not in str(caught.value)


def test_check_allows_bounds_themselves_in_the_columns_zone():
    column = Datetime(dtype="datetime64[ns, Asia/Tokyo]", low="2024-01-01", high="2024-01-01")
    midnight = pd.Series(pd.to_datetime(["2023-12-31 15:00"], utc=True)).astype(column.dtype)
    check(pd.DataFrame({"x": midnight}), {"x": column})


@pytest.mark.parametrize("columns", [["a"], ["b", "a"], ["a", "b", "c"]])
def test_check_refuses_missing_unexpected_and_disordered_columns(columns):
    table = pd.DataFrame({name: [1.0] for name in columns})
    with pytest.raises(SchemaError, match="columns of its schema"):
        check(table, {"a": Numeric(), "b": Numeric()})


@pytest.mark.parametrize(
    ("values", "dtype", "same"),
    [
        (pd.Series(["a"], dtype=object), "str", True),
        (pd.Series(["a"], dtype=object), "object", True),
        (pd.Series(["a"], dtype="category"), "category", True),
        (pd.Series([1]), "float64", False),
        (pd.Series([1]), "object", False),
    ],
)
def test_text_dtypes_of_pandas_2_and_3_count_as_one(values, dtype, same):
    assert same_dtype(values, dtype) is same


@pytest.mark.parametrize("storage", ["python", "pyarrow"])
def test_string_of_an_older_schema_is_text_of_either_storage(storage):
    assert same_dtype(pd.Series(["a"], dtype=pd.StringDtype(storage)), "string")


@pytest.mark.parametrize("storage", ["python", "pyarrow"])
def test_string_of_one_storage_is_not_that_of_the_other(storage):
    values = pd.Series(["a"], dtype=pd.StringDtype(storage))

    same = [held for held in ("python", "pyarrow") if same_dtype(values, f"string[storage={held}]")]

    assert same == [storage]


@pytest.mark.parametrize(
    "dtype",
    [pd.StringDtype("python"), pd.StringDtype("pyarrow"), pd.ArrowDtype(pa.string()), pd.Int8Dtype(), np.dtype("f4")],
    ids=repr,
)
def test_name_of_a_dtype_gives_it_back(dtype):
    assert dtype_of(dtype_name(dtype)) == dtype


def test_category_with_half_a_surrogate_pair_is_refused():
    with pytest.raises(SchemaError, match=r"column 'x'.*surrogate"):
        Schema.from_json({"columns": {"x": {"type": "categorical", "categories": ["a\ud800", "b"]}}})


TEXTS, NUMBERS = ["1", "2"], [1, 300]
CONTRADICTIONS = {
    "texts as truth values": (
        {"type": "categorical", "dtype": "boolean", "categories": TEXTS},
        "2 of its 2 categories",
    ),
    "texts as arrow's truth values": ({"type": "categorical", "dtype": "bool[pyarrow]", "categories": TEXTS}, "texts"),
    "texts as whole numbers": ({"type": "categorical", "dtype": "Int64", "categories": TEXTS}, "texts"),
    "texts as numbers": ({"type": "categorical", "dtype": "float64", "categories": TEXTS}, "texts"),
    "texts as times": ({"type": "categorical", "dtype": "datetime64[us]", "categories": ["2020-01-01"]}, "texts"),
    "texts as dates": ({"type": "categorical", "dtype": "date", "categories": ["2020-01-01"]}, "texts"),
    "numbers as decimals": ({"type": "categorical", "dtype": "decimal", "categories": NUMBERS}, "numbers"),
    "numbers as truth values": ({"type": "categorical", "dtype": "bool", "categories": [0, 1, 2]}, "1 of its 3"),
    "numbers as text": ({"type": "categorical", "dtype": "string", "categories": NUMBERS}, "numbers"),
    "truth values as spans": ({"type": "categorical", "dtype": "timedelta64[s]", "categories": [True]}, "truth values"),
    "a number too large": ({"type": "categorical", "dtype": "int8", "categories": NUMBERS}, "1 of its 2"),
    "a negative number": ({"type": "categorical", "dtype": "uint8", "categories": [-1, 1]}, "1 of its 2"),
    "a fraction as a whole number": ({"type": "categorical", "dtype": "int64", "categories": [1, 2.5]}, "1 of its 2"),
    "more digits than are held": ({"type": "categorical", "dtype": "float32", "categories": [0.1, 0.5]}, "1 of its 2"),
    "a float too large": ({"type": "categorical", "dtype": "float32", "categories": [1e300, 0.5]}, "1 of its 2"),
    "beyond all floats": ({"type": "categorical", "dtype": "float64", "categories": [10**400, 1]}, "1 of its 2"),
    "null as a category": ({"type": "categorical", "categories": [None, "a"]}, "null"),
    "numbers as bool": ({"type": "numeric", "dtype": "bool"}, "numeric column"),
    "numbers as categories": ({"type": "numeric", "dtype": "category"}, "numeric column"),
    "numbers as times": ({"type": "numeric", "dtype": "datetime64[ns]"}, "numeric column"),
    "truth values as times": ({"type": "boolean", "dtype": "datetime64[ns]"}, "boolean column"),
    "truth values as text": ({"type": "boolean", "dtype": "string"}, "boolean column"),
    "times as whole numbers": ({"type": "datetime", "dtype": "Int64"}, "datetime column"),
    "times as objects": ({"type": "datetime", "dtype": "object"}, "datetime column"),
    "text as truth values": ({"type": "text", "dtype": "boolean"}, "text column"),
    "paths as numbers": ({"type": "image", "dtype": "int64"}, "image column"),
    "a key as times": ({"type": "key", "dtype": "datetime64[ns]"}, "key column"),
    "periods": ({"type": "datetime", "dtype": "period[D]"}, "datetime column"),
    "no dtype": ({"type": "numeric", "dtype": "SECRET"}, "none that pandas knows"),
}


@pytest.mark.parametrize(("column", "rule"), CONTRADICTIONS.values(), ids=list(CONTRADICTIONS))
def test_a_dtype_that_holds_no_values_of_the_column_is_refused_where_it_is_declared(column, rule):
    with pytest.raises(SchemaError, match=rf"column 'x'.*{rule}.*declare") as caught:
        Schema.from_json({"columns": {"x": column}})
    assert (caught.value.column, caught.value.table) == ("x", TABLE)
    assert not any(text in str(caught.value) for text in ("2020", "300", "0.1", "SECRET"))


@pytest.mark.parametrize(
    ("dtype", "categories"),
    [
        ("object", (1, "a", True, 0.5)),
        ("category", (1, 2)),
        ("string", ("1", "2")),
        ("string[pyarrow]", ("1", "2")),
        ("str", ("1", "2")),
        ("int64", (False, True)),
        ("int8", (-128, 127)),
        ("UInt64", (2**64 - 1,)),
        ("uint16[pyarrow]", (65_535,)),
        ("float64", (1, 2.5)),
        ("float32", (0.5,)),
        ("bool", (0, 1)),
        ("boolean", (True,)),
        ("float64", ()),
    ],
)
def test_a_dtype_may_hold_categories_of_another_type_exactly(dtype, categories):
    assert Categorical(dtype=dtype, categories=categories).categories == categories


def test_column_whose_name_holds_half_a_surrogate_pair_is_refused():
    with pytest.raises(SchemaError, match="surrogate"):
        Schema.from_json({"columns": {"x\ud800": {"type": "numeric"}}})


EDGES = {
    "int64": [-(2**63), -(2**53) - 1, -1, 0, 1, 2**53, 2**53 + 1, 2**63 - 1],
    "uint64": [0, 1, 2**53, 2**53 + 1, 2**63, 2**64 - 1],
    "Int64": [-(2**63), 2**53 + 1, None],
    "float64": [-1.5, 0.1, float(2**53), float(2**53 + 2), None],
    "float32": [0.1, 1.0, None],
    "object": [Decimal("0.1"), Decimal("9007199254740993"), None],
    "timedelta64[us]": [1, 2**53 + 1],
}
BOUNDS = [-(2**63), -0.5, 0, 0.1, 1.0, 2**53, 2**53 + 1, float(2**63), 2**63, 2**64, 1e300]


@pytest.mark.parametrize("dtype", EDGES)
def test_bounds_are_compared_as_exactly_as_python_does(dtype):
    values = pd.Series(EDGES[dtype], dtype=dtype)
    held = values.astype("int64").tolist() if dtype.startswith("t") else values.astype(object).tolist()
    for bound in BOUNDS:
        below, _ = outside_of(values, Numeric(dtype=dtype, low=bound))
        above, _ = outside_of(values, Numeric(dtype=dtype, high=bound))

        assert below.tolist() == [not pd.isna(v) and v < bound for v in held], f"low {bound!r}"
        assert above.tolist() == [not pd.isna(v) and v > bound for v in held], f"high {bound!r}"


def test_bounds_of_a_million_rows_take_no_loop_over_them():
    values = pd.Series(np.arange(1_000_000))
    taken = []
    for _ in range(5):  # the quickest, as other programs take the caches away
        start = time.process_time()
        outside, _ = outside_of(values, Numeric(dtype="int64", low=1, high=999_998))
        taken.append(time.process_time() - start)

    # A comparison of 8 MB takes about 10 ms; a Python loop twice over a million numbers about 200 ms.
    assert int(outside.sum()) == 2
    assert min(taken) < 0.1


@pytest.mark.parametrize("low", ["2020-10-25T02:30:00", "2020-03-29T02:30:00"])
def test_a_bound_may_be_a_local_time_that_the_clock_repeats_or_skips(low):
    times = pd.to_datetime(["2020-03-29T00:59:00Z", "2020-10-25T00:30:00Z"]).tz_convert("Europe/Berlin")
    column = Datetime(dtype="datetime64[ns, Europe/Berlin]", low=low)
    outside, _ = outside_of(pd.Series(times), column)
    assert outside.tolist() == [True, False]
