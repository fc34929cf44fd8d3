"""One component inside its container: executor input in, the step, executor output out.  Needs no kfp."""

from __future__ import annotations

import logging
import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from synth_components.config import StepConfig
from synth_components.errors import DataError
from synth_components.io.dataset import format_of
from synth_components.steps.port import Kind, Port, config_of
from synth_components.steps.record import perform, settled, write_json
from synth_components.steps.report_file import read_report, values_of
from synth_components.steps.reuse import digest
from synth_kubeflow.components import Component
from synth_kubeflow.executor_io import ExecutorIO

if TYPE_CHECKING:
    from synth_components.steps.port import Place

SCHEMA_VERSION = 1
"""Version of the metadata of an artifact."""

METADATA: Mapping[str, str] = MappingProxyType(
    {
        "synth.kind": "What lies there: dataset, model, report, page, text, schema, statistics, constraints, policy, "
        "evidence or directory.",
        "synth.schema_version": "Version of this metadata, 1.",
        "synth.package_version": "Version of synth-components that wrote it.",
        "synth.data_digest": "SHA-256 of the file, or of the folder's names and files; absent of the real rows that "
        "were split for a model with differential privacy.",
        "synth.seed": "Seed that was used; absent where the step has none.",
        "synth.rows": "Rows of a dataset, or training rows of a model; absent of a model with differential privacy, "
        "and of the real rows that were split for one.",
        "synth.generator": "Generator of a model.",
        "synth.epsilon": "Privacy loss of a model; absent where it is not bounded, and then the next three are, too.",
        "synth.delta": "Probability with which epsilon may be exceeded.",
        "synth.unit": "Whom the promise protects.",
        "synth.neighbours": "Which data sets the promise compares.",
        "synth.ledger.entries": "Reads of real rows that a model or report was charged with.",
        "synth.ledger.uncovered": "How many of them lie outside any epsilon.",
        "synth.ledger.digest": "SHA-256 of the ledger of a model.",
    }
)
"""What the metadata of every output artifact may hold, but those of ``metrics`` and ``roc``, which hold themselves."""

METRICS = "metrics"
"""Name of the output that every component has."""

ROC = "roc"
"""Name of the output that Kubeflow draws as a ROC."""

SCORE = "score"
"""Name of the output parameter of a component that judges."""

ENDINGS: Mapping[Kind, str] = MappingProxyType(
    {
        "dataset": ".parquet",
        "report": ".json",
        "schema": ".json",
        "statistics": ".json",
        "constraints": ".json",
        "policy": ".json",
        "evidence": ".json",
        "page": ".html",
        "text": ".md",
    }
)
"""Endings that steps go by, of what is a file.  An artifact has none: its path is given."""

_LOG = logging.getLogger(f"synth_components.{__name__}")  # the command line shows what the core logs


def execute(component: Component, executor_input: str) -> None:
    """Run the step of a component on an executor input, then write the executor output.

    Args:
        executor_input: What ``{{$}}`` became.

    Raises:
        DataError: if an input has nothing in it, or there is no score where one is an output.
        SynthError: what the step raises; then there is no executor output.
    """
    io = ExecutorIO.parse(executor_input)
    step, known = component.load(), component.ports()
    options = {name: value for name, value in io.parameters.items() if name in component.fields()}
    config = settled(config_of(step).parse(options))
    # Beside the outputs, so that moving one there is a renaming; the rest of an image may be read-only.
    with TemporaryDirectory(prefix=".synth-", dir=io.outputs[METRICS].path.parent) as folder:
        places = _staged(_with_maps(io, component.maps(), Path(folder)), known, Path(folder))
        with _tracked():
            record = perform(step, config, places, beside=False)
        written = {name: Path(str(places[name])) for name, port in known.items() if port.direction == "out"}
        metadata = {name: _about(known[name], path, config) for name, path in written.items()}
        roc = {ROC: _roc(known, written)} if component.has_roc else {}
        score = {SCORE: _score(component, known, written)} if component.score else {}
        took = {"seconds": record["seconds"], "peak_memory_mib": record["peak_mib"]}
        metrics = took | _metrics(known, written, metadata)
        for name, path in written.items():
            _move(path, io.outputs[name].path)
    told = {METRICS: metrics, **roc}
    for name, said in told.items():
        write_json(io.outputs[name].path, said)
    io.finish({**metadata, **told}, score)


