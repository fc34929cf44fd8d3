"""A pipeline's definition, executed on this machine: the very JSON that AWS takes, with a folder in the place of S3.

Nothing is sent anywhere.  A run that was stopped goes on where it stopped: a step is done again only if what it asks
for, or what it reads, has changed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from synth_components.config import ConfigError
from synth_components.errors import DataError, ThresholdError, UnsupportedError
from synth_components.io.archive import unpack
from synth_components.model import Model
from synth_components.policy import guard
from synth_components.steps.places import STATE, claim
from synth_components.steps.record import write_json
from synth_components.steps.report_file import read_report, reported
from synth_components.steps.reuse import digest
from synth_sagemaker.expressions import Values
from synth_sagemaker.layout import FILES
from synth_sagemaker.local_job import Machine, Runner, Store
from synth_sagemaker.validate import KINDS, mistakes, order

_LOG = logging.getLogger(f"synth_components.{__name__}")  # the command line shows what the core logs

DATA = "DataUri"
"""The parameter that a folder of this machine stands for."""

EXECUTION = "local"
"""What the run is called in addresses: always the same, so that it can go on."""


@dataclass
class LocalRun:
    """A run: what is done, and what it became.

    Attributes:
        folder: Where everything goes.
        machine: What runs jobs.
        values: What expressions become.
        state: By step, the digest of what it asked for and read, what it became, and the digests of what it made.
        pages: The pages of reports, by step.
        trust: Modules of generators that a training job was told to import.
    """

    folder: Path
    machine: Machine
    values: Values
    state: dict[str, Any] = field(default_factory=dict)
    pages: dict[str, Path] = field(default_factory=dict)
    trust: list[str] = field(default_factory=list)

    def steps(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """Run steps, each after those that it needs.

        Raises:
            ThresholdError: if a step says that the run has failed.
            SynthError: if a job ends by a user's error.
            BrokenJob: if a job ends by a bug or a signal.
        """
        for step in order(steps):
            self._step(step)

    def _step(self, step: Mapping[str, Any]) -> None:
        name, kind = str(step["Name"]), str(step["Type"])
        match kind:
            case "Condition":
                held = all(self.values.holds(condition) for condition in step["Arguments"]["Conditions"])
                self.values.steps[name] = {"Outcome": held}
                _LOG.info("%s: the conditions %s", name, "hold" if held else "do not all hold")
                self.steps(step["Arguments"].get("IfSteps" if held else "ElseSteps") or [])
            case "Fail":
                raise ThresholdError(
                    f"step '{name}' ends the pipeline: {self.values.of(step['Arguments']['ErrorMessage'])}"
                )
            case "RegisterModel" | "Model":
                asked = self.values.of(step["Arguments"])
                self._guard(asked, name)
                write_json(self.folder / "registry" / f"{name}.json", asked)
                self.values.steps[name] = {"ModelPackageArn": f"local:{name}", "ModelName": f"local-{name}"}
                _LOG.info("%s: wrote the request, which is sent nowhere", name)
            case "Training" | "Processing":
                self._job(step, name, kind)
            case _:
                raise UnsupportedError(f"step '{name}' is of type {kind}, which run-local does not run; leave it out")

    def _guard(self, asked: Mapping[str, Any], name: str) -> None:
        """Ask the privacy guard whether the models of a request may go: here they are at hand, with their reports.

        Raises:
            GuardError: if the policy does not allow it, or a model holds training rows.
        """
        places = (self.machine.store.path(uri) for uri in dict.fromkeys(_reports(asked.get("ModelMetrics", {}))))
        reports = [place.with_name(FILES["report"]) for place in places]
        told = reported(*(read_report(report) for report in reports if report.is_file()))
        said = asked.get("InferenceSpecification", asked)
        for container in [*said.get("Containers", []), *filter(None, [said.get("PrimaryContainer")])]:
            if container.get("Image") not in self.machine.ours:
                continue
            with TemporaryDirectory(dir=self.folder) as scratch:
                unpack(self.machine.store.path(container["ModelDataUrl"]), Path(scratch) / "model")
                fitted = Model.load(Path(scratch) / "model", trust=tuple(self.trust))
                guard.release(fitted, told, to=f"{name}, SageMaker's registry")

    def _job(self, step: Mapping[str, Any], name: str, kind: str) -> None:
        asked = self.values.of(step["Arguments"])
        if kind == "Training":
            self.trust += json.loads(asked.get("HyperParameters", {}).get("trust", "[]"))
        key = self._key(asked)
        held = self.state.get(name, {})
        if held.get("asked") == key and held.get("made") == self._made(held.get("became", {})):
            _LOG.info("%s: done before", name)
            became = held["became"]
        else:
            self.state.pop(name, None)
            started = monotonic()
            job = f"pipelines-{EXECUTION}-{name}"
            became = self.machine.train(job, asked) if kind == "Training" else self.machine.process(job, asked)
            self.state[name] = {"asked": key, "became": became, "made": self._made(became)}
            write_json(self.folder / STATE, self.state)
            _LOG.info("%s: done in %.1f s", name, monotonic() - started)
        self.values.steps[name] = became
        self._note(step, name, became)

    def _note(self, step: Mapping[str, Any], name: str, became: Mapping[str, Any]) -> None:
        """Remember property files and pages among the outputs of a job."""
        outputs = {output: self.machine.store.path(uri) for output, uri in _outputs(became).items()}
        for file in step.get("PropertyFiles") or []:
            self.values.files[(name, file["PropertyFileName"])] = outputs[file["OutputName"]] / file["FilePath"]
        for path in outputs.values():
            for page in sorted(path.glob("*.html")) if path.is_dir() else ():
                self.pages[name] = page

    def _key(self, asked: Mapping[str, Any]) -> str:
        """Return the digest of what a job asks for, and of what lies where it reads."""
        read = {uri: [digest(path) for path in self.machine.store.found(uri)] for uri in _inputs(asked)}
        return hashlib.sha256(json.dumps([asked, read], sort_keys=True).encode()).hexdigest()

    def _made(self, became: Mapping[str, Any]) -> dict[str, str | None]:
        places = {uri: self.machine.store.path(uri) for uri in _addresses(became)}
        return {uri: digest(path) if path.exists() else None for uri, path in places.items()}


def run_local(
    definition: Mapping[str, Any],
    folder: Path,
    *,
    runner: Runner,
    data: Path | None = None,
    parameters: Mapping[str, str] | None = None,
    stand_ins: Mapping[str, str] | None = None,
) -> dict[str, Path]:
    """Execute a definition, and return the pages of its reports by step.

    Args:
        folder: Where everything goes: in ``s3`` what lies in buckets otherwise, in ``registry`` what is not sent.
        runner: Whether jobs are containers, without network, or processes.
        data: A file or folder of this machine that stands for what the parameter ``DataUri`` names.
        parameters: Texts of other parameters; a path of this machine may stand for an address of S3.
        stand_ins: By image: the local image, or on the host the command, that is run for it.

    Raises:
        DataError: if the definition is not valid, or an input is not there.
        ThresholdError: if a step says that the run has failed, or a job missed a threshold; reports are written.
        GuardError: if the privacy policy does not let a model be registered.
        SynthError: if a job ends by a user's error.
        BrokenJob: if a job ends by a bug or a signal.
    """
    found = mistakes(definition)
    if found:
        raise DataError(
            f"the definition has {len(found)} mistakes, the first: {found[0]}; see `synth sagemaker validate`"
        )
    claim(folder)
    root = folder.resolve()
    values, places = _parameters(definition, data, parameters or {})
    machine = Machine(runner, Store(root / "s3", places), root / "jobs", stand_ins or {}, _ours(definition))
    state = json.loads((root / STATE).read_text(encoding="utf-8"))
    run = LocalRun(root, machine, Values(values, {"PipelineExecutionId": EXECUTION, "PipelineName": EXECUTION}), state)
    try:
        run.steps(definition["Steps"])
    finally:
        shutil.rmtree(machine.scratch, ignore_errors=True)
        for name, page in run.pages.items():
            _LOG.info("report of %s: %s", name, page)
    return run.pages


def _parameters(
    definition: Mapping[str, Any], data: Path | None, said: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return the values of the parameters, and which of them are addresses that lie on this machine."""
    known = {one["Name"]: one for one in definition.get("Parameters", [])}
    texts = dict(said) if data is None else {DATA: str(data), **said}
    values: dict[str, Any] = {name: one.get("DefaultValue") for name, one in known.items()}
    places: dict[str, Path] = {}
    for name, text in texts.items():
        if name not in known:
            raise ConfigError(f"the pipeline has no parameter '{name}'; it has {', '.join(known)}", option=name)
        kind = known[name]["Type"]
        path = Path(text).expanduser()
        if kind == "String" and name.endswith("Uri") and not text.startswith("s3://"):
            if not path.exists():
                raise DataError(f"parameter '{name}': there is no file or folder '{text}'")
            address = values[name] or f"s3://local/{name}"
            places[address] = path.resolve()
            values[name] = address
        else:
            values[name] = _value(name, kind, text)
    missing = [name for name, value in values.items() if value is None]
    if missing:
        raise ConfigError(
            f"parameter '{missing[0]}' has no value; give --parameter {missing[0]}=...", option=missing[0]
        )
    return values, places


