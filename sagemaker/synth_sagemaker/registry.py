"""Requests of an algorithm, of a model, of a group of its versions, and of a version that a person approves.

The requests of a model and of a version release it.  Give the model and its report where they are at hand, and the
privacy guard says beforehand whether it may go; AWS itself asks nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from synth_components.evaluation.report import Report
from synth_components.model import Model
from synth_components.policy import guard
from synth_components.privacy.charges import facts
from synth_components.steps.report_file import reported
from synth_sagemaker.algorithm import algorithm
from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.request import PERSONAL_TAG, Overrides, Request, Text, finished, vpc

CONTENT_TYPES = ("application/json", "text/csv", "application/jsonlines", "application/x-parquet")
"""Media types that the endpoint takes and returns."""

_LONGEST = 256
"""Most characters of a property of a version."""

_REFUSED = re.compile(r"[^\w .:/=+\-@]")
"""What AWS refuses in a property of a version."""

NO_REPORTS: Mapping[str, Text] = MappingProxyType({})


def model(
    name: str,
    model_data: str,
    *,
    platform: Platform,
    is_private: bool = False,
    environment: Mapping[str, str] = MappingProxyType({}),
    fitted: Model | None = None,
    report: Report | None = None,
    allow_unnamed: bool = False,
    overrides: Overrides | None = None,
) -> Request:
    """Return the request of a model: the image's ``serve`` with what a training job wrote.

    Args:
        model_data: S3 address of ``model.tar.gz``.
        is_private: Whether it was trained with differential privacy; if not, it is tagged as personal data.
        environment: Variables of the server, beside the platform's.
        fitted: What the archive holds, if it is at hand.
        report: What an evaluation found out about it; one of another model is refused, and one that names none.
        allow_unnamed: Whether, without a policy, one that names none is taken if the archive is at hand.
        overrides: By operation, what else goes into the request.

    Raises:
        ConfigError: for an override of what is reserved, or something like a secret.
        DataError: if AWS would refuse the request, or it reaches into a region that is not allowed.
        GuardError: if the privacy policy does not allow it, or the model holds training rows.
    """
    told = None if report is None else reported(report)
    guard.release(fitted, told, to=f"the SageMaker model {name}", allow_unnamed=allow_unnamed)
    request: Request = {
        "ModelName": name,
        "PrimaryContainer": _container(model_data, platform, environment),
        "ExecutionRoleArn": platform.role,
        "EnableNetworkIsolation": platform.network_isolation,
        **vpc(platform),
    }
    return finished("CreateModel", request, platform, tags=_tags(is_private=is_private), overrides=overrides)


def algorithm_resource(generator: str, *, platform: Platform, overrides: Overrides | None = None) -> Request:
    """Return the request of a generator as an algorithm of the account: its specification, with the platform's image.

    Raises:
        UnsupportedError: for an unknown generator.
        ConfigError: for an override of what is reserved.
        DataError: if AWS would refuse the request, or it reaches into a region that is not allowed.
    """
    said = algorithm(generator)
    training = {**said["TrainingSpecification"], "TrainingImage": platform.image}
    request: Request = {
        **said,
        "TrainingSpecification": training,
        "InferenceSpecification": _served({"Image": platform.image}, platform),
    }
    return finished("CreateAlgorithm", request, platform, overrides=overrides)


def model_package_group(name: str, *, platform: Platform, overrides: Overrides | None = None) -> Request:
    """Return the request of a group of model versions.

    Raises:
        ConfigError: for an override of what is reserved.
        DataError: if AWS would refuse the request.
    """
    request: Request = {"ModelPackageGroupName": name, "ModelPackageGroupDescription": "Generators of synthetic data."}
    return finished("CreateModelPackageGroup", request, platform, overrides=overrides)


def model_package(
    group: Text,
    model_data: Text,
    *,
    platform: Platform,
    is_private: bool = False,
    environment: Mapping[str, str] = MappingProxyType({}),
    reports: Mapping[str, Text] = NO_REPORTS,
    constraints: Text | None = None,
    properties: Mapping[str, Text] = NO_REPORTS,
    fitted: Model | None = None,
    report: Report | None = None,
    allow_unnamed: bool = False,
    overrides: Overrides | None = None,
) -> Request:
    """Return the request of a version of a model, which waits for a person's approval.

    A step of a pipeline, which names its model by an expression, asks no guard: the job that makes the model does.

    Args:
        group: Name of the group of versions.
        model_data: S3 address of ``model.tar.gz``.
        is_private: Whether it was trained with differential privacy; if not, it is tagged as personal data.
        environment: Variables of the server, beside the platform's; of a sealed model they name the key.
        reports: S3 addresses of the statistics by group of scores: ``utility``, ``fidelity`` or ``privacy``.
        constraints: S3 address of the constraints that the statistics of utility met.
        properties: What else is known, at most 50 entries of at most 256 characters.
        fitted: What the archive holds, if it is at hand: its promise and what its ledger holds stand in the properties.
        report: What an evaluation found out about it; one of another model is refused, and one that names none.
        allow_unnamed: Whether, without a policy, one that names none is taken if the archive is at hand.
        overrides: By operation, what else goes into the request.

    Raises:
        ConfigError: for an override of what is reserved.
        DataError: if AWS would refuse the request, or it reaches into a region that is not allowed.
        GuardError: if the privacy policy does not allow it, or the model holds training rows.
    """
    if isinstance(model_data, str):
        told = None if report is None else reported(report)
        guard.release(fitted, told, to=f"the group {group} of SageMaker's registry", allow_unnamed=allow_unnamed)
    kms = {"SecurityConfig": {"KmsKeyId": platform.output_kms_key}} if platform.output_kms_key else {}
    request: Request = {
        "ModelPackageGroupName": group,
        "InferenceSpecification": _served(_container(model_data, platform, environment), platform),
        "ModelApprovalStatus": "PendingManualApproval",
        "CustomerMetadataProperties": {
            PERSONAL_TAG: "false" if is_private else "true",
            **({} if fitted is None else _accounted(fitted)),
            **properties,
        },
        **kms,
    }
    metrics = _metrics(reports, constraints)
    if metrics:
        request["ModelMetrics"] = metrics
    made = finished("CreateModelPackage", request, platform, overrides=overrides)
    # AWS takes no tags for a version in a group: it has the group's.
    return {name: value for name, value in made.items() if name != "Tags"}


def _accounted(fitted: Model) -> dict[str, str]:
    """Return a model's promise and ledger in short, in the characters that AWS takes, and no more of them."""
    known = facts(fitted.ledger, fitted.manifest.privacy)
    return {f"synth.{name}": _REFUSED.sub(" ", str(value))[:_LONGEST] for name, value in known.items()}


