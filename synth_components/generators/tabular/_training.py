"""The options that trainings in batches of rows share; ``Schedule.of`` reads a network's."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from synth_components.config import SAFER_DOWN, SAFER_UP, ConfigError

BatchRows = Annotated[int, Field(ge=1, le=1_000_000, description="Rows per step.")]

LearningRate = Annotated[
    float,
    Field(gt=0, le=1, description="Largest step size of AdamW; it rises at first and then falls to nothing."),
]

Dropout = Annotated[
    float, SAFER_UP, Field(ge=0, lt=1, description="Privacy knob: share of the hidden units left out at each step.")
]

WeightDecay = Annotated[
    float, SAFER_UP, Field(ge=0, le=10, description="Privacy knob: how strongly weights are drawn to nothing.")
]

Patience = Annotated[
    int,
    SAFER_DOWN,
    Field(
        ge=1,
        le=10_000,
        description="Privacy knob: epochs without a better held-out loss after which training ends.",
    ),
]

HoldoutShare = Annotated[
    float,
    Field(ge=0, le=0.5, description="Share of the rows set apart to judge when to end; 0 ends after the epochs."),
]

Ema = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description="How much of the exponential moving average of the weights each step keeps; the model has the "
        "average. 0 for the weights themselves.",
    ),
]


def require_turn(steps: int, every: int, *, option: str, remedy: str) -> None:
    """Raise if training ends before a GAN's generator has a turn, so that its first weights are kept.

    Args:
        steps: Of what reads rows.
        every: Steps of that for each of the generator's, the value of ``option``.
        remedy: What to do, by options.

    Raises:
        ConfigError: naming the option.
    """
    if steps < every:
        raise ConfigError(
            f"option '{option}': the generator takes a step with every {every} of the critic's, which are {steps} in "
            f"all, so that it would never learn; {remedy}",
            option=option,
        )
