"""Requests: golden, checked by the service's model, overridable but for what is reserved, and safe by default."""

import re
from datetime import UTC, datetime

import pytest
import sagemaker_requests as requested
from hypothesis import given
from hypothesis import strategies as st
from sagemaker_requests import DATA, GUARDED, KEY, PLATFORM, REQUESTS, assert_golden

from synth_components import generators, steps
from synth_components.config import ConfigError
from synth_components.errors import DataError, UnsupportedError
from synth_components.generators import recipe_type
from synth_components.steps.command import flattened
from synth_components.steps.port import config_of, ports
from synth_components.steps.train import TrainConfig
from synth_sagemaker.endpoint import serverless_endpoint_config
from synth_sagemaker.hyperparameters import Training
from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.metrics import METRICS
from synth_sagemaker.names import job_name, resource_name
from synth_sagemaker.options import texts_of, words_of
from synth_sagemaker.processing import processing_job
from synth_sagemaker.request import RESERVED
from synth_sagemaker.secret import secret_in
from synth_sagemaker.shapes import problems
from synth_sagemaker.training import training_job
from synth_sagemaker.tuning import parameter_ranges, tuning_job

KINDS = pytest.mark.parametrize("kind", REQUESTS)


@KINDS
@pytest.mark.parametrize("place", ["plain", "guarded"])
def test_13_a_request_is_golden_and_the_model_accepts_it(kind, place):
    operation, build = REQUESTS[kind]
    request = build({"plain": PLATFORM, "guarded": GUARDED}[place])
    assert problems(operation, request) == []
    assert_golden(f"{kind}.{place}", request)


def test_13_every_operation_has_a_list_of_what_is_reserved():
    assert {operation for operation, _ in REQUESTS.values()} <= set(RESERVED)


EXTRA = {
    "CreateTrainingJob": {"RetryStrategy": {"MaximumRetryAttempts": 2}},
    "CreateProcessingJob": {"ExperimentConfig": {"ExperimentName": "synth"}},
    "CreateTransformJob": {"TransformInput": {"CompressionType": "Gzip"}},
    "CreateHyperParameterTuningJob": {"HyperParameterTuningJobConfig": {"Strategy": "Random"}},
    "CreateModel": {"PrimaryContainer": {"ContainerHostname": "synth"}},
    "CreateModelPackage": {"InferenceSpecification": {"SupportedContentTypes": ["text/csv"]}},
    "CreateModelPackageGroup": {"ModelPackageGroupDescription": "Ours."},
    "CreateEndpointConfig": {"MetricsConfig": {"EnableEnhancedMetrics": True}},
    "CreateAlgorithm": {"CertifyForMarketplace": True},
    "CreatePipeline": {"ParallelismConfiguration": {"MaxParallelExecutionSteps": 3}},
    "CreateEndpoint": {"DeploymentConfig": {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "late"}]}}},
}


def leaves(value, path=()):
    """Return what is no map, by the path to it."""
    if not isinstance(value, dict):
        return {path: value}
    return {place: leaf for name, part in value.items() for place, leaf in leaves(part, (*path, name)).items()}


@KINDS
def test_13_overrides_are_merged_deeply(kind):
    operation, build = REQUESTS[kind]
    plain, made = build(), build(overrides={operation: EXTRA[operation]})
    assert leaves(made) == {**leaves(plain), **leaves(EXTRA[operation])}  # nothing beside it is lost


@pytest.mark.parametrize(
    ("operation", "path"),
    [(operation, path) for operation in sorted({op for op, _ in REQUESTS.values()}) for path in RESERVED[operation]],
)
def test_13_no_override_touches_a_reserved_link(operation, path):
    builders = {op: build for op, build in REQUESTS.values()}
    override = "anything"
    for name in reversed(path.split(".")):
        override = {name: override}
    with pytest.raises(ConfigError, match="may not set"):
        builders[operation](overrides={operation: override})


def test_13_an_override_does_not_replace_what_holds_a_reserved_link():
    with pytest.raises(ConfigError, match=r"may not set 'AlgorithmSpecification'.*TrainingImage"):
        requested.training(overrides={"CreateTrainingJob": {"AlgorithmSpecification": "other"}})


def test_13_an_override_of_an_unknown_operation_is_refused():
    with pytest.raises(ConfigError, match="CreateTrainingJbo"):
        requested.training(overrides={"CreateTrainingJbo": {}})


