"""The report of an evaluation in a run: its scores as metrics, the page to look at, and the JSON to read back."""

from __future__ import annotations

import mlflow

from synth_components.evaluation.report import Report


def log_report(report: Report, run_id: str) -> None:
    """Log the scores of the whole table, ``report.html`` and ``report.json`` into a run.

    If one model was logged in that run, the metrics are linked to it.
    """
    metrics = {score.name: score.value for score in report.scores if not score.subject}
    if report.overall.value is not None:
        metrics["overall"] = report.overall.value
    outputs = mlflow.get_run(run_id).outputs
    models = [] if outputs is None else [output.model_id for output in outputs.model_outputs]
    mlflow.log_metrics(metrics, run_id=run_id, model_id=models[0] if len(models) == 1 else None)
    mlflow.log_text(report.to_html(), "report.html", run_id=run_id)
    mlflow.log_dict(report.to_json(), "report.json", run_id=run_id)
