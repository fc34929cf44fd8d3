"""Re-identification: does what is publicly known of a person lead to one synthetic row that is about that person?

The adversary looks for the synthetic row that is closest in a target's quasi-identifiers.  If its categories are the
target's, its numbers within 1 % of their range, and no second row is as close, they claim it, and are right if it also
agrees with the target in at least three quarters of the other columns.

Source: El Emam, Mosquera & Bass 2020, "Evaluating identity disclosure risk in fully synthetic health data" (J Med
Internet Res 22:e23139): a match on quasi-identifiers counts only if something correct is learned from it.
Differs: what is learned is measured as agreement over all other columns, and beside a control of holdout rows, instead
of weighed by how rare the values are in the population.
"""

from __future__ import annotations

import numpy as np
from numpy import random

from synth_components.evaluation.attacks.rates import TRIES, places, rates, right, targets, tries
from synth_components.evaluation.attacks.trial import NEEDS, left_out, parts
from synth_components.evaluation.columns import Coded
from synth_components.evaluation.neighbours import Located, distances
from synth_components.evaluation.options import PrivacyConfig
from synth_components.protocols import Context, Dataset, Evidence, Floats

NAME = "privacy.reidentification"
_AGREEMENT = 0.75
_SAME = 0.01  # of a number's range: a quasi-identifier is equal, up to rounding
_ALIKE = 1e-5  # distances are told to this


def reidentification(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: PrivacyConfig = PrivacyConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score how often quasi-identifiers lead to one synthetic row that is right about the rest.

    The baseline claims any synthetic row for each target that has exactly one match.
    """
    found = parts(train, holdout, synthetic, context=context, rng=rng, config=config)
    if not config.quasi_identifiers:
        return left_out(NAME, "no quasi-identifiers were declared (quasi_identifiers)")
    if found is None:
        return left_out(NAME, NEEDS)
    given = places(found.view, config.quasi_identifiers, "quasi_identifiers")
    rest = [place for place in range(len(found.view.names)) if place not in given]
    if not rest:
        return left_out(NAME, "it needs a column beside the quasi-identifiers")
    members, others = (targets(side, config, rng) for side in (found.members, found.others))
    claimed = [matched(found.view, side, found.drawn, given) for side in (members, others)]
    chance = np.where(claimed[0] >= 0, rng.integers(len(found.drawn), size=len(members)), -1)
    aims = ((members, claimed[0]), (others, claimed[1]), (members, chance))
    attack, control, baseline = (_learned(found.view, side, found.drawn, rest, claim) for side, claim in aims)
    counted = tries((f"{NAME}.risk", (), attack, control))
    return Evidence(rates(NAME, attack, control, baseline), tables={TRIES: counted})


def matched(view: Coded, rows: Floats, drawn: Floats, given: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the one synthetic row with each row's quasi-identifiers (n,), -1 for none or several."""
    part = view.only(np.array(given))
    limit = _SAME * max(1, sum(not part.is_category(name) for name in part.names))
    made = np.full(len(rows), -1, dtype=np.int64)
    for some, distance in distances(Located.of(part, rows[:, given]), Located.of(part, drawn[:, given])):
        closest = distance.min(axis=1)
        is_one = (distance <= closest[:, None] + _ALIKE).sum(axis=1) == 1
        made[some] = np.where(is_one & (closest <= limit), distance.argmin(axis=1), -1)
    return made


def _learned(
    view: Coded, rows: Floats, drawn: Floats, rest: list[int], claim: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Floats:
    agreement = np.mean([right(view, place, drawn[claim, place], rows[:, place]) for place in rest], axis=0)
    made: Floats = ((claim >= 0) & (agreement >= _AGREEMENT)).astype(np.float64)
    return made