def test_13_an_override_that_the_model_refuses_is_named():
    with pytest.raises(DataError, match="MaximumRetryAttempts: at most 30"):
        requested.training(overrides={"CreateTrainingJob": {"RetryStrategy": {"MaximumRetryAttempts": 31}}})


def test_14_jobs_are_isolated_bounded_and_cost_no_spot_interruption_by_default():
    training, processing, model = requested.training(), requested.processing(), requested.registered_model()
    assert training["EnableNetworkIsolation"] is True
    assert processing["NetworkConfig"]["EnableNetworkIsolation"] is True
    assert model["EnableNetworkIsolation"] is True
    assert training["StoppingCondition"] == processing["StoppingCondition"] == {"MaxRuntimeInSeconds": 86_400}
    assert training["EnableManagedSpotTraining"] is False


@pytest.mark.parametrize(("count", "is_encrypted"), [(1, False), (2, True)])
def test_14_traffic_between_instances_is_encrypted(count, is_encrypted):
    request = requested.training(PLATFORM.model_copy(update={"instance_count": count}))
    assert request["EnableInterContainerTrafficEncryption"] is is_encrypted


@pytest.mark.parametrize(("count", "is_encrypted"), [(1, False), (3, True)])
def test_14_traffic_between_instances_that_draw_is_encrypted(count, is_encrypted):
    request = requested.processing(instance_count=count)
    assert request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == count
    assert request["NetworkConfig"]["EnableInterContainerTrafficEncryption"] is is_encrypted


@pytest.mark.parametrize(
    ("build", "override"),
    [
        (requested.training, {"CreateTrainingJob": {"ResourceConfig": {"InstanceCount": 2}}}),
        (requested.training, {"CreateTrainingJob": {"ResourceConfig": {"InstanceGroups": []}}}),
        (
            requested.processing,
            {"CreateProcessingJob": {"ProcessingResources": {"ClusterConfig": {"InstanceCount": 2}}}},
        ),
        (
            requested.tuning,
            {
                "CreateHyperParameterTuningJob": {
                    "TrainingJobDefinition": {"HyperParameterTuningResourceConfig": {"InstanceCount": 2}}
                }
            },
        ),
    ],
)
def test_14_no_override_adds_instances_whose_traffic_is_open(build, override):
    with pytest.raises(ConfigError, match=r"may not set .*(InstanceCount|InstanceGroups)"):
        build(overrides=override)


def test_14_keys_and_vpc_are_passed_through():
    training, processing = requested.training(GUARDED), requested.processing(GUARDED)
    vpc = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1", "subnet-2"]}
    assert training["ResourceConfig"]["VolumeKmsKeyId"] == training["OutputDataConfig"]["KmsKeyId"] == KEY
    cluster = processing["ProcessingResources"]["ClusterConfig"]
    assert cluster["VolumeKmsKeyId"] == processing["ProcessingOutputConfig"]["KmsKeyId"] == KEY
    assert training["VpcConfig"] == processing["NetworkConfig"]["VpcConfig"] == vpc
    assert requested.registered_model(GUARDED)["VpcConfig"] == vpc
    assert requested.transform(GUARDED)["TransformOutput"]["KmsKeyId"] == KEY
    assert requested.real_time(GUARDED)["KmsKeyId"] == KEY


@pytest.mark.parametrize("build", [requested.training, requested.processing, requested.registered_model])
def test_14_isolation_is_turned_off_by_name_and_tagged(build):
    request = build(PLATFORM.model_copy(update={"network_isolation": False}))
    held = {**request, **request.get("NetworkConfig", {})}
    assert held["EnableNetworkIsolation"] is False
    assert {"Key": "synth:network-isolation", "Value": "off"} in request["Tags"]


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"network_isolation": True}, "network_isolation"),
        ({"network_isolation": False, "subnets": ("subnet-1",), "security_groups": ("sg-1",)}, "subnets"),
    ],
)
def test_14_a_serverless_endpoint_with_isolation_or_a_vpc_is_refused(change, option):
    with pytest.raises(ConfigError, match=f"with {option}; take endpoint_config") as told:
        serverless_endpoint_config("synth-2", "synth-model", platform=PLATFORM.model_copy(update=change))
    assert told.value.option == option


