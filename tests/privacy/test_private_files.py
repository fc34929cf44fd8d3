"""Files that a private fit reads: no row decides on a type that is released, or ends the fit."""

import datetime
import json
import re
import sqlite3
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from synth_components.__main__ import main
from synth_components.encode import encode_table
from synth_components.errors import DataError
from synth_components.generators.tabular._public_cells import cells_of, coded
from synth_components.io import dataset as storage
from synth_components.io.cells import conform_cells
from synth_components.io.dataset import read_dataset, read_typed, write_table
from synth_components.schema import TABLE, Boolean, Categorical, Datetime, Image, Key, Numeric, Schema, Text, Unit
from synth_components.steps.protect import ProtectConfig, protect
from synth_components.steps.split import SplitConfig, split
from synth_components.steps.train import TrainConfig, train

SECRET = "ofnobodyelse"
COLUMNS = {
    "age": Numeric(dtype="int64", low=16, high=128, places=0, public=True),
    "pay": Numeric(dtype="float64", low=0, high=1000, places=2, nullable=True, public=True),
    "sex": Categorical(categories=("f", "m"), public=True),
    "member": Boolean(public=True),
    "since": Datetime(dtype="datetime64[us]", low="2000-01-01", high="2030-01-01", resolution="D", public=True),
}
SCHEMA = Schema({TABLE: COLUMNS})
USUAL = {"age": "33", "pay": "120.5", "sex": "f", "member": "True", "since": "2011-03-01"}
STRANGE = {
    "a null": dict.fromkeys(USUAL, ""),
    "a text": dict.fromkeys(USUAL, SECRET),
    "a decimal": {"age": "33.5", "member": "0.5", "sex": "1.5", "since": "2011.5"},
    "an extreme": {"age": "9" * 30, "pay": "1e400", "since": "9999-12-31"},
    "a number below all": {"age": "-9223372036854775809", "pay": "-1e300", "since": "0001-01-01"},
    "a day that the calendar lacks": {"since": "2011-02-30"},
    "a number in dress": {"age": "$33", "pay": "120.50 %"},
    "parted thousands": {"age": '"33,000"', "pay": '"1,234.5"'},
    "a zone": {"since": "2011-03-01T10:00:00+09:00"},
    "marks of null": {"age": "NA", "pay": "nan", "member": "None", "since": "null"},
    "a truth value of other letters": {"member": "TRUE", "sex": "true"},
}


POLICY = {
    "sensitive": {"sex": "critical"},
    "detect": False,
    "layers": ["differential_privacy"],
    "private_generator": "tabular.mst",
}


def rows(n=40):
    rng = np.random.default_rng(0)
    return [
        {
            "age": str(rng.integers(18, 90)),
            "pay": f"{rng.integers(0, 100_000) / 100}",
            "sex": "fm"[rng.integers(2)],
            "member": str(bool(rng.integers(2))),
            "since": f"20{rng.integers(10, 25)}-03-01",
        }
        for _ in range(n)
    ]


def csv(path, held, *lines):
    path.write_text("\n".join([",".join(USUAL), *(",".join(row.values()) for row in held), *lines]) + "\n")
    return path


def trained(folder, data, generator="tabular.mst", *more):
    """Return the schema that a fit of the command line releases, byte for byte."""
    model = folder / f"model of {data.name}"
    said = ["--data", str(data), "--schema", str(folder / "declared.json"), "--model", str(model)]
    options = ["--generator", generator, "--privacy", "dp", "--epsilon", "3", "--units", "40", *more]
    assert main(["train", *said, *options, "--quiet"]) == 0
    return (model / "schema.json").read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "declared.json").write_text(SCHEMA.canonical())
    return folder


@pytest.fixture(scope="module")
def usual(folder):
    """The schema that is released of the usual rows."""
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    return trained(folder, csv(folder / "usual.csv", rows()))


@pytest.mark.parametrize("what", STRANGE)
def test_one_row_more_of_a_csv_file_neither_changes_the_released_schema_nor_ends_the_fit(folder, usual, what, capsys):
    found = trained(folder, csv(folder / "more.csv", [*rows(), {**USUAL, **STRANGE[what]}]))
    assert found == usual
    assert SECRET not in "".join(capsys.readouterr())


