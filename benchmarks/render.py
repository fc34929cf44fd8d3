"""Turn the rows of ``results/`` into the tables of ``README.md``.

python benchmarks/render.py          all sections whose results are there
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import common
import datasets
from common import Row, markdown

MAIN = "tabular.trees"
Cells = dict[tuple[str, str], dict[str, list[float]]]  # (dataset, generator) -> score name -> a value per seed


@dataclass(frozen=True)
class Target:
    """A figure to reach: a score of the main generator against a threshold that may depend on the real rows' scores."""

    label: str
    score: str
    relation: str
    threshold: Callable[[str, Mapping[str, float], Mapping[str, float]], float | None]

    def verdict(self, dataset: str, own: Mapping[str, float], real: Mapping[str, float]) -> str:
        """Return value, threshold and verdict as one cell."""
        bound = self.threshold(dataset, own, real)
        if self.score not in own or bound is None:
            return ""
        value = own[self.score]
        passed = value >= bound if self.relation == ">=" else value <= bound
        return f"{number(value)} {self.relation} {number(bound)} {'pass' if passed else '**miss**'}"


C2ST = {"adult": 0.95, "default": 0.80, "shoppers": 0.95, "magic": 0.90, "beijing": 0.95}
TSTR = {"adult": 0.005, "default": 0.005, "shoppers": 0.005, "magic": 0.015}


def _floor(name: str) -> Callable[[str, Mapping[str, float], Mapping[str, float]], float | None]:
    return lambda _, __, real: 1.2 * real[name] if name in real else None


def _ceiling(dataset: str, _: Mapping[str, float], real: Mapping[str, float]) -> float | None:
    return real["tstr"] - TSTR[dataset] if dataset in TSTR and "tstr" in real else None


def _regression(dataset: str, _: Mapping[str, float], real: Mapping[str, float]) -> float | None:
    return 1.1 * real["tstr"] if dataset == "beijing" and "tstr" in real else None


TARGETS = (
    Target("XGBoost-C2ST against train", "c2st_xgb_train", ">=", lambda dataset, *_: C2ST[dataset]),
    Target("XGBoost-C2ST against holdout", "c2st_xgb_holdout", ">=", lambda dataset, *_: C2ST[dataset]),
    Target("shape error %, 1.2 x floor", "shape", "<=", _floor("shape")),
    Target("shared-bin pair error %, 1.2 x floor", "pair_shared", "<=", _floor("pair_shared")),
    Target("TSTR AUC, real less .005 (Magic .015)", "tstr", ">=", _ceiling),
    Target("TSTR RMSE, 1.10 x real", "tstr", "<=", _regression),
    Target("DCR share", "dcr_share", "<=", lambda *_: 0.53),
    Target("exact copies, holdout's bound", "copies_rate", "<=", lambda _, own, __: own.get("copies_bound")),
    Target("attack AUC", "mia_auc", "<=", lambda *_: 0.53),
    Target("attack AUC, most isolated tenth", "mia_auc_isolated", "<=", lambda *_: 0.55),
    Target("fit + sample, seconds", "seconds", "<=", lambda dataset, *_: 10.0 if dataset == "adult" else None),
    Target("times faster than the fastest deep peer", "speedup", ">=", lambda *_: 20.0),
    Target("the same, by seconds of the processor", "speedup_work", ">=", lambda *_: 20.0),
)
# What the networks and the circuit are asked for: by table a bound, or one of all.
ZOO_C2ST = {
    "tabular.autoregressive": {"adult": 0.93, "shoppers": 0.85, "magic": 0.75},
    "tabular.diffusion": {"adult": 0.60},
    "tabular.circuit": {"adult": 0.77},
}
ZOO_SECONDS = {"tabular.autoregressive": 60.0, "tabular.diffusion": 900.0, "tabular.circuit": 300.0}
ZOO_LABELS = {
    "c2st_xgb_train": "XGBoost-C2ST against train",
    "mia_auc": "attack AUC",
    "work_seconds": "fit + sample, s of processor",
    "speedup_argn": "times less of the processor than TabularARGN",
}
SCORES = {
    "c2st_xgb_train": "XGBoost-C2ST against train (1 = indistinguishable)",
    "c2st_xgb_holdout": "XGBoost-C2ST against the holdout",
    "c2st_xgb_few": "XGBoost-C2ST against as many training rows as the holdout has",
    "c2st_lr_train": "Logistic C2ST against train (saturated: shuffled columns reach 1)",
    "shape": "Shape error %",
    "pair_shared": "Pair error %, shared bins",
    "pair_own": "Pair error %, own bins: the published Trend (rewards repeating the training extremes)",
    "wnmi": "Weighted NMI error",
    "tstr": "TSTR, corrected protocol: AUC up; Beijing RMSE down (row `real`: trained on real rows)",
    "tstr_published": "TSTR as published",
    "dcr_share": "DCR share after a 50/50 re-split, ties one half (ideal .5)",
    "dcr_share_published": "DCR share as published, ties not nearer",
    "copies_rate": "Exact copies of training rows (row `real`: the holdout's rate; row `bound`: its upper 95 % bound)",
    "mia_auc": "Attack AUC by distance ratio (.5 = none; row `real`: the members themselves are released)",
    "mia_auc_isolated": "Attack AUC on the most isolated tenth",
    "alpha_precision": "alpha-precision",
    "beta_recall": "beta-recall",
    "seconds": "Fit + sample, seconds",
    "fit_seconds": "Fit, seconds (published: with a GPU)",
    "cpu_seconds": "The whole process, seconds of processor: imports, fit, sample",
    "peak_mib": "Peak resident set of fit + sample, MiB",
    "model_kib": "Saved model, KiB",
}


