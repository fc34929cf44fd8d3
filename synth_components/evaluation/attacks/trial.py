"""Who plays which part: members, others and reference rows, disjoint, and never two of one person apart.

One record of each person is attacked: rows of one person are alike, so that they are no trials apart, and intervals
that took them for such would find a gain where chance alone chose who was trained on.
"""

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
"""Fewest rows of each part that an attack is tried on, each of another privacy unit."""

NEEDS = f"it needs a column, {LEAST} rows of each table and twice as many of the holdout, each of another privacy unit"
"""Why an attack was not made."""


@dataclass(frozen=True)
class Parts:
    """The parts of an attack, all as rows of ``view``.

    Attributes:
        view: All tables on shared scales.
        members: (a, d) rows that were trained on, one of each privacy unit.
        others: (b, d) rows of the holdout, which were not, one of each privacy unit.
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
    """Return the parts, as many members as others; ``None`` without units or columns enough.

    The others are of one half of the holdout, at most ``attack_rows`` and no more than there are members; the other
    half is the reference.  Of the rows of one privacy unit, none is in both.
    """
    view = coded(train, holdout, synthetic)
    trained, group = owners(train, context), owners(holdout, context)
    count = int(group.max(initial=-1)) + 1
    if not view.names or min(len(np.unique(trained)), count // 2, len(view.synthetic)) < LEAST:
        return None
    chosen = np.zeros(count, dtype=np.bool_)
    order = rng.permutation(count)
    sizes = np.cumsum(np.bincount(group, minlength=count)[order])
    chosen[order[: max(1, int(np.searchsorted(sizes, len(group) / 2, side="right")))]] = True
    is_other = chosen[group]
    apart = one_of_each(np.flatnonzero(is_other), group, rng)
    if is_other.all() or len(apart) < LEAST:
        return None
    inside = one_of_each(np.arange(len(trained)), trained, rng)
    others = some_rows(view.holdout[apart], min(config.attack_rows, len(inside)), rng)
    left = np.setdiff1d(np.arange(len(group)), np.flatnonzero(is_other))
    return Parts(
        view,
        some_rows(view.train[inside], len(others), rng),
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


def one_of_each(rows: NDArray[np.int64], group: NDArray[np.int64], rng: random.Generator) -> NDArray[np.int64]:
    """Return one of the rows, drawn at random, of each unit, in their order."""
    found = np.unique(group[rows])
    if len(found) == len(rows):
        return rows
    mixed = rng.permutation(rows)
    return np.sort(mixed[np.unique(group[mixed], return_index=True)[1]])


def left_out(name: str, reason: str, subject: str = "") -> Evidence:
    """Return the evidence of an attack that was not made."""
    return Evidence(tables={"left_out": pd.DataFrame([{"score": name, "subject": subject, "reason": reason}])})
