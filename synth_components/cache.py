"""Results on disk, found by the digest of all that they depend on: JSON, arrays and tables, never pickle.

An entry is the folder ``<two digits>/<key>`` with the kept files and ``entry.json``, which names the SHA-256 of each.
Whoever reads an entry checks them; a damaged one is removed, and made again.  An entry appears whole, and of two
writers the first wins.  The folder is its owner's alone: a profile of private rows is private, and whoever can write
here decides what others get.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_LOG = logging.getLogger(__name__)
_ENTRY = "entry.json"
_TALLY = "tally"
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Tally:
    """How often a cache was asked, and how often it had the answer."""

    hits: int
    lookups: int

    def __str__(self) -> str:
        """Return the hit rate in words."""
        rate = f" ({self.hits / self.lookups:.0%})" if self.lookups else ""
        return f"{self.hits} of {self.lookups} lookups were hits{rate}"


@dataclass(frozen=True)
class Cache:
    """A folder of entries, shared by any number of processes."""

    folder: Path

    def find(self, key: str) -> Path | None:
        """Return the folder of an entry, after checking every byte of it; ``None`` if there is none."""
        self._make()
        entry = self._place(key)
        found = entry if _is_whole(entry) else None
        if found is None and entry.exists():
            _LOG.warning("cache: entry %s was damaged, and is made again", key[:12])
            shutil.rmtree(entry, ignore_errors=True)
        with (self.folder / _TALLY).open("ab", buffering=0) as tally:
            tally.write(b"-" if found is None else b"+")  # one byte: writers do not get in each other's way
        return found

    def keep(self, key: str, parts: Mapping[str, Path]) -> None:
        """Copy files and folders into an entry, by name; an entry that stands already stays as it is."""
        self._make()
        staging = Path(tempfile.mkdtemp(prefix=".entry.", dir=self.folder))
        try:
            for name, path in parts.items():
                if path.is_dir():
                    shutil.copytree(path, staging / name)
                else:
                    shutil.copyfile(path, staging / name)
            listed = {file.relative_to(staging).as_posix(): _sha256(file) for file in _files(staging)}
            (staging / _ENTRY).write_text(json.dumps({"files": listed}, indent=1, sort_keys=True), encoding="utf-8")
            place = self._place(key)
            place.parent.mkdir(exist_ok=True)
            if not place.exists():
                staging.replace(place)
        except OSError:
            if not self._place(key).exists():  # else another writer was first
                raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    @property
    def tally(self) -> Tally:
        """How often the cache was asked since it was made or cleared."""
        try:
            asked = (self.folder / _TALLY).read_bytes()
        except FileNotFoundError:
            return Tally(0, 0)
        return Tally(asked.count(b"+"), len(asked))

    def entries(self) -> list[Path]:
        """Return the folders of the entries."""
        return sorted(path for path in self.folder.glob("[0-9a-f][0-9a-f]/*") if _KEY.fullmatch(path.name))

    def num_bytes(self) -> int:
        """Return how much the entries hold."""
        return sum(file.stat().st_size for entry in self.entries() for file in _files(entry))

    def clear(self) -> int:
        """Remove every entry and the tally, and nothing else; return how many entries there were."""
        entries = self.entries()
        for entry in entries:
            shutil.rmtree(entry, ignore_errors=True)
        (self.folder / _TALLY).unlink(missing_ok=True)
        return len(entries)

    def _make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _place(self, key: str) -> Path:
        return self.folder / key[:2] / key


def _is_whole(entry: Path) -> bool:
    """Return whether an entry holds exactly the files that it names, unchanged."""
    try:
        listed = json.loads((entry / _ENTRY).read_text(encoding="utf-8"))["files"]
        found = {file.relative_to(entry).as_posix(): _sha256(file) for file in _files(entry) if file != entry / _ENTRY}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(found == listed)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            yield path


def _sha256(path: Path) -> str:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)  # an entry holds plain files only
    with os.fdopen(handle, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
