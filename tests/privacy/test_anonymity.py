"""k, l and t: measured as by hand, and enforced on every table that can meet them."""

import datetime
import io
import json
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from synth_components.errors import DataError, PolicyError, SchemaError, UnsupportedError
from synth_components.privacy.anonymity import local
from synth_components.privacy.anonymity.classes import Cells, Sensitive, classes_of, codes, measure
from synth_components.privacy.anonymity.criteria import TOLERANCE, Criteria, Demand
from synth_components.privacy.anonymity.domain import domain
from synth_components.privacy.anonymity.hierarchy import Dates, Intervals, Prefix, Tree
from synth_components.privacy.anonymity.recoding import generalise, recode, suppress

EXPECTED = Path(__file__).parent / "pycanon"

SALARIES = pd.DataFrame(
    {
        "zip": ["476**"] * 3 + ["4790*"] * 3 + ["476**"] * 3,
        "age": ["2*"] * 3 + [">=40"] * 3 + ["3*"] * 3,
        "salary": [3, 4, 5, 6, 11, 8, 7, 9, 10],
    }
)
"""Table 3 of Li, Li & Venkatasubramanian 2007, whose Section 4.2 works out the distances."""


def test_the_distances_are_those_of_the_paper_that_defines_t_closeness():
    """Li, Li & Venkatasubramanian 2007, Section 4.2: D[{3k,4k,5k}, Q] = 0.375 and D[{6k,8k,11k}, Q] = 0.167."""
    group, count = classes_of([codes(SALARIES["age"])])
    column = Sensitive.of(SALARIES["salary"])
    assert_allclose(Cells.of(group, column.codes, count).distance(column)[:2], [0.375, 1 / 6], atol=1e-12)
    assert_allclose(measure(SALARIES, ["zip", "age"], ["salary"]).sensitive["salary"].closeness, 0.375, atol=1e-12)


def test_diversity_is_what_a_hand_counts():
    # Classes a: x x x y z, b: x y.  Whole: x 4/7, y 2/7, z 1/7.
    table = pd.DataFrame({"q": list("aaaaabb"), "s": list("xxxyzxy")})
    found = measure(table, ["q"], ["s"])
    assert (found.k, found.classes, found.rows) == (2, 2, 7)
    assert_allclose(found.discernibility, (25 + 4) / 7)
    of = found.sensitive["s"]
    assert of.distinct == 2
    assert_allclose(of.entropy, min(math.exp(-(0.6 * math.log(0.6) + 0.4 * math.log(0.2))), 2.0))
    assert_allclose(of.recursive, 3 / 2)  # a: r_1 = 3 for r_2 + r_3 = 2; b: 1 for 1
    assert_allclose(of.commonest, 0.6)
    # a: (|3/5 - 4/7| + |1/5 - 2/7| + |1/5 - 1/7|) / 2 = 3/35; b: (|1/2 - 4/7| + |1/2 - 2/7| + 1/7) / 2 = 3/14.
    assert_allclose(of.closeness, 3 / 14)


def test_recursive_diversity_counts_from_the_commonest_on():
    group = np.zeros(10, dtype=np.int64)
    cells = Cells.of(group, np.array([0] * 5 + [1] * 3 + [2] * 2), 1)
    assert_allclose([cells.recursive(least)[0] for least in (1, 2, 3)], [5 / 10, 5 / 5, 5 / 2])
    assert math.isinf(cells.recursive(4)[0])


def test_a_null_is_a_value_of_its_own():
    table = pd.DataFrame({"q": ["a", None, None, "a"], "s": [1.0, np.nan, 2.0, np.nan]})
    found = measure(table, ["q"], ["s"])
    assert (found.k, found.classes, found.sensitive["s"].distinct) == (2, 2, 2)


def test_a_table_without_rows_has_no_classes():
    found = measure(pd.DataFrame({"q": [], "s": []}), ["q"], ["s"])
    assert (found.k, found.classes, found.discernibility) == (0, 0, 0.0)


def test_what_cannot_be_measured_is_refused():
    table = pd.DataFrame({"q": ["a"], "s": [[1]]})
    with pytest.raises(DataError, match="quasi-identifiers"):
        measure(table, [])
    with pytest.raises(SchemaError, match="column 'r' is not in the table"):
        measure(table, ["r"])
    with pytest.raises(SchemaError, match="column 's' holds values that cannot be compared"):
        measure(table, ["q"], ["s"])


