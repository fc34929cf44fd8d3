"""The step that trains one model by several processes: of this machine, or of a TrainJob's nodes.  Needs no kfp."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import Field, model_validator

from synth_components.errors import SynthError, UnsupportedError
from synth_components.steps.port import InConstraints, InDataset, InSchema, OptionalInModel, OutModel
from synth_components.steps.record import write_json
from synth_components.steps.train import TrainConfig
from synth_components.stopping import end, followed

_ENTRY = "synth_components.distributed"
_OPTIONS = "options.json"
_GRACE = 100.0
"""Seconds that processes have to keep their state after SIGTERM, if the pod's own grace period is not over first."""


class DistributedConfig(TrainConfig):
    """What to train, how private, and by which processes."""

    num_nodes: int = Field(1, ge=1, le=256, description="Machines of the TrainJob; without a runtime it is this one.")
    processes_per_node: int = Field(2, ge=1, le=64, description="Processes on each machine; one each for accelerators.")
    runtime: str = Field(
        "", description="ClusterTrainingRuntime of a TrainJob; empty trains by processes of this task alone."
    )
    volume: str = Field(
        "", description="Claim that this task and the TrainJob's nodes share; many pods must be able to write to it."
    )
    mount_path: str = Field("/shared", pattern=r"^/", description="Where this task and the nodes see the claim.")
    namespace: str = Field("", description="Namespace of the TrainJob; empty for that of this task.")
    node_image: str = Field("", description="Image of the nodes; empty for the runtime's.")
    node_resources: dict[str, str] = Field(
        {}, description='What each node asks for and may use: {"cpu": "4", "memory": "8G", "nvidia.com/gpu": "1"}.'
    )
    max_seconds: int = Field(
        24 * 3600, ge=1, lt=2**31, description="Seconds after which the TrainJob is given up, waiting included."
    )

    @model_validator(mode="after")
    def _nodes_share_a_volume(self) -> DistributedConfig:
        if bool(self.runtime) != bool(self.volume):
            raise ValueError("runtime and volume belong together: a TrainJob's nodes read and write there")
        if self.num_nodes > 1 and not self.runtime:
            raise ValueError("several nodes need a runtime, which starts them; without one leave num_nodes at 1")
        return self


def train_distributed(
    config: DistributedConfig,
    *,
    data: InDataset,
    schema: InSchema = None,
    constraints: InConstraints = None,
    start: OptionalInModel = None,
    model: OutModel,
) -> None:
    """Train one model of a generator that uses torch by several processes, which share every batch.

    They are processes of this task or, with a runtime, of the nodes of a TrainJob of Kubeflow's Trainer, which is
    watched, and deleted however it ends.  Each runs `python -m synth_components.distributed`; the first one writes.

    Args:
        data: The real training rows.
        schema: What the columns hold; without it a schema is profiled from the rows.
        constraints: Rules that every synthetic row must obey.
        start: Model of the same generator to go on from: its schema is taken, and drift is told.
        model: Where the model goes.

    Raises:
        UnsupportedError: without torch, where this task is to train itself.
        SynthError: if a process fails, with its last line.
    """
    given = {"data": data, "schema": schema, "constraints": constraints, "start": start}
    inputs = {name: Path(place) for name, place in given.items() if place is not None}
    if config.runtime:
        _on_nodes(config, inputs, model)
        return
    if find_spec("torch") is None:
        raise UnsupportedError(
            "training by several processes needs torch; use the image with torch, or install synth-components[torch]"
        )
    with TemporaryDirectory(prefix=".synth-", dir=model.parent) as folder:
        options = _written(config, inputs, model, Path(folder))
        _here(config.processes_per_node, options)


def _written(config: DistributedConfig, inputs: dict[str, Path], model: Path, folder: Path) -> Path:
    """Return a file with the options and paths of ``synth train``."""
    said: dict[str, Any] = {name: getattr(config, name) for name in TrainConfig.model_fields}
    plain = TrainConfig(**said).model_dump(mode="json")
    paths = {name: str(path) for name, path in inputs.items()} | {"model": str(model)}
    write_json(folder / _OPTIONS, plain | paths)
    return folder / _OPTIONS


def _here(num_processes: int, options: Path) -> None:
    """Run processes of this machine, which meet on its loopback: a container may have no other network."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--node-rank", "0"),
        *("--nproc-per-node", str(num_processes), "--master-addr", "127.0.0.1", "--master-port", str(port)),
        *("-m", _ENTRY, "train", str(options)),
    ]
    variables = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    line = ""

    def hear(said: str) -> None:
        nonlocal line
        if said.startswith("synth "):
            line = line or said.strip()

    # Whoever fits hears of a signal, and keeps its state.
    status = followed(command, hear, partial(end, grace=_GRACE), env=variables)
    if status:
        if not line:  # no error of the user's: torchrun has shown the trace
            raise RuntimeError(f"torchrun ended with status {status}")
        raise SynthError(f"a training process failed: {line.partition(': ')[2]}")


def _on_nodes(config: DistributedConfig, inputs: dict[str, Path], model: Path) -> None:
    """Run a TrainJob whose nodes read copies of the inputs from the shared claim, and fetch the model from there."""
    from synth_kubeflow.trainjob import client, namespace_here, run_job, train_job

    shared = Path(config.mount_path)
    if not shared.is_dir():
        raise UnsupportedError(f"claim '{config.volume}' is not mounted at '{shared}'; mount it, or name its path")
    name = f"synth-{secrets.token_hex(6)}"
    folder = shared / name
    folder.mkdir()
    try:
        copied = {port: _copied(path, folder / f"{port}{path.suffix}") for port, path in inputs.items()}
        options = _written(config, copied, folder / "model", folder)
        job = train_job(
            name,
            runtime=config.runtime,
            command=["torchrun", "-m", _ENTRY, "train", str(options)],
            num_nodes=config.num_nodes,
            processes_per_node=config.processes_per_node,
            max_seconds=config.max_seconds,
            volume=config.volume,
            mount_path=config.mount_path,
            image=config.node_image,
            resources=config.node_resources,
        )
        namespace = config.namespace or namespace_here()
        run_job(job, client=client(), namespace=namespace, max_seconds=config.max_seconds)
        if not (folder / "model").is_dir():
            raise SynthError(
                f"TrainJob '{name}' is complete and left no model; check that its nodes mount claim '{config.volume}'"
            )
        shutil.copytree(folder / "model", model)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copied(source: Path, target: Path) -> Path:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
    return target
