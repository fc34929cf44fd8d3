"""What a server of Kubeflow Pipelines is sent, by a stand-in that answers as its API does."""

import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kubeflow_ir import faults

from synth_components.__main__ import main
from synth_components.schema import TABLE, Numeric, Schema

SECRET = "token-4711"
EXPERIMENT = {"experiment_id": "e1", "display_name": "customers"}


class Api(BaseHTTPRequestHandler):
    """Answers what kfp.Client asks on the way to a run, and notes it."""

    def log_message(self, *said):
        pass

    def answer(self, value, status=200):
        self.server.seen.append((self.command, self.path.partition("?")[0], self.headers.get("Authorization")))
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.endswith("/experiments/e1"):
            self.answer(EXPERIMENT)
        elif "/experiments" in self.path:
            self.answer({"experiments": [EXPERIMENT], "total_size": 1})
        else:
            self.answer({"multi_user": False})

    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status != 200:
            self.answer({"error": "no"}, self.server.status)
        elif self.path.startswith("/apis/v2beta1/runs"):
            self.server.run = said
            self.answer({"run_id": "r1", "display_name": said["display_name"], "state": "PENDING"})
        else:
            self.answer(EXPERIMENT)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("SYNTH_KUBEFLOW_TOKEN", raising=False)
    made = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    made.seen, made.run, made.status = [], {}, 200
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def submit(server, *more):
    host = f"http://127.0.0.1:{server.server_address[1]}"
    said = ["kubeflow", "submit", "sharded-sampling", "--data", "s3://bucket/t.csv", "--target", "y", "--host", host]
    return main([*said, *more])


def test_requirement_19_a_run_is_sent_with_its_pipeline_arguments_and_experiment(server, capsys):
    assert submit(server, "--num-rows", "500", "--experiment", "customers") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "run: r1"
    assert server.run["experiment_id"] == "e1"
    assert server.run["runtime_config"]["parameters"] == {
        "data_uri": "s3://bucket/t.csv", "target": "y", "num_rows": 500
    }  # fmt: skip
    assert faults(json.dumps(server.run["pipeline_spec"]["pipeline_spec"])) == []


def test_a_schema_of_this_machine_goes_with_the_run(server, tmp_path):
    (tmp_path / "schema.yaml").write_text("columns:\n  age: {type: numeric, dtype: int64, low: 18, high: 90}\n")
    assert submit(server, "--schema", str(tmp_path / "schema.yaml")) == 0
    sent = Schema.from_json(server.run["runtime_config"]["parameters"]["declared_schema"])
    assert sent == Schema({TABLE: {"age": Numeric(dtype="int64", low=18, high=90, public=True)}})


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("nowhere.json", None, "there is no local file"),
        ("odd.json", '{"columns": {"age": {"type": "colour"}}}', "no known type"),
        ("long.json", json.dumps({"columns": {f"{n:0100}": {"type": "numeric"} for n in range(600)}}), "longer than"),
    ],
)
def test_a_schema_that_cannot_go_with_the_run_is_refused_before_it_is_sent(server, tmp_path, capsys, name, text, told):
    if text is not None:
        (tmp_path / name).write_text(text)
    assert submit(server, "--schema", str(tmp_path / name)) == 2
    assert told in capsys.readouterr().err
    assert server.run == {}


def test_requirement_19_the_token_goes_to_the_server_and_nowhere_else(server, capsys, monkeypatch):
    monkeypatch.setenv("SYNTH_KUBEFLOW_TOKEN", SECRET)
    assert submit(server) == 0
    assert {token for _, path, token in server.seen if path.startswith("/apis")} == {f"Bearer {SECRET}"}
    server.status = 401
    assert submit(server) == 2
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err
    assert "status 401" in shown.err


def test_a_server_that_is_not_there_is_an_error_of_the_user(server, capsys):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and does not listen: kept, so that nobody else does
        host = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        assert main(["kubeflow", "submit", "sharded-sampling", "--data", "s3://b/t", "--host", host]) == 2
    assert re.search("does not answer .*check --host", capsys.readouterr().err)
