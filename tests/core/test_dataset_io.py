"""Tables come back as they were written, files appear whole or not at all, and a bad file is refused by name."""

import datetime
import gzip
import json
import re
import signal
import sys
import threading
import tracemalloc
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_series_equal

from synth_components.errors import BudgetExceededError, DataError, SchemaError
from synth_components.io import dataset as dataset_module
from synth_components.io.csv import render
from synth_components.io.dataset import (
    LazyDataset,
    format_of,
    read_dataset,
    read_table,
    table_writer,
    write_dataset,
    write_table,
)
from synth_components.io.location import locate, writing
from synth_components.privacy.ledger import Ledger
from synth_components.profile import ProfileConfig, profile
from synth_components.protocols import Budget, Dataset
from synth_components.schema import Boolean, Categorical, Datetime, Key, Numeric, Schema, Text, check

ENDINGS = ["csv", "csv.gz", "parquet", "json", "json.gz", "jsonl", "jsonl.gz", "h5"]
STREAMED = ["csv", "csv.gz", "parquet", "jsonl", "h5"]


def needs(ending):
    if ending == "h5":
        pytest.importorskip("h5py", reason="the extra hdf5 is not installed")


def plain(n=40):
    return pd.DataFrame(
        {
            "whole": np.arange(n) - 3,
            "share": np.linspace(0, 1, n) / 3,
            "gap": pd.array([1, None] * (n // 2), dtype="Int64"),
            "said": ["a,b", 'a "quoted"\nline', "žluť; 漢字", None] * (n // 4),
            "code": ["00123", "+5", "1_000", "NA"] * (n // 4),
            "yes": [True, False] * (n // 2),
            "when": pd.Series(pd.date_range("2020-01-01 10:30", periods=n)).dt.as_unit("us"),
            "zoned": pd.Series(pd.date_range("2020-01-01", periods=n, tz="UTC")).dt.as_unit("us"),
            "span": pd.to_timedelta(np.arange(n), unit="s"),
        }
    )


def read_text(tmp_path, text, encoding="utf-8", **options):
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    return read_table(tmp_path / "t.csv", **options)


@pytest.mark.parametrize("ending", ENDINGS)
def test_table_of_plain_types_comes_back_from_every_format(ending, tmp_path):
    needs(ending)
    table = plain()

    write_table(table, tmp_path / f"t.{ending}")

    assert_frame_equal(read_table(tmp_path / f"t.{ending}"), table)


@pytest.mark.parametrize("ending", ENDINGS)
def test_same_table_gives_the_same_bytes(ending, tmp_path):
    needs(ending)
    write_table(plain(), tmp_path / f"a.{ending}")
    write_table(plain(), tmp_path / f"b.{ending}")

    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_streamed_parts_make_the_table(ending, tmp_path):
    needs(ending)
    table = plain()

    with table_writer(tmp_path / f"t.{ending}") as write:
        write(table.iloc[:10])
        write(table.iloc[10:])

    assert_frame_equal(read_table(tmp_path / f"t.{ending}"), table)


@pytest.mark.parametrize("ending", ENDINGS)
def test_interrupted_writing_leaves_the_old_file_and_nothing_else(ending, tmp_path):
    needs(ending)
    path = tmp_path / f"t.{ending}"
    write_table(plain(), path)
    before = path.read_bytes()

    with pytest.raises(KeyboardInterrupt), table_writer(path) as write:  # noqa: PT012
        write(plain().iloc[:10])
        raise KeyboardInterrupt

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_in_the_moment_in_which_the_new_file_is_made_leaves_nothing(tmp_path, monkeypatch):
    honest = Path.touch

    def touch(path, **how):
        honest(path, **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "touch", touch)
    with pytest.raises(KeyboardInterrupt), table_writer(tmp_path / "t.csv"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", STREAMED)
def test_part_with_other_columns_is_refused(ending, tmp_path):
    needs(ending)

    with pytest.raises(DataError, match="other columns"), table_writer(tmp_path / f"t.{ending}") as write:  # noqa: PT012
        write(pd.DataFrame({"a": [1]}))
        write(pd.DataFrame({"b": [1]}))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_streaming_needs_memory_for_one_part_only(ending, tmp_path):
    part = pd.DataFrame({"x": np.random.default_rng(0).normal(size=1_000)})
    peaks = []

    for parts in (2, 12):
        tracemalloc.start()
        with table_writer(tmp_path / f"{parts}.{ending}") as write:
            for _ in range(parts):
                write(part)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    # Ten more parts of 1,000 rows, 20 bytes of text or more each: held back, they would add 200 kB.
    assert peaks[1] < peaks[0] + 50_000


def test_first_part_without_values_takes_the_text_of_later_parts(tmp_path):
    with table_writer(tmp_path / "t.parquet") as write:
        write(pd.DataFrame({"x": pd.Series([None, None], dtype=object)}))
        write(pd.DataFrame({"x": pd.Series(["a", None], dtype=object)}))

    assert read_table(tmp_path / "t.parquet")["x"].dropna().tolist() == ["a"]


def test_file_is_as_readable_as_any_new_file(tmp_path):
    (tmp_path / "ordinary").write_text("")
    write_table(plain(), tmp_path / "t.csv")

    assert (tmp_path / "t.csv").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_csv_with_bom_has_a_clean_first_name(tmp_path):
    assert list(read_text(tmp_path, "a,b\n1,2\n", encoding="utf-8-sig").columns) == ["a", "b"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_delimiter_is_found_in_the_header(delimiter, tmp_path):
    made = read_text(tmp_path, delimiter.join("abc") + "\n" + delimiter.join("123") + "\n")

    assert made.to_dict("list") == {"a": [1], "b": [2], "c": [3]}


def test_decimal_commas_are_numbers_where_the_semicolon_divides(tmp_path):
    assert read_text(tmp_path, "a;b\n1,5;x\n2;y\n")["a"].tolist() == [1.5, 2.0]


@pytest.mark.parametrize(
    ("fields", "dtype"),
    [
        (["1", "-20", "0"], "int64"),
        (["1", "", "3"], "Int64"),
        (["1", "NA", "3"], "Int64"),
        (["1.5", "2", "1e-3"], "float64"),
        (["1.5", "nan", "inf"], "float64"),
        (["True", "False"], "bool"),
        (["true", "", "false"], "boolean"),
        (["2020-01-31", "2020-02-29"], "datetime64[us]"),
        (["2020-01-31", "None"], "datetime64[us]"),
        (["2020-01-31 10:00", "2020-01-31T10:00:05"], "datetime64[us]"),
        (["2020-01-31 10:00:00.123456789"], "datetime64[ns]"),
        (["2020-01-31T10:00:00Z", "2020-01-31T10:00:00+02:00"], "datetime64[us, UTC]"),
        (["1 days", "2 days 03:04:05"], str(pd.to_timedelta(["1 days"]).dtype)),  # microseconds from pandas 3 on
        (["9223372036854775807"], "int64"),
    ],
)
def test_csv_type_is_recognised_where_every_field_is_written_like_it(fields, dtype, tmp_path):
    made = read_text(tmp_path, "x,y\n" + "".join(f"{text},1\n" for text in fields))

    assert str(made["x"].dtype) == dtype


@pytest.mark.parametrize(
    "fields",
    [
        ["00123", "1"],
        ["+5", "6"],
        ["9223372036854775808"],
        ["123456789012345678901", "1.5"],
        ["2020-02-30", "2020-02-28"],
        ["2020-01-31 10:00", "2020-01-31 10:00Z"],
        ["True", "false"],
        ["True", "1"],
        ["1", "?"],
        ["NA", "Namibia"],
        ["None", "Some"],
        ["null", "NaN"],
        ["1 ", "2"],
        ["01/02/2020"],
        ["-0", "x"],
    ],
)
def test_csv_field_that_a_type_would_change_stays_text(fields, tmp_path):
    made = read_text(tmp_path, "x,y\n" + "".join(f"{text},1\n" for text in fields))

    assert made["x"].tolist() == fields


@pytest.mark.parametrize(
    ("fields", "numbers"),
    [
        (["1,234.56", "0.50", "-12,345,678.9"], [1234.56, 0.5, -12345678.9]),
        (["1,234,567", "12", "-999"], [1234567, 12, -999]),
        (["1,000.50", "NA", "7"], [1000.5, None, 7.0]),
    ],
)
def test_csv_thousands_parted_by_commas_are_numbers(fields, numbers, tmp_path):
    made = read_text(tmp_path, "x,y\n" + "".join(f'"{text}",1\n' for text in fields))["x"]
    write_table(made.to_frame(), tmp_path / "again.csv")

    assert [None if pd.isna(number) else number for number in made] == numbers
    assert_series_equal(read_table(tmp_path / "again.csv")["x"], made)


@pytest.mark.parametrize(
    "fields",
    [
        ["8,765", "5,678"],
        ["1,234.50", "1234.50"],
        ["1 000,5", "20,25"],
        ["1.234,50", "2,00"],
        ["1 234.5", "1.0"],
        ["1'234.50", "29"],
        ["$12.00", "$1,000.00"],
        ["-$5", "$ 6"],
        ["12 %", "7 %"],
        ["12.5%", ""],
        ["12,00 €", "1.000,00 €"],
        ["12,5", "13,5"],
    ],
)
def test_csv_number_that_may_be_another_is_refused_by_column_without_its_value(fields, tmp_path):
    text = "amount,y\n" + "".join(f'"{field}",1\n' if field else ",1\n" for field in fields)
    with pytest.raises(DataError, match=r"column 'amount' .* like 1,234.5, or declare") as raised:
        read_text(tmp_path, text)

    told = str(raised.value).replace(str(tmp_path), "")  # a folder's number is no cell value
    assert not any(field and field in told for field in fields)


def test_csv_column_that_the_schema_declares_text_may_hold_anything(tmp_path):
    (tmp_path / "t.csv").write_text("x,y\n$5,1\n$6,2\n", encoding="utf-8")
    columns = {"x": Categorical(categories=("$5", "$6")), "y": Numeric(dtype="int64")}

    assert read_table(tmp_path / "t.csv", columns=columns)["x"].tolist() == ["$5", "$6"]


@pytest.mark.parametrize(
    "fields",
    [
        ["612 345 678", "699 111 222"],
        ["192.168.100.200", "10.0.0.1"],
        ["12.03.2024", "13.03.2024"],
        ["1,2,3", "1,2"],
        ["52.5,13.4", "48.1,11.6"],
        ["cost 5 $", "6 $"],
        ["A1,234.5", "1,234.5"],
        ["0049 30", "0049 40"],
    ],
)
def test_csv_text_with_digits_that_is_no_number_stays_text(fields, tmp_path):
    made = read_text(tmp_path, "x,y\n" + "".join(f'"{text}",1\n' for text in fields))

    assert made["x"].tolist() == fields


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "parts",
    [
        ([1, 2], [2**63 + 1, None], [3, 2**64 - 1]),
        ([2**64 - 1], [1, 2]),
        ([None, None], [1, 2], [2**63]),
        ([None], [None], [datetime.date(2020, 1, 31)], [None]),
        ([None], [Decimal("1.50")], [None]),
        ([None], [True, None], [False]),
        ([None], ["a", None]),
    ],
    ids=repr,
)
def test_parts_of_objects_come_back_as_the_whole_table_does(parts, ending, tmp_path):
    needs(ending)
    whole = pd.Series([value for part in parts for value in part], dtype=object)
    frames = [pd.DataFrame({"x": pd.Series(part, dtype=object), "k": range(len(part))}) for part in parts]
    write_table(pd.concat(frames, ignore_index=True).assign(x=whole), tmp_path / f"whole.{ending}")
    with table_writer(tmp_path / f"parts.{ending}") as write:
        for frame in frames:
            write(frame)

    made, want = (read_table(tmp_path / f"{name}.{ending}")["x"] for name in ("parts", "whole"))

    assert_series_equal(made, want)
    assert {place.name for place in tmp_path.iterdir()} == {f"whole.{ending}", f"parts.{ending}"}


def test_signed_and_unsigned_objects_beyond_any_integer_of_a_file_are_refused(tmp_path):
    with pytest.raises(DataError, match="column 'x' of a later part"), table_writer(tmp_path / "t.parquet") as write:  # noqa: PT012
        for value in (-1, 2**63):
            write(pd.DataFrame({"x": pd.Series([value], dtype=object)}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ([True], [2]),
        ([True, None], [0.5]),
        (np.array([0.5], dtype=np.float32), [0.1]),
        (np.array([0.5], dtype=np.float32), [1e300]),
    ],
)
def test_a_later_part_whose_numbers_the_type_of_the_first_does_not_hold_is_refused(tmp_path, first, later):
    with pytest.raises(DataError, match="column 'x' of a later part"), table_writer(tmp_path / "t.parquet") as write:  # noqa: PT012
        write(pd.DataFrame({"x": first}))
        write(pd.DataFrame({"x": later}))
    assert not list(tmp_path.iterdir())


SPELT = {
    "text, then numbers": (["a"], [1], "int64.*string"),
    "text, then fractions": (["a"], [0.5], "double.*string"),
    "text, then truth values": (["a"], [True], "bool.*string"),
    "text, then times": (["a"], pd.to_datetime(["2020-01-01"]), r"timestamp\[..\].*string"),
    "numbers, then text of numbers": ([1], ["007"], "string.*int64"),
    "times, then numbers": (pd.to_datetime(["2020-01-01"]), [1], r"int64.*timestamp\[..\]"),
    "times, then text": (pd.to_datetime(["2020-01-01"]), ["2020-01-02"], r"string.*timestamp\[..\]"),
    "days, then times": ([datetime.date(2020, 1, 1)], pd.to_datetime(["2020-01-02 10:00"]), r"timestamp\[..\].*date32"),
}


@pytest.mark.parametrize(("first", "later", "types"), SPELT.values(), ids=list(SPELT))
def test_a_later_part_of_another_kind_is_neither_spelt_out_nor_parsed(tmp_path, first, later, types):
    refused = pytest.raises(DataError, match=f"column 'x' of a later part.*{types}")
    with refused as caught, table_writer(tmp_path / "t.parquet") as write:
        write(pd.DataFrame({"x": first}))
        write(pd.DataFrame({"x": later}))
    assert "007" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (Numeric(dtype="int64"), [1.5, 2.0]),
        (Numeric(dtype="uint8"), [1, 300]),
        (Numeric(dtype="uint8"), pd.Series([1, -1], dtype="Int64")),
        (Numeric(dtype="float32"), [1.0, 1e300]),
        (Boolean(dtype="bool"), [0, 2]),
        (Boolean(dtype="bool"), [0.5, 0.0]),
        (Datetime(dtype="date"), np.array(["0000-01-01"], dtype="datetime64[us]")),
        (Datetime(dtype="datetime64[ns]"), ["200101-01 00:0W0:0"]),  # pandas would warn, quote it, and drop the W
    ],
)
def test_values_that_a_declared_dtype_would_change_are_refused(tmp_path, column, values):
    write_table(pd.DataFrame({"x": values}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=re.escape(f"cannot become {column.dtype}, as the schema declares")) as raised:
        read_table(tmp_path / "t.parquet", columns={"x": column})
    assert "column 'x'" in str(raised.value)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (Numeric(dtype="int64"), [1.0, 2.0]),
        (Numeric(dtype="uint8"), pd.Series([255, 0], dtype="Int64")),
        (Numeric(dtype="float32"), [0.5, np.inf, np.nan]),
        (Boolean(dtype="bool"), [0, 1.0]),
    ],
)
def test_numbers_that_a_declared_dtype_holds_are_read(tmp_path, column, values):
    write_table(pd.DataFrame({"x": values}), tmp_path / "t.parquet")
    made = read_table(tmp_path / "t.parquet", columns={"x": column})["x"]
    assert str(made.dtype) == column.dtype
    assert_series_equal(made.astype("float64"), pd.Series(values, name="x").astype("float64"))


WORDS, SEVENS = ["007", "7"], [7, 7]
TRUTHS, SPELT_TRUTHS = [True, False], ["True", "False"]


@pytest.mark.parametrize("max_bytes", [2**30, 1])
@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("object", (WORDS, SEVENS)),
        ("object", (SEVENS, WORDS)),
        ("object", (TRUTHS, SPELT_TRUTHS)),
        ("string", (WORDS, SEVENS)),
        ("category", (WORDS, SEVENS)),
        ("int64", (SEVENS, WORDS)),
    ],
)
def test_files_of_text_and_of_numbers_are_no_table_though_a_schema_casts_each(tmp_path, dtype, values, max_bytes):
    for number, part in enumerate(values):
        write_table(pd.DataFrame({"x": part}), tmp_path / f"{number}.parquet")
    words = (*WORDS, *SPELT_TRUTHS)
    column = Numeric(dtype=dtype) if dtype == "int64" else Categorical(dtype=dtype, categories=words)

    with pytest.raises(DataError, match=r"column 'x' is .*0\.parquet.* and .*1\.parquet.*one type in all") as caught:
        list(read_dataset(tmp_path, schema=Schema({"table": {"x": column}}), max_bytes=max_bytes).batches("table"))
    assert "007" not in str(caught.value)


def test_files_of_which_one_has_no_value_or_other_numbers_are_a_table(tmp_path):
    for number, part in enumerate(([None, None], [1, 2], [0.5, None])):
        write_table(
            pd.DataFrame({"x": pd.Series(part, dtype=None if number else object)}), tmp_path / f"{number}.parquet"
        )
    column = Numeric(dtype="float64", nullable=True, public=True)

    made = read_dataset(tmp_path, schema=Schema({"table": {"x": column}})).table

    assert made["x"].dropna().tolist() == [1, 2, 0.5]


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ([True], [1, 0]),
        ([True], [np.nan, 1.0]),
        ([1], [np.nan, 2.0]),
        (np.array([0.5], dtype=np.float32), [0.25, np.nan, np.inf]),
    ],
)
def test_a_later_part_whose_numbers_it_holds_is_written(tmp_path, first, later):
    with table_writer(tmp_path / "t.parquet") as write:
        write(pd.DataFrame({"x": first}))
        write(pd.DataFrame({"x": later}))
    made = read_table(tmp_path / "t.parquet")["x"].iloc[1:].astype("Float64").astype("float64")
    assert_series_equal(made.reset_index(drop=True), pd.Series(later, name="x", dtype="float64"))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([True, False, None], Boolean(dtype="object", nullable=True)),
        ([True, False], Boolean(dtype="object")),
        ([None, None], Boolean(dtype="object", nullable=True)),
        ([1, 2, None], Numeric(dtype="object", nullable=True, places=0)),
        ([2**63 + 1, 2, None], Numeric(dtype="object", nullable=True, places=0)),
        ([0.5, 1.25, None], Numeric(dtype="object", nullable=True)),
        ([1, 2, None], Categorical(dtype="object", nullable=True, categories=(1, 2))),
        ([True, None], Categorical(dtype="object", nullable=True, categories=(True, False))),
    ],
    ids=repr,
)
def test_objects_of_a_schema_come_back_from_every_format_with_their_types(values, column, ending, tmp_path):
    needs(ending)
    table = pd.DataFrame({"x": pd.Series(values, dtype=object), "k": range(len(values))})
    columns = {"x": column, "k": Numeric(dtype="int64")}
    write_table(table, tmp_path / f"t.{ending}")

    made = read_table(tmp_path / f"t.{ending}", columns=columns)["x"]

    assert made.dtype == object
    assert [(type(value), value) for value in made] == [(type(value), value) for value in values]


