"""Draw detection against privacy, table by table: over the knobs of the flagship, and over the search for defaults.

    python benchmarks/frontier.py                      draws frontier.svg, writes the table of knobs into README.md
    python benchmarks/frontier.py --measure            first turns each knob, one seed, through ``flagship.py``
    python benchmarks/frontier.py --import FILE ...    first turns logs of the search into results/frontier.jsonl

``results/knobs.jsonl`` holds rows of the referee, one knob moved off its default at a time: filled dots.

``results/frontier.jsonl`` holds the search: each row one variant on one table with one seed, measured while the
defaults were sought (hollow dots). The search used lighter settings than the referee: XGBoost of 100 trees of depth 5
on integer codes and at most 20,000 rows a side for C2ST; the attack over two or three rotations of the thirds; DCR on
at most 8,000 drawn rows. Rows that name their seed came later, by the referee itself. The rows show the way, and how
many variants were tried on these same tables. The names of variants are those of the search: knobs and tricks in short.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import common
import datasets
from common import Row, markdown
from render import C2ST, MAIN, latest, number

RESULTS = common.RESULTS / "frontier.jsonl"
KNOBS_RESULTS = common.RESULTS / "knobs.jsonl"
KNOBS: tuple[dict[str, float], ...] = (
    {},
    {"min_leaf": 5},
    {"min_leaf": 50},
    {"min_leaf": 200},
    {"min_evidence": -8},
    {"min_evidence": 0},
    {"correction_trees": 0},
    {"correction_trees": 100},
)
PICTURE = common.HERE / "frontier.svg"
NAMES = {
    "c2st": "c2st_xgb_train",
    "pair": "pair_shared",
    "dcr": "dcr_share",
    "mia": "mia_auc",
    "mia_iso": "mia_auc_isolated",
}
KEPT = ("shape", "tstr", "copies", "copies_holdout", "c2st_holdout", "fit_s", "sample_s")
# Prefixes of variants, first match wins: what was added to the honest trees of the sketch.
FAMILIES = (
    (("prod", "final", "order", "anchors"), "the package while it was tuned"),
    (("PT", "prunetilt"), "pruned by evidence + density ratio"),
    (("tilt", "fix2_tilt"), "density ratio"),
    (("prune",), "pruned by evidence"),
    (("base", "loo", "d2", "d4", "d8", "dist", "lin", "mtry", "res", "T12", "fix"), "honest trees and their splits"),
)
COLOURS = {
    "honest trees and their splits": "#7a8599",
    "pruned by evidence": "#2f7fc1",
    "density ratio": "#d9822b",
    "pruned by evidence + density ratio": "#3a9b63",
    "the package while it was tuned": "#c23b66",
    "other": "#9a7fb8",
    "the package by the referee, one knob moved": "#c23b66",
}
WIDTH, HEIGHT, LEFT, TOP, GAP = 250, 220, 52, 64, 40
PANELS = (("mia_auc", "attack AUC", 0.495, 0.605, 0.53), ("dcr_share", "DCR share", 0.495, 0.605, 0.53))


def family(variant: str) -> str:
    """Return what kind of variant a name stands for."""
    return next((name for prefixes, name in FAMILIES if variant.startswith(prefixes)), "other")


def clean(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of search logs that hold a detection score, once each, in order, under the referee's names."""
    out: dict[str, Row] = {}
    for row in rows:
        if "c2st" not in row:
            continue
        variant = row["variant"].translate(str.maketrans("", "", "{}\"'")).replace(": ", "=").strip()
        found: Row = {"dataset": row["table"], "variant": variant, "family": family(variant)}
        found |= {new: row[old] for old, new in NAMES.items() if old in row}
        found |= {name: row[name] for name in KEPT if name in row}
        same = {name: value for name, value in found.items() if name not in ("fit_s", "sample_s")}
        out.setdefault(json.dumps(same), found)
    return [{"trial": trial, **row} for trial, row in enumerate(out.values(), 1)]


