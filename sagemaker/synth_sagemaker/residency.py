"""Data that may not leave some regions: what a request names is looked at before it is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from synth_components.errors import DataError

IMAGE = re.compile(
    r"^(?P<account>\d{12})\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(?P<name>[^:@]+)"
)
"""How the address of an image in ECR is written."""

AllowedRegions: TypeAlias = Annotated[
    tuple[str, ...],
    Field(description="Regions that a bucket, image, key or endpoint may lie in; empty for any."),
]
"""The one declaration of the option."""

_ARN = re.compile(r"^(?:kms:)?arn:aws[a-z-]*:[a-z0-9-]+:(?P<region>[a-z0-9-]*):")
_BUCKET = re.compile(r"^s3://([^/]+)")
_OVER_HTTPS = re.compile(r"^https://[^/]*\bs3\b[^/]*\.amazonaws\.com", re.IGNORECASE)
_IMAGES = ("TrainingImage", "ImageUri", "Image")


def refuse_foreign_regions(request: Any, allowed: Sequence[str]) -> None:  # noqa: ANN401 - any JSON value
    """Refuse a request that names a key, image or other resource outside of the allowed regions.

    The name of a bucket does not tell its region: ``refuse_foreign_buckets`` asks S3.

    Args:
        allowed: Regions, such as ``eu-central-1``; empty allows every one.

    Raises:
        DataError: naming the member and both regions.
    """
    if not allowed:
        return
    for path, text in _texts(request, ""):
        found = _ARN.match(text) or IMAGE.match(text)
        if found is None and path.rpartition(".")[2] in _IMAGES:
            raise DataError(
                f"{path}: the image's address tells no region, and only {', '.join(allowed)} are allowed; push it to "
                "ECR there"
            )
        if _OVER_HTTPS.match(text):
            raise DataError(f"{path}: an address of S3 over HTTPS tells no bucket surely; write it as s3://BUCKET/KEY")
        if found is not None and found["region"]:  # IAM is of no region
            require_region(found["region"], allowed, path)


def refuse_foreign_buckets(request: Any, allowed: Sequence[str], region_of: Callable[[str], str]) -> None:  # noqa: ANN401
    """Refuse a request that names a bucket outside of the allowed regions.

    Args:
        region_of: Tells the region of a bucket.

    Raises:
        DataError: naming the bucket and both regions.
    """
    if not allowed:
        return
    for bucket in buckets(request):
        require_region(region_of(bucket), allowed, f"bucket '{bucket}'")


def refuse_unknown_places(places: Mapping[str, str], allowed: Sequence[str]) -> None:
    """Refuse addresses that tell no region: of another store than S3, or of an endpoint of their own.

    Args:
        places: By name, paths of this machine, which are let pass, and addresses.

    Raises:
        DataError: naming the place.
    """
    for name, place in places.items() if allowed else ():
        scheme, colon, rest = place.partition(":")
        if not colon or "/" in scheme or scheme == "file":
            continue
        if scheme != "s3":
            raise DataError(
                f"{name}: an address of '{scheme}:' tells no region, and only {', '.join(allowed)} are allowed; use "
                "s3://BUCKET/KEY there"
            )
        if "?" in rest:
            raise DataError(f"{name}: the query of an address may name another endpoint; write it as s3://BUCKET/KEY")


def require_region(region: str, allowed: Sequence[str], what: str) -> None:
    """Refuse a region that is not allowed; every one is if none is named.

    Raises:
        DataError: naming what lies there.
    """
    if allowed and region not in allowed:
        raise DataError(f"{what} lies in {region}, and only {', '.join(allowed)} are allowed; use one there")


def buckets(request: Any) -> list[str]:  # noqa: ANN401
    """Return the buckets that a request names, each once."""
    found: list[str] = []
    for path, text in _texts(request, ""):
        if path == "PipelineDefinitionS3Location.Bucket":
            found.append(text)
        elif one := _BUCKET.match(text):
            found.append(one[1])
    return list(dict.fromkeys(found))


def opened(name: str, value: Any) -> Any:  # noqa: ANN401
    """Return a member as it is, and the definition of a pipeline, which a request holds as text, as what it says.

    Raises:
        DataError: if the definition is no JSON, so that nobody can tell what it names.
    """
    if name != "PipelineDefinition" or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise DataError("PipelineDefinition is no JSON; `synth sagemaker pipeline` writes a definition") from None


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """Yield path and text of every text, those within the definition of a pipeline too."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _texts(opened(name, part), f"{path}.{name}" if path else name)
    elif isinstance(value, list | tuple):
        for place, part in enumerate(value):
            yield from _texts(part, f"{path}[{place}]")
