"""Spot interruption: SIGTERM, a checkpoint, and a resumed run that gives the same bytes (requirement 5)."""

import signal
import time

import pytest

from synth_components import checkpoint
from synth_components.__main__ import OK, main
from synth_components.model import Model
from synth_components.progress import watching
from synth_sagemaker.layout import ROOT

TERMINATED = 128 + signal.SIGTERM
NETWORK = {"generator": "tabular.autoregressive", "generator.epochs": "4", "generator.hidden": "8"}


class Interrupts:
    """An observer that is SageMaker taking a spot instance back at one report of progress."""

    def __init__(self, at):
        self.left = at

    def update(self, stage, done, total, metrics):
        self.left -= stage.startswith("train ")
        if self.left == 0:
            signal.raise_signal(signal.SIGTERM)

    def finish(self, stage):
        pass


@pytest.fixture
def run(monkeypatch):
    """A function that is `train` in the container, interrupted at a report of progress if one is named."""

    def train(root, *, interrupted_at=0):
        monkeypatch.setenv(ROOT, str(root))
        with watching([Interrupts(interrupted_at)]):
            return main(["sagemaker", "train"])

    return train


def model_bytes(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in (root / "model").rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("hyperparameters", [{"generator.n_trees": "2", "generator.correction_trees": "0"}, NETWORK])
def test_a_stopped_job_goes_on_to_the_bytes_of_one_that_was_not(opt_ml, run, hyperparameters):
    """Requirement 5: trees stop between columns and start anew, a network goes on from its checkpoint."""
    if hyperparameters is NETWORK:
        pytest.importorskip("torch", reason="the network is trained with torch")
    whole, stopped = opt_ml(hyperparameters, name="whole"), opt_ml(hyperparameters, name="stopped")
    assert run(whole) == OK
    began = time.monotonic()
    assert run(stopped, interrupted_at=2) == TERMINATED
    assert time.monotonic() - began < 55  # SageMaker allows 120 s; the test itself has 60
    assert not any((stopped / "model").iterdir())
    assert not (stopped / "output/failure").exists()
    assert (stopped / "checkpoints" / checkpoint.FILE).exists() == (hyperparameters is NETWORK)
    assert {entry.name for entry in stopped.iterdir()} == {"input", "model", "output", "checkpoints"}
    assert run(stopped) == OK
    assert model_bytes(stopped) == model_bytes(whole)
    first, second = (Model.load(root / "model").sample(40, seed=7) for root in (whole, stopped))
    assert first.equals(second)
    assert not any((stopped / "checkpoints").iterdir())


def test_checkpoints_go_where_sagemaker_says(opt_ml, run, tmp_path):
    pytest.importorskip("torch", reason="the network is trained with torch")
    (tmp_path / "kept").mkdir()
    root = opt_ml(NETWORK, config={"checkpointconfig": {"LocalPath": str(tmp_path / "kept")}})
    assert run(root, interrupted_at=2) == TERMINATED
    assert (tmp_path / "kept" / checkpoint.FILE).exists()


def test_a_job_that_seals_its_model_keeps_no_checkpoint_which_would_not_be_sealed(opt_ml, run, monkeypatch):
    """Issue 6: nothing in plain text is left after a job when encryption is on."""
    pytest.importorskip("torch", reason="the network is trained with torch")
    for name, value in {
        "SYNTH_ENCRYPT": "models",
        "SYNTH_ENCRYPT_KEY": "env:MODELS",
        "MODELS": bytes(range(171, 203)).hex(),
    }.items():
        monkeypatch.setenv(name, value)
    root = opt_ml(NETWORK)
    assert run(root, interrupted_at=2) == TERMINATED
    assert not any((root / "checkpoints").iterdir())
    assert {entry.name for entry in root.iterdir()} == {"input", "model", "output", "checkpoints"}


def test_the_checkpoint_of_another_job_is_refused(opt_ml, run):
    pytest.importorskip("torch", reason="the network is trained with torch")
    first = opt_ml(NETWORK, name="first")
    run(first, interrupted_at=2)
    second = opt_ml({**NETWORK, "seed": "5"}, name="second")
    (first / "checkpoints" / checkpoint.FILE).rename(second / "checkpoints" / checkpoint.FILE)
    assert run(second) == 2
    assert "is of another fit" in (second / "output/failure").read_text()


def test_a_job_whose_seed_is_drawn_keeps_no_checkpoint(opt_ml, run):
    """It could not be resumed to the same bytes, so it starts anew."""
    assert run(opt_ml({"generator": "tabular.independent", "seed": "-1"})) == OK
