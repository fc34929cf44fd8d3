"""The committed files: every component and pipeline as YAML, with metadata and README, made from the code alone."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from kfp import compiler

from synth_components.steps.record import write_text
from synth_kubeflow.component import about, container_component, descriptions, image, inputs, outputs
from synth_kubeflow.components import COMPONENTS, Component
from synth_kubeflow.execute import METADATA, METRICS, ROC
from synth_kubeflow.pipelines import PIPELINES, arguments, build, summary
from synth_kubeflow.runtime import rights, runtime

KFP = ">=2.17.0"
"""The releases of Kubeflow Pipelines that the assets are made for."""

LAST_VERIFIED = "2026-11-22T00:00:00Z"
"""When the assets were last run as ``kubeflow/README.md`` says; the catalogue drops what is older than a year."""

_SERVICES: Mapping[str, list[dict[str, str]]] = {
    "mlflow_flavor": [{"name": "MLflow", "version": ">=3.10"}],
    "synth_sagemaker": [{"name": "Amazon SageMaker"}],
    "synth_kubeflow": [{"name": "Kubeflow Trainer", "version": ">=2.2"}],
}
"""What a step of an adapter talks to, by the adapter's package."""

_GENERATED = "<!-- Written by `synth kubeflow compile --output kubeflow`; change the step, not this file. -->"


def write(folder: Path) -> None:
    """Write every file below a folder, which is ``kubeflow`` in a clone."""
    for path, text in files().items():
        write_text(folder / path, text)


def files() -> dict[str, str]:
    """Return the text of every file by its path below ``kubeflow``."""
    made: dict[str, str] = {}
    for name, component in COMPONENTS.items():
        folder = f"components/{component.category}/{name}"
        made[f"{folder}/component.yaml"] = compiled(container_component(name, image(needs_torch=component.needs_torch)))
        made[f"{folder}/metadata.yaml"] = _metadata(name, [component.category], component)
        made[f"{folder}/README.md"] = "\n".join(_component_page(component))
    for name in PIPELINES:
        made[f"pipelines/{name}/pipeline.yaml"] = compiled(build(name))
        made[f"pipelines/{name}/metadata.yaml"] = _metadata(name, ["pipeline"])
        made[f"pipelines/{name}/README.md"] = "\n".join(_pipeline_page(name))
    for name, parts in {"synth-torch": [runtime(image(needs_torch=True))], "rbac": rights()}.items():
        made[f"runtimes/{name}.yaml"] = "---\n".join(yaml.safe_dump(part, sort_keys=False) for part in parts)
    return made


def compiled(asset: Any) -> str:  # noqa: ANN401 - kfp has no types
    """Return the YAML of a component or pipeline."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "asset.yaml")
        compiler.Compiler().compile(asset, str(path))
        return path.read_text(encoding="utf-8")


def _metadata(name: str, tags: list[str], component: Component | None = None) -> str:
    """Return metadata as ``kubeflow/pipelines-components`` validates it."""
    services = _SERVICES.get(component.step.partition(".")[0], []) if component else []
    said = {
        "name": name,
        "tier": "third_party",
        "stability": "alpha",
        "dependencies": {"kubeflow": [{"name": "Pipelines", "version": KFP}], "external_services": services},
        "tags": ["synthetic_data", "tabular", *tags],
        "lastVerified": LAST_VERIFIED,
        "ci": {"skip_dependency_probe": True},
    }
    return yaml.safe_dump(said, sort_keys=False)


def _component_page(component: Component) -> Iterator[str]:
    said, takes, gives = descriptions(component), inputs(component), outputs(component)
    yield from (_GENERATED, "", f"# {component.name}", "", about(component), "## Inputs", "")
    yield from _table(["name", "type", "default", "description"], [_row(one, said) for one in takes.values()])
    yield from ("", "## Outputs", "")
    yield from _table(["name", "type", "description"], [[f"`{k}`", _type(p), said[k]] for k, p in gives.items()])
    curve = f", and `{ROC}`, whose metadata are the curve" * component.has_roc
    yield from ("", f"The metadata of each output but `{METRICS}`, whose metadata are the metrics{curve}:", "")
    yield from _table(["key", "meaning"], [[f"`{key}`", meaning] for key, meaning in METADATA.items()])
    yield from ("", "## Caching", "", _caching(component), "", "## Use", "", "```python")
    yield "from kfp import components"
    yield ""
    yield f'{component.name} = components.load_component_from_file("component.yaml")'
    yield from ("```", "", "What has been run, and where: [kubeflow/README.md](../../../README.md).", "")


def _pipeline_page(name: str) -> Iterator[str]:
    known = arguments(name)
    rows = [_row(one.parameter(key), {key: one.description()}) for key, one in known.items()]
    yield from (_GENERATED, "", f"# {name}", "", summary(name), "", "## Arguments", "")
    yield from _table(["name", "type", "default", "description"], rows)
    flags = "".join(
        f" --{key.replace('_', '-')} ..."
        for key, one in known.items()
        if not one.is_uri and one.parameter(key).default is inspect.Parameter.empty
    )
    yield from ("", "## Run it on this machine", "", "```sh")
    yield f"synth kubeflow run-local {name.replace('_', '-')} --data table.csv{flags}"
    yield from ("```", "", "What has been run, and where: [kubeflow/README.md](../../README.md).", "")


def _caching(component: Component) -> str:
    seed = component.fields().get("seed")
    if seed is None:
        return "Equal inputs and parameters give equal outputs, so a cached result is right."
    rule = "Equal inputs and parameters give equal outputs, so a cached result is right"
    if any(getattr(limit, "ge", 0) == -1 for limit in seed.metadata):
        return f"{rule}; with seed -1 call `set_caching_options(False)`, or every run returns the rows of the first."
    return f"{rule}."


def _row(parameter: inspect.Parameter, said: dict[str, str]) -> list[str]:
    default = "required" if parameter.default is parameter.empty else f"`{json.dumps(parameter.default)}`"
    return [f"`{parameter.name}`", _type(parameter), "none" if default == "`null`" else default, said[parameter.name]]


def _type(parameter: inspect.Parameter) -> str:
    """Return the type of an input or output as the interface of KFP shows it."""
    from kfp.dsl.types import type_annotations

    annotation = type_annotations.maybe_strip_optional_from_annotation(parameter.annotation)
    if isinstance(annotation, type_annotations.OutputPath):
        annotation = annotation.type
    elif type_annotations.is_Input_Output_artifact_annotation(annotation):
        annotation = type_annotations.strip_Input_or_Output_marker(annotation)
        if type_annotations.is_list_of_artifacts(annotation):
            return f"list of {type_annotations.get_inner_type(annotation).__name__}"
    return str(annotation.__name__)


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in row)} |"