def _with_maps(io: ExecutorIO, maps: Mapping[str, str], folder: Path) -> ExecutorIO:
    """Return the executor input with a file for each map that stands for an artifact; an empty one is none."""
    files: dict[str, tuple[Path, ...]] = {}
    for name, port in maps.items():
        value = io.parameters.get(name)
        if not value:
            continue
        if io.inputs.get(port):
            raise DataError(f"input '{port}' and '{name}' say the same; leave out one of them")
        if _is_beyond_floats(value):
            raise DataError(
                f"'{name}' has a whole number beyond 2^53, which Kubeflow Pipelines rounds; connect an artifact to "
                f"'{port}'"
            )
        files[port] = (folder / f"{name}.json",)
        write_json(files[port][0], value)
    return replace(io, inputs={**io.inputs, **files})


def _is_beyond_floats(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(_is_beyond_floats(part) for part in value.values())
    if isinstance(value, list):
        return any(_is_beyond_floats(part) for part in value)
    return isinstance(value, int) and abs(value) >= 2**53


def _staged(io: ExecutorIO, known: Mapping[str, Port], folder: Path) -> dict[str, Place | tuple[Place, ...] | None]:
    """Return a path for each port, with the ending that steps go by."""
    places: dict[str, Place | tuple[Place, ...] | None] = {}
    for name, port in known.items():
        if port.direction == "out":
            places[name] = folder / f"{name}{ENDINGS.get(port.kind, '')}"
            continue
        paths = io.inputs.get(name, ())
        if not paths and not port.optional:
            raise DataError(f"input '{name}' is missing from the executor input; connect it to an output")
        named = [_named(name, port, path, folder / f"{name}-{number}") for number, path in enumerate(paths)]
        places[name] = tuple(named) if port.many else named[0] if named else None
    return places


def _named(name: str, port: Port, path: Path, link: Path) -> Path:
    """Return a path to an input artifact whose ending tells its format."""
    if not path.exists():
        raise DataError(f"input '{name}': there is nothing at '{path}'; the task before it did not write it")
    if path.is_dir() or _has_ending(port, path):
        return path
    named = link.with_name(f"{link.name}{_ending(port, path)}")
    named.symlink_to(path.resolve())
    return named


def _has_ending(port: Port, path: Path) -> bool:
    if path.suffix.lower() in {".json", ".yaml", ".yml"}:
        return True
    try:
        return port.kind in {"dataset", "conditions"} and bool(format_of(path.name))
    except DataError:
        return False


def _ending(port: Port, path: Path) -> str:
    """Return the ending for a file without one, by its first bytes: other people's components write CSV, too."""
    with path.open("rb") as stream:
        head = stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    if port.kind not in {"dataset", "conditions"}:
        return ".json" if head.startswith(b"{") else ".yaml"
    if head.startswith(b"{"):
        return ".jsonl" if port.kind == "dataset" else ".json"
    beginnings = {b"PAR1": ".parquet", b"\x89HDF": ".h5", b"\x1f\x8b": ".csv.gz", b"[": ".json"}
    return next((ending for start, ending in beginnings.items() if head.startswith(start)), ".csv")


def _about(port: Port, path: Path, config: StepConfig) -> dict[str, Any]:
    known: dict[str, Any] = {
        "synth.kind": port.kind,
        "synth.schema_version": SCHEMA_VERSION,
        "synth.package_version": version("synth-components"),
        "synth.data_digest": digest(path),
        "synth.seed": getattr(config, "seed", None),
    }
    if port.kind == "dataset":
        if getattr(config, "privacy", "none") == "dp":
            # What a private model is made from has no exact number here, as the model tells none, and no digest, which
            # would tell whoever guesses a table, or knows all of it but a row, whether the guess is right.
            del known["synth.data_digest"]
        else:
            known["synth.rows"] = _num_rows(path)
    elif port.kind == "model":
        from synth_components.model import Model
        from synth_components.privacy.charges import facts

        model = Model.load(path, trust=getattr(config, "trust", ()))
        manifest = model.manifest
        known |= {"synth.generator": manifest.generator, "synth.rows": manifest.rows, "synth.seed": manifest.seed}
        known |= {f"synth.{name}": value for name, value in facts(model.ledger, manifest.privacy).items()}
    elif port.kind == "report":
        ledger = read_report(path).ledger
        known |= {
            "synth.ledger.entries": len(ledger),
            "synth.ledger.uncovered": sum(not one.covered for one in ledger),
        }
    return {name: value for name, value in known.items() if value is not None}


def _num_rows(path: Path) -> int:
    from synth_components.io.arrow import parquet_num_rows
    from synth_components.io.location import locate

    return parquet_num_rows(locate(path))


def _metrics(
    known: Mapping[str, Port], written: Mapping[str, Path], metadata: Mapping[str, Mapping[str, Any]]
) -> dict[str, float]:
    """Return the rows of each output, and each score of the whole table or of a task; not those of columns."""
    found: dict[str, float] = {
        f"rows.{name}": said["synth.rows"] for name, said in metadata.items() if "synth.rows" in said
    }
    for name, path in written.items():
        if known[name].kind != "report":
            continue
        report = read_report(path)
        found |= {f"rows.{side}": count for side, count in report.rows.items()}
        if report.overall.value is not None:
            found["quality"] = report.overall.value
        for one in report.scores:
            if not one.subject or one.name.startswith("utility."):
                found["/".join([one.name, *one.subject])] = one.value
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _roc(known: Mapping[str, Port], written: Mapping[str, Path]) -> dict[str, Any]:
    """Return the boosted learner's ROC of the first task, as Kubeflow draws it; empty if the report has none."""
    (path,) = (path for name, path in written.items() if known[name].kind == "report")
    frame = read_report(path).curves.get("utility.roc")
    if frame is None:
        return {}
    drawn = frame[
        (frame["kind"] == "tstr") & (frame["learner"] == "boosted") & (frame["task"] == frame["task"].iloc[0])
    ]
    rates = zip(drawn["threshold"], drawn["true_positive_rate"], drawn["false_positive_rate"], strict=True)
    return {
        "confidenceMetrics": [
            {"confidenceThreshold": float(cut), "recall": float(true), "falsePositiveRate": float(false)}
            for cut, true, false in rates
        ]
    }


def _score(component: Component, known: Mapping[str, Port], written: Mapping[str, Path]) -> float:
    """Return the least of the scores of the first name that the report has, as `gate` compares them."""
    (path,) = (path for name, path in written.items() if known[name].kind == "report")
    report = read_report(path)
    held = {one.name for one in report.scores}
    name = next((name for name in component.score if name in held), None)
    if name is None:
        raise DataError(
            f"the report has none of the scores {', '.join(component.score)}, so there is no output '{SCORE}'; "
            "name a target that real rows predict"
        )
    return min(values_of(report, name))


def _move(source: Path, target: Path) -> None:
    if target.is_dir():  # left by an attempt that failed later
        shutil.rmtree(target)
    shutil.move(source, target)


@contextmanager
def _tracked() -> Iterator[None]:
    """Log into the run of MLflow that the platform opened for this task, and into no other.

    Kubeflow's MLflow plugin sets ``MLFLOW_RUN_ID``.  A server that is down costs a warning and not the task.
    """
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if not run_id or find_spec("mlflow") is None:
        yield
        return
    import mlflow
    from mlflow.exceptions import MlflowException

    import mlflow_flavor

    try:
        mlflow.start_run(run_id=run_id)
    except MlflowException as error:
        _LOG.warning("MLflow does not answer (%s), so nothing is logged there", type(error).__name__)
        yield
        return
    mlflow_flavor.autolog()
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    finally:
        mlflow_flavor.autolog(disable=True)
        try:
            mlflow.end_run(status)
        except MlflowException as error:
            _LOG.warning("MLflow stopped answering (%s), so its run is not closed", type(error).__name__)


def failed(message: str, status: int) -> int:
    """Write the last line of a failed task, ``ERROR <status>: <what>; <how to fix>``, and return the status."""
    sys.stderr.write(f"ERROR {status}: {' '.join(message.split())}\n")
    return status
