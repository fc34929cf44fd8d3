"""The main benchmark: generators x tables x seeds, scored by ``protocol.py``, one JSON line per cell.

    python benchmarks/flagship.py                                 ours and the real rows, five tables and seeds
    python benchmarks/flagship.py --generators peers --seeds 0 --measures fidelity,utility
    python benchmarks/flagship.py --estimate                      how long the chosen cells will take
    python benchmarks/flagship.py --table                         writes the tables into benchmarks/README.md

A cell is (table, generator, seed, measure). Finished cells of the same code are skipped, so a stopped run goes on
where it was. Fits run one at a time, each in a process of its own with a time cap; scoring is a second process.

Measures, and what they are fitted on:
    fidelity   the training table: detection, shape, pairs, NMI, alpha/beta, copies, and the timings
    utility    the same sample: TSTR
    dcr        half of the training table; the other half is the rows never seen
    mia        a third of it (at most 8,000 rows); the other thirds are non-members and reference
    card       the same sample as fidelity: the acceptance card of ``synth.evaluate`` (ours only)

Generators: names of ours (``tabular.trees``), ``peer.NAME``, ``control.shuffled``, ``control.bootstrap``, a path to a
file outside the repository, ``real`` (floors, ceilings and the attack on released members); ``ours``, ``peers``,
``controls`` stand for all of a kind.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import common
import datasets
import pandas as pd
import peers
import protocol
from common import Row

RESULTS = common.RESULTS / "flagship.jsonl"
MEASURES = ("fidelity", "utility", "dcr", "mia", "card")
PARTS = {"fidelity": "full", "utility": "full", "card": "full", "dcr": "half", "mia": "third"}
KINDS = {
    "ours": ("tabular.trees",),
    "peers": tuple(f"peer.{name}" for name in peers.PEERS),
    "controls": ("control.shuffled", "control.bootstrap"),
}
CLOCKS = ("wall", "processor")
SCORE_CAP = 1_800
# Seconds of a quiet two-core machine, for the estimate where no earlier row tells: fit and draw, then scoring.
GUESS = {"fidelity": 7.0, "utility": 12.0, "dcr": 6.0, "mia": 3.0, "card": 15.0}
GUESS_FIT = 9.0


@dataclass(frozen=True)
class Job:
    """One generator on one table with one seed, and the measures still to take."""

    dataset: str
    generator: str
    seed: int
    measures: tuple[str, ...]
    options: str
    code: str

    @property
    def name(self) -> str:
        """The generator with its options, as in rows and tables."""
        shown = ",".join(f"{key}={value}" for key, value in sorted(json.loads(self.options).items()))
        stem = Path(self.generator).stem if self.generator.endswith(".py") else self.generator
        return f"{stem}({shown})" if shown else stem

    @property
    def folder(self) -> Path:
        """Where this job's samples lie."""
        return common.CACHE / self.dataset / f"{self.name}-{self.code}" / str(self.seed)

    def key(self, measure: str) -> tuple[str, ...]:
        """What makes a cell the same cell."""
        return (self.dataset, self.name, str(self.seed), measure, self.code)


def key(row: Row) -> tuple[str, ...]:
    """Return the key of the cell that a row reports."""
    return (row["dataset"], row["generator"], str(row["seed"]), row["measure"], row["code"])


def jobs(arguments: argparse.Namespace, done: set[tuple[str, ...]]) -> list[Job]:
    """Return the chosen jobs with the measures that no finished row has; one table and seed after the other."""
    generators = [g for name in arguments.generators for g in KINDS.get(name, (name,))]
    digest = common.code_digest()
    out = []
    for seed in arguments.seeds:
        for dataset in arguments.datasets:
            for generator in generators:
                job = Job(dataset, generator, seed, (), arguments.options, _code(generator, digest))
                wanted = [m for m in arguments.measures if _applies(m, generator) and job.key(m) not in done]
                if wanted:
                    out.append(replace(job, measures=tuple(wanted)))
    return out


def _code(generator: str, digest: str) -> str:
    kind = generator.partition(".")[0]
    return "" if kind in ("peer", "control", "real") or generator.endswith(".py") else digest