@pytest.mark.parametrize("case", json.loads((EXPECTED / "expected.json").read_text())["cases"], ids=lambda c: c["name"])
def test_measures_equal_those_of_pycanon(case):
    """To 1e-9; expected.json was written by pycanon in an environment of its own: tests/privacy/pycanon/expect.sh."""
    table = pd.read_csv(EXPECTED / f"{case['table']}.csv")
    found = measure(table, case["quasi_identifiers"], case["sensitive"])
    of = [found.sensitive[name] for name in case["sensitive"]]
    assert found.k == case["k"]
    assert min(one.distinct for one in of) == case["l_distinct"]
    assert int(min(one.entropy for one in of)) == case["l_entropy"]  # pycanon rounds down
    assert_allclose(max(one.closeness for one in of), case["t"], rtol=0, atol=1e-9)
    assert_allclose(max(one.commonest for one in of), case["alpha"], rtol=0, atol=1e-9)
    assert_allclose(found.discernibility * len(table), case["discernibility"], rtol=1e-9)
    # pycanon's recursive c sorts counts from the rarest on, where the paper has the commonest first: the same counts,
    # in its order, give its number.
    assert _rarest_first(table, case) == case["c_recursive"]


def _rarest_first(table, case):
    if case["l_distinct"] < 2:
        return None
    group, count = classes_of([codes(table[name]) for name in case["quasi_identifiers"]])
    found = []
    for name in case["sensitive"]:
        cells = Cells.of(group, Sensitive.of(table[name]).codes, count)
        for one in range(count):
            held = np.sort(cells.count[cells.owner == one])
            found.append(math.floor(held[0] / held[case["l_distinct"] - 1 :].sum() + 1))
    return max(found)


VALUES = st.one_of(st.none(), st.integers(-5, 5))
COLUMNS = {
    "number": st.one_of(st.none(), st.integers(-50, 50)),
    "amount": st.floats(-1e3, 1e3, allow_nan=False).map(lambda value: round(value, 2)),
    "city": st.sampled_from(["Rome", "Oslo", "Bonn", "Pisa", None]),
    "code": st.from_regex(r"[0-9]{3}", fullmatch=True),
    "day": st.integers(0, 4000),
}


@st.composite
def tables(draw):
    """Return a table with a column of each type, two of them sensitive."""
    n = draw(st.integers(6, 60))
    held = {name: draw(st.lists(values, min_size=n, max_size=n)) for name, values in COLUMNS.items()}
    table = pd.DataFrame(held).astype({"number": "Int64", "amount": "float64"})
    table["day"] = pd.Timestamp("2015-01-01") + pd.to_timedelta(table["day"], unit="D")
    table["illness"] = draw(st.lists(st.sampled_from(["flu", "cold", None]), min_size=n, max_size=n))
    table["pay"] = draw(st.lists(st.integers(0, 9), min_size=n, max_size=n))
    return table


QUASI = list(COLUMNS)
SOME = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def demanded(table, *, l, t, kind="distinct"):  # noqa: E741
    return [Demand(name, Sensitive.of(table[name]), diversity=l, kind=kind, closeness=t) for name in ("illness", "pay")]


@SOME
@given(
    tables(),
    st.integers(2, 5),
    st.sampled_from([1.0, 1.5, 2.0]),
    st.sampled_from([0.0, 0.1, 0.3, 1.0]),
    st.sampled_from(["distinct", "entropy", "recursive"]),
    st.sampled_from(["labels", "representatives"]),
)
def test_what_was_enforced_is_measured_on_every_table(table, k, l, t, kind, values):  # noqa: E741
    before = table.copy()
    criteria = Criteria(k, demanded(table, l=l, t=t, kind=kind))
    # The table as one class: what it lacks no recoding can give.
    if not criteria.met(np.zeros(len(table), dtype=np.int64), np.arange(len(table)), 1).all():
        with pytest.raises(PolicyError):
            recode(table, QUASI, criteria, values=values)
        return
    made = recode(table, QUASI, criteria, values=values)
    found = measure(made.table, QUASI, ["illness", "pay"])
    assert found.k >= k
    for of in found.sensitive.values():
        assert of.closeness <= t + TOLERANCE
        assert kind != "distinct" or of.distinct >= l
        assert kind != "entropy" or of.entropy >= l - TOLERANCE
        assert kind != "recursive" or l < 2 or of.recursive < 3.0
    assert 0 <= made.loss.penalty <= 1
    assert made.loss.suppressed == 0
    assert_allclose(made.loss.discernibility, found.discernibility)
    pd.testing.assert_frame_equal(table, before)
    pd.testing.assert_frame_equal(made.table.drop(columns=QUASI), table.drop(columns=QUASI))
    assert values == "labels" or dict(made.table.dtypes) == dict(table.dtypes)