def test_text_that_is_no_truth_value_is_refused_for_a_boolean_column(tmp_path):
    with pytest.raises(DataError, match="column 'x'"):
        read_text(tmp_path, "x\nCANARY\nTrue\n", columns={"x": Boolean(dtype="object")})


@pytest.mark.parametrize("storage", ["python", "pyarrow"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_text_has_the_storage_that_its_schema_names(ending, storage, tmp_path):
    needs(ending)
    table = pd.DataFrame({"x": pd.Series(["a", "b", None] * 40, dtype=pd.StringDtype(storage))})
    write_table(table, tmp_path / f"t.{ending}")

    made = read_table(tmp_path / f"t.{ending}", columns=profile(table).schema.columns)

    assert made["x"].dtype == table["x"].dtype


def test_csv_tells_null_from_empty_text(tmp_path):
    made = read_text(tmp_path, 'x,y\n,1\n"",2\na,3\n')

    assert made["x"].isna().tolist() == [True, False, False]
    assert made["x"].tolist()[1:] == ["", "a"]


def test_csv_of_one_column_keeps_its_nulls(tmp_path):
    table = pd.DataFrame({"x": pd.array([1, None, 3], dtype="Int64")})

    write_table(table, tmp_path / "t.csv")

    assert_frame_equal(read_table(tmp_path / "t.csv"), table)


def test_csv_header_alone_is_a_table_without_rows(tmp_path):
    made = read_text(tmp_path, "a,b\n")

    assert (list(made.columns), len(made)) == (["a", "b"], 0)


@given(texts=st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=("Cs",)), max_size=8)), min_size=1))
@settings(max_examples=40, deadline=None)
def test_any_text_comes_back_from_csv(texts, tmp_path_factory):
    table = pd.DataFrame({"x": pd.Series([*texts, "word"], dtype=object), "y": 1})
    path = tmp_path_factory.mktemp("csv") / "t.csv"

    write_table(table, path)

    made = read_table(path)["x"]
    assert [None if pd.isna(value) else value for value in made] == [*texts, "word"]


