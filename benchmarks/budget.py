"""Draw budget.svg: what a privacy budget buys, of results/private.jsonl; ``private.py`` measures it.

python benchmarks/budget.py
"""

import math
from statistics import mean

import common

RESULTS = common.RESULTS / "private.jsonl"
PICTURE = common.HERE / "budget.svg"
TABLES = ("adult", "default", "magic")
COLOURS = {
    "tabular.aim": "#3a9b63",
    "tabular.mst": "#4a7fc1",
    "tabular.autoregressive": "#c23b66",
    "tabular.diffusion": "#3f9ea6",
    "tabular.transformer": "#7b5aa6",
    "tabular.vae": "#a0771b",
    "tabular.latent_diffusion": "#555555",
}
"""Not of the GANs, whose AUC would take most of a panel."""
EPSILONS = (0.1, 0.5, 1, 2, 5, 10)
PANELS = (("auc", "AUC"), ("pair_distance", "total variation of pairs"))
WIDTH, HEIGHT, LEFT, TOP, GAP, BELOW = 260, 190, 56, 62, 44, 58


def ends(measure: str, rows: list) -> tuple[float, float]:
    """Return the least and the largest value of a panel's axis."""
    values = [row[measure] for row in rows] + ([row["auc_real"] for row in rows] if measure == "auc" else [0.0])
    room = 0.06 * (max(values) - min(values)) or 0.01
    return (min(values) - room if measure == "auc" else 0.0), max(values) + room


def panel(table: str, measure: str, label: str, rows: list, left: float, top: float) -> list[str]:
    """Return one panel: a line for each generator, dashed the AUC of real rows."""
    low, high = ends(measure, rows)

    def x(epsilon: float) -> float:
        return left + WIDTH * (0.04 + 0.92 * math.log(epsilon / 0.1) / math.log(100))

    def y(value: float) -> float:
        return top + HEIGHT * (1 - (value - low) / (high - low))

    parts = [
        f'<text class="name" x="{left}" y="{top - 6}">{table}: {label}</text>',
        f'<rect class="frame" x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}"/>',
    ]
    for step in range(5):
        value = low + (high - low) * step / 4
        parts.append(f'<text class="tick" x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3f}</text>')
    for epsilon in EPSILONS:
        parts.append(
            f'<text class="tick" x="{x(epsilon):.1f}" y="{top + HEIGHT + 15}" text-anchor="middle">{epsilon:g}</text>'
        )
    parts.append(
        f'<text class="tick" x="{left + WIDTH / 2}" y="{top + HEIGHT + 31}" text-anchor="middle">epsilon</text>'
    )
    if measure == "auc":
        real = mean(row["auc_real"] for row in rows)
        parts.append(f'<line class="real" x1="{left}" x2="{left + WIDTH}" y1="{y(real):.1f}" y2="{y(real):.1f}"/>')
    for generator, colour in COLOURS.items():
        points = []
        for epsilon in EPSILONS:
            found = [r[measure] for r in rows if r["generator"] == generator and r["epsilon"] == epsilon]
            if found:
                points.append((x(epsilon), y(mean(found)), f"{generator}, epsilon {epsilon:g}: {mean(found):.3f}"))
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b, _ in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"><title>{told}</title></circle>'
            for a, b, told in points
        ]
    return parts


def main() -> None:
    """Draw."""
    rows = [row for row in common.read_rows(RESULTS) if row["generator"] in COLOURS]
    width = LEFT + len(TABLES) * (WIDTH + GAP)
    height = TOP + len(PANELS) * (HEIGHT + BELOW)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' role="img" aria-label="Utility by epsilon, for each private generator and table">',
        "<style>svg { background: #ffffff; font: 12px system-ui, sans-serif; } text { fill: #222222; }"
        " .name { font-weight: 600; } .tick { font-size: 11px; fill: #555555; } .frame { fill: none; stroke: #aaaaaa; }"
        " .real { stroke: #777777; stroke-dasharray: 5 4; }"
        " @media (prefers-color-scheme: dark) { svg { background: #16181d; } text { fill: #e6e6e6; }"
        " .tick { fill: #a9a9a9; } .frame { stroke: #5a5e66; } }</style>",
    ]
    x, y = float(LEFT), 15
    for name, colour in COLOURS.items():
        if x + 24 + 6.4 * len(name) > width:
            x, y = float(LEFT), y + 18
        parts.append(f'<circle cx="{x + 5}" cy="{y}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 15}" y="{y + 4}">{name}</text>')
        x += 24 + 6.4 * len(name)
    parts.append(
        f'<line class="real" x1="{x}" x2="{x + 24}" y1="{y}" y2="{y}"/><text x="{x + 30}" y="{y + 4}">real rows</text>'
    )
    for line, (measure, label) in enumerate(PANELS):
        for column, table in enumerate(TABLES):
            chosen = [row for row in rows if row["table"] == table]
            if chosen:
                left, top = LEFT + column * (WIDTH + GAP), TOP + line * (HEIGHT + BELOW)
                parts += panel(table, measure, label, chosen, left, top)
    PICTURE.write_text("\n".join([*parts, "</svg>"]) + "\n")


if __name__ == "__main__":
    main()