@pytest.mark.parametrize("line", ["33", "33,1,f,True,2011-03-01,more", '"33,""",5'])
def test_a_row_of_other_fields_than_the_header_is_left_out(folder, usual, line):
    data = csv(folder / "ragged.csv", rows(), line)
    assert trained(folder, data) == usual
    assert len(read_dataset(data, schema=SCHEMA, by_cell=True).table) == len(rows())


@pytest.mark.slow
def test_the_same_holds_of_a_network_under_dp_sgd(folder):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    strange = [{**USUAL, **STRANGE[what]} for what in STRANGE]
    small = {"steps": 3, "hidden": 4, "bins": 4, "sample_rate": 0.2}
    few = ("tabular.autoregressive", *(f"--generator.private_{name}={value}" for name, value in small.items()))
    found = {trained(folder, csv(folder / f"{len(held)}.csv", held), *few) for held in (rows(), [*rows(), *strange])}
    assert len(found) == 1


@pytest.mark.parametrize("ending", ["csv", "jsonl", "json", "db"])
@pytest.mark.parametrize("place", [0, 20])
def test_a_strange_row_moves_no_other_row_in_any_format(tmp_path, ending, place):
    """What a fit counts of the other rows stays as it is; each value is put where `_public_cells` puts it."""
    found = []
    odd = [{**USUAL, **strange} for strange in STRANGE.values()]
    for held in (rows(), [*rows()[:place], *odd, *rows()[place:]]):
        path = tmp_path / f"{len(held)}.{ending}"
        if ending == "csv":
            csv(path, held)
        elif ending == "db":
            with sqlite3.connect(path) as connection:
                connection.execute("create table t (age integer, pay real, sex text, member boolean, since timestamp)")
                connection.executemany("insert into t values (?, ?, ?, ?, ?)", [tuple(row.values()) for row in held])
            connection.close()
            path = f"sqlite:///{path}#t"
        else:
            nested = [{**row, "age": [row["age"]], "new": 1} if row in odd else row for row in held]
            told = [json.dumps(row) for row in nested]
            path.write_text("\n".join(told) if ending == "jsonl" else f"[{', '.join(told)}]")
        data = read_dataset(path, schema=SCHEMA, by_cell=True)
        assert {name: str(dtype) for name, dtype in data.table.dtypes.items()} == {
            name: column.dtype for name, column in COLUMNS.items()
        }
        found.append(coded(data, cells_of(SCHEMA, bins=8)))
    for name in COLUMNS:
        others = np.delete(found[1][name], range(place, place + len(odd)))
        np.testing.assert_array_equal(others, found[0][name])


def test_lines_that_are_no_objects_are_left_out(tmp_path):
    lines = [json.dumps(row) for row in rows(3)]
    (tmp_path / "t.jsonl").write_bytes("\n".join([*lines, "7", "{", "[" * 99_999]).encode() + b"\n\xff\n")
    (tmp_path / "t.json").write_text(f"[{', '.join([*lines, '7', 'NaN'])}]")
    for ending in ("json", "jsonl"):
        assert len(read_dataset(tmp_path / f"t.{ending}", schema=SCHEMA, by_cell=True).table) == 3


def test_a_column_that_a_file_lacks_is_refused_as_is_a_file_that_is_no_table(tmp_path):
    (tmp_path / "t.csv").write_text("age,pay\n1,2\n")
    with pytest.raises(DataError, match="no column 'sex'"):
        read_dataset(tmp_path / "t.csv", schema=SCHEMA, by_cell=True)
    csv(tmp_path / "open.csv", rows(), '"33,', *(",".join(row.values()) for row in rows()))
    with pytest.raises(DataError, match=r"open.csv' is not a whole CSV file; look for a quote that is not closed"):
        read_dataset(tmp_path / "open.csv", schema=SCHEMA, by_cell=True)
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(DataError, match="array of objects"):
        read_dataset(tmp_path / "t.json", schema=SCHEMA, by_cell=True)


def test_a_file_without_rows_has_the_declared_columns(tmp_path):
    csv(tmp_path / "t.csv", [])
    (tmp_path / "t.jsonl").write_text("")
    for ending in ("csv", "jsonl"):
        table = read_dataset(tmp_path / f"t.{ending}", schema=SCHEMA, by_cell=True).table
        assert list(table.dtypes.astype(str)) == [column.dtype for column in COLUMNS.values()]


