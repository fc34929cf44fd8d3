"""A training job: the step ``train`` on the channels that SageMaker filled, and the model where it looks for it.

With a channel ``holdout`` the model is judged by rows drawn from it: the report goes to ``output/data``, its values
into the log, where a tuner finds them.  A model that misses a threshold of ``gate``, or that the privacy guard does not
let go, is not handed over.

On several hosts the leader alone trains and the others wait for it, unless the generator trains one model by several
processes: then each host starts torchrun, and each process is a training job that knows its peers.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from synth_components.circumstances import around, within
from synth_components.config import ConfigError, StepConfig
from synth_components.errors import DataError, ThresholdError
from synth_components.evaluation.options import EvaluateConfig
from synth_components.io import artifact
from synth_components.model import Model
from synth_components.peers import peers
from synth_components.policy import guard
from synth_components.progress import watching
from synth_components.steps import load
from synth_components.steps.gate import GateConfig, overspent
from synth_components.steps.port import Place, ports
from synth_components.steps.record import perform, write_json
from synth_components.steps.report_file import read_report, reported_in
from synth_sagemaker.channel import ready
from synth_sagemaker.hosts import follow, leading
from synth_sagemaker.hyperparameters import Training, decode
from synth_sagemaker.layout import CHANNELS, Cluster, Layout
from synth_sagemaker.metrics import GOALS, JOB_NAME, MetricLines, write_line
from synth_sagemaker.together import is_shared, run_torchrun

REPORT, PAGE, RECORD = "report.json", "report.html", "run.json"
"""What a job leaves in ``output/data``."""

_LOG = logging.getLogger(f"synth_components.{__name__}")  # the command line shows what the core logs


def train(layout: Layout) -> None:
    """Do what the training job of this container asks for.

    Raises:
        SynthError: for wrong hyperparameters and channels, and what the steps raise.
        ThresholdError: if the model misses what ``gate`` asks for; it is not handed over then.
        GuardError: if the model holds training rows, or the privacy policy does not allow it; it is not handed over.
        StoppedError: if a signal stopped the fit; its state is among the checkpoints then, if the generator keeps one.
    """
    said = decode(layout.config("hyperparameters"))
    cluster = layout.cluster()
    shared = is_shared(said.train, cluster)
    if peers().world_size > 1:
        _work(layout, said, cluster)
    elif shared and cluster.is_leader:
        with leading(cluster), scratch(layout) as folder:
            run_torchrun(said.train, cluster, folder)
    elif shared:
        with scratch(layout) as folder:
            follow(cluster, work=partial(run_torchrun, said.train, cluster, folder))
    elif cluster.is_leader:
        with leading(cluster):
            _work(layout, said, cluster)
    else:
        follow(cluster)


def _work(layout: Layout, said: Training, cluster: Cluster) -> None:
    """Train, judge and write the model; of several processes the first one does more than train."""
    with scratch(layout) as folder:
        places = _channels(layout, folder, len(cluster.hosts))
        holdout = places.pop("holdout", None)
        _require_use(said, holdout)
        model = folder / "model"
        with _circumstances(layout, said), _watched():
            record = perform(load("train"), said.train, {**places, "model": model}, beside=False)
        if peers().rank > 0:
            return
        fitted = Model.load(model, trust=said.train.trust)
        guard.refuse_rows(fitted.manifest, to="SageMaker")  # before the work of judging it
        layout.output_data.mkdir(parents=True, exist_ok=True)
        write_json(layout.output_data / RECORD, record)
        if holdout is None:
            missed = overspent(said.gate, model)
            if missed:
                raise ThresholdError(f"the model misses a threshold: {missed[0]}")
        else:
            _judge(said, layout, folder, model, {"train": places["data"], "holdout": holdout})
        found = reported_in(None if holdout is None else layout.output_data / REPORT)
        # What a job hands over is what RegisterModel and CreateModel take: AWS asks nothing in between.
        guard.release(fitted, found, to="SageMaker")
        artifact.copy(model, layout.model)
    _LOG.info("the model is in %s", layout.model)


@contextmanager
def scratch(layout: Layout) -> Iterator[Path]:
    """Yield a folder for the length of the block: on the job's own volume, which is encrypted if the job says so."""
    is_writable = layout.root.is_dir() and os.access(layout.root, os.W_OK)
    with TemporaryDirectory(prefix=".synth-", dir=layout.root if is_writable else None) as folder:
        yield Path(folder)


