"""Run where version 3 of the SageMaker SDK is installed: its steps have the arguments that our requests have.

Prints the SDK's version, and each member that differs, as JSON.
"""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "SAGEMAKER_VALIDATE_ROLE": "false",
}
"""The SDK makes clients as it is imported, and asks IAM about the role."""


def differences(name, made, asked):
    """Yield every member that the SDK's step has otherwise than the request."""
    wanted = {key: value for key, value in asked.items() if not key.endswith("JobName")}
    told = json.loads(json.dumps(made, default=lambda value: value.expr))
    for key in sorted(set(told) | set(wanted)):
        if told.get(key) != wanted.get(key):
            yield [name, key, told.get(key), wanted.get(key)]


def main():
    os.environ.update(ENVIRONMENT)
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import boto3
    import sagemaker_requests as requested
    from sagemaker.core.telemetry import telemetry_logging
    from sagemaker.core.workflow.pipeline_context import PipelineSession

    from synth_sagemaker import sdk
    from synth_sagemaker.pipeline import Options, pipeline

    telemetry_logging._send_telemetry_request = lambda *_, **__: None  # nothing leaves this machine
    session = PipelineSession(boto_session=boto3.Session(region_name="eu-central-1"), default_bucket="bucket")
    found, checked = [], 0
    for platform in (requested.PLATFORM, requested.GUARDED):
        for name, build, step in (
            ("training", requested.training, sdk.as_training_step),
            ("processing", requested.processing, sdk.as_processing_step),
            ("evaluation", requested.evaluation, sdk.as_processing_step),
        ):
            request = build(platform)
            found += differences(name, step(name, request, session=session).arguments, request)
            checked += 1
        definition = pipeline(platform, Options(), data="s3://bucket/real/")
        kinds = {"Training": sdk.as_training_step, "Processing": sdk.as_processing_step}
        for one in definition["Steps"]:
            if one["Type"] in kinds:
                made = kinds[one["Type"]](one["Name"], one["Arguments"], session=session)
                found += differences(one["Name"], made.arguments, one["Arguments"])
                checked += 1
    sys.stdout.write(json.dumps({"sdk": version("sagemaker"), "checked": checked, "differences": found}) + "\n")


if __name__ == "__main__":
    main()
