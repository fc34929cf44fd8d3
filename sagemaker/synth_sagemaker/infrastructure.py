"""Where jobs run and what guards them: what belongs to the AWS account and to no step."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from synth_components.config import Config
from synth_sagemaker.residency import AllowedRegions
from synth_sagemaker.secret import ENCRYPT_KEY, exposed_key, secret_in

_DAY = 24 * 3600
_MAX_RUNTIME = 777_600
"""Seconds that the shorter-lived kind of job, processing, may take at most."""


class Platform(Config):
    """Where jobs run, in secure settings: each of them is turned off by name, or not at all."""

    image: str = Field(min_length=1, description="Image of every job, in a registry of the jobs' region.")
    role: str = Field(
        min_length=1, description="ARN of the role that jobs run as; `synth sagemaker iam` writes its policy."
    )
    pipeline_role: str = Field(
        "",
        description="ARN of the role that a pipeline makes its jobs as, with the launcher's policy; empty for role, "
        "which then needs that policy, too.",
    )
    output: str = Field(
        pattern=r"^s3://[^/]+(/.*)?$", description="s3:// prefix under which every job writes, in a folder of its name."
    )
    instance_type: str = Field("ml.m5.xlarge", description="Instance type of jobs.")
    instance_count: int = Field(1, ge=1, le=100, description="Instances of a training job; other jobs take one.")
    volume_size_gb: int = Field(30, ge=1, le=16_384, description="Storage volume of each instance, in GB.")
    volume_kms_key: str = Field("", description="KMS key of the instances' volumes; empty for the service's own.")
    output_kms_key: str = Field("", description="KMS key of what jobs write to S3; empty for the service's own.")
    subnets: tuple[str, ...] = Field((), description="Subnets of jobs; empty for no VPC.")
    security_groups: tuple[str, ...] = Field((), description="Security groups of jobs; empty for no VPC.")
    network_isolation: bool = Field(
        True, description="Whether containers have no network at all; false is written into the tags of each job."
    )
    max_runtime_seconds: int = Field(
        _DAY, ge=1, le=_MAX_RUNTIME, description="Seconds after which a job is stopped, with 120 more to end by itself."
    )
    max_wait_seconds: int = Field(
        0,
        ge=0,
        lt=2**31,
        description="Most seconds that a training job waits for spot capacity and runs, together; 0 takes no spot "
        "capacity. Not with privacy=dp.",
    )
    environment: dict[str, str] = Field(
        {}, description="Environment variables of every job; they are no place for secrets."
    )
    tags: dict[str, str] = Field({}, description="Tags of every resource, beside those named synth:.")
    allowed_regions: AllowedRegions = ()

    @property
    def sealing_key(self) -> str:
        """The key of KMS that jobs themselves encrypt models and tables with; empty for none."""
        kind, _, key = self.environment.get(ENCRYPT_KEY, "").partition(":")
        return key if kind == "kms" else ""

    @field_validator("output")
    @classmethod
    def _without_slash(cls, text: str) -> str:
        return text.rstrip("/")

    @field_validator("tags")
    @classmethod
    def _are_free(cls, tags: dict[str, str]) -> dict[str, str]:
        for key in tags:
            if key.startswith(("synth:", "aws:")):
                raise ValueError("tags named synth: and aws: are taken; give the tag another name")
        return tags

    @field_validator("tags", "environment")
    @classmethod
    def _hold_no_secret(cls, entries: dict[str, str]) -> dict[str, str]:
        for key, value in entries.items():
            if secret_in(key, value) or key == exposed_key(entries):
                raise ValueError(f"'{key}' looks like a secret, which everyone reads who may describe the job")
        return entries

    @model_validator(mode="after")
    def _vpc_is_whole(self) -> Platform:
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("subnets and security_groups belong together; give both, or neither")
        return self

    @model_validator(mode="after")
    def _key_is_in_reach(self) -> Platform:
        if self.network_isolation and self.sealing_key:
            raise ValueError(
                f"{ENCRYPT_KEY} is a key of KMS, which a container without network cannot ask; say network_isolation "
                "false, with subnets that reach KMS alone, or leave encryption to volume_kms_key and output_kms_key"
            )
        return self

    @model_validator(mode="after")
    def _waits_longer_than_it_runs(self) -> Platform:
        if 0 < self.max_wait_seconds < self.max_runtime_seconds:
            raise ValueError("max_wait_seconds holds max_runtime_seconds; raise the one, or lower the other")
        return self
