"""The committed files are what the code makes."""

import re
from pathlib import Path

import yaml
from kubeflow_ir import parsed

from synth_components.__main__ import main

FOLDER = Path(__file__).resolve().parents[2] / "kubeflow"
REMEDY = "run `synth kubeflow compile --output kubeflow` and look through what changed"


def without_sdk(text):
    """Return text without the SDK's own version, which is no part of the contract."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("sdkVersion:"))


def test_requirement_16_and_20_the_committed_files_are_what_the_code_makes(made):
    assert {path: without_sdk(text) for path, text in made.items()} == {
        path: without_sdk((FOLDER / path).read_text(encoding="utf-8")) for path in made
    }, REMEDY


def test_requirement_16_no_file_is_committed_that_the_code_does_not_make(made):
    held = [
        path
        for part in ("components", "pipelines", "runtimes")
        for path in (FOLDER / part).rglob("*")
        if path.is_file()
    ]
    assert sorted(path.relative_to(FOLDER).as_posix() for path in held) == sorted(made), REMEDY


def test_requirement_1_a_component_lies_in_its_category(made):
    parts = {tuple(path.split("/")[1:3]) for path in made if path.startswith("components/")}
    assert {category for category, _ in parts} == {"data_processing", "training", "evaluation", "deployment"}
    for category, name in parts:
        for file in ("component.yaml", "metadata.yaml", "README.md"):
            assert f"components/{category}/{name}/{file}" in made


def test_compiling_again_writes_the_same_bytes(made, tmp_path):
    assert main(["kubeflow", "compile", "--output", str(tmp_path)]) == 0
    held = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path).as_posix(): path.read_text(encoding="utf-8") for path in held} == made


def test_requirement_15_a_release_names_every_image_by_its_digest(tmp_path, monkeypatch):
    digests = {"SYNTH_KUBEFLOW_IMAGE": "1" * 64, "SYNTH_KUBEFLOW_TORCH_IMAGE": "2" * 64}
    for variable, digest in digests.items():
        monkeypatch.setenv(variable, f"registry.example/synth@sha256:{digest}")
    assert main(["kubeflow", "compile", "--output", str(tmp_path)]) == 0
    said = re.findall(r"^\s*image: (.*)$", "".join(path.read_text() for path in tmp_path.rglob("*.yaml")), re.MULTILINE)
    assert set(said) == {f"registry.example/synth@sha256:{digest}" for digest in digests.values()}


def test_metadata_have_the_fields_that_the_catalogue_validates(made):
    for path, text in made.items():
        if path.endswith("metadata.yaml"):
            said = yaml.safe_load(text)
            assert {"name", "tier", "stability", "dependencies", "tags", "lastVerified"} <= set(said)
            assert said["dependencies"]["kubeflow"][0]["name"] == "Pipelines"


def test_requirement_20_the_page_of_a_component_lists_every_input_and_output(made):
    for path, text in made.items():
        if path.endswith("component.yaml"):
            (held,) = parsed(text)["components"].values()
            page = made[path.replace("component.yaml", "README.md")]
            for side in ("inputDefinitions", "outputDefinitions"):
                for kind in ("parameters", "artifacts"):
                    for name in held.get(side, {}).get(kind, {}):
                        assert f"| `{name}` |" in page
