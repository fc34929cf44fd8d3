"""Tables of SQLite and PostgreSQL, through SQLAlchemy: ``postgresql://user@host/database#table``.

Behind ``#`` stands a table, ``schema.table``, or a query, which begins with ``select`` or ``with``; it is taken as it
is, without percent signs for spaces.  A password is best left to the driver (``PGPASSWORD``, ``~/.pgpass``); one in the
address appears in no message and no record.

Rows are read in chunks, from PostgreSQL through a cursor on the server; those of a table in the order of its primary
key, so that they come in the same order every time, and a query orders its rows itself.  Rows are appended to a table,
all of them in one transaction; a table that is not there is made, in the same transaction.

Types: whole numbers, numbers, truth values, text, decimals, dates, times (zoned ones in UTC), time spans and bytes are
what they are.  A time of day and a UUID become text.  JSON, arrays and other types are refused: cast them in a query.
SQLite has no decimals, zoned times and time spans: written there, they become text.  A query on SQLite does not tell
which columns are times or truth values; they come as text and numbers, unless a schema says more.
"""

from __future__ import annotations

import datetime
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd

from synth_components.column_type import Kind, kind_of
from synth_components.errors import DataError
from synth_components.io.arrow import require_names
from synth_components.io.json_lines import column_of
from synth_components.io.location import shown

DATABASES = ("postgresql", "sqlite")
_CHUNK_ROWS = 32_768
_CELL_BYTES = 64
"""About what a value needs in memory, as a Python object."""

_QUERY = re.compile(r"(select|with)\s", re.IGNORECASE)
_ABSENT_IN_SQLITE: tuple[Kind, ...] = ("decimal", "timedelta")
_NO_NUMBERS: tuple[Kind, ...] = ("text", "datetime", "timedelta", "date", "bytes")
_NO_TIMES: tuple[Kind, ...] = ("integer", "float", "decimal", "boolean", "timedelta", "bytes")
_REFUSED: dict[Kind, tuple[Kind, ...]] = {
    "boolean": _NO_NUMBERS,
    "integer": _NO_NUMBERS,
    "float": _NO_NUMBERS,
    "decimal": _NO_NUMBERS,
    "datetime": _NO_TIMES,
    "date": _NO_TIMES,
}
"""What no column of a kind takes."""


