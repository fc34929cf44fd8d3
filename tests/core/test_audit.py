"""The audit trail tells of every access, fit, draw, charge and decision, on every way in, and never of a cell."""

import pandas as pd
import pytest

import synth_components as synth
from synth_components import audit
from synth_components.__main__ import main
from synth_components.chain import Chain
from synth_components.circumstances import Circumstances, within
from synth_components.errors import DataError, SynthError, TamperedError
from synth_components.evaluation.options import PrivacyConfig
from synth_components.policy import Policy
from synth_components.privacy.accounting import pure
from synth_components.privacy.budget_file import BudgetFile
from synth_components.privacy.ledger import SETTLED, Ledger
from synth_components.protocols import Budget

CANARY = "Zyzzogeton"
TABLE = pd.DataFrame({"name": [CANARY, *["Rome", "Oslo"] * 30], "age": range(61)})
INDEPENDENT = ("--generator", "tabular.independent")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNTH_AUDIT", "audit.jsonl")
    TABLE.to_csv("t.csv", index=False)
    return tmp_path


def told(folder):
    return Chain(folder / "audit.jsonl").lines()


def events(folder):
    return [line["event"] for line in told(folder)]


def test_python_calls_are_told_of(folder):
    model = synth.fit(TABLE, generator="tabular.independent", seed=0)
    model.sample(10, seed=1, conditions={"name": "Rome"})
    model.save("model")
    synth.load("model")
    assert events(folder) == ["spend", "spend", "spend", "fit", "generation", "model_save", "model_load"]
    drawn = told(folder)[4]
    assert (drawn["rows"], drawn["seed"], drawn["conditions"]) == (10, 1, ["name"])
    assert len({line["model"] for line in told(folder)[3:]}) == 1
    assert all({"time", "user", "host", "pid"} <= set(line) for line in told(folder))


def test_steps_are_told_of_from_their_start_and_with_their_failure(folder, capsys):
    assert main(["train", "--data", "t.csv", "--model", "model", *INDEPENDENT]) == 0
    assert events(folder)[0] == "access"
    assert events(folder)[-1] == "done"
    assert told(folder)[0]["reads"] == {"data": "t.csv"}
    assert told(folder)[0]["writes"] == {"model": "model"}
    known = len(told(folder))
    assert main(["sample", "--model", "model", "--synthetic", "s.csv", "--columns", "none"]) == 2
    assert events(folder)[known:] == ["access", "model_load", "failed"]
    assert told(folder)[-1]["error"] == "SchemaError"


def test_a_gate_tells_its_decision(folder):
    report = synth.evaluate(TABLE, TABLE, TABLE, config=PrivacyConfig(attacks=()))
    report.save("report")
    assert main(["gate", "--report", "report", "--max-scores", '{"privacy.copies": 1}']) == 0
    assert main(["gate", "--report", "report", "--max-scores", '{"privacy.copies": 0.1}']) == 3
    assert [line["passed"] for line in told(folder) if line["event"] == "gate"] == [True, False]
    assert told(folder)[-1] | {"error": "ThresholdError"} == told(folder)[-1]


def test_no_cell_stands_in_the_trail(folder):
    model = synth.fit(TABLE, generator="tabular.independent", seed=0)
    with pytest.raises(SynthError):
        model.sample(5, seed=0, conditions={"name": CANARY})
    with pytest.raises(SynthError):
        synth.fit(pd.DataFrame({"x": [CANARY, 3]}))
    main(["train", "--data", "t.csv", "--model", "model", *INDEPENDENT])
    assert CANARY not in (folder / "audit.jsonl").read_text()
    assert len(events(folder)) > 5


def test_a_trail_that_cannot_be_written_ends_the_work_before_it_begins(folder, monkeypatch):
    (folder / "taken").mkdir()
    monkeypatch.setenv("SYNTH_AUDIT", str(folder / "taken"))
    with pytest.raises(DataError, match="cannot be written to"):
        synth.fit(TABLE, generator="tabular.independent", seed=0)


