"""Metrics and demo table of the pack `health`: stays in a hospital.

Source: WHO 2019, ICD-10 version 2019, for the blocks of codes; the rules' doses are those of common labels, widened.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.packs import read_pack

_LEAST = 30
"""Rows of each group that a comparison needs."""

_OLD = 50

# The last block of each letter: `E95` is nobody's code, although it has the form of one.
_LAST = {
    **dict.fromkeys("ABCFIJMNRSZ", 99), "D": 89, "E": 90, "G": 99, "H": 95, "K": 93, "L": 99, "O": 99, "P": 96,
    "Q": 99, "T": 98, "U": 99, "V": 99, "W": 99, "X": 99, "Y": 98,
}  # fmt: skip

_CHRONIC = r"(?:I10|E11|I25)(?:\..*)?"

_DOSES = {
    "metformin": (500, 1000, 2000),
    "ibuprofen": (400, 800, 1200),
    "paracetamol": (500, 1000, 3000),
    "atorvastatin": (10, 20, 40),
    "warfarin": (2.5, 5, 7.5),
}


def icd10_chapters(table: pd.DataFrame) -> float | None:
    """Return the share of diagnoses within a block of ICD-10; ``None`` without diagnoses."""
    codes = table["diagnosis"].dropna().astype(str)
    if not len(codes):
        return None
    distinct = {code: _is_block(code) for code in codes.unique()}
    return float(codes.map(distinct).mean())


def obstetric_women(table: pd.DataFrame) -> float | None:
    """Return the share of diagnoses of chapter XV (O00 to O9A) that are women's; ``None`` without any."""
    codes = table["diagnosis"].astype("string").fillna("")
    of = codes.str.startswith("O").to_numpy(dtype=bool) & table["sex"].notna().to_numpy()
    return float((table["sex"][of] == "F").mean()) if of.any() else None


def chronic_with_age(table: pd.DataFrame) -> float | None:
    """Return the prevalence of three chronic diseases from 50 on less that below; ``None`` for few rows."""
    codes = table["diagnosis"].astype("string").fillna("")
    return _rise(codes.str.fullmatch(_CHRONIC).to_numpy(dtype=bool), table["age"])


def mortality_with_age(table: pd.DataFrame) -> float | None:
    """Return the share of stays that end in death from 50 on less that below; ``None`` for few rows."""
    return _rise((table["died"] == "yes").to_numpy(dtype=bool), table["age"])


def _rise(has: NDArray[np.bool_], age: pd.Series[float]) -> float | None:
    years = pd.to_numeric(age, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    old, young = years >= _OLD, years < _OLD
    if min(old.sum(), young.sum()) < _LEAST:
        return None
    return float(has[old].mean() - has[young].mean())


def _is_block(code: str) -> bool:
    found = re.match(r"([A-Z])(\d)([0-9A-Z])", code)
    if found is None or found[1] not in _LAST:
        return False
    return not found[3].isdigit() or int(found[2] + found[3]) <= _LAST[found[1]]


def demo(rows: int, rng: random.Generator) -> pd.DataFrame:
    """Return made-up stays that obey the pack."""
    sex = np.where(rng.random(rows) < 0.52, "F", "M").astype(object)
    admitted = np.datetime64("2023-01-01") + rng.integers(0, 730, rows).astype("timedelta64[D]")
    # A third of the ages lies below 50, in years and days, so that the completed year is exact.
    years = np.clip(rng.normal(58, 20, rows), 18, 95)
    birth = admitted - np.floor(years * 365.2425).astype("timedelta64[D]")
    age = np.floor((admitted - birth).astype(np.int64) / 365.2425).astype(np.int64)
    length = np.minimum(rng.geometric(0.18, rows), 90)
    discharged = admitted + length.astype("timedelta64[D]")
    died = rng.random(rows) < 0.01 + 0.0016 * np.maximum(age - 40, 0)
    pregnant = (sex == "F") & (age <= 45) & (rng.random(rows) < 0.2)
    height = np.round(rng.normal(np.where(sex == "F", 164, 177), 7), 0)
    weight = np.round(rng.normal(26, 4, rows).clip(17, 45) * (height / 100) ** 2, 1)
    systolic = np.rint(np.clip(rng.normal(112 + 0.35 * age, 14), 80, 220)).astype(np.int64)
    drug = np.array(list(_DOSES), dtype=object)[rng.integers(len(_DOSES), size=rows)]
    place = rng.integers(3, size=rows)
    return pd.DataFrame(
        {
            "stay_id": np.arange(1, rows + 1),
            "patient_id": [f"P{number:06d}" for number in rng.integers(0, 4 * rows, rows)],
            "birth_date": birth.astype("datetime64[ns]"),
            "admitted": admitted.astype("datetime64[ns]"),
            "discharged": discharged.astype("datetime64[ns]"),
            "death_date": pd.Series(discharged.astype("datetime64[ns]")).where(died),
            "died": np.where(died, "yes", "no").astype(object),
            "age": age,
            "decade": age // 10 * 10,
            "sex": sex,
            "pregnant": np.where(pregnant, "yes", "no").astype(object),
            "diagnosis": _diagnoses(age, pregnant, rng),
            "drug": drug,
            "dose_mg": [float(_DOSES[name][k]) for name, k in zip(drug, place, strict=True)],
            "weight_kg": weight,
            "height_cm": height,
            "bmi": np.round(weight / (height / 100) ** 2, 1),
            "systolic": systolic,
            "diastolic": np.rint(systolic * rng.uniform(0.55, 0.7, rows)).astype(np.int64),
        }
    )


def _diagnoses(age: NDArray[np.int64], pregnant: NDArray[np.bool_], rng: random.Generator) -> NDArray[np.object_]:
    chronic = np.array(["I10", "E11.9", "I25.1"], dtype=object)
    acute = np.array(["J18.9", "K35.8", "S72.0", "N39.0", "A41.9", "R07.4", "M54.5"], dtype=object)
    births = np.array(["O80", "O82", "O24.4"], dtype=object)
    made = acute[rng.integers(len(acute), size=len(age))]
    is_chronic = rng.random(len(age)) < np.clip((age - 25) / 90, 0.02, 0.7)
    made[is_chronic] = chronic[rng.integers(len(chronic), size=int(is_chronic.sum()))]
    made[pregnant] = births[rng.integers(len(births), size=int(pregnant.sum()))]
    return made


PACK = read_pack(
    Path(__file__).with_suffix(".yaml"),
    measures={
        "icd10_chapters": icd10_chapters,
        "obstetric_women": obstetric_women,
        "chronic_with_age": chronic_with_age,
        "mortality_with_age": mortality_with_age,
    },
    make=demo,
)
