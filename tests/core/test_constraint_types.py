"""Every type of rule: JSON, detection, enforcement on a sampled table, and mining."""

import json

import pytest
from planted import CASES, rng

import synth_components as synth
from synth_components.constraints import RULES, check, constraint_from_json, constraints_from_file
from synth_components.profile import profile
from synth_components.proposal import proposals_to_json, propose


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def mined(table):
    return propose(table, profile(table).schema)


def names(proposals):
    return [proposal.rule.name for proposal in proposals]


def test_there_is_a_case_for_every_type_of_rule():
    assert {case.rule.type for case in CASES.values()} == set(RULES)
    assert len(CASES) >= 15


def test_a_rule_of_each_type_round_trips_through_json_and_yaml(case, tmp_path):
    import yaml

    assert constraint_from_json(json.loads(json.dumps(case.rule.to_json()))) == case.rule
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"constraints": [case.rule.to_json()]}), encoding="utf-8")
    assert constraints_from_file(tmp_path / "rules.yaml") == (case.rule,)


def test_a_planted_violation_of_each_type_is_detected(case):
    assert check(case.table(rng()), [case.rule]) == {case.rule.name: 1.0}
    assert check(case.without(rng()), [case.rule])[case.rule.name] < 1.0


@pytest.mark.parametrize("policy", ["repair", "reject"])
def test_every_sampled_row_obeys_a_rule_of_each_type_whose_data_do_not(case, policy):
    if policy == "reject" and case.rule.type in {"derived", "pattern", "monotone", "constant_sum"}:
        pytest.skip("next to no candidate obeys by chance: these rules are there to be mended")
    rule = case.rule.model_copy(update={"policy": policy})
    table = case.without(rng())
    model = synth.fit(
        table, generator="tabular.independent", seed=0, constraints=[rule], schema=open_schema(table, rule)
    )
    drawn = model.sample(400, seed=1)
    assert len(drawn) == 400
    assert check(drawn, [rule]) == {rule.name: 1.0}


def open_schema(table, rule):
    """Return the profiled schema, with room for what the rule writes: nulls, and text of its pattern."""
    value = profile(table).schema.to_json()
    columns = value["tables"]["table"]
    if rule.type == "pattern":
        columns[rule.column] = {"type": "text", "dtype": str(table[rule.column].dtype), "kind": "identifier"}
    return value


@pytest.mark.parametrize("seed", [0, 1])
def test_a_rule_of_each_type_is_mined_from_a_table_in_which_it_is_planted(case, seed):
    wanted = case.mined or case.rule
    found = {proposal.rule.name: proposal for proposal in mined(case.table(rng(seed)))}
    assert wanted.name in found
    assert found[wanted.name].rule == wanted
    assert found[wanted.name].share == 1.0
    assert found[wanted.name].rows > 0
    assert found[wanted.name].reason


@pytest.mark.parametrize("seed", [0, 1])
def test_a_rule_of_each_type_is_not_mined_from_a_table_in_which_it_does_not_hold(case, seed):
    assert (case.mined or case.rule).name not in names(mined(case.without(rng(seed))))


def test_what_is_mined_trains_a_model_that_obeys_it(case, tmp_path):
    table = case.table(rng())
    (tmp_path / "rules.json").write_text(json.dumps(proposals_to_json(mined(table))), encoding="utf-8")
    rules = constraints_from_file(tmp_path / "rules.json")
    drawn = synth.fit(table, generator="tabular.independent", seed=0, constraints=rules).sample(200, seed=1)
    assert {share for share in check(drawn, rules).values()} == {1.0}
