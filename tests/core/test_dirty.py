"""Each dirty column either comes back as it was, or is refused with an error that names it and the remedy."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from synth_components.encode import decode, encode
from synth_components.errors import DataError, SchemaError
from synth_components.io.dataset import read_table, write_table
from synth_components.profile import ProfileConfig, profile
from synth_components.protocols import Dataset
from synth_components.schema import Text, check

CONFIG = ProfileConfig(min_category_count=2, describe=False)


def objects(*values):
    return pd.Series(list(values) * 6, dtype=object)


def many(values, dtype=None):
    if isinstance(values, pd.Index):
        return pd.Series(values.repeat(6))
    return pd.Series(list(values) * 6, dtype=dtype)


def arrow(values, kind):
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.array(list(values) * 6, type=kind)))


ROUND_TRIPS = {
    "int with null as float": many([1.0, 2.0, np.nan]),
    "int with null": many([1, None, 3], "Int64"),
    "int objects with null": objects(1, None, 3),
    "int8": many([-128, 0, 127], "int8"),
    "uint64 beyond int64": many([2**63 + 1, 5, 2**64 - 1], "uint64"),
    "int64 beyond 2**53": many([2**62 + 1, -(2**62) - 3, 7], "int64"),
    "nullable int beyond 2**53": many([2**62 + 1, None, 7], "Int64"),
    "int objects beyond int64": objects(2**63 + 1, 5, None),
    "whole thousands": many([1000, 25_000, 3_000_000]),
    "two decimal places": many([0.07, 19.99, 1e6 + 0.01]),
    "floats of full resolution": many([1 / 3, 2 / 3, 1e-300, 1e300]),
    "float32": many([0.1, 0.2, 3.25], "float32"),
    "nullable float": many([0.5, None], "Float64"),
    "float objects": objects(0.5, 1.0, None),
    "booleans": many([True, False]),
    "nullable booleans": many([True, None, False], "boolean"),
    "boolean objects with null": objects(True, None, False),
    "zero and one": many([0, 1]),
    "constant": many([7]),
    "constant text": many(["same"]),
    "all null objects": objects(None, None),
    "all null floats": many([np.nan, np.nan]),
    "all null datetimes": many([pd.NaT, pd.NaT], "datetime64[ns]"),
    "text with null": many(["a", None, "b"]),
    "unicode": many(["žluťoučký", "漢字", "😀", "e\u0301", " spaces "]),
    "empty text beside null": many(["", None, "x"]),
    "text that looks like null": many(["NA", "None", "nan", "?"]),
    "codes with leading zeros": many(["00123", "007"]),
    "string dtype": many(["a", None, "b"], "string"),
    "string dtype that arrow stores": many(["a", None, "b"], pd.StringDtype("pyarrow")),
    "string dtype that Python stores": many(["a", None, "b"], pd.StringDtype("python")),
    "categories": pd.Series(pd.Categorical(["low", "high", None] * 6, categories=["low", "high"], ordered=True)),
    "ordered integer categories": pd.Series(pd.Categorical([2, 1, None] * 6, categories=[2, 1], ordered=True)),
    "integer categories": pd.Series(pd.Categorical([1, 2, None] * 6)),
    "decimals": objects(Decimal("1.50"), Decimal("-20.25"), None),
    "dates": objects(datetime.date(2020, 2, 29), None, datetime.date(1999, 1, 1)),
    "datetimes": many(pd.to_datetime(["2020-01-01", "2021-06-01 12:30:05", None], format="ISO8601")),
    "datetimes in microseconds": many(pd.to_datetime(["2020-01-01", "2021-06-01"]).as_unit("us")),
    "zoned datetimes": many(pd.to_datetime(["2020-01-01", "2020-07-01", None]).tz_localize("Europe/Paris")),
    "zoned datetimes in UTC": many(pd.to_datetime(["2020-01-01 00:00:01", "2020-07-01 00:00:00"], utc=True)),
    "both hours of a clock change": many(
        pd.to_datetime(["2020-10-25 00:30", "2020-10-25 01:30"], utc=True).tz_convert("Europe/Paris")
    ),
    "time spans": many(pd.to_timedelta(["1 days", "2 days 03:00:00", None])),
    "time spans of a year in nanoseconds": many(pd.to_timedelta([365 * 86_400 * 10**9 + 1, 5])),
    "arrow integers": arrow([1, None, 3], pa.int64()),
    "arrow floats": arrow([0.5, None], pa.float64()),
    "arrow booleans": arrow([True, None, False], pa.bool_()),
    "arrow text": arrow(["a", None, "b"], pa.string()),
    "thousands of categories": pd.Series([f"kind {i % 3000}" for i in range(12_000)]),
}

HALVES = pd.Index(["a\ud800", "b"], dtype=object)
REFUSED = {
    "numbers and text": (objects(1, "a"), "astype"),
    "integers and floats": (objects(1, 2.5), "astype"),
    "booleans and integers": (objects(True, 0), "astype"),
    "decimals and integers": (objects(Decimal("1.5"), 1), "astype"),
    "dates and text": (objects(datetime.date(2020, 1, 1), "unknown"), "astype"),
    "dates and datetimes": (objects(datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1)), "to_datetime"),
    "mixed zones": (
        objects(pd.Timestamp("2020-01-01", tz="UTC"), pd.Timestamp("2020-01-01", tz="Asia/Tokyo")),
        "to_datetime",
    ),
    "times of day": (objects(datetime.time(12, 30)), "flatten"),
    "lists": (objects([1, 2], [3]), "flatten"),
    "dicts": (objects({"a": 1}), "flatten"),
    "complex numbers": (many([1 + 2j, 3j]), "cast"),
    "periods": (many(pd.period_range("2020", periods=2, freq="M")), "cast"),
    "intervals": (pd.Series(pd.cut([1, 5, 9] * 6, 3)).astype(pd.IntervalDtype("float64")), "cast"),
    "categories of intervals": (pd.Series(pd.cut([1, 5, 9] * 6, 3)), "cast them to text"),
    "categories of times": (pd.Series(pd.Categorical(pd.to_datetime(["2020", "2021"] * 6))), "text"),
    "half a surrogate pair": (objects("a\ud800", "b", None), "mend"),
    "a category with half a surrogate pair": (pd.Series(pd.Categorical.from_codes([0, 1] * 6, HALVES)), "mend"),
}

REFUSED_BY_PROFILE = {
    "integers beyond 64 bits": (objects(2**70, 1), "cast it to text"),
    "infinities": (many([1.0, np.inf]), "null"),
    "infinite decimals": (objects(Decimal("Infinity"), Decimal(1)), "null"),
    "decimals of many digits": (objects(Decimal("1.2345678901234567890"), Decimal(1)), "round"),
    "bytes": (objects(b"\x00\xff", b"a"), "files"),
    "the year 9999": (objects(datetime.date(9999, 12, 31), datetime.date(2020, 1, 1)), "sentinel"),
    "nanoseconds over a year": (many(pd.to_datetime([0, 10**18 + 1])), "floor"),
    "categories of several types": (pd.Series(pd.Categorical([1, "a"] * 6)), "text"),
    "arrow times": (arrow([datetime.datetime(2020, 1, 1)], pa.timestamp("us")), "cast"),
    "arrow time spans": (arrow([datetime.timedelta(1)], pa.duration("us")), "cast"),
}


def require_same(made, original):
    assert made.dtype == original.dtype
    assert made.isna().tolist() == original.isna().tolist()
    left, right = made.dropna().tolist(), original.dropna().tolist()
    assert left == right
    assert [type(value) for value in left] == [type(value) for value in right]


@pytest.mark.parametrize("case", ROUND_TRIPS)
def test_column_comes_back_from_its_encoding(case):
    table = pd.DataFrame({"odd": ROUND_TRIPS[case]})
    before = table.copy(deep=True)
    schema = profile(table, config=CONFIG).schema

    made = decode(encode(Dataset({"table": table}, schema)))

    require_same(made.table["odd"], table["odd"])
    require_same(table["odd"], before["odd"])
    check(made.table, schema.columns)


@pytest.mark.parametrize("case", ROUND_TRIPS)
def test_column_comes_back_from_parquet(case, tmp_path):
    table = pd.DataFrame({"odd": ROUND_TRIPS[case]})

    write_table(table, tmp_path / "t.parquet")

    require_same(read_table(tmp_path / "t.parquet")["odd"], table["odd"])


@pytest.mark.parametrize("case", ROUND_TRIPS)
def test_column_comes_back_from_hdf5(case, tmp_path):
    pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    table = pd.DataFrame({"odd": ROUND_TRIPS[case]})

    write_table(table, tmp_path / "t.h5")

    require_same(read_table(tmp_path / "t.h5")["odd"], table["odd"])


@pytest.mark.parametrize("case", {**REFUSED, **REFUSED_BY_PROFILE})
def test_profile_refuses_the_column_with_its_name_and_a_remedy(case):
    values, remedy = {**REFUSED, **REFUSED_BY_PROFILE}[case]

    with pytest.raises(SchemaError, match=remedy) as raised:
        profile(pd.DataFrame({"odd": values}), config=CONFIG)

    assert raised.value.column == "odd"
    assert "'odd'" in str(raised.value)


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("ending", ["parquet", "csv", "json", "jsonl", "h5"])
def test_no_format_writes_the_column_and_no_file_is_left(case, ending, tmp_path):
    if ending == "h5":
        pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    values, remedy = REFUSED[case]

    with pytest.raises(DataError, match=remedy) as raised:
        write_table(pd.DataFrame({"odd": values}), tmp_path / f"t.{ending}")

    assert "'odd'" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_error_holds_no_cell_value():
    secret = "4f9a1c-canary"

    with pytest.raises(SchemaError) as raised:
        profile(pd.DataFrame({"odd": objects(secret, 1)}), config=CONFIG)

    assert secret not in str(raised.value)


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        (["a", "a"], "several columns named 'a'"),
        (["a", " "], "column 2"),
        (["a", 3], "column 2"),
        (["a", "b\ud800"], "half a surrogate pair"),
    ],
    ids=["duplicate", "empty", "not text", "half a surrogate pair"],
)
def test_bad_column_names_are_refused_by_profile_and_by_writing(columns, what, tmp_path):
    table = pd.DataFrame([[1, 2]] * 4)
    table.columns = pd.Index(columns, dtype=object)

    with pytest.raises(SchemaError, match=what):
        profile(table, config=CONFIG)
    with pytest.raises(DataError, match=what):
        write_table(table, tmp_path / "t.parquet")


def test_few_rows_share_the_text_so_that_it_is_not_learned():
    table = pd.DataFrame({"remark": [f"remark number {i} of many" for i in range(40)]})

    schema = profile(table, config=CONFIG).schema

    assert isinstance(schema.columns["remark"], Text)
