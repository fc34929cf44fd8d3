"""A table that came as bytes, such as the body of a request: read where it is, never through a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from synth_components.io.location import Location


@dataclass(frozen=True)
class Held:
    """As much of a ``pyarrow.fs.FileSystem`` as reading one file takes.

    Attributes:
        body: The bytes of the file, whatever its path.
    """

    body: bytes

    def open_input_stream(self, _: str, compression: str | None = None) -> Any:  # noqa: ANN401 - pyarrow has no stubs
        """Return a stream that reads the bytes from their start."""
        import pyarrow as pa

        stream = pa.BufferReader(self.body)
        return stream if compression is None else pa.CompressedInputStream(stream, compression)


def held(body: bytes, text: str) -> Location:
    """Return where bytes are that are already here.

    Args:
        text: What messages call them.
    """
    return Location(text, text, Held(body), is_local=False)
