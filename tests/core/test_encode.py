"""decode(encode(x)) == x for every kind of column, and decoding keeps to the schema."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_components import fit
from synth_components.encode import decode, encode, encode_table, encoder, slices
from synth_components.errors import SchemaError
from synth_components.protocols import Dataset
from synth_components.schema import TABLE, Boolean, Categorical, Datetime, Image, Key, Numeric, Schema, Text
from synth_components.testing import toy_table


def returns(values, column):
    """Return whether a series survives the way to features and back, value by value and with its dtype."""
    made = encoder(column, "x")
    features = made.encode(values)
    assert features.shape == (len(values), made.width)
    assert features.dtype == np.float64
    back = made.decode(features)
    assert back.name == "x"
    pd.testing.assert_series_equal(back, values.rename("x"), check_freq=False)
    return True


def series(values, dtype):
    return pd.Series(values, dtype=dtype, name="x")


@settings(max_examples=25)
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=30))
def test_a_float_without_places_is_itself(values):
    assert returns(series(values, "float64"), Numeric())


@settings(max_examples=25)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_a_float32_is_itself(values):
    assert returns(series(values, "float32"), Numeric(dtype="float32"))


@settings(max_examples=25)
@given(st.integers(0, 6), st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=30), st.booleans())
def test_a_float_with_places_is_itself(places, steps, bounded):
    values = [round(step / 10**places, places) for step in steps]
    low, high = (min(values), max(values)) if bounded else (None, None)
    assert returns(series(values, "float64"), Numeric(places=places, low=low, high=high))


@settings(max_examples=25)
@given(st.integers(1, 6), st.lists(st.integers(-1000, 1000), min_size=1, max_size=30))
def test_negative_places_keep_multiples_of_a_power_of_ten(digits, steps):
    values = [step * 10**digits for step in steps]
    column = Numeric(dtype="int64", places=-digits, low=min(values), high=max(values))
    assert returns(series(values, "int64"), column)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "Int8", "Int32", "UInt16"])
@settings(max_examples=25)
@given(data=st.data())
def test_a_small_integer_is_itself(dtype, data):
    limits = np.iinfo(dtype.lower())
    values = data.draw(st.lists(st.integers(int(limits.min), int(limits.max)), min_size=1, max_size=20))
    column = Numeric(dtype=dtype, places=0, low=int(limits.min), high=int(limits.max))
    assert returns(series(values, dtype), column)


@pytest.mark.parametrize("dtype", ["int64", "Int64"])
@settings(max_examples=25)
@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_an_integer_beyond_2_to_53_is_itself(dtype, values):
    column = Numeric(dtype=dtype, places=0, low=min(values), high=max(values))
    assert returns(series(values, dtype), column)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20))
def test_an_unsigned_integer_beyond_2_to_63_is_itself(values):
    assert returns(series(values, "uint64"), Numeric(dtype="uint64", places=0, low=min(values), high=max(values)))


@pytest.mark.parametrize("dtype", ["Int64", "Float32", "Float64"])
@settings(max_examples=25)
@given(values=st.lists(st.none() | st.integers(-1000, 1000), min_size=1, max_size=20))
def test_a_nullable_number_keeps_its_nulls(dtype, values):
    assert returns(series(values, dtype), Numeric(dtype=dtype, places=0, nullable=True))


@settings(max_examples=25)
@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_a_nullable_integer_beyond_2_to_53_keeps_its_nulls(values):
    column = Numeric(dtype="Int64", places=0, low=-(2**63), high=2**63 - 1, nullable=True)
    assert returns(series(values, "Int64"), column)


def test_an_integer_beyond_2_to_53_without_bounds_is_refused():
    with pytest.raises(SchemaError, match="declare its bounds"):
        encoder(Numeric(dtype="int64", places=0), "x").encode(series([1, 2**53 + 1], "int64"))


@settings(max_examples=25)
@given(st.integers(0, 4), st.lists(st.none() | st.integers(-(10**9), 10**9), min_size=1, max_size=20))
def test_a_decimal_is_itself(places, steps):
    values = [None if step is None else Decimal(step).scaleb(-places) for step in steps]
    assert returns(series(values, object), Numeric(dtype="decimal", places=places, nullable=True))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@settings(max_examples=25)
@given(values=st.lists(st.none() | st.integers(-(10**12), 10**12), min_size=1, max_size=20))
def test_a_time_span_is_itself(unit, values):
    dtype = f"timedelta64[{unit}]"
    spans = np.array(["NaT" if v is None else v for v in values], dtype=dtype)
    assert returns(pd.Series(spans, name="x"), Numeric(dtype=dtype, places=0, nullable=True))


WORDS = st.text(min_size=1, max_size=8)


@settings(max_examples=25)
@given(st.data(), st.lists(WORDS, min_size=1, max_size=10, unique=True))
def test_a_category_is_itself(data, categories):
    values = data.draw(st.lists(st.none() | st.sampled_from(categories), min_size=1, max_size=20))
    assert returns(series(values, object), Categorical(categories=tuple(categories), nullable=True))


@pytest.mark.parametrize("dtype", ["str", "string", "object"])
@pytest.mark.parametrize("values", [["b", "a", "b"], ["b", None, "a"]])
def test_text_of_any_dtype_is_itself_and_its_nulls_stay_null(dtype, values):
    held = series(values, object if dtype == "str" and pd.__version__ < "3" else dtype)
    assert returns(held, Categorical(dtype=dtype, categories=("a", "b"), nullable=True))


@pytest.mark.parametrize("ordered", [True, False])
@settings(max_examples=25)
@given(data=st.data(), categories=st.lists(WORDS, min_size=1, max_size=10, unique=True))
def test_a_pandas_category_keeps_categories_and_order(ordered, data, categories):
    values = data.draw(st.lists(st.none() | st.sampled_from(categories), min_size=1, max_size=20))
    held = pd.Series(pd.Categorical(values, categories=pd.Index(categories, dtype=object), ordered=ordered), name="x")
    column = Categorical(dtype="category", categories=tuple(categories), ordered=ordered, nullable=True)
    made = encoder(column, "x")
    back = made.decode(made.encode(held))
    assert back.tolist() == held.tolist() or back.isna().equals(held.isna())
    assert back.dropna().tolist() == held.dropna().tolist()
    assert list(back.cat.categories) == categories
    assert back.cat.ordered == ordered


@pytest.mark.parametrize(
    ("dtype", "categories"),
    [("int64", (3, 1, 2)), ("float64", (0.5, -1.0)), ("bool", (True, False)), ("object", ("1", 1)), ("Int64", (7, 5))],
)
def test_a_category_of_any_type_is_itself(dtype, categories):
    assert returns(series(list(categories) * 3, dtype), Categorical(dtype=dtype, categories=categories))


def test_a_value_outside_the_categories_encodes_as_unknown_and_does_not_decode():
    made = encoder(Categorical(categories=("a", "b")), "x")
    features = made.encode(series(["b", "c", None], object))
    np.testing.assert_array_equal(features[:, 0], [1.0, -1.0, np.nan])
    with pytest.raises(SchemaError, match="'x'"):
        made.decode(features)


@settings(max_examples=25)
@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_a_boolean_is_itself(values):
    assert returns(series(values, "bool"), Boolean())


@settings(max_examples=25)
@given(st.lists(st.none() | st.booleans(), min_size=1, max_size=20))
def test_a_nullable_boolean_keeps_its_nulls(values):
    assert returns(series(values, "boolean"), Boolean(dtype="boolean", nullable=True))


STEPS = {"D": 86_400, "h": 3_600, "min": 60, "s": 1}


@pytest.mark.parametrize("resolution", ["D", "h", "min", "s"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@settings(max_examples=25)
@given(values=st.lists(st.none() | st.integers(-40_000, 40_000), min_size=1, max_size=20))
def test_a_datetime_is_itself(resolution, unit, values):
    stamps = [None if v is None else np.datetime64(v * STEPS[resolution], "s") for v in values]
    dtype = f"datetime64[{unit}]"
    held = pd.Series(np.array(stamps, dtype="datetime64[s]"), name="x").astype(dtype)
    assert returns(held, Datetime(dtype=dtype, resolution=resolution, nullable=True))


@pytest.mark.parametrize(("unit", "reach"), [("ms", 2**43), ("us", 2**52), ("ns", 2**52)])
@settings(max_examples=25)
@given(data=st.data())
def test_a_datetime_below_seconds_is_itself(unit, reach, data):
    offsets = data.draw(st.lists(st.integers(0, reach), min_size=1, max_size=20))
    held = (
        pd.Timestamp("2024-02-28").as_unit(unit) + pd.Series(np.array(offsets).astype(f"timedelta64[{unit}]"))
    ).rename("x")
    dtype = f"datetime64[{unit}]"
    assert returns(held.astype(dtype), Datetime(dtype=dtype, resolution=unit, low="2024-02-28"))


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"])
@settings(max_examples=25)
@given(values=st.lists(st.none() | st.integers(0, 2_000_000), min_size=1, max_size=20))
def test_a_zoned_datetime_is_itself(zone, values):
    stamps = pd.Series(pd.to_datetime([None if v is None else v * 1000 for v in values], unit="s", utc=True))
    dtype = f"datetime64[ns, {zone}]"
    held = stamps.astype("datetime64[ns, UTC]").dt.tz_convert(zone).rename("x")
    assert returns(held, Datetime(dtype=dtype, resolution="s", nullable=True, low="1969-12-31"))


def test_both_hours_of_a_fold_and_the_edges_of_a_gap_are_themselves():
    autumn = pd.date_range("2024-10-26 22:00", "2024-10-27 04:00", freq="15min", tz="UTC")  # clocks go back at 01:00
    spring = pd.date_range("2024-03-30 22:00", "2024-03-31 04:00", freq="15min", tz="UTC")  # and forward at 01:00
    held = pd.Series(autumn.append(spring).tz_convert("Europe/Berlin"), name="x")
    assert held.dt.tz_localize(None).duplicated().any()  # two local times are doubled
    assert returns(held, Datetime(dtype=str(held.dtype), resolution="min", low="2024-01-01", high="2024-12-31"))


def test_bounds_of_a_zoned_column_are_in_its_zone():
    made = encoder(Datetime(dtype="datetime64[ns, Asia/Tokyo]", low="2024-01-01", resolution="h"), "x")
    midnight = pd.Series([pd.Timestamp("2024-01-01", tz="Asia/Tokyo")])
    assert made.encode(midnight)[0, 0] == 0


@settings(max_examples=25)
@given(st.lists(st.none() | st.dates(datetime.date(1700, 1, 1), datetime.date(2250, 1, 1)), min_size=1, max_size=20))
def test_a_date_object_is_itself(values):
    assert returns(series(values, object), Datetime(dtype="date", resolution="D", nullable=True))


@pytest.mark.parametrize(
    ("column", "feature", "value"),
    [
        (Numeric(low=0, high=10), 12.0, 10.0),
        (Numeric(low=0, high=10), -3.0, 0.0),
        (Numeric(places=2), 123.4, 1.23),
        (Numeric(dtype="int64", places=0, low=5, high=9), 2.4, 7),
        (Numeric(dtype="int64", places=0, low=5, high=9), 99.0, 9),
        (Numeric(dtype="int64", places=-2), 3.4, 300),
        (Datetime(low="2024-01-01", high="2024-01-03", resolution="D"), 1.4, pd.Timestamp("2024-01-02")),
        (Datetime(low="2024-01-01", high="2024-01-03", resolution="D"), 8.0, pd.Timestamp("2024-01-03")),
        (Datetime(low="2024-01-01", resolution="D"), -8.0, pd.Timestamp("2024-01-01")),
    ],
)
def test_decoding_rounds_to_the_resolution_and_clips_to_the_bounds(column, feature, value):
    assert encoder(column, "x").decode(np.array([[feature]])).iloc[0] == value


@pytest.mark.parametrize("column", [Numeric(), Boolean(), Categorical(categories=("a",))])
def test_a_null_drawn_for_a_column_that_is_not_nullable_is_refused(column):
    with pytest.raises(SchemaError, match="not nullable"):
        encoder(column, "x").decode(np.array([[np.nan]]))


@pytest.mark.parametrize("column", [Text(), Image(), Key()])
def test_text_images_and_keys_have_no_encoding(column):
    with pytest.raises(SchemaError, match="no encoding"):
        encoder(column, "x")


def test_a_table_is_itself_with_dtypes_and_column_order():
    data = toy_table(seed=3)
    back = decode(encode(data)).table
    pd.testing.assert_frame_equal(back, data.table)


def test_an_empty_table_keeps_its_dtypes():
    data = toy_table()
    empty = Dataset({TABLE: data.table.iloc[:0]}, data.schema)
    back = decode(encode(empty)).table
    assert len(back) == 0
    assert back.dtypes.astype(str).tolist() == data.table.dtypes.astype(str).tolist()


def test_batches_encode_like_the_whole_table():
    data = toy_table()
    parts = [encode_table(batch, data.schema).values for batch in data.batches(rows=77)]
    np.testing.assert_array_equal(np.vstack(parts), encode(data).values)


def test_slices_give_wide_integers_two_features():
    columns = {"a": Numeric(), "b": Numeric(dtype="int64", places=0, low=0, high=2**60), "c": Boolean()}
    assert slices(Schema({TABLE: columns})) == {"a": slice(0, 1), "b": slice(1, 3), "c": slice(3, 4)}


@pytest.mark.parametrize("resolution", ["ns", "us"])
@given(offset=st.integers(-(2**62), 2**62))
@settings(max_examples=60, deadline=None)
def test_a_time_comes_back_exactly_or_is_refused_by_name(resolution, offset):
    step = {"ns": 1, "us": 1_000}[resolution]
    stamps = pd.Series(np.array([offset // step * step], dtype="datetime64[ns]"), name="seen")
    made = encoder(Datetime(dtype="datetime64[ns]", resolution=resolution), "seen")
    if abs(offset // step) > 2**53:
        with pytest.raises(SchemaError, match="'seen' spans more"):
            made.encode(stamps)
    else:
        assert made.decode(made.encode(stamps)).equals(stamps)


ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
)


def moments_in(zone, resolution, steps):
    """Return the starts of steps of 2017 (both changes of the clock within): local days, or UTC hours and minutes."""
    if resolution == "D":
        local = pd.Timestamp("2017-01-01") + pd.to_timedelta(steps, unit="D")
        return pd.Series(
            local.tz_localize(zone, ambiguous=np.ones(len(steps), dtype=bool), nonexistent="shift_forward")
        )
    start = pd.Timestamp("2017-01-01", tz=zone)
    return pd.Series(start + pd.to_timedelta(steps, unit=resolution))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(("resolution", "many"), [("D", 365), ("h", 365 * 24), ("min", 365 * 24 * 60)])
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_zoned_times_come_back_whatever_the_clock_does(zone, resolution, many, data):
    steps = data.draw(st.lists(st.integers(0, many - 1), min_size=1, max_size=30))
    values = moments_in(zone, resolution, steps).astype(f"datetime64[us, {zone}]").rename("x")

    assert returns(values, Datetime(dtype=str(values.dtype), resolution=resolution, low="2017-01-01T00:00"))
    assert returns(values, Datetime(dtype=str(values.dtype), resolution=resolution))


@pytest.mark.parametrize("zone", ZONES)
def test_every_local_day_of_a_year_is_drawn_as_the_first_moment_of_the_day(zone):
    column = Datetime(dtype=f"datetime64[us, {zone}]", resolution="D", low="2017-01-01T00:00")

    drawn = encoder(column, "x").decode(np.arange(365.0)[:, None] + 0.2)

    expected = moments_in(zone, "D", list(range(365)))
    assert drawn.tolist() == expected.tolist()


def far_times(zone=None):
    times = pd.Series(np.array(["2020-01-01", "9999-12-31", "0001-01-01"], dtype="M8[us]"))
    return times if zone is None else times.dt.tz_localize("UTC").dt.tz_convert(zone)


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
@pytest.mark.parametrize(("low", "high"), [(None, None), ("2000-01-01", None), (None, "2030-01-01")])
def test_times_that_nanoseconds_do_not_hold_are_refused_and_not_taken_for_others(zone, low, high):
    values = far_times(zone)
    column = Datetime(dtype=str(values.dtype), resolution="D", low=low, high=high)
    with pytest.raises(SchemaError, match="outside the years 1678 to 2261"):
        encoder(column, "t").encode(values)


def test_dates_that_nanoseconds_do_not_hold_are_refused_without_being_quoted():
    dates = pd.Series([datetime.date(2020, 1, 1), datetime.date(9999, 12, 31), None], dtype=object, name="t")
    declared = {"type": "datetime", "dtype": "date", "resolution": "D", "nullable": True}
    for bounds, told in (({}, "outside the years 1678 to 2261"), ({"low": "2000-01-01"}, "outside the years")):
        with pytest.raises(SchemaError, match=told):
            fit(
                pd.DataFrame({"t": dates}),
                generator="tabular.independent",
                schema={"columns": {"t": declared | bounds}},
            )
    both = declared | {"low": "2000-01-01", "high": "2030-01-01"}
    with pytest.raises(SchemaError, match="1 rows outside its time bounds"):
        fit(pd.DataFrame({"t": dates}), generator="tabular.independent", schema={"columns": {"t": both}})
    column = Datetime(dtype="date", resolution="D", low="2000-01-01", high="2030-01-01", nullable=True)
    usual, late, null = encoder(column, "t").encode(dates)[:, 0]
    assert 0 < usual < 365 * 31 < late
    assert np.isnan(null)


def test_what_is_no_time_is_refused_without_being_quoted():
    values = pd.Series(["a secret"], name="t", dtype=object)
    with pytest.raises(SchemaError, match="holds something else") as caught:
        fit(
            pd.DataFrame({"t": values}),
            generator="tabular.independent",
            schema={"columns": {"t": {"type": "datetime", "dtype": "date"}}},
        )
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_they_lie_beyond_the_bounds_on_their_own_side_where_there_are_bounds(zone):
    values = far_times(zone)
    column = Datetime(dtype=str(values.dtype), resolution="D", low="2000-01-01", high="2030-01-01")
    usual, late, early = encoder(column, "t").encode(values)[:, 0]
    assert early < 0 < usual < 365 * 31 < late


@pytest.mark.parametrize("dtype", ["datetime64[us]", "datetime64[us, UTC]", "datetime64[us, America/New_York]"])
def test_a_bound_that_nanoseconds_do_not_hold_is_refused(dtype):
    for bound in ({"low": "0001-01-01", "high": "2030-01-01"}, {"low": "2000-01-01", "high": "9999-12-31"}):
        column = Datetime(dtype=dtype, resolution="D", **bound)
        with pytest.raises(SchemaError, match="a bound outside the years 1678 to 2261"):
            encoder(column, "t").encode(far_times(column.zone))