def test_14_spot_capacity_comes_with_checkpoints_and_a_longer_wait():
    request = requested.training(PLATFORM.model_copy(update={"max_wait_seconds": 100_000}))
    assert request["EnableManagedSpotTraining"] is True
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 86_400, "MaxWaitTimeInSeconds": 100_000}
    assert request["CheckpointConfig"]["S3Uri"] == "s3://bucket/synth/checkpoints/synth-train-1"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"subnets": ("subnet-1",)}, "belong together"),
        ({"max_wait_seconds": 60}, "holds max_runtime_seconds"),
        ({"tags": {"synth:version": "9"}}, "taken"),
        ({"tags": {"aws:team": "risk"}}, "taken"),
        ({"environment": {"DB_PASSWORD": "x"}}, "looks like a secret"),
        ({"output": "/local"}, "output"),
    ],
)
def test_a_platform_that_contradicts_itself_is_refused(change, told):
    with pytest.raises(ConfigError, match=told):
        Platform.parse({**PLATFORM.model_dump(), **change})


SECRETS = {
    "db_password": "hunter2",
    "API_KEY": "x",
    "aws-secret-access-key": "x",
    "auth": "x",
    "github.token": "x",
    "note": "AKIA" + "ABCDEFGHIJKLMNOP",
    "pem": "-----BEGIN RSA PRIVATE KEY-----",
    "web": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln",
    "dsn": "postgresql://user:pass@host/db",
}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("build", [requested.training, requested.processing, requested.transform, requested.tuning])
def test_14_what_looks_like_a_secret_is_refused_without_showing_it(name, build):
    unchecked = PLATFORM.model_copy(update={"environment": {name: SECRETS[name]}})
    with pytest.raises(ConfigError, match=r"Environment\..*looks like a secret") as told:
        build(unchecked)
    assert SECRETS[name] == "x" or SECRETS[name] not in str(told.value)


def test_14_a_secret_among_the_hyperparameters_is_refused():
    with pytest.raises(ConfigError, match=r"HyperParameters\.trust: this looks like a secret"):
        requested.training(trust=("https://user:pass@host/package",))


def test_14_a_secret_among_the_words_of_a_processing_job_is_refused():
    with pytest.raises(ConfigError, match=r"ContainerArguments\[\d+\]"):
        requested.processing(columns=("postgresql://user:pass@host/db",))


def test_14_no_option_of_ours_is_taken_for_a_secret():
    configs = [Platform, *(config_of(steps.load(name)) for name in steps.STEPS), *map(recipe_type, generators.names())]
    for config in configs:
        for option, field in config.model_fields.items():
            for name in (option, f"generator.{option}", f"SYNTH_{option.upper()}"):
                assert not secret_in(name, str(field.default)), name


@pytest.mark.parametrize("operation", sorted(RESERVED))
def test_14_no_link_of_a_request_and_no_tag_of_ours_is_taken_for_a_secret(operation):
    for path in RESERVED[operation]:
        assert not secret_in(path, "value")
    for tag in ("synth:version", "synth:config-digest", "synth:network-isolation", "synth:personal-data"):
        assert not secret_in(tag, "value")


