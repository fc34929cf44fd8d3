"""Fit one generator on one table and write rows and timings: the worker that every cell of ``flagship.py`` starts.

    python -P generate.py GENERATOR folder

``folder`` holds ``train.parquet`` and ``request.json`` (n, seed, categorical, target, task, cap, options); it receives
``sample.parquet`` and ``report.json``. Ours and the controls run in our environment, the peers (``peers.py``) in
theirs. A generator is a function ``fit(train, request) -> draw`` with ``draw(n) -> DataFrame``; fit and draw are timed
apart, imports before either.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import pandas as pd

sys.path.append(
    str(Path(__file__).resolve().parent)
)  # appended: `datasets` here must not hide the library of that name

Request = dict[str, Any]
Draw = Callable[[int], pd.DataFrame]
Prepare = Callable[[], Callable[[pd.DataFrame, Request], Draw]]


def ours(name: str) -> Prepare:
    """Return the public way to one of our generators; the table goes in as it is read, without declared types."""

    def prepare() -> Callable[[pd.DataFrame, Request], Draw]:
        import synth_components as synth
        from synth_components.generators import module_of

        module_of(name)  # imported before the clock starts, as the peers are, and so is what a fit asks for
        importlib.import_module("synth_components.fitting")
        importlib.import_module("synth_components.profile")

        def fit(train: pd.DataFrame, request: Request) -> Draw:
            model = synth.fit(train, generator=name, seed=request["seed"], options=request["options"] or None)
            return Saved(model, request["seed"])

        return fit

    return prepare


class Saved:
    """A fitted model of ours: draws rows, and tells what it weighs."""

    def __init__(self, model: Any, seed: int) -> None:
        """Take the model, and the seed of what is drawn."""
        self._model, self._seed = model, seed

    def __call__(self, n: int) -> pd.DataFrame:
        """Return ``n`` rows."""
        rows: pd.DataFrame = self._model.sample(n, seed=self._seed)
        return rows

    def kib(self) -> float:
        """Return the size of the saved model, in KiB."""
        with tempfile.TemporaryDirectory() as folder:
            self._model.save(Path(folder) / "model")
            return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1024


def sketch(path: str) -> Prepare:
    """Return the generator of a file outside the repository: ``fit(train, seed=...).sample(n, seed)``."""

    def prepare() -> Callable[[pd.DataFrame, Request], Draw]:
        spec = importlib.util.spec_from_file_location("sketch", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)

        def fit(train: pd.DataFrame, request: Request) -> Draw:
            model = module.fit(train, seed=request["seed"])
            return lambda n: model.sample(n, request["seed"])

        return fit

    return prepare


def control(name: str) -> Prepare:
    """Return a control: ``bootstrap`` repeats training rows, ``shuffled`` keeps the margins and nothing else."""

    def prepare() -> Callable[[pd.DataFrame, Request], Draw]:
        import protocol

        def fit(train: pd.DataFrame, request: Request) -> Draw:
            if name == "bootstrap":
                return lambda n: protocol.bootstrap(train, n, request["seed"])
            return lambda n: protocol.bootstrap(protocol.shuffled(train, request["seed"]), n, request["seed"])

        return fit

    return prepare


def prepared(generator: str) -> Callable[[pd.DataFrame, Request], Draw]:
    """Import what a generator needs and return its ``fit``."""
    kind, _, rest = generator.partition(".")
    if generator.endswith(".py"):
        return sketch(generator)()
    if kind == "control":
        return control(rest)()
    if kind == "peer":
        import peers

        return peers.PEERS[rest].prepare()
    return ours(generator)()


def main(generator: str, folder: Path) -> None:
    """Read the request, fit, draw, write."""
    import common

    request: Request = json.loads((folder / "request.json").read_text())
    train = pd.read_parquet(folder / "train.parquet")
    fit = prepared(generator)
    start, began = perf_counter(), process_time()
    draw = fit(train, request)
    fitted = perf_counter()
    rows = draw(request["n"])
    drawn, ended = perf_counter(), process_time()
    rows.to_parquet(folder / "sample.parquet", index=False)
    report = {
        "fit_seconds": fitted - start,
        "sample_seconds": drawn - fitted,
        "work_seconds": ended - began,
        "peak_mib": common.high_water(),
        "note": getattr(draw, "note", ""),
        "versions": {name: _version(name) for name in getattr(draw, "libraries", ())},
    }
    if isinstance(draw, Saved):
        report["model_kib"] = draw.kib()
    (folder / "report.json").write_text(json.dumps(report))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "?"


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
