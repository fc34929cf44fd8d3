"""The models of a multi-model endpoint: loaded and unloaded as SageMaker says, within the memory of the container."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from synth_components.errors import ArtifactError, SynthError
from synth_components.io.archive import unpack
from synth_components.limits import memory
from synth_components.model import Model
from synth_components.service.command import load_served
from synth_components.service.options import ServeConfig
from synth_components.service.refusal import Refusal, refusal_of
from synth_sagemaker.layout import MODEL_ARCHIVE

GROWTH = 4
"""Bytes of memory that a byte of a model's files is counted as: what they become, and what loading takes meanwhile."""

FIXED_BYTES = 4 * 2**20
"""Memory of a model beside its files."""

MAX_NAME = 1_024
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Loaded:
    """A model on the shelf.

    Attributes:
        model: The model.
        url: Where it was loaded from.
        num_bytes: Memory that it counts as.
    """

    model: Model
    url: str
    num_bytes: int


@dataclass
class Shelf:
    """The loaded models by name; safe for threads.

    Attributes:
        root: Folder below which models lie; nothing outside is loaded.
        config: How models are loaded.
        max_bytes: Memory that all models may count as together, and the process may have.
    """

    root: Path
    config: ServeConfig
    max_bytes: int
    _held: dict[str, Loaded] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self, name: str, url: str) -> None:
        """Load a model, from its folder or its ``model.tar.gz``.

        Raises:
            Refusal: 400 for what is no model below ``root``, 409 for a name that is taken, 507 if there is no room.
        """
        if not name.isprintable() or not 0 < len(name) <= MAX_NAME:
            raise Refusal(400, "ConfigError", f"model_name must be a printable text of 1 to {MAX_NAME} characters")
        with self._lock:
            if name in self._held:
                raise Refusal(409, "Conflict", "a model of that name is loaded; unload it first")
            try:
                with _folder(self._place(url), self._room()) as folder:
                    num_bytes = FIXED_BYTES + GROWTH * sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
                    if num_bytes > self._room() or memory()[0] + num_bytes > self.max_bytes:
                        raise _full()
                    self._held[name] = Loaded(load_served(folder, self.config), url, num_bytes)
            except SynthError as error:
                raise refusal_of(error) from None
            except OSError as error:
                raise Refusal(400, "ArtifactError", f"the model cannot be read ({type(error).__name__})") from None

    def unload(self, name: str) -> None:
        """Forget a model; a request that uses it goes on.

        Raises:
            Refusal: 404 if there is none of that name.
        """
        with self._lock:
            if self._held.pop(name, None) is None:
                raise _missing()
        gc.collect()

    def get(self, name: str) -> Loaded:
        """Return a loaded model.

        Raises:
            Refusal: 404 if there is none of that name.
        """
        found = self._held.get(name)
        if found is None:
            raise _missing()
        return found

    def urls(self) -> dict[str, str]:
        """Return where each model was loaded from, by name, in the order of loading."""
        return {name: one.url for name, one in list(self._held.items())}

    def _room(self) -> int:
        return self.max_bytes - sum(one.num_bytes for one in self._held.values())

    def _place(self, url: str) -> Path:
        place = Path(url).resolve()
        if not place.is_relative_to(self.root.resolve()):
            raise Refusal(400, "ArtifactError", "the url must be a folder below the one of all models")
        return place


@contextmanager
def _folder(place: Path, room: int) -> Iterator[Path]:
    """Yield the folder of a model; of an archive, what it unpacks to within ``room`` bytes of memory."""
    archive = place / MODEL_ARCHIVE if place.is_dir() else place
    if (place / _MANIFEST).exists() or not archive.is_file():
        yield place
        return
    if archive.stat().st_size > room:
        raise _full()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        try:
            unpack(archive, folder, max_bytes=max(room, 0))
        except ArtifactError as error:
            raise Refusal(400, "ArtifactError", str(error)) from None
        yield folder


def _full() -> Refusal:
    return Refusal(507, "InsufficientStorage", "there is no memory for the model; unload another one first")


def _missing() -> Refusal:
    return Refusal(404, "NotFound", "no model of that name is loaded")
