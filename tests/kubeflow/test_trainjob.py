"""TrainJobs against a stand-in for the API of Kubernetes, and training by several processes; requirement 19."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from kubernetes.client import ApiClient, Configuration
from kubernetes_fake import Cluster, served

from synth_components.config import ConfigError
from synth_components.errors import DataError, StoppedError, SynthError, UnsupportedError
from synth_components.model import Model
from synth_kubeflow import distributed
from synth_kubeflow.components import COMPONENTS
from synth_kubeflow.distributed import DistributedConfig, train_distributed
from synth_kubeflow.execute import execute
from synth_kubeflow.runtime import NAME, rights, runtime
from synth_kubeflow.trainjob import run_job, train_job

FOLDER = Path(__file__).resolve().parents[2] / "kubeflow" / "runtimes"
SAID = {
    "runtime": NAME,
    "command": ["torchrun", "-m", "synth_components.distributed", "train", "/shared/x/options.json"],
    "num_nodes": 2,
    "processes_per_node": 1,
    "max_seconds": 60,
    "volume": "shared",
    "mount_path": "/shared",
}


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def launch(cluster):
    """A function that runs a TrainJob in the cluster."""
    with served(cluster) as address:
        configuration = Configuration()
        configuration.host, configuration.retries = address, False
        with ApiClient(configuration) as client:

            def run(**options):
                said = {"namespace": "team", "max_seconds": 30.0, "poll_seconds": 0.01} | options
                run_job(train_job("synth-1", **SAID), client=client, **said)

            yield run


@pytest.fixture
def kubeconfig(cluster, tmp_path, monkeypatch):
    """A cluster that KUBECONFIG names."""
    with served(cluster) as address:
        said = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": address}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "nobody"}}],
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(said))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
        yield


def methods(cluster):
    return [method for method, path in cluster.asked if path.rpartition("/")[2] in {"trainjobs", "synth-1"}]


def test_requirement_19_a_complete_trainjob_is_made_watched_and_deleted(cluster, launch):
    launch()
    assert methods(cluster) == ["POST", "GET", "DELETE"]
    assert cluster.jobs == {}


def test_requirement_19_a_failed_trainjob_is_told_with_its_pods_last_line_and_deleted(cluster, launch):
    cluster.run = lambda job: {"type": "Failed", "status": "True", "reason": "JobFailed"}
    cluster.log = "loading\nsynth train: column 'age' has no values\ntorchrun: 1 process failed\n"
    with pytest.raises(SynthError, match=r"'synth-1' failed \(JobFailed\): synth train: column 'age' has no values"):
        launch()
    assert methods(cluster)[-1] == "DELETE"


def test_requirement_19_a_failure_is_told_although_no_log_can_be_read(cluster, launch):
    cluster.run = lambda job: {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
    cluster.refusals = [0, 0, 403]
    with pytest.raises(SynthError, match=r"failed \(DeadlineExceeded\)$"):
        launch()


def test_requirement_19_a_trainjob_that_takes_too_long_is_given_up_and_deleted(cluster, launch):
    cluster.run = lambda job: None
    with pytest.raises(SynthError, match=r"not complete after 0\.05 seconds"):
        launch(max_seconds=0.05)
    assert cluster.jobs == {}


def test_requirement_19_a_refused_trainjob_names_status_and_remedy(cluster, launch):
    cluster.refusals = [403]
    with pytest.raises(DataError, match=r"status 403.*rbac\.yaml"):
        launch()
    assert methods(cluster) == ["POST"]


def test_requirement_19_a_server_that_is_busy_for_a_moment_does_not_end_the_wait(cluster, launch):
    cluster.refusals = [0, 503, 429]
    launch()
    assert methods(cluster) == ["POST", "GET", "GET", "GET", "DELETE"]


def test_requirement_19_a_trainjob_that_somebody_deletes_is_an_error(cluster, launch):
    cluster.run = lambda job: None
    cluster.refusals = [0, 404]
    with pytest.raises(SynthError, match="somebody deleted"):
        launch()


def test_a_signal_ends_the_wait_and_deletes_the_trainjob(cluster, launch):
    cluster.run = lambda job: None
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGTERM])
    timer.start()
    with pytest.raises(StoppedError):
        launch(poll_seconds=0.05)
    timer.join()
    assert cluster.jobs == {}


def test_a_trainjob_goes_with_the_pod_that_launched_it(monkeypatch):
    assert "ownerReferences" not in train_job("synth-1", **SAID)["metadata"]
    monkeypatch.setenv("KFP_POD_NAME", "task-1")
    monkeypatch.setenv("KFP_POD_UID", "0-1")
    (owner,) = train_job("synth-1", **SAID)["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", "task-1", "0-1")


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("TrainJob", train_job("synth-1", **SAID)),
        ("TrainJob", train_job("synth-1", **SAID, image="mine:1", resources={"cpu": "2", "nvidia.com/gpu": "1"})),
        ("ClusterTrainingRuntime", runtime("mine:1")),
    ],
)
def test_requirement_19_a_resource_round_trips_through_the_trainers_own_models(kind, made):
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="kubeflow-trainer-api comes with the extra dev")
    read = getattr(models, f"TrainerV1alpha1{kind}").from_dict(made)
    assert json.loads(json.dumps(read.to_dict(), default=str)) == made  # an unknown key would be dropped


def test_a_trainjob_patches_the_runtime_as_trainers_since_2_2_want_it():
    spec = train_job("synth-1", **SAID)["spec"]
    assert "podSpecOverrides" not in spec
    assert [patch["manager"] for patch in spec["runtimePatches"]] == ["synth-components.io/launcher"]


def test_the_runtime_runs_as_nobody_and_its_node_is_what_a_trainjob_patches():
    (node,) = runtime("mine:1")["spec"]["template"]["spec"]["replicatedJobs"]
    pod = node["template"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (patch,) = train_job("synth-1", **SAID)["spec"]["runtimePatches"]
    (patched,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    names = [part["name"] for part in pod["containers"]]
    assert (node["name"], names) == (
        patched["name"],
        [part["name"] for part in patched["template"]["spec"]["template"]["spec"]["containers"]],
    )


def test_the_rights_are_those_that_a_launch_uses(cluster, launch):
    cluster.run, cluster.log = lambda job: {"type": "Failed", "status": "True", "reason": "x"}, "line"
    with pytest.raises(SynthError):
        launch()
    verbs = {"POST": "create", "GET": "get", "DELETE": "delete"}
    kinds = {"trainjobs": "trainjobs", "synth-1": "trainjobs", "pods": "pods", "log": "pods/log"}
    used = set()
    for method, path in cluster.asked:
        kind = kinds[path.rpartition("/")[2]]
        used.add((kind, "list" if kind == "pods" else verbs[method]))
    role, _ = rights()
    allowed = {(kind, verb) for rule in role["rules"] for kind in rule["resources"] for verb in rule["verbs"]}
    assert used <= allowed


def nodes_that_train(command):
    """Return a condition after doing what the first node of a TrainJob does, with a generator that needs no torch."""
    words = [sys.executable, "-m", "synth_components", *command[3:]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    kind = "Failed" if done.returncode else "Complete"
    return {"type": kind, "status": "True", "reason": kind}


def test_requirement_19_the_component_trains_on_nodes_that_share_a_claim_and_fetches_the_model(
    cluster, kubeconfig, csv, tmp_path, executor_input
):
    jobs = []

    def run(job):
        jobs.append(job)
        return nodes_that_train(job["spec"]["trainer"]["command"])

    cluster.run = run
    shared = tmp_path / "shared"
    shared.mkdir()
    name = "train_generator_distributed"
    said = executor_input(
        name, tmp_path / "task", {"data": csv}, generator="tabular.independent", generator_options={"knots": 20},
        runtime=NAME, volume="claim", mount_path=str(shared), num_nodes=3, node_resources={"cpu": "2"}, seed=5,
    )  # fmt: skip
    execute(COMPONENTS[name], said)
    assert Model.load(tmp_path / "task" / "model").manifest.seed == 5
    assert list(shared.iterdir()) == []
    (job,) = jobs
    assert job["spec"]["trainer"]["numNodes"] == 3
    assert job["spec"]["trainer"]["resourcesPerNode"]["limits"] == {"cpu": "2"}
    assert cluster.jobs == {}


def test_nodes_that_leave_no_model_are_an_error_and_nothing_stays_on_the_claim(cluster, kubeconfig, csv, tmp_path):
    (tmp_path / "shared").mkdir()
    config = DistributedConfig(
        generator="tabular.independent", runtime=NAME, volume="claim", mount_path=str(tmp_path / "shared")
    )
    with pytest.raises(SynthError, match="left no model"):
        train_distributed(config, data=csv, model=tmp_path / "model")
    assert list((tmp_path / "shared").iterdir()) == []


def test_a_claim_that_is_not_mounted_is_told_before_a_trainjob_is_made(csv, tmp_path):
    config = DistributedConfig(generator="x", runtime=NAME, volume="claim", mount_path=str(tmp_path / "nowhere"))
    with pytest.raises(UnsupportedError, match="not mounted"):
        train_distributed(config, data=csv, model=tmp_path / "model")


@pytest.mark.parametrize("said", [{"runtime": NAME}, {"volume": "claim"}, {"num_nodes": 2}])
def test_options_that_contradict_each_other_are_refused(said):
    with pytest.raises(ConfigError):
        DistributedConfig.parse({"generator": "tabular.independent", **said})


def test_the_committed_runtime_and_rights_are_yaml_that_kubectl_takes():
    kinds = [one["kind"] for path in sorted(FOLDER.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text())]
    assert kinds == ["Role", "RoleBinding", "ClusterTrainingRuntime"]


@pytest.mark.slow
def test_requirement_19_two_processes_under_torchrun_train_one_model_and_the_same_again(csv, tmp_path):
    pytest.importorskip("torch", reason="torch comes with the extra torch")
    options = {"hidden": 16, "epochs": 2, "batch_rows": 64}
    drawn = []
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        config = DistributedConfig(generator="tabular.autoregressive", generator_options=options, processes_per_node=2)
        train_distributed(config, data=csv, model=tmp_path / folder / "model")
        drawn.append(Model.load(tmp_path / folder / "model").sample(40, seed=1))
    assert drawn[0].equals(drawn[1])


def test_without_torch_the_component_names_the_image(csv, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="image with torch"):
        train_distributed(DistributedConfig(generator="tabular.independent"), data=csv, model=tmp_path / "model")


def test_an_error_of_a_process_is_the_tasks(csv, tmp_path, monkeypatch):
    # a stand-in for torchrun: one process that runs our command line
    stub = tmp_path / "torch" / "distributed"
    stub.mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").write_text("")
    (stub / "__init__.py").write_text("")
    (stub / "run.py").write_text("import sys; print('synth train: no such generator', file=sys.stderr); sys.exit(1)")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(distributed, "find_spec", lambda name: True)
    with pytest.raises(SynthError, match=re.escape("a training process failed: no such generator")):
        train_distributed(DistributedConfig(generator="tabular.independent"), data=csv, model=tmp_path / "model")