INT = Numeric(dtype="int8", low=-5, high=100, places=0)
WORDS = ("a", "b")
NS = "datetime64[ns]"
TOKYO = "datetime64[us, Asia/Tokyo]"
WEST = "datetime64[ns, America/New_York]"
FIRST, LAST = pd.Timestamp.min + pd.Timedelta(days=1), pd.Timestamp.max - pd.Timedelta(days=1)
FIRST, LAST = FIRST.tz_localize("UTC"), LAST.tz_localize("UTC")
READ = {
    "a whole number": (INT, "7", 7),
    "as a number": (INT, 7.0, 7),
    "a fraction": (INT, "7.6", 8),
    "beyond the dtype": (INT, "1000", 127),
    "beyond it below": (INT, Decimal("-1e40"), -128),
    "a number without end": (INT, "-inf", -5),
    "a text": (INT, "x", -5),
    "a list": (INT, [1], -5),
    "a text where null is": (Numeric(dtype="Int64", places=0), "x", pd.NA),
    "2^53 + 1": (Numeric(dtype="Int64", places=0), "9007199254740993", 9007199254740993),
    "a number beyond 64 bits": (Numeric(dtype="object", low=0, high=2**64 - 1, places=0), "1" + "0" * 30, 2**64 - 1),
    "a number of thousands of digits": (INT, "0" * 5_000 + "7", 7),
    "a float of as many": (Numeric(), "-" + "0" * 5_000 + "7", -7.0),
    "2^53 + 1 with a point": (Numeric(dtype="Int64", places=0), "9007199254740993.0", 9007199254740993),
    "a float": (Numeric(), "7.25", 7.25),
    "parted thousands": (Numeric(), "1,234.5", 1234.5),
    "no thousands": (Numeric(), "12,34", np.nan),
    "a whole number beyond floats": (Numeric(), 10**400, np.nan),
    "a float beyond its dtype": (Numeric(dtype="float32"), "1e300", np.inf),
    "a decimal": (Numeric(dtype="decimal", low=0, high=10, places=2), "7.255", Decimal("7.26")),
    "a decimal too large": (Numeric(dtype="decimal", low=0, high=10, places=2), Decimal("1e30"), Decimal(10)),
    "a decimal of too many places": (Numeric(dtype="decimal", low=0, high=10), "1e-300", Decimal(0)),
    "a decimal of too many digits": (Numeric(dtype="decimal", places=0), "1e300", Decimal(10**38 - 1)),
    "tens": (Numeric(dtype="decimal", places=-1), "17.5", Decimal(20)),
    "a decimal bounded beyond files": (Numeric(dtype="decimal", low=-1e60, high=1e60), "-1e50", Decimal(1 - 10**38)),
    "a whole number of any sign": (Numeric(dtype="object", low=-5, high=2**64 - 1, places=0), 2**63, 2**63 - 1),
    "a whole number without bounds": (Numeric(dtype="object", places=0), "-1e300", -(2**63)),
    "a text among decimals": (Numeric(dtype="decimal", low=0, high=10, places=2), "x", None),
    "a span": (Numeric(dtype="timedelta64[s]", places=0), "1 days 00:00:05", pd.Timedelta(days=1, seconds=5)),
    "a span as a number": (Numeric(dtype="timedelta64[s]", places=0), "5", pd.Timedelta(seconds=5)),
    "a span beyond all": (Numeric(dtype="timedelta64[ns]", places=0), "999999999 days", pd.NaT),
    "a truth value": (Boolean(), "true", True),
    "one": (Boolean(dtype="boolean"), 1, True),
    "no truth value": (Boolean(), "x", False),
    "no truth value where null is": (Boolean(dtype="boolean"), 2, pd.NA),
    "a truth value among objects": (Boolean(dtype="object"), "FALSE", False),
    "a category": (Categorical(categories=WORDS), "b", "b"),
    "a number as a category": (Categorical(categories=("1", "2")), 2, "2"),
    "an unlisted text": (Categorical(categories=WORDS), "c", "c"),
    "an unlisted text that the dtype cannot hold": (Categorical(dtype="category", categories=WORDS), "c", "a"),
    "half a letter": (Categorical(categories=WORDS), "\ud800", None),
    "a map": (Categorical(dtype="category", categories=WORDS), {}, np.nan),
    "a number category": (Categorical(dtype="int64", categories=(3, 5)), "5.0", 5),
    "an unlisted number": (Categorical(dtype="int64", categories=(3, 5)), "6", 3),
    "no number category": (Categorical(dtype="int64", categories=(3, 5)), "x", 3),
    "a truth category": (Categorical(dtype="object", categories=(True, False)), "false", False),
    "a time": (Datetime(dtype=NS), "2011-03-01T10:00:00.000000001", pd.Timestamp("2011-03-01T10:00:00.000000001")),
    "a time in a zone": (Datetime(dtype=NS), "2011-03-01 10:00Z", pd.Timestamp("2011-03-01 10:00")),
    "a local time": (Datetime(dtype=TOKYO), "2011-03-01 10:00", pd.Timestamp("2011-03-01 10:00", tz="Asia/Tokyo")),
    "a zoned time": (Datetime(dtype=TOKYO), "2011-03-01 10:00Z", pd.Timestamp("2011-03-01 19:00", tz="Asia/Tokyo")),
    "the last day": (Datetime(dtype=NS, low="2000-01-01", high="2020-01-01"), "9999-12-31", pd.Timestamp("2020-01-01")),
    "the last day without bounds": (Datetime(dtype=NS), "9999-12-31", pd.Timestamp.max),
    "the last day of bounds beyond": (Datetime(dtype=NS, high="2500-01-01"), "9999-12-31", pd.Timestamp.max),
    "the first day of bounds beyond": (Datetime(dtype=NS, low="1500-01-01"), "0001-01-01", pd.Timestamp.min),
    "a time before all in a zone": (Datetime(dtype=WEST), "0001-01-01", FIRST),
    "a time after all in a zone": (Datetime(dtype=WEST), "9999-12-31", LAST),
    "a time that no clock has": (Datetime(dtype=NS), "2011-03-01 25:00", pd.NaT),
    "now": (Datetime(dtype=NS), "now", pd.NaT),
    "a date": (Datetime(dtype="date"), "2011-03-01", datetime.date(2011, 3, 1)),
    "a date as a date": (Datetime(dtype="date", high="2020-01-01"), datetime.date.max, datetime.date(2020, 1, 1)),
    "no day of dates": (Datetime(dtype="date"), "0000-01-01", datetime.date.min),
    "a day after all": (Datetime(dtype="date", low="2000-01-01"), "9999-12-31T23:59:59-05:00", datetime.date.max),
    "the year 12000": (Datetime(dtype="date"), np.datetime64("12000-01-01", "us"), datetime.date.max),
    "the last date": (Datetime(dtype="date"), "9999-12-31", datetime.date.max),
    "a time too late": (Datetime(dtype="datetime64[s]"), "9999-12-31T23:59-05:00", pd.Timestamp("9999-12-31 23:59:59")),
    "a local time before all": (Datetime(dtype=TOKYO), "0000-01-01", FIRST.floor("us")),
    "no date": (Datetime(dtype="date"), 7, None),
    "a text of a number": (Text(), 7, "7"),
    "bytes": (Text(dtype="string"), b"x", pd.NA),
    "a key": (Key(dtype="int64"), "7", 7),
    "a key of floats": (Key(dtype="float64"), "7", 7.0),
    "no key of floats": (Key(dtype="float64"), "x", np.nan),
    "no text of numbers": (Text(dtype="Int64"), "x", pd.NA),
    "no key": (Key(dtype="int64"), "x", 0),
    "an image": (Image(), "a.png", "a.png"),
}  # fmt: skip


