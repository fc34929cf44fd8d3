"""The options of preservation, each declared once; the step and the command line derive from them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from pydantic import Field, model_validator

from synth_components.config import StepConfig

Mode: TypeAlias = Literal["strict", "balanced", "flexible", "adaptive"]
Method: TypeAlias = Literal["rank", "genetic"]

TOLERANCES: Mapping[str, float] = MappingProxyType({"strict": 0.02, "balanced": 0.05, "flexible": 0.10})
"""Largest distance of an association from its target that a mode accepts, in absolute points."""


class PreserveConfig(StepConfig):
    """Which associations to bring a table to, how closely, and by which method."""

    mode: Mode = Field(
        "balanced",
        description="How close: strict 0.02, balanced 0.05, flexible 0.10, in points of the association; adaptive "
        "works as strict and states for each pair the tightest of the three that it meets.",
    )
    targets: dict[str, dict[str, float]] = Field(
        {},
        description='Associations to reach instead of the real ones, as {"age": {"hours": 0.3}}; only the columns that '
        "they name move. Empty takes every pair of the real table.",
    )
    method: Method = Field(
        "rank",
        description="rank: reordering by ranks and iterative proportional fitting; genetic: a search, slower and less "
        "close.",
    )
    seed: int = Field(0, ge=-1, lt=2**53, description="Seed of the reordering; -1 draws a fresh one and records it.")
    population: int = Field(50, ge=2, le=1_000, description="With genetic: orderings in each generation.")
    generations: int = Field(100, ge=1, le=10_000, description="With genetic: generations, at most.")
    mutation: float = Field(0.1, ge=0, le=1, description="With genetic: chance that a column of a child is disturbed.")
    crossover: float = Field(0.8, ge=0, le=1, description="With genetic: chance that a child has two parents.")
    elite: float = Field(0.1, ge=0, lt=1, description="With genetic: share of a generation that lives on unchanged.")
    quality_weight: float = Field(
        0.7,
        ge=0,
        le=1,
        description="With genetic: weight of closeness in the fitness, the share of the distance that is gone; the "
        "rest goes to efficiency, the share of values left in place.",
    )
    max_cells: int = Field(
        2_500_000_000,
        ge=1,
        description="With genetic: table cells scored over all generations; a larger table gets fewer generations, so "
        "that the time is bounded.",
    )

    @model_validator(mode="after")
    def _targets_are_associations(self) -> PreserveConfig:
        seen: set[frozenset[str]] = set()
        for first, others in self.targets.items():
            for second, value in others.items():
                if first == second:
                    raise ValueError(f"targets pairs column '{first}' with itself; name two columns")
                if frozenset((first, second)) in seen:
                    raise ValueError(f"targets names the pair '{first}' and '{second}' twice; keep one")
                if not -1 <= value <= 1:
                    raise ValueError(f"the target of '{first}' and '{second}' must lie in [-1, 1]")
                seen.add(frozenset((first, second)))
        return self

    @property
    def tolerance(self) -> float:
        """The distance from a target that is worked towards."""
        return TOLERANCES.get(self.mode, min(TOLERANCES.values()))

    @property
    def pairs(self) -> dict[tuple[str, str], float]:
        """The declared targets by pair."""
        return {(first, second): value for first, others in self.targets.items() for second, value in others.items()}
