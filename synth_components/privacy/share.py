"""A part of a budget: what one of several fits that share a ledger may spend, and whether a fit keeps a budget.

Parts that sum to a whole leave much of it unspent, as their charges compose to less than their sum:
``privacy.allocation`` scales them until they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from synth_components.errors import BudgetExceededError, SynthError
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Budget, Dataset, Floats, PrivacyLedger, Run
from synth_components.schema import TABLE, Boolean, Schema


@dataclass
class Share:
    """A part of what a ledger has left, with a limit of its own.

    Every charge is held against that limit, and then charged to the ledger itself, which composes the parts and has
    the last word: the whole never exceeds its budget, whatever the parts are.

    Attributes:
        of: The ledger that the part belongs to.
        budget: The limit of the part.
    """

    of: PrivacyLedger
    budget: Budget
    _own: Ledger = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing spent."""
        self._own = Ledger(self.budget, is_told=False)

    @property
    def own(self) -> Ledger:
        """The ledger of the part alone."""
        return self._own

    def remaining(self) -> Budget | None:
        """Return what is left of the part."""
        return self._own.remaining()

    def spend(self, label: str, rdp: Callable[[Floats], Floats], *, delta: float = 0.0) -> None:
        """Charge a curve to the part and to the ledger.

        Raises:
            BudgetExceededError: if either cannot pay; the ledger is then unchanged.
        """
        self._own.spend(label, rdp, delta=delta)
        self.of.spend(label, rdp, delta=delta)

    def epsilon(self, delta: float) -> float:
        """Return what the part has spent."""
        return self._own.epsilon(delta)


def shares(ledger: PrivacyLedger, parts: Sequence[float]) -> list[PrivacyLedger]:
    """Return a ledger per fit, each with its part of epsilon and delta; without a limit the ledger itself.

    Args:
        parts: The part of each, above 0; they sum to 1.
    """
    left = ledger.remaining()
    if left is None:
        return [ledger] * len(parts)
    return [Share(ledger, Budget(part * left.epsilon, part * left.delta)) for part in parts]


def rehearse(recipe: Any, budget: Budget) -> None:  # noqa: ANN401 - a Recipe that is a Generator
    """Raise what a fit would about the budget, on no rows, before anything is paid for in vain.

    Raises:
        BudgetExceededError: if the generator offers no differential privacy.
    """
    schema = Schema({TABLE: {"rehearsal": Boolean(public=True)}})
    nothing = Dataset({TABLE: pd.DataFrame({"rehearsal": pd.Series([], dtype=bool)})}, schema)
    try:
        recipe.fit(nothing, rng=np.random.default_rng(0), ledger=Ledger(budget, is_told=False), run=Run())
    except BudgetExceededError:
        raise
    except SynthError:
        return  # about the rows or the columns of the rehearsal: the fit itself will tell
