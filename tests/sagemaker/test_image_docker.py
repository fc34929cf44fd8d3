"""Training jobs and an endpoint in the image, as SageMaker starts them, without network but between hosts."""

import os
import re
import subprocess
import time
import uuid

import pytest
from served import small_model

from synth_components import checkpoint
from synth_components.circumstances import Circumstances, within
from synth_components.io.artifact import SEALED
from synth_components.io.json_lines import records
from synth_components.model import Model

pytestmark = pytest.mark.docker

INDEPENDENT = {"generator": "tabular.independent"}
SLOW = "0.3"
"""Processors of a container that is to be stopped: so few that the fit outlasts the answers of a busy daemon."""

HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def docker(*words, check=True):
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def container(docker_image):
    """A function that starts a container on a /opt/ml and returns its name; requirement 20: all are removed."""
    names = []

    def start(root, *, network="none", host="algo-1", words=("train",), weight="", cpus="", variables=()):
        image = docker_image(f"{weight}-sagemaker")
        name = f"synth-test-{uuid.uuid4().hex[:12]}"
        names.append(name)
        mount = ("--volume", f"{root}:/opt/ml", "--user", f"{os.getuid()}:{os.getgid()}")
        where = ("--network", network, *(() if network == "none" else ("--network-alias", host)))
        share = (*(("--cpus", cpus) if cpus else ()), *(word for one in variables for word in ("--env", one)))
        docker("run", "--detach", "--name", name, *HARDENED, *share, *mount, *where, image, *words)
        return name

    yield start
    for name in names:
        docker("rm", "--force", "--volumes", name, check=False)
    assert not set(names) & set(docker("ps", "--all", "--format", "{{.Names}}").split())


@pytest.fixture
def network():
    """A network without a way out, which is gone at the end (requirement 20)."""
    name = f"synth-test-{uuid.uuid4().hex[:12]}"
    docker("network", "create", "--internal", name)
    yield name
    docker("network", "rm", name)
    assert name not in docker("network", "ls", "--format", "{{.Name}}").split()


def status_of(name):
    return int(docker("wait", name))


