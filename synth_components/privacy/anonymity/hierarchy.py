"""Generalisation hierarchies: how the values of a quasi-identifier coarsen, level by level, up to ``*``.

Level 0 are the values themselves.  Each kind is declared as JSON, by its ``type``:

    {"type": "intervals", "widths": [5, 10, 40]}
    {"type": "tree", "tree": {"Europe": {"South": ["IT", "ES"], "North": ["NO"]}, "Asia": ["JP"]}}
    {"type": "prefix", "lengths": [4, 3, 2]}
    {"type": "dates", "steps": ["month", "year", "decade"]}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from synth_components.config import Config

ANY = "*"
"""The label of a value of which nothing is said."""

Step: TypeAlias = Literal["day", "month", "quarter", "year", "decade"]
STEPS: tuple[Step, ...] = ("day", "month", "quarter", "year", "decade")


class Intervals(Config):
    """Numbers in intervals ``[low, high)`` whose width grows with the level."""

    type: Literal["intervals"] = "intervals"
    widths: tuple[float, ...] = Field(
        min_length=1, description="Width of the intervals at each level; each a multiple of the one before."
    )
    origin: float = Field(0.0, description="Where an interval of every level begins.")

    @field_validator("widths")
    @classmethod
    def _widths_nest(cls, widths: tuple[float, ...]) -> tuple[float, ...]:
        if widths[0] <= 0:
            raise ValueError("the widths of a hierarchy must be above 0")
        for narrow, wide in pairwise(widths):
            if wide <= narrow or abs(wide / narrow - round(wide / narrow)) > 1e-9:
                raise ValueError("each width of a hierarchy must be a multiple of the one before, so that levels nest")
        return widths


class Tree(Config):
    """Categories in groups, and those in groups: maps by name, with lists of values at the ends."""

    type: Literal["tree"] = "tree"
    tree: dict[str, Any] = Field(
        min_length=1, description="Groups by name: maps of groups, ending in lists of values. A value stands once."
    )

    @model_validator(mode="after")
    def _values_stand_once(self) -> Tree:
        seen: set[tuple[type, Any]] = set()
        for _, value in leaves(self.tree):
            if (type(value), value) in seen:
                raise ValueError("a value stands twice in the tree of a hierarchy; keep it in one group")
            seen.add((type(value), value))
        return self

    @property
    def depth(self) -> int:
        """The most groups that a value is in: the levels between the values and ``*``."""
        return max(len(path) for path, _ in leaves(self.tree))


class Prefix(Config):
    """Codes of which ever fewer leading characters are kept: ``94110``, ``9411*``, ``941**``."""

    type: Literal["prefix"] = "prefix"
    lengths: tuple[int, ...] = Field(min_length=1, description="Characters kept at each level, falling.")

    @field_validator("lengths")
    @classmethod
    def _lengths_fall(cls, lengths: tuple[int, ...]) -> tuple[int, ...]:
        if min(lengths) < 1 or any(after >= before for before, after in pairwise(lengths)):
            raise ValueError("the lengths of a hierarchy must fall, and end at 1 or more")
        return lengths


class Dates(Config):
    """Times by day, month, quarter, year or decade."""

    type: Literal["dates"] = "dates"
    steps: tuple[Step, ...] = Field(("month", "year", "decade"), min_length=1, description="The levels, coarser each.")

    @field_validator("steps")
    @classmethod
    def _steps_coarsen(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        if any(STEPS.index(after) <= STEPS.index(before) for before, after in pairwise(steps)):
            raise ValueError(f"the steps of a hierarchy must coarsen, in the order {', '.join(STEPS)}")
        return steps


Hierarchy: TypeAlias = Annotated[Intervals | Tree | Prefix | Dates, Field(discriminator="type")]


def leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each value of a tree with the groups that it is in, outermost first.

    Raises:
        ValueError: where a group is neither a map nor a list of texts, numbers and booleans.
    """
    for name, held in tree.items():
        if isinstance(held, Mapping):
            yield from leaves(held, (*path, str(name)))
        elif isinstance(held, Sequence) and not isinstance(held, str):
            for value in held:
                if not isinstance(value, str | int | float | bool):
                    # pydantic makes its error of ValueError alone.
                    raise ValueError(  # noqa: TRY004
                        "the values of a hierarchy's tree must be texts, numbers or booleans"
                    )
                yield (*path, str(name)), value
        else:
            raise ValueError(  # noqa: TRY004
                "a group in the tree of a hierarchy must be a map of groups, or a list of values"
            )
