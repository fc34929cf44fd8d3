"""Hyperparameters: one declaration, three dialects (requirements 3 and 4)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_components.config import ConfigError
from synth_components.errors import UnsupportedError
from synth_components.evaluation.options import EvaluateConfig
from synth_components.generators import names, recipe_type
from synth_components.steps.gate import GateConfig
from synth_components.steps.sample import SampleConfig
from synth_components.steps.train import TrainConfig
from synth_sagemaker.hyperparameters import (
    MAX_CHARACTERS,
    MAX_HYPERPARAMETERS,
    Training,
    decode,
    encode,
    hyperparameters,
)

WANTED = Training(
    TrainConfig(generator="tabular.trees", generator_options={"min_leaf": 5, "min_evidence": -0.5}, trust=("a.b",)),
    SampleConfig(num_rows=50),
    EvaluateConfig(target="patient's age", global_utility=False, tasks={"default": "y"}),
    GateConfig(min_quality=0.5),
)

DIALECTS = {
    "version 3": {
        "generator": "tabular.trees",
        "generator.min_leaf": "5",
        "generator.min_evidence": "-0.5",
        "trust": '["a.b"]',
        "sample.num_rows": "50",
        "evaluate.target": "patient's age",
        "evaluate.global_utility": "false",
        "evaluate.tasks": '{"default": "y"}',
        "gate.min_quality": "0.5",
        "device": "null",
    },
    "version 2": {
        "generator": "tabular.trees",
        "generator.min_leaf": "5",
        "generator.min_evidence": "-0.5",
        "trust": '["a.b"]',
        "sample.num_rows": "50",
        "evaluate.target": "patient's age",
        "evaluate.global_utility": "False",
        "evaluate.tasks": '{"default": "y"}',
        "gate.min_quality": "0.5",
        "device": "None",
    },
    "version 2, frameworks": {
        "generator": '"tabular.trees"',
        "generator.min_leaf": '"5"',
        "generator.min_evidence": "-0.5",
        "trust": '["a.b"]',
        "sample.num_rows": "50.0",
        "evaluate.target": '"patient\'s age"',
        "evaluate.global_utility": '"False"',
        "evaluate.tasks": '{"default": "y"}',
        "gate.min_quality": "0.5",
        "device": "",
        "sagemaker_program": '"train.py"',
        "sagemaker_submit_directory": '"s3://bucket/code"',
    },
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_says_the_same(dialect):
    """Requirement 3: one schema decodes what the SDKs of version 2 and 3 write."""
    assert decode(DIALECTS[dialect]) == WANTED


def test_what_is_encoded_is_decoded():
    assert decode(encode(WANTED)) == WANTED
    assert encode(Training()) == {}


@settings(max_examples=25)
@given(target=st.text(max_size=40).map(str.strip), leaf=st.integers(1, 100_000), evidence=st.floats(-100, 100))
def test_any_text_and_number_comes_back(target, leaf, evidence):
    """A column may be called None, "null" or '"x"'."""
    said = Training(
        TrainConfig(generator="tabular.trees", generator_options={"min_leaf": leaf, "min_evidence": evidence}),
        evaluate=EvaluateConfig(target=target),
    )
    back = decode(encode(said))
    recipe = recipe_type("tabular.trees")
    assert recipe.parse(back.train.generator_options) == recipe.parse(said.train.generator_options)
    assert back.evaluate == said.evaluate


@pytest.mark.parametrize("target", ["None", "null", '"quoted"', "true", "1", "[]"])
def test_a_column_may_be_called_what_an_sdk_writes_for_something_else(target):
    assert decode(encode(Training(evaluate=EvaluateConfig(target=target)))).evaluate.target == target


def test_what_the_tuner_and_the_sdks_add_is_no_hyperparameter_of_ours():
    assert decode({"_tuning_objective_metric": "validation:quality", "sagemaker_region": "eu-west-1"}) == Training()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"epohcs": "2"}, "there is no hyperparameter 'epohcs' with generator tabular.trees"),
        ({"generator.min_leef": "2"}, "did you mean 'generator.min_leaf'"),
        ({"generator.min_leaf": "0"}, "'generator.min_leaf': Input should be greater than or equal to 1"),
        ({"generator.min_leaf": "2.5"}, "'generator.min_leaf': Input should be a valid integer"),
        ({"seed": "soon"}, "'seed': must be an integer"),
        ({"evaluate.global_utility": "maybe"}, "'evaluate.global_utility': must be true or false"),
        ({"privacy": "some"}, "'privacy': Input should be 'none' or 'dp'"),
        ({"trust": "a.b"}, "'trust': must be"),
        ({"sample.rate": "5"}, "there is no hyperparameter 'sample.rate'"),
        ({"generator_options": "{}"}, "there is no hyperparameter 'generator_options'"),
    ],
)
def test_unknown_and_wrong_hyperparameters_are_refused_by_name(said, message):
    """Requirement 4, the part of the hyperparameters."""
    with pytest.raises(ConfigError, match=message):
        decode(said)


def test_an_unknown_generator_is_refused():
    with pytest.raises(UnsupportedError, match="no generator 'tabular\\.tree'"):
        decode({"generator": "tabular.tree"})


def test_a_refused_value_is_not_repeated():
    with pytest.raises(ConfigError) as caught:
        decode({"privacy": "canary-4711"})
    assert "canary" not in str(caught.value)


def test_encode_refuses_what_a_training_job_does_not_have():
    with pytest.raises(ConfigError, match=r"no 'sample\.rate'"):
        encode(Training(sample=SampleConfig(rate=2.0)))


def test_encode_refuses_a_value_that_sagemaker_does_not_carry():
    tasks = {"name": "x" * MAX_CHARACTERS}
    with pytest.raises(ConfigError, match="as channels"):
        encode(Training(evaluate=EvaluateConfig(tasks=tasks)))


@pytest.mark.parametrize("generator", names())
def test_a_job_of_every_generator_has_room_for_all_its_hyperparameters(generator):
    known = hyperparameters(generator)
    assert len(known) <= MAX_HYPERPARAMETERS
    options = {name.removeprefix("generator.") for name in known if name.startswith("generator.")}
    assert options == set(recipe_type(generator).model_fields)
