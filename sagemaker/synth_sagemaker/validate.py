"""The definition of a pipeline, checked with no AWS account: names, references, order, and every step's request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from synth_sagemaker.form import misformed
from synth_sagemaker.pipeline import IN_THE_WORK, VERSION
from synth_sagemaker.shapes import has_member, is_expression, problems
from synth_sagemaker.training import ONCE, is_private, read_again

OPERATIONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "Training": ("CreateTrainingJob", "TrainingJobName"),
        "Processing": ("CreateProcessingJob", "ProcessingJobName"),
        "Transform": ("CreateTransformJob", "TransformJobName"),
        "Tuning": ("CreateHyperParameterTuningJob", "HyperParameterTuningJobName"),
        "Model": ("CreateModel", "ModelName"),
        "RegisterModel": ("CreateModelPackage", ""),
    }
)
"""By type of step: the operation whose request its arguments are, and the member that the pipeline fills in."""

DESCRIBED: Mapping[str, str] = MappingProxyType(
    {
        "Training": "DescribeTrainingJob",
        "Processing": "DescribeProcessingJob",
        "Transform": "DescribeTransformJob",
        "Tuning": "DescribeHyperParameterTuningJob",
        "Model": "DescribeModel",
        "RegisterModel": "DescribeModelPackage",
    }
)
"""By type of step: the operation whose answer ``Steps.NAME`` reaches into."""

BRANCHES = ("IfSteps", "ElseSteps")
EXECUTION = (
    "PipelineName",
    "PipelineArn",
    "PipelineExecutionId",
    "PipelineExecutionArn",
    "StartDateTime",
    "CurrentDateTime",
)
_SIDES = ("LeftValue", "RightValue")
CONDITIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Equals": _SIDES,
        "GreaterThan": _SIDES,
        "GreaterThanOrEqualTo": _SIDES,
        "LessThan": _SIDES,
        "LessThanOrEqualTo": _SIDES,
        "In": ("QueryValue", "Values"),
        "Not": ("Expression",),
        "Or": ("Conditions",),
    }
)
"""By type of condition: the members that it needs."""
KINDS: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {"String": (str,), "Integer": (int,), "Float": (int, float), "Boolean": (bool,)}
)
MEMBERS = (
    "Name",
    "Type",
    "Arguments",
    "DependsOn",
    "CacheConfig",
    "RetryPolicies",
    "PropertyFiles",
    "DisplayName",
    "Description",
)
MAX_STEPS = 50
MAX_BYTES = 2**20

_STEP_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PARAMETER_NAME = re.compile(r"[A-Za-z0-9](-*[A-Za-z0-9]){0,255}")
_PART = re.compile(r"^([A-Za-z0-9_-]+)((?:\['[^']+'\]|\[\d+\])*)$")


@dataclass(frozen=True)
class Placed:
    """A step, and the condition steps whose branches it is in, from the outermost."""

    step: Mapping[str, Any]
    within: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the step is called."""
        return str(self.step.get("Name", ""))

    @property
    def own(self) -> Mapping[str, Any]:
        """The arguments, but for the steps of branches."""
        arguments = self.step.get("Arguments") or {}
        return {name: value for name, value in arguments.items() if name not in BRANCHES}


