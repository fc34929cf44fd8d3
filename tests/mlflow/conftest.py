"""A tracking store for the session, a small table, and a model of it."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

import synth_components as synth

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """MLflow and what it imports warn on their own account; a warning of ours stays an error."""
    for item in items:
        if HERE in item.path.parents:
            for rule in ("ignore", r"error:::mlflow_flavor\.", r"error:::synth_components\."):
                item.add_marker(pytest.mark.filterwarnings(rule))


@pytest.fixture(scope="session")
def table():
    rng = np.random.default_rng(0)
    n = 600
    sex = rng.choice(["F", "M"], n)
    age = rng.integers(18, 90, n)
    return pd.DataFrame(
        {
            "age": age,
            "sex": sex,
            "income": np.round(20_000 + 400 * age + 5_000 * (sex == "M") + rng.normal(0, 4_000, n), 2),
            "score": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "joined": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, n), unit="D"),
            "active": rng.random(n) < 0.7,
        }
    )


@pytest.fixture(scope="session")
def model(table):
    return synth.fit(table, generator="tabular.gaussian_copula", seed=0)


@pytest.fixture(scope="session", autouse=True)
def store(tmp_path_factory):
    """One SQLite store a session: making its tables takes seconds."""
    root = tmp_path_factory.mktemp("store")
    mlflow.set_tracking_uri(f"sqlite:///{root}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("tests", artifact_location=(root / "a").as_uri()))
    return root


@pytest.fixture(autouse=True)
def no_leaked_run():
    yield
    assert mlflow.active_run() is None
