import sys

import numpy as np
import pandas as pd
import pytest

from synth_components.config import ConfigError
from synth_components.errors import DataError, UnsupportedError
from synth_components.packs import GROUP, Pack, load, names, planted
from synth_components.packs.finance import benford_deviation, iban_checksum
from synth_components.packs.government import household_sums, k_anonymity
from synth_components.packs.health import icd10_chapters
from synth_components.validation import ValidateConfig, validate
from synth_components.validation.domain import held_against

ROWS = 1_000
OWN = ("finance", "government", "health")
PACKS = {name: load(name) for name in OWN}
BREACHES = [(name, breach) for name, pack in PACKS.items() for breach in pack.breaches]
DEMOS = {name: pack.demo(ROWS) for name, pack in PACKS.items()}


def told(pack: Pack, table: pd.DataFrame, **options) -> set[str]:
    """Return the rules and metrics of a pack that a table is said to break, those that only warn among them."""
    tallies = held_against(pack, table, config=ValidateConfig(pack=pack.name, **options))
    failed = {check.name for tally in tallies for check in tally.checks if not check.passed}
    warned = {one.subject[0] for tally in tallies for one in tally.advice if "only warns" in one.finding}
    return {name.removeprefix("rule ").removeprefix(f"{pack.name}: ") for name in failed} | warned


def test_the_packs_are_these():
    assert set(OWN) <= set(names())


def test_an_unknown_pack_is_refused_with_the_known_ones():
    with pytest.raises(UnsupportedError, match="finance, government, health"):
        load("heath")


@pytest.mark.parametrize("name", OWN)
def test_every_rule_and_every_metric_has_a_planted_breach(name):
    pack = PACKS[name]
    known = [*(rule.name for rule in pack.rules), *(metric.name for metric in pack.metrics)]
    assert len(known) == len(set(known))
    assert [breach.breaks for breach in pack.breaches] == known


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("seed", range(2))
def test_no_rule_and_no_metric_finds_fault_with_a_demo_table(name, seed):
    assert told(PACKS[name], PACKS[name].demo(ROWS, seed=seed)) == set()


@pytest.mark.parametrize(("name", "breach"), BREACHES, ids=lambda one: getattr(one, "breaks", one))
def test_each_planted_breach_is_named_by_its_rule(name, breach):
    where = np.zeros(ROWS, dtype=bool)
    where[:: round(1 / breach.share)] = True
    if breach.share > 0.5:
        where[:] = np.arange(ROWS) < breach.share * ROWS
    assert breach.breaks in told(PACKS[name], planted(DEMOS[name], breach, where))


@pytest.mark.parametrize("name", OWN)
def test_a_demo_table_passes_all_four_verdicts(name):
    report = validate(DEMOS[name], config=ValidateConfig(pack=name))
    assert [(check.name, check.value) for check in report.card if not check.passed] == []
    assert report.passed
    assert len(report.overall.parts) == 4


@pytest.mark.parametrize("name", OWN)
def test_the_broken_twin_is_caught_by_every_rule_and_metric(name):
    pack = PACKS[name]
    twin = pack.twin(ROWS)
    assert {breach.breaks for breach in pack.breaches} <= told(pack, twin)
    report = validate(twin, config=ValidateConfig(pack=name))
    assert not report.passed
    assert report.overall.parts["data quality"] < 0.5


@pytest.mark.parametrize("name", OWN)
def test_the_same_seed_makes_the_same_tables(name):
    pack = PACKS[name]
    pd.testing.assert_frame_equal(pack.demo(200, seed=3), pack.demo(200, seed=3))
    pd.testing.assert_frame_equal(pack.twin(200, seed=3), pack.twin(200, seed=3))
    assert not pack.demo(200, seed=3).equals(pack.demo(200, seed=4))


@pytest.mark.parametrize("name", OWN)
def test_every_column_that_a_pack_reads_is_explained_and_in_its_demo_table(name):
    pack = PACKS[name]
    read = {column for one in (*pack.rules, *pack.metrics) for column in one.columns}
    assert read <= set(pack.columns)
    assert list(DEMOS[name].columns) == list(pack.columns)
    assert set(pack.policy["quasi_identifiers"]) <= set(pack.columns)


def test_a_table_may_call_the_columns_otherwise():
    table = planted(DEMOS["finance"], PACKS["finance"].breaches[-1], np.ones(ROWS, dtype=bool))
    renamed = table.rename(columns={"debit": "soll", "credit": "haben"})
    assert "benford_deviation" not in told(PACKS["finance"], renamed)
    assert "benford_deviation" in told(PACKS["finance"], renamed, pack_columns={"debit": "soll", "credit": "haben"})


@pytest.mark.parametrize(
    ("columns", "message"),
    [({"soll": "debit"}, "has no column 'soll'"), ({"debit": "soll"}, "'soll'"), ({"debit": "credit"}, "beside")],
)
def test_a_wrong_name_of_a_column_is_refused(columns, message):
    with pytest.raises(ConfigError, match=message):
        told(PACKS["finance"], DEMOS["finance"], pack_columns=columns)


def test_rules_over_columns_that_the_table_lacks_are_left_out_and_named():
    tallies = held_against(PACKS["health"], DEMOS["health"][["age", "sex"]], config=ValidateConfig(pack="health"))
    left = {subject for tally in tallies for name, subject, _ in tally.left_out if name == "validity.rule"}
    checked = {check.name for tally in tallies for check in tally.checks}
    assert checked == {"rule plausible age", "rule coded sex", "health: share that applies"}
    assert left == {rule.name for rule in PACKS["health"].rules} - {"plausible age", "coded sex"}


