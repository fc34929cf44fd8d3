"""Least-privilege policies as JSON, for any tool that makes roles: what jobs may do, and who may start them.

Every statement names its resources.  ``findings`` tells where one does not: run it on policies of your own, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase as fnmatch
from types import MappingProxyType
from typing import Any, TypeAlias

from synth_components.config import ConfigError
from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.residency import IMAGE
from synth_sagemaker.tracking import ARN as SERVER

Policy: TypeAlias = dict[str, Any]

SERVICE = "sagemaker.amazonaws.com"

ENI_ACTIONS = (
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
)
"""What a job in a VPC needs for its network interfaces, which have no name before they exist."""

UNNAMED_ACTIONS = ("ecr:GetAuthorizationToken", *ENI_ACTIONS)
"""The actions for which AWS takes no resource but ``*``."""

METRICS_NAMESPACE = "/aws/sagemaker/*"

LENT = MappingProxyType({"Bool": {"kms:GrantIsForAWSResource": "true"}})
"""The condition under which a key is lent: to a service of AWS that asks for it on the caller's behalf."""

MOST_CHARACTERS = 6_144
"""What IAM takes for a managed policy, white space not counted."""

PREFIX = "synth"
"""How the names begin of what a launcher makes, unless another beginning is asked for."""

_PASSED_TO = "iam:PassedToService"
_SOME_SERVICE = "any-service.amazonaws.com"
"""What stands for every service: a pattern that it matches names none."""

_PIPELINES = "pipelines-"
"""How AWS begins the name of every job and model that any pipeline of the account makes."""

_ROLE = re.compile(r"^arn:(?P<partition>aws[a-z-]*):iam::(?P<account>\d{12}):role/(?P<name>.+)$")
_PLACE = re.compile(r"^s3://(?P<bucket>[^/*]+)/?(?P<prefix>[^*]*)$")
_JOBS = ("training-job", "processing-job", "transform-job", "hyper-parameter-tuning-job")
_NAMED = (
    *_JOBS,
    "model",
    "model-package-group",
    "model-package",
    "endpoint-config",
    "endpoint",
    "pipeline",
    "algorithm",
)
_ISOLATED = ("CreateHyperParameterTuningJob", "CreateModel", "CreateProcessingJob", "CreateTrainingJob")
_CREATED = (
    "CreateAlgorithm",
    "CreateEndpoint",
    "CreateEndpointConfig",
    "CreateModelPackage",
    "CreateModelPackageGroup",
    "CreatePipeline",
    "CreateTransformJob",
    "DescribeAlgorithm",
    "DescribeEndpoint",
    "DescribeEndpointConfig",
    "DescribeHyperParameterTuningJob",
    "DescribeModel",
    "DescribeModelPackage",
    "DescribeModelPackageGroup",
    "DescribePipeline",
    "DescribePipelineExecution",
    "DescribeProcessingJob",
    "DescribeTrainingJob",
    "DescribeTransformJob",
    "ListPipelineExecutionSteps",
    "StartPipelineExecution",
    "StopHyperParameterTuningJob",
    "StopPipelineExecution",
    "StopProcessingJob",
    "StopTrainingJob",
    "StopTransformJob",
    "UpdatePipeline",
    "AddTags",
)
# AWS has no action of its own for making a logged model: LogModel is what remains.
_TRACKED = (
    "CreateExperiment",
    "CreateModelVersion",
    "CreateRegisteredModel",
    "CreateRun",
    "FinalizeLoggedModel",
    "GetExperiment",
    "GetExperimentByName",
    "GetLoggedModel",
    "GetModelVersion",
    "GetRegisteredModel",
    "GetRun",
    "ListArtifacts",
    "LogBatch",
    "LogInputs",
    "LogLoggedModelParams",
    "LogMetric",
    "LogModel",
    "LogOutputs",
    "LogParam",
    "SetLoggedModelTags",
    "SetTag",
    "UpdateRun",
)


def trust_policy(platform: Platform) -> Policy:
    """Return who may take the roles on, jobs' and pipelines': SageMaker, for resources of their account alone."""
    found = _arn(platform)
    return _policy(
        {
            "Sid": "SageMakerOfThisAccount",
            "Effect": "Allow",
            "Principal": {"Service": SERVICE},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": found["account"]}},
        }
    )


