"""The request of a batch transform job: a model's rows for a file of requests, without an endpoint."""

from __future__ import annotations

import json
from hashlib import sha256

from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.request import DIGEST_TAG, Overrides, Request, finished

OPERATION = "CreateTransformJob"


def transform_job(
    model: str,
    requests: str,
    *,
    platform: Platform,
    name: str,
    accept: str = "application/jsonlines",
    overrides: Overrides | None = None,
) -> Request:
    """Return the request of a transform job: one request of the endpoint's a line, in files of JSON Lines.

    For any number of rows of one model, the processing job of ``sample`` is the cheaper way.

    Args:
        model: Name of the model, as ``model`` made it.
        requests: S3 prefix of the files of requests.
        name: Name of the job; rows go to ``<output>/<name>``.
        accept: Media type of the rows.
        overrides: By operation, what else goes into the request.

    Raises:
        ConfigError: for an override of what is reserved.
        DataError: if AWS would refuse the request, or it reaches into a region that is not allowed.
    """
    output = {"KmsKeyId": platform.output_kms_key} if platform.output_kms_key else {}
    volume = {"VolumeKmsKeyId": platform.volume_kms_key} if platform.volume_kms_key else {}
    source = {"S3DataType": "S3Prefix", "S3Uri": requests}
    request: Request = {
        "TransformJobName": name,
        "ModelName": model,
        "BatchStrategy": "SingleRecord",  # a request is a line, and each has a seed of its own
        "TransformInput": {
            "DataSource": {"S3DataSource": source},
            "ContentType": "application/json",
            "SplitType": "Line",
        },
        "TransformOutput": {
            "S3OutputPath": f"{platform.output}/{name}",
            "Accept": accept,
            "AssembleWith": "Line",
            **output,
        },
        "TransformResources": {"InstanceType": platform.instance_type, "InstanceCount": 1, **volume},
        **({"Environment": dict(platform.environment)} if platform.environment else {}),
    }
    asked = json.dumps({"accept": accept, "model": model, "requests": requests}, sort_keys=True)
    tags = {DIGEST_TAG: sha256(asked.encode()).hexdigest()}
    return finished(OPERATION, request, platform, overrides=overrides, tags=tags)
