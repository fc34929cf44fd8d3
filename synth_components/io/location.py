"""Where a file lies: a local path, ``s3://bucket/key``, or an address of any scheme that fsspec knows.

What is written appears whole or not at all: at a local path by a rename, on S3 because an upload counts when it ends
(an interrupt or a limit waits for the end of one that has begun), elsewhere by fsspec's transactions, in which most of
its file systems take part.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from synth_components.errors import DataError

_CHUNK = 8 * 2**20
_ERRORS = {"aiohttp": "ClientError", "ftplib": "Error", "paramiko": "SSHException"}
"""By library, the class of its errors that is no ``OSError``."""

_S3_HINT = ", the region and AWS_ENDPOINT_URL_S3"


@dataclass(frozen=True)
class Location:
    """A file or directory.

    Attributes:
        text: What messages call it: never with the credentials that a URI may carry.
        path: The path within its file system, with forward slashes.
        filesystem: A ``pyarrow.fs.FileSystem``.
        is_local: Whether ``path`` is a path of this machine.
    """

    text: str
    path: str
    filesystem: Any
    is_local: bool

    @property
    def name(self) -> str:
        """The last part of the path; of a web address without its query."""
        path = self.path if self.is_local else self.path.split("?", 1)[0]
        return path.rstrip("/").rsplit("/", 1)[-1]

    def child(self, name: str) -> Location:
        """Return an entry of this directory."""
        return Location(
            f"{self.text.rstrip('/')}/{name}", f"{self.path.rstrip('/')}/{name}", self.filesystem, self.is_local
        )

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory, or a prefix that objects share."""
        return bool(self._info().type.name == "Directory")

    @property
    def exists(self) -> bool:
        """Whether there is a file or directory."""
        return bool(self._info().type.name != "NotFound")

    @property
    def num_bytes(self) -> int:
        """The size of a file."""
        return int(self._info().size or 0)

    def _info(self) -> Any:  # noqa: ANN401 - pyarrow has no stubs
        try:
            return self.filesystem.get_file_info(self.path)
        except failures() as error:
            raise self.refuse(error) from None
        except ValueError as error:  # a path that the file system cannot take apart
            raise self.refuse(error) from None

    def children(self) -> list[Location]:
        """Return the files of this directory by name, without hidden ones (``.`` or ``_`` first)."""
        from pyarrow import fs

        try:
            entries = self.filesystem.get_file_info(fs.FileSelector(self.path))
        except failures() as error:
            raise self.refuse(error) from None
        names = sorted(entry.base_name for entry in entries if entry.type == fs.FileType.File)
        return [self.child(name) for name in names if not name.startswith((".", "_"))]

    def refuse(self, error: Exception) -> DataError:
        """Return the error of a place that cannot be used."""
        if isinstance(error, FileNotFoundError):
            return DataError(f"'{self.text}' does not exist; check the path")
        return DataError(
            f"'{self.text}' cannot be used ({type(error).__name__}); check the path, the permissions"
            + ("" if self.is_local else ", the credentials" + (_S3_HINT if self.text.startswith("s3://") else ""))
        )


def failures() -> tuple[type[Exception], ...]:
    """Return what using a place may raise: the libraries of some protocols have errors of their own."""
    return (
        OSError,
        EOFError,
        *(getattr(sys.modules[name], error) for name, error in _ERRORS.items() if name in sys.modules),
    )


def locate(path: str | Path | Location) -> Location:
    """Return where a path or an address points; nothing is opened.

    Credentials, region and endpoint of S3 come from the environment (``AWS_*``), or from the address's query; those of
    other schemes from where fsspec looks for them.

    Raises:
        DataError: for a scheme that nothing installed knows.
    """
    from pyarrow import fs

    if isinstance(path, Location):
        return path
    text = str(path)
    scheme = text.split("://", 1)[0] if "://" in text else ""
    if scheme == "":
        local = Path(text)
        return Location(text, local.as_posix(), fs.LocalFileSystem(), is_local=True)
    if scheme == "file":
        return locate(unquote(urlsplit(text).path))
    if scheme != "s3":
        return _through_fsspec(text, scheme)
    parts = urlsplit(text)
    if parts.query or parts.username:
        filesystem, inner = fs.FileSystem.from_uri(text)
        return Location(shown(text), inner, filesystem, is_local=False)
    options: dict[str, Any] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        options["endpoint_override"] = endpoint
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        options["region"] = region
    return Location(shown(text), f"{parts.netloc}{parts.path}", fs.S3FileSystem(**options), is_local=False)