@dataclass(frozen=True)
class Relation:
    """A table of a database, or what a query makes.

    Attributes:
        text: What messages call it, without password and query.
        url: The database, as SQLAlchemy addresses it.
        source: The table, or the query.
    """

    text: str
    url: str
    source: str

    @property
    def is_query(self) -> bool:
        """Whether the rows come from a query."""
        return _QUERY.match(self.source) is not None

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file."""
        return self.url.partition(":")[0].partition("+")[0] == "sqlite"

    @property
    def num_bytes(self) -> int:
        """About how much memory the rows need."""
        with self._connected() as connection, closing(self._result(connection, limit=0)) as result:
            names = list(result.keys())
        return self.num_rows() * len(names) * _CELL_BYTES

    def num_rows(self) -> int:
        """Return the number of rows, as the database counts them."""
        sqlalchemy = _sqlalchemy()
        with self._connected() as connection:
            if self.is_query:
                text = f"select count(*) from ({self.source}) as counted"  # noqa: S608 - the caller's own query
                return int(connection.exec_driver_sql(text, execution_options={"no_parameters": True}).scalar_one())
            counted = sqlalchemy.select(sqlalchemy.func.count()).select_from(self._table(connection))
            return int(connection.execute(counted).scalar_one())

    def batches(self, rows: int) -> Iterator[pd.DataFrame]:
        """Yield consecutive parts of at most ``rows`` rows; one without rows, if there are none.

        Raises:
            DataError: for what cannot be reached or read, naming the column of a type that no table here has.
        """
        with self._connected() as connection, closing(self._result(connection)) as result:
            names = [str(name) for name in result.keys()]  # noqa: SIM118 - no mapping
            require_names(names, place=self.text)
            parts = self._checked(result.partitions(min(rows, _CHUNK_ROWS)))
            first = next(parts, None)
            yield self._frame(names, [()] * len(names) if first is None else list(zip(*first, strict=True)))
            for part in parts:
                yield self._frame(names, list(zip(*part, strict=True)))

    def cells(self, rows: int) -> Iterator[pd.DataFrame]:
        """Yield consecutive parts of at most ``rows`` rows, each value as the driver has it.

        Raises:
            DataError: for what cannot be reached or read.
        """
        with self._connected() as connection, closing(self._result(connection, is_raw=True)) as result:
            names = [str(name) for name in result.keys()]  # noqa: SIM118 - no mapping
            require_names(names, place=self.text)
            for part in result.partitions(min(rows, _CHUNK_ROWS)):
                columns = zip(names, zip(*part, strict=True), strict=True)
                yield pd.DataFrame({name: pd.Series(list(values), dtype=object) for name, values in columns})

    def _checked(self, parts: Iterator[Any]) -> Iterator[Any]:
        """Yield the parts; SQLite keeps any value in any column, and a date that is none is found as it is read."""
        try:
            yield from parts
        except ValueError:
            raise DataError(
                f"a column of '{self.text}' holds a value that its type does not allow; select it as text in a query"
            ) from None

    def _frame(self, names: list[str], columns: list[tuple[Any, ...]]) -> pd.DataFrame:
        made = {name: _column(list(values), name, self.text) for name, values in zip(names, columns, strict=True)}
        return pd.DataFrame(made, columns=names, index=pd.RangeIndex(len(columns[0])))

    @contextmanager
    def writer(self) -> Iterator[Callable[[pd.DataFrame], None]]:
        """Yield a function that appends a frame's rows; they are there on success, all of them.

        Raises:
            DataError: for a query, for columns that the table does not have, and for rows that the database refuses.
        """
        sqlalchemy = _sqlalchemy()
        if self.is_query:
            raise DataError(f"'{self.text}' is a query, which cannot be written to; name a table behind '#'")
        target: Any = None
        with self._made_on_success(), self._connected(is_read=False) as connection, connection.begin():

            def write(frame: pd.DataFrame) -> None:
                nonlocal target
                names = list(frame.columns)
                require_names(names, place=self.text)
                if target is None:
                    self._prepare(connection, frame)
                    schema, name = self._name()
                    target = sqlalchemy.table(name, *map(sqlalchemy.column, names), schema=schema)
                if names != [column.name for column in target.columns]:
                    raise DataError(
                        f"a later part of '{self.text}' has other columns than the first; give all the same"
                    )
                columns = [self._plain(frame[name]) for name in names]
                held = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
                try:
                    if held:
                        connection.execute(sqlalchemy.insert(target), held)
                except OverflowError:
                    what = "has whole numbers beyond 64 bits; cast it to text"
                    raise DataError(f"a column of '{self.text}' {what}") from None

            yield write

    @contextmanager
    def _made_on_success(self) -> Iterator[None]:
        """Remove an SQLite file that the block made, if the block fails."""
        file = self._file()
        is_new = file is not None and not file.exists()
        try:
            yield
        except BaseException:
            if is_new and file is not None:
                file.unlink(missing_ok=True)
            raise

    def _prepare(self, connection: Any, frame: pd.DataFrame) -> None:  # noqa: ANN401 - an optional library
        """Make the table, unless it is there; then it must have the columns."""
        import sqlalchemy

        schema, name = self._name()
        if sqlalchemy.inspect(connection).has_table(name, schema=schema):
            known = {column.name: column.type for column in self._table(connection).columns}
            for column in frame.columns:
                if column not in known:
                    raise DataError(f"table '{self.text}' has no column '{column}'; add it, or leave the column out")
                _require_kind(frame[column], known[column], self.text)
            return
        columns = [sqlalchemy.Column(column, self._type(frame[column])) for column in frame.columns]
        sqlalchemy.Table(name, sqlalchemy.MetaData(), *columns, schema=schema).create(connection)

    def _type(self, values: pd.Series[Any]) -> Any:  # noqa: ANN401
        import sqlalchemy

        kind = _kind(values)
        if self.is_sqlite and (kind in _ABSENT_IN_SQLITE or _is_zoned(values)):
            return sqlalchemy.Text()
        types: dict[Kind, Any] = {
            "integer": sqlalchemy.BigInteger(),
            "float": sqlalchemy.Double(),
            "boolean": sqlalchemy.Boolean(),
            "datetime": sqlalchemy.DateTime(timezone=_is_zoned(values)),
            "timedelta": sqlalchemy.Interval(),
            "date": sqlalchemy.Date(),
            "decimal": sqlalchemy.Numeric(),
            "bytes": sqlalchemy.LargeBinary(),
        }
        return types.get(kind, sqlalchemy.Text())

    def _plain(self, values: pd.Series[Any]) -> list[Any]:
        """Return a column as what the driver takes, without the library's own types between."""
        kind, name = _kind(values), str(values.name)
        make: Callable[[Any], Any] = _item
        if kind in {"datetime", "timedelta"}:
            _refuse_nanoseconds(values, name)
            make = _moment if kind == "datetime" else _span
        if self.is_sqlite:
            make = _in_sqlite(make)
        nulls = values.isna().tolist()
        pairs = zip(values.astype(object).tolist(), nulls, strict=True)
        return [None if null else make(value) for value, null in pairs]

    def _result(self, connection: Any, limit: int | None = None, *, is_raw: bool = False) -> Any:  # noqa: ANN401
        import sqlalchemy

        stream = {"stream_results": True}
        if self.is_query:
            text = self.source
            if limit is not None:
                text = f"select * from ({self.source}) as limited limit {limit}"  # noqa: S608 - the caller's own query
            return connection.exec_driver_sql(text, execution_options={**stream, "no_parameters": True})
        table = self._table(connection)
        if self.is_sqlite:
            _without_decimals(table)
        if is_raw:  # SQLite keeps any value in any column, and one that its type does not allow would end the reading
            for column in table.columns:
                column.type = sqlalchemy.types.NullType()
        asked = sqlalchemy.select(table).order_by(*table.primary_key.columns).limit(limit)
        return connection.execute(asked, execution_options=stream)

    def _table(self, connection: Any) -> Any:  # noqa: ANN401
        import sqlalchemy

        schema, name = self._name()
        with warnings.catch_warnings():
            # Of types that it does not know the values are read all the same.
            warnings.simplefilter("ignore", sqlalchemy.exc.SAWarning)
            return sqlalchemy.Table(name, sqlalchemy.MetaData(), schema=schema, autoload_with=connection)

    def _name(self) -> tuple[str | None, str]:
        schema, _, name = self.source.rpartition(".")
        return schema or None, name

    def _file(self) -> Path | None:
        """Return the file of an SQLite database."""
        path = self.url.partition("://")[2].removeprefix("/").partition("?")[0]
        return Path(path) if self.is_sqlite and path not in {"", ":memory:"} else None

    @contextmanager
    def _connected(self, *, is_read: bool = True) -> Iterator[Any]:
        """Yield a connection; what the database says in an error may hold values, so none of it is passed on."""
        sqlalchemy = _sqlalchemy()
        file = self._file()
        if is_read and file is not None and not file.exists():
            raise DataError(f"'{self.text}' does not exist; check the path of the database")
        engine = self._engine()
        try:
            with engine.connect() as connection:
                yield connection
        except sqlalchemy.exc.NoSuchTableError:
            raise DataError(f"'{self.text}': no such table; check its name, and its schema before a dot") from None
        except sqlalchemy.exc.IntegrityError:
            raise DataError(f"'{self.text}' refused the rows: they break a constraint; nothing was added") from None
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise DataError(
                f"the database of '{self.text}' refused ({type(error).__name__}); check address, user and password, "
                "the table or query, and that the columns have types that it holds"
            ) from None
        finally:
            engine.dispose()

    def _engine(self) -> Any:  # noqa: ANN401
        sqlalchemy = _sqlalchemy()
        try:
            address = sqlalchemy.make_url(self.url)
            if address.drivername == "postgresql":
                address = address.set(drivername="postgresql+psycopg")
            engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.pool.NullPool)
        except (sqlalchemy.exc.SQLAlchemyError, ValueError):  # the message of either may hold the password
            raise DataError(
                f"'{self.text}' is no address of a database that can be used; write user@host:port/name"
            ) from None
        except ModuleNotFoundError as error:
            raise DataError(
                f"'{self.text}' needs the package {error.name}: pip install 'synth-components[sql]'"
            ) from None
        if self.is_sqlite:
            # The driver would begin a transaction at the first insert, after the table was made.
            sqlalchemy.event.listen(engine, "connect", lambda held, _: setattr(held, "isolation_level", None))
            sqlalchemy.event.listen(engine, "begin", lambda held: held.exec_driver_sql("BEGIN"))
        return engine


