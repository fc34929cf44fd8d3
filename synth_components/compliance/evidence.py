"""What a check may look at, and the checks: each says passed, failed or unknown, with counts and names of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from synth_components.encode import cast_to
from synth_components.evaluation.judged import Bound, bound, digest_of
from synth_components.privacy.anonymity.classes import classes_of, codes, measure
from synth_components.privacy.anonymity.criteria import TOLERANCE
from synth_components.sensitive import SensitiveColumn, Sensitivity
from synth_components.sensitive.entity import BY_ENTITY, is_payment_card

if TYPE_CHECKING:
    from synth_components.compliance.preset import Check, CheckName
    from synth_components.evaluation.report import Report
    from synth_components.io.artifact import Manifest

Status: TypeAlias = Literal["passed", "failed", "unknown"]

RESTRICTED_ZIPS = frozenset(
    (
        "036",
        "059",
        "063",
        "102",
        "203",
        "556",
        "692",
        "790",
        "821",
        "823",
        "830",
        "831",
        "878",
        "879",
        "884",
        "890",
        "893",
    )
)
"""Three-digit ZIP codes of 20,000 people or fewer.

Source: Office for Civil Rights 2012, "Guidance Regarding Methods for De-identification of Protected Health
Information", by Census 2000.
"""

_OLDEST = 89
_NO_TABLE = "no table was given"
_WORST: tuple[Bound, ...] = ("missed", "unproven", "passed")
_PLACES = frozenset({"place", "address", "coordinates"})
_DATES = frozenset({"birth_date", "death_date", "event_date"})


@dataclass(frozen=True)
class Observation:
    """What a check found.

    Attributes:
        check: Name of the check.
        status: Whether it holds; unknown if there was nothing to look at, or a person has to.
        message: What was found, without any value.
        columns: The columns that it is about, as ``table.column`` of several tables.
    """

    check: str
    status: Status
    message: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What was given to be looked at.

    Attributes:
        tables: The tables that are to be released, by name.
        found: What their columns seem to hold.
        reports: Reports on them.
        manifest: Where the model comes from that drew them; ``None`` without one.
        fingerprint: By which reports name that model; empty without one.
        trail: Lines of the audit trail, verified; ``None`` without one.
        tampering: Why the trail cannot be trusted; empty if it can.
        made_up: Columns whose identifiers are made up and nobody's.
        quasi_identifiers: Columns that others may know; empty takes those that were found.
        sensitive: Columns to keep from others; empty takes those that were found.
        year: The year against which years of birth are held.
    """

    tables: Mapping[str, pd.DataFrame]
    found: Sensitivity
    reports: tuple[Report, ...] = ()
    manifest: Manifest | None = None
    trail: Sequence[Mapping[str, Any]] | None = None
    tampering: str = ""
    made_up: frozenset[str] = field(default_factory=frozenset)
    quasi_identifiers: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()
    year: int = 0
    fingerprint: str = ""

    def label(self, column: SensitiveColumn) -> str:
        """Return how a column is named in the report."""
        return column.column if len(self.tables) == 1 else f"{column.table}.{column.column}"

    def quasi_of(self, table: str) -> list[str]:
        """Return the quasi-identifiers of a table."""
        if self.quasi_identifiers:
            return [name for name in self.quasi_identifiers if name in self.tables[table]]
        return [column.column for column in self.found.of(table, role="quasi") if column.kind != "unique"]

    def sensitive_of(self, table: str) -> list[str]:
        """Return the columns of a table that are to be kept from others."""
        if self.sensitive:
            return [name for name in self.sensitive if name in self.tables[table]]
        return [column.column for column in self.found.of(table, role="sensitive")]

    def bound(self, reports: Sequence[Report]) -> tuple[Bound, str]:
        """Return whether reports are about these tables, or the model where there are none, and why.

        Of several tables a report names the one that it judged, and each must be named by one.  A report that names a
        model and no rows, as that of a shadow audit, is about the tables that others say this model drew.
        """
        digests = self._digests
        known = set(digests.values())
        first = next(iter(digests.values()), "")
        found, named = [], set[str]()
        for one in (report.judged for report in reports):
            is_of_model = bool(one.model) and not one.rows
            others = [report.judged for report in self.reports if is_of_model and report.judged.model == one.model]
            drawn = [other for other in others if other.rows in known]
            rows = one.rows if one.rows in known else drawn[0].rows if drawn else first
            found.append(bound((one, *drawn[:1]), model=self.fingerprint, rows=rows))
            named |= {one.rows, *(other.rows for other in drawn)}
        worst = min(found, key=lambda one: _WORST.index(one[0]))
        left = [name for name, rows in digests.items() if rows not in named]
        if worst[0] != "passed" or not left:
            return worst
        tables = f"table '{left[0]}' was" if len(left) == 1 else f"tables {', '.join(left)} were"
        return "unproven", f"{tables} judged by no report; evaluate each table that goes out"

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {name: digest_of(table) for name, table in self.tables.items()}


