"""Presets of regulations as data: requirements, each with the rule it cites, its checks, and what no software decides.

A preset is a YAML file in ``presets``.  It is no legal advice, and evidence is all that a check gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field

from synth_components.config import Config
from synth_components.errors import UnsupportedError
from synth_components.policy import Policy
from synth_components.sensitive import Sensitivity
from synth_components.sensitive.entity import Level

CheckName: TypeAlias = Literal[
    "absent",
    "geography",
    "dates",
    "classes",
    "score",
    "epsilon",
    "no_rows_held",
    "unit",
    "copies",
    "provenance",
    "trail",
    "truncated_cards",
    "detected",
]

_HERE = Path(__file__).parent / "presets"


class Check(Config):
    """One thing that a requirement looks at."""

    check: CheckName = Field(description="What is looked at.")
    kinds: tuple[str, ...] = Field((), description="absent: kinds of sensitive columns that the tables may not hold.")
    review: tuple[str, ...] = Field((), description="absent: kinds that a person has to look at, where they are found.")
    score: str = Field("", description="score: name of the score in a report.")
    most: float | None = Field(None, description="score, epsilon: largest value that passes.")
    k: int = Field(0, ge=0, description="classes: fewest rows that share their quasi-identifiers.")
    l: int = Field(0, ge=0, description="classes: fewest values of a sensitive column in one; 0 asks for none.")  # noqa: E741
    t: float = Field(
        1.0,
        ge=0,
        le=1,
        description="classes: farthest that a sensitive column of one is from the table; 1 asks for none.",
    )
    events: tuple[str, ...] = Field((), description="trail: events of which the audit trail must hold one each.")


class Requirement(Config):
    """One provision, and what can be shown of it."""

    id: str = Field(min_length=1, description="Short name, unique in the preset.")
    cite: str = Field(min_length=1, description="The provision: article, section.")
    title: str = Field(min_length=1, description="What it asks for, in words.")
    checks: tuple[Check, ...] = Field((), description="What is looked at.")
    undecided: tuple[str, ...] = Field((), description="What a person has to decide or to show.")


class Preset(Config):
    """A regulation as requirements, and the settings of a privacy policy that go with it."""

    title: str = Field(min_length=1, description="Name of the regulation.")
    rule: str = Field(min_length=1, description="Where it stands.")
    applies: str = Field(min_length=1, description="To whom and what it applies.")
    summary: str = Field(min_length=1, description="What it asks of data that are released.")
    policy: dict[str, Any] = Field({}, description="Settings of a privacy policy.")
    policy_reason: str = Field(min_length=1, description="Where these settings come from; few stand in a rule.")
    direct: tuple[str, ...] = Field(
        (), description="Kinds of columns that the policy leaves out, beside those that identify a person directly."
    )
    requirements: tuple[Requirement, ...] = Field(min_length=1, description="The provisions.")

    def policy_of(self, found: Sensitivity | None = None, *, table: str = "table") -> Policy:
        """Return the privacy policy of this regulation for a table.

        Args:
            found: What its columns seem to hold: direct identifiers are left out, quasi-identifiers and sensitive
                columns named with their levels.  ``None`` names no column.
        """
        columns = [] if found is None else list(found.of(table))
        named = [c.column for c in columns if c.role == "direct" or c.kind in self.direct]
        quasi = [c.column for c in columns if c.role == "quasi" and c.column not in named]
        sensitive: dict[str, Level] = {c.column: c.level for c in columns if c.role == "sensitive"}
        sensitive = {name: level for name, level in sensitive.items() if name not in named}
        roles = {"identifiers": named, "quasi_identifiers": quasi, "sensitive": sensitive}
        return Policy.parse({**self.policy, **(roles if found is not None else {})})


def names() -> tuple[str, ...]:
    """Return the names of the presets."""
    return tuple(sorted(path.stem for path in _HERE.glob("*.yaml")))


def load(name: str) -> Preset:
    """Return a preset by name.

    Raises:
        UnsupportedError: if there is none of that name.
        ConfigError: naming an entry of its file that breaks its rule.
    """
    from synth_components.steps.map_file import read_map

    if name not in names():
        raise UnsupportedError(f"there is no preset '{name}'; choose one of {', '.join(names())}")
    told: Mapping[str, Any] = read_map(_HERE / f"{name}.yaml", "preset")
    return Preset.parse(told)
