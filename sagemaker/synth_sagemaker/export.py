"""The step from a model folder to what SageMaker hosts: ``model.tar.gz``, and the request that makes a model of it."""

from __future__ import annotations

import logging
import shutil
from importlib.util import find_spec
from math import isfinite

from pydantic import Field, model_validator

from synth_components.config import StepConfig
from synth_components.errors import UnsupportedError
from synth_components.steps.port import InModel, OutDirectory
from synth_sagemaker.residency import AllowedRegions

_LOG = logging.getLogger(f"synth_components.{__name__}")  # the command line shows what the core logs

REQUEST = "create-model.json"
"""Name of the request in the bundle."""


class ExportConfig(StepConfig):
    """Where the model goes, and what the request that names it says."""

    destination: str = Field(
        "",
        pattern=r"^(s3://[^/]+(/.*)?)?$",
        description="s3:// folder that model.tar.gz is copied to; empty for no copy.",
    )
    name: str = Field(
        "", description="Name of the SageMaker model, for a CreateModel request in the bundle; empty for no request."
    )
    image: str = Field("", description="Image of the request, in a registry of the region; one of target sagemaker.")
    role: str = Field("", description="ARN of the role that the request's model runs as.")
    allowed_regions: AllowedRegions = ()

    @model_validator(mode="after")
    def _request_is_whole(self) -> ExportConfig:
        if self.name and not (self.destination and self.image and self.role):
            raise ValueError("a request needs name, destination, image and role; give all of them, or no name")
        return self


def export(config: ExportConfig, *, model: InModel, bundle: OutDirectory) -> None:
    r"""Pack a model as the model.tar.gz that SageMaker serves, the same bytes for the same model.

    With a destination it is copied there; with a name, image and role the bundle also holds a CreateModel request:

        synth sagemaker export --model model --bundle bundle --destination s3://bucket/customers \
            --name customers --image 111122223333.dkr.ecr.eu-west-1.amazonaws.com/synth:0.1.0 --role arn:aws:iam::...
        aws sagemaker create-model --cli-input-json file://bundle/create-model.json

    Args:
        model: The model to serve.
        bundle: model.tar.gz and, if asked for, create-model.json.

    Raises:
        DataError: if bucket or image lies in no allowed region; nothing was written or sent then.
        UnsupportedError: for allowed regions without boto3.
    """
    from synth_components.io.archive import pack
    from synth_components.io.location import locate, writing
    from synth_components.model import Model
    from synth_components.policy import guard
    from synth_components.steps.record import write_json
    from synth_sagemaker.layout import MODEL_ARCHIVE

    if config.allowed_regions:  # boto3, which asks where the bucket lies, is not needed to pack
        if find_spec("boto3") is None:
            raise UnsupportedError(
                "allowed_regions asks S3 where the bucket lies, by boto3; pip install 'synth-components[sagemaker]'"
            )
        from synth_sagemaker.launch import require_allowed
        from synth_sagemaker.residency import refuse_unknown_places

        refuse_unknown_places({"destination": config.destination}, config.allowed_regions)
        named = {"destination": config.destination, **({"Image": config.image} if config.name else {})}
        require_allowed(named, config.allowed_regions)
    fitted = Model.load(model)  # refuses what is no model, or one that was changed, before anything is written
    guard.release(fitted, None, to=config.destination or str(bundle))
    bundle.mkdir(parents=True, exist_ok=True)
    archive = bundle / MODEL_ARCHIVE
    pack(model, archive)
    target = f"{config.destination.rstrip('/')}/{MODEL_ARCHIVE}"
    if config.name:
        from synth_sagemaker.infrastructure import Platform
        from synth_sagemaker.registry import model as request

        platform = Platform(
            image=config.image, role=config.role, output=config.destination, allowed_regions=config.allowed_regions
        )
        is_private = isfinite(fitted.privacy.epsilon)
        write_json(bundle / REQUEST, request(config.name, target, platform=platform, is_private=is_private))
    if config.destination:
        with writing(locate(target)) as part:
            shutil.copyfile(archive, part)
        _LOG.info("copied the model to %s", target)
