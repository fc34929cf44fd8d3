"""The table of what has been run, and where, says what the tests run."""

import re
from pathlib import Path

import pytest
import yaml

from synth_kubeflow.compile import compiled
from synth_kubeflow.components import COMPONENTS
from synth_kubeflow.pipelines import PIPELINES, build

PAGE = (Path(__file__).resolve().parents[2] / "kubeflow" / "README.md").read_text(encoding="utf-8")
COLUMNS = ("compiled", "on the host", "in a container", "on a cluster")


@pytest.fixture(scope="module")
def table():
    """The rows of the table: asset to what each column says."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \| (\w+) \| (\w+) \|$", PAGE, re.MULTILINE)
    return {name: dict(zip(COLUMNS, said, strict=True)) for name, *said in rows}


def components_of(name):
    """Return the components that a pipeline is made of."""
    executors = next(iter(yaml.safe_load_all(compiled(build(name)))))["deploymentSpec"]["executors"]
    return {one["container"]["command"][-1] for one in executors.values() if "container" in one}


def test_requirement_20_the_table_has_every_asset_once(table):
    assert list(table) == [*PIPELINES, *COMPONENTS]


def test_requirement_20_every_asset_is_compiled_and_none_has_run_on_a_cluster(table):
    assert {said["compiled"] for said in table.values()} == {"yes"}
    assert {said["on a cluster"] for said in table.values()} == {"never"}


def test_requirement_20_what_ran_on_the_host_is_what_test_local_and_test_execute_run(table):
    # test_local runs every pipeline, test_execute every component but register_model, which test_mlflow runs
    assert {said["on the host"] for said in table.values()} == {"yes"}
    in_pipelines = set().union(*(components_of(name) for name in PIPELINES))
    assert in_pipelines <= set(COMPONENTS)


def test_the_page_names_every_pipeline():
    for name in PIPELINES:
        assert name in PAGE
