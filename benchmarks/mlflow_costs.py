"""What the MLflow flavour costs: logging, loading, a scoring server, imports.

    python benchmarks/mlflow_costs.py

Trains ``tabular.trees`` on Adult with the defaults, logs it to a new SQLite store, loads it in fresh processes, and
asks a scoring server for rows over HTTP.  Times are the best of several, as the machine has other users; the seconds of
processor beside them tell how much was waiting.  Targets: log a model in 3 s without inferring requirements; load it
and draw the first 1,000 rows in 2 s beyond imports; eight clients at once get what eight in turn get; import the
evaluator in 50 ms beyond MLflow.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, perf_counter, process_time, sleep
from urllib.request import Request, urlopen

import common
import datasets
import mlflow

RESULTS = common.RESULTS / "mlflow.jsonl"
MANY = 100_000
FIRST = """
import json, sys, time
import mlflow.pyfunc, mlflow_flavor, pandas
load_model, pyfunc = mlflow_flavor.load_model, mlflow.pyfunc
start = time.perf_counter(), time.process_time()
if sys.argv[2] == "native":
    load_model(sys.argv[1]).sample(1_000, seed=0)
else:
    pyfunc.load_model(sys.argv[1]).predict(pandas.DataFrame(), params={"num_rows": 1_000, "seed": 0})
print(json.dumps([time.perf_counter() - start[0], time.process_time() - start[1]]))
"""
EVALUATOR = """
import json, time
import mlflow.models
start = time.perf_counter(), time.process_time()
import mlflow_flavor.evaluator
print(json.dumps([time.perf_counter() - start[0], time.process_time() - start[1]]))
"""


Times = tuple[float, float | str]  # wall and processor; the latter is "" where another process does the work


def timed(work: Callable[[], object]) -> Times:
    start = perf_counter(), process_time()
    work()
    return perf_counter() - start[0], process_time() - start[1]


def fresh(code: str, *arguments: str) -> Times:
    """Return the times that ``code`` prints, run in a process of its own."""
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    wall, processor = json.loads(run.stdout.splitlines()[-1])
    return wall, processor


@contextlib.contextmanager
def server(model: Path) -> Iterator[str]:
    """Yield the URL of a scoring server while it runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        str(model),
        "--env-manager",
        "local",
        "-p",
        port,
    ]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = monotonic() + 120
        while True:
            with contextlib.suppress(OSError), urlopen(f"{url}/ping", timeout=1):  # noqa: S310 - our own loopback
                break
            if process.poll() is not None or monotonic() > deadline:
                raise SystemExit("the scoring server did not start")
            sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def asked(url: str, num_rows: int, seed: int) -> bytes:
    """Return the body of the server's answer."""
    body = json.dumps({"inputs": [], "params": {"num_rows": num_rows, "seed": seed}}).encode()
    request = Request(f"{url}/invocations", body, {"Content-Type": "application/json"})  # noqa: S310
    with urlopen(request, timeout=300) as response:  # noqa: S310
        return response.read()


def encoding(path: Path) -> tuple[Times, Times]:
    """Return the times that ``MANY`` rows take within a server: to draw, and to write as JSON."""
    import io

    import pandas as pd
    from mlflow.pyfunc.scoring_server import predictions_to_json

    model = mlflow.pyfunc.load_model(str(path))
    rows: list[pd.DataFrame] = []
    os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
    drawn = timed(lambda: rows.append(model.predict(pd.DataFrame(), params={"num_rows": MANY, "seed": 0})))
    del os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"]
    return drawn, timed(lambda: predictions_to_json(rows[0], io.StringIO()))


def row(what: str, times: Times, n: int | str = "", note: str = "", *, passed: bool | None = None) -> common.Row:
    verdict = "" if passed is None else "pass" if passed else "**miss**"
    return {"what": what, "rows": n, "seconds": times[0], "cpu_seconds": times[1], "note": note, "target": verdict}


def over_http(path: Path) -> list[common.Row]:
    """Return the rows of a scoring server and its clients."""

    def wall(work: Callable[[], object]) -> Times:
        return timed(work)[0], ""

    bodies: dict[str, list[bytes]] = {}

    def clients(name: str, threads: int) -> None:
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            bodies[name] = list(pool.map(lambda seed: asked(url, 1_000, seed), range(8)))

    with server(path) as url:
        asked(url, 1_000, 0)  # the first request loads what the generator imports lazily
        whole = wall(lambda: bodies.update(whole=[asked(url, MANY, 0)]))
        in_turn = wall(lambda: clients("in turn", 1))
        at_once = wall(lambda: clients("at once", 8))
    same = bodies["in turn"] == bodies["at once"]
    return [
        row("over HTTP", whole, MANY, f"{len(bodies['whole'][0]) / 1e6:.0f} MB"),
        row("8 clients in turn", in_turn, 8_000),
        row("8 clients at once", at_once, 8_000, "the same bytes", passed=same),
    ]


def run(folder: Path, repeats: int) -> Iterator[common.Row]:
    """Yield the rows of the results."""
    import mlflow_flavor
    import synth_components as synth

    model = synth.fit(datasets.load("adult").train, seed=0)
    path = folder / "model"
    mlflow_flavor.save_model(model, path)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    store = (folder / "artifacts").as_uri()
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("benchmark", artifact_location=store))
    best = min(timed(lambda: mlflow_flavor.log_model(model, name="adult")) for _ in range(repeats))
    yield row("log_model, SQLite store, no inference", best, note="<= 3 s", passed=best[0] <= 3)
    for kind in ("native", "pyfunc"):
        best = min(fresh(FIRST, str(path), kind) for _ in range(repeats))
        yield row(f"{kind}: load and first rows, fresh process", best, 1_000, "<= 2 s", passed=best[0] <= 2)
    best = min(fresh(EVALUATOR) for _ in range(repeats))
    yield row("import of the evaluator beyond mlflow.models", best, note="<= .05 s", passed=best[0] <= 0.05)
    yield from over_http(path)
    drawn, encoded = encoding(path)
    share = encoded[0] / (encoded[0] + drawn[0])
    yield row("drawn by predict, as in the server", drawn, MANY)
    yield row("encoded by MLflow, as in the server", encoded, MANY, f"{share:.0%} of the two", passed=share > 0.5)
    batch = folder / "rows.parquet"
    taken = timed(lambda: mlflow_flavor.load_model(path).sample(MANY, seed=0).to_parquet(batch))
    yield row("the batch way: load_model, sample, Parquet", taken, MANY)


def main() -> None:
    """Measure and write the results, each as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}
    facts = common.machine()
    facts["versions"]["mlflow"] = mlflow.__version__
    RESULTS.with_suffix(".machine.json").write_text(json.dumps(facts | {"threads": facts["cores"]}, indent=1) + "\n")
    RESULTS.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for found in run(Path(folder), repeats):
            common.append_row(RESULTS, found)
            common.say(json.dumps(found))


if __name__ == "__main__":
    main()
