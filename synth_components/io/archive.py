"""Tar archives: a folder packed to bytes that depend on its files alone, and an archive from elsewhere unpacked.

Unpacking trusts nothing: plain files and folders, within bounds, below one folder.

``tarfile`` has filters for this since Python 3.11.4, which Debian 12 does not ship; these checks hold everywhere.
"""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from synth_components.errors import ArtifactError

MAX_MEMBERS = 10_000
MAX_BYTES = 16 * 2**30
"""Bounds on what an archive may unpack to: a small file can hold petabytes of zeros."""

_CHUNK = 2**20


def pack(folder: Path, archive: Path) -> None:
    """Write the files of a folder as a tar archive with gzip; equal files give equal bytes.

    Names are relative to the folder.  Order, modes, owners and times are always the same.

    Raises:
        ArtifactError: if the folder holds a link, a device, or anything that is neither file nor folder.
    """
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ArtifactError(f"'{path}' is neither a plain file nor a folder; pack a folder without links")
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            if path.is_dir():
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
                continue
            member.size, member.mode = path.stat().st_size, 0o644
            with path.open("rb") as source:
                tar.addfile(member, source)


def unpack(archive: Path, folder: Path, *, max_members: int = MAX_MEMBERS, max_bytes: int = MAX_BYTES) -> None:
    """Write the files of a tar archive, compressed or not, into a folder that is new or empty.

    Modes, owners and times of the archive are not taken over.

    Args:
        max_members: Most files and folders.
        max_bytes: Most bytes of all files together.

    Raises:
        ArtifactError: for a link, a device, a path that leaves the folder or occurs twice, an archive that is too
            large or damaged, or a folder that holds something.  What was written before stays, for the caller to
            remove: unpack into a temporary folder.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise ArtifactError(f"folder '{folder}' is not empty; unpack '{archive.name}' into a new one")
    folder.mkdir(parents=True, exist_ok=True)
    left = max_bytes
    try:
        with tarfile.open(archive, "r|*") as tar:  # a stream: each header is checked before what follows it is read
            for number, member in enumerate(tar, start=1):
                if number > max_members:
                    raise ArtifactError(f"'{archive.name}' holds more than {max_members:,} files; it is no model")
                left -= member.size
                if left < 0:
                    raise ArtifactError(f"'{archive.name}' unpacks to more than {max_bytes:,} bytes; it is no model")
                _write(tar, member, folder, archive.name)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, UnicodeError) as error:
        raise ArtifactError(f"'{archive.name}' is no tar archive, or damaged ({type(error).__name__})") from None
    except OSError as error:
        if error.errno is not None:  # the disk's own; those of the decompressors have no number
            raise
        raise ArtifactError(f"'{archive.name}' is no tar archive, or damaged ({type(error).__name__})") from None


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, name: str) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\0" in member.name:
        raise ArtifactError(f"'{name}' holds a path that leads out of the folder; it is no model")
    target = folder.joinpath(*path.parts)
    source = tar.extractfile(member) if member.isreg() and not member.issparse() else None
    if source is None and not member.isdir():
        raise ArtifactError(f"'{name}' holds what is neither a plain file nor a folder; it is no model")
    try:
        if source is None:
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with source, target.open("xb") as sink:  # x: nothing is written twice
            while chunk := source.read(_CHUNK):
                sink.write(chunk)
    except (FileExistsError, NotADirectoryError):
        raise ArtifactError(f"'{name}' holds one path twice; it is no model") from None
