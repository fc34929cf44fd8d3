"""What the distribution holds and promises: the wheel, the extras, the lists of versions, the tracked files."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"synth_components", "mlflow_flavor", "synth_kubeflow", "synth_sagemaker"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Paths of one machine and hosts of one registry, which a clone elsewhere cannot reach.
LOCAL = re.compile(
    r"(?<![\w.$}])/(?:root|home/\w+|work/(?:main|shared)|opt/(?:wheels|pypi))\b|file:///\w|\bpypi\.org|\bpythonhosted\.org"
)
BINARY = {".gz", ".parquet", ".png", ".safetensors", ".h5", ".zip"}


def pins(name: str) -> dict[str, str]:
    """Return version by normalised name of a constraints file."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in pairs}


def names(requirements: list[str]) -> set[str]:
    """Return the names in ``requirements``, without versions and extras."""
    return {re.match(r"[\w.-]+", requirement).group().lower() for requirement in requirements}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="hatchling comes with the extra dev")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel):
    assert {name.partition("/")[0] for name in wheel if ".dist-info/" not in name} == PACKAGES


def test_each_package_in_the_wheel_is_typed(wheel):
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(wheel)


def test_the_wheel_holds_no_tests_and_no_byte_code(wheel):
    assert [name for name in wheel if "test_" in name or "__pycache__" in name] == []


def test_the_wheel_holds_the_licence(wheel):
    assert [name for name in wheel if name.endswith(".dist-info/licenses/LICENSE")]


def test_the_command_answers():
    done = subprocess.run(
        [sys.executable, "-m", "synth_components", "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_readme_names_the_extra(extra):
    assert f"| `{extra}` |" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_all_omits_the_restricted_licence_and_the_heavy_engine():
    (requirement,) = EXTRAS["all"]
    listed = set(re.search(r"\[(.*)\]", requirement).group(1).split(","))
    assert listed == set(EXTRAS) - {"all", "ctgan", "dev", "spark"}


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-pandas3.txt", "constraints-floor.txt"])
def test_the_constraints_pin_every_runtime_and_development_dependency(name):
    wanted = names(PROJECT["dependencies"]) | names(EXTRAS["dev"]) | names(EXTRAS["hdf5"])
    assert wanted - pins(name).keys() == set()


def test_the_constraints_pin_every_extra():
    wanted = {name for extra, listed in EXTRAS.items() if extra != "all" for name in names(listed)}
    assert wanted - pins("constraints.txt").keys() == set()


def test_the_three_lists_are_what_their_names_say():
    default, pandas3, floor = (pins(f"constraints{kind}.txt") for kind in ("", "-pandas3", "-floor"))
    assert (default["pandas"][:4], default["torch"]) == ("2.3.", "2.13.0")
    assert (pandas3["pandas"][:2], "ctgan" in pandas3) == ("3.", False)
    assert (floor["pandas"][:2], floor["mlflow"]) == ("2.", "3.10.0")


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_the_floor_list_installs_the_floor_of(requirement):
    name, floor = requirement.split(">=")
    assert pins("constraints-floor.txt")[name].startswith(floor)


def test_tracked_files_name_no_machine_and_no_registry():
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in done.stdout.split("\0") if name and Path(name).suffix not in BINARY]
    paths = [path for path in paths if path.is_file() and path != Path(__file__).resolve()]
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if LOCAL.search(line)
    ]
    assert found == []
