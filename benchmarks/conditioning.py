"""How far rows that are drawn for a condition follow the law that the same model draws without one.

    python benchmarks/conditioning.py
    python benchmarks/conditioning.py --table      # into README.md

A table of a known law: two categorical columns, a number with zeros and nulls, and a whole number, all about one hidden
group.  Each model draws 200,000 rows without a condition and 20,000 for each of some conditions; of every column that a
condition does not name, the shares of its categories, or of the quarters of its numbers, of zero and of null, are
compared: with those of the rows without a condition that meet it, and with those of a million rows of the law.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from time import process_time
from typing import Any

import common
import numpy as np
import pandas as pd
from common import Row

RESULTS = common.RESULTS / "conditioning.jsonl"
GENERATORS = ("tabular.circuit", "tabular.bayesian_network", "tabular.autoregressive")
ROWS, FREE, GIVEN, TRUE = 3_000, 200_000, 20_000, 1_000_000
CONDITIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("b = y", {"b": "y"}),
    ("num = 0, b = z", {"num": 0.0, "b": "z"}),
    ("num null", {"num": None}),
    ("num in 3 to 6", {"num": (3.0, 6.0)}),
    ("k in 0 to 30", {"k": (0, 30)}),
    ("a in p, q and k in 0 to 30", {"a": ["p", "q"], "k": (0, 30)}),
)


def table(rows: int, *, seed: int) -> pd.DataFrame:
    """Return rows of the law."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 4, rows)
    number = np.where(rng.random(rows) < 0.2, 0.0, rng.normal(2.0 * group, 1))
    return pd.DataFrame(
        {
            "a": np.array(list("pqrs"))[group],
            "b": np.array(list("xyz"))[(group + (rng.random(rows) < 0.3)) % 3],
            "num": np.where(rng.random(rows) < 0.15, np.nan, number),
            "k": rng.integers(0, 50, rows) + 10 * group,
        }
    )


def met(rows: pd.DataFrame, asked: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows that meet a condition."""
    held = np.ones(len(rows), dtype=bool)
    for name, wish in asked.items():
        values = rows[name]
        if wish is None:
            held &= values.isna().to_numpy()
        elif isinstance(wish, tuple):
            held &= values.between(*wish).to_numpy()
        else:
            held &= values.isin(wish if isinstance(wish, list) else [wish]).to_numpy()
    return rows[held]


def shares(rows: pd.DataFrame, asked: Mapping[str, Any], cuts: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the shares of what the columns hold that a condition does not name."""
    made: dict[str, float] = {}
    for name in rows.columns.difference(list(asked)):
        values = rows[name]
        if name in cuts:
            kinds = np.where(values.isna(), -1, np.where(values == 0, -2, np.searchsorted(cuts[name], values)))
            made |= {f"{name} {kind}": float((kinds == kind).mean()) for kind in range(-2, len(cuts[name]) + 1)}
        else:
            made |= {f"{name} {kind}": float((values == kind).mean()) for kind in sorted(set("pqrsxyz"))}
    return made


def run() -> None:
    """Fit, draw, and write the results anew."""
    import synth_components as synth

    train, law = table(ROWS, seed=0), table(TRUE, seed=1)
    cuts = {name: [float(law[name].quantile(q)) for q in (0.25, 0.5, 0.75)] for name in ("num", "k")}
    found: list[Row] = []
    for generator in GENERATORS:
        begun = process_time()
        model = synth.fit(train, generator=generator, seed=0)
        spent = process_time() - begun
        free = model.sample(FREE, seed=0)
        for told, asked in CONDITIONS:
            given = model.sample(GIVEN, seed=1, conditions=asked)
            alike = met(free, asked)
            ours, own, true = (shares(part, asked, cuts) for part in (given, alike, met(law, asked)))
            row: Row = {"generator": generator, "condition": told, "fit_cpu_s": spent, "rows_alike": len(alike)}
            row["met"] = len(met(given, asked)) / len(given)
            for what, one, other in (("own", ours, own), ("true", ours, true), ("free_true", own, true)):
                gaps = [abs(one[key] - other[key]) for key in one if max(one[key], other[key]) > 0]
                row |= {f"{what}_mean": float(np.mean(gaps)), f"{what}_largest": float(np.max(gaps))}
            found.append(row)
            common.say(json.dumps(row))
        common.write_rows(RESULTS, found)
    RESULTS.with_suffix(".machine.json").write_text(json.dumps(common.machine(), indent=1) + "\n")


def lines(rows: Sequence[Row]) -> str:
    """Return the table."""
    whats = ("own_mean", "own_largest", "true_mean", "true_largest", "free_true_mean", "free_true_largest")
    header = ["generator", "condition", "met"]
    header += [
        f"{of}, {how}" for of in ("from its own", "from the law", "its own from the law") for how in ("mean", "largest")
    ]
    cells = [
        [f"`{row['generator']}`", row["condition"], f"{row['met']:.3f}", *[f"{row[what]:.3f}" for what in whats]]
        for row in rows
    ]
    return common.markdown(header, cells)


def main() -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="write the table into README.md, and stop")
    if parser.parse_args().table:
        common.render("conditioning", lines(common.read_rows(RESULTS)))
    else:
        run()


if __name__ == "__main__":
    main()
