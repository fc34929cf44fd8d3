"""A privacy policy: which techniques protect a table, in which order, with which parameters; a JSON or YAML file.

    level: high
    quasi_identifiers: [age, zip, sex]
    sensitive: {diagnosis: critical, income: medium}
    k: 5
    hierarchies: {zip: {type: prefix, lengths: [4, 3, 2]}}

The levels of the sensitive columns choose the techniques; ``layers`` names them instead, in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from synth_components.config import Config
from synth_components.privacy.anonymity.hierarchy import Hierarchy

Level: TypeAlias = Literal["low", "medium", "high", "critical"]
Technique: TypeAlias = Literal[
    "differential_privacy",
    "synthesis",
    "swapping",
    "generalisation",
    "suppression",
    "k_anonymity",
    "l_diversity",
    "t_closeness",
]
Kind: TypeAlias = Literal["distinct", "entropy", "recursive"]

LEVELS: tuple[Level, ...] = ("low", "medium", "high", "critical")
"""From the least to the most protection."""

TECHNIQUES: tuple[Technique, ...] = (
    "differential_privacy",
    "synthesis",
    "swapping",
    "generalisation",
    "suppression",
    "k_anonymity",
    "l_diversity",
    "t_closeness",
)
"""In the order in which levels apply them: what changes values first, what is promised of classes last."""

OF_LEVEL: Mapping[Level, tuple[Technique, ...]] = MappingProxyType(
    {
        "low": ("k_anonymity",),
        "medium": ("k_anonymity", "l_diversity"),
        "high": ("swapping", "k_anonymity", "l_diversity", "t_closeness"),
        # Rows that are drawn anew need no swapping: who is in a row is nobody.
        "critical": ("differential_privacy", "k_anonymity", "l_diversity", "t_closeness"),
    }
)
"""The techniques of each level."""

LARGEST_DELTA = 1e-5


@dataclass(frozen=True)
class Layer:
    """One technique of a policy, and the sensitive columns that it is for.

    Attributes:
        technique: Which.
        columns: Sensitive columns, in the order of the policy.  Techniques of the whole table serve all.
    """

    technique: Technique
    columns: tuple[str, ...]


class Policy(Config):
    """What is done to a table before somebody else gets it, in which order, and how far."""

    level: Level = Field(
        "medium", description="Protection of the table, and the least of sensitive columns that are found."
    )
    identifiers: tuple[str, ...] = Field(
        (), description="Columns that name a person; they are left out, whatever the layers."
    )
    quasi_identifiers: tuple[str, ...] = Field(
        (), description="Columns that others may know of a person; the techniques of classes need one or more."
    )
    sensitive: dict[str, Level] = Field(
        {}, description="Sensitive columns with their levels, low, medium, high or critical."
    )
    detect: bool = Field(
        default=True,
        description="Whether columns without a role are looked through: the sensitive ones are added at their level, "
        "and those that name a person are left out. A named column keeps its role and level.",
    )
    layers: tuple[Technique, ...] = Field(
        (), description="Techniques in the order in which they apply; empty takes those of the columns' levels."
    )
    levels: dict[Level, tuple[Technique, ...]] = Field(
        dict(OF_LEVEL), description="Techniques of each level, applied in the order of TECHNIQUES."
    )
    k: int = Field(3, ge=2, description="k-anonymity: fewest rows that share their quasi-identifiers.")
    l: float = Field(2.0, ge=1, description="l-diversity: how many values of a sensitive column a class holds.")  # noqa: E741
    diversity: Kind = Field(
        "distinct",
        description="How l is meant: distinct counts values; entropy takes the exponential of their entropy; recursive "
        "wants the commonest below c times all from the l-th on.",
    )
    c: float = Field(3.0, gt=0, description="The c of recursive (c, l)-diversity.")
    t: float = Field(
        0.2, ge=0, le=1, description="t-closeness: farthest that a sensitive column of a class is from the whole table."
    )
    epsilon: float = Field(1.0, gt=0, description="Differential privacy: the budget.")
    delta: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Differential privacy: chance that epsilon is exceeded; null takes 1e-5, or half of one over the "
        "rows if that is less.",
    )
    recoding: Literal["local", "full_domain"] = Field(
        "local",
        description="How k, l and t are enforced: local lets each class have its own intervals and groups; full_domain "
        "recodes a column to one level of its hierarchy everywhere.",
    )
    hierarchies: dict[str, Hierarchy] = Field(
        {}, description="Hierarchies of quasi-identifiers, by column; others are derived from the type of the column."
    )
    generalise: dict[str, int] = Field(
        {}, description="Generalisation: level of each column; empty takes level 1 of every quasi-identifier."
    )
    max_suppressed: float = Field(
        0.05, ge=0, le=1, description="Suppression: largest share of the rows that may be left out; more is an error."
    )
    swap_range: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Swapping: how far apart in rank two exchanged values may be, as a share of the rows; of "
        "categories without an order, the share of rows that exchange theirs.",
    )
    values: Literal["labels", "representatives"] = Field(
        "labels",
        description="What stands for a recoded value: a text such as [20, 29], or a value of the column's own type.",
    )
    min_leaf: int = Field(10, ge=2, description="Synthesis: fewest rows that a sensitive cell is drawn from.")
    private_generator: str = Field("tabular.mst", description="Differential privacy: the generator of rows.")

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if len(set(self.layers)) < len(self.layers):
            raise ValueError("layers names a technique twice; name each once")
        if "delta" in self.model_fields_set and self.delta is not None and self.delta > LARGEST_DELTA:
            raise ValueError(f"delta must be at most {LARGEST_DELTA:g}; it is the chance that the promise fails")
        roles = [*self.identifiers, *self.quasi_identifiers, *self.sensitive]
        twice = sorted({name for name in roles if roles.count(name) > 1})
        if twice:
            raise ValueError(f"column '{twice[0]}' has two roles; name it once")
        unknown = [name for name in (*self.hierarchies, *self.generalise) if name not in self.quasi_identifiers]
        if unknown:
            raise ValueError(f"column '{unknown[0]}' has a hierarchy or a level, and is no quasi-identifier")
        return self

    @classmethod
    def of_level(cls, level: Level) -> Self:
        """Return the policy of a level, with all defaults."""
        return cls(level=level)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the policy that a JSON or YAML file holds.

        Raises:
            DataError: if the file cannot be read.
            ConfigError: for an unknown option or a value that breaks its rule.
        """
        from synth_components.steps.map_file import read_map

        return cls.parse(read_map(path, "policy"))

    @property
    def digest(self) -> str:
        """SHA-256 of what the policy says, every default written out, as the audit trail tells it.

        Neither the order nor the layout of its file counts.
        """
        return sha256(self.canonical().encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the policy as a JSON value, every default written out."""
        return self.model_dump(mode="json")

    def techniques(self, level: Level) -> tuple[Technique, ...]:
        """Return what protects a column of a level, in order: ``layers`` if they are named."""
        if self.layers:
            return self.layers
        chosen = self.levels.get(level, OF_LEVEL[level])
        return tuple(technique for technique in TECHNIQUES if technique in chosen)

    def plan(self, sensitive: Mapping[str, Level] | None = None) -> tuple[Layer, ...]:
        """Return the layers of a table in order, each with the sensitive columns whose level asks for it.

        Args:
            sensitive: Sensitive columns with their levels; ``None`` takes those that the policy names.  A table without
                any is protected at the policy's own level.
        """
        held = self.sensitive if sensitive is None else sensitive
        asked = {name: self.techniques(level) for name, level in held.items()}
        used = {technique for one in (asked.values() if held else [self.techniques(self.level)]) for technique in one}
        order: Iterable[Technique] = self.layers or TECHNIQUES
        return tuple(
            Layer(technique, tuple(name for name, one in asked.items() if technique in one))
            for technique in order
            if technique in used
        )

    def delta_of(self, rows: int) -> float:
        """Return the declared delta, or one below both 1e-5 and one over the rows."""
        return min(LARGEST_DELTA, 0.5 / max(rows, 1)) if self.delta is None else self.delta


def strictest(levels: Iterable[Level], otherwise: Level) -> Level:
    """Return the highest of the levels, ``otherwise`` without any."""
    return max(levels, key=LEVELS.index, default=otherwise)
