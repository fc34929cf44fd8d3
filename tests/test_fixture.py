"""The fixture `synthetic_table` in the pytest of another project, and tables that hypothesis shrinks."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, Phase, find, given, settings

from synth_components.constraints import check, constraint_from_json
from synth_components.errors import SchemaError
from synth_components.protocols import Interval
from synth_components.schema import Schema
from synth_components.schema import check as check_schema
from synth_components.strategy import model_of, synthetic_tables

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ("-p", "synth_components.fixture", "-p", "no:cacheprovider")

ORDERS = {
    "columns": {
        "id": {"type": "key"},
        "net": {"type": "numeric", "low": -50, "high": 1000, "places": 2},
        "gross": {"type": "numeric", "low": -50, "high": 2000, "places": 2},
        "items": {"type": "numeric", "dtype": "int64", "low": 1, "high": 40, "places": 0},
        "state": {"type": "categorical", "categories": ["open", "sent", "paid"]},
        "paid_on": {"type": "datetime", "low": "2024-01-01", "high": "2024-12-31", "resolution": "D", "nullable": True},
        "note": {"type": "text", "kind": "free", "nullable": True},
        "weight": {"type": "numeric"},
    },
    "marginals": {"weight": {"family": "lognormal", "mean_log": 0, "sd_log": 1}},
    "null_shares": {"paid_on": 0.5, "note": 0.2},
    "constraints": [
        {"type": "inequality", "low": "net", "high": "gross"},
        {"type": "conditional_null", "column": "paid_on", "when": "state != 'paid'"},
        {"type": "implication", "when": "state == 'sent'", "then": "items <= 10", "policy": "reject"},
    ],
}
RULES = tuple(constraint_from_json(rule) for rule in ORDERS["constraints"])
SCHEMA = Schema.from_json({"columns": ORDERS["columns"]})


def obeys(table):
    check_schema(table, SCHEMA.columns)
    return set(check(table, RULES).values()) == {1.0}


@pytest.fixture
def project(pytester):
    pytester.makefile(".yaml", orders=yaml.safe_dump(ORDERS, sort_keys=False))
    return pytester


def test_the_fixture_gives_rows_that_satisfy_columns_rules_and_conditions(project):
    project.makepyfile(
        """
        def test_orders(synthetic_table):
            rows = synthetic_table("orders.yaml", n=50, seed=3, conditions={"state": ["paid", "sent"], "items": (2, 9)})
            assert len(rows) == 50
            assert set(rows["state"]) == {"paid", "sent"}
            assert rows["items"].between(2, 9).all()
            assert (rows["net"] <= rows["gross"]).all()
            assert (rows["paid_on"].notna() == (rows["state"] == "paid")).all()
            assert rows["id"].tolist() == list(range(50))

        def test_the_rows_are_the_same_at_each_call_and_of_the_caller_alone(synthetic_table):
            first = synthetic_table("orders.yaml", n=5)
            kept = first.copy()
            first["net"] = 0.0
            assert synthetic_table("orders.yaml", n=5).equals(kept)
            assert not synthetic_table("orders.yaml", n=5, seed=1).equals(kept)
        """
    )
    project.runpytest(*PLUGIN).assert_outcomes(passed=2)


def test_a_file_is_sought_beside_the_test_that_names_it(project):
    folder = project.mkdir("deep")
    (project.path / "orders.yaml").rename(folder / "orders.yaml")
    (folder / "test_deep.py").write_text(
        "def test_it(synthetic_table):\n    assert len(synthetic_table('orders.yaml'))\n"
    )
    project.runpytest(*PLUGIN).assert_outcomes(passed=1)


FAILING = """
import pathlib

def test_fails(synthetic_table):
    rows = synthetic_table("orders.yaml", n=4)
    pathlib.Path("drawn.csv").write_text(rows.to_csv())
    assert len(rows) == 5

def test_passes(synthetic_table):
    synthetic_table("orders.yaml", n=4)
