"""The peers: other libraries behind one ``fit``, each at its own defaults, run by ``generate.py`` in their environment.

    benchmarks/peers.sh                       makes that environment
    benchmarks/flagship.py --generators peer.ctgan ...

Every peer is told which columns are categorical, as in the published protocol (ours is not). CTGAN and TVAE train for
300 epochs unless the option ``epochs`` says otherwise; where the time cap passes first, training stops there and the
row says "stopped at epoch N of 300 (cap)": its scores are those of a shorter training, its time is a lower bound.
TabularARGN's own time limit is set to the cap. ARF has no such limit: if its process has to be stopped, its cell is
"cap reached", and nothing is scored. The cap counts seconds of the clock that the request names: the wall's, or the
processor's, which beside other work is the fair one.
"""

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

Request = dict[str, Any]
EPOCHS = 300


class Fitted:
    """A fitted peer: draws rows and says what happened."""

    def __init__(self, draw: Callable[[int], pd.DataFrame], libraries: Sequence[str], note: str = "") -> None:
        """Keep how to draw, the libraries whose versions are recorded, and a note for the row."""
        self._draw = draw
        self.libraries = tuple(libraries)
        self.note = note

    def __call__(self, n: int) -> pd.DataFrame:
        """Return ``n`` rows."""
        return self._draw(n)


Fit = Callable[[pd.DataFrame, Request], Fitted]


@dataclass(frozen=True)
class Peer:
    """How one peer is made ready, and what it is."""

    prepare: Callable[[], Fit]
    library: str
    licence: str
    deep: bool


def clock(request: Request) -> Callable[[], float]:
    """Return the clock that the cap counts by."""
    return process_time if request["clock"] == "processor" else perf_counter


class Limited:
    """Stands in for ``tqdm`` in ctgan's training loop: an iterator over epochs that ends at a deadline."""

    def __init__(self, now: Callable[[], float], cap: float) -> None:
        """Take a clock, and the seconds from now on after which no epoch starts."""
        self._now = now
        self._deadline = now() + cap
        self.done = 0

    def __call__(self, epochs: Sequence[int], **_: object) -> Iterator[int]:
        """Yield epochs until the deadline."""
        for epoch in epochs:
            if self._now() > self._deadline:
                return
            yield epoch
            self.done += 1


def ctgan(name: str) -> Callable[[], Fit]:
    """Return CTGAN or TVAE of the reference library."""

    def prepare() -> Fit:
        import ctgan.synthesizers.ctgan
        import ctgan.synthesizers.tvae
        import torch

        module = {"CTGAN": ctgan.synthesizers.ctgan, "TVAE": ctgan.synthesizers.tvae}[name]

        def fit(train: pd.DataFrame, request: Request) -> Fitted:
            _seed(request["seed"])
            torch.manual_seed(request["seed"])
            epochs = int(request["options"].get("epochs", EPOCHS))
            limited = Limited(clock(request), request["cap"])
            module.tqdm = limited
            model = getattr(module, name)(epochs=epochs)
            model.set_random_state(request["seed"])
            model.fit(train, discrete_columns=request["categorical"])
            note = "" if limited.done == epochs else f"stopped at epoch {limited.done} of {epochs} (cap)"
            if epochs != EPOCHS:
                note = f"{limited.done} epochs (default {EPOCHS})"
            return Fitted(model.sample, ["ctgan", "torch"], note)

        return fit

    return prepare


def argn() -> Fit:
    """Return TabularARGN of MOSTLY AI, at its defaults."""
    from mostlyai.engine import TabularARGN
    from mostlyai.engine._tabular import training

    def fit(train: pd.DataFrame, request: Request) -> Fitted:
        _seed(request["seed"])
        now = clock(request)
        # All that its training asks of the module is the time, by which it also ends.
        training.time = SimpleNamespace(time=now)
        start, minutes = now(), request["cap"] / 60
        typed = train.astype({c: str for c in request["categorical"]})
        folder = tempfile.mkdtemp(prefix="argn-")
        model = TabularARGN(max_training_time=minutes, random_state=request["seed"], workspace_dir=folder, device="cpu")
        model.fit(typed)
        late = now() - start > 60 * minutes
        note = "training stopped at the cap" if late else ""
        return Fitted(lambda n: model.sample(n_samples=n), ["mostlyai-engine", "torch"], note)

    return fit


def arf() -> Fit:
    """Return adversarial random forests, at the defaults of arfpy; the name that numpy 2.4 dropped is given back."""
    vars(np)["in1d"] = np.isin
    from arfpy import arf as library

    def fit(train: pd.DataFrame, request: Request) -> Fitted:
        _seed(request["seed"])
        typed = train.astype({c: str for c in request["categorical"]})
        model = library.arf(x=typed, verbose=False, random_state=request["seed"], n_jobs=-1)
        model.forde()
        return Fitted(lambda n: model.forge(n=n), ["arfpy"])

    return fit


def gaussian_copula() -> Fit:
    """Return SDV's Gaussian copula, at its defaults."""
    from sdv.metadata import Metadata
    from sdv.single_table import GaussianCopulaSynthesizer

    def fit(train: pd.DataFrame, request: Request) -> Fitted:
        _seed(request["seed"])
        kinds = {c: "categorical" if c in request["categorical"] else "numerical" for c in train}
        tables = {"table": {"columns": {c: {"sdtype": kind} for c, kind in kinds.items()}}}
        metadata = Metadata.load_from_dict({"tables": tables, "relationships": []})
        model = GaussianCopulaSynthesizer(metadata)
        model.fit({"table": train})

        def draw(n: int) -> pd.DataFrame:
            rows: pd.DataFrame = model.sample(num_rows=n)["table"]
            return rows

        return Fitted(draw, ["sdv", "copulas"])

    return fit


def _seed(seed: int) -> None:
    """Seed the global generators: the peers read them, and they run alone in their process."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002


PEERS = {
    "ctgan": Peer(ctgan("CTGAN"), "ctgan", "BUSL-1.1", deep=True),
    "tvae": Peer(ctgan("TVAE"), "ctgan", "BUSL-1.1", deep=True),
    "argn": Peer(argn, "mostlyai-engine", "Apache-2.0", deep=True),
    "arf": Peer(arf, "arfpy", "MIT", deep=False),
    "gaussian_copula": Peer(gaussian_copula, "sdv", "BUSL-1.1", deep=False),
}
