"""The pipelines.  An argument of a pipeline is an option of one of its components, and declared there.

A body draws tasks; whatever the pipeline's arguments say of a component goes into it without being named again.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from kfp import dsl, kubernetes
from pydantic import Field

from synth_components.config import Config
from synth_components.steps.port import ports
from synth_kubeflow.component import container_component, descriptions, image, parameter
from synth_kubeflow.components import COMPONENTS
from synth_kubeflow.executor_io import MAX_FAN_IN

_WEEK = 7 * 24 * 3600
_TRACKING_KEYS = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN")
_AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION")


class Platform(Config):
    """Where the tasks run: what belongs to the cluster, and what has to be known when a pipeline is compiled."""

    cpu: str = Field("", description="Processors that each task asks for and may use, such as 2; empty for no limit.")
    memory: str = Field("", description="Memory that each task asks for and may use, such as 4G; empty for no limit.")
    accelerator: str = Field("", description="Resource of the accelerator for training, such as nvidia.com/gpu.")
    accelerators: int = Field(1, ge=1, le=64, description="Accelerators for training, if one is named.")
    image_pull_secret: str = Field("", description="Secret with which the image is pulled; empty for none.")
    tracking_secret: str = Field(
        "", description="Secret with MLFLOW_TRACKING_URI and, if need be, MLFLOW_TRACKING_TOKEN, for register_model."
    )
    aws_secret: str = Field(
        "",
        description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY and, if need be, AWS_SESSION_TOKEN and "
        "AWS_REGION, for export_to_sagemaker; empty where the pod's identity has the rights.",
    )
    parallelism: int = Field(0, ge=0, le=MAX_FAN_IN, description="Most tasks of a loop at once; 0 for no limit.")
    runtime: str = Field(
        "",
        description="ClusterTrainingRuntime of distributed_training, such as that of kubeflow/runtimes; empty trains "
        "by processes of one task.",
    )
    shared_volume: str = Field(
        "", description="Claim that the task and the nodes of distributed_training share, if a runtime is named."
    )
    num_shards: int = Field(4, ge=1, le=MAX_FAN_IN, description="Shards of sharded_sampling.")
    ttl_seconds: int = Field(_WEEK, ge=0, lt=2**31, description="Seconds after its end that a run is kept.")
    max_seconds: int = Field(24 * 3600, ge=1, lt=2**31, description="Seconds after which a run is ended.")


@dataclass(frozen=True)
class Argument:
    """An argument of a pipeline: an option of a component, a list of them to loop over, or where a table lies."""

    component: str
    name: str
    is_list: bool = False

    @property
    def is_uri(self) -> bool:
        """Whether it is the address of what goes into a port."""
        return self.name in ports(COMPONENTS[self.component].load())

    @property
    def is_map(self) -> bool:
        """Whether it is a map that stands for what goes into a port."""
        return self.name in COMPONENTS[self.component].maps()

    def parameter(self, name: str) -> inspect.Parameter:
        """Return the argument as kfp reads it off a signature."""
        if self.is_uri or self.is_list:
            annotation = list if self.is_list else str
            return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
        return parameter(COMPONENTS[self.component], self.name).replace(name=name)

    def description(self) -> str:
        """Return what it is for, from the component."""
        return descriptions(COMPONENTS[self.component])[self.name]


@dataclass(frozen=True)
class Tasks:
    """Makes the tasks of one pipeline.

    Attributes:
        platform: Where they run.
        arguments: The pipeline's arguments by name.
        values: Their values: channels, while a pipeline is compiled.
        model_step: A component or pipeline that trains a model of the user's and scores it.
        image: What they run in.
    """

    platform: Platform
    arguments: Mapping[str, Argument]
    values: Mapping[str, Any]
    model_step: Any
    image: str

    def __call__(self, name: str, **inputs: Any) -> Any:  # noqa: ANN401 - kfp has no types
        """Return a task of a component; options that the pipeline has as arguments are filled in."""
        filled = {
            argument.name: self.values[key]
            for key, argument in self.arguments.items()
            if argument.component == name and not argument.is_uri and not argument.is_list
        }
        task = container_component(name, self.image)(**{**filled, **inputs})
        if "seed" in filled:
            task.set_caching_options(enable_caching=False)  # a seed of -1 asks for fresh rows at every run
        return _placed(task, name, self.platform)

    def split(self) -> tuple[Any, Any]:
        """Return training rows and holdout of the pipeline's table, by hashes where the model is to be private.

        The privacy unit is the training's, too: what is declared of the table goes into both.  The table is registered
        anew at every run: a digest of its bytes is nowhere in the cache's key.
        """
        real = dsl.importer(artifact_uri=self.values["data_uri"], artifact_class=dsl.Dataset, reimport=True)
        shared = {name: self.values[name] for name in ("privacy", *_SCHEMA) if name in self.values}
        outputs = self("split_data", data=real.output, **shared).outputs
        return outputs["train"], outputs["holdout"]

    def loop(self, items: Any) -> Any:  # noqa: ANN401
        """Return a loop over items, as many at once as the platform allows."""
        return dsl.ParallelFor(items, parallelism=self.platform.parallelism or None)


def _placed(task: Any, name: str, platform: Platform) -> Any:  # noqa: ANN401
    """Return a task of a component with what the platform asks for."""
    kubernetes.set_security_context(task, run_as_non_root=True)
    if platform.cpu:
        task.set_cpu_request(platform.cpu).set_cpu_limit(platform.cpu)
    if platform.memory:
        task.set_memory_request(platform.memory).set_memory_limit(platform.memory)
    if platform.image_pull_secret:
        kubernetes.set_image_pull_secrets(task, [platform.image_pull_secret])
    for secret, user, keys in (
        (platform.tracking_secret, "register_model", _TRACKING_KEYS),
        (platform.aws_secret, "export_to_sagemaker", _AWS_KEYS),
    ):
        if secret and name == user:
            kubernetes.use_secret_as_env(task, secret, {key: key for key in keys}, optional=True)
    launches = name == "train_generator_distributed" and platform.runtime  # the nodes have the accelerators
    if launches:
        kubernetes.mount_pvc(task, platform.shared_volume, COMPONENTS[name].fields()["mount_path"].default)
    if platform.accelerator and COMPONENTS[name].category == "training" and not launches:
        task.set_accelerator_type(platform.accelerator).set_accelerator_limit(platform.accelerators)
        kubernetes.add_toleration(task, key=platform.accelerator, operator="Exists", effect="NoSchedule")
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory")  # noqa: S108 - torch's workers share tensors there
    return task


def train_sample_evaluate(task: Tasks) -> None:
    """Split a table, train a generator, draw rows from it, judge them, and draw the report."""
    train, holdout = task.split()
    model = task("train_generator", data=train).outputs["model"]
    synthetic = task("sample", model=model).outputs["synthetic"]
    judged = task("evaluate", train=train, holdout=holdout, synthetic=synthetic, model=model)
    task("report", report=judged.outputs["report"])


def compare_generators(task: Tasks) -> None:
    """Train several generators in parallel, judge each, register the best, and pack it for SageMaker."""
    train, holdout = task.split()
    with task.loop(task.values["generators"]) as generator:
        model = task("train_generator", data=train, generator=generator).outputs["model"]
        synthetic = task("sample", model=model).outputs["synthetic"]
        judged = task("evaluate", train=train, holdout=holdout, synthetic=synthetic, model=model)
    reports, models = dsl.Collected(judged.outputs["report"]), dsl.Collected(model)
    best = task("select_best", reports=reports, models=models).outputs
    task("report", report=best["report"])
    task("register_model", model=best["model"], report=best["report"])
    task("export_to_sagemaker", model=best["model"])


def augment_and_gate(task: Tasks) -> None:
    """Add synthetic rows to a training set, and keep them only if a model trained on both scores higher."""
    train, holdout = task.split()
    schema = task("profile_data", data=train).outputs["schema"]
    model = task("train_generator", data=train).outputs["model"]
    augmented = task("augment", data=train, model=model).outputs["augmented"]
    judged = task("evaluate_tstr", train=train, holdout=holdout, synthetic=augmented, schema=schema)
    task("report", report=judged.outputs["report"])
    same = {"holdout": holdout, "schema": schema, "target": task.values["target"]}
    before, after = task.model_step(train=train, **same), task.model_step(train=augmented, **same)
    with dsl.If(after.output > before.output, name="helps"):
        task("keep_dataset", parts=augmented)
    with dsl.Else(name="does-not-help"):
        task("keep_dataset", parts=train)


def sharded_sampling(task: Tasks) -> None:
    """Train a generator, draw its rows in shards side by side, join them, judge them, and draw the report."""
    train, holdout = task.split()
    model = task("train_generator", data=train).outputs["model"]
    shards = task.platform.num_shards
    with task.loop(list(range(shards))) as index:
        part = task("sample_sharded", model=model, shard_index=index, num_shards=shards).outputs["synthetic"]
    synthetic = task("merge_shards", parts=dsl.Collected(part)).outputs["merged"]
    judged = task("evaluate", train=train, holdout=holdout, synthetic=synthetic, model=model)
    task("report", report=judged.outputs["report"])


def distributed_training(task: Tasks) -> None:
    """Train one generator by several processes or machines, draw rows from it, judge them, and draw the report."""
    train, holdout = task.split()
    nodes = {"runtime": task.platform.runtime, "volume": task.platform.shared_volume}
    model = task("train_generator_distributed", data=train, **nodes).outputs["model"]
    synthetic = task("sample", model=model).outputs["synthetic"]
    judged = task("evaluate", train=train, holdout=holdout, synthetic=synthetic, model=model)
    task("report", report=judged.outputs["report"])


def train_and_score(platform: Platform) -> Any:  # noqa: ANN401
    """Return the model step of who brings none: the score on the holdout of two learners trained on a table."""

    def made(
        train: dsl.Input[dsl.Dataset], holdout: dsl.Input[dsl.Dataset], schema: dsl.Input[dsl.Artifact], target: str
    ) -> float:
        """Return the least accuracy, or R2, on a holdout of a boosted and a linear learner trained on a table.

        Args:
            train: The rows to train on.
            holdout: The rows to predict.
            schema: The columns to use: an augmented table has one more.
            target: The column to predict.
        """
        judge = container_component("evaluate_tstr", image())
        task = judge(train=train, holdout=holdout, synthetic=train, schema=schema, target=target)
        return _placed(task, "evaluate_tstr", platform).outputs["score"]  # type: ignore[no-any-return]

    return dsl.pipeline(name="train-and-score")(made)


def _options(component: str, *names: str, **renamed: str) -> dict[str, Argument]:
    """Return arguments for options of a component, under their own name or another."""
    pairs = [*((name, name) for name in names), *renamed.items()]
    return {new: Argument(component, name) for new, name in pairs}


_DATA = {"data_uri": Argument("split_data", "data")} | _options(
    "split_data", "unit", "stratify", "hashed", holdout_share="share", split_seed="seed"
)
_SCHEMA = _options("train_generator", "declared_schema")
_SEED = _options("train_generator", train_seed="seed")
_LEARNER = _SCHEMA | _options("train_generator", "generator", "generator_options", "monitor_every", "monitor_patience")
_GENERATOR = _LEARNER | _options("train_generator", "privacy", "epsilon", "delta") | _SEED
_JUDGED = _options("evaluate", "target", "min_quality")

_BODIES: Mapping[Callable[[Tasks], None], Mapping[str, Argument]] = {
    train_sample_evaluate: _DATA | _GENERATOR | _options("sample", "num_rows", "seed") | _JUDGED,
    compare_generators: _DATA
    | _SCHEMA
    | {"generators": Argument("train_generator", "generator", is_list=True)}
    | _SEED  # no privacy: each model would cost an epsilon, and the choice among them one that none counts
    | _options("sample", "num_rows", "seed")
    | _JUDGED
    | _options("select_best", "by", "best")
    | _options("register_model", "alias", model_name="name")
    | _options(
        "export_to_sagemaker",
        *("destination", "allowed_regions"),
        sagemaker_name="name",
        sagemaker_image="image",
        sagemaker_role="role",
    ),
    augment_and_gate: _DATA
    | _LEARNER  # no privacy: what is kept holds the real rows, so that an epsilon would be spent and protect nobody
    | _SEED
    | _options("augment", "mode", "columns", "ratio", "group", "factor", "seed", group_share="share")
    | _options("evaluate_tstr", "target"),
    sharded_sampling: _DATA | _GENERATOR | _options("sample_sharded", "num_rows", "seed") | _JUDGED,
    distributed_training: _DATA
    | _options(
        "train_generator_distributed",
        *(*_SCHEMA, "generator", "generator_options", "monitor_every", "monitor_patience"),
        *("privacy", "epsilon", "delta", "device"),
        *("num_nodes", "processes_per_node", "node_resources"),
        train_seed="seed",
    )
    | _options("sample", "num_rows", "seed")
    | _JUDGED,
}

PIPELINES: Mapping[str, Callable[[Tasks], None]] = MappingProxyType({body.__name__: body for body in _BODIES})
"""Every pipeline's body by name."""


