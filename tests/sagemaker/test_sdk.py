"""Requirement 16: adapters to version 3 of the SageMaker SDK, against the real one in an environment of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from synth_components.errors import DataError
from synth_sagemaker import sdk

ROOT = Path(__file__).parents[2]
CHECK = Path(__file__).parent / "sdk_check.py"
FLOOR = "sagemaker==3.20.0"
NEWEST = "sagemaker>=3.20,<4"
SDKS = {"floor": FLOOR, "newest": NEWEST}


def test_16_without_the_sdk_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sdk, "find_spec", lambda name: None)
    for adapter in (sdk.as_model_trainer, sdk.as_processor):
        with pytest.raises(DataError, match=r"pip install 'sagemaker>=3\.20,<4'"):
            adapter({}, session=None)


def test_16_the_folder_of_a_clone_is_not_taken_for_the_sdk():
    """`import sagemaker` succeeds in a clone: the folder is a namespace package."""
    code = "import sagemaker; from synth_sagemaker.sdk import _require_sdk; _require_sdk()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "SageMaker SDK is not installed" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("which", SDKS)
def test_16_a_step_of_the_sdk_has_the_arguments_of_our_request(which, tmp_path):
    """SYNTH_SDK_ENVIRONMENTS names a folder of environments that were built before, `floor` and `newest`."""
    held = os.environ.get("SYNTH_SDK_ENVIRONMENTS")
    environment = Path(held) / which if held else built(tmp_path / which, SDKS[which])
    done = subprocess.run(
        [environment / "bin/python", "-W", "ignore", CHECK], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["differences"] == []
    assert told["checked"] == 18
    assert told["sdk"].startswith("3.")


def built(folder, requirement):
    """Return a new environment with the SDK and this package; pip alone searches for it for a quarter of an hour."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=300)
    python = folder / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "uv"], check=True, timeout=300)
    install = [folder / "bin/uv", "pip", "install", "--quiet", "--python", python]
    subprocess.run([*install, "--editable", ROOT, requirement], check=True, timeout=900)
    return folder
