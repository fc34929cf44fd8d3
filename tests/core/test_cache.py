"""The cache gives back what was kept, byte for byte, or nothing; any number of writers may share it."""

import stat
import threading

import pytest

from synth_components.cache import Cache, Tally

KEY, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def parts(tmp_path):
    """A file and a folder to keep."""
    (tmp_path / "rows.csv").write_bytes(b"a\n1\n")
    (tmp_path / "model" / "sampler").mkdir(parents=True)
    (tmp_path / "model" / "manifest.json").write_bytes(b"{}")
    (tmp_path / "model" / "sampler" / "x.json").write_bytes(b"[1]")
    return {"synthetic": tmp_path / "rows.csv", "model": tmp_path / "model"}


def test_what_was_kept_is_found_byte_for_byte(tmp_path, parts):
    cache = Cache(tmp_path / "cache")
    assert cache.find(KEY) is None
    cache.keep(KEY, parts)

    found = cache.find(KEY)

    assert (found / "synthetic").read_bytes() == b"a\n1\n"
    assert (found / "model" / "sampler" / "x.json").read_bytes() == b"[1]"
    assert cache.find(OTHER) is None
    assert cache.tally == Tally(1, 3)
    assert str(cache.tally) == "1 of 3 lookups were hits (33%)"


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "unlisted", "linked"])
def test_a_damaged_entry_is_no_hit_and_is_removed(tmp_path, parts, damage):
    cache = Cache(tmp_path / "cache")
    cache.keep(KEY, parts)
    entry = cache.find(KEY)
    match damage:
        case "changed":
            (entry / "synthetic").write_bytes(b"a\n2\n")
        case "missing":
            (entry / "synthetic").unlink()
        case "added":
            (entry / "model" / "more.json").write_bytes(b"{}")
        case "unlisted":
            (entry / "entry.json").write_text("{")
        case "linked":
            (entry / "synthetic").unlink()
            (entry / "synthetic").symlink_to(parts["synthetic"])

    assert cache.find(KEY) is None
    assert cache.entries() == []


def test_the_folder_is_its_owners_alone(tmp_path, parts):
    cache = Cache(tmp_path / "cache")
    cache.keep(KEY, parts)
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_of_many_writers_one_wins_and_none_fails(tmp_path, parts):
    cache = Cache(tmp_path / "cache")
    start, failed = threading.Barrier(16), []

    def write():
        start.wait()
        try:
            cache.keep(KEY, parts)
            if cache.find(KEY) is None:
                failed.append("lost")
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert cache.tally == Tally(16, 16)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["aa", "tally"]


def test_clearing_removes_the_entries_and_nothing_else(tmp_path, parts):
    cache = Cache(tmp_path / "cache")
    cache.keep(KEY, parts)
    (tmp_path / "cache" / "letter.txt").write_text("mine")
    (tmp_path / "cache" / "aa" / "letter.txt").write_text("mine")
    assert cache.num_bytes() > 0

    assert cache.clear() == 1

    assert cache.entries() == []
    assert cache.tally == Tally(0, 0)
    assert (tmp_path / "cache" / "letter.txt").exists()
    assert (tmp_path / "cache" / "aa" / "letter.txt").exists()
