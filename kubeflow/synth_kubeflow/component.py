"""A component of Kubeflow Pipelines, derived from a step: parameters from its options, artifacts from its ports."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, List, Optional, get_origin  # noqa: UP035 - kfp reads typing's own

from kfp import dsl
from pydantic import TypeAdapter

from synth_components.config import Config
from synth_components.steps.port import KINDS, Kind, Port, details, summary
from synth_kubeflow.components import COMPONENTS, Component
from synth_kubeflow.execute import METRICS, ROC, SCORE

IMAGE_VARIABLE = "SYNTH_KUBEFLOW_IMAGE"
"""Environment variable that names another image when components are compiled."""

IMAGE = f"synth-components:{version('synth-components')}"
"""The image that every component runs in, unless ``IMAGE_VARIABLE`` names one."""

TORCH_IMAGE_VARIABLE = "SYNTH_KUBEFLOW_TORCH_IMAGE"
"""Environment variable that names another image for what needs torch."""

TORCH_IMAGE = f"{IMAGE}-torch"
"""The image of what needs torch, unless ``TORCH_IMAGE_VARIABLE`` names one."""

_TYPES: Mapping[Kind, type[dsl.Artifact]] = MappingProxyType(
    {"dataset": dsl.Dataset, "model": dsl.Model, "page": dsl.HTML, "text": dsl.Markdown}
)

_SAID = {
    METRICS: "Seconds, peak memory in MiB, rows of each output, and the scores.",
    ROC: "ROC of a learner trained on synthetic rows that predicts real ones; empty unless there are two classes.",
    SCORE: "Least of the scores {names} over tasks and learners.",
}

_MAP = "{text} A map, in the place of the artifact; empty for none."


def image(*, needs_torch: bool = False) -> str:
    """Return the image that components are compiled with: that with torch, or that without."""
    variable, ours = (TORCH_IMAGE_VARIABLE, TORCH_IMAGE) if needs_torch else (IMAGE_VARIABLE, IMAGE)
    return os.environ.get(variable) or ours


@cache
def container_component(name: str, image: str) -> Any:  # noqa: ANN401 - kfp has no types
    """Return the component of that name as ``@dsl.container_component`` makes it, running in ``image``."""
    found = COMPONENTS[name]

    def made(*_: object) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(
            image=image,
            command=["synth", "kubeflow", "execute", name],
            args=["--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER],
        )

    made.__name__ = name
    made.__doc__ = docstring(found)
    made.__signature__ = inspect.Signature([*inputs(found).values(), *outputs(found).values()])  # type: ignore[attr-defined]
    return dsl.container_component(made)


def inputs(component: Component) -> dict[str, inspect.Parameter]:
    """Return the input artifacts, then the input parameters, as kfp reads them off a signature."""
    made = {
        name: _keyword(
            name, _input(component, name, port), default=None if _is_optional(component, name, port) else ...
        )
        for name, port in component.ports().items()
        if port.direction == "in"
    }
    return made | {name: parameter(component, name) for name in [*component.fields(), *component.maps()]}


def parameter(component: Component, name: str) -> inspect.Parameter:
    """Return an option of a component as kfp reads it off a signature: its type, and the step's default.

    A map that stands for an artifact is empty by default, for none.
    """
    if name in component.maps():
        return _keyword(name, dict, default={})
    field = component.fields()[name]
    default: Any = ...
    if not field.is_required() and name not in component.required:
        default = field.get_default(call_default_factory=True)
        default = default.model_dump(mode="json") if isinstance(default, Config) else default
        default = list(default) if isinstance(default, tuple) else default
    return _keyword(name, _python_type(field.annotation), default=default)


def outputs(component: Component) -> dict[str, inspect.Parameter]:
    """Return the outputs as kfp reads them off a signature: those of the step, metrics, the ROC and the score."""
    made = {
        name: _keyword(name, dsl.Output[_TYPES.get(port.kind, dsl.Artifact)])
        for name, port in component.ports().items()
        if port.direction == "out"
    }
    made[METRICS] = _keyword(METRICS, dsl.Output[dsl.Metrics])
    if component.has_roc:
        made[ROC] = _keyword(ROC, dsl.Output[dsl.ClassificationMetrics])
    if component.score:
        made[SCORE] = _keyword(SCORE, dsl.OutputPath(float))
    return made


def descriptions(component: Component) -> dict[str, str]:
    """Return what every input and output is for, by name."""
    said = {name: f"{port.description.rstrip('.')} ({KINDS[port.kind]})." for name, port in component.ports().items()}
    said |= {name: field.description or "" for name, field in component.fields().items()}
    said |= {name: _MAP.format(text=component.ports()[port].description) for name, port in component.maps().items()}
    said[METRICS] = _SAID[METRICS]
    if component.has_roc:
        said[ROC] = _SAID[ROC]
    if component.score:
        said[SCORE] = _SAID[SCORE].format(names=" or ".join(component.score))
    return said


def docstring(component: Component) -> str:
    """Return the docstring that kfp takes the descriptions from."""
    said = descriptions(component)
    blocks = [about(component), "Args:", *(_entry(name, said[name]) for name in inputs(component))]
    return "\n".join([*blocks, "", "Returns:", *(_entry(name, said[name]) for name in outputs(component))])


def about(component: Component) -> str:
    """Return what a component does: a line and, where the step says more, a paragraph; without commands."""
    step = component.load()
    paragraphs = [part for part in details(step).split("\n\n") if part.strip() and not part.startswith("    ")]
    kept = [part for part in paragraphs if not part.rstrip().endswith(":")]  # it introduces a command
    return "\n\n".join([summary(step), *kept, ""])


def _entry(name: str, text: str) -> str:
    return f"    {name}: {' '.join(text.split())}"


def _is_optional(component: Component, name: str, port: Port) -> bool:
    return port.optional and name not in component.required


def _input(component: Component, name: str, port: Port) -> Any:  # noqa: ANN401
    kind: Any = _TYPES.get(port.kind, dsl.Artifact)
    if port.many and name not in component.single:
        return dsl.Input[List[kind]]  # noqa: UP006
    return Optional[dsl.Input[kind]] if _is_optional(component, name, port) else dsl.Input[kind]  # noqa: UP045


def _python_type(annotation: Any) -> type:  # noqa: ANN401 - an annotation may be any object
    """Return the type that kfp knows for what an option takes."""
    kinds = {"integer": int, "number": float, "boolean": bool, "array": list, "object": dict, "string": str}
    said = TypeAdapter(annotation).json_schema()
    if "type" not in said and get_origin(annotation) is None:
        return dict  # a config of its own
    return kinds[said["type"]]


def _keyword(name: str, annotation: Any, *, default: Any = ...) -> inspect.Parameter:  # noqa: ANN401
    empty = inspect.Parameter.empty
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=empty if default is ... else default
    )
