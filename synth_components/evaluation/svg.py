"""Plots as SVG text: scalable, labelled for readers who cannot see them, coloured by the page's CSS variables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from synth_components.protocols import Floats


def _open(width: float, height: float, title: str, description: str, kind: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(f"{title}. {description}", quote=True)}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    )


def _text(x: float, y: float, label: str, *, anchor: str = "start", kind: str = "tick", turn: float = 0) -> str:
    turned = f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>{escape(label)}</text>'


def shortened(label: str, most: int) -> str:
    """Return ``label`` in at most ``most`` characters."""
    return label if len(label) <= most else label[: most - 1] + "…"


def density(
    low: Sequence[float], high: Sequence[float], real: Floats, drawn: Floats, *, title: str, ends: tuple[str, str]
) -> str:
    """Return two overlaid histograms of bins of any width, as areas of equal total."""
    width, height, base = 320.0, 132.0, 112.0
    first, last = float(low[0]), float(high[-1])
    span = (last - first) or 1.0
    widths = np.maximum(np.asarray(high) - np.asarray(low), span * 1e-9)
    curves = [np.asarray(real) / widths, np.asarray(drawn) / widths]
    top = max(float(curve.max(initial=0)) for curve in curves) or 1.0
    parts = [_open(width, height, title, f"Shares from {ends[0]} to {ends[1]}, real and synthetic overlaid", "plot")]
    for curve, kind in zip(curves, ("real", "synthetic"), strict=True):
        points = [f"M0 {base:g}"]
        for start, stop, value in zip(low, high, curve, strict=True):
            level = base - value / top * (base - 8)
            points.append(
                f"L{(start - first) / span * width:.1f} {level:.1f}L{(stop - first) / span * width:.1f} {level:.1f}"
            )
        path = "".join(points)
        parts.append(
            f'<path class="area {kind}" d="{path}L{width:g} {base:g}Z"/><path class="line {kind}" d="{path}"/>'
        )
    parts.append(f'<path class="axis" d="M0 {base:g}H{width:g}"/>')
    parts.append(_text(0, height - 5, ends[0]) + _text(width, height - 5, ends[1], anchor="end"))
    return "".join(parts) + "</svg>"


def bars(labels: Sequence[str], real: Floats, drawn: Floats, *, title: str, most: int = 9) -> str:
    """Return pairs of horizontal bars, real above synthetic; what exceeds ``most`` is cut off."""
    labels, real, drawn = list(labels)[:most], np.asarray(real)[:most], np.asarray(drawn)[:most]
    width, step, left = 320.0, 22.0, 112.0
    height = step * len(labels) + 4
    top = max(float(real.max(initial=0)), float(drawn.max(initial=0))) or 1.0
    told = "; ".join(f"{name} {a:.1%} and {b:.1%}" for name, a, b in zip(labels, real, drawn, strict=True))
    parts = [_open(width, height, title, f"Real and synthetic shares: {told}", "plot")]
    for row, (name, a, b) in enumerate(zip(labels, real, drawn, strict=True)):
        y = row * step + 2
        scale = (width - left - 40) / top
        parts.append(_text(left - 8, y + 13, shortened(name, 17), anchor="end", kind="label"))
        for kind, share, lower in (("real", a, 0.0), ("synthetic", b, 9.0)):
            size = f'width="{max(share * scale, 0.5):.1f}" height="8" rx="2"'
            parts.append(f'<rect class="fill {kind}" x="{left:g}" y="{y + lower:.1f}" {size}/>')
        parts.append(_text(left + max(a, b) * scale + 6, y + 13, f"{b:.1%}"))
    return "".join(parts) + "</svg>"


def heat_map(names: Sequence[str], values: Floats, *, title: str, scale: float = 1.0, labelled: bool = True) -> str:
    """Return a square of association values (d, d) in [-scale, scale]; NaN is left blank."""
    count = len(names)
    left, cell = (86.0 if labelled else 4.0), 220.0 / max(count, 1)
    width, height = left + cell * count + 4, cell * count + 4
    flat = np.abs(values[~np.isnan(values)])
    told = f"{count} columns; largest absolute value {flat.max(initial=0):.2f}"
    parts = [_open(width, height, title, told, "plot heat")]
    for row, name in enumerate(names):
        if labelled:
            parts.append(
                _text(left - 5, 2 + cell * (row + 0.5) + 3, shortened(name, 14), anchor="end", kind="label small")
            )
        for column, other in enumerate(names):
            value = values[row, column]
            if np.isnan(value):
                continue
            kind = "positive" if value >= 0 else "negative"
            strength = min(1.0, abs(float(value)) / scale)
            parts.append(
                f'<rect class="{kind}" x="{left + cell * column:.1f}" y="{2 + cell * row:.1f}" width="{cell - 1:.1f}" '
                f'height="{cell - 1:.1f}" fill-opacity="{0.04 + 0.96 * strength:.2f}">'
                f"<title>{escape(name)} and {escape(other)}: {value:+.2f}</title></rect>"
            )
    return "".join(parts) + "</svg>"


def roc(
    curves: Sequence[tuple[str, str, Floats, Floats]],
    *,
    title: str,
    axes: tuple[str, str] = ("real rows taken for synthetic", "synthetic rows found"),
) -> str:
    """Return ROC curves, each (label, CSS class, false and true positive rate), over the diagonal."""
    size, left, base = 250.0, 34.0, 222.0
    areas = [float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum()) for _, _, x, y in curves]
    told = "; ".join(f"{label}: area {area:.3f}" for (label, *_), area in zip(curves, areas, strict=True))
    parts = [_open(size + 20, size + 8, title, told, "plot square")]
    side = base - 8
    parts.append(f'<path class="grid" d="M{left:g} {base:g}L{left + side:g} 8"/>')
    for label, kind, x, y in curves:
        path = "L".join(f"{left + a * side:.1f} {base - b * side:.1f}" for a, b in zip(x, y, strict=True))
        parts.append(f'<path class="line {kind}" d="M{path}"><title>{escape(label)}</title></path>')
    parts.append(f'<path class="axis" d="M{left:g} 8V{base:g}H{left + side:g}"/>')
    for share in (0.0, 0.5, 1.0):
        parts.append(_text(left + share * side, base + 14, f"{share:g}", anchor="middle"))
        parts.append(_text(left - 6, base - share * side + 4, f"{share:g}", anchor="end"))
    parts.append(_text(left + side / 2, base + 30, axes[0], anchor="middle", kind="label"))
    parts.append(_text(9, 8 + side / 2, axes[1], anchor="middle", kind="label", turn=-90))
    return "".join(parts) + "</svg>"


def lines(low: Sequence[float], high: Sequence[float], curves: Sequence[tuple[str, Floats]], *, title: str) -> str:
    """Return histograms (CSS class, shares) as outlines over common bins, from first to last edge."""
    width, height, base = 400.0, 170.0, 148.0
    first, span = float(low[0]), (float(high[-1]) - float(low[0])) or 1.0
    top = max(float(np.max(shares, initial=0)) for _, shares in curves) or 1.0
    parts = [_open(width, height, title, f"Distances from {first:g} to {float(high[-1]):g} and beyond", "plot")]
    for kind, shares in curves:
        path = f"M0 {base:g}" + "".join(
            f"L{(a - first) / span * width:.1f} {base - s / top * (base - 8):.1f}"
            f"L{(b - first) / span * width:.1f} {base - s / top * (base - 8):.1f}"
            for a, b, s in zip(low, high, shares, strict=True)
        )
        parts.append(
            f'<path class="area {kind}" d="{path}L{width:g} {base:g}Z"/><path class="line {kind}" d="{path}"/>'
        )
    parts.append(f'<path class="axis" d="M0 {base:g}H{width:g}"/>')
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        parts.append(_text(share * width, height - 5, f"{first + share * span:.2g}", anchor=anchor))
    return "".join(parts) + "</svg>"


def ring(value: float | None, *, title: str) -> str:
    """Return the headline score as a ring that is filled to ``value``."""
    size, radius = 168.0, 70.0
    around = 2 * np.pi * radius
    share = 0.0 if value is None else min(max(value, 0.0), 1.0)
    told = "not scored" if value is None else f"{value:.3f} of 1"
    return (
        _open(size, size, title, told, "ring")
        + f'<circle class="track" cx="84" cy="84" r="{radius:g}"/>'
        + f'<circle class="arc" cx="84" cy="84" r="{radius:g}" stroke-dasharray="{share * around:.1f} {around:.1f}" '
        'transform="rotate(-90 84 84)"/>'
        + _text(84, 97, "\u2013" if value is None else f"{100 * value:.0f}", anchor="middle", kind="headline")
        + "</svg>"
    )
