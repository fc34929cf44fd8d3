"""Formats of a body by their media types, and which of them a caller accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from synth_components.service.refusal import Refusal

Format: TypeAlias = Literal["csv", "json", "ndjson", "parquet"]

TYPES: Mapping[str, Format] = MappingProxyType(
    {
        "application/json": "json",
        "text/csv": "csv",
        "application/x-ndjson": "ndjson",
        "application/jsonlines": "ndjson",
        "application/x-jsonlines": "ndjson",
        "application/vnd.apache.parquet": "parquet",
        "application/x-parquet": "parquet",
    }
)
"""The media types that are read and written; the first of a format is its own name for itself."""

STREAMED = "application/x-ndjson"
"""The media type whose answers are sent while they are made."""

WILDCARDS = ("*/*", "application/*", "text/*")


@dataclass(frozen=True)
class Media:
    """A format under the name that the caller used.

    Attributes:
        type: Media type.
        format: Format of the bytes.
    """

    type: str
    format: Format

    @property
    def is_streamed(self) -> bool:
        """Whether an answer is sent while it is made."""
        return self.type == STREAMED


def media_of(content_type: str | None) -> Media | None:
    """Return the media of a body; ``None`` if the caller does not say.

    Raises:
        Refusal: 415 for a type that is not read.
    """
    name = (content_type or "").partition(";")[0].strip().lower()
    if not name:
        return None
    if name not in TYPES:
        raise Refusal(415, "UnsupportedMediaType", f"this type of body is not read; send one of {', '.join(TYPES)}")
    return Media(name, TYPES[name])


def accepted(accept: str | None, default: str) -> Media:
    """Return the media of the answer: what the caller likes best, by quality, then by order.

    Args:
        accept: The ``Accept`` header.
        default: Media type for a caller who takes anything.

    Raises:
        Refusal: 406 if nothing that is accepted can be written.
    """
    wanted = sorted(_preferences(accept or "*/*"), key=lambda part: -part[1])
    for name, quality in wanted:
        if quality <= 0:
            break
        if name in TYPES:
            return Media(name, TYPES[name])
        if name in WILDCARDS:
            prefix = name.removesuffix("*").removeprefix("*/")
            found = next((known for known in (default, *TYPES) if known.startswith(prefix)), None)
            if found is not None:
                return Media(found, TYPES[found])
    raise Refusal(406, "NotAcceptable", f"nothing that is accepted is written here; accept one of {', '.join(TYPES)}")


def _preferences(accept: str) -> list[tuple[str, float]]:
    found = []
    for part in accept.split(","):
        name, *parameters = [piece.strip().lower() for piece in part.split(";")]
        weights = [text.removeprefix("q=") for text in parameters if text.startswith("q=")]
        if name:
            found.append((name, _quality(weights[0]) if weights else 1.0))
    return found


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
