"""A pipeline on this machine: kfp's own orchestration, with tasks that are processes here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp import local
from kfp.local import subprocess_task_handler
from kfp.local.status import Status

from synth_components.errors import SynthError, ThresholdError
from synth_components.steps.places import claim

_MISSED = 3


@dataclass(frozen=True)
class Failure:
    """A task that failed: its component, exit status and last line."""

    component: str
    status: int
    line: str


@dataclass(frozen=True)
class Host:
    """Runs tasks as processes of this machine.

    Attributes:
        folder: Their working directory.
        failures: Those that failed, in order.
    """

    folder: Path
    failures: list[Failure] = field(default_factory=list)

    def run(self, command: list[str], variables: Mapping[str, str]) -> int:
        """Run a command, with its output on standard error, and return its exit status."""
        # The interpreter that runs this, whatever PATH says; -P keeps the working directory off the import path.
        mine = [sys.executable, "-P", "-m", "synth_components", *command[1:]] if command[0] == "synth" else command
        tracking = {"MLFLOW_TRACKING_URI": f"sqlite:///{self.folder / 'mlflow.db'}"}
        line = ""
        with subprocess.Popen(  # noqa: S603 - the command of a component
            mine,
            cwd=self.folder,
            env={**tracking, **os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            for said in process.stdout or ():
                line = said.strip() or line
                sys.stderr.write(said)
        if process.returncode:
            self.failures.append(Failure(command[3] if len(command) > 3 else command[0], process.returncode, line))
        return process.returncode


@contextmanager
def on_host(host: Host) -> Iterator[None]:
    """Let kfp.local run container components as processes, which its own runner refuses.

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
            self.command = full_command
            self.variables = env_vars or {}

        def run(self) -> Status:
            """Run the task."""
            return Status.FAILURE if host.run(self.command, self.variables) else Status.SUCCESS

    before = subprocess_task_handler.SubprocessTaskHandler
    subprocess_task_handler.SubprocessTaskHandler = Task
    try:
        yield
    finally:
        subprocess_task_handler.SubprocessTaskHandler = before


def run_local(pipeline: Any, values: Mapping[str, Any], output: Path) -> Path:  # noqa: ANN401 - kfp has no types
    """Run a compiled pipeline with its tasks on this machine, and return the report's page.

    Args:
        values: The pipeline's arguments.
        output: Folder for everything: ``report.html``, ``report.md``, and in ``tasks`` what each task wrote.

    Raises:
        ThresholdError: if a task missed a threshold.
        SynthError: if a task failed otherwise, with its last line.
    """
    claim(output)
    folder = output.resolve()
    root = folder / "tasks"
    host = Host(folder)
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(root))
    with on_host(host):
        try:
            pipeline(**values)
        except RuntimeError:
            if not host.failures:
                raise
            first = host.failures[0]
            kind = ThresholdError if first.status == _MISSED else SynthError
            raise kind(f"task '{first.component}' failed: {first.line}") from None
    pages = sorted(root.glob("*/report/page"), key=lambda page: page.stat().st_mtime_ns)
    if not pages:
        raise SynthError(f"the pipeline drew no report; see what its tasks wrote in '{root}'")
    for name, ending in (("page", "html"), ("text", "md")):
        shutil.copyfile(pages[-1].with_name(name), folder / f"report.{ending}")
    return folder / "report.html"
