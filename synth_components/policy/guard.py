"""The privacy guard: a policy is held against a fit before rows are read, and against a model before it is released.

The policy is named by ``SYNTH_POLICY`` or ``--policy``: a level, or a file as ``Policy`` reads it.  Without one, a
release is held against level medium; ``off`` turns the guard off, which stands in the audit trail.

What a level asks of a fit: ``critical`` (or any level whose techniques are said to hold differential privacy) a budget
within the policy's epsilon and delta.  What it asks of a release:

=========  ==========  ===============================================================================
level      risk up to  and
=========  ==========  ===============================================================================
low        .5          no more copies and near copies of rows than a holdout has; identifiers are made anew
medium     .3          the same
high       .1          the same
critical   .1          the same, and epsilon and delta within the policy's
=========  ==========  ===============================================================================

A policy that names quasi-identifiers, or a k, l or t, also asks them of a table that is released, with the declared
quasi-identifiers (``released.kept``); that they are declared is asked of the fit.  A model promises none of them.

A report is evidence on the model that it names, or on the rows (``evaluation.judged``), and on nothing else.  One that
names another model or other rows refuses a release, with a policy or without.  So does one that names none, as those of
older versions, unless ``allow_unnamed`` says otherwise, which a named policy does not hear: what is left out of a
report must not make it better.

The risk and the copies are those of the report (``privacy.risk``, ``privacy.copies``, ``privacy.near_copies``), and of
copies there are too many where its acceptance card says so: more than the bound and than chance explains.  Of a model
whose epsilon and delta are within the policy's they are not asked, for they are bounded by it.  A check that the
evidence contradicts refuses a release.
A check for which there is no evidence refuses it if a policy was named; without one it is told in the log and in the
trail as unproven, because whoever never evaluates would otherwise not be able to register anything.

A model that holds training rows is not released under any level, nor with the guard off: whoever has it has them.

A service releases rows to its callers, and asks.  Drawing rows is no release, for the evidence is measured on them.

That is evidence, and no claim: a policy that is kept proves neither anonymity nor compliance.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from synth_components import audit
from synth_components.circumstances import circumstance
from synth_components.errors import DataError, GuardError
from synth_components.evaluation.attacks.risk import MOST
from synth_components.evaluation.attacks.risk import NAME as RISK
from synth_components.evaluation.card import COPIES, too_many
from synth_components.evaluation.judged import Judged, Reported, bound, digest_of
from synth_components.policy import LARGEST_DELTA, LEVELS, Level, Policy, released
from synth_components.protocols import Budget
from synth_components.schema import Key, Schema, Text

if TYPE_CHECKING:
    import pandas as pd

    from synth_components.io.artifact import Manifest
    from synth_components.model import Model

State: TypeAlias = Literal["passed", "missed", "unproven", "not asked"]

MAX_RISK: Mapping[Level, float] = MappingProxyType({"low": 0.5, "medium": MOST, "high": 0.1, "critical": 0.1})
"""Largest privacy risk of a report, by level."""

READS = (RISK, *COPIES)
"""The scores of a report that a release is held against."""

OFF = "off"
_CLASSES = "k, l and t"
_EVIDENCE = "evidence"
_HELD = "held rows"
_HOLDS = "the sampler holds training rows"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """What came out of one check.

    Attributes:
        check: What was checked.
        state: Whether the evidence supports it, contradicts it, or is missing; or that it does not apply.
        told: Why, in words without a cell value.
    """

    check: str
    state: State
    told: str


def policy_here() -> Policy | None:
    """Return the policy that the circumstances name; ``None`` if they name none, or turn the guard off.

    Raises:
        DataError: if the file cannot be read.
        ConfigError: if it holds what no policy has.
    """
    said = circumstance("policy")
    if not said or said == OFF:
        return None
    if said in LEVELS:
        return Policy.of_level(next(level for level in LEVELS if level == said))
    path = Path(said).expanduser()
    if not path.is_file():
        raise DataError(f"there is no policy file '{path}'; name a file, one of {', '.join(LEVELS)}, or {OFF}")
    return Policy.read(path)


def admit(limit: Budget | None, schema: Schema | None, *, label: str, columns: Collection[str] | None = None) -> None:
    """Hold the policy, if one is named, against a fit, before rows are read.

    What only a schema tells is left to ``admit_profiled`` where none is declared.

    Args:
        limit: Budget of the fit; ``None`` without differential privacy.
        schema: The declared schema, if there is one: identifiers must not be learned, and the columns that k, l and t
            count on must be there.
        columns: Names of the columns, where they are known and no schema is.

    Raises:
        GuardError: if the policy does not allow the fit; no row was read.
    """
    if circumstance("policy") == OFF:
        audit.record("guard_off", of=label)
        _LOG.warning("the privacy guard is off: nothing was asked of %s", label)
        return
    policy = policy_here()
    if policy is None:
        return
    found = list(_planned(policy, limit))
    names = columns if schema is None else _names(schema)
    found += [Finding(_CLASSES, "missed", told) for told in released.undeclared(policy, names)]
    if schema is not None:
        found.append(_identifiers(policy, schema))
    _decide(policy, found, is_named=True, label=label)


def admit_profiled(schema: Schema, *, label: str) -> None:
    """Hold against a fit what the policy asks of a schema that was read off the rows.

    It comes after ``admit``, which asked what needs no rows, and before anything else is done with them.

    Raises:
        GuardError: if the policy does not allow the fit; the rows were read by the profile alone.
    """
    policy = policy_here()
    if policy is None:
        return
    found = [Finding(_CLASSES, "missed", told) for told in released.undeclared(policy, _names(schema))]
    _decide(policy, [*found, _identifiers(policy, schema)], is_named=True, label=f"{label}, by its profile")


def _names(schema: Schema) -> set[str]:
    return {name for columns in schema.tables.values() for name in columns}


def refuse_rows(manifest: Manifest, *, to: str) -> None:
    """Raise if a model keeps training rows: whoever has it has them, so no policy publishes it.

    Args:
        manifest: What the model says of itself.
        to: Where it goes.

    Raises:
        GuardError: if it does; nothing was published.
    """
    if manifest.holds_rows:
        audit.record("guard", of=f"release to {to}", passed=False, checks=[f"missed: {_HOLDS}"])
        raise GuardError(
            f"{_HOLDS}, and whoever gets the model gets them: it does not go to {to}; publish the rows that it draws "
            "(`synth sample`), or fit another generator (`synth generators`)",
            checks=(_HELD,),
        )


def release(
    model: Model | None,
    told: Reported | None,
    *,
    to: str,
    table: pd.DataFrame | None = None,
    what: Literal["model", "table"] = "model",
    allow_unnamed: bool = False,
) -> tuple[Finding, ...]:
    """Hold the policy, or level medium without one, against what is about to be released.

    Args:
        model: The model, if it is at hand.
        told: What its reports say, and of what; ``None`` without a report.
        to: Where it goes.
        table: The released rows, if they are at hand: reports must name them, and otherwise the model.
        what: What is released: of a table k, l and t are measured.
        allow_unnamed: Whether, without a named policy, a report that does not name the model, or the table, that is at
            hand is told in the log instead of refusing.

    Raises:
        GuardError: if the policy does not allow it, or the model holds rows.
    """
    if model is not None:
        refuse_rows(model.manifest, to=to)
    if circumstance("policy") == OFF:
        audit.record("guard_off", of=f"release to {to}")
        _LOG.warning("the privacy guard is off: nothing was asked of what goes to %s", to)
        return ()
    named = policy_here()
    policy = Policy() if named is None else named
    found = (*_released(policy, model, told, _about(told, model, table)), *_classes(policy, table, what))
    # Neither `synth_sagemaker` without the archive nor whoever never evaluated has left anything out of a report.
    is_stripped = told is not None and bool(told.judged) and (model is not None or table is not None)
    proven = (_EVIDENCE,) if is_stripped and not allow_unnamed else ()
    _decide(policy, found, is_named=named is not None, label=f"release to {to}", proven=proven)
    return found


def require_about(
    judged: tuple[Judged, ...], *, model: str = "", rows: str = "", to: str, allow_unnamed: bool = False
) -> None:
    """Raise unless reports are about this model and these rows, whatever a policy says.

    Args:
        judged: What each report judged.
        model: Fingerprint of the model; empty if it is not at hand.
        rows: Digest of the rows; empty if they are not at hand.
        to: Who takes the reports for evidence.
        allow_unnamed: Whether one that does not name them is told in the log instead; one of something else never is.

    Raises:
        GuardError: naming both.
    """
    state, told = bound(judged, model=model, rows=rows)
    if state == "missed" or (state == "unproven" and not allow_unnamed):
        audit.record("guard", of=to, passed=False, checks=[f"{state}: {told}"])
        remedy = "" if state == "missed" else ", or allow what names nothing (allow_unnamed)"
        raise GuardError(f"{to} takes no evidence on something else: {told}{remedy}", checks=(_EVIDENCE,))
    if state == "unproven":
        _LOG.warning("not proven for %s: %s", to, told)


def _about(told: Reported | None, model: Model | None, table: pd.DataFrame | None) -> tuple[Finding, ...]:
    """Return whether reports are about what is to be released."""
    if told is None:
        return ()
    fingerprint, rows = "" if model is None else model.fingerprint, "" if table is None else digest_of(table)
    return (Finding(_EVIDENCE, *bound(told.judged, model=fingerprint, rows=rows)),)


def _planned(policy: Policy, limit: Budget | None) -> Iterator[Finding]:
    if not _is_private(policy):
        return
    if limit is None:
        yield Finding("differential privacy", "missed", "the fit has no epsilon, and the policy asks for one")
        return
    yield _bounded(policy, limit)


def _bounded(policy: Policy, spent: Budget) -> Finding:
    """Return whether epsilon and delta are within the policy's."""
    delta = LARGEST_DELTA if policy.delta is None else policy.delta
    is_within = spent.epsilon <= policy.epsilon and spent.delta <= delta
    told = "is not bounded" if math.isinf(spent.epsilon) else f"is {spent.epsilon:.4g} at delta {spent.delta:g}"
    return Finding(
        "differential privacy",
        "passed" if is_within else "missed",
        f"epsilon {told}, at most {policy.epsilon:g} at {delta:g} is allowed",
    )


