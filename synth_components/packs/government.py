"""Metrics and demo table of the pack `government`: a register of residents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.packs import read_pack

_SMALL = 10
"""Persons of a class that k-anonymity asks for here."""

_GROUPS = np.array([0, 18, 35, 50, 65])

_PLACES = (
    ("North", "Ashford", ("N110", "N120", "N130")),
    ("North", "Birkby", ("N210", "N220")),
    ("South", "Calder", ("S110", "S120")),
    ("South", "Denholm", ("S210", "S220", "S230")),
)
"""A made-up country: region, municipality, postcodes."""

_STREETS = ("Mill Lane", "Station Road", "Church Street", "High Street", "Elm Grove")


def household_sums(table: pd.DataFrame) -> float | None:
    """Return the share of households whose declared size is their number of persons; ``None`` without any."""
    held = table.dropna(subset=["household_id", "household_size"])
    groups = held.groupby("household_id")["household_size"]
    right = (groups.min() == groups.size()) & (groups.max() == groups.size())
    return float(right.mean()) if len(right) else None


def one_head(table: pd.DataFrame) -> float | None:
    """Return the share of households with exactly one head; ``None`` without any."""
    held = table.dropna(subset=["household_id"])
    heads = (held["role"] == "head").groupby(held["household_id"]).sum()
    return float((heads == 1).mean()) if len(heads) else None


def household_address(table: pd.DataFrame) -> float | None:
    """Return the share of households at one street and postcode; ``None`` without any."""
    held = table.dropna(subset=["household_id"])
    counts = held.groupby("household_id")[["street", "postcode"]].nunique()
    return float((counts <= 1).all(axis=1).mean()) if len(counts) else None


def postcode_agreement(table: pd.DataFrame) -> float | None:
    """Return the share of persons in the usual municipality of their postcode; ``None`` without any."""
    return _agreement(table, "postcode", "municipality")


def region_agreement(table: pd.DataFrame) -> float | None:
    """Return the share of persons in the usual region of their municipality; ``None`` without any."""
    return _agreement(table, "municipality", "region")


def k_anonymity(table: pd.DataFrame) -> float | None:
    """Return the share of persons who share age group, sex and region with nine; ``None`` without rows."""
    sizes = table.groupby(["age_group", "sex", "region"], dropna=False, observed=True).size().to_numpy()
    return float(sizes[sizes >= _SMALL].sum() / sizes.sum()) if len(sizes) else None


def _agreement(table: pd.DataFrame, determinant: str, dependent: str) -> float | None:
    counts = table.dropna(subset=[determinant, dependent]).groupby([determinant, dependent], observed=True).size()
    return float(counts.groupby(level=0).max().sum() / counts.sum()) if len(counts) else None


def demo(rows: int, rng: random.Generator) -> pd.DataFrame:
    """Return a made-up register that obeys the pack."""
    household, place, size = _households(rows, rng)
    roles = np.where(place == 0, "head", np.where(place == 1, "partner", "child")).astype(object)
    is_child = roles == "child"
    counted = np.datetime64("2024-12-31")
    years = np.where(is_child, rng.uniform(0.1, 17.9, rows), rng.uniform(20, 90, rows))
    days = np.floor(years * 365.2425)
    birth = counted - days.astype("timedelta64[D]")
    age = np.floor(days / 365.2425).astype(np.int64)
    registered = birth + np.floor(days * rng.random(rows)).astype("timedelta64[D]")
    status = np.array(["single", "married", "divorced", "widowed"], dtype=object)
    marital = np.where(age < 18, "single", status[rng.integers(4, size=rows)])
    flat = [(region, town, code) for region, town, codes in _PLACES for code in codes]
    home = rng.integers(len(flat), size=int(household.max(initial=-1)) + 1)[household]
    street = rng.integers(len(_STREETS), size=int(household.max(initial=-1)) + 1)[household]
    income = np.where(age < 18, 0.0, np.round(np.exp(rng.normal(10.2, 0.5, rows)), 2))
    benefits = np.where(rng.random(rows) < 0.2, np.round(rng.uniform(500, 8_000, rows), 2), 0.0)
    tax = np.round(income * np.clip(np.log1p(income) / 60, 0, 0.4), 2)
    return pd.DataFrame(
        {
            "person_id": np.arange(1, rows + 1),
            "household_id": [f"H{number:05d}" for number in household],
            "household_size": size,
            "role": roles,
            "birth_date": birth.astype("datetime64[ns]"),
            "registered": registered.astype("datetime64[ns]"),
            "counted": np.full(rows, counted).astype("datetime64[ns]"),
            "age": age,
            "age_group": _GROUPS[np.searchsorted(_GROUPS, age, side="right") - 1],
            "sex": np.where(rng.random(rows) < 0.5, "F", "M").astype(object),
            "marital_status": marital,
            "street": np.array(_STREETS, dtype=object)[street],
            "postcode": np.array([code for _, _, code in flat], dtype=object)[home],
            "municipality": np.array([town for _, town, _ in flat], dtype=object)[home],
            "region": np.array([region for region, _, _ in flat], dtype=object)[home],
            "income": income,
            "benefits": benefits,
            "tax": tax,
            "net_income": np.round(income + benefits - tax, 2),
        }
    )


def _households(rows: int, rng: random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return household, place within it and its size of each person, shapes (n,); the last household takes the rest."""
    sizes = rng.choice([1, 2, 3, 4, 5], size=rows, p=[0.3, 0.3, 0.18, 0.15, 0.07])
    household = np.repeat(np.arange(rows), sizes)[:rows]
    counts = np.bincount(household, minlength=1) if rows else np.zeros(0, dtype=np.int64)
    place = np.concatenate([np.arange(count) for count in counts]) if rows else household
    return household, place, counts[household]


PACK = read_pack(
    Path(__file__).with_suffix(".yaml"),
    measures={
        "household_sums": household_sums,
        "one_head": one_head,
        "household_address": household_address,
        "postcode_agreement": postcode_agreement,
        "region_agreement": region_agreement,
        "k_anonymity": k_anonymity,
    },
    make=demo,
)
