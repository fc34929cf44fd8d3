"""A model on disk: JSON and safetensors, each file's SHA-256 in the manifest; loading checks all of it.

``manifest.json`` (written last), ``schema.json``, ``ledger.json``, and the sampler's own files in ``sampler/``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field

from synth_components.config import Config, ConfigError
from synth_components.encryption import rest
from synth_components.encryption.confined import confined
from synth_components.encryption.key import WrappingKey
from synth_components.encryption.sealed import is_sealed
from synth_components.errors import ArtifactError, SynthError, UnsupportedError
from synth_components.generators import names, sampler_type
from synth_components.null_indicator import null_indicators
from synth_components.privacy.charges import NEIGHBOURS
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Sampler
from synth_components.schema import Boolean, Key, Numeric, Schema

FORMAT = "synth_components.model"
FORMAT_VERSION = 1
"""Raised when an older library could no longer read what we write."""

MANIFEST = "manifest.json"
LEDGER = "ledger.json"
SEALED = "model.sealed"
"""The one file of an encrypted model: all others, packed and sealed."""

SUFFIXES = (".json", ".safetensors")


class Statement(Config):
    """What privacy a model promises.

    A loss that is not bounded has no epsilon.
    """

    epsilon: float | None = Field(None, ge=0, description="Privacy loss; null if it is not bounded.")
    delta: float = Field(0.0, ge=0, lt=1, description="Probability with which epsilon may be exceeded.")
    unit: str = Field("a row of the table", description="Whom the promise protects.")
    neighbours: str = Field(NEIGHBOURS, description="Which data sets the promise compares.")
    theorem: str = Field("none", description="Why it holds; none without a promise.")
    profile_epsilon: float = Field(0.0, ge=0, description="The part of epsilon that profiling the table spent.")


class Manifest(Config):
    """What a model is and comes from; no clock, path or host, so that equal fits give equal files."""

    generator: str = Field(description="Name of the generator.")
    options: dict[str, Any] = Field(default_factory=dict, description="Its options, every default written out.")
    library_version: str = Field(description="Version of synth-components that fitted the model.")
    seed: int | None = Field(None, description="Seed of the fit; null under differential privacy.")
    rows: int | None = Field(None, description="Training rows of the root table; null under differential privacy.")
    data_digest: str | None = Field(None, description="SHA-256 of the training rows; null under differential privacy.")
    privacy: Statement = Field(default_factory=Statement, description="The promise.")
    holds_rows: bool = Field(default=False, description="Whether the sampler keeps training rows.")
    choice: dict[str, Any] = Field(
        default_factory=dict,
        description="What was chosen for the caller, and why, and what speaks against it; empty for none.",
    )
    start: dict[str, Any] = Field(
        default_factory=dict,
        description="The model that the fit went on from, and how the rows differ; empty for none.",
    )

    @property
    def identity(self) -> str:
        """What the audit trail calls the model: equal fits have an equal one."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]


class _File(Manifest):
    """The manifest as it stands on disk."""

    format: Literal["synth_components.model"] = "synth_components.model"
    format_version: int = Field(FORMAT_VERSION, strict=True, ge=1, le=FORMAT_VERSION)
    files: dict[str, str] = Field(description="SHA-256 by path within the folder.")


@dataclass(frozen=True)
class Artifact:
    """The parts of a saved model."""

    sampler: Sampler
    schema: Schema
    ledger: Ledger
    manifest: Manifest
    fingerprint: str = ""  # of one that was loaded


