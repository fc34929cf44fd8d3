"""Archives from elsewhere: what is not a plain file below the folder is refused."""

import io
import tarfile

import pytest

from synth_components.errors import ArtifactError
from synth_components.io.archive import unpack


def packed(path, *members, mode="w:gz"):
    """Write an archive of (name, type, content)."""
    with tarfile.open(path, mode) as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mode = kind, len(content), 0o4777
            if kind in {tarfile.SYMTYPE, tarfile.LNKTYPE}:
                info.linkname = "/etc/passwd"
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_unpack_writes_the_files_of_an_archive_however_it_is_compressed(tmp_path, mode):
    archive = packed(
        tmp_path / "model.tar", ("./", tarfile.DIRTYPE, b""), ("./a/b.json", tarfile.REGTYPE, b"{}"), mode=mode
    )
    unpack(archive, tmp_path / "model")
    assert (tmp_path / "model" / "a" / "b.json").read_bytes() == b"{}"


def test_unpack_takes_no_modes_over(tmp_path):
    unpack(packed(tmp_path / "m.tar.gz", ("tool", tarfile.REGTYPE, b"#!")), tmp_path / "model")
    assert not (tmp_path / "model" / "tool").stat().st_mode & 0o6111


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../evil", tarfile.REGTYPE),
        ("/evil", tarfile.REGTYPE),
        ("a/../../evil", tarfile.REGTYPE),
        ("../evil", tarfile.DIRTYPE),
        ("link", tarfile.SYMTYPE),
        ("hard", tarfile.LNKTYPE),
        ("device", tarfile.CHRTYPE),
        ("pipe", tarfile.FIFOTYPE),
    ],
)
def test_unpack_refuses_what_is_no_plain_file_below_the_folder(tmp_path, name, kind):
    archive = packed(tmp_path / "m.tar.gz", (name, kind, b""))
    with pytest.raises(ArtifactError, match=r"leads out|neither a plain file"):
        unpack(archive, tmp_path / "in" / "model")
    assert list((tmp_path / "in").iterdir()) == [tmp_path / "in" / "model"]
    assert not list((tmp_path / "in" / "model").iterdir())


def test_unpack_refuses_a_link_that_a_later_file_goes_through(tmp_path):
    archive = packed(tmp_path / "m.tar.gz", ("d", tarfile.SYMTYPE, b""), ("d/f", tarfile.REGTYPE, b"x"))
    with pytest.raises(ArtifactError, match="neither a plain file"):
        unpack(archive, tmp_path / "model")


@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_unpack_refuses_a_path_that_occurs_twice(tmp_path, names):
    archive = packed(tmp_path / "m.tar.gz", *((name, tarfile.REGTYPE, b"x") for name in names))
    with pytest.raises(ArtifactError, match="one path twice"):
        unpack(archive, tmp_path / "model")


def test_unpack_stops_before_the_bytes_of_a_bomb_are_written(tmp_path):
    archive = packed(tmp_path / "m.tar.gz", ("big", tarfile.REGTYPE, bytes(5000)))
    with pytest.raises(ArtifactError, match="more than 1,000 bytes"):
        unpack(archive, tmp_path / "model", max_bytes=1000)
    assert not list((tmp_path / "model").iterdir())


def test_unpack_refuses_more_files_than_a_model_has(tmp_path):
    archive = packed(tmp_path / "m.tar.gz", *((f"f{number}", tarfile.REGTYPE, b"") for number in range(4)))
    with pytest.raises(ArtifactError, match="more than 3 files"):
        unpack(archive, tmp_path / "model", max_members=3)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00broken"])
def test_unpack_refuses_what_is_no_archive(tmp_path, content):
    (tmp_path / "m.tar.gz").write_bytes(content)
    with pytest.raises(ArtifactError, match="no tar archive"):
        unpack(tmp_path / "m.tar.gz", tmp_path / "model")


def test_unpack_refuses_an_archive_that_was_cut_off(tmp_path):
    archive = packed(tmp_path / "m.tar.gz", ("f", tarfile.REGTYPE, bytes(range(256)) * 40))
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match="damaged"):
        unpack(archive, tmp_path / "model")


def test_unpack_refuses_a_folder_that_holds_something(tmp_path):
    archive = packed(tmp_path / "m.tar.gz", ("f", tarfile.REGTYPE, b""))
    with pytest.raises(ArtifactError, match="is not empty"):
        unpack(archive, tmp_path)
