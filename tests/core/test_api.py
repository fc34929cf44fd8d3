"""The names of ``import synth_components as synth``."""

import inspect
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.errors import DataError

NAMES = {
    "Model",
    "Report",
    "Schema",
    "augment",
    "errors",
    "evaluate",
    "fit",
    "generators",
    "load",
    "preserve",
    "profile",
    "specify",
}


def toy_table(n=120):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"x": rng.normal(size=n).round(2), "city": rng.choice(["A", "B"], n), "n": rng.integers(0, 5, n)}
    )


def python(code):
    """Run code in a fresh process and return what it prints."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_public_names_are_these():
    assert set(synth.__all__) == set(dir(synth)) == NAMES


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known_ones():
    with pytest.raises(AttributeError, match="augment, errors, evaluate"):
        _ = synth.train


def test_generators_lists_names():
    assert "tabular.independent" in synth.generators()


def test_a_name_shared_with_a_module_can_be_called_whoever_imports_the_module_first():
    assert (
        python(
            "import synth_components as synth, synth_components.generators, synth_components.profile\n"
            "from synth_components.generators.tabular import independent\n"
            "from synth_components import generators\n"
            "import synth_components.generators.tabular.independent as again\n"
            "assert again is independent and generators.names is synth_components.generators.names\n"
            "print('tabular.independent' in synth.generators(), callable(synth.profile))"
        )
        == "True True"
    )


def test_a_callable_module_shows_the_signature_of_its_function():
    from synth_components.profile import profile

    assert inspect.signature(synth.profile) == inspect.signature(profile)


def test_profile_reads_a_schema_off_a_table():
    assert list(synth.profile(toy_table()).schema.columns) == ["x", "city", "n"]


def test_the_tour_from_fit_to_load(tmp_path):
    table = toy_table()
    model = synth.fit(table, generator="tabular.independent", seed=1)
    rows = model.sample(30, seed=2)
    assert rows.dtypes.equals(table.dtypes)
    model.save(tmp_path / "model")
    loaded = synth.load(tmp_path / "model")
    assert isinstance(loaded, synth.Model)
    pd.testing.assert_frame_equal(loaded.sample(30, seed=2), rows)


def test_evaluate_without_synthetic_rows_says_what_is_missing():
    with pytest.raises(DataError, match="synthetic="):
        synth.evaluate(toy_table())


@pytest.mark.slow
def test_evaluate_gives_a_report():
    table = toy_table(300)
    report = synth.evaluate(table, synthetic=table.sample(300, replace=True, random_state=0), target="city")
    assert isinstance(report, synth.Report)
