"""The step that refits a generator to see whether its rows give away who was trained on."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import Field

from synth_components.circumstances import around
from synth_components.config import ConfigError, Recipe, StepConfig
from synth_components.errors import DataError, UnsupportedError
from synth_components.generators import DEFAULT
from synth_components.generators import make as make_generator
from synth_components.progress import stage
from synth_components.steps.map_file import read_schema
from synth_components.steps.port import InDataset, InSchema, OptionalInModel, OptionalOutPage, OutReport
from synth_components.steps.record import write_json, write_text

if TYPE_CHECKING:
    from synth_components.io.artifact import Manifest

_LOG = logging.getLogger(__name__)


class ShadowAuditConfig(StepConfig):
    """Which generator to audit, and for how long."""

    generator: str = Field(DEFAULT, description="Name of the generator; `synth generators` lists them.")
    generator_options: dict[str, Any] = Field(
        {}, description="Options of the generator by name; `synth train --generator NAME --help` lists them."
    )
    budget: float = Field(10.0, gt=0, description="Minutes after which no further shadow model is fitted.")
    shadow_rows: int = Field(2_000, ge=50, description="Training rows of a shadow model; it draws as many.")
    shadows: int = Field(64, ge=8, le=10_000, description="Shadow models after which no further one is fitted.")
    records: int = Field(100, ge=10, description="Records that are looked for: those farthest from all others.")
    seed: int = Field(0, ge=0, lt=2**53, description="Seed of the pool, its halves, fits and samples.")
    trust: tuple[str, ...] = Field(
        (), description="Module paths of generators that may be imported although no installed package declares them."
    )


def shadow_audit(
    config: ShadowAuditConfig,
    *,
    data: InDataset,
    schema: InSchema = None,
    model: OptionalInModel = None,
    report: OutReport,
    page: OptionalOutPage = None,
) -> None:
    """Refit a generator on many halves of the rows, and attack the records that stand most alone.

        synth shadow-audit --data train.csv --generator tabular.trees --budget 30 --report audit.json

    With `--checkpoint FOLDER` the same command goes on where an earlier one ended, and its models count.

    With `--model` the report names a model of that generator and those options, fitted to these rows, and is evidence
    on it to a gate; no table of synthetic rows is named, since none was judged.

    Args:
        data: Real rows.
        schema: What the columns hold; without it the model's, or else one profiled from the rows.
        model: The model that the audit is of: of this generator, with these options, and fitted to these rows.
        report: Where the report goes; without scores if the budget allows fewer than 8 models.
        page: Where the report goes as a page to look at.

    Raises:
        ConfigError: if the model is of another generator, or of other options.
        DataError: if the model was fitted to other rows.
        UnsupportedError: for a model with an epsilon: the audit fits without one.
    """
    from synth_components.digest import digest
    from synth_components.evaluation import audited
    from synth_components.evaluation.attacks.shadow import shadow
    from synth_components.io.artifact import fingerprint_of, load, manifest_of
    from synth_components.io.dataset import read_dataset
    from synth_components.policy import guard
    from synth_components.privacy.budget_file import account

    # Refuse options before long work.
    recipe: Any = make_generator(config.generator, config.generator_options, trust=config.trust)
    held = None if model is None else _require_audited(manifest_of(model), config.generator, recipe)
    declared = read_schema(schema)
    if declared is None and model is not None:
        declared = load(model, trust=config.trust).schema
    guard.admit(None, declared, label=f"shadow audit of {config.generator}")
    shared = account()
    if shared is not None:
        shared.require_room(None, label=f"shadow audit of {config.generator}")  # its fits would be refused one by one
    rows = read_dataset(data, schema=declared)
    if held is not None and held.data_digest != digest({name: rows.batches(name) for name in rows.schema.tables}):
        raise DataError(
            "the model was fitted to other rows than these, or set some apart for a monitor: an audit of these is none "
            "of it; give its training rows, or leave the model out"
        )
    if declared is None:
        guard.admit_profiled(rows.schema, label=f"shadow audit of {config.generator}")
    said = around().checkpoint
    with TemporaryDirectory() as scratch, stage(f"shadow audit of {config.generator}") as progress:
        found = shadow(
            rows,
            generator=config.generator,
            options=config.generator_options,
            budget=config.budget,
            state=Path(said or scratch).expanduser() / "shadows.jsonl",
            rows=config.shadow_rows,
            records=config.records,
            most=config.shadows,
            seed=config.seed,
            trust=config.trust,
            report=progress,
        )
    half = min(config.shadow_rows, rows.num_rows(rows.schema.root) // 2)
    made = audited(found, rows=half, config=config, model="" if model is None else fingerprint_of(model))
    write_json(report, made.to_json())
    if page is not None:
        write_text(page, made.to_html())
    for one in made.scores:
        _LOG.info("%s: %.3f, floor %.3f", one.name, one.value, one.floor)
    for reason in made.tables["left_out"]["reason"] if "left_out" in made.tables else ():
        _LOG.warning("not scored: %s", reason)


def _require_audited(held: Manifest, name: str, recipe: Recipe) -> Manifest:
    """Return what a model says of itself, if it is of the generator that is audited, with its options.

    Raises:
        ConfigError: if it is not.
        UnsupportedError: if it has an epsilon.
    """
    if held.privacy.epsilon is not None:
        raise UnsupportedError(
            "the model has an epsilon, and an audit fits without one: what it finds is not of this model; leave the "
            "model out"
        )
    if held.generator != name:
        raise ConfigError(
            f"the model is of {held.generator}, and {name} is audited; audit its own generator", option="generator"
        )
    made = recipe.model_dump(mode="json")
    others = sorted(
        option for option in made.keys() | held.options.keys() if made.get(option) != held.options.get(option)
    )
    if others:
        raise ConfigError(
            f"the model has other options of {name} than are audited: {', '.join(others)}; audit with its own",
            option="generator_options",
        )
    return held
