"""The privacy ledger: append-only, charged before rows are read, composed in Renyi differential privacy.

Unit and neighbours: one privacy unit of the schema (a row unless declared otherwise), added or removed; the same one
for all charges of a ledger (``privacy.unit``).
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from synth_components import audit
from synth_components.errors import ArtifactError, BudgetExceededError, UnitError
from synth_components.protocols import Budget, PrivacyLedger

ORDERS: NDArray[np.float64] = np.array(
    [1.01, 1.02, 1.05, *np.arange(1.1, 3.0, 0.1), *np.arange(3.0, 12.0, 0.5), *range(12, 64), 80, 96, 128, 192, 256,
     512, 1024, 4096, math.inf],
    dtype=np.float64,
)  # fmt: skip
"""The fixed grid on which every curve is evaluated at once.  Infinity makes pure-epsilon mechanisms compose exactly."""

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]

NOTHING = (0.0,) * len(ORDERS)
"""The curve of no charge, on ``ORDERS``."""


def not_private(orders: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the curve of a read without differential privacy: infinite at every order."""
    return np.full_like(orders, math.inf)


def epsilon_of(rdp: NDArray[np.float64], delta: float) -> float:
    """Return the smallest epsilon that ``rdp`` (nats, on ``ORDERS``) gives at ``delta``.

    Source: Canonne, Kamath & Steinke 2020 (arXiv:2004.00010), Proposition 12.
    """
    if not np.any(rdp > 0):
        return 0.0
    pure = float(rdp[-1])
    if delta <= 0:
        return pure
    orders, curve = ORDERS[:-1], rdp[:-1]
    bounds = curve + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return max(0.0, min(pure, float(np.min(bounds))))


@dataclass(frozen=True)
class Entry:
    """One charge: what was read, its curve on ``ORDERS`` (nats), and its own delta.

    ``covered`` is false for a non-private evaluation after the fact: it is told, and lies outside the model's epsilon.
    ``unit`` is whom the curve is of, in the words of ``privacy.unit``; empty if nobody said, or there is no guarantee.
    """

    label: str
    rdp: tuple[float, ...]
    delta: float = 0.0
    covered: bool = True
    unit: str = ""

    @property
    def is_private(self) -> bool:
        """Whether the charge is a guarantee, for somebody: its curve is finite at some order."""
        return self.covered and math.isfinite(min(self.rdp))


def entry_of(label: str, rdp: Curve, *, delta: float = 0.0, unit: str = "") -> Entry:
    """Return the charge of a curve, orders (a,) to nats (a,); without a guarantee it has no unit.

    Raises:
        ValueError: if the curve or delta mean nothing.
    """
    curve = np.asarray(rdp(ORDERS), dtype=np.float64)
    if curve.shape != ORDERS.shape or np.isnan(curve).any() or (curve < 0).any() or not 0 <= delta < 1:
        raise ValueError(f"the curve of '{label}' must give one value >= 0 per order, and delta lie in [0, 1)")
    return Entry(label, tuple(curve.tolist()), delta, unit=unit if math.isfinite(float(curve.min())) else "")


class Account(Protocol):
    """What several ledgers share: ``privacy.budget_file.BudgetFile``."""

    def require(self, entry: Entry) -> None:
        """Raise ``BudgetExceededError`` unless there is room for one more charge; write down nothing."""

    def charge(self, entry: Entry) -> None:
        """Write down a charge, or raise ``BudgetExceededError`` and write down nothing."""

    def settle(self, unit: str) -> None:
        """Raise ``UnitError`` unless charges of a privacy unit may be made."""


class _Settled:
    def require(self, entry: Entry) -> None:
        """Have room for anything."""

    def charge(self, entry: Entry) -> None:
        """Write down nothing."""

    def settle(self, unit: str) -> None:
        """Take any unit."""


SETTLED: Account = _Settled()
"""Of what was charged already, or reads no real rows: a ledger with this account charges no budget file."""


