"""The judge: fidelity, utility, privacy smoke tests and validity, each score beside its floor."""

from __future__ import annotations

import math
import platform
import zlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd
from numpy import random

from synth_components.config import MIN_CATEGORY_COUNT, StepConfig
from synth_components.errors import DataError, SchemaError, UnsupportedError
from synth_components.evaluation import association, detection, fidelity, manifold, proximity, utility, validity
from synth_components.evaluation.attacks import (
    attribute,
    inversion,
    linkability,
    membership,
    reidentification,
    singling_out,
)
from synth_components.evaluation.attacks.risk import risk
from synth_components.evaluation.card import Verdict, card
from synth_components.evaluation.floor import CORRECTION, EXPLANATION, INTERVALS
from synth_components.evaluation.judged import Judged, digest_of
from synth_components.evaluation.options import (
    ATTACKS,
    EvaluateConfig,
    FidelityConfig,
    JudgeConfig,
    PrivacyConfig,
    UtilityConfig,
)
from synth_components.evaluation.quality import Quality, quality
from synth_components.evaluation.recommendation import Recommendation, recommendations
from synth_components.evaluation.report import NO_HOLDOUT, NO_TRAIN, Report
from synth_components.limits import costing, metered
from synth_components.privacy.budget_file import BudgetFile, opened
from synth_components.privacy.charges import of_evaluation
from synth_components.privacy.ledger import SETTLED, Ledger
from synth_components.protocols import Context, Dataset, Evidence, report_nothing
from synth_components.protocols import Report as Progress
from synth_components.schema import Schema
from synth_components.split import some_of, split, together

if TYPE_CHECKING:
    from synth_components.model import Model


class Judge(Protocol):
    """A metric of ours: ``protocols.Metric`` with the options of its group."""

    def __call__(
        self,
        train: Dataset,
        holdout: Dataset,
        synthetic: Dataset,
        *,
        context: Context,
        rng: random.Generator,
        config: Any = ...,  # noqa: ANN401 - each group has a config class of its own
    ) -> Evidence:
        """Return scores, curves and tables."""


METRICS: Mapping[str, tuple[Judge, ...]] = MappingProxyType(
    {
        "fidelity": (
            fidelity.marginal,
            fidelity.coverage,
            fidelity.missing,
            fidelity.curves,
            association.association,
            detection.detection,
            manifold.manifold,
        ),
        "utility": (utility.utility, utility.global_utility),
        "privacy": (
            proximity.copies,
            proximity.proximity,
            membership.membership,
            attribute.attribute,
            singling_out.singling_out,
            linkability.linkability,
            reidentification.reidentification,
            inversion.inversion,
        ),
        "validity": (validity.validity,),
    }
)
"""Every metric by group.  A new one is added here and nowhere else."""

HOLDOUT_SHARE = 0.2
"""Share of the real rows that ``evaluate`` sets aside when it is given train or holdout, and not both."""

_GROUPS: Mapping[type[JudgeConfig], tuple[str, ...]] = {
    EvaluateConfig: ("fidelity", "utility", "privacy", "validity"),
    FidelityConfig: ("fidelity", "validity"),
    UtilityConfig: ("utility",),
    PrivacyConfig: ("privacy",),
}


