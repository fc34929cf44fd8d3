"""Settings of the whole suite: shared data, deterministic property tests, a floor on the number of tests."""

import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# A whole run that collects fewer has lost some (a folder renamed, a module skipped).  Raise it as the suite grows.
MIN_COLLECTED = 5500

# The same examples on every run, and no deadline: the cores are shared.
settings.register_profile(
    "deterministic", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("deterministic")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fail a run of the whole suite that finds too few tests, counted before any is deselected."""
    is_whole_suite = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.ignore
    if is_whole_suite and len(items) < MIN_COLLECTED:
        message = f"collected {len(items)} tests, fewer than the {MIN_COLLECTED} that tests/conftest.py expects"
        raise pytest.UsageError(message)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the benchmark tables: one folder for each, outside the repository."""
    shared = Path(os.environ.get("SYNTH_SHARED", ROOT.parent / "shared"))
    folder = shared / "data" / "tabular"
    if not folder.is_dir():
        pytest.skip("no benchmark tables: ../shared/data/tabular is absent and SYNTH_SHARED names no other folder")
    return folder


@pytest.fixture(scope="session")
def docker_image():
    """A function that returns the name of an image of ours by its suffix: "", "-sagemaker", "-torch" or both.

    Skips a test where no Docker daemon answers or none has the image; where REQUIRE_DOCKER is set, as in CI, the test
    fails.  Mark each test that uses it `docker`.
    """

    def found(suffix: str = "") -> str:
        name = f"synth-components:{version('synth-components')}{suffix}"
        asked = ["docker", "image", "inspect", name]
        if shutil.which("docker") and subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return name
        reason = f"no Docker daemon here has {name}; containers/build.sh makes it"
        if os.environ.get("REQUIRE_DOCKER"):
            pytest.fail(reason)
        pytest.skip(reason)

    return found