@given(numbers=st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_any_float_comes_back_from_csv_exactly(numbers, tmp_path_factory):
    path = tmp_path_factory.mktemp("csv") / "t.csv"

    write_table(pd.DataFrame({"x": numbers}), path)

    assert read_table(path)["x"].tolist() == numbers


@pytest.mark.parametrize(
    ("text", "encoding", "what"),
    [
        ("a,a\n1,2\n", "utf-8", "several columns named 'a'"),
        ("a,,c\n1,2,3\n", "utf-8", "column 2 .* has no name"),
        ("", "utf-8", "has no header"),
        ("a,b\n1,2\n1,2,3\n", "utf-8", "row .*has 3 fields"),
        ('a,b\n"1,2\n', "utf-8", "quote"),
        ("a\nsecret-é\n", "latin-1", "not UTF-8"),
        ("a\n1\n", "utf-16", "not UTF-8"),
    ],
    ids=["duplicate", "empty name", "empty file", "ragged", "open quote", "latin-1", "utf-16"],
)
def test_bad_csv_is_refused_without_its_content(text, encoding, what, tmp_path):
    with pytest.raises(DataError, match=what) as raised:
        read_text(tmp_path, text, encoding=encoding)

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("ending", "content", "what"),
    [
        ("json", b'[{"a": NaN}]', "NaN and Infinity"),
        ("json", b'{"a": 1}', "array of objects"),
        ("json", b'[{"a": [1]}]', "column 'a' .* nested"),
        ("json", b'[{"a": 1}, {"a": "x"}]', "column 'a' .* mixes int, str"),
        ("json", b'[{"a": 1, "a": 2}]', "names a column twice"),
        ("jsonl", b'{"a": 1}\n{"a": \n', "line 2"),
        ("jsonl", b'{"a": "b"}\n{"a": "\\ud800"}\n', "column 'a' .* half a surrogate pair"),
        ("jsonl", b"[1]\n", "not an object"),
        ("jsonl", b'{"": 1}\n', "has no name"),
        ("parquet", b"PAR1 not really PAR1", "not a whole parquet file"),
        ("csv.gz", b"not gzip", "gzip"),
        ("h5", b"not hdf5", "not a whole HDF5 file"),
        ("xlsx", b"", "no known format"),
    ],
)
def test_bad_file_is_refused(ending, content, what, tmp_path):
    needs(ending)
    (tmp_path / f"t.{ending}").write_bytes(content)

    with pytest.raises(DataError, match=what):
        read_table(tmp_path / f"t.{ending}")


