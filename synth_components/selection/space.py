"""What of a generator can be searched, read off its recipe: each option's type, its bounds and its default."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from synth_components.config import Config, ConfigError, Recipe, bounds

SPAN = 8.0
"""A number is sought from an eighth of its default to eight times it, within the option's own bounds."""
_INSIDE = 0.05  # of a share whose end is not allowed


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both allowed.

    Attributes:
        is_whole: Whether they are integers.
        is_log: Whether ratios count, not differences.
    """

    low: float
    high: float
    is_whole: bool
    is_log: bool


@dataclass(frozen=True)
class Choices:
    """Some values."""

    values: tuple[Any, ...]


Space = Mapping[str, Range | Choices]


def space_of(
    recipe: type[Recipe],
    *,
    asked: Sequence[str] = (),
    ranges: Mapping[str, Sequence[Any]] | None = None,
    fixed: Mapping[str, Any] | None = None,
    span: float = SPAN,
) -> Space:
    """Return what to search of a generator, by option.

    Args:
        asked: Options to search; empty takes every number, truth value and choice that is not fixed.
        ranges: ``[low, high]`` of a number, or the values of another option, instead of those of the recipe.
        fixed: Options that have a value.
        span: How far from its default a number is sought, as a factor.

    Raises:
        ConfigError: for an option that does not exist or has no range, or a range outside the option's own bounds.
    """
    ranges, fixed = dict(ranges or {}), dict(fixed or {})
    names = list(asked) or [name for name in recipe.model_fields if name not in fixed]
    made: dict[str, Range | Choices] = {}
    for name in dict.fromkeys([*names, *ranges]):
        if name not in recipe.model_fields:
            raise ConfigError(
                f"{recipe.__name__} has no option '{name}'; its options are: {', '.join(recipe.model_fields)}",
                option=name,
            )
        if name in fixed:
            raise ConfigError(f"option '{name}' has a value and is to be searched; drop one", option=name)
        found = _given(recipe, name, ranges[name]) if name in ranges else _declared(recipe, name, span)
        if found is not None:
            made[name] = found
        elif name in asked:
            raise ConfigError(f"option '{name}' is no number or choice; give its values in ranges", option=name)
    if not made:
        raise ConfigError(f"{recipe.__name__} has no option left to search; name some, or fix fewer", option="ranges")
    return made


def _declared(recipe: type[Config], name: str, span: float) -> Range | Choices | None:
    field = recipe.model_fields[name]
    kind, default = field.annotation, field.default
    if kind is bool:
        return Choices((False, True))
    if get_origin(kind) is Literal:
        return Choices(get_args(kind))
    if kind not in (int, float) or not isinstance(default, int | float):
        return None
    low, high = bounds(field.metadata)
    is_share = kind is float and low >= 0 and high <= 1 and 0.01 <= default < 0.9
    if is_share:
        near, far = low, high
    elif default > 0 and low >= 0:
        near, far = max(low, default / span), min(high, default * span)
    else:
        near, far = max(low, default - span), min(high, default + span)
    if kind is int:
        near, far = math.ceil(near), math.floor(far)
        near = max(near, 1) if default > 0 and low >= 0 else near
        return Range(near, far, is_whole=True, is_log=near > 0)
    # An end that the option itself does not allow is moved inwards.
    width = _INSIDE * (far - near)
    near += width * (near == low and any(getattr(rule, "gt", None) is not None for rule in field.metadata))
    far -= width * (far == high and any(getattr(rule, "lt", None) is not None for rule in field.metadata))
    return Range(near, far, is_whole=False, is_log=near > 0 and not is_share)


def _given(recipe: type[Config], name: str, values: Sequence[Any]) -> Range | Choices:
    """Return the range that a caller gives, held against the option's own rule."""
    if not isinstance(values, list | tuple) or not values:
        raise ConfigError(f"the range of '{name}' is a list: [low, high], or the values to try", option=name)
    for value in values:
        recipe.parse({name: value})
    kind = recipe.model_fields[name].annotation
    numeric = kind in (int, float) and all(isinstance(value, int | float) for value in values)
    if not numeric:
        return Choices(tuple(values))
    if len(values) != 2 or not values[0] < values[1]:
        raise ConfigError(f"the range of '{name}' is [low, high], low first", option=name)
    low, high = float(values[0]), float(values[1])
    return Range(low, high, is_whole=kind is int, is_log=low > 0 and high / low >= SPAN)
