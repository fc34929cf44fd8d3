"""What SageMaker put into a channel, made ready for the steps: files in order of their names, with endings they go by.

File mode copies a channel before the job starts.  FastFile mode mounts it, and reads fast only from first byte to last:
each of its files is read so, once, to the volume of the job.  Pipe mode and manifests are refused.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from synth_components.encryption.rest import SUFFIX
from synth_components.errors import DataError
from synth_components.io.archive import unpack
from synth_components.io.artifact import main_file
from synth_components.io.dataset import format_of
from synth_components.steps.port import Kind
from synth_sagemaker.layout import MODEL_ARCHIVE

MODES = ("File", "FastFile")

CONTENT_TYPES: Mapping[Kind, Mapping[str, str]] = MappingProxyType(
    {
        "dataset": {
            "text/csv": ".csv",
            "application/x-parquet": ".parquet",
            "application/jsonlines": ".jsonl",
            "application/json": ".json",
        },
        "schema": {"application/json": ".json"},
        "constraints": {"application/json": ".json", "application/x-yaml": ".yaml"},
        "model": {"application/x-sagemaker-model": ".tar.gz"},
    }
)
"""The content types that a channel may declare, with the ending that each one means."""

MANIFESTS = ("ManifestFile", "AugmentedManifestFile")

_GZIP = b"\x1f\x8b"
_LINE = "File mode, FullyReplicated and S3Prefix"


def ready(folder: Path, kind: Kind, said: Mapping[str, Any], *, scratch: Path, num_hosts: int = 1) -> Path | None:
    """Return a file, a folder of parts in order, or a model's, that a step can read; ``None`` without the channel.

    Args:
        folder: Where SageMaker put the channel; its name is the channel's.
        kind: What lies there.
        said: What ``inputdataconfig.json`` says of the channel; empty if it says nothing.
        scratch: An empty folder for links and copies; it must outlive the step.
        num_hosts: Hosts of the job, each of which needs every row.

    Raises:
        DataError: for a channel that the steps cannot read, saying what to ask SageMaker for instead.
    """
    name = folder.name
    _refuse_mode(folder, said, num_hosts)
    ending = _ending(name, kind, said)
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise DataError(f"channel '{name}' is no folder; ask for {_LINE}")
    if kind == "model":
        return model_in(folder, scratch)
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    held = sorted((path for path in found if not any(part.startswith((".", "_")) for part in path.parts)), key=str)
    if not held:
        raise DataError(f"channel '{name}' has no files; check the S3 prefix")
    if kind != "dataset" and len(held) > 1:
        raise DataError(f"channel '{name}' has {len(held)} files; give the one file with the {kind}")
    is_streamed = said.get("TrainingInputMode") == "FastFile"
    staged = scratch / name
    staged.mkdir()
    for number, path in enumerate(held):
        source = folder / path
        target = staged / (path.name if len(held) == 1 else f"{number:06d}-{path.name}")
        if is_streamed:
            shutil.copyfile(source, target)
        else:
            target.symlink_to(source.resolve())
        _name(target, kind, ending, channel=name)
    return next(staged.iterdir()) if len(held) == 1 else staged


def model_in(place: Path, scratch: Path) -> Path:
    """Return the folder of a model, unpacked into ``scratch`` if SageMaker packed it.

    Raises:
        DataError: if there is no model, or more than one archive.
    """
    if place.is_dir():
        if main_file(place).is_file():
            return place
        packed = sorted(place.rglob("*.tar.gz"))
        if len(packed) != 1:
            raise DataError(
                f"input '{place.name}' is no model, and has {len(packed)} archives; give the folder of a model or its "
                f"{MODEL_ARCHIVE}"
            )
        place = packed[0]
    target = scratch / f"model-{len(list(scratch.iterdir()))}"
    unpack(place, target)
    return target


def _refuse_mode(folder: Path, said: Mapping[str, Any], num_hosts: int) -> None:
    name = folder.name
    mode = said.get("TrainingInputMode") or "File"
    # Pipe mode puts a named pipe for each epoch beside the channel's folder.
    if mode not in MODES or folder.with_name(f"{name}_0").is_fifo():
        raise DataError(
            f"channel '{name}' is in {mode} mode, and rows are read more than once; ask for File or FastFile"
        )
    is_manifest = said.get("S3DataType") in MANIFESTS or bool(said.get("AttributeNames"))
    if is_manifest or folder.with_name(f"{name}-manifest").exists():
        raise DataError(f"channel '{name}' is a manifest, which may name objects anywhere; ask for an S3Prefix")
    if said.get("RecordWrapperType") not in {None, "", "None"}:
        raise DataError(f"channel '{name}' is wrapped as RecordIO; ask for RecordWrapperType None")
    if num_hosts > 1 and said.get("S3DistributionType") == "ShardedByS3Key":
        raise DataError(
            f"channel '{name}' is sharded over {num_hosts} hosts, and each needs every row; ask for FullyReplicated"
        )


def _ending(name: str, kind: Kind, said: Mapping[str, Any]) -> str:
    """Return the ending that the channel's content type means; empty if it declares none."""
    declared = str(said.get("ContentType") or "").partition(";")[0].strip().lower()
    known = CONTENT_TYPES.get(kind, {})
    if declared and declared not in known:
        raise DataError(f"channel '{name}' has a content type that cannot be read; use one of {', '.join(known)}")
    return known.get(declared, "")


def _name(target: Path, kind: Kind, ending: str, *, channel: str) -> None:
    """Give a staged file an ending that says what the channel declares."""
    if target.name.endswith(SUFFIX):  # an encrypted one, which the steps know by how it begins
        target = target.rename(target.with_name(target.name.removesuffix(SUFFIX)))
    bare = target.name.lower().removesuffix(".gz")
    if kind != "dataset":
        if "." not in bare:
            target.rename(target.with_name(f"{target.name}{ending or '.json'}"))
        return
    try:
        format, is_gzip = format_of(target.name)
    except DataError:
        if not ending:
            raise DataError(
                f"channel '{channel}' has files of no known ending; name them .csv, .parquet or .jsonl, or declare the "
                "channel's content type"
            ) from None
        format, is_gzip = format_of(f"x{ending}")[0], False
        target = target.rename(target.with_name(f"{target.name}{ending}"))
    if ending and format != format_of(f"x{ending}")[0]:
        raise DataError(f"channel '{channel}' declares another content type than its files have by their endings")
    with target.open("rb") as stream:
        is_packed = stream.read(2) == _GZIP
    if is_packed and not is_gzip:
        target.rename(target.with_name(f"{target.name}.gz"))
