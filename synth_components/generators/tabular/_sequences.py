"""Rows that belong to sequences: which columns say so, where each begins, and how new ones are numbered.

The column that tells sequences apart is never learnt: sequences are drawn with names of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray
from pydantic import Field
from safetensors.numpy import load_file, save_file

from synth_components.conditions import parse
from synth_components.config import OF_SEQUENCES, ConfigError
from synth_components.encode import Features, decode, encode_table, greatest, slices
from synth_components.errors import ConditionError, SchemaError, UnsupportedError
from synth_components.generators.tabular._condition import Condition, conditions
from synth_components.generators.tabular._grid import Grid, marginal_from
from synth_components.marginal import Marginal
from synth_components.protocols import Dataset, Floats, Given
from synth_components.schema import AnyColumn, Categorical, Datetime, Numeric, Schema
from synth_components.split import units_of
from synth_components.support import Owners

FEW_ORDERED_ROWS = 7_000
"""Below this the transformer was behind tables of counts at the dependence of a column on its own past, and learnt
none on another's (``benchmarks/sequences.py``)."""

Ints = NDArray[np.int64]

MOST_TRIES = 100
"""Draws of the lengths of sequences of which the first is taken that needs no more names than there are."""

Group = Annotated[
    str,
    Field(description="Column that tells sequences apart, a whole number, category, text or key; empty: one sequence."),
]

OrderBy = Annotated[
    str,
    Field(
        description="Column that orders the rows of a sequence; empty: the schema's order, else the order of the rows."
    ),
]

Length = Annotated[
    int,
    OF_SEQUENCES,
    Field(ge=0, le=10_000_000, description="Rows per drawn sequence; 0: as long as the training ones."),
]

InitialState = Annotated[
    dict[str, str | int | float | bool | None],
    Field(description="Values by column in the first row of each sequence; others are drawn."),
]


def require_sequences(order_by: str, *, group: str, length: int, initial_state: Mapping[str, object]) -> None:
    """Raise if an option is about sequences where nothing tells of any.

    Args:
        order_by: What ``order_of`` says.

    Raises:
        ConfigError: naming the option.
    """
    if group or order_by:
        return
    for option, is_asked in (("length", length), ("initial_state", initial_state)):
        if is_asked:
            raise ConfigError(f"option '{option}' is about sequences: name group or order_by, too", option=option)


@dataclass(frozen=True, eq=False)
class Ordered:
    """The training rows, sequence after sequence, each in its order.

    Attributes:
        rows: The columns that are learnt, and whose each row is.
        age: (n,) how many rows of the same sequence come before each.
    """

    rows: Dataset
    age: Ints

    @property
    def starts(self) -> Ints:
        """The rows (s,) at which sequences begin."""
        return np.flatnonzero(self.age == 0)

    @property
    def lengths(self) -> Ints:
        """Rows (s,) of each sequence."""
        return np.diff(np.append(self.starts, len(self.age)))

    @property
    def owners(self) -> Owners:
        """The privacy unit (n,) of each row, to count support by; ``None`` where rows are counted."""
        return None if self.rows.is_trial else units_of(self.rows)


@dataclass(frozen=True)
class Part:
    """Rows ``first`` to ``end`` (exclusive) of the ``total`` that a call asks for."""

    first: int
    end: int
    total: int