def _applies(measure: str, generator: str) -> bool:
    if generator == "real":
        return measure in ("fidelity", "utility", "mia")
    return measure != "card" or _code(generator, "ours") == "ours"


def sample(job: Job, part: str, table: datasets.Table, arguments: argparse.Namespace) -> Row:
    """Fit and draw in a process of its own, unless the sample is there; return how it went."""
    folder = job.folder / part
    status = folder / "status.json"
    earlier: Row = json.loads(status.read_text()) if status.exists() else {}
    if earlier.get("status") == "ok":
        return earlier
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    train = fitted_on(table, part, job.seed)
    train.to_parquet(folder / "train.parquet", index=False)
    request = {
        "n": len(train),
        "seed": job.seed,
        "categorical": list(table.categorical),
        "target": table.target,
        "task": table.task,
        "cap": arguments.cap,
        "clock": arguments.clock,
        "options": json.loads(job.options),
    }
    (folder / "request.json").write_text(json.dumps(request))
    python = sys.executable if not job.generator.startswith("peer.") else str(arguments.peers / "bin" / "python")
    command = [python, "-P", str(common.HERE / "generate.py"), job.generator, str(folder)]
    child = common.run_child(command, cap=grace(arguments.cap), threads=arguments.threads, clock=arguments.clock)
    row: Row = {"seconds": child.seconds, "cpu_seconds": child.cpu_seconds, "peak_mib": child.peak_mib}
    row |= {"cap": arguments.cap, "clock": arguments.clock}
    if child.code == 0:
        row |= {"status": "ok"} | json.loads((folder / "report.json").read_text())
    else:
        row |= {"status": "cap reached" if child.code is None else "error", "note": _last_line(child.error)}
    status.write_text(json.dumps(row))
    return row


def grace(cap: float) -> float:
    """Return when a process is stopped whose training may take ``cap``: it also imports, sets up and draws."""
    return 1.2 * cap + 60


def fitted_on(table: datasets.Table, part: str, seed: int) -> pd.DataFrame:
    """Return the rows that a part's generator is fitted on."""
    if part == "half":
        return protocol.halves(table.train, seed)[0]
    return protocol.thirds(table.train, seed)[0] if part == "third" else table.train


def _last_line(error: str) -> str:
    """Return the last line of a traceback: what went wrong, without this machine's paths."""
    lines = [line for line in error.splitlines() if line.strip()]
    return lines[-1][:200] if lines and "/" not in lines[-1] else "failed"


def score(job: Job, threads: int) -> list[Row]:
    """Return one row of values per measure of a job whose samples lie in its folder."""
    table = datasets.load(job.dataset)
    rows = []
    for measure in job.measures:
        start = perf_counter()
        if job.generator == "real":
            values = real_scores(table, measure, job.seed, threads)
        else:
            synthetic = table.conform(pd.read_parquet(job.folder / PARTS[measure] / "sample.parquet"))
            values = scores(table, measure, synthetic, job.seed, threads)
        rows.append({"measure": measure, "values": values, "score_seconds": perf_counter() - start})
    return rows


