import json

import numpy as np
import pandas as pd
import pytest

from synth_components.constraints import (
    Expression,
    FunctionalDependency,
    Implication,
    Pattern,
    Range,
    Unique,
)
from synth_components.errors import ConstraintError, DataError, SchemaError, UnsupportedError
from synth_components.evaluation.report import Report
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Budget
from synth_components.schema import Categorical, Datetime, Key, Numeric, Schema, Text
from synth_components.validation import ValidateConfig, validate
from synth_components.validation.exposure import class_sizes

ROWS = 400
SECRET = "Zebulon-4711"


def people(seed=0, rows=ROWS):
    """Return a table that obeys ``SCHEMA``, with a column that follows from another."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, rows)
    return pd.DataFrame(
        {
            "person": np.arange(rows) + 1_000,
            "age": age,
            "income": (20_000 + 500 * age + rng.normal(0, 3_000, rows)).round(2),
            "city": rng.choice(["Bonn", "Oslo", "Rome"], rows).astype(object),
            "seen": (pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D")).astype(
                "datetime64[ns]"
            ),
            "code": [f"AB-{number:04d}" for number in rng.integers(0, 9_999, rows)],
        }
    )


SCHEMA = Schema(
    {
        "table": {
            "person": Key(),
            "age": Numeric(dtype="int64", low=18, high=80, places=0),
            "income": Numeric(low=0, high=200_000, places=2, nullable=True),
            "city": Categorical(categories=("Bonn", "Oslo", "Rome")),
            "seen": Datetime(low="2024-01-01", high="2024-12-31", resolution="D"),
            "code": Text(),
        }
    },
    keys={"table": ("person",)},
)
OTHER = people(seed=1)


def changed(column, value, rows=3):
    """Return the table with some values of a column replaced."""
    table = people()
    held = table[column].astype(object)
    held.iloc[:rows] = value
    return table.assign(**{column: held.infer_objects()})


def missed(report, group=None):
    return {check.name for check in report.card if not check.passed and group in (None, check.group)}


def value_of(report, name, *subject):
    return report.value(name, *subject)


@pytest.fixture(scope="module")
def sound():
    return validate(people(), schema=SCHEMA)


def test_a_sound_table_passes_four_verdicts_and_the_overall_one(sound):
    assert [check.name for check in sound.card if check.group == "verdict"] == [
        "schema", "data quality", "privacy smoke", "performance"
    ]  # fmt: skip
    assert missed(sound) == set()
    assert sound.passed
    assert sound.overall.value == 1.0


@pytest.mark.parametrize(
    ("table", "check"),
    [
        (lambda: people().drop(columns="city"), "declared columns present"),
        (lambda: people().assign(extra=1), "undeclared columns"),
        (lambda: people().assign(age=people()["age"].astype(str)), "columns of the declared type"),
        (lambda: changed("age", 99), "rows within ranges"),
        (lambda: changed("seen", pd.Timestamp("2031-01-01")), "rows within ranges"),
        (lambda: changed("city", "Paris"), "rows within categories"),
        (lambda: changed("city", None), "rows without forbidden nulls"),
        (lambda: changed("person", 1_399), "rows that their key identifies"),
    ],
    ids=["missing", "extra", "type", "range", "time", "category", "null", "key"],
)
def test_each_breach_of_the_schema_misses_the_schema_verdict_by_its_own_check(table, check):
    report = validate(table(), schema=SCHEMA)
    assert missed(report, "verdict") >= {"schema"}
    assert missed(report, "schema") == {check}
    assert not report.passed


def test_nulls_that_the_schema_allows_are_no_breach():
    assert missed(validate(changed("income", np.nan), schema=SCHEMA)) == set()


def test_advice_counts_rows_and_names_the_column():
    report = validate(changed("age", 99, rows=7), schema=SCHEMA)
    assert any(one.finding == "column 'age' has 7 rows outside its bounds" for one in report.recommendations)
    assert value_of(report, "validity.column", "age") == (ROWS - 7) / ROWS


def test_a_share_of_rows_may_be_allowed_to_break_the_schema():
    config = ValidateConfig(min_schema=0.98)
    assert validate(changed("age", 99, rows=7), schema=SCHEMA, config=config).passed
    assert not validate(changed("age", 99, rows=9), schema=SCHEMA, config=config).passed


def test_without_a_schema_a_column_of_two_types_is_found_and_the_rest_still_checked():
    table = people().assign(mixed=[1, "x"] * (ROWS // 2))
    report = validate(table)
    assert missed(report, "schema") == {"columns that a schema can hold"}
    assert any(one.subject == ("mixed",) for one in report.recommendations)
    assert value_of(report, "quality.filled", "age") == 1.0


def test_without_a_schema_ranges_are_left_out_and_not_passed():
    report = validate(people())
    left = set(report.tables["left_out"]["score"])
    assert {"schema.ranges", "schema.categories", "schema.nulls"} <= left
    assert {check.name for check in report.card if check.group == "schema"} == {
        "columns that a schema can hold", "rows that their key identifies"
    }  # fmt: skip


def test_without_a_schema_the_table_is_held_against_that_of_the_real_rows():
    far = people(seed=2).assign(age=lambda table: table["age"] + 60)
    assert "rows within ranges" in missed(validate(far, real=OTHER))
    assert missed(validate(people(seed=2), real=OTHER), "schema") == set()


@pytest.mark.parametrize(
    ("table", "check"),
    [
        (lambda: people().assign(**{name: np.nan for name in ("u", "v", "w")}), "cells that are filled"),
        (lambda: people().assign(empty=np.nan), "columns without a value"),
        (lambda: pd.concat([people(), people().iloc[:60]], ignore_index=True), "rows that repeat an earlier one"),
        (
            lambda: people().assign(
                income=lambda t: t["income"].where(np.arange(ROWS) % 6 > 0, t["income"] * 1_000 + np.arange(ROWS))
            ),
            "outliers of the worst column",
        ),
        (
            lambda: people().assign(code=[f"v1.{n}.{n % 7}" if n % 9 else f"?{n}" for n in range(ROWS)]),
            "texts of their column's form",
        ),
    ],
    ids=["gaps", "empty", "duplicates", "outliers", "pattern"],
)
def test_each_defect_of_quality_misses_the_quality_verdict_by_its_own_check(table, check):
    report = validate(table())
    assert check in missed(report, "data quality")
    assert "data quality" in missed(report, "verdict")
    assert check not in missed(validate(people()))


def test_rows_of_a_narrow_table_repeat_of_course():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.choice(["x", "y"], ROWS), "b": rng.choice(["u", "v", "w"], ROWS)})
    report = validate(table)
    assert "quality.duplicates" in set(report.tables["left_out"]["score"])
    assert missed(report) == set()


def test_a_table_is_not_asked_for_more_than_real_rows_show():
    def gapped(seed):
        return people(seed).assign(u=np.nan, v=np.nan, income=lambda t: t["income"].where(np.arange(ROWS) % 2 > 0))

    assert "cells that are filled" in missed(validate(gapped(0)))
    assert "cells that are filled" not in missed(validate(gapped(0), real=gapped(1)))


def test_the_statistics_of_the_table_stand_in_the_report(sound):
    table = sound.tables["statistics"].set_index("statistic")["value"]
    assert (table["rows"], table["columns"], table["duplicate_row_share"]) == (ROWS, 6, 0)


ADULTS = Range(name="adults", column="age", low=30)


@pytest.mark.parametrize("policy", ["repair", "reject", "refuse"])
def test_a_broken_rule_misses_the_quality_verdict_by_its_name(policy):
    report = validate(people(), rules=[ADULTS.model_copy(update={"policy": policy})])
    assert missed(report, "data quality") == {"rule adults"}
    share = float((people()["age"] >= 30).mean())
    assert value_of(report, "validity.rule", "adults") == pytest.approx(share)


def test_a_warned_rule_decides_nothing_and_never_counts_as_compliance():
    report = validate(people(), rules=[ADULTS.model_copy(update={"policy": "warn"})])
    assert report.passed
    assert value_of(report, "validity.rules") < 1
    assert any("break rule 'adults', which only warns" in one.finding for one in report.recommendations)
    assert "rule adults" not in {check.name for check in report.card}


def test_rules_of_the_schema_are_checked_as_well():
    assert missed(validate(people(), schema=SCHEMA.with_constraints((ADULTS,)))) == {"data quality", "rule adults"}


@pytest.mark.parametrize(
    "rule",
    [
        Range(name="r", column="nowhere", low=0),
        Pattern(name="r", column="age", pattern="x+"),
        Expression(name="r", expression="city > 3"),
        Implication(name="r", when="nowhere == 1", then="age > 3"),
    ],
    ids=["absent", "not text", "not a number", "absent in a condition"],
)
def test_a_rule_that_cannot_be_tried_counts_as_broken(rule):
    report = validate(people(), rules=[rule])
    assert missed(report, "data quality") == {"rule r"}
    assert any("cannot be tried" in one.finding for one in report.recommendations)


def test_a_rule_without_its_mapping_is_learned_from_real_rows_and_else_left_out():
    rule = FunctionalDependency(name="d", determinant=("city",), dependent="land")
    lands = {"Bonn": "DE", "Oslo": "NO", "Rome": "IT"}
    real = OTHER.assign(land=OTHER["city"].map(lands))
    wrong = people().assign(land=lambda table: table["city"].map(lands).where(np.arange(ROWS) > 5, "NO"))
    alone = validate(wrong, rules=[rule])
    assert "d" in set(alone.tables["left_out"]["subject"])
    assert "rule d" not in {check.name for check in alone.card}
    assert "rule d" in missed(validate(wrong, rules=[rule], real=real))


def test_rules_that_contradict_the_schema_are_refused_by_name():
    with pytest.raises(ConstraintError, match="'old'"):
        validate(people(), schema=SCHEMA, rules=[Range(name="old", column="age", low=100)])


def test_direct_identifiers_miss_the_privacy_verdict_unless_they_are_known():
    table = people().assign(mail=[f"person{number}@example.org" for number in range(ROWS)])
    report = validate(table)
    assert missed(report, "verdict") == {"privacy smoke"}
    assert any(one.subject == ("mail",) for one in report.recommendations)
    known = validate(table, config=ValidateConfig(known_identifiers=("mail",)))
    assert known.passed
    assert any("not counted: mail" in note for note in known.notes)


def test_rows_that_stand_alone_miss_the_privacy_verdict():
    config = ValidateConfig(quasi_identifiers=("age", "seen"))
    report = validate(people(), config=config)
    sizes = people().groupby(["age", "seen"])["age"].transform("size")
    assert value_of(report, "privacy.exposed") == float((sizes < 5).mean())
    assert value_of(report, "privacy.unique") == float((sizes == 1).mean())
    assert value_of(report, "privacy.k") == sizes.min()
    assert missed(report, "verdict") == {"privacy smoke"}
    assert validate(people(), config=ValidateConfig(quasi_identifiers=("city",))).passed


def test_only_rows_of_classes_below_the_asked_size_count():
    table = pd.DataFrame({"x": np.random.default_rng(0).normal(size=9), "group": ["a"] * 5 + ["b"] * 4})
    report = validate(table, config=ValidateConfig(quasi_identifiers=("group",), min_class_size=5))
    assert value_of(report, "privacy.exposed") == pytest.approx(4 / 9)
    assert value_of(report, "privacy.k") == 4


def test_a_class_is_the_rows_that_agree_on_every_column_null_among_them():
    table = pd.DataFrame({"a": [1, 1, 1, 2, None, None], "b": ["x", "x", None, "x", "y", "y"]})
    assert class_sizes(table, ["a", "b"]).tolist() == [2, 2, 1, 1, 2, 2]


def test_direct_identifiers_in_a_category_are_found_too():
    mails = pd.Categorical([f"person{number}@example.org" for number in range(ROWS)])
    assert missed(validate(people().assign(mail=mails)), "verdict") == {"privacy smoke"}


@pytest.mark.parametrize(
    "values",
    [[[1, 2]] * ROWS, [b"x"] * ROWS, [1, "x"] * (ROWS // 2), [np.inf] * ROWS, [1j] * ROWS, [{"a": 1}] * ROWS],
    ids=["lists", "bytes", "mixed", "infinite", "complex", "maps"],
)
def test_a_column_that_no_schema_can_hold_is_a_finding_and_its_rules_count_as_broken(values):
    rules = [ADULTS, Unique(name="u", columns=("odd",)), Expression(name="e", expression="odd > 3")]
    report = validate(people().assign(odd=values), rules=rules, real=OTHER.assign(odd=values))
    json.dumps(report.to_json(), allow_nan=False)
    assert {"rule u", "rule e"} <= missed(report, "data quality")
    assert "columns that a schema can hold" in missed(validate(people().assign(odd=values)), "schema")
    with pytest.raises(SchemaError, match="'odd'"):
        validate(people().assign(odd=values), config=ValidateConfig(quasi_identifiers=("odd",)))


def test_an_unknown_quasi_identifier_is_refused():
    with pytest.raises(SchemaError, match="'nowhere'"):
        validate(people(), config=ValidateConfig(quasi_identifiers=("nowhere",)))


def test_without_real_rows_the_report_says_what_was_not_looked_for(sound):
    assert any("nothing was looked for copies of" in line for line in sound.privacy)
    assert any("prove no privacy" in line for line in sound.privacy)


def test_copies_of_real_rows_miss_the_privacy_verdict_and_an_independent_sample_does_not():
    copied = validate(OTHER.drop(columns=["person", "code"]), real=OTHER.drop(columns=["person", "code"]))
    assert {"privacy smoke", "exact copies"} <= missed(copied)
    assert {check.group for check in copied.card if check.name == "exact copies"} == {"smoke test"}
    fresh = validate(people(seed=5), real=OTHER)
    assert missed(fresh, "smoke test") == set()
    assert not any("nothing was looked for" in line for line in fresh.privacy)
    assert fresh.rows == {"table": ROWS, "real": ROWS}


def test_the_share_closer_to_train_decides_nothing_where_both_sides_are_one_table():
    report = validate(people(seed=5), real=OTHER)
    assert not any("DCR share" in check.name for check in report.card)
    assert "privacy.dcr.share" in set(report.tables["left_out"]["score"])
    assert {"privacy.dcr.median", "privacy.nndr", "privacy.near_copies"} <= {one.name for one in report.scores}
    assert any("set aside" in note for note in report.notes)


def test_tables_without_a_column_in_common_cannot_be_looked_through_for_copies():
    report = validate(pd.DataFrame({"x": np.arange(50.0)}), real=OTHER)
    assert "exact copies" in missed(report, "smoke test")


def test_a_check_that_takes_too_long_misses_the_performance_verdict():
    report = validate(people(), config=ValidateConfig(max_check_seconds=1e-9))
    assert missed(report, "verdict") == {"performance"}


def test_rows_that_take_too_much_memory_miss_the_performance_verdict():
    report = validate(people(), config=ValidateConfig(max_row_bytes=50))
    assert missed(report, "performance") == {"bytes of memory for each row"}


def test_a_table_that_teaches_nothing_of_the_target_misses_the_performance_verdict():
    def task(seed, *, shuffled=False):
        table = people(seed)[["age", "income", "city"]].assign(rich=lambda t: np.where(t["age"] > 49, "yes", "no"))
        return table.assign(rich=np.random.default_rng(0).permutation(table["rich"])) if shuffled else table

    config = ValidateConfig(target="rich")
    name = "TSTR / TRTR accuracy: rich"
    assert name in missed(validate(task(3, shuffled=True), real=task(4), config=config), "performance")
    assert missed(validate(task(3), real=task(4), config=config), "performance") == set()
    absent = validate(task(3).drop(columns="rich"), real=task(4), config=config)
    assert "TSTR / TRTR: rich" in missed(absent, "performance")


def test_a_target_without_real_rows_is_refused():
    with pytest.raises(DataError, match="real rows"):
        validate(people(), config=ValidateConfig(target="age"))


def test_a_table_without_rows_is_refused():
    with pytest.raises(DataError, match="no rows"):
        validate(people().iloc[:0])


def test_an_unknown_pack_is_refused():
    with pytest.raises(UnsupportedError, match="health"):
        validate(people(), config=ValidateConfig(pack="heath"))


def test_a_table_of_a_few_rows_is_judged_too():
    report = validate(people(rows=6), schema=SCHEMA)
    assert report.overall.value == 1.0
    assert not validate(changed("age", 99).iloc[:6], schema=SCHEMA).passed


def test_the_overall_score_is_the_mean_of_the_verdicts_and_each_the_share_of_its_checks():
    report = validate(changed("age", 99).assign(extra=1), schema=SCHEMA)
    checks = [check for check in report.card if check.group == "schema"]
    assert report.overall.parts["schema"] == pytest.approx(1 - 2 / len(checks))
    assert report.overall.value == pytest.approx(np.mean(list(report.overall.parts.values())))


@pytest.fixture(scope="module")
def whole():
    """A validation in which everything there is was looked at."""
    rules = [ADULTS, Unique(name="codes", columns=("code",))]
    return validate(people(), schema=SCHEMA, rules=rules, real=OTHER, config=ValidateConfig(quasi_identifiers=("age",)))


def test_a_validation_comes_back_from_json_as_it_was(whole):
    written = json.loads(json.dumps(whole.to_json(), allow_nan=False))
    read = Report.from_json(written)
    assert read.to_json() == whole.to_json()
    assert (read.kind, read.passed, read.overall) == ("validation", False, whole.overall)


def test_a_validation_obeys_the_documented_schema_of_reports(whole):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema comes with another tool, if at all")
    from pathlib import Path

    import synth_components.evaluation as judge

    schema = json.loads((Path(judge.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(whole.to_json(), schema)


def test_page_and_markdown_show_the_four_verdicts_and_no_word_of_synthetic_rows(whole):
    page, text = whole.to_html(), whole.to_markdown()
    assert "Can this table be trusted?" in page
    assert text.startswith("# Validation of a table")
    for name in ("schema", "data quality", "privacy smoke", "performance", "rule adults"):
        assert f"<td>{name} <span" in page
        assert f"| {name} |" in text
    assert "exact copies <span" in page
    assert "· smoke test" in page
    assert "| exact copies (smoke test) |" in text
    assert "How good is this synthetic data" not in page


def test_no_value_of_a_cell_stands_in_the_report():
    table = people().assign(city=lambda t: t["city"].where(np.arange(ROWS) > 0, SECRET), mail=f"{SECRET}@example.org")
    for schema in (None, SCHEMA):
        report = validate(table, schema=schema, rules=[Pattern(column="city", pattern="[A-Z][a-z]+")])
        for text in (json.dumps(report.to_json()), report.to_html(), report.to_markdown(), repr(report)):
            assert SECRET not in text


def test_the_same_table_gives_the_same_report(whole):
    rules = [ADULTS, Unique(name="codes", columns=("code",))]
    config = ValidateConfig(quasi_identifiers=("age",))
    again = validate(people(), schema=SCHEMA, rules=rules, real=OTHER, config=config)
    first, second = ({name: part for name, part in one.to_json().items() if name != "costs"} for one in (whole, again))
    assert first == second
    assert [cost.stage for cost in again.costs][:1] == ["validate schema"]


def test_the_table_is_left_as_it_was():
    table, before = people(), people()
    validate(table, schema=SCHEMA, rules=[ADULTS], real=OTHER)
    pd.testing.assert_frame_equal(table, before)


def test_real_rows_and_a_ledger_with_a_budget_are_refused_before_anything_is_written_to_it():
    spent = Ledger(Budget(1.0, 1e-6))
    table = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    with pytest.raises(UnsupportedError, match="ledger with a budget"):
        validate(table, real=table, ledger=spent)
    assert spent.entries == ()
