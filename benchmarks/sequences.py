"""From how many rows a network of sequences is closer than tables of counts.

    python benchmarks/sequences.py
    python benchmarks/sequences.py --table      # into README.md

``tabular.markov`` and ``tabular.transformer``, one seed, on sequences of 5 to 11 rows of a known law: ``x`` depends on
its last value, ``state`` on its last state, and ``echo`` on what ``pulse``, which depends on nothing, was in the row
before.  The first two can be learnt from a column's own past; ``echo`` only from that of another column, which tables
of counts do not look at.  Below 10,000 rows the transformer is fitted with smaller batches, too, to tell too few steps
from too few rows.
"""

import argparse
import json
import os
from collections.abc import Sequence
from time import perf_counter, process_time

import common
import numpy as np
import pandas as pd
from common import Row

RESULTS = common.RESULTS / "sequences.jsonl"
ROWS = (1_000, 3_000, 5_000, 7_000, 10_000)
MARKOV, TRANSFORMER = "tabular.markov", "tabular.transformer"
STEPS = 20
"""Steps in a pass over the rows, where the batches are smaller than by default."""
MANY = 10_000
DRAWN = 20_000
STATES = "abc"
KEPT, NEXT = 0.9, 0.8
"""Correlation of ``x`` with its last value, and the probability that the state moves on."""


def table(rows: int, *, seed: int) -> pd.DataFrame:
    """Return at least so many rows: sequences ``of``, in the order of ``at``."""
    rng = np.random.default_rng(seed)
    lengths: list[int] = []
    while sum(lengths) < rows:
        lengths.append(int(rng.integers(5, 12)))
    parts = []
    for number, n in enumerate(lengths):
        x, pulse = rng.normal(size=(2, n))
        for i in range(1, n):
            x[i] = KEPT * x[i - 1] + np.sqrt(1 - KEPT**2) * x[i]
        moved = (rng.integers(len(STATES)) + np.cumsum(rng.random(n) < NEXT)) % len(STATES)
        told = np.concatenate([rng.normal(size=1), pulse[:-1]])
        columns = {"of": number, "at": np.arange(n), "x": x, "state": np.array(list(STATES))[moved]}
        parts.append(pd.DataFrame(columns | {"pulse": pulse, "echo": told + 0.3 * rng.normal(size=n)}))
    return pd.concat(parts, ignore_index=True)


def figures(rows: pd.DataFrame) -> dict[str, float]:
    """Return two correlations with the row before, and how far the law of the next state is from the true one.

    The distance is the mean over the states of the total variation.
    """
    rows = rows.sort_values(["of", "at"], kind="stable")
    past = rows.groupby("of")[["x", "state", "pulse"]].shift()
    has_past = past["x"].notna()
    now, past = rows[has_past], past[has_past]
    errors = []
    for place, state in enumerate(STATES):
        shares = now.loc[past["state"] == state, "state"].value_counts(normalize=True)
        law = {state: 1 - NEXT, STATES[(place + 1) % len(STATES)]: NEXT}
        errors.append(sum(abs(shares.get(one, 0.0) - law.get(one, 0.0)) for one in STATES) / 2)
    return {
        "autocorrelation": float(np.corrcoef(past["x"], now["x"])[0, 1]),
        "echo": float(np.corrcoef(past["pulse"], now["echo"])[0, 1]),
        "transition_error": float(np.mean(errors)),
    }


def run(sizes: Sequence[int]) -> None:
    """Fit, draw, and write the results anew."""
    import synth_components as synth

    facts = common.machine() | {"threads": int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0))))}
    found: list[Row] = []
    for size in sizes:
        train = table(size, seed=0)
        found.append({"what": "training rows", "rows": len(train)} | figures(train))
        fits: list[tuple[str, dict[str, int]]] = [(MARKOV, {}), (TRANSFORMER, {})]
        if size < MANY:
            fits.append((TRANSFORMER, {"batch_rows": size // STEPS}))
        for generator, options in fits:
            begun, spent = perf_counter(), process_time()
            asked = {"group": "of", "order_by": "at", **options}
            model = synth.fit(train, generator=generator, options=asked, seed=0)
            took = {"fit_s": perf_counter() - begun, "fit_cpu_s": process_time() - spent}
            made = figures(model.sample(DRAWN, seed=0))
            found.append({"what": generator, "options": options, "rows": len(train)} | made | took)
            common.say(json.dumps(found[-1]))
        common.write_rows(RESULTS, found)
    RESULTS.with_suffix(".machine.json").write_text(json.dumps(facts, indent=1) + "\n")


def lines(rows: Sequence[Row]) -> str:
    """Return the table."""
    header = ["rows", "what", "autocorrelation of `x`", "`echo` with `pulse`", "transition error", "fit, CPU s"]
    cells = []
    for row in rows:
        options = "".join(f", {name}={value}" for name, value in row.get("options", {}).items())
        what = f"`{row['what']}`{options}" if "fit_cpu_s" in row else row["what"]
        shown = [f"{row[name]:.3f}" for name in ("autocorrelation", "echo", "transition_error")]
        cells.append([f"{row['rows']:,}", what, *shown, f"{row['fit_cpu_s']:.1f}" if "fit_cpu_s" in row else ""])
    return common.markdown(header, cells)


def main() -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=lambda text: [int(n) for n in text.split(",")], default=list(ROWS))
    parser.add_argument("--table", action="store_true", help="write the table into README.md, and stop")
    arguments = parser.parse_args()
    if arguments.table:
        common.render("sequences", lines(common.read_rows(RESULTS)))
    else:
        run(arguments.rows)


if __name__ == "__main__":
    main()
