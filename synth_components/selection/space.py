"""What of a generator can be searched, read off its recipe: each option's type, its bounds and its default."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin

from synth_components.config import Config, ConfigError, Recipe, bounds, sought

SPAN = 8.0
"""A number is sought from an eighth of its default to eight times it, within the option's own bounds."""
_INSIDE = 0.05  # of a share whose end is not allowed


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both allowed.

    Attributes:
        is_whole: Whether they are integers.
        is_log: Whether ratios count, not differences.
        step: What integers are a multiple of, as are both ends.
    """

    low: float
    high: float
    is_whole: bool
    is_log: bool
    step: int = 1


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
        asked: Options to search; empty takes every number, truth value and choice that is not fixed, but those that
            are requests, act under a privacy budget or with a request alone, or tell how rows follow each other, which
            no judge of a search sees, and privacy knobs from their default away from the rows.
        ranges: ``[low, high]`` of a number, or the values of another option, instead of those of the recipe.
        fixed: Options that have a value.
        span: How far from its default a number is sought, as a factor.

    Raises:
        ConfigError: for an option that does not exist or has no range, or a range outside the option's own bounds.
    """
    ranges, fixed = dict(ranges or {}), dict(fixed or {})
    left = {name for name, field in recipe.model_fields.items() if sought(field.metadata).is_left}
    names = list(asked) or [name for name in recipe.model_fields if name not in fixed and name not in left]
    made: dict[str, Range | Choices] = {}
    for name in dict.fromkeys([*names, *ranges]):
        if name not in recipe.model_fields:
            raise ConfigError(
                f"{recipe.__name__} has no option '{name}'; its options are: {', '.join(recipe.model_fields)}",
                option=name,
            )
        if name in fixed:
            raise ConfigError(f"option '{name}' has a value and is to be searched; drop one", option=name)
        given = name in ranges
        found = _given(recipe, name, ranges[name]) if given else _declared(recipe, name, span, is_named=name in asked)
        if found is not None:
            made[name] = found
        elif name in asked:
            raise ConfigError(f"option '{name}' is no number or choice; give its values in ranges", option=name)
    for name in recipe.model_fields:
        if other := sought(recipe.model_fields[name].metadata).multiple_of:
            made |= _as_multiples(recipe, name, other, made, fixed)
    if not made:
        raise ConfigError(f"{recipe.__name__} has no option left to search; name some, or fix fewer", option="ranges")
    return made


def _declared(recipe: type[Config], name: str, span: float, *, is_named: bool) -> Range | Choices | None:
    field = recipe.model_fields[name]
    kind, default, mark = field.annotation, field.default, sought(field.metadata)
    if mark.values:
        return Choices(mark.values)
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
        return _guarded(Range(near, far, is_whole=True, is_log=near > 0), default, "" if is_named else mark.safer)
    # An end that the option itself does not allow is moved inwards.
    width = _INSIDE * (far - near)
    if near == low and any(getattr(rule, "gt", None) is not None for rule in field.metadata):
        near = min(near + width, default)
    if far == high and any(getattr(rule, "lt", None) is not None for rule in field.metadata):
        far = max(far - width, default)
    made = Range(near, far, is_whole=False, is_log=near > 0 and not is_share)
    return _guarded(made, default, "" if is_named else mark.safer)


def _guarded(part: Range, default: float, safer: str) -> Range | None:
    """Return what of a privacy knob's range leads away from the rows; ``None`` for nothing."""
    low, high = default if safer == "up" else part.low, default if safer == "down" else part.high
    return replace(part, low=low, high=high) if low < high else None


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


def _as_multiples(
    recipe: type[Config], name: str, other: str, space: Mapping[str, Range | Choices], fixed: Mapping[str, Any]
) -> dict[str, Range | Choices]:
    """Return what to search of two options, of which the first must be a multiple of the second."""

    def values(option: str) -> Sequence[int]:
        match space.get(option):
            case Choices(held):
                return held
            case Range() as part:
                return range(int(part.low), int(part.high) + 1, part.step)
            case None:
                return (fixed.get(option, recipe.model_fields[option].default),)

    made: dict[str, Range | Choices] = {}
    if name in space:
        step, part = math.lcm(*values(other)), space[name]
        if isinstance(part, Choices):
            made[name] = Choices(tuple(value for value in part.values if value % step == 0))
        else:
            low, high = math.ceil(part.low / step) * step, math.floor(part.high / step) * step
            made[name] = replace(part, low=low, high=high, step=step) if low <= high else Choices(())
    elif other in space:
        made[other] = Choices(tuple(value for value in values(other) if values(name)[0] % value == 0))
    if Choices(()) in made.values():
        raise ConfigError(
            f"option '{name}' is to be a multiple of each value of '{other}' that is tried, and none in range is; give "
            f"fewer values in ranges, or fix '{other}'",
            option=name,
        )
    return made