@SOME
@given(tables(), st.integers(2, 4), st.sampled_from(["labels", "representatives"]))
def test_a_table_that_was_recoded_is_not_recoded_again(table, k, values):
    criteria = Criteria(k, demanded(table, l=1.0, t=0.5))
    once = recode(table, QUASI, criteria, values=values)
    again = recode(once.table, QUASI, criteria, values=values)
    pd.testing.assert_frame_equal(once.table, again.table)
    assert again.loss.penalty == 0


@SOME
@given(tables(), st.integers(2, 4), st.sampled_from([0.0, 0.2]))
def test_full_domain_recoding_keeps_its_promise_or_says_that_it_cannot(table, k, most):
    criteria = Criteria(k, demanded(table, l=1.0, t=0.6))
    columns = ["number", "city", "code"]
    made = recode(table, columns, criteria, recoding="full_domain", max_suppressed=most)
    found = measure(made.table, columns, ["illness", "pay"])
    assert found.k >= k
    assert max(of.closeness for of in found.sensitive.values()) <= 0.6 + TOLERANCE
    assert made.loss.suppressed <= most
    assert 0 <= made.loss.penalty <= 1


def test_full_domain_recoding_finds_the_least_loss_of_all_levels():
    """Against every combination of levels, tried one by one."""
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"age": rng.integers(0, 40, 60), "zip": [f"{code:03d}" for code in rng.integers(0, 30, 60)]})
    known = {"age": Intervals(widths=(5, 10, 20)), "zip": Prefix(lengths=(2, 1))}
    made = recode(table, ["age", "zip"], Criteria(3), hierarchies=known, recoding="full_domain", max_suppressed=0.1)
    losses = []
    for age in range(5):
        for code in range(4):
            other, lost = generalise(table, {"age": age, "zip": code}, known, values="labels")
            sizes = other.groupby(["age", "zip"])["age"].transform("size").to_numpy()
            if (sizes < 3).sum() <= 6:
                losses.append((lost[sizes >= 3].sum() + (sizes < 3).sum()) / 60)
    assert_allclose(made.loss.penalty, min(losses))


def test_a_partition_that_forgets_a_half_is_caught(monkeypatch):
    """The broken twin: a cut that leaves one side below k."""

    def broken(key, within, sizes, of, domains, k, wanted):
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return (np.arange(len(key)) - starts[within] >= 1).astype(np.int64), sizes >= 2

    table = pd.DataFrame({"age": range(40)})
    assert measure(recode(table, ["age"], Criteria(5)).table, ["age"]).k >= 5
    monkeypatch.setattr(local, "_halves", broken)
    assert measure(recode(table, ["age"], Criteria(5)).table, ["age"]).k < 5


def test_a_hundred_rows_of_one_number_each_become_the_intervals_of_a_hand():
    made = recode(pd.DataFrame({"age": range(8)}), ["age"], Criteria(2))
    assert made.table["age"].tolist() == ["[0, 1]"] * 2 + ["[2, 3]"] * 2 + ["[4, 5]"] * 2 + ["[6, 7]"] * 2
    assert_allclose(made.loss.penalty, 1 / 7)  # each interval spans 1 of 7
    assert made.loss.discernibility == 2


