"""`synth sample` into a stream: standard output, in processes of its own, and S3, against a server of this machine."""

import json
import logging
import re
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.__main__ import main
from synth_components.config import ConfigError
from synth_components.errors import DataError, ThresholdError, UnsupportedError
from synth_components.io.dataset import read_table
from synth_components.protocols import BLOCK_ROWS
from synth_components.steps.sample import SampleConfig, sample
from synth_components.stream import ENDLESS, blocks
from synth_components.stream.objects import OBJECT_ROWS
from synth_components.stream.unit import cutter

FORMATS = ("ndjson", "csv", "arrow")


def people(rows, seed=0, *, shift=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(20, 80, rows) + shift,
            "income": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(3e4, 5e3, rows).round(2)),
            "city": rng.choice(["Rome", "Oslo", "Bonn"], rows),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    synth.fit(people(2_000), generator="tabular.independent", seed=0).save(folder / "model")
    return folder


def sampled(folder, capfdbinary, place="-", **options):
    """Return what a call writes to standard output."""
    capfdbinary.readouterr()
    sample(SampleConfig(**options), model=folder / "model", synthetic=place)
    return capfdbinary.readouterr().out


def command(folder, *options):
    """Return a process that streams into a pipe."""
    words = [sys.executable, "-m", "synth_components", "sample", "--model", str(folder / "model"), "--output", "-"]
    return subprocess.Popen([*words, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def stopped_at(text):
    """Return the offset that a stopped stream tells."""
    return int(re.search(rb"go on with --offset (\d+) --seed 0", text)[1])


@pytest.mark.parametrize("format", FORMATS)
def test_a_later_start_continues_with_the_identical_bytes(format, folder, capfdbinary):
    n = BLOCK_ROWS + 900
    whole = sampled(folder, capfdbinary, num_rows=n, format=format)
    offset = BLOCK_ROWS + 512
    tail = sampled(folder, capfdbinary, num_rows=n, format=format, offset=offset)
    assert whole.endswith(tail)
    if format != "arrow":
        assert tail.count(b"\n") == n - offset


def test_standard_output_has_the_bytes_of_a_file(folder, capfdbinary, tmp_path):
    sample(SampleConfig(num_rows=300), model=folder / "model", synthetic=tmp_path / "t.csv")
    assert sampled(folder, capfdbinary, num_rows=300, format="csv") == (tmp_path / "t.csv").read_bytes()


def test_a_file_takes_an_offset_too(folder, tmp_path):
    n = BLOCK_ROWS + 10
    for name, offset in (("whole", 0), ("tail", BLOCK_ROWS - 5)):
        config = SampleConfig(num_rows=n, offset=offset)
        sample(config, model=folder / "model", synthetic=tmp_path / f"{name}.parquet")
    whole, tail = (read_table(tmp_path / f"{name}.parquet") for name in ("whole", "tail"))
    pd.testing.assert_frame_equal(whole.iloc[BLOCK_ROWS - 5 :].reset_index(drop=True), tail)


@pytest.mark.parametrize(
    ("format", "number"), [("csv", signal.SIGINT), pytest.param("ndjson", signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_stream_goes_on_until_it_is_stopped_after_a_whole_row_and_continues_from_there(format, number, folder):
    with command(folder, "--format", format) as first:
        head = first.stdout.read(1)  # it runs
        first.send_signal(number)
        assert first.wait(timeout=30) == 0  # though nobody reads: the pipe is full
        head, told = head + first.stdout.read(), first.stderr.read()
    offset = stopped_at(told)
    assert head.endswith(b"\n")
    assert head.count(b"\n") - (format == "csv") == offset
    with command(folder, "--format", format, "--offset", str(offset)) as second:
        more = second.stdout.read(2**18)
        second.terminate()
    drawn = blocks(synth.load(folder / "model"), ENDLESS, seed=0)
    first_row, table = next(drawn)
    cut = cutter(format, table)
    body = cut.opening
    while len(body) < len(head) + len(more):
        body += b"".join(unit.body for unit in cut.units(table, first_row))
        first_row, table = next(drawn)
    assert body.startswith(head + more)


def test_a_reader_who_leaves_ends_the_stream_quietly(folder):
    with command(folder) as process:
        assert json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == b""


def test_a_stream_of_given_rows_that_is_stopped_early_ends_with_the_signals_status(folder):
    process = command(folder, "--num-rows", "100000000", "--rate", "5")
    assert process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out, told = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert stopped_at(told) == 1 + out.count(b"\n")


@pytest.mark.parametrize("rows", [0, 3])
def test_a_stream_of_given_rows_ends(rows, folder, capfdbinary):
    written = sampled(folder, capfdbinary, num_rows=rows, format="csv")
    assert written.startswith(b"age,income,city\n")
    assert written.count(b"\n") == rows + 1


def test_a_stream_leaves_no_record_and_no_file(folder, tmp_path, monkeypatch, capfdbinary):
    monkeypatch.chdir(tmp_path)
    words = [
        "sample",
        "--model",
        str(folder / "model"),
        "--output",
        "-",
        "--num-rows",
        "2",
        "--columns",
        "age",
        "--quiet",
    ]
    assert main(words) == 0
    rows = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert [list(row) for row in rows] == [["age"], ["age"]]
    assert list(tmp_path.iterdir()) == []


def test_conditions_hold_in_a_stream(folder, capfdbinary, tmp_path):
    (tmp_path / "asked.json").write_text('{"city": "Rome"}')
    capfdbinary.readouterr()
    sample(SampleConfig(num_rows=50), model=folder / "model", conditions=tmp_path / "asked.json", synthetic="-")
    rows = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert {row["city"] for row in rows} == {"Rome"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "parquet"}, "cannot be parquet"),
        ({"format": "arrow", "offset": 100}, "offset 0 or 256"),
        ({"num_shards": 2}, "one shard"),
        ({"num_rows": 5, "offset": 6}, "beyond num_rows"),
    ],
)
def test_what_a_stream_cannot_be_is_refused(options, message, folder):
    with pytest.raises((ConfigError, DataError), match=message):
        sample(SampleConfig(**options), model=folder / "model", synthetic="-")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 5}, "rate is for streams"),
        ({"monitor": "alert"}, "monitor is for streams"),
        ({"format": "arrow"}, "format of streams"),
    ],
)
def test_what_is_for_streams_is_refused_for_a_file(options, message, folder, tmp_path):
    with pytest.raises((ConfigError, DataError), match=message):
        sample(SampleConfig(**options), model=folder / "model", synthetic=tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monitor": "adjust"}, "belong together"),
        ({"knobs": {"rate": [1, 2]}}, "belong together"),
        ({"monitor": "adjust", "knobs": {"speed": [1, 2]}}, "there is rate"),
        ({"monitor": "adjust", "knobs": {"rate": [2, 1]}}, "lower one first"),
        ({"offset": 5, "num_shards": 2}, "both take a part"),
        ({"offset": 5, "seed": -1}, "the seed it told"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        SampleConfig.parse(options)


def test_a_stream_does_not_drift_from_its_own_first_blocks(folder, capfdbinary, caplog):
    n = 6 * BLOCK_ROWS
    with caplog.at_level(logging.WARNING, logger="synth_components"):
        written = sampled(folder, capfdbinary, num_rows=n, monitor="stop", columns=("age",), format="csv")
    assert written.count(b"\n") == n + 1
    assert caplog.text == ""


def test_a_stream_that_left_its_real_reference_stops_before_its_first_row(folder, capfdbinary, tmp_path):
    people(4_000, seed=1, shift=9).to_parquet(tmp_path / "now.parquet")
    config = SampleConfig(monitor="stop", tolerance=0.05)
    with pytest.raises(ThresholdError, match="values of 'age'"):
        sample(config, model=folder / "model", reference=tmp_path / "now.parquet", synthetic="-")
    assert capfdbinary.readouterr().out == b""


def test_a_stream_near_its_real_reference_goes_on(folder, capfdbinary, tmp_path):
    people(4_000, seed=1).to_parquet(tmp_path / "now.parquet")
    config = SampleConfig(num_rows=BLOCK_ROWS, monitor="stop", tolerance=0.05)
    sample(config, model=folder / "model", reference=tmp_path / "now.parquet", synthetic="-")
    assert capfdbinary.readouterr().out.count(b"\n") == BLOCK_ROWS


def test_a_model_with_a_promise_is_not_compared_with_real_rows(folder, tmp_path, monkeypatch):
    from dataclasses import replace

    from synth_components.model import Model

    people(1_000).to_parquet(tmp_path / "now.parquet")
    promise = replace(synth.load(folder / "model").privacy, epsilon=1.0)
    monkeypatch.setattr(Model, "privacy", promise)
    with pytest.raises(UnsupportedError, match="promises differential privacy"):
        sample(SampleConfig(monitor="alert"), model=folder / "model", reference=tmp_path / "now.parquet", synthetic="-")


def test_a_reference_without_a_monitor_is_refused(folder, tmp_path):
    people(1_000).to_parquet(tmp_path / "now.parquet")
    with pytest.raises(ConfigError, match="a reference is for monitor"):
        sample(SampleConfig(), model=folder / "model", reference=tmp_path / "now.parquet", synthetic="-")


@pytest.fixture(scope="module")
def bucket():
    """Yield the address of an empty bucket on a server of this machine, and a client."""
    pytest.importorskip("flask", reason="moto's server (extra dev) is not installed")
    server = pytest.importorskip("moto.server", reason="moto (extra dev) is not installed")
    boto3 = pytest.importorskip("boto3", reason="boto3 (extra dev) is not installed")
    threaded = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    threaded.start()
    host, port = threaded.get_host_and_port()
    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    patch.setenv("AWS_ACCESS_KEY_ID", "testing")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    patch.setenv("AWS_REGION", "us-east-1")
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="rows")
    yield client
    patch.undo()
    threaded.stop()


def objects(client, prefix):
    """Return the bodies of the objects under a prefix, by name."""
    listed = client.list_objects_v2(Bucket="rows", Prefix=prefix).get("Contents", [])
    keys = sorted(entry["Key"] for entry in listed)
    return {key.removeprefix(prefix): client.get_object(Bucket="rows", Key=key)["Body"].read() for key in keys}


def test_s3_gets_whole_objects_named_by_their_first_row(folder, bucket, capfdbinary):
    n = OBJECT_ROWS + 1_000
    sampled(folder, capfdbinary, "s3://rows/a/", num_rows=n, format="csv")
    found = objects(bucket, "a/")
    assert list(found) == [f"{0:016d}.csv", f"{OBJECT_ROWS:016d}.csv"]
    first, second = found.values()
    assert second.startswith(b"age,income,city\n")
    assert first + second.partition(b"\n")[2] == sampled(folder, capfdbinary, num_rows=n, format="csv")


def test_s3_takes_rows_from_where_a_stream_stopped_and_has_each_once(folder, bucket, capfdbinary):
    sampled(folder, capfdbinary, "s3://rows/b/", num_rows=3_000)  # of 3,000 rows, the first 3,000
    sampled(folder, capfdbinary, "s3://rows/b/", num_rows=3_000, offset=1_000)  # sent again
    sampled(folder, capfdbinary, "s3://rows/b/", num_rows=3_000, offset=1_000)  # replaces itself
    found = objects(bucket, "b/")
    assert list(found) == [f"{0:016d}.ndjson", f"{1_000:016d}.ndjson"]
    assert found[f"{0:016d}.ndjson"].endswith(found[f"{1_000:016d}.ndjson"])


def test_each_s3_object_of_an_arrow_stream_is_read_by_itself(folder, bucket, capfdbinary):
    import pyarrow as pa

    sampled(folder, capfdbinary, "s3://rows/c/", num_rows=700, format="arrow", offset=256)
    (body,) = objects(bucket, "c/").values()
    assert pa.ipc.open_stream(body).read_all().num_rows == 700 - 256


def test_a_missing_bucket_is_refused_by_name(folder, bucket):
    with pytest.raises(DataError, match="s3://nobody/"):
        sample(SampleConfig(num_rows=5), model=folder / "model", synthetic="s3://nobody/x/")
