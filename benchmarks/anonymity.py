"""Recode Adult, k = 5, six quasi-identifiers, and say what that loses and takes.

    python benchmarks/anonymity.py        prints one row per demand, and keeps it in results/anonymity.jsonl

The quasi-identifiers are age, education, marital status, occupation, sex and native country; none has a declared
hierarchy.  ``cpu_s`` are seconds of one processor.
"""

from time import process_time

import common
import datasets

from synth_components.privacy.anonymity.classes import Sensitive, measure
from synth_components.privacy.anonymity.criteria import Criteria, Demand
from synth_components.privacy.anonymity.recoding import recode

QUASI_IDENTIFIERS = ("age", "education", "marital_status", "occupation", "sex", "native_country")
DEMANDS = {"k=5": {}, "k=5, l=2": {"diversity": 2.0}, "k=5, l=2, t=.2": {"diversity": 2.0, "closeness": 0.2}}


def main() -> None:
    """Recode and print."""
    table = datasets.load("adult").train
    rows = []
    for name, asked in DEMANDS.items():
        start = process_time()
        demands = [Demand("income", Sensitive.of(table["income"]), **asked)] if asked else []
        made = recode(table, QUASI_IDENTIFIERS, Criteria(5, demands))
        spent = process_time() - start
        found = measure(made.table, QUASI_IDENTIFIERS, ("income",))
        rows.append({"demand": name, "k": found.k, "classes": found.classes, "cpu_s": spent} | made.loss.to_json())
        common.say(f"{name}: {rows[-1]}")
    common.write_rows(common.RESULTS / "anonymity.jsonl", rows)


if __name__ == "__main__":
    main()
