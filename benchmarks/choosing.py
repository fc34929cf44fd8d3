"""Draw docs/choosing.svg: how hard rows are to detect against the processor's seconds of the fit, by generator.

    python benchmarks/choosing.py

A letter is a row of ``results/flagship.jsonl`` (the whole process is timed, imports too), ``results/variants.jsonl`` or
``results/auto.jsonl`` (the fit alone) with default options, but that SMOTE may keep rows, and one seed: the C2ST of the
referee against the training rows, which all hold, and the seconds of the processor with one or two threads.
"""

import math
from collections.abc import Sequence

import common
from common import Row

TARGET = common.ROOT / "docs" / "choosing.svg"
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 420, 60, 20, 190, 50
COLOURS = (
    *("#1b6ca8", "#c8553d", "#2a9d5c", "#7b4ea3", "#c79a1b", "#4a4a4a", "#d0679d", "#3aa6a6"),
    *("#8b5a2b", "#000080", "#99b433", "#e377ff", "#800000", "#9aa5b1", "#00a0ff", "#556b2f"),
    *("#ff7f0e", "#ff0080"),
)
SHAPES = {"adult": "A", "default": "D", "shoppers": "S", "magic": "M", "beijing": "B"}


def rows() -> list[Row]:
    """Return what is drawn, of each table and generator: the last row, of the flagship's benchmark if it has one."""
    from synth_components.generators import recipe_type

    found: dict[tuple[str, str], Row] = {}
    for name in ("auto.jsonl", "variants.jsonl"):  # each before the next: the first fits a part of the rows
        for row in common.read_rows(common.RESULTS / name):
            options, is_sketch = row.get("options") or {}, "note" in row
            if row["generator"] == "auto" or is_sketch:
                continue
            recipe = recipe_type(row["generator"])
            if recipe.parse(options) == recipe.parse({}) and "c2st_xgb_train" in row and row.get("fit_cpu_s"):
                found[row["dataset"], row["generator"]] = row
    for row in common.read_rows(common.RESULTS / "flagship.jsonl"):
        name, _, options = row["generator"].partition("(")
        if options and name != "tabular.smote":
            continue
        if name.startswith("tabular.") and row["measure"] == "fidelity" and row["seed"] == 0:
            values = {"c2st_xgb_train": row["values"].get("c2st_xgb_train")}
            taken = {"fit_cpu_s": row.get("generation", {}).get("cpu_seconds")}
            if all({**values, **taken}.values()):
                found[row["dataset"], row["generator"]] = {**row, **values, **taken}
    return list(found.values())


def svg(drawn: Sequence[Row]) -> str:
    """Return the plot: a letter per table, a colour per generator."""
    seconds = [row["fit_cpu_s"] for row in drawn]
    first, last = math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds)))

    def x(value: float) -> float:
        return LEFT + (math.log10(value) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (1 - value) * (HEIGHT - TOP - BOTTOM)

    text = 'font-family="sans-serif" font-size="12"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {text}>']
    parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>')
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for power in range(first, last + 1):
        at = x(10.0**power)
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{10.0**power:g}</text>')
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 10}" text-anchor="middle">fit, seconds of the processor</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 6}">C2ST against train, 1 is indistinguishable</text>')
    names = sorted({row["generator"] for row in drawn})
    for place, name in enumerate(names):
        colour = COLOURS[place]  # no two names may share one
        parts.append(
            f'<text x="{WIDTH - RIGHT + 14}" y="{TOP + 17 * (place + 1)}" fill="{colour}">{name.split("(")[0]}</text>'
        )
        for row in drawn:
            if row["generator"] == name:
                at = f'x="{x(row["fit_cpu_s"]):.1f}" y="{y(row["c2st_xgb_train"]) + 4:.1f}"'
                letter = SHAPES[row["dataset"]]
                parts.append(f'<text {at} text-anchor="middle" font-weight="bold" fill="{colour}">{letter}</text>')
    key = [f"{letter} {name}" for name, letter in SHAPES.items()]
    for line, told in enumerate((", ".join(key[:3]), ", ".join(key[3:]))):
        at = f'x="{WIDTH - RIGHT + 14}" y="{HEIGHT - BOTTOM - 24 + 14 * line}"'
        parts.append(f'<text {at} font-size="10">{told}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    TARGET.write_text(svg(rows()), encoding="utf-8")
