"""The committed CreateAlgorithm requests and the tuner's ranges (requirement 3)."""

import json
from functools import cache
from pathlib import Path

import pytest

from synth_components.generators import DEFAULT, names, recipe_type
from synth_sagemaker.algorithm import MAX_CHOICES, algorithm, files, ranges, write
from synth_sagemaker.hyperparameters import decode, hyperparameters
from synth_sagemaker.shapes import problems

FOLDER = Path(__file__).resolve().parents[2] / "sagemaker"
specification = cache(algorithm)


def test_the_committed_specifications_are_those_that_the_models_give():
    """Requirement 3: run `synth sagemaker compile --output sagemaker` after changing an option."""
    committed = {
        path.relative_to(FOLDER).as_posix(): path.read_text(encoding="utf-8")
        for path in (FOLDER / "algorithms").iterdir()
    }
    assert committed == files()


@pytest.mark.parametrize("generator", names())
def test_every_specification_passes_the_services_own_model(generator):
    """Requirement 3."""
    assert problems("CreateAlgorithm", specification(generator)) == []


@pytest.mark.parametrize("generator", names())
def test_a_specification_lists_what_decode_knows_and_its_defaults_decode_to_the_defaults(generator):
    declared = specification(generator)["TrainingSpecification"]["SupportedHyperParameters"]
    assert [one["Name"] for one in declared] == list(hyperparameters(generator))
    defaults = {one["Name"]: one["DefaultValue"] for one in declared if "DefaultValue" in one}
    found, wanted = decode({**defaults, "generator": generator}), decode({"generator": generator})
    recipe = recipe_type(generator)
    assert recipe.parse(found.train.generator_options) == recipe()
    assert (found.sample, found.evaluate, found.gate) == (wanted.sample, wanted.evaluate, wanted.gate)


@pytest.mark.parametrize("generator", names())
def test_only_the_default_generator_may_be_left_unsaid(generator):
    declared = specification(generator)["TrainingSpecification"]["SupportedHyperParameters"][0]
    assert declared["Range"] == {"CategoricalParameterRangeSpecification": {"Values": [generator]}}
    assert declared["IsRequired"] == (generator != DEFAULT)


def test_every_end_of_a_range_is_a_value_that_the_model_takes():
    checked = 0
    for generator in names():
        for kind, listed in ranges(generator).items():
            for one in listed:
                ends = one["Values"] if kind.startswith("Categorical") else [one["MinValue"], one["MaxValue"]]
                assert len(ends) <= MAX_CHOICES
                for end in ends:
                    decode({"generator": generator, one["Name"]: end})
                    checked += 1
    assert checked >= 20


def test_a_tuning_job_takes_the_ranges():
    request = {
        "HyperParameterTuningJobName": "synth",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "ResourceLimits": {"MaxParallelTrainingJobs": 1},
            "ParameterRanges": ranges("tabular.trees"),
        },
    }
    assert problems("CreateHyperParameterTuningJob", request) == []


def test_compile_removes_the_specification_of_a_generator_that_is_no_more(tmp_path):
    (tmp_path / "algorithms").mkdir()
    (tmp_path / "algorithms" / "tabular.gone.json").write_text("{}")
    write(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")} == set(files())


def test_a_specification_is_one_line_of_json_per_leaf_so_that_a_change_is_a_small_diff():
    text = files()[f"algorithms/{DEFAULT}.json"]
    assert json.loads(text)["AlgorithmName"] == "synth-tabular-trees"
    assert max(map(len, text.splitlines())) < 600
