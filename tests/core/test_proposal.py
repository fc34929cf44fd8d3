"""What rules are proposed, beside the one test of every type."""

import json

import numpy as np
import pandas as pd
import pytest
from planted import CASES, places, rng

from synth_components.constraints import Hierarchy, Implication, constraints_from_file
from synth_components.enforcement import refuse_contradictions
from synth_components.errors import BudgetExceededError
from synth_components.privacy.ledger import Ledger
from synth_components.profile import profile
from synth_components.proposal import proposals_to_json, propose
from synth_components.protocols import Budget


def proposed(table, **options):
    return propose(table, profile(table).schema, **options)


def test_nothing_but_ranges_is_proposed_for_unrelated_columns():
    # Fixed seeds; each type's own threshold puts chance below 1 in 9 million.
    for seed in range(5):
        generator = rng(seed)
        table = pd.DataFrame({name: generator.normal(size=800) for name in "abcdef"})
        table["k"] = np.array(["p", "q", "r"], dtype=object)[generator.integers(3, size=800)]
        table["l"] = np.array(["s", "t"], dtype=object)[generator.integers(2, size=800)]
        assert {proposal.rule.type for proposal in proposed(table)} <= {"range", "value_set"}


def test_a_hierarchy_of_four_levels_is_proposed_whole_and_its_parts_are_not():
    found = [proposal.rule for proposal in proposed(places(rng()))]
    assert [rule.levels for rule in found if isinstance(rule, Hierarchy)] == [("zone", "region", "state", "town")]
    assert not any(rule.type == "functional_dependency" for rule in found)


def test_no_value_that_few_rows_share_stands_in_a_proposal():
    table = CASES["functional_dependency"].table(rng())
    table.loc[:3, "city"] = "Xanadu-secret"
    table.loc[:3, "land"] = "ZZ-secret"
    table.loc[4:6, "kind"] = "rare-secret"
    text = json.dumps(proposals_to_json(proposed(table)), ensure_ascii=False)
    assert "secret" not in text
    assert "Bonn" in text


def test_bounds_are_round_numbers_that_no_single_row_gives_away():
    table = pd.DataFrame({"a": rng().uniform(10, 20, 2_000)})
    table.loc[0, "a"] = 10.0000123
    (rule,) = [proposal.rule for proposal in proposed(table) if proposal.rule.type == "range"]
    assert (rule.low, rule.high) == (10, 20)


def test_mining_is_charged_before_a_row_is_read():
    ledger = Ledger()
    table = places(rng())
    propose(table, profile(table).schema, ledger=ledger)
    assert [entry.label for entry in ledger.entries] == ["propose constraints"]
    with pytest.raises(BudgetExceededError):
        propose(table, profile(table).schema, ledger=Ledger(Budget(1.0, 1e-6)))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_proposals_do_not_contradict_each_other(case):
    table = case.table(rng())
    schema = profile(table).schema
    rules = tuple(proposal.rule for proposal in propose(table, schema))
    refuse_contradictions(schema.with_constraints(rules))


def test_the_json_of_proposals_is_a_file_of_constraints(tmp_path):
    found = proposed(CASES["inequality"].table(rng()))
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(proposals_to_json(found)), encoding="utf-8")
    assert constraints_from_file(path) == tuple(proposal.rule for proposal in found)


def test_names_that_are_no_identifiers_are_quoted():
    generator = rng()
    table = pd.DataFrame({"age at-start": generator.integers(0, 60, 1_500)})
    grown = np.array(["no", "yes"], dtype=object)[generator.integers(2, size=1_500)]
    table["class"] = np.where(table["age at-start"] < 16, "no", grown)
    rules = [proposal.rule for proposal in proposed(table) if isinstance(proposal.rule, Implication)]
    assert [(rule.when, rule.then) for rule in rules] == [("`age at-start` < 16", "`class` == 'no'")]


def test_a_table_of_few_rows_suggests_nothing():
    assert proposed(pd.DataFrame({"a": range(20), "b": range(20)})) == ()


def test_numbers_near_the_ends_of_floating_point_are_mined_without_a_warning():
    generator = rng()
    ends = {f"e{k}": generator.choice([10.0**k, -(10.0**k), 0.5, 3.25], 300) for k in (299, 308)}
    found = proposed(pd.DataFrame({**ends, "b": generator.normal(size=300)}))
    assert [proposal.rule.columns for proposal in found if proposal.rule.type == "value_set"] == [("e299",)]


def test_a_key_with_nulls_may_be_what_a_column_rises_along():
    key = pd.array([None if i % 7 == 0 else i for i in range(300)], dtype="Int64")
    found = [p.rule for p in proposed(pd.DataFrame({"id": key, "reading": np.arange(300) ** 2}))]
    assert ("reading", "id") in {(rule.column, rule.order) for rule in found if rule.type == "monotone"}