def test_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv' does not exist"):
        read_table(tmp_path / "nowhere.csv")


def test_truncated_gzip_is_refused(tmp_path):
    write_table(plain(), tmp_path / "t.csv.gz")
    whole = (tmp_path / "t.csv.gz").read_bytes()
    (tmp_path / "t.csv.gz").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(DataError):
        read_table(tmp_path / "t.csv.gz")


def test_json_keeps_whole_numbers_beyond_64_bits_as_text(tmp_path):
    (tmp_path / "t.jsonl").write_text(f'{{"x": {2**70}}}\n{{"x": 1}}\n')

    assert read_table(tmp_path / "t.jsonl")["x"].tolist() == [str(2**70), "1"]


def test_json_refuses_infinities_when_writing(tmp_path):
    with pytest.raises(DataError, match="'x' holds infinite"):
        write_table(pd.DataFrame({"x": [np.inf]}), tmp_path / "t.json")


def test_parquet_of_others_with_nested_columns_is_refused(tmp_path):
    pd.DataFrame({"x": [[1, 2]]}).to_parquet(tmp_path / "t.parquet")

    with pytest.raises(DataError, match=r"column 'x' .* nested"):
        read_table(tmp_path / "t.parquet")


def test_parquet_of_pandas_keeps_whole_numbers_with_nulls(tmp_path):
    table = pd.DataFrame({"x": pd.array([2**60 + 1, None], dtype="Int64"), "y": ["a", None]})
    table.to_parquet(tmp_path / "t.parquet")

    assert_frame_equal(read_table(tmp_path / "t.parquet"), table)


