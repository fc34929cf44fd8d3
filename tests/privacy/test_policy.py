"""A policy: its defaults, its file, and which technique serves which column."""

import json

import pytest
import yaml

from synth_components.config import ConfigError
from synth_components.policy import LEVELS, OF_LEVEL, TECHNIQUES, Policy, strictest


def named(layers):
    return [layer.technique for layer in layers]


def test_the_defaults_are_those_of_the_issue():
    """k = 3, l = 2, t = .2, epsilon = 1, delta = min(1e-5, below 1/n)."""
    policy = Policy()
    assert (policy.k, policy.l, policy.t, policy.epsilon) == (3, 2, 0.2, 1.0)
    assert policy.delta_of(1_000) == 1e-5
    assert policy.delta_of(1_000_000) < 1 / 1_000_000


def test_there_are_eight_techniques_and_they_layer_in_any_order():
    assert len(TECHNIQUES) == 8
    backwards = tuple(reversed(TECHNIQUES))
    assert named(Policy(layers=backwards).plan()) == list(backwards)


def test_each_level_protects_more_than_the_one_below():
    assert set(OF_LEVEL["low"]) < set(OF_LEVEL["medium"]) < set(OF_LEVEL["high"])
    assert {*OF_LEVEL["medium"], "differential_privacy"} < set(OF_LEVEL["critical"])
    assert strictest(["low", "critical", "high"], "medium") == "critical"
    assert strictest([], "medium") == "medium"


def test_a_technique_serves_the_columns_whose_level_asks_for_it():
    plan = Policy(sensitive={"illness": "high", "shoe": "low"}).plan()
    assert {layer.technique: layer.columns for layer in plan} == {
        "swapping": ("illness",),
        "k_anonymity": ("illness", "shoe"),
        "l_diversity": ("illness",),
        "t_closeness": ("illness",),
    }


@pytest.mark.parametrize("level", LEVELS)
def test_a_table_without_sensitive_columns_is_protected_at_the_level_of_the_policy(level):
    assert named(Policy.of_level(level).plan()) == list(OF_LEVEL[level])


def test_a_policy_of_a_file_is_the_one_that_was_written(tmp_path):
    policy = Policy(
        quasi_identifiers=("age", "zip"),
        sensitive={"illness": "critical"},
        hierarchies={
            "age": {"type": "intervals", "widths": [5, 10]},
            "zip": {"type": "prefix", "lengths": [3, 1]},
        },
    )
    (tmp_path / "policy.json").write_text(json.dumps(policy.to_json()))
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(policy.to_json()))
    assert Policy.read(tmp_path / "policy.json") == Policy.read(tmp_path / "policy.yaml") == policy


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": ["swapping", "swapping"]}, "names a technique twice"),
        ({"quasi_identifiers": ["age"], "sensitive": {"age": "low"}}, "column 'age' has two roles"),
        ({"hierarchies": {"age": {"type": "prefix", "lengths": [2]}}}, "is no quasi-identifier"),
        ({"delta": 0.01}, "delta must be at most 1e-05"),
        ({"k": 1}, "greater than or equal to 2"),
        ({"kay": 3}, "has no option 'kay'"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        Policy.parse(options)


@pytest.mark.parametrize(
    "hierarchy",
    [
        {"type": "intervals", "widths": [5, 12]},
        {"type": "intervals", "widths": [0]},
        {"type": "tree", "tree": {"north": ["secret"], "south": ["secret"]}},
        {"type": "tree", "tree": {"north": "secret"}},
        {"type": "tree", "tree": {"north": [["secret"]]}},
        {"type": "prefix", "lengths": [2, 3]},
        {"type": "dates", "steps": ["year", "month"]},
    ],
)
def test_a_hierarchy_whose_levels_do_not_nest_is_refused_without_its_values(hierarchy):
    with pytest.raises(ConfigError) as raised:
        Policy.parse({"quasi_identifiers": ["age"], "hierarchies": {"age": hierarchy}})
    assert "secret" not in str(raised.value)
