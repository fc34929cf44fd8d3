"""The report of an evaluation in a run: metrics, tables, plots, the page to look at, the JSON to read back."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.models.evaluation.artifacts import JsonEvaluationArtifact, TextEvaluationArtifact
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_flavor import _mlflow as private
from mlflow_flavor.lineage import FINGERPRINT
from synth_components.errors import ArtifactError
from synth_components.evaluation.judged import bound
from synth_components.evaluation.quality import WEIGHTS
from synth_components.evaluation.report import Report
from synth_components.evaluation.sheet import sheets
from synth_components.steps.report_file import read_report

if TYPE_CHECKING:
    from mlflow.models import EvaluationArtifact

OVERALL = "overall"
"""Metric of the overall score; ``overall/<group>`` are its parts."""

_LOG = logging.getLogger(__name__)

_PAGE, _WHOLE = "report.html", "report.json"

_MOST_LETTERS = 60
_DIGEST = 8
# What every store of MLflow takes in one part of a name, less what ends like a digest of ours.
_PLAIN = re.compile(rf"(?!\.+$)(?!.*-[0-9a-f]{{{_DIGEST}}}$)[\w.-]([\w. -]*[\w.-])?")

_ODD = re.compile(r"[^\w-]")


def metric_name(score: str, *subject: str) -> str:
    """Return the name of a score's metric: ``fidelity.shape``, ``fidelity.marginal.ks/age``.

    A subject, such as a column, that MLflow would refuse or that is longer than 60 letters is cut and spelled with
    underscores, and ends in eight hexadecimal digits of its SHA-256, so that different subjects keep different names.
    """
    return "/".join([score, *(_part(one) for one in subject)])


def is_score(metric: str) -> bool:
    """Return whether a metric is named as a score of a report, or its overall score."""
    score = metric.partition("/")[0]
    return score == OVERALL or score.partition(".")[0] in WEIGHTS


def _part(text: str) -> str:
    if len(text) <= _MOST_LETTERS and _PLAIN.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{_ODD.sub('_', text)[: _MOST_LETTERS - _DIGEST - 1]}-{digest}"


def metrics_of(report: Report) -> dict[str, float]:
    """Return every score of a report, and the overall score with its parts, by the name of its metric."""
    made = {metric_name(one.name, *one.subject): one.value for one in report.scores}
    if report.overall.value is not None:
        made[OVERALL] = report.overall.value
    return made | {f"{OVERALL}/{group}": value for group, value in report.overall.parts.items()}


def tables_of(report: Report) -> dict[str, pd.DataFrame]:
    """Return the tables of a report by name: ``scores``, ``card``, and what the report itself prints."""
    scores = [
        {
            "metric": metric_name(one.name, *one.subject),
            "score": one.name,
            "subject": " / ".join(one.subject),
            "value": one.value,
            "low": None if one.interval is None else one.interval[0],
            "high": None if one.interval is None else one.interval[1],
            "floor": one.floor,
            "ideal": one.ideal,
        }
        for one in report.scores
    ]
    return {"scores": pd.DataFrame(scores), "card": pd.DataFrame(report.card), **report.tables}


def log_report(report: Report, run_id: str) -> None:
    """Log a report into a run: metrics, tables, plots, ``report.html`` and ``report.json``.

    The metrics are linked to the model in that run that the report names, and to no other.  A report that names none,
    as those of older versions, is linked with a warning where there is one model: no policy takes it for evidence.
    One that names a model is not linked to a logged model without a fingerprint, which may be another.
    """
    client = mlflow.MlflowClient()
    outputs = mlflow.get_run(run_id).outputs
    models = [] if outputs is None else [output.model_id for output in outputs.model_outputs]
    held = {one: client.get_logged_model(one).tags.get(FINGERPRINT, "") for one in models}
    found = {one: bound((report.judged,), model=fingerprint) for one, fingerprint in held.items()}
    own = [one for one, (state, _) in found.items() if state == "passed"]
    if not own and len(models) == 1:
        state, told = found[models[0]]
        is_other = state == "missed" or bool(report.judged.model)
        if is_other and state != "missed":
            told = f"the report is of {report.judged}, and the logged model has no fingerprint; log the model again"
        _LOG.warning("of the report in this run and the model in it: %s", told)
        own = [] if is_other else models
    metrics = metrics_of(report)
    if own:
        mlflow.log_metrics(metrics, run_id=run_id, model_id=own[-1])
    else:  # `log_metrics` would link them to a model in the run, whichever it is
        now = int(time.time() * 1000)
        client.log_batch(run_id, [Metric(name, value, now, 0) for name, value in metrics.items()])
    log_artifacts(report, run_id)


def report_in(run_id: str) -> Report | None:
    """Return the report that was logged last into a run; ``None`` if there is none, or a file that is none."""
    if _WHOLE not in {file.path for file in mlflow.MlflowClient().list_artifacts(run_id)}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=_WHOLE, dst_path=folder)
        try:
            return read_report(Path(file))
        except ArtifactError:
            return None


def log_artifacts(report: Report, run_id: str) -> dict[str, EvaluationArtifact]:
    """Log all of a report but its metrics into a run, in place of an earlier report's, and return what was logged.

    Tables lie at the root, where ``EvaluationResult.tables`` finds them; the plots are ``plots/<name>.svg``.
    """
    client = mlflow.MlflowClient()
    tables = {_table_path(name): _table_json(frame) for name, frame in tables_of(report).items()}
    held = {file.path for file in client.list_artifacts(run_id)}
    before = report_in(run_id)
    earlier = set() if before is None else {*map(_table_path, tables_of(before)), *map(_plot_path, sheets(before))}
    for path, text in tables.items():
        if path in held:  # `log_table` would append to it
            client.log_text(run_id, text, path)
        else:
            client.log_table(run_id, pd.DataFrame(**json.loads(text)), path)
    texts = {_PAGE: report.to_html(), **{_plot_path(name): text for name, text in sheets(report).items()}}
    whole = json.dumps(report.to_json(), indent=1, allow_nan=False)
    with tempfile.TemporaryDirectory() as folder:
        for path, text in {**texts, _WHOLE: whole}.items():
            file = Path(folder, path)
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        client.log_artifacts(run_id, folder)
    if left := earlier - {*tables, *texts}:
        _delete(run_id, left)

    def kept(kind: type[EvaluationArtifact], path: str, content: Any) -> EvaluationArtifact:  # noqa: ANN401
        return kind(f"runs:/{run_id}/{path}", content)  # with its content, for `EvaluationResult.save` asks for it

    return {
        **{Path(path).stem: kept(JsonEvaluationArtifact, path, json.loads(text)) for path, text in tables.items()},
        **{path: kept(TextEvaluationArtifact, path, text) for path, text in texts.items()},
        _WHOLE: kept(JsonEvaluationArtifact, _WHOLE, json.loads(whole)),
    }


def _delete(run_id: str, paths: Collection[str]) -> None:
    """Delete files of a run, and what its tag says of those that are tables."""
    run = mlflow.get_run(run_id)
    files = get_artifact_repository(run.info.artifact_uri)
    try:
        for path in sorted(paths):
            files.delete_artifacts(path)
    except (MlflowException, NotImplementedError, OSError):  # some stores delete nothing, or not for everybody
        _LOG.warning("the store deletes no files, so these of an earlier report stay: %s", ", ".join(sorted(paths)))
        return
    tables = json.loads(run.data.tags.get(private.LOGGED_ARTIFACTS, "[]"))
    rest = [table for table in tables if table.get("path") not in paths]
    mlflow.MlflowClient().set_tag(run_id, private.LOGGED_ARTIFACTS, json.dumps(rest))


def _table_path(name: str) -> str:
    return f"{name}.json"


def _plot_path(name: str) -> str:
    return f"plots/{name}.svg"


def _table_json(frame: pd.DataFrame) -> str:
    return str(frame.to_json(orient="split", index=False, date_format="iso"))  # as `log_table` writes it
