"""Conditions: parsed before any work, met by every row, resampled where the generator cannot condition."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest

from synth_components import conditions as conditioning
from synth_components import fit
from synth_components.constraints import Derived, Expression, FunctionalDependency
from synth_components.errors import ConditionError, SynthError
from synth_components.protocols import Interval
from synth_components.schema import Schema

SCHEMA = Schema.from_json(
    {
        "columns": {
            "age": {"type": "numeric", "dtype": "float64", "low": 0, "high": 99, "places": 0, "nullable": True},
            "price": {"type": "numeric", "dtype": "float64", "low": 0, "high": 10, "places": 2},
            "city": {"type": "categorical", "categories": ["A", "B", "C"], "nullable": True},
            "flag": {"type": "boolean"},
            "day": {
                "type": "datetime",
                "dtype": "datetime64[ns]",
                "low": "2020-01-01",
                "high": "2020-12-30",
                "resolution": "D",
                "nullable": True,
            },
            "zoned": {
                "type": "datetime",
                "dtype": "datetime64[ns, Europe/Berlin]",
                "low": "2020-01-01",
                "resolution": "h",
            },
            "span": {"type": "numeric", "dtype": "timedelta64[ns]", "low": 0, "high": 10**12},
            "big": {"type": "numeric", "dtype": "int64", "low": 0, "high": 2**62, "places": 0},
            "cost": {"type": "numeric", "dtype": "decimal", "low": 0, "high": 10, "places": 1},
        }
    }
)


def training_table(n=400):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 80, n).astype("float64"),
            "price": rng.integers(0, 1001, n) / 100,
            "city": rng.choice(np.array(["A", "B", "C"], dtype=object), n),
            "flag": rng.random(n) < 0.3,
            "day": (np.datetime64("2020-01-01") + rng.integers(0, 365, n)).astype("datetime64[ns]"),
            "zoned": pd.Series((np.datetime64("2020-01-02T00") + rng.integers(0, 500, n)).astype("datetime64[ns]"))
            .dt.tz_localize("UTC")
            .dt.tz_convert("Europe/Berlin"),
            "span": rng.integers(0, 10**12, n).astype("timedelta64[ns]"),
            "big": rng.integers(0, 2**62, n),
            "cost": [decimal.Decimal(int(v)).scaleb(-1) for v in rng.integers(0, 100, n)],
        }
    )
    table.loc[::5, "age"] = np.nan
    table.loc[::4, "day"] = pd.NaT
    table["city"] = table["city"].where(np.arange(n) % 6 > 0, None).astype(object)
    return table


@pytest.fixture(scope="module")
def model():
    return fit(training_table(), generator="tabular.independent", schema=SCHEMA, seed=0)


BERLIN = pd.Timestamp("2020-01-05 12:00", tz="Europe/Berlin")


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        ({"city": "A"}, lambda t: t["city"] == "A"),
        ({"city": ["A", "C"]}, lambda t: t["city"].isin(["A", "C"])),
        ({"city": {"A", None}}, lambda t: t["city"].isna() | (t["city"] == "A")),
        ({"city": None}, lambda t: t["city"].isna()),
        ({"flag": True}, lambda t: t["flag"]),
        ({"flag": np.bool_(False), "city": "B"}, lambda t: ~t["flag"] & (t["city"] == "B")),
        ({"age": 40}, lambda t: t["age"] == 40),
        ({"age": None}, lambda t: t["age"].isna()),
        ({"age": [20, None]}, lambda t: t["age"].isna() | (t["age"] == 20)),
        ({"age": (30, 35)}, lambda t: t["age"].between(30, 35)),
        ({"age": (None, 30)}, lambda t: t["age"] <= 30),
        ({"age": Interval(low=70)}, lambda t: t["age"] >= 70),
        ({"price": 1.23}, lambda t: t["price"] == 1.23),
        ({"price": [0.5, 9.75]}, lambda t: t["price"].isin([0.5, 9.75])),
        ({"day": "2020-05-05"}, lambda t: t["day"] == pd.Timestamp("2020-05-05")),
        ({"day": datetime.date(2020, 5, 5)}, lambda t: t["day"] == pd.Timestamp("2020-05-05")),
        ({"day": ("2020-03-01", "2020-03-31")}, lambda t: t["day"].between("2020-03-01", "2020-03-31")),
        ({"day": None, "age": None}, lambda t: t["day"].isna() & t["age"].isna()),
        ({"zoned": BERLIN}, lambda t: t["zoned"] == BERLIN),
        ({"zoned": (BERLIN, None)}, lambda t: t["zoned"] >= BERLIN),
        ({"zoned": "2020-01-05 12:00"}, lambda t: t["zoned"] == BERLIN),
        ({"span": pd.Timedelta(5, "s")}, lambda t: t["span"] == pd.Timedelta(5, "s")),
        ({"span": "PT5S"}, lambda t: t["span"] == pd.Timedelta(5, "s")),
        ({"span": (None, "PT10S")}, lambda t: t["span"] <= pd.Timedelta(10, "s")),
        ({"big": 2**61 + 1}, lambda t: t["big"] == 2**61 + 1),
        ({"big": (2**61, None)}, lambda t: t["big"] >= 2**61),
        ({"cost": decimal.Decimal("2.5")}, lambda t: t["cost"] == decimal.Decimal("2.5")),
        (
            {"age": 40, "city": "A", "flag": True, "day": (None, "2020-06-01")},
            lambda t: (t["age"] == 40) & (t["city"] == "A"),
        ),
    ],
    ids=lambda value: "holds" if callable(value) else ",".join(value),  # a set has no order to be named by
)
def test_every_row_meets_the_condition_and_the_schema(model, conditions, holds):
    table = model.sample(40, seed=1, conditions=conditions)
    assert len(table) == 40
    assert holds(table).all()
    assert table.dtypes.astype(str).to_dict() == model.sample(1, seed=1).dtypes.astype(str).to_dict()


def test_one_request_row_gives_one_output_row_in_order(model):
    requests = pd.DataFrame(
        {
            "city": ["A", None, "B", "C"],
            "age": [20, 33, np.nan, 61],
            "day": [pd.NaT, pd.NaT, pd.Timestamp("2020-02-02"), pd.NaT],
            "flag": [None, True, None, False],
        }
    )
    table = model.sample(seed=2, conditions=requests)
    assert len(table) == 4
    for name in requests:
        asked = requests[name].notna()
        assert (table.loc[asked, name].astype(object) == requests.loc[asked, name].astype(object)).all()


def test_request_rows_span_blocks(model):
    n = 16_384 + 5
    requests = pd.DataFrame({"city": np.where(np.arange(n) % 3 == 0, "A", "B")})
    table = model.sample(conditions=requests, seed=3)
    assert table["city"].tolist() == requests["city"].tolist()


def test_the_callers_requests_are_not_changed(model):
    requests = pd.DataFrame({"city": ["A", None], "age": [20, np.nan]}, index=[7, 7])
    before = requests.copy()
    model.sample(conditions=requests, seed=0)
    pd.testing.assert_frame_equal(requests, before)


@pytest.mark.parametrize(
    ("conditions", "rule"),
    [
        ({"nothing": 1}, "does not have"),
        ({"city": "Z"}, "none of the column's categories"),
        ({"city": ["A", "Z"]}, "none of the column's categories"),
        ({"city": ("A", "B")}, "is an interval, and the column is no number"),
        ({"city": []}, "allows no value"),
        ({"flag": "yes"}, "neither true nor false"),
        ({"flag": None}, "not nullable"),
        ({"age": 120}, "outside the schema's bounds"),
        ({"age": 20.5}, "more than 0 decimal places"),
        ({"price": 1.234}, "more than 2 decimal places"),
        ({"age": "forty"}, "needs a finite number"),
        ({"age": True}, "needs a finite number"),
        ({"age": np.inf}, "needs a finite number"),
        ({"age": (50, 20)}, "low > high"),
        ({"age": (100, None)}, "outside the schema's bounds"),
        ({"day": "soon"}, "ISO 8601"),
        ({"day": "1/2/2020"}, "ISO 8601"),
        ({"day": ("2.1.2020", None)}, "ISO 8601"),
        ({"day": "now"}, "ISO 8601"),
        ({"span": 5}, "its unit"),
        ({"span": "5"}, "its unit"),
        ({"span": "5 min"}, "its unit"),
        ({"span": "P1M"}, "its unit"),  # a month, for which pandas reads a minute
        ({"span": (0, None)}, "its unit"),
        ({"span": [pd.Timedelta(5, "s"), 5.0]}, "its unit"),
        ({"day": 5}, "ISO 8601"),
        ({"day": "2021-05-05"}, "outside the schema's bounds"),
        ({"day": "2020-05-05T10:00"}, "no multiple of the column's resolution"),
        ({"day": BERLIN}, "has a time zone"),
        (pd.DataFrame({"city": ["Z"]}), "none of the column's categories"),
        (pd.DataFrame({"nothing": [1]}), "does not have"),
    ],
    ids=str,
)
def test_a_condition_outside_the_schema_is_refused_without_its_value(model, conditions, rule):
    with pytest.raises(ConditionError, match=rule) as caught:
        model.sample(1, conditions=conditions)
    assert caught.value.columns
    assert not any(value in str(caught.value) for value in ("Z'", "forty", "120", "20.5", "soon"))


def test_the_number_of_request_rows_must_be_n(model):
    with pytest.raises(ConditionError, match="2 request rows and n is 3"):
        model.sample(3, conditions=pd.DataFrame({"city": ["A", "B"]}))


def test_an_event_that_the_model_gives_no_mass_is_an_error_and_never_ignored():
    table = pd.DataFrame({"city": ["A"] * 50, "x": np.arange(50.0)})
    schema = {"columns": {"city": {"type": "categorical", "categories": ["A", "B"]}, "x": {"type": "numeric"}}}
    model = fit(table, generator="tabular.independent", schema=schema, seed=0)
    with pytest.raises(ConditionError, match="no support") as caught:
        model.sample(3, conditions={"city": "B"})
    assert caught.value.columns == ("city",)


def test_conditions_hold_together_with_repairing_rules():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.integers(0, 10, 300), "city": rng.choice(["A", "B"], 300)})
    table["b"] = table["a"] * 2
    table["land"] = table["city"].map({"A": "x", "B": "y"})
    rules = [
        Derived(column="b", expression="a * 2"),
        FunctionalDependency(determinant=("city",), dependent="land"),
        Expression(expression="a >= 3"),
    ]
    schema = {
        "columns": {
            "a": {"type": "numeric", "dtype": "int64", "low": 0, "high": 9, "places": 0},
            "city": {"type": "categorical", "categories": ["A", "B"]},
            "b": {"type": "numeric", "dtype": "int64", "low": 0, "high": 18, "places": 0},
            "land": {"type": "categorical", "categories": ["x", "y"]},
        }
    }
    model = fit(table, generator="tabular.independent", schema=schema, constraints=rules, seed=0)
    drawn = model.sample(60, seed=1, conditions={"land": "y", "b": [8, 12]})
    assert (drawn["land"] == "y").all()
    assert (drawn["city"] == "B").all()
    assert drawn["b"].isin([8, 12]).all()
    assert (drawn["a"] * 2 == drawn["b"]).all()


def test_a_condition_that_a_rule_forbids_is_an_error():
    table = pd.DataFrame({"a": np.arange(60) % 10, "b": np.arange(60) % 7})
    columns = {name: {"type": "numeric", "dtype": "int64", "low": 0, "high": 9, "places": 0} for name in "ab"}
    model = fit(
        table,
        generator="tabular.independent",
        schema={"columns": columns},
        constraints=[Expression(expression="a >= 3")],
        seed=0,
    )
    with pytest.raises(SynthError, match=r"0\.00%"):
        model.sample(2, seed=0, conditions={"a": 1})


def test_times_with_and_without_fractions_of_a_second_go_together():
    schema = Schema.from_json({"columns": {"t": {"type": "datetime", "dtype": "datetime64[ns]", "resolution": "us"}}})
    requests = pd.DataFrame({"t": pd.to_datetime(["2020-01-01", "2020-01-01T00:00:00.000001", None], format="ISO8601")})
    given = conditioning.parse(requests, schema, 3)
    assert given.rows["t"].astype("datetime64[ns]").equals(requests["t"].astype("datetime64[ns]"))


def test_zoned_request_rows_across_the_change_of_summer_time_hold(model):
    times = pd.date_range("2020-03-28 22:00", periods=8, freq="h", tz="Europe/Berlin")
    drawn = model.sample(conditions=pd.DataFrame({"zoned": times}), seed=0)
    assert (drawn["zoned"] == pd.Series(times)).all()


GENERATORS = ["tabular.independent", "tabular.gaussian_copula", "tabular.trees"]


def fitted(generator, values, **column):
    table = pd.DataFrame({"x": values, "k": [i % 4 for i in range(len(values))]})
    if column["type"] == "datetime":
        table["x"] = table["x"].astype(column["dtype"])  # pandas 3 makes microseconds
    columns = {"x": column, "k": {"type": "numeric", "dtype": "int64", "low": 0, "high": 3, "places": 0}}
    return fit(table, generator=generator, schema={"columns": columns}, seed=0)


@pytest.mark.parametrize("dtype", ["decimal", "float64"])
@pytest.mark.parametrize("generator", GENERATORS)
def test_an_interval_on_decimal_places_includes_its_ends(generator, dtype):
    made = decimal.Decimal if dtype == "decimal" else float
    steps = [made(f"{100 + i % 30}") / made("100") for i in range(600)]
    model = fitted(generator, steps, type="numeric", dtype=dtype, low=1.0, high=1.29, places=2)
    # 0.1 + 0.2 and the like: ends that binary fractions miss by their last digit
    drawn = model.sample(600, seed=0, conditions={"x": (1.1 + 1e-12, 1.2 - 1e-12)})["x"]
    assert set(drawn) == {made(f"{i}") / made("100") for i in range(110, 121)}


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_set_of_times_with_and_without_fractions_holds(generator):
    times = pd.to_datetime("2020-01-01") + pd.to_timedelta([500 * (i % 8) for i in range(400)], unit="ms")
    model = fitted(
        generator, times, type="datetime", dtype="datetime64[ns]", low="2020-01-01", high="2020-01-02", resolution="ms"
    )
    asked = ["2020-01-01T00:00:02", "2020-01-01T00:00:02.500"]
    assert set(model.sample(60, seed=0, conditions={"x": asked})["x"]) == set(map(pd.Timestamp, asked))


def berlin(generator, first, low):
    times = pd.date_range(first, periods=8, freq="h", tz="UTC").tz_convert("Europe/Berlin")
    dtype = "datetime64[ns, Europe/Berlin]"
    high = times[-1].isoformat()
    return fitted(generator, times.repeat(50), type="datetime", dtype=dtype, low=low, high=high, resolution="h")


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_local_time_that_the_zone_repeats_is_the_earlier(generator):
    model = berlin(generator, "2020-10-25T00:00", "2020-10-25T02:00:00+02:00")
    earlier = pd.Timestamp("2020-10-25T02:00:00+02:00")
    requests = pd.DataFrame({"x": ["2020-10-25T02:00:00"] * 5})
    assert (model.sample(5, seed=0, conditions={"x": "2020-10-25T02:00:00"})["x"] == earlier).all()
    assert (model.sample(seed=0, conditions=requests)["x"] == earlier).all()
    drawn = model.sample(60, seed=0, conditions={"x": (None, "2020-10-25T02:00:00")})["x"]
    assert (drawn == earlier).all()


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_local_time_that_the_zone_skips_is_the_next_that_exists(generator):
    model = berlin(generator, "2020-03-28T23:00", "2020-03-29T00:00:00")
    next_one = pd.Timestamp("2020-03-29T03:00:00+02:00")
    requests = pd.DataFrame({"x": ["2020-03-29T02:30:00"] * 5})
    assert (model.sample(5, seed=0, conditions={"x": "2020-03-29T02:30:00"})["x"] == next_one).all()
    assert (model.sample(seed=0, conditions=requests)["x"] == next_one).all()
    drawn = model.sample(60, seed=0, conditions={"x": ("2020-03-29T02:30:00", None)})["x"]
    assert drawn.min() == next_one


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
@pytest.mark.parametrize("bounds", [{"low": "2020-01-01", "high": "2020-02-01"}, {}], ids=["bounded", "unbounded"])
@pytest.mark.parametrize("generator", GENERATORS)
def test_an_interval_may_end_beyond_what_nanoseconds_hold(generator, bounds, zone):
    times = pd.date_range("2020-01-01", periods=30, freq="D", tz=zone).repeat(10)
    dtype = "datetime64[ns]" if zone is None else f"datetime64[ns, {zone}]"
    model = fitted(generator, times, type="datetime", dtype=dtype, resolution="D", **bounds)
    drawn = model.sample(60, seed=0, conditions={"x": ("2020-01-20", "9999-12-31")})["x"]
    assert drawn.min() >= pd.Timestamp("2020-01-20", tz=zone)
    drawn = model.sample(60, seed=0, conditions={"x": ("0001-01-01", "2020-01-10")})["x"]
    assert drawn.max() <= pd.Timestamp("2020-01-10", tz=zone)


@pytest.mark.parametrize(
    "time", ["9999-12-31", "0001-01-01", "9999-12-31T23:59:00-05:00", np.datetime64("20000-01-01")]
)
@pytest.mark.parametrize("generator", GENERATORS)
def test_a_fixed_time_beyond_what_nanoseconds_hold_is_refused(generator, time):
    times = pd.date_range("2020-01-01", periods=30, freq="D", tz="UTC").repeat(10)
    model = fitted(generator, times, type="datetime", dtype="datetime64[ns, UTC]", resolution="D")
    with pytest.raises(ConditionError, match="column 'x'"):
        model.sample(5, seed=0, conditions={"x": time})


@pytest.mark.parametrize("generator", GENERATORS)
def test_an_interval_that_lies_beyond_what_nanoseconds_hold_has_no_rows(generator):
    times = pd.date_range("2020-01-01", periods=30, freq="D", tz="UTC").repeat(10)
    model = fitted(generator, times, type="datetime", dtype="datetime64[ns, UTC]", resolution="D")
    with pytest.raises(ConditionError, match=r"no mass|no support"):
        model.sample(5, seed=0, conditions={"x": ("9000-01-01", None)})


@pytest.mark.parametrize("conditions", [["city"], range(5), "city", 3], ids=str)
def test_conditions_that_are_neither_mapping_nor_table_are_refused(model, conditions):
    with pytest.raises(ConditionError, match="give a mapping"):
        model.sample(5, conditions=conditions)


@pytest.mark.parametrize(
    "number", [10**400, (None, 10**400), decimal.Decimal("1e400")], ids=["fixed", "end", "decimal"]
)
def test_a_number_beyond_floating_point_is_refused(model, number):
    with pytest.raises(ConditionError, match="needs a finite number"):
        model.sample(5, conditions={"price": number})


@pytest.mark.parametrize("span", [pd.Timedelta(seconds=1.5), "PT0.000001S"], ids=str)
def test_a_time_span_finer_than_the_columns_resolution_is_refused_and_not_rounded(span):
    table = pd.DataFrame(
        {"span": pd.to_timedelta(np.arange(100) % 9, unit="s").astype("timedelta64[ns]"), "x": np.arange(100) % 7}
    )
    fitted = fit(table, generator="tabular.independent", seed=0)
    with pytest.raises(ConditionError, match="no multiple of the column's resolution"):
        fitted.sample(1, seed=0, conditions=pd.DataFrame({"span": [span]}, dtype=object))
    exact = pd.DataFrame({"span": [pd.Timedelta(seconds=3)]})
    assert fitted.sample(1, seed=0, conditions=exact)["span"].tolist() == [pd.Timedelta(seconds=3)]