def scores(table: datasets.Table, measure: str, synthetic: pd.DataFrame, seed: int, threads: int) -> dict[str, Any]:
    """Return the values of one measure for one sample."""
    kinds = table.categorical
    if measure == "fidelity":
        out: dict[str, Any] = {
            "shape": protocol.shape_error(table.train, synthetic, kinds),
            "pair_own": protocol.pair_error(table.train, synthetic, kinds, bins="own"),
            "pair_shared": protocol.pair_error(table.train, synthetic, kinds, bins="shared"),
            "wnmi": protocol.wnmi_error(table.train, synthetic, kinds),
        }
        learners: tuple[tuple[str, protocol.Learner], ...] = (("xgb", "xgboost"), ("lr", "logistic"))
        for name, learner in learners:
            out[f"c2st_{name}_train"] = protocol.c2st(
                table.train, synthetic, learner=learner, seed=seed, threads=threads
            )
            if learner == "xgboost":
                few = table.train.sample(min(len(table.test), len(table.train)), random_state=seed)
                out["c2st_xgb_few"] = protocol.c2st_holdout(few, synthetic, learner=learner, seed=seed, threads=threads)
            out[f"c2st_{name}_holdout"] = protocol.c2st_holdout(
                table.test, synthetic, learner=learner, seed=seed, threads=threads
            )
        pair = protocol.alpha_precision_beta_recall(table.train, synthetic, kinds, seed=seed)
        out["alpha_precision"], out["beta_recall"] = pair
        return out | {f"copies_{k}": v for k, v in protocol.copies(synthetic, table.train, table.test).items()}
    if measure == "utility":
        return utilities(table, synthetic, seed, threads)
    if measure == "dcr":
        members, others = protocol.halves(table.train, seed)
        return {f"dcr_{k}": v for k, v in protocol.dcr_share(synthetic, members, others, kinds).items()}
    if measure == "mia":
        return {
            f"mia_{k}": v for k, v in protocol.membership(*protocol.thirds(table.train, seed), synthetic, kinds).items()
        }
    return card(table, synthetic, seed)


def real_scores(table: datasets.Table, measure: str, seed: int, threads: int) -> dict[str, Any]:
    """Return what real rows score: floors, ceilings, and the attack on a release of the members themselves."""
    if measure == "fidelity":
        return protocol.floors(table.train, table.test, table.categorical, seed=seed, threads=threads)
    if measure == "utility":
        return utilities(table, table.train, seed, threads)
    members, others, reference = protocol.thirds(table.train, seed)
    found = protocol.membership(members, others, reference, members, table.categorical)
    return {f"mia_{name}": value for name, value in found.items()}


def utilities(table: datasets.Table, train: pd.DataFrame, seed: int, threads: int) -> dict[str, Any]:
    """Return the score on the test rows of XGBoost trained on ``train``, corrected and as published."""
    found = protocol.utility(train, table.test, table.categorical, table.target, table.task, seed=seed, threads=threads)
    return {"tstr": found.score, "tstr_best": found.best, "tstr_published": found.published}