def knobs() -> list[Row]:
    """Return one row per knob setting and table, with the scores of all measures."""
    found: dict[tuple[str, str], Row] = {}
    for row in latest(common.read_rows(KNOBS_RESULTS)):
        cell = found.setdefault((row["generator"], row["dataset"]), {"dataset": row["dataset"]})
        cell |= row["values"]
        cell["variant"] = row["generator"].removeprefix(MAIN).strip("()") or "defaults"
        cell["family"] = "the package by the referee, one knob moved"
    return [row for row in found.values() if "c2st_xgb_train" in row]


def measure(names: Sequence[str]) -> None:
    """Turn the knobs through ``flagship.py``: one seed, the measures of the picture."""
    for options in KNOBS:
        chosen = ["--generators", MAIN, "--datasets", ",".join(names), "--seeds", "0", "--measures", "fidelity,dcr,mia"]
        command = [sys.executable, str(common.HERE / "flagship.py"), *chosen, "--results", str(KNOBS_RESULTS)]
        subprocess.run([*command, "--options", json.dumps(options)], check=True)


def table(rows: Sequence[Row]) -> str:
    """Return the knobs as a Markdown table: C2ST against train, attack AUC, DCR share by table."""
    scores = ("c2st_xgb_train", "mia_auc", "dcr_share")
    body = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        cells = {row["dataset"]: row for row in rows if row["variant"] == variant}
        shown = [
            " / ".join(number(cells[d][s]) for s in scores if s in cells[d]) if d in cells else ""
            for d in datasets.NAMES
        ]
        body.append([variant, *shown])
    return markdown(["C2ST / attack AUC / DCR share", *datasets.NAMES], body)


def draw(rows: Sequence[Row]) -> str:
    """Return the picture: a row of panels against the attack, a row against DCR share, one panel per table."""
    tables = [d for d in datasets.NAMES if any(row["dataset"] == d for row in rows)]
    width = LEFT + len(tables) * (WIDTH + GAP)
    height = TOP + len(PANELS) * (HEIGHT + 62) + 6
    parts = [
        _head(width, height),
        f'<text class="title" x="{LEFT}" y="20">Detection against privacy: the search for defaults</text>',
    ]
    x = float(LEFT)
    for name, colour in COLOURS.items():
        if any(row["family"] == name for row in rows):
            fill = f'fill="{colour}"' if "referee" in name else f'fill="none" stroke="{colour}" stroke-width="1.4"'
            parts.append(f'<circle cx="{x + 5}" cy="39" r="4" {fill}/><text x="{x + 15}" y="43">{name}</text>')
            x += 32 + 6.6 * len(name)
    parts.append(
        f'<rect class="goal" x="{x}" y="33" width="16" height="12"/><text x="{x + 22}" y="43">targets met</text>'
    )
    for line, (score, label, low, high, limit) in enumerate(PANELS):
        for column, dataset in enumerate(tables):
            chosen = [row for row in rows if row["dataset"] == dataset and score in row]
            left, top = LEFT + column * (WIDTH + GAP), TOP + line * (HEIGHT + 62) + 14
            parts.append(panel(chosen, dataset, score, label, (low, high), limit, (left, top)))
    return "\n".join([*parts, "</svg>\n"])


