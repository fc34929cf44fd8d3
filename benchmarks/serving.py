"""What the REST service and a SageMaker endpoint do under load: cold and warm answers, eight clients, streams, the end.

    python benchmarks/serving.py

Trains ``tabular.trees`` on Adult with the defaults, saves it, and starts ``synth serve`` and ``synth sagemaker serve``
as processes.  Seconds are those that a client waits, the seconds of processor those of the server, as the machine has
other users.  Targets: 1,000 rows in 2 s warm, in 30 s from the start of the process; ``/ping`` in 50 ms; eight clients
for a minute without an error, in bounded memory and with the bytes that each gets alone; a stream in the memory of a
block; the end within 5 s of SIGTERM.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import common
import datasets

RESULTS = common.RESULTS / "serving.jsonl"
CLIENTS = 8
ROWS = 1_000
STREAMED = 1_000_000
SEEDS = 16
MAX_GROWTH_MIB = 64
"""Most that a minute of requests may add to the largest memory of its first quarter."""


@dataclass
class Server:
    """A server that runs, and when its start began."""

    process: subprocess.Popen[bytes]
    port: int
    started: float

    def ask(self, path: str, body: bytes | None = None, accept: str = "text/csv") -> tuple[int, bytes]:
        """Return status and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            headers = {"Accept": accept, "Content-Type": "application/json"}
            connection.request("GET" if body is None else "POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    @property
    def cpu_seconds(self) -> float:
        """The seconds of processor so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak_mib(self) -> float:
        """The largest resident memory so far."""
        return common.high_water(self.process.pid)


@contextlib.contextmanager
def serving(*arguments: str, ready: str, environment: Mapping[str, str]) -> Iterator[Server]:
    """Yield a server once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "synth_components", *(part.replace("PORT", str(port)) for part in arguments)]
    around = os.environ | {name: value.replace("PORT", str(port)) for name, value in environment.items()}
    server = Server(subprocess.Popen(command, env=around, stderr=subprocess.DEVNULL), port, monotonic())
    try:
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if server.ask(ready)[0] == 200:
                    break
            if server.process.poll() is not None or monotonic() - server.started > 300:
                raise SystemExit("the server did not start")
            sleep(0.05)
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def request(seed: int) -> bytes:
    """Return the body of a request."""
    return json.dumps({"num_rows": ROWS, "seed": seed}).encode()


@dataclass
class Load:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)
    errors: int = 0
    others: int = 0


def minute(server: Server, path: str, alone: list[bytes], seconds: float) -> tuple[Load, list[float]]:
    """Let eight clients ask for ``seconds``; return what they saw, and the memory every second."""
    load, over = Load(), monotonic() + seconds
    numbers = itertools.count()

    def client() -> None:
        while monotonic() < over:
            seed = next(numbers) % SEEDS
            began = monotonic()
            try:
                status, body = server.ask(path, request(seed))
            except (OSError, http.client.HTTPException):
                load.errors += 1
                continue
            load.seconds.append(monotonic() - began)
            load.errors += status != 200
            load.others += body != alone[seed]

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    peaks = []
    while any(thread.is_alive() for thread in threads):
        sleep(1)
        peaks.append(server.peak_mib)
    for thread in threads:
        thread.join()
    return load, peaks


def verdict(passed: bool) -> str:  # noqa: FBT001 - one flag is all it takes
    return "pass" if passed else "**miss**"


def row(what: str, rows: int | str, seconds: float, cpu: float | str, peak: float | str, note: str, target: str = ""):
    return {
        "what": what,
        "rows": rows,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_mib": peak,
        "note": note,
        "target": target,
    }


