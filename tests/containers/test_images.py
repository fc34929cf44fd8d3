"""The images as `containers/build.sh` made them; requirements 3, 14 and 15 of Kubeflow's part."""

import json
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = ["", "-sagemaker", "-torch", "-torch-sagemaker"]
MEASURED = {"": 879e6, "-torch": 1519e6}
"""Bytes of an image on the base of containers/base.sh, as `docker image inspect` tells them; both targets alike."""

pytestmark = pytest.mark.docker


def inside(image, *command, user=()):
    """Return what a command prints in a container without network, with a read-only root."""
    said = ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", *user, image, *command]
    return subprocess.run(said, capture_output=True, text=True, check=False)


def config(image):
    shown = subprocess.run(["docker", "image", "inspect", image], capture_output=True, text=True, check=True)
    return json.loads(shown.stdout)[0]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_requirement_14_the_image_answers_without_network_on_a_read_only_root(docker_image, suffix):
    done = inside(docker_image(suffix), "synth", "--version")
    assert done.stdout.split()[-1] == version("synth-components")
    assert done.stderr == ""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_requirement_14_the_image_has_no_entry_point_and_trains_by_default(docker_image, suffix):
    said = config(docker_image(suffix))["Config"]
    assert not said["Entrypoint"]
    assert said["Cmd"] == ["train"]
    assert said["User"] in ({"", "0:0"} if suffix.endswith("sagemaker") else {"65532:65532"})


@pytest.mark.parametrize("suffix", ["", "-torch"])
def test_requirement_14_any_user_may_run_it(docker_image, suffix):
    done = inside(docker_image(suffix), "synth", "generators", user=("--user", "12345:54321"))
    assert done.returncode == 0, done.stderr
    assert "tabular.trees" in done.stdout


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_requirement_14_train_and_serve_of_sagemaker_are_on_the_path(docker_image, suffix):
    done = inside(docker_image(suffix), "sh", "-c", "for name in train serve synth; do command -v $name; done")
    assert done.stdout.split() == ["/usr/local/bin/train", "/usr/local/bin/serve", "/usr/local/bin/synth"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_labels_tell_title_version_and_licence_and_sagemaker_what_it_may_do(docker_image, suffix):
    said = config(docker_image(suffix))["Config"]["Labels"]
    assert said["org.opencontainers.image.version"] == version("synth-components")
    assert said["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert said["org.opencontainers.image.title"] == "synth-components" + " with torch" * ("torch" in suffix)
    capabilities = {name: value for name, value in said.items() if name.startswith("com.amazonaws.sagemaker.")}
    wanted = ["accept-bind-to-port", "multi-models"] if suffix.endswith("sagemaker") else []
    assert capabilities == {f"com.amazonaws.sagemaker.capabilities.{name}": "true" for name in wanted}


@pytest.mark.parametrize("suffix", ["", "-torch"])
@pytest.mark.parametrize("module", ["kfp", "sagemaker.core", "pytest", "cyclonedx"])
def test_requirement_3_what_belongs_to_no_task_is_not_in_the_image(docker_image, suffix, module):
    done = inside(docker_image(suffix), "python", "-c", f"import {module}")
    assert done.returncode == 1
    assert f"No module named '{module.partition('.')[0]}" in done.stderr


@pytest.mark.parametrize(("suffix", "has_torch"), [("", False), ("-torch", True)])
def test_torch_is_in_its_image_alone_and_for_cpus(docker_image, suffix, has_torch):
    done = inside(docker_image(suffix), "python", "-c", "import torch; print(torch.__version__, torch.version.cuda)")
    assert done.stdout.split() == (["2.13.0+cpu", "None"] if has_torch else [])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_requirement_15_the_size_is_at_most_5_percent_above_what_was_measured(docker_image, suffix):
    assert config(docker_image(suffix))["Size"] <= 1.05 * MEASURED[suffix.removesuffix("-sagemaker")]


@pytest.mark.parametrize(("suffix", "limit"), [("", 900e6), ("-torch", 1700e6)])
def test_requirement_15_the_size_is_below_the_limit_of_the_design(docker_image, suffix, limit):
    assert config(docker_image(suffix))["Size"] <= limit


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_image_carries_the_list_of_its_packages(docker_image, suffix):
    said = json.loads(inside(docker_image(suffix), "cat", "/opt/synth/sbom.cdx.json").stdout)
    assert said["bomFormat"] == "CycloneDX"
    listed = {one["name"].lower(): one["version"] for one in said["components"]}
    names = [*("core", "torch")[: 1 + ("torch" in suffix)]]
    lines = [line for name in names for line in (ROOT / "containers" / f"{name}.lock").read_text().splitlines()[1:]]
    for line in lines:
        name, _, pinned = line.split()[0].partition("==")
        assert listed[name.lower()] == pinned
    assert listed["synth-components"] == version("synth-components")
    assert "cyclonedx-bom" not in listed


@pytest.mark.parametrize("suffix", ["", "-sagemaker", "-torch"])
def test_the_image_trains_samples_and_judges(docker_image, suffix):
    command = [str(ROOT / "containers" / "smoke.sh"), docker_image(suffix), "tabular.independent"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