def panel(
    rows: Sequence[Row],
    dataset: str,
    score: str,
    label: str,
    ends: tuple[float, float],
    limit: float,
    corner: tuple[float, float],
) -> str:
    """Return one panel: a dot per variant, values beyond the axes on their edge."""
    left, top = corner
    low, high = ends

    def x(value: float) -> float:
        return left + WIDTH * (min(max(value, low), high) - low) / (high - low)

    def y(value: float) -> float:
        return top + HEIGHT * (1 - (min(max(value, 0.4), 1.02) - 0.4) / 0.62)

    goal = C2ST[dataset]
    parts = [
        f'<text class="name" x="{left}" y="{top - 6}">{dataset}</text>',
        f'<rect class="goal" x="{left}" y="{top}" width="{x(limit) - left:.1f}" height="{y(goal) - top:.1f}"/>',
    ]
    for tick in (0.4, 0.6, 0.8, 1.0):
        parts.append(f'<line class="grid" x1="{left}" x2="{left + WIDTH}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.1f}</text>')
    for tick in (0.50, 0.53, 0.56, 0.59):
        parts.append(
            f'<text class="tick" x="{x(tick):.1f}" y="{top + HEIGHT + 14}" text-anchor="middle">{tick:.2f}</text>'
        )
    parts.append(f'<rect class="frame" x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}"/>')
    parts.append(
        f'<text class="tick" x="{left + WIDTH / 2}" y="{top + HEIGHT + 29}" text-anchor="middle">{label}</text>'
    )
    middle = top + HEIGHT / 2
    if left == LEFT:
        turned = f'transform="rotate(-90 {left - 34} {middle})"'
        parts.append(
            f'<text class="tick" x="{left - 34}" y="{middle}" text-anchor="middle" {turned}>XGBoost-C2ST</text>'
        )
    for row in sorted(rows, key=lambda row: "trial" not in row):
        told = f"{row['variant']}: C2ST {row['c2st_xgb_train']:.3f}, {label} {row[score]:.3f}"
        colour = COLOURS.get(row["family"], "#999999")
        fill = f'fill="none" stroke="{colour}" stroke-width="1.4"' if "trial" in row else f'fill="{colour}"'
        dot = f'cx="{x(row[score]):.1f}" cy="{y(row["c2st_xgb_train"]):.1f}" r="4" {fill}'
        parts.append(f"<circle {dot}><title>{told}</title></circle>")
    if not rows:
        parts.append(f'<text class="tick" x="{left + WIDTH / 2}" y="{middle}" text-anchor="middle">not measured</text>')
    return "\n".join(parts)


def _head(width: int, height: int) -> str:
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"
 width="{width}" height="{height}" role="img"
 aria-label="XGBoost-C2ST against attack AUC and DCR share for every variant tried, by table">
<style>
 svg {{ background: #ffffff; font: 12px system-ui, sans-serif; }}
 text {{ fill: #222222; }} .title {{ font-size: 15px; font-weight: 600; }} .name {{ font-weight: 600; }}
 .tick {{ font-size: 11px; fill: #555555; }} .grid {{ stroke: #dddddd; }} .frame {{ fill: none; stroke: #aaaaaa; }}
 .goal {{ fill: #3a9b63; fill-opacity: .14; }}
 @media (prefers-color-scheme: dark) {{
  svg {{ background: #16181d; }} text {{ fill: #e6e6e6; }} .tick {{ fill: #a9a9a9; }}
  .grid {{ stroke: #33363d; }} .frame {{ stroke: #5a5e66; }} .goal {{ fill-opacity: .25; }}
 }}
</style>"""


def main() -> None:
    """Import if asked to, then draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--import", dest="logs", type=Path, nargs="+", help="logs of the search, one JSON row per variant"
    )
    parser.add_argument("--measure", action="store_true", help="turn the knobs first (about 25 minutes)")
    parser.add_argument("--datasets", type=lambda text: text.split(","), default=list(datasets.NAMES))
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.datasets)
    if arguments.logs:
        lines = [line for log in arguments.logs for line in log.read_text().splitlines()]
        common.write_rows(RESULTS, clean(json.loads(line) for line in lines if line.strip()))
    searched, turned = common.read_rows(RESULTS), knobs()
    PICTURE.write_text(draw([*searched, *turned]))
    variants = len({row["variant"] for row in searched})
    count = f"The search: {len(searched)} rows of {variants} variants, on these same five tables, most with one seed."
    common.render("knobs", "\n\n".join([table(turned), count] if turned else [count]))
    common.say(f"{count} Knobs: {len(turned)} rows.")


if __name__ == "__main__":
    main()
