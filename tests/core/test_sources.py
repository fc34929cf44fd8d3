"""Tables at addresses: what fsspec reaches comes back as it was written, and no message shows a password."""

import http.server
import socketserver
import threading
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from synth_components.__main__ import main
from synth_components.errors import DataError
from synth_components.io.dataset import LazyDataset, read_dataset, read_table, table_writer, write_dataset, write_table
from synth_components.io.location import shown
from synth_components.profile import profile
from synth_components.protocols import Dataset

SECRET = "s3cr3t-Zebulon"


def plain(n=30):
    return pd.DataFrame(
        {
            "whole": np.arange(n),
            "share": np.linspace(0, 1, n) / 3,
            "said": ["a,b", "žluť", None] * (n // 3),
            "when": pd.Series(pd.date_range("2020-01-01 10:30", periods=n)).dt.as_unit("us"),
        }
    )


@pytest.fixture
def memory():
    """Yield fsspec's file system in memory, empty before and after."""
    fsspec = pytest.importorskip("fsspec", reason="the extra fsspec is not installed")
    held = fsspec.filesystem("memory")
    held.store.clear()
    yield held
    held.store.clear()


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "json", "jsonl", "h5"])
def test_table_comes_back_from_an_address_of_fsspec(memory, ending):
    if ending == "h5":
        pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    write_table(plain(), f"memory://folder/within/t.{ending}")

    assert memory.exists(f"/folder/within/t.{ending}")
    assert_frame_equal(read_table(f"memory://folder/within/t.{ending}"), plain())


def test_parts_and_datasets_come_back_from_an_address(memory):
    for number in range(2):
        write_table(plain(), f"memory://parts/{number}.parquet")
    assert len(read_table("memory://parts")) == 2 * len(plain())

    whole = profile(plain()).schema
    write_dataset(Dataset({whole.root: plain()}, whole), "memory://whole")
    held = read_dataset("memory://whole", max_bytes=0)
    assert isinstance(held, LazyDataset)
    assert_frame_equal(pd.concat(held.batches(rows=7), ignore_index=True), plain())


def test_interrupted_writing_to_an_address_leaves_nothing(memory):
    def interrupted():
        with table_writer("memory://t.csv") as write:
            write(plain())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not memory.exists("/t.csv")


def test_upload_that_fails_leaves_what_was_there(memory, monkeypatch):
    write_table(plain(3), "memory://t.csv")
    monkeypatch.setattr("shutil.copyfileobj", failing)

    with pytest.raises(DataError, match=r"memory://t\.csv"):
        write_table(plain(), "memory://t.csv")
    monkeypatch.undo()
    assert_frame_equal(read_table("memory://t.csv"), plain(3))


def failing(source, sink, _):
    sink.write(source.read(10))
    raise OSError("the line went dead")


def test_file_addresses_are_local_paths(tmp_path):
    (tmp_path / "a b").mkdir()
    write_table(plain(), tmp_path.as_uri() + "/a%20b/t.csv")

    assert_frame_equal(read_table(tmp_path / "a b" / "t.csv"), plain())


