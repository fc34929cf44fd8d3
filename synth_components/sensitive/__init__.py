"""Sensitive columns: what identifies a person, what does so together with others, and what a person wants kept.

Values are recognised by check digits, forms and word lists, and columns by their names; a name alone is enough for
kinds that have no form.  Nothing that is returned or logged holds a cell value.  What is not found may do
harm all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from pydantic import Field

from synth_components.config import Config
from synth_components.encode import cast_to
from synth_components.identifier import some_distinct
from synth_components.privacy.budget_file import opened
from synth_components.privacy.ledger import not_private
from synth_components.schema import TABLE
from synth_components.sensitive.entity import BY_ENTITY, ENTITIES, LEVELS, Entity, Form, Level, Role, telling
from synth_components.sensitive.national import national_number
from synth_components.sensitive.person import are_names
from synth_components.support import Owners, supports, taken

if TYPE_CHECKING:
    from synth_components.protocols import PrivacyLedger

Evidence: TypeAlias = Literal["checksum", "pattern", "lexicon", "name", "uniqueness", "text", "presidio"]

_HEAD = 24
"""Distinct values that a form is tried on before all of them."""

_EXACT = 18
"""Characters of the longest whole floats, with their ``.0``: those of sixteen digits, as payment cards have."""

_UNIQUE = 0.9
"""Share of distinct among present values from which a column of codes singles rows out."""

_FAMILIES = 0.3
"""Share of distinct last words among full names."""

_CERTAIN, _FEWEST = 0.9, 12
"""Share of national numbers with right check digits, and distinct values, that need no name."""


class DetectConfig(Config):
    """How many rows are looked at, and with what."""

    max_rows: int = Field(20_000, ge=100, lt=2**53, description="Rows, evenly spaced, that are looked at.")
    presidio: bool = Field(
        default=False, description="Look through free text with Presidio too (extra presidio, and a model of spaCy)."
    )


@dataclass(frozen=True)
class SensitiveColumn:
    """What a column seems to hold; it names no value.

    Attributes:
        table: Name of the table.
        column: Name of the column.
        kind: Name of an ``Entity``, or ``identifier``, ``free_text``, ``unique`` or ``none``.
        title: The same in words, with country and name of a national number.
        role: What it is to a person.
        level: How much harm a disclosure does.
        share: Share of the distinct values examined that have the form, in [0, 1]; 0 if only the name tells.
        evidence: What tells.
        contains: Of free text, the share of texts that hold something of a kind, by kind.
        distinct: Share of distinct among the values examined that are present, in [0, 1].
    """

    table: str
    column: str
    kind: str
    title: str
    role: Role
    level: Level
    share: float
    evidence: tuple[Evidence, ...]
    contains: Mapping[str, float] = field(default_factory=dict)
    distinct: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value."""
        return {**asdict(self), "evidence": list(self.evidence), "contains": dict(self.contains)}


