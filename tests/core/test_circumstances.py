"""Limits, costs and the cache hold for every step alike, on the command line, by file and by environment."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cases import CASES, LIBRARIES

import synth_components as synth
from synth_components import audit
from synth_components.__main__ import main
from synth_components.chain import Chain
from synth_components.circumstances import Circumstances, around, circumstance, within
from synth_components.config import ConfigError
from synth_components.errors import GuardError, LimitError
from synth_components.io.dataset import read_table, write_table
from synth_components.model import Model
from synth_components.profile import profile
from synth_components.schema import TABLE
from synth_components.steps import STEPS, load
from synth_components.steps.command import StepCommand
from synth_components.steps.record import perform
from synth_components.steps.report_file import read_report
from synth_components.steps.reuse import digest
from synth_components.steps.train import TrainConfig, train

INDEPENDENT = ("--generator", "tabular.independent")
QUICK = {"replicates": 10, "detector_rows": 60, "detector_folds": 2, "manifold_rows": 60, "global_utility": False}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory with a table, and no circumstances in the environment."""
    for name in Circumstances.model_fields:
        monkeypatch.delenv(f"SYNTH_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=400).round(3), "y": rng.choice(["a", "b"], 400)})
    table.to_csv("t.csv", index=False)
    return tmp_path


def said(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("step", STEPS)
def test_every_step_takes_the_circumstances(step):
    flags = {flag for param in StepCommand(step, load(step)).params for flag in param.opts}
    assert {"--max-memory", "--max-seconds", "--cache"} <= flags


@pytest.mark.parametrize(
    ("limit", "said_of_it"), [(("--max-memory", "1MB"), "memory passed its limit"), (("--max-seconds", "1e-9"), "time")]
)
def test_a_passed_limit_is_one_line_and_leaves_nothing(folder, capsys, limit, said_of_it):
    assert main(["train", "--data", "t.csv", "--model", "model", *INDEPENDENT, *limit]) == 2
    error = capsys.readouterr().err
    assert said_of_it in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == ["t.csv"]


# The limit may fall between the opening of a file and what closes it; the collector closes it then, and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_limit_passed_while_rows_are_written_leaves_the_old_file(folder, monkeypatch):
    assert main(["train", "--data", "t.csv", "--model", "model", *INDEPENDENT, "--quiet"]) == 0
    asked = ("sample", "--model", "model", "--synthetic", "s.csv", "--quiet")
    assert main([*asked, "--num-rows", "5"]) == 0
    before = (folder / "s.csv").read_bytes()
    files = sorted(path.name for path in folder.iterdir())

    assert main([*asked, "--num-rows", "1000000000", "--max-seconds", "1"]) == 2

    assert (folder / "s.csv").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == files


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name in LIBRARIES and not (case.private and case.dual)], ids=str
)
def test_a_generator_of_an_extra_keeps_to_limits_and_cache_and_its_rows_are_valid(folder, capsys, case):
    pytest.importorskip(LIBRARIES[case.name], reason="the extra that it needs is not installed")
    schema = profile(pd.read_csv("t.csv")).schema
    columns = {name: replace(column, public=case.private) for name, column in schema.columns.items()}
    (folder / "schema.json").write_text(json.dumps(replace(schema, tables={TABLE: columns}).to_json()))
    options = {"--privacy": "dp"} if case.private else {}
    options |= {"--generator.iterations": "20"} if case.private else {"--generator.epochs": "5"}
    asked = ["train", "--data", "t.csv", "--schema", "schema.json", "--generator", case.name]
    asked += [word for pair in options.items() for word in pair]

    assert main([*asked, "--model", "none", "--max-memory", "1MB"]) == 2
    assert not (folder / "none").exists()
    for name in ("a", "b"):
        assert main([*asked, "--model", name, "--cache", "kept", "--max-memory", "8GiB"]) == 0
    assert "cache: hit" in capsys.readouterr().err
    assert digest(folder / "a") == digest(folder / "b")
    assert main(["sample", "--model", "b", "--synthetic", "s.csv", "--num-rows", "400", "--max-memory", "8GiB"]) == 0
    assert main(["validate", "s.csv", "--schema", "schema.json", "--real", "t.csv"]) == 0


def test_a_limit_that_is_none_is_refused_by_name(folder, capsys):
    assert main(["split", "--max-memory", "much"]) == 2
    assert "'--max-memory': memory is a number with a unit" in capsys.readouterr().err


