"""What the Dockerfiles and lists of packages promise, read off them; requirement 14 of Kubeflow's part."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "containers"
DOCKERFILES = ["core.Dockerfile", "torch.Dockerfile"]
LOCKS = ["core.lock", "torch.lock", "sbom.lock"]
LOCKED = re.compile(r"([\w.-]+)==([\w.+]+) --hash=sha256:[0-9a-f]{64}")


def instructions(name):
    """Return the instructions of a Dockerfile, one a line, without comments."""
    text = (FOLDER / name).read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def normalised(package):
    return re.sub(r"[-_.]+", "-", package).lower()


def locked(name):
    """Return version by package of a list; a line that is no pin with its hash fails."""
    lines = [line for line in (FOLDER / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    matches = [LOCKED.fullmatch(line) for line in lines]
    assert all(matches), [line for line, match in zip(lines, matches, strict=True) if not match]
    return {normalised(match[1]): match[2] for match in matches}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_requirement_14_a_dockerfile_is_for_the_legacy_builder_and_buildkit_alike(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert not re.search(r"^# *syntax *=", text, re.MULTILINE)
    for line in instructions(name):
        assert not re.search(r"--mount\b|--chmod\b|<<", line), line


@pytest.mark.parametrize("name", DOCKERFILES)
def test_requirement_14_a_dockerfile_has_no_entry_point_and_ends_as_nobody(name):
    lines = instructions(name)
    assert not [line for line in lines if line.startswith("ENTRYPOINT")]
    assert [line for line in lines if line.startswith("CMD")] == ['CMD ["train"]']
    assert lines[-1] == "USER 65532:65532"
    assert lines[-2] == "FROM labelled AS kfp"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_requirement_14_the_settings_of_pip_are_empty_arguments(name):
    lines = instructions(name)
    for setting in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST"):
        assert f"ARG {setting}" in lines
    assert lines[0] in {"ARG BASE_IMAGE=python:3.11-slim", "ARG PACKAGES_IMAGE"}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_requirement_14_every_package_from_elsewhere_is_checked_by_its_hash(name):
    for line in instructions(name):
        for command in re.findall(r"pip install ([^&]*)", line):
            assert "--require-hashes" in command or command.startswith("--no-deps dist/"), command


@pytest.mark.parametrize("name", LOCKS)
def test_requirement_14_a_list_pins_every_package_with_a_hash(name):
    assert len(locked(name)) >= 5


@pytest.mark.parametrize("name", ["core.lock", "torch.lock"])
def test_requirement_14_what_an_image_installs_is_what_the_constraints_pin(name):
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if "==" in line]
    pinned = {normalised(package): version for package, version in pairs}
    for package, version in locked(name).items():
        # the public part: the list names the build for CPUs, the constraints any
        assert pinned.get(package, version) == version.partition("+")[0], package


def test_requirement_3_no_list_has_kfp_and_that_of_torch_has_the_build_for_cpus():
    assert not {"kfp", "kfp-kubernetes"} & (locked("core.lock").keys() | locked("torch.lock").keys())
    assert locked("torch.lock")["torch"].endswith("+cpu")
    assert not [package for package in locked("torch.lock") if package.startswith("nvidia")]


@pytest.mark.parametrize("name", ["train", "serve"])
def test_the_command_of_sagemaker_hands_over_to_ours_so_that_signals_reach_it(name):
    path = FOLDER / "bin" / name
    assert path.stat().st_mode & 0o111 == 0o111
    assert path.read_text(encoding="utf-8").splitlines()[-1] == f'exec synth sagemaker {name} "$@"'
