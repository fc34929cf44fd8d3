"""How fast and in how much memory a million rows reach a Parquet file, through the command line.

    python benchmarks/sampling.py

Trains on Adult with the defaults (``synth train``), then runs ``synth sample`` in a process of its own, several times;
the time is that of the whole process, start-up included. Targets: 30 s and 500 MiB for a million rows.
"""

import argparse
import json
import os
import sys
from statistics import median

import common

RESULTS = common.RESULTS / "sampling.jsonl"


def synth(*arguments: str, threads: int) -> common.Child:
    """Run the command line in a process of its own; stop here if it fails."""
    command = [sys.executable, "-m", "synth_components", *arguments, "--quiet"]
    child = common.run_child(command, cap=1_200, threads=threads)
    if child.code != 0:
        raise SystemExit(f"synth {arguments[0]} ended with {child.code}:\n{child.error}")
    return child


def run(rows: list[int], repeats: int, threads: int) -> None:
    """Train once, draw, and write the results."""
    import datasets

    folder = common.CACHE / "sampling"
    folder.mkdir(parents=True, exist_ok=True)
    train, model = folder / "adult.parquet", folder / "model"
    datasets.load("adult").train.to_parquet(train, index=False)
    facts = common.machine() | {"threads": threads}
    child = synth("train", "--data", str(train), "--model", str(model), "--seed", "0", threads=threads)
    size = sum(file.stat().st_size for file in model.rglob("*") if file.is_file()) / 1e6
    found: list[common.Row] = [
        {
            "what": f"synth train, model {size:.2f} MB",
            "rows": 32_561,
            "seconds": child.seconds,
            "peak_mib": child.peak_mib,
        }
    ]
    for n in rows:
        for suffix in ("parquet", "csv") if n == max(rows) else ("parquet",):
            out = folder / f"rows.{suffix}"
            drawn = []
            for seed in range(repeats):
                out.unlink(missing_ok=True)
                options = ("--model", str(model), "--synthetic", str(out), "--num-rows", str(n), "--seed", str(seed))
                drawn.append(synth("sample", *options, threads=threads))
            row: common.Row = {
                "what": f"synth sample to {suffix}",
                "rows": n,
                "seconds": median(c.seconds for c in drawn),
            }
            row["peak_mib"] = max(c.peak_mib for c in drawn)
            if n == 1_000_000 and suffix == "parquet":
                row["target"] = "pass" if row["seconds"] <= 30 and row["peak_mib"] <= 500 else "**miss**: 30 s, 500 MiB"
            found.append(row)
            common.say(json.dumps(row))
    common.write_rows(RESULTS, found)
    RESULTS.with_suffix(".machine.json").write_text(json.dumps(facts, indent=1) + "\n")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=lambda text: [int(n) for n in text.split(",")], default=[100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    run(arguments.rows, arguments.repeats, arguments.threads)


if __name__ == "__main__":
    main()
