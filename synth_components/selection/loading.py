"""What fits import late, imported at once: a race charges it to no candidate, and no clock interrupts it half-way."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from synth_components.generators import recipe_type

LATE = (
    "scipy.optimize",
    "scipy.stats",
    "sklearn.cluster",
    "sklearn.ensemble",
    "sklearn.model_selection",
    "sklearn.neighbors",
    "sklearn.tree",
    "synth_components.evaluation.detection",
    "synth_components.generators.tabular._boosting",
    "threadpoolctl",
)
"""What generators without optional packages, and the judge of a race, import where they use it."""


def load(names: Sequence[str]) -> None:
    """Import what fits of these generators, and the judge of a race, need.

    Raises:
        UnsupportedError: for an unknown generator.
    """
    packages = dict.fromkeys(package for name in names for package in recipe_type(name).needs)
    for module in (*LATE, *packages):
        import_module(module)
    if "torch" in packages:
        from synth_components.generators._torch import load_all

        load_all()