@dataclass(frozen=True)
class Sensitivity:
    """What the columns of one table or several seem to hold.

    Attributes:
        columns: Every column, in order.
        rows: Rows looked at, by table.
        alone: By table, the share of the rows looked at that no other of them, or of another privacy unit, shares the
            quasi-identifiers with.  Among all rows of a larger table, or of the population, fewer are alone.
    """

    columns: tuple[SensitiveColumn, ...]
    rows: Mapping[str, int]
    alone: Mapping[str, float]

    def of(self, table: str = TABLE, *, role: Role | None = None) -> tuple[SensitiveColumn, ...]:
        """Return the columns of a table that are something, or that have a role."""
        return tuple(
            c for c in self.columns if c.table == table and (c.role != "none" if role is None else c.role == role)
        )

    def levels(self, table: str = TABLE) -> dict[str, Level]:
        """Return the level of every column of a table."""
        return {column.column: column.level for column in self.columns if column.table == table}

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value."""
        return {
            "columns": [column.to_json() for column in self.columns],
            "rows": dict(self.rows),
            "alone": dict(self.alone),
        }


def detect(
    tables: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    config: DetectConfig = DetectConfig(),  # noqa: B008 - frozen
    ledger: PrivacyLedger | None = None,
) -> Sensitivity:
    """Return what every column of one table or several seems to hold.

    Args:
        ledger: What the read is charged to, before anything is read; ``None`` charges the budget file, if one is named.

    Raises:
        BudgetExceededError: under a finite budget, as this is no private read.
        UnsupportedError: if Presidio is asked for and not installed.
    """
    given = {TABLE: tables} if isinstance(tables, pd.DataFrame) else dict(tables)
    opened(ledger).spend("detection of sensitive columns", not_private)
    return detected(given, config=config)


def detected(
    tables: Mapping[str, pd.DataFrame], *, config: DetectConfig, owners: Mapping[str, Owners] | None = None
) -> Sensitivity:
    """Return what ``detect`` does, of rows whose reading was charged already.

    Args:
        owners: The privacy unit (n,) of each row, by table; a row is one without.
    """
    found: list[SensitiveColumn] = []
    rows, alone = {}, {}
    for name, table in tables.items():
        step = max(1, -(-len(table) // config.max_rows))
        seen = table.iloc[::step]
        mine = [_recognised(seen.iloc[:, place], name, config) for place in range(seen.shape[1])]
        found += mine
        rows[name] = len(seen)
        whose = None if owners is None else taken(owners[name], slice(None, None, step))
        alone[name] = _share_alone(seen, [column.column for column in mine if column.role == "quasi"], whose)
    return Sensitivity(tuple(found), rows, alone)


def level_of(kinds: Sequence[str]) -> Level:
    """Return the highest level of kinds; ``low`` without any."""
    known = [BY_ENTITY[kind].level for kind in kinds if kind in BY_ENTITY]
    return max(known, key=LEVELS.index, default="low")


def _recognised(values: pd.Series[Any], table: str, config: DetectConfig) -> SensitiveColumn:
    column = str(values.name)
    present = values[values.notna()]
    form = form_of(present)
    texts = some_distinct(present) if form is not None else []
    texts = [text for text in texts if text]
    if form is None or not texts:
        return _plain(table, column, 0.0)
    distinct = _distinct(present)
    if form == "float" and all(text.endswith(".0") and len(text) <= _EXACT for text in texts[:_HEAD]):
        form, texts = "integer", [text.removesuffix(".0") for text in texts]  # integers beside nulls
    hits = [hit for entity in ENTITIES if (hit := _hit(entity, column, texts, form)) is not None]
    national = _national(column, texts, form)
    hits += [] if national is None else [national]
    if hits:
        strength, _, entity, title, share, evidence = max(hits, key=lambda hit: (hit[0], hit[1]))
        is_prose = form == "text" and strength < 2 and _is_prose(texts)
        if not is_prose or entity.name in {"address", "credential", "photo"}:
            told = round(share, 4)
            return SensitiveColumn(
                table, column, entity.name, title, entity.role, entity.level, told, evidence, {}, round(distinct, 4)
            )
    if form == "text" and _is_prose(texts):
        return _prose(table, column, present, distinct, config)
    return _unknown(table, column, present, texts, form, distinct)


_Hit: TypeAlias = tuple[float, int, Entity, str, float, tuple[Evidence, ...]]


def _hit(entity: Entity, column: str, texts: Sequence[str], form: Form) -> _Hit | None:
    """Return strength, order, entity, title, share and evidence, if a column is of this kind."""
    if form not in entity.forms:
        return None
    is_named = entity.is_named(column)
    order = -ENTITIES.index(entity)
    if entity.matches is None:
        return (1.0, order, entity, entity.title, 0.0, ("name",)) if is_named else None
    kind: Evidence = "checksum" if entity.has_checksum else "lexicon" if entity.is_lexical else "pattern"
    weight = {"checksum": 3.0, "pattern": 2.0, "lexicon": 1.5}[kind]
    least = (entity.hinted if is_named else entity.alone) or 0.0
    share = _share(entity.matches, texts, least=min(least, entity.alone or 1.0))
    is_enough = entity.alone is not None and share >= entity.alone and len(texts) >= entity.least and telling(texts)
    if is_enough and entity.name == "name" and not is_named and not _are_diverse(texts):
        return None
    if is_enough:
        evidence: tuple[Evidence, ...] = (kind, "name") if is_named else (kind,)
        return weight + 1.5 * is_named, order, entity, entity.title, share, evidence
    if entity.name == "name" and are_names(texts, is_named=is_named):
        return weight + 1.5 * is_named, order, entity, entity.title, share, (kind, "name") if is_named else (kind,)
    if not is_named:
        return None
    if share >= entity.hinted > 0:
        return weight + 1.5, order, entity, entity.title, share, (kind, "name")
    if entity.loosely is not None:
        loose = _share(entity.loosely, texts, least=entity.hinted)
        return (2.0, order, entity, entity.title, loose, ("pattern", "name")) if loose >= entity.hinted else None
    # A name with dates, or numbers, that have not the form is no evidence: the form is then what tells.
    return (1.0, order, entity, entity.title, share, ("name",)) if entity.hinted == 0 else None


def _are_diverse(texts: Sequence[str]) -> bool:
    """Return whether the last words are as many as family names are; names of products end in few words."""
    return len({text.split()[-1] for text in texts}) >= min(_FAMILIES * len(texts), 100)


def _national(column: str, texts: Sequence[str], form: Form) -> _Hit | None:
    entity = BY_ENTITY["national_id"]
    if form not in entity.forms:
        return None
    found = national_number(texts)
    if found is None:
        return None
    number, share = found
    is_named = entity.is_named(column)
    kind: Evidence = "pattern" if number.check is None else "checksum"
    is_enough = share >= _CERTAIN and number.is_certain and len(texts) >= (_FEWEST if number.check else 3)
    if not is_named and not is_enough:
        return None
    evidence: tuple[Evidence, ...] = (kind, "name") if is_named else (kind,)
    weight = 3.1 if number.check else 2.5
    return weight + 1.5 * is_named, 0, entity, f"{entity.title} ({number.title})", share, evidence


def _share(matches: Any, texts: Sequence[str], *, least: float) -> float:  # noqa: ANN401 - a Match
    """Return the share of texts that match; 0 if a few of them show that it stays below ``least``."""
    head = texts[:: max(1, len(texts) // _HEAD)][:_HEAD]
    if sum(map(matches, head)) < least / 2 * len(head):
        return 0.0
    return float(np.mean([matches(text) for text in texts]))


def form_of(present: pd.Series[Any]) -> Form | None:
    """Return the type of a column's values, ``None`` for types that hold nothing to recognise."""
    from pandas.api import types

    dtype = present.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return form_of(pd.Series(dtype.categories))
    if types.is_bool_dtype(dtype):
        return "boolean"
    if types.is_integer_dtype(dtype):
        return "integer"
    if types.is_float_dtype(dtype):
        return "float"
    if types.is_datetime64_any_dtype(dtype):
        return "date"
    held = present.head(1_000)
    if any(isinstance(value, str) for value in held):
        return "text"
    inferred = types.infer_dtype(held, skipna=True)
    known: dict[str, Form] = {
        "integer": "integer", "floating": "float", "boolean": "boolean", "date": "date", "datetime": "date",
        "datetime64": "date", "decimal": "float", "mixed-integer-float": "float",
    }  # fmt: skip
    return known.get(inferred)