@dataclass(frozen=True, eq=False)
class Sequences:
    """What numbers sequences and their rows, and how.

    Attributes:
        schema: Of all columns.
        group: The column that tells sequences apart; empty: one sequence.
        order_by: The column that orders their rows, empty for none.
        length: Rows per sequence, 0 as observed.
        spans: Marginals of sequences' lengths, first times, and gaps.
        initial: Code and encoded value, by feature of the learnt columns, that each sequence begins with.
        usual: How many names, from the least on, are taken before others: those within the bounds that a profile read
            off the rows, which the schema leaves open above; 0 where a person declared which names there are.
        part: Which rows of a call are drawn; ``None`` for all.  Other parts have other names.
    """

    schema: Schema
    group: str
    order_by: str
    length: int
    spans: Mapping[str, Marginal]
    initial: Mapping[int, tuple[int, float]]
    usual: int = 0
    part: Part | None = None

    @property
    def learnt(self) -> Schema:
        """The schema of the columns that are learnt: all but those that number.

        Raises:
            SchemaError: if there is none.
        """
        return learnt(self.schema, self.group, self.order_by)

    @classmethod
    def of(
        cls,
        data: Dataset,
        ordered: Ordered,
        grids: Sequence[Grid],
        *,
        group: str,
        order_by: str,
        length: int,
        initial_state: Mapping[str, object],
        knots: int,
        min_count: int,
    ) -> Self:
        """Return how the sequences of ``data`` are numbered.

        Args:
            ordered: What ``in_sequence`` makes of ``data``.
            grids: Of the features of the learnt columns.
            initial_state: What each sequence begins with, by column.

        Raises:
            ConditionError: if ``initial_state`` does not fit the schema, or the model gives it no mass.
            UnsupportedError: if there are fewer than ``min_count`` sequences, or privacy units whose they are, to learn
                their lengths, beginnings and gaps of.
        """
        if group:
            _require_enough(len(ordered.starts), group=group, order_by=order_by, length=length, min_count=min_count)
        owners = np.arange(len(ordered.age)) if ordered.owners is None else ordered.owners
        first = owners[ordered.starts]  # a sequence is counted as its first row's unit
        spans = {"length": (ordered.lengths.astype(np.float64), first)} if group and not length else {}
        if order_by:
            own = _only(data.schema, order_by)
            stamps = encode_table(data.table[[order_by]].iloc[ordered.rows.table.index], own).values[:, 0]
            is_later = ordered.age > 0
            begin = stamps[ordered.starts] if group else stamps[:0]
            spans |= {"begin": (begin, first), "gap": (np.diff(stamps)[is_later[1:]], owners[is_later])}
        said = order_by or group
        marginals = {
            name: Marginal.of(
                values,
                Numeric(places=0),
                name=f"{name} of sequences by {said}",
                knots=knots,
                min_count=min_count,
                owners=None if ordered.owners is None else whose,
            )
            for name, (values, whose) in spans.items()
            if len(values)
        }
        initial = _initial(initial_state, ordered.rows.schema, tuple(grids))
        schema, usual = _with_room(data.schema, group)
        return cls(schema, group, order_by, length, marginals, initial, usual)

    def refuse_numbering(self, given: Given | None) -> None:
        """Raise if a condition is on a column that numbers sequences or their rows.

        Raises:
            ConditionError: naming the columns; rows picked to meet it would be of different sequences.
        """
        asked = [] if given is None else [name for name in given.columns if name in (self.group, self.order_by)]
        if asked:
            raise ConditionError(
                f"the columns that number sequences and their rows take no condition, and {asked} do; leave them out, "
                "or fix the length of sequences or what they begin with when the model is fitted",
                columns=tuple(asked),
            )

    def starts(self, n: int, *, rng: random.Generator) -> Ints:
        """Return the rows (s,) of ``n`` at which sequences begin; the last sequence may be cut short."""
        if self.length or "length" not in self.spans:
            return np.arange(0, n, self.length or max(n, 1))
        for _ in range(MOST_TRIES):
            starts = self._starts(n, rng=rng)
            if self.usual or len(starts) <= self._names_of(n)[1]:
                break
        return starts  # where names are few: lengths given that there are enough for all sequences

    def _starts(self, n: int, *, rng: random.Generator) -> Ints:
        ends, reached = [np.zeros(1, np.int64)], 0
        while reached < n:
            lengths = np.maximum(np.rint(self.spans["length"].quantile(rng.random(64 + n // 64))), 1).astype(np.int64)
            ends.append(reached + np.cumsum(lengths))
            reached = int(ends[-1][-1])
        return np.concatenate(ends)[: int(np.searchsorted(np.concatenate(ends), n))]

    def begun(
        self, wanted: Mapping[int, Condition], starts: Ints, n: int, grids: Sequence[Grid]
    ) -> dict[int, Condition]:
        """Return the conditions with those of the initial state; a request on the same column comes first."""
        is_start = np.zeros(n, dtype=bool)
        is_start[starts] = True
        made = dict(wanted)
        for feature, (code, value) in self.initial.items():
            if feature in made:
                continue
            made[feature] = Condition(
                np.ones(grids[feature].size),
                -np.inf,
                np.inf,
                None,
                np.where(is_start, value, np.nan),
                is_start,
                np.full(n, code, dtype=np.int32),
                np.ones(n),
            )
        return made

    def numbered(self, made: Dataset, starts: Ints, *, rng: random.Generator) -> Dataset:
        """Return drawn rows with the columns that number sequences and order their rows.

        Raises:
            SchemaError: if a group has fewer values than there are sequences.
        """
        n = len(made.table)
        lengths = np.diff(np.append(starts, n))
        columns: list[pd.Series[Any]] = []
        if name := self.group:
            columns.append(self._decoded(name, np.repeat(self._names(len(starts), n, rng=rng), lengths)))
        if name := self.order_by:
            column = self.schema.columns[name]
            first = np.zeros(len(starts))
            if "begin" in self.spans:
                first = np.rint(self.spans["begin"].quantile(rng.random(len(starts))))
            elif isinstance(column, Numeric) and column.places is None:
                first += float(column.low or 0)
            gaps = self.spans["gap"].quantile(rng.random(n)) if "gap" in self.spans else np.ones(n)
            gaps[starts] = 0.0
            reached = np.cumsum(gaps)
            columns.append(self._decoded(name, reached + np.repeat(first - reached[starts], lengths)))
        table = pd.concat([made.table, *columns], axis=1)[list(self.schema.columns)]
        return Dataset({self.schema.root: table}, self.schema)

    def _names(self, count: int, n: int, *, rng: random.Generator) -> Floats:
        """Return a new encoded name (count,) for each sequence of ``n`` rows: none twice, nor in another part."""
        first, room = self._names_of(n)
        if not self.usual:
            if room < count:
                raise self._too_few(count, room)
            return (first + rng.choice(room, size=count, replace=False)).astype(np.float64)
        part, column = self.part or Part(0, n, n), self.schema.columns[self.group]
        assert isinstance(column, Numeric)  # noqa: S101 - no others have usual names
        most = greatest(column) - int(column.low or 0) + 1
        others = min(part.end - part.first, most - self.usual - part.first)
        is_whole = n == part.end - part.first  # else rows in the place of rejected ones: names are to be new
        own = rng.choice(room, size=min(room, count) if is_whole else 0, replace=False)
        if others < count - len(own):
            raise self._too_few(count, most)
        more = np.arange(count - len(own)) if is_whole else rng.choice(others, size=count, replace=False)
        names = np.append(first + own, self.usual + part.first + more)
        return rng.permutation(names).astype(np.float64)

    def _names_of(self, n: int) -> tuple[int, int]:
        """Return the first name of this part, or of ``n`` rows, and how many there are."""
        column = self.schema.columns[self.group]
        if self.usual:
            low, high = 0, self.usual - 1
        elif isinstance(column, Categorical):
            low, high = 0, len(column.categories) - 1
        else:
            assert isinstance(column, Numeric)  # noqa: S101 - fit takes numbers and categories alone
            low = 0 if column.low is not None else 1
            high = (min(2**31, greatest(column)) if column.high is None else int(column.high)) - int(column.low or 0)
        part, names = self.part or Part(0, n, n), high - low + 1
        begin, end = (names * place // max(part.total, 1) for place in (part.first, part.end))
        return low + begin, end - begin

    def _too_few(self, count: int, room: int) -> SchemaError:
        column = self.schema.columns[self.group]
        part = "" if self.part is None or self.part.end - self.part.first == self.part.total else "its share of "
        remedy = "declare wider bounds of it"
        if isinstance(column, Categorical):
            remedy = "declare more categories of it, or number sequences by whole numbers, which do not end"
        return SchemaError(
            f"{count} sequences need names of their own, and {part}column '{self.group}' has {room}; draw fewer rows, "
            f"give sequences a greater length, or {remedy}",
            column=self.group,
        )

    def _decoded(self, name: str, values: Floats) -> pd.Series[Any]:
        own = _only(self.schema, name)
        return decode(Features(values[:, None], slices(own), own)).table[name]

    def save(self, directory: Path) -> None:
        """Write ``sequences.json`` and, where there is a marginal, ``sequences.safetensors``."""
        plan = {
            "schema": self.schema.to_json(),
            "sequences": [self.group, self.order_by, self.length],
            "usual": self.usual,
            "spans": sorted(self.spans),
            "initial": [
                [feature, code, None if np.isnan(value) else value] for feature, (code, value) in self.initial.items()
            ],
        }
        (directory / "sequences.json").write_text(
            json.dumps(plan, separators=(",", ":"), allow_nan=False, ensure_ascii=False), encoding="utf-8"
        )
        arrays = {
            f"{name}.{part}": np.ascontiguousarray(array)
            for name, marginal in self.spans.items()
            for part, array in marginal.to_arrays().items()
        }
        if arrays:
            save_file(arrays, directory / "sequences.safetensors")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return what ``save`` wrote."""
        plan = json.loads((directory / "sequences.json").read_text(encoding="utf-8"))
        arrays = load_file(directory / "sequences.safetensors") if plan["spans"] else {}
        spans = {name: marginal_from(arrays, name) for name in plan["spans"]}
        initial = {feature: (code, np.nan if value is None else value) for feature, code, value in plan["initial"]}
        group, order_by, length = plan["sequences"]
        return cls(Schema.from_json(plan["schema"]), group, order_by, length, spans, initial, plan.get("usual", 0))


def few_ordered_rows(rows: int) -> str:
    """Return what a transformer of sequences is warned of, and what to do; empty where the rows suffice."""
    if rows >= FEW_ORDERED_ROWS:
        return ""
    return (
        f"there are fewer than {FEW_ORDERED_ROWS:,} ordered rows, of which tabular.transformer learns little of how "
        "rows follow each other; tabular.markov with the same group and order_by learns it from tables of counts"
    )


def order_of(schema: Schema, order_by: str) -> str:
    """Return the column that orders rows: the one asked for, else the schema's; empty for none."""
    return order_by or schema.order.get(schema.root, "")


def in_sequence(data: Dataset, *, group: str, order_by: str) -> Ordered:
    """Return the rows of ``data`` and their units, by sequence; their index says where each stood.

    Raises:
        SchemaError: if there is no column ``group`` or ``order_by`` of a fit kind, or none beside these.
    """
    own = learnt(data.schema, group, order_by)
    table = data.table.reset_index(drop=True)
    if order_by:
        table = table.sort_values(order_by, kind="stable")
    number = pd.factorize(table[group])[0] if group else np.zeros(len(table), np.int64)
    rows = np.argsort(number, kind="stable")
    table, number = table.iloc[rows], number[rows]
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    age = np.arange(len(number)) - np.repeat(starts, np.diff(np.append(starts, len(number))))
    owners = units_of(data)
    owners = None if owners is None else owners[table.index]
    return Ordered(Dataset({own.root: table[list(own.columns)]}, own, owners=owners, is_trial=data.is_trial), age)


def learnt(schema: Schema, group: str, order_by: str) -> Schema:
    """Return the schema of the columns that do not number sequences.

    Raises:
        SchemaError: if there is no column ``group`` or ``order_by`` of a fit kind, or none beside these.
    """
    for option, name, kinds in (("group", group, Numeric | Categorical), ("order_by", order_by, Numeric | Datetime)):
        column = schema.columns.get(name)
        if name and column is None:
            raise SchemaError(
                f"{option} names no column that is learnt: '{name}'; name another, or declare it in the schema as a "
                "number",
                column=name,
            )
        if column is None:
            continue
        is_split = slices(schema)[name].stop - slices(schema)[name].start > 1
        if not isinstance(column, kinds) or column.nullable or is_split or _is_fraction(column, option):
            raise SchemaError(
                f"column '{name}' cannot be {option}: it takes "
                + ("whole numbers or categories" if option == "group" else "numbers or times")
                + ", without nulls, up to 2^53",
                column=name,
            )
    kept = {name: column for name, column in schema.columns.items() if name not in (group, order_by)}
    if not kept:
        raise SchemaError("there is no column beside group and order_by, so there is nothing to learn", column="")
    return Schema({schema.root: kept}, schema.root)


def _with_room(schema: Schema, group: str) -> tuple[Schema, int]:
    """Return the schema with room for new names, and how many there were.

    Whole numbers whose bounds no person declared go on above; of others there are those that there are, and 0 is told.
    """
    column = schema.columns.get(group)
    if not isinstance(column, Numeric) or column.public or column.low is None or column.high is None:
        return schema, 0
    columns = {**schema.columns, group: replace(column, high=None)}
    return replace(schema, tables={schema.root: columns}), int(column.high) - int(column.low) + 1


def _require_enough(count: int, *, group: str, order_by: str, length: int, min_count: int) -> None:
    """Raise if there are fewer than ``min_count`` sequences to learn something from that is needed."""
    what = [*([] if length else ["their length"]), *([f"the first '{order_by}' of each"] if order_by else [])]
    if count >= min_count or not what:
        return
    ways = [*([] if length else ["set length"]), *(["name no order_by"] if order_by else [])]
    raise UnsupportedError(
        f"there are {count} sequences by '{group}', too few to learn {' and '.join(what)} from; give {min_count}, "
        f"{' and '.join(ways)}, or lower min_category_count knowing that it is a privacy knob"
    )


def _is_fraction(column: AnyColumn, option: str) -> bool:
    return option == "group" and isinstance(column, Numeric) and column.places != 0


def _only(schema: Schema, name: str) -> Schema:
    return Schema({schema.root: {name: schema.columns[name]}}, schema.root)


def _initial(state: Mapping[str, object], schema: Schema, grids: tuple[Grid, ...]) -> dict[int, tuple[int, float]]:
    """Return code and encoded value, by feature, of what each sequence begins with."""
    made = {}
    for name, value in state.items():
        given = parse({name: [value]}, schema, 1)
        for feature, condition in conditions(given, 1, schema=schema, grids=grids).items():
            held = condition.members if condition.members is not None else np.empty(0)
            made[feature] = (int(np.argmax(condition.share)), float(held[0]) if len(held) else np.nan)
    return made
