"""What rows ask for, in the codes of their columns: rows that ask alike, and the candidates that can serve them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.encode import encoder
from synth_components.protocols import Floats
from synth_components.schema import Datetime, Numeric, Schema


def numeric(names: Iterable[str], schema: Schema) -> list[str]:
    """Return the columns of numbers and times, in which candidates that are near may serve."""
    return [name for name in names if isinstance(schema.columns[name], Numeric | Datetime)]


def codes_of(table: pd.DataFrame, names: Iterable[str], schema: Schema) -> dict[str, Floats]:
    """Return the codes (n, w) of some columns."""
    return {name: encoder(schema.columns[name], name).encode(table[name]) for name in names}


def groups_of(requests: Mapping[str, Floats], near: list[str], n: int) -> list[NDArray[np.int64]]:
    """Return rows that ask for equal categories, and for null, a number or nothing in the same columns."""
    parts = [
        np.where(np.isfinite(codes[:, 0]), 0.0, codes[:, 0]) if name in near else codes[:, 0]
        for name, codes in requests.items()
    ]
    if not parts:
        return [np.arange(n, dtype=np.int64)]
    asked = np.nan_to_num(np.column_stack(parts), nan=-2.0, posinf=-3.0)
    _, group = np.unique(asked, axis=0, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group.ravel()[order])) + 1)


def serving(
    codes: Mapping[str, Floats], requests: Mapping[str, Floats], rows: NDArray[np.int64], near: list[str], count: int
) -> list[NDArray[np.int64]]:
    """Return who of ``count`` candidates can serve each of some requests.

    They have equal categories, and null for null.

    Args:
        codes: Of all candidates by column.
        rows: The places of these requests.
    """
    found = [np.arange(count)] * len(rows)
    if not requests:
        return found
    asked, held = _compared(codes, requests, rows, near)
    patterns, pattern = np.unique(np.isnan(asked), axis=0, return_inverse=True)
    for place, is_free in enumerate(patterns):
        places = np.flatnonzero(pattern.ravel() == place)
        if is_free.all():
            continue
        for asking, having in alike(asked[places][:, ~is_free], held[:, ~is_free]):
            for one in places[asking]:
                found[one] = having
    return found


def sharing(
    codes: Mapping[str, Floats], requests: Mapping[str, Floats], rows: NDArray[np.int64], near: list[str], count: int
) -> list[NDArray[np.int64]]:
    """Return who of ``count`` candidates shares the most categories with each of some requests.

    They have null for null among numbers and times; the arguments are as those of ``serving``.
    """
    asked, held = _compared(codes, requests, rows, near)
    is_near = np.isin(list(requests), near)
    columns = np.ascontiguousarray(held.T)
    found = []
    for wanted in asked:
        shared, able = np.zeros(count, dtype=np.int16), np.ones(count, dtype=bool)
        for one, having, must in zip(wanted, columns, is_near, strict=True):
            if must and not np.isnan(one):
                able &= having == one
            else:
                shared += having == one
        most = shared.max(where=able, initial=-1)
        found.append(np.flatnonzero(able & (shared == most)))
    return found


def _compared(
    codes: Mapping[str, Floats], requests: Mapping[str, Floats], rows: NDArray[np.int64], near: list[str]
) -> tuple[Floats, Floats]:
    """Return what requests ask (g, d) and candidates have (m, d): of near columns whether null; NaN asks nothing."""
    asked = np.column_stack([requests[name][rows, 0] for name in requests])
    held = np.column_stack([codes[name][:, 0] for name in requests])
    is_near = np.isin(list(requests), near)
    asked[:, is_near] = np.where(np.isfinite(asked[:, is_near]), 0.0, asked[:, is_near])
    held = np.where(is_near, np.where(np.isnan(held), np.inf, 0.0), np.nan_to_num(held, nan=-np.inf))
    return asked, held


def alike(targets: Floats, held: Floats) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the places of equal targets (g, d) and of the candidates (m, d) that equal them, by kind."""
    _, kind = np.unique(np.concatenate([targets, held]), axis=0, return_inverse=True)
    of_targets, of_held = kind.ravel()[: len(targets)], kind.ravel()[len(targets) :]
    asked, having = np.argsort(of_targets, kind="stable"), np.argsort(of_held, kind="stable")
    kinds = np.unique(of_targets)
    firsts, ends = (np.searchsorted(of_held[having], kinds, side=side) for side in ("left", "right"))
    parts = np.split(asked, np.searchsorted(of_targets[asked], kinds)[1:])
    return [(part, having[first:end]) for part, first, end in zip(parts, firsts, ends, strict=True)]
