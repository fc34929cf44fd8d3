"""The resumable state of one fit: arrays and JSON in one file, which is written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from synth_components.errors import ArtifactError

FILE = "checkpoint.safetensors"
_FORMAT = "synth_components.checkpoint/1"
FINISHED = "finished"
"""The folder, within that of a member, of one that was fitted before a stop."""
FINISHED_FILE = "finished.json"
_MEMBER = "part-"


@dataclass(frozen=True)
class Checkpoint:
    """Where a fit keeps its state.  The state is as private as the rows that the fit reads.

    Attributes:
        folder: A folder, made when there is something to keep.
        fit: Digest of all that the fit depends on; a state of another fit is refused, not resumed.
        stage: Which of the trainings of a fit, where it is made of several; each has a file of its own.
    """

    folder: Path
    fit: str
    stage: str = ""

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / (f"checkpoint.{self.stage}.safetensors" if self.stage else FILE)

    def load(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
        """Return the arrays and the JSON value of the last ``save``; ``None`` if there is none.

        Raises:
            ArtifactError: if the file is damaged, or holds the state of another fit.
        """
        path = self.path
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                about = file.metadata() or {}
                if about.get("format") != _FORMAT:
                    raise ArtifactError(f"'{path}' is no checkpoint of this version; remove it, or name another folder")
                if about["fit"] != self.fit:
                    raise ArtifactError(
                        f"'{path}' is of another fit: other rows, options, seed, monitor or number of processes; "
                        "remove it, or name another folder"
                    )
                return {name: file.get_tensor(name) for name in file.keys()}, json.loads(about["value"])  # noqa: SIM118
        except (SafetensorError, ValueError, KeyError):
            raise ArtifactError(f"'{path}' is damaged; remove it, and the fit starts anew") from None

    def save(self, arrays: Mapping[str, NDArray[Any]], value: Mapping[str, Any]) -> None:
        """Take the place of what was saved before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path
        temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
        about = {"format": _FORMAT, "fit": self.fit, "value": json.dumps(dict(value), allow_nan=False)}
        try:
            save_file(dict(arrays), temporary, metadata=about)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def member_folder(folder: Path, number: int) -> Path:
    """Return the folder, within that of a fit made of several, for the state of one of them."""
    return folder / f"{_MEMBER}{number}"


def remove(folder: Path) -> None:
    """Remove the state of any fit from a folder, and of the fits that it is made of.

    The folder goes too, if nothing else is in it and it is no mount.
    """
    for member in folder.glob(f"{_MEMBER}*"):
        if member.is_dir():
            for finished in (member / FINISHED, *member.glob(f".{FINISHED}.*.partial")):
                if (finished / FINISHED_FILE).is_file() or finished.name != FINISHED:
                    shutil.rmtree(finished)
            remove(member)
    for path in folder.glob("checkpoint*.safetensors"):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not folder.is_mount() and not any(folder.iterdir()):
        folder.rmdir()
