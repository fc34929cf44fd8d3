"""Rules to and from pandera."""

import pandas as pd
import pytest

from synth_components.constraints import NotNull, Pattern, Range, Unique, ValueSet
from synth_components.errors import UnsupportedError

pa = pytest.importorskip("pandera.pandas", reason="pandera comes with the extra pandera")

from planted import CASES, rng  # noqa: E402

from synth_components.constraints.pandera_schema import from_pandera, to_pandera  # noqa: E402


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_rule_of_each_type_comes_back_from_pandera_as_it_was(case):
    assert from_pandera(to_pandera([case.rule])) == (case.rule,)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_pandera_accepts_and_refuses_what_a_rule_of_each_type_does(case):
    schema = to_pandera([case.rule])
    schema.validate(case.table(rng()))
    with pytest.raises((pa.errors.SchemaError, pa.errors.SchemaErrors)):
        schema.validate(case.without(rng()))


def test_a_warned_rule_warns_in_pandera():
    schema = to_pandera([Range(column="a", low=1, policy="warn")])
    with pytest.warns(pa.errors.SchemaWarning):
        schema.validate(pd.DataFrame({"a": [0, 2]}))


def test_rules_are_read_from_a_schema_that_somebody_wrote_for_pandera():
    declared = pa.DataFrameSchema(
        {
            "age": pa.Column(int, [pa.Check.ge(0), pa.Check.le(120)], nullable=True),
            "sex": pa.Column(str, pa.Check.isin(["F", "M"])),
            "code": pa.Column(str, pa.Check.str_matches(r"^[A-Z]\d+$"), nullable=True, unique=True),
            "half": pa.Column(float, pa.Check.in_range(0, 1, include_max=False), nullable=True),
        },
        unique=["age", "sex"],
    )
    rules = from_pandera(declared)
    assert set(rules) == {
        Range(column="age", low=0),
        Range(name="range(age) #2", column="age", high=120),
        NotNull(column="sex"),
        ValueSet(column="sex", values=("F", "M")),
        Unique(columns=("code",)),
        Pattern(column="code", pattern=r"[A-Z]\d+"),
        Range(column="half", low=0),
        Range(name="range(half) #2", column="half", high=1, strict=True),
        Unique(columns=("age", "sex")),
    }


def test_a_check_that_is_code_is_refused_by_name():
    declared = pa.DataFrameSchema({"a": pa.Column(int, pa.Check(lambda values: values > 0, name="mine"))})
    with pytest.raises(UnsupportedError, match="'mine'"):
        from_pandera(declared)
