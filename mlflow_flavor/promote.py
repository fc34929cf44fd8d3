"""The gate of the model registry: an alias moves to a version only if its scores reach the thresholds.

from mlflow.models import MetricThreshold
from mlflow_flavor.promote import promote

decision = promote("customers", 3, {
    "fidelity.shape": MetricThreshold(threshold=0.9, greater_is_better=True),
    "privacy.copies": MetricThreshold(threshold=0.01, greater_is_better=False),
})
"""

from __future__ import annotations

import math
import re
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import EvaluationResult, MetricThreshold
from mlflow.models.evaluation.validation import ModelValidationFailedException

from mlflow_flavor.dataset import logged_model_uri
from mlflow_flavor.flavor import DATA, load_model
from mlflow_flavor.gate import ALIAS
from mlflow_flavor.lineage import FINGERPRINT
from mlflow_flavor.report import OVERALL, is_score, report_in
from synth_components import audit
from synth_components.circumstances import circumstance
from synth_components.config import ConfigError
from synth_components.errors import GuardError
from synth_components.evaluation.judged import Judged, Reported
from synth_components.io.artifact import MANIFEST, Manifest
from synth_components.model import Model
from synth_components.policy import guard
from synth_components.steps.gate import GateConfig as GateConfig
from synth_components.steps.gate import limits

TAG = "synth.gate"
"""``synth.gate.<alias>`` is ``passed`` or ``failed``; ``synth.gate.<alias>/<metric>`` says why, metric by metric, and
``synth.gate.<alias>.baseline`` is the version that had the alias before, which thresholds on change compare with."""


@dataclass(frozen=True)
class Decision:
    """What was decided about one version, as its tags hold it.

    Attributes:
        name: Name of the registered model.
        version: The version that was judged.
        alias: What now means this version, if it passed.
        passed: Whether every threshold was reached.
        reasons: Of each metric with a threshold: passed or failed, its value, and the threshold.
        baseline: The version that has the alias, or had it before this one got it; ``None`` if none had.
    """

    name: str
    version: str
    alias: str
    passed: bool
    reasons: Mapping[str, str]
    baseline: str | None

    @property
    def missed(self) -> tuple[str, ...]:
        """Why it failed, a line each."""
        return tuple(reason for reason in self.reasons.values() if reason.startswith(_FAILED))


_PASSED, _FAILED = "passed", "failed"
_GUARD = "guard"  # the privacy policy, whose refusal is a reason like a missed threshold
_EPSILON = "epsilon"  # what the model's manifest states counts, whether or not a run logged such a metric
# MLflow's rule, asked before anything is written; without dots and slashes no alias has a tag of another one.
_ALIAS = re.compile(r"(?!(?i:latest|v\d+)$)[\w-]{1,255}")


def promote(
    name: str,
    version: int | str,
    thresholds: Mapping[str, MetricThreshold] | GateConfig,
    alias: str = ALIAS,
    *,
    allow_unnamed: bool = False,
) -> Decision:
    """Let an alias mean a version if the version's scores reach every threshold, and tag the version with the decision.

    The scores are the latest of each metric that is linked to the version's logged model, as
    ``mlflow.models.evaluate(..., evaluators="synthetic")`` links them; ``epsilon`` is what the model itself states, and
    fails where it is not bounded.  A metric that was never logged fails.
    Thresholds on change compare with the version that has the alias, or had it before this one; while none has it, they
    fail.  An alias is never taken away.  To decide again from the same scores changes nothing.  A score that is not
    finite fails.  So does one of a report's scores, of those with a threshold and those that the privacy guard reads,
    which was logged without a report, or with one that does not name the version's model, or where the logged model
    does not say by its tag which it is; ``allow_unnamed`` lets these pass.  Other metrics, as those of a model of
    yours, need no report.

    Args:
        name: Name of the registered model.
        version: Its version.
        thresholds: By name of metric; or the options of ``synth gate``, where a score of every column, pair or task
            must reach its threshold in each.
        alias: What the version is called from then on.
        allow_unnamed: Whether scores may count that no report of the version's model tells, as the field of
            ``GateConfig`` says, too.

    Raises:
        ConfigError: without any threshold, which every version would pass, for one of another type or one that is not
            finite, for an alias that MLflow refuses, or for one on change where the version has the alias and no other
            had it before, so that it would be compared with nothing.
        ArtifactError: if ``epsilon`` is asked for and the model cannot be loaded here to tell it.
        MlflowException: for an unknown model or version, or a version whose model was saved and not logged, so that no
            metrics can be linked to it.
    """
    if not _ALIAS.fullmatch(alias):
        raise ConfigError(
            f"the alias '{alias}' must be 1 to 255 letters, digits, underscores and hyphens, and neither 'latest' nor "
            "like 'v1', which MLflow keeps for itself",
            option="alias",
        )
    client = MlflowClient()
    candidate = client.get_model_version(name, str(version))
    model_id, linked = _linked(client, name, str(version))
    asked = list(_asked(thresholds, linked))
    _require_limits(asked)
    holder = client.get_registered_model(name).aliases.get(alias)
    baseline = _baseline(candidate, alias, holder)
    if baseline is None and holder is not None and any(_is_change(threshold) for _, threshold in asked):
        raise ConfigError(
            f"version {version} of '{name}' has the alias '{alias}', and none had it before: there is nothing that a "
            "change could be measured against; give thresholds without one",
            option="thresholds",
        )
    metrics = {metric for metric, _ in asked}
    scores = _scores(client, model_id, linked, metrics)
    known = {} if baseline is None else _scores(client, *_linked(client, name, baseline), metrics)
    reasons: dict[str, str] = {}
    for metric, threshold in asked:
        reason = _reason(metric, threshold, scores, known)
        if not reasons.get(metric, "").startswith(_FAILED):  # of two limits of a metric, the missed one is told
            reasons[metric] = reason
    passed = not any(reason.startswith(_FAILED) for reason in reasons.values())
    if passed:
        try:
            _refuse_rows(model_id, to=f"{name}@{alias}")
            told = _reported(linked, metrics)
            held = client.get_logged_model(model_id).tags.get(FINGERPRINT, "")
            may_lack = allow_unnamed or (isinstance(thresholds, GateConfig) and thresholds.allow_unnamed)
            if told.judged and not may_lack:
                _require_named(held, version=str(version))
            # A version that nobody evaluated leaves nothing out of a report, and is decided by what is no score.
            guard.require_about(
                told.judged, model=held, to=f"promoting {name}@{alias}", allow_unnamed=may_lack or not told.judged
            )
            guard.release(_judged(model_id), told, to=f"{name}@{alias}")
        except GuardError as error:
            reasons[_GUARD], passed = f"{_FAILED}: {error}", False
    audit.record("gate", name=name, version=str(version), alias=alias, passed=passed, reasons=list(reasons.values()))
    decision = Decision(name, str(version), alias, passed, reasons, baseline)
    _tag_reasons(client, candidate, decision)
    if passed and str(holder) != str(version):
        client.set_registered_model_alias(name, alias, str(version))
    _tag_verdict(client, candidate, decision)  # last: nothing says passed of an alias that a server refused to move
    return decision