def test_a_trail_can_be_kept_for_a_block(folder, monkeypatch):
    monkeypatch.delenv("SYNTH_AUDIT")
    with audit.trail(folder / "mine.jsonl") as kept:
        synth.fit(TABLE, generator="tabular.independent", seed=0)
    synth.fit(TABLE, generator="tabular.independent", seed=0)
    assert [line["event"] for line in kept.lines()].count("fit") == 1
    assert not (folder / "audit.jsonl").exists()


def test_the_command_shows_and_verifies_and_names_the_line_that_was_changed(folder, capsys):
    synth.fit(TABLE, generator="tabular.independent", seed=0).sample(7, seed=1)
    assert main(["audit", "anchor", "audit.jsonl"]) == 0
    anchor = capsys.readouterr().out.strip()
    assert main(["audit", "verify", "audit.jsonl", "--anchor", anchor]) == 0
    assert capsys.readouterr().out == "5 lines are as they were written\n"
    assert main(["audit", "show", "audit.jsonl", "--event", "generation"]) == 0
    assert "rows=7" in capsys.readouterr().out
    path = folder / "audit.jsonl"
    path.write_text(path.read_text().replace('"rows":7', '"rows":9'))
    assert main(["audit", "verify", "audit.jsonl"]) == 2
    assert "line 5 of 'audit.jsonl' is not what its digest says" in capsys.readouterr().err


def test_a_key_seals_the_trail(folder, monkeypatch, capsys):
    (folder / "key").write_text("0123456789abcdef" * 2)
    monkeypatch.setenv("SYNTH_CHAIN_KEY", "key")
    synth.fit(TABLE, generator="tabular.independent", seed=0)
    assert main(["audit", "verify", "audit.jsonl"]) == 0
    assert "was written anew" not in capsys.readouterr().out.replace("an older file", "")
    monkeypatch.delenv("SYNTH_CHAIN_KEY")
    with pytest.raises(TamperedError):
        told(folder)
    assert main(["audit", "verify", "audit.jsonl", "--chain-key", "key"]) == 0


def test_the_trail_tells_what_else_a_charge_was_made_to_and_hides_none(folder):
    BudgetFile.create(folder / "t.budget", Budget(9.0, 1e-6), name="t")
    with within(Circumstances(budget_file=str(folder / "t.budget"))):
        Ledger(unit="a row").spend("read by the file", pure(1.0))
        Ledger(account=SETTLED).spend("said to be settled", pure(1.0))
        Ledger(is_told=False).spend("said to be no read", pure(1.0))
    Ledger().note_uncovered("read for a report")
    lines = [(line["event"], line["label"], line["account"]) for line in told(folder) if "account" in line]
    assert lines == [
        ("spend", "read by the file", "shared"),
        ("spend", "said to be settled", "settled"),
        ("rehearsal", "said to be no read", "none"),
        ("uncovered", "read for a report", "none"),
    ]


def test_a_decision_tells_by_which_content_of_a_policy_it_was_made(folder, monkeypatch):
    (folder / "a.json").write_text('{"level": "high", "k": 4}')
    (folder / "b.yaml").write_text("k: 4\nlevel: high\n")
    (folder / "c.json").write_text('{"level": "high", "k": 5, "quasi_identifiers": ["name"]}')
    synth.evaluate(TABLE, TABLE, TABLE, config=PrivacyConfig(attacks=())).save("report")
    digests = []
    for name in ("a.json", "b.yaml", "c.json"):
        monkeypatch.setenv("SYNTH_POLICY", name)
        known = len(told(folder))
        assert main(["gate", "--report", "report/report.json", "--quiet"]) == 3
        said = [line for line in told(folder)[known:] if line["event"] in {"gate", "guard"}]
        assert {line["event"] for line in said} == {"gate", "guard"}
        assert {line["level"] for line in said} == {"high"}
        digests.append({line["policy"] for line in said})
    assert digests[0] == digests[1] == {Policy.parse({"level": "high", "k": 4}).digest}
    assert digests[2] == {Policy.read(folder / "c.json").digest} != digests[0]
