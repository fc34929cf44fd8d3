"""Requirement 10: the definition of the pipeline, and 12: what `validate` finds in one without an AWS account."""

import copy
import importlib.util
import itertools
import json
import random
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import sagemaker_requests as requested
from sagemaker_requests import GUARDED, KEY, PLATFORM, assert_golden

from synth_components.__main__ import main
from synth_components.config import ConfigError
from synth_components.errors import BudgetExceededError, DataError
from synth_components.evaluation import evaluate
from synth_components.evaluation.card import CHANCE, COPIES
from synth_components.evaluation.floor import score
from synth_components.evaluation.options import PrivacyConfig, UtilityConfig
from synth_components.steps.gate import GateConfig, shortfalls
from synth_components.steps.split import SplitConfig
from synth_components.steps.train import TrainConfig
from synth_sagemaker.expressions import Values
from synth_sagemaker.hyperparameters import Training
from synth_sagemaker.pipeline import Flow, Options, Thresholds, create_pipeline, pipeline
from synth_sagemaker.shapes import problems
from synth_sagemaker.training import training_job
from synth_sagemaker.validate import mistakes, order

REAL = "s3://bucket/real/"


@pytest.fixture(scope="module")
def plain():
    return pipeline(PLATFORM, Options(utility=UtilityConfig(target="outcome")), data=REAL)


@pytest.fixture
def definition(plain):
    return copy.deepcopy(plain)


@pytest.fixture(scope="module")
def judged():
    table = pd.DataFrame({"a": range(20)})
    return evaluate(table, table, table, config=PrivacyConfig(attacks=(), replicates=10))


def private_options(**options):
    train = TrainConfig(**{"generator": "tabular.mst", "privacy": "dp", "epsilon": 2.0, **options})
    return Options(Training(train=train, gate=GateConfig(max_epsilon=4.0)))


def steps_of(definition):
    """Return every step by name, those of branches too."""
    found = {}
    for step in definition["Steps"]:
        found[step["Name"]] = step
        for branch in ("IfSteps", "ElseSteps"):
            found |= {inner["Name"]: inner for inner in step["Arguments"].get(branch, [])}
    return found


@pytest.mark.parametrize("kind", ["plain", "guarded", "private"])
def test_10_the_definition_is_golden_and_valid(kind, plain):
    made = {
        "plain": lambda: plain,
        "guarded": lambda: pipeline(GUARDED, Options(), data=REAL, flow=Flow(cache="P30D", max_attempts=5)),
        "private": lambda: pipeline(PLATFORM, private_options(), data=REAL),
    }[kind]()
    assert mistakes(made) == []
    assert_golden(f"pipeline.{kind}", made)


def test_10_the_order_is_split_train_sample_judge_gate_then_augment_and_register(plain):
    assert [step["Name"] for step in order(plain["Steps"])] == [
        *("Split", "Train", "Sample", "EvaluateUtility", "EvaluateFidelity", "EvaluatePrivacy", "Gate"),
    ]
    gate = steps_of(plain)["Gate"]["Arguments"]
    assert [step["Name"] for step in gate["IfSteps"]] == ["Augment", "Register"]
    assert [(step["Name"], step["Type"]) for step in gate["ElseSteps"]] == [("Reject", "Fail")]


def test_10_the_gate_asks_for_utility_attack_copies_and_risk_and_for_epsilon_under_differential_privacy(plain):
    def asked_by(definition):
        return [
            (one["Type"], one["RightValue"]["Get"].removeprefix("Parameters."))
            for one in gate(definition)["Conditions"]
            if one["Type"] != "Or"
        ]

    asked = [
        ("GreaterThanOrEqualTo", "MinUtilityRatio"),
        ("LessThanOrEqualTo", "MaxAttackScore"),
        ("LessThanOrEqualTo", "MaxCopyRate"),
        ("LessThanOrEqualTo", "MaxRisk"),
    ]
    assert asked_by(plain) == asked
    private = pipeline(PLATFORM, private_options(), data=REAL)
    assert asked_by(private) == [*asked, ("LessThanOrEqualTo", "MaxEpsilon")]
    assert "gate.max_epsilon" in steps_of(private)["Train"]["Arguments"]["HyperParameters"]


