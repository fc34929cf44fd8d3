"""``autolog``: every ``synth.fit`` leaves its parameters, progress, model and data in the active run.  Not written yet."""

from __future__ import annotations


def autolog() -> None:
    """Raise: not written yet."""
    raise NotImplementedError
