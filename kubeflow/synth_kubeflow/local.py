"""A pipeline on this machine: kfp's own orchestration, with tasks that are processes or containers here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from kfp import local
from kfp.local import subprocess_task_handler
from kfp.local.status import Status

from synth_components.errors import DataError, SynthError, ThresholdError
from synth_components.steps.places import claim
from synth_components.stopping import end, followed

Runner: TypeAlias = Literal["auto", "host", "docker"]

_MISSED = 3
_GRACE = 10.0
"""Seconds within which a task that is told to end must have ended."""


@dataclass(frozen=True)
class Failure:
    """A task that failed: its component, exit status and last line."""

    component: str
    status: int
    line: str


@dataclass(frozen=True)
class Machine:
    """Runs tasks here.

    Attributes:
        folder: Their working directory, which containers may write to.
        inputs: What else containers may read.
        in_containers: Whether each task is a container of its image, without network, or a process.
        failures: The tasks that failed, in order.
    """

    folder: Path
    inputs: tuple[Path, ...] = ()
    in_containers: bool = False
    failures: list[Failure] = field(default_factory=list)

    def run(self, image: str, command: Sequence[str], variables: Mapping[str, str]) -> int:
        """Run a command, with its output on standard error, and return its exit status.

        What ends this in the main thread, a signal too, ends the command.  Tasks of a ``dsl.ParallelFor``, which kfp
        runs in threads of its own, and waits for, do not hear of SIGTERM.
        """
        known = {"MLFLOW_TRACKING_URI": f"sqlite:///{self.folder / 'mlflow.db'}", **variables}
        line = ""

        def hear(said: str) -> None:
            nonlocal line
            line = said.strip() or line

        status = followed(
            self._container(image, command, known) if self.in_containers else _process(command),
            hear,
            partial(end, grace=_GRACE),
            cwd=self.folder,
            env={**known, **os.environ, **variables},
        )
        if status:
            self.failures.append(Failure(command[3] if len(command) > 3 else command[0], status, line))
        return status

    def _container(self, image: str, command: Sequence[str], variables: Mapping[str, str]) -> list[str]:
        """Return the command that runs a command in a container as a cluster does: it replaces the entry point.

        Paths are the same inside.  ``docker run`` returns the status of the command; kfp's own runner takes some failed
        containers for finished ones (kubeflow/pipelines#13332).
        """
        mounts = [f"type=bind,source={self.folder},target={self.folder}"]
        mounts += [f"type=bind,source={path},target={path},readonly" for path in self.inputs]
        return [
            *("docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp"),  # noqa: S108
            *("--user", f"{os.getuid()}:{os.getgid()}", "--workdir", str(self.folder), "--entrypoint", command[0]),
            *(word for mount in mounts for word in ("--mount", mount)),
            *(word for name, value in {"HOME": "/tmp", **variables}.items() for word in ("--env", f"{name}={value}")),  # noqa: S108
            *(image, *command[1:]),
        ]


def _process(command: Sequence[str]) -> list[str]:
    """Return a command as a process of the interpreter that runs this, whatever PATH says."""
    # -P keeps the working directory off the import path.
    return [sys.executable, "-P", "-m", "synth_components", *command[1:]] if command[0] == "synth" else list(command)


def has_image(image: str) -> bool:
    """Return whether a Docker daemon answers here and has an image."""
    if shutil.which("docker") is None:
        return False
    asked = ["docker", "image", "inspect", image]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0  # noqa: S603


@contextmanager
def tasks_on(machine: Machine) -> Iterator[None]:
    """Let kfp.local run container components here, which its own runner of processes refuses.

    Its runner would also replace ``python3`` in every argument, paths of data among them.
    """

    class Task:
        """What kfp.local makes for each task."""

        def __init__(
            self,
            image: str,
            full_command: list[str],
            pipeline_root: str,
            runner: object,
            env_vars: Mapping[str, str] | None = None,
        ) -> None:
            self.image = image
            self.command = full_command
            self.variables = env_vars or {}

        def run(self) -> Status:
            """Run the task."""
            return Status.FAILURE if machine.run(self.image, self.command, self.variables) else Status.SUCCESS

    before = subprocess_task_handler.SubprocessTaskHandler
    subprocess_task_handler.SubprocessTaskHandler = Task
    try:
        yield
    finally:
        subprocess_task_handler.SubprocessTaskHandler = before


def run_local(
    pipeline: Any,  # noqa: ANN401 - kfp has no types
    values: Mapping[str, Any],
    output: Path,
    *,
    in_containers: bool = False,
) -> Path:
    """Run a pipeline with its tasks on this machine, and return the report's page.

    Args:
        values: The pipeline's arguments; ``data_uri`` is the whole path of a file.
        in_containers: Whether each task is a container, without network, or a process.
        output: Folder for everything: ``report.html``, ``report.md``, and in ``tasks`` what each task wrote.

    Raises:
        ThresholdError: if a task missed a threshold.
        SynthError: if a task failed otherwise, with its last line.
    """
    claim(output)
    folder = output.resolve()
    root = folder / "tasks"
    machine = Machine(folder, (Path(values["data_uri"]),), in_containers=in_containers)
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(root))
    with tasks_on(machine):
        try:
            pipeline(**values)
        except RuntimeError:
            if not machine.failures:
                raise
            first = machine.failures[0]
            kind = ThresholdError if first.status == _MISSED else SynthError
            raise kind(f"task '{first.component}' failed: {first.line}") from None
    pages = sorted(root.glob("*/report/page"), key=lambda page: page.stat().st_mtime_ns)
    if not pages:
        raise SynthError(f"the pipeline drew no report; see what its tasks wrote in '{root}'")
    for name, ending in (("page", "html"), ("text", "md")):
        shutil.copyfile(pages[-1].with_name(name), folder / f"report.{ending}")
    return folder / "report.html"


def chosen(runner: Runner, image: str) -> bool:
    """Return whether tasks run in containers: where asked for, or where there is the choice.

    Raises:
        DataError: if containers are asked for, and no Docker daemon here has the image.
    """
    if runner == "host":
        return False
    found = has_image(image)
    if runner == "docker" and not found:
        raise DataError(
            f"no Docker daemon here has the image '{image}'; make it with containers/build.sh, or use --runner host"
        )
    return found
