"""Linkability: do synthetic rows tie together two sources that hold different columns of the same people?

The adversary has some columns of a target in one source and others in a second, and links both if one synthetic row,
and no second, is closest in the one and in the other.

Source: Giomi et al. 2022 (arXiv:2211.10459), Section 4.3, with one neighbour.
Differs: rows at the same smallest distance are neighbours alike, and the link must be the only one; the baseline links
the two halves of different people, instead of guessing neighbours.
"""

from __future__ import annotations

import numpy as np
from numpy import random

from synth_components.evaluation.attacks.rates import TRIES, places, rates, targets, tries
from synth_components.evaluation.attacks.trial import NEEDS, left_out, parts
from synth_components.evaluation.columns import Coded
from synth_components.evaluation.neighbours import Located, distances
from synth_components.evaluation.options import PrivacyConfig
from synth_components.protocols import Context, Dataset, Evidence, Floats

NAME = "privacy.linkability"
_ALIKE = 1e-5  # distances are told to this


def linkability(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: PrivacyConfig = PrivacyConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score how often two halves of a record are linked by one synthetic row.

    The first half are the quasi-identifiers and the second all other columns; without quasi-identifiers every other
    column is the first half.
    """
    found = parts(train, holdout, synthetic, context=context, rng=rng, config=config)
    if found is None:
        return left_out(NAME, NEEDS)
    width = len(found.view.names)
    first = places(found.view, config.quasi_identifiers, "quasi_identifiers") or list(range(0, width, 2))
    second = [place for place in range(width) if place not in first]
    if not second:
        return left_out(NAME, "it needs a column beside those of the first half")
    halves = (first, second)
    members, others = (targets(side, config, rng) for side in (found.members, found.others))
    attack, control = (linked(found.view, (side, side), found.drawn, halves) for side in (members, others))
    baseline = linked(found.view, (members, np.roll(members, 1, axis=0)), found.drawn, halves)
    counted = tries((f"{NAME}.risk", (), attack, control))
    return Evidence(rates(NAME, attack, control, baseline), tables={TRIES: counted})


def linked(view: Coded, sources: tuple[Floats, Floats], drawn: Floats, halves: tuple[list[int], list[int]]) -> Floats:
    """Return whether exactly one synthetic row is closest to both halves of each record, 1 or 0, (n,)."""
    made = np.empty(len(sources[0]))
    passes = []
    for rows, half in zip(sources, halves, strict=True):
        part = view.only(np.array(half))
        passes.append(distances(Located.of(part, rows[:, half]), Located.of(part, drawn[:, half])))
    for (some, left), (_, right) in zip(*passes, strict=True):
        closest = [side <= side.min(axis=1, keepdims=True) + _ALIKE for side in (left, right)]
        made[some] = (closest[0] & closest[1]).sum(axis=1) == 1
    return made