def relation(address: object) -> Relation | None:
    """Return the table or query that a database address names; ``None`` for any other address or path.

    Raises:
        DataError: for a database address without a table or query.
    """
    text = str(address)
    url, _, source = text.partition("#")
    if "://" not in text or url.partition("://")[0].partition("+")[0] not in DATABASES:
        return None
    if not source.strip():
        raise DataError(f"'{shown(text)}' names no table; write it behind the address: {shown(url)}#table")
    return Relation(shown(text), url, source.strip().rstrip(";"))


def _sqlalchemy() -> Any:  # noqa: ANN401
    try:
        import sqlalchemy
    except ModuleNotFoundError:
        raise DataError("databases need the package SQLAlchemy: pip install 'synth-components[sql]'") from None
    return sqlalchemy


def _without_decimals(table: Any) -> None:  # noqa: ANN401
    """Read numbers as floats where the database holds floats, whatever the column was declared."""
    import sqlalchemy

    for column in table.columns:
        if isinstance(column.type, sqlalchemy.Numeric):
            column.type = sqlalchemy.Double(asdecimal=False)


def _require_kind(values: pd.Series[Any], declared: Any, place: str) -> None:  # noqa: ANN401
    """Refuse values that a column of the database cannot hold; SQLite would take them, and not read them again."""
    given, held = _kind(values), _kind_declared(declared)
    if held is None or not values.notna().any():
        return
    if given == "float" and held == "integer":
        # Whole numbers with gaps are floats in pandas.
        is_refused = bool((values.dropna().astype("float64") % 1 != 0).any())
    else:
        is_refused = given in _REFUSED.get(held, ())
    if is_refused:
        raise DataError(
            f"column '{values.name}' holds {given}, and in the table '{place}' it holds {held}; cast it to {held}, or "
            "write to another table"
        )


