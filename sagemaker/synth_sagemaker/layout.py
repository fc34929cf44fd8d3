"""Where SageMaker puts what a container reads, and looks for what it writes: ``/opt/ml``, port by port.

Training: a port of the step is a channel, ``input/data/<channel>``; the model goes to ``model``, all else to
``output/data``.  Processing: a port is a folder ``processing/input/<port>`` or ``processing/output/<port>``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, TypeAlias

from synth_components.errors import DataError
from synth_components.steps.port import Kind

ROOT = "SYNTH_ML_ROOT"
"""Environment variable that puts another folder in the place of ``/opt/ml``: tests, and hosts without containers."""

Job: TypeAlias = Literal["training", "processing"]

CHANNELS: Mapping[str, str] = MappingProxyType(
    {"data": "train", "holdout": "holdout", "schema": "schema", "constraints": "constraints", "start": "model"}
)
"""Channel of a training job by port: rows, and a model to go on from, as the algorithms of SageMaker call them."""

FILES: Mapping[Kind, str] = MappingProxyType(
    {
        "dataset": "{port}.parquet",
        "report": "report.json",
        "page": "report.html",
        "text": "report.md",
        "schema": "schema.json",
        "statistics": "{port}.json",
        "constraints": "{port}.json",
        "policy": "{port}.json",
        "evidence": "{port}.json",
    }
)
"""Name of the file within the folder of an output port; a model or a directory is the folder itself."""

MODEL_ARCHIVE = "model.tar.gz"
"""What a training job's model is packed into, and what a processing job is given."""


@dataclass(frozen=True)
class Layout:
    """The paths of one container.

    Attributes:
        root: ``/opt/ml``.
    """

    root: Path = Path("/opt/ml")

    @classmethod
    def from_environment(cls) -> Self:
        """Return the layout of this container."""
        return cls(Path(os.environ.get(ROOT) or cls.root))

    @property
    def model(self) -> Path:
        """Where the model of a training job goes, and lies when it is served."""
        return self.root / "model"

    @property
    def checkpoints(self) -> Path:
        """What a training job keeps across interruptions."""
        return self.root / "checkpoints"

    @property
    def output_data(self) -> Path:
        """Where all else that a training job makes goes."""
        return self.root / "output" / "data"

    @property
    def failure(self) -> Path:
        """The reason that a training job failed."""
        return self.root / "output" / "failure"

    @property
    def message(self) -> Path:
        """The last words of a processing job."""
        return self.root / "output" / "message"

    def channel(self, port: str) -> Path:
        """Return the folder of a port's channel in a training job, which need not exist."""
        return self.root / "input" / "data" / CHANNELS[port]

    def input(self, port: str) -> Path:
        """Return the folder of an input port of a processing job, which need not exist."""
        return self.root / "processing" / "input" / port

    def output(self, port: str) -> Path:
        """Return the folder of an output port of a processing job, which need not exist."""
        return self.root / "processing" / "output" / port

    def config(self, name: str, job: Job = "training") -> dict[str, Any]:
        """Return a file of SageMaker's configuration; empty if there is none.

        Args:
            name: ``hyperparameters``, ``inputdataconfig``, ``resourceconfig``, ``processingjobconfig``.

        Raises:
            DataError: if it is no JSON map.
        """
        folder = self.root / "input" / "config" if job == "training" else self.root / "config"
        path = folder / f"{name}.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise DataError(f"'{path}' is no JSON map; SageMaker writes one")
        return found

    def cluster(self, job: Job = "training") -> Cluster:
        """Return the hosts of the job."""
        said = self.config("resourceconfig", job)
        hosts = tuple(sorted(said.get("hosts") or ["algo-1"]))
        return Cluster(hosts, said.get("current_host") or hosts[0], said.get("network_interface_name") or "")


@dataclass(frozen=True)
class Cluster:
    """The hosts that share a job.

    Attributes:
        hosts: Their names, sorted.
        host: The name of this one.
        interface: The network interface between them, as SageMaker names it; it need not exist.
    """

    hosts: tuple[str, ...]
    host: str
    interface: str = ""

    @property
    def leader(self) -> str:
        """The host that writes what the job makes."""
        return self.hosts[0]

    @property
    def is_leader(self) -> bool:
        """Whether this host is the leader."""
        return self.host == self.leader

    @property
    def rank(self) -> int:
        """The place of this host among them, from 0."""
        return self.hosts.index(self.host)
