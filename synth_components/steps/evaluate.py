"""The steps that judge synthetic rows, one per group of scores, and their composition."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from synth_components.errors import DataError, SynthError, ThresholdError, UnsupportedError
from synth_components.evaluation.options import (
    EvaluateConfig,
    FidelityConfig,
    JudgeConfig,
    PrivacyConfig,
    UtilityConfig,
)
from synth_components.limits import costs_so_far
from synth_components.progress import stage
from synth_components.protocols import Dataset
from synth_components.steps.map_file import read_map, read_schema
from synth_components.steps.port import (
    InDataset,
    InSchema,
    OptionalInModel,
    OptionalOutPage,
    OutReport,
    Place,
    Port,
)
from synth_components.steps.record import costs_beside, write_json, write_text

if TYPE_CHECKING:
    from synth_components.evaluation.recommendation import Recommendation
    from synth_components.schema import Schema

InResiduals = Annotated[Path | None, Port("in", "statistics", optional=True)]

SPLIT = "The holdout was split off the real rows before training: no generator saw it."
"""What the report of `synth run` says of its holdout."""

_LOG = logging.getLogger(__name__)


def evaluate(
    config: EvaluateConfig,
    *,
    train: InDataset,
    holdout: InDataset,
    synthetic: InDataset,
    schema: InSchema = None,
    model: OptionalInModel = None,
    residuals: InResiduals = None,
    report: OutReport,
    page: OptionalOutPage = None,
) -> None:
    r"""Judge synthetic rows: fidelity, utility, privacy, validity, and one overall score.

        synth evaluate --train train.csv --holdout holdout.csv --synthetic synthetic.csv \
            --target outcome --report report.json --page report.html

    Every score stands beside its floor: the same score of an independent real sample.

    Args:
        train: The real rows that the model was trained on.
        holdout: Real rows that it has not seen.
        synthetic: The rows to judge.
        schema: What the columns hold; without it the model's schema, or else one profiled from the real rows.
        model: The model that drew the rows, which the report then names; also for its schema and rules. With
            `privacy=dp` only a model with an epsilon is named.
        residuals: What `synth preserve` wrote, to stand in the report.
        report: Where the report goes.
        page: Where the report goes as a page to look at.

    Raises:
        ThresholdError: if the overall score is below `min_quality`; the report is written all the same.
    """
    _judge(
        config, train, holdout, synthetic, read_schema(schema, model), report, page, residuals=residuals, model=model
    )


@wraps(evaluate)
def evaluate_run(config: EvaluateConfig, **places: Any) -> None:  # noqa: ANN401 - the ports of ``evaluate``
    """Judge as ``evaluate`` does, and say in the report that its holdout was split off before training."""
    _judge(
        config,
        places["train"],
        places["holdout"],
        places["synthetic"],
        read_schema(None, places["model"]),
        places["report"],
        places["page"],
        model=places["model"],
        notes=(SPLIT,),
    )


def evaluate_fidelity(
    config: FidelityConfig,
    *,
    train: InDataset,
    holdout: InDataset,
    synthetic: InDataset,
    schema: InSchema = None,
    model: OptionalInModel = None,
    report: OutReport,
    page: OptionalOutPage = None,
) -> None:
    """Judge how alike real and synthetic rows are: marginals, pairs, detection.

    Args:
        train: The real rows that the model was trained on.
        holdout: Real rows that it has not seen.
        synthetic: The rows to judge.
        schema: What the columns hold; without it the model's schema, or else one profiled from the real rows.
        model: The model that drew the rows, which the report then names.
        report: Where the report goes.
        page: Where the report goes as a page to look at.
    """
    _judge(config, train, holdout, synthetic, read_schema(schema, model), report, page, model=model)


def evaluate_tstr(
    config: UtilityConfig,
    *,
    train: InDataset,
    holdout: InDataset,
    synthetic: InDataset,
    schema: InSchema = None,
    model: OptionalInModel = None,
    report: OutReport,
    page: OptionalOutPage = None,
) -> None:
    """Judge how well learners trained on synthetic rows predict real ones (TSTR), against real rows.

    Args:
        train: The real rows that the model was trained on.
        holdout: Real rows that it has not seen.
        synthetic: The rows to judge.
        schema: What the columns hold; without it the model's schema, or else one profiled from the real rows.
        model: The model that drew the rows, which the report then names.
        report: Where the report goes.
        page: Where the report goes as a page to look at.
    """
    _judge(config, train, holdout, synthetic, read_schema(schema, model), report, page, model=model)


def evaluate_privacy(
    config: PrivacyConfig,
    *,
    train: InDataset,
    holdout: InDataset,
    synthetic: InDataset,
    schema: InSchema = None,
    model: OptionalInModel = None,
    report: OutReport,
    page: OptionalOutPage = None,
) -> None:
    r"""Attack the synthetic rows, and run smoke tests of memorisation; each score beside the holdout's own.

        synth evaluate-privacy --train train.csv --holdout holdout.csv --synthetic synthetic.csv \
            --quasi-identifiers '["age", "postcode"]' --secrets '["diagnosis"]' --report report.json --page report.html

    Args:
        train: The real rows that the model was trained on.
        holdout: Real rows that it has not seen.
        synthetic: The rows to judge.
        schema: What the columns hold; without it the model's schema, or else one profiled from the real rows.
        model: The model that drew the rows, which the report then names.
        report: Where the report goes.
        page: Where the report goes as a page to look at.
    """
    _judge(config, train, holdout, synthetic, read_schema(schema, model), report, page, model=model)


def _judge(
    config: JudgeConfig,
    train: Place,
    holdout: Place,
    synthetic: Place,
    schema: Schema | None,
    report: Path,
    page: Path | None,
    *,
    residuals: Path | None = None,
    model: Path | None = None,
    notes: tuple[str, ...] = (),
) -> None:
    from synth_components.evaluation import evaluate as judge
    from synth_components.io.artifact import fingerprint_of, ledger_of, manifest_of, reasons_of
    from synth_components.io.dataset import read_dataset
    from synth_components.preserve.residuals import reported
    from synth_components.privacy.budget_file import account
    from synth_components.privacy.charges import of_model, uncovered_first
    from synth_components.privacy.ledger import SETTLED, Ledger

    earlier = (*costs_so_far(), *costs_beside(model), *costs_beside(synthetic))
    shared = account()
    is_private = isinstance(config, EvaluateConfig) and config.privacy == "dp"
    if is_private and residuals is not None:
        raise UnsupportedError("residuals were read off real rows without noise; leave them out with privacy=dp")
    if shared is not None and not is_private:
        shared.require_uncovered("evaluate")
    with stage("evaluate") as progress:
        by_cell = is_private and schema is not None
        settled = Ledger(account=SETTLED)  # the judge writes it down
        real = read_dataset(train, schema=schema, ledger=settled, by_cell=by_cell)
        unseen = read_dataset(holdout, schema=schema, by_cell=True) if by_cell else _rows(holdout, real.schema)
        drawn = _rows(synthetic, real.schema)
        if shared is not None:
            for rows in (real, unseen):
                shared.require_data(rows)
        found = judge(real, unseen, drawn, config=config, report=progress)
    # Time and memory tell how many rows there are, those of the fit included.
    costs = () if is_private else (*earlier, *found.costs)
    found = replace(found, costs=costs, notes=(*notes, *found.notes))
    # Why a generator was chosen, its ledger and its fingerprint are exact functions of rows without a bounded epsilon.
    if model is not None and not (is_private and manifest_of(model).privacy.epsilon is None):
        advice = _resolved(found.recommendations, model)
        fitted = of_model(ledger_of(model), manifest_of(model).privacy)
        found = replace(
            found,
            recommendations=advice,
            notes=(*found.notes, *reasons_of(model)),
            ledger=uncovered_first((*found.ledger, *fitted)),
            judged=replace(found.judged, model=fingerprint_of(model)),
        )
    if residuals is not None:
        found = reported(found, read_map(residuals, "residuals"))
    write_json(report, found.to_json())
    if page is not None:
        write_text(page, found.to_html())
    for verdict in found.card:
        value = "not scored" if verdict.value is None else f"{verdict.value:.3f}"
        _LOG.info("%s  %s: %s, %s %.3f", verdict.sign, verdict.name, value, verdict.relation, verdict.threshold)
    _LOG.info("overall score: %s", "not scored" if found.overall.value is None else f"{found.overall.value:.3f}")
    if not found.passed:
        score = "not scored" if found.overall.value is None else f"{found.overall.value:.4g}"
        raise ThresholdError(
            f"the overall score is {score}, and min_quality asks for {config.min_quality:g}; the report's "
            "recommendations say what to change"
        )


def _resolved(advice: tuple[Recommendation, ...], model: Path) -> tuple[Recommendation, ...]:
    """Return the advice with the changes that a model's generator can take, and the new values."""
    from synth_components.evaluation.recommendation import resolved
    from synth_components.generators import recipe_type
    from synth_components.io.artifact import manifest_of

    manifest = manifest_of(model)
    name, options = manifest.generator, manifest.options
    if manifest.choice and "reasons" in manifest.choice:  # the generator that tabular.auto chose
        name, options = manifest.choice["generator"], manifest.choice["options"]
    try:
        recipe = recipe_type(name).parse(options)
    except SynthError:  # code that is not installed, and that nobody trusts here
        return advice
    return resolved(advice, recipe, name)


def _rows(place: Place, schema: Schema) -> Dataset:
    """Return rows in the schema's dtypes, or as they are if they do not fit: how many do not is a score of its own."""
    from synth_components.io.dataset import read_dataset, read_table

    try:
        return read_dataset(place, schema=schema)
    except DataError:
        return Dataset({schema.root: read_table(place)}, schema)
