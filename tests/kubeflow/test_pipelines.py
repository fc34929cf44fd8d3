"""The pipelines as they compile: rules that keep them right on a cluster and runnable under kfp.local."""

import re

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kubeflow_ir import containers, faults, parsed

from synth_components.errors import UnsupportedError
from synth_kubeflow.compile import compiled
from synth_kubeflow.component import TORCH_IMAGE
from synth_kubeflow.components import COMPONENTS, component
from synth_kubeflow.pipelines import PIPELINES, Platform, arguments, build

NAMES = sorted(PIPELINES)


@pytest.fixture(scope="module")
def assets(made):
    """Compiled YAML by pipeline."""
    return {name: made[f"pipelines/{name}/pipeline.yaml"] for name in NAMES}


def tasks(text):
    """Return (name, task) of every task at any depth."""
    whole = parsed(text)
    for one in [whole["root"], *whole["components"].values()]:
        yield from one.get("dag", {}).get("tasks", {}).items()


def test_requirement_2_every_pipeline_that_was_asked_for_is_here():
    asked = {"train_sample_evaluate", "compare_generators", "augment_and_gate", "sharded_sampling"}
    assert asked | {"distributed_training"} <= set(PIPELINES)


def test_no_pipeline_with_a_choice_among_models_takes_a_budget():
    choosing = {name for name in NAMES if any(one.component == "select_best" for one in arguments(name).values())}
    assert choosing == {"compare_generators"}
    asked = {one.name for name in choosing for one in arguments(name).values()}
    assert asked.isdisjoint({"privacy", "epsilon", "delta"})


def test_no_pipeline_whose_result_holds_real_rows_takes_a_budget():
    """It would be told of a run of which it protects nobody."""
    adding = {name for name in NAMES if any(one.component == "augment" for one in arguments(name).values())}
    assert adding == {"augment_and_gate"}
    asked = {one.name for name in adding for one in arguments(name).values()}
    assert asked.isdisjoint({"privacy", "epsilon", "delta"})


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_of_a_private_model_are_split_by_hashes(assets, name):
    (split,) = [task for label, task in tasks(assets[name]) if label == "split-data"]
    is_private = any(one.name == "privacy" for one in arguments(name).values())
    asked = split["inputs"]["parameters"].get("privacy")
    assert asked == ({"componentInputParameter": "privacy"} if is_private else None)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_declared_of_a_table_goes_into_its_split_and_into_the_training(assets, name):
    """Its privacy unit is that of both: an epsilon of training rows whose people nobody declared is of a row."""
    given = {
        label: task["inputs"]["parameters"].get("declared_schema", {}).get("componentInputParameter", "")
        for label, task in tasks(assets[name])
        if re.fullmatch(r"split-data|train-generator(-distributed)?", label)
    }
    assert len(given) == 2
    assert all(one.removeprefix("pipelinechannel--") == "declared_schema" for one in given.values())


@pytest.mark.parametrize("name", NAMES)
def test_requirement_16_the_lint_finds_nothing_in_a_pipeline(assets, name):
    assert faults(assets[name]) == []


@pytest.mark.parametrize("name", NAMES)
def test_requirement_6_every_argument_of_a_pipeline_is_described_and_none_may_be_null(assets, name):
    parameters = parsed(assets[name])["root"]["inputDefinitions"]["parameters"]
    assert set(parameters) == set(arguments(name))
    for key, said in parameters.items():
        assert len(said["description"]) > 10, key
        assert said.get("isOptional", False) == ("defaultValue" in said), key


@pytest.mark.parametrize("name", NAMES)
def test_requirement_7_a_task_whose_seed_is_an_argument_is_not_cached_and_the_others_are(assets, name):
    seeded = {one.component for one in arguments(name).values() if one.name == "seed"}
    labels = {one.replace("_", "-") for one in seeded}
    whole = parsed(assets[name])
    executed = {
        task["componentRef"]["name"]: task for _, task in tasks(assets[name])
        if "executorLabel" in whole["components"][task["componentRef"]["name"]]
        and not task["componentRef"]["name"].startswith("comp-importer")
    }  # fmt: skip
    assert labels <= {re.sub(r"^comp-|-\d+$", "", label) for label in executed}
    for label, task in executed.items():
        is_seeded = re.sub(r"^comp-|-\d+$", "", label) in labels
        assert task["cachingOptions"].get("enableCache", False) != is_seeded, label


@pytest.mark.parametrize("name", NAMES)
def test_requirement_7_no_cache_key_replaces_the_fingerprint(assets, name):
    assert "cacheKey" not in assets[name]


@pytest.mark.parametrize("name", NAMES)
def test_requirement_7_the_users_table_is_registered_anew_at_every_run(assets, name):
    importers = [
        one["importer"] for one in parsed(assets[name])["deploymentSpec"]["executors"].values() if "importer" in one
    ]
    assert [one["reimport"] for one in importers] == [True]


@pytest.mark.parametrize("name", NAMES)
def test_requirement_12_a_run_ends_after_a_day_and_goes_after_a_week(assets, name):
    text = assets[name]
    assert re.search(r"\b604800\b", text)
    assert re.search(r"\b86400\b", text)


def test_requirement_12_resources_and_parallelism_are_arguments_of_the_builder():
    place = Platform(cpu="2", memory="4G", accelerator="nvidia.com/gpu", accelerators=2, parallelism=3)
    text = compiled(build("compare_generators", place))
    held = containers(text)
    assert held["exec-train-generator"]["resources"]["accelerator"]["resourceCount"] == "2"
    assert "accelerator" not in held["exec-evaluate"]["resources"]
    assert all(one["resources"]["resourceCpuLimit"] == "2" for one in held.values())
    assert all(one["resources"]["resourceMemoryLimit"] == "4G" for one in held.values())
    (loop,) = [task for _, task in tasks(text) if "parameterIterator" in task]
    assert loop["iteratorPolicy"]["parallelismLimit"] == 3