@pytest.mark.parametrize("allow_copies", [False, True])
@pytest.mark.parametrize("name", COPIES)
def test_10_the_condition_holds_copies_as_the_gate_does(name, allow_copies, judged, tmp_path):
    """Every side of both bounds, and the bounds themselves: no report passes the one and not the other."""
    asked = GateConfig(allow_copies=allow_copies)
    definition = pipeline(PLATFORM, Options(Training(gate=asked)), thresholds=Thresholds(max_copy_rate=1))
    passed = []
    chances = (0.0, CHANCE[name] / 2, CHANCE[name], 1.0)
    for value, bound, chance in itertools.product((0.0, 0.2, 0.4), (0.0, 0.2), chances):
        values = {"privacy.membership.auc": 0.5, "privacy.risk": 0.0}
        for other in COPIES:
            found = (value, bound, chance) if other == name else (0.0, 0.1, 1.0)
            values |= dict(zip((other, f"{other}.bound", f"{other}.p_value"), found, strict=True))
        report = replace(judged, scores=tuple(score(key, one, floor=0.0, ideal=0.0) for key, one in values.items()))
        (tmp_path / "report.json").write_text(json.dumps(report.to_json()))
        (tmp_path / "utility.json").write_text('{"values": {"utility_ratio": 1.0}}')
        here = Values(
            {one["Name"]: one.get("DefaultValue") for one in definition["Parameters"]},
            {},
            files={
                ("EvaluatePrivacy", "EvaluatePrivacyReport"): tmp_path / "report.json",
                ("EvaluateUtility", "EvaluateUtilityReport"): tmp_path / "utility.json",
            },
        )
        passed.append(not shortfalls(report, asked))
        assert all(here.holds(one) for one in gate(definition)["Conditions"]) is passed[-1], (value, bound, chance)
    assert set(passed) == ({True} if allow_copies else {True, False})


def test_10_where_near_copies_could_not_be_scored_the_gate_holds_none_and_the_pipeline_fails(tmp_path, definition):
    table = pd.DataFrame({"a": range(9)})
    report = evaluate(table, table + 20, table + 40, config=PrivacyConfig(attacks=(), replicates=10))
    names = {one.name for one in report.scores}
    assert "privacy.copies" in names
    assert "privacy.near_copies" not in names
    assert shortfalls(report, GateConfig()) == []
    (tmp_path / "report.json").write_text(json.dumps(report.to_json()))
    here = Values({}, {}, files={("EvaluatePrivacy", "EvaluatePrivacyReport"): tmp_path / "report.json"})
    exact, near = (one for one in gate(definition)["Conditions"] if one["Type"] == "Or")
    assert here.holds(exact)
    with pytest.raises(DataError, match="near_copies"):
        here.holds(near)


def test_10_the_model_waits_for_approval_with_its_metrics(plain):
    register = steps_of(plain)["Register"]["Arguments"]
    assert register["ModelApprovalStatus"] == "PendingManualApproval"
    assert set(register["ModelMetrics"]) == {"ModelQuality", "ModelDataQuality", "Explainability"}


def test_10_a_parameter_has_the_default_of_the_option_behind_it(plain):
    defaults = {one["Name"]: one.get("DefaultValue") for one in plain["Parameters"]}
    sample = requested.config("sample")
    assert defaults["NumRows"] == sample.num_rows
    assert defaults["SampleSeed"] == sample.seed
    assert defaults["TrainSeed"] == TrainConfig().seed
    assert defaults["Target"] == "outcome"


def test_10_a_target_that_nobody_named_is_a_parameter_without_default():
    made = pipeline(PLATFORM, Options(), data=REAL)
    assert {"Name": "Target", "Type": "String"} in made["Parameters"]


