"""Requirement 13: a request is checked for type, least and most, pattern, enumeration, required and unknown members."""

import re

import pytest

from synth_components.errors import DataError
from synth_sagemaker import shapes
from synth_sagemaker.shapes import problems, require_shape

JOB = {
    "TrainingJobName": "synth-1",
    "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
    "RoleArn": "arn:aws:iam::123456789012:role/synth",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/prefix"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    "HyperParameters": {"seed": "2"},
    "Tags": [{"Key": "team", "Value": "Größe 5"}],
}


def test_a_good_request_has_no_problem():
    assert problems("CreateTrainingJob", JOB) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"TrainingJobName": "a_b"}, "TrainingJobName: does not match"),
        ({"TrainingJobName": "x" * 64}, "64 characters, at most 63"),
        ({"HyperParameters": {"key": "v" * 2501}}, "HyperParameters.key: 2501 characters"),
        ({"HyperParameters": {f"k{number}": "v" for number in range(101)}}, "101 entries, at most 100"),
        ({"HyperParameters": {"key": "two\nlines"}}, "HyperParameters.key: does not match"),
        ({"HyperParameters": {"k" * 257: "v"}}, "(its key): 257 characters"),
        ({"RoleArn": "no role whatever it is"}, "RoleArn: does not match"),
        ({"ResourceConfig": {"InstanceType": "ml.none.large"}}, "ResourceConfig.InstanceType: is none of"),
        ({"ResourceConfig": {"KeepAlivePeriodInSeconds": 21_601}}, "at most 21600"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 0}}, "MaxRuntimeInSeconds"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": True}}, "MaxRuntimeInSeconds: is true or false"),
        ({"VpcConfig": {"Subnets": ["subnet-1"]}}, 'required parameter in VpcConfig: "SecurityGroupIds"'),
        ({"VpcConfig": {"Subnets": ["s"], "SecurityGroupIds": ["g"] * 6}}, "6 items, at most 5"),
        ({"Tags": [{"Key": "a|b", "Value": ""}]}, "Tags[0].Key: does not match"),
        ({"Bogus": 1}, 'Unknown parameter in input: "Bogus"'),
        ({"EnableNetworkIsolation": "yes"}, "EnableNetworkIsolation"),
        ({"HyperParameters": {"key": 1}}, "HyperParameters.key"),
    ],
)
def test_a_member_that_breaks_the_model_is_named(change, told):
    assert any(told in line for line in problems("CreateTrainingJob", JOB | change))


def test_a_required_member_that_is_missing_is_named():
    without = {name: value for name, value in JOB.items() if name != "RoleArn"}
    assert problems("CreateTrainingJob", without) == ['Missing required parameter in input: "RoleArn"']


def test_a_member_that_a_pipeline_fills_in_may_be_missing():
    without = {name: value for name, value in JOB.items() if name != "TrainingJobName"}
    assert problems("CreateTrainingJob", without, without=("TrainingJobName",)) == []


def test_an_expression_of_a_pipeline_stands_for_a_value_of_its_type():
    expression = {"Get": "Parameters.Seconds"}
    assert problems("CreateTrainingJob", JOB | {"StoppingCondition": {"MaxRuntimeInSeconds": expression}}) == []


def test_no_problem_shows_a_value():
    canary = "CANARY" * 500
    found = problems("CreateTrainingJob", JOB | {"HyperParameters": {"key": canary}, "EnableNetworkIsolation": canary})
    assert len(found) == 2
    assert "CANARY" not in " ".join(found)


def test_require_shape_names_the_operation():
    with pytest.raises(DataError, match=r"CreateTrainingJob would be refused: .*Bogus"):
        require_shape("CreateTrainingJob", JOB | {"Bogus": 1})


@pytest.mark.parametrize("service", ["sagemaker", "application-autoscaling"])
def test_every_pattern_of_the_model_is_understood(service):
    """A pattern that Python could not compile would let anything pass."""
    model, patterns = shapes._service(service), set()
    for name in model.shape_names:
        pattern = model.shape_for(name).metadata.get("pattern")
        if pattern:
            patterns.add(pattern)
    assert patterns
    for pattern in patterns:
        for is_ascii in (True, False):
            assert isinstance(shapes._expression(pattern, is_ascii=is_ascii), re.Pattern)