def platform(text):
    """Return what Kubernetes is told of each executor; a field that kfp does not know is an error."""
    _, second = yaml.safe_load_all(text)
    held = second["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for said in held.values():
        json_format.ParseDict(said, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    return held


@pytest.mark.parametrize("name", NAMES)
def test_requirement_12_no_task_runs_as_root(assets, name):
    held = platform(assets[name])
    assert set(held) == set(containers(assets[name]))
    assert all(said["securityContext"]["runAsNonRoot"] for said in held.values())


def test_requirement_12_secrets_toleration_and_shared_memory_are_arguments_of_the_builder():
    secrets = {"image_pull_secret": "registry", "tracking_secret": "mlflow", "aws_secret": "aws"}
    place = Platform(accelerator="nvidia.com/gpu", **secrets)
    held = platform(compiled(build("compare_generators", place)))
    assert all(said["imagePullSecret"][0]["secretName"] == "registry" for said in held.values())
    training = held.pop("exec-train-generator")
    assert training["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert training["emptyDirMounts"][0] == {"medium": "Memory", "mountPath": "/dev/shm", "volumeName": "shared-memory"}
    secrets = {name: [one["secretName"] for one in said.get("secretAsEnv", [])] for name, said in held.items()}
    assert secrets.pop("exec-register-model") == ["mlflow"]
    assert secrets.pop("exec-export-to-sagemaker") == ["aws"]
    assert not any(secrets.values())


@pytest.mark.parametrize("name", NAMES)
def test_requirement_13_conditions_compare_task_outputs_that_kfp_local_finds(assets, name):
    for _, task in tasks(assets[name]):
        condition = task.get("triggerPolicy", {}).get("condition", "")
        # kfp.local resolves an output of a task only if it is named Output, and skips the task in silence otherwise
        for channel in re.findall(r"pipelinechannel--([\w-]+)", condition):
            assert channel.endswith("-Output"), condition
        assert "'" not in re.sub(r"\['[\w-]+'\]", "", condition), "a condition on text"


@pytest.mark.parametrize("name", NAMES)
def test_requirement_13_loops_run_over_arguments_or_constants(assets, name):
    for _, task in tasks(assets[name]):
        items = task.get("parameterIterator", {}).get("items", {})
        assert (
            "raw" in items
            or items.get("inputParameter", "pipelinechannel--generators") == "pipelinechannel--generators"
        )


def test_requirement_11_a_pipeline_draws_no_more_shards_than_fit_into_an_argument():
    with pytest.raises(ValueError, match="250"):
        Platform(num_shards=251)
    assert '"raw": "[0, 1]"' in str(parsed(compiled(build("sharded_sampling", Platform(num_shards=2))))).replace(
        "'", '"'
    )


def test_the_best_of_several_generators_is_registered_with_its_report(assets):
    whole = parsed(assets["compare_generators"])
    taken = whole["root"]["dag"]["tasks"]["register-model"]["inputs"]["artifacts"]
    assert {one["taskOutputArtifact"]["producerTask"] for one in taken.values()} == {"select-best"}


def test_a_step_of_the_users_takes_the_place_of_ours():
    from kfp import dsl

    @dsl.container_component
    def my_model(
        train: dsl.Input[dsl.Dataset],
        holdout: dsl.Input[dsl.Dataset],
        schema: dsl.Input[dsl.Artifact],
        target: str,
        accuracy: dsl.OutputPath(float),
    ):
        return dsl.ContainerSpec(
            image="mine:1", command=["fit"], args=[train.path, holdout.path, schema.path, target, accuracy]
        )

    @dsl.pipeline(name="mine")
    def mine(
        train: dsl.Input[dsl.Dataset], holdout: dsl.Input[dsl.Dataset], schema: dsl.Input[dsl.Artifact], target: str
    ) -> float:
        return my_model(train=train, holdout=holdout, schema=schema, target=target).outputs["accuracy"]

    text = compiled(build("augment_and_gate", model_step=mine))
    assert "mine:1" in {one["image"] for one in containers(text).values()}
    assert faults(text) == []


def test_distributed_training_runs_in_the_image_with_torch_and_by_processes_of_one_task_unless_a_runtime_is_named(
    assets,
):
    text = assets["distributed_training"]
    assert {one["image"] for one in containers(text).values()} == {TORCH_IMAGE}
    said = parsed(text)["root"]["dag"]["tasks"]["train-generator-distributed"]["inputs"]["parameters"]
    assert said["runtime"]["runtimeValue"]["constant"] == ""
    assert "pvcMount" not in platform(text)["exec-train-generator-distributed"]


def test_with_a_runtime_the_task_shares_a_claim_with_the_nodes_and_leaves_them_the_accelerators():
    place = Platform(runtime="synth-torch", shared_volume="claim", accelerator="nvidia.com/gpu")
    text = compiled(build("distributed_training", place))
    held = platform(text)["exec-train-generator-distributed"]
    (mount,) = held["pvcMount"]
    assert (mount["constant"], mount["mountPath"]) == ("claim", "/shared")
    assert "accelerator" not in containers(text)["exec-train-generator-distributed"].get("resources", {})
    assert faults(text) == []


def test_an_unknown_component_is_refused():
    with pytest.raises(UnsupportedError, match="choose one of"):
        component("trian")
    assert "gate" in COMPONENTS
