"""A job on this machine: what SageMaker puts into ``/opt/ml``, the container or process, and what is taken out."""

from __future__ import annotations

import glob
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from synth_components.errors import DataError, SynthError, ThresholdError, UnsupportedError
from synth_components.io.archive import pack
from synth_components.stopping import followed
from synth_sagemaker.layout import MODEL_ARCHIVE, ROOT, Layout
from synth_sagemaker.secret import ENCRYPT_KEY

Runner: TypeAlias = Literal["host", "docker"]

INSIDE = Path("/opt/ml")

_USER_ERROR, _MISSED = 2, 3
_GRACE = 10.0
"""Seconds within which a job that is told to end must have ended."""
_SOURCES = ("S3Prefix", None)
_HARDENED = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


class BrokenJob(Exception):
    """A job ended by a bug or by a signal, which is no error of the user's.  Exit status 1."""


@dataclass(frozen=True)
class Store:
    """A folder in the place of S3.

    Attributes:
        folder: Where ``s3://bucket/key`` is ``bucket/key``.
        places: S3 prefixes that lie elsewhere on this machine.
    """

    folder: Path
    places: Mapping[str, Path] = field(default_factory=dict)

    def path(self, uri: str) -> Path:
        """Return where an address lies.

        Raises:
            DataError: for an address of something else than S3.
        """
        if ".." in uri.split("/"):
            raise DataError(f"'{uri}' is no address of S3")
        if (prefix := self._prefix(uri)) is not None:
            below = uri.removeprefix(prefix.rstrip("/")).strip("/")
            return self.places[prefix] / below if below else self.places[prefix]
        if not uri.startswith("s3://"):
            raise DataError(f"'{uri}' is no address of S3")
        return self.folder / uri.removeprefix("s3://").strip("/")

    def target(self, uri: str) -> Path:
        """Return where a job writes an address: in the folder, and never where what a user gave lies.

        Raises:
            DataError: for an address of something else than S3, or under a prefix that lies elsewhere.
        """
        if (prefix := self._prefix(uri)) is not None:
            raise DataError(
                f"a job would write '{uri}', which is under '{prefix}', a place of yours, which run-local only reads; "
                "give the pipeline another output, or the data a prefix of its own"
            )
        return self.path(uri)

    def _prefix(self, uri: str) -> str | None:
        """Return the prefix that lies elsewhere and that an address is under, if there is one."""
        return next((one for one in self.places if f"{uri}/".startswith(f"{one.rstrip('/')}/")), None)

    def found(self, uri: str) -> list[Path]:
        """Return the file or folder at an address, or what lies there under names that begin so; empty for nothing."""
        path = self.path(uri)
        return [path] if path.exists() else sorted(path.parent.glob(f"{glob.escape(path.name)}*"))

    def copy_in(self, uri: str, target: Path) -> None:
        """Copy what lies under a prefix into a folder, as a job is given it.

        Raises:
            DataError: if there is nothing.
        """
        found = self.found(uri)
        target.mkdir(parents=True, exist_ok=True)
        if not found:
            raise DataError(f"there is nothing under '{uri}'; name a file or a folder with --data, or a parameter")
        for path in found:
            if not path.is_dir():
                shutil.copy(path, target / path.name)
            elif path == self.path(uri):
                shutil.copytree(path, target, dirs_exist_ok=True)

    def copy_out(self, folder: Path, uri: str) -> Path:
        """Copy a folder to an address, in the place of what lay there, and return where."""
        target = self.target(uri)
        if target.is_dir():
            shutil.rmtree(target)
        shutil.copytree(folder, target)
        return target


