"""What the package needs (requirement 1)."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

IMPORTED = """
import json, sys, time
before = time.process_time()
import synth_sagemaker, synth_sagemaker.command, synth_sagemaker.layout, synth_sagemaker.train, synth_sagemaker.process
print(json.dumps({"seconds": time.process_time() - before, "modules": sorted(sys.modules)}))
"""

ALONE = """
import json, sys, time
before = time.process_time()
import synth_sagemaker
print(json.dumps({"seconds": time.process_time() - before, "modules": sorted(sys.modules)}))
"""


def imported(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_extra_asks_for_boto3_only():
    """Requirement 1."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert [name.partition(">")[0] for name in declared["project"]["optional-dependencies"]["sagemaker"]] == ["boto3"]


def test_importing_the_package_takes_less_than_half_a_second_of_processor():
    """Requirement 1."""
    assert imported(ALONE)["seconds"] < 0.5


def test_the_container_needs_neither_sdk_nor_torch_nor_boto3():
    """Requirement 1: the SDK's namespace is this repository's folder, so its parts are what to look for."""
    found = set(imported(IMPORTED)["modules"])
    assert not found & {"sagemaker.core", "sagemaker.train", "sagemaker.serve", "torch", "boto3", "botocore", "mlflow"}