def _released(
    policy: Policy, model: Model | None, told: Reported | None, evidence: tuple[Finding, ...]
) -> Iterator[Finding]:
    private = None if model is None else _bounded(policy, Budget(model.privacy.epsilon, model.privacy.delta))
    if _is_private(policy):
        yield private or Finding("differential privacy", "unproven", "the model is not at hand; give it")
    if model is None:
        yield Finding("identifiers", "unproven", "the model is not at hand; give it")
    else:
        yield _identifiers(policy, model.schema)
        yield Finding(_HELD, "passed", "the sampler holds no rows")  # `refuse_rows` came before
    if private is not None and private.state == "passed":
        yield Finding("attacks", "passed", f"differential privacy bounds them: {private.told}")
        # No report is needed then; one of something else is refused all the same.
        yield from (one for one in evidence if one.state == "missed")
        return
    yield from evidence
    scores = {} if told is None else told.scores
    yield _at_most("privacy risk", scores.get(RISK), MAX_RISK[policy.level])
    for name, label in COPIES.items():
        value, most = scores.get(name), scores.get(f"{name}.bound")
        found = _at_most(label, value, most)
        if value is not None and most is not None and not too_many(name, value, most, scores.get(f"{name}.p_value")):
            found = replace(found, state="passed")
        yield found


