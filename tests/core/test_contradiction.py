"""Rules that cannot hold together are refused before anything is drawn, and each of them is named."""

from dataclasses import replace

import pandas as pd
import pytest

import synth_components as synth
from synth_components.constraints import (
    ConditionalNull,
    ConstantSum,
    Derived,
    ExactlyOne,
    Expression,
    FixedCombinations,
    FunctionalDependency,
    Hierarchy,
    Implication,
    Inequality,
    Monotone,
    NotNull,
    Pattern,
    Range,
    Unique,
    ValueSet,
)
from synth_components.contradiction import refuse_contradictions, require_room
from synth_components.errors import ConstraintError
from synth_components.schema import Schema

NUMBER = {"type": "numeric", "low": 0, "high": 100, "places": 0}
SCHEMA = Schema.from_json(
    {
        "columns": {
            "a": NUMBER,
            "b": NUMBER,
            "c": NUMBER,
            "n": {**NUMBER, "nullable": True},
            "m": {**NUMBER, "nullable": True},
            "city": {"type": "categorical", "categories": ["Oslo", "Rome", "Lyon"]},
            "land": {"type": "categorical", "categories": ["NO", "IT", "FR"]},
            "code": {"type": "text"},
            "t": {"type": "datetime", "low": "2020-01-01", "high": "2021-01-01"},
        }
    }
)
CITIES = FixedCombinations(name="places", columns=("city", "land"), combinations=[("Oslo", "NO"), ("Rome", "IT")])

CONTRADICTIONS = {
    "ranges": (Range(name="r1", column="a", high=3), Range(name="r2", column="a", low=4)),
    "touching strict ranges": (
        Range(name="r1", column="a", high=4, strict=True),
        Range(name="r2", column="a", low=4),
    ),
    "times": (Range(name="r1", column="t", high="2020-02-01"), Range(name="r2", column="t", low="2020-03-01")),
    "range and value set": (Range(name="r1", column="a", low=10), ValueSet(name="v", column="a", values=(1, 2))),
    "value sets": (ValueSet(name="v1", column="a", values=(1, 2)), ValueSet(name="v2", column="a", values=(3,))),
    "value set and expression": (
        ValueSet(name="v1", column="city", values=("Oslo",)),
        Expression(name="e", expression="city in ['Rome', 'Lyon']"),
    ),
    "range and expression": (Range(name="r1", column="a", low=10), Expression(name="e", expression="b > 1 & a < 10")),
    "value set and pattern": (
        ValueSet(name="v1", column="code", values=("x", "y")),
        Pattern(name="p", column="code", pattern="[0-9]+"),
    ),
    "combinations and value set": (CITIES, ValueSet(name="v", column="land", values=("FR",))),
    "combinations and range": (
        FixedCombinations(name="pairs", columns=("a", "b"), combinations=[(1, 2), (3, 4)]),
        Range(name="r", column="b", low=5),
    ),
    "combinations and hierarchy": (
        CITIES,
        Hierarchy(name="h", levels=("land", "city"), paths=[("IT", "Oslo"), ("NO", "Rome")]),
    ),
    "combinations and dependency": (
        CITIES,
        FunctionalDependency(
            name="f", determinant=("city",), dependent="land", mapping={"Oslo": "IT", "Rome": "FR", "Lyon": "NO"}
        ),
    ),
    "not null and conditional null": (
        NotNull(name="nn", column="n"),
        ConditionalNull(name="cn", column="n", when="a > 5"),
    ),
    "not null twice and exactly one": (
        NotNull(name="n1", column="n"),
        NotNull(name="n2", column="m"),
        ExactlyOne(name="one", columns=("n", "m")),
    ),
    "inequality and ranges": (
        Range(name="r1", column="a", low=60),
        Range(name="r2", column="b", high=50),
        Inequality(name="i", low="a", high="b"),
    ),
    "a chain of inequalities": (
        Range(name="r1", column="a", low=60),
        Inequality(name="i1", low="a", high="b"),
        Inequality(name="i2", low="b", high="c"),
        ValueSet(name="v", column="c", values=(1, 59)),
    ),
    "a circle of inequalities": (
        Inequality(name="i1", low="a", high="b", strict=True),
        Inequality(name="i2", low="b", high="c"),
        Inequality(name="i3", low="c", high="a"),
    ),
    "sum and ranges": (
        ConstantSum(name="s", columns=("a", "b"), total=100),
        Range(name="r1", column="a", low=60),
        Range(name="r2", column="b", low=50),
    ),
    "sums of the same columns": (
        ConstantSum(name="s1", columns=("a", "b"), total=100),
        ConstantSum(name="s2", columns=("b", "a"), total=90),
    ),
    "a sum and a sum of some of its columns": (
        ConstantSum(name="s1", columns=("a", "b", "c"), total=50),
        ConstantSum(name="s2", columns=("a", "b"), total=100),
    ),
    "derived column and range": (
        Derived(name="d", column="c", expression="a + b"),
        Range(name="r1", column="a", low=40),
        Range(name="r2", column="b", low=40),
        Range(name="r3", column="c", high=70),
    ),
    "a circle of derived columns": (
        Derived(name="d1", column="a", expression="b + 1"),
        Derived(name="d2", column="b", expression="a + 1"),
    ),
    "equal conditions": (
        Implication(name="i1", when="a > 5", then="city == 'Oslo'"),
        Implication(name="i2", when="a > 5", then="city == 'Rome'"),
    ),
    "implication and value set": (
        Implication(name="i1", when="a > 5", then="city == 'Oslo'"),
        ValueSet(name="v", column="city", values=("Rome",)),
    ),
    "monotone both ways": (
        Monotone(name="up", column="a", order="t", strict=True),
        Monotone(name="down", column="a", order="t", decreasing=True),
    ),
}