def _value(name: str, kind: str, text: str) -> Any:  # noqa: ANN401 - what the parameter's type says
    if kind == "String":
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, KINDS[kind]) or (kind != "Boolean" and isinstance(value, bool)):
        raise ConfigError(f"parameter '{name}' is of type {kind}; give such a value", option=name)
    return value


def _ours(definition: Mapping[str, Any]) -> frozenset[str]:
    """Return the images whose entry point is our command: they are ours when they train, too."""
    text = json.dumps(definition)
    found: set[str] = set()

    def look(value: Any) -> None:  # noqa: ANN401
        if isinstance(value, dict):
            if value.get("ContainerEntrypoint", [None])[0] == "synth":
                found.add(str(value.get("ImageUri")))
            for part in value.values():
                look(part)
        elif isinstance(value, list):
            for part in value:
                look(part)

    look(json.loads(text))
    return frozenset(found)


def _reports(metrics: Mapping[str, Any]) -> list[str]:
    """Return the addresses in ``ModelMetrics``."""
    return [leaf["S3Uri"] for member in metrics.values() for leaf in member.values()]


def _inputs(asked: Mapping[str, Any]) -> list[str]:
    channels = [one["DataSource"]["S3DataSource"]["S3Uri"] for one in asked.get("InputDataConfig", [])]
    return [*channels, *(one["S3Input"]["S3Uri"] for one in asked.get("ProcessingInputs", []))]


def _outputs(became: Mapping[str, Any]) -> dict[str, str]:
    outputs = became.get("ProcessingOutputConfig", {}).get("Outputs", {})
    return {name: one["S3Output"]["S3Uri"] for name, one in outputs.items()}


def _addresses(became: Mapping[str, Any]) -> list[str]:
    model = became.get("ModelArtifacts", {}).get("S3ModelArtifacts")
    return [*_outputs(became).values(), *([model] if model else [])]
