"""A change that a machine can make after a report: an option of the generator, or another generator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from synth_components.config import Recipe, bounds

FACTOR = 2.0
"""How many times larger, or smaller, a number becomes that has its default already."""
STEP = 2.0
"""By how much one is changed that may be negative, such as a log Bayes factor."""


@dataclass(frozen=True)
class Change:
    """What to change.

    Attributes:
        way: To ``lower`` or ``raise`` an option, or to ``take`` another generator.
        generator: The one whose option it is, empty for any that has the option; or the one to take.
        option: Name of the option; empty with ``take``.
        loosens: Whether the model then follows its training rows closer, which gives away more of them.
        value: The new value; ``None`` if the model is not known, and with ``take``.
    """

    way: Literal["lower", "raise", "take"]
    generator: str
    option: str = ""
    loosens: bool = False
    value: float | None = None

    def resolved(self, recipe: Recipe, generator: str, *, loosen: bool = False) -> Self | None:
        """Return the change with the value that a recipe's option is to have; ``None`` if it does not apply.

        A value on the wrong side of its default gets the default.  Beyond it a number is doubled or halved; one that
        may be negative is changed by 2.

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
        low, high = bounds(field.metadata)
        wanted = value + sign * STEP if low < 0 else max(value, 1) * FACTOR if sign > 0 else value / FACTOR
        new: Any = min(max(int(wanted) if field.annotation is int else wanted, low), high)
        new = int(new) if field.annotation is int else float(new)
        return None if new == value else replace(self, value=new)

    def told(self, recipe: Recipe) -> str:
        """Return the resolved change of an option in words, such as ``min_leaf 2000 -> 30``."""
        return f"{self.option} {getattr(recipe, self.option):g} -> {self.value:g}"
