"""Rules with a condition: conditional nulls, columns of which one is set, implications."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_components.constraints import ConditionalNull, ExactlyOne, Implication
from synth_components.proposal.arithmetic import identities
from synth_components.proposal.rows import SIGNIFICANT, Floats, Proposal, Rows, listed, quoted, threshold

_MOST_IMPLICATIONS = 30


def conditional_nulls(rows: Rows) -> Iterator[Proposal]:
    """Yield the nulls that another column decides: by its value, its size or its own null."""
    empty = {name: rows.null(name) for name in rows.columns if "`" not in name}
    gaps = [name for name, held in empty.items() if min(rows.support(held), rows.support(~held)) >= rows.min_count]
    for place, name in enumerate(gaps):
        null = empty[name]
        same = next((other for other in gaps[:place] if np.array_equal(empty[other], null)), None)
        if same is not None:
            reason = f"both are null in the same {int(null.sum())} rows"
            yield rows.proposal(_null(name, f"isnull({quoted(same)})"), reason, rows=len(null))
            continue
        for other in rows.columns:
            if other == name or "`" in other:
                continue
            when = _by_label(rows, other, null) or _by_size(rows, other, null)
            if when is not None:
                reason = f"decides each of {int(null.sum())} nulls and of {int((~null).sum())} values"
                yield rows.proposal(_null(name, when), reason, rows=int((~empty[other]).sum()))
                break


def _null(column: str, when: str) -> ConditionalNull:
    return ConditionalNull(column=column, when=when)


def _by_label(rows: Rows, other: str, null: NDArray[np.bool_]) -> str | None:
    """Return the condition on the values of a column that is true exactly where there are nulls."""
    if other not in rows.few:
        return None
    codes, values = rows.few[other]
    known = codes >= 0
    counts = np.bincount(codes[known], minlength=len(values))
    nulls = np.bincount(codes[known & null], minlength=len(values))
    if (
        rows.supports(codes, len(values)).min() < rows.min_count
        or not np.isin(nulls, [0]).any()
        or not (nulls == counts).any()
    ):
        return None
    if ((nulls > 0) & (nulls < counts)).any():
        return None
    return listed(other, _sorted([value for value, all_null in zip(values, nulls == counts, strict=True) if all_null]))


def _by_size(rows: Rows, other: str, null: NDArray[np.bool_]) -> str | None:
    """Return the comparison of a number with a threshold that is true exactly where there are nulls."""
    values = rows.numbers.get(other)
    if values is None or other in rows.binary:
        return None
    known = ~np.isnan(values)
    if min(rows.support(known & null), rows.support(known & ~null)) < rows.min_count:
        return None
    gone, held = values[known & null], values[known & ~null]
    span = float(np.nanmax(values) - np.nanmin(values))
    if gone.max() < held.min():
        return f"{quoted(other)} < {threshold(gone.max(), held.min(), span)}"
    if held.max() < gone.min():
        return f"{quoted(other)} >= {threshold(held.max(), gone.min(), span)}"
    return None


def _sorted(values: Sequence[Any]) -> list[Any]:
    return sorted(values, key=lambda value: (type(value).__name__, value))


def exactly_one(rows: Rows) -> Iterator[Proposal]:
    """Yield the columns of which one is filled, and those of which one is true, in every row."""
    filled = {name: ~rows.null(name) for name in rows.columns if rows.null(name).any()}
    true = {name: rows.numbers[name] == 1 for name in rows.binary if not rows.null(name).any()}
    for name, (codes, values) in rows.labels.items():
        if set(values) == {True, False} and all(isinstance(v, bool) for v in values) and not rows.null(name).any():
            true[name] = codes == values.index(True)
    true = {name: true[name] for name in rows.columns if name in true}
    for counts, held in (("filled", filled), ("true", true)):
        held = {
            name: mask for name, mask in held.items() if min(rows.support(mask), rows.support(~mask)) >= rows.min_count
        }
        for names in _ones(held):
            least = min(rows.support(held[name]) for name in names)
            rule = ExactlyOne(columns=names, counts=counts)  # type: ignore[arg-type]  # the two literals above
            yield rows.proposal(rule, f"each is set in {least} {rows.counted} or more, never two", rows=len(rows.table))


def _ones(held: dict[str, NDArray[np.bool_]]) -> Iterator[tuple[str, ...]]:
    names = list(held)
    if len(names) < 2:
        return
    for identity in identities(np.column_stack([held[name] for name in names]).astype(np.float64)):
        used = np.flatnonzero(identity[:-1])
        if len(used) >= 2 and np.allclose(identity[used], 1.0, atol=1e-6) and abs(identity[-1] + 1.0) < 1e-6:
            yield tuple(names[k] for k in used)


def implications(rows: Rows, told: Sequence[tuple[str, ...]]) -> Iterator[Proposal]:
    """Yield what the value or the size of a column says of another, the best supported first.

    Args:
        told: Columns of rules that say more than an implication between two of them.
    """
    found: list[tuple[float, str, str, int]] = []
    for name, other in permutations([*rows.few, *(n for n in rows.numbers if n not in rows.binary)], 2):
        if other not in rows.few or any({name, other} <= set(names) for names in told):
            continue
        codes, values = rows.few[other]
        for place, value in enumerate(values):
            share = float((codes[codes >= 0] == place).mean())
            if not 0.0 < share < 0.95:
                continue
            for when, applies in _conditions(rows, name, codes, place, -np.log(share)):
                found.append((-np.log(share) * applies, when, listed(other, [value]), applies))
    for evidence, when, then, applies in sorted(found, key=lambda held: (-held[0], held[1], held[2]))[
        :_MOST_IMPLICATIONS
    ]:
        rule = Implication(when=when, then=then)
        yield rows.proposal(rule, f"{applies} rows, where chance would give e^-{evidence:.0f}", rows=applies)


def _conditions(
    rows: Rows, name: str, codes: NDArray[np.int64], place: int, surprise: float
) -> Iterator[tuple[str, int]]:
    """Yield the conditions on a column under which another has the value of code ``place``, and their rows."""
    hit, miss = codes == place, (codes >= 0) & (codes != place)
    if name in rows.few:
        mine, labels = rows.few[name]
        hits = np.bincount(mine[hit & (mine >= 0)], minlength=len(labels))
        misses = np.bincount(mine[miss & (mine >= 0)], minlength=len(labels))
        support = rows.supports(np.where(hit, mine, -1), len(labels))
        sure = (misses == 0) & (support >= rows.min_count) & (support * surprise >= SIGNIFICANT)
        if sure.any() and not sure.all():
            yield (
                listed(name, _sorted([v for v, held in zip(labels, sure, strict=True) if held])),
                int(hits[sure].sum()),
            )
        return
    yield from _sizes(rows, name, rows.numbers[name], hit, miss, surprise)


def _sizes(
    rows: Rows, name: str, values: Floats, hit: NDArray[np.bool_], miss: NDArray[np.bool_], surprise: float
) -> Iterator[tuple[str, int]]:
    known = ~np.isnan(values)
    hits, misses = values[hit & known], values[miss & known]
    if rows.support(miss & known) < rows.min_count:
        return
    span = float(np.nanmax(values) - np.nanmin(values))
    is_below, is_above = hit & (values < misses.min()), hit & (values > misses.max())
    below, above = rows.support(is_below), rows.support(is_above)
    if below >= rows.min_count and below * surprise >= SIGNIFICANT:
        bound = threshold(values[is_below].max(), misses.min(), span)
        yield f"{quoted(name)} < {bound}", int((hits < bound).sum())
    if above >= rows.min_count and above * surprise >= SIGNIFICANT:
        bound = threshold(misses.max(), values[is_above].min(), span)
        if bound > misses.max():
            yield f"{quoted(name)} >= {bound}", int((hits >= bound).sum())
