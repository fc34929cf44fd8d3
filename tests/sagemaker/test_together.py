"""Hosts that train one model together: torchrun on each, real processes of this machine (requirement 6)."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from synth_components import checkpoint
from synth_components.errors import UnsupportedError
from synth_components.generators import names, recipe_type
from synth_components.model import Model
from synth_components.steps.train import TrainConfig
from synth_sagemaker.algorithm import algorithm
from synth_sagemaker.layout import ROOT, Cluster
from synth_sagemaker.together import command, is_shared, run_torchrun, variables

LEADER, OTHER = "127.0.0.1", "127.0.0.2"
HOSTS = (OTHER, LEADER)
NETWORK = {"generator": "tabular.autoregressive", "generator.epochs": "2", "generator.hidden": "8"}
TOGETHER = Cluster((LEADER, OTHER), OTHER, "lo")


@pytest.fixture
def job(opt_ml):
    """A function that starts a job on two hosts, and returns the folder and the process of each by name."""
    running = []

    def start(hyperparameters, *, spoilt=False, name=""):
        made = {}
        for host in HOSTS:
            root = opt_ml(hyperparameters, host=host, hosts=HOSTS, name=f"{name}{host}")
            said = root / "input/config/resourceconfig.json"
            said.write_text(json.dumps({**json.loads(said.read_text()), "network_interface_name": "lo"}))
            if spoilt:
                (root / "input/data/train/real.csv").write_text("a,a\n1,2\n")
            made[host] = root, run(root)
        return made

    def run(root):
        process = subprocess.Popen(
            [sys.executable, "-m", "synth_components", "sagemaker", "train"],
            env={**os.environ, ROOT: str(root), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        return process

    start.run = run
    yield start
    for process in running:
        process.kill()
        process.communicate()


def progress(log):
    """Return the shares of the fit that the metric lines of a log tell of."""
    return [float(share) for share in re.findall(r"^train:progress=(\S+)", log, re.MULTILINE)]


def model_bytes(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in (root / "model").rglob("*") if path.is_file()
    }


def stop_under_way(made):
    """Send SIGTERM to every host once the leader tells that it is under way; return what it told until then."""
    told = ""
    for line in made[LEADER][1].stdout:
        told += line
        if line.startswith("train:progress"):
            break
    for _, process in made.values():
        process.send_signal(signal.SIGTERM)
    return told


def ended(made):
    """Return the status and the log of each host, by name."""
    logs = {host: process.communicate(timeout=300)[0] for host, (_, process) in made.items()}
    return {host: process.returncode for host, (_, process) in made.items()}, logs


@pytest.mark.timeout(240)
def test_two_hosts_train_one_model_and_the_leader_writes_it(job):
    """Requirement 6."""
    pytest.importorskip("torch", reason="the network is trained with torch")
    made = job({**NETWORK, "generator.batch_rows": "50"})
    status, logs = ended(made)
    assert status == {LEADER: 0, OTHER: 0}, logs
    leader, other = made[LEADER][0], made[OTHER][0]
    assert Model.load(leader / "model").manifest.rows == 240
    assert (leader / "output/data/run.json").exists()
    assert not any((other / "model").iterdir())
    assert not any((other / "output/data").iterdir())
    assert "train:progress=1" in logs[LEADER]
    assert "train:progress" not in logs[OTHER]
    left = {entry.name for root in (leader, other) for entry in root.iterdir()}
    assert left == {"input", "model", "output", "checkpoints"}


@pytest.mark.timeout(240)
def test_what_is_wrong_with_the_rows_stands_in_the_leaders_failure_file(job):
    """Requirements 4 and 6: through torchrun, too."""
    pytest.importorskip("torch", reason="the network is trained with torch")
    made = job(NETWORK, spoilt=True)
    status, logs = ended(made)
    assert status[LEADER] == 2, logs
    assert status[OTHER] != 0
    assert (made[LEADER][0] / "output/failure").read_text().startswith("UserError: ")


@pytest.mark.timeout(240)
def test_sigterm_reaches_the_processes_and_the_leader_keeps_their_state(job):
    """Requirements 5 and 6: SageMaker tells every host."""
    pytest.importorskip("torch", reason="the network is trained with torch")
    made = job({**NETWORK, "generator.epochs": "5000", "generator.batch_rows": "20"})
    told = stop_under_way(made)
    began = time.monotonic()
    status, logs = ended(made)
    assert status == {LEADER: 143, OTHER: 143}, (told, logs)
    assert time.monotonic() - began < 120
    assert (made[LEADER][0] / "checkpoints" / checkpoint.FILE).exists()
    assert not any((made[LEADER][0] / "model").iterdir())


@pytest.mark.timeout(600)  # six processes of torch, three times, on cores that others use too
@pytest.mark.slow  # two minutes; `.ci/run docker` holds the same of containers
def test_two_hosts_that_were_stopped_go_on_to_the_bytes_of_two_that_were_not(job):
    """Requirements 5 and 6: the leader's checkpoint is every process's, though the other host keeps none."""
    pytest.importorskip("torch", reason="the network is trained with torch")
    said = {**NETWORK, "generator.epochs": "20", "generator.hidden": "64", "generator.batch_rows": "20"}
    stopped = job(said, name="stopped-")
    told = stop_under_way(stopped)
    status, logs = ended(stopped)
    assert status == {LEADER: 143, OTHER: 143}, (told, logs)
    reached = progress(told + logs[LEADER])[-1]
    assert 0 < reached < 1
    checkpoints = {host: (root / "checkpoints" / checkpoint.FILE).exists() for host, (root, _) in stopped.items()}
    assert checkpoints == {LEADER: True, OTHER: False}
    assert not model_bytes(stopped[LEADER][0])

    again = {host: (root, job.run(root)) for host, (root, _) in stopped.items()}
    status, logs = ended(again)
    assert status == {LEADER: 0, OTHER: 0}, logs
    assert progress(logs[LEADER])[0] >= reached  # it went on, and did not begin anew
    whole = job(said, name="whole-")
    status, logs = ended(whole)
    assert status == {LEADER: 0, OTHER: 0}, logs
    leader = again[LEADER][0]
    assert model_bytes(leader) == model_bytes(whole[LEADER][0])
    assert "manifest.json" in {path.name for path in (leader / "model").iterdir()}
    assert not any((leader / "checkpoints").iterdir())


def test_torchrun_meets_at_port_7777_of_the_first_host():
    """Requirement 6."""
    words = command(TrainConfig(), TOGETHER, Path("work", "status"))
    said = dict(pairwise(words))
    wanted = {"--nnodes": "2", "--node-rank": "1", "--master-addr": LEADER, "--master-port": "7777"}
    assert wanted.items() <= said.items()
    assert said["--nproc-per-node"] == "1"
    assert said["--log-dir"] == "work"
    assert "gpu" in command(TrainConfig(device="cuda"), TOGETHER, Path("status"))


def test_the_interface_is_named_only_if_the_host_has_it():
    """Requirement 6: SageMaker writes eth0 on hosts that have none."""
    assert variables(TOGETHER) == {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    assert variables(Cluster(HOSTS, OTHER, "eth-of-nobody")) == {}


@pytest.mark.parametrize("generator", names())
def test_the_specification_says_which_generators_are_trained_so(generator):
    """Requirements 3 and 6: trees and the like train on the leader."""
    shared = algorithm(generator)["TrainingSpecification"]["SupportsDistributedTraining"]
    assert shared == is_shared(TrainConfig(generator=generator), TOGETHER)
    assert shared == recipe_type(generator).trains_together
    assert not is_shared(TrainConfig(generator=generator), Cluster((LEADER,), LEADER))


def test_without_torch_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'synth-components\[torch\]'"):
        run_torchrun(TrainConfig(generator="tabular.autoregressive"), TOGETHER, tmp_path)
