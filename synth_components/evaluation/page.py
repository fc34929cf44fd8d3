"""The report as one page: no script, no font, no image from elsewhere; light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from synth_components.evaluation import svg
from synth_components.evaluation.attacks.risk import FORMULA, MOST
from synth_components.evaluation.attacks.risk import NAME as RISK

if TYPE_CHECKING:
    from synth_components.evaluation.report import Report
    from synth_components.protocols import Score

_MOST_MARGINALS = 60
_MOST_IN_MAPS = 24

MEMBERSHIP = "privacy.membership"
_ATTACKS = {
    "attribute": "Secrets of a record are guessed from its closest synthetic row",
    "singling_out.univariate": "A value found once in the synthetic rows isolates a record",
    "singling_out.multivariate": "Four values of a synthetic row isolate a record",
    "linkability": "One synthetic row links two halves of a record",
    "reidentification": "Quasi-identifiers lead to one synthetic row that is right",
    "inversion": "A model of the synthetic rows, inverted, gives a secret away",
}

_SIDES = (("attack", "synthetic"), ("control", "real"), ("baseline", "both"))

_LABELS = {
    "accuracy": "accuracy",
    "f1": "F1, mean over classes",
    "auc": "AUC",
    "r2": "R²",
    "rmse": "RMSE (smaller is better)",
}


@dataclass(frozen=True)
class Marginal:
    """One column's plot, its score, and how far its error is above the floor."""

    name: str
    score: str
    floor: str
    state: str
    plot: str


@dataclass(frozen=True)
class Bar:
    """One measure of a task: real, synthetic and both together, with lengths in per cent."""

    measure: str
    learner: str
    rows: tuple[tuple[str, str, str, float], ...]


def page(report: Report) -> str:
    """Return the HTML of a report."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from synth_components.evaluation.report import LEDGER_HEAD, NO_HOLDOUT, NO_TRAIN, charge_text

    environment = Environment(
        loader=PackageLoader("synth_components.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["short"] = short
    return environment.get_template("report.html").render(
        report=report,
        warnings=(NO_HOLDOUT, NO_TRAIN),
        stand_in=any(note.startswith(NO_TRAIN) for note in report.notes),
        advice=_advice(report),
        ring=svg.ring(report.overall.value, title="Overall score"),
        marginals=list(marginals(report)),
        maps=maps(report),
        pairs=_records(report, "fidelity.pairs")[:8],
        roc=roc(report),
        detectors=[s for s in report.scores if s.name.startswith("fidelity.detection")],
        tasks=[(task, _bars(report, task)) for task in report.tasks],
        globals=_records(report, "utility.global"),
        distances=distances(report),
        risk=next((s for s in report.scores if s.name == RISK), None),
        most_risk=MOST,
        formula_of_risk=FORMULA,
        memberships=[
            s for s in report.scores if s.name.startswith(f"{MEMBERSHIP}.") and not s.name.endswith("p_value")
        ],
        membership_attacks=_records(report, MEMBERSHIP),
        membership_roc=membership_roc(report),
        attacks=attacks(report),
        secrets=_records(report, "privacy.attribute"),
        preservation=_records(report, "preservation"),
        statistics=_records(report, "statistics"),
        left_out=_records(report, "left_out"),
        ledger_head=LEDGER_HEAD,
        uncovered=sum(not one.covered for one in report.ledger),
        ledger=[charge_text(one) for one in report.ledger],
        tests={row["column"]: row for row in _records(report, "fidelity.marginal")},
    )


def number(value: float | None) -> str:
    """Return a number as the page prints it."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "\u2013"
    if value in {0.0, 1.0}:
        return f"{value:.0f}"
    if 0 < abs(value) < 1e-4:
        return f"{value:.0e}"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"


def _advice(report: Report) -> list[tuple[str, list[str]]]:
    """Return each change with the findings that ask for it, in order."""
    grouped: dict[str, list[str]] = {}
    for one in report.recommendations:
        grouped.setdefault(one.change, []).append(one.finding)
    return list(grouped.items())


def short(value: float) -> str:
    """Return a number with three significant digits."""
    return f"{value:.3g}"


