"""Real rows in two parts, before training, so that the holdout is never seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.encode import cast_to
from synth_components.errors import DataError, SchemaError


def split(
    table: pd.DataFrame, *, share: float, rng: random.Generator, unit: tuple[str, ...] = (), stratify: str = ""
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, holdout), disjoint, in the order of ``table``; both index from 0.

    Args:
        share: Share of the units that goes to the holdout, in (0, 1).
        rng: Source of the choice.
        unit: Columns that identify a privacy unit; all rows of a unit go to one side.  Empty: a row is a unit.
        stratify: Column whose values keep their shares on both sides (by the unit's first row); numbers by decile.

    Raises:
        DataError: if either side would be empty, or ``share`` is outside (0, 1).
        SchemaError: for a column that the table does not have.
    """
    if not 0 < share < 1:
        raise DataError(f"share ({share}) must lie strictly between 0 and 1")
    for name in (*unit, *((stratify,) if stratify else ())):
        if name not in table.columns:
            raise SchemaError(f"split names column '{name}', which the table does not have", column=name)
    groups = table.groupby(list(unit), sort=False, dropna=False).ngroup().to_numpy() if unit else np.arange(len(table))
    _, first = np.unique(groups, return_index=True)
    if len(first) < 2:
        what = "privacy unit" if unit else "row"
        raise DataError(f"the table has {len(first)} {what}(s); a split needs at least 2")
    strata = _strata(table[stratify])[first] if stratify else np.zeros(len(first), dtype=np.int64)
    chosen = _choose(strata, share, rng)
    held = chosen[groups]
    return (
        table.loc[~held].reset_index(drop=True),
        table.loc[held].reset_index(drop=True),
    )


def _strata(values: pd.Series[Any]) -> NDArray[np.int64]:
    if values.dtype.kind in "iuf" and values.nunique() > 20:
        ranks = values.rank(method="first").to_numpy()
        return np.nan_to_num(ranks * 10 // (len(values) + 1), nan=-1.0).astype(np.int64)
    codes, _ = pd.factorize(cast_to(values, object))
    return codes.astype(np.int64)


def _choose(strata: NDArray[np.int64], share: float, rng: random.Generator) -> NDArray[np.bool_]:
    """Return which units (u,) are held out: the share of each stratum, by largest remainder, at least one in all."""
    labels, counts = np.unique(strata, return_counts=True)
    total = min(max(1, round(share * len(strata))), len(strata) - 1)
    exact = counts * total / len(strata)
    quota = np.floor(exact).astype(np.int64)
    order = np.lexsort((rng.random(len(counts)), -(exact - quota)))
    quota[order[: total - int(quota.sum())]] += 1
    chosen = np.zeros(len(strata), dtype=np.bool_)
    for label, size in zip(labels, quota, strict=True):
        chosen[rng.permutation(np.flatnonzero(strata == label))[:size]] = True
    return chosen