@pytest.mark.parametrize("rules", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_every_rule_of_a_contradiction_is_named(rules):
    with pytest.raises(ConstraintError) as caught:
        refuse_contradictions(SCHEMA.with_constraints(rules))
    assert [rule.name for rule in rules if f"'{rule.name}'" not in str(caught.value)] == []


@pytest.mark.parametrize("rules", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_without_the_last_rule_there_is_no_contradiction(rules):
    refuse_contradictions(SCHEMA.with_constraints(rules[:-1]))


@pytest.mark.parametrize("rules", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_warned_rule_contradicts_nothing(rules):
    warned = tuple(rule.model_copy(update={"policy": "warn"}) for rule in rules)
    refuse_contradictions(SCHEMA.with_constraints(warned))


@pytest.mark.parametrize(
    "rule",
    [
        ValueSet(column="city", values=("Paris",)),
        ConditionalNull(column="a", when="b > 1"),
        ConstantSum(columns=("a", "b"), total=300),
        Expression(expression="a + b > 500"),
        ExactlyOne(columns=("a", "b")),
        Derived(column="a", expression="b + 101"),
        FixedCombinations(columns=("city", "land"), combinations=[("Paris", "FR")]),
    ],
    ids=lambda rule: rule.type,
)
def test_a_rule_that_contradicts_the_schema_is_refused_by_name(rule):
    with pytest.raises(ConstraintError) as caught:
        refuse_contradictions(SCHEMA.with_constraints((rule,)))
    assert caught.value.constraint == rule.name


AGREEING = (
    Range(column="a", low=1, high=50),
    ValueSet(column="c", values=(10, 90)),
    Inequality(low="a", high="b"),
    Inequality(low="b", high="c"),
    CITIES,
    Hierarchy(levels=("land", "city"), paths=[("NO", "Oslo"), ("IT", "Rome")]),
    ConditionalNull(column="n", when="a > 5"),
    NotNull(column="m"),
    ExactlyOne(columns=("n", "m")),
    Pattern(column="code", pattern="[a-z]+"),
    Implication(when="a > 5", then="city == 'Oslo'"),
    Implication(when="a > 7", then="land == 'NO'"),
    Monotone(column="a", order="t"),
    Unique(columns=("a", "b")),
    Expression(expression="a + b <= 150"),
)


def test_rules_that_agree_are_not_refused():
    schema = SCHEMA.with_constraints(AGREEING)
    require_room(schema, refuse_contradictions(schema), 1_000)


def test_derived_columns_that_say_the_same_are_not_refused():
    rules = (Derived(column="a", expression="100 - b"), Derived(column="b", expression="100 - a"))
    refuse_contradictions(SCHEMA.with_constraints(rules))


def test_more_unique_rows_than_fixed_combinations_are_refused_naming_both():
    schema = SCHEMA.with_constraints((CITIES, Unique(name="once", columns=("city", "land"))))
    listings = refuse_contradictions(schema)
    require_room(schema, listings, 2)
    with pytest.raises(ConstraintError, match=r"'once' and 'places' leaves room for 2 rows"):
        require_room(schema, listings, 3)


def test_a_model_that_is_given_contradictory_rules_draws_no_row():
    table = pd.DataFrame({"a": [1, 3, 5, 7, 9] * 20})
    model = synth.fit(table, generator="tabular.independent", seed=0)
    assert len(model.sample(5, seed=0)) == 5
    contradictory = model.schema.with_constraints((ValueSet(column="a", values=(3,)), Range(column="a", low=5)))
    with pytest.raises(ConstraintError, match=r"'range\(a\)'"):
        replace(model, schema=contradictory).sample(5, seed=0)


def test_fit_refuses_contradictory_rules_before_it_reads_a_row():
    table = pd.DataFrame({"a": range(50), "b": range(50)})
    rules = [ValueSet(column="a", values=(3,)), Range(column="a", low=9)]
    with pytest.raises(ConstraintError, match=r"'range\(a\)'"):
        synth.fit(table, generator="tabular.independent", constraints=rules)