def log_of(name):
    done = subprocess.run(["docker", "logs", name], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def progress(log):
    """Return the shares of the fit that the metric lines of a log tell of."""
    return [float(share) for share in re.findall(r"^train:progress=(\S+)", log, re.MULTILINE)]


def model_bytes(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in (root / "model").rglob("*") if path.is_file()
    }


def test_the_image_is_a_training_job_without_network_and_with_a_read_only_root(opt_ml, container):
    """Requirements 2 and 7: no word at all, as SageMaker's local mode starts it, is `train`."""
    root = opt_ml(INDEPENDENT)
    name = container(root, words=())
    assert status_of(name) == 0, log_of(name)
    assert Model.load(root / "model").manifest.rows == 240


def test_the_image_seals_a_model_in_memory_and_leaves_nothing_else(opt_ml, container, monkeypatch):
    """Issue 6: nothing in plain text is left after a job when encryption is on."""
    root = opt_ml(INDEPENDENT)
    variables = ("SYNTH_ENCRYPT=models", "SYNTH_ENCRYPT_KEY=env:MODELS", f"MODELS={bytes(range(171, 203)).hex()}")
    name = container(root, variables=variables)
    assert status_of(name) == 0, log_of(name)
    assert [path.name for path in (root / "model").iterdir()] == [SEALED]
    assert {entry.name for entry in root.iterdir()} == {"input", "model", "output", "checkpoints"}
    monkeypatch.setenv("MODELS", bytes(range(171, 203)).hex())
    with within(Circumstances(encrypt_key="env:MODELS")):
        assert Model.load(root / "model").manifest.rows == 240


def test_why_it_failed_stands_where_sagemaker_looks(opt_ml, container):
    """Requirement 4."""
    root = opt_ml({"epohcs": "2"})
    name = container(root)
    assert status_of(name) == 2, log_of(name)
    assert (root / "output/failure").read_text().startswith("UserError: there is no hyperparameter 'epohcs'")


def test_sigterm_reaches_the_fit_and_the_job_runs_again_to_the_same_bytes(opt_ml, container):
    """Requirement 5: no shell stands between SageMaker and the process; 120 s is what a spot instance has."""
    said = {"generator.n_trees": "64", "generator.correction_rounds": "10"}
    root, whole = opt_ml(said), opt_ml(said, name="whole")
    for folder in (root, whole):
        rows = folder / "input/data/train/real.csv"
        header, *lines = rows.read_text().splitlines(keepends=True)
        rows.write_text(header + 20 * "".join(lines))
    name = container(root, cpus=SLOW)
    end = time.monotonic() + 120
    while "train:progress" not in log_of(name) and time.monotonic() < end:
        time.sleep(0.1)
    began = time.monotonic()
    docker("kill", "--signal", "TERM", name)
    assert status_of(name) == 143, log_of(name)
    assert time.monotonic() - began < 120
    assert not any((root / "model").iterdir())
    names = container(root), container(whole)
    assert [status_of(name) for name in names] == [0, 0]
    assert Model.load(root / "model").sample(50, seed=1).equals(Model.load(whole / "model").sample(50, seed=1))


def test_of_two_hosts_the_leader_writes_the_model_and_the_other_waits(opt_ml, container, network):
    """Requirement 6: two containers on one network."""
    hosts = ["algo-2", "algo-1"]
    roots = {host: opt_ml(INDEPENDENT, host=host, hosts=hosts, name=host) for host in hosts}
    names = {host: container(roots[host], network=network, host=host) for host in hosts}
    assert {host: status_of(name) for host, name in names.items()} == {"algo-1": 0, "algo-2": 0}
    assert Model.load(roots["algo-1"] / "model").manifest.rows == 240
    assert not any((roots["algo-2"] / "model").iterdir())
    assert "algo-2 waits for algo-1" in log_of(names["algo-2"])


def test_two_hosts_train_one_network_and_once_stopped_go_on_to_the_bytes_of_two_that_were_not(
    opt_ml, container, network
):
    """Requirements 5 and 6: torchrun in two containers, SIGTERM to both, and once more on what SageMaker restored."""
    said = {"generator": "tabular.autoregressive", "generator.epochs": "60", "generator.hidden": "64"}
    said |= {"generator.batch_rows": "20", "generator.patience": "60"}
    hosts = ["algo-1", "algo-2"]

    def roots(prefix):
        return {host: opt_ml(said, host=host, hosts=hosts, name=f"{prefix}-{host}") for host in hosts}

    def started(folders):
        return [container(root, network=network, host=host, weight="-torch") for host, root in folders.items()]

    stopped, whole = roots("stopped"), roots("whole")
    names = started(stopped)
    end = time.monotonic() + 300
    while "train:progress" not in log_of(names[0]) and time.monotonic() < end:
        time.sleep(0.05)
    docker("kill", "--signal", "TERM", *names)
    assert [status_of(name) for name in names] == [143, 143], [log_of(name) for name in names]
    reached = progress(log_of(names[0]))[-1]
    assert 0 < reached < 1
    assert (stopped["algo-1"] / "checkpoints" / checkpoint.FILE).exists()
    docker("rm", *names)  # the next two have the same names on the network

    names = started(stopped)
    assert [status_of(name) for name in names] == [0, 0], [log_of(name) for name in names]
    assert progress(log_of(names[0]))[0] >= reached  # it went on, and did not begin anew
    docker("rm", *names)
    names = started(whole)
    assert [status_of(name) for name in names] == [0, 0], [log_of(name) for name in names]
    assert model_bytes(stopped["algo-1"])
    assert model_bytes(stopped["algo-1"]) == model_bytes(whole["algo-1"])
    assert Model.load(whole["algo-1"] / "model").manifest.rows == 240
    assert not any((whole["algo-2"] / "model").iterdir())


def test_of_two_hosts_the_other_fails_with_the_leader(opt_ml, container, network):
    """Requirement 6: else the job would count as completed without a model."""
    hosts = ["algo-1", "algo-2"]
    roots = {host: opt_ml(INDEPENDENT, host=host, hosts=hosts, name=host) for host in hosts}
    follower = container(roots["algo-2"], network=network, host="algo-2")
    spoilt = roots["algo-1"] / "input/data/train/real.csv"
    spoilt.write_text("a,a\n1,2\n")
    leader = container(roots["algo-1"], network=network, host="algo-1")
    assert status_of(leader) == 2, log_of(leader)
    assert status_of(follower) == 2, log_of(follower)  # by itself, on the leader's word


ASK = """
import json, sys, time, urllib.error, urllib.request
place = "http://127.0.0.1:8080"
for _ in range(600):
    try:
        urllib.request.urlopen(f"{place}/ping", timeout=5).close()
        break
    except OSError:
        time.sleep(0.1)
body = json.dumps({"num_rows": 40, "seed": 9}).encode()
asked = urllib.request.Request(
    f"{place}/invocations", body, {"Content-Type": "application/json", "Accept": "application/jsonlines"}
)
sys.stdout.write(urllib.request.urlopen(asked, timeout=30).read().decode())
"""


def test_8_the_image_serves_a_model_without_network_and_stops_with_status_0(container, tmp_path):
    """Requirements 2 and 8: `serve` at the port of SageMaker, with the rows of `Model.sample` on this machine."""
    model = small_model()
    model.save(tmp_path / "model")
    name = container(tmp_path, words=("serve",))
    told = docker("exec", name, "python", "-c", ASK)
    assert told.splitlines() == list(records(model.sample(40, seed=9), place="x"))
    docker("kill", "--signal", "TERM", name)
    assert status_of(name) == 0, log_of(name)