def _classes(policy: Policy, table: pd.DataFrame | None, what: Literal["model", "table"]) -> Iterator[Finding]:
    """Yield whether the released rows have the k, l and t of the policy."""
    if not released.asked(policy):
        return
    if what == "model":
        yield Finding(
            _CLASSES, "not asked", "k, l and t are of tables; what the model draws is held to them (`synth gate`)"
        )
    elif table is None:
        yield Finding(
            _CLASSES, "unproven", "k, l and t are measured on the released table; give it (`synth gate --data`)"
        )
    else:
        for told, is_enough in released.kept(policy, table):
            yield Finding(_CLASSES, "passed" if is_enough else "missed", told)


def _at_most(check: str, value: float | None, most: float | None) -> Finding:
    if value is None or most is None:
        return Finding(check, "unproven", f"the {check}: no report tells of it")
    told = f"the {check}: {value:.4g}, at most {most:.4g} is allowed"
    return Finding(check, "missed" if value > most else "passed", told)


def _identifiers(policy: Policy, schema: Schema) -> Finding:
    """Return whether every column that names a person is made anew."""
    learned = [
        name
        for columns in schema.tables.values()
        for name, column in columns.items()
        if name in policy.identifiers and not isinstance(column, Text | Key)
    ]
    told = f"the model learns identifiers: {', '.join(learned)}" if learned else "no named identifier is learned"
    return Finding("identifiers", "missed" if learned else "passed", told)


def _is_private(policy: Policy) -> bool:
    return "differential_privacy" in policy.techniques(policy.level)


def _decide(
    policy: Policy,
    found: tuple[Finding, ...] | list[Finding],
    *,
    is_named: bool,
    label: str,
    proven: Collection[str] = (),
) -> None:
    """Write down what was found, and raise if the policy does not allow it.

    Args:
        is_named: Whether somebody named the policy, so that every check needs evidence.
        proven: The checks that need it anyway; what lets them lack it is ``allow_unnamed``.
    """
    wrong = [
        one for one in found if one.state == "missed" or (one.state == "unproven" and (is_named or one.check in proven))
    ]
    audit.record(
        "guard",
        of=label,
        level=policy.level,
        policy=policy.digest,
        named=is_named,
        passed=not wrong,
        checks=[f"{one.state}: {one.told}" for one in found],
    )
    if wrong:
        is_unnamed = not is_named and any(one.state == "unproven" for one in wrong)
        remedy = ", or allow what names nothing (allow_unnamed)" if is_unnamed else ""
        raise GuardError(
            f"the policy (level {policy.level}) does not allow {label}: {'; '.join(one.told for one in wrong)}{remedy}",
            checks=tuple(one.check for one in wrong),
        )
    for one in found:
        if one.state == "unproven":
            _LOG.warning("the privacy guard: not proven for %s: %s", label, one.told)