def test_10_caching_and_retries_are_arguments():
    made = steps_of(pipeline(PLATFORM, Options(), flow=Flow(cache="P30D", max_attempts=4)))
    for name in ("Split", "Train", "Sample", "EvaluatePrivacy", "Augment"):
        assert made[name]["CacheConfig"] == {"Enabled": True, "ExpireAfter": "P30D"}
        assert {policy["MaxAttempts"] for policy in made[name]["RetryPolicies"]} == {4}
    off = steps_of(pipeline(PLATFORM, Options(), flow=Flow(max_attempts=1)))
    assert "CacheConfig" not in off["Train"]
    assert "RetryPolicies" not in off["Train"]


def test_10_a_private_fit_is_neither_tried_again_nor_taken_from_a_cache():
    """A second attempt that reads the private rows again is not in the epsilon that the model tells."""
    train = steps_of(pipeline(PLATFORM, private_options(), flow=Flow(cache="P30D")))["Train"]
    assert "SageMaker.JOB_INTERNAL_ERROR" not in json.dumps(train["RetryPolicies"])
    assert "CacheConfig" not in train


AGAIN = {
    "spot": ({}, {"EnableManagedSpotTraining": True}),
    "wait": ({}, {"StoppingCondition": {"MaxWaitTimeInSeconds": 100_000}}),
    "retry": ({}, {"RetryStrategy": {"MaximumRetryAttempts": 5}}),
    "platform": ({"max_wait_seconds": 100_000}, {}),
}


@pytest.mark.parametrize("way", AGAIN)
def test_10_a_private_fit_takes_no_capacity_that_is_taken_back_and_no_retry(way):
    """Its container keeps no checkpoint: each interruption would begin a second fit, which no epsilon counts."""
    change, override = AGAIN[way]
    platform, over = PLATFORM.model_copy(update=change), {"CreateTrainingJob": override}
    with pytest.raises(ConfigError, match="a private fit reads its rows once"):
        pipeline(platform, private_options(), overrides=over)
    with pytest.raises(ConfigError, match="a private fit reads its rows once"):
        training_job(private_options().training, requested.DATA, platform=platform, name="synth-1", overrides=over)
    assert pipeline(platform, Options(), overrides=over)


@pytest.mark.parametrize("way", ["spot", "wait", "retry"])
def test_12_validate_finds_a_private_fit_that_may_be_begun_again(way):
    made = pipeline(PLATFORM, private_options(), data=REAL)
    arguments = train(made)["Arguments"]
    for name, value in AGAIN[way][1].items():
        arguments[name] = {**arguments[name], **value} if isinstance(arguments.get(name), dict) else value
    assert any("a private fit reads its rows once" in line for line in mistakes(made))
    arguments["HyperParameters"]["privacy"] = "none"
    assert mistakes(made) == []


def test_12_validate_finds_a_private_fit_that_a_step_tries_again():
    made = pipeline(PLATFORM, private_options(), data=REAL)
    train(made)["RetryPolicies"][0]["ExceptionType"].append("SageMaker.JOB_INTERNAL_ERROR")
    assert any("RetryPolicies: a private fit reads its rows once" in line for line in mistakes(made))


def test_10_keys_and_vpc_reach_every_job():
    made = steps_of(pipeline(GUARDED, Options()))
    for step in made.values():
        if step["Type"] in {"Training", "Processing"}:
            text = json.dumps(step["Arguments"])
            assert text.count(KEY) == 2
            assert "subnet-2" in text
    assert made["Register"]["Arguments"]["SecurityConfig"] == {"KmsKeyId": KEY}


def test_10_a_generator_that_is_never_private_is_refused_under_differential_privacy():
    options = private_options(generator="tabular.trees")
    with pytest.raises(
        BudgetExceededError, match=r"tabular\.trees offers no differential privacy: its trees.*use one of"
    ):
        pipeline(PLATFORM, options)
    with pytest.raises(BudgetExceededError, match="offers no differential privacy"):
        training_job(options.training, requested.DATA, platform=PLATFORM, name="synth-1")


