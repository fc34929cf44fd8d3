"""Where a file lies: a local path or ``s3://bucket/key``; what is written appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from synth_components.errors import DataError

_CHUNK = 8 * 2**20


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
        """The last part of the path."""
        return self.path.rstrip("/").rsplit("/", 1)[-1]

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
        except OSError as error:
            raise self.refuse(error) from None

    def children(self) -> list[Location]:
        """Return the files of this directory by name, without hidden ones (``.`` or ``_`` first)."""
        from pyarrow import fs

        try:
            entries = self.filesystem.get_file_info(fs.FileSelector(self.path))
        except OSError as error:
            raise self.refuse(error) from None
        names = sorted(entry.base_name for entry in entries if entry.type == fs.FileType.File)
        return [self.child(name) for name in names if not name.startswith((".", "_"))]

    def refuse(self, error: OSError) -> DataError:
        """Return the error of a place that cannot be used."""
        if isinstance(error, FileNotFoundError):
            return DataError(f"'{self.text}' does not exist; check the path")
        return DataError(
            f"'{self.text}' cannot be used ({type(error).__name__}); check the path, the permissions"
            + ("" if self.is_local else ", the credentials, the region and AWS_ENDPOINT_URL_S3")
        )


def locate(path: str | Path) -> Location:
    """Return where a path or an ``s3://`` address points; nothing is opened.

    Credentials, region and endpoint of S3 come from the environment (``AWS_*``), or from the address's query.

    Raises:
        DataError: for a scheme that is not supported.
    """
    from pyarrow import fs

    text = str(path)
    scheme = text.split("://", 1)[0] if "://" in text else ""
    if scheme == "":
        local = Path(text)
        return Location(text, local.as_posix(), fs.LocalFileSystem(), is_local=True)
    if scheme == "file":
        return locate(urlsplit(text).path)
    if scheme != "s3":
        raise DataError(f"addresses of scheme '{scheme}' are not supported; give a local path or s3://bucket/key")
    parts = urlsplit(text)
    shown = f"s3://{parts.hostname or ''}{parts.path}"
    if parts.query or parts.username:
        filesystem, inner = fs.FileSystem.from_uri(text)
        return Location(shown, inner, filesystem, is_local=False)
    options: dict[str, Any] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        options["endpoint_override"] = endpoint
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        options["region"] = region
    return Location(shown, f"{parts.netloc}{parts.path}", fs.S3FileSystem(**options), is_local=False)


@contextmanager
def reading(place: Location, *, gzipped: bool = False) -> Iterator[Any]:
    """Yield a ``pyarrow.NativeFile`` that reads the file from its start, decompressed.

    Raises:
        DataError: if it cannot be opened, or is not gzip where it should be.
    """
    try:
        with place.filesystem.open_input_stream(place.path, compression="gzip" if gzipped else None) as stream:
            yield stream
    except OSError as error:
        if gzipped and "zlib" in str(error):
            raise DataError(f"'{place.text}' is not whole gzip data; compress it again, or drop .gz") from None
        raise place.refuse(error) from None


@contextmanager
def writing(place: Location) -> Iterator[Path]:
    """Yield a local path to write to; the file appears at its place on success only, and whole.

    Raises:
        DataError: if the place cannot be written to; known before anything is computed for a local path.
    """
    try:
        if place.is_local:
            target = Path(place.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        else:
            handle, name = tempfile.mkstemp(suffix=".part")
        os.close(handle)
    except OSError as error:
        raise place.refuse(error) from None
    part = Path(name)
    try:
        yield part
        _publish(part, place)
    finally:
        part.unlink(missing_ok=True)


def _publish(part: Path, place: Location) -> None:
    try:
        if place.is_local:
            mask = os.umask(0)  # mkstemp makes files that only their owner may read
            os.umask(mask)
            part.chmod(0o666 & ~mask)
            part.replace(place.path)
            return
        with part.open("rb") as source, place.filesystem.open_output_stream(place.path, compression=None) as sink:
            _copy(source, sink)
    except OSError as error:
        raise place.refuse(error) from None


def _copy(source: BinaryIO, sink: Any) -> None:  # noqa: ANN401
    shutil.copyfileobj(source, sink, _CHUNK)