def test_hdf5_of_pytables_is_refused_with_the_way_to_convert_it(tmp_path):
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file.attrs["PYTABLES_FORMAT_VERSION"] = "2.1"  # as PyTables marks the root of each of its files

    with pytest.raises(DataError, match=r"pickles; convert .*to_parquet"):
        read_table(tmp_path / "t.h5")


def test_hdf5_holds_no_pickle(tmp_path):
    pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    table = pd.DataFrame({"d": [Decimal("1.5"), None], "t": [datetime.date(2020, 1, 1), None], "s": ["a", None]})

    write_table(table, tmp_path / "t.h5")

    assert b"cdecimal" not in (tmp_path / "t.h5").read_bytes()
    assert b"cdatetime" not in (tmp_path / "t.h5").read_bytes()
    assert_frame_equal(read_table(tmp_path / "t.h5"), table)


def test_hdf5_of_a_newer_format_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file.attrs["synth_components"] = json.dumps({"version": 99, "columns": [], "rows": 0})

    with pytest.raises(DataError, match="newer format"):
        read_table(tmp_path / "t.h5")


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_directory_of_parts_is_one_table(ending, tmp_path):
    table = plain()
    write_table(table.iloc[:12], tmp_path / f"part-0.{ending}")
    write_table(table.iloc[12:], tmp_path / f"part-1.{ending}")
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / "README").write_text("")

    assert_frame_equal(read_table(tmp_path), table)


