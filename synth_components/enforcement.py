"""Rows that obey every rule, exactly as many as asked: repair, then reject and redraw, then say which rule fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.constraints import Constraint, Unique, is_unlearned
from synth_components.constraints.rule import WIDE
from synth_components.errors import ConditionError, ConstraintError
from synth_components.schema import AnyColumn, Key, Numeric, Schema, outside_of

_LOG = logging.getLogger(__name__)

Positions: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Draw: TypeAlias = Callable[[Positions], pd.DataFrame]
"""Output positions (k,) to one candidate row for each, in order; a position may be asked several times."""

MAX_DRAWS_PER_ROW = 200
"""Candidates per missing row before a rule counts as unsatisfiable."""

MIN_DRAWS = 50_000
"""Candidates that must fail, however few rows are asked for, before a rule counts as unsatisfiable."""

MAX_SEQUENCES = 10 * MAX_DRAWS_PER_ROW
"""Sequences in a row of which none is kept before a rule counts as unsatisfiable, however many of their rows obey it.

Of rules that one sequence in 100 obeys, they are met by none of so many once in 5e8 times."""

_BATCH = 65_536
_PASSES = 3
_CONDITIONS = "the conditions"
_SCHEMA = "the schema"


def enforce(
    draw: Draw,
    constraints: Sequence[Constraint],
    n: int,
    *,
    rng: random.Generator,
    schema: Schema,
    accepts: Callable[[pd.DataFrame, Positions], Mask] | None = None,
    before: pd.DataFrame | None = None,
    group: str = "",
    length: int = 0,
) -> pd.DataFrame:
    """Return exactly ``n`` rows that obey the schema and every rule but the warned ones.

    ``attrs["acceptance"]`` of the result tells by rule the share of candidates that obeyed it after repair; of a rule
    with policy ``warn``, the share of the rows themselves.

    Args:
        accepts: What else a candidate must satisfy at its position: the conditions.  Without it any accepted row may
            take any position.
        before: Rows of earlier blocks, for rules that span rows.
        group: The column that tells sequences apart, where ``draw`` makes sequences one after the other, of which the
            last may be cut short.  Of one with a row that is rejected all rows are, and no other sequence is torn.
        length: Rows of each such sequence but the last; 0 if they differ.

    Raises:
        ConstraintError: naming the rule that the fewest candidates, or sequences, obeyed, if redrawing does not reach
            ``n``; or the rule with policy ``refuse`` that a candidate broke.
        ConditionError: if that is the conditions.
    """
    everyone = np.arange(n, dtype=np.int64)
    warned = [rule for rule in constraints if rule.policy == "warn"]
    kept = [rule for rule in constraints if rule.policy != "warn"]
    rows = [rule for rule in kept if not rule.spans_rows]
    spanning = [rule for rule in kept if rule.spans_rows]
    obeyed = dict.fromkeys([*(rule.name for rule in kept), _SCHEMA, *([_CONDITIONS] if accepts else [])], 0)
    intact = dict.fromkeys(obeyed, 0)  # sequences of which every row obeys
    sequences = barren = 0  # all of them, and those lost since the last one was kept
    pieces: list[pd.DataFrame] = []
    places: list[Positions] = []
    taken: set[Any] = set()  # names of sequences
    missing, drawn, factor, ahead = everyone, 0, 1, max(n, 1)
    what = "sequences" if group else "candidates"
    while len(missing) or not pieces:
        positions = missing[:ahead] if group else np.tile(missing, factor)[:_BATCH]
        earlier = [piece for piece in ([before] if before is not None else []) + pieces if len(piece)]
        candidates, masks, changed, touched = _mended(draw(positions), rows, spanning, earlier, schema, rng)
        good = np.ones(len(candidates), dtype=bool)
        good[touched] = _within(candidates.iloc[touched], changed, schema)
        told = {_SCHEMA: good.copy()}
        for rule, held in zip(rows, masks, strict=True):
            _require(rule, held)
            told[rule.name] = held
            good &= held
        if accepts is not None:
            told[_CONDITIONS] = held = accepts(candidates, positions)
            good &= held
        for rule in spanning:
            told[rule.name] = held = _spanned(candidates, good, earlier, rule)
            good &= held
        for name, held in told.items():
            obeyed[name] += int(held.sum())
        drawn += len(positions)
        if group:
            number, count = _numbered(candidates[group])
            for name, held in told.items():
                intact[name] += count - len(np.unique(number[~held]))
            sequences += count
            lost = _lost(candidates[group], good, taken)
            if length:  # what is lost are whole sequences, and new ones fill their places
                chosen = np.flatnonzero(~lost)
                filled = positions[chosen]
            else:
                chosen = _whole(candidates[group], lost, movable=accepts is None, is_cut=len(positions) < len(missing))
                filled = missing[: len(chosen)]
                ahead = ahead if accepts is None else _ahead(candidates[group], lost, ahead)
            # In places of their own, those after the first that is lost are drawn again, whatever they are.
            is_tried = accepts is None or bool(length) or bool(lost.all())
            barren = 0 if len(chosen) else barren + (len(np.unique(number[lost])) if is_tried else 1)
        else:
            chosen, filled = _choose(positions, good, missing, exchangeable=accepts is None)
        if len(chosen) or not pieces:
            pieces.append(candidates.iloc[chosen])
            places.append(filled)
            taken |= set(pieces[-1][group].unique()) if group else set()
        missing = np.setdiff1d(missing, filled, assume_unique=True)
        if not len(missing):
            break
        if barren >= MAX_SEQUENCES:
            raise _unsatisfiable(intact, sequences, n, what=what)
        share = good.sum() / len(positions)
        if (share == 0 and drawn >= MIN_DRAWS) or drawn >= max(MIN_DRAWS, MAX_DRAWS_PER_ROW * n):
            raise _unsatisfiable(intact if group else obeyed, sequences if group else drawn, n, what=what)
        factor = int(np.clip(1.2 / max(share, 1e-3) + 1, 2, max(2, _BATCH // len(missing))))
    order = np.argsort(np.concatenate(places), kind="stable")
    whole = _joined(pieces).iloc[order].reset_index(drop=True)
    for rule in spanning:  # the others were asked about these very rows
        if not rule.allows(whole).all():
            raise ConstraintError(f"constraint '{rule.name}' is broken after enforcement", constraint=rule.name)
    acceptance = {name: count / max(drawn, 1) if n else 1.0 for name, count in obeyed.items()}
    whole.attrs["acceptance"] = acceptance | {rule.name: _warned(rule, whole, before) for rule in warned}
    return whole


def _require(rule: Constraint, held: Mask) -> None:
    """Raise if a candidate broke a rule with policy ``refuse``."""
    if rule.policy == "refuse" and not held.all():
        raise ConstraintError(
            f"constraint '{rule.name}' has policy refuse, and {int((~held).sum())} of {len(held)} candidates break it; "
            "give it policy repair or reject, or use a generator that learned it",
            constraint=rule.name,
            acceptance=float(held.mean()),
        )


def _warned(rule: Constraint, table: pd.DataFrame, before: pd.DataFrame | None) -> float:
    """Return the share of rows that obey a rule with policy ``warn``, after telling how many break it."""
    held = _held(rule, table, [] if before is None else [before])
    broken = int((~held).sum())
    if broken:
        _LOG.warning("constraint '%s' (policy warn) is broken by %d of %d rows drawn", rule.name, broken, len(table))
    return float(held.mean()) if len(table) else 1.0


def _held(rule: Constraint, table: pd.DataFrame, earlier: Sequence[pd.DataFrame]) -> Mask:
    """Return which rows obey a rule that may span rows, shape (n,)."""
    if not rule.spans_rows or not earlier:
        return rule.allows(table).to_numpy(dtype=bool)
    columns = list(rule.columns)
    whole = _joined([*(piece[columns] for piece in earlier), table[columns]])
    return rule.allows(whole).to_numpy(dtype=bool)[len(whole) - len(table) :]


def _joined(pieces: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [piece for piece in pieces if len(piece)]
    return pd.concat(filled, ignore_index=True) if filled else pieces[0]


def _choose(positions: Positions, good: Mask, missing: Positions, *, exchangeable: bool) -> tuple[Positions, Positions]:
    """Return which candidates are kept and which positions they fill."""
    accepted = np.flatnonzero(good)
    if exchangeable:
        accepted = accepted[: len(missing)]
        return accepted, missing[: len(accepted)]
    filled, first = np.unique(positions[accepted], return_index=True)
    return accepted[first], filled


def _lost(names: pd.Series[Any], good: Mask, taken: set[Any]) -> Mask:
    """Return which candidates are of a sequence with a rejected row, or with a name that is taken.

    Args:
        names: The name of each candidate's sequence.
        taken: The names that others have.
    """
    number, known = pd.factorize(names)
    is_taken = np.array([name in taken for name in known], dtype=bool)
    return np.isin(number, number[~good | is_taken[number]])


def _whole(names: pd.Series[Any], lost: Mask, *, movable: bool, is_cut: bool) -> Positions:
    """Return the candidates that are kept: whole sequences, of any length.

    Args:
        names: The name of each candidate's sequence.
        lost: Which candidates are of a sequence that is not kept.
        movable: Whether a sequence may take the place of one before it; else those after the first that is lost are
            drawn again, too.
        is_cut: Whether other rows are to come after the last sequence, which may be cut short.
    """
    if not lost.any() and not is_cut:
        return np.arange(len(names))
    number = pd.factorize(names)[0]
    # The last one may be cut short, and would be in the midst of others.
    if movable:
        return np.flatnonzero(~lost & (number != number[-1]))
    return np.arange(int(np.argmax(lost | (number == number[-1]))))


def _ahead(names: pd.Series[Any], lost: Mask, ahead: int) -> int:
    """Return how many rows to draw where those after the first sequence that is lost are drawn again.

    They are ten times as many as until then: to draw all that are missing would take the square of their number, and
    to draw so few that often none is lost would favour short sequences, as the last one is cut.
    """
    if not lost.any():
        return 2 * ahead
    first = int(np.argmax(lost))
    ends = first + int((names == names.iloc[first]).sum())
    return max(10 * ends, ahead // 2)


def _mended(
    table: pd.DataFrame,
    rows: Sequence[Constraint],
    spanning: Sequence[Constraint],
    earlier: Sequence[pd.DataFrame],
    schema: Schema,
    rng: random.Generator,
) -> tuple[pd.DataFrame, list[Mask], set[str], Positions]:
    """Return the candidates after repair, which of them obey each of ``rows``, and the columns and rows in repair.

    A rule may break what another mended, so the rules take turns.  A rule is asked again only where a row was broken,
    as a repair leaves the other rows alone, and only if a repair touched its columns.
    """
    whole, table = table, table[list(dict.fromkeys(name for rule in (*rows, *spanning) for name in rule.columns))]
    masks: list[Mask] = [rule.allows(table).to_numpy(dtype=bool, copy=True) for rule in rows]
    mending = [rule for rule in spanning if rule.policy == "repair"]
    ever: set[str] = set()
    touched = np.zeros(len(table), dtype=bool)
    for turn in range(_PASSES):
        changed: set[str] = set()
        broken = ~np.logical_and.reduce(masks) if masks else np.zeros(len(table), dtype=bool)
        for rule, held in zip(rows, masks, strict=True):
            if rule.policy == "repair" and (not held.all() or changed & set(rule.columns)):
                made = rule.repair(table, rng=rng)
                changed |= set(rule.columns) if made is not table else set()
                table = made
        for rule in mending:
            if turn == 0 or changed & set(rule.columns):
                before = _joined([piece[list(rule.columns)] for piece in earlier]) if earlier else None
                made = rule.repair(table, rng=rng, before=before)
                if made is not table:
                    changed |= set(rule.columns)
                    broken[:] = True
                    table = made
        if not changed:
            break
        ever |= changed
        touched |= broken
        table = table.assign(**{name: _rounded(table[name], schema.columns[name]) for name in sorted(changed)})
        part = table.iloc[np.flatnonzero(broken)]
        for rule, held in zip(rows, masks, strict=True):
            if changed & set(rule.columns):
                held[broken] = rule.allows(part).to_numpy(dtype=bool)
    mended = whole.assign(**{name: table[name] for name in sorted(ever)}) if ever else whole
    return mended, masks, ever, np.flatnonzero(touched)


def _rounded(values: pd.Series[Any], column: AnyColumn) -> pd.Series[Any]:
    """Return the values at the column's decimal places."""
    if not isinstance(column, Numeric) or column.places is None:
        return values
    if column.dtype == "decimal":
        quantum = Decimal(1).scaleb(-column.places)
        return values.map(lambda v: v.quantize(quantum, context=WIDE) if isinstance(v, Decimal) else v)
    return values.round(column.places) if values.dtype.kind == "f" else values


