"""Ctrl-C and SIGTERM stop a fit as `run.should_stop` does, and `--checkpoint` says where its state is kept."""

import importlib
import signal
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest

from synth_components import stopping
from synth_components.__main__ import main
from synth_components.circumstances import Circumstances, within
from synth_components.config import ConfigError
from synth_components.errors import StoppedError
from synth_components.peers import Peers, among
from synth_components.progress import watching
from synth_components.steps.record import perform
from synth_components.steps.train import TrainConfig, train
from synth_components.stopping import interrupted_at

TRAIN = ("train", "--data", "t.csv", "--model", "model", "--generator", "tabular.trees")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory with a table."""
    monkeypatch.delenv("SYNTH_CHECKPOINT", raising=False)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pd.DataFrame({"x": rng.normal(size=300).round(3), "y": rng.choice(["a", "b"], 300)}).to_csv("t.csv", index=False)
    return tmp_path


class Sends:
    """An observer that sends this process a signal at the first report of progress."""

    def __init__(self, number):
        self.number = number

    def update(self, stage, done, total, metrics):
        if self.number:
            number, self.number = self.number, 0
            signal.raise_signal(number)

    def finish(self, stage):
        pass


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_fit_with_a_line_and_leaves_nothing(folder, capsys, number, status):
    with watching([Sends(number)]):
        assert main(TRAIN) == status
    assert capsys.readouterr().err == "synth train: fit stopped as asked; nothing was saved\n"
    assert sorted(path.name for path in folder.iterdir()) == ["t.csv"]


def test_the_error_of_a_stopped_fit_tells_the_signal(folder):
    with pytest.raises(StoppedError) as caught, watching([Sends(signal.SIGTERM)]):
        perform(train, TrainConfig(generator="tabular.trees"), {"data": folder / "t.csv", "model": folder / "model"})
    assert caught.value.signal == signal.SIGTERM


def test_a_signal_that_comes_after_the_fit_is_heard_after_the_model_is_saved(folder):
    class AtTheEnd(Sends):
        def update(self, stage, done, total, metrics):
            if done == total:
                super().update(stage, done, total, metrics)

    with pytest.raises(KeyboardInterrupt), watching([AtTheEnd(signal.SIGINT)]):
        perform(train, TrainConfig(generator="tabular.trees"), {"data": folder / "t.csv", "model": folder / "model"})
    assert (folder / "model" / "manifest.json").exists()


def test_a_second_signal_interrupts_at_once():
    with stopping.stopped_by_signals() as should_stop:
        signal.raise_signal(signal.SIGINT)
        assert should_stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_fit_that_does_not_ask_is_interrupted_within_seconds(monkeypatch):
    monkeypatch.setattr(stopping, "GRACE", 0.05)
    with stopping.stopped_by_signals():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            time.sleep(20)


def test_handlers_and_an_ignored_signal_are_left_as_they_were(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping.stopped_by_signals() as should_stop:
            signal.raise_signal(signal.SIGINT)
            assert not should_stop()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", stopping.SIGNALS)
@pytest.mark.parametrize("early", [True, False])
def test_signals_that_are_held_come_when_they_are_let_through_and_at_the_end_at_the_latest(number, early):
    came = []
    before = [signal.signal(one, lambda number, _: came.append(number)) for one in stopping.SIGNALS]
    handlers = [signal.getsignal(one) for one in stopping.SIGNALS]
    try:
        with stopping.signals_held() as let_through:
            signal.raise_signal(number)
            assert came == []
            if early:
                let_through()
                assert came == [number]
                assert [signal.getsignal(one) for one in stopping.SIGNALS] == handlers
        assert came == [number]
        assert [signal.getsignal(one) for one in stopping.SIGNALS] == handlers
    finally:
        for one, handler in zip(stopping.SIGNALS, before, strict=True):
            signal.signal(one, handler)


def test_a_held_signal_whose_handler_raises_leaves_every_handler_as_it_was():
    before = [signal.getsignal(one) for one in stopping.SIGNALS]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), stopping.signals_held():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) == before[1]
    finally:
        signal.signal(signal.SIGINT, before[0])


def test_outside_the_main_thread_no_signal_is_held():
    def held():
        before = signal.getsignal(signal.SIGTERM)
        with stopping.signals_held() as let_through:
            found.append(signal.getsignal(signal.SIGTERM) is before)
            let_through()

    found = []
    thread = threading.Thread(target=held)
    thread.start()
    thread.join()
    assert found == [True]


def test_outside_the_main_thread_nobody_asks():
    said = []

    def work():
        with stopping.stopped_by_signals() as should_stop:
            said.append(should_stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said == [False]


@pytest.mark.parametrize(
    ("config", "checkpoint", "rule"),
    [
        (TrainConfig(seed=-1), "state", "needs a seed"),
        (TrainConfig(privacy="dp"), "state", "privacy=none"),
        (TrainConfig(), "t.csv", "is a file"),
        (TrainConfig(), "model/state", "within the model's folder"),
    ],
)
def test_a_checkpoint_that_could_not_be_resumed_is_refused_before_work(folder, config, checkpoint, rule):
    with pytest.raises(ConfigError, match=rule) as caught, within(Circumstances(checkpoint=checkpoint)):
        train(config, data=folder / "t.csv", model=folder / "model")
    assert caught.value.option == "checkpoint"


def test_a_saved_model_leaves_no_state_behind(folder):
    assert main([*TRAIN, "--generator.correction_trees", "0", "--checkpoint", "state", "--quiet"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["model", "model.run.json", "t.csv"]


def test_only_the_first_of_several_processes_saves_the_model(folder):
    with among(Peers(rank=1, world_size=2)):
        train(TrainConfig(generator="tabular.independent"), data=folder / "t.csv", model=folder / "model")
    assert not (folder / "model").exists()


def test_an_interruption_passes_whatever_the_work_catches_and_hits_nothing_after_it():
    def stubborn():
        while True:
            try:
                sum(range(1_000))
            except Exception:  # noqa: BLE001 - what a library may do
                continue

    began = time.monotonic()
    with pytest.raises(StoppedError, match="its time was over"):
        interrupted_at(began + 0.3, stubborn)
    assert time.monotonic() - began < 20.0  # however busy the machine
    assert interrupted_at(time.monotonic() + 600, lambda: "done") == "done"
    for watcher in [thread for thread in threading.enumerate() if thread.name == "synth-deadline"]:
        watcher.join(20)
        assert not watcher.is_alive()  # nobody is left who would interrupt
    with pytest.raises(StoppedError):
        interrupted_at(time.monotonic() - 1.0, stubborn)


def test_an_import_is_not_interrupted_half_way(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for number, seconds in enumerate((0.2, 5.0, 60.0)):  # on a busy machine time may be over before the import begins
        name = f"imported_slowly_{number}"
        ends = time.monotonic() + seconds
        waits = f"import time\nwhile time.monotonic() < {ends + 0.5}: pass\nis_whole = True\n"
        (tmp_path / f"{name}.py").write_text(waits, encoding="utf-8")

        def work(name=name):
            importlib.import_module(name)
            while True:
                sum(range(1_000))

        with pytest.raises(StoppedError):
            interrupted_at(ends, work)
        if name in sys.modules:
            break
    assert sys.modules.pop(name).is_whole


def test_what_leaves_a_block_is_not_interrupted_half_way():
    class Block:
        is_left = False

        def __enter__(self):
            return self

        def __exit__(self, *_):
            while time.monotonic() < ends + 0.5:
                pass
            self.is_left = True

    for seconds in (0.2, 5.0, 60.0):
        block, ends = Block(), time.monotonic() + seconds
        entered = []

        def work(block=block, entered=entered):
            with block:
                entered.append(time.monotonic())
            while True:
                sum(range(1_000))

        with pytest.raises(StoppedError):
            interrupted_at(ends, work)
        if entered and entered[0] < ends:
            break
    assert block.is_left


def test_work_within_a_block_or_an_import_of_the_caller_is_interrupted():
    class Caller:
        def __enter__(self):
            interrupted_at(time.monotonic() + 0.2, forever)

        def __exit__(self, *_):
            pass

    def forever():
        while True:
            sum(range(1_000))

    with pytest.raises(StoppedError), Caller():
        pass
