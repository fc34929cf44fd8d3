"""Settings of the whole suite: shared data, deterministic property tests, a floor on the number of tests."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# A whole run that collects fewer has lost some (a folder renamed, a module skipped).  Raise it as the suite grows.
MIN_COLLECTED = 4000

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