def arguments(name: str) -> Mapping[str, Argument]:
    """Return the arguments of a pipeline by name."""
    return _BODIES[PIPELINES[name]]


def needs_torch(name: str) -> bool:
    """Return whether a task of a pipeline needs torch: a model that was trained with it is drawn from with it."""
    return any(COMPONENTS[argument.component].needs_torch for argument in arguments(name).values())


def summary(name: str) -> str:
    """Return what a pipeline does, in a line."""
    return inspect.getdoc(PIPELINES[name]) or ""


def build(name: str, platform: Platform | None = None, *, model_step: Any = None) -> Any:  # noqa: ANN401
    """Return a pipeline as ``@dsl.pipeline`` makes it.

    Args:
        model_step: For ``augment_and_gate``: a component or pipeline with the inputs ``train``, ``holdout``, ``schema``
            and ``target`` and one output, a score to make high.  Without it, that of ``train_and_score``.
    """
    known, place = arguments(name), platform or Platform()
    step = model_step or train_and_score(place)

    def made(*values: Any) -> None:  # noqa: ANN401
        runs_in = image(needs_torch=needs_torch(name))
        PIPELINES[name](Tasks(place, known, dict(zip(known, values, strict=True)), step, runs_in))

    entries = [f"    {key}: {' '.join(argument.description().split())}" for key, argument in known.items()]
    made.__name__ = name
    made.__doc__ = "\n".join([summary(name), "", "Args:", *entries])
    made.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [argument.parameter(key) for key, argument in known.items()]
    )
    config = dsl.PipelineConfig(ttl_seconds_after_finished=place.ttl_seconds, active_deadline_seconds=place.max_seconds)
    return dsl.pipeline(name=name.replace("_", "-"), pipeline_config=config)(made)