def shown(place: str | Path) -> str:
    """Return a path or an address as messages and records show it: without user, password and query.

    Of a database address the table stays, and of an SQL query, which may name values, the word ``query``.
    """
    text = str(place)
    if "://" not in text:
        return text
    scheme, _, rest = text.partition("://")
    if "::" in text:  # an address within another, as fsspec chains them
        parts = text.split("::")
        if any("@" in part and "://" not in part for part in parts):
            return f"{scheme}://"  # a password holds the colons
        return "::".join(shown(part) for part in parts)
    address, _, fragment = rest.partition("#")
    address, _, query = address.partition("?")
    is_sql = " " in fragment.strip()
    may_be_user = not is_sql or ("@" not in address and ":" in address)
    if "@" in query or ("@" in fragment and may_be_user):
        # Part of the query, or of a user or password that holds the mark before it: show neither.
        return f"{scheme}://"
    address = address.rpartition("@")[2]  # up to the last @: a password may hold one
    held = f"#{'query' if is_sql else fragment.strip()}" if fragment else ""
    return f"{scheme}://{address}{held}"


def _through_fsspec(text: str, scheme: str) -> Location:
    from pyarrow import fs

    try:
        import fsspec
    except ModuleNotFoundError:
        raise DataError(
            f"addresses of scheme '{scheme}' need the package fsspec: pip install 'synth-components[fsspec]'"
        ) from None
    try:
        filesystem, path = fsspec.core.url_to_fs(text)
    except ValueError:
        raise DataError(
            f"addresses of scheme '{scheme}' are not supported; give a local path, s3://bucket/key, or an address of a "
            "scheme that fsspec knows"
        ) from None
    except ImportError as error:
        raise DataError(
            f"addresses of scheme '{scheme}' need a package that is not installed ({error.name or 'see fsspec'})"
        ) from None
    except (TypeError, AttributeError):  # its class asks for arguments, and an address says none
        raise DataError(
            f"addresses of scheme '{scheme}' say too little to be reached; give the address of the file that is meant"
        ) from None
    except failures() as error:
        raise DataError(f"'{shown(text)}' cannot be reached ({type(error).__name__}); check the address") from None
    return Location(shown(text), path, fs.PyFileSystem(fs.FSSpecHandler(filesystem)), is_local=False)


@contextmanager
def reading(place: Location, *, gzipped: bool = False) -> Iterator[Any]:
    """Yield a ``pyarrow.NativeFile`` that reads the file from its start, decompressed.

    Raises:
        DataError: if it cannot be opened, or is not gzip where it should be.
    """
    try:
        with place.filesystem.open_input_stream(place.path, compression="gzip" if gzipped else None) as stream:
            yield stream
    except failures() as error:
        if gzipped and "zlib" in str(error):
            raise DataError(f"'{place.text}' is not whole gzip data; compress it again, or drop .gz") from None
        raise place.refuse(error) from None


@contextmanager
def writing(place: Location) -> Iterator[Path]:
    """Yield a local path to write to; the file appears at its place on success only, and whole.

    Raises:
        DataError: if the place cannot be written to; known before anything is computed for a local path.
    """
    target, other = Path(place.path), secrets.token_hex(8)
    if place.is_local:
        part = target.parent / f".{target.name}.{other[:8]}.part"
    else:
        part = Path(tempfile.gettempdir()) / f"{other}.part"
    try:  # the name is known before the file is there, so that an interruption just then leaves nothing
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            part.touch(mode=0o600, exist_ok=False)
        except OSError as error:
            raise place.refuse(error) from None
        yield part
        _publish(part, place)
    finally:
        with suppress(OSError):  # it was published, or could not be made
            part.unlink()


def _publish(part: Path, place: Location) -> None:
    try:
        if place.is_local:
            mask = os.umask(0)  # the part is its owner's alone
            os.umask(mask)
            part.chmod(0o666 & ~mask)
            part.replace(place.path)
            return
        _upload(part, place)
    except NotImplementedError:
        raise DataError(f"'{place.text}' can be read and not written to; name another output") from None
    except failures() as error:
        raise place.refuse(error) from None


def _upload(part: Path, place: Location) -> None:
    """Copy a file to a place that is not local; on failure what was copied is dropped."""
    handler = getattr(place.filesystem, "handler", None)
    if handler is None:
        # In a thread, which no signal interrupts: pyarrow would complete the object of a stream that is cut short.
        with ThreadPoolExecutor(1) as apart:
            apart.submit(int).result()  # an interrupt while the thread starts would not wait for the thread's end
            apart.submit(_stream, part, place).result()
        return
    target = handler.fs
    target.makedirs(place.path.rpartition("/")[0], exist_ok=True)
    with part.open("rb") as source, target.transaction, target.open(place.path, "wb") as sink:
        shutil.copyfileobj(source, sink, _CHUNK)


def _stream(part: Path, place: Location) -> None:
    broken: OSError | None = None
    with part.open("rb") as source, place.filesystem.open_output_stream(place.path, compression=None) as sink:
        while True:
            try:
                chunk = source.read(_CHUNK)
            except OSError as error:
                broken = error
                break
            if not chunk:
                break
            sink.write(chunk)
    if broken is not None:  # the end of the stream, which pyarrow cannot drop, has made an object of what was read
        place.filesystem.delete_file(place.path)
        raise broken