def observed(check: Check, evidence: Evidence) -> list[Observation]:
    """Return what one check finds."""
    return _CHECKS[check.check](check, evidence)


def _absent(check: Check, evidence: Evidence) -> list[Observation]:
    if not evidence.tables:
        return [Observation("absent", "unknown", _NO_TABLE)]
    made = []
    for column in evidence.found.columns:
        within = [kind for kind in column.contains if kind in check.kinds or kind in check.review]
        held = column.kind if column.kind in check.kinds or column.kind in check.review else ""
        if not held and not within:
            continue
        label = evidence.label(column)
        what = column.title if held else f"free text that holds {', '.join(BY_ENTITY[kind].title for kind in within)}"
        told = f"column '{label}' looks like {what} ({_strength(column)})"
        must_go = column.kind in check.kinds or any(kind in check.kinds for kind in column.contains)
        if column.column in evidence.made_up:
            made.append(Observation("absent", "passed", f"{told}; declared as made up, and nobody's", (label,)))
        elif must_go:
            made.append(Observation("absent", "failed", told, (label,)))
        else:
            made.append(Observation("absent", "unknown", f"{told}: a person has to look", (label,)))
    if not made:
        kinds = [*check.kinds, *check.review]
        titles = ", ".join(BY_ENTITY[kind].title if kind in BY_ENTITY else kind.replace("_", " ") for kind in kinds)
        made.append(Observation("absent", "passed", f"no column of {len(evidence.found.columns)} looks like: {titles}"))
    return made


def _strength(column: SensitiveColumn) -> str:
    return f"{', '.join(column.evidence)}; {column.level}"


def _geography(check: Check, evidence: Evidence) -> list[Observation]:
    if not evidence.tables:
        return [Observation("geography", "unknown", _NO_TABLE)]
    made = []
    for column in evidence.found.columns:
        label = evidence.label(column)
        is_text = column.kind == "free_text" and "address" in column.contains
        if column.column in evidence.made_up and (is_text or column.kind in _PLACES | {"postcode"}):
            made.append(Observation("geography", "passed", f"column '{label}' is declared as made up", (label,)))
        elif column.kind in _PLACES or is_text:
            made.append(Observation("geography", "failed", f"column '{label}' looks like {column.title}", (label,)))
        elif column.kind == "postcode":
            texts = _texts(evidence.tables[column.table][column.column]).str.replace(r"\.0$", "", regex=True)
            long = int((~texts.str.fullmatch(r"\d{3}(?:[*xX]{2})?")).sum())
            few = int(texts.str[:3].isin(RESTRICTED_ZIPS).sum())
            status: Status = "failed" if long or few else "passed"
            told = (
                f"column '{label}': {long:,} postcodes are longer than three digits, {few:,} of areas with few people"
            )
            made.append(Observation("geography", status, told, (label,)))
    return made or [Observation("geography", "passed", "no column looks like a place smaller than a State")]


def _dates(check: Check, evidence: Evidence) -> list[Observation]:
    if not evidence.tables:
        return [Observation("dates", "unknown", _NO_TABLE)]
    made = []
    for column in evidence.found.columns:
        label, values = evidence.label(column), evidence.tables[column.table][column.column]
        if column.column in evidence.made_up and column.kind in _DATES:
            made.append(Observation("dates", "passed", f"column '{label}' is declared as made up", (label,)))
        elif column.kind in _DATES:
            exact = _exact(values)
            told = f"column '{label}': {exact:,} dates tell more than the year"
            made.append(Observation("dates", "failed" if exact else "passed", told, (label,)))
        elif column.kind == "free_text" and "birth_date" in column.contains:
            made.append(Observation("dates", "failed", f"column '{label}' is text that holds dates of birth", (label,)))
        elif column.kind in {"age", "birth_year"}:
            years = pd.to_numeric(_texts(values).str.extract(r"(\d+)", expand=False), errors="coerce")
            ages = evidence.year - years if column.kind == "birth_year" else years
            groups = _texts(values).str.fullmatch(r"(?:>=? ?)?(?:89|90) ?(?:\+|or (?:more|older|over))|> ?89|>= ?90")
            old = int(((ages > _OLDEST) & ~groups).sum())
            told = f"column '{label}': {old:,} rows tell an age above {_OLDEST}"
            made.append(Observation("dates", "failed" if old else "passed", told, (label,)))
    return made or [Observation("dates", "passed", "no column looks like a date or an age")]