def flagship(path: Path) -> None:
    """Write the tables of the main benchmark."""
    rows = latest(common.read_rows(path))
    cells = collect(rows)
    facts = json.loads(path.with_suffix(".machine.json").read_text())
    seeds = sorted({row["seed"] for row in rows if row["generator"] == MAIN})
    lines = [
        f"Seeds {', '.join(map(str, seeds))} of `{MAIN}`, one set of defaults; mean over the seeds, the real rows' "
        f"scores beside them. {_machine(facts)}"
    ]
    header = ["target", *datasets.NAMES]
    verdicts = [
        [target.label, *(target.verdict(d, means(cells, d, MAIN), means(cells, d, "real")) for d in datasets.NAMES)]
        for target in TARGETS
    ]
    common.render("verdicts", "\n\n".join([*lines, markdown(header, verdicts), card(rows)]))
    common.render("zoo", zoo(cells))
    common.render("scores", scores(rows, cells))


def zoo(cells: Cells) -> str:
    """Return the verdicts on the networks and the circuit: a line per generator and figure, a column per table."""
    table = []
    for name, wanted in ZOO_C2ST.items():
        targets = [("c2st_xgb_train", ">=", wanted), ("work_seconds", "<=", dict.fromkeys(wanted, ZOO_SECONDS[name]))]
        if name == "tabular.autoregressive":
            targets.insert(1, ("mia_auc", "<=", dict.fromkeys(wanted, 0.52)))
            targets.append(("speedup_argn", ">=", dict.fromkeys(datasets.NAMES, 10.0)))
        for score, relation, bounds in targets:
            target = Target(score, score, relation, lambda dataset, _, __, bounds=bounds: bounds.get(dataset))
            line = []
            for dataset in datasets.NAMES:
                own = means(cells, dataset, name)
                theirs = means(cells, dataset, "peer.argn")
                if {"work_seconds"} <= own.keys() & theirs.keys():
                    own["speedup_argn"] = theirs["work_seconds"] / own["work_seconds"]
                line.append(target.verdict(dataset, own, {}) or (number(own[score]) if score in own else ""))
            table.append([f"`{name}`", ZOO_LABELS[score], *line])
    return markdown(["", "figure", *datasets.NAMES], table)


def latest(rows: Iterable[Row]) -> list[Row]:
    """Return the last row of each cell, whatever code it was measured with."""
    cells = {(row["dataset"], row["generator"], row["seed"], row["measure"]): row for row in rows}
    return list(cells.values())


def collect(rows: Iterable[Row]) -> Cells:
    """Return every score's values over the seeds, with the timings of the full fits."""
    cells: Cells = {}
    for row in rows:
        found = {name: value for name, value in row["values"].items() if isinstance(value, int | float)}
        drawn = row.get("generation", {})
        if row["measure"] == "fidelity" and "fit_seconds" in drawn:
            timed = ("work_seconds", "cpu_seconds", "peak_mib", "model_kib")
            found |= {name: drawn[name] for name in timed if name in drawn}
            if drawn.get("clock") != "processor" and drawn.get("quiet", True):
                found["fit_seconds"] = drawn["fit_seconds"]
                found["seconds"] = drawn["fit_seconds"] + drawn["sample_seconds"]
        if row["generator"] == "real" and "copies_holdout_rate" in found:
            found["copies_rate"] = found["copies_holdout_rate"]
        cell = cells.setdefault((row["dataset"], row["generator"]), {})
        for name, value in found.items():
            cell.setdefault(name, []).append(float(value))
    for dataset in datasets.NAMES:
        own = cells.get((dataset, MAIN), {})
        if "copies_holdout_rate" in own:
            cells.setdefault((dataset, "real"), {})["copies_rate"] = own["copies_holdout_rate"]
            cells[dataset, "bound"] = {"copies_rate": own["copies_bound"]}
        for ratio, seconds in {"speedup": "seconds", "speedup_work": "work_seconds"}.items():
            deep = [
                mean(cells[dataset, name][seconds]) for name in _deep() if seconds in cells.get((dataset, name), {})
            ]
            if deep and seconds in own:
                own[ratio] = [min(deep) / mean(own[seconds])]
    return cells