NAMED = (
    *("dbPassword", "secretKey", "clientSecret", "accessToken", "DB_PASS", "MYSQL_PWD", "PASSWORDS", "userPwd"),
    *(
        "PGPASSWORD",
        "APIKey",
        "api_keys",
        "GitHubToken",
        "secretkey",
        "refreshtoken",
        "accessTokens",
        "pwd",
        "pass",
        "credentials",
    ),
    *("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "privateKeys", "db.secret", "keyPassphrase"),
)


@pytest.mark.parametrize("name", NAMED)
def test_14_a_name_that_says_that_its_value_is_secret_is_refused_however_it_is_written(name):
    assert secret_in(name, "x")


HARMLESS = (
    *("author", "tokens", "token_count", "monkey", "keyboard", "secretary", "maxTokens", "tokenCount", "authorName"),
    *("PWD", "OLDPWD", "num_passes", "passThrough", "compass", "low_pass", "SECRET_ARN", "secretsManagerArn"),
    *("S3DataType", "ClientRequestTokens", "KmsKeyId", "SYNTH_ENCRYPT_KEY", "partition_keys", "AWS_DEFAULT_REGION"),
)


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_name_is_no_secret(name):
    assert not secret_in(name, "value")


@pytest.mark.parametrize("kind", [kind for kind in REQUESTS if kind != "model_package"])
def test_19_every_resource_is_tagged_with_the_version(kind):
    keys = [tag["Key"] for tag in REQUESTS[kind][1]()["Tags"]]
    assert "synth:version" in keys


@pytest.mark.parametrize("kind", ["training", "processing", "evaluation", "tuning", "transform"])
def test_19_every_job_is_tagged_with_the_digest_of_its_config(kind):
    (digest,) = (tag["Value"] for tag in REQUESTS[kind][1]()["Tags"] if tag["Key"] == "synth:config-digest")
    assert len(digest) == 64


def test_19_equal_configs_have_equal_digests_and_others_do_not():
    def digest(**options):
        tags = requested.training(**options)["Tags"]
        return next(tag["Value"] for tag in tags if tag["Key"] == "synth:config-digest")

    assert digest() == digest(seed=5) != digest(seed=1)


def test_a_model_without_differential_privacy_is_tagged_as_personal_data():
    def tag(**options):
        return next(t["Value"] for t in requested.training(**options)["Tags"] if t["Key"] == "synth:personal-data")

    assert tag() == "true"
    assert tag(generator="tabular.mst", generator_options={}, seed=0, privacy="dp", epsilon=1.0) == "false"


@pytest.mark.parametrize("step", steps.STEPS)
def test_a_job_that_hands_on_real_rows_or_a_model_of_them_is_tagged_as_personal_data(step):
    known = ports(steps.load(step))
    needed = {port: f"s3://bucket/{port}/" for port, one in known.items() if one.direction == "in" and not one.optional}
    asked = processing_job(step, requested.config(step), needed, platform=PLATFORM, name="synth-1")
    tags = {tag["Key"]: tag["Value"] for tag in asked["Tags"]}
    handed_on = {"split", "augment", "protect", "run", "train", "tune"}
    assert tags.get("synth:personal-data") == ("true" if step in handed_on else None)


def test_a_step_that_learns_with_differential_privacy_is_not_tagged():
    private = {"privacy": "dp", "generator": "tabular.mst", "generator_options": {}}
    config = config_of(steps.load("train")).model_validate(private)
    asked = processing_job("train", config, {"data": "s3://bucket/data/"}, platform=PLATFORM, name="synth-1")
    assert "synth:personal-data" not in {tag["Key"] for tag in asked["Tags"]}


NAME = r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"


@given(st.lists(st.text(), max_size=4), st.sampled_from([63, 32, 20]))
def test_19_a_name_always_satisfies_the_pattern(parts, length):
    name = resource_name(*parts, max_length=length)
    assert re.fullmatch(NAME, name)
    assert len(name) <= length


@given(st.lists(st.text(), max_size=3), st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)))
def test_19_a_job_name_keeps_its_moment(parts, moment):
    assert job_name(*parts, moment=moment).endswith(moment.strftime("%f")[:3])


def test_names_of_two_moments_differ():
    first, second = (datetime(2026, 1, 1, 0, 0, 0, micro, tzinfo=UTC) for micro in (1_000, 2_000))
    assert job_name("x" * 80, moment=first) != job_name("x" * 80, moment=second)


@pytest.mark.parametrize("step", ["train", "sample", "evaluate", "augment", "split", "gate"])
def test_every_option_of_a_step_reaches_its_job(step):
    """No default of our own: what was said goes to the container, which has the defaults of the rest."""
    cls = config_of(steps.load(step))
    said = cls.parse(cls().model_dump(mode="json"))
    assert set(texts_of(said)) == set(cls.model_fields) - set(flattened(cls).values())
    assert texts_of(cls()) == {}
    assert words_of(said)[::2] == [f"--{option.replace('_', '-')}" for option in texts_of(said)]


def test_options_of_the_generator_are_flattened():
    assert requested.training()["HyperParameters"]["generator.min_leaf"] == "20"
    assert "generator_options" not in requested.training()["HyperParameters"]


