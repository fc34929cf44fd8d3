"""Requirement 1: what importing the package asks for, and what its extra installs.

How long it takes is a row of benchmarks/import_time.py.
"""

import json
import pkgutil
import subprocess
import sys
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement

import synth_sagemaker

MODULES = [module.name for module in pkgutil.walk_packages(synth_sagemaker.__path__, "synth_sagemaker.")]
IN_THE_CONTAINER = [f"synth_sagemaker.{name}" for name in ("command", "layout", "process", "serve", "train")]
# Notes which of the libraries of argument 1 the modules of argument 2 ask for, whether or not they are installed and
# even if an error is swallowed: one that is missing here would otherwise pass for one that nobody wants.
ASKED = """
import importlib, json, sys

watched, asked = set(json.loads(sys.argv[1])), set()

class Watch:
    def find_spec(self, name, path=None, target=None):
        asked.update({name.partition(".")[0]} & watched)

sys.meta_path.insert(0, Watch())
for name in json.loads(sys.argv[2]):
    importlib.import_module(name)
print(json.dumps(sorted(asked | watched & {name.partition(".")[0] for name in sys.modules})))
"""


def asked_for(libraries, modules, folder):
    """Return which of the libraries importing the modules asks for, in a process of its own."""
    words = [sys.executable, "-c", ASKED, json.dumps(libraries), json.dumps(modules)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_1_no_module_asks_for_the_sdk_nor_torch_nor_what_talks_to_aws(tmp_path):
    assert {"synth_sagemaker.sdk", "synth_sagemaker.launch", "synth_sagemaker.tracking"} <= set(MODULES)
    assert asked_for(["boto3", "mlflow", "sagemaker", "torch"], ["synth_sagemaker", *MODULES], tmp_path) == []


def test_1_what_runs_in_a_container_asks_for_no_model_of_aws_either(tmp_path):
    assert asked_for(["boto3", "botocore", "sagemaker", "torch"], IN_THE_CONTAINER, tmp_path) == []


@pytest.mark.parametrize("library", ["sagemaker.core", "torch"])
def test_1_a_module_that_asks_for_one_is_caught_even_where_it_is_not_installed(tmp_path, library):
    (tmp_path / "asking.py").write_text(f"try:\n    import {library}\nexcept ImportError:\n    pass\n")
    name = library.partition(".")[0]
    assert asked_for([name], ["asking"], tmp_path) == [name]


def test_1_the_extra_installs_boto3_and_nothing_else():
    wanted = [Requirement(text) for text in requires("synth-components")]
    base = {one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})}
    extra = {one.name for one in wanted if one.marker is not None and one.marker.evaluate({"extra": "sagemaker"})}
    assert extra - base == {"boto3"}
    assert base.isdisjoint({"botocore", "sagemaker", "torch"})