class Server(http.server.ThreadingHTTPServer):
    """A server that does not mind who hangs up."""

    def handle_error(self, *_):
        """Say nothing."""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, to those who know the secret."""

    def do_GET(self):
        if SECRET not in self.path:
            self.send_error(403)
            return
        super().do_GET()

    do_HEAD = do_GET

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def web(tmp_path):
    """Yield the address of a web server over a folder; each request must carry the secret in its query."""
    pytest.importorskip("fsspec", reason="the extra fsspec is not installed")
    pytest.importorskip("aiohttp", reason="aiohttp, which fsspec reads the web with, is not installed")
    server = Server(("127.0.0.1", 0), partial(Handler, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "jsonl"])
def test_table_is_read_from_the_web(web, tmp_path, ending):
    write_table(plain(), tmp_path / f"t.{ending}")
    assert_frame_equal(read_table(f"{web}/t.{ending}?key={SECRET}"), plain())


@pytest.mark.parametrize("query", ["", f"?key={SECRET}"])
def test_a_refusal_of_the_web_names_the_place_and_not_the_secret(web, query):
    with pytest.raises(DataError, match=r"http://127.0.0.1:\d+/t\.csv") as caught:
        read_table(f"{web}/t.csv{query}")
    assert SECRET not in str(caught.value)


def test_a_parquet_file_beyond_one_read_asks_for_a_download_where_the_server_gives_no_parts(web, tmp_path):
    noise = np.random.default_rng(0).normal(size=(100_000, 8))  # 6 MB, more than fsspec reads at once
    write_table(pd.DataFrame(noise, columns=list("abcdefgh")), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="download the file"):
        read_table(f"{web}/t.parquet?key={SECRET}")


def test_a_line_that_goes_dead_is_told_by_place(web, monkeypatch):
    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(b"a,b\n1,2\n")

    monkeypatch.setattr(Handler, "do_GET", cut)
    with pytest.raises(DataError, match=r"/t\.csv' cannot be used"):
        read_table(f"{web}/t.csv?key={SECRET}")


def test_no_record_log_or_model_holds_the_secret_of_an_address(web, tmp_path, capsys):
    write_table(plain(200 * 3), tmp_path / "t.csv")
    asked = ["--data", f"{web}/t.csv?key={SECRET}", "--model", str(tmp_path / "model"), "--log-format", "json"]
    assert main(["train", "--generator", "tabular.independent", *asked]) == 0
    assert main(["train", "--generator", "tabular.independent", *asked, "--data", f"{web}/none.csv?key={SECRET}"]) == 2

    shown_here = capsys.readouterr()
    record = (tmp_path / "model.run.json").read_text()
    assert f"{web}/t.csv" in record
    held = "".join(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET not in shown_here.out + shown_here.err + held


def test_the_web_is_not_written_to(web):
    with pytest.raises(DataError, match="can be read and not written"):
        write_table(plain(), f"{web}/t.csv?key={SECRET}")


def test_unknown_scheme_is_refused():
    pytest.importorskip("fsspec", reason="the extra fsspec is not installed")
    with pytest.raises(DataError, match="scheme 'nosuch'"):
        read_table("nosuch://host/a.csv")


@pytest.mark.parametrize("scheme", ["reference", "github", "dir", "generic", "data"])
def test_a_scheme_that_needs_more_than_an_address_is_refused(scheme):
    pytest.importorskip("fsspec", reason="the extra fsspec is not installed")
    with pytest.raises(DataError, match=f"{scheme}"):
        read_table(f"{scheme}://host/a.csv")


class Ftp(socketserver.StreamRequestHandler):
    """A server of FTP that greets, and then refuses or hangs up."""

    answers: ClassVar[tuple[bytes, ...]]

    def handle(self):
        for answer in self.answers[:-1]:
            self.wfile.write(answer + b"\r\n")
            self.rfile.readline()
        self.wfile.write(self.answers[-1] + b"\r\n")


@pytest.mark.parametrize("answers", [(b"220 hello", b"331 and?", b"530 no"), (b"220 hello",), (b"nonsense",)])
def test_a_fault_of_ftp_is_told_by_place_and_without_the_secret(answers):
    pytest.importorskip("fsspec", reason="the extra fsspec is not installed")
    handler = type("Answering", (Ftp,), {"answers": answers})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        place = f"127.0.0.1:{server.server_address[1]}/t.csv"
        with pytest.raises(DataError, match=f"ftp://{place}") as caught:
            read_table(f"ftp://user:{SECRET}@{place}")
        server.shutdown()
    assert SECRET not in str(caught.value)


def test_scheme_whose_package_is_missing_names_it(monkeypatch):
    fsspec = pytest.importorskip("fsspec", reason="the extra fsspec is not installed")

    def missing(*_):
        raise ImportError("install it", name="gcsfs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(DataError, match="gcsfs"):
        read_table("gs://bucket/a.csv")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("table.csv", "table.csv"),
        (Path("folder/table.csv"), "folder/table.csv"),
        (f"s3://user:{SECRET}@bucket/key.csv", "s3://bucket/key.csv"),
        (f"s3://bucket/key.csv?secret_key={SECRET}", "s3://bucket/key.csv"),
        (f"https://host/t.csv?token={SECRET}", "https://host/t.csv"),
        (f"ftp://u:{SECRET}@host:21/t.csv", "ftp://host:21/t.csv"),
        (f"postgresql://u:{SECRET}@host:5432/db#people", "postgresql://host:5432/db#people"),
        (f"postgresql+psycopg://u:{SECRET}@host/db?sslmode=require#a.b", "postgresql+psycopg://host/db#a.b"),
        (f"postgresql://u:{SECRET}/?@{SECRET}@host/db#t", "postgresql://"),
        (f"postgresql://host/db?user=u&password=s@{SECRET}#t", "postgresql://"),
        (f"kafka://broker/topic?sasl.password=p@{SECRET}", "kafka://"),
        (f"https://u:AA::{SECRET}@host/t.csv", "https://"),
        (f"postgresql://u:p@x#{SECRET}@host/db", "postgresql://"),
        (f"postgresql://u:{SECRET}#{SECRET}@host/db#t", "postgresql://"),
        (f"postgresql://u:p@host/db#select a from t where b = 'a@{SECRET}'", "postgresql://host/db#query"),
        (f"sqlite:///f.db#select a from t where b = 'a@{SECRET}'", "sqlite:///f.db#query"),
        (f"sqlite:///f.db#select a from t where b = '{SECRET}'", "sqlite:///f.db#query"),
        ("sqlite:////folder/f.db#t", "sqlite:////folder/f.db#t"),
        (f"simplecache::https://u:{SECRET}@host/t.csv?k={SECRET}", "simplecache::https://host/t.csv"),
    ],
)
def test_no_secret_of_an_address_is_shown(address, expected):
    assert shown(address) == expected
