"""The step that goes the whole way: split, train, sample, evaluate, and if asked gate and augment."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from synth_components.augment import AugmentConfig
from synth_components.config import StepConfig
from synth_components.limits import Cost, Meter, metered
from synth_components.policy import guard
from synth_components.privacy.budget_file import account
from synth_components.progress import stage, stamp
from synth_components.protocols import Budget
from synth_components.steps.augment import augment
from synth_components.steps.evaluate import evaluate_run
from synth_components.steps.gate import gate
from synth_components.steps.map_file import read_schema
from synth_components.steps.optimize import OptimizedTrainConfig, auto_optimize
from synth_components.steps.places import STATE, claim
from synth_components.steps.port import InConditions, InConstraints, InDataset, InSchema, OutRun, Place, Step
from synth_components.steps.record import perform, write_json
from synth_components.steps.reuse import digest, fingerprint
from synth_components.steps.sample import SampleConfig, sample
from synth_components.steps.split import split, split_for
from synth_components.steps.train import train

_LOG = logging.getLogger(__name__)


class RunConfig(OptimizedTrainConfig):
    """The options of every stage, by stage."""

    sample: SampleConfig = Field(SampleConfig(), description="Options of `synth sample`.")
    augment: tuple[AugmentConfig, ...] = Field(
        (), description="Options of `synth augment`, one map for each augmented table; empty for none."
    )

    @field_validator("augment", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: object) -> object:
        return (value,) if isinstance(value, Mapping | AugmentConfig) else value

    @model_validator(mode="after")
    def _optimizes_to_a_threshold(self) -> Self:
        """Refuse to retry on private rows, which reads them without noise, or without a threshold to reach."""
        if "auto_optimize" not in self.model_fields_set:
            return self
        if "dp" in (self.train.privacy, self.evaluate.privacy):
            raise ValueError("auto_optimize reads rows without noise, which privacy=dp does not allow; drop one")
        if "gate" not in self.model_fields_set and not self.evaluate.min_quality:
            raise ValueError("auto_optimize mends what misses a threshold; give a gate, or min_quality of evaluate")
        return self


@dataclass(frozen=True)
class Stage:
    """One step of the way, with its files."""

    name: str
    step: Step
    config: StepConfig
    inputs: Mapping[str, Place | None]
    outputs: Mapping[str, Path] = field(default_factory=dict)

    def fingerprint(self) -> str | None:
        """Return the digest of all that the outputs depend on; ``None`` if an input is not on a local disk."""
        return fingerprint(self.step, self.config, {n: place for n, place in self.inputs.items() if place is not None})

    def results(self) -> dict[str, str | None]:
        """Return the digests of the outputs."""
        return {name: digest(place) for name, place in self.outputs.items()}


def run(
    config: RunConfig,
    *,
    data: InDataset,
    schema: InSchema = None,
    constraints: InConstraints = None,
    conditions: InConditions = None,
    output: OutRun,
) -> None:
    """Go the whole way: split, train, sample, evaluate, then gate and augment if asked.

        synth run run.yaml
        synth run --data patients.csv --output synth-run

    The file holds the paths and, by stage, the options; paths are relative to the working directory:

        {"data": "patients.csv", "output": "synth-run", "train": {"generator": "tabular.trees"}}

    With `privacy: dp` the split is by hashes (`hashed`), unless it keeps strata: epsilon is then of the whole table.

    With `auto_optimize` (`{}` for its defaults) a setting of `train` that misses a threshold on a part of the training
    rows is changed as its report recommends; `optimization.json` and the report tell what was tried, why, and what was
    kept.

    The report tells what is missed, and nothing stops: whoever wants that names a gate, be it empty (`"gate": {}`,
    the default risk). Run again, it skips every stage whose inputs and options did not change.

    Args:
        data: The real table.
        schema: What the columns hold; without it a schema is profiled from the training rows.
        constraints: Rules that every synthetic row must obey.
        conditions: What the synthetic rows must satisfy.
        output: Where everything goes.

    Raises:
        DataError: if the output folder holds something that no run wrote.
        ThresholdError: if the report misses a threshold of `gate` or of `evaluate`.
    """
    limit = Budget(config.train.epsilon, config.train.delta) if config.train.privacy == "dp" else None
    declared = read_schema(schema)
    if limit is not None and declared is None:
        from synth_components.io.dataset import require_types

        require_types(data)
    guard.admit(limit, declared, label=f"fit {config.train.generator}")  # the split reads rows, too
    shared = account()
    if shared is not None and "auto_optimize" in config.model_fields_set:
        shared.require_room(None, label="auto_optimize")
    if shared is not None and config.evaluate.privacy != "dp":
        shared.require_uncovered("evaluate")  # before the fit spends what its report would be refused for
    claim(output)
    stages = _stages(config, data, schema, constraints, conditions, output)
    state, told = output / STATE, output / "run.json"
    done: dict[str, Any] = json.loads(state.read_text(encoding="utf-8"))
    record: dict[str, Any] = {"step": "run", "started": stamp(), "config": config.model_dump(mode="json"), "stages": []}
    with stage("run") as report, metered() as meter:
        try:
            for number, part in enumerate(stages, start=1):
                record["stages"].append(_advance(part, done, state, meter))
                report(number, len(stages))
        finally:
            write_json(told, {**record, "seconds": meter.seconds, "peak_mib": meter.peak_mib})


def _advance(part: Stage, done: dict[str, Any], state: Path, meter: Meter) -> dict[str, Any]:
    """Carry out one stage, unless it is done, and write down that it is."""
    found = part.fingerprint()
    before = done.get(part.name, {})
    if found is not None and (before.get("fingerprint"), before.get("outputs")) == (found, part.results()):
        _LOG.info("%s: done before, skipped", part.name)
        meter.costs.append(Cost(**before["cost"]))
        return {"step": part.name, "skipped": True}
    done.pop(part.name, None)
    told = perform(part.step, part.config, {**part.inputs, **part.outputs}, beside=False)
    done[part.name] = {"fingerprint": found, "outputs": part.results(), "cost": asdict(meter.costs[-1])}
    write_json(state, done)
    return {**told, "step": part.name, "skipped": False}


def _training(config: RunConfig, inputs: Mapping[str, Place | None], output: Path) -> Stage:
    """Return the stage that makes the model: as asked, or with what reports on training rows recommend."""
    model = {"model": output / "model"}
    if "auto_optimize" not in config.model_fields_set:
        return Stage("train", train, config.train, inputs, model)
    options = OptimizedTrainConfig(
        train=config.train,
        evaluate=config.evaluate,
        gate=config.thresholds,
        auto_optimize=config.auto_optimize,
        split=config.split,
    )
    return Stage("auto_optimize", auto_optimize, options, inputs, {**model, "search": output / "optimization.json"})


def _stages(
    config: RunConfig,
    data: Place,
    schema: Path | None,
    constraints: Path | None,
    conditions: Path | None,
    output: Path,
) -> list[Stage]:
    train_rows, holdout, synthetic = (output / f"{name}.parquet" for name in ("train", "holdout", "synthetic"))
    model, report, page = output / "model", output / "report.json", output / "report.html"
    tables = {"train": train_rows, "holdout": holdout}
    asks = {"data": train_rows, "schema": schema, "constraints": constraints}
    stages = [
        Stage("split", split, split_for(config.split, config.train.privacy), {"data": data, "schema": schema}, tables),
        _training(config, asks, output),
        Stage("sample", sample, config.sample, {"model": model, "conditions": conditions}, {"synthetic": synthetic}),
        Stage(
            "evaluate",
            evaluate_run,
            config.evaluate,
            {**tables, "synthetic": synthetic, "model": model},
            {"report": report, "page": page},
        ),
    ]
    if "gate" in config.model_fields_set:
        stages.append(Stage("gate", gate, config.gate, {"report": report, "model": model, "data": synthetic}))
    for number, options in enumerate(config.augment, start=1):
        name = "augmented" if len(config.augment) == 1 else f"augmented-{number}"
        inputs = {"data": train_rows, "model": model}
        stages.append(Stage(name, augment, options, inputs, {"augmented": output / f"{name}.parquet"}))
    return stages