MEMBERS = {
    "ensemble": (
        {"generator": "tabular.ensemble", "generator_options": {"generators": ["tabular.mst", "tabular.trees"]}},
        "weights that nobody gave are found on rows that are read without noise",
    ),
    "member": (
        {
            "generator": "tabular.ensemble",
            "generator_options": {"generators": ["tabular.mst", "tabular.trees"], "weights": [1, 1]},
        },
        r"its member tabular\.trees does not \(its trees",
    ),
    "hybrid": ({"generator": "tabular.hybrid"}, r"its member tabular\.trees does not \(its trees"),
    "within": (
        {
            "generator": "tabular.hybrid",
            "generator_options": {"first": "tabular.mst", "second": "tabular.hybrid"},
        },
        r"its member tabular\.hybrid does not \(its member tabular\.trees does not",
    ),
    "auto": ({"generator": "auto", "generator_options": {"time_limit": 60}}, "drop time_limit"),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_10_a_generator_whose_members_are_not_private_is_refused_under_differential_privacy(case):
    """Before the job is made: it would end before it read a row, minutes later."""
    options, told = MEMBERS[case]
    with pytest.raises(BudgetExceededError, match=f"{options['generator']} offers no differential privacy: .*{told}"):
        pipeline(PLATFORM, private_options(**options))


def test_10_a_generator_of_private_members_is_taken_under_differential_privacy():
    options = {"generators": ["tabular.mst", "tabular.aim"], "weights": [1, 1]}
    assert pipeline(PLATFORM, private_options(generator="tabular.ensemble", generator_options=options))
    assert pipeline(PLATFORM, private_options(generator="auto"))


@pytest.mark.parametrize("is_private", [True, False])
def test_10_a_bound_on_epsilon_and_differential_privacy_belong_together(is_private):
    train = TrainConfig(privacy="dp") if is_private else TrainConfig()
    bound = GateConfig() if is_private else GateConfig(max_epsilon=1.0)
    with pytest.raises(ConfigError, match="belong together"):
        pipeline(PLATFORM, Options(Training(train=train, gate=bound)))


def test_10_overrides_reach_the_steps():
    over = {"CreateTrainingJob": {"ResourceConfig": {"KeepAlivePeriodInSeconds": 600}}}
    train = steps_of(pipeline(PLATFORM, Options(), overrides=over))["Train"]["Arguments"]
    assert train["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 600


@pytest.mark.parametrize("data", ["s3://bucket", "s3://bucket/", "s3://bucket/syn", "s3://bucket/synth/"])
def test_10_jobs_do_not_write_under_the_prefix_of_the_real_rows(data):
    with pytest.raises(ConfigError, match="read as real rows") as told:
        pipeline(PLATFORM, Options(), data=data)
    assert told.value.option == "output"


@pytest.mark.parametrize("data", ["s3://buck", "s3://bucket/synth/real/", "s3://bucket/synthetic", "s3://other/"])
def test_10_a_prefix_of_its_own_is_taken(data):
    assert pipeline(PLATFORM, Options(), data=data)


@pytest.mark.parametrize("cache", ["30 days", "P", "PT", "1D"])
def test_a_cache_that_is_no_duration_is_refused(cache):
    with pytest.raises(ConfigError, match="ISO 8601"):
        Flow.parse({"cache": cache})


def test_13_the_request_that_makes_a_pipeline_is_accepted_and_idempotent(plain):
    first, second = (create_pipeline("synth", plain, platform=PLATFORM) for _ in range(2))
    assert problems("CreatePipeline", first) == []
    assert json.loads(first["PipelineDefinition"]) == plain
    assert first == second
    assert first["ClientRequestToken"] != create_pipeline("other", plain, platform=PLATFORM)["ClientRequestToken"]
    with pytest.raises(ConfigError, match="may not set 'PipelineDefinition'"):
        create_pipeline("s", plain, platform=PLATFORM, overrides={"CreatePipeline": {"PipelineDefinition": "{}"}})


def test_13_moto_takes_the_pipeline(plain, client_of):
    from moto import mock_aws

    from synth_sagemaker.launch import submit

    with mock_aws():
        request = create_pipeline("synth", plain, platform=PLATFORM)
        arn = submit("CreatePipeline", request, client=client_of("sagemaker"))
        assert arn.endswith("pipeline/synth")


def train(definition):
    return steps_of(definition)["Train"]


def gate(definition):
    return steps_of(definition)["Gate"]["Arguments"]


def file(definition):
    return steps_of(definition)["EvaluatePrivacy"]["PropertyFiles"][0]


BROKEN = {
    "version": (lambda d: d.update(Version="2021"), "Version must be"),
    "unknown member": (lambda d: d.update(Stepz=[]), "no member 'Stepz'"),
    "no steps": (lambda d: d.update(Steps=[]), "at least one step"),
    "parameter twice": (lambda d: d["Parameters"].append(d["Parameters"][0]), "'DataUri' is declared twice"),
    "parameter type": (lambda d: d["Parameters"][2].update(Type="Int"), "Type must be one of"),
    "parameter default": (lambda d: d["Parameters"][2].update(DefaultValue="many"), "DefaultValue is no Integer"),
    "parameter name": (lambda d: d["Parameters"].append({"Name": "a_b", "Type": "String"}), "'a_b': the name must be"),
    "step name": (lambda d: d["Steps"][0].update(Name="split me"), "'split me': the name must be"),
    "step twice": (lambda d: d["Steps"].append(d["Steps"][0]), "step 'Split' occurs twice"),
    "step member": (lambda d: train(d).update(Cache=1), "Train: a step has no member 'Cache'"),
    "step type": (lambda d: train(d).update(Type="Train"), "Train: type 'Train' is none of"),
    "unknown parameter": (
        lambda d: train(d)["Arguments"]["HyperParameters"].update(seed={"Get": "Parameters.Sead"}),
        "Train: there is no parameter 'Sead'",
    ),
    "unknown step": (
        lambda d: train(d)["Arguments"].update(RoleArn={"Get": "Steps.Splitt.RoleArn"}),
        "Train: there is no step 'Splitt'",
    ),
    "unknown output": (
        lambda d: train(d)["Arguments"].update(
            RoleArn={"Get": "Steps.Split.ProcessingOutputConfig.Outputs['rows'].S3Output.S3Uri"}
        ),
        "Train: step 'Split' has no output 'rows'",
    ),
    "unknown property": (
        lambda d: steps_of(d)["Sample"]["Arguments"].update(RoleArn={"Get": "Steps.Train.ModelArtifacts.Uri"}),
        "is nothing that DescribeTrainingJob tells",
    ),
    "unknown execution": (
        lambda d: train(d)["Arguments"].update(RoleArn={"Get": "Execution.Id"}),
        "an execution has no 'Id'",
    ),
    "odd reference": (
        lambda d: train(d)["Arguments"].update(RoleArn={"Get": "Params.Role"}),
        "begins with none of",
    ),
    "property file": (
        lambda d: file(d).update(PropertyFileName="Other"),
        "no property file 'EvaluatePrivacyReport'",
    ),
    "file of no output": (lambda d: file(d).update(OutputName="rows"), "names the output 'rows', which there is not"),
    "property file of training": (
        lambda d: train(d).update(PropertyFiles=[{"PropertyFileName": "F", "OutputName": "o", "FilePath": "f"}]),
        "of processing steps only",
    ),
    "condition": (lambda d: gate(d)["Conditions"][0].update(Type="AtLeast"), "condition 'AtLeast' is none of"),
    "no condition": (lambda d: gate(d).update(Conditions=[]), "Conditions are missing"),
    "no path": (lambda d: gate(d)["Conditions"][0]["LeftValue"]["Std:JsonGet"].pop("Path"), "and a Path"),
    "no message": (lambda d: gate(d)["ElseSteps"][0]["Arguments"].clear(), "Reject: ErrorMessage is missing"),
    "cycle": (lambda d: d["Steps"][0].update(DependsOn=["Sample"]), "wait for each other"),
    "unknown dependency": (lambda d: d["Steps"][0].update(DependsOn=[{"Step": "Nobody"}]), "no step 'Nobody'"),
    "into a branch": (lambda d: train(d).update(DependsOn=["Augment"]), "in a branch that this step is not in"),
    "too long": (
        lambda d: train(d)["Arguments"]["HyperParameters"].update(seed="1" * 2501),
        "Train: HyperParameters.seed: 2501 characters",
    ),
    "instance": (
        lambda d: train(d)["Arguments"]["ResourceConfig"].update(InstanceType="ml.none"),
        "ResourceConfig.InstanceType: is none of",
    ),
    "member": (lambda d: train(d)["Arguments"].update(Speed=1), 'Unknown parameter in input: "Speed"'),
    "required": (lambda d: train(d)["Arguments"].pop("RoleArn"), '"RoleArn"'),
    "too many": (lambda d: d["Steps"].extend({**train(d), "Name": f"T{n}"} for n in range(50)), "60 steps, at most 50"),
    "a step is text": (lambda d: d["Steps"].append("Split"), "Steps[7]: should be a valid"),
    "steps are a map": (lambda d: d.update(Steps={"Split": {}}), "Steps: should be a valid list"),
    "name is a number": (lambda d: train(d).update(Name=3), "Steps[1].Name: should be a valid string"),
    "branch is a map": (lambda d: gate(d).update(IfSteps={"Name": "A"}), "Arguments.IfSteps: should be a valid list"),
    "cache": (lambda d: train(d).update(CacheConfig={"Enabled": True, "ExpireAfter": "a week"}), "ExpireAfter: "),
    "attempts": (lambda d: train(d)["RetryPolicies"][0].update(MaxAttempts=21), "MaxAttempts: should be less than"),
    "retry of nothing": (lambda d: train(d)["RetryPolicies"][0].pop("ExceptionType"), "ExceptionType: Field required"),
    "odd get": (lambda d: train(d)["Arguments"].update(RoleArn={"Get": ["Parameters.Role"]}), "RoleArn.Get: should be"),
    "odd join": (
        lambda d: train(d)["Arguments"].update(RoleArn={"Std:Join": {"On": "/", "Values": [["a"]]}}),
        "RoleArn.Std:Join.Values[0]",
    ),
    "join of nothing": (
        lambda d: train(d)["Arguments"].update(RoleArn={"Std:Join": "/"}),
        "Steps[1].Arguments.RoleArn.Std:Join: should be",
    ),
    "side": (lambda d: gate(d)["Conditions"][0].update(RightValue=[1]), "Conditions[0].RightValue"),
    "no side": (lambda d: gate(d)["Conditions"][0].pop("RightValue"), "'GreaterThanOrEqualTo' needs RightValue"),
    "condition within": (
        lambda d: gate(d)["Conditions"].append({"Type": "Not", "Expression": {"Type": "AtMost"}}),
        "condition 'AtMost' is none of",
    ),
    "one of none": (lambda d: gate(d)["Conditions"].append({"Type": "Or"}), "condition 'Or' needs Conditions"),
    "too large": (lambda d: d["Metadata"].update(note="x" * 2**20), "more than 1,048,576 bytes"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_12_validate_finds(name, definition):
    spoil, told = BROKEN[name]
    spoil(definition)
    assert any(told in line for line in mistakes(definition)), mistakes(definition)


def places(value, path=()):
    """Yield the path to every value within another one."""
    for name, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, name)
        yield from places(part, (*path, name))


def test_12_whatever_stands_somewhere_validate_tells_it_or_takes_it_and_does_not_fail(definition):
    text = json.dumps(definition)
    for *path, last in random.Random(0).sample(list(places(definition)), 60):
        for odd in (None, "x", 3, [3], {"a": 1}):
            spoilt = holder = json.loads(text)
            for name in path:
                holder = holder[name]
            holder[last] = odd
            assert all(isinstance(line, str) for line in mistakes(spoilt))


def test_12_a_name_that_only_aws_knows_is_no_mistake(definition):
    train(definition)["Arguments"]["RoleArn"] = "arn:aws:iam::123456789012:role/nobody"
    assert mistakes(definition) == []


def test_12_the_definition_that_the_sdk_wrote_for_the_prototype_is_valid(definition):
    definition["PipelineExperimentConfig"] = {"ExperimentName": {"Get": "Execution.PipelineName"}}
    definition["MlflowConfig"] = None
    assert mistakes(definition) == []


def test_a_foreign_region_in_a_pipeline_is_refused():
    with pytest.raises(DataError, match="lies in us-west-2"):
        pipeline(GUARDED.model_copy(update={"volume_kms_key": KEY.replace("eu-central-1", "us-west-2")}), Options())


def test_a_foreign_region_is_refused_by_the_command_and_no_definition_is_written(tmp_path, capsys):
    words = ["--image", PLATFORM.image, "--role", PLATFORM.role, "--output", PLATFORM.output, "--target", "outcome"]
    definition = tmp_path / "pipeline.json"
    command = ["sagemaker", "pipeline", *words, "--definition", str(definition), "--allowed-regions"]
    assert main([*command, '["us-west-2"]']) == 2
    assert "lies in eu-central-1, and only us-west-2 are allowed" in capsys.readouterr().err
    assert not definition.exists()
    assert main([*command, '["eu-central-1"]']) == 0


def test_thresholds_are_bounded():
    with pytest.raises(ConfigError, match="max_copy_rate"):
        Thresholds.parse({"max_copy_rate": 2})


@pytest.fixture(scope="module")
def with_own_model():
    """What the example of the documentation adds to a definition."""
    path = Path(__file__).parents[2] / "sagemaker/examples/own_model/own_model.py"
    spec = importlib.util.spec_from_file_location("own_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.with_own_model


def test_a_users_own_step_has_the_guards_of_ours_and_neither_their_checkpoints_nor_their_tags(with_own_model):
    guarded = GUARDED.model_copy(update={"max_wait_seconds": 100_000, "network_isolation": False})
    made = with_own_model(pipeline(guarded, Options(), data=REAL), target="outcome", image=requested.IMAGE)
    assert mistakes(made) == []
    ours, own, prepare = (steps_of(made)[name]["Arguments"] for name in ("Train", "TrainOwnModel", "Prepare"))
    for member in ("RoleArn", "VpcConfig", "EnableNetworkIsolation", "OutputDataConfig", "ResourceConfig"):
        assert own[member] == ours[member]
    places = [one["CheckpointConfig"]["S3Uri"]["Std:Join"]["Values"] for one in (ours, own)]
    assert places[0][0] == places[1][0]
    assert places[0][1] != places[1][1]
    assert "Environment" not in own
    for step in (own, prepare):
        tags = {tag["Key"]: tag["Value"] for tag in step["Tags"]}
        assert tags == {"team": "risk", "synth:network-isolation": "off", "synth:personal-data": "true"}


def test_a_declared_schema_goes_into_split_and_training_and_whole_units_of_a_private_fit_need_one():
    place = "s3://bucket/schema/"
    private = private_options()
    by_person = replace(private, split=SplitConfig(unit=("person",)))
    with pytest.raises(ConfigError, match="epsilon of a fit without a schema is of a row"):
        pipeline(PLATFORM, by_person, data=REAL)
    for options in (Options(), by_person):
        made = pipeline(PLATFORM, options, data=REAL, schema=place)
        assert mistakes(made) == []
        steps = steps_of(made)
        inputs = {one["InputName"]: one["S3Input"]["S3Uri"] for one in steps["Split"]["Arguments"]["ProcessingInputs"]}
        assert inputs["schema"] == place
        channels = {one["ChannelName"]: one["DataSource"] for one in steps["Train"]["Arguments"]["InputDataConfig"]}
        assert channels["schema"]["S3DataSource"]["S3Uri"] == place


def test_a_users_own_model_is_of_real_rows_however_private_the_generator_is(with_own_model):
    made = with_own_model(pipeline(PLATFORM, private_options(), data=REAL), target="outcome", image=requested.IMAGE)
    tags = {tag["Key"]: tag["Value"] for tag in steps_of(made)["TrainOwnModel"]["Arguments"]["Tags"]}
    assert tags == {"synth:personal-data": "true"}
    assert mistakes(made) == []