def _distinct(present: pd.Series[Any]) -> float:
    try:
        return float(cast_to(present, object).nunique() / max(len(present), 1))
    except TypeError:  # lists and other values that cannot be counted
        return 0.0


def _is_prose(texts: Sequence[str]) -> bool:
    """Return whether most texts have five words or more, of letters."""
    head = texts[:200]
    return sum(sum(any(map(str.isalpha, word)) for word in text.split()) >= 5 for text in head) > len(head) / 2


def _prose(table: str, column: str, present: pd.Series[Any], distinct: float, config: DetectConfig) -> SensitiveColumn:
    from synth_components.sensitive.prose import entities_in

    texts = [str(value) for value in present.iloc[:: max(1, len(present) // 2_000)].iloc[:2_000]]
    if config.presidio:
        from synth_components.sensitive.presidio import recogniser

        other = recogniser()
        held = [entities_in(text) | other(text) for text in texts]
    else:
        held = [entities_in(text) for text in texts]
    kinds = [kind for kind in BY_ENTITY if any(kind in found for found in held)]
    contains = {kind: round(sum(kind in found for found in held) / len(texts), 4) for kind in kinds}
    evidence: tuple[Evidence, ...] = ("text", "presidio") if config.presidio else ("text",)
    is_medical = kinds == ["health"]
    role: Role = "sensitive" if not kinds or is_medical else "direct"
    level = max((level_of(kinds), "medium"), key=LEVELS.index)
    title = "free text" + (f" with {', '.join(BY_ENTITY[kind].title for kind in kinds)}" if kinds else "")
    share = round(sum(bool(found) for found in held) / len(texts), 4)
    return SensitiveColumn(
        table, column, "free_text", title, role, level, share, evidence, contains, round(distinct, 4)
    )


def _unknown(
    table: str, column: str, present: pd.Series[Any], texts: Sequence[str], form: Form, distinct: float
) -> SensitiveColumn:
    """Return whether a column of no known kind at least singles rows out."""
    from synth_components.identifier import hints_at, key_prefix
    from synth_components.statistics.pattern import BY_NAME

    told = round(distinct, 4)
    is_uuid = form == "text" and _share(BY_NAME["uuid"].matches, texts, least=0.8) >= 0.8
    is_named = hints_at(column, "identifier") or hints_at(column, "uuid")
    is_key = is_uuid or (is_named and len(texts) >= 10 and (form in {"integer", "text"}))
    if is_key and (distinct >= 0.05 or is_uuid):
        evidence: tuple[Evidence, ...] = (
            ("pattern", "name") if is_uuid and is_named else ("pattern",) if is_uuid else ("name",)
        )
        if distinct >= _UNIQUE:
            evidence = (*evidence, "uniqueness")
        return SensitiveColumn(
            table, column, "identifier", "unique number or code", "direct", "medium", float(is_uuid), evidence, {}, told
        )
    is_coded = form in {"text", "integer"} and distinct >= _UNIQUE and len(present) >= 20
    if is_coded and form == "text" and key_prefix(pd.Series(texts[:200])) is not None:
        return SensitiveColumn(
            table,
            column,
            "identifier",
            "unique number or code",
            "direct",
            "medium",
            1.0,
            ("pattern", "uniqueness"),
            {},
            told,
        )
    if is_coded:
        return SensitiveColumn(
            table, column, "unique", "values that single rows out", "quasi", "medium", 0.0, ("uniqueness",), {}, told
        )
    return _plain(table, column, distinct)


def _plain(table: str, column: str, distinct: float) -> SensitiveColumn:
    return SensitiveColumn(table, column, "none", "nothing known", "none", "low", 0.0, (), {}, round(distinct, 4))


def _share_alone(table: pd.DataFrame, columns: Sequence[str], owners: Owners) -> float:
    """Return the share of rows that no other row, or no other unit's, shares ``columns`` with; 0 without columns."""
    if not columns or not len(table):
        return 0.0
    group = np.zeros(len(table), dtype=np.int64)
    for name in columns:
        codes, distinct = pd.factorize(cast_to(table[name], object).map(str, na_action="ignore"))
        _, group = np.unique(group * (len(distinct) + 1) + codes + 1, return_inverse=True)
    return round(float((supports(group, owners, len(table))[group] == 1).mean()), 4)