@pytest.mark.parametrize("what", READ)
def test_a_value_becomes_what_its_column_holds_whatever_stands_beside_it(what):
    column, value, wanted = READ[what]
    beside = ["", SECRET, "3", 3, True, None, 2.5, [], datetime.datetime(2011, 3, 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [
            conform_cells(pd.DataFrame({"c": pd.Series(held, dtype=object)}), {"c": column}, place="t")["c"]
            for held in ([value], [*beside, value])
        ]
    for values in found:
        assert len(repr(values))  # whoever is told of it can print it
        assert str(values.dtype) == {"decimal": "object", "date": "object"}.get(column.dtype, column.dtype)
        made = values.iloc[-1]
        assert (pd.isna(made) and pd.isna(wanted)) or (made == wanted and isinstance(made, type(wanted) | np.generic))


EXACT = {
    "decimals": (Numeric(dtype="decimal", low=0, high=10), "1.5", "1e-300"),
    "decimals of any size": (Numeric(dtype="decimal"), "1.5", "1e300"),
    "whole numbers": (Numeric(dtype="object", low=-5, high=2**64 - 1, places=0), "-1", str(2**63 + 5)),
    "whole numbers of any size": (Numeric(dtype="object", places=0), "1", "1e300"),
    "dates": (Datetime(dtype="date"), "2011-03-01", "9999-12-31T23:59:59-05:00"),
}


@pytest.mark.parametrize("what", EXACT)
@pytest.mark.parametrize("rows", [2, 131_072])
def test_what_a_private_read_makes_of_one_row_more_can_be_written_with_the_others(tmp_path, what, rows):
    """In parts of few rows, too, of which the first has the types of all."""
    column, usual, strange = EXACT[what]
    (tmp_path / "t.csv").write_text("\n".join(["n,m", *(f"{usual},1" for _ in range(4)), f"{strange},1"]) + "\n")
    schema = Schema({TABLE: {"n": column, "m": Numeric()}})
    data = read_dataset(tmp_path / "t.csv", schema=schema, by_cell=True, max_bytes=0)
    with storage.table_writer(tmp_path / "t.parquet") as write:
        for batch in data.batches(rows=rows):
            write(batch)
    pd.testing.assert_frame_equal(storage.read_table(tmp_path / "t.parquet"), pd.concat(data.batches()))


def test_rows_that_are_left_out_of_a_file_on_disk_are_not_counted(tmp_path):
    """A split counts them before it draws."""
    csv(tmp_path / "t.csv", rows(), "33")
    assert read_dataset(tmp_path / "t.csv", schema=SCHEMA, by_cell=True, max_bytes=0).num_rows() == len(rows())


def test_decimal_commas_are_read_where_a_semicolon_parts_the_fields(tmp_path):
    (tmp_path / "t.csv").write_text("x;n\n1,5;1,234\n2;x\n")
    columns = {"x": Numeric(nullable=True), "n": Numeric(nullable=True)}
    table = read_dataset(tmp_path / "t.csv", schema=Schema({TABLE: columns}), by_cell=True).table
    pd.testing.assert_frame_equal(table, pd.DataFrame({"x": [1.5, 2.0], "n": [1.234, np.nan]}))


@pytest.mark.parametrize(
    ("dtype", "left"), [("int64", ["7", "8"]), ("Int64", ["7", "8", None]), ("object", ["7", "8", "x", "7.5", None])]
)
def test_of_a_unit_that_cannot_be_read_no_row_is_kept_so_that_no_two_units_become_one(dtype, left):
    """A null is a unit of its own where the dtype holds it; another unit's name would be shared by two."""
    table = pd.DataFrame({"who": ["7", "8", "x", "7.5", None, "9" * 30 if dtype != "object" else None]})
    if dtype == "object":
        table = table.iloc[:-1]
    found = conform_cells(table, {"who": Key(dtype=dtype)}, place="t", unit=("who",))["who"]
    assert [None if pd.isna(value) else str(value) for value in found] == left


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_numbers_of_persons_that_floats_do_not_tell_apart_make_no_two_of_them_one(dtype):
    table = pd.DataFrame({"who": ["9007199254740992", "9007199254740993", "9007199254740993.0"]})
    found = conform_cells(table, {"who": Key(dtype=dtype)}, place="t", unit=("who",))["who"]
    both = [2**53 + 1] * 2 if dtype == "int64" else []
    assert found.tolist() == [2**53, *both]


@pytest.mark.parametrize("dtype", ["float32", "Float32", "float64", "Float64", "object"])
@pytest.mark.parametrize("cell", ["1e308", 1e308, "9" * 300])
def test_no_warning_tells_of_a_number_that_is_too_large_for_its_column(dtype, cell):
    column = Numeric(dtype=dtype, places=2, low=0, high=9)  # pytest makes an error of a warning
    found = conform_cells(pd.DataFrame({"x": ["1", cell]}, dtype=object), {"x": column}, place="t")
    one, large = encode_table(found, Schema({TABLE: {"x": column}})).values[:, 0]
    assert one == 100
    assert not large <= 900  # a bound clips it, or it is null


def test_a_span_of_any_number_is_read_at_once():
    cells = pd.DataFrame({"x": ["5", Decimal("1e999999"), 10**4_000, 2**63, -(2**63) + 1]}, dtype=object)
    column = Numeric(dtype="timedelta64[s]", places=0, nullable=True)
    found = conform_cells(cells, {"x": column}, place="t")["x"]  # rounding 1e999999 takes minutes
    assert found.isna().tolist() == [False, True, True, True, False]


def test_the_schema_says_which_columns_are_the_unit(tmp_path):
    (tmp_path / "t.csv").write_text("who,n\n1,5\nx,6\n1,x\n")
    columns = {"who": Key(dtype="int64"), "n": Numeric(dtype="int64", low=1, high=9, places=0)}
    schema = Schema({TABLE: columns}, unit=Unit(TABLE, ("who",), 2))
    for max_bytes in (0, 2**30):
        data = read_dataset(tmp_path / "t.csv", schema=schema, by_cell=True, max_bytes=max_bytes)
        assert pd.concat(data.batches()).to_dict("list") == {"who": [1, 1], "n": [5, 1]}


def untyped(folder):
    """Yield a table of each format whose types are read off rows."""
    table = pd.DataFrame({"n": [1, 2, 3] * 10, "s": list("abc") * 10})
    for ending in ("csv", "csv.gz", "json", "jsonl"):
        write_table(table, folder / f"t.{ending}")
        yield folder / f"t.{ending}"
    write_table(table, f"sqlite:///{folder}/t.db#t")
    yield f"sqlite:///{folder}/t.db#t"


def test_without_a_schema_types_that_rows_decide_on_are_refused_before_one_is_read(tmp_path, monkeypatch):
    places = list(untyped(tmp_path))
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(POLICY))

    def never(*args, **options):
        raise AssertionError("rows were read")

    for name in ("read_table", "read_dataset", "_together", "_frames", "_cells"):
        monkeypatch.setattr(storage, name, never)
    model, output, sides = tmp_path / "model", tmp_path / "run", {"train": tmp_path / "a", "holdout": tmp_path / "b"}
    for place in places:
        with pytest.raises(
            DataError, match=r"differential privacy.*declare the columns in a schema, or give Parquet or HDF5"
        ):
            train(TrainConfig(generator="tabular.mst", privacy="dp"), data=place, model=model)
        with pytest.raises(DataError, match="declare the columns in a schema"):
            split(SplitConfig(privacy="dp"), data=place, **sides)
        with pytest.raises(DataError, match="declare the columns in a schema"):
            protect(
                ProtectConfig(), data=place, policy=policy, protected=tmp_path / "made", evidence=tmp_path / "audit"
            )
    said = ["--data", str(places[0]), "--output", str(output), "--train.generator", "tabular.mst"]
    assert main(["run", *said, "--train.privacy", "dp", "--split.hashed", "true"]) == 2
    assert not any(place.exists() for place in (model, output, *sides.values()))


def test_no_row_ends_the_drawing_of_a_policy_or_changes_its_types(tmp_path, caplog):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    (tmp_path / "schema.json").write_text(SCHEMA.canonical())
    csv(tmp_path / "t.csv", [*rows(), *({**USUAL, **strange} for strange in STRANGE.values())])
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    given = {"data": tmp_path / "t.csv", "schema": tmp_path / "schema.json", "policy": tmp_path / "policy.json"}
    out = {"protected": tmp_path / "out.parquet", "evidence": tmp_path / "audit.json"}
    caplog.set_level("INFO")
    protect(ProtectConfig(), **given, **out)
    assert f"of {len(rows()) + len(STRANGE)}" not in caplog.text  # how many rows there are is private
    assert re.match(r"\d+ rows are released", caplog.messages[-1])
    made = storage.read_table(out["protected"]).dtypes.astype(str).to_dict()
    assert made == {name: column.dtype for name, column in COLUMNS.items()}


def test_in_a_file_with_types_no_dtype_tells_whether_there_is_a_null(tmp_path):
    """Of pyarrow, of pandas and of ours; HDF5, too."""
    found = []
    for rest in ([3, True], [None, None]):
        columns = {"n": [1, 2, rest[0]], "b": [True, False, rest[1]], "u": [1, 2, rest[0]]}
        kinds = {"n": pa.int64(), "b": pa.bool_(), "u": pa.uint8()}
        arrow = pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})
        parquet.write_table(arrow, tmp_path / "t.parquet")
        ours = storage.read_table(tmp_path / "t.parquet")
        ours["b"] = ours["b"].astype("bool" if rest[1] else "boolean")
        write_table(ours, tmp_path / "ours.parquet")
        write_table(ours, tmp_path / "ours.h5")
        ours.to_parquet(tmp_path / "pandas.parquet")
        places = [tmp_path / name for name in ("t.parquet", "ours.parquet", "pandas.parquet", "ours.h5")]
        found += [read_typed(place).dtypes.astype(str).to_dict() for place in places]
    assert found == [{"n": "Int64", "b": "boolean", "u": "UInt8"}] * 8


