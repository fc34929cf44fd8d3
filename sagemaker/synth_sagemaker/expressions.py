"""The expressions of a pipeline's definition, and what they become while it runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synth_components.errors import DataError
from synth_sagemaker.shapes import is_expression

_PART = re.compile(r"\['([^']+)'\]|\[\"([^\"]+)\"\]|\[(\d+)\]|([^.\[\]]+)")

_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "Equals": lambda left, right: left == right,
    "GreaterThan": lambda left, right: left > right,
    "GreaterThanOrEqualTo": lambda left, right: left >= right,
    "LessThan": lambda left, right: left < right,
    "LessThanOrEqualTo": lambda left, right: left <= right,
}


@dataclass
class Values:
    """What is known of a run so far.

    Attributes:
        parameters: Values of the parameters.
        execution: What ``Execution`` tells.
        steps: By step, what it became.
        files: By step and name, the property files of steps.
    """

    parameters: Mapping[str, Any]
    execution: Mapping[str, str]
    steps: dict[str, Any] = field(default_factory=dict)
    files: dict[tuple[str, str], Path] = field(default_factory=dict)

    def of(self, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Return a value with every expression in it replaced.

        Raises:
            DataError: if it names what the run does not have.
        """
        if isinstance(value, list):
            return [self.of(part) for part in value]
        if not isinstance(value, Mapping):
            return value
        if not is_expression(value):
            return {name: self.of(part) for name, part in value.items()}
        ((kind, said),) = value.items()
        if kind == "Get":
            return self._get(str(said))
        if kind == "Std:Join":
            return str(said["On"]).join(_text(self.of(part)) for part in said["Values"])
        step, _, name = str(said["PropertyFile"]["Get"]).removeprefix("Steps.").partition(".PropertyFiles.")
        return self._leaf(step, name, str(said["Path"]))

    def holds(self, condition: Mapping[str, Any]) -> bool:
        """Return whether a condition holds.

        Raises:
            DataError: if it compares what cannot be compared.
        """
        kind = condition["Type"]
        if kind == "Or":
            return any(self.holds(part) for part in condition["Conditions"])
        if kind == "Not":
            return not self.holds(condition["Expression"])
        if kind == "In":
            return self.of(condition["QueryValue"]) in [self.of(part) for part in condition["Values"]]
        left, right = self.of(condition["LeftValue"]), self.of(condition["RightValue"])
        try:
            return _COMPARISONS[kind](left, right)
        except TypeError:
            raise DataError(
                f"condition {kind} compares a {type(left).__name__} with a {type(right).__name__}; a score that could "
                "not be made is no number: see the report"
            ) from None

    def _get(self, reference: str) -> Any:  # noqa: ANN401
        head, _, rest = reference.partition(".")
        if head == "Parameters":
            if self.parameters.get(rest) is None:
                raise DataError(f"parameter '{rest}' has no value; give one")
            return self.parameters[rest]
        if head == "Execution":
            return self.execution.get(rest, rest)
        return _within({"Steps": self.steps}, reference, reference)

    def _leaf(self, step: str, name: str, path: str) -> Any:  # noqa: ANN401
        file = self.files[(step, name)]
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise DataError(f"step '{step}' did not write '{file.name}' as JSON, which '{name}' is read from") from None
        return _within(said, path.removeprefix("$").removeprefix("."), f"{file.name} of step '{step}', '{path}'")


def _within(value: Any, path: str, what: str) -> Any:  # noqa: ANN401
    for quoted, double, number, plain in _PART.findall(path):
        try:
            value = value[int(number)] if number else value[quoted or double or plain]
        except (KeyError, IndexError, TypeError):
            raise DataError(f"there is nothing at {what}") from None
    return value


def _text(value: object) -> str:
    """Return a value as a pipeline joins it."""
    return value if isinstance(value, str) else json.dumps(value)
