"""Is ``auto`` as good as the best generator that fits the same time limit?  Target: within .02 of its held-out C2ST.

    python benchmarks/auto.py --datasets magic,shoppers --time-limit 240
    python benchmarks/auto.py --generators auto                the others are read from results/flagship.jsonl
    python benchmarks/auto.py --table                          writes the table into benchmarks/README.md

For each table ``auto`` races under the limit, and every candidate is fitted alone on all rows under the same one; the
referee (``protocol.py``) scores all against the test rows, which none of them saw.  The limit is wall-clock: on a busy
machine fewer generators fit it.  A candidate that ``auto.jsonl`` lacks is taken from the main benchmark, where the same
referee scored the same fit, and fits the limit if its seconds of the processor do: an easier test than ``auto``'s own.
Rows that are there are not taken again.
"""

import argparse
import os
from time import monotonic, perf_counter, process_time

import common
import datasets
import numpy as np
import protocol
from common import Row, markdown

RESULTS = common.RESULTS / "auto.jsonl"
TARGET = 0.02


def take(name: str, generator: str, limit: float, seed: int) -> Row:
    """Return the scores of one generator on one table, or why there are none."""
    import synth_components as synth
    from synth_components.errors import SynthError
    from synth_components.protocols import Run

    table = datasets.load(name)
    deadline = monotonic() + limit
    options = {"time_limit": limit} if generator == "auto" else None
    run = Run(should_stop=lambda: generator != "auto" and monotonic() > deadline)
    row: Row = {"dataset": name, "generator": generator, "seed": seed, "time_limit": limit}
    wall, cpu = perf_counter(), process_time()
    try:
        model = synth.fit(table.train, generator=generator, seed=seed, options=options, run=run)
    except SynthError as error:
        return row | {"status": type(error).__name__, "fit_s": perf_counter() - wall}
    row |= {"fit_s": perf_counter() - wall, "fit_cpu_s": process_time() - cpu}
    if model.manifest.choice:
        row["choice"] = model.manifest.choice
    start = process_time()
    synthetic = table.conform(model.sample(len(table.train), seed=seed))
    row["sample_cpu_s"] = process_time() - start
    scored = {
        "c2st_xgb_holdout": protocol.c2st_holdout(table.test, synthetic, learner="xgboost", seed=seed, threads=1),
        "c2st_xgb_train": protocol.c2st(table.train, synthetic, learner="xgboost", seed=seed, threads=1),
    }
    return row | {"status": "ok"} | scored | {"load": round(os.getloadavg()[0], 1), "commit": common.commit()}


def run(names: list[str], limit: float, seed: int, chosen: list[str]) -> None:
    """Take every row that is not there."""
    import synth_components as synth
    from synth_components.selection.choice import candidates

    for name in names:
        schema = synth.profile(datasets.load(name).train).schema
        for generator in chosen or ("auto", *candidates(schema)):
            done = {(r["dataset"], r["generator"], r["seed"], r["time_limit"]) for r in common.read_rows(RESULTS)}
            if (name, generator, seed, limit) not in done:
                row = take(name, generator, limit, seed)
                common.append_row(RESULTS, row)
                common.say(f"{name} {generator}: {row['status']} {row.get('c2st_xgb_holdout', np.nan):.3f}")


def alone(limit: float, rows: list[Row]) -> dict[str, dict[str, Row]]:
    """Return what the main benchmark tells of each table and generator: a row as :func:`take` gives it.

    Where it ran several seeds, their mean: ``auto`` chooses a generator, and not the luck of a seed.
    """
    runs: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        ours = row["generator"].startswith("tabular.") and "(" not in row["generator"]
        if ours and row["measure"] == "fidelity" and row["status"] == "ok":
            runs.setdefault((row["dataset"], row["generator"]), {})[row["seed"]] = row  # the latest
    found: dict[str, dict[str, Row]] = {}
    for (name, generator), of_seeds in runs.items():
        spent = [row["generation"].get("work_seconds", np.inf) for row in of_seeds.values()]
        found.setdefault(name, {})[generator] = {
            "generator": generator,
            "status": "ok" if np.mean(spent) <= limit else "late",
            "c2st_xgb_holdout": float(np.mean([row["values"]["c2st_xgb_holdout"] for row in of_seeds.values()])),
            "seeds": len(of_seeds),
        }
    return found


def verdicts(rows: list[Row], elsewhere: list[Row]) -> str:
    """Return one line per table and limit: auto, the best of the others, and the distance."""
    lines = []
    for key in dict.fromkeys((row["dataset"], row["time_limit"], row["seed"]) for row in rows):
        mine = [row for row in rows if (row["dataset"], row["time_limit"], row["seed"]) == key]
        auto = next((row for row in mine if row["generator"] == "auto" and row["status"] == "ok"), None)
        own = {row["generator"]: row for row in mine if row["generator"] != "auto"}
        others = list((alone(key[1], elsewhere).get(key[0], {}) | own).values())
        able = [row for row in others if row["status"] == "ok"]
        if auto is None or not able:
            continue
        best = max(able, key=lambda row: row["c2st_xgb_holdout"])
        gap = best["c2st_xgb_holdout"] - auto["c2st_xgb_holdout"]
        late = ", ".join(f"`{row['generator']}`" for row in others if row["status"] != "ok")
        lines.append(
            [
                key[0],
                f"{key[1]:g}",
                f"`{auto['choice']['generator']}`",
                f"{auto['c2st_xgb_holdout']:.3f}",
                f"`{best['generator']}`",
                f"{best['c2st_xgb_holdout']:.3f}",
                f"{gap:+.3f} {'pass' if gap <= TARGET else '**miss**'}",
                late or "none",
                str(len(others)),
            ]
        )
    header = [
        "table",
        "limit, s",
        "auto chose",
        "C2ST",
        "best alone",
        "C2ST",
        "distance, <= .02",
        "did not fit the limit",
        "fitted alone",
    ]
    return markdown(header, lines)


def main() -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", default=",".join(datasets.NAMES))
    parser.add_argument("--time-limit", type=float, default=240.0)
    parser.add_argument("--generators", default="", help="some of auto and the candidates; all if empty")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="write the table into README.md, and stop")
    arguments = parser.parse_args()
    if arguments.table:
        others = common.read_rows(common.RESULTS / "flagship.jsonl")
        common.render("auto", verdicts(common.read_rows(RESULTS), others))
    else:
        run(
            arguments.datasets.split(","),
            arguments.time_limit,
            arguments.seed,
            [g for g in arguments.generators.split(",") if g],
        )


if __name__ == "__main__":
    main()
