"""A profile that knows whose the rows are shows nothing that few persons have, however many rows they have."""

import json

import numpy as np
import pandas as pd
import pytest

from synth_components.__main__ import main
from synth_components.bound import Ascending, bounds
from synth_components.errors import SchemaError
from synth_components.privacy.ledger import Ledger
from synth_components.profile import ProfileConfig, dumps, profile
from synth_components.proposal import propose
from synth_components.schema import TABLE, Categorical, Key, Numeric, Text, Unit
from synth_components.statistics.description import inflated

ROWS, HIS = 500, 50
WHOSE = np.append(np.repeat(np.arange(45), 10), np.full(HIS, 77))
IS_HIS = WHOSE == 77
BY_PERSONS = ProfileConfig(unit=("who",))


def visits():
    """Return 500 rows of 46 persons, 50 of them of one, who has alone what those rows have."""
    rng = np.random.default_rng(0)
    days = np.where(IS_HIS, -32_312, rng.integers(0, 300, ROWS))  # 1931-07-15 is his
    table = pd.DataFrame(
        {
            "who": WHOSE,
            "town": np.where(IS_HIS, "Farway", rng.choice(["Rome", "Oslo"], ROWS)),
            "income": np.where(IS_HIS, 987_654, rng.integers(1_000, 5_000, ROWS)),
            "weight": np.where(IS_HIS, rng.normal(876, 1, ROWS), rng.normal(70, 9, ROWS)).round(1),
            "score": np.where(IS_HIS, 61.5, rng.normal(50, 9, ROWS).round(1)),
            "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(days, unit="D"),
            "level": pd.Categorical(np.where(IS_HIS, "third", "first"), categories=["first", "third"]),
            "code": np.where(IS_HIS, [f"{place}.{place}.1" for place in range(ROWS)], "none"),
            "a": np.where(IS_HIS, np.nan, rng.normal(size=ROWS).round(2)),
            "b": np.where(IS_HIS, np.nan, rng.normal(size=ROWS).round(2)),
        }
    )
    return table.sample(frac=1, random_state=1).reset_index(drop=True)


@pytest.fixture(scope="module")
def found():
    """The profiles of the rows, and of the persons."""
    return profile(visits()), profile(visits(), config=BY_PERSONS)


@pytest.mark.parametrize("his", ['"Farway"', "987654", "1931", '"third"', "61.5"])
def test_nothing_that_one_person_has_in_many_rows_is_shown(found, his):
    by_rows, by_persons = found
    assert his in dumps(by_rows)
    assert his not in dumps(by_persons)
    assert his.strip('"') not in by_persons.to_markdown() + repr(by_persons)


def test_bounds_and_quantiles_are_of_many_persons(found):
    by_rows, by_persons = (one.schema.columns["weight"] for one in found)
    assert by_rows.high > 876
    assert 90 < by_persons.high < 200
    facts = [one.statistics[TABLE]["weight"] for one in found]
    assert facts[0]["quantiles"]["0.95"] > 870
    assert facts[1]["quantiles"]["0.95"] < 300


def test_no_family_is_fitted_to_the_numbers_of_one_person():
    his = np.random.default_rng(2).normal(876, 3, ROWS).round(1)
    table = pd.DataFrame({"who": WHOSE, "x": np.where(IS_HIS, his, 0.0)})
    by_rows, by_persons = (profile(table, config=one).statistics[TABLE]["x"] for one in (ProfileConfig(), BY_PERSONS))
    assert by_rows["inflated"] == by_persons["inflated"] == [{"value": 0.0, "share": 0.9}]
    assert 870 < by_rows["family"]["parameters"]["mean"] < 880
    assert not {"family", "outlier_share"} & set(by_persons)


def test_a_null_pattern_a_gap_and_a_form_of_text_of_one_person_are_not_told(found):
    by_rows, by_persons = found
    assert {"columns": ["a", "b"], "rows": HIS, "share": HIS / ROWS} in by_rows.missing[TABLE]
    assert by_persons.missing[TABLE][1:] == [{"columns": ["(other patterns)"], "rows": HIS, "share": HIS / ROWS}]
    assert set(by_rows.missingness[TABLE]) == {"a", "b"}
    assert by_persons.missingness[TABLE] == {}
    assert by_rows.statistics[TABLE]["code"]["pattern"]["name"] == "version"
    assert "pattern" not in by_persons.statistics[TABLE]["code"]


def test_commonest_category_and_zeros_of_one_person_have_no_share():
    table = pd.DataFrame({"who": WHOSE, "x": np.where(IS_HIS, 0, np.arange(1, ROWS + 1))})
    table["town"] = np.where(IS_HIS, "Farway", [f"town {place % 20}" for place in range(ROWS)])
    by_rows, by_persons = (profile(table, config=one).statistics[TABLE] for one in (ProfileConfig(), BY_PERSONS))
    assert (by_rows["town"]["largest_share"], by_rows["x"]["zero_share"]) == (0.1, 0.1)
    assert "largest_share" not in by_persons["town"]
    assert by_persons["x"]["zero_share"] == 0
    assert by_rows["x"]["inflated"]
    assert by_persons["x"]["inflated"] == []