def _linked(client: MlflowClient, name: str, version: str) -> tuple[str, dict[str, Metric]]:
    """Return the logged model of a version, and the latest of each metric that is linked to it."""
    model_id = logged_model_uri(f"models:/{name}/{version}").removeprefix("models:/")
    metrics = client.get_logged_model(model_id).metrics or []
    return model_id, {one.key: one for one in sorted(metrics, key=lambda one: (one.timestamp, one.step))}


def _scores(
    client: MlflowClient, model_id: str, linked: Mapping[str, Metric], metrics: Collection[str]
) -> dict[str, float]:
    """Return the values of linked metrics, as the runs that logged them have them, and the model's own epsilon."""
    scores = {metric: _value(client, linked[metric]) for metric in metrics if metric in linked}
    return scores | ({_EPSILON: _epsilon(model_id)} if _EPSILON in metrics else {})


def _reported(linked: Mapping[str, Metric], asked: Collection[str]) -> Reported:
    """Return the linked metrics as what reports say, and of what: nothing, where a score has no report in its run.

    Only the runs are read of metrics that the guard reads, and of a report's scores that have a threshold.
    """
    wanted = {*guard.READS, *(name for name in asked if is_score(name))}
    runs = sorted({str(one.run_id or "") for name, one in linked.items() if name in wanted})
    reports = [report_in(run_id) if run_id else None for run_id in runs]
    judged = tuple(Judged() if report is None else report.judged for report in reports)
    return Reported({score: one.value for score, one in linked.items()}, judged)


def _require_named(fingerprint: str, *, version: str) -> None:
    """Raise if a logged model does not say which it is: no report can be shown to be of it."""
    if not fingerprint:
        raise GuardError(
            f"the logged model of version {version} has no tag {FINGERPRINT}, so that no report names it; log the "
            "model again, or allow it (allow_unnamed)",
            checks=("evidence",),
        )


def _judged(model_id: str) -> Model | None:
    """Return the model that a policy is held against; none is loaded where no policy is named."""
    if circumstance("policy") in {"", guard.OFF}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        return load_model(f"models:/{model_id}", dst_path=folder)


def _refuse_rows(model_id: str, *, to: str) -> None:
    """Raise if a version holds training rows: one from before `save_model` refused such models, or written by hand."""
    with suppress(MlflowException, OSError):  # no manifest: it is sealed, and `save_model` asked
        folder = MlflowClient().get_logged_model(model_id).artifact_location
        told = mlflow.artifacts.load_dict(f"{folder}/{DATA}/{MANIFEST}")
        held = {name: value for name, value in told.items() if name in Manifest.model_fields}
        guard.refuse_rows(Manifest.parse(held), to=to)


def _epsilon(model_id: str) -> float:
    """Return the privacy loss that the manifest of a logged model states; infinite if none is."""
    with tempfile.TemporaryDirectory() as folder:
        return load_model(f"models:/{model_id}", dst_path=folder).privacy.epsilon