def test_parts_of_which_one_has_nulls_agree_on_a_dtype(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,true\n")
    (tmp_path / "b.csv").write_text("x,y\n,false\n")

    assert [str(dtype) for dtype in read_table(tmp_path).dtypes] == ["Int64", "bool"]


def test_parts_of_different_types_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.csv").write_text("x\nword\n")

    with pytest.raises(DataError, match="column 'x'"):
        read_table(tmp_path)


def test_directory_of_two_formats_is_refused(tmp_path):
    write_table(plain(), tmp_path / "a.csv")
    write_table(plain(), tmp_path / "b.parquet")

    with pytest.raises(DataError, match="mixes csv, parquet"):
        read_table(tmp_path)


def test_schema_decides_the_types_of_a_csv(tmp_path):
    schema = Schema.from_json(
        {
            "columns": {
                "zip": {"type": "categorical", "categories": ["10115", "80331"]},
                "price": {"type": "numeric", "dtype": "decimal", "places": 2},
                "day": {"type": "datetime", "dtype": "date", "resolution": "D"},
                "level": {"type": "categorical", "dtype": "category", "categories": ["low", "high"], "ordered": True},
            }
        }
    )
    (tmp_path / "t.csv").write_text("level,zip,price,day\nhigh,10115,1.5,2020-01-01\nlow,80331,2,2020-01-02\n")

    made = read_dataset(tmp_path / "t.csv", schema=schema).table

    assert list(made.columns) == ["zip", "price", "day", "level"]
    assert made["zip"].tolist() == ["10115", "80331"]
    assert made["price"].tolist() == [Decimal("1.5"), Decimal(2)]
    assert made["day"].tolist() == [datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)]
    assert made["level"].dtype == pd.CategoricalDtype(["low", "high"], ordered=True)