def execution_policy(platform: Platform, inputs: Sequence[str], *, has_metrics: bool = False) -> Policy:
    """Return what jobs and endpoints may do.

    Args:
        inputs: S3 prefixes that jobs read; they also read and write below the platform's output.
        has_metrics: Whether CloudWatch gets the metrics of training jobs; AWS takes no resource for that, so the
            statement is bound to the namespace.

    Raises:
        ConfigError: for a role, image, key or place that names no resource.
    """
    found, image = _arn(platform), _image(platform)
    partition = found["partition"]
    read = [_place(uri) for uri in (*inputs, platform.output)]
    output = _place(platform.output)
    logs = f"arn:{partition}:logs:{image['region']}:{found['account']}:log-group:/aws/sagemaker"
    statements: list[Policy] = [
        _allow("Read", ["s3:GetObject"], _below(partition, read)),
        *_listings(partition, read),
        _allow("Write", ["s3:PutObject", "s3:AbortMultipartUpload"], _below(partition, [output])),
        _allow(
            "Pull",
            ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            [f"arn:{partition}:ecr:{image['region']}:{image['account']}:repository/{image['name']}"],
        ),
        _allow("LogInToRegistry", ["ecr:GetAuthorizationToken"], ["*"]),
        _allow(
            "Log",
            ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
            [f"{logs}/{group}*" for group in ("TrainingJobs", "ProcessingJobs", "TransformJobs", "Endpoints")],
        ),
    ]
    keys = sorted({key for key in (platform.volume_kms_key, platform.output_kms_key) if key})
    if keys:
        statements += _keys(keys)
    if platform.sealing_key:
        statements.append(_allow("SealModels", ["kms:Decrypt", "kms:Encrypt"], [_key(platform.sealing_key)]))
    if platform.subnets:
        statements.append(_allow("NetworkInterfaces", list(ENI_ACTIONS), ["*"]))
    if has_metrics:
        bound = {"StringLike": {"cloudwatch:namespace": METRICS_NAMESPACE}}
        statements.append(_allow("Metrics", ["cloudwatch:PutMetricData"], ["*"], bound))
    return _policy(*statements)


def launcher_policy(
    platform: Platform, inputs: Sequence[str] = (), *, prefix: str = PREFIX, tracking: str = ""
) -> Policy:
    """Return what a person, a build or a pipeline may do that starts jobs: names by their beginning, the named roles.

    ``pipeline_role`` needs it, and no job's role does: every container could make jobs then.  With network isolation
    on, no job and no model can be made without it.  AWS names what a pipeline makes, and begins with ``pipelines-``:
    whoever holds the policy may also describe and stop the jobs of every other pipeline of the account.

    Args:
        inputs: S3 prefixes that jobs read, whose buckets ``launch.submit`` asks S3 for their regions.
        prefix: How the names of jobs, models, endpoints and pipelines begin.
        tracking: ARN of the MLflow server, or app, that models and reports are logged to, and registered with; empty
            for none.  Its artifacts lie in a bucket of its own, which this policy does not name.

    Raises:
        ConfigError: for a role, image, key, place or server that names no resource.
    """
    found, image = _arn(platform), _image(platform)
    partition = found["partition"]
    base = f"arn:{partition}:sagemaker:{image['region']}:{found['account']}"
    ours = [f"{base}:{kind}/{prefix}*" for kind in _NAMED]
    named = [*ours, *(f"{base}:{kind}/{_PIPELINES}*" for kind in (*_JOBS, "model"))]
    isolated = {"Bool": {"sagemaker:NetworkIsolation": "true"}} if platform.network_isolation else None
    output = _place(platform.output)
    buckets = sorted({bucket for bucket, _ in (output, *(_place(uri) for uri in inputs))})
    statements = [
        _allow("MakeIsolated", [f"sagemaker:{action}" for action in _ISOLATED], named, isolated),
        _allow("MakeAndDescribe", [f"sagemaker:{action}" for action in _CREATED], named),
        _allow("PassRole", ["iam:PassRole"], _roles(platform), {"StringEquals": {"iam:PassedToService": SERVICE}}),
        _allow("ReadReports", ["s3:GetObject"], _below(partition, [output])),
        _allow("LocateBuckets", ["s3:GetBucketLocation"], [f"arn:{partition}:s3:::{bucket}" for bucket in buckets]),
    ]
    if platform.volume_kms_key:
        # AWS asks it of whoever makes an endpoint, whatever the role of its model may do, and of whoever makes a job
        # if the role of the job lacks it ("SageMaker API permissions: actions, permissions, and resources reference").
        statements.append(_lend([_key(platform.volume_kms_key)]))
    if platform.output_kms_key:
        statements.append(_allow("DecryptReports", ["kms:Decrypt"], [_key(platform.output_kms_key)]))
    if tracking and not SERVER.match(tracking):
        raise ConfigError(
            "tracking is no ARN of a tracking server; give arn:aws:sagemaker:...:mlflow-tracking-server/NAME",
            option="tracking",
        )
    if tracking:
        # An app asks for one action that covers its whole interface, beside those of a server.
        app = ["sagemaker:CallMlflowAppApi"] if ":mlflow-app/" in tracking else []
        statements.append(_allow("Track", [*app, *(f"sagemaker-mlflow:{action}" for action in _TRACKED)], [tracking]))
    return _policy(*statements)


