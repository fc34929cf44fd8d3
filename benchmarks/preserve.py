"""How close preservation comes, how long it takes, and how the genetic search compares with rank reordering.

    python benchmarks/preserve.py                        the three modes on Adult, then both methods
    python benchmarks/preserve.py --skip-genetic         the modes alone, in half a minute

The synthetic tables are Adult with every column shuffled, so that no association is left, and a sample of the default
generator, which has most of them. The schema is given; reading it off the rows would add to the time. Seconds are wall
time of ``synth.preserve`` in this process, the least of several calls in the README; the processor's seconds stand
beside them, because other work on the machine lengthens the former. Both methods are compared on 2,000 rows.

Target: balanced on Adult below one second.
"""

import argparse
import json
import statistics
from time import perf_counter, process_time

import common
import datasets
import numpy as np
import pandas as pd

import synth_components as synth
from synth_components.preserve.options import PreserveConfig
from synth_components.preserve.residuals import Preserved
from synth_components.schema import Schema

RESULTS = common.RESULTS / "preserve.jsonl"
MODES = ("strict", "balanced", "flexible")


def shuffled(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the table with each column shuffled on its own."""
    rng = np.random.default_rng(seed)
    return table.apply(lambda column: pd.Series(rng.permutation(column.to_numpy()), index=table.index))


def closeness(found: Preserved, synthetic: pd.DataFrame) -> common.Row:
    """Return how far the associations are from their targets, before and after, and what it took."""
    rows = found.residuals
    before, after = (rows[side] - rows["target"] for side in ("before", "after"))
    changed = [(found.table[name].to_numpy() != synthetic[name].to_numpy()).mean() for name in synthetic]
    return {
        "pairs": len(rows),
        "distance_before": float(before.abs().mean()),
        "distance": float(after.abs().mean()),
        "worst": float(after.abs().max()),
        "met": float(rows["met"].mean()),
        "values_changed": float(np.mean(changed)),
        # What the genetic search maximises, measured alike for both methods.
        "fitness": 0.7 * (1 - float(after.abs().mean() / before.abs().mean())) + 0.3 * (1 - float(np.mean(changed))),
    }


def timed(
    real: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema, config: PreserveConfig, calls: int
) -> common.Row:
    """Return the closeness of a config and the time of its calls."""
    walls, processors = [], []
    for _ in range(calls):
        wall, processor = perf_counter(), process_time()
        found = synth.preserve(real, synthetic, schema=schema, config=config)
        walls.append(perf_counter() - wall)
        processors.append(process_time() - processor)
    return {
        "mode": config.mode,
        "method": config.method,
        "rows": len(synthetic),
        **closeness(found, synthetic),
        "seconds": statistics.median(walls),
        "least_seconds": min(walls),
        "processor_seconds": statistics.median(processors),
    }


def key(row: common.Row) -> tuple[object, ...]:
    """Return what tells a measurement from the others: a new one replaces the old."""
    return row["table"], row["mode"], row["method"], row["rows"]


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=7)
    parser.add_argument("--skip-genetic", action="store_true")
    arguments = parser.parse_args()
    facts = common.machine()
    real = datasets.load("adult").train
    schema = synth.profile(real).schema
    drawn = synth.fit(real, seed=0).sample(len(real), seed=0)
    tables = {"shuffled": shuffled(real, 0), "default generator": drawn}
    found = {key(row): row for row in common.read_rows(RESULTS)}

    def note(name: str, row: common.Row) -> None:
        made = {"table": name, **row, "load": facts["load"], "commit": facts["commit"]}
        found[key(made)] = made
        common.say(json.dumps(made))
        common.write_rows(RESULTS, found.values())

    for name, table in tables.items():
        for mode in MODES:
            note(name, timed(real, table, schema, PreserveConfig(mode=mode), arguments.calls))
    if not arguments.skip_genetic:
        part = shuffled(real, 0).head(2_000)
        for method in ("rank", "genetic"):
            note("shuffled", timed(real, part, schema, PreserveConfig(method=method), 1))
    RESULTS.with_suffix(".machine.json").write_text(json.dumps(facts, indent=1) + "\n")
    header = ["table", "rows", "mode", "method", "met", "mean distance", "changed", "fitness", "seconds", "processor"]
    body = [
        [
            f"{row['table']}",
            f"{row['rows']:,}",
            row["mode"],
            row["method"],
            f"{row['met']:.0%}",
            f"{row['distance_before']:.3f} to {row['distance']:.3f}",
            f"{row['values_changed']:.0%}",
            f"{row['fitness']:.3f}",
            f"{row['least_seconds']:.2f}",
            f"{row['processor_seconds']:.2f}",
        ]
        for row in found.values()
    ]
    told = f"{facts['cores']} cores ({facts['cpu']}), load {facts['load']} at the start, commit {facts['commit']}."
    common.render("preserve", f"{common.markdown(header, body)}\n\nMachine: {told}")


if __name__ == "__main__":
    main()