def test_column_that_cannot_have_the_declared_dtype_is_refused_without_values(tmp_path):
    (tmp_path / "t.csv").write_text("x\nsecret\n")
    schema = Schema({"table": {"x": Numeric(dtype="int64")}})

    with pytest.raises(DataError, match=r"column 'x' .* cannot become int64") as raised:
        read_dataset(tmp_path / "t.csv", schema=schema)

    assert "secret" not in str(raised.value)


def test_column_that_the_file_lacks_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("x\n1\n")

    with pytest.raises(DataError, match="no column 'y'"):
        read_dataset(tmp_path / "t.csv", schema=Schema({"table": {"y": Text()}}))


def test_file_without_schema_is_profiled(tmp_path):
    write_table(plain(400), tmp_path / "t.parquet")

    schema = read_dataset(tmp_path / "t.parquet").schema

    assert isinstance(schema.columns["share"], Numeric)
    assert isinstance(schema.columns["said"], Categorical)
    assert isinstance(schema.columns["zoned"], Datetime)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "jsonl.gz"])
def test_large_table_stays_on_disk_and_is_read_in_batches(ending, tmp_path):
    table = plain()
    write_table(table, tmp_path / f"t.{ending}")
    schema = profile(table, config=ProfileConfig(describe=False)).schema

    data = read_dataset(tmp_path / f"t.{ending}", schema=schema, max_bytes=0)
    batches = list(data.batches("table", 7))

    assert isinstance(data, LazyDataset)
    assert data.num_rows() == len(table)
    assert [len(batch) for batch in batches] == [7, 7, 7, 7, 7, 5]
    assert_frame_equal(pd.concat(batches, ignore_index=True), table)


def late(n=1_200):
    """Return rows whose last third has nulls, another category and larger numbers."""
    last = np.arange(n) >= 2 * n // 3
    return pd.DataFrame(
        {
            "number": np.arange(n) + 7,
            "count": pd.array(np.where(last, 900, np.arange(n) % 90), dtype="Int64"),
            "kind": pd.Series(np.where(last, "late", "early"), dtype=object),
            "one_null": np.where(np.arange(n) == n - 1, np.nan, np.arange(n) % 50 + 0.5),
        }
    ).assign(count=lambda t: t["count"].mask(pd.Series(last) & (t.index % 2 == 0)))


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("limit", [10**6, 300])
def test_schema_of_a_table_on_disk_knows_all_of_it(ending, limit, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_module, "SPREAD_ROWS", limit)
    monkeypatch.setattr(dataset_module, "_BATCH_ROWS", 100)
    write_table(late(), tmp_path / f"t.{ending}")

    data = read_dataset(tmp_path / f"t.{ending}", max_bytes=0)
    columns = data.schema.columns

    assert isinstance(columns["number"], Key)
    assert (columns["count"].dtype, columns["count"].nullable, columns["count"].high) == ("Int64", True, 900)
    assert columns["kind"].categories == ("early", "late")
    assert columns["one_null"].nullable
    for batch in data.batches("table", 100):
        check(batch, columns)


def test_table_on_disk_is_charged_before_it_is_read(tmp_path):
    (tmp_path / "t.csv").write_text("not a table")
    ledger = Ledger(Budget(1.0, 1e-6))

    with pytest.raises(BudgetExceededError):
        read_dataset(tmp_path / "t.csv", max_bytes=0, ledger=ledger)


def test_types_that_change_within_a_table_on_disk_ask_for_a_schema(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_module, "_BATCH_ROWS", 2)
    (tmp_path / "t.jsonl").write_text("".join(f'{{"x": {x}}}\n' for x in ("1", "2", '"a"', '"b"')))

    with pytest.raises(DataError, match=r"column 'x' .* declare its columns in a schema"):
        read_dataset(tmp_path / "t.jsonl", max_bytes=0)


def test_categories_of_all_parts_are_kept(tmp_path):
    for number, kind in enumerate("ab"):
        part = pd.DataFrame({"x": pd.Series([kind] * 2, dtype="category")})
        write_table(part, tmp_path / f"{number}.parquet")

    made = read_table(tmp_path)["x"]

    assert made.tolist() == ["a", "a", "b", "b"]
    assert made.cat.categories.tolist() == ["a", "b"]


@pytest.mark.parametrize("tables", [1, 2])
def test_dataset_directory_comes_back(tables, tmp_path):
    frames = {"table": plain(), "other": plain(12)}
    frames = dict(list(frames.items())[:tables])
    schema = profile(frames, config=ProfileConfig(describe=False)).schema

    write_dataset(Dataset(frames, schema), tmp_path / "data")
    made = read_dataset(tmp_path / "data")

    assert made.schema == schema
    assert list(made.tables) == list(frames)
    for name, frame in frames.items():
        assert_frame_equal(made.tables[name], frame)