def _records(report: Report, name: str) -> list[dict[str, Any]]:
    frame = report.tables.get(name)
    return [] if frame is None else [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def marginals(report: Report) -> Iterator[Marginal]:
    """Yield each column with its plot, the worst first."""
    scores = {s.subject[0]: s for s in report.scores if s.name.startswith("fidelity.marginal.")}
    plots = {
        name.removeprefix("marginal/"): frame for name, frame in report.curves.items() if name.startswith("marginal/")
    }
    order = sorted(plots, key=lambda name: scores[name].value - scores[name].floor if name in scores else 1.0)
    for name in order[:_MOST_MARGINALS]:
        one = scores.get(name)
        error, floor = (0.0, 0.0) if one is None else (1 - one.value, 1 - one.floor)
        state = (
            "" if one is None else "good" if error <= max(1.5 * floor, 0.01) else "fair" if error <= 0.05 else "poor"
        )
        told, known = ("\u2013", "\u2013") if one is None else (f"{one.value:.3f}", f"{one.floor:.3f}")
        yield Marginal(name, told, known, state, _plot(name, plots[name]))


def _plot(name: str, frame: pd.DataFrame) -> str:
    title = f"Distribution of {name}"
    if "low" not in frame:
        return svg.bars(
            frame["label"].astype(str).tolist(), _floats(frame["real"]), _floats(frame["synthetic"]), title=title
        )
    held = frame[frame["low"].notna()]
    made = ""
    if len(held) > 1:
        labels = held["label"].astype(str).tolist()
        ends = labels[0].split(" to ")[0], labels[-1].split(" to ")[-1]
        made = svg.density(
            held["low"].tolist(),
            held["high"].tolist(),
            _floats(held["real"]),
            _floats(held["synthetic"]),
            title=title,
            ends=ends,
        )
    rest = frame if len(held) <= 1 else frame[frame["low"].isna()]
    if len(rest):
        made += svg.bars(
            rest["label"].astype(str).tolist(), _floats(rest["real"]), _floats(rest["synthetic"]), title=title
        )
    return made


def _floats(values: Any) -> Any:  # noqa: ANN401 - pandas' dtypes are known at run time
    return np.asarray(values, dtype=np.float64)


def maps(report: Report) -> list[tuple[str, str]]:
    """Return the heat maps of the pairs, each (label, plot); none without pairs."""
    rows = _records(report, "fidelity.pairs")
    if not rows:
        return []
    names: list[str] = []
    for row in rows:  # worst first
        names.extend(name for name in (str(row["first"]), str(row["second"])) if name not in names)
    kept = names[:_MOST_IN_MAPS]
    # The order of the table where it is known; a heat map in the order of badness would show no structure.
    known = [name.removeprefix("marginal/") for name in report.curves if name.startswith("marginal/")]
    kept = sorted(kept, key=lambda name: known.index(name) if name in known else len(known))
    place = {name: i for i, name in enumerate(kept)}
    made = []
    for label, column, scale in (
        ("Real", "real", 1.0),
        ("Synthetic", "synthetic", 1.0),
        ("Difference", "difference", 0.25),
    ):
        square = np.full((len(kept), len(kept)), np.nan)
        for row in rows:
            a, b = place.get(str(row["first"])), place.get(str(row["second"]))
            if a is not None and b is not None:
                square[a, b] = square[b, a] = float(row[column])
        made.append((label, svg.heat_map(kept, square, title=f"{label} association of each pair", scale=scale)))
    return made


def roc(report: Report) -> str:
    """Return the ROC curves of the detector; empty if it did not run."""
    frame = report.curves.get("detection.roc")
    if frame is None:
        return ""
    wanted = (
        ("boosted, against train", "synthetic", "boosted", "train"),
        ("boosted, against holdout", "synthetic dashed", "boosted", "holdout"),
        ("floor: holdout against train", "real", "boosted", "floor"),
    )
    curves = []
    for label, kind, learner, against in wanted:
        part = frame[(frame["learner"] == learner) & (frame["against"] == against)]
        curves.append((label, kind, _floats(part["false_positive_rate"]), _floats(part["true_positive_rate"])))
    return svg.roc(curves, title="ROC of the detector")


def _bars(report: Report, task: str) -> list[Bar]:

    held = {(s.name, s.subject[1]): s.value for s in report.scores if len(s.subject) == 2 and s.subject[0] == task}
    made = []
    for learner in ("boosted", "linear"):
        for measure, label in _LABELS.items():
            values = [
                (text, kind, held[f"utility.{name}.{measure}", learner])
                for text, kind, name in (
                    ("real", "real", "trtr"),
                    ("synthetic", "synthetic", "tstr"),
                    ("both", "both", "augmented"),
                )
                if (f"utility.{name}.{measure}", learner) in held
            ]
            if values:
                top = max(1.0, *(v for *_, v in values)) if measure != "rmse" else max(v for *_, v in values) or 1.0
                rows = tuple((text, kind, number(v), round(100 * max(0.0, v) / top, 1)) for text, kind, v in values)
                made.append(Bar(label, learner, rows))
    return made


@dataclass(frozen=True)
class Attack:
    """One attack: its rates as bars, and its risk."""

    what: str
    rows: tuple[tuple[str, str, str, float], ...]
    risk: Score


def attacks(report: Report) -> list[Attack]:
    """Return the attacks that have rates."""
    held = {score.name: score for score in report.scores if not score.subject}
    made = []
    for name, what in _ATTACKS.items():
        sides = [(side, kind, held.get(f"privacy.{name}.{side}")) for side, kind in _SIDES]
        if f"privacy.{name}.risk" in held:
            rows = tuple((s, kind, number(one.value), round(100 * one.value, 1)) for s, kind, one in sides if one)
            made.append(Attack(what, rows, held[f"privacy.{name}.risk"]))
    return made


def membership_roc(report: Report) -> str:
    """Return the ROC curve of the strongest membership attack; empty if none was made."""
    frame = report.curves.get(f"{MEMBERSHIP}.roc")
    if frame is None:
        return ""
    points = _floats(frame["false_positive_rate"]), _floats(frame["true_positive_rate"])
    return svg.roc(
        [("strongest attack", "synthetic", *points)],
        title="ROC of the strongest membership attack",
        axes=("others taken for members", "members found"),
    )


def distances(report: Report) -> str:
    """Return the histograms of distances to training rows; empty if there are none."""
    frame = report.curves.get("privacy.dcr")
    if frame is None:
        return ""
    curves = [("real", _floats(frame["holdout_to_train"])), ("synthetic", _floats(frame["synthetic_to_train"]))]
    return svg.lines(
        frame["low"].tolist(), frame["high"].tolist(), curves, title="Distance to the closest training row"
    )