def findings(policy: Mapping[str, Any]) -> list[str]:
    """Return where a policy allows more than it names, or is too long, a line each: an empty list is good.

    ``*`` as a resource is for ``UNNAMED_ACTIONS`` alone, and for metrics bound to a namespace; no action, principal or
    bucket is a wildcard, and a key is lent to services of AWS alone.
    """
    length = len(json.dumps(policy, separators=(",", ":")))
    told = f"{length:,} characters, at most {MOST_CHARACTERS:,} in a managed policy; make two of it"
    is_long = [told] if length > MOST_CHARACTERS else []
    return [*is_long, *(line for statement in policy["Statement"] for line in _findings(statement))]


def _findings(statement: Mapping[str, Any]) -> Iterator[str]:
    name, actions, resources = statement.get("Sid", "?"), _listed(statement, "Action"), _listed(statement, "Resource")
    if statement.get("Effect") != "Allow":
        return
    if "NotAction" in statement or "NotResource" in statement or "NotPrincipal" in statement:
        yield f"{name}: allows all but what it names"
    asked = {action.lower() for action in actions}  # IAM ignores the case of actions
    for action in actions:
        if "*" in action or "?" in action:
            yield f"{name}: action '{action}' is a wildcard"
    principal = statement.get("Principal", {})
    if principal == "*" or (isinstance(principal, Mapping) and "*" in _listed(principal, "AWS")):
        yield f"{name}: everyone may take it on"
    for resource in resources:
        if resource == "*" and not _is_unnamed(actions, statement):
            yield f"{name}: resource '*' with an action that takes a resource"
        elif re.match(r"^arn:[^:]*:s3:::[^/]*\*", resource) or re.match(r"^arn:[^:]*:[^:]*:[^:]*:[^:]*:\*$", resource):
            yield f"{name}: resource '{resource}' names nothing"
    if "iam:passrole" in asked and not _is_passed_to_named(statement):
        yield f"{name}: the role may be passed to any service"
    if "kms:creategrant" in asked and not _is_lent_to_aws(statement):
        yield f"{name}: the key may be lent to anyone"


def _is_unnamed(actions: Sequence[str], statement: Mapping[str, Any]) -> bool:
    asked = {action.lower() for action in actions}
    bound = statement.get("Condition", {}).get("StringLike", {}).get("cloudwatch:namespace", "*")
    if asked == {"cloudwatch:putmetricdata"}:
        return bool(bound != "*")
    return asked <= {action.lower() for action in UNNAMED_ACTIONS}


def _is_passed_to_named(statement: Mapping[str, Any]) -> bool:
    """Return whether the condition names the services that a role may be passed to; any further one narrows it."""
    equal = [*_held(statement, "StringEquals", _PASSED_TO), *_held(statement, "StringEqualsIgnoreCase", _PASSED_TO)]
    like = _held(statement, "StringLike", _PASSED_TO)
    return bool(equal) or (bool(like) and not any(fnmatch(_SOME_SERVICE, one) for one in like))