def _exact(values: pd.Series[Any]) -> int:
    """Return how many dates tell month or day: those that are not the first of January."""
    from synth_components.sensitive import form_of

    present = values[values.notna()]
    if form_of(present) == "date":
        days = pd.to_datetime(present)
        return int(((days.dt.month != 1) | (days.dt.day != 1)).sum())
    return int((~_texts(present).str.fullmatch(r"\d{4}(?:-01-01)?(?:[T ]00:00(?::00)?)?")).sum())


def _texts(values: pd.Series[Any]) -> pd.Series[Any]:
    return cast_to(values[values.notna()], object).map(str).astype("object").str.strip()


def _classes(check: Check, evidence: Evidence) -> list[Observation]:
    """Return what k, l and t the tables have: of classes by quasi-identifiers, and of each sensitive column in them."""
    if not evidence.tables:
        return [Observation("classes", "unknown", _NO_TABLE)]
    made: list[Observation] = []
    for name, table in evidence.tables.items():
        columns = evidence.quasi_of(name)
        if not columns or not len(table):
            made.append(Observation("classes", "unknown", "no quasi-identifiers were named or found"))
            continue
        hidden = [one for one in evidence.sensitive_of(name) if one not in columns]
        group, count = classes_of([codes(table[column]) for column in columns])
        sizes = np.bincount(group, minlength=count)[group]
        small = int((sizes < check.k).sum())
        by = ", ".join(columns)
        told = (
            f"the smallest class of {by} has {int(sizes.min()):,} rows; {small:,} of {len(table):,} "
            f"rows share theirs with fewer than {check.k}"
        )
        made.append(_drawn(evidence, told, (*columns,), is_missed=bool(small)))
        found = measure(table, columns, hidden).sensitive
        for column, one in found.items():
            l_and_t = [f"l is {one.distinct}, held against at least {check.l}"] if check.l else []
            if check.t < 1:
                l_and_t.append(f"t is {one.closeness:.4g}, held against at most {check.t:g}")
            if l_and_t:
                is_missed = one.distinct < check.l or one.closeness > check.t + TOLERANCE
                told = f"within classes of {by}, of column '{column}' {'; '.join(l_and_t)}"
                made.append(_drawn(evidence, told, (*columns, column), is_missed=is_missed))
        if not hidden and (check.l or check.t < 1):
            made.append(
                Observation("classes", "unknown", "no sensitive column was named or found, so that l and t are of none")
            )
    return made


def _drawn(evidence: Evidence, told: str, columns: tuple[str, ...], *, is_missed: bool) -> Observation:
    """Return what classes show; of rows that nobody is in, a small or uniform class discloses nobody by itself."""
    if is_missed and evidence.manifest is not None:
        return Observation("classes", "unknown", f"{told}. The rows are drawn: see the attacks", columns)
    return Observation("classes", "failed" if is_missed else "passed", told, columns)


def _score(check: Check, evidence: Evidence) -> list[Observation]:
    reports = [report for report in evidence.reports if any(one.name == check.score for one in report.scores)]
    values = [one.value for report in reports for one in report.scores if one.name == check.score]
    if not values or check.most is None:
        why = "no report was given" if not evidence.reports else "no report has this score"
        return [Observation("score", "unknown", f"{check.score}: {why}")]
    worst = max(values)
    told = f"{check.score} is {worst:.4g}, held against at most {check.most:g}"
    return [_by_report("score", told, evidence.bound(reports), is_missed=worst > check.most)]


def _copies(check: Check, evidence: Evidence) -> list[Observation]:
    known = {"exact copies", "near copies"}
    reports = [report for report in evidence.reports if any(one.name in known for one in report.card)]
    verdicts = [verdict for report in reports for verdict in report.card if verdict.name in known]
    if not verdicts:
        return [Observation("copies", "unknown", "no report tells of copies of real rows")]
    missed = sorted({verdict.name for verdict in verdicts if not verdict.passed})
    told = f"more {' and '.join(missed) or 'exact or near copies'} of real rows than chance explains"
    return [_by_report("copies", told if missed else f"no {told}", evidence.bound(reports), is_missed=bool(missed))]


def _by_report(check: str, told: str, about: tuple[Bound, str], *, is_missed: bool) -> Observation:
    """Return what reports show, if they are about what is to be released."""
    state, why = about
    if state == "missed":
        return Observation(check, "failed", f"{told}, but {why}")
    if is_missed or state == "passed":
        return Observation(check, "failed" if is_missed else "passed", told)
    return Observation(check, "unknown", f"{told}, but {why}")


