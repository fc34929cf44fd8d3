"""Reports on disk, as the steps pass them on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from synth_components.errors import ArtifactError

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
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"'{file}' is not a report ({type(error).__name__}); give the report.json that `synth evaluate` wrote"
        ) from None
