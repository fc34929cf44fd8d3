"""What rules are proposed, beside the one test of every type."""

import json

import numpy as np
import pandas as pd
import pytest
from planted import CASES, places, rng

from synth_components.constraints import Hierarchy, Implication, constraints_from_file
from synth_components.contradiction import refuse_contradictions
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


def tariffs(n=2_000):
    """Return a table in which zone and weight together decide the price, and neither does alone."""
    zone, weight = rng(1).integers(4, size=n), rng(2).integers(5, size=n)
    price = np.array([["a", "b", "c", "d", "e"], ["c", "a", "e", "b", "d"], ["b", "d", "a", "e", "c"], list("edcba")])
    names = np.array(["north", "east", "south", "west"], dtype=object)
    return pd.DataFrame({"zone": names[zone], "weight": weight, "price": price[zone, weight].astype(object)})


def test_a_dependency_on_two_columns_together_is_proposed_with_its_mapping():
    found = [p.rule for p in proposed(tariffs()) if p.rule.type == "functional_dependency"]
    (rule,) = [rule for rule in found if rule.dependent == "price"]
    assert rule.determinant == ("zone", "weight")
    assert len(rule.mapping) == 20


def test_no_dependency_on_two_columns_is_proposed_where_one_row_in_fifty_breaks_it():
    table = tariffs()
    table.loc[::50, "price"] = rng(3).choice(list("abcde"), size=len(table) // 50)
    assert not any(p.rule.type == "functional_dependency" and p.rule.dependent == "price" for p in proposed(table))


def test_rules_of_a_large_table_are_looked_for_in_some_rows_and_held_against_all():
    table = tariffs(8_000).assign(low=rng(4).integers(90, size=8_000), high=lambda t: t["low"] + 7)
    looked_at = np.linspace(0, len(table) - 1, 1_000).astype(np.int64)
    unseen = np.setdiff1d(np.arange(len(table)), looked_at)[::20]  # 4 % of the rows
    broken = table.assign(high=table["high"].where(~table.index.isin(unseen), 500))
    kinds = [{(p.rule.type, *p.rule.columns): p for p in proposed(t, mined_rows=1_000)} for t in (table, broken)]

    joint = kinds[0]["functional_dependency", "zone", "weight", "price"]
    assert (len(joint.rule.mapping), joint.share) == (20, 1.0)
    assert [("derived", "low", "high") in found or ("derived", "high", "low") in found for found in kinds] == [
        True,
        False,
    ]


def test_a_rule_that_only_the_mined_rows_obey_hides_no_rule_of_all_rows():
    table = pd.DataFrame({"low": rng(4).integers(90, size=8_000)}).assign(high=lambda t: t["low"] + 7)
    looked_at = np.linspace(0, len(table) - 1, 1_000).astype(np.int64)
    unseen = np.setdiff1d(np.arange(len(table)), looked_at)
    table.loc[unseen, "high"] += rng(5).integers(1, 30, size=len(unseen))
    found = [proposal.rule.type for proposal in proposed(table, mined_rows=1_000) if len(proposal.rule.columns) == 2]
    assert found == ["inequality"]


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


@pytest.mark.parametrize(("zone", "types"), [(None, {"inequality"}), ("UTC", set())])
def test_a_time_with_a_zone_and_one_without_are_not_compared(zone, types):
    generator = rng()
    start = pd.Timestamp("2020-01-01") + pd.to_timedelta(generator.integers(0, 365, 500), unit="D")
    end = start + pd.to_timedelta(generator.integers(10, 300, 500), unit="D")
    found = [proposal.rule for proposal in proposed(pd.DataFrame({"start": start, "end": end.tz_localize(zone)}))]
    assert {rule.type for rule in found if {"start", "end"} <= set(rule.columns)} == types