def _epsilon(check: Check, evidence: Evidence) -> list[Observation]:
    if evidence.manifest is None:
        return [Observation("epsilon", "unknown", "no model was given")]
    told = evidence.manifest.privacy
    if told.epsilon is None:
        return [Observation("epsilon", "unknown", "the model has no guarantee of differential privacy")]
    most = 10.0 if check.most is None else check.most
    message = f"epsilon {told.epsilon:.4g}, delta {told.delta:.3g}, of {told.unit}; held against at most {most:g}"
    return [Observation("epsilon", "passed" if told.epsilon <= most else "failed", message)]


def _unit(check: Check, evidence: Evidence) -> list[Observation]:
    if evidence.manifest is None:
        return [Observation("unit", "unknown", "no model was given")]
    told = evidence.manifest.privacy
    if told.theorem == "none":
        return [Observation("unit", "unknown", "without a guarantee no unit is protected")]
    return [Observation("unit", "passed", f"the guarantee protects {told.unit}, under {told.neighbours}")]


def _no_rows_held(check: Check, evidence: Evidence) -> list[Observation]:
    if evidence.manifest is None:
        return [Observation("no_rows_held", "unknown", "no model was given")]
    if evidence.manifest.holds_rows:
        return [Observation("no_rows_held", "failed", "the model keeps training rows")]
    return [Observation("no_rows_held", "passed", f"a model of {evidence.manifest.generator} keeps no training row")]


def _provenance(check: Check, evidence: Evidence) -> list[Observation]:
    held = evidence.manifest
    if held is None:
        return [Observation("provenance", "unknown", "no model was given: nothing tells where the rows come from")]
    is_private = held.privacy.epsilon is not None
    told = f"generator {held.generator}, version {held.library_version}"
    if held.data_digest is None and not is_private:
        return [Observation("provenance", "failed", f"{told}, without a digest of the training rows")]
    why = "seed and digest are kept back by differential privacy" if is_private else "seed and digest are recorded"
    return [Observation("provenance", "passed", f"{told}; {why}")]


def _trail(check: Check, evidence: Evidence) -> list[Observation]:
    if evidence.tampering:
        return [Observation("trail", "failed", f"the audit trail cannot be trusted ({evidence.tampering})")]
    if evidence.trail is None:
        return [Observation("trail", "unknown", "no audit trail was given")]
    counts: dict[str, int] = {}
    for line in evidence.trail:
        counts[str(line.get("event", ""))] = counts.get(str(line.get("event", "")), 0) + 1
    missing = [event for event in check.events if not counts.get(event)]
    told = f"the audit trail of {len(evidence.trail):,} events is as it was written"
    if missing:
        return [Observation("trail", "failed", f"{told}, and holds no {' and no '.join(missing)}")]
    return [Observation("trail", "passed", told)]


def _truncated_cards(check: Check, evidence: Evidence) -> list[Observation]:
    if not evidence.tables:
        return [Observation("truncated_cards", "unknown", _NO_TABLE)]
    made = []
    for column in evidence.found.columns:
        label = evidence.label(column)
        if column.kind != "card" and "card" not in column.contains:
            continue
        values = _texts(evidence.tables[column.table][column.column])
        if column.kind == "card":
            whole = int(values.str.replace(r"\.0$", "", regex=True).map(is_payment_card).sum())
            told = f"column '{label}': {whole:,} whole card numbers with right check digits"
        else:
            whole, told = 1, f"column '{label}' is text that holds card numbers"
        if column.column in evidence.made_up:
            made.append(Observation("truncated_cards", "passed", f"{told}; declared as made up", (label,)))
        else:
            made.append(Observation("truncated_cards", "failed" if whole else "passed", told, (label,)))
    return made or [Observation("truncated_cards", "passed", "no column looks like card numbers")]


def _detected(check: Check, evidence: Evidence) -> list[Observation]:
    if not evidence.tables:
        return [Observation("detected", "unknown", _NO_TABLE)]
    held = [column for column in evidence.found.columns if column.role != "none"]
    counts = {role: sum(column.role == role for column in held) for role in ("direct", "quasi", "sensitive")}
    told = ", ".join(f"{count} {role}" for role, count in counts.items())
    names = tuple(evidence.label(column) for column in held)
    return [Observation("detected", "unknown", f"{told} columns: a person has to say which are needed", names)]


_CHECKS: Mapping[CheckName, Callable[[Check, Evidence], list[Observation]]] = {
    "absent": _absent,
    "geography": _geography,
    "dates": _dates,
    "classes": _classes,
    "score": _score,
    "epsilon": _epsilon,
    "no_rows_held": _no_rows_held,
    "unit": _unit,
    "copies": _copies,
    "provenance": _provenance,
    "trail": _trail,
    "truncated_cards": _truncated_cards,
    "detected": _detected,
}