def evaluate(
    train: pd.DataFrame | Dataset | None,
    holdout: pd.DataFrame | Dataset | None,
    synthetic: pd.DataFrame | Dataset,
    *,
    schema: Schema | None = None,
    config: JudgeConfig = EvaluateConfig(),  # noqa: B008 - frozen
    target: str = "",
    ledger: Ledger | None = None,
    report: Progress = report_nothing,
    model: Model | None = None,
) -> Report:
    """Judge synthetic rows against the rows that were trained on and a holdout that was not.

    The groups follow from the class of ``config``: ``FidelityConfig`` (with validity), ``UtilityConfig``,
    ``PrivacyConfig``, or ``EvaluateConfig`` for all.

    Args:
        train: ``None`` if they are not at hand: some of the holdout then stands in for them, privacy is not scored,
            since copies of rows are only found beside those rows, and the report says so.
        holdout: Real rows that the generator never saw.  ``None`` splits them off ``train``; the report then says that
            they were not unseen.
        schema: The schema of all three tables; ``None`` takes a dataset's own, or profiles the training rows.
        target: Column to predict, instead of ``config.target``.
        ledger: Written to, not charged: reading real rows here is outside the epsilon of any model.  With
            ``privacy="dp"`` it is charged, before any row is read; otherwise one with a budget is refused.
        report: Told after every metric how many are done.
        model: The model that drew the synthetic rows, for the report to name: the guard and the registries take no
            report for evidence on another one.  With ``privacy="dp"`` only one whose epsilon is bounded is named, for
            the fingerprint of another one is an exact function of its training rows.

    Raises:
        SchemaError: for a table that lacks a column, or a target that is none.
        DataError: for a table without rows, for too few tables, or with ``privacy="dp"`` if the budget file is for
            other rows.
    """
    groups = _GROUPS.get(type(config), ("fidelity", "utility", "privacy", "validity"))
    if target and isinstance(config, UtilityConfig):
        config = type(config).parse({**config.model_dump(), "target": target})
    if isinstance(config, EvaluateConfig) and config.privacy == "dp":
        made = _privately(train, holdout, synthetic, schema, config, opened(ledger))
        # What a fit without differential privacy made of its rows, its fingerprint, tells them apart from all others.
        is_bounded = model is not None and math.isfinite(model.privacy.epsilon)
        return replace(made, judged=_judged(synthetic, model if is_bounded else None))
    if ledger is not None and ledger.budget is not None:
        raise UnsupportedError(
            "a ledger with a budget was given, and these measures read real rows without noise; give "
            "EvaluateConfig(privacy='dp'), or no budget"
        )
    real = holdout if train is None else train
    if real is None:
        raise DataError("there are no real rows to judge by; give the training rows and a holdout")
    account = opened(ledger)
    before = len(account.entries)
    told = [_size(data, name, config) for name, data in (("train", train), ("holdout", holdout)) if data is not None]
    account.note_uncovered(f"evaluate: {' and '.join(told)} rows")
    known = _schema(real, schema)
    stream = random.SeedSequence(config.seed, spawn_key=(zlib.crc32(b"holdout"),))
    rng = random.default_rng(stream)
    notes: list[str] = []
    evidence: list[Evidence] = []
    if train is None:
        groups = tuple(group for group in groups if group != "privacy")
        if not groups:
            raise DataError("privacy is judged beside the training rows, and there are none; give them")
        evidence.append(_left_out("privacy", "there were no training rows to find copies of"))
    if train is None or holdout is None:
        frame = _held(real, "holdout" if train is None else "train", known, config, notes).table
        notes.append(_NO_HOLDOUT if holdout is None else _NO_TRAIN)
        train, holdout = split(frame, share=HOLDOUT_SHARE, rng=rng, unit=together(known))
    given = {"train": train, "holdout": holdout, "synthetic": synthetic}
    sides = [_held(data, name, known, config, notes) for name, data in given.items()]
    for name, data in zip(("train", "holdout", "synthetic"), sides, strict=True):
        if len(data.table) == 0:
            raise DataError(f"the {name} table has no rows; there is nothing to judge")
    context = Context(unit=() if known.unit is None else known.unit.columns)
    asked = {group: tuple(metric for metric in METRICS[group] if _is_asked(metric, config)) for group in groups}
    total = sum(map(len, asked.values()))
    done = 0
    report(done, total)
    with _one_thread(), metered() as meter:
        for group in groups:
            with costing(f"evaluate {group}"):
                for metric in asked[group]:
                    name = getattr(metric, "__name__", group)
                    # One stream per metric: adding a metric changes no other's numbers.
                    rng = random.default_rng(random.SeedSequence(config.seed, spawn_key=(zlib.crc32(name.encode()),)))
                    options = config if isinstance(config, _OPTIONS[group]) else _OPTIONS[group]()
                    evidence.append(metric(sides[0], sides[1], sides[2], context=context, rng=rng, config=options))
                    done += 1
                    report(done, total)
    named = tuple(utility.tasks(context, config)) if isinstance(config, UtilityConfig) else ()
    made = _report(evidence, sides, named, groups, config, (*notes, *_remarks(known)), account)
    return replace(
        made,
        costs=tuple(meter.costs),
        ledger=of_evaluation(account, known, since=before),
        judged=_judged(synthetic, model),
    )


def _judged(synthetic: pd.DataFrame | Dataset, model: Model | None) -> Judged:
    return Judged("" if model is None else model.fingerprint, digest_of(synthetic))