def _kind_declared(declared: Any) -> Kind | None:  # noqa: ANN401
    """Return what a column of a database holds; ``None`` for types that say nothing of it."""
    import sqlalchemy

    kinds: tuple[tuple[Any, Kind], ...] = (
        (sqlalchemy.Boolean, "boolean"),
        (sqlalchemy.Integer, "integer"),
        (sqlalchemy.Float, "float"),
        (sqlalchemy.Numeric, "decimal"),
        (sqlalchemy.DateTime, "datetime"),
        (sqlalchemy.Date, "date"),
    )
    return next((kind for held, kind in kinds if isinstance(declared, held)), None)


def _column(values: list[Any], name: str, place: str) -> pd.Series[Any]:
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {int, float, bool, str}:
        return column_of(values, name, place, recognise=False)
    if kinds == {datetime.datetime}:
        zoned = {value.tzinfo is not None for value in values if value is not None}
        if len(zoned) == 1:
            utc = [_utc(value) for value in values] if True in zoned else values
            made = pd.Series(np.array(utc, dtype="datetime64[us]"))
            return made.dt.tz_localize("UTC") if True in zoned else made
    if kinds == {datetime.timedelta}:
        return pd.Series(np.array(values, dtype="timedelta64[us]"))
    if kinds in ({Decimal}, {datetime.date}):
        return pd.Series(values, dtype=object)
    if kinds <= {bytes, memoryview}:
        return pd.Series([None if value is None else bytes(value) for value in values], dtype=object)
    if kinds in ({UUID}, {datetime.time}):
        return pd.Series([None if value is None else str(value) for value in values])
    found = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(f"column '{name}' of '{place}' holds {found}, which no table here has; cast it to text in a query")


def _utc(value: datetime.datetime | None) -> datetime.datetime | None:
    return None if value is None else value.astimezone(datetime.UTC).replace(tzinfo=None)


def _kind(values: pd.Series[Any]) -> Kind:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return kind_of(pd.Series(values.dtype.categories.tolist(), dtype=object, name=values.name))
    return kind_of(values)


def _is_zoned(values: pd.Series[Any]) -> bool:
    return _kind(values) == "datetime" and values.dt.tz is not None


def _refuse_nanoseconds(values: pd.Series[Any], name: str) -> None:
    parts = values.dropna().dt
    if (parts.nanosecond if hasattr(parts, "nanosecond") else parts.nanoseconds).any():
        raise DataError(f"column '{name}' has nanoseconds, which no database here holds; round it to microseconds")


def _item(value: Any) -> Any:  # noqa: ANN401
    return value.item() if isinstance(value, np.generic) else value


def _moment(value: Any) -> datetime.datetime:  # noqa: ANN401
    return pd.Timestamp(value).to_pydatetime()


def _span(value: Any) -> datetime.timedelta:  # noqa: ANN401
    return pd.Timedelta(value).to_pytimedelta()


def _in_sqlite(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that makes what SQLite stores: numbers, text and bytes, as SQLAlchemy reads them back."""

    def store(value: Any) -> Any:  # noqa: ANN401
        plain = make(value)
        if isinstance(plain, datetime.datetime):
            return plain.isoformat(" ", timespec="microseconds")
        if isinstance(plain, datetime.timedelta):
            return str(pd.Timedelta(plain))
        if isinstance(plain, datetime.date):
            return plain.isoformat()
        return str(plain) if isinstance(plain, Decimal) else plain

    return store
