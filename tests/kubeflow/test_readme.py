"""The table of what has been run, and where, says what the tests run."""

import re
from pathlib import Path

import pytest
from kubeflow_ir import containers

from synth_kubeflow.components import COMPONENTS
from synth_kubeflow.pipelines import PIPELINES

PAGE = (Path(__file__).resolve().parents[2] / "kubeflow" / "README.md").read_text(encoding="utf-8")
NOT_IN_CONTAINERS: set[str] = set()
COLUMNS = ("compiled", "on the host", "in a container", "on a cluster")


@pytest.fixture(scope="module")
def table():
    """The rows of the table: asset to what each column says."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \| (\w+) \| (\w+) \|$", PAGE, re.MULTILINE)
    return {name: dict(zip(COLUMNS, said, strict=True)) for name, *said in rows}


def test_requirement_20_the_table_has_every_asset_once(table):
    assert list(table) == [*PIPELINES, *COMPONENTS]


def test_requirement_20_every_asset_is_compiled_and_none_has_run_on_a_cluster(table):
    assert {said["compiled"] for said in table.values()} == {"yes"}
    assert {said["on a cluster"] for said in table.values()} == {"never"}


def test_requirement_20_what_ran_on_the_host_is_what_test_local_and_test_execute_run(table):
    # test_local runs every pipeline; test_execute every component but register_model and train_generator_distributed,
    # which test_mlflow and test_trainjob run
    assert {said["on the host"] for said in table.values()} == {"yes"}


def test_requirement_20_what_ran_in_a_container_is_what_the_pipelines_of_test_local_are_made_of(table, made):
    pipelines = [name for name in PIPELINES if name not in NOT_IN_CONTAINERS]
    held = [containers(made[f"pipelines/{name}/pipeline.yaml"]) for name in pipelines]
    run = {one["command"][-1] for each in held for one in each.values()}
    assert {name for name, said in table.items() if said["in a container"] == "yes"} == {*pipelines, *run}


def test_the_page_names_every_pipeline():
    for name in PIPELINES:
        assert name in PAGE