def test_schema_names_the_unit_whose_column_is_a_key_and_rules_count_it(found):
    by_rows, by_persons = found
    assert isinstance(by_rows.schema.columns["who"], Numeric)
    assert by_persons.schema.columns["who"] == Key(dtype="int64")
    assert by_persons.schema.unit == Unit(TABLE, ("who",), 10)  # that one has 50 rows is his alone
    assert by_rows.schema.unit is None
    for told in (repr, type(by_persons).to_markdown):
        assert ["counted by 'who'" in told(one) for one in found] == [False, True]
    assert "repeated_key" in {one.kind for one in by_persons.warnings if one.column == "who"}
    told = [str([p.rule.to_json() for p in propose(visits(), one.schema)]) for one in found]
    assert ["third" in one or "Farway" in one for one in told] == [True, False]


@pytest.mark.parametrize(
    ("made", "column"),
    [
        ([f"p-{one}" for one in WHOSE], Key(dtype="object", prefix="p-")),
        (WHOSE.astype(np.float64), Key(dtype="float64")),
        ([f"m{one}@mail.org" for one in WHOSE], Text(dtype="object", kind="email")),
        (pd.Categorical([f"p-{one}" for one in WHOSE]), Key(dtype="category")),
    ],
)
def test_no_value_of_the_unit_is_listed_whatever_its_type(made, column):
    table = visits().assign(who=made)
    table["who"] = pd.Series(made, dtype=None if column.dtype in {"float64", "category"} else object)
    assert profile(table, config=ProfileConfig(unit=("who",), describe=False)).schema.columns["who"] == column


def test_several_columns_are_a_unit_together():
    table = visits().assign(clinic=lambda rows: np.where(rows["who"] == 77, 9, rows["who"] % 3))
    table["patient"] = table["who"] // 3
    made = profile(table, config=ProfileConfig(unit=("clinic", "patient"), describe=False)).schema
    assert made.unit is not None
    assert made.unit.columns == ("clinic", "patient")
    assert made.columns["town"] == Categorical(dtype=str(table["town"].dtype), categories=("Oslo", "Rome"))


def test_rows_of_a_linked_table_are_those_of_whom_they_belong_to():
    people = pd.DataFrame({"pid": np.arange(60), "x": np.arange(60)})
    visit = pd.DataFrame({"visit_id": np.arange(600), "pid": np.repeat(np.arange(60), 10), "y": 1.0})
    lab = pd.DataFrame({"visit_id": np.repeat(np.arange(600), 2), "town": "Rome"})
    lab.loc[lab["visit_id"] < 10, "town"] = "Farway"  # 20 rows of one
    config = ProfileConfig(unit=("pid",))
    made = profile({"people": people, "visit": visit, "lab": lab}, config=config)
    assert made.schema.tables["lab"]["town"].categories == ("Rome",)
    assert made.schema.unit == Unit("people", ("pid",), 1)
    with pytest.raises(SchemaError, match="table 'other' holds neither 'pid' nor the key") as error:
        profile({"people": people, "other": lab[["town"]]}, config=config)
    assert error.value.table == "other"


def test_unknown_column_is_refused_before_anything_is_read_or_charged(tmp_path, capsys):
    ledger = Ledger()
    with pytest.raises(SchemaError, match="unit names column 'nobody'") as error:
        profile(visits(), config=ProfileConfig(unit=("who", "nobody")), ledger=ledger)
    assert error.value.column == "nobody"
    assert not ledger.entries
    visits().to_csv(tmp_path / "rows.csv", index=False)
    asked = ["profile", "--data", str(tmp_path / "rows.csv"), "--schema", str(tmp_path / "schema.json"), "--unit"]
    assert main([*asked, "nobody"]) == 2
    assert "'nobody'" in capsys.readouterr().err
    assert main([*asked, "who"]) == 0
    assert json.loads((tmp_path / "schema.json").read_text())["unit"]["columns"] == ["who"]


@pytest.mark.parametrize("seed", range(20))
def test_counts_of_persons_are_counts_of_rows_where_each_has_one(seed):
    rng = np.random.default_rng(seed)
    numbers = np.append(rng.integers(-20, 20, 60), rng.integers(-500, 500, 40))
    apart = Ascending.of(numbers, rng.permutation(100))
    for least in (2, 5, 10):
        assert bounds(apart, places=0, min_count=least) == bounds(Ascending.of(numbers), places=0, min_count=least)
        both = inflated(numbers * 1.0, min_count=least), inflated(numbers * 1.0, min_count=least, owners=np.arange(100))
        assert both[0] == both[1]
    whose = rng.integers(0, 25, 100)
    for bound in bounds(Ascending.of(numbers, whose), places=0, min_count=5):
        assert not bound or not 0 < len(set(whose[numbers == bound])) < 5


def test_a_key_of_persons_that_repeats_is_told_where_its_values_are_kept_and_where_not():
    table = visits().rename(columns={"who": "patient_id"})
    (told,) = [one for one in profile(table).warnings if one.column == "patient_id"]
    assert told.kind == "repeated_key"
    assert "so many rows that its values are kept. Name it as the unit of the profile" in told.message
    few = pd.DataFrame({"account": [f"AC{one}" for one in range(300)] * 2, "shop_id": list(range(30)) * 20})
    (told,) = profile(few).warnings  # a shop is nobody
    assert told.kind == "repeated_key"
    assert told.message.endswith("count people, not rows")


def test_alone_with_quasi_identifiers_are_those_whom_no_other_person_is_like():
    table = pd.DataFrame({"who": np.repeat(np.arange(50), 2), "age": np.repeat(np.arange(20, 70), 2)})
    assert profile(table).alone == {TABLE: 0.0}
    assert profile(table, config=BY_PERSONS).alone == {TABLE: 1.0}