def _deep() -> list[str]:
    import peers

    return [f"peer.{name}" for name, peer in peers.PEERS.items() if peer.deep]


def means(cells: Cells, dataset: str, generator: str) -> dict[str, float]:
    """Return the mean of every score of one generator on one table."""
    return {name: mean(values) for name, values in cells.get((dataset, generator), {}).items()}


def scores(rows: Sequence[Row], cells: Cells) -> str:
    """Return one table per score: ours, controls, peers, published rows, real rows."""
    published = json.loads((common.HERE / "published.json").read_text())
    names = list(dict.fromkeys(generator for _, generator in cells if generator not in ("real", "bound")))
    names.sort(key=lambda name: (not name.startswith("tabular."), name.startswith("peer."), name))
    statuses = {
        (row["dataset"], row["generator"]): row["status"]
        for row in rows
        if row["status"] != "ok" and row["measure"] == "fidelity"
    }
    names += sorted({name for _, name in statuses} - set(names))
    out = []
    for score, title in SCORES.items():
        table = []
        for name in names:
            line = [
                spread(cells.get((d, name), {}).get(score, ())) or statuses.get((d, name), "") for d in datasets.NAMES
            ]
            if any(_is_number(cell) for cell in line):
                table.append([f"`{name}`", *line])
        for name, found in published["methods"].items():
            if score in found:
                line = [_published(found[score].get(d)) for d in datasets.NAMES]
                table.append([f"{name}, published", *line])
        for name in ("real", "bound"):
            line = [spread(cells.get((d, name), {}).get(score, ())) for d in datasets.NAMES]
            if any(line):
                table.append([f"*{name}*", *line])
        if table:
            out.append(f"#### {title}\n\n{markdown(['', *datasets.NAMES], table)}")
    out.append(notes(rows))
    out.append(f"Published rows: {published['source']}. {published['protocol']}")
    return "\n\n".join(part for part in out if part)


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text[:1] == "."


def notes(rows: Iterable[Row]) -> str:
    """Return what the peers' runs have to say: caps reached, trainings cut short, versions."""
    lines = []
    for row in rows:
        if not row["generator"].startswith("peer.") or row["measure"] != "fidelity":
            continue
        drawn = row.get("generation", {})
        words = [drawn.get("note", ""), "" if row["status"] == "ok" else row["status"]]
        words += [f"{name} {version}" for name, version in sorted(drawn.get("versions", {}).items())]
        said = ", ".join(word for word in words if word)
        lines.append(f"- `{row['generator']}` on {row['dataset']}, seed {row['seed']}: {said}")
    return "#### Notes on the peers' runs\n\n" + "\n".join(lines) if lines else ""


def card(rows: Iterable[Row]) -> str:
    """Return the acceptance card of ``synth.evaluate`` by table, from the first seed that has it."""
    cards: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["generator"] == MAIN and row["measure"] == "card" and row["status"] == "ok":
            found = cards.setdefault(row["dataset"], {})
            for line in row["values"]["card"]:
                label = line["name"].partition(":")[0]
                shown = "none" if line["value"] is None else number(line["value"])
                bound = f"{line['relation']} {number(line['threshold'])}"
                found.setdefault(label, f"{shown} {bound} {'pass' if line['passed'] else '**miss**'}")
    labels = list(dict.fromkeys(label for found in cards.values() for label in found))
    if not labels:
        return ""
    table = [[label, *(cards.get(d, {}).get(label, "") for d in datasets.NAMES)] for label in labels]
    title = "The acceptance card that `synth.evaluate` prints for the first seed:"
    return f"{title}\n\n{markdown(['', *datasets.NAMES], table)}"


def spread(values: Sequence[float]) -> str:
    """Return ``mean ± standard deviation``; without the latter for a single value."""
    if not values:
        return ""
    centre = mean(values)
    return number(centre) if len(values) == 1 else f"{number(centre)} ± {number(stdev(values))}"


def _published(pair: Sequence[float] | None) -> str:
    return "" if pair is None else f"{number(pair[0])} ± {number(pair[1])}"


