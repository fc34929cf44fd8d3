"""Attack the flagship on Adult, Default and Magic, between a control that must be caught and one that must pass.

    python benchmarks/attacks.py               every cell that is not there yet, then the table of README.md
    python benchmarks/attacks.py --render      the table alone
    python benchmarks/attacks.py --releases peer.argn,peer.tvae,peer.ctgan --seeds 0   the same attacks on the peers

Of each table three disjoint thirds of at most 8,000 rows are drawn: members, holdout and fresh rows
(``protocol.thirds``, as for the attack of ``flagship.py``).  The flagship is fitted on the members with its defaults
and draws as many rows.  ``copies`` releases the members themselves, ``fresh`` real rows that nobody was trained on.
``whole`` is the flagship on two thirds of a table against the other third: Adult as published (32,561 and 16,281 rows),
the others drawn anew for each seed (20,000 and 10,000; 12,679 and 6,340).  Any other generator of ours, and any peer
(``peers.py``, in the environment of ``peers.sh``), can be released the same way.  The attacks are
those of ``synth evaluate-privacy`` with its defaults.  Scores do not depend on the load of the machine; ``cpu_s`` are
seconds of one processor for all attacks and smoke tests.
"""

import argparse
from pathlib import Path
from time import process_time

import common
import datasets
import flagship
import numpy as np
import pandas as pd
import protocol
from common import Row, markdown

import synth_components as synth
from synth_components.evaluation import PrivacyConfig, evaluate
from synth_components.profile import profile

RESULTS = common.RESULTS / "attacks.jsonl"
TABLES = ("adult", "default", "magic")
FLAGSHIP, WHOLE = "tabular.trees", "whole"
RELEASES = (FLAGSHIP, "copies", "fresh")
SEEDS = (0, 1, 2)
QUASI_IDENTIFIERS = {
    "adult": ("age", "race", "sex", "marital_status", "native_country", "education"),
    "default": ("SEX", "EDUCATION", "MARRIAGE", "AGE"),
    "magic": (),
}
SHOWN = {
    "membership AUC": "privacy.membership.auc",
    "of chance": "floor of privacy.membership.auc",
    "TPR at 1 % FPR": "privacy.membership.tpr_at_1_in_100",
    "TPR at .1 % FPR": "privacy.membership.tpr_at_1_in_1000",
    "AUC, isolated": "privacy.membership.isolated.auc",
    "attribute advantage": "privacy.attribute.advantage",
    "attribute risk": "privacy.attribute.risk",
    "singling out": "privacy.singling_out.multivariate.risk",
    "linkability": "privacy.linkability.risk",
    "re-identification": "privacy.reidentification.risk",
    "inversion": "privacy.inversion.risk",
    "privacy risk": "privacy.risk",
    "CPU s": "cpu_s",
}
TARGETS = {
    "privacy.membership.auc": 0.52,
    "privacy.membership.tpr_at_1_in_100": 0.015,
    "privacy.attribute.advantage": 0.02,
}


def cell(name: str, release: str, seed: int, arguments: argparse.Namespace) -> Row:
    """Return the scores of one release of one table."""
    table = datasets.load(name)
    members, holdout, fresh = protocol.thirds(table.train, seed)
    if release == WHOLE:
        members, holdout = whole(table, seed)
    schema = profile(members).schema
    if release == "copies":
        drawn = members
    elif release == "fresh":
        drawn = fresh
    elif release.startswith("peer."):
        drawn = of_peer(table, release, seed, arguments)
    else:
        generator = FLAGSHIP if release == WHOLE else release
        drawn = synth.fit(members, generator=generator, seed=seed, schema=schema).sample(len(members), seed=seed)
    known = {column.lower(): column for column in members.columns}
    given = tuple(known[column.lower()] for column in QUASI_IDENTIFIERS[name] if column.lower() in known)
    config = PrivacyConfig(seed=seed, quasi_identifiers=given, inverted=table.target)
    start = process_time()
    report = evaluate(members, holdout, drawn, schema=schema, config=config)
    spent = process_time() - start
    found = {score.name: score for score in report.scores if not score.subject}
    values = {score: one.value for score, one in found.items()}
    values["floor of privacy.membership.auc"] = found["privacy.membership.auc"].floor
    values["cpu_s"] = spent
    attacks = report.tables["privacy.membership"].to_dict("records")
    return {
        "dataset": name,
        "release": release,
        "seed": seed,
        "rows": len(members),
        "digest": common.code_digest(),
        "values": values,
        "attacks": {row["attack"]: row["auc"] for row in attacks},
    }