def test_damaged_schema_file_is_refused(tmp_path):
    write_table(plain(), tmp_path / "table.parquet")
    (tmp_path / "schema.json").write_text("{")

    with pytest.raises(SchemaError, match="not valid JSON"):
        read_dataset(tmp_path)


def test_format_follows_the_ending_unless_it_is_named():
    assert format_of("a.CSV.gz") == ("csv", True)
    assert format_of("part-0", "jsonl") == ("jsonl", False)
    with pytest.raises(DataError, match=r"drop \.gz"):
        format_of("a.parquet.gz")


def test_csv_is_what_others_read(tmp_path):
    table = plain()[["whole", "share", "said"]].dropna().reset_index(drop=True)

    (tmp_path / "t.csv").write_bytes(render(table, place="t", header=True))

    assert_frame_equal(pd.read_csv(tmp_path / "t.csv", engine="python"), table)


def test_gzip_of_others_is_read(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,x\n"))

    assert read_table(tmp_path / "t.csv.gz").to_dict("list") == {"a": [1], "b": ["x"]}


@pytest.fixture(scope="module")
def bucket():
    """Yield the address of an empty bucket on a server of this machine."""
    pytest.importorskip("flask", reason="moto's server (extra dev) is not installed")
    server = pytest.importorskip("moto.server", reason="moto (extra dev) is not installed")
    boto3 = pytest.importorskip("boto3", reason="boto3 (extra dev) is not installed")
    threaded = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    threaded.start()
    host, port = threaded.get_host_and_port()
    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    patch.setenv("AWS_ACCESS_KEY_ID", "testing")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    patch.setenv("AWS_REGION", "us-east-1")
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").create_bucket(Bucket="data")
    yield "s3://data"
    patch.undo()
    threaded.stop()


@pytest.mark.parametrize("ending", ["csv.gz", "parquet", "jsonl", "h5"])
def test_table_comes_back_from_s3(ending, bucket):
    needs(ending)
    table = plain()

    write_table(table, f"{bucket}/{ending}/t.{ending}")

    assert_frame_equal(read_table(f"{bucket}/{ending}/t.{ending}"), table)


def test_dataset_and_parts_come_back_from_s3(bucket):
    table = plain()
    schema = profile(table, config=ProfileConfig(describe=False)).schema

    write_dataset(Dataset({"table": table}, schema), f"{bucket}/set")
    write_table(table.iloc[:10], f"{bucket}/parts/0.parquet")
    write_table(table.iloc[10:], f"{bucket}/parts/1.parquet")

    assert_frame_equal(read_dataset(f"{bucket}/set").table, table)
    assert_frame_equal(read_table(f"{bucket}/parts"), table)


def test_interrupted_writing_to_s3_leaves_no_object(bucket):
    with pytest.raises(KeyboardInterrupt), table_writer(f"{bucket}/half/t.csv") as write:  # noqa: PT012
        write(plain())
        raise KeyboardInterrupt

    with pytest.raises(DataError, match="does not exist"):
        read_table(f"{bucket}/half/t.csv")


def test_an_upload_to_s3_that_is_interrupted_leaves_no_part_of_an_object(bucket, monkeypatch):
    from moto.s3.models import S3Backend

    begin = S3Backend.create_multipart_upload

    def interrupted(*args, **kwargs):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return begin(*args, **kwargs)

    monkeypatch.setattr(S3Backend, "create_multipart_upload", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_table(plain(), f"{bucket}/cut/t.parquet")

    assert_frame_equal(read_table(f"{bucket}/cut/t.parquet"), plain())  # it had begun, and went to its end


@pytest.mark.slow  # pyarrow tries again for half a minute
def test_an_upload_to_s3_whose_line_goes_dead_leaves_what_was_there(bucket, monkeypatch):
    from moto.s3.models import S3Backend

    write_table(plain().head(3), f"{bucket}/dead/t.parquet")

    def dead(*_, **__):
        raise ConnectionResetError

    monkeypatch.setattr(S3Backend, "upload_part", dead)
    with pytest.raises(DataError, match=r"dead/t\.parquet"):
        write_table(plain(), f"{bucket}/dead/t.parquet")

    assert_frame_equal(read_table(f"{bucket}/dead/t.parquet"), plain().head(3))


@pytest.mark.skipif(sys.platform != "linux", reason="it needs a file that opens and cannot be read")
def test_an_upload_to_s3_of_a_file_that_cannot_be_read_leaves_no_object(bucket):
    with pytest.raises(DataError, match=r"unread/t\.csv"), writing(locate(f"{bucket}/unread/t.csv")) as part:  # noqa: PT012
        part.unlink()
        part.symlink_to("/proc/self/mem")  # nothing lies at address 0

    with pytest.raises(DataError, match="does not exist"):
        read_table(f"{bucket}/unread/t.csv")


def test_missing_bucket_is_refused_by_name(bucket):
    with pytest.raises(DataError, match=r"s3://nobody/t\.csv"):
        read_table("s3://nobody/t.csv")
