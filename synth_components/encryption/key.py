"""The key that data keys are wrapped with: 32 bytes of a file or a variable of the environment, or a key of AWS KMS.

Every sealed file has a data key of its own, which stands in the file wrapped by this key.  To change the key is to wrap
the data key anew, and leaves the rest of the file as it is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from synth_components.errors import DataError, EncryptionError, UnsupportedError

_BYTES = 32
_NONCE = 12
_LEAST_DISTINCT = 16
"""Fewest different bytes of a key: of 32 random ones fewer differ once in 10^16."""
_MOST_BEYOND_ASCII = 4
"""Most bytes beyond ASCII of what is text in an encoding of one byte each: of 10^8 random keys about one has so few."""


class WrappingKey(Protocol):
    """What wraps the data key of a file."""

    def require_strong(self) -> None:
        """Raise ``DataError`` unless the key may wrap what is new."""

    def wrap(self, data_key: bytes, *, context: bytes) -> dict[str, str]:
        """Return a data key as it may stand in a file; ``context`` binds it to that file."""

    def unwrap(self, envelope: dict[str, str], *, context: bytes) -> bytes:
        """Return the data key.

        Raises:
            EncryptionError: if another key wrapped it, or it was tampered with.
        """


@dataclass(frozen=True)
class LocalKey:
    """A key of 32 bytes that wraps with AES-256-GCM (NIST SP 800-38D), a random nonce each time.

    Text is no such key: who types a pass phrase chooses among few, and the name that stands in every sealed file lets
    whoever has one try them as fast as SHA-256 goes.  Neither are few different bytes.  Such a key opens what it sealed
    once, and wraps no more.  Of 32 random bytes some two in 10^8 are taken for text.  What was made of text by a
    digest looks random, and is wrapped with.

    Attributes:
        name: Digest of the key by which a wrong one is told from a damaged file.
    """

    _secret: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """The digest of the key."""
        return hashlib.sha256(b"synth-components key name\0" + self._secret).hexdigest()[:16]

    def require_strong(self) -> None:
        """Raise if the bytes are text, or few different ones.

        Raises:
            DataError: if they are; the message says how to make a key.
        """
        if _is_text(self._secret):
            raise DataError(
                "the key is text, as a pass phrase is, or few different bytes, which can be guessed: it opens what it "
                f"sealed, and seals no more. Make {_BYTES} random bytes: openssl rand -hex {_BYTES} > key; "
                "`synth rotate` changes the key of a file"
            )

    def wrap(self, data_key: bytes, *, context: bytes) -> dict[str, str]:
        """Return the wrapped data key with the name of the key.

        Raises:
            DataError: if the key is text.
        """
        self.require_strong()
        nonce = os.urandom(_NONCE)
        wrapped = aes_gcm(self._secret).encrypt(nonce, data_key, context)
        return {"by": "key", "name": self.name, "wrapped": base64.b64encode(nonce + wrapped).decode("ascii")}

    def unwrap(self, envelope: dict[str, str], *, context: bytes) -> bytes:
        """Return the data key.

        Raises:
            EncryptionError: if another key wrapped it, or it was tampered with.
        """
        if envelope.get("by") != "key":
            raise EncryptionError("it was encrypted with a key of AWS KMS; give that, as kms:KEY")
        if envelope.get("name") != self.name:
            raise EncryptionError("it was encrypted with another key; give that one")
        sealed = _blob(envelope)
        return _authentic(self._secret, sealed[:_NONCE], sealed[_NONCE:], context)


@dataclass(frozen=True)
class KmsKey:
    """A key of AWS KMS, which wraps where it is kept: what leaves KMS opens one file.

    Attributes:
        key_id: Identifier, ARN or alias of the key.
    """

    key_id: str

    def require_strong(self) -> None:
        """Take any: KMS makes its keys itself."""

    def wrap(self, data_key: bytes, *, context: bytes) -> dict[str, str]:
        """Return the data key, encrypted by KMS.

        Raises:
            EncryptionError: if KMS refuses.
        """
        made = self._call("encrypt", Plaintext=data_key, EncryptionContext=_encryption_context(context))
        return {"by": "kms", "wrapped": base64.b64encode(made["CiphertextBlob"]).decode("ascii")}

    def unwrap(self, envelope: dict[str, str], *, context: bytes) -> bytes:
        """Return the data key.

        Raises:
            EncryptionError: if another key wrapped it, it was tampered with, or KMS refuses.
        """
        if envelope.get("by") != "kms":
            raise EncryptionError("it was encrypted with a key of a file or the environment; give that, not kms:")
        blob = _blob(envelope)
        made = self._call("decrypt", CiphertextBlob=blob, EncryptionContext=_encryption_context(context))
        return bytes(made["Plaintext"])

    def _call(self, operation: str, **request: object) -> dict[str, Any]:
        try:
            import boto3
            from botocore.exceptions import BotoCoreError, ClientError
        except ModuleNotFoundError:
            raise UnsupportedError("a key of AWS KMS needs boto3; pip install 'synth-components[sagemaker]'") from None
        try:
            answer: dict[str, Any] = getattr(boto3.client("kms"), operation)(KeyId=self.key_id, **request)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "an error"))
            raise EncryptionError(f"AWS KMS refused to {operation} with '{self.key_id}': {code}") from None
        except BotoCoreError as error:
            raise EncryptionError(f"AWS KMS was not reached: {type(error).__name__}") from None
        return answer


def read_key(text: str) -> WrappingKey:
    """Return the key that ``file:PATH``, ``env:NAME`` or ``kms:KEY`` means; a path alone is a file.

    Raises:
        DataError: if there is none, or it is not 32 bytes, as they are, in hexadecimal or in base64.
    """
    kind, _, rest = text.partition(":")
    if kind == "kms" and rest:
        return KmsKey(rest)
    if kind == "env" and rest:
        held = os.environ.get(rest, "")
        if not held:
            raise DataError(f"the variable {rest}, which should hold the key, is not set")
        return LocalKey(_secret(os.fsencode(held), f"variable {rest}"))
    path = Path(rest if kind == "file" else text).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"the key cannot be read: '{path}' ({error.strerror})") from None
    return LocalKey(_secret(content, f"'{path}'"))


def aes_gcm(key: bytes) -> Any:  # noqa: ANN401 - a type of an optional library
    """Return the cipher.

    Raises:
        UnsupportedError: naming the extra to install.
    """
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ModuleNotFoundError:
        raise UnsupportedError(
            "encryption needs the library cryptography; pip install 'synth-components[encryption]'"
        ) from None
    return AESGCM(key)


def _authentic(key: bytes, nonce: bytes, sealed: bytes, context: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        plain: bytes = aes_gcm(key).decrypt(nonce, sealed, context)
    except (InvalidTag, ValueError):
        raise EncryptionError("the wrapped key in it was tampered with, or is of another file; restore it") from None
    return plain


def _blob(envelope: dict[str, str]) -> bytes:
    try:
        return base64.b64decode(envelope["wrapped"], validate=True)
    except (KeyError, TypeError, binascii.Error, ValueError):
        raise EncryptionError("the wrapped key in it is damaged; restore the file") from None


def _secret(content: bytes, whose: str) -> bytes:
    """Return 32 bytes from their raw, hexadecimal or base64 form."""
    made = content if len(content) == _BYTES else _decoded(content)
    if len(made) != _BYTES:
        raise DataError(f"the key of {whose} is not {_BYTES} bytes; make one: openssl rand -hex {_BYTES}")
    return made


def _is_text(content: bytes) -> bool:
    """Return whether bytes are text, padded with one byte or not, or too few different ones to be random."""
    if len(set(content)) < _LEAST_DISTINCT or min(len(set(content[::2])), len(set(content[1::2]))) <= 3:
        return True  # the latter as UTF-16 of one alphabet: every other byte is of it, of a space, or of the mark
    held = content.rstrip(content[-1:]) + content[-1:]
    held = held[:1] + held.lstrip(held[:1])
    beyond = [one for one in held if not (32 <= one < 127 or one in b"\t\n\r")]
    if len(beyond) <= _MOST_BEYOND_ASCII:
        return True
    try:
        text = held.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(one.isprintable() or one in "\t\n\r\0" for one in text)


def _decoded(content: bytes) -> bytes:
    """Return what hexadecimal or base64 text means; nothing for other text."""
    text = content.strip()
    if re.fullmatch(rb"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text.decode("ascii"))
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _encryption_context(context: bytes) -> dict[str, str]:
    return {"synth-components": hashlib.sha256(context).hexdigest()}