def _within(table: pd.DataFrame, names: set[str], schema: Schema) -> Mask:
    """Return which rows obey the schema in the columns that a repair changed, shape (n,)."""
    good = np.ones(len(table), dtype=bool)
    for name in names:
        outside, _ = outside_of(table[name], schema.columns[name])
        good &= ~outside
        if not schema.columns[name].nullable:
            good &= table[name].notna().to_numpy()
    return good


def _spanned(candidates: pd.DataFrame, good: Mask, earlier: Sequence[pd.DataFrame], rule: Constraint) -> Mask:
    """Return which candidates obey a rule that looks at the rows before them; those that are not good count as such."""
    kept = np.flatnonzero(good)
    held = _held(rule, candidates.iloc[kept][list(rule.columns)], earlier)
    _require(rule, held)
    made = np.ones(len(candidates), dtype=bool)
    made[kept[~held]] = False
    return made


def _numbered(names: pd.Series[Any]) -> tuple[NDArray[np.int64], int]:
    """Return the number (n,) of each candidate's sequence, from 0, and how many there are."""
    number, known = pd.factorize(names)
    return number.astype(np.int64), len(known)


def _unsatisfiable(obeyed: dict[str, int], drawn: int, n: int, *, what: str) -> ConstraintError | ConditionError:
    worst = min(obeyed, key=lambda name: obeyed[name])
    share = obeyed[worst] / drawn
    others = ", ".join(f"'{name}' {count / drawn:.2%}" for name, count in obeyed.items() if name != worst)
    tail = f"; after {drawn} {what} {n} rows could not be filled" + (f" (the others: {others})" if others else "")
    if worst == _CONDITIONS:
        return ConditionError(f"{share:.2%} of the {what} met the conditions under the rules{tail}; widen them")
    return ConstraintError(
        f"constraint '{worst}' cannot be met: {share:.2%} of the {what} obeyed it{tail}; relax it, or check that the "
        "training rows obey it",
        constraint=worst,
        acceptance=share,
    )


def learned(
    constraints: Sequence[Constraint], table: pd.DataFrame, *, owners: NDArray[np.int64] | None = None
) -> tuple[Constraint, ...]:
    """Return the rules with what they learn from the training rows.

    Args:
        owners: The privacy unit (n,) of each row, which are counted in place of rows; ``None`` if a row is one.
    """
    return tuple(rule.learn(table, owners=owners) if is_unlearned(rule) else rule for rule in constraints)


def is_by_construction(rule: Constraint, schema: Schema, *, drawn: Collection[str]) -> bool:
    """Return whether a rule holds whatever is drawn: uniqueness of columns among which is a minted key.

    Args:
        drawn: The columns that a sampler draws; a key among them tells sequences apart, and recurs in their rows.
    """
    minted = {name for name, column in schema.columns.items() if isinstance(column, Key)} - set(drawn)
    return isinstance(rule, Unique) and bool(minted & set(rule.columns))