def test_every_hierarchy_is_climbed_level_by_level():
    table = pd.DataFrame(
        {
            "age": [18, 23, 41, None],
            "zip": ["94110", "94117", "10001", "94110"],
            "land": ["IT", "ES", "NO", "JP"],
            "born": pd.to_datetime(["1990-05-01", "1991-02-03", "1999-12-31", None]),
        }
    )
    known = {
        "age": Intervals(widths=(10, 20)),
        "zip": Prefix(lengths=(3, 1)),
        "land": Tree(tree={"Europe": {"South": ["IT", "ES"], "North": ["NO"]}, "Asia": ["JP"]}),
        "born": Dates(steps=("quarter", "decade")),
    }
    first, _ = generalise(table, dict.fromkeys(known, 1), known, values="labels")
    second, _ = generalise(table, dict.fromkeys(known, 2), known, values="labels")
    top, lost = generalise(table, dict.fromkeys(known, 3), known, values="labels")
    assert first["age"].tolist() == ["[10, 20)", "[20, 30)", "[40, 50)", None]
    assert second["age"].tolist() == ["[0, 20)", "[20, 40)", "[40, 60)", None]
    assert first["zip"].tolist() == ["941**", "941**", "100**", "941**"]
    assert first["land"].tolist() == ["South", "South", "North", "Asia"]
    assert second["land"].tolist() == ["Europe", "Europe", "Europe", "Asia"]
    assert first["born"].tolist() == ["1990-Q2", "1991-Q1", "1999-Q4", None]
    assert second["born"].tolist() == ["1990s", "1990s", "1990s", None]
    assert (top == "*").all(axis=None)
    assert_allclose(lost, 1)


def test_a_declared_tree_names_the_groups_of_local_recoding():
    table = pd.DataFrame({"land": ["IT"] * 2 + ["ES"] * 2 + ["NO"] * 4 + ["JP"] * 4})
    tree = Tree(tree={"Europe": {"South": ["IT", "ES"], "North": ["NO"]}, "Asia": ["JP"]})
    made = recode(table, ["land"], Criteria(4), hierarchies={"land": tree})
    assert made.table["land"].tolist() == ["South"] * 4 + ["NO"] * 4 + ["JP"] * 4


@pytest.mark.parametrize(
    ("hierarchy", "said"),
    [
        (Tree(tree={"north": ["NO"]}), "2 rows with 1 values"),
        (Intervals(widths=(5,)), "not of numbers"),
        (Dates(), "not; make it a datetime"),
    ],
)
def test_a_hierarchy_of_another_column_is_refused_without_naming_a_value(hierarchy, said):
    table = pd.DataFrame({"land": ["NO", "NO", "Atlantis", "Atlantis"]})
    with pytest.raises(PolicyError, match=said) as raised:
        domain(table["land"], hierarchy, runs=True)
    assert "Atlantis" not in str(raised.value)


def test_too_many_levels_together_are_refused():
    wide = pd.DataFrame({f"c{number}": range(8) for number in range(9)})
    with pytest.raises(UnsupportedError, match="combinations of levels"):
        recode(wide, list(wide.columns), Criteria(2), recoding="full_domain")


def test_suppression_leaves_out_what_misses_and_then_what_that_makes_miss():
    table = pd.DataFrame({"q": list("aaabbbc"), "s": list("xyzxyzx")})
    made = suppress(table, ["q"], Criteria(3), max_suppressed=0.2)
    assert made.table["q"].tolist() == list("aaabbb")
    assert_allclose([made.loss.suppressed, made.loss.discernibility], [1 / 7, (9 + 9 + 7) / 7])
    with pytest.raises(PolicyError, match="1 of 7 rows"):
        suppress(table, ["q"], Criteria(3), max_suppressed=0.1)


def test_a_rare_quasi_identifier_is_not_named_by_an_error():
    table = pd.DataFrame({"name of street": ["Unter den Linden 77", "b", "c"], "s": ["x", "x", "x"]})
    criteria = [Criteria(4), Criteria(2, [Demand("s", Sensitive.of(table["s"]), diversity=2.0)])]
    for asked in criteria:
        with pytest.raises(PolicyError) as raised:
            recode(table, ["name of street"], asked)
        assert "Linden" not in str(raised.value)
    with pytest.raises(PolicyError) as raised:
        suppress(table, ["name of street"], Criteria(2), max_suppressed=0.0)
    assert "Linden" not in str(raised.value)


