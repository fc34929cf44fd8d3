"""Rules between numbers or times: derived columns, constant sums, inequalities, bounded sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_components.constraints import ConstantSum, Derived, Expression, Inequality
from synth_components.proposal.rows import SIGNIFICANT, Floats, Proposal, Rows, quoted
from synth_components.schema import Categorical, Numeric

_MOST_NUMBERS = 24  # columns among which products and sums are sought
_ROWS = 2_000  # rows, evenly spaced, on which a rule is tried before all
_BROKEN = 0.05  # of independent rows must break a rule that says something


def derived(rows: Rows) -> Iterator[Proposal]:
    """Yield columns that others compute: equal ones, sums, multiples, products, ratios, days between."""
    found: set[str] = set()
    for proposal in (*_equal(rows), *_linear(rows), *_products(rows), *_days(rows)):
        column = getattr(proposal.rule, "column", "")
        if proposal.share == 1.0 and (column not in found or not column):
            found.add(column)
            yield proposal


def _equal(rows: Rows) -> Iterator[Proposal]:
    names = [n for n, c in rows.columns.items() if isinstance(c, Categorical) and n in rows.labels] + list(rows.times)
    for first, second in combinations(names, 2):
        a, b = rows.table[first], rows.table[second]
        if a.dtype != b.dtype or type(rows.columns[first]) is not type(rows.columns[second]):
            continue
        both = a.notna().to_numpy() & b.notna().to_numpy()
        if both.sum() >= 5 * rows.min_count and bool((a[both].astype(object) == b[both].astype(object)).all()):
            rule = Derived(column=second, expression=quoted(first))
            yield rows.proposal(rule, "two columns of several values agree in every row")


def _some(rows: Rows, names: Sequence[str]) -> tuple[list[str], Floats]:
    """Return the columns that are mostly filled, and complete, evenly spaced rows of them, shape (k, columns)."""
    kept = [name for name in names if np.isnan(rows.numbers[name]).mean() <= 0.2][:_MOST_NUMBERS]
    if not kept:
        return [], np.empty((0, 0))
    matrix = np.column_stack([rows.numbers[name] for name in kept])
    matrix = matrix[~np.isnan(matrix).any(axis=1)]
    return kept, matrix[:: max(1, len(matrix) // _ROWS)]


def identities(matrix: Floats) -> list[Floats]:
    """Return the sparse linear identities of columns, each as coefficients and a constant that sum to 0.

    They are the reduced row echelon form of the null space of the columns and a column of ones.
    """
    scale = np.append(np.abs(matrix).max(axis=0), 1.0)
    scaled = np.column_stack([matrix, np.ones(len(matrix))]) / scale
    _, singular, basis = np.linalg.svd(scaled, full_matrices=False)
    null = basis[singular <= 1e-9 * singular[0]] if len(scaled) >= scaled.shape[1] else basis[:0]
    reduced, row = null.copy(), 0
    for column in range(reduced.shape[1] - 1):
        if row == len(reduced):
            break
        pivot = row + int(np.abs(reduced[row:, column]).argmax())
        if abs(reduced[pivot, column]) < 1e-7:
            continue
        reduced[[row, pivot]] = reduced[[pivot, row]]
        reduced[row] /= reduced[row, column]
        others = np.arange(len(reduced)) != row
        reduced[others] -= np.outer(reduced[others, column], reduced[row])
        row += 1
    reduced[np.abs(reduced) < 1e-7] = 0.0
    return [identity / scale for identity in reduced[:row]]


def _linear(rows: Rows) -> Iterator[Proposal]:
    names, matrix = _some(rows, [name for name in rows.numbers if name not in rows.binary])
    if len(names) < 2 or len(matrix) < 5 * rows.min_count:
        return
    for identity in identities(matrix):
        used = np.flatnonzero(identity[:-1])
        if len(used) < 2:
            continue
        weights = identity[used]
        if len(used) > 1 and np.allclose(weights / weights[0], 1.0, atol=1e-6):
            total = float(f"{-identity[-1] / weights[0]:.10g}")
            rule: Any = ConstantSum(columns=tuple(names[k] for k in used), total=total)
            yield rows.proposal(rule, f"{len(used)} columns that vary always sum to the same")
            continue
        written = _solved(rows, names, used, identity)
        if written is not None:
            yield rows.proposal(written, f"{len(used)} columns that vary obey one equation in every row")


def _solved(rows: Rows, names: Sequence[str], used: NDArray[np.int64], identity: Floats) -> Derived | None:
    """Return an identity as the column, the last if there is a choice, whose formula has the shortest numbers."""
    best: tuple[int, Derived] | None = None
    for target in reversed(used):
        weights = -identity / identity[target]
        terms = [(float(f"{weights[k]:.6g}"), quoted(names[k])) for k in used if k != target]
        constant = float(f"{weights[-1]:.6g}")
        if not np.allclose([w for w, _ in terms], [weights[k] for k in used if k != target], rtol=1e-6, atol=0):
            continue
        text = ""
        for weight, name in sorted(terms, reverse=True):
            sign = (" - " if text else "-") if weight < 0 else (" + " if text else "")
            text += sign + (name if abs(weight) == 1 else f"{abs(weight):g} * {name}")
        if abs(constant) > 1e-9 * np.nanmax(np.abs(rows.numbers[names[target]])):
            text += f" {'-' if constant < 0 else '+'} {abs(constant):g}"
        rule = Derived(column=names[target], expression=text, places=_places(rows, names[target]))
        if bool(rule.allows(rows.table).all()) and (best is None or len(text) < best[0]):
            best = (len(text), rule)
    return None if best is None else best[1]


def _places(rows: Rows, name: str) -> int:
    column = rows.columns[name]
    places = column.places if isinstance(column, Numeric) else None
    return 15 if places is None else min(places, 15)


def _products(rows: Rows) -> Iterator[Proposal]:
    """Yield columns that are a multiple, a product or a ratio of others, up to their rounding."""
    names, matrix = _some(rows, [name for name in rows.numbers if name not in rows.binary])
    if len(names) < 2 or len(matrix) < 5 * rows.min_count:
        return
    head = matrix[:64]
    varied = [k for k in range(len(names)) if len(np.unique(head[:, k])) >= 5]
    pairs = [(a, b) for a, b in permutations(range(len(names)), 2)]
    with np.errstate(all="ignore"):
        ratios = np.column_stack([head[:, a] / head[:, b] for a, b in pairs])
        products = np.column_stack([head[:, a] * head[:, b] for a, b in pairs])
    for t in varied:
        target, places = names[t], _places(rows, names[t])
        candidates = []
        for a, first in enumerate(names):
            with np.errstate(all="ignore"):
                factor = float(f"{np.median(matrix[:, t] / matrix[:, a]):.4g}") if a != t else 0.0
            if (
                np.isfinite(factor)
                and factor not in {0.0, 1.0}
                and _agree(head[:, t], factor * head[:, a], places).all()
            ):
                candidates.append(f"{factor:g} * {quoted(first)}")
        for made, sign in ((products, "*"), (ratios, "/")):
            for k in np.flatnonzero(_agree(head[:, [t]], made, places).all(axis=0)):
                a, b = pairs[k]
                if t not in {a, b} and (sign == "/" or a < b):
                    candidates.append(f"{quoted(names[a])} {sign} {quoted(names[b])}")
        for text in candidates:
            rule = Derived(column=target, expression=text, places=places)
            if bool(rule.allows(rows.table).all()):
                yield rows.proposal(rule, "a column of several values is computed from others in every row")
                break


def _agree(held: Floats, made: Floats, places: int) -> NDArray[np.bool_]:
    """Return where numbers agree at so many decimal places."""
    kept = np.round(made, places) if places < 15 else made
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(held - kept) <= 1e-6 * np.maximum(1.0, np.abs(kept)))


def _days(rows: Rows) -> Iterator[Proposal]:
    for first, second in permutations(rows.times, 2):
        if not rows.are_comparable(first, second):
            continue
        gap = (rows.times[second] - rows.times[first]) / (86_400 * 1e9)
        for name, values in rows.numbers.items():
            both = ~np.isnan(gap) & ~np.isnan(values)
            if both.sum() < 5 * rows.min_count or len(np.unique(values[both])) < 5:
                continue
            if _agree(values[both], gap[both], _places(rows, name)).all():
                text = f"days({quoted(second)} - {quoted(first)})"
                rule = Derived(column=name, expression=text, places=_places(rows, name))
                yield rows.proposal(rule, "the days between two times, in every row")


def ordered(rows: Rows, computed: Sequence[tuple[str, ...]]) -> Iterator[Proposal]:
    """Yield inequalities between two columns that independent columns would break.

    Args:
        computed: Columns of rules that say more than an inequality of two of them.
    """
    found = []
    for held in (rows.numbers, rows.times):
        for low, high in permutations([name for name in held if name not in rows.binary], 2):
            if any(low in names and high in names for names in computed) or not rows.are_comparable(low, high):
                continue
            both = ~np.isnan(held[low]) & ~np.isnan(held[high])
            a, b = held[low][both], held[high][both]
            if len(a) < 5 * rows.min_count or (a[:_ROWS] > b[:_ROWS]).any() or (a > b).any():
                continue
            broken = 1.0 - np.searchsorted(np.sort(a), np.sort(b), side="right").mean() / len(a)
            if broken >= _BROKEN and -np.log1p(-min(broken, 1 - 1e-12)) * len(a) >= SIGNIFICANT:
                found.append((low, high, bool((a < b).all()), broken))
    known = {(low, high) for low, high, _, _ in found}
    for low, high, strict, broken in found:
        between = {name for name in rows.columns if (low, name) in known and (name, high) in known}
        if between and (high, low) not in known:
            continue  # follows from the two others
        rule = Inequality(low=low, high=high, strict=strict)
        yield rows.proposal(rule, f"{broken:.0%} of independent pairs would break it")


def bounded_sums(rows: Rows, computed: Sequence[tuple[str, ...]]) -> Iterator[Proposal]:
    """Yield expressions ``a + b <= c`` that rows come close to and independent columns would break."""
    names = [n for n in rows.numbers if n not in rows.binary][:12]
    for total in names:
        for first, second in combinations([name for name in names if name != total], 2):
            trio = {first, second, total}
            if any(len(trio & set(known)) > 1 for known in computed):
                continue
            a, b, c = (rows.numbers[name] for name in (first, second, total))
            full = ~(np.isnan(a) | np.isnan(b) | np.isnan(c)) & (a > 0) & (b > 0)
            slack = (c - a - b)[full]
            if len(slack) < 5 * rows.min_count or (slack[:_ROWS] < 0).any() or (slack < 0).any():
                continue
            span = float(slack.max())
            near = int((slack <= 0.02 * span).sum())
            is_near = full & (c - a - b <= 0.02 * span)
            broken = float((np.roll(c[full], len(slack) // 2) < (a + b)[full]).mean())
            if near >= 0.005 * len(slack) and rows.support(is_near) >= rows.min_count and broken >= _BROKEN:
                text = f"{quoted(first)} + {quoted(second)} <= {quoted(total)}"
                reason = f"{near} rows come close to it, and {broken:.0%} of shuffled rows would break it"
                yield rows.proposal(Expression(expression=text), reason, rows=len(slack))