def test_the_command_line_wins_over_the_file_and_that_over_the_environment(folder, monkeypatch):
    monkeypatch.setenv("SYNTH_MAX_SECONDS", "1e-9")
    asked = ["split", "split.json", "--data", "t.csv", "--train", "a.csv", "--holdout", "b.csv", "--quiet"]
    (folder / "split.json").write_text('{"share": 0.5}')
    assert main(asked) == 2
    (folder / "split.json").write_text('{"share": 0.5, "max_seconds": 600}')
    assert main(asked) == 0
    assert main([*asked, "--max-seconds", "1e-9"]) == 2


def test_a_caller_without_a_command_line_sets_them_by_environment(folder, monkeypatch):
    monkeypatch.setenv("SYNTH_MAX_MEMORY", "1MB")
    assert around().max_memory == "1MB"
    with pytest.raises(LimitError):
        perform(train, TrainConfig(generator="tabular.independent"), {"data": folder / "t.csv", "model": folder / "m"})


def test_the_record_tells_seconds_and_peak_memory_by_stage(folder):
    assert main(["train", "--data", "t.csv", "--model", "model", *INDEPENDENT, "--quiet"]) == 0
    record = said(folder / "model.run.json")
    assert [cost["stage"] for cost in record["stages"]] == ["train tabular.independent"]
    assert record["peak_mib"] >= record["stages"][0]["peak_mib"] > 0
    assert record["seconds"] >= record["stages"][0]["seconds"] >= 0


def judged(folder):
    """Split, train, sample and judge, each by a command of its own; return the report."""
    quiet = ("--quiet",)
    assert main(["split", "--data", "t.csv", "--train", "a.csv", "--holdout", "b.csv", "--share", "0.4", *quiet]) == 0
    assert main(["train", "--data", "a.csv", "--model", "model", *INDEPENDENT, *quiet]) == 0
    assert main(["sample", "--model", "model", "--synthetic", "s.csv", "--num-rows", "150", *quiet]) == 0
    tables = ("--train", "a.csv", "--holdout", "b.csv", "--synthetic", "s.csv")
    outputs = ("--report", "report.json", "--page", "report.html")
    assert main(["evaluate-privacy", *tables, *outputs, "--replicates", "10", *quiet]) == 0
    return read_report(folder / "report.json")


def test_the_report_tells_what_every_stage_took(folder):
    report = judged(folder)

    stages = [cost.stage for cost in report.costs]
    assert stages == ["sample", "evaluate privacy"]
    for text in (report.to_markdown(), (folder / "report.html").read_text()):
        assert "evaluate privacy" in text
        assert "peak memory, MiB" in text


def test_the_report_of_a_whole_run_tells_what_split_train_and_sample_took_too(folder):
    config = {
        "train": {"generator": "tabular.independent"},
        "split": {"share": 0.4},
        "sample": {"num_rows": 150},
        "evaluate": {"target": "y", **QUICK},
    }
    (folder / "run.json").write_text(json.dumps({"data": "t.csv", "output": "out", **config}))
    wanted = ["split", "train", "sample", *(f"evaluate {g}" for g in ("fidelity", "utility", "privacy", "validity"))]

    assert main(["run", "run.json", "--quiet"]) == 0
    assert [cost.stage for cost in read_report(folder / "out" / "report.json").costs] == wanted
    record = said(folder / "out" / "run.json")
    assert record["peak_mib"] > 0
    assert [part["step"] for part in record["stages"]] == ["split", "train", "sample", "evaluate"]
    assert all(part["peak_mib"] > 0 for part in record["stages"])

    # What was skipped is not forgotten.
    (folder / "out" / "report.json").unlink()
    assert main(["run", "run.json", "--quiet"]) == 0
    assert [cost.stage for cost in read_report(folder / "out" / "report.json").costs] == wanted