def test_the_words_of_a_processing_job_are_those_of_the_command_line():
    from click import Context

    from synth_components.steps.command import StepCommand, read_arguments

    words = requested.processing(columns=("a", "b"))["AppSpecification"]["ContainerArguments"]
    command = StepCommand("sample", steps.load("sample"))
    ctx = command.make_context("sample", [*words, "--model", ".", "--synthetic", "rows.csv"], parent=Context(command))
    config, _ = read_arguments(steps.load("sample"), command.params, ctx.params)
    assert config == requested.config("sample", num_rows=500, seed=3, columns=("a", "b"))


@pytest.mark.parametrize(
    ("inputs", "told"), [({}, "needs the input 'data'"), ({**DATA, "rows": "s3://b/"}, "has no input 'rows'")]
)
def test_a_port_that_is_missing_or_unknown_is_named(inputs, told):
    with pytest.raises(ConfigError, match=told):
        training_job(Training(), inputs, platform=PLATFORM, name="n")


def test_an_unknown_output_and_a_foreign_config_are_named():
    config = requested.config("sample")
    with pytest.raises(ConfigError, match="has no output 'rows'"):
        processing_job("sample", config, {"model": "s3://b/"}, platform=PLATFORM, name="n", outputs={"rows": "s3://b/"})
    with pytest.raises(ConfigError, match="'split' runs on one instance, and 2 are asked for"):
        processing_job("split", requested.config("split"), DATA, platform=PLATFORM, name="n", instance_count=2)
    with pytest.raises(ConfigError, match="takes a SampleConfig"):
        processing_job("sample", TrainConfig(), {"model": "s3://b/"}, platform=PLATFORM, name="n")


@pytest.mark.parametrize("step", ["profile", "split", "sample", "merge", "evaluate", "augment", "gate", "report"])
def test_every_step_makes_a_processing_job(step):
    loaded = steps.load(step)
    inputs = {
        name: f"s3://bucket/{name}/"
        for name, port in ports(loaded).items()
        if port.direction == "in" and not port.optional
    }
    request = processing_job(step, config_of(loaded)(), inputs, platform=GUARDED, name=job_name("synth", step))
    assert request["AppSpecification"]["ContainerEntrypoint"] == ["synth", "sagemaker", "process", step]
    assert problems("CreateProcessingJob", request) == []


def test_an_option_too_long_for_a_word_is_refused_before_it_is_sent():
    with pytest.raises(DataError, match=r"ContainerArguments\[\d+\]: \d+ characters, at most 256"):
        requested.processing(columns=tuple(f"column_{number}" for number in range(40)))


def test_tuning_takes_the_bounds_that_the_recipe_declares():
    made = parameter_ranges("tabular.trees", {"generator.n_trees": None})
    assert made == {
        "IntegerParameterRanges": [
            {"Name": "generator.n_trees", "MinValue": "1", "MaxValue": "64", "ScalingType": "Auto"}
        ]
    }


def test_tuning_asks_for_bounds_that_nobody_declares():
    with pytest.raises(ConfigError, match="declares no bounds"):
        parameter_ranges("tabular.trees", {"generator.min_category_count": None})


def test_tuning_refuses_an_option_that_the_generator_does_not_have():
    with pytest.raises(ConfigError, match=r"options of 'tabular.trees' are generator\.n_trees"):
        parameter_ranges("tabular.trees", {"generator.epochs": (1, 2)})


def test_tuning_on_private_rows_is_refused_under_differential_privacy():
    with pytest.raises(UnsupportedError, match="no ledger adds that up"):
        tuning_job(Training(TrainConfig(privacy="dp")), DATA, {}, platform=PLATFORM, name="synth-tune")


def test_tuning_needs_a_holdout_and_a_metric_with_a_better_way():
    progress = next(metric for metric in METRICS if metric.goal is None)
    with pytest.raises(ConfigError, match="give the input 'holdout'"):
        tuning_job(Training(), DATA, {}, platform=PLATFORM, name="synth-tune")
    inputs = {**DATA, "holdout": "s3://bucket/holdout/"}
    with pytest.raises(ConfigError, match="'train:progress' has no better way"):
        tuning_job(Training(), inputs, {}, platform=PLATFORM, name="synth-tune", objective=progress)


def test_a_tuned_option_is_no_static_one():
    definition = requested.tuning()["TrainingJobDefinition"]
    assert "generator.min_leaf" not in definition["StaticHyperParameters"]
    assert definition["StaticHyperParameters"] == {"seed": "5"}
