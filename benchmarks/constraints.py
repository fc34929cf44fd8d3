"""What five ordinary rules cost: sampling with them, against sampling without, from one fitted model.

    python benchmarks/constraints.py

Adult, two generators: the default one, most of whose rows obey the rules, and ``tabular.independent``, which is faster
and whose rows break them all the time. The two ways of sampling take turns; seconds are those of the processor, so
that other work on the machine does not count. Target: less than 3 times as long.
"""

import argparse
import json
from dataclasses import replace
from statistics import median
from time import process_time

import common
import datasets

import synth_components as synth
from synth_components.constraints import check

RESULTS = common.RESULTS / "constraints.jsonl"
GENERATORS = ("tabular.trees", "tabular.independent")
TARGET = 3.0
RULES = (
    {"type": "range", "column": "age", "low": 17, "high": 90},
    {"type": "functional_dependency", "determinant": ["education"], "dependent": "education_num"},
    {"type": "fixed_combinations", "columns": ["marital_status", "relationship"]},
    {"type": "inequality", "low": "capital_loss", "high": "fnlwgt"},
    {"type": "implication", "when": "age < 19", "then": "income == '<=50K'"},
)


def timed(model: synth.Model, n: int, seed: int) -> tuple[float, object]:
    """Return the processor seconds that ``n`` rows take, and the rows."""
    start = process_time()
    table = model.sample(n, seed=seed)
    return process_time() - start, table


def main() -> None:
    """Fit once per generator, draw in turns, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    train = datasets.load("adult").train
    rows = []
    for generator in GENERATORS:
        ruled = synth.fit(train, generator=generator, seed=0, constraints=RULES)
        free = replace(ruled, schema=replace(ruled.schema, constraints=()))
        timed(free, 1_000, 0), timed(ruled, 1_000, 0)
        seconds: dict[str, list[float]] = {"free": [], "ruled": []}
        for seed in range(arguments.repeats):
            seconds["free"].append(timed(free, arguments.rows, seed)[0])
            taken, table = timed(ruled, arguments.rows, seed)
            seconds["ruled"].append(taken)
            assert set(check(table, ruled.schema.constraints).values()) == {1.0}
        ratio = median(r / f for r, f in zip(seconds["ruled"], seconds["free"], strict=True))
        row: common.Row = {
            "generator": generator,
            "rows": arguments.rows,
            "rules": len(RULES),
            "free_cpu_seconds": median(seconds["free"]),
            "ruled_cpu_seconds": median(seconds["ruled"]),
            "ratio": ratio,
            "obeyed_before_repair": min(check(free.sample(5_000, seed=0), ruled.schema.constraints).values()),
            "target": "pass" if ratio < TARGET else f"**miss**: {TARGET:g} times",
        }
        rows.append(row)
        common.say(json.dumps(row))
    common.write_rows(RESULTS, rows)
    RESULTS.with_suffix(".machine.json").write_text(json.dumps(common.machine(), indent=1) + "\n")


if __name__ == "__main__":
    main()
