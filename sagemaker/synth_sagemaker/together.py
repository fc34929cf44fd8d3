"""One model trained by every host of a job: torchrun on each host, whose processes share every batch of rows.

Each process is the training job once more, knowing that it is one of several: it reads the channels of its own host,
and the first one, on the leader, judges and writes the model.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from synth_components import __main__ as command_line
from synth_components.distributed import connected, peers_of
from synth_components.errors import SynthError
from synth_components.generators import recipe_type
from synth_components.generators._torch import require_torch
from synth_components.steps.record import write_text
from synth_components.steps.train import TrainConfig
from synth_components.stopping import signals_held
from synth_sagemaker.layout import Cluster

PORT = 7777
"""Where the hosts' processes meet, on the leader."""

GRACE = 100.0
"""Seconds that the processes have to keep their state after SIGTERM; SageMaker gives the job 120."""


def is_shared(config: TrainConfig, cluster: Cluster) -> bool:
    """Return whether every host takes part in the fit: the job has several, and the generator knows how."""
    return len(cluster.hosts) > 1 and recipe_type(config.generator, trust=config.trust).trains_together


def run_torchrun(config: TrainConfig, cluster: Cluster, folder: Path) -> None:
    """Run this host's processes, one for each CUDA device or one alone, until they are through.

    Args:
        folder: An empty folder of this host.

    Raises:
        UnsupportedError: without torch.
        SynthError: if the processes did not come to an end of their own.
        SystemExit: if the job failed in them, with its status; they have written why.
    """
    require_torch(config.generator)
    status = folder / "status"
    arguments = command(config, cluster, status)
    with (
        signals_held() as let_through,
        subprocess.Popen(arguments, env={**os.environ, **variables(cluster)}) as process,  # noqa: S603 - our own module
    ):
        try:
            let_through()
            ended = process.wait()
        finally:
            if process.poll() is None:  # a signal: whoever fits hears of it, and keeps its state
                process.send_signal(signal.SIGTERM)
                _await(process)
    if ended == 0:
        return
    if status.exists():
        raise SystemExit(int(status.read_text(encoding="utf-8")))
    raise SynthError(
        f"torchrun ended with status {ended}, and the log says why; the job's hosts meet at port {PORT} of "
        f"{cluster.leader} and then at ports of their choice: open all between them in the security group"
    )


def command(config: TrainConfig, cluster: Cluster, status: Path) -> list[str]:
    """Return the command that starts this host's processes."""
    return [
        *(sys.executable, "-m", "torch.distributed.run"),
        *("--nnodes", str(len(cluster.hosts)), "--node-rank", str(cluster.rank)),
        *("--nproc-per-node", "gpu" if config.device.startswith("cuda") else "1"),
        *("--master-addr", cluster.leader, "--master-port", str(PORT)),
        *("--log-dir", str(status.parent)),  # else it leaves a folder among the machine's temporary files
        *("-m", "synth_sagemaker.together", str(status), config.device),
    ]


def variables(cluster: Cluster) -> dict[str, str]:
    """Return the variables that name the network interface between the hosts, if this host has it."""
    if cluster.interface not in {name for _, name in socket.if_nameindex()}:
        return {}
    return {name: cluster.interface for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Be one of torchrun's processes: the training job among its peers; return the exit status.

    Args:
        arguments: Where the first process of a host leaves the status of a failure, which torchrun does not hand on,
            and the torch device.
        environment: torchrun's variables.
    """
    status_file, device = arguments
    others, local_rank = peers_of(environment)
    with connected(others, on_cuda=device.startswith("cuda"), local_rank=local_rank):
        status = command_line.main(["sagemaker", "train", *([] if others.rank == 0 else ["--quiet"])])
    if status and local_rank == 0:
        write_text(Path(status_file), str(status))
    return status


def _await(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
