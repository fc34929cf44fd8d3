"""A processing job: any step on the folders that SageMaker filled, with the step's own command line.

``synth sagemaker process sample --num-rows 1000`` reads ``processing/input/model`` and writes
``processing/output/synthetic/synthetic.parquet``.  A port named among the arguments is taken from there instead.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from synth_components.errors import DataError, ThresholdError
from synth_components.io.artifact import main_file
from synth_components.steps import STEPS, load
from synth_components.steps.command import StepCommand, read_arguments
from synth_components.steps.port import Port, Step, ports
from synth_components.steps.record import perform
from synth_sagemaker.channel import model_in, ready
from synth_sagemaker.layout import FILES, Cluster, Layout
from synth_sagemaker.model_quality import write_beside
from synth_sagemaker.train import scratch

_LOG = logging.getLogger(f"synth_components.{__name__}")  # the command line shows what the core logs


def process(name: str, arguments: Sequence[str], layout: Layout) -> None:
    """Run a step as the processing job of this container.

    On several hosts, each draws a shard of ``sample``; other steps take one host.

    Args:
        name: Name of the step, with dashes.
        arguments: Options of the step, as on the command line.

    Raises:
        UsageError: for an unknown step or option.
        SynthError: for inputs that cannot be read, and what the step raises.
    """
    if name.replace("-", "_") not in STEPS or "_" in name:
        raise click.UsageError(f"there is no step '{name}'; choose one of {', '.join(_dashed(step) for step in STEPS)}")
    step = load(name.replace("-", "_"))
    cluster = layout.cluster("processing")
    with scratch(layout) as folder:
        words = [
            *arguments,
            *_shard(step, arguments, cluster),
            *_inputs(step, arguments, layout, folder, len(cluster.hosts)),
            *_outputs(step, arguments, layout, cluster),
        ]
        command = StepCommand(name, step)
        with command.make_context(f"synth sagemaker process {name}", words) as context:
            config, places = read_arguments(step, command.params, context.params)
            try:
                perform(step, config, places, beside=False)  # a record beside a table would be taken for a part of it
            except ThresholdError:
                write_beside(places)
                raise
            write_beside(places)


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _is_said(name: str, arguments: Sequence[str]) -> bool:
    flag = f"--{_dashed(name)}"
    return any(word == flag or word.startswith(f"{flag}=") for word in arguments)


def _shard(step: Step, arguments: Sequence[str], cluster: Cluster) -> Iterator[str]:
    """Yield the options that give each host its own shard."""
    if len(cluster.hosts) == 1 or _is_said("num_shards", arguments):
        return
    if step.__name__ != "sample":
        raise DataError(f"{_dashed(step.__name__)} runs on one host, and the job has {len(cluster.hosts)}; ask for one")
    yield from ("--num-shards", str(len(cluster.hosts)), "--shard-index", str(cluster.rank))


def _inputs(step: Step, arguments: Sequence[str], layout: Layout, folder: Path, num_hosts: int) -> Iterator[str]:
    """Yield an option for each input that SageMaker filled."""
    said = {
        str((one.get("S3Input") or {}).get("LocalPath", "")).rstrip("/"): one.get("S3Input") or {}
        for one in layout.config("processingjobconfig", "processing").get("ProcessingInputs") or []
    }
    for name, port in ports(step).items():
        place = layout.input(name)
        if port.direction != "in" or not place.is_dir() or _is_said(name, arguments):
            continue
        flag = f"--{_dashed(name)}"
        asked = _as_channel(said.get(f"/opt/ml/processing/input/{name}", {}))
        for found in _places(place, port, asked, folder, num_hosts):
            yield from (flag, str(found))


def _as_channel(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a processing job says of an input in the words of a training job's channel."""
    return {
        "TrainingInputMode": asked.get("S3InputMode") or "File",
        "S3DataType": asked.get("S3DataType"),
        "S3DistributionType": asked.get("S3DataDistributionType"),
    }


def _places(place: Path, port: Port, asked: Mapping[str, Any], folder: Path, num_hosts: int) -> Iterator[Path]:
    """Yield the paths that a folder of inputs stands for: one, or for a port of many one for each entry."""
    if port.kind == "model":
        held = sorted(entry for entry in place.iterdir() if entry.is_dir() or entry.name.endswith(".tar.gz"))
        is_many = port.many and not main_file(place).is_file()
        for entry in held if is_many else [place]:
            yield model_in(entry, folder)
        return
    if port.kind == "report":  # what else an evaluation wrote lies beside it
        held = sorted(place.rglob(FILES["report"]))
        if held:
            yield from held if port.many else held[:1]
            return
    found = ready(place, port.kind, asked, scratch=folder, num_hosts=num_hosts)
    if found is None:
        return
    yield from sorted(found.iterdir()) if port.many and found.is_dir() else [found]


def _outputs(step: Step, arguments: Sequence[str], layout: Layout, cluster: Cluster) -> Iterator[str]:
    """Yield an option for each output that the step must have or SageMaker made a folder for."""
    known = ports(step)
    for name, port in known.items():
        if port.direction != "out" or _is_said(name, arguments):
            continue
        place = layout.output(name)
        if port.optional and not place.is_dir():
            # The page that shows a report goes beside it: a job has ten outputs at most.
            if port.kind != "page" or "report" not in known or known["report"].direction != "out":
                continue
            place = layout.output("report")
        place.mkdir(parents=True, exist_ok=True)
        yield from (f"--{_dashed(name)}", str(_file(place, name, port, arguments, cluster)))


def _file(place: Path, name: str, port: Port, arguments: Sequence[str], cluster: Cluster) -> Path:
    """Return the file of an output within its folder."""
    if port.kind not in FILES:
        return place
    file = place / FILES[port.kind].format(port=name)
    if port.kind == "dataset":
        format = _value("format", arguments)
        file = file.with_suffix(file.suffix if format in {None, "auto"} else f".{format}")
    # Hosts upload to one prefix: a name of its own for each shard, in the order of the rows.
    return file if len(cluster.hosts) == 1 else file.with_stem(f"{file.stem}-{cluster.rank:05d}")


def _value(name: str, arguments: Sequence[str]) -> str | None:
    flag = f"--{_dashed(name)}"
    for word, following in zip(arguments, [*arguments[1:], None], strict=False):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None
