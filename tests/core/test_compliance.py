"""Presets of regulations: every provision cited, every identifier found, no value told, no compliance claimed."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.__main__ import main
from synth_components.audit import trail as kept_trail
from synth_components.compliance import DISCLAIMER, assess
from synth_components.compliance.evidence import Evidence, observed
from synth_components.compliance.preset import Check, load, names
from synth_components.config import ConfigError
from synth_components.errors import UnsupportedError
from synth_components.evaluation import PrivacyConfig, evaluate
from synth_components.evaluation.judged import Judged
from synth_components.policy import Policy
from synth_components.protocols import Score
from synth_components.sensitive import Sensitivity, detect
from synth_components.sensitive.entity import BY_ENTITY
from synth_components.steps import STEPS
from synth_components.steps.compliance import ComplianceConfig

N = 60
CANARY = "Zebulon"
RNG = np.random.default_rng(3)
HARMLESS = {"state": ["Ohio", "Utah"] * 30, "visits": [1, 2, 3] * 20, "year": [2019, 2020] * 30}

# Safe Harbor's eighteen, each by a column that was planted.
PLANTED = {
    "A": ("patient_name", [f"{CANARY} Miller", "Mary Smith", "John Brown"] * 20),
    "B": ("city", ["Zebulon", "Springfield"] * 30),
    "C": ("admission_date", pd.date_range("2020-03-05", periods=N).strftime("%Y-%m-%d")),
    "D": ("phone", [f"+1-212-555-01{i:02d}" for i in range(N)]),
    "E": ("fax_number", [f"+1-212-555-01{i:02d}" for i in range(N)]),
    "F": ("email", [f"{CANARY}{i}@example.org" for i in range(N)]),
    "G": ("ssn", [f"123-45-{i + 1000}" for i in range(N)]),
    "H": ("mrn", [f"M{i + 70000}" for i in range(N)]),
    "I": ("beneficiary_number", [f"1EG4-TE5-MK{i + 10}" for i in range(N)]),
    "J": ("account_number", [f"{i + 1_000_000}" for i in range(N)]),
    "K": ("license_no", [f"LIC{i + 5000}" for i in range(N)]),
    "L": ("license_plate", [f"ABC {i + 100}" for i in range(N)]),
    "M": ("device_serial", [f"SN-{i + 9000}" for i in range(N)]),
    "N": ("website", [f"https://{CANARY}{i}.example.org/" for i in range(N)]),
    "O": ("ip", [f"203.0.113.{i + 1}" for i in range(N)]),
    "P": ("voice_print", [f"{i:04x}" for i in range(N)]),
    "Q": ("photo", [f"{CANARY}{i}.jpg" for i in range(N)]),
    "R": ("record_uuid", [f"00000000-0000-4000-8000-{i:012x}" for i in range(N)]),
}


def judged(preset, table, **options):
    """Return the report of a table."""
    evidence = Evidence(tables={"table": table}, found=detect(table), year=2025, **options)
    return assess(preset, evidence)


def status(report, requirement):
    return next(finding.status for finding in report.findings if finding.id == requirement)


def test_the_presets_are_these_and_the_step_offers_them():
    assert names() == ("ccpa", "ferpa", "gdpr", "hipaa_expert_determination", "hipaa_safe_harbor", "pci_dss", "sox")
    for name in names():
        assert ComplianceConfig(preset=name).preset == name
    assert "compliance" in STEPS


@pytest.mark.parametrize("name", names())
def test_every_provision_cites_a_rule_and_says_what_is_checked_or_left_to_a_person(name):
    preset = load(name)
    ids = [requirement.id for requirement in preset.requirements]
    assert len(ids) == len(set(ids))
    for requirement in preset.requirements:
        assert re.search(r"\d", requirement.cite), "a citation has a number"
        assert requirement.checks or requirement.undecided
        for check in requirement.checks:
            known = {*BY_ENTITY, "identifier", "unique", "free_text"}
            assert {*check.kinds, *check.review} <= known
            if check.check == "score":
                assert check.most is not None
    assert any(requirement.undecided for requirement in preset.requirements)
    assert set(preset.direct) <= set(BY_ENTITY)


@pytest.mark.parametrize("name", names())
def test_a_preset_is_a_privacy_policy(name):
    assert isinstance(load(name).policy_of(), Policy)
    table = pd.DataFrame(
        {"email": [f"a{i}@b.org" for i in range(N)], "age": RNG.integers(18, 80, N), "diagnosis": ["E11.9"] * N}
    )
    policy = load(name).policy_of(detect(table))
    assert policy.identifiers == ("email",)
    assert policy.quasi_identifiers == ("age",)
    assert policy.sensitive == {"diagnosis": "high"}


def test_safe_harbor_has_its_eighteen_identifiers_in_order():
    cites = [r.cite for r in load("hipaa_safe_harbor").requirements]
    assert cites[:18] == [f"164.514(b)(2)(i)({letter})" for letter in "ABCDEFGHIJKLMNOPQR"]


@pytest.mark.parametrize("letter", PLANTED)
def test_each_safe_harbor_identifier_fails_its_own_provision_and_no_other(letter):
    name, values = PLANTED[letter]
    report = judged("hipaa_safe_harbor", pd.DataFrame({**HARMLESS, name: values}))
    failed = [finding.id for finding in report.of("failed")]
    assert failed == [letter]


def test_a_table_without_identifiers_fails_no_provision():
    report = judged("hipaa_safe_harbor", pd.DataFrame(HARMLESS))
    assert report.of("failed") == ()
    assert {finding.id for finding in report.of("passed")} >= set(PLANTED)


def test_zip_codes_of_three_digits_pass_unless_few_people_live_there():
    def with_zips(values):
        return status(judged("hipaa_safe_harbor", pd.DataFrame({**HARMLESS, "zip": values})), "B")

    assert with_zips(["100", "101", "945"] * 20) == "passed"
    assert with_zips(["100", "036", "945"] * 20) == "failed"
    assert with_zips(["10001", "10002", "94501"] * 20) == "failed"
    assert with_zips(["000", "101", "945"] * 20) == "passed"


def test_years_pass_and_days_and_ages_above_89_do_not():
    def with_column(name, values):
        return status(judged("hipaa_safe_harbor", pd.DataFrame({**HARMLESS, name: values})), "C")

    assert with_column("birth_date", pd.to_datetime(["1970-01-01", "1980-01-01"] * 30)) == "passed"
    assert with_column("birth_date", pd.to_datetime(["1970-01-01", "1980-02-01"] * 30)) == "failed"
    assert with_column("age", [34, 89] * 30) == "passed"
    assert with_column("age", [34, 90] * 30) == "failed"
    assert with_column("age", ["34", "90+"] * 30) == "passed"
    assert with_column("birth_year", [1970, 1936] * 30) == "passed"
    assert with_column("birth_year", [1970, 1930] * 30) == "failed"


def test_free_text_that_holds_an_identifier_fails_its_provision():
    texts = ["The parcel was late and the box was wet."] * (N - 1) + [
        "Write to jane@example.org about the bill please."
    ]
    report = judged("hipaa_safe_harbor", pd.DataFrame({**HARMLESS, "note": texts}))
    assert [finding.id for finding in report.of("failed")] == ["F"]


def test_columns_that_are_declared_made_up_pass_and_are_told():
    table = pd.DataFrame({"email": PLANTED["F"][1]})
    report = judged("hipaa_safe_harbor", table, made_up=frozenset({"email"}))
    finding = next(one for one in report.findings if one.id == "F")
    assert finding.status == "passed"
    assert "declared as made up" in finding.observations[0].message


def test_whole_card_numbers_fail_and_truncated_ones_do_not():
    whole = pd.DataFrame({"card_number": ["4111111111111111", "5555555555554444", "378282246310005"] * 20})
    cut = pd.DataFrame({"card_number": ["411111XXXXXX1111", "555555XXXXXX4444"] * 30})
    assert status(judged("pci_dss", whole), "3.4.1") == "failed"
    assert status(judged("pci_dss", cut), "3.4.1") == "passed"


def test_small_classes_fail_unless_the_rows_are_drawn():
    table = pd.DataFrame({"age": np.arange(N), "sex": ["M", "F"] * 30})
    assert status(judged("gdpr", table), "singling_out") == "failed"
    assert "smallest class of age, sex has 1 rows" in json.dumps(judged("gdpr", table).to_json())


def test_l_and_t_are_measured_in_classes_of_what_others_know():
    even = pd.DataFrame({"sex": ["M", "F"] * 30, "diagnosis": ["A", "A", "B", "B"] * 15})
    given = {"quasi_identifiers": ("sex",), "sensitive": ("diagnosis",)}

    def observed(table, **options):
        made = judged("gdpr", table, **{**given, **options})
        finding = next(one for one in made.findings if one.id == "singling_out")
        return {one.columns: (one.status, one.message) for one in finding.observations if one.check == "classes"}

    both = ("sex", "diagnosis")
    state, told = observed(even)[both]
    assert (state, "l is 2, held against at least 2; t is 0, held against at most 0.2" in told) == ("passed", True)
    one_sided = even.assign(diagnosis=["A", "B"] * 30)  # who knows the sex knows the diagnosis
    state, told = observed(one_sided)[both]
    assert (state, "l is 1" in told, "t is 0.5" in told) == ("failed", True, True)
    assert observed(one_sided)[("sex",)][0] == "passed"  # its classes have 30 rows each
    skewed = pd.concat([even, pd.DataFrame({"sex": ["M"] * 60, "diagnosis": ["B"] * 60})])
    state, told = observed(skewed)[both]
    assert (state, "l is 2" in told) == ("failed", True)
    assert observed(even.rename(columns={"diagnosis": "letter"}), sensitive=())[()][0] == "unknown"


@pytest.mark.parametrize("name", names())
def test_classes_are_held_to_the_numbers_of_the_policy_that_the_preset_writes(name):
    preset = load(name)
    policy = preset.policy_of()
    checks = [check for one in preset.requirements for check in one.checks if check.check == "classes"]
    assert all((check.k, check.l, check.t) == (policy.k, policy.l, policy.t) for check in checks)
    assert bool(checks) == (name in {"ccpa", "ferpa", "gdpr", "hipaa_expert_determination"})


def test_ages_that_were_recoded_are_still_what_others_know():
    table = pd.DataFrame({"age": ["[18, 34]", "[35, 70]", "71"] * 20, "state": ["Ohio"] * 59 + ["Utah"]})
    assert detect(table).of(role="quasi")[0].kind == "age"
    told = json.dumps(judged("gdpr", table).to_json())
    assert "the smallest class of age" in told


def test_without_evidence_nothing_passes():
    for name in names():
        report = assess(name, Evidence(tables={}, found=Sensitivity((), {}, {})))
        assert report.of("passed") == ()
        assert report.of("failed") == ()


@pytest.mark.parametrize("name", names())
def test_no_report_claims_compliance_or_tells_a_value_or_loads_anything(name):
    table = pd.DataFrame({title: values for title, values in PLANTED.values()})
    report = judged(name, table)
    page, text = report.to_html(), json.dumps(report.to_json())
    for told in (page, text):
        assert CANARY not in told
        assert "555-01" not in told
        assert not re.search(r"(?<!dis)\b(is|are) compliant|fully compl|certif(ies|ied) ", told, re.IGNORECASE)
    assert DISCLAIMER in page
    assert not re.search(r"(?:src|href|url\()\s*=?\s*[\"']?https?:|<script|@import|<link", page)
    assert "Sign-off" in page


def test_an_unknown_preset_is_refused():
    with pytest.raises(UnsupportedError, match="choose one of ccpa"):
        load("hippa")
    with pytest.raises(ConfigError):
        ComplianceConfig.parse({"preset": "hippa"})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(HARMLESS).to_csv("clean.csv", index=False)
    pd.DataFrame({**HARMLESS, "email": PLANTED["F"][1]}).to_csv("dirty.csv", index=False)
    return tmp_path


def test_the_gate_ends_with_3_and_leaves_the_report(folder, capsys):
    words = ["compliance", "--preset", "hipaa_safe_harbor", "--evidence", "e.json", "--page", "e.html"]
    assert main([*words, "--data", "dirty.csv"]) == 0
    assert main([*words, "--data", "dirty.csv", "--gate", "failed"]) == 3
    assert json.loads((folder / "e.json").read_text())["counts"]["failed"] == 1
    assert "164.514(b)(2)(i)(F)" in capsys.readouterr().err
    assert main([*words, "--data", "clean.csv", "--gate", "failed"]) == 0
    assert main([*words, "--data", "clean.csv", "--gate", "unknown"]) == 3  # what nobody checked
    assert (folder / "e.html").read_text().startswith("<!doctype html>")
    shown = capsys.readouterr()
    assert CANARY not in shown.err + shown.out


def test_the_policy_that_goes_with_a_regulation_can_be_read(folder):
    assert main(["compliance", "--data", "dirty.csv", "--evidence", "e.json", "--policy", "p.json", "--quiet"]) == 0
    policy = Policy.read(folder / "p.json")
    assert (policy.identifiers, policy.k) == (("email",), 5)


def test_model_and_trail_are_evidence_and_a_changed_trail_fails(folder):
    with kept_trail(folder / "trail.jsonl"):
        synth.fit(pd.read_csv("dirty.csv"), generator="tabular.independent", seed=0).save(folder / "model")
    words = ["compliance", "--preset", "sox", "--evidence", "e.json", "--quiet"]
    assert main([*words, "--data", "dirty.csv", "--model", "model", "--trail", "trail.jsonl"]) == 0
    found = {one["id"]: one for one in json.loads((folder / "e.json").read_text())["findings"]}
    assert found["provenance"]["status"] == "passed"
    assert "holds no generation" in found["trace"]["observations"][0]["message"]
    text = (folder / "trail.jsonl").read_text()
    (folder / "trail.jsonl").write_text(text.replace("fit", "fat", 1))
    assert main([*words, "--trail", "trail.jsonl"]) == 0
    found = {one["id"]: one for one in json.loads((folder / "e.json").read_text())["findings"]}
    assert "cannot be trusted" in found["trace"]["observations"][0]["message"]


def test_what_the_model_makes_anew_is_made_up(folder):
    synth.fit(pd.read_csv("dirty.csv"), generator="tabular.independent", seed=0).save(folder / "model")
    words = ["compliance", "--preset", "hipaa_safe_harbor", "--data", "dirty.csv", "--evidence", "e.json", "--quiet"]
    assert main([*words, "--model", "model", "--gate", "failed"]) == 0


def test_a_report_is_evidence_on_the_tables_and_the_model_that_it_names():
    rows = pd.DataFrame({"a": range(60)})
    named = evaluate(rows, rows, rows, config=PrivacyConfig(attacks=(), replicates=10))
    score = Score("privacy.risk", 0.0, None, 0.0, 0.0, 0.0)
    good = replace(named, scores=(score,), card=())
    check = Check(check="score", score="privacy.risk", most=0.3)

    def found(report, **known):
        evidence = Evidence(tables=known.pop("tables", {"table": rows}), found=detect(rows), reports=(report,), **known)
        (one,) = observed(check, evidence)
        return one

    assert found(good).status == "passed"
    other = found(good, tables={"table": rows.iloc[1:]})
    assert other.status == "failed"
    assert "evaluate these" in other.message
    assert found(replace(good, judged=Judged("m")), tables={}, fingerprint="m").status == "passed"
    assert found(replace(good, judged=Judged("m")), tables={}, fingerprint="n").status == "failed"
    mute = found(replace(good, judged=Judged()))
    assert mute.status == "unknown"
    assert "does not name the rows" in mute.message
    bad = replace(good, scores=(replace(score, value=0.9),), judged=Judged())
    assert found(bad).status == "failed"  # a bad report is one whatever it is of


def test_a_shadow_audit_is_evidence_on_the_tables_that_a_report_says_its_model_drew():
    tables = {"one": pd.DataFrame({"a": range(60)}), "two": pd.DataFrame({"a": range(30)})}
    judged = {
        name: evaluate(rows, rows, rows, config=PrivacyConfig(attacks=(), replicates=10))
        for name, rows in tables.items()
    }
    of_m = {name: replace(one, scores=(), judged=replace(one.judged, model="m")) for name, one in judged.items()}
    score = Score("privacy.risk", 0.0, None, 0.0, 0.0, 0.0)
    audit = replace(judged["one"], scores=(score,), judged=Judged("m"))

    def found(*reports):
        known = Evidence(tables=tables, found=detect(tables["one"]), reports=(audit, *reports))
        (one,) = observed(Check(check="score", score="privacy.risk", most=0.3), known)
        return one.status

    assert found(of_m["one"], of_m["two"]) == "passed"
    assert found(of_m["one"]) == found(of_m["one"], judged["two"]) == found() == "unknown"


def test_every_table_that_goes_out_must_be_judged_by_a_report():
    rng = np.random.default_rng(0)
    real = pd.DataFrame({"a": rng.integers(0, 90, 600), "b": rng.normal(size=600)})
    train, holdout = real.iloc[:300].reset_index(drop=True), real.iloc[300:].reset_index(drop=True)
    drawn = pd.DataFrame({"a": rng.integers(0, 90, 300), "b": rng.normal(size=300)})
    cheap = PrivacyConfig(attacks=(), replicates=10)
    good, bad = (evaluate(train, holdout, rows, config=cheap) for rows in (drawn, train))

    def copies(tables, *reports):
        report = assess("gdpr", Evidence(tables=tables, found=detect(tables), reports=reports, year=2025))
        return {(o.status, o.message) for f in report.findings for o in f.observations if o.check == "copies"}

    for tables in ({"t": drawn, "u": train}, {"u": train, "t": drawn}):
        ((state, told),) = copies(tables, good)
        assert (state, told.partition(", but ")[2][:36]) == ("unknown", "table 'u' was judged by no report; e")
        assert [one for one, _ in copies(tables, good, bad)] == ["failed"]
    assert [one for one, _ in copies({"t": drawn, "u": drawn}, good)] == ["passed"]
    assert [one for one, _ in copies({"t": drawn}, good)] == ["passed"]