def test_the_step_reads_a_file_with_types_so(tmp_path):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    released = set()
    for last in (5, None):
        table = pa.table({"n": pa.array([*range(16)] * 100 + [last], pa.int64())})
        parquet.write_table(table, tmp_path / "t.parquet")
        model = tmp_path / f"model {last}"
        config = TrainConfig(generator="tabular.mst", privacy="dp", epsilon=50.0, units=1601)
        train(config, data=tmp_path / "t.parquet", model=model)
        released.add(json.loads((model / "schema.json").read_text())["tables"][TABLE]["n"]["dtype"])
    assert released == {"Int64"}


def test_a_private_split_hands_on_rows_in_declared_types(tmp_path):
    (tmp_path / "schema.json").write_text(SCHEMA.canonical())
    csv(tmp_path / "t.csv", [*rows(), *({**USUAL, **strange} for strange in STRANGE.values())])
    for large in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if large:
                patch.setattr(storage, "MAX_BYTES", 0)
            sides = {"train": tmp_path / "train.parquet", "holdout": tmp_path / "holdout.parquet"}
            split(SplitConfig(privacy="dp"), data=tmp_path / "t.csv", schema=tmp_path / "schema.json", **sides)
        tables = [storage.read_table(side) for side in sides.values()]
        assert sum(map(len, tables)) == len(rows()) + len(STRANGE)
        assert [list(table.dtypes.astype(str)) for table in tables] == [[c.dtype for c in COLUMNS.values()]] * 2


