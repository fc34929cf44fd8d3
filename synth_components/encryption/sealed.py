"""A sealed file: authenticated encryption in chunks, whose order and end are authenticated with them.

``magic`` (32 bytes), two slots for the wrapped data key (2,032 bytes each), a random name of the file (16 bytes), then
chunks of 1 MiB, each with its tag of 16 bytes.  The nonce of a chunk is 7 bytes of the name, its number (4 bytes), and
whether it is the last (1 byte): a chunk that is changed, moved, doubled or missing, at the end too, is not authentic.
Magic and name are authenticated with every chunk and with the wrapped key, so that neither fits another file.

A key is changed in the slot that is not in use, which then counts, and the other is blanked: the payload stays as it
is, and a crash in between leaves the file readable by the old key or the new one.

Source: Hoang, Reyhanitabar, Rogaway & Vizar 2015, "Online Authenticated-Encryption and its Nonce-Reuse
    Misuse-Resistance" (STREAM); AES-256-GCM (NIST SP 800-38D) by the library ``cryptography``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from synth_components.encryption.key import WrappingKey, aes_gcm
from synth_components.errors import EncryptionError

MAGIC = b"synth-components sealed file 1\n\0"
CHUNK = 1 << 20

_SLOT = 2032
_TAG = 16
_NAME = 16
_START = len(MAGIC) + 2 * _SLOT
_MOST = 1 << 32


def is_sealed(path: Path) -> bool:
    """Return whether a file is a sealed one, by how it begins."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def seal(source: BinaryIO, target: BinaryIO, key: WrappingKey) -> None:
    """Encrypt all that is left of ``source`` into ``target``, which can be sought in.

    Raises:
        EncryptionError: if the key cannot wrap, or there is too much.
    """
    name, data_key = os.urandom(_NAME), os.urandom(32)
    context = MAGIC + name
    target.write(MAGIC + _slot(0, key.wrap(data_key, context=context)) + b" " * _SLOT + name)
    cipher = aes_gcm(data_key)
    number, chunk = 0, source.read(CHUNK)
    while True:
        following = source.read(CHUNK)
        if number == _MOST:
            raise EncryptionError("more than 4 PiB cannot be sealed in one file")
        target.write(cipher.encrypt(_nonce(name, number, is_last=not following), chunk, context))
        if not following:
            return
        number, chunk = number + 1, following


def unseal(source: BinaryIO, key: WrappingKey) -> Iterator[bytes]:
    """Yield what is sealed in ``source``, chunk by chunk, each authentic.

    That there are no more chunks is known at the end alone: throw away what came before, if this raises.

    Raises:
        EncryptionError: if the key is another one, or the file was tampered with.
    """
    data_key, name, _, _ = _opened(source, key)
    context, cipher = MAGIC + name, aes_gcm(data_key)
    source.seek(_START + _NAME)
    number, chunk = 0, source.read(CHUNK + _TAG)
    while True:
        following = source.read(CHUNK + _TAG)
        yield _authentic(cipher, _nonce(name, number, is_last=not following), chunk, context)
        if not following:
            return
        number, chunk = number + 1, following


def rewrap(path: Path, key: WrappingKey, new: WrappingKey) -> None:
    """Change the key of a sealed file in its place; the payload stays as it is.

    Raises:
        EncryptionError: if ``key`` is not the one that the file was sealed with.
    """
    with path.open("r+b", buffering=0) as file:
        data_key, name, used, sequence = _opened(file, key)
        made = _slot(sequence + 1, new.wrap(data_key, context=MAGIC + name))
        for slot, content in ((1 - used, made), (used, b" " * _SLOT)):
            file.seek(len(MAGIC) + slot * _SLOT)
            file.write(content)
            os.fsync(file.fileno())


def _opened(file: BinaryIO, key: WrappingKey) -> tuple[bytes, bytes, int, int]:
    """Return data key and name of a sealed file, the slot in use and its sequence number."""
    file.seek(0)
    head = file.read(_START + _NAME)
    if len(head) < _START + _NAME or not head.startswith(MAGIC):
        raise EncryptionError("it is not a sealed file, or its beginning is damaged; restore it")
    found = [_envelope(head[len(MAGIC) + slot * _SLOT :][:_SLOT]) for slot in (0, 1)]
    held = [(one["sequence"], slot, one["envelope"]) for slot, one in enumerate(found) if one is not None]
    if not held:
        raise EncryptionError("its wrapped key is damaged; restore the file")
    sequence, used, envelope = max(held, key=lambda one: one[0])
    name = head[-_NAME:]
    return key.unwrap(envelope, context=MAGIC + name), name, used, sequence


def _slot(sequence: int, envelope: dict[str, str]) -> bytes:
    value: dict[str, Any] = {"sequence": sequence, "envelope": envelope}
    content = json.dumps({**value, "check": _check(value)}, sort_keys=True).encode("ascii")
    if len(content) > _SLOT:
        raise EncryptionError("the wrapped key is longer than a sealed file has room for")
    return content.ljust(_SLOT)


def _envelope(content: bytes) -> dict[str, Any] | None:
    """Return what a slot holds; ``None`` if it is blank, or was not written to its end."""
    try:
        value = json.loads(content)
        held = {"sequence": int(value["sequence"]), "envelope": dict(value["envelope"])}
    except (ValueError, KeyError, TypeError):
        return None
    return held if value.get("check") == _check(held) else None


def _check(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("ascii")).hexdigest()[:16]


def _nonce(name: bytes, number: int, *, is_last: bool) -> bytes:
    return name[:7] + number.to_bytes(4, "big") + bytes([is_last])


def _authentic(cipher: Any, nonce: bytes, chunk: bytes, context: bytes) -> bytes:  # noqa: ANN401 - of an optional library
    from cryptography.exceptions import InvalidTag

    try:
        plain: bytes = cipher.decrypt(nonce, chunk, context)
    except (InvalidTag, ValueError):
        raise EncryptionError("it was changed or cut short after it was encrypted; restore the file") from None
    return plain