def test_results_are_taken_from_the_cache_byte_for_byte(folder, monkeypatch, capsys):
    cached = ("--cache", "cache")

    def make(suffix):
        profiled = (
            "profile",
            "--data",
            "t.csv",
            "--schema",
            f"schema{suffix}.json",
            "--statistics",
            f"stats{suffix}.json",
        )
        trained = ("train", "--data", "t.csv", "--schema", f"schema{suffix}.json", "--model", f"model{suffix}")
        sampled = ("sample", "--model", f"model{suffix}", "--synthetic", f"s{suffix}.parquet", "--num-rows", "50")
        for command in (profiled, (*trained, *INDEPENDENT), sampled):
            assert main([*command, *cached]) == 0

    make("1")
    capsys.readouterr()
    monkeypatch.setattr("synth_components.fitting.fit", None)  # whoever fits, profiles or samples now fails
    monkeypatch.setattr("synth_components.steps.profile.profile_tables", None)
    monkeypatch.setattr("synth_components.model.Model.blocks", None)
    make("2")

    for name in ("schema{}.json", "p{}.json", "model{}", "s{}.parquet"):
        assert digest(folder / name.format(2)) == digest(folder / name.format(1))
    assert "cache: hit; 3 of 6 lookups were hits (50%)" in capsys.readouterr().err
    assert said(folder / "s2.parquet.run.json")["cache"] == {"hit": True, "hits": 3, "lookups": 6}
    assert Model.load(folder / "model2").manifest == Model.load(folder / "model1").manifest

    assert main(["cache", *cached]) == 0
    assert "3 entries" in (shown := capsys.readouterr().out)
    assert "3 of 6 lookups were hits (50%)" in shown
    assert main(["cache", "--clear", *cached]) == 0
    assert main(["cache", *cached]) == 0
    assert "0 entries" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change", [("--seed", "1"), ("--generator.knots", "50"), ("--data", "other.csv"), ("--trust", "outside.module")]
)
def test_what_the_outputs_depend_on_is_part_of_the_key(folder, change):
    table = pd.read_csv("t.csv")
    table.iloc[1:].to_csv("other.csv", index=False)
    asked = ["train", "--data", "t.csv", "--model", "model", *INDEPENDENT, "--cache", "cache", "--quiet"]
    assert main(asked) == 0
    assert main([*asked, *change]) == 0
    assert not said(folder / "model.run.json").get("cache", {"hit": False})["hit"]
    assert main(asked) == 0
    assert said(folder / "model.run.json")["cache"]["hit"]


def test_a_fresh_seed_is_never_taken_from_the_cache(folder):
    asked = [
        "train",
        "--data",
        "t.csv",
        "--model",
        "model",
        *INDEPENDENT,
        "--seed",
        "-1",
        "--cache",
        "cache",
        "--quiet",
    ]
    assert main(asked) == 0
    assert main(asked) == 0
    assert "cache" not in said(folder / "model.run.json")


def test_the_format_of_an_output_is_part_of_the_key(folder):
    assert main(["train", "--data", "t.csv", "--model", "model", *INDEPENDENT, "--quiet"]) == 0
    for name in ("s.csv", "s.parquet"):
        assert main(["sample", "--model", "model", "--synthetic", name, "--cache", "cache", "--quiet"]) == 0
    assert read_table("s.csv")["y"].tolist() == read_table("s.parquet")["y"].tolist()


def test_what_a_budget_or_a_policy_refuses_is_not_taken_from_the_cache_either(folder, capsys):
    cached = ("--cache", "cache", "--quiet")
    asked = {"profile": ["--schema", "s.json"], "train": ["--model", "model", *INDEPENDENT]}
    for name, places in asked.items():
        assert main([name, "--data", "t.csv", *places, *cached]) == 0
    assert main(["budget", "create", "b.budget", "--epsilon", "1", "--name", "t"]) == 0
    for name, places in asked.items():
        assert main([name, "--data", "t.csv", *places, *cached, "--budget-file", "b.budget"]) == 2
        assert "is not differentially private" in capsys.readouterr().err
    assert main(["train", "--data", "t.csv", *asked["train"], *cached, "--policy", "critical"]) == 3
    assert "does not allow" in capsys.readouterr().err


@pytest.mark.slow
def test_a_whole_run_uses_the_cache(folder):
    config = {"train": {"generator": "tabular.independent"}, "evaluate": QUICK, "cache": "cache"}
    for number in (1, 2):
        (folder / "run.json").write_text(json.dumps({"data": "t.csv", "output": f"out{number}", **config}))
        assert main(["run", "run.json", "--quiet"]) == 0
    hits = {
        part["step"]: part["cache"]["hit"] for part in said(folder / "out2" / "run.json")["stages"] if "cache" in part
    }
    assert hits == {"train": True, "sample": True}


def test_without_a_folder_nothing_is_kept(folder, capsys):
    assert main(["train", "--data", "t.csv", "--model", "model", *INDEPENDENT, "--quiet"]) == 0
    assert "cache" not in said(folder / "model.run.json")
    assert main(["cache"]) == 2
    assert "SYNTH_CACHE" in capsys.readouterr().err


