"""The report: scores, curves, tables, card and advice, as JSON, Markdown and one HTML page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd

from synth_components.errors import ArtifactError
from synth_components.evaluation.attacks.risk import exposure
from synth_components.evaluation.card import Verdict, task_ratio
from synth_components.evaluation.change import Change
from synth_components.evaluation.judged import Judged
from synth_components.evaluation.quality import MIN_ROWS, Quality, unscored
from synth_components.evaluation.recommendation import Recommendation, too_few_rows
from synth_components.limits import Cost
from synth_components.markdown import marked, table
from synth_components.privacy.charges import Charge
from synth_components.protocols import Score

FORMAT = 1
"""Version of the JSON that ``to_json`` writes; ``report.schema.json`` documents it."""

NO_HOLDOUT = "The holdout was not unseen"
NO_TRAIN = "There were no training rows"
"""How the note begins of a report that was made from one real table only; the page shows it above the scores."""


@dataclass(frozen=True)
class Report:
    """What an evaluation found.  It holds aggregates: no row, and no category of fewer rows than asked.

    An evaluation has no overall score where one of its tables has fewer than ``MIN_ROWS`` rows.

    Attributes:
        scores: Every score, with floor and interval.
        curves: What is drawn: ``marginal/<column>``, ``detection.roc``, ``utility.roc``, ``privacy.dcr``.
        tables: What is printed; ``left_out`` names the scores that could not be made, and why.
        card: The acceptance card.
        overall: The overall score.
        recommendations: What to change, the weightiest first.
        notes: How to read the report.
        versions: Versions of the software.
        privacy: What this evaluation itself cost; printed first.
        rows: Number of rows of train, holdout and synthetic; of table and real in a validation.
        tasks: Names of the tasks.
        config: The options.
        costs: Time and peak memory of each stage; no part of what makes two reports equal.
        ledger: What was charged for reading real rows, here and by the model if it was at hand, uncovered reads first.
        kind: Whether it evaluates synthetic rows, or validates a table that somebody else made.
        judged: The model and the rows that it is about, without which it is no evidence on any.
    """

    scores: tuple[Score, ...]
    curves: Mapping[str, pd.DataFrame]
    tables: Mapping[str, pd.DataFrame]
    card: tuple[Verdict, ...]
    overall: Quality
    recommendations: tuple[Recommendation, ...]
    notes: tuple[str, ...]
    versions: Mapping[str, str]
    privacy: tuple[str, ...]
    rows: Mapping[str, int]
    tasks: tuple[str, ...]
    config: Mapping[str, Any]
    costs: tuple[Cost, ...] = field(default=(), compare=False)
    ledger: tuple[Charge, ...] = ()
    kind: Literal["evaluation", "validation"] = "evaluation"
    judged: Judged = field(default_factory=Judged)

    def __post_init__(self) -> None:
        """Take the overall score away if a table is too small, in a report that was read back, too."""
        if self.kind == "validation":
            return
        small = [too_few_rows(side, count, MIN_ROWS) for side, count in self.rows.items() if count < MIN_ROWS]
        if small and self.overall.value is not None:
            object.__setattr__(self, "overall", unscored(self.overall.threshold))
            object.__setattr__(self, "recommendations", (*small, *self.recommendations))

    def __repr__(self) -> str:
        """Return what a person wants to see first: overall score, verdicts and the worst columns."""
        table = [["check", "value", "threshold", "verdict"], *_verdicts(self.card)]
        widths = [max(len(row[place]) for row in table) for place in range(4)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        return "\n".join([_headline(self), *(lines if self.card else ()), *_worst(self.scores)])

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        head, *rows = ["check", "value", "threshold", "verdict"], *_verdicts(self.card)
        cells = [
            "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
            for tag, row in (("th", head), *(("td", row) for row in rows))
        ]
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        notes = "".join(f"<p>{escape(line)}</p>" for line in _worst(self.scores))
        return f"<p>{escape(_headline(self))}</p><table>{body}</table>{notes}"

    @property
    def title(self) -> str:
        """What the report is about."""
        return "Report on synthetic data" if self.kind == "evaluation" else "Validation of a table"

    @property
    def passed(self) -> bool:
        """Whether the overall score reaches its threshold: ``min_quality``, or 1 in a validation."""
        return self.overall.passed

    @property
    def exposure(self) -> str:
        """How strong the attacks could be that so few records do not rule out; empty without attacks."""
        # A half of the holdout is attacked beside as many training rows; of a shadow audit, its records are.
        limits = (self.rows.get("train"), self.rows.get("holdout", 0) // 2, self.config.get("attack_rows"))
        records = min(limit for limit in limits if limit is not None)
        return exposure(self.scores, self.tables, records=int(self.config.get("records", records)))

    def value(self, name: str, *subject: str) -> float:
        """Return the value of one score.

        Raises:
            KeyError: if there is no such score.
        """
        for one in self.scores:
            if one.name == name and one.subject == subject:
                return one.value
        raise KeyError(f"the report has no score '{name}' of {subject or 'the whole table'}")

    @property
    def values(self) -> dict[str, float]:
        """Values by name, with underscores, of what stands for the whole table; found by a path in the JSON.

        Of the tasks, the one that fares worst is told, by the learner that does best on real rows.
        """
        named: dict[str, float] = {} if self.overall.value is None else {"quality": self.overall.value}
        named |= {f"quality_{group}": part for group, part in self.overall.parts.items()}
        ratios = [ratio for task in self.tasks if (ratio := task_ratio(self.scores, task)) is not None]
        worst = min(ratios, key=lambda ratio: ratio.value).subject if ratios else None
        for one in self.scores:
            if not one.subject or (one.subject == worst and one.name.startswith("utility.")):
                named[one.name.replace(".", "_")] = one.value
        return {name: value for name, value in named.items() if math.isfinite(value)}

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value, free of NaN, from which ``from_json`` makes an equal report."""
        return {
            "format": FORMAT,
            "privacy": list(self.privacy),
            "overall": {**asdict(self.overall), "parts": dict(self.overall.parts)},
            "card": [asdict(verdict) for verdict in self.card],
            "recommendations": [_advice_to_json(one) for one in self.recommendations],
            "values": self.values,
            "scores": [_score_to_json(one) for one in self.scores],
            "tables": {name: _frame_to_json(frame) for name, frame in self.tables.items()},
            "curves": {name: _frame_to_json(frame) for name, frame in self.curves.items()},
            "notes": list(self.notes),
            "rows": dict(self.rows),
            "tasks": list(self.tasks),
            "config": dict(self.config),
            "versions": dict(self.versions),
            "costs": [asdict(cost) for cost in self.costs],
            "kind": self.kind,
            "ledger": [asdict(charge) for charge in self.ledger],
            "judged": asdict(self.judged),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the report that ``to_json`` wrote.

        Raises:
            ArtifactError: if it is damaged, or of a newer format.
        """
        if int(value.get("format", 0)) > FORMAT:
            raise ArtifactError(f"the report has format {value['format']}; this version reads up to {FORMAT}")
        try:
            return cls(
                scores=tuple(_score_from_json(one) for one in value["scores"]),
                curves={name: pd.DataFrame(columns) for name, columns in value["curves"].items()},
                tables={name: pd.DataFrame(columns) for name, columns in value["tables"].items()},
                card=tuple(Verdict(**verdict) for verdict in value["card"]),
                overall=Quality(**value["overall"]),
                recommendations=tuple(_advice_from_json(one) for one in value["recommendations"]),
                notes=tuple(value["notes"]),
                versions=dict(value["versions"]),
                privacy=tuple(value["privacy"]),
                rows=dict(value["rows"]),
                tasks=tuple(value["tasks"]),
                config=dict(value["config"]),
                costs=tuple(Cost(**cost) for cost in value.get("costs", ())),
                kind=value.get("kind", "evaluation"),
                ledger=tuple(Charge(**charge) for charge in value.get("ledger", ())),
                judged=Judged(**value.get("judged", {})),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the report is damaged ({type(error).__name__}); make it again") from None

    def to_markdown(self) -> str:
        """Return the report as Markdown: privacy first, then verdicts, advice and scores."""
        overall = "not scored" if self.overall.value is None else f"{self.overall.value:.3f}"
        lines = [
            f"# {self.title}",
            "",
            *(f"> {marked(line)}" for line in self.privacy),
            "",
            f"**Overall {overall}** ({'passed' if self.passed else 'missed'}, threshold {self.overall.threshold:g}; "
            + ", ".join(f"{group} {part:.3f}" for group, part in self.overall.parts.items())
            + ")",
            "",
            ", ".join(f"{count:,} {side}" for side, count in self.rows.items()) + " rows",
            "",
            f"Judged were {self.judged}.",
            "",
            "## Acceptance card" if self.kind == "evaluation" else "## Verdicts and checks",
            "",
            *table(
                ["check", "value", "threshold", "verdict"],
                _verdicts(self.card),
            ),
            "",
            *([marked(self.exposure), ""] if self.exposure else []),
            "## Recommendations",
            "",
            *(
                [
                    f"- {marked(one.finding[:1].upper() + one.finding[1:])}: {marked(one.change)}."
                    for one in self.recommendations
                ]
                or ["None."]
            ),
            "",
            "## Scores",
            "",
            *table(
                ["score", "subject", "value", "95 % interval", "floor", "ideal"],
                [
                    [
                        s.name,
                        " / ".join(s.subject),
                        _number(s.value),
                        interval_text(s),
                        _number(s.floor),
                        _number(s.ideal),
                    ]
                    for s in self.scores
                ],
            ),
            "",
            *(f"{marked(note)}\n" for note in (self.overall.formula, *self.notes)),
        ]
        if "preservation" in self.tables:
            lines += ["## Associations after preservation", "", *_residuals(self.tables["preservation"]), ""]
        if "left_out" in self.tables:
            rows = self.tables["left_out"].to_dict("records")
            told = (marked(f"{r['score']} {r['subject']}: {r['reason']}") for r in rows)
            lines += ["## Left out", "", *(f"- {line}" for line in told), ""]
        if self.ledger:
            lines += ["## Privacy ledger", "", *table(LEDGER_HEAD, [charge_text(one) for one in self.ledger]), ""]
        if self.costs:
            rows_of_costs = [[one.stage, f"{one.seconds:.1f}", f"{one.peak_mib:,.0f}"] for one in self.costs]
            lines += ["## Cost", "", *table(["stage", "seconds", "peak memory, MiB"], rows_of_costs), ""]
        return "\n".join(lines)

    def to_html(self) -> str:
        """Return the report as one self-contained page."""
        from synth_components.evaluation.page import page

        return page(self)

    def save(self, directory: str | Path) -> None:
        """Write ``report.json``, ``report.md`` and ``report.html``, each whole or not at all.

        Raises:
            DataError: if the folder cannot be written to.
        """
        from synth_components.io.location import locate, writing

        folder = Path(directory)
        texts = {
            "report.json": json.dumps(self.to_json(), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
            + "\n",
            "report.md": self.to_markdown(),
            "report.html": self.to_html(),
        }
        for name, text in texts.items():
            with writing(locate(folder / name)) as part:
                part.write_text(text, encoding="utf-8")


def _headline(report: Report) -> str:
    overall = "not scored" if report.overall.value is None else f"{report.overall.value:.3f}"
    parts = ", ".join(f"{group} {part:.3f}" for group, part in report.overall.parts.items())
    rows = ", ".join(f"{count:,} {side}" for side, count in report.rows.items())
    return f"Report: overall {overall}{f' ({parts})' if parts else ''}; {rows} rows"


def _verdicts(card: tuple[Verdict, ...]) -> list[list[str]]:
    def named(verdict: Verdict) -> str:
        return f"{verdict.name} (smoke test)" if verdict.group == "smoke test" else verdict.name

    return [[named(v), _number(v.value), f"{v.relation} {_number(v.threshold)}", v.sign] for v in card]


def _worst(scores: tuple[Score, ...], most: int = 5) -> list[str]:
    """Return the columns whose shape is furthest below its floor, a line each."""
    shapes = [one for one in scores if one.name.startswith("fidelity.marginal.")]
    shapes.sort(key=lambda one: one.value - one.floor)
    told = [f"  {one.subject[0]}: {_number(one.value)}, floor {_number(one.floor)}" for one in shapes[:most]]
    return ["worst columns:", *told] if told else []


def interval_text(one: Score) -> str:
    """Return a score's interval as tables print it."""
    return "none" if one.interval is None else f"{_number(one.interval[0])} to {_number(one.interval[1])}"


LEDGER_HEAD = ["of", "what was read", "epsilon", "in all", "delta", "unit", "neighbours"]
"""What the columns of the ledger are called in tables."""


def charge_text(one: Charge) -> list[str]:
    """Return a charge as tables print it, in the order of ``LEDGER_HEAD``."""

    def told(epsilon: float | None) -> str:
        return "not bounded" if epsilon is None else f"{epsilon:.4g}"

    alone = told(one.epsilon) if one.covered else "uncovered"
    return [one.of, one.label, alone, told(one.total), f"{one.delta:g}", one.unit, one.neighbours]


def _advice_to_json(one: Recommendation) -> dict[str, Any]:
    return {**asdict(one), "subject": list(one.subject), "changes": [asdict(change) for change in one.changes]}


def _advice_from_json(value: Mapping[str, Any]) -> Recommendation:
    changes = tuple(Change(**change) for change in value.get("changes", ()))
    return Recommendation(**{**value, "subject": tuple(value["subject"]), "changes": changes})


def _score_to_json(one: Score) -> dict[str, Any]:
    return {
        "name": one.name,
        "subject": list(one.subject),
        "value": one.value,
        "interval": None if one.interval is None else [None if math.isinf(end) else end for end in one.interval],
        "deviation": one.deviation,
        "floor": one.floor,
        "ideal": one.ideal,
    }


def _score_from_json(value: Mapping[str, Any]) -> Score:
    ends = None
    if value["interval"] is not None:
        low, high = value["interval"]
        ends = (-math.inf if low is None else float(low), math.inf if high is None else float(high))
    return Score(
        value["name"], value["value"], ends, value["deviation"], value["floor"], value["ideal"], tuple(value["subject"])
    )


def _frame_to_json(frame: pd.DataFrame) -> dict[str, list[Any]]:
    return {str(name): [_plain(value) for value in frame[name].tolist()] for name in frame.columns}


def _plain(value: Any) -> Any:  # noqa: ANN401 - any cell
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float | None) -> str:
    if value is None:
        return "not scored"
    return f"{value:.4f}" if abs(value) < 1_000 else f"{value:,.0f}"


def _residuals(pairs: pd.DataFrame) -> list[str]:
    """Return the pairs that preservation worked on, as Markdown."""
    head = ["pair", "measure", "target", "before", "after", "tolerance", "met"]
    rows = [
        [
            f"{row['first']} / {row['second']}",
            str(row["kind"]),
            *(_number(row[name]) for name in head[2:6]),
            "yes" if row["met"] else "no",
        ]
        for row in pairs.to_dict("records")
    ]
    return table(head, rows)
