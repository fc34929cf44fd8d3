"""What growth costs: fit time and peak memory on 100 thousand, 1 million and 10 million rows of 15 columns.

    python benchmarks/growth.py                          all three sizes; 10 M rows want 12 GiB of memory
    python benchmarks/growth.py --rows 100000,1000000

The rows are Adult's, drawn with replacement and disturbed: numbers get noise of a twentieth of their deviation
(rounded; the common values 0 of gains and losses stay), one category in fifty is redrawn. Each fit is a process of
its own that reads Parquet and calls ``synth.fit``; the time is that of the call, the memory that of the process.

Targets: time at most linear x 1.2; 10 million rows in 20 minutes within 12 GiB.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from time import perf_counter

import common

RESULTS = common.RESULTS / "growth.jsonl"
ROWS = (100_000, 1_000_000, 10_000_000)
CHUNK = 500_000


def make(rows: int, path: Path) -> None:
    """Write a disturbed bootstrap of Adult, a chunk at a time."""
    import datasets
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    train = datasets.load("adult").train
    rng = np.random.default_rng(rows)
    numbers = train.select_dtypes("number")
    scale = numbers.std() / 20
    writer = None
    for start in range(0, rows, CHUNK):
        n = min(CHUNK, rows - start)
        frame = train.iloc[rng.integers(len(train), size=n)].reset_index(drop=True)
        for c in train.columns.astype(str):
            if c in numbers:
                values = frame[c].to_numpy(float)
                moved = np.clip(np.round(values + scale[c] * rng.normal(size=n)), numbers[c].min(), numbers[c].max())
                frame[c] = np.where(values == 0, 0, moved).astype("int64")
            else:
                redrawn = train[c].to_numpy()[rng.integers(len(train), size=n)]
                frame[c] = np.where(rng.random(n) < 0.02, redrawn, frame[c].to_numpy())
        chunk = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, chunk.schema)
        writer.write_table(chunk)
    assert writer is not None
    writer.close()


def fit(path: Path, out: Path, seed: int) -> None:
    """Read the rows, fit, and report time and memory."""
    import pandas as pd

    import synth_components as synth

    table = pd.read_parquet(path)
    read = common.high_water()
    start = perf_counter()
    synth.fit(table, seed=seed)
    out.write_text(
        json.dumps({"fit_seconds": perf_counter() - start, "peak_mib": common.high_water(), "read_mib": read})
    )


def run(rows: list[int], cap: float, threads: int) -> None:
    """Measure every size and write the results anew."""
    common.CACHE.mkdir(exist_ok=True)
    facts = common.machine() | {"threads": threads}
    found: list[common.Row] = []
    for n in rows:
        path, out = common.CACHE / f"growth-{n}.parquet", common.CACHE / "growth.json"
        if not path.exists():
            partial = path.with_suffix(".partial")
            make(n, partial)
            partial.rename(path)
        out.unlink(missing_ok=True)
        command = [sys.executable, str(Path(__file__)), "--fit", str(path), "--out", str(out)]
        child = common.run_child(command, cap=cap, threads=threads)
        row: common.Row = {
            "rows": n,
            "status": "ok" if child.code == 0 else "cap reached" if child.code is None else "error",
        }
        if child.code == 0:
            row |= json.loads(out.read_text())
            row["seconds_per_million"] = row["fit_seconds"] / n * 1e6
            if found and "fit_seconds" in found[-1]:
                row["ratio"] = row["fit_seconds"] / found[-1]["fit_seconds"] / (n / found[-1]["rows"])
        else:
            row |= {"fit_seconds": child.seconds, "peak_mib": child.peak_mib}
        found.append(row)
        common.say(json.dumps(row))
        common.write_rows(RESULTS, found)
    RESULTS.with_suffix(".machine.json").write_text(json.dumps(facts, indent=1) + "\n")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=lambda text: [int(n) for n in text.split(",")], default=list(ROWS))
    parser.add_argument("--cap", type=float, default=2_400, help="seconds for one fit")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        fit(arguments.fit, arguments.out, seed=0)
    else:
        run(arguments.rows, arguments.cap, arguments.threads)


if __name__ == "__main__":
    main()
