"""Generators: a generator's name is its path, ``tabular.trees`` is ``generators/tabular/trees.py``.

There is no registry: names are found without importing a generator, and a generator is imported when it is named.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from synth_components.config import Recipe
from synth_components.errors import UnsupportedError
from synth_components.protocols import Generator, Sampler

DEFAULT = "tabular.trees"
"""The generator that ``synth.fit`` uses when none is named."""

GROUP = "synth_components.generators"
"""Entry-point group of installed packages that bring generators."""


def names() -> tuple[str, ...]:
    """Return every generator's name, ours and those of installed entry points, without importing one."""
    return tuple(sorted({*_own_names(), *(point.name for point in brought())}))


@cache
def _own_names() -> tuple[str, ...]:
    return tuple(
        module.name.removeprefix(f"{__name__}.")
        for module in pkgutil.walk_packages(__path__, f"{__name__}.")
        if not module.ispkg and not any(part.startswith("_") for part in module.name.split("."))
    )


def brought() -> tuple[EntryPoint, ...]:
    """Return the entry points of installed packages that bring generators."""
    # Finding them opens a file of every installed package; an installation changes the folder that it goes to.
    return _brought(tuple((folder, _changed(folder)) for folder in sys.path))


def _changed(folder: str) -> int | None:
    try:
        return os.stat(folder or ".").st_mtime_ns  # noqa: PTH116 - it is asked for often, and a Path takes longer
    except OSError:
        return None


@lru_cache(maxsize=4)
def _brought(folders: tuple[tuple[str, int | None], ...]) -> tuple[EntryPoint, ...]:  # noqa: ARG001 - the cache's key
    return tuple(entry_points(group=GROUP))


def private_names() -> tuple[str, ...]:
    """Return the names of our generators that may be fitted privately: some of them if their members are."""
    others = {point.name for point in brought()}
    return tuple(name for name in names() if name not in others and not recipe_type(name).without_privacy)


def module_of(name: str, *, trust: tuple[str, ...] = ()) -> ModuleType:
    """Return the module of a generator.

    Args:
        name: Our name, an installed entry point's, or a dotted module path that ``trust`` contains.
        trust: Module paths that the caller allows to be imported although nobody installed them as generators.

    Raises:
        UnsupportedError: for an unknown or untrusted name.
    """
    if name in trust and name not in names():
        return importlib.import_module(name)
    for point in brought():
        if point.name == name:
            return importlib.import_module(point.module)
    if name not in _own_names():
        raise UnsupportedError(f"there is no generator '{name}'; choose one of {', '.join(names())}")
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise UnsupportedError(
            f"generator '{name}' needs the package '{error.name}', which is not installed; "
            "install the extra that the README names for it"
        ) from None


def recipe_type(name: str, *, trust: tuple[str, ...] = ()) -> type[Recipe]:
    """Return the recipe class of a generator: its options are the class's fields."""
    found: type[Recipe] = module_of(name, trust=trust).GENERATOR
    return found


def sampler_type(name: str, *, trust: tuple[str, ...] = ()) -> type[Sampler]:
    """Return the sampler class of a generator, whose ``load`` reads its artefacts."""
    found: type[Sampler] = module_of(name, trust=trust).SAMPLER
    return found


def make(name: str, options: dict[str, object] | None = None, *, trust: tuple[str, ...] = ()) -> Generator:
    """Return the recipe of a generator with the given options.

    Raises:
        ConfigError: for an unknown option or a value that breaks its rule.
    """
    recipe = recipe_type(name, trust=trust).parse(options)
    assert isinstance(recipe, Generator)  # noqa: S101 - the contract of GENERATOR, checked by testing.py
    return recipe
