"""A component is its step: same options, types, defaults and texts; and the rules of Kubeflow Pipelines."""

import inspect
import subprocess
import sys

import pytest
from kfp.pipeline_spec import pipeline_spec_pb2
from kubeflow_ir import containers, faults, parsed, spec_of

from synth_components.config import Config
from synth_components.steps import STEPS
from synth_components.steps.port import config_of
from synth_kubeflow.compile import compiled
from synth_kubeflow.component import (
    IMAGE,
    IMAGE_VARIABLE,
    TORCH_IMAGE,
    TORCH_IMAGE_VARIABLE,
    container_component,
    image,
)
from synth_kubeflow.components import COMPONENTS

NAMES = sorted(COMPONENTS)
KINDS = pipeline_spec_pb2.ParameterType


@pytest.fixture(scope="module")
def assets(made):
    """Compiled YAML by component."""
    return {name: made[f"components/{COMPONENTS[name].category}/{name}/component.yaml"] for name in NAMES}


def interface(text):
    """Return inputs and outputs of the one component in compiled YAML."""
    (found,) = parsed(text)["components"].values()
    return found.get("inputDefinitions", {}), found["outputDefinitions"]


def test_requirement_2_every_component_that_was_asked_for_is_here():
    asked = {
        *("profile_data", "split_data", "train_generator", "train_generator_distributed", "sample", "sample_sharded"),
        *("merge_shards", "evaluate_fidelity", "evaluate_tstr", "evaluate_privacy", "select_best", "augment", "report"),
        *("register_model", "export_to_sagemaker"),
    }
    assert asked <= set(COMPONENTS)


def test_every_step_of_the_core_is_a_component_but_those_that_go_the_whole_way_or_show_something():
    held = {component.step for component in COMPONENTS.values() if ":" not in component.step}
    assert set(STEPS) - held == {"run", "demo", "pack"}


@pytest.mark.parametrize("name", NAMES)
def test_requirement_3_a_component_has_one_argument_and_one_image(assets, name):
    (container,) = containers(assets[name]).values()
    assert container["args"] == ["--executor-input", "{{$}}"]
    assert container["command"] == ["synth", "kubeflow", "execute", name]
    assert container["image"] == (TORCH_IMAGE if name == "train_generator_distributed" else IMAGE)


def test_requirement_3_the_image_is_named_by_an_environment_variable_at_compile_time(monkeypatch):
    monkeypatch.setenv(IMAGE_VARIABLE, "registry.example/synth@sha256:" + "0" * 64)
    (container,) = containers(compiled(container_component("gate", image()))).values()
    assert container["image"] == "registry.example/synth@sha256:" + "0" * 64


def test_requirement_3_the_image_with_torch_is_named_by_a_variable_of_its_own(monkeypatch):
    monkeypatch.setenv(IMAGE_VARIABLE, "core:1")
    monkeypatch.setenv(TORCH_IMAGE_VARIABLE, "torch:1")
    assert (image(), image(needs_torch=True)) == ("core:1", "torch:1")


def test_requirement_3_running_a_component_imports_no_kfp(tmp_path):
    code = "import sys; sys.modules['kfp'] = None; import synth_kubeflow.execute, synth_kubeflow.command"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_requirement_5_artifacts_are_of_types_that_kubeflow_knows(assets, name):
    for side in interface(assets[name]):
        for artifact in side.get("artifacts", {}).values():
            assert artifact["artifactType"]["schemaTitle"].startswith("system.")


@pytest.mark.parametrize("name", NAMES)
def test_requirement_6_every_input_and_output_is_described(assets, name):
    for side in interface(assets[name]):
        for entry in [*side.get("parameters", {}).items(), *side.get("artifacts", {}).items()]:
            assert len(entry[1].get("description", "")) > 10, entry[0]


