"""The step that turns reports into something to read."""

from __future__ import annotations

import logging

from synth_components.config import StepConfig
from synth_components.steps.port import InReport, OptionalOutText, OutPage
from synth_components.steps.record import write_text
from synth_components.steps.report_file import read_report

_LOG = logging.getLogger(__name__)


class ReportConfig(StepConfig):
    """How to draw a report; it has no options yet."""


def report(config: ReportConfig, *, report: InReport, page: OutPage, text: OptionalOutText = None) -> None:
    """Draw a report as one HTML page that needs nothing from elsewhere, and as Markdown.

    Args:
        report: The report to draw.
        page: Where the page goes.
        text: Where the Markdown goes.
    """
    del config
    found = read_report(report)
    write_text(page, found.to_html())
    if text is not None:
        write_text(text, found.to_markdown())
    _LOG.info("wrote the report")