def measured(name: str, server: Server, path: str, ping: str, seconds: float) -> Iterator[common.Row]:
    """Yield the rows of one server."""
    server.ask(path, request(0))
    cold = monotonic() - server.started
    yield row(f"{name}: start to first rows", ROWS, cold, server.cpu_seconds, server.peak_mib, "", verdict(cold < 30))
    times, before = [], server.cpu_seconds
    alone = []
    for seed in range(SEEDS):
        began = monotonic()
        alone.append(server.ask(path, request(seed))[1])
        times.append(monotonic() - began)
    warm, cpu = statistics.median(times), (server.cpu_seconds - before) / SEEDS
    yield row(f"{name}: warm, median of {SEEDS}", ROWS, warm, cpu, server.peak_mib, "", verdict(warm < 2))
    pings = []
    for _ in range(50):
        began = monotonic()
        server.ask(ping)
        pings.append(monotonic() - began)
    ping_seconds = statistics.median(pings)
    yield row(f"{name}: {ping}, median of 50", "", ping_seconds, "", server.peak_mib, "", verdict(ping_seconds < 0.05))
    before = server.cpu_seconds
    load, peaks = minute(server, path, alone, seconds)
    growth = peaks[-1] - peaks[len(peaks) // 4]
    good = not load.errors and not load.others and growth < MAX_GROWTH_MIB
    ordered = sorted(load.seconds)
    note = (
        f"{load.errors} errors, {load.others} other bytes, {ordered[len(ordered) * 95 // 100]:.2g} s at 95 %, "
        f"{growth:.0f} MiB more after the first quarter"
    )
    cpu = server.cpu_seconds - before
    drawn = ROWS * len(load.seconds)
    yield row(f"{name}: {CLIENTS} clients, {seconds:.0f} s", drawn, seconds, cpu, server.peak_mib, note, verdict(good))


def streamed(server: Server) -> common.Row:
    """Return the row of a long answer that is sent while it is made."""
    before, cpu, began = server.peak_mib, server.cpu_seconds, monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    connection.request("GET", f"/sample?num_rows={STREAMED}&seed=0", headers={"Accept": "application/x-ndjson"})
    response = connection.getresponse()
    size = 0
    while piece := response.read(1 << 20):
        size += len(piece)
    connection.close()
    grown = server.peak_mib - before
    note = f"{size / 1e6:.0f} MB, {grown:.0f} MiB more than before"
    good = verdict(grown < size / 1e6 / 4)
    return row(
        "REST: NDJSON stream", STREAMED, monotonic() - began, server.cpu_seconds - cpu, server.peak_mib, note, good
    )


def ended(name: str, server: Server) -> common.Row:
    """Return the row of the end."""
    began = monotonic()
    server.process.terminate()
    status = server.process.wait()
    seconds = monotonic() - began
    passed = verdict(status == 0 and seconds < 5)
    return row(f"{name}: SIGTERM to the end", "", seconds, "", "", f"status {status}", passed)


def run(folder: Path, seconds: float) -> Iterator[common.Row]:
    """Yield the rows of the results."""
    import synth_components as synth

    synth.fit(datasets.load("adult").train, seed=0).save(folder / "model")
    with serving("serve", str(folder / "model"), "--port", "PORT", ready="/health", environment={}) as server:
        yield from measured("REST", server, "/sample", "/health", seconds)
        yield streamed(server)
        yield ended("REST", server)
    around = {"SYNTH_ML_ROOT": str(folder), "SAGEMAKER_BIND_TO_PORT": "PORT"}
    with serving("sagemaker", "serve", ready="/ping", environment=around) as server:
        yield from measured("SageMaker", server, "/invocations", "/ping", seconds)
        yield ended("SageMaker", server)


def main() -> None:
    """Measure and write the results, each as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    seconds = parser.parse_args().seconds
    os.environ |= {"PYTHONWARNINGS": "ignore"}
    facts = common.machine()
    RESULTS.with_suffix(".machine.json").write_text(json.dumps(facts | {"threads": facts["cores"]}, indent=1) + "\n")
    RESULTS.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for found in run(Path(folder), seconds):
            common.append_row(RESULTS, found)
            common.say(json.dumps(found))


if __name__ == "__main__":
    main()
