"""The options of an evaluation, each declared once; the steps and the command line derive from them."""

from __future__ import annotations

from typing import Literal, Self, TypeAlias, get_args

from pydantic import Field, model_validator

from synth_components.config import MIN_CATEGORY_COUNT, MinCategoryCount, StepConfig
from synth_components.privacy.mechanism import Mechanism

Attack: TypeAlias = Literal["membership", "attribute", "singling_out", "linkability", "reidentification", "inversion"]
ATTACKS: tuple[Attack, ...] = get_args(Attack)
"""Every attack, by the name of its file in ``evaluation/attacks``."""


class JudgeConfig(StepConfig):
    """What every group of scores needs."""

    seed: int = Field(0, ge=0, lt=2**53, description="Seed of subsamples, folds, learners and bootstrap.")
    table_rows: int = Field(
        500_000,
        ge=100,
        description="Rows of each table that are judged, drawn at random, if it is too large for memory.",
    )
    replicates: int = Field(100, ge=10, le=2_000, description="Bootstrap replicates behind each 95 % interval.")
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT
    min_quality: float = Field(0.0, ge=0, le=1, description="Smallest overall score that passes; 0 never fails.")


class FidelityConfig(JudgeConfig):
    """How alike real and synthetic rows are."""

    bins: int = Field(10, ge=2, le=100, description="Shared bins of a number in pairs; edges are real quantiles.")
    max_categories: int = Field(20, ge=2, le=250, description="Categories told apart in pairs; the rest are one.")
    max_rows: int = Field(100_000, ge=100, description="Rows of each table that marginals and pairs look at.")
    pair_columns: int = Field(
        100, ge=2, le=1_000, description="Most columns whose pairs are compared, evenly spread over a wider table."
    )
    detector_rows: int = Field(16_000, ge=50, description="Rows of each side that a detector learns from.")
    detector_folds: int = Field(3, ge=2, le=20, description="Folds of the detectors' cross-validation.")
    manifold_rows: int = Field(3_000, ge=50, description="Rows of each table behind alpha-precision and beta-recall.")


class UtilityConfig(JudgeConfig):
    """How well a model trained on synthetic rows predicts real ones."""

    target: str = Field("", description="Column to predict; empty scores no single task.")
    task: Literal["auto", "classification", "regression"] = Field(
        "auto", description="Kind of the task; auto reads it off the column."
    )
    tasks: dict[str, str] = Field({}, description="More tasks: name to target column, for example {'default': 'y'}.")
    utility_rows: int = Field(50_000, ge=50, description="Rows of each table that a task's learners are given.")
    global_utility: bool = Field(True, description="Whether to predict every column from the others in turn.")
    global_rows: int = Field(4_000, ge=50, description="Rows of each table in global utility.")
    global_columns: int = Field(
        30, ge=1, le=1_000, description="Most columns predicted, evenly spread over a wider table."
    )


class PrivacyConfig(JudgeConfig):
    """Smoke tests of memorisation, and attacks; passing them proves no privacy."""

    proximity_rows: int = Field(4_000, ge=50, description="Rows whose nearest real neighbours are searched.")
    proximity_references: int = Field(16_000, ge=50, description="Real rows of each side that are searched through.")
    attacks: tuple[Attack, ...] = Field(ATTACKS, description="Attacks to try; an empty list tries none.")
    attack_rows: int = Field(
        4_000, ge=50, description="Training rows, and as many holdout rows, that an attack is tried on."
    )
    attack_references: int = Field(
        50_000, ge=50, description="Synthetic rows, and holdout rows, that an adversary searches through."
    )
    attack_targets: int = Field(
        2_000, ge=20, description="Records, or predicates, that each attack but membership is tried on."
    )
    attack_columns: int = Field(
        8, ge=1, le=1_000, description="Most secrets where none are named, evenly spread over a wider table."
    )
    quasi_identifiers: tuple[str, ...] = Field(
        (), description="Columns that an adversary may know of a person; re-identification needs them."
    )
    secrets: tuple[str, ...] = Field((), description="Columns that an adversary wants to learn; empty takes others.")
    inverted: str = Field(
        "", description="Column whose model, trained on synthetic rows, is inverted; empty takes the target, if any."
    )


class EvaluateConfig(FidelityConfig, UtilityConfig, PrivacyConfig):
    """All groups of scores together."""

    attacks: tuple[Attack, ...] = Field(
        ("membership",), description="Attacks to try; `synth evaluate-privacy` tries all. An empty list tries none."
    )
    privacy: Literal["none", "dp"] = Field(
        "none",
        description="Whether the report itself must be differentially private: noisy counts of the holdout on a public "
        "schema, and no other measure.",
    )
    epsilon: float = Field(1.0, gt=0, description="Privacy loss of the report, epsilon, with privacy=dp.")
    delta: float = Field(1e-6, ge=0, lt=1, description="Privacy loss of the report, delta, with privacy=dp.")
    mechanism: Mechanism = Field(
        "gaussian",
        description="Noise on counts, with privacy=dp: gaussian needs delta above 0; laplace gives pure epsilon-DP.",
    )

    @model_validator(mode="after")
    def _budget_is_not_ignored(self) -> Self:
        """Refuse a budget that the report would not keep, and a threshold that a private report does not judge.

        Platforms hand over every option with its default, as to `train`.
        """
        fields = type(self).model_fields
        for name in ("epsilon", "delta", "mechanism"):
            is_set = name in self.model_fields_set and "privacy" not in self.model_fields_set
            if self.privacy == "none" and (is_set or getattr(self, name) != fields[name].default):
                raise ValueError(f"{name} is kept only with privacy=dp; add that, or leave {name} out")
        if self.privacy == "dp":
            asked = [
                name
                for name in ("attacks", "quasi_identifiers", "secrets", "inverted", "tasks", "min_quality")
                if getattr(self, name) not in (fields[name].default, ())
            ]
            if asked:
                raise ValueError(f"{asked[0]} reads real rows without noise, which privacy=dp excludes; leave it out")
            if self.mechanism == "gaussian" and self.delta <= 0:
                raise ValueError("mechanism=gaussian needs delta above 0; give delta, or mechanism=laplace")
        return self