def _container(model_data: Text, platform: Platform, environment: Mapping[str, str]) -> Request:
    """Return what serves a model: the image, the archive, and the server's variables if there are any."""
    variables = {**platform.environment, **environment}
    return {
        "Image": platform.image,
        "ModelDataUrl": model_data,
        **({"Environment": variables} if variables else {}),
    }


def _served(container: Request, platform: Platform) -> Request:
    """Return the member ``InferenceSpecification``: how a container is asked for rows."""
    instances = [platform.instance_type]
    return {
        "Containers": [container],
        "SupportedContentTypes": list(CONTENT_TYPES),
        "SupportedResponseMIMETypes": list(CONTENT_TYPES),
        "SupportedRealtimeInferenceInstanceTypes": instances,
        "SupportedTransformInstanceTypes": instances,
    }


def _tags(*, is_private: bool) -> dict[str, str]:
    return {PERSONAL_TAG: "false" if is_private else "true"}


def _metrics(reports: Mapping[str, Text], constraints: Text | None) -> Request:
    """Return the member ``ModelMetrics``; SageMaker has no place of its own for privacy."""
    places = {"utility": ("ModelQuality", "Statistics"), "fidelity": ("ModelDataQuality", "Statistics")}
    places["privacy"] = ("Explainability", "Report")
    metrics: Request = {}
    for group, uri in reports.items():
        member, leaf = places[group]
        metrics.setdefault(member, {})[leaf] = _source(uri)
    if constraints is not None:
        metrics.setdefault("ModelQuality", {})["Constraints"] = _source(constraints)
    return metrics


def _source(uri: Text) -> Request:
    return {"ContentType": "application/json", "S3Uri": uri}
