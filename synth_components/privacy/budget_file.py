"""A privacy budget that all work on one data set shares: a hash-chained file of charges, safe among processes.

The first line says how much there is and of which data set; each further line is a charge of a ledger, written and on
the disk before the rows are read.  Whoever dies in between has paid.  Generators, private profiles and private reports
compose, in Renyi differential privacy, by the lines alone; a read that is not differentially private is refused, but
for an evaluation after the fact, which is written down as uncovered (or refused too, if the file says so).

The lock holds among processes of one machine, on a local disk.  Steps on several machines take shares up front, by
``reserve``, and do not see the file.

Unit and neighbours: one privacy unit, added or removed: a row, or what the file was made with.  A charge for another is
refused, since their sum holds for neither (``privacy.unit``).  A second file on the same rows helps nobody: it does not
count what the first one released.

Theorem: charges that were settled before anything was released compose to (epsilon, delta), as a ledger says.  So do
charges chosen by what was released before, if all are zCDP: their sum at one order, the same whatever is released, is
a privacy filter.  Of other curves the releases may decide which order of the grid has room at the end; then what is
proven is the union over the orders: epsilon with ``ADAPTED`` times delta.

Source: Feldman & Zrnic 2021 (arXiv:2008.11193), Theorem 3.1, the filter at one order; Regehr, Hu, Leeman, Manurangsi,
    Tholoniat & Lecuyer 2026 (arXiv:2602.15815): filters by more than one number are not free.  A share counts as what
    Kairouz, Oh & Viswanath 2015 (arXiv:1311.0776), Theorem 3.2, say of any (epsilon, delta) mechanism: with
    probability delta it shows all, and is epsilon-DP else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, overload

import pandas as pd

from synth_components.audit import chain_key
from synth_components.chain import Chain
from synth_components.circumstances import circumstance
from synth_components.config import ConfigError
from synth_components.digest import digest
from synth_components.errors import ArtifactError, BudgetExceededError, DataError, UnitError
from synth_components.privacy.accounting import pure, rho_within, zero_concentrated
from synth_components.privacy.ledger import ORDERS, Entry, Ledger, entry_to_json, not_private, number
from synth_components.privacy.unit import told
from synth_components.progress import stamp
from synth_components.protocols import Budget, Dataset, PrivacyLedger
from synth_components.schema import TABLE, Unit

FORMAT = "synth_components.budget"
VERSION = 2
"""Version 1 did not say whom its charges are of: such a file is shown, and charged no more."""
ADAPTED = len(ORDERS)
"""By how many times delta may be exceeded where charges are chosen by what was released: once by the deltas of their
own, and once at each finite order."""


_NARROW = 1e-6
"""Relative width at which the search for what is left ends; its lower end is taken."""


@dataclass(frozen=True)
class State:
    """What a budget file says.

    Attributes:
        total: All there is.
        name: What the data set is called.
        digests: Fingerprints of the tables that may be read; empty if the name alone says which.
        unit: Whom epsilon protects; empty in a file of an earlier version, which did not say.
        units: Number of privacy units in the data set that is public knowledge, ``None`` if it is not.
        uncovered: Whether an evaluation that is not differentially private is written down, or refused.
        ledger: Every charge.
    """

    total: Budget
    name: str
    digests: tuple[str, ...]
    unit: str
    units: int | None
    uncovered: Literal["note", "refuse"]
    ledger: Ledger

    @property
    def spent(self) -> float:
        """Epsilon that is spent, at the delta of the budget."""
        return self.ledger.epsilon(self.total.delta)

    @property
    def remaining(self) -> Budget:
        """What is left: the most epsilon of one more charge without delta, and the delta unspent."""
        left = self.ledger.remaining()
        assert left is not None  # noqa: S101 - the ledger of a file has a budget
        # Many small charges compose to less than their sum, which the ledger goes by: more is left then.
        low, high = left.epsilon, self.total.epsilon
        while high - low > _NARROW * self.total.epsilon:
            middle = low + (high - low) / 2
            if not low < middle < high:
                break  # two neighbours: of a subnormal epsilon that width is no number above 0
            low, high = (middle, high) if self.ledger.holds(_wanted(Budget(middle), "")) else (low, middle)
        return Budget(low, left.delta)


@dataclass(frozen=True)
class BudgetFile:
    """The account of one data set, in a file."""

    path: Path

    @classmethod
    def create(
        cls,
        path: str | Path,
        total: Budget,
        *,
        name: str = "",
        tables: Iterable[pd.DataFrame | Dataset | Mapping[str, pd.DataFrame]] = (),
        unit: Unit | None = None,
        units: int | None = None,
        uncovered: Literal["note", "refuse"] = "note",
    ) -> Self:
        """Make the file.

        Args:
            name: What the data set is called, where its owner says which rows belong to it.
            tables: The tables that may be read, parts of a split included; others are refused.
            unit: Whom epsilon protects, as the schemas declare it: all charges must be of it.  ``None`` is a row.
            units: Number of privacy units, if it is public knowledge; delta must then be below 1 over it.
            uncovered: Whether evaluations that are not differentially private are written down, or refused.

        Raises:
            DataError: if the file is there already.
            ConfigError: without a name or tables, or with an epsilon that is not finite.
            DeltaError: if delta is 1 over ``units`` or more.
        """
        from synth_components.privacy.smallest_delta import require_below

        digests = [_digest(table) for table in tables]
        if not name and not digests:
            raise ConfigError("a budget is of a data set; give its name, or its tables", option="name")
        if not 0 < total.epsilon < math.inf:
            raise ConfigError("the epsilon of a budget must be a finite number above 0", option="epsilon")
        if units is not None:
            require_below(total.delta, units)

        def first(lines: list[dict[str, Any]]) -> dict[str, Any]:
            if lines:
                raise DataError(f"'{path}' is there already; a budget is not given twice, so name another file")
            return {
                "format": FORMAT,
                "version": VERSION,
                "time": stamp(),
                "epsilon": total.epsilon,
                "delta": total.delta,
                "orders": [number(order) for order in ORDERS],
                "name": name,
                "digests": digests,
                "unit": told(unit),
                "units": units,
                "uncovered": uncovered,
            }

        made = cls(Path(path).expanduser())
        made._chain.append_after(first)
        return made

    @property
    def _chain(self) -> Chain:
        return Chain(self.path, chain_key(), needs_head=True)

    def read(self) -> State:
        """Return what the file says, after checking every line.

        Raises:
            TamperedError: if it is not as it was written.
            DataError: if there is no file.
            ArtifactError: if it is no budget, or of another version.
        """
        return self._state(self._chain.lines())

    def charge(self, entry: Entry) -> None:
        """Write down a charge, on the disk when this returns.

        Raises:
            BudgetExceededError: if the total would exceed the budget, or the charge is uncovered and the file refuses
                that; nothing is written then.
            UnitError: if it is of another privacy unit, or does not say of which.
            TamperedError: if the file is not as it was written.
        """
        self._chain.append_after(lambda lines: self._line(lines, entry))

    def settle(self, unit: str) -> None:
        """Raise unless charges of a privacy unit may be made, as ``privacy.unit.told`` names it.

        Raises:
            UnitError: if the file is of another, or was made by a version that did not say of which.
        """
        self._require_unit(self.read(), unit, "a charge")

    def reserve(self, share: Budget, *, label: str, parts: int = 1) -> None:
        """Charge shares for steps elsewhere: each of ``parts`` may then spend ``share``, without this file.

        They must be for the privacy unit of the file, which nobody can look after there.

        Raises:
            BudgetExceededError: if they would exceed what is left; nothing is written then.
        """
        curve = parts * pure(share.epsilon)(ORDERS)
        self.charge(Entry(label, tuple(curve.tolist()), parts * share.delta, unit=self.read().unit))

    def require_data(self, data: pd.DataFrame | Dataset | Mapping[str, pd.DataFrame]) -> None:
        """Raise unless the budget is for a table; a budget by name takes the caller's word.

        Raises:
            DataError: for another table.
        """
        state = self.read()
        if state.digests and _digest(data) not in state.digests:
            raise DataError(
                f"the budget in '{self.path}' is for other rows: these are not a table that it was made with, or were "
                "read with other types; name the file of their own budget"
            )

    def require_room(self, wanted: Budget | None, *, label: str) -> None:
        """Raise if what a fit may spend is not left, before it spends a part of it in vain.

        A fit that has room here may still be refused: others charge meanwhile.

        Args:
            wanted: Its budget; ``None`` for a fit without differential privacy.

        Raises:
            BudgetExceededError: if it is not left; nothing is written.
        """
        self.require(_wanted(wanted, label))

    def require(self, entry: Entry) -> None:
        """Raise unless there is room for a charge now; nothing is written.

        Raises:
            BudgetExceededError: if there is not.
        """
        self._require(self.read(), entry)

    def public_units(self) -> int | None:
        """Return the number of privacy units, if it is public knowledge."""
        return self.read().units

    def require_uncovered(self, label: str) -> None:
        """Raise if the file refuses reads that are not differentially private and lie outside of any epsilon.

        Raises:
            BudgetExceededError: if it does; nothing was read.
        """
        self._require_noted(self.read(), label)

    def _require_noted(self, state: State, label: str) -> None:
        if state.uncovered == "refuse":
            raise BudgetExceededError(
                f"'{label}' reads real rows without differential privacy, which the budget in '{self.path}' refuses; "
                "nothing was read. Evaluate with differential privacy, or rows of another data set",
                requested=math.inf,
                available=state.total.epsilon,
                remaining=state.remaining.epsilon,
            )

    def _line(self, lines: list[dict[str, Any]], entry: Entry) -> dict[str, Any]:
        state = self._state(lines)
        if entry.is_private:
            self._require_unit(state, entry.unit, f"'{entry.label}'")
        if entry.covered:
            self._require(state, entry)
        else:
            self._require_noted(state, entry.label)
        return {"time": stamp(), **entry_to_json(entry)}

    def _require_unit(self, state: State, unit: str, what: str) -> None:
        if unit and unit == state.unit:
            return
        if not state.unit:
            raise UnitError(
                f"the budget in '{self.path}' was made by an earlier version, which did not keep whom its charges are "
                "of: they may be of different privacy units, whose epsilons do not add up. It is charged no more; "
                "nothing was read. If all of them are of one unit, make a new file of that unit, and reserve there "
                "what `synth budget show` says was spent here",
                unit="",
                charged=unit,
            )
        said = f"is for {unit}" if unit else "does not say whom it is for (Ledger(unit=...))"
        raise UnitError(
            f"the budget in '{self.path}' is for {state.unit}, and {what} {said}: epsilons of different privacy units "
            "are no guarantee for either when they are added; nothing was read. Declare the unit of the budget in the "
            "schema, or make the budget of the data set anew, of the unit that everything is to be charged for",
            unit=state.unit,
            charged=unit,
        )

    def _require(self, state: State, entry: Entry) -> None:
        if state.ledger.holds(entry):
            return
        requested = state.ledger.epsilon_with(entry, state.total.delta)
        asked = "is not differentially private" if math.isinf(entry.rdp[-2]) else "asks for more than is left"
        raise BudgetExceededError(
            f"'{entry.label}' {asked}: it would bring epsilon of the data set to {requested:.4g}, of "
            f"{state.total.epsilon:.4g} at delta {state.total.delta:g} in '{self.path}', where "
            f"{state.remaining.epsilon:.4g} is left; nothing was read. Ask for less, or use a private generator",
            requested=requested,
            available=state.total.epsilon,
            remaining=state.remaining.epsilon,
        )

    def _state(self, lines: list[dict[str, Any]]) -> State:
        if not lines or lines[0].get("format") != FORMAT:
            raise ArtifactError(f"'{self.path}' is no budget file; `synth budget create` makes one")
        first, charges = lines[0], lines[1:]
        if first["version"] not in (1, VERSION):
            raise ArtifactError(f"'{self.path}' has version {first['version']}; this version reads up to {VERSION}")
        total = Budget(float(first["epsilon"]), float(first["delta"]))
        value = {
            "budget": {"epsilon": total.epsilon, "delta": total.delta},
            "orders": first["orders"],
            "entries": charges,
        }
        ledger = Ledger.from_json(value)
        unit = first["unit"] if first["version"] > 1 else ""
        return State(total, first["name"], tuple(first["digests"]), unit, first["units"], first["uncovered"], ledger)


@dataclass(frozen=True)
class Prepared:
    """The account of a fit on rows that were made from those of a ledger, unit by unit.

    What the fit spends the ledger pays, and with it its budget file.  It pays for its own privacy unit, whatever is
    left of that in the schema of the rows: to see to it is up to whoever prepared them.
    """

    ledger: Ledger

    def charge(self, entry: Entry) -> None:
        """Charge the ledger."""
        self.ledger.charge(replace(entry, unit=self.ledger.unit) if entry.is_private else entry)

    def settle(self, unit: str) -> None:
        """Take any unit: that of the ledger is what counts."""

    def require_data(self, data: pd.DataFrame | Dataset | Mapping[str, pd.DataFrame]) -> None:
        """Take any rows: those that they were made from belong to the budget, or do not."""

    def require_room(self, wanted: Budget | None, *, label: str) -> None:
        """Raise if what a fit may spend is not left, in the ledger or its budget file."""
        self.require(_wanted(wanted, label))

    def require(self, entry: Entry) -> None:
        """Raise if there is no room for a charge, in the ledger or its budget file."""
        self.ledger.require(entry)
        shared = self.ledger.shared()
        if shared is not None:
            shared.require(entry)

    def public_units(self) -> int | None:
        """Return ``None``: how many were prepared is not public."""
        return None


def _wanted(wanted: Budget | None, label: str) -> Entry:
    if wanted is None:
        curve = not_private(ORDERS)
    else:
        curve = zero_concentrated(rho_within(wanted))(ORDERS) if wanted.delta > 0 else pure(wanted.epsilon)(ORDERS)
    return Entry(label, tuple(curve.tolist()))


@overload
def opened(ledger: Ledger | None) -> Ledger: ...


@overload
def opened(ledger: PrivacyLedger | None) -> PrivacyLedger: ...


def opened(ledger: PrivacyLedger | None) -> PrivacyLedger:
    """Return a ledger, or a new one; either charges the budget file of the circumstances, if there is one.

    It is not charged by a ledger with an account of its own, nor by one that is no ``Ledger``.
    """
    return Ledger(account=account()) if ledger is None else ledger


def require_uncovered(label: str) -> None:
    """Raise if the budget file of the circumstances, if any, refuses reads outside of any epsilon.

    Raises:
        BudgetExceededError: if it does; nothing was read.
    """
    shared = account()
    if shared is not None:
        shared.require_uncovered(label)


@overload
def account(place: str | Path | BudgetFile | None = None) -> BudgetFile | None: ...


@overload
def account(place: str | Path | BudgetFile | Prepared | None) -> BudgetFile | Prepared | None: ...


def account(place: str | Path | BudgetFile | Prepared | None = None) -> BudgetFile | Prepared | None:
    """Return the budget file that is named here, or by the circumstances; ``None`` if there is none.

    Raises:
        DataError: if there is no such file.
    """
    if isinstance(place, BudgetFile | Prepared):
        return place
    said = place or circumstance("budget_file")
    if not said:
        return None
    path = Path(said).expanduser()
    if not path.is_file():
        raise DataError(f"there is no budget file '{path}'; `synth budget create` makes one")
    return BudgetFile(path)


def _digest(data: pd.DataFrame | Dataset | Mapping[str, pd.DataFrame]) -> str:
    """Return the fingerprint of rows; a single table has it whatever its name."""
    if isinstance(data, Dataset):
        names = list(data.schema.tables)
        return digest({TABLE if len(names) == 1 else name: data.batches(name) for name in names})
    tables = {TABLE: data} if isinstance(data, pd.DataFrame) else data
    return digest({TABLE if len(tables) == 1 else name: [table] for name, table in tables.items()})
