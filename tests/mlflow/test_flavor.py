"""Save and log: MLflow's own checklist for a flavor, and what ours promises beyond it."""

import ast
import inspect
import json
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import mlflow
import mlflow.catboost
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import pyfunc
from mlflow.exceptions import MlflowException
from mlflow.models import Model as MlflowModel
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec

import mlflow_flavor
import synth_components as synth
from mlflow_flavor import flavor
from mlflow_flavor._mlflow import conda_env_of, download_artifact, flavor_configuration
from mlflow_flavor.signature import synthetic_example
from synth_components.errors import ArtifactError, SchemaError
from synth_components.model import Model
from synth_components.schema import Numeric, Schema

HERE = Path(__file__).parent
MLFLOW = f"mlflow=={mlflow.__version__}"
MINE = ModelSignature(params=ParamSchema([ParamSpec("seed", "long", 3)]))


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """A saved model that no test changes."""
    path = tmp_path_factory.mktemp("saved") / "m"
    mlflow_flavor.save_model(model, path)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m"


def same_rows(one, other, n=20):
    pd.testing.assert_frame_equal(one.sample(n, seed=1), other.sample(n, seed=1))


def environment(path):
    """Return the requirements and the constraints of a saved model."""
    constraints = Path(path) / "constraints.txt"
    return (Path(path) / "requirements.txt").read_text().splitlines(), (
        constraints.read_text().splitlines() if constraints.exists() else []
    )


def pip_of(env):
    return next(part["pip"] for part in env["dependencies"] if isinstance(part, dict))


# The package ---------------------------------------------------------------------------------------------------------


def test_a_warning_of_ours_is_an_error_and_one_of_mlflow_is_not():
    for module in ("mlflow_flavor.flavor", "mlflow_flavor", "synth_components.model"):
        with pytest.raises(UserWarning, match="ours"):
            warnings.warn_explicit("ours", UserWarning, "file.py", 1, module=module)
    for module in ("mlflow", "mlflow.models", "pandas"):
        warnings.warn_explicit("theirs", UserWarning, "file.py", 1, module=module)


IMPORT = """
import json, sys, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import mlflow, mlflow.data
print(json.dumps({
    "warnings": [str(w.message) for w in caught if "mlflow_flavor" in str(w.message) or "synth" in str(w.message)],
    "has": hasattr(mlflow.data, "from_synthetic"),
    "modules": list(sys.modules),
}))
"""


