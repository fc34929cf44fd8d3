"""What the service refuses, as an HTTP status and a typed JSON object; never with a value of a cell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from synth_components.errors import LimitError, SynthError

CONTENT_TYPE = "application/json"


@dataclass(eq=False)
class Refusal(Exception):
    """A request that is not answered with rows.

    Attributes:
        status: HTTP status.
        kind: Class of the error, the ``type`` of the answer.
        message: What is wrong, and what to do.
        headers: Of the answer, such as ``Retry-After``.
        about: What the answer says beside: columns, limits.
    """

    status: int
    kind: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """The answer as JSON."""
        said = {"type": self.kind, "status": self.status, "message": self.message, **self.about}
        return json.dumps(said, ensure_ascii=False).encode()


def too_large(message: str, **about: int) -> Refusal:
    """Return the refusal of more rows or bytes than one answer may have."""
    return Refusal(413, "TooLarge", message, about=about)


def unavailable(message: str, *, seconds: int = 1) -> Refusal:
    """Return the refusal of a service that cannot answer now; the same request may be made again later."""
    return Refusal(503, "Unavailable", message, {"Retry-After": str(seconds)})


def refusal_of(error: SynthError) -> Refusal:
    """Return an error of the core as an answer: the caller's fault, but for a limit of this process."""
    if isinstance(error, LimitError):
        return unavailable("the service is at its limit of memory; ask for fewer rows, or later")
    names = getattr(error, "columns", None) or tuple(filter(None, [getattr(error, "column", None)]))
    return Refusal(400, type(error).__name__, str(error), about={"columns": list(names)} if names else {})


def of_bug() -> Refusal:
    """Return the answer to a request that met a bug of ours; the log says where."""
    return Refusal(500, "InternalError", "internal error; the log of the service says where it arose")
