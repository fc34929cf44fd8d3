"""Score one variant of a generator on one table, seed 0, and keep every try: the log of a search for defaults.

    python benchmarks/variants.py shoppers tabular.autoregressive hidden=256 dropout=0.3
    python benchmarks/variants.py adult tabular.autoregressive --attack      on a third of the rows
    python benchmarks/variants.py --table                                    writes the table into benchmarks/README.md

Seconds are those of the processor, fit alone, with one thread: they can be taken on a busy machine.  Set
``OMP_NUM_THREADS=1``.  The scores are those of ``protocol.py``, as in ``flagship.py``, of one seed.
"""

import argparse
import json
from time import process_time

import common
import datasets
import protocol
from common import Row, markdown

RESULTS = common.RESULTS / "variants.jsonl"


def score(name: str, generator: str, options: Row, *, attack: bool) -> Row:
    """Return the scores of one variant."""
    import synth_components as synth

    table = datasets.load(name)
    train, others, reference = protocol.thirds(table.train, 0) if attack else (table.train, None, None)
    start = process_time()
    model = synth.fit(train, generator=generator, seed=0, options=options or None)
    row: Row = {"dataset": name, "generator": generator, "options": options, "fit_cpu_s": process_time() - start}
    synthetic = table.conform(model.sample(len(train), seed=1))
    if attack:
        found = protocol.membership(train, others, reference, synthetic, table.categorical)
        return row | {"mia_auc": found["auc"], "mia_auc_isolated": found["auc_isolated"]}
    return row | {
        "c2st_xgb_train": protocol.c2st(table.train, synthetic, learner="xgboost", seed=0, threads=1),
        "c2st_xgb_holdout": protocol.c2st_holdout(table.test, synthetic, learner="xgboost", seed=0, threads=1),
        "shape": protocol.shape_error(table.train, synthetic, table.categorical),
        "pair_shared": protocol.pair_error(table.train, synthetic, table.categorical, bins="shared"),
    }


def table(rows: list[Row]) -> str:
    """Return the log as a Markdown table, in the order of the tries."""
    scores = ("c2st_xgb_train", "c2st_xgb_holdout", "shape", "pair_shared", "mia_auc", "mia_auc_isolated")
    header = ["table", "options", "C2ST, train", "C2ST, holdout", "shape %", "pair %", "attack", "isolated", "fit, s"]
    body = [
        [
            row["dataset"],
            row.get("note") or ", ".join(f"{key}={value}" for key, value in row["options"].items()) or "defaults",
            *(f"{row[key]:.3f}" if key in row else "" for key in scores),
            f"{row['fit_cpu_s']:.0f}",
        ]
        for row in rows
    ]
    return markdown(header, body)


def main() -> None:
    """Score the chosen variant, or write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", nargs="?", choices=datasets.NAMES)
    parser.add_argument("generator", nargs="?", default="tabular.autoregressive")
    parser.add_argument("options", nargs="*", metavar="OPTION=VALUE")
    parser.add_argument("--attack", action="store_true", help="fit on a third of the rows, and attack the others")
    parser.add_argument("--table", action="store_true", help="write the table into README.md")
    arguments = parser.parse_args()
    if arguments.dataset:
        options = {key: json.loads(value) for key, _, value in (text.partition("=") for text in arguments.options)}
        row = score(arguments.dataset, arguments.generator, options, attack=arguments.attack)
        common.append_row(RESULTS, row)
        common.say(json.dumps(row))
    if arguments.table:
        common.render("variants", table(common.read_rows(RESULTS)))


if __name__ == "__main__":
    main()
