"""Which steps are components, under which name.  All else about a component is read off its step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic.fields import FieldInfo

from synth_components.errors import UnsupportedError
from synth_components.steps import load
from synth_components.steps.port import Port, config_of, ports

if TYPE_CHECKING:
    from synth_components.steps.port import Step

Category: TypeAlias = Literal["data_processing", "training", "evaluation", "deployment"]


@dataclass(frozen=True)
class Component:
    """A step as a component of a pipeline.

    Attributes:
        name: Name of the component.
        step: Name of the core's step, or ``module:function`` of an adapter's.
        category: Its folder, as ``kubeflow/pipelines-components`` sorts them.
        required: Options and ports that have to be given here, although the step has a default.
        without: Options and ports of the step that this component leaves alone; a dataset is always written as Parquet.
        single: Ports of many tables that take one here: a pipeline can pass on several only out of a loop.
        score: Names of scores, of which the first that the report has is an output parameter ``score``.
        has_roc: Whether its report may hold the ROC of a target of two classes, which becomes an output ``roc``.
        needs_torch: Whether it runs in the image with torch.
    """

    name: str
    step: str
    category: Category
    required: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    single: tuple[str, ...] = ()
    score: tuple[str, ...] = ()
    has_roc: bool = False
    needs_torch: bool = False

    def load(self) -> Step:
        """Return the step."""
        module, _, function = self.step.partition(":")
        step: Step = getattr(import_module(module), function) if function else load(module)
        return step

    def ports(self) -> dict[str, Port]:
        """Return the step's ports by name, less those left alone."""
        return {name: port for name, port in ports(self.load()).items() if name not in self.without}

    def fields(self) -> dict[str, FieldInfo]:
        """Return the step's options by name, less those left alone."""
        found = config_of(self.load()).model_fields
        return {name: field for name, field in found.items() if name not in self.without}

    def maps(self) -> dict[str, str]:
        """Return the inputs that a map among the parameters may stand for, by the name of that parameter.

        They are schemas that nobody has to give: a person writes one down, and a pipeline imports no artifact that may
        be missing.
        """
        return {
            f"declared_{name}": name
            for name, port in self.ports().items()
            if port.direction == "in" and port.kind == "schema" and port.optional and name not in self.required
        }


_LISTED = (
    Component("profile_data", "profile", "data_processing"),
    Component("split_data", "split", "data_processing"),
    Component("train_generator", "train", "training"),
    Component(
        "train_generator_distributed",
        "synth_kubeflow.distributed:train_distributed",
        "training",
        required=("generator",),
        needs_torch=True,
    ),
    Component("specify", "specify", "training"),
    Component("sample", "sample", "data_processing", without=("shard_index", "num_shards", "format")),
    Component(
        "sample_sharded", "sample", "data_processing", required=("shard_index", "num_shards"), without=("format",)
    ),
    Component("merge_shards", "merge", "data_processing", without=("format",)),
    Component("keep_dataset", "merge", "data_processing", without=("format",), single=("parts",)),
    Component("preserve", "preserve", "data_processing"),
    Component("protect", "protect", "data_processing"),
    Component("evaluate", "evaluate", "evaluation", has_roc=True),
    Component("evaluate_fidelity", "evaluate_fidelity", "evaluation"),
    Component(
        "evaluate_tstr",
        "evaluate_tstr",
        "evaluation",
        required=("target",),
        score=("utility.tstr.accuracy", "utility.tstr.r2"),
        has_roc=True,
    ),
    Component("evaluate_privacy", "evaluate_privacy", "evaluation"),
    Component("tune", "tune", "training"),
    Component("shadow_audit", "shadow_audit", "evaluation"),
    Component("validate", "validate", "evaluation"),
    Component("compliance", "compliance", "evaluation", single=("data", "reports")),
    Component("select_best", "select", "evaluation", required=("models",)),
    Component("gate", "gate", "evaluation", single=("audits",)),
    Component("augment", "augment", "data_processing"),
    Component("report", "report", "evaluation"),
    Component("register_model", "mlflow_flavor.register:register", "deployment"),
    Component("export_to_sagemaker", "synth_sagemaker.export:export", "deployment"),
)

COMPONENTS: Mapping[str, Component] = MappingProxyType({one.name: one for one in _LISTED})
"""Every component by name, in the order of the work."""


def component(name: str) -> Component:
    """Return the component of that name.

    Raises:
        UnsupportedError: if there is none.
    """
    if name not in COMPONENTS:
        raise UnsupportedError(f"there is no component '{name}'; choose one of {', '.join(COMPONENTS)}")
    return COMPONENTS[name]