@pytest.mark.slow
def test_no_row_ends_a_private_run(tmp_path):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    (tmp_path / "schema.json").write_text(SCHEMA.canonical())
    csv(tmp_path / "t.csv", [*rows(200), *({**USUAL, **strange} for strange in STRANGE.values())])
    places = {
        name: str(tmp_path / at) for name, at in (("data", "t.csv"), ("schema", "schema.json"), ("output", "run"))
    }
    asked = {
        "split": {"hashed": True},
        "train": {"generator": "tabular.mst", "privacy": "dp"},
        "evaluate": {"privacy": "dp", "replicates": 10},
    }
    (tmp_path / "run.json").write_text(json.dumps({**places, **asked}))
    assert main(["run", str(tmp_path / "run.json"), "--quiet"]) == 0
    assert (tmp_path / "run" / "report.json").exists()


def test_a_strange_row_does_not_end_a_private_report(tmp_path, monkeypatch):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "schema.json").write_text(SCHEMA.canonical())
    odd = [{**USUAL, **strange} for strange in STRANGE.values()]
    for name, more in {"train": odd, "holdout": odd, "drawn": []}.items():
        csv(tmp_path / f"{name}.csv", [*rows(60), *more])
    said = ["--train", "train.csv", "--holdout", "holdout.csv", "--synthetic", "drawn.csv", "--schema", "schema.json"]
    dp = ["--privacy", "dp", "--epsilon", "2", "--replicates", "10", "--quiet"]
    assert main(["evaluate", *said, *dp, "--report", "report.json"]) == 0


def test_without_privacy_a_value_that_does_not_fit_is_still_an_error(tmp_path):
    csv(tmp_path / "t.csv", [*rows(), {**USUAL, "age": SECRET}])
    with pytest.raises(DataError, match="column 'age'"):
        read_dataset(tmp_path / "t.csv", schema=SCHEMA)