def test_infinite_numbers_are_refused():
    with pytest.raises(SchemaError, match="infinite"):
        recode(pd.DataFrame({"pay": [1.0, np.inf, 2.0]}), ["pay"], Criteria(2))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (pd.to_timedelta([1, 2, 3], unit="D"), ["*", "*", "*"]),
        ([1j, 2j, 3j], ["*", "*", "*"]),
        (
            [datetime.date(2001, 5, 1), datetime.date(2001, 5, 9), datetime.date(2002, 1, 1)],
            ["2001-05"] * 2 + ["2002-01"],
        ),
    ],
    ids=["time spans", "complex numbers", "dates as objects"],
)
def test_values_that_are_no_plain_numbers_have_a_hierarchy_too(values, labels):
    """It was derived as that of numbers, and ended in an error of Python's."""
    table = pd.DataFrame({"q": pd.Series(values)})
    made, _ = generalise(table, {"q": 1}, {}, values="labels")
    assert made["q"].tolist() == labels
    assert measure(recode(table, ["q"], Criteria(3), recoding="full_domain").table, ["q"]).k == 3


LOOK_ALIKE = [
    pytest.param([1, True], id="a number and a truth value"),
    pytest.param([1, 1.0], id="a whole number and a real one"),
    pytest.param([Decimal("1.1"), Decimal("1.10")], id="decimals"),
    pytest.param(
        [pd.Timestamp("2024-01-01", tz="UTC"), pd.Timestamp("2024-01-01 01:00", tz="Europe/Paris")], id="times"
    ),
]


@pytest.mark.parametrize("values", LOOK_ALIKE)
def test_values_that_are_equal_and_differ_in_a_released_file_are_different_people(values):
    """Two rows of the one and one of the other are two classes, of which the lesser is a row: k is 1, and not 3."""
    table = pd.DataFrame({"q": pd.Series([values[0], values[0], values[1]], dtype=object), "s": ["x", "y", "x"]})
    shown = pd.read_csv(io.StringIO(table.to_csv(index=False)), dtype=str)
    released = measure(shown, ["q"], ["s"])
    assert (measure(table, ["q"], ["s"]).k, measure(table, ["q"], ["s"]).classes) == (released.k, released.classes)
    assert released.k == 1
    kept = suppress(table, ["q"], Criteria(2, ()), max_suppressed=0.5).table
    assert kept.index.tolist() == [0, 1]
    made = recode(table, ["q"], Criteria(2, ())).table  # which writes one value for both
    assert made["q"].nunique() == 1
    assert measure(made, ["q"]).k == 3


def test_zeros_of_either_sign_are_two_values_as_in_a_file():
    table = pd.DataFrame({"q": [0.0, 0.0, -0.0, np.nan, np.nan]})
    assert (measure(table, ["q"]).k, measure(table, ["q"]).classes) == (1, 3)
    assert measure(table.astype("Float64"), ["q"]).k == 1


def test_sensitive_values_that_a_file_shows_alike_are_one():
    """A number and the text of it are the same illness to whoever reads the file: a class of both is not diverse."""
    table = pd.DataFrame({"q": ["a"] * 4, "s": pd.Series([1, "1", 1, "1"], dtype=object)})
    found = measure(table, ["q"], ["s"]).sensitive["s"]
    assert (found.distinct, found.commonest) == (1, 1.0)
    other = table.assign(s=pd.Series([1, "True", 1, "True"], dtype=object))
    assert measure(other, ["q"], ["s"]).sensitive["s"].distinct == 2


@pytest.mark.parametrize("values", [*LOOK_ALIKE, pytest.param([0.0, -0.0], id="zeros")])
def test_sensitive_values_that_are_equal_are_one_however_a_file_shows_them(values):
    """Who reads 1 and 1.0 has read one illness; and by what is shown as either, the text of the one is the other."""
    said = [*values, str(values[0]), str(values[1])]
    table = pd.DataFrame({"q": "a", "s": pd.Series(said, dtype=object)})
    found = measure(table, ["q"], ["s"]).sensitive["s"]
    assert (found.distinct, found.commonest, found.entropy) == (1, 1.0, 1.0)
    more = pd.concat([table, table.assign(s="none")], ignore_index=True)
    assert measure(more, ["q"], ["s"]).sensitive["s"].distinct == 2


def test_categories_of_several_types_that_a_file_shows_alike_are_one():
    table = pd.DataFrame({"q": "a", "s": pd.Categorical([1, "1", 1, "1"])})
    assert measure(table, ["q"], ["s"]).sensitive["s"].distinct == 1
