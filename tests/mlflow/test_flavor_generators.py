"""Every generator, ours and others', without a line of the flavor that knows one."""

import ast
import inspect
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import mlflow
import pandas as pd
import pytest
from cases import CASES, LIBRARIES
from mlflow import pyfunc
from mlflow.exceptions import MlflowException

import mlflow_flavor
import synth_components as synth
from mlflow_flavor import flavor
from mlflow_flavor._mlflow import flavor_configuration
from synth_components.errors import ArtifactError, GuardError
from synth_components.generators import GROUP
from synth_components.schema import TABLE, Schema
from synth_components.testing import Case, yield_checks

OUTSIDE = Path(__file__).parent / "outside"
OUTSIDER = OUTSIDE / "outsider.py"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Each test imports the outside generator anew, and MLflow leaves nothing on the path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("outsider", None)


@pytest.fixture
def outside(table, monkeypatch):
    """A model of the outside generator, whose module only this process can find."""
    monkeypatch.syspath_prepend(OUTSIDE)
    return synth.fit(table, generator="outsider", trust=("outsider",), seed=0)


@pytest.fixture
def installed(table, tmp_path, monkeypatch):
    """A model of the same generator, which an installed package declares."""
    site = tmp_path / "site"
    info = site / "outsider-1.2.dist-info"
    info.mkdir(parents=True)
    shutil.copy(OUTSIDER, site)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outsider\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nacme.outsider = outsider\n")
    (info / "top_level.txt").write_text("outsider\n")
    (info / "RECORD").write_text("outsider.py,,\n")
    monkeypatch.syspath_prepend(site)
    return synth.fit(table, generator="acme.outsider", seed=0)


def requirements(path):
    return (path / "requirements.txt").read_text().splitlines()


def test_the_flavor_names_no_generator():
    known = [name.rpartition(".")[2] for name in synth.generators()]
    for file in Path(inspect.getfile(flavor)).parent.glob("*.py"):
        texts = [node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
        code = [text for text in texts if isinstance(text, str) and "\n" not in text]
        assert [text for text in code if any(name == text.rpartition(".")[2] for name in known)] == [], file.name


PRIVATE = {case.name for case in CASES if case.private and not case.dual}


def fitted(table, generator):
    """Return a model, private where its generator is; whatever is refused is a failure, but for a missing library."""
    if (library := LIBRARIES.get(generator)) and find_spec(library) is None:
        pytest.skip(f"it needs {library}, an extra that is not installed")
    if generator not in PRIVATE:
        return synth.fit(table, generator=generator, seed=0)
    columns = synth.profile(table).schema.columns
    declared = Schema({TABLE: {name: replace(column, public=True) for name, column in columns.items()}})
    return synth.fit(table, generator=generator, epsilon=1.0, schema=declared, options={"iterations": 20})


KEEPS_ROWS = "tabular.smote"


def test_a_model_that_holds_rows_is_neither_saved_nor_logged_nor_registered(table, tmp_path):
    model = synth.fit(table, generator=KEEPS_ROWS, seed=0, options={"keep_rows": True})
    with pytest.raises(GuardError, match="fit another generator"):
        mlflow_flavor.save_model(model, tmp_path / "m")
    assert not (tmp_path / "m").exists()
    before = len(mlflow.search_logged_models(output_format="list"))
    with pytest.raises(GuardError, match="holds training rows"):
        mlflow_flavor.log_model(model, name="g", registered_model_name="holding")
    assert len(mlflow.search_logged_models(output_format="list")) == before
    assert mlflow.MlflowClient().search_model_versions("name = 'holding'") == []


@pytest.mark.parametrize("generator", sorted({*synth.generators()} - {KEEPS_ROWS}))
def test_every_generator_is_logged_and_loaded_with_the_same_rows(table, generator):
    model = fitted(table, generator)
    uri = mlflow_flavor.log_model(model, name="g").model_uri
    wanted = model.sample(20, seed=1)
    loaded = mlflow_flavor.load_model(uri)
    pd.testing.assert_frame_equal(loaded.sample(20, seed=1), wanted)
    assert loaded.privacy == model.privacy
    served = pyfunc.load_model(uri).predict(pd.DataFrame(), params={"num_rows": 20, "seed": 1})
    pd.testing.assert_frame_equal(served, wanted)


def test_the_outside_generator_passes_the_conformance_suite(monkeypatch):
    monkeypatch.syspath_prepend(OUTSIDE)
    import outsider

    case = Case(
        "outsider", outsider.Outsider(), skip={"check_beats_independent_on_pairs": "its columns are independent"}
    )
    for check in yield_checks(case):
        check()


def test_an_outside_generator_needs_its_code_or_its_package(outside, tmp_path):
    with pytest.raises(MlflowException, match=r"no installed package declares the generator 'outsider'.* code_paths"):
        mlflow_flavor.save_model(outside, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_code_paths_that_lack_the_module_do_not_help(outside, tmp_path):
    with pytest.raises(MlflowException, match="code_paths"):
        mlflow_flavor.save_model(outside, tmp_path / "m", code_paths=[__file__])


LOAD = """
import sys, mlflow_flavor, pandas as pd
from mlflow import pyfunc
path, native = sys.argv[1:]
if native == "native":
    rows = mlflow_flavor.load_model(path, trust=("outsider",)).sample(20, seed=1)
else:
    rows = pyfunc.load_model(path).predict(pd.DataFrame(), params={"num_rows": 20, "seed": 1})
rows.to_parquet(path + "/../rows.parquet")
"""


@pytest.mark.parametrize("loader", ["native", "pyfunc"])
def test_r08_an_outside_generator_travels_in_code_paths_to_a_fresh_process(outside, tmp_path, loader):
    path = tmp_path / "m"
    mlflow_flavor.save_model(outside, path, code_paths=[str(OUTSIDER)], pip_requirements=["a"])
    assert (path / "code" / "outsider.py").read_bytes() == OUTSIDER.read_bytes()
    for name in (pyfunc.FLAVOR_NAME, mlflow_flavor.FLAVOR_NAME):
        assert flavor_configuration(str(path), name)["code"] == "code"
    subprocess.run([sys.executable, "-c", LOAD, str(path), loader], cwd=tmp_path, check=True, capture_output=True)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "rows.parquet"), outside.sample(20, seed=1))


