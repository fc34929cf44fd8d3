"""Metrics and demo table of the pack `finance`: entries of bank accounts.

Source: Nigrini 2012, "Benford's Law", Table 7.1, for the deviation of first digits beyond which they do not conform.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.packs import read_pack
from synth_components.schema import Text
from synth_components.statistics.pattern import is_iban
from synth_components.surrogate import surrogate

_LEAST = 300
"""Amounts from which the deviation of a sample that conforms, .25 / sqrt(n) on average, is below its threshold."""

_CURRENCIES = ("EUR", "USD", "JPY")


def iban_checksum(table: pd.DataFrame) -> float | None:
    """Return the share of IBANs with right check digits; ``None`` without any."""
    held = table["iban"].dropna().astype(str)
    if not len(held):
        return None
    return float(held.map({text: is_iban(text) for text in held.unique()}).mean())


def balance_chain(table: pd.DataFrame) -> float | None:
    """Return the share of entries that open as the one before closed; ``None`` without pairs."""
    held = table.dropna(subset=["account", "sequence", "opening_balance", "closing_balance"])
    ordered = held.sort_values(["account", "sequence"], kind="stable")
    follows = (ordered["account"] == ordered["account"].shift()).to_numpy(dtype=bool)
    gap = (ordered["opening_balance"] - ordered["closing_balance"].shift()).abs().to_numpy(dtype=np.float64)
    return float((gap[follows] < 0.005).mean()) if follows.any() else None


def one_currency(table: pd.DataFrame) -> float | None:
    """Return the share of accounts held in one currency; ``None`` without accounts."""
    counts = table.dropna(subset=["account", "currency"]).groupby("account")["currency"].nunique()
    return float((counts == 1).mean()) if len(counts) else None


def benford_deviation(table: pd.DataFrame) -> float | None:
    """Return the mean absolute deviation of first digits from Benford's law.

    ``None`` for fewer than 300 amounts.  The larger of debit and credit counts.
    """
    amounts = table[["debit", "credit"]].max(axis=1).to_numpy(dtype=np.float64)
    amounts = amounts[np.isfinite(amounts) & (amounts > 0)]
    if len(amounts) < _LEAST:
        return None
    first = np.floor(amounts / 10.0 ** np.floor(np.log10(amounts) + 1e-12)).astype(np.int64)
    shares = np.bincount(np.clip(first, 1, 9), minlength=10)[1:] / len(amounts)
    return float(np.abs(shares - np.log10(1 + 1 / np.arange(1, 10))).mean())


def demo(rows: int, rng: random.Generator) -> pd.DataFrame:
    """Return made-up entries that obey the pack."""
    accounts = max(1, rows // 20)
    owner = np.sort(rng.integers(accounts, size=rows))
    first = np.r_[True, owner[1:] != owner[:-1]] if rows else np.zeros(0, dtype=bool)
    start = np.maximum.accumulate(np.where(first, np.arange(rows), 0))
    sequence = np.arange(rows) - start + 1
    hours = rng.integers(1, 48, rows)
    booked = np.datetime64("2024-01-01T08:00:00") + _running(hours, start).astype("timedelta64[h]")
    currency = np.array(_CURRENCIES, dtype=object)[rng.integers(len(_CURRENCIES), size=accounts)][owner]
    is_yen = currency == "JPY"
    amount = np.exp(rng.normal(3.0, 1.6, rows))
    amount = np.where(is_yen, np.maximum(np.rint(amount), 1), np.maximum(np.round(amount, 2), 0.01))
    is_credit = rng.random(rows) < 0.5
    credit, debit = np.where(is_credit, amount, 0.0), np.where(is_credit, 0.0, amount)
    fee = np.where(is_yen, 0.0, np.round(rng.choice([0.0, 0.0, 0.25, 0.5], rows), 2))
    opening = rng.permutation(np.linspace(2_000, 60_000, accounts).round())[
        owner
    ]  # then the running sum, rounded, so that closing and next opening are equal
    closing = np.round(opening + _running(credit - debit - fee, start), 2)
    before = np.where(first, opening, np.r_[0.0, closing[:-1]][:rows])
    ibans = surrogate(Text(kind="iban"), name="iban", n=accounts, rng=rng, first=0).to_numpy()
    spent = np.array(["rent", "food", "transfer", "fee"], dtype=object)[rng.integers(4, size=rows)]
    earned = np.array(["salary", "transfer"], dtype=object)[rng.integers(2, size=rows)]
    return pd.DataFrame(
        {
            "entry_id": np.arange(1, rows + 1),
            "account": np.array([f"A{number:03d}" for number in range(accounts)], dtype=object)[owner],
            "iban": ibans[owner],
            "sequence": sequence,
            "booked": booked.astype("datetime64[ns]"),
            "settled": (booked + rng.integers(0, 72, rows).astype("timedelta64[h]")).astype("datetime64[ns]"),
            "currency": currency,
            "category": np.where(is_credit, earned, spent),
            "debit": debit,
            "credit": credit,
            "fee": fee,
            "opening_balance": np.round(before, 2),
            "closing_balance": closing,
            "overdraft_limit": 100_000.0,
        }
    )


def _running(steps: NDArray[Any], start: NDArray[np.int64]) -> NDArray[Any]:
    """Return the sum of steps (n,) from the row where each group starts, shape (n,)."""
    total = np.cumsum(steps)
    made: NDArray[Any] = total - total[start] + steps[start]
    return made


PACK = read_pack(
    Path(__file__).with_suffix(".yaml"),
    measures={
        "iban_checksum": iban_checksum,
        "balance_chain": balance_chain,
        "one_currency": one_currency,
        "benford_deviation": benford_deviation,
    },
    make=demo,
)
