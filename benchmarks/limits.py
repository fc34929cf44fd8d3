"""What memory and time a small machine needs: Adult, from rows to a model to rows.

    python benchmarks/limits.py

Trains on Adult with the defaults and draws 10,000 rows, in one process; then by the command line, a process for each,
and also 100,000 rows and ten times as many; the time is that of the whole process, start-up included. Then the same
training with ``--max-seconds`` and ``--max-memory`` too small for it. Targets: train and sample below 500 MB; ten times
the rows within 2 % of the memory; a stopped process ends with status 2, within two seconds of start-up and limit or a
fifth above its memory, and leaves nothing behind.
"""

import argparse
import json
import os
import sys

import common

ONE_PROCESS = """
import sys
import pandas as pd
import synth_components as synth
model = synth.fit(pd.read_parquet(sys.argv[1]), seed=0)
model.sample(10_000, seed=0).to_parquet(sys.argv[2])
"""
RESULTS = common.RESULTS / "limits.jsonl"
TARGET_MIB = 500e6 / 2**20
MAX_SECONDS = 5.0
MAX_MIB = 300


def synth(*arguments: str, threads: int) -> common.Child:
    """Run the command line in a process of its own."""
    return common.run_child([sys.executable, "-m", "synth_components", *arguments, "--quiet"], cap=600, threads=threads)


def done(child: common.Child) -> common.Child:
    """Return the child; stop here if it failed."""
    if child.code != 0:
        raise SystemExit(f"a command ended with {child.code}:\n{child.error}")
    return child


def run(threads: int) -> None:
    """Train, draw and stop, and write the results."""
    import datasets

    folder = common.CACHE / "limits"
    folder.mkdir(parents=True, exist_ok=True)
    table, model, stopped = folder / "adult.parquet", folder / "model", folder / "stopped"
    datasets.load("adult").train.to_parquet(table, index=False)
    training = ("train", "--data", str(table), "--seed", "0")
    script = [sys.executable, "-c", ONE_PROCESS, str(table), str(folder / "rows.parquet")]
    both = done(common.run_child(script, cap=600, threads=threads))
    found: list[common.Row] = [row("fit and sample", 10_000, both, holds=both.peak_mib < TARGET_MIB)]
    trained = done(synth(*training, "--model", str(model), threads=threads))
    found.append(row("synth train", 32_561, trained, holds=trained.peak_mib < TARGET_MIB))
    peaks: dict[int, float] = {}
    for n in (10_000, 100_000, 1_000_000):
        asked = ("sample", "--model", str(model), "--synthetic", str(folder / "rows.parquet"), "--num-rows", str(n))
        drawn = done(synth(*asked, threads=threads))
        peaks[n] = drawn.peak_mib
        # A block is 16,384 rows: fewer rows need less memory than a whole block.
        held = drawn.peak_mib < TARGET_MIB and (n < 1_000_000 or drawn.peak_mib <= 1.02 * peaks[100_000])
        found.append(row("synth sample", n, drawn, holds=held))
    # The clock of a limit starts when the step does: what comes before, and the error after, is start-up.
    started = synth(*training, "--model", str(stopped), "--max-seconds", "0.001", threads=threads).seconds
    for what, limit in (("time", ("--max-seconds", str(MAX_SECONDS))), ("memory", ("--max-memory", str(MAX_MIB)))):
        ended = synth(*training, "--model", str(stopped), *limit, threads=threads)
        left = [path.name for path in folder.iterdir() if "stopped" in path.name]
        kept = ended.code == 2 and not left and f"{what} passed its limit" in ended.error
        soon = ended.seconds < started + MAX_SECONDS + 2 if what == "time" else ended.peak_mib < 1.2 * MAX_MIB
        kept = kept and soon
        found.append(row(f"synth train {' '.join(limit)}", 32_561, ended, holds=kept))
    for one in found:
        common.say(json.dumps(one))
    common.write_rows(RESULTS, found)
    facts = common.machine() | {"threads": threads}
    RESULTS.with_suffix(".machine.json").write_text(json.dumps(facts, indent=1) + "\n")


def row(what: str, rows: int, child: common.Child, *, holds: bool) -> common.Row:
    """Return one result."""
    verdict = "pass" if holds else "**miss**"
    return {"what": what, "rows": rows, "seconds": child.seconds, "peak_mib": child.peak_mib, "target": verdict}


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    run(parser.parse_args().threads)


if __name__ == "__main__":
    main()