def card(table: datasets.Table, synthetic: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Return the acceptance card of our own evaluation, and its overall score."""
    import synth_components as synth
    from synth_components.evaluation import EvaluateConfig

    config = EvaluateConfig(seed=seed, global_utility=False)
    report = synth.evaluate(table.train, table.test, synthetic, target=table.target, config=config)
    return {"card": [asdict(verdict) for verdict in report.card]}


def run(arguments: argparse.Namespace) -> None:
    """Take every chosen cell that is not there."""
    path = arguments.results
    done = {key(row) for row in common.read_rows(path) if row["status"] != "error"}
    todo = jobs(arguments, done)
    common.say(f"{sum(len(job.measures) for job in todo)} cells; {estimate(todo, path, arguments.cap)}")
    if arguments.estimate or not todo:
        return
    facts = common.machine()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".machine.json").write_text(json.dumps(facts | {"threads": arguments.threads}, indent=1) + "\n")
    for number, job in enumerate(todo, 1):
        start = perf_counter()
        for row in take(job, arguments):
            shared = {"dataset": job.dataset, "generator": job.name, "seed": job.seed, "code": job.code}
            common.append_row(path, shared | {"threads": arguments.threads, "commit": facts["commit"]} | row)
        seconds = perf_counter() - start
        common.say(f"[{number}/{len(todo)}] {job.dataset} {job.name} seed {job.seed}: {seconds:.0f} s")


def take(job: Job, arguments: argparse.Namespace) -> list[Row]:
    """Fit what the job's measures need, score what was drawn, and return one row per measure."""
    table = datasets.load(job.dataset)
    parts = dict.fromkeys(PARTS[m] for m in job.measures) if job.generator != "real" else {}
    drawn = {part: sample(job, part, table, arguments) for part in parts}
    rows = [
        {"measure": m, "status": drawn[PARTS[m]]["status"], "values": {}, "generation": drawn[PARTS[m]]}
        for m in job.measures
        if PARTS[m] in drawn and drawn[PARTS[m]]["status"] != "ok"
    ]
    ready = tuple(m for m in job.measures if m not in {row["measure"] for row in rows})
    if not ready:
        return rows
    out = job.folder / "scores.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    request = json.dumps(vars(replace(job, measures=ready)))
    command = [
        sys.executable,
        str(Path(__file__)),
        "--score",
        request,
        "--out",
        str(out),
        "--threads",
        str(arguments.threads),
    ]
    child = common.run_child(command, cap=SCORE_CAP, threads=arguments.threads)
    if child.code != 0:
        status = "scoring cap reached" if child.code is None else "error"
        return rows + [{"measure": m, "status": status, "values": {}, "note": _last_line(child.error)} for m in ready]
    for row in json.loads(out.read_text()):
        generation = {"generation": drawn[PARTS[row["measure"]]]} if PARTS[row["measure"]] in drawn else {}
        rows.append(row | {"status": "ok"} | generation)
    if not arguments.keep:
        shutil.rmtree(job.folder, ignore_errors=True)
    return rows


def estimate(todo: Sequence[Job], path: Path, cap: float) -> str:
    """Return how long the jobs will take, from earlier rows of the same cells; new peers take the cap."""
    seen: dict[tuple[str, str, str, str], list[float]] = {}
    for row in common.read_rows(path):
        cell = (row["dataset"], row["generator"], row["measure"])
        seen.setdefault((*cell, "score"), []).append(row.get("score_seconds", 0.0))
        seen.setdefault((*cell, "fit"), []).append(row.get("generation", {}).get("seconds", 0.0))
    total, known = 0.0, 0
    for job in todo:
        parts: set[str] = set()
        total += 3  # start of the scoring process
        for measure in job.measures:
            earlier = seen.get((job.dataset, job.name, measure, "score"))
            total += mean(earlier) if earlier else GUESS[measure]
            known += bool(earlier)
            if job.generator != "real" and PARTS[measure] not in parts:
                parts.add(PARTS[measure])
                fits = seen.get((job.dataset, job.name, measure, "fit"))
                total += mean(fits) if fits else cap if job.generator.startswith("peer.") else GUESS_FIT
    cells = sum(len(job.measures) for job in todo)
    return f"about {total / 60:.0f} minutes ({known} of {cells} cells by earlier rows, the rest by guess)"


def main() -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--datasets", type=_names, default=list(datasets.NAMES))
    add("--generators", type=_names, default=["ours", "real"])
    add("--seeds", type=_seeds, default=[0, 1, 2, 3, 4], help="0-4 or 0,1,2")
    add("--measures", type=_names, default=list(MEASURES[:4]))
    add("--options", default="{}", help="JSON map of options for every chosen generator")
    add("--cap", type=float, default=300.0, help="seconds that one training may take")
    add("--clock", choices=CLOCKS, default=CLOCKS[0], help="whose seconds the cap counts; processor: beside other work")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--peers", type=Path, default=common.HERE / ".venv-peers", help="the environment of peers.sh")
    add("--results", type=Path, default=RESULTS)
    add("--keep", action="store_true", help="keep the samples under benchmarks/.cache")
    add("--estimate", action="store_true", help="say how long it will take, and stop")
    add("--table", action="store_true", help="write the tables into README.md, and stop")
    add("--score", help=argparse.SUPPRESS)
    add("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.score:
        request = json.loads(arguments.score)
        job = Job(**request | {"measures": tuple(request["measures"])})
        arguments.out.write_text(json.dumps(score(job, arguments.threads)))
    elif arguments.table:
        import render

        render.flagship(arguments.results)
    else:
        unknown = set(arguments.measures) - set(MEASURES) | set(arguments.datasets) - set(datasets.NAMES)
        if unknown:
            parser.error(f"unknown: {', '.join(sorted(unknown))}; measures {MEASURES}, datasets {datasets.NAMES}")
        run(arguments)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _seeds(text: str) -> list[int]:
    low, dash, high = text.partition("-")
    return list(range(int(low), int(high) + 1)) if dash else [int(seed) for seed in text.split(",")]


if __name__ == "__main__":
    main()
