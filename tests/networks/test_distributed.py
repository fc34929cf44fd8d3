"""Real processes under torchrun, connected by gloo, make one model; rank 0 writes it."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from synth_components import distributed
from synth_components.errors import SynthError
from synth_components.model import Model
from synth_components.peers import Peers, peers

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
TRAIN = ("train", "--data", "t.csv", "--model", "model", "--generator", "tabular.autoregressive")
SMALL = ("--generator.epochs", "2", "--generator.hidden", "8", "--generator.batch_rows", "50")

DIGEST = """
import hashlib, os
import numpy as np
from synth_components.distributed import connected, peers_of
from synth_components.generators.tabular.autoregressive import Autoregressive
from synth_components.generators.tabular.transformer import Transformer
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Run
from synth_components.toy import toy_table
others, local = peers_of(os.environ)
with connected(others, on_cuda=False, local_rank=local):
    run = Run(rank=others.rank, world_size=others.world_size)
    digest = hashlib.sha256()
    for recipe in (
        Autoregressive(hidden=8, epochs=2, batch_rows=50),
        Transformer(hidden=8, heads=2, depth=1, epochs=2, batch_rows=50, cells=4, order_by="joined", order=2),
    ):
        made = recipe.fit(toy_table(0), rng=np.random.default_rng(others.rank), ledger=Ledger(), run=run)
        digest.update(b"".join(held.tobytes() for held in made.weights.values()))
    with open(f"digest.{others.rank}", "w") as file:
        file.write(digest.hexdigest())
"""


def torchrun(*words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*TORCHRUN, *words], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a table."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pd.DataFrame({"x": rng.normal(size=300).round(3), "y": rng.choice(["a", "b"], 300)}).to_csv("t.csv", index=False)
    return tmp_path


@pytest.mark.timeout(240)
def test_two_processes_train_one_model_and_rank_0_writes_it(folder):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    done = torchrun("-m", "synth_components.distributed", *TRAIN, *SMALL)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["model", "model.run.json", "t.csv"]
    assert done.stderr.count("trained tabular.autoregressive") == 1
    assert len(Model.load(folder / "model").sample(20, seed=0)) == 20
    assert json.loads((folder / "model.run.json").read_text())["config"]["generator"] == "tabular.autoregressive"


@pytest.mark.timeout(240)
def test_every_process_has_the_same_weights_although_their_streams_differ(folder):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    (folder / "fit.py").write_text(DIGEST)
    done = torchrun("fit.py")
    assert done.returncode == 0, done.stderr
    assert (folder / "digest.0").read_text() == (folder / "digest.1").read_text()


def test_only_train_is_run_by_several_processes(capsys):
    assert distributed.main(["sample"]) == 2
    assert "only `train`" in capsys.readouterr().err


def test_without_torchrun_it_says_how_to_start_it(capsys, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert distributed.main(["train"]) == 2
    assert "torchrun --nproc-per-node 2" in capsys.readouterr().err


def test_torchruns_variables_are_read():
    held = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    assert distributed.peers_of(held) == (Peers(rank=3, world_size=4), 1)
    for wrong in ({"RANK": "4"}, {"RANK": "x"}):
        with pytest.raises(SynthError, match="RANK"):
            distributed.peers_of({**held, **wrong})


def test_a_process_by_itself_is_the_only_one():
    assert peers() == Peers(rank=0, world_size=1)
