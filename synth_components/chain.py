"""An append-only file of JSON lines, each bound by a digest to all lines before it.

A line is ``{"number", "previous", ..., "digest"}``: its place from 0, the digest of the line before, what is told, and
the SHA-256 of all that; with a key the HMAC-SHA-256.  Beside the file stands its head, ``FILE.head``: how many lines
there are, and the digest of the last.  Writers take a lock on the file, which holds among processes of one machine and
on a local disk, and a line is on the disk before ``append`` returns.

A line that a crash cut short was never reported as written: it is none, and the next one takes its place.  One that
lacks nothing but the end of the line counts; and where the head counts more lines than are whole, nothing is cut off.

What is found out:

- without anything else, a line that was edited, inserted, moved, or removed from before the end;
- with the head beside the file, also that lines are missing from the end;
- with an anchor, which is a head that somebody else keeps (``synth audit anchor`` prints it), also a file that was
  written anew as a whole, head and all, up to where the anchor was taken;
- with a key, also one that was written anew by whoever does not have it.  Putting an older file back together with its
  older head is found out by an anchor alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from synth_components.config import ConfigError
from synth_components.errors import DataError, TamperedError

Fact: TypeAlias = str | int | float | bool | list[Any] | dict[str, Any] | None

START = "0" * 64
"""What the first line takes for the digest of the line before."""

RESERVED = ("number", "previous", "digest")
_LEAST_KEY = 16
_TAIL = 1 << 16


@dataclass(frozen=True)
class Anchor:
    """How many lines a file has, and the digest of the last.  As text ``12:ab34...``."""

    count: int
    digest: str

    def __str__(self) -> str:
        """Return it as ``parse`` reads it."""
        return f"{self.count}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Anchor:
        """Return the anchor that a text means.

        Raises:
            ConfigError: for another text.
        """
        found = re.fullmatch(r"\s*(\d{1,15}):([0-9a-f]{64})\s*", text)
        if found is None:
            raise ConfigError(
                "an anchor is a count and a digest, 12:ab34..., as `synth audit anchor` prints it", option="anchor"
            )
        return cls(int(found[1]), found[2])


def read_key(path: str | Path) -> bytes:
    """Return the key of a chain: the bytes of a file, at least 16, without the white space around them.

    Raises:
        DataError: if the file cannot be read or is too short.
    """
    try:
        key = Path(path).expanduser().read_bytes().strip()
    except OSError as error:
        raise DataError(f"the key of the chain cannot be read: '{path}' ({error.strerror})") from None
    if len(key) < _LEAST_KEY:
        raise DataError(f"the key in '{path}' has fewer than {_LEAST_KEY} bytes; make one: openssl rand -hex 32")
    return key


class End(NamedTuple):
    """Where the last line of a file ends, and how many bytes a crash left of another."""

    place: int
    torn: int


@dataclass(frozen=True)
class Chain:
    """A file of lines that are bound to each other.

    Attributes:
        path: The file; it is made, readable by its owner alone, when the first line is written.
        key: What the digests are made with, beside the lines; ``None`` for none.
        needs_head: Whether a file whose head is gone is refused: without it lines may be missing from the end.
    """

    path: Path
    key: bytes | None = None
    needs_head: bool = False

    @property
    def head(self) -> Path:
        """Where the head stands."""
        return self.path.with_name(f"{self.path.name}.head")

    def append(self, facts: Mapping[str, Fact]) -> Anchor:
        """Write one line, and return the new head.

        Raises:
            TamperedError: if the last line is not what its digest says, or the head counts more lines.
            DataError: if the file cannot be written to.
        """
        with self._opened() as file:
            at, end = self._last(file)
            return self._write(file, at, end, facts)

    def append_after(self, decide: Callable[[list[dict[str, Any]]], Mapping[str, Fact]]) -> Anchor:
        """Write the line that ``decide`` returns of all lines before; if it raises, nothing is written.

        Nobody else writes meanwhile.

        Raises:
            TamperedError: if the file is not as it was written.
            DataError: if the file cannot be written to.
        """
        with self._opened() as file:
            texts, end = self._texts(file)
            checked, at = self._checked(texts)
            self._check_head(checked, at)
            return self._write(file, at, end, decide(checked))

    def lines(self, *, anchor: Anchor | None = None) -> list[dict[str, Any]]:
        """Return every line, after checking each digest, the head, and the anchor if one is given.

        Raises:
            TamperedError: naming the first line that is not as it was written, from 1.
            DataError: if there is no file.
        """
        try:
            with self.path.open("rb") as file, _locked(file, fcntl.LOCK_SH):
                checked, at = self._checked(self._texts(file)[0])
                self._check_head(checked, at)
        except OSError as error:
            raise DataError(f"'{self.path}' cannot be read: {error.strerror}") from None
        if anchor is not None:
            self._check_anchor(checked, anchor, "the anchor")
        return checked

    def anchor(self) -> Anchor:
        """Return the head, after checking every line.

        Raises:
            TamperedError: if the file is not as it was written.
            DataError: if there is no file.
        """
        lines = self.lines()
        return Anchor(len(lines), lines[-1]["digest"] if lines else START)

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """Yield the file, locked."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "r+b", buffering=0) as file, _locked(file, fcntl.LOCK_EX):
                yield file
        except OSError as error:
            raise DataError(f"'{self.path}' cannot be written to: {error.strerror}") from None

    def _texts(self, file: BinaryIO) -> tuple[list[bytes], End]:
        """Return the lines, and where the last one ends, without its newline if that is missing."""
        file.seek(0)
        content = file.read()
        *texts, rest = content.split(b"\n")
        if self._is_line(rest):
            return [*texts, rest], End(len(content), 0)
        return texts, End(len(content) - len(rest), len(rest))

    def _is_line(self, text: bytes) -> bool:
        """Return whether a text is a line as a whole; its start never is one."""
        try:
            line = _parsed(text, None)
        except TamperedError:
            return False
        return _canonical(line) == text and line.get("digest") == self._digest(line)

    def _last(self, file: BinaryIO) -> tuple[Anchor, End]:
        """Return the head, by the last line alone, and where that ends: the length of the file adds nothing."""
        size = file.seek(0, os.SEEK_END)
        text = b""
        while len(text) < size and text.count(b"\n") < 2:
            wanted = min(size, max(_TAIL, 2 * len(text)))
            file.seek(size - wanted)
            text = file.read(wanted)
        *texts, rest = text.split(b"\n")
        end = End(size - len(rest), len(rest))
        if self._is_line(rest):
            texts, end = [rest], End(size, 0)
        at = Anchor(0, START)
        if texts:
            line = _parsed(texts[-1], None)
            if line.get("digest") != self._digest(line) or not isinstance(line.get("number"), int):
                raise TamperedError(f"the last line of '{self.path}' was changed after it was written", line=None)
            at = Anchor(int(line["number"]) + 1, str(line["digest"]))
        told = self._told_head()
        if told is not None and told.count > at.count:
            raise self._short(told, at)
        return at, end

    def _write(self, file: BinaryIO, at: Anchor, end: End, facts: Mapping[str, Fact]) -> Anchor:
        """Write a line after the last one, whose end is given, and return the new head."""
        if file.seek(0, os.SEEK_END) != end.place + end.torn:
            raise DataError(
                f"'{self.path}' was written to by somebody else meanwhile: its disk keeps no locks, as some of a "
                "network do not; put it on a local one. Nothing was written"
            )
        if wrong := [name for name in RESERVED if name in facts]:
            raise ValueError(f"a line has its own '{wrong[0]}'")
        line: dict[str, Any] = {"number": at.count, "previous": at.digest, **facts}
        line["digest"] = self._digest(line)
        content = _canonical(line) + b"\n"
        if self.needs_head and not at.count and self._told_head() is None:
            with self._telling_head(at):  # a crash after the first line leaves a head
                pass
        now = Anchor(at.count + 1, line["digest"])
        with self._telling_head(now):
            if end.torn:
                file.truncate(end.place)
            if end.place and os.pread(file.fileno(), 1, end.place - 1) != b"\n":
                content = b"\n" + content
            while content:
                content = content[os.write(file.fileno(), content) :]
            os.fsync(file.fileno())
        return now

    def _checked(self, texts: list[bytes]) -> tuple[list[dict[str, Any]], Anchor]:
        lines: list[dict[str, Any]] = []
        at = Anchor(0, START)
        for text in texts:
            place = at.count + 1
            line = _parsed(text, place)
            if _canonical(line) != text or line.get("digest") != self._digest(line):
                raise TamperedError(
                    f"line {place} of '{self.path}' is not what its digest says: it was changed, or made with another "
                    "key",
                    line=place,
                )
            if line.get("number") != at.count or line.get("previous") != at.digest:
                raise TamperedError(
                    f"line {place} of '{self.path}' does not follow the line before it: lines were removed, inserted "
                    "or moved",
                    line=place,
                )
            at = Anchor(place, line["digest"])
            lines.append(line)
        return lines, at

    def _check_head(self, lines: list[dict[str, Any]], at: Anchor) -> None:
        told = self._told_head()
        if told is None:
            if self.needs_head and at.count:
                raise TamperedError(
                    f"'{self.head}' is gone, without which lines may be missing from the end of '{self.path}'; put it "
                    "back beside the file",
                    line=None,
                )
            return
        if told.count > at.count:
            raise self._short(told, at)
        self._check_anchor(lines, told, f"'{self.head}'")

    def _check_anchor(self, lines: list[dict[str, Any]], anchor: Anchor, whose: str) -> None:
        if anchor.count > len(lines):
            raise self._short(anchor, Anchor(len(lines), START))
        held = lines[anchor.count - 1]["digest"] if anchor.count else START
        if held != anchor.digest:
            raise TamperedError(
                f"line {anchor.count} of '{self.path}' is not the one that {whose} was taken of: the file was written "
                "anew",
                line=anchor.count,
            )

    def _short(self, told: Anchor, at: Anchor) -> TamperedError:
        return TamperedError(
            f"'{self.path}' has {at.count} lines and had {told.count}: the end is missing", line=at.count + 1
        )

    def _told_head(self) -> Anchor | None:
        try:
            text = self.head.read_text(encoding="ascii")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"'{self.head}' cannot be read ({type(error).__name__})") from None
        said, _, seal = text.strip().partition(" ")
        try:
            anchor = Anchor.parse(said)
        except ConfigError:
            raise TamperedError(f"'{self.head}' is damaged", line=None) from None
        if not hmac.compare_digest(seal, self._seal(anchor)):
            raise TamperedError(f"'{self.head}' was changed, or another key made it", line=None)
        return anchor

    @contextmanager
    def _telling_head(self, at: Anchor) -> Iterator[None]:
        """Tell the head after the block; where none can be written the block is not entered, and no line written."""
        temporary = self.head.with_name(f".{self.head.name}.partial")  # one writer at a time: the file is locked
        try:
            with temporary.open("w", encoding="ascii") as file:
                file.write(f"{at} {self._seal(at)}".strip() + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o600)
        except OSError as error:
            raise DataError(f"'{self.head}' cannot be written to: {error.strerror}") from None
        try:
            yield
            temporary.replace(self.head)
        finally:
            temporary.unlink(missing_ok=True)

    def _seal(self, at: Anchor) -> str:
        return "" if self.key is None else hmac.new(self.key, b"head " + str(at).encode(), "sha256").hexdigest()

    def _digest(self, line: Mapping[str, Any]) -> str:
        content = _canonical({name: value for name, value in line.items() if name != "digest"})
        if self.key is None:
            return hashlib.sha256(content).hexdigest()
        return hmac.new(self.key, b"line " + content, "sha256").hexdigest()


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _parsed(text: bytes, place: int | None) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        where = "the last line" if place is None else f"line {place}"
        raise TamperedError(f"{where} is no JSON object: it was changed after it was written", line=place)
    return value


def _finite(text: str) -> float:
    """Return a number as a line may hold it: NaN and what is beyond all numbers were not written here."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a line holds finite numbers")
    return value


@contextmanager
def _locked(file: BinaryIO, kind: int) -> Iterator[None]:
    """Hold a lock on a file within the block."""
    fcntl.flock(file, kind)
    try:
        yield
    finally:
        # Closing the file does not let it go where a process was forked meanwhile: that one has the same lock, open.
        fcntl.flock(file, fcntl.LOCK_UN)