def mistakes(definition: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a definition, a line each; an empty list means that nothing was found.

    What AWS alone knows is not looked at: whether roles, buckets, images and quotas exist.
    """
    found, odd = list(_of_the_whole(definition)), misformed(definition)
    if odd:
        return [*found, *odd]
    parameters = {str(one.get("Name", "")): one for one in definition.get("Parameters", [])}
    placed = list(_placed(definition.get("Steps", []), ()))
    by_name = {one.name: one for one in placed}
    found += _of_parameters(definition.get("Parameters", []))
    found += _of_names(placed)
    needs: dict[str, set[str]] = {}
    for one in placed:
        needed: set[str] = set(one.within[-1:])
        for reference in [*_references(one.own), *(f"Steps.{name}" for name in _dependencies(one))]:
            told, target = _of_reference(one, reference, parameters, by_name)
            found += [f"{one.name}: {line}" for line in told]
            needed |= {target} if target else set()
        needs[one.name] = needed
        found += [f"{one.name}: {line}" for line in _of_step(one)]
    return found + _cycles(needs)


def order(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the steps of one level in an order in which each comes after those that it needs."""
    names = [str(step["Name"]) for step in steps]
    needs = {
        str(step["Name"]): {
            name for one in _placed([step], ()) for name in _needed(one) if name in names and name != step["Name"]
        }
        for step in steps
    }
    by_name, done = {str(step["Name"]): step for step in steps}, list[str]()
    while len(done) < len(names):
        ready = next((name for name in names if name not in done and needs[name] <= set(done)), None)
        if ready is None:
            raise ValueError(f"cycle among {sorted(set(names) - set(done))}")
        done.append(ready)
    return [by_name[name] for name in done]


def _of_the_whole(definition: Mapping[str, Any]) -> Iterator[str]:
    if definition.get("Version") != VERSION:
        yield f"Version must be '{VERSION}'"
    for name in definition:
        if name not in {"Version", "Metadata", "Parameters", "PipelineExperimentConfig", "MlflowConfig", "Steps"}:
            yield f"a definition has no member '{name}'"
    if not definition.get("Steps"):
        yield "Steps must name at least one step"
    if len(json.dumps(definition).encode()) > MAX_BYTES:
        yield f"the definition has more than {MAX_BYTES:,} bytes"


def _of_parameters(parameters: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = [str(one.get("Name", "")) for one in parameters]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"parameter '{name}' is declared twice"
    for name, one in zip(names, parameters, strict=True):
        kind, default = str(one.get("Type")), one.get("DefaultValue")
        if not _PARAMETER_NAME.fullmatch(name):
            yield f"parameter '{name}': the name must be letters, digits and dashes"
        if kind not in KINDS:
            yield f"parameter '{name}': Type must be one of {', '.join(KINDS)}"
        elif default is not None and (
            not isinstance(default, KINDS[kind]) or (kind != "Boolean" and isinstance(default, bool))
        ):
            yield f"parameter '{name}': DefaultValue is no {kind}"
        elif default is not None and one.get("EnumValues") and default not in one["EnumValues"]:
            yield f"parameter '{name}': DefaultValue is none of EnumValues"


def _of_names(placed: Sequence[Placed]) -> Iterator[str]:
    names = [one.name for one in placed]
    if len(names) > MAX_STEPS:
        yield f"{len(names)} steps, at most {MAX_STEPS} are allowed"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"step '{name}' occurs twice"
    for name in names:
        if not _STEP_NAME.fullmatch(name):
            yield f"step '{name}': the name must be 1 to 64 letters, digits, dashes and underscores"


def _placed(steps: Sequence[Mapping[str, Any]], within: tuple[str, ...]) -> Iterator[Placed]:
    for step in steps:
        yield Placed(step, within)
        for branch in BRANCHES:
            inner = (step.get("Arguments") or {}).get(branch) or []
            yield from _placed(inner, (*within, str(step.get("Name", ""))))


def _dependencies(one: Placed) -> list[str]:
    listed = one.step.get("DependsOn") or []
    return [str(entry["Step"] if isinstance(entry, Mapping) else entry) for entry in listed]


def _needed(one: Placed) -> set[str]:
    steps = (text.split(".")[1] for text in _references(one.own) if text.startswith("Steps."))
    return {*steps, *_dependencies(one)}


def _references(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if isinstance(value, Mapping):
        if set(value) == {"Get"} and isinstance(value["Get"], str):
            yield value["Get"]
            return
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)


def _of_reference(
    one: Placed, reference: str, parameters: Mapping[str, Any], by_name: Mapping[str, Placed]
) -> tuple[list[str], str]:
    """Return what is wrong with a reference, and the step that it needs."""
    head, _, rest = reference.partition(".")
    if head == "Parameters":
        return ([] if rest in parameters else [f"there is no parameter '{rest}'"]), ""
    if head == "Execution":
        return ([] if rest in EXECUTION else [f"an execution has no '{rest}'"]), ""
    if head != "Steps":
        return [f"'{reference}' begins with none of Parameters, Execution and Steps"], ""
    name, _, path = rest.partition(".")
    target = by_name.get(name)
    if target is None:
        return [f"there is no step '{name}'"], ""
    if one.within[: len(target.within)] != target.within:
        return [f"step '{name}' is in a branch that this step is not in"], name
    return _of_path(target, path), name


def _of_path(target: Placed, path: str) -> list[str]:
    """Return what is wrong with a path into what a step becomes."""
    kind = str(target.step.get("Type"))
    if not path:
        return []
    first, _, rest = path.partition(".")
    if first == "PropertyFiles":
        known = [str(file.get("PropertyFileName")) for file in target.step.get("PropertyFiles") or []]
        return [] if rest in known else [f"step '{target.name}' has no property file '{rest}'"]
    if kind not in DESCRIBED:
        return [] if path == "Outcome" else [f"a step of type {kind} has no '{path}'"]
    if (
        kind == "Processing"
        and (named := re.search(r"Outputs\['([^']+)'\]", path))
        and named[1] not in _outputs(target)
    ):
        return [f"step '{target.name}' has no output '{named[1]}'"]
    names = [part for text in re.split(r"\.(?![^\[]*\])", path) if (part := _PART.match(text))]
    if has_member(DESCRIBED[kind], [part[1] for part in names]):
        return []
    return [f"'{path}' is nothing that {DESCRIBED[kind]} tells of step '{target.name}'"]


def _outputs(one: Placed) -> list[str]:
    listed = (one.own.get("ProcessingOutputConfig") or {}).get("Outputs") or []
    return [str(output.get("OutputName")) for output in listed]


def _of_step(one: Placed) -> Iterator[str]:
    kind, arguments = str(one.step.get("Type")), one.own
    for name in one.step:
        if name not in MEMBERS:
            yield f"a step has no member '{name}'"
    if one.step.get("PropertyFiles") and kind != "Processing":
        yield "PropertyFiles are of processing steps only"
    for file in one.step.get("PropertyFiles") or []:
        if kind == "Processing" and file.get("OutputName") not in _outputs(one):
            yield f"a property file names the output '{file.get('OutputName')}', which there is not"
    if kind == "Condition":
        yield from _of_conditions(one)
    elif kind == "Fail":
        if not arguments.get("ErrorMessage"):
            yield "ErrorMessage is missing"
    elif kind in OPERATIONS:
        operation, filled = OPERATIONS[kind]
        yield from problems(operation, arguments, without=(filled,) if filled else ())
        if kind == "Training":
            yield from _of_a_private_fit(one)
    else:
        yield f"type '{kind}' is none of {', '.join([*OPERATIONS, 'Condition', 'Fail'])}"


def _of_a_private_fit(one: Placed) -> Iterator[str]:
    again = read_again(one.own)
    if again:
        yield f"{again}: {ONCE}"
    kinds = [kind for policy in one.step.get("RetryPolicies") or [] for kind in policy["ExceptionType"]]
    if is_private(one.own) and set(kinds) & set(IN_THE_WORK):
        yield f"RetryPolicies: {ONCE}"


def _of_conditions(one: Placed) -> Iterator[str]:
    conditions = one.own.get("Conditions")
    if not conditions:
        yield "Conditions are missing"
        return
    for condition in conditions:
        yield from _of_condition(condition)
    for expression in _expressions(conditions):
        if set(expression) == {"Std:JsonGet"}:
            said = expression["Std:JsonGet"]
            if not said.get("Path") or ".PropertyFiles." not in str((said.get("PropertyFile") or {}).get("Get")):
                yield "Std:JsonGet takes a PropertyFile of a step, and a Path"


def _of_condition(condition: Mapping[str, Any]) -> Iterator[str]:
    kind = str(condition.get("Type"))
    if kind not in CONDITIONS:
        yield f"condition '{kind}' is none of {', '.join(CONDITIONS)}"
        return
    for name in CONDITIONS[kind]:
        if name not in condition:
            yield f"condition '{kind}' needs {name}"
    inner = condition.get("Conditions") or []
    for part in [*inner, *([condition["Expression"]] if condition.get("Expression") else [])]:
        yield from _of_condition(part)


def _expressions(value: Any) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401
    if is_expression(value):
        yield value
    for part in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _expressions(part)


def _cycles(needs: Mapping[str, set[str]]) -> list[str]:
    done: set[str] = set()
    while len(done) < len(needs):
        ready = {name for name in needs if name not in done and needs[name] & set(needs) <= done}
        if not ready:
            return [f"steps {', '.join(sorted(set(needs) - done))} wait for each other"]
        done |= ready
    return []
