"""Recode Adult, k = 5, six quasi-identifiers, and say what that loses and takes.

    python benchmarks/anonymity.py        prints one row per demand, and keeps it in results/anonymity.jsonl
    benchmarks/anonymity_peer.sh          adds anjana's, from an environment of its own; run it after the other

Two sets of six: ``occupation`` has age, education, marital status, occupation, sex and native country, ``race`` has
race in place of occupation.  None has a declared hierarchy.  ``cpu_s`` are seconds of one processor, ``wall_s`` those
of the clock, ``load`` the mean number of processes that wanted to run in the minute before.
"""

import argparse
import os
from pathlib import Path
from time import perf_counter, process_time

import common
import datasets
import pandas as pd

from synth_components.privacy.anonymity.classes import Sensitive, measure
from synth_components.privacy.anonymity.criteria import Criteria, Demand
from synth_components.privacy.anonymity.recoding import recode

OCCUPATION = ("age", "education", "marital_status", "occupation", "sex", "native_country")
RACE = ("age", "race", "sex", "marital_status", "native_country", "education")
STRICT = {"diversity": 2.0, "closeness": 0.2}
CASES = (
    ("occupation", OCCUPATION, "k=5", {}),
    ("race", RACE, "k=5", {}),
    ("occupation", OCCUPATION, "k=5, l=2", {"diversity": 2.0}),
    ("occupation", OCCUPATION, "k=5, l=2, t=.2", STRICT),
)
TARGET = {"discernibility_per_row": 12.0, "suppressed_share": 0.0, "wall_s": 1.0}
"""Of k = 5 alone."""

RESULTS = common.RESULTS / "anonymity.jsonl"


def main() -> None:
    """Recode and print, or write the table that the peer reads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="write the rows of Adult here as CSV, for the peer, and stop")
    path = parser.parse_args().write
    table = datasets.load("adult").train
    if path is not None:
        table[list(dict.fromkeys(OCCUPATION + RACE))].to_csv(path, index=False)
        return
    rows = [_measured(table, *case) for case in CASES]
    common.write_rows(RESULTS, rows)


def _measured(
    table: pd.DataFrame, columns: str, names: tuple[str, ...], demand: str, asked: dict[str, float]
) -> common.Row:
    load, wall, start = os.getloadavg()[0], perf_counter(), process_time()
    demands = [Demand("income", Sensitive.of(table["income"]), **asked)] if asked else []
    made = recode(table, names, Criteria(5, demands))
    spent = {"cpu_s": process_time() - start, "wall_s": perf_counter() - wall, "load": load}
    found = measure(made.table, names, ("income",))
    row = {"by": "ours", "columns": columns, "demand": demand, "k": found.k, "classes": found.classes}
    sizes = table.groupby(list(names), observed=True).size()
    row |= {"before": float((sizes**2).sum()) / len(table)} | made.loss.to_json() | spent
    if not asked:
        missed = [name for name, most in TARGET.items() if row[name] > most]
        row["target"] = f"**miss**: {', '.join(missed)}" if missed else "pass"
    common.say(str(row))
    return row


if __name__ == "__main__":
    main()