def _channels(layout: Layout, folder: Path, num_hosts: int) -> dict[str, Place]:
    """Return what each channel holds, by port."""
    said = layout.config("inputdataconfig")
    unknown = sorted(set(said) - set(CHANNELS.values()))
    if unknown:
        raise DataError(f"there is no channel '{unknown[0]}'; the channels are {', '.join(CHANNELS.values())}")
    kinds = {name: port.kind for step in ("evaluate", "train") for name, port in ports(load(step)).items()}
    found = {
        port: ready(layout.channel(port), kinds[port], said.get(channel, {}), scratch=folder, num_hosts=num_hosts)
        for port, channel in CHANNELS.items()
    }
    if found["data"] is None:
        raise DataError(f"channel '{CHANNELS['data']}' is missing: {ports(load('train'))['data'].description}")
    return {port: place for port, place in found.items() if place is not None}


def _require_use(said: Training, holdout: Place | None) -> None:
    """Refuse options of a judgement that will not be made, and a policy that nothing would be known about."""
    if holdout is not None:
        return
    if said.train.privacy == "none" and guard.policy_here() is not None:
        raise DataError(
            "a privacy policy is named, and holds of no model that nobody judged; give rows to judge it by as channel "
            "'holdout'"
        )
    kept: Mapping[str, tuple[StepConfig, StepConfig]] = {
        "evaluate": (said.evaluate, EvaluateConfig()),
        "gate": (said.gate, GateConfig(max_epsilon=said.gate.max_epsilon)),
    }
    for name, (config, plain) in kept.items():
        if config != plain:
            option = next(
                field for field in type(config).model_fields if getattr(config, field) != getattr(plain, field)
            )
            raise ConfigError(
                f"hyperparameter '{name}.{option}' needs rows to judge the model by; give them as channel 'holdout'",
                option=f"{name}.{option}",
            )


@contextmanager
def _circumstances(layout: Layout, said: Training) -> Iterator[None]:
    """Keep the state of the fit where SageMaker asks for it, if it may be kept: it would not be encrypted."""
    folder = Path(str(layout.config("checkpointconfig").get("LocalPath") or layout.checkpoints))
    may_resume = said.train.privacy == "none" and said.train.seed != -1 and around().encrypt == "none"
    if not folder.is_dir() or not may_resume:
        yield
        return
    with within(around().model_copy(update={"checkpoint": str(folder)})):
        yield
    folder.mkdir(exist_ok=True)  # a fit that is over removes its empty folder, which SageMaker watches


@contextmanager
def _watched() -> Iterator[None]:
    """Write metric lines, where the command line does not do so already because SageMaker named the job.

    Of several processes the first one writes.
    """
    with watching(() if os.environ.get(JOB_NAME) or peers().rank > 0 else (MetricLines(),)):
        yield


def _judge(said: Training, layout: Layout, folder: Path, model: Path, real: Mapping[str, Place]) -> None:
    synthetic, report = folder / "synthetic.parquet", layout.output_data / REPORT
    drawing = said.sample.model_copy(update={"trust": said.train.trust})
    perform(load("sample"), drawing, {"model": model, "synthetic": synthetic}, beside=False)
    outputs: dict[str, Any] = {"report": report, "page": layout.output_data / PAGE}
    places = {**real, "synthetic": synthetic, "model": model, **outputs}
    try:
        perform(load("evaluate"), said.evaluate, places, beside=False)
    finally:  # a report that misses `min_quality` is written, too
        told = read_report(report).values if report.is_file() else {}
        for name, value in told.items():
            if name in GOALS:
                write_line(f"validation:{name}", value)
    perform(load("gate"), said.gate, {"report": report, "model": model, "data": synthetic}, beside=False)
