"""Servers as processes on this machine, and what they answer."""

import contextlib
import http.client
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

import synth_components as synth

SECRET = "Zebulon-4711"
"""A cell of the training table, and of requests; no error and no log may hold it."""

START_SECONDS = 400  # the machine is shared


def small_model():
    """Return a model of a small table with most types of column."""
    rng = np.random.default_rng(0)
    n = 400
    age = rng.integers(18, 80, n)
    table = pd.DataFrame(
        {
            "id": np.arange(n),
            "age": age,
            "sex": rng.choice(["F", "M"], n),
            "pay": (1000 + 10 * age + rng.normal(0, 50, n)).round(2),
            "joined": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D"),
            "wait": pd.to_timedelta(rng.integers(0, 50, n), unit="h"),
            "active": rng.random(n) < 0.5,
            "score": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n).round(3)),
            "city": rng.choice(["Rome", "Oslo", SECRET], n),
        }
    )
    return synth.fit(
        table, generator="tabular.trees", seed=0, options={"n_trees": 2, "correction_trees": 0, "knots": 50}
    )


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))


@dataclass
class Server:
    """A server that runs."""

    process: subprocess.Popen
    port: int
    log_path: object

    @property
    def log(self):
        return self.log_path.read_text()

    def has_logged(self, text, seconds=20):
        """Return whether the log has a text; a request's line comes after its answer."""
        end = time.monotonic() + seconds
        while text not in self.log and time.monotonic() < end:
            time.sleep(0.02)
        return text in self.log

    def ask(self, path, body=None, *, method=None, timeout=50, **headers):
        """Return the answer; header names have dashes for underscores."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = json.dumps(body).encode() if isinstance(body, dict | list) else body
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            if isinstance(body, dict | list):
                sent.setdefault("Content-Type", "application/json")
            connection.request(method or ("GET" if body is None else "POST"), path, data, sent)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def stop(self):
        """Send SIGTERM; return the exit status and the seconds until it came."""
        started = time.monotonic()
        self.process.terminate()
        return self.process.wait(timeout=30), time.monotonic() - started


_PORTS = itertools.count(20_000 + os.getpid() * 97 % 12_000)
"""Ports below those that the system hands out to whoever asks, so that nobody gets one before its server takes it; of
this process, as those of neighbouring processes are 97 apart."""


def free_port():
    """Return a port of this machine at which nobody listens, another one at each call."""
    for port in _PORTS:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there are always more ports")


@contextlib.contextmanager
def serving(folder, *arguments, ready, env=None):
    """Yield a server started by ``synth ARGUMENTS``, in which PORT is its port, once ``ready`` answers with 200."""
    port = free_port()
    log_path = folder / f"server-{port}.log"
    command = [sys.executable, "-m", "synth_components", *(str(a).replace("PORT", str(port)) for a in arguments)]
    around = {**os.environ, "PYTHONWARNINGS": "error::DeprecationWarning:synth_components"}
    around |= {name: value.replace("PORT", str(port)) for name, value in (env or {}).items()}
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, env=around, stdout=log, stderr=log)
    server = Server(process, port, log_path)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if server.ask(ready, timeout=5).status == 200:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start: {server.log}")
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()  # as its platform ends it; coverage of a process that was killed is lost, too
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
