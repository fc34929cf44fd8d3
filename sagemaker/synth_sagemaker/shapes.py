"""Requests against botocore's own service model, checked harder than botocore checks them.

botocore looks at types, required and unknown members, and least lengths.  AWS also refuses what is too long, breaks a
pattern or is no value of an enumeration, though only after the call: the model says all of it, so it is found here.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import botocore.session
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

from synth_components.errors import DataError

EXPRESSIONS = ("Get", "Std:Join", "Std:JsonGet")
"""The one key of a map that stands for a value which a pipeline only knows when it runs."""

_NUMBERS = ("integer", "long", "float", "double")
_STAND_INS: Mapping[str, Any] = {"integer": 1, "long": 1, "float": 1.0, "double": 1.0, "boolean": True}
_CLASS = re.compile(r"\\p\{(\w+)\}")
_POSIX: Mapping[str, str] = {"ASCII": r"\x00-\x7f", "Alnum": "a-zA-Z0-9", "Print": r"\x20-\x7e"}


def require_shape(operation: str, request: Mapping[str, Any], *, service: str = "sagemaker") -> None:
    """Refuse a request that the service's model does not accept.

    Args:
        operation: Name of the API's operation, such as ``CreateTrainingJob``.
        service: Name of the service, as botocore calls it.

    Raises:
        DataError: naming every member that is wrong, and the rule; no value.
    """
    found = problems(operation, request, service=service)
    if found:
        raise DataError(f"{operation} would be refused: {'; '.join(found)}")


def problems(
    operation: str,
    request: Mapping[str, Any],
    *,
    service: str = "sagemaker",
    without: tuple[str, ...] = (),
) -> list[str]:
    """Return what is wrong with a request, a line for each member; an empty list means that the model accepts it.

    A pipeline's expression is taken for a value of its member's type: what it becomes is known when the pipeline runs.

    Args:
        without: Required members of the request that may be missing, since a pipeline fills them in.
    """
    shape = _service(service).operation_model(operation).input_shape
    settled = _settled(request, shape)
    report = ParamValidator().validate({**_absent(shape, settled, without), **settled}, shape)
    # botocore shows the value after "value: "; members and types are enough, and values may be secrets.
    lines = [re.sub(r", value: .*?(?=, (?:type|valid))", "", line) for line in report.generate_report().splitlines()]
    return [*lines, *_broken(request, shape, "")] if lines != [""] else list(_broken(request, shape, ""))


def has_member(operation: str, path: Sequence[str], *, service: str = "sagemaker") -> bool:
    """Return whether the answer of an operation has a member, named by those above it; lists and maps are entered."""
    shape = _service(service).operation_model(operation).output_shape
    for name in path:
        while shape.type_name in ("list", "map"):
            shape = shape.member if shape.type_name == "list" else shape.value
        if shape.type_name != "structure" or name not in shape.members:
            return False
        shape = shape.members[name]
    return True


def is_expression(value: object) -> bool:
    """Return whether a value is an expression of a pipeline's definition."""
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in EXPRESSIONS


@cache
def _service(name: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(name)


def _absent(shape: Shape, request: Mapping[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    """Return a stand-in for each member that a pipeline fills in."""
    return {name: _settled({"Get": ""}, shape.members[name]) for name in without if name not in request}


def _settled(value: Any, shape: Shape) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value with a stand-in of the right type for every expression."""
    kind = getattr(shape, "type_name", "")
    if is_expression(value):
        return _STAND_INS.get(kind, "x" * max(int(shape.metadata.get("min", 1)), 1) if kind else "x")
    if kind == "structure" and isinstance(value, Mapping):
        return {name: _settled(part, shape.members.get(name)) for name, part in value.items()}
    if kind == "map" and isinstance(value, Mapping):
        return {name: _settled(part, shape.value) for name, part in value.items()}
    if kind == "list" and isinstance(value, list | tuple):
        return [_settled(part, shape.member) for part in value]
    return value


def _broken(value: Any, shape: Shape, path: str) -> Iterator[str]:  # noqa: ANN401
    """Yield what botocore lets pass and the model forbids."""
    if is_expression(value):
        return
    kind, most = shape.type_name, shape.metadata.get("max", float("inf"))
    if kind == "string" and isinstance(value, str):
        yield from _broken_text(value, shape, path)
    elif kind in _NUMBERS and isinstance(value, bool):
        yield f"{path}: is true or false, and must be a number"
    elif kind in _NUMBERS and isinstance(value, int | float):
        if value > most:
            yield f"{path}: at most {most} is allowed"
    elif kind == "list" and isinstance(value, list | tuple):
        if len(value) > most:
            yield f"{path}: {len(value)} items, at most {most} are allowed"
        for place, part in enumerate(value):
            yield from _broken(part, shape.member, f"{path}[{place}]")
    elif kind == "map" and isinstance(value, Mapping):
        if len(value) > most:
            yield f"{path}: {len(value)} entries, at most {most} are allowed"
        for name, part in value.items():
            yield from _broken(name, shape.key, f"{path}.{name} (its key)")
            yield from _broken(part, shape.value, f"{path}.{name}")
    elif kind == "structure" and isinstance(value, Mapping):
        for name, part in value.items():
            if name in shape.members:  # botocore names the others
                yield from _broken(part, shape.members[name], f"{path}.{name}" if path else name)


def _broken_text(value: str, shape: Shape, path: str) -> Iterator[str]:
    most = shape.metadata.get("max", sys.maxsize)
    if len(value) > most:
        yield f"{path}: {len(value)} characters, at most {most} are allowed"
    if shape.enum and value not in shape.enum:
        yield f"{path}: is none of the {len(shape.enum)} values that the service takes"
    pattern = shape.metadata.get("pattern")
    if pattern and not _expression(pattern, is_ascii=value.isascii()).fullmatch(value):
        yield f"{path}: does not match {pattern}"


@cache
def _expression(pattern: str, *, is_ascii: bool) -> re.Pattern[str]:
    """Return a pattern of the model, which is Java's, as Python's."""
    # A repeated end of text is Java's alone, and the length is checked by itself; Java writes far planes as surrogates.
    text = re.sub(r"\$\{1,\d+\}$", "", pattern).replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")
    last = 127 if is_ascii else sys.maxunicode

    def members(found: re.Match[str]) -> str:
        inside = _POSIX.get(found[1]) or _ranges(last=last)[found[1]]
        before = re.sub(r"\\.", "  ", text[: found.start()])
        return inside if before.rfind("[") > before.rfind("]") else f"[{inside}]"

    return re.compile(_CLASS.sub(members, text))


@cache
def _ranges(*, last: int) -> Mapping[str, str]:
    """Return the characters up to a code point by Unicode category, each as the inside of a class."""
    runs: dict[str, list[list[int]]] = {category: [] for category in "LMNPSZC"}
    for code in range(last + 1):
        held = runs[unicodedata.category(chr(code))[0]]
        if held and held[-1][1] == code - 1:
            held[-1][1] = code
        else:
            held.append([code, code])
    # No mark is ASCII, and a class must not be empty.
    return {
        category: "".join(f"\\U{first:08x}-\\U{end:08x}" for first, end in held or [[0, 0]])
        for category, held in runs.items()
    }
