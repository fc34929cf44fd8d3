"""One request of every kind, of the same account, and the comparison with its golden file."""

import json
import os
import re
from importlib.metadata import version
from pathlib import Path

from synth_components.steps import load
from synth_components.steps.port import config_of
from synth_components.steps.train import TrainConfig
from synth_sagemaker.endpoint import async_endpoint_config, endpoint, endpoint_config, serverless_endpoint_config
from synth_sagemaker.hyperparameters import Training
from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.pipeline import create_pipeline
from synth_sagemaker.processing import processing_job
from synth_sagemaker.registry import algorithm_resource, model, model_package, model_package_group
from synth_sagemaker.training import training_job
from synth_sagemaker.transform import transform_job
from synth_sagemaker.tuning import tuning_job

GOLDEN = Path(__file__).parent / "sagemaker" / "golden"
ACCOUNT = "123456789012"
REGION = "eu-central-1"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/synth-components:0.1.0"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
PLATFORM = Platform(image=IMAGE, role=f"arn:aws:iam::{ACCOUNT}:role/synth", output="s3://bucket/synth")
GUARDED = PLATFORM.model_copy(
    update={
        "volume_kms_key": KEY,
        "output_kms_key": KEY,
        "subnets": ("subnet-1", "subnet-2"),
        "security_groups": ("sg-1",),
        "tags": {"team": "risk"},
        "environment": {"SYNTH_MAX_MEMORY": "8GiB"},
        "allowed_regions": (REGION,),
    }
)
DATA = {"data": "s3://bucket/train/"}
MODEL = "s3://bucket/synth/job/output/model.tar.gz"


def config(step, **options):
    return config_of(load(step)).parse(options)


def training(platform=PLATFORM, *, overrides=None, **options):
    said = Training(TrainConfig(**{"generator_options": {"min_leaf": 20}, "seed": 5, **options}))
    return training_job(said, DATA, platform=platform, name="synth-train-1", overrides=overrides)


def processing(platform=PLATFORM, *, overrides=None, instance_count=1, **options):
    return processing_job(
        "sample",
        config("sample", **{"num_rows": 500, "seed": 3, **options}),
        {"model": MODEL},
        platform=platform,
        name="synth-sample-1",
        instance_count=instance_count,
        overrides=overrides,
    )


def evaluation(platform=PLATFORM, *, overrides=None):
    inputs = {port: f"s3://bucket/{port}/" for port in ("train", "holdout", "synthetic")}
    return processing_job(
        "evaluate_tstr",
        config("evaluate_tstr", target="outcome"),
        inputs,
        platform=platform,
        name="synth-tstr-1",
        overrides=overrides,
    )


def transform(platform=PLATFORM, *, overrides=None):
    return transform_job(
        "synth-model", "s3://bucket/requests/", platform=platform, name="synth-rows-1", overrides=overrides
    )


def tuning(platform=PLATFORM, *, overrides=None):
    return tuning_job(
        Training(TrainConfig(seed=5, generator_options={"min_leaf": 20})),
        {**DATA, "holdout": "s3://bucket/holdout/"},
        {"generator.min_leaf": (5, 100), "generator.n_trees": None},
        platform=platform,
        name="synth-tune-1",
        overrides=overrides,
    )


def registered_model(platform=PLATFORM, *, overrides=None, place=MODEL):
    return model("synth-model", place, platform=platform, overrides=overrides)


def group(platform=PLATFORM, *, overrides=None):
    return model_package_group("synth-generators", platform=platform, overrides=overrides)


def package(platform=PLATFORM, *, overrides=None):
    reports = {name: f"s3://bucket/synth/{name}/statistics.json" for name in ("utility", "fidelity", "privacy")}
    return model_package(
        "synth-generators",
        MODEL,
        platform=platform,
        reports=reports,
        constraints="s3://bucket/synth/utility/constraints.json",
        properties={"synth.generator": "tabular.trees"},
        overrides=overrides,
    )


def real_time(platform=PLATFORM, *, overrides=None):
    return endpoint_config("synth-1", "synth-model", platform=platform, overrides=overrides)


def serverless(platform=PLATFORM, *, overrides=None):
    # AWS has no serverless endpoint with network isolation or a VPC.
    bare = platform.model_copy(update={"network_isolation": False, "subnets": (), "security_groups": ()})
    return serverless_endpoint_config("synth-2", "synth-model", platform=bare, overrides=overrides)


def queued(platform=PLATFORM, *, overrides=None):
    topic = "arn:aws:sns:eu-central-1:111122223333:synth"
    return async_endpoint_config("synth-3", "synth-model", platform=platform, error_topic=topic, overrides=overrides)


def named_endpoint(platform=PLATFORM, *, overrides=None):
    return endpoint("synth", "synth-1", platform=platform, overrides=overrides)


def algorithm(platform=PLATFORM, *, overrides=None):
    return algorithm_resource("tabular.independent", platform=platform, overrides=overrides)


def named_pipeline(platform=PLATFORM, *, overrides=None):
    fail = {"Name": "Stop", "Type": "Fail", "Arguments": {"ErrorMessage": "as asked"}}
    return create_pipeline("synth", {"Version": "2020-12-01", "Steps": [fail]}, platform=platform, overrides=overrides)


REQUESTS = {
    "training": ("CreateTrainingJob", training),
    "processing": ("CreateProcessingJob", processing),
    "evaluation": ("CreateProcessingJob", evaluation),
    "transform": ("CreateTransformJob", transform),
    "tuning": ("CreateHyperParameterTuningJob", tuning),
    "model": ("CreateModel", registered_model),
    "model_package_group": ("CreateModelPackageGroup", group),
    "model_package": ("CreateModelPackage", package),
    "endpoint_config": ("CreateEndpointConfig", real_time),
    "serverless_endpoint_config": ("CreateEndpointConfig", serverless),
    "async_endpoint_config": ("CreateEndpointConfig", queued),
    "algorithm": ("CreateAlgorithm", algorithm),
    "endpoint": ("CreateEndpoint", named_endpoint),
    "create_pipeline": ("CreatePipeline", named_pipeline),
}
"""Operation and builder of every request by the name of its golden files."""


def abridged(value):
    """Return a value without what sagemaker/algorithms holds already, in a test of its own."""
    if isinstance(value, list):
        return [abridged(part) for part in value]
    if not isinstance(value, dict):
        return value
    left_out = {"MetricDefinitions", "SupportedHyperParameters", "SupportedTuningJobObjectiveMetrics"}
    return {name: "ABRIDGED" if name in left_out else abridged(part) for name, part in value.items()}


def assert_golden(name, value):
    """Compare a value with its golden file, version aside."""
    text = json.dumps(abridged(value), indent=1, sort_keys=True) + "\n"
    text = text.replace(f'"{version("synth-components")}"', '"VERSION"')
    # The digest is of every option, those of other people's steps included: it changes with each new one.
    text = re.sub(r'"[0-9a-f]{64}"', '"DIGEST"', text)
    path = GOLDEN / f"{name}.json"
    if os.environ.get("SYNTH_WRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs; SYNTH_WRITE_GOLDEN=1 writes it anew"
