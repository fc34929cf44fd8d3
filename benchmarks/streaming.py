"""Whether a stream's memory stays the same however many rows go by, and how fast they go.

    python benchmarks/streaming.py

Trains `tabular.independent` on a small table, then streams to standard output, read by nobody (`/dev/null`), in a
process of its own.  Target: the peak for the larger number of rows is at most 1.1 of that for the smaller.
"""

import argparse
import json
import os
import sys

import common

RESULTS = common.RESULTS / "streaming.jsonl"


def streamed(model: str, rows: int, format: str, threads: int) -> common.Child:
    """Run the command line in a process of its own; stop here if it fails."""
    options = ("--num-rows", str(rows), "--format", format, "--quiet")
    command = [sys.executable, "-m", "synth_components", "sample", "--model", model, "--output", "-", *options]
    child = common.run_child(command, cap=1_200, threads=threads)
    if child.code != 0:
        raise SystemExit(f"synth sample ended with {child.code}:\n{child.error}")
    return child


def run(few: int, many: int, formats: list[str], threads: int) -> None:
    """Train once, stream, and write the results."""
    import synth_components as synth
    from synth_components.toy import toy_table

    model = common.CACHE / "streaming" / "model"
    synth.fit(toy_table(), generator="tabular.independent", seed=0).save(model, overwrite=True)
    facts = common.machine() | {"threads": threads}
    found: list[common.Row] = []
    for format in formats:
        short = 0.0
        for rows in (few, many):
            child = streamed(str(model), rows, format, threads)
            row: common.Row = {
                "what": f"synth sample to standard output, {format}",
                "rows": rows,
                "seconds": child.seconds,
                "rows_per_second": rows / child.seconds,
                "peak_mib": child.peak_mib,
            }
            if rows == many:
                row["target"] = "pass" if child.peak_mib <= 1.1 * short else "**miss**: 1.1 of the peak above"
            short = child.peak_mib
            found.append(row)
            common.say(json.dumps(row))
    common.write_rows(RESULTS, found)
    RESULTS.with_suffix(".machine.json").write_text(json.dumps(facts, indent=1) + "\n")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=100_000)
    parser.add_argument("--many", type=int, default=10_000_000)
    parser.add_argument("--formats", type=lambda text: text.split(","), default=["ndjson", "csv", "arrow"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    run(arguments.few, arguments.many, arguments.formats, arguments.threads)


if __name__ == "__main__":
    main()