def save(artifact: Artifact, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a model folder, whole or not at all; an empty folder or an older model is replaced.

    Args:
        overwrite: Also replace a folder that holds something else.

    Raises:
        ArtifactError: if ``path`` may not be replaced, or the sampler writes files of another kind.
    """
    path = Path(path)
    refuse_foreign(path, overwrite=overwrite)
    with _staging(path) as staging:
        if rest.writes_sealed("models"):
            with confined() as folder:
                (folder / "model").mkdir()
                _fill(folder / "model", artifact)
                rest.seal_folder(folder / "model", staging / SEALED, rest.key_for(path))
        else:
            _fill(staging, artifact)
        _publish(staging, path)


def seal(source: Path, path: Path, key: WrappingKey) -> None:
    """Write a model folder sealed, after checking every byte of it.

    Raises:
        ArtifactError: if ``source`` is no model or damaged, or ``path`` may not be replaced.
    """
    refuse_foreign(path)
    with _staging(path) as staging, confined() as folder:
        shutil.copytree(source, folder / "model")
        _check_files(folder / "model", _manifest(folder / "model").files)
        rest.seal_folder(folder / "model", staging / SEALED, key)
        _publish(staging, path)


def unseal(source: Path, path: Path) -> None:
    """Write a sealed model folder in plain, with the key of the circumstances.

    Raises:
        EncryptionError: if the key is another one, or the file was tampered with.
        ArtifactError: if ``path`` may not be replaced.
    """
    refuse_foreign(path)
    with rest.opened_folder(source / SEALED) as folder:
        copy(folder, path)


def fingerprint(artifact: Artifact) -> str:
    """Return the SHA-256 of all that a model is, as ``fingerprint_of`` finds it where the model is saved.

    Copies, sealed or not, have the same one; two fits have it only if they learned the same to the bit.
    """
    if artifact.fingerprint:
        return artifact.fingerprint
    with confined() as folder:
        _fill(folder, artifact)
        return _manifest_digest(folder)


def fingerprint_of(path: Path) -> str:
    """Return the fingerprint of a saved model; what it learned is not loaded, unless it is encrypted.

    Raises:
        ArtifactError: if the folder is no model, or its manifest is damaged.
        EncryptionError: if it is encrypted, and the key of the circumstances does not open it.
    """
    if _is_sealed(path):
        with rest.opened_folder(path / SEALED) as folder:
            return fingerprint_of(folder)
    _manifest(path)
    return _manifest_digest(path)


def _manifest_digest(folder: Path) -> str:
    return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["digest"])


def main_file(path: Path) -> Path:
    """Return the file by which a folder is a model: its manifest, or all of it sealed."""
    return path / SEALED if (path / SEALED).is_file() else path / MANIFEST


def _fill(folder: Path, artifact: Artifact) -> None:
    """Write the files of a model, the manifest last."""
    (folder / "sampler").mkdir()
    artifact.sampler.save(folder / "sampler")
    _write(folder / "schema.json", artifact.schema.canonical())
    _write(folder / LEDGER, _canonical(artifact.ledger.to_json()))
    files = {name: _sha256(folder / name) for name in sorted(_files(folder))}
    if wrong := [name for name in files if not name.endswith(SUFFIXES)]:
        raise ArtifactError(f"the sampler wrote {wrong}; a model holds only {' and '.join(SUFFIXES)} files")
    if empty := _stray_folders(folder, files):
        raise ArtifactError(f"the sampler made the empty folders {empty}; a model holds files only")
    value = _File(**artifact.manifest.model_dump(), files=files).model_dump(mode="json")
    for name in ("choice", "start"):
        if not value[name]:
            del value[name]  # what older versions read has no such entry
    _write(folder / MANIFEST, json.dumps({**value, "digest": _digest(value)}, indent=1, sort_keys=True) + "\n")


def copy(source: Path, path: Path) -> None:
    """Copy a model folder, whole or not at all, after checking every byte of it.

    The generator is not imported.

    Raises:
        ArtifactError: if ``source`` is no model or damaged, or ``path`` may not be replaced.
    """
    refuse_foreign(path)
    with _staging(path) as staging:
        shutil.copytree(source, staging, dirs_exist_ok=True)
        if not _is_sealed(staging):  # a sealed one is checked by whoever has its key, as it is opened
            _check_files(staging, _manifest(staging).files)
        _publish(staging, path)


def refuse_foreign(path: Path, *, overwrite: bool = False) -> None:
    """Refuse to put a model where something else is; an empty folder or an older model may be replaced.

    Args:
        overwrite: Let a folder be replaced that holds something else, but never the working directory.

    Raises:
        ArtifactError: if ``path`` is a file, the working directory or one around it, or holds what is no model.
    """
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise ArtifactError(f"{place} is a file; name a folder for the model")
    if Path.cwd().is_relative_to(path.resolve()):
        raise ArtifactError(f"folder {path} holds the working directory; name a folder of its own for the model")
    if path.is_dir() and any(path.iterdir()) and not overwrite and not _is_model(path):
        raise ArtifactError(f"folder {path} holds something that is no model; name a new or an empty folder")


@contextmanager
def _staging(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``, or within it where nothing beside it can be written; remove it after."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inside = path.is_dir() and (path.is_mount() or not os.access(path.parent, os.W_OK))
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path if inside else path.parent))
    try:
        staging.chmod(0o755)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _publish(staging: Path, path: Path) -> None:
    """Move a finished folder to its place."""
    if staging.parent == path:  # a mounted folder cannot be replaced: its content is, the manifest last
        for old in path.iterdir():
            if old != staging:
                shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        for new in sorted(staging.iterdir(), key=lambda entry: entry.name == MANIFEST):
            new.replace(path / new.name)
        return
    if not path.exists():
        staging.replace(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    path.replace(old / "old")
    try:
        staging.replace(path)
    except OSError:
        (old / "old").replace(path)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def load(path: str | Path, *, trust: tuple[str, ...] = ()) -> Artifact:
    """Return the model of a folder, after checking every byte of it.

    Args:
        trust: Module paths of generators that may be imported although nobody installed them as generators.

    Raises:
        ArtifactError: if the folder is no model, damaged, incomplete, too new, or names an unknown generator.
        EncryptionError: if it is encrypted, and the key of the circumstances does not open it.
    """
    path = Path(path)
    if _is_sealed(path):
        with rest.opened_folder(path / SEALED) as folder:
            return _load(folder, trust)
    return _load(path, trust)


def _load(path: Path, trust: tuple[str, ...]) -> Artifact:
    manifest = _manifest(path)
    _check_files(path, manifest.files)
    if manifest.generator not in names() and manifest.generator not in trust:
        raise ArtifactError(
            f"the model in {path} is of generator '{manifest.generator}', which is not installed here; install its "
            "package, or name it in `trust` if you know where it comes from"
        )
    plain = Manifest(**{name: getattr(manifest, name) for name in Manifest.model_fields})
    try:
        schema = Schema.from_json(json.loads((path / "schema.json").read_text(encoding="utf-8")))
        ledger = Ledger.from_json(json.loads((path / LEDGER).read_text(encoding="utf-8")))
        kind = sampler_type(manifest.generator, trust=trust)
        sampler = kind.load(path / "sampler")
        _check_schemas(path, schema, sampler.schema)
        return Artifact(sampler, schema, ledger, plain, _manifest_digest(path))
    except (ArtifactError, UnsupportedError):
        raise
    except (SynthError, OSError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise ArtifactError(
            f"the model in {path} cannot be read by this version ({type(error).__name__}); it was written by version "
            f"{manifest.library_version}"
        ) from error


def manifest_of(path: Path) -> Manifest:
    """Return what a model is and comes from, without loading what it learned, unless it is encrypted.

    Raises:
        ArtifactError: if the folder is no model, or its manifest is damaged.
        EncryptionError: if it is encrypted, and the key of the circumstances does not open it.
    """
    return load(path).manifest if _is_sealed(path) else _manifest(path)


def ledger_of(path: Path) -> Ledger:
    """Return a model's ledger; what it learned is not loaded, unless it is encrypted.

    Raises:
        ArtifactError: if the folder is no model, or its manifest or ledger is damaged.
        EncryptionError: if it is encrypted, and the key of the circumstances does not open it.
    """
    if _is_sealed(path):
        return load(path).ledger
    listed = _manifest(path).files
    place = path / LEDGER
    if place.is_symlink() or not place.is_file() or _sha256(place) != listed.get(LEDGER):
        raise ArtifactError(f"{LEDGER} in {path} is missing or was changed after it was written; restore the model")
    return Ledger.from_json(json.loads(place.read_text(encoding="utf-8")))


def reasons_of(path: Path) -> tuple[str, ...]:
    """Return why a model's generator and options were chosen, and where its fit went on from.

    Raises:
        ArtifactError: if the folder is no model, or its manifest is damaged.
        EncryptionError: if it is encrypted, and the key of the circumstances does not open it.
    """
    return reasons(manifest_of(path))


def reasons(manifest: Manifest) -> tuple[str, ...]:
    """Return what ``reasons_of`` does, of a manifest that was read."""
    choice, start = manifest.choice, manifest.start
    made = list(choice.get("told", ()))
    if "reasons" in choice:
        made.append(f"The generator was chosen: {choice['generator']}, because {'; '.join(choice['reasons'])}.")
    if start:
        drift = "; ".join(start["drift"]) or "none"
        made.append(f"The fit went on from model {start['model']} ({start['generator']}); drift of its rows: {drift}.")
    return tuple(made)


def _manifest(path: Path) -> _File:
    """Return the checked manifest."""
    if not path.is_dir():
        raise ArtifactError(f"there is no model folder at {path}")
    if not (path / MANIFEST).is_file():
        raise ArtifactError(f"folder {path} is not a model: it has no {MANIFEST}")
    if (path / MANIFEST).is_symlink():
        raise ArtifactError(f"{MANIFEST} in {path} is a link; a model holds plain files only")
    try:
        value = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        actual = _digest({k: v for k, v in value.items() if k != "digest"}) if isinstance(value, dict) else ""
    except (ValueError, RecursionError):
        raise ArtifactError(f"{MANIFEST} in {path} is damaged: it is not JSON; restore the model") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ArtifactError(f"folder {path} is not a model: its {MANIFEST} is of another kind")
    version = value.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ArtifactError(
            f"the model in {path} has format {version}, newer than {FORMAT_VERSION}; update synth-components"
        )
    digest = value.pop("digest", None)
    if digest != actual:
        raise ArtifactError(f"{MANIFEST} in {path} was changed after it was written; restore the model")
    try:
        return _File.parse(value)
    except ConfigError as error:
        raise ArtifactError(f"{MANIFEST} in {path} is damaged ({error})") from None


def _check_files(path: Path, listed: Mapping[str, str]) -> None:
    """Raise unless the folder holds exactly the listed files, plain and unchanged."""
    for name in listed:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or pure.as_posix() != name:
            raise ArtifactError(f"{MANIFEST} in {path} names a file outside the folder; do not trust this model")
        if not name.endswith(SUFFIXES):
            raise ArtifactError(f"{MANIFEST} in {path} names a file that is neither {' nor '.join(SUFFIXES)}")
    found = set(_files(path)) - {MANIFEST}
    if missing := sorted(set(listed) - found):
        raise ArtifactError(f"the model in {path} is incomplete: {missing} is missing; copy the whole folder")
    if extra := sorted(found - set(listed)):
        raise ArtifactError(f"the model in {path} has files that do not belong to it: {extra}; remove them")
    if empty := _stray_folders(path, listed):
        raise ArtifactError(f"the model in {path} has folders that do not belong to it: {empty}; remove them")
    for name, digest in listed.items():
        if _sha256(path / name) != digest:
            raise ArtifactError(f"'{name}' of the model in {path} is damaged: its SHA-256 differs; restore the model")


def _files(folder: Path) -> Iterator[str]:
    """Yield the path of each file within a folder, refusing links."""
    for entry in sorted(folder.rglob("*")):
        name = entry.relative_to(folder).as_posix()
        if entry.is_symlink():
            raise ArtifactError(f"'{name}' of the model in {folder} is a link; a model holds plain files only")
        if not entry.is_dir():
            yield name


def _stray_folders(folder: Path, files: Iterable[str]) -> list[str]:
    """Return the folders within a folder that hold none of its files; the sampler's own may be empty."""
    needed = {parent.as_posix() for name in files for parent in PurePosixPath(name).parents} | {"sampler"}
    found = (entry.relative_to(folder).as_posix() for entry in folder.rglob("*") if entry.is_dir())
    return sorted(set(found) - needed)


def _check_schemas(path: Path, schema: Schema, learned: Schema) -> None:
    """Raise unless the sampler draws the columns that the model decodes and promises."""
    expected = dict(schema.modelled.tables)
    if indicators := null_indicators(schema):
        columns = dict.fromkeys(indicators.values(), Boolean(public=True))
        expected = {schema.root: {**expected[schema.root], **columns}}
    if len(schema.tables) == 1:  # numbers stand for the key that tells sequences apart
        drawn = learned.columns.items()
        numbers = {n: c for n, c in drawn if isinstance(schema.columns.get(n), Key) and isinstance(c, Numeric)}
        expected = {schema.root: {**expected[schema.root], **numbers}}
    if expected != dict(learned.tables):
        raise ArtifactError(f"schema.json of the model in {path} is not that of its sampler; restore the model")


def _is_sealed(path: Path) -> bool:
    """Return whether a folder holds a sealed model and nothing beside it."""
    return path.is_dir() and [one.name for one in path.iterdir()] == [SEALED] and is_sealed(path / SEALED)


def _is_model(path: Path) -> bool:
    """Return whether a folder holds a model, perhaps a damaged one, and nothing beside it."""
    if _is_sealed(path):
        return True
    try:
        value = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        found = set(_files(path)) - {MANIFEST}
    except (OSError, ValueError, RecursionError, ArtifactError):
        return False
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        return False
    listed = value.get("files", {})
    return isinstance(listed, dict) and found <= set(listed)


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(dict(value)).encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
