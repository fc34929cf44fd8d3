"""Budget allocation: what several fits may spend, so that their charges together come up to what a ledger has left.

Parts of epsilon and delta that sum to the whole are safe, and wasteful: charges compose to less than their sum, two
Gaussian ones on halves of epsilon 1 and delta 1e-6 to .70.  So each fit is asked beforehand, on no rows, what it would
charge with its part; the epsilons of all parts are scaled by one factor, found by search, to where the ledger's own
total of those charges is its budget; and all of them are charged before the first fit reads a row.

What is charged depends on no row: a fit is asked with its options, the schema and a part of the budget, and has nothing
else to look at.  Once its charge is paid, it may spend no more than that at any order, so that what it does is covered
at every order by a charge that was settled before anything was released (``privacy.budget_file`` says why that counts).

A fit that reads rows before it has charged its part, as no generator here does, could charge more later, which nobody
can foresee: then the parts are not scaled, and charged one by one.

Unit and neighbours: those of the ledger.

Source: Mironov 2017 (arXiv:1702.07476), Proposition 1, the total; Feldman & Zrnic 2021 (arXiv:2008.11193), a fit that
    spends no more at an order than was charged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from synth_components.errors import BudgetExceededError
from synth_components.privacy.ledger import ORDERS, Curve, Entry, Ledger, entry_of
from synth_components.privacy.share import Share, rehearse, shares
from synth_components.privacy.unit import settle
from synth_components.protocols import Budget, Dataset, Generator, PrivacyLedger, Run
from synth_components.schema import Schema, Unit

NARROW = 1e-3
"""Share of epsilon that may stay unspent: the search for the scale ends there."""

SPENT = 0.99
"""Share of its part that a fit must have charged before it reads, to be taken at its word that this is all."""

_SLACK = 1e-9
"""Deltas of parts are less by this share, so that their sum is not more than the whole in floating point."""

_TRIES = 60
"""Most scales that are tried; a total that leaps may have none that comes near to the whole."""


class Planned(NamedTuple):
    """A charge that is yet to be made."""

    label: str
    rdp: Curve
    delta: float

    def entry(self, unit: str = "") -> Entry:
        """Return what a ledger would write down."""
        return entry_of(self.label, self.rdp, delta=self.delta, unit=unit)


@dataclass
class Quote:
    """The ledger of a fit that is asked what it would charge: it notes that, and charges nobody.

    Attributes:
        budget: What the fit is to go by.
        planned: The charges so far.
        is_all: Whether no more are to be expected.
    """

    budget: Budget
    planned: list[Planned] = field(default_factory=list)
    is_all: bool = True

    @property
    def own(self) -> Ledger:
        """The same charges in a ledger."""
        return Ledger(self.budget, [one.entry() for one in self.planned], is_told=False)

    def remaining(self) -> Budget | None:
        """Return what is left of the budget."""
        return self.own.remaining()

    def spend(self, label: str, rdp: Curve, *, delta: float = 0.0) -> None:
        """Note a charge.

        Raises:
            BudgetExceededError: if the budget does not hold it.
        """
        one = Planned(label, rdp, delta)
        self.own.require(one.entry())
        self.planned.append(one)

    def epsilon(self, delta: float) -> float:
        """Return the loss of the charges so far."""
        return self.own.epsilon(delta)


@dataclass
class Paid(Share):
    """A part of a budget whose charges the ledger holds already: a fit may spend those, and no more.

    Attributes:
        planned: What was charged.
    """

    planned: tuple[Planned, ...]

    def spend(self, label: str, rdp: Curve, *, delta: float = 0.0) -> None:
        """Take a curve off what was paid for.

        Raises:
            BudgetExceededError: if that is less, at any order.
        """
        entry = entry_of(label, rdp, delta=delta)
        asked, paid = total_of([*self.own.entries, entry]), total_of([one.entry() for one in self.planned])
        most = np.array(paid.rdp) * (1 + _SLACK)
        if (np.array(asked.rdp) > most).any() or asked.delta > paid.delta * (1 + _SLACK):
            raise BudgetExceededError(
                f"'{label}' asks for more than it did before rows were read, when the budget was split: a generator "
                "must charge first, by its options and the schema alone; nothing more was read. Fit it alone",
                requested=self.own.epsilon_with(entry, self.budget.delta),
                available=self.budget.epsilon,
            )
        self.own.charge(entry)


def allocated(
    ledger: PrivacyLedger,
    fits: Sequence[tuple[Generator, Schema]],
    parts: Sequence[float],
    *,
    unit: Unit | None,
    run: Run,
) -> list[PrivacyLedger]:
    """Charge what several fits will spend, and return a ledger for each.

    Without a limit that is the ledger itself, and nothing is charged.

    Args:
        fits: The recipes, each with the schema of its rows.
        parts: The part of each in epsilon and delta, above 0; they sum to 1.  Epsilons are scaled, in proportion.
        unit: The privacy unit of the rows, as a generator gets them.

    Raises:
        BudgetExceededError: if the ledger cannot pay for all of them; nothing was charged, and nothing read.
        UnitError: if the ledger is of another privacy unit.
        SynthError: what a fit says of its options and the schema; nothing was charged.
    """
    left = ledger.remaining()
    if left is None:
        return [ledger] * len(parts)
    for recipe, _ in fits:  # that one keeps no budget is told before what another lacks
        rehearse(recipe, left)
    quotes = _scaled(_accountant(ledger, left), fits, parts, left, run)
    if quotes is None:
        settle(ledger, unit, is_prepared=True)
        return shares(ledger, parts)
    charges = [one for quote in quotes for one in quote.planned]
    if charges:
        settle(ledger, unit, is_prepared=True)
        _require(ledger, charges)
    for planned in charges:
        ledger.spend(planned.label, planned.rdp, delta=planned.delta)
    return [Paid(ledger, quote.budget, tuple(quote.planned)) for quote in quotes]


def total_of(entries: Sequence[Entry], unit: str = "") -> Entry:
    """Return several charges as one."""
    curve = sum((np.array(entry.rdp) for entry in entries), np.zeros_like(ORDERS))
    label = ", ".join(entry.label for entry in entries)
    return Entry(label, tuple(curve.tolist()), sum((entry.delta for entry in entries), 0.0), unit=unit)


def _scaled(
    accountant: Ledger, fits: Sequence[tuple[Generator, Schema]], parts: Sequence[float], left: Budget, run: Run
) -> list[Quote] | None:
    """Return what the fits would charge at the largest scale that the ledger holds; ``None`` if they do not say all."""
    best: list[Quote] | None = None
    errors: list[BudgetExceededError] = []
    low, high, scale = 0.0, math.inf, 1.0
    limit = accountant.budget or left
    for step in range(_TRIES):
        total = 0.0
        try:
            quotes = [
                quoted(*one, Budget(scale * part * left.epsilon, part * left.delta * (1 - _SLACK)), run)
                for one, part in zip(fits, parts, strict=True)
            ]
        except BudgetExceededError as error:
            errors.append(error)
            low = scale  # a part too small for a fit: a larger one may do
        else:
            if not all(quote.is_all for quote in quotes):
                return None
            planned = [one.entry() for quote in quotes for one in quote.planned]
            if not planned:
                return quotes
            whole = total_of(planned)
            total = accountant.epsilon_with(whole, limit.delta)
            try:
                accountant.require(whole)
            except BudgetExceededError as error:
                errors.append(error)
                high = scale
            else:
                best, low = quotes, scale
        is_wide = low * min(parts) > 1 and math.isinf(high)  # every part alone is the whole: fits do not spend more
        if (best and (1 - NARROW) * limit.epsilon <= total <= limit.epsilon) or is_wide or high - low <= _SLACK * low:
            break
        # A total is about as many times larger as the parts are; where that leads astray, the interval is halved.
        guess = scale * (1 - NARROW / 2) * limit.epsilon / total if 0 < total < math.inf else 0.0
        middle = 2 * low if math.isinf(high) else (low + high) / 2
        scale = guess if step % 3 != 2 and low < guess < high else middle
    if best is None:
        raise errors[0]
    return best


def quoted(recipe: Generator, schema: Schema, budget: Budget, run: Run) -> Quote:
    """Return what a fit would charge before it reads a row; nobody is charged.

    Raises:
        SynthError: what the fit says of its options, the schema and the budget.
    """
    quote = Quote(budget)
    alone = Run(device=run.device, rank=run.rank, world_size=run.world_size)
    try:
        recipe.fit(Dataset(_Unread(), schema), rng=np.random.default_rng(0), ledger=quote, run=alone)
    except _Looked:
        left = quote.remaining()
        quote.is_all = left is not None and left.epsilon <= (1 - SPENT) * budget.epsilon
    return quote


class _Looked(BaseException):
    """Rows were to be read: not an ``Exception``, so that no fit takes it for one of its own."""


class _Unread(Mapping[str, pd.DataFrame]):
    """Tables that nobody has read: whoever looks ends there."""

    def __getitem__(self, name: str) -> pd.DataFrame:
        raise _Looked

    def __iter__(self) -> Iterator[str]:
        raise _Looked

    def __len__(self) -> int:
        raise _Looked


def _accountant(ledger: PrivacyLedger, left: Budget) -> Ledger:
    """Return who composes charges: the ledger itself where it is ours, else one of what is left."""
    if isinstance(ledger, Ledger):
        return ledger
    return ledger.own if isinstance(ledger, Share | Quote) else Ledger(left, is_told=False)


def _require(ledger: PrivacyLedger, planned: Sequence[Planned]) -> None:
    """Raise unless a ledger, and whatever it charges as well, has room for all charges, before the first is made."""
    while isinstance(ledger, Share):
        ledger.own.require(total_of([one.entry() for one in planned]))
        if isinstance(ledger, Paid):
            return
        ledger = ledger.of
    if isinstance(ledger, Ledger):
        whole = total_of([one.entry(ledger.unit) for one in planned], unit=ledger.unit)
        ledger.require(whole)
        shared = ledger.shared()
        if shared is not None:
            shared.require(whole)