def test_r01_importing_mlflow_is_quiet_and_light_and_registers_from_synthetic(tmp_path):
    done = subprocess.run([sys.executable, "-c", IMPORT], cwd=tmp_path, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["warnings"] == []
    assert "mlflow_flavor" not in done.stderr
    assert found["has"]
    assert not {"torch", "mlflow_flavor.flavor", "mlflow_flavor.evaluator", "synth_components"} & set(found["modules"])


def private_imports(file):
    """Yield what a file imports from MLflow that is private: an underscore in its path, or ``mlflow.utils``."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mlflow":
            for name in node.names:
                path = f"{node.module}.{name.name}"
                if "._" in path or path.startswith("mlflow.utils"):
                    yield path


def test_r02_private_names_of_mlflow_stand_in_one_file():
    files = sorted(Path(inspect.getfile(flavor)).parent.glob("*.py"))
    assert [file.name for file in files if list(private_imports(file))] == ["_mlflow.py"]


def test_r03_the_package_offers_exactly_these_names():
    assert dir(mlflow_flavor) == [
        "FLAVOR_NAME",
        "MODEL_TYPE",
        "autolog",
        "get_default_conda_env",
        "get_default_pip_requirements",
        "get_default_signature",
        "load_model",
        "log_model",
        "save_model",
    ]
    assert all(getattr(mlflow_flavor, name) is not None for name in dir(mlflow_flavor))
    with pytest.raises(AttributeError, match="it offers FLAVOR_NAME"):
        mlflow_flavor.save_modell  # noqa: B018


def test_r03_no_module_of_the_package_hides_a_name_that_it_offers():
    # In a fresh process: here, all names may have been asked for before the modules were imported.
    code = (
        "import importlib, pkgutil, mlflow_flavor\n"
        "for module in pkgutil.iter_modules(mlflow_flavor.__path__):\n"
        "    importlib.import_module(f'mlflow_flavor.{module.name}')\n"
        "print([n for n in dir(mlflow_flavor) if type(getattr(mlflow_flavor, n)).__name__ == 'module'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("function", ["log_model", "save_model"])
def test_r04_takes_every_argument_that_catboost_takes_with_its_default(function):
    theirs = dict(inspect.signature(getattr(mlflow.catboost, function)).parameters)
    ours = dict(inspect.signature(getattr(mlflow_flavor, function)).parameters)
    assert next(iter(ours)) == "synth_model"
    theirs.pop("cb_model")
    ours.pop("synth_model")
    if function == "save_model":
        theirs.pop("kwargs")  # for CatBoost's own save_model
    assert list(ours) == list(theirs)
    differing = {name for name in theirs if ours[name].default != theirs[name].default}
    assert differing == ({"model_type"} if function == "log_model" else set())
    assert [name for name in theirs if ours[name].kind != theirs[name].kind] == []


@pytest.mark.parametrize("function", ["log_model", "save_model"])
def test_each_argument_is_documented_in_mlflows_words(function):
    text = getattr(mlflow_flavor, function).__doc__
    assert "{{" not in text
    for name in inspect.signature(getattr(mlflow_flavor, function)).parameters:
        assert f"    {name}: " in text
    assert "Either a dictionary representation of a Conda environment" in text


# Native and pyfunc ---------------------------------------------------------------------------------------------------


def test_a_saved_model_loads_as_a_model_and_as_a_pyfunc_with_the_same_rows(model, saved):
    native = mlflow_flavor.load_model(saved)
    assert isinstance(native, Model)
    assert native.schema == model.schema
    assert native.manifest == model.manifest
    same_rows(native, model)
    loaded = pyfunc.load_model(str(saved))
    same_rows(loaded.get_raw_model(), model)
    pd.testing.assert_frame_equal(
        loaded.predict(pd.DataFrame(), params={"num_rows": 20, "seed": 1}), model.sample(20, seed=1)
    )


@pytest.mark.parametrize("with_run", [True, False])
def test_log_model_works_with_and_without_a_run(model, with_run):
    if with_run:
        with mlflow.start_run():
            info = mlflow_flavor.log_model(model, name="g")
    else:
        info = mlflow_flavor.log_model(model, name="g")
    assert (info.run_id is not None) == with_run
    assert info.model_uri == f"models:/{info.model_id}"
    same_rows(mlflow_flavor.load_model(info.model_uri), model)
    local = Path(download_artifact(info.model_uri))
    env = flavor_configuration(str(local), pyfunc.FLAVOR_NAME)[pyfunc.ENV]
    assert (local / env["conda"]).is_file()
    assert (local / env["virtualenv"]).is_file()


def test_a_logged_model_has_type_params_tags_and_the_metrics_of_its_step(model):
    with mlflow.start_run():
        mlflow.log_param("epochs", 3)
        mlflow.log_metric("loss", 0.7, step=1)
        mlflow.log_metric("loss", 0.5, step=2)
        info = mlflow_flavor.log_model(model, name="g", params={"a": 1}, tags={"t": 2}, step=2)
    logged = mlflow.get_logged_model(info.model_id)
    assert (logged.name, logged.model_type) == ("g", mlflow_flavor.MODEL_TYPE)
    assert {"a": "1", "epochs": "3"}.items() <= logged.params.items()
    assert logged.tags["t"] == "2"
    assert [(metric.key, metric.value, metric.step) for metric in logged.metrics] == [("loss", 0.5, 2)]


def test_a_model_is_logged_into_one_that_exists_already(model):
    made = mlflow.initialize_logged_model(name="g")
    info = mlflow_flavor.log_model(model, model_id=made.model_id)
    assert info.model_id == made.model_id
    same_rows(mlflow_flavor.load_model(f"models:/{made.model_id}"), model)


def test_r13_a_model_logged_into_one_that_exists_has_its_tags(model):
    made = mlflow.initialize_logged_model(name="g", tags={"kept": "1"})
    mlflow_flavor.log_model(model, model_id=made.model_id, tags={"t": 2})
    tags = mlflow.get_logged_model(made.model_id).tags
    assert tags["synth.generator"] == "tabular.gaussian_copula"
    assert tags["synth.rows"] == "600"
    assert (tags["kept"], tags["t"]) == ("1", "2")


def test_name_and_artifact_path_exclude_each_other(model):
    with pytest.raises(MlflowException, match="Both `artifact_path`"):
        mlflow_flavor.log_model(model, artifact_path="g", name="g")


def test_the_deprecated_artifact_path_still_works(model):
    same_rows(mlflow_flavor.load_model(mlflow_flavor.log_model(model, artifact_path="g").model_uri), model)


@pytest.mark.parametrize("registered", ["customers", None])
def test_a_model_is_registered_if_and_only_if_a_name_is_given(model, registered):
    with mock.patch("mlflow.tracking._model_registry.fluent._register_model") as register:
        info = mlflow_flavor.log_model(model, name="g", registered_model_name=registered)
    if registered is None:
        register.assert_not_called()
    else:
        assert register.call_args.args[:2] == (info.model_uri, registered)
        assert register.call_args.kwargs["await_registration_for"] == 300


def test_the_returned_info_equals_the_one_read_again(model):
    info = mlflow_flavor.log_model(model, name="g", metadata={"k": "v"}, input_example=synthetic_example(model))
    again = mlflow.models.get_model_info(info.model_uri)
    for field in ("model_uuid", "run_id", "signature", "flavors", "metadata", "saved_input_example_info"):
        assert getattr(again, field) == getattr(info, field), field


def test_what_model_log_takes_beyond_the_named_arguments_is_passed_on(model):
    with mlflow.start_run() as run:
        pass
    assert mlflow_flavor.log_model(model, name="g", run_id=run.info.run_id).run_id == run.info.run_id


@pytest.mark.parametrize("with_example", [False, True])
@pytest.mark.parametrize("signature", [None, False, MINE])
def test_signature_and_example_do_not_disturb_each_other(model, path, signature, with_example):
    example = synthetic_example(model) if with_example else None
    mlflow_flavor.save_model(model, path, signature=signature, input_example=example)
    read = MlflowModel.load(path)
    expected = mlflow_flavor.get_default_signature(model) if signature is None else signature or None
    assert read.signature == expected
    assert (read.saved_input_example_info is not None) == with_example


def test_the_size_of_the_model_is_recorded(saved):
    read = MlflowModel.load(saved)
    assert read.model_size_bytes >= sum(file.stat().st_size for file in (saved / "model").rglob("*.*"))


def test_dst_path_holds_the_downloaded_model(model, saved, tmp_path):
    (tmp_path / "dst").mkdir()
    same_rows(mlflow_flavor.load_model(saved.as_uri(), dst_path=tmp_path / "dst"), model)


def test_extra_files_are_kept_beside_the_model(model, path, tmp_path):
    card = tmp_path / "card.md"
    card.write_text("card")
    mlflow_flavor.save_model(model, path, extra_files=[str(card)])
    conf = flavor_configuration(str(path), mlflow_flavor.FLAVOR_NAME)
    assert conf["extra_files"] == [{"path": "extra_files/card.md"}]
    assert (path / "extra_files" / "card.md").read_text() == "card"
    same_rows(mlflow_flavor.load_model(path), model)


# Format --------------------------------------------------------------------------------------------------------------


def test_r05_a_model_is_json_and_safetensors_and_the_files_of_mlflow(saved):
    files = {file.relative_to(saved).as_posix() for file in saved.rglob("*") if file.is_file()}
    assert {name for name in files if not name.startswith("model/")} == {
        "MLmodel",
        "conda.yaml",
        "python_env.yaml",
        "requirements.txt",
    }
    assert {Path(name).suffix for name in files if name.startswith("model/")} == {".json", ".safetensors"}


def test_r06_the_flavor_records_versions_and_generator_and_binds_the_manifest(model, saved):
    conf = flavor_configuration(str(saved), mlflow_flavor.FLAVOR_NAME)
    manifest = json.loads((saved / "model" / "manifest.json").read_text())
    assert conf.pop("manifest_sha256") == flavor._sha256(saved / "model" / "manifest.json")
    assert conf == {
        "synth_components_version": manifest["library_version"],
        "model_type": "Model",
        "generator": "tabular.gaussian_copula",
        "format_version": manifest["format_version"],
        "data": "model",
        "code": None,
    }
    assert set(manifest["files"]) == {
        file.relative_to(saved / "model").as_posix()
        for file in (saved / "model").rglob("*.*")
        if file.name != "manifest.json"
    }


@pytest.mark.parametrize("fixture", sorted((HERE / "fixtures").glob("format_*")), ids=lambda path: path.name)
def test_r06_a_model_of_every_released_format_still_loads(fixture):
    model = mlflow_flavor.load_model(fixture)
    rows = model.sample(50, seed=0)
    assert list(rows) == ["age", "sex", "income", "score", "joined", "active"]
    assert rows["sex"].isin(["F", "M"]).all()
    assert rows["age"].between(18, 90).all()
    pd.testing.assert_frame_equal(
        pyfunc.load_model(str(fixture)).predict(pd.DataFrame(), {"num_rows": 50, "seed": 0}), rows
    )


def test_r06_every_released_format_has_its_fixture():
    from synth_components.io.artifact import FORMAT_VERSION

    found = {path.name for path in (HERE / "fixtures").iterdir()}
    assert found == {f"format_{version}" for version in range(1, FORMAT_VERSION + 1)}


# Environments --------------------------------------------------------------------------------------------------------


def test_the_default_requirements_pin_this_library_and_what_it_needs():
    names = [line.partition("==")[0].lower() for line in mlflow_flavor.get_default_pip_requirements()]
    assert names[0] == "synth-components"
    assert {"numpy", "pandas", "pyarrow", "safetensors", "scipy", "scikit-learn", "pydantic", "faker"} <= set(names)
    assert not {"mlflow", "torch", "pytest", "boto3", "ctgan"} & set(names)
    assert all("==" in line and "+" not in line for line in mlflow_flavor.get_default_pip_requirements())


def test_the_default_environment_is_written(saved):
    wanted = [MLFLOW, *mlflow_flavor.get_default_pip_requirements()]
    assert sorted(environment(saved)[0]) == sorted(wanted)
    assert sorted(pip_of(yaml.safe_load((saved / "conda.yaml").read_text()))) == sorted(wanted)
    assert sorted(pip_of(mlflow_flavor.get_default_conda_env())) == sorted(wanted)


def test_a_conda_environment_is_taken_from_a_file(model, path, tmp_path):
    file = tmp_path / "env.yml"
    conda_env_of(str(file), additional_pip_deps=["safetensors", "pytest"])
    mlflow_flavor.save_model(model, path, conda_env=str(file))
    assert yaml.safe_load((path / "conda.yaml").read_text()) == yaml.safe_load(file.read_text())
    assert environment(path)[0] == pip_of(yaml.safe_load(file.read_text()))


def test_a_conda_environment_is_taken_from_a_map(model, path):
    env = mlflow_flavor.get_default_conda_env()
    env["dependencies"].insert(0, "pytest")
    mlflow_flavor.save_model(model, path, conda_env=env)
    assert yaml.safe_load((path / "conda.yaml").read_text()) == env


def test_conda_environment_and_requirements_exclude_each_other(model, path):
    env = mlflow_flavor.get_default_conda_env()
    with pytest.raises(ValueError, match="Only one of"):
        mlflow_flavor.save_model(model, path, conda_env=env, pip_requirements=["a"])
    assert not path.exists()


DEFAULT = mlflow_flavor.get_default_pip_requirements()


@pytest.mark.parametrize(
    ("argument", "given", "requirements", "constraints"),
    [
        ("pip_requirements", "{file}", ["a"], []),
        ("pip_requirements", ["-r {file}", "b"], ["a", "b"], []),
        ("pip_requirements", ["-c {file}", "b"], ["b", "-c constraints.txt"], ["a"]),
        ("extra_pip_requirements", "{file}", [*DEFAULT, "a"], []),
        ("extra_pip_requirements", ["-r {file}", "b"], [*DEFAULT, "a", "b"], []),
        ("extra_pip_requirements", ["-c {file}", "b"], [*DEFAULT, "b", "-c constraints.txt"], ["a"]),
    ],
)
def test_requirements_and_extra_requirements(model, path, tmp_path, argument, given, requirements, constraints):
    file = tmp_path / "r.txt"
    file.write_text("a")
    value = given.format(file=file) if isinstance(given, str) else [line.format(file=file) for line in given]
    mlflow_flavor.save_model(model, path, **{argument: value})
    got, held = environment(path)
    assert got[0] == MLFLOW
    assert sorted(got) == sorted([MLFLOW, *requirements])
    assert held == constraints


@pytest.mark.parametrize(
    "extra",
    [
        ["/x/mlflow_flavor-1.whl"],
        ["/y/mlflow/dist/other-1.0-py3-none-any.whl"],
        ["https://example.org/mlflow/other-1.0.tar.gz"],
        ["pandas"],
        [],
    ],
)
def test_r07_mlflow_and_ourselves_are_pinned_whatever_else_is_asked(model, path, extra):
    mlflow_flavor.save_model(model, path, extra_pip_requirements=extra)
    lines = environment(path)[0]
    assert MLFLOW in lines
    assert mlflow_flavor.get_default_pip_requirements()[0] in lines
    assert pip_of(yaml.safe_load((path / "conda.yaml").read_text())) == lines


def test_r07_a_version_of_mlflow_that_the_user_asks_for_is_kept(model, path):
    mlflow_flavor.save_model(model, path, extra_pip_requirements=["mlflow>=3.10,<4"])
    named = [line for line in environment(path)[0] if line.startswith("mlflow")]
    assert len(named) == 1
    assert ">=3.10" in named[0]


def test_r08_nothing_is_inferred_for_a_generator_of_ours(model, path):
    with mock.patch("mlflow_flavor.flavor.infer_pip_requirements", side_effect=AssertionError):
        mlflow_flavor.save_model(model, path)


# What is written -----------------------------------------------------------------------------------------------------


def test_metadata_is_kept_on_save_and_on_log(model, path):
    mlflow_flavor.save_model(model, path, metadata={"k": "v"})
    assert pyfunc.load_model(str(path)).metadata.metadata["k"] == "v"
    assert mlflow_flavor.log_model(model, name="g", metadata={"k": "v"}).metadata["k"] == "v"


def test_r11_metadata_becomes_plain(model, path):
    given = {
        "float": np.float64(0.5),
        "int": np.int64(3),
        "flag": np.bool_(True),
        "array": np.arange(2),
        "tuple": (1, np.float32(2)),
        "path": Path("a/b"),
        "when": pd.Timestamp("2024-05-06"),
        "none": None,
        "nested": {1: {"x": np.str_("y")}},
    }
    mlflow_flavor.save_model(model, path, metadata=given)
    held = MlflowModel.load(path).metadata
    assert {name: held[name] for name in given} == {
        "float": 0.5,
        "int": 3,
        "flag": True,
        "array": [0, 1],
        "tuple": [1, 2.0],
        "path": "a/b",
        "when": "2024-05-06T00:00:00",
        "none": None,
        "nested": {"1": {"x": "y"}},
    }


def test_r11_metadata_that_cannot_be_plain_is_refused_by_its_place(model, path):
    with pytest.raises(MlflowException, match=r"metadata\['a'\]\['b'\] holds a object"):
        mlflow_flavor.save_model(model, path, metadata={"a": {"b": object()}})
    assert not path.exists()


@pytest.mark.parametrize("name", ["", "  ", 3])
def test_r11_a_column_without_a_name_is_refused_before_anything_is_written(model, path, name):
    nameless = Model(model.sampler, Schema({"table": {name: Numeric()}}), model.ledger, model.manifest)
    with pytest.raises(MlflowException, match="name every column"):
        mlflow_flavor.save_model(nameless, path)
    assert not path.exists()


@pytest.mark.parametrize("names", [["a", "a"], ["a", ""], ["a", 1]])
def test_r11_such_columns_are_refused_at_the_fit_too(names):
    table = pd.DataFrame(np.zeros((20, 2)), columns=names)
    with pytest.raises(SchemaError):
        synth.fit(table, generator="tabular.independent", seed=0)


class Failing:
    """A sampler that breaks while it is saved, with a file half-written."""

    def __init__(self, error):
        self.error = error

    def save(self, directory):
        (directory / "half.json").write_text("{")
        raise self.error


def failing(model, error):
    """Return a model whose files cannot be written, as of one on a full disk: its fingerprint is known."""
    made = Model(Failing(error), model.schema, model.ledger, model.manifest)
    vars(made)["fingerprint"] = model.fingerprint
    return made


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_r12_a_failed_save_leaves_nothing(model, tmp_path, error):
    with pytest.raises(type(error)):
        mlflow_flavor.save_model(failing(model, error), tmp_path / "new" / "deep" / "m")
    assert list(tmp_path.iterdir()) == []


def test_r12_a_failed_save_leaves_an_empty_folder_empty(model, tmp_path):
    with pytest.raises(OSError, match="disk full"):
        mlflow_flavor.save_model(failing(model, OSError("disk full")), tmp_path)
    assert tmp_path.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_r12_a_failure_after_the_model_is_written_leaves_nothing_either(model, path):
    with pytest.raises(TypeError, match="conda env"):
        mlflow_flavor.save_model(model, path, conda_env=3)
    assert not path.exists()


def test_r12_a_folder_that_holds_something_is_refused_and_left_alone(model, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(MlflowException, match="not empty"):
        mlflow_flavor.save_model(model, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_r12_a_failed_log_leaves_no_artifact(model):
    with mlflow.start_run(), pytest.raises(OSError, match="disk full"):
        mlflow_flavor.log_model(failing(model, OSError("disk full")), name="broken")
    logged = mlflow.search_logged_models(filter_string="name = 'broken'", output_format="list")
    assert [str(found.status) for found in logged] == ["FAILED"]
    assert all(not list(Path(found.artifact_location.removeprefix("file://")).rglob("*")) for found in logged)


# Refusals ------------------------------------------------------------------------------------------------------------


def test_a_model_of_another_flavor_is_refused_with_what_it_is(tmp_path):
    (tmp_path / "MLmodel").write_text("flavors: {sklearn: {}}\n")
    with pytest.raises(ArtifactError, match=r"no flavor 'synthetic', but \['sklearn'\]"):
        mlflow_flavor.load_model(tmp_path)
