"""Steps: each a function ``(config, *, ports)`` that reads files and writes files; every platform derives from them.

``STEPS`` lists them in the order of the work; ``load`` imports one when it is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from synth_components.errors import UnsupportedError

if TYPE_CHECKING:
    from synth_components.steps.port import Step

STEPS: Mapping[str, str] = MappingProxyType(
    {
        "run": "run",
        "profile": "profile",
        "split": "split",
        "train": "train",
        "tune": "tune",
        "specify": "specify",
        "sample": "sample",
        "merge": "merge",
        "preserve": "preserve",
        "protect": "protect",
        "evaluate": "evaluate",
        "evaluate_fidelity": "evaluate",
        "evaluate_tstr": "evaluate",
        "evaluate_privacy": "evaluate",
        "shadow_audit": "shadow_audit",
        "validate": "validate",
        "pack": "pack",
        "compliance": "compliance",
        "report": "report",
        "select": "select",
        "gate": "gate",
        "augment": "augment",
        "demo": "demo",
    }
)
"""The module of each step, within this package.  A command is called as its step, with dashes."""


def load(name: str) -> Step:
    """Return the step of that name.

    Raises:
        UnsupportedError: if there is none.
    """
    if name not in STEPS:
        raise UnsupportedError(f"there is no step '{name}'; choose one of {', '.join(STEPS)}")
    step: Step = getattr(import_module(f"{__name__}.{STEPS[name]}"), name)
    return step
