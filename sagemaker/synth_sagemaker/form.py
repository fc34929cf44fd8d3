"""The form of a pipeline's definition: what in it is a map, a list, text or a number, and how expressions are written.

``validate`` looks here first, since whatever else it asks takes the form for granted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from synth_sagemaker.shapes import is_expression

DURATION = r"^P(?!$)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?$"
"""A duration of ISO 8601."""


def misformed(definition: Mapping[str, Any]) -> list[str]:
    """Return what in a definition has the wrong form, a line each; of members that are missing or unknown, nothing."""
    return [*_wrong(_Definition, definition, ""), *_of_expressions(definition, "")]


class _Form(BaseModel):
    """A map whose other members are told of elsewhere."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", regex_engine="python-re")


def _settled(value: object) -> object:
    return "" if is_expression(value) else value


_Text: TypeAlias = Annotated[str, BeforeValidator(_settled)]
"""Text, or an expression."""
_Scalar: TypeAlias = Annotated[str | int | float | bool, BeforeValidator(_settled)]
"""What is no list nor map, or an expression."""


class _Parameter(_Form):
    Name: str = ""
    Type: str = ""
    EnumValues: list[Any] | None = None


class _Cache(_Form):
    Enabled: bool
    ExpireAfter: str = Field("P1D", pattern=DURATION)


class _Retry(_Form):
    ExceptionType: list[str]
    IntervalSeconds: int = Field(1, ge=0)
    BackoffRate: float = Field(1.0, ge=0)
    MaxAttempts: int = Field(1, ge=1, le=20)
    ExpireAfterMin: int = Field(1, ge=1)


class _File(_Form):
    PropertyFileName: str
    OutputName: str
    FilePath: _Text


class _Dependency(_Form):
    Step: str


class _Output(_Form):
    OutputName: _Text = ""


class _Outputs(_Form):
    Outputs: list[_Output] | None = None


class _Condition(_Form):
    Type: str = ""
    LeftValue: _Scalar = ""
    RightValue: _Scalar = ""
    QueryValue: _Scalar = ""
    Conditions: list[_Condition] = []
    Values: list[_Scalar] = []
    Expression: _Condition | None = None


class _Arguments(_Form):
    Conditions: list[_Condition] | None = None
    IfSteps: list[_Step] | None = None
    ElseSteps: list[_Step] | None = None
    ErrorMessage: _Text = ""
    ProcessingOutputConfig: _Outputs | None = None


class _Step(_Form):
    Name: str
    Type: str
    Arguments: _Arguments | None = None
    DependsOn: list[Annotated[str | _Dependency, Field(union_mode="left_to_right")]] | None = None
    CacheConfig: _Cache | None = None
    RetryPolicies: list[_Retry] | None = None
    PropertyFiles: list[_File] | None = None
    DisplayName: str | None = None
    Description: str | None = None


class _Definition(_Form):
    Metadata: dict[str, Any] | None = None
    Parameters: list[_Parameter] = []
    Steps: list[_Step] = []


class _Get(_Form):
    Get: str


class _JsonGet(_Form):
    PropertyFile: _Get | None = None
    Path: str = ""


class _Join(_Form):
    On: str
    Values: list[_Scalar]


class _Joined(_Form):
    join: _Join = Field(alias="Std:Join")


class _Read(_Form):
    read: _JsonGet = Field(alias="Std:JsonGet")


_EXPRESSIONS: Mapping[str, type[_Form]] = MappingProxyType({"Get": _Get, "Std:Join": _Joined, "Std:JsonGet": _Read})


def _of_expressions(value: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):  # most of what there is, and it holds nothing
        return
    if is_expression(value):
        yield from _wrong(_EXPRESSIONS[next(iter(value))], value, path)
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _of_expressions(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from _of_expressions(part, f"{path}[{place}]")


def _wrong(form: type[_Form], value: object, path: str) -> Iterator[str]:
    """Yield where a value has not the form, and the rule; not the value."""
    try:
        form.model_validate(value)
    except ValidationError as error:
        for one in error.errors(include_url=False, include_input=False):
            parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in one["loc"])
            yield f"{path}{''.join(parts)}: {one['msg'].removeprefix('Input ')}".lstrip(".")