def whole(table: datasets.Table, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return two thirds of the rows and the other third, as published if that is how the table was."""
    if len(table.test) * 2 >= len(table.train):
        return table.train, table.test
    everything = pd.concat([table.train, table.test], ignore_index=True)
    order = np.random.default_rng([seed, 4]).permutation(len(everything))
    first = 2 * len(everything) // 3
    members, holdout = (everything.iloc[rows].reset_index(drop=True) for rows in (order[:first], order[first:]))
    return members, holdout


def of_peer(table: datasets.Table, release: str, seed: int, arguments: argparse.Namespace) -> pd.DataFrame:
    """Return what a peer draws that was fitted on the members."""
    job = flagship.Job(table.name, release, seed, ("mia",), "{}", "")
    status = flagship.sample(job, flagship.PARTS["mia"], table, arguments)
    if status["status"] != "ok":
        raise SystemExit(f"{release} on {table.name}: {status['status']} {status.get('note', '')}")
    common.say(f"{release} on {table.name}: {status['fit_seconds']:.0f} s {status['note']}")
    return table.conform(pd.read_parquet(job.folder / flagship.PARTS["mia"] / "sample.parquet"))


def table(rows: list[Row]) -> str:
    """Return the scores as Markdown: the mean over seeds by table and release, and the verdicts on the targets."""
    body = []
    for name in TABLES:
        told = {row["release"] for row in rows}
        for release in (*RELEASES, WHOLE, *sorted(told - {*RELEASES, WHOLE})):
            cells = [row["values"] for row in rows if (row["dataset"], row["release"]) == (name, release)]
            if cells:
                body.append([f"{name}, `{release}`", *(_mean(cells, score) for score in SHOWN.values())])
    verdicts = []
    for score, most in TARGETS.items():
        told = [f"`{score}`, at most {most:g}"]
        for name in TABLES:
            cells = [row["values"] for row in rows if (row["dataset"], row["release"]) == (name, FLAGSHIP)]
            found = [values[score] for values in cells if score in values]
            mean = sum(found) / len(found) if found else float("nan")
            told.append(f"{mean:.3f} {'pass' if mean <= most else '**miss**'}" if found else "")
        verdicts.append(told)
    parts = [markdown(["target, flagship defaults", *TABLES], verdicts), markdown(["table, release", *SHOWN], body)]
    return "\n\n".join(parts)


def _mean(cells: list[Row], score: str) -> str:
    found = [values[score] for values in cells if score in values]
    return f"{sum(found) / len(found):.3f}" if found else ""


def main() -> None:
    """Run what is missing, then draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--render", action="store_true", help="write the table alone")
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=list(SEEDS))
    parser.add_argument("--tables", type=lambda text: text.split(","), default=list(TABLES))
    parser.add_argument("--releases", type=lambda text: text.split(","), default=[*RELEASES, WHOLE])
    parser.add_argument("--cap", type=float, default=300.0, help="seconds that the training of a peer may take")
    parser.add_argument("--clock", choices=flagship.CLOCKS, default=flagship.CLOCKS[0], help="whose seconds they are")
    parser.add_argument("--threads", type=int, default=1, help="of a peer")
    parser.add_argument("--peers", type=Path, default=common.HERE / ".venv-peers", help="the environment of peers.sh")
    arguments = parser.parse_args()
    rows = common.read_rows(RESULTS)
    done = {(row["dataset"], row["release"], row["seed"]) for row in rows if row["digest"] == common.code_digest()}
    for seed in [] if arguments.render else arguments.seeds:
        for name in arguments.tables:
            for release in arguments.releases:
                if (name, release, seed) not in done:
                    row = cell(name, release, seed, arguments)
                    common.append_row(RESULTS, row)
                    auc, risk = (row["values"][one] for one in ("privacy.membership.auc", "privacy.risk"))
                    common.say(
                        f"{name} {release} {seed}: AUC {auc:.3f}, risk {risk:.3f}, {row['values']['cpu_s']:.0f} s"
                    )
    latest = {(row["dataset"], row["release"], row["seed"]): row for row in common.read_rows(RESULTS)}
    common.render("attacks", table(list(latest.values())))


if __name__ == "__main__":
    main()
