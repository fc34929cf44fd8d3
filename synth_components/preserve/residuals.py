"""How close a mended table came to its targets, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from synth_components.errors import DataError
from synth_components.markdown import table
from synth_components.preserve.frame import Frame, square
from synth_components.preserve.options import TOLERANCES, Mode
from synth_components.protocols import Floats

if TYPE_CHECKING:
    from synth_components.evaluation.report import Report

_COLUMNS = ["pair", "kind", "target", "before", "after", "tolerance", "met"]


@dataclass(frozen=True)
class Infeasible:
    """A warning: no table has all the targets at once, so this pair aims at another, beyond its tolerance.

    Attributes:
        pair: The two columns.
        declared: The target as declared, or as the real table has it.
        nearest: What is aimed at instead: the entry of the nearest correlation matrix.
    """

    pair: tuple[str, str]
    declared: float
    nearest: float


@dataclass(frozen=True)
class Preserved:
    """A mended table, and how close it came.

    Attributes:
        table: The synthetic table with reordered columns; index, dtypes and the values of each column are unchanged.
        residuals: One row a pair that was worked on: ``pair``, ``kind`` (spearman, correlation_ratio or cramers_v),
            ``target``, ``before``, ``after``, ``tolerance``, and ``met``.
        infeasible: Warnings about targets that contradict each other.
    """

    table: pd.DataFrame
    residuals: pd.DataFrame
    infeasible: tuple[Infeasible, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the residuals and warnings, without the table, as a JSON value."""
        rows = self.residuals.to_dict("records")
        return {
            "pairs": [{**row, "pair": list(row["pair"])} for row in rows],
            "infeasible": [
                {"pair": list(one.pair), "declared": one.declared, "nearest": one.nearest} for one in self.infeasible
            ],
        }

    def to_markdown(self) -> str:
        """Return the residuals as a Markdown table, the farthest from their target first."""
        gaps = (self.residuals["after"] - self.residuals["target"]).abs()
        rows = self.residuals.loc[gaps.sort_values(ascending=False, kind="stable").index]
        met, contradicted = int(rows["met"].sum()), {one.pair: one.nearest for one in self.infeasible}
        lines = [
            "# Associations",
            "",
            f"{met} of {len(rows)} pairs are within their tolerance.",
            "",
        ]
        cells = []
        for pair, kind, target, before, after, tolerance, is_met in rows.itertuples(index=False):
            state = "yes" if is_met else "no"
            if pair in contradicted:
                state += f"; contradicts others, {contradicted[pair]:.3f} is aimed at"
            numbers = [f"{value:.3f}" for value in (target, before, after)]
            cells.append([*pair, kind, *numbers, f"{tolerance:.2f}", state])
        head = ["first", "second", "measure", "target", "before", "after", "tolerance", "met"]
        return "\n".join([*lines, *table(head, cells)]) + "\n"


def reported(report: Report, value: Mapping[str, Any]) -> Report:
    """Return a report with the table ``preservation``: residuals as ``Preserved.to_json`` gives them.

    Raises:
        DataError: if the value holds no residuals.
    """
    try:
        rows = [{"first": pair["pair"][0], "second": pair["pair"][1], **pair} for pair in value["pairs"]]
        table = pd.DataFrame(rows, columns=["first", "second", *_COLUMNS[1:]])
    except (KeyError, IndexError, TypeError):
        raise DataError("the residuals hold no list of pairs; give the file that `synth preserve` wrote") from None
    return replace(report, tables={**report.tables, "preservation": table})


def residuals(before: Frame, after: Frame, wanted: Floats, moved: set[int], mode: Mode) -> pd.DataFrame:
    """Return the residuals of every pair with a column in ``moved``."""
    width = len(before.names)
    if width < 2:
        return pd.DataFrame(columns=_COLUMNS)
    sides = [square(frame.pairs.association, width) for frame in (before, after)]
    found = []
    for first in range(width):
        for second in range(first + 1, width):
            if not {first, second} & moved:
                continue
            target, was, now = (float(side[first, second]) for side in (wanted, *sides))
            tolerance = _tolerance(abs(now - target), mode)
            pair = (before.names[first], before.names[second])
            met = abs(now - target) <= tolerance
            found.append((pair, before.kind(first, second), target, was, now, tolerance, met))
    return pd.DataFrame(found, columns=_COLUMNS)


def _tolerance(gap: float, mode: Mode) -> float:
    """Return the tolerance of a mode; of the adaptive one the tightest that a gap meets, else the widest."""
    if mode != "adaptive":
        return TOLERANCES[mode]
    return next((value for value in sorted(TOLERANCES.values()) if gap <= value), max(TOLERANCES.values()))