@dataclass(frozen=True)
class Machine:
    """Runs jobs here.

    Attributes:
        runner: Whether a job is a container, without network, or a process.
        store: What stands for S3.
        scratch: Folder for what a job has in ``/opt/ml``.
        stand_ins: By image: the local image that is run for it, or on the host the command.
        ours: Images that the command line of this environment stands for on the host.
    """

    runner: Runner
    store: Store
    scratch: Path
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    ours: frozenset[str] = frozenset()

    def train(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run a training job, and return what SageMaker would tell of it.

        Raises:
            ThresholdError: if it missed a threshold.
            DataError: if there is nothing to read, or it would write where a user's data lies.
            SynthError: if it ended by a user's error, with what it said.
            BrokenJob: if it ended by a bug or a signal.
        """
        prefix = f"{arguments['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{name}/output"
        archive = self.store.target(f"{prefix}/{MODEL_ARCHIVE}")  # refused before the work
        with self._root(name) as root:
            layout = Layout(root)
            for folder in (layout.model, layout.output_data, layout.checkpoints, root / "input" / "data"):
                folder.mkdir(parents=True)
            channels: dict[str, Any] = {}
            for channel in arguments.get("InputDataConfig", []):
                source = channel["DataSource"]["S3DataSource"]
                _refuse(channel.get("InputMode", "File"), source.get("S3DataType"), channel["ChannelName"])
                self.store.copy_in(source["S3Uri"], root / "input" / "data" / channel["ChannelName"])
                channels[channel["ChannelName"]] = {
                    "TrainingInputMode": "File",
                    "S3DistributionType": "FullyReplicated",
                    "RecordWrapperType": "None",
                    **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
                }
            _write(root / "input" / "config" / "hyperparameters.json", arguments.get("HyperParameters", {}))
            _write(root / "input" / "config" / "inputdataconfig.json", channels)
            _write(root / "input" / "config" / "resourceconfig.json", _CLUSTER)
            said = arguments["AlgorithmSpecification"]
            words = [*said.get("ContainerEntrypoint", []), *said.get("ContainerArguments", [])]
            variables = {"TRAINING_JOB_NAME": name, **arguments.get("Environment", {})}
            self._run(said["TrainingImage"], words, variables, root, layout.failure, default=["train"])
            archive.parent.mkdir(parents=True, exist_ok=True)
            pack(layout.model, archive)
            if any(layout.output_data.iterdir()):
                pack(layout.output_data, archive.with_name("output.tar.gz"))
        return {"ModelArtifacts": {"S3ModelArtifacts": f"{prefix}/{MODEL_ARCHIVE}"}, "TrainingJobStatus": "Completed"}

    def process(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run a processing job, and return what SageMaker would tell of it.

        Raises:
            ThresholdError: if it missed a threshold.
            DataError: if there is nothing to read, or it would write where a user's data lies.
            SynthError: if it ended by a user's error, with what it said.
            BrokenJob: if it ended by a bug or a signal.
        """
        outputs = arguments.get("ProcessingOutputConfig", {}).get("Outputs", [])
        for one in outputs:
            self.store.target(one["S3Output"]["S3Uri"])  # refused before the work
        with self._root(name) as root:
            for one in arguments.get("ProcessingInputs", []):
                source = one["S3Input"]
                _refuse(source.get("S3InputMode", "File"), source.get("S3DataType"), one["InputName"])
                self.store.copy_in(source["S3Uri"], _below(root, source["LocalPath"]))
            for one in outputs:
                _below(root, one["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
            (root / "output").mkdir(exist_ok=True)
            _write(root / "config" / "resourceconfig.json", _CLUSTER)
            _write(root / "config" / "processingjobconfig.json", {"ProcessingJobName": name, **arguments})
            said = arguments["AppSpecification"]
            words = [*said.get("ContainerEntrypoint", []), *said.get("ContainerArguments", [])]
            self._run(said["ImageUri"], words, arguments.get("Environment", {}), root, Layout(root).message)
            for one in outputs:
                self.store.copy_out(_below(root, one["S3Output"]["LocalPath"]), one["S3Output"]["S3Uri"])
        told = {one["OutputName"]: one for one in outputs}
        return {"ProcessingOutputConfig": {"Outputs": told}, "ProcessingJobStatus": "Completed"}

    @contextmanager
    def _root(self, name: str) -> Iterator[Path]:
        root = self.scratch / name
        shutil.rmtree(root, ignore_errors=True)  # of a run that was killed
        root.mkdir(parents=True)
        try:
            yield root
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def _run(
        self,
        image: str,
        words: Sequence[str],
        variables: Mapping[str, str],
        root: Path,
        reason: Path,
        *,
        default: Sequence[str] = (),
    ) -> None:
        inside = self.runner == "docker"
        if inside:
            command = self._container(image, words or default, variables, root)
        else:
            command = self._process(image, [_moved(word, root) for word in words])
        known = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        line = ""

        def hear(said: str) -> None:
            nonlocal line
            line = said.strip() or line

        # What ends this command, a signal too, ends the job: nobody waits for it any longer.
        status = followed(
            command,
            hear,
            partial(_end, container=_container_of(root) if inside else ""),
            cwd=root,
            env=known if inside else {**known, **variables, ROOT: str(root)},
        )
        if status:
            told = reason.read_text(encoding="utf-8", errors="replace").strip() if reason.is_file() else line
            kind = {_USER_ERROR: SynthError, _MISSED: ThresholdError}.get(status, BrokenJob)
            raise kind(f"job '{root.name}' ended with status {status}: {told}")

    def _container(self, image: str, words: Sequence[str], variables: Mapping[str, str], root: Path) -> list[str]:
        """Return the command that runs a job as SageMaker does; its entry point replaces the image's."""
        return [
            *("docker", "run", "--rm", "--name", _container_of(root), *_HARDENED, "--tmpfs", "/tmp"),  # noqa: S108
            *("--user", f"{os.getuid()}:{os.getgid()}"),
            *("--mount", f"type=bind,source={root},target={INSIDE}"),
            *(word for name, value in {"HOME": "/tmp", **variables}.items() for word in ("--env", f"{name}={value}")),  # noqa: S108
            *_key_of(variables),
            *(("--entrypoint", words[0]) if words else ()),
            self.stand_ins.get(image) or local_image(image),
            *words[1:],
        ]

    def _process(self, image: str, words: Sequence[str]) -> list[str]:
        """Return the command of a job as a process of the interpreter that runs this, whatever PATH says."""
        if image in self.stand_ins:
            return [*shlex.split(self.stand_ins[image]), *words]
        # -P keeps the working directory off the import path.
        ours = [sys.executable, "-P", "-m", "synth_components"]
        if words[:1] == ["synth"]:
            return [*ours, *words[1:]]
        if not words and image in self.ours:
            return [*ours, "sagemaker", "train"]
        if words[:1] in (["python"], ["python3"]) and image in self.ours:
            return [sys.executable, "-P", *words[1:]]
        raise UnsupportedError(
            f"the image '{image}' is not ours, so no process of this machine stands for it; use --runner docker, or "
            f"--stand-in '{image}=COMMAND'"
        )


def _container_of(root: Path) -> str:
    """Return what the container of a job is called here: no other run has one of that name."""
    return f"{root.name}-{os.getpid()}"


def _end(process: subprocess.Popen[str], container: str) -> None:
    """End a job that was begun: it is told so first, as ``docker run`` tells its container."""
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        pass
    finally:  # a second signal does not wait
        if container:
            subprocess.run(["docker", "kill", container], capture_output=True, check=False)  # noqa: S603, S607
        process.kill()


def local_image(image: str) -> str:
    """Return what an image of a registry is called by the Docker daemon here.

    Raises:
        DataError: if it is not here under its whole name, nor without the registry's.
    """
    for name in (image, image.rpartition("/")[2]):
        if has_image(name):
            return name
    raise DataError(
        f"no Docker daemon here has the image '{image}'; make it with containers/build.sh, name another with "
        f"--stand-in '{image}=LOCAL', or use --runner host"
    )


def has_image(image: str) -> bool:
    """Return whether a Docker daemon answers here and has an image."""
    if shutil.which("docker") is None:
        return False
    asked = ["docker", "image", "inspect", image]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0  # noqa: S603


def _key_of(variables: Mapping[str, str]) -> list[str]:
    """Return the words that pass the variable with the key of models on, whose value no list of processes shows."""
    kind, _, name = variables.get(ENCRYPT_KEY, "").partition(":")
    return ["--env", name] if kind == "env" and name else []


_CLUSTER: Mapping[str, Any] = {
    "current_host": "algo-1",
    "hosts": ["algo-1"],
    "network_interface_name": "eth0",
    "current_instance_type": "local",
    "current_group_name": "homogeneousCluster",
    "instance_groups": [{"instance_group_name": "homogeneousCluster", "instance_type": "local", "hosts": ["algo-1"]}],
}


def _refuse(mode: str, kind: str | None, name: str) -> None:
    if mode == "Pipe" or kind not in _SOURCES:
        raise UnsupportedError(
            f"'{name}' is read in Pipe mode or by a manifest; run-local copies prefixes, in File mode"
        )


def _below(root: Path, path: str) -> Path:
    """Return where a path below ``/opt/ml`` is on this machine."""
    if not Path(path).is_relative_to(INSIDE) or ".." in Path(path).parts:
        raise UnsupportedError(f"LocalPath '{path}' is not below {INSIDE}; run-local has no other folder for a job")
    return root / Path(path).relative_to(INSIDE)


def _moved(word: str, root: Path) -> str:
    """Return a word of a command with ``/opt/ml`` where it is on this machine."""
    return str(root / Path(word).relative_to(INSIDE)) if word.startswith(f"{INSIDE}/") else word


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, sort_keys=True), encoding="utf-8")
