"""A change that a machine can make after a report: an option of the generator, or another generator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from pydantic.fields import FieldInfo

from synth_components.config import Recipe, bounds

FACTOR = 2.0
"""How many times larger, or smaller, a number becomes unless a change says otherwise."""
STEP = 2.0
"""By how much one is changed that may be negative, such as a log Bayes factor."""
FIRST = 0.1
"""What becomes of a nothing that is to be more, and no whole number."""


@dataclass(frozen=True)
class Change:
    """What to change.

    Attributes:
        way: To ``lower`` or ``raise`` an option, or to ``take`` another generator.
        generator: The one whose option it is, empty for any that has the option; or the one to take.
        option: Name of the option; empty with ``take``.
        loosens: Whether the model then follows its training rows closer, which gives away more of them.
        value: The new value; ``None`` if the model is not known, and with ``take``.
        factor: How many times larger, or smaller, a number becomes that has its default already.
    """

    way: Literal["lower", "raise", "take"]
    generator: str
    option: str = ""
    loosens: bool = False
    value: float | None = None
    factor: float = FACTOR

    def resolved(self, recipe: Recipe, generator: str, *, loosen: bool = False) -> Self | None:
        """Return the change with the value that a recipe's option is to have; ``None`` if it does not apply.

        A value on the wrong side of its default gets the default.  Beyond it a number is multiplied or divided by
        ``factor``; one that may be negative is changed by 2, and a share raised by a quarter of what it lacks.

        Args:
            generator: Name of the recipe's generator.
            loosen: Whether what ``loosens`` may go beyond the default.
        """
        if self.way == "take":
            return None if generator == self.generator else self
        field = type(recipe).model_fields.get(self.option)
        if field is None or self.generator not in ("", generator):
            return None
        value, default, sign = getattr(recipe, self.option), field.default, 1 if self.way == "raise" else -1
        if sign * (default - value) > 0:
            return replace(self, value=default)
        if self.loosens and not loosen:
            return None
        new = _moved(value, sign, field, self.factor)
        return None if new == value else replace(self, value=new)

    def told(self, recipe: Recipe) -> str:
        """Return the resolved change of an option in words, such as ``min_leaf 2000 -> 30``."""
        return f"{self.option} {getattr(recipe, self.option):g} -> {self.value:g}"


def _moved(value: float, sign: int, field: FieldInfo, factor: float) -> float:
    """Return a number beyond its default, within the field's rules."""
    low, high = bounds(field.metadata)
    if low < 0:
        wanted = value + sign * STEP
    elif sign < 0:
        wanted = value / factor
    elif field.annotation is int:
        wanted = max(value, 1) * factor
    elif high <= 1:
        wanted = value + (high - value) / 4
    else:
        wanted = value * factor if value else FIRST
    if field.annotation is int:
        return int(min(max(int(wanted), low), high))
    is_open = any(getattr(rule, "gt", None) is not None for rule in field.metadata)
    return value if is_open and wanted <= low else float(min(max(wanted, low), high))
