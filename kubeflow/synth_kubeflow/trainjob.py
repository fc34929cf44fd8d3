"""A TrainJob of Kubeflow's Trainer: its manifest, and its life: made, watched, deleted.  Needs no kfp."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from synth_components.errors import DataError, SynthError
from synth_components.stopping import stopped_by_signals

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Manifest: TypeAlias = dict[str, Any]

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
"""Where the API of Kubernetes keeps TrainJobs."""

MANAGER = "synth-components.io/launcher"
"""Who patches the runtime of a TrainJob."""

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_LOG = logging.getLogger(f"synth_components.{__name__}")  # the command line shows what the core logs


def train_job(
    name: str,
    *,
    runtime: str,
    command: Sequence[str],
    num_nodes: int,
    processes_per_node: int,
    max_seconds: int,
    volume: str,
    mount_path: str,
    image: str = "",
    resources: Mapping[str, str] | None = None,
) -> Manifest:
    """Return a TrainJob whose nodes run a command, with a claim that all of them and the launcher share.

    Args:
        runtime: Name of the ClusterTrainingRuntime, such as that of ``kubeflow/runtimes``.
        command: What each node runs; the runtime tells torchrun who the others are.
        max_seconds: Seconds from its start after which the Trainer ends it.
        volume: Name of a PersistentVolumeClaim that many pods may write to.
        mount_path: Where nodes see it.
        image: Instead of the runtime's; empty for that.
        resources: What each node asks for and may use, such as ``{"cpu": "4"}``.
    """
    trainer: Manifest = {"command": list(command), "numNodes": num_nodes, "numProcPerNode": processes_per_node}
    if image:
        trainer["image"] = image
    if resources:
        trainer["resourcesPerNode"] = {"requests": dict(resources), "limits": dict(resources)}
    pod = {
        "containers": [{"name": "node", "volumeMounts": [{"name": "shared", "mountPath": mount_path}]}],
        "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": volume}}],
    }
    node = {"name": "node", "template": {"spec": {"template": {"spec": pod}}}}
    patch = {"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [node]}}}}
    metadata: Manifest = {"name": name, "labels": {"app.kubernetes.io/part-of": "synth-components"}}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": metadata | _owner(),
        "spec": {
            "activeDeadlineSeconds": max_seconds,
            "runtimePatches": [patch],
            "runtimeRef": {"apiGroup": GROUP, "kind": "ClusterTrainingRuntime", "name": runtime},
            "trainer": trainer,
        },
    }


def client() -> ApiClient:
    """Return a client of the cluster that this process runs in, else of the one that ``KUBECONFIG`` names.

    Raises:
        DataError: if there is neither.
    """
    from kubernetes import client as api
    from kubernetes import config

    try:
        config.load_incluster_config()
    except config.ConfigException:
        try:
            config.load_kube_config()
        except config.ConfigException:
            raise DataError(
                "there is no cluster here to run a TrainJob on; run within one, set KUBECONFIG, or name no runtime"
            ) from None
    return api.ApiClient()


def namespace_here() -> str:
    """Return the namespace of this pod; outside a cluster, ``default``."""
    return _ACCOUNT.read_text(encoding="utf-8").strip() if _ACCOUNT.exists() else "default"


def run_job(
    job: Manifest,
    *,
    client: ApiClient,
    namespace: str,
    max_seconds: float,
    poll_seconds: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Make a TrainJob, wait until it is complete, and delete it, however that ends.

    Args:
        max_seconds: Seconds after which it is given up, whether it started or waits in a queue.

    Raises:
        DataError: if Kubernetes refuses the TrainJob.
        SynthError: if it fails, with the last line of a failed pod; if it takes too long, or somebody deletes it.
        StoppedError: if Ctrl-C or SIGTERM stopped the wait.
    """
    from kubernetes.client import CoreV1Api, CustomObjectsApi
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    api, name = CustomObjectsApi(client), job["metadata"]["name"]
    place = (GROUP, VERSION, namespace, PLURAL)
    try:
        api.create_namespaced_custom_object(*place, job)
    except ApiException as error:
        raise DataError(
            f"Kubernetes refuses the TrainJob with status {error.status} ({error.reason}); check the runtime, the "
            f"namespace '{namespace}', and the rights of the service account: kubeflow/runtimes/rbac.yaml"
        ) from None
    except HTTPError as error:
        raise DataError(f"Kubernetes does not answer ({type(error).__name__}); check KUBECONFIG") from None
    _LOG.info("TrainJob %s/%s waits for its nodes", namespace, name)
    deadline = clock() + max_seconds
    try:
        with stopped_by_signals() as should_stop:
            while True:
                try:
                    ended = _ended(api.get_namespaced_custom_object(*place, name))
                except ApiException as error:
                    if error.status == 404:
                        raise SynthError(f"somebody deleted TrainJob '{name}'; run the task again") from None
                    if error.status < 500 and error.status != 429:
                        raise DataError(f"Kubernetes refuses to show TrainJob '{name}' ({error.reason})") from None
                    ended = None  # the API server is busy or restarts
                except HTTPError:
                    ended = None
                if ended == ("Complete", ""):
                    _LOG.info("TrainJob %s/%s is complete", namespace, name)
                    return
                if ended is not None:
                    line = _last_line(CoreV1Api(client), namespace, name)
                    raise SynthError(f"TrainJob '{name}' failed ({ended[1]}){line and f': {line}'}")
                if clock() >= deadline:
                    raise SynthError(
                        f"TrainJob '{name}' is not complete after {max_seconds:g} seconds; raise max_seconds, or look "
                        "for what its nodes wait for"
                    )
                _wait(poll_seconds, should_stop)
    finally:
        try:
            api.delete_namespaced_custom_object(*place, name, propagation_policy="Background")
        except (ApiException, HTTPError) as error:
            if getattr(error, "status", 0) != 404:
                _LOG.warning("TrainJob %s/%s is not deleted (%s); delete it", namespace, name, type(error).__name__)


def _ended(job: Manifest) -> tuple[str, str] | None:
    """Return how a TrainJob ended, ``Complete`` or ``Failed``, with the reason of a failure; ``None`` if it goes on."""
    for one in job.get("status", {}).get("conditions", []):
        if one.get("status") == "True" and one.get("type") in {"Complete", "Failed"}:
            return one["type"], "" if one["type"] == "Complete" else one.get("reason") or "no reason given"
    return None


def _last_line(api: Any, namespace: str, name: str) -> str:  # noqa: ANN401 - the client has no types
    """Return the last line that a failed pod of a TrainJob wrote; empty if it can't be read."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        pods = api.list_namespaced_pod(namespace, label_selector=f"jobset.sigs.k8s.io/jobset-name={name}").items
        failed = sorted(pod.metadata.name for pod in pods if pod.status.phase == "Failed")
        text = api.read_namespaced_pod_log(failed[0], namespace, tail_lines=20) if failed else ""
    except (ApiException, HTTPError):
        return ""
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("synth ")), lines[-1] if lines else "")


def _wait(seconds: float, should_stop: Callable[[], bool]) -> None:
    """Sleep, a second at most at a time, so that a request to stop is heard.

    Raises:
        StoppedError: if there is one.
    """
    from synth_components.errors import StoppedError

    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if should_stop():
            raise StoppedError("stopped while a TrainJob ran; it is deleted")
        time.sleep(min(left, 1.0))


def _owner() -> Manifest:
    """Return what lets Kubernetes delete the TrainJob with the pod that launched it, if this is one of KFP's."""
    pod, uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
    if not pod or not uid:
        return {}
    return {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}]}
