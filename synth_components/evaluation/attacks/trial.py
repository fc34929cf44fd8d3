"""Who plays which part: members, others and reference rows, disjoint, and never two of one person apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.evaluation.columns import Coded, coded, some_rows
from synth_components.evaluation.options import PrivacyConfig
from synth_components.protocols import Context, Dataset, Evidence, Floats
from synth_components.split import units

LEAST = 20
"""Fewest rows of each part that an attack is tried on."""


@dataclass(frozen=True)
class Parts:
    """The parts of an attack, all as rows of ``view``.

    Attributes:
        view: All tables on shared scales.
        members: (a, d) rows that were trained on.
        others: (b, d) rows of the holdout, which were not.
        reference: (m, d) more rows of the holdout: what the adversary knows about the population.
        drawn: (s, d) synthetic rows.
    """

    view: Coded
    members: Floats
    others: Floats
    reference: Floats
    drawn: Floats


def parts(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: PrivacyConfig,
) -> Parts | None:
    """Return the parts, members and others of equal size; ``None`` without rows or columns enough.

    Half of the holdout (at most ``attack_rows``) are the others, what is left is the reference.  Of the rows of one
    privacy unit, none is in both.
    """
    view = coded(train, holdout, synthetic)
    if not view.names or min(len(view.train), len(view.holdout) // 2, len(view.synthetic)) < LEAST:
        return None
    group = owners(holdout, context)
    count = int(group.max()) + 1
    chosen = np.zeros(count, dtype=np.bool_)
    order = rng.permutation(count)
    sizes = np.cumsum(np.bincount(group, minlength=count)[order])
    chosen[order[: max(1, int(np.searchsorted(sizes, len(group) / 2, side="right")))]] = True
    is_other = chosen[group]
    if is_other.all():
        return None
    others = some_rows(view.holdout[is_other], config.attack_rows, rng)
    left = np.setdiff1d(np.arange(len(group)), np.flatnonzero(is_other))
    return Parts(
        view,
        some_rows(view.train, len(others), rng),
        others,
        some_rows(view.holdout[left], config.attack_references, rng),
        some_rows(view.synthetic, config.attack_references, rng),
    )


def owners(data: Dataset, context: Context) -> NDArray[np.int64]:
    """Return the privacy unit of each row (n,) as a number from 0; a row is one where none is known."""
    if data.owners is not None:
        return data.owners
    known = set(context.unit) <= set(data.table.columns)
    return units(data.table, context.unit if known else ())


def left_out(name: str, reason: str, subject: str = "") -> Evidence:
    """Return the evidence of an attack that was not made."""
    return Evidence(tables={"left_out": pd.DataFrame([{"score": name, "subject": subject, "reason": reason}])})