def _value(client: MlflowClient, metric: Metric) -> float:
    # A database hands a NaN back as 0.0 with the model, and as NaN with the run.
    history = client.get_metric_history(metric.run_id, metric.key) if metric.run_id else []
    values = [one.value for one in history if (one.timestamp, one.step) == (metric.timestamp, metric.step)]
    return next((value for value in values if not _is_finite(value)), float(metric.value))


def _is_finite(value: float) -> bool:
    return math.isfinite(value) and abs(value) < sys.float_info.max  # as which a database keeps an infinity


def _asked(
    thresholds: Mapping[str, MetricThreshold] | GateConfig, linked: Mapping[str, Metric]
) -> Iterator[tuple[str, MetricThreshold]]:
    """Yield each metric with a threshold that it must reach."""
    if not isinstance(thresholds, GateConfig):
        yield from thresholds.items()
        return
    if thresholds.of_classes:
        raise ConfigError(
            f"{thresholds.of_classes[0]} is asked of a table, and a version of a model is none; ask it of the rows "
            "that go out (`synth gate --data`)",
            option=thresholds.of_classes[0],
        )
    if thresholds.min_quality > 0:
        yield OVERALL, MetricThreshold(threshold=thresholds.min_quality, greater_is_better=True)
    if thresholds.max_epsilon > 0:
        yield _EPSILON, MetricThreshold(threshold=thresholds.max_epsilon, greater_is_better=False)
    known = {metric.partition("/")[0] for metric in linked}
    for held, greater in ((thresholds.min_scores, True), (limits(thresholds, known), False)):
        for score, limit in held.items():
            of_each = [metric for metric in linked if metric.startswith(f"{score}/")]
            for metric in [score] if score in linked or not of_each else of_each:
                yield metric, MetricThreshold(threshold=limit, greater_is_better=greater)


def _require_limits(asked: Sequence[tuple[str, MetricThreshold]]) -> None:
    """Raise unless there is a threshold, and each can be missed."""
    for metric, threshold in asked:
        if not isinstance(threshold, MetricThreshold):
            raise ConfigError(
                f"the threshold of '{metric}' must be a mlflow.models.MetricThreshold", option=str(metric)
            )
        limits = (threshold.threshold, threshold.min_absolute_change, threshold.min_relative_change)
        # No score is below NaN, nor above it.
        if not all(limit is None or abs(limit) < math.inf for limit in limits):
            raise ConfigError(f"the threshold of '{metric}' must be a finite number", option=str(metric))
    if not asked:
        raise ConfigError("there is no threshold, so every version would pass; give at least one", option="thresholds")


def _is_change(threshold: MetricThreshold) -> bool:
    return threshold.min_absolute_change is not None or threshold.min_relative_change is not None


def _baseline(candidate: ModelVersion, alias: str, holder: int | str | None) -> str | None:
    """Return the version that has the alias, or had it before the candidate got it."""
    if holder is not None and str(holder) == str(candidate.version):
        return candidate.tags.get(f"{TAG}.{alias}.baseline")
    return None if holder is None else str(holder)


def _reason(metric: str, threshold: MetricThreshold, scores: Mapping[str, float], baseline: Mapping[str, float]) -> str:
    """Return whether a metric passes and why, in MLflow's words."""
    if metric in scores and not _is_finite(scores[metric]):
        told = "not bounded by the model" if metric == _EPSILON else "not a finite number"
        return f"{_FAILED}: {metric} is {told}"
    # One metric at a time: MLflow fails on a baseline that has other metrics and lacks this one.
    found, before = (
        {metric: held[metric]} if _is_finite(held.get(metric, math.nan)) else {} for held in (scores, baseline)
    )
    try:
        mlflow.validate_evaluation_results(
            {metric: threshold}, EvaluationResult(found, {}), EvaluationResult(before, {})
        )
    except ModelValidationFailedException as error:
        return f"{_FAILED}: {error.message}"
    return f"{_PASSED}: {scores[metric]:.6g}. {threshold}"


def _tag_reasons(client: MlflowClient, version: ModelVersion, decision: Decision) -> None:
    """Make the tags of a version tell the reasons, and nothing of an earlier decision about the same alias."""
    prefix = f"{TAG}.{decision.alias}"
    tags = {f"{prefix}/{metric}": reason for metric, reason in decision.reasons.items()}
    if decision.baseline is not None:
        tags[f"{prefix}.baseline"] = decision.baseline
    before = {key: value for key, value in version.tags.items() if key.startswith((f"{prefix}/", f"{prefix}.baseline"))}
    for key, value in tags.items():
        if before.get(key) != value:
            client.set_model_version_tag(decision.name, decision.version, key, value)
    for key in before.keys() - tags.keys():
        client.delete_model_version_tag(decision.name, decision.version, key)


def _tag_verdict(client: MlflowClient, version: ModelVersion, decision: Decision) -> None:
    key, value = f"{TAG}.{decision.alias}", _PASSED if decision.passed else _FAILED
    if version.tags.get(key) != value:
        client.set_model_version_tag(decision.name, decision.version, key, value)