def test_steps_read_from_and_append_to_a_database_and_no_record_holds_its_secret(folder):
    pytest.importorskip("sqlalchemy", reason="the extra sql is not installed")
    write_table(read_table("t.csv"), "sqlite:///f.db#real")
    asked = ("train", "--data", "sqlite:///f.db?timeout=4711#select * from real", "--model", "model")
    assert main([*asked, *INDEPENDENT, "--quiet"]) == 0
    for _ in range(2):
        sampled = ("sample", "--model", "model", "--synthetic", "sqlite:///f.db#drawn", "--num-rows", "30")
        assert main([*sampled, "--quiet"]) == 0

    assert len(read_table("sqlite:///f.db#drawn")) == 60
    assert said(folder / "model.run.json")["ports"]["data"] == "sqlite:///f.db#query"
    assert "4711" not in (folder / "model.run.json").read_text()


def test_a_table_is_not_appended_to_itself(folder, capsys):
    pytest.importorskip("sqlalchemy", reason="the extra sql is not installed")
    address = "postgresql://user:Zebulon@host/db#real"
    assert main(["split", "--data", address, "--train", address, "--holdout", "b.csv"]) == 2
    error = capsys.readouterr().err
    assert "an output may not touch an input" in error
    assert "Zebulon" not in error


def test_what_within_is_not_told_comes_from_the_environment_and_from_the_block_around(monkeypatch):
    monkeypatch.setenv("SYNTH_POLICY", "critical")
    monkeypatch.setenv("SYNTH_AUDIT", "audit.jsonl")
    monkeypatch.setenv("SYNTH_BUDGET_FILE", "budget")
    with within(Circumstances(encrypt="models", encrypt_key="env:KEY")), within(Circumstances(max_memory="1MB")):
        assert around() == Circumstances(
            policy="critical",
            audit="audit.jsonl",
            budget_file="budget",
            encrypt="models",
            encrypt_key="env:KEY",
            max_memory="1MB",
        )
        # What is said wins, empty text and defaults, too.
        with within(Circumstances(budget_file="", encrypt="none")):
            assert (circumstance("budget_file"), circumstance("encrypt")) == ("", "none")
            assert circumstance("policy") == "critical"
    assert around() == Circumstances(policy="critical", audit="audit.jsonl", budget_file="budget")


def test_within_other_circumstances_the_environment_keeps_its_guard_and_its_trail(folder, monkeypatch):
    monkeypatch.setenv("SYNTH_POLICY", "critical")
    monkeypatch.setenv("SYNTH_AUDIT", "audit.jsonl")
    table = pd.read_csv("t.csv")
    with within(Circumstances(encrypt="models", encrypt_key="env:KEY")), pytest.raises(GuardError, match="no epsilon"):
        synth.fit(table, generator="tabular.independent", seed=0)
    with within(Circumstances(policy="off")):
        synth.fit(table, generator="tabular.independent", seed=0)
    events = [line["event"] for line in map(json.loads, (folder / "audit.jsonl").read_text().splitlines())]
    assert events[0] == "guard"
    assert events.count("guard_off") == 1


def test_within_refuses_a_wrong_variable_rather_than_pass_by_the_others(monkeypatch):
    monkeypatch.setenv("SYNTH_MAX_MEMORY", "much")
    with pytest.raises(ConfigError, match="max_memory"), within(Circumstances(policy="critical")):
        pass


def test_a_thread_is_under_the_circumstances_that_are_carried_there(tmp_path):
    with audit.trail(tmp_path / "a"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(copy_context().run, circumstance, "audit").result() == str(tmp_path / "a")


def test_an_empty_policy_turns_no_guard_off(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNTH_POLICY", "critical")
    monkeypatch.setenv("SYNTH_AUDIT", "audit.jsonl")
    table = pd.DataFrame({"a": [1, 2, 3, 4] * 10})
    table.to_csv("t.csv", index=False)
    with within(Circumstances(policy="")), pytest.raises(GuardError, match="asks for one"):
        synth.fit(table, generator="tabular.independent", seed=0)
    words = ["train", "--data", "t.csv", "--model", "model", "--generator", "tabular.independent", "--quiet"]
    assert main([*words, "--policy", ""]) == 3
    (tmp_path / "train.json").write_text('{"policy": ""}')
    assert main([*words, "train.json"]) == 3
    assert main([*words, "--policy", "off"]) == 0
    with within(Circumstances(policy="off")), within(Circumstances(policy="")):
        assert circumstance("policy") == "off"
    off = [line["of"] for line in Chain(tmp_path / "audit.jsonl").lines() if line["event"] == "guard_off"]
    assert off[0] == "fit tabular.independent"
    assert capsys.readouterr().err.count("the fit has no epsilon") == 2
