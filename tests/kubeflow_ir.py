"""What an offline check of compiled YAML can find: unknown fields, dangling names, mutable images."""

import re
from functools import cache

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2


@cache
def parsed(text):
    """Return the first document of YAML; nobody changes it."""
    return next(iter(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))))


def spec_of(text):
    """Return the PipelineSpec of YAML; a field that KFP does not know is an error."""
    return json_format.ParseDict(parsed(text), pipeline_spec_pb2.PipelineSpec())


def faults(text):
    """Return what is wrong with compiled YAML, a line each."""
    try:
        spec = spec_of(text)
        deployment = pipeline_spec_pb2.PipelineDeploymentConfig()
        json_format.ParseDict(json_format.MessageToDict(spec.deployment_spec), deployment)
    except json_format.ParseError as error:
        return [str(error)]
    found = []
    dags = {"root": spec.root.dag, **{name: one.dag for name, one in spec.components.items() if one.HasField("dag")}}
    for where, dag in dags.items():
        for name, task in dag.tasks.items():
            if task.component_ref.name not in spec.components:
                found.append(f"{where}.{name}: no component {task.component_ref.name}")
            found += [f"{where}.{name}: no task {other}" for other in task.dependent_tasks if other not in dag.tasks]
    for name, one in spec.components.items():
        if not one.HasField("dag") and one.executor_label not in deployment.executors:
            found.append(f"{name}: no executor {one.executor_label}")
    for name, executor in deployment.executors.items():
        if executor.HasField("container"):
            found += [f"{name}: {fault}" for fault in _container_faults(executor.container)]
    return found


def _container_faults(container):
    tag = container.image.rsplit("/", 1)[-1]
    if "@" not in tag and (":" not in tag or tag.endswith(":latest")):
        yield f"mutable image {container.image}"
    if any(re.search(r"pip\d? install", word) for word in container.command):
        yield "installs packages at run time"


def containers(text):
    """Return the containers of compiled YAML by executor."""
    executors = parsed(text)["deploymentSpec"]["executors"]
    return {name: one["container"] for name, one in executors.items() if "container" in one}
