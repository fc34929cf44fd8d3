"""What a cluster needs once, before TrainJobs run there: how their nodes run, and the right to launch them."""

from __future__ import annotations

from typing import Any

from synth_kubeflow.trainjob import GROUP, PLURAL, VERSION

NAME = "synth-torch"
"""Name of our ClusterTrainingRuntime."""

_LABELS = {"app.kubernetes.io/part-of": "synth-components"}
_ACCOUNT = "pipeline-runner"
"""Service account that tasks of Kubeflow Pipelines run as; on a server of several users, ``default-editor``."""


def runtime(image: str) -> dict[str, Any]:
    """Return the ClusterTrainingRuntime: nodes that run torchrun in an image, not as root, with shared memory."""
    node = {
        "name": "node",
        "image": image,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "shared-memory", "mountPath": "/dev/shm"}],  # noqa: S108 - torch's workers
    }
    pod = {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [node],
        "volumes": [{"name": "shared-memory", "emptyDir": {"medium": "Memory"}}],
    }
    step = {"metadata": {"labels": {f"{GROUP}/trainjob-ancestor-step": "trainer"}}, "spec": {"template": {"spec": pod}}}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "ClusterTrainingRuntime",
        "metadata": {"name": NAME, "labels": {**_LABELS, f"{GROUP}/framework": "torch"}},
        "spec": {
            "mlPolicy": {"numNodes": 1, "torch": {}},
            "template": {"spec": {"replicatedJobs": [{"name": "node", "template": step}]}},
        },
    }


def rights() -> list[dict[str, Any]]:
    """Return the role that launching asks for, and its binding to the service account of tasks."""
    name = "synth-trainjob-launcher"
    metadata = {"name": name, "labels": _LABELS}
    rules = [
        {"apiGroups": [GROUP], "resources": [PLURAL], "verbs": ["create", "get", "delete"]},
        {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
    ]
    group = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": _ACCOUNT}],
    }
    return [{"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules}, binding]