"""


def test_a_failure_tells_the_seed_and_no_value_and_the_seed_replays_the_rows(project):
    project.makepyfile(FAILING)
    first = project.runpytest(*PLUGIN, "--synth-seed", "-1")
    drawn = (project.path / "drawn.csv").read_text()
    (told,) = re.findall(
        r"4 rows of \[.*\] with seed (\d+); replay: --synth-seed \1, or seed=\1 in the call", str(first.stdout)
    )
    section = re.search(r"-+ synthetic_table -+\n(.*)", str(first.stdout))[1]
    assert not any(f"{cell}" in section for cell in pd.read_csv(project.path / "drawn.csv")["gross"])

    (project.path / "drawn.csv").unlink()
    again = project.runpytest(*PLUGIN, "--synth-seed", told)
    assert (project.path / "drawn.csv").read_text() == drawn
    again.assert_outcomes(failed=1, passed=1)


def test_a_table_of_conditions_gives_a_row_for_each_of_its_rows(project):
    project.makepyfile(
        """
        import pandas as pd

        def test_it(synthetic_table):
            asked = pd.DataFrame({"state": ["paid", None, "open"], "items": [3, 4, 5]})
            rows = synthetic_table("orders.yaml", conditions=asked)
            assert rows["items"].tolist() == [3, 4, 5]
            assert rows["state"].iloc[[0, 2]].tolist() == ["paid", "open"]
        """
    )
    project.runpytest(*PLUGIN).assert_outcomes(passed=1)


def test_a_test_that_passes_tells_nothing(project):
    project.makepyfile("def test_passes(synthetic_table):\n    synthetic_table('orders.yaml')\n")
    shown = project.runpytest(*PLUGIN, "-rA")
    shown.assert_outcomes(passed=1)
    assert "with seed" not in str(shown.stdout)


def test_requirements_that_contradict_each_other_fail_the_test_by_name(project):
    project.makepyfile(
        """
        def test_it(synthetic_table):
            synthetic_table({"columns": {"x": {"type": "numeric"}}})
        """
    )
    shown = project.runpytest(*PLUGIN)
    shown.assert_outcomes(failed=1)
    assert "'x' has no low and high" in str(shown.stdout)


def test_equal_requirements_share_one_model():
    assert model_of(ORDERS) is model_of({**ORDERS})


def test_the_plugin_loads_nothing_until_a_test_asks_for_rows(tmp_path):
    code = (
        "import sys, pytest; import synth_components.fixture; "
        "print(sorted({'numpy', 'pandas', 'pydantic', 'scipy', 'hypothesis'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_distribution_declares_the_plugin_under_the_name_of_its_module():
    # One name for both: `-p synth_components.fixture` is then the installed one, and not a second.
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"synth_components.fixture": "synth_components.fixture"}


@settings(max_examples=20)
@given(table=synthetic_tables(ORDERS, max_rows=6))
def test_every_example_obeys_columns_and_rules(table):
    assert 1 <= len(table) <= 6
    assert obeys(table)


@settings(max_examples=20)
@given(table=synthetic_tables(ORDERS, min_rows=0, max_rows=3, conditions={"state": "sent", "net": Interval(0, 10)}))
def test_every_example_obeys_the_conditions(table):
    assert len(table) <= 3
    assert obeys(table)
    assert set(table["state"]) <= {"sent"}
    assert table["net"].between(0, 10).all()


def shrunk(condition, requirements=ORDERS):
    # `find` returns the last example that it ran: without the phase `explain` that is the simplest.
    quick = settings(max_examples=200, phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck))
    return find(synthetic_tables(requirements), condition, settings=quick)


def test_an_example_shrinks_to_one_row_of_simple_values():
    (row,) = shrunk(lambda table: True).to_dict("records")
    assert (row["net"], row["items"], row["state"]) == (0.0, 1, "open")
    assert row["gross"] == 0.0
    assert pd.isna(row["paid_on"])


def test_a_fault_shrinks_to_its_edge():
    # The smallest table that shows it: as many rows as the fault needs, and the value just beyond the edge.
    table = shrunk(lambda table: len(table) >= 3 and bool((table["items"] > 17).any()))
    assert len(table) == 3
    assert sorted(table["items"]) == [1, 1, 18]


def test_a_rule_that_mends_no_row_shrinks_as_far():
    column = {"type": "numeric", "dtype": "int64", "low": 0, "high": 100, "places": 0}
    ruled = {"columns": {"a": column, "b": column}, "constraints": [{"type": "expression", "expression": "a <= b"}]}
    table = shrunk(lambda table: bool((table["a"] >= 7).any()), ruled)
    assert table.to_dict("records") == [{"a": 7, "b": 7}]


def test_rare_values_are_found():
    # Under the declared lognormal a weight above 100 has probability 2e-6.
    assert (shrunk(lambda table: bool((table["weight"] > 100).any()))["weight"] > 100).any()


def test_a_strategy_of_contradicting_requirements_is_refused_as_it_is_made():
    with pytest.raises(SchemaError, match="'x'"):
        synthetic_tables({"columns": {"x": {"type": "numeric"}}})


def test_the_example_of_the_page_runs(pytester):
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    specification, *code = (
        block
        for language in ("yaml", "python")
        for block in re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)
    )
    pytester.makefile(".yaml", orders=specification)
    pytester.makepyfile(test_orders="\n\n".join(code))
    pytester.runpytest(*PLUGIN).assert_outcomes(passed=2)