def _is_lent_to_aws(statement: Mapping[str, Any]) -> bool:
    """Return whether the condition of ``LENT`` is asked, among others or alone: all must hold."""
    return [one.lower() for one in _held(statement, "Bool", "kms:GrantIsForAWSResource")] == ["true"]


def _held(statement: Mapping[str, Any], operator: str, key: str) -> list[str]:
    """Return the values that an operator of the condition holds a key against; IAM ignores the case of keys."""
    asked = statement.get("Condition", {}).get(operator, {})
    found = [_listed(asked, name) for name in asked if name.lower() == key.lower()]
    return [value for values in found for value in values]


def _listed(statement: Mapping[str, Any], name: str) -> list[str]:
    value = statement.get(name, [])
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]


def _policy(*statements: Policy) -> Policy:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(sid: str, actions: list[str], resources: list[str], condition: Policy | None = None) -> Policy:
    made: Policy = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}
    return made | ({"Condition": condition} if condition else {})


def _keys(keys: list[str]) -> list[Policy]:
    keys = [_key(key) for key in keys]
    return [
        _allow(
            "UseKeys",
            [
                "kms:Decrypt",
                "kms:DescribeKey",
                "kms:Encrypt",
                "kms:GenerateDataKey",
                "kms:GenerateDataKeyWithoutPlaintext",
            ],
            keys,
        ),
        _lend(keys),
    ]


def _lend(keys: list[str]) -> Policy:
    return _allow("LendKeyToVolumes", ["kms:CreateGrant"], keys, dict(LENT))


def _key(key: str) -> str:
    if not key.startswith("arn:"):
        raise ConfigError(
            "a policy names a key by its ARN; give volume_kms_key and output_kms_key as arn:aws:kms:...:key/..., and "
            "SYNTH_ENCRYPT_KEY as kms:arn:aws:kms:...:key/...",
            option="volume_kms_key",
        )
    return key


def _listings(partition: str, places: Sequence[tuple[str, str]]) -> list[Policy]:
    """Return a statement for each bucket, that lists the named prefixes alone."""
    held: dict[str, list[str]] = {}
    for bucket, prefix in places:
        held.setdefault(bucket, []).extend(_keys_below(prefix))
    return [
        _allow(
            f"List{number}" if number else "List",
            ["s3:ListBucket"],
            [f"arn:{partition}:s3:::{bucket}"],
            {"StringLike": {"s3:prefix": sorted(set(prefixes))}},
        )
        for number, (bucket, prefixes) in enumerate(held.items())
    ]


def _below(partition: str, places: Sequence[tuple[str, str]]) -> list[str]:
    return sorted({f"arn:{partition}:s3:::{bucket}/{key}" for bucket, prefix in places for key in _keys_below(prefix)})


def _keys_below(prefix: str) -> list[str]:
    """Return patterns of the keys under a prefix: not those of `synth-other` where `synth` is named."""
    return [f"{prefix}*"] if not prefix or prefix.endswith("/") else [prefix, f"{prefix}/*"]


def _place(uri: str) -> tuple[str, str]:
    found = _PLACE.match(uri)
    if found is None:
        raise ConfigError("a policy names a bucket and a prefix; give s3://bucket/prefix/", option="output")
    return found["bucket"], found["prefix"]


def _arn(platform: Platform) -> Mapping[str, str]:
    found = _ROLE.match(platform.role)
    if found is None:
        raise ConfigError("role is no ARN of a role; give arn:aws:iam::ACCOUNT:role/NAME", option="role")
    return MappingProxyType(found.groupdict())


def _roles(platform: Platform) -> list[str]:
    """Return the roles that a launcher gives to jobs and pipelines, each once."""
    if platform.pipeline_role and not _ROLE.match(platform.pipeline_role):
        raise ConfigError(
            "pipeline_role is no ARN of a role; give arn:aws:iam::ACCOUNT:role/NAME", option="pipeline_role"
        )
    return sorted({platform.role, platform.pipeline_role or platform.role})


def _image(platform: Platform) -> Mapping[str, str]:
    found = IMAGE.match(platform.image)
    if found is None:
        raise ConfigError(
            "image is in no repository of ECR; give ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG", option="image"
        )
    return MappingProxyType(found.groupdict())