def test_a_metric_that_the_columns_types_do_not_fit_counts_as_missed():
    odd = DEMOS["finance"].assign(opening_balance="12,50 EUR")
    assert {"balance_chain", "balance identity"} <= told(PACKS["finance"], odd)


def test_a_pack_names_quasi_identifiers_as_the_table_calls_them():
    table = DEMOS["health"].rename(columns={"sex": "gender", "decade": "years"})
    config = ValidateConfig(pack="health", pack_columns={"sex": "gender", "decade": "years"})
    labels = {check.name for check in validate(table, config=config).card}
    assert "rows that fewer than 11 share gender, years with" in labels


def test_a_table_without_any_column_of_the_pack_is_refused():
    with pytest.raises(DataError, match="none of the columns of pack 'health'"):
        told(PACKS["health"], pd.DataFrame({"x": [1.0]}))


def test_benfords_law_holds_of_powers_of_two_and_not_of_even_numbers():
    powers = 2.0 ** np.arange(1_000)  # conforms: log10(2) is irrational (Nigrini 2012, Section 1.5)
    even = np.random.default_rng(0).uniform(100, 1_000, 1_000)

    def deviation(amounts):
        return benford_deviation(pd.DataFrame({"debit": amounts, "credit": 0.0}))

    assert deviation(powers) < 0.002
    # Uniform first digits deviate by the mean of |1/9 - log10(1 + 1/d)|, .0597, and each share by .01 at random.
    assert abs(deviation(even) - 0.0597) < 0.01
    assert deviation(powers[:200]) is None


def test_the_checksum_of_an_iban_is_that_of_iso_7064():
    # The example of ISO 13616, and the same with two digits swapped.
    assert iban_checksum(pd.DataFrame({"iban": ["GB82WEST12345698765432", None]})) == 1.0
    assert iban_checksum(pd.DataFrame({"iban": ["GB28WEST12345698765432"]})) == 0.0


def test_codes_beyond_the_last_block_of_a_chapter_are_none_of_icd_10():
    assert icd10_chapters(pd.DataFrame({"diagnosis": ["E90", "I10", "O9A.1", "P96.8", "E91", "P97"]})) == 4 / 6


def test_k_anonymity_counts_persons_in_classes_of_ten():
    table = pd.DataFrame({"age_group": [0] * 9 + [18] * 10, "sex": "F", "region": "North"})
    assert k_anonymity(table) == 10 / 19


def test_household_sums_need_one_declared_size_that_is_the_number_of_rows():
    table = pd.DataFrame({"household_id": [1, 1, 2, 2, 3], "household_size": [2, 2, 2, 3, 2]})
    assert household_sums(table) == pytest.approx(1 / 3)


OUTSIDE = """
from pathlib import Path

import pandas as pd

from synth_components.packs import read_pack


def mean(table):
    return float(table["x"].mean())


def demo(n, rng):
    return pd.DataFrame({"x": rng.random(n)})


PACK = read_pack(Path(__file__).with_name("toys.yaml"), measures={"mean": mean}, make=demo)
"""
TOYS = """
summary: Toys.
columns: {x: "A number."}
constraints: [{type: range, name: unit, column: x, low: 0, high: 1}]
metrics: [{name: mean, columns: [x], description: Their mean, most: 0.9}]
breaches: [{breaks: unit, values: {x: "x + 5"}}]
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """The name of a pack that an installed package brings, and its folder."""
    info = tmp_path / "toys-1.0.dist-info"
    info.mkdir()
    (tmp_path / "toy_pack.py").write_text(OUTSIDE, encoding="utf-8")
    (tmp_path / "toys.yaml").write_text(TOYS, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\ntoys = toy_pack:PACK\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("toy_pack", None)


def test_an_installed_package_brings_a_pack(outside):
    assert "toys" in names()
    pack = load("toys")
    assert told(pack, pack.demo(100)) == set()
    assert told(pack, pack.twin(100)) == {"unit"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("mean, columns", "median, columns", "no function"), ("most: 0.9", "least: null", "neither least nor most"),
     ("summary: Toys.", "sumary: Toys.", "'summary' of PackFile")],
)  # fmt: skip
def test_a_pack_whose_file_breaks_a_rule_is_refused_by_name(outside, old, new, message):
    (outside / "toys.yaml").write_text(TOYS.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load("toys")


def test_a_policy_asks_for_more_and_never_for_less():
    asked = ValidateConfig(max_duplicates=0.5, min_class_size=20, known_identifiers=("phone",))
    policy = {"max_duplicates": 0.1, "min_class_size": 11, "min_filled": 0.9, "quasi_identifiers": ["sex"]}
    made = asked.stricter({**policy, "known_identifiers": ["iban"]})
    assert (made.max_duplicates, made.min_class_size, made.min_filled) == (0.1, 20, 0.9)
    assert made.known_identifiers == ("phone", "iban")
    assert made.quasi_identifiers == ("sex",)
    assert asked.model_copy(update={"quasi_identifiers": ("age",)}).stricter(policy).quasi_identifiers == ("age",)
    with pytest.raises(ConfigError, match="max_duplicate"):
        asked.stricter({"max_duplicate": 0.1})
