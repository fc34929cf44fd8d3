import json

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.__main__ import main
from synth_components.evaluation.judged import Judged, digest_of
from synth_components.io.dataset import read_table
from synth_components.packs import load
from synth_components.steps.report_file import read_report
from synth_components.validation import ValidateConfig, validate

SECRET = "Zebulon-4711"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a table, a schema and rules."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 80, 120),
            "region": [f"0{number}" for number in rng.integers(1_000, 9_999, 120)],
            "seen": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 99, 120), unit="D"),
            "city": rng.choice(["Bonn", "Rome"], 120),
        }
    )
    table.to_csv("t.csv", index=False)
    table.assign(age=table["age"].where(np.arange(120) > 2, 200), city=[SECRET, *table["city"][1:]]).to_csv(
        "broken.csv", index=False
    )
    columns = {
        "age": {"type": "numeric", "dtype": "int64", "low": 18, "high": 80, "places": 0},
        "region": {"type": "text", "kind": "postcode"},
        "seen": {"type": "datetime", "resolution": "D"},
        "city": {"type": "categorical", "categories": ["Bonn", "Rome"]},
    }
    (tmp_path / "s.json").write_text(json.dumps({"columns": columns}))
    (tmp_path / "r.yaml").write_text("- {type: range, name: adults, column: age, low: 18, high: 120}\n")
    (tmp_path / "strict.yaml").write_text(
        "- {type: pattern, name: leading zero, column: region, pattern: '0[0-9]{4}'}\n"
    )
    return tmp_path


def test_a_table_that_passes_exits_with_0_and_leaves_the_reports(folder, capsys):
    outputs = ["--report", "v.json", "--page", "v.html", "--text", "v.md"]
    assert main(["validate", "--table", "t.csv", "--schema", "s.json", "--rules", "r.yaml", *outputs]) == 0
    report = read_report(folder / "v.json")
    assert (report.kind, report.passed) == ("validation", True)
    assert "Can this table be trusted?" in (folder / "v.html").read_text()
    assert (folder / "v.md").read_text().startswith("# Validation of a table")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "passes all four verdicts" in shown.err


def test_the_report_names_the_table_and_the_model_that_is_given_with_it(folder):
    fitted = synth.fit(read_table("t.csv"), generator="tabular.independent", seed=0)
    fitted.save("m")
    words = ["validate", "--table", "t.csv", "--schema", "s.json", "--report", "v.json", "--text", "v.md"]
    assert main(words) == 0
    assert read_report(folder / "v.json").judged == Judged("", digest_of(read_table("t.csv")))
    assert main([*words, "--model", "m"]) == 0
    assert read_report(folder / "v.json").judged == Judged(fitted.fingerprint, digest_of(read_table("t.csv")))
    assert f"of model {fitted.fingerprint[:12]}" in (folder / "v.md").read_text()
    assert validate(read_table("t.csv"), model=fitted).judged == read_report(folder / "v.json").judged


def test_a_table_that_fails_exits_with_3_names_what_and_shows_no_cell(folder, capsys):
    words = ["validate", "--table", "broken.csv", "--schema", "s.json", "--rules", "r.yaml", "--report", "v.json"]
    assert main(words) == 3
    shown = capsys.readouterr().err
    assert "misses 2 of 4 verdicts: schema, data quality" in shown
    assert "column 'age' has 3 rows outside its bounds" in shown
    assert "3 rows break rule 'adults'" in shown
    assert SECRET not in shown
    assert SECRET not in (folder / "v.json").read_text()
    assert not read_report(folder / "v.json").passed


def test_the_table_may_be_named_without_an_option(folder):
    assert main(["validate", "t.csv", "--schema", "s.json", "--rules", "r.yaml", "--quiet"]) == 0
    assert main(["validate", "broken.csv", "--schema", "s.json", "--quiet"]) == 3
    assert main(["validate", "t.csv", "--real", "t.csv", "--quiet"]) == 3  # every row is a copy


def test_a_table_that_is_named_twice_is_refused(folder, capsys):
    assert main(["validate", "t.csv", "--table", "broken.csv"]) == 2
    assert "--table" in capsys.readouterr().err


def test_an_option_file_may_still_hold_everything(folder):
    (folder / "v.yaml").write_text("table: broken.csv\nschema: s.json\nmin_schema: 0.9\n")
    assert main(["validate", "v.yaml", "--quiet"]) == 0


def test_texts_of_digits_stay_texts_where_the_schema_says_so(folder):
    assert main(["validate", "--table", "t.csv", "--schema", "s.json", "--rules", "strict.yaml", "--quiet"]) == 0


def test_a_column_of_another_kind_is_a_finding_and_no_error(folder, capsys):
    table = pd.read_csv("t.csv", dtype={"region": str})
    table.assign(age=["old", *table["age"][1:]]).to_csv("odd.csv", index=False)
    assert main(["validate", "--table", "odd.csv", "--schema", "s.json"]) == 3
    assert "column 'age' does not hold int64" in capsys.readouterr().err


