"""Validation of a table that somebody else made: four verdicts, and one overall.

Schema (columns, types, ranges, categories, nulls, key), data quality (gaps, repetition, outliers, odd texts, rules, and
the metrics of a pack), privacy smoke (direct identifiers, rows that stand alone, copies of real rows) and performance
(time and memory of the check, and what the table teaches).  The result is a ``Report``, as an evaluation gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from synth_components.constraints import Constraint
from synth_components.contradiction import refuse_contradictions
from synth_components.encode import cast_to
from synth_components.errors import DataError, SchemaError, UnsupportedError
from synth_components.evaluation import software
from synth_components.evaluation.floor import EXPLANATION, INTERVALS
from synth_components.evaluation.judged import Judged, digest_of
from synth_components.evaluation.report import Report
from synth_components.evaluation.validity import fit_of
from synth_components.limits import costing, metered
from synth_components.packs import Pack
from synth_components.packs import load as load_pack
from synth_components.privacy.budget_file import opened
from synth_components.privacy.charges import of_evaluation
from synth_components.privacy.ledger import SETTLED, Ledger
from synth_components.profile import Profile, ProfileConfig, profile
from synth_components.protocols import Report as Progress
from synth_components.protocols import report_nothing
from synth_components.schema import TABLE, Schema
from synth_components.validation.domain import held_against
from synth_components.validation.exposure import NO_REAL, anonymity, identifiers, memorisation
from synth_components.validation.options import ValidateConfig
from synth_components.validation.performance import cost, utility
from synth_components.validation.quality import compliance, soundness
from synth_components.validation.structure import declared_structure, learned_structure, own_structure
from synth_components.validation.tally import Tally, overall

if TYPE_CHECKING:
    from synth_components.model import Model

NO_FLOOR = "No real rows were given: the floor of a score is its ideal."

_STATEMENT = (
    "This validation reads rows without differential privacy: its numbers, though aggregates, are not private.",
    "The privacy checks are smoke tests: they catch copies, direct identifiers and rows that stand alone, and prove no "
    "privacy.",
)


def validate(
    table: pd.DataFrame,
    *,
    schema: Schema | None = None,
    rules: Sequence[Constraint] = (),
    real: pd.DataFrame | None = None,
    model: Model | None = None,
    config: ValidateConfig = ValidateConfig(),  # noqa: B008 - frozen
    ledger: Ledger | None = None,
    report: Progress = report_nothing,
) -> Report:
    """Return the verdicts on a table that we did not make, as a report.

    Args:
        table: The table, in memory.
        schema: What its columns should hold.  ``None`` reads that off ``real``, or off the table itself, which leaves
            little to check.
        rules: Rules that its rows should obey, beside those of the schema and of the pack.
        real: Real rows that it stands for, to look for copies of and to compare with.
        model: The model that drew the table, as the caller says; the report names it, as it names the table.
        config: What is asked for; a pack's policy may ask for more.
        ledger: Written to, not charged: reading real rows here is outside the epsilon of any model.  One with a budget
            is refused where there are real rows.
        report: Told after every part how many are done.

    Raises:
        DataError: for a table without rows, or a target without real rows.
        SchemaError: for a table whose column names no schema can hold, or a named column that it lacks.
        ConstraintError: for rules that contradict each other or the schema.
        UnsupportedError: for an unknown pack, or real rows and a ledger with a budget, which is then unchanged.
    """
    _require(table, real, config)
    pack = load_pack(config.pack) if config.pack else None
    config = config if pack is None else _asked(pack, table, config)
    if real is not None and ledger is not None and ledger.budget is not None:
        raise UnsupportedError(
            "a ledger with a budget was given, and a validation reads real rows without noise; give no real rows, or "
            "no budget"
        )
    account = opened(ledger)
    before = len(account.entries)
    if real is not None:
        account.note_uncovered(f"validate: {len(real)} real rows")
    if schema is not None:
        refuse_contradictions(schema.with_constraints(tuple(r for r in rules if set(r.columns) <= set(schema.columns))))

    with metered() as meter:
        with costing("validate schema"):
            found, unreadable = _profiled(table, config)
            seen, unseen = (None, {}) if real is None else _profiled(real, config)
            # Rules and classes compare values, which those of no type need not bear.
            plain, plain_real = (
                table.drop(columns=list(unreadable)),
                None if real is None else real.drop(columns=list(unseen)),
            )
            known, structure = _structure(table, schema, real, found, seen, unreadable, config)
        report(1, 4)
        tallies = [structure]
        with costing("validate data quality"):
            tallies.append(soundness(found, seen, config=config))
            declared = (*(() if schema is None else schema.constraints), *rules)
            tallies.append(compliance(plain, declared, plain_real, least=config.min_rules))
            if pack is not None:
                tallies += held_against(pack, plain, plain_real, config=config)
        report(2, 4)
        tallies.append(cost(table, seconds=meter.seconds, config=config))
        with costing("validate privacy smoke"):
            tallies.append(identifiers(found, config=config))
            tallies.append(anonymity(plain, config=config))
            common = None if real is None else _common(known, table, real)
            if real is not None and common is not None:
                tallies.append(memorisation(table, real, common, config=config, ledger=account))
        report(3, 4)
        if real is not None and common is not None and config.target:
            with costing("validate performance"):
                tallies.append(utility(table, real, common, config=config, ledger=account))
        report(4, 4)
    told = of_evaluation(account, known, since=before)
    judged = Judged("" if model is None else model.fingerprint, digest_of(table))
    made = _report(tallies, table, real, found, config)
    return replace(made, costs=tuple(meter.costs), ledger=told, judged=judged)


def _require(table: pd.DataFrame, real: pd.DataFrame | None, config: ValidateConfig) -> None:
    if not len(table):
        raise DataError("the table has no rows; there is nothing to validate")
    if config.target and real is None:
        raise DataError("a target asks for real rows to predict; give them as well, or leave the target out")
    if real is not None and not len(real):
        raise DataError("the table of real rows has none; give rows, or leave it out")


def _profiled(table: pd.DataFrame, config: ValidateConfig) -> tuple[Profile, dict[str, str]]:
    """Return the profile of what can be profiled, and the other columns with what the profile says of them."""
    options = ProfileConfig(min_category_count=config.min_category_count)
    unreadable: dict[str, str] = {}
    while True:
        kept = table[[name for name in table.columns if name not in unreadable]]
        try:
            return profile(kept, config=options, ledger=Ledger(account=SETTLED)), unreadable  # written down already
        except SchemaError as error:
            if error.column is None or list(kept.columns).count(error.column) != 1:
                raise
            if isinstance(kept[error.column].dtype, pd.CategoricalDtype):
                # A direct identifier in a category: of text the profile says which.
                table = table.assign(**{error.column: cast_to(kept[error.column], object)})
                continue
            unreadable[error.column] = str(error)
            if len(unreadable) == len(table.columns):
                raise


def _structure(
    table: pd.DataFrame,
    schema: Schema | None,
    real: pd.DataFrame | None,
    found: Profile,
    seen: Profile | None,
    unreadable: Mapping[str, str],
    config: ValidateConfig,
) -> tuple[Schema, Tally]:
    """Return the schema that the table is held against, and how it fits."""
    if schema is not None:
        return schema, declared_structure(table, schema, config=config)
    if real is not None and seen is not None:
        return seen.schema, learned_structure(table, seen.schema, real)
    return found.schema, own_structure(table, found.schema, unreadable)


def _asked(pack: Pack, table: pd.DataFrame, config: ValidateConfig) -> ValidateConfig:
    """Return the options with what the pack's policy asks for, by the table's names of its columns."""
    policy = dict(pack.policy)
    for field in ("quasi_identifiers", "known_identifiers"):
        named = (config.pack_columns.get(name, name) for name in policy.get(field, ()))
        policy[field] = tuple(name for name in named if name in table)
    return config.stricter(policy)


def _common(schema: Schema, table: pd.DataFrame, real: pd.DataFrame) -> Schema:
    """Return the columns of a schema that both tables hold with the declared type, without its rules."""
    columns = {
        name: column
        for name, column in schema.columns.items()
        if all(name in side and fit_of(side[name], column).is_typed for side in (table, real))
    }
    return Schema({TABLE: columns})


def _report(
    tallies: Sequence[Tally], table: pd.DataFrame, real: pd.DataFrame | None, found: Profile, config: ValidateConfig
) -> Report:
    checks = [check for tally in tallies for check in tally.checks]
    verdicts, quality = overall(checks)
    left_out = [
        {"score": name, "subject": subject, "reason": reason}
        for tally in tallies
        for name, subject, reason in tally.left_out
    ]
    statistics = [
        {"statistic": name, "value": value} for name, value in found.summary[TABLE].items() if value is not None
    ]
    tables = {"statistics": pd.DataFrame(statistics), "left_out": pd.DataFrame(left_out)}
    advice = sorted((one for tally in tallies for one in tally.advice), key=lambda one: -one.weight)
    notes = dict.fromkeys(note for tally in tallies for note in tally.notes)
    return Report(
        scores=tuple(one for tally in tallies for one in tally.scores),
        curves={name: frame for tally in tallies for name, frame in tally.curves.items()},
        tables={name: frame for name, frame in tables.items() if len(frame)},
        card=(*verdicts, *checks),
        overall=quality,
        recommendations=tuple(advice),
        notes=(*notes, *((NO_FLOOR,) if real is None else (EXPLANATION,)), INTERVALS),
        versions=software(),
        privacy=_STATEMENT if real is not None else (*_STATEMENT, NO_REAL),
        rows={"table": len(table)} | ({} if real is None else {"real": len(real)}),
        tasks=(config.target,) if config.target else (),
        config=config.model_dump(mode="json"),
        kind="validation",
    )


__all__ = ["ValidateConfig", "validate"]