class OwnLock:
    """A lock of one object in one process: a deep copy has another, and so has a process forked off."""

    def __init__(self) -> None:
        self._held = threading.Lock()
        self._process = os.getpid()

    def __enter__(self) -> None:
        """Wait until nobody else has it, and take it."""
        if self._process != os.getpid():
            # A thread that had it when this process was forked off is not in here, and would never give it back.
            self._held, self._process = threading.Lock(), os.getpid()
        self._held.acquire()

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self._held.release()

    def __reduce__(self) -> tuple[type[OwnLock], tuple[()]]:
        """Return how a copy is made: nobody has it."""
        return OwnLock, ()


class Room(NamedTuple):
    """What a charge is calibrated to: a budget, and what was charged against it before.

    Charges compose to less than their sum, a Gaussian one of .1 and one of .9 of epsilon 1 at delta 1e-6 to .91, so
    that what is calibrated to the rest of epsilon leaves a part of it.

    Attributes:
        budget: The whole epsilon, and the delta that is left.
        spent: The curve (orders,) of the charges before, on ``ORDERS``.
    """

    budget: Budget
    spent: tuple[float, ...]

    def holds(self, rdp: NDArray[np.float64]) -> bool:
        """Return whether there is room for one more curve, on ``ORDERS``."""
        return epsilon_of(np.array(self.spent) + rdp, self.budget.delta) <= self.budget.epsilon


def room_of(ledger: PrivacyLedger) -> Room | None:
    """Return what one more charge is to fit into: of a ledger that is not ours, the rest that it names."""
    if isinstance(ledger, Ledger):
        return ledger.room()
    left = ledger.remaining()
    return None if left is None else Room(left, NOTHING)


