"""Processes that a step or a run on this machine begins end with it, and hear of it first."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from synth_components import stopping
from synth_components.__main__ import _terminated_cleanly
from synth_kubeflow.distributed import _here
from synth_kubeflow.local import Machine

KEEPS = """#!/bin/sh
trap 'echo state > kept; echo said last; exit 143' TERM
touch ready
n=0; while [ $n -lt 200 ]; do sleep 0.05; n=$((n + 1)); done
"""
"""A process that keeps its state when it is told to end, and comes to an end within a minute if nobody tells it."""


@pytest.fixture(params=["a task of run-local", "torchrun of the step"])
def begin(request, tmp_path, monkeypatch):
    """A function that runs a process which keeps its state, as one of the two does."""
    script = tmp_path / "script"
    script.write_text(KEEPS)
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    if request.param.startswith("torchrun"):
        monkeypatch.setattr(sys, "executable", str(script))
        return lambda: _here(2, tmp_path / "options.json")
    return lambda: Machine(tmp_path).run("image", [str(script)], {})


@pytest.fixture
def began(monkeypatch):
    """The processes that were begun."""
    made = []

    class Seen(subprocess.Popen):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            made.append(self)

    monkeypatch.setattr(subprocess, "Popen", Seen)
    yield made
    for one in made:
        one.kill()
        one.wait()
        one.stdout.close()


def test_sigterm_reaches_the_process_which_keeps_its_state(begin, began, tmp_path, capsys):
    is_over = threading.Event()

    def tell():
        while not (tmp_path / "ready").exists() and not is_over.wait(0.01):
            pass
        if not is_over.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    with _terminated_cleanly():
        thread = threading.Thread(target=tell)
        thread.start()
        try:
            with pytest.raises(SystemExit) as left:
                begin()
        finally:
            is_over.set()
            thread.join()
    assert left.value.code == 143
    assert (tmp_path / "kept").exists()
    assert [one.returncode for one in began] == [143]
    assert "said last" in capsys.readouterr().err


def test_the_process_ends_although_nobody_knew_it_yet(begin, began, monkeypatch):
    """The signal comes while the process is begun, and not yet in the hands of who asked for it."""

    class Interrupted(subprocess.Popen):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with _terminated_cleanly(), pytest.raises(SystemExit):
        begin()
    assert [one.returncode for one in began] in ([143], [-signal.SIGTERM])


def test_a_process_that_does_not_hear_is_killed(tmp_path):
    deaf = ["sh", "-c", "trap '' TERM; echo ready; exec sleep 60"]
    with subprocess.Popen(deaf, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        stopping.end(process, 0.1)
        process.wait()
    assert process.returncode == -signal.SIGKILL
