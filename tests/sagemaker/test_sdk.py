"""Requirement 16: adapters to version 3 of the SageMaker SDK, against the real one in an environment of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sagemaker_requests as requested
from sagemaker_requests import GUARDED, PLATFORM

from synth_components.errors import DataError, UnsupportedError
from synth_sagemaker import sdk
from synth_sagemaker.pipeline import Options, pipeline

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


@pytest.mark.parametrize(
    ("adapter", "build", "operation", "override", "lost"),
    [
        (
            sdk.as_model_trainer,
            requested.training,
            "CreateTrainingJob",
            {"RetryStrategy": {"MaximumRetryAttempts": 2}},
            "RetryStrategy",
        ),
        (
            sdk.as_model_trainer,
            requested.training,
            "CreateTrainingJob",
            {"AlgorithmSpecification": {"EnableSageMakerMetricsTimeSeries": True}},
            r"AlgorithmSpecification\.EnableSageMakerMetricsTimeSeries",
        ),
        (
            sdk.as_processor,
            requested.processing,
            "CreateProcessingJob",
            {"ExperimentConfig": {"ExperimentName": "synth"}},
            "ExperimentConfig",
        ),
    ],
)
def test_16_what_the_object_of_the_sdk_would_lose_is_refused(monkeypatch, adapter, build, operation, override, lost):
    monkeypatch.setattr(sdk, "find_spec", lambda name: name)
    with pytest.raises(UnsupportedError, match=f"would lose {lost}; send the request itself"):
        adapter(build(overrides={operation: override}), session=None)


@pytest.mark.parametrize("platform", [PLATFORM, GUARDED], ids=["plain", "guarded"])
def test_16_no_request_of_ours_has_a_member_that_would_be_lost(platform):
    assert list(sdk._others(requested.training(platform), sdk._TRAINING)) == []
    for build in (requested.processing, requested.evaluation):
        assert list(sdk._others(build(platform), sdk._PROCESSING)) == []
    known = {"Training": sdk._TRAINING, "Processing": sdk._PROCESSING}
    for step in pipeline(platform, Options())["Steps"]:
        if step["Type"] in known:
            assert list(sdk._others(step["Arguments"], known[step["Type"]])) == []


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
    # uv leaves its locks where temporary files go.
    (locks := folder / "locks").mkdir()
    environ = {**os.environ, "TMPDIR": str(locks)}
    subprocess.run([*install, "--editable", ROOT, requirement], check=True, timeout=900, env=environ)
    return folder