@dataclass
class Ledger:
    """An append-only account of every read of raw rows, against an optional budget.

    Without a budget nothing is refused, and ``epsilon`` tells what was spent.  With an ``account`` every charge is made
    there, too, before it counts here, and what the account refuses is refused.  Without one it is made to the budget
    file that the circumstances name, if they name one: a ledger of one's own does not pass by it.

    It is of one privacy unit: that which ``unit`` says, or else the first that ``settle`` is told.

    Threads may share it.
    """

    budget: Budget | None = None
    _entries: list[Entry] = field(default_factory=list)
    account: Account | None = field(default=None, repr=False, compare=False)
    is_told: bool = field(default=True, repr=False, compare=False)  # False of what is no read: a rehearsal, a part
    unit: str = field(default="", repr=False, compare=False)
    # Running sums over the covered entries, in their order, so that a charge costs the same however many went before.
    _rdp: NDArray[np.float64] = field(init=False, repr=False, compare=False)
    _delta: float = field(init=False, repr=False, compare=False, default=0.0)
    _is_read: bool = field(init=False, repr=False, compare=False, default=False)
    # Between the check and the write of a charge no other thread may charge: together they could spend more.
    _lock: OwnLock = field(init=False, repr=False, compare=False, default_factory=OwnLock)

    def __post_init__(self) -> None:
        """Sum up what was spent before.

        Raises:
            UnitError: if charges are of different privacy units.
        """
        self._rdp = np.zeros_like(ORDERS)
        held, self._entries = self._entries, []
        for entry in held:
            self._adopt(entry)
            self._entries.append(entry)
            self._add(entry)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The charges so far, oldest first."""
        return tuple(self._entries)

    def spend(self, label: str, rdp: Curve, *, delta: float = 0.0) -> None:
        """Charge a curve, orders (a,) to nats (a,), *before* reading rows.

        Raises:
            BudgetExceededError: if the total would exceed the budget; the ledger is then unchanged.
        """
        self.charge(entry_of(label, rdp, delta=delta, unit=self.unit))

    def charge(self, entry: Entry) -> None:
        """Charge an entry, *before* reading rows.

        Raises:
            BudgetExceededError: if the total would exceed the budget; the ledger is then unchanged.
            UnitError: if the entry is of another privacy unit than the ledger, or does not say of which.
        """
        with self._lock:
            self.require(entry)
            unit = self.unit
            self._adopt(entry)
            try:
                self._write(entry)
            except BaseException:
                self.unit = unit  # nothing was charged: it is of nobody yet, as it was
                raise

    def settle(self, unit: str) -> None:
        """Say whom the charges from now on are of, as ``privacy.unit.told`` names them.

        Raises:
            UnitError: if the ledger, or what it charges as well, is of another unit, or holds charges of which nobody
                said whom they are of.
        """
        with self._lock:
            self._require_unit(unit)
            shared = self.shared()
            if shared is not None:
                shared.settle(unit)
            self.unit = unit

    def _adopt(self, entry: Entry) -> None:
        """Take the unit of an entry that is a guarantee; raise ``UnitError`` if the charges so far are of another."""
        if entry.is_private and entry.unit != self.unit:
            self._require_unit(entry.unit)
            self.unit = entry.unit

    def _require_unit(self, unit: str) -> None:
        if self.unit and self.unit != unit:
            raise UnitError(
                f"the ledger is for {self.unit}, and a charge for {unit or 'nobody says whom'} is asked for: epsilons "
                "of different privacy units are no guarantee for either when they are added; nothing was read. Declare "
                "one unit in every schema",
                unit=self.unit,
                charged=unit,
            )
        if not self.unit and any(entry.is_private for entry in self._entries):
            raise UnitError(
                f"the ledger holds charges of which nobody said whom they are of, and a charge for {unit} is asked "
                "for: epsilons of different privacy units are no guarantee for either when they are added; nothing "
                "was read. Make the ledger with its unit, Ledger(budget, unit=...)",
                unit="",
                charged=unit,
            )

    def require(self, entry: Entry) -> None:
        """Raise unless the budget, if there is one, has room for one more charge.

        Raises:
            BudgetExceededError: if it has not.
        """
        if self.budget is None or self.holds(entry):
            return
        requested = self.epsilon_with(entry, self.budget.delta)
        left = self.budget.epsilon - self.epsilon(self.budget.delta)
        remedy = "raise epsilon" if math.isfinite(requested) else "it has no noise, which no epsilon pays for"
        raise BudgetExceededError(
            f"'{entry.label}' would bring epsilon to {requested:.4g} at delta {self.budget.delta:g}, and the budget is "
            f"{self.budget.epsilon:.4g}; nothing was read; {remedy}",
            requested=requested,
            available=self.budget.epsilon,
            remaining=max(0.0, left),
        )

    def holds(self, entry: Entry) -> bool:
        """Return whether the budget, if there is one, has room for one more charge."""
        # One part in 1e9 of slack: a budget split in floating point must not refuse its own last share.
        return self.budget is None or self.epsilon_with(entry, self.budget.delta) <= self.budget.epsilon * (1 + 1e-9)

    def epsilon_with(self, entry: Entry, delta: float) -> float:
        """Return the loss at ``delta`` that one more charge would bring."""
        return _epsilon(self._rdp + np.array(entry.rdp), delta - (self._delta + entry.delta))

    def note_uncovered(self, label: str) -> None:
        """Write down a read for a non-private evaluation, which the model's epsilon does not cover."""
        with self._lock:
            self._write(Entry(label, tuple(not_private(ORDERS).tolist()), covered=False))

    def epsilon(self, delta: float) -> float:
        """Return the loss so far at ``delta``: 0 if nothing was read, ``inf`` once anything non-private was."""
        return _epsilon(self._rdp, delta - self._delta) if self._is_read else 0.0

    def remaining(self) -> Budget | None:
        """Return what is left of the budget, ``None`` if there is no limit."""
        if self.budget is None:
            return None
        # What pure mechanisms spent adds up; their epsilon at a delta is less, and would not leave room for the rest.
        pure = float(self._rdp[-1])
        spent = pure if math.isfinite(pure) else self.epsilon(self.budget.delta)
        return Budget(max(0.0, self.budget.epsilon - spent), max(0.0, self.budget.delta - self._delta))

    def room(self) -> Room | None:
        """Return what one more charge is to fit into, ``None`` if there is no limit."""
        if self.budget is None:
            return None
        return Room(Budget(self.budget.epsilon, max(0.0, self.budget.delta - self._delta)), tuple(self._rdp.tolist()))

    def shared(self) -> Account | None:
        """Return what every charge is made to as well, ``None`` if it counts here alone.

        Raises:
            DataError: if the circumstances name a budget file that is not there.
        """
        from synth_components.privacy.budget_file import account

        return account() if self.account is None and self.is_told else self.account

    def _write(self, entry: Entry) -> None:
        """Write an entry where it must not be lost first: whoever dies in between has paid."""
        shared = self.shared()
        if shared is not None:
            shared.charge(entry)
        self._tell(entry)
        self._entries.append(entry)
        self._add(entry)

    def _tell(self, entry: Entry) -> None:
        """Write an entry to the audit trail, with the loss that it brings the ledger to, and who else was charged."""
        if audit.trail_here() is None:
            return
        shared = self.shared()
        charged = "settled" if shared is SETTLED else "none" if shared is None else "shared"
        event: audit.Event = "spend" if entry.covered else "uncovered"
        told = {}
        if entry.covered:
            at = 0.0 if self.budget is None else self.budget.delta
            told = {"epsilon": number(self.epsilon_with(entry, at)), "delta": at}
        audit.record(event if self.is_told else "rehearsal", label=entry.label, **told, account=charged)

    def _add(self, entry: Entry) -> None:
        if entry.covered:
            self._rdp = self._rdp + np.array(entry.rdp)
            self._delta += entry.delta
            self._is_read = True

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value from which ``from_json`` makes an equal ledger."""
        return {
            "budget": None if self.budget is None else {"epsilon": self.budget.epsilon, "delta": self.budget.delta},
            "orders": [number(order) for order in ORDERS],
            "entries": [entry_to_json(entry) for entry in self._entries],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Return the ledger that ``to_json`` wrote.

        Raises:
            ArtifactError: if it was written on another grid of orders, is damaged, or adds up charges of different
                privacy units.
        """
        try:
            if [float(order) for order in value["orders"]] != ORDERS.tolist():
                raise ArtifactError("the privacy ledger is on another grid of orders; use the version that wrote it")
            budget = value["budget"]
            return cls(
                None if budget is None else Budget(float(budget["epsilon"]), float(budget["delta"])),
                [
                    Entry(
                        str(e["label"]),
                        tuple(float(v) for v in e["rdp"]),
                        float(e["delta"]),
                        bool(e["covered"]),
                        str(e.get("unit", "")),
                    )
                    for e in value["entries"]
                ],
            )
        except UnitError as error:
            raise ArtifactError(
                f"the privacy ledger holds charges for {error.unit or 'nobody says whom'} and for "
                f"{error.charged or 'nobody says whom'}, whose epsilons do not add up; restore the file"
            ) from None
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the privacy ledger is damaged ({type(error).__name__}); restore the file") from None


def _epsilon(rdp: NDArray[np.float64], left: float) -> float:
    """Return epsilon at the delta that the charges' own deltas leave."""
    return math.inf if left < 0 else epsilon_of(rdp, left)


def entry_to_json(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON holds it; without a unit as it was before there were any."""
    value = {
        "label": entry.label,
        "rdp": [number(one) for one in entry.rdp],
        "delta": entry.delta,
        "covered": entry.covered,
    }
    return value | ({"unit": entry.unit} if entry.unit else {})


def number(value: float) -> float | str:
    """Return a number as JSON holds it, infinity as text."""
    return value if math.isfinite(value) else "inf"


def dumps(ledger: Ledger) -> str:
    """Return the ledger as canonical JSON text."""
    return json.dumps(ledger.to_json(), sort_keys=True, separators=(",", ":"))