def _privately(
    train: pd.DataFrame | Dataset | None,
    holdout: pd.DataFrame | Dataset | None,
    synthetic: pd.DataFrame | Dataset,
    schema: Schema | None,
    config: EvaluateConfig,
    account: Ledger,
) -> Report:
    """Return the report under differential privacy: of the holdout, or of the training rows if there is none."""
    from synth_components.evaluation.private import private_evidence

    real = train if holdout is None else holdout
    if real is None:
        raise DataError("there are no real rows to judge by; give the training rows or a holdout")
    known = schema if schema is not None else real.schema if isinstance(real, Dataset) else None
    if known is None or not known.is_public:
        raise SchemaError(
            "a private report needs a public schema: one that is read off the rows tells about them; declare the "
            "columns and mark them public"
        )
    judged = replace(real, schema=known) if isinstance(real, Dataset) else Dataset({known.root: real}, known)
    drawn = Dataset({known.root: synthetic.table if isinstance(synthetic, Dataset) else synthetic}, known)
    if len(drawn.table) == 0:
        raise DataError("the synthetic table has no rows; there is nothing to judge")
    rng = random.default_rng(random.SeedSequence(config.seed, spawn_key=(zlib.crc32(b"private"),)))
    shared = account.shared()
    units = None
    if isinstance(shared, BudgetFile):
        shared.require_data(real)
        units = shared.public_units()
    before = len(account.entries)
    with _one_thread():
        found, rows = private_evidence(judged, drawn, config=config, ledger=account, rng=rng, units=units)
    unit = known.unit
    who = "a row" if unit is None or unit.max_rows == 1 else f"any {unit.max_rows} rows"
    if unit is not None and unit.columns:
        who = f"all rows of one {', '.join(unit.columns)}, at most {unit.max_rows}"
    spent = f"epsilon {config.epsilon:g}" + (f" at delta {config.delta:g}" if config.mechanism == "gaussian" else "")
    side = "training rows" if holdout is None else "holdout"
    statement = (
        f"This report is itself a release of the {side}: it costs {spent}, by {config.mechanism} noise on counts, for "
        f"{who}, added or removed, and adds to what else was released of the same rows.",
        "Every score is made of noisy counts and of the synthetic rows, which are taken to be public, and whose digest "
        "the report holds: do not share it before them, unless differential privacy made them. A model without bounded "
        "epsilon is not named.",
    )
    delta = config.delta if config.mechanism == "gaussian" else 0.0
    return Report(
        scores=found.scores,
        curves=found.curves,
        tables=found.tables,
        card=(),
        overall=quality((), (), threshold=0.0),
        recommendations=(),
        notes=(
            "Columns and pairs are compared by the cells of the public schema: 1 is no difference in shares. A score "
            "is corrected for what noise and sampling add, and its interval repeats both. The floor is that of an "
            "independent sample.",
            "The number of real rows is a noisy count.",
        ),
        versions=software(),
        privacy=statement,
        rows={"real": rows, "synthetic": len(drawn.table)},
        tasks=(),
        config=config.model_dump(mode="json"),
        costs=(),  # time and memory tell how many rows there are
        ledger=of_evaluation(account, known, since=before, delta=delta),
    )


_NO_HOLDOUT = (
    f"{NO_HOLDOUT}: no holdout was given, so {HOLDOUT_SHARE:.0%} of the real rows were set aside now, after training. "
    "Floors stand, but copies, DCR and TSTR are judged too kindly; split before training."
)
_NO_TRAIN = (
    f"{NO_TRAIN}: {1 - HOLDOUT_SHARE:.0%} of the holdout stood in for them. Privacy was not scored, because copies of "
    "training rows are only found beside them. The rest stands if the holdout was unseen; TSTR is judged too kindly if "
    "it was trained on."
)

_OPTIONS: Mapping[str, type[JudgeConfig]] = {
    "fidelity": FidelityConfig,
    "utility": UtilityConfig,
    "privacy": PrivacyConfig,
    "validity": JudgeConfig,
}


def _is_asked(metric: Judge, config: JudgeConfig) -> bool:
    """Return whether to judge by a metric: by any but the attacks, and by the attacks that were asked for."""
    name = getattr(metric, "__name__", "")
    return name not in ATTACKS or not isinstance(config, PrivacyConfig) or name in config.attacks


def _one_thread() -> AbstractContextManager[Any]:
    """Keep learners and matrix products to one thread within the block.

    Samples are bounded, so threads would gain little; on a busy machine they cost twenty times the work in waiting for
    each other, and sums that depend on their number.
    """
    import sklearn.ensemble  # noqa: F401 - only what is loaded can be kept to one thread
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(limits=1)
    return limits


def _report(
    evidence: list[Evidence],
    sides: list[Dataset],
    tasks: tuple[str, ...],
    groups: tuple[str, ...],
    config: JudgeConfig,
    notes: tuple[str, ...],
    ledger: Ledger,
) -> Report:
    scores = tuple(one for found in evidence for one in found.scores)
    curves = {name: frame for found in evidence for name, frame in found.curves.items()}
    tables: dict[str, pd.DataFrame] = {}
    for found in evidence:
        for name, frame in found.tables.items():
            tables[name] = pd.concat([tables[name], frame], ignore_index=True) if name in tables else frame
    scores += risk(scores, tables)
    sizes = dict(zip(("train", "holdout", "synthetic"), (len(side.table) for side in sides), strict=True))
    uncovered = tuple(entry.label for entry in ledger.entries if not entry.covered)
    statement = (
        "This evaluation reads real rows without differential privacy: it lies outside the epsilon of any model, and "
        "its numbers, though aggregates, are not private.",
        *(f"Read outside the model's epsilon: {label}." for label in uncovered),
        *(
            (
                "Copies and distances are smoke tests, and the attacks are those that were tried: what passes them can "
                "yield to another, and none of it proves privacy.",
            )
            if "privacy" in groups
            else ()
        ),
    )
    return Report(
        scores=scores,
        curves=curves,
        tables=tables,
        card=card(scores, tasks),
        overall=quality(scores, tasks, threshold=config.min_quality),
        recommendations=recommendations(scores, tables, tasks),
        notes=(*notes, EXPLANATION, CORRECTION, INTERVALS),
        versions=software(),
        privacy=statement,
        rows=sizes,
        tasks=tasks,
        config=config.model_dump(mode="json"),
    )