@pytest.mark.parametrize("name", NAMES)
def test_requirement_6_no_parameter_may_be_null(assets, name):
    for option, said in interface(assets[name])[0].get("parameters", {}).items():
        assert said.get("isOptional", False) == ("defaultValue" in said), option
        assert said.get("defaultValue", 0) is not None, option


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_the_options_of_the_step_with_its_defaults_types_and_texts(assets, name):
    component = COMPONENTS[name]
    fields = config_of(component.load()).model_fields
    parameters = interface(assets[name])[0].get("parameters", {})
    assert set(parameters) == set(fields) - set(component.without) | set(component.maps())
    for option, said in parameters.items():
        if option in component.maps():
            continue
        field = fields[option]
        assert said["description"].split() == field.description.split()
        if field.is_required() or option in component.required:
            assert "defaultValue" not in said
            continue
        default = field.get_default(call_default_factory=True)
        plain = default.model_dump(mode="json") if isinstance(default, Config) else default
        held = said.get("defaultValue")
        assert held == (list(plain) if isinstance(plain, tuple) else plain)


@pytest.mark.parametrize("name", NAMES)
def test_artifacts_are_the_ports_of_the_step(assets, name):
    component, (takes, gives) = COMPONENTS[name], interface(assets[name])
    ports = component.ports()
    assert set(takes.get("artifacts", {})) == {port for port, one in ports.items() if one.direction == "in"}
    assert set(gives["artifacts"]) == {port for port, one in ports.items() if one.direction == "out"} | {
        "metrics",
        *(["roc"] if component.has_roc else []),
    }
    for port, said in takes.get("artifacts", {}).items():
        assert said.get("isOptional", False) == (ports[port].optional and port not in component.required)
        assert said.get("isArtifactList", False) == (ports[port].many and port not in component.single)


def test_a_schema_that_may_be_left_out_may_be_a_map_as_well(assets):
    taking = {name for name in NAMES if COMPONENTS[name].maps()}
    assert {"split_data", "train_generator", "train_generator_distributed", "evaluate"} <= taking
    for name in taking:
        takes = interface(assets[name])[0]
        assert takes["artifacts"]["schema"]["isOptional"]
        said = takes["parameters"]["declared_schema"]
        assert (said["parameterType"], said["defaultValue"], said["isOptional"]) == ("STRUCT", {}, True)
        assert said["description"].startswith(COMPONENTS[name].ports()["schema"].description)


def test_requirement_7_the_seed_is_0_unless_asked_for(assets):
    for name in NAMES:
        for option, said in interface(assets[name])[0].get("parameters", {}).items():
            if option == "seed":
                assert said["defaultValue"] == 0, name


@pytest.mark.parametrize("name", NAMES)
def test_requirement_16_the_lint_finds_nothing_in_a_component(assets, name):
    assert faults(assets[name]) == []


def test_requirement_16_the_lint_finds_what_it_is_for(assets):
    good = assets["gate"]
    assert "no executor" in faults(good.replace("executorLabel: exec-gate", "executorLabel: exec-gone"))[0]
    assert "mutable image" in faults(good.replace(IMAGE, "synth-components:latest"))[0]
    assert "no component" in faults(good.replace("name: comp-gate", "name: comp-gone"))[0]
    assert "installs packages" in faults(good.replace("- execute", "- pip install x"))[0]
    assert "no field" in faults(good.replace("schemaVersion: 2.1.0", "schemaVersion: 2.1.0\nunknownField: 1"))[0]


def test_lists_maps_and_choices_have_kubeflow_types(assets):
    component = spec_of(assets["train_generator"]).components["comp-train-generator"]
    kinds = {name: one.parameter_type for name, one in component.input_definitions.parameters.items()}
    assert kinds["generator_options"] == KINDS.STRUCT
    assert kinds["trust"] == KINDS.LIST
    assert kinds["privacy"] == KINDS.STRING
    assert kinds["epsilon"] == KINDS.NUMBER_DOUBLE
    assert kinds["seed"] == KINDS.NUMBER_INTEGER


def test_an_option_is_written_once():
    from synth_kubeflow import component, pipelines

    source = inspect.getsource(component) + inspect.getsource(pipelines)
    for held in COMPONENTS.values():
        for field in held.fields().values():
            assert field.description not in source
