"""Values that equal another column's in the same row, which trees over single columns cannot express.

A column whose value is often exactly that of an earlier column gets one more code: "equal to it".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from synth_components.encode import encoder, slices
from synth_components.generators.tabular._grid import Codes, Grid
from synth_components.protocols import Floats
from synth_components.schema import Datetime, Numeric, Schema

MIN_SHARE = 0.02
"""Least share of rows, without heavy atoms, that must be equal."""
HEAVY = 0.005
"""Share of rows from which a value is an atom of its own: that two columns are both zero says little."""
MAX_ANCHORS = 2
"""Most columns that one column is compared with."""
MAX_ROWS = 20_000
"""Rows that the shares are estimated on."""


@dataclass(frozen=True)
class Anchor:
    """An earlier column that a column may be equal to.

    Attributes:
        position: Where the earlier column stands in drawing order.
        shift: What is added to its encoded value: the two columns may count from different origins.
    """

    position: int
    shift: float

    def codes(self, source: Grid, target: Grid) -> Codes:
        """Return the target's code of each of the source's codes (k,); of null, the commonest."""
        marginal = source.marginal
        codes = target.marginal.piece_of((marginal.low + marginal.high) / 2 + self.shift)
        if source.has_null:
            codes = np.append(codes, int(np.argmax(target.mass)))
        return codes.astype(np.int32)


def anchors(
    values: Floats, codes: Sequence[Codes], *, order: tuple[int, ...], grids: tuple[Grid, ...], schema: Schema
) -> tuple[tuple[Anchor, ...], ...]:
    """Return the anchors of each column, in drawing order, found in encoded rows (n, w).

    Args:
        codes: The rows' codes by position.
        order: Features in drawing order.
    """
    kinds = _kinds(schema)
    step = max(1, len(values) // MAX_ROWS)
    held = values[::step]
    made: list[tuple[Anchor, ...]] = []
    for position, feature in enumerate(order):
        grid = grids[feature]
        if feature not in kinds or len(held) == 0 or grid.marginal.is_discrete:
            made.append(())
            continue
        left = grid.mass[codes[position][::step]] < HEAVY
        found: list[Anchor] = []
        while len(found) < MAX_ANCHORS:
            best, share = None, MIN_SHARE
            for earlier in range(position):
                if kinds.get(order[earlier], ("",))[0] != kinds[feature][0]:
                    continue
                shift = kinds[feature][1] - kinds[order[earlier]][1]
                equal = float(np.mean(left & (held[:, feature] == held[:, order[earlier]] + shift)))
                if equal >= share:
                    best, share = Anchor(earlier, shift), equal
            if best is None:
                break
            found.append(best)
            left = left & (held[:, feature] != held[:, order[best.position]] + best.shift)
        made.append(tuple(found))
    return tuple(made)


def extended(values: Floats, codes: Codes, sources: Floats, found: tuple[Anchor, ...], *, grid: Grid) -> Codes:
    """Return the codes (n,); the grid's size plus k where the value equals source k, sources being (n, a)."""
    made = codes.copy()
    light = grid.mass[codes] < HEAVY
    for number, anchor in reversed(list(enumerate(found))):
        made[light & (values == sources[:, number] + anchor.shift)] = grid.size + number
    return made


def _kinds(schema: Schema) -> dict[int, tuple[str, float]]:
    """Return, by feature, what must agree for two columns to be compared, and the encoded value of a common origin."""
    places = slices(schema)
    made: dict[int, tuple[str, float]] = {}
    for name, column in schema.columns.items():
        where = places[name]
        if where.stop - where.start > 1:
            continue
        if isinstance(column, Numeric) and not column.dtype.startswith("timedelta") and column.dtype != "decimal":
            origin = 0.0 if column.places is None else encoder(column, name).encode(pd.Series([0.0]))[0, 0]
            made[where.start] = (f"number {column.places}", float(origin))
        elif isinstance(column, Datetime):
            stamp = pd.Series([pd.Timestamp("2000-01-01", tz=column.zone)])
            made[where.start] = (
                f"time {column.resolution} {column.zone}",
                float(encoder(column, name).encode(stamp)[0, 0]),
            )
    return made