def number(value: float) -> str:
    """Return three digits that matter: .0123, .987, 12.3, 1,234."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 1:
        return f"{value:.2f}"
    digits = 3 if abs(value) >= 0.05 else 4
    return f"{value:.{digits}f}".lstrip("0") if abs(value) >= 5e-5 else f"{value:.0e}"


def _machine(facts: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    cores = (
        f"{facts['cores']} cores ({facts['cpu']}), {facts.get('threads', 1)} threads used, {facts['memory_gib']} GiB"
    )
    start = f"load {facts['load']} at the start, commit {facts['commit']}"
    return f"Machine: {cores}; {start}; Python {facts['python']}, {versions}."


def table(section: str, columns: Mapping[str, str], path: Path) -> None:
    """Write a plain table of a results file: column title by row key; the machine's facts below."""
    rows = common.read_rows(path)
    body = [[_cell(row.get(key, "")) for key in columns] for row in rows]
    facts = path.with_suffix(".machine.json")
    below = f"\n\n{_machine(json.loads(facts.read_text()))}" if facts.exists() else ""
    common.render(section, markdown(list(columns.values()), body) + below)


def private(path: Path) -> None:
    """Write a row for each table, generator and budget: means over its fits, and the deviation of the AUC."""
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for row in common.read_rows(path):
        groups.setdefault((row["table"], row["generator"], row["epsilon"]), []).append(row)
    body = []
    for (name, generator, epsilon), rows in sorted(groups.items()):
        aucs = [row["auc"] for row in rows]
        spread = f" ± {number(stdev(aucs))}" if len(rows) > 1 else ""
        cells = [mean(row[key] for row in rows) for key in ("auc_real", "pair_distance", "fit_processor_seconds")]
        body.append(
            [name, f"`{generator}`", f"{epsilon:g}", str(len(rows)), number(mean(aucs)) + spread, *map(number, cells)]
        )
    header = ["table", "generator", "epsilon", "fits", "AUC", "AUC of real rows", "pairs", "fit, s of processor"]
    common.render("private", markdown(header, body))


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else number(value)


SECTIONS: dict[str, Mapping[str, str]] = {
    "growth": {
        "rows": "rows",
        "fit_seconds": "fit, s",
        "seconds_per_million": "s per million rows",
        "ratio": "time ratio to the size before, per tenfold",
        "peak_mib": "peak resident set, MiB",
        "status": "",
    },
    "sampling": {"what": "", "rows": "rows", "seconds": "s", "peak_mib": "peak resident set, MiB", "target": "target"},
    "streaming": {
        "what": "",
        "rows": "rows",
        "seconds": "s",
        "rows_per_second": "rows per second",
        "peak_mib": "peak resident set, MiB",
        "target": "target",
    },
    "limits": {"what": "", "rows": "rows", "seconds": "s", "peak_mib": "peak resident set, MiB", "target": "target"},
    "mlflow": {
        "what": "",
        "rows": "rows",
        "seconds": "s",
        "cpu_seconds": "s of processor",
        "note": "",
        "target": "target",
    },
    "serving": {
        "what": "",
        "rows": "rows",
        "seconds": "s",
        "cpu_seconds": "s of processor",
        "peak_mib": "peak resident set, MiB",
        "note": "",
        "target": "target",
    },
    "tiers": {
        "what": "",
        "note": "",
        "seconds": "s",
        "cpu_seconds": "s of processor",
        "load": "load",
        "percent": "%",
        "target": "target",
    },
    "constraints": {
        "generator": "generator",
        "rows": "rows",
        "rules": "rules",
        "obeyed_before_repair": "obeyed before repair",
        "free_cpu_seconds": "without, s of processor",
        "ruled_cpu_seconds": "with, s of processor",
        "ratio": "ratio",
        "target": "target",
    },
    "anonymity": {
        "by": "by",
        "columns": "with",
        "demand": "demand",
        "k": "k",
        "classes": "classes",
        "before": "discernibility per row, before",
        "discernibility_per_row": "after",
        "normalised_certainty_penalty": "certainty penalty",
        "suppressed_share": "suppressed",
        "cpu_s": "s of processor",
        "wall_s": "s",
        "load": "load",
        "target": "target",
    },
    "audits": {
        "generator": "",
        "twin": "broken by",
        "fits": "fits with the canary, and without",
        "mu_at_least": "mu, at least",
        "mu_claimed": "mu, claimed",
        "epsilon_at_least": "epsilon, at least",
        "epsilon_claimed": "epsilon, claimed",
    },
    "import_time": {
        "module": "import",
        "median_ms": "median, ms",
        "best_ms": "best, ms",
        "cpu_ms": "processor, ms",
        "modules": "modules",
    },
}


def main() -> None:
    """Render every section whose results are there."""
    path = common.RESULTS / "flagship.jsonl"
    if path.exists():
        flagship(path)
    if (common.RESULTS / "private.jsonl").exists():
        private(common.RESULTS / "private.jsonl")
    for section, columns in SECTIONS.items():
        file = common.RESULTS / f"{section}.jsonl"
        if file.exists():
            table(section, columns, file)


if __name__ == "__main__":
    main()
