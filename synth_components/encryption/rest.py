"""Files and folders at rest: sealed where it is asked for, and opened for the length of a block.

What is asked for stands in the circumstances: ``encrypt_key`` opens, ``encrypt`` says what is written sealed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from synth_components import audit
from synth_components.circumstances import circumstance
from synth_components.encryption.confined import UNKNOWN, confined
from synth_components.encryption.key import WrappingKey, read_key
from synth_components.encryption.sealed import is_sealed, rewrap, seal, unseal
from synth_components.errors import DataError, EncryptionError
from synth_components.io.archive import pack, unpack

SUFFIX = ".sealed"
"""What the name of a sealed table may end with, beside its own ending."""

_ARCHIVE = "folder.tar.gz"


def writes_sealed(what: str) -> bool:
    """Return whether ``models`` or ``tables`` are to be written sealed.

    Raises:
        EncryptionError: if they are, and there is no key.
        DataError: if it cannot be read, or is a text.
    """
    said = circumstance("encrypt")
    if said != "all" and not (said == "models" and what == "models"):
        return False
    key = circumstance("encrypt_key")
    if not key:
        raise EncryptionError("encryption was asked for without a key; give encrypt_key, or SYNTH_ENCRYPT_KEY")
    read_key(key).require_strong()
    return True


def key_for(path: Path) -> WrappingKey:
    """Return the key of the circumstances.

    Raises:
        EncryptionError: if there is none.
    """
    said = circumstance("encrypt_key")
    if not said:
        raise EncryptionError(f"'{path}' is encrypted; give the key: --encrypt-key, or SYNTH_ENCRYPT_KEY")
    return read_key(said)


def seal_file(source: Path, target: Path, key: WrappingKey) -> None:
    """Write a file sealed, whole or not at all.

    Raises:
        EncryptionError: if the key cannot wrap.
    """
    with _beside(target) as part:
        with source.open("rb") as plain, part.open("wb") as sealed:
            seal(plain, sealed, key)
            os.fsync(sealed.fileno())
        part.replace(target)
    audit.record("encrypt", path=str(target))


def open_file(source: Path, target: Path, key: WrappingKey) -> None:
    """Write what is sealed in a file in plain, whole or not at all; until then it has no name.

    Raises:
        EncryptionError: if the key is another one, or the file was tampered with.
        DataError: if the disk of ``target`` holds no files without a name.
    """
    try:
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        handle = os.open(target.parent, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as error:
        raise DataError(f"'{target}' cannot be written to: {error.strerror}; name a place on another disk") from None
    with os.fdopen(handle, "w+b") as plain, _beside(target) as part:
        try:
            _unseal_into(plain, source, key)
            # A directory is named so that the link is followed.
            os.link(f"/proc/self/fd/{plain.fileno()}", part.name, dst_dir_fd=folder, follow_symlinks=True)
        finally:
            os.close(folder)
        part.replace(target)


def _open_confined(source: Path, target: Path, key: WrappingKey) -> None:
    with target.open("wb") as plain:
        _unseal_into(plain, source, key)


def _unseal_into(plain: BinaryIO, source: Path, key: WrappingKey) -> None:
    audit.record("decrypt", path=str(source))
    with _named(source), source.open("rb") as sealed:
        for chunk in unseal(sealed, key):
            plain.write(chunk)
    plain.flush()


def seal_folder(source: Path, target: Path, key: WrappingKey) -> None:
    """Write a folder as one sealed file; ``source`` is confined, for its archive lies beside it."""
    archive = source.with_name(f"{source.name}.{_ARCHIVE}")
    pack(source, archive)
    seal_file(archive, target, key)
    archive.unlink()


@contextmanager
def opened_folder(sealed: Path) -> Iterator[Path]:
    """Yield a confined folder with the files of a sealed one.

    Raises:
        EncryptionError: if there is no key, it is another one, or the file was tampered with.
    """
    key = key_for(sealed)
    with confined(4 * sealed.stat().st_size) as folder:
        _open_confined(sealed, folder / _ARCHIVE, key)
        unpack(folder / _ARCHIVE, folder / "model")
        (folder / _ARCHIVE).unlink()
        yield folder / "model"


@contextmanager
def opened_table(place: Path) -> Iterator[Path]:
    """Yield a table, or a folder of parts, in plain: where it lies, or confined if any is sealed."""
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    if not any(map(is_sealed, files)):
        yield place
        return
    key = key_for(place)
    with confined(sum(file.stat().st_size for file in files)) as folder:
        target = folder / place.name.removesuffix(SUFFIX)
        if place.is_dir():
            target.mkdir()
        for file in files:
            plain = target / file.name.removesuffix(SUFFIX) if place.is_dir() else target
            if is_sealed(file):
                _open_confined(file, plain, key)
            else:
                shutil.copyfile(file, plain)
        yield target


@contextmanager
def sealed_table(place: Path) -> Iterator[Path]:
    """Yield a confined path for a table of the same name; it is sealed into its place on success."""
    key = key_for(place)
    with confined(UNKNOWN) as folder:
        part = folder / place.name.removesuffix(SUFFIX)
        yield part
        if part.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            seal_file(part, place, key)


def rotate(path: Path, key: WrappingKey, new: WrappingKey) -> None:
    """Change the key of a sealed file in its place; the payload stays as it is.

    Raises:
        EncryptionError: if ``key`` is not the one that it was sealed with.
    """
    with _named(path):
        rewrap(path, key, new)
    audit.record("rotate", path=str(path))


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    part = Path(tempfile.mktemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))  # noqa: S306 - random
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Tell of which file an error of its encryption is."""
    try:
        yield
    except EncryptionError as error:
        raise EncryptionError(f"'{path}' cannot be opened: {error}") from None