def test_real_rows_and_a_target_are_read(folder):
    words = ["validate", "--table", "t.csv", "--real", "broken.csv", "--schema", "s.json", "--target", "city"]
    assert main([*words, "--report", "v.json", "--quiet"]) == 3
    report = read_report(folder / "v.json")
    assert report.rows == {"table": 120, "real": 120}
    assert {"exact copies", "privacy smoke"} <= {check.name for check in report.card if not check.passed}
    assert any(score.name == "utility.ratio" for score in report.scores)


def test_a_gate_reads_the_report(folder):
    main(["validate", "--table", "broken.csv", "--schema", "s.json", "--report", "v.json", "--quiet"])
    assert main(["gate", "--report", "v.json", "--min-quality", "1", "--quiet"]) == 3
    assert main(["report", "--report", "v.json", "--page", "again.html", "--quiet"]) == 0


@pytest.mark.parametrize("name", ["finance", "government", "health"])
def test_the_demo_of_a_pack_passes_from_disk_and_its_broken_twin_is_caught(folder, capsys, name):
    words = ["pack", "--pack", name, "--demo", "d.csv", "--twin", "b.csv", "--rules", "rules.json"]
    assert main([*words, "--quiet"]) == 0
    assert main(["validate", "--table", "d.csv", "--pack", name, "--quiet"]) == 0
    capsys.readouterr()
    assert main(["validate", "--table", "b.csv", "--pack", name]) == 3
    shown = capsys.readouterr().err
    rules = json.loads((folder / "rules.json").read_text())["constraints"]
    assert [rule["name"] for rule in rules if f"'{rule['name']}'" not in shown] == []


def _demo_of_health(column):
    main(["pack", "--pack", "health", "--demo", "d.csv", "--quiet"])
    pd.read_csv("d.csv")[[column]].to_csv("one.csv", index=False)


def test_the_closing_line_says_how_much_of_a_pack_does_not_apply(folder, capsys):
    _demo_of_health("sex")
    assert main(["validate", "--table", "one.csv", "--pack", "health", "--min-pack", "0", "--report", "v.json"]) == 0
    pack = load("health")
    total = len(pack.rules) + len(pack.metrics)
    told = f"four verdicts; {total - 1} of {total} rules and metrics of the pack do not apply (columns missing)"
    assert told in capsys.readouterr().err
    [share] = [one for one in read_report(folder / "v.json").card if one.name == "health: share that applies"]
    assert share.value == pytest.approx(1 / total)


@pytest.mark.parametrize(("column", "asked"), [("sex", []), ("drug", []), ("drug", ["--min-pack", "0"])])
def test_a_table_to_which_too_little_of_a_pack_applies_fails_by_a_check_of_its_own(folder, capsys, column, asked):
    _demo_of_health(column)
    assert main(["validate", "--table", "one.csv", "--pack", "health", "--report", "v.json", *asked]) == 3
    missed = [one.name for one in read_report(folder / "v.json").card if not one.passed]
    assert missed == ["data quality", "health: share that applies"]
    assert "do not apply (columns missing): add the columns" in capsys.readouterr().err


def test_the_rules_of_a_pack_are_a_file_of_rules(folder):
    main(["pack", "--pack", "health", "--demo", "d.parquet", "--rules", "rules.json", "--quiet"])
    assert main(["validate", "--table", "d.parquet", "--rules", "rules.json", "--quiet"]) == 0


def test_pack_lists_the_packs_and_what_one_holds(folder, capsys):
    assert main(["pack"]) == 0
    listed = capsys.readouterr().err
    assert all(f"{name}  " in listed for name in ("finance", "government", "health"))
    assert main(["pack", "--pack", "finance"]) == 0
    shown = capsys.readouterr().err
    assert "rule balance identity (repair)" in shown
    assert "metric benford_deviation, <= 0.015" in shown


def test_the_demo_of_a_seed_is_the_same_whenever_it_is_made(folder):
    for place in ("a.parquet", "b.parquet"):
        main(["pack", "--pack", "health", "--demo", place, "--seed", "4", "--quiet"])
    pd.testing.assert_frame_equal(read_table("a.parquet"), read_table("b.parquet"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["finance", "government", "health"])
@pytest.mark.parametrize("seed", range(20))
def test_the_demo_of_a_pack_passes_whatever_the_seed_and_beside_another_demo(name, seed):
    pack = load(name)
    report = validate(
        pack.demo(1_000, seed=seed),
        real=pack.demo(1_000, seed=seed + 1_000),
        config=ValidateConfig(pack=name),
    )
    assert [(check.name, check.value) for check in report.card if not check.passed] == []


def test_an_unknown_pack_is_an_error_of_the_user(folder, capsys):
    assert main(["validate", "--table", "t.csv", "--pack", "helth"]) == 2
    assert "finance, government, health" in capsys.readouterr().err
