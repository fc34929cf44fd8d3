"""Send a request to AWS: the one place of this package that talks to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError

from synth_components.errors import DataError
from synth_sagemaker.request import Request
from synth_sagemaker.residency import refuse_foreign_buckets, refuse_foreign_regions, require_region
from synth_sagemaker.secret import refuse_secrets
from synth_sagemaker.shapes import require_shape
from synth_sagemaker.training import OPERATION as TRAINING
from synth_sagemaker.training import refuse_second_reading


def submit(
    operation: str,
    request: Request,
    *,
    client: Any = None,  # noqa: ANN401 - boto3 makes its classes at run time
    s3: Any = None,  # noqa: ANN401
    allowed_regions: Sequence[str] = (),
) -> str:
    """Send a request, and return the ARN of what it made.

    Before it is sent it is checked again: it may have been changed, or written by hand.

    Args:
        operation: Such as ``CreateTrainingJob``.
        client: The client of boto3 for SageMaker; by default that of the environment's region and credentials.
        s3: The client of boto3 for S3, which tells the region of a bucket; needed with ``allowed_regions`` alone.
        allowed_regions: Regions that the endpoint, and every bucket, image and key, may lie in; empty for any.

    Raises:
        DataError: if AWS would refuse the request, or does, or it reaches into a region that is not allowed.
        ConfigError: for something like a secret, and for spot capacity or retries of a private training job.
    """
    require_shape(operation, request)
    refuse_secrets(request)
    if operation == TRAINING:
        refuse_second_reading(request)
    with _answered(operation):
        client = client or _client("sagemaker")
    require_region(client.meta.region_name, allowed_regions, "the endpoint of SageMaker")
    require_allowed(request, allowed_regions, s3=s3)
    with _answered(operation):
        answer = getattr(client, xform_name(operation))(**request)
    return str(next((value for name, value in answer.items() if name.endswith("Arn")), ""))


def require_allowed(named: Request, allowed_regions: Sequence[str], *, s3: Any = None) -> None:  # noqa: ANN401
    """Refuse what is about to be sent somewhere if it names a bucket, image or other resource in no allowed region.

    Args:
        named: The request, or by name the places that are not in one.
        allowed_regions: Empty for any; S3 is asked nothing then.
        s3: The client of boto3 for S3; by default that of the environment's region and credentials.

    Raises:
        DataError: naming what lies elsewhere; if S3 does not tell where a bucket lies.
    """
    refuse_foreign_regions(named, allowed_regions)
    if not allowed_regions:
        return
    with _answered("GetBucketLocation"):
        refuse_foreign_buckets(named, allowed_regions, lambda bucket: _region_of(bucket, s3 or _client("s3")))


@contextmanager
def _answered(operation: str) -> Iterator[None]:
    """Say without AWS's own text what went wrong: it quotes the values that it does not like."""
    try:
        yield
    except ClientError as error:
        told = error.response.get("Error", {})
        raise DataError(
            f"{operation} was refused ({told.get('Code', 'unknown')}); check the role's rights, the quota and the name"
        ) from None
    except BotoCoreError as error:
        raise DataError(
            f"{operation} was not sent ({type(error).__name__}); set AWS_REGION and the credentials"
        ) from None


def _client(service: str) -> Any:  # noqa: ANN401
    import boto3

    return boto3.client(service)


def _region_of(bucket: str, s3: Any) -> str:  # noqa: ANN401
    # Of us-east-1 S3 says nothing.
    return str(s3.get_bucket_location(Bucket=bucket).get("LocationConstraint") or "us-east-1")
