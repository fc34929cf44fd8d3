"""What Kubeflow Pipelines hands a container, and what it wants back.  Needs no kfp, so it works in every image.

A component has one argument, ``--executor-input {{$}}``: JSON with the parameters, with where each artifact lies, and
with where the executor output goes, the file that carries metadata and output parameters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from synth_components.errors import DataError
from synth_components.steps.record import write_text

MAX_FAN_IN = 250
"""Most artifacts of one input: Linux ends an argument at 131,072 bytes, and ``{{$}}`` spends some 414 on each."""

_MOUNTS = {"gs://": "/gcs/", "minio://": "/minio/", "s3://": "/s3/"}


@dataclass(frozen=True)
class Output:
    """An artifact to write: its name and URI, and the path that is uploaded to there."""

    name: str
    uri: str
    path: Path


@dataclass(frozen=True)
class ExecutorIO:
    """An executor input.

    Attributes:
        parameters: Values by name; whole numbers are ``int``, which the JSON of KFP does not tell from ``float``.
        inputs: Paths of the input artifacts by name; of a list of artifacts, several.
        outputs: The output artifacts by name.
        output_file: Where the executor output goes.
    """

    parameters: Mapping[str, Any]
    inputs: Mapping[str, tuple[Path, ...]]
    outputs: Mapping[str, Output]
    output_file: Path

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the executor input that ``{{$}}`` became, with a folder for every output.

        Raises:
            DataError: if the text is no executor input, or an input has too many artifacts.
        """
        try:
            said = json.loads(text)
            inputs, outputs = said.get("inputs", {}), said["outputs"]
            made = cls(
                parameters={name: _whole(value) for name, value in inputs.get("parameterValues", {}).items()},
                inputs={
                    name: tuple(local_path(one) for one in held.get("artifacts", []))
                    for name, held in inputs.get("artifacts", {}).items()
                },
                outputs={
                    name: Output(one.get("name", ""), one["uri"], local_path(one))
                    for name, held in outputs.get("artifacts", {}).items()
                    for one in held["artifacts"][:1]
                },
                output_file=Path(outputs["outputFile"]),
            )
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
            raise DataError("--executor-input is no executor input of Kubeflow Pipelines; pass it '{{$}}'") from None
        for name, paths in made.inputs.items():
            if len(paths) > MAX_FAN_IN:
                raise DataError(
                    f"input '{name}' has {len(paths)} artifacts, and at most {MAX_FAN_IN} fit into one argument; "
                    "merge them in groups first"
                )
        for path in (*(output.path for output in made.outputs.values()), made.output_file):
            path.parent.mkdir(parents=True, exist_ok=True)  # the launcher does; kfp.local does not
        return made

    def finish(self, metadata: Mapping[str, Mapping[str, Any]], parameters: Mapping[str, Any]) -> None:
        """Write the executor output, whole or not at all.

        Args:
            metadata: Of each output of this component.  All are listed: kfp.local loses an artifact that is not.  Those
                that the platform added to the input, such as its logs, are the platform's to tell of.
            parameters: Output parameters by name.
        """
        artifacts = {
            name: {"artifacts": [{"name": one.name, "uri": one.uri, "metadata": dict(metadata[name])}]}
            for name, one in self.outputs.items()
            if name in metadata
        }
        said = {"parameterValues": dict(parameters), "artifacts": artifacts}
        write_text(self.output_file, json.dumps(said, sort_keys=True, allow_nan=False))


def local_path(artifact: Mapping[str, Any]) -> Path:
    """Return where the launcher puts an artifact, as ``kfp.dsl.Artifact.path`` does."""
    uri = str(artifact.get("customPath") or artifact["uri"])
    for scheme, mount in _MOUNTS.items():
        if uri.startswith(scheme):
            return Path(mount + uri.removeprefix(scheme))
    return Path(uri)


def _whole(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(part) for part in value]
    if isinstance(value, dict):
        return {name: _whole(part) for name, part in value.items()}
    return value