def audited(found: Evidence, *, rows: int, config: StepConfig, model: str = "") -> Report:
    """Return the report of a shadow-model audit, each model fitted on ``rows`` rows beside as many others.

    Args:
        model: Fingerprint of the model of that generator with those options, fitted to the pool; empty for none.
    """
    of_model = (
        "The model that it names was not attacked: those refitted are of its generator, options and training rows."
    )
    scores = (*found.scores, *risk(found.scores, found.tables))
    return Report(
        scores=scores,
        curves=found.curves,
        tables=found.tables,
        card=card(scores, ()),
        overall=quality(scores, (), threshold=0.0),
        recommendations=recommendations(scores, found.tables, ()),
        notes=(
            "A generator was audited, not a table: shadow models were fitted on halves of a pool of real rows, and "
            "each row count is that of one of them. The records attacked are those that stand most alone.",
            *((of_model,) if model else ()),
            INTERVALS,
        ),
        versions=software(),
        privacy=(
            "This audit reads real rows without differential privacy: it lies outside the epsilon of any model, and "
            "its numbers, though aggregates, are not private.",
        ),
        rows={"train": rows, "holdout": rows, "synthetic": rows},
        tasks=(),
        config={"min_category_count": MIN_CATEGORY_COUNT, **config.model_dump(mode="json")},
        judged=Judged(model),
    )


@cache  # reading what is installed takes as long as a small private report
def software() -> Mapping[str, str]:
    """Return the versions of the software that a report rests on, by name."""
    made = {"python": platform.python_version()}
    for name in ("synth-components", "numpy", "pandas", "scipy", "scikit-learn"):
        try:
            made[name] = version(name)
        except PackageNotFoundError:
            continue
    return MappingProxyType(made)


def _left_out(score: str, reason: str) -> Evidence:
    return Evidence(tables={"left_out": pd.DataFrame([{"score": score, "subject": "", "reason": reason}])})


def _schema(train: pd.DataFrame | Dataset, schema: Schema | None) -> Schema:
    if schema is not None:
        return schema
    if isinstance(train, Dataset):
        return train.schema
    from synth_components.profile import profile

    return profile(train, ledger=Ledger(account=SETTLED)).schema  # written down already


def _size(data: pd.DataFrame | Dataset, name: str, config: JudgeConfig) -> str:
    """Return of how many rows, as far as that is known before they are read, the ledger tells."""
    if isinstance(data, Dataset) and data.is_lazy:
        return f"up to {config.table_rows} {name}"
    return f"{data.num_rows(data.schema.root) if isinstance(data, Dataset) else len(data)} {name}"


def _held(data: pd.DataFrame | Dataset, name: str, schema: Schema, config: JudgeConfig, notes: list[str]) -> Dataset:
    """Return a table in memory: a sample, and a note about it, of one that stays on disk."""
    if not isinstance(data, Dataset):
        return Dataset({schema.root: data}, schema)
    if not data.is_lazy:
        return Dataset({schema.root: data.table}, schema)
    rng = random.default_rng(random.SeedSequence(config.seed, spawn_key=(zlib.crc32(name.encode()),)))
    total = data.num_rows(data.schema.root)
    frame = some_of(data, config.table_rows, rng=rng)
    if len(frame) < total:
        notes.append(
            f"The {name} table is too large for memory: {len(frame)} of its {total} rows, drawn at random, are judged "
            "(table_rows). Copies of rows outside the sample go unseen, so the share of copies is too low."
        )
    return Dataset({schema.root: frame}, schema)


def _remarks(schema: Schema) -> tuple[str, ...]:
    left = [name for name in schema.columns if name not in schema.modelled.columns]
    if not left:
        return ()
    return (f"Not compared, because they are generated anew: {', '.join(left)}.",)


__all__ = [
    "METRICS",
    "EvaluateConfig",
    "FidelityConfig",
    "PrivacyConfig",
    "Quality",
    "Recommendation",
    "Report",
    "UtilityConfig",
    "Verdict",
    "audited",
    "evaluate",
]
