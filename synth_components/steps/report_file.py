"""Reports on disk, as the steps pass them on."""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from synth_components.errors import ArtifactError, DataError
from synth_components.evaluation.judged import Reported

if TYPE_CHECKING:
    from synth_components.evaluation.report import Report


def report_path(path: Path) -> Path:
    """Return the report's file: ``path`` itself, or ``report.json`` if it is a folder."""
    return path / "report.json" if path.is_dir() else path


def read_report(path: Path) -> Report:
    """Return the report that a step wrote.

    Raises:
        ArtifactError: if the file is no report.
    """
    from synth_components.evaluation.report import Report

    file = report_path(path)
    try:
        return Report.from_json(json.loads(file.read_text(encoding="utf-8")))
    except ArtifactError as error:
        raise ArtifactError(f"'{file}': {error}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"'{file}' is not a report ({type(error).__name__}); give the report.json that `synth evaluate` wrote"
        ) from None


def reported(*reports: Report) -> Reported | None:
    """Return what reports say, and of what; ``None`` without a report."""
    found: dict[str, float] = {}
    for score in (score for report in reports for score in report.scores):
        found[score.name] = max(score.value, found.get(score.name, score.value))
    return Reported(found, tuple(report.judged for report in reports)) if reports else None


def reported_in(path: Path | None) -> Reported | None:
    """Return what a report on disk says; ``None`` without one.

    Raises:
        ArtifactError: if the file is no report.
    """
    return None if path is None else reported(read_report(path))


def quality_of(report: Report) -> float:
    """Return the overall score of a report.

    Raises:
        DataError: if nothing in it could be scored.
    """
    if report.overall.value is None:
        raise DataError("the report has no overall score, because nothing could be scored; see what it left out")
    return report.overall.value


def values_of(report: Report, name: str, *, remedy: str = "") -> list[float]:
    """Return the values of all scores of a name: of the whole table, or of each column, pair or task.

    Args:
        remedy: What to do where there is none; empty tells the nearest name.

    Raises:
        DataError: if there is none, with the nearest name.
    """
    values = [score.value for score in report.scores if score.name == name]
    if not values:
        names = sorted({score.name for score in report.scores})
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(names)}"
        raise DataError(f"the report has no score '{name}'; {remedy or hint}")
    return values
