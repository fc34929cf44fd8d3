"""Channels: File and FastFile, every format, files in order, and what is refused (requirements 4 and 7)."""

import gzip
import io
import os

import pandas as pd
import pytest

from synth_components.errors import DataError
from synth_components.io.dataset import read_table
from synth_sagemaker.channel import CONTENT_TYPES, ready

ROWS = pd.DataFrame({"age": range(6), "city": ["Rome", "Oslo", "Bonn"] * 2})


def csv(rows):
    return rows.to_csv(index=False).encode()


def parquet(rows):
    sink = io.BytesIO()
    rows.to_parquet(sink)
    return sink.getvalue()


def lines(rows):
    return rows.to_json(orient="records", lines=True).encode()


@pytest.fixture
def channel(tmp_path):
    """A function that puts files into the channel `train` and makes it ready."""

    def filled(files, said=None, *, kind="dataset", num_hosts=1):
        folder = tmp_path / "data" / "train"
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (tmp_path / "scratch").mkdir()
        return ready(folder, kind, said or {}, scratch=tmp_path / "scratch", num_hosts=num_hosts)

    return filled


@pytest.mark.parametrize("mode", ["File", "FastFile"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", csv(ROWS)),
        ("rows.csv.gz", gzip.compress(csv(ROWS), mtime=0)),
        ("rows.parquet", parquet(ROWS)),
        ("rows.jsonl", lines(ROWS)),
        ("rows.jsonl.gz", gzip.compress(lines(ROWS), mtime=0)),
    ],
)
def test_every_format_is_read_in_both_modes(channel, mode, name, content):
    """Requirement 7."""
    place = channel({name: content}, {"TrainingInputMode": mode})
    pd.testing.assert_frame_equal(read_table(place), ROWS, check_dtype=False)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("text/csv", csv(ROWS)),
        ("text/csv; charset=utf-8", gzip.compress(csv(ROWS), mtime=0)),
        ("application/x-parquet", parquet(ROWS)),
        ("application/jsonlines", lines(ROWS)),
    ],
)
def test_a_file_without_an_ending_is_what_the_channel_declares(channel, content_type, content):
    place = channel({"part-00000": content}, {"ContentType": content_type})
    pd.testing.assert_frame_equal(read_table(place), ROWS, check_dtype=False)


def test_shards_are_read_in_the_order_of_their_names(channel):
    """Requirement 7: whatever order the file system lists them in, and in folders too."""
    parts = {f"b/part-{number}.csv": csv(ROWS.iloc[number : number + 1]) for number in (2, 1)}
    place = channel({**parts, "a/part-9.csv": csv(ROWS.iloc[:1]), "b/_SUCCESS": b"", ".hidden.csv": b"x"})
    assert read_table(place)["age"].tolist() == [0, 1, 2]


def test_a_fast_file_is_not_needed_once_it_is_ready(channel, tmp_path):
    """Requirement 7: its mount reads slowly but from first byte to last, so it is copied so, once."""
    place = channel({"rows.parquet": parquet(ROWS)}, {"TrainingInputMode": "FastFile"})
    (tmp_path / "data" / "train" / "rows.parquet").unlink()
    pd.testing.assert_frame_equal(read_table(place), ROWS, check_dtype=False)


def test_a_copied_file_is_read_where_it_lies(channel):
    assert channel({"rows.csv": csv(ROWS)}, {"TrainingInputMode": "File"}).is_symlink()


def test_a_channel_that_is_not_there_is_none(channel):
    assert channel({}) is None


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"TrainingInputMode": "Pipe"}, "Pipe mode.*ask for File or FastFile"),
        ({"S3DataType": "ManifestFile"}, "manifest.*S3Prefix"),
        ({"S3DataType": "AugmentedManifestFile", "AttributeNames": ["a"]}, "manifest.*S3Prefix"),
        ({"RecordWrapperType": "RecordIO"}, "RecordIO"),
        ({"ContentType": "text/libsvm"}, "content type.*use one of text/csv"),
        ({"ContentType": "application/x-parquet"}, "another content type"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_ask_for(channel, said, message):
    """Requirements 4 and 7."""
    with pytest.raises(DataError, match=f"channel 'train'.*{message}"):
        channel({"rows.csv": csv(ROWS)}, said)


def test_a_pipe_and_a_manifest_are_known_by_what_lies_beside_the_channel(channel, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-manifest").write_text("[]")
    with pytest.raises(DataError, match="manifest"):
        channel({"rows.csv": csv(ROWS)})
    (tmp_path / "data" / "train-manifest").unlink()
    (tmp_path / "scratch").rmdir()
    os.mkfifo(tmp_path / "data" / "train_0")
    with pytest.raises(DataError, match="rows are read more than once"):
        channel({"rows.csv": csv(ROWS)})


def test_a_channel_sharded_over_hosts_is_refused_where_each_host_needs_every_row(channel):
    said = {"S3DistributionType": "ShardedByS3Key"}
    with pytest.raises(DataError, match=r"sharded over 2 hosts.*FullyReplicated"):
        channel({"rows.csv": csv(ROWS)}, said, num_hosts=2)


def test_a_channel_sharded_over_one_host_is_whole(channel):
    assert channel({"rows.csv": csv(ROWS)}, {"S3DistributionType": "ShardedByS3Key"}) is not None


def test_a_channel_without_files_is_refused(channel):
    with pytest.raises(DataError, match="no files"):
        channel({"_SUCCESS": b""})


def test_files_of_no_known_ending_are_refused_if_nothing_is_declared(channel):
    with pytest.raises(DataError, match="declare the channel's content type"):
        channel({"part-00000": csv(ROWS)})


def test_a_schema_is_one_file(channel):
    assert channel({"schema": b"{}"}, {"ContentType": "application/json"}, kind="schema").suffix == ".json"


def test_two_schemas_are_refused(channel):
    with pytest.raises(DataError, match="has 2 files; give the one file with the schema"):
        channel({"a.json": b"{}", "b.json": b"{}"}, kind="schema")


def test_every_content_type_means_an_ending_that_is_read():
    assert all(ending.startswith(".") for types in CONTENT_TYPES.values() for ending in types.values())
