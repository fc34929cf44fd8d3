"""Score one variant of a generator on one table, seed 0, and keep every try: the log of a search for defaults.

    python benchmarks/variants.py shoppers tabular.autoregressive hidden=256 dropout=0.3
    python benchmarks/variants.py adult tabular.autoregressive --attack      on a third of the rows
    python benchmarks/variants.py adult tabular.diffusion --keep FOLDER      fits nothing if the model is there
    python benchmarks/variants.py --table                                    writes the table into benchmarks/README.md

Seconds are those of the processor, fit alone, with one thread: they can be taken on a busy machine.  Set
``OMP_NUM_THREADS=1``.  The scores are those of ``protocol.py``, as in ``flagship.py``, of one seed.
"""

import argparse
import json
from pathlib import Path
from time import process_time

import common
import datasets
import protocol
from common import Row, markdown

RESULTS = common.RESULTS / "variants.jsonl"
SECTIONS = {
    "variants": ("tabular.autoregressive",),
    "variants-deep": ("tabular.vae", "tabular.diffusion", "tabular.latent_diffusion"),
    "variants-gans": ("tabular.copula_gan",),
    "variants-classic": ("tabular.circuit", "tabular.bayesian_network", "tabular.mixture"),
}
"""The tables of README.md, and the generators that stand in each."""


def score(name: str, generator: str, options: Row, *, attack: bool, keep: Path | None = None) -> Row:
    """Return the scores of one variant.

    Args:
        keep: Folder of the fitted model, which is taken from there if it is; beside it stands what was fitted.
    """
    import synth_components as synth

    table = datasets.load(name)
    train, others, reference = protocol.thirds(table.train, 0) if attack else (table.train, None, None)
    row: Row = {"dataset": name, "generator": generator, "options": options}
    if keep is not None and keep.exists():
        held = json.loads(keep.with_suffix(".json").read_text())
        assert {key: held[key] for key in row} == row, "the model in the folder is another variant's"
        model, row = synth.load(keep), held
    else:
        start = process_time()
        model = synth.fit(train, generator=generator, seed=0, options=options or None)
        row["fit_cpu_s"] = process_time() - start
    if keep is not None and not keep.exists():
        model.save(keep)
        keep.with_suffix(".json").write_text(json.dumps(row))
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
    """Return the log as a Markdown table, in the order of the tries; without a column of one generator alone."""
    scores = ("c2st_xgb_train", "c2st_xgb_holdout", "shape", "pair_shared", "mia_auc", "mia_auc_isolated")
    is_one = len({row["generator"] for row in rows}) == 1
    header = [
        "table",
        *([] if is_one else ["generator"]),
        "options",
        "C2ST, train",
        "C2ST, holdout",
        "shape %",
        "pair %",
        "attack",
        "isolated",
        "fit, s",
    ]
    body = [
        [
            row["dataset"],
            *([] if is_one else [row["generator"]]),
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
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the model there, or take it from there")
    parser.add_argument("--table", action="store_true", help="write the table into README.md")
    arguments = parser.parse_args()
    if arguments.dataset:
        options = {key: json.loads(value) for key, _, value in (text.partition("=") for text in arguments.options)}
        row = score(arguments.dataset, arguments.generator, options, attack=arguments.attack, keep=arguments.keep)
        common.append_row(RESULTS, row)
        common.say(json.dumps(row))
    if arguments.table:
        rows = common.read_rows(RESULTS)
        for section, names in SECTIONS.items():
            common.render(section, table([row for row in rows if row["generator"] in names]))


if __name__ == "__main__":
    main()
