"""The plots of a report as SVG files that stand alone, for viewers that show pictures and not pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from synth_components.evaluation import page, svg

if TYPE_CHECKING:
    from synth_components.evaluation.report import Report

_MOST_COLUMNS = 24
_PANEL, _GAP, _HEAD, _TOP = 320.0, 28.0, 42.0, 74.0
"""Width of a panel, space between panels, height of a panel's heading, and of the sheet's, in pixels."""

_PLOT = re.compile(r'<svg (.*?viewBox="0 0 ([\d.]+) ([\d.]+)".*?)</svg>', re.DOTALL)

_STYLE = """
svg { overflow: visible; font-family: ui-sans-serif, system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
.paper { fill: var(--card); } .title { font-size: 20px; font-weight: 600; fill: var(--ink); }
.head { font-size: 14px; font-weight: 600; fill: var(--ink); } .note { font-size: 12px; fill: var(--soft); }
"""


@dataclass(frozen=True)
class Panel:
    """A plot below its heading; the plot is one SVG element or several, stacked."""

    heading: str
    note: str
    plot: str


def sheets(report: Report) -> dict[str, str]:
    """Return the plots of a report, each a whole SVG file, by name; what was not scored is absent.

    The names are ``columns`` (the worst 24), ``pairs``, ``detection``, ``tasks`` and ``distances``.
    """
    columns = [
        Panel(one.name, f"{one.score}, floor {one.floor}", one.plot)
        for one, _ in zip(page.marginals(report), range(_MOST_COLUMNS), strict=False)
    ]
    contrast = {"Difference": "at four times the contrast"}
    pairs = [Panel(label, contrast.get(label, ""), plot) for label, plot in page.maps(report)]
    sides = (("real", "real"), ("synthetic", "synthetic"))
    drawn = {
        "columns": _sheet("Columns, worst first", sides, columns),
        "pairs": _sheet("Association of each pair", (("positive", "real"), ("negative", "synthetic")), pairs),
        "detection": _sheet(
            "Can a classifier tell?",
            (("synthetic", "synthetic"), ("holdout against train", "real")),
            _alone(page.roc(report), "A curve on the diagonal means no", "solid against train, dashed against holdout"),
        ),
        "tasks": _sheet("Does it teach?", (("trained on real", "real"), ("on synthetic", "synthetic")), _tasks(report)),
        "distances": _sheet(
            "How close to training rows?",
            (("holdout to train", "real"), ("synthetic to train", "synthetic")),
            _alone(page.distances(report), "Memorised rows pile up at the left", "a smoke test; it proves no privacy"),
        ),
    }
    return {name: text for name, text in drawn.items() if text}


def _alone(plot: str, heading: str, note: str) -> list[Panel]:
    return [Panel(heading, note, plot)] if plot else []


def _tasks(report: Report) -> list[Panel]:
    held = {(s.name, *s.subject): s.value for s in report.scores if s.name.startswith("utility.")}
    made = []
    for task in report.tasks:
        for learner in ("boosted", "linear"):
            measures = [m for m in ("accuracy", "f1", "auc", "r2") if (f"utility.tstr.{m}", task, learner) in held]
            real, drawn = (
                np.array([held[f"utility.{kind}.{measure}", task, learner] for measure in measures])
                for kind in ("trtr", "tstr")
            )
            if measures:
                plot = svg.bars(measures, real, drawn, title=f"{task}, {learner}")
                made.append(Panel(task, f"{learner}, tested on the holdout", plot))
    table = report.tables.get("utility.global")
    if table is not None and len(table):
        real, drawn = (np.array(table[name]) for name in ("real", "synthetic"))
        plot = svg.bars(table["column"].tolist(), real, drawn, title="Skill of each column")
        made.append(Panel("every column in turn", "skill of a boosted learner", plot))
    return made


def _sheet(title: str, key: Sequence[tuple[str, str]], panels: Sequence[Panel]) -> str:
    """Return panels side by side, three to a row, below a heading; empty without panels."""
    if not panels:
        return ""
    across = min(3, len(panels))
    parts, top = [], _TOP
    for first in range(0, len(panels), across):
        tallest = 0.0
        for place, panel in enumerate(panels[first : first + across]):
            left = _GAP + place * (_PANEL + _GAP)
            plot, height = _placed(panel.plot, left, top + _HEAD)
            parts += [
                _line(left, top + 14, svg.shortened(panel.heading, 40), "head"),
                _line(left, top + 31, panel.note, "note"),
                plot,
            ]
            tallest = max(tallest, _HEAD + height)
        top += tallest + _GAP
    width = _GAP + across * (_PANEL + _GAP)
    css = files("synth_components.evaluation").joinpath("templates/plot.css").read_text(encoding="utf-8")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {top:.0f}" width="{width:g}" '
            f'height="{top:.0f}" role="img" aria-label="{escape(title)}">',
            f"<style>{css}{_STYLE}</style>",
            f'<rect class="paper" width="{width:g}" height="{top:.0f}"/>',
            _line(_GAP, 34, title, "title"),
            _key(key),
            *parts,
            "</svg>\n",
        ]
    )


def _placed(plot: str, left: float, top: float) -> tuple[str, float]:
    """Return the elements of a plot at a place, below each other and as wide as a panel, and their height together."""
    parts, height = [], 0.0
    for inner, wide, high in _PLOT.findall(plot):
        size = _PANEL * float(high) / float(wide)
        place = f'x="{left:g}" y="{top + height:.1f}" width="{_PANEL:g}" height="{size:.1f}"'
        parts.append(f"<svg {place} {inner}</svg>")
        height += size + 8
    return "".join(parts), height


def _key(entries: Sequence[tuple[str, str]]) -> str:
    parts, left = [], _GAP
    for label, kind in entries:
        parts.append(f'<rect class="fill {kind}" x="{left:g}" y="47" width="14" height="10" rx="3"/>')
        parts.append(_line(left + 20, 56, label, "note"))
        left += 44 + 6.5 * len(label)
    return "".join(parts)


def _line(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(text)}</text>'
