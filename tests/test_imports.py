"""What `import` loads: the core stays light, the adapters need no platform, the two folders stay namespaces."""

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ADAPTERS = {"mlflow_flavor": "mlflow", "synth_kubeflow": "kfp", "synth_sagemaker": "boto3"}
# Generators and noise may need one of these to be imported; everything else may not.
OPTIONAL = {"ctgan", "mbi", "opacus", "opendp", "torch"}
# Prints, by module named in its argument, the missing library that kept it from being imported.
IMPORT_EACH = """
import importlib, json, sys
needed = {}
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        needed[name] = error.name.partition(".")[0]
print(json.dumps(needed))
"""


def top_level_modules_after(statement: str, folder: Path) -> set[str]:
    """Return the roots of ``sys.modules``, without the standard library, after ``statement`` in a new process."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(list(sys.modules)))"
    # In an empty folder: `-c` puts the working directory first on the path, and an installed wheel is to be tested too.
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout)} - sys.stdlib_module_names


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """What importing the package loads."""
    return top_level_modules_after("import synth_components", tmp_path_factory.mktemp("empty"))


def test_importing_the_package_loads_numpy_pandas_pydantic_and_nothing_else(loaded, tmp_path):
    promised = top_level_modules_after("import numpy, pandas, pydantic", tmp_path)
    assert loaded - promised == {"synth_components"}


@pytest.mark.parametrize("name", ["torch", "mlflow", "kfp", "boto3", "matplotlib", "sklearn"])
def test_importing_the_package_does_not_load(name, loaded):
    assert name not in loaded


def test_the_recipe_of_the_default_generator_loads_neither_scipy_nor_scikit_learn(tmp_path):
    """Requests and the options of every platform follow from it, and fit nothing."""
    from synth_components.steps.train import TrainConfig

    module = f"synth_components.generators.{TrainConfig().generator}"
    assert not {"scipy", "sklearn"} & top_level_modules_after(f"import {module}", tmp_path)


def test_no_recipe_loads_scikit_learn(tmp_path):
    """Every specification of SageMaker's algorithms needs every recipe."""
    code = (
        "from contextlib import suppress\n"
        "from synth_components.errors import UnsupportedError\n"
        "from synth_components.generators import names, recipe_type\n"
        "for name in names():\n    with suppress(UnsupportedError):  # of a library that is not installed\n"
        "        recipe_type(name)"
    )
    assert "sklearn" not in top_level_modules_after(code, tmp_path)


def test_what_draws_rows_does_not_load_what_fits(tmp_path):
    code = "import json, sys, synth_components.model\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not {"synth_components.fitting", "synth_components.training_rows"} & set(json.loads(done.stdout))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_importing_an_adapter_does_not_load_its_platform(adapter, tmp_path):
    assert ADAPTERS[adapter] not in top_level_modules_after(f"import {adapter}", tmp_path)


def test_every_module_of_the_core_imports_without_extras(tmp_path):
    import synth_components

    found = pkgutil.walk_packages(synth_components.__path__, "synth_components.", onerror=lambda name: None)
    names = sorted(module.name for module in found if not module.name.endswith("__main__"))
    assert names
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, json.dumps(names)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    needed = json.loads(done.stdout)
    may_need_an_extra = ("synth_components.generators.", "synth_components.privacy.")
    assert [name for name, module in needed.items() if module not in OPTIONAL] == []
    assert [name for name in needed if not name.startswith(may_need_an_extra)] == []


@pytest.mark.parametrize("folder", ["kubeflow", "sagemaker"])
def test_the_folders_named_like_an_sdk_are_no_packages(folder):
    assert not (ROOT / folder / "__init__.py").exists()


def test_the_sagemaker_folder_shadows_nothing_of_the_sdk():
    # The SDK appends our folder to its own path: any package in it would appear as sagemaker.<name>.
    packages = {path.parent.name for path in (ROOT / "sagemaker").glob("*/__init__.py")}
    assert packages == {"synth_sagemaker"}


def test_the_kubeflow_folder_shadows_nothing_of_the_sdk():
    packages = {path.parent.name for path in (ROOT / "kubeflow").glob("*/__init__.py")}
    assert packages == {"synth_kubeflow"}


@pytest.mark.parametrize("folder", ["kubeflow", "sagemaker"])
def test_importing_the_folder_from_the_checkout_succeeds_without_the_sdk(folder):
    # Hence no test asks importorskip("sagemaker"): it would never skip.
    command = [sys.executable, "-c", f"import {folder}; print(list({folder}.__path__))"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert str(ROOT / folder) in done.stdout, done.stderr