def test_r08_requirements_of_an_outside_generator_are_inferred_without_falling_back(outside, tmp_path):
    from importlib.metadata import version

    with mock.patch("mlflow.utils.environment._logger.warning") as warned:
        mlflow_flavor.save_model(outside, tmp_path / "m", code_paths=[str(OUTSIDER)])
    assert not [call for call in warned.call_args_list if "infer" in str(call)]
    lines = requirements(tmp_path / "m")
    assert f"hypothesis=={version('hypothesis')}" in lines
    assert {f"mlflow=={mlflow.__version__}", *mlflow_flavor.get_default_pip_requirements()} <= set(lines)


def test_r08_an_inference_that_fails_fails_the_save(outside, tmp_path):
    broken = tmp_path / "outsider.py"
    broken.write_text("raise RuntimeError('broken')\n")
    with pytest.raises(MlflowException, match="broken"):
        mlflow_flavor.save_model(outside, tmp_path / "m", code_paths=[str(broken)])
    assert not (tmp_path / "m").exists()


def test_r08_an_installed_generator_needs_no_trust_and_is_required(installed, tmp_path):
    path = tmp_path / "m"
    mlflow_flavor.save_model(installed, path)
    assert "outsider==1.2" in requirements(path)
    wanted = installed.sample(20, seed=1)
    pd.testing.assert_frame_equal(mlflow_flavor.load_model(path).sample(20, seed=1), wanted)
    served = pyfunc.load_model(str(path)).predict(pd.DataFrame(), params={"num_rows": 20, "seed": 1})
    pd.testing.assert_frame_equal(served, wanted)


def test_a_generator_of_ours_requires_what_it_imports_of_our_extras(tmp_path):
    from importlib.metadata import version

    # hypothesis stands in an extra of ours, as torch does.
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "newcomer.py").write_text("import math\n\ndef fit():\n    from hypothesis import given\n")
    (tmp_path / "ours" / "friend.py").write_text("from ours import newcomer\n")
    for name in ("newcomer", "friend"):
        assert flavor._optional_requirements(f"ours.{name}", tmp_path) == (f"hypothesis=={version('hypothesis')}",)


def test_a_library_of_an_extra_that_is_not_installed_is_not_required(tmp_path):
    (tmp_path / "newcomer.py").write_text("import absent\n")
    with mock.patch("mlflow_flavor.flavor.requires", return_value=["absent>=1; extra == 'x'"]):
        assert flavor._optional_requirements("newcomer", tmp_path) == ()


@pytest.mark.parametrize("generator", ["independent", "gaussian_copula", "trees"])
def test_a_generator_that_needs_no_extra_requires_the_default_only(generator):
    root = Path(inspect.getfile(synth)).parents[1]
    name = f"synth_components.generators.tabular.{generator}"
    assert len(list(flavor._imports(name, root, set()))) > 20
    assert flavor._optional_requirements(name, root) == ()


def test_the_native_loader_runs_no_code_of_the_model_unless_it_is_trusted(outside, tmp_path):
    path = tmp_path / "m"
    mlflow_flavor.save_model(outside, path, code_paths=[str(OUTSIDER)], pip_requirements=["a"])
    sys.modules.pop("outsider")
    sys.path.remove(str(OUTSIDE))
    before = list(sys.path)
    with pytest.raises(ArtifactError, match=r"generator 'outsider', which is not installed here.*`trust`"):
        mlflow_flavor.load_model(path)
    assert sys.path == before
    assert "outsider" not in sys.modules
    mlflow_flavor.load_model(path, trust=("outsider",))
    assert str(path / "code") in sys.path


def test_code_beside_a_generator_of_ours_is_not_put_on_the_path(model, tmp_path):
    path = tmp_path / "m"
    mlflow_flavor.save_model(model, path, code_paths=[__file__])
    before = list(sys.path)
    mlflow_flavor.load_model(path)
    assert sys.path == before
