"""What generators that are trained by DP-SGD share: options, and noisy marginals to begin with, paid before reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from synth_components.config import LEFT, Recipe
from synth_components.errors import BudgetExceededError, UnsupportedError
from synth_components.generators.tabular._codebook import stop_if_asked
from synth_components.generators.tabular._graphical import estimated, measured, rows_per_unit
from synth_components.generators.tabular._grid import Grid
from synth_components.generators.tabular._public_cells import Cells, cells_of, coded, grid_of
from synth_components.generators.tabular._tokens import Tokens
from synth_components.privacy.accounting import (
    noise_multiplier_within,
    rho_within,
    subsampled_gaussian,
    zero_concentrated,
)
from synth_components.privacy.contribution import bounded
from synth_components.privacy.ledger import room_of
from synth_components.privacy.noise import Grant, require_opendp
from synth_components.privacy.unit import settle
from synth_components.protocols import Dataset, Floats, PrivacyLedger, Run
from synth_components.schema import Schema

PrivateDepth = Annotated[
    int, LEFT, Field(ge=0, le=32, description="Under epsilon: layers or residual blocks, as `depth`.")
]

LEAST_MASS = 1e-6
"""Mass that every cell of the public domain keeps, whatever its noisy count is."""
_ITERATIONS = 1_000
_HALF = 0.49
"""How far a cell of whole numbers reaches beyond them, so that each is drawn as often as the others."""


class PrivateTraining(Recipe):
    """The options of a generator that DP-SGD trains where there is a budget; without one they do nothing."""

    private_steps: Annotated[int, LEFT] = Field(
        200, ge=1, le=100_000, description="Under epsilon: noisy steps that the budget pays for."
    )
    private_sample_rate: Annotated[float, LEFT] = Field(
        0.02, gt=0, le=1, description="Under epsilon: probability that a row is in a step, each row by itself."
    )
    private_hidden: Annotated[int, LEFT] = Field(
        16, ge=4, le=4096, description="Under epsilon: width of the network; noise grows with the number of weights."
    )
    private_clip_norm: Annotated[float, LEFT] = Field(
        0.3, gt=0, le=1e6, description="Under epsilon: longest gradient of a row; longer ones are shortened to it."
    )
    private_learning_rate: Annotated[float, LEFT] = Field(
        0.02, gt=0, le=1, description="Under epsilon: step size of AdamW."
    )
    private_marginal_share: Annotated[float, LEFT] = Field(
        0.1, gt=0, lt=1, description="Under epsilon: share of the budget for noisy counts of single columns."
    )
    private_bins: Annotated[int, LEFT] = Field(
        16, ge=2, le=256, description="Under epsilon: equal cells of a number or time, beside one for its lower bound."
    )


@dataclass(frozen=True, eq=False)
class Start:
    """What a training under a budget begins with: nothing of it was read but noisy counts.

    Attributes:
        grids: Of each column, over the cells of its public domain.
        codes: Of the rows (n,), which are not to leave.
        num_rows: How many rows noisy counts tell of.
        noise_multiplier: That the charged curve rests on.
    """

    grids: tuple[Grid, ...]
    codes: Mapping[str, NDArray[np.int64]]
    num_rows: float
    noise_multiplier: float

    @property
    def tokens(self) -> tuple[Tokens, ...]:
        """The cells of each column as tokens; in its cell a value is drawn evenly, as no more was counted."""
        return tuple(Tokens(grid, np.arange(grid.size), has_scores=False) for grid in self.grids)


def begun(label: str, data: Dataset, *, options: PrivateTraining, ledger: PrivacyLedger, run: Run) -> Start:
    """Charge all that a ledger has left, and then count.

    The charge is one curve: of the noisy counts of single columns, and of the steps that the options name.

    Raises:
        SchemaError: if a column is not public, or says too little of its domain.
        UnsupportedError: if OpenDP is not installed, for integers beyond 2^53, for several processes, and for a device
            that is not there; nothing was charged.
        BudgetExceededError: if what is left does not pay for it; nothing was read.
        UnitError: if the ledger is of another privacy unit.
        StoppedError: if ``run`` says so; what was charged is spent.
    """
    cells = cells_of(data.schema, bins=options.private_bins)
    wide = [name for name, one in cells.items() if one.width > 1]
    if wide:
        raise UnsupportedError(f"column '{wide[0]}' has integers beyond 2^53, which are not learned under a budget")
    require_opendp()
    require_trainable(run)
    left, room = ledger.remaining(), room_of(ledger)
    if left is None or room is None:
        raise UnsupportedError(f"{label}: noise needs a budget; give epsilon (and delta), as in fit(..., epsilon=1.0)")
    rho = options.private_marginal_share * rho_within(room)
    if rho <= 0:
        remedy = "raise epsilon" if left.delta > 0 else "give delta above 0, which DP-SGD needs"
        raise BudgetExceededError(
            f"{label}: the budget has nothing left for noisy steps; {remedy}; nothing was read",
            requested=np.nextafter(left.epsilon, np.inf),
            available=left.epsilon,
        )
    rows = rows_per_unit(data.schema)
    rate, steps = options.private_sample_rate, options.private_steps
    multiplier = noise_multiplier_within(room, sample_rate=rate, steps=steps, rows_per_unit=rows, rho=rho)
    sums = subsampled_gaussian(noise_multiplier=multiplier, sample_rate=rate, steps=steps, rows_per_unit=rows)
    settle(ledger, data.schema.unit, is_prepared=True)
    ledger.spend(label, lambda orders: sums(orders) + zero_concentrated(rho)(orders))
    codes = coded(bounded(data), cells)
    singles = [(name,) for name in cells]
    counts = measured(codes, singles, cells, amount=rho, grant=Grant("gaussian", rho), sensitivity=rows)
    model = estimated(cells, counts, iterations=_ITERATIONS)
    grids = [_grid(one, model.counts((name,)), data.schema, name) for name, one in cells.items()]
    stop_if_asked(run)
    return Start(tuple(grids), codes, model.total, multiplier)


def require_trainable(run: Run) -> None:
    """Raise unless one process trains, on a device that is there; asked before a budget is spent.

    Raises:
        UnsupportedError: for several processes, and for a device that is not there.
    """
    if run.world_size > 1:
        raise UnsupportedError("under a privacy budget one process trains; start it without torchrun")
    if run.device != "cpu":
        from synth_components.generators._torch.device import device_of

        device_of(run.device)


def _grid(cells: Cells, counts: Floats, schema: Schema, name: str) -> Grid:
    """Return the grid whose codes are a column's public cells, with masses from noisy counts."""
    mass = np.maximum(counts / counts.sum(), LEAST_MASS)
    mass = mass / mass.sum()
    return grid_of(cells, mass, schema.columns[name], reach=_HALF)
